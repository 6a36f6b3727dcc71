"""The process of one segment: loads it, runs it when it is told to, and knows nothing of the network.

``python -m runtimes.isolation.child CONVERSATION STOPS ARENA NAME``: open descriptors, and the segment's name for
whoever lists processes; an agent starts it.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from runtimes.errors import AgentError, Exhausted, Failed
from runtimes.isolation.arena import Arena
from runtimes.isolation.frames import SECONDS, STOP, Complaint, Kind, Setup, receive, send
from runtimes.isolation.limits import end_with_agent, limit_memory
from runtimes.isolation.sandbox import confine
from runtimes.malloc import keep_large_blocks
from runtimes.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtimes.session import InProcessSession

_NONE = 0
# What the agent sends was checked there.
_ANY_SIZE = 1 << 40
_LONGEST_MESSAGE = 2000


class Child:
    """One segment's process.

    Parameters
    ----------
    conversation
        The socket to its agent.
    stops
        Descriptor of the pipe on which the agent says which execution is to end.
    arena
        Descriptor of the memory that it shares with the agent.
    """

    def __init__(self, conversation: socket.socket, stops: int, arena: int) -> None:
        self._conversation = conversation
        self._stops = stops
        self._arena = arena
        self._lock = threading.Lock()
        self._running = _NONE

    def serve(self) -> int:
        """Load the segment and run it until the agent hangs up.

        Returns
        -------
        int
            Exit code: 0 if the agent hung up, 1 if the segment cannot be loaded.
        """
        setup = msgspec.json.decode(receive(self._conversation, _ANY_SIZE).payload, type=Setup)
        end_with_agent(setup.agent_pid)
        limit_memory(setup.limits.memory_bytes)
        keep_large_blocks()
        try:
            # Before the executor is there, whose threads would not be confined.
            confine()
            session = open_session(setup.spec, receive(self._conversation, _ANY_SIZE).payload, setup.threads)
            started = time.monotonic()
            session.warm_up(setup.warm_up_s)
            warm_up_s = time.monotonic() - started
            arena = Arena(setup.spec, self._arena)
            bound = [] if arena.has_strings else [session.bind(*place) for place in arena.places]
        # Whatever a model file does to its loader, the agent is to hear of it.
        except Exception as error:
            self._complain(_NONE, error)
            return 1
        os.close(self._arena)
        threading.Thread(target=self._hear_stops, args=(session,), daemon=True).start()
        send(self._conversation, Kind.READY, _NONE, SECONDS.pack(warm_up_s))
        while True:
            try:
                frame = receive(self._conversation, _ANY_SIZE)
            except EOFError:
                return 0
            if bound:
                self._run(frame.number, bound[frame.place])
            else:
                self._run(frame.number, functools.partial(_run_strings, session, arena, frame.place, frame.payload))

    def _run(self, number: int, execute: Callable[[], bytes | None]) -> None:
        with self._lock:
            self._running = number
        try:
            outputs = execute() or b""
        except Exception as error:
            self._complain(number, error)
        else:
            send(self._conversation, Kind.DONE, number, outputs)
        finally:
            with self._lock:
                self._running = _NONE

    def _hear_stops(self, session: InProcessSession) -> None:
        while message := os.read(self._stops, STOP.size):
            with self._lock:
                # A word that comes late must not end the next execution.
                if STOP.unpack(message)[0] == self._running:
                    session.stop()

    def _complain(self, number: int, error: Exception) -> None:
        if isinstance(error, MemoryError):
            error = Exhausted("it needs more memory than its process may have")
        elif not isinstance(error, AgentError):
            error = Failed(f"{type(error).__name__}: {error}")
        complaint = Complaint(status=error.status, message=str(error)[:_LONGEST_MESSAGE])
        send(self._conversation, Kind.ERROR, number, msgspec.json.encode(complaint))


def _run_strings(session: InProcessSession, arena: Arena, place: int, beside: bytes) -> bytes:
    return arena.put_outputs(place, session.run(arena.inputs(beside)))


def main(arguments: list[str]) -> int:
    """Be the process of a segment, over the descriptors that come first."""
    conversation, stops, arena = map(int, arguments[:3])
    try:
        return Child(socket.socket(fileno=conversation), stops, arena).serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The agent is gone, or wants this process no more.
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
