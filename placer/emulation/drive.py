"""Sends the requests of several flows, each at its own rate, and keeps what became of every one."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placer.deployment.run import hand_in
from runtimes.client import AgentClient
from runtimes.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from runtimes.convert import Array
    from runtimes.specs import FlowSpec

_AT_ONCE = 32
"""Requests of one flow under way: as many clients as an agent lets wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The requests of one flow.

    Parameters
    ----------
    flow
        Its name.
    spec
        What its devices know of it.
    agents
        Where the agents of the devices listen on which its data arise.
    feeds
        The inputs of every request.
    rate_hz
        How many are sent a second, whether or not those before are answered; 0: each when the one before is done.
    runs
        How many are sent at most; None for as many as the time holds.
    deadline_s
        Time that each has.
    """

    flow: str
    spec: FlowSpec
    agents: Mapping[str, str]
    feeds: Mapping[str, Array]
    rate_hz: float
    runs: int | None
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request: when it was sent, after the first of all, how long it took, and its id or what went wrong."""

    sent_s: float
    seconds: float
    request_id: str
    error: str


def drive(
    streams: Sequence[Stream], duration_s: float, acts: Sequence[tuple[float, Callable[[], None]]] = ()
) -> dict[str, list[Attempt]]:
    """Send the requests of all streams side by side.

    Parameters
    ----------
    streams
        What to send.
    duration_s
        No request is sent later than this.
    acts
        What else to do, and when, after the first request.

    Returns
    -------
    dict
        Flow to attempts, in the order of sending.
    """
    began = time.monotonic()
    ended = threading.Event()
    with ThreadPoolExecutor(len(streams) + len(acts)) as pool:
        doing = [pool.submit(_act, began + at_s, act, ended) for at_s, act in acts]
        sending = {s.flow: pool.submit(_send_all, s, began, duration_s) for s in streams}
        try:
            attempts = {flow: future.result() for flow, future in sending.items()}
        finally:
            ended.set()
        for done in doing:
            done.result()
    return attempts


def _act(at: float, act: Callable[[], None], ended: threading.Event) -> None:
    if not ended.wait(max(0.0, at - time.monotonic())):
        act()


def _send_all(stream: Stream, began: float, duration_s: float) -> list[Attempt]:
    with ExitStack() as stack:
        clients = {device: stack.enter_context(AgentClient(at)) for device, at in stream.agents.items()}
        pool = stack.enter_context(ThreadPoolExecutor(_AT_ONCE if stream.rate_hz > 0 else 1))
        sent: list[Future[Attempt]] = []
        while stream.runs is None or len(sent) < stream.runs:
            if stream.rate_hz > 0:
                # Counted from the beginning, so that lateness does not add up.
                time.sleep(max(0.0, began + len(sent) / stream.rate_hz - time.monotonic()))
            if time.monotonic() - began > duration_s:
                break
            sent.append(pool.submit(_send, clients, stream, began))
            if stream.rate_hz == 0:
                sent[-1].result()
        return [future.result() for future in sent]


def _send(clients: Mapping[str, AgentClient], stream: Stream, began: float) -> Attempt:
    started = time.monotonic()
    request_id, error = "", ""
    try:
        named, given = hand_in(clients, stream.spec, stream.feeds, stream.deadline_s)
        # Data arise at once; a client that hands them in one after the other is no part of that.
        started = time.monotonic()
        source = clients[stream.spec.source]
        request_id = source.infer(stream.flow, given, stream.deadline_s, named).request_id
    except AgentError as failure:
        error = str(failure)
    return Attempt(sent_s=started - began, seconds=time.monotonic() - started, request_id=request_id, error=error)
