"""The entry to the fast exact solver: one flow in, a choice with its proof out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from placer.evaluate import evaluate
from placer.solver.exact.numbers import build_numbers
from placer.solver.exact.search import Search

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.index import Choice, ProblemIndex


@dataclass(frozen=True, slots=True)
class FlowSolution:
    """What the solver knows of a problem with one flow.

    `optimal` means that the referee's value of the choice and a valid lower bound meet within the gap that was
    asked for; `infeasible` that no choice keeps every rule, proven; `unknown` that time ran out first.
    """

    choice: Choice | None
    objective: float
    """The referee's value of the choice; infinite without one."""
    bound: float
    """Lower bound of every feasible choice; infinite where there is none."""
    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    parts: int
    """How many parts of the search were solved."""
    labels: int
    """How many labels were set in them."""
    seconds: float

    @property
    def gap(self) -> float:
        """(objective - bound) / objective; 0 where both are equal, infinite without a choice."""
        if self.choice is None:
            return math.inf
        rest = max(0.0, self.objective - self.bound)
        return rest / abs(self.objective) if rest else 0.0


def solve_flow(
    index: ProblemIndex,
    flow: int = 0,
    *,
    time_limit_s: float = math.inf,
    gap: float = 1e-6,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
) -> FlowSolution:
    """Find the best choice for a problem's only flow and prove it.

    Parameters
    ----------
    index
        A problem with a single flow.
    flow
        Position of that flow: 0.
    time_limit_s
        Wall-clock seconds after which the best choice and bound so far are returned. Ctrl-C does the same.
    gap
        Relative gap at which the search ends.
    seed
        Kept for callers that pass one to every solver: this one draws no random numbers.
    progress
        Called with (objective, bound) as the search goes on.

    Raises
    ------
    ValueError
        The problem has more than one flow.
    """
    if len(index.flows) != 1 or flow != 0:
        raise ValueError(f"the exact solver takes a problem with one flow, not {len(index.flows)}")
    begin = time.perf_counter()
    search = Search(
        build_numbers(index, index.flows[flow]), gap, lambda: time.perf_counter() - begin > time_limit_s, progress
    )
    try:
        search.run()
        interrupted = search.stop()
    except KeyboardInterrupt:
        interrupted = True
    bound = search.bound
    seconds = time.perf_counter() - begin
    if search.choice is None:
        status: Literal["optimal", "feasible", "infeasible", "unknown"]
        status = "infeasible" if bound == math.inf and not interrupted else "unknown"
        return FlowSolution(None, math.inf, bound, status, search.parts, search.labels, seconds)
    judged = evaluate(index, (search.choice,))
    proven = judged.objective - bound <= gap * abs(judged.objective)
    return FlowSolution(
        search.choice,
        judged.objective,
        bound,
        "optimal" if proven else "feasible",
        search.parts,
        search.labels,
        seconds,
    )
