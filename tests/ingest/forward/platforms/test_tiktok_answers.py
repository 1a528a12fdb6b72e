"""What TikTok means by its answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.forward.platforms.contract import Accepted, Dead, Later, PlatformApi, Refused, Verdict
from ingest.forward.platforms.tiktok import TikTokEvents

TIKTOK: PlatformApi = TikTokEvents("https://tiktok.example")


def told(status: int, answer: Any, **headers: str) -> Verdict:
    """Return what an answer means; names of headers are written with `_`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return TIKTOK.verdict(status, names, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


def coded(code: Any) -> dict[str, Any]:
    """Return an answer as TikTok writes one."""
    return {"code": code, "message": "text", "request_id": "2026", "data": {}}


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0, Accepted()),
        (20001, Accepted("20001")),
        (40002, Refused("40002")),
        (40999, Refused("40999")),
        (40100, Later("40100", None, throttled=True)),
        (40001, Dead("40001")),
        (40007, Dead("40007")),
        (40105, Dead("40105")),
        (40104, Dead("40104")),
        (50000, Later("50000")),
        (50002, Later("50002")),
        (1, Later("1")),
    ],
)
def test_codes(code: int, verdict: Verdict) -> None:
    """HTTP 200 says nothing (3): the code of the body does."""
    assert told(200, coded(code)) == verdict


@pytest.mark.parametrize("answer", [b"<html></html>", b"", {}, [], {"code": None}, {"code": True}, {"code": -1}])
def test_no_success(answer: Any) -> None:
    """An answer without a code is none of TikTok's."""
    assert told(200, answer) == Later("unreadable")


@pytest.mark.parametrize(
    ("status", "answer", "verdict"),
    [
        (500, coded(40002), Later("http_500", 5.0)),
        (502, b"<html>", Later("http_502", 5.0)),
        (429, coded(40002), Later("http_429", 5.0, throttled=True)),
        (413, coded(40002), Refused("http_413")),
        (413, b"", Refused("http_413")),
        (400, coded(40002), Refused("40002")),
        (401, coded(40105), Dead("40105")),
        (400, coded(0), Refused("http_400")),
        (401, b"", Dead("http_401")),
        (403, b"<html>", Dead("http_403")),
        (404, b"", Dead("http_404")),
        (408, b"", Later("http_408", 5.0)),
        (301, coded(0), Later("http_301", 5.0)),
    ],
)
def test_other_statuses(status: int, answer: Any, verdict: Verdict) -> None:
    """Another status counts where the body says nothing more, or could not be TikTok's word on it."""
    assert told(status, answer, retry_after="5") == verdict


_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=6))
_answers = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda code: json.dumps({"code": code}).encode(), st.one_of(_scalars, st.lists(_scalars, max_size=2))),
    st.just(b"[" * 100_000),
)


@given(st.integers(0, 1000), st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text()), _answers)
def test_no_answer_raises(status: int, headers: dict[str, str], body: bytes) -> None:
    """Whatever comes back means something, and no text of it gets into the code."""
    verdict = TIKTOK.verdict(status, headers, body)

    if not isinstance(verdict, Accepted):
        assert len(verdict.code) < 30
        assert set(verdict.code) <= set("0123456789_abdehlnprtu")
