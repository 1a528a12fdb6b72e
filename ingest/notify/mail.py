"""Messages as mails, over SMTP."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import aiosmtplib

from ingest.clock import Clock
from ingest.notify.failure import Undelivered, network_failure
from ingest.notify.wording import effect, facts, subject
from ingest.setting import is_loopback

TIMEOUT_S: Final = 20.0
"""Longest wait for one delivery, from the name's look-up to the server's last word."""

Security = Literal["plain", "starttls", "tls"]


class MailServer(NamedTuple):
    """Where mails are handed in, how the way there is secured, and by which account, if one is needed."""

    host: str
    port: int
    security: Security
    user: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str, *, private_network: bool) -> "MailServer":
        """Read the URL of a server as it stands in the settings."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        security: Security = "tls" if parts.scheme == "smtps" else "starttls"
        if security == "starttls" and (private_network or is_loopback(host)):
            security = "plain"
        user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
        return cls(host, parts.port or (465 if security == "tls" else 587), security, user, password)


@dataclass(frozen=True, slots=True)
class Mail:
    """Hands mails to a server. `sender` is an e-mail address."""

    server: MailServer
    sender: str
    clock: Clock
    tls: ssl.SSLContext

    async def send(self, address: str, message_id: str, payload: Mapping[str, Any]) -> None:
        """Deliver a message to an e-mail address. Raises `Undelivered` where the server did not take it in time."""
        message = self.compose(address, message_id, payload)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._hand_in(message, address)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise Undelivered(f"smtp_{error.recipients[0].code}") from None
        except aiosmtplib.SMTPResponseException as error:
            raise Undelivered(f"smtp_{error.code}") from None
        except (OSError, aiosmtplib.SMTPServerDisconnected) as error:  # what connections and waits end in
            raise network_failure(error) from None
        except (aiosmtplib.SMTPException, ValueError):  # the server lacks STARTTLS, AUTH or SMTPUTF8, or we a way to it
            raise Undelivered("smtp_not_supported") from None

    def compose(self, address: str, message_id: str, payload: Mapping[str, Any]) -> EmailMessage:
        """Return the mail. Raises `Undelivered` where the address is none."""
        message = EmailMessage()
        try:
            message["From"] = Address(addr_spec=self.sender)
            message["To"] = Address(addr_spec=address)
        except (ValueError, IndexError, MessageError):
            raise Undelivered("address_invalid") from None
        message["Subject"] = subject(payload)
        message["Date"] = datetime.fromtimestamp(self.clock.now_ms() // 1000, UTC)
        message["Message-ID"] = f"<{message_id}@{self.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        lines = [f"{label}: {value}" for label, value in facts(payload)]
        message.set_content("\n".join([subject(payload), "", *lines, "", effect(payload)]).rstrip() + "\n")
        return message

    async def _hand_in(self, message: EmailMessage, address: str) -> None:
        server = self.server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            timeout=TIMEOUT_S,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=None if server.security == "plain" else self.tls,
        )
        try:
            await client.connect()
            await client.send_message(message, sender=self.sender, recipients=[address])
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):  # the mail is taken already
                await client.quit(timeout=1)
        finally:
            client.close()
