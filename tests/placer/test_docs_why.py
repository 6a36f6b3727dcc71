"""docs/why.md shows what the commands say today: its figures are computed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer import demo_data
from placer.planning import build_site
from placer.report.tables import shown
from placer.report.why_tables import sensitivity_table
from placer.rules import deadline, with_limit
from placer.solver.solve import solve
from placer.why.pareto import pareto
from placer.why.sensitivity import sensitivity
from profiles import read_site

TEXT = " ".join((Path(__file__).parents[2] / "docs" / "why.md").read_text().split())
SITE = (Path(demo_data.__file__).parent / "site.yaml").read_text()


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """What is built of the demo's site with 20 Mbit/s between camera and box."""
    folder = tmp_path_factory.mktemp("site")
    fast = "profile: ethernet_1g, "
    assert SITE.count(fast) == 1
    changed = SITE.replace(fast, fast + "bandwidth_up_bps: 2e7, bandwidth_down_bps: 2e7, ")
    (folder / "site.yaml").write_text(changed)
    (folder / "orientation.onnx").write_bytes(demo_data.MODEL.read_bytes())
    return build_site(read_site(folder / "site.yaml"))[0]


def per_inference(problem, watts: float) -> str:
    return shown(watts / problem.flows[0].rate_hz, "J")


def test_the_front(slow):
    slow = slow.problem
    front = pareto(slow, "energy_j", "latency_s")
    assert len(front) == 4
    for joules, seconds in front.values:
        assert f"│ {per_inference(slow, joules)} │ {shown(seconds, 's')} " in TEXT


def test_what_the_rules_and_the_deadline_cost(slow):
    problem = with_limit(slow.problem, deadline("inspect"), 0.15)
    explained = solve(problem).explain()
    assert f"(the plan: {per_inference(problem, explained.value)})" in TEXT
    assert f"+{per_inference(problem, explained.segments[1].all_free.extra)} on camera" in TEXT
    (cost,) = explained.rules
    assert f"│ {cost.rule} │ {per_inference(problem, cost.saved)} │" in TEXT
    named = [slow.meanings.get(rule, rule) for rule in explained.together]
    # The cell is too narrow for all of it, so that the row's figure stands between its two lines.
    together = f"together: {'; '.join(named)}"
    first, rest = together[: together.index("most")].strip(), together[together.index("most") :]
    assert f"{first} │ {per_inference(problem, explained.together_saved)} │ │ {rest} │" in TEXT
    for title in sensitivity_table(problem, [sensitivity(problem, deadline("inspect"))]).columns:
        assert f" {title.header} " in TEXT
    worth = sensitivity(problem, deadline("inspect"))
    for step in (worth.tighter, worth.looser):
        assert f"{shown(step.limit, 's')}: " in TEXT
        assert f"{per_inference(problem, abs(step.objective - worth.value))} (" in TEXT
