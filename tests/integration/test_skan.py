"""Postbacks on a real PostgreSQL: each is a row once, with the verdict on its signature, whatever comes beside it."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ingest.consume.step import Poison
from ingest.db.migrate import migrate
from ingest.db.queries.skan import Postback, insert_postbacks
from ingest.persist.once import OnceWriter
from ingest.persist.skan import to_postback
from ingest.persist.skan_signature import SkanVerifier
from ingest.settings import APPLE_SKAN_KEY
from ingest.transport.contract import Delivered, Topic
from tests.support.rows import as_persist, ask, opened, said
from tests.support.skan import APPLE_SIGNED, SIGNED_MEMBERS, TRANSACTION, Signer

SIGNER = Signer()
SHOWN = "SELECT transaction_id, postback_sequence_index AS n, signature FROM skan_postbacks ORDER BY 1, 2, app_id"


@pytest.fixture
def dsn(database: str) -> Iterator[str]:
    """Provide a database with a schema, as the persisting process may use it."""
    migrate(database)
    with as_persist(database) as writer:
        yield writer


def keep(dsn: str, *batches: Sequence[Delivered], replay: bool = False) -> list[Poison]:
    """Give batches to the writer, one after the other; return the poison."""
    verifier = SkanVerifier([APPLE_SKAN_KEY, SIGNER.key("4.0")])

    async def run() -> list[Poison]:
        async with opened(dsn) as database:
            writer: OnceWriter[Postback] = OnceWriter(
                database, lambda record: to_postback(record, verifier), insert_postbacks
            )
            step = writer.replay if replay else writer.do
            return [each for batch in batches for each in await step(batch)]

    return asyncio.run(run())


def forwarded(postback: dict[str, Any], **more: Any) -> Delivered:
    """Return the record of a postback."""
    return said(Topic.SKAN, {**postback, **more})


def test_a_postback_is_a_row_with_its_members(dsn: str) -> None:
    """Apple's members are columns with their types, the signature among them."""
    assert keep(dsn, [forwarded(APPLE_SIGNED[1], timestamp=None)]) == []

    (row,) = ask(dsn, "SELECT *, received_at::text AS at FROM skan_postbacks")
    assert {name: row[name] for name in ("app_id", "project_id", "organization_id", "transaction_id")} == {
        "app_id": "app_demo",
        "project_id": "prj_demo",
        "organization_id": "org_demo",
        "transaction_id": TRANSACTION,
    }
    assert (row["version"], row["ad_network_id"], row["campaign_id"]) == ("3.0", "example123.skadnetwork", 42)
    assert (row["apple_app_id"], row["source_app_id"], row["source_domain"]) == (525463029, 1234567891, None)
    assert (row["redownload"], row["fidelity_type"], row["did_win"], row["conversion_value"]) == (True, 1, True, 20)
    assert (row["source_identifier"], row["coarse_conversion_value"], row["country_code"]) == (None, None, None)
    assert row["attribution_signature"] == APPLE_SIGNED[1]["attribution-signature"]
    assert (row["signature"], row["said_at"]) == ("valid", None)


def test_a_second_copy_changes_nothing(dsn: str) -> None:
    """Of the same app, transaction and number; what differs in one of them is another postback."""
    first = SIGNER.signed("4.0")
    second = SIGNER.signed("4.0", postback_sequence_index=1, coarse_conversion_value="low")
    forged = {**first, "redownload": True, "transaction-id": TRANSACTION.upper()}
    keep(dsn, [forwarded(first), forwarded(second)], [forwarded(forged), forwarded(first)], [forwarded(second)])

    assert ask(dsn, SHOWN) == [
        {"transaction_id": TRANSACTION, "n": 0, "signature": "valid"},
        {"transaction_id": TRANSACTION, "n": 1, "signature": "valid"},
    ]


@pytest.mark.parametrize("version", SIGNED_MEMBERS)
def test_every_version_gets_its_verdict(dsn: str, version: str) -> None:
    """Apple's key holds from 2.1 on, the tests' own from 4.0 on."""
    keep(dsn, [forwarded(SIGNER.signed(version))])

    verdict = {"2.0": "unchecked", "4.0": "valid"}.get(version, "invalid")
    assert ask(dsn, SHOWN) == [{"transaction_id": TRANSACTION, "n": 0, "signature": verdict}]


def test_apples_examples_are_valid_rows(dsn: str) -> None:
    """All that come before the tests' own key."""
    keep(dsn, [forwarded(postback) for postback in APPLE_SIGNED[:1] + APPLE_SIGNED[2:3]])

    assert [row["signature"] for row in ask(dsn, SHOWN)] == ["valid", "valid"]


def test_one_record_that_cannot_be_used_costs_no_other(dsn: str) -> None:
    """What is no postback, of another schema, or refused by the database, is set aside alone, and replayed later."""
    good, other = forwarded(SIGNER.signed("4.0")), forwarded(APPLE_SIGNED[2])
    bad = good._replace(value=b"nope")
    empty = good._replace(
        value=b'{"meta":%b,"event":{}}' % good.value.partition(b'"meta":')[2].partition(b',"event":')[0]
    )
    unknown = good._replace(headers=())
    refused = good._replace(value=good.value.replace(b'"4.0"', b'"4.0"').replace(b"525463029", b"9999999999999999999"))
    poison = keep(dsn, [good, bad, empty, unknown, refused, other])

    assert {(each.record.value, each.reason) for each in poison} == {
        (bad.value, "record_malformed"),
        (empty.value, "record_malformed"),
        (unknown.value, "schema_unknown"),
        (refused.value, "row_refused"),
    }
    assert len(ask(dsn, SHOWN)) == 2
    assert keep(dsn, [good], replay=True) == []
    assert len(ask(dsn, SHOWN)) == 2
