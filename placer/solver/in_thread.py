"""Solves a model in a thread of its own, so that Ctrl-C is answered at once and not when the solver returns."""

from __future__ import annotations

import threading

from ortools.math_opt.python import mathopt

_LOOK_S = 0.02
"""How often the waiting thread lets a signal through."""


def solve_in_thread(
    model: mathopt.Model, solver: mathopt.SolverType, parameters: mathopt.SolveParameters
) -> mathopt.SolveResult:
    """Solve a model as `mathopt.solve` does, with its errors; a solver that is left alone ends with the process."""
    results: list[mathopt.SolveResult] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            results.append(mathopt.solve(model, solver, params=parameters))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_S)
    if failures:
        raise failures[0]
    return results[0]
