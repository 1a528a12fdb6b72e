"""`Idempotency-Key`: a call that is sent again does its work once, and is answered again.

The cache holds no answer, only that there was one. So a repeat is answered by deriving the answer again, without doing
anything; what was answered with a secret is derived without it.
"""

import hashlib

import msgspec

from ingest.counters.cache import CacheAway
from ingest.counters.idempotency import Conflict, Done, IdempotencyStore, Running, StoredAs, entry_name
from ingest.errors import Code, Refusal
from ingest.partner.call import Answer, Call, Fault, Handler, Replay, invalid
from ingest.partner.operations import Operation
from ingest.transport.contract import Stored

_HEADER = "Idempotency-Key"
_BINDING = (400, 413, 422)
"""Statuses of refusals that the same call gets again for good; after any other one it may succeed another time."""


class Repeats:
    """Does the work of calls, once for each idempotency key."""

    def __init__(self, store: IdempotencyStore) -> None:
        self._store = store

    async def once(self, operation: Operation, handler: Handler, call: Call, header: bytes | None) -> Answer:
        """Answer a call; `header` is what it gave as its key, which counts for this operation on this very path.

        Raises what the handler raises, and `Refusal`: `IDEMPOTENCY_CONFLICT`, `IDEMPOTENCY_IN_PROGRESS`, `UNAVAILABLE`
        where a repeat would do harm and the cache is away, `VALIDATION` for a header that cannot be a key.
        """
        if header is None or not operation.repeatable:
            return await handler(call)
        try:
            target = " ".join((operation.name, *call.path.values()))
            name = entry_name(call.key.id, target, header.decode("latin-1"))
        except ValueError as error:
            raise invalid([Fault(_HEADER, str(error))]) from None
        digest = hashlib.sha256(call.body).hexdigest()
        try:
            claim = await self._store.claim(name, digest)
        except CacheAway:
            if operation.needs_cache:
                raise Refusal(Code.UNAVAILABLE) from None
            return await handler(call)
        if isinstance(claim, Conflict):
            raise Refusal(Code.IDEMPOTENCY_CONFLICT)
        if isinstance(claim, Running):
            raise Refusal(Code.IDEMPOTENCY_IN_PROGRESS)
        if isinstance(claim, Done):
            return await _derive(handler, call, claim)
        return await self._work(handler, call, name, digest)

    async def _work(self, handler: Handler, call: Call, name: str, digest: str) -> Answer:
        """Do the work; whatever may succeed when it is tried again gives the key back."""
        try:
            answer = await handler(call)
        except Refusal as refused:
            if refused.code.value.status in _BINDING:
                await self._finish(name, digest, refused.code.value.status, None)
            else:
                await self._free(name)
            raise
        except BaseException:
            await self._free(name)
            raise
        await self._finish(name, digest, answer.status, _stored_as(answer.stored))
        return answer

    async def _finish(self, name: str, digest: str, status: int, stored: StoredAs | None) -> None:
        try:
            await self._store.finish(name, digest, status, stored)
        except CacheAway:
            return  # the work is done and is answered; its lease ends by itself

    async def _free(self, name: str) -> None:
        try:
            await self._store.free(name)
        except CacheAway:
            return


async def _derive(handler: Handler, call: Call, done: Done) -> Answer:
    """Answer as before. Where the world has changed too much for that, say so instead of doing anything."""
    repeat = msgspec.structs.replace(call, replay=Replay(done.status, Stored(done.stored) if done.stored else None))
    try:
        answer = await handler(repeat)
    except Refusal as refused:
        call.facts.replayed = refused.code.value.status == done.status
        if call.facts.replayed or refused.code.value.status >= 500:
            raise
        raise _changed() from None
    if answer.status != done.status:
        raise _changed()
    call.facts.replayed = True
    return answer


def _changed() -> Refusal:
    return Refusal(Code.CONFLICT, "What the first request was answered by has changed since; use a new key.")


def _stored_as(stored: Stored | None) -> StoredAs | None:
    if stored is None:
        return None
    return "replicated" if stored is Stored.REPLICATED else "spooled"
