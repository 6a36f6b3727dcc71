"""Data of flows that arise here while their requests begin on another device: kept until its word comes.

A client hands them in under the request's id. Either may be first: data wait for the word, and the word for data.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtimes.convert import size_bytes
from runtimes.errors import Exhausted, WrongState
from runtimes.isolation.arena import own

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtimes.convert import Array
    from runtimes.run import Run
    from runtimes.specs import FlowSpec


@dataclass(slots=True, eq=False)
class _Data:
    flow: FlowSpec
    arrays: Mapping[str, Array]
    bytes: int
    stored_at: float
    taken_by: str = ""


class HandedIn:
    """Data by flow and request id, kept until their time is over.

    Parameters
    ----------
    capacity
        How many requests' data are kept. Those that a request took make room for new ones; others do not.
    capacity_bytes
        How many bytes of tensors are kept.
    keep_s
        For how long they wait.
    """

    def __init__(self, capacity: int, capacity_bytes: int, keep_s: float) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._data: dict[tuple[str, str], _Data] = {}
        self._waiting: dict[tuple[str, str], list[Run]] = {}

    def __len__(self) -> int:
        return len(self._data)

    def put(self, flow: FlowSpec, request: str, arrays: Mapping[str, Array]) -> list[Run]:
        """Keep data of a request; the latest count, for one request alone.

        Parameters
        ----------
        flow, request
            Whose they are.
        arrays
            All data of the flow that arise here, by name.

        Returns
        -------
        list of Run
            The passages of the request that wait for them and have them now.

        Raises
        ------
        Exhausted
            If there is no room: what was acknowledged is not thrown away for it.
        """
        key = (flow.name, request)
        data = _Data(flow, own(arrays), size_bytes(arrays.values()), time.monotonic())
        with self._lock:
            self._make_room(key, data)
            self._data[key] = data
            runs = _open(self._waiting.pop(key, []))
            given = [run for run in runs if run.asked == runs[0].asked]
            if later := [run for run in runs if run.asked != runs[0].asked]:
                self._waiting[key] = later
            if given:
                data.taken_by = given[0].asked
        return given

    def claim(self, run: Run) -> Mapping[str, Array] | None:
        """Give a passage its request's data; None if they are still to come, and it waits for them.

        Data that another request of that id took are not given again, nor those whose time is over: a client that
        forgot to hand its own in must not get a result of those.

        Raises
        ------
        WrongState
            If they were handed in under a plan that takes others.
        """
        key = (run.flow.name, run.request)
        with self._lock:
            data = self._data.get(key)
            if data is None or self._is_over(data, time.monotonic()) or data.taken_by not in ("", run.asked):
                self._waiting = {k: left for k, runs in self._waiting.items() if (left := _open(runs))}
                self._waiting.setdefault(key, []).append(run)
                return None
            data.taken_by = run.asked
        require_fit(run, data.flow)
        return data.arrays

    def _make_room(self, key: tuple[str, str], new: _Data) -> None:
        """Let go of what is over, of what the new data replace, and as far as is needed of what was taken."""
        others = {k: d for k, d in self._data.items() if k != key and not self._is_over(d, new.stored_at)}
        for taken in [k for k, data in others.items() if data.taken_by]:
            if self._has_room(others, new):
                break
            del others[taken]
        if not self._has_room(others, new):
            raise Exhausted(f"the data of {len(others)} requests wait here for them to begin; try later")
        self._data = others

    def _is_over(self, data: _Data, now: float) -> bool:
        return now - data.stored_at > self._keep_s

    def _has_room(self, others: Mapping[tuple[str, str], _Data], new: _Data) -> bool:
        held_bytes = sum(data.bytes for data in others.values())
        return len(others) < self._capacity and held_bytes + new.bytes <= self._capacity_bytes


def require_fit(run: Run, flow: FlowSpec) -> None:
    """Refuse data that were handed in under another plan, whose flow of that name takes others.

    Raises
    ------
    WrongState
        If it does.
    """
    if run.loaded.inputs(run.flow.name) != flow.inputs_at(run.loaded.device):
        raise WrongState(f"the data of request {run.request[:200]!r} were handed in for another plan's flow")


def _open(runs: list[Run]) -> list[Run]:
    # What is overdue is closed a moment later, and must not take what comes for the next request of its id.
    return [run for run in runs if not run.closed and run.remaining_s > 0]
