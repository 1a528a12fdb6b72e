"""Crash reports to Sentry, for those who set `INGEST_SENTRY_DSN`: types and places, nothing else.

The client stands by itself: no integration is on, so nothing is captured but what is handed to `Sentry.report`, and
`strip` lets only listed members of that out. Personal data is off by the SDK's default, whose option is deprecated.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sentry_sdk.transport import Transport
    from sentry_sdk.types import Event

CLOSE_TIMEOUT_MS: Final = 2_000

_EVENT: Final = ("event_id", "timestamp", "level", "platform", "release", "sdk")
_EXCEPTION: Final = ("type", "module")
_MECHANISM: Final = ("type", "handled", "exception_id", "parent_id", "is_exception_group")
_FRAME: Final = ("filename", "module", "function", "lineno", "in_app")


class SentryError(Exception):
    """Crash reports were asked for and cannot be set up; the message is for the operator and holds no DSN."""


class Sentry:
    """Sends reports in the background; never raises and never waits, but in `close`."""

    def __init__(self, capture: Callable[[BaseException], None], close: Callable[[], None]) -> None:
        self.report = capture
        self.close = close


def start(dsn: str, release: str, *, transport: "type[Transport] | None" = None) -> Sentry:
    """Make ready to report. Raises `SentryError` without the extra `sentry`, or for a DSN that is none."""
    try:
        import sentry_sdk  # noqa: PLC0415 - an extra: only those who use it have it
        from sentry_sdk.utils import BadDsn, event_from_exception  # noqa: PLC0415
    except ImportError:
        raise SentryError("INGEST_SENTRY_DSN needs the extra: pip install 'ingest-edge[sentry]'") from None
    try:
        client = sentry_sdk.Client(
            dsn=dsn,
            release=release,
            environment="production",
            server_name="",
            transport=transport,
            include_local_variables=False,
            include_source_context=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            send_client_reports=False,
            spotlight=False,
            debug=False,
            before_send=strip,
        )
    except (BadDsn, ValueError):
        raise SentryError("INGEST_SENTRY_DSN: expected https://<key>@<host>/<project>") from None

    def report(error: BaseException) -> None:
        event, hint = event_from_exception(error, client_options=client.options)
        client.capture_event(event, hint)

    return Sentry(report, lambda: client.close(timeout=CLOSE_TIMEOUT_MS / 1_000))


def strip(event: "Event", _: Mapping[str, Any]) -> "Event | None":
    """Return a new event of nothing but types, places and versions; None sends nothing, where there is no exception."""
    given: Mapping[str, Any] = event
    values = (given.get("exception") or {}).get("values") or []
    if not values:
        return None
    stripped: Any = _only(given, _EVENT)
    stripped["exception"] = {"values": [_exception(value) for value in values]}
    return stripped  # type: ignore[no-any-return]


def _exception(value: Mapping[str, Any]) -> dict[str, Any]:
    stripped = _only(value, _EXCEPTION)
    if mechanism := value.get("mechanism"):
        stripped["mechanism"] = _only(mechanism, _MECHANISM)
    frames = (value.get("stacktrace") or {}).get("frames") or []
    stripped["stacktrace"] = {"frames": [_only(frame, _FRAME) for frame in frames]}
    return stripped


def _only(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}
