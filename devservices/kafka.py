"""A real Kafka cluster on this machine: `python -m devservices.kafka fetch | run [--brokers N] [--port P]`.

It speaks plain text on 127.0.0.1 and every node is both broker and controller (KRaft). It is made to be started, hurt
and thrown away by tests and benchmarks, and to be kept between runs of `ingest dev`.
"""

import base64
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import click

from devservices.errors import DevServiceError, PortTaken, StartFailed
from devservices.kafka_broker import Broker, finish_format
from devservices.kafka_distribution import CACHE, Report, fetch, java, version
from devservices.kafka_settings import dev_settings, node_settings
from devservices.ports import HOST, free_ports

BROKERS_MAX = 9
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 8
_PORT_ATTEMPTS_MAX = 3
_WATCH_TICK_S = 0.5


class KafkaCluster:
    """One to nine brokers over `folder`, which is created, keeps the data between runs and is never removed.

    `port` fixes the port of the first broker, the next ones follow; without it free ports are chosen, new ones at each
    start. Clients are sent to the port that `advertised` gives for a broker's own, where a proxy may stand. `report`
    hears one line when Kafka has to be fetched. `start` raises JavaMissing, FetchFailed or
    StartFailed. No process outlives `stop`, this interpreter, or (on Linux) this process, however it dies.

    `brokers` holds the brokers of the last start, by which each can be paused, resumed, killed and restarted.
    """

    def __init__(
        self,
        folder: Path,
        brokers: int = 1,
        *,
        port: int | None = None,
        advertised: Callable[[int], int] = lambda port: port,
        report: Report = lambda _: None,
    ) -> None:
        if not 1 <= brokers <= BROKERS_MAX:
            raise ValueError(f"brokers must be 1 to {BROKERS_MAX}")
        self.folder = folder.absolute()
        self.brokers: tuple[Broker, ...] = ()
        self._count = brokers
        self._port = port
        self._advertised = advertised
        self._report = report

    @property
    def bootstrap(self) -> str:
        """The brokers' addresses as `host:port,…`."""
        if not self.brokers:
            raise StartFailed("the cluster was never started")
        return ",".join(f"{HOST}:{broker.port}" for broker in self.brokers)

    def start(self) -> None:
        """Fetch Kafka if need be, start all brokers and wait until every one of them knows all."""
        libs = fetch(self._report)
        cluster_id = self._cluster_id()
        for attempt in range(1, _PORT_ATTEMPTS_MAX + 1):
            try:
                self._start(libs, cluster_id)
            except BaseException as error:  # an interrupt too must leave no broker behind
                self._kill()
                if not isinstance(error, PortTaken) or self._port is not None or attempt == _PORT_ATTEMPTS_MAX:
                    raise
            else:
                return

    def stop(self) -> None:
        """Shut all brokers down at once, and kill those that have not ended after 8 s.

        A lone broker ends within a second; of several, the last wait about 6 s for a quorum that is gone.
        """
        for broker in self.brokers:
            broker.ask_to_stop()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for broker in self.brokers:
            broker.stop(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, libs: Path, cluster_id: str) -> None:
        ports, controller_ports = self._choose_ports()
        self.brokers = tuple(
            Broker(self.folder / f"broker-{node_id}", node_id, port, java(), libs)
            for node_id, port in enumerate(ports, start=1)
        )
        voters = ",".join(
            f"{broker.node_id}@{HOST}:{port}" for broker, port in zip(self.brokers, controller_ports, strict=True)
        )
        formatters = []
        for broker, controller_port in zip(self.brokers, controller_ports, strict=True):
            advertised_port = self._advertised(broker.port)
            node = node_settings(broker.node_id, broker.port, controller_port, voters, advertised_port)
            formatters.append((broker.folder, broker.configure(cluster_id, {**node, **dev_settings(self._count)})))
        for folder, formatter in formatters:
            if formatter is not None:
                finish_format(formatter, folder)
        for broker in self.brokers:
            broker.launch()
        everyone = frozenset(broker.node_id for broker in self.brokers)
        for broker in self.brokers:
            broker.await_ready(everyone, START_TIMEOUT_S)

    def _choose_ports(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the ports for clients and those for controllers."""
        ports = free_ports(2 * self._count)
        if self._port is None:
            return ports[: self._count], ports[self._count :]
        fixed = tuple(range(self._port, self._port + self._count))
        return fixed, tuple(port for port in ports if port not in fixed)[: self._count]

    def _cluster_id(self) -> str:
        """Return the id by which the folder's data belong together, made at the first start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        known = sum(1 for _ in self.folder.glob("broker-*/data/meta.properties"))
        if known not in (0, self._count):
            raise StartFailed(f"{self.folder} holds a cluster of {known} brokers, not of {self._count}")
        file = self.folder / "cluster-id"
        if not file.exists():
            file.write_text(_new_cluster_id(), encoding="ascii")
        return file.read_text(encoding="ascii")

    def _kill(self) -> None:
        for broker in self.brokers:
            broker.kill()


def _new_cluster_id() -> str:
    """Return a UUID as Kafka writes it: 22 characters of base64url."""
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return "A" + cluster_id[1:]  # a leading hyphen would read as an option


@click.group()
def main() -> None:
    """Kafka for development."""


@main.command("fetch")
def fetch_command() -> None:
    """Fetch Kafka into the checkout's .cache; does nothing when it is there."""
    try:
        click.echo(f"Kafka {version()} is in {fetch(_tell).parent}")
    except DevServiceError as error:
        raise click.ClickException(str(error)) from error


@main.command("run")
@click.option("--brokers", default=1, show_default=True, type=click.IntRange(1, BROKERS_MAX))
@click.option("--port", type=click.IntRange(1, 65_535 - BROKERS_MAX), help="Port of the first broker; else a free one.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where the data are kept.")
def run_command(brokers: int, port: int | None, folder: Path | None) -> None:
    """Run a cluster until Ctrl-C; prints its bootstrap addresses once it serves."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = KafkaCluster(folder or CACHE / f"kafka-data-{brokers}", brokers, port=port, report=_tell)
    try:
        with cluster:
            click.echo(cluster.bootstrap)
            while all(broker.pid for broker in cluster.brokers):
                time.sleep(_WATCH_TICK_S)
            raise StartFailed(f"a broker has ended by itself; see the logs in {cluster.folder}")
    except KeyboardInterrupt:
        _tell("stopped")
    except DevServiceError as error:
        raise click.ClickException(str(error)) from error


def _tell(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
