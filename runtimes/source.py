"""A client's request at the device where its data arise: begin it, wait for its sink, and no longer than is any use."""

from __future__ import annotations

import itertools
import math
import secrets
import threading
import time
from typing import TYPE_CHECKING

from runtimes.crew import step_aside
from runtimes.errors import AgentError, DeadlineExceeded, Exhausted, Failed, Unreachable, WrongState
from runtimes.peers import HEARTBEAT_S, Peer
from runtimes.processor import Execution
from runtimes.relay import located, peer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runtimes.convert import Array
    from runtimes.loaded import LoadedPlan
    from runtimes.peers import Peers
    from runtimes.processor import Processor
    from runtimes.record import Recorder
    from runtimes.relay import Relay
    from runtimes.run import Run
    from runtimes.specs import FlowSpec, SegmentSpec
    from runtimes.trace import TraceContext
    from runtimes.variants import Variants


class Source:
    """Where requests of clients begin.

    Parameters
    ----------
    relay
        Carries them through their plan.
    processor
        Runs a segment that is asked for alone.
    peers
        The other agents, to be watched.
    variants
        Chooses between a plan and its fallbacks.
    recorder
        Takes note of what requests cost.
    waiting_clients
        How many clients may wait here for a result; each holds a thread of the server.
    """

    def __init__(
        self, *, relay: Relay, processor: Processor, peers: Peers, variants: Variants, recorder: Recorder,
        waiting_clients: int,
    ) -> None:  # fmt: skip
        self._relay = relay
        self._variants = variants
        self._processor = processor
        self._peers = peers
        self._recorder = recorder
        self._places = _Places(waiting_clients)
        # No other passage has that key, on this device or another: not even one of before a restart.
        self._born = secrets.token_hex(16)
        self._passages = itertools.count()

    def request(
        self, loaded: LoadedPlan, flow: FlowSpec, arrays: Mapping[str, Array], *, request: str, deadline_s: float,
        on_cancel: Callable[[Callable[[], None]], bool], trace: TraceContext | None = None, asked: str = "",
    ) -> Mapping[str, Array] | None:  # fmt: skip
        """Run a whole flow, here where its requests begin, and wait for its sinks.

        Parameters
        ----------
        loaded, flow
            The plan and flow to follow.
        arrays
            The data that arise here, by name.
        request
            The request's id.
        deadline_s
            Time by which the result is needed.
        on_cancel
            Takes what is to be called when the client goes away; False if it has gone already.
        trace
            The request's span; None where nobody traces it.
        asked
            Digest of the inputs, for a sink elsewhere that knows the request by an id of the client's; a mark of its
            own where data arise elsewhere too.

        Returns
        -------
        dict or None
            The outputs that are needed here, by name; None where all are needed elsewhere. Other sinks have stored
            theirs.

        Raises
        ------
        AgentError
            What went wrong, with the device and segment, by the deadline.
        """
        deadline = time.monotonic() + deadline_s
        tried: set[str] = set()
        backed = bool(loaded.assignment.fallbacks)
        with self._places:
            turn = loaded.next_turn(flow.name)
            while True:
                variant = self._variants.choose(loaded, flow.name, tried)
                flow = variant.flows[flow.name]
                try:
                    return self._attempt(
                        variant, flow, arrays, request, deadline, on_cancel, trace, asked, turn, backed=backed
                    )
                except (Unreachable, WrongState) as error:
                    # Inference changes nothing, so another way may be tried; the client hears of one end only.
                    tried.add(variant.assignment.plan)
                    if not self._may_try(loaded, flow.name, tried, deadline):
                        raise error from None

    def _attempt(
        self, loaded: LoadedPlan, flow: FlowSpec, arrays: Mapping[str, Array], request: str, deadline: float,
        on_cancel: Callable[[Callable[[], None]], bool], trace: TraceContext | None, asked: str, turn: int, *,
        backed: bool,
    ) -> Mapping[str, Array] | None:  # fmt: skip
        deadline_s = deadline - time.monotonic()
        key = f"{self._born}{next(self._passages)}"
        run = self._relay.runs.open(
            loaded, flow, key=key, request=request, deadline=deadline, trace=trace, asked=asked, turn=turn
        )
        try:
            if not on_cancel(run.abandon):
                raise Failed("the client went away before its request began")
            if flow.sources:
                for device in flow.source_devices[1:]:
                    self._relay.call(run, device)
            self._relay.begin(run, arrays, inline=True)
            self._wait(run, deadline_s, backed=backed)
        finally:
            self._relay.runs.close(run)
            # Overdue everybody knows it, by clocks that may be behind: where data wait for a request, none of this one
            # must be left by the time that its client hands them in again.
            if not self._account(run, deadline_s) and (run.remaining_s > 0 or flow.sources):
                self._relay.give_up(run)
        if isinstance(run.outcome, AgentError):
            raise run.outcome
        return run.outcome

    def _may_try(self, loaded: LoadedPlan, flow: str, tried: set[str], deadline: float) -> bool:
        """Say whether another variant can be tried in the time that is left."""
        if not loaded.assignment.fallbacks or time.monotonic() >= deadline:
            return False
        try:
            self._variants.choose(loaded, flow, tried)
        except AgentError:
            return False
        return True

    def run_segment(
        self, loaded: LoadedPlan, spec: SegmentSpec, arrays: Mapping[str, Array], *, request: str, deadline_s: float,
        on_cancel: Callable[[Callable[[], None]], bool], trace: TraceContext | None = None,
    ) -> Mapping[str, Array]:  # fmt: skip
        """Run one segment alone and wait for it; parameters and errors are those of ``request``."""
        deadline = time.monotonic() + deadline_s
        is_open, gone = True, False

        def leave() -> None:
            nonlocal gone
            if is_open:
                gone = True
                self._relay.runs.watch(time.monotonic())

        with self._places:
            self._relay.runs.require_open()
            self._relay.runs.watch(deadline)
            if not on_cancel(leave):
                raise Failed("the client went away before its request began")
            # Behind every run that is open: a request of its own is the latest.
            outcome, timing = self._processor.run(
                Execution(
                    order=(time.monotonic_ns(), 0),
                    session=loaded.sessions[spec.name],
                    tensors=arrays,
                    deadline=deadline,
                    wanted=lambda: not gone,
                )
            )
            is_open = False
        if timing is not None:
            self._recorder.executed(loaded, spec, request, arrays, timing, trace)
        if gone:
            raise Failed("the client went away")
        if isinstance(outcome, AgentError):
            raise located(outcome, loaded.device, spec.name)
        return outcome

    def _account(self, run: Run, deadline_s: float) -> bool:
        """Count the joules of a finished request, those of waiting for it among them; returns whether it succeeded."""
        waited_s = max(0.0, deadline_s - run.remaining_s - run.busy_s)
        wait_j = math.nan if run.flow.wait_w is None else run.flow.wait_w * waited_s
        succeeded = run.resolved.is_set() and not isinstance(run.outcome, AgentError)
        self._recorder.spent(run.flow.name, run.hand_over() + wait_j, succeeded=succeeded)
        return succeeded

    def _wait(self, run: Run, deadline_s: float, *, backed: bool) -> None:
        """Wait for the sink's word, and for no longer than the devices on the way are there.

        Where there are fallbacks, also for no longer than the devices on the way reach each other.
        """
        if run.resolved.is_set():
            return
        loaded, flow = run.loaded, run.flow
        others = [peer_of(loaded, d) for d in flow.devices if d != loaded.device]

        def named(peers: list[Peer]) -> str:
            return " and ".join(f"{peer.device!r} at {peer.address}" for peer in peers)

        step_aside()
        tick_s = min(HEARTBEAT_S, max(0.02, deadline_s / 4))
        while not run.resolved.wait(min(tick_s, run.remaining_s)):
            if silent := self._peers.silent(others):
                run.fail(Unreachable(f"device {named(silent)} does not answer, while flow {flow.name!r} waits for it"))
            elif backed and (lost := self._variants.obstacle(loaded.assignment, flow.name)):
                words = " to ".join(map(repr, lost))
                run.fail(Unreachable(f"{words} is lost, while flow {flow.name!r} waits for it"))
            elif run.remaining_s <= 0:
                unheard = self._peers.unheard(others)
                sinks = " and ".join(map(repr, flow.sink_devices))
                others_data = " and ".join(map(repr, flow.source_devices[1:]))
                run.fail(
                    DeadlineExceeded(
                        f"flow {flow.name!r}: no result from its sink {sinks} within {deadline_s:.3g} s; "
                        + (f"were its data handed in on {others_data} under its id? " if others_data else "")
                        + (
                            f"device {named(unheard)} has not answered the last heartbeat"
                            if unheard
                            else f"every device on the way answers: {', '.join(map(repr, flow.devices))}"
                        )
                    )
                )

    def waiting(self) -> int:
        """How many clients wait here."""
        return len(self._places)


class _Places:
    """Places for waiting clients; none left is refused at once."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._taken = 0

    def __len__(self) -> int:
        return self._taken

    def __enter__(self) -> None:
        with self._lock:
            if self._taken >= self._capacity:
                raise Exhausted(f"{self._capacity} clients are waiting here; try later")
            self._taken += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._taken -= 1
