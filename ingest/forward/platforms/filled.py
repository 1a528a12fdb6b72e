"""Members without those that say nothing."""

from collections.abc import Mapping
from typing import Any


def filled(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are neither None nor an empty text, array or object; zero and false stay."""
    return {name: value for name, value in members.items() if value is not None and value not in ("", [], {})}
