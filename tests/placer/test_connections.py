"""Connections: what flows take beside busy ones, by the transfer-time model added up by hand, and in which order."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import placer
from placer.demo import plan_demo
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from placer.report.notes import notes
from placer.transfer_time import CONNECT_S, Connections, settled_window_bytes, stall_s, wire_bytes
from placer.transfer_time import Path as Way
from placer.violations import Violation
from profiles import read_site
from profiles.energy import FRAMING
from tests.oracles.paused_problem import paused_problem

if TYPE_CHECKING:
    from pathlib import Path

PLAN = plan_demo().plan
ENDS = {"in": ("camera", "io"), "out": ("box", "io")}


def chained(link: dict[str, float], rate_hz: float, sizes: list[float], wait_w: float) -> ProblemIndex:
    """Three ops between a source on one device and a sink on the other; each can run on both."""
    names = ["in", "v0", "v1", "v2", "out"]
    ends = {"in": "a", "out": "b"}
    ops = [
        Op(
            name=n,
            options=(Option(device=ends[n], mode="io", seconds=0.0, joules=0.0),)
            if n in ends
            else tuple(Option(device=d, mode="m", seconds=0.01, joules=0.1) for d in "ab"),
        )
        for n in names
    ]
    tensors = [
        Tensor(name=f"t{i}", bytes=size, producer=names[i], consumers=(names[i + 1],)) for i, size in enumerate(sizes)
    ]
    links = tuple(Link(source=s, target=t, energy_j_per_byte=1e-8, **link) for s, t in ("ab", "ba"))
    return ProblemIndex(
        Problem(
            devices=(Device(name="a", wait_w=wait_w), Device(name="b")),
            links=links,
            flows=(Flow(name="f", rate_hz=rate_hz, ops=tuple(ops), tensors=tuple(tensors)),),
        )
    )


def with_link(rate_hz: float, **link: Any):
    """The demo with another link between camera and box, at another rate, and its plan's choice."""
    problem = PLAN.problem
    links = tuple(
        msgspec.structs.replace(k, **link) if {k.source, k.target} == {"camera", "box"} else k for k in problem.links
    )
    flows = tuple(msgspec.structs.replace(f, rate_hz=rate_hz) for f in problem.flows)
    index = ProblemIndex(msgspec.structs.replace(problem, links=links, flows=flows))
    return index, (index.choice_of(0, PLAN.flows[0].assignment),)


def latencies(index, choices):
    return [evaluate(index, choices, c).flows[0].latency_s for c in ("busy", "paused", "new", "closed")]


def test_each_state_adds_what_the_model_says():
    index, choices = with_link(0.5, latency_s=0.03, bytes_per_s=12.5e6)
    busy_s, paused_s, new_s, closed_s = latencies(index, choices)
    (big,) = (x for x in PLAN.flows[0].transfers if x.target == "box")
    path = Way(round_trip_s=0.06, bytes_per_s=12.5e6 * FRAMING)
    sent = wire_bytes(big.bytes)
    stall = stall_s(sent, path, settled_window_bytes(sent, path, 2 - sent / path.bytes_per_s))
    assert stall > 0.1
    assert paused_s == pytest.approx(busy_s + stall)
    assert new_s == pytest.approx(busy_s + stall_s(sent, path, 15000))
    # The result goes on from the box: a second connection.
    onward = sum(k.latency_s for k in index.links if {k.source, k.target} == {"box", "gpu"})
    assert closed_s == pytest.approx(new_s + 2 * 0.06 + 2 * onward + 2 * CONNECT_S)


CHAINS = st.builds(
    chained,
    link=st.fixed_dictionaries({"latency_s": st.floats(0, 0.2), "bytes_per_s": st.floats(1e4, 1e8)}),
    rate_hz=st.sampled_from([0.0, 0.1, 0.5, 2.0, 20.0]),
    sizes=st.lists(st.floats(0, 2e6), min_size=4, max_size=4),
    wait_w=st.sampled_from([0.0, 0.7]),
)


@given(index=CHAINS, place=st.lists(st.integers(0, 1), min_size=3, max_size=3))
def test_no_state_is_quicker_than_a_busier_one_and_waiting_costs_what_it_takes(index, place):
    choices = ((0, *place, 0),)
    found = {state: evaluate(index, choices, state) for state in get_args(Connections)}
    busy, paused, new, closed = (found[state].flows[0] for state in ("busy", "paused", "new", "closed"))
    assert busy.latency_s <= paused.latency_s <= new.latency_s + 1e-9
    assert new.latency_s <= closed.latency_s
    # The link's round trip and its rate, of bytes as IP counts them, hold no more than a first window.
    if 2 * index.links[0].latency_s * index.links[0].bytes_per_s * FRAMING <= 15000:
        assert paused.latency_s == new.latency_s == busy.latency_s
    for state in (paused, new, closed):
        longer_s = state.latency_s - busy.latency_s
        assert state.energy_j - busy.energy_j == pytest.approx(index.devices[0].wait_w * longer_s, abs=1e-9)
        assert (state.medium_s, state.device_s) == (busy.medium_s, busy.device_s)


def test_deadlines_and_objective_are_those_of_the_state():
    index = ProblemIndex(paused_problem(0.3))
    choices = (index.choice_of(0, dict.fromkeys("abc", ("box", "cpu")) | ENDS),)
    assert evaluate(index, choices).feasible
    late = evaluate(index, choices, "paused")
    assert [v.rule for v in late.violations] == ["deadline_s of flow 'inspect'"]
    assert late.violations[0].value == late.flows[0].latency_s
    quick = msgspec.structs.replace(index.problem, objective="latency_s")
    assert evaluate(ProblemIndex(quick), choices, "paused").objective == late.flows[0].latency_s


def test_a_deadline_after_pauses_is_judged_whatever_the_state():
    index = ProblemIndex(paused_problem(1.0, deadline_after_pauses_s={"inspect": 0.3}))
    choices = (index.choice_of(0, dict.fromkeys("abc", ("box", "cpu")) | ENDS),)
    paused_s = evaluate(index, choices, "paused").flows[0].latency_s
    for state in get_args(Connections):
        (broken,) = evaluate(index, choices, state).violations
        assert broken == Violation("deadline_after_pauses_s of flow 'inspect'", paused_s, 0.3)


def test_tensors_that_leave_together_are_one_message_held_back_once():
    one = chained({"latency_s": 0.03, "bytes_per_s": 12.5e6}, 0.5, [400e3, 0, 0, 0], 0.0).problem
    (flow,) = one.flows
    whole = next(t for t in flow.tensors if t.name == "t0")
    halves = tuple(msgspec.structs.replace(whole, name=f"half{i}", bytes=200e3) for i in range(2))
    split = msgspec.structs.replace(flow, tensors=(*halves, *(t for t in flow.tensors if t is not whole)))
    index = ProblemIndex(msgspec.structs.replace(one, flows=(split,)))
    choices = ((0, 1, 1, 1, 0),)
    assert latencies(index, choices) == pytest.approx(latencies(ProblemIndex(one), choices))
    held = [x.held_s for x in evaluate(index, choices, "paused").flows[0].layout.transfers]
    assert held[0] > 0.1
    assert held[1] == 0


def test_data_that_come_seldom_find_what_longer_pauses_left():
    index = chained({"latency_s": 0.1, "bytes_per_s": 12.5e6}, 2.0, [400e3, 0, 0, 0], 0.0)
    (flow,) = index.problem.flows
    seldom = tuple(op if op.name == "in" else msgspec.structs.replace(op, share=0.2) for op in flow.ops)
    rarely = ProblemIndex(msgspec.structs.replace(index.problem, flows=(msgspec.structs.replace(flow, ops=seldom),)))
    choices = ((0, 1, 1, 1, 0),)
    often_s, seldom_s = (evaluate(i, choices, "paused").flows[0].latency_s for i in (index, rarely))
    # One timeout of 0.4 s passes between two requests a second, six where one in five goes on.
    assert seldom_s > often_s + 0.2


def test_a_site_s_plan_is_in_time_after_pauses(tmp_path: Path):
    with as_file(files("placer.demo_data")) as folder:
        shutil.copy(folder / "orientation.onnx", tmp_path)
        text = (folder / "site.yaml").read_text(encoding="utf-8")
    for old, new in (("0.0003", "0.03"), ("rate_hz: 2", "rate_hz: 0.5"), ("deadline_s: 0.25", "deadline_s: 0.12")):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "site.yaml").write_text(text, encoding="utf-8")
    built, _ = placer.build_site(read_site(tmp_path / "site.yaml"))
    usual, plan = placer.solve(built.problem), placer.plan_site(tmp_path / "site.yaml")
    assert usual.flows[0].devices == ("camera", "box")
    assert plan.flows[0].devices == ("camera",)
    assert plan.problem.limits.deadline_after_pauses_s == {"inspect": 0.12}
    for old_or_new, late in ((usual, True), (plan, False)):
        index = ProblemIndex(old_or_new.problem)
        (found,) = evaluate(index, (index.choice_of(0, old_or_new.flows[0].assignment),), "paused").flows
        assert (found.latency_s > 0.12) == late
        assert old_or_new.flows[0].latency_s < 0.12
    assert plan.bound >= usual.bound
    assert any("the deadline of 120 ms of flow 'inspect' only without such pauses" in note for note in notes(plan))
