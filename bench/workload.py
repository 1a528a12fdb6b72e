"""The requests of the benchmark: fixed sets of batches as SDKs send them, made by the generator of the examples."""

import random
from typing import Final, NamedTuple

from examples import generate

BODIES: Final = {1: 256, 20: 48, 100: 16, 1000: 8}
"""How many different bodies there are for each number of events a request."""

CLIENTS: Final = {
    "ios": ("ios/4.2.0", "DemoApp/4.2.0 CFNetwork/1568.200.51 Darwin/24.6.0"),
    "android": ("android/4.2.0", "Dalvik/2.1.0 (Linux; U; Android 15; Pixel 8 Pro Build/AP4A.250105.002)"),
    "web": ("web/4.2.0", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0"),
}
"""Platform to the headers `X-SDK-Version` and `User-Agent`."""


class Workload(NamedTuple):
    """A set of requests of one size: `bodies` as JSON, `requests` the same bodies as whole HTTP/1.1 requests."""

    events: int
    bodies: tuple[bytes, ...]
    requests: tuple[bytes, ...]

    @property
    def event_bytes(self) -> float:
        """The mean size of an event on the wire, its share of the batch's root included."""
        return sum(map(len, self.bodies)) / len(self.bodies) / self.events


def workload(events: int) -> Workload:
    """Return the requests with `events` each: the same ones in each run, every event with an id of its own."""
    bodies, requests = [], []
    for number in range(BODIES[events]):
        platform = tuple(CLIENTS)[number % len(CLIENTS)]
        bodies.append(_body(platform, events, number))
        requests.append(_request(platform, bodies[-1], number))
    return Workload(events, tuple(bodies), tuple(requests))


def _body(platform: str, events: int, number: int) -> bytes:
    rng = random.Random(f"{platform}-{events}-{number}")
    device = generate.Device(rng, platform)
    names = generate.NAMES[platform]
    first = number // len(CLIENTS)  # so that batches of a single event hold each kind of event too
    batch = [generate.event(names[(first + index) % len(names)], device, rng) for index in range(events)]
    return generate.compact(generate.native_batch(device, batch)).encode()


def _request(platform: str, body: bytes, number: int) -> bytes:
    return b"".join((b"POST /events HTTP/1.1\r\n", *_header_lines(platform, body, number), b"\r\n", body))


def _header_lines(platform: str, body: bytes, number: int) -> list[bytes]:
    headers = {**client_headers(platform, number), "Host": "127.0.0.1", "Content-Length": str(len(body))}
    return [f"{name}: {value}\r\n".encode() for name, value in headers.items()]


def client_headers(platform: str, number: int) -> dict[str, str]:
    """Return what an SDK sends along, behind a proxy that tells the client's address: one with a region."""
    sdk, agent = CLIENTS[platform]
    return {
        "Content-Type": "application/json",
        "X-App-Id": generate.APP_ID,
        "X-Environment": "production",
        "X-SDK-Version": sdk,
        "User-Agent": agent,
        "X-Forwarded-For": f"203.0.113.{number % 200 + 1}",
    }
