"""Whether something answers is known without waiting for it."""

import asyncio
import json
from pathlib import Path

from ingest.telemetry import log as logging
from ingest.telemetry.watch import Watch
from tests.ingest.consume.test_loop import turns


class Asked:
    """Something that answers with the number of the question, fails, or is silent."""

    def __init__(self) -> None:
        self.questions = 0
        self.is_silent = False
        self.failure: Exception | None = None

    async def ask(self) -> int:
        """Answer."""
        self.questions += 1
        if self.is_silent:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        return self.questions


def test_it_is_away_until_it_has_answered() -> None:
    """Before the first answer nobody may rely on it; its answer is kept."""

    async def play() -> None:
        watch = Watch("database", Asked().ask)
        assert (watch.is_away, watch.reason, watch.answer) == (True, "the database is away", None)
        async with watch.at_work():
            await turns(lambda: not watch.is_away)
        assert (watch.reason, watch.answer) == ("", 1)
        assert 0 <= watch.age_s < 60

    asyncio.run(play())


def test_it_goes_and_comes_back() -> None:
    """A failure of any kind and a silence are told as being away, and the next answer ends that."""

    async def play() -> None:
        asked = Asked()
        watch = Watch("transport", asked.ask, pause_s=0, limit_s=0.01)
        async with watch.at_work():
            await turns(lambda: not watch.is_away)
            asked.failure = RuntimeError()
            await turns(lambda: watch.is_away)
            asked.failure = None
            await turns(lambda: not watch.is_away)
            asked.is_silent = True
            await turns(lambda: watch.is_away)
            assert watch.reason == "the transport is away"
            assert watch.answer is not None
            asked.is_silent = False
            await turns(lambda: not watch.is_away)
        questions = asked.questions
        await asyncio.sleep(0)
        assert asked.questions == questions

    asyncio.run(play())


def test_a_turn_is_told_once(tmp_path: Path) -> None:
    """However often it is asked, one line tells that it went and one that it answers, with the error's type."""

    async def play() -> None:
        asked = Asked()
        watch = Watch("database", asked.ask, pause_s=0)
        async with watch.at_work():
            await turns(lambda: not watch.is_away)
            asked.failure = RuntimeError("secret")
            asked.questions = 0
            await turns(lambda: asked.questions > 3)
            asked.failure = None
            await turns(lambda: not watch.is_away)

    with (tmp_path / "log").open("wb") as file:
        log = logging.configure(fd=file.fileno())
        try:
            asyncio.run(play())
        finally:
            log.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    assert [(line["event"], line["reason"], line.get("error")) for line in lines] == [
        ("dependency_away", "the database is away", "RuntimeError"),
        ("dependency_answers", "the database answers", None),
    ]
