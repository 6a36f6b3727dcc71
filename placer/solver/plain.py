"""The plain exact search: solve the relaxation, evaluate, cut off what is wrong, repeat until bound and plan meet."""

from __future__ import annotations

import datetime
import math
import threading
import time
from typing import TYPE_CHECKING, Literal

from ortools.math_opt.python import mathopt
from ortools.math_opt.solvers import highs_pb2
from ortools.sat import sat_parameters_pb2

from placer.evaluate import evaluate
from placer.solver.cuts import cut_blocks, exclude
from placer.solver.outcome import OPTIMALITY_GAP, Outcome, Status, relative_gap
from placer.solver.relaxation import Relaxation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from placer.evaluate import Evaluation
    from placer.index import Choice, ProblemIndex

Backend = Literal["highs", "scip", "cp-sat"]


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

    Returns
    -------
    Outcome
        Status "optimal" only if the evaluated objective is within 1e-6 of the bound. Ctrl-C ends the search
        early like the time limit does, if there is a choice to return.
    """
    started = time.monotonic()
    best = _Incumbent(index)
    for choices in starts:
        best.offer(choices)
    relaxation = Relaxation(index)
    bound, rounds = 0.0, 0
    goal = relaxation.model.add_linear_constraint(lb=-math.inf, ub=math.inf, name="better than the incumbent")
    for term in list(relaxation.model.objective.linear_terms()):
        goal.set_coefficient(term.variable, term.coefficient)
    exhausted = False
    try:
        while relative_gap(best.objective, bound) > gap or best.evaluation is None:
            left_s = time_limit_s - (time.monotonic() - started)
            if left_s <= 0:
                break
            if best.evaluation is not None:
                # Only something better by half the gap is worth finding; if there is none, the proof is done.
                goal.upper_bound = best.objective * (1 - gap / 2) * relaxation.objective_scale
            result = _solve(relaxation.model, backend, left_s, gap, seed)
            rounds += 1
            reason = result.termination.reason
            if reason in (mathopt.TerminationReason.INFEASIBLE, mathopt.TerminationReason.INFEASIBLE_OR_UNBOUNDED):
                exhausted = True
                bound = max(bound, best.objective * (1 - gap / 2)) if best.evaluation is not None else bound
                break
            dual = result.termination.objective_bounds.dual_bound / relaxation.objective_scale
            if math.isfinite(dual):
                bound = max(bound, min(dual, best.objective))
            if not result.has_primal_feasible_solution():
                break
            values = result.variable_values()
            choices = relaxation.choices(values)
            evaluation = best.offer(choices)
            if progress is not None:
                progress(best.objective, bound)
            if not cut_blocks(relaxation, choices, evaluation, values):
                exclude(relaxation, choices)
    except KeyboardInterrupt:
        if best.evaluation is None:
            raise
    seconds = time.monotonic() - started
    status: Status
    if best.evaluation is None:
        status = "infeasible" if exhausted else "unknown"
    else:
        status = "optimal" if relative_gap(best.objective, bound) <= OPTIMALITY_GAP else "feasible"
    return Outcome(status, best.choices, best.evaluation, min(bound, best.objective), seconds, rounds)


_SOLVERS = {
    "highs": mathopt.SolverType.HIGHS,
    "scip": mathopt.SolverType.GSCIP,
    "cp-sat": mathopt.SolverType.CP_SAT,
}


def _solve(model: mathopt.Model, backend: Backend, limit_s: float, gap: float, seed: int) -> mathopt.SolveResult:
    """Solve in a thread, so that Ctrl-C is answered at once and not when the solver returns."""
    parameters = mathopt.SolveParameters(
        relative_gap_tolerance=gap / 10,
        absolute_gap_tolerance=0.0,
        random_seed=seed,
        time_limit=datetime.timedelta(seconds=limit_s),
    )
    if backend == "highs":
        # The tightest tolerances HiGHS takes: looser ones have called a worse plan optimal.
        parameters.highs = highs_pb2.HighsOptionsProto(
            double_options={"mip_feasibility_tolerance": 1e-9, "primal_feasibility_tolerance": 1e-9}
        )
    elif backend == "cp-sat":
        parameters.cp_sat = sat_parameters_pb2.SatParameters(num_workers=1, linearization_level=2)
    results: list[mathopt.SolveResult] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            results.append(mathopt.solve(model, _SOLVERS[backend], params=parameters))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failures:
        raise failures[0]
    return results[0]
