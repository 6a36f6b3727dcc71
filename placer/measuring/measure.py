"""Measures on this host what ops and segments of an ONNX model take, under the settings agents deploy."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from placer.errors import ProblemError
from placer.models.cut import Part, cut
from placer.models.onnx_fusion import anchors_of, fused_groups
from placer.models.onnx_run import onnx_runtime, open_session, synthetic_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from placer.models.graph import ModelGraph

Progress = Callable[[int, int], None]
"""Called with the number of runs done and of all runs."""

_WARM_UP_RUNS = 3
# On a shared machine the mean is other people's load; the 20th percentile repeats within a few percent.
_PERCENTILE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OpSeconds:
    """Measured seconds of every op of a model.

    Parameters
    ----------
    seconds
        By op name; 0 for ops that the executor optimizes away.
    runs
        Number of runs of which these are the 20th percentiles.
    source
        What measured them, and how.
    """

    seconds: Mapping[str, float]
    runs: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSeconds:
    """Measured seconds of one segment, run as a whole.

    Parameters
    ----------
    median_s, p20_s
        Median and 20th percentile of the runs.
    overhead_s
        What a run takes beyond its ops' own seconds: an estimate of what starting the segment costs.
    runs
        Number of runs.
    source
        What measured them, and how.
    """

    median_s: float
    p20_s: float
    overhead_s: float
    runs: int
    source: str


def op_seconds(graph: ModelGraph, *, threads: int, runs: int = 25, progress: Progress | None = None) -> OpSeconds:
    """Measure every op of an ONNX model with ONNX Runtime's profiler.

    The graph is optimized as agents optimize it, so several ops may run as one; the group's seconds then go
    to its ops by their MACs, or in equal shares where they have none. Input is synthetic.

    Raises
    ------
    ProblemError
        The model is not ONNX, cannot run here, or ONNX Runtime is missing.
    """
    if graph.format != "onnx":
        raise ProblemError(f"{graph.path}: only ONNX models are measured op by op; take the profile's costs instead")
    (whole,) = cut(graph, [[op.name for op in graph.ops]])
    events, optimized = _profiled(whole, threads, runs, progress)
    anchors = anchors_of(graph, optimized)
    group_s: dict[str, float] = {}
    for name, durations in _node_durations(events, optimized).items():
        if name in anchors:
            group_s[anchors[name]] = group_s.get(anchors[name], 0.0) + _p20(durations[_WARM_UP_RUNS:])
    seconds: dict[str, float] = {}
    for anchor, ops in fused_groups(graph, set(anchors.values())).items():
        macs = sum(op.macs for op in ops)
        for op in ops:
            share = op.macs / macs if macs else 1 / len(ops)
            seconds[op.name] = group_s.get(anchor, 0.0) * share
    return OpSeconds(seconds=MappingProxyType(seconds), runs=runs, source=_source("profiler", threads, runs))


def segment_seconds(part: Part, *, threads: int, runs: int = 25) -> SegmentSeconds:
    """Measure one segment as an agent runs it, and what starting it costs.

    Raises
    ------
    ProblemError
        The part cannot run here, or ONNX Runtime is missing.
    """
    feed = synthetic_inputs(part.inputs, seed=0)
    session = open_session(part.blob, threads=threads)
    names = [tensor.name for tensor in part.outputs]
    walls = []
    for _ in range(_WARM_UP_RUNS + runs):
        begin = time.perf_counter()
        session.run(names, feed)
        walls.append(time.perf_counter() - begin)
    events, optimized = _profiled(part, threads, runs, None)
    whole_runs = [event["dur"] * 1e-6 for event in events if event["name"] == "model_run"]
    op_sums = [sum(values) for values in zip(*_node_durations(events, optimized).values(), strict=True)]
    between = np.subtract(whole_runs, op_sums)[_WARM_UP_RUNS:]
    return SegmentSeconds(
        median_s=float(np.median(walls[_WARM_UP_RUNS:])),
        p20_s=_p20(walls[_WARM_UP_RUNS:]),
        overhead_s=_p20(between),
        runs=runs,
        source=_source("wall clock", threads, runs),
    )


def _source(how: str, threads: int, runs: int) -> str:
    version = onnx_runtime().__version__
    return f"ONNX Runtime {version} on this host, {how}, {threads} threads, 20th percentile of {runs} runs"


def _p20(seconds: Sequence[float] | npt.NDArray[np.float64]) -> float:
    return float(np.percentile(seconds, _PERCENTILE))


def _profiled(part: Part, threads: int, runs: int, progress: Progress | None) -> tuple[list[dict[str, Any]], Any]:
    """Run a part under the profiler; return the profile's events and the optimized graph that was run."""
    feed = synthetic_inputs(part.inputs, seed=0)
    with tempfile.TemporaryDirectory(prefix="placer-measure-") as directory:
        options = onnx_runtime().SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(directory) / "profile")
        optimized_file = Path(directory) / "optimized.onnx"
        options.optimized_model_filepath = str(optimized_file)
        session = open_session(part.blob, threads=threads, options=options)
        for done in range(_WARM_UP_RUNS + runs):
            session.run(None, feed)
            if progress is not None and done >= _WARM_UP_RUNS:
                progress(done - _WARM_UP_RUNS + 1, runs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return events, onnx.load(optimized_file).graph


def _node_durations(events: list[dict[str, Any]], optimized: Any) -> dict[str, list[float]]:
    """Return the seconds of each node in every run; events of a body lie within their node's and belong to it."""
    names = {f"{node.name}_kernel_time": node.name for node in optimized.node}
    kernels = (event for event in events if event.get("cat") == "Node" and event["name"] in names)
    durations: dict[str, list[float]] = {}
    end = -1
    for event in sorted(kernels, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] >= end:
            end = event["ts"] + event["dur"]
            durations.setdefault(names[event["name"]], []).append(event["dur"] * 1e-6)
    return durations
