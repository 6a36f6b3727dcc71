"""The fallbacks of a plan as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from placer.report.tables import amount

if TYPE_CHECKING:
    from placer.plan import Plan


def fallback_table(plan: Plan) -> Table:
    """Show, for each device and link that the plan passes, what serves without it and what cannot be served."""
    table = Table(title="While something is lost", title_justify="left")
    for column in ("lost", "flow", "then runs on", "latency", "J per inference", "proof"):
        table.add_column(
            column, justify="right" if column in ("latency", "J per inference") else "left", overflow="fold"
        )
    for fallback in plan.fallbacks:
        for flow in fallback.flows:
            proof = fallback.status if fallback.status == "optimal" else f"gap {fallback.gap:.2%}"
            row = (flow.name, " then ".join(flow.devices), amount(flow.latency_s, "s"), amount(flow.energy_j, "J"))
            table.add_row(fallback.name, *row, proof)
        for unserved in fallback.unserved:
            table.add_row(fallback.name, unserved.flow, f"cannot be served: {unserved.reason}")
    return table
