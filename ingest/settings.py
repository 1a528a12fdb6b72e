"""Every setting of the service, each declared once: its field here, its variable `INGEST_<FIELD>`.

They are read once at start from a mapping that is passed in, checked against each other, and never change afterwards.
"""

import base64
import enum
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

from ingest.environment import PREFIX, Declared
from ingest.setting import (
    BASE_URL,
    BOOLEAN,
    BROKERS,
    GIB,
    HOST,
    KEYS,
    KIB,
    MAIL_ADDRESS,
    MIB,
    NETWORKS,
    PATH,
    PATHS,
    PORT,
    POSTGRES_DSN,
    REDIS_URL,
    SKAN_KEYS,
    SMTP_URL,
    WEBHOOK_URL,
    Network,
    Secret,
    Setting,
    SkanKey,
    choice,
    integer,
    secret_text,
    size,
    text,
)

Role = Literal["dev", "serve", "persist", "forward", "notify", "tool"]
"""Who reads the settings: `dev` generates missing keys, `tool` needs none, the others need theirs."""

EVENTS_RETENTION_DAYS_MIN = 30
EVENTS_RETENTION_DAYS_MAX = 400
"""Events of no earlier day get a partition of their own, so nothing could be kept by its day for longer."""

APPLE_SKAN_KEY = SkanKey(
    "2.1",
    base64.b64decode(
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWdp8GPcGqmhgzEFj9Z2nSpQVddayaPe4FMzqM9wib1+aHaaIzoHoLN9zW4K8y4SPykE3YVK3"
        "sVqW6Af0lfx3gg=="
    ),
)
"""The key that Apple publishes for postbacks of version 2.1 and later."""

SDK_TIMEOUT_MS = 10_000
"""SDKs give up a request after this time."""


class SecurityProtocol(enum.StrEnum):
    """How the connection to Kafka is secured."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(enum.StrEnum):
    """How the service proves to Kafka who it is."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class LogLevel(enum.StrEnum):
    """The least important lines that are still logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class SettingsError(Exception):
    """The settings refuse the start; `lines` tell every fault, one sentence each, none with the value of a secret."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All settings, typed. `load` reads and checks them; `Settings()` holds the defaults."""

    host: Annotated[str, Setting(HOST, "Address of the surface for SDKs and partners.")] = "127.0.0.1"
    port: Annotated[int, Setting(PORT, "Port of that surface; 0 lets the system choose.")] = 8080
    admin_host: Annotated[
        str, Setting(HOST, "Address of the admin surface: `/metrics`, `/ready`, `/live`. Never public.")
    ] = "127.0.0.1"
    admin_port: Annotated[
        int,
        Setting(
            PORT,
            "Port of the admin surface, one for all workers and one for each other process; 0: the system chooses.",
        ),
    ] = 8081
    tls_certificate_file: Annotated[
        Path | None,
        Setting(
            PATH,
            "Certificate chain of the surface for SDKs and partners, PEM, the server's own first; reloaded when it"
            " changes.",
            unset="unset: plain HTTP",
        ),
    ] = None
    tls_key_file: Annotated[
        Path | None, Setting(PATH, "Its private key, PEM, unencrypted.", unset="unset: plain HTTP")
    ] = None
    workers: Annotated[int, Setting(integer(1, 256), "Server processes; more than one needs Kafka.")] = 1
    data_dir: Annotated[
        Path, Setting(PATH, "Folder of the local log, the spool and generated keys; mode 0700, its files 0600.")
    ] = Path("./var")

    kafka_bootstrap: Annotated[
        str | None, Setting(BROKERS, "Kafka brokers to begin with.", unset="unset: the embedded local log")
    ] = None
    kafka_security_protocol: Annotated[
        SecurityProtocol, Setting(choice(SecurityProtocol), "How the connection to Kafka is secured.")
    ] = SecurityProtocol.PLAINTEXT
    kafka_sasl_mechanism: Annotated[
        SaslMechanism | None, Setting(choice(SaslMechanism), "How the service proves to Kafka who it is.")
    ] = None
    kafka_sasl_username: Annotated[
        str | None, Setting(text(r"[^\x00-\x1f]{1,256}", "1 to 256 characters"), "User name for Kafka.")
    ] = None
    kafka_sasl_password: Annotated[
        Secret | None, Setting(secret_text("a password"), "Password for Kafka.", secret=True)
    ] = None
    kafka_ssl_cafile: Annotated[
        Path | None,
        Setting(PATH, "Certificate authorities in PEM by which brokers are trusted.", unset="unset: the system's"),
    ] = None
    kafka_network_private: Annotated[
        bool,
        Setting(
            BOOLEAN,
            "The way to the brokers is a private network; without it, unencrypted connections outside loopback refuse"
            " the start.",
        ),
    ] = False
    kafka_allow_single_copy: Annotated[
        bool,
        Setting(
            BOOLEAN,
            "Accept topics that keep fewer than three copies or acknowledge with fewer than two; without it, such"
            " topics refuse the start.",
        ),
    ] = False
    topic_prefix: Annotated[
        str,
        Setting(text(r"[A-Za-z0-9._-]{1,100}", "1 to 100 of A-Z a-z 0-9 . _ -"), "What topic names begin with."),
    ] = "sdk."
    topic_partitions: Annotated[
        int, Setting(integer(1, 10_000), "Partitions of topics that are created; those that exist keep theirs.")
    ] = 4

    postgres_dsn: Annotated[
        Secret | None,
        Setting(
            POSTGRES_DSN,
            "PostgreSQL 15 or newer: who may send, and where rows go.",
            "unset: embedded in `dev`, else the registry file alone and no partner surface",
            secret=True,
        ),
    ] = None
    postgres_connections_max: Annotated[
        int,
        Setting(integer(1, 100, "connections"), "Connections of one process to PostgreSQL, besides one that listens."),
    ] = 4
    postgres_network_private: Annotated[
        bool,
        Setting(
            BOOLEAN,
            "The way to PostgreSQL is a private network; without it, a connection outside loopback must use TLS.",
        ),
    ] = False
    events_retention_days: Annotated[
        int,
        Setting(
            integer(EVENTS_RETENTION_DAYS_MIN, EVENTS_RETENTION_DAYS_MAX, "days"),
            "How long rows of events are kept; a project may have less, `ingest projects set`.",
        ),
    ] = 400
    support_webhook_url: Annotated[
        Secret | None,
        Setting(WEBHOOK_URL, "Where the support is told of every kill, by `ingest notify`.", secret=True),
    ] = None
    webhook_secret: Annotated[
        Secret | None,
        Setting(KEYS, "Keys that sign what webhooks are sent; each of them signs.", secret=True),
    ] = None
    webhook_network_private: Annotated[
        bool,
        Setting(
            BOOLEAN,
            "Webhooks are reached over a private network; without it, they need `https` outside loopback, and those of"
            " organizations a public address.",
        ),
    ] = False
    smtp_url: Annotated[
        Secret | None,
        Setting(
            SMTP_URL,
            "Mail server for contacts that are e-mail addresses; `smtp` needs STARTTLS outside loopback.",
            secret=True,
        ),
    ] = None
    smtp_from: Annotated[str | None, Setting(MAIL_ADDRESS, "Sender of these mails.")] = None
    smtp_network_private: Annotated[
        bool,
        Setting(BOOLEAN, "The way to the mail server is a private network: `smtp` goes without STARTTLS."),
    ] = False
    meta_url: Annotated[
        str, Setting(BASE_URL, "Where Meta's Conversions API is; it needs `https` outside loopback.")
    ] = "https://graph.facebook.com"
    meta_api_version: Annotated[
        str,
        Setting(text(r"v[1-9][0-9]{0,2}\.[0-9]", "a version such as v26.0"), "Its version; Meta ends each in time."),
    ] = "v26.0"
    tiktok_url: Annotated[
        str, Setting(BASE_URL, "Where TikTok's Events API is; it needs `https` outside loopback.")
    ] = "https://business-api.tiktok.com"
    forward_call_timeout_ms: Annotated[
        int,
        Setting(
            integer(500, 60_000, "ms"),
            "Longest wait for a platform's answer; a call without one is made again, with the same event ids.",
        ),
    ] = 5_000
    forward_parked_records_max: Annotated[
        int,
        Setting(
            integer(1_000, 100_000_000, "conversions"),
            "Most conversions that wait for a platform; further ones expire at once, and are counted.",
        ),
    ] = 500_000
    forward_parked_look_ms: Annotated[
        int,
        Setting(integer(100, 240_000, "ms"), "After so long a conversion that waits is tried again."),
    ] = 60_000
    redis_url: Annotated[
        Secret | None,
        Setting(
            REDIS_URL,
            "Valkey or Redis, for rates and idempotency across workers and hosts.",
            "unset: in-process counters, one worker only",
            secret=True,
        ),
    ] = None
    redis_network_private: Annotated[
        bool,
        Setting(BOOLEAN, "Accept a `redis://` URL that leaves this machine, unencrypted on a network of your own."),
    ] = False

    apps_file: Annotated[
        Path | None,
        Setting(PATH, "TOML registry of apps, reloaded when it changes.", unset="unset: no app is known, all get 401"),
    ] = None
    geoip_path: Annotated[
        tuple[Path, ...], Setting(PATHS, "`.mmdb` files that turn an address into a region.", unset="unset: no region")
    ] = ()
    trusted_proxies: Annotated[
        tuple[Network, ...],
        Setting(
            NETWORKS,
            "Networks whose `CF-Connecting-IP`, else `X-Forwarded-For`, and `X-Forwarded-Proto` are believed.",
            unset="none",
        ),
    ] = ()

    ack_deadline_ms: Annotated[
        int,
        Setting(integer(100, SDK_TIMEOUT_MS, "ms"), "Longest wait in a request until the transport acknowledges."),
    ] = 4_000
    stall_ms: Annotated[
        int,
        Setting(
            integer(50, SDK_TIMEOUT_MS, "ms"),
            "Age of the oldest unacknowledged record from which Kafka counts as away and the spool takes over.",
        ),
    ] = 1_000
    body_bytes_max: Annotated[
        int, Setting(size(KIB, 64 * MIB), "Largest request body as sent; a larger one gets 413.")
    ] = MIB
    body_inflated_bytes_max: Annotated[
        int, Setting(size(KIB, 256 * MIB), "Largest request body after decompression; a larger one gets 413.")
    ] = 5 * MIB
    events_per_batch_max: Annotated[
        int, Setting(integer(1, 100_000, "events"), "Most events in one batch; more get 413.")
    ] = 1_000
    event_bytes_max: Annotated[
        int, Setting(size(256, 16 * MIB), "Largest single event; a larger one is rejected, its neighbours are not.")
    ] = 32 * KIB
    body_timeout_ms: Annotated[
        int, Setting(integer(100, 300_000, "ms"), "Longest idle time between chunks of a body, then 408.")
    ] = 10_000
    header_timeout_ms: Annotated[
        int, Setting(integer(100, 300_000, "ms"), "Longest time for a connection to finish its request's headers.")
    ] = 5_000
    header_bytes_max: Annotated[int, Setting(size(KIB, MIB), "Largest request line and headers together.")] = 32 * KIB
    nesting_max: Annotated[
        int, Setting(integer(8, 500, "levels"), "Depth of JSON beyond which a batch is refused.")
    ] = 64
    in_flight_requests_max: Annotated[
        int, Setting(integer(1, 1_000_000, "requests"), "Requests at work at once in a worker; more get 503.")
    ] = 1_024
    in_flight_bytes_max: Annotated[
        int, Setting(size(KIB, 1_024 * GIB), "Bytes of bodies held at once in a worker; more get 503.")
    ] = 32 * MIB
    queue_ms_max: Annotated[
        int, Setting(integer(10, 10_000, "ms"), "Longest wait of a request for its turn in a busy worker; then 503.")
    ] = 2_000
    keep_alive_timeout_ms: Annotated[
        int, Setting(integer(1_000, 3_600_000, "ms"), "How long an idle connection is kept open.")
    ] = 75_000
    connections_max: Annotated[
        int, Setting(integer(1, 1_000_000, "connections"), "Concurrent connections to one worker.")
    ] = 10_000
    spool_bytes_max: Annotated[
        int,
        Setting(
            size(MIB, 16_384 * GIB),
            "Largest size of the local log, or of the spools of all workers together; full means 503.",
        ),
    ] = GIB
    drain_timeout_ms: Annotated[int, Setting(integer(200, 600_000, "ms"), "Longest time from SIGTERM to the exit.")] = (
        20_000
    )

    skan_public_keys: Annotated[
        tuple[SkanKey, ...],
        Setting(
            SKAN_KEYS,
            "Keys by which `ingest persist` checks the signature of SKAdNetwork postbacks, each for its version and"
            " later ones, up to the next key's.",
            unset="none: no signature is checked",
        ),
    ] = (APPLE_SKAN_KEY,)

    spool_key: Annotated[
        Secret | None,
        Setting(
            KEYS,
            "Keys of the local log and the spool: the first seals, all open.",
            "unset: `dev` generates one into the data folder",
            secret=True,
        ),
    ] = None
    vault_key: Annotated[
        Secret | None,
        Setting(
            KEYS,
            "Keys of platforms' tokens, for forwarding and `ingest vault` alone: the first seals, all open.",
            "unset: `dev` generates one into the data folder",
            secret=True,
        ),
    ] = None
    log_level: Annotated[LogLevel, Setting(choice(LogLevel), "The least important lines that are logged.")] = (
        LogLevel.INFO
    )
    sentry_dsn: Annotated[
        Secret | None,
        Setting(
            secret_text("a Sentry DSN"),
            "Where crashes are reported, without messages, values or addresses. Needs the extra `sentry`.",
            secret=True,
        ),
    ] = None


def _declared() -> Iterator[Declared]:
    hints = get_type_hints(Settings, include_extras=True)
    for field in fields(Settings):
        (setting,) = (item for item in hints[field.name].__metadata__ if isinstance(item, Setting))
        yield Declared(f"{PREFIX}{field.name.upper()}", field.name, setting, field.default)


DECLARED = tuple(_declared())
"""All settings in the order of their declaration."""
