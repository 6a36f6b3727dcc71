"""Branches where rows cannot say everything: one-time charges, colocation, shared and largest memory, shares.

Each part of the search is solved by `placer.solver.exact.node`, and what it finds is judged by the referee. Where
the referee's value is above the part's bound, or a rule is broken, the part is split by the first way that applies
(`placer.solver.exact.splits`). Every split covers the part, so the least bound is the flow's.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from placer.evaluate import evaluate
from placer.solver.exact.bound import Bounder
from placer.solver.exact.measure import BlockMeter
from placer.solver.exact.node import NodeSolver
from placer.solver.exact.numbers import with_rows
from placer.solver.exact.part import Part
from placer.solver.exact.prices import Room
from placer.solver.exact.splits import Found, Splits, used_items, workspaces
from placer.solver.exact.structure import NOWHERE, Block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placer.evaluate import Evaluation
    from placer.index import Choice
    from placer.solver.exact.node import NodeResult
    from placer.solver.exact.numbers import Flags, FlowNumbers
    from placer.solver.exact.rows import Array


_ENOUGH = 0.25
"""Share of the gap by which a part's bound may stay below the best choice."""
_NODE_GAP = 0.2
"""Share of it by which the bound may stay below the part's own best way: less, so that such a part is done."""


@dataclass(slots=True)
class Search:
    """The state of one search: what was found and what is left."""

    numbers: FlowNumbers
    gap: float
    stop: Callable[[], bool]
    progress: Callable[[float, float], None] | None = None
    choice: tuple[int, ...] | None = None
    objective: float = np.inf
    rows: frozenset[int] = frozenset()
    """Rows to begin with beside the objective and the tightest deadline; those that choices broke are added."""
    parts: int = 0
    labels: int = 0
    _closed: float = np.inf
    _queue: list[tuple[float, int, Part, Array]] = field(default_factory=list)
    _pushed: int = 0
    _meter: BlockMeter = field(init=False)
    _splits: Splits = field(init=False)

    def __post_init__(self) -> None:
        # The whole flow as one block: what a choice adds to every row.
        whole = Block(NOWHERE, NOWHERE, tuple(self.numbers.flow.topological), "general", (), (), False)
        self._meter = BlockMeter(self.numbers, whole)
        self._splits = Splits(self.numbers)

    @property
    def bound(self) -> float:
        """Lower bound of the objective over everything not refuted; infinite where nothing is feasible."""
        return min([self._closed, self.objective, *(value for value, *_ in self._queue[:1])])

    def offer(self, choice: Choice) -> Evaluation:
        """Judge a choice and keep it if it is allowed and better than what was found."""
        judged = evaluate(self.numbers.index, (choice,))
        if judged.feasible and judged.objective < self.objective:
            self.choice, self.objective = choice, judged.objective
        return judged

    def run(self) -> None:
        """Search until the bound meets what was found, or until told to stop."""
        n = self.numbers
        if not n.available.any(axis=1).all():
            # Some op can run nowhere: there is nothing to search.
            return
        active = np.zeros(n.rows.count, dtype=bool)
        active[[0, n.rows.deadline]] = True
        active[[r for r in self.rows if r < n.rows.count]] = True
        while True:
            grown = self._with_active(active)
            if grown is None:
                return
            active |= grown
            self.rows |= {int(r) for r in np.flatnonzero(grown)}

    def _with_active(self, active: Flags) -> Flags | None:
        """Search with some rows; return the rows that must be added because a choice broke them, or nothing."""
        n = with_rows(self.numbers, active)
        solver = NodeSolver(Bounder(n), self.stop)
        start = np.zeros(n.rows.count)
        start[0] = 1.0
        room = Room(self.numbers.available, np.ones(len(n.index.links), dtype=bool))
        self._queue = []
        self._closed = np.inf
        self._push(-np.inf, Part(room), start)
        while self._queue:
            value, _, part, multipliers = self._queue[0]
            if self.stop():
                return None
            if value >= self._enough():
                break
            spent = self._spent(n, part)
            charges = n.rows.idle_rows[n.device_of, 0].copy()
            charges[np.isin(n.device_of, list(part.paid_devices))] = 0.0
            result = solver.solve(part.room, spent, multipliers, self._enough(), _NODE_GAP * self.gap, charges)
            self.parts += 1
            self.labels += result.labels
            heapq.heappop(self._queue)
            grown = self._settle(result, value, part, active)
            if grown is not None:
                return grown
            if self.progress is not None:
                self.progress(self.objective, self.bound)
        return None

    def _enough(self) -> float:
        """Parts whose bound is at least this cannot hold anything that matters."""
        return self.objective - _ENOUGH * self.gap * abs(self.objective) if np.isfinite(self.objective) else np.inf

    def _push(self, value: float, part: Part, multipliers: Array) -> None:
        self._pushed += 1
        heapq.heappush(self._queue, (value, self._pushed, part, multipliers))

    def _close(self, value: float) -> None:
        self._closed = min(self._closed, value)

    def _spent(self, n: FlowNumbers, part: Part) -> Array:
        spent = np.zeros(n.rows.count)
        for d in part.paid_devices:
            spent += n.rows.idle_rows[d]
        for k in part.paid_links:
            spent += n.rows.tail_rows[k]
        for d, size in part.workspaces:
            spent += n.rows.weights[:, d] * size
        return spent

    def _settle(self, result: NodeResult, value: float, part: Part, active: Flags) -> Flags | None:
        """Judge what a part gave: close it, or split it; or return rows that must become active."""
        bound = max(value, result.bound)
        if result.places is None:
            if bound >= self._enough():
                self._close(bound)
            elif result.device is not None:
                self._push_all(self._splits.device(part, result.device), bound, result)
            else:
                self._decide_op(part, bound, result, None)
            return None
        choice = self.numbers.choice_of(np.array(result.places))
        judged = self.offer(choice)
        if bound >= self._enough():
            self._close(bound)
            return None
        if not judged.feasible:
            broken = self._broken_rows(result.places, judged) & ~active
            if broken.any():
                self._close(bound)
                return broken
        found = Found(result.places, judged)
        for split in (self._splits.item, self._splits.memory, self._splits.group):
            parts = split(part, found)
            if parts is not None:
                self._push_all(parts, bound, result)
                return None
        self._decide_op(part, bound, result, found)
        return None

    def _push_all(self, parts: Sequence[Part], bound: float, result: NodeResult) -> None:
        for part in parts:
            self._push(bound, part, result.multipliers)

    def _decide_op(self, part: Part, bound: float, result: NodeResult, found: Found | None) -> None:
        parts = self._splits.op(part, result.split, found)
        if parts is None:
            self._judge_last(part)
        else:
            self._push_all(parts, bound, result)

    def _broken_rows(self, places: tuple[int, ...], judged: Evaluation) -> Flags:
        """Rows that a choice exceeds, by its exact sums."""
        n = self.numbers
        rows = self._meter.rows(NOWHERE, [places[v] for v in n.flow.topological], NOWHERE)
        if rows is None:
            return np.zeros(n.rows.count, dtype=bool)
        devices, links = used_items(judged)
        rows = rows + sum((n.rows.idle_rows[d] for d in devices), np.zeros(n.rows.count))
        rows = rows + sum((n.rows.tail_rows[k] for k in links), np.zeros(n.rows.count))
        for d, size in enumerate(workspaces(n, places)):
            rows = rows + n.rows.weights[:, d] * size
        broken: Flags = rows > n.rows.limit
        return broken

    def _judge_last(self, part: Part) -> None:
        """Ask the referee about the only choice that a part has left."""
        if not part.room.available.any(axis=1).all():
            return
        choice = self.numbers.choice_of(np.argmax(part.room.available, axis=1))
        judged = self.offer(choice)
        if judged.feasible:
            self._close(judged.objective)
