"""The settings: what is read, what is refused and how, and that declaration, code and page agree."""

import ast
import base64
import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from ingest.setting import Secret, decode_keys, is_loopback, show_size
from ingest.settings import APPLE_SKAN_KEY, DECLARED, Settings, SettingsError
from ingest.settings_page import describe, render_markdown
from ingest.settings_rules import RULES, load, warnings

ROOT = Path(__file__).parents[2]
KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()
APPLE_KEYS = "2.1:" + base64.b64encode(APPLE_SKAN_KEY.der).decode()
SERVE = {"INGEST_SPOOL_KEY": KEY}
NOTIFY = {
    "INGEST_POSTGRES_DSN": "postgresql://edge:word@127.0.0.1/ingest",
    "INGEST_SUPPORT_WEBHOOK_URL": "https://support.example/",
    "INGEST_WEBHOOK_SECRET": KEY,
}

FORWARD = {**SERVE, "INGEST_POSTGRES_DSN": NOTIFY["INGEST_POSTGRES_DSN"], "INGEST_VAULT_KEY": KEY}
NEEDED: dict[str, dict[str, str]] = {"serve": {}, "persist": {}, "notify": NOTIFY}


def refused(environ: dict[str, str], role: str = "serve") -> tuple[str, ...]:
    """Load what must be refused and return the lines."""
    with pytest.raises(SettingsError) as caught:
        load(environ, role=role)  # type: ignore[arg-type]
    assert str(caught.value) == "\n".join(caught.value.lines)
    return caught.value.lines


def test_defaults() -> None:
    """An environment without any setting gives the documented defaults, and other variables are not looked at."""
    settings = load({"PATH": "/bin", "INGESTION": "x"}, role="tool")
    assert settings == Settings()
    assert (settings.host, settings.port, settings.admin_port, settings.workers) == ("127.0.0.1", 8080, 8081, 1)
    assert (settings.body_bytes_max, settings.body_inflated_bytes_max) == (1 << 20, 5 << 20)
    assert (settings.event_bytes_max, settings.spool_bytes_max) == (32 << 10, 1 << 30)
    assert (settings.kafka_bootstrap, settings.geoip_path, settings.trusted_proxies) == (None, (), ())


def test_values_are_typed() -> None:
    """Each kind of text becomes its type."""
    settings = load(
        {
            **SERVE,
            "INGEST_HOST": "::1",
            "INGEST_KAFKA_BOOTSTRAP": "kafka-1:9092, [::1]:9093",
            "INGEST_KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
            "INGEST_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
            "INGEST_KAFKA_SASL_USERNAME": "edge",
            "INGEST_KAFKA_SASL_PASSWORD": "hunter2",
            "INGEST_KAFKA_ALLOW_SINGLE_COPY": "1",
            "INGEST_WORKERS": "4",
            "INGEST_BODY_BYTES_MAX": "2MiB",
            "INGEST_EVENT_BYTES_MAX": "4096",
            "INGEST_GEOIP_PATH": "a.mmdb:/b.mmdb",
            "INGEST_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
        }
    )
    assert settings.host == "::1"
    assert settings.kafka_bootstrap == "kafka-1:9092,[::1]:9093"
    assert settings.kafka_security_protocol == "SASL_SSL"
    assert settings.kafka_sasl_password == Secret("hunter2")
    assert settings.kafka_allow_single_copy is True
    assert settings.workers == 4
    assert (settings.body_bytes_max, settings.event_bytes_max) == (2 << 20, 4096)
    assert settings.geoip_path == (Path("a.mmdb"), Path("/b.mmdb"))
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_keys_of_apple_are_read_and_shown_alike() -> None:
    """Apple's published one is the default; others take its place, or none."""
    entry = next(each for each in DECLARED if each.name == "INGEST_SKAN_PUBLIC_KEYS")
    both = f"{APPLE_KEYS}, {APPLE_KEYS.replace('2.1', '2.0')}"
    settings = load({**SERVE, "INGEST_SKAN_PUBLIC_KEYS": both})

    assert Settings().skan_public_keys == (APPLE_SKAN_KEY,)
    assert settings.skan_public_keys == (APPLE_SKAN_KEY, APPLE_SKAN_KEY._replace(version="2.0"))
    assert entry.show(settings.skan_public_keys) == both.replace(" ", "")
    assert load({**SERVE, "INGEST_SKAN_PUBLIC_KEYS": "none"}).skan_public_keys == ()
    assert entry.show(()).startswith("none")


def test_empty_counts_as_unset() -> None:
    """An empty or blank variable leaves the default in force."""
    assert load({**SERVE, "INGEST_PORT": "", "INGEST_TRUSTED_PROXIES": " "}) == load(SERVE)


def test_unknown_name_suggests_the_nearest() -> None:
    """An unknown name is refused with the nearest known one, and without one where none is near."""
    assert refused({**SERVE, "INGEST_TRUSTED_PROXYS": "x"}) == (
        "INGEST_TRUSTED_PROXYS: there is no such setting; did you mean INGEST_TRUSTED_PROXIES?",
    )
    assert refused({**SERVE, "INGEST_ZZZZ": "x"}) == ("INGEST_ZZZZ: there is no such setting",)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("INGEST_PORT", "eighty", "expected a whole number from 0 to 65535, got 'eighty'"),
        ("INGEST_PORT", "65536", "expected a whole number from 0 to 65535, got '65536'"),
        ("INGEST_PORT", "-1", "expected a whole number from 0 to 65535, got '-1'"),
        ("INGEST_PORT", "٣", "expected a whole number from 0 to 65535, got '٣'"),
        ("INGEST_SPOOL_BYTES_MAX", "1GB", "expected 1 MiB to 16384 GiB"),
        ("INGEST_KAFKA_ALLOW_SINGLE_COPY", "yes", "expected true, false, 1 or 0, got 'yes'"),
        ("INGEST_KAFKA_SECURITY_PROTOCOL", "TLS", "expected one of PLAINTEXT, SSL"),
        ("INGEST_KAFKA_BOOTSTRAP", "kafka", "expected host:port"),
        ("INGEST_KAFKA_BOOTSTRAP", "kafka:70000", "expected host:port"),
        ("INGEST_TRUSTED_PROXIES", "10.0.0.1/8", "expected networks such as 10.0.0.0/8 without host bits"),
        ("INGEST_GEOIP_PATH", "a.mmdb:", "expected one or more paths"),
        ("INGEST_TOPIC_PREFIX", "sdk/", "expected 1 to 100 of"),
        ("INGEST_HOST", "a b", "expected a host name or an IP address"),
        ("INGEST_SKAN_PUBLIC_KEYS", KEY, "expected none, or VERSION:KEY"),
        ("INGEST_SKAN_PUBLIC_KEYS", f"2.1:{KEY}", "expected none, or VERSION:KEY"),
        ("INGEST_SKAN_PUBLIC_KEYS", f"{APPLE_KEYS},{APPLE_KEYS}", "expected none, or VERSION:KEY"),
        ("INGEST_SKAN_PUBLIC_KEYS", APPLE_KEYS.replace("2.1", "two"), "expected none, or VERSION:KEY"),
        ("INGEST_LOG_LEVEL", "loud", "expected one of debug, info, warning, error"),
        ("INGEST_META_URL", "graph.example", "expected https://host"),
        ("INGEST_META_URL", "https://graph.example/?v=1", "expected https://host"),
        ("INGEST_META_API_VERSION", "26.0", "expected a version such as v26.0"),
        ("INGEST_TIKTOK_URL", "https://user@tiktok.example", "expected https://host"),
    ],
)
def test_bad_value(name: str, text: str, expected: str) -> None:
    """A value that does not fit is refused with its variable and with what is expected."""
    (line,) = refused({**SERVE, name: text})
    assert line.startswith(f"{name}: {expected}")


def test_all_faults_at_once() -> None:
    """Every fault is told in one go, and a rule about a faulty variable is not told on top."""
    lines = refused({"INGEST_PORT": "x", "INGEST_WORKER": "2", "INGEST_WORKERS": "2", "INGEST_BODY_BYTES_MAX": "6MiB"})
    assert len(lines) == 5
    text = "\n".join(lines)
    for name in (
        "INGEST_PORT:",
        "INGEST_WORKER:",
        "INGEST_WORKERS above 1",
        "INGEST_BODY_BYTES_MAX",
        "INGEST_SPOOL_KEY",
    ):
        assert name in text


@pytest.mark.parametrize(
    "environ",
    [
        {"INGEST_SERVICE_HOST": "10.1.2.3", "INGEST_SERVICE_PORT": "80", "INGEST_SERVICE_PORT_HTTP": "80"},
        {"INGEST_PORT": "tcp://10.1.2.3:80"},
        {"INGEST_PORT_8080_TCP": "tcp://10.1.2.3:8080", "INGEST_PORT_8080_TCP_ADDR": "10.1.2.3"},
        {"INGEST_ADMIN_PORT": "tcp://10.1.2.3:81", "INGEST_ADMIN_SERVICE_HOST": "10.1.2.3"},
    ],
)
def test_injected_by_an_orchestrator(environ: dict[str, str]) -> None:
    """What an orchestrator sets for a service called `ingest` is explained in one line with the remedy."""
    (line,) = refused({**SERVE, **environ})
    assert all(name in line for name in environ)
    assert "enableServiceLinks: false" in line


@pytest.mark.parametrize("name", ["INGEST_SPOOL_KEY", "INGEST_VAULT_KEY", "INGEST_SENTRY_DSN"])
def test_secret_from_a_file(tmp_path: Path, name: str) -> None:
    """A secret's `_FILE` variant is read and stripped; together with the variable it is refused."""
    path = tmp_path / "secret"
    path.write_text(f"\n {KEY}\n")
    settings = load({f"{name}_FILE": str(path)}, role="tool")
    assert getattr(settings, name.removeprefix("INGEST_").lower()) == Secret(KEY)
    (line,) = refused({name: KEY, f"{name}_FILE": str(path)}, "tool")
    assert line == f"{name}: given together with {name}_FILE; give one of them"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read"), (b" \n", "is empty"), (b"\xff", "not UTF-8"), (b"k" * 70_000, "larger than")],
)
def test_secret_file_that_does_not_serve(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """A secret's file that cannot be used is refused once, under the variable that names it."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    (line,) = refused({"INGEST_SPOOL_KEY_FILE": str(path)})
    assert line.startswith("INGEST_SPOOL_KEY_FILE: the file")
    assert reason in line


def test_only_secrets_have_a_file_variant(tmp_path: Path) -> None:
    """A `_FILE` variant of a setting that is no secret is an unknown name."""
    (line,) = refused({**SERVE, "INGEST_PORT_FILE": str(tmp_path)})
    assert line.startswith("INGEST_PORT_FILE: there is no such setting")


@pytest.mark.parametrize("key", ["c2VjcmV0LXRvby1zaG9ydA==", "not base64!", f"{KEY},", f"{KEY},c2VjcmV0"])
def test_no_message_holds_a_secret(tmp_path: Path, key: str) -> None:
    """A bad key is refused without any part of it, given directly or in a file, and secrets have no readable repr."""
    path = tmp_path / "key"
    path.write_text(key)
    for environ in ({"INGEST_SPOOL_KEY": key}, {"INGEST_SPOOL_KEY_FILE": str(path)}):
        (line,) = refused(environ)
        assert "expected one or more keys of 32 bytes in base64" in line
        assert key not in line
        assert "c2VjcmV0" not in line
    assert KEY not in repr(load(SERVE))


def test_keys_are_decoded_in_order() -> None:
    """A list of keys is decoded in its order, the sealing one first."""
    assert decode_keys(f"{KEY}, {OTHER_KEY}") == (bytes(range(32)), bytes(32))


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://localhost:6379/0",
        "redis://:p%40ss@[::1]:6379/15",
        "rediss://user:hunter2@valkey.example:6380/",
        "unix:///run/valkey.sock",
        "unix://user:hunter2@/run/valkey.sock?db=3",
    ],
)
def test_urls_of_valkey(url: str) -> None:
    """TCP on this machine, TLS to anywhere and sockets are taken, and kept secret."""
    settings = load({**SERVE, "INGEST_REDIS_URL": url})
    assert settings.redis_url == Secret(url)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "http://hunter2@127.0.0.1",
        "redis://:hunter2@",
        "redis://:hunter2@127.0.0.1:0",
        "redis://:hunter2@127.0.0.1:65536",
        "redis://:hunter2@127.0.0.1:port",
        "redis://:hunter2@127.0.0.1/0/1",
        "redis://127.0.0.1?password=hunter2",
        "rediss://:hunter2@valkey.example?ssl_cert_reqs=none",
        "redis://:hunter2@127.0.0.1#x",
        "redis://:hun ter2@127.0.0.1",
        "redis://:hunter2\u00e9@127.0.0.1",
        "unix:/hunter2",
        "unix://hunter2",
        "unix:///hunter2?password=x",
        "unix:///hunter2?db=0&socket_timeout=9",
    ],
)
def test_no_message_holds_a_url_of_valkey(url: str) -> None:
    """What is no such URL is refused without any part of it, options that would weaken the connection included."""
    (line,) = refused({**SERVE, "INGEST_REDIS_URL": url})
    assert line == ("INGEST_REDIS_URL: expected redis://host:port/db, rediss:// for TLS, or unix:///path?db=0")


def test_valkey_on_another_host_needs_tls_or_a_private_network() -> None:
    """Counters leave the machine unencrypted only where somebody says so, and the refusal does not show the URL."""
    environ = {**SERVE, "INGEST_REDIS_URL": "redis://:hunter2@valkey.example:6379/0"}
    (line,) = refused(environ)
    assert line.startswith("INGEST_REDIS_URL leaves this machine unencrypted")
    assert "hunter2" not in line
    assert load({**environ, "INGEST_REDIS_NETWORK_PRIVATE": "true"}).redis_network_private


@pytest.mark.parametrize("name", ["INGEST_WEBHOOK_SECRET", "INGEST_SMTP_URL"])
def test_serving_refuses_what_is_for_the_notifying_process(tmp_path: Path, name: str) -> None:
    """The serving process must be given neither the keys that sign webhooks nor the account on the mail server."""
    text = {"INGEST_WEBHOOK_SECRET": KEY, "INGEST_SMTP_URL": "smtps://edge:hunter2@mail.example"}[name]
    path = tmp_path / "secret"
    path.write_text(text)
    for environ in ({name: text}, {f"{name}_FILE": str(path)}):
        (line,) = refused({**SERVE, **environ})
        assert line.startswith(f"{next(iter(environ))}: the serving process must not be given the ")
        assert text not in line
        others = {other: value for other, value in NOTIFY.items() if other != name}
        read = load({**others, "INGEST_SMTP_FROM": "edge@ingest.example", **environ}, role="notify")
        assert getattr(read, name.removeprefix("INGEST_").lower()) == Secret(text)


@pytest.mark.parametrize(
    ("name", "text", "ok"),
    [
        ("INGEST_SUPPORT_WEBHOOK_URL", "https://support.example:8443/hook?token=a", True),
        ("INGEST_SUPPORT_WEBHOOK_URL", "http://127.0.0.1:8090/", True),
        ("INGEST_SUPPORT_WEBHOOK_URL", "https://user:word@support.example/", False),
        ("INGEST_SUPPORT_WEBHOOK_URL", "https://support.example:70000/", False),
        ("INGEST_SUPPORT_WEBHOOK_URL", "https:///hook", False),
        ("INGEST_SUPPORT_WEBHOOK_URL", "https://[support/", False),
        ("INGEST_SUPPORT_WEBHOOK_URL", "support.example", False),
        ("INGEST_SMTP_URL", "smtp://edge:p%40ss@mail.example:587", True),
        ("INGEST_SMTP_URL", "smtps://mail.example/", True),
        ("INGEST_SMTP_URL", "smtp://edge@mail.example", False),
        ("INGEST_SMTP_URL", "smtp://mail.example/path", False),
        ("INGEST_SMTP_URL", "mail.example:25", False),
    ],
)
def test_urls_of_webhooks_and_mail_servers(name: str, text: str, *, ok: bool) -> None:
    """A URL names a scheme and a host, where allowed an account, and a port that is one; a bad one is not repeated."""
    environ = {"INGEST_SMTP_FROM": "edge@ingest.example", name: text}
    if ok:
        assert getattr(load(environ, role="tool"), name.removeprefix("INGEST_").lower()) == Secret(text)
    else:
        (line,) = refused(environ, "tool")
        assert line.startswith(f"{name}: expected ")
        assert text not in line


@pytest.mark.parametrize("role", ["serve", "persist", "notify"])
@pytest.mark.parametrize("text", [KEY, "hunter2"])
def test_the_vault_key_is_for_those_who_open_tokens(tmp_path: Path, role: str, text: str) -> None:
    """Others refuse it, good or bad, and do not even look into its file; none of them shows any of it."""
    path = tmp_path / "secret"
    path.write_text(text)
    for environ in ({"INGEST_VAULT_KEY": text}, {"INGEST_VAULT_KEY_FILE": str(path)}, {"INGEST_VAULT_KEY_FILE": text}):
        (name,) = environ
        (line,) = refused({**SERVE, **NEEDED[role], **environ}, role)
        assert line.startswith(f"{name}: ")
        assert "must not be given the vault key" in line
        assert text not in line
    for other in ("forward", "tool", "dev"):
        assert load({**FORWARD, "INGEST_VAULT_KEY": KEY}, role=other).vault_key == Secret(KEY)


OPEN_SASL = {
    "INGEST_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "INGEST_KAFKA_SASL_MECHANISM": "PLAIN",
    "INGEST_KAFKA_SASL_USERNAME": "edge",
    "INGEST_KAFKA_SASL_PASSWORD": "hunter2",
}
BROKEN = [
    ({"INGEST_ADMIN_PORT": "8080"}, "INGEST_PORT and INGEST_ADMIN_PORT"),
    ({"INGEST_ADMIN_PORT": "8080", "INGEST_ADMIN_HOST": "0.0.0.0"}, "INGEST_PORT and INGEST_ADMIN_PORT"),
    ({"INGEST_ADMIN_PORT": "8080", "INGEST_ADMIN_HOST": "localhost"}, "INGEST_PORT and INGEST_ADMIN_PORT"),
    ({"INGEST_WORKERS": "2"}, "INGEST_WORKERS above 1 needs INGEST_KAFKA_BOOTSTRAP"),
    ({"INGEST_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "INGEST_KAFKA_SECURITY_PROTOCOL with SASL needs"),
    ({"INGEST_REDIS_URL": "redis://valkey:6379"}, "INGEST_REDIS_URL leaves this machine unencrypted"),
    ({"INGEST_KAFKA_SSL_CAFILE": "./no-such-file"}, "INGEST_KAFKA_SSL_CAFILE names a file"),
    *(
        ({"INGEST_KAFKA_BOOTSTRAP": brokers, **protocol}, "INGEST_KAFKA_SECURITY_PROTOCOL leaves the way")
        for brokers in ("kafka:9092", "localhost:9092,kafka:9092", "10.0.0.1:9092", "[fd00::1]:9092")
        for protocol in ({}, OPEN_SASL)
    ),
    ({"INGEST_TLS_CERTIFICATE_FILE": __file__}, "INGEST_TLS_CERTIFICATE_FILE and INGEST_TLS_KEY_FILE must be set"),
    ({"INGEST_TLS_KEY_FILE": __file__}, "INGEST_TLS_CERTIFICATE_FILE and INGEST_TLS_KEY_FILE must be set"),
    (
        {"INGEST_TLS_CERTIFICATE_FILE": __file__, "INGEST_TLS_KEY_FILE": "./no-such-file"},
        "INGEST_TLS_CERTIFICATE_FILE or INGEST_TLS_KEY_FILE names a file",
    ),
    ({"INGEST_ACK_DEADLINE_MS": "999"}, "INGEST_STALL_MS must not be larger than INGEST_ACK_DEADLINE_MS"),
    ({"INGEST_ACK_DEADLINE_MS": "8001"}, "INGEST_STALL_MS and INGEST_ACK_DEADLINE_MS together must be at most 9000"),
    ({"INGEST_DRAIN_TIMEOUT_MS": "4000"}, "INGEST_DRAIN_TIMEOUT_MS must be larger than INGEST_ACK_DEADLINE_MS"),
    (
        {"INGEST_EVENT_BYTES_MAX": "64KiB", "INGEST_BODY_BYTES_MAX": "64KiB"},
        "INGEST_EVENT_BYTES_MAX must be smaller than INGEST_BODY_BYTES_MAX",
    ),
    (
        {"INGEST_SPOOL_BYTES_MAX": "1MiB", "INGEST_WORKERS": "2", "INGEST_KAFKA_BOOTSTRAP": "localhost:9092"},
        "INGEST_SPOOL_BYTES_MAX must hold 1 MiB for each of INGEST_WORKERS",
    ),
    ({"INGEST_EVENT_BYTES_MAX": "900001"}, "INGEST_EVENT_BYTES_MAX must be at most 900000"),
    ({"INGEST_BODY_BYTES_MAX": "6MiB"}, "INGEST_BODY_BYTES_MAX must not be larger than INGEST_BODY_INFLATED_BYTES_MAX"),
    (
        {"INGEST_IN_FLIGHT_BYTES_MAX": "4MiB"},
        "INGEST_IN_FLIGHT_BYTES_MAX must not be smaller than INGEST_BODY_INFLATED_BYTES_MAX",
    ),
    (
        {"INGEST_POSTGRES_DSN": "postgresql://127.0.0.1/x", "INGEST_APPS_FILE": "apps.toml"},
        "INGEST_POSTGRES_DSN and INGEST_APPS_FILE both say who may send",
    ),
    ({"INGEST_POSTGRES_DSN": "postgresql://u@db.example/x"}, "INGEST_POSTGRES_DSN needs sslmode=require"),
    (
        {
            "INGEST_POSTGRES_DSN": "postgresql://127.0.0.1/x",
            "INGEST_WORKERS": "2",
            "INGEST_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
        },
        "INGEST_WORKERS above 1 needs INGEST_REDIS_URL beside INGEST_POSTGRES_DSN",
    ),
    ({"INGEST_SPOOL_KEY": ""}, "INGEST_SPOOL_KEY or INGEST_SPOOL_KEY_FILE is needed"),
    ({"INGEST_SUPPORT_WEBHOOK_URL": "http://support.example/"}, "INGEST_SUPPORT_WEBHOOK_URL needs https"),
    *(
        ({name: "http://platforms.example"}, "INGEST_META_URL and INGEST_TIKTOK_URL need https outside loopback")
        for name in ("INGEST_META_URL", "INGEST_TIKTOK_URL")
    ),
]

BROKEN_ELSEWHERE = [
    *(
        ("notify", {**NOTIFY, name: ""}, "INGEST_POSTGRES_DSN, INGEST_SUPPORT_WEBHOOK_URL and INGEST_WEBHOOK_SECRET")
        for name in NOTIFY
    ),
    *(
        ("forward", {**FORWARD, name: ""}, "INGEST_POSTGRES_DSN and INGEST_VAULT_KEY are needed by `ingest forward`")
        for name in ("INGEST_POSTGRES_DSN", "INGEST_VAULT_KEY")
    ),
    ("forward", {**FORWARD, "INGEST_SPOOL_KEY": ""}, "INGEST_SPOOL_KEY or INGEST_SPOOL_KEY_FILE is needed"),
    ("notify", {**NOTIFY, "INGEST_SMTP_URL": "smtp://mail.example"}, "INGEST_SMTP_URL needs INGEST_SMTP_FROM"),
    (
        "dev",
        {"INGEST_SUPPORT_WEBHOOK_URL": "https://support.example/"},
        "INGEST_SUPPORT_WEBHOOK_URL needs INGEST_WEBHOOK_SECRET",
    ),
]


@pytest.mark.parametrize(("environ", "sentence"), BROKEN)
def test_rules_between_settings(environ: dict[str, str], sentence: str) -> None:
    """Settings that contradict each other are refused with the one sentence that names them."""
    (line,) = refused({**SERVE, **environ})
    assert line.startswith(sentence)


@pytest.mark.parametrize(("role", "environ", "sentence"), BROKEN_ELSEWHERE)
def test_rules_of_other_programs(role: str, environ: dict[str, str], sentence: str) -> None:
    """What another program needs is asked of it alone, in one sentence."""
    (line,) = refused(environ, role)
    assert line.startswith(sentence)
    assert load({**environ, "INGEST_SMTP_FROM": "edge@ingest.example"}, role="tool")


def test_the_private_network_of_webhooks() -> None:
    """Without TLS the support is told on a network that is declared to be private."""
    environ = {"INGEST_SUPPORT_WEBHOOK_URL": "http://support.internal/", "INGEST_WEBHOOK_NETWORK_PRIVATE": "true"}
    assert load({**NOTIFY, **environ}, role="notify").webhook_network_private


def test_every_rule_is_tested() -> None:
    """No rule between settings is without a case above."""
    tested = [sentence for _, sentence in BROKEN] + [sentence for _, _, sentence in BROKEN_ELSEWHERE]
    assert all(any(rule.sentence.startswith(sentence) for sentence in tested) for rule in RULES)


@pytest.mark.parametrize(
    "environ",
    [
        {"INGEST_ADMIN_PORT": "8080", "INGEST_ADMIN_HOST": "10.0.0.1"},
        {"INGEST_PORT": "0", "INGEST_ADMIN_PORT": "0"},
        {"INGEST_ACK_DEADLINE_MS": "8000"},
        {"INGEST_ACK_DEADLINE_MS": "4500", "INGEST_STALL_MS": "4500"},
        {"INGEST_KAFKA_BOOTSTRAP": "kafka:9092", "INGEST_KAFKA_NETWORK_PRIVATE": "true", "INGEST_WORKERS": "2"},
        {"INGEST_KAFKA_BOOTSTRAP": "kafka:9092", "INGEST_KAFKA_SECURITY_PROTOCOL": "SSL"},
        {"INGEST_KAFKA_BOOTSTRAP": "127.0.0.1:9092,[::1]:9092,localhost:9092"},
        {"INGEST_TLS_CERTIFICATE_FILE": __file__, "INGEST_TLS_KEY_FILE": __file__},
        {"INGEST_META_URL": "http://127.0.0.1:8090/", "INGEST_TIKTOK_URL": "http://localhost:8090/tiktok"},
    ],
)
def test_rules_let_pass(environ: dict[str, str]) -> None:
    """What stands just inside of the rules is accepted."""
    assert isinstance(load({**SERVE, **environ}), Settings)


@pytest.mark.parametrize(
    ("dsn", "secure"),
    [
        ("postgresql://u:p@127.0.0.1:5432/x", True),
        ("postgresql://u:p@[::1]:5432/x", True),
        ("postgresql://localhost/x", True),
        ("postgresql:///x?host=/run/postgresql", True),
        ("postgresql://%2Frun%2Fpostgresql/x", True),
        ("postgresql://db/x?sslmode=require", True),
        ("postgresql://db/x?sslmode=verify-full&sslrootcert=/ca.pem", True),
        ("postgresql://127.0.0.1:5432,db:5432/x", False),
        ("postgresql://db/x?sslmode=prefer", False),
        ("postgresql://db/x", False),
        ("postgresql://127.0.0.1/x?host=db", False),
        ("postgresql://127.0.0.1/x?hostaddr=10.0.0.1", False),
    ],
)
def test_postgres_outside_of_loopback_needs_tls(dsn: str, *, secure: bool) -> None:
    """Any host but this machine needs TLS, or the word that the network is private; no message shows the DSN."""
    if not secure:
        (line,) = refused({**SERVE, "INGEST_POSTGRES_DSN": dsn})
        assert line.startswith("INGEST_POSTGRES_DSN needs sslmode=require")
        assert dsn not in line
    given = {**SERVE, "INGEST_POSTGRES_DSN": dsn, "INGEST_POSTGRES_NETWORK_PRIVATE": "true"}
    assert load(given).postgres_dsn == Secret(dsn)
    told = [line for line in warnings(load(given)) if line.startswith("INGEST_POSTGRES_NETWORK_PRIVATE")]
    assert bool(told) is not secure


def test_warnings() -> None:
    """What is allowed but dangerous is told; the defaults give no warning."""
    assert warnings(Settings()) == ()
    told = warnings(
        load(
            {
                **SERVE,
                "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
                "INGEST_TRUSTED_PROXIES": "0.0.0.0/0",
            }
        )
    )
    assert [line.split()[0] for line in told] == [
        "INGEST_KAFKA_ALLOW_SINGLE_COPY",
        "INGEST_TRUSTED_PROXIES",
    ]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_loopback(host: str) -> None:
    """What can be nothing but this machine needs no encryption."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "kafka", "localhost.example.com", "10.0.0.1", "128.0.0.1", "0.0.0.0", "::", "[::2]", "::ffff:10.0.0.1"]
)
def test_no_loopback(host: str) -> None:
    """Whatever else stands for a host may be far away."""
    assert not is_loopback(host)


def test_description_masks_secrets() -> None:
    """The table has one row per setting, and secrets only as `set` and `unset`."""
    rows = {row.name: row for row in describe(load({**SERVE, "INGEST_BODY_BYTES_MAX": "2097152"}))}
    assert list(rows) == [entry.name for entry in DECLARED]
    assert rows["INGEST_SPOOL_KEY"].value == "set"
    assert rows["INGEST_SENTRY_DSN"].value == "unset"
    assert rows["INGEST_BODY_BYTES_MAX"][1:4] == ("2 MiB", "1 MiB", "bytes")
    assert KEY not in repr(rows)


def test_shown_values_can_be_given_back() -> None:
    """Every default, as it is shown, reads as itself."""
    for entry in DECLARED:
        if entry.default is not None and entry.default != ():
            assert entry.setting.kind.parse(entry.show(entry.default)) == entry.default
    assert show_size(1536) == "1536"


def test_page_is_current() -> None:
    """The committed page is what the declarations say; `python -m ingest.settings_page` writes it."""
    assert (ROOT / "docs" / "settings.md").read_text() == render_markdown()


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Parse every module of the service but those that declare the settings."""
    for path in sorted((ROOT / "ingest").rglob("*.py")):
        if path.name not in {"settings.py", "settings_page.py"}:
            yield path, ast.parse(path.read_text())


def settings_read() -> set[str]:
    """Find the names that the code takes from anything called `settings`."""
    found = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
                if owner in {"settings", "_settings"}:
                    found.add(node.attr)
    return found


def rules_lifted() -> set[str]:
    """Find the yes-or-no settings that a rule asks: to lift it may be all that they do."""
    tree = ast.parse((ROOT / "ingest" / "settings_rules.py").read_text())
    asked = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "it"
    }
    return {entry.field for entry in DECLARED if entry.default is False} & asked


def test_every_setting_is_read() -> None:
    """A documented setting that no code reads is a lie."""
    assert {entry.field for entry in DECLARED} - settings_read() - rules_lifted() == set()


def test_every_setting_that_is_read_is_documented() -> None:
    """Code reads no setting that the page does not tell."""
    documented = {name.lower() for name in re.findall(r"^\| `INGEST_(\w+)`", render_markdown(), re.MULTILINE)}
    assert settings_read() - documented == set()


def test_the_environment_is_read_by_the_command_line_alone() -> None:
    """Nothing outside of the command line looks at the process environment."""
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in sources()
        if "cli" not in path.parts
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"})
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {a.name for a in node.names} & {"environ", "getenv"}
        )
    ]
    assert offenders == []
