"""Process: what happens to the events of a batch between the body and the transport, as one list of verbs.

Pure: no I/O, and no clock of its own.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import normalize
from ingest.event import Decoded, Identified, Processed, Record, ValidEvent
from ingest.outcome import Fault, Rejection
from ingest.pipeline.convert import converter_of
from ingest.pipeline.encode import ROOT_BYTES_MAX, Frame
from ingest.pipeline.identify import IDS_MAX, TOO_DENSE, UNEXPECTED_TYPE, Budget, identify, marks_in, with_members
from ingest.pipeline.request import Limits, Request
from ingest.pipeline.route import known_id, record_key
from ingest.pipeline.validate import EVENT_ID_CHARS_MAX, is_date_time, validate
from normalize import OwnAddresses
from normalize.device import is_hex_run

SURROGATE_REPLACED: Final = "surrogate_replaced"
MEMBER_LOST: Final = "member_lost"  # a member of the root cannot be represented and is left out
ROOT_ID_CHARS_MAX: Final = 200  # what is left of a batch id or a time, where the root is larger than it may be

Check = Callable[[Any, str], ValidEvent | Fault]
"""Tells of what was sent by an app whether it may go on, or its first fault."""

_is_uuid = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}").fullmatch


def process(
    batch: Decoded, request: Request, limits: Limits, check: Check = validate, *, proven: tuple[str, ...] = ()
) -> Processed:
    """Return the records of a batch, the conversions among them, and a verdict on every event that has no record.

    The events of `batch` may be changed in place. `check` tells of each whether it may go on, and has proven that the
    identity rules have no business with its members `proven`. Only what is judged as an event has a conversion.
    """
    app_id, own = request.app.id, request.own
    event_bytes_max, nesting_max, repaired = limits.event_bytes_max, limits.nesting_max, batch.repaired
    root_ids = _ids_in(batch.extra) if batch.extra else ()
    shared_notes = _identify_root(batch, own, nesting_max)
    frame = Frame(batch, request)
    converter = converter_of(request, root_ids) if check is validate else None
    lead = None
    records: list[Record] = []
    conversions: list[Record] = []
    rejected: list[Rejection] = []
    notes: list[str] = []
    seen: set[tuple[str, str | None]] = set()
    budget = Budget()
    echo = _Echo(own, root_ids, budget)
    for index, sent in enumerate(batch.events):
        event = check(sent, app_id)
        if isinstance(event, Fault):
            rejected.append(echo.reject(index, event, sent))
            continue
        if converter is not None:
            lead = converter.lead(event)
        exempt = {name: event.pop(name) for name in proven if name in event} if proven else None
        identified = identify(
            event, own, bytes_max=event_bytes_max, nesting_max=nesting_max, budget=budget, hunted_too=root_ids
        )
        if isinstance(identified, Fault):
            judged = sent if identified is not TOO_DENSE else None  # whose texts are looked through no further
            rejected.append(echo.reject(index, identified, judged))
            continue
        if exempt:
            identified = with_members(identified, exempt)
        if shared_notes or index in repaired:
            more = (*shared_notes, SURROGATE_REPLACED) if index in repaired else shared_notes
            identified.notes = tuple(dict.fromkeys((*identified.notes, *more)))
        event_id = known_id(identified, app_id)
        identity = event_id, event.get("timestamp")
        if identity in seen:
            continue
        seen.add(identity)
        notes += identified.notes
        key = record_key(identified, app_id, event_id)
        records.append(Record(key, frame.record(identified, event_id)))
        if lead is not None and converter is not None:
            conversion = converter.record(lead, identified, event_id, key)
            conversions += [conversion] if conversion is not None else []
    duplicates = len(batch.events) - len(records) - len(rejected)
    if converter is None:
        return Processed(records, duplicates, rejected, notes)
    return Processed(records, duplicates, rejected, notes, conversions, converter.routed)


def _identify_root(batch: Decoded, own: OwnAddresses, nesting_max: int) -> tuple[str, ...]:
    """Apply the identity rules to the members of the batch's root; return the notes, which every record carries.

    What every record would have to carry is bounded. Beyond that, as with what cannot be represented, the members
    without a name of their own are left out, and the events do not pay for it.
    """
    if _is_usual(batch):
        return ()
    named = {"batch_id": batch.batch_id, "sent_at": batch.sent_at}
    lost = [name for name, value in batch.extra.items() if isinstance(value, Fault)]
    for name in lost:
        del batch.extra[name]
    odd = [MEMBER_LOST] if lost else []
    if not named.keys().isdisjoint(batch.extra):
        odd.append(UNEXPECTED_TYPE)
    root = {name: value for name, value in named.items() if value is not None} | batch.extra
    event_ids = _ids_in(batch.events)[: IDS_MAX + 1]
    clean = identify(ValidEvent(root), own, bytes_max=ROOT_BYTES_MAX, nesting_max=nesting_max, hunted_too=event_ids)
    if isinstance(clean, Fault):
        odd.append(MEMBER_LOST)
        few = {name: value[:ROOT_ID_CHARS_MAX] for name, value in named.items() if value is not None}
        ids = event_ids[:IDS_MAX]
        clean = identify(ValidEvent(few), own, bytes_max=ROOT_BYTES_MAX, nesting_max=nesting_max, hunted_too=ids)
        assert isinstance(clean, Identified)
    batch.extra = clean.event
    if batch.batch_id is not None:
        batch.batch_id = batch.extra.pop("batch_id", None)
    if batch.sent_at is not None:
        batch.sent_at = batch.extra.pop("sent_at", None)
    return (*clean.notes, *odd)


def _ids_in(value: Any) -> tuple[str, ...]:
    """Return the advertising ids in one part of a batch that are looked for in another: those that look like ids."""
    return tuple(each for each in normalize.advertising_ids(value) if is_hex_run(each.strip().lower()))


def _is_usual(batch: Decoded) -> bool:
    """Tell whether the root is what SDKs send: a UUID and a time, which no rule changes."""
    batch_id, sent_at = batch.batch_id, batch.sent_at
    return (
        not batch.extra
        and (batch_id is None or (_is_uuid(batch_id) is not None and "00000000" not in batch_id))
        and (sent_at is None or is_date_time(sent_at))
    )


class _Echo:
    """Tells which ids of rejected events may be repeated to the client: those that the rules leave unchanged."""

    def __init__(self, own: OwnAddresses, root_ids: tuple[str, ...], budget: Budget) -> None:
        self._own = own
        self._root_ids = root_ids
        self._budget = budget

    def reject(self, index: int, fault: Fault, sent: Any) -> Rejection:
        """Return the verdict on the event at `index`; `sent` as far as it may be looked through."""
        return Rejection(index, fault.code, fault.message, fault.path, self._id(sent))

    def _id(self, sent: Any) -> str | None:
        given = sent.get("event_id") if type(sent) is dict else None
        if type(given) is int:
            given = str(given)
        if type(given) is not str or not given or len(given) > EVENT_ID_CHARS_MAX:
            return None
        if not self._budget.spend(marks_in(sent)):
            return None
        clean, _ = normalize.scrub_text(given, self._own, (*normalize.advertising_ids(sent), *self._root_ids))
        return given if clean == given else None
