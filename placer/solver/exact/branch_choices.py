"""All ways to run one branch of a chain block that cost little more than the cheapest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.solver.exact.chain_bound import ChainTables
    from placer.solver.exact.chain_layout import ChainLayout
    from placer.solver.exact.prices import Prices
    from placer.solver.exact.rows import Array


class TooMany(Exception):  # noqa: N818  not an error: the caller keeps the bound instead
    """More choices than the caller wants to look at."""


@dataclass(frozen=True, slots=True)
class BranchChoice:
    """A way to run one branch beside others (M >= 2); every number is a lower bound."""

    price: float
    """Price of its rows and of the seconds of its first run."""
    head_s: float
    """Seconds of the first run, which belong to the entry's segment."""
    path_s: float
    """Seconds from the end of the entry's segment to the end of its last op."""
    load_s: Array
    """(D,) seconds of its ops by device."""
    rows: Array
    """(R,) what it adds to every row, without latency."""
    places: tuple[int, ...]
    turns: bool
    """Whether it changes place more than once."""


class BranchChoices:
    """Lists the choices of single branches from the tables of one pricing."""

    def __init__(self, layout: ChainLayout, tables: ChainTables, prices: Prices, spend: Callable[[int], None]) -> None:
        self.layout = layout
        self.tables = tables
        self.prices = prices
        self.spend = spend
        """Called with the work done; may raise `TooMany`."""

    def _stays(self, row: int, k: int) -> bool:
        """Whether op k need not change place without the op behind it doing so too."""
        layout = self.layout
        if not layout.idle[row, k]:
            return False
        allowed = np.isfinite(self.prices.op)
        return bool(allowed[layout.ops[row, k]][allowed[layout.ops[row, k - 1]]].all())

    def common_cuts(self, row: int, a: int, z: int) -> list[tuple[float, int]]:
        """(price, how many ops stay at the entry's place) for every common cut (M = 1), cheapest first."""
        t, length = self.tables, int(self.layout.length[row])
        found = []
        for k in range(length + 1):
            price = float(t.prefix[row, k, a])
            if k > 0:
                price += float(t.crossing[self.layout.edge[row, k - 1], a, z])
            if k < length:
                price += float(t.last_run_full[length - k - 1][row, z])
            if price < np.inf:
                found.append((price, k))
        found.sort()
        return found

    def floor(self, row: int, a: int, z: int) -> float:
        """Lowest `BranchChoice.price` of a branch."""
        t = self.tables.apart
        return float(min(t.once[row, a, z], t.more[row, a, z]))

    def parted(self, row: int, a: int, z: int, limit: float, most: int) -> list[BranchChoice]:
        """Choices for M >= 2 whose price, with all their seconds counted, is at most `limit`; cheapest first.

        Raises
        ------
        TooMany
            There are more than `most`.
        """
        t, prefix = self.tables.counted, self.tables.prefix
        length = int(self.layout.length[row])
        found: list[tuple[int, ...]] = []
        stays = [self._stays(row, k) for k in range(length)]
        if a == z:
            if prefix[row, length, a] <= limit:
                found.append((a,) * length)
        else:
            for k in range(length + 1):
                if k < length and stays[k]:
                    continue
                price = float(prefix[row, k, a]) + self._into(row, k, a, z, z)
                if k < length:
                    price += float(t.last_run[length - k - 1][row, z] + t.inside[row, z])
                if price <= limit:
                    found.append((a,) * k + (z,) * (length - k))
        straight = len(found)
        spare = min(0.0, float(t.inside[row, z]))
        for k in range(length):
            before = float(prefix[row, k, a]) + spare
            if before > limit:
                continue
            for o in range(t.inside.shape[1]):
                price = before + self._into(row, k, a, o, z)
                if o != a and price + t.ahead[length - k - 1][row, o, z] <= limit:
                    self._extend(row, k, o, z, price, (a,) * k, False, stays, limit, most, found)
        choices = [self._describe(row, a, z, places, i >= straight) for i, places in enumerate(found)]
        return sorted(choices, key=lambda c: c.price)

    def _into(self, row: int, k: int, a: int, o: int, z: int) -> float:
        """Price of the first change of place, before op k (behind the last one where k is the length)."""
        t = self.tables.counted
        if k > 0:
            return float(t.leaving[self.layout.edge[row, k - 1], a, o])
        return float((t.free if self._is_free(row, o, z) else t.entering)[row, a, o])

    def _is_free(self, row: int, o: int, z: int) -> bool:
        """Whether the exit pays for the entry's tensor at place o."""
        return bool(self.layout.direct[self.layout.block[row]] and self.layout.same_device[o, z])

    def _extend(
        self,
        row: int,
        k: int,
        o: int,
        z: int,
        price: float,
        places: tuple[int, ...],
        turned: bool,
        stays: list[bool],
        limit: float,
        most: int,
        found: list[tuple[int, ...]],
    ) -> None:
        """Continue a choice whose op k is at place o; `price` is that of everything before op k."""
        self.spend(1)
        t, layout = self.tables.counted, self.layout
        j = int(layout.length[row]) - k
        v = int(layout.ops[row, k])
        price += float(self.prices.op_full[v, o])
        places = (*places, o)
        edge = int(layout.edge[row, k])
        if j == 1:
            if o != z:
                price += float(t.inside[row, o] + t.leaving[edge, o, z])
                turned = True
            if turned and price <= limit:
                found.append(places)
                if len(found) > most:
                    raise TooMany
            return
        two, run = t.ahead[j - 2][row], t.last_run[j - 2][row]
        onward = float(two[o, z])
        if turned and o == z:
            onward = min(onward, float(run[o]))
        before = places[-2] if k > 0 else -1
        if price + onward <= limit and not (stays[k] and before != o):
            self._extend(row, k + 1, o, z, price, places, turned, stays, limit, most, found)
        leave = t.leaving[edge, o] + float(t.inside[row, o]) + price
        rest = two[:, z].copy()
        rest[z] = min(rest[z], run[z])
        for q in np.flatnonzero(leave + rest <= limit):
            if q != o:
                self._extend(row, k + 1, int(q), z, float(leave[q]), places, True, stays, limit, most, found)

    def _describe(self, row: int, a: int, z: int, places: tuple[int, ...], turns: bool) -> BranchChoice:
        """Add up what a choice costs; segments and transfers that others may share count for their least."""
        self.spend(2)
        layout, n = self.layout, self.layout.numbers
        ops = layout.ops[row, : len(places)]
        seconds = n.seconds[ops, places]
        load_s: Array = np.bincount(n.device_of[list(places)], weights=seconds, minlength=len(n.index.devices)).astype(
            np.float64
        )
        rows = n.op_rows[ops, places].sum(axis=0)
        start_rows = layout.least_share[row] * n.segment_share_rows + n.segment_busy_rows
        head_s = path_s = 0.0
        at, inner, block = a, False, int(layout.block[row])
        for k, p in enumerate((*places, z)):
            if p != at:
                if k == 0:
                    tensor_bytes, share = (
                        layout.entry_bytes[block, at],
                        layout.entry_share[block] / layout.branches[block],
                    )
                    share = 0.0 if self._is_free(row, p, z) else share
                    hop_s = layout.entry_s[block, at, p]
                    if n.serial:
                        hop_s = 0.0 if share == 0.0 else hop_s / layout.branches[block]
                else:
                    edge = layout.edge[row, k - 1]
                    tensor_bytes, share, hop_s = (
                        layout.edge_bytes[edge, at],
                        layout.edge_share[edge],
                        layout.edge_s[edge, at, p],
                    )
                rows = rows + share * (n.transfer_rows[at, p] + tensor_bytes * n.transfer_byte_rows[at, p])
                path_s += float(hop_s)
                if inner:
                    rows = rows + start_rows[at]
                    path_s += float(n.segment_s[at])
                inner, at = True, p
            if k < len(places):
                if inner:
                    path_s += float(seconds[k])
                else:
                    head_s += float(seconds[k])
        if len(places) and places[-1] == z != a:
            if turns:
                # The last run may join the exit's segment or be one of its own.
                rows = rows + np.minimum(start_rows[z], 0.0)
            else:
                rows = rows + start_rows[z]
                path_s += float(n.segment_s[z])
        price = float(rows @ self.prices.multipliers) + self.prices.second * head_s
        return BranchChoice(price, head_s, path_s, load_s, rows, places, turns)
