"""Destinations: to which advertising platforms an event goes by its name, and as which event of theirs."""

from collections.abc import Mapping
from typing import Final

from ingest.conversion import Platform
from ingest.registry.model import App

Destinations = tuple[tuple[Platform, Mapping[str, str]], ...]
"""The platforms to which an app forwards, each with the app's event names and its own."""

DEFAULT_NAMES: Final[Mapping[Platform, Mapping[str, str]]] = {
    Platform.META: {
        "purchase_success": "Purchase",
        "paywall_purchased": "Purchase",
        "subscription_start": "Subscribe",
        "subscription_renew": "Subscribe",
        "trial_convert": "Subscribe",
        "trial_start": "StartTrial",
        "sign_up": "CompleteRegistration",
        "add_to_cart": "AddToCart",
        "content_open": "ViewContent",
        "search": "Search",
        "purchase_attempt": "InitiateCheckout",
        "bookmark_add": "AddToWishlist",
    },
    Platform.TIKTOK: {
        "purchase_success": "Purchase",
        "paywall_purchased": "Purchase",
        "subscription_start": "Purchase",
        "trial_start": "Purchase",
        "sign_up": "CompleteRegistration",
        "add_to_cart": "AddToCart",
        "content_open": "ViewContent",
        "search": "Search",
        "screen_view": "PageView",
    },
}
"""What an event is called there, unless the app says otherwise; any other event is not forwarded."""

_NOWHERE: Final[Destinations] = ()


def destinations_of(app: App) -> Destinations:
    """Return where the app's events may go: empty where it forwards none, which costs next to nothing to know.

    An `event_map` that is given for a platform stands in place of all of its default names.
    """
    forward, names = app.forward, app.event_map
    if forward.meta is None and forward.tiktok is None:
        return _NOWHERE
    found: list[tuple[Platform, Mapping[str, str]]] = []
    if forward.meta is not None and forward.meta.enabled:
        found.append((Platform.META, names.meta or DEFAULT_NAMES[Platform.META]))
    if forward.tiktok is not None and forward.tiktok.enabled:
        found.append((Platform.TIKTOK, names.tiktok or DEFAULT_NAMES[Platform.TIKTOK]))
    return tuple(found)
