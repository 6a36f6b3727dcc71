from __future__ import annotations

import itertools
import math
import random

import msgspec
import networkx as nx
import pytest

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from placer.solver.exact.solve import FlowSolution, solve_flow
from tests.oracles.brute_force import brute_force
from tests.oracles.paused_problem import paused_problem
from tests.oracles.random_problem import random_problem
from tests.placer.solver.exact.drawn import drawn_problem, odd_drawn_problem, paused_drawn_problem

replace = msgspec.structs.replace


def assert_like_brute_force(problem: Problem) -> FlowSolution:
    best = brute_force(problem)
    index = ProblemIndex(problem)
    found = solve_flow(index)
    if best is None:
        assert found.status == "infeasible"
        assert found.choice is None
        assert found.bound == math.inf
        return found
    assert found.status == "optimal"
    assert found.choice is not None
    judged = evaluate(index, (found.choice,))
    assert judged.feasible
    assert judged.objective == found.objective
    assert found.objective == pytest.approx(best, rel=1e-6, abs=1e-15)
    assert found.bound <= best * (1 + 1e-9) + 1e-15
    return found


@pytest.mark.parametrize("start", range(0, 120, 10))
def test_optimum_is_that_of_brute_force(start: int) -> None:
    for seed in range(start, start + 10):
        assert_like_brute_force(drawn_problem(seed))


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_optimum_is_that_of_brute_force_on_odd_shapes(start: int) -> None:
    for seed in range(start, start + 20):
        problem = odd_drawn_problem(seed)
        if problem is not None:
            assert_like_brute_force(problem)


@pytest.mark.parametrize("start", range(0, 120, 20))
def test_optimum_in_time_after_pauses_is_that_of_brute_force(start: int) -> None:
    for seed in range(start, start + 20):
        problem = paused_drawn_problem(seed)
        if problem is not None:
            assert_like_brute_force(problem)


@pytest.mark.parametrize("deadline_s", [0.1, 0.15])
def test_a_flow_of_rate_0_has_no_pauses(deadline_s: float) -> None:
    problem = paused_problem(10.0, rate_hz=0.0, deadline_after_pauses_s={"inspect": deadline_s})
    found = assert_like_brute_force(replace(problem, objective="latency_s"))
    assert found.objective < deadline_s


@pytest.mark.long
@pytest.mark.parametrize("start", range(1000, 3000, 100))
def test_optimum_is_that_of_brute_force_many(start: int) -> None:
    for seed in range(start, start + 100):
        assert_like_brute_force(drawn_problem(seed))
        for problem in (odd_drawn_problem(seed), paused_drawn_problem(seed)):
            if problem is not None:
                assert_like_brute_force(problem)


def _chain(seed: int, ops: int, devices: int) -> Problem:
    """A chain of ops on fully linked devices, without caps, idle power, tails or waiting."""
    rng = random.Random(seed)
    names = [f"d{i}" for i in range(devices)]
    built = [Op(name="in", options=(Option(device="d0", mode="io", seconds=0.0, joules=0.0),))]
    for i in range(ops):
        options = tuple(
            Option(device=d, mode="cpu", seconds=rng.choice([0.0, 0.01, 0.05]), joules=rng.choice([0.0, 1.0, 2.0, 5.0]))
            for d in names
        )
        built.append(Op(name=f"op{i}", options=options))
    built.append(Op(name="out", options=(Option(device="d0", mode="io", seconds=0.0, joules=0.0),)))
    tensors = tuple(
        Tensor(name=f"t{i}", bytes=rng.choice([0.0, 10.0, 1000.0]), producer=a.name, consumers=(b.name,))
        for i, (a, b) in enumerate(itertools.pairwise(built))
    )
    links = tuple(
        Link(source=a, target=b, latency_s=0.001, bytes_per_s=1e5, energy_j_per_byte=rng.choice([1e-4, 1e-3]))
        for a in names
        for b in names
        if a != b
    )
    devices_ = tuple(Device(name=n, segment_j=0.25, segment_s=0.002) for n in names)
    flow = Flow(name="f", rate_hz=1.0, ops=tuple(built), tensors=tensors)
    return Problem(devices=devices_, links=links, flows=(flow,))


@pytest.mark.parametrize("seed", range(5))
def test_chain_without_deadline_is_a_shortest_path(seed: int) -> None:
    problem = _chain(seed, ops=40, devices=4)
    index = ProblemIndex(problem)
    flow = problem.flows[0]
    # (place of the last op) to joules; a change of place starts a segment and moves a tensor.
    cheapest = {("d0", "io"): 0.0}
    for op, tensor in zip(flow.ops[1:], flow.tensors, strict=True):
        reached: dict[tuple[str, str], float] = {}
        for option in op.options:
            here = (option.device, option.mode)
            for before, joules in cheapest.items():
                cost = joules + option.joules
                if before != here:
                    cost += 0.25 if option.mode != "io" else 0.0
                    if before[0] != here[0]:
                        link = index.link(index.device_position[before[0]], index.device_position[here[0]])
                        assert link is not None
                        cost += tensor.bytes * link.energy_j_per_byte
                reached[here] = min(reached.get(here, math.inf), cost)
        cheapest = reached
    found = solve_flow(index)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(min(cheapest.values()), rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_two_devices_without_deadline_are_a_minimum_cut(seed: int) -> None:
    problem = random_problem(seed, devices=2, ops=9)
    plain = tuple(
        replace(d, idle_w=0.0, always_on=True, segment_s=0.0, segment_j=0.0, starts=(), wait_w=0.0)
        for d in problem.devices
    )
    links = tuple(
        Link(source=a, target=b, latency_s=0.01, bytes_per_s=1e6, energy_j_per_byte=1e-6 * (1 + seed % 3))
        for a, b in (("d0", "d1"), ("d1", "d0"))
    )
    flow = replace(problem.flows[0], colocate=(), rate_hz=1.0, latency="makespan")
    problem = replace(problem, devices=plain, links=links, flows=(flow,))
    graph = nx.DiGraph()
    graph.add_nodes_from(["d0", "d1"])
    for op in flow.ops:
        joules = {o.device: o.joules for o in op.options}
        # Cut from d0's side to d1's side: an op on d1 pays d1's joules, and the other way round.
        graph.add_edge("d0", op.name, capacity=joules.get("d1", 1e9))
        graph.add_edge(op.name, "d1", capacity=joules.get("d0", 1e9))
    for tensor in flow.tensors:
        paid = tensor.bytes * 1e-6 * (1 + seed % 3)
        for there, back in (("->", tensor.name), ("<-", tensor.name)):
            graph.add_node(there + back)
        # One transfer in each direction, however many readers are on the other side.
        graph.add_edge(tensor.producer, "->" + tensor.name, capacity=paid)
        graph.add_edge("<-" + tensor.name, tensor.producer, capacity=paid)
        for reader in tensor.consumers:
            graph.add_edge("->" + tensor.name, reader, capacity=1e9)
            graph.add_edge(reader, "<-" + tensor.name, capacity=1e9)
        for device in tensor.not_on:
            for op_name in (tensor.producer, *tensor.consumers):
                ends = ("d0", op_name) if device == "d1" else (op_name, "d1")
                graph.add_edge(*ends, capacity=1e9)
    value, _ = nx.minimum_cut(graph, "d0", "d1")
    found = solve_flow(ProblemIndex(problem))
    if value > 1e8:
        assert found.status == "infeasible"
    else:
        assert found.status == "optimal"
        assert found.objective == pytest.approx(value, rel=1e-9, abs=1e-12)


def _one_op(options: tuple[Option, ...], **flow: object) -> Problem:
    devices = (Device(name="a"), Device(name="b"))
    built = Flow(name="f", rate_hz=1.0, ops=(Op(name="only", options=options),), **flow)  # type: ignore[arg-type]
    return Problem(devices=devices, flows=(built,))


def test_one_op_alone() -> None:
    options = (
        Option(device="a", mode="m", seconds=0.1, joules=2.0),
        Option(device="b", mode="m", seconds=0.3, joules=1.0),
    )
    assert assert_like_brute_force(_one_op(options)).objective == 1.0
    assert assert_like_brute_force(_one_op(options, deadline_s=0.2)).objective == 2.0
    assert assert_like_brute_force(_one_op(options, deadline_s=0.05)).status == "infeasible"


def test_no_option_is_infeasible() -> None:
    assert solve_flow(ProblemIndex(_one_op(()))).status == "infeasible"


@pytest.mark.parametrize("power", [-9, -4, 0, 4, 9])
def test_scale_of_the_numbers_does_not_matter(power: int) -> None:
    """Seconds, joules and bytes of any size, with a deadline that bites."""
    for seed in (1, 4, 16, 23, 31):
        problem = drawn_problem(seed)
        factor = 10.0**power
        flow = problem.flows[0]
        ops = tuple(
            replace(op, options=tuple(replace(o, joules=o.joules * factor) for o in op.options)) for op in flow.ops
        )
        assert_like_brute_force(replace(problem, flows=(replace(flow, ops=ops),), limits=type(problem.limits)()))
        timed = tuple(
            replace(op, options=tuple(replace(o, seconds=o.seconds * factor) for o in op.options)) for op in flow.ops
        )
        deadline_s = None if flow.deadline_s is None else flow.deadline_s * factor
        slower = replace(flow, ops=timed, deadline_s=deadline_s)
        assert_like_brute_force(replace(problem, flows=(slower,), limits=type(problem.limits)()))


@pytest.mark.parametrize("seed", range(12))
def test_equal_devices_and_zero_costs(seed: int) -> None:
    problem = random_problem(seed, devices=3, ops=5)
    device = replace(problem.devices[0], idle_w=0.5, always_on=seed % 2 == 0)
    devices = tuple(replace(device, name=d.name) for d in problem.devices)
    link = problem.links[0]
    links = tuple(replace(link, source=k.source, target=k.target) for k in problem.links)
    flow = problem.flows[0]
    ops = tuple(
        replace(op, options=tuple(replace(o, seconds=0.01 * (v % 2), joules=0.01 * (v % 2)) for o in op.options))
        for v, op in enumerate(flow.ops)
    )
    made = replace(problem, devices=devices, links=links, flows=(replace(flow, ops=ops, deadline_s=0.04),))
    assert_like_brute_force(made)


@pytest.mark.parametrize("seed", range(10))
def test_parallel_chains_with_idle_ops(seed: int) -> None:
    """Branches as networks have them: idle ops of equal bytes between working ones, all in file order."""
    rng = random.Random(seed)
    names = ["d0", "d1", "d2"][: 2 + seed % 2]
    ops = [Op(name="in", options=(Option(device="d0", mode="io", seconds=0.0, joules=0.0),))]
    tensors = []

    def add(name: str, parents: list[str], idle: bool) -> None:
        seconds = [0.0 if idle else rng.choice([0.01, 0.02, 0.04]) for _ in names]
        ops.append(
            Op(
                name=name,
                options=tuple(
                    Option(device=d, mode="m", seconds=s, joules=s * rng.choice([1, 2]))
                    for d, s in zip(names, seconds, strict=True)
                ),
            )
        )
        reads[name] = parents

    reads: dict[str, list[str]] = {}
    add("fork", ["in"], False)
    ends = []
    for b in range(2):
        at = "fork"
        for k in range(rng.choice([2, 3])):
            add(f"b{b}{k}", [at], k == 1 or rng.random() < 0.3)
            at = f"b{b}{k}"
        ends.append(at)
    add("join", ends if rng.random() < 0.7 else [ends[0], "fork", ends[1]], True)
    ops.append(Op(name="out", options=(Option(device="d0", mode="io", seconds=0.0, joules=0.0),)))
    reads["out"] = ["join"]
    size = rng.choice([500.0, 2000.0])
    for op in ops[:-1]:
        readers = tuple(n for n, parents in reads.items() if op.name in parents)
        tensors.append(Tensor(name=f"t{op.name}", bytes=size, producer=op.name, consumers=readers))
    problem = Problem(
        devices=tuple(Device(name=n, segment_s=0.001, segment_j=0.002) for n in names),
        links=tuple(
            Link(source=a, target=b, latency_s=0.001, bytes_per_s=1e6, energy_j_per_byte=rng.choice([1e-6, 1e-5]))
            for a in names
            for b in names
            if a != b
        ),
        flows=(Flow(name="f", rate_hz=1.0, ops=tuple(ops), tensors=tuple(tensors)),),
    )
    if len(names) ** (len(ops) - 2) > 4000:
        pytest.skip("too many choices for brute force")
    fast = assert_like_brute_force(replace(problem, objective="latency_s"))
    index = ProblemIndex(problem)
    free = assert_like_brute_force(problem)
    assert free.choice is not None
    slowest_s = evaluate(index, (free.choice,)).flows[0].latency_s
    for fraction in (0.0, 0.2, 0.6):
        deadline_s = fast.objective + fraction * (slowest_s - fast.objective)
        assert_like_brute_force(replace(problem, flows=(replace(problem.flows[0], deadline_s=deadline_s),)))


def test_same_problem_same_choice() -> None:
    problem = drawn_problem(16)
    assert solve_flow(ProblemIndex(problem)).choice == solve_flow(ProblemIndex(problem)).choice


def test_time_limit_leaves_a_valid_bound() -> None:
    problem = drawn_problem(16)
    found = solve_flow(ProblemIndex(problem), time_limit_s=0.0)
    best = brute_force(problem)
    assert best is not None
    assert found.status in ("unknown", "feasible")
    assert found.bound <= best


def test_progress_is_told_objective_and_bound() -> None:
    told: list[tuple[float, float]] = []
    found = solve_flow(
        ProblemIndex(drawn_problem(16)), progress=lambda objective, bound: told.append((objective, bound))
    )
    assert told[-1] == (found.objective, pytest.approx(found.bound))
    assert all(bound <= objective for objective, bound in told)


def test_several_flows_are_refused() -> None:
    problem = random_problem(1, flows=2)
    with pytest.raises(ValueError, match="one flow, not 2"):
        solve_flow(ProblemIndex(problem))


@pytest.mark.parametrize("seed", range(20))
def test_a_start_and_rows_known_beforehand_change_no_answer(seed: int) -> None:
    problem = drawn_problem(seed)
    index = ProblemIndex(problem)
    plain = solve_flow(index)
    rng = random.Random(seed)
    start = tuple(rng.randrange(len(op.options)) for op in problem.flows[0].ops)
    for known in (start, plain.choice):
        again = solve_flow(index, start=known, rows=plain.rows)
        assert again.status == plain.status
        if plain.choice is not None:
            assert again.objective == pytest.approx(plain.objective, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("gap", [1e-2, 1e-1])
def test_a_wide_gap_is_kept_and_ends_no_later(gap: float) -> None:
    for seed in range(20):
        index = ProblemIndex(drawn_problem(seed))
        close, wide = solve_flow(index), solve_flow(index, gap=gap)
        if close.choice is not None:
            assert wide.gap <= gap
            assert wide.bound <= close.objective * (1 + 1e-6)
            assert wide.parts <= close.parts + 2


@pytest.mark.parametrize("seed", range(15))
def test_workspaces_that_exceed_a_memory_are_kept_out(seed: int) -> None:
    rng = random.Random(seed)
    problem = _chain(seed, ops=6, devices=2)
    flow = problem.flows[0]
    ops = tuple(
        replace(op, weights_bytes=rng.choice([0.0, 1.0, 2.0]), workspace_bytes=rng.choice([0.0, 2.0, 3.0, 5.0]))
        if len(op.options) > 1
        else op
        for op in flow.ops
    )
    devices = tuple(replace(d, memory_bytes=rng.choice([5.0, 6.5, 8.0, 10.0])) for d in problem.devices)
    assert_like_brute_force(replace(problem, devices=devices, flows=(replace(flow, ops=ops),)))
