"""The memory that an agent shares with a segment's process: every tensor of its boundary at a fixed place.

Shapes are known before a segment is loaded, so nothing is negotiated and nothing grows. One execution at a time
uses it. Strings alone have no fixed size; they travel as bytes beside it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from runtimes.convert import of_raw, raw_of
from runtimes.datatypes import DATATYPES
from runtimes.errors import AgentError, BadRequest, Failed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runtimes.convert import Array
    from runtimes.specs import SegmentSpec, TensorSpec

# A cache line, which is also what vector instructions ask for.
_ALIGNMENT = 64


class Arena:
    """The boundary tensors of one segment, in shared memory.

    Parameters
    ----------
    spec
        The segment.
    descriptor
        The memory file, as ``make_arena`` gives it; not closed here.

    Raises
    ------
    OSError
        If it cannot be mapped.
    """

    def __init__(self, spec: SegmentSpec, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, arena_bytes(spec))
        self._inputs: dict[str, Array] = {}
        self._outputs: dict[str, Array] = {}
        self._input_strings = _strings(spec.inputs)
        self._output_strings = _strings(spec.outputs)
        at = 0
        for tensors, views in ((spec.inputs, self._inputs), (spec.outputs, self._outputs)):
            for tensor in tensors:
                if tensor.bytes is not None:
                    views[tensor.name] = np.ndarray(
                        tensor.shape, DATATYPES[tensor.dtype], buffer=self._memory, offset=at
                    )
                    at += _aligned(tensor.bytes)

    def put_inputs(self, tensors: Mapping[str, Array]) -> bytes:
        """Write an execution's inputs; returns what travels beside the memory."""
        return _put(self._inputs, self._input_strings, tensors)

    def inputs(self, beside: bytes) -> Mapping[str, Array]:
        """Give the inputs as they stand in the memory.

        Raises
        ------
        Failed
            If what travelled beside it is not what the segment's strings take.
        """
        return self._inputs | _read_strings(self._input_strings, beside) if self._input_strings else self._inputs

    def put_outputs(self, tensors: Mapping[str, Array]) -> bytes:
        """Write an execution's outputs; returns what travels beside the memory."""
        return _put(self._outputs, self._output_strings, tensors)

    def take_outputs(self, beside: bytes) -> dict[str, Array]:
        """Copy the outputs, since the next execution overwrites them.

        Raises
        ------
        Failed
            As for ``inputs``.
        """
        return {name: view.copy() for name, view in self._outputs.items()} | _read_strings(self._output_strings, beside)


def arena_bytes(spec: SegmentSpec) -> int:
    """Size of a segment's arena in bytes."""
    # One unit more than needed: an empty tensor at the end has a place too.
    return sum(_aligned(t.bytes) for t in (*spec.inputs, *spec.outputs) if t.bytes is not None) + _ALIGNMENT


def make_arena(spec: SegmentSpec) -> int:
    """Make the memory file of a segment's arena; returns its descriptor.

    Its size is sealed: a process that shrank it would crash the agent at the next touch.

    Raises
    ------
    AgentError
        If the system has none.
    """
    try:
        descriptor = os.memfd_create("placer-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, arena_bytes(spec))
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError as error:
        raise AgentError(f"no memory to share with the process of segment {spec.name!r}: {error.strerror}") from error
    return descriptor


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT


def _strings(tensors: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
    return {tensor.name: tensor for tensor in tensors if tensor.bytes is None}


def _put(views: Mapping[str, Array], strings: Mapping[str, TensorSpec], tensors: Mapping[str, Array]) -> bytes:
    for name, view in views.items():
        np.copyto(view, tensors[name], casting="no")
    return msgspec.msgpack.encode({name: raw_of(tensors[name]) for name in strings}) if strings else b""


def _read_strings(strings: Mapping[str, TensorSpec], beside: bytes) -> dict[str, Array]:
    if not strings:
        return {}
    try:
        given = msgspec.msgpack.decode(beside, type=dict[str, bytes])
        return {name: of_raw(given[name], tensor) for name, tensor in strings.items()}
    except (msgspec.DecodeError, KeyError, BadRequest) as error:
        raise Failed(f"the strings beside the shared memory cannot be read: {error}") from error
