"""What a message says to a person. Nothing in it can begin a line or a header of its own."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

SUBJECT_CHARACTERS_MAX: Final = 150

_LABELS: Final = {
    "scope": "Scope",
    "target": "Switched",
    "id": "Id",
    "organizationId": "Organization",
    "reason": "Reason",
    "actor": "By",
    "at": "At",
    "auditId": "Audit event",
}
_HAPPENED: Final = {
    "kill_switch.on": "Kill switch turned on",
    "kill_switch.off": "Kill switch lifted",
    "forward.paused": "Forwarding paused",
    "forward.resumed": "Forwarding goes on",
}
_EFFECTS: Final = {
    "kill_switch.on": "Requests that it concerns are answered with 503 KILL_SWITCH until it is lifted.",
    "kill_switch.off": "Requests that it concerned are taken again.",
    "forward.paused": "Its conversions wait for at most two days; `ingest forward status` tells what has to be mended.",
    "forward.resumed": "What waited is sent now.",
}
_PLATFORM_EFFECTS: Final = {
    "kill_switch.on": "Nothing is sent to this platform until it is lifted; events are taken all the same.",
    "kill_switch.off": "Conversions are sent to this platform again.",
}


def subject(payload: Mapping[str, Any]) -> str:
    """Return what happened to what, on one line."""
    kind = str(payload.get("type", ""))
    happened = _HAPPENED.get(kind, kind)
    named = " ".join(dict.fromkeys(str(payload[name]) for name in ("target", "id") if payload.get(name)))
    return _one_line(f"{happened}: {named}")[:SUBJECT_CHARACTERS_MAX]


def facts(payload: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield label and value of all that is known of it, each on one line."""
    for name, label in _LABELS.items():
        if payload.get(name) is not None:
            yield label, _one_line(str(payload[name]))


def effect(payload: Mapping[str, Any]) -> str:
    """Return what follows from it, a sentence, empty where that is not known."""
    effects = _EFFECTS if payload.get("scope") != "platform" else _PLATFORM_EFFECTS
    return effects.get(str(payload.get("type")), "")


def _one_line(text: str) -> str:
    printable = re.sub(r"\s", " ", text)
    return "".join(character if character.isprintable() else "\ufffd" for character in printable).strip()
