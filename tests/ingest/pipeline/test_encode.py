from typing import Any

import msgspec
import pytest

import normalize
from ingest.event import EventRecord, Named
from ingest.pipeline.encode import Frame
from ingest.pipeline.request import Agent, Region, Request
from ingest.registry.model import App
from tests.ingest.pipeline.batches import APP, TIME, body, decoded, event, identified, request, stored

CHROME_ON_MAC = Agent(os=Named("Mac OS X", "10.15.7"), client=Named("Chrome", "126.0.0"))


def record(members: dict[str, Any], sender: Request | None = None, event_id: str = "e1") -> EventRecord:
    """Return the record of one event, held strictly to the schema."""
    value = Frame(decoded(body(event())), sender or request()).record(identified(event(**members)), event_id)
    return msgspec.json.decode(value, type=EventRecord, strict=True)


def test_a_record_tells_all_that_is_known() -> None:
    """Every member of `meta` comes from its place, and client, sent and received times are all kept."""
    sender = request(region=Region("GB", "ENG"), agent=CHROME_ON_MAC, environment="staging", sdk="web/1.4")
    found = stored(body(event(event_id="e1", a=1), batch_id="b1", sent_at="2026-11-24T09:59:59Z", more=[1]), sender)

    assert found.event == event(event_id="e1", a=1)
    assert msgspec.to_builtins(found.meta) == {
        "v": 1,
        "event_id": "e1",
        "app_id": "app_demo",
        "project_id": "prj_demo",
        "organization_id": "org_demo",
        "environment": "staging",
        "received_at": "2026-11-24T10:00:01.000Z",
        "sent_at": "2026-11-24T09:59:59Z",
        "request_id": "req_01KB000000000000000000000A",
        "batch_id": "b1",
        "country_code": "GB",
        "subdivision1_code": "ENG",
        "os": {"name": "Mac OS X", "version": "10.15.7"},
        "client": {"name": "Chrome", "version": "126.0.0"},
        "sdk": "web/1.4",
        "source": "sdk",
        "scheme": normalize.SCHEME,
        "batch": {"more": [1]},
    }


def test_what_is_not_known_is_left_out() -> None:
    """A record of a request that says nothing has no member that says so."""
    found = msgspec.json.decode(Frame(decoded(body(event())), request()).record(identified(event()), "e1"))

    assert list(found) == ["meta", "event"]
    assert found["meta"].keys() == {
        *("v", "app_id", "project_id", "organization_id", "received_at", "request_id", "source", "scheme", "event_id")
    }


def test_the_event_is_carried_as_identified() -> None:
    """The bytes of the identified event stand at the end of the value, unchanged."""
    one = identified(event(a=[1, "é\n"], email="ann@example.com"))
    value = Frame(decoded(body(event())), request()).record(one, "e1")

    assert value.endswith(b',"event":' + one.json + b"}")
    assert msgspec.json.decode(value)["event"] == one.event


@pytest.mark.parametrize(
    ("of_event", "of_header", "of_app", "chosen"),
    [
        ("event", "header", "app", "event"),
        (None, "header", "app", "header"),
        ("", "header", "app", "header"),
        (17, "header", "app", "header"),
        (["event"], "header", "app", "header"),
        ({"a": 1}, None, "app", "app"),
        (None, None, "app", "app"),
        (None, None, None, None),
    ],
)
def test_the_environment_is_the_events_else_the_headers_else_the_apps(
    of_event: Any, of_header: str | None, of_app: str | None, chosen: str | None
) -> None:
    """The nearest text counts."""
    app = App(id="app_demo", project_id="prj_demo", organization_id="org_demo", environment=of_app)
    assert record({"environment": of_event}, request(app=app, environment=of_header)).meta.environment == chosen


@pytest.mark.parametrize(
    ("members", "agent", "os", "client"),
    [
        (
            {"platform": "ios", "os_version": "17.1", "app_version": "3.2"},
            CHROME_ON_MAC,
            ("ios", "17.1"),
            ("app_demo", "3.2"),
        ),
        ({"platform": "Android", "os_version": "14"}, Agent(), ("Android", "14"), ("app_demo", None)),
        ({"platform": "ios"}, CHROME_ON_MAC, ("ios", None), ("app_demo", None)),
        ({"platform": "web"}, CHROME_ON_MAC, ("Mac OS X", "10.15.7"), ("Chrome", "126.0.0")),
        (
            {"platform": "web", "os_version": "11", "app_version": "1"},
            CHROME_ON_MAC,
            ("Mac OS X", "11"),
            ("Chrome", "126.0.0"),
        ),
        ({"os_version": "11"}, Agent(), (None, "11"), None),
        ({"platform": ["ios"], "os_version": 17}, CHROME_ON_MAC, ("Mac OS X", "10.15.7"), ("Chrome", "126.0.0")),
        ({}, CHROME_ON_MAC, ("Mac OS X", "10.15.7"), ("Chrome", "126.0.0")),
        ({}, Agent(), None, None),
    ],
)
def test_os_and_client_are_the_sdks_else_the_agents(
    members: dict[str, Any], agent: Agent, os: tuple[str | None, ...] | None, client: tuple[str | None, ...] | None
) -> None:
    """For events of apps the SDK's own members win; a browser tells the rest."""
    meta = record(members, request(agent=agent)).meta

    assert meta.os == (os and Named(*os))
    assert meta.client == (client and Named(*client))


def test_what_is_kept_of_devices_is_not_mixed_up() -> None:
    """Senders that differ in agent, header or app get their own answer for the same device."""
    device = {"platform": "web", "os_version": "1"}
    other = App(id="app_other", project_id="prj_demo", organization_id="org_demo", environment="b")
    senders = [
        request(),
        request(agent=CHROME_ON_MAC),
        request(environment="h"),
        request(app=other),
        request(app=other, agent=CHROME_ON_MAC),
    ]
    found = [(record(device, each).meta.environment, record(device, each).meta.client) for each in senders * 2]

    chrome = CHROME_ON_MAC.client
    assert found == [(None, None), (None, chrome), ("h", None), ("b", None), ("b", chrome)] * 2


def test_many_and_long_devices_are_right_too() -> None:
    """What is kept is bounded; what is beyond the bound is answered all the same."""
    versions = [f"{number}" for number in range(1500)] + ["x" * 300]
    for version in versions:
        meta = record({"platform": "ios", "app_version": version}).meta
        assert meta.client == Named(APP.id, version)


def test_notes_stand_in_meta() -> None:
    """They are codes; an event of which nothing was changed has none."""
    assert record({"ip": "203.0.113.7", "imei": "1"}).meta.notes == ("address_removed", "hardware_id_removed")
    assert record({}).meta.notes == ()


def test_texts_are_encoded_whole() -> None:
    """Quotes, control characters and any script survive in ids, names and values."""
    text = 'q"\\\n\u2028é😀'
    found = record({"platform": text, "environment": text, text: text}, event_id=text)

    assert (found.meta.event_id, found.meta.environment, found.event[text]) == (text, text, text)
    assert found.event["timestamp"] == TIME
