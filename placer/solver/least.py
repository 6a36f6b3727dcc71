"""How far one limit can be tightened before there is no plan: the least value of what a rule limits.

By a search that minimizes the quantity where the problem can say so, else by halving the range: each step ends
in a plan, whose own value is the new upper end, or in a proof that there is none, which is the new lower end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from placer import rules
from placer.errors import NoPlanFound
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.objective import TOTALS
from placer.solver.find import find
from placer.violations import used

if TYPE_CHECKING:
    from placer.index import Choice
    from placer.problem import Objective, Problem
    from placer.solver.outcome import Outcome

STEP = 1e-6
"""Relative distance within which a least value is proven, and by which one plan must beat another to be better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """The least value of what a rule limits.

    Parameters
    ----------
    value
        A plan with this value exists: `choices`.
    bound
        No plan has a value below this; equal to `value` within `STEP` unless time ran out.
    choices
        For each flow the choice that reaches `value`.
    """

    value: float
    bound: float
    choices: tuple[Choice, ...]

    @property
    def proven(self) -> bool:
        """Whether value and bound meet."""
        return self.value - self.bound <= 2 * STEP * self.value


def least(problem: Problem, rule: str, *, time_limit_s: float = 30.0) -> Least | None:
    """Find the smallest limit of a rule with which the problem has a plan.

    Parameters
    ----------
    problem
        All its other rules are kept; its objective does not matter.
    rule
        One of `placer.rules.limits`.
    time_limit_s
        Seconds for all of it; value and bound may be apart then.

    Returns
    -------
    Least or None
        None if there is no plan even without the rule.

    Raises
    ------
    NoPlanFound
        No plan was found in time, nor a proof that there is none.
    """
    free = rules.without(problem, {rule})
    objective = _objective(problem, rule)
    if objective is not None:
        outcome = find(ProblemIndex(msgspec.structs.replace(free, objective=objective)), time_limit_s=time_limit_s)
        if outcome.choices is None or outcome.evaluation is None:
            _expect_proof(outcome, rule)
            return None
        return Least(value=outcome.evaluation.objective, bound=outcome.bound, choices=outcome.choices)
    judge = ProblemIndex(problem)
    end_s = time.monotonic() + time_limit_s
    outcome = _any_plan(free, time_limit_s)
    best = outcome.choices
    if best is None:
        _expect_proof(outcome, rule)
        return None
    high, low, certify = reached(judge, best, rule), 0.0, True
    done = high == 0
    while not done and (left_s := end_s - time.monotonic()) > 0:
        # Often the plan at hand is the least one already: that is asked first, and after each half that was empty.
        probe = max(low, high * (1 - STEP)) if certify else (low + high) / 2
        outcome = _any_plan(rules.with_limit(problem, rule, probe), left_s)
        if outcome.choices is not None:
            best, certify = outcome.choices, False
            high = min(high, reached(judge, best, rule))
            done = high - low <= STEP * high
        elif outcome.status == "infeasible":
            low, certify, done = probe, True, certify or probe >= high * (1 - STEP)
        else:
            break
    return Least(value=high, bound=low, choices=best)


def _expect_proof(outcome: Outcome, rule: str) -> None:
    """Tell no plan from no answer."""
    if outcome.status != "infeasible":
        raise NoPlanFound(f"{rule}: no plan was found in {outcome.seconds:.2g} s, nor a proof that there is none")


def reached(index: ProblemIndex, choices: tuple[Choice, ...], rule: str) -> float:
    """Return what a choice uses of the quantity that a rule of the problem limits."""
    names = rules.joined(index.problem, rule)
    return max(value for name, value, _ in used(index, evaluate(index, choices)) if name in names)


def _objective(problem: Problem, rule: str) -> Objective | None:
    """Return the objective that a rule limits, if it is one; latency after pauses is none."""
    if len(rules.joined(problem, rule)) > 1:
        return None
    if len(problem.flows) == 1 and rule == rules.deadline(problem.flows[0].name):
        return "latency_s"
    return next((objective for field, objective in TOTALS.items() if rule == rules.total(field)), None)


def _any_plan(problem: Problem, time_limit_s: float) -> Outcome:
    """Find any plan: a gap of 1 ends the search at the first."""
    return find(ProblemIndex(problem), gap=1.0, time_limit_s=time_limit_s)
