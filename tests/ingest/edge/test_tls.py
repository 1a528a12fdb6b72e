"""The certificate: what a handshake gets, before and after its files change."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict

from ingest.edge.tls import Certificate
from ingest.transport.contract import ConfigurationError
from tests.support.certificates import Files, Pair, pair, replace
from tests.support.handshake import aged, anybody, handshake

RSA, EC, OTHER = pair("rsa"), pair("ec"), pair("ec")


def seen(certificate: Certificate, client: ssl.SSLContext | None = None) -> bytes | None:
    """Return the certificate that a client gets."""
    return handshake(certificate.context, client or anybody()).getpeercert(binary_form=True)


def loaded(folder: Path, given: Pair) -> tuple[Certificate, Files]:
    """Return a certificate from files, and the files."""
    files = given.write(folder)
    return Certificate(*files), files


def events(logs: list[EventDict]) -> list[str]:
    """Return what was logged."""
    return [line["event"] for line in logs]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_present_versions_are_spoken(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 come to an agreement, and on HTTP/1.1 whatever else is offered."""
    client = anybody(version)
    client.maximum_version = version
    client.set_alpn_protocols(["h2", "http/1.1"])
    agreed = handshake(loaded(tmp_path, EC)[0].context, client)

    assert (agreed.version(), agreed.selected_alpn_protocol()) == (version.name.replace("_", "."), "http/1.1")


def test_past_versions_are_refused(tmp_path: Path) -> None:
    """A client of TLS 1.1 is refused, which another server would serve."""
    certificate, files = loaded(tmp_path, RSA)
    permissive = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    permissive.load_cert_chain(*files)
    try:
        assert handshake(aged(permissive), aged(anybody())).version() == "TLSv1.1"
    except ssl.SSLError as error:
        pytest.skip(f"this OpenSSL speaks no TLS 1.1 at all: {error.reason}")

    with pytest.raises(ssl.SSLError) as refused:
        handshake(certificate.context, aged(anybody()))
    assert refused.value.reason == "UNSUPPORTED_PROTOCOL"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_changed_pair_is_given_to_the_next_handshake(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """The new certificate takes over in full, also where its key is of another kind, whatever the client prefers."""
    certificate, _ = loaded(tmp_path, RSA)
    client = anybody()
    client.maximum_version = version
    assert seen(certificate, client) == RSA.der
    assert not certificate.reload_if_changed()

    for given in (EC, RSA, OTHER):
        given.write(tmp_path)
        with structlog.testing.capture_logs() as logs:
            assert certificate.reload_if_changed()
        assert events(logs) == ["certificate_loaded"]
        assert seen(certificate, client) == given.der


def test_a_session_outlives_the_pair_that_it_began_with(tmp_path: Path) -> None:
    """A client that comes back is spared a full handshake, whatever was reloaded meanwhile."""
    certificate, _ = loaded(tmp_path, EC)
    client = anybody()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    session = handshake(certificate.context, client).session
    OTHER.write(tmp_path)
    certificate.reload_if_changed()

    assert session is not None
    assert handshake(certificate.context, client, session).session_reused
    assert not handshake(certificate.context, client).session_reused


BROKEN: dict[str, Callable[[Files], object]] = {
    "half delivered": lambda files: replace(files.certificate, OTHER.certificate),
    "no PEM": lambda files: replace(files.key, b"no key"),
    "empty": lambda files: files.certificate.write_bytes(b""),
    "gone": lambda files: files.key.unlink(),
    "encrypted": lambda files: replace(files.key, pair(password=b"secret").key),
    "a folder": lambda files: files.key.rename(files.key.with_suffix(".kept")).parent.joinpath(files.key.name).mkdir(),
}


@pytest.mark.parametrize("breaks", BROKEN)
def test_a_broken_pair_leaves_the_last_good_one(tmp_path: Path, breaks: str) -> None:
    """It is told once, at the second look, without a path; the next good pair ends it."""
    certificate, files = loaded(tmp_path, EC)
    BROKEN[breaks](files)
    with structlog.testing.capture_logs() as logs:
        looks = [certificate.reload_if_changed()]
        first = list(logs)
        looks += [certificate.reload_if_changed() for _ in range(3)]

    assert looks == [False] * 4
    assert first == []
    assert [(line["event"], line["log_level"]) for line in logs] == [("certificate_refused", "warning")]
    assert certificate.problems() == [logs[0]["reason"]]
    assert str(tmp_path) not in logs[0]["reason"]
    assert seen(certificate) == EC.der

    if files.key.is_dir():
        files.key.rmdir()
    RSA.write(tmp_path)
    assert certificate.reload_if_changed()
    assert certificate.problems() == []
    assert seen(certificate) == RSA.der


def test_a_pair_that_is_delivered_in_two_steps_is_not_told_as_broken(tmp_path: Path) -> None:
    """A look between the two files is no news."""
    certificate, files = loaded(tmp_path, EC)
    with structlog.testing.capture_logs() as logs:
        replace(files.certificate, OTHER.certificate)
        assert not certificate.reload_if_changed()
        replace(files.key, OTHER.key)
        assert certificate.reload_if_changed()

    assert events(logs) == ["certificate_loaded"]


def test_a_pair_that_was_put_back_is_no_problem(tmp_path: Path) -> None:
    """The old files in their old place are what is in use."""
    certificate, files = loaded(tmp_path, EC)
    kept = tmp_path / "kept.pem"
    files.key.rename(kept)
    for _ in range(2):
        certificate.reload_if_changed()
    assert certificate.problems() == ["a file cannot be read: No such file or directory"]

    kept.rename(files.key)
    assert not certificate.reload_if_changed()
    assert certificate.problems() == []


@pytest.mark.parametrize("breaks", BROKEN)
def test_a_broken_pair_refuses_the_start(tmp_path: Path, breaks: str) -> None:
    """The error names both settings and a reason, and neither a path nor a password is asked for."""
    files = EC.write(tmp_path)
    BROKEN[breaks](files)
    with pytest.raises(ConfigurationError) as refused:
        Certificate(*files)

    assert str(refused.value).startswith("INGEST_TLS_CERTIFICATE_FILE and INGEST_TLS_KEY_FILE cannot be used: ")
    assert str(tmp_path) not in str(refused.value)


def test_one_file_may_hold_both(tmp_path: Path) -> None:
    """Certificate and key may lie in one file, which is named twice."""
    path = tmp_path / "both.pem"
    path.write_bytes(EC.key + EC.certificate)
    certificate = Certificate(path, path)
    assert seen(certificate) == EC.der

    beside = tmp_path / "new.pem"
    beside.write_bytes(OTHER.key + OTHER.certificate)
    beside.replace(path)
    assert certificate.reload_if_changed()
    assert seen(certificate) == OTHER.der
