import json
from typing import Any

import msgspec
import pytest

from ingest.conversion import CONVERSION_VERSION, Conversion, ConversionRecord, Platform
from ingest.event import Named, Processed, Record
from ingest.pipeline.convert import (
    CONTENT_IDS_MAX,
    DIGESTS_MAX,
    LINK_CHARS_MAX,
    NUMBER_MAX,
    TEXT_CHARS_MAX,
    converter_of,
)
from ingest.pipeline.decode import decode, decode_one
from ingest.pipeline.header import AGENT_MAX
from ingest.pipeline.process import process
from ingest.pipeline.request import Agent, Limits, Region, Request
from ingest.pipeline.statements import validate_properties
from ingest.transport import local_log
from ingest.transport.kafka import publisher
from normalize import EMPTY, SCHEME, Canonical, email_digest, phone_digests
from tests.ingest.pipeline.batches import (
    FORWARDING,
    LIMITS,
    TIME,
    body,
    conversions,
    converted,
    event,
    records,
    request,
    through,
)

META, TIKTOK = Platform.META, Platform.TIKTOK
IDFA = "6D92078A-8246-4BA4-AE5B-76104861E7DC"
ZERO = "00000000-0000-0000-0000-000000000000"
AGENT = b"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0"
DIGEST = "ab" * 32


def sender(*own: str, **facts: Any) -> Request:
    """Return a request of the app that forwards."""
    return request(*own, app=FORWARDING, **facts)


def one(sent: dict[str, Any], by: Request | None = None) -> ConversionRecord:
    """Return the only conversion of a batch of one event."""
    (found,) = converted(sent, sender=by or sender())
    return found


def conversion(**members: Any) -> Conversion:
    """Return the conversion of an event with these members."""
    return one(event(**members)).event


# Which events


def test_an_event_goes_where_its_name_leads() -> None:
    """By the app's own map for one platform, by the default names for the other, to both, or nowhere."""
    names = ["view", "screen_view", "purchase_success", "search", "opened", "View"]
    done = through(body(*(event(event=name, event_id=name) for name in names)), sender())

    assert [(each.event.event, each.event.to) for each in conversions(done)] == [
        ("view", {META: "ViewContent"}),
        ("screen_view", {TIKTOK: "PageView"}),
        ("purchase_success", {TIKTOK: "Purchase"}),
        ("search", {TIKTOK: "Search"}),
    ]
    assert done.routed == {META: 1, TIKTOK: 3}
    assert len(done.records) == len(names)


def test_an_app_without_forwarding_has_no_conversions() -> None:
    """Its events are records and nothing else."""
    done = through(body(event(event="purchase_success")), request(user_agent=AGENT))

    assert (len(done.records), done.conversions, done.routed) == (1, [], {})
    assert converter_of(request(), ()) is None


def test_a_key_for_tests_makes_no_conversions() -> None:
    """What a partner tries out is not counted at a platform; an app that calls its events so is taken at its word."""
    fixed = msgspec.structs.replace(sender(environment="test"), environment_fixed=True)

    assert converted(event(), sender=fixed) == []
    assert len(converted(event(environment="test"))) == 1


def test_what_is_said_of_a_user_is_no_conversion() -> None:
    """Also where it has a member with the name of one."""
    said = {"event": "view", "timestamp": TIME, "app_user_id": "u-1", "properties": {"a": 1}}
    done = process(decode_one(json.dumps(said).encode()), sender(), LIMITS, validate_properties)

    assert (len(done.records), done.conversions, done.routed) == (1, [], {})


def test_only_accepted_events_have_conversions() -> None:
    """Each once: neither a repeat within the batch nor a rejected event has one; keys are those of the events."""
    done = through(
        body(
            event(event_id="a", install_id="i1"),
            event(event_id="a", install_id="i1"),
            event(event_id="b", app_id="app_other"),
            event(event_id="c", pad="x" * 40_000),
            {"event": "view"},
            event(event_id="d", install_id="i2", advertising=False),
            event(event_id="e", install_id="ann@example.com"),
        ),
        sender(),
    )

    assert [each.meta.event_id for each in conversions(done)] == ["a", "e"]
    assert [each.key for each in done.conversions] == [done.records[0].key, done.records[2].key]
    assert done.routed == {META: 2}


def test_a_name_or_time_that_is_too_long_goes_nowhere() -> None:
    """A conversion is worth nothing without them; the event itself is stored."""
    text = TIME.replace("Z", "0" * TEXT_CHARS_MAX + "Z")
    done = through(body(event(timestamp=text), event(idfa="view")), sender())

    assert (len(done.records), done.conversions, done.routed) == (2, [], {})


# What is told


def test_meta_is_that_of_the_event() -> None:
    """As far as forwarding needs it, with the same meaning and the same values."""
    by = sender(region=Region("DE", "BE"), agent=Agent(Named("Android", "14"), None))
    done = through(body(event(event_id=7, platform="unity", os_version="14"), sent_at=TIME), by)
    (meta,), (found,) = [each.meta for each in records(done)], [each.meta for each in conversions(done)]

    assert msgspec.to_builtins(found) == {
        "v": CONVERSION_VERSION,
        "app_id": "app_demo",
        "project_id": "prj_demo",
        "organization_id": "org_demo",
        "received_at": meta.received_at,
        "request_id": meta.request_id,
        "source": "sdk",
        "scheme": SCHEME,
        "event_id": "7",
        "country_code": "DE",
        "subdivision1_code": "BE",
        "os_name": "Android",
    }
    assert meta.os is not None
    assert meta.os.name == found.os_name


@pytest.mark.parametrize(
    ("platform", "agent", "expected"),
    [
        ("ios", Agent(Named("Linux", None), None), "ios"),
        ("web", Agent(Named("Mac OS X", "15"), None), "Mac OS X"),
        ("web", Agent(), None),
        (None, Agent(), None),
        (["ios"], Agent(), None),
    ],
)
def test_the_system_is_that_of_the_event_else_of_the_agent(platform: Any, agent: Agent, expected: str | None) -> None:
    """As in the event's own record."""
    assert one(event(platform=platform), sender(agent=agent)).meta.os_name == expected


def test_a_purchase_in_an_app() -> None:
    """Everything that the platforms can use, from the top level and from `properties`, and nothing else."""
    sent = event(
        user_id=17, app_user_id="u-1", install_id="i-1", anonymous_id="a-1", platform="android", os_version="15",
        app_version="4.2.0", build_number="2042", device_model="Pixel 8", locale="en-US", timezone="Europe/Berlin",
        screen_size="1344x2992", gaid=IDFA, session_id="s-1", idfv=IDFA[::-1], note="secret-17",
        properties={
            "email": " Ann@Example.com", "phone": "+1 213-373-4253", "revenue": 9.99, "price": 1, "currency": "USD",
            "order_id": 1000000000000001, "product_id": "com.example.gold", "content_name": "Gold", "quantity": 2,
            "store": "secret-17", "query": "gold", "ttclid": "E.C.P.1", "fbclid": "IwAR0", "$fbp": "fb.1.2.3",
            "$fbc": "fb.1.2.IwAR0", "$ttp": "cookie", "client_ip": "203.0.113.7",
        },
    )  # fmt: skip
    found = one(sent, sender("203.0.113.7", user_agent=AGENT)).event
    phone = phone_digests("+1 213-373-4253")

    assert phone is not None
    assert msgspec.to_builtins(found) == {
        "event": "view", "timestamp": TIME, "to": {"meta": "ViewContent"},
        "user_id": "17", "app_user_id": "u-1", "install_id": "i-1", "anonymous_id": "a-1", "platform": "android",
        "os_version": "15", "app_version": "4.2.0", "build_number": "2042", "device_model": "Pixel 8",
        "locale": "en-US", "timezone": "Europe/Berlin", "screen_size": "1344x2992", "gaid": IDFA,
        "email_sha256": (email_digest("ann@example.com"),), "phone_sha256": (phone.digits,),
        "phone_e164_sha256": (phone.e164,), "value": 9.99, "currency": "USD", "order_id": "1000000000000001",
        "content_ids": ("com.example.gold",), "content_name": "Gold", "quantity": 2, "query": "gold",
        "ttclid": "E.C.P.1", "fbclid": "IwAR0", "fbp": "fb.1.2.3", "fbc": "fb.1.2.IwAR0", "ttp": "cookie",
        "user_agent": AGENT.decode(),
    }  # fmt: skip


TEXTS = (
    *("platform", "os_version", "app_version", "build_number", "device_model", "locale", "timezone", "screen_size"),
    *("att_status", "fbp", "ttp", "currency", "content_name", "query"),
)
LINKS = ("page_url", "referrer", "fbc", "fbclid", "ttclid")
IDS = ("user_id", "app_user_id", "install_id", "anonymous_id", "order_id")


@pytest.mark.parametrize("name", [*TEXTS, *LINKS, *IDS])
def test_the_top_comes_first_and_what_cannot_be_used_is_passed_over(name: str) -> None:
    """Empty, null, too long and of another type is as if it were not there; nothing is ever cut."""
    bound = LINK_CHARS_MAX if name in LINKS else TEXT_CHARS_MAX
    for unusable in ("", None, True, 1.5, ["a"], {"a": 1}, "x" * (bound + 1)):
        found = conversion(**{name: unusable}, properties={name: "b"})
        assert getattr(found, name) == "b"
        assert getattr(conversion(**{name: unusable}), name) is None
    assert getattr(conversion(**{name: "a"}, properties={name: "b"}), name) == "a"
    assert getattr(conversion(**{name: "é" * bound}), name) == "é" * bound
    assert getattr(conversion(**{name: 17}), name) == ("17" if name in IDS else None)


@pytest.mark.parametrize(
    ("member", "names"),
    [
        ("fbc", ["$fbc", "fbc"]),
        ("fbp", ["$fbp", "fbp"]),
        ("ttp", ["$ttp", "ttp"]),
        ("order_id", ["order_id", "transaction_id"]),
        ("query", ["query", "search_string"]),
        ("page_url", ["$page_url", "page_url"]),
    ],
)
def test_other_names_for_the_same(member: str, names: list[str]) -> None:
    """The first of them counts, wherever it stands."""
    first, second = names
    assert getattr(conversion(**{second: "b"}), member) == "b"
    assert getattr(conversion(**{second: "b"}, properties={first: "a"}), member) == "a"
    assert getattr(conversion(properties={second: "b", first: ""}), member) == "b"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("web", "https://a.example/"), ("Web", "https://a.example/"), ("ios", None), (None, None)],
)
def test_a_url_is_the_pages_on_the_web_alone(platform: str | None, expected: str | None) -> None:
    """In an app it may be a deep link; a page's own member counts before it."""
    assert conversion(platform=platform, properties={"url": "https://a.example/"}).page_url == expected
    assert conversion(platform=platform, url="x", properties={"$page_url": "y"}).page_url == "y"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0), (-5, -5), (9.99, 9.99), (-0.5, -0.5), (NUMBER_MAX, NUMBER_MAX), ("9.99", 9.99), ("10", 10),
        ("-1.50", -1.5), (NUMBER_MAX + 1, None), (-NUMBER_MAX - 1, None), (1e300, None), (10**400, None),
        ("9" * 17, None), ("1e5", None), ("9,99", None), ("1.", None), (".5", None), (" 1", None), ("1\n", None),
        ("+1", None), ("\u0661", None), ("inf", None), ("nan", None), ("", None), (True, None), (False, None),
        (None, None), ([1], None), ({"amount": 1}, None),
    ],
)  # fmt: skip
def test_values_are_numbers_or_plain_decimals(value: Any, expected: float | None) -> None:
    """A boolean, an amount that nobody means and a text that could mean two things are none; the type stays."""
    found = conversion(properties={"value": value}).value
    assert (found, type(found)) == (expected, type(expected))


def test_the_value_is_that_of_the_first_name_with_its_own_currency() -> None:
    """Revenue before price, value and amount; a currency beside the value before one elsewhere."""
    members = {"amount": 4, "value": 3, "price": 2, "revenue": 1}
    for name, value in [("revenue", 1), ("price", 2), ("value", 3), ("amount", 4)]:
        assert conversion(properties=members).value == value
        del members[name]
    assert conversion(amount=5, properties={"price": "no", "value": 3}).value == 3
    beside = conversion(currency="USD", properties={"revenue": 1, "currency": "EUR"})
    elsewhere = conversion(currency="USD", properties={"revenue": 1})
    assert (beside.currency, elsewhere.currency) == ("EUR", "USD")
    assert conversion(properties={"currency": "EUR"}).currency == "EUR"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"product_id": "p", "item_id": "i", "content_ids": ["c"]}, ("p",)),
        ({"item_id": 17, "content_id": "c"}, ("17",)),
        ({"content_id": "c", "content_ids": ["d"]}, ("c",)),
        ({"product_id": [], "content_ids": ["a", 5, None, "", True, {"a": 1}, "b"]}, ("a", "5", "b")),
        ({"content_ids": "a"}, ("a",)),
        ({"content_ids": [str(n) for n in range(300)]}, tuple(str(n) for n in range(CONTENT_IDS_MAX))),
        ({"content_ids": {"a": 1}, "product_id": 1.5}, ()),
    ],
)
def test_content_has_ids(members: dict[str, Any], expected: tuple[str, ...]) -> None:
    """One or several, as texts, of the first member that has any."""
    assert conversion(properties=members).content_ids == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(2, 2), (0, 0), ("2", None), (2.0, None), (True, None), (NUMBER_MAX + 1, None)]
)
def test_a_quantity_is_an_integer(value: Any, expected: int | None) -> None:
    """And nothing else is made one."""
    assert conversion(properties={"quantity": value}).quantity == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"email": "ann@example.com", "properties": {"email": "bob@example.com"}}, (email_digest("ann@example.com"),)),
        ({"email": ["ann@example.com", "ANN@example.com"]}, (email_digest("ann@example.com"),)),
        ({"email_hash": DIGEST.upper()}, (DIGEST,)),
        ({"email_sha256": EMPTY, "properties": {"email_sha256": DIGEST}}, (DIGEST,)),
        ({"email_sha256": [EMPTY]}, ()),
        ({"email": None, "email_sha256": True}, ()),
        ({"email_sha256": [f"{n:064x}" for n in range(40)]}, tuple(f"{n:064x}" for n in range(DIGESTS_MAX))),
        ({"properties": {"user": {"email": "ann@example.com"}}}, ()),
    ],
)  # fmt: skip
def test_digests_are_lower_case_and_say_something(members: dict[str, Any], expected: tuple[str, ...]) -> None:
    """Those of the identified event, one or several, each once, never the one of nothing."""
    assert conversion(**members).email_sha256 == expected


def test_a_chinese_number_has_its_third_form() -> None:
    """One platform wants it without the country code."""
    found, phone = conversion(properties={"phone": "+86 138 0000 0000"}), phone_digests("+86 138 0000 0000")

    assert phone is not None
    assert (found.phone_sha256, found.phone_e164_sha256) == ((phone.digits,), (phone.e164,))
    assert found.phone_national_sha256 == (phone.national,)


# What must not be told


def test_an_advertising_id_goes_along_only_where_it_may() -> None:
    """In its own member, whatever the texts hold; without it the event goes all the same."""
    members = {"$page_url": f"https://a.example/?idfa={IDFA}&x=1", "content_name": f"of {IDFA.lower()}"}
    for status, expected in [("authorized", IDFA), ("denied", None)]:
        sent = event(idfa=IDFA, att_status=status, platform="ios", properties=members)
        agent = f"App/1.0 ({IDFA.lower()}; {IDFA.replace('-', '')})".encode()
        done = through(body(sent), sender(user_agent=agent))
        (found,) = conversions(done)

        assert (found.event.idfa, found.event.gaid, found.event.att_status) == (expected, None, status)
        assert done.conversions[0].value.lower().count(IDFA.lower().encode()[:8]) == (expected is not None)
        assert found.event.user_agent == "App/1.0 (; )"
        assert IDFA[:8].lower().encode() not in done.records[0].value.lower()


def test_an_id_beside_the_events_stands_in_no_agent() -> None:
    """As it may stand in no other text of the batch."""
    (found,) = converted(event(), sender=sender(user_agent=f"App ({IDFA})".encode()), device={"gaid": IDFA})
    assert (found.event.gaid, found.event.user_agent) == (None, "App ()")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (AGENT, AGENT.decode()),
        (None, None),
        (b"", None),
        (b"x" * AGENT_MAX, "x" * AGENT_MAX),
        (b"x" * (AGENT_MAX + 1), None),
        (b"App (ann@example.com)", f"App (sha256:{email_digest('ann@example.com')})"),
        (b"App (203.0.113.7; 203%2E0.113.7)", "App (; )"),
        (f"App ({ZERO})".encode(), "App ()"),
        (b"203.0.113.7", None),
        (b"ann@example.com " * 30, None),
        ("App/1 é".encode(), "App/1 é"),
        (b"App/1 \xe9", "App/1 é"),
    ],
)
def test_the_user_agent_is_raw_but_for_what_identifies(header: bytes | None, expected: str | None) -> None:
    """Whole or not at all, under the rule for texts, with the client's own addresses."""
    assert one(event(), sender("203.0.113.7", user_agent=header)).event.user_agent == expected


def test_each_event_has_the_agent_without_its_own_ids() -> None:
    """Ids of one event are no secret of another's, and a device's need not be looked for twice."""
    other = IDFA[::-1]
    sent = [event(event_id=str(n), gaid=gaid) for n, gaid in enumerate([IDFA, None, IDFA, other])]
    found = converted(*sent, sender=sender(user_agent=f"{IDFA} {other}".encode()))

    assert [each.event.user_agent for each in found] == [f" {other}", f"{IDFA} {other}", f" {other}", f"{IDFA} "]


def test_an_event_too_dense_to_look_for_ids_has_no_agent() -> None:
    """The look costs as much as the texts are dense; the rest of the conversion stays."""
    (found,) = converted(event(note="= " * 200, locale="de"), sender=sender(user_agent=AGENT))
    assert (found.event.user_agent, found.event.locale) == (None, "de")


def test_a_request_does_not_show_what_it_holds() -> None:
    """Its representation may end in an error report."""
    shown = repr(sender("203.0.113.7", user_agent=b"secret-17", sdk="secret-17"))

    assert "secret-17" not in shown
    assert "203.0.113.7" not in shown


# How large


def longest() -> tuple[bytes, Request]:
    """Return the batch and the sender whose conversion is as large as one can be."""
    long = "\x01"  # six bytes in JSON, more than any other character needs
    members: dict[str, Any] = dict.fromkeys((*TEXTS, *IDS), long * TEXT_CHARS_MAX)
    members |= dict.fromkeys(LINKS, long * LINK_CHARS_MAX)
    members |= {name: [f"{n:064x}" for n in range(1, 40)] for name in Canonical}
    members |= {"content_ids": [long * TEXT_CHARS_MAX] * 300, "value": -0.1234567890123456, "quantity": -NUMBER_MAX}
    members |= {"event_id": "a@b " * 50, "gaid": IDFA, "att_status": None}
    app = msgspec.structs.replace(
        FORWARDING,
        id="a" * 64,
        event_map=msgspec.structs.replace(FORWARDING.event_map, meta={"view": long * 200}, tiktok={"view": long * 200}),
    )
    by = request(app=app, region=Region("DE", "ABC"), user_agent=b"\x01" * AGENT_MAX)
    sent = event(**members, timestamp=TIME.replace("Z", "1" * (TEXT_CHARS_MAX - len(TIME)) + "Z"))
    return json.dumps({"events": [sent]}).encode(), by


def test_a_record_has_a_largest_size() -> None:
    """Half of what a transport takes, so that with any key with which the event itself is stored it is stored too."""
    text, by = longest()
    done = process(decode(text, events_max=1), by, Limits(events_max=1, event_bytes_max=2**24, nesting_max=64))
    (record,) = done.conversions
    (found,) = conversions(done)

    unset = {name for name in Conversion.__struct_fields__ if getattr(found.event, name) in (None, ())}
    assert unset == {"idfa", "att_status"}
    assert len(found.event.content_ids) == CONTENT_IDS_MAX
    assert 400_000 < len(record.value) < 500_000
    assert 2 * len(record.value) <= min(local_log.RECORD_BYTES_MAX, publisher.RECORD_BYTES_MAX)


def test_a_batch_without_mapped_events_costs_no_look_at_the_agent() -> None:
    """The header is read where a conversion is made, and nowhere else."""

    class Unread(bytes):
        """A header that must not be read."""

        def decode(self, *_: Any, **__: Any) -> str:
            """Fail the test."""
            raise AssertionError

    def go(*events: Any) -> tuple[list[Record], Processed]:
        done = through(body(*events), sender(user_agent=Unread(b"x")))
        return done.conversions, done

    assert go(event(event="opened"), event(advertising=False))[0] == []
    with pytest.raises(AssertionError):
        go(event())
