"""How far off the seconds of random cuts are that no fit has seen: the table of docs/energy-model.md.

Before, for every model in turn: it is profiled as `placer profile` does it, on an agent of this machine, and each
segment of 30 random cuts, between any two ops and not only between units, is timed alone, as a model of its own. Later,
when all models have had that: the cuts are run, whole, which is the truth. Predicted is each cut's time, all its
segments together, from what was measured before, and from its segments timed alone in the same rounds.

A segment alone is brought by a call, a later one of a cut is not. What the call takes is the one number that is fitted,
to other cuts of the model.

    python -m benchmarks.unseen_cuts [MODEL[:INPUT=1,3,224,224] ...] [--write docs/energy-model.md]

Without models: three with real weights that stand in this repository, and SqueezeNet's graph with constant weights. It
takes three minutes of two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cut_times import CutTimes, after_call_s, chained_s, op_cuts, timed
from placer.demo_data import INPUT_NAME, INPUT_SHAPE, MODEL
from placer.deployment.local_agents import local_agents
from placer.measuring.profile_device import Subject, profile_device
from placer.measuring.profile_journal import Journal
from placer.measuring.profile_power import Declared
from placer.measuring.units import boundary_bytes
from placer.planning import read_model
from runtimes.client import AgentClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.measuring.units import Partition
    from placer.models.graph import ModelGraph
    from profiles import DeviceProfile

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
BEGIN, END = "<!-- unseen cuts -->", "<!-- end of unseen cuts -->"
CUTS, ROUNDS = 30, 15
SEED = 2026
# The cuts that say what a call takes.
FITTED_CUTS, FITTED_SEED = 8, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What is known of a model before its cuts are run.

    Parameters
    ----------
    graph, cuts
        The model, and the cuts that will be asked.
    profile
        Of `placer profile`.
    call_s
        How much longer a segment takes that a call brings.
    times
        Of the same cuts; a prediction uses of them the segments alone.
    """

    graph: ModelGraph
    cuts: list[Partition]
    profile: DeviceProfile
    call_s: float
    times: list[CutTimes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Relative errors of the times of one model's cuts, in the order of the table's columns.

    Parameters
    ----------
    ops, segments, machine
        Long before: by the profile's op seconds; by the segments alone; by running the very same.
    ops_beside, segments_beside, machine_beside
        In the same rounds: by the profile's op seconds, with the whole model's drift since then taken out; by the
        segments alone; by running the very same.
    """

    ops: list[float]
    segments: list[float]
    machine: list[float]
    ops_beside: list[float]
    segments_beside: list[float]
    machine_beside: list[float]


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
        known = [before(client, graph, Path(folder)) for graph in graphs]
        lines = []
        for each in known:
            found = errors_of(each, timed(client, each.graph, each.cuts, ROUNDS))
            lines.append((described(each), found))
            sys.stderr.write(row(*lines[-1]) + "\n")
    table = "\n".join([*rows(lines), "", conditions(time.monotonic() - began)])
    sys.stdout.write(table + "\n")
    if given.write is not None:
        text = given.write.read_text()
        head, _, rest = text.partition(BEGIN)
        given.write.write_text(head + BEGIN + "\n" + table + "\n" + END + rest.partition(END)[2])


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


def before(client: AgentClient, graph: ModelGraph, folder: Path) -> Before:
    """Measure all that a prediction may use."""
    profile = profiled(client, graph, folder)
    cuts = op_cuts(graph, CUTS, SEED)
    others = [cut for cut in op_cuts(graph, FITTED_CUTS, FITTED_SEED) if cut not in cuts]
    call_s = after_call_s(timed(client, graph, others, ROUNDS))
    return Before(graph=graph, cuts=cuts, profile=profile, call_s=call_s, times=timed(client, graph, cuts, ROUNDS))


def profiled(client: AgentClient, graph: ModelGraph, folder: Path) -> DeviceProfile:
    """Profile one model as the command does; its powers do not matter here."""
    return profile_device(
        client,
        [graph],
        Subject(id="here", name="here", tier="edge", host="this machine", memory_bytes=None),
        Declared(idle_w=1.0, active_w=2.0, wait_w=None, boundary="board"),
        Journal(folder / f"{graph.sha256}.yaml", {}),
        threads=[1],
        runs=ROUNDS,
        window_s=1.0,
        progress=lambda text: None,
    )


def errors_of(known: Before, truth: Sequence[CutTimes]) -> Errors:
    """Compare what is predicted with what the cuts took."""
    whole_s = known.profile.benchmarks[0].seconds.value
    found = Errors(ops=[], segments=[], machine=[], ops_beside=[], segments_beside=[], machine_beside=[])
    for cut, earlier, now in zip(known.cuts, known.times, truth, strict=True):
        ops_s = sum(predict(known.profile, known.graph, span) for span in cut)
        true_s = sum(now.chain)
        found.ops.append(ops_s / true_s - 1)
        found.segments.append(chained_s(earlier.alone, known.call_s) / true_s - 1)
        found.machine.append(sum(earlier.chain) / true_s - 1)
        found.ops_beside.append(ops_s * now.whole_s / whole_s / true_s - 1)
        found.segments_beside.append(chained_s(now.alone, known.call_s) / true_s - 1)
        found.machine_beside.append(sum(now.again) / true_s - 1)
    return found


def predict(profile: DeviceProfile, graph: ModelGraph, span: tuple[int, int]) -> float:
    """Predict a segment by what the profile's file says."""
    (mode,) = profile.modes
    costs = mode.op_costs
    assert costs is not None
    names = [op.name for op in graph.ops[span[0] : span[1]]]
    own_s = sum(costs.models[0].seconds[name] for name in names)
    return own_s + mode.segment_s.value + costs.s_per_boundary_byte * boundary_bytes(graph, names)


def described(known: Before) -> str:
    """Name a model and what it weighs."""
    graph, seconds = known.graph, known.profile.benchmarks[0].seconds.value
    return (
        f"{graph.name}, {graph.format}, {len(graph.ops)} ops, {1000 * seconds:.3g} ms, call {1e6 * known.call_s:.0f} us"
    )


def rows(lines: Sequence[tuple[str, Errors]]) -> list[str]:
    """Make the table: mean, median and 90th percentile of the absolute errors in percent."""
    means = (
        100 * statistics.mean(mean_abs(getattr(errors, each.name)) for _, errors in lines) for each in fields(Errors)
    )
    return [
        f"| {CUTS} random cuts each; mean / median / p90 of the error in % | op seconds, before | segments alone, "
        "before | the machine: the same cut, before | op seconds, drift out | segments alone, in turn | "
        "the machine: the same cut, in turn |",
        "|---|---|---|---|---|---|---|",
        *(row(name, errors) for name, errors in lines),
        "| mean of the models' means | " + " | ".join(f"{value:.1f}" for value in means) + " |",
    ]


def row(name: str, errors: Errors) -> str:
    """Make a model's line of the table."""
    return f"| {name} | " + " | ".join(spread(getattr(errors, each.name)) for each in fields(Errors)) + " |"


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
    return (
        f"Seeds {SEED} and, for what a call takes, {FITTED_SEED}; {ROUNDS} rounds; {os.cpu_count()} processors, "
        f"mean load of 15 minutes {load:.1f}; {seconds:.0f} s."
    )


if __name__ == "__main__":
    main()
