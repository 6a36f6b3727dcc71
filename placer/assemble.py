"""Writes an evaluated choice down as a plan, in the names of the problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from placer.baselines import judge_baselines
from placer.ledger import make_ledger
from placer.plan import FlowPlan, Plan, Segment, Transfer
from placer.solver.outcome import OPTIMALITY_GAP, relative_gap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.build import Built
    from placer.evaluate import Evaluation, FlowResult
    from placer.index import Choice, ProblemIndex
    from placer.plan import Baseline, Model


def assemble(
    index: ProblemIndex,
    choices: Sequence[Choice],
    evaluation: Evaluation,
    bound: float,
    *,
    built: Built | None = None,
    name: str = "",
    models: tuple[Model, ...] = (),
    agents: Mapping[str, str] | None = None,
    baselines: tuple[Baseline, ...] | None = None,
) -> Plan:
    """Make the plan of a choice; every number comes from `evaluation`, only the bound from the solver.

    Parameters
    ----------
    index, choices, evaluation
        The problem, the choice and what `evaluate` says of it; it must be feasible.
    bound
        Proven lower bound of the objective.
    built
        What the problem was built from, for names of rules and origins of figures.
    name, models, agents
        Carried into the plan as they are.
    baselines
        What to compare it with; None judges them here.
    """
    if not evaluation.feasible:
        raise AssertionError(f"a plan must be feasible, this one breaks {evaluation.violations}")
    if baselines is None:
        baselines = tuple(j.baseline for j in judge_baselines(index, built.meanings if built else None))
    gap = relative_gap(evaluation.objective, bound)
    status: Literal["optimal", "feasible"] = "optimal" if gap <= OPTIMALITY_GAP else "feasible"
    return Plan(
        name=name,
        status=status,
        objective=evaluation.objective,
        bound=min(bound, evaluation.objective),
        gap=gap,
        flows=tuple(_flow(index, f, c, r) for f, (c, r) in enumerate(zip(choices, evaluation.flows, strict=True))),
        ledger=make_ledger(
            index, evaluation, pue=built.pue if built else None, origins=built.origins if built else None
        ),
        baselines=baselines,
        models=models,
        agents=dict(agents or {}),
        threads={device: dict(counts) for device, counts in built.threads.items()} if built else {},
        meanings=dict(built.meanings) if built else {},
        problem=index.problem,
    )


def _flow(index: ProblemIndex, position: int, choice: Choice, result: FlowResult) -> FlowPlan:
    flow = index.flows[position]
    names = [op.name for op in flow.flow.ops]
    schedule = result.schedule
    segments = tuple(
        Segment(
            name=f"{flow.name}/{i}",
            device=index.devices[s.device].name,
            mode=index.mode_names[s.mode],
            ops=tuple(names[v] for v in s.ops),
            seconds=s.seconds,
            start_s=schedule.segment_start_s[i],
            end_s=schedule.segment_end_s[i],
        )
        for i, s in enumerate(result.layout.segments)
    )
    transfers = tuple(
        Transfer(
            tensor=flow.flow.tensors[x.tensor].name,
            source=index.devices[x.source].name,
            target=index.devices[x.target].name,
            bytes=x.bytes,
            request_s=schedule.transfer_request_s[i],
            arrival_s=schedule.transfer_arrival_s[i],
        )
        for i, x in enumerate(result.layout.transfers)
    )
    return FlowPlan(
        name=flow.name,
        rate_hz=flow.flow.rate_hz,
        latency_s=result.latency_s,
        deadline_s=flow.flow.deadline_s,
        energy_j=result.energy_j,
        assignment=index.assignment_of(position, choice),
        segments=segments,
        transfers=transfers,
    )
