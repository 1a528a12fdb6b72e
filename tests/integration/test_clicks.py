"""`GET /c/{app_id}` over HTTP: sent on to the app's own place and nowhere else, and recorded."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.edge import APP, Answer, ask, figures, on_local_log, run_command
from tests.support.service import ServiceProcess

SITE = "https://shop.example/start"
PLAY = "https://play.example/details?id=a"
STORES = f'web_url = "{SITE}"\nstore_url_android = "{PLAY}"\nstore_url_ios = "https://apps.example/1"\n'
OTHERS = """
[apps.app_bare]
project_id = "prj_test"
organization_id = "org_test"
[apps.app_killed]
project_id = "prj_test"
organization_id = "org_test"
kill_switch = true
web_url = "https://killed.example/"
"""
PHONE = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Provide an edge over the local log, with an app that has a site and stores."""
    folder = tmp_path_factory.mktemp("clicks")
    settings = on_local_log(folder)
    with (folder / "apps.toml").open("a", encoding="utf-8") as file:
        file.write(STORES + OTHERS)
    with ServiceProcess(settings, folder=folder) as process:
        yield process


def click(service: ServiceProcess, rest: str = "", method: str = "GET", **headers: str) -> Answer:
    """Click on a link; headers are named with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(service.url, f"/c/{APP}{rest}", headers=named, method=method)


def raw(service: ServiceProcess, request: bytes) -> bytes:
    """Send bytes as they are, and return the head of what comes."""
    parts = urlsplit(service.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while data := connection.recv(65_536):
            received += data
    return received.partition(b"\r\n\r\n")[0]


def told(service: ServiceProcess) -> list[dict[str, Any]]:
    """Return the records of clicks."""
    done = run_command(["tail", "clicks"], service.settings)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_person_is_sent_on_and_the_click_recorded(service: ServiceProcess) -> None:
    """302 without a body, cookie or cache; the record has campaign, target and agent, and no more of the request."""
    before = figures(service)
    answer = click(
        service,
        "?utm_source=news&gclid=g1&session=secret-17",
        User_Agent=PHONE,
        Cookie="secret-18=1",
        Referer="https://ads.example/secret-19",
        Origin="https://ads.example",
    )
    after = figures(service)

    assert (answer.status, answer.body) == (302, b"")
    assert answer.headers["location"] == PLAY + "&referrer=utm_source%3Dnews%26gclid%3Dg1"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers
    record = told(service)[-1]
    assert record["event"] == {
        "event_id": record["meta"]["event_id"],
        "timestamp": record["meta"]["received_at"],
        "app_id": APP,
        "target": "android",
        "utm_source": "news",
        "gclid": "g1",
    }
    assert record["meta"]["os"] == {"name": "Android", "version": "14"}
    assert record["meta"]["event_id"].startswith("clk_")
    assert "secret" not in json.dumps(record)
    name = 'ingest_clicks_total{fate="spooled"}'
    assert after[name] - before[name] == 1


TRICKS = (
    "?url=https://evil.example",
    "?redirect=//evil.example&next=https://evil.example&target=https://evil.example&web_url=https://evil.example",
    "?utm_source=//evil.example",
    "?utm_source=https%3A%2F%2Fevil.example%2F",
    "?utm_source=%0d%0aLocation:%20https://evil.example",
    "?utm_source=a%0d%0aSet-Cookie:%20b=c&utm_medium=%00",
    "?utm_source=%23%40evil.example&utm_campaign=%5c%5cevil.example",
    "?referrer=https://evil.example&gclid=%26referrer%3Devil",
    "?//evil.example",
    "?@evil.example",
)


@pytest.mark.parametrize("trick", TRICKS)
def test_a_link_cannot_choose_the_place(service: ServiceProcess, trick: str) -> None:
    """Neither by a parameter, nor by what a parameter says."""
    for agent, own in ((PHONE, PLAY), ("curl/8", SITE)):
        answer = click(service, trick, User_Agent=agent)
        place, expected = urlsplit(answer.headers["location"]), urlsplit(own)
        assert answer.status == 302
        assert (place.scheme, place.netloc, place.path) == (expected.scheme, expected.netloc, expected.path)
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        f"/c/{APP}@evil.example",
        f"/c/{APP}//evil.example",
        f"/c/{APP}/",
        f"/c/{APP}%2f%2fevil.example",
        f"/c/{APP}%2f..%2f{APP}",
        f"/c/{APP}%0d%0aLocation:%20https://evil.example",
        f"/c/{APP}%00",
        f"/c/{APP}\\evil.example",
        f"/c/{APP}.evil.example",
        f"/c/../c/{APP}",
        f"/c/%2e%2e/{APP}",
        "/c/%2f%2fevil.example",
        "/c//evil.example",
        "/c/https://evil.example",
        "//evil.example/%2e%2e",
        "/c/",
        "/c/app_bare",
        "/c/app_none",
        f"/C/{APP}",
    ],
)
def test_other_paths_lead_nowhere(service: ServiceProcess, path: str) -> None:
    """404 in the envelope, and no redirect, not even to a path without its slash; dots are not walked."""
    head = raw(service, f"GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n".encode())

    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"location:" not in head.lower()


@pytest.mark.parametrize("host", [b"evil.example", b"evil.example\r\nX-Forwarded-Host: evil.example", b"", b"a@evil"])
def test_the_host_does_not_matter(service: ServiceProcess, host: bytes) -> None:
    """Neither what the request calls this service, nor whom a proxy names; an absolute target neither."""
    for target in (b"/c/" + APP.encode(), b"http://evil.example/c/" + APP.encode()):
        head = raw(service, b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (target, host))
        assert b"location: " + SITE.encode() in head
        assert b"evil" not in head


def test_who_may_not_send_leads_nowhere(service: ServiceProcess) -> None:
    """A killed app is told so, other methods too; a look by HEAD is answered and leaves no record."""
    killed = ask(service.url, "/c/app_killed")
    posted = ask(service.url, f"/c/{APP}", b"{}")
    before = len(told(service))
    head = click(service, "?utm_source=a", method="HEAD")

    assert (killed.status, killed.code) == (503, "KILL_SWITCH")
    assert "location" not in killed.headers
    assert (posted.status, posted.code) == (405, "METHOD_NOT_ALLOWED")
    assert (head.status, head.headers["location"]) == (302, SITE)
    assert len(told(service)) == before
    assert figures(service)['ingest_requests_total{code="none",route="/c/{app_id}",status="302"}'] > 0
    assert not any(b"evil" in line or b"app_none" in line for line in service.stdout_path.read_bytes().splitlines())


def test_a_transport_that_takes_nothing_holds_nobody_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With a full local log people are sent on, and the lost clicks are counted."""
    folder = tmp_path_factory.mktemp("full")
    settings = on_local_log(folder, SPOOL_BYTES_MAX="1MiB")
    path = folder / "apps.toml"
    path.write_text(path.read_text(encoding="utf-8") + STORES, encoding="utf-8")
    event = {"event": "e", "timestamp": "2026-11-24T10:00:00Z", "noise": "x" * 20_000}
    with ServiceProcess(settings, folder=folder) as full:
        for number in range(500):
            body = json.dumps({"events": [{**event, "event_id": str(number)}] * 1}).encode()
            if ask(full.url, "/events", body, {"X-App-Id": APP}).status == 503:
                break
        answers = [click(full) for _ in range(3)]
        lost = figures(full)['ingest_clicks_total{fate="unavailable"}']

    assert [(each.status, each.headers["location"]) for each in answers] == [(302, SITE)] * 3
    assert lost == 3
