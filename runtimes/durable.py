"""Files that are whole or not there, whenever the power goes, and that nothing outside their directory passes for."""

from __future__ import annotations

import os
import stat
import tempfile
from typing import TYPE_CHECKING

from runtimes.errors import BadBlob

if TYPE_CHECKING:
    from pathlib import Path

INCOMING = "incoming-"
"""How the name of a file begins that is not yet what it is to become; such files are cleared at start."""


def read_own(path: Path) -> bytes:
    """Read a file that is a regular one, with no second name and reached through no link.

    Raises
    ------
    OSError
        If it cannot be opened; ``ELOOP`` for a symbolic link.
    BadBlob
        If it is something else than a regular file, or has a second name.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise BadBlob(f"{path.name} is no regular file of one name")
        return file.read()


def is_own(path: Path) -> bool:
    """Say whether a regular file with no second name is there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def write_own(path: Path, data: bytes) -> None:
    """Put a file there with these bytes; after a crash at any moment it is the former one or this one, whole.

    Raises
    ------
    OSError
        If the disk does not take it; the former one then stays.
    """
    descriptor, incoming = tempfile.mkstemp(prefix=INCOMING, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(incoming, path)
    except BaseException:
        os.unlink(incoming)
        raise
    flush_names(path.parent)


def flush_names(directory: Path) -> None:
    """See to it that what was renamed in a directory stays so."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
