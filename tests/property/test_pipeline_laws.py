"""Laws of the way from a body to records, for anything that a client can send."""

import json
from copy import deepcopy
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import quote

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import normalize
from ingest.errors import Code, Refusal
from ingest.event import Decoded, EventRecord, ValidEvent
from ingest.outcome import Fault
from ingest.pipeline.identify import UNEXPECTED_TYPE, identify
from normalize import OwnAddresses
from normalize.members import EXEMPT, FAMILIES
from tests.ingest.pipeline.batches import LIMITS, body, decoded, event, records, request, through

quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

V4, V6 = "203.0.113.77", "2001:db8::17"
OWN = OwnAddresses([IPv4Address(V4), IPv6Address(V6)])
SENDER = request(V4, V6)
IDFA = "6D92078A-8246-4BA4-AE5B-76104861E7DC"
DIGEST = "ab" * 32


def spellings(name: str) -> st.SearchStrategy[str]:
    """Return ways to write a member's name that mean the same, and some with parts."""
    return st.sampled_from(
        [name, name.upper(), name.title(), f"${name}", "_".join(name), f"{name[:1]}-{name[1:]}", f" {name} ",
         f"user.{name}", f"user[{name}]", f"{name}[]", f"{name}.0", name.replace("i", "\u0130")]
    )  # fmt: skip


family_names = st.sampled_from(sorted(name for names in FAMILIES.values() for name in names)).flatmap(spellings)
own_names = st.sampled_from(
    ["email", "phone", "email_sha256", "phone_hash", "phone_e164_sha256", "idfa", "ip", "imei", *EXEMPT, "properties",
     "platform", "install_id", "event_id", "batch_id", "a", "b", "c d", "x@y.zz", "+4915112345678", V4, IDFA, ""]
)  # fmt: skip
names = st.one_of(own_names, family_names, st.text(max_size=6))

pieces = st.sampled_from(
    ["ann@example.com", "Ann%40example.com", "ann%2540example.com", "+1 (415) 555-0132", "%2B14155550132", V4,
     "203.000.113.077",
     "::ffff:cb00:714d", "2001:DB8:0:0::17", "[2001:db8::17]", IDFA, IDFA.lower(), IDFA.replace("-", ""), DIGEST,
     "00000000-0000-0000-0000-000000000000", "https://example.com/?", "email=ann", "&gaid=" + IDFA, "ip=" + V4, "&",
     "=", " ", "\n",
     '"', "\\", "/", "é", "日本", "\uff0b4915112345678", "12345678", "unknown", "x"]
)  # fmt: skip
texts = st.one_of(st.text(max_size=8), st.lists(pieces, min_size=1, max_size=4).map("".join))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(names, values, max_size=6)

# Few names and texts, so that those which act on each other meet.
few_names = st.sampled_from(
    ["a", "b", "idfa", "gaid", "email", "phone", "ip", "mail", "email_sha256", "user_id", "user.email", "x=1", V4, IDFA]
)
few_texts = st.sampled_from(
    [IDFA, f"id {IDFA.lower()}", IDFA.replace("-", ""), f"?gaid={IDFA}", f"%3Fidfa%3D{IDFA}", f"?a=1&user[idfa]={IDFA}",
     "ann@example.com", "Ann@example.com ", "?email=ann@example.com", f"?ip={V4}", f"by {V4}", "+14155550132",
     DIGEST, "a"]
)  # fmt: skip
few_values = st.recursive(
    few_texts, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(few_names, inner, max_size=3), max_leaves=4
)
crowded = st.dictionaries(few_names, few_values, min_size=1, max_size=5)


def whole(text: str) -> str:
    """Return a text as JSON in UTF-8 can hold it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def as_sent(value: Any) -> Any:
    """Return a JSON value as the decoder gives it."""
    return msgspec.json.decode(msgspec.json.encode(clean(value)))


def clean(value: Any) -> Any:
    """Return a JSON value without lone surrogates, which only an escape could bring."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    return {whole(name): clean(item) for name, item in value.items()} if isinstance(value, dict) else value


def ordered(value: Any) -> str:
    """Return a text that is equal for equal values with the same order of members."""
    return json.dumps(value)


@settings(quick, max_examples=500)
@example({"url": f"?gaid={IDFA}", "copy": IDFA})
@example({"ip": f"?idfa={IDFA}", "copy": IDFA})
@example({"properties": {"email": f"ann?gaid={IDFA.lower()}"}, "copy": IDFA})
@example({"a": [{"phone": "1", "email": DIGEST}], "user.email": "ann"})
@given(st.one_of(objects, crowded))
def test_the_fast_way_is_the_rules(members: dict[str, Any]) -> None:
    """What `identify` stores is what the walk over every member gives, in values, order and notes."""
    sent = as_sent(members)
    walked = normalize.identify(deepcopy(sent), OWN)
    found = identify(ValidEvent(sent), OWN, bytes_max=2**20, nesting_max=64)

    assert not isinstance(found, Fault)
    assert ordered(json.loads(found.json)) == ordered(walked.value)
    assert ordered(found.event) == ordered(walked.value)
    assert set(found.notes) - {UNEXPECTED_TYPE} == {str(note) for note in walked.notes}


planted = st.sampled_from(
    [V4, "203.0.113.077", V6, "2001:DB8:0:0:0:0:0:17", "ann@example.com", "+1 (415) 555-0132", IDFA]
)


@st.composite
def hiding(draw: st.DrawFn) -> tuple[str, Any]:
    """Draw a secret and a JSON value that holds it somewhere, as value or as name."""
    secret = draw(planted)
    coded = secret
    for _ in range(draw(st.integers(0, 2))):
        coded = quote(coded, safe="")
    text = draw(st.sampled_from(["{}", "by {}!", "https://example.com/a?q={}&x=1", "{}\n"])).format(coded)
    value: Any = text if draw(st.booleans()) else {text: 1}
    for _ in range(draw(st.integers(0, 4))):
        name = draw(names.filter(lambda name: name not in EXEMPT))
        value = draw(st.sampled_from([[value], {name: value}, {"a": 1, name: value}]))
    return secret, value


@settings(quick, max_examples=200)
@given(hiding(), st.booleans())
def test_what_identifies_leaves_in_no_record(hidden: tuple[str, Any], at_root: bool) -> None:  # noqa: FBT001 - drawn
    """Wherever it stands in an event or at the root, under whatever name."""
    secret, value = hidden
    text = body(event(), z=value, gaid=IDFA) if at_root else body(event(z=value, gaid=IDFA))

    for record in through(text, SENDER).records:
        out = (record.key + record.value).decode().lower()
        for form in (secret, quote(secret, safe=""), quote(quote(secret, safe=""), safe="")):
            assert form.lower() not in out


anything = st.one_of(values, objects, objects.map(lambda members: event() | members), st.just(event()))


@quick
@given(st.lists(anything, min_size=1, max_size=6), objects)
def test_every_event_has_one_outcome(sent: list[Any], root: dict[str, Any]) -> None:
    """Received is accepted plus duplicates plus rejected; positions are those of the batch, in order, each once."""
    batch = {"app_id": "app_demo"} | root | {"events": sent}
    done = through(msgspec.json.encode(clean(batch)), SENDER)

    assert len(sent) == len(done.records) + done.duplicates + len(done.rejected)
    places = [each.index for each in done.rejected]
    assert places == sorted(set(places))
    assert set(places) <= set(range(len(sent)))
    assert len({(each.meta.event_id, each.event.get("timestamp")) for each in records(done)}) <= len(done.records)


@quick
@given(st.lists(objects, min_size=1, max_size=4), objects)
def test_records_hold_to_their_schema(sent: list[dict[str, Any]], root: dict[str, Any]) -> None:
    """Each decodes strictly and is equal after another encoding; the key is `app_id:` and an id."""
    done = through(
        msgspec.json.encode(clean(root | {"events": [event() | members | event() for members in sent]})), SENDER
    )

    for record, found in zip(done.records, records(done), strict=True):
        again = msgspec.json.decode(msgspec.json.encode(found), type=EventRecord, strict=True)
        assert again == found
        assert msgspec.to_builtins(found)["event"] == json.loads(record.value)["event"]
        assert record.key.startswith(b"app_demo:")
        assert len(record.key) > len(b"app_demo:")


@quick
@given(objects)
def test_a_second_time_changes_nothing(members: dict[str, Any]) -> None:
    """A record's event, sent again, becomes the same event under the same id and key."""
    first = through(body(as_sent(event() | members | event())), SENDER)
    for record, found in zip(first.records, records(first), strict=True):
        sent = found.event
        if sent.get("event") != "view" or sent.get("timestamp") != event()["timestamp"]:
            continue  # the event called its name or time an advertising id
        (again,) = through(msgspec.json.encode({"events": [sent]}), SENDER).records
        assert json.loads(again.value)["event"] == sent
        assert ordered(json.loads(again.value)["event"]) == ordered(sent)
        assert again.key == record.key


@quick
@given(objects, st.randoms(use_true_random=False))
def test_ids_and_keys_do_not_depend_on_the_order_of_members(members: dict[str, Any], random: Any) -> None:
    """A resend has the identity of the first, however its members are ordered and whoever passes it on."""
    sent = as_sent({name: value for name, value in members.items() if normalize.family(name) is None} | event())
    shuffled = list(sent.items())
    random.shuffle(shuffled)
    first, again = (through(msgspec.json.encode({"events": [each]}), SENDER) for each in (sent, dict(shuffled)))

    if any("member_collision" in each.meta.notes for each in records(first)):
        return  # of names that become one the later one is kept, so that their order is part of the event
    assert [each.key for each in first.records] == [each.key for each in again.records]
    assert [each.meta.event_id for each in records(first)] == [each.meta.event_id for each in records(again)]


plain_names = st.text("abcxyz_", min_size=1, max_size=8).filter(lambda name: normalize.family(name) is None)
plain_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
        st.text("abc é日'\"\\\n.,!-/", max_size=12)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_names, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@quick
@given(st.dictionaries(plain_names, plain_values, max_size=6))
def test_unknown_members_are_unchanged(members: dict[str, Any]) -> None:
    """What identifies nobody is stored with equal values in the same order."""
    (record,) = through(msgspec.json.encode({"events": [event(**members)]}), SENDER).records
    assert ordered(json.loads(record.value)["event"]) == ordered(event(**members))


@quick
@given(
    st.one_of(
        st.binary(max_size=40),
        st.text(max_size=20).map(str.encode),
        anything.map(lambda value: ordered(value).encode()),
    )
)
def test_any_bytes_are_a_batch_or_a_refusal(text: bytes) -> None:
    """Nothing but a refusal is raised, and it repeats nothing."""
    found: Decoded | Refusal
    try:
        found = decoded(text)
    except Refusal as refusal:
        found = refusal
    if isinstance(found, Refusal):
        assert (found.code in {Code.INVALID_JSON, Code.INVALID_BATCH}, found.details) == (True, None)
    else:
        assert 0 < len(found.events) <= LIMITS.events_max


surrogates = st.lists(
    st.sampled_from(["\ud800", "\udfff", "\ud83d", "\ude00", "a", "\ufffd", "\\", "u", "é"]), max_size=6
).map("".join)


@quick
@given(st.lists(st.dictionaries(surrogates, surrogates, max_size=2), min_size=1, max_size=4))
def test_lone_surrogates_become_replacement_characters(sent: list[dict[str, str]]) -> None:
    """Exactly what has no partner is replaced, and exactly the events that had one are marked."""
    # `json.dumps` writes every half by itself, so that two halves side by side are a pair for whoever reads them.
    batch = decoded(json.dumps({"events": sent}).encode())

    assert batch.events == [clean(each) for each in sent]
    lone = {at for at, each in enumerate(sent) if any("\ud800" <= char <= "\udfff" for char in joined(each))}
    assert batch.repaired == lone


def joined(members: dict[str, str]) -> str:
    """Return all text with pairs of surrogates joined, so that only lone ones are left."""
    return " ".join(
        text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        for pair in members.items()
        for text in pair
    )
