"""Least squares whose unknowns are not negative: seconds are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[np.float64]"

_TOLERANCE = 1e-10
# Columns are scaled to one: this keeps equal columns solvable and changes no digit that is shown.
_RIDGE = 1e-12


def nonnegative_least_squares(matrix: Array, target: Array) -> Array:
    """Minimize |matrix x - target| over x >= 0.

    The active-set method of Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23.

    Parameters
    ----------
    matrix
        Rows are equations, columns unknowns.
    target
        One number for each row.

    Returns
    -------
    array
        One number for each column, none negative.
    """
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1.0
    scaled = matrix / scale
    gram, projected = scaled.T @ scaled, scaled.T @ target
    # Mostly all are positive in the end: so they begin, and leave one by one.
    free = np.ones(matrix.shape[1], dtype=bool)
    x = _settle(gram, projected, np.full(matrix.shape[1], _TOLERANCE), free)
    tolerance = _TOLERANCE * max(1.0, float(np.abs(projected).max(initial=0.0)))
    barred = np.zeros_like(free)
    for _ in range(3 * len(x)):
        gradient = np.where(free | barred, -np.inf, projected - gram @ x)
        entering = int(np.argmax(gradient))
        if gradient[entering] <= tolerance:
            break
        free[entering] = True
        x = _settle(gram, projected, x, free)
        # What leaves as it enters, by rounding, would enter again for ever.
        barred = barred & False if free[entering] else barred | (np.arange(len(x)) == entering)
    solution: Array = x / scale
    return solution


def _settle(gram: Array, projected: Array, x: Array, free: npt.NDArray[np.bool_]) -> Array:
    """Minimize over the free unknowns; those that would become negative are held at zero, and free no more."""
    while free.any():
        trial = np.zeros_like(x)
        chosen = gram[np.ix_(free, free)]
        trial[free] = np.linalg.solve(chosen + np.eye(len(chosen)) * _RIDGE, projected[free])
        negative = free & (trial <= 0)
        if not negative.any():
            return trial
        # As far towards the trial as no unknown becomes negative; whichever reaches zero first is held there.
        steps = np.full_like(x, np.inf)
        steps[negative] = x[negative] / np.maximum(x[negative] - trial[negative], np.finfo(float).tiny)
        first = int(np.argmin(steps))
        x = np.maximum(x + min(1.0, float(steps[first])) * (trial - x), 0.0)
        x[first], free[first] = 0.0, False
    return np.zeros_like(x)
