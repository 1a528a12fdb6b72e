import asyncio
import hmac
import json
from base64 import b64decode
from pathlib import Path
from ssl import SSLContext

import pytest

from devservices.ports import HOST, free_ports
from ingest.clock import FakeClock
from ingest.notify import webhook as module
from ingest.notify.failure import Undelivered
from ingest.notify.tls import client_tls
from ingest.notify.webhook import ANSWER_BYTES_MAX, Webhook
from tests.support.certificates import self_signed
from tests.support.receivers import HttpReceiver

KEY, OTHER = bytes(range(32)), b"\xff" * 32
PAYLOAD = {"type": "kill_switch.on", "id": "app_shop", "reason": "späm"}


def send(
    url: str,
    *,
    trusted: bool = True,
    private: bool = False,
    tls: SSLContext | None = None,
    clock: FakeClock | None = None,
) -> None:
    """Send the message `msg_1`."""
    hook = Webhook([KEY, OTHER], clock or FakeClock(1_700_000_000_999), tls or client_tls(), private)
    asyncio.run(hook.send(url, "msg_1", PAYLOAD, trusted=trusted))


def refused(url: str, *, trusted: bool = True, private: bool = False, tls: SSLContext | None = None) -> str:
    """Send what must fail and return the code."""
    with pytest.raises(Undelivered) as caught:
        send(url, trusted=trusted, private=private, tls=tls)
    return caught.value.code


def test_what_a_receiver_gets() -> None:
    """The body is the payload and the message's id; id, time and a signature by each key stand in the headers."""
    with HttpReceiver([204]) as receiver:
        send(receiver.url("/hook?a=b"))
    (call,) = receiver.calls

    assert call.path == "/hook?a=b"
    assert json.loads(call.body) == {**PAYLOAD, "messageId": "msg_1"}
    assert call.headers["content-type"] == "application/json"
    assert call.headers["host"] == f"{HOST}:{receiver.port}"
    assert (call.headers["webhook-id"], call.headers["webhook-timestamp"]) == ("msg_1", "1700000000")
    signatures = [b64decode(one.removeprefix("v1,")) for one in call.headers["webhook-signature"].split(" ")]
    assert signatures == [hmac.digest(key, b"msg_1.1700000000." + call.body, "sha256") for key in (KEY, OTHER)]


def test_a_repeat_has_the_same_body_and_a_time_of_its_own() -> None:
    """Sent again later, a message differs in nothing but time and signature, so that receivers accept and drop it."""
    clock = FakeClock()
    with HttpReceiver() as receiver:
        send(receiver.url(), clock=clock)
        clock.advance(60_000)
        send(receiver.url(), clock=clock)
    first, second = receiver.calls

    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 60
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


@pytest.mark.parametrize("status", [301, 307, 400, 410, 500, 503])
def test_only_2xx_counts(status: int) -> None:
    """Any other status is a failure with its number, and no redirect is followed."""
    with HttpReceiver() as elsewhere, HttpReceiver([status], headers={"Location": elsewhere.url()}) as receiver:
        assert refused(receiver.url()) == f"http_{status}"
    assert elsewhere.calls == []
    assert len(receiver.calls) == 1


def test_an_answer_is_not_read_to_its_end() -> None:
    """However long the answer, it is taken by its status."""
    with HttpReceiver([202], answer=b"x" * (100 * ANSWER_BYTES_MAX)) as receiver:
        send(receiver.url())
    assert len(receiver.calls) == 1


def test_nobody_listens() -> None:
    """A port on which nobody listens refuses."""
    (port,) = free_ports(1)
    assert refused(f"http://{HOST}:{port}/") == "refused"


def test_a_receiver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that takes the request and stays silent costs no more than the timeout."""
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    with HttpReceiver() as receiver:
        receiver.hold.clear()
        assert refused(receiver.url()) == "timeout"


def test_an_organization_reaches_no_private_address() -> None:
    """What an organization names is neither called without TLS nor inside of our network, unless that is allowed."""
    with HttpReceiver() as receiver:
        assert refused(receiver.url(), trusted=False) == "https_needed"
        assert refused(receiver.url(scheme="https"), trusted=False) == "address_not_public"
        assert refused(receiver.url(scheme="https", host="localhost"), trusted=False) == "address_not_public"
        assert receiver.calls == []
        send(receiver.url(), trusted=False, private=True)
        assert len(receiver.calls) == 1


@pytest.mark.parametrize("url", ["https://", "https://a:b/", "https://user:word@example.com/", "ftp://example.com/"])
def test_urls_that_are_none(url: str) -> None:
    """What cannot be called is refused as such."""
    assert refused(url) == "url_invalid"


def test_the_certificate_is_checked_against_the_name(tmp_path: Path) -> None:
    """The checked address is connected to, while TLS asks for the name; a stranger's certificate ends the attempt."""
    contexts = self_signed(tmp_path, "localhost")
    with HttpReceiver(tls=contexts.server) as receiver:
        send(receiver.url(scheme="https", host="localhost"), tls=contexts.client)
        assert refused(receiver.url(scheme="https", host="127.0.0.1"), tls=contexts.client) == "tls"
        assert refused(receiver.url(scheme="https", host="localhost")) == "tls"
        assert [call.headers["host"] for call in receiver.calls] == [f"localhost:{receiver.port}"]
