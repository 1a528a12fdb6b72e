"""Identifiers that are planted in all that a client can send, and the search for them in all that comes out."""

import base64
import gzip
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from normalize.members import FAMILIES, Family

V4: Final = "203.0.113.77"
V6: Final = "2001:db8:dead:beef::77"
EMAIL: Final = "Canary.Ann@leak-here.example"
PHONE: Final = "+1 (415) 555-0132"
PEER: Final = "127.99.88.77"
"""The socket's address of the client."""
USER: Final = "Canary.User@exempt.example"
"""Stands only in the members that are kept whatever they hold."""

DEVICE: Final = "ca4a27e5-c0de"
"""How every planted advertising id begins."""

ZERO_ID: Final = "00000000-0000-0000-0000-000000000000"

EXEMPT: Final = ("user_id", "app_user_id", "revenuecat_original_app_user_id")

_NEEDLES: Final = (
    *("203.0.113.77", "203.000.113.077", "cb00:714d", "cb00714d", "3405803853"),
    *("dead:beef", "deadbeef"),
    *("127.99.88.77", "7f63:584d", "7f63584d"),
    *("canary.ann", "leak-here", "canary.user", "exempt.example"),
    *(DEVICE, DEVICE.replace("-", ""), ZERO_ID, ZERO_ID.replace("-", "")),
    *("4155550132", "415) 555-0132", "415 555 0132", "415-555-0132", "555-0132"),
)


def _hidden(needle: bytes) -> Iterator[bytes]:
    """Return the needle in hex, and in base64 at every alignment, without what its neighbours would change."""
    yield needle.hex().encode()
    for shift in range(3):
        coded = base64.b64encode(b"\x00" * shift + needle)
        yield coded[(0, 2, 3)[shift] : len(coded) - (4 if (len(needle) + shift) % 3 else 0)]


def _forms() -> Iterator[tuple[str, bytes]]:
    spellings = {V4, V6, EMAIL, EMAIL.lower(), PHONE, PEER, USER, USER.lower(), "14155550132", DEVICE, DEVICE.upper()}
    for spelling in spellings:
        for hidden in _hidden(spelling.encode()):
            yield spelling, hidden
            yield spelling, hidden.translate(bytes.maketrans(b"+/", b"-_"))


_HIDDEN: Final = tuple(_forms())
_ESCAPE: Final = re.compile(rb"\\u([0-9a-fA-F]{4})")


def leaks(data: bytes) -> set[str]:
    """Return which identifiers stand in `data`: as they are, in any case, in percent, JSON, hex or base64 form."""
    lower = data.lower()
    found = {name for name, hidden in _HIDDEN if hidden in data or hidden in lower}
    text = data
    for _ in range(4):
        folded = _ESCAPE.sub(lambda each: chr(int(each[1], 16)).encode("utf-8", "replace"), text).lower()
        found |= {needle for needle in _NEEDLES if needle.encode() in folded}
        decoded = unquote_to_bytes(text)
        if decoded == text:
            break
        text = decoded
    return found


class Attempt(NamedTuple):
    """One request of the canary: what it plants where, and the status that it must get."""

    place: str
    status: int
    body: bytes
    path: str = "/events"
    method: str = "POST"
    headers: dict[str, str | bytes] = {}  # noqa: RUF012 - never changed


TIME: Final = "2026-11-24T10:00:00Z"
LATER: Final = "2026-11-24T10:00:01Z"


class Spellings(NamedTuple):
    """How the client's own addresses and the identifiers are written in texts."""

    own: tuple[str, ...]

    def texts(self) -> list[str]:
        """Return everything that is planted, plainly, in other spellings, percent-encoded, and inside of texts."""
        plain = [*self.own, EMAIL, EMAIL.upper(), f" {EMAIL} ", PHONE, "+14155550132", "+1.415.555.0132"]
        coded = [quote(text, safe="") for text in plain]
        twice = [quote(text, safe="") for text in coded]
        texts = [f"by {text}, it says" for text in plain]
        urls = [f"https://shop.example/a?x=1&q={text}&y=2" for text in (*coded, *twice)]
        urls += [f"https://shop.example/?{name}={quote(EMAIL)}" for name in ("email", "user%5Bmail%5D")]
        urls += [f"https://shop.example/?phone={quote('415 555 0132')}&ip={V4}&msisdn=4155550132#email={EMAIL}"]
        return [
            *plain,
            *coded,
            *twice,
            *texts,
            *urls,
            f"{EMAIL},{PHONE};{self.own[0]}",
            f"<{EMAIL}>",
            f"mailto:{EMAIL}",
        ]


def _event(**members: Any) -> dict[str, Any]:
    return {"event": "view", "timestamp": TIME, **members}


def _batch(*events: Any, **root: Any) -> bytes:
    return json.dumps({"events": list(events), **root}, ensure_ascii=False).encode()


KNOWN: Final = (
    *(
        "event",
        "event_id",
        "environment",
        "platform",
        "os_version",
        "app_version",
        "device_model",
        "locale",
        "session_id",
    ),
    *(
        "install_id",
        "anonymous_id",
        "referrer",
        "utm_source",
        "campaign_hint",
        "deeplink_id",
        "att_status",
        "properties",
    ),
)
_VALUES: Final = (
    EMAIL,
    PHONE,
    "415 555 0132",
    "4155550132",
    14155550132,
    V4,
    V6,
    [EMAIL, PHONE],
    {"a": EMAIL},
    [V4, 1],
)


def in_events(texts: list[str]) -> Iterator[Attempt]:
    """Plant in every place of an event that is accepted."""
    for name in KNOWN:
        yield Attempt(f"member {name}", 202, _batch(*(_event() | {name: text} for text in texts if len(text) <= 200)))
    yield Attempt("free member", 202, _batch(*(_event(note=text) for text in texts)))
    yield Attempt("nested", 202, _batch(*(_event(properties={"a": [{"b": {"c": [text, [text]]}}]}) for text in texts)))
    yield Attempt("names", 202, _batch(*(_event(**{text: 1}, properties={"x": {text: text}}) for text in texts)))
    for family, names in FAMILIES.items():
        for value in _VALUES:
            members = [
                {spelled: value}
                for name in sorted(names)
                for spelled in (name, f"${name.upper()}", f"user.{name}", f"a[{name}]")
            ]
            events = [_event(n=n, **each, properties={"deep": [each]}) for n, each in enumerate(members)]
            yield Attempt(f"family {family.value}", 202, _batch(*events))
    yield Attempt(
        "exempt members", 202, _batch(_event(**dict.fromkeys(EXEMPT, USER), properties=dict.fromkeys(EXEMPT, USER)))
    )
    escaped = "".join(f"\\u{ord(char):04x}" for char in EMAIL)
    hidden = f'{{"events":[{{"event":"view","timestamp":"{TIME}","\\u0065mail":"{escaped}","x":"{escaped}"}}]}}'
    yield Attempt("escapes", 202, hidden.encode())
    for text in texts:
        lone = json.dumps({"x": "\0" + text, "\0 " + text: text, "email": text}).replace("\\u0000", "\\ud800")
        whole = f'{{"events":[{{"event":"view","timestamp":"{TIME}","a":{lone}}}],"r":{lone}}}'
        yield Attempt("lone surrogate", 202, whole.encode())


_IDFA: Final = ("idfa", "advertisingidentifier")
_GAID: Final = ("gaid", "aaid", "gpsadid", "googleadvertisingid", "androidadvertisingid", "rdid")
_GENERIC: Final = ("ifa", "advertisingid", "madid")
_NO_NAMES: Final[tuple[str, ...]] = ()

_SAID: Final[tuple[tuple[dict[str, str], str, tuple[str, ...]], ...]] = (
    ({"platform": "ios", "att_status": "authorized"}, "idfa", (*_IDFA, *_GENERIC)),
    ({"platform": "unity", "att_status": "authorized"}, "idfa", _IDFA),
    ({"platform": "android"}, "gaid", (*_GAID, *_GENERIC)),
    ({}, "gaid", _GAID),
    ({"platform": "ios"}, "idfa", _NO_NAMES),
    ({"platform": "ios", "att_status": "denied"}, "idfa", _NO_NAMES),
    ({"platform": "android", "att_status": "unknown"}, "gaid", _NO_NAMES),
)
"""What an event says of its device, which id may be handed on then, and under which names."""


def device_id(number: int) -> str:
    """Return an advertising id that stands in one event alone."""
    return f"{DEVICE}-4000-8000-{number:012d}"


def allowed_id(event_id: str) -> dict[str, str]:
    """Return the member with the advertising id that the conversion of a planted event has, by the event's id."""
    kind, _, number = event_id.partition(":")
    return {kind: device_id(int(number))} if kind in {"idfa", "gaid"} else {}


def advertising_ids() -> Iterator[Attempt]:
    """Plant ids of devices under every name, at every depth, and in texts; the event's id tells what may become of it.

    Each may be handed on at the top level or in `properties`, under a name without parts.
    """
    events = []
    number = 0
    for said, kind, names in _SAID:
        for name in sorted(FAMILIES[Family.ADVERTISING]):
            for spelled in (name, f"${name.upper()}", f"user.{name}", f"a[{name}]"):
                number += 1
                planted = device_id(number)
                held = {spelled: planted}
                plain = "." not in spelled and "[" not in spelled
                fate = f"{kind if plain and name in names else 'none'}:{number}"
                texts = {"note": f"of {planted.upper()}", "url": f"https://a.example/?{name}={planted}&q={planted}"}
                deep = {"a": [{"b": {spelled: planted}}], "c": [planted.replace("-", "")]}
                events += [
                    _event(event_id=fate, **said, **held, copy=texts),
                    _event(event_id=fate, **said, properties={**held, "$page_url": texts["url"]})
                    | {"timestamp": LATER},
                    _event(event_id=f"deep:{number}", **said, properties=deep, **deep),
                ]
        zeros = dict.fromkeys(FAMILIES[Family.ADVERTISING], ZERO_ID)
        events.append(_event(event_id=f"zero:{number}", **said, **zeros, properties={**zeros, "note": f"of {ZERO_ID}"}))
    for begin in range(0, len(events), 100):
        yield Attempt("advertising ids", 202, _batch(*events[begin : begin + 100]))
    agent = f"App/1.0 ({device_id(0)}; {ZERO_ID})"
    yield Attempt("agent", 202, _batch(_event(idfv=device_id(0))), headers={"User-Agent": agent})
    yield Attempt("agent", 202, _batch(_event(), gaid=device_id(0)), headers={"User-Agent": agent})


def at_the_root(texts: list[str]) -> Iterator[Attempt]:
    """Plant in the members of a batch's root."""
    for text in texts:
        yield Attempt(
            "root", 202, _batch(_event(), batch_id=text, sent_at=text, app_id=text, note=text, **{text: [text]})
        )
    for names in FAMILIES.values():
        for name in sorted(names):
            yield Attempt("root family", 202, _batch(_event(), **{name: EMAIL, f"a.{name}": PHONE, "b": {name: V4}}))


def refused(texts: list[str]) -> Iterator[Attempt]:
    """Plant in what is refused: events of each rejection code, and bodies of each kind of fault."""
    for text in texts:
        planted = {"event_id": text, "email": text, "note": text, text: text}
        bad = [
            [text], text, {"timestamp": TIME, **planted}, _event(**planted) | {"event": [text]},
            _event(**planted) | {"timestamp": text}, _event(**planted) | {"event": text * 40},
            _event(**planted, app_id=text), _event(**planted, pad=text * (40_000 // len(text))),
            _event(**planted, deep=json.loads("[" * 80 + "]" * 80)), _event(**planted) | {"event_id": {text: text}},
        ]  # fmt: skip
        yield Attempt("rejected", 400, _batch(*bad))
        yield Attempt("rejected in part", 202, _batch(_event(), *bad))
    texts = texts[:12]
    for text in texts:
        batch = _batch(_event(note=text, email=text), note=text)
        yield Attempt("cut body", 400, batch[:-3])
        yield Attempt("no batch", 400, json.dumps({text: text, "email": text}).encode())
        yield Attempt("number out of range", 400, batch.replace(b'"view"', b'"view","x":1e400'))
        yield Attempt("wrong encoding", 400, batch, headers={"Content-Encoding": "gzip"})
        yield Attempt("unknown encoding", 415, batch, headers={"Content-Encoding": text.encode()})
        yield Attempt("gzip", 202, gzip.compress(batch), headers={"Content-Encoding": "gzip"})
        yield Attempt("unknown app in the body", 401, _batch(_event(note=text), app_id=text), headers={"X-App-Id": ""})
        yield Attempt("killed app", 503, batch, headers={"X-App-Id": "app_demo_killed"})
        yield Attempt("retired app", 401, batch, headers={"X-App-Id": "app_demo_revoked"})
    yield Attempt("oversize body", 413, _batch(_event(note=EMAIL, pad=f"{EMAIL} {PHONE} " * 40_000)))
    yield Attempt("oversize root", 202, _batch(_event(), note=f"{EMAIL} {PHONE} " * 400))
    yield Attempt("too many events", 413, _batch(*[_event(note=PHONE)] * 1_001))


HEADERS: Final = (
    *("X-Environment", "X-SDK-Version", "X-Session-Id", "X-Request-Id", "X-Api-Key", "User-Agent", "Referer", "Cookie"),
    *("Authorization", "From", "Via", "Accept-Language", "Content-Type", "X-Custom", "Idempotency-Key", "Traceparent"),
    *(
        "Forwarded",
        "X-Real-IP",
        "True-Client-IP",
        "X-Client-IP",
        "If-None-Match",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
    ),
)


_ALONE_EVERY: Final = 12
"""Of so many texts one is tried in a header alone; all of them stand in all headers at once."""


def around(texts: list[str]) -> Iterator[Attempt]:
    """Plant in headers, in paths and in queries."""
    body = _batch(_event(environment=None))
    for place, name in enumerate(HEADERS):
        for text in texts[place % _ALONE_EVERY :: _ALONE_EVERY]:
            yield Attempt(f"header {name}", 202, body, headers={name: text.encode()})
    for text in texts:
        yield Attempt("all headers", 202, body, headers=dict.fromkeys(HEADERS, text.encode()))
        yield Attempt("long header", 202, body, headers={"X-Environment": b"x" * 180 + b" " + text.encode()})
        yield Attempt(
            "agent",
            202,
            body,
            headers={"User-Agent": b"Mozilla/5.0 (%b; %b) Chrome/126.0 %b/1.0" % ((text.encode(),) * 3)},
        )
        yield Attempt("unknown app", 401, body, headers={"X-App-Id": text.encode()})
        safe = quote(text, safe="@+()[]:;,=")
        yield Attempt("query", 202, body, path=f"/events?{safe}&email={safe}")
        for method in ("GET", "POST", "OPTIONS"):
            yield Attempt("path", 404, body, path=f"/{safe}?q={safe}", method=method)
        yield Attempt("method", 405, body, path=f"/events?q={safe}", method="PUT")


def attempts(own: tuple[str, ...]) -> Iterator[Attempt]:
    """Return all requests; `own` are spellings of the client's own addresses."""
    texts = Spellings(own).texts()
    yield from in_events(texts)
    yield from advertising_ids()
    yield from at_the_root(texts)
    yield from refused(texts)
    yield from around(texts)


NOT_HTTP: Final = tuple(
    text.encode()
    for text in (
        f"{EMAIL}\r\n\r\n",
        f"GET /{EMAIL} {PHONE}\r\n\r\n",
        f"POST /events HTTP/1.1\r\nHost: a\r\n{EMAIL}\r\n\r\n",
        f"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: {PHONE}\r\n\r\n",
        f"POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {V4}\r\n\r\n",
        f"POST /events HTTP/1.1\r\nHost: a\r\nX-Long: {EMAIL * 3_000}\r\n\r\n",
        f"CONNECT {V4}:443 HTTP/1.1\r\nHost: {V4}\r\n\r\n",
    )
)
"""What is not HTTP, or no request that is answered."""
