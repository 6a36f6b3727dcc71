"""The plan as a file, its ledger and its baselines: everything adds up, and nothing is below zero."""

from __future__ import annotations

import random
from math import fsum

import msgspec
import pytest

from placer.assemble import assemble
from placer.baselines import all_on, judge_baselines, starting_choices
from placer.errors import ProblemError
from placer.evaluate import Evaluation, evaluate
from placer.index import ProblemIndex
from placer.ledger import make_ledger
from placer.plan import Plan, decode_plan, encode_plan, read_plan
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from tests.oracles.brute_force import all_evaluations
from tests.oracles.odd_problem import odd_problem
from tests.oracles.random_problem import random_problem

replace = msgspec.structs.replace


def _judged(seed: int) -> tuple[ProblemIndex, tuple[tuple[int, ...], ...], Evaluation]:
    """A random choice that nothing forbids, with its evaluation."""
    rng = random.Random(seed)
    problem = (
        odd_problem(seed, ops=6, flows=1 + seed % 3)
        if seed % 2
        else random_problem(seed, flows=2, modes=2, shares=True)
    )
    # Caps of use aside: this is about sums.
    problem = replace(
        problem,
        objective="energy_j",
        devices=tuple(replace(d, max_utilization=1e9) for d in problem.devices),
        links=tuple(replace(k, max_utilization=1e9) for k in problem.links),
        flows=tuple(
            replace(f, colocate=(), tensors=tuple(replace(t, not_on=()) for t in f.tensors)) for f in problem.flows
        ),
    )
    index = ProblemIndex(problem)
    choices, evaluation = None, None
    for _ in range(200):
        choices = tuple(tuple(rng.randrange(len(o)) for o in f.options) for f in index.flows)
        evaluation = evaluate(index, choices)
        if evaluation.feasible:
            return index, choices, evaluation
    pytest.skip("no choice of this problem is joined by links")


@pytest.mark.parametrize("seed", range(60))
def test_the_ledger_adds_up_to_the_objective(seed: int) -> None:
    index, _, evaluation = _judged(seed)
    pue = {d.name: 1.0 + 0.25 * i for i, d in enumerate(index.devices)}
    for ledger in (make_ledger(index, evaluation), make_ledger(index, evaluation, pue=pue)):
        assert ledger.marginal_w == fsum(line.power_w for line in ledger.marginal)
        assert ledger.marginal_w == pytest.approx(evaluation.objective, rel=1e-12, abs=1e-300)
        assert all(line.power_w > 0 or line.energy_j for line in ledger.marginal if line.kind != "idle")
        assert all(line.power_w >= 0 for line in ledger.attributional)
        for flow, result in zip(index.flows, evaluation.flows, strict=True):
            spent = fsum(line.energy_j or 0.0 for line in ledger.marginal if line.flow == flow.name)
            assert spent == pytest.approx(result.energy_j, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("seed", range(60))
def test_attributional_adds_the_idle_power_of_what_is_on_anyway(seed: int) -> None:
    index, _, evaluation = _judged(seed)
    ledger = make_ledger(index, evaluation)
    assert ledger.attributional_w >= ledger.marginal_w
    shared = [line for line in ledger.attributional if line not in ledger.marginal]
    owed = {
        d.name: (d.idle_w or 0.0) * min(1.0, u)
        for d, u in zip(index.devices, evaluation.device_utilization, strict=True)
        if d.always_on
    }
    assert {line.device: line.power_w for line in shared} == pytest.approx({n: w for n, w in owed.items() if w > 0})
    assert {line.kind for line in shared} <= {"idle"}
    if not any(d.always_on for d in index.devices):
        assert ledger.attributional == ledger.marginal


def test_the_facility_s_part_is_split_off_every_joule() -> None:
    index = ProblemIndex(_chain())
    evaluation = evaluate(index, ((0, 0, 1, 1, 0),))
    plain = make_ledger(index, evaluation)
    split = make_ledger(index, evaluation, pue=dict.fromkeys((d.name for d in index.devices), 1.5))
    at_devices = fsum(line.power_w for line in plain.marginal if line.device)
    facility = fsum(line.power_w for line in split.marginal if line.kind == "facility")
    assert at_devices > 1
    assert facility == pytest.approx(at_devices / 3)
    assert split.marginal_w == pytest.approx(plain.marginal_w)


def test_what_is_not_switched_on_owes_no_idle_power() -> None:
    # Starting a segment of an op of zero seconds uses the device, yet by the format it switches nothing on.
    problem = Problem(
        devices=(Device(name="d", idle_w=5.0, always_on=False, segment_s=0.1, segment_j=1.0),),
        flows=(
            Flow(
                name="f",
                rate_hz=1.0,
                ops=(Op(name="v", options=tuple(Option(device="d", mode=m, seconds=0.0, joules=0.0) for m in "mn")),),
            ),
        ),
    )
    index = ProblemIndex(problem)
    evaluation = evaluate(index, ((0,),))
    assert evaluation.device_utilization[0] > 0
    ledger = make_ledger(index, evaluation)
    assert ledger.attributional == ledger.marginal


def test_origins_are_written_beside_the_figures() -> None:
    index, _, evaluation = _judged(2)
    origins = {("compute", d.name): "measured" for d in index.devices}
    lines = make_ledger(index, evaluation, origins=origins).marginal
    assert {line.origin for line in lines if line.kind == "compute"} == {"measured"}
    assert {line.origin for line in lines if line.kind == "transfer"} <= {"given"}


def _plan(seed: int) -> Plan:
    index, choices, evaluation = _judged(seed)
    return assemble(index, choices, evaluation, evaluation.objective / 2, name="site", agents={"d0": "host:1"})


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_comes_back_equal_and_byte_for_byte(seed: int) -> None:
    plan = _plan(seed)
    text = encode_plan(plan)
    assert decode_plan(text) == plan
    assert encode_plan(decode_plan(text)) == text
    assert decode_plan(text).identity == plan.identity


def test_status_and_gap_follow_from_the_bound() -> None:
    index, choices, evaluation = _judged(2)
    half = assemble(index, choices, evaluation, evaluation.objective / 2)
    assert (half.status, half.gap) == ("feasible", pytest.approx(0.5))
    near = assemble(index, choices, evaluation, evaluation.objective * (1 - 0.9e-6))
    assert near.status == "optimal"
    far = assemble(index, choices, evaluation, evaluation.objective * (1 - 1.1e-6))
    assert far.status == "feasible"
    above = assemble(index, choices, evaluation, evaluation.objective * 2)
    assert (above.bound, above.gap) == (evaluation.objective, 0.0)


def test_what_breaks_a_rule_never_becomes_a_plan() -> None:
    index, choices, evaluation = _judged(2)
    late = replace(
        index.problem,
        flows=tuple(replace(f, deadline_s=evaluation.flows[0].latency_s / 2) for f in index.problem.flows),
    )
    again = ProblemIndex(late)
    with pytest.raises(AssertionError, match="deadline_s"):
        assemble(again, choices, evaluate(again, choices), 0.0)


def test_equal_placements_have_one_identity_and_others_another() -> None:
    index = ProblemIndex(_chain())
    choices = ((0, 0, 1, 1, 0),)
    evaluation = evaluate(index, choices)
    plan = assemble(index, choices, evaluation, 0.0)
    assert plan.identity == assemble(index, choices, evaluation, evaluation.objective).identity
    other = next((o, e) for o, e in all_evaluations(index.problem) if e.feasible and o != choices)
    assert plan.identity != assemble(index, *other, 0.0).identity
    assert plan.flow(plan.flows[0].name) is plan.flows[0]
    with pytest.raises(ProblemError, match="no flow 'nobody'"):
        plan.flow("nobody")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{}", "not a plan"),
        (b"[", "not a plan"),
        (encode_plan(_plan(2)).replace(b"placer.plan/1", b"placer.plan/9"), "not readable here"),
        (encode_plan(_plan(2)).replace(b'"bound"', b'"bond"'), "bond"),
    ],
)
def test_what_is_no_plan_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        decode_plan(text)


def test_a_missing_plan_is_named() -> None:
    with pytest.raises(ProblemError, match=r"nowhere.json: cannot be read"):
        read_plan("nowhere.json")


# --- baselines -----------------------------------------------------------------------------------------------------


def _chain(**limits: float) -> Problem:
    """Source and sink on the sensor; the second op is cheap on the edge, the first must not leave."""
    ends = [Op(name=n, options=(Option(device="cam", mode="io", seconds=0.0, joules=0.0),)) for n in ("in", "out")]
    work = [
        Op(
            name=f"v{i}",
            options=tuple(
                Option(device=d, mode="m", seconds=0.1, joules=j) for d, j in (("cam", 1.0), ("box", 0.3), ("gpu", 0.1))
            ),
        )
        for i in range(3)
    ]
    names = ["in", "v0", "v1", "v2", "out"]
    tensors = tuple(
        Tensor(name=a, bytes=size, producer=a, consumers=(b,), not_on=("gpu",) if a == "in" else ())
        for a, b, size in zip(names[:-1], names[1:], (9e5, 1e5, 8e5, 0.0), strict=True)
    )
    return Problem(
        devices=(
            Device(name="cam", tier="sensor"),
            Device(name="box", tier="edge"),
            Device(name="gpu", tier="cloud"),
        ),
        links=tuple(
            Link(source=a, target=b, latency_s=0.01, bytes_per_s=1e7, energy_j_per_byte=1e-6)
            for a in ("cam", "box", "gpu")
            for b in ("cam", "box", "gpu")
            if a != b
        ),
        flows=(Flow(name="f", rate_hz=1.0, ops=(ends[0], *work, ends[1]), tensors=tensors, **limits),),  # type: ignore[arg-type]
    )


def test_baselines_are_judged_by_evaluate_and_name_what_forbids_them() -> None:
    by_name = {j.baseline.name: j.baseline for j in judge_baselines(ProblemIndex(_chain()))}
    assert by_name["everything on the source"].objective == pytest.approx(3.0)
    assert by_name["everything on 'box' (edge)"].objective == pytest.approx(0.9 + 0.9)
    cloud = by_name["everything on 'gpu' (cloud)"]
    assert cloud.broken == ("not_on of flow 'f' for 'gpu'",)
    assert cloud.objective == pytest.approx(0.9 + 0.3)
    prefix = next(b for n, b in by_name.items() if "prefix" in n)
    # Best: v0 at home, then 1e5 bytes to the cloud node.
    assert prefix.objective == pytest.approx(1.0 + 0.1 + 0.2)
    assert prefix.broken == ()


def test_a_baseline_without_a_link_has_no_numbers_though_the_tensor_is_barred_too() -> None:
    problem = _chain()
    links = tuple(k for k in problem.links if (k.source, k.target) != ("cam", "gpu"))
    by_name = {j.baseline.name: j.baseline for j in judge_baselines(ProblemIndex(replace(problem, links=links)))}
    cloud = by_name["everything on 'gpu' (cloud)"]
    assert (cloud.objective, cloud.latency_s, cloud.broken) == (None, (), ("no link from 'cam' to 'gpu'",))


def test_rule_names_become_the_site_s_words() -> None:
    words = {"not_on of flow 'f' for 'gpu'": "frames stay on the floor"}
    assert any(
        j.baseline.broken == ("frames stay on the floor",) for j in judge_baselines(ProblemIndex(_chain()), words)
    )


def test_a_baseline_over_a_limit_says_what_it_reaches_and_what_is_allowed() -> None:
    index = ProblemIndex(_chain(deadline_s=0.35))
    by_name = {j.baseline.name: j.baseline for j in judge_baselines(index)}
    # Three ops of 0.1 s, 0.9 MB sent at 10 MB/s, and 10 ms of latency there and back.
    late = "deadline_s of flow 'f' (0.41 where 0.35 is allowed)"
    assert by_name["everything on 'box' (edge)"].broken == (late,)
    assert by_name["everything on 'gpu' (cloud)"].broken == ("not_on of flow 'f' for 'gpu'", late)


def test_an_op_that_cannot_run_there_leaves_a_baseline_without_numbers() -> None:
    problem = _chain()
    (flow,) = problem.flows
    ops = tuple(replace(op, options=op.options[:2]) if op.name == "v1" else op for op in flow.ops)
    index = ProblemIndex(replace(problem, flows=(replace(flow, ops=ops),)))
    by_name = {j.baseline.name: j.baseline for j in judge_baselines(index)}
    assert by_name["everything on 'gpu' (cloud)"].objective is None
    assert by_name["everything on 'gpu' (cloud)"].broken == ("an op has no option there",)


@pytest.mark.parametrize("seed", range(40))
def test_the_best_prefix_is_the_best(seed: int) -> None:
    """Against trying every prefix with every other device, by `evaluate`."""
    problem = random_problem(seed, ops=7, shares=True, scarce=0.0)
    index = ProblemIndex(problem)
    (flow,) = index.flows
    source = flow.source_devices[0]
    ranked = []
    for target in range(len(index.devices)):
        for count in range(flow.size + 1):
            if target != source and index.link(source, target) is not None:
                choice = tuple(
                    0
                    if flow.is_endpoint[v]
                    else min(
                        (k for k, x in enumerate(o) if x.device == (source if v < count else target)),
                        key=lambda k, o=o: o[k].joules,  # type: ignore[misc]
                    )
                    for v, o in enumerate(flow.options)
                )
                result = evaluate(index, (choice,))
                ranked.append((bool(result.flows[0].layout.forbidden), result.flows[0].energy_j, result.objective))
    found = next(j.baseline for j in judge_baselines(index) if "prefix" in j.baseline.name)
    if ranked and not min(ranked)[0]:
        assert found.objective == pytest.approx(min(ranked)[2], rel=1e-9)


def test_a_search_begins_with_everything_on_one_device() -> None:
    index = ProblemIndex(_chain())
    assert all_on(index.flows[0], 1) == (0, 1, 1, 1, 0)
    assert ((0, 1, 1, 1, 0),) in starting_choices(index)
    assert all_on(ProblemIndex(odd_problem(1)).flows[0], 99) is None
