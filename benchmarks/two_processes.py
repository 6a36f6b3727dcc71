"""The least that a second process costs: a Relu of some bytes, in shared memory, woken up for ten times a second.

One process computes by itself; the others write the tensor into shared memory, wake up a second process that computes
there, and read the outcome: left to the system, and both on one processor. No model, no runtime, no network.
``benchmarks/agent_costs.py`` says the same of agents.

    python -m benchmarks.two_processes [--seconds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.one_hop import SIZES_BYTES
from runtimes.isolation.same_processor import SameProcessor
from runtimes.malloc import keep_large_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RATE_HZ = 10.0
ROUNDS = 5


def halves(memory: mmap.mmap) -> tuple[Any, Any]:
    """Give the input's and the output's place in the memory."""
    x, y = np.split(np.frombuffer(memory, np.float32), 2)
    return x, y


def serve(conversation: socket.socket, memory: mmap.mmap) -> None:
    """Be the second process: answers each byte with its processor time so far, until there is none."""
    x, y = halves(memory)
    while conversation.recv(1):
        np.maximum(x, 0, out=y)
        conversation.sendall(time.thread_time_ns().to_bytes(8, "little"))


@contextmanager
def second_process(memory_file: int, size_bytes: int) -> Iterator[tuple[int, socket.socket]]:
    """Start it; gives its id and what to talk to it on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-m", "benchmarks.two_processes", "--serve"]
        command += map(str, (theirs.fileno(), memory_file, size_bytes))
        with subprocess.Popen(command, pass_fds=(theirs.fileno(), memory_file)) as process:
            theirs.close()
            yield process.pid, ours
            ours.close()


def processor_s(infer: Callable[[], int], calls: int) -> float:
    """Processor seconds of one inference at a steady rate, in both processes."""
    since_ns = infer()
    used_s = 0.0
    for _ in range(calls):
        time.sleep(1 / RATE_HZ)
        started_s = time.thread_time()
        there_ns = infer()
        used_s += time.thread_time() - started_s
    return (used_s + (there_ns - since_ns) / 1e9) / calls


def measure(size_bytes: int, seconds: float) -> dict[str, float]:
    """Processor seconds per inference of each way, in alternating rounds."""
    memory_file = os.memfd_create("two-processes")
    os.ftruncate(memory_file, 2 * size_bytes)
    given_x, made_y = halves(mmap.mmap(memory_file, 2 * size_bytes))
    with second_process(memory_file, size_bytes) as (other, talk):
        x, y = np.linspace(-1, 1, size_bytes // 4, dtype=np.float32), np.empty(size_bytes // 4, np.float32)

        same = SameProcessor(other)

        def alone() -> int:
            np.maximum(x, 0, out=y).tobytes()
            return 0

        def together() -> int:
            np.copyto(given_x, x)
            talk.sendall(b"x")
            there_ns = int.from_bytes(talk.recv(8), "little")
            made_y.tobytes()
            return there_ns

        def on_one_processor() -> int:
            with same:
                return together()

        ways = {"one process": alone, "two processes": together, "two on one processor": on_one_processor}
        used_s: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, infer in ways.items():
                used_s[name].append(processor_s(infer, max(1, round(seconds * RATE_HZ / ROUNDS))))
    os.close(memory_file)
    return {name: statistics.median(each) for name, each in used_s.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="per way and size (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    keep_large_blocks()
    if given.serve:
        descriptor, memory_file, size_bytes = given.serve
        serve(socket.socket(fileno=descriptor), mmap.mmap(memory_file, 2 * size_bytes))
        return
    found = {size_bytes: measure(size_bytes, given.seconds) for size_bytes in SIZES_BYTES}
    if given.json:
        print(json.dumps(found))
        return
    for size_bytes, used_s in found.items():
        alone_s = used_s["one process"]
        print(
            f"{size_bytes:>9} B at {RATE_HZ:.0f} Hz: "
            + "  ".join(f"{name} {1e3 * s:.2f} ms ({1e3 * (s - alone_s):+.2f})" for name, s in used_s.items())
        )


if __name__ == "__main__":
    main()
