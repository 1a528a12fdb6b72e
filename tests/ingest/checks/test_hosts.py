"""What is told of hosts and of Valkey, each with its fault."""

import asyncio

from devservices.ports import free_ports
from ingest.checks.finding import Level
from ingest.checks.hosts import names, valkey
from ingest.setting import Secret
from ingest.settings import Settings


def test_a_host_without_an_address_is_a_fault() -> None:
    """Each setting is told by its name, and never by its value."""
    found = list(names([("INGEST_META_URL", "https://127.0.0.1/x"), ("INGEST_TIKTOK_URL", "https://no.invalid/word")]))

    assert [each.level for each in found] == [Level.OK, Level.FAULT]
    assert "INGEST_TIKTOK_URL" in found[1].sentence
    assert "word" not in str(found[1])


def test_a_valkey_that_is_not_there_is_a_fault() -> None:
    """Without one the process counts by itself, which is well."""
    (port,) = free_ports(1)
    away = Settings(redis_url=Secret(f"redis://:word@127.0.0.1:{port}/0"))

    assert asyncio.run(valkey(Settings())).level is Level.OK
    assert asyncio.run(valkey(away)).level is Level.FAULT
    assert "word" not in str(asyncio.run(valkey(away)))
