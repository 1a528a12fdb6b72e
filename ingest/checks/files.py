"""The files that the settings name: the registry, geo files, and the certificate."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import maxminddb
from cryptography import x509

from ingest.checks.finding import Finding, fault, ok, warning
from ingest.edge.tls import Certificate
from ingest.registry.snapshot import RegistryError
from ingest.registry.toml_file import read_registry
from ingest.transport.contract import ConfigurationError

GEO_DAYS_MAX: Final = 60
"""Older geo files place many people wrongly."""

CERTIFICATE_DAYS_MIN: Final = 14
"""Whoever renews by machine has renewed by then."""

_DAY_S: Final = 86_400


def apps_file(path: Path, now_ms: int) -> Finding:
    """Tell whether the edge would take the registry file."""
    try:
        apps = read_registry(path, now_ms).apps
    except RegistryError as error:
        return fault("apps", f"INGEST_APPS_FILE cannot be used: {error}", "mend it; `ingest apps check` looks again")
    return ok("apps", f"INGEST_APPS_FILE names {len(apps)} apps")


def geo_files(paths: Sequence[Path], now_ms: int) -> Iterator[Finding]:
    """Tell of each geo file whether it can be read, and whether it is of this season."""
    if not paths:
        yield ok("geo", "INGEST_GEOIP_PATH is not set: no event gets a region")
    for path in paths:
        try:
            with maxminddb.open_database(path) as reader:
                built_s = reader.metadata().build_epoch
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            yield fault("geo", f"the geo file {path} cannot be read ({type(error).__name__})", "deliver it anew")
            continue
        days = int(now_ms / 1000 - built_s) // _DAY_S
        told = f"the geo file {path} was made {days} days ago"
        if days > GEO_DAYS_MAX:
            yield warning("geo", told, "deliver a newer one")
        else:
            yield ok("geo", told)


def certificate(certificate_file: Path | None, key_file: Path | None, now_ms: int) -> Iterator[Finding]:
    """Tell whether certificate and key can be used, and of the chain until when."""
    if certificate_file is None or key_file is None:
        yield ok("certificate", "the SDKs' port speaks plain HTTP, for a proxy in front that ends TLS")
        return
    try:
        Certificate(certificate_file, key_file)
        chain = x509.load_pem_x509_certificates(certificate_file.read_bytes())
    except ConfigurationError as error:
        yield fault("certificate", str(error), "deliver both anew")
        return
    except (OSError, ValueError):
        yield fault("certificate", "INGEST_TLS_CERTIFICATE_FILE holds no certificates in PEM", "deliver it anew")
        return
    begins = max(each.not_valid_before_utc for each in chain)
    ends = min(each.not_valid_after_utc for each in chain)
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    told = f"the certificates in INGEST_TLS_CERTIFICATE_FILE hold from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}"
    if not begins <= now <= ends:
        yield fault("certificate", f"{told}, and not now", "renew the certificate, or set this machine's clock")
    elif (ends - now).days < CERTIFICATE_DAYS_MIN:
        yield warning("certificate", told, "renew the certificate")
    else:
        yield ok("certificate", told)
