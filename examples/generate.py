"""Writes the example batches beside this file: `python examples/generate.py`.

The same bytes come out each time, on each machine. People, addresses and numbers are made up from the ranges that are
reserved for examples: example.com, +1 415 555 01xx, +44 20 7946 0xxx, 203.0.113.0/24.
"""

import json
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Properties = dict[str, Any]

APP_ID = "app_demo"
SIZES = (1, 20, 100)
START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
EMAILS = ("  Ada.Lovelace@Example.COM ", "grace.hopper@example.org", "Alan.TURING@Example.net", "\tMary@example.com")
PHONES = ("+1 (415) 555-0132", "+44 20 7946 0958", "+1 415 555 0147", "+44 (0)20 7946 0018")
PRODUCTS = ("com.example.gold.100", "com.example.gold.500", "com.example.pro.monthly", "com.example.pro.yearly")


class Device:
    """One installation of the demo app: what stays the same in all its events."""

    def __init__(self, rng: random.Random, platform: str) -> None:
        self._rng = rng
        self._now = START + timedelta(seconds=rng.randrange(3600))
        self.platform = platform
        self.user_id = f"user-{rng.randrange(10_000):04}"
        self.install_id = self.new_id()
        self.session_id = self.new_id()
        self.vendor_id = self.new_id().upper()
        self.advertising_id = self.new_id()
        self.email = rng.choice(EMAILS)
        self.phone = rng.choice(PHONES)

    def new_id(self) -> str:
        """Return a UUID version 4."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def tick(self) -> str:
        """Let a few seconds pass and return the client's time, in milliseconds."""
        self._now += timedelta(milliseconds=self._rng.randrange(200, 9_000))
        return self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def properties_of(name: str, device: Device, rng: random.Random) -> Properties:
    """Return what an SDK sends with an event of this name."""
    product = rng.choice(PRODUCTS)
    price = round(rng.randrange(99, 9_999) / 100, 2)
    goods: Properties = {"currency": rng.choice(("USD", "EUR", "GBP")), "product_id": product, "quantity": 1}
    order = {"order_id": f"order-{rng.randrange(10**8):08}", "transaction_id": str(rng.randrange(10**15, 10**16))}
    bought = {**goods, **order, "email": device.email, "phone": device.phone, "revenue": price, "store": "example"}
    link = f"https://shop.example.com/sale?utm_source=newsletter&utm_campaign=autumn-2026&item={product}"
    known: dict[str, Properties] = {
        "add_to_cart": {**goods, "price": price},
        "app_open": {"$page_url": link, "$ttp": device.new_id(), "$fbp": f"fb.1.1795500000000.{rng.randrange(10**9)}"},
        "begin_checkout": {**goods, "items": [{"item_id": product, "price": price}], "value": price},
        "content_open": {"category": "guides", "content_id": f"article-{rng.randrange(900) + 100}", "rank": 3},
        "deep_link_opened": {
            "url": f"exampleapp://shop/sale?email=ada.lovelace%40example.com&fbclid=IwAR{rng.randrange(10**12):012}",
            "scheme": "exampleapp",
            "host": "shop",
            "path": "/sale",
            "utm_campaign": "autumn-2026",
        },
        "level_complete": {"duration_s": rng.randrange(20, 400), "level": rng.randrange(1, 60), "stars": 3},
        "login": {"email": device.email, "method": "password"},
        "purchase_success": bought,
        "screen_view": {"previous_screen": "home", "time_on_previous_ms": rng.randrange(300, 60_000)},
        "search": {"query": "rain jacket", "results": rng.randrange(200)},
        "sign_up": {"email": device.email, "method": "email", "phone": device.phone},
        "trial_start": {**goods, **order, "trial_days": 7, "value": 0},
    }
    return {
        **known[name],
        "experiment": {"name": "paywall-copy", "variant": rng.choice(("a", "b")), "weights": [0.5, 0.5]},
        "network": rng.choice(("wifi", "cellular")),
        "sequence": 9_007_199_254_740_993 + rng.randrange(1_000),  # survives only where integers stay exact
    }


def ios(device: Device) -> Event:
    """Return what the iOS SDK adds to each event."""
    return {
        "platform": "ios",
        "os_version": "18.6.1",
        "app_version": "4.2.0",
        "device_model": "iPhone15,2",
        "screen_size": "1179x2556",
        "build_number": "1042",
        "idfv": device.vendor_id,
        "att_status": "denied",
    }


def android(device: Device) -> Event:
    """Return what the Android SDK adds to each event."""
    return {
        "platform": "android",
        "os_version": "15",
        "app_version": "4.2.0",
        "device_model": "Pixel 8 Pro",
        "screen_size": "1344x2992",
        "build_number": "2042",
        "gaid": device.advertising_id,
        "install_source": "play_store",
    }


def web(device: Device) -> Event:
    """Return what the WebGL and browser SDKs add to each event."""
    return {
        "platform": "web",
        "os_version": "10",
        "app_version": "4.2.0",
        "device_model": "Chrome",
        "screen_size": "1920x1080",
        "anonymous_id": f"anon-{device.install_id[:8]}",
        "referrer": "https://www.example.org/blog/autumn",
        "utm_source": "newsletter",
    }


NAMES: dict[str, tuple[str, ...]] = {
    "ios": ("app_open", "screen_view", "purchase_success", "level_complete", "trial_start", "deep_link_opened"),
    "android": ("app_open", "screen_view", "add_to_cart", "purchase_success", "login", "search"),
    "web": ("app_open", "content_open", "search", "add_to_cart", "begin_checkout", "sign_up"),
    "beacon": ("screen_view", "content_open", "add_to_cart"),
}
PLATFORMS: dict[str, Callable[[Device], Event]] = {"ios": ios, "android": android, "web": web, "beacon": web}
MIXED = (
    *("app_open", "sign_up", "screen_view", "deep_link_opened", "content_open", "search", "screen_view"),
    *("add_to_cart", "begin_checkout", "purchase_success", "level_complete", "screen_view", "trial_start"),
    *("level_complete", "login", "screen_view", "content_open", "add_to_cart", "purchase_success", "level_complete"),
)


def event(name: str, device: Device, rng: random.Random) -> Event:
    """Return one event with its members in the order in which the native core writes them."""
    screen = {"screen_name": rng.choice(("home", "shop", "article", "settings"))} if name == "screen_view" else {}
    return {
        "event": name,
        "timestamp": device.tick(),
        "event_id": device.new_id(),
        "app_id": APP_ID,
        "environment": "production",
        **PLATFORMS[device.platform](device),
        "locale": "en-US",
        "session_id": device.session_id,
        "app_user_id": device.user_id,
        "user_id": device.user_id,
        "install_id": device.install_id,
        "timezone": "Europe/Berlin",
        **screen,
        "properties": dict(sorted(properties_of(name, device, rng).items())),
    }


def native_batch(device: Device, events: list[Event]) -> Properties:
    """Return the three members that the native core sends, and no other."""
    return {"events": events, "batch_id": device.new_id(), "sent_at": device.tick()}


def beacon_batch(_: Device, events: list[Event]) -> Properties:
    """Return a page-hide batch: it can set no header, so only the events name the app."""
    return {"events": events}


def documents() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each example file."""
    rng = random.Random("batch")
    device = Device(rng, "ios")
    mixed = native_batch(device, [event(name, device, rng) for name in MIXED])
    mixed["events"][1]["properties"]["client_ip"] = "203.0.113.7"  # an address that must not get past the edge
    yield "batch.json", json.dumps(mixed, indent=2) + "\n"
    for flavour, names in NAMES.items():
        for size in SIZES:
            rng = random.Random(f"{flavour}-{size}")
            device = Device(rng, flavour)
            events = [event(names[index % len(names)], device, rng) for index in range(size)]
            batch = beacon_batch(device, events) if flavour == "beacon" else native_batch(device, events)
            yield f"{flavour}-{size}.json", one_event_a_line(batch)


def one_event_a_line(batch: Properties) -> str:
    """Return the batch as compact as SDKs send it, but for a line break around each event."""
    members = {name: compact(value) for name, value in batch.items() if name != "events"}
    events = ",\n".join(compact(each) for each in batch["events"])
    return "".join(['{"events":[\n', events, "\n]", *(f',"{name}":{text}' for name, text in members.items()), "}\n"])


def compact(value: object) -> str:
    """Return JSON without white space."""
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    """Write all files."""
    for name, text in documents():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
