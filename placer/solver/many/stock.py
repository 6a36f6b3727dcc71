"""What a plan of the whole site takes from everything shared, kept up to date while single flows move."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placer.solver.many.columns import Column
    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part

_TIGHT = 1e-10
"""Relative distance kept from caps, so that adding up in another order breaks none."""


class Stock:
    """A column for each member of each part, and the site's loads."""

    def __init__(self, parts: Sequence[Part], coupling: Coupling, sizes: dict[str, float]) -> None:
        self.parts, self.coupling, self.sizes = parts, coupling, sizes
        self.picks: list[list[Column]] = [[] for _ in parts]
        self._limit = coupling.caps - _TIGHT * np.abs(coupling.caps)
        self._unit = np.where(np.abs(coupling.caps) > 1e-12, np.abs(coupling.caps), 1.0)
        self._rows = [np.array(p.rows, dtype=np.int64) for p in coupling.parts]
        self.load = np.zeros(len(coupling.caps))
        self.users = Counter[int]()
        self._held = Counter[tuple[int, str]]()
        self._bytes = dict.fromkeys(coupling.crowded, 0.0)
        self._workspaces: dict[int, Counter[float]] = {d: Counter() for d in coupling.crowded}

    def put(self, g: int, column: Column, sign: int = 1) -> None:
        """Add a member of part g with its column to the loads, or with sign -1 take it out."""
        self.load[self._rows[g]] += sign * column.takes
        for d in column.used:
            before = self.users[d]
            self.users[d] += sign
            if (before == 0) != (self.users[d] == 0) and d in self.coupling.on_cost:
                for r, weight in self.coupling.on_rows[d]:
                    self.load[r] += sign * weight
        for d, name in column.held:
            before = self._held[d, name]
            self._held[d, name] += sign
            if (before == 0) != (self._held[d, name] == 0):
                self._bytes[d] += sign * self.sizes[name]
        for d, size in column.own_bytes.items():
            self._bytes[d] += sign * size
        for d, size in column.workspace_bytes.items():
            self._workspaces[d][size] += sign
            if not self._workspaces[d][size]:
                del self._workspaces[d][size]

    def swap(self, cluster: Sequence[int], picks: Sequence[Sequence[Column]]) -> None:
        """Give the members of some parts other columns."""
        for g, chosen in zip(cluster, picks, strict=True):
            for column in self.picks[g]:
                self.put(g, column, -1)
            for column in chosen:
                self.put(g, column)
            self.picks[g] = list(chosen)

    def memory_bytes(self, d: int) -> float:
        """Bytes that a crowded device holds: weights once, and the largest workspace."""
        return self._bytes[d] + max(self._workspaces[d], default=0.0)

    def excess(self) -> float:
        """By how much caps are exceeded in all, each in units of itself; 0 if none is."""
        over = float(np.maximum(0.0, (self.load - self._limit) / self._unit).sum())
        for d, limit in self.coupling.crowded.items():
            over += max(0.0, self.memory_bytes(d) - limit * (1 - _TIGHT)) / (limit or 1.0)
        return over

    def cost(self) -> float:
        """Add up the objective of the columns picked, by the columns' own figures."""
        total = sum(column.cost for picks in self.picks for column in picks)
        return total + sum(cost for d, cost in self.coupling.on_cost.items() if self.users[d])

    def step(self, g: int, member: int, columns: Sequence[Column]) -> bool:
        """Move one member to the column that exceeds caps least and then costs least; return whether it moved."""
        now = self.picks[g][member]
        self.put(g, now, -1)
        best = (self._excess_with(g, now), self._cost_with(now))
        chosen = now
        for column in columns:
            if column is now or not column.allowed:
                continue
            cost = self._cost_with(column)
            if best[0] <= 0 and cost >= best[1] * (1 - 1e-12):
                continue
            rank = (self._excess_with(g, column), cost)
            if rank[0] < best[0] * (1 - 1e-9) or (rank[0] <= best[0] and rank[1] < best[1]):
                best, chosen = rank, column
        self.put(g, chosen)
        self.picks[g][member] = chosen
        return chosen is not now

    def _cost_with(self, column: Column) -> float:
        """Cost of a column beside the others: devices that they need on anyway cost nothing."""
        return column.cost + sum(self.coupling.on_cost.get(d, 0.0) for d in column.used if not self.users[d])

    def _excess_with(self, g: int, column: Column) -> float:
        """Excess of the rows and memories that a column touches, beside the others."""
        self.put(g, column)
        rows = self._rows[g]
        over = float(np.maximum(0.0, (self.load[rows] - self._limit[rows]) / self._unit[rows]).sum())
        for d in column.workspace_bytes:
            limit = self.coupling.crowded[d]
            over += max(0.0, self.memory_bytes(d) - limit * (1 - _TIGHT)) / (limit or 1.0)
        self.put(g, column, -1)
        return over

    def members(self) -> Iterator[tuple[int, int]]:
        """Every (part, member)."""
        for g, picks in enumerate(self.picks):
            for member in range(len(picks)):
                yield g, member
