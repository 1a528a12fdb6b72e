import re
from typing import Any

import pytest

from ingest.pipeline.route import known_id, record_key
from tests.ingest.pipeline.batches import event, identified


@pytest.mark.parametrize(
    ("given", "text"), [("e-1", "e-1"), ("Ω ", "Ω "), (17, "17"), (-1, "-1"), (0, "0"), (10**30, "1" + "0" * 30)]
)
def test_a_given_event_id_is_kept_as_text(given: Any, text: str) -> None:
    """Ids are opaque; an integer is known by its digits."""
    assert known_id(identified(event(event_id=given)), "app_demo") == text


@pytest.mark.parametrize("members", [{}, {"event_id": None}, {"event_id": ""}])
def test_an_absent_event_id_is_derived(members: dict[str, Any]) -> None:
    """The derived id has 32 hex characters and is the same each time."""
    first, again = (known_id(identified(event(a=1, **members)), "app_demo") for _ in range(2))

    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert first == again


def test_a_derived_event_id_ignores_the_order_of_members() -> None:
    """At any depth; what differs otherwise has another id."""
    one = event(a=1, b={"x": [1, {"p": 1, "q": 2}], "y": 2})
    other = {"b": {"y": 2, "x": [1, {"q": 2, "p": 1}]}, "a": 1, "timestamp": one["timestamp"], "event": "view"}
    swapped = event(a=1, b={"x": [{"p": 1, "q": 2}, 1], "y": 2})

    assert known_id(identified(one), "app_demo") == known_id(identified(other), "app_demo")
    assert known_id(identified(dict(one)), "app_demo") != known_id(identified(swapped), "app_demo")


def test_a_derived_event_id_belongs_to_its_app() -> None:
    """The same event of two apps has two ids."""
    assert known_id(identified(event()), "app_a") != known_id(identified(event()), "app_b")


def test_a_derived_event_id_is_over_the_identified_event() -> None:
    """Spellings with the same normal form make the same event, so a digest is all that it depends on."""
    spelled = [known_id(identified(event(email=each)), "app_demo") for each in ("ann@example.com", " ANN@example.com ")]
    hashed = known_id(
        identified(event(email_sha256=identified(event(email="ann@example.com")).event["email_sha256"])), "app_demo"
    )

    assert spelled == [hashed, hashed]


@pytest.mark.parametrize(
    ("members", "key"),
    [
        ({"install_id": "i1", "app_user_id": "u1"}, b"app_demo:i1"),
        ({"install_id": 17, "app_user_id": "u1"}, b"app_demo:17"),
        ({"install_id": 0}, b"app_demo:0"),
        ({"install_id": None, "app_user_id": "u1"}, b"app_demo:u1"),
        ({"install_id": "", "app_user_id": "u1"}, b"app_demo:u1"),
        ({"install_id": ["i1"], "app_user_id": 5}, b"app_demo:5"),
        ({"install_id": True, "app_user_id": 1.5}, b"app_demo:e1"),
        ({"user_id": "u1"}, b"app_demo:e1"),
        ({}, b"app_demo:e1"),
        ({"install_id": "Ω"}, "app_demo:Ω".encode()),
    ],
)
def test_a_record_is_keyed_by_installation_else_user_else_event(members: dict[str, Any], key: bytes) -> None:
    """The first of them that is an id counts."""
    assert record_key(identified(event(**members)), "app_demo", "e1") == key


def test_a_key_holds_no_identifier() -> None:
    """An installation id that is an e-mail address is a digest in the key too."""
    key = record_key(identified(event(install_id="ann@example.com")), "app_demo", "e1")
    assert re.fullmatch(rb"app_demo:sha256:[0-9a-f]{64}", key)
