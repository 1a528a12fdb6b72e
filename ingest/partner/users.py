"""`/v1/projects/{projectId}/…`: all that is kept of one user, read back, and asked to be erased."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from ingest.control.erasures import request_erasure
from ingest.db.database import Connection, Database, DatabaseAway
from ingest.db.queries.erasures import find_erasure, latest_erasure
from ingest.db.queries.keys import lock_standings
from ingest.db.queries.organizations import find_project
from ingest.db.queries.users import BEGINNING, Place, list_consents, list_user_events, list_user_properties
from ingest.db.rows import ErasureRow, Project, UserEvent, UserStatement
from ingest.erasure import subject_of
from ingest.errors import Code, Refusal
from ingest.partner.authenticate import check_same
from ingest.partner.call import Answer, Call
from ingest.partner.fields import Fields, pack, read_object, unpack, write_cursor
from ingest.partner.types import Consent, ErasureAnswer, ErasureState, StoredEvent, UserEventsPage, UserProperty

T = TypeVar("T")

SCOPE = "events:erase"

WAIT_S = 2.0
"""How long a read waits for its turn. A process reads one user at a time: each read locks every day's partition with
its indexes, a few thousand entries of the lock table that the whole server shares."""

_NO_PROJECT = "There is no such project."
_NO_ERASURE = "There is no such erasure."


class Users:
    """The calls on users and erasures. A project of another organization is as unknown as one that does not exist."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()

    async def read_events(self, call: Call) -> Answer:
        """Answer with a page of a user's events, newest first; the first one tells what else is kept of the user."""
        fields = Fields(call.query)
        rows_max, place = fields.page_size(), _place(fields)
        fields.done()
        project_id, user_id = call.path["projectId"], call.path["userId"]

        async def read(
            connection: Connection,
        ) -> tuple[list[UserEvent], list[UserStatement] | None, list[UserStatement] | None]:
            await _project_of(connection, call)
            rows = await list_user_events(
                connection, project_id, user_id, behind=place or BEGINNING, rows_max=rows_max + 1
            )
            if place is not None:
                return rows, None, None
            return (
                rows,
                await list_user_properties(connection, project_id, user_id),
                await list_consents(connection, project_id, user_id),
            )

        await self._take_turn()
        try:
            rows, properties, consents = await self._asked(self._database.run, read)
        finally:
            self._turn.release()
        page = rows[:rows_max]
        following = None
        if page and page[-1].candidates > len(page):
            following = write_cursor(page[-1].ts, page[-1].app_id, pack(page[-1].event_id))
        return Answer(
            200,
            UserEventsPage(
                [StoredEvent.of(row) for row in page],
                None if properties is None else [UserProperty.of(row) for row in properties],
                None if consents is None else [Consent.of(row) for row in consents],
                following,
            ),
        )

    async def erase(self, call: Call) -> Answer:
        """Ask for the erasure of a user; a repeat is answered with the one that was asked for last."""
        Fields(read_object(call.body)).done()
        user_id = call.path["userId"]
        if call.replay is not None:
            project_id = call.path["projectId"]
            row = await self._asked(
                self._database.run, lambda connection: latest_erasure(connection, project_id, subject_of(user_id))
            )
            if row is None:
                raise Refusal(Code.NOT_FOUND, _NO_ERASURE)
            return Answer(202, ErasureAnswer.of(row))

        async def ask(connection: Connection) -> ErasureRow:
            standings = await lock_standings(connection, call.key.id)
            check_same(call.key, standings[call.key.id], SCOPE)
            project = await _project_of(connection, call)
            return await request_erasure(connection, call.actor, project, [user_id])

        return Answer(202, ErasureAnswer.of(await self._asked(self._database.transact, ask)))

    async def read_erasure(self, call: Call) -> Answer:
        """Answer how far an erasure has come."""
        call.facts.project_id = call.path["projectId"]
        row = await self._asked(
            self._database.run,
            lambda connection: find_erasure(
                connection,
                call.path["erasureId"],
                organization_id=call.key.organization_id,
                project_id=call.path["projectId"],
            ),
        )
        if row is None:
            raise Refusal(Code.NOT_FOUND, _NO_ERASURE)
        return Answer(200, ErasureState.of(row))

    async def _take_turn(self) -> None:
        """Wait for the turn to read. Raises `Refusal` with `OVERLOADED` where that takes too long."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._turn.acquire()
        except TimeoutError:
            raise Refusal(Code.OVERLOADED) from None

    async def _asked(
        self,
        run: Callable[[Callable[[Connection], Awaitable[T]]], Awaitable[T]],
        work: Callable[[Connection], Awaitable[T]],
    ) -> T:
        try:
            return await run(work)
        except DatabaseAway:
            raise Refusal(Code.UNAVAILABLE) from None


async def _project_of(connection: Connection, call: Call) -> Project:
    """Return the project that a call names. Raises `Refusal` with `NOT_FOUND` where it is not the caller's."""
    project = await find_project(connection, call.path["projectId"])
    if project is None or project.organization_id != call.key.organization_id:
        raise Refusal(Code.NOT_FOUND, _NO_PROJECT)
    call.facts.project_id = project.id
    return project


def _place(fields: Fields) -> Place | None:
    parts = fields.cursor(3)
    if parts is None:
        return None
    ts, app_id, packed = parts
    event_id = unpack(packed)
    try:
        at = datetime.fromisoformat(ts)
    except ValueError:
        at = None
    if event_id is None or at is None or at.tzinfo is None:
        fields.fault("cursor", "must be the `nextCursor` of an earlier answer")
        return None
    return Place(ts, app_id, event_id)
