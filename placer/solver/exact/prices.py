"""Prices of ops, edges and segments when each row has a multiplier: the Lagrangian's view of a flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from placer.solver.exact.numbers import Flags, FlowNumbers
    from placer.solver.exact.rows import Array


@dataclass(frozen=True, slots=True)
class Room:
    """What a part of the search may still choose from."""

    available: Flags
    """(V, P) places of each op."""
    links: Flags
    """(K,) links that may be used."""

    def reachable(self, numbers: FlowNumbers) -> Flags:
        """(P, P) whether data may go from one place to another."""
        allowed: Flags = numbers.reachable.copy()
        used = numbers.link_of >= 0
        allowed[used] &= self.links[numbers.link_of[used]]
        return allowed


@dataclass(frozen=True, slots=True)
class Prices:
    """Everything priced at one vector of multipliers; infinite where the room excludes it."""

    multipliers: Array
    """(R,) what these prices were made with."""
    second: float
    """Price of a second of latency."""
    held: float
    """Price of a second by which pauses hold a message back."""
    op: Array
    """(V, P) price of an op without its latency."""
    op_full: Array
    """(V, P) price of an op whose seconds all count as latency."""
    segment_share: Array
    """(P,) price of starting a segment of share 1, without its latency."""
    segment_busy: Array
    """(P,) price that a segment adds whatever its share; never positive."""
    transfer: Array
    """(P, P) price per transfer and unit of share, without its latency."""
    transfer_byte: Array
    """(P, P) price per byte and unit of share, without its latency."""
    blocked: Array
    """(P, P) 0 where data may go, infinite elsewhere."""

    def segment(self, share: float | Array) -> Array:
        """Price of starting a segment, without its latency: (P,), or (m, P) for m shares."""
        scaled: Array = np.multiply.outer(share, self.segment_share) + self.segment_busy
        return scaled

    def ceiling(self, numbers: FlowNumbers, held_s: float) -> float:
        """Bound every choice's price from above: everything at its dearest, and one thing after the other.

        Parameters
        ----------
        numbers
            The flow.
        held_s
            The most seconds by which pauses hold any message back.
        """
        n = numbers
        share = max(n.flow.share, default=1.0)
        ops = np.where(np.isfinite(self.op_full), self.op_full, -np.inf).max(axis=1)
        start = max(0.0, float((share * np.abs(self.segment_share) + self.second * n.segment_s).max()))
        sizes = n.tensor_bytes.max(axis=1, initial=0.0)
        moving = share * (self.transfer.max() + sizes * self.transfer_byte.max())
        moving = moving + self.second * (n.transfer_s.max() + sizes * n.byte_s.max()) + self.held * held_s
        total = float(ops[np.isfinite(ops)].sum()) + n.flow.size * start + float(moving.sum()) * len(n.places)
        # Where the ops' prices are negative the sum shrinks by rounding: a margin keeps it above.
        return total + 1e-9 * float(np.abs(ops[np.isfinite(ops)]).sum())


def price(numbers: FlowNumbers, room: Room, multipliers: Array) -> Prices:
    """Price a flow; the multipliers are (R,), not negative, the objective's first."""
    op = np.where(room.available, numbers.op_rows @ multipliers, np.inf)
    second = float(numbers.rows.latency @ multipliers)
    return Prices(
        multipliers=multipliers,
        second=second,
        held=float(numbers.rows.paused @ multipliers),
        op=op,
        op_full=op + second * numbers.seconds,
        segment_share=numbers.segment_share_rows @ multipliers,
        segment_busy=numbers.segment_busy_rows @ multipliers,
        transfer=numbers.transfer_rows @ multipliers,
        transfer_byte=numbers.transfer_byte_rows @ multipliers,
        blocked=np.where(room.reachable(numbers), 0.0, np.inf),
    )
