"""Model files on a device, kept under their SHA-256.

A blob becomes visible by one rename, after its bytes were verified and flushed; so a crash leaves either
the whole blob or none. Nothing in the store is reached through a link.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from typing import TYPE_CHECKING

from runtimes.errors import BadBlob, Exhausted, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")
_INCOMING = "incoming-"


class BlobStore:
    """The blobs in one directory.

    Parameters
    ----------
    directory
        Made if it is not there. One agent owns it.

    Raises
    ------
    OSError
        If the directory cannot be made or written.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        for left in directory.glob(_INCOMING + "*"):
            left.unlink()

    def has(self, sha256: str) -> bool:
        """Say whether a blob of that digest is stored, as a regular file with no second name."""
        try:
            status = os.lstat(self._path(sha256))
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_nlink == 1

    def read(self, sha256: str) -> bytes:
        """Read a blob, verified once more.

        Raises
        ------
        UnknownName
            If it is not stored.
        BadBlob
            If what is stored is not it.
        """
        try:
            descriptor = os.open(self._path(sha256), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise UnknownName(f"blob {sha256} is not stored here: {error.strerror}; upload it") from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise BadBlob(f"blob {sha256} is no regular file of one name; upload it again")
            data = file.read()
        if hashlib.sha256(data).hexdigest() != sha256:
            self._path(sha256).unlink(missing_ok=True)
            raise BadBlob(f"blob {sha256} was damaged on this device and is removed; upload it again")
        return data

    def write(self, sha256: str, chunks: Iterable[tuple[int, bytes]], limit_bytes: int) -> int:
        """Store a blob out of its chunks.

        Parameters
        ----------
        sha256
            What its bytes must hash to.
        chunks
            Pairs of the offset in bytes and the bytes that stand there, in order and without gaps.
        limit_bytes
            The most bytes it may have.

        Returns
        -------
        int
            Its size in bytes.

        Raises
        ------
        BadBlob
            If the chunks do not follow each other, are too many or do not hash to ``sha256``.
        Exhausted
            If the device has no room left.
        """
        path = self._path(sha256)
        descriptor, incoming = tempfile.mkstemp(prefix=_INCOMING, dir=self._directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                size = self._copy(sha256, chunks, limit_bytes, file.write)
                file.flush()
                os.fsync(file.fileno())
            os.replace(incoming, path)
            self._flush_names()
        except OSError as error:
            raise Exhausted(f"blob {sha256} cannot be written here: {error.strerror}; free some room") from error
        finally:
            if os.path.lexists(incoming):
                os.unlink(incoming)
        return size

    @staticmethod
    def _copy(sha256: str, chunks: Iterable[tuple[int, bytes]], limit_bytes: int, write: Callable[[bytes], int]) -> int:
        digest = hashlib.sha256()
        size = 0
        for offset, data in chunks:
            if offset != size:
                raise BadBlob(f"blob {sha256}: a chunk begins at byte {offset}, {size} are here; send in order")
            size += len(data)
            if size > limit_bytes:
                raise BadBlob(f"blob {sha256} has more than the {limit_bytes} bytes that its manifest says")
            digest.update(data)
            write(data)
        if digest.hexdigest() != sha256:
            raise BadBlob(f"the {size} bytes sent hash to {digest.hexdigest()}, not to {sha256}; send them again")
        return size

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise BadBlob(f"{sha256[:80]!r} is no SHA-256 in lower-case hexadecimal")
        return self._directory / sha256

    def _flush_names(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
