"""`/v1/api-keys`: an organization's own keys, listed, killed, rotated and retired."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ingest.control.keys import revoke_key, rotate_key
from ingest.control.kills import turn_key
from ingest.control.record import REASON_CHARACTERS_MAX, Conflict, Unknown
from ingest.control.secrets import mint, without_secrets
from ingest.db.database import Connection, Database, DatabaseAway
from ingest.db.queries.keys import find_key, list_keys, lock_standings
from ingest.db.rows import Key
from ingest.errors import Code, Refusal
from ingest.partner.authenticate import check_same
from ingest.partner.call import Answer, Call
from ingest.partner.fields import Fields, read_object, write_cursor
from ingest.partner.types import ApiKey, ApiKeyAnswer, ApiKeyPage, RotatedKey
from ingest.partner.verify import SecretVerifier

T = TypeVar("T")

DEFAULT_REASON = "by the organization itself"
SCOPE = "keys:write"
_NO_KEY = "There is no such key."
_REVOKED = "The key is revoked; issue a new one."


class Keys:
    """The calls on keys. A key of another organization is as unknown as one that does not exist."""

    def __init__(self, database: Database, verifier: SecretVerifier) -> None:
        self._database = database
        self._verifier = verifier

    async def list_keys(self, call: Call) -> Answer:
        """Answer with a page of keys, oldest first, without secrets, which nobody has."""
        fields = Fields(call.query)
        rows_max, place = fields.page_size(), fields.cursor(1)
        fields.done()
        after = place[0] if place else None
        rows = await self._asked(
            lambda connection: list_keys(connection, call.key.organization_id, after=after, rows_max=rows_max + 1)
        )
        page = rows[:rows_max]
        following = write_cursor(page[-1].id) if len(rows) > rows_max else None
        return Answer(200, ApiKeyPage([ApiKey.of(key) for key in page], following))

    async def kill(self, call: Call) -> Answer:
        """Turn a key's kill switch on. Only an operator lifts it."""
        fields = Fields(read_object(call.body))
        reason = without_secrets(fields.text("reason", REASON_CHARACTERS_MAX) or DEFAULT_REASON)
        fields.done()

        async def work(connection: Connection) -> None:
            await turn_key(
                connection,
                call.path["keyId"],
                call.actor,
                killed=True,
                reason=reason,
                organization_id=call.key.organization_id,
            )

        if call.replay is None:
            await self._changed(call, work)
        return Answer(200, ApiKeyAnswer(ApiKey.of(await self._found(call))))

    async def rotate(self, call: Call) -> Answer:
        """Give a key a new secret; the answer holds the whole new key, and no repeat of the call shows it again."""
        Fields(read_object(call.body)).done()
        key = await self._found(call)
        was_done = call.replay is not None and call.replay.status == 200  # it may have been revoked since
        if not key.active and not was_done:
            raise Refusal(Code.CONFLICT, _REVOKED)
        if call.replay is not None:
            return Answer(200, RotatedKey(ApiKey.of(key), None))
        new = mint(key.env, key.id)
        secret_hash = await self._verifier.hash(key.id, new.secret)
        row = await self._changed(
            call,
            lambda connection: rotate_key(
                connection, key.id, secret_hash, call.actor, organization_id=call.key.organization_id
            ),
        )
        return Answer(200, RotatedKey(ApiKey.of(row), new.text()))

    async def revoke(self, call: Call) -> Answer:
        """Retire a key for good."""
        Fields(read_object(call.body)).done()
        if call.replay is not None:
            return Answer(200, ApiKeyAnswer(ApiKey.of(await self._found(call))))
        row = await self._changed(
            call,
            lambda connection: revoke_key(
                connection, call.path["keyId"], call.actor, organization_id=call.key.organization_id
            ),
        )
        return Answer(200, ApiKeyAnswer(ApiKey.of(row)))

    async def _found(self, call: Call) -> Key:
        key = await self._asked(lambda connection: find_key(connection, call.path["keyId"], call.key.organization_id))
        if key is None:
            raise Refusal(Code.NOT_FOUND, _NO_KEY)
        return key

    async def _asked(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await self._database.run(work)
        except DatabaseAway:
            raise Refusal(Code.UNAVAILABLE) from None

    async def _changed(self, call: Call, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do work in one transaction in which the caller's key stands still, if it may still act."""

        async def still_allowed(connection: Connection) -> T:
            standings = await lock_standings(connection, call.key.id, call.path["keyId"])
            check_same(call.key, standings[call.key.id], SCOPE)
            return await work(connection)

        try:
            return await self._database.transact(still_allowed)
        except DatabaseAway:
            raise Refusal(Code.UNAVAILABLE) from None
        except Unknown:
            raise Refusal(Code.NOT_FOUND, _NO_KEY) from None
        except Conflict:
            raise Refusal(Code.CONFLICT, _REVOKED) from None
