"""Operators' commands on a real PostgreSQL: exact answers, one line on every error, a trace of every change."""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devservices.ports import free_ports
from devservices.postgres import PostgresServer
from ingest.cli import main
from ingest.control.retention import AUDIT_DAYS, MESSAGE_DAYS, REQUEST_LOG_DAYS
from ingest.control.secrets import matches, parse
from tests.integration.edge import run_command
from tests.support.control import Customer, Plane, customer, execute

NO_KEY = "01JZ0000000000000000000000"
WHY = ("--reason", "leaked", "--actor", "kim")


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return what a command that succeeded printed: one JSON document."""
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)

    def failure(self) -> str:
        """Return the line on stderr of a command that failed as it should: exit code 1, nothing on stdout."""
        (line,) = self.err.splitlines()
        assert (self.code, self.out) == (1, "")
        assert line.startswith("ingest: ")
        return line


Run = Callable[..., Done]

NOTHING_PURGED = {
    "under_way": False,
    **dict.fromkeys(("event_days", "events", "request_log_days", "audit_events", "messages"), 0),
    **dict.fromkeys(("deliveries", "erasures", "erased_subjects", "put_off", "skan_postbacks", "clicks"), 0),
}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Provide the command line with settings of the test's own: `command(args, dsn, …)`."""

    def run(args: Sequence[str], dsn: str | None, **more: str) -> Done:
        settings = {"INGEST_DATA_DIR": str(tmp_path), **{f"INGEST_{name}": value for name, value in more.items()}}
        if dsn is not None:
            settings["INGEST_POSTGRES_DSN"] = dsn
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["ingest", *args])
            for name, value in settings.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, out, err)

    return run


@pytest.fixture
def ingest(command: Run, control_plane: Plane) -> Run:
    """Provide the command line of the database's owner: `ingest("orgs", "list")`."""
    return lambda *args: command(args, control_plane.owner)


@pytest.fixture
def shop(control_plane: Plane) -> Customer:
    """Provide a customer."""
    return customer(control_plane.owner, "app_a")


def audit(plane: Plane) -> list[tuple[Any, ...]]:
    """Return what was done by whom to what and why, in order."""
    return execute(
        plane.owner, "SELECT action, actor, target_id, organization_id, reason FROM audit_events ORDER BY at, id"
    )


def outbox(plane: Plane) -> list[tuple[Any, ...]]:
    """Return whom each message is for, and what it tells."""
    return execute(
        plane.owner,
        "SELECT payload->>'type', recipient, organization_id FROM outbox ORDER BY payload->>'at', recipient, 3",
    )


def test_a_customer_is_made_by_real_processes(control_plane: Plane, tmp_path: Path) -> None:
    """From an organization to a key, each command prints the one JSON document that is promised."""
    env = {"INGEST_POSTGRES_DSN": control_plane.owner, "INGEST_DATA_DIR": str(tmp_path)}

    def run(*args: str) -> dict[str, str]:
        done = run_command([*args, "--json"], env)
        assert (done.returncode, done.stderr) == (0, "")
        found: dict[str, str] = json.loads(done.stdout)
        return found

    org = run("orgs", "create", "--name", "Acme", "--contact", "ops@acme.example")
    project = run("projects", "create", "--org", org["id"], "--name", "Shop")
    app = run("apps", "create", "--project", project["id"], "--name", "iOS")
    named = run("apps", "create", "--project", project["id"], "--name", "Android", "--id", "app_android")
    scopes = ("--scope", "events:write", "--scope", "keys:read")
    key = run("keys", "create", "--org", org["id"], "--env", "live", *scopes)
    parts = parse(key["key"])
    rows = execute(
        control_plane.owner, "SELECT secret_hash, env, scopes, tier FROM api_keys WHERE id = %s", (key["id"],)
    )

    assert [set(each) for each in (org, project, app, named, key)] == [{"id"}] * 4 + [{"id", "key"}]
    assert [each["id"][:4] for each in (org, project, app)] == ["org_", "prj_", "app_"]
    assert named == {"id": "app_android"}
    assert parts is not None
    assert key["key"].startswith(f"lp_live_{key['id']}.")
    assert matches(parts.secret, rows[0][0])
    assert rows[0][1:] == ("live", ["events:write", "keys:read"], "standard")
    assert [row[0] for row in audit(control_plane)] == [
        "organization.created",
        "project.created",
        "app.created",
        "app.created",
        "key.created",
    ]
    assert {row[3] for row in audit(control_plane)} == {org["id"]}
    assert parts.secret not in repr(execute(control_plane.owner, "SELECT * FROM audit_events"))


@pytest.mark.parametrize("target", ["key", "app", "organization", "global", "platform"])
def test_a_kill_is_turned_on_and_off_with_a_trace(
    ingest: Run, control_plane: Plane, shop: Customer, target: str
) -> None:
    """Each turn leaves an audit event and messages to all concerned; a turn to where it stands leaves nothing."""
    other = customer(control_plane.owner, "app_other").organization_id
    scope = "key" if target == "app" else target
    ids_of = {"key": shop.key_id, "app": shop.app_id, "organization": shop.organization_id, "platform": "tiktok"}
    target_id, is_for_all = ids_of.get(target), target in {"global", "platform"}
    concerned = sorted([shop.organization_id, other]) if is_for_all else [shop.organization_id]
    before, ids = len(audit(control_plane)), [target_id] if target_id else []

    for state, killed in (("on", True), ("off", False)):
        first = ingest("kill", state, scope, *ids, *WHY, "--json").json()
        second = ingest("kill", state, scope, *ids, *WHY, "--json").json()
        assert first == {"scope": scope, "id": target_id, "killed": killed, "changed": True}
        assert second == {**first, "changed": False}

    organization_id = None if is_for_all else shop.organization_id
    assert audit(control_plane)[before:] == [
        (f"{target}.{verb}", "operator:kim", target_id or "global", organization_id, "leaked")
        for verb in ("killed", "lifted")
    ]
    assert outbox(control_plane) == [
        row
        for state in ("on", "off")
        for row in [
            *((f"kill_switch.{state}", "organization", each) for each in concerned),
            (f"kill_switch.{state}", "support", organization_id),
        ]
    ]


def test_kills_are_listed(ingest: Run, shop: Customer) -> None:
    """`kill list` shows what is on above the single key, `apps list` and `keys list` the rest."""
    ingest("kill", "on", "organization", shop.organization_id, *WHY)
    ingest("kill", "on", "global", *WHY)
    ingest("kill", "on", "key", shop.key_id, *WHY)
    ingest("kill", "on", "key", shop.app_id, *WHY)
    ingest("kill", "on", "platform", "meta", *WHY)
    kills = ingest("kill", "list", "--json").json()

    columns = ("scope", "organization_id", "platform", "reason", "actor")
    assert [tuple(each[column] for column in columns) for each in kills] == [
        ("organization", shop.organization_id, None, "leaked", "operator:kim"),
        ("global", None, None, "leaked", "operator:kim"),
        ("platform", None, "meta", "leaked", "operator:kim"),
    ]
    assert ingest("keys", "list", "--json").json()[0]["kill_switch"]
    assert ingest("apps", "list", "--json").json()[0]["kill_switch"]
    assert "killed" in ingest("apps", "list").out
    assert "leaked" in ingest("kill", "list").out


def test_a_key_is_rotated_and_revoked(ingest: Run, control_plane: Plane, shop: Customer) -> None:
    """The new secret is the one that counts; a revoked key is never revived, and a second revocation does nothing."""
    before = len(audit(control_plane))
    new = ingest("keys", "rotate", shop.key_id, "--actor", "kim", "--json").json()
    parts = parse(new["key"])
    assert parts is not None
    assert new["id"] == parts.key_id == shop.key_id
    assert matches(parts.secret, execute(control_plane.owner, "SELECT secret_hash FROM api_keys")[0][0])

    first = ingest("keys", "revoke", shop.key_id, *WHY, "--json").json()
    second = ingest("keys", "revoke", shop.key_id, *WHY, "--json").json()

    assert not first["is_active"]
    assert first["revoked_at"] == second["revoked_at"]
    assert "revoked" in ingest("keys", "rotate", shop.key_id, "--actor", "kim").failure()
    assert audit(control_plane)[before:] == [
        ("key.rotated", "operator:kim", shop.key_id, shop.organization_id, None),
        ("key.revoked", "operator:kim", shop.key_id, shop.organization_id, "leaked"),
    ]


def test_an_app_is_changed_and_revoked(ingest: Run, control_plane: Plane, shop: Customer, tmp_path: Path) -> None:
    """Options come from a file, and what is left out gets its default; a revoked app stays one."""
    options = tmp_path / "options.toml"
    options.write_text('events_per_minute_max = 5\n[forward.meta]\nenabled = true\ndataset_id = "1"\n')
    changed = ingest("apps", "change", shop.app_id, "--environment", "eu", "--options", str(options), "--json").json()
    listed = ingest("apps", "list", "--json").json()
    reset = ingest("apps", "change", shop.app_id, "--json").json()
    revoked = ingest("apps", "revoke", shop.app_id, *WHY, "--json").json()
    again = ingest("apps", "revoke", shop.app_id, *WHY, "--json").json()

    assert changed["environment"] == "eu"
    assert changed["options"]["events_per_minute_max"] == 5
    assert listed[0]["forward"]["meta"]["dataset_id"] == "1"
    assert (reset["environment"], reset["options"]) == (None, {})
    assert not revoked["is_active"]
    assert revoked == again == ingest("apps", "show", shop.app_id, "--json").json()
    assert [row[0] for row in audit(control_plane)[-3:]] == ["app.changed", "app.changed", "app.revoked"]
    assert audit(control_plane)[-1][1:] == ("operator:kim", shop.app_id, shop.organization_id, "leaked")


def test_what_clients_are_told_is_set_member_by_member(ingest: Run, control_plane: Plane, shop: Customer) -> None:
    """For all or for a platform; each change is written down by its members, and `apps change` leaves it alone."""

    def config(*words: str) -> Any:
        return ingest("apps", "config", shop.app_id, *words).json()

    assert config("show") == {}
    assert config("set", "events.killswitch", "true", *WHY) == {"events": {"killswitch": True}}
    assert config("set", "events.denylist", '["a"]') == {"events": {"denylist": ["a"], "killswitch": True}}
    config("set", "events.killswitch", "false", "--platform", "ios")
    config("set", "cache_ttl", "60")
    ingest("apps", "change", shop.app_id)
    kept = config("unset", "events.denylist")

    assert kept == config("show")
    assert kept == {
        "events": {"killswitch": True},
        "cache_ttl": 60,
        "platforms": {"ios": {"events": {"killswitch": False}}},
    }
    told = [config("show", "--platform", name)["data"]["config"]["events"]["killswitch"] for name in ("ios", "web")]
    assert told == [False, True]
    rows = execute(
        control_plane.owner,
        "SELECT details, reason, actor FROM audit_events WHERE action = 'app.changed' ORDER BY at, id",
    )
    assert rows[0] == ({"members": ["remote_config.events.killswitch"]}, "leaked", "operator:kim")
    assert [row[0]["members"] for row in rows[1:]] == [
        ["remote_config.events.denylist"],
        ["remote_config.platforms.ios.events.killswitch"],
        ["remote_config.cache_ttl"],
        [],
        ["remote_config.events.denylist"],
    ]
    config("unset", "--platform", "ios")
    assert config("unset") == {}
    assert ingest("apps", "show", shop.app_id, "--json").json()["options"] == {}


def test_what_clients_are_told_comes_from_a_file(ingest: Run, shop: Customer, tmp_path: Path) -> None:
    """JSON or TOML takes the place of all that was there, for one platform or whole."""
    (tmp_path / "all.json").write_text('{"cache_ttl": 90, "skan": {"enabled": true, "preset": "x"}}')
    (tmp_path / "ios.toml").write_text('[events]\nallowlist = ["a"]\n')
    words = ("apps", "config", shop.app_id, "set", "--file")
    ingest(*words[:-1], "cache_ttl", "60")
    whole = ingest(*words, str(tmp_path / "all.json")).json()
    both = ingest(*words, str(tmp_path / "ios.toml"), "--platform", "ios").json()

    assert whole == {"cache_ttl": 90, "skan": {"enabled": True, "preset": "x"}}
    assert both == {**whole, "platforms": {"ios": {"events": {"allowlist": ["a"]}}}}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("set", "events.allowlist", "[]"), "would silence every event"),
        (("set", "events.killswitch", '"yes"'), "remote_config.events.killswitch"),
        (("set", "events.killswitch", "yes"), "not JSON"),
        (("set", "events.killswitch"), "give a member and its value"),
        (("set",), "give a member and its value"),
        (("set", "cache_ttl", "60", "--file", "x.json"), "give a member and its value"),
        (("set", "cache_ttl", "60", "--platform", "ios"), "unknown field `cache_ttl`"),
        (("set", "nonsense", "1"), "nonsense"),
        (("set", "att", "{}", "--platform", "iOS"), "matching regex"),
        (("set", "--file", "none.json"), "none.json"),
        (("unset", "nonsense"), "nonsense"),
        (("set", "att", '{"a": "\udcff"}'), "not JSON"),
    ],
)
def test_what_clients_would_ignore_is_not_set(ingest: Run, shop: Customer, words: Sequence[str], reason: str) -> None:
    """It is told in a line, and nothing changes."""
    assert reason in ingest("apps", "config", shop.app_id, *words).failure()
    assert ingest("apps", "config", shop.app_id, "show").json() == {}
    assert "no such app" in ingest("apps", "config", "app_none", "set", "cache_ttl", "60").failure()
    assert "no such app" in ingest("apps", "config", "app_none", "show").failure()


def test_everything_is_listed_and_shown(ingest: Run, shop: Customer) -> None:
    """Lists hold what `show` shows; no list shows what a key is checked against."""
    (org,) = ingest("orgs", "list", "--json").json()
    (project,) = ingest("projects", "list", "--org", shop.organization_id, "--json").json()
    (key,) = ingest("keys", "list", "--org", shop.organization_id, "--json").json()

    assert org == ingest("orgs", "show", shop.organization_id, "--json").json()
    assert project == ingest("projects", "show", shop.project_id, "--json").json()
    assert key == ingest("keys", "show", shop.key_id, "--json").json()
    assert (org["contact"], project["organization_id"], key["id"]) == (
        "ops@acme.example",
        shop.organization_id,
        shop.key_id,
    )
    assert "secret_hash" not in key
    assert ingest("projects", "list", "--org", "org_none", "--json").json() == []
    for words in (("orgs", "list"), ("projects", "list"), ("keys", "list"), ("keys", "show", shop.key_id)):
        done = ingest(*words)
        assert (done.code, done.err) == (0, "")
        assert shop.organization_id in done.out


def test_a_contact_is_changed(ingest: Run, control_plane: Plane, shop: Customer) -> None:
    """The new contact is in force, and who changed it is written down."""
    done = ingest("orgs", "contact", shop.organization_id, "--to", "https://acme.example/hook")

    assert (done.code, done.err) == (0, "")
    assert ingest("orgs", "show", shop.organization_id, "--json").json()["contact"] == "https://acme.example/hook"
    assert audit(control_plane)[-1][0] == "organization.changed"


def test_registry_commands_read_the_database(ingest: Run, control_plane: Plane, shop: Customer) -> None:
    """`apps check` counts the apps and finds options that do not hold up, which hide no app from `apps list`."""
    assert ingest("apps", "check") == (0, "ok: 1 apps\n", "")
    assert ingest("apps", "list", "--json").json()[0]["organization_id"] == shop.organization_id
    execute(control_plane.owner, """UPDATE apps SET options = '{"web_url": "ftp://secret"}'""")
    refused = ingest("apps", "check").failure()

    assert shop.app_id in refused
    assert "secret" not in refused
    listed = ingest("apps", "list", "--json")
    assert (listed.code, json.loads(listed.out)[0]["id"]) == (0, shop.app_id)
    assert listed.err == f"warning: {refused.removeprefix('ingest: ')}\n"


WRONG: list[tuple[Sequence[str], Sequence[str]]] = [
    (["orgs", "show", "org_none"], ["no such organization"]),
    (["orgs", "create", "--name", "A", "--contact", "nobody"], ["e-mail address or a URL"]),
    (["orgs", "create", "--name", "A", "--contact", f"a@b.example{'x' * 3_000}"], ["e-mail address or a URL"]),
    (["orgs", "create", "--name", "", "--contact", "a@b.example"], ["organizations_name_check"]),
    (["orgs", "create", "--name", "A" * 201, "--contact", "a@b.example"], ["organizations_name_check"]),
    (["orgs", "create", "--name", "\udcff", "--contact", "a@b.example"], ["UTF-8"]),
    (["orgs", "contact", "org_none", "--to", "a@b.example"], ["no such organization"]),
    (["orgs", "contact", "ORG", "--to", "nobody"], ["e-mail address or a URL"]),
    (["projects", "create", "--org", "org_none", "--name", "A"], ["no such organization"]),
    (["projects", "show", "prj_none"], ["no such project"]),
    (["apps", "create", "--project", "prj_none", "--name", "A"], ["no such project"]),
    (["apps", "create", "--project", "PRJ", "--name", "A", "--id", "app_a"], ["with this id already"]),
    (["apps", "create", "--project", "PRJ", "--name", "A", "--id", "a b"], ["apps_id_check"]),
    (["apps", "create", "--project", "PRJ", "--name", "A", "--environment", "a b"], ["apps_environment_check"]),
    (["apps", "create", "--project", "PRJ"], ["--name"]),
    (["apps", "show", "app_none"], ["no such app"]),
    (["apps", "change", "app_none"], ["no such app"]),
    (["apps", "revoke", "app_none", *WHY], ["no such app"]),
    (["keys", "create", "--org", "org_none", "--env", "live", "--scope", "keys:read"], ["no such organization"]),
    (["keys", "create", "--org", "ORG", "--env", "live"], ["--scope"]),
    (["keys", "create", "--org", "ORG", "--env", "beta", "--scope", "keys:read"], ["--env"]),
    (["keys", "create", "--org", "ORG", "--env", "live", "--scope", "everything"], ["--scope"]),
    (
        ["keys", "create", "--org", "ORG", "--env", "live", "--scope", "keys:read", "--name", ""],
        ["api_keys_name_check"],
    ),
    (["keys", "show", NO_KEY], ["no such key"]),
    (["keys", "rotate", NO_KEY, "--actor", "kim"], ["no such key"]),
    (["keys", "revoke", NO_KEY, *WHY], ["no such key"]),
    (["keys", "revoke", "KEY", "--reason", "leaked"], ["--actor"]),
    (["erase", "--project", "prj_none", "--user-id", "hidden"], ["no such project"]),
    (["erase", "--project", "PRJ"], ["exactly one of --email, --phone and --user-id"]),
    (["erase", "--project", "PRJ", "--email", "hidden@a.example", "--user-id", "hidden"], ["exactly one of"]),
    (["erase", "--project", "PRJ", "--email", "hidden@a.example", "hidden"], ["words too many"]),
    (["erase", "--project", "PRJ", "--user-id", "Hidden", "--reason", "hidden has asked"], ["reason holds the value"]),
    (["erase", "--project", "PRJ", "--user-id", ""], ["user id is empty"]),
    (["erase", "--project", "PRJ", "--email", " "], ["nothing to hash"]),
    (["erase", "--project", "PRJ", "--phone", "hidden"], ["no digit"]),
    (["erase", "--project", "PRJ", "--user-id", "hidden", "--reason", ""], ["reason"]),
    (["erase", "--project", "PRJ", "--user-id", "hidden", "--actor", "k" * 300], ["actor"]),
    (["erase", "--project", "PRJ", "--user-id", "hidden\udcff"], ["UTF-8"]),
    (["erase", "--user-id", "hidden"], ["--project"]),
    (["erasures", "show", "era_none"], ["no such erasure"]),
    (["kill", "on", "key", NO_KEY, *WHY], ["no such key"]),
    (["kill", "on", "key", "app_none", *WHY], ["no such app"]),
    (["kill", "on", "organization", "org_none", *WHY], ["no such organization"]),
    (["kill", "off", "organization", "org_none", *WHY], ["no such organization"]),
    (["kill", "on", "global", "org_none", *WHY], ["takes no ID"]),
    (["kill", "on", "key", *WHY], ["need one"]),
    (["kill", "on", "platform", *WHY], ["need one"]),
    (["kill", "on", "platform", "myspace", *WHY], ["meta, tiktok"]),
    (["kill", "on", "planet", *WHY], ["planet"]),
    (["kill", "on", "global", "--actor", "kim"], ["--reason"]),
    (["kill", "on", "global", "--reason", "r"], ["--actor"]),
    (["kill", "on", "global", "--reason", "", "--actor", "kim"], ["reason"]),
    (["kill", "on", "global", "--reason", "r" * 501, "--actor", "kim"], ["reason"]),
    (["kill", "on", "global", "--reason", "r", "--actor", ""], ["actor"]),
    (["kill", "on", "global", "--reason", "r", "--actor", "k" * 300], ["actor"]),
]


def test_what_is_wrong_is_told_in_a_line_and_changes_nothing(ingest: Run, control_plane: Plane, shop: Customer) -> None:
    """Unknown ids, values that do not hold up and missing words: exit code 1, one line, no trace in the database."""
    before = audit(control_plane)
    names = {"ORG": shop.organization_id, "PRJ": shop.project_id, "KEY": shop.key_id}
    for args, words in WRONG:
        line = ingest(*(names.get(word, word) for word in args)).failure()
        assert all(word in line for word in words), (args, line)
        assert "psycopg" not in line
        assert "hidden" not in line

    assert audit(control_plane) == before
    assert outbox(control_plane) == []


@pytest.mark.parametrize(
    "content",
    [
        b"events_per_minute_max = 'many'",
        b"no_such_option = 1",
        b"[forward.meta]\nenabled = true",
        b"web_url = 'ftp://x'",
        b"= broken",
        b"\xff\xfe",
    ],
)
def test_options_that_do_not_hold_up_are_refused(ingest: Run, shop: Customer, tmp_path: Path, content: bytes) -> None:
    """A faulty options file changes nothing and is told in a line."""
    options = tmp_path / "options.toml"
    options.write_bytes(content)
    create = ("apps", "create", "--project", shop.project_id, "--name", "A", "--options", str(options))

    assert "options do not hold up" in ingest(*create).failure()
    assert "options do not hold up" in ingest("apps", "change", shop.app_id, "--options", str(options)).failure()
    assert len(ingest("apps", "list", "--json").json()) == 1


def test_an_options_file_that_is_not_there_is_told(ingest: Run, shop: Customer, tmp_path: Path) -> None:
    """A path that leads nowhere is an error of one line."""
    missing = str(tmp_path / "none.toml")

    assert "none.toml" in ingest("apps", "change", shop.app_id, "--options", missing).failure()


EVERY_COMMAND = (
    ("orgs", "list"),
    ("projects", "list"),
    ("apps", "list"),
    ("apps", "check"),
    ("keys", "list"),
    ("kill", "list"),
    ("audit",),
    ("orgs", "create", "--name", "A", "--contact", "a@b.example"),
    ("kill", "on", "global", *WHY),
    ("retention", "run"),
    ("erase", "--project", "prj_none", "--user-id", "u-1"),
    ("erasures", "list"),
)


def test_a_missing_schema_is_told(command: Run, database: str) -> None:
    """Before the first migration each command says what to do."""
    for args in EVERY_COMMAND:
        assert "ingest migrate" in command(args, database).failure(), args


def test_a_database_that_is_away_is_told(command: Run) -> None:
    """With nobody on the port each command says so."""
    (port,) = free_ports(1)
    for args in (("orgs", "list"), ("kill", "on", "global", *WHY), ("retention", "run")):
        line = command(args, f"postgresql://nobody:secret@127.0.0.1:{port}/edge").failure()
        assert "cannot be reached" in line
        assert "secret" not in line


def test_a_database_that_stands_still_is_told(command: Run, own_postgres: PostgresServer, own_plane: Plane) -> None:
    """A server that does not answer does not hold a command for ever."""
    own_postgres.pause()
    for args in (("orgs", "list"), ("kill", "on", "global", *WHY)):
        assert "does not answer in time" in command(args, own_plane.owner).failure()


def test_a_setting_that_is_missing_or_wrong_is_told(command: Run) -> None:
    """Without a database's address, or with one that is none, each command names the variable."""
    for args in EVERY_COMMAND:
        assert "INGEST_POSTGRES_DSN" in command(args, None).failure(), args
        assert "INGEST_POSTGRES_DSN" in command(args, "nonsense").failure(), args


def test_a_role_without_rights_is_told(command: Run, control_plane: Plane) -> None:
    """The edge's own login may make and delete nothing."""
    for args in (("orgs", "create", "--name", "A", "--contact", "a@b.example"), ("kill", "on", "global", *WHY)):
        assert "may not do this" in command(args, control_plane.serving).failure()


def days(plane: Plane) -> list[str]:
    """Return the partitions of the request log."""
    return [
        name
        for (name,) in execute(
            plane.owner,
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'request_log'::regclass ORDER BY 1",
        )
    ]


def fill(plane: Plane, ages: Sequence[int]) -> None:
    """Make a partition for each age in days, with a row in it."""
    today = datetime.now(UTC).date()
    for age in ages:
        day = today - timedelta(days=age)
        make: Any = (
            f"CREATE TABLE request_log_{day:%Y%m%d} PARTITION OF request_log"
            f" FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
        )
        execute(plane.owner, make)
        execute(
            plane.owner,
            "INSERT INTO request_log VALUES (%s, %s, NULL, NULL, NULL, NULL, '/', 'GET', 200, NULL, 1, 0, 0)",
            (f"{day} 12:00+00", f"req_{age}"),
        )


def test_retention_lets_go_of_what_is_old_and_of_nothing_else(
    ingest: Run, control_plane: Plane, shop: Customer
) -> None:
    """Days of the request log, audit events and delivered messages go after their time, what is younger stays."""
    fill(control_plane, [0, 1, REQUEST_LOG_DAYS - 1, REQUEST_LOG_DAYS, REQUEST_LOG_DAYS + 1, 400])
    kept = execute(control_plane.owner, "SELECT id FROM audit_events ORDER BY id")
    for name, age in (("old", AUDIT_DAYS + 1), ("young", AUDIT_DAYS - 1)):
        execute(
            control_plane.owner,
            "INSERT INTO audit_events (id, at, actor, action, target_type, target_id)"
            " VALUES (%s, now() - make_interval(days => %s), 'operator:kim', 'app.changed', 'app', 'app_a')",
            (f"zz_{name}", age),
        )
    for name, delivered in (("old", MESSAGE_DAYS + 1), ("young", MESSAGE_DAYS - 1), ("waiting", None)):
        execute(
            control_plane.owner,
            "INSERT INTO outbox (id, message_id, recipient, payload, created_at, delivered_at)"
            " VALUES (%s, 'm', 'support', '{}', now() - interval '5 years', now() - make_interval(days => %s))",
            (name, delivered),
        )
    first = ingest("retention", "run", "--json").json()
    second = ingest("retention", "run", "--json").json()
    rows = {row for (row,) in execute(control_plane.owner, "SELECT request_id FROM request_log")}

    assert first == {**NOTHING_PURGED, "request_log_days": 2, "audit_events": 1, "messages": 1}
    assert second == NOTHING_PURGED
    assert rows == {"req_0", "req_1", f"req_{REQUEST_LOG_DAYS - 1}", f"req_{REQUEST_LOG_DAYS}"}
    assert len(days(control_plane)) == 4
    left = "SELECT id FROM audit_events WHERE action <> 'retention.run' ORDER BY id"
    assert execute(control_plane.owner, left) == [*kept, ("zz_young",)]
    assert {row for (row,) in execute(control_plane.owner, "SELECT id FROM outbox")} == {"young", "waiting"}
    assert shop.app_id == "app_a"


def test_retention_goes_on_where_one_was_stopped_and_in_many_batches(ingest: Run, control_plane: Plane) -> None:
    """More rows than one batch holds go in one run."""
    execute(
        control_plane.owner,
        "INSERT INTO audit_events (id, at, actor, action, target_type, target_id) SELECT 'aud_' || n,"
        " now() - interval '3 years', 'operator:kim', 'app.changed', 'app', 'app_a' FROM generate_series(1, 25000) n",
    )

    assert ingest("retention", "run", "--json").json()["audit_events"] == 25_000
    assert [row[0] for row in audit(control_plane)] == ["retention.run"]


@pytest.fixture
def _writing(control_plane: Plane) -> Iterator[list[str]]:
    """Insert rows of today and of an old day without a pause."""
    ended, written = threading.Event(), list[str]()

    def write() -> None:
        number = 0
        while not ended.is_set():
            execute(
                control_plane.owner,
                "INSERT INTO request_log VALUES (now(), %s, NULL, NULL, NULL, NULL, '/', 'GET', 200, NULL, 1, 0, 0)",
                (f"new_{number}",),
            )
            written.append(f"new_{number}")
            number += 1

    fill(control_plane, [0, *range(40, 60)])
    writer = threading.Thread(target=write)
    writer.start()
    yield written

    ended.set()
    writer.join()


def test_retention_is_safe_while_rows_are_written(ingest: Run, control_plane: Plane, _writing: list[str]) -> None:  # noqa: PT019 - its value is looked at
    """Writers lose nothing while days are dropped beside them, and two runs at once both succeed."""
    done = ingest("retention", "run", "--json").json()
    known = list(_writing)
    rows = {row for (row,) in execute(control_plane.owner, "SELECT request_id FROM request_log")}

    assert done["request_log_days"] == 20
    assert len(days(control_plane)) == 1
    assert set(known) <= rows


def test_two_runs_of_retention_at_once_both_succeed(control_plane: Plane, tmp_path: Path) -> None:
    """Together they drop every old day once."""
    fill(control_plane, range(40, 80))
    env = {"INGEST_POSTGRES_DSN": control_plane.owner, "INGEST_DATA_DIR": str(tmp_path)}
    ends: list[int] = []
    runs = [
        threading.Thread(target=lambda: ends.append(run_command(["retention", "run", "--json"], env).returncode))
        for _ in range(3)
    ]
    for each in runs:
        each.start()
    for each in runs:
        each.join()

    assert ends == [0, 0, 0]
    assert days(control_plane) == []
