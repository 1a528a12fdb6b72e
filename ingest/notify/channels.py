"""Which way a message goes, by who is to get it and by what is configured."""

from collections.abc import Callable
from dataclasses import dataclass

from ingest.db.queries.outbox import DueMessage
from ingest.notify.failure import Undelivered
from ingest.notify.mail import Mail
from ingest.notify.webhook import Webhook
from ingest.notify.wording import facts, subject


@dataclass(frozen=True, slots=True)
class Channels:
    """The ways there are. `console` stands in for those that are not configured: it takes one line, for a person."""

    support_url: str | None
    webhook: Webhook | None
    mail: Mail | None
    console: Callable[[str], None] | None = None

    async def deliver(self, message: DueMessage) -> None:
        """Deliver a message to its recipient. Raises `Undelivered`."""
        if message.recipient == "support":
            await self._call(message, self.support_url, trusted=True)
        elif message.contact is not None and message.contact.startswith(("http://", "https://")):
            await self._call(message, message.contact, trusted=False)
        elif message.contact is not None and self.mail is not None:
            await self.mail.send(message.contact, message.message_id, message.payload)
        else:
            self._print(message, "smtp_not_configured")

    async def _call(self, message: DueMessage, url: str | None, *, trusted: bool) -> None:
        if url is None or self.webhook is None:
            self._print(message, "webhook_not_configured")
        else:
            await self.webhook.send(url, message.message_id, message.payload, trusted=trusted)

    def _print(self, message: DueMessage, failure: str) -> None:
        if self.console is None:
            raise Undelivered(failure)
        whom = "the support" if message.recipient == "support" else f"organization {message.organization_id}"
        told = ", ".join(f"{label.lower()} {value}" for label, value in facts(message.payload))
        self.console(f"To {whom}: {subject(message.payload)} ({told})")
