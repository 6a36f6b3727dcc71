"""Cuts a flow into a chain of blocks at its dominators: the ops that every path passes and no edge jumps over.

When the segment of a dominator starts, every earlier op has ended and every earlier transfer has arrived, since
all of them lie before it; the site is at rest, and what follows depends on the dominator's place alone. So the
makespan is the sum, over the blocks, of the time from the start of one dominator's segment to that of the next.
If all ops of a block run at its dominators' place, both belong to one segment, and otherwise to two: levels never
fall along a path, so dominators of one level have only equal places between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from placer.solver.exact.numbers import FlowNumbers

NOWHERE = -1
"""Entry or exit of a block that begins or ends with the flow itself, where it has no single first or last op."""


@dataclass(frozen=True, slots=True)
class Block:
    """The ops between two dominators and how they hang together."""

    entry: int
    exit: int
    inner: tuple[int, ...]
    """In topological order."""
    kind: Literal["edge", "chains", "general"]
    """edge: no inner op; chains: parallel chains of ops that all read the entry's one tensor; general: the rest."""
    branches: tuple[tuple[int, ...], ...]
    """The chains of a block of that kind."""
    tensors: tuple[int, ...]
    """The entry's tensors that are read in the block."""
    direct: bool
    """Whether the exit itself reads a tensor of the entry."""


def split(numbers: FlowNumbers) -> tuple[tuple[int, ...], tuple[Block, ...]]:
    """Cut a flow into blocks.

    Returns
    -------
    tuple
        The joints: dominators first to last, with `NOWHERE` before or behind them where the flow does not begin
        or end with one; and the blocks between each two of them.
    """
    flow = numbers.flow
    order = flow.topological
    rank = {v: i for i, v in enumerate(order)}
    last_root = max(rank[v] for v in order if not flow.predecessors[v])
    first_leaf = min(rank[v] for v in order if not flow.successors[v])
    cuts, reach = [], 0
    for i, v in enumerate(order):
        if max(reach, last_root) <= i <= first_leaf:
            cuts.append(i)
        reach = max([reach, *(rank[w] for w in flow.successors[v])])
    joints = [order[i] for i in cuts]
    ends = [*cuts]
    if not cuts or cuts[0] > 0:
        joints.insert(0, NOWHERE)
        ends.insert(0, -1)
    if not cuts or cuts[-1] < len(order) - 1:
        joints.append(NOWHERE)
        ends.append(len(order))
    blocks = [
        _block(numbers, entry, exit_, order[i + 1 : j])
        for entry, exit_, i, j in zip(joints, joints[1:], ends, ends[1:], strict=False)
    ]
    return tuple(joints), tuple(blocks)


def _block(numbers: FlowNumbers, entry: int, exit_: int, inner: tuple[int, ...]) -> Block:
    flow = numbers.flow
    here = {*inner, exit_}
    tensors = tuple(t for t in flow.outputs[entry] if here & set(flow.tensors[t].consumers)) if entry >= 0 else ()
    direct = any(exit_ in flow.tensors[t].consumers for t in tensors)
    branches = _chains(numbers, entry, exit_, inner, tensors)
    kind: Literal["edge", "chains", "general"] = "general"
    if not inner and entry >= 0 and exit_ >= 0:
        kind = "edge"
    elif branches:
        kind = "chains"
    return Block(entry, exit_, inner, kind, branches, tensors, direct)


def _chains(
    numbers: FlowNumbers, entry: int, exit_: int, inner: tuple[int, ...], tensors: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Return the parallel chains between entry and exit, or nothing if that is not what the block is.

    Each op inside reads one tensor and makes one that one op reads. Sources and sinks next to ops of their own
    place are left to the general case, because they do not join those ops' segments.
    """
    flow = numbers.flow
    if entry < 0 or exit_ < 0 or len(tensors) != 1 or not inner:
        return ()
    read = {v: [t for t in flow.outputs[v] if flow.tensors[t].consumers] for v in inner}
    for v in inner:
        if len(flow.inputs[v]) != 1 or len(read[v]) != 1 or len(flow.successors[v]) != 1:
            return ()
    for end in (entry, exit_):
        if flow.is_endpoint[end] and (numbers.available[list(inner)] & numbers.available[end]).any():
            return ()
    branches = []
    for first in flow.successors[entry]:
        chain, v = [], first
        while v != exit_:
            chain.append(v)
            (v,) = flow.successors[v]
        if chain:
            branches.append(tuple(chain))
    return tuple(branches)
