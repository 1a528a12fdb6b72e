"""What SDKs may send, declared once: by which path it comes, how it is judged, and to which topic it goes."""

from collections.abc import Callable
from typing import Final, NamedTuple

from ingest.event import Decoded
from ingest.pipeline.decode import decode, decode_one
from ingest.pipeline.process import Check
from ingest.pipeline.request import Limits
from ingest.pipeline.skan import PROVEN, validate_postback
from ingest.pipeline.statements import validate_consent, validate_properties
from ingest.pipeline.validate import validate
from ingest.telemetry.catalog import StatementKind
from ingest.transport.contract import Topic


class Intake(NamedTuple):
    """One kind of what is sent.

    `counted_as` is None for events, which have figures of their own. `proven` are members of which `check` has proven
    that the identity rules have no business with them.
    """

    route: str
    topic: Topic
    decode: Callable[[bytes, Limits], Decoded]
    check: Check
    counted_as: StatementKind | None = None
    proven: tuple[str, ...] = ()


def _batch(body: bytes, limits: Limits) -> Decoded:
    return decode(body, events_max=limits.events_max)


def _alone(body: bytes, _: Limits) -> Decoded:
    return decode_one(body)


EVENTS: Final = Intake("/events", Topic.EVENTS, _batch, validate)
USER_PROPERTIES: Final = Intake(
    "/users/properties", Topic.USER_PROPERTIES, _alone, validate_properties, StatementKind.USER_PROPERTIES
)
CONSENT: Final = Intake("/consent", Topic.CONSENT, _alone, validate_consent, StatementKind.CONSENT)
SKAN: Final = Intake("/skan/postbacks", Topic.SKAN, _alone, validate_postback, StatementKind.SKAN_POSTBACKS, PROVEN)

INTAKES: Final = {
    EVENTS.route: EVENTS,
    "/l/events": EVENTS,
    USER_PROPERTIES.route: USER_PROPERTIES,
    CONSENT.route: CONSENT,
    SKAN.route: SKAN,
}
"""By path, as SDKs call them."""
