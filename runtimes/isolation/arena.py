"""The memory that an agent shares with a segment's process: every tensor of its boundary at a fixed place.

Shapes are known before a segment is loaded, so nothing is negotiated and nothing grows. One execution at a time
uses it. Strings alone have no fixed size; they travel as bytes beside it.

Large outputs have two places, so that those of an execution can stay where they are until they are sent, while the
next one writes to the other place.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from runtimes.convert import of_raw, raw_of
from runtimes.datatypes import DATATYPES
from runtimes.errors import AgentError, BadRequest, Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runtimes.convert import Array
    from runtimes.specs import SegmentSpec, TensorSpec

    # Name, shape, type and begin of each tensor.
    _Layout = list[tuple[str, tuple[int, ...], np.dtype[Any], int]]

# A cache line, which is also what vector instructions ask for.
_ALIGNMENT = 64
# Copying fewer bytes costs less than taking note of who reads them where they are; more are no message's, as a rule,
# and too much memory to have twice.
_LENT_BYTES = range(1 << 16, 1 << 26)


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
        self._input_strings = _strings(spec.inputs)
        self._output_strings = _strings(spec.outputs)
        whole = self._whole()
        self._inputs = _views(_layout(spec.inputs, 0), whole)
        begin, size_bytes = _size_bytes(spec.inputs), _size_bytes(spec.outputs)
        self._layouts = [_layout(spec.outputs, begin + place * size_bytes) for place in range(_places(spec))]
        self._outputs = [_views(layout, whole) for layout in self._layouts]
        # Per place, what all arrays over it hold: while that is there, somebody reads them.
        self._lent: list[Callable[[], Array | None]] = [_nothing] * len(self._layouts)

    @property
    def has_strings(self) -> bool:
        """Whether some tensors travel beside the memory."""
        return bool(self._input_strings or self._output_strings)

    @property
    def places(self) -> Sequence[tuple[Mapping[str, Array], Mapping[str, Array]]]:
        """The arrays that an execution reads, and those that it writes to, for each place of the outputs."""
        return [(self._inputs, outputs) for outputs in self._outputs]

    def free_place(self) -> int:
        """Give a place of the outputs that nobody reads."""
        # With two places, one of them is free: the last free one is never lent.
        return 0 if self._lent[0]() is None else 1

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

    def put_outputs(self, place: int, tensors: Mapping[str, Array]) -> bytes:
        """Write an execution's outputs; returns what travels beside the memory."""
        return _put(self._outputs[place], self._output_strings, tensors)

    def take_outputs(self, place: int, beside: bytes) -> dict[str, Array]:
        """Give the outputs: where they are, if a later execution has another place, or else copies.

        Raises
        ------
        Failed
            As for ``inputs``.
        """
        if len(self._lent) == 1 or self._lent[1 - place]() is not None:
            taken = {name: view.copy() for name, view in self._outputs[place].items()}
        else:
            whole = self._whole()
            whole.flags.writeable = False
            self._lent[place] = weakref.ref(whole)
            taken = _views(self._layouts[place], whole)
        return taken | _read_strings(self._output_strings, beside) if self._output_strings else taken

    def _whole(self) -> Array:
        return np.ndarray(len(self._memory), np.uint8, buffer=self._memory)


def own(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Give arrays that may be kept: copies of those that lie where they would hold on to what is not theirs.

    That is an arena, where a segment's process could write, or a message much larger than they are.
    """
    return {name: array.copy() if _is_part(array) else array for name, array in arrays.items()}


def arena_bytes(spec: SegmentSpec) -> int:
    """Size of a segment's arena in bytes."""
    # One unit more than needed: an empty tensor at the end has a place too.
    return _size_bytes(spec.inputs) + _places(spec) * _size_bytes(spec.outputs) + _ALIGNMENT


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


def _size_bytes(tensors: Sequence[TensorSpec]) -> int:
    return sum(_aligned(tensor.bytes) for tensor in tensors if tensor.bytes is not None)


def _places(spec: SegmentSpec) -> int:
    return 2 if _size_bytes(spec.outputs) in _LENT_BYTES else 1


def _layout(tensors: Sequence[TensorSpec], at: int) -> _Layout:
    layout: _Layout = []
    for tensor in tensors:
        if tensor.bytes is not None:
            layout.append((tensor.name, tensor.shape, DATATYPES[tensor.dtype], at))
            at += _aligned(tensor.bytes)
    return layout


def _views(layout: _Layout, whole: Array) -> dict[str, Array]:
    # numpy makes ``whole`` the base of each of them, and of whatever is made of them.
    return {name: np.ndarray(shape, dtype, buffer=whole, offset=at) for name, shape, dtype, at in layout}


def _is_part(array: Array) -> bool:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return isinstance(base, mmap.mmap) or (isinstance(base, bytes) and len(base) > 2 * array.nbytes + _ALIGNMENT)


def _nothing() -> None:
    return None


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
