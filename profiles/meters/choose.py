"""Opens the meter that a word names, or the first that this machine has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from profiles.errors import MeterError, UnknownMeterError
from profiles.meters.battery import BatteryMeter
from profiles.meters.hwmon import HwmonMeter
from profiles.meters.rapl import RaplMeter
from profiles.meters.replay import ReplayMeter
from profiles.meters.zeus import ZeusMeter

if TYPE_CHECKING:
    from profiles.device import Boundary
    from profiles.meters.meter import Meter

METERS = "rapl, hwmon[:SENSOR], battery[:NAME], zeus:gpu, zeus:cpu, replay:FILE"
"""What `open_meter` understands."""

# A battery feeds what a package's counters leave out. Which wire a sensor of hwmon sits in nobody can tell from here.
_IN_TURN = ("battery", "rapl")


def open_meter(name: str, boundary: Boundary | None = None) -> Meter:
    """Open a meter.

    Parameters
    ----------
    name
        One of `METERS`.
    boundary
        What the wire of an hwmon sensor feeds, the board if not given; all other meters know theirs.

    Raises
    ------
    UnknownMeterError
        If there is no such kind.
    MeterError
        If this machine has none that can be read, or it knows its boundary itself.
    """
    kind, _, which = name.partition(":")
    if kind == "hwmon":
        return HwmonMeter(which or None, boundary or "board")
    if boundary is not None:
        raise MeterError(f"the meter {name!r} knows what it includes; leave the boundary {boundary!r} out")
    if kind == "battery":
        return BatteryMeter(which or None)
    if kind == "replay" and which:
        return ReplayMeter(Path(which))
    if name == "rapl":
        return RaplMeter()
    if name == "zeus:gpu":
        return ZeusMeter("gpu")
    if name == "zeus:cpu":
        return ZeusMeter("cpu")
    raise UnknownMeterError(f"{name!r} is no meter; known: {METERS}")


def find_meter() -> Meter:
    """Open the first of battery and processor package that can be read here.

    Raises
    ------
    MeterError
        If there is none; says of each why.
    """
    reasons = []
    for name in _IN_TURN:
        try:
            return open_meter(name)
        except MeterError as error:
            reasons.append(f"{name}: {error}")
    raise MeterError(
        "no energy meter is found here ("
        + "; ".join(reasons)
        + "); a sensor of hwmon has to be named: hwmon:CHIP/CHANNEL"
    )
