"""Records that can never be used, set aside: why, what can be told of them, and the record itself, sealed."""

import base64
import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import zstandard

from ingest.clock import Clock
from ingest.consume.step import Poison
from ingest.event import Record
from ingest.transport.contract import Delivered, Publisher, Topic
from ingest.transport.sealed import Sealed, SealKeys

SHAPE_MEMBERS_MAX: Final = 20
CONTENT_BYTES_MAX: Final = 16 * 1024 * 1024
_PURPOSE: Final = b"dead-letter/1"

_is_plain = re.compile(r"[A-Za-z0-9_.$-]{1,40}").fullmatch
_is_id = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of a record on the topic `dead-letters`.

    `shape` are the names of the record's members with the types of their values, two levels deep, odd names as `*`.
    `sealed` holds key, value and headers of the record, compressed, under the spool's key `key_id`, in base64; both are
    empty where the content may not be kept.
    """

    reason: str
    consumer: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    size_bytes: int
    shape: dict[str, Any]
    key_id: str = ""
    sealed: str = ""
    app_id: str | None = None
    event_id: str | None = None


class _Content(msgspec.Struct, array_like=True):
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class ContentNotKept(Exception):  # noqa: N818 - named for what is the matter
    """The dead letter is of a record that may not outlive its topic, so nothing but its traces was kept."""


class DeadLetters:
    """Puts poison aside for one consumer.

    Without `with_content` neither its content nor its key is kept: for records that may not outlive their topic.
    """

    def __init__(
        self, publisher: Publisher, keys: SealKeys, consumer: str, clock: Clock, *, with_content: bool = True
    ) -> None:
        self._publisher = publisher
        self._keys = keys
        self._consumer = consumer
        self._clock = clock
        self._with_content = with_content

    async def put(self, poison: Sequence[Poison]) -> None:
        """Store dead letters. Raises `Unavailable` where they could not be: then nothing may be committed."""
        records = [Record(self._key(each.record), msgspec.json.encode(self._letter(each))) for each in poison]
        await self._publisher.publish(Topic.DEAD_LETTERS, records, self._clock.now_ms())

    def _key(self, record: Delivered) -> bytes:
        return record.key if self._with_content else f"{record.topic}/{record.partition}/{record.offset}".encode()

    def _letter(self, poison: Poison) -> DeadLetter:
        record = poison.record
        key_id, sealed = self._seal(record) if self._with_content else ("", "")
        shape, ids = _look(record.value)
        return DeadLetter(
            poison.reason,
            self._consumer,
            record.topic.value,
            record.partition,
            record.offset,
            record.timestamp_ms,
            len(record.value),
            shape,
            key_id,
            sealed,
            ids.get("app_id"),
            ids.get("event_id"),
        )

    def _seal(self, record: Delivered) -> tuple[str, str]:
        content = msgspec.msgpack.encode(_Content(record.key, record.value, record.headers))
        sealed = self._keys.seal(zstandard.compress(content), _PURPOSE)
        return sealed.key_id, base64.b64encode(sealed.box).decode()


def reopen(letter: DeadLetter, keys: SealKeys) -> Delivered:
    """Return the record that was set aside. Raises `UnknownKey`, `Tampered` or `ContentNotKept`."""
    if not letter.sealed:
        place = f"{letter.topic}/{letter.partition}/{letter.offset}"
        raise ContentNotKept(f"of the record {place} the content was not kept, so it cannot be had back")
    box = keys.open(Sealed(letter.key_id, base64.b64decode(letter.sealed)), _PURPOSE)
    content = msgspec.msgpack.decode(zstandard.decompress(box, CONTENT_BYTES_MAX), type=_Content)
    return Delivered(
        Topic(letter.topic),
        letter.partition,
        letter.offset,
        letter.timestamp_ms,
        content.key,
        content.value,
        content.headers,
    )


def _look(value: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a record's shape, and of its ids those that are plain."""
    try:
        record = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}, {}
    if not isinstance(record, dict):
        return {"*": _kind(record)}, {}
    meta = record.get("meta")
    ids = {
        name: meta[name]
        for name in ("app_id", "event_id")
        if isinstance(meta, dict) and isinstance(meta.get(name), str) and _is_id(meta[name])
    }
    return {_shown(name): _shape(member) for name, member in list(record.items())[:SHAPE_MEMBERS_MAX]}, ids


def _shape(value: Any) -> Any:
    if not isinstance(value, dict):
        return _kind(value)
    return {_shown(name): _kind(member) for name, member in list(value.items())[:SHAPE_MEMBERS_MAX]}


def _shown(name: str) -> str:
    return name if _is_plain(name) else "*"


Kind = Literal["object", "array", "string", "boolean", "number", "null"]


def _kind(value: Any) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    kinds: dict[type, Kind] = {dict: "object", list: "array", str: "string"}
    return kinds.get(type(value), "null")
