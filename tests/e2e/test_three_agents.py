"""Any plan, not only an optimal one, computes on three agents what the whole model computes."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.grpc as triton

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
from profiles import read_site
from runtimes.client import AgentClient
from runtimes.local import LocalAgents
from tests.e2e.random_models import SHAPE, random_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from placer.models.graph import ModelGraph
    from placer.plan import Plan

SITE = """
format: placer.site/1.0
name: three
labels: [public]
zones: [{{name: all, sees: public, region: eu}}]
devices:
  - {{name: camera, profile: rpi4b_armnn, zone: all, memory_bytes: 1e9}}
  - {{name: box, profile: firefly_armnn_v22_11_opencl, zone: all, memory_bytes: 1e9}}
  - {{name: cloud, profile: xavier_power_0_fan_cool_armnn_v21_11_neon, zone: all, memory_bytes: 1e9}}
links:
  - {{from: camera, to: box, profile: ethernet_1g, latency_s: 0.0003, both_ways: true}}
  - {{from: box, to: cloud, profile: ethernet_1g, latency_s: 0.0003, both_ways: true}}
  - {{from: cloud, to: camera, profile: ethernet_1g, latency_s: 0.0003, both_ways: true}}
flows:
  - {{name: flow, source: camera, sink: {sink}, rate_hz: 1, label: public, stages: [{{name: m, model: {model}}}]}}
"""
DEVICES = ("camera", "box", "cloud")
SEEDS = range(16)
TFLITE = Path(__file__).parents[1] / "data" / "image_classification.tflite"


@dataclasses.dataclass(frozen=True)
class Case:
    plan: Plan
    graph: ModelGraph


@pytest.fixture(scope="module")
def addresses():
    with LocalAgents(DEVICES, options=["--no-isolation"]) as agents:
        yield agents.addresses


def hand_made(folder: Path, model: str, sink: str, device_of: Callable[[int, str], str]) -> Case:
    """Plan with every op where `device_of(its number, its name)` puts it, in its first mode there."""
    site = folder / "site.yaml"
    site.write_text(SITE.format(sink=sink, model=model))
    built, graphs = build_site(read_site(site))
    graph = graphs["flow"].stages["m"]
    index = ProblemIndex(built.problem)
    assignment = {}
    for number, op in enumerate(built.problem.flows[0].ops):
        wanted = op.options[0].device if len(op.options) == 1 else device_of(number, op.name)
        option = next(o for o in op.options if o.device == wanted)
        assignment[op.name] = (option.device, option.mode)
    choices = (index.choice_of(0, assignment),)
    found = Model(flow="flow", stage="m", path=str(graph.path), sha256=graph.sha256, inputs={})
    plan = assemble(index, choices, evaluate(index, choices), 0.0, built=built, name="hand-made", models=(found,))
    return Case(plan=plan, graph=graph)


def random_case(folder: Path, seed: int) -> Case:
    """A random model whose ops stand anywhere; neighbours in the file often stand together."""
    rng = np.random.default_rng(seed)
    onnx.save(random_model(rng), folder / "model.onnx")
    at = ["camera"]

    def device_of(number: int, name: str) -> str:
        if rng.random() < (0.9, 0.5, 0.2)[seed % 3]:
            at[0] = str(rng.choice(DEVICES))
        return at[0]

    return hand_made(folder, "model.onnx", ("camera", "cloud", "box")[seed % 3], device_of)


def outputs_of(case: Case, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(Path(case.graph.path).read_bytes())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def pass_through(case: Case, addresses: Mapping[str, str], feeds: list[dict[str, np.ndarray]]):
    deployment = assign(case.plan, load_models(case.plan), epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    return deployment, run(deployment, addresses, "flow", feeds, deadline_s=30)


def assert_equal(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert np.max(np.abs(found[name] - value)) <= 1e-4 * np.max(np.abs(value))


def pictures(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(99)
    return [{"x": rng.normal(size=SHAPE).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("seed", SEEDS)
def test_any_plan_of_any_model_gives_the_whole_models_outputs(tmp_path, addresses, seed):
    case = random_case(tmp_path, seed)
    assert decode_plan(encode_plan(case.plan)) == case.plan
    feeds = pictures(2)
    deployment, measured = pass_through(case, addresses, feeds)
    for feed, passage in zip(feeds, measured.passages, strict=True):
        assert_equal(passage.outputs, outputs_of(case, feed))
    rows = compare(case.plan, "flow", measured)
    assert {row.name for row in rows if row.kind == "segment"} == {s.name for s in case.plan.flow("flow").segments}
    hops = {(t.source, t.target) for t in case.plan.flow("flow").transfers}
    assert {tuple(row.where.split(" -> ")) for row in rows if row.kind == "hop"} == hops
    assert all(row.requests == len(feeds) for row in rows)
    assert sum(len(a.segments) for a in deployment.assignments.values()) == len(case.plan.flow("flow").segments)


def test_the_random_plans_are_as_odd_as_they_are_meant_to_be(tmp_path):
    odd = dict.fromkeys(["joined", "visited twice", "result elsewhere", "skipped", "several outputs"], 0)
    for seed in SEEDS:
        case = random_case(tmp_path, seed)
        flow = case.plan.flow("flow")
        assert flow.assignment["source"] == ("camera", "io")
        made_at = {f"m/{t}": flow.assignment[f"m/{op.name}"][0] for op in case.graph.ops for t in op.outputs}
        order = [s.device for s in sorted(flow.segments, key=lambda s: s.start_s)]
        changes = [b for a, b in pairwise(order) if a != b]
        odd["visited twice"] += len(changes) > len(set(changes))
        odd["joined"] += any(
            len({made_at.get(f"m/{t}", "camera") for t in op.inputs} - {flow.assignment[f"m/{op.name}"][0]}) > 1
            for op in case.graph.ops
        )
        odd["result elsewhere"] += flow.assignment["sink"][0] != "camera"
        odd["skipped"] += any(len({t.target for t in flow.transfers if t.tensor == x}) > 1 for x in made_at)
        odd["several outputs"] += len(case.graph.outputs) > 1
    assert min(odd.values()) >= 3, odd


def test_a_rehearsal_predicts_every_part_of_a_plan(tmp_path, addresses):
    case = random_case(tmp_path, seed=1)
    deployment, measured = pass_through(case, addresses, pictures(3))
    names = {d: [s.name for s in a.segments] for d, a in deployment.assignments.items()}
    device = max(names, key=lambda device: len(names[device]))
    with AgentClient(addresses[device]) as client:
        since = client.status().last_sequence
        found = rehearse(case.plan, deployment, addresses, "flow")
        ran = [o.segment for o in client.observations(since) if o.kind == "segment"]
    assert len(names[device]) > 1
    # Turn by turn: none runs again before the others have.
    assert ran == ran[: len(names[device])] * (len(ran) // len(names[device]))
    assert sorted(ran[: len(names[device])]) == sorted(names[device])
    assert found.segment_s.keys() == {s.name for s in case.plan.flow("flow").segments}
    assert found.latency_s > max(found.segment_s.values())
    assert found.client_s > 0
    for row in compare(case.plan, "flow", measured, found):
        assert row.predicted_s is not None
        assert row.predicted_s > 0


def test_a_tflite_model_runs_uncut_on_a_device_that_is_neither_source_nor_sink(tmp_path, addresses):
    from ai_edge_litert.interpreter import Interpreter

    (tmp_path / "model.tflite").write_bytes(TFLITE.read_bytes())
    case = hand_made(tmp_path, "model.tflite", "cloud", lambda number, name: "box")
    assert len(case.plan.flow("flow").segments) == 1
    (tensor,) = case.graph.inputs
    info = np.iinfo(tensor.dtype)
    feed = {tensor.name: np.random.default_rng(3).integers(info.min, info.max, tensor.shape, tensor.dtype)}
    _, measured = pass_through(case, addresses, [feed])
    whole = Interpreter(model_path=str(tmp_path / "model.tflite"), num_threads=1)
    whole.allocate_tensors()
    whole.set_tensor(whole.get_input_details()[0]["index"], feed[tensor.name])
    whole.invoke()
    (found,) = measured.passages[0].outputs.values()
    np.testing.assert_array_equal(found, whole.get_tensor(whole.get_output_details()[0]["index"]))


def test_another_makers_client_calls_the_plan_at_its_source(tmp_path, addresses):
    case = random_case(tmp_path, seed=0)  # its sink is its source, so the reply carries the outputs
    (feed,) = pictures(1)
    pass_through(case, addresses, [feed])
    wanted = outputs_of(case, feed)
    with triton.InferenceServerClient(addresses["camera"]) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("flow")
        given = triton.InferInput("x", list(SHAPE), "FP32")
        given.set_data_from_numpy(feed["x"])
        result = client.infer("flow", [given])
    assert_equal({name: result.as_numpy(name) for name in wanted}, wanted)
