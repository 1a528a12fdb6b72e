"""The floors without HTTP: CPU of this process for the work on a batch, each step on top of the one before."""

import gc
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from statistics import median
from typing import Any, Final
from zlib import crc32

import msgspec
from aiokafka.producer.message_accumulator import BatchBuilder

from bench.topic import PARTITIONS
from bench.workload import Workload
from ingest.edge.memory import GC_THRESHOLDS
from ingest.event import Record
from ingest.pipeline.decode import decode
from ingest.pipeline.process import process
from ingest.pipeline.request import NO_AGENT, Limits, Region, Request
from ingest.registry.model import App
from ingest.settings import Settings
from ingest.transport.contract import SCHEMA
from normalize import OwnAddresses

ROUND_REQUESTS: Final = 32
"""Requests whose records share Kafka's batches: as many as there are connections."""

_BATCH_BYTES_MAX: Final = 64 * 2**20
_HEADERS: Final = list(SCHEMA)
_RECEIVED_AT: Final = "2026-11-24T08:00:00.000Z"
_RECEIVED_MS: Final = 1_795_507_200_000

Work = Callable[[bytes], list[Record]]

_decode = msgspec.json.Decoder().decode
_encode_into = msgspec.json.Encoder().encode_into
_scratch = bytearray(4096)
_settings = Settings()
_limits = Limits(_settings.events_per_batch_max, _settings.event_bytes_max, _settings.nesting_max)
_app = App(id="app_demo", project_id="prj_demo", organization_id="org_demo")
_own = OwnAddresses([ip_address("203.0.113.7")])


class Floor(msgspec.Struct, frozen=True):
    """CPU microseconds of one event; the range is that of the rounds."""

    name: str
    events: int
    us_per_event: float
    us_per_event_min: float
    us_per_event_max: float


def decode_only(body: bytes) -> list[Record]:
    """Decode the batch, and no more."""
    _decode(body)
    return []


def decode_hash_encode(body: bytes) -> list[Record]:
    """Do the least that turns a batch into records: digests for email and phone, two members more, encoded again."""
    records = []
    for event in _decode(body)["events"]:
        _hash(event["properties"])
        event["received_at"], event["country"] = _RECEIVED_AT, "DE"
        _encode_into(event, _scratch)
        records.append(Record(event["install_id"].encode(), bytes(_scratch)))
    return records


def _hash(properties: dict[str, Any]) -> None:
    email, phone = properties.pop("email", None), properties.pop("phone", None)
    if email is not None:
        properties["email_sha256"] = hashlib.sha256(email.strip().lower().encode()).hexdigest()
    if phone is not None:
        digits = "".join(filter(str.isdecimal, phone))
        properties["phone_sha256"] = hashlib.sha256(digits.encode()).hexdigest()


def pipeline(body: bytes) -> list[Record]:
    """Do what the service does between a request's body and the transport."""
    request = Request(
        app=_app,
        request_id="req_01JDEZ0000000000000000000B",
        received_at=_RECEIVED_AT,
        region=Region("DE", "BE"),
        agent=NO_AGENT,
        own=_own,
        environment="production",
        sdk="ios/4.2.0",
    )
    return process(decode(body, events_max=_limits.events_max), request, _limits).records


def append_and_build(rounds: Sequence[list[Record]]) -> None:
    """Append the records of several requests to a Kafka batch a partition, and build these for the wire."""
    batches = [BatchBuilder(_BATCH_BYTES_MAX, 0) for _ in range(PARTITIONS)]
    for records in rounds:
        for record in records:
            batches[crc32(record.key) % PARTITIONS].append(
                timestamp=_RECEIVED_MS, key=record.key, value=record.value, headers=_HEADERS
            )
    for batch in batches:
        batch._build()  # noqa: SLF001 - what the producer calls before it sends


def _working(work: Work) -> Callable[[Sequence[bytes]], None]:
    def step(bodies: Sequence[bytes]) -> None:
        for body in bodies:
            work(body)

    return step


def _publishing(work: Work) -> Callable[[Sequence[bytes]], None]:
    def step(bodies: Sequence[bytes]) -> None:
        for begin in range(0, len(bodies), ROUND_REQUESTS):
            append_and_build([work(body) for body in bodies[begin : begin + ROUND_REQUESTS]])

    return step


STEPS: Final[dict[str, Callable[[Sequence[bytes]], None]]] = {
    "decode": _working(decode_only),
    "decode, hash, encode": _working(decode_hash_encode),
    "the same, append, build": _publishing(decode_hash_encode),
    "pipeline": _working(pipeline),
    "pipeline, append, build": _publishing(pipeline),
}


def measure(loads: Sequence[Workload], *, rounds: int, seconds: float) -> Iterator[Floor]:
    """Yield every floor at every size, the steps taking turns; each gets `rounds` times `seconds` of wall time."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        for load in loads:
            costs: dict[str, list[float]] = {name: [] for name in STEPS}
            for _ in range(rounds):
                for name, step in STEPS.items():
                    costs[name].append(_cost_us(step, load, seconds))
            for name, each in costs.items():
                yield Floor(name, load.events, median(each), min(each), max(each))
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _cost_us(step: Callable[[Sequence[bytes]], None], load: Workload, seconds: float) -> float:
    """Return the CPU microseconds of one event, over whole passes through the bodies."""
    step(load.bodies)
    passes, until, begin = 0, time.perf_counter() + seconds, time.process_time()
    while passes == 0 or time.perf_counter() < until:
        step(load.bodies)
        passes += 1
    return (time.process_time() - begin) / (passes * len(load.bodies) * load.events) * 1e6
