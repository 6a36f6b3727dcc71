"""What the searches of one problem have found and proven together."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from placer.evaluate import evaluate
from placer.solver.outcome import OPTIMALITY_GAP, Outcome, relative_gap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from placer.index import Choice, ProblemIndex
    from placer.solver.outcome import Status


class Known:
    """The best choice and the highest bound of all searches so far, and whether that is enough.

    Parameters
    ----------
    gap
        Relative distance between objective and bound that is good enough.
    bound
        A lower bound to begin with.
    """

    def __init__(self, gap: float, bound: float = 0.0) -> None:
        self.gap = gap
        self.begin_s = time.monotonic()
        self.best = Outcome("unknown", None, None, bound, 0.0, 0)

    def seconds(self) -> float:
        """Wall-clock seconds since the first search began."""
        return time.monotonic() - self.begin_s

    def join(self, found: Outcome) -> None:
        """Keep the better choice and the higher bound; pass a Ctrl-C on that a search answered by ending early."""
        self.best = _better(self.best, found, self.seconds())
        if found.interrupted:
            raise KeyboardInterrupt

    def offer(self, index: ProblemIndex, starts: Iterable[tuple[Choice, ...]]) -> None:
        """Judge choices to begin with, without a bound: a search that is cut short has at least the best of them."""
        for choices in starts:
            evaluation = evaluate(index, choices)
            if evaluation.feasible:
                self.join(Outcome("feasible", choices, evaluation, 0.0, 0.0, 0))

    def done(self) -> bool:
        """Whether nothing is left to be found or proven."""
        close = self.best.gap is not None and self.best.gap <= self.gap
        return close or self.best.status in ("optimal", "infeasible")


def _better(known: Outcome, found: Outcome, seconds: float) -> Outcome:
    """Join what two searches of the same problem know: the better choice, the higher bound."""
    if found.status == "infeasible":
        # A choice that the referee accepts refutes any claim that there is none.
        return replace(found if known.evaluation is None else known, seconds=seconds)
    bound, rounds = max(known.bound, found.bound), known.rounds + found.rounds
    ahead = found.evaluation is not None and (
        known.evaluation is None or found.evaluation.objective < known.evaluation.objective
    )
    choices, evaluation = (found.choices, found.evaluation) if ahead else (known.choices, known.evaluation)
    if evaluation is None:
        return Outcome("unknown", None, None, bound, seconds, rounds)
    bound = min(bound, evaluation.objective)
    status: Status = "optimal" if relative_gap(evaluation.objective, bound) <= OPTIMALITY_GAP else "feasible"
    return Outcome(status, choices, evaluation, bound, seconds, rounds)
