"""Who is told: a real HTTP server and a real mail server on loopback, which fail as often as a test wants."""

import gc
import ssl
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from devservices.ports import HOST, free_ports


class Call(NamedTuple):
    """A request as it came; the names of `headers` are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class HttpReceiver:
    """Answers POST requests with `statuses`, one after the other, then with 200; a context manager.

    While `hold` is not set no answer is sent.
    """

    def __init__(
        self,
        statuses: Iterable[int] = (),
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        answer: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.hold = threading.Event()
        self.hold.set()
        self._arrival = threading.Condition()
        left = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Note the request, then answer."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                given = {name.lower(): value for name, value in self.headers.items()}
                with receiver._arrival:
                    receiver.calls.append(Call(self.path, given, body))
                    receiver._arrival.notify_all()
                receiver.hold.wait()
                self.send_response(left.pop(0) if left else 200)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """Stay silent where a client goes away before the answer has been written."""

        self._server = Server((HOST, port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook", host: str = HOST, scheme: str = "http") -> str:
        """Return the address of a path."""
        return f"{scheme}://{host}:{self.port}{path}"

    def wait_for(self, count: int, timeout_s: float = 30.0) -> bool:
        """Wait until `count` requests have come; False at the timeout."""
        with self._arrival:
            return self._arrival.wait_for(lambda: len(self.calls) >= count, timeout_s)

    def ids(self) -> list[str]:
        """Return the ids of the messages that were brought, in the order of their coming."""
        return [call.headers["webhook-id"] for call in self.calls]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class MailReceiver:
    """Answers mails with `replies`, one after the other, then takes them; a context manager."""

    def __init__(
        self,
        replies: Iterable[str] = (),
        *,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        account: tuple[str, str] | None = None,
    ) -> None:
        self.mails: list[EmailMessage] = []
        self.refused: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self._replies = list(replies)
        self._account = account
        (self.port,) = free_ports(1)
        self._controller = Controller(
            self,
            hostname=HOST,
            port=self.port,
            ssl_context=tls,
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=self._authenticate if account else None,
            auth_required=account is not None,
            auth_require_tls=starttls is not None,
        )

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        """Take a mail, or refuse it."""
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        if self._replies:
            self.refused.append(mail)
            return self._replies.pop(0)
        self.mails.append(mail)
        self.recipients.append(envelope.rcpt_tos)
        return "250 taken"

    def _authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _kind: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        success = (data.login.decode(), data.password.decode()) == self._account
        return AuthResult(success=success, handled=False)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with leavings_collected():
            self._controller.stop()


@contextmanager
def leavings_collected() -> Iterator[None]:
    """Collect the connections that a loop left half closed when it ended, which a loop that goes on would not leave."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()
