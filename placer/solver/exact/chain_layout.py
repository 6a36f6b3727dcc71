"""The branches of all chain blocks as padded arrays, so that one array operation serves them all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from placer.solver.exact.numbers import Flags, FlowNumbers
    from placer.solver.exact.pauses import Pauses
    from placer.solver.exact.rows import Array
    from placer.solver.exact.structure import Block


class ChainLayout:
    """What does not change with prices; branches are rows, longest first, L ops in the longest."""

    def __init__(self, numbers: FlowNumbers, blocks: tuple[Block, ...], pauses: Pauses) -> None:
        flow = numbers.flow
        self.numbers = numbers
        self.blocks = tuple(i for i, b in enumerate(blocks) if b.kind == "chains")
        order = {block: k for k, block in enumerate(self.blocks)}
        rows = [(chain, i, b) for i in self.blocks for b, chain in enumerate(blocks[i].branches)]
        rows.sort(key=lambda row: -len(row[0]))
        self.row_of = {(i, b): r for r, (_, i, b) in enumerate(rows)}
        """(block, branch) to its row."""
        self.length = np.array([len(chain) for chain, _, _ in rows], dtype=np.int64)
        self.ops = np.full((len(rows), len(rows[0][0]) if rows else 0), -1, dtype=np.int64)
        for r, (chain, _, _) in enumerate(rows):
            self.ops[r, : len(chain)] = chain
        self.block = np.array([order[i] for _, i, _ in rows], dtype=np.int64)
        """For each row the position of its block in `blocks`."""
        self._by_block = np.argsort(self.block, kind="stable")
        self._starts = np.searchsorted(self.block[self._by_block], np.arange(len(self.blocks)))
        self.branches = np.bincount(self.block, minlength=len(self.blocks)).astype(np.float64)
        self.direct = np.array([blocks[i].direct for i in self.blocks], dtype=bool)
        self.exit_share = np.array([flow.share[blocks[i].exit] for i in self.blocks])
        self.exit_is_end = np.array([flow.is_endpoint[blocks[i].exit] for i in self.blocks], dtype=bool)
        shares = np.array(flow.share)
        self.least_share = np.array([shares[list(chain)].min() for chain, _, _ in rows])
        """The smallest share in each branch: no segment in it counts for less."""
        self.entry_share = np.where(self.direct, self.exit_share, np.inf)
        """The smallest share among the readers of each entry's tensor: no transfer of it counts for less."""
        np.minimum.at(self.entry_share, self.block, shares[self.ops[:, 0]] if rows else np.zeros(0))
        self.same_device = numbers.device_of[:, None] == numbers.device_of[None, :]
        self._edges(rows, blocks)
        self._hold(rows, blocks, pauses)

    def _edges(self, rows: list[tuple[tuple[int, ...], int, int]], blocks: tuple[Block, ...]) -> None:
        """Lay out the edge that leaves each op, and the entry's tensor."""
        n, flow = self.numbers, self.numbers.flow
        count = len(n.places)
        self.edge = np.full_like(self.ops, -1)
        sizes: list[Array] = []
        shares: list[float] = []
        for r, (chain, i, _) in enumerate(rows):
            for k, v in enumerate(chain):
                (tensor,) = (t for t in flow.outputs[v] if flow.tensors[t].consumers)
                self.edge[r, k] = len(sizes)
                sizes.append(n.tensor_bytes[tensor])
                shares.append(flow.share[chain[k + 1] if k + 1 < len(chain) else blocks[i].exit])
        self.edge_bytes = np.array(sizes).reshape(-1, count)
        self.edge_share = np.array(shares)
        self.edge_s = n.transfer_s + self.edge_bytes[:, :, None] * n.byte_s
        # On one link tensors follow each other, so at a common cut their seconds add up; conversions overlap.
        self.edge_serial_s = np.where(self.same_device, 0.0, self.edge_bytes[:, :, None] * n.byte_s)
        entry = [blocks[i].tensors[0] for i in self.blocks]
        self.entry_bytes = n.tensor_bytes[entry].reshape(-1, count)
        self.entry_s = n.transfer_s + self.entry_bytes[:, :, None] * n.byte_s
        self.entry_serial_s = np.where(self.same_device, 0.0, self.entry_bytes[:, :, None] * n.byte_s)

        self.idle = self._idle_ops(rows, blocks)
        """(branches, L) ops that may be thought to run where the op before them runs: see `_idle_ops`."""

    def _hold(self, rows: list[tuple[tuple[int, ...], int, int]], blocks: tuple[Block, ...], pauses: Pauses) -> None:
        """Bound from below by what pauses hold back the messages of each edge, entry and common cut, (..., P, P).

        Where latency is serial a message counts once, and up to as many edges as there are branches may be of it.
        """
        count = len(self.numbers.places)
        most = [pauses.most_bytes(blocks[i]) for i in self.blocks]
        self.edge_held_s = np.zeros((len(self.edge_bytes), count, count))
        self.entry_held_s = np.zeros((len(self.blocks), count, count))
        self.cut_held_s = np.zeros_like(self.entry_held_s)
        if not pauses.count:
            return
        least = np.zeros((len(rows), count))
        for r in range(len(rows)):
            edges = self.edge[r, : self.length[r]]
            least[r] = self.edge_bytes[edges].min(axis=0)
            for e in edges:
                self.edge_held_s[e] = pauses.at_least(self.edge_bytes[e], most[self.block[r]])
            if self.numbers.serial:
                self.edge_held_s[edges] /= self.branches[self.block[r]]
        # A cut is behind some op of each branch, or the entry's tensor is among what crosses.
        behind = self.total(least)
        for k in range(len(self.blocks)):
            entry = self.entry_bytes[k]
            self.entry_held_s[k] = pauses.at_least(entry, most[k])
            crossing = entry if self.direct[k] else np.minimum(entry, behind[k])
            self.cut_held_s[k] = pauses.at_least(crossing, most[k])

    def _idle_ops(self, rows: list[tuple[tuple[int, ...], int, int]], blocks: tuple[Block, ...]) -> Flags:
        """Mark the ops whose place before a change of place does not matter.

        Let u, v, w follow each other in a branch, v cost nothing anywhere, and pass on as many bytes as it reads,
        all three with one share. If v changes place and w stays with it, v might as well stay with u: the same
        bytes cross at the same moment, the segments take as long as before, and their order is the same if no op
        of another branch and no other tensor stands between v and w in the file. So such a choice need not be
        listed, as long as the room lets v run wherever u does, which the caller checks.
        """
        n, flow = self.numbers, self.numbers.flow
        free = ~np.any(n.seconds > 0, axis=1) & ~np.any(n.op_rows != 0, axis=(1, 2))
        idle = np.zeros(self.ops.shape, dtype=bool)
        for r, (chain, i, _) in enumerate(rows):
            inner = sorted(blocks[i].inner)
            tensors = sorted({t for v in (blocks[i].entry, *inner) for t in flow.outputs[v]})
            for k in range(1, len(chain) - 1):
                u, v, w = chain[k - 1 : k + 2]
                (t,), (s,) = ([t for t in flow.outputs[x] if flow.tensors[t].consumers] for x in (u, v))
                same = n.available[u]
                idle[r, k] = (
                    free[v]
                    and flow.share[u] == flow.share[v] == flow.share[w]
                    and bool((n.tensor_bytes[t, same] == n.tensor_bytes[s, same]).all())
                    and not _any_between(inner, v, w)
                    and not _any_between(tensors, s, t)
                )
        return idle

    def longer_than(self, k: int) -> int:
        """How many rows, from the first on, have more than k ops."""
        return int(np.searchsorted(-self.length, -k, side="left"))

    def total(self, values: Array) -> Array:
        """Add (branches, ...) up to (blocks, ...)."""
        added: Array = np.add.reduceat(values[self._by_block], self._starts, axis=0)
        return added

    def least(self, values: Array) -> Array:
        """Least of each block's branches."""
        least: Array = np.minimum.reduceat(values[self._by_block], self._starts, axis=0)
        return least

    def largest(self, values: Array) -> Array:
        """Largest of each block's branches."""
        largest: Array = np.maximum.reduceat(values[self._by_block], self._starts, axis=0)
        return largest


def _any_between(numbers: list[int], a: int, b: int) -> bool:
    """Whether one of some sorted numbers lies strictly between two."""
    return bisect_left(numbers, max(a, b)) > bisect_right(numbers, min(a, b))
