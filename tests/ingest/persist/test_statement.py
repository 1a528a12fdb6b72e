"""Records about users as the statements that they make."""

import hashlib
from typing import Any

import pytest

from ingest.erasure import subject_of
from ingest.persist.row import Unusable
from ingest.persist.statement import said_of_consent, said_of_properties
from ingest.transport.contract import SCHEMA, Delivered, Topic
from tests.ingest.pipeline.batches import TIME
from tests.support.rows import said

DIGEST = hashlib.sha256(b"a@b.c").hexdigest()


def properties(**members: Any) -> Delivered:
    """Return a record of properties."""
    return said(Topic.USER_PROPERTIES, members)


def test_each_property_is_a_statement() -> None:
    """Values keep their JSON; digests are found where they stand; the user is known by who it is."""
    made = said_of_properties(properties(app_user_id="u", properties={"n": 12345678901234567890, "email": "a@b.c"}))

    assert [(each.name, each.value, each.digests) for each in made] == [
        ("n", "12345678901234567890", None),
        ("email_sha256", f'"{DIGEST}"', [DIGEST]),
    ]
    assert {(each.app_id, each.user_kind, each.user_id, each.app_user_id) for each in made} == {
        ("app_demo", "app_user_id", "u", "u")
    }
    assert {each.said_at for each in made} == {TIME}
    assert made[0].subjects == [subject_of("u"), subject_of(DIGEST)]
    assert not made[0].is_only_for_absent


@pytest.mark.parametrize(
    ("ids", "kind", "user"),
    [
        ({"app_user_id": 7, "install_id": "i"}, "app_user_id", "7"),
        ({"app_user_id": "", "anonymous_id": "a", "install_id": "i"}, "anonymous_id", "a"),
        ({"install_id": "i"}, "install_id", "i"),
    ],
)
def test_properties_belong_to_the_first_id(ids: dict[str, Any], kind: str, user: str) -> None:
    """In the order in which SDKs know users."""
    (made,) = said_of_properties(properties(**ids, properties={"a": None}, set_once=True))
    assert (made.user_kind, made.user_id, made.value, made.is_only_for_absent) == (kind, user, "null", True)


def test_a_choice_belongs_to_every_id() -> None:
    """A member that is left out or null is no choice."""
    choices = {"advertising": False, "analytics": None, "att_status": "denied"}
    made = said_of_consent(said(Topic.CONSENT, {"app_user_id": "u", "install_id": "i", **choices}))

    assert [(each.user_kind, each.user_id, each.name, each.value, each.app_user_id) for each in made] == [
        ("app_user_id", "u", "advertising", "false", "u"),
        ("app_user_id", "u", "att_status", '"denied"', "u"),
        ("install_id", "i", "advertising", "false", "u"),
        ("install_id", "i", "att_status", '"denied"', "u"),
    ]


def test_a_zero_is_replaced() -> None:
    """U+0000 is legal JSON and cannot be stored."""
    (made,) = said_of_properties(properties(app_user_id="u", properties={"a\0": "b\0"}))
    assert (made.name, made.value) == ("a\ufffd", '"b\\ufffd"')


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"nope", "record_malformed"),
        (b'{"meta":{},"event":{}}', "record_malformed"),
        (
            (
                b'{"meta":{"app_id":"a","event_id":"e","project_id":"p","organization_id":"o","received_at":"r",'
                b'"source":"s"},"event":{"timestamp":"t","properties":{"a":1}}}'
            ),
            "user_missing",
        ),
    ],
)
def test_what_can_never_be_used(value: bytes, reason: str) -> None:
    """It is told by a code of ours."""
    with pytest.raises(Unusable, match=reason):
        said_of_properties(Delivered(Topic.USER_PROPERTIES, 0, 0, 0, b"", value, SCHEMA))
    with pytest.raises(Unusable, match="schema_unknown"):
        said_of_consent(Delivered(Topic.CONSENT, 0, 0, 0, b"", value, ()))
