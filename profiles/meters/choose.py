"""Opens the meter that a word names, or the first that this machine has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from profiles.errors import MeterError
from profiles.meters.battery import BatteryMeter
from profiles.meters.hwmon import HwmonMeter
from profiles.meters.rapl import RaplMeter
from profiles.meters.replay import ReplayMeter
from profiles.meters.zeus import ZeusMeter

if TYPE_CHECKING:
    from profiles.meters.meter import Meter

METERS = "rapl, hwmon[:SENSOR], battery[:NAME], zeus:gpu, zeus:cpu, replay:FILE"
"""What `open_meter` understands."""

# Whatever holds more of the machine comes first: a battery or a rail feeds what a package's counters leave out.
_IN_TURN = ("battery", "hwmon", "rapl")


def open_meter(name: str) -> Meter:
    """Open a meter.

    Parameters
    ----------
    name
        One of `METERS`.

    Raises
    ------
    MeterError
        If there is no such kind, or this machine has none that can be read.
    """
    kind, _, which = name.partition(":")
    if kind == "battery":
        return BatteryMeter(which or None)
    if kind == "hwmon":
        return HwmonMeter(which or None)
    if kind == "replay" and which:
        return ReplayMeter(Path(which))
    if name == "rapl":
        return RaplMeter()
    if name == "zeus:gpu":
        return ZeusMeter("gpu")
    if name == "zeus:cpu":
        return ZeusMeter("cpu")
    raise MeterError(f"{name!r} is no meter; known: {METERS}")


def find_meter() -> Meter:
    """Open the first of battery, supply rail and processor package that can be read here.

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
    raise MeterError("no energy meter can be read here (" + "; ".join(reasons) + ")")
