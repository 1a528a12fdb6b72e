"""Admission: the order of the ladder, over all combinations."""

import itertools

import pytest

from ingest.conversion import Platform
from ingest.errors import Code, Refusal
from ingest.registry.admission import admit
from ingest.registry.model import App, Kills
from ingest.registry.snapshot import Snapshot


def app(*, kill_switch: bool = False, active: bool = True) -> App:
    """Make an app."""
    return App(id="app_x", project_id="prj_x", organization_id="org_x", kill_switch=kill_switch, active=active)


def outcome(snapshot: Snapshot, app_id: str | None) -> tuple[Code, object] | App:
    """Admit, and return the app or what the client is told."""
    try:
        return admit(snapshot, app_id)
    except Refusal as refusal:
        return refusal.code, (refusal.details or {}).get("scope")


@pytest.mark.parametrize(
    ("known", "complete", "killed", "active", "organization_killed", "all_killed", "platforms_killed"),
    list(itertools.product((True, False), repeat=7)),
)
def test_precedence(
    *,
    known: bool,
    complete: bool,
    killed: bool,
    active: bool,
    organization_killed: bool,
    all_killed: bool,
    platforms_killed: bool,
) -> None:
    """Unknown comes first, then the app's kill, retirement, the organization's kill, the global one.

    Switches of platforms change nothing for who sends.
    """
    sender = app(kill_switch=killed, active=active)
    platforms = frozenset(Platform if platforms_killed else ())
    kills = Kills(all_killed, frozenset({"org_x"} if organization_killed else ()), platforms)
    snapshot = Snapshot({"app_x": sender} if known else {}, kills, complete=complete)
    expected: tuple[Code, object] | App = sender
    for applies, answer in (
        (all_killed, (Code.KILL_SWITCH, "global")),
        (organization_killed, (Code.KILL_SWITCH, "organization")),
        (not active, (Code.REVOKED, None)),
        (killed, (Code.KILL_SWITCH, "key")),
        (not known and not complete, (Code.UNAVAILABLE, None)),
        (not known and complete, (Code.UNAUTHENTICATED, None)),
    ):
        expected = answer if applies else expected
    assert outcome(snapshot, "app_x") == expected
    assert ("app_x" in snapshot.admitted) == isinstance(expected, App)


def test_no_app_id_at_all() -> None:
    """A request that names no app is unauthenticated, also while the registry is not complete."""
    for complete in (True, False):
        assert outcome(Snapshot({"app_x": app()}, complete=complete), None) == (Code.UNAUTHENTICATED, None)


def test_each_refusal_is_new() -> None:
    """A refusal is raised afresh, so that no request's traceback hangs on another's."""
    snapshot = Snapshot({"app_x": app(kill_switch=True)})
    caught = []
    for _ in range(2):
        with pytest.raises(Refusal) as error:
            admit(snapshot, "app_x")
        caught.append(error.value)
    assert caught[0] is not caught[1]
