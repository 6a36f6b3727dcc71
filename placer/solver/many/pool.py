"""The columns known so far, where new ones come from, and which of a part's is cheapest at given prices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np

from placer.baselines import all_on
from placer.solver.many.columns import make_column
from placer.solver.many.master import Master, column_price
from placer.solver.many.prefixes import prefixes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.index import Choice
    from placer.solver.many.answers import Answer
    from placer.solver.many.columns import Column
    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part
    from placer.solver.many.prices import Prices

_NEIGHBOURS = 40
"""Parts of one shape that try each other's new choices."""
_TWINS = 2
"""Devices that look alike on which a part is put as a whole to begin with."""

_AWAY = 2
"""Devices on which the rest of a cut flow is put."""


class Pool:
    """The columns of each part, in the master problem's order."""

    def __init__(self, parts: tuple[Part, ...], coupling: Coupling) -> None:
        self.parts, self.coupling = parts, coupling
        self.master = Master(parts, coupling)
        shapes: dict[Hashable, list[int]] = {}
        for g, part in enumerate(parts):
            shapes.setdefault(part.shape, []).append(g)
        self._alike = {g: tuple(some) for some in shapes.values() for g in some}

    @property
    def columns(self) -> list[list[Column]]:
        """For each part."""
        return self.master.columns

    @property
    def size(self) -> int:
        """How many columns there are."""
        return sum(map(len, self.columns))

    def begin(self) -> None:
        """Put each part as a whole on one device after the other."""
        for g, part in enumerate(self.parts):
            kinds = Counter[Hashable]()
            for d, device in enumerate(part.index.devices):
                start = (device.segment_s, device.segment_j, device.starts)
                kind = (device.tier, start, device.memory_bytes, device.always_on)
                kinds[kind] += 1
                choice = all_on(part.flow, d) if kinds[kind] <= _TWINS else None
                if choice is not None:
                    self.offer(g, choice)

    def add(self, g: int, choice: Choice) -> bool:
        """Add a choice as a column; return whether it is new."""
        if self.master.knows(g, choice):
            return False
        return self.master.add(g, make_column(self.parts[g], self.coupling.parts[g], choice))

    def offer(self, g: int, choice: Choice) -> None:
        """Add a choice as a column if the part may make it."""
        if not self.master.knows(g, choice):
            column = make_column(self.parts[g], self.coupling.parts[g], choice)
            if column.allowed:
                self.master.add(g, column)

    def learn(self, wanted: Sequence[int], answers: Sequence[Answer]) -> int:
        """Add what was found as columns, also to parts of the same shape; return how many are new."""
        new = 0
        for g, answer in zip(wanted, answers, strict=True):
            if answer.choice is None or not self.add(g, answer.choice):
                continue
            new += 1
            alike = self._alike[g]
            at = max(0, min(alike.index(g) - _NEIGHBOURS // 2, len(alike) - _NEIGHBOURS))
            for other in alike[at : at + _NEIGHBOURS]:
                self.offer(other, answer.choice)
        return new

    def fill(self, prices: Prices) -> None:
        """Offer each part's prefixes, with the rest on those devices on which its columns cost least."""
        for g, part in enumerate(self.parts):
            local, least = {d: i for i, d in enumerate(part.devices)}, dict[int, float]()
            for cost, column in zip(self.costs(g, prices), self.columns[g], strict=True):
                for i in {local[d] for d in column.used} - set(part.flow.source_devices):
                    least[i] = min(least.get(i, cost), cost)
            for choice in prefixes(part.flow, sorted(least, key=least.__getitem__)[:_AWAY]):
                self.offer(g, choice)

    def costs(self, g: int, prices: Prices) -> list[float]:
        """Return what each column of a part costs one member at given prices."""
        return [column_price(self.coupling, g, column, prices) for column in self.columns[g]]

    def cheapest(self, g: int, prices: Prices) -> tuple[float, Column]:
        """Return the column of a part that costs least at given prices, and what it costs."""
        costs = self.costs(g, prices)
        k = int(np.argmin(costs))
        return costs[k], self.columns[g][k]
