"""Carry requests through a plan: store what arrives, run what is complete, send on what was made.

A plan is a graph, so hops are messages and not nested calls. A message is acknowledged once its tensors are
here; what then goes wrong is told to the request's source, where a client waits.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Literal

from runtimes.convert import lay_out, size_bytes
from runtimes.errors import AgentError, DeadlineExceeded, Exhausted, Unreachable, WrongState, error_of_status
from runtimes.handed_in import require_fit
from runtimes.hop import Hop, write_hop
from runtimes.logs import about
from runtimes.peers import Peer
from runtimes.processor import Execution
from runtimes.record import hop_joules
from runtimes.runs import RunTable
from runtimes.wire import Packed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from runtimes.convert import Array
    from runtimes.handed_in import HandedIn
    from runtimes.loaded import LoadedPlan
    from runtimes.peers import Peers
    from runtimes.processor import Processor, Timing
    from runtimes.record import Recorder
    from runtimes.results import ResultStore
    from runtimes.run import Run, Taken
    from runtimes.session import Session
    from runtimes.specs import FlowSpec, Route
    from runtimes.trace import TraceContext

_LOG = logging.getLogger(__name__)
# A word about a request to its source needs no longer than this; it carries no tensors.
_WORD_TIMEOUT_S = 5.0
# Of what a client's deadline leaves for the way back.
_FIRST_WORD_S = 0.025


class Relay:
    """The passage of requests through one device.

    Parameters
    ----------
    processor
        Runs the segments.
    peers
        The other agents.
    recorder
        Takes note of what was measured.
    results
        Keeps results of flows that end here and began elsewhere.
    handed_in
        Keeps data that arise here until their request begins elsewhere.
    open_runs
        How many requests may be open.
    """

    def __init__(
        self, *, processor: Processor, peers: Peers, recorder: Recorder, results: ResultStore, handed_in: HandedIn,
        open_runs: int,
    ) -> None:  # fmt: skip
        self._processor = processor
        self._peers = peers
        self._recorder = recorder
        self._results = results
        self._handed_in = handed_in
        self.runs = RunTable(open_runs, processor.stop_overdue, self._ended)

    def receive(
        self, loaded: LoadedPlan, hop: Hop, arrays: Mapping[str, Array], trace: TraceContext | None = None
    ) -> None:
        """Take a message from another agent, sent in the span ``trace``; returns once it is stored.

        Raises
        ------
        AgentError
            If it cannot be taken: the sender then tells the source.
        """
        flow = loaded.flows[hop.flow]
        if hop.kind in ("tensors", "begin"):
            if hop.deadline_s <= 0:
                raise DeadlineExceeded("the tensors came after the deadline")
            if hop.kind == "begin" and not loaded.inputs(flow.name):
                raise WrongState(f"no data of flow {flow.name!r} arise on device {loaded.device!r}")
            run = self.runs.get(loaded, flow.name, hop.run)
            if run is None:
                if loaded.is_source(flow.name):
                    self._recorder.spent(flow.name, _told(hop), succeeded=False)
                    raise WrongState(f"request {hop.request!r} is no longer open at its source")
                run = self.runs.open(
                    loaded, flow, key=hop.run, request=hop.request, deadline=time.monotonic() + hop.deadline_s,
                    trace=trace, asked=hop.asked, turn=hop.turn,
                )  # fmt: skip
            run.spend(_told(hop))
            if hop.kind == "begin":
                if not run.closed and (given := self._handed_in.claim(run)) is not None:
                    self.begin(run, given, inline=False)
            else:
                self.take(run, arrays, inline=False, not_taken=hop.tensors_not_taken)
            if run.closed:
                self._tell_rest(run)
            return
        if not loaded.is_source(flow.name):
            if hop.kind == "failed":
                self.runs.give_up(loaded, flow.name, hop.run)
            return
        waiting = self.runs.get(loaded, flow.name, hop.run)
        if waiting is None:
            self._recorder.spent(flow.name, _told(hop), succeeded=False)
            return
        waiting.spend(_told(hop))
        if hop.lost:
            self._peers.told(peer_of(loaded, hop.sender), hop.lost)
        if hop.kind == "done":
            waiting.reach(hop.sender)
        elif hop.kind == "failed":
            waiting.fail(error_of_status(hop.status)(hop.reason))
        if waiting.closed:
            # It was counted meanwhile.
            self._tell_rest(waiting)

    def hand_in(self, flow: FlowSpec, request: str, arrays: Mapping[str, Array]) -> None:
        """Take data of a flow that arise here, whose requests begin elsewhere; they wait for its word, or it for them.

        Raises
        ------
        Exhausted
            If there is no room for them.
        """
        for run in self._handed_in.put(flow, request, arrays):
            try:
                require_fit(run, flow)
                self.begin(run, arrays, inline=False)
            except AgentError as error:
                self._fail(run, "", error)

    def call(self, run: Run, device: str) -> None:
        """Tell another device where data of a flow arise that a request began; returns at once."""

        def acknowledged(error: AgentError | None, seconds: float) -> None:
            if error is not None:
                what = type(error)(f"the word to device {device!r}, where data arise: {error}")
                self._fail(run, "", what, lost=device if isinstance(error, Unreachable) else "")

        message = Packed(write_hop(_hop(run, "begin", device, "")))
        self._peers.send(peer_of(run.loaded, device), message, max(0.001, run.remaining_s), acknowledged, run.trace)

    def begin(self, run: Run, arrays: Mapping[str, Array], *, inline: bool) -> None:
        """Let data that arise here go their way; parameters and errors as `take`."""
        for route in run.loaded.routes(run.flow.name, ""):
            self.send(run, route, arrays)
        self.take(run, arrays, inline=inline)

    def take(self, run: Run, arrays: Mapping[str, Array], *, inline: bool, not_taken: Collection[str] = ()) -> None:
        """Take in tensors that are here, and run what they complete.

        Parameters
        ----------
        run
            The request's passage.
        arrays
            The tensors, by name.
        inline
            Whether this thread may run a segment.
        not_taken
            Names of tensors that will not come.

        Raises
        ------
        AgentError
            If they cannot be taken.
        """
        self._follow(run, run.arrive(arrays, not_taken), inline=inline)

    def _follow(self, run: Run, taken: Taken, *, inline: bool) -> None:
        """Do what follows from tensors that were taken in; ``inline`` as for ``take``."""
        for name in taken.released:
            for route in run.loaded.routes(run.flow.name, name):
                self.send(run, route, taken.tensors)
        if taken.result is not None:
            self._complete(run, taken.result)
        if taken.ready:
            executions = [
                Execution(
                    order=(run.order, r.index),
                    session=r.session,
                    tensors=r.tensors,
                    deadline=run.deadline,
                    cache=run.loaded.caches.get(r.session.spec.name),
                    wanted=lambda: not run.closed,
                    finish=functools.partial(self._finished, run, r.session, r.tensors),
                )
                for r in taken.ready
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
        outcome: Mapping[str, Array] | AgentError, timing: Timing | None, patient: bool,
    ) -> None:  # fmt: skip
        name = session.spec.name
        if isinstance(outcome, AgentError):
            if not run.closed:
                self._fail(run, name, outcome)
            return
        seconds, joules = 0.0, math.nan
        if timing is not None:
            seconds = timing.padded_s
            joules = self._recorder.executed(run.loaded, session.spec, run.request, inputs, timing, run.trace)
        run.segment_finished(seconds, joules)
        if run.closed:
            self._tell_rest(run)
            return
        try:
            # Joules go with the first: with tensors, if any go, since who gets none may have told the rest already.
            routes = sorted(run.loaded.routes(run.flow.name, name), key=lambda r: not _coming(run, r, outcome))
            taken = run.arrive(outcome)
            # A change of threads less, where this one has nothing else to do here.
            last = len(routes) - 1 if patient and not taken.ready else len(routes)
            for route in routes[:last]:
                self.send(run, route, outcome)
            # Made before the run may be over here: it tells the joules.
            sent_last = [self._sending(run, route, outcome) for route in routes[last:]]
            self._follow(run, taken, inline=True)
            for send in sent_last:
                send(patient=True)
        except AgentError as error:
            self._fail(run, name, error)

    def send(self, run: Run, route: Route, arrays: Mapping[str, Array]) -> None:
        """Send a route's tensors on their way, and return at once.

        Those not among ``arrays``, or not of this request's turn, will not come, which the message says.
        """
        self._sending(run, route, arrays)(patient=False)

    def _sending(self, run: Run, route: Route, arrays: Mapping[str, Array]) -> Callable[..., None]:
        """Make the message that ``send`` sends; what is returned sends it, and may wait for it where it is patient."""
        specs = run.loaded.specs(run.flow.name)
        coming = _coming(run, route, arrays)
        not_taken = "" if len(coming) == len(route.tensors) else "\n".join(n for n in route.tensors if n not in coming)
        if coming:
            # Counted before it leaves, with whom it is told to.
            run.spend(hop_joules(route))
        message = write_hop(_hop(run, "tensors", route.to, route.after, not_taken=not_taken))
        raw = lay_out(arrays, (specs[name] for name in coming), message.inputs)
        size = size_bytes(arrays[name] for name in coming)
        peer = peer_of(run.loaded, route.to)
        span = None if run.trace is None else run.trace.child()

        def acknowledged(error: AgentError | None, seconds: float) -> None:
            # A word that nothing comes is no hop that the plan has a time for.
            if coming or error is not None:
                self._recorder.sent(run, route, seconds, size, span, error)
            if error is not None:
                what = type(error)(f"the hop to device {route.to!r} at {peer.address}: {error}")
                self._fail(run, route.after, what, lost=route.to if isinstance(error, Unreachable) else "")

        def send(*, patient: bool) -> None:
            left_s = max(0.001, run.remaining_s)
            self._peers.send(peer, Packed(message, raw), left_s, acknowledged, span, patient=patient)

        return send

    def _complete(self, run: Run, result: Mapping[str, Array]) -> None:
        if run.loaded.is_source(run.flow.name):
            run.reach(run.loaded.device, result)
            return
        try:
            self._results.put(run.request, run.flow, result, asked=(run.loaded.epoch, run.asked))
        except AgentError:
            self.runs.close(run)
            raise
        self._tell_source(run, _hop(run, "done", run.flow.source, ""))

    def _fail(self, run: Run, segment: str, error: AgentError, *, lost: str = "") -> None:
        what = located(error, run.loaded.device, segment)
        if run.loaded.is_source(run.flow.name):
            self.runs.close(run)
            run.fail(what)
            return
        # Made first: it tells the joules too.
        hop = _hop(run, "failed", run.flow.source, segment, status=what.status, reason=str(what), lost=lost)
        self.runs.close(run)
        self._tell_source(run, hop)

    def _ended(self, run: Run) -> None:
        # The source counts its own when its client is answered.
        if not run.loaded.is_source(run.flow.name):
            self._tell_rest(run)

    def _tell_rest(self, run: Run) -> None:
        """Have the source count what was spent on a request that is over here, as far as no message has told it."""
        if not run.owes_joules():
            return
        if run.loaded.is_source(run.flow.name):
            self._recorder.spent(run.flow.name, run.hand_over(), succeeded=False)
        else:
            self._tell_source(run, _hop(run, "spent", run.flow.source, ""))

    def give_up(self, run: Run) -> None:
        """Tell the other devices that a request has failed, at its source: they hold what they have of it no longer.

        Where its data arise on several devices, its client may hand them in there again as soon as it hears of the
        failure: those devices are given a moment to hear of it first, or they would take them for this request.
        """
        others = [peer_of(run.loaded, device) for device in run.flow.devices if device != run.loaded.device]
        lost = self._peers.lost(others)
        waited_for: list[threading.Event] = []
        for peer in others:
            if peer.device not in lost:
                word = Packed(write_hop(_hop(run, "failed", peer.device, "")))
                heard = threading.Event()
                # Who does not hear it gives up by itself at the deadline.
                with contextlib.suppress(AgentError):
                    self._peers.send(peer, word, _WORD_TIMEOUT_S, functools.partial(_note, heard))
                    if peer.device in run.flow.source_devices:
                        waited_for.append(heard)
        until = time.monotonic() + _FIRST_WORD_S
        for heard in waited_for:
            heard.wait(max(0.0, until - time.monotonic()))

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
                    extra=about(flow=run.flow.name, request=run.request, trace=run.trace, status=error.status),
                )

        try:
            self._peers.send(peer_of(run.loaded, hop.to), Packed(write_hop(hop)), _WORD_TIMEOUT_S, acknowledged)
        except AgentError as error:
            acknowledged(error, 0.0)


def _told(hop: Hop) -> float:
    return math.nan if hop.joules is None else hop.joules


def _note(heard: threading.Event, error: AgentError | None, seconds: float) -> None:
    heard.set()


def _coming(run: Run, route: Route, arrays: Mapping[str, Array]) -> list[str]:
    return [name for name in route.tensors if name in arrays and not run.turn % route.every.get(name, 1)]


def _hop(
    run: Run, kind: Literal["tensors", "begin", "done", "failed", "spent"], to: str, after: str, *, status: str = "",
    reason: str = "", not_taken: str = "", lost: str = "",
) -> Hop:  # fmt: skip
    # The source counts its own: what it gave to a device that passes the request over might not come back.
    joules = 0.0 if run.loaded.is_source(run.flow.name) else run.hand_over()
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
        joules=None if math.isnan(joules) else joules,
        status=status,
        reason=reason,
        lost=lost,
        not_taken=not_taken,
        asked=run.asked,
        turn=run.turn,
    )


def peer_of(loaded: LoadedPlan, device: str) -> Peer:
    """Give another device of a plan with its address."""
    return Peer(device, loaded.assignment.peers[device])


def located(error: AgentError, device: str, segment: str) -> AgentError:
    """Say in an error where it happened; ``""`` for a segment is the flow's inputs."""
    where = f"segment {segment!r}" if segment else "the flow's inputs"
    return type(error)(f"device {device!r}, {where}: {error}")
