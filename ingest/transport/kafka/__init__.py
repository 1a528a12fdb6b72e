"""Apache Kafka as the transport, through aiokafka: nothing else in the house names that library."""
