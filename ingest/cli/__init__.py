"""The console command `ingest`. Every failure ends in exit code 1 and one clear line on stderr."""

import logging
import sys

import click

from ingest.cli.apps import apps
from ingest.cli.audit import audit
from ingest.cli.check import check
from ingest.cli.dead_letters import dead_letters
from ingest.cli.dev import dev
from ingest.cli.erase import erase
from ingest.cli.erasures import erasures
from ingest.cli.forward import forward
from ingest.cli.keys import keys
from ingest.cli.kill import kill
from ingest.cli.migrate import migrate
from ingest.cli.notify import notify
from ingest.cli.orgs import orgs
from ingest.cli.persist import persist
from ingest.cli.projects import projects
from ingest.cli.retention import retention
from ingest.cli.serve import serve, worker
from ingest.cli.settings import settings
from ingest.cli.spool import spool
from ingest.cli.sql import sql
from ingest.cli.tail import tail
from ingest.cli.topics import topics
from ingest.cli.vault import vault
from ingest.control.record import ControlError
from ingest.db.database import DatabaseAway
from ingest.registry.snapshot import RegistryError
from ingest.settings import SettingsError
from ingest.telemetry.sentry import SentryError
from ingest.transport.contract import ConfigurationError, Unavailable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ingest-edge")
def cli() -> None:
    """Take events from SDKs: fast, safely and privately.

    Settings are environment variables that begin with INGEST_; `ingest settings` lists them.
    """


for command in (
    dev,
    serve,
    worker,
    persist,
    forward,
    notify,
    migrate,
    tail,
    topics,
    orgs,
    projects,
    apps,
    keys,
    kill,
    vault,
    audit,
    erase,
    erasures,
    retention,
    check,
    spool,
    dead_letters,
    sql,
    settings,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    logging.getLogger().addHandler(logging.NullHandler())  # stderr is for our own line; a server sets its log up itself
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = 1
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        code = 0
    except click.ClickException as error:
        click.echo(f"ingest: {' '.join(error.format_message().split())}", err=True)
        code = 1
    except SettingsError as error:
        for line in error.lines:
            click.echo(f"ingest: {line}", err=True)
        code = 1
    except RegistryError as error:
        click.echo(f"ingest: INGEST_APPS_FILE cannot be used: {error}", err=True)
        code = 1
    except DatabaseAway:
        click.echo(
            "ingest: the database in INGEST_POSTGRES_DSN cannot be reached, or does not answer in time", err=True
        )
        code = 1
    except UnicodeEncodeError:
        click.echo("ingest: an argument is not UTF-8", err=True)
        code = 1
    except (ConfigurationError, ControlError, SentryError, Unavailable, OSError) as error:
        click.echo(f"ingest: {error}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
