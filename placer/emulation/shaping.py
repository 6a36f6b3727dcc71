"""When a packet leaves a link: tail-drop queue, serialization, then delay; all times are readings of one clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

_QUEUE_S = 0.1
_LEAST_QUEUE_BYTES = 64 * 1500


class LaneSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One direction of a link, as its wire is told.

    Parameters
    ----------
    source, target
        The network interfaces it reads from and writes to.
    bytes_per_s
        How fast it serializes, counting bytes as IP does.
    latency_s
        What passes between the end of serialization and arrival.
    medium
        Lanes of one medium never serialize at the same time.
    """

    source: str
    target: str
    bytes_per_s: float
    latency_s: float
    medium: str


@dataclass(slots=True)
class Medium:
    """What the lanes of a link, or of several that share the air, serialize on."""

    free_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class Lane:
    """One direction of a link and what is under way on it.

    Parameters
    ----------
    bytes_per_s, latency_s
        As in `LaneSpec`.
    queue_s
        A packet that would wait longer than this for its serialization is dropped.
    medium
        Shared with the lanes that it must not overlap with.
    cut
        Whether everything vanishes silently.
    """

    bytes_per_s: float
    latency_s: float
    queue_s: float
    medium: Medium
    cut: bool = False
    _under_way: deque[tuple[float, bytes]] = field(default_factory=deque)

    def accept(self, packet: bytes, size_bytes: int, now: float) -> None:
        """Take a packet of that size on the wire, or drop it."""
        if self.cut:
            return
        start = max(now, self.medium.free_at)
        if start - now > self.queue_s:
            return
        self.medium.free_at = start + size_bytes / self.bytes_per_s
        self._under_way.append((self.medium.free_at + self.latency_s, packet))

    def next_at(self) -> float | None:
        """Give the time of the next arrival; None if nothing is under way."""
        return self._under_way[0][0] if self._under_way else None

    def take(self, now: float) -> bytes | None:
        """Give the next packet that has arrived by now, each once and in order."""
        if not self._under_way or self._under_way[0][0] > now:
            return None
        return self._under_way.popleft()[1]

    def stop(self) -> None:
        """Cut the lane; what is under way is lost too."""
        self.cut = True
        self._under_way.clear()


def make_lane(spec: LaneSpec, medium: Medium, round_trip_s: float) -> Lane:
    """Make a lane with a queue as long as TCP needs: a round trip or 100 ms of bytes, and at least 64 packets.

    Parameters
    ----------
    spec
        What the link is like.
    medium
        The medium that the specification names.
    round_trip_s
        Latency of the link both ways together.
    """
    queue_s = max(_QUEUE_S, round_trip_s, _LEAST_QUEUE_BYTES / spec.bytes_per_s)
    return Lane(bytes_per_s=spec.bytes_per_s, latency_s=spec.latency_s, queue_s=queue_s, medium=medium)
