import socket
from pathlib import Path

import httpx
import psutil
import pytest

from devservices.errors import PortTaken
from devservices.platforms.process import PlatformsServer
from devservices.ports import HOST, free_ports


def test_the_platforms_run_in_a_process_of_their_own(tmp_path: Path) -> None:
    """They serve both platforms and the control surface on 127.0.0.1 alone; a restart has the port and no memory."""
    with PlatformsServer(tmp_path, latency_ms=1) as server, httpx.Client(base_url=server.url) as client:
        assert server.pid is not None
        sockets = psutil.Process(server.pid).net_connections()
        assert {each.laddr for each in sockets if each.status == psutil.CONN_LISTEN} == {(HOST, server.port)}

        order = {"calls": 1, "behaviour": {"do": "status", "status": 500}}
        assert client.post("/_control", json=order).status_code == 200
        headers = {"Authorization": "Bearer t", "Access-Token": "t"}
        url = f"{server.meta_url}/v26.0/1/events"
        assert [client.post(url, json={}, headers=headers).status_code for _ in range(2)] == [500, 400]
        assert client.post(f"{server.tiktok_url}/open_api/v1.3/event/track/", headers=headers).json()["code"] == 40002
        assert len(client.get("/_calls").json()["calls"]) == 3

        pid = server.pid
        server.restart()
        assert client.get("/_calls").json() == {"calls": []}
        assert server.pid != pid
        last_pid = server.pid
        assert last_pid is not None
    assert not psutil.pid_exists(last_pid)
    assert "Traceback" not in (tmp_path / "server.log").read_text(encoding="utf-8")


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A fixed port that another program has is a PortTaken that names it, and nothing keeps running."""
    (port,) = free_ports(1)
    with socket.create_server((HOST, port)):
        server = PlatformsServer(tmp_path, port=port)
        with pytest.raises(PortTaken, match=str(port)):
            server.start()

    assert server.pid is None
