import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from bench.cells import Account
from bench.connections import Connections, LoadError
from bench.floor_server import APPS
from bench.floors import STEPS, pipeline
from bench.load import Tally, closed_loop, open_loop
from bench.report import Report
from bench.workload import BODIES, workload

ROOT = Path(__file__).resolve().parents[2]
RUN_TIMEOUT_S = 60
BODY_BYTES_MAX = 2**20
SEEN = Account(
    server="edge",
    events=20,
    seconds=1.0,
    requests=2,
    statuses={202: 2},
    refused=0,
    spooled=0,
    accepted=40,
    grown=40,
    check="exact",
    generator_cores=0.1,
)


@contextmanager
def server(answer: bytes, status: int = 202) -> Iterator[tuple[int, list[int]]]:
    """Run an HTTP server that gives one answer; yields its port and the body lengths that it has read."""
    lengths: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body leave together, else each answer waits for a delayed acknowledgement

        def do_POST(self) -> None:
            lengths.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running.server_port, lengths
        finally:
            running.shutdown()
            thread.join()


def _load(kind: str, connections: Connections, requests: tuple[bytes, ...]) -> Tally:
    if kind == "closed":
        return closed_loop(connections, requests, 0.2)
    return open_loop(connections, requests, 200, 0.2)


@pytest.mark.usefixtures("postgres_programs")
def test_the_figures_on_keys() -> None:
    """The benchmark of keys runs through, compares both kinds of foreign keys and tables every kind of request."""
    run = subprocess.run(
        [sys.executable, "-m", "bench.keys", "--samples", "10", "--seconds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1.5 * RUN_TIMEOUT_S,
        check=False,
    )

    assert run.returncode in {0, 1}, run.stderr
    assert run.stdout.count("p = ") == 3, run.stderr
    for kind in ("good key", "SDK", "good key in the flood", "SDK in the flood", "wrong key in the flood"):
        assert f"| {kind} |" in run.stdout


def test_the_quick_floors_write_a_report(tmp_path: Path) -> None:
    """`--quick --only floors` ends well and leaves tables and a JSON with every floor at every size."""
    command = [sys.executable, "-m", "bench", "--quick", "--only", "floors", "--out", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=True)
    (json_path,) = tmp_path.glob("*.json")
    (text_path,) = tmp_path.glob("*.md")
    report = msgspec.json.decode(json_path.read_bytes(), type=Report)

    assert text_path.read_text() in finished.stdout
    assert {(name, events) for name in STEPS for events in (1, 20)} == {(it.name, it.events) for it in report.floors}
    assert all(0 < it.us_per_event_min <= it.us_per_event <= it.us_per_event_max for it in report.floors)
    cells = {(it.account.server, it.account.events): it for it in report.throughput}
    assert {(name, events) for name in APPS for events in (1, 20)} == set(cells)
    assert all(it.cpu_us_per_request > 0 and it.peak_mib > 0 and it.account.refused == 0 for it in cells.values())
    assert () == report.latency
    assert report.machine.cores > 0


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_every_answer_is_counted(kind: str) -> None:
    """The account holds exactly the requests that the server read and the events that it said it accepted."""
    load = workload(20)
    with (
        server(b'{"stored":"replicated","accepted":7,"duplicates":0}') as (port, lengths),
        Connections(port, 4) as opened,
    ):
        tally = _load(kind, opened, load.requests)

    assert {202: len(lengths)} == tally.statuses
    assert 7 * len(lengths) == tally.accepted
    assert set(lengths) <= set(map(len, load.bodies))
    assert (len(lengths) if kind == "open" else 0) == len(tally.latencies_s)


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_refused_and_spooled_batches_are_told_apart(kind: str) -> None:
    """A refusal adds nothing to what was accepted, and a spooled batch is counted as such."""
    requests = workload(1).requests
    with server(b'{"error":{}}', 503) as (port, lengths), Connections(port, 2) as opened:
        refused = _load(kind, opened, requests)
        assert len(lengths) == refused.refused
    with server(b'{"stored":"spooled","accepted":1,"duplicates":0}') as (port, lengths), Connections(port, 2) as opened:
        spooled = _load(kind, opened, requests)
        assert len(lengths) == spooled.spooled

    assert 0 == refused.accepted
    assert 0 == spooled.refused


def test_latency_counts_from_the_moment_a_request_was_due() -> None:
    """Of requests that are all due at once on one connection, the last has waited for the whole of the others."""
    requests = workload(1).requests
    with server(b'{"accepted":1,"duplicates":0}') as (port, _), Connections(port, 1) as opened:
        tally = open_loop(opened, requests, 100_000, 0.001)

    assert tally.waited > tally.requests / 2
    assert max(tally.latencies_s) > tally.seconds / 2


def test_a_broken_connection_ends_the_load() -> None:
    """A server that closes connections instead of answering makes no figure."""
    requests = (b"POST /events HTTP/1.0\r\nContent-Length: 0\r\n\r\n",)
    with (
        server(b"{}") as (port, _),
        Connections(port, 1) as opened,
        pytest.raises(LoadError, match=r"instead of answering|while a request was sent"),
    ):
        closed_loop(opened, requests, 5)


@pytest.mark.parametrize(
    "change", [{"refused": 1}, {"spooled": 1}, {"grown": 39, "check": "DIFFERS"}], ids=["refused", "spooled", "lost"]
)
def test_a_cell_that_cannot_be_believed_says_so(change: dict[str, object]) -> None:
    """Any refusal, any spooled batch and any difference to the topic is a fault; a clean cell has none."""
    assert SEEN.fault() is None
    assert msgspec.structs.replace(SEEN, **change).fault() is not None


@pytest.mark.parametrize("events", BODIES)
def test_all_events_of_the_bodies_become_records(events: int) -> None:
    """The bodies are different, hold the events they promise under the service's limits, and none is rejected."""
    load = workload(events)
    ids = [event["event_id"] for body in load.bodies for event in json.loads(body)["events"]]

    assert BODIES[events] * events == len(set(ids)) == len(ids)
    assert max(map(len, load.bodies)) < BODY_BYTES_MAX
    assert events == len(pipeline(load.bodies[0]))
