"""Where records go, behind two small interfaces: Kafka, the embedded local log, and a twin in memory."""
