"""Lower bounds for blocks of parallel chains, for all blocks and all pairs of joint places at once.

Let a and z be the places of a block's entry and exit, and c the number of changes of place along a branch, from
entry to exit. By the level rule the exit's level is the entry's plus M, the largest c. Three families follow:

- M = 0: everything at a = z, one segment; the seconds add up.
- M = 1: every branch runs a while at a and then at z. What is at a ends with the entry's segment, what is at z
  belongs to the exit's; all tensors cross at one moment and one after the other. Price and latency are exact.
- M >= 2: some branch visits a third place, or leaves a and returns. The first runs at a still belong to the
  entry's segment, so their seconds add up. Of what follows, any convex combination of the branches' own times
  bounds the latency from below; the weight is put on the branch with most work (on each of them where latency is
  serial). Runs between the first and the last are segments of their own; the last run of a branch with c = 1 is
  one too, for its level is not the exit's. A tensor of the entry that B branches fetch costs each of them at
  least a B-th of the transfer; where the exit reads it too it is at the exit's device anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from placer.solver.exact.numbers import FlowNumbers
    from placer.solver.exact.prices import Prices
    from placer.solver.exact.rows import Array
    from placer.solver.exact.structure import Block

Positions = npt.NDArray[np.int64]


class ChainLayout:
    """All branches of all chain blocks as padded arrays, longest first; B branches, L ops in the longest."""

    def __init__(self, numbers: FlowNumbers, blocks: tuple[Block, ...]) -> None:
        self.numbers = numbers
        self.blocks = tuple(i for i, b in enumerate(blocks) if b.kind == "chains")
        rows = [(chain, i, b) for i in self.blocks for b, chain in enumerate(blocks[i].branches)]
        rows.sort(key=lambda row: -len(row[0]))
        flow = numbers.flow
        self.row_of = {(i, b): r for r, (_, i, b) in enumerate(rows)}
        self.length = np.array([len(chain) for chain, _, _ in rows], dtype=np.int64)
        longest = int(self.length[0]) if rows else 0
        self.ops = np.full((len(rows), longest), -1, dtype=np.int64)
        for r, (chain, _, _) in enumerate(rows):
            self.ops[r, : len(chain)] = chain
        order = {block: k for k, block in enumerate(self.blocks)}
        self.block = np.array([order[i] for _, i, _ in rows], dtype=np.int64)
        entry_tensor = np.array([blocks[i].tensors[0] for i in self.blocks], dtype=np.int64)
        self.direct = np.array([blocks[i].direct for i in self.blocks], dtype=bool)
        self.branches = np.bincount(self.block, minlength=len(self.blocks)).astype(np.float64)
        self.exit_share = np.array([flow.share[blocks[i].exit] for i in self.blocks])
        self.exit_is_end = np.array([flow.is_endpoint[blocks[i].exit] for i in self.blocks], dtype=bool)
        self.entry_bytes = numbers.tensor_bytes[entry_tensor]
        shares = np.array(flow.share)
        self.first_share = shares[self.ops[:, 0]] if rows else np.zeros(0)
        lowest = self.exit_share.copy()
        lowest[~self.direct] = np.inf
        np.minimum.at(lowest, self.block, self.first_share)
        self.entry_share = lowest
        """The smallest share among the readers of the entry's tensor: no transfer of it counts for less."""
        self.weight = np.zeros(len(rows))
        if numbers.serial:
            self.weight[:] = 1.0
        else:
            work = np.where(numbers.available, numbers.seconds, 0).mean(axis=1)
            heaviest: dict[int, tuple[float, int]] = {}
            for r, (chain, i, _) in enumerate(rows):
                heaviest[i] = max(heaviest.get(i, (-1.0, 0)), (float(work[list(chain)].sum()), r))
            self.weight[[r for _, r in heaviest.values()]] = 1.0
        self._edges(rows, blocks)

    def _edges(self, rows: list[tuple[tuple[int, ...], int, int]], blocks: tuple[Block, ...]) -> None:
        """Lay out the edge that leaves each op; slot 0 of `edge` is the first op's outgoing edge."""
        n, flow = self.numbers, self.numbers.flow
        self.edge = np.full_like(self.ops, -1)
        sizes, shares, weights = [], [], []
        for r, (chain, i, _) in enumerate(rows):
            for k, v in enumerate(chain):
                (tensor,) = (t for t in flow.outputs[v] if flow.tensors[t].consumers)
                self.edge[r, k] = len(sizes)
                sizes.append(n.tensor_bytes[tensor])
                shares.append(flow.share[chain[k + 1] if k + 1 < len(chain) else blocks[i].exit])
                weights.append(self.weight[r])
        self.edge_bytes = np.array(sizes).reshape(-1, len(n.places))
        self.edge_share = np.array(shares)
        other = n.device_of[:, None] != n.device_of[None, :]
        time_s = n.transfer_s + self.edge_bytes[:, :, None] * n.byte_s
        self.edge_weighted_s = np.array(weights)[:, None, None] * time_s
        # On one link tensors follow each other, so at a common cut their seconds add up; conversions overlap.
        self.edge_serial_s = np.where(other, self.edge_bytes[:, :, None] * n.byte_s, 0.0)


@dataclass(frozen=True, slots=True)
class ChainTables:
    """What `price_chains` found; the arrays by step serve the enumeration of single choices."""

    block: Array
    """(blocks, P, P) lower bound of each chain block, for each pair of joint places."""
    ahead: list[Array]
    """By position from the end: (active branches, P, P), cheapest way on with at least one more change."""
    last_run: list[Array]
    """By position from the end: (active branches, P), the rest of the branch in one run, latency weighted."""
    last_run_full: list[Array]
    """The same with its latency in full."""
    leaving: Array
    """(edges, P, P) price of changing place on an edge, latency weighted; infinite on the diagonal."""
    crossing: Array
    """(edges, P, P) the same for a common cut (M = 1)."""
    entering: Array
    """(branches, P, P) price of fetching the entry's tensor to a third place (M >= 2)."""
    prefix: Array
    """(branches, L + 1, P) the first k ops at the entry's place, latency in full."""
    inside: Array
    """(branches, P) price of a segment inside, latency weighted."""
    cut: Array
    """(blocks, P, P) what a common cut costs beside its branches' parts."""
    shared: Array
    """(blocks, P, P) price of the entry's tensor when it crosses at a common cut."""
    detour: Array
    """(blocks, P, P) what M >= 2 costs beside its branches' parts."""


def _min_plus(left: Array, right: Array) -> Array:
    """Product of (m, P, P) matrices where plus is min and times is plus."""
    best = left[:, :, :1] + right[:, :1, :]
    for o in range(1, left.shape[2]):
        np.minimum(best, left[:, :, o : o + 1] + right[:, o : o + 1, :], out=best)
    return best


def price_chains(layout: ChainLayout, prices: Prices) -> ChainTables:
    """Bound every chain block from below for every pair of places of its joints."""
    n, count = layout.numbers, layout.numbers.device_of.size
    rows = len(layout.length)
    longest = layout.ops.shape[1]
    second = prices.second
    diagonal = np.where(np.eye(count, dtype=bool), np.inf, 0.0)
    moving = layout.edge_share[:, None, None] * (
        prices.transfer + layout.edge_bytes[:, :, None] * prices.transfer_byte
    ) + (prices.blocked + diagonal)
    leaving = moving + second * layout.edge_weighted_s
    crossing = moving + second * layout.edge_serial_s
    weight = layout.weight[:, None]
    shares = np.array(n.flow.share)
    # A segment inside has at least the smallest share of its branch's ops.
    branch_share = np.array([shares[layout.ops[r, : layout.length[r]]].min() for r in range(rows)])
    inside = prices.segment(branch_share) + weight * second * n.segment_s

    prefix = np.full((rows, longest + 1, count), np.inf)
    prefix[:, 0] = 0.0
    for k in range(longest):
        m = int(np.searchsorted(-layout.length, -k, side="left"))
        prefix[:m, k + 1] = prefix[:m, k] + prices.op_full[layout.ops[:m, k]]

    block = layout.block
    own_s = n.transfer_s + layout.entry_bytes[:, :, None] * n.byte_s
    fetch = layout.entry_share[:, None, None] * (
        prices.transfer + layout.entry_bytes[:, :, None] * prices.transfer_byte
    ) + (prices.blocked + diagonal)
    # Serial latency counts a fetch once however many branches share it, like its energy.
    fetching = weight[:, :, None] / (layout.branches[block][:, None, None] if n.serial else 1.0)
    entering = fetch[block] / layout.branches[block][:, None, None] + second * fetching * own_s[block]

    stay = np.full((rows, count, count), np.inf)
    once = np.full((rows, count, count), np.inf)
    more = np.full((rows, count, count), np.inf)
    cut_later = np.full((rows, count, count), np.inf)
    cut_first = np.full((rows, count, count), np.inf)
    ahead: list[Array] = []
    last_run: list[Array] = []
    last_run_full: list[Array] = []
    eye = np.arange(count)
    for j in range(1, longest + 1):
        m = int(np.searchsorted(-layout.length, -j, side="right"))
        at = layout.length[:m] - j
        ops = layout.ops[np.arange(m), at]
        edges = layout.edge[np.arange(m), at]
        out = leaving[edges]
        inner = prices.op[ops] + weight[:m] * second * n.seconds[ops]
        full = prices.op_full[ops]
        before = prefix[np.arange(m), at + 1][:, :, None]
        if j == 1:
            once[:m] = before + out
            cut_later[:m] = before + crossing[edges]
            further = inside[:m, :, None] + out
            ahead.append(inner[:, :, None] + further)
            last_run.append(inner)
            last_run_full.append(full)
            stay[:m, eye, eye] = prefix[np.arange(m), at + 1]
        else:
            two, run, run_full = ahead[-1][:m], last_run[-1][:m], last_run_full[-1][:m]
            onward = _min_plus(out, two)
            straight = out + run[:, None, :]
            np.minimum(more[:m], before + onward, out=more[:m])
            np.minimum(once[:m], before + straight + inside[:m, None, :], out=once[:m])
            np.minimum(cut_later[:m], before + crossing[edges] + run_full[:, None, :], out=cut_later[:m])
            change = inside[:m, :, None] + np.minimum(onward, straight)
            ahead.append(inner[:, :, None] + np.minimum(two, change))
            last_run.append(inner + run)
            last_run_full.append(full + run_full)
        done = np.flatnonzero(layout.length[:m] == j)
        if done.size:
            _enter(layout, prices, done, entering, ahead[-1], last_run[-1], inside, once, more)
            cut_first[done] = last_run_full[-1][done][:, None, :] + diagonal
    more += np.minimum(inside, 0.0)[:, None, :]
    shared = fetch + second * np.where(
        n.device_of[:, None] != n.device_of[None, :], layout.entry_bytes[:, :, None] * n.byte_s, 0.0
    )
    end = np.where(layout.exit_is_end[:, None], 0.0, prices.segment(layout.exit_share) + second * n.segment_s)
    cut = second * n.transfer_s + end[:, None, :] + diagonal
    detour = np.broadcast_to(end[:, None, :], cut.shape) + np.where(
        layout.direct[:, None, None] & ~np.eye(count, dtype=bool), fetch + (second * own_s if n.serial else 0.0), 0.0
    )
    return ChainTables(
        block=_assemble(layout, stay, once, more, (cut_first, cut_later, shared, cut), detour),
        ahead=ahead,
        last_run=last_run,
        last_run_full=last_run_full,
        leaving=leaving,
        crossing=crossing,
        entering=entering,
        prefix=prefix,
        inside=inside,
        cut=cut,
        shared=shared,
        detour=detour,
    )


def _enter(
    layout: ChainLayout,
    prices: Prices,
    done: Positions,
    entering: Array,
    ahead: Array,
    last_run: Array,
    inside: Array,
    once: Array,
    more: Array,
) -> None:
    """Add the choices where the very first op of a branch is away from the entry (M >= 2)."""
    n = layout.numbers
    fetch, two, run = entering[done], ahead[done], last_run[done]
    more[done] = np.minimum(more[done], _min_plus(fetch, two))
    straight = fetch.copy()
    direct = layout.direct[layout.block[done]]
    if direct.any():
        # The exit reads the tensor too: to the exit's device it goes anyway, only its time is left to pay.
        free = entering_time(layout, prices, done)
        same = n.device_of[:, None] == n.device_of[None, :]
        there = np.where(same & direct[:, None, None], two, np.inf)
        more[done] = np.minimum(more[done], _min_plus(free, there))
        straight = np.where(direct[:, None, None], free, straight)
    once[done] = np.minimum(once[done], straight + run[:, None, :] + inside[done][:, None, :])


def entering_time(layout: ChainLayout, prices: Prices, rows: Positions) -> Array:
    """Price of the seconds alone that fetching the entry's tensor takes, where the exit pays the rest.

    Returns
    -------
    Array
        (rows, P, P); the seconds are free as well where latency is serial, for then the exit has paid them.
    """
    n = layout.numbers
    block = layout.block[rows]
    seconds = n.transfer_s + layout.entry_bytes[block][:, :, None] * n.byte_s
    diagonal = np.where(np.eye(n.device_of.size, dtype=bool), np.inf, 0.0)
    weight = np.zeros(len(rows)) if n.serial else layout.weight[rows]
    priced: Array = prices.second * weight[:, None, None] * seconds + (prices.blocked + diagonal)
    return priced


def _assemble(
    layout: ChainLayout, stay: Array, once: Array, more: Array, cut: tuple[Array, Array, Array, Array], detour: Array
) -> Array:
    """Take the cheapest of the three families for each block and pair of places."""
    if not layout.blocks:
        return np.zeros((0, *detour.shape[1:]))
    order = np.argsort(layout.block, kind="stable")
    starts = np.searchsorted(layout.block[order], np.arange(len(layout.blocks)))

    def total(branches: Array) -> Array:
        added: Array = np.add.reduceat(branches[order], starts, axis=0)
        return added

    first, later, shared, common = cut
    with_entry = shared + total(np.minimum(first, later))
    at_once = np.where(layout.direct[:, None, None], with_entry, np.minimum(with_entry, total(later))) + common
    cheapest = np.minimum(np.minimum(stay, once), more)
    with np.errstate(invalid="ignore"):
        extra = np.where(np.isfinite(cheapest), more - cheapest, 0.0)
    parted = total(cheapest) + np.minimum.reduceat(extra[order], starts, axis=0) + detour
    best: Array = np.minimum(np.minimum(total(stay), at_once), parted)
    return best
