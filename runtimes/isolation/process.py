"""One process of a segment, seen from the agent: started, asked, stopped; what it says is not taken on trust."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, NoReturn

import msgspec

from runtimes.errors import AgentError, BadManifest, DeadlineExceeded, Failed, Unreachable, error_of_status
from runtimes.isolation.arena import Arena, arena_bytes, make_arena
from runtimes.isolation.frames import SECONDS, STOP, Complaint, Frame, Kind, Setup, receive, send
from runtimes.isolation.same_processor import SameProcessor
from runtimes.spawn import python_module

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from runtimes.convert import Array
    from runtimes.isolation.limits import Limits
    from runtimes.specs import SegmentSpec

# ONNX Runtime stops between two ops, as a rule well within this; whoever waits is answered then in any case.
_OBEY_S = 0.02
# What an execution that nobody waits for any more has to end by itself, beyond the longest that it has taken: a new
# process costs more than that.
_GRACE_S = 1.0
# Of a process whose conversation has ended, until it has ended too.
_END_S = 2.0
# Boundary tensors of fewer bytes go from cache to cache in less time than it takes to bind threads to a processor.
_MUCH_BYTES = 1 << 17
# What runs longer is put where the system thinks best, which may be a faster processor; and of requests that follow
# each other, one is read and another answered on one processor while a third one's segment runs on another.
_SHORT_RUN_S = 0.002
_REST_S = 0.0005
# Strings beside the arena, and complaints.
_LARGEST_FRAME_BYTES = 64 << 20


class SegmentProcess:
    """One process that runs one segment; it is started at once, by a thread that must outlive it.

    Parameters
    ----------
    spec
        The segment.
    threads
        Threads of one execution.
    limits
        What it may take.

    Raises
    ------
    BadManifest
        If its boundary tensors alone are beyond the limit.
    AgentError
        If it cannot be started.
    """

    def __init__(self, spec: SegmentSpec, threads: int, limits: Limits) -> None:
        self._spec = spec
        self._threads = threads
        self._limits = limits
        # One execution at a time: the arena has room for no second.
        self._turn = threading.Lock()
        self._number = 0
        self._longest_run_s = self._latest_run_s = self._ended_at = 0.0
        self._moves_much = arena_bytes(spec) > _MUCH_BYTES
        self._end = ""
        self._gone = threading.Event()
        # They are not the process's own memory, and nothing else would bound them.
        if (size_bytes := arena_bytes(spec)) > limits.memory_bytes:
            raise BadManifest(
                f"its boundary tensors take {size_bytes} bytes; its process may have {limits.memory_bytes}"
            )
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            arena = make_arena(spec)
            theirs.callback(os.close, arena)
            try:
                self._arena = Arena(spec, arena)
                self._conversation, their_conversation = map(ours.enter_context, socket.socketpair())
                self._stops, their_stops = map(ours.enter_context, socket.socketpair())
                theirs.callback(their_conversation.close)
                theirs.callback(their_stops.close)
                self._stops.setblocking(False)
                descriptors = (their_conversation.fileno(), their_stops.fileno(), arena)
                command, environment = python_module("runtimes.isolation.child")
                # The thread that starts it must live as long: the kernel ends it with that one (PR_SET_PDEATHSIG).
                self._process = subprocess.Popen(
                    [*command, *map(str, descriptors), spec.name],
                    stdin=subprocess.DEVNULL,
                    # Libraries may print; the agent's own first line is for whoever started it.
                    stdout=2,
                    pass_fds=descriptors,
                    # It computes with an executor; numpy's own threads would only take memory.
                    env={**environment, "OPENBLAS_NUM_THREADS": "1"},
                )
            except OSError as error:
                raise AgentError(f"no process can be started for segment {spec.name!r}: {error}") from error
            self._same_processor = SameProcessor(self._process.pid)
            self._ours = ours.pop_all()

    @property
    def id(self) -> int:
        """The process's id."""
        return self._process.pid

    def load(self, model: bytes, timeout_s: float) -> None:
        """Have it load and warm up the segment.

        Parameters
        ----------
        model
            The bytes of its model file.
        timeout_s
            How long that may take.

        Raises
        ------
        AgentError
            What is wrong with the model, or how the process ended.
        """
        deadline = time.monotonic() + timeout_s
        setup = Setup(
            agent_pid=os.getpid(), spec=self._spec, threads=self._threads, limits=self._limits, warm_up_s=timeout_s
        )

        def left_s() -> float:
            return max(0.001, deadline - time.monotonic())

        try:
            self._conversation.settimeout(left_s())
            send(self._conversation, Kind.SETUP, 0, msgspec.json.encode(setup))
            self._conversation.settimeout(left_s())
            send(self._conversation, Kind.MODEL, 0, model)
            self._conversation.settimeout(left_s())
            ready = self._reply(0, Kind.READY)
            (self._longest_run_s,) = SECONDS.unpack(ready.payload)
        except TimeoutError as error:
            self.kill(f"it did not load within {timeout_s:.3g} s")
            raise DeadlineExceeded(f"its process {self._end}") from error
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
            self.kill("it hung up")
            raise Failed(f"its process {self.wait()} while it loaded the model") from error

    def run(self, tensors: Mapping[str, Array], deadline: float) -> dict[str, Array]:
        """Execute once; inputs and outputs by tensor name.

        Raises
        ------
        AgentError
            What went wrong in the model, or how the process ended; by the deadline, a reading of ``time.monotonic``.
        """
        # Waits where an execution that was given up has not ended yet.
        if not self._turn.acquire(timeout=min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)):
            raise DeadlineExceeded("its process was still busy with an execution that was given up")
        rested_s = time.monotonic() - self._ended_at
        if self._moves_much and self._latest_run_s < _SHORT_RUN_S and rested_s > _REST_S:
            with self._same_processor:
                return self._begun(tensors, deadline)()
        return self._begun(tensors, deadline)()

    def begin(self, tensors: Mapping[str, Array], deadline: float) -> Callable[[], dict[str, Array]] | None:
        """Begin an execution, and return at once.

        Returns
        -------
        Callable or None
            To be called once, from any thread: waits for the end, and returns and raises as ``run`` does. None where an
            execution that was given up has not ended yet; nothing is begun then.
        """
        return self._begun(tensors, deadline) if self._turn.acquire(blocking=False) else None

    def _begun(self, tensors: Mapping[str, Array], deadline: float) -> Callable[[], dict[str, Array]]:
        execution = self._execution(tensors, deadline)
        try:
            next(execution)
        # Of whatever kind: it is for whoever waits for the end.
        except Exception as error:
            return functools.partial(_raise, error)
        return functools.partial(_end_of, execution)

    def _execution(self, tensors: Mapping[str, Array], deadline: float) -> Generator[None, None, dict[str, Array]]:
        """Execute once, in this turn: to its begin, and from there to its end."""
        given_up = False
        self._number += 1
        started = time.monotonic()
        due_s = deadline - started + _OBEY_S
        try:
            self._conversation.settimeout(max(_OBEY_S, min(due_s, self._limits.run_s)))
            place = self._arena.free_place()
            beside = self._arena.put_inputs(tensors)
            send(self._conversation, Kind.RUN, self._number, beside, place)
            yield
            outputs = self._arena.take_outputs(place, self._reply(self._number, Kind.DONE).payload)
            self._ended_at = time.monotonic()
            self._latest_run_s = self._ended_at - started
            self._longest_run_s = max(self._longest_run_s, self._latest_run_s)
            return outputs
        except TimeoutError as error:
            if due_s > self._limits.run_s:
                self.kill(f"it ran longer than this device's limit of {self._limits.run_s:.3g} s")
                raise DeadlineExceeded(f"its process {self._end}") from error
            given_up = True
            raise DeadlineExceeded("it did not stop at its deadline") from error
        except (EOFError, OSError) as error:
            raise Unreachable(f"its process {self._how_it_ended()} while it ran") from error
        finally:
            if given_up:
                threading.Thread(target=self._see_out, name=f"late {self._spec.name}", daemon=True).start()
            else:
                self._turn.release()

    def stop(self) -> None:
        """Ask the execution under way to end."""
        # A full socket, or none: then it has not listened for long, and is ended soon.
        with contextlib.suppress(OSError):
            self._stops.send(STOP.pack(self._number))

    def kill(self, reason: str) -> None:
        """End it at once, if it has not ended by itself."""
        if self._process.poll() is None:
            self._end = self._end or f"was ended, since {reason}"
            self._process.kill()

    def wait(self) -> str:
        """Wait for its end, in the thread that started it; returns how it ended."""
        code = self._process.wait()
        self._end = self._end or _describe_end(code)
        self._gone.set()
        return self._end

    def close(self) -> None:
        """Let go of what it left behind; nobody may use it afterwards."""
        with self._turn:
            self._ours.close()

    def _see_out(self) -> None:
        """Wait for the end of an execution that nobody waits for any more, or bring it about."""
        try:
            self.stop()
            self._conversation.settimeout(_GRACE_S + min(self._longest_run_s, self._limits.run_s))
            receive(self._conversation, _LARGEST_FRAME_BYTES)
        except TimeoutError:
            self.kill("it did not stop at its deadline")
        except (EOFError, OSError, ValueError):
            self.kill("it hung up")
        finally:
            self._turn.release()

    def _reply(self, number: int, wanted: Kind) -> Frame:
        try:
            frame = receive(self._conversation, _LARGEST_FRAME_BYTES)
            if (frame.kind, frame.number) == (Kind.ERROR, number):
                complaint = msgspec.json.decode(frame.payload, type=Complaint)
                raise error_of_status(complaint.status)(complaint.message)
            if (frame.kind, frame.number) != (wanted, number):
                raise ValueError(f"a frame of kind {frame.kind} for execution {frame.number}, not of {number}")
        except (ValueError, msgspec.DecodeError) as error:
            self.kill("it said what it should not")
            raise Failed(f"its process said what it should not, and was ended: {error}") from error
        return frame

    def _how_it_ended(self) -> str:
        # The conversation ends a moment before the process.
        if not self._gone.wait(_END_S):
            self.kill("it hung up")
            self._gone.wait(_END_S)
        return self._end


def _end_of(execution: Generator[None, None, dict[str, Array]]) -> dict[str, Array]:
    try:
        next(execution)
    except StopIteration as end:
        outputs: dict[str, Array] = end.value
        return outputs
    raise RuntimeError("an execution has one end")


def _raise(error: Exception) -> NoReturn:
    raise error


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}"
