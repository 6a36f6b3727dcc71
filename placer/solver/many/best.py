"""The best plan and the best bound of a search for a whole site so far, and how much time is left for better ones."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from placer.evaluate import evaluate
from placer.solver.outcome import OPTIMALITY_GAP, Outcome, relative_gap

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.evaluate import Evaluation
    from placer.index import Choice, ProblemIndex
    from placer.solver.many.parts import Part
    from placer.solver.many.stock import Stock
    from placer.solver.outcome import Status


class Best:
    """What is known of a site: kept valid at every moment, so that a search may be cut short anywhere."""

    def __init__(
        self,
        index: ProblemIndex,
        *,
        gap: float,
        started_s: float,
        time_limit_s: float,
        progress: Callable[[float, float], None] | None,
    ) -> None:
        self.index, self.gap = index, gap
        self._started_s, self._limit_s, self._progress = started_s, time_limit_s, progress
        self.bound = 0.0
        self.impossible = False
        self.rounds = 0
        self._plan: tuple[tuple[Choice, ...], Evaluation] | None = None

    @property
    def objective(self) -> float:
        """Of the best plan; infinite without one."""
        return math.inf if self._plan is None else self._plan[1].objective

    @property
    def done(self) -> bool:
        """Whether nothing is left to search for."""
        return self.impossible or (self._plan is not None and relative_gap(self.objective, self.bound) <= self.gap)

    def left_s(self, reserve: float = 0.0) -> float:
        """Seconds left when a fraction of the time limit is reserved for what comes after."""
        return self._started_s + self._limit_s * (1 - reserve) - time.monotonic()

    def until_s(self, reserve: float = 0.0) -> float:
        """`time.monotonic()` at which these seconds are over."""
        return time.monotonic() + self.left_s(reserve)

    def raise_bound(self, value: float) -> None:
        """Take note of a proven lower bound."""
        self.bound = max(self.bound, value)
        self.report()

    def offer(self, parts: tuple[Part, ...], stock: Stock) -> None:
        """Evaluate a plan as a whole, and keep it if it is the best that keeps every rule."""
        if stock.excess() > 0 or stock.cost() >= self.objective:
            return
        choices: list[Choice] = [()] * len(self.index.flows)
        for part, picks in zip(parts, stock.picks, strict=True):
            for f, column in zip(part.members, picks, strict=True):
                choices[f] = column.choice
        evaluation = evaluate(self.index, choices)
        if evaluation.feasible and evaluation.objective < self.objective:
            self._plan = (tuple(choices), evaluation)
            self.report()

    def report(self) -> None:
        """Tell whoever wants to know how far the search is."""
        if self._progress is not None:
            self._progress(self.objective, self.bound)

    def outcome(self, *, interrupted: bool = False) -> Outcome:
        """State what was found."""
        seconds = time.monotonic() - self._started_s
        if self._plan is None:
            status: Status = "infeasible" if self.impossible else "unknown"
            return Outcome(status, None, None, self.bound, seconds, self.rounds, interrupted)
        choices, evaluation = self._plan
        status = "optimal" if relative_gap(evaluation.objective, self.bound) <= OPTIMALITY_GAP else "feasible"
        bound = min(self.bound, evaluation.objective)
        return Outcome(status, choices, evaluation, bound, seconds, self.rounds, interrupted)
