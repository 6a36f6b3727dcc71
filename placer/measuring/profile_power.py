"""What a device draws while it waits and while it runs a model: read from a meter, or declared."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from placer.errors import MeasureError
from profiles import Boundary, Figure, MeterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placer.measuring.profile_agent import Staged
    from profiles.meters import Measurement, Meter

_WINDOWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Power states that somebody vouches for, where no meter can be read.

    Parameters
    ----------
    idle_w, active_w
        Of the whole device up to the boundary: while nothing runs, and while it computes, idle power included.
    wait_w
        Above idle while it stays awake for a result; None if that is not known.
    boundary
        What they include.
    """

    idle_w: float
    active_w: float
    wait_w: float | None
    boundary: Boundary


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What a meter saw around one model.

    Parameters
    ----------
    idle_w
        Mean power of each window in which nothing ran.
    active_w
        Power while the model's execution ran, of each window in which it ran again and again.
    source, boundary
        The meter's words.
    """

    idle_w: tuple[float, ...]
    active_w: tuple[float, ...]
    source: str
    boundary: Boundary


def measure_windows(
    meter: Meter, staged: Staged, place: int, window_s: float, sleep: Callable[[float], None] = time.sleep
) -> Windows:
    """Measure power without and with a model that runs, turn by turn.

    An active window holds more than executions: requests come and go between them at what counts as idle power, so
    the executions' own power is ``idle + (mean - idle) * window / running``.

    Parameters
    ----------
    meter
        Of the machine that the agent is on.
    staged, place
        The partition to run.
    window_s
        How long each window is to be.
    sleep
        Lets idle time pass.

    Raises
    ------
    MeasureError
        The meter fails, stands still, or shows less power for work than for none.
    """
    idle: list[float] = []
    active: list[float] = []
    try:
        for _ in range(_WINDOWS):
            meter.begin_window()
            sleep(window_s)
            idle.append(_mean_w(meter.end_window()))
            meter.begin_window()
            over = time.monotonic() + window_s
            began = time.monotonic()
            running_s = staged.keep_running(place, over)
            taken_s = time.monotonic() - began
            last = meter.end_window()
            active.append(idle[-1] + (_mean_w(last) - idle[-1]) * taken_s / running_s)
    except MeterError as error:
        raise MeasureError(f"the energy meter failed: {error}") from error
    if median(active) <= median(idle):
        raise MeasureError(
            f"the meter ({last.source}) shows {median(active):.3g} W while a model runs and {median(idle):.3g} W while "
            "none does: it does not see this device's work, or other work drowns it; declare --idle-w and --active-w"
        )
    return Windows(idle_w=tuple(idle), active_w=tuple(active), source=last.source, boundary=last.boundary)


def _mean_w(measurement: Measurement) -> float:
    if measurement.joules <= 0 or measurement.seconds <= 0:
        raise MeasureError(
            f"the meter ({measurement.source}) showed {measurement.joules:g} J in {measurement.seconds:.3g} s: "
            "it stands still; look at its wiring or driver, or declare --idle-w and --active-w"
        )
    return measurement.joules / measurement.seconds


def power_figure(values_w: Sequence[float], source: str, note: str) -> Figure:
    """Make a figure of powers that were measured: their median, uncertain by their median deviation from it."""
    middle = median(values_w)
    return Figure(
        value=middle,
        source=source,
        origin="measured",
        relative_uncertainty=median(abs(value - middle) for value in values_w) / middle,
        note=note,
    )
