"""What the certificates of a site say, each by itself and beside the authority of its folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from placer.errors import CertificateError
from runtimes.errors import BadCredentials
from runtimes.identity import parse_identity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCHEME = "spiffe://"
"""How identities in certificates begin."""

_DAY_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says.

    Parameters
    ----------
    path
        Its file.
    holder
        The SPIFFE identity: of a site for its authority, else of a device, deployer or client.
    addresses
        Names and numbers under which standard clients may reach a device.
    begins, ends
        Its validity.
    sha256
        Its fingerprint, in hexadecimal.
    believed
        Whether the present authority of its folder signed it; None where none was looked for.
    """

    path: Path
    holder: str
    addresses: tuple[str, ...]
    begins: datetime
    ends: datetime
    sha256: str
    believed: bool | None = None

    def days_left(self, now: datetime | None = None) -> float:
        """Days until it ends; negative after that."""
        return (self.ends - (now or datetime.now(UTC))).total_seconds() / _DAY_S


def read_certificates(path: Path) -> tuple[Certificate, ...]:
    """Read what certificates say: of one file, which may hold several, or of all in a folder.

    Those of a folder with an `authority.pem` also say whether that signed them.

    Raises
    ------
    CertificateError
        If there are none, or a file cannot be read.
    """
    if not path.is_dir():
        return tuple(facts_of(path, c) for c in load_certificates(path))
    own = path / "authority.pem"
    authorities = load_certificates(own) if own.is_file() else None
    found = tuple(
        dataclasses.replace(facts_of(p, c), believed=None if authorities is None else _signed(c, authorities))
        for p in sorted(path.rglob("*.pem"))
        for c in load_certificates(p)
    )
    if not found:
        raise CertificateError(f"{path}: there is no certificate (*.pem); make an authority with `placer certs init`")
    return found


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Load all certificates of a file; raises `CertificateError` where there are none."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        hint = "; make an authority with `placer certs init`" if path.name == "authority.pem" else ""
        raise CertificateError(f"{path}: cannot be read: {error.strerror}{hint}") from error
    except ValueError as error:
        raise CertificateError(f"{path}: it holds no certificate in PEM") from error


def holder_of(path: Path, certificate: x509.Certificate) -> str:
    """Give the SPIFFE identity that a certificate carries; raises `CertificateError` where it carries none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or not uris[0].startswith(SCHEME):
        raise CertificateError(f"{path}: it carries no SPIFFE identity; make it with `placer certs`")
    return uris[0]


def facts_of(path: Path, certificate: x509.Certificate) -> Certificate:
    """Say what a certificate says; raises `CertificateError` where it carries no SPIFFE identity."""
    holder = holder_of(path, certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        own: tuple[str, ...] = (parse_identity(holder).host,)
    except BadCredentials:
        own = ()
    hosts = [h for h in names.get_values_for_type(x509.DNSName) if h not in own]
    return Certificate(
        path=path, holder=holder, addresses=(*hosts, *map(str, names.get_values_for_type(x509.IPAddress))),
        begins=certificate.not_valid_before_utc, ends=certificate.not_valid_after_utc,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
    )  # fmt: skip


def _signed(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False
