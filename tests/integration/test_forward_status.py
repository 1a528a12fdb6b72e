"""How forwarding goes, as an operator is told: put together from switches, tokens, processes and ends."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from ingest.control.forward_status import DestinationStatus, ForwardStatus, forward_status
from ingest.control.kills import turn_app, turn_global, turn_organization, turn_platform
from ingest.conversion import Platform
from ingest.db.database import Connection
from ingest.db.queries.deliveries import DeliveryEnd, record_deliveries
from ingest.db.queries.destinations import DestinationSeen, State, keep_destination, keep_worker
from ingest.setting import Secret
from ingest.transport.sealed import SealKeys
from ingest.vault.changes import put
from ingest.vault.seal import Place
from tests.integration.edge import run_command
from tests.support.control import KIM, Customer, Plane, customer, execute, operate

FORWARD: Final = {
    "meta": {"enabled": True, "dataset_id": "1"},
    "tiktok": {"enabled": True, "event_source_id": "PIXEL"},
}
AT: Final = datetime(2026, 11, 24, 10, tzinfo=UTC)
KEYS: Final = SealKeys.parse(SealKeys.generate())


@pytest.fixture
def plane(control_plane: Plane) -> str:
    """Provide a migrated database as its owner."""
    return control_plane.owner


def shop(dsn: str, app_id: str, forward: dict[str, Any] | None = None, *, tokens: bool = True) -> Customer:
    """Make an app that forwards, with a token for each platform."""
    made = customer(dsn, app_id)
    options = json.dumps({"forward": FORWARD if forward is None else forward})
    execute(dsn, "UPDATE apps SET options = %s WHERE id = %s", (options, app_id))

    async def work(connection: Connection) -> None:
        for platform in Platform:
            await put(connection, KEYS, Place(app_id, platform), Secret("token"), KIM)

    if tokens:
        operate(dsn, work)
    return made


def status(dsn: str, app_id: str | None = None, *, hours: int = 24) -> ForwardStatus:
    """Return the status."""
    return operate(dsn, lambda connection: forward_status(connection, app_id, hours=hours))


def states(dsn: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Return state and reason of every destination."""
    return {(each.app_id, each.platform): (each.state, each.reason) for each in status(dsn).destinations}


def see(dsn: str, app_id: str, state: State, reason: str = "", *, platform: str = "meta") -> None:
    """Write down how a process saw a destination."""
    seen = DestinationSeen(app_id, platform, state, reason, AT)
    operate(dsn, lambda connection: keep_destination(connection, seen))


def end(dsn: str, app_id: str, platform: str, *ends: tuple[str, str]) -> None:
    """Record ends of so many deliveries."""
    rows = [
        DeliveryEnd(app_id, f"e-{platform}-{number}", "2026-01-01T00:00:00Z", platform, fate, reason)
        for number, (fate, reason) in enumerate(ends)
    ]
    operate(dsn, lambda connection: record_deliveries(connection, rows))


def test_nothing_was_sent_yet(plane: str) -> None:
    """Every destination that is enabled is idle; others, retired apps and apps without options are none."""
    shop(plane, "app_a")
    shop(plane, "app_b", {"meta": {"enabled": False, "dataset_id": "2"}, "tiktok": FORWARD["tiktok"]})
    shop(plane, "app_c", {})
    shop(plane, "app_d")
    execute(plane, "UPDATE apps SET is_active = false, revoked_at = now() WHERE id = 'app_d'")

    def idle(app_id: str, platform: str) -> DestinationStatus:
        return DestinationStatus(app_id, platform, "idle", "", None, None, 0, None, {})

    places = [("app_a", "meta"), ("app_a", "tiktok"), ("app_b", "tiktok")]
    assert status(plane) == ForwardStatus([idle(*place) for place in places], 0, 0, 0)


def test_what_a_process_saw_is_told(plane: str) -> None:
    """State, reason, since when, and the last success."""
    shop(plane, "app_a")
    see(plane, "app_a", "degraded", "timeout")
    see(plane, "app_a", "paused", "40105", platform="tiktok")
    told = status(plane)
    meta, tiktok = told.destinations

    assert (meta.state, meta.reason, meta.last_success_at) == ("degraded", "timeout", AT)
    assert (tiktok.state, tiktok.reason) == ("paused", "40105")
    assert meta.since is not None
    assert meta.since > AT


def test_a_missing_token_is_told_before_anything_was_sent(plane: str) -> None:
    """And over what was seen before, of its own platform alone."""
    shop(plane, "app_a", tokens=False)
    see(plane, "app_a", "healthy")
    before = states(plane)
    operate(plane, lambda connection: put(connection, KEYS, Place("app_a", Platform.META), Secret("token"), KIM))

    assert before == dict.fromkeys([("app_a", "meta"), ("app_a", "tiktok")], ("paused", "token_missing"))
    assert states(plane) == {("app_a", "meta"): ("healthy", ""), ("app_a", "tiktok"): ("paused", "token_missing")}


Turn = Callable[..., Any]
SWITCHES: Final[list[tuple[Turn, set[tuple[str, str]]]]] = [
    (
        lambda connection, _, killed: turn_global(connection, KIM, killed=killed, reason="test"),
        {(app, platform) for app in ("app_a", "app_b") for platform in ("meta", "tiktok")},
    ),
    (
        lambda connection, one, killed: turn_organization(
            connection, one.organization_id, KIM, killed=killed, reason="test"
        ),
        {("app_a", "meta"), ("app_a", "tiktok")},
    ),
    (
        lambda connection, one, killed: turn_app(connection, one.app_id, KIM, killed=killed, reason="test"),
        {("app_a", "meta"), ("app_a", "tiktok")},
    ),
    (
        lambda connection, _, killed: turn_platform(connection, Platform.META, KIM, killed=killed, reason="test"),
        {("app_a", "meta"), ("app_b", "meta")},
    ),
]


@pytest.mark.parametrize(("turn", "concerned"), SWITCHES, ids=["global", "organization", "app", "platform"])
def test_a_switch_is_told_over_everything_else(plane: str, turn: Turn, concerned: set[tuple[str, str]]) -> None:
    """Of all destinations that it concerns and no others; lifted, what was seen before is told again."""
    first = shop(plane, "app_a")
    shop(plane, "app_b")
    see(plane, "app_a", "degraded", "timeout")
    before = states(plane)
    operate(plane, lambda connection: turn(connection, first, killed=True))
    killed = states(plane)
    operate(plane, lambda connection: turn(connection, first, killed=False))

    assert killed == before | dict.fromkeys(concerned, ("paused", "killed"))
    assert states(plane) == before
    assert before["app_a", "meta"] == ("degraded", "timeout")


def test_ends_are_counted(plane: str) -> None:
    """Successes among what was tried: what was skipped was not; only of the last hours, and of one app if asked so."""
    shop(plane, "app_a")
    shop(plane, "app_b")
    end(plane, "app_a", "meta", *[("sent", "")] * 3, ("refused", "100/1"), *[("skipped", "consent_denied")] * 2)
    end(plane, "app_a", "tiktok", ("skipped", "no_page"))
    end(plane, "app_b", "tiktok", ("sent", ""), ("expired", "parked_full"), ("expired", "parked_full"))
    execute(plane, "UPDATE deliveries SET recorded_at = now() - interval '3 hours' WHERE event_id = 'e-tiktok-2'")

    def counts(app_id: str | None = None, *, hours: int) -> list[tuple[str, str, int, float | None, dict[str, int]]]:
        told = status(plane, app_id, hours=hours).destinations
        return [(each.app_id, each.platform, each.sent, each.success_share, each.others) for each in told]

    of_a = [
        ("app_a", "meta", 3, 0.75, {"refused:100/1": 1, "skipped:consent_denied": 2}),
        ("app_a", "tiktok", 0, None, {"skipped:no_page": 1}),
    ]
    none: tuple[str, str, int, None, dict[str, int]] = ("app_b", "meta", 0, None, {})
    assert counts(hours=24) == [*of_a, none, ("app_b", "tiktok", 1, 1 / 3, {"expired:parked_full": 2})]
    assert counts(hours=2) == [*of_a, none, ("app_b", "tiktok", 1, 0.5, {"expired:parked_full": 1})]
    assert counts("app_a", hours=24) == of_a


def test_what_waits_is_that_of_all_processes(plane: str) -> None:
    """Each has partitions of its own, so the numbers add up; whoever has not been seen for a minute does not count."""

    async def work(connection: Connection) -> None:
        await keep_worker(connection, "a", 5, 7)
        await keep_worker(connection, "b", 1, 0)
        await keep_worker(connection, "gone", 100, 100)

    operate(plane, work)
    execute(plane, "UPDATE forward_workers SET seen_at = now() - interval '61 seconds' WHERE id = 'gone'")

    assert status(plane) == ForwardStatus([], 2, 6, 7)


def test_the_command_tells_it_in_a_table(plane: str) -> None:
    """And in one JSON document with all of it."""
    shop(plane, "app_a")
    see(plane, "app_a", "paused", "190/463")
    end(plane, "app_a", "meta", ("sent", ""), ("refused", "100"), ("skipped", "too_old"))
    words = ["forward", "status", "--hours", "2"]
    table, document = (run_command([*words, *more], {"INGEST_POSTGRES_DSN": plane}) for more in ([], ["--json"]))
    other = run_command([*words, "--app", "app_none", "--json"], {"INGEST_POSTGRES_DSN": plane})

    assert [(each.returncode, each.stderr) for each in (table, document, other)] == [(0, "")] * 3
    told = json.loads(document.stdout)
    meta, tiktok = told.pop("destinations")
    assert told == {"workers": 0, "lag_records": 0, "parked_records": 0}
    assert (meta["state"], meta["sent"], meta["success_share"]) == ("paused", 1, 0.5)
    assert (tiktok["state"], tiktok["since"]) == ("idle", None)
    row = next(line for line in table.stdout.splitlines() if "190/463" in line)
    for word in ("app_a", "meta", "paused", "2026-11-24T10:00:00", "50.0%", "refused:100=1 skipped:too_old=1"):
        assert word in row
    assert table.stdout.splitlines()[-1] == "0 records wait, 0 are parked, 0 processes forward"
    assert json.loads(other.stdout)["destinations"] == []
