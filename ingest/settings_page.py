"""The settings as an operator sees them: the table of `ingest settings`, and the page `docs/settings.md`.

`python -m ingest.settings_page > docs/settings.md` writes the page anew.
"""

import sys
from typing import NamedTuple

from ingest.settings import DECLARED, Settings

_HEAD = """# Settings

Every setting is an environment variable, read once at the start. An unknown `INGEST_*` name, a value that does not fit,
or settings that contradict each other refuse the start; all faults are told at once. An empty variable counts as unset.
`ingest settings` prints what is in force.

A secret can be given in a file instead: put its path into the variable with `_FILE` behind its name, and leave the
variable itself unset. The file's content is stripped of white space at both ends.

The serving process refuses to start when it is given `INGEST_VAULT_KEY`, `INGEST_WEBHOOK_SECRET` or `INGEST_SMTP_URL`,
or one of these with `_FILE`: they are for the processes behind it alone. Of these `ingest persist` and `ingest notify`
refuse `INGEST_VAULT_KEY` likewise.

In a cluster where a service is called `ingest`, the orchestrator sets variables such as `INGEST_PORT=tcp://...` and
`INGEST_SERVICE_HOST` by itself. They refuse the start; `enableServiceLinks: false` in the pod's spec keeps them out.

| variable | default | accepts | meaning |
| --- | --- | --- | --- |
"""


class Row(NamedTuple):
    """One setting for display. `value` and `default` are text as it could be given; a secret is `set` or `unset`."""

    name: str
    value: str
    default: str
    unit: str
    meaning: str
    secret: bool


def describe(settings: Settings) -> list[Row]:
    """Tell every setting with its value, in the order of declaration, and no secret."""
    return [
        Row(
            entry.name,
            entry.show(getattr(settings, entry.field)),
            entry.show(entry.default),
            entry.setting.kind.unit,
            entry.setting.meaning,
            entry.setting.secret,
        )
        for entry in DECLARED
    ]


def render_markdown() -> str:
    """Write the page of all settings with their defaults; it depends on nothing but the declarations."""
    rows = []
    for entry in DECLARED:
        default = entry.show(entry.default)
        if entry.default is not None and entry.default != ():
            default = f"`{default}`"
        name = f"`{entry.name}`" + (f", `{entry.file_name}`" if entry.file_name else "")
        cells = (name, default, entry.setting.kind.expected, entry.setting.meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(render_markdown())
