"""What the planner knows of a model: its ops, the tensors between them, and what each of them weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import networkx as nx

from placer.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DTYPE_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "bool": 1,
        "int8": 1,
        "uint8": 1,
        "int16": 2,
        "uint16": 2,
        "float16": 2,
        "bfloat16": 2,
        "int32": 4,
        "uint32": 4,
        "float32": 4,
        "int64": 8,
        "uint64": 8,
        "float64": 8,
    }
)
"""Bytes per element of every dtype that agents can exchange (the numeric ones of the inference protocol)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A value that an op makes and others consume, with its concrete shape.

    Parameters
    ----------
    name
        Name in the model file.
    shape
        Concrete dimensions; empty for a scalar.
    dtype
        Name of the element type in numpy's words, one of `DTYPE_BYTES`.
    bytes
        Size of the dense tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            raise ProblemError(
                f"tensor {self.name!r} is of type {self.dtype}, which agents cannot exchange; "
                f"allowed: {', '.join(DTYPE_BYTES)}"
            )
        if any(dim < 0 for dim in self.shape):
            raise ProblemError(f"tensor {self.name!r} has a negative dimension: {list(self.shape)}")
        dense = math.prod(self.shape) * DTYPE_BYTES[self.dtype]
        if self.bytes != dense:
            raise ProblemError(
                f"tensor {self.name!r}: {self.bytes} bytes, but {self.dtype} {list(self.shape)} is {dense} bytes"
            )

    @classmethod
    def dense(cls, name: str, shape: Sequence[int], dtype: str) -> Tensor:
        """Make a tensor whose bytes follow from its shape and dtype.

        Raises
        ------
        ProblemError
            The dtype is none that agents can exchange, or a dimension is negative.
        """
        size = math.prod(shape) * DTYPE_BYTES.get(dtype, 0)
        return cls(name=name, shape=tuple(int(dim) for dim in shape), dtype=dtype, bytes=size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One indivisible step of a model: the unit that is placed.

    Parameters
    ----------
    name
        Unique in the model.
    type
        Operator, as the file calls it ("Conv").
    macs
        Multiply-accumulate operations of one execution; 0 where the op has none worth counting.
    weights_bytes
        Bytes of the constants it reads, and of those it holds itself.
    weights_id
        Names these constants over all models; equal ids are the same bytes. Empty without weights.
    inputs, outputs
        Names of the tensors it consumes and makes; constants and outputs nobody reads are left out.
    workspace_bytes
        Bytes that live while it runs: its inputs and outputs.
    """

    name: str
    type: str
    macs: int
    weights_bytes: int
    weights_id: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    workspace_bytes: int

    def __post_init__(self) -> None:
        if not self.name:
            raise ProblemError(f"an op of type {self.type!r} has no name")
        for what in ("macs", "weights_bytes", "workspace_bytes"):
            if getattr(self, what) < 0:
                raise ProblemError(f"op {self.name!r}: {what} is negative: {getattr(self, what)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGraph:
    """A model as a directed acyclic graph of ops joined by tensors; never changes after it was read.

    Parameters
    ----------
    name
        The file's name without its suffix.
    format
        "onnx" or "tflite".
    path
        The file it was read from.
    sha256
        Digest of the file's bytes, and of those of its external data.
    numeric
        The format most of its MACs are computed in: "fp32", "int8", ...
    inputs, outputs
        The model's own, in file order.
    ops
        In topological order, as the file has them.
    tensors
        Every tensor of the graph by name; constants are none.

    Raises
    ------
    ProblemError
        No ops, a name twice, an unknown tensor, a tensor with two producers, or ops out of order.
    """

    name: str
    format: str
    path: str
    sha256: str
    numeric: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]
    _producer: Mapping[str, Op] = field(init=False, repr=False, compare=False)
    _consumers: Mapping[str, tuple[Op, ...]] = field(init=False, repr=False, compare=False)
    _digraph: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.ops:
            raise ProblemError(f"{self.path}: the model has no ops; there is nothing to place")
        producer: dict[str, Op] = {}
        consumers: dict[str, list[Op]] = {}
        digraph = nx.DiGraph(name=self.name)
        made = {tensor.name for tensor in self.inputs}
        for op in self.ops:
            if op.name in digraph:
                raise ProblemError(f"{self.path}: two ops are named {op.name!r}")
            digraph.add_node(op.name, op=op)
            for name in op.inputs:
                if name not in made:
                    raise ProblemError(f"{self.path}: op {op.name!r} reads {name!r} before anything makes it")
                consumers.setdefault(name, []).append(op)
                if name in producer:
                    source = producer[name].name
                    known = digraph.get_edge_data(source, op.name, {"tensors": ()})["tensors"]
                    digraph.add_edge(source, op.name, tensors=(*known, self.tensors[name]))
            for name in op.outputs:
                if name in made:
                    raise ProblemError(f"{self.path}: the tensor {name!r} is made twice")
                made.add(name)
                producer[name] = op
        for name in (*made, *(tensor.name for tensor in self.outputs)):
            if name not in made or name not in self.tensors:
                raise ProblemError(f"{self.path}: the tensor {name!r} has no producer or no shape")
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "_producer", producer)
        object.__setattr__(self, "_consumers", {name: tuple(ops) for name, ops in consumers.items()})
        object.__setattr__(self, "_digraph", nx.freeze(digraph))

    def producer(self, tensor: str) -> Op | None:
        """Return the op that makes a tensor; None for an input of the model."""
        return self._producer.get(tensor)

    def consumers(self, tensor: str) -> tuple[Op, ...]:
        """Return the ops that read a tensor, in file order."""
        return self._consumers.get(tensor, ())

    @property
    def digraph(self) -> Any:
        """The frozen networkx.DiGraph: nodes are op names (attribute `op`), edges carry `tensors`."""
        return self._digraph

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one inference."""
        return sum(op.macs for op in self.ops)
