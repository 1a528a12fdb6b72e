"""What a request brings to all of its events, with nothing left that identifies a person."""

from typing import Final, NamedTuple

import msgspec

from ingest.event import Named
from ingest.registry.model import App
from normalize import OwnAddresses


class Region(NamedTuple):
    """Where the client is, from its address: ISO 3166-1 alpha-2 and the second part of an ISO 3166-2 code."""

    country_code: str | None = None
    subdivision1_code: str | None = None


class Agent(NamedTuple):
    """What the user agent said: operating system and client, each with its version."""

    os: Named | None = None
    client: Named | None = None


NOWHERE: Final = Region()
NO_AGENT: Final = Agent()


class Request(msgspec.Struct):
    """The facts of one request that its records carry, and `own`: the addresses that may stand in no text of them.

    `received_at` is RFC 3339 in UTC with milliseconds. `environment` and `sdk` are what the headers said, under the
    identity rules; with `environment_fixed` no event may say otherwise. `own` lives as long as the request, and so does
    `user_agent`: the header as it came, which is read where a conversion is made and nowhere else.
    """

    app: App
    request_id: str
    received_at: str
    region: Region
    agent: Agent
    own: OwnAddresses
    environment: str | None = None
    environment_fixed: bool = False
    sdk: str | None = None
    source: str = "sdk"
    user_agent: bytes | None = None

    def __repr__(self) -> str:
        """Leave out what the client sent: a representation ends in logs and error reports."""
        return f"Request({self.request_id})"


class Limits(NamedTuple):
    """The bounds of a batch: number of events, bytes of one event's JSON, and levels of nesting."""

    events_max: int
    event_bytes_max: int
    nesting_max: int
