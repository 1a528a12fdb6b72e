import json
import re
import tomllib
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from examples.generate import APP_ID, SIZES, compact, documents
from ingest.pipeline.destinations import DEFAULT_NAMES

FOLDER = Path(__file__).parent.parent.parent / "examples"
TEXTS = dict(documents())
CORE_MEMBERS = {
    *("event", "timestamp", "event_id", "app_id", "environment", "platform", "os_version", "app_version"),
    *("device_model", "locale", "session_id", "app_user_id", "user_id", "screen_size", "install_id", "timezone"),
    "properties",
}


def events_of(name: str) -> list[dict[str, Any]]:
    """Return the events of a committed file."""
    events: list[dict[str, Any]] = json.loads((FOLDER / name).read_text(encoding="utf-8"))["events"]
    return events


@pytest.mark.parametrize("name", TEXTS)
def test_committed_files_are_current(name: str) -> None:
    """Each file holds exactly what the generator writes; `python examples/generate.py` brings it up to date."""
    assert (FOLDER / name).read_text(encoding="utf-8") == TEXTS[name]


def test_no_batch_is_left_over() -> None:
    """The folder holds no batch that the generator does not know."""
    assert {path.name for path in FOLDER.glob("*.json")} == set(TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_events_are_complete_and_of_real_size(name: str) -> None:
    """Every event has what the native core sends, names the demo app, and is as large as real ones."""
    for event in events_of(name):
        assert set(event) >= CORE_MEMBERS
        assert event["app_id"] == APP_ID
        assert datetime.fromisoformat(event["timestamp"]).date().isoformat() == "2026-11-24"
        assert 700 <= len(compact(event)) <= 950


@pytest.mark.parametrize("name", TEXTS)
def test_batches_have_the_members_of_their_sender(name: str) -> None:
    """The native core sends exactly three members at the root, a beacon only the events; the name tells the count."""
    batch = json.loads(TEXTS[name])
    beacon = name.startswith("beacon")
    count = 20 if name == "batch.json" else int(re.findall(r"\d+", name)[0])

    assert list(batch) == (["events"] if beacon else ["events", "batch_id", "sent_at"])
    assert len(batch["events"]) == count
    assert count in SIZES


def test_event_ids_are_distinct_uuids() -> None:
    """No event id occurs twice, in all files together, and each is a UUID version 4."""
    ids = [event["event_id"] for name in TEXTS for event in events_of(name)]

    assert len(set(ids)) == len(ids)
    assert {uuid.UUID(each).version for each in ids} == {4}


def test_the_batch_to_read_shows_what_the_edge_must_hide() -> None:
    """`batch.json` has an address that needs normalizing, phones, a client address, a deep link and ids of a vendor."""
    events = events_of("batch.json")
    emails = {event["properties"].get("email") for event in events} - {None}

    assert any(email != email.strip().lower() for email in emails)
    assert any("phone" in event["properties"] for event in events)
    assert any("client_ip" in event["properties"] for event in events)
    assert any("?email=" in event["properties"].get("url", "") for event in events)
    assert all({"idfv", "att_status"} <= set(event) for event in events)


def test_the_batch_to_read_has_something_to_forward() -> None:
    """`batch.json` has events that each platform knows by their default names, and some that go nowhere."""
    names = {event["event"] for event in events_of("batch.json")}

    assert all(names & known.keys() for known in DEFAULT_NAMES.values())
    assert names - {name for known in DEFAULT_NAMES.values() for name in known}


def test_only_reserved_names_and_numbers_appear() -> None:
    """Addresses, hosts and phone numbers come from the ranges that belong to nobody."""
    text = "".join(TEXTS.values())

    assert set(re.findall(r"(?:@|%40|https://)[\w.-]*?(\w+\.\w+)(?=[/\"?& ])", text)) <= {
        *("example.com", "example.org", "example.net", "Example.COM", "Example.net")
    }
    assert set(re.findall(r'"phone": ?"([^"]+)"', text)) <= {
        *("+1 (415) 555-0132", "+1 415 555 0147", "+44 20 7946 0958", "+44 (0)20 7946 0018")
    }


def test_the_registry_shows_each_answer() -> None:
    """The demo registry has the app of the batches, one that is switched off and one that is retired."""
    apps = tomllib.loads((FOLDER / "apps.toml").read_text(encoding="utf-8"))["apps"]

    assert {"project_id": "prj_demo", "organization_id": "org_demo"}.items() <= apps[APP_ID].items()
    assert [name for name, app in apps.items() if app.get("kill_switch")] == ["app_demo_killed"]
    assert [name for name, app in apps.items() if not app.get("active", True)] == ["app_demo_revoked"]
