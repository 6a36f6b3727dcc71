"""Solves one part of the search: the best choice within a room, or a lower bound of it.

Lagrangian bound, then a cutoff a little above it: every pair of joint places whose bound lies below the cutoff gets
all its block choices below it, exact in every row, and label setting finds the best way through them. If there is a
way below the cutoff, it is optimal; if there is none, the cutoff is a lower bound, and is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.choices import BlockChoices, ChoiceFinder
from placer.solver.exact.labels import LabelResult, set_labels
from placer.solver.exact.multipliers import raise_bound
from placer.solver.exact.sharpen import sharpen
from placer.solver.exact.structure import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from placer.solver.exact.bound import Bound, Bounder
    from placer.solver.exact.labels import Way
    from placer.solver.exact.prices import Room
    from placer.solver.exact.rows import Array

_FIRST_WINDOW = 1e-3
_GROWTH = 4.0
_BEAM = 64
_WIDE = 0.03
_MUCH = 0.1
"""Share of what is left to prove from which on the charge of a device is decided before anything is listed."""
_MANY = 2_000
_BUDGET = 10_000
"""Work of one pass; where more is needed the part is split, for multipliers fit its halves better."""
_ALL_BUDGET = 30_000
"""Work of listing all ways up to a price, which nothing can stand in for."""
_ROUNDING = 1e-11
"""Cutoffs are widened by this share of the largest sums, so that rounding never cuts off what is equal."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What is known of one part of the search."""

    bound: float
    """Lower bound of the objective in this part; infinite if it admits nothing."""
    places: tuple[int, ...] | None
    """Place of each op of the best way found, or None."""
    objective: float
    """What the way's rows say of the objective; items that the part has not decided are left out."""
    multipliers: Array
    labels: int
    split: int | None = None
    """Where to split the part if need be: an op whose place prices leave undecided, or one in a block too large."""
    device: int | None = None
    """The device to decide on first, if nothing was listed for its sake."""


@dataclass(slots=True)
class _Run:
    """What one part's search has come to."""

    bound: Bound
    spent: Array
    lower: float
    cutoff: float
    way: Way | None = None
    objective: float = np.inf
    labels: int = 0
    stuck: int | None = None
    """A block with more ways than there was work for."""

    def left(self, gap: float) -> bool:
        """Whether there is anything left to prove: a way must be near the bound, or the bound at the cutoff."""
        return self.lower < self.cutoff * (1.0 if self.way is None else 1 - gap)


class NodeSolver:
    """Solves parts of one flow's search, one after the other; measured blocks are remembered between them."""

    def __init__(self, bounder: Bounder, stop: Callable[[], bool]) -> None:
        self.bounder = bounder
        self.numbers = bounder.numbers
        self.finder = ChoiceFinder(bounder)
        self.stop = stop
        n = self.numbers
        count = len(n.places)
        self.joint_rows: list[Array] = []
        for v in bounder.joints:
            rows = np.zeros((count + 1, n.rows.count))
            if v != NOWHERE:
                rows[:count] = n.op_rows[v] + n.rows.latency * n.seconds[v][:, None]
                if not self.joint_rows and not n.flow.is_endpoint[v]:
                    # Blocks pay for the segment of their exit; nobody else pays for the very first one.
                    rows[:count] += n.flow.share[v] * n.segment_share_rows + n.segment_busy_rows
                    rows[:count] += n.segment_s[:, None] * n.rows.latency
            self.joint_rows.append(rows)

    def solve(self, room: Room, spent: Array, start: Array, cutoff: float, gap: float, charges: Array) -> NodeResult:
        """Find the best choice within a room.

        Parameters
        ----------
        room, spent
            What may be chosen from, and what the rows hold already, (R,).
        start
            (R,) multipliers to begin with.
        cutoff
            Choices of at least this objective are of no interest.
        gap
            A choice within this share above the bound is good enough.
        charges
            (P,) what the first op at each place adds to the objective, as long as the part has not decided on that.
        """
        n = self.numbers
        limit = n.rows.limit

        def at(multipliers: Array) -> Bound:
            return self.bounder.at(room, multipliers, spent)

        device = self._dear(at, start, cutoff, charges)
        if device is not None:
            return NodeResult(-np.inf, None, np.inf, start, 0, device=device)
        bound = raise_bound(at, start, limit, cutoff, self.stop)
        if bound.value >= cutoff or self._impossible(room, spent):
            value = bound.value if bound.value >= cutoff else np.inf
            return NodeResult(value, None, np.inf, bound.multipliers, 0)
        scale = float(np.abs(bound.multipliers[1:] @ np.where(np.isfinite(limit), limit, 0)[1:])) + abs(bound.value)
        scale = max(scale, 1e-300)
        run = _Run(bound, spent, bound.value, cutoff)
        ceiling = bound.prices.ceiling(n, self.bounder.pauses.ceiling()) + bound.offset
        if not np.isfinite(cutoff):
            self._sketch(run, scale, ceiling)
        split = self._split(bound, at)
        if split is not None and run.cutoff - run.lower > _WIDE * scale:
            # Multipliers cannot close this gap, and what lies in it is too much to list.
            return self._result(run, split)
        if np.isfinite(cutoff):
            self._sketch(run, scale, ceiling)
        if run.left(gap):
            run.bound = sharpen(run.bound, self.finder, run.cutoff, scale, self.stop)
            run.lower = max(run.lower, run.bound.value)
        window = max(_FIRST_WINDOW, 0.5 * gap) * scale
        while run.left(gap) and not self.stop():
            top = min(run.cutoff, run.lower + window)
            complete = self._pass(run, top + _ROUNDING * scale, None, False)
            if not complete:
                split = self._inside(room, run.stuck) if split is None else split
                break
            run.lower = np.inf if top >= ceiling else top
            window *= _GROWTH
        return self._result(run, split)

    def _dear(self, at: Callable[[Array], Bound], start: Array, cutoff: float, charges: Array) -> int | None:
        """Find the dearest undecided device on a cheapest way, if it costs much of what is left to prove."""
        if not charges.any() or not np.isfinite(cutoff):
            return None
        n, bound = self.numbers, at(start)
        if not bound.value < cutoff:
            return None
        on_way = zip(self.bounder.joints, bound.path(), strict=True)
        working = [p for v, p in on_way if v != NOWHERE and n.seconds[v, p] > 0]
        dearest = max(working, key=lambda p: float(charges[p]), default=None)
        if dearest is None or charges[dearest] <= _MUCH * (cutoff - bound.value):
            return None
        return int(n.device_of[dearest])

    def _inside(self, room: Room, block: int | None) -> int | None:
        """Pick the op with most work in a block that has too many ways, among those with places to choose from."""
        if block is None:
            return None
        n = self.numbers
        open_ops = [v for v in self.bounder.blocks[block].inner if room.available[v].sum() > 1]
        return max(open_ops, key=lambda v: float(n.seconds[v].sum()), default=None)

    def _result(self, run: _Run, split: int | None) -> NodeResult:
        places = None if run.way is None else self.places(run.way)
        lower = min(run.lower, run.objective)
        return NodeResult(lower, places, run.objective, run.bound.multipliers, run.labels, split)

    def _sketch(self, run: _Run, scale: float, ceiling: float) -> None:
        """Find some way by the cheap block choices alone, in wider and wider windows."""
        window = 0.01 * scale
        for _ in range(12):
            top = min(run.cutoff, run.bound.value + window)
            self._pass(run, top + _ROUNDING * scale, _BEAM, True)
            if run.way is not None and top < run.cutoff and self._pairs(run) < _MANY:
                # Cheap choices up to its cost hold better ways.
                self._pass(run, run.cutoff + _ROUNDING * scale, _BEAM, True)
            if run.way is not None or top >= min(run.cutoff, ceiling) or self.stop():
                return
            window *= _GROWTH

    def _pairs(self, run: _Run) -> int:
        """Count the pairs of joint places, over all blocks, that some way up to the cutoff may use."""
        return sum(int((run.bound.through(i) <= run.cutoff).sum()) for i in range(len(self.bounder.blocks)))

    def _split(self, bound: Bound, at: Callable[[Array], Bound]) -> int | None:
        """Find an op that is at one place if limits weigh a little less, and at another if they weigh a little more."""
        if len(bound.multipliers) < 2:
            return None
        paths = []
        for factor in (1 - 1e-4, 1 + 1e-4):
            moved = bound.multipliers * factor
            moved[0] = bound.multipliers[0]
            paths.append(at(moved).path())
        joints = self.bounder.joints
        differing = [i for i, (p, q) in enumerate(zip(*paths, strict=True)) if p != q and joints[i] != NOWHERE]
        if not differing:
            return None
        return joints[differing[len(differing) // 2]]

    def _impossible(self, room: Room, spent: Array) -> bool:
        """Whether some row alone cannot keep its limit."""
        n = self.numbers
        for r in range(1, n.rows.count):
            if self.stop():
                break
            unit = np.zeros(n.rows.count)
            unit[r] = 1.0
            if self.bounder.at(room, unit, spent).value > 0:
                return True
        return False

    def ways(self, room: Room, spent: Array, start: Array, held: int, top: float) -> list[Way] | None:
        """List the ways of a room up to a price, all that are not beaten in every row.

        Parameters
        ----------
        room, spent, start
            As those of `solve`.
        held
            The row whose multiplier stays that of `start`.
        top
            The price, limits' included: no way that keeps every limit and costs less at these multipliers is missed.

        Returns
        -------
        list of Way or None
            None where listing them takes too much work.
        """

        def at(multipliers: Array) -> Bound:
            return self.bounder.at(room, multipliers, spent)

        limit = self.numbers.rows.limit
        bound = raise_bound(at, start, limit, top, self.stop, held=held)
        if bound.value == np.inf:
            return []
        scale = float(np.abs(bound.multipliers[1:] @ np.where(np.isfinite(limit), limit, 0)[1:])) + abs(bound.value)
        widened = top + _ROUNDING * max(scale, abs(top), 1e-300)
        if bound.value > widened:
            return []
        self.finder.budget = _ALL_BUDGET
        result, complete, _ = self._listed(bound, spent, widened, None, False, held)
        return result.ways() if complete and result.complete else None

    def _pass(self, run: _Run, top: float, most: int | None, cheap: bool) -> bool:
        """Look for a better way among all up to a price; tell whether none was missed."""
        self.finder.budget = _BUDGET
        result, complete, run.stuck = self._listed(run.bound, run.spent, top, most, cheap)
        run.labels += result.labels
        if result.way is not None:
            objective = float(result.way.rows[0] + run.spent[0])
            if objective < run.objective:
                run.way, run.objective = result.way, objective
            # A way may cost less at these prices than it does: its limits have slack. Look up to its cost.
            run.cutoff = min(run.cutoff, objective)
        return result.complete and complete and not cheap

    def _listed(
        self, bound: Bound, spent: Array, top: float, most: int | None, cheap: bool, held: int | None = None
    ) -> tuple[LabelResult, bool, int | None]:
        """List the block choices of all ways up to a price and set labels along them.

        Returns
        -------
        tuple
            The labels; whether no block choice was missed; and a block with more ways than there was work for.
        """
        count = len(self.bounder.blocks)
        stuck: int | None = None
        choices: list[Mapping[tuple[int, int], BlockChoices]] = []
        exact = np.full_like(bound.blocks, np.inf)
        complete = True
        for i in range(count):
            through = bound.through(i)
            found: dict[tuple[int, int], BlockChoices] = {}
            for a, z in np.argwhere(through <= top):
                if self.stop():
                    return LabelResult(None, False, 0, (), ()), False, stuck
                limit = float(bound.blocks[i, a, z] + (top - through[a, z]))
                some = self.finder.find(bound, i, int(a), int(z), limit, cheap=cheap)
                if not some.complete:
                    complete = False
                    stuck = i if stuck is None else stuck
                if some.places:
                    found[int(a), int(z)] = some
                    exact[i, a, z] = (some.rows @ bound.multipliers).min()
            choices.append(found)
        ahead = np.zeros_like(bound.ahead)
        for i in range(count - 1, -1, -1):
            ahead[i] = (exact[i] + (ahead[i + 1] + bound.joint[i + 1])).min(axis=1)
        limit_left = self.numbers.rows.limit - spent
        result = set_labels(
            bound, ahead, self.joint_rows, choices, limit_left, top, most=most, held=held, stop=self.stop
        )
        return result, complete, stuck

    def places(self, way: Way) -> tuple[int, ...]:
        """Place of each op of the flow."""
        places = [0] * self.numbers.flow.size
        for v, p in zip(self.bounder.joints, way.joints, strict=True):
            if v != NOWHERE:
                places[v] = p
        for block, inner in zip(self.bounder.blocks, way.blocks, strict=True):
            for v, p in zip(block.inner, inner, strict=True):
                places[v] = p
        return tuple(places)
