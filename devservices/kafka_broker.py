"""One Kafka broker, which is a controller of its cluster too."""

import time
from collections.abc import Mapping
from pathlib import Path

from devservices.child import Child
from devservices.errors import PortTaken, StartFailed
from devservices.kafka_probe import probe
from devservices.ports import HOST

HEAP_MIB_MAX = 512
FORMAT_TIMEOUT_S = 60
STOP_TIMEOUT_S = 8
_READY_TICK_S = 0.05


class Broker:
    """A broker over its folder: `server.properties`, `server.log` (of the run before: `server.log.1`) and `data/`."""

    def __init__(self, folder: Path, node_id: int, port: int, java: str, libs: Path) -> None:
        self.folder = folder
        self.node_id = node_id
        self.port = port
        self.log_path = folder / "server.log"
        self._java = [java, "-XX:-UsePerfData", f"-Djava.io.tmpdir={folder / 'tmp'}", "-cp", f"{libs}/*"]
        self._properties = folder / "server.properties"
        self._child: Child | None = None
        self._cluster_id = ""

    @property
    def pid(self) -> int | None:
        """The process id while the broker runs, paused ones included."""
        return self._child.pid if self._child is not None and self._child.running else None

    def configure(self, cluster_id: str, properties: Mapping[str, str]) -> Child | None:
        """Write `server.properties` and start to format a `data` folder that is still empty.

        Returns the formatting program, for the caller to `finish_format`; None if there is nothing to format.
        """
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        self._cluster_id = cluster_id
        lines = (f"{name}={value}\n" for name, value in {**properties, "log.dirs": f"{self.folder / 'data'}"}.items())
        self._properties.write_text("".join(lines), encoding="utf-8")
        if (self.folder / "data" / "meta.properties").exists():
            return None
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties)]
        short_lived = ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        return Child([*self._java, *short_lived, *tool], stdout=self.folder / "format.log")

    def launch(self) -> None:
        """Start the program; `await_ready` tells when it serves."""
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_name("server.log.1"))
        options = [f"-Xmx{HEAP_MIB_MAX}m", "-Dorg.apache.logging.log4j.level=INFO"]
        self._child = Child([*self._java, *options, "kafka.Kafka", str(self._properties)], stdout=self.log_path)

    def await_ready(self, peers: frozenset[int], timeout_s: float) -> None:
        """Wait until this broker answers that it and all `peers` (node ids) serve clients; StartFailed if it does not.

        A stranger who answers on the port does not count: the answer must name this cluster.
        """
        deadline = time.monotonic() + timeout_s
        wanted = peers | {self.node_id}
        while True:
            view = probe(self.port)
            code = self._running_child().wait(_READY_TICK_S)
            if code is not None:
                raise self._failure(f"ended with exit code {code}")
            if view is not None and view.cluster_id == self._cluster_id and wanted <= view.node_ids:
                return
            if time.monotonic() >= deadline:
                raise self._failure(f"was not ready within {timeout_s:.0f} s")

    def pause(self) -> None:
        """Freeze the broker (SIGSTOP): connections stay open, nobody answers."""
        self._running_child().pause()

    def resume(self) -> None:
        """Let a paused broker go on (SIGCONT)."""
        self._running_child().resume()

    def kill(self) -> None:
        """Kill the broker as a crash would (SIGKILL); does nothing if it does not run."""
        if self._child is not None:
            self._child.kill()

    def restart(self, timeout_s: float = 60) -> None:
        """Stop the broker if it still runs, start it on the same port and data, and wait until it serves."""
        self.stop()
        self.launch()
        self.await_ready(frozenset(), timeout_s)

    def ask_to_stop(self) -> None:
        """Begin a clean shutdown without waiting for it."""
        if self._child is not None:
            self._child.terminate()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Shut the broker down cleanly, or kill it at the timeout; does nothing if it does not run."""
        if self._child is not None:
            self._child.stop(timeout_s)

    def _running_child(self) -> Child:
        if self._child is None:
            raise StartFailed(f"broker {self.node_id} was never started")
        return self._child

    def _failure(self, what: str) -> StartFailed:
        log = self.log_path.read_text(encoding="utf-8", errors="replace")
        if "Address already in use" in log:
            return PortTaken(f"broker {self.node_id} cannot listen on {HOST}, port {self.port} or its controller's")
        reasons = [line for line in log.splitlines() if " ERROR " in line or " FATAL " in line]
        told = reasons[0][:500] if reasons else "its log names no error"
        return StartFailed(f"broker {self.node_id} {what}: {told}; see {self.log_path}")


def finish_format(formatter: Child, folder: Path) -> None:
    """Wait for a formatting program that `Broker.configure` returned; StartFailed if it fails."""
    try:
        code = formatter.wait(FORMAT_TIMEOUT_S)
    finally:
        formatter.kill()
    if code != 0:
        raise StartFailed(f"the data folder could not be formatted (exit code {code}); see {folder / 'format.log'}")
