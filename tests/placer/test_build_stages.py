"""From stages to a problem: modes that keep stages apart, conditions and where they go, sinks by share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from onnx import helper

from placer import rules
from placer.build import CONDITION_MODE, build
from placer.costs import Cost, CostTable
from placer.ends import SINK, SOURCE, is_endpoint
from placer.errors import ProblemError
from placer.solver.solve import solve
from profiles import Declassify, Site, Stage, Zone
from tests.placer import stages as small
from tests.placer.test_build import site

if TYPE_CHECKING:
    from pathlib import Path

    from placer.build import Built
    from placer.models.flow_graph import FlowGraph
    from profiles import Flow

# Device to (seconds, joules) of one op, by stage; a stage that names no device can run nowhere.
EVERYWHERE = {"camera": ("slow", 0.001, 0.001), "server": ("cpu-fp32", 0.001, 0.001)}


def costs(graph: FlowGraph, where: dict[str, dict[str, tuple[str, float, float]]]) -> dict[str, CostTable]:
    return {
        stage: CostTable(
            rows={
                (op.name, device, mode): Cost(
                    seconds=seconds, joules=joules, origin="fitted", source="s", relative_uncertainty=None
                )
                for op in model.ops
                for device, (mode, seconds, joules) in where.get(stage, EVERYWHERE).items()
            }
        )
        for stage, model in graph.stages.items()
    }


def plant(flow: Flow) -> Site:
    """A camera and a server that may see everything, joined both ways; the flow of `tests.placer.stages`."""
    trusted = (Zone(name="floor", sees="personal", region="eu"), Zone(name="cloud", sees="personal", region="eu"))
    return site(zones=trusted, flows=(flow,))


def built(folder: Path, flow: Flow | None = None, where: dict | None = None) -> Built:
    flow = small.flow() if flow is None else flow
    graph = small.joined(folder, flow.stages, flow.outputs)
    return build(plant(flow), {"look": graph}, {"look": costs(graph, where or {})})


def test_each_stage_has_modes_of_its_own_so_that_no_segment_holds_two(tmp_path):
    (flow,) = built(tmp_path).problem.flows
    modes = {op.name: {(o.device, o.mode) for o in op.options} for op in flow.ops}
    assert modes["shrink/pool"] == {("camera", "slow (shrink)"), ("server", "cpu-fp32 (shrink)")}
    assert modes["gate/mean_0"] == {("camera", "slow (gate)"), ("server", "cpu-fp32 (gate)")}
    # A condition goes with the stage whose number it looks at.
    assert modes["when net/x"] == modes["gate/mean_0"]
    plan = solve(built(tmp_path).problem)
    assert [{op.partition("/")[0] for op in s.ops} for s in plan.flow("look").segments] == [
        {"shrink"}, {"gate", "when net"}, {"net"},
    ]  # fmt: skip


def test_a_device_that_cannot_run_the_tested_stage_can_still_look_at_its_number(tmp_path):
    (flow,) = built(tmp_path, where={"gate": {"server": EVERYWHERE["server"]}}).problem.flows
    (condition,) = (op for op in flow.ops if op.name == "when net/x")
    assert {(o.device, o.mode, o.seconds, o.joules) for o in condition.options} == {
        ("camera", CONDITION_MODE, 0.0, 0.0), ("server", "cpu-fp32 (gate)", 0.0, 0.0),
    }  # fmt: skip


def test_outputs_of_different_shares_have_sinks_of_their_own(tmp_path):
    (flow,) = built(tmp_path, small.flow(outputs=("net/y", "gate/score"))).problem.flows
    shares = {op.name: op.share for op in flow.ops}
    assert [name for name in shares if is_endpoint(name)] == [SOURCE, SINK, f"{SINK} 0.25"] or [
        name for name in shares if is_endpoint(name)
    ] == [SOURCE, f"{SINK} 0.25", SINK]
    assert (shares[SOURCE], shares[SINK], shares[f"{SINK} 0.25"]) == (1.0, 1.0, 0.25)
    assert {t.name: t.consumers for t in flow.tensors}["net/y"] == (f"{SINK} 0.25",)
    # Where all come as seldom, there is one.
    (flow,) = built(tmp_path).problem.flows
    assert {op.name: op.share for op in flow.ops if is_endpoint(op.name)} == {SOURCE: 1.0, SINK: 0.25}
    assert {op.name: op.share for op in flow.ops}["when net/x"] == 1.0


def test_outputs_whose_shares_differ_by_rounding_alone_have_one_sink(tmp_path):
    """A tenth of a fifth is not quite the hundredth's double that another condition names."""
    shrink, gate, net = small.STAGES
    stages = (
        shrink,
        gate,
        *(
            msgspec.structs.replace(
                net, name=name, when=msgspec.structs.replace(net.when, tensor=tensor, element=0, share=share)
            )
            for name, tensor, share in (("a", "gate/score", 0.1), ("b", "a/y", 0.2), ("c", "gate/score", 0.02))
        ),
    )
    assert 0.1 * 0.2 != 0.02
    (flow,) = built(tmp_path, small.flow(stages, ("gate/score", "b/y", "c/y"))).problem.flows
    assert {op.name: op.share for op in flow.ops if is_endpoint(op.name)} == {
        SOURCE: 1.0, SINK: 1.0, f"{SINK} 0.02": 0.1 * 0.2,
    }  # fmt: skip
    # Also where it is the largest.
    (flow,) = built(tmp_path, small.flow(stages, ("b/y", "c/y"))).problem.flows
    assert {op.name: op.share for op in flow.ops if is_endpoint(op.name)} == {SOURCE: 1.0, SINK: 0.1 * 0.2}


def test_joules_count_shares_and_the_deadline_holds_on_the_longest_path(tmp_path):
    only_camera = {stage: {"camera": ("slow", 0.001, 0.001)} for stage in ("shrink", "gate", "net")}
    made = built(tmp_path, where=only_camera)
    plan = solve(made.problem)
    camera = made.problem.devices[0]
    flow = plan.flow("look")
    # Two ops of the first stage, one of the gate, and a quarter of three of the net; so too its segment's start.
    computed_j = 0.001 * (2 + 1 + 0.25 * 3)
    assert flow.energy_j == pytest.approx(computed_j + camera.segment_j * 2.25)
    assert flow.latency_s == pytest.approx(6 * 0.001 + 3 * camera.segment_s)
    late = msgspec.structs.replace(made.problem.flows[0], deadline_s=flow.latency_s * 0.99)
    refused = msgspec.structs.replace(made.problem, flows=(late,))
    with pytest.raises(Exception, match=rules.deadline("look")):
        solve(refused)


def test_data_are_held_back_where_they_are_unless_the_deadline_has_them_sent_ahead(tmp_path):
    """The gate runs on the server and the net too; the picture's bytes are dear, and its way is long."""
    server = {"server": ("cpu-fp32", 1e-6, 1e-6)}
    where = {"shrink": {"camera": ("slow", 1e-6, 1e-6)}, "gate": server, "net": server}
    held = built(tmp_path, small.flow(sink="server"), where).problem
    # Starts are free here: dear ones would keep the condition with the gate.
    held = msgspec.structs.replace(
        held,
        devices=tuple(
            msgspec.structs.replace(d, memory_bytes=None, segment_j=0.0, segment_s=0.0, starts=()) for d in held.devices
        ),
    )
    plan = solve(held)
    assert plan.flow("look").assignment["when net/x"][0] == "camera"
    ways = {(t.tensor, t.source, t.target) for t in plan.flow("look").transfers}
    assert {("gate/score", "server", "camera"), ("net/x", "camera", "server")} <= ways
    there, back = held.links
    # A picture in four is sent, for a score that always comes back.
    spared_j = 0.75 * (there.energy_j_per_transfer + small.SIZE * there.energy_j_per_byte)
    spared_j -= back.energy_j_per_transfer + 4 * back.energy_j_per_byte
    hurried = msgspec.structs.replace(held.flows[0], deadline_s=plan.flow("look").latency_s - 1e-4)
    ahead = solve(msgspec.structs.replace(held, flows=(hurried,)))
    assert ahead.flow("look").assignment["when net/x"][0] == "server"
    assert ("frame", "camera", "server") in {(t.tensor, t.source, t.target) for t in ahead.flow("look").transfers}
    assert ahead.flow("look").latency_s < plan.flow("look").latency_s
    assert ahead.objective - plan.objective == pytest.approx(spared_j)


def test_labels_go_from_stage_to_stage_and_a_score_keeps_what_it_lets_go(tmp_path):
    shrink, gate, net = small.STAGES
    personal = small.flow(label="personal")
    labels = built(tmp_path, personal).privacy["look"].labels
    assert set(labels.values()) == {"personal"}
    lowered = msgspec.structs.replace(shrink, declassify=(Declassify(name="r", tensor="small", to="public"),))
    labels = built(tmp_path, small.flow((lowered, gate, net), label="personal")).privacy["look"].labels
    assert (labels["shrink/small"], labels["gate/score"], labels["net/x"]) == ("public", "public", "personal")
    # What is public by itself is as sensitive as the number that lets it go.
    stages = (
        lowered,
        msgspec.structs.replace(shrink, name="raw"),
        msgspec.structs.replace(gate, reads={"small": "raw/small"}),
        msgspec.structs.replace(gate, name="behind", when=net.when),
    )
    labels = built(tmp_path, small.flow(stages, label="personal")).privacy["look"].labels
    assert (labels["shrink/small"], labels["gate/score"]) == ("public", "personal")
    assert labels["behind/small"] == labels["behind/score"] == "personal"


def test_what_a_stage_reads_is_declassified_where_it_is_made(tmp_path):
    shrink, gate, net = small.STAGES
    lowered = msgspec.structs.replace(gate, declassify=(Declassify(name="r", tensor="small", to="public"),))
    with pytest.raises(ProblemError, match=r"'small' is what the stage 'gate' reads from 'shrink/small'"):
        built(tmp_path, small.flow((shrink, lowered, net), label="personal"))


def test_sampling_is_a_share_that_no_op_has_to_decide(tmp_path):
    shrink, gate, net = small.STAGES
    sampled = (shrink, msgspec.structs.replace(gate, every=2), msgspec.structs.replace(net, every=4))
    (flow,) = built(tmp_path, small.flow(sampled, ("shrink/small", "gate/score", "net/y"))).problem.flows
    shares = {op.name: op.share for op in flow.ops}
    assert shares["shrink/pool"] == 1.0
    assert shares["gate/mean_0"] == 0.5
    # One of four, of those that the gate has looked at too; and of these the condition's share goes on.
    assert shares["when net/x"] == 0.25
    assert shares["net/conv"] == shares["net/mean"] == 0.25 * 0.25
    assert {name: share for name, share in shares.items() if is_endpoint(name)} == {
        "source": 1.0, "sink": 1.0, "sink 0.5": 0.5, "sink 0.0625": 0.0625,
    }  # fmt: skip


def test_what_is_sampled_twice_is_as_seldom_as_the_rarer_of_both(tmp_path):
    shrink, gate, _ = small.STAGES
    for first, second in ((2, 4), (4, 2), (4, 1)):
        stages = (msgspec.structs.replace(shrink, every=first), msgspec.structs.replace(gate, every=second))
        (flow,) = built(tmp_path, small.flow(stages)).problem.flows
        shares = {op.name: op.share for op in flow.ops}
        assert (shares["shrink/pool"], shares["gate/mean_0"]) == (1 / first, 1 / max(first, second))


def test_what_a_model_hands_on_unchanged_cannot_be_sampled(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    (tmp_path / "echo.onnx").write_bytes(
        small._model(nodes, {"x": small.PICTURE}, {"y": small.PICTURE, "x": small.PICTURE})
    )
    stages = (small.STAGES[0], Stage(name="echo", model="echo.onnx", reads={"x": "frame"}, every=2))
    with pytest.raises(ProblemError, match=r"stages\[1\].every: .* hands its input 'x' on as an output unchanged"):
        built(tmp_path, small.flow(stages))
