"""What agents run and send of a flow with conditions costs no more than a plan charges, and as much where exact."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from placer.assemble import assemble
from placer.deployment.assign import assign, load_models
from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.run import run
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.plan import Model
from placer.planning import build_site
from profiles import Stage, When, read_site
from runtimes.client import AgentClient
from runtimes.local import LocalAgents
from tests.e2e.test_three_agents import DEVICES, SITE
from tests.placer import stages as small

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

replace = msgspec.structs.replace
REQUESTS = 8
CASCADE = {"shrink": "camera", "when net": "camera", "net": "box", "deep": "box"}
JOIN = {"shrink": "camera", "when net": "camera", "net": "box", "fuse": "cloud", "fuse/add": "box"}


@pytest.fixture(scope="module")
def addresses():
    with LocalAgents(DEVICES, options=["--no-isolation"]) as agents:
        yield agents.addresses


def frames() -> tuple[list[dict[str, np.ndarray]], float]:
    """Eight frames: two pass the first condition, one of them the second, whose bound is returned too."""
    net = onnxruntime.InferenceSession(small.net())
    base = np.random.default_rng(5).uniform(0.5, 1.0, small.PICTURE).astype(np.float32)
    (y,) = net.run(None, {"x": base})
    element = y.reshape(-1)[0]
    assert element > 0
    scales = [-1, -1, 1, -1, -1, 2, -1, -1]
    return [{"frame": base * np.float32(scale)} for scale in scales], float(element) * 1.5


def fuse() -> bytes:
    """`p`'s means plus `q`: `z`, [1, 2]."""
    weights = onnx.numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["p", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["c"], ["m"], "mean", axes=[2, 3], keepdims=0),
        helper.make_node("Add", ["m", "q"], ["z"], "add"),
    ]
    ends = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in side.items()]
        for side in ({"p": small.PICTURE, "q": (1, 2)}, {"z": (1, 2)})
    ]
    graph = helper.make_graph(nodes, "g", *ends, [weights])
    opsets = [helper.make_opsetid("", 13)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def counts(
    folder: Path, addresses: Mapping[str, str], last: tuple[Stage, ...], places: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """Serve the frames with a plan of these places; return what is charged and what was counted.

    Keys are segments, for their executions, and routes, for their bytes.
    """
    small.write_models(folder)
    (folder / "fuse.onnx").write_bytes(fuse())
    feeds, _ = frames()
    (folder / "site.yaml").write_text(SITE.format(sink="camera", model="none"))
    site = read_site(folder / "site.yaml")
    first = replace(small.STAGES[2], when=When(tensor="shrink/small", element=0, at_least=0.0, share=0.25))
    stages = (small.STAGES[0], first, *last)
    output = {"net": "y", "deep": "y", "fuse": "z"}
    outputs = ("shrink/small", *(f"{s.name}/{output[s.name]}" for s in stages[1:]))
    flow = replace(site.flows[0], stages=stages, outputs=outputs)
    built, graphs = build_site(replace(site, flows=(flow,)))
    index = ProblemIndex(built.problem)
    assignment = {}
    for op in built.problem.flows[0].ops:
        wanted = places.get(op.name) or places.get(op.name.partition("/")[0]) or "camera"
        option = next(o for o in op.options if o.device == wanted)
        assignment[op.name] = (option.device, option.mode)
    choices = (index.choice_of(0, assignment),)
    found = evaluate(index, choices)
    models = tuple(
        Model(
            flow=flow.name, stage=s.name, path=str(folder / s.model),
            sha256=graphs[flow.name].stages[s.name].sha256, reads=dict(s.reads), when=s.when, every=s.every,
            outputs=tuple(o.partition("/")[2] for o in outputs if o.partition("/")[0] == s.name),
        )
        for s in stages
    )  # fmt: skip
    plan = assemble(index, choices, found, 0.0, built=built, name="hand-made", models=models)
    deployment = assign(plan, load_models(plan), epoch=next_epoch(addresses))
    since = {}
    for device, address in addresses.items():
        with AgentClient(address) as client:
            since[device] = max((o.sequence for o in client.observations()), default=0)
    deploy(deployment, addresses)
    run(deployment, addresses, flow.name, feeds, deadline_s=20)
    counted: Counter[str] = Counter()
    for device, address in addresses.items():
        with AgentClient(address) as client:
            for o in client.observations(since[device]):
                route = f"{device} after {o.segment!r} to {o.to}"
                counted[o.segment if o.kind == "segment" else route] += 1 if o.kind == "segment" else o.bytes
    layout = found.flows[0].layout
    names = [d.name for d in index.devices]
    charged: Counter[str] = Counter()
    for segment, laid in zip(plan.flow(flow.name).segments, layout.segments, strict=True):
        charged[segment.name] += REQUESTS * laid.share
    for device, part in deployment.assignments.items():
        for route in part.routes:
            for t in layout.transfers:
                tensor = built.problem.flows[0].tensors[t.tensor].name
                if (names[t.source], names[t.target]) == (device, route.to) and tensor in route.tensors:
                    charged[f"{device} after {route.after!r} to {route.to}"] += REQUESTS * t.share * t.bytes
    assert counted.keys() <= charged.keys()
    return {name: (charged[name], counted[name]) for name in charged}


@pytest.mark.parametrize("decides", ["camera", "box"])
def test_a_picture_that_waits_for_a_seldom_stage_s_number_is_charged_as_often_as_it_is_sent(
    tmp_path, addresses, decides
):
    _, bound = frames()
    deep = Stage(
        name="deep", model="net.onnx", reads={"x": "frame"},
        when=When(tensor="net/y", element=0, at_least=bound, share=0.5),
    )  # fmt: skip
    found = counts(tmp_path, addresses, (deep,), {**CASCADE, "when deep": decides})
    assert all(charged >= counted for charged, counted in found.values()), found
    if decides == "box":
        # The picture goes ahead with every request.
        assert found["camera after '' to box"] == (REQUESTS * small.SIZE,) * 2
    else:
        assert found["camera after 'when deep/x' to box"] == (small.SIZE,) * 2
    assert found["camera after 'when net/x' to box"] == (2 * small.SIZE,) * 2
    assert next(iter(found.values())) == (REQUESTS, REQUESTS)


def test_what_is_made_for_every_request_and_joined_with_seldom_data_is_charged_as_often_as_it_is_made(
    tmp_path, addresses
):
    fused = Stage(name="fuse", model="fuse.onnx", reads={"p": "frame", "q": "net/y"})
    found = counts(tmp_path, addresses, (fused,), JOIN)
    assert all(charged >= counted for charged, counted in found.values()), found
    assert found["camera after '' to cloud"] == (REQUESTS * small.SIZE,) * 2
    (made,) = (pair for name, pair in found.items() if name.startswith("cloud after") and name.endswith("to box"))
    assert made == (REQUESTS * 8,) * 2
    assert (REQUESTS, 2) in found.values(), "only the join itself is charged too high"


@pytest.mark.parametrize("deep", ["camera", "box", "cloud"])
def test_what_is_sampled_is_charged_as_often_as_it_is_sent_and_run(tmp_path, addresses, deep):
    stage = Stage(name="deep", model="net.onnx", reads={"x": "frame"}, every=4)
    found = counts(tmp_path, addresses, (stage,), {**CASCADE, "deep": deep})
    assert all(charged == counted for charged, counted in found.values()), found
    assert (2, 2) in found.values(), "the sampled segment, and the one behind the condition"
    if deep == "cloud":
        assert found["camera after '' to cloud"] == (2 * small.SIZE,) * 2
