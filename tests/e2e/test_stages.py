"""Any plan of any flow of stages computes on three agents what its models compute one after the other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from placer.assemble import assemble
from placer.deployment.assign import assign, load_models
from placer.deployment.compare import compare
from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.rehearse import rehearse
from placer.deployment.run import run
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.plan import Model, decode_plan, encode_plan
from placer.planning import build_site
from profiles import Flow, Stage, When, read_site, stage_order
from runtimes.client import AgentClient
from runtimes.local import LocalAgents
from tests.e2e.random_models import SHAPE, random_model
from tests.e2e.test_three_agents import DEVICES, SITE
from tests.placer import tflite_models as tflite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from placer.plan import Plan

replace = msgspec.structs.replace
SEEDS = range(12)
REQUESTS = 4
NUMBERS = int(np.prod(SHAPE))


@dataclasses.dataclass(frozen=True)
class Case:
    folder: Path
    flow: Flow
    plan: Plan


@pytest.fixture(scope="module")
def addresses():
    with LocalAgents(DEVICES) as agents:
        yield agents.addresses


def write_stage(folder: Path, rng: np.random.Generator, name: str) -> tuple[str, str, list[str]]:
    """Write a random ONNX model, or now and then a TFLite one: its file, its input and its outputs."""
    if rng.random() < 0.3:
        tensors = [tflite.tensor(t, SHAPE) for t in ("features", "doubled", "tripled")]
        operators = [tflite.add(0, 0, 1), tflite.add(0, 1, 2)]
        path = tflite.write(
            folder / f"{name}.tflite", [tflite.Builtin.ADD], [tflite.subgraph(tensors, operators, [0], [1, 2])]
        )
        return path.name, "features", ["doubled", "tripled"]
    model = random_model(rng, 5)
    onnx.save(model, folder / f"{name}.onnx")
    return f"{name}.onnx", "x", [output.name for output in model.graph.output]


def random_stages(folder: Path, rng: np.random.Generator) -> tuple[Stage, ...]:
    """Stages that read any earlier output or the source's data, some of them on a condition; in any order."""
    made = ["frame"]
    stages = []
    for i in range(int(rng.integers(2, 5))):
        file, taken, outputs = write_stage(folder, rng, f"s{i}")
        when = None
        if len(made) > 1 and rng.random() < 0.6:
            bound = {str(rng.choice(["at_least", "at_most"])): 0.0}
            tests = str(rng.choice(made[1:]))
            when = When(tensor=tests, element=int(rng.integers(NUMBERS)), share=0.5, **bound)
        stages.append(Stage(name=f"s{i}", model=file, reads={taken: str(rng.choice(made[-4:]))}, when=when))
        made += [f"s{i}/{output}" for output in outputs]
    every = rng.choice([1, 1, 1, 2, 4], len(stages))
    return tuple(replace(stages[i], every=int(every[i])) for i in rng.permutation(len(stages)))


def random_case(folder: Path, seed: int) -> Case:
    """A random flow of stages whose ops and conditions stand anywhere; neighbours often stand together."""
    rng = np.random.default_rng(seed)
    stages = random_stages(folder, rng)
    site_file = folder / "site.yaml"
    site_file.write_text(SITE.format(sink=("camera", "cloud", "box")[seed % 3], model="none"))
    site = read_site(site_file)
    made = [f"{s.name}/{o}" for s in stages for o in outputs_of(folder, s)]
    flow = replace(site.flows[0], stages=stages)
    if rng.random() < 0.5:
        # Every stage has to lead somewhere, so all of them are named.
        flow = replace(flow, outputs=tuple(str(o) for o in rng.permutation(made)))
    site = replace(site, flows=(flow,))
    built, graphs = build_site(site)
    index = ProblemIndex(built.problem)
    at, assignment = "camera", {}
    for op in built.problem.flows[0].ops:
        if len(op.options) > 1 and rng.random() < (0.9, 0.4, 0.1)[seed % 3]:
            at = str(rng.choice(DEVICES))
        wanted = op.options[0].device if len(op.options) == 1 else at
        option = next(o for o in op.options if o.device == wanted)
        assignment[op.name] = (option.device, option.mode)
    choices = (index.choice_of(0, assignment),)
    models = tuple(
        Model(
            flow=flow.name, stage=s.name, path=str(folder / s.model),
            sha256=graphs[flow.name].stages[s.name].sha256, reads=dict(s.reads), when=s.when, every=s.every,
            outputs=tuple(o.partition("/")[2] for o in flow.outputs if o.partition("/")[0] == s.name),
        )
        for s in stages
    )  # fmt: skip
    plan = assemble(index, choices, evaluate(index, choices), 0.0, built=built, name="hand-made", models=models)
    return Case(folder=folder, flow=flow, plan=decode_plan(encode_plan(plan)))


def outputs_of(folder: Path, stage: Stage) -> list[str]:
    if stage.model.endswith(".onnx"):
        return [o.name for o in onnx.load(folder / stage.model).graph.output]
    return ["doubled", "tripled"]


def whole(case: Case, frame: np.ndarray, turn: int) -> dict[str, np.ndarray]:
    """Run the whole models one after the other, each if it is its turn, its condition holds, and it has its input."""
    values = {"frame": frame}
    for stage in stage_order(case.flow.stages):
        ((name, origin),) = stage.reads.items()
        if origin not in values or turn % stage.every:
            continue
        if stage.when is not None:
            tested = values.get(stage.when.tensor)
            if tested is None:
                continue
            number = tested.reshape(-1)[stage.when.element]
            if not (number >= 0 if stage.when.at_least is not None else number <= 0):
                continue
        values |= {
            f"{stage.name}/{o}": v for o, v in run_alone(case.folder / stage.model, name, values[origin]).items()
        }
    return values


def run_alone(path: Path, name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path.read_bytes())
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {name: value}), strict=True))
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}


def frames() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    return [{"frame": rng.normal(size=SHAPE).astype(np.float32)} for _ in range(REQUESTS)]


def pass_through(case: Case, addresses: Mapping[str, str]):
    deployment = assign(case.plan, load_models(case.plan), epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    return deployment, run(deployment, addresses, "flow", frames(), deadline_s=30)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_plan_of_any_stages_gives_what_the_models_give_one_after_the_other(tmp_path, addresses, seed):
    case = random_case(tmp_path, seed)
    deployment, measured = pass_through(case, addresses)
    asked = [t.name for t in deployment.flow("flow").outputs]
    assert not case.flow.outputs or set(asked) == set(case.flow.outputs)
    for turn, (feed, passage) in enumerate(zip(frames(), measured.passages, strict=True)):
        wanted = {name: value for name, value in whole(case, feed["frame"], turn).items() if name in asked}
        assert set(passage.outputs) == set(wanted)
        assert set(passage.not_taken) == set(asked) - set(wanted)
        for name, value in wanted.items():
            assert np.max(np.abs(passage.outputs[name] - value)) <= 1e-4 * max(1e-3, np.max(np.abs(value)))
    rows = compare(case.plan, "flow", measured)
    assert {row.name for row in rows if row.kind == "segment"} <= {s.name for s in case.plan.flow("flow").segments}
    # Nothing is left open on the way: whoever waited for what does not come was told so.
    for device, address in addresses.items():
        with AgentClient(address) as client:
            assert client.status().open_requests == 0, device


def test_the_random_flows_are_as_odd_as_they_are_meant_to_be(tmp_path):
    odd = dict.fromkeys(["conditions", "sampled", "alone", "mixed", "chained", "partly taken", "with what it tests"], 0)
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        case = random_case(folder, seed)
        flow = case.plan.flow("flow")
        conditional = {s.name for s in case.flow.stages if s.when}
        odd["conditions"] += bool(conditional)
        odd["sampled"] += any(s.every > 1 for s in case.flow.stages)
        alone = [s for s in flow.segments if all(op.startswith("when ") for op in s.ops)]
        odd["alone"] += bool(alone)
        odd["with what it tests"] += any(
            any(op.startswith("when ") for op in s.ops) for s in flow.segments if s not in alone
        )
        odd["mixed"] += len({s.model.rpartition(".")[2] for s in case.flow.stages}) > 1
        odd["chained"] += any(s.when and s.when.tensor.partition("/")[0] in conditional for s in case.flow.stages)
        reached = {len(whole(case, feed["frame"], turn)) for turn, feed in enumerate(frames())}
        odd["partly taken"] += len(reached) > 1
    assert min(odd.values()) >= 2, odd


def test_a_rehearsal_predicts_a_flow_of_stages(tmp_path, addresses):
    case = random_case(tmp_path, seed=1)
    deployment, measured = pass_through(case, addresses)
    found = rehearse(case.plan, deployment, addresses, "flow")
    assert found.latency_s > 0
    rows = compare(case.plan, "flow", measured, found)
    for row in rows:
        if row.name == "flow, in part":
            assert (row.predicted_s, row.planned_s) == (None, None)
        else:
            assert row.predicted_s is not None
            assert row.predicted_s > 0
    assert sum(row.requests for row in rows if row.kind == "flow") == REQUESTS
