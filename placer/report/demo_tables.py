"""Draws the demo's story for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from placer.report.tables import amount, plan_tables, run_table, site_table, verdict

if TYPE_CHECKING:
    from placer.demo import Planned, Ran
    from placer.plan import Plan


def demo_tables(planned: Planned) -> list[Any]:
    """Draw what is known before anything runs."""
    return [site_table(planned.site), *plan_tables(planned.plan), verdict(planned.plan), _privacy(planned), ""]


def demo_verdicts(planned: Planned, ran: Ran) -> list[Any]:
    """Draw what the run showed."""
    turned = ", ".join(f"{turned} -> {said}" for turned, said in ran.answers.items())
    equal = "bit for bit" if ran.largest_difference == 0 else f"within {ran.largest_difference:.1e} relative"
    return [
        run_table(ran.rows),
        "Planned: the site's devices and links, from their profiles. Predicted here: this machine, from its parts "
        "measured alone before the run.",
        f"Results: the cut model's {ran.requests} outputs equal the whole model's {equal}.",
        f"The page turned by {turned}: {ran.right} of {ran.requests} right.",
        f"Three agents served {planned.plan.name!r} on this machine and are stopped.",
    ]


def _privacy(planned: Planned) -> str:
    free, plan = planned.without_privacy, planned.plan
    return (
        f"Without the privacy rules: {_places(free)}, {amount(free.energy_j, 'J')} per inference. "
        f"With them: {_places(plan)}, {amount(plan.energy_j, 'J')}."
    )


def _places(plan: Plan) -> str:
    (flow,) = plan.flows
    return " then ".join(flow.devices)
