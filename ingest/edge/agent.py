"""From a `User-Agent` header to name and version of OS and client; the header itself is dropped."""

import os
import re
from typing import Final

import ua_parser
from ua_parser import Domain, PartialResult

from ingest.event import Named
from ingest.pipeline.request import NO_AGENT, Agent

AGENT_BYTES_MAX: Final = 512
"""What is read of a header; the parser's time grows with the length."""

AGENTS_KEPT_MAX: Final = 4096
"""Headers whose result is kept, about 2 MB."""

VALUE_CHARS_MAX: Final = 64

_SALT: Final = os.urandom(16)
_DOMAINS: Final = Domain.USER_AGENT | Domain.OS
_WARM_UP: Final = (
    b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)

# Versions, and the names of clients that no rule knows, are text that the client wrote. Neither may carry an address, a
# phone number or an identifier: no `@`, no `:`, no long run of what ids are made of, no four numbers with dots.
_PLAIN: Final = re.compile(
    rf"(?!.*[0-9A-Fa-f-]{{8}})(?!.*[0-9]+(?:\.[0-9]+){{3}})[A-Za-z0-9 ._/()-]{{1,{VALUE_CHARS_MAX}}}"
)


class Agents:
    """Parses user agents. Building one takes about 0.1 s and 20 MB, so it is done before serving.

    Results are kept under a hash of the header that is salted per process, never under the header, and hold nothing
    but the short plain values of `Agent`.
    """

    def __init__(self) -> None:
        browsers, systems, _ = ua_parser.load_lazy_builtins()
        build = ua_parser.RegexResolver or ua_parser.BestAvailableResolver
        self._resolve = build((browsers, systems, []))  # no devices: a third of the time for what nobody reads
        self._results: dict[int, Agent] = {}

    def problems(self) -> list[str]:
        """Return what an operator should know, one line each; empty when the Rust resolver is in use."""
        kind = type(self._resolve)
        if kind is ua_parser.RegexResolver:
            return []
        return [f"user agents are parsed by {kind.__module__}, not by ua-parser-rs: thirty times as slow"]

    def parse(self, header: bytes | None) -> Agent:
        """Return what the header says; None or nothing known gives `NO_AGENT`. Raises nothing."""
        if not header:
            return NO_AGENT
        header = header[:AGENT_BYTES_MAX]
        key = hash(_SALT + header)
        agent = self._results.get(key)
        if agent is None:
            agent = _agent_of(self._resolve(header.decode("latin-1"), _DOMAINS))
            if len(self._results) >= AGENTS_KEPT_MAX:
                del self._results[next(iter(self._results))]
            self._results[key] = agent
        return agent


def warm() -> Agents:
    """Return a parser that has parsed once, so that no request pays for building it."""
    agents = Agents()
    agents.parse(_WARM_UP)
    return agents


def _agent_of(result: PartialResult) -> Agent:
    return Agent(_software(result.os), _software(result.user_agent))


def _software(found: "ua_parser.OS | ua_parser.UserAgent | None") -> Named | None:
    if found is None:
        return None
    name = _plain(found.family)
    if name is None:
        return None
    return Named(name, _plain(".".join(filter(None, (found.major, found.minor, found.patch)))))


def _plain(value: str) -> str | None:
    return value if _PLAIN.fullmatch(value) else None
