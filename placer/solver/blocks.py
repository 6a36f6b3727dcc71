"""Splits a flow at the ops every path passes, where time and segments can be counted block by block.

An op is a *separator* when every other op comes before or after it and no edge jumps over it. When a separator
is done, everything before it is done, no tensor is under way, and all that comes later waits for it. So the time
between two separators depends on the choices in between alone (and on theirs), and the times of the blocks add
up to the makespan; the same holds for the number of segments begun. docs/formulation.md has the proof.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.index import FlowIndex, ProblemIndex
    from placer.segments import Segment


@dataclass(frozen=True, slots=True)
class Block:
    """The ops after one separator up to and including the next.

    `before` is -1 for the first block of a flow that begins with several ops, `end` is -1 for the last block of
    one that ends with several.
    """

    before: int
    inner: tuple[int, ...]
    end: int

    @property
    def ops(self) -> tuple[int, ...]:
        """The ops whose time the block accounts for: the inner ones and the closing separator."""
        return self.inner if self.end < 0 else (*self.inner, self.end)

    @property
    def scope(self) -> tuple[int, ...]:
        """Every op whose choice the block's time and segments depend on."""
        return self.ops if self.before < 0 else (self.before, *self.ops)


def blocks_of(flow: FlowIndex) -> tuple[Block, ...]:
    """Split a flow into its blocks, in topological order; together they hold every op once."""
    order = flow.topological
    rank = {v: i for i, v in enumerate(order)}
    n = len(order)
    # jumps[i] > 0: an edge passes over the op of rank i.
    change = [0] * (n + 1)
    for v in range(n):
        for w in flow.successors[v]:
            if rank[w] - rank[v] > 1:
                change[rank[v] + 1] += 1
                change[rank[w]] -= 1
    first_end = min((rank[v] for v in range(n) if not flow.successors[v]), default=n)
    last_start = max((rank[v] for v in range(n) if not flow.predecessors[v]), default=-1)
    blocks: list[Block] = []
    before, jumps = -1, 0
    inner: list[int] = []
    for i, v in enumerate(order):
        jumps += change[i]
        if jumps == 0 and i <= first_end and i >= last_start:
            blocks.append(Block(before, tuple(inner), v))
            before, inner = v, []
        else:
            inner.append(v)
    if inner:
        blocks.append(Block(before, tuple(inner), -1))
    return tuple(blocks)


def separator_times(
    index: ProblemIndex,
    flow: FlowIndex,
    blocks: Sequence[Block],
    choice: Sequence[int],
    segments: Sequence[Segment],
    segment_of: Sequence[int],
    segment_start_s: Sequence[float],
    end_s: Sequence[float],
) -> list[float]:
    """When each block is done, in seconds after the data arose.

    A separator inside a segment is done when the segment's ops up to it are, running one after another; later
    ops of the segment belong to later blocks.

    Parameters
    ----------
    end_s
        For each op, when its segment (or, for sources and sinks, itself) ends.
    """
    rank = {v: i for i, v in enumerate(flow.topological)}
    times = []
    for block in blocks:
        if block.end < 0:
            times.append(max(end_s[v] for v in block.inner if not flow.successors[v]))
        elif segment_of[block.end] < 0:
            times.append(end_s[block.end])
        else:
            s = segment_of[block.end]
            done = sum(flow.options[v][choice[v]].seconds for v in segments[s].ops if rank[v] <= rank[block.end])
            times.append(segment_start_s[s] + index.start[segments[s].device, segments[s].mode][0] + done)
    return times


def segments_begun(
    flow: FlowIndex, blocks: Sequence[Block], segments: Sequence[Segment]
) -> list[Counter[tuple[int, int]]]:
    """For each block, how many segments have their first op in it, by place (device, mode)."""
    rank = {v: i for i, v in enumerate(flow.topological)}
    block_of = {v: k for k, block in enumerate(blocks) for v in block.ops}
    counts = [Counter[tuple[int, int]]() for _ in blocks]
    for segment in segments:
        first = min(segment.ops, key=lambda v: rank[v])
        counts[block_of[first]][segment.device, segment.mode] += 1
    return counts
