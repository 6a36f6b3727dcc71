"""How far off the seconds of random cuts are that no fit has seen: the table of docs/energy-model.md.

Each model is profiled as `placer profile` does it, on an agent of this machine. Then 30 cuts at random places between
any two ops, not only between units, are run twice, loaded anew in between: the first run is the measurement of the
chosen segments that a plan can be given, the second the truth. Predicted is each cut's time, all its segments together.

    python benchmarks/unseen_cuts.py [MODEL[:INPUT=1,3,224,224] ...] [--write docs/energy-model.md]

Without models: three with real weights that stand in this repository, and SqueezeNet's graph with constant weights. It
takes two minutes of two cores that do nothing else. Where they do, look at the second pair of columns: the whole
model, timed beside the cuts, takes out how much slower the machine was by then. That helps for models of few
milliseconds; a longer one is interrupted in every run.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from placer.demo_data import INPUT_NAME, INPUT_SHAPE, MODEL
from placer.deployment.local_agents import local_agents
from placer.measuring.profile_agent import staged
from placer.measuring.profile_device import Subject, profile_device
from placer.measuring.profile_journal import Journal
from placer.measuring.profile_model import robust_s
from placer.measuring.profile_power import Declared
from placer.measuring.units import Unit, boundary_bytes
from placer.planning import read_model
from runtimes.client import AgentClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.measuring.units import Partition
    from placer.models.graph import ModelGraph
    from profiles import DeviceProfile

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
BEGIN, END = "<!-- unseen cuts -->", "<!-- end of unseen cuts -->"
CUTS, BATCH, RUNS = 30, 10, 15
SEED = 2026


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Relative errors of one model's cuts.

    Parameters
    ----------
    model
        Its name and what it weighs.
    fitted, measured
        Of each cut: by the profile's op seconds, and by its segments measured before.
    fitted_beside, measured_beside
        The same, with the machine's drift taken out.
    segments
        Of each segment by the profile's op seconds, drift taken out.
    """

    model: str
    fitted: list[float]
    measured: list[float]
    fitted_beside: list[float]
    measured_beside: list[float]
    segments: list[float]


def main() -> None:
    """Measure, print the table, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL[:INPUT=DIMS]")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"put the table between {BEGIN} and {END}")
    given = parser.parse_args()
    began = time.monotonic()
    graphs = [parsed(text) for text in given.models] or own_models()
    with (
        tempfile.TemporaryDirectory() as folder,
        local_agents(["here"], isolated=False) as addresses,
        AgentClient(addresses["here"]) as client,
    ):
        results = [errors_of(client, graph, Path(folder)) for graph in graphs]
    table = "\n".join([*rows(results), "", conditions(time.monotonic() - began)])
    sys.stdout.write(table + "\n")
    if given.write is not None:
        text = given.write.read_text()
        before, _, rest = text.partition(BEGIN)
        given.write.write_text(before + BEGIN + "\n" + table + "\n" + END + rest.partition(END)[2])


def parsed(text: str) -> ModelGraph:
    """Read a model of the command line."""
    path, _, shape = text.partition(":")
    name, _, dims = shape.partition("=")
    return read_model(path, {name: tuple(int(dim) for dim in dims.split(","))} if shape else None)


def own_models() -> list[ModelGraph]:
    """Read the models that are at hand everywhere."""
    light = resources.files("onnx.backend.test.data.light").joinpath("light_squeezenet.onnx")
    with resources.as_file(light) as squeezenet:
        return [
            read_model(str(MODEL), {INPUT_NAME: INPUT_SHAPE}),
            read_model(str(squeezenet)),
            read_model(str(DATA / "face_detection.tflite")),
            read_model(str(DATA / "image_classification.tflite")),
        ]


def errors_of(client: AgentClient, graph: ModelGraph, folder: Path) -> Errors:
    """Profile one model, run its cuts twice, and compare."""
    profile = profiled(client, graph, folder)
    whole_s = profile.benchmarks[0].seconds.value
    ops = [_one(graph, op.name) for op in graph.ops]
    cuts = op_cuts(graph, ops)
    first, first_wholes = timed(client, graph, ops, cuts)
    second, second_wholes = timed(client, graph, ops, cuts)
    found = Errors(
        model=f"{graph.name}, {graph.format}, {len(graph.ops)} ops, {1000 * whole_s:.3g} ms",
        fitted=[], measured=[], fitted_beside=[], measured_beside=[], segments=[],
    )  # fmt: skip
    for place, cut in enumerate(cuts):
        predicted = [predict(profile, graph, ops, span) for span in cut]
        truth_s, before_s = sum(second[place]), sum(first[place])
        slower = second_wholes[place // BATCH] / whole_s
        since = second_wholes[place // BATCH] / first_wholes[place // BATCH]
        found.fitted.append(sum(predicted) / truth_s - 1)
        found.measured.append(before_s / truth_s - 1)
        found.fitted_beside.append(sum(predicted) * slower / truth_s - 1)
        found.measured_beside.append(before_s * since / truth_s - 1)
        found.segments.extend(p * slower / t - 1 for p, t in zip(predicted, second[place], strict=True))
    sys.stderr.write(f"{graph.name}: {mean_abs(found.fitted):.1%}, {mean_abs(found.measured):.1%}\n")
    return found


def profiled(client: AgentClient, graph: ModelGraph, folder: Path) -> DeviceProfile:
    """Profile one model as the command does; its powers do not matter here."""
    return profile_device(
        client,
        [graph],
        Subject(id="here", name="here", tier="edge", host="this machine", memory_bytes=None),
        Declared(idle_w=1.0, active_w=2.0, wait_w=None, boundary="board"),
        Journal(folder / f"{graph.sha256}.yaml", {}),
        threads=[1],
        runs=RUNS,
        window_s=1.0,
        progress=lambda text: None,
    )


def op_cuts(graph: ModelGraph, ops: Sequence[Unit]) -> list[Partition]:
    """Draw cuts between any two ops of the file's order, into segments that have inputs and outputs to be timed by."""
    rng = random.Random(SEED)
    found: dict[Partition, None] = {}
    while len(found) < CUTS:
        places = sorted(rng.sample(range(1, len(ops)), min(rng.choice((1, 1, 2, 3)), len(ops) - 1)))
        spans = tuple(zip([0, *places], [*places, len(ops)], strict=True))
        if all(has_ends(graph, ops, span) for span in spans):
            found[spans] = None
    return list(found)


def has_ends(graph: ModelGraph, ops: Sequence[Unit], span: tuple[int, int]) -> bool:
    """Say whether something enters the ops of a span, and something leaves them."""
    inside = {op for unit in ops[span[0] : span[1]] for op in unit.ops}
    members = [op for op in graph.ops if op.name in inside]
    made = {name for op in members for name in op.outputs}
    returned = {tensor.name for tensor in graph.outputs}
    reads = any(name not in made for op in members for name in op.inputs)
    leaves = any(name in returned or any(op.name not in inside for op in graph.consumers(name)) for name in made)
    return reads and leaves


def timed(
    client: AgentClient, graph: ModelGraph, ops: Sequence[Unit], cuts: Sequence[Partition]
) -> tuple[list[list[float]], list[float]]:
    """Load and time cuts, batch by batch; return the seconds of their segments, and of the whole model beside each."""
    seconds, wholes = [], []
    for start in range(0, len(cuts), BATCH):
        batch = [((0, len(ops)),), *cuts[start : start + BATCH]]
        with staged(client, graph, ops, batch, 1) as parts:
            whole, *rest = parts.time(RUNS)
        wholes.append(robust_s(whole[0]))
        seconds += [[robust_s(runs) for runs in segments] for segments in rest]
    return seconds, wholes


def predict(profile: DeviceProfile, graph: ModelGraph, ops: Sequence[Unit], span: tuple[int, int]) -> float:
    """Predict a segment by what the profile's file says."""
    (mode,) = profile.modes
    costs = mode.op_costs
    assert costs is not None
    names = [op for unit in ops[span[0] : span[1]] for op in unit.ops]
    own_s = sum(costs.models[0].seconds[name] for name in names)
    return own_s + mode.segment_s.value + costs.s_per_boundary_byte * boundary_bytes(graph, names)


def _one(graph: ModelGraph, name: str) -> Unit:
    return Unit(ops=(name,), kind="", macs=0, bytes=0, boundary_bytes=boundary_bytes(graph, [name]))


def rows(results: Sequence[Errors]) -> list[str]:
    """Make the table: mean, median and 90th percentile of the absolute errors in percent."""
    lines = [
        f"| {CUTS} random cuts each; mean / median / p90 of the error in % | op seconds | segments measured | "
        "op seconds, drift out | segments measured, drift out | segments alone, op seconds |",
        "|---|---|---|---|---|---|",
    ]
    for each in results:
        columns = (each.fitted, each.measured, each.fitted_beside, each.measured_beside, each.segments)
        lines.append(f"| {each.model} | " + " | ".join(map(spread, columns)) + " |")
    means = [
        100 * statistics.mean(mean_abs(getattr(each, name)) for each in results)
        for name in ("fitted", "measured", "fitted_beside", "measured_beside", "segments")
    ]
    lines.append("| mean of the models' means | " + " | ".join(f"{value:.1f}" for value in means) + " |")
    return lines


def spread(errors: Sequence[float]) -> str:
    """Write mean, median and 90th percentile."""
    sizes = sorted(abs(error) for error in errors)
    p90 = statistics.quantiles(sizes, n=10)[-1]
    return f"{100 * statistics.mean(sizes):.1f} / {100 * statistics.median(sizes):.1f} / {100 * p90:.1f}"


def mean_abs(errors: Sequence[float]) -> float:
    """Return the mean size of some errors."""
    return statistics.mean(abs(error) for error in errors)


def conditions(seconds: float) -> str:
    """Say under which load the machine was."""
    load = os.getloadavg()[2] if hasattr(os, "getloadavg") else float("nan")
    return f"{os.cpu_count()} processors, mean load of 15 minutes {load:.1f}, {seconds:.0f} s."


if __name__ == "__main__":
    main()
