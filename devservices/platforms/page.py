"""What arrived, as a text for the one who runs it."""

from collections.abc import Iterator
from datetime import UTC, datetime

from devservices.platforms.ledger import CallMade, Ledger, TakenEvent

_SHOWN = 40
_HEAD = """\
Fake Meta and TikTok. They forward nothing.

"""
_FOOT = """
GET /_events?platform=meta  all of it, whole     GET /_calls  GET /_violations  GET /_repeats  GET /_totals
POST /_control {"calls": 3, "behaviour": {"do": "status", "status": 503}}     the next three calls fail
"""


def page(ledger: Ledger) -> str:
    """Return numbers, the newest events and calls, and all that should not have been sent."""
    return _HEAD + "\n".join(_lines(ledger)) + "\n" + _FOOT


def _lines(ledger: Ledger) -> Iterator[str]:
    for platform, totals in ledger.totals().items():
        yield (
            f"{platform:<7} {totals.events} events in {totals.calls} calls,"
            f" {totals.repeats} sent again, {totals.violations} violations"
        )
    violations = ledger.violations()
    if violations:
        yield from ("", "Should never have been sent")
        for each in violations[-_SHOWN:]:
            yield f"  {each.platform:<7} {each.destination:<20} {each.event_id:<36} {each.member}: {each.reason}"
    yield from ("", "Newest events", *(_event_line(event) for event in reversed(ledger.events()[-_SHOWN:])))
    yield from ("", "Newest calls", *(_call_line(call) for call in reversed(ledger.calls()[-_SHOWN:])))


def _event_line(event: TakenEvent) -> str:
    user = event.content.get("user_data") or event.content.get("user") or {}
    return (
        f"  {_time(event.received_ms)} {event.platform:<7} {event.destination:<20} {event.name:<22}"
        f" {event.event_id:<36} {' '.join(user)}"
    )


def _call_line(call: CallMade) -> str:
    codes = "/".join(str(code) for code in (call.code, call.subcode) if code is not None)
    answer = "no answer" if call.status is None else f"HTTP {call.status} {codes} {call.reason}".rstrip()
    return (
        f"  {_time(call.received_ms)} {call.platform:<7} {call.destination:<20}"
        f" {call.taken} of {call.events} events taken, {call.repeated} again: {answer}"
    )


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S")
