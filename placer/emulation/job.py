"""What the command and the process inside the namespaces tell each other."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
import numpy as np

from placer.deployment.deployment import Deployment
from placer.emulation.result import Cut, Emulation  # noqa: TC001  (msgspec reads the annotations at run time)
from placer.plan import Plan  # noqa: TC001
from runtimes.assignment import Assignment  # noqa: TC001

LENGTH_BYTES = 8
"""The job goes first, preceded by its length; the end of the stream after it asks the emulation to end."""


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """One input array."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be emulated; fields as `emulate` takes them."""

    plan: Plan
    identity: str
    epoch: int
    assignments: dict[str, Assignment]
    blobs: dict[str, bytes]
    feeds: dict[str, dict[str, Feed]]
    duration_s: float
    runs: int | None
    cuts: tuple[Cut, ...]
    deadline_s: float | None

    def deployment(self) -> Deployment:
        """Give the plan, cut and ready to be put on its devices."""
        return Deployment(plan=self.identity, epoch=self.epoch, assignments=self.assignments, blobs=self.blobs)


class Said(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A line of progress."""

    text: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The emulation is over."""

    emulation: Emulation


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The emulation could not be done; ``kind`` names one of the planner's errors."""

    kind: str
    text: str


Message: TypeAlias = Said | Done | Failed


def pack(array: np.ndarray[Any, Any]) -> Feed:
    """Make an array a message's part."""
    return Feed(dtype=array.dtype.str, shape=array.shape, data=np.ascontiguousarray(array).tobytes())


def unpack(feed: Feed) -> np.ndarray[Any, Any]:
    """Make an array of a message's part."""
    return np.frombuffer(feed.data, np.dtype(feed.dtype)).reshape(feed.shape)
