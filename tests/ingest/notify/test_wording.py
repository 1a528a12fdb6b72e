from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.notify.wording import SUBJECT_CHARACTERS_MAX, effect, facts, subject

KILL = {
    "type": "kill_switch.on",
    "scope": "key",
    "target": "app",
    "id": "app_shop",
    "organizationId": "org_acme",
    "reason": "leaked\r\nBy: nobody",
    "actor": "operator:anna",
    "at": "2026-01-01T00:00:00.000Z",
    "auditId": "aud_1",
}


def test_a_kill_in_words() -> None:
    """Subject, facts and effect tell what was switched, why and by whom; a line break in a reason begins no line."""
    assert subject(KILL) == "Kill switch turned on: app app_shop"
    assert dict(facts(KILL))["Reason"] == "leaked  By: nobody"
    assert dict(facts(KILL))["By"] == "operator:anna"
    assert "503" in effect(KILL)


def test_lifted_and_for_everybody() -> None:
    """A lifted switch is called so, and the one for everybody is named once."""
    told = KILL | {"type": "kill_switch.off", "scope": "global", "target": "global", "id": "global"}

    assert subject(told) == "Kill switch lifted: global"
    assert "taken again" in effect(told)


def test_a_platform_is_switched_off() -> None:
    """No request is refused for it, and the words do not say so."""
    told = KILL | {"scope": "platform", "target": "platform", "id": "meta"}

    assert subject(told) == "Kill switch turned on: platform meta"
    assert "503" not in effect(told)
    assert "again" in effect(told | {"type": "kill_switch.off"})


def test_a_destination_is_paused() -> None:
    """Which app at which platform, why, and what follows."""
    told = KILL | {"type": "forward.paused", "target": "meta", "id": "app_shop", "reason": "190"}

    assert subject(told) == "Forwarding paused: meta app_shop"
    assert dict(facts(told))["Reason"] == "190"
    assert "two days" in effect(told)
    assert subject(told | {"type": "forward.resumed"}) == "Forwarding goes on: meta app_shop"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*KILL, "more"]), st.text() | st.none() | st.integers() | st.lists(st.text())))
def test_whatever_is_told_stays_on_its_line(payload: dict[str, Any]) -> None:
    """No payload makes words that hold a control character or are longer than their bound, and none raises."""
    for line in (subject(payload), *(value for _, value in facts(payload))):
        assert line.isprintable()
    assert len(subject(payload)) <= SUBJECT_CHARACTERS_MAX
    assert effect(payload).isprintable()
