"""Plants identifiers everywhere, and finds them nowhere: in answers, records, logs, metrics and files."""

import asyncio
import base64
import json
import re
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from aiokafka import AIOKafkaConsumer

from devservices.kafka import KafkaCluster
from devservices.ports import free_ports
from ingest.cli.dev import EXAMPLES
from ingest.transport import spool_view
from ingest.transport.contract import Delivered, Topic
from ingest.transport.local_source import LocalLogSource
from ingest.transport.sealed import SealKeys
from normalize import email_digest, phone_digests
from tests.journey.caller import Caller
from tests.journey.canary import (
    DEVICE,
    EMAIL,
    EXEMPT,
    NOT_HTTP,
    PEER,
    PHONE,
    USER,
    V4,
    V6,
    ZERO_ID,
    advertising_ids,
    allowed_id,
    attempts,
    device_id,
    leaks,
)
from tests.support.service import ServiceProcess

FORWARDING = """
[apps.app_demo.forward.meta]
enabled = true
dataset_id = "123"

[apps.app_demo.event_map.meta]
view = "ViewContent"
"""
FORWARDED = {"X-Forwarded-For": f"{V6}, {V4}"}
CONNECTING = {"CF-Connecting-IP": V6, "X-Forwarded-For": V4}
V4_SPELLINGS = (V4, "203.000.113.077", f"::ffff:{V4}", "[::FFFF:CB00:714D]")
V6_SPELLINGS = (V6, V6.upper(), "2001:0db8:dead:beef:0000:0000:0000:0077", f"[{V6}]:443", f"{V6}%eth0")
PEER_SPELLINGS = (PEER, "127.099.088.077", f"::ffff:{PEER}", "::ffff:7f63:584d")


class Sent(NamedTuple):
    """What was sent and answered."""

    answers: list[tuple[str, bytes]]
    accepted: int


def registry(folder: Path) -> dict[str, str]:
    """Return the setting of the example's registry, whose app forwards nearly everything here."""
    path = folder / "apps.toml"
    path.write_text((EXAMPLES / "apps.toml").read_text(encoding="utf-8") + FORWARDING, encoding="utf-8")
    return {"INGEST_APPS_FILE": str(path)}


def send_all(service: ServiceProcess, own: tuple[str, ...], proxies: list[dict[str, str]]) -> Sent:
    """Send every attempt; the headers of proxies take turns. Each must get the status that it expects."""
    caller = Caller(service.url, source=PEER)
    answers, accepted = [], 0
    for number, attempt in enumerate(attempts(own)):
        said = proxies[number % len(proxies)]
        headers = {"X-App-Id": "app_demo", **said, **attempt.headers}
        answer = caller.send(attempt.method, attempt.path, attempt.body, headers)
        assert answer.status == attempt.status, (attempt.place, answer.raw)
        answers.append((attempt.place, answer.raw))
        accepted += answer.json()["accepted"] if answer.status == 202 else 0
    for text in NOT_HTTP:
        answer = caller.say(text)
        assert answer.status == 400, answer.raw
        answers.append(("not HTTP", answer.raw))
    return Sent(answers, accepted)


def admin_outputs(service: ServiceProcess) -> Iterator[tuple[str, bytes]]:
    """Read what operators are told."""
    for path in ("/metrics", "/ready", "/live"):
        with urllib.request.urlopen(service.admin_url + path, timeout=10) as answer:  # noqa: S310 - our own service
            yield path, answer.read()


def outputs_on_disk(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Read every file that the service left, its own output included."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.name, path.read_bytes()


def record_outputs(records: list[Delivered]) -> Iterator[tuple[str, bytes]]:
    """Return records in parts; what may stand in one member alone is judged, and taken out, first."""
    for record in records:
        # An app's own user id is also what its events are ordered by, so the key may carry it.
        yield "key", record.key.replace(f"app_demo:{USER}".encode(), b"app_demo:")
        yield "headers", b"".join(name.encode() + b"=" + held for name, held in record.headers)
        value = json.loads(record.value)
        taken = take_exempt(value) if USER in record.value.decode() else False
        if record.topic is Topic.FORWARD:
            taken |= take_allowed(value)
        yield "value", json.dumps(value, ensure_ascii=False).encode() if taken else record.value


def take_exempt(value: Any) -> bool:
    """Take the members out that are kept whatever they hold; in a conversion some of them stand at the top."""
    event = value["event"]
    held = [holder.pop(name) for holder in (event, event.get("properties", {})) for name in EXEMPT if name in holder]
    assert set(held) == {USER}
    return True


def take_allowed(value: Any) -> bool:
    """Take the advertising id out of a conversion: there must be one exactly where one may be handed on."""
    event, allowed = value["event"], allowed_id(value["meta"]["event_id"])
    assert {name: event.pop(name) for name in ("idfa", "gaid") if name in event} == allowed, value["meta"]
    return bool(allowed)


def assert_nothing_leaks(outputs: Iterable[tuple[str, bytes]]) -> None:
    """Fail with every place in which something was found, and what. All at once is searched first, which is quick."""
    named = list(outputs)
    if leaks(b"\n\n".join(data for _, data in named)):
        found = {place: what for place, data in named if (what := leaks(data))}
        assert found == {}, "found only across two outputs" if not found else "found"


def assert_digests_arrived(records: list[Delivered]) -> None:
    """Check that the canary was alive: the identifiers did come in, and left as digests."""
    everything = b"".join(record.value for record in records)
    digests = phone_digests(PHONE)
    assert digests is not None
    for digest in (email_digest(EMAIL), digests.digits, digests.e164):
        assert str(digest).encode() in everything
    assert USER.encode() in everything


def counted_conversions(outputs: Iterable[tuple[str, bytes]]) -> int:
    """Return how many conversions the service says that it has stored."""
    (figure,) = re.findall(
        rb'^ingest_conversions_total{platform="meta"} ([0-9.]+)$', dict(outputs)["/metrics"], re.MULTILINE
    )
    return int(float(figure))


def assert_conversions_are_complete(records: list[Delivered], accepted: int, conversions: int) -> None:
    """Check that each event of the name that is forwarded has its conversion, and no other one has any.

    Records count once, also where Kafka has them twice because it was slow.
    """
    events, found = (of_topic(records, topic) for topic in (Topic.EVENTS, Topic.FORWARD))

    assert found == {identity: each for identity, each in events.items() if each == "view"}
    assert (len(events), len(found)) == (accepted, conversions)
    handed_on = {event_id.partition(":")[0] for _, event_id, _ in found if allowed_id(event_id)}
    assert handed_on == {"idfa", "gaid"}


def of_topic(records: list[Delivered], topic: Topic) -> dict[tuple[str, str, str], Any]:
    """Return the names of events by their identity within the run."""
    values = [json.loads(each.value) for each in records if each.topic is topic]
    return {
        (each["meta"]["request_id"], each["meta"]["event_id"], each["event"]["timestamp"]): each["event"].get("event")
        for each in values
    }


def read_local_log(folder: Path) -> list[Delivered]:
    """Open the chunks of all topics with the key that `dev` made."""
    keys = SealKeys.parse((folder / "spool.key").read_text(encoding="ascii"))

    async def read() -> list[Delivered]:
        found: list[Delivered] = []
        for topic in Topic:
            source = LocalLogSource(folder / "log", keys, topic, None)
            await source.start()
            while some := await source.poll(100_000, 0):
                found.extend(some)
            await source.close()
        return found

    return asyncio.run(read())


def read_kafka(bootstrap: str, prefix: str, count: int) -> list[Delivered]:
    """Read at least `count` records from the topics that begin with `prefix`, and whatever follows at once."""

    async def read() -> list[Delivered]:
        found: list[Delivered] = []
        async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
            consumer.subscribe(sorted(name for name in await consumer.topics() if name.startswith(prefix)))
            while some := await consumer.getmany(timeout_ms=20_000 if len(found) < count else 200):
                for place, batch in some.items():
                    for each in batch:
                        parts = each.key, each.value, tuple(each.headers)
                        topic = Topic(place.topic.removeprefix(prefix))
                        found.append(Delivered(topic, place.partition, each.offset, each.timestamp, *parts))
        return found

    return asyncio.run(read())


def test_nothing_planted_leaves_by_the_local_log(tmp_path: Path) -> None:
    """Behind a trusted proxy, with the embedded log: no answer, record, file, line or figure holds an identifier."""
    own = (*V4_SPELLINGS, *V6_SPELLINGS)
    with ServiceProcess({**registry(tmp_path), "INGEST_LOG_LEVEL": "debug"}, folder=tmp_path, args=("dev",)) as service:
        sent = send_all(service, own, [FORWARDED, CONNECTING])
        told = list(admin_outputs(service))
        raw_while_open = list(outputs_on_disk(tmp_path))
    records = read_local_log(tmp_path / "data")

    assert_conversions_are_complete(records, sent.accepted, counted_conversions(told))
    assert_digests_arrived(records)
    assert_nothing_leaks(told)
    assert_nothing_leaks(sent.answers)
    assert_nothing_leaks(record_outputs(records))
    assert_nothing_leaks(raw_while_open)
    assert_nothing_leaks(outputs_on_disk(tmp_path))


def test_nothing_planted_leaves_by_kafka(tmp_path: Path, kafka: KafkaCluster, topic_prefix: str) -> None:
    """With nobody trusted, on a real broker: the client's own address is the socket's, a proxy's word is dropped."""
    env = {
        **registry(tmp_path),
        "INGEST_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        "INGEST_TOPIC_PREFIX": topic_prefix,
        "INGEST_LOG_LEVEL": "debug",
    }
    with ServiceProcess(env, folder=tmp_path) as service:
        sent = send_all(service, PEER_SPELLINGS, [FORWARDED, CONNECTING, {"X-Forwarded-For": PEER}])
        told = list(admin_outputs(service))
    records = read_kafka(kafka.bootstrap, topic_prefix, sent.accepted + counted_conversions(told))

    assert_conversions_are_complete(records, sent.accepted, counted_conversions(told))
    assert_digests_arrived(records)
    assert_nothing_leaks(told)
    assert_nothing_leaks(sent.answers)
    assert_nothing_leaks(record_outputs(records))
    assert_nothing_leaks(outputs_on_disk(tmp_path))


def test_an_advertising_id_waits_sealed_in_the_spool(tmp_path: Path) -> None:
    """While Kafka is away: the spool's files hold none, and once opened only the conversions that may have one do."""
    (nobody,) = free_ports(1)
    env = {
        **registry(tmp_path),
        "INGEST_KAFKA_BOOTSTRAP": f"127.0.0.1:{nobody}",
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        "INGEST_LOG_LEVEL": "debug",
    }
    with ServiceProcess(env, folder=tmp_path) as service:
        caller = Caller(service.url, source=PEER)
        answers = [
            caller.send(a.method, a.path, a.body, {"X-App-Id": "app_demo", **a.headers}) for a in advertising_ids()
        ]
        assert {answer.json()["stored"] for answer in answers} == {"spooled"}
        told = [*admin_outputs(service), *outputs_on_disk(tmp_path)]
    folder = tmp_path / "data" / "spool" / "0"
    waiting = list(spool_view.records(folder, SealKeys.parse(env["INGEST_SPOOL_KEY"])))
    records = [each for each in waiting if isinstance(each, Delivered)]

    assert len(records) == len(waiting)
    assert DEVICE.encode() in b"".join(each.value for each in records)
    accepted = sum(answer.json()["accepted"] for answer in answers)
    assert_conversions_are_complete(records, accepted, counted_conversions(told))
    assert_nothing_leaks([*told, *(("answer", answer.raw) for answer in answers)])
    assert_nothing_leaks(record_outputs(records))
    assert_nothing_leaks(outputs_on_disk(tmp_path))


PLANTS = (V4, V6, EMAIL, PHONE, PEER, USER, "+14155550132", "::FFFF:CB00:714D", device_id(7), ZERO_ID)


@pytest.mark.parametrize("plant", PLANTS)
def test_the_search_finds_what_is_planted(plant: str) -> None:
    """In an output of each kind the search would not miss it, however it is written; and it finds nothing else."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in plant)
    forms = [plant, plant.upper(), plant.lower(), quote(plant, safe=""), quote(quote(plant, safe=""), safe=""), escaped]
    if plant in (V4, V6, EMAIL, PHONE, PEER, USER, device_id(7)):
        forms.append(plant.encode().hex())
        for shift in range(6):
            padded = b"x" * shift + plant.encode() + b"y" * shift
            forms += [base64.b64encode(padded).decode(), base64.urlsafe_b64encode(padded).decode()]
    for form in forms:
        assert leaks(f'{{"event": {{"note": "by {form}, "}}}}'.encode()), form


def test_the_search_finds_nothing_where_nothing_is() -> None:
    """Digests, other addresses and times are no leak."""
    digests = phone_digests(PHONE)
    clean = f"{email_digest(EMAIL)} {digests} 198.51.100.7 2026-11-24T10:00:00.123Z {base64.b64encode(b'x' * 99)!r}"
    assert leaks(clean.encode()) == set()


def test_a_leak_in_a_record_or_an_answer_fails_the_canary() -> None:
    """The parts that are judged are all that a record and an answer have; an exempt member excuses no other."""
    value = {"meta": {}, "event": {**dict.fromkeys(EXEMPT, USER), "properties": dict.fromkeys(EXEMPT, USER)}}
    leaky = [
        (b"app_demo:" + EMAIL.encode(), b"{}", ()),
        (b"app_demo:1", json.dumps({"event": {"a": V4}}).encode(), ()),
        (b"app_demo:1", b"{}", (("schema", PHONE.encode()),)),
        (b"app_demo:1", json.dumps(value | {"meta": {"sdk": USER}}).encode(), ()),
        (b"app_demo:1", json.dumps({"event": {"idfa": device_id(1)}}).encode(), ()),
    ]
    for parts in leaky:
        record = Delivered(Topic.EVENTS, 0, 0, 0, *parts)
        with pytest.raises(AssertionError):
            assert_nothing_leaks(record_outputs([record]))
    for event_id, kind in [("gaid:1", "idfa"), ("none:1", "gaid"), ("gaid:2", "gaid")]:
        handed_on = {"meta": {"event_id": event_id}, "event": {kind: device_id(1)}}
        with pytest.raises(AssertionError):
            assert_nothing_leaks(
                record_outputs([Delivered(Topic.FORWARD, 0, 0, 0, b"app_demo:1", json.dumps(handed_on).encode(), ())])
            )
    assert_nothing_leaks(
        record_outputs([Delivered(Topic.EVENTS, 0, 0, 0, f"app_demo:{USER}".encode(), json.dumps(value).encode(), ())])
    )
    with pytest.raises(AssertionError):
        assert_nothing_leaks([("answer", b"HTTP/1.1 400 Bad Request\r\n\r\n" + quote(EMAIL).encode())])
