"""Solves the latency workloads of "Efficient Algorithms for Device Placement of DNN Graph Operators" (NeurIPS 2020).

The graphs (repository msr-fiddle/dnn-partitioning, MIT licence) are not shipped: give the folder that holds
`latency-inputs`. Each becomes a Problem with objective latency_s, k accelerators and a CPU.

What fits: nodes with their seconds on either kind of device, nodes that no accelerator runs, sizes and the
accelerators' memory, colour classes (as `colocate`), and that a subgraph starts when all its inputs have arrived. A
node's output moves between an accelerator and the CPU in its cost, and between two accelerators in twice that.

What does not fit, so that optima differ:
- There the cost is paid once per node and direction, whoever reads the output; here once per receiving device.
- There moving occupies the accelerator; here links move data beside the work, one tensor at a time per link.
- There each accelerator has one contiguous subgraph; here it may run several segments one after the other, and may
  start with a part of its ops while inputs of others are under way.
- There CPU nodes run beside each other without limit; here the CPU runs one segment at a time.
Each of the first three can only shorten: a plan of theirs without simultaneous CPU nodes takes no longer here. Its
latency is then an upper bound of our optimum, not a value to meet.

    python -m benchmarks.msr_fiddle FOLDER [--limit 30] [--only bert24_inference ...] [--plain cp-sat]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

from placer.index import ProblemIndex
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor
from placer.solver.find import find
from placer.solver.plain import Backend, search

UNIT_S = 1e-3
"""The files' unit of time is not named and looks like a millisecond."""
BYTES_PER_UNIT = 1e6
"""Costs are times, not bytes: any figure does, together with the speed of the links."""

KNOWN = {
    "LayerGraphs/bert24_inference": "100.2184",
    "LayerGraphs/gnmt_inference": "<= 225.65",
    "OperatorGraphs/bert_l-3_inference": "408.4747",
}
"""Least latency under the rules of the paper, contiguous: proven by other solvers, or the best known ("<=")."""


def read_workload(path: Path) -> Problem:
    """Turn one file into a problem.

    Raises
    ------
    ValueError
        A node has outputs of different costs, which is no tensor of one size.
    """
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    accelerators = [f"accelerator-{i}" for i in range(data["maxFPGAs"])]
    costs: defaultdict[int, set[float]] = defaultdict(set)
    readers: defaultdict[int, list[str]] = defaultdict(list)
    for edge in data["edges"]:
        costs[edge["sourceId"]].add(edge["cost"])
        readers[edge["sourceId"]].append(str(edge["destId"]))
    several = [node for node, found in costs.items() if len(found) > 1]
    if several:
        raise ValueError(f"{path}: node {several[0]} has outputs of different costs; this benchmark knows one per node")
    classes: defaultdict[object, list[str]] = defaultdict(list)
    ops = []
    for node in data["nodes"]:
        seconds = {"cpu": UNIT_S * node["cpuLatency"]}
        if node["supportedOnFpga"] and node["size"] <= data["maxSizePerFPGA"]:
            seconds |= dict.fromkeys(accelerators, UNIT_S * node["fpgaLatency"])
        options = tuple(Option(device=d, mode="any", seconds=s, joules=0.0) for d, s in seconds.items())
        ops.append(Op(name=str(node["id"]), options=options, weights_bytes=node["size"]))
        if node.get("colorClass") is not None:
            classes[node["colorClass"]].append(str(node["id"]))
    tensors = tuple(
        Tensor(name=f"{node}:out", bytes=BYTES_PER_UNIT * cost, producer=str(node), consumers=tuple(readers[node]))
        for node, (cost,) in costs.items()
    )
    flow = Flow(
        name=path.stem,
        rate_hz=0.0,
        ops=tuple(ops),
        tensors=tensors,
        colocate=tuple(tuple(c) for c in classes.values() if len(c) > 1),
    )
    devices = [Device(name="cpu"), *(Device(name=a, memory_bytes=data["maxSizePerFPGA"]) for a in accelerators)]
    return Problem(objective="latency_s", devices=tuple(devices), links=_links(accelerators), flows=(flow,))


def _links(accelerators: list[str]) -> tuple[Link, ...]:
    """Join all pairs; from one accelerator to another data goes through the CPU's memory, which takes twice as long."""
    names = ["cpu", *accelerators]
    return tuple(
        Link(
            source=a,
            target=b,
            latency_s=0.0,
            bytes_per_s=BYTES_PER_UNIT / UNIT_S / (1 if "cpu" in (a, b) else 2),
            energy_j_per_byte=0.0,
        )
        for a in names
        for b in names
        if a != b
    )


def measure(path: Path, limit_s: float, plain: Backend | None) -> str:
    """Solve one file, by a plain solver if one is named; return its row, latencies in the file's unit."""
    problem = read_workload(path)
    name = f"{path.parent.name}/{path.stem}"
    begin_s = time.process_time()
    index = ProblemIndex(problem)
    found = (
        find(index, time_limit_s=limit_s)
        if plain is None
        else search(index, backend=plain, time_limit_s=limit_s, believe=True)
    )
    cpu_s = time.process_time() - begin_s
    latency = "-" if found.evaluation is None else f"{found.evaluation.objective / UNIT_S:.4f}"
    gap = "-" if found.gap is None else f"{found.gap:.2%}"
    return (
        f"| {name} | {len(problem.flows[0].ops)} | {len(problem.devices) - 1} | {found.status} | {latency} "
        f"| {found.bound / UNIT_S:.4f} | {gap} | {KNOWN.get(name, '')} | {cpu_s:.1f} |"
    )


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder that holds latency-inputs")
    parser.add_argument("--limit", type=float, default=30.0, metavar="SECONDS", help="wall-clock limit of each graph")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="names of files without their ending")
    parser.add_argument("--plain", choices=get_args(Backend), help="solve by this plain solver instead")
    asked = parser.parse_args()
    paths = sorted(asked.folder.glob("latency-inputs/*/*.json"))
    if not paths:
        parser.error(f"{asked.folder} holds no latency-inputs/*/*.json; give the folder of the workloads")
    print("| graph | ops | accelerators | status | latency | bound | gap | known, contiguous | CPU s |")
    print("|---|---:|---:|---|---:|---:|---:|---:|---:|")
    for path in paths:
        if asked.only is None or path.stem in asked.only:
            print(measure(path, asked.limit, asked.plain), flush=True)


if __name__ == "__main__":
    main()
