"""What may go to a platform in clear: texts as they are, or not at all."""

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from ingest.conversion import ConversionRecord
from normalize import NONE, scrub_text

TEXT_CHARS_MAX: Final = 4096
"""Longer texts are left out rather than cut: half a click id belongs to nobody, and a whole one may be long."""

SERVERS: Final = frozenset({"node", "server"})
"""Platforms of which the network tells where a server stands and what runs there, and nothing about a user."""

CLICK_IDS: Final = frozenset(
    "dclid fbclid gbraid gclid irclickid li_fat_id msclkid rclid sclid ttclid twclid wbraid".split()
)
"""Parameters by which advertising platforms know their clicks; another platform's are none of its business."""

_NOTHING: Final = frozenset({"", "unknown", "undefined", "null", "none", "nil", "nan", "n/a"})

# Most texts can be told at a glance to hold nothing that `scrub_text` looks for, which costs some forty times as much.
_is_simple = re.compile(r"(?!.*0{8})[A-Za-z0-9 ._/,;:()-]{1,160}", re.ASCII).fullmatch
_holds_digest = re.compile(r"[0-9A-Fa-f]{64}").search

# Every user of such an agent would look like one and the same person.
_is_library = re.compile(
    r"(?:aiohttp|apache-httpclient|axios|curl|dart|go-http-client|got|guzzlehttp|httpx|hyper|java|node|okhttp|php"
    r"|postmanruntime|python|reqwest|ruby|rust|undici|unityplayer|wget)(?![a-z])",
    re.IGNORECASE,
).match

_is_locale = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z]{4})?(?:[-_]([A-Za-z]{2}))?(?:[.@].*)?").fullmatch


def plain(text: str | None) -> str | None:
    """Return `text` as it is; None where it says nothing, is too long, or holds what identifies, as a digest too."""
    if not text or len(text) > TEXT_CHARS_MAX or text.strip().lower() in _NOTHING or _holds_digest(text):
        return None
    return text if _is_simple(text) or scrub_text(text, NONE)[0] == text else None


def page(url: str | None, own: str) -> str | None:
    """Return the address of a web page without user, without click ids but `own`, and without what is not `plain`."""
    try:
        parts = urlsplit(url or "")
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host:
        return None
    foreign = CLICK_IDS - {own}
    pairs = [pair for pair in parts.query.split("&") if pair.partition("=")[0].lower() not in foreign]
    query = "&".join(filter(plain, pairs))
    netloc, path = parts.netloc.rpartition("@")[2], plain(parts.path) or "/"
    return plain(urlunsplit((parts.scheme, netloc, path, query, plain(parts.fragment) or "")))


def agent(record: ConversionRecord) -> str | None:
    """Return the user agent, None for one that every user of a library or of a server would have."""
    text = plain(record.event.user_agent)
    return None if text is None or is_server(record) or _is_library(text) else text


def is_server(record: ConversionRecord) -> bool:
    """Tell whether a server of the app's owner sent the event rather than the user's device."""
    return (record.event.platform or "").lower() in SERVERS


def locale(text: str | None, separator: str) -> str | None:
    """Return language and region, such as `en-US`; None where the text is no locale.

    >>> locale("en_us.UTF-8", "-"), locale("DE", "_"), locale("zh-Hant-TW", "_")
    ('en-US', 'de', 'zh_TW')
    """
    found = _is_locale(text or "")
    if found is None:
        return None
    language, region = found.groups()
    return separator.join(filter(None, (language.lower(), region and region.upper())))
