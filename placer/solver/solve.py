"""From a problem to a proven plan: the library's main function."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from placer import rules
from placer.assemble import assemble
from placer.baselines import best_allowed, judge_baselines
from placer.errors import Infeasible, NoPlanFound
from placer.evaluate import evaluate, late_after_pauses
from placer.index import ProblemIndex
from placer.solver.asked import check_asked
from placer.solver.conflict import find_amounts, find_conflict, links_hint
from placer.solver.find import find
from placer.solver.outcome import OPTIMALITY_GAP
from placer.tidy import tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from placer.build import Built
    from placer.plan import Model, Plan
    from placer.problem import Problem


def solve(
    problem: Problem,
    *,
    time_limit_s: float = 60.0,
    gap: float = OPTIMALITY_GAP,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
    built: Built | None = None,
    name: str = "",
    models: tuple[Model, ...] = (),
    agents: Mapping[str, str] | None = None,
    after_pauses: bool = False,
) -> Plan:
    """Find the plan of least objective, and prove it.

    Parameters
    ----------
    problem
        What to place where.
    time_limit_s
        Wall-clock seconds of the search; the best plan so far is returned then, with its gap. Where deadlines are to
        hold after pauses, of each of the searches that this takes.
    gap
        Relative distance between objective and bound that is good enough. Whatever it is, the plan is no worse than
        any of its baselines that the rules allow.
    seed
        Equal seeds and inputs give equal plans.
    progress
        Called as the search goes on, with the best objective (inf if none yet) and the bound.
    built, name, models, agents
        What the problem was made from; carried into the plan.
    after_pauses
        Keep deadlines also where TCP forgets, in the pauses between requests, what the links bear. A flow that the
        best plan would break its deadline for gets a `deadline_after_pauses_s` in the plan's problem, and the search
        begins anew.

    Returns
    -------
    Plan
        "optimal" if objective and bound meet within 1e-6, else "feasible" with its gap.

    Raises
    ------
    ProblemError
        `time_limit_s`, `gap` or `seed` is out of its range.
    Infeasible
        No plan can meet the rules; names a minimal set of those in conflict and how far each would have to give.
    NoPlanFound
        The time limit ended the search before any plan was found.
    """
    check_asked(time_limit_s=time_limit_s, gap=gap, seed=seed)
    meanings = built.meanings if built else {}
    bound = 0.0
    late: tuple[str, ...] = ()
    while True:
        index = ProblemIndex(problem)
        outcome = find(index, time_limit_s=time_limit_s, gap=gap, seed=seed, progress=progress)
        if outcome.status == "infeasible":
            raise _infeasible(problem, meanings, time_limit_s, after_pauses)
        if outcome.choices is None:
            raise NoPlanFound(_nothing(late, time_limit_s))
        # A bound without some rules holds with them too.
        bound = max(bound, outcome.bound)
        choices, evaluation = tidy(index, outcome.choices, evaluate(index, outcome.choices))
        late = late_after_pauses(index, choices) if after_pauses else ()
        if not late:
            break
        problem = rules.with_deadlines_after_pauses(problem, late)
    judged = judge_baselines(_strict(index) if after_pauses else index, meanings)
    simple = best_allowed(judged)
    if simple is not None and simple.choices is not None:
        # Of those that `find` saw, one may have been passed over for what is late after pauses.
        evaluated = evaluate(index, simple.choices)
        if evaluated.objective < evaluation.objective:
            choices, evaluation = tidy(index, simple.choices, evaluated)
    return assemble(
        index,
        choices,
        evaluation,
        bound,
        built=built,
        name=name,
        models=models,
        agents=agents,
        baselines=tuple(j.baseline for j in judged),
    )


def _strict(index: ProblemIndex) -> ProblemIndex:
    """Have every flow keep its deadline after pauses too: then a baseline within the rules is one for the plan."""
    return ProblemIndex(rules.with_deadlines_after_pauses(index.problem, [flow.name for flow in index.flows]))


def _infeasible(problem: Problem, meanings: Mapping[str, str], time_limit_s: float, after_pauses: bool) -> Infeasible:
    if after_pauses:
        late = problem.limits.deadline_after_pauses_s
        words = {rules.deadline(flow): meanings.get(rules.deadline_after_pauses(flow)) for flow in late}
        meanings = {**meanings, **{rule: said for rule, said in words.items() if said is not None}}
        # What would do has to do on paused connections as well as on busy ones.
        problem = rules.with_deadlines_after_pauses(problem, [f.name for f in problem.flows])
    conflict = find_conflict(problem)
    amounts = find_amounts(problem, conflict, time_limit_s=time_limit_s)
    return Infeasible(
        tuple(meanings.get(rule, rule) for rule in conflict),
        tuple(replace(a, rule=meanings.get(a.rule, a.rule)) for a in amounts),
        links_hint(problem, conflict),
    )


def _nothing(late: tuple[str, ...], time_limit_s: float) -> str:
    """Say that no plan was found; `late` are the flows for which one was that did not keep deadlines after pauses."""
    text = f"no plan was found in {time_limit_s:g} s, nor a proof that there is none; give more time"
    if late:
        flows = ", ".join(map(repr, late))
        text += f". There are plans, but late after the pauses that the rate of {flows} leaves between its requests"
    return text
