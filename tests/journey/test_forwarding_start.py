"""`ingest forward` starts: on what waited for it, and with rights that it needs."""

import json
from pathlib import Path

from devservices.platforms.fake import FakePlatforms
from devservices.platforms.names import Platform
from ingest.transport.sealed import SealKeys
from tests.integration.edge import run_command
from tests.integration.partner import open_store
from tests.journey.caller import Caller
from tests.journey.forwarding import Operator, now, platform_urls
from tests.journey.waiting import until
from tests.support.program import Program
from tests.support.rows import ask
from tests.support.service import ServiceProcess

LATE_MS = 240_000
"""Whatever is parked is not looked at again within a test."""


def test_what_waited_is_sent_at_once(tmp_path: Path, superuser_dsn: str) -> None:
    """Its first records do not find a process that knows no tokens yet: nothing is parked, and nobody is alarmed."""
    with open_store(superuser_dsn) as store, FakePlatforms() as platforms:
        operator = Operator(store, platforms, tmp_path, SealKeys.generate())
        (shop,) = operator.shops("house")
        log = {"INGEST_SPOOL_KEY": SealKeys.generate(), "INGEST_DATA_DIR": str(tmp_path / "data")}
        event = {"event": "sign_up", "timestamp": now(), "platform": "web", "url": "https://house.example/"}
        body = {"app_id": shop.app, "events": [{**event, "event_id": "e-1", "app_user_id": "ann"}]}
        with ServiceProcess({**log, "INGEST_POSTGRES_DSN": store.serving}, folder=tmp_path / "edge") as edge:
            assert Caller(edge.url).send("POST", "/events", json.dumps(body).encode()).status == 202
            assert edge.stop() == 0
        settings = {
            **log,
            **platform_urls(platforms),
            "INGEST_POSTGRES_DSN": store.forward,
            "INGEST_VAULT_KEY": operator.vault_key,
            "INGEST_FORWARD_PARKED_LOOK_MS": str(LATE_MS),
        }
        with Program("forward", settings=settings, folder=tmp_path / "forward") as forward:
            until(lambda: sorted(each.platform for each in platforms.ledger.events()) == sorted(Platform))
            until(lambda: set(operator.destinations(shop.app).values()) == {("healthy", "")})
            assert forward.stop() == 0
        assert ask(store.owner, "SELECT * FROM outbox") == []
        assert ask(store.owner, "SELECT * FROM forward_workers") == []


def test_without_the_rights_it_does_not_start(tmp_path: Path, superuser_dsn: str) -> None:
    """The login of another process ends it with one line, instead of a process that sends nothing."""
    with open_store(superuser_dsn) as store:
        settings = {
            "INGEST_DATA_DIR": str(tmp_path / "data"),
            "INGEST_SPOOL_KEY": SealKeys.generate(),
            "INGEST_VAULT_KEY": SealKeys.generate(),
            "INGEST_POSTGRES_DSN": store.persist,
        }
        done = run_command(["forward"], settings)

    lines = [line for line in done.stderr.splitlines() if line.startswith("ingest: ")]
    assert done.returncode == 1
    assert [line.partition(", or ")[2] for line in lines] == ["its role is no member of ingest_forward"]
    assert "Traceback" not in done.stderr
