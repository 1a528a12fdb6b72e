"""How brokers are reached: TLS of a present version, and whose certificates are believed."""

import ssl
from pathlib import Path

import pytest

from ingest.transport.kafka.connection import Connection
from tests.support.certificates import Files, pair
from tests.support.handshake import aged, handshake


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Provide the certificate of a broker."""
    return pair("rsa").write(tmp_path)


def context_of(connection: Connection) -> ssl.SSLContext:
    """Return the context that aiokafka is given."""
    context = connection.arguments()["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    return context


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_brokers_are_spoken_to_in_tls_1_2_or_newer(protocol: str, files: Files) -> None:
    """The oldest version is 1.2, and a broker has to prove its name."""
    context = context_of(Connection("kafka:9093", protocol, ssl_cafile=str(files.certificate)))

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_broker_of_tls_1_1_is_not_spoken_to(files: Files) -> None:
    """The handshake with it fails, which one of TLS 1.2 completes."""
    broker = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    broker.load_cert_chain(*files)
    ours = context_of(Connection("kafka:9093", "SSL", ssl_cafile=str(files.certificate)))
    ours.check_hostname = False  # the certificate names an address, and this test is about versions
    broker.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(broker, ours).version() == "TLSv1.2"

    with pytest.raises(ssl.SSLError):
        handshake(aged(broker), ours)


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_without_tls_there_is_no_context(protocol: str) -> None:
    """An unencrypted connection has nothing of the kind."""
    assert "ssl_context" not in Connection("localhost:9092", protocol).arguments()
