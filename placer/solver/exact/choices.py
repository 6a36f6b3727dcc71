"""All ways to run one block, for given places of its joints, that cost little more than the cheapest bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.branch_choices import TooMany
from placer.solver.exact.chain_choices import ChainChoices
from placer.solver.exact.general_choices import GeneralSearch
from placer.solver.exact.measure import BlockMeter
from placer.solver.exact.structure import NOWHERE
from placer.solver.exact.undominated import undominated

if TYPE_CHECKING:
    from placer.solver.exact.bound import Bound, Bounder
    from placer.solver.exact.rows import Array


_CUT_OPS = 50_000
"""Ops that are measured, over all pairs of places, when one block's plain cuts are; about 20 us each."""


@dataclass(frozen=True, slots=True)
class BlockChoices:
    """Ways to run a block between two given places, none better than another in every row."""

    rows: Array
    """(m, R) what each adds to every row."""
    places: list[tuple[int, ...]]
    """The place of each inner op, in the block's order."""
    complete: bool
    """Whether all ways up to the price asked for are here, or are no better than one that is."""


class ChoiceFinder:
    """Finds the ways to run blocks, and remembers what was measured."""

    def __init__(self, bounder: Bounder) -> None:
        self.bounder = bounder
        self.numbers = bounder.numbers
        self._meters: dict[int, BlockMeter] = {}
        self._chains = ChainChoices(bounder, self.meter, self._spend)
        self.budget = 0
        """Work left, in steps of about 20 us. Its owner refills it."""

    def meter(self, block: int) -> BlockMeter:
        """Return the block's meter, made once."""
        if block not in self._meters:
            self._meters[block] = BlockMeter(self.numbers, self.bounder.blocks[block])
        return self._meters[block]

    def find(self, bound: Bound, block: int, a: int, z: int, limit: float, *, cheap: bool = False) -> BlockChoices:
        """List the ways of a block whose price is at most `limit`, for given places of its joints.

        With `cheap` only those that cost little work to list: enough for a first plan, never for a proof.
        """
        kind = self.bounder.blocks[block].kind
        found: list[tuple[Array, tuple[int, ...]]]
        complete = True
        if kind == "edge":
            found = [(self._edge_rows(block, a, z), ())]
        elif kind == "chains":
            found, complete = self._chains.find(bound, block, a, z, limit, cheap)
        else:
            if cheap:
                found, complete = self._plain_cuts(bound, block, a, z), False
            else:
                search = GeneralSearch(self.numbers, bound.prices, self.bounder.blocks[block], limit, self._spend)
                found, complete = search.run(self.meter(block), a, z)
                if not complete:
                    found = found + self._plain_cuts(bound, block, a, z)
        kept = [(rows, places) for rows, places in found if rows @ bound.multipliers <= limit]
        if not kept:
            return BlockChoices(np.zeros((0, self.numbers.rows.count)), [], complete)
        rows = np.array([r for r, _ in kept])
        best = undominated(rows)
        return BlockChoices(rows[best], [kept[i][1] for i in best], complete)

    def _spend(self, work: int) -> None:
        """Count work; raise `TooMany` when the budget is used up."""
        self.budget -= work
        if self.budget < 0:
            raise TooMany

    def _plain_cuts(self, bound: Bound, block: int, a: int, z: int) -> list[tuple[Array, tuple[int, ...]]]:
        """Measure a general block cut into a first part at the entry's place and a rest at the exit's.

        Where the block has no single entry or exit, every place stands in for the missing one.
        """
        n, b = self.numbers, self.bounder.blocks[block]
        count = len(n.places)
        firsts = range(count) if b.entry == NOWHERE else (a,)
        lasts = range(count) if b.exit == NOWHERE else (z,)
        inner = list(b.inner)
        # Each measurement takes time in proportion to the block's size: of large blocks only some cuts are measured.
        step = 1 + (len(inner) * count) ** 2 // _CUT_OPS
        found = []
        allowed, open_ = np.isfinite(bound.prices.op), np.isfinite(bound.prices.blocked)
        for p in firsts:
            for q in lasts:
                # Data may go along this way, or skip a part of it.
                stops = [s for s, end in ((a, b.entry), (p, 0), (q, 0), (z, b.exit)) if end != NOWHERE]
                if not all(open_[s, t] for i, s in enumerate(stops) for t in stops[i + 1 :]):
                    continue
                for k in range(0, len(inner) + 1, step) if p != q else (0,):
                    places = (p,) * k + (q,) * (len(inner) - k)
                    if not allowed[inner, places].all():
                        continue
                    rows = self.meter(block).rows(
                        a if b.entry != NOWHERE else NOWHERE, places, z if b.exit != NOWHERE else NOWHERE
                    )
                    if rows is not None:
                        found.append((rows, places))
        return found

    def _edge_rows(self, block: int, a: int, z: int) -> Array:
        """Add up a block without inner ops: exact by formula."""
        n = self.numbers
        b = self.bounder.blocks[block]
        ends = n.flow.is_endpoint
        share = n.flow.share[b.exit]
        total = np.zeros(n.rows.count)
        seconds = 0.0
        if a != z:
            size = n.tensor_bytes[list(b.tensors), a].sum()
            total = total + share * (len(b.tensors) * n.transfer_rows[a, z] + size * n.transfer_byte_rows[a, z])
            row = self.bounder.plain_row[block]
            total = total + n.rows.paused * float(self.bounder.plain_held_s[row, a, z])
            seconds += float(self.bounder.plain_s[row, a, z])
        if (a != z or ends[b.entry] or ends[b.exit]) and not ends[b.exit]:
            total = total + share * n.segment_share_rows[z] + n.segment_busy_rows[z]
            seconds += float(n.segment_s[z])
        added: Array = total + n.rows.latency * seconds
        return added
