"""By how many seconds pauses hold a flow's messages back, for each two places that they may go between.

A message is what leaves one segment, or one source, for one device. All of it lies in one block: what a segment sends
comes from its ops behind the last joint that it holds, or from that joint (`placer.solver.exact.structure`). Where
what else goes along is not known yet, its seconds are bounded by the least and the most that it can hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from placer.connections import least_held_s, message_held_s, path_of
from placer.transfer_time import INITIAL_WINDOW_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.solver.exact.numbers import FlowNumbers
    from placer.solver.exact.rows import Array
    from placer.solver.exact.structure import Block
    from placer.transfer_time import Path


class Pauses:
    """The seconds of one flow's messages; all are 0 where no row counts latency after pauses."""

    def __init__(self, numbers: FlowNumbers) -> None:
        self._numbers, self._flow = numbers, numbers.flow
        self.count = bool(numbers.rows.paused.any())
        """Whether they count at all."""
        self._paths: list[Path] = []
        # The last position stands for places between which nothing is sent.
        self._path_at = np.full(numbers.link_of.shape, -1, dtype=np.int64)
        if self.count:
            found: dict[Path, int] = {}
            for p, q in np.argwhere(numbers.link_of >= 0):
                path = path_of(numbers.index, int(numbers.link_of[p, q]))
                self._path_at[p, q] = found.setdefault(path, len(found))
            self._paths = list(found)

    def between(self, p: int, q: int, size_bytes: float, share: float) -> float:
        """Give the seconds of one whole message between two places; `share` is the largest of its consumers."""
        at = int(self._path_at[p, q])
        return 0.0 if at < 0 else message_held_s(self._flow, self._paths[at], size_bytes, share, "paused")

    def of_message(self, size_bytes: Array, share: float) -> Array:
        """Give (P, P) seconds of a message whose bytes (P,) depend on the place it leaves."""
        return self._table(size_bytes, lambda path, size: message_held_s(self._flow, path, size, share, "paused"))

    def at_least(self, least_bytes: Array, most_bytes: float) -> Array:
        """Bound the seconds of a message from below, (P, P).

        Parameters
        ----------
        least_bytes
            (P,) what it holds at least, by the place it leaves.
        most_bytes
            What it holds at most.
        """
        return self._table(least_bytes, lambda path, size: least_held_s(self._flow, path, size, most_bytes))

    def most_bytes(self, block: Block) -> float:
        """Give what any message within a block holds at most."""
        inner = {t for v in block.inner for t in self._flow.outputs[v]}
        return float(self._numbers.tensor_bytes[[*block.tensors, *inner]].max(axis=1, initial=0.0).sum())

    def ceiling(self) -> float:
        """Bound the seconds of any message from above: a round trip for each time that the window doubles."""
        most = 0.0
        for path in self._paths:
            doublings = np.log2(max(1.0, path.round_trip_s * path.bytes_per_s / INITIAL_WINDOW_BYTES))
            most = max(most, path.round_trip_s * (1 + float(doublings)))
        return most

    def _table(self, sizes: Array, seconds: Callable[[Path, float], float]) -> Array:
        table = np.zeros(self._path_at.shape)
        if self.count:
            distinct, which = np.unique(sizes, return_inverse=True)
            each = np.array([[*(seconds(path, float(size)) for path in self._paths), 0.0] for size in distinct])
            table = each[which[:, None], self._path_at]
        return table
