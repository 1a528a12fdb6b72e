"""How events are told apart, counted and kept."""

import pytest

from devservices.platforms import ledger as ledger_module
from devservices.platforms.fake import FakePlatforms
from devservices.platforms.ledger import Key, Ledger, TakenEvent
from devservices.platforms.names import Platform
from tests.devservices.platforms.wire import DATASET, PIXEL, Client, Clock, meta_event, tiktok_event, web_event

HOUR_S = 3600


def _event(event_id: str, received_ms: int = 0) -> TakenEvent:
    return TakenEvent(Platform.META, "1", "Purchase", event_id, received_ms, "", "", b"{}")


def test_an_event_counts_once(platforms: FakePlatforms, client: Client) -> None:
    """Of a name and id only the first is kept, also within a call; every further one is counted."""
    first, second = web_event("e-1"), web_event("e-1", custom_data={"n": 2})
    client.meta(first, second)
    client.meta(second, web_event("e-2"))
    client.tiktok(tiktok_event("e-1"))

    assert [event.content for event in platforms.ledger.events(Platform.META)] == [first, web_event("e-2")]
    assert platforms.ledger.repeats() == {Key(Platform.META, DATASET, "ViewContent", "e-1"): 3}
    assert platforms.ledger.times() == {
        Key(Platform.META, DATASET, "ViewContent", "e-1"): 3,
        Key(Platform.META, DATASET, "ViewContent", "e-2"): 1,
        Key(Platform.TIKTOK, PIXEL, "Purchase", "e-1"): 1,
    }
    assert [(call.taken, call.repeated) for call in platforms.ledger.calls()] == [(1, 1), (1, 1), (1, 0)]


def test_name_destination_and_platform_tell_events_apart(platforms: FakePlatforms, client: Client) -> None:
    """The same id under another name, at another destination or platform is another event."""
    client.meta(web_event(), meta_event())
    client.meta(web_event(), dataset="2")
    client.tiktok(tiktok_event(), tiktok_event(event="Search"))
    client.tiktok(tiktok_event(), source_id="2")

    assert len(platforms.ledger.events()) == 6
    assert platforms.ledger.repeats() == {}


def test_an_event_without_an_id_is_always_another(platforms: FakePlatforms, client: Client) -> None:
    """Nothing tells it from its copy, so the copy counts."""
    client.meta(web_event(event_id=""), web_event(event_id=""))

    assert len(platforms.ledger.events()) == 2
    assert platforms.ledger.times() == {}


def test_after_48_hours_a_copy_counts_again(platforms: FakePlatforms, client: Client, clock: Clock) -> None:
    """Within 48 hours of the first a copy is merged; later it is a second conversion."""
    client.meta(web_event())
    clock.now_s += 48 * HOUR_S - 1
    client.meta(web_event())
    assert len(platforms.ledger.events()) == 1

    clock.now_s += 1
    client.meta(web_event())
    assert len(platforms.ledger.events()) == 2
    assert list(platforms.ledger.times().values()) == [3]


def test_it_is_known_when_an_event_was_taken(platforms: FakePlatforms, client: Client, clock: Clock) -> None:
    """Each time, also of those that count once; an event that came once has one time."""
    begun_ms = int(clock.now_s * 1000)
    client.meta(web_event("e-1"))
    clock.now_s += 1
    client.meta(web_event("e-1"), web_event("e-2"))

    assert platforms.ledger.takes_ms() == {
        Key(Platform.META, DATASET, "ViewContent", "e-1"): [begun_ms, begun_ms + 1000],
        Key(Platform.META, DATASET, "ViewContent", "e-2"): [begun_ms + 1000],
    }
    assert platforms.ledger.takes_ms(Platform.TIKTOK) == {}


def test_a_refused_call_leaves_no_trace_in_what_was_taken(platforms: FakePlatforms, client: Client) -> None:
    """An event that came with a bad one may come again."""
    client.meta(web_event("e-1"), web_event("e-2", event_time=0))
    client.meta(web_event("e-1"))

    assert platforms.ledger.times() == {Key(Platform.META, DATASET, "ViewContent", "e-1"): 1}


def test_everything_can_be_forgotten(platforms: FakePlatforms, client: Client) -> None:
    """After `forget` nothing has arrived, and the same event is new."""
    client.meta(web_event(), web_event(event_id=""))
    platforms.ledger.forget()

    assert (platforms.ledger.events(), platforms.ledger.calls(), platforms.ledger.violations()) == ([], [], [])
    assert platforms.ledger.totals()[Platform.META] == ledger_module.Totals()
    client.meta(web_event())
    assert platforms.ledger.totals()[Platform.META] == ledger_module.Totals(calls=1, events=1)


def test_the_newest_events_are_kept_and_all_are_counted() -> None:
    """A bound on what is kept is none on what is counted."""
    ledger = Ledger(events_kept=2)
    ledger.take(Platform.META, [_event(f"e-{number}") for number in range(5)])

    assert [event.event_id for event in ledger.events()] == ["e-3", "e-4"]
    assert ledger.totals()[Platform.META].events == 5
    assert ledger.take(Platform.META, [_event("e-0")]) == (0, 1)


def test_keys_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest key is forgotten for the newest, together with its count."""
    monkeypatch.setattr(ledger_module, "KEYS_MAX", 2)
    ledger = Ledger()
    ledger.take(Platform.META, [_event("e-1"), _event("e-1"), _event("e-2"), _event("e-3")])

    assert [key.event_id for key in ledger.times()] == ["e-2", "e-3"]
    assert ledger.repeats() == {}


def test_waits_end_when_events_have_come(platforms: FakePlatforms, client: Client) -> None:
    """A wait for what has come ends at once, one for more at its timeout."""
    client.meta(web_event())

    assert platforms.ledger.wait_for_events(1)
    assert platforms.ledger.wait_for_calls(1)
    assert not platforms.ledger.wait_for_events(2, timeout_s=0)
    assert not platforms.ledger.wait_for_calls(2, timeout_s=0)
