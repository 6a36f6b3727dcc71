"""The certificates of one process: read, proven to hold together, and read again when they are renewed on disk.

gRPC speaks TLS itself; what is done here is to say what is wrong with a file before a stranger's handshake fails
over it. A set of files is tried by a handshake with itself, in memory: one that this process would not accept
from another is of no use to it.
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from runtimes.errors import BadCredentials
from runtimes.identity import Identity, parse_identity

_LOG = logging.getLogger(__name__)
# Files are looked at no more often than this.
_LOOK_AGAIN_S = 1.0
# The last part of a certificate's life, in which the log asks for a new one.
_OLD_AGE = 0.2
_REMIND_S = 3600.0
# Flights of a TLS handshake are three; more means that neither end can go on.
_FLIGHTS = 10

# Device, inode, size and time of change of each file.
_Signature = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFiles:
    """Where a process finds its certificates, in PEM.

    Parameters
    ----------
    authority
        The site's authorities: whose certificates are accepted, the own one among them.
    certificate
        The own certificate.
    key
        Its private key, which no other user of the machine may read.
    """

    authority: str | Path
    certificate: str | Path
    key: str | Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What was in the files at one moment, proven to hold together.

    Parameters
    ----------
    authority, certificate, key
        Their contents.
    identity
        Whom the certificate names.
    begins_at_s, ends_at_s
        Its validity, in seconds since 1970.
    """

    authority: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    identity: Identity
    begins_at_s: float
    ends_at_s: float


class Credentials:
    """The certificates of one process, for as long as it lives.

    Parameters
    ----------
    files
        Where they are. They may be renewed at any time, in any order.
    serves
        Whether the certificate must also do for listening, as a device's does.

    Raises
    ------
    BadCredentials
        If they cannot be used; the message names the file and what is wrong with it.
    """

    def __init__(self, files: CredentialFiles, *, serves: bool = False) -> None:
        self._files = files
        self._serves = serves
        self._lock = threading.Lock()
        self._signature = _signature(files)
        self._material = _read(files, serves=serves)
        self._looked_at = time.monotonic()
        self._reminded_at = float("-inf")
        self._refused: _Signature | None = None

    @property
    def identity(self) -> Identity:
        """Whom the certificate names; renewing it does not change this."""
        return self._material.identity

    def material(self) -> Material:
        """Give what is in the files now.

        Files that have changed into something that cannot be used, such as a key whose certificate is still to be
        written, leave the former in use; the log says what is wrong with them.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at >= _LOOK_AGAIN_S:
                self._looked_at = now
                self._look()
                self._remind(now)
            return self._material

    def require_valid(self) -> None:
        """Try the certificate once more.

        Raises
        ------
        BadCredentials
            If it would be refused now: it has expired since, or the clock was set.
        """
        _read(self._files, serves=self._serves)

    def server(self) -> grpc.ServerCredentials:
        """Make credentials that take what the files hold at each handshake, and ask every caller for a certificate."""
        used = self.material()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal used
            present = self.material()
            if present is used:
                return None
            used = present
            return _configuration(present)

        return grpc.dynamic_ssl_server_credentials(_configuration(used), renewed, require_client_authentication=True)

    def listening(self) -> ssl.SSLContext:
        """Make what a listener beside gRPC's needs: it asks every caller for a certificate.

        Raises
        ------
        BadCredentials
            If the files are being renewed at this moment.
        """
        return _contexts(self._files, self.material().authority)[0]

    def _look(self) -> None:
        signature: _Signature = ()
        try:
            signature = _signature(self._files)
            if signature == self._signature:
                return
            material = _read(self._files, serves=self._serves)
            if material.identity != self.identity:
                raise BadCredentials(f"{self._files.certificate} names {material.identity}, this is {self.identity}")
        except BadCredentials as error:
            # Tried again at every look, since a clock may be set or the last file be written; said once.
            if signature != self._refused:
                self._refused = signature
                _LOG.error("the changed files are not used, what they held before is: %s", error)
            return
        self._signature, self._material, self._refused = signature, material, None
        _LOG.info("%s: certificate renewed, valid until %s", material.identity, _date(material.ends_at_s))

    def _remind(self, now: float) -> None:
        material = self._material
        left_s = material.ends_at_s - time.time()
        if left_s < _OLD_AGE * (material.ends_at_s - material.begins_at_s) and now - self._reminded_at >= _REMIND_S:
            self._reminded_at = now
            _LOG.warning(
                "%s: the certificate %s ends at %s; renew it",
                material.identity,
                self._files.certificate,
                _date(material.ends_at_s),
            )


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.certificate)], material.authority)


def _signature(files: CredentialFiles) -> _Signature:
    found = []
    for path in (files.authority, files.certificate, files.key):
        try:
            status = os.stat(path)
        except OSError as error:
            raise BadCredentials(f"{path}: cannot be read: {error.strerror}") from error
        found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _read(files: CredentialFiles, *, serves: bool) -> Material:
    before = _signature(files)
    try:
        mode = stat.S_IMODE(os.stat(files.key).st_mode)
        authority, certificate, key = (Path(p).read_bytes() for p in (files.authority, files.certificate, files.key))
    except OSError as error:
        raise BadCredentials(f"{error.filename}: cannot be read: {error.strerror}") from error
    if os.name == "posix" and mode & 0o007:
        raise BadCredentials(
            f"{files.key}: every user of this machine can use the private key (mode {mode:04o}); chmod 600 {files.key}"
        )
    facts = _greet(files, authority, serves=serves)
    # ssl reads the files itself: they must be those that were read above.
    if _signature(files) != before:
        raise BadCredentials(f"{files.certificate}: it is being written; try again")
    names = [value for kind, value in facts["subjectAltName"] if kind == "URI"]
    if len(names) != 1:
        raise BadCredentials(
            f"{files.certificate}: it carries {len(names)} SPIFFE identities instead of one; "
            "make it with `placer certs`"
        )
    return Material(
        authority=authority, certificate=certificate, key=key, identity=parse_identity(names[0]),
        begins_at_s=ssl.cert_time_to_seconds(facts["notBefore"]), ends_at_s=ssl.cert_time_to_seconds(facts["notAfter"]),
    )  # fmt: skip


def _greet(files: CredentialFiles, authority: bytes, *, serves: bool) -> dict[str, Any]:
    """Shake hands with ourselves, each end by the other's rules; returns what the certificate says."""
    listening, calling = _contexts(files, authority)
    calling.verify_mode = ssl.CERT_REQUIRED if serves else ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (calling.wrap_bio(back, there), listening.wrap_bio(there, back, server_side=True))
    try:
        for _ in range(_FLIGHTS):
            done = [_advanced(end) for end in ends]
            if all(done):
                break
    except ssl.SSLCertVerificationError as error:
        raise BadCredentials(
            f"{files.certificate}: {error.verify_message}, says the authority {files.authority} at {_date(time.time())}"
        ) from error
    except ssl.SSLError as error:
        raise BadCredentials(f"{files.certificate}: {error.reason}") from error
    return ends[1].getpeercert() or {}


def _contexts(files: CredentialFiles, authority: bytes) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make both ends' contexts, listening and calling, each with the own certificate."""
    listening, calling = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whom a certificate names is looked at by gRPC, per connection.
    calling.check_hostname = False
    listening.verify_mode = ssl.CERT_REQUIRED
    for context in (listening, calling):
        try:
            context.load_verify_locations(cadata=authority.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise BadCredentials(f"{files.authority}: it holds no certificates in PEM") from error
        try:
            # A key with a passphrase would ask for it on the terminal; no password is never right.
            context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
        except ssl.SSLError as error:
            reason = "the key is another certificate's" if "MISMATCH" in str(error) else "no certificate and key in PEM"
            raise BadCredentials(f"{files.certificate} and {files.key}: {reason} (keys have no passphrase)") from error
    return listening, calling


def _advanced(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _date(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s))
