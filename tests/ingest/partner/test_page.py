"""The page for partners and the table of operations tell the same."""

import re
from pathlib import Path
from typing import get_args

from ingest.control.keys import SCOPES
from ingest.counters.tiers import CALLS_PER_MINUTE_MAX, EndpointClass, Tier
from ingest.partner.events import NAMES
from ingest.partner.fields import PAGE_DEFAULT, PAGE_MAX
from ingest.partner.operations import OPERATIONS, Method
from ingest.partner.types import EVENTS_MAX
from tests.test_docs import rows, spans, text_of

PAGE = "docs/partner-api.md"


def test_every_call_is_told_with_its_scope() -> None:
    """The table of calls holds exactly the operations, each with its scope."""
    told = {}
    for call, scope, _ in rows(PAGE, "## Calls"):
        (named,) = spans(call)
        told[named] = None if scope == "any" else spans(scope)[0]

    assert told == {f"{each.method} {each.path}": each.scope for each in OPERATIONS}
    assert {scope for scope in told.values() if scope is not None} <= set(SCOPES)


def test_every_parameter_is_told() -> None:
    """What a call takes in its query stands below the table or in its row."""
    told = {spans(call)[0]: set(spans(does)) for call, _, does in rows(PAGE, "## Calls")}
    (shared,) = re.findall(
        r"^Lists take `(\w+)` \(1 to (\d+), else (\d+)\) and `(\w+)`", text_of(Path(PAGE)), re.MULTILINE
    )

    for operation in OPERATIONS:
        own = set(operation.query) - {shared[0], shared[3]}
        assert own <= told[f"{operation.method} {operation.path}"]
        assert bool(operation.query) == ({shared[0], shared[3]} <= set(operation.query))
    assert (int(shared[1]), int(shared[2])) == (PAGE_MAX, PAGE_DEFAULT)


def test_every_limit_is_told_with_its_class() -> None:
    """The table of limits holds the tiers; its head says which methods are reads and which are writes."""
    (head,) = re.findall(r"^\| tier \| reads \((.+)\) \| writes \((.+)\) \|$", text_of(Path(PAGE)), re.MULTILINE)
    methods = {
        **dict.fromkeys(head[0].split(", "), EndpointClass.READ),
        **dict.fromkeys(head[1].split(", "), EndpointClass.WRITE),
    }
    told = {}
    for tier, reads, writes in rows(PAGE, "## Limits"):
        name = Tier(spans(tier)[0])
        told[name, EndpointClass.READ] = int(reads.replace(" ", ""))
        told[name, EndpointClass.WRITE] = int(writes.replace(" ", ""))

    assert told == dict(CALLS_PER_MINUTE_MAX)
    assert methods.keys() == set(get_args(Method))
    assert all(methods[each.method] is each.endpoint_class for each in OPERATIONS)
    assert all(each.repeatable == (each.endpoint_class is EndpointClass.WRITE) for each in OPERATIONS)


def test_names_and_bounds_of_events_are_told() -> None:
    """The section on events has the number of them and all pairs of names, in one order."""
    section = " ".join(text_of(Path(PAGE)).partition("\n## Events\n")[2].partition("\n## ")[0].split())
    theirs, ours = (", ".join(f"`{name}`" for name in names) for names in (NAMES, NAMES.values()))

    assert f"1 to {EVENTS_MAX} events for one app" in section
    assert (
        f"{' and '.join(theirs.rsplit(', ', 1))} are what SDKs send as {' and '.join(ours.rsplit(', ', 1))}" in section
    )
