"""The ladder: why an app may not send now. A pure function of what is known."""

from typing import Protocol

from ingest.errors import Code, Refusal
from ingest.registry.model import Kills


class Sender(Protocol):
    """Who sends: an app by its SDKs, or a partner by one of its keys."""

    @property
    def organization_id(self) -> str:
        """The organization that it belongs to."""

    @property
    def kill_switch(self) -> bool:
        """Whether it is switched off for now."""

    @property
    def active(self) -> bool:
        """Whether it has not been retired."""


def refusal(sender: Sender | None, kills: Kills, *, complete: bool) -> Refusal | None:
    """Tell why `sender` may not send now, or None when it may.

    The first step that applies decides: an id that is not known, its own kill switch, retirement, its
    organization's kill switch, the one for everybody. `sender` is None for an unknown id; it counts as wrong only where
    the registry is `complete`: while its source cannot be read the app may be new, and an SDK that is told 401 would
    drop its events for good.
    """
    if sender is None:
        return Refusal(Code.UNAUTHENTICATED if complete else Code.UNAVAILABLE)
    if sender.kill_switch:
        return _killed("key")
    if not sender.active:
        return Refusal(Code.REVOKED)
    if sender.organization_id in kills.organizations:
        return _killed("organization")
    if kills.global_:
        return _killed("global")
    return None


def _killed(scope: str) -> Refusal:
    return Refusal(Code.KILL_SWITCH, details={"scope": scope})
