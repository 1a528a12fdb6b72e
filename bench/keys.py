"""`python -m bench.keys`: what the check of partners' keys tells, and what a flood of wrong ones costs others.

Two questions on a running service over a real PostgreSQL. Do a key that does not exist and one with a wrong secret take
the same time, so that timing does not tell whether a key id exists? And how fast do good keys and SDKs pass while
wrong keys, a new one in each call, ask for more checks than there can be?
"""

import asyncio
import secrets
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from math import sqrt
from pathlib import Path
from random import Random
from statistics import NormalDist, fmean, median, variance
from typing import Final, NamedTuple

import click
import httpx
import psycopg

from bench.connections import HOST
from bench.machine import machine
from bench.servers import service
from bench.workload import workload
from devservices.postgres import PostgresServer
from ingest.control.secrets import PartnerKey, hash_secret, mint
from ingest.db.migrate import migrate

PERMUTATIONS: Final = 20_000
PERMUTED_MAX: Final = 400
"""Values of a kind up to which assignments are drawn; from there on means are normal enough."""

TURNED_AWAY_FACTOR: Final = 10
"""Answers without a check that are timed for each check, being so much faster."""

FILLERS: Final = 14
"""Callers that keep all checks taken."""

TOLD_APART_BELOW: Final = 0.001
"""The share of random assignments with a larger difference, below which the two kinds count as told apart."""

GOOD_PER_S: Final = 25
SDK_PER_S: Final = 50
FLOOD_PER_S: Final = 100
_ORGANIZATION: Final = "INSERT INTO organizations (id, name, contact) VALUES ('org_bench', 'Bench', 'b@example.com')"
_PROJECT: Final = "INSERT INTO projects (id, organization_id, name) VALUES ('prj_bench', 'org_bench', 'Bench')"
_APP: Final = "INSERT INTO apps (id, project_id, name) VALUES ('app_demo', 'prj_bench', 'Demo')"
_KEY: Final = """
    INSERT INTO api_keys (id, organization_id, env, secret_hash, scopes, tier)
    VALUES (%s, 'org_bench', 'live', %s, '{}', 'partner')
"""


class Comparison(NamedTuple):
    """Two series of times in ms: their medians, and how often chance alone gives means as far apart."""

    known_ms: float
    other_ms: float
    p_value: float


class Passing(NamedTuple):
    """How requests of one kind passed: times in ms of those that were answered as meant, and how many were not."""

    p50_ms: float
    p99_ms: float
    answered: int
    refused: int


@click.command()
@click.option("--samples", default=150, show_default=True, type=click.IntRange(10), help="Checks of each kind.")
@click.option("--seconds", default=15.0, show_default=True, type=click.FloatRange(1), help="Length of each flood.")
def main(*, samples: int, seconds: float) -> None:
    """Measure, and end with exit code 1 where known and unknown keys can be told apart."""
    with tempfile.TemporaryDirectory() as folder, _edge(Path(folder)) as (url, key):
        here = machine()
        click.echo(f"{here.cpu}, {here.cores} cores, Python {here.python}, commit {here.commit}\n")
        told = asyncio.run(_measure(url, key, samples, seconds))
    sys.exit(told)


@contextmanager
def _edge(folder: Path) -> Iterator[tuple[str, PartnerKey]]:
    """Run a service that knows one key."""
    key = mint("live")
    with PostgresServer(folder / "postgres", durable=False) as postgres:
        dsn = postgres.create_database("bench")
        migrate(dsn)
        with psycopg.connect(dsn) as connection:
            for statement in (_ORGANIZATION, _PROJECT, _APP):
                connection.execute(statement)
            connection.execute(_KEY, (key.key_id, hash_secret(key.secret)))
        settings = {
            "INGEST_POSTGRES_DSN": dsn,
            "INGEST_DATA_DIR": str(folder / "data"),
            "INGEST_SPOOL_KEY": b64encode(secrets.token_bytes(32)).decode(),
        }
        with service(settings, folder / "edge.log") as (_, port):
            yield f"http://{HOST}:{port}", key


async def _measure(url: str, key: PartnerKey, samples: int, seconds: float) -> bool:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        found = await _compare(client, key, samples)
        told = False
        for name, comparison in found.items():
            told |= comparison.p_value < TOLD_APART_BELOW
            medians = f"wrong secret {comparison.known_ms:.2f} ms, {name} {comparison.other_ms:.2f} ms"
            click.echo(f"{medians} (medians of {samples}), p = {comparison.p_value:.4f}")
        away = await _compare_turned_away(client, key, samples)
        told |= away.p_value < TOLD_APART_BELOW
        medians = f"turned away: wrong secret {away.known_ms:.3f} ms, unknown key {away.other_ms:.3f} ms"
        click.echo(f"{medians} (medians of {samples * TURNED_AWAY_FACTOR}), p = {away.p_value:.4f}")
        click.echo("\n| requests | p50 ms | p99 ms | answered | refused |\n| --- | --- | --- | --- | --- |")
        for flooded in (False, True):
            for name, passing in (await _pass(client, key, seconds, flooded=flooded)).items():
                click.echo(
                    f"| {name}{' in the flood' if flooded else ''} | {passing.p50_ms:.2f} | {passing.p99_ms:.2f} |"
                    f" {passing.answered} | {passing.refused} |"
                )
    return told


async def _compare_turned_away(client: httpx.AsyncClient, key: PartnerKey, samples: int) -> Comparison:
    """Time how fast wrong keys are turned away while all checks are taken: what is left then is the database's part."""
    ending = asyncio.Event()

    async def fill() -> None:
        while not ending.is_set():
            await _whoami(client, mint("live"))

    filling = [asyncio.create_task(fill()) for _ in range(FILLERS)]
    random = Random(secrets.randbits(64))
    known: list[float] = []
    unknown: list[float] = []
    while min(len(known), len(unknown)) < samples * TURNED_AWAY_FACTOR:
        is_known = random.random() < 0.5
        sent = mint("live", key.key_id) if is_known else mint("live")
        begun = time.perf_counter()
        answer = await _whoami(client, sent)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            (known if is_known else unknown).append((time.perf_counter() - begun) * 1_000)
    ending.set()
    await asyncio.gather(*filling)
    return Comparison(median(known), median(unknown), _p_value(known, unknown, random))


async def _compare(client: httpx.AsyncClient, key: PartnerKey, samples: int) -> dict[str, Comparison]:
    """Time one check after the other, the kinds in random order, each with a secret that was never sent before."""
    kinds: dict[str, Callable[[], PartnerKey]] = {
        "known": lambda: mint("live", key.key_id),
        "unknown key": lambda: mint("live"),
        "other env": lambda: mint("test", key.key_id),
    }
    random = Random(secrets.randbits(64))
    order = [kind for kind in kinds for _ in range(samples)]
    random.shuffle(order)
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for kind in order:
        sent = kinds[kind]()
        begun = time.perf_counter()
        answer = await _whoami(client, sent)
        times[kind].append((time.perf_counter() - begun) * 1_000)
        assert answer.status_code == httpx.codes.UNAUTHORIZED, answer.status_code
    known = times.pop("known")
    return {
        kind: Comparison(median(known), median(other), _p_value(known, other, random)) for kind, other in times.items()
    }


def _p_value(one: Sequence[float], other: Sequence[float], random: Random) -> float:
    """Return how often chance alone gives means as far apart: by permutations, for many values by Welch's test."""
    if len(one) > PERMUTED_MAX:
        error = sqrt(variance(one) / len(one) + variance(other) / len(other))
        return 2 * NormalDist().cdf(-abs(fmean(one) - fmean(other)) / error)
    seen = abs(fmean(one) - fmean(other))
    pool, count = [*one, *other], len(one)
    total = sum(pool)
    larger = 0
    for _ in range(PERMUTATIONS):
        part = sum(random.sample(pool, count))
        larger += abs(part / count - (total - part) / (len(pool) - count)) >= seen
    return (larger + 1) / (PERMUTATIONS + 1)


async def _pass(client: httpx.AsyncClient, key: PartnerKey, seconds: float, *, flooded: bool) -> dict[str, Passing]:
    """Send good calls and SDKs' batches at fixed rates, where `flooded` beside more wrong keys than can be checked."""
    body = workload(1).bodies[0]
    until = time.monotonic() + seconds
    kinds: dict[str, tuple[int, int, Callable[[], Awaitable[httpx.Response]]]] = {
        "good key": (GOOD_PER_S, 200, lambda: _whoami(client, key)),
        "SDK": (SDK_PER_S, 202, lambda: client.post("/events", content=body, headers={"X-App-Id": "app_demo"})),
    }
    if flooded:
        kinds["wrong key"] = (FLOOD_PER_S, 401, lambda: _whoami(client, mint("live", key.key_id)))
    passed = await asyncio.gather(*(_at_rate(*kind, until) for kind in kinds.values()))
    return dict(zip(kinds, passed, strict=True))


async def _at_rate(per_s: int, status: int, send: Callable[[], Awaitable[httpx.Response]], until: float) -> Passing:
    """Send at a fixed rate, however long answers take; times count from when a request was due."""
    sending: list[asyncio.Task[float | None]] = []
    due = time.monotonic()
    while due < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        sending.append(asyncio.create_task(_timed(send, status, due)))
        due += 1 / per_s
    answers = await asyncio.gather(*sending)
    times = sorted(each for each in answers if each is not None)
    refused = len(answers) - len(times)
    if not times:
        return Passing(float("nan"), float("nan"), 0, refused)
    return Passing(median(times), times[int(len(times) * 0.99)], len(times), refused)


async def _timed(send: Callable[[], Awaitable[httpx.Response]], status: int, due: float) -> float | None:
    answer = await send()
    return (time.monotonic() - due) * 1_000 if answer.status_code == status else None


async def _whoami(client: httpx.AsyncClient, key: PartnerKey) -> httpx.Response:
    return await client.get("/v1/whoami", headers={"Authorization": f"Bearer {key.text()}"})


if __name__ == "__main__":
    main()
