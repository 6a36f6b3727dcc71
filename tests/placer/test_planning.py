"""The demo's site from file to plan, from plan to assignments, and what was measured set beside it."""

from __future__ import annotations

import random
from importlib import resources
from pathlib import Path

import msgspec
import onnx.parser
import pytest

from placer.deployment.assign import assign, load_models
from placer.deployment.compare import compare
from placer.deployment.rehearse import Rehearsal
from placer.deployment.run import Measured, Passage
from placer.ends import SINK, SOURCE
from placer.errors import ProblemError
from placer.plan import Plan, decode_plan, encode_plan
from placer.planning import build_site, plan_site, read_model
from profiles import Declassify, ProfileError, Stage, read_site
from runtimes.observation import Observation

replace = msgspec.structs.replace
DEMO = Path(str(resources.files("placer") / "demo_data"))
FLOW = "inspect"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_site(DEMO / "site.yaml")


def test_the_demo_s_plan_is_proven_and_spreads_over_devices(plan: Plan) -> None:
    assert plan.status == "optimal"
    assert plan.name == "page scanner"
    assert len(plan.flow(FLOW).devices) > 1
    assert plan.models[0].sha256 == read_model(plan.models[0].path, plan.models[0].inputs).sha256
    assert decode_plan(encode_plan(plan)) == plan


def test_progress_is_told_in_words() -> None:
    lines: list[str] = []
    built, graphs = build_site(read_site(DEMO / "site.yaml"), progress=lines.append)
    assert any(line.startswith("reading") for line in lines)
    assert any(line.startswith("costing") for line in lines)
    assert set(graphs) == {f.name for f in built.problem.flows}


def test_without_its_rule_the_demo_s_plan_is_cheaper_and_elsewhere(plan: Plan) -> None:
    site = read_site(DEMO / "site.yaml")
    open_zones = tuple(replace(z, sees="personal", region="eu") for z in site.zones)
    free = plan_site(replace(site, zones=open_zones))
    assert free.objective < plan.objective
    assert free.flows[0].assignment != plan.flows[0].assignment


@pytest.mark.parametrize(("name", "message"), [("model.pb", "names no model format"), ("none.onnx", "none.onnx")])
def test_a_model_that_cannot_be_read_is_named(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=message):
        read_model(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "none.onnx"}, r"stages\[0\].model: .*none.onnx: cannot read"),
        ({"reads": {"x": "frame", "y": "frame"}}, r"stages\[0\].reads: .*has no input 'y'"),
        ({"declassify": (Declassify(name="r", tensor="t", to="features"),)}, r"stages\[0\].declassify\[0\].tensor: "),
    ],
)
def test_what_is_wrong_with_a_flow_s_models_names_the_field_of_the_site(change: object, message: str) -> None:
    site = read_site(DEMO / "site.yaml")
    (flow,) = site.flows
    wrong = replace(flow, name="other", stages=(replace(flow.stages[0], **change),))  # type: ignore[arg-type]
    with pytest.raises(ProblemError, match=rf"site\.yaml: flows\[1\]\.{message}"):
        build_site(replace(site, flows=(flow, wrong)))


def test_a_model_that_no_device_computes_names_the_field_of_the_site() -> None:
    site = read_site(DEMO / "site.yaml")
    int8 = tuple(replace(d, modes=tuple(replace(m, numeric="int8") for m in d.modes)) for d in site.devices)
    with pytest.raises(ProblemError, match=r"site\.yaml: flows\[0\]\.stages\[0\]\.model: .* computes in fp32, but no"):
        build_site(replace(site, devices=int8))


def test_an_output_that_is_a_constant_is_refused_and_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y, float[2] c) '
            "{ c = Constant <value = float[2] {1, 2}> () y = Neg (x) }"
        ).SerializeToString()
    )
    site = read_site(DEMO / "site.yaml")
    flow = replace(site.flows[0], stages=(Stage(name="m", model=str(tmp_path / "m.onnx")),))
    with pytest.raises(
        ProblemError, match=r"flows\[0\]\.stages\[0\]\.model: .*m.onnx: op 'c' reads nothing .*`outputs`"
    ):
        build_site(replace(site, flows=(flow,)))
    named = replace(flow, stages=(replace(flow.stages[0], reads={"x": "x"}),), outputs=("m/y",))
    built, _ = build_site(replace(site, flows=(named,)))
    assert [op.name for op in built.problem.flows[0].ops] == [SOURCE, "m/y", SINK]


def test_a_missing_site_is_a_profile_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"site\.yaml"):
        plan_site(tmp_path / "site.yaml")


# --- assignments ---------------------------------------------------------------------------------------------------


def test_every_segment_is_assigned_once_where_the_plan_says(plan: Plan) -> None:
    deployment = assign(plan, load_models(plan), epoch=7)
    (flow,) = plan.flows
    there = {(s.name, device) for device, a in deployment.assignments.items() for s in a.segments}
    assert there == {(s.name, s.device) for s in flow.segments}
    assert set(deployment.assignments) == {_place(plan, SOURCE), *(s.device for s in flow.segments), _place(plan, SINK)}
    for device, assignment in deployment.assignments.items():
        assert (assignment.device, assignment.epoch, assignment.plan) == (device, 7, plan.identity)
        for segment in assignment.segments:
            assert len(deployment.blobs[segment.blob]) == segment.blob_bytes


def _place(plan: Plan, op: str) -> str:
    """Device of an op of the demo's flow."""
    return plan.flows[0].assignment[op][0]


def test_routes_carry_exactly_the_plan_s_transfers(plan: Plan) -> None:
    graphs = load_models(plan)
    deployment = assign(plan, graphs)
    (flow,) = plan.flows
    routed = [(d, r.to, t) for d, a in deployment.assignments.items() for r in a.routes for t in r.tensors]
    planned = [(t.source, t.target, t.tensor.removeprefix(f"{plan.models[0].stage}/")) for t in flow.transfers]
    assert sorted(routed) == sorted(planned)
    largest = max(graphs[FLOW].tensors[t.tensor].bytes for t in flow.transfers)
    assert all(a.max_message_bytes > largest for a in deployment.assignments.values())
    # One message per producing segment and receiver.
    keys = [(d, r.after, r.to) for d, a in deployment.assignments.items() for r in a.routes]
    assert len(keys) == len(set(keys))


def test_segments_read_and_make_what_the_plan_moves(plan: Plan) -> None:
    deployment = assign(plan, load_models(plan))
    made = {t.name for a in deployment.assignments.values() for s in a.segments for t in s.outputs}
    (graph,) = load_models(plan)[FLOW].stages.values()
    for assignment in deployment.assignments.values():
        for segment in assignment.segments:
            assert {t.name for t in segment.inputs} <= made | {t.name for t in graph.inputs}
    assert {t.name for t in graph.outputs} <= made


def test_a_model_that_changed_since_is_refused(plan: Plan) -> None:
    changed = replace(plan, models=(replace(plan.models[0], sha256="0" * 64),))
    lost = replace(plan, models=(replace(plan.models[0], path="lost.onnx"),))
    with pytest.raises(ProblemError, match=rf"^flow '{FLOW}': stages\[0\].model: lost.onnx: cannot read"):
        load_models(lost)
    with pytest.raises(ProblemError, match=r"has changed since the plan was made.*run `placer plan` again"):
        load_models(changed)


def test_a_plan_of_a_bare_problem_cannot_be_deployed(plan: Plan) -> None:
    with pytest.raises(ProblemError, match="names no model files"):
        load_models(replace(plan, models=()))


# --- what was measured ---------------------------------------------------------------------------------------------


def _measured(plan: Plan, *, missing: str = "") -> tuple[Measured, dict[str, list[float]]]:
    """Observations of eleven requests: each segment takes 1 to 11 ms, in a random order."""
    rng = random.Random(1)
    (flow,) = plan.flows
    observations, given = [], {}
    for segment in flow.segments:
        times = [k / 1000 for k in range(1, 12)]
        rng.shuffle(times)
        given[segment.name] = times
        for i, time in enumerate(times):
            if segment.name != missing:
                observations.append(
                    Observation(
                        kind="segment",
                        flow=FLOW,
                        segment=segment.name,
                        device=segment.device,
                        to="",
                        request=str(i),
                        seconds=time / 2,
                        padded_s=time,
                        queue_s=0.0,
                        bytes=17,
                        sequence=i,
                        epoch=1,
                        variant="",
                    )
                )
    passages = tuple(Passage(request_id=str(i), outputs={}, latency_s=0.1 + i / 100) for i in range(11))
    return Measured(passages=passages, observations=tuple(observations)), given


def test_what_a_fallback_ran_does_not_stand_beside_the_plan(plan: Plan) -> None:
    measured, _ = _measured(plan)
    other = tuple(
        msgspec.structs.replace(o, variant="other", padded_s=60 * o.padded_s, request=f"other {o.request}")
        for o in measured.observations
    )
    mixed = Measured(passages=measured.passages, observations=(*other, *measured.observations))
    assert compare(plan, FLOW, mixed) == compare(plan, FLOW, measured)


def test_segments_stand_beside_their_plan(plan: Plan) -> None:
    measured, _ = _measured(plan)
    rows = compare(plan, FLOW, measured)
    (flow,) = plan.flows
    assert [r.name for r in rows] == [*(s.name for s in flow.segments), FLOW]
    for row, segment in zip(rows, flow.segments, strict=False):
        assert (row.kind, row.where, row.planned_s) == ("segment", segment.device, segment.seconds)
        # The padding that stands in for a slower device counts.
        assert row.measured_s == pytest.approx(0.006)
        assert row.measured_p90_s == pytest.approx(0.010)
        assert (row.bytes, row.requests, row.predicted_s) == (17, 11, None)
    assert rows[-1].kind == "flow"
    assert rows[-1].planned_s == flow.latency_s
    assert rows[-1].measured_s == pytest.approx(0.15)


def test_a_rehearsal_adds_predictions(plan: Plan) -> None:
    measured, _ = _measured(plan)
    (flow,) = plan.flows
    rehearsal = Rehearsal(segment_s={flow.segments[0].name: 0.25}, hop_s={}, latency_s=1.0, client_s=0.5)
    rows = compare(plan, FLOW, measured, rehearsal)
    assert rows[0].predicted_s == 0.25
    assert rows[-1].predicted_s == 1.5


def test_what_was_not_observed_has_no_row(plan: Plan) -> None:
    (flow,) = plan.flows
    measured, _ = _measured(plan, missing=flow.segments[0].name)
    assert flow.segments[0].name not in {r.name for r in compare(plan, FLOW, measured)}
