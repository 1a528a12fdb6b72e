"""From an SDK to the platforms: each conversion once, what they may know and nothing else, on both transports."""

import calendar
import json
import time
from pathlib import Path
from typing import Any, Final

import pytest

from devservices.kafka import KafkaCluster
from devservices.platforms.fake import FakePlatforms
from devservices.platforms.ledger import TakenEvent
from devservices.platforms.names import Platform
from ingest.transport.sealed import SealKeys
from tests.integration.edge import run_command
from tests.integration.partner import dump_database, open_store
from tests.journey.caller import Caller
from tests.journey.forwarding import Operator, Shop, Stage, at_work, digest, now, platform_urls
from tests.journey.waiting import until
from tests.support.rows import ask
from tests.support.service import ServiceProcess

AT: Final = now()
SECOND: Final = calendar.timegm(time.strptime(AT, "%Y-%m-%dT%H:%M:%SZ"))
IDFA: Final = "6D92078A-8246-4BA4-AE5B-76104861E7DC"
DENIED_IDFA: Final = "0A1B2C3D-4E5F-4A6B-8C7D-9E0F1A2B3C4D"
GAID: Final = "38400000-8cf0-11bd-b23e-10b96e40000d"
EMAIL: Final = "ann@house.example"
SAID_EMAIL: Final = "kim@house.example"
CLICK: Final = "IwAR2F4-dbP0l7Mn1Iaw"
BROWSER_ID: Final = "fb.1.1794990000000.1098115397"
AGENT: Final = "Shop/3400 CFNetwork/1490.0.4 Darwin/23.2.0"
RAW: Final = (IDFA, DENIED_IDFA, GAID, EMAIL, SAID_EMAIL, digest(""))
"""What must stand nowhere that is kept: raw ids, and the digest of nothing."""

IPHONE: Final = {
    "platform": "ios",
    "os_version": "17.5.1",
    "app_version": "3.4.0",
    "build_number": "3400",
    "device_model": "iPhone15,2",
    "locale": "en_US",
}
EVENTS: Final[list[dict[str, Any]]] = [
    {
        "event": "purchase_success",
        "event_id": "ios-authorized",
        **IPHONE,
        "att_status": "authorized",
        "idfa": IDFA,
        "app_user_id": "ann",
        "install_id": "phone-1",
        "email": EMAIL,
        "properties": {"revenue": 19.99, "currency": "usd", "product_id": "pro", "quantity": 1, "order_id": "o-1"},
    },
    {
        "event": "content_open",
        "event_id": "ios-denied",
        **IPHONE,
        "att_status": "denied",
        "idfa": DENIED_IDFA,
        "app_user_id": "bob",
        "install_id": "phone-2",
        "email": " ",
        "properties": {"content_id": "guide"},
    },
    {
        "event": "sign_up",
        "event_id": "android",
        "platform": "android",
        "os_version": "14",
        "app_version": "3.4.0",
        "device_model": "Pixel 8",
        "locale": "de_DE",
        "install_id": "phone-3",
        "properties": {"gaid": GAID},
    },
    {
        "event": "purchase_success",
        "event_id": "web",
        "platform": "web",
        "anonymous_id": "visitor",
        "properties": {
            "url": f"https://shop.example/checkout?step=2&fbclid={CLICK}",
            "fbclid": CLICK,
            "$fbp": BROWSER_ID,
            "revenue": "7.50",
            "currency": "EUR",
        },
    },
    {
        "event": "purchase_success",
        "event_id": "no-currency",
        "platform": "web",
        "app_user_id": "ann",
        "properties": {"url": "https://shop.example/", "revenue": 5},
    },
    {"event": "level_up", "event_id": "unmapped", **IPHONE, "app_user_id": "ann"},
    {"event": "sign_up", "event_id": "denied", "app_user_id": "ann", "properties": {"consent": {"advertising": False}}},
    {"event": "sign_up", "event_id": "said-no", "platform": "web", "app_user_id": "nick", "email": "nick@b.example"},
    {
        "event": "sign_up",
        "event_id": "said-before",
        "platform": "web",
        "app_user_id": "kim",
        "properties": {"url": "https://shop.example/welcome"},
    },
]
IPHONE_TEXTS: Final = ["i2", "", "3.4.0", "3400", "17.5.1", "iPhone15,2", "en_US", *[""] * 9]
ANDROID_TEXTS: Final = ["a2", "", "3.4.0", "", "14", "Pixel 8", "de_DE", *[""] * 9]

META: Final[dict[str, dict[str, Any]]] = {
    "ios-authorized": {
        "event_name": "Purchase",
        "action_source": "app",
        "user_data": {
            "em": [digest(EMAIL)],
            "external_id": digest("ann"),
            "client_user_agent": AGENT,
            "madid": IDFA,
            "anon_id": "phone-1",
        },
        "custom_data": {
            "value": 19.99,
            "currency": "USD",
            "content_ids": ["pro"],
            "content_type": "product",
            "contents": [{"id": "pro", "quantity": 1}],
            "num_items": 1,
            "order_id": "o-1",
        },
        "app_data": {"advertiser_tracking_enabled": 1, "application_tracking_enabled": 1, "extinfo": IPHONE_TEXTS},
    },
    "ios-denied": {
        "event_name": "ViewContent",
        "action_source": "app",
        "user_data": {"external_id": digest("bob"), "client_user_agent": AGENT, "anon_id": "phone-2"},
        "custom_data": {"content_ids": ["guide"], "content_type": "product"},
        "app_data": {"advertiser_tracking_enabled": 0, "application_tracking_enabled": 1, "extinfo": IPHONE_TEXTS},
    },
    "android": {
        "event_name": "CompleteRegistration",
        "action_source": "app",
        "user_data": {
            "external_id": digest("phone-3"),
            "client_user_agent": AGENT,
            "madid": GAID,
            "anon_id": "phone-3",
        },
        "app_data": {"advertiser_tracking_enabled": 1, "application_tracking_enabled": 1, "extinfo": ANDROID_TEXTS},
    },
    "web": {
        "event_name": "Purchase",
        "action_source": "website",
        "event_source_url": f"https://shop.example/checkout?step=2&fbclid={CLICK}",
        "user_data": {"client_user_agent": AGENT, "fbc": f"fb.1.{SECOND}000.{CLICK}", "fbp": BROWSER_ID},
        "custom_data": {"value": 7.5, "currency": "EUR"},
    },
    "said-before": {
        "event_name": "CompleteRegistration",
        "action_source": "website",
        "event_source_url": "https://shop.example/welcome",
        "user_data": {"em": [digest(SAID_EMAIL)], "external_id": digest("kim"), "client_user_agent": AGENT},
    },
}
TIKTOK: Final[dict[str, dict[str, Any]]] = {
    "ios-authorized": {
        "event": "Purchase",
        "user": {
            "email": digest(EMAIL),
            "external_id": digest("ann"),
            "idfa": digest(IDFA.lower()),
            "user_agent": AGENT,
            "locale": "en-US",
            "att_status": "AUTHORIZED",
        },
        "properties": {
            "value": 19.99,
            "currency": "USD",
            "content_ids": ["pro"],
            "content_type": "product",
            "contents": [{"content_id": "pro", "quantity": 1}],
            "num_items": 1,
            "order_id": "o-1",
        },
        "page": {"url": "https://house.example/"},
    },
    "ios-denied": {
        "event": "ViewContent",
        "user": {"external_id": digest("bob"), "user_agent": AGENT, "locale": "en-US", "att_status": "DENIED"},
        "properties": {
            "content_ids": ["guide"],
            "content_type": "product",
            "contents": [{"content_id": "guide"}],
        },
        "page": {"url": "https://house.example/"},
    },
    "android": {
        "event": "CompleteRegistration",
        "user": {
            "external_id": digest("phone-3"),
            "gaid": digest(GAID),
            "user_agent": AGENT,
            "locale": "de-DE",
            "att_status": "NOT_APPLICABLE",
        },
        "page": {"url": "https://house.example/"},
    },
    "no-currency": {
        "event": "Purchase",
        "user": {"external_id": digest("ann"), "user_agent": AGENT},
        "page": {"url": "https://shop.example/"},
    },
    "said-before": {
        "event": "CompleteRegistration",
        "user": {"email": digest(SAID_EMAIL), "external_id": digest("kim"), "user_agent": AGENT},
        "page": {"url": "https://shop.example/welcome"},
    },
}
SENT: Final = {Platform.META: META, Platform.TIKTOK: TIKTOK}
SKIPPED: Final = [
    ("no-currency", "meta", "skipped", "no_currency"),
    ("said-no", "meta", "skipped", "consent_denied"),
    ("said-no", "tiktok", "skipped", "consent_denied"),
    ("web", "tiktok", "skipped", "no_user"),
]
ENDS: Final = sorted(
    [*SKIPPED, *((each, str(platform), "sent", "") for platform, events in SENT.items() for each in events)]
)


def expected(platform: Platform) -> dict[str, dict[str, Any]]:
    """Return the events that a platform must hold, whole, by their ids."""
    return {each: {"event_id": each, "event_time": SECOND, **event} for each, event in SENT[platform].items()}


def held(events: list[TakenEvent]) -> dict[str, dict[str, Any]]:
    """Return events by their ids, of which each may be there once."""
    found = {each.event_id: each.content for each in events}
    assert len(found) == len(events)
    return found


def say(stage: Stage, shop: Shop) -> None:
    """State what two users said before, and wait until that is known."""
    kim, nick = ({"app_user_id": name, "timestamp": AT} for name in ("kim", "nick"))
    stage.send(shop, "/users/properties", {**kim, "properties": {"email": SAID_EMAIL.upper(), "plan": "pro"}})
    stage.send(shop, "/consent", {**nick, "advertising": False})
    said = "SELECT name FROM user_properties UNION SELECT name FROM consents ORDER BY 1"
    names = ["advertising", "email_sha256", "plan"]
    until(lambda: [row["name"] for row in ask(stage.operator.store.owner, said)] == names)


def send(stage: Stage, shop: Shop) -> None:
    """Send the batch; all of it must be taken."""
    events = [{"timestamp": AT, **event} for event in EVENTS]
    assert stage.send(shop, "/events", {"events": events}, User_Agent=AGENT).json()["accepted"] == len(EVENTS)


def check_nothing_is_kept(stage: Stage) -> None:
    """Check that no raw id stands in the database, in what was persisted or in what is left on any topic."""
    until(lambda: stage.readable("forward") == [])
    kept = [*stage.readable("events"), *stage.readable("forward-parked"), *stage.readable("user-properties")]
    rows = [text.encode() for texts in dump_database(stage.operator.store.owner).values() for text in texts]
    told = [path.read_bytes() for path in (stage.edge.stderr_path, stage.edge.stdout_path, stage.forward.output_path)]
    everything = b"\n".join([*kept, *rows, *told]).lower()
    assert [word for word in RAW if word.lower().encode() in everything] == []


def status_of(shop: Shop, platform: Platform) -> dict[str, Any]:
    """Return what the status must tell of a platform; `times` stands for when it succeeded."""
    others = {f"{fate}:{reason}": 1 for _, name, fate, reason in SKIPPED if name == platform}
    counts = {"sent": len(SENT[platform]), "success_share": 1.0, "others": others}
    return {"app_id": shop.app, "platform": platform, "state": "healthy", "reason": "", **counts, "times": True}


def status(stage: Stage) -> tuple[list[dict[str, Any]], int, int, int]:
    """Return what the status tells: destinations, processes, and what waits."""
    told = stage.operator.told("forward", "status")
    for each in told["destinations"]:
        each["times"] = each.pop("since") is not None and (each.pop("last_success_at") or "") >= AT[:10]
    return told["destinations"], told["workers"], told["lag_records"], told["parked_records"]


def test_every_conversion_arrives_once_by_kafka(
    tmp_path: Path, kafka: KafkaCluster, topic_prefix: str, superuser_dsn: str
) -> None:
    """What platforms hold is written down here; all ends are recorded, and nothing is left behind or sent again."""
    with open_store(superuser_dsn) as store, FakePlatforms() as platforms:
        operator = Operator(store, platforms, tmp_path, SealKeys.generate())
        shop = operator.shop("house")
        with at_work(tmp_path, kafka.bootstrap, topic_prefix, operator) as stage:
            say(stage, shop)
            send(stage, shop)
            until(lambda: stage.ends() == ENDS)
            for platform in Platform:
                assert held(platforms.ledger.events(platform)) == expected(platform)
            everything = ([status_of(shop, each) for each in Platform], 1, 0, 0)
            until(lambda: status(stage) == everything)
            until(lambda: ask(store.owner, "SELECT count(*) AS n FROM events") == [{"n": len(EVENTS)}])
            check_nothing_is_kept(stage)

            calls = len(platforms.ledger.calls())
            send(stage, shop)
            until(lambda: stage.readable("forward") == [])
            assert len(platforms.ledger.calls()) == calls
            assert stage.ends() == ENDS
    assert platforms.ledger.violations() == []


@pytest.mark.usefixtures("postgres_programs")
def test_every_conversion_arrives_once_by_the_embedded_default(tmp_path: Path) -> None:
    """With `ingest dev` and its demo app: whoever denied is not told of, and nothing is sent a second time."""
    batch = [event for event in EVENTS if event["event_id"] in {"ios-authorized", "ios-denied", "denied", "unmapped"}]
    sent = ["ios-authorized", "ios-denied"]
    with FakePlatforms() as platforms:
        for platform in Platform:
            platforms.access.admit(platform, "demo-token")
        with ServiceProcess(platform_urls(platforms), folder=tmp_path, args=("dev",)) as service:

            def send() -> None:
                body = json.dumps({"events": [{"timestamp": AT, **event} for event in batch]}).encode()
                assert Caller(service.url).post(body, User_Agent=AGENT).status == 202

            def status() -> dict[str, Any]:
                done = run_command(["forward", "status", "--json"], service.settings)
                assert done.returncode == 0, done.stderr
                return json.loads(done.stdout)  # type: ignore[no-any-return]

            send()
            until(lambda: [each["sent"] for each in status()["destinations"]] == [2, 2])
            for platform in Platform:
                found = held(platforms.ledger.events(platform))
                assert {each: found[each]["event_time"] for each in sorted(found)} == dict.fromkeys(sent, SECOND)
            meta = held(platforms.ledger.events(Platform.META))
            assert meta == {each: expected(Platform.META)[each] for each in sent}
            batch.append({**batch[0], "event_id": "behind-them"})
            send()
            until(lambda: [each["sent"] for each in status()["destinations"]] == [3, 3])
            assert set(platforms.ledger.times().values()) == {1}
        assert service.stop() == 0
    assert platforms.ledger.violations() == []
