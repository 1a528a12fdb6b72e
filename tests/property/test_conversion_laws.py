"""Laws of what is handed on to advertising platforms, for anything that a client can send."""

import json
from typing import Any
from urllib.parse import quote

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.conversion import ConversionRecord
from ingest.event import ValidEvent
from ingest.pipeline.advertising import advertising_id
from ingest.pipeline.convert import LINK_CHARS_MAX
from normalize import EMPTY, fold
from normalize.members import EXEMPT
from tests.ingest.pipeline.batches import FORWARDING, body, conversions, event, records, request, through
from tests.property.test_pipeline_laws import IDFA, V4, V6, as_sent, hiding, names, objects, texts, values

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

AGENTS = st.sampled_from(["", "App/1 ({})", "{}", "Mozilla/5.0 (X11; {}) Chrome/126.0"])
ZEROS = "00000000-0000-0000-0000-000000000000"
TAKEN = [
    *("event", "timestamp", "user_id", "app_user_id", "install_id", "anonymous_id", "platform", "os_version"),
    *("att_status", "page_url", "$page_url", "url", "referrer", "$fbc", "fbp", "fbclid", "ttclid", "$ttp", "revenue"),
    *("price", "value", "currency", "order_id", "transaction_id", "product_id", "content_ids", "content_name"),
    *("quantity", "query", "search_string", "email", "phone", "email_sha256", "phone_e164_sha256", "idfa", "gaid"),
    *("advertising_id", "idfv", "advertising", "consent", "properties", "locale"),
]
few = st.one_of(
    values,
    texts,
    st.sampled_from(["ios", "android", "web", "authorized", "denied", IDFA, ZEROS, EMPTY, "9.99", "EUR", "x" * 600]),
)
members = st.dictionaries(st.one_of(st.sampled_from(TAKEN), names), few, max_size=12)
bodies = st.builds(lambda top, inner: top | ({"properties": inner} if inner else {}), members, members)


def sender(agent: str) -> Any:
    """Return a request of an app that forwards."""
    return request(V4, V6, app=FORWARDING, user_agent=agent.encode("utf-8", "replace") or None)


@quick
@given(bodies, AGENTS, texts)
def test_a_conversion_is_one_whatever_was_sent(sent: dict[str, Any], agent: str, said: str) -> None:
    """It decodes strictly, is the same after another encoding, and belongs to an event of the batch."""
    text = msgspec.json.encode({"events": [event() | as_sent(sent) | event()]})
    done = through(text, sender(agent.format(said)))

    for record, found in zip(done.conversions, conversions(done), strict=True):
        again = msgspec.json.decode(msgspec.json.encode(found), type=ConversionRecord, strict=True)
        assert again == found
        assert [record.key] == [each.key for each in done.records]
        assert [found.meta.event_id] == [each.meta.event_id for each in records(done)]
        assert EMPTY not in (*found.event.email_sha256, *found.event.phone_sha256)
        for value in msgspec.to_builtins(found.event).values():
            assert not isinstance(value, str) or 0 < len(value) <= LINK_CHARS_MAX


@quick
@given(bodies, AGENTS)
def test_an_id_stands_in_its_own_member_or_nowhere(sent: dict[str, Any], agent: str) -> None:
    """The conversion holds at most the one id that may be handed on, once; the event's record holds none."""
    whole = event() | as_sent(sent) | event()
    allowed = advertising_id(ValidEvent(whole))
    texts_of_ids = [value for place in (whole, whole.get("properties")) for value in ids_in(place)]
    app_ids = json.dumps([whole.get(name) for name in EXEMPT]) + json.dumps(
        [place.get(name) for name in EXEMPT if isinstance(place := whole.get("properties"), dict)]
    )
    done = through(msgspec.json.encode({"events": [whole]}), sender(agent.format(IDFA)))

    for found in conversions(done):
        assert (found.event.idfa, found.event.gaid) == allowed
    for value in texts_of_ids:
        if value in app_ids:
            continue  # an app's own ids are kept whatever they hold
        times = sum(each == value for each in allowed)
        assert b"".join(each.value for each in done.records).count(value.encode()) == 0
        assert all(each.value.count(value.encode()) <= times for each in done.conversions)
    assert ZEROS not in allowed
    if not any(ZEROS.encode() in each.value for each in done.records):  # as part of a longer number it is none
        assert not any(ZEROS.encode() in each.value for each in done.conversions)


def ids_in(place: Any) -> list[str]:
    """Return the UUIDs that stand in an object under the name of an advertising id."""
    return [
        value
        for name, value in (place if isinstance(place, dict) else {}).items()
        if fold(name) in {"idfa", "gaid", "advertisingid", "idfv"} and value == IDFA
    ]


@quick
@given(hiding(), st.sampled_from([name for name in TAKEN if name not in ("event", "timestamp", *EXEMPT)]), AGENTS)
def test_what_identifies_is_not_handed_on(hidden: tuple[str, Any], name: str, agent: str) -> None:
    """No raw address, phone number or own address, wherever it stands in an event or in the user agent."""
    secret, value = hidden
    sent = event(z=value, properties={name: value, "gaid": IDFA}, **({} if name == "properties" else {name: value}))
    done = through(body(sent), sender(agent.format(secret)))

    for record in done.conversions:
        found = msgspec.json.decode(record.value, type=ConversionRecord)
        out = (record.key + record.value).decode().lower()
        if secret == IDFA and found.event.gaid == IDFA:
            assert out.count(IDFA.lower()) == 1
            continue
        for form in (secret, quote(secret, safe=""), quote(quote(secret, safe=""), safe="")):
            assert form.lower() not in out


@quick
@given(objects)
def test_conversions_change_nothing_about_events(sent: dict[str, Any]) -> None:
    """The records of an app that forwards are those of one that does not."""
    text = msgspec.json.encode({"events": [event() | as_sent(sent) | event()]})
    plain, forwarded = through(text, request(V4, V6)), through(text, sender("App/1"))

    assert plain.records == forwarded.records
    assert (plain.duplicates, plain.rejected, plain.notes) == (
        forwarded.duplicates,
        forwarded.rejected,
        forwarded.notes,
    )
