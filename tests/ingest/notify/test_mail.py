import asyncio
from pathlib import Path
from ssl import SSLContext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devservices.ports import HOST, free_ports
from ingest.clock import FakeClock
from ingest.notify.failure import Undelivered
from ingest.notify.mail import Mail, MailServer, Security
from ingest.notify.tls import client_tls
from tests.support.certificates import self_signed
from tests.support.receivers import MailReceiver, leavings_collected

PAYLOAD = {
    "type": "kill_switch.on",
    "scope": "key",
    "target": "key",
    "id": "01KEY",
    "organizationId": "org_acme",
    "reason": "leaked in a repository, ünd more",
    "actor": "operator:anna",
    "at": "2026-01-01T00:00:00.000Z",
    "auditId": "aud_1",
}
EVIL = "x\r\nBcc: eve@example.com\r\n\r\nhello\u2028"


def mail(
    port: int = 25, security: Security = "plain", *, tls: SSLContext | None = None, word: str | None = None
) -> Mail:
    """Return the way to a server on loopback, with an account where there is a word."""
    server = MailServer(HOST, port, security, "edge" if word else None, word)
    return Mail(server, "edge@ingest.example", FakeClock(), tls or client_tls())


def send(way: Mail, to: str = "ops@acme.example") -> None:
    """Send the message `msg_1`."""
    with leavings_collected():
        asyncio.run(way.send(to, "msg_1", PAYLOAD))


def refused(way: Mail, to: str = "ops@acme.example") -> str:
    """Send what must fail and return the code."""
    with pytest.raises(Undelivered) as caught:
        send(way, to)
    return caught.value.code


def test_what_is_read_from_a_url() -> None:
    """TLS follows from the scheme; only on loopback or a private network goes a mail without it."""
    assert MailServer.parse("smtp://u:p%40ss@mail.example", private_network=False) == MailServer(
        "mail.example", 587, "starttls", "u", "p@ss"
    )
    assert MailServer.parse("smtps://mail.example:4650", private_network=True) == MailServer(
        "mail.example", 4650, "tls"
    )
    assert MailServer.parse("smtps://mail.example", private_network=False).port == 465
    assert MailServer.parse("smtp://mail.example:25", private_network=True).security == "plain"
    assert MailServer.parse("smtp://[::1]:25", private_network=False) == MailServer("::1", 25, "plain")


def test_a_mail_tells_the_facts() -> None:
    """The mail names what was switched, why and by whom, in plain text, under an id that follows from the message."""
    with MailReceiver() as receiver:
        send(mail(receiver.port))
    (taken,) = receiver.mails

    assert receiver.recipients == [["ops@acme.example"]]
    assert (taken["From"], taken["To"]) == ("edge@ingest.example", "ops@acme.example")
    assert taken["Subject"] == "Kill switch turned on: key 01KEY"
    assert taken["Message-ID"] == "<msg_1@ingest.example>"
    assert taken["Date"].datetime.timestamp() == FakeClock().now_ms() / 1000
    assert taken.get_content_type() == "text/plain"
    text = taken.get_content()
    assert all(str(PAYLOAD[name]) in text for name in PAYLOAD if name != "type")
    assert "\nReason: leaked in a repository, ünd more\nBy: operator:anna\n" in text.replace("\r\n", "\n")


def test_no_value_begins_a_header_or_a_line() -> None:
    """Line breaks in values become spaces: there is no further recipient, header or line."""
    with MailReceiver() as receiver:
        asyncio.run(mail(receiver.port).send("ops@acme.example", "msg_1", dict.fromkeys(PAYLOAD, EVIL)))
    (taken,) = receiver.mails

    assert receiver.recipients == [["ops@acme.example"]]
    assert taken["Bcc"] is None
    assert sum("Bcc" in line for line in taken.get_content().splitlines()) == len(PAYLOAD)
    assert not any(line.startswith("Bcc") for line in taken.get_content().splitlines())


@settings(deadline=None)
@given(st.from_regex(r'[^\s@,;<>"]{1,64}@[A-Za-z0-9.-]{1,40}', fullmatch=True))
def test_every_address_makes_a_mail_or_is_refused(address: str) -> None:
    """What passes as a contact either stands in one header `To` as it is, or is refused by its code."""
    try:
        made = mail().compose(address, "msg_1", PAYLOAD)
        named = [one.addr_spec for one in made["To"].addresses]
    except Undelivered as error:
        named = [error.code]

    assert named in ([address], ["address_invalid"])


def test_the_servers_refusals() -> None:
    """A refusal is told by the server's number, and taken later."""
    with MailReceiver(["451 not now", "550 never"]) as receiver:
        assert refused(mail(receiver.port)) == "smtp_451"
        assert refused(mail(receiver.port)) == "smtp_550"
        send(mail(receiver.port))
    assert {taken["Message-ID"] for taken in [*receiver.refused, *receiver.mails]} == {"<msg_1@ingest.example>"}


def test_nobody_listens() -> None:
    """A port on which nobody listens refuses."""
    (port,) = free_ports(1)
    assert refused(mail(port)) == "refused"


def test_no_mail_goes_without_the_tls_that_was_asked_for(tmp_path: Path) -> None:
    """A server without STARTTLS, or with a stranger's certificate, gets nothing."""
    with MailReceiver() as receiver:
        assert refused(mail(receiver.port, "starttls")) == "smtp_not_supported"
        assert receiver.mails == []
    with MailReceiver(starttls=self_signed(tmp_path, HOST).server) as receiver:
        assert refused(mail(receiver.port, "starttls")) == "tls"
        assert receiver.mails == []


def test_mail_over_starttls_with_an_account(tmp_path: Path) -> None:
    """Over STARTTLS the account is told, and a wrong one is refused."""
    contexts = self_signed(tmp_path, HOST)
    with MailReceiver(starttls=contexts.server, account=("edge", "word")) as receiver:
        send(mail(receiver.port, "starttls", tls=contexts.client, word="word"))
        assert refused(mail(receiver.port, "starttls", tls=contexts.client, word="guess")) == "smtp_535"
    assert len(receiver.mails) == 1


def test_mail_over_tls(tmp_path: Path) -> None:
    """TLS from the first byte works, with a certificate that is verified."""
    contexts = self_signed(tmp_path, HOST)
    with MailReceiver(tls=contexts.server) as receiver:
        send(mail(receiver.port, "tls", tls=contexts.client))
        assert refused(mail(receiver.port, "tls")) == "tls"
    assert len(receiver.mails) == 1
