"""What every energy meter answers: the joules and seconds of one window, and what they include."""

from __future__ import annotations

from typing import Protocol

import msgspec

from profiles.device import Boundary  # noqa: TC001  (msgspec reads the annotation at run time)
from profiles.figure import require_not_negative


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a meter saw in one window, idle power included.

    Parameters
    ----------
    joules
        Energy of the window, at least zero.
    seconds
        How long the window was, at least zero.
    source
        The meter and what it read, in words.
    boundary
        What the joules include: the chip's supply, the board, the wall plug, or a whole node.

    Raises
    ------
    ProfileError
        If a number is negative or not finite.
    """

    joules: float
    seconds: float
    source: str
    boundary: Boundary

    def __post_init__(self) -> None:
        require_not_negative("joules", self.joules)
        require_not_negative("seconds", self.seconds)


class Meter(Protocol):
    """One way to measure energy.

    A protocol and no base class, so that an adapter to a foreign library needs nothing from here.
    """

    def begin_window(self) -> None:
        """Start a window.

        Raises
        ------
        MeterError
            If a window is open already, or the meter cannot be read.
        """

    def end_window(self) -> Measurement:
        """End the window and say what it cost.

        Raises
        ------
        MeterError
            If no window is open, or the meter cannot be read.
        """
