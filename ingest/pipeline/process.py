"""Process: what happens to the events of a batch between the body and the transport, as one list of verbs.

Pure: no I/O, and no clock of its own.
"""

from typing import Any, Final

import normalize
from ingest.errors import Code, Refusal
from ingest.event import Decoded, Processed, Record, ValidEvent
from ingest.outcome import Fault, Rejection
from ingest.pipeline.encode import ROOT_BYTES_MAX, Frame
from ingest.pipeline.identify import identify
from ingest.pipeline.request import Limits, Request
from ingest.pipeline.route import event_id, record_key
from ingest.pipeline.validate import EVENT_ID_CHARS_MAX, validate
from normalize import OwnAddresses

SURROGATE_REPLACED: Final = "surrogate_replaced"
ROOT_NESTING_MAX: Final = 16


def process(batch: Decoded, request: Request, limits: Limits) -> Processed:
    """Return the records of a batch, and a verdict on every event that has none.

    The events of `batch` may be changed in place. Raises `Refusal` where the batch's root is too large.
    """
    app_id, own = request.app.id, request.own
    frame = Frame(_identify_root(batch, own), request)
    done = Processed([], 0, [], [])
    seen: set[tuple[str, str]] = set()
    for index, sent in enumerate(batch.events):
        event = validate(sent, app_id)
        if isinstance(event, Fault):
            done.rejected.append(_reject(index, event, sent, own))
            continue
        identified = identify(event, own, bytes_max=limits.event_bytes_max, nesting_max=limits.nesting_max)
        if isinstance(identified, Fault):
            done.rejected.append(_reject(index, identified, sent, own))
            continue
        if index in batch.repaired:
            identified.notes += (SURROGATE_REPLACED,)
        event_identity = event_id(identified, app_id), event["timestamp"]
        if event_identity in seen:
            done.duplicates += 1
            continue
        seen.add(event_identity)
        done.notes += identified.notes
        done.records.append(
            Record(
                record_key(identified, app_id, event_identity[0]),
                frame.record(identified, event_identity[0]),
            )
        )
    return done


def _identify_root(batch: Decoded, own: OwnAddresses) -> Decoded:
    """Return `batch` with the identity rules applied to the members of its root."""
    root = {"batch_id": batch.batch_id, "sent_at": batch.sent_at, **batch.extra}
    clean = identify(ValidEvent(root), own, bytes_max=ROOT_BYTES_MAX, nesting_max=ROOT_NESTING_MAX)
    if isinstance(clean, Fault):
        raise Refusal(Code.PAYLOAD_TOO_LARGE, details={"limit": "root_bytes", "max": ROOT_BYTES_MAX})
    extra = clean.event
    batch.batch_id, batch.sent_at, batch.extra = extra.pop("batch_id"), extra.pop("sent_at"), extra
    return batch


def _reject(index: int, fault: Fault, sent: Any, own: OwnAddresses) -> Rejection:
    return Rejection(index, fault.code, fault.message, fault.path, _echo(sent, own))


def _echo(sent: Any, own: OwnAddresses) -> str | None:
    """Return the event's id where the identity rules leave it unchanged, next to the device ids at the event's top."""
    given = sent.get("event_id") if sent.__class__ is dict else None
    if given.__class__ is not str or not given or len(given) > EVENT_ID_CHARS_MAX:
        return None
    judged = {name: value for name, value in sent.items() if name == "event_id" or normalize.family(name)}
    return given if normalize.identify(judged, own).value.get("event_id") == given else None
