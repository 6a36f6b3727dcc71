"""What a device remembers over a restart: the plan that is active, the one before it, and their epochs.

One file beside the blobs, its own digest in the first line: torn or changed, it is refused as a whole.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import msgspec

from runtimes.assignment import Assignment  # noqa: TC001  msgspec reads the annotations at run time
from runtimes.durable import read_own, write_own
from runtimes.errors import BadBlob, Exhausted, WrongState

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "plans.state"


class Plans(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The plans that a device goes on with after a restart.

    Parameters
    ----------
    active
        What new requests follow.
    previous
        What was active before; None if nothing was.
    """

    format: Literal["placer.state/1.0"] = "placer.state/1.0"
    active: Assignment
    previous: Assignment | None = None


class StateFile:
    """The file that remembers a device's plans.

    Parameters
    ----------
    directory
        Where it is: the store's.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / _NAME
        """Where it is."""

    def read(self) -> Plans | None:
        """Read it; None if nothing was ever active here.

        Raises
        ------
        WrongState
            If it is damaged.
        """
        try:
            content = read_own(self.path)
            digest, _, text = content.partition(b"\n")
            if hashlib.sha256(text).hexdigest().encode() != digest:
                raise WrongState(f"{self.path} is damaged: its digest does not fit its content; deploy a plan again")
            return msgspec.json.decode(text, type=Plans)
        except FileNotFoundError:
            return None
        except (OSError, BadBlob, msgspec.DecodeError) as error:
            raise WrongState(f"{self.path} cannot be used: {error}; deploy a plan again") from error

    def write(self, plans: Plans) -> None:
        """Remember these plans from now on; whenever the power goes, the file has the former ones or these.

        Raises
        ------
        Exhausted
            If the disk does not take it; the former ones are then still remembered.
        """
        text = msgspec.json.encode(plans)
        try:
            write_own(self.path, hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
        except OSError as error:
            raise Exhausted(f"{self.path} cannot be written: {error.strerror}; free some room") from error
