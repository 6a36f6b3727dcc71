"""What commands answer with --json: a problem's in the format of docs/problem-format.md, or that there is no plan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

from placer.errors import Infeasible, NoPlanFound

if TYPE_CHECKING:
    from placer.index import ProblemIndex
    from placer.solver.conflict import Amount
    from placer.solver.outcome import Outcome


class FlowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One flow of an answer: seconds, joules per inference, and (device, mode) of each op."""

    name: str
    latency_s: float
    energy_j: float
    assignment: dict[str, tuple[str, str]]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What `placer solve --json` writes."""

    status: str
    objective: float | None
    bound: float | None
    gap: float | None
    seconds: float
    flows: tuple[FlowAnswer, ...]
    conflict: tuple[str, ...]
    amounts: tuple[Amount, ...] = ()


class NoAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What `placer plan --json` writes where there is no plan."""

    status: Literal["infeasible", "unknown"]
    conflict: tuple[str, ...]
    amounts: tuple[Amount, ...] = ()

    @classmethod
    def of(cls, error: Infeasible | NoPlanFound) -> NoAnswer:
        """Say why there is no plan: proven to be impossible, or not found in time."""
        if isinstance(error, Infeasible):
            return cls(status="infeasible", conflict=error.conflict, amounts=error.amounts)
        return cls(status="unknown", conflict=())


def make_answer(
    index: ProblemIndex, outcome: Outcome, conflict: tuple[str, ...] = (), amounts: tuple[Amount, ...] = ()
) -> Answer:
    """Write an outcome down in the names of the problem, and why there is no plan if there is none."""
    flows: tuple[FlowAnswer, ...] = ()
    if outcome.choices is not None and outcome.evaluation is not None:
        flows = tuple(
            FlowAnswer(
                name=flow.name,
                latency_s=result.latency_s,
                energy_j=result.energy_j,
                assignment=index.assignment_of(i, outcome.choices[i]),
            )
            for i, (flow, result) in enumerate(zip(index.flows, outcome.evaluation.flows, strict=True))
        )
    return Answer(
        status=outcome.status,
        objective=outcome.evaluation.objective if outcome.evaluation is not None else None,
        bound=outcome.bound if math.isfinite(outcome.bound) and outcome.status != "infeasible" else None,
        gap=outcome.gap,
        seconds=outcome.seconds,
        flows=flows,
        conflict=conflict,
        amounts=amounts,
    )
