"""How the connections of this room are secured."""

import ssl


def client_tls() -> ssl.SSLContext:
    """Return how connections are secured: TLS 1.2 or newer, verified by the system's authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
