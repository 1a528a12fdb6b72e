import asyncio

import pytest

from ingest.db.queries.outbox import DueMessage
from ingest.notify.channels import Channels
from ingest.notify.failure import Undelivered
from ingest.notify.process import build_channels
from ingest.setting import Secret
from ingest.settings import Settings

PAYLOAD = {"type": "kill_switch.on", "target": "key", "id": "01KEY", "reason": "a\nb"}
SUPPORT = DueMessage("1", "msg_1", "support", None, None, PAYLOAD, 0)
BY_MAIL = DueMessage("2", "msg_1", "organization", "org_acme", "ops@acme.example", PAYLOAD, 0)
BY_WEBHOOK = DueMessage("3", "msg_1", "organization", "org_acme", "https://acme.example/hook", PAYLOAD, 0)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (SUPPORT, "webhook_not_configured"),
        (BY_MAIL, "smtp_not_configured"),
        (BY_WEBHOOK, "webhook_not_configured"),
    ],
)
def test_a_channel_that_is_not_configured(message: DueMessage, code: str) -> None:
    """Without its channel a message is not delivered, and the code says what is missing."""
    with pytest.raises(Undelivered) as caught:
        asyncio.run(build_channels(Settings()).deliver(message))

    assert caught.value.code == code


@pytest.mark.parametrize("message", [SUPPORT, BY_MAIL, BY_WEBHOOK])
def test_the_console_stands_in(message: DueMessage) -> None:
    """With a console each message that has no channel is one line there."""
    lines: list[str] = []
    asyncio.run(build_channels(Settings(), lines.append).deliver(message))
    (line,) = lines

    whom = "the support" if message is SUPPORT else "organization org_acme"
    assert line == f"To {whom}: Kill switch turned on: key 01KEY (switched key, id 01KEY, reason a b)"


def test_what_is_configured_is_built() -> None:
    """Settings become channels; a console lifts the guard of webhooks, since it is for development."""
    key = Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    given = Settings(
        support_webhook_url=Secret("https://support.example/"),
        webhook_secret=key,
        smtp_url=Secret("smtp://mail.example"),
        smtp_from="edge@ingest.example",
    )
    made: Channels = build_channels(given)

    assert made.support_url == "https://support.example/"
    assert made.webhook is not None
    assert (list(made.webhook.keys), made.webhook.private_network) == ([bytes(range(32))], False)
    assert made.mail is not None
    assert (made.mail.server.security, made.mail.sender) == ("starttls", "edge@ingest.example")
    guarded = build_channels(given, print).webhook
    assert guarded is not None
    assert guarded.private_network
