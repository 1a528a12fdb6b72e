"""The service as a subprocess: started as an operator starts it, reached over its ports, ended by signals."""

import http.client
import os
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from devservices.child import Child
from devservices.ports import HOST, free_ports

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
_PREFIX = "INGEST_"
_READY_TICK_S = 0.05
_SAID_BYTES_MAX = 2_000


class ServiceProcess:
    """`python -m ingest COMMAND`, ready for requests as soon as it is made; a context manager that stops it.

    `env` holds the `INGEST_*` settings: those of this process are not passed on, ports that it leaves open are free
    ones, and the data folder is `folder/"data"`. `args` follow `python -m ingest`. Output goes to `stdout_path` and
    `stderr_path` in `folder`. Raises AssertionError, with the end of what it said, where it does not get ready.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        folder: Path,
        args: Sequence[str] = ("serve",),
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        port, admin_port = free_ports(2)
        self.settings = {
            "INGEST_HOST": HOST,
            "INGEST_PORT": str(port),
            "INGEST_ADMIN_HOST": HOST,
            "INGEST_ADMIN_PORT": str(admin_port),
            "INGEST_DATA_DIR": str(folder / "data"),
            **env,
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.stdout_path = folder / "stdout.log"
        self.stderr_path = folder / "stderr.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
        self._child = Child(
            [sys.executable, "-m", "ingest", *args],
            stdout=self.stdout_path,
            stderr=self.stderr_path,
            env={**inherited, **self.settings},
        )
        try:
            self._await_health(start_timeout_s)
        except BaseException:
            self._child.kill()
            raise

    @property
    def url(self) -> str:
        """The SDK and partner surface, without a slash at the end."""
        scheme = "https" if self._on_tls else "http"
        return f"{scheme}://{self.settings['INGEST_HOST']}:{self.settings['INGEST_PORT']}"

    @property
    def _on_tls(self) -> bool:
        return "INGEST_TLS_CERTIFICATE_FILE" in self.settings

    @property
    def admin_url(self) -> str:
        """The admin surface, without a slash at the end."""
        return f"http://{self.settings['INGEST_ADMIN_HOST']}:{self.settings['INGEST_ADMIN_PORT']}"

    @property
    def pid(self) -> int:
        """The process id of the service, or of the supervisor of its workers."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.running

    def terminate(self) -> None:
        """Send SIGTERM and return at once; `wait` tells the end."""
        self._child.terminate()

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """Return the exit code (negative: the signal), or None if it still runs at the timeout."""
        return self._child.wait(timeout_s)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Send SIGTERM and return the exit code; killed at the timeout (-9)."""
        return self._child.stop(timeout_s)

    def kill(self) -> None:
        """Kill it and its workers as a crash would (SIGKILL)."""
        self._child.kill()

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        self._child.pause()

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._child.resume()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _await_health(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        host, port = self.settings["INGEST_HOST"], int(self.settings["INGEST_PORT"])
        while not _is_healthy(host, port, on_tls=self._on_tls):
            code = self._child.wait(_READY_TICK_S)
            assert code is None, f"the service ended with exit code {code}: {self._said()}"
            assert time.monotonic() < deadline, f"the service was not healthy within {timeout_s} s: {self._said()}"
        assert self.running, f"something else answers on the port of the service: {self._said()}"

    def _said(self) -> str:
        return self.stderr_path.read_bytes()[-_SAID_BYTES_MAX:].decode(errors="replace")


def _is_healthy(host: str, port: int, *, on_tls: bool) -> bool:
    if on_tls:
        anybody = ssl.create_default_context()
        anybody.check_hostname = False
        anybody.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=2, context=anybody)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
