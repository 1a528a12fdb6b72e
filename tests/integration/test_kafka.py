import itertools
import json
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple, Self
from zlib import crc32

import pytest
from aiokafka import ConsumerRecord

from devservices.kafka import KafkaCluster
from tests.integration.edge import (
    APP,
    WAIT_S,
    Answer,
    ask,
    assert_conserved,
    await_true,
    batch,
    event,
    event_ids,
    figures,
    is_drained,
    new_id,
    on_kafka,
    post,
    read_topic,
    ready,
    stored,
)
from tests.support.service import ServiceProcess

LOG_APPEND_TIME: Final = 1
ACK_DEADLINE_S: Final = 1.0
MARGIN_S: Final = 1.5
"""What a busy machine may take on top of a deadline."""

PARTITIONS: Final = 5
REQUESTS: Final = 300
AT_ONCE: Final = 24
INSTALLS: Final = 40


class Written(NamedTuple):
    """What two processes were sent at once, and what is on the topic afterwards."""

    answers: list[Answer]
    sent_ids: list[str]
    records: list[ConsumerRecord]
    ids_by_process: tuple[frozenset[str], ...]
    accepted: float


def short(kafka: KafkaCluster, prefix: str, folder: Path, **more: str) -> dict[str, str]:
    """Return settings with a short ack deadline."""
    deadline_ms = str(int(ACK_DEADLINE_S * 1000))
    return on_kafka(kafka.bootstrap, prefix, folder, **{"ACK_DEADLINE_MS": deadline_ms, **more})


@pytest.fixture(scope="module")
def written(kafka: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Send hundreds of batches, many at once, to two processes in turn."""
    folder, prefix = tmp_path_factory.mktemp("written"), f"w{new_id()[:8]}."
    env = on_kafka(kafka.bootstrap, prefix, folder, TOPIC_PARTITIONS=str(PARTITIONS))
    ids = [[new_id() for _ in range(number % 12 + 1)] for number in range(REQUESTS)]
    with ServiceProcess(env, folder=folder / "a") as one, ServiceProcess(env, folder=folder / "b") as other:

        def send(number: int) -> Answer:
            service = (one, other)[number % 2]
            events = [event(each, f"install-{at * 7 % INSTALLS}") for at, each in enumerate(ids[number], number // 2)]
            return post(service.url, batch(*events))

        with ThreadPoolExecutor(AT_ONCE) as senders:
            answers = list(senders.map(send, range(REQUESTS)))
        accepted = sum(figures(service)['ingest_events_total{outcome="accepted"}'] for service in (one, other))
    by_process = tuple(frozenset(itertools.chain.from_iterable(ids[first::2])) for first in (0, 1))
    records = read_topic(kafka.bootstrap, f"{prefix}events")
    return Written(answers, list(itertools.chain.from_iterable(ids)), records, by_process, accepted)


def test_what_was_acknowledged_is_there_exactly_once(written: Written) -> None:
    """Every batch is answered as replicated, and the topic holds each event once and no other."""
    assert {(answer.status, answer.json()["stored"]) for answer in written.answers} == {(202, "replicated")}
    assert Counter(event_ids(written.records)) == Counter(written.sent_ids)
    assert written.accepted == len(written.sent_ids)


def test_a_key_has_one_partition_in_every_process(written: Written) -> None:
    """The key is app and installation, and its CRC-32 chooses the partition, whichever process wrote the record."""
    partitions = defaultdict(set)
    processes = defaultdict(set)
    for record, event_id in zip(written.records, event_ids(written.records), strict=True):
        install = json.loads(record.value)["event"]["install_id"]
        assert record.key == f"{APP}:{install}".encode()
        partitions[record.key].add(record.partition)
        processes[record.key].add(event_id in written.ids_by_process[0])

    assert dict(partitions) == {key: {crc32(key) % PARTITIONS} for key in partitions}
    assert len(partitions) == INSTALLS
    assert set(map(len, processes.values())) == {2}
    assert {record.partition for record in written.records} == set(range(PARTITIONS))


def test_a_record_names_its_schema_and_is_stamped_with_its_arrival(written: Written) -> None:
    """The header is `schema=event/1`, and the broker's clock stamps the record: retention counts from there."""
    for record in written.records:
        received = datetime.fromisoformat(json.loads(record.value)["meta"]["received_at"])
        assert record.headers == (("schema", b"event/1"),)
        assert record.timestamp_type == LOG_APPEND_TIME
        assert record.timestamp >= round(received.timestamp() * 1000)


class Sender:
    """A client that sends batch after batch, each on a thread of its own, and keeps what it was answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = ThreadPoolExecutor(64)
        self._ended = threading.Event()
        self.sent: list[tuple[str, Future[Answer]]] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            event_id = new_id()
            self.sent.append((event_id, self._pool.submit(post, self._url, batch(event(event_id)))))

    def answers(self) -> dict[str, Answer]:
        """Wait for all answers and return them by event id."""
        return {event_id: answer.result(WAIT_S) for event_id, answer in self.sent}

    def spooled(self) -> bool:
        """Tell whether an answer has come that promises the local disk alone."""
        return any(answer.done() and stored(answer.result()) == "spooled" for _, answer in list(self.sent))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._pool.shutdown()


def pause(kafka: KafkaCluster) -> Callable[[], None]:
    """Freeze the broker; the answer lets it go on."""
    kafka.brokers[0].pause()
    return kafka.brokers[0].resume


def kill(kafka: KafkaCluster) -> Callable[[], None]:
    """Kill the broker; the answer starts it again on the same port and data."""
    kafka.brokers[0].kill()
    return kafka.brokers[0].restart


Break = Callable[[KafkaCluster], Callable[[], None]]


@pytest.fixture
def broken(kafka: KafkaCluster) -> Iterator[Callable[[Break], Callable[[], None]]]:
    """Provide a way to break Kafka that is surely mended at the end."""
    mends: list[Callable[[], None]] = []

    def break_(how: Break) -> Callable[[], None]:
        mends.append(how(kafka))

        def mend() -> None:
            if mends:
                mends.pop()()

        return mend

    yield break_
    for each in mends:
        each()
    kafka.brokers[0].await_ready(frozenset(), WAIT_S)


@pytest.mark.parametrize("how", [pause, kill])
def test_an_outage_is_bridged_by_the_spool_and_ends_by_itself(
    kafka: KafkaCluster, broken: Callable[[Break], Callable[[], None]], topic_prefix: str, tmp_path: Path, how: Break
) -> None:
    """Without Kafka every batch is spooled and answered in time; when it is back all of them come to it."""
    with ServiceProcess(short(kafka, topic_prefix, tmp_path), folder=tmp_path) as service:
        with Sender(service.url) as sender:
            await_true(lambda: len(sender.sent) > 5, "some are sent before")
            mend = broken(how)
            await_true(sender.spooled, "a spooled batch")
            outage = ready(service)
            mend()
        await_true(lambda: is_drained(service), "the spool is drained although nothing is sent")
        assert_conserved(service)
        after = post(service.url, batch(event("after")))
        code = service.stop()
    answers = sender.answers()
    there = set(event_ids(read_topic(kafka.bootstrap, f"{topic_prefix}events")))

    assert outage.status == 200
    assert {answer.status for answer in answers.values()} == {202}
    assert max(answer.seconds for answer in answers.values()) < ACK_DEADLINE_S + MARGIN_S
    assert set(answers) <= there
    assert (stored(after), code) == ("replicated", 0)


@pytest.mark.parametrize("how", [pause, kill])
def test_kafka_may_come_later_than_the_service(
    kafka: KafkaCluster, broken: Callable[[Break], Callable[[], None]], topic_prefix: str, tmp_path: Path, how: Break
) -> None:
    """Started while Kafka is away the process takes events into the spool, and moves them as soon as it can."""
    mend = broken(how)
    with ServiceProcess(short(kafka, topic_prefix, tmp_path), folder=tmp_path) as service:
        away = ready(service)
        early = post(service.url, batch(event("early")))
        mend()
        await_true(lambda: is_drained(service), "the spool is drained")
        await_true(lambda: stored(post(service.url, batch(event("late")))) == "replicated", "Kafka is used again")
        healthy = ask(service.url, "/health")

    assert (away.status, healthy.status) == (200, 200)
    assert (early.status, stored(early)) == (202, "spooled")
    assert {"early", "late"} == set(event_ids(read_topic(kafka.bootstrap, f"{topic_prefix}events")))


def hold(service: ServiceProcess, senders: ThreadPoolExecutor, count: int) -> "dict[str, Future[Answer]]":
    """Send `count` batches and wait until all of them are being answered."""
    held = {event_id: senders.submit(post, service.url, batch(event(event_id))) for event_id in map(str, range(count))}
    await_true(lambda: figures(service)["ingest_in_flight_requests"] == count, "all are in flight")
    return held


def test_sigterm_answers_what_is_in_flight(
    kafka: KafkaCluster, broken: Callable[[Break], Callable[[], None]], topic_prefix: str, tmp_path: Path
) -> None:
    """Requests that wait for Kafka when the stop is asked for are stored and answered before the process ends."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, ACK_DEADLINE_MS="4500", STALL_MS="4500")
    with ServiceProcess(env, folder=tmp_path) as service, ThreadPoolExecutor(20) as senders:
        mend = broken(pause)
        held = hold(service, senders, 20)
        service.terminate()
        await_true(lambda: ready(service).status == 503, "the stop has begun")
        mend()
        answers = {(answer.result(WAIT_S).status, stored(answer.result())) for answer in held.values()}
        code = service.wait(WAIT_S)

    assert (answers, code) == ({(202, "replicated")}, 0)
    assert sorted(event_ids(read_topic(kafka.bootstrap, f"{topic_prefix}events"))) == sorted(held)


def test_sigterm_ends_in_time_without_kafka(
    kafka: KafkaCluster, broken: Callable[[Break], Callable[[], None]], topic_prefix: str, tmp_path: Path
) -> None:
    """While Kafka is frozen and a client drips, what came is spooled, and the end is within the drain timeout."""
    drain_s = 4.0
    env = short(kafka, topic_prefix, tmp_path, DRAIN_TIMEOUT_MS=str(int(drain_s * 1000)))
    with ServiceProcess(env, folder=tmp_path) as service, ThreadPoolExecutor(20) as senders:
        broken(pause)
        held = hold(service, senders, 10)
        with socket.create_connection((service.settings["INGEST_HOST"], int(service.settings["INGEST_PORT"]))) as slow:
            slow.sendall(
                f"POST /events HTTP/1.1\r\nhost: edge\r\nx-app-id: {APP}\r\ncontent-length: 9\r\n\r\n".encode()
            )
            await_true(lambda: figures(service)["ingest_in_flight_requests"] >= 11, "the slow one is in flight too")
            service.terminate()
            code = service.wait(drain_s)
        answers = [answer.result(WAIT_S) for answer in held.values()]

    assert code == 0
    assert {(answer.status, stored(answer)) for answer in answers} == {(202, "spooled")}


def test_a_second_signal_hurries_and_loses_nothing(
    kafka: KafkaCluster, broken: Callable[[Break], Callable[[], None]], topic_prefix: str, tmp_path: Path
) -> None:
    """What waits for a frozen Kafka is spooled and answered at once, and comes to Kafka from the next process."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, ACK_DEADLINE_MS="4500", STALL_MS="4500")
    with ServiceProcess(env, folder=tmp_path) as service, ThreadPoolExecutor(20) as senders:
        mend = broken(pause)
        held = hold(service, senders, 10)
        service.terminate()
        await_true(lambda: ready(service).status == 503, "the stop has begun")
        service.terminate()
        answers = {stored(answer.result(WAIT_S)) for answer in held.values()}
        slowest_s = max(answer.result().seconds for answer in held.values())
        code = service.wait(WAIT_S)
    mend()
    with ServiceProcess(service.settings, folder=tmp_path) as service:
        await_true(lambda: is_drained(service), "the spool is drained")

    assert (answers, code) == ({"spooled"}, 0)
    assert slowest_s < 4.0
    assert set(held) <= set(event_ids(read_topic(kafka.bootstrap, f"{topic_prefix}events")))


def test_the_largest_event_is_stored_and_a_larger_one_is_rejected_alone(
    kafka: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    """The limit of an event lies below that of a record, so that no batch fails for the size of one event."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, EVENT_BYTES_MAX="900000", BODY_BYTES_MAX="4MiB")
    with ServiceProcess(env, folder=tmp_path) as service:
        events = [event("large", text="x" * 899_800), event("larger", text="x" * 900_100), event("small")]
        answer = post(service.url, batch(*events))

    told = answer.json()
    assert (answer.status, told["accepted"]) == (202, 2)
    assert [(each["index"], each["code"]) for each in told["rejected"]] == [(1, "TOO_LARGE")]
    assert set(event_ids(read_topic(kafka.bootstrap, f"{topic_prefix}events"))) == {"large", "small"}
