"""Keeps what was measured so far beside the file that it is for, so that a profile goes on where it was broken off."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from placer.errors import ProblemError

if TYPE_CHECKING:
    from pathlib import Path


class Journal:
    """Results by key, in a file of JSON lines that is made with the first of them.

    Parameters
    ----------
    target
        The file that the results are for; the journal stands beside it.
    about
        All that the results depend on: a journal about anything else is not taken up.

    Raises
    ------
    ProblemError
        There is a journal of another run, or one that cannot be read.
    """

    def __init__(self, target: Path, about: dict[str, Any]) -> None:
        self.path = target.with_name(f"{target.name}.journal")
        self._about = about
        self._kept: dict[str, Any] = {}
        for line in self._lines():
            self._kept[line["key"]] = line["value"]

    def get(self, key: str) -> Any:
        """Return a result; None where there is none yet."""
        return self._kept.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a result; it is on the disk when this returns."""
        lines = [{"key": key, "value": value}]
        if not self.path.exists():
            lines = [{"about": self._about}, *lines]
        with self.path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        self._kept[key] = value

    def remove(self) -> None:
        """Remove the file: the results are where they belong."""
        self.path.unlink(missing_ok=True)

    def _lines(self) -> list[dict[str, Any]]:
        try:
            written = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as reason:
            raise ProblemError(f"{self.path}: cannot be read: {reason.strerror}") from None
        whole, _, torn = written.rpartition(b"\n")
        if torn:
            # Cut short as it was written: the result is measured anew, and the next one begins a line of its own.
            with self.path.open("r+b") as file:
                file.truncate(len(whole) + 1 if whole else 0)
        try:
            first, *lines = [msgspec.json.decode(line) for line in whole.splitlines()] or [None]
        except msgspec.DecodeError as reason:
            raise ProblemError(f"{self.path}: {reason}; delete it to measure from the beginning") from None
        if first is None:
            self.path.unlink()
            return []
        if first != msgspec.json.decode(msgspec.json.encode({"about": self._about})):
            raise ProblemError(
                f"{self.path}: is of a run with other models, options or another device; repeat that one to go on with "
                "it, or delete the file to measure from the beginning"
            )
        return lines
