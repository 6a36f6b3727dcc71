"""Joules of a sensor that shows watts: read often in a window, and summed over its time."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

from profiles.errors import MeterError
from profiles.meters.meter import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from profiles.device import Boundary

# An INA226 averages over at most 1.2 s and most boards over some 10 ms: reading more often shows nothing new.
_PERIOD_S = 0.02


class SampledMeter:
    """Reads watts in a thread of its own while a window is open.

    Parameters
    ----------
    read_w
        Returns the power of this moment, or raises MeterError.
    source
        The meter and what it reads, in words.
    boundary
        What the power includes.
    clock
        Seconds of a clock that never goes back.

    Raises
    ------
    MeterError
        If the power cannot be read.
    """

    def __init__(
        self, read_w: Callable[[], float], source: str, boundary: Boundary,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._read_w = read_w
        self._source = source
        self._boundary: Boundary = boundary
        self._clock = clock
        self._samples: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: MeterError | None = None
        read_w()

    def begin_window(self) -> None:
        """Start a window.

        Raises
        ------
        MeterError
            If a window is open already, or the power cannot be read.
        """
        if self._thread is not None:
            raise MeterError("a window is open already: call end_window first")
        self._samples, self._failure = [], None
        self._sample()
        self._over.clear()
        self._thread = threading.Thread(target=self._keep_sampling, name="meter", daemon=True)
        self._thread.start()

    def end_window(self) -> Measurement:
        """End the window and say what it cost.

        Raises
        ------
        MeterError
            If no window is open, or the power could not be read all the time.
        """
        if self._thread is None:
            raise MeterError("no window is open: call begin_window first")
        self._over.set()
        self._thread.join()
        self._thread = None
        if self._failure is not None:
            raise self._failure
        self._sample()
        return Measurement(
            joules=integrate(self._samples),
            seconds=self._samples[-1][0] - self._samples[0][0],
            source=f"{self._source}, {len(self._samples)} readings",
            boundary=self._boundary,
        )

    def _keep_sampling(self) -> None:
        while not self._over.wait(_PERIOD_S):
            try:
                self._sample()
            except MeterError as error:
                # A window with a hole has no joules: whoever ends it is told.
                self._failure = error
                return

    def _sample(self) -> None:
        # In this order, a slow reading counts for the time after which it was known.
        power_w = self._read_w()
        self._samples.append((self._clock(), power_w))


def integrate(samples: Sequence[tuple[float, float]]) -> float:
    """Sum watts over time by trapezoids.

    Parameters
    ----------
    samples
        Seconds and watts, in the order of time.

    Returns
    -------
    float
        Joules from the first sample to the last.
    """
    pairs = itertools.pairwise(samples)
    return sum((late_s - early_s) * (early_w + late_w) / 2 for (early_s, early_w), (late_s, late_w) in pairs)
