"""The plain exact search: solve the relaxation, evaluate, cut off what is wrong, repeat until bound and plan meet."""

from __future__ import annotations

import datetime
import math
import time
from typing import TYPE_CHECKING, Literal

from ortools.math_opt.python import mathopt
from ortools.math_opt.solvers import highs_pb2
from ortools.sat import sat_parameters_pb2

from placer.evaluate import evaluate
from placer.solver.cuts import cut_blocks, exclude
from placer.solver.in_thread import solve_in_thread
from placer.solver.outcome import OPTIMALITY_GAP, Outcome, Status, relative_gap
from placer.solver.relaxation import Relaxation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from placer.evaluate import Evaluation
    from placer.index import Choice, ProblemIndex

Backend = Literal["highs", "scip", "cp-sat"]

_MOST_PAIRS = 50_000
"""Pairs of options, over all edges, up to which the model is worth building: it has a variable for each."""

_LARGEST_AMOUNT = 1e14
"""No time or memory in the units of `placer.solver.relaxation` is above this; sums stay within 64 bits."""

_ROUNDING = 1e-6
"""What a bound loses to the solver's rounding, where the objective is some 1,000."""


def is_small(index: ProblemIndex) -> bool:
    """Whether a problem is small enough for the MILP to be worth building."""
    pairs = sum(
        len(flow.options[u]) * len(flow.options[v])
        for flow in index.flows
        for v in range(flow.size)
        for u in flow.predecessors[v]
    )
    return pairs <= _MOST_PAIRS


class _Incumbent:
    """The best feasible choice so far."""

    def __init__(self, index: ProblemIndex) -> None:
        self.index = index
        self.choices: tuple[Choice, ...] | None = None
        self.evaluation: Evaluation | None = None

    def offer(self, choices: tuple[Choice, ...]) -> Evaluation:
        evaluation = evaluate(self.index, choices)
        if evaluation.feasible and (self.evaluation is None or evaluation.objective < self.evaluation.objective):
            self.choices, self.evaluation = choices, evaluation
        return evaluation

    @property
    def objective(self) -> float:
        return math.inf if self.evaluation is None else self.evaluation.objective


def search(
    index: ProblemIndex,
    *,
    starts: Iterable[tuple[Choice, ...]] = (),
    backend: Backend = "highs",
    time_limit_s: float = 60.0,
    gap: float = OPTIMALITY_GAP,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
    believe: bool = False,
) -> Outcome:
    """Find a choice of least objective and prove it.

    Parameters
    ----------
    index
        The problem.
    starts
        Choices to evaluate first, as incumbents.
    backend
        The MILP solver behind MathOpt.
    time_limit_s
        Wall-clock seconds after which the best choice so far is returned with its bound.
    gap
        Relative distance between objective and bound at which the search ends.
    seed
        Seed of the MILP solver; equal seeds give equal choices.
    progress
        Called after each round with the best objective (inf if none) and the bound.
    believe
        Take the MILP solver's first proof for one; for measuring how long it takes to it.

    Returns
    -------
    Outcome
        Status "optimal" only if the evaluated objective is within 1e-6 of the bound. Ctrl-C ends the search
        early like the time limit does.

    Notes
    -----
    The presolve of HiGHS 1.12 has called feasible models of this kind infeasible (about 1 in 7,000 random ones; its
    reports of errors list more), that of CP-SAT 9.15 has cut off the optimum of a badly scaled one. So with presolve
    plans are found, in half the time at the most, and nothing is proven: bounds come from solving without it.
    """
    started = time.monotonic()
    best = _Incumbent(index)
    for choices in starts:
        best.offer(choices)
    whole = backend == "cp-sat"
    relaxation = Relaxation(index, whole=whole)
    bound, rounds, exhausted = 0.0, 0, False
    proving = believe
    seen: set[tuple[Choice, ...]] = set()
    interrupted = False
    try:
        while best.objective != 0:
            if best.evaluation is not None and relative_gap(best.objective, bound) <= gap:
                if proving:
                    break
                proving, bound = True, 0.0
            left_s = time_limit_s - (time.monotonic() - started)
            if left_s <= 0:
                break
            if not proving and left_s <= time_limit_s / 2:
                proving, bound = True, 0.0
            # Only something better by half the gap is worth finding; if there is none, the proof is done.
            worth = best.objective * (1 - gap / 2)
            if index.problem.objective == "latency_s" and worth < relaxation.horizon_s / 10:
                # What is worth finding is far shorter than the scale was made for: begin anew, with finer units.
                relaxation, seen = Relaxation(index, horizon_s=worth, whole=whole), set()
            relaxation.aim(worth)
            limit_s = left_s if proving else left_s - time_limit_s / 2
            result = _solve(relaxation.model, backend, limit_s, gap, seed, presolve=believe or not proving)
            if result is None:
                break
            rounds += 1
            reason = result.termination.reason
            if reason in (mathopt.TerminationReason.INFEASIBLE, mathopt.TerminationReason.INFEASIBLE_OR_UNBOUNDED):
                if not proving:
                    proving, bound = True, 0.0
                    continue
                exhausted = True
                bound = worth if best.evaluation is not None else bound
                break
            dual = (result.termination.objective_bounds.dual_bound - _ROUNDING) / relaxation.objective_scale
            # Without an incumbent the scale is a guess, and a bound no better than that.
            if math.isfinite(dual) and worth < math.inf:
                bound = max(bound, min(dual, worth))
            if not result.has_primal_feasible_solution():
                if proving:
                    break
                proving, bound = True, 0.0
                continue
            values = result.variable_values()
            choices = relaxation.choices(values)
            evaluation = best.offer(choices)
            if progress is not None:
                progress(best.objective, bound if proving else 0.0)
            # A choice that comes back has outlived its cuts, by rounding.
            if not cut_blocks(relaxation, choices, evaluation, values) or choices in seen:
                exclude(relaxation, choices)
            seen.add(choices)
    except KeyboardInterrupt:
        interrupted = True
    seconds = time.monotonic() - started
    bound = min(bound, best.objective) if proving or best.objective == 0 else 0.0
    status: Status
    if best.evaluation is None:
        status = "infeasible" if exhausted else "unknown"
    else:
        status = "optimal" if relative_gap(best.objective, bound) <= OPTIMALITY_GAP else "feasible"
    return Outcome(status, best.choices, best.evaluation, bound, seconds, rounds, interrupted)


_SOLVERS = {
    "highs": mathopt.SolverType.HIGHS,
    "scip": mathopt.SolverType.GSCIP,
    "cp-sat": mathopt.SolverType.CP_SAT,
}


def _solve(
    model: mathopt.Model, backend: Backend, limit_s: float, gap: float, seed: int, *, presolve: bool
) -> mathopt.SolveResult | None:
    """Solve a round's model; None if the solver refuses it."""
    parameters = mathopt.SolveParameters(
        relative_gap_tolerance=gap / 10,
        absolute_gap_tolerance=0.0,
        random_seed=seed,
        time_limit=datetime.timedelta(seconds=limit_s),
        presolve=None if presolve else mathopt.Emphasis.OFF,
    )
    if backend == "highs":
        # The tightest tolerances HiGHS takes: looser ones have called a worse plan optimal.
        parameters.highs = highs_pb2.HighsOptionsProto(
            double_options={
                "mip_feasibility_tolerance": 1e-9,
                "primal_feasibility_tolerance": 1e-9,
                "dual_feasibility_tolerance": 1e-9,
            }
        )
    elif backend == "cp-sat":
        # Its variables are whole numbers up to this bound. Its presolve of the MILP works with tolerances and is a
        # matter apart from its presolve of the whole numbers.
        parameters.cp_sat = sat_parameters_pb2.SatParameters(
            num_workers=1,
            linearization_level=2,
            mip_max_bound=_LARGEST_AMOUNT,
            mip_presolve_level=2 if presolve else 0,
        )
    try:
        return solve_in_thread(model, _SOLVERS[backend], parameters)
    except Exception:
        # What MathOpt makes of a refusal varies. CP-SAT refuses models whose sums might not fit its integers.
        if backend == "cp-sat":
            return None
        # The presolve of HiGHS 1.12 ends some models with an error.
        if presolve:
            return _solve(model, backend, limit_s, gap, seed, presolve=False)
        raise
