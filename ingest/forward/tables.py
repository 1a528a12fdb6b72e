"""The ledger's table, and people as the database knows them."""

import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ingest.consume.step import Away
from ingest.conversion import ConversionRecord, Platform
from ingest.db.database import Connection, Database, DatabaseAway
from ingest.db.queries.deliveries import DeliveryEnd, DeliveryKey, delivered, record_deliveries
from ingest.db.queries.erasing import Claim, latest_erasure, refused
from ingest.db.queries.people import Property, UserKey, advertising_choices, properties_named
from ingest.erasure import subjects_in, until_text
from ingest.forward.job import Key
from ingest.forward.outcome import Outcome
from ingest.forward.person import NOBODY, PHONES, TEXTS, Person
from ingest.pipeline.statements import CONSENT_USER, PROPERTY_USER

T = TypeVar("T")

_NAMES: Final = {
    **{name: name for name in ("email_sha256", *PHONES, *TEXTS)},
    "$fbc": "fbc",
    "$fbp": "fbp",
    "$ttp": "ttp",
}
"""Properties that complete a conversion, and as which of its members."""

TEXT_CHARS_MAX: Final = 2048
_is_digest = re.compile(r"[0-9a-f]{64}").fullmatch


class DeliveryTable:
    """`Deliveries` over the table of that name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ended(self, keys: Collection[Key]) -> set[Key]:
        """See `Deliveries.ended`."""
        wanted = [DeliveryKey(*key) for key in keys]
        found = await _run(self._database, lambda connection: delivered(connection, wanted))
        return {Key(each.app_id, each.event_id, each.event_at, Platform(each.platform)) for each in found}

    async def keep(self, ends: Mapping[Key, Outcome]) -> None:
        """See `Deliveries.keep`."""
        rows = [DeliveryEnd(*key, end.fate, end.reason) for key, end in ends.items()]
        await _run(self._database, lambda connection: record_deliveries(connection, rows))


class KnownPeople:
    """`People` over what `persist` keeps of users: their newest choice, and the digests among their properties."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, records: Sequence[ConversionRecord]) -> Sequence[Person]:
        """See `People.of`."""
        if not records:
            return ()

        async def look(connection: Connection) -> Sequence[Person]:
            choices, properties, erased = (
                await _choices(connection, records),
                await _properties(connection, records),
                await _erased(connection, records),
            )
            return [
                _person(record, choices, properties, is_erased=number in erased)
                for number, record in enumerate(records)
            ]

        return await _run(self._database, look)


async def _choices(connection: Connection, records: Sequence[ConversionRecord]) -> dict[UserKey, tuple[int, bool]]:
    """Return the choice under each id, with its rank by age."""
    users = {user for record in records for user in _users(record, CONSENT_USER)}
    found = await advertising_choices(connection, users) if users else []
    return {
        UserKey(each.app_id, each.user_kind, each.user_id): (rank, each.value is True)
        for rank, each in enumerate(found)
    }


async def _properties(
    connection: Connection, records: Sequence[ConversionRecord]
) -> dict[UserKey, dict[str, Property]]:
    """Return what completes conversions under each id."""
    users = {user for record in records for user in _users(record, PROPERTY_USER)}
    known: dict[UserKey, dict[str, Property]] = {}
    for each in await properties_named(connection, users, list(_NAMES)) if users else ():
        known.setdefault(UserKey(each.app_id, each.user_kind, each.user_id), {})[_NAMES[each.name]] = each
    return known


async def _erased(connection: Connection, records: Sequence[ConversionRecord]) -> set[int]:
    """Return the positions of what was received before its user was erased; as a rule nothing has to be looked at."""
    latest = await latest_erasure(connection)
    if latest is None:
        return set()
    until = until_text(latest)
    claims = [
        Claim(
            number,
            record.meta.project_id,
            record.meta.received_at,
            subjects_in(msgspec.json.encode(record.event)),
        )
        for number, record in enumerate(records)
        if record.meta.received_at <= until
    ]
    return await refused(connection, claims) if claims else set()


def _person(
    record: ConversionRecord,
    choices: Mapping[UserKey, tuple[int, bool]],
    properties: Mapping[UserKey, dict[str, Property]],
    *,
    is_erased: bool,
) -> Person:
    made = [choices[user] for user in _users(record, CONSENT_USER) if user in choices]
    known = next((properties[user] for user in _users(record, PROPERTY_USER) if user in properties), {})
    if not made and not known and not is_erased:
        return NOBODY
    digests = {name: _digests(known[name].value) for name in ("email_sha256", *_phones(known)) if name in known}
    texts = {name: _text(known[name].value) for name in TEXTS if name in known}
    return Person(advertising=max(made)[1] if made else None, is_erased=is_erased, **digests, **texts)  # type: ignore[arg-type]


def _phones(known: Mapping[str, Property]) -> list[str]:
    """Return the forms of the phone number that was said last: those of a former one may still be there."""
    last = max((known[name].set_at for name in PHONES if name in known), default=None)
    return [name for name in PHONES if name in known and known[name].set_at == last]


def _users(record: ConversionRecord, members: Sequence[str]) -> Iterator[UserKey]:
    for member in members:
        user_id = getattr(record.event, member)
        if user_id:
            yield UserKey(record.meta.app_id, member, user_id)


def _digests(value: Any) -> tuple[str, ...]:
    """Return the digests in a property: one, or a list of them."""
    values = value if isinstance(value, list) else [value]
    return tuple(each for each in values if isinstance(each, str) and _is_digest(each))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX else None


async def _run(database: Database, work: Callable[[Connection], Awaitable[T]]) -> T:
    try:
        return await database.run(work)
    except DatabaseAway as error:
        raise Away from error
