"""Clicks on a real PostgreSQL: each is a row once."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from ingest.consume.step import Poison
from ingest.db.migrate import migrate
from ingest.db.queries.clicks import Click, insert_clicks
from ingest.event import Named
from ingest.persist.click import to_click
from ingest.persist.once import OnceWriter
from ingest.pipeline.click import Target, process_click
from ingest.pipeline.request import Agent, Region
from ingest.transport.contract import SCHEMA, Delivered, Topic
from tests.ingest.pipeline.batches import LIMITS, request
from tests.support.rows import as_persist, ask, opened


@pytest.fixture
def dsn(database: str) -> Iterator[str]:
    """Provide a database with a schema, as the persisting process may use it."""
    migrate(database)
    with as_persist(database) as writer:
        yield writer


def clicked(click_id: str, *, agent: Agent | None = None, **parameters: str) -> Delivered:
    """Return the record of a click."""
    sender = request(region=Region("GB", "ENG"), agent=agent or Agent())
    (record,) = process_click(click_id, Target.ANDROID, parameters, sender, LIMITS).records
    return Delivered(Topic.CLICKS, 0, 0, 1_000, record.key, record.value, SCHEMA)


def keep(dsn: str, *batches: Sequence[Delivered]) -> list[Poison]:
    """Give batches to the writer, one after the other; return the poison."""

    async def run() -> list[Poison]:
        async with opened(dsn) as database:
            writer: OnceWriter[Click] = OnceWriter(database, to_click, insert_clicks)
            return [each for batch in batches for each in await writer.do(batch)]

    return asyncio.run(run())


def test_a_click_is_a_row_once(dsn: str) -> None:
    """Campaign, region and parsed agent are columns, all parameters one more; a repeat changes nothing."""
    agent = Agent(Named("Android", "14"), Named("Chrome Mobile", None))
    first = clicked("clk_1", agent=agent, utm_source="news", utm_term="a\0b", gclid="g")
    plain = clicked("clk_2")
    assert keep(dsn, [first, plain], [first], [plain, first]) == []

    rows = ask(dsn, "SELECT *, received_at::text FROM clicks ORDER BY click_id")
    assert [row["click_id"] for row in rows] == ["clk_1", "clk_2"]
    one, other = rows
    assert one["parameters"] == {"utm_source": "news", "utm_term": "a\ufffdb", "gclid": "g"}
    assert {name: one[name] for name in ("app_id", "project_id", "organization_id", "target")} == {
        "app_id": "app_demo",
        "project_id": "prj_demo",
        "organization_id": "org_demo",
        "target": "android",
    }
    assert (one["utm_source"], one["utm_medium"], one["utm_campaign"]) == ("news", None, None)
    assert (one["country_code"], one["subdivision1_code"]) == ("GB", "ENG")
    assert (one["os"], one["os_version"], one["client"], one["client_version"]) == (
        "Android",
        "14",
        "Chrome Mobile",
        None,
    )
    assert (other["parameters"], other["os"], other["client"]) == ({}, None, None)


def test_one_record_that_cannot_be_used_costs_no_other(dsn: str) -> None:
    """What is no click, and what the database refuses, is set aside alone."""
    good = clicked("clk_1", utm_source="a")
    bad = good._replace(value=b"nope")
    elsewhere = good._replace(value=good.value.replace(b'"target":"android"', b'"target":"toaster"'))
    without = good._replace(value=good.value.replace(b'"target"', b'"tarmac"'))
    poison = keep(dsn, [bad, elsewhere, good, without])

    assert {(each.record.value, each.reason) for each in poison} == {
        (bad.value, "record_malformed"),
        (without.value, "record_malformed"),
        (elsewhere.value, "row_refused"),
    }
    assert [row["click_id"] for row in ask(dsn, "SELECT click_id FROM clicks")] == ["clk_1"]
