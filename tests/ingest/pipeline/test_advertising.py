from typing import Any

import pytest

from ingest.event import ValidEvent
from ingest.pipeline.advertising import (
    GAID_NAMES,
    GENERIC_NAMES,
    IDFA_NAMES,
    NO_ID,
    AdvertisingId,
    advertising_id,
    denies_advertising,
)
from normalize.members import FAMILIES, Family
from tests.ingest.pipeline.batches import event

ID = "6D92078A-8246-4BA4-AE5B-76104861E7DC"
OTHER = "38400000-8cf0-11bd-b23e-10b96e40000d"
ZERO = "00000000-0000-0000-0000-000000000000"
IDFA, GAID = AdvertisingId(idfa=ID), AdvertisingId(gaid=ID)
IOS = {"platform": "ios", "att_status": "authorized"}
ANDROID = {"platform": "android"}


def found(**members: Any) -> AdvertisingId:
    """Return what of an event's ids may be handed on."""
    return advertising_id(ValidEvent(event(**members)))


def test_the_names_are_those_that_the_identity_rules_know() -> None:
    """Every name that is taken is taken out of the event, too; of the family only two are never handed on."""
    assert FAMILIES[Family.ADVERTISING] - IDFA_NAMES - GAID_NAMES - GENERIC_NAMES == {"idfv", "adid"}
    assert FAMILIES[Family.ADVERTISING] > IDFA_NAMES | GAID_NAMES | GENERIC_NAMES


@pytest.mark.parametrize("name", sorted(IDFA_NAMES))
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"att_status": "authorized"}, IDFA),
        ({"att_status": "authorized", "platform": "iOS"}, IDFA),
        ({"att_status": "authorized", "platform": "unity"}, IDFA),
        ({"att_status": "authorized", "platform": "android"}, NO_ID),
        ({"properties": {"att_status": "authorized"}}, IDFA),
        ({"att_status": "authorized", "properties": {"att_status": "denied"}}, NO_ID),
        ({"att_status": "Authorized"}, NO_ID),
        ({"att_status": "denied"}, NO_ID),
        ({"att_status": "restricted"}, NO_ID),
        ({"att_status": "not_determined"}, NO_ID),
        ({"att_status": "unknown"}, NO_ID),
        ({"att_status": True}, NO_ID),
        ({"att_status": ["authorized"]}, NO_ID),
        ({"att_status": None}, NO_ID),
        ({"platform": "ios"}, NO_ID),
        ({}, NO_ID),
    ],
)
def test_an_idfa_needs_an_authorization(name: str, said: dict[str, Any], expected: AdvertisingId) -> None:
    """Nothing but the word itself counts, wherever a status stands, and never on Android."""
    assert found(**{name: ID}, **said) == expected


@pytest.mark.parametrize("name", sorted(GAID_NAMES))
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, GAID),
        ({"platform": "android"}, GAID),
        ({"platform": "react-native"}, GAID),
        ({"platform": 7}, GAID),
        ({"att_status": None, "properties": {"att_status": None}}, GAID),
        ({"platform": "ios"}, NO_ID),
        ({"platform": "tvOS"}, NO_ID),
        ({"att_status": "authorized"}, NO_ID),
        ({"att_status": "denied"}, NO_ID),
        ({"att_status": ""}, NO_ID),
        ({"properties": {"att_status": "unknown"}}, NO_ID),
    ],
)
def test_a_gaid_needs_that_nobody_had_to_ask(name: str, said: dict[str, Any], expected: AdvertisingId) -> None:
    """Any status at all says that it is not an Android device, and so does an Apple platform."""
    assert found(**{name: ID}, **said) == expected


@pytest.mark.parametrize("name", sorted(GENERIC_NAMES))
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (IOS, IDFA),
        (ANDROID, GAID),
        ({"properties": ANDROID}, GAID),
        (IOS | {"att_status": "denied"}, NO_ID),
        (ANDROID | {"att_status": "denied"}, NO_ID),
        ({"att_status": "authorized"}, NO_ID),
        ({"platform": "unity"}, NO_ID),
        ({"platform": "unity", "att_status": "authorized"}, NO_ID),
        ({}, NO_ID),
    ],
)
def test_a_generic_name_needs_a_platform(name: str, said: dict[str, Any], expected: AdvertisingId) -> None:
    """Whose id it is, the platform tells; the rules of that id hold."""
    members: dict[str, Any] = {**said, "properties": {name: ID, **said.get("properties", {})}}
    assert found(**members) == expected


@pytest.mark.parametrize("name", ["idfv", "adid", "user.idfa", "idfa[]", "my_idfa", "device_id", "androidid"])
@pytest.mark.parametrize("said", [{}, IOS, ANDROID])
def test_other_ids_are_never_handed_on(name: str, said: dict[str, Any]) -> None:
    """The ids of vendors and of hardware, and names that only contain another."""
    assert found(**{name: ID}, **said) == NO_ID


@pytest.mark.parametrize("name", ["IDFA", "$idfa", "i-d_f a", "Advertising_Identifier", "advertisingIdentifier"])
def test_names_are_folded(name: str) -> None:
    """As the identity rules fold them."""
    assert found(**{name: ID}, **IOS) == IDFA


@pytest.mark.parametrize(
    "value",
    ["", "unknown", ZERO, ZERO.replace("-", ""), ID.replace("-", ""), ID[:-1], ID + "0", f" {ID}", f"{{{ID}}}",
     ID.replace("D", "G"), ID.replace("7", "\u0667"), 17, None, True, [ID], {"id": ID}]
)  # fmt: skip
def test_only_uuids_are_handed_on(value: Any) -> None:
    """As devices write them, and never the one that everybody shares."""
    assert found(idfa=value, **IOS) == NO_ID
    assert found(gaid=value, **ANDROID) == NO_ID


def test_the_top_comes_first_and_what_is_no_id_is_passed_over() -> None:
    """At the top level, then in `properties`, and nowhere deeper; the spelling stays."""
    assert found(gaid=OTHER, properties={"gaid": ID}) == AdvertisingId(gaid=OTHER)
    assert found(gaid=ZERO, properties={"aaid": "x", "gaid": ID}) == GAID
    assert found(properties={"device": {"gaid": ID}}, device={"gaid": ID}) == NO_ID
    assert found(gaid=ID, properties=[{"gaid": OTHER}]) == GAID


@pytest.mark.parametrize(
    "members",
    [
        {"advertising": False},
        {"properties": {"advertising": False}},
        {"consent": {"advertising": False}},
        {"properties": {"consent": {"advertising": False, "analytics": True}}},
        {"advertising": True, "properties": {"consent": {"advertising": False}}},
    ],
)
def test_an_event_can_deny_advertising(members: dict[str, Any]) -> None:
    """In four places, and one denial is enough."""
    assert denies_advertising(ValidEvent(event(**members)))


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"advertising": True},
        {"advertising": None},
        {"advertising": 0},
        {"advertising": "false"},
        {"consent": False},
        {"consent": {"analytics": False}},
        {"consent": [{"advertising": False}]},
        {"properties": {"deeper": {"advertising": False}}},
        {"properties": False},
        {"analytics": False},
    ],
)
def test_whatever_else_an_event_says_denies_nothing(members: dict[str, Any]) -> None:
    """A denial is `false` and is never guessed."""
    assert not denies_advertising(ValidEvent(event(**members)))
