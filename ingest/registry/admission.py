"""The decision for one app id, made on every request: one dict lookup where the answer is yes."""

from ingest.errors import Code, Refusal
from ingest.registry.ladder import refusal
from ingest.registry.model import App
from ingest.registry.snapshot import Snapshot


def admit(snapshot: Snapshot, app_id: str | None) -> App:
    """Return the app that may send now under this id; None stands for a request that names no app.

    Raises `Refusal`: `UNAUTHENTICATED`, `KILL_SWITCH` with the scope in its details, `REVOKED`, or `UNAVAILABLE` for an
    unknown id while the snapshot is not complete.
    """
    if app_id is None:
        raise Refusal(Code.UNAUTHENTICATED)
    app = snapshot.admitted.get(app_id)
    if app is not None:
        return app
    refused = refusal(snapshot.apps.get(app_id), snapshot.kills, complete=snapshot.complete)
    if refused is None:
        raise AssertionError("an app that may send is among the admitted ones")
    raise refused
