"""`ingest dev`: the whole system on this machine, with demonstration data and nothing to configure."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import uvloop

import ingest
from ingest.cli.dev_database import DevDatabase, beside, dev_database
from ingest.cli.dev_platforms import fake_platforms, put_demo_tokens
from ingest.cli.environment import DEV_FILE, read_settings
from ingest.cli.serve import serve_alone
from ingest.settings import Settings
from ingest.settings_rules import VAULT_KEY_NAMES
from ingest.transport.files import FileLock
from ingest.transport.sealed import SealKeys
from ingest.wiring.transport import key_path, open_data_dir

CHECKOUT: Final = Path(ingest.__file__).parent.parent
EXAMPLES: Final = CHECKOUT / "examples"
LOCK: Final = "dev.lock"
"""Held in the data folder while `ingest dev` runs: what it writes there belongs to one of them."""


@click.command()
@click.option("--kafka", is_flag=True, help="Publish to an Apache Kafka that is fetched and started for this run.")
def dev(*, kafka: bool) -> None:
    """Serve on this machine with a PostgreSQL, a demo app, a demonstration geo file and a generated key.

    Whatever the environment sets wins over these defaults. Ctrl-C answers what is in flight and stops everything that
    this command started.
    """
    if not EXAMPLES.is_dir():
        raise click.ClickException("`ingest dev` needs a checkout of the project, for its examples")
    os.umask(0o077)  # whatever is written into the data folder, by whichever program, is for this user alone
    with contextlib.ExitStack() as stack:
        own = {name: text for name, text in os.environ.items() if name not in VAULT_KEY_NAMES}  # for the others
        settings = read_settings("dev", {**_defaults(), **own})
        open_data_dir(settings)
        stack.callback(FileLock(settings.data_dir / LOCK, f"the data folder {settings.data_dir}").release)
        started = stack.enter_context(_kafka(settings.data_dir)) if kafka else {}
        started |= stack.enter_context(fake_platforms(settings.data_dir / "platforms", own))
        database = _database(stack, settings)
        serving = {"INGEST_POSTGRES_DSN": database.serving_dsn} if database else {}
        operators = {"INGEST_POSTGRES_DSN": database.owner_dsn} if database else {}
        given = {**_defaults(), **started, **own}
        settings = read_settings("dev", {**given, **serving})
        _generate_keys(settings)
        stack.enter_context(_told_to_other_commands(settings, {**given, **operators}))
        if settings.postgres_dsn is not None:
            dsn = settings.postgres_dsn.reveal()
            stack.enter_context(beside("notify", "--console", dsn=database.notify_dsn if database else dsn))
            stack.enter_context(beside("persist", "--dev", dsn=database.persist_dsn if database else dsn))
            if database is not None:
                put_demo_tokens(database.owner_dsn)
            stack.enter_context(beside("forward", "--dev", dsn=database.forward_dsn if database else dsn))
        uvloop.run(serve_alone(settings, lambda *ports: click.echo(_announcement(settings, *ports), err=True)))


def _defaults() -> dict[str, str]:
    return {
        "INGEST_GEOIP_PATH": str(EXAMPLES / "demo-geo.mmdb"),
        "INGEST_TRUSTED_PROXIES": "127.0.0.0/8,::1/128",
    }


@contextlib.contextmanager
def _kafka(data_dir: Path) -> Iterator[dict[str, str]]:
    """Run a broker of our own and yield the settings by which it is found."""
    try:
        from devservices.errors import DevServiceError  # noqa: PLC0415 - only a checkout has it
        from devservices.kafka import KafkaCluster  # noqa: PLC0415
    except ImportError:
        raise click.ClickException(
            "--kafka needs a checkout of the project; set INGEST_KAFKA_BOOTSTRAP instead"
        ) from None
    try:
        with KafkaCluster(data_dir.absolute() / "kafka", report=lambda line: click.echo(line, err=True)) as cluster:
            yield {"INGEST_KAFKA_BOOTSTRAP": cluster.bootstrap, "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true"}
    except DevServiceError as error:
        raise click.ClickException(str(error)) from None


def _database(stack: contextlib.ExitStack, settings: Settings) -> DevDatabase | None:
    """Start a PostgreSQL of our own, unless the environment says who may send."""
    if settings.postgres_dsn is not None or settings.apps_file is not None:
        return None
    return stack.enter_context(dev_database(settings.data_dir / "postgres"))


def _generate_keys(settings: Settings) -> None:
    """Make the keys of the local log and the vault where none is configured, readable by this user alone."""
    from ingest.wiring.vault import vault_key_path  # noqa: PLC0415 - no process that serves knows the vault

    for configured, path in (
        (settings.spool_key is not None, key_path(settings)),
        (bool(VAULT_KEY_NAMES & os.environ.keys()), vault_key_path(settings)),
    ):
        if not configured and not path.exists():
            _write_private(path, SealKeys.generate())


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody but this user can read, at no moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


@contextlib.contextmanager
def _told_to_other_commands(settings: Settings, given: dict[str, str]) -> Iterator[None]:
    """Keep the settings where other commands look for them while this runs, readable by this user alone."""
    names = (
        "INGEST_APPS_FILE",
        "INGEST_POSTGRES_DSN",
        "INGEST_KAFKA_BOOTSTRAP",
        "INGEST_KAFKA_ALLOW_SINGLE_COPY",
        "INGEST_TOPIC_PREFIX",
        "INGEST_META_URL",
        "INGEST_TIKTOK_URL",
    )
    path = settings.data_dir / DEV_FILE
    _write_private(path, "".join(f"{name}={given[name]}\n" for name in names if name in given))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _announcement(settings: Settings, port: int, admin_port: int) -> str:
    url = f"{'https' if settings.tls_certificate_file else 'http'}://{settings.host}:{port}"
    return f"""
The edge answers on {url}, for operators on http://{settings.admin_host}:{admin_port}/metrics. Send it a batch:

  curl -i {url}/events -H 'X-App-Id: app_demo' -H 'X-Forwarded-For: 203.0.113.7' \\
    -H 'Content-Type: application/json' -d @examples/batch.json

and look at what was stored:

  .venv/bin/ingest tail events

What advertising platforms would get of it is taken by stand-ins on this machine:

  curl {settings.meta_url}/

Partners' backends call /v1/ with keys, which operators make:

  .venv/bin/ingest keys create --org org_demo --env live --scope events:write --scope keys:read

Ctrl-C stops everything.
"""
