"""What must hold between settings, and how they are read and checked as a whole."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from ingest.environment import PREFIX, read
from ingest.setting import MIB, Secret, crosses_in_clear, is_loopback
from ingest.settings import DECLARED, SDK_TIMEOUT_MS, Role, Settings, SettingsError

SDK_ROOM_MS = 1_000
RECORD_EVENT_BYTES_MAX = 900_000
"""The broker takes records of 1,000,000 bytes; the rest is kept for what the edge adds to an event."""

VAULT_KEY_NAMES = frozenset({f"{PREFIX}VAULT_KEY", f"{PREFIX}VAULT_KEY_FILE"})

BACKGROUND_ONLY = {
    f"{PREFIX}{name}{suffix}": f"the serving process must not be given {what}; give it to the workers that need it"
    for name, what in (
        ("VAULT_KEY", "the vault key"),
        ("WEBHOOK_SECRET", "the keys that sign webhooks"),
        ("SMTP_URL", "the account on the mail server"),
    )
    for suffix in ("", "_FILE")
}
FORWARD_ONLY = dict.fromkeys(
    VAULT_KEY_NAMES, "this process must not be given the vault key; it is for `ingest forward` and `ingest vault` alone"
)
WITHHELD: Mapping[Role, Mapping[str, str]] = {
    "serve": BACKGROUND_ONLY,
    "persist": FORWARD_ONLY,
    "notify": FORWARD_ONLY,
}
"""Variables that refuse the start of a process of this role, each with why. They are not even read."""


def _hosts_overlap(one: str, other: str) -> bool:
    wildcards = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to
    return one == other or bool({one, other} & wildcards) or (is_loopback(one) and is_loopback(other))


def _is_postgres_secure(dsn: Secret) -> bool:
    parts = urlsplit(dsn.reveal())
    query = parse_qs(parts.query)
    named = [*parts.netloc.rpartition("@")[2].split(","), *query.get("host", []), *query.get("hostaddr", [])]
    if "service" in query:
        return False  # a file elsewhere names the host
    hosts = [re.sub(r":[0-9]*$", "", host) for host in named if host]
    return query.get("sslmode", [""])[-1] in {"require", "verify-ca", "verify-full"} or (
        bool(hosts) and all(host.startswith(("/", "%2F", "%2f")) or is_loopback(host) for host in hosts)
    )


def _is_secure(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _has_credentials(settings: Settings) -> bool:
    return None not in (settings.kafka_sasl_mechanism, settings.kafka_sasl_username, settings.kafka_sasl_password)


def _is_kafka_exposed(settings: Settings) -> bool:
    brokers = settings.kafka_bootstrap.split(",") if settings.kafka_bootstrap else []
    is_encrypted = settings.kafka_security_protocol.endswith("SSL")
    return not is_encrypted and not all(is_loopback(broker.rpartition(":")[0]) for broker in brokers)


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
        lambda it, _: it.kafka_network_private or not _is_kafka_exposed(it),
        "INGEST_KAFKA_SECURITY_PROTOCOL leaves the way to the brokers in INGEST_KAFKA_BOOTSTRAP unencrypted: use SSL or"
        " SASL_SSL, or set INGEST_KAFKA_NETWORK_PRIVATE where that way is a private network",
    ),
    Rule(
        lambda it, _: (it.tls_certificate_file is None) == (it.tls_key_file is None),
        "INGEST_TLS_CERTIFICATE_FILE and INGEST_TLS_KEY_FILE must be set together, or neither",
    ),
    Rule(
        lambda it, _: all(path is None or path.is_file() for path in (it.tls_certificate_file, it.tls_key_file)),
        "INGEST_TLS_CERTIFICATE_FILE or INGEST_TLS_KEY_FILE names a file that does not exist",
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
        lambda it, _: it.redis_url is None or it.redis_network_private or not crosses_in_clear(it.redis_url),
        "INGEST_REDIS_URL leaves this machine unencrypted: use rediss://, or set INGEST_REDIS_NETWORK_PRIVATE",
    ),
    Rule(
        lambda it, _: it.workers == 1 or it.postgres_dsn is None or it.redis_url is not None,
        "INGEST_WORKERS above 1 needs INGEST_REDIS_URL beside INGEST_POSTGRES_DSN, because partners' calls are counted"
        " and repeated over all workers",
    ),
    Rule(
        lambda it, _: it.postgres_dsn is None or it.apps_file is None,
        "INGEST_POSTGRES_DSN and INGEST_APPS_FILE both say who may send; give one of them",
    ),
    Rule(
        lambda it, _: it.postgres_dsn is None or it.postgres_network_private or _is_postgres_secure(it.postgres_dsn),
        "INGEST_POSTGRES_DSN needs sslmode=require, verify-ca or verify-full outside loopback, unless"
        " INGEST_POSTGRES_NETWORK_PRIVATE says that the network is private",
    ),
    Rule(
        lambda it, role: role not in {"serve", "persist", "forward"} or it.spool_key is not None,
        "INGEST_SPOOL_KEY or INGEST_SPOOL_KEY_FILE is needed, because the local log and the spool are sealed; only"
        " `ingest dev` generates one",
    ),
    Rule(
        lambda it, role: role != "forward" or None not in (it.postgres_dsn, it.vault_key),
        "INGEST_POSTGRES_DSN and INGEST_VAULT_KEY are needed by `ingest forward`, which opens the tokens of platforms",
    ),
    Rule(
        lambda it, role: role != "notify" or None not in (it.postgres_dsn, it.support_webhook_url, it.webhook_secret),
        "INGEST_POSTGRES_DSN, INGEST_SUPPORT_WEBHOOK_URL and INGEST_WEBHOOK_SECRET are needed by `ingest notify`, else"
        " nobody would be told of kills",
    ),
    Rule(
        lambda it, role: role != "dev" or it.support_webhook_url is None or it.webhook_secret is not None,
        "INGEST_SUPPORT_WEBHOOK_URL needs INGEST_WEBHOOK_SECRET, by which what is sent there is signed",
    ),
    Rule(
        lambda it, _: (
            it.support_webhook_url is None or it.webhook_network_private or _is_secure(it.support_webhook_url.reveal())
        ),
        "INGEST_SUPPORT_WEBHOOK_URL needs https outside loopback, unless INGEST_WEBHOOK_NETWORK_PRIVATE says that the"
        " network is private",
    ),
    Rule(
        lambda it, _: it.smtp_url is None or it.smtp_from is not None,
        "INGEST_SMTP_URL needs INGEST_SMTP_FROM, the sender of what goes there",
    ),
    Rule(
        lambda it, _: _is_secure(it.meta_url) and _is_secure(it.tiktok_url),
        "INGEST_META_URL and INGEST_TIKTOK_URL need https outside loopback, because tokens go there",
    ),
)


def load(environ: Mapping[str, str], *, role: Role = "serve") -> Settings:
    """Read, type and cross-check the settings in `environ` for a program of this `role`.

    Raises `SettingsError` with every fault at once: unknown `INGEST_*` names, values that do not fit, broken rules.
    """
    withheld = WITHHELD.get(role, {})
    reading = read({name: text for name, text in environ.items() if name not in withheld}, DECLARED)
    settings = Settings(**reading.values)
    for name in sorted(name for name in withheld if environ.get(name)):
        reading.refuse(name, withheld[name])
        reading.faulty.add(name.removesuffix("_FILE"))
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
    if settings.postgres_network_private and settings.postgres_dsn and not _is_postgres_secure(settings.postgres_dsn):
        found.append("INGEST_POSTGRES_NETWORK_PRIVATE leaves the way to INGEST_POSTGRES_DSN unencrypted")
    if settings.kafka_allow_single_copy:
        found.append("INGEST_KAFKA_ALLOW_SINGLE_COPY lets an acknowledged event be lost with one broker")
    if any(network.prefixlen == 0 for network in settings.trusted_proxies):
        found.append("INGEST_TRUSTED_PROXIES believes everybody, so that anybody may choose the region of an event")
    return tuple(found)
