"""How a producer is thrown away that may never stop by itself.

aiokafka's own `stop` waits until every batch has been delivered or has expired, which behind silent brokers takes its
time or never comes, and leaves its tasks behind when it is cancelled (aio-libs/aiokafka #1101, #1017). Whoever throws
a producer away has put its records elsewhere, so nothing of it is worth a wait.
"""

import asyncio
import contextlib
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed

ROUND_S: Final = 0.2
ROUNDS_MAX: Final = 20


async def discard(producer: AIOKafkaProducer) -> None:
    """End all tasks, connections and batches of `producer`; what it has on the wire may still arrive."""
    producer._closed = True  # noqa: SLF001 - else its destructor complains
    producer._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001 - nobody else can empty it
    _abort_connections(producer)
    for _ in range(ROUNDS_MAX):
        tasks = tasks_of(producer)
        if not tasks:
            break
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=ROUND_S)
        _abort_connections(producer)
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(ROUND_S):
            await producer.client.close()


def _abort_connections(producer: AIOKafkaProducer) -> None:
    """Drop the connections at once: closing them in order would wait for brokers that read nothing."""
    for connection in list(producer.client._conns.values()):  # noqa: SLF001 - as above
        if connection._writer is not None:  # noqa: SLF001
            connection._writer.transport.abort()  # noqa: SLF001
            connection.close()


def tasks_of(producer: AIOKafkaProducer) -> set["asyncio.Task[Any]"]:
    """Return the unfinished tasks that run a method of the producer's sender or client."""
    owners = (producer._sender, producer.client)  # noqa: SLF001 - they keep no list of the tasks that they begin
    found = set()
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        if frame is not None and any(frame.f_locals.get("self") is owner for owner in owners):
            found.add(task)
    return found
