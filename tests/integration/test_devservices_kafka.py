import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devservices.child import Child
from devservices.errors import JavaMissing, PortTaken, StartFailed
from devservices.kafka import KafkaCluster
from devservices.kafka_distribution import fetch, java
from devservices.kafka_probe import probe
from devservices.ports import HOST, free_ports

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


async def _create(bootstrap: str, topic: str, copies: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 2, copies)])
    finally:
        await admin.close()


async def _produce(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value)


async def _consume(bootstrap: str, topic: str, count: int) -> set[bytes]:
    settings = {"group_id": f"group-{topic}", "auto_offset_reset": "earliest"}
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, **settings) as consumer:
        return {(await consumer.getone()).value for _ in range(count)}


def test_records_make_the_round_trip(kafka: KafkaCluster, topic_prefix: str) -> None:
    """What is produced with acks=all comes back to a consumer group."""
    topic = f"{topic_prefix}events"

    async def round_trip() -> set[bytes]:
        await _create(kafka.bootstrap, topic)
        await _produce(kafka.bootstrap, topic, b"one")
        await _produce(kafka.bootstrap, topic, b"two")
        return await _consume(kafka.bootstrap, topic, 2)

    assert asyncio.run(round_trip()) == {b"one", b"two"}


def test_a_paused_broker_is_silent_until_resumed(kafka: KafkaCluster) -> None:
    """While a broker is paused nobody answers on its port; the same process answers again after resume."""
    (broker,) = kafka.brokers
    pid = broker.pid
    broker.pause()
    try:
        assert probe(broker.port, timeout_s=0.3) is None
        assert broker.pid == pid
    finally:
        broker.resume()
    broker.await_ready(frozenset(), 30)

    assert broker.pid == pid


@pytest.mark.usefixtures("kafka_distribution")
def test_a_killed_broker_comes_back_with_its_data(tmp_path: Path) -> None:
    """After SIGKILL and restart the broker has its old port and every acknowledged record; stop leaves nothing."""
    with KafkaCluster(tmp_path) as cluster:
        (broker,) = cluster.brokers
        asyncio.run(_create(cluster.bootstrap, "kept"))
        asyncio.run(_produce(cluster.bootstrap, "kept", b"before"))
        port, pid_before = broker.port, broker.pid
        broker.kill()
        pid_dead = broker.pid
        broker.restart()

        assert pid_dead is None
        assert broker.port == port
        assert broker.pid not in (None, pid_before)
        assert asyncio.run(_consume(cluster.bootstrap, "kept", 1)) == {b"before"}
        last_pid = broker.pid
    assert last_pid is not None
    assert not psutil.pid_exists(last_pid)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))  # raises if anyone still listens


@pytest.mark.usefixtures("kafka_distribution")
def test_a_cluster_of_three_outlives_one_broker(tmp_path: Path) -> None:
    """Three brokers know each other, and acks=all with three copies goes on while one of them is dead."""
    with KafkaCluster(tmp_path, brokers=3) as cluster:
        views = [probe(broker.port) for broker in cluster.brokers]
        assert [view.node_ids for view in views if view] == [frozenset({1, 2, 3})] * 3
        asyncio.run(_create(cluster.bootstrap, "shared", copies=3))
        cluster.brokers[2].kill()
        asyncio.run(_produce(cluster.bootstrap, "shared", b"with two"))

        assert asyncio.run(_consume(cluster.bootstrap, "shared", 1)) == {b"with two"}


@pytest.mark.usefixtures("kafka_distribution")
def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A fixed port that another program has is a PortTaken that names it, and nothing keeps running."""
    (port,) = free_ports(1)
    with socket.socket() as listener:
        listener.bind((HOST, port))
        listener.listen()
        cluster = KafkaCluster(tmp_path, port=port)
        with pytest.raises(PortTaken, match=str(port)):
            cluster.start()

    assert [broker.pid for broker in cluster.brokers] == [None]


@pytest.mark.usefixtures("kafka_distribution")
def test_a_folder_keeps_its_number_of_brokers(tmp_path: Path) -> None:
    """A folder that holds one broker is refused to a cluster of three, in which it would lose its quorum."""
    (tmp_path / "broker-1" / "data").mkdir(parents=True)
    (tmp_path / "broker-1" / "data" / "meta.properties").touch()

    with pytest.raises(StartFailed, match="holds a cluster of 1 brokers, not of 3"):
        KafkaCluster(tmp_path, brokers=3).start()


def test_missing_java_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Java the error says what to install."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    java.cache_clear()
    try:
        with pytest.raises(JavaMissing, match="Java 17 or newer, and Maven"):
            fetch()
    finally:
        java.cache_clear()


def test_a_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    """A child started from a short-lived thread outlives that thread, but not the SIGKILL of its process."""
    program = (
        "import sys, threading, pathlib; from devservices.child import Child; made = []\n"
        "start = lambda: made.append(Child(sys.argv[2:], stdout=pathlib.Path(sys.argv[1])))\n"
        "thread = threading.Thread(target=start); thread.start(); thread.join()\n"
        "print(made[0].pid, made[0].wait(0.2), flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "out"), *SLEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid, code = parent.stdout.readline().split()
        assert code == "None"
        child = psutil.Process(int(pid))
        parent.kill()

    child.wait(timeout=10)
    assert not child.is_running()


def test_a_child_dies_when_the_interpreter_exits(tmp_path: Path) -> None:
    """An ordinary exit that forgot its child kills it."""
    program = (
        "import sys, pathlib; from devservices.child import Child\n"
        "print(Child(sys.argv[2:], stdout=pathlib.Path(sys.argv[1])).pid)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out"), *SLEEPER]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)

    assert not psutil.pid_exists(int(done.stdout))


def test_a_paused_child_can_be_stopped(tmp_path: Path) -> None:
    """Stop ends a frozen program too, and tells by which signal."""
    child = Child(SLEEPER, stdout=tmp_path / "out")
    child.pause()
    assert psutil.Process(child.pid).status() == psutil.STATUS_STOPPED

    assert child.stop(10) == -signal.SIGTERM
    assert not child.running


def test_a_child_takes_its_own_children_along(tmp_path: Path) -> None:
    """Kill reaches the whole process group."""
    fork = "import os, time; pid = os.fork(); print(pid, flush=True) if pid else None; time.sleep(600)"
    child = Child([sys.executable, "-c", fork], stdout=tmp_path / "out")
    children: list[psutil.Process] = []
    while not children:
        assert child.wait(0.02) is None
        children = psutil.Process(child.pid).children()
    child.kill()

    psutil.wait_procs(children, timeout=10)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in children)


def test_free_ports_avoid_outgoing_connections() -> None:
    """The ports are distinct and, on Linux, below the range of outgoing connections."""
    ports = free_ports(20)

    assert len(set(ports)) == 20
    if sys.platform == "linux":
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
        assert max(ports) < first or first <= 20_000
