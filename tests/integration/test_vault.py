"""The vault on a real PostgreSQL: tokens go in and open again, keys are replaced, and nothing ever tells a token."""

import asyncio
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from ingest.cli import main
from ingest.conversion import Platform
from ingest.db.database import Connection
from ingest.setting import Secret
from ingest.transport.sealed import SealKeys
from ingest.vault.changes import BATCH_ROWS, Resealed, put, reseal
from ingest.vault.seal import NoToken, Place
from ingest.vault.tokens import Tokens
from tests.integration.edge import ask as call
from tests.integration.edge import run_command
from tests.integration.partner import dump_database, login, spellings
from tests.support.control import KIM, Customer, Plane, customer, execute, operate
from tests.support.rows import ask, opened
from tests.support.service import ServiceProcess

OLD, NEW = SealKeys.generate(), SealKeys.generate()
CANARY, NEXT = "EAABcanary4711|x-y_z", "EAABcanary4712"
META = Place("app_a", Platform.META)


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
        """Return the line of a command that failed as it should."""
        (line,) = self.err.splitlines()
        assert self.code == 1
        assert line.startswith("ingest: ")
        return line


Run = Callable[..., Done]


@pytest.fixture
def shop(control_plane: Plane) -> Customer:
    """Provide a customer with the app `app_a`."""
    return customer(control_plane.owner, "app_a")


@pytest.fixture
def vault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, control_plane: Plane
) -> Iterator[Run]:
    """Provide `ingest vault` as the owner of the database: `vault("put", …, stdin="…", key=NEW)`.

    Whatever it did, no word of it and nothing in the database tells a token.
    """
    said: list[Done] = []

    def run(*args: str, stdin: str | bytes = "", key: str | None = NEW) -> Done:
        capsys.readouterr()
        text = stdin.encode() if isinstance(stdin, str) else stdin
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["ingest", "vault", *args])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
            patch.setenv("INGEST_DATA_DIR", str(tmp_path))
            patch.setenv("INGEST_POSTGRES_DSN", control_plane.owner)
            if key is not None:
                patch.setenv("INGEST_VAULT_KEY", key)
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        said.append(Done(ended.value.code, out, err))
        return said[-1]

    yield run

    everything = json.dumps([said, dump_database(control_plane.owner)]).encode()
    for secret in (CANARY, NEXT, OLD, NEW):
        assert [each for each in spellings(secret) if each in everything] == []


def on_meta(app_id: str = "app_a") -> tuple[str, ...]:
    """Return the options that name an app's token for Meta."""
    return ("--app", app_id, "--platform", "meta")


def token_of(dsn: str, keys: str, place: Place = META) -> Secret | NoToken:
    """Return what the forwarding process gets, given these keys."""

    async def look(connection: Connection) -> Secret | NoToken:
        tokens = Tokens(SealKeys.parse(keys))
        await tokens.refresh(connection)
        return tokens.get(*place)

    return operate(dsn, look)


def fill(dsn: str, keys: str, count: int) -> None:
    """Keep tokens of so many further apps."""
    ask(
        dsn,
        "INSERT INTO apps (id, project_id, name)"
        " SELECT 'app_' || n, project_id, 'A' FROM apps, generate_series(1, %s) n WHERE id = 'app_a'",
        (count,),
    )

    async def work(connection: Connection) -> None:
        for number in range(1, count + 1):
            place = Place(f"app_{number}", Platform.TIKTOK)
            await put(connection, SealKeys.parse(keys), place, Secret(f"{CANARY}{number}"), KIM)

    operate(dsn, work)


def audited(plane: Plane) -> list[tuple[Any, ...]]:
    """Return what was done in the vault, in order."""
    return execute(
        plane.owner,
        "SELECT action, actor, target_id, organization_id, details FROM audit_events"
        " WHERE target_type IN ('token', 'vault') ORDER BY at, id",
    )


def version(plane: Plane) -> int:
    """Return the version of the registry."""
    ((found,),) = execute(plane.owner, "SELECT version FROM registry_version")
    return int(found)


def test_a_token_goes_in_and_opens_and_leaves_a_trace_without_it(
    vault: Run, control_plane: Plane, shop: Customer
) -> None:
    """Put, replaced twice and deleted: each is audited and none changes what edges keep a copy of."""
    before = version(control_plane)
    first = vault("put", *on_meta(), "--actor", "kim", "--json", stdin=f" {CANARY}\n").json()
    assert token_of(control_plane.owner, NEW) == Secret(CANARY)
    second = vault("put", *on_meta(), "--actor", "kim", "--json", stdin=NEXT).json()
    assert token_of(control_plane.owner, NEW) == Secret(NEXT)
    third = vault("rotate", *on_meta(), "--actor", "kim", "--json", stdin=f"{CANARY}\r\n").json()
    assert token_of(control_plane.owner, NEW) == Secret(CANARY)
    listed = vault("list", "--json", key=None).json()
    gone = vault("delete", *on_meta(), "--actor", "kim", "--json", key=None).json()

    assert re.fullmatch("vs_[0-7][0-9A-HJKMNP-TV-Z]{25}", first["id"])
    assert first == {
        "id": first["id"],
        "app_id": "app_a",
        "platform": "meta",
        "key_id": SealKeys.parse(NEW).first_id,
        "created_at": first["created_at"],
        "replaced_at": None,
        "resealed_at": None,
    }
    assert first["created_at"] == third["created_at"] < second["replaced_at"] < third["replaced_at"]
    assert listed == [third] == [gone]
    assert token_of(control_plane.owner, NEW) is NoToken.MISSING
    told = {"appId": "app_a", "platform": "meta"}
    assert audited(control_plane) == [
        (f"token.{verb}", "operator:kim", first["id"], shop.organization_id, told)
        for verb in ("created", "rotated", "rotated", "deleted")
    ]
    assert version(control_plane) == before


def test_tables_for_people(vault: Run, shop: Customer) -> None:
    """Without `--json` the same is told in words, and who is logged in has decided."""
    done = vault("put", *on_meta(shop.app_id), stdin=CANARY)
    listed = vault("list", key=None)

    assert (done.code, done.err, listed.code, listed.err) == (0, "", 0, "")
    for word in ("vs_", "app_a", "meta", SealKeys.parse(NEW).first_id):
        assert word in done.out
        assert word in listed.out


def test_what_is_wrong_is_told_in_a_line_and_changes_nothing(vault: Run, control_plane: Plane, shop: Customer) -> None:
    """Exit code 1, one line, no trace, and no part of what may be a token."""
    wrong = [
        (("put", *on_meta("app_none")), CANARY, NEW, "no such app"),
        (("rotate", *on_meta("app_none")), CANARY, NEW, "no such app"),
        (("delete", *on_meta("app_none")), "", NEW, "no such app"),
        (("rotate", *on_meta()), CANARY, NEW, "no token for this platform"),
        (("delete", *on_meta()), "", NEW, "no token for this platform"),
        (("put", *on_meta()), "", NEW, "1 to 4096 printable ASCII"),
        (("put", *on_meta()), f"{CANARY}\n{CANARY}", NEW, "1 to 4096 printable ASCII"),
        (("put", *on_meta()), f"{CANARY}\0", NEW, "1 to 4096 printable ASCII"),
        (("put", *on_meta()), CANARY.encode() + b"\xff", NEW, "1 to 4096 printable ASCII"),
        (("put", *on_meta()), CANARY * 300, NEW, "1 to 4096 printable ASCII"),
        (("put", *on_meta(), CANARY), "", NEW, "words too many"),
        (("rotate", *on_meta(), CANARY), "", NEW, "words too many"),
        (("put", *on_meta()), CANARY, None, "INGEST_VAULT_KEY is not set"),
        (("reseal",), "", None, "INGEST_VAULT_KEY is not set"),
        (("put", *on_meta()), CANARY, "c2hvcnQ=", "INGEST_VAULT_KEY"),
        (("put", "--app", "app_a", "--platform", "google"), CANARY, NEW, "--platform"),
        (("put", *on_meta(), "--actor", " "), CANARY, NEW, "actor"),
        (("put", "--app", "app_a"), CANARY, NEW, "--platform"),
    ]
    for args, stdin, key, words in wrong:
        done = vault(*args, stdin=stdin, key=key)
        assert words in done.failure(), args
        assert done.out == ""

    assert shop.app_id == "app_a"
    assert audited(control_plane) == []
    assert execute(control_plane.owner, "SELECT id FROM vault_secrets") == []


def test_a_new_key_is_put_in_front_and_the_old_one_taken_away(vault: Run, control_plane: Plane, shop: Customer) -> None:
    """Both open meanwhile, `reseal` leaves nothing under the old one, and a second run finds nothing to do."""
    fill(control_plane.owner, OLD, 3)
    vault("put", *on_meta(shop.app_id), stdin=CANARY, key=f"{NEW},{OLD}")
    both, place = f"{NEW},{OLD}", Place("app_2", Platform.TIKTOK)
    before = [token_of(control_plane.owner, each, place) for each in (OLD, NEW, both)]
    first = vault("reseal", "--actor", "kim", "--json", key=both).json()
    second = vault("reseal", "--json", key=both).json()
    after = [token_of(control_plane.owner, each, place) for each in (OLD, NEW, both)]
    key_id, token = SealKeys.parse(NEW).first_id, Secret(f"{CANARY}2")

    assert before == [token, NoToken.UNKNOWN_KEY, token]
    assert after == [NoToken.UNKNOWN_KEY, token, token]
    assert first == {"resealed": 3, "unopened": [], "key_id": key_id}
    assert second == {"resealed": 0, "unopened": [], "key_id": key_id}
    rows = vault("list", "--json", key=None).json()
    assert {row["key_id"] for row in rows} == {key_id}
    assert [row["resealed_at"] is not None for row in rows] == [True, True, True, False]
    assert {row["replaced_at"] for row in rows} == {None}
    assert [row for row in audited(control_plane) if row[0] == "vault.resealed"] == [
        ("vault.resealed", "operator:kim", "vault", None, {"tokens": 3, "keyId": key_id})
    ]


def test_what_no_key_opens_stays_and_is_named(vault: Run, control_plane: Plane, shop: Customer) -> None:
    """The rest gets its new seal, the command fails, and a later run with the key makes it good."""
    other = SealKeys.generate()
    vault("put", *on_meta(shop.app_id), stdin=CANARY, key=other)
    fill(control_plane.owner, OLD, 2)
    ((lost,),) = execute(control_plane.owner, "SELECT id FROM vault_secrets WHERE app_id = 'app_a'")
    done = vault("reseal", "--json", key=f"{NEW},{OLD}")

    assert lost in done.failure()
    assert json.loads(done.out)["resealed"] == 2
    assert json.loads(done.out)["unopened"] == [lost]
    assert vault("reseal", "--json", key=f"{NEW},{other}").json()["resealed"] == 1
    assert token_of(control_plane.owner, NEW) == Secret(CANARY)


def test_a_reseal_that_is_stopped_is_taken_up_again(control_plane: Plane, shop: Customer) -> None:
    """What was told as done is done, in batches; the next run does the rest, and both together do all of it."""

    def stop(done: int) -> None:
        told.append(done)
        raise KeyboardInterrupt

    async def run(progress: Callable[[int], None]) -> Resealed:
        async with opened(control_plane.owner) as database:
            return await reseal(database, SealKeys.parse(f"{NEW},{OLD}"), KIM, progress)

    assert shop.app_id == "app_a"
    fill(control_plane.owner, OLD, count := 2 * BATCH_ROWS + 5)
    told: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run(stop))
    under_new = "SELECT count(*) FROM vault_secrets WHERE key_id = %s"
    ((done,),) = execute(control_plane.owner, under_new, (SealKeys.parse(NEW).first_id,))
    rest: list[int] = []

    assert told == [BATCH_ROWS] == [done]
    assert asyncio.run(run(rest.append)) == Resealed(count - BATCH_ROWS, ())
    assert rest == [BATCH_ROWS, BATCH_ROWS + 5]
    last = Place(f"app_{count}", Platform.TIKTOK)
    assert token_of(control_plane.owner, NEW, last) == Secret(f"{CANARY}{count}")


def test_rows_that_were_tampered_with_do_not_open(control_plane: Plane, shop: Customer) -> None:
    """Sealed texts that change places, tokens that change apps, and bits that flip: none yields a token."""
    assert shop.app_id == "app_a"
    fill(control_plane.owner, NEW, 4)
    execute(
        control_plane.owner,
        "UPDATE vault_secrets v SET sealed = o.sealed FROM vault_secrets o"
        " WHERE (v.app_id, o.app_id) IN (('app_1', 'app_2'), ('app_2', 'app_1'))",
    )
    execute(control_plane.owner, "UPDATE vault_secrets SET platform = 'meta' WHERE app_id = 'app_3'")
    execute(control_plane.owner, "UPDATE vault_secrets SET app_id = 'app_a' WHERE app_id = 'app_4'")
    places = [
        Place("app_1", Platform.TIKTOK),
        Place("app_2", Platform.TIKTOK),
        Place("app_3", Platform.META),
        Place("app_a", Platform.TIKTOK),
        Place("app_4", Platform.TIKTOK),
    ]

    found = [token_of(control_plane.owner, NEW, place) for place in places]
    assert found == [NoToken.TAMPERED] * 4 + [NoToken.MISSING]


def test_a_look_takes_over_every_change_and_nothing_else(control_plane: Plane, shop: Customer) -> None:
    """Each kind of change is noticed once, also one that sets no time; without any nothing is read again."""
    assert shop.app_id == "app_a"
    keys = SealKeys.parse(f"{NEW},{OLD}")
    steps: list[tuple[Any, Secret | NoToken]] = [
        ("", NoToken.MISSING),
        (CANARY, Secret(CANARY)),
        (NEXT, Secret(NEXT)),
        ("UPDATE vault_secrets SET resealed_at = now(), sealed = sealed", Secret(NEXT)),
        ("UPDATE vault_secrets SET sealed = set_byte(sealed, 15, 255 - get_byte(sealed, 15))", NoToken.TAMPERED),
        ("UPDATE vault_secrets SET key_id = 'ffffffffffffffff'", NoToken.UNKNOWN_KEY),
        ("DELETE FROM vault_secrets", NoToken.MISSING),
    ]
    seen: list[tuple[bool, bool, Secret | NoToken]] = []

    async def work(connection: Connection) -> None:
        tokens = Tokens(keys)
        for change, _ in steps:
            if change in {CANARY, NEXT}:
                await put(connection, keys, META, Secret(change), KIM)
            elif change:
                await connection.execute(change)
            seen.append((await tokens.refresh(connection), await tokens.refresh(connection), tokens.get(*META)))

    operate(control_plane.owner, work)
    assert [token for *_, token in seen] == [token for _, token in steps]
    assert [first for first, *_ in seen] == [True, True, True, False, True, True, True]
    assert not any(second for _, second, _ in seen)


def test_the_forwarding_role_opens_tokens_and_changes_none(control_plane: Plane, shop: Customer) -> None:
    """With its login and the key a process gets the token, and a serving process not even the row."""
    assert shop.app_id == "app_a"
    operate(control_plane.owner, lambda connection: put(connection, SealKeys.parse(NEW), META, Secret(CANARY), KIM))
    with login(control_plane.owner, "ingest_forward") as dsn:
        assert token_of(dsn, NEW) == Secret(CANARY)
        done = run_command(
            ["vault", "put", *on_meta()],
            {"INGEST_POSTGRES_DSN": dsn, "INGEST_VAULT_KEY": NEW},
            stdin=NEXT,
        )
    denied = run_command(["vault", "list"], {"INGEST_POSTGRES_DSN": control_plane.serving})

    assert "may not do this" in done.stderr
    assert "may not do this" in denied.stderr
    assert NEXT not in done.stdout + done.stderr


def test_a_running_dev_keeps_a_key_for_these_commands(tmp_path: Path) -> None:
    """Its key lies in the data folder, for this user alone; these commands find it there, and nothing tells it."""
    with ServiceProcess({}, folder=tmp_path, args=("dev",)) as service:
        key_path = tmp_path / "data" / "vault.key"
        done = run_command(["vault", "put", *on_meta("app_demo"), "--json"], service.settings, stdin=CANARY)
        told = (tmp_path / "data" / "dev.env").read_text()
    key = key_path.read_text()
    output = service.stdout_path.read_text() + service.stderr_path.read_text()

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["key_id"] == SealKeys.parse(key).first_id
    assert key_path.stat().st_mode & 0o777 == 0o600
    for secret in (key, CANARY):
        assert secret not in told + output + done.stdout


def test_a_dev_that_is_given_a_key_hands_it_to_nobody_who_must_not_have_it(tmp_path: Path) -> None:
    """It starts, with all its processes, generates none, and the commands need to be given the same one."""
    with ServiceProcess({"INGEST_VAULT_KEY": NEW}, folder=tmp_path, args=("dev",)) as service:
        without = {name: text for name, text in service.settings.items() if name != "INGEST_VAULT_KEY"}
        done = [
            run_command(["vault", "put", *on_meta("app_demo"), "--json"], env, stdin=CANARY)
            for env in (service.settings, without)
        ]
        beside = {each.cmdline()[3]: each.environ() for each in psutil.Process(service.pid).children()}
    output = service.stdout_path.read_text() + service.stderr_path.read_text()

    assert [each.returncode for each in done] == [0, 1]
    assert "INGEST_VAULT_KEY is not set" in done[1].stderr
    assert [name for name in ("notify", "persist") if "INGEST_VAULT_KEY" in beside[name]] == []
    assert NEW not in output


@pytest.mark.parametrize("given", [{}, {"INGEST_VAULT_KEY": NEW}])
def test_a_serving_process_has_no_way_to_open_a_token(
    control_plane: Plane, shop: Customer, tmp_path: Path, given: dict[str, str]
) -> None:
    """Started for real it loads nothing of the vault and of forwarding, and given the key it does not start."""
    env = {"INGEST_POSTGRES_DSN": control_plane.serving, "INGEST_SPOOL_KEY": OLD, "PYTHONPROFILEIMPORTTIME": "1"}
    if given:
        done = run_command(["serve"], {**env, **given})
        assert "must not be given the vault key" in done.stderr
        return
    with ServiceProcess(env, folder=tmp_path) as service:
        answers = [
            call(service.url, "/events", b'{"events": []}', {"X-App-Id": shop.app_id}).status,
            call(service.url, "/v1/whoami", headers={"Authorization": f"Bearer {shop.key}"}).status,
        ]
    loaded = re.findall(r"^import time:.*\| +(\S+)$", service.stderr_path.read_text(), re.MULTILINE)

    assert answers == [400, 200]
    assert {"ingest.edge.worker", "ingest.partner.surface", "ingest.cli.vault"} <= set(loaded)
    assert [
        name for name in loaded if re.match(r"ingest\.(vault|forward|wiring\.vault|db\.queries\.vault)\b", name)
    ] == []
