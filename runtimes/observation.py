"""What an agent measured, and the bounded journal that keeps it until somebody asks."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["segment", "hit", "hop"]


class Observation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One execution of a segment, one result from its cache or one hop to another device; never a value of a tensor.

    Parameters
    ----------
    kind
        ``"segment"`` for an execution, ``"hit"`` for a result that was kept and is not made again, ``"hop"`` for a
        message to the next device.
    flow, segment, device
        What ran and where; for a hop the segment it follows, ``""`` for the flow's inputs.
    to
        The receiving device of a hop, else ``""``.
    request
        The request's id.
    seconds
        The execution's own time, with that of looking for a kept result where there may be one; for a hit that of
        looking alone; or the time from sending a hop to its acknowledgement.
    padded_s
        ``seconds`` including the padding that stands in for a slower device.
    queue_s
        Time from inputs complete to the start of the execution, or of looking; 0 for a hop.
    bytes
        Bytes of the tensors read, or carried.
    sequence
        Grows by one with every observation of an agent's life.
    epoch
        The epoch of the plan that was served.
    variant
        Plan of the fallback by which the request was served; empty for the plan itself.
    """

    kind: Kind
    flow: str
    segment: str
    device: str
    to: str
    request: str
    seconds: float
    padded_s: float
    queue_s: float
    bytes: int
    sequence: int
    epoch: int
    variant: str


class Journal:
    """The last observations of one agent.

    Parameters
    ----------
    capacity
        How many are kept; older ones are forgotten.
    """

    def __init__(self, capacity: int = 65536) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Observation] = deque(maxlen=capacity)
        self._sequence = 0

    @property
    def last_sequence(self) -> int:
        """Sequence number of the latest observation; 0 before the first."""
        return self._sequence

    def add(
        self, kind: Kind, *, flow: str, segment: str, device: str, to: str, request: str,
        seconds: float, padded_s: float, queue_s: float, size_bytes: int, epoch: int, variant: str,
    ) -> None:  # fmt: skip
        """Keep one observation under the next sequence number."""
        with self._lock:
            self._sequence += 1
            self._kept.append(
                Observation(
                    kind=kind, flow=flow, segment=segment, device=device, to=to, request=request, seconds=seconds,
                    padded_s=padded_s, queue_s=queue_s, bytes=size_bytes, sequence=self._sequence, epoch=epoch,
                    variant=variant,
                )
            )  # fmt: skip

    def since(self, sequence: int) -> tuple[Observation, ...]:
        """Give the kept observations with a higher sequence number, oldest first."""
        with self._lock:
            return tuple(o for o in self._kept if o.sequence > sequence)
