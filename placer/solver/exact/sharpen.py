"""Raises a bound by looking closer at the blocks that the cheapest ways go through.

The tables bound blocks with branches side by side loosely. Where such a bound lies below every way of the block that
is known exactly, the ways in between are listed, a little higher each time: what is not there raises the block's
bound, and the sum over the blocks rises with it. Only blocks of some cheapest way matter, so only those are looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.bound import sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.solver.exact.bound import Bound
    from placer.solver.exact.choices import ChoiceFinder

_STEPS = (0.1, 0.3, 1.0)
_BUDGET = 3_000
_ROUNDS = 60


def sharpen(bound: Bound, finder: ChoiceFinder, cutoff: float, scale: float, stop: Callable[[], bool]) -> Bound:
    """Return the bound with the blocks of its cheapest ways priced exactly, as far as that takes little work.

    Parameters
    ----------
    bound
        A bound; left as it is.
    finder
        Lists the ways of blocks.
    cutoff
        Bounds of this value are high enough.
    scale
        Size of the sums, against which differences are rounding.
    stop
        Asked now and then; true ends the work.
    """
    tiny = 1e-10 * scale
    done: set[tuple[int, int, int]] = set()
    for _ in range(_ROUNDS):
        if bound.value >= cutoff or stop():
            break
        blocks = bound.blocks.copy()
        looked = False
        for i, block in enumerate(finder.bounder.blocks):
            if block.kind == "edge":
                continue
            through = bound.through(i)
            for a, z in np.argwhere(through <= bound.value + tiny):
                key = (i, int(a), int(z))
                if key not in done and not stop():
                    done.add(key)
                    looked = True
                    spare = min(cutoff, bound.value + scale) - float(through[a, z])
                    blocks[key] = _closer(bound, finder, key, spare, tiny)
        if not looked:
            break
        ahead, behind = sweep(bound.joint, blocks)
        value = float(behind[-1].min()) + bound.offset
        bound = replace(bound, blocks=blocks, ahead=ahead, behind=behind, value=value)
    return bound


def _closer(bound: Bound, finder: ChoiceFinder, key: tuple[int, int, int], spare: float, tiny: float) -> float:
    """Bound one block for one pair of places: its exact least price, or as high as a little work shows it to be."""
    low = float(bound.blocks[key])
    finder.budget = _BUDGET
    known = finder.find(bound, *key, low + spare, cheap=True)
    high = float((known.rows @ bound.multipliers).min()) if known.places else low + spare
    reached = low
    for step in _STEPS:
        target = low + step * (high - low)
        if target - low <= tiny:
            continue
        finder.budget = _BUDGET
        found = finder.find(bound, *key, target + tiny)
        if not found.complete:
            break
        if found.places:
            return max(reached, min(target, float((found.rows @ bound.multipliers).min())))
        reached = target
    return reached
