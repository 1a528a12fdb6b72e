"""`ingest settings`: every setting with its value, default and meaning."""

import click
import msgspec

from ingest.cli.environment import read_settings
from ingest.cli.table import print_table
from ingest.settings_page import describe
from ingest.settings_rules import warnings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def settings(*, as_json: bool) -> None:
    """Print every setting with its value, default and meaning; secrets are masked."""
    found = read_settings("tool")
    rows = describe(found)
    if as_json:
        click.echo(msgspec.json.encode([row._asdict() for row in rows]))
    else:
        columns = ("name", "value", "default", "unit", "meaning")
        print_table(columns, [(row.name, row.value, row.default, row.unit, row.meaning) for row in rows])
    for warning in warnings(found):
        click.echo(f"warning: {warning}", err=True)
