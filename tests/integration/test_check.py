"""`ingest check` on real services: what is well, and each thing that would not work."""

import contextlib
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql

from devservices.kafka import KafkaCluster
from devservices.ports import free_ports
from ingest.cli import main
from ingest.conversion import Platform
from ingest.setting import Secret
from ingest.transport.contract import Topic
from ingest.transport.sealed import SealKeys
from ingest.vault.changes import put
from ingest.vault.seal import Place
from tests.integration.test_topics import made
from tests.support.control import KIM, Plane, customer, execute, operate

TOKEN = "EAABcanary4711"


class Told(NamedTuple):
    """What the command said: exit code, findings as `level subject`, and all of its words."""

    code: int
    findings: list[str]
    text: str

    def faults(self) -> set[str]:
        """Return what the faults are about."""
        return {each.removeprefix("fault ") for each in self.findings if each.startswith("fault ")}


Check = Callable[..., Told]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Check:
    """Provide the command: `check(role, dsn, VAULT_KEY=…)`, which leaves no trace in the data folder."""

    def run(role: str, dsn: str | None, **more: str) -> Told:
        folder = tmp_path / "data"
        settings = {"DATA_DIR": str(folder), "SPOOL_KEY": SealKeys.generate(), **more}
        if dsn is not None:
            settings["POSTGRES_DSN"] = dsn
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["ingest", "check", "--json", "--role", role])
            for name, value in settings.items():
                patch.setenv(f"INGEST_{name}", value)
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        told: dict[str, Any] = json.loads(out)
        assert told["role"] == role
        assert not folder.exists()
        assert isinstance(ended.value.code, int)
        findings = [f"{each['level']} {each['subject']}" for each in told["findings"]]
        assert ended.value.code == int(any(each.startswith("fault") for each in findings))
        return Told(ended.value.code, findings, out + err)

    return run


@contextlib.contextmanager
def login(plane: Plane, group: str) -> Iterator[str]:
    """Provide the DSN of a login that is a member of `group`."""
    name, word = f"check_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    with psycopg.connect(plane.owner, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                sql.Identifier(name), sql.Literal(word), sql.Identifier(group)
            )
        )
        parts = urlsplit(plane.owner)
        yield parts._replace(netloc=f"{name}:{quote(word)}@{parts.netloc.rpartition('@')[2]}").geturl()
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_the_database_of_an_edge(check: Check, control_plane: Plane) -> None:
    """Its login is enough; the owner's is too much; a schema that is old or unreadable is a fault."""
    (port,) = free_ports(1)

    assert check("serve", control_plane.serving).findings[-4:] == ["ok schema", "ok rights", "ok clock", "ok Valkey"]
    assert "warning rights" in check("serve", control_plane.owner).findings
    assert check("serve", f"postgresql://nobody:w0rd4711@127.0.0.1:{port}/edge").faults() == {"database"}
    assert "w0rd4711" not in check("serve", f"postgresql://nobody:w0rd4711@127.0.0.1:{port}/edge").text
    execute(control_plane.owner, "DELETE FROM alembic_version")
    assert check("serve", control_plane.serving).faults() == {"schema"}
    execute(control_plane.owner, "REVOKE SELECT ON alembic_version FROM ingest_serving")
    assert check("serve", control_plane.serving).faults() == {"schema"}
    execute(control_plane.owner, "DROP TABLE alembic_version")
    assert check("serve", control_plane.owner).faults() == {"schema"}


@pytest.mark.parametrize(
    ("role", "group"), [("persist", "ingest_persist"), ("forward", "ingest_forward"), ("notify", "ingest_notify")]
)
def test_a_login_of_another_process_lacks_rights(check: Check, control_plane: Plane, role: str, group: str) -> None:
    """Each process's own group is enough for it, and that of the edge is for none of the others."""
    more = {
        "VAULT_KEY" if role == "forward" else "LOG_LEVEL": SealKeys.generate() if role == "forward" else "info",
        "META_URL": "https://127.0.0.1",
        "TIKTOK_URL": "https://127.0.0.1",
    }
    if role == "notify":
        more |= {"SUPPORT_WEBHOOK_URL": "https://127.0.0.1/x", "WEBHOOK_SECRET": SealKeys.generate()}
    with login(control_plane, group) as own:
        assert check(role, own, **more).faults() == set()
    wrong = check(role, control_plane.serving, **more)

    assert "rights" in wrong.faults()
    assert group in wrong.text


def test_nobody_who_may_send_and_settings_that_fail(check: Check, tmp_path: Path) -> None:
    """What refuses the start is told as faults, each by itself; a good file is enough."""
    apps = tmp_path / "apps.toml"
    apps.write_text('[apps.app_a]\nproject_id = "prj_a"\norganization_id = "org_a"\n')

    assert check("serve", None).faults() == {"apps"}
    assert check("serve", None, APPS_FILE=str(apps), KAFKA_ALLOW_SINGLE_COPY="true").findings.count("warning settings")
    assert check("serve", None, APPS_FILE=str(apps)).faults() == set()
    assert check("serve", "postgresql://nobody@192.0.2.1/edge").faults() == {"settings"}
    assert check("persist", None).faults() == {"database"}
    apps.write_text("[apps.app_a]\nproject_id = 1\n")
    assert check("serve", None, APPS_FILE=str(apps)).faults() == {"apps"}


def test_the_vault_opens_or_is_told_and_no_token_is_shown(check: Check, control_plane: Plane) -> None:
    """Tokens are counted by what keeps them closed."""
    customer(control_plane.owner, "app_a")
    key, place = SealKeys.generate(), Place("app_a", Platform.META)
    hosts = {"META_URL": "https://127.0.0.1", "TIKTOK_URL": "https://127.0.0.1"}
    operate(control_plane.owner, lambda it: put(it, SealKeys.parse(key), place, Secret(TOKEN), KIM))
    good = check("forward", control_plane.owner, VAULT_KEY=key, **hosts)
    other = check("forward", control_plane.owner, VAULT_KEY=SealKeys.generate(), **hosts)
    execute(control_plane.owner, "UPDATE vault_secrets SET sealed = sealed || '\\x00'::bytea")
    broken = check("forward", control_plane.owner, VAULT_KEY=key, **hosts)

    assert (good.faults(), other.faults(), broken.faults()) == (set(), {"vault"}, {"vault"})
    assert "key that is not given" in other.text
    assert "broken seal" in broken.text
    assert [each for each in (good, other, broken) if TOKEN in each.text or key in each.text] == []


def test_brokers_are_asked_and_nothing_is_made(
    check: Check, kafka: KafkaCluster, topic_prefix: str, control_plane: Plane
) -> None:
    """Missing topics are judged by the brokers and not made; one broker is too few unless that is accepted."""
    brokers = {"KAFKA_BOOTSTRAP": kafka.bootstrap, "TOPIC_PREFIX": topic_prefix}
    few = check("serve", control_plane.serving, **brokers)
    one = check("serve", control_plane.serving, **brokers, KAFKA_ALLOW_SINGLE_COPY="true")

    assert few.faults() == {"topics"}
    assert "ok topics" in one.findings
    assert made(kafka.bootstrap, topic_prefix) == {}


def test_rights_on_real_topics_are_told_by_the_broker(
    check: Check, kafka: KafkaCluster, topic_prefix: str, control_plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker without an authorizer tells that everything is allowed, in the form that is read here."""
    brokers = {
        "KAFKA_BOOTSTRAP": kafka.bootstrap,
        "TOPIC_PREFIX": topic_prefix,
        "KAFKA_ALLOW_SINGLE_COPY": "true",
    }
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["ingest", "topics"])
        for name, value in brokers.items():
            patch.setenv(f"INGEST_{name}", value)
        with pytest.raises(SystemExit):
            main()
    told = check("serve", control_plane.serving, **brokers)

    assert {"ok topics", "ok Kafka rights"} <= set(told.findings)
    assert len(made(kafka.bootstrap, topic_prefix)) == len(Topic)


def test_brokers_and_valkey_that_are_away(check: Check, control_plane: Plane, valkey_url: str) -> None:
    """Each is a fault of its own."""
    one, other = free_ports(2)
    away = check(
        "serve",
        control_plane.serving,
        KAFKA_BOOTSTRAP=f"127.0.0.1:{one}",
        REDIS_URL=f"redis://127.0.0.1:{other}/0",
    )

    assert away.faults() == {"Kafka", "Valkey"}
    assert "ok Valkey" in check("serve", control_plane.serving, REDIS_URL=valkey_url).findings


def test_people_get_a_line_for_each_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each begins with its level; a fault has what to do behind it, and ends with exit code 1."""
    for name, value in {"DATA_DIR": str(tmp_path), "SPOOL_KEY": SealKeys.generate()}.items():
        monkeypatch.setenv(f"INGEST_{name}", value)
    monkeypatch.setattr(sys, "argv", ["ingest", "check"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()

    assert ended.value.code == 1
    assert {line.partition(": ")[0] for line in out.splitlines()} <= {"ok", "warning", "fault"}
    assert [line for line in out.splitlines() if line.startswith("fault: ")] == [
        "fault: neither INGEST_POSTGRES_DSN nor INGEST_APPS_FILE is set: no app would be known; set one of them"
    ]
    assert err == "ingest: 1 of the things that were looked at do not hold up\n"
