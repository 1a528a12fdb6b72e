"""Puts the notifying process together."""

from collections.abc import Callable

from ingest.clock import SystemClock
from ingest.db.database import Database
from ingest.notify.channels import Channels
from ingest.notify.mail import Mail, MailServer
from ingest.notify.tls import client_tls
from ingest.notify.webhook import Webhook
from ingest.notify.worker import Worker
from ingest.setting import decode_keys
from ingest.settings import Settings


def build_worker(settings: Settings, database: Database, console: Callable[[str], None] | None = None) -> Worker:
    """Return the worker of this process; with a `console` a missing channel is replaced by it, and nothing guarded."""
    return Worker(database, build_channels(settings, console))


def build_channels(settings: Settings, console: Callable[[str], None] | None = None) -> Channels:
    """Return the ways that are configured."""
    clock, tls = SystemClock(), client_tls()
    webhook = mail = None
    if settings.webhook_secret is not None:
        keys = decode_keys(settings.webhook_secret.reveal())
        webhook = Webhook(keys, clock, tls, settings.webhook_network_private or console is not None)
    if settings.smtp_url is not None and settings.smtp_from is not None:
        server = MailServer.parse(settings.smtp_url.reveal(), private_network=settings.smtp_network_private)
        mail = Mail(server, settings.smtp_from, clock, tls)
    url = settings.support_webhook_url
    return Channels(url.reveal() if url is not None else None, webhook, mail, console)
