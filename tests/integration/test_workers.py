import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from devservices.kafka import KafkaCluster
from tests.integration.edge import (
    WAIT_S,
    ask,
    await_true,
    batch,
    event,
    event_ids,
    figures,
    new_id,
    on_kafka,
    on_local_log,
    post,
    read_topic,
    ready,
    run_command,
)
from tests.support.service import ServiceProcess

ACCEPTED = 'ingest_events_total{outcome="accepted"}'
BATCHES = 40


def workers(service: ServiceProcess) -> list[psutil.Process]:
    """Return the worker processes that live."""
    children = psutil.Process(service.pid).children()
    return [each for each in children if each.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def service(kafka: KafkaCluster, topic_prefix: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    """Run two workers on Kafka."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, WORKERS="2")
    with ServiceProcess(env, folder=tmp_path) as service:
        await_true(lambda: figures(service).get("ingest_transport_ok", 0) == 1, "both serve")
        await_true(lambda: len(workers(service)) == 2, "both run")
        yield service


def send(service: ServiceProcess, count: int) -> list[str]:
    """Send `count` batches of one event, each on a new connection, and return the ids; all must be acknowledged."""
    ids = [new_id() for _ in range(count)]
    with ThreadPoolExecutor(8) as senders:
        statuses = set(senders.map(lambda each: post(service.url, batch(event(each))).status, ids))
    assert statuses == {202}
    return ids


def test_every_worker_serves_and_their_figures_are_added_up(
    service: ServiceProcess, kafka: KafkaCluster, topic_prefix: str
) -> None:
    """Each worker takes the traffic while the other stands still, and one page counts what both took."""
    sent = []
    for each in workers(service):
        each.suspend()
        try:
            sent += send(service, BATCHES)
            assert ready(service).status == 200
        finally:
            each.resume()
    await_true(lambda: figures(service)[ACCEPTED] == 2 * BATCHES, "all is counted")
    counted = figures(service)

    assert counted["ingest_events_received_total"] == 2 * BATCHES
    assert counted['ingest_events_stored_total{stored="replicated"}'] == 2 * BATCHES
    assert counted['ingest_requests_total{code="none",route="/events",status="202"}'] == 2 * BATCHES
    assert sorted(event_ids(read_topic(kafka.bootstrap, f"{topic_prefix}events"))) == sorted(sent)


def test_a_report_that_came_late_is_not_taken_for_the_present(service: ServiceProcess) -> None:
    """After a worker that stood still goes on, the page is as fresh as before."""
    first, _ = workers(service)
    first.suspend()
    figures(service)  # gives up waiting for it
    first.resume()
    send(service, BATCHES)

    assert figures(service)[ACCEPTED] == BATCHES


def test_a_killed_worker_is_replaced_and_no_counter_goes_back(service: ServiceProcess) -> None:
    """SIGKILL costs a worker, not the service: another takes its place, and what was counted stays counted."""
    send(service, BATCHES)
    before = figures(service)
    victim = workers(service)[0]
    victim.kill()
    await_true(lambda: victim.pid not in {each.pid for each in workers(service)}, "it is gone")
    shortly_after = figures(service)
    statuses = {ready(service).status}
    await_true(lambda: len(workers(service)) == 2, "another takes its place")
    await_true(lambda: figures(service).get("ingest_transport_ok", 0) == 1, "it serves")
    send(service, BATCHES)
    after = figures(service)

    totals = [name for name in before if "_total" in name or "_bucket" in name or "_count" in name]
    assert [name for name in totals if not before[name] <= shortly_after[name] <= after[name]] == []
    assert (before[ACCEPTED], after[ACCEPTED], statuses) == (BATCHES, 2 * BATCHES, {200})
    assert service.running


def test_sigterm_stops_all(service: ServiceProcess) -> None:
    """The supervisor ends with exit code 0 and no worker outlives it."""
    everyone = workers(service)
    send(service, BATCHES)
    code = service.stop()

    assert code == 0
    assert not any(each.is_running() for each in everyone)


def test_workers_stop_when_their_supervisor_is_killed(service: ServiceProcess) -> None:
    """Nobody restarts or measures orphans, so they end by themselves and free the port."""
    everyone = workers(service)
    os.kill(service.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(everyone, timeout=WAIT_S)

    assert alive == []
    with pytest.raises(ConnectionRefusedError):
        ask(service.url, "/health")


def test_several_workers_need_kafka(tmp_path: Path) -> None:
    """The local log has one writer: the start is refused in one line that names both settings."""
    done = run_command(["serve"], on_local_log(tmp_path, WORKERS="2"))
    (line,) = done.stderr.splitlines()

    assert done.returncode == 1
    assert "INGEST_WORKERS" in line
    assert "INGEST_KAFKA_BOOTSTRAP" in line


def test_workers_that_refuse_to_start_end_the_supervisor(
    kafka: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    """A configuration that no worker can serve under is exit code 1, not an endless row of restarts."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, WORKERS="2", PORT="0", ADMIN_PORT="0")
    done = run_command(["serve"], {**env, "INGEST_KAFKA_ALLOW_SINGLE_COPY": "false"})

    assert done.returncode == 1
    assert "3 copies" in done.stderr
    assert "Traceback" not in done.stderr
