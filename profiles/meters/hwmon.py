"""Joules of a supply rail, from the sensors that Linux shows under hwmon: INA219, INA226, INA3221 and their kind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from profiles.errors import MeterError, choices
from profiles.meters.sampled import SampledMeter
from profiles.meters.sysfs import read_number, read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from profiles.device import Boundary

# docs.kernel.org/hwmon/sysfs-interface.html: powerN_input in microwatts; inN_input in millivolts and
# currN_input in milliamperes where a chip, such as the INA3221, leaves the product to its reader.
_ROOT = Path("/sys/class/hwmon")
_WATTS_PER_POWER = 1e-6
_WATTS_PER_PRODUCT = 1e-6


class _Sensor(msgspec.Struct, frozen=True, kw_only=True):
    """One power sensor: what it is called, and the files whose product is its power."""

    name: str
    files: tuple[Path, ...]

    def read_w(self) -> float:
        if len(self.files) == 1:
            return abs(read_number(self.files[0], "microwatts")) * _WATTS_PER_POWER
        volts, amperes = self.files
        # A shunt that is soldered in the other way round shows what is drawn as negative.
        return abs(read_number(volts, "millivolts") * read_number(amperes, "milliamperes")) * _WATTS_PER_PRODUCT


class HwmonMeter(SampledMeter):
    """Reads one power sensor many times a second.

    Which wire a sensor sits in is known to whoever built the board, so where there are several, one is named, and
    the boundary is told: that of the board, unless said otherwise.

    Parameters
    ----------
    sensor
        Name of the chip and of its channel, such as ``ina226/power1``; may be left out where there is one.
    boundary
        What the power of that wire includes.
    root
        The hwmon folder; another one for tests.
    clock
        Seconds of a clock that never goes back.

    Raises
    ------
    MeterError
        If there is no such sensor, several and none was named, or it may not be read.
    """

    def __init__(
        self, sensor: str | None = None, boundary: Boundary = "board", root: Path = _ROOT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        found = {each.name: each for each in _sensors(root)}
        if not found:
            raise MeterError(f"{root} has no power sensor: no chip there shows watts, or volts and amperes")
        if sensor is None:
            if len(found) > 1:
                raise MeterError(f"{root} has several power sensors, name the supply's: {', '.join(found)}")
            (sensor,) = found
        if sensor not in found:
            raise MeterError(f"{root} has no power sensor {sensor!r}; {choices(sensor, found)}")
        super().__init__(found[sensor].read_w, f"hwmon: {sensor}", boundary, clock)


def _sensors(root: Path) -> list[_Sensor]:
    sensors: list[_Sensor] = []
    for chip in sorted(root.glob("hwmon*")):
        name = read_text(chip / "name")
        powers = sorted(chip.glob("power[0-9]*_input")) or sorted(chip.glob("power[0-9]*_average"))
        for file in powers:
            sensors.append(_Sensor(name=f"{name}/{file.name.partition('_')[0]}", files=(file,)))
        if not powers:
            for amperes in sorted(chip.glob("curr[0-9]*_input")):
                channel = amperes.name.removeprefix("curr").removesuffix("_input")
                volts = chip / f"in{channel}_input"
                if volts.exists():
                    sensors.append(_Sensor(name=f"{name}/curr{channel}", files=(volts, amperes)))
    # Two chips of one kind, on two rails, have one name.
    names = [sensor.name for sensor in sensors]
    return [
        sensor if names.count(sensor.name) == 1
        else msgspec.structs.replace(sensor, name=f"{sensor.files[0].parent.name}/{sensor.name}")
        for sensor in sensors
    ]  # fmt: skip
