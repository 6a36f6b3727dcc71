"""Cuts that make the relaxation true where a solution shows it to be wrong: block by block, else choice by choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.solver.blocks import segments_begun, separator_times
from placer.solver.terms import Terms, add_to, value_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ortools.math_opt.python import mathopt

    from placer.evaluate import Evaluation, FlowResult
    from placer.index import Choice
    from placer.solver.flow_relaxation import FlowRelaxation
    from placer.solver.latency_terms import Clock
    from placer.solver.relaxation import Relaxation
    from placer.solver.terms import Terms

_WORTH_S = 1e-7
"""A block is cut when the relaxation is wrong by more than this fraction of the block's time."""


def changes(flow: FlowRelaxation, choice: Choice, ops: Iterable[int]) -> Terms:
    """sum_v (1 - x_v,choice(v)) without its constant: the count of ops that leave a choice."""
    return {flow.x[v][choice[v]]: -1.0 for v in ops if len(flow.x[v]) > 1}


def cut_blocks(
    relaxation: Relaxation,
    choices: tuple[Choice, ...],
    evaluation: Evaluation,
    values: Mapping[mathopt.Variable, float],
) -> int:
    """Add the true time and segment count of every block that the solution gets wrong; return how many.

    For the choice c of a block's scope, with time g and n segments begun at a place (device, mode):
    time >= g (1 - changes from c), begun >= n (1 - changes from c). Both are valid because the time and the
    segments of a block depend on its scope alone (placer/solver/blocks.py).
    """
    added = 0
    for flow, choice, result in zip(relaxation.flows, choices, evaluation.flows, strict=True):
        layout = result.layout
        begun = segments_begun(flow.index, flow.blocks, layout.segments)
        for k, block in enumerate(flow.blocks):
            scope = changes(flow, choice, block.scope)
            for place, count in sorted(begun[k].items()):
                terms = flow.block_begun(k, place)
                if terms and value_of(terms, values) < count - 1e-6:
                    _bind(relaxation, terms, float(count), scope)
                    added += 1
        for clock in flow.clocks:
            shown = result if clock.connections == "busy" else result.paused or result
            if clock.time:
                added += _cut_times(relaxation, flow, clock, choice, shown, values)
    return added


def _cut_times(
    relaxation: Relaxation,
    flow: FlowRelaxation,
    clock: Clock,
    choice: Choice,
    result: FlowResult,
    values: Mapping[mathopt.Variable, float],
) -> int:
    """Add the true time of every block that the solution gets wrong on one clock; return how many."""
    times = separator_times(
        relaxation.index,
        flow.index,
        flow.blocks,
        choice,
        result.layout.segments,
        result.layout.segment_of,
        result.schedule.segment_start_s,
        result.schedule.op_end_s,
    )
    added = 0
    before = 0.0
    for k, (block, time_s) in enumerate(zip(flow.blocks, times, strict=True)):
        elapsed = (time_s - before) * flow.scale.time
        before = time_s
        terms = flow.block_time(k, clock)
        if value_of(terms, values) < elapsed * (1 - _WORTH_S) - 1e-6:
            _bind(relaxation, terms, elapsed, changes(flow, choice, block.scope))
            added += 1
    return added


def exclude(relaxation: Relaxation, choices: tuple[Choice, ...]) -> None:
    """Forbid one choice as a whole: it has been evaluated and need not come back."""
    terms: Terms = {}
    count = 0
    for flow, choice in zip(relaxation.flows, choices, strict=True):
        scope = changes(flow, choice, range(flow.index.size))
        add_to(terms, scope.items())
        count += len(scope)
    relaxation.row(terms, lower=1.0 - count)


def _bind(relaxation: Relaxation, terms: Terms, amount: float, scope: Terms) -> None:
    """Add terms >= amount * (1 - (|scope| + sum scope))."""
    row: Terms = dict(terms)
    add_to(row, scope.items(), amount)
    relaxation.row(row, lower=amount * (1 - len(scope)))
