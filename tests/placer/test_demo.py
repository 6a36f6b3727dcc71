"""The demo's plan, and what it counts as an equal result; its run is tested end to end."""

from __future__ import annotations

import math

import numpy as np
import pytest

from placer.demo import FLOW, REQUESTS, TOLERANCE, _difference, plan_demo


def test_privacy_changes_the_plan_and_is_kept():
    said: list[str] = []
    planned = plan_demo(said.append)
    plan, free = planned.plan, planned.without_privacy
    assert plan.status == free.status == "optimal"
    assert plan.flow(FLOW).devices == ("camera", "box")
    assert free.flow(FLOW).devices == ("box",)
    assert free.energy_j < plan.energy_j
    held = {(t.tensor, t.target) for t in plan.flow(FLOW).transfers}
    assert not {(t.name, d) for t in plan.problem.flows[0].tensors for d in t.not_on} & held
    assert any(line.startswith("reading orientation.onnx") for line in said)
    assert plan_demo().plan == plan


def test_every_angle_is_sent_equally_often():
    assert REQUESTS >= 20
    assert REQUESTS % 4 == 0


@pytest.mark.parametrize(
    ("result", "difference"),
    [
        ([1.0, 2.0], 0.0),
        ([1.0, 2.0002], 1e-4),
        ([1.0, math.nan], math.inf),
        ([1.0], math.inf),
        ([1, math.inf], math.inf),
    ],
)
def test_a_result_is_compared_with_the_largest_value(result, difference):
    found = _difference(np.array(result, np.float64), np.array([1.0, 2.0]))
    assert found == pytest.approx(difference, rel=1e-6)
    assert (found <= TOLERANCE * 1.001) == (difference <= TOLERANCE)
