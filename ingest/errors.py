"""Every way to say no: one place that ties a code to its status, retry advice and log level.

A `Refusal` carries what the client may be told and nothing of what the client sent.
"""

import enum
from collections.abc import Mapping
from typing import NamedTuple


class Kind(NamedTuple):
    """What belongs to one error code.

    `retry_after_s` is the middle of the jittered `Retry-After`; None sends none. Clients retry 429 and 5xx and drop
    the batch for good on any other 4xx, so the status decides whether an event lives.
    """

    status: int
    message: str
    retry_after_s: int | None = None
    log_level: str = "info"


class Code(enum.Enum):
    """The closed set of error codes of every surface."""

    INVALID_JSON = Kind(400, "The body is not valid JSON.")
    INVALID_BATCH = Kind(400, "The body must be an object with a non-empty array `events`.")
    ALL_EVENTS_REJECTED = Kind(400, "No event of the batch is acceptable; `details.rejected` tells why.")
    BAD_REQUEST = Kind(400, "The request is not valid HTTP.")
    UNAUTHENTICATED = Kind(401, "The app id or key is missing, unknown or wrong.")
    REVOKED = Kind(401, "This app or key has been retired.")
    FORBIDDEN_SCOPE = Kind(403, "The key may not do this; `details.requiredScope` tells what it lacks.")
    NOT_FOUND = Kind(404, "There is nothing at this path.")
    METHOD_NOT_ALLOWED = Kind(405, "This path does not answer this method.")
    BODY_TIMEOUT = Kind(408, "The request was not completed in time.")
    CONFLICT = Kind(409, "What is there does not allow this.")
    IDEMPOTENCY_CONFLICT = Kind(409, "This idempotency key was used for another request.")
    IDEMPOTENCY_IN_PROGRESS = Kind(409, "The first request with this idempotency key is still at work.", 2)
    PAYLOAD_TOO_LARGE = Kind(413, "The batch is too large; `details` tells the limit.")
    UNSUPPORTED_ENCODING = Kind(415, "The content encoding is not one of identity, gzip, deflate, br, zstd.")
    VALIDATION = Kind(422, "The request does not hold up; `details.errors` tells where and why.")
    RATE_LIMITED = Kind(429, "More was sent than may be; `details` tells the limit.", 10)
    INTERNAL = Kind(500, "Something went wrong here; nothing was acknowledged.", log_level="error")
    KILL_SWITCH = Kind(503, "Sending has been switched off; `details.scope` tells for whom.", 60)
    UNAVAILABLE = Kind(503, "This cannot be done now; nothing was acknowledged.", 5, "warning")
    OVERLOADED = Kind(503, "Too much is at work; nothing was acknowledged.", 2, "warning")


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault of ours
    """A request is answered with an error envelope.

    `code` decides status and headers; `message` replaces the code's own text; `details` is shown to the client, so it
    names positions and limits, never a value; `retry_after_s` is the least wait, where more than the code's advice is
    known.
    """

    def __init__(
        self,
        code: Code,
        message: str | None = None,
        details: Mapping[str, object] | None = None,
        *,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(code.name)
        self.code = code
        self.message = message or code.value.message
        self.details = details
        self.retry_after_s = retry_after_s
