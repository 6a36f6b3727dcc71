"""A stage with a cache: what a hit spares and what the look costs, one place for all of it, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from placer import rules
from placer.build import build
from placer.costs import Cost, CostTable
from placer.errors import Infeasible, ProblemError
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.models.flow_graph import lookup_op, whole_op
from placer.planning import read_flow
from placer.solver.solve import solve
from profiles import Cache, Declassify, Figure, Stage, Zone
from runtimes.cache import kept_bytes
from tests.oracles.brute_force import all_evaluations
from tests.placer import stages as small
from tests.placer import tflite_models as tflite
from tests.placer.test_build import site
from tests.placer.test_build_stages import costs, plant
from tests.profiles.build import figure

if TYPE_CHECKING:
    from pathlib import Path

    from placer.build import Built
    from placer.problem import Problem
    from profiles import Flow, Site

RATE = 1e6
CACHE = Cache(hits=0.6, memory_bytes=2000)
CAMERA = {stage: {"camera": ("slow", 0.001, 0.001)} for stage in ("shrink", "gate", "net")}
changed = msgspec.structs.replace


def with_cache(stage: int, cache: Cache | None = CACHE, **changes: object) -> Flow:
    """The flow of `tests.placer.stages` with a cache on one of its three."""
    stages = list(small.STAGES)
    stages[stage] = changed(stages[stage], cache=cache)
    return small.flow(tuple(stages), **changes)


def looking(given: Site) -> Site:
    devices = tuple(changed(d, lookup_bytes_per_s=figure(RATE), memory_bytes=None) for d in given.devices)
    return changed(given, devices=devices)


def built(folder: Path, flow: Flow, where: dict | None = None) -> Built:
    graph = small.joined(folder, flow.stages, flow.outputs)
    return build(looking(plant(flow)), {"look": graph}, {"look": costs(graph, where or {})})


def test_a_hit_spares_what_the_stage_computes_and_every_request_costs_the_look(tmp_path):
    outputs = ("shrink/small", "net/y")
    plain = built(tmp_path, with_cache(0, None, outputs=outputs), CAMERA).problem
    cached = built(tmp_path, with_cache(0, outputs=outputs), CAMERA).problem
    before, after = solve(plain).flow("look"), solve(cached).flow("look")
    # The two ops of the first stage are executed for 4 of 10; what comes after them is not seldomer for that. The
    # camera computes at 3 W in this mode, and idles at 2.
    look_s = small.SIZE / RATE
    assert before.energy_j - after.energy_j == pytest.approx(0.6 * 2 * 0.001 - look_s * (3.0 - 2.0))
    # The deadline is of a request whose result is not there.
    assert after.latency_s == pytest.approx(before.latency_s + look_s)
    shares = [{op.name: op.share for op in problem.flows[0].ops} for problem in (plain, cached)]
    looks = {lookup_op("shrink"): 1.0, whole_op("shrink"): pytest.approx(0.4)}
    assert {name: share for name, share in shares[1].items() if name.startswith("shrink/")} == looks
    assert shares[0] | looks == {name: shares[1].get(name, share) for name, share in (shares[0] | looks).items()}
    segments = {s.ops for s in after.segments}
    assert (lookup_op("shrink"), whole_op("shrink")) in segments


@pytest.mark.parametrize("hits", [0.0, 0.5, 0.99])
def test_joules_and_utilization_fall_as_the_hits_say_and_nothing_else(tmp_path, hits):
    def found(cache: Cache):
        index = ProblemIndex(built(tmp_path, with_cache(2, cache), CAMERA).problem)
        plan = solve(index.problem)
        return evaluate(index, (index.choice_of(0, plan.flow("look").assignment),))

    none, some = found(Cache(hits=0.0, memory_bytes=2000)), found(Cache(hits=hits, memory_bytes=2000))
    # A quarter of the data comes to the net, of three ops.
    assert none.flows[0].energy_j - some.flows[0].energy_j == pytest.approx(hits * 0.25 * 3 * 0.001)
    assert none.flows[0].latency_s == some.flows[0].latency_s
    assert none.device_utilization[0] - some.device_utilization[0] == pytest.approx(hits * 0.25 * 3 * 0.001)


def test_a_miss_has_to_keep_the_deadline(tmp_path):
    problem = built(tmp_path, with_cache(0), CAMERA).problem
    latency_s = solve(problem).flow("look").latency_s
    late = changed(problem, flows=(changed(problem.flows[0], deadline_s=latency_s * 0.999),))
    with pytest.raises(Infeasible, match=rules.deadline("look")):
        solve(late)
    assert solve(changed(problem, flows=(changed(late.flows[0], deadline_s=latency_s),))).status == "optimal"


def test_what_is_read_and_made_is_sent_with_every_request(tmp_path):
    """The first stage runs on the server: its picture comes there, and its thumbnail back, hit or miss."""
    where = CAMERA | {"shrink": {"server": ("cpu-fp32", 0.001, 0.001)}}
    plans = [solve(built(tmp_path, with_cache(0, cache), where).problem) for cache in (None, CACHE)]
    moved = [[(t.tensor, t.source, t.target, t.bytes) for t in p.flow("look").transfers] for p in plans]
    assert sorted(moved[0]) == sorted(moved[1]) != []
    spent = [[line.power_w for line in p.ledger.marginal if line.kind == "transfer"] for p in plans]
    assert sum(spent[0]) == pytest.approx(sum(spent[1]))


def op_costs(graph, joules: dict[tuple[str, str, str], float]) -> dict[str, CostTable]:
    """Cost the ops of the net by device and mode; the others run on the camera."""
    found = costs(graph, CAMERA)
    cost = {"seconds": 0.001, "origin": "fitted", "source": "s", "relative_uncertainty": None}
    found["net"] = CostTable(rows={key: Cost(joules=value, **cost) for key, value in joules.items()})
    return found


@pytest.mark.parametrize("second", [("camera", "fast"), ("server", "cpu-fp32")])
def test_a_stage_with_a_cache_is_on_one_device_in_one_mode(tmp_path, second):
    """Each op is cheap in one of two places; the cheapest plan would part them, and a cache keeps them together."""
    first = ("camera", "slow")
    joules = {
        (op, *place): 1.0 if (op == "conv") == (place == first) else 2.0
        for op in ("conv", "relu", "mean")
        for place in (first, second)
    }
    objectives = []
    for cache in (None, Cache(hits=0.0, memory_bytes=2000)):
        flow = with_cache(2, cache)
        graph = small.joined(tmp_path, flow.stages)
        problem = build(looking(plant(flow)), {"look": graph}, {"look": op_costs(graph, joules)}).problem
        links = tuple(changed(k, energy_j_per_byte=0.0, energy_j_per_transfer=0.0) for k in problem.links)
        devices = tuple(
            changed(d, segment_j=0.0, segment_s=0.0, starts=(), idle_w=0.0, always_on=True) for d in problem.devices
        )
        problem = changed(problem, links=links, devices=devices)
        plan = solve(problem)
        at = {op: place for op, place in plan.flow("look").assignment.items() if op.startswith("net/")}
        if cache is None:
            assert len(set(at.values())) == 2
        else:
            # The look may be in another mode: it is no part of the model.
            assert at.keys() == {lookup_op("net"), whole_op("net")}
            assert at[lookup_op("net")][0] == at[whole_op("net")][0]
        assert plan.objective == pytest.approx(min(e.objective for _, e in all_evaluations(problem) if e.feasible))
        objectives.append(plan.objective)
    # conv at 1 J where the others are 2 J, or the other way round: 5 or 4 J, a quarter of the time.
    assert objectives[1] - objectives[0] == pytest.approx(0.25 * 1.0, rel=0.05)


def test_what_is_kept_counts_against_the_memory_of_its_device(tmp_path):
    problem = built(tmp_path, with_cache(2, Cache(hits=0.5, memory_bytes=5000)), CAMERA).problem

    def with_memory(size_bytes: float) -> Problem:
        devices = tuple(changed(d, memory_bytes=size_bytes if d.name == "camera" else None) for d in problem.devices)
        return changed(problem, devices=devices)

    weights_bytes = 2 * 3 * 3 * 3 * 4
    # The convolution's, which reads a picture and makes two features of it.
    workspace_bytes = small.SIZE + small.SIZE * 2 // 3
    needed = 5000 + weights_bytes + workspace_bytes
    plan = solve(with_memory(needed + 100))
    assert {d for d, _ in plan.flow("look").assignment.values()} == {"camera"}
    with pytest.raises(Infeasible, match=rules.memory("camera")):
        solve(with_memory(needed - 100))


def test_a_stage_that_is_sampled_and_has_a_condition_has_all_three_shares(tmp_path):
    flow = with_cache(2)
    stages = (*flow.stages[:2], changed(flow.stages[2], every=2))
    (made,) = built(tmp_path, changed(flow, stages=stages)).problem.flows
    shares = {op.name: op.share for op in made.ops}
    assert shares["when net/x"] == 0.5
    assert shares[lookup_op("net")] == 0.5 * 0.25
    assert shares[whole_op("net")] == pytest.approx(0.5 * 0.25 * 0.4)
    # Its result comes as often as it is asked for.
    assert shares["sink"] == 0.5 * 0.25


def test_labels_are_those_without_a_cache(tmp_path):
    """The net's own features are public, its input is not: where it runs whole, the picture must be seen."""
    net = changed(small.STAGES[2], declassify=(Declassify(name="r", tensor="c", to="public"),))
    zones = (Zone(name="floor", sees="personal", region="eu"), Zone(name="cloud", sees="public", region="us"))
    where = {"net": {d: (m, 0.001, j) for d, m, j in (("camera", "slow", 0.01), ("server", "cpu-fp32", 1e-6))}}
    plans = []
    for cache in (None, CACHE):
        flow = small.flow((*small.STAGES[:2], changed(net, cache=cache)), label="personal")
        graph = small.joined(tmp_path, flow.stages)
        made = build(
            looking(site(zones=zones, flows=(flow,))), {"look": graph},
            {"look": costs(graph, {**CAMERA, **where})},
        )  # fmt: skip
        plans.append((made, solve(made.problem)))
    (plain, _), (cached, plan) = plans
    assert plain.privacy["look"].labels == cached.privacy["look"].labels
    assert plan.flow("look").assignment[whole_op("net")][0] == "camera"
    barred = {t.name: t.not_on for t in cached.problem.flows[0].tensors}
    assert barred["net/x"] == ("server",)


def test_weights_and_what_is_made_inside_bar_a_device_from_the_whole_stage(tmp_path):
    net = changed(small.STAGES[2], cache=CACHE, weights_label="personal")
    zones = (Zone(name="floor", sees="personal", region="eu"), Zone(name="cloud", sees="public", region="us"))
    flow = small.flow((*small.STAGES[:2], net))
    graph = small.joined(tmp_path, flow.stages)
    made = build(looking(site(zones=zones, flows=(flow,))), {"look": graph}, {"look": costs(graph, {})})
    (whole,) = (op for op in made.problem.flows[0].ops if op.name == whole_op("net"))
    assert {o.device for o in whole.options} == {"camera"}


def test_a_missing_rate_names_its_field(tmp_path):
    flow = with_cache(2)
    graph = small.joined(tmp_path, flow.stages)
    with pytest.raises(ProblemError) as refused:
        build(plant(flow), {"look": graph}, {"look": costs(graph, {})})
    assert "stages[2].cache: device 'camera' has no lookup_bytes_per_s" in str(refused.value)
    assert "give `lookup_bytes_per_s: NUMBER` of the device" in str(refused.value)
    # Who cannot run the stage need not have one.
    where = CAMERA | {"net": {"server": ("cpu-fp32", 0.001, 0.001)}}
    given = plant(flow)
    devices = (given.devices[0], changed(given.devices[1], lookup_bytes_per_s=figure(RATE), memory_bytes=None))
    assert build(changed(given, devices=devices), {"look": graph}, {"look": costs(graph, where)})


def test_a_figure_of_a_data_sheet_is_in_the_origin_of_its_device_s_joules(tmp_path):
    flow = with_cache(0)
    graph = small.joined(tmp_path, flow.stages)
    given = looking(plant(flow))

    def measured(value: float, origin: str = "measured") -> Figure:
        return Figure(value=value, source="s", origin=origin)

    def origin(of_rate: str) -> str:
        devices = tuple(
            changed(
                d,
                idle_w=measured(d.idle_w.value),
                modes=tuple(changed(m, active_w=measured(m.active_w.value)) for m in d.modes),
                lookup_bytes_per_s=measured(RATE, of_rate),
            )
            for d in given.devices
        )
        made = build(changed(given, devices=devices), {"look": graph}, {"look": costs(graph, {})})
        return made.origins["compute", "camera"]

    # Its ops' seconds are fitted.
    assert (origin("measured"), origin("spec"), origin("declared")) == ("fitted", "spec", "declared")


def test_a_memory_that_holds_no_result_is_refused(tmp_path):
    least = kept_bytes(1, 2 * 4)
    assert small.joined(tmp_path, with_cache(2, Cache(hits=0.5, memory_bytes=least)).stages)
    words = rf"stages\[2\].cache.memory_bytes: {least - 1} hold no single result, .*{least}"
    with pytest.raises(ProblemError, match=words):
        small.joined(tmp_path, with_cache(2, Cache(hits=0.5, memory_bytes=least - 1)).stages)


def test_an_input_that_is_handed_on_is_no_result(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    (tmp_path / "echo.onnx").write_bytes(
        small._model(nodes, {"x": small.PICTURE}, {"y": small.PICTURE, "x": small.PICTURE})
    )
    echo = Stage(name="echo", model="echo.onnx", reads={"x": "frame"}, cache=Cache(hits=0.5, memory_bytes=1e6))
    with pytest.raises(ProblemError, match=r"stages\[1\].cache: .* hands its input 'x' on as an output unchanged"):
        small.joined(tmp_path, (small.STAGES[0], echo))


def onnx_of(folder: Path, *nodes: onnx.NodeProto) -> str:
    (folder / "m.onnx").write_bytes(small._model(list(nodes), {"x": (2,)}, {"y": (2,)}))
    return "m.onnx"


def dropout(folder: Path) -> str:
    constants = [
        onnx.numpy_helper.from_array(np.array(0.5, np.float32), "ratio"),
        onnx.numpy_helper.from_array(np.array(True), "training"),
    ]
    node = helper.make_node("Dropout", ["x", "ratio", "training"], ["y"], "drop")
    (folder / "m.onnx").write_bytes(small._model([node], {"x": (2,)}, {"y": (2,)}, *constants))
    return "m.onnx"


def inside_a_loop(folder: Path) -> str:
    branches = []
    for name in ("then_branch", "else_branch"):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, (2,))
        node = helper.make_node("RandomNormalLike", ["x"], [name], f"noise in {name}")
        branches.append(helper.make_graph([node], name, [], [out]))
    flag = onnx.numpy_helper.from_array(np.array(True), "flag")
    nodes = [
        helper.make_node("If", ["flag"], ["n"], "choose", then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Add", ["n", "x"], ["y"], "add"),
    ]
    (folder / "m.onnx").write_bytes(small._model(nodes, {"x": (2,)}, {"y": (2,)}, flag))
    return "m.onnx"


def noise(folder: Path) -> str:
    return onnx_of(
        folder, helper.make_node("RandomNormalLike", ["x"], ["n"], "noise"),
        helper.make_node("Add", ["n", "x"], ["y"], "add"),
    )  # fmt: skip


def counter(folder: Path) -> str:
    """A variable tensor that each execution adds to."""
    tensors = [tflite.tensor("x", (1,)), tflite.tensor("sum", (1,)), tflite.tensor("y", (1,))]
    tensors[1].isVariable = True
    add = tflite.operator(0, [0, 1], [2], tflite.schema.AddOptionsT(), tflite.Options.AddOptions)
    tflite.write(folder / "m.tflite", [tflite.Builtin.ADD], [tflite.subgraph(tensors, [add], [0], [2])], [])
    return "m.tflite"


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (noise, "its RandomNormalLike node 'noise' draws numbers anew each time"),
        (inside_a_loop, "its RandomNormalLike node 'noise in else_branch' draws numbers"),
        (dropout, "its Dropout node 'drop' draws numbers"),
        (counter, "its variable 'sum' remembers what came before"),
    ],
)
def test_what_is_no_function_of_its_inputs_gets_no_cache(tmp_path, model, why):
    name = model(tmp_path)
    flow = small.flow((Stage(name="m", model=name),))
    assert read_flow(flow, tmp_path)
    with pytest.raises(ProblemError) as refused:
        read_flow(changed(flow, stages=(changed(flow.stages[0], cache=CACHE),)), tmp_path)
    assert str(refused.value).startswith("stages[0].cache: ")
    assert why in str(refused.value)
    assert str(refused.value).endswith("leave the cache out")
