"""A law of postbacks: what Apple signed leaves the edge as it came, so that the signature still holds."""

import json
from ipaddress import ip_address

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ingest.edge.intake import SKAN
from ingest.event import EventRecord
from ingest.persist.skan_signature import SkanVerifier, Verdict
from ingest.pipeline.process import process
from tests.ingest.pipeline.batches import LIMITS, request
from tests.support.skan import SIGNED_MEMBERS, Signer

SIGNER = Signer()
IDS = st.integers(0, 2**63 - 1)
UUIDS = st.uuids(allow_nil=False).map(str)


@given(
    version=st.sampled_from(tuple(SIGNED_MEMBERS)),
    transaction_id=UUIDS | UUIDS.map(str.upper),
    app_id=IDS | IDS.map(lambda number: str(number)[:18]),
    source_app_id=st.none() | IDS,
    redownload=st.booleans(),
    own=st.ip_addresses(),
)
def test_the_signature_still_holds(
    version: str,
    transaction_id: str,
    app_id: int | str,
    source_app_id: int | None,
    *,
    redownload: bool,
    own: object,
) -> None:
    """Whatever the ids and the signature look like, and wherever the client is."""
    postback = SIGNER.signed(
        version, transaction_id=transaction_id, app_id=app_id, source_app_id=source_app_id, redownload=redownload
    )
    sender = request(str(ip_address(str(own))))
    batch = SKAN.decode(json.dumps(postback).encode(), LIMITS)
    (record,) = process(batch, sender, LIMITS, SKAN.check, proven=SKAN.proven).records
    event = msgspec.json.decode(record.value, type=EventRecord).event

    assert {name: event[name] for name in postback} == postback
    assert SkanVerifier([SIGNER.key("2.0")]).judge(event) is Verdict.VALID
