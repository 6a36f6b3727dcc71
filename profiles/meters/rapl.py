"""Joules of processor packages and their memory, from the energy counters Linux shows under powercap."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from profiles.errors import MeterError
from profiles.meters.meter import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

# docs.kernel.org/power/powercap/powercap.html: one folder per power zone, energy_uj counts microjoules and
# starts again at zero after max_energy_range_uj.
_ROOT = Path("/sys/class/powercap")
_JOULES_PER_COUNT = 1e-6


class _Counter(msgspec.Struct, frozen=True, kw_only=True):
    """One power zone: its name, its counter's file, and the count after which it starts again."""

    name: str
    file: Path
    range_counts: int


class RaplMeter:
    """Sums the package zones and their DRAM zones, which packages do not include.

    Core and uncore zones are parts of a package and are left out, as is the platform zone, which
    holds packages. A counter that ran over once in a window is corrected. One that ran over more
    often cannot be told: at 100 W the usual range of 262 kJ lasts for 43 minutes.

    Parameters
    ----------
    root
        The powercap folder; another one for tests.
    clock
        Seconds of a clock that never goes back.

    Raises
    ------
    MeterError
        If there are no counters, or they may not be read.
    """

    def __init__(self, root: Path = _ROOT, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counters = _find_counters(root)
        self._read()
        self._begin: tuple[float, tuple[int, ...]] | None = None

    def begin_window(self) -> None:
        """Start a window.

        Raises
        ------
        MeterError
            If a window is open already, or a counter cannot be read.
        """
        if self._begin is not None:
            raise MeterError("a window is open already: call end_window first")
        counts = self._read()
        self._begin = (self._clock(), counts)

    def end_window(self) -> Measurement:
        """End the window and return the joules of all packages and their memory.

        Raises
        ------
        MeterError
            If no window is open, or a counter cannot be read.
        """
        if self._begin is None:
            raise MeterError("no window is open: call begin_window first")
        begin_s, before = self._begin
        end_s, after = self._clock(), self._read()
        self._begin = None
        counts = sum(
            late - early if late >= early else late - early + counter.range_counts
            for counter, early, late in zip(self._counters, before, after, strict=True)
        )
        return Measurement(
            joules=counts * _JOULES_PER_COUNT,
            seconds=end_s - begin_s,
            source="RAPL: " + ", ".join(counter.name for counter in self._counters),
            boundary="chip",
        )

    def _read(self) -> tuple[int, ...]:
        return tuple(_count(counter.file) for counter in self._counters)


def _find_counters(root: Path) -> tuple[_Counter, ...]:
    counters = []
    # intel-rapl is the driver's name on AMD too; intel-rapl-mmio shows the same packages once more.
    for zone in sorted(root.glob("intel-rapl:*")):
        name = _text(zone / "name")
        if name.startswith("package-"):
            full = name
        elif name == "dram":
            parent = zone.name.rpartition(":")[0]
            full = f"dram of {_text(root / parent / 'name')}"
        else:
            continue
        range_counts = _count(zone / "max_energy_range_uj")
        counters.append(_Counter(name=full, file=zone / "energy_uj", range_counts=range_counts))
    if not counters:
        raise MeterError(
            f"{root} has no RAPL package: the processor has no energy counters, a virtual machine hides them, "
            "or the kernel module intel_rapl_msr is not loaded"
        )
    return tuple(counters)


def _count(file: Path) -> int:
    text = _text(file)
    if not text.isdecimal():
        raise MeterError(f"{file} holds {text!r} where a count of microjoules was expected")
    return int(text)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except PermissionError:
        raise MeterError(
            f"{file} may not be read: since CVE-2020-8694 Linux shows energy counters to root alone; "
            "run as root, or let a udev rule give your group the right to read them"
        ) from None
    except (OSError, UnicodeDecodeError) as reason:
        raise MeterError(f"{file} cannot be read: {reason}") from None
