"""A client of the running service that can say anything, HTTP or not."""

import json
import socket
from typing import Any, NamedTuple

TIMEOUT_S = 15.0
_PIECE_BYTES = 65536


class Answer(NamedTuple):
    """One answer; header names in lower case, of repeated ones the last value. `raw` is all that came."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the error envelope."""
        code: str = self.json()["error"]["code"]
        return code


class Caller:
    """Sends requests to one address, each on a connection of its own, from the loopback address `source`."""

    def __init__(self, url: str, *, source: str = "127.0.0.1") -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = (host, int(port))
        self._source = source

    def send(self, method: str, path: str, body: bytes = b"", headers: dict[str, str | bytes] | None = None) -> Answer:
        """Send one request and read its answer to the end; `Content-Length` is added where `headers` has none."""
        given: dict[str, str | bytes] = {"Host": "edge.example", "Connection": "close", **(headers or {})}
        if not {"content-length", "transfer-encoding"} & {name.lower() for name in given}:
            given["Content-Length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1".encode()]
        lines += [name.encode() + b": " + (v if isinstance(v, bytes) else v.encode()) for name, v in given.items()]
        return self.say(b"\r\n".join([*lines, b"", body]))

    def post(self, body: bytes, **headers: str) -> Answer:
        """Send a batch as the demo app; underscores in names of headers stand for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", "/events", body, {"X-App-Id": "app_demo", **named})

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(self._address, TIMEOUT_S, source_address=(self._source, 0))

    def say(self, data: bytes) -> Answer:
        """Send bytes as they are, and read what comes until the service closes the connection."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_answer(connection)


def read_answer(connection: socket.socket) -> Answer:
    """Read until the end of the connection and return the answer in it."""
    pieces = []
    while piece := connection.recv(_PIECE_BYTES):
        pieces.append(piece)
    raw = b"".join(pieces)
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body, raw)
