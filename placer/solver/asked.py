"""What a caller may ask of a search: how long, how close to the best, and from which seed."""

from __future__ import annotations

import math
from numbers import Integral, Real

from placer.errors import ProblemError
from placer.solver.outcome import OPTIMALITY_GAP


def check_asked(*, time_limit_s: float, gap: float = OPTIMALITY_GAP, seed: int = 0) -> None:
    """Refuse what no search can do, before anything is read or built for it.

    Parameters
    ----------
    time_limit_s, gap, seed
        As `placer.solve`.

    Raises
    ------
    ProblemError
        One is of another type or out of its range.
    """
    if not isinstance(time_limit_s, Real) or not 0 <= time_limit_s < math.inf:
        raise ProblemError(f"time_limit_s: {time_limit_s!r} is no time to search for; give seconds, 0 or more")
    if not isinstance(gap, Real) or not 0 <= gap <= 1:
        raise ProblemError(f"gap: {gap!r} is no share of the objective; give a number from 0 to 1")
    if not isinstance(seed, Integral):
        raise ProblemError(f"seed: {seed!r} is no whole number; give one")
