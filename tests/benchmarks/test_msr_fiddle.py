from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.msr_fiddle import UNIT_S, read_workload
from placer.evaluate import evaluate
from placer.index import ProblemIndex

if TYPE_CHECKING:
    from pathlib import Path


def workload(tmp_path: Path, **changes: Any) -> Path:
    """Write a chain of three nodes for two accelerators; the last node is too large for either."""
    nodes = [
        {"id": i, "supportedOnFpga": 1, "cpuLatency": 10.0, "fpgaLatency": 1.0, "size": size}
        for i, size in enumerate((4.0, 4.0, 9.0))
    ]
    edges = [{"sourceId": 0, "destId": 1, "cost": 0.5}, {"sourceId": 1, "destId": 2, "cost": 0.25}]
    path = tmp_path / "chain.json"
    path.write_text(json.dumps({"maxFPGAs": 2, "maxSizePerFPGA": 8.0, "nodes": nodes, "edges": edges} | changes))
    return path


def latency(path: Path, *devices: str) -> float:
    """Latency of a chain on these devices, in the file's unit."""
    index = ProblemIndex(read_workload(path))
    choice = index.choice_of(0, {str(i): (d, "any") for i, d in enumerate(devices)})
    return evaluate(index, (choice,)).objective / UNIT_S


def test_moving_costs_once_to_the_cpu_and_twice_between_accelerators(tmp_path: Path) -> None:
    path = workload(tmp_path)
    assert latency(path, "accelerator-0", "accelerator-0", "cpu") == pytest.approx(1 + 1 + 0.25 + 10)
    assert latency(path, "accelerator-0", "accelerator-1", "cpu") == pytest.approx(1 + 2 * 0.5 + 1 + 0.25 + 10)
    assert latency(path, "cpu", "accelerator-1", "cpu") == pytest.approx(10 + 0.5 + 1 + 0.25 + 10)


def test_a_node_larger_than_an_accelerator_stays_on_the_cpu(tmp_path: Path) -> None:
    (flow,) = read_workload(workload(tmp_path)).flows
    assert [len(op.options) for op in flow.ops] == [3, 3, 1]


def test_outputs_of_different_costs_are_refused(tmp_path: Path) -> None:
    edges = [{"sourceId": 0, "destId": 1, "cost": 0.5}, {"sourceId": 0, "destId": 2, "cost": 0.25}]
    with pytest.raises(ValueError, match="node 0 has outputs of different costs"):
        read_workload(workload(tmp_path, edges=edges))
