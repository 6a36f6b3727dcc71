"""What a search for a plan ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from placer.evaluate import Evaluation
    from placer.index import Choice

Status = Literal["optimal", "feasible", "infeasible", "unknown"]

OPTIMALITY_GAP = 1e-6
"""Largest relative distance between objective and bound at which a plan is called optimal."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The best choice found, as `evaluate` sees it, and a proven lower bound of the objective."""

    status: Status
    choices: tuple[Choice, ...] | None
    evaluation: Evaluation | None
    bound: float
    seconds: float
    """Wall-clock seconds of the search."""
    rounds: int
    """How many relaxations were solved."""
    interrupted: bool = False
    """Whether Ctrl-C ended the search."""

    @property
    def gap(self) -> float | None:
        """(objective - bound) / objective, or None without a plan."""
        return None if self.evaluation is None else relative_gap(self.evaluation.objective, self.bound)


def relative_gap(objective: float, bound: float) -> float:
    """(objective - bound) / objective, 0 where the bound reaches the objective; no objective is below 0."""
    if max(bound, 0.0) >= objective:
        return 0.0
    return (objective - bound) / objective
