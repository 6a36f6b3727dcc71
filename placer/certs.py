"""Makes a site's own authority, and the certificates that it gives to devices, deployers and clients.

Devices need nothing of this: they read what is written here with `runtimes.tls`. Keys are of the curve P-256; what a
certificate says is as the SPIFFE standard for X.509 asks (https://github.com/spiffe/spiffe), and RFC 5280.
"""

from __future__ import annotations

import ipaddress
import math
import os
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from placer.certificate import SCHEME, facts_of, holder_of, load_certificates
from placer.errors import CertificateError
from runtimes.errors import BadCredentials
from runtimes.identity import Identity, require_identity_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from placer.certificate import Certificate
    from runtimes.identity import Role

# A certificate begins before it is made, so that a device whose clock is behind accepts it.
CLOCK_SKEW = timedelta(hours=1)
_DAY_S = 86400.0


def make_authority(
    folder: Path, site: str, *, days: float, force: bool = False, now: datetime | None = None
) -> Certificate:
    """Make the authority of a site: `authority.pem`, which everybody gets, and `authority.key`, which nobody does.

    Parameters
    ----------
    folder
        Where to write; made if it is not there.
    site
        The site's trust domain.
    days
        Its validity.
    force
        Replace what is there. Certificates of the former authority are then refused.
    now
        The time of making; the clock's if not given.

    Raises
    ------
    CertificateError
        If there is one already, a value is out of range or the files cannot be written.
    """
    _require_days(days)
    try:
        require_identity_name("site", site)
    except BadCredentials as error:
        raise CertificateError(str(error)) from error
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, f"{site} authority"),
        # Two authorities of one site, such as an old and a new one, are told apart by it.
        x509.NameAttribute(NameOID.SERIAL_NUMBER, secrets.token_hex(8)),
    ])  # fmt: skip
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(name, name, key.public_key(), now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SCHEME + site)]), critical=False)
    )
    return _write(folder / "authority.pem", builder.sign(key, hashes.SHA256()), key, force=force)


def issue(
    folder: Path, role: Role, name: str, *, addresses: Sequence[str] = (), days: float, force: bool = False,
    now: datetime | None = None,
) -> Certificate:  # fmt: skip
    """Make a certificate and its key, `ROLE/NAME.pem` and `ROLE/NAME.key`, signed by the authority in the folder.

    Parameters
    ----------
    folder
        The authority's.
    role, name
        Whom it is for; a device's name is the site's.
    addresses
        Of a device: further names and numbers under which clients that know no device names may reach it.
    days
        Its validity.
    force
        Replace what is there; agents take it up without a restart.
    now
        The time of making; the clock's if not given.

    Raises
    ------
    CertificateError
        If there is no authority or it ends earlier, there is such a certificate already, a value is out of range, or
        the files cannot be written.
    """
    _require_days(days)
    now = now or datetime.now(UTC)
    path = folder / "authority.pem"
    authority = _load(path)
    key = _load_key(path.with_suffix(".key"), authority)
    try:
        identity = Identity(site=holder_of(path, authority).removeprefix(SCHEME), role=role, name=name)
    except BadCredentials as error:
        raise CertificateError(str(error)) from error
    ends = now + timedelta(days=days)
    if ends > authority.not_valid_after_utc:
        left = (authority.not_valid_after_utc - now).total_seconds() / _DAY_S
        raise CertificateError(
            f"{days:g} days are longer than the authority {path} lasts; give at most {math.floor(10 * left) / 10:g}, "
            "or make a new authority"
        )
    own = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(identity))]
    if role == "device":
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names += [x509.DNSName(identity.host), *(_address(text, identity.site) for text in addresses)]
    elif addresses:
        raise CertificateError(f"a {role} listens nowhere and has no addresses; leave {list(addresses)} out")
    builder = (
        # Who holds it is in the alternative names, which are critical where there is no subject (RFC 5280, 4.2.1.6).
        _builder(x509.Name([]), authority.subject, own.public_key(), now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(_key_of(authority), critical=False)
    )
    return _write(folder / role / f"{name}.pem", builder.sign(key, hashes.SHA256()), own, force=force)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(**granted: bool) -> x509.KeyUsage:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{usage: granted.get(usage, False) for usage in every})


def _key_of(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _address(text: str, site: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        # A name of another device's would let this one pass for it, and a star for all of them.
        if "*" in text or text.lower().endswith(f".device.{site}"):
            raise ValueError("names of devices are not addresses")
        return x509.DNSName(text)
    except ValueError as error:
        raise CertificateError(
            f"address {text!r} is neither a number, such as 10.0.0.7, nor a host's name, such as "
            f"box.example.org: {error}"
        ) from error


def _require_days(days: float) -> None:
    # Written so that NaN is refused too.
    if not 0 < days <= 36500:
        raise CertificateError(f"{days:g} days are no validity; give more than 0 and at most 36500")


def _load(path: Path) -> x509.Certificate:
    """Load the authority that signs: the first of a file, which may also hold those that are still believed."""
    return load_certificates(path)[0]


def _load_key(path: Path, authority: x509.Certificate) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise CertificateError(
            f"{path}: cannot be read: {error.strerror}; certificates are made where the authority's key is"
        ) from error
    except (ValueError, TypeError) as error:
        raise CertificateError(f"{path}: it holds no private key in PEM without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != authority.public_key():
        raise CertificateError(f"{path}: it is not the key of the certificate beside it")
    return key


def _write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, force: bool) -> Certificate:
    pem, secret = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    # The key first: who reads between the two finds a pair that does not fit, and waits for the other half.
    files = {
        path.with_suffix(".key"): key.private_bytes(pem, secret, serialization.NoEncryption()),
        path: certificate.public_bytes(pem),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not force:
            _require_absent(files)
        for file, data in files.items():
            _replace(file, data, mode=0o600 if file.suffix == ".key" else 0o644)
    except OSError as error:
        raise CertificateError(f"{error.filename or path}: cannot be written: {error.strerror}") from error
    return facts_of(path, certificate)


def _require_absent(files: Mapping[Path, bytes]) -> None:
    if present := [str(file) for file in files if file.exists()]:
        raise CertificateError(f"{' and '.join(present)}: there already; give --force to replace what is there")


def _replace(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file whole or not at all, even if the power fails."""
    incoming = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(incoming, path)
    finally:
        incoming.unlink(missing_ok=True)
