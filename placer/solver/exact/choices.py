"""All ways to run one block, for given places of its joints, that cost little more than the cheapest bound.

What a way adds to each row is exact: by formula where its latency has one, measured by the referee's schedule
where branches run side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.branch_choices import BranchChoices, TooMany
from placer.solver.exact.general_choices import general_choices
from placer.solver.exact.measure import BlockMeter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.solver.exact.bound import Bound, Bounder
    from placer.solver.exact.rows import Array

MOST = 20_000
"""Choices of one block and pair of places that are looked at; beyond, the block's bound stands."""


@dataclass(frozen=True, slots=True)
class BlockChoices:
    """Ways to run a block between two given places, none better than another in every row."""

    rows: Array
    """(m, R) what each adds to every row."""
    places: list[tuple[int, ...]]
    """The place of each inner op, in the block's order."""


class ChoiceFinder:
    """Finds the ways to run blocks, and remembers what was measured."""

    def __init__(self, bounder: Bounder) -> None:
        self.bounder = bounder
        self.numbers = bounder.numbers
        self._meters: dict[int, BlockMeter] = {}

    def meter(self, block: int) -> BlockMeter:
        """The block's meter, made once."""
        if block not in self._meters:
            self._meters[block] = BlockMeter(self.numbers, self.bounder.blocks[block])
        return self._meters[block]

    def find(self, bound: Bound, block: int, a: int, z: int, limit: float) -> BlockChoices:
        """List the ways of a block whose price is at most `limit`.

        Raises
        ------
        TooMany
            They are too many to list.
        """
        kind = self.bounder.blocks[block].kind
        if kind == "edge":
            found = [(self._edge_rows(block, a, z), ())]
        elif kind == "chains":
            found = self._chains(bound, block, a, z, limit)
        else:
            found = general_choices(self.numbers, bound, self.bounder.blocks[block], self.meter(block), a, z, limit, MOST)
        kept = [(rows, places) for rows, places in found if rows @ bound.multipliers <= limit]
        if not kept:
            return BlockChoices(np.zeros((0, self.numbers.rows.count)), [])
        rows = np.array([r for r, _ in kept])
        best = undominated(rows)
        return BlockChoices(rows[best], [kept[i][1] for i in best])

    def _edge_rows(self, block: int, a: int, z: int) -> Array:
        """What a block without inner ops adds: exact by formula."""
        n = self.numbers
        b = self.bounder.blocks[block]
        ends = n.flow.is_endpoint
        share = n.flow.share[b.exit]
        total = np.zeros(n.rows.count)
        seconds = 0.0
        if a != z:
            size = n.tensor_bytes[list(b.tensors), a].sum()
            total = total + share * (len(b.tensors) * n.transfer_rows[a, z] + size * n.transfer_byte_rows[a, z])
            seconds += float(self.bounder.plain_s[self.bounder.plain_row[block], a, z])
        if (a != z or ends[b.entry] or ends[b.exit]) and not ends[b.exit]:
            total = total + share * n.segment_share_rows[z] + n.segment_busy_rows[z]
            seconds += float(n.segment_s[z])
        added: Array = total + n.rows.latency * seconds
        return added

    def _chains(
        self, bound: Bound, block: int, a: int, z: int, limit: float
    ) -> list[tuple[Array, tuple[int, ...]]]:
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
        lister = BranchChoices(layout, tables, bound.prices)
        rows_of = [layout.row_of[block, i] for i in range(len(b.branches))]
        if a != z:
            found += self._common_cuts(bound, lister, block, k, rows_of, a, z, limit)
        found += self._parted(bound, lister, block, k, rows_of, a, z, limit)
        return found

    def _common_cuts(
        self, bound: Bound, lister: BranchChoices, block: int, k: int, rows_of: list[int], a: int, z: int, limit: float
    ) -> list[tuple[Array, tuple[int, ...]]]:
        tables, direct = bound.chains, bool(self.bounder.layout.direct[k])
        base, shared = float(tables.cut[k, a, z]), float(tables.shared[k, a, z])
        if base == np.inf:
            return []
        lists = [lister.common_cuts(row, a, z) for row in rows_of]
        found = []
        for fetched in (True, False):
            if direct and not fetched:
                continue
            part = lists if fetched else [[c for c in choices if c[1] > 0] for choices in lists]
            for cuts in _products([[(p, (c,)) for p, c in choices] for choices in part], limit - base - shared * fetched):
                at_entry = any(c == (0,) for c in cuts)
                if fetched == (at_entry or direct):
                    found.append([c[0] for c in cuts])
        return [self._cut_rows(block, a, z, cuts, direct) for cuts in found]

    def _cut_rows(self, block: int, a: int, z: int, cuts: list[int], direct: bool) -> tuple[Array, tuple[int, ...]]:
        """What a common cut adds to every row: exact by formula, since one moment parts before and after."""
        n, flow = self.numbers, self.numbers.flow
        b = self.bounder.blocks[block]
        place: dict[int, int] = {}
        tensors: dict[int, float] = {b.tensors[0]: flow.share[b.exit]} if direct else {}
        for chain, k in zip(b.branches, cuts, strict=True):
            place |= dict.fromkeys(chain[:k], a) | dict.fromkeys(chain[k:], z)
            reader = chain[k] if k < len(chain) else b.exit
            tensor = b.tensors[0] if k == 0 else next(t for t in flow.outputs[chain[k - 1]] if flow.tensors[t].consumers)
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
        if not flow.is_endpoint[b.exit]:
            share = max([flow.share[b.exit], *(flow.share[v] for v in ops if place[v] == z)])
            total = total + share * n.segment_share_rows[z] + n.segment_busy_rows[z]
            seconds += float(n.segment_s[z])
        return total + n.rows.latency * seconds, tuple(at)

    def _parted(
        self, bound: Bound, lister: BranchChoices, block: int, k: int, rows_of: list[int], a: int, z: int, limit: float
    ) -> list[tuple[Array, tuple[int, ...]]]:
        """Choices where branches run side by side, each measured by the referee's schedule."""
        b = self.bounder.blocks[block]
        room = limit - float(bound.chains.detour[k, a, z])
        if not room > -np.inf:
            return []
        floors = [lister.cheapest(row, a, z) for row in rows_of]
        total = sum(min(few, many) for few, many in floors)
        lists = []
        for row, (few, many) in zip(rows_of, floors, strict=True):
            rest = total - min(few, many)
            lists.append(lister.parted(row, a, z, room - rest, MOST) if min(few, many) + rest <= room else ([], []))
        found = []
        order = {v: i for i, v in enumerate(b.inner)}
        count = 0
        for first in range(len(lists)):
            # The first branch with two changes or more is `first`: no choice is met twice.
            part = [few for few, _ in lists[:first]] + [lists[first][1]]
            part += [sorted(few + many) for few, many in lists[first + 1 :]]
            for combination in _products(part, room):
                count += 1
                if count > MOST:
                    raise TooMany
                at = [0] * len(b.inner)
                for chain, places in zip(b.branches, combination, strict=True):
                    for v, p in zip(chain, places, strict=True):
                        at[order[v]] = p
                rows = self.meter(block).rows(a, at, z)
                if rows is not None:
                    found.append((rows, tuple(at)))
        return found


def _products(lists: Sequence[Sequence[tuple[float, tuple[int, ...]]]], limit: float) -> list[tuple[tuple[int, ...], ...]]:
    """One item of each list (each cheapest first), of total price up to `limit`.

    Raises
    ------
    TooMany
        There are more than `MOST`.
    """
    if any(not items for items in lists):
        return []
    rest = [0.0] * (len(lists) + 1)
    for i in range(len(lists) - 1, -1, -1):
        rest[i] = rest[i + 1] + lists[i][0][0]
    found: list[tuple[tuple[int, ...], ...]] = []

    def extend(i: int, price: float, items: tuple[tuple[int, ...], ...]) -> None:
        if i == len(lists):
            found.append(items)
            if len(found) > MOST:
                raise TooMany
            return
        for own, places in lists[i]:
            if price + own + rest[i + 1] > limit:
                break
            extend(i + 1, price + own, (*items, places))

    extend(0, 0.0, ())
    return found


def undominated(rows: Array) -> list[int]:
    """Positions of the rows (m, R) that no other row beats or equals in every column."""
    order = np.lexsort(rows.T[::-1])
    if rows.shape[1] == 1:
        return [int(order[0])]
    if rows.shape[1] == 2:
        lowest = np.minimum.accumulate(rows[order, 1])
        keep = np.ones(len(order), dtype=bool)
        keep[1:] = rows[order[1:], 1] < lowest[:-1]
        return [int(i) for i in order[keep]]
    kept: list[int] = []
    for i in order:
        if not kept or not (rows[kept] <= rows[i]).all(axis=1).any():
            kept.append(int(i))
    return kept
