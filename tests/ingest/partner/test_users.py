"""Reads of users take turns, so that they do not fill the lock table of the database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from ingest.db.database import DatabaseAway
from ingest.errors import Code, Refusal
from ingest.partner import users
from ingest.partner.users import Users
from tests.ingest.partner.callers import call

PATH = {"projectId": "prj_demo", "userId": "u-1"}


class SlowDatabase:
    """Answers nothing until it is let go, and then that it is away; counts who asks at once."""

    def __init__(self) -> None:
        self.asking = 0
        self.most = 0
        self.let_go = asyncio.Event()

    async def run(self, _: Callable[[Any], Awaitable[Any]]) -> Any:
        """Wait, and raise."""
        self.asking += 1
        self.most = max(self.most, self.asking)
        try:
            await self.let_go.wait()
        finally:
            self.asking -= 1
        raise DatabaseAway("away")


def codes_of_reads(wait_s: float, *, let_go_first: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Code], int]:
    """Make three reads at once; return why each is refused, and how many asked the database at once."""
    monkeypatch.setattr(users, "WAIT_S", wait_s)

    async def read() -> tuple[list[Code], int]:
        database = SlowDatabase()
        calls = Users(cast("Any", database))
        reads = [asyncio.ensure_future(calls.read_events(call(path=PATH))) for _ in range(3)]
        if not let_go_first:
            await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(reads[1:])
        database.let_go.set()
        found = await asyncio.gather(*reads, return_exceptions=True)
        assert not calls._turn.locked()
        return [each.code for each in found if isinstance(each, Refusal)], database.most

    return asyncio.run(read())


def test_reads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One read asks at a time; a turn is given back whatever comes of it."""
    assert codes_of_reads(60.0, let_go_first=True, monkeypatch=monkeypatch) == ([Code.UNAVAILABLE] * 3, 1)


def test_a_turn_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would wait too long is asked to come again."""
    codes, most = codes_of_reads(0.01, let_go_first=False, monkeypatch=monkeypatch)

    assert codes == [Code.UNAVAILABLE, Code.OVERLOADED, Code.OVERLOADED]
    assert most == 1
