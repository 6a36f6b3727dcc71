"""The ledger of any choice on any problem: its lines add up to the objective, none is negative, and the views agree."""

from __future__ import annotations

import random
from math import fsum
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.ledger import make_ledger
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from placer.plan import LedgerLine


def drawn(seed: int) -> tuple[ProblemIndex, list[tuple[int, ...]], dict[str, float]]:
    """Draw a problem that minimizes joules, a choice for each flow, and facilities around some devices."""
    rng = random.Random(seed)
    problem = random_problem(rng.getrandbits(32), flows=rng.choice([1, 2, 3]), modes=rng.choice([1, 2]), shares=True)
    index = ProblemIndex(problem)
    choices = [tuple(rng.randrange(len(options)) for options in flow.options) for flow in index.flows]
    pue = {d.name: 1 + rng.random() for d in problem.devices if rng.random() < 0.5}
    return index, choices, pue


def by_device(lines: tuple[LedgerLine, ...], device: str) -> float:
    return fsum(line.power_w for line in lines if line.device == device)


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_lines_add_up_to_the_objective_and_views_agree(seed: int) -> None:
    index, choices, pue = drawn(seed)
    evaluation = evaluate(index, choices)
    ledger = make_ledger(index, evaluation, pue=pue)

    assert ledger.marginal_w == fsum(line.power_w for line in ledger.marginal)
    assert ledger.attributional_w == fsum(line.power_w for line in ledger.attributional)
    assert ledger.marginal_w == pytest.approx(evaluation.objective, rel=1e-12, abs=1e-15)

    assert all(line.power_w >= 0 for line in ledger.attributional)
    assert all(line.energy_j is None or line.energy_j >= 0 for line in ledger.attributional)
    for line in ledger.attributional:
        if line.energy_j is not None:
            rate_hz = next(f.flow.rate_hz for f in index.flows if f.name == line.flow)
            assert line.power_w == pytest.approx(rate_hz * line.energy_j)

    for i, device in enumerate(index.devices):
        marginal_w = by_device(ledger.marginal, device.name)
        attributional_w = by_device(ledger.attributional, device.name)
        if device.always_on:
            assert marginal_w <= attributional_w
            shared_w = (device.idle_w or 0.0) * min(1.0, evaluation.device_utilization[i])
            assert attributional_w - marginal_w == pytest.approx(shared_w, rel=1e-9, abs=1e-12)
        else:
            # On for this plan alone: the plan owns it, and all of its idle power in both views.
            assert marginal_w == attributional_w


@given(st.integers(0, 2**32))
@settings(max_examples=50)
def test_a_facility_adds_nothing_it_only_shows(seed: int) -> None:
    index, choices, pue = drawn(seed)
    evaluation = evaluate(index, choices)
    bare, split = make_ledger(index, evaluation), make_ledger(index, evaluation, pue=pue)
    assert split.attributional_w == pytest.approx(bare.attributional_w)
    for device, factor in pue.items():
        facility_w = fsum(x.power_w for x in split.attributional if x.device == device and x.kind == "facility")
        assert facility_w == pytest.approx(by_device(bare.attributional, device) * (1 - 1 / factor), abs=1e-15)
