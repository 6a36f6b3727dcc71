from __future__ import annotations

import msgspec

from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from placer.solver.exact.chain_layout import ChainLayout
from placer.solver.exact.numbers import FlowNumbers, build_numbers
from placer.solver.exact.pauses import Pauses
from placer.solver.exact.structure import NOWHERE, split


def _numbers(edges: dict[str, str], *, idle: str = "", sizes: dict[str, float] | None = None) -> FlowNumbers:
    """A flow whose op `u` makes one tensor, read by the ops whose letters `edges[u]` holds."""
    names = sorted({*edges, *(c for readers in edges.values() for c in readers)})
    ops = tuple(
        Op(
            name=n,
            options=tuple(
                Option(device=d, mode="m", seconds=0.0 if n in idle else 0.1, joules=0.0 if n in idle else 1.0)
                for d in ("d0", "d1")
            ),
        )
        for n in names
    )
    tensors = tuple(
        Tensor(name=f"t{u}", bytes=(sizes or {}).get(u, 100.0), producer=u, consumers=tuple(readers))
        for u, readers in edges.items()
    )
    links = tuple(
        Link(source=a, target=b, latency_s=0.1, bytes_per_s=1e3, energy_j_per_byte=1e-3)
        for a, b in (("d0", "d1"), ("d1", "d0"))
    )
    problem = Problem(
        devices=(Device(name="d0"), Device(name="d1")),
        links=links,
        flows=(Flow(name="f", rate_hz=1.0, ops=ops, tensors=tensors),),
    )
    index = ProblemIndex(problem)
    return build_numbers(index, index.flows[0])


def test_chain_is_all_joints() -> None:
    joints, blocks = split(_numbers({"a": "b", "b": "c"}))
    assert joints == (0, 1, 2)
    assert [b.kind for b in blocks] == ["edge", "edge"]


def test_parallel_chains_between_fork_and_join() -> None:
    joints, blocks = split(_numbers({"a": "bcf", "b": "d", "c": "e", "d": "f", "e": "f"}))
    assert joints == (0, 5)
    (block,) = blocks
    assert block.kind == "chains"
    assert set(block.branches) == {(1, 3), (2, 4)}
    assert block.direct


def test_edge_that_jumps_over_an_op_keeps_it_inside() -> None:
    joints, blocks = split(_numbers({"a": "bc", "b": "c", "c": "d"}))
    assert joints == (0, 2, 3)
    assert blocks[0].branches == ((1,),)


def test_cross_edge_makes_a_block_general() -> None:
    _, blocks = split(_numbers({"a": "bc", "b": "cd", "c": "d"}))
    assert [b.kind for b in blocks] == ["general"]


def test_several_sources_and_sinks_begin_and_end_nowhere() -> None:
    joints, blocks = split(_numbers({"a": "c", "b": "c", "c": "de"}))
    assert joints == (NOWHERE, 2, NOWHERE)
    assert [b.inner for b in blocks] == [(0, 1), (3, 4)]


def test_separate_parts_are_one_block() -> None:
    joints, blocks = split(_numbers({"a": "b", "c": "d"}))
    assert joints == (NOWHERE, NOWHERE)
    assert sorted(blocks[0].inner) == [0, 1, 2, 3]


def test_idle_ops_need_neighbours_equal_bytes_and_their_place_in_the_file() -> None:
    chain = {"a": "bf", "b": "c", "c": "d", "d": "e", "e": "g", "f": "g"}

    def idle_of(numbers: FlowNumbers) -> list[bool]:
        layout = ChainLayout(numbers, split(numbers)[1], Pauses(numbers))
        return [bool(x) for x in layout.idle[0]]

    # Of b, c, d, e the op c is idle: it follows an op of its branch and another follows it.
    assert idle_of(_numbers(chain, idle="c")) == [False, True, False, False]
    assert idle_of(_numbers(chain, idle="be")) == [False] * 4
    assert idle_of(_numbers(chain, idle="c", sizes={"c": 50.0})) == [False] * 4
    # Now the other branch's op stands between c and what follows it.
    renamed = {"a": "be", "b": "c", "c": "f", "f": "g", "g": "h", "e": "h"}
    assert idle_of(_numbers(renamed, idle="c")) == [False] * 4


def test_rows_that_nothing_asks_for_are_not_there() -> None:
    numbers = _numbers({"a": "b"})
    assert numbers.rows.count == 1 + 2 + 2
    flow = msgspec.structs.replace(numbers.flow.flow, deadline_s=1.0)
    index = ProblemIndex(msgspec.structs.replace(numbers.index.problem, flows=(flow,)))
    limited = build_numbers(index, index.flows[0])
    assert limited.rows.count == 6
    assert limited.rows.latency[1] == 1.0
    assert limited.rows.limit[1] >= 1.0
