"""The relay without HTTP: the person is sent on, whatever becomes of the record."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from ingest.clock import FakeClock
from ingest.edge.agent import Agents, warm
from ingest.edge.click import Clicks
from ingest.edge.client import TrustedProxies
from ingest.edge.in_flight import InFlight
from ingest.edge.region import Regions
from ingest.errors import Code, Refusal
from ingest.event import EventRecord, Record
from ingest.registry.model import App
from ingest.registry.rate import EventRate
from ingest.registry.snapshot import FixedRegistry, Snapshot
from ingest.telemetry.metrics import Figures
from ingest.transport.contract import Health, Publisher, RecordTooLarge, Stored, Topic, Unavailable
from tests.ingest.pipeline.batches import LIMITS

IPHONE = b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"  # noqa: E501 - as a phone sends it
PIXEL = b"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36"  # noqa: E501 - as above
URLS = {
    "store_url_ios": "https://apps.example/1",
    "store_url_android": "https://play.example/details?id=a",
    "web_url": "https://shop.example/",
}


class Taking(Publisher):
    """A transport that takes records, or raises what it is told to."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.error: Exception | None = None

    async def start(self) -> None:
        """Do nothing."""

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """Take a click."""
        assert (topic, timestamp_ms) == (Topic.CLICKS, 1_000)
        if self.error is not None:
            raise self.error
        self.records += records
        return Stored.SPOOLED

    def health(self) -> Health:
        """Tell that all is well."""
        return Health(ok=True, reason="", pending_records=0, pending_age_ms=0)

    async def close(self) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def agents() -> Agents:
    """Provide the parser of user agents."""
    return warm()


class Relay:
    """A relay with one app, and what it does."""

    def __init__(self, agents: Agents, app: dict[str, Any], requests_max: int = 10) -> None:
        self.transport, self.figures = Taking(), Figures()
        apps = {"app_a": App(id="app_a", project_id="p", organization_id="o", **app)}
        self.clicks = Clicks(
            registry=FixedRegistry(Snapshot(apps)),
            publisher=self.transport,
            regions=Regions(()),
            agents=agents,
            trusted=TrustedProxies(),
            rate=EventRate(),
            in_flight=InFlight(requests_max=requests_max, bytes_max=1_000),
            limits=LIMITS,
            clock=FakeClock(1_000),
            figures=self.figures,
        )

    def click(self, query: bytes = b"", agent: bytes = b"", app_id: str = "app_a", method: str = "GET") -> Response:
        """Click on a link."""
        scope = {
            "type": "http",
            "method": method,
            "path": f"/c/{app_id}",
            "path_params": {"app_id": app_id},
            "query_string": query,
            "headers": [(b"user-agent", agent), (b"cookie", b"a=b"), (b"referer", b"https://ads.example/secret")],
            "client": ("203.0.113.7", 1234),
            "state": {"request_id": "req_1"},
        }
        return asyncio.run(self.clicks.answer(Request(scope)))

    def fates(self) -> dict[str, object]:
        """Return what became of clicks."""
        return {name: count for name, count in self.figures.clicks.items() if count}


def test_a_click_is_recorded_and_sent_on(agents: Agents) -> None:
    """By the system of the user agent; neither address, cookie, referrer nor raw agent is in the record."""
    relay = Relay(agents, URLS)
    answers = [relay.click(b"utm_source=a&gclid=b&session=secret", agent) for agent in (IPHONE, PIXEL, b"curl/8")]

    assert [(each.status_code, each.headers["location"]) for each in answers] == [
        (302, URLS["store_url_ios"]),
        (302, URLS["store_url_android"] + "&referrer=utm_source%3Da%26gclid%3Db"),
        (302, URLS["web_url"]),
    ]
    for answer in answers:
        assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert "set-cookie" not in answer.headers
        assert answer.body == b""
    records = [msgspec.json.decode(each.value, type=EventRecord) for each in relay.transport.records]
    assert [each.event["target"] for each in records] == ["ios", "android", "web"]
    assert records[0].meta.os is not None
    assert records[0].meta.os.name == "iOS"
    assert len({each.meta.event_id for each in records}) == 3
    for each in relay.transport.records:
        assert not any(
            word in each.value for word in (b"secret", b"203.0.113.7", b"cookie", b"Mozilla", b"AppleWebKit")
        )
    assert relay.fates() == {"spooled": 3}


@pytest.mark.parametrize(
    ("error", "fate"), [(Unavailable(), "unavailable"), (RecordTooLarge(), "rejected")], ids=["away", "too_large"]
)
def test_what_is_not_stored_is_sent_on_all_the_same(agents: Agents, error: Exception, fate: str) -> None:
    """And counted."""
    relay = Relay(agents, URLS)
    relay.transport.error = error

    assert relay.click().status_code == 302
    assert relay.fates() == {fate: 1}


def test_beyond_a_bound_people_are_sent_on_unrecorded(agents: Agents) -> None:
    """Of the app's rate, and of the requests at work; the bound is given back."""
    limited = Relay(agents, {**URLS, "events_per_minute_max": 1})
    assert [limited.click().status_code for _ in range(3)] == [302] * 3
    assert limited.fates() == {"spooled": 2, "rate_limited": 1}

    full = Relay(agents, URLS, requests_max=0)
    assert full.click().status_code == 302
    assert full.fates() == {"overloaded": 1}

    one = Relay(agents, URLS, requests_max=1)
    for _ in range(3):
        one.click()
    assert one.fates() == {"spooled": 3}


def test_a_look_is_no_click(agents: Agents) -> None:
    """HEAD is answered alike, and leaves no record."""
    relay = Relay(agents, URLS)
    looked, clicked = relay.click(b"utm_source=a", PIXEL, method="HEAD"), relay.click(b"utm_source=a", PIXEL)

    assert looked.status_code == 302
    assert looked.headers["location"] == clicked.headers["location"]
    assert len(relay.transport.records) == 1


@pytest.mark.parametrize(
    ("app", "app_id", "code"),
    [
        (URLS, "app_none", Code.NOT_FOUND),
        (URLS, "app_a@evil.example", Code.NOT_FOUND),
        (URLS, "\r\n", Code.NOT_FOUND),
        ({}, "app_a", Code.NOT_FOUND),
        ({**URLS, "active": False}, "app_a", Code.NOT_FOUND),
        ({**URLS, "kill_switch": True}, "app_a", Code.KILL_SWITCH),
    ],
)
def test_who_is_nobody_leads_nowhere(agents: Agents, app: dict[str, Any], app_id: str, code: Code) -> None:
    """An unknown or retired app, and one without any target; a killed one is told so."""
    relay = Relay(agents, app)
    with pytest.raises(Refusal) as caught:
        relay.click(app_id=app_id)

    assert caught.value.code is code
    assert relay.transport.records == []
