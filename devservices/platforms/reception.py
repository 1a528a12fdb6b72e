"""A call from its request to what becomes of it: what is noted, what is taken, and what is answered."""

from collections.abc import Callable
from typing import NamedTuple

from devservices.platforms import behaviour as do
from devservices.platforms.access import Access, Standing
from devservices.platforms.ledger import CallMade, Ledger, TakenEvent
from devservices.platforms.script import Script
from devservices.platforms.twin import Answer, Delivery, Request, Twin, sender

Now = Callable[[], float]
"""Seconds since 1970."""

_HTML = "text/html; charset=utf-8"
_PAGE = (
    b"<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Sorry, something went wrong.</h1></body></html>"
)


class Reaction(NamedTuple):
    """What the caller sees: after `delay_s` an answer, else a reset connection (`reset`), else nothing at all."""

    delay_s: float
    answer: Answer | None
    reset: bool = False


class _Judged(NamedTuple):
    answer: Answer
    taken: int = 0
    repeated: int = 0


class Reception:
    """Receives calls for both twins. Used by one thread; the parts it is made of may be used by any."""

    def __init__(self, script: Script, access: Access, ledger: Ledger, now: Now, latency_ms: int) -> None:
        self.latency_ms = latency_ms
        self._script = script
        self._access = access
        self._ledger = ledger
        self._now = now

    def receive(self, twin: Twin, request: Request) -> Reaction:
        """Take, or do not take, the events of a call."""
        now_s = self._now()
        delivery = twin.read(request)
        self._inspect(twin, delivery, now_s)
        behaviour = self._script.next(twin.platform, delivery.token, delivery.destination)
        judged = self._react(twin, delivery, behaviour, now_s)
        answer = None if isinstance(behaviour, do.Silent | do.Reset) else judged.answer
        self._ledger.note_call(
            CallMade(
                platform=twin.platform,
                destination=delivery.destination,
                received_ms=int(now_s * 1000),
                sender=sender(delivery.token),
                events=len(delivery.events),
                behaviour=str(behaviour.__struct_config__.tag),
                status=answer.status if answer else None,
                code=answer.code if answer else None,
                subcode=answer.subcode if answer else None,
                reason=answer.reason if answer else "",
                taken=judged.taken,
                repeated=judged.repeated,
            )
        )
        return Reaction((self.latency_ms + behaviour.latency_ms) / 1000, answer, isinstance(behaviour, do.Reset))

    def _inspect(self, twin: Twin, delivery: Delivery, now_s: float) -> None:
        """Note what is wrong with events, whatever becomes of their call."""
        for event, raw in delivery.events:
            if type(event) is dict and (found := twin.findings(event, raw, now_s)):
                _, event_id = twin.names(event)
                self._ledger.note_violations(twin.platform, delivery.destination, event_id, found)

    def _react(self, twin: Twin, delivery: Delivery, behaviour: do.AnyBehaviour, now_s: float) -> _Judged:
        """Return what was taken, and the answer to that even where none is sent."""
        match behaviour:
            case do.Ok():
                return self._judge(twin, delivery, now_s)
            case do.Warned(messages=messages):
                return self._judge(twin, delivery, now_s, messages)
            case do.Refusing(event_ids=event_ids, subcode=subcode):
                for at, (event, _) in enumerate(delivery.events):
                    if type(event) is dict and twin.names(event)[1] in event_ids:
                        return _Judged(twin.refused_by_script(at, subcode))
                return self._judge(twin, delivery, now_s)
            case do.Silent(taken=taken) | do.Reset(taken=taken):
                return self._judge(twin, delivery, now_s) if taken else _Judged(twin.accepted(0))
            case do.Garbage(taken=taken, status=status, body=body):
                garbage = Answer(status, body.encode(), content_type=_HTML)
                return self._judge(twin, delivery, now_s)._replace(answer=garbage) if taken else _Judged(garbage)
            case _:
                return _Judged(_failure(twin, behaviour))

    def _judge(self, twin: Twin, delivery: Delivery, now_s: float, messages: tuple[str, ...] = ()) -> _Judged:
        """Judge a call by the platform's rules: all of its events are taken, or none."""
        standing = self._access.standing(twin.platform, delivery.token, delivery.destination)
        if standing is Standing.UNKNOWN_TOKEN:
            return _Judged(twin.unknown_token())
        if delivery.fault is not None:
            return _Judged(twin.refused(delivery.fault))
        if standing is Standing.UNKNOWN_DESTINATION:
            return _Judged(twin.unknown_destination())
        for at, (event, _) in enumerate(delivery.events):
            refusal = twin.refusal(event, delivery.source, now_s)
            if refusal is not None:
                return _Judged(twin.refused(refusal._replace(at=at)))
        taken, repeated = self._ledger.take(twin.platform, _taken(twin, delivery, int(now_s * 1000)))
        return _Judged(twin.accepted(len(delivery.events), messages), taken, repeated)


def _failure(twin: Twin, behaviour: do.Status | do.Throttled | do.DeadToken | do.NoPermission | do.Coded) -> Answer:
    match behaviour:
        case do.Status(status=status, retry_after=retry_after):
            return Answer(status, _PAGE, content_type=_HTML, retry_after=retry_after)
        case do.Throttled(code=code, retry_after=retry_after):
            return twin.throttled(code)._replace(retry_after=retry_after)
        case do.DeadToken(code=code, subcode=subcode):
            return twin.dead_token(code, subcode)
        case do.NoPermission(code=code):
            return twin.no_permission(code)
        case do.Coded(status=given, code=code, subcode=subcode, transient=transient, retry_after=retry_after):
            return twin.coded(given, code, subcode, transient=transient)._replace(retry_after=retry_after)


def _taken(twin: Twin, delivery: Delivery, now_ms: int) -> list[TakenEvent]:
    return [
        TakenEvent(
            twin.platform,
            delivery.destination,
            *twin.names(event),
            now_ms,
            delivery.source,
            delivery.test_code,
            raw,
        )
        for event, raw in delivery.events
    ]
