"""Label setting along the joints: the best way through all blocks that keeps every limit.

A label is what a partial way has added to every row so far. Two labels at the same joint and place have the same
ways on, so one that is worse or equal in every row goes; so does one whose price, with the cheapest way on, is
above the cutoff. What no way on can make exceed a row's limit is as good as less of it: labels are compared by what
counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from placer.solver.exact.undominated import undominated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from placer.solver.exact.bound import Bound
    from placer.solver.exact.choices import BlockChoices
    from placer.solver.exact.rows import Array


_ROUNDING = 1e-12
"""Share of a row's sums by which what counts of it is lowered, for sums that were added up in another order."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way through the whole flow."""

    rows: Array
    """(R,) what it adds up to."""
    joints: tuple[int, ...]
    """Place of each joint."""
    blocks: tuple[tuple[int, ...], ...]
    """Places of each block's inner ops."""


@dataclass(frozen=True, slots=True)
class LabelResult:
    """The best way, if any, and what is known of the others."""

    way: Way | None
    complete: bool
    """Whether every way of price up to the cutoff was covered, so that none better than `way` was missed."""
    labels: int
    layers: tuple[dict[int, _Layer], ...]
    """Labels at each joint, by place."""
    choices: tuple[Mapping[tuple[int, int], BlockChoices], ...]
    """What the labels were set along."""

    def ways(self) -> list[Way]:
        """Return a way for each label at the last joint: up to the cutoff none other is better in any row."""
        if len(self.layers) <= len(self.choices):
            return []
        ends = [(z, k) for z, layer in self.layers[-1].items() for k in range(len(layer.rows))]
        return [_trace(self.layers, self.choices, z, k) for z, k in ends]


class _Layer:
    """Labels at one joint and place, with where each came from."""

    def __init__(self, rows: Array, origin: npt.NDArray[np.int64]) -> None:
        self.rows = rows
        self.origin = origin
        """(L, 3): place, label and block choice it came from."""


def set_labels(
    bound: Bound,
    ahead: Array,
    joint_rows: list[Array],
    choices: list[Mapping[tuple[int, int], BlockChoices]],
    limit: Array,
    cutoff: float,
    *,
    most: int | None = None,
    held: int | None = None,
    stop: Callable[[], bool],
) -> LabelResult:
    """Find the way of least objective among the listed block choices.

    Parameters
    ----------
    bound
        The multipliers, and the limits' price in `offset`.
    ahead
        (joints, P + 1) lower bound of the price from a joint to the end over ways up to the cutoff.
    joint_rows
        For each joint, (P + 1, R) what its own op adds.
    choices
        For each block, by (entry place, exit place), its choices.
    limit
        (R,) what the rows may reach; the objective's is infinite.
    cutoff
        Ways of a higher price are of no interest.
    most
        Keep at most so many labels per joint and place; the result is then not complete.
    held
        A row of which less is always better, like the objective.
    stop
        Asked now and then; true ends the search, incomplete.
    """
    prices = bound.multipliers
    counts = _counts(joint_rows, choices, limit, held)
    first = bound.joint[0]
    layers: list[dict[int, _Layer]] = [
        {
            int(p): _Layer(joint_rows[0][p][None, :], np.full((1, 3), -1, dtype=np.int64))
            for p in np.flatnonzero(np.isfinite(first))
        }
    ]
    complete = True
    count = 0
    for i, block in enumerate(choices):
        if stop():
            return LabelResult(None, False, count, (), ())
        arriving: dict[int, list[_Layer]] = {}
        for (a, z), found in block.items():
            source = layers[i].get(a)
            if source is None or not found.places:
                continue
            rows = source.rows[:, None, :] + (found.rows + joint_rows[i + 1][z])[None, :, :]
            price = rows @ prices + (ahead[i + 1, z] + bound.offset)
            keep = np.argwhere((price <= cutoff) & (rows <= limit).all(axis=2))
            if keep.size:
                origin = np.column_stack([np.full(len(keep), a), keep])
                arriving.setdefault(z, []).append(_Layer(rows[keep[:, 0], keep[:, 1]], origin))
        layer = {}
        for z, parts in arriving.items():
            if z not in counts[i + 1]:
                # No way leads on from here.
                continue
            rows = np.concatenate([p.rows for p in parts])
            origin = np.concatenate([p.origin for p in parts])
            best = np.array(undominated(np.maximum(rows, counts[i + 1][z])), dtype=np.int64)
            if most is not None and len(best) > most:
                # Spread the kept ones over the front; its two ends stay.
                best = best[np.unique(np.linspace(0, len(best) - 1, most).astype(np.int64))]
                complete = False
            layer[z] = _Layer(rows[best], origin[best])
            count += len(best)
        layers.append(layer)
    ends = [(float(layer.rows[k, 0]), z, k) for z, layer in layers[-1].items() for k in range(len(layer.rows))]
    way = None
    if ends:
        _, z, k = min(ends)
        way = _trace(layers, choices, z, k)
    return LabelResult(way, complete, count, tuple(layers), tuple(choices))


def _counts(
    joint_rows: list[Array], choices: list[Mapping[tuple[int, int], BlockChoices]], limit: Array, held: int | None
) -> list[dict[int, Array]]:
    """At each joint and place, what of each row counts (R,): no way on exceeds the limit from less than this."""
    last = {z for _, z in choices[-1]} if choices else set()
    ahead: list[dict[int, Array]] = [dict.fromkeys(last, np.zeros(len(limit)))]
    for i in range(len(choices) - 1, -1, -1):
        here: dict[int, Array] = {}
        for (a, z), found in choices[i].items():
            if z in ahead[-1] and found.places:
                # Of sums that may fall again the highest counts: labels are held to the limit at each joint.
                on = found.rows.max(axis=0) + joint_rows[i + 1][z] + np.maximum(ahead[-1][z], 0.0)
                here[a] = np.maximum(here[a], on) if a in here else on
        ahead.append(here)
    always = ~np.isfinite(limit)
    always[[0] if held is None else [0, held]] = True
    size = np.where(always, 0.0, np.abs(limit))
    return [
        {z: np.where(always, -np.inf, limit - on - _ROUNDING * (size + np.abs(on))) for z, on in layer.items()}
        for layer in reversed(ahead)
    ]


def _trace(
    layers: Sequence[dict[int, _Layer]], choices: Sequence[Mapping[tuple[int, int], BlockChoices]], z: int, k: int
) -> Way:
    """Follow a label back to the start."""
    rows = layers[-1][z].rows[k]
    joints, blocks = [z], []
    for i in range(len(choices) - 1, -1, -1):
        a, label, choice = (int(x) for x in layers[i + 1][z].origin[k])
        blocks.append(choices[i][a, z].places[choice])
        joints.append(a)
        z, k = a, label
    return Way(rows, tuple(reversed(joints)), tuple(reversed(blocks)))
