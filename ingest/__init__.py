"""The event ingest edge: what happens to an event between an SDK and the transport.

An SDK posts a batch of events. `edge` reads the body under limits of size, time and memory, asks `registry` whether
this app may send, turns the client's address into a region and forgets the address. `pipeline` makes records of the
events, as one short list of verbs without any input or output: decode, validate, identify, route, encode. In
`identify` e-mail addresses and phone numbers become digests, addresses and device ids go; the rules are those of
`normalize`, a library that stands by itself. `transport` stores the records and answers with what it promises:
`replicated` by Kafka, or `spooled` on this machine's disk. Only then does the SDK get its 202.

    bytes --edge--> Decoded --pipeline--> ValidEvent --> Identified --> Record --transport--> stored

`wiring` puts the parts together and alone names concrete classes, `cli` is the console command, `settings` holds
everything that can be configured, `errors` every way to say no, `telemetry` what operators see. Rooms import only
those below them: cli, wiring, edge, pipeline and transport, registry, telemetry, then the modules of this folder.
"""
