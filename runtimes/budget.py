"""A flow's energy objective: joules per outcome, and how fast its budget burns."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOWS_S = {"5m": 300, "1h": 3600}
_STEP_S = 10


class EnergyBudget:
    """What a flow's requests spent, and what came of it, over the last hour.

    Parameters
    ----------
    clock
        Seconds of a clock that never goes back.

    Notes
    -----
    Requests that failed spend without an outcome. So the rate is that of the Site Reliability books' burn rate with
    joules for errors: 1 means that the objective is just kept, 2 that twice of what it allows is spent.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Step number, joules, outcomes; old ones fall out.
        self._steps: deque[list[float]] = deque(maxlen=max(WINDOWS_S.values()) // _STEP_S + 1)

    def add(self, joules: float, *, succeeded: bool) -> None:
        """Count one finished request."""
        step = self._clock() // _STEP_S
        if not self._steps or self._steps[-1][0] != step:
            self._steps.append([step, 0.0, 0.0])
        self._steps[-1][1] += joules
        self._steps[-1][2] += succeeded

    def burn_rate(self, objective_j: float, window_s: float) -> float | None:
        """Give joules spent over joules allowed.

        Parameters
        ----------
        objective_j
            Joules that one outcome may cost, above 0.
        window_s
            The time looked back, in whole steps of ten seconds.

        Returns
        -------
        float or None
            Infinite where joules were spent and nothing came of it; None where nothing happened.
        """
        since = self._clock() // _STEP_S - window_s // _STEP_S
        recent = [(joules, outcomes) for step, joules, outcomes in self._steps if step > since]
        if not recent:
            return None
        joules, outcomes = (sum(column) for column in zip(*recent, strict=True))
        return joules / (outcomes * objective_j) if outcomes else float("inf")
