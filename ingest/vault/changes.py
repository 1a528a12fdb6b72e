"""Every change of the vault, in one transaction with its audit event, which never holds the token."""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from ingest.control.record import Actor, Deed, Unknown, Verb, new_id, record
from ingest.conversion import Platform
from ingest.db.database import Connection, Database
from ingest.db.queries.organizations import lock_app
from ingest.db.queries.vault import (
    TokenRow,
    delete_token,
    find_token,
    insert_token,
    lock_sealed_otherwise,
    replace_token,
    reseal_token,
)
from ingest.db.rows import AppRow
from ingest.setting import Secret
from ingest.transport.sealed import SealKeys
from ingest.vault.seal import Place, open_token, seal_token

BATCH_ROWS: Final = 100
"""Tokens that get a new seal in one transaction."""


class Resealed(NamedTuple):
    """How many tokens have a new seal, and the ids of those that none of the keys opens."""

    tokens: int
    unopened: tuple[str, ...]


async def put(connection: Connection, keys: SealKeys, place: Place, token: Secret, actor: Actor) -> TokenRow:
    """Keep an app's token for a platform, in place of the one that it has, if any. Raises `Unknown`."""
    app = await _locked(connection, place)
    held = await find_token(connection, *place)
    if held is None:
        token_id = new_id("vs")
        await insert_token(connection, seal_token(keys, token_id, place, token))
    else:
        token_id = held.id
        await replace_token(connection, seal_token(keys, token_id, place, token))
    await record(
        connection, actor, _deed("created" if held is None else "rotated", token_id, app), details=_told(place)
    )
    return await _held(connection, place)


async def rotate(connection: Connection, keys: SealKeys, place: Place, token: Secret, actor: Actor) -> TokenRow:
    """Replace the token that an app has for a platform. Raises `Unknown` where it has none."""
    app = await _locked(connection, place)
    held = await _held(connection, place)
    await replace_token(connection, seal_token(keys, held.id, place, token))
    await record(connection, actor, _deed("rotated", held.id, app), details=_told(place))
    return await _held(connection, place)


async def delete(connection: Connection, place: Place, actor: Actor) -> TokenRow:
    """Let go of the token that an app has for a platform. Raises `Unknown` where it has none."""
    app = await _locked(connection, place)
    held = await _held(connection, place)
    await delete_token(connection, held.id)
    await record(connection, actor, _deed("deleted", held.id, app), details=_told(place))
    return held


async def reseal(
    database: Database, keys: SealKeys, actor: Actor, progress: Callable[[int], None] = lambda _: None
) -> Resealed:
    """Seal every token under the first key that is sealed under another one; `progress` hears how many have been.

    It may be stopped at any moment: what is done is done and written down, and the next run does the rest.
    """
    done, unopened, behind = 0, list[str](), ""
    while True:
        batch = await database.transact(partial(_reseal_batch, keys=keys, actor=actor, behind=behind))
        if batch is None:
            return Resealed(done, tuple(unopened))
        behind = batch.last_id
        done += batch.tokens
        unopened += batch.unopened
        progress(done)


class _Batch(NamedTuple):
    tokens: int
    unopened: list[str]
    last_id: str


async def _reseal_batch(connection: Connection, keys: SealKeys, actor: Actor, behind: str) -> _Batch | None:
    rows = await lock_sealed_otherwise(connection, keys.first_id, behind=behind, rows_max=BATCH_ROWS)
    if not rows:
        return None
    unopened = []
    for row in rows:
        token = open_token(keys, row)
        if isinstance(token, Secret):
            place = Place(row.app_id, Platform(row.platform))
            await reseal_token(connection, seal_token(keys, row.id, place, token))
        else:
            unopened.append(row.id)
    tokens = len(rows) - len(unopened)
    if tokens:
        details = {"tokens": tokens, "keyId": keys.first_id}
        await record(connection, actor, Deed("vault", "resealed", "vault", None), details=details)
    return _Batch(tokens, unopened, rows[-1].id)


async def _locked(connection: Connection, place: Place) -> AppRow:
    """Return the app, and keep others from changing its tokens until the transaction ends."""
    app = await lock_app(connection, place.app_id)
    if app is None:
        raise Unknown("there is no such app")
    return app


async def _held(connection: Connection, place: Place) -> TokenRow:
    row = await find_token(connection, *place)
    if row is None:
        raise Unknown("the app has no token for this platform")
    return row


def _deed(verb: Verb, token_id: str, app: AppRow) -> Deed:
    return Deed("token", verb, token_id, app.organization_id)


def _told(place: Place) -> dict[str, str]:
    return {"appId": place.app_id, "platform": place.platform}
