"""Plans a site anew and sets the plan that is there beside it: does it still hold, and what would a change save."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from placer import rules
from placer.errors import ProblemError
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.planning import build_site, solve_built
from placer.solver.asked import check_asked
from placer.solver.outcome import OPTIMALITY_GAP
from placer.violations import name_broken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from placer.plan import Plan
    from profiles import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The plan that is there, under the present figures.

    Parameters
    ----------
    objective
        As `evaluate` says; None if it cannot be run any more.
    latency_s
        Of each flow, in the plan's order.
    broken
        The rules that it breaks now, in the site's words; or why it cannot be run.
    """

    objective: float | None
    latency_s: tuple[float, ...]
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replan:
    """The plan that is there, and the best one, judged by the same problem and the same `evaluate`.

    Parameters
    ----------
    kept
        The plan that is there.
    plan
        The best one found; its `status` says how far it is proven.
    moved
        By flow, the ops whose device or mode differs between the two.
    changes
        Whether a change is called for: the old plan breaks a rule, or the new one is better by more than what a
        search may leave.
    """

    kept: Kept
    plan: Plan
    moved: dict[str, tuple[str, ...]]
    changes: bool

    @property
    def saved(self) -> float:
        """What a change saves, in the units of the objective; 0 where the old plan stands or cannot be run."""
        if not self.changes or self.kept.objective is None:
            return 0.0
        return self.kept.objective - self.plan.objective


def replan(
    site: Site,
    plan: Plan,
    *,
    time_limit_s: float = 60.0,
    gap: float = OPTIMALITY_GAP,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Replan:
    """Plan a site anew, and judge the plan that is there by its present figures.

    Parameters
    ----------
    site
        The site, with calibrated figures.
    plan
        The plan that is there.
    time_limit_s, gap, seed, progress
        As `placer.plan_site`.

    Raises
    ------
    profiles.ProfileError, ProblemError, Infeasible, NoPlanFound
        As `placer.plan_site`; and where the plan is of other flows than the site.
    """
    check_asked(time_limit_s=time_limit_s, gap=gap, seed=seed)
    if sorted(f.name for f in plan.flows) != sorted(f.name for f in site.flows):
        raise ProblemError(
            f"the plan's flows are {', '.join(f.name for f in plan.flows)}, the site's "
            f"{', '.join(f.name for f in site.flows)}; give the plan's own site"
        )
    built, graphs = build_site(site, progress=progress)
    every = [flow.name for flow in built.problem.flows]
    index = ProblemIndex(rules.with_deadlines_after_pauses(built.problem, every))
    kept = _judge(index, plan, built.meanings)
    best = solve_built(site, built, graphs, time_limit_s=time_limit_s, gap=gap, seed=seed, progress=progress)
    moved = {}
    for flow in best.flows:
        old = plan.flow(flow.name).assignment
        ops = tuple(op for op, place in flow.assignment.items() if old.get(op) != place)
        if ops:
            moved[flow.name] = ops
    better = kept.objective is None or best.objective < kept.objective * (1 - OPTIMALITY_GAP)
    return Replan(kept=kept, plan=best, moved=moved, changes=bool(moved) and (bool(kept.broken) or better))


def _judge(index: ProblemIndex, plan: Plan, meanings: Mapping[str, str]) -> Kept:
    """Evaluate a plan's assignment under another problem."""
    try:
        choices = [index.choice_of(i, plan.flow(f.name).assignment) for i, f in enumerate(index.flows)]
    except ProblemError as error:
        return Kept(objective=None, latency_s=(), broken=(str(error),))
    result = evaluate(index, choices)
    return Kept(
        objective=result.objective,
        latency_s=tuple(plan_flow.latency_s for plan_flow in result.flows),
        broken=name_broken(index, result, meanings),
    )
