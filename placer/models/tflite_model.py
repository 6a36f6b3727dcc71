"""What a decoded .tflite file consists of, in types that hold: indices are numbers, vectors are tuples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from placer.models.graph import DTYPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

CALL_FIELDS = (
    "subgraph",
    "initSubgraphIndex",
    "thenSubgraphIndex",
    "elseSubgraphIndex",
    "condSubgraphIndex",
    "bodySubgraphIndex",
    "comparatorSubgraphIndex",
    "updateComputationSubgraphIndex",
    "decompositionSubgraphIndex",
)
"""Fields of operators' options that name the subgraph which the operator calls; -1 is none."""

CALL_LIST_FIELDS = ("branchSubgraphIndices", "calledComputations")
"""Fields of operators' options that name several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteTensor:
    """A tensor of a subgraph.

    Parameters
    ----------
    name
        Unique in its subgraph: as the file has it, with its index where that is empty or taken.
    shape
        As the file states it; an open dimension has the size which the file gives as default.
    dtype
        In numpy's words where numpy has it ("float32"), else as the schema calls it ("string", "int4").
    is_open
        The file leaves a dimension to the execution.
    is_variable
        Its value stays from one inference to the next.
    buffer
        Index of its constant's buffer; 0 for none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_open: bool
    is_variable: bool
    buffer: int

    @property
    def bytes(self) -> int:
        """Size of the dense tensor; 8 bytes per element of a type that agents cannot exchange."""
        return math.prod(self.shape) * DTYPE_BYTES.get(self.dtype, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteOperator:
    """An operator of a subgraph.

    Parameters
    ----------
    kind
        As the schema calls it ("CONV_2D"), or the name of a custom one.
    is_custom
        It is no operator of the schema; a device may not have it.
    inputs, outputs
        Indices of tensors in its kernel's order; an optional one that is left out is -1.
    calls
        Indices of the subgraphs that it runs.
    state
        What it opens that outlives the inference, by kind and name; None for most.
    options
        The decoded table of its options; None where it has none.
    source
        The decoded table.
    """

    kind: str
    is_custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[int, ...]
    state: Hashable
    options: Any
    source: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteSubgraph:
    """A subgraph: the model's main one, or a body that an operator calls.

    Parameters
    ----------
    tensors, operators
        In file order, which is the order of execution.
    inputs, outputs
        Indices of tensors.
    source
        The decoded table.
    """

    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    source: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteFile:
    """A .tflite file, verified and decoded.

    Parameters
    ----------
    path
        Where it was read from.
    sha256
        Digest of its bytes.
    subgraphs
        The first is the model; the others are called by operators.
    buffers
        Bytes of the constants; that of index 0 is empty.
    model
        The decoded root table.
    """

    path: str
    sha256: str
    subgraphs: tuple[TfliteSubgraph, ...]
    buffers: tuple[npt.NDArray[np.uint8], ...]
    model: Any


def integers(vector: Sequence[int] | None) -> tuple[int, ...]:
    """Return a decoded vector, which may be absent or an array, as numbers."""
    return () if vector is None else tuple(int(value) for value in vector)


def called(options: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the fields of an operator's options that name subgraphs, with the indices they hold."""
    for name in CALL_FIELDS:
        index = getattr(options, name, -1)
        if index >= 0:
            yield name, (index,)
    for name in CALL_LIST_FIELDS:
        indices = getattr(options, name, None)
        if indices is not None:
            yield name, integers(indices)
