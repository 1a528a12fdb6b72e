"""The advertising platforms of `ingest dev`: stand-ins on this machine, so that nothing leaves it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click
import psycopg

from ingest.conversion import Platform

URLS: Final = {"INGEST_META_URL", "INGEST_TIKTOK_URL"}
_TOKEN: Final = "demo-token"  # noqa: S105 - no platform knows it
_PUT_S: Final = 30.0


@contextlib.contextmanager
def fake_platforms(folder: Path, given: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run stand-ins and yield the settings by which they are found; whatever is `given` for a platform stays."""
    if given.keys() >= URLS:
        yield {}
        return
    try:
        from devservices.errors import DevServiceError  # noqa: PLC0415 - only a checkout has it
        from devservices.platforms.process import PlatformsServer  # noqa: PLC0415
    except ImportError:
        raise click.ClickException("`ingest dev` needs a checkout of the project for its stand-in platforms") from None
    try:
        with PlatformsServer(folder.absolute()) as server:
            yield {"INGEST_META_URL": server.meta_url, "INGEST_TIKTOK_URL": server.tiktok_url}
    except DevServiceError as error:
        raise click.ClickException(str(error)) from None


def put_demo_tokens(owner_dsn: str) -> None:
    """Give the demo app a token for each platform, as an operator does, where it has none."""
    with psycopg.connect(owner_dsn) as connection:
        rows = connection.execute("SELECT platform FROM vault_secrets WHERE app_id = 'app_demo'").fetchall()
    there = {platform for (platform,) in rows}
    for platform in Platform:
        if platform not in there:
            put = [sys.executable, "-m", "ingest", "vault", "put", "--app", "app_demo", "--platform", platform]
            env = {**os.environ, "INGEST_POSTGRES_DSN": owner_dsn}
            done = subprocess.run(  # noqa: S603 - our own command
                put, input=_TOKEN, env=env, text=True, capture_output=True, check=False, timeout=_PUT_S
            )
            if done.returncode:
                raise click.ClickException(f"the demo app has no token: {done.stderr.strip()}")
