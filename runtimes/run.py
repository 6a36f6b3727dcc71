"""One request's passage through this device: what has arrived of it, what that completes, and when it is over here."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec

from runtimes.errors import Failed
from runtimes.once import Once

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from runtimes.convert import Array
    from runtimes.errors import AgentError
    from runtimes.loaded import LoadedPlan
    from runtimes.session import Session
    from runtimes.specs import FlowSpec
    from runtimes.trace import TraceContext


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from tensors that were taken in.

    Parameters
    ----------
    ready
        The segments that became ready, each given out once, in the file's order.
    released
        What messages leave after without a segment's end: conditions that were decided, and segments that will not
        run for this request.
    tensors
        All that is here; what such a message carries and is not among them will not come.
    result
        The outputs that are needed here, if they are complete now; those that will not come are not in it.
    """

    ready: tuple[Ready, ...] = ()
    released: tuple[str, ...] = ()
    tensors: Mapping[str, Array] = msgspec.field(default_factory=dict)
    result: Mapping[str, Array] | None = None


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A segment whose inputs are complete: its place in the file, its session and those inputs by name."""

    index: int
    session: Session
    tensors: Mapping[str, Array]


class Run:
    """One request's passage: what has arrived of it and what is still to run here.

    Parameters
    ----------
    loaded
        The plan that it keeps from its source to its sink.
    flow
        Its flow.
    key
        Made by the source for this passage.
    request
        The request's id.
    deadline
        Reading of ``time.monotonic`` at which it is given up.
    order
        Its place among this device's runs: an earlier one's segments go first.
    trace
        The span that its work here belongs to; None where nobody traces it.
    asked
        Digest of its inputs, or a mark of its own; ``""`` where no other device need know it.
    turn
        Its number among the requests of its flow, for what takes one in so many.
    """

    def __init__(
        self, loaded: LoadedPlan, flow: FlowSpec, *, key: str, request: str, deadline: float, order: int,
        trace: TraceContext | None = None, asked: str = "", turn: int = 0,
    ) -> None:  # fmt: skip
        self.loaded = loaded
        self.flow = flow
        self.key = key
        self.request = request
        self.deadline = deadline
        self.order = order
        self.trace = trace
        self.asked = asked
        self.turn = turn
        self.busy_s = 0.0
        self.resolved = Once()
        self.outcome: Mapping[str, Array] | AgentError | None = None
        self._lock = threading.Lock()
        self._tensors: dict[str, Array] = {}
        self._not_taken: set[str] = set()
        self._unstarted = list(loaded.segments(flow.name))
        self._undecided = list(loaded.conditions(flow.name))
        self._outstanding = set(loaded.arriving(flow.name))
        self._unfinished = len(self._unstarted) + len(self._undecided)
        self._passed_over = loaded.passed_over(flow.name, turn)
        self._awaits_result = bool(loaded.outputs(flow.name))
        self._reached: set[str] = set()
        self._result: Mapping[str, Array] | None = None
        self._closed = False
        self._joules = 0.0

    @property
    def closed(self) -> bool:
        """Whether it is over here, well or badly."""
        return self._closed

    @property
    def remaining_s(self) -> float:
        """Time left, in seconds; negative after the deadline."""
        return self.deadline - time.monotonic()

    def arrive(self, arrays: Mapping[str, Array], not_taken: Collection[str] = ()) -> Taken:
        """Take tensors in, and the names of those that will not come."""
        with self._lock:
            if self._closed:
                return Taken()
            # A tensor that is here already stays: a message that comes twice changes nothing.
            have = self._tensors = {**arrays, **self._tensors}
            self._not_taken.update(not_taken)
            self._outstanding.difference_update(arrays, not_taken)
            released = self._decide(have)
            ready: list[Ready] = []
            for place in [p for p in self._unstarted if p.inputs <= have.keys()]:
                self._unstarted.remove(place)
                tensors = {name: have[name] for name in place.inputs}
                ready.append(Ready(index=place.index, session=place.session, tensors=tensors))
            result = None
            if self._awaits_result:
                outputs = self.loaded.outputs(self.flow.name)
                if not [name for name in outputs if name not in have and name not in self._not_taken]:
                    self._awaits_result = False
                    result = {name: have[name] for name in outputs if name in have}
            return Taken(ready=tuple(ready), released=tuple(released), tensors=have, result=result)

    def _decide(self, have: dict[str, Array]) -> list[str]:
        """Look at every condition that can be looked at, and pass over what waits for tensors that will not come."""
        gone, passed_over = self._not_taken, self._passed_over
        released: list[str] = []
        if not self._undecided and not gone and not passed_over:
            return released
        count = -1
        # What one lets go on, or not, another may be waiting for.
        while count < len(released):
            count = len(released)
            for condition in tuple(self._undecided):
                tests, carries = condition.tests.name, condition.carries.name
                if tests in gone or carries in gone or condition.name in passed_over:
                    gone.add(condition.makes.name)
                elif tests in have and carries in have:
                    if condition.holds(have[tests].reshape(-1)[condition.element]):
                        have[condition.makes.name] = have[carries]
                    else:
                        gone.add(condition.makes.name)
                else:
                    continue
                self._undecided.remove(condition)
                released.append(condition.name)
            for place in tuple(self._unstarted):
                spec = place.session.spec
                if spec.name in passed_over or not gone.isdisjoint(place.inputs):
                    gone.update(t.name for t in spec.outputs)
                    self._unstarted.remove(place)
                    released.append(spec.name)
        self._unfinished -= len(released)
        return released

    def segment_finished(self, seconds: float, joules: float) -> None:
        """Count one segment as done, which took this time and this energy."""
        with self._lock:
            self._unfinished -= 1
            self.busy_s += seconds
            self._joules += joules

    def spend(self, joules: float) -> None:
        """Count what a hop, or the way before it, has spent."""
        with self._lock:
            self._joules += joules

    def hand_over(self) -> float:
        """Give the joules that nobody was told of yet: each is told once, so that a join adds them up."""
        with self._lock:
            joules, self._joules = self._joules, 0.0
            return joules

    def owes_joules(self) -> bool:
        """Say whether there are joules that nobody was told of."""
        return self._joules > 0

    def is_over(self) -> bool:
        """Say whether nothing more is to happen here; a source that is no sink still waits for word."""
        with self._lock:
            waits_for_word = self.flow.source == self.loaded.device and not self.resolved.is_set()
            # What is passed over may be told of before the rest of its inputs comes, which must find the run.
            waits = self._outstanding or self._awaits_result or waits_for_word
            return self._unfinished == 0 and not waits

    def reach(self, sink: str, result: Mapping[str, Array] | None = None) -> None:
        """Note, at the source, that a sink has its outputs; with the last one the waiting client gets those of here.

        Parameters
        ----------
        sink
            The device.
        result
            Its outputs, where it is this one.
        """
        with self._lock:
            self._reached.add(sink)
            self._result = self._result if result is None else result
            if self._reached.issuperset(self.flow.sink_devices) and not self.resolved.is_set():
                self.outcome = self._result
                self.resolved.set()

    def fail(self, error: AgentError) -> None:
        """Give the source's waiting client an error; the first outcome counts."""
        with self._lock:
            if not self.resolved.is_set():
                self.outcome = error
                self.resolved.set()

    def abandon(self) -> None:
        """Give up what nobody waits for any more; a run that has its outcome keeps it."""
        if not self.resolved.is_set():
            self.fail(Failed("the client went away"))

    def close(self) -> bool:
        """Let go of its tensors; nothing that arrives later is taken. Says whether a segment is still under way."""
        with self._lock:
            under_way = self._unfinished > len(self._unstarted) + len(self._undecided)
            self._closed = True
            self._tensors = {}
            self._unstarted = []
            self._undecided = []
            return under_way
