"""The log of a process that goes on."""

import atexit
from importlib.metadata import version

from ingest.settings import Settings
from ingest.telemetry.log import Log, configure
from ingest.telemetry.sentry import start as start_sentry


def open_log(settings: Settings) -> Log:
    """Set it up, with crash reports where they are configured."""
    if settings.sentry_dsn is None:
        return configure(settings.log_level)
    sentry = start_sentry(settings.sentry_dsn.reveal(), f"ingest-edge@{version('ingest-edge')}")
    atexit.register(sentry.close)
    return configure(settings.log_level, report=sentry.report)
