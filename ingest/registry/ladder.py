"""The ladder: why an app may not send now. A pure function of what is known."""

from ingest.errors import Code, Refusal
from ingest.registry.model import App, Kills


def refusal(app: App | None, kills: Kills, *, complete: bool) -> Refusal | None:
    """Tell why `app` may not send now, or None when it may.

    The first step that applies decides: an id that is not known, the app's own kill switch, retirement, its
    organization's kill switch, the one for everybody. `app` is None for an unknown id; it counts as wrong only where
    the registry is `complete`: while its source cannot be read the app may be new, and an SDK that is told 401 would
    drop its events for good.
    """
    if app is None:
        return Refusal(Code.UNAUTHENTICATED if complete else Code.UNAVAILABLE)
    if app.kill_switch:
        return _killed("key")
    if not app.active:
        return Refusal(Code.REVOKED)
    if app.organization_id in kills.organizations:
        return _killed("organization")
    if kills.global_:
        return _killed("global")
    return None


def _killed(scope: str) -> Refusal:
    return Refusal(Code.KILL_SWITCH, details={"scope": scope})
