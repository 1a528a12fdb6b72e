"""Every setting of the service, each declared once: its field here, its variable `INGEST_<FIELD>`.

They are read once at start from a mapping that is passed in, checked against each other, and never change afterwards.
"""

import enum
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_type_hints
from urllib.parse import urlsplit

from ingest.environment import PREFIX, Declared, read
from ingest.setting import (
    BOOLEAN,
    BROKERS,
    GIB,
    HOST,
    KEYS,
    KIB,
    MIB,
    NETWORKS,
    PATH,
    PATHS,
    PORT,
    REDIS_URL,
    Network,
    Secret,
    Setting,
    choice,
    integer,
    secret_text,
    size,
    text,
)

Role = Literal["dev", "serve", "tool"]
"""Who reads the settings: `dev` generates missing keys, `serve` needs them, `tool` is any other command."""

SDK_TIMEOUT_MS = 10_000
SDK_ROOM_MS = 1_000
RECORD_EVENT_BYTES_MAX = 900_000
"""The broker takes records of 1,000,000 bytes; the rest is kept for what the edge adds to an event."""

VAULT_KEY_NAMES = frozenset({f"{PREFIX}VAULT_KEY", f"{PREFIX}VAULT_KEY_FILE"})


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
        int, Setting(PORT, "Port of the admin surface, one for all workers; 0 lets the system choose.")
    ] = 8081
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

    spool_key: Annotated[
        Secret | None,
        Setting(
            KEYS,
            "Keys of the local log and the spool: the first seals, all open.",
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


def _hosts_overlap(one: str, other: str) -> bool:
    wildcards = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to
    return one == other or bool({one, other} & wildcards) or (_is_loopback(one) and _is_loopback(other))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _has_credentials(settings: Settings) -> bool:
    return None not in (settings.kafka_sasl_mechanism, settings.kafka_sasl_username, settings.kafka_sasl_password)


def crosses_in_clear(redis_url: Secret) -> bool:
    """Tell whether what goes to this URL leaves the machine without TLS."""
    url = urlsplit(redis_url.reveal())
    return url.scheme == "redis" and not _is_loopback(url.hostname or "")


class Rule(NamedTuple):
    """What must hold between settings. A rule is skipped where a variable that its sentence names is faulty itself."""

    holds: Callable[[Settings, Role], bool]
    sentence: str


RULES = (
    Rule(
        lambda it, _: it.port == 0 or it.port != it.admin_port or not _hosts_overlap(it.host, it.admin_host),
        "INGEST_PORT and INGEST_ADMIN_PORT must differ, because INGEST_HOST and INGEST_ADMIN_HOST overlap",
    ),
    Rule(
        lambda it, _: it.workers == 1 or it.kafka_bootstrap is not None,
        "INGEST_WORKERS above 1 needs INGEST_KAFKA_BOOTSTRAP, because the local log has one writer",
    ),
    Rule(
        lambda it, _: not it.kafka_security_protocol.startswith("SASL") or _has_credentials(it),
        "INGEST_KAFKA_SECURITY_PROTOCOL with SASL needs INGEST_KAFKA_SASL_MECHANISM, INGEST_KAFKA_SASL_USERNAME and"
        " INGEST_KAFKA_SASL_PASSWORD",
    ),
    Rule(
        lambda it, _: it.kafka_ssl_cafile is None or it.kafka_ssl_cafile.is_file(),
        "INGEST_KAFKA_SSL_CAFILE names a file that does not exist",
    ),
    Rule(
        lambda it, _: it.redis_url is None or it.redis_network_private or not crosses_in_clear(it.redis_url),
        "INGEST_REDIS_URL leaves this machine unencrypted: use rediss://, or set INGEST_REDIS_NETWORK_PRIVATE",
    ),
    Rule(
        lambda it, _: it.stall_ms <= it.ack_deadline_ms,
        "INGEST_STALL_MS must not be larger than INGEST_ACK_DEADLINE_MS, else the spool never takes over",
    ),
    Rule(
        lambda it, _: it.stall_ms + it.ack_deadline_ms <= SDK_TIMEOUT_MS - SDK_ROOM_MS,
        f"INGEST_STALL_MS and INGEST_ACK_DEADLINE_MS together must be at most {SDK_TIMEOUT_MS - SDK_ROOM_MS}, because a"
        f" request may wait for Kafka and then for the spool, SDKs give up after {SDK_TIMEOUT_MS} ms, and"
        f" {SDK_ROOM_MS} ms are needed for the way",
    ),
    Rule(
        lambda it, _: it.drain_timeout_ms > it.ack_deadline_ms,
        "INGEST_DRAIN_TIMEOUT_MS must be larger than INGEST_ACK_DEADLINE_MS, else a stop cuts requests that still wait",
    ),
    Rule(
        lambda it, _: it.event_bytes_max < it.body_bytes_max,
        "INGEST_EVENT_BYTES_MAX must be smaller than INGEST_BODY_BYTES_MAX, because a body may come as it is",
    ),
    Rule(
        lambda it, _: it.spool_bytes_max // it.workers >= MIB,
        "INGEST_SPOOL_BYTES_MAX must hold 1 MiB for each of INGEST_WORKERS, which have spools of their own",
    ),
    Rule(
        lambda it, _: it.event_bytes_max <= RECORD_EVENT_BYTES_MAX,
        f"INGEST_EVENT_BYTES_MAX must be at most {RECORD_EVENT_BYTES_MAX}, because the broker takes records of at most"
        " 1000000 bytes and the edge adds to the event",
    ),
    Rule(
        lambda it, _: it.body_bytes_max <= it.body_inflated_bytes_max,
        "INGEST_BODY_BYTES_MAX must not be larger than INGEST_BODY_INFLATED_BYTES_MAX, since a body may come as it is",
    ),
    Rule(
        lambda it, _: it.in_flight_bytes_max >= it.body_inflated_bytes_max,
        "INGEST_IN_FLIGHT_BYTES_MAX must not be smaller than INGEST_BODY_INFLATED_BYTES_MAX, else the largest body"
        " never finds room",
    ),
    Rule(
        lambda it, role: role != "serve" or it.spool_key is not None,
        "INGEST_SPOOL_KEY or INGEST_SPOOL_KEY_FILE is needed, because the local log and the spool are sealed; only"
        " `ingest dev` generates one",
    ),
)


def load(environ: Mapping[str, str], *, role: Role = "serve") -> Settings:
    """Read, type and cross-check the settings in `environ` for a program of this `role`.

    Raises `SettingsError` with every fault at once: unknown `INGEST_*` names, values that do not fit, broken rules.
    """
    reading = read(environ, DECLARED, VAULT_KEY_NAMES)
    settings = Settings(**reading.values)
    if role == "serve":
        for name in sorted(name for name in VAULT_KEY_NAMES if environ.get(name)):
            reading.refuse(
                name, "the serving process must not be given the vault key; give it to the workers that need it"
            )
    for rule in RULES:
        named = set(re.findall(rf"{PREFIX}\w+", rule.sentence))
        if not named & reading.faulty and not rule.holds(settings, role):
            reading.faults.append(rule.sentence)
    if reading.faults:
        raise SettingsError(tuple(reading.faults))
    return settings


def warnings(settings: Settings) -> tuple[str, ...]:
    """Tell what is allowed but should not stay so, one sentence each, for a log line at the start."""
    found = []
    brokers = settings.kafka_bootstrap.split(",") if settings.kafka_bootstrap else []
    open_wire = settings.kafka_security_protocol in (SecurityProtocol.PLAINTEXT, SecurityProtocol.SASL_PLAINTEXT)
    if open_wire and not all(_is_loopback(broker.rpartition(":")[0]) for broker in brokers):
        found.append(
            "INGEST_KAFKA_SECURITY_PROTOCOL leaves the way to the brokers in INGEST_KAFKA_BOOTSTRAP unencrypted"
        )
    if settings.kafka_allow_single_copy:
        found.append("INGEST_KAFKA_ALLOW_SINGLE_COPY lets an acknowledged event be lost with one broker")
    if any(network.prefixlen == 0 for network in settings.trusted_proxies):
        found.append("INGEST_TRUSTED_PROXIES believes everybody, so that anybody may choose the region of an event")
    return tuple(found)
