"""A consumer group as the brokers see it."""

from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient

_STABLE = "Stable"


class Group:
    """Asks who is in the consumer group `name`."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        self._name = name

    async def __aenter__(self) -> Self:
        await self._admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def members(self) -> frozenset[str]:
        """Return the ids of the members that have partitions; none while the group comes together."""
        (response,) = await self._admin.describe_consumer_groups([self._name])
        (_, _, state, _, _, members, *_), *_ = response.groups
        return frozenset(map(_member_id, members)) if state == _STABLE else frozenset()


def _member_id(member: tuple[Any, ...]) -> str:
    return str(member[0])
