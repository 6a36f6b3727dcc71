"""Flows: data that arises at a source, passes models and arrives at a sink in time."""

from __future__ import annotations

import math
from collections.abc import Mapping  # noqa: TC003  (msgspec reads the annotation at run time)

import msgspec

from profiles.errors import ProfileError
from profiles.figure import require_name, require_positive
from profiles.label import Declassify  # noqa: TC001  (msgspec reads the annotation at run time)


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
    declassify
        Tensors of the raw model that count as less sensitive than the flow's data.
    weights_label
        Label of the model's weights, where the model itself must not leave some zones.
    """

    name: str
    model: str
    inputs: Mapping[str, tuple[int, ...]] = {}
    declassify: tuple[Declassify, ...] = ()
    weights_label: str | None = None

    def __post_init__(self) -> None:
        require_name("stage", self.name)
        require_name("model file", self.model)
        for tensor, shape in self.inputs.items():
            if any(size < 1 for size in shape):
                raise ProfileError(f"input {tensor!r} has shape {list(shape)}: every dimension is at least 1")


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Data arising at a source device, through stages, to a sink device.

    Parameters
    ----------
    name
        Unique in its site.
    source, sink
        Names of the devices where data arises and where results are needed.
    rate_hz
        Inferences per second, larger than zero.
    deadline_s
        Seconds from the data's arrival to the result; None for no deadline.
    label
        How sensitive the source's data is.
    stages
        The models, in order. Exactly one for now.

    Raises
    ------
    ProfileError
        If a number is out of its range, or there is not exactly one stage.
    """

    name: str
    source: str
    sink: str
    rate_hz: float
    deadline_s: float | None = None
    label: str
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        require_name("flow", self.name)
        require_positive("rate_hz", self.rate_hz)
        if self.deadline_s is not None and not (math.isfinite(self.deadline_s) and self.deadline_s > 0):
            raise ProfileError(f"deadline_s is {self.deadline_s!r}: give a number larger than zero, or leave it out")
        if len(self.stages) != 1:
            raise ProfileError(
                f"flow {self.name!r} has {len(self.stages)} stages: this version plans flows of exactly one"
            )
