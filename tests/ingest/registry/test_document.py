"""The registry document: read whole or not at all, but for an app's options, which cost nobody else."""

import json
from typing import Any

import pytest

from ingest.conversion import Platform
from ingest.registry.document import app_options, read_document, read_options
from ingest.registry.model import Options
from ingest.registry.snapshot import RegistryError


def entry(app_id: str = "app_1", **members: Any) -> dict[str, Any]:
    """Make an app as the database tells it."""
    return {
        "id": app_id,
        "project_id": "prj_1",
        "organization_id": "org_1",
        "name": "One",
        "environment": None,
        "active": True,
        "kill_switch": False,
        "options": {},
        **members,
    }


def document(*apps: dict[str, Any], global_: bool = False, organizations: tuple[str, ...] = (), **more: Any) -> bytes:
    """Make a document."""
    kills = {"global": global_, "organizations": list(organizations), **more}
    return json.dumps({"version": 7, "apps": apps, "kills": kills}).encode()


def test_a_document_becomes_a_snapshot() -> None:
    """Apps, options, kill switches and version arrive."""
    options = {"events_per_minute_max": 5, "forward": {"meta": {"enabled": True, "dataset_id": "1"}}}
    content = document(entry(options=options), entry("app_2", kill_switch=True), organizations=("org_9",), global_=True)
    snapshot, problems = read_document(content, 42, complete=True)

    assert problems == ()
    assert (snapshot.version, snapshot.loaded_at_ms, snapshot.complete) == ("7", 42, True)
    assert snapshot.kills.global_
    assert snapshot.kills.organizations == {"org_9"}
    assert snapshot.apps["app_1"].events_per_minute_max == 5
    assert snapshot.apps["app_1"].forward.meta is not None
    assert snapshot.apps["app_2"].kill_switch
    assert dict(snapshot.admitted) == {}


def test_switches_of_platforms_arrive_and_concern_no_sender() -> None:
    """Who may send does not depend on them; a copy on disk from before there were any still reads."""
    snapshot, problems = read_document(document(entry(), platforms=["meta"]), 0, complete=True)
    before, _ = read_document(document(entry()), 0, complete=True)

    assert problems == ()
    assert snapshot.kills.platforms == {Platform.META}
    assert before.kills.platforms == frozenset()
    assert set(snapshot.admitted) == {"app_1"}


def test_bad_options_cost_nobody_else() -> None:
    """An app whose options do not hold up may send, is forwarded nowhere, and is told of without a value."""
    bad = entry(options={"forward": {"meta": {"enabled": True}}, "web_url": "secret://value"})
    snapshot, problems = read_document(document(bad, entry("app_2")), 0, complete=True)

    assert set(snapshot.admitted) == {"app_1", "app_2"}
    assert snapshot.apps["app_1"].forward == Options().forward
    assert problems == ("the options of app app_1 do not hold up and are not in force",)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", document(entry(id="a b")), document(entry())[:-1]])
def test_a_damaged_document_is_refused_whole(content: bytes) -> None:
    """A cut or foreign document gives no snapshot."""
    with pytest.raises(RegistryError):
        read_document(content, 0, complete=True)


def test_options_are_kept_without_their_defaults() -> None:
    """What is kept of options reads back as the same."""
    options = read_options({"events_per_minute_max": 3, "consent_required": False})
    assert app_options(options) == {"events_per_minute_max": 3}
    assert read_options(app_options(options)) == options
