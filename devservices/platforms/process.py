"""Both fake platforms in a process of their own, so that they take no time of whoever uses them."""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

from devservices.child import Child
from devservices.ports import HOST
from devservices.server import Server

_ROOT = Path(__file__).resolve().parents[2]
_ANSWER_TIMEOUT_S = 1.0


class PlatformsServer(Server):
    """Meta's Conversions API and TikTok's Events API as a server that can be paused, killed and restarted empty.

    It is told what to do over HTTP, `POST /_control`.
    """

    name: ClassVar[str] = "the fake platforms"
    error_marks: ClassVar[tuple[str, ...]] = ("Error", "cannot")

    def __init__(self, folder: Path, *, port: int | None = None, latency_ms: int = 0) -> None:
        super().__init__(folder, port)
        self._latency_ms = latency_ms

    @property
    def url(self) -> str:
        """The address of the page and of the control surface, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @property
    def meta_url(self) -> str:
        """What stands for `https://graph.facebook.com`."""
        return self.url

    @property
    def tiktok_url(self) -> str:
        """What stands for `https://business-api.tiktok.com`."""
        return self.url

    def _launch(self, log: Path) -> Child:
        settings = ("--port", str(self.port), "--latency-ms", str(self._latency_ms))
        return Child([sys.executable, "-m", "devservices.platforms", *settings], stdout=log, cwd=_ROOT)

    def _answers(self, child: Child) -> bool:
        """Ask for the process id of whoever serves the port."""
        try:
            with urllib.request.urlopen(f"{self.url}/_health", timeout=_ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - loopback
                return bool(json.load(answer)["pid"] == child.pid)
        except (OSError, ValueError, KeyError):
            return False
