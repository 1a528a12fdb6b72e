"""A small world for forwarding: a platform that answers as it is told, a ledger in memory, a clock that is moved."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from ingest.clock import FakeClock
from ingest.consume.step import Away
from ingest.conversion import Conversion, ConversionMeta, ConversionRecord, Platform
from ingest.forward.backlog import Backlog
from ingest.forward.decide import Hold
from ingest.forward.deliver import Delivery
from ingest.forward.forwarder import Forwarder
from ingest.forward.job import Job, Key, jobs_of
from ingest.forward.ledger import Ledger
from ingest.forward.outcome import Outcome, Skip
from ingest.forward.park import ParkingLot
from ingest.forward.person import NOBODY, Person
from ingest.forward.platforms.contract import Accepted, Call, Facts, PlatformApi, Refused, Verdict
from ingest.registry.model import App, Forward, Kills, MetaForward, TikTokForward
from ingest.registry.snapshot import Snapshot
from ingest.transport.memory import MemoryTransport
from ingest.transport.sealed import SealKeys

KEYS = SealKeys(bytes(32))
RECEIVED = "2026-01-01T00:00:00.000Z"
BOTH = (Platform.META, Platform.TIKTOK)


def record(
    event_id: str = "e-1", *, app_id: str = "app_a", to: Sequence[Platform] = (Platform.META,), **event: object
) -> bytes:
    """Return the bytes of a conversion."""
    meta = ConversionMeta(1, app_id, "prj_a", "org_a", RECEIVED, "req_1", "sdk", {}, event_id)
    said = {"event": "purchase_success", "timestamp": RECEIVED, "to": dict.fromkeys(to, "Purchase"), **event}
    return msgspec.json.encode(ConversionRecord(meta, msgspec.convert(said, Conversion)))


def job(event_id: str = "e-1", **event: Any) -> Job:
    """Return a job for Meta."""
    (only,) = jobs_of(record(event_id, **event), 0)
    return only


def app(app_id: str = "app_a", **options: Any) -> App:
    """Return an app that forwards to both platforms."""
    forward = Forward(MetaForward(True, "1"), TikTokForward(True, "2"))  # noqa: FBT003 - `enabled`
    given = {"id": app_id, "project_id": "prj_a", "organization_id": "org_a", "forward": forward, **options}
    return App(**given)


class MemoryDeliveries:
    """Keeps ends in memory; `away` so many times it cannot be asked."""

    def __init__(self) -> None:
        self.ends: dict[Key, Outcome] = {}
        self.away = 0

    async def ended(self, keys: Collection[Key]) -> set[Key]:
        """See `Deliveries.ended`."""
        self._check()
        return {key for key in keys if key in self.ends}

    async def keep(self, ends: Mapping[Key, Outcome]) -> None:
        """See `Deliveries.keep`."""
        self._check()
        self.ends = {**ends, **self.ends}

    def _check(self) -> None:
        if self.away:
            self.away -= 1
            raise Away


class ScriptedApi:
    """A platform to which every event is its id; `answers` are given first, then whatever is right."""

    events_max = 1_000
    age_ms_max = 7 * 24 * 3_600_000

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.answers: list[Verdict] = []
        self.bad: set[str] = set()
        self.taken: list[str] = []
        self.calls: list[list[str]] = []
        self.tokens: list[str] = []
        self.unfit: dict[str, Skip] = {}

    def event(self, facts: Facts, app: App) -> bytes | Skip:
        """See `PlatformApi.event`."""
        assert app.id == facts.record.meta.app_id
        event_id = facts.record.meta.event_id
        return self.unfit.get(event_id) or event_id.encode()

    def call(self, app: App, token: str, events: Sequence[bytes], test_code: str | None = None) -> Call:
        """See `PlatformApi.call`."""
        assert test_code is None
        self.tokens.append(token)
        return Call(app.id, {}, b",".join(events))

    def verdict(self, status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        """See `PlatformApi.verdict`; here the body is that of the call."""
        assert status == 200
        assert not headers
        events = body.decode().split(",")
        self.calls.append(events)
        right: Verdict = Refused("100") if self.bad & set(events) else Accepted()
        verdict = self.answers.pop(0) if self.answers else right
        if isinstance(verdict, Accepted):
            self.taken += events
        return verdict


class DirectCaller:
    """Gives each call to its platform, without a network. `before` is done before each."""

    def __init__(self) -> None:
        self.before: Callable[[], object] = lambda: None

    async def ask(self, api: PlatformApi, call: Call) -> Verdict:
        """See `Caller.ask`."""
        self.before()
        return api.verdict(200, {}, call.body)


class World:
    """Forwarding, put together over twins."""

    def __init__(self, *, parked_max: int = 1_000) -> None:
        self.clock = FakeClock()
        self.counts: Counter[tuple[str, Outcome]] = Counter()
        self.deliveries = MemoryDeliveries()
        self.ledger = Ledger(self.deliveries, lambda key, outcome: self.counts.update([(key.platform, outcome)]))
        self.meta, self.tiktok = ScriptedApi(Platform.META), ScriptedApi(Platform.TIKTOK)
        self.apps = {"app_a": app()}
        self.kills = Kills()
        self.complete = True
        self.tokens: dict[tuple[str, Platform], str | Hold] = {}
        self.people: dict[str, Person] = {}
        self.caller = DirectCaller()
        self.slept: list[float] = []
        self.delivery = Delivery(self.caller, self.ledger, self.clock, jitter=lambda: 0.5, sleep=self._sleep)
        self.forwarder = Forwarder(
            registry=lambda: Snapshot(self.apps, self.kills, complete=self.complete),
            apis={Platform.META: self.meta, Platform.TIKTOK: self.tiktok},
            tokens=self,
            people=_People(self.people),
            ledger=self.ledger,
            delivery=self.delivery,
            clock=self.clock,
            jitter=lambda: 0.5,
        )
        self.transport = MemoryTransport()
        self.backlog = Backlog(lambda: None, lambda: None)
        self.lot = ParkingLot(
            self.transport, KEYS, self.ledger, self.clock, records_max=parked_max, backlog=self.backlog
        )

    def of(self, app_id: str, platform: Platform) -> str | Hold:
        """See `Tokens.of`."""
        return self.tokens.get((app_id, platform), "token")

    def forward(self, jobs: Sequence[Job], *, probing: bool = False) -> list[Job]:
        """Forward jobs and return those that have not ended. Raises `Away`."""
        return asyncio.run(self.forwarder.forward(jobs, probing=probing))

    def outcomes(self) -> dict[str, Outcome]:
        """Return what is kept, by event id."""
        return {key.event_id: outcome for key, outcome in self.deliveries.ends.items()}

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(round(seconds * 1000))


class _People:
    def __init__(self, people: dict[str, Person]) -> None:
        self._people = people

    async def of(self, records: Sequence[ConversionRecord]) -> Sequence[Person]:
        return [self._people.get(each.meta.event_id, NOBODY) for each in records]
