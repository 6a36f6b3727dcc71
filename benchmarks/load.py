"""How long a problem.json of 100,000 ops takes to read and check: CPU seconds of `read_problem`, and of its index.

The problem is a drawn network of `benchmarks.instances.grown_graph` on the committed site.

    python -m benchmarks.load [--ops 10000 100000] [--devices 3] [--runs 3]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.instances import benchmark_problem, grown_graph
from placer.index import ProblemIndex
from placer.problem import encode_problem, read_problem


def measure(ops: int, devices: int, runs: int) -> str:
    """Write a problem to a file and read it `runs` times; return one row of the table, seconds being medians."""
    problem = benchmark_problem(grown_graph(ops, seed=1), devices)
    read_s, index_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.json"
        path.write_bytes(encode_problem(problem))
        size_bytes = path.stat().st_size
        for _ in range(runs):
            begin_s = time.process_time()
            read = read_problem(path)
            read_s.append(time.process_time() - begin_s)
            begin_s = time.process_time()
            ProblemIndex(read)
            index_s.append(time.process_time() - begin_s)
    if read != problem:
        raise AssertionError("the file was not read back as it was written")
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return (
        f"| {len(problem.flows[0].ops)} | {devices} | {size_bytes / 1e6:.0f} | {statistics.median(read_s):.2f} "
        f"| {statistics.median(index_s):.2f} | {peak_gb:.2f} |"
    )


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--devices", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    print("| ops | devices | MB | read CPU s | index CPU s | largest memory GB |\n|---:|---:|---:|---:|---:|---:|")
    for ops in asked.ops:
        print(measure(ops, asked.devices, asked.runs), flush=True)


if __name__ == "__main__":
    main()
