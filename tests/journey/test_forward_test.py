"""`ingest forward test`: one synthetic event as a test, and a clear word where it cannot be sent or is not taken."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from devservices.platforms import behaviour as do
from devservices.platforms.fake import FakePlatforms
from devservices.platforms.names import Platform
from ingest.transport.sealed import SealKeys
from tests.integration.edge import run_command
from tests.integration.partner import WHY, open_store, spellings
from tests.journey.forwarding import Operator, Shop
from tests.support.rows import ask

CODE: Final = "TEST12345"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, superuser_dsn: str) -> Iterator[Operator]:
    """Provide an operator of a database and platforms."""
    with open_store(superuser_dsn) as store, FakePlatforms() as platforms:
        yield Operator(store, platforms, tmp_path_factory.mktemp("shops"), SealKeys.generate())


@pytest.fixture(scope="module")
def shop(shared: Operator) -> Shop:
    """Provide an app that forwards to both platforms; it stays as it is."""
    (shop,) = shared.shops("house")
    return shop


@pytest.fixture
def operator(shared: Operator) -> Iterator[Operator]:
    """Provide the operator, and platforms that have seen nothing; nothing improper must ever arrive there."""
    shared.platforms.script.clear()
    shared.platforms.ledger.forget()
    yield shared

    assert shared.platforms.ledger.violations() == []


def tried(operator: Operator, app: str, platform: str, *more: str) -> tuple[int, str, list[str]]:
    """Return exit code, output and error lines of a test. No token may stand in either, however it is written."""
    done = operator.run("forward", "test", "--app", app, "--platform", platform, "--code", CODE, *more)
    said = (done.stdout + done.stderr).encode()
    assert [text for each in Platform for text in spellings(f"{each}-token-of-") if text in said] == []
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize("platform", list(Platform))
def test_an_event_is_taken_as_a_test(operator: Operator, shop: Shop, platform: Platform) -> None:
    """The platform sees the code, and the operator its answer; nothing of it is a delivery."""
    code, out, said = tried(operator, shop.app, platform, "--json")
    told = json.loads(out)
    words = tried(operator, shop.app, platform)

    assert (code, said) == (0, [])
    assert (told["status"], told["accepted"]) == (200, True)
    assert "events_received" in told["answer"] or json.loads(told["answer"])["code"] == 0
    assert (words[0], words[2]) == (0, [])
    assert words[1].startswith("HTTP 200, understood as Accepted")
    first, second = operator.platforms.ledger.events()
    assert first.event_id != second.event_id
    assert {each.test_code for each in (first, second)} == {CODE}
    assert {each.platform for each in (first, second)} == {platform}
    assert ask(operator.store.owner, "SELECT count(*) AS n FROM deliveries") == [{"n": 0}]


def test_a_source_for_apps_gets_an_event_in_an_app(operator: Operator) -> None:
    """What happens on a page would not be taken there."""
    (shop,) = operator.shops("app")
    change(operator, shop, '[forward.tiktok]\nevent_source = "app"\nstore_app_id = "id1"\nevent_source_id = "APPPIXEL"')
    code, _, said = tried(operator, shop.app, "tiktok")

    assert (code, said) == (0, [])
    (event,) = operator.platforms.ledger.events()
    assert (event.source, event.content["app"]) == ("app", {"app_id": "id1"})


REFUSED: Final[list[tuple[do.AnyBehaviour, str, str]]] = [
    (do.DeadToken(), "HTTP 401, understood as Dead(code='190/463')", "did not take"),
    (do.Coded(code=100), "HTTP 400, understood as Refused(code='100')", "did not take"),
    (do.Status(), "HTTP 503, understood as Later(code='http_503'", "did not take"),
    (do.Garbage(status=400, body="no: meta-token-of-house"), "HTTP 400, understood as Refused", "did not take"),
    (do.Reset(taken=False), "", "does not answer: network"),
]


@pytest.mark.parametrize(("behaviour", "out", "word"), REFUSED, ids=lambda each: type(each).__name__)
def test_what_is_not_taken_is_one_line(
    operator: Operator, shop: Shop, behaviour: do.AnyBehaviour, out: str, word: str
) -> None:
    """Exit code 1, and no token even where the answer holds it."""
    operator.platforms.script.add(behaviour)
    code, told, (line,) = tried(operator, shop.app, "meta")

    assert (code, line.startswith("ingest: "), word in line) == (1, True, True)
    assert told.startswith(out)
    assert operator.platforms.ledger.events() == []


def test_what_is_not_ready_is_one_line(operator: Operator) -> None:
    """Without an app, options, a token or its key, or with a kill switch on, nothing is sent."""
    (shop,) = operator.shops("garden")

    def line(app: str = shop.app) -> str:
        code, out, (said,) = tried(operator, app, "meta")
        assert (code, out) == (1, "")
        return said

    unknown = line("app_none")
    operator.told("kill", "on", "platform", "meta", *WHY)
    killed = line()
    operator.told("kill", "off", "platform", "meta", *WHY)
    sealed = operator._replace(vault_key=SealKeys.generate())
    (foreign,) = tried(sealed, shop.app, "meta")[2]
    operator.told("vault", "delete", "--app", shop.app, "--platform", "meta")
    missing = line()
    change(operator, shop, "[forward.meta]\nenabled = false")
    nowhere = line()
    change(operator, shop, "")
    without = line()
    operator.told("apps", "revoke", shop.app, *WHY)
    retired = line()

    assert unknown == retired == "ingest: there is no such app"
    assert killed == "ingest: a kill switch is on"
    assert foreign == "ingest: no token to send with: token_key_unknown"
    assert missing == "ingest: no token to send with: token_missing"
    assert nowhere == without
    assert "no options for meta" in without
    assert operator.platforms.ledger.calls() == []


def test_a_database_that_is_not_ready_is_one_line(database: str) -> None:
    """An empty one has no schema; no key of the vault is told as well."""
    words = ["forward", "test", "--app", "app_a", "--platform", "meta", "--code", CODE]
    done = run_command(words, {"INGEST_POSTGRES_DSN": database, "INGEST_VAULT_KEY": SealKeys.generate()})

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ingest: the database has no schema yet; run `ingest migrate`\n"


def change(operator: Operator, shop: Shop, options: str) -> Any:
    """Give an app other options."""
    path = operator.folder / "options.toml"
    path.write_text(options, encoding="utf-8")
    return operator.told("apps", "change", shop.app, "--options", str(path))
