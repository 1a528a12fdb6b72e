"""Edits of what clients are told: one member at a time, nothing else touched, what is given left as it is."""

import copy
from typing import Any

import pytest

from ingest.control.remote_config import Edit, replaced, with_member, without_member, without_platform

BEFORE: dict[str, Any] = {
    "events": {"denylist": ["a"], "killswitch": True},
    "cache_ttl": 60,
    "platforms": {"ios": {"events": {"killswitch": False}, "att": {"a": 1}}, "web": {}},
}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (with_member("cache_ttl", 90, None), {**BEFORE, "cache_ttl": 90}),
        (with_member("events.killswitch", 0, None), {**BEFORE, "events": {"denylist": ["a"], "killswitch": 0}}),
        (with_member("events", {}, None), {**BEFORE, "events": {}}),
        (
            with_member("events.denylist", ["b"], "web"),
            {**BEFORE, "platforms": {**BEFORE["platforms"], "web": {"events": {"denylist": ["b"]}}}},
        ),
        (
            with_member("deeplinks", {}, "android"),
            {**BEFORE, "platforms": {**BEFORE["platforms"], "android": {"deeplinks": {}}}},
        ),
        (without_member("cache_ttl", None), {name: BEFORE[name] for name in ("events", "platforms")}),
        (without_member("events.killswitch", None), {**BEFORE, "events": {"denylist": ["a"]}}),
        (
            without_member("events.killswitch", "ios"),
            {**BEFORE, "platforms": {"ios": {"events": {}, "att": {"a": 1}}, "web": {}}},
        ),
        (without_member("skan", None), BEFORE),
        (without_platform("ios"), {**BEFORE, "platforms": {"web": {}}}),
        (without_platform("toaster"), BEFORE),
        (replaced({"cache_ttl": 30}, None), {"cache_ttl": 30}),
        (replaced({}, "ios"), {**BEFORE, "platforms": {"ios": {}, "web": {}}}),
        (replaced(["nonsense"], None), ["nonsense"]),
    ],
)
def test_an_edit_changes_what_it_names(edit: Edit, expected: object) -> None:
    """And leaves what it is given as it was."""
    given = copy.deepcopy(BEFORE)

    assert edit(given) == expected
    assert given == BEFORE


def test_what_somebody_wrote_by_hand_can_be_mended() -> None:
    """Where an object should stand and none does, there is nothing to be kept."""
    assert with_member("events.denylist", [], None)({"events": [1]}) == {"events": {"denylist": []}}
    assert with_member("att", {}, "ios")({"platforms": 7}) == {"platforms": {"ios": {"att": {}}}}
