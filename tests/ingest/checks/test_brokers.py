"""What is told of Kafka, each with its fault; a real broker is asked in `tests/integration/test_check.py`."""

import asyncio
from typing import Final

import pytest

from ingest.checks import brokers as checks
from ingest.checks.brokers import RIGHTS, brokers
from ingest.checks.finding import Finding, Level
from ingest.checks.run import Checked
from ingest.transport.contract import Topic, Unavailable
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.rights import Right
from ingest.transport.kafka.topics import TopicPlan, TopicsFound, TopicState

PLAN: Final = TopicPlan("t.", 4, single_copy=False)
ALL: Final = frozenset(Right)
STATES: Final = tuple(TopicState(topic, f"t.{topic}", 4, 3, 2, (), created=False) for topic in Topic)
WHOLE: Final = TopicsFound(STATES, (), "", {state.name: ALL for state in STATES})


def look(monkeypatch: pytest.MonkeyPatch, answer: TopicsFound | Exception, role: Checked = "serve") -> list[Finding]:
    """Return what is told of brokers that answer so."""

    async def inspect(_connection: Connection, _plan: TopicPlan) -> TopicsFound:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(checks, "inspect_topics", inspect)
    return list(asyncio.run(brokers(Connection("127.0.0.1:9092"), PLAN, role)))


def faults(found: list[Finding]) -> str:
    """Return the sentences of the faults."""
    return "\n".join(each.sentence for each in found if each.level is Level.FAULT)


@pytest.mark.parametrize("role", ["serve", "persist", "forward"])
def test_brokers_that_are_as_they_should_be(monkeypatch: pytest.MonkeyPatch, role: Checked) -> None:
    """All topics, all rights: nothing to do."""
    assert {each.level for each in look(monkeypatch, WHOLE, role)} == {Level.OK}


def test_brokers_that_are_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told as such, and nothing else is."""
    assert faults(look(monkeypatch, Unavailable("Kafka cannot be reached"))) == "Kafka cannot be reached"


def test_missing_topics_are_a_fault_only_where_they_could_not_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start makes what is missing, if it may."""
    nothing = TopicsFound((), tuple(Topic), "", {})

    assert faults(look(monkeypatch, nothing)) == ""
    assert "only 1 brokers" in faults(look(monkeypatch, nothing._replace(refusal="there are only 1 brokers")))


def test_a_topic_that_promises_too_little_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies and lifetimes both."""
    weak = STATES[0]._replace(faults=("one copy",), lifetime_faults=("kept for ever",))
    found = look(monkeypatch, WHOLE._replace(states=(weak, *STATES[1:])))

    assert faults(found).splitlines() == ["kept for ever", "one copy"]


@pytest.mark.parametrize("role", ["serve", "persist", "forward"])
def test_each_right_that_is_needed_is_missed(monkeypatch: pytest.MonkeyPatch, role: Checked) -> None:
    """Without one of them the topic and the right are named; rights that nobody needs are not missed."""
    for topic, rights in RIGHTS[role].items():
        for right in rights:
            held = {**WHOLE.rights, f"t.{topic}": ALL - {right}}
            assert f"{right.name} on t.{topic}" in faults(look(monkeypatch, WHOLE._replace(rights=held), role))

    least = {state.name: checks._LOOK | RIGHTS[role].get(state.topic, frozenset()) for state in STATES}
    assert faults(look(monkeypatch, WHOLE._replace(rights=least), role)) == ""


def test_rights_that_nobody_tells_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known is not called well."""
    found = look(monkeypatch, WHOLE._replace(rights=dict.fromkeys(WHOLE.rights)))

    assert found[-1].level is Level.WARNING
