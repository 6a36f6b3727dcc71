"""What an agent costs its device: start, memory, idle processor time, and processor time per inference.

An agent whose segments run in processes of their own, one whose segments run in its own, and a bare gRPC and ONNX
Runtime server get the same paced requests, turn by turn. Processor time is the kernel's own count of all their threads
(Linux, /proc); trust differences and ratios, and run it on a quiet machine: what wakes up to cold caches takes longer.

    python -m benchmarks.agent_costs [--seconds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from benchmarks.one_hop import SIZES_BYTES, bare_server, put_models, request
from benchmarks.runtime.plans import MAX_MESSAGE_BYTES
from runtimes.channel import open_channel
from runtimes.local import LocalAgents
from runtimes.rpc import INFERENCE_SERVICE, Stub

RATE_HZ = 10.0
ROUNDS = 5


def family(process_id: int) -> list[int]:
    """Give a process and all that descend from it."""
    children = [
        int(child)
        for task in Path(f"/proc/{process_id}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [process_id, *(each for child in children for each in family(child))]


def processor_s(process_id: int) -> float:
    """Processor seconds of a family of processes so far, but for threads that have ended."""
    used_ns = 0
    for each in family(process_id):
        for task in Path(f"/proc/{each}/task").iterdir():
            # A thread may end while it is asked.
            with suppress(FileNotFoundError, ProcessLookupError):
                used_ns += int((task / "schedstat").read_text().split()[0])
    return used_ns / 1e9


def memory_bytes(process_id: int) -> int:
    """Memory of a family of processes; what they share with others counts in proportion (PSS)."""
    lines = (
        line for each in family(process_id) for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
    )
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def per_inference_s(targets: dict[str, tuple[Stub, int]], size_bytes: int, seconds: float) -> dict[str, float]:
    """Processor seconds per inference of each target at a steady rate."""
    message = request(f"bench-{size_bytes}/0", size_bytes)
    calls = max(1, round(seconds * RATE_HZ / ROUNDS))
    used = dict.fromkeys(targets, 0.0)
    for _ in range(ROUNDS):
        for name, (stub, process_id) in targets.items():
            before_s = processor_s(process_id)
            for _ in range(calls):
                stub.ModelInfer(message, timeout=30)
                time.sleep(1 / RATE_HZ)
            used[name] += processor_s(process_id) - before_s
    return {name: used_s / (ROUNDS * calls) for name, used_s in used.items()}


def measure(seconds: float) -> dict[str, Any]:
    """Measure everything; seconds of processor time per inference by size and server."""
    targets: dict[str, tuple[Stub, int]] = {}
    found: dict[str, Any] = {"start_s": {}, "memory_bytes": {}, "idle_share": {}}
    with ExitStack() as stack:
        # Not all at once: each start is timed.
        for name, options in (("isolated", []), ("in one process", ["--no-isolation"])):
            started = time.perf_counter()
            agents = stack.enter_context(LocalAgents(["bench"], options=options))
            found["start_s"][name] = time.perf_counter() - started
            put_models(agents.addresses["bench"], sizes_bytes=SIZES_BYTES[:1])
            process_id = agents.process("bench").pid
            found["memory_bytes"][name] = memory_bytes(process_id)
            before_s, since = processor_s(process_id), time.monotonic()
            time.sleep(seconds)
            found["idle_share"][name] = (processor_s(process_id) - before_s) / (time.monotonic() - since)
            put_models(agents.addresses["bench"], epoch=2)
            channel = stack.enter_context(open_channel(agents.addresses["bench"], MAX_MESSAGE_BYTES))
            targets[name] = Stub(channel, INFERENCE_SERVICE), process_id
        address, process_id = stack.enter_context(bare_server())
        channel = stack.enter_context(open_channel(address, MAX_MESSAGE_BYTES))
        targets["bare"] = Stub(channel, INFERENCE_SERVICE), process_id
        found["per_inference_s"] = {
            str(size_bytes): per_inference_s(targets, size_bytes, seconds) for size_bytes in SIZES_BYTES
        }
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="per server and size (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.seconds)
    if given.json:
        print(json.dumps(found))
        return
    for name in found["start_s"]:
        print(
            f"{name:>14}: listens after {found['start_s'][name]:.2f} s, "
            f"{found['memory_bytes'][name] / 1e6:.1f} MB with one segment loaded, "
            f"idle {1e3 * found['idle_share'][name]:.2f} ms of processor time per second"
        )
    for size, used_s in found["per_inference_s"].items():
        print(
            f"{size:>9} B at {RATE_HZ:.0f} Hz: "
            + "  ".join(
                f"{name} {1e3 * each_s:.2f} ms (x{each_s / used_s['bare']:.2f})" for name, each_s in used_s.items()
            )
            + f"  isolation {1e3 * (used_s['isolated'] - used_s['in one process']):+.2f} ms"
        )


if __name__ == "__main__":
    main()
