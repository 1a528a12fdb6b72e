"""What the tests of the whole service share: its settings, small batches, and views of what it did."""

import asyncio
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from ingest.transport.sealed import SealKeys
from tests.support.service import ServiceProcess

APP = "app_test"
TIMESTAMP = "2026-11-24T10:00:00Z"
WAIT_S = 20.0
"""How long a test waits for what must come."""

_TICK_S = 0.02
_REGISTRY = f'[apps.{APP}]\nproject_id = "prj_test"\norganization_id = "org_test"\n'


class Answer(NamedTuple):
    """One answer, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def code(self) -> str:
        """The error code, empty where the answer is no error."""
        return str(self.json().get("error", {}).get("code", ""))

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)


class Operated(Protocol):
    """A process of ours with an admin surface."""

    @property
    def admin_url(self) -> str:
        """The admin surface, without a slash at the end."""


def registry(folder: Path) -> dict[str, str]:
    """Return the setting of a registry that knows `APP`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "apps.toml"
    path.write_text(_REGISTRY, encoding="utf-8")
    return {"INGEST_APPS_FILE": str(path)}


def on_kafka(bootstrap: str, prefix: str, folder: Path, **more: str) -> dict[str, str]:
    """Return the settings of an edge over Kafka; `more` names settings without their prefix."""
    return {
        **registry(folder),
        "INGEST_KAFKA_BOOTSTRAP": bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_TOPIC_PREFIX": prefix,
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        **{f"INGEST_{name}": value for name, value in more.items()},
    }


def on_local_log(folder: Path, **more: str) -> dict[str, str]:
    """Return the settings of an edge over the local log; `more` names settings without their prefix."""
    settings = {f"INGEST_{name}": value for name, value in more.items()}
    return {**registry(folder), "INGEST_SPOOL_KEY": SealKeys.generate(), **settings}


def new_id() -> str:
    """Return an event id that nobody else uses."""
    return uuid.uuid4().hex


def event(event_id: str, install_id: str = "install-1", **members: object) -> dict[str, object]:
    """Return a small event."""
    return {"event": "opened", "timestamp": TIMESTAMP, "event_id": event_id, "install_id": install_id, **members}


def batch(*events: Mapping[str, object]) -> bytes:
    """Return a batch as a client sends it."""
    return json.dumps({"events": events}).encode()


def ask(
    url: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = WAIT_S,
    *,
    method: str = "",
    tls: ssl.SSLContext | None = None,
    source: str = "",
) -> Answer:
    """Send one request on a connection of its own: a POST where there is a body, else a GET.

    On `https` with `tls`, and from the address `source` where one is named.
    """
    connection = connect(url, timeout_s, tls=tls, source=source)
    begun = time.monotonic()
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers or {}))
        response = connection.getresponse()
        text = response.read()
        told = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, told, text, time.monotonic() - begun)
    finally:
        connection.close()


def connect(
    url: str, timeout_s: float = WAIT_S, *, tls: ssl.SSLContext | None = None, source: str = ""
) -> http.client.HTTPConnection:
    """Return a connection that begins with its first request."""
    parts = urlsplit(url)
    host, port, own = parts.hostname or "", parts.port, (source, 0) if source else None
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=tls, source_address=own)
    return http.client.HTTPConnection(host, port, timeout=timeout_s, source_address=own)


def post(url: str, body: bytes, **headers: str) -> Answer:
    """Send a batch; `headers` are named with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(url, "/events", body, {"X-App-Id": APP, **named})


def stored(answer: Answer) -> str:
    """Return the promise that an answer gives, empty where it gives none."""
    return str(answer.json().get("stored", ""))


def is_drained(service: ServiceProcess) -> bool:
    """Tell whether nothing waits in the spools and new records go to Kafka."""
    told = figures(service)
    return not told['ingest_spool_records{state="waiting"}'] and not told["ingest_breaker_open"]


def assert_conserved(service: ServiceProcess) -> None:
    """Check that every event and every spooled record has exactly one fate, as the figures tell."""
    told = figures(service)
    events = {name: told[f'ingest_events_total{{outcome="{name}"}}'] for name in ("accepted", "duplicate", "rejected")}
    kept = {name: told[f'ingest_events_stored_total{{stored="{name}"}}'] for name in ("replicated", "spooled")}
    spool = {
        state: told[f'ingest_spool_records{{state="{state}"}}']
        for state in ("stored", "drained", "waiting", "set_aside", "erased")
    }

    assert told["ingest_events_received_total"] == sum(events.values())
    assert events["accepted"] == sum(kept.values())
    assert spool["stored"] == spool["drained"] + spool["waiting"] + spool["set_aside"] + spool["erased"]


def ready(service: Operated) -> Answer:
    """Ask whether it is ready."""
    return ask(service.admin_url, "/ready")


def figures(service: Operated) -> dict[str, float]:
    """Return the metrics by name and labels, such as `ingest_events_total{outcome="accepted"}`."""
    lines = ask(service.admin_url, "/metrics").body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def await_true(check: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
    """Ask again and again until `check` holds; fails when it does not in time."""
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(_TICK_S)


def read_topic(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """Return all records that are on a topic now, partition by partition."""

    async def read() -> list[ConsumerRecord]:
        async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            records: list[ConsumerRecord] = []
            while len(records) < sum(ends.values()):
                found = await consumer.getmany(timeout_ms=1_000)
                records += [record for each in found.values() for record in each]
            return records

    return asyncio.run(asyncio.wait_for(read(), WAIT_S))


def event_ids(records: Iterable[ConsumerRecord]) -> list[str]:
    """Return the event ids of records."""
    return [json.loads(record.value)["meta"]["event_id"] for record in records]


class Memory(NamedTuple):
    """A process's memory in MiB: resident now, and the most that it ever was."""

    resident_mib: float
    peak_mib: float


def memory(pid: int) -> Memory:
    """Read it from /proc."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if " kB" in value}
    return Memory(kib["VmRSS"] / 1024, kib["VmHWM"] / 1024)


def run_command(
    args: Iterable[str], env: Mapping[str, str], stdin: str = "", timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `python -m ingest ARGS` to its end with only these `INGEST_*` settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    return subprocess.run(
        [sys.executable, "-m", "ingest", *args],
        env={**inherited, **env},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
