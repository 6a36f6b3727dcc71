"""What a segment's process may take, and how it binds itself to that and to its agent's life."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

import msgspec

from runtimes.errors import AgentError

LEAST_MEMORY_BYTES = 128 << 20
"""The interpreter and an executor alone take some 60 MB of it."""
# Number of prctl.h.
_PR_SET_PDEATHSIG = 1
# Of -1000 to 1000: when the machine has no memory left, the kernel takes segments before agents.
_TAKE_FIRST = 500


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one segment's process.

    Parameters
    ----------
    memory_bytes
        The most writable memory that it may have, the interpreter's and the executor's among it. Tensors at its
        boundary are the agent's and do not count.
    run_s
        The longest that one execution may take, whatever its request's deadline.
    """

    memory_bytes: int
    run_s: float

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.memory_bytes < LEAST_MEMORY_BYTES:
            raise ValueError(f"memory_bytes is {self.memory_bytes}; an executor alone needs {LEAST_MEMORY_BYTES}")
        if not 0 < self.run_s <= 86400:
            raise ValueError(f"run_s is {self.run_s}; it is above 0 and at most 86400 seconds")


def default_memory_bytes() -> int:
    """Give half of this machine's memory."""
    return max(LEAST_MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


def limit_memory(memory_bytes: int) -> None:
    """Bind this process to an amount of writable memory.

    RLIMIT_DATA counts private writable pages. RLIMIT_AS would count what runtimes merely reserve and what is shared,
    and an agent that watched its children's memory would have to wake up for it. Beyond the limit an allocation
    fails, which ONNX Runtime reports as an error of that execution.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_TAKE_FIRST))
    except OSError:
        # A system that forbids it will choose by itself.
        return


def end_with_agent(agent_pid: int) -> None:
    """See to it that this process ends when its agent does, however that ends.

    Signals that ask the agent to end in order often reach its whole group; this process then still has work.

    Raises
    ------
    AgentError
        If the system does not know how.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not sys.platform.startswith("linux"):
        raise AgentError("segments run in processes of their own on Linux alone; start the agent with --no-isolation")
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise AgentError(f"the process cannot be bound to its agent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != agent_pid:
        # It ended before the kernel knew.
        raise SystemExit(1)
