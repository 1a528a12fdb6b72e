"""What Meta means by its answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.forward.platforms.contract import Accepted, Dead, Later, PlatformApi, Refused, Verdict
from ingest.forward.platforms.meta import MetaConversions

META: PlatformApi = MetaConversions("https://graph.example", "v26.0")


def told(status: int, answer: Any = None, **headers: str) -> Verdict:
    """Return what an answer means; names of headers are written with `_`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return META.verdict(status, names, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


def error(code: Any, subcode: Any = None, **members: Any) -> dict[str, Any]:
    """Return an error as Meta writes one."""
    found = {"message": "(#1) text", "type": "OAuthException", "code": code, "fbtrace_id": "A", **members}
    return {"error": found if subcode is None else {**found, "error_subcode": subcode}}


def test_accepted() -> None:
    """Events that were received are accepted; messages are a warning."""
    assert told(200, {"events_received": 2, "messages": [], "fbtrace_id": "A"}) == Accepted()
    assert told(200, {"events_received": 2, "messages": ["unused"]}) == Accepted("messages")


@pytest.mark.parametrize("answer", [b"<html></html>", b"", {}, [], {"events_received": 0}, {"events_received": True}])
def test_no_success(answer: Any) -> None:
    """An answer that does not tell of events received is none of Meta's."""
    assert told(200, answer) == Later("unreadable")


@pytest.mark.parametrize("code", [4, 17, 32, 341, 613, 80000, 80004, 80014])
def test_throttled(code: int) -> None:
    """Throttling comes as HTTP 400 (2), and what a header says of the usage is not looked at."""
    assert told(400, error(code), x_business_use_case_usage="{") == Later(f"{code}", None, throttled=True)
    assert told(400, error(code), retry_after="7") == Later(f"{code}", 7.0, throttled=True)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, error(1)),
        (503, error(2)),
        (400, error(21009)),
        (400, error(368)),
        (400, error(5000)),
        (400, error(100, 2804003, is_transient=True)),
        (500, error(100, 2804003)),
        (429, error(100)),
    ],
)
def test_later(status: int, answer: Any) -> None:
    """Whatever passes by itself is tried again, and so is all that a broken server says."""
    assert isinstance(told(status, answer), Later)


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (400, error(190, 460), "190/460"),
        (401, error(190), "190"),
        (400, error(102), "102"),
        (400, error(463), "463"),
        (400, error(467), "467"),
        (400, error(100, 33), "100/33"),
        (400, error(3), "3"),
        (403, error(10), "10"),
        (403, error(200), "200"),
        (400, error(299), "299"),
        (403, error(100, 5), "100/5"),
        (401, b"", "http_401"),
        (403, b"<html>", "http_403"),
        (404, b"", "http_404"),
    ],
)
def test_dead(status: int, answer: Any, code: str) -> None:
    """Tokens, permissions and objects that are not there are for an operator."""
    assert told(status, answer) == Dead(code)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        *((error(100, subcode), f"100/{subcode}") for subcode in (2804003, 2804009, 2804010, 2804050, 2804019)),
        (error(100), "100"),
        (error("100", "2804050"), "100/2804050"),
        (error(9999), "9999"),
        (b"<html>", "http_400"),
        (error("x"), "http_400"),
        ({"error": {"code": True}}, "http_400"),
        (error(-1), "http_400"),
    ],
)
def test_refused(answer: Any, code: str) -> None:
    """Whatever else Meta finds wrong is wrong with an event. Texts do not count: they follow the owner's language."""
    assert told(400, answer) == Refused(code)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (413, Refused("http_413")),
        (429, Later("http_429", 5.0, throttled=True)),
        (408, Later("http_408", 5.0)),
        (500, Later("http_500", 5.0)),
        (502, Later("http_502", 5.0)),
        (302, Later("http_302", 5.0)),
        (422, Refused("http_422")),
    ],
)
def test_answers_of_others(status: int, verdict: Verdict) -> None:
    """A proxy's answer counts by its status."""
    assert told(status, b"<html>", retry_after="5") == verdict


_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4))
_errors = st.fixed_dictionaries({}, optional=dict.fromkeys(("code", "error_subcode", "is_transient"), _scalars))
_answers = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda answer: json.dumps(answer).encode(), st.one_of(_scalars, st.lists(_scalars, max_size=2))),
    st.builds(lambda answer: json.dumps({"error": answer}).encode(), st.one_of(_scalars, _errors)),
    st.builds(lambda count: json.dumps({"events_received": count}).encode(), _scalars),
    st.just(b"[" * 100_000),
    st.just(b'{"error":{"code":1e999}}'),
)


@given(st.integers(0, 1000), st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text()), _answers)
def test_no_answer_raises(status: int, headers: dict[str, str], body: bytes) -> None:
    """Whatever comes back means something, and no text of it gets into the code."""
    verdict = META.verdict(status, headers, body)

    if not isinstance(verdict, Accepted):
        assert len(verdict.code) < 30
        assert set(verdict.code) <= set("0123456789/_abcdehlnprtu")
    if isinstance(verdict, Later) and verdict.after_s is not None:
        assert 0 <= verdict.after_s <= 3600
