"""Model files on a device, kept under their SHA-256.

A blob becomes visible by one rename, after its bytes were verified and flushed; so a crash leaves either
the whole blob or none. What an upload that broke off has brought stays aside, and the next one goes on there.
Nothing in the store is reached through a link.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from typing import TYPE_CHECKING

from runtimes.durable import INCOMING, flush_names, is_own, read_own
from runtimes.errors import BadBlob, Exhausted, UnknownName, WrongState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from io import FileIO
    from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PARTIAL = "partial-"
_READ_BYTES = 1 << 20


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
        # One upload of a blob at a time, the latest: a controller that died may not be known to be dead yet.
        self._lock = threading.Lock()
        self._uploads: dict[str, object] = {}
        for left in directory.glob(INCOMING + "*"):
            left.unlink()

    def has(self, sha256: str) -> bool:
        """Say whether a blob of that digest is stored, as a regular file with no second name."""
        return is_own(self._path(sha256))

    def received(self, sha256: str) -> int:
        """Give how many bytes of a blob are here from an upload that broke off."""
        partial = self._partial(sha256)
        return os.lstat(partial).st_size if is_own(partial) else 0

    def read(self, sha256: str) -> bytes:
        """Read a blob, verified once more.

        Raises
        ------
        UnknownName
            If it is not stored.
        BadBlob
            If what is stored is not it.
        """
        path = self._path(sha256)
        try:
            data = read_own(path)
        except OSError as error:
            raise UnknownName(f"blob {sha256} is not stored here: {error.strerror}; upload it") from error
        except BadBlob as error:
            raise BadBlob(f"blob {error}; upload it again") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            path.unlink(missing_ok=True)
            raise BadBlob(f"blob {sha256} was damaged on this device and is removed; upload it again")
        return data

    def write(self, sha256: str, chunks: Iterable[tuple[int, bytes]], limit_bytes: int) -> int:
        """Store a blob out of its chunks.

        Parameters
        ----------
        sha256
            What its bytes must hash to.
        chunks
            Pairs of the offset in bytes and the bytes that stand there, in order and without gaps. The first
            offset is 0, or what ``received`` says.
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
        WrongState
            If another upload of it began meanwhile, or a later plan that does not need it was staged.
        Exhausted
            If the device has no room left.
        """
        path, partial, upload = self._path(sha256), self._partial(sha256), object()
        with self._lock:
            self._uploads[sha256] = upload
        try:
            with self._open(partial) as file:
                size = self._append(sha256, file, chunks, limit_bytes, upload)
                os.fsync(file.fileno())
            with self._lock:
                # In one step: a later upload would go on in the same file, which is the blob's own from here on.
                self._require_latest(sha256, upload)
                if not os.path.lexists(partial):
                    raise WrongState(f"no plan that is staged here needs blob {sha256} any more; deploy again")
                os.replace(partial, path)
            flush_names(self._directory)
        except BadBlob:
            self._discard(sha256, upload)
            raise
        except OSError as error:
            # The room is worth more than the bytes: the plan that serves needs some for its own state.
            self._discard(sha256, upload)
            raise Exhausted(f"blob {sha256} cannot be written here: {error.strerror}; free some room") from error
        finally:
            with self._lock:
                if self._uploads.get(sha256) is upload:
                    del self._uploads[sha256]
        return size

    def keep(self, blobs: Collection[str]) -> None:
        """Remove all blobs but these, and what was begun of others."""
        kept = {*blobs, *(_PARTIAL + sha256 for sha256 in blobs)}
        for path in self._directory.iterdir():
            if _SHA256.fullmatch(path.name.removeprefix(_PARTIAL)) and path.name not in kept:
                path.unlink(missing_ok=True)

    def _append(
        self, sha256: str, file: FileIO, chunks: Iterable[tuple[int, bytes]], limit_bytes: int, upload: object
    ) -> int:
        digest = hashlib.sha256()
        size = 0
        while data := file.read(_READ_BYTES):
            digest.update(data)
            size += len(data)
        first = True
        for offset, data in chunks:
            with self._lock:
                self._require_latest(sha256, upload)
                if first and offset == 0 < size:
                    file.truncate(0)
                    digest, size = hashlib.sha256(), 0
                first = False
                if offset != size:
                    raise BadBlob(f"blob {sha256}: a chunk begins at byte {offset}, {size} are here; send in order")
                size += len(data)
                if size > limit_bytes:
                    raise BadBlob(f"blob {sha256} has more than the {limit_bytes} bytes that its manifest says")
                digest.update(data)
                _write_all(file, data)
        if digest.hexdigest() != sha256:
            raise BadBlob(f"the {size} bytes sent hash to {digest.hexdigest()}, not to {sha256}; send them again")
        return size

    def _discard(self, sha256: str, upload: object) -> None:
        """Remove what an upload has brought, unless it is another's by now."""
        with self._lock:
            if self._uploads.get(sha256) is upload:
                self._partial(sha256).unlink(missing_ok=True)

    def _require_latest(self, sha256: str, upload: object) -> None:
        if self._uploads.get(sha256) is not upload:
            raise WrongState(f"another upload of blob {sha256} has begun since; this one is over")

    def _open(self, partial: Path) -> FileIO:
        if os.path.lexists(partial) and not is_own(partial):
            partial.unlink()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        file: FileIO = os.fdopen(os.open(partial, flags, stat.S_IRUSR | stat.S_IWUSR), "rb+", buffering=0)
        return file

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise BadBlob(f"{sha256[:80]!r} is no SHA-256 in lower-case hexadecimal")
        return self._directory / sha256

    def _partial(self, sha256: str) -> Path:
        return self._directory / (_PARTIAL + self._path(sha256).name)


def _write_all(file: FileIO, data: bytes) -> None:
    # A disk that is nearly full takes a part, and says so only the next time.
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
