"""Which checks each process needs, and in which order they are told."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal

from ingest.checks.brokers import brokers
from ingest.checks.database import database
from ingest.checks.files import apps_file, certificate, geo_files
from ingest.checks.finding import Finding, fault, ok, warning
from ingest.checks.hosts import names, valkey
from ingest.checks.machine import data_folder, open_files, room
from ingest.clock import Clock
from ingest.settings import Settings
from ingest.settings_rules import warnings
from ingest.wiring.transport import kafka_connection, topic_plan

Checked = Literal["serve", "persist", "forward", "notify"]
"""The processes that can be checked, by their command."""

GROUPS: Final[Mapping[Checked, str]] = {
    "serve": "ingest_serving",
    "persist": "ingest_persist",
    "forward": "ingest_forward",
    "notify": "ingest_notify",
}
"""The role in PostgreSQL whose member the login of each process is."""


def look(settings: Settings, role: Checked, clock: Clock) -> Iterator[Finding]:
    """Yield all findings for one process, as they are made. Nothing is changed anywhere."""
    for sentence in warnings(settings):
        yield warning("settings", sentence)
    for check in _CHECKS[role]:
        yield from check(settings, role, clock)


def _senders(settings: Settings, _role: Checked, clock: Clock) -> Iterator[Finding]:
    if settings.apps_file is not None:
        yield apps_file(settings.apps_file, clock.now_ms())
    elif settings.postgres_dsn is None:
        yield fault(
            "apps",
            "neither INGEST_POSTGRES_DSN nor INGEST_APPS_FILE is set: no app would be known",
            "set one of them",
        )


def _surface(settings: Settings, _role: Checked, clock: Clock) -> Iterator[Finding]:
    yield from certificate(settings.tls_certificate_file, settings.tls_key_file, clock.now_ms())
    yield from geo_files(settings.geoip_path, clock.now_ms())
    yield open_files(settings.connections_max)


def _folder(settings: Settings, role: Checked, _clock: Clock) -> Iterator[Finding]:
    yield from data_folder(settings.data_dir)
    if role == "serve" or settings.kafka_bootstrap is None:  # behind brokers nobody else keeps records here
        yield room(settings.data_dir, settings.spool_bytes_max)


def _kafka(settings: Settings, role: Checked, _clock: Clock) -> Iterable[Finding]:
    if settings.kafka_bootstrap is None:
        return [ok("Kafka", "INGEST_KAFKA_BOOTSTRAP is not set: records stay in the local log, on this machine alone")]
    return asyncio.run(brokers(kafka_connection(settings), topic_plan(settings), role))


def _database(settings: Settings, role: Checked, _clock: Clock) -> Iterator[Finding]:
    if settings.postgres_dsn is not None:
        yield from database(settings.postgres_dsn.reveal(), GROUPS[role])
    elif role != "serve":
        yield fault("database", f"INGEST_POSTGRES_DSN is not set, and `ingest {role}` needs it", "set it")


def _valkey(settings: Settings, _role: Checked, _clock: Clock) -> Iterator[Finding]:
    yield asyncio.run(valkey(settings))


def _vault(settings: Settings, _role: Checked, _clock: Clock) -> Iterator[Finding]:
    from ingest.checks.vault import vault  # noqa: PLC0415 - what opens tokens is for those who forward alone
    from ingest.wiring.vault import vault_keys  # noqa: PLC0415

    assert settings.postgres_dsn is not None  # a rule of the settings for this process
    yield vault(settings.postgres_dsn.reveal(), vault_keys(settings))


def _platforms(settings: Settings, _role: Checked, _clock: Clock) -> Iterator[Finding]:
    yield from names([("INGEST_META_URL", settings.meta_url), ("INGEST_TIKTOK_URL", settings.tiktok_url)])


def _channels(settings: Settings, _role: Checked, _clock: Clock) -> Iterator[Finding]:
    given = (("INGEST_SUPPORT_WEBHOOK_URL", settings.support_webhook_url), ("INGEST_SMTP_URL", settings.smtp_url))
    yield from names([(variable, url.reveal()) for variable, url in given if url is not None])
    if settings.smtp_url is None:
        yield warning(
            "mail", "INGEST_SMTP_URL is not set: contacts that are e-mail addresses are told nothing", "set it"
        )


_CHECKS: Final[Mapping[Checked, tuple[Callable[[Settings, Checked, Clock], Iterable[Finding]], ...]]] = {
    "serve": (_senders, _surface, _folder, _kafka, _database, _valkey),
    "persist": (_folder, _kafka, _database),
    "forward": (_folder, _kafka, _database, _vault, _platforms),
    "notify": (_database, _channels),
}
