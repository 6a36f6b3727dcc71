"""Lower bounds for blocks of parallel chains, for all blocks and all pairs of joint places at once.

Let a and z be the places of a block's entry and exit, and c the number of changes of place along a branch, from
entry to exit. By the level rule the exit's level is the entry's plus M, the largest c. Three families follow:

- M = 0: everything at a = z, one segment; the seconds add up.
- M = 1: every branch runs a while at a and then at z. What is at a ends with the entry's segment, what is at z
  belongs to the exit's; all tensors cross at one moment and one after the other. Price and latency are exact.
- M >= 2: some branch visits a third place, or leaves a and returns. The first runs at a still belong to the
  entry's segment, so their seconds add up. Of what follows, the time of any one branch bounds the latency from
  below; the others' seconds are left out, and the branch for which that is dearest counts. (Where latency is
  serial all seconds count.) Runs between the first and the last are segments of their own; the last run of a
  branch with c = 1 is one too, for its level is not the exit's. A tensor of the entry that B branches fetch costs
  each of them at least a B-th of the transfer; where the exit reads it too it is at the exit's device anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from placer.solver.exact.chain_layout import ChainLayout
    from placer.solver.exact.prices import Prices
    from placer.solver.exact.rows import Array

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BranchTables:
    """Prices along the branches for M >= 2, with the seconds behind the first run counted or left out."""

    second: float
    """Price of a second behind the first run: the latency's, or 0."""
    ahead: list[Array]
    """By position from the end: (active branches, P, P), cheapest way on with at least one more change."""
    last_run: list[Array]
    """By position from the end: (active branches, P), the rest of the branch in one run."""
    leaving: Array
    """(edges, P, P) price of changing place on an edge; infinite on the diagonal."""
    entering: Array
    """(branches, P, P) price of fetching the entry's tensor to another place."""
    free: Array
    """(branches, P, P) the same where the exit fetches it too, to the same device."""
    inside: Array
    """(branches, P) price of starting a segment."""
    once: Array
    """(branches, P, P) cheapest with one change of place at most."""
    more: Array
    """(branches, P, P) cheapest with more."""


@dataclass(frozen=True, slots=True)
class ChainTables:
    """What `price_chains` found; the parts serve the listing of single choices."""

    block: Array
    """(blocks, P, P) lower bound of each chain block, for each pair of joint places."""
    counted: BranchTables
    """Branch prices with all seconds."""
    apart: BranchTables
    """Branch prices without the seconds behind the first run."""
    last_run_full: list[Array]
    """By position from the end: (active branches, P), the rest of the branch in the exit's segment."""
    crossing: Array
    """(edges, P, P) price of an edge at a common cut (M = 1)."""
    prefix: Array
    """(branches, L + 1, P) the first k ops at the entry's place, in its segment."""
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
    second = prices.second
    eye = np.eye(count, dtype=bool)
    apart_only = prices.blocked + np.where(eye, np.inf, 0.0)
    moving = (
        layout.edge_share[:, None, None] * (prices.transfer + layout.edge_bytes[:, :, None] * prices.transfer_byte)
        + apart_only
    )
    fetch = (
        layout.entry_share[:, None, None] * (prices.transfer + layout.entry_bytes[:, :, None] * prices.transfer_byte)
        + apart_only
    )
    crossing = moving + second * layout.edge_serial_s

    prefix = np.full((len(layout.length), layout.ops.shape[1] + 1, count), np.inf)
    prefix[:, 0] = 0.0
    for k in range(layout.ops.shape[1]):
        m = layout.longer_than(k)
        prefix[:m, k + 1] = prefix[:m, k] + prices.op_full[layout.ops[:m, k]]

    counted = _price_branches(layout, prices, prefix, moving, fetch, second, prices.held)
    # Serial latency leaves nothing out.
    apart = counted if n.serial else _price_branches(layout, prices, prefix, moving, fetch, 0.0, 0.0)
    first, later, last_run_full = _price_cuts(layout, prices, prefix, crossing)
    shared = fetch + second * layout.entry_serial_s
    end = np.where(layout.exit_is_end[:, None], 0.0, prices.segment(layout.exit_share) + second * n.segment_s)
    cut = second * n.transfer_s + prices.held * layout.cut_held_s + end[:, None, :] + np.where(eye, np.inf, 0.0)
    fetched = fetch + (second * layout.entry_s if n.serial else 0.0)
    detour = np.broadcast_to(end[:, None, :], cut.shape) + np.where(layout.direct[:, None, None] & ~eye, fetched, 0.0)
    block = np.zeros((0, count, count))
    if layout.blocks:
        block = np.minimum(
            _join_cuts(layout, first, later, shared) + cut, _join_parted(layout, counted, apart) + detour
        )
        block = np.minimum(block, layout.total(_stay(layout, prefix)))
    return ChainTables(block, counted, apart, last_run_full, crossing, prefix, cut, shared, detour)


def _stay(layout: ChainLayout, prefix: Array) -> Array:
    """Price of a branch that stays at its entry's place, which is the exit's: (branches, P, P), diagonal."""
    count = prefix.shape[2]
    stay = np.full((len(layout.length), count, count), np.inf)
    eye = np.arange(count)
    stay[:, eye, eye] = prefix[np.arange(len(layout.length)), layout.length]
    return stay


def _price_branches(
    layout: ChainLayout, prices: Prices, prefix: Array, moving: Array, fetch: Array, second: float, held: float
) -> BranchTables:
    """Price every branch for M >= 2; `second` is the price of the seconds behind the first run, `held` of pauses."""
    n, count = layout.numbers, layout.numbers.device_of.size
    rows = len(layout.length)
    leaving = moving + second * layout.edge_s
    own = second * layout.entry_s[layout.block]
    if held:
        leaving += held * layout.edge_held_s
        own += held * layout.entry_held_s[layout.block]
    inside = prices.segment(layout.least_share) + second * n.segment_s
    branches = layout.branches[layout.block][:, None, None]
    # Serial latency counts a fetch once however many branches share it, like its energy.
    entering = fetch[layout.block] / branches + (own / branches if n.serial else own)
    free = (0.0 if n.serial else 1.0) * own + prices.blocked + np.where(np.eye(count, dtype=bool), np.inf, 0.0)
    once = _stay(layout, prefix)
    more = np.full((rows, count, count), np.inf)
    ahead: list[Array] = []
    last_run: list[Array] = []
    op = prices.op + second * n.seconds
    for j in range(1, layout.ops.shape[1] + 1):
        m = layout.longer_than(j - 1)
        at = layout.length[:m] - j
        ops, edges = layout.ops[np.arange(m), at], layout.edge[np.arange(m), at]
        out, inner = leaving[edges], op[ops]
        before = prefix[np.arange(m), at + 1][:, :, None]
        if j == 1:
            np.minimum(once[:m], before + out, out=once[:m])
            ahead.append(inner[:, :, None] + inside[:m, :, None] + out)
            last_run.append(inner)
        else:
            two, run = ahead[-1][:m], last_run[-1][:m]
            onward = _min_plus(out, two)
            straight = out + run[:, None, :]
            np.minimum(more[:m], before + onward, out=more[:m])
            np.minimum(once[:m], before + straight + inside[:m, None, :], out=once[:m])
            change = inside[:m, :, None] + np.minimum(onward, straight)
            ahead.append(inner[:, :, None] + np.minimum(two, change))
            last_run.append(inner + run)
        done = np.flatnonzero(layout.length[:m] == j)
        if done.size:
            two, run = ahead[-1][done], last_run[-1][done]
            direct = layout.direct[layout.block[done]][:, None, None]
            start = np.where(direct, free[done], entering[done])
            once[done] = np.minimum(once[done], start + run[:, None, :] + inside[done][:, None, :])
            # The exit fetches the tensor too: to the exit's device it goes anyway.
            there = np.where(direct & layout.same_device, two, np.inf)
            into = np.minimum(_min_plus(entering[done], two), _min_plus(free[done], there))
            more[done] = np.minimum(more[done], into)
    # The last run may be a segment of its own, whose price without its seconds can be negative.
    more += np.minimum(inside, 0.0)[:, None, :]
    return BranchTables(second, ahead, last_run, leaving, entering, free, inside, once, more)


def _price_cuts(
    layout: ChainLayout, prices: Prices, prefix: Array, crossing: Array
) -> tuple[Array, Array, list[Array]]:
    """Price every branch at a common cut: cut before its first op, cut later, and the runs up to the exit."""
    count = prefix.shape[2]
    first = np.full((len(layout.length), count, count), np.inf)
    later = np.full_like(first, np.inf)
    runs: list[Array] = []
    apart = np.where(np.eye(count, dtype=bool), np.inf, 0.0)
    for j in range(1, layout.ops.shape[1] + 1):
        m = layout.longer_than(j - 1)
        at = layout.length[:m] - j
        ops, edges = layout.ops[np.arange(m), at], layout.edge[np.arange(m), at]
        cut = prefix[np.arange(m), at + 1][:, :, None] + crossing[edges]
        full = prices.op_full[ops]
        if runs:
            cut = cut + runs[-1][:m, None, :]
            full = full + runs[-1][:m]
        np.minimum(later[:m], cut, out=later[:m])
        runs.append(full)
        done = layout.length[:m] == j
        first[:m][done] = full[done][:, None, :] + apart
    return first, later, runs


def _join_cuts(layout: ChainLayout, first: Array, later: Array, shared: Array) -> Array:
    """Join common cuts of whole blocks: the entry's tensor crosses if any branch is cut before its first op."""
    with_entry = shared + layout.total(np.minimum(first, later))
    return np.where(layout.direct[:, None, None], with_entry, np.minimum(with_entry, layout.total(later)))


def _join_parted(layout: ChainLayout, counted: BranchTables, apart: BranchTables) -> Array:
    """Join choices with M >= 2 of whole blocks: one branch with its seconds, the others without."""
    low, high = np.minimum(apart.once, apart.more), np.minimum(counted.once, counted.more)
    with np.errstate(invalid="ignore"):
        extra = np.where(np.isfinite(low), apart.more - low, 0.0)
        extra_counted = np.where(np.isfinite(high), counted.more - high, 0.0)
        # Some branch has two changes or more.
        least = layout.least(extra)
        if layout.numbers.serial:
            return layout.total(low) + least
        spared = np.where(np.isfinite(low), high - low, np.inf)
        one = spared + np.minimum(extra_counted, least[layout.block])
        return layout.total(low) + layout.largest(one)
