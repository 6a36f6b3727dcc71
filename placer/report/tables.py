"""Draws plans, runs and the catalog as tables for a terminal; computes nothing."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING

from rich.table import Table

from placer.deployment.messages import conditions_of
from placer.models.flow_graph import whole_op
from placer.objective import UNITS, per_inference
from placer.solver.outcome import OPTIMALITY_GAP

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from placer.deployment.compare import Row
    from placer.plan import Plan
    from profiles import Site

FLOWS_LISTED = 20
"""Flows whose segments are listed; the plan's file has them all."""

_REASONS = 2
"""Rules that a row of the baselines names at most; the plan's file has them all."""


def _table(title: str, *columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="")
    numbers = set(right)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    return table


def amount(value: float, unit: str) -> str:
    """Write a quantity with an SI prefix and three to four digits: `56.7 mJ`."""
    for factor, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n")):
        if abs(value) >= factor:
            return f"{value / factor:.4g} {prefix}{unit}"
    return f"0 {unit}" if value == 0 else f"{value:.3g} {unit}"


def shown(value: float, unit: str) -> str:
    """Write a value of any unit: with an SI prefix where the unit takes one."""
    return amount(value, unit) if unit in ("s", "J", "W", "g", "g/s") else f"{value:.4g} {unit}".rstrip()


def size(count: float) -> str:
    """Write bytes with a decimal prefix: `602.1 kB`."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:.4g} {prefix}B"
    return f"{count:.0f} B"


def site_table(site: Site) -> Table:
    """Draw the devices of a site."""
    table = _table(
        f"Site: {site.name}", "device", "tier", "zone", "sees", "idle", "on anyway", "profile", right=["idle"]
    )
    for d in site.devices:
        zone = site.zone(d.zone)
        table.add_row(
            d.name,
            d.tier,
            f"{zone.name} ({zone.region})",
            zone.sees,
            amount(d.idle_w.value, "W"),
            "yes" if d.always_on else "no",
            d.profile.name,
        )
    return table


def plan_tables(plan: Plan) -> list[Table]:
    """Draw a plan: what runs where, who spends what, and how simpler placements compare."""
    return [_segments(plan), _ledger(plan), _baselines(plan)]


def verdict(plan: Plan, gap: float = OPTIMALITY_GAP) -> str:
    """Say in a line what was found, how far it is proven, and what would prove more than the gap that was asked for."""
    objective = plan.problem.objective
    factor, unit = per_inference(plan.problem, objective)
    value = shown(plan.objective * factor, unit)
    if unit != UNITS[objective]:
        total = shown(plan.objective, UNITS[objective])
        value = f"{value} per inference ({total} at {plan.flows[0].rate_hz:g} per second)"
    if plan.status == "optimal":
        return (
            f"Optimal: {value}; no placement within the rules does with less (proven within {max(plan.gap, 1e-9):.0e})."
        )
    found = f"Feasible: {value}; at best {plan.gap:.2%} less is possible."
    if plan.gap <= gap:
        return found
    return f"{found} The search was over, by its time or Ctrl-C, before more was proven: give a longer --time-limit."


def _segments(plan: Plan) -> Table:
    table = _table(
        "Plan", "flow", "device", "runs", "ops", "runs for", "starts", "then sends", right=["ops", "runs for", "starts"]
    )
    for flow in plan.flows[:FLOWS_LISTED]:
        share = {op.name: op.share for f in plan.problem.flows if f.name == flow.name for op in f.ops}
        kept = {whole_op(m.stage): m.cache for m in plan.models if m.flow == flow.name and m.cache is not None}
        for s in sorted(flow.segments, key=lambda s: s.start_s):
            own, taken = set(s.ops), max(share[op] for op in s.ops)
            seldom = [f"share {taken:.3g}"] if taken < 1 else []
            seldom += [f"hits {kept[op].hits:.3g}" for op in s.ops if op in kept]
            sent = [t for t in flow.transfers if t.source == s.device and _producer(plan, flow.name, t.tensor) in own]
            table.add_row(
                flow.name,
                s.device,
                _runs(plan, flow.name, s.ops),
                str(len(s.ops)),
                "\n".join([amount(s.seconds, "s"), *seldom]),
                f"+{amount(s.start_s, 's')}",
                ", ".join(f"{size(t.bytes)} to {t.target} ({amount(t.seconds, 's')})" for t in sent) or "-",
            )
        limit = f" of {amount(flow.deadline_s, 's')}" if flow.deadline_s is not None else ""
        table.add_row(
            flow.name, "", "result at the sink", "", "", f"+{amount(flow.latency_s, 's')}{limit}", "", end_section=True
        )
    return table


def _runs(plan: Plan, flow: str, ops: Sequence[str]) -> str:
    """Name what a segment runs by its first and last op, of which stage if the flow has several, and its conditions."""
    conditions = conditions_of(plan, flow)
    inside = [op for op in ops if op not in conditions]
    stages = sum(model.flow == flow for model in plan.models)
    text = f"{inside[0].partition('/')[0]}: " if inside and stages > 1 else ""
    text += " ... ".join(_short(op) for op in ([inside[0], inside[-1]] if len(inside) > 1 else inside))
    return ", ".join(filter(None, [text, *(op for op in ops if op in conditions)]))


def _producer(plan: Plan, flow: str, tensor: str) -> str:
    problem_flow = next(f for f in plan.problem.flows if f.name == flow)
    return next(t.producer for t in problem_flow.tensors if t.name == tensor)


def _short(op: str) -> str:
    return op.rpartition("/")[2]


def _ledger(plan: Plan) -> Table:
    single = len(plan.flows) == 1
    rate_hz = plan.flows[0].rate_hz
    unit = "J" if single and rate_hz > 0 else "W"
    factor = 1 / rate_hz if unit == "J" else 1.0
    title = "Joules per inference, above idle" if unit == "J" else "Average power of all flows, above idle"
    table = _table(title, "kind", "where", unit, "figures", right=[unit])
    spent: dict[tuple[str, str, str], list[float]] = {}
    for line in plan.ledger.marginal:
        where = " ".join(w for w in (line.link, f"({line.device})" if line.link and line.device else line.device) if w)
        spent.setdefault((line.kind, where, line.origin), []).append(line.power_w)
    for (kind, where, origin), watts in spent.items():
        table.add_row(kind, where, amount(fsum(watts) * factor, unit), origin)
    table.add_section()
    table.add_row("total, marginal", "", amount(plan.ledger.marginal_w * factor, unit), "")
    attributional = amount(plan.ledger.attributional_w * factor, unit)
    table.add_row("total, attributional", "with its part of idle power", attributional, "")
    return table


def _baselines(plan: Plan) -> Table:
    factor, unit = per_inference(plan.problem, plan.problem.objective)
    column = unit or "cost"
    table = _table(
        "Against simpler placements",
        "placement",
        column,
        "plan saves",
        "latency",
        "allowed",
        right=[column, "plan saves", "latency"],
    )
    table.add_row(
        "this plan",
        shown(plan.objective * factor, unit),
        "",
        ", ".join(amount(f.latency_s, "s") for f in plan.flows[:3]),
        "yes",
        end_section=True,
        style="bold",
    )
    for b in plan.baselines:
        if b.objective is None:
            table.add_row(b.name, "-", "-", "-", _refusal(b.broken))
            continue
        saved = f"{1 - plan.objective / b.objective:.1%}" if b.objective > 0 else "-"
        table.add_row(
            b.name,
            shown(b.objective * factor, unit),
            saved,
            ", ".join(amount(x, "s") for x in b.latency_s[:3]),
            _refusal(b.broken) if b.broken else "yes",
        )
    return table


def _refusal(broken: Sequence[str]) -> str:
    shown = "; ".join(broken[:_REASONS])
    return f"no: {shown}" + (f"; and {len(broken) - _REASONS} more" if len(broken) > _REASONS else "")


def run_table(rows: Sequence[Row]) -> Table:
    """Draw measured next to planned and predicted times, and of how many requests where rows differ in that."""
    rehearsed = any(r.predicted_s is not None for r in rows)
    names = ["what", "name", "where", "carries", "planned"] + (["predicted here"] if rehearsed else [])
    names += ["measured here", "p90"] + (["error"] if rehearsed else [])
    count = sum(r.requests for r in rows if r.kind == "flow")
    differ = len({r.requests for r in rows}) > 1
    names += ["requests"] if differ else []
    table = _table(f"Measured over {count} request{'s' if count != 1 else ''}", *names, right=names[3:])
    for r in rows:
        planned = "-" if r.planned_s is None else amount(r.planned_s, "s")
        cells = [r.kind, r.name, r.where, size(r.bytes) if r.bytes else "", planned]
        if rehearsed:
            cells.append("-" if r.predicted_s is None else amount(r.predicted_s, "s"))
        cells += [amount(r.measured_s, "s"), amount(r.measured_p90_s, "s")]
        if rehearsed:
            cells.append("-" if r.predicted_s is None else f"{(r.predicted_s - r.measured_s) / r.measured_s:+.0%}")
        if differ:
            cells.append(str(r.requests))
        table.add_row(*cells)
    return table
