"""Stages: the models that a flow's data pass, where each reads from, and on what condition it runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping  # noqa: TC003  (msgspec reads the annotation at run time)

import msgspec

from profiles.errors import ProfileError
from profiles.figure import require_name
from profiles.label import Declassify  # noqa: TC001  (msgspec reads the annotation at run time)


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition: data go on to a stage only where one number of another stage's output lies within bounds.

    Parameters
    ----------
    tensor
        The output that is looked at, as ``STAGE/OUTPUT``.
    element
        Position of the number in the output, in row-major order; may be left out where the output has only one.
    at_least, at_most
        The bounds, both inclusive; at least one of them. A number that is not one (NaN) is outside.
    share
        Expected fraction of the data that come this far and go on, above 0 and at most 1.

    Raises
    ------
    ProfileError
        If no bound is given, nothing lies within them, or the share is out of its range.
    """

    tensor: str
    element: int | None = None
    # A float holds whole numbers up to 2^53 only, and a tensor of 64-bit integers more.
    at_least: int | float | None = None
    at_most: int | float | None = None
    share: float

    def __post_init__(self) -> None:
        require_name("tensor", self.tensor)
        if self.element is not None and self.element < 0:
            raise ProfileError(f"element is {self.element}: positions count from 0")
        if self.at_least is None and self.at_most is None:
            raise ProfileError("no bound is given: give at_least, at_most or both")
        for name, bound in (("at_least", self.at_least), ("at_most", self.at_most)):
            if bound is not None and not abs(bound) <= sys.float_info.max:
                raise ProfileError(f"{name} is {bound!r}: give a finite number, or leave it out")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ProfileError(f"at_least {self.at_least!r} is above at_most {self.at_most!r}: nothing lies between")
        if not 0 < self.share <= 1:
            raise ProfileError(f"share is {self.share!r}: give a number above 0 and at most 1")


class Cache(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Results of a stage, kept in memory: for exactly the same inputs they are taken from there, and not made again.

    Parameters
    ----------
    hits
        Expected fraction of what comes to the stage whose result is there, from 0 on and below 1.
    memory_bytes
        What all results together may take; the least recently used go first. A whole number.

    Raises
    ------
    ProfileError
        If one of them is out of its range.
    """

    hits: float
    memory_bytes: float

    def __post_init__(self) -> None:
        if not 0 <= self.hits < 1:
            raise ProfileError(f"hits is {self.hits!r}: give a number from 0 on and below 1")
        if not (1 <= self.memory_bytes < 2**63 and self.memory_bytes == int(self.memory_bytes)):
            raise ProfileError(f"memory_bytes is {self.memory_bytes!r}: give a whole number of bytes, at least 1")


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of a flow.

    Parameters
    ----------
    name
        Unique in its flow.
    model
        Path of the model file, relative to the site file's directory.
    inputs
        Shapes that bind dynamic dimensions, by name of the model's input.
    reads
        Where each of the model's inputs comes from: ``STAGE/OUTPUT`` for another stage's output, a name without
        ``/`` for data that arise at the flow's source; stages that read the same name read the same data. Left out
        where the flow has one stage, whose inputs are the flow's data.
    when
        The condition on which the stage runs; None if it always does.
    every
        It takes the first of so many requests of its flow, and passes the others over; at least 1.
    cache
        What it made of the same inputs before is taken from memory; None if it always runs.
    declassify
        Tensors of the raw model that count as less sensitive than what they are made of.
    weights_label
        Label of the model's weights, where the model itself must not leave some zones.
    """

    name: str
    model: str
    inputs: Mapping[str, tuple[int, ...]] = {}
    reads: Mapping[str, str] = {}
    when: When | None = None
    every: int = 1
    cache: Cache | None = None
    declassify: tuple[Declassify, ...] = ()
    weights_label: str | None = None

    def __post_init__(self) -> None:
        require_name("stage", self.name)
        require_name("model file", self.model)
        for tensor, shape in self.inputs.items():
            if any(size < 1 for size in shape):
                raise ProfileError(f"input {tensor!r} has shape {list(shape)}: every dimension is at least 1")
        if self.every < 1:
            raise ProfileError(f"every is {self.every}: give a whole number, at least 1, or leave it out")
        for tensor, origin in self.reads.items():
            require_name(f"what input {tensor!r} reads", origin)

    @property
    def origins(self) -> tuple[str, ...]:
        """What it takes in from other stages or the flow's source: what its inputs read, then its condition's."""
        return (*self.reads.values(), *((self.when.tensor,) if self.when else ()))


def split_origin(origin: str) -> tuple[str, str]:
    """Part ``STAGE/OUTPUT`` into the two; the stage of data that arise at the flow's source is ``""``."""
    stage, slash, output = origin.partition("/")
    return (stage, output) if slash else ("", origin)
