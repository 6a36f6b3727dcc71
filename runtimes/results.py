"""The results that a sink keeps for requests that began on another device."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimes.convert import size_bytes
from runtimes.errors import BadRequest, Exhausted, UnknownName
from runtimes.isolation.arena import own

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtimes.convert import Array
    from runtimes.specs import FlowSpec


@dataclass(slots=True, eq=False)
class _Result:
    flow: FlowSpec
    outputs: Mapping[str, Array]
    asked: tuple[int, str]
    bytes: int
    stored_at: float
    fetched: bool = False


class ResultStore:
    """Results by flow and request id, kept until their time is over.

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
        # By flow and id: the ids are the clients' own, and those of another flow know nothing of them.
        self._results: dict[tuple[str, str], _Result] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._results)

    def put(self, request: str, flow: FlowSpec, outputs: Mapping[str, Array], *, asked: tuple[int, str]) -> None:
        """Store a result; nothing changes where it cannot be stored.

        Parameters
        ----------
        request, flow
            What it is the result of.
        outputs
            Its tensors by name.
        asked
            The plan's epoch and a digest of the inputs. A result of the same request that was asked the same stays,
            and is the result of both.

        Raises
        ------
        BadRequest
            If the result of another request with that id was not fetched yet.
        Exhausted
            If there is no room: what was acknowledged is not thrown away for it.
        """
        key = (flow.name, request)
        size = size_bytes(outputs.values())
        now = time.monotonic()
        with self._lock:
            for old in [k for k, result in self._results.items() if now - result.stored_at > self._keep_s]:
                self._drop(old)
            held = self._results.get(key)
            if held is not None and held.asked == asked:
                # It is acknowledged anew.
                held.stored_at, held.fetched = now, False
                return
            if held is not None and not held.fetched:
                raise BadRequest(
                    f"the result of an earlier request {request[:200]!r} of flow {flow.name!r}, with other inputs or "
                    "under another plan, waits here; fetch it first, or give each request an id of its own"
                )
            waiting = [result for result in self._results.values() if not result.fetched]
            if len(waiting) >= self._capacity or sum(r.bytes for r in waiting) + size > self._capacity_bytes:
                raise Exhausted(f"{len(waiting)} results wait here to be fetched; fetch some")
            self._drop(key)
            for done in [k for k, result in self._results.items() if result.fetched]:
                if len(self._results) < self._capacity and self._bytes + size <= self._capacity_bytes:
                    break
                self._drop(done)
            self._results[key] = _Result(flow, own(outputs), asked, size, now)
            self._bytes += size

    def get(self, request: str, flow: str = "") -> tuple[FlowSpec, Mapping[str, Array]]:
        """Read a result; it stays for as long as there is room.

        Parameters
        ----------
        request
            The request's id.
        flow
            Its flow; ``""`` for the only one that has a result of that id.

        Raises
        ------
        UnknownName
            If there is none of that request.
        BadRequest
            If no flow is given, and several have one.
        """
        with self._lock:
            flows = [flow] if flow else [f for f, known in self._results if known == request]
            if len(flows) > 1:
                raise BadRequest(
                    f"results of requests {request[:200]!r} of {len(flows)} flows are stored on this device; "
                    f"say of which flow: {sorted(flows)}"
                )
            result = self._results.get((flows[0], request)) if flows else None
            if result is None:
                whose = f" of flow {flow[:200]!r}" if flow else ""
                raise UnknownName(f"no result of request {request[:200]!r}{whose} is stored on this device")
            result.fetched = True
            return result.flow, result.outputs

    def _drop(self, key: tuple[str, str]) -> None:
        result = self._results.pop(key, None)
        if result is not None:
            self._bytes -= result.bytes
