"""Whatever arrives is answered in the platform's words; nothing that a sender writes breaks a twin."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devservices.platforms.access import Access
from devservices.platforms.ledger import Ledger
from devservices.platforms.meta import MetaTwin
from devservices.platforms.reception import Reception
from devservices.platforms.script import Script
from devservices.platforms.tiktok import TikTokTwin
from devservices.platforms.twin import Request, Twin
from tests.devservices.platforms.wire import DATASET, NOW_S, PIXEL, TOKEN, Clock, meta_event, tiktok_event

CALLS: list[tuple[Twin, str, dict[str, Any], dict[str, Any]]] = [
    (MetaTwin(), f"/v26.0/{DATASET}/events", {}, meta_event()),
    (
        TikTokTwin(),
        "/open_api/v1.3/event/track/",
        {"event_source": "offline", "event_source_id": PIXEL},
        tiktok_event(user__att_status="AUTHORIZED", app={"app_id": "1"}),
    ),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


def _paths(content: dict[str, Any]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, value in content.items():
        found.append((name,))
        if isinstance(value, dict):
            found += [(name, inner) for inner in value]
    return found


@pytest.mark.parametrize("call", CALLS, ids=("meta", "tiktok"))
@given(data=st.data())
def test_any_value_anywhere_is_answered(
    call: tuple[Twin, str, dict[str, Any], dict[str, Any]], data: st.DataObject
) -> None:
    """An event with one member of any kind is taken or refused, and the ledger tells which."""
    twin, path, envelope, event = call
    *above, name = data.draw(st.sampled_from(_paths(event)))
    changed = json.loads(json.dumps(event))
    inner = changed
    for part in above:
        inner = inner[part]
    inner[name] = data.draw(JSON)
    ledger = Ledger()
    reception = Reception(Script(), Access(), ledger, Clock(), latency_ms=0)
    headers = {"authorization": f"Bearer {TOKEN}", "access-token": TOKEN}
    request = Request(path, headers, {}, json.dumps({**envelope, "data": [changed]}).encode())
    answer = reception.receive(twin, request).answer

    assert answer is not None
    assert answer.status in (200, 400)
    assert len(ledger.events()) == (1 if answer.code in (None, 0) else 0)
    assert [call.received_ms for call in ledger.calls()] == [NOW_S * 1000]
