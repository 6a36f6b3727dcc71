"""All ways to run one branch of a chain block that cost little more than the cheapest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.chain_bound import entering_time

if TYPE_CHECKING:
    from placer.solver.exact.chain_bound import ChainLayout, ChainTables
    from placer.solver.exact.prices import Prices
    from placer.solver.exact.rows import Array

BranchChoice = tuple[float, tuple[int, ...]]
"""Price (a lower bound of the branch's part) and the place of each op."""


class TooMany(Exception):  # noqa: N818  not an error: the caller keeps the bound instead
    """More choices than the caller wants to look at."""


class BranchChoices:
    """Lists the choices of single branches, cheapest first, from the tables of one pricing."""

    def __init__(self, layout: ChainLayout, tables: ChainTables, prices: Prices) -> None:
        self.layout = layout
        self.tables = tables
        self.prices = prices
        self._free: dict[int, Array] = {}

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

    def parted(self, row: int, a: int, z: int, limit: float, most: int) -> tuple[list[BranchChoice], list[BranchChoice]]:
        """Choices for M >= 2 of price up to `limit`: those with at most one change of place, and the others.

        Raises
        ------
        TooMany
            There are more than `most`.
        """
        t, length = self.tables, int(self.layout.length[row])
        few: list[BranchChoice] = []
        many: list[BranchChoice] = []
        if a == z:
            few.append((float(t.prefix[row, length, a]), (a,) * length))
        else:
            for k in range(length + 1):
                price = float(t.prefix[row, k, a]) + self._into(row, k, a, z, z)
                if k < length:
                    price += float(t.last_run[length - k - 1][row, z] + t.inside[row, z])
                few.append((price, (a,) * k + (z,) * (length - k)))
        few = sorted(choice for choice in few if choice[0] <= limit)
        spare = min(0.0, float(t.inside[row, z]))
        for k in range(length):
            before = float(t.prefix[row, k, a]) + spare
            if before == np.inf:
                break
            for o in range(t.inside.shape[1]):
                price = before + self._into(row, k, a, o, z)
                if o != a and price + t.ahead[length - k - 1][row, o, z] <= limit:
                    self._extend(row, k, o, z, price, (a,) * k, False, limit, most, many)
        many.sort()
        return few, many

    def _into(self, row: int, k: int, a: int, o: int, z: int) -> float:
        """Price of the first change of place, before op k (behind the last one where k is the length)."""
        if k > 0:
            return float(self.tables.leaving[self.layout.edge[row, k - 1], a, o])
        devices = self.layout.numbers.device_of
        if self.layout.direct[self.layout.block[row]] and devices[o] == devices[z]:
            if row not in self._free:
                self._free[row] = entering_time(self.layout, self.prices, np.array([row]))[0]
            return float(self._free[row][a, o])
        return float(self.tables.entering[row, a, o])

    def _extend(
        self,
        row: int,
        k: int,
        o: int,
        z: int,
        price: float,
        places: tuple[int, ...],
        changed: bool,
        limit: float,
        most: int,
        found: list[BranchChoice],
    ) -> None:
        """Continue a choice whose op k is at place o; `price` is that of everything before op k."""
        t, layout = self.tables, self.layout
        length = int(layout.length[row])
        j = length - k
        v = int(layout.ops[row, k])
        second = self.prices.second * layout.weight[row]
        price += float(self.prices.op[v, o] + second * layout.numbers.seconds[v, o])
        places = (*places, o)
        edge = int(layout.edge[row, k])
        if j == 1:
            if o != z:
                price += float(t.inside[row, o] + t.leaving[edge, o, z])
                changed = True
            if changed and price <= limit:
                found.append((price, places))
                if len(found) > most:
                    raise TooMany
            return
        two, run = t.ahead[j - 2][row], t.last_run[j - 2][row]
        onward = float(two[o, z])
        if changed and o == z:
            onward = min(onward, float(run[o]))
        if price + onward <= limit:
            self._extend(row, k + 1, o, z, price, places, changed, limit, most, found)
        leave = t.leaving[edge, o] + float(t.inside[row, o]) + price
        rest = two[:, z].copy()
        rest[z] = min(rest[z], run[z])
        for q in np.flatnonzero(leave + rest <= limit):
            if q != o:
                self._extend(row, k + 1, int(q), z, float(leave[q]), places, True, limit, most, found)

    def cheapest(self, row: int, a: int, z: int) -> tuple[float, float]:
        """Lowest price of a branch (M >= 2): with at most one change of place, and with more."""
        t, length = self.tables, int(self.layout.length[row])
        few = [float(t.prefix[row, length, a])] if a == z else []
        spare = min(0.0, float(t.inside[row, z]))
        more = np.inf
        for k in range(length + 1):
            before = float(t.prefix[row, k, a])
            if before == np.inf:
                break
            if a != z:
                price = before + self._into(row, k, a, z, z)
                if k < length:
                    price += float(t.last_run[length - k - 1][row, z] + t.inside[row, z])
                few.append(price)
            if k < length:
                into = [self._into(row, k, a, o, z) if o != a else np.inf for o in range(t.inside.shape[1])]
                more = min(more, before + spare + float((into + t.ahead[length - k - 1][row, :, z]).min()))
        return min(few, default=np.inf), more
