"""Messages about kills from the outbox of a real PostgreSQL to real receivers, which fail at first."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql

from devservices.child import Child
from devservices.ports import HOST, free_ports
from ingest.clock import FakeClock
from ingest.control.kills import turn_global, turn_organization
from ingest.control.organizations import create_organization
from ingest.control.record import Actor
from ingest.db.database import Connection, Database, DatabaseAway
from ingest.db.migrate import migrate
from ingest.notify.channels import Channels
from ingest.notify.mail import Mail, MailServer
from ingest.notify.tls import client_tls
from ingest.notify.webhook import Webhook
from ingest.notify.worker import Worker
from ingest.telemetry import log as logging
from tests.support.receivers import HttpReceiver, MailReceiver

KEY = bytes(range(32))
ANNA = Actor.operator("anna")
WAIT_S = 30.0


class World(NamedTuple):
    """A migrated database: `owner` may do anything there, `notifier` is a login with the rights of the worker."""

    owner: str
    notifier: str


class Row(NamedTuple):
    """What the outbox says of one message and recipient; `wait_s` until the next attempt."""

    recipient: str
    attempts: int
    delivered: bool
    failure: str | None
    wait_s: float


@pytest.fixture
def world(database: str) -> Iterator[World]:
    """Provide a migrated database and a login that is a member of ingest_notify and nothing else."""
    migrate(database)
    name, word = f"notifier_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    parts = urlsplit(database)
    login = sql.Identifier(name)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE ingest_notify").format(login, sql.Literal(word))
        )
    yield World(database, parts._replace(netloc=f"{name}:{quote(word)}@{parts.netloc.rpartition('@')[2]}").geturl())

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(login))


def as_owner(world: World, work: Callable[[Connection], Awaitable[Any]]) -> Any:
    """Do what an operator does, in one transaction."""

    async def transact() -> Any:
        async with await psycopg.AsyncConnection.connect(world.owner) as connection:
            return await work(connection)

    return asyncio.run(transact())


def organization(world: World, contact: str) -> str:
    """Add an organization and return its id."""
    made: str = as_owner(world, lambda connection: create_organization(connection, "Acme", contact, ANNA))
    return made


def kill(world: World, organization_id: str | None, *, killed: bool = True) -> None:
    """Turn the switch of an organization, or with None the one for all."""
    if organization_id is None:
        as_owner(world, lambda connection: turn_global(connection, ANNA, killed=killed, reason="leaked"))
    else:
        as_owner(
            world,
            lambda connection: turn_organization(connection, organization_id, ANNA, killed=killed, reason="leaked"),
        )


def rows(world: World) -> dict[str, Row]:
    """Read the outbox, by recipient."""
    with psycopg.connect(world.owner) as connection:
        found = connection.execute(
            """
            SELECT recipient, attempts, delivered_at IS NOT NULL, last_failure,
                extract(epoch FROM next_attempt_at - now())::float FROM outbox ORDER BY id
            """
        )
        return {row[0]: Row(*row) for row in found}


def let_time_pass(world: World) -> None:
    """Make every attempt due that waits."""
    with psycopg.connect(world.owner) as connection:
        connection.execute("UPDATE outbox SET next_attempt_at = now() WHERE delivered_at IS NULL")


def message_ids(world: World) -> set[str]:
    """Return the ids of all messages."""
    with psycopg.connect(world.owner) as connection:
        return {row[0] for row in connection.execute("SELECT message_id FROM outbox")}


def channels(support: str, mail_port: int = 1) -> Channels:
    """Return the ways to receivers on loopback."""
    clock, tls = FakeClock(), client_tls()
    mail = Mail(MailServer(HOST, mail_port, "plain"), "edge@ingest.example", clock, tls)
    return Channels(support, Webhook([KEY], clock, tls, private_network=True), mail)


@contextlib.asynccontextmanager
async def working(world: World, ways: Channels) -> AsyncIterator[Worker]:
    """Yield a worker with the rights of the notifying process and a pool of its own."""
    database = Database(world.notifier, "test-notify")
    await database.open()
    try:
        yield Worker(database, ways, jitter=lambda: 1.0)
    finally:
        await database.close()


def step(world: World, ways: Channels) -> None:
    """Deliver what is due."""

    async def once() -> None:
        async with working(world, ways) as worker:
            await worker.step()

    asyncio.run(once())


def test_a_kill_reaches_both_although_both_fail_at_first(world: World) -> None:
    """Support and organization are tried on their own: who took a message is left alone, the other is tried again."""
    (port,) = free_ports(1)
    acme = organization(world, "ops@acme.example")
    with MailReceiver(["451 not now"]) as mails:
        kill(world, acme)
        ways = channels(f"http://{HOST}:{port}/hook", mails.port)
        step(world, ways)  # nobody listens there
        assert rows(world)["support"][:4] == ("support", 1, False, "refused")
        assert rows(world)["organization"][:4] == ("organization", 1, False, "smtp_451")
        assert all(5 < row.wait_s <= 10 for row in rows(world).values())

        step(world, ways)
        assert len(mails.refused) == 1, "before its time nothing is tried"

        with HttpReceiver([503], port=port) as support:
            let_time_pass(world)
            step(world, ways)
            assert rows(world)["support"][:4] == ("support", 2, False, "http_503")
            assert rows(world)["organization"][:4] == ("organization", 2, True, None)
            assert 15 < rows(world)["support"].wait_s <= 20

            let_time_pass(world)
            step(world, ways)
            step(world, ways)
            assert rows(world)["support"][:4] == ("support", 3, True, None)

    (message_id,) = message_ids(world)
    assert support.ids() == [message_id, message_id]
    assert len(mails.mails) == 1
    assert {mail["Message-ID"] for mail in [*mails.refused, *mails.mails]} == {f"<{message_id}@ingest.example>"}
    told = json.loads(support.calls[-1].body)
    assert told["type"] == "kill_switch.on"
    assert (told["scope"], told["id"], told["reason"], told["messageId"]) == (
        "organization",
        acme,
        "leaked",
        message_id,
    )


def test_an_organization_is_told_by_its_webhook(world: World) -> None:
    """A contact that is a URL is called, once for the kill and once for its end, under different ids."""
    with HttpReceiver() as support, HttpReceiver() as theirs:
        acme = organization(world, theirs.url("/acme"))
        kill(world, acme)
        kill(world, acme)
        kill(world, acme, killed=False)
        step(world, channels(support.url()))

    assert sorted(json.loads(call.body)["type"] for call in theirs.calls) == ["kill_switch.off", "kill_switch.on"]
    assert {call.path for call in theirs.calls} == {"/acme"}
    assert sorted(theirs.ids()) == sorted(support.ids()) == sorted(message_ids(world))


def test_a_receiver_that_is_silent_holds_up_nobody(world: World) -> None:
    """While one organization does not answer, more than one process has room for are told."""
    with HttpReceiver() as support, HttpReceiver() as silent, HttpReceiver() as theirs:
        silent.hold.clear()
        organization(world, silent.url())
        for _ in range(40):
            organization(world, theirs.url())
        kill(world, None)

        async def deliver() -> None:
            async with working(world, channels(support.url())) as worker:
                running = asyncio.create_task(worker.step())
                assert await asyncio.to_thread(theirs.wait_for, 40)
                assert not running.done()
                silent.hold.set()
                await running

        asyncio.run(deliver())

    assert len(theirs.calls) == 40
    assert len(support.calls) == 1
    assert set(silent.ids()) == message_ids(world)


def test_two_workers_do_not_send_the_same(world: World) -> None:
    """What one worker has taken is kept from another that works at the same time."""
    with HttpReceiver() as support:
        acme = organization(world, support.url("/acme"))
        for turn in range(30):
            kill(world, acme, killed=turn % 2 == 0)

        async def deliver() -> None:
            ways = channels(support.url())
            async with working(world, ways) as one, working(world, ways) as other:
                await asyncio.gather(one.step(), other.step())

        asyncio.run(deliver())

    assert len(support.calls) == 60
    assert len({(call.path, call.headers["webhook-id"]) for call in support.calls}) == 60


def test_what_cannot_be_handled_keeps_nothing_else_back(world: World) -> None:
    """A message on which the code itself fails is tried again like any other, beside those that are delivered."""

    def broken(_: str) -> None:
        raise RuntimeError

    with HttpReceiver() as support:
        kill(world, organization(world, "ops@acme.example"))
        ways = channels(support.url())
        step(world, Channels(ways.support_url, ways.webhook, None, broken))

    assert rows(world)["support"].delivered
    assert rows(world)["organization"][:4] == ("organization", 1, False, "internal")


def test_fresh_messages_go_first(world: World) -> None:
    """However many attempts are due again, what was never tried comes before them."""
    with HttpReceiver([503] * 2) as support:
        acme = organization(world, support.url("/acme"))
        kill(world, acme)
        step(world, channels(support.url()))
        let_time_pass(world)
        old = message_ids(world)
        kill(world, acme, killed=False)
        (new,) = message_ids(world) - old

        async def claim() -> list[str]:
            async with working(world, channels(support.url())) as worker:
                tasks = await worker._begin(2)
                await asyncio.wait(tasks)
                return support.ids()[2:]

        assert asyncio.run(claim()) == [new, new]


def test_a_stop_finishes_what_was_begun_and_takes_nothing_more(world: World) -> None:
    """Told to stop, a worker waits for the answer it is owed, writes it down and ends."""
    with HttpReceiver() as support:
        support.hold.clear()
        acme = organization(world, support.url("/acme"))
        kill(world, acme)

        async def deliver() -> None:
            async with working(world, channels(support.url())) as worker:
                running = asyncio.create_task(worker.run())
                assert await asyncio.to_thread(support.wait_for, 2)
                worker.stop()
                await asyncio.to_thread(kill, world, acme, killed=False)
                support.hold.set()
                async with asyncio.timeout(WAIT_S):
                    await running

        asyncio.run(deliver())

    assert len(support.calls) == 2
    with psycopg.connect(world.owner) as connection:
        told = connection.execute("SELECT payload->>'type', delivered_at IS NOT NULL FROM outbox ORDER BY 1 DESC")
        assert told.fetchall() == [("kill_switch.on", True)] * 2 + [("kill_switch.off", False)] * 2


def test_no_log_line_tells_what_was_sent_or_where(world: World, tmp_path: Path) -> None:
    """Lines name the message, its recipient and the failure: no reason, address, answer or secret."""
    with (tmp_path / "log").open("wb") as file, HttpReceiver([503], answer=b"ANSWER") as support:
        log = logging.configure(fd=file.fileno())
        try:
            kill(world, organization(world, "ops@acme.example"))
            step(world, channels(support.url("/SECRET")))
            let_time_pass(world)
            step(world, channels(support.url("/SECRET")))
        finally:
            log.close()
    text = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in text.splitlines() if "message_" in line]

    assert [
        (line["event"], line["recipient"], line.get("failure")) for line in lines if line["recipient"] == "support"
    ] == [
        ("message_not_delivered", "support", "http_503"),
        ("message_delivered", "support", None),
    ]
    assert {line["failure"] for line in lines if line["recipient"] == "organization"} == {"refused"}
    assert {line["message_id"] for line in lines} == message_ids(world)
    assert not any(word in text for word in ("leaked", "acme.example", "SECRET", "ANSWER", HOST, str(support.port)))
    assert log.fields_dropped == 0


def test_a_database_that_is_away_is_waited_for(world: World, tmp_path: Path) -> None:
    """Nothing is lost while PostgreSQL is away: it is told once that it went and once that it is back."""
    (port,) = free_ports(1)
    away = world.notifier.replace(f":{urlsplit(world.notifier).port}/", f":{port}/")

    async def deliver() -> None:
        database = Database(away, "test-notify", deadline_ms=300)
        here = Database(world.notifier, "test-notify")
        await database.open()
        await here.open()
        worker = Worker(database, channels("http://localhost:1/"))
        for _ in range(2):
            with pytest.raises(DatabaseAway):
                await worker.step()
        worker._database = here
        for _ in range(2):
            await worker.step()
        await database.close()
        await here.close()

    with (tmp_path / "log").open("wb") as file:
        log = logging.configure(fd=file.fileno())
        try:
            asyncio.run(deliver())
        finally:
            log.close()
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]

    assert [event for event in events if event.startswith("database_")] == ["database_away", "database_back"]


@contextlib.contextmanager
def command(world: World, folder: Path, *args: str, **settings: str) -> Iterator[Child]:
    """Run `ingest notify` as a process with the settings of production, and end it."""
    env: Mapping[str, str] = {
        **{name: value for name, value in os.environ.items() if not name.startswith("INGEST_")},
        "INGEST_ADMIN_PORT": "0",
        "INGEST_DATA_DIR": str(folder / "data"),
        "INGEST_POSTGRES_DSN": world.notifier,
        "INGEST_WEBHOOK_SECRET": base64.b64encode(KEY).decode(),
        **settings,
    }
    child = Child(
        [sys.executable, "-m", "ingest", "notify", *args],
        stdout=folder / "stdout",
        stderr=folder / "stderr",
        env={name: value for name, value in env.items() if value},
    )
    try:
        yield child
    finally:
        child.kill()


def test_killed_between_sending_and_writing_down(world: World, tmp_path: Path) -> None:
    """A process that dies before it wrote the outcome leaves the message to be sent again, under the same id."""
    with HttpReceiver() as support:
        support.hold.clear()
        kill(world, organization(world, "ops@acme.example"))
        with command(world, tmp_path, INGEST_SUPPORT_WEBHOOK_URL=support.url()) as child:
            assert support.wait_for(1)
            os.kill(child.pid, signal.SIGKILL)
            assert child.wait(WAIT_S) == -signal.SIGKILL
        support.hold.set()
        assert rows(world)["support"].delivered is False
        assert 0 < rows(world)["support"].wait_s <= 60

        let_time_pass(world)
        with command(world, tmp_path, "--once", INGEST_SUPPORT_WEBHOOK_URL=support.url()) as child:
            assert child.wait(WAIT_S) == 1, "the organization has not been told: there is no mail server"
    (line,) = (tmp_path / "stderr").read_text().splitlines()

    assert line.startswith("ingest: 1 messages are undelivered, the oldest for ")
    assert support.ids() == [*message_ids(world)] * 2
    assert rows(world)["support"].delivered
    assert rows(world)["organization"].failure == "smtp_not_configured"


def test_it_runs_until_it_is_told_to_stop(world: World, tmp_path: Path) -> None:
    """A kill that is turned while the process runs is told by its polling, and SIGTERM ends it with code 0."""
    with HttpReceiver() as support, MailReceiver() as mails:
        settings = {
            "INGEST_SUPPORT_WEBHOOK_URL": support.url(),
            "INGEST_SMTP_URL": f"smtp://{HOST}:{mails.port}",
            "INGEST_SMTP_FROM": "edge@ingest.example",
        }
        with command(world, tmp_path, **settings) as child:
            kill(world, organization(world, "ops@acme.example"))
            assert support.wait_for(1)
            child.terminate()
            assert child.wait(WAIT_S) == 0
    assert (tmp_path / "stderr").read_text() == ""
    assert len(support.calls) == 1


def test_the_console_of_a_development_run(world: World, tmp_path: Path) -> None:
    """Without any channel, messages are lines on standard error and count as delivered."""
    kill(world, organization(world, "ops@acme.example"))
    with command(world, tmp_path, "--once", "--console", INGEST_WEBHOOK_SECRET="") as child:
        assert child.wait(WAIT_S) == 0
    lines = sorted((tmp_path / "stderr").read_text().splitlines())

    assert [line.partition(": ")[0] for line in lines] == [lines[0].partition(": ")[0], "To the support"]
    assert lines[0].startswith("To organization org_")
    assert all("Kill switch turned on: organization org_" in line and "reason leaked" in line for line in lines)
    assert all(row.delivered for row in rows(world).values())


def test_a_database_without_its_schema_is_told(database: str, tmp_path: Path) -> None:
    """Before the migrations the command ends with one line that says what to do."""
    world = World(database, database)
    with command(world, tmp_path, "--once", INGEST_SUPPORT_WEBHOOK_URL=f"http://{HOST}:1/") as child:
        assert child.wait(WAIT_S) == 1
    (line,) = (tmp_path / "stderr").read_text().splitlines()

    assert line.startswith("ingest: the database in INGEST_POSTGRES_DSN lacks a migration")
