"""The registry file: strict, refused whole, and followed while it changes."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest.clock import FakeClock
from ingest.conversion import Platform
from ingest.errors import Code, Refusal
from ingest.registry.admission import admit
from ingest.registry.model import App, EventMap, Forward, Kills, MetaForward, TikTokForward
from ingest.registry.snapshot import RegistryError, Snapshot, changes
from ingest.registry.toml_file import FILE_BYTES_MAX, PROBLEMS_MAX, TomlRegistry, parse

GOOD = """
[apps.app_demo]
project_id = "prj_demo"
organization_id = "org_demo"
"""
FULL = """
[kill]
global = true
organizations = ["org_bad"]
platforms = ["tiktok"]

[apps.app_demo]
project_id = "prj_demo"
organization_id = "org_demo"
name = "Demo"
environment = "production"
active = false
kill_switch = true
events_per_minute_max = 6000
consent_required = true
store_url_ios = "https://apps.example/1"
store_url_android = "https://play.example/1"
web_url = "https://example.com"
[apps.app_demo.event_map.meta]
bought = "Purchase"
[apps.app_demo.forward.meta]
enabled = true
dataset_id = "123"
[apps.app_demo.forward.tiktok]
enabled = true
event_source_id = "abc"
"""


def problems(text: str) -> tuple[str, ...]:
    """Parse what must be refused and return the problems."""
    with pytest.raises(RegistryError) as caught:
        parse(text.encode(), 0)
    return caught.value.problems


def test_minimal_app() -> None:
    """Two members make an app; everything else has its default."""
    snapshot = parse(GOOD.encode(), 17)
    assert dict(snapshot.apps) == {"app_demo": App(id="app_demo", project_id="prj_demo", organization_id="org_demo")}
    assert (snapshot.loaded_at_ms, snapshot.complete, snapshot.kills) == (17, True, Kills())
    app = snapshot.apps["app_demo"]
    assert (app.active, app.kill_switch, app.events_per_minute_max) == (True, False, None)


def test_all_members() -> None:
    """Every documented member is taken over."""
    snapshot = parse(FULL.encode(), 0)
    assert snapshot.kills == Kills(
        global_=True, organizations=frozenset({"org_bad"}), platforms=frozenset({Platform.TIKTOK})
    )
    assert snapshot.apps["app_demo"] == App(
        id="app_demo",
        project_id="prj_demo",
        organization_id="org_demo",
        name="Demo",
        environment="production",
        active=False,
        kill_switch=True,
        events_per_minute_max=6000,
        consent_required=True,
        store_url_ios="https://apps.example/1",
        store_url_android="https://play.example/1",
        web_url="https://example.com",
        event_map=EventMap(meta={"bought": "Purchase"}),
        forward=Forward(
            MetaForward(enabled=True, dataset_id="123"), TikTokForward(enabled=True, event_source_id="abc")
        ),
    )


def test_version_follows_the_content() -> None:
    """Equal content has an equal version, other content another."""
    assert parse(GOOD.encode(), 1).version == parse(GOOD.encode(), 2).version != parse(FULL.encode(), 1).version
    assert parse(b"", 0).apps == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD + "evnts_per_minute = 5", "apps.app_demo.evnts_per_minute: no such member"),
        (GOOD + "id = 'other'", "apps.app_demo.id: no such member"),
        (GOOD + "[apps.app_demo.forward.metta]", "apps.app_demo.forward.metta: no such member"),
        (GOOD + "[apps.app_demo.forward.meta]\nx = 1", "apps.app_demo.forward.meta.x: no such member"),
        (GOOD + "[appz]", "appz: no such member"),
        (GOOD + "[kill]\nall = true", "kill.all: no such member"),
        (GOOD + "[kill]\nglobal = 'yes'", "kill.global: Expected `bool`, got `str`"),
        ("[kill]\nplatforms = ['google']", "kill.platforms[0]: Invalid enum value 'google'"),
        ("[kill]\norganizations = ['a b']", "kill.organizations[0]: Expected `str` matching regex"),
        ("apps = 1", "apps: expected a table"),
        ("[apps]\nx = 1", "apps.x: Expected `object`"),
        ("[apps.x]\nproject_id = 'p'", "apps.x: Object missing required field `organization_id`"),
        (GOOD + "events_per_minute_max = '5'", "apps.app_demo.events_per_minute_max: Expected `int | null`, got `str`"),
        (GOOD + "events_per_minute_max = 0", "apps.app_demo.events_per_minute_max: Expected `int` >= 1"),
        (GOOD + "active = 1", "apps.app_demo.active: Expected `bool`, got `int`"),
        (GOOD + "web_url = 'javascript:x'", "apps.app_demo.web_url: Expected `str` matching regex"),
        (
            GOOD + "[apps.app_demo.forward.meta]\nenabled = true",
            "apps.app_demo.forward.meta: `enabled` needs `dataset_id`",
        ),
        ("[apps.'a\\nb']\nproject_id='p'", "apps.'a\\\\nb': Expected `str` matching regex"),
        ("[apps.x\n", "the file is not TOML: "),
        ("a = " + "9" * 5000, "the file holds a number of too many digits"),
    ],
)
def test_bad_file(text: str, problem: str) -> None:
    """A fault is told with its path; a file that is no TOML with its line and column."""
    (told,) = problems(text)
    assert told.startswith(problem)


def test_problems_hold_no_value_and_are_bounded() -> None:
    """What stands on the right of an equals sign is never told, and a wholly wrong file gives a bounded list."""
    (told,) = problems(GOOD + "web_url = 'ftp://secret-host'")
    assert "secret-host" not in told
    many = "".join(f"[apps.a{number}]\nx = 1\n" for number in range(100))
    assert len(problems(many)) == PROBLEMS_MAX
    with pytest.raises(RegistryError, match="not UTF-8"):
        parse(b"\xff", 0)


class Watched:
    """A registry over a file in a folder, with the changes that it told."""

    def __init__(self, folder: Path, poll_interval_ms: int = 60_000) -> None:
        self.path = folder / "apps.toml"
        self.changed = asyncio.Event()
        self.told: list[tuple[str, bool]] = []
        self.registry = TomlRegistry(self.path, FakeClock(), self.note, poll_interval_ms=poll_interval_ms)

    def note(self, old: Snapshot, new: Snapshot) -> None:
        """Keep the kill switches that were turned."""
        self.told += [(change.id, change.killed) for change in changes(old, new)]
        self.changed.set()

    def write(self, text: str) -> None:
        """Replace the file, as editors do."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.path)  # noqa: PTH105 - the call that editors make


def test_a_change_is_taken_over(tmp_path: Path) -> None:
    """A changed file replaces the snapshot, and the change is told once."""

    async def scenario() -> None:
        watched = Watched(tmp_path)
        watched.write(GOOD)
        await watched.registry.start()
        first = watched.registry.current()
        await watched.registry.refresh()
        assert watched.registry.current() is first
        watched.write(GOOD + "kill_switch = true")
        await watched.registry.refresh()
        assert watched.told == [("app_demo", True)]
        with pytest.raises(Refusal) as refused:
            admit(watched.registry.current(), "app_demo")
        assert refused.value.code is Code.KILL_SWITCH
        assert "app_demo" in first.admitted
        await watched.registry.close()
        await watched.registry.close()

    asyncio.run(scenario())


def test_the_file_is_watched(tmp_path: Path) -> None:
    """After the start a change is noticed without being asked for, also after a listener failed."""

    async def scenario() -> None:
        watched = Watched(tmp_path, poll_interval_ms=1)
        watched.write(GOOD)
        await watched.registry.start()

        def fail(_old: Snapshot, _new: Snapshot) -> None:
            watched.changed.set()
            raise LookupError

        watched.registry._on_change = fail
        with capture_logs() as lines:
            watched.write(GOOD + "kill_switch = true")
            await asyncio.wait_for(watched.changed.wait(), 30)
            watched.changed.clear()
            watched.registry._on_change = watched.note
            watched.write(GOOD)
            await asyncio.wait_for(watched.changed.wait(), 30)
        assert watched.told == [("app_demo", False)]
        assert [line["event"] for line in lines] == ["registry_refresh_failed"]
        await watched.registry.close()

    asyncio.run(scenario())


def test_a_bad_file_leaves_the_last_good_one(tmp_path: Path) -> None:
    """A bad file is refused whole and logged once per problem; an app it may have added is told to come back."""

    async def scenario() -> None:
        watched = Watched(tmp_path)
        watched.write(GOOD)
        await watched.registry.start()
        with capture_logs() as lines:
            for number in range(3):
                watched.write(GOOD + "kill_switch = true\nevnts = 1" + " " * number)
                await watched.registry.refresh()
        assert [(line["event"], line["problem"]) for line in lines] == [
            ("registry_file_refused", "apps.app_demo.evnts: no such member")
        ]
        assert watched.registry.problems() == ("apps.app_demo.evnts: no such member",)
        snapshot = watched.registry.current()
        assert admit(snapshot, "app_demo").kill_switch is False
        with pytest.raises(Refusal) as refused:
            admit(snapshot, "app_new")
        assert refused.value.code is Code.UNAVAILABLE
        watched.write(GOOD)
        await watched.registry.refresh()
        assert watched.registry.problems() == ()
        assert watched.registry.current().complete
        assert watched.told == []
        await watched.registry.close()

    asyncio.run(scenario())


def test_a_file_that_vanishes_leaves_the_last_good_one(tmp_path: Path) -> None:
    """A missing file is a problem like a bad one, and its return ends it."""

    async def scenario() -> None:
        watched = Watched(tmp_path)
        watched.write(GOOD)
        await watched.registry.start()
        watched.path.unlink()
        await watched.registry.refresh()
        assert watched.registry.problems() == ("the file cannot be read: No such file or directory",)
        assert admit(watched.registry.current(), "app_demo").id == "app_demo"
        watched.write(GOOD)
        await watched.registry.refresh()
        assert watched.registry.problems() == ()
        await watched.registry.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("content", [None, b"[apps", b"#" * (FILE_BYTES_MAX + 1)], ids=["missing", "bad", "large"])
def test_no_start_without_a_good_file(tmp_path: Path, content: bytes | None) -> None:
    """The start has nothing to fall back to, so it fails: an empty registry would refuse all senders for good."""
    watched = Watched(tmp_path)
    if content is not None:
        watched.path.write_bytes(content)
    with pytest.raises(RegistryError, match="the file"):
        asyncio.run(watched.registry.start())
