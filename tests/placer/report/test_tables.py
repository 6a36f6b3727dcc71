"""Tables say what the plan says, in amounts that people can read."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from placer.demo import plan_demo
from placer.deployment.compare import Row
from placer.plan import Baseline
from placer.report.demo_tables import demo_tables
from placer.report.notes import notes
from placer.report.tables import amount, plan_tables, run_table, size, verdict


@pytest.fixture(scope="module")
def planned():
    return plan_demo()


def drawn(*renderables: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=240, markup=False, emoji=False)
    for renderable in renderables:
        console.print(renderable)
    return out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 J"),
        (0.05671, "56.71 mJ"),
        (1.0, "1 J"),
        (12.3456, "12.35 J"),
        (3e-6, "3 uJ"),
        (-0.002, "-2 mJ"),
        (4e-9, "4 nJ"),
        (4e-12, "4e-12 J"),
    ],
)
def test_amounts(value, text):
    assert amount(value, "J") == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (16, "16 B"), (602112, "602.1 kB"), (1e9, "1 GB")])
def test_sizes(count, text):
    assert size(count) == text


def test_the_demos_tables_hold_its_numbers(planned):
    text = drawn(*demo_tables(planned))
    plan = planned.plan
    for wanted in (
        amount(plan.energy_j, "J"),
        "camera then box",
        "Without the privacy rules: box",
        "everything on the source",
        "zone 'factory floor' sees at most 'features', not 'personal'",
        "total, marginal",
    ):
        assert wanted in text
    assert verdict(plan) in " ".join(text.split())


def test_a_gap_and_a_latency_are_said_as_what_they_are(planned):
    plan = msgspec.structs.replace(planned.plan, status="feasible", gap=0.0312)
    assert verdict(plan, gap=0.05).endswith("; at best 3.12% less is possible.")
    assert verdict(plan).endswith("% less is possible. The search was over, by its time or Ctrl-C, before more was "
                                  "proven: give a longer --time-limit.")  # fmt: skip
    fast = msgspec.structs.replace(
        plan, objective=0.02, problem=msgspec.structs.replace(plan.problem, objective="latency_s")
    )
    assert verdict(fast).startswith("Feasible: 20 ms;")
    header = next(line for line in drawn(*plan_tables(fast)).splitlines() if "plan saves" in line)
    assert [cell.strip() for cell in header.strip("┃ ").split("┃")][:2] == ["placement", "s"]


def test_a_segment_that_runs_on_some_requests_alone_says_on_which_share(planned):
    plan = planned.plan
    seldom = set(plan.flows[0].segments[1].ops)
    (flow,) = plan.problem.flows
    ops = tuple(msgspec.structs.replace(op, share=1 / 15) if op.name in seldom else op for op in flow.ops)
    problem = msgspec.structs.replace(plan.problem, flows=(msgspec.structs.replace(flow, ops=ops),))
    text = drawn(*plan_tables(msgspec.structs.replace(plan, problem=problem)))
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines()]
    (below,) = (i for i, cells in enumerate(lines) if "share 0.0667" in cells)
    # Its own line is that of the second segment; the first runs on every request.
    assert lines[below - 1][:2] == ["inspect", plan.flows[0].segments[1].device]
    assert lines[below][4] == "share 0.0667"


def test_many_broken_rules_are_counted_and_not_listed(planned):
    many = Baseline(name="all at once", objective=1.0, latency_s=(1.0,), broken=("one", "two", "three", "four"))
    none = Baseline(name="nowhere", objective=None, broken=("five",))
    text = drawn(*plan_tables(msgspec.structs.replace(planned.plan, baselines=(many, none))))
    assert "no: one; two; and 2 more" in text
    assert "no: five" in text


def test_many_flows_are_listed_in_part_and_their_watts_summed(planned):
    plan = planned.plan
    lines = tuple(
        msgspec.structs.replace(line, flow=f"inspect-{i}", power_w=line.power_w / 30)
        for i in range(30)
        for line in plan.ledger.marginal
    )
    ledger = msgspec.structs.replace(plan.ledger, marginal=lines)
    many = msgspec.structs.replace(plan, flows=plan.flows * 30, ledger=ledger)
    text = drawn(*plan_tables(many), *notes(many))
    assert text.count("result at the sink") == 20
    assert "segments of the first 20 of 30 flows are listed" in text
    watts = next(x.power_w for x in plan.ledger.marginal if x.link == "camera->box")
    row = next(line for line in text.splitlines() if "camera->box" in line)
    assert amount(watts, "W") in row
    assert "fitted: fitted to measurements; spec: of the maker's data sheet." in text
    assert "measured:" not in text


def test_measured_times_stand_beside_planned_ones():
    row = Row(
        kind="segment", name="f/0", where="box", planned_s=0.01, predicted_s=None, measured_s=0.02,
        measured_p90_s=0.03, bytes=1000, requests=7,
    )  # fmt: skip
    flow = msgspec.structs.replace(row, kind="flow", name="f")
    part = msgspec.structs.replace(flow, name="f, in part", planned_s=None, requests=2)
    text = drawn(run_table([row, flow, part]))
    assert "Measured over 9 requests" in text
    assert "requests ┃" in text
    assert [line.strip("│ ").split()[-1] for line in text.splitlines() if line.startswith("│")] == ["7", "7", "2"]
    assert "requests ┃" not in drawn(run_table([row, flow]))
    assert "predicted" not in text
    text = drawn(run_table([msgspec.structs.replace(row, predicted_s=0.025)]))
    assert "+25%" in text
