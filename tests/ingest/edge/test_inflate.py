"""Every coding is undone exactly, and nothing that is small on the wire is large in memory."""

import gzip
import subprocess
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest.edge.inflate import MEMBERS_MAX, WINDOW_BYTES_MAX, inflate
from ingest.errors import Code, Refusal

MIB = 1024 * 1024
CAP = 5 * MIB
BODY = b'{"events":[{"event":"opened","timestamp":"2024-01-01T00:00:00Z"}]}' * 20


def raw_deflate(data: bytes) -> bytes:
    """Return deflate without the zlib header."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def zstd_stream(data: bytes) -> bytes:
    """Return a frame that does not declare its size, with a checksum."""
    packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return packer.compress(data) + packer.flush()


def skippable(content: bytes) -> bytes:
    """Return a zstd frame that decoders must pass over."""
    return (0x184D2A53).to_bytes(4, "little") + len(content).to_bytes(4, "little") + content


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw": ("deflate", raw_deflate),
    "br": ("br", lambda data: bytes(brotli.compress(data, quality=5))),
    "zstd": ("zstd", zstandard.compress),
    "zstd_stream": ("zstd", zstd_stream),
}
each_packer = pytest.mark.parametrize(("encoding", "pack"), PACKERS.values(), ids=PACKERS)


def refusal_of(encoding: str, data: bytes, cap: int = CAP) -> Refusal:
    """Return how the body is refused."""
    with pytest.raises(Refusal) as caught:
        inflate(encoding, data, inflated_bytes_max=cap)
    return caught.value


@each_packer
@given(data=st.binary(max_size=2000))
def test_what_was_packed_comes_back(encoding: str, pack: Callable[[bytes], bytes], data: bytes) -> None:
    """Any body comes back as it was, whatever the coding."""
    assert inflate(encoding, pack(data), inflated_bytes_max=CAP) == data


@each_packer
def test_a_body_of_several_steps_comes_back(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """A body longer than any internal step, on the wire and inflated, comes back whole."""
    data = b"".join(number.to_bytes(4, "big") for number in range(100_000))
    assert inflate(encoding, pack(data), inflated_bytes_max=len(data)) == data


@each_packer
def test_the_cap_is_exact(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """A body of exactly the cap passes, one byte more is refused, and the refusal tells the limit."""
    assert inflate(encoding, pack(BODY), inflated_bytes_max=len(BODY)) == BODY
    refusal = refusal_of(encoding, pack(BODY), cap=len(BODY) - 1)
    assert refusal.code is Code.PAYLOAD_TOO_LARGE
    assert refusal.details == {"limit": "inflated_bytes", "max": len(BODY) - 1}


@each_packer
def test_a_cut_body_is_refused_wherever_it_is_cut(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Half a stream is not taken for a whole one, even where all its content has arrived."""
    packed = pack(BODY)
    for length in range(len(packed)):
        assert refusal_of(encoding, packed[:length]).code is Code.INVALID_JSON


@each_packer
@pytest.mark.parametrize("trailer", [b"\0", b"junk", b'{"events":[]}', b"\0" * 300])
def test_what_follows_the_stream_is_refused(encoding: str, pack: Callable[[bytes], bytes], trailer: bytes) -> None:
    """Bytes behind the end would be data that nobody reads."""
    assert refusal_of(encoding, pack(BODY) + trailer).code is Code.INVALID_JSON


@each_packer
@given(junk=st.binary(max_size=200))
def test_junk_is_refused_in_one_way(encoding: str, pack: Callable[[bytes], bytes], junk: bytes) -> None:
    """Whatever the bytes are, a decoder's own error never gets out."""
    for data in (junk, pack(BODY)[:20] + junk):
        try:
            inflate(encoding, data, inflated_bytes_max=CAP)
        except Refusal as refusal:
            assert refusal.code in {Code.INVALID_JSON, Code.PAYLOAD_TOO_LARGE}  # noqa: PT017 - valid junk may pass


@pytest.mark.parametrize("encoding", ["", "identity", "Identity", " identity "])
def test_identity_gives_the_body_itself(encoding: str) -> None:
    """Without a coding nothing is copied, and the cap holds all the same."""
    assert inflate(encoding, BODY, inflated_bytes_max=CAP) is BODY
    assert refusal_of(encoding, BODY, cap=10).code is Code.PAYLOAD_TOO_LARGE


@pytest.mark.parametrize("encoding", ["GZIP", "x-gzip", "X-GZip", " gzip "])
def test_the_name_of_a_coding_has_no_case(encoding: str) -> None:
    """Names are compared without regard to case, and `x-gzip` means gzip."""
    assert inflate(encoding, gzip.compress(BODY), inflated_bytes_max=CAP) == BODY


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "gzip,gzip", "identity, gzip", "zst", "gzip;q=1", "*"])
def test_any_other_coding_is_unsupported(encoding: str) -> None:
    """Unknown codings and lists of codings are told apart from damaged bodies."""
    assert refusal_of(encoding, gzip.compress(BODY)).code is Code.UNSUPPORTED_ENCODING


@pytest.mark.parametrize(("encoding", "pack"), [PACKERS[name] for name in ("gzip", "zstd", "zstd_stream")])
def test_concatenated_streams_are_one_body_under_one_cap(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Members count together: three of them cannot bring in three times the cap."""
    packed = pack(BODY) + pack(b"") + pack(BODY)
    assert inflate(encoding, packed, inflated_bytes_max=2 * len(BODY)) == BODY * 2
    assert refusal_of(encoding, packed, cap=2 * len(BODY) - 1).code is Code.PAYLOAD_TOO_LARGE
    assert refusal_of(encoding, packed[:-1]).code is Code.INVALID_JSON


def test_skippable_frames_are_passed_over() -> None:
    """Metadata frames of zstd are no content, at any place."""
    packed = skippable(b"meta") + zstandard.compress(BODY) + skippable(b"")
    assert inflate("zstd", packed, inflated_bytes_max=CAP) == BODY
    assert refusal_of("zstd", packed + skippable(b"meta")[:-1]).code is Code.INVALID_JSON


@pytest.mark.parametrize(("encoding", "pack"), [PACKERS[name] for name in ("gzip", "zstd")])
def test_members_are_counted(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """One member for each event of a full batch passes, one more is refused."""
    assert inflate(encoding, pack(b"x") * MEMBERS_MAX, inflated_bytes_max=CAP) == b"x" * MEMBERS_MAX
    refusal = refusal_of(encoding, pack(b"x") * (MEMBERS_MAX + 1))
    assert refusal.code is Code.INVALID_JSON
    assert str(MEMBERS_MAX) in refusal.message


def test_a_window_beyond_the_bound_is_refused() -> None:
    """A frame that asks for a window over 8 MiB is refused by its header; a window of 8 MiB passes."""
    assert refusal_of("zstd", zstd_with_window(24)).details == {"limit": "window_bytes", "max": WINDOW_BYTES_MAX}
    assert inflate("zstd", zstd_with_window(23), inflated_bytes_max=CAP) == b"\0" * CAP


def test_a_higher_cap_allows_a_frame_of_one_segment() -> None:
    """A frame made in one go has a window as long as its content; a cap above 8 MiB must not refuse it."""
    data = b"\0" * (10 * MIB)
    assert inflate("zstd", zstandard.compress(data), inflated_bytes_max=12 * MIB) == data


def zstd_with_window(log: int, size: int = CAP) -> bytes:
    """Return a frame of zeros with a window of 2 ** log bytes that does not declare its size."""
    parameters = zstandard.ZstdCompressionParameters(window_log=log, compression_level=1, force_max_window=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return b"".join(packer.compress(b"\0" * MIB) for _ in range(size // MIB)) + packer.flush()


def zeros(packer: "zlib._Compress") -> bytes:
    """Return 64 MiB of zeros, packed."""
    return b"".join(packer.compress(b"\0" * MIB) for _ in range(64)) + packer.flush()


def zstd_declaring(size: int) -> bytes:
    """Return a frame of one block that declares a content of `size` bytes and a window of 1 KiB."""
    return bytes.fromhex("28b52ffd") + b"\xc0\x00" + size.to_bytes(8, "little") + b"\x03\x00\x10\x00"


def attacks() -> dict[str, tuple[str, bytes]]:
    """Return bodies below 1 MiB that would take far more memory, were limits checked afterwards."""
    empty_member = gzip.compress(b"", mtime=0)
    return {
        "gzip_bomb": ("gzip", zeros(zlib.compressobj(9, wbits=31))),
        "deflate_bomb": ("deflate", zeros(zlib.compressobj(9))),
        "br_bomb": ("br", brotli.compress(b"\0" * (32 * MIB), quality=1, lgwin=24)),
        "zstd_bomb": ("zstd", zstd_with_window(23, 64 * MIB)),
        "zstd_declares_512_mib": ("zstd", zstd_declaring(512 * MIB)),
        "zstd_declares_512_mib_later": ("zstd", zstandard.compress(b"") + zstd_declaring(512 * MIB)),
        "zstd_window_of_512_mib": ("zstd", bytes.fromhex("28b52ffd") + b"\x00\x98" + b"\x01\x00\x00"),
        "zstd_skips_4_gib": ("zstd", skippable(b"")[:4] + b"\xff" * 4),
        "gzip_of_empty_members": ("gzip", empty_member * (MIB // len(empty_member))),
        "zstd_of_empty_frames": ("zstd", zstandard.compress(b"") * (MIB // 9)),
        "zstd_of_empty_blocks": ("zstd", zstd_stream(b"x")[:6] + b"\0" * (MIB - 6)),
    }


ATTACKS = attacks()

PROBE = """
import sys
from ingest.edge.inflate import inflate
from ingest.errors import Refusal

def peak_kib():
    try:
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)

data = sys.stdin.buffer.read()
before = peak_kib()
try:
    inflate(sys.argv[1], data, inflated_bytes_max=int(sys.argv[2]))
    code = "PASSED"
except Refusal as refusal:
    code = refusal.code.name
print(code, peak_kib() - before)
"""


@pytest.mark.parametrize(("encoding", "data"), ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused_within_the_cap_and_a_window(encoding: str, data: bytes) -> None:
    """In a process of its own, the refusal takes no more memory than the cap, one window and a little."""
    assert len(data) <= MIB
    arguments = [sys.executable, "-c", PROBE, encoding, str(CAP)]
    answer = subprocess.run(arguments, input=data, capture_output=True, check=True, timeout=60)
    code, grown_kib = answer.stdout.decode().split()
    assert code in {"PAYLOAD_TOO_LARGE", "INVALID_JSON"}
    window = 16 * MIB if encoding == "br" else WINDOW_BYTES_MAX
    assert int(grown_kib) * 1024 < CAP + window + 3 * MIB
