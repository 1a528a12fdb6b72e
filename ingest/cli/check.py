"""`ingest check`: whether a start would go well, and what is configured that should not stay so."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click
import msgspec

from ingest.cli.environment import read_settings
from ingest.clock import SystemClock
from ingest.settings import SettingsError

if TYPE_CHECKING:
    from ingest.checks.finding import Finding
    from ingest.checks.run import Checked

ROLES: Final = ("serve", "persist", "forward", "notify")


@click.command()
@click.option("--role", type=click.Choice(ROLES), default="serve", show_default=True, help="The process to be started.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(*, role: "Checked", as_json: bool) -> None:
    """Check whether a process would work with the settings in this environment, and change nothing anywhere.

    Prints one line for each finding, ok, warning or fault: exit code 1 where something would not work, 0 where there
    are warnings alone.
    """
    findings = []
    for finding in _findings(role):
        findings.append(finding)
        if not as_json:
            click.echo(finding)
    if as_json:
        click.echo(msgspec.json.encode({"role": role, "findings": [each._asdict() for each in findings]}))
    faults = sum(each.level == "fault" for each in findings)
    if faults:
        raise click.ClickException(f"{faults} of the things that were looked at do not hold up")
    if not as_json:
        click.echo("ok")


def _findings(role: "Checked") -> Iterator["Finding"]:
    from ingest.checks.finding import fault, ok  # noqa: PLC0415 - its libraries are for this command alone
    from ingest.checks.run import look  # noqa: PLC0415

    try:
        settings = read_settings(role, os.environ)
    except SettingsError as error:
        yield from (fault("settings", line) for line in error.lines)
        return
    yield ok("settings", f"the settings hold up for `ingest {role}`")
    yield from look(settings, role, SystemClock())
