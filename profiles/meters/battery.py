"""Joules of a whole battery-driven device, from what its battery gives while it is discharged."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from profiles.errors import MeterError, choices
from profiles.meters.sampled import SampledMeter
from profiles.meters.sysfs import read_number, read_text

if TYPE_CHECKING:
    from collections.abc import Callable

# docs.kernel.org/power/power_supply_class.html: power_now in microwatts, current_now in microamperes, voltage_now
# in microvolts. Some drivers show a current that is drawn as negative.
_ROOT = Path("/sys/class/power_supply")
_WATTS_PER_POWER = 1e-6
_WATTS_PER_PRODUCT = 1e-12


class BatteryMeter(SampledMeter):
    """Reads the power that a battery gives; it feeds the whole device, display and radios included.

    Batteries renew their reading every second to half a minute: windows have to be minutes long.

    Parameters
    ----------
    battery
        Its name, such as ``BAT0``; may be left out where there is one.
    root
        The power supplies' folder; another one for tests.
    clock
        Seconds of a clock that never goes back.

    Raises
    ------
    MeterError
        If there is no such battery, several and none was named, it shows no power or may not be read, or it is
        not being discharged.
    """

    def __init__(
        self, battery: str | None = None, root: Path = _ROOT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        found = [
            folder.name
            for folder in sorted(root.glob("*"))
            if (folder / "type").exists() and read_text(folder / "type") == "Battery" and _is_own(folder)
        ]
        if not found:
            raise MeterError(f"{root} has no battery")
        if battery is None:
            if len(found) > 1:
                raise MeterError(f"{root} has several batteries, name one: {', '.join(found)}")
            (battery,) = found
        if battery not in found:
            raise MeterError(f"{root} has no battery {battery!r}; {choices(battery, found)}")
        self._folder = root / battery
        super().__init__(self._power_w, f"battery {battery}", "board", clock)

    def _power_w(self) -> float:
        status = read_text(self._folder / "status")
        if status != "Discharging":
            raise MeterError(
                f"battery {self._folder.name} is {status!r}: only while it is discharged does it show what the "
                "device draws; unplug the charger"
            )
        if (self._folder / "power_now").exists():
            return abs(read_number(self._folder / "power_now", "microwatts")) * _WATTS_PER_POWER
        amperes = read_number(self._folder / "current_now", "microamperes")
        return abs(amperes * read_number(self._folder / "voltage_now", "microvolts")) * _WATTS_PER_PRODUCT


def _is_own(folder: Path) -> bool:
    """Say whether a battery drives this machine: those of mice and headsets are of scope Device."""
    return not (folder / "scope").exists() or read_text(folder / "scope") == "System"
