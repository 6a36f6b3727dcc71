"""A conflict is a set of rules that cannot hold together, and no smaller one: brute force agrees."""

from __future__ import annotations

import random
import re

import msgspec
import pytest

from placer import rules
from placer.errors import Infeasible
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from placer.solver.conflict import find_conflict
from placer.solver.solve import solve
from tests.oracles.brute_force import brute_force, with_caps
from tests.oracles.random_problem import random_problem

replace = msgspec.structs.replace


def _infeasible(count: int) -> list[Problem]:
    found = []
    seed = 0
    while len(found) < count:
        rng = random.Random(seed)
        problem = with_caps(random_problem(seed, ops=3, flows=1 + seed % 2 if seed % 5 == 0 else 1), rng)
        seed += 1
        if brute_force(problem) is None:
            found.append(problem)
    return found


@pytest.mark.parametrize("problem", _infeasible(20))
def test_no_rule_of_a_conflict_can_be_left_out(problem: Problem) -> None:
    conflict = find_conflict(problem)
    if conflict[0].startswith("the links"):
        assert brute_force(rules.without(problem, rules.names(problem))) is None
        return
    innocent = set(rules.names(problem)) - set(conflict)
    assert brute_force(rules.without(problem, innocent)) is None
    for rule in conflict:
        assert brute_force(rules.without(problem, innocent | {rule})) is not None, rule


def _two_rules() -> Problem:
    """The camera is too slow for the deadline, and the frame must not be on the box."""
    return Problem(
        devices=(Device(name="camera", max_utilization=1e9), Device(name="box", max_utilization=1e9)),
        links=(Link(source="camera", target="box", latency_s=0.0, bytes_per_s=1e6, energy_j_per_byte=0.0),),
        flows=(
            Flow(
                name="f",
                deadline_s=0.5,
                ops=(
                    Op(name="in", options=(Option(device="camera", mode="io", seconds=0.0, joules=0.0),)),
                    Op(
                        name="net",
                        options=tuple(
                            Option(device=d, mode="m", seconds=s, joules=1.0)
                            for d, s in (("camera", 1.0), ("box", 0.1))
                        ),
                    ),
                ),
                tensors=(Tensor(name="frame", bytes=10.0, producer="in", consumers=("net",), not_on=("box",)),),
            ),
        ),
    )


def test_solve_names_the_rules_that_meet_head_on() -> None:
    with pytest.raises(Infeasible) as refusal:
        solve(_two_rules())
    assert set(refusal.value.conflict) == {rules.deadline("f"), rules.kept_off("f", "box")}


def test_an_op_that_nobody_can_run_is_named() -> None:
    problem = _two_rules()
    (flow,) = problem.flows
    problem = replace(problem, flows=(replace(flow, ops=(flow.ops[0], replace(flow.ops[1], options=()))),))
    with pytest.raises(Infeasible, match=re.escape("op 'net' of flow 'f' has no option")):
        solve(problem)


def test_missing_links_are_named_where_no_rule_is_to_blame() -> None:
    problem = _two_rules()
    (flow,) = problem.flows
    far = replace(flow.ops[1], options=flow.ops[1].options[1:])
    problem = replace(problem, links=(), flows=(replace(flow, ops=(flow.ops[0], far)),))
    words = "the links: none lead from 'camera', where flow 'f' has 'frame', to 'box', where 'net' can run"
    with pytest.raises(Infeasible, match=words):
        solve(problem)


@pytest.mark.parametrize("lost", ["left", "right"])
def test_where_branches_get_to_no_common_place_each_is_named_with_where_it_gets(lost: str) -> None:
    """Two sources and an op that may run on either or on the box: whose link is lost has no way on."""
    devices = ("left", "right", "box")
    link = Link(source="left", target="box", latency_s=0.0, bytes_per_s=1e6, energy_j_per_byte=0.0)

    def op(name: str, *places: str) -> Op:
        return Op(name=name, options=tuple(Option(device=d, mode="m", seconds=0.0, joules=0.0) for d in places))

    flow = Flow(
        name="f",
        rate_hz=1.0,
        ops=(op("a", "left"), op("b", "right"), op("join", *devices), op("out", "box")),
        tensors=(
            Tensor(name="from_left", bytes=1.0, producer="a", consumers=("join",)),
            Tensor(name="from_right", bytes=1.0, producer="b", consumers=("join",)),
            Tensor(name="result", bytes=1.0, producer="join", consumers=("out",)),
        ),
    )
    joined = Problem(
        devices=tuple(Device(name=d, max_utilization=1e9) for d in devices),
        links=tuple(replace(link, source=d) for d in ("left", "right")),
        flows=(flow,),
    )
    assert solve(joined).flows
    (words,) = find_conflict(replace(joined, links=tuple(k for k in joined.links if k.source != lost)))
    ways = {d: f"'from_{d}' from '{d}' to " + (f"'{d}'" if d == lost else f"'box', '{d}'") for d in devices[:2]}
    assert words == (
        "the links: they bring what 'join' of flow 'f' reads to no one device that can run it: "
        f"{ways['left']}; {ways['right']}"
    )


@pytest.mark.parametrize("runs", [False, True])
def test_a_link_is_a_way_out_too_where_data_would_have_to_pass_a_third_device(runs: bool) -> None:
    problem = _two_rules()
    (flow,), (link,) = problem.flows, problem.links
    if runs:
        source, net = flow.ops
        on_gpu = replace(net.options[1], device="gpu")
        flow = replace(flow, ops=(source, replace(net, options=(*net.options, on_gpu))))
    ends = [("camera", "box"), ("box", "gpu"), ("box", "camera")]
    problem = replace(
        problem,
        devices=(*problem.devices, Device(name="gpu", max_utilization=1e9)),
        links=tuple(replace(link, source=a, target=b) for a, b in ends),
        flows=(flow,),
    )
    with pytest.raises(Infeasible) as refusal:
        solve(problem)
    hint = "A link that is missing may do as well, from 'camera' to 'gpu': data go over one link, never on"
    # A link to where nothing of it can run, or from where none of it arises, is no way out.
    assert (hint in str(refusal.value)) == ("A link that is missing" in str(refusal.value)) == runs
    if runs:
        assert solve(replace(problem, links=(*problem.links, replace(link, target="gpu")))).flows
