"""A command of ours that runs until it is told to end, as a subprocess."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from devservices.child import Child

STOP_TIMEOUT_S = 30.0


class Program:
    """`python -m ingest COMMAND…` with only these `INGEST_*` settings; its output is in `folder/"output.log"`.

    An admin port that they leave open is one of the system's choice.
    """

    def __init__(self, *command: str, settings: Mapping[str, str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.output_path = folder / "output.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
        self._child = Child(
            [sys.executable, "-m", "ingest", *command],
            stdout=self.output_path,
            env={**inherited, "INGEST_ADMIN_PORT": "0", **settings},
        )

    @property
    def pid(self) -> int:
        """The process id of the command."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.running

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        return self._child.stop(STOP_TIMEOUT_S)

    def kill(self) -> int:
        """Send SIGKILL and return the exit code."""
        return self._child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
