"""How long a problem.json takes to read, check and index as it grows: python -m benchmarks.read_problem [OPS ...]."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor, encode_problem, read_problem

DEVICES = 6


def chain(ops: int) -> Problem:
    """Make a chain of ops with an option on each of six devices."""
    names = [f"d{i}" for i in range(DEVICES)]
    return Problem(
        devices=tuple(Device(name=n) for n in names),
        links=tuple(
            Link(source=a, target=b, latency_s=0.001, bytes_per_s=1e8, energy_j_per_byte=1e-8)
            for a in names
            for b in names
            if a != b
        ),
        flows=(
            Flow(
                name="f",
                rate_hz=1.0,
                ops=tuple(
                    Op(
                        name=f"op{i}",
                        options=tuple(Option(device=n, mode="cpu-fp32", seconds=1e-4, joules=1e-3) for n in names),
                    )
                    for i in range(ops)
                ),
                tensors=tuple(
                    Tensor(name=f"t{i}", bytes=1e4, producer=f"op{i}", consumers=(f"op{i + 1}",))
                    for i in range(ops - 1)
                ),
            ),
        ),
    )


def main(sizes: list[int]) -> None:
    """Print a line for each size."""
    print(f"{'ops':>8} {'MB':>7} {'read s':>8} {'index s':>8}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.json"
        for ops in sizes:
            path.write_bytes(encode_problem(chain(ops)))
            begin = time.process_time()
            problem = read_problem(path)
            read = time.process_time()
            ProblemIndex(problem)
            end = time.process_time()
            print(f"{ops:>8} {path.stat().st_size / 1e6:>7.1f} {read - begin:>8.2f} {end - read:>8.2f}")


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000, 10_000, 100_000])
