"""TLS handshakes without a socket, and clients of a time gone by."""

import ssl
import warnings

_FLIGHTS_MAX = 10


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
    """Let both sides talk until they agree, and return the client's side. Raises `ssl.SSLError` where they do not.

    With `session` the client asks to go on with an earlier one.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="edge", session=session)
    sides = [ours, server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(_FLIGHTS_MAX):
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)
        if not sides:
            return ours
    raise AssertionError("the handshake does not end")


def anybody(minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """Return a client that trusts any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = minimum
    return context


def aged(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make one side speak TLS 1.1 and nothing newer, with all that OpenSSL has switched off since; return it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context
