"""The ends of a flow: data of several devices, outputs for several, and what of a site file cannot be meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from placer import rules
from placer.build import build
from placer.ends import is_endpoint, is_sink, is_source, sink_devices, source_devices
from placer.errors import Infeasible, ProblemError
from placer.fallbacks import add_fallbacks
from placer.solver.solve import solve
from profiles import Flow, Stage
from tests.placer import stages as small
from tests.placer.test_build import device, figure, mode, site
from tests.placer.test_build_stages import costs, plant

if TYPE_CHECKING:
    from pathlib import Path

    from placer.build import Built

STAGES = (
    Stage(name="shrink", model="thumbnail.onnx", reads={"picture": "frame"}),
    Stage(name="net", model="net.onnx", reads={"x": "other"}, inputs={"x": (1, 3, 8, 8)}),
)


def two(**changes: object) -> Flow:
    return small.flow(STAGES, **{"sources": {"other": "server"}, **changes})


def built(folder: Path, flow: Flow, wait_w: float = 0.0) -> Built:
    """A camera and a server like each other."""
    graph = small.joined(folder, flow.stages, flow.outputs)
    devices = tuple(
        device(name=name, wait_w=figure(wait_w), modes=(mode("slow", 3.0),)) for name in ("camera", "server")
    )
    where = {"camera": ("slow", 0.001, 0.001), "server": ("slow", 0.001, 0.001)}
    whole = msgspec.structs.replace(plant(flow), devices=devices)
    return build(whole, {"look": graph}, {"look": costs(graph, dict.fromkeys(graph.stages, where))})


def test_each_device_s_data_have_a_source_of_their_own(tmp_path):
    found = built(tmp_path, two(sinks={"net/y": "server"}))
    (flow,) = found.problem.flows
    ends = {op.name: op.options[0].device for op in flow.ops if is_endpoint(op.name)}
    assert ends == {
        "source": "camera", "source on server": "server", "sink": "camera", "sink on server": "server",
    }  # fmt: skip
    assert {t.name: t.producer for t in flow.tensors if is_source(t.producer)} == {
        "frame": "source", "other": "source on server",
    }  # fmt: skip
    assert {t.name: t.consumers[-1] for t in flow.tensors if any(map(is_sink, t.consumers))} == {
        "shrink/small": "sink", "net/y": "sink on server",
    }  # fmt: skip
    plan = solve(found.problem)
    # Nothing has to travel, so nothing does.
    assert plan.flow("look").transfers == ()
    assert source_devices(plan.flow("look"), flow) == {"frame": "camera", "other": "server"}
    assert sink_devices(plan.flow("look"), flow) == {"shrink/small": "camera", "net/y": "server"}


def test_the_deadline_holds_for_the_last_output(tmp_path):
    flow = two(sinks={"net/y": "server"})
    alone = solve(built(tmp_path, flow).problem).flow("look")
    longest = max(segment.end_s for segment in alone.segments)
    assert alone.latency_s == pytest.approx(longest)
    assert len({segment.device for segment in alone.segments}) == 2
    with pytest.raises(Infeasible):
        solve(built(tmp_path, msgspec.structs.replace(flow, deadline_s=longest * 0.9)).problem)


def test_seldom_outputs_have_sinks_of_their_own_on_each_device(tmp_path):
    stages = (*small.STAGES[:2], small.STAGES[2])
    flow = small.flow(stages, ("shrink/small", "gate/score", "net/y"), sinks={"net/y": "server"})
    (problem,) = built(tmp_path, flow).problem.flows
    # The server gets nothing more often than that, so it needs no other name.
    assert {op.name: op.share for op in problem.ops if is_sink(op.name)} == {"sink": 1.0, "sink on server": 0.25}
    flow = msgspec.structs.replace(flow, sinks={"net/y": "server", "gate/score": "server"})
    (problem,) = built(tmp_path, flow).problem.flows
    shares = {op.name: op.share for op in problem.ops if is_sink(op.name)}
    assert shares == {"sink": 1.0, "sink on server": 1.0, "sink 0.25 on server": 0.25}


def test_data_have_labels_of_their_own(tmp_path):
    graph = small.joined(tmp_path, STAGES)
    flow = msgspec.structs.replace(two(label="personal", labels={"other": "public"}), sink="camera")
    whole = site(flows=(flow,))
    found = build(whole, {"look": graph}, {"look": costs(graph, {})})
    barred = {t.name: t.not_on for t in found.problem.flows[0].tensors}
    assert barred["frame"] == ("server",)
    assert barred["other"] == barred["net/y"] == ()
    # What joins both would be as sensitive as the more sensitive; here the other one cannot be where it arises.
    wrong = msgspec.structs.replace(flow, labels={})
    problem = build(site(flows=(wrong,)), {"look": graph}, {"look": costs(graph, {})}).problem
    with pytest.raises(Infeasible) as refused:
        solve(problem)
    assert refused.value.conflict == (rules.kept_off("look", "server"),)


PLAIN = {"stages": (Stage(name="net", model="net.onnx", inputs={"x": (1, 3, 8, 8)}),)}
SEVERAL = {"stages": STAGES, "sources": {"other": "server"}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({**PLAIN, "sources": {"frame": "server"}}, "flows[0].sources.frame: no data are read so; known: x"),
        ({**PLAIN, "labels": {"frame": "public"}}, "flows[0].labels.frame: no data are read so"),
        ({**PLAIN, "sources": {"x": "server"}}, "flows[0].source: 'camera': no data arise there, as `sources` says"),
        ({**PLAIN, "sinks": {"net/z": "server"}}, "flows[0].sinks.net/z: that is no output that a sink gets"),
        ({**PLAIN, "sinks": {"net/y": "server"}}, "flows[0].sink: 'camera' gets no output"),
        ({**SEVERAL, "sinks": {"net/c": "server"}}, "flows[0].sinks.net/c: that is no output that a sink gets"),
    ],
)
def test_what_the_models_do_not_have_is_refused(tmp_path, changes, words):
    with pytest.raises(ProblemError, match=re.escape(words)):
        built(tmp_path, small.flow(**changes))


def test_who_needs_an_output_waits_for_it_and_nobody_else(tmp_path):
    def waits(**changes: object) -> list[float]:
        return [d.wait_w for d in built(tmp_path, two(**changes), 0.5).problem.devices]

    assert waits() == [0.5, 0.0]
    assert waits(sinks={"net/y": "server"}) == [0.5, 0.5]


def test_a_flow_cannot_do_without_any_of_its_sources(tmp_path):
    plan = add_fallbacks(solve(built(tmp_path, two()).problem))
    found = {fallback.lost: [u.reason for u in fallback.unserved] for fallback in plan.fallbacks}
    assert found[("server",)] == ["its data arise on 'server'"]
