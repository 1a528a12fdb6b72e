"""Events as a careful sender writes them, and calls that bring them to the fake platforms over real HTTP."""

import copy
import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from devservices.platforms.fake import FakePlatforms

NOW_S: Final = 1_790_000_000
TOKEN: Final = "token-a"
DATASET: Final = "123456"
PIXEL: Final = "C0FFEE"
WAIT_S: Final = 10.0
"""How long a test waits for what must come."""

Json = dict[str, Any]

_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; a client would make one of its own, slowly


class Clock:
    """The platforms' clock, which stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_s: float = NOW_S

    def __call__(self) -> float:
        """Return the time in seconds since 1970."""
        return self.now_s


class Client:
    """A sender of both platforms, with one keep-alive connection."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def meta(self, *events: object, token: str = TOKEN, dataset: str = DATASET, **members: Any) -> httpx.Response:
        """Send events to Meta; `members` stand beside `data`."""
        return self.http.post(
            f"/v26.0/{dataset}/events",
            json={"data": events, **members},
            headers={"Authorization": f"Bearer {token}"},
        )

    def tiktok(
        self, *events: object, token: str = TOKEN, source: object = "web", source_id: object = PIXEL, **members: Any
    ) -> httpx.Response:
        """Send events to TikTok; `members` stand beside `data`."""
        return self.http.post(
            "/open_api/v1.3/event/track/",
            json={"event_source": source, "event_source_id": source_id, "data": events, **members},
            headers={"Access-Token": token},
        )


@contextmanager
def client_of(platforms: FakePlatforms, timeout_s: float = WAIT_S) -> Iterator[Client]:
    """Connect to fake platforms; without retries, and with a bound on every wait."""
    with httpx.Client(base_url=platforms.url, timeout=timeout_s, trust_env=False, verify=_NO_TLS) as http:
        yield Client(http)


def digest(text: str) -> str:
    """Return the SHA-256 of a text as lower-case hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def meta_event(event_id: str = "e-1", /, **changes: Any) -> Json:
    """Return a purchase in an app as Meta takes it; a change names its path with `__`, and `...` removes it."""
    return _changed(
        {
            "event_name": "Purchase",
            "event_time": NOW_S - 60,
            "event_id": event_id,
            "action_source": "app",
            "user_data": {
                "em": [digest("ann@example.com")],
                "external_id": digest("u-1"),
                "client_user_agent": "Mozilla/5.0 (Linux; Android 14) Chrome/120.0.0.0",
            },
            "custom_data": {"value": 9.99, "currency": "EUR", "contents": [{"id": "sku-1", "quantity": 1}]},
            "app_data": {
                "advertiser_tracking_enabled": 1,
                "application_tracking_enabled": 1,
                "extinfo": ["a2", "com.example", "1.2.3.4", "7", "14", "Pixel 8", "en_US", *[""] * 9],
            },
        },
        changes,
    )


def web_event(event_id: str = "e-1", /, **changes: Any) -> Json:
    """Return a view of a page as Meta takes it; changes are made as in `meta_event`."""
    event = meta_event(
        event_id,
        event_name="ViewContent",
        action_source="website",
        event_source_url="https://shop.example.com/p?q=a%20b",
        app_data=...,
        custom_data=...,
    )
    return _changed(event, changes)


def tiktok_event(event_id: str = "e-1", /, **changes: Any) -> Json:
    """Return a purchase on a web page as TikTok takes it; changes are made as in `meta_event`."""
    return _changed(
        {
            "event": "Purchase",
            "event_time": NOW_S - 60,
            "event_id": event_id,
            "user": {
                "email": digest("ann@example.com"),
                "phone": [digest("+12133734253")],
                "user_agent": "Mozilla/5.0 (Linux; Android 14) Chrome/120.0.0.0",
                "ttclid": "E.C.P.abc",
                "locale": "en-US",
            },
            "properties": {
                "value": 9.99,
                "currency": "EUR",
                "contents": [{"content_id": "sku-1", "price": 9.99, "quantity": 1}],
            },
            "page": {"url": "https://shop.example.com/p?q=a%20b"},
        },
        changes,
    )


def _changed(event: Json, changes: Json) -> Json:
    event = copy.deepcopy(event)
    for path, value in changes.items():
        *above, name = path.split("__")
        inner = event
        for part in above:
            inner = inner.setdefault(part, {})
        if value is ...:
            inner.pop(name, None)
        else:
            inner[name] = value
    return event
