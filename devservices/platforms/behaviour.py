"""What a twin can be told to do with a call, each kind a type; in JSON the member `do` names the kind."""

from typing import Annotated

import msgspec

from devservices.platforms.names import Platform

_Latency = Annotated[int, msgspec.Meta(ge=0, le=300_000)]
_Status = Annotated[int, msgspec.Meta(ge=200, le=599)]
_Calls = Annotated[int, msgspec.Meta(ge=1)]
_HeaderText = Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,100}$")]


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """Whatever is done, it is done `latency_ms` after the call has been read and its events have been taken."""

    latency_ms: _Latency = 0


class Ok(Behaviour, frozen=True, tag="ok"):
    """Judge the call by the platform's rules."""


class Warned(Behaviour, frozen=True, tag="warned"):
    """As Ok, but a success says that something is not as it should be: Meta in `messages`, TikTok with code 20001."""

    messages: tuple[str, ...] = ("one of the events could be matched better",)


class Status(Behaviour, frozen=True, tag="status"):
    """Take nothing and answer as a proxy in front of the platform does: this HTTP status and a page in HTML."""

    status: _Status = 503
    retry_after: _HeaderText | None = None


class Throttled(Behaviour, frozen=True, tag="throttled"):
    """Take nothing: too many calls. `code` is Meta's (with HTTP 400), such as 4 or 17; TikTok's is always 40100."""

    code: int = 80004
    retry_after: _HeaderText | None = None


class DeadToken(Behaviour, frozen=True, tag="dead_token"):
    """Take nothing: the token has expired. `code` and `subcode` are Meta's; TikTok's is always 40105."""

    code: int = 190
    subcode: int | None = 463


class NoPermission(Behaviour, frozen=True, tag="no_permission"):
    """Take nothing: the token may not do this. `code` is Meta's (with HTTP 403); TikTok's is always 40001."""

    code: int = 200


class Coded(Behaviour, frozen=True, tag="coded"):
    """Take nothing and answer with any code of the platform's, such as 2 or 50000, in its own form.

    `status` None is what the platform uses: 400 at Meta, 200 at TikTok. `subcode` and `transient` are Meta's.
    """

    code: int
    subcode: int | None = None
    status: _Status | None = None
    transient: bool = False
    retry_after: _HeaderText | None = None


class Refusing(Behaviour, frozen=True, tag="refusing"):
    """As Ok, but a call with one of these events is refused for good, as for an invalid parameter.

    `subcode` is Meta's; only TikTok tells the event's index.
    """

    event_ids: frozenset[str]
    subcode: int | None = None


class Silent(Behaviour, frozen=True, tag="silent"):
    """Never answer; the connection stays until the client gives up. `taken`: the events have been taken."""

    taken: bool


class Reset(Behaviour, frozen=True, tag="reset"):
    """Reset the connection instead of answering. `taken`: the events have been taken."""

    taken: bool


class Garbage(Behaviour, frozen=True, tag="garbage"):
    """Answer with a body that is not JSON. `taken`: the events have been taken."""

    taken: bool = False
    status: _Status = 200
    body: str = '{"events_received": <<<'


AnyBehaviour = Ok | Warned | Status | Throttled | DeadToken | NoPermission | Coded | Refusing | Silent | Reset | Garbage


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A behaviour for the calls that match every target that is named: the next `calls` of them, or all (None).

    `destination` is Meta's dataset id or TikTok's event source id.
    """

    behaviour: AnyBehaviour
    platform: Platform | None = None
    token: str | None = None
    destination: str | None = None
    calls: _Calls | None = None

    def concerns(self, platform: Platform, token: str, destination: str) -> bool:
        """Tell whether a call of this sender to this destination is meant."""
        return (
            self.platform in (None, platform)
            and self.token in (None, token)
            and self.destination in (None, destination)
        )
