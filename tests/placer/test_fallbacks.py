"""Fallbacks: what is lost is not used, who is not concerned stays, no rule gives, and what cannot be served is said."""

from __future__ import annotations

import msgspec
import pytest

from placer.fallbacks import add_fallbacks, losses, variant, warm
from placer.index import ProblemIndex
from placer.plan import decode_plan, encode_plan
from placer.problem import Problem
from placer.solver.solve import solve
from tests.oracles.brute_force import all_evaluations
from tests.oracles.random_problem import random_problem

JOULES = {"camera": 0.3, "box": 0.1, "gpu": 0.2}
MBYTE = 1e6


def flow(name: str, source: str = "camera", sink: str = "box", *, not_on=(), home=JOULES) -> dict:
    """One op that any device can run: the box for the least joules, then the GPU, then the camera."""
    return {
        "name": name,
        "rate_hz": 1,
        "deadline_s": 1.0,
        "ops": [
            {"name": "source", "options": [{"device": source, "mode": "io", "seconds": 0, "joules": 0}]},
            {
                "name": "m/op",
                "weights_bytes": 10 * MBYTE,
                "weights_id": f"{name}/op",
                "options": [{"device": d, "mode": "cpu", "seconds": 0.1, "joules": j} for d, j in home.items()],
            },
            {"name": "sink", "options": [{"device": sink, "mode": "io", "seconds": 0, "joules": 0}]},
        ],
        "tensors": [
            {"name": "m/x", "bytes": 1000, "producer": "source", "consumers": ["m/op"], "not_on": list(not_on)},
            {"name": "m/y", "bytes": 10, "producer": "m/op", "consumers": ["sink"]},
        ],
    }


def problem(*flows: dict, memory_bytes: float = 1e9, **limits) -> Problem:
    devices = ["camera", "box", "gpu", "far"]
    return msgspec.convert(
        {
            "devices": [{"name": d, "memory_bytes": memory_bytes} for d in devices],
            "links": [
                {"from": a, "to": b, "latency_s": 0.001, "bytes_per_s": 1e6, "energy_j_per_byte": 1e-9}
                for a in devices
                for b in devices
                if a != b
            ],
            "flows": list(flows),
            "limits": limits,
        },
        Problem,
    )


def places(plan, lost) -> dict[str, str]:
    fallback = next(f for f in plan.fallbacks if f.lost == lost)
    return {f.name: f.assignment["m/op"][0] for f in fallback.flows}


def test_each_loss_has_the_best_plan_without_it():
    plan = add_fallbacks(solve(problem(flow("look", sink="far"))))
    assert plan.flows[0].assignment["m/op"][0] == "box"
    assert [f.lost for f in plan.fallbacks] == [("camera",), ("box",), ("far",), ("camera", "box"), ("box", "far")]
    assert list(losses(plan)) == [f.lost for f in plan.fallbacks]
    assert places(plan, ("box",)) == places(plan, ("camera", "box")) == places(plan, ("box", "far")) == {"look": "gpu"}
    assert all(f.status == "optimal" for f in plan.fallbacks if f.flows)
    assert {(u.flow, u.reason) for f in plan.fallbacks for u in f.unserved} == {
        ("look", "its data arise on 'camera'"),
        ("look", "its result is needed on 'far'"),
    }
    again = decode_plan(encode_plan(plan))
    assert again == plan
    assert again.identity == msgspec.structs.replace(plan, fallbacks=()).identity


def test_flows_that_do_not_pass_what_is_lost_stay_and_are_counted():
    # Both would go to the GPU without the box; there is no room for two, and the second is none of the box's.
    plan = solve(
        problem(
            flow("look", sink="far"), flow("hear", sink="far", home={"gpu": 0.1, "far": 0.5}), memory_bytes=15 * MBYTE
        )
    )
    plan = add_fallbacks(plan)
    assert {f.name: f.assignment["m/op"][0] for f in plan.flows} == {"look": "box", "hear": "gpu"}
    assert places(plan, ("box",)) == {"look": "camera"}
    fallback = next(f for f in plan.fallbacks if f.lost == ("box",))
    assert fallback.objective == pytest.approx(0.3 + 0.1 + 1010e-9 + 20e-9, rel=0.01)
    assert places(plan, ("gpu",)) == {"hear": "far"}


def test_rules_are_not_relaxed_and_what_cannot_be_served_is_listed():
    strict = flow("look", sink="far", not_on=["gpu", "far"], home={"box": 0.1, "gpu": 0.2, "far": 0.2})
    plan = add_fallbacks(solve(problem(strict, flow("hear", sink="far"))))
    fallback = next(f for f in plan.fallbacks if f.lost == ("box",))
    assert [f.name for f in fallback.flows] == ["hear"]
    ((name, reason),) = [(u.flow, u.reason) for u in fallback.unserved]
    assert name == "look"
    assert "look" in reason


@pytest.mark.parametrize("seed", range(12))
def test_fallbacks_are_the_best_of_all_choices_that_avoid_what_is_lost(seed):
    whole = random_problem(seed, devices=3, ops=3, flows=2, scarce=0.0)
    plan = add_fallbacks(solve(whole))
    index = ProblemIndex(whole)
    every = [(choices, found) for choices, found in all_evaluations(whole) if found.feasible]
    for fallback in plan.fallbacks:
        if fallback.unserved or not fallback.flows:
            continue
        changed = {f.name for f in fallback.flows}
        best = min(
            found.objective
            for choices, found in every
            if all(
                name in changed or index.assignment_of(i, choices[i]) == plan.flows[i].assignment
                for i, name in enumerate(f.name for f in plan.flows)
            )
            and not any(_uses(index, i, choices[i], found.flows[i], fallback.lost) for i in range(len(choices)))
        )
        assert fallback.objective == pytest.approx(best, rel=1e-6)


def _uses(index, position, choice, result, lost) -> bool:
    names = [d.name for d in index.devices]
    if len(lost) == 1:
        return lost[0] in {device for device, _ in index.assignment_of(position, choice).values()}
    return any({names[x.source], names[x.target]} == set(lost) for x in result.layout.transfers)


def test_two_devices_that_lose_their_only_link_are_both_there():
    home = {"camera": 0.3, "box": 0.1}
    whole = problem(flow("look", sink="camera", home=home))
    pair = msgspec.structs.replace(
        whole,
        devices=whole.devices[:2],
        links=tuple(link for link in whole.links if {link.source, link.target} == {"camera", "box"}),
    )
    plan = add_fallbacks(solve(pair))
    assert plan.flows[0].assignment["m/op"][0] == "box"
    assert places(plan, ("camera", "box")) == places(plan, ("box",)) == {"look": "camera"}
    assert [(f.lost, u.reason) for f in plan.fallbacks for u in f.unserved] == [
        (("camera",), "its data arise on 'camera'")
    ]


def test_a_variant_is_a_plan_of_the_flows_that_change():
    hear = flow("hear", sink="far", home={"gpu": 0.1, "far": 0.5})
    plan = add_fallbacks(solve(problem(flow("look", sink="far"), hear)))
    fallback = next(f for f in plan.fallbacks if f.lost == ("box",))
    whole = variant(plan, fallback)
    assert [f.name for f in whole.flows] == [f.name for f in whole.problem.flows] == ["look"]
    others = [f for f in plan.fallbacks if f.flows and [g.name for g in f.flows] != ["look"]]
    assert others
    assert whole.identity not in {plan.identity, *(variant(plan, f).identity for f in others)}


def test_fallbacks_are_warm_where_there_is_memory():
    roomy = add_fallbacks(solve(problem(flow("look", sink="far"), flow("hear", sink="far"))))
    every = {f.lost for f in roomy.fallbacks}
    assert warm(roomy) == dict.fromkeys(["camera", "box", "gpu", "far"], every)
    # The GPU has room for one model of 10 MB: both flows' fallbacks of the box need two.
    tight = msgspec.structs.replace(
        roomy,
        problem=msgspec.structs.replace(
            roomy.problem,
            devices=tuple(
                msgspec.structs.replace(d, memory_bytes=15 * MBYTE if d.name == "gpu" else None)
                for d in roomy.problem.devices
            ),
        ),
    )
    assert ("box",) in warm(tight)["box"]
    assert ("box",) not in warm(tight)["gpu"]
