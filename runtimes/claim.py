"""An agent's claim on its store, so that no two agents of one machine serve each other's plans."""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING

from runtimes.errors import AgentError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "agent.lock"


class Claim:
    """A store that is this agent's alone until it is released or the process ends, however it ends.

    Parameters
    ----------
    directory
        The store; made if it is not there.

    Raises
    ------
    AgentError
        If another agent holds it, or it cannot be made or written.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(directory / _NAME, flags, stat.S_IRUSR | stat.S_IWUSR)
        except OSError as error:
            raise AgentError(
                f"store {directory}: it cannot be made or written ({error.filename}: {error.strerror}); "
                "give --store a folder that this user can write"
            ) from error
        try:
            # The kernel's, and the open file's: it ends with the process, after a kill -9 too.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            if isinstance(error, BlockingIOError):
                raise AgentError(
                    f"store {directory}: another agent that runs holds it; stop that one, or give this one "
                    "a --store of its own"
                ) from error
            raise AgentError(
                f"store {directory}: it cannot be locked ({error.strerror}); give --store a folder on a disk "
                "of this machine"
            ) from error

    def release(self) -> None:
        """Leave the store to the next agent."""
        os.close(self._descriptor)
