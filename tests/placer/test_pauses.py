"""Pauses between requests: what a flow then takes is the plan's latency and the stalls of the transfer-time model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from placer.demo import plan_demo
from placer.pauses import pauses
from placer.solver.solve import solve
from placer.transfer_time import Path, settled_window_bytes, stall_s, wire_bytes
from profiles.energy import FRAMING

PLAN = plan_demo().plan


def slow(rate_hz: float, **link: Any):
    """Plan the demo with other links between camera and box, at another rate."""
    problem = PLAN.problem
    links = tuple(
        msgspec.structs.replace(k, **link) if {k.source, k.target} == {"camera", "box"} else k for k in problem.links
    )
    flows = tuple(msgspec.structs.replace(f, rate_hz=rate_hz, deadline_s=0.4) for f in problem.flows)
    return solve(msgspec.structs.replace(problem, links=links, flows=flows))


def test_a_short_way_holds_no_window_back() -> None:
    (found,) = pauses(PLAN)
    assert found.planned_s == PLAN.flows[0].latency_s
    # 15 ms and 2.5 MB/s hold 37 kB, but only 16 bytes go there; the gigabit wire holds 70 kB.
    assert found.paused_s == pytest.approx(found.planned_s, rel=0.1)


def test_pauses_cost_what_the_model_says() -> None:
    plan = slow(0.5, latency_s=0.03, bytes_per_s=12.5e6)
    (flow,), (found,) = plan.flows, pauses(plan)
    (big,) = (t for t in flow.transfers if t.target == "box")
    path = Path(round_trip_s=0.06, bytes_per_s=12.5e6 * FRAMING)
    sent = wire_bytes(big.bytes)
    window = settled_window_bytes(sent, path, 2 - sent / path.bytes_per_s)
    stall = stall_s(sent, path, window)
    assert stall > 0.1
    assert found.paused_s == pytest.approx(flow.latency_s + stall)
    assert found.first_s == pytest.approx(flow.latency_s + stall_s(sent, path, 15000))


def test_who_never_rests_pays_nothing() -> None:
    plan = slow(5.0, latency_s=0.03, bytes_per_s=12.5e6)
    (found,) = pauses(plan)
    assert found.paused_s == found.planned_s < found.first_s
