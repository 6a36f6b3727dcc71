"""The entry to the fast exact solver: one flow in, a choice with its proof out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placer.evaluate import evaluate
from placer.solver.exact.numbers import build_numbers
from placer.solver.exact.search import Search
from placer.solver.outcome import OPTIMALITY_GAP, relative_gap

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.index import Choice, ProblemIndex
    from placer.solver.outcome import Status


@dataclass(frozen=True, slots=True)
class FlowSolution:
    """What the solver knows of a problem with one flow.

    `optimal` means that the referee's value of the choice and a valid lower bound meet within `OPTIMALITY_GAP`,
    whatever gap was asked for; `infeasible` that no choice keeps every rule, proven; `unknown` that the search ended
    before it found a choice.
    """

    choice: Choice | None
    objective: float
    """The referee's value of the choice; infinite without one."""
    bound: float
    """Lower bound of every feasible choice; infinite where there is none."""
    status: Status
    parts: int
    """How many parts of the search were solved."""
    labels: int
    """How many labels were set in them."""
    seconds: float
    interrupted: bool
    """Whether Ctrl-C ended the search."""
    rows: frozenset[int]
    """Positions of the rows that choices broke: to begin with where the same rules meet other costs."""

    @property
    def gap(self) -> float:
        """(objective - bound) / objective; infinite without a choice."""
        return math.inf if self.choice is None else relative_gap(self.objective, self.bound)


def solve_flow(
    index: ProblemIndex,
    flow: int = 0,
    *,
    time_limit_s: float = math.inf,
    gap: float = 1e-6,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
    start: Choice | None = None,
    rows: frozenset[int] = frozenset(),
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
    start
        A choice known beforehand; passed over if it breaks a rule.
    rows
        `FlowSolution.rows` of a problem with the same rules, to search with them from the outset.

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
    search.rows = rows
    if start is not None:
        search.offer(start)
    interrupted = False
    try:
        search.run()
    except KeyboardInterrupt:
        interrupted = True
    bound = search.bound
    seconds = time.perf_counter() - begin
    found = (search.parts, search.labels, seconds, interrupted, search.rows)
    if search.choice is None:
        refuted = bound == math.inf and not (interrupted or search.stop())
        return FlowSolution(None, math.inf, bound, "infeasible" if refuted else "unknown", *found)
    # The referee has the last word on what was found.
    judged = evaluate(index, (search.choice,))
    if not judged.feasible:
        raise AssertionError(f"the search took a choice that breaks {judged.violations}")
    bound = min(bound, judged.objective)
    proven = relative_gap(judged.objective, bound) <= OPTIMALITY_GAP
    return FlowSolution(search.choice, judged.objective, bound, "optimal" if proven else "feasible", *found)
