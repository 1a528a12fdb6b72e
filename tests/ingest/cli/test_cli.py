import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devservices.kafka import KafkaCluster
from ingest.settings import DECLARED
from ingest.transport.sealed import SealKeys
from tests.integration.edge import APP, batch, event, new_id, on_kafka, on_local_log, post, run_command
from tests.support.service import ServiceProcess

GOOD = """
[apps.app_one]
project_id = "prj_a"
organization_id = "org_a"
name = "One"
events_per_minute_max = 500
[apps.app_two]
project_id = "prj_a"
organization_id = "org_a"
kill_switch = true
[apps.app_three]
project_id = "prj_a"
organization_id = "org_a"
active = false
"""
BAD = GOOD + '[apps.app_four]\nproject_id = "prj_a"\nactive = "yes"\n'
IDS = [f"event-{number}" for number in range(30)]


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line on stderr of a command that failed as it should: exit code 1, one line, nothing on stdout."""
    (line,) = done.stderr.splitlines()

    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith("ingest: ")
    return line


def values(done: subprocess.CompletedProcess[str]) -> list[Any]:
    """Return what `ingest tail` printed: one JSON document a line."""
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def ids(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the event ids of what `ingest tail` printed."""
    return [value["meta"]["event_id"] for value in values(done)]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Run an edge over the local log that has taken IDS, in their order."""
    folder = tmp_path_factory.mktemp("logged")
    with ServiceProcess(on_local_log(folder), folder=folder) as service:
        assert post(service.url, batch(*map(event, IDS))).status == 202
        yield service


def test_tail_prints_the_newest_records_oldest_first(logged: ServiceProcess) -> None:
    """Twenty by default, as many as asked for with `-n`, none with `-n 0`."""
    assert ids(run_command(["tail", "events"], logged.settings)) == IDS[-20:]
    assert ids(run_command(["tail", "events", "-n", "3"], logged.settings)) == IDS[-3:]
    assert ids(run_command(["tail", "events", "--last", "0"], logged.settings)) == []


def test_tail_of_a_topic_without_records_prints_nothing(logged: ServiceProcess) -> None:
    """An empty topic is no error."""
    assert values(run_command(["tail", "forward"], logged.settings)) == []


def test_tail_shows_keys_and_places_when_asked(logged: ServiceProcess) -> None:
    """Partition, offset and key stand in front of each value."""
    done = run_command(["tail", "events", "-n", "1", "--keys"], logged.settings)
    place, key, value = done.stdout.split(" ", 2)

    assert place.startswith("0:")
    assert key == f"{APP}:install-1"
    assert json.loads(value)["meta"]["event_id"] == IDS[-1]


def test_tail_follows_until_it_is_interrupted(tmp_path: Path) -> None:
    """With `-f` a record that comes later is printed at once, and Ctrl-C is an ordinary end."""
    with ServiceProcess(on_local_log(tmp_path), folder=tmp_path) as service:
        post(service.url, batch(event("before")))
        command = [sys.executable, "-m", "ingest", "tail", "events", "-f"]
        env = {**os.environ, **service.settings, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True) as tail:
            assert tail.stdout is not None
            assert tail.stderr is not None
            first = json.loads(tail.stdout.readline())
            post(service.url, batch(event("after")))
            second = json.loads(tail.stdout.readline())
            tail.send_signal(signal.SIGINT)
            code, said = tail.wait(30), tail.stderr.read()

    assert [each["meta"]["event_id"] for each in (first, second)] == ["before", "after"]
    assert (code, said) == (0, "")


def test_tail_reads_kafka_as_well(kafka: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    """Where brokers are configured the same command reads them; a topic that is not there is told in one line."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path)
    expected = [new_id() for _ in range(5)]
    with ServiceProcess(env, folder=tmp_path) as service:
        assert post(service.url, batch(*map(event, expected))).status == 202
    assert ids(run_command(["tail", "events", "-n", "3"], env)) == expected[-3:]
    assert "x.events" in one_line(run_command(["tail", "events"], {**env, "INGEST_TOPIC_PREFIX": "x."}))


@pytest.mark.parametrize(
    ("args", "env", "word"),
    [
        (["tail", "nonsense"], {}, "nonsense"),
        (["tail"], {}, "Missing argument"),
        (["nonsense"], {}, "nonsense"),
        (["tail", "events"], {"INGEST_DATA_DIR": "nowhere"}, "INGEST_SPOOL_KEY"),
        (["tail", "events"], {"INGEST_SPOOL_KEY": "secret-but-bad"}, "INGEST_SPOOL_KEY"),
        (["settings"], {"INGEST_PROT": "8080"}, "INGEST_PROT"),
        (["settings"], {"INGEST_PORT": "tcp://10.0.0.1:80"}, "INGEST_PORT"),
        (["apps", "list"], {}, "INGEST_APPS_FILE"),
        (["apps", "check"], {"INGEST_APPS_FILE": "nowhere.toml"}, "INGEST_APPS_FILE"),
        (["topics"], {}, "INGEST_KAFKA_BOOTSTRAP"),
        (["serve"], {}, "INGEST_SPOOL_KEY"),
        (["serve"], {"INGEST_SPOOL_KEY": "A" * 43 + "=", "INGEST_DATA_DIR": "/dev/null"}, "INGEST_DATA_DIR"),
    ],
)
def test_a_mistake_is_one_clear_line(args: list[str], env: dict[str, str], word: str) -> None:
    """Exit code 1, one line on stderr that names what is wrong, and no secret in it."""
    line = one_line(run_command(args, env))

    assert word in line
    assert "secret-but-bad" not in line


def test_the_wrong_key_is_told(logged: ServiceProcess) -> None:
    """A log that was sealed under another key is no empty log."""
    assert "key" in one_line(
        run_command(["tail", "events"], {**logged.settings, "INGEST_SPOOL_KEY": SealKeys.generate()})
    )


def test_apps_are_listed_with_their_state(tmp_path: Path) -> None:
    """Every app is there with what it may do, as a table and as JSON."""
    path = tmp_path / "apps.toml"
    path.write_text(GOOD, encoding="utf-8")
    env = {"INGEST_APPS_FILE": str(path)}
    table = run_command(["apps", "list"], env)
    listed = json.loads(run_command(["apps", "list", "--json"], env).stdout)
    rows = {line.split()[0]: line for line in table.stdout.splitlines()[1:]}

    assert table.returncode == 0
    assert [each["id"] for each in listed] == ["app_one", "app_two", "app_three"]
    assert listed[0]["events_per_minute_max"] == 500
    assert ["active" in rows["app_one"], "killed" in rows["app_two"], "revoked" in rows["app_three"]] == [True] * 3


def test_a_registry_is_checked_before_it_is_used(tmp_path: Path) -> None:
    """A file that the edge would take is exit code 0; one with faults names each of them by its place."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(GOOD, encoding="utf-8")
    bad.write_text(BAD, encoding="utf-8")
    taken = run_command(["apps", "check"], {"INGEST_APPS_FILE": str(good)})
    line = one_line(run_command(["apps", "check"], {"INGEST_APPS_FILE": str(bad)}))

    assert (taken.returncode, taken.stdout, taken.stderr) == (0, "ok: 3 apps\n", "")
    assert "app_four" in line


def test_all_settings_are_shown_and_secrets_are_masked() -> None:
    """Each variable with its value, default and meaning, in the table and in JSON; no secret in either."""
    key = SealKeys.generate()
    env = {"INGEST_SPOOL_KEY": key, "INGEST_PORT": "9999", "INGEST_KAFKA_SASL_PASSWORD": "hunter2"}
    table, text = run_command(["settings"], env), run_command(["settings", "--json"], env)
    rows = {row["name"]: row for row in json.loads(text.stdout)}
    lines = {line.split()[0]: line for line in table.stdout.splitlines()}

    assert (table.returncode, text.returncode) == (0, 0)
    assert set(rows) == {entry.name for entry in DECLARED}
    assert set(rows) < set(lines)
    assert (rows["INGEST_PORT"]["value"], rows["INGEST_PORT"]["default"]) == ("9999", "8080")
    assert all(row["meaning"] and row["meaning"] in lines[name] for name, row in rows.items())
    assert all(secret not in shown for secret in (key, "hunter2") for shown in (table.stdout, text.stdout))


def test_settings_warn_of_what_should_not_stay() -> None:
    """What is allowed but dangerous is told on stderr, beside the settings and not among them."""
    done = run_command(["settings", "--json"], {"INGEST_TRUSTED_PROXIES": "0.0.0.0/0"})

    assert done.returncode == 0
    assert done.stderr.startswith("warning: INGEST_TRUSTED_PROXIES ")
    assert json.loads(done.stdout)


def test_help_and_version_are_no_errors() -> None:
    """Both are exit code 0; the help names every command that is for operators and none that is not."""
    shown, version = run_command(["--help"], {}), run_command(["--version"], {})
    commands = {line.split()[0] for line in shown.stdout.partition("Commands:")[2].splitlines() if line.strip()}

    assert (shown.returncode, version.returncode) == (0, 0)
    assert {"dev", "serve", "tail", "topics", "apps", "settings"} <= commands
    assert "worker" not in commands
