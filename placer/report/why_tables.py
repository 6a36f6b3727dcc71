"""Draws explanations, sensitivities and fronts as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from placer.objective import per_inference
from placer.report.notes import latencies_after_pauses_s
from placer.report.tables import shown, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.problem import Problem
    from placer.why.explain import Explanation, Instead
    from placer.why.pareto import Front
    from placer.why.sensitivity import Sensitivity, Step


def explanation_tables(problem: Problem, explained: Explanation, meanings: Mapping[str, str]) -> list[Table]:
    """Draw what keeping each segment off its device would cost, and what each rule costs.

    Parameters
    ----------
    problem
        What was planned.
    explained
        Why the plan is as it is.
    meanings
        Words for rules, by name; a rule without is called by its name.
    """
    factor, unit = per_inference(problem, explained.objective)
    return [_segments(explained, meanings, factor, unit), _rules(explained, meanings, factor, unit)]


def _segments(explained: Explanation, meanings: Mapping[str, str], factor: float, unit: str) -> Table:
    table = _table(
        f"Why there: each segment kept off its device (the plan: {shown(explained.value * factor, unit)})",
        "segment",
        "ops",
        "runs on",
        "everything else free",
        "everything else fixed",
    )
    for s in explained.segments:
        free, fixed = (_instead(x, meanings, factor, unit) for x in (s.all_free, s.rest_fixed))
        table.add_row(s.segment, str(s.ops), f"{s.device} {s.mode}", free, fixed)
    return table


def _instead(found: Instead, meanings: Mapping[str, str], factor: float, unit: str) -> str:
    doubt = "" if found.proven else " (not proven)"
    if found.extra is None:
        conflict = "; ".join(meanings.get(rule, rule) for rule in found.conflict)
        return f"no plan: {conflict}" if conflict else "no plan was found in time"
    also = ", and 1 other op moves" if found.moved_ops == 1 else f", and {found.moved_ops} other ops move"
    also = also if found.moved_ops else ""
    return f"+{shown(found.extra * factor, unit)} on {', '.join(found.devices)}{also}{doubt}"


def _rules(explained: Explanation, meanings: Mapping[str, str], factor: float, unit: str) -> Table:
    table = _table("What the rules cost", "rule given up", "saves")
    for cost in explained.rules:
        table.add_row(
            meanings.get(cost.rule, cost.rule),
            shown(cost.saved * factor, unit) + ("" if cost.proven else " (at least)"),
        )
    if len(explained.together) > 1:
        table.add_section()
        saved = shown(explained.together_saved * factor, unit)
        table.add_row("together: " + "; ".join(meanings.get(rule, rule) for rule in explained.together), saved)
    if not explained.together:
        table.add_row("any or all of them", "nothing" + ("" if explained.proven else " that was found in time"))
    return table


def sensitivity_table(problem: Problem, found: Sequence[Sensitivity]) -> Table:
    """Draw what limits are worth: how far they may be tightened for nothing, and the next step on either side."""
    table = _table(
        "What limits are worth",
        "limit",
        "now",
        "same plan down to",
        "next below, and its price",
        "next above, and its gain",
    )
    for s in found:
        factor, unit = per_inference(problem, s.objective)
        table.add_row(
            s.rule,
            _limit(s.limit, s.unit),
            _limit(s.least_limit, s.unit),
            _step(s, s.tighter, factor, unit) or ("no plan below" if s.proven else "none found in time"),
            _step(s, s.looser, factor, unit) or ("nothing to gain" if s.proven else "none found in time"),
        )
    return table


def _step(s: Sensitivity, step: Step | None, factor: float, unit: str) -> str:
    if step is None:
        return ""
    change = (step.objective - s.value) * factor
    # A millisecond and a megabyte are what people give and take.
    grain, name = {"s": (1e-3, "ms"), "B": (1e6, "MB")}.get(s.unit, (1.0, s.unit or "1"))
    slope = shown(step.per_unit * factor * grain, unit)
    return f"{_limit(step.limit, s.unit)}: {'+' if change > 0 else '-'}{shown(abs(change), unit)} ({slope} per {name})"


def _limit(value: float, unit: str) -> str:
    return size(value) if unit == "B" else shown(value, unit)


def front_table(front: Front) -> Table:
    """Draw a front, a line for each plan."""
    problem = front.plans[0].problem
    units = [per_inference(problem, objective) for objective in (front.first, front.second)]
    count = f"{len(front)} plan{'s' if len(front) > 1 else ''}"
    # Beside latencies alone: of other objectives it is no matter. Those are of busy connections, deadlines of both.
    paused_s = []
    if "latency_s" in (front.first, front.second):
        paused_s = [max(latencies_after_pauses_s(plan).values()) for plan in front.plans]
        if all(shown(s, "s") == shown(plan.flows[0].latency_s, "s") for s, plan in zip(paused_s, front, strict=True)):
            paused_s = []
    table = _table(
        f"Front: {count}, {'all there are' if front.complete else 'not all there are'}",
        front.first.partition("_")[0],
        front.second.partition("_")[0],
        *(["after pauses"] if paused_s else []),
        "segments",
    )
    for i, (plan, values) in enumerate(zip(front.plans, front.values, strict=True)):
        cells = [shown(v * factor, unit) for v, (factor, unit) in zip(values, units, strict=True)]
        if paused_s:
            cells.append(shown(paused_s[i], "s"))
        parts = [f"{s.device} {len(s.ops)}" for f in plan.flows for s in sorted(f.segments, key=lambda s: s.start_s)]
        more = f" and {len(parts) - _PARTS} more" if len(parts) > _PARTS else ""
        table.add_row(*cells, ", ".join(parts[:_PARTS]) + more)
    return table


_PARTS = 6
"""Segments that a line names; long lists hide what they say."""


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="")
    for column in columns:
        table.add_column(column)
    return table
