"""A model solved in a thread has the answer and the errors it has without; Ctrl-C is not kept waiting."""

from __future__ import annotations

import _thread
import threading

import pytest
from ortools.math_opt.python import mathopt

from placer.solver.in_thread import solve_in_thread

HIGHS = mathopt.SolverType.HIGHS


def _model() -> mathopt.Model:
    model = mathopt.Model()
    x = model.add_integer_variable(lb=0, ub=10)
    model.add_linear_constraint(2 * x <= 7)
    model.maximize(x)
    return model


def test_it_answers_as_the_solver_does() -> None:
    assert solve_in_thread(_model(), HIGHS, mathopt.SolveParameters()).objective_value() == 3


def test_errors_of_the_solver_are_the_caller_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("too large")

    monkeypatch.setattr(mathopt, "solve", refuse)
    with pytest.raises(ValueError, match="too large"):
        solve_in_thread(_model(), HIGHS, mathopt.SolveParameters())


def test_ctrl_c_is_answered_while_the_solver_works(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    at_work: list[threading.Thread] = []

    def work(*_: object, **__: object) -> None:
        at_work.append(threading.current_thread())
        _thread.interrupt_main()
        done.wait()

    monkeypatch.setattr(mathopt, "solve", work)
    try:
        with pytest.raises(KeyboardInterrupt):
            solve_in_thread(_model(), HIGHS, mathopt.SolveParameters())
        (thread,) = at_work
        # What works for a solver in the main thread would be Python's own waiting: no solver hears of a signal.
        assert thread is not threading.main_thread()
        assert thread.is_alive()
    finally:
        done.set()
