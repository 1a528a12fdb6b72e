"""TLS on the public port: 1.2 or newer, with a certificate that is replaced while connections live on."""

import ssl
from pathlib import Path
from typing import Final

import structlog

from ingest.edge.fingerprint import Fingerprint, fingerprint
from ingest.transport.contract import ConfigurationError

_PROTOCOLS: Final = ["http/1.1"]

_log = structlog.get_logger(__name__)

_Files = tuple[Fingerprint, Fingerprint]


class Certificate:
    """A certificate chain and its key, two PEM files, by which this server is known.

    `context` is what to listen with; it stays the same, and each handshake gets the newest good pair. Every pair has a
    context of its own, because one that takes a second pair keeps the first where that has another kind of key.
    """

    def __init__(self, certificate_file: Path, key_file: Path) -> None:
        """Load the pair. Raises `ConfigurationError`, in one sentence without a path, where it cannot be used."""
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._refused: tuple[_Files | None, str] | None = None
        self._problem: str | None = None
        try:
            self._loaded = self._look()
            self.context = self._newest = _context(certificate_file, key_file)
        except OSError as error:
            raise ConfigurationError(
                f"INGEST_TLS_CERTIFICATE_FILE and INGEST_TLS_KEY_FILE cannot be used: {_reason(error)}"
            ) from None
        self.context.sni_callback = self._choose

    def reload_if_changed(self) -> bool:
        """Take over the pair if its files are not those in use; return whether it was taken over.

        Reads files, so call it in a thread beside a running event loop. A pair that cannot be used leaves the last good
        one in force and is logged once, at the second look: the first may fall between the delivery of the two files.
        """
        found = None
        try:
            found = self._look()
            if found == self._loaded:
                self._refused = self._problem = None
                return False
            self._newest = _context(self._certificate_file, self._key_file)
        except OSError as error:
            self._refuse((found, _reason(error)))
            return False
        self._loaded = found
        self._refused = self._problem = None
        _log.info("certificate_loaded")
        return True

    def problems(self) -> list[str]:
        """Return what an operator should know now, one line each; empty when all is well."""
        return [self._problem] if self._problem else []

    def _look(self) -> _Files:
        return fingerprint(self._certificate_file), fingerprint(self._key_file)

    def _refuse(self, refused: tuple[_Files | None, str]) -> None:
        if refused != self._refused:
            self._refused = refused
        elif self._problem != refused[1]:
            self._problem = refused[1]
            _log.warning("certificate_refused", reason=self._problem)

    def _choose(self, handshake: ssl.SSLObject, _name: str, _listening: ssl.SSLContext) -> None:
        # Called for every handshake, whether the client names a server or not.
        handshake.context = self._newest


def _context(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return a context for one pair. Raises `OSError`, of which `ssl.SSLError` is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(_PROTOCOLS)
    # Without a password of our own OpenSSL would ask the terminal for that of an encrypted key.
    context.load_cert_chain(certificate_file, key_file, password=lambda: "")
    return context


def _reason(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return f"a file cannot be read: {error.strerror}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "certificate and key do not belong together"
    return "the files are no certificate chain in PEM and its key in PEM, unencrypted"
