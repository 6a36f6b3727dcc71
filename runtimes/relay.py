"""Carry requests through a plan: store what arrives, run what is complete, send on what was made.

A plan is a graph, so hops are messages and not nested calls. A message is acknowledged once its tensors are
here; what then goes wrong is told to the request's source, where a client waits.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runtimes.convert import encode, size_bytes
from runtimes.errors import AgentError, DeadlineExceeded, Exhausted, Failed, Unreachable, WrongState, error_of_status
from runtimes.hop import Hop, write_hop
from runtimes.peers import HEARTBEAT_S, Peer
from runtimes.processor import Execution
from runtimes.runs import RunTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runtimes.assignment import FlowSpec, Route, SegmentSpec
    from runtimes.convert import Array
    from runtimes.loaded import LoadedPlan
    from runtimes.observation import Journal
    from runtimes.peers import Peers
    from runtimes.processor import Processor, Timing
    from runtimes.results import ResultStore
    from runtimes.runs import Run
    from runtimes.session import Session

_LOG = logging.getLogger(__name__)
# A word about a request to its source needs no longer than this; it carries no tensors.
_WORD_TIMEOUT_S = 5.0


class Relay:
    """The passage of requests through one device.

    Parameters
    ----------
    processor
        Runs the segments.
    peers
        The other agents.
    journal
        Takes what was measured.
    results
        Keeps results of flows that end here and began elsewhere.
    open_runs
        How many requests may be open.
    waiting_clients
        How many clients may wait here for a result; each holds a thread of the server.
    """

    def __init__(
        self, *, processor: Processor, peers: Peers, journal: Journal, results: ResultStore,
        open_runs: int, waiting_clients: int,
    ) -> None:  # fmt: skip
        self._processor = processor
        self._peers = peers
        self._journal = journal
        self._results = results
        self._waiting_clients = waiting_clients
        self._places = threading.BoundedSemaphore(waiting_clients)
        self.runs = RunTable(open_runs, processor.stop_overdue)

    def request(
        self, loaded: LoadedPlan, flow: FlowSpec, arrays: Mapping[str, Array], *, request: str, deadline_s: float,
        on_cancel: Callable[[Callable[[], None]], bool],
    ) -> Mapping[str, Array] | None:  # fmt: skip
        """Run a whole flow, here at its source, and wait for its sink.

        Parameters
        ----------
        loaded, flow
            The plan and flow to follow.
        arrays
            The flow's inputs, by name.
        request
            The request's id.
        deadline_s
            Time by which the result is needed.
        on_cancel
            Takes what is to be called when the client goes away; False if it has gone already.

        Returns
        -------
        dict or None
            The outputs by name; None where the sink is another device, which has stored them.

        Raises
        ------
        AgentError
            What went wrong, with the device and segment, by the deadline.
        """
        with self._place():
            deadline = time.monotonic() + deadline_s
            run = self.runs.open(loaded, flow, key=uuid.uuid4().hex, request=request, deadline=deadline)
            try:
                if not on_cancel(lambda: run.resolve(Failed("the client went away"))):
                    raise Failed("the client went away before its request began")
                for route in loaded.routes(flow.name, ""):
                    self._send(run, route, arrays)
                self._take(run, arrays, inline=True)
                self._wait(run, deadline_s)
            finally:
                self.runs.close(run)
        if isinstance(run.outcome, AgentError):
            raise run.outcome
        return run.outcome

    def run_segment(
        self, loaded: LoadedPlan, spec: SegmentSpec, arrays: Mapping[str, Array], *, request: str, deadline_s: float
    ) -> Mapping[str, Array]:
        """Run one segment alone and wait for it; parameters and errors are those of ``request``."""
        deadline = time.monotonic() + deadline_s
        done = threading.Event()
        outcome: list[Mapping[str, Array] | AgentError] = []

        def finish(result: Mapping[str, Array] | AgentError, timing: Timing | None) -> None:
            outcome.append(result)
            if timing is not None:
                self._observe(loaded, spec, request, arrays, timing)
            done.set()

        with self._place():
            self.runs.watch(deadline)
            # Behind every run that is open: a request of its own is the latest.
            execution = Execution(
                order=(time.monotonic_ns(), 0),
                session=loaded.sessions[spec.name],
                tensors=arrays,
                deadline=deadline,
                wanted=lambda: True,
                finish=finish,
            )
            self._processor.submit([execution], inline=True)
            if not done.wait(max(0.0, deadline - time.monotonic())):
                raise DeadlineExceeded(
                    f"device {loaded.device!r}, segment {spec.name!r}: no result within {deadline_s:.3g} s"
                )
        if isinstance(outcome[0], AgentError):
            raise _located(outcome[0], loaded.device, spec.name)
        return outcome[0]

    def receive(self, loaded: LoadedPlan, hop: Hop, arrays: Mapping[str, Array]) -> None:
        """Take a message from another agent; returns once it is stored.

        Raises
        ------
        AgentError
            If it cannot be taken: the sender then tells the source.
        """
        flow = loaded.flows[hop.flow]
        if hop.kind == "tensors":
            if hop.deadline_s <= 0:
                raise DeadlineExceeded("the tensors came after the deadline")
            run = self.runs.get(loaded.epoch, hop.run)
            if run is None:
                if loaded.is_source(flow.name):
                    raise WrongState(f"request {hop.request!r} is no longer open at its source")
                run = self.runs.open(
                    loaded, flow, key=hop.run, request=hop.request, deadline=time.monotonic() + hop.deadline_s
                )
            self._take(run, arrays, inline=False)
            return
        waiting = self.runs.get(loaded.epoch, hop.run)
        if waiting is not None:
            waiting.resolve(None if hop.kind == "done" else error_of_status(hop.status)(hop.reason))

    def _take(self, run: Run, arrays: Mapping[str, Array], *, inline: bool) -> None:
        ready, result = run.arrive(arrays)
        if result is not None:
            self._complete(run, result)
        if ready:
            executions = [
                Execution(
                    order=(run.order, r.index),
                    session=r.session,
                    tensors=r.tensors,
                    deadline=run.deadline,
                    wanted=lambda: not run.closed,
                    finish=functools.partial(self._finished, run, r.session, r.tensors),
                )
                for r in ready
            ]
            try:
                self._processor.submit(executions, inline=inline)
            except Exhausted:
                self.runs.close(run)
                raise
        elif run.is_over():
            self.runs.close(run)

    def _finished(
        self, run: Run, session: Session, inputs: Mapping[str, Array],
        outcome: Mapping[str, Array] | AgentError, timing: Timing | None,
    ) -> None:  # fmt: skip
        name = session.spec.name
        if isinstance(outcome, AgentError):
            if not run.closed:
                self._fail(run, name, outcome)
            return
        if timing is not None:
            self._observe(run.loaded, session.spec, run.request, inputs, timing)
        run.segment_finished()
        if run.closed:
            return
        try:
            for route in run.loaded.routes(run.flow.name, name):
                self._send(run, route, outcome)
            self._take(run, outcome, inline=True)
        except AgentError as error:
            self._fail(run, name, error)

    def _send(self, run: Run, route: Route, arrays: Mapping[str, Array]) -> None:
        specs = run.loaded.specs(run.flow.name)
        hop = _hop(run, "tensors", route.to, route.after)
        message = write_hop(hop)
        encode(arrays, (specs[name] for name in route.tensors), message.inputs, message.raw_input_contents)
        size = size_bytes(arrays[name] for name in route.tensors)
        peer = _peer(run.loaded, route.to)

        def acknowledged(error: AgentError | None, seconds: float) -> None:
            if error is not None:
                self._fail(run, route.after, type(error)(f"the hop to device {route.to!r} at {peer.address}: {error}"))
                return
            self._journal.add(
                "hop",
                flow=run.flow.name,
                segment=route.after,
                device=run.loaded.device,
                to=route.to,
                request=run.request,
                seconds=seconds,
                padded_s=seconds,
                queue_s=0.0,
                size_bytes=size,
                epoch=run.loaded.epoch,
            )

        self._peers.send(peer, message, max(0.001, run.remaining_s), acknowledged)

    def _complete(self, run: Run, result: Mapping[str, Array]) -> None:
        if run.loaded.is_source(run.flow.name):
            run.resolve(result)
            return
        self._results.put(run.request, run.flow, result)
        self._tell_source(run, _hop(run, "done", run.flow.source, ""))

    def _fail(self, run: Run, segment: str, error: AgentError) -> None:
        located = _located(error, run.loaded.device, segment)
        self.runs.close(run)
        if run.loaded.is_source(run.flow.name):
            run.resolve(located)
            return
        hop = _hop(run, "failed", run.flow.source, segment, status=located.status, reason=str(located))
        self._tell_source(run, hop)

    def _tell_source(self, run: Run, hop: Hop) -> None:
        def acknowledged(error: AgentError | None, seconds: float) -> None:
            if error is not None:
                # Nobody is left to be told; the source gives up by itself at the deadline.
                _LOG.warning(
                    "request %s: its source %s did not hear %r after %.3f s: %s",
                    run.request,
                    hop.to,
                    hop.kind,
                    seconds,
                    error,
                )

        try:
            self._peers.send(_peer(run.loaded, hop.to), write_hop(hop), _WORD_TIMEOUT_S, acknowledged)
        except AgentError as error:
            acknowledged(error, 0.0)

    def _wait(self, run: Run, deadline_s: float) -> None:
        """Wait for the sink's word, and for no longer than the devices on the way are there."""
        loaded, flow = run.loaded, run.flow
        others = [_peer(loaded, d) for d in flow.devices if d != loaded.device]

        def named(peers: list[Peer]) -> str:
            return " and ".join(f"{peer.device!r} at {peer.address}" for peer in peers)

        tick_s = min(HEARTBEAT_S, max(0.02, deadline_s / 4))
        while not run.resolved.wait(max(0.0, min(tick_s, run.remaining_s))):
            if silent := self._peers.silent(others):
                run.resolve(
                    Unreachable(f"device {named(silent)} does not answer, while flow {flow.name!r} waits for it")
                )
            elif run.remaining_s <= 0:
                unheard = self._peers.unheard(others)
                run.resolve(
                    DeadlineExceeded(
                        f"flow {flow.name!r}: no result from its sink {flow.sink!r} within {deadline_s:.3g} s; "
                        + (
                            f"device {named(unheard)} has not answered the last heartbeat"
                            if unheard
                            else f"every device on the way answers: {', '.join(map(repr, flow.devices))}"
                        )
                    )
                )

    def _observe(
        self, loaded: LoadedPlan, spec: SegmentSpec, request: str, inputs: Mapping[str, Array], timing: Timing
    ) -> None:
        self._journal.add(
            "segment",
            flow=spec.flow,
            segment=spec.name,
            device=loaded.device,
            to="",
            request=request,
            seconds=timing.run_s,
            padded_s=timing.padded_s,
            queue_s=timing.queue_s,
            size_bytes=size_bytes(inputs.values()),
            epoch=loaded.epoch,
        )

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold a waiting client's place; none left is refused at once."""
        if not self._places.acquire(blocking=False):
            raise Exhausted(f"{self._waiting_clients} clients are waiting here; try later")
        try:
            yield
        finally:
            self._places.release()


def _hop(run: Run, kind: str, to: str, after: str, *, status: str = "", reason: str = "") -> Hop:
    return Hop(
        kind=kind,
        plan=run.loaded.assignment.plan,
        epoch=run.loaded.epoch,
        flow=run.flow.name,
        run=run.key,
        request=run.request,
        sender=run.loaded.device,
        to=to,
        after=after,
        deadline_s=run.remaining_s,
        status=status,
        reason=reason,
    )


def _peer(loaded: LoadedPlan, device: str) -> Peer:
    return Peer(device, loaded.assignment.peers[device])


def _located(error: AgentError, device: str, segment: str) -> AgentError:
    where = f"segment {segment!r}" if segment else "the flow's inputs"
    return type(error)(f"device {device!r}, {where}: {error}")
