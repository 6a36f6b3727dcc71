"""Data of two devices through any plan of one model to several devices: what the whole model computes, everywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from examples.watch_model import PICTURE, SOUND, watch
from placer.assemble import assemble
from placer.deployment.assign import assign, load_models
from placer.deployment.compare import compare
from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.rehearse import rehearse
from placer.deployment.run import run
from placer.ends import is_endpoint
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.plan import Model, decode_plan, encode_plan
from placer.planning import build_site
from profiles import read_site
from runtimes.client import AgentClient
from runtimes.local import LocalAgents
from tests.e2e.test_three_agents import DEVICES, SITE, assert_equal

SEEDS = range(6)
MODEL = Path(__file__).parents[2] / "examples" / "watch.onnx"
ENDS = "sources: {{sound: {mic}}}, sinks: {{m/alarm: {panel}}}, stages"


@pytest.fixture(scope="module")
def addresses():
    with LocalAgents(DEVICES, options=["--no-isolation"]) as agents:
        yield agents.addresses


def feeds(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    return [{"picture": rng.random(PICTURE, np.float32), "sound": rng.random(SOUND, np.float32)} for _ in range(count)]


def random_plan(folder: Path, seed: int):
    """Ends on devices that are drawn, and ops anywhere; neighbours in the file often stand together."""
    rng = np.random.default_rng(seed)
    shutil.copy(MODEL, folder / "watch.onnx")
    mic, panel, sink = (str(rng.choice(names)) for names in (DEVICES[1:], DEVICES, DEVICES))
    ends = ENDS.format(mic=mic, panel=panel)
    site = SITE.format(sink=sink, model="watch.onnx").replace("stages", ends)
    (folder / "site.yaml").write_text(site.replace("memory_bytes", "wait_w: 0, memory_bytes"))
    built, graphs = build_site(read_site(folder / "site.yaml"))
    index = ProblemIndex(built.problem)
    at, assignment = "camera", {}
    for op in built.problem.flows[0].ops:
        if rng.random() < 0.4:
            at = str(rng.choice(DEVICES))
        wanted = op.options[0].device if is_endpoint(op.name) else at
        option = next(o for o in op.options if o.device == wanted)
        assignment[op.name] = (option.device, option.mode)
    choices = (index.choice_of(0, assignment),)
    graph = graphs["flow"].stages["m"]
    model = Model(flow="flow", stage="m", path=str(graph.path), sha256=graph.sha256, inputs={})
    plan = assemble(index, choices, evaluate(index, choices), 0.0, built=built, name="hand-made", models=(model,))
    return decode_plan(encode_plan(plan)), (mic, panel, sink)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_plan_joins_what_two_devices_see_and_hear(tmp_path, addresses, seed):
    plan, (mic, panel, sink) = random_plan(tmp_path, seed)
    deployment = assign(plan, load_models(plan), epoch=next_epoch(addresses))
    flow = deployment.flow("flow")
    assert flow.sources == {"sound": mic}
    assert flow.sinks == ({"alarm": panel} if panel != sink else {})
    deploy(deployment, addresses)
    given = feeds(2)
    measured = run(deployment, addresses, "flow", given, deadline_s=30)
    session = onnxruntime.InferenceSession(MODEL.read_bytes())
    for feed, passage in zip(given, measured.passages, strict=True):
        wanted = dict(zip(("alarm", "summary"), session.run(["alarm", "summary"], feed), strict=True))
        assert_equal(passage.outputs, wanted)
    rehearsed = rehearse(plan, deployment, addresses, "flow")
    rows = compare(plan, "flow", measured, rehearsed)
    hops = {row.where for row in rows if row.kind == "hop"}
    assert hops == {f"{t.source} -> {t.target}" for t in plan.flow("flow").transfers}
    assert all(row.predicted_s for row in rows)
    for address in addresses.values():
        with AgentClient(address) as client:
            assert client.status().open_requests == 0


def test_the_draws_are_as_different_as_they_are_meant_to_be(tmp_path):
    ends = set()
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        ends.add(random_plan(folder, seed)[1])
    assert len(ends) >= 5
    assert any(panel != sink for _, panel, sink in ends)
    assert any(panel == sink for _, panel, sink in ends)


def test_the_example_s_model_is_what_its_script_writes():
    assert MODEL.read_bytes() == watch()
