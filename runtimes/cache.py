"""What a segment made of exactly the same inputs before, kept in memory within a bound instead of being made again."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from runtimes.convert import size_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtimes.convert import Array

# What Python keeps beside the contents, rounded up: the digest and the tables' entries, and an array's own object.
_RESULT_BYTES = 768
_TENSOR_BYTES = 256


def kept_bytes(tensors: int, contents_bytes: int) -> int:
    """Give the bytes that one result counts with: its contents, and what keeping it takes beside them.

    Parameters
    ----------
    tensors
        How many outputs it has.
    contents_bytes
        Their contents, together.
    """
    return _RESULT_BYTES + tensors * _TENSOR_BYTES + contents_bytes


class Cache:
    """Results of one segment by the digest of their inputs; the least recently used go first.

    Inputs are the same if their names, types, shapes and contents are, bit for bit. They are known by 256 bits of
    BLAKE2b under a key of this object's own: nobody can find two that have one digest, nor learn them from it.

    Parameters
    ----------
    capacity_bytes
        What all results may count together, by `kept_bytes`; one that is larger is not kept.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._results: OrderedDict[bytes, dict[str, Array]] = OrderedDict()
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """What the results that it holds count together."""
        return self._bytes

    def key(self, inputs: Mapping[str, Array]) -> bytes:
        """Give the digest of inputs, by name; none of them holds strings."""
        state = hashlib.blake2b(key=self._secret, digest_size=32)
        for name in sorted(inputs):
            array = inputs[name]
            # As one line of bytes, whatever the dimensions: hashes take no views of several.
            contents = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            what = f"{array.dtype.str} {array.shape} {name}".encode()
            state.update(len(what).to_bytes(8, "little") + what + contents.size.to_bytes(8, "little"))
            state.update(contents.data)
        return state.digest()

    def get(self, key: bytes) -> dict[str, Array] | None:
        """Give what was made of the inputs with this digest, read-only; None where that is not kept."""
        with self._lock:
            outputs = self._results.get(key)
            if outputs is None:
                return None
            self._results.move_to_end(key)
            return dict(outputs)

    def put(self, key: bytes, outputs: Mapping[str, Array]) -> None:
        """Keep a copy of what was made of the inputs with this digest, if it fits at all."""
        size = _counted(outputs)
        if size > self._capacity_bytes:
            return
        # Outputs may lie in memory that the next execution writes over.
        copies = {name: np.array(array, order="C") for name, array in outputs.items()}
        for array in copies.values():
            array.flags.writeable = False
        with self._lock:
            if key in self._results or size > self._capacity_bytes:
                return
            while self._bytes + size > self._capacity_bytes:
                _, oldest = self._results.popitem(last=False)
                self._bytes -= _counted(oldest)
            self._results[key] = copies
            self._bytes += size

    def close(self) -> None:
        """Forget everything, and keep nothing from now on."""
        with self._lock:
            self._results.clear()
            self._bytes = self._capacity_bytes = 0


def _counted(outputs: Mapping[str, Array]) -> int:
    return kept_bytes(len(outputs), size_bytes(outputs.values()))
