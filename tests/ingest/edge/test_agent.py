"""A user agent becomes a few short plain words, and nothing else of it is kept."""

import pytest
import ua_parser
from hypothesis import given
from hypothesis import strategies as st

from ingest.edge import agent as module
from ingest.edge.agent import AGENT_BYTES_MAX, VALUE_CHARS_MAX, Agents, warm
from ingest.event import Named
from ingest.pipeline.request import NO_AGENT, Agent

AGENTS = warm()

SAFARI = (
    b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    b"Version/17.5 Mobile/15E148 Safari/604.1"
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (SAFARI, Agent(Named("iOS", "17.5.1"), Named("Mobile Safari", "17.5"))),
        (b"okhttp/4.12.0", Agent(None, Named("okhttp", "4.12.0"))),
        (b"MyApp/421 CFNetwork/1410.1 Darwin/22.6.0", Agent(Named("iOS", "16"), Named("MyApp", "421"))),
        (b"Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0",
         Agent(Named("Linux", None), Named("Firefox", "126.0"))),
        (b"Dart/3.4 (dart:io)", NO_AGENT),
        (b"EA7583CD-A667-48BC-B806-42ECB2B48606/1.0 CFNetwork/1410 Darwin/22.0", Agent(Named("iOS", "16"), None)),
        (b"\xff\xfe\x00", NO_AGENT),
        (b"", NO_AGENT),
        (None, NO_AGENT),
    ],
)  # fmt: skip
def test_an_agent_is_read(header: bytes | None, expected: Agent) -> None:
    """Browsers, apps and libraries give name and version; what no rule knows gives nothing."""
    assert AGENTS.parse(header) == expected
    assert AGENTS.parse(header) == expected  # now from what is kept


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        (b"Mozilla/5.0 (X11; Linux x86_64) Chrome/203.0.113.7 Safari/537.36", "203.0.113.7"),
        (b"Mozilla/5.0 (X11; Linux x86_64) Chrome/4915112345678.1 Safari/537.36", "4915112345678"),
        (b"4915112345678 CFNetwork/1410.1 Darwin/22.6.0", "4915112345678"),
        (b"203.0.113.7/1 CFNetwork/1410.1 Darwin/22.6.0", "203.0.113.7"),
        (b"jo@example.com/1 CFNetwork/1410.1 Darwin/22.6.0", "@"),
        (b"jo%40example.com/1 CFNetwork/1410.1 Darwin/22.6.0", "%"),
    ],
)
def test_what_identifies_does_not_get_through(header: bytes, secret: str) -> None:
    """Names and versions may be the client's own text: addresses, phone numbers and mail addresses are left out."""
    found = AGENTS.parse(header)
    kept = [value for named in found if named for value in (named.name, named.version) if value]
    assert kept, "the rest of the header is still read"
    assert not any(secret in value for value in kept)


@given(head=st.sampled_from([b"", b"Chrome/", b"Mozilla/5.0 (Linux; Android "]), text=st.binary(max_size=700))
def test_every_value_is_short_and_plain(head: bytes, text: bytes) -> None:
    """Whatever is sent, a value is printable ASCII of at most 64 characters without long numbers."""
    for named in AGENTS.parse(head + text + b"bot/1.2 CFNetwork/1.2"):
        for value in (named.name, named.version) if named else ():
            assert value is None or module._PLAIN.fullmatch(value)
            assert len(value or "") <= VALUE_CHARS_MAX


def test_only_the_beginning_of_a_header_is_read() -> None:
    """Headers that differ behind the bound are one and the same."""
    padded = b" " * AGENT_BYTES_MAX
    assert AGENTS.parse(padded + SAFARI) == NO_AGENT
    assert AGENTS.parse(SAFARI + padded * 100) == AGENTS.parse(SAFARI)


def test_what_is_kept_is_bounded_and_holds_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are kept under salted hashes, the oldest goes first, and a full store still answers."""
    monkeypatch.setattr(module, "AGENTS_KEPT_MAX", 4)
    agents = Agents()
    for number in range(10):
        assert agents.parse(b"okhttp/%d.0" % number) == Agent(None, Named("okhttp", f"{number}.0"))
    assert len(agents._results) == 4
    assert all(isinstance(key, int) for key in agents._results)
    assert hash(b"okhttp/9.0") not in agents._results


def test_the_fast_resolver_is_in_use_and_its_absence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Rust resolver is silent; anything slower is a problem that an operator is told."""
    assert AGENTS.problems() == []
    monkeypatch.setattr(ua_parser, "RegexResolver", None)
    monkeypatch.setattr(ua_parser, "BestAvailableResolver", ua_parser.BasicResolver)
    slow = Agents()
    assert slow.parse(b"okhttp/4.12.0") == Agent(None, Named("okhttp", "4.12.0"))
    assert "not by ua-parser-rs" in slow.problems()[0]
