import base64
import hashlib
import hmac

from ingest.notify.signature import sign

KEY, OTHER = bytes(range(32)), b"\xff" * 32


def expected(key: bytes) -> str:
    """Compute a signature by the steps of the specification."""
    digest = hmac.new(key, b'msg_1.1700000000.{"a":1}', hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode("ascii")


def test_the_id_the_time_and_the_body_are_signed() -> None:
    """The signature is the HMAC-SHA256 over id, time and body with dots between, in base64, behind its version."""
    assert sign([KEY], "msg_1", 1_700_000_000, b'{"a":1}') == expected(KEY)
    assert sign([KEY], "msg_1", 1_700_000_000, b'{"a":1}') == "v1,AMaOha7DUT/0J0JMycRuYOBSvbx3WtwLd2khXXbaVj4="


def test_every_key_signs() -> None:
    """With several keys there are as many signatures, in their order, so that receivers can roll over."""
    assert sign([KEY, OTHER], "msg_1", 1_700_000_000, b'{"a":1}') == f"{expected(KEY)} {expected(OTHER)}"
