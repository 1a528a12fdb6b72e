"""Kafka as one process would find it: the topics with what they promise, and the rights of the account."""

from collections.abc import Iterator, Mapping
from typing import Final

from ingest.checks.finding import Finding, fault, ok, warning
from ingest.settings import Role
from ingest.transport.contract import Topic, Unavailable
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.rights import Right
from ingest.transport.kafka.topics import TopicPlan, TopicsFound, inspect_topics

_LOOK: Final = frozenset({Right.DESCRIBE, Right.DESCRIBE_CONFIGS})
"""Whoever publishes looks at all topics first."""

_WRITES: Final = frozenset({Right.WRITE})
_READS: Final = frozenset({Right.READ})

RIGHTS: Final[Mapping[Role, Mapping[Topic, frozenset[Right]]]] = {
    "serve": {topic: _WRITES for topic in Topic if topic not in {Topic.ERASURES, Topic.DEAD_LETTERS}},
    "persist": {
        **dict.fromkeys((Topic.EVENTS, Topic.USER_PROPERTIES, Topic.CONSENT, Topic.CLICKS, Topic.SKAN), _READS),
        Topic.ERASURES: _READS | _WRITES,
        Topic.DEAD_LETTERS: _WRITES,
    },
    "forward": {
        Topic.FORWARD: _READS | {Right.DELETE},
        Topic.FORWARD_PARKED: _READS | _WRITES | {Right.DELETE},
        Topic.DEAD_LETTERS: _WRITES,
    },
}
"""What each process does with topics, besides looking at them."""


async def brokers(connection: Connection, plan: TopicPlan, role: Role) -> Iterator[Finding]:
    """Tell whether the brokers answer, keep what is promised, and let the account do the work of `role`."""
    try:
        found = await inspect_topics(connection, plan)
    except Unavailable as error:
        return iter(
            [fault("Kafka", str(error), "look at INGEST_KAFKA_BOOTSTRAP, credentials, TLS, network and rights")]
        )
    return iter([_topics(found, plan), *_promises(found), _rights(found, plan, role)])


def _topics(found: TopicsFound, plan: TopicPlan) -> Finding:
    names = ", ".join(map(plan.name, found.missing))
    if found.refusal:
        return fault("topics", f"topics are missing and could not be made ({names}): {found.refusal}", "make them")
    if found.missing:
        return ok("topics", f"topics are missing and will be made at the start: {names}")
    return ok("topics", f"all {len(found.states)} topics are there")


def _promises(found: TopicsFound) -> Iterator[Finding]:
    for state in found.states:
        for sentence in (*state.lifetime_faults, *state.faults):
            yield fault("topics", sentence, "mend its settings; `ingest topics --check` looks again")


def _rights(found: TopicsFound, plan: TopicPlan, role: Role) -> Finding:
    untold = [name for name, rights in found.rights.items() if rights is None]
    if untold:
        return warning("Kafka rights", "the brokers do not tell what the account may do", "look at its ACLs")
    lacking = [
        f"{', '.join(sorted(right.name for right in missing))} on {state.name}"
        for state in found.states
        if (missing := (_LOOK | RIGHTS[role].get(state.topic, frozenset())) - (found.rights.get(state.name) or set()))
    ]
    if lacking:
        return fault("Kafka rights", f"the account lacks {'; '.join(lacking)}", f"grant it what `ingest {role}` does")
    if not found.states:
        return ok("Kafka rights", f"topics of {plan.prefix} are not there yet, so that nobody tells the rights on them")
    return ok("Kafka rights", f"the account may do what `ingest {role}` does with its topics")
