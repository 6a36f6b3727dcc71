"""Plans judged anew: one that holds stands, and what a change saves is what `evaluate` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from placer.measuring.replan import replan
from profiles import read_site
from tests.placer.measuring.demo_evidence import PLAN, SITE, as_planned, rewritten

if TYPE_CHECKING:
    from pathlib import Path


def test_a_plan_stands_while_nothing_has_changed() -> None:
    result = replan(SITE, PLAN)
    assert not result.changes
    assert result.saved == 0
    assert result.kept.objective == pytest.approx(PLAN.objective)
    assert result.kept.broken == ()


def test_a_slow_box_changes_the_plan_and_the_saving_is_evaluate_s(tmp_path: Path) -> None:
    result = replan(read_site(rewritten(tmp_path, as_planned(box=6.0))), PLAN)
    assert result.changes
    assert result.kept.objective is not None
    assert result.saved == pytest.approx(result.kept.objective - result.plan.objective)
    assert 0 < result.saved < result.kept.objective
    assert result.kept.objective > PLAN.objective
    assert result.moved.keys() == {"inspect"}


def test_a_plan_that_now_breaks_its_deadline_is_told(tmp_path: Path) -> None:
    path = rewritten(tmp_path, as_planned(box=6.0))
    path.write_text(path.read_text().replace("deadline_s: 0.25", "deadline_s: 0.05"), encoding="utf-8")
    result = replan(read_site(path), PLAN)
    assert result.changes
    assert result.kept.latency_s[0] > 0.05 > result.plan.flows[0].latency_s
    rule, paused = result.kept.broken
    assert rule.startswith("deadline_s of flow 'inspect' (0.0")
    assert rule.endswith("where 0.05 is allowed)")
    # As the new plan is, the one that is there is judged by what pauses leave of it too.
    assert paused.startswith("deadline_s of flow 'inspect' after pauses (0.0")


def test_rules_are_kept_where_that_costs_more() -> None:
    zones = tuple(msgspec.structs.replace(z, sees="public") if z.name == "factory floor" else z for z in SITE.zones)
    result = replan(msgspec.structs.replace(SITE, zones=zones), PLAN)
    assert result.changes
    assert result.saved < 0
    assert any("zone 'factory floor' sees at most 'public'" in rule for rule in result.kept.broken)


def test_a_plan_whose_device_is_gone_cannot_be_run() -> None:
    devices = tuple(
        msgspec.structs.replace(d, modes=tuple(m for m in d.modes if m.numeric != "fp32")) if d.name == "box" else d
        for d in SITE.devices
    )
    result = replan(msgspec.structs.replace(SITE, devices=devices), PLAN)
    assert result.changes
    assert result.kept.objective is None
    assert "has no option ('box', 'gpu-fp32')" in result.kept.broken[0]
