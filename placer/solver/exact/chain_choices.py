"""All ways to run one block of parallel chains that cost little more than the cheapest bound.

What a way adds to each row is exact: by formula for one segment and for a common cut, measured by the referee's
schedule where branches run side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.branch_choices import BranchChoices, TooMany
from placer.solver.exact.side_by_side import products, side_by_side
from placer.solver.exact.undominated import undominated

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.solver.exact.bound import Bound, Bounder
    from placer.solver.exact.measure import BlockMeter
    from placer.solver.exact.rows import Array

MOST = 5_000
"""Choices of one block and pair of places that are looked at; beyond, the block's bound stands."""


class ChainChoices:
    """Lists the ways of the chain blocks of one flow."""

    def __init__(self, bounder: Bounder, meter: Callable[[int], BlockMeter], spend: Callable[[int], None]) -> None:
        self.bounder = bounder
        self.numbers = bounder.numbers
        self.meter = meter
        self.spend = spend

    def find(
        self, bound: Bound, block: int, a: int, z: int, limit: float, cheap: bool
    ) -> tuple[list[tuple[Array, tuple[int, ...]]], bool]:
        """List the ways of a block of chains; also whether they are all."""
        n = self.numbers
        b = self.bounder.blocks[block]
        found: list[tuple[Array, tuple[int, ...]]] = []
        ends = n.flow.is_endpoint[b.entry] or n.flow.is_endpoint[b.exit]
        inner = list(b.inner)
        if a == z and not ends and float(bound.prices.op_full[inner, a].sum()) <= limit:
            rows = n.op_rows[inner, a].sum(axis=0) + n.rows.latency * n.seconds[inner, a].sum()
            found.append((rows, (a,) * len(inner)))
        layout, tables = self.bounder.layout, bound.chains
        k = layout.blocks.index(block)
        lister = BranchChoices(layout, tables, bound.prices, self.spend)
        rows_of = [layout.row_of[block, i] for i in range(len(b.branches))]
        try:
            if a != z:
                found += self._common_cuts(bound, lister, block, k, rows_of, a, z, limit)
            if not cheap:
                self._parted(bound, lister, block, k, rows_of, a, z, limit, found)
        except TooMany:
            return found, False
        return found, True

    def _common_cuts(
        self, bound: Bound, lister: BranchChoices, block: int, k: int, rows_of: list[int], a: int, z: int, limit: float
    ) -> list[tuple[Array, tuple[int, ...]]]:
        tables, direct = bound.chains, bool(self.bounder.layout.direct[k])
        base, shared = float(tables.cut[k, a, z]), float(tables.shared[k, a, z])
        if base == np.inf:
            return []
        lists = [lister.common_cuts(row, a, z) for row in rows_of]
        found: list[list[int]] = []
        for fetched in (True, False):
            if direct and not fetched:
                continue
            part = lists if fetched else [[c for c in choices if c[1] > 0] for choices in lists]
            room = limit - base - shared * fetched
            if self._adds_up(block, a, z):
                found += self._undominated_cuts(block, a, z, part, bound.multipliers, room)
            else:
                for cuts in products([[(p, (c,)) for p, c in choices] for choices in part], room, MOST):
                    if fetched == (direct or (0,) in cuts):
                        found.append([c[0] for c in cuts])
        return [self._cut_rows(block, a, z, cuts, direct) for cuts in found]

    def _adds_up(self, block: int, a: int, z: int) -> bool:
        """Whether a common cut's rows are a sum over the branches: one share, and seconds that follow each other.

        What pauses hold back is one message of all branches.
        """
        b, n = self.bounder.blocks[block], self.numbers
        if self.bounder.pauses.count:
            return False
        conversions = n.device_of[a] == n.device_of[z] and n.byte_s[a, z] > 0
        return not conversions and len({n.flow.share[v] for v in (*b.inner, b.exit)}) == 1

    def _undominated_cuts(
        self, block: int, a: int, z: int, lists: list[list[tuple[float, int]]], multipliers: Array, room: float
    ) -> list[list[int]]:
        """Combine the branches one by one and keep what is best in some row: their rows add up."""
        n, b = self.numbers, self.bounder.blocks[block]
        if any(not cuts for cuts in lists):
            return []
        rest = sum(cuts[0][0] for cuts in lists)
        rows, chosen = np.zeros((1, n.rows.count)), np.zeros((1, 0), dtype=np.int64)
        for chain, cuts in zip(b.branches, lists, strict=True):
            rest -= cuts[0][0]
            own = np.array([self._branch_cut_rows(chain, k, a, z) for _, k in cuts])
            at = np.array([k for _, k in cuts], dtype=np.int64)
            both = (rows[:, None, :] + own[None, :, :]).reshape(-1, n.rows.count)
            picks = np.column_stack([np.repeat(chosen, len(at), axis=0), np.tile(at, len(rows))])
            near = np.flatnonzero(both @ multipliers + rest <= room)
            if not near.size:
                return []
            best = near[undominated(both[near])]
            rows, chosen = both[best], picks[best]
        return [[int(k) for k in row] for row in chosen]

    def _branch_cut_rows(self, chain: tuple[int, ...], k: int, a: int, z: int) -> Array:
        """Add up one branch at a common cut behind its first k ops, without the entry's tensor."""
        n, flow = self.numbers, self.numbers.flow
        at = [a] * k + [z] * (len(chain) - k)
        rows = n.op_rows[list(chain), at].sum(axis=0)
        seconds = float(n.seconds[list(chain), at].sum())
        if k:
            (tensor,) = (t for t in flow.outputs[chain[k - 1]] if flow.tensors[t].consumers)
            size = float(n.tensor_bytes[tensor, a])
            rows = rows + flow.share[chain[k - 1]] * (n.transfer_rows[a, z] + size * n.transfer_byte_rows[a, z])
            seconds += size * float(n.byte_s[a, z]) + (float(n.transfer_s[a, z]) if n.serial else 0.0)
        added: Array = rows + n.rows.latency * seconds
        return added

    def _cut_rows(self, block: int, a: int, z: int, cuts: list[int], direct: bool) -> tuple[Array, tuple[int, ...]]:
        """Add up a common cut: exact by formula, since one moment parts before and after."""
        n, flow = self.numbers, self.numbers.flow
        b = self.bounder.blocks[block]
        place: dict[int, int] = {}
        tensors: dict[int, float] = {b.tensors[0]: flow.share[b.exit]} if direct else {}
        for chain, k in zip(b.branches, cuts, strict=True):
            place |= dict.fromkeys(chain[:k], a) | dict.fromkeys(chain[k:], z)
            reader = chain[k] if k < len(chain) else b.exit
            tensor = (
                b.tensors[0] if k == 0 else next(t for t in flow.outputs[chain[k - 1]] if flow.tensors[t].consumers)
            )
            tensors[tensor] = max(tensors.get(tensor, 0.0), flow.share[reader])
        ops = list(b.inner)
        at = [place[v] for v in ops]
        total = n.op_rows[ops, at].sum(axis=0)
        seconds = float(n.seconds[ops, at].sum())
        sizes = [float(n.tensor_bytes[t, a]) for t in tensors]
        for size, share in zip(sizes, tensors.values(), strict=True):
            total = total + share * (n.transfer_rows[a, z] + size * n.transfer_byte_rows[a, z])
        if n.serial:
            seconds += len(sizes) * float(n.transfer_s[a, z]) + sum(sizes) * float(n.byte_s[a, z])
        elif n.device_of[a] == n.device_of[z]:
            seconds += max(sizes) * float(n.byte_s[a, z])
        else:
            seconds += float(n.transfer_s[a, z]) + sum(sizes) * float(n.byte_s[a, z])
        total = total + n.rows.paused * self.bounder.pauses.between(a, z, sum(sizes), max(tensors.values()))
        if not flow.is_endpoint[b.exit]:
            share = max([flow.share[b.exit], *(flow.share[v] for v in ops if place[v] == z)])
            total = total + share * n.segment_share_rows[z] + n.segment_busy_rows[z]
            seconds += float(n.segment_s[z])
        return total + n.rows.latency * seconds, tuple(at)

    def _parted(
        self,
        bound: Bound,
        lister: BranchChoices,
        block: int,
        k: int,
        rows_of: list[int],
        a: int,
        z: int,
        limit: float,
        known: list[tuple[Array, tuple[int, ...]]],
    ) -> None:
        """Add choices where branches run side by side, each measured by the referee's schedule."""
        b, n = self.bounder.blocks[block], self.numbers
        room = limit - float(bound.chains.detour[k, a, z])
        floors = [lister.floor(row, a, z) for row in rows_of]
        total = sum(floors)
        if not np.isfinite(total) or not total <= room:
            return
        lists = [
            lister.parted(row, a, z, room - (total - floor), MOST) for row, floor in zip(rows_of, floors, strict=True)
        ]
        base_rows, base_s = self._detour(block, a, z)
        beaten = np.array([rows for rows, _ in known]).reshape(-1, n.rows.count)
        order = {v: i for i, v in enumerate(b.inner)}
        for _, latency_s, combination in side_by_side(lists, room, bound.prices.second, n.serial, self.spend):
            least = base_rows + sum(c.rows for c in combination) + n.rows.latency * (base_s + latency_s)
            # Equal in every row is no better; bounds err by rounding only.
            if (beaten <= least).all(axis=1).any():
                continue
            at = [0] * len(b.inner)
            for chain, choice in zip(b.branches, combination, strict=True):
                for v, p in zip(chain, choice.places, strict=True):
                    at[order[v]] = p
            self.spend(4)
            rows = self.meter(block).rows(a, at, z)
            if rows is not None and not (beaten <= rows).all(axis=1).any():
                known.append((rows, tuple(at)))
                beaten = np.vstack([beaten, rows])

    def _detour(self, block: int, a: int, z: int) -> tuple[Array, float]:
        """Add up what M >= 2 costs beside the branches: the exit's segment, the tensor the exit reads."""
        n, b = self.numbers, self.bounder.blocks[block]
        share = n.flow.share[b.exit]
        rows, seconds = np.zeros(n.rows.count), 0.0
        if not n.flow.is_endpoint[b.exit]:
            rows = rows + share * n.segment_share_rows[z] + n.segment_busy_rows[z]
            seconds += float(n.segment_s[z])
        if b.direct and a != z:
            k = self.bounder.layout.blocks.index(block)
            layout = self.bounder.layout
            size = layout.entry_bytes[k, a]
            rows = rows + layout.entry_share[k] * (n.transfer_rows[a, z] + size * n.transfer_byte_rows[a, z])
            seconds += float(layout.entry_s[k, a, z]) if n.serial else 0.0
        return rows, seconds
