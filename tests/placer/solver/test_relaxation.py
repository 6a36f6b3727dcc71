"""The relaxation is one: no feasible choice is cut off, and none costs less than the model says it does."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from ortools.math_opt.python import mathopt

from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.problem import Device, Flow, Op, Option, Problem, Tensor
from placer.solver.blocks import blocks_of, segments_begun, separator_times
from placer.solver.cuts import cut_blocks
from placer.solver.relaxation import Relaxation
from placer.solver.scale import Scale, to_thousand
from placer.solver.spanning import fundamental_cycles, ops_between
from tests.oracles.brute_force import all_evaluations, with_caps
from tests.oracles.odd_problem import odd_problem
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from collections import Counter

    from placer.index import FlowIndex


def _fixed_value(relaxation: Relaxation, choices: tuple[tuple[int, ...], ...]) -> float | None:
    """Return the model's objective with the options fixed, in the problem's unit; None if there is no such point."""
    for flow, choice in zip(relaxation.flows, choices, strict=True):
        for xs, o in zip(flow.x, choice, strict=True):
            for i, x in enumerate(xs):
                x.lower_bound = float(i == o)
                if x.upper_bound < x.lower_bound:
                    x.lower_bound = 0.0
                    return None
    # Not the solver that plans are made with.
    result = mathopt.solve(relaxation.model, mathopt.SolverType.GSCIP)
    if not result.has_primal_feasible_solution():
        return None
    return result.objective_value() / relaxation.objective_scale


@pytest.mark.parametrize("seed", range(40))
def test_every_feasible_choice_is_a_point_that_costs_no_more(seed: int) -> None:
    rng = random.Random(seed)
    problem = (
        odd_problem(seed, ops=5, flows=rng.choice([1, 1, 2])) if seed % 2 else random_problem(seed, ops=4, modes=2)
    )
    if rng.random() < 0.6 and problem.flows:
        problem = with_caps(problem, rng)
    index = ProblemIndex(problem)
    if math.prod(len(o) for f in index.flows for o in f.options) > 3000:
        pytest.skip("too many choices to list")
    feasible = [(c, e) for c, e in all_evaluations(problem) if e.feasible]
    # Cuts made at one choice must leave all others in.
    cutting = rng.sample(feasible, k=min(3, len(feasible)))
    for choices, evaluation in rng.sample(feasible, k=min(6, len(feasible))):
        relaxation = Relaxation(index)
        for others, judged in cutting:
            cut_blocks(relaxation, others, judged, dict.fromkeys(relaxation.model.variables(), 0.0))
        value = _fixed_value(relaxation, choices)
        assert value is not None, (seed, choices)
        assert value <= evaluation.objective * (1 + 1e-7) + 1e-9, (seed, choices)


@pytest.mark.parametrize("seed", range(60))
def test_time_and_segments_of_a_block_depend_on_its_scope_alone(seed: int) -> None:
    """The theorem that block cuts rest on (docs/formulation.md), tried on pairs of choices that share a scope."""
    rng = random.Random(seed)
    problem = odd_problem(seed, ops=9) if seed % 2 else random_problem(seed, ops=9, modes=2)
    index = ProblemIndex(problem)
    (flow,) = index.flows
    blocks = blocks_of(flow)
    assert sorted(v for b in blocks for v in b.ops) == list(range(flow.size))

    def measured(choice: tuple[int, ...]) -> list[tuple[float, Counter[tuple[int, int]]]] | None:
        result = evaluate(index, (choice,)).flows[0]
        if any((x.source, x.target) not in index.link_at for x in result.layout.transfers) or result.layout.forbidden:
            return None
        times = separator_times(
            index,
            flow,
            blocks,
            choice,
            result.layout.segments,
            result.layout.segment_of,
            result.schedule.segment_start_s,
            result.schedule.op_end_s,
        )
        begun = segments_begun(flow, blocks, result.layout.segments)
        return [(b - a, n) for a, b, n in zip([0.0, *times], times, begun, strict=False)]

    known: dict[tuple[int, tuple[int, ...]], tuple[float, Counter[tuple[int, int]]]] = {}
    for _ in range(60):
        choice = tuple(rng.randrange(len(o)) for o in flow.options)
        parts = measured(choice)
        if parts is None:
            continue
        for k, (block, part) in enumerate(zip(blocks, parts, strict=True)):
            key = (k, tuple(choice[v] for v in block.scope))
            before = known.setdefault(key, part)
            assert part[0] == pytest.approx(before[0], rel=1e-9, abs=1e-12), (seed, key)
            assert part[1] == before[1], (seed, key)


def _reach(flow: FlowIndex) -> dict[int, set[int]]:
    """Return the descendants of every op."""
    reach: dict[int, set[int]] = {v: set() for v in range(flow.size)}
    for v in reversed(flow.topological):
        for w in flow.successors[v]:
            reach[v] |= {w} | reach[w]
    return reach


@pytest.mark.parametrize("seed", range(40))
def test_blocks_end_where_every_path_passes(seed: int) -> None:
    problem = odd_problem(seed, ops=9) if seed % 2 else random_problem(seed, ops=8)
    (flow,) = ProblemIndex(problem).flows
    reach = _reach(flow)
    rank = {v: i for i, v in enumerate(flow.topological)}
    for block in blocks_of(flow):
        end = block.end
        if end >= 0:
            for v in range(flow.size):
                assert v == end or end in reach[v] or v in reach[end]
                assert not any(rank[v] < rank[end] < rank[w] for w in flow.successors[v])


# More cycles may share an edge; then the model counts too few and cuts put it right.
@pytest.mark.parametrize("shape", [((0,), (0,), (1, 2)), ((0,), (0, 1)), ((0,), (1,), (0, 2))])
def test_one_segment_with_one_cycle_is_counted_as_one(shape: tuple[tuple[int, ...], ...]) -> None:
    ops = tuple(
        Op(name=f"v{i}", options=(Option(device="d", mode="m", seconds=0.0, joules=0.0),))
        for i in range(len(shape) + 1)
    )
    # A second option keeps the ops from being sources or sinks.
    ops = tuple(replace(op, options=(*op.options, replace(op.options[0], mode="n"))) for op in ops)
    tensors = tuple(
        Tensor(
            name=f"t{u}",
            bytes=0.0,
            producer=f"v{u}",
            consumers=tuple(f"v{i + 1}" for i, r in enumerate(shape) if u in r),
        )
        for u in range(len(shape) + 1)
    )
    problem = Problem(
        devices=(Device(name="d", segment_j=1.0, max_utilization=1e9),),
        flows=(Flow(name="f", rate_hz=1.0, ops=ops, tensors=tensors),),
    )
    value = _fixed_value(Relaxation(ProblemIndex(problem)), ((0,) * len(ops),))
    assert value == pytest.approx(1.0)


def test_ops_between_are_those_on_a_path() -> None:
    (flow,) = ProblemIndex(random_problem(7, ops=10)).flows
    reach = _reach(flow)
    for v in range(flow.size):
        for u in flow.predecessors[v]:
            between = {w for w in range(flow.size) if w in reach[u] and v in reach[w]}
            assert set(ops_between(flow, u, v)) == between


def test_there_is_one_cycle_for_every_edge_beyond_a_forest() -> None:
    for seed in range(20):
        (flow,) = ProblemIndex(odd_problem(seed, ops=9)).flows
        working = [v for v in range(flow.size) if not flow.is_endpoint[v]]
        edges = {(u, v) for v in working for u in flow.predecessors[v] if not flow.is_endpoint[u]}
        root = {v: v for v in working}

        def find(v: int, root: dict[int, int] = root) -> int:
            return v if root[v] == v else find(root[v])

        for u, v in edges:
            root[find(u)] = find(v)
        trees = sum(root[v] == v for v in working)
        cycles = fundamental_cycles(flow)
        assert len(cycles) == len(edges) - len(working) + trees
        for cycle in cycles:
            ring = zip(cycle, (*cycle[1:], cycle[0]), strict=True)
            assert all((u, v) in edges or (v, u) in edges for u, v in ring)


@pytest.mark.parametrize("value", [1e-300, 1e-9, 0.5, 1.0, 999.0, 1e12, 1e300])
def test_scaling_brings_numbers_near_a_thousand_and_stays_finite(value: float) -> None:
    factor = to_thousand([value])
    assert math.isfinite(factor)
    assert value * factor <= 10_000.0001
    if value > 1e-190:
        assert value * factor >= 999.99


def test_nothing_to_scale_is_left_alone() -> None:
    assert to_thousand([]) == 1.0
    index = ProblemIndex(random_problem(1, ops=3))
    assert Scale.of(index, index.flows[0], 0.25).time == 1e4
