"""Certificates that sign themselves, made on the spot, and contexts that trust them."""

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from devservices.ports import HOST

_DAY = dt.timedelta(days=1)


class Pair(NamedTuple):
    """A certificate and its key in PEM; `der` is the certificate as a handshake shows it."""

    certificate: bytes
    key: bytes
    der: bytes

    def write(self, folder: Path) -> "Files":
        """Put both into `folder`, each by a rename, and return where they are."""
        files = Files(folder / "certificate.pem", folder / "key.pem")
        replace(files.certificate, self.certificate)
        replace(files.key, self.key)
        return files


class Files(NamedTuple):
    """Where a pair lies."""

    certificate: Path
    key: Path

    def settings(self) -> dict[str, str]:
        """Return the settings that name it."""
        return {"INGEST_TLS_CERTIFICATE_FILE": str(self.certificate), "INGEST_TLS_KEY_FILE": str(self.key)}


def replace(path: Path, content: bytes) -> None:
    """Write a file as an operator should: beside the old one, then renamed over it."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


class Contexts(NamedTuple):
    """A server's side, and the side of clients that trust nobody but this server."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def self_signed(folder: Path, *names: str) -> Contexts:
    """Make a certificate for host names and addresses, and put it into `folder`."""
    made = pair(names=names)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*made.write(folder))
    return Contexts(server, ssl.create_default_context(cadata=made.certificate.decode()))


def pair(kind: Literal["ec", "rsa"] = "ec", password: bytes | None = None, names: Sequence[str] = (HOST,)) -> Pair:
    """Make a certificate for `names` that is its own authority; its key is encrypted where there is a password."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edge")])
    now = dt.datetime.now(dt.UTC)
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only"),
        False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_encipherment=True, key_cert_sign=True, **usage), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed),
        certificate.public_bytes(serialization.Encoding.DER),
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
