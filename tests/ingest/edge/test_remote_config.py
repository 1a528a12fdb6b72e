"""`/config` without HTTP: who is answered, what is encoded once, and which entity tags are known."""

import json

import pytest

from ingest.edge.remote_config import KEPT_MAX, RemoteConfigs, is_known
from ingest.errors import Code, Refusal
from ingest.registry.document import read_options
from ingest.registry.model import App, Kills
from ingest.registry.snapshot import FixedRegistry, Snapshot

OPTIONS = read_options({"remote_config": {"platforms": {"ios": {"att": {"a": 1}}}}})
APP = App(id="app_a", project_id="p", organization_id="o", remote_config=OPTIONS.remote_config)
KILLED = App(id="app_killed", project_id="p", organization_id="o", kill_switch=True, active=False)
RETIRED = App(id="app_retired", project_id="p", organization_id="o", active=False)


class Changing(FixedRegistry):
    """A registry whose snapshot a test replaces."""

    def __init__(self, *apps: App, kills: Kills | None = None, complete: bool = True) -> None:
        self.snapshot = Snapshot({app.id: app for app in apps}, kills or Kills(), complete=complete)
        super().__init__(self.snapshot)

    def current(self) -> Snapshot:
        """Return what the test has set."""
        return self.snapshot


def refusal(configs: RemoteConfigs, app_id: str | None) -> tuple[Code, object]:
    """Return why an app is not answered."""
    with pytest.raises(Refusal) as caught:
        configs.of(app_id, None)
    return caught.value.code, caught.value.details


def test_it_is_encoded_once_for_a_snapshot() -> None:
    """Platforms that nobody has configured share one body; a new snapshot is looked at anew."""
    registry = Changing(APP)
    configs = RemoteConfigs(registry)
    base, ios = configs.of("app_a", None), configs.of("app_a", "ios")

    assert configs.of("app_a", "IOS") is ios
    assert configs.of("app_a", "toaster") is configs.of("app_a", "") is base
    assert base.etag != ios.etag
    registry.snapshot = Snapshot({"app_a": App(id="app_a", project_id="p", organization_id="o")})
    changed = configs.of("app_a", "ios")
    assert "att" not in json.loads(changed.body)["data"]["config"]
    registry.snapshot = Snapshot({"app_a": APP})
    assert configs.of("app_a", "ios") == ios


def test_what_is_kept_is_bounded() -> None:
    """The oldest goes first, and is encoded again when it is asked for."""
    apps = [App(id=f"app_{number}", project_id="p", organization_id="o") for number in range(KEPT_MAX + 1)]
    configs = RemoteConfigs(Changing(*apps))
    first = configs.of("app_0", None)
    for app in apps[1:]:
        configs.of(app.id, None)

    again = configs.of("app_0", None)
    assert again is not first
    assert again == first


def test_the_ladder_decides() -> None:
    """Unknown, killed, retired, organization, global, in that order; a kill is told, it is no configuration."""
    configs = RemoteConfigs(Changing(APP, KILLED, RETIRED))
    assert refusal(configs, None) == (Code.UNAUTHENTICATED, None)
    assert refusal(configs, "app_none") == (Code.UNAUTHENTICATED, None)
    assert refusal(configs, "app_killed") == (Code.KILL_SWITCH, {"scope": "key"})
    assert refusal(configs, "app_retired") == (Code.REVOKED, None)

    killed = RemoteConfigs(Changing(APP, kills=Kills(global_=True, organizations=frozenset({"o"}))))
    assert refusal(killed, "app_a") == (Code.KILL_SWITCH, {"scope": "organization"})
    assert refusal(RemoteConfigs(Changing(complete=False)), "app_a") == (Code.UNAVAILABLE, None)


@pytest.mark.parametrize(
    "lines",
    [['"a"'], ['W/"a"'], ['"b", "a"'], ['"b",W/"a" , "c"'], ['"b"', '"a"'], ["*"], [" * "]],
)
def test_entity_tags_are_compared_weakly(lines: list[str]) -> None:
    """One, a list, in several lines, or a star."""
    assert is_known(lines, '"a"')


@pytest.mark.parametrize("lines", [[], [""], ['"b"'], ["a"], ['"a'], ['"A"'], ['"*"'], ['"b, a"'], ["b*"]])
def test_other_entity_tags_are_not_known(lines: list[str]) -> None:
    """Also what is no entity tag at all."""
    assert not is_known(lines, '"a"')
