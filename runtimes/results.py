"""The results that a sink keeps for requests that began on another device."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimes.convert import size_bytes
from runtimes.errors import Exhausted, UnknownName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtimes.convert import Array
    from runtimes.specs import FlowSpec


@dataclass(slots=True, eq=False)
class _Result:
    flow: FlowSpec
    outputs: Mapping[str, Array]
    stored_at: float
    fetched: bool = False


class ResultStore:
    """Results by request id, kept until their time is over.

    Parameters
    ----------
    capacity
        How many are kept. Fetched ones make room for new ones; one that nobody fetched does not.
    capacity_bytes
        How many bytes of tensors are kept.
    keep_s
        For how long one can be fetched.
    """

    def __init__(self, capacity: int, capacity_bytes: int, keep_s: float) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._results: dict[str, _Result] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._results)

    def put(self, request: str, flow: FlowSpec, outputs: Mapping[str, Array]) -> None:
        """Store a result; a later one of the same request replaces it.

        Raises
        ------
        Exhausted
            If there is no room: what was acknowledged is not thrown away for it.
        """
        size = size_bytes(outputs.values())
        with self._lock:
            self._drop(request)
            self._make_room(size)
            if len(self._results) >= self._capacity or self._bytes + size > self._capacity_bytes:
                raise Exhausted(f"{len(self._results)} results wait here to be fetched; fetch some")
            self._results[request] = _Result(flow, outputs, time.monotonic())
            self._bytes += size

    def get(self, request: str) -> tuple[FlowSpec, Mapping[str, Array]]:
        """Read a result; it stays for as long as there is room.

        Raises
        ------
        UnknownName
            If there is none of that request.
        """
        with self._lock:
            result = self._results.get(request)
            if result is None:
                raise UnknownName(f"no result of request {request[:200]!r} is stored on this device")
            result.fetched = True
            return result.flow, result.outputs

    def _make_room(self, size: int) -> None:
        now = time.monotonic()
        for request in [r for r, result in self._results.items() if now - result.stored_at > self._keep_s]:
            self._drop(request)
        for request in [r for r, result in self._results.items() if result.fetched]:
            if len(self._results) < self._capacity and self._bytes + size <= self._capacity_bytes:
                return
            self._drop(request)

    def _drop(self, request: str) -> None:
        result = self._results.pop(request, None)
        if result is not None:
            self._bytes -= size_bytes(result.outputs.values())
