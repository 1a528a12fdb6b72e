"""How to reach the brokers: addresses, TLS and credentials."""

import ssl
from typing import Any, NamedTuple


class Connection(NamedTuple):
    """Where the brokers are and how to speak to them.

    `bootstrap` is `host:port`, several separated by commas; `protocol` one of `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`,
    `SASL_SSL`. Without `ssl_cafile` the system's certificates are trusted.
    """

    bootstrap: str
    protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that every aiokafka client takes for this connection."""
        arguments: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.protocol}
        if self.protocol.endswith("SSL"):
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            arguments["ssl_context"] = context
        if self.protocol.startswith("SASL"):
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self.sasl_password
        return arguments
