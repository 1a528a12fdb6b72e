"""Bodies that are made to hurt: each is answered, its cost is bounded, and the next client notices nothing."""

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

import brotli
import psutil
import pytest
import zstandard

from tests.integration.edge import APP, Answer, ask, batch, event, figures, memory, new_id, on_local_log, post
from tests.support.service import ServiceProcess

RESIDENT_MIB_MAX: Final = 192
"""What the service may hold after any attack; it starts with about 70 MiB."""

PEAK_MIB_MAX: Final = 320
"""What it may hold at any moment: a body of 5 MiB can decode to some 120 MiB of empty objects."""

CPU_S_MAX: Final = 3.0
"""What one request may cost; measured is at most a third of it."""

TEXT_CPU_S_MAX: Final = 1.0
"""What one event of the largest size may cost; measured is at most a tenth of it."""

INFLATED_BYTES: Final = 5 * 2**20
BOMB_BYTES: Final = 256 * 2**20


class Attack(NamedTuple):
    """A body, its coding, how it is to be answered, and whether its length is declared."""

    body: bytes
    coding: str
    status: int
    code: str


def bomb(coding: str) -> bytes:
    """Return 256 MiB of spaces, compressed."""
    spaces = b" " * 2**20
    if coding == "gzip":
        made = io.BytesIO()
        with gzip.GzipFile(fileobj=made, mode="wb", compresslevel=1) as file:
            for _ in range(BOMB_BYTES // len(spaces)):
                file.write(spaces)
        return made.getvalue()
    if coding == "deflate":
        stream = zlib.compressobj(1)
        return b"".join(stream.compress(spaces) for _ in range(BOMB_BYTES // len(spaces))) + stream.flush()
    if coding == "br":
        packer = brotli.Compressor(quality=1)
        return bytes(b"".join(packer.process(spaces) for _ in range(BOMB_BYTES // len(spaces))) + packer.finish())
    frame = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join(frame.compress(spaces) for _ in range(BOMB_BYTES // len(spaces))) + frame.flush()


def packed(coding: str, body: bytes) -> bytes:
    """Return `body` compressed."""
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": lambda data: bytes(brotli.compress(data, quality=5)),
        "zstd": zstandard.ZstdCompressor().compress,
    }
    return packers[coding](body)


def one_event(member: bytes) -> bytes:
    """Return a batch of one event with a member `p` as it is written."""
    return b'{"events":[{"event":"x","timestamp":"2026-11-24T10:00:00Z","p":' + member + b"}]}"


def large(body: bytes) -> Attack:
    """Return a body near the inflated limit of which nothing is acceptable, compressed."""
    return Attack(packed("gzip", body), "gzip", 400, "ALL_EVENTS_REJECTED")


def bombed(coding: str) -> Attack:
    """Return a small body that inflates to 256 MiB."""
    return Attack(bomb(coding), coding, 413, "PAYLOAD_TOO_LARGE")


def cut(coding: str) -> Attack:
    """Return a stream that ends too early."""
    return Attack(packed(coding, batch(event("e")) * 50)[:-9], coding, 400, "INVALID_JSON")


CODINGS: Final = ("gzip", "deflate", "br", "zstd")
WINDOW_512_MIB: Final = bytes.fromhex("28b52ffd0098") + b"\x01\x00\x00"
MANY: Final = INFLATED_BYTES // 3 - 60
NAMES: Final = b",".join(b'"name %d":1' % number for number in range(100_000))

ATTACKS: Final[dict[str, Callable[[], Attack]]] = {
    **{f"bomb {coding}": partial(bombed, coding) for coding in CODINGS},
    **{f"cut {coding}": partial(cut, coding) for coding in CODINGS},
    "declared window of 512 MiB": lambda: Attack(WINDOW_512_MIB, "zstd", 413, "PAYLOAD_TOO_LARGE"),
    "members of gzip": lambda: Attack(packed("gzip", b" ") * 20_000, "gzip", 400, "INVALID_JSON"),
    "members of gzip that add up": lambda: Attack(packed("gzip", b" " * 2**20) * 6, "gzip", 413, "PAYLOAD_TOO_LARGE"),
    "nested objects": lambda: Attack(one_event(b'{"a":' * 10**5 + b"1" + b"}" * 10**5), "", 400, "INVALID_JSON"),
    "nested arrays": lambda: Attack(one_event(b"[" * 10**5 + b"]" * 10**5), "", 400, "INVALID_JSON"),
    "empty events": lambda: Attack(
        packed("gzip", b'{"events":[' + b"{}," * MANY + b"{}]}"), "gzip", 413, "PAYLOAD_TOO_LARGE"
    ),
    "empty arrays": lambda: large(one_event(b"[" + b"[]," * MANY + b"[]]")),
    "one string": lambda: large(one_event(b'"' + b"x" * (INFLATED_BYTES - 200) + b'"')),
    "lone surrogates": lambda: large(one_event(b'"' + rb"\ud800" * (INFLATED_BYTES // 6 - 100) + b'"')),
    "number of a million digits": lambda: Attack(one_event(b"9" * 10**6), "", 400, "ALL_EVENTS_REJECTED"),
    "names": lambda: large(one_event(b"{" + NAMES + b"}")),
    "names in the root": lambda: large(b"{" + NAMES + b',"events":[{}]}'),
}

# As in the tests of `normalize`: pieces whose repetition keeps a rule busiest.
PIECES: Final = (
    *("a", "@", "+1", "+", "%", "%40", "%2525", "=", "1", "1.", "a@", "a@b ", "ip=&", "email=a&", "phone=+1&"),
    *("2001:", "2001:db8::", "203.0.", ":", "[email]", "%e2%82%ac", "%ff", "email%3Da%26", "00000000", "0000-", "+(("),
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Run one edge over the local log for all attacks, so that what one of them leaves behind adds up."""
    folder = tmp_path_factory.mktemp("attacks")
    with ServiceProcess(on_local_log(folder), folder=folder) as service:
        yield service


def send(service: ServiceProcess, attack: Attack, *, chunked: bool) -> Answer:
    """Send an attack with a declared length or in chunks."""
    headers = {"X-App-Id": APP, **({"Content-Encoding": attack.coding} if attack.coding else {})}
    if not chunked:
        return ask(service.url, "/events", attack.body, headers)
    pieces = b"".join(
        b"%x\r\n%b\r\n" % (len(piece), piece)
        for piece in (attack.body[at : at + 65536] for at in range(0, len(attack.body), 65536))
    )
    # http.client leaves a body alone that the caller has framed.
    return ask(service.url, "/events", pieces + b"0\r\n\r\n", {**headers, "Transfer-Encoding": "chunked"})


def cpu_s(service: ServiceProcess) -> float:
    """Return the CPU seconds that the service has used."""
    times = psutil.Process(service.pid).cpu_times()
    return times.user + times.system


def assert_unharmed(service: ServiceProcess) -> None:
    """Check that a normal batch is taken as ever, that nothing is still in flight, and that memory is bounded."""
    answer = post(service.url, batch(event(new_id())))
    counted, used = figures(service), memory(service.pid)

    assert answer.status == 202
    assert (counted["ingest_in_flight_requests"], counted["ingest_in_flight_bytes"]) == (0, 0)
    assert used.resident_mib < RESIDENT_MIB_MAX
    assert used.peak_mib < PEAK_MIB_MAX


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_body_is_answered_and_bounded(service: ServiceProcess, name: str) -> None:
    """With a declared length and in chunks alike: an error that tells why, little memory, little time."""
    attack = ATTACKS[name]()
    before = cpu_s(service)
    answers = [send(service, attack, chunked=chunked) for chunked in (False, True)]
    cost_s = (cpu_s(service) - before) / 2

    assert {(answer.status, answer.code) for answer in answers} == {(attack.status, attack.code)}
    assert cost_s < CPU_S_MAX
    assert_unharmed(service)


def test_names_that_clients_make_up_are_not_kept(service: ServiceProcess) -> None:
    """However many member names pass by in events that are stored, memory stays where it was."""

    def named(round_: int) -> bytes:
        names = ({f"made up name {round_} {at} {number}": 1 for number in range(600)} for at in range(150))
        return gzip.compress(batch(*(event(new_id(), properties=each) for each in names)), 1)

    statuses = {post(service.url, named(0), Content_Encoding="gzip").status}
    before = memory(service.pid).resident_mib
    statuses |= {post(service.url, named(round_), Content_Encoding="gzip").status for round_ in range(1, 5)}

    assert statuses == {202}
    assert memory(service.pid).resident_mib < before + 24
    assert_unharmed(service)


def test_a_number_with_a_million_digits_behind_the_point_is_a_double(service: ServiceProcess) -> None:
    """It is no larger than any other double once it is decoded, so it is taken."""
    assert post(service.url, one_event(b"0." + b"3" * 10**6)).status == 202
    assert_unharmed(service)


def test_texts_built_against_the_identity_rules_cost_little(service: ServiceProcess) -> None:
    """An event of the largest size, made of one piece repeated, is judged within a bound of CPU time."""
    costs = {}
    for piece in PIECES:
        body = batch(event(new_id(), text=(piece * 32_500)[:32_500]))
        before = cpu_s(service)
        assert post(service.url, body).status in {202, 400}
        costs[piece] = cpu_s(service) - before

    assert max(costs.values()) < TEXT_CPU_S_MAX, costs
    assert_unharmed(service)


def test_a_rejected_event_is_not_told_back(service: ServiceProcess) -> None:
    """The answer to a hostile body repeats nothing of it, and stays small."""
    secret = "made-up-secret"
    events = [{"event": secret, "timestamp": secret, "event_id": f"{secret}@x", secret: [secret]} for _ in range(1000)]
    answer = post(service.url, json.dumps({"events": events}).encode())

    assert (answer.status, answer.code) == (400, "ALL_EVENTS_REJECTED")
    assert secret.encode() not in answer.body
    assert len(answer.body) < 2**18
