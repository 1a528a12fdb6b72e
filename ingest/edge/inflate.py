"""Undoing `Content-Encoding` under a cap on what comes out, so that no small body can take much memory or time."""

import zlib
from collections.abc import Callable
from typing import Final

import brotli
import zstandard

from ingest.errors import Code, Refusal

WINDOW_BYTES_MAX: Final = 8 * 1024 * 1024
"""Largest zstd window, the bound that RFC 9659 sets for zstd as a content coding."""

MEMBERS_MAX: Final = 1024
"""Most gzip members or zstd frames in one body: one for each event of a full batch, were they flushed one by one."""

_STEP_BYTES: Final = 64 * 1024
_ZLIB_WRAPPED: Final = 15
_RAW_DEFLATE: Final = -15
_GZIP: Final = 31

_ZSTD_FRAME: Final = 0xFD2FB528
_ZSTD_SKIPPABLE: Final = range(0x184D2A50, 0x184D2A60)
_ZSTD_BLOCK_RLE: Final = 1
_ZSTD_CHECKSUM_BYTES: Final = 4


def inflate(encoding: str, data: bytes, *, inflated_bytes_max: int) -> bytes:
    """Return the body behind one content coding; an empty coding and `identity` give `data` itself.

    Known are gzip, x-gzip, deflate (zlib-wrapped as the standard says, raw as some clients send), br and zstd, in any
    case. Concatenated gzip members and zstd frames count as one body under one cap. Raises `Refusal`:
    `UNSUPPORTED_ENCODING` for any other coding and for a list of them, `PAYLOAD_TOO_LARGE` beyond
    `inflated_bytes_max` or `WINDOW_BYTES_MAX`, `INVALID_JSON` for a damaged, cut or trailed stream.
    """
    inflater = _INFLATERS.get(encoding.strip().lower())
    if inflater is None:
        raise Refusal(Code.UNSUPPORTED_ENCODING)
    return inflater(data, inflated_bytes_max)


def _identity(data: bytes, bytes_max: int) -> bytes:
    if len(data) > bytes_max:
        raise _too_large(bytes_max)
    return data


def _gzip(data: bytes, bytes_max: int) -> bytes:
    """Inflate every member in turn; a step's length bounds what the decoder copies behind a member's end."""
    view = memoryview(data)
    output = bytearray()
    position = 0
    for _ in range(MEMBERS_MAX):
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            step = view[position : position + _STEP_BYTES]
            if not step:
                raise _damaged("gzip")
            output += _zlib_step(member, step, bytes_max - len(output), "gzip")
            if len(output) > bytes_max:
                raise _too_large(bytes_max)
            position += len(step) - len(member.unused_data)
        if position == len(data):
            return bytes(output)
    raise _too_many("gzip members")


def _deflate(data: bytes, bytes_max: int) -> bytes:
    """Inflate one stream; no raw one begins with what a zlib header is told by: method 8 and a check (RFC 1950)."""
    wrapped = len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
    stream = zlib.decompressobj(_ZLIB_WRAPPED if wrapped else _RAW_DEFLATE)
    output = _zlib_step(stream, data, bytes_max, "deflate")
    if len(output) > bytes_max:
        raise _too_large(bytes_max)
    if not stream.eof or stream.unused_data:
        raise _damaged("deflate")
    return output


def _zlib_step(stream: "zlib._Decompress", data: bytes | memoryview, room_bytes: int, name: str) -> bytes:
    """Return what `data` inflates to, at most one byte beyond the room: that byte tells that the cap is passed."""
    try:
        return stream.decompress(data, room_bytes + 1)
    except zlib.error:
        raise _damaged(name) from None


def _br(data: bytes, bytes_max: int) -> bytes:
    """Inflate in small steps, for the decoder may pass a step's limit by as much again.

    The format itself bounds the window at 16 MiB; streams of the large-window variant are not decoded.
    """
    stream = brotli.Decompressor()
    output = bytearray()
    try:
        output += stream.process(data, output_buffer_limit=_STEP_BYTES)
        while not stream.is_finished() and len(output) <= bytes_max:
            step = stream.process(b"", output_buffer_limit=_STEP_BYTES)
            if not step and not stream.is_finished():  # it has given everything and wants more
                raise _damaged("br")
            output += step
    except brotli.error:
        raise _damaged("br") from None
    if len(output) > bytes_max:
        raise _too_large(bytes_max)
    return bytes(output)


def _zstd(data: bytes, bytes_max: int) -> bytes:
    """Inflate checked frames in one bounded read; only the walk can tell a cut last frame from a whole one."""
    try:
        declared_bytes = _check_zstd_frames(memoryview(data), bytes_max)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_zstd_window_bytes_max(bytes_max))
        output = decompressor.stream_reader(data, read_across_frames=True).read(min(declared_bytes, bytes_max) + 1)
    except zstandard.ZstdError:
        raise _damaged("zstd") from None
    if len(output) > bytes_max:
        raise _too_large(bytes_max)
    return output


def _check_zstd_frames(view: memoryview, bytes_max: int) -> int:
    """Walk over frame and block headers (RFC 8878), before any memory is taken for what they declare.

    Return how many bytes may come out: a frame that does not declare its size may give all that the cap allows.
    """
    position = declared_bytes = 0
    for _ in range(MEMBERS_MAX):
        magic = int.from_bytes(view[position : position + 4], "little")
        if magic == _ZSTD_FRAME:
            position, content_bytes = _read_zstd_frame(view, position, bytes_max)
            declared_bytes += content_bytes
        elif magic in _ZSTD_SKIPPABLE and position + 8 <= len(view):
            position += 8 + int.from_bytes(view[position + 4 : position + 8], "little")
        else:
            raise _damaged("zstd")
        if position == len(view):
            return declared_bytes
        if position > len(view):
            raise _damaged("zstd")
    raise _too_many("zstd frames")


def _read_zstd_frame(view: memoryview, position: int, bytes_max: int) -> tuple[int, int]:
    """Return the position behind the frame at `position` and the most bytes that it may give."""
    header = view[position : position + 18]  # the longest one
    frame = zstandard.get_frame_parameters(header)
    content_bytes = bytes_max if frame.content_size == zstandard.CONTENTSIZE_UNKNOWN else frame.content_size
    if content_bytes > bytes_max:
        raise _too_large(bytes_max)
    window_bytes_max = _zstd_window_bytes_max(bytes_max)
    if frame.window_size > window_bytes_max:
        raise Refusal(Code.PAYLOAD_TOO_LARGE, details={"limit": "window_bytes", "max": window_bytes_max})
    position += zstandard.frame_header_size(header)
    last = False
    while not last:
        if position + 3 > len(view):
            raise _damaged("zstd")
        block = view[position] | view[position + 1] << 8 | view[position + 2] << 16
        last = bool(block & 1)
        position += 3 + (1 if block >> 1 & 3 == _ZSTD_BLOCK_RLE else block >> 3)
    return position + (_ZSTD_CHECKSUM_BYTES if frame.has_checksum else 0), content_bytes


def _zstd_window_bytes_max(bytes_max: int) -> int:
    """Return the bound for a window: a frame that was made in one go has a window as long as its content."""
    return max(WINDOW_BYTES_MAX, bytes_max)


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(Code.PAYLOAD_TOO_LARGE, details={"limit": "inflated_bytes", "max": bytes_max})


def _damaged(name: str) -> Refusal:
    return Refusal(Code.INVALID_JSON, f"The body is not one complete {name} stream.")


def _too_many(what: str) -> Refusal:
    return Refusal(Code.INVALID_JSON, f"The body has more than {MEMBERS_MAX} {what}.")


_INFLATERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "": _identity,
    "identity": _identity,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _br,
    "zstd": _zstd,
}
