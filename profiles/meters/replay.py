"""A meter that answers from a log, so that whatever measures can be tested where no meter is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from profiles.errors import MeterError, ProfileError
from profiles.meters.meter import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write_log(path: Path, measurements: Iterable[Measurement]) -> None:
    """Write measurements as JSON lines, one window each, for a `ReplayMeter` to read.

    Parameters
    ----------
    path
        The log, overwritten if it exists.
    measurements
        In the order in which windows will end.
    """
    path.write_bytes(b"".join(msgspec.json.encode(measurement) + b"\n" for measurement in measurements))


class ReplayMeter:
    """Returns the recorded windows of a log, one after the other.

    Parameters
    ----------
    path
        JSON lines as `write_log` writes them.

    Raises
    ------
    MeterError
        If the log cannot be read; names the line and the field.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._windows = _read_log(path)
        self._next = 0
        self._open = False

    def begin_window(self) -> None:
        """Start a window.

        Raises
        ------
        MeterError
            If a window is open already, or the log has no more windows.
        """
        if self._open:
            raise MeterError("a window is open already: call end_window first")
        if self._next == len(self._windows):
            raise MeterError(f"{self._path} has {len(self._windows)} windows and all have been replayed")
        self._open = True

    def end_window(self) -> Measurement:
        """End the window and return what was recorded for it.

        Raises
        ------
        MeterError
            If no window is open.
        """
        if not self._open:
            raise MeterError("no window is open: call begin_window first")
        self._open = False
        self._next += 1
        return self._windows[self._next - 1]


def _read_log(path: Path) -> tuple[Measurement, ...]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as reason:
        raise MeterError(f"{path}: cannot be read: {reason.strerror}") from None
    windows = []
    for number, line in enumerate(lines, start=1):
        try:
            windows.append(msgspec.json.decode(line, type=Measurement))
        except (msgspec.DecodeError, ProfileError) as reason:
            raise MeterError(f"{path}, line {number}: {reason}") from None
    return tuple(windows)
