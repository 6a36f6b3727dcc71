"""What a limit is worth: the plans on both sides of the present one, as the limit is tightened and loosened.

The best objective is a staircase over a limit, for plans are discrete; a dual price of a relaxation says nothing
about its steps. So the next step on either side is found and proven by solving again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from placer import rules
from placer.errors import NoPlanFound, ProblemError
from placer.index import ProblemIndex
from placer.solver.asked import check_asked
from placer.solver.find import find
from placer.solver.least import STEP, least
from placer.why.pareto import with_cap

if TYPE_CHECKING:
    from placer.problem import Objective, Problem
    from placer.solver.least import Least
    from placer.solver.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next step of the staircase on one side.

    Parameters
    ----------
    limit
        The smallest limit that allows this step's objective.
    objective
        The best objective there.
    per_unit
        What one unit of the limit saves between this step and the present one: the difference of objectives over
        the difference of the limits that just allow them.
    proven
        Whether limit and objective are proven within 1e-6.
    """

    limit: float
    objective: float
    per_unit: float
    proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """How the best objective depends on one limit, next to its present value.

    Parameters
    ----------
    rule, limit, unit
        The rule, its limit, and the limit's unit.
    objective
        The problem's objective; `value` is its best value.
    least_limit
        The smallest limit that allows `value`: tightening to here costs nothing.
    tighter
        The step below `least_limit`; None if there is no plan below.
    looser
        The step above `limit`; None if no limit, however loose, gains anything.
    proven
        Whether all of this is proven within 1e-6, the steps that are None among it.
    """

    rule: str
    limit: float
    unit: str
    objective: Objective
    value: float
    least_limit: float
    tighter: Step | None
    looser: Step | None
    proven: bool


def sensitivity(problem: Problem, rule: str, *, time_limit_s: float = 60.0, seed: int = 0) -> Sensitivity:
    """Find what tightening and loosening one limit would change.

    Parameters
    ----------
    problem
        A problem that has a plan.
    rule
        One of `placer.rules.limits`: a deadline, a memory, a cap.
    time_limit_s
        Seconds for each of the searches.
    seed
        As `placer.solve`.

    Raises
    ------
    ProblemError
        The rule is unknown or limits no quantity, or another argument is out of its range.
    NoPlanFound
        The problem has no plan, or none was found in time.
    """
    check_asked(time_limit_s=time_limit_s, seed=seed)
    known = rules.limits(problem)
    if rule not in known:
        raise ProblemError(f"no limit is named {rule!r}; the problem has: {'; '.join(known)}")
    asker = _Asker(problem, rule, time_limit_s, seed)
    now = asker.at(known[rule][0])
    if now is None:
        raise NoPlanFound("the problem has no plan, or none was found in time: there is nothing to compare with")
    tighter = asker.at(now.limit * (1 - STEP)) if now.limit > 0 else None
    looser = asker.better(now.objective)
    return Sensitivity(
        rule=rule,
        limit=known[rule][0],
        unit=known[rule][1],
        objective=problem.objective,
        value=now.objective,
        least_limit=now.limit,
        tighter=_slope(tighter, now),
        looser=_slope(looser, now),
        proven=asker.proven,
    )


def _slope(step: Step | None, now: Step) -> Step | None:
    if step is None:
        return None
    width = now.limit - step.limit
    return replace(step, per_unit=(step.objective - now.objective) / width) if width else step


class _Asker:
    """Finds steps of the staircase: from a limit to its best objective, and from an objective to its least limit."""

    def __init__(self, problem: Problem, rule: str, time_limit_s: float, seed: int) -> None:
        self.problem, self.rule, self.time_limit_s, self.seed = problem, rule, time_limit_s, seed
        self.proven = True
        """Whether every answer so far was proven."""

    def at(self, limit: float) -> Step | None:
        """Find the best objective under a limit, and the least limit that allows it."""
        outcome = self._find(rules.with_limit(self.problem, self.rule, limit))
        if outcome.evaluation is None:
            return None
        value = outcome.evaluation.objective
        found = self._least(value)
        if found is None:
            return None
        proven = outcome.status == "optimal" and found.proven
        return Step(limit=found.value, objective=value, per_unit=0.0, proven=proven)

    def better(self, value: float) -> Step | None:
        """Find the least limit that allows a smaller objective than `value`, and the best objective there."""
        if value == 0:
            return None
        outcome = self._find(rules.without(self.problem, {self.rule}))
        below = value * (1 - 2 * STEP)
        if outcome.evaluation is None or outcome.evaluation.objective > below:
            return None
        found = self._least(below)
        return None if found is None else self.at(found.value)

    def _find(self, problem: Problem) -> Outcome:
        outcome = find(ProblemIndex(problem), time_limit_s=self.time_limit_s, seed=self.seed)
        self.proven = self.proven and outcome.status in ("optimal", "infeasible")
        return outcome

    def _least(self, most: float) -> Least | None:
        """Find the least limit that allows an objective of at most `most`."""
        capped = with_cap(self.problem, self.problem.objective, most)
        try:
            found = least(capped, self.rule, time_limit_s=self.time_limit_s)
        except NoPlanFound:
            found = None
        self.proven = self.proven and found is not None and found.proven
        return found
