"""The properties of a development broker, as Kafka's `server.properties` names them."""

from devservices.ports import HOST


def node_settings(node_id: int, port: int, controller_port: int, voters: str, advertised_port: int) -> dict[str, str]:
    """Return what makes a node itself; `voters` are all controllers as `node_id@host:port,…`.

    Clients and other brokers are told to come to `advertised_port`.
    """
    return {
        "node.id": str(node_id),
        "process.roles": "broker,controller",
        "listeners": f"BROKER://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"BROKER://{HOST}:{advertised_port}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": voters,
    }


def dev_settings(brokers: int) -> dict[str, str]:
    """Return what all nodes of a cluster of `brokers` share; when data reach the disk is left to Kafka's defaults."""
    copies = str(min(brokers, 3))
    copies_in_sync = "2" if brokers >= 3 else "1"
    return {
        "auto.create.topics.enable": "false",  # a topic that nobody created is a mistake to be seen
        "group.initial.rebalance.delay.ms": "0",  # a lone consumer need not wait for others
        "default.replication.factor": copies,
        "min.insync.replicas": copies_in_sync,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": "4",  # the default of 50 takes seconds to create
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": copies_in_sync,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": copies_in_sync,
        "share.coordinator.state.topic.num.partitions": "4",
        "broker.session.timeout.ms": "4000",  # a killed broker may not come back before the controller has missed it
        "broker.heartbeat.interval.ms": "500",
        "log.retention.check.interval.ms": "5000",  # retention can be watched instead of waited for
        "log.segment.delete.delay.ms": "1000",
        "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),  # the default takes a quarter of the heap
    }
