"""What an event costs: `python -m bench`, on Linux, with everything it needs started and stopped by itself.

Absolute times drift from machine to machine and from hour to hour, so one run measures the service and its floors side
by side, round after round, and reports ratios:

- `floors`: the least work there is. In process: decode, hash and encode a batch; the same with the records appended to
  Kafka batches; the service's own pipeline. As servers: an app that reads the body and answers 202, once bare, once
  under Starlette (`floor_server`).
- `edge`: the real service on a real Kafka broker with `acks=all`, as a process of its own, logs and regions on.
- `load`: the generator. Closed loop for the most the service can do, open loop for latency at a fixed rate.
- `processes`: CPU of a server is that of its whole process tree, as the kernel counted it.
- `topic`: after each cell the topic must have grown by exactly what was acknowledged, else the run fails.
"""
