"""Linear expressions over MathOpt variables, as plain dictionaries: quick to build and to add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortools.math_opt.python import mathopt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Terms = dict[mathopt.Variable, float]
"""A linear expression: coefficient of each variable."""

SLACK = 1e-7
"""Relative widening of every cap, so that rounding never cuts off a choice that `evaluate` accepts."""


def add_to(terms: Terms, more: Iterable[tuple[mathopt.Variable, float]], factor: float = 1.0) -> None:
    """Add `factor` times some terms to an expression in place."""
    for variable, coefficient in more:
        terms[variable] = terms.get(variable, 0.0) + factor * coefficient


def value_of(terms: Terms, values: Mapping[mathopt.Variable, float]) -> float:
    """Value of an expression at a solution."""
    return sum(c * values.get(v, 0.0) for v, c in terms.items())
