"""Forwarding in trouble: a dead token, a kill switch, an erasure meanwhile. What waits is sealed, and all goes on."""

import uuid
from collections.abc import Iterator
from typing import Final

import pytest

from devservices.kafka import KafkaCluster
from devservices.platforms.behaviour import DeadToken, Status
from devservices.platforms.fake import FakePlatforms
from devservices.platforms.names import Platform
from ingest.transport.sealed import SealKeys
from tests.integration.partner import WHY, open_store, spellings
from tests.journey.forwarding import Operator, Shop, Stage, at_work, digest
from tests.journey.waiting import until
from tests.support.rows import ask

GAID: Final = "38400000-8cf0-11bd-b23e-10b96e40000d"
EMAIL: Final = "ann@house.example"
WAITING: Final = {"app_user_id": "ann", "platform": "android", "os_version": "14", "gaid": GAID, "email": EMAIL}
"""What somebody's purchase tells, who must not be read of while it waits."""


NAMES: Final = ("house", "garden", "hotel", "school", "yard")
"""Shops of the tests here, each in one of them alone."""


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, kafka: KafkaCluster, superuser_dsn: str
) -> Iterator[tuple[Stage, dict[str, Shop]]]:
    """Provide all processes at work, and shops by name; nothing improper must ever arrive at the platforms."""
    folder, prefix = tmp_path_factory.mktemp("stage"), f"t{uuid.uuid4().hex[:12]}."
    with open_store(superuser_dsn) as store, FakePlatforms() as platforms:
        operator = Operator(store, platforms, folder, SealKeys.generate())
        shops = operator.shops(*NAMES)
        with at_work(folder, kafka.bootstrap, prefix, operator) as stage:
            yield stage, dict(zip(NAMES, shops, strict=True))
        assert platforms.ledger.violations() == []
        assert platforms.ledger.repeats() == {}


@pytest.fixture
def stage(running: tuple[Stage, dict[str, Shop]]) -> Stage:
    """Provide all processes, and platforms that do what they do by themselves."""
    running[0].operator.platforms.script.clear()
    return running[0]


@pytest.fixture
def shops(running: tuple[Stage, dict[str, Shop]]) -> dict[str, Shop]:
    """Provide the shops by name."""
    return running[1]


def arrivals(stage: Stage, shop: Shop, platform: Platform) -> list[str]:
    """Return the ids of a shop's events that count at a platform, sorted."""
    place = shop.dataset if platform is Platform.META else shop.pixel
    return sorted(
        each.event_id for each in stage.operator.platforms.ledger.events(platform) if each.destination == place
    )


def messages(stage: Stage, *shops: Shop) -> list[tuple[str, str, str, str]]:
    """Return what was told of the destinations of shops: type, app, recipient and organization, sorted."""
    apps = {shop.app for shop in shops}
    query = "SELECT payload, recipient, organization_id FROM outbox WHERE starts_with(payload->>'type', 'forward.')"
    rows = ask(stage.operator.store.owner, query)
    names = ("type", "id")
    told = [(*(row["payload"][name] for name in names), row["recipient"], row["organization_id"]) for row in rows]
    return sorted(each for each in told if each[1] in apps)


def about(shop: Shop, kind: str) -> list[tuple[str, str, str, str]]:
    """Return the messages of one pause, or of its end."""
    return [(f"forward.{kind}", shop.app, recipient, shop.organization) for recipient in ("organization", "support")]


def test_a_dead_token_holds_up_nobody_else(stage: Stage, shops: dict[str, Shop]) -> None:
    """What waits for a new one is sealed and told of once; with a new one all of it is sent."""
    house, garden = shops["house"], shops["garden"]
    operator = stage.operator
    old = house.tokens[Platform.META]
    operator.platforms.script.add(DeadToken(), platform=Platform.META, token=old)
    mine, others = [f"h-{number}" for number in range(5)], [f"g-{number}" for number in range(3)]
    stage.buy(house, *mine, **WAITING)
    stage.buy(garden, *others)
    until(lambda: arrivals(stage, house, Platform.TIKTOK) == mine)
    until(lambda: [arrivals(stage, garden, each) for each in Platform] == [others, others])
    until(lambda: stage.readable("forward") == [])
    until(lambda: messages(stage, house, garden) == about(house, "paused"))
    assert operator.destinations(house.app) == {"meta": ("paused", "190/463"), "tiktok": ("healthy", "")}
    assert set(operator.destinations(garden.app).values()) == {("healthy", "")}
    parked = b"\n".join(stage.readable("forward-parked"))
    assert [each for each in mine if each.encode() not in parked] == []
    secrets = (GAID, EMAIL, digest(EMAIL), "ann")
    assert [word for word in secrets for text in spellings(word) if len(text) > 8 and text in parked] == []

    operator.hand_in("rotate", house, Platform.META, "another-token")
    until(lambda: arrivals(stage, house, Platform.META) == mine)
    until(lambda: operator.destinations(house.app)["meta"] == ("healthy", ""))
    until(lambda: messages(stage, house, garden) == about(house, "paused") + about(house, "resumed"))
    until(lambda: [stage.readable(topic) for topic in ("forward", "forward-parked")] == [[], []])
    assert stage.ends(house.app) == [(each, platform, "sent", "") for each in mine for platform in ("meta", "tiktok")]
    assert old.encode() not in stage.forward.output_path.read_bytes()


def test_a_kill_switch_stops_what_is_sent(stage: Stage, shops: dict[str, Shop]) -> None:
    """After it was seen nothing arrives at the platform; once it is lifted, what waited does, in whatever order."""
    house, garden = shops["hotel"], shops["school"]
    operator = stage.operator
    stage.buy(house, "before")
    until(lambda: arrivals(stage, house, Platform.META) == ["before"])
    operator.told("kill", "on", "platform", "meta", *WHY)
    probes: list[str] = []

    def is_seen() -> bool:
        probes.append(f"probe-{len(probes)}")
        stage.buy(house, probes[-1])
        until(lambda: probes[-1] in arrivals(stage, house, Platform.TIKTOK) and stage.readable("forward") == [])
        return probes[-1] not in arrivals(stage, house, Platform.META)

    until(is_seen)
    calls = len(operator.platforms.ledger.calls(Platform.META))
    for shop in (house, garden):
        stage.buy(shop, "after")
    until(lambda: all("after" in arrivals(stage, shop, Platform.TIKTOK) for shop in (house, garden)))
    until(lambda: stage.readable("forward") == [])
    states = {"meta": ("paused", "killed"), "tiktok": ("healthy", "")}
    until(lambda: [operator.destinations(shop.app) for shop in (house, garden)] == [states, states])
    assert len(operator.platforms.ledger.calls(Platform.META)) == calls

    operator.told("kill", "off", "platform", "meta", *WHY)
    everything = sorted(["before", "after", *probes])
    until(lambda: arrivals(stage, house, Platform.META) == everything)
    until(lambda: arrivals(stage, garden, Platform.META) == ["after"])
    until(lambda: operator.destinations(house.app)["meta"] == ("healthy", ""))
    assert messages(stage, house, garden) == []


def test_what_waits_of_an_erased_user_is_never_sent(stage: Stage, shops: dict[str, Shop]) -> None:
    """A platform is away while somebody is erased; when it is back, it hears of everybody else."""
    house = shops["yard"]
    operator = stage.operator
    operator.platforms.script.add(Status(), platform=Platform.META)
    stage.buy(house, "of-eve", app_user_id="eve", email="eve@house.example")
    stage.buy(house, "of-ann")
    until(lambda: arrivals(stage, house, Platform.TIKTOK) == ["of-ann", "of-eve"])
    until(lambda: operator.destinations(house.app)["meta"] == ("paused", "http_503"))
    operator.told("erase", "--project", house.project, "--user-id", "eve", "--wait")

    operator.platforms.script.clear()
    until(lambda: arrivals(stage, house, Platform.META) == ["of-ann"])
    sent = [("of-ann", platform, "sent", "") for platform in ("meta", "tiktok")]
    ends = [*sent, ("of-eve", "meta", "skipped", "erased"), ("of-eve", "tiktok", "sent", "")]
    until(lambda: stage.ends(house.app) == ends)
    until(lambda: [stage.readable(topic) for topic in ("forward", "forward-parked")] == [[], []])
    assert arrivals(stage, house, Platform.META) == ["of-ann"]
