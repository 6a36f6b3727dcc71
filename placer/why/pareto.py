"""The whole exact front between two objectives: every plan that can only be bettered in one at the other's cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from placer import rules
from placer.assemble import assemble
from placer.errors import Infeasible, NoPlanFound, ProblemError
from placer.evaluate import evaluate, late_after_pauses
from placer.index import ProblemIndex
from placer.objective import TOTALS
from placer.solver.asked import check_asked
from placer.solver.conflict import find_conflict
from placer.solver.find import find
from placer.solver.least import STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from placer.build import Built
    from placer.evaluate import Evaluation
    from placer.index import Choice
    from placer.plan import Plan
    from placer.problem import Objective, Problem


@dataclass(frozen=True, slots=True)
class Front:
    """The plans of a front, from the least of the first objective to the least of the second.

    Each plan's own problem caps the second objective at what the plan reaches, so that the plan is what `solve`
    would find for it: "optimal" in the plan means optimal under that cap.
    """

    first: Objective
    second: Objective
    plans: tuple[Plan, ...]
    values: tuple[tuple[float, float], ...]
    """(first, second) of each plan, in the units of `placer.objective.UNITS`."""
    complete: bool
    """Whether nothing is missing; else the number of points or the time ran out, or a search was not proven."""

    def __len__(self) -> int:
        return len(self.plans)

    def __iter__(self) -> Iterator[Plan]:
        return iter(self.plans)

    def __getitem__(self, position: int) -> Plan:
        return self.plans[position]


@dataclass(frozen=True, slots=True)
class _Point:
    """A plan of the front: the values of both objectives, the choice, and the proven bound of the first."""

    first: float
    second: float
    choices: tuple[Choice, ...]
    bound: float


def pareto(
    problem: Problem,
    first: Objective = "energy_j",
    second: Objective = "latency_s",
    *,
    max_points: int | None = None,
    time_limit_s: float = 600.0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    built: Built | None = None,
) -> Front:
    """Find every plan that is not beaten in both objectives by another.

    The balanced box method: between two neighbours of the front, the best plan in the lower half of the second
    objective and then the best one left above it part the box in two, and what is empty is proven so
    (Boland, Charkhgard and Savelsbergh 2015, INFORMS J. Computing 27(4)). Ties are settled: of plans that are
    equal in one objective only the best in the other is kept.

    Parameters
    ----------
    problem
        Its own objective does not matter; its rules are kept. latency_s needs a problem of one flow.
    first, second
        Two different objectives.
    max_points
        Stop at so many points: both ends first, then where the front is widest.
    time_limit_s
        Wall-clock seconds of the whole; what was found is returned then.
    seed
        As `placer.solve`.
    progress
        Called with the number of points known.
    built
        What the problem was built from; carried into the plans. Deadlines are then kept after pauses too, as in any
        plan of a site.

    Returns
    -------
    Front
        For each plan there is proof that no other is as good in both objectives and better in one by more than
        1e-6 relative; plans closer than that to one of the front are left out. Of two as close in one objective alone
        the better in the other is kept.

    Raises
    ------
    ProblemError
        The objectives are equal, latency is asked of several flows, or another argument is out of its range.
    Infeasible
        No plan meets the rules.
    NoPlanFound
        Time ran out before the two ends were found.
    """
    check_asked(time_limit_s=time_limit_s, seed=seed)
    if first == second:
        raise ProblemError(f"pareto: {first!r} twice; give two different objectives")
    if "latency_s" in (first, second) and len(problem.flows) > 1:
        raise ProblemError(
            f"pareto: latency_s is that of one flow, and the problem has {len(problem.flows)}; give two of energy_j, "
            "carbon_g and cost, or keep one flow"
        )
    if max_points is not None and max_points < 2:
        raise ProblemError(f"pareto: max_points {max_points} is too few; the two ends alone are two")
    end_s = time.monotonic() + time_limit_s
    while True:
        front = _search_front(problem, first, second, max_points, end_s, seed, progress, built)
        index = ProblemIndex(problem)
        late = {
            flow
            for plan in front
            for flow in late_after_pauses(index, [index.choice_of(i, f.assignment) for i, f in enumerate(plan.flows)])
        }
        if built is None or not late:
            return front
        # As of a plan of the site: what its deadlines do not hold for after pauses is no plan.
        problem = rules.with_deadlines_after_pauses(problem, late)


def _search_front(
    problem: Problem,
    first: Objective,
    second: Objective,
    max_points: int | None,
    end_s: float,
    seed: int,
    progress: Callable[[int], None] | None,
    built: Built | None,
) -> Front:
    finder = _Finder(problem, first, second, end_s, seed)
    left, right = finder.ends()
    found = [left, right]
    boxes = [(left, right)]
    while boxes and (max_points is None or len(_front(found)) < max_points):
        if progress is not None:
            progress(len(_front(found)))
        boxes.sort(key=lambda box: (box[1].first - box[0].first) * (box[0].second - box[1].second))
        a, b = boxes.pop()
        if _same(a, b):
            continue
        try:
            lower = finder.least(first, second, (a.second + b.second) / 2) or b
            found.append(lower)
            if not _same(lower, b):
                boxes.append((lower, b))
                if len(_front(found)) == max_points:
                    boxes.append((a, lower))
                    break
            upper = finder.least(second, first, lower.first * (1 - STEP)) or a
        except NoPlanFound:
            boxes.append((a, b))
            break
        found.append(upper)
        if not _same(a, upper):
            boxes.append((a, upper))
    known = _front(found)
    complete = finder.proven and all(_same(a, b) for a, b in boxes)
    return Front(
        first=first,
        second=second,
        plans=tuple(finder.plan(point, built) for point in known),
        values=tuple((point.first, point.second) for point in known),
        complete=complete,
    )


def _front(points: list[_Point]) -> list[_Point]:
    """Sort points and drop those that another beats, or beats but for `STEP`: of two as good in one, the worse."""
    kept: list[_Point] = []
    least = 0.0
    for point in sorted(points, key=lambda p: (p.first, p.second)):
        if kept and point.second >= kept[-1].second * (1 - STEP):
            continue
        if kept and point.first - least <= STEP * point.first:
            kept[-1] = point
        else:
            kept.append(point)
            least = point.first
    return kept


def _same(a: _Point, b: _Point) -> bool:
    """Whether two points, the first of less of the first objective, are one within `STEP`."""
    return b.first - a.first <= STEP * b.first or a.second - b.second <= STEP * a.second


class _Finder:
    """Finds points of the front, one search for each objective at a time."""

    def __init__(self, problem: Problem, first: Objective, second: Objective, end_s: float, seed: int) -> None:
        self.problem, self.first, self.second, self.end_s, self.seed = problem, first, second, end_s, seed
        self.proven = True
        """Whether every search so far ended with a proof."""
        self.judges = {o: ProblemIndex(msgspec.structs.replace(problem, objective=o)) for o in (first, second)}

    def ends(self) -> tuple[_Point, _Point]:
        """Find the best of the first objective and the best of the second."""
        left, right = self.least(self.first, self.second, None), self.least(self.second, self.first, None)
        if left is None or right is None:
            raise Infeasible(find_conflict(self.problem))
        return left, right

    def least(self, main: Objective, other: Objective, most: float | None) -> _Point | None:
        """Find the plan of least `main` with `other` at most `most`, and of those the one of least `other`.

        Returns None where there is none, proven.
        """
        found = self._search(main, other, most)
        if found is None:
            return None
        _, evaluation, bound = found
        settled = self._search(other, main, evaluation.objective)
        # The plan at hand keeps this cap, so there is one even if the solver's rounding hides it.
        choices, _, other_bound = settled if settled is not None else (found[0], evaluation, 0.0)
        values = {o: evaluate(judge, choices).objective for o, judge in self.judges.items()}
        return _Point(values[self.first], values[self.second], choices, bound if main == self.first else other_bound)

    def _search(
        self, main: Objective, other: Objective, most: float | None
    ) -> tuple[tuple[Choice, ...], Evaluation, float] | None:
        problem = msgspec.structs.replace(self.problem, objective=main)
        if most is not None:
            problem = with_cap(problem, other, most)
        left_s = self.end_s - time.monotonic()
        if left_s <= 0:
            raise NoPlanFound("the time limit ended the search for the front; give more time")
        outcome = find(ProblemIndex(problem), time_limit_s=left_s, seed=self.seed)
        if outcome.status == "infeasible":
            return None
        if outcome.choices is None or outcome.evaluation is None:
            raise NoPlanFound("the time limit ended the search for the front before its ends were found")
        self.proven = self.proven and outcome.status == "optimal"
        return outcome.choices, outcome.evaluation, outcome.bound

    def plan(self, point: _Point, built: Built | None) -> Plan:
        """Write a point down as the optimum of the first objective under its own cap on the second."""
        posed = with_cap(msgspec.structs.replace(self.problem, objective=self.first), self.second, point.second)
        index = ProblemIndex(posed)
        return assemble(index, point.choices, evaluate(index, point.choices), point.bound, built=built)


def with_cap(problem: Problem, objective: Objective, most: float) -> Problem:
    """Return the problem with an objective's value capped; a tighter cap that is there already stays.

    Raises
    ------
    ProblemError
        Latency is to be capped in a problem of several flows.
    """
    if objective == "latency_s":
        if len(problem.flows) != 1:
            raise ProblemError(f"latency_s: one flow is needed, not {len(problem.flows)}; cap their deadlines")
        # Of busy connections alone, as the objective is: no change of a deadline that is kept after pauses too.
        flow = problem.flows[0]
        capped = msgspec.structs.replace(flow, deadline_s=_least(most, flow.deadline_s))
        return msgspec.structs.replace(problem, flows=(capped,))
    field = next(f for f, o in TOTALS.items() if o == objective)
    return rules.with_limit(problem, rules.total(field), _least(most, getattr(problem.limits, field)))


def _least(most: float, present: float | None) -> float:
    return most if present is None else min(most, present)
