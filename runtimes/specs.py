"""The parts of an assignment: tensors, segments, conditions, routes, flows; each checks its own fields when made."""

from __future__ import annotations

import math
import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from runtimes.datatypes import DATATYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_DIMENSION = 2**31 - 1


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tensor of a flow, with its exact type and shape.

    Parameters
    ----------
    name
        The tensor's name, unique within its flow; the name on the wire.
    port
        The tensor's name inside the segment's model file.
    dtype
        Its datatype in the words of the Open Inference Protocol, such as ``"FP32"``.
    shape
        Its dimensions, all of them known.
    """

    name: str
    port: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the fields; a wrong one raises ``ValueError``, which msgspec gives its path."""
        check_name("name", self.name)
        check_name("port", self.port)
        if self.dtype not in DATATYPES:
            raise ValueError(f"dtype {self.dtype!r} is unknown; one of {', '.join(DATATYPES)}")
        for dimension in self.shape:
            if not 0 <= dimension <= _MAX_DIMENSION:
                raise ValueError(
                    f"shape {list(self.shape)} of tensor {self.name!r}: each dimension is from 0 to {_MAX_DIMENSION}"
                )

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int | None:
        """Size of the raw contents in bytes; None for BYTES, whose elements vary."""
        return _bytes_of(self.dtype, self.shape)


class SegmentSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One segment that this device runs.

    Parameters
    ----------
    name
        Unique over all flows, such as ``"inspect/0"``.
    flow
        The flow that it belongs to.
    runtime
        What executes its model file.
    blob
        SHA-256 of the model file, in lower-case hexadecimal.
    blob_bytes
        Size of the model file.
    inputs, outputs
        Its boundary tensors, each named on the wire and in the model file.
    threads
        Threads of one execution.
    pad_to_s
        Every execution is stretched to at least this time, so that a fast machine stands in for a slow one.
    power_w
        Watts above idle while it executes, as planned; None where the plan does not tell them.
    every
        It takes the first of so many requests and passes the others over.
    cache_bytes
        What it made of the same inputs before is kept within so many bytes, and taken from there instead of being made
        again; None where every request is executed.
    """

    name: str
    flow: str
    runtime: Literal["onnx", "tflite"]
    blob: str
    blob_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    threads: int
    pad_to_s: float | None = None
    power_w: float | None = None
    every: int = 1
    cache_bytes: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check_name("name", self.name)
        if not _SHA256.fullmatch(self.blob):
            raise ValueError(f"blob {self.blob!r} is no SHA-256 in lower-case hexadecimal")
        if self.blob_bytes <= 0:
            raise ValueError(f"blob_bytes is {self.blob_bytes}; a model file has at least one byte")
        if not 1 <= self.threads <= 1024:
            raise ValueError(f"threads is {self.threads}; it is from 1 to 1024")
        if self.pad_to_s is not None and not 0 <= self.pad_to_s <= 3600:
            raise ValueError(f"pad_to_s is {self.pad_to_s}; it is from 0 to 3600 seconds")
        check_figure("power_w", self.power_w)
        check_every(f"segment {self.name!r}", self.every)
        for what, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not tensors:
                raise ValueError(f"segment {self.name!r} has no {what}")
            check_unique(f"{what} of segment {self.name!r}", (t.name for t in tensors))
            check_unique(f"{what}' ports of segment {self.name!r}", (t.port for t in tensors))
        if self.cache_bytes is not None:
            if not 1 <= self.cache_bytes < 2**63:
                raise ValueError(f"cache_bytes is {self.cache_bytes}; it is from 1 to 2**63 - 1, or left out")
            if strings := [t.name for t in (*self.inputs, *self.outputs) if t.dtype == "BYTES"]:
                raise ValueError(
                    f"segment {self.name!r} has cache_bytes and tensor {strings[0]!r} of BYTES, which is not kept"
                )


class ConditionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lets a tensor go on where a number of another lies within bounds; where it does not, nothing goes on.

    Parameters
    ----------
    name
        Unique in its flow, and no segment's.
    flow
        The flow that it belongs to.
    tests
        The tensor that holds the number.
    element
        The number's position in it, in row-major order.
    at_least, at_most
        The bounds, both inclusive; at least one of them. NaN is outside.
    carries, makes
        The tensor that goes on, and what it is called from then on.
    every
        It looks at the first of so many requests and lets nothing of the others go on.
    """

    name: str
    flow: str
    tests: TensorSpec
    element: int
    at_least: int | float | None = None
    at_most: int | float | None = None
    carries: TensorSpec
    makes: TensorSpec
    every: int = 1

    def __post_init__(self) -> None:
        """Check the fields."""
        check_name("name", self.name)
        check_every(f"condition {self.name!r}", self.every)
        if self.tests.dtype in ("BYTES", "BF16"):
            raise ValueError(f"condition {self.name!r} tests a tensor of {self.tests.dtype}, which has no numbers here")
        if not 0 <= self.element < self.tests.elements:
            raise ValueError(
                f"condition {self.name!r}: element {self.element} is not in tensor {self.tests.name!r} of shape "
                f"{list(self.tests.shape)}"
            )
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"condition {self.name!r} has no bound; give at_least, at_most or both")
        for field, bound in (("at_least", self.at_least), ("at_most", self.at_most)):
            if bound is not None and not abs(bound) <= sys.float_info.max:
                raise ValueError(f"{field} of condition {self.name!r} is no finite number of 64 bits")
        if (self.carries.dtype, self.carries.shape) != (self.makes.dtype, self.makes.shape):
            raise ValueError(f"condition {self.name!r} carries and makes tensors of different type or shape")

    def holds(self, number: Any) -> bool:
        """Say whether a number of the tested tensor's type lies within the bounds.

        Bounds are rounded to that type where it has fractions: 0.7 is at least 0.7 in 32 bits too. Whole numbers are
        compared exactly.
        """
        dtype = DATATYPES[self.tests.dtype]
        if dtype.kind == "f":
            # A bound beyond the type's range is infinite in it.
            with np.errstate(over="ignore"):
                low = None if self.at_least is None else float(dtype.type(self.at_least))
                high = None if self.at_most is None else float(dtype.type(self.at_most))
            value: int | float = float(number)
        else:
            # Python compares whole numbers with fractions exactly, numpy only after rounding.
            low, high, value = self.at_least, self.at_most, int(number)
        return (low is None or low <= value) and (high is None or value <= high)


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message of a flow from this device to another.

    Parameters
    ----------
    flow
        The flow that it belongs to.
    after
        The segment whose end releases it, or the condition that lets its tensor go on; ``""`` for the flow's
        inputs, at its source.
    to
        The receiving device.
    tensors
        Names of the tensors that it carries.
    energy_j
        Joules of sending it, at both ends and between, as planned; None where the plan does not tell them.
    every
        By tensor that goes with the first of so many requests only: with the others it is named as not taken.
    """

    flow: str
    after: str
    to: str
    tensors: tuple[str, ...]
    energy_j: float | None = None
    every: dict[str, int] = {}

    def __post_init__(self) -> None:
        """Check the fields."""
        if not self.tensors:
            raise ValueError(f"route of flow {self.flow!r} to {self.to!r} carries no tensors")
        check_unique(f"tensors of the route to {self.to!r}", self.tensors)
        check_figure("energy_j", self.energy_j)
        for name, every in self.every.items():
            check_every(f"tensor {name!r} of the route to {self.to!r}", every)
            if name not in self.tensors:
                raise ValueError(f"every of the route to {self.to!r} names {name!r}, which it does not carry")


class Arrival(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message of a flow from another device to this one: a route of that device, seen from its end.

    Parameters
    ----------
    flow
        The flow that it belongs to.
    sender
        The device that sends it.
    after
        The segment or condition there that releases it; ``""`` for the flow's inputs.
    tensors
        Names of the tensors that it carries.
    """

    flow: str
    sender: str
    after: str
    tensors: tuple[str, ...]


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device knows of a flow that passes it.

    Parameters
    ----------
    name
        The flow's name: the model name that clients ask the source device for.
    source, sink
        Where its requests begin and data arise, and where outputs are needed.
    sources, sinks
        Where other data arise, by input, and where other outputs are needed, by output.
    devices
        Every device that takes part, all sources and sinks among them: whom the source watches while it waits.
    inputs, outputs
        Its tensors at both ends, as clients see them.
    deadline_s
        The time that a request has when its client names none; None leaves that to the agent.
    wait_w
        Watts above idle of the source while it waits for others, as planned; None where the plan does not tell them.
    energy_slo_j
        Joules above idle that one outcome may cost; None for no objective.
    hops
        The pairs of devices, sender and receiver, between which its messages go: what a source looks at to tell
        whether a plan can serve while something is lost.
    """

    name: str
    source: str
    sink: str
    devices: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sources: dict[str, str] = {}
    sinks: dict[str, str] = {}
    deadline_s: float | None = None
    wait_w: float | None = None
    energy_slo_j: float | None = None
    hops: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Check the fields."""
        check_name("name", self.name)
        if foreign := sorted({device for hop in self.hops for device in hop} - set(self.devices)):
            raise ValueError(f"hops of flow {self.name!r} name {foreign}, which are not among its devices")
        check_figure("wait_w", self.wait_w)
        if self.energy_slo_j is not None and not 0 < self.energy_slo_j < math.inf:
            raise ValueError(f"energy_slo_j of flow {self.name!r} is {self.energy_slo_j}; it is above 0 joules")
        check_unique(f"devices of flow {self.name!r}", self.devices)
        roles = [("source", self.source), ("sink", self.sink)]
        roles += [(f"source of {name!r}", device) for name, device in self.sources.items()]
        roles += [(f"sink of {name!r}", device) for name, device in self.sinks.items()]
        for role, device in roles:
            if device not in self.devices:
                raise ValueError(
                    f"{role} {device!r} of flow {self.name!r} is not among its devices {list(self.devices)}"
                )
        if self.deadline_s is not None and not 0 < self.deadline_s <= 86400:
            raise ValueError(f"deadline_s of flow {self.name!r} is {self.deadline_s}; it is above 0 and at most 86400")
        for what, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not tensors:
                raise ValueError(f"flow {self.name!r} has no {what}")
            check_unique(f"{what} of flow {self.name!r}", (t.name for t in tensors))
        for what, named, tensors, device in (
            ("sources", self.sources, self.inputs, self.source),
            ("sinks", self.sinks, self.outputs, self.sink),
        ):
            names = [t.name for t in tensors]
            if foreign := sorted(set(named) - set(names)):
                raise ValueError(f"{what} of flow {self.name!r} name {foreign}, which are none of {names}")
            if all(named.get(name, device) != device for name in names):
                raise ValueError(f"{what} of flow {self.name!r} leave nothing for {device!r}")

    @property
    def source_devices(self) -> tuple[str, ...]:
        """Where its data arise; requests begin at the first."""
        return tuple(dict.fromkeys([self.source, *self.sources.values()]))

    @property
    def sink_devices(self) -> tuple[str, ...]:
        """Where its outputs are needed."""
        return tuple(dict.fromkeys([self.sink, *self.sinks.values()]))

    def inputs_at(self, device: str) -> tuple[TensorSpec, ...]:
        """Give the data that arise on a device."""
        return tuple(t for t in self.inputs if self.sources.get(t.name, self.source) == device)

    def outputs_at(self, device: str) -> tuple[TensorSpec, ...]:
        """Give the outputs that are needed on a device."""
        return tuple(t for t in self.outputs if self.sinks.get(t.name, self.sink) == device)


@lru_cache(maxsize=4096)
def _bytes_of(dtype: str, shape: tuple[int, ...]) -> int | None:
    # Asked for with every request.
    item = DATATYPES[dtype]
    return None if item.kind == "O" else math.prod(shape) * item.itemsize


def check_name(field: str, name: str) -> None:
    """Refuse a name that is empty, too long or has control characters; raises ``ValueError`` with the field."""
    if not name or len(name) > 1024 or any(ord(c) < 32 for c in name):
        raise ValueError(f"{field} {name!r} is empty, longer than 1024 characters or has control characters")


def check_figure(field: str, value: float | None) -> None:
    """Refuse a figure that is negative or not finite; raises ``ValueError`` with the field."""
    if value is not None and not 0 <= value < math.inf:
        raise ValueError(f"{field} is {value}; it is a number from 0 on")


def check_every(what: str, every: int) -> None:
    """Refuse a count below 1; raises ``ValueError`` with whose it is."""
    if every < 1:
        raise ValueError(f"{what}: every is {every}; it is a whole number from 1 on")


def check_unique(what: str, names: Iterable[str]) -> None:
    """Refuse a name that occurs twice; raises ``ValueError`` that says among what."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what}: {name!r} occurs twice")
        seen.add(name)
