"""Calibration: factors are found, outliers and vague evidence do little, figures keep their past, plans are judged."""

from __future__ import annotations

import json
from datetime import date
from math import exp, log
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placer import demo_data
from placer.deployment.compare import Row
from placer.errors import ProblemError
from placer.measuring.calibrate import Factor, calibrate
from placer.measuring.calibrated_site import calibrated_site
from placer.measuring.evidence import Evidence, of_observations, of_plan, read_evidence
from placer.measuring.replan import replan
from placer.plan import encode_plan
from placer.planning import build_site, plan_site
from profiles import Catalog, SiteError, read_site
from profiles.profile_file import encode_profile
from profiles.strict_yaml import read_yaml
from runtimes.observation import Observation
from tests.placer.cli.test_explain import command

__all__ = ["command"]

DEMO = Path(demo_data.__file__).parent / "site.yaml"
SITE = read_site(DEMO)
PLAN = plan_site(SITE)
PROBLEM = build_site(SITE)[0].problem
DAY = date(2026, 11, 22)


def as_planned(**times: float) -> list[Evidence]:
    """Make evidence of the demo's plan as its figures have it, some of it so many times as long."""
    (flow,) = PLAN.flows
    found = [
        Evidence(
            kind="segment", flow=flow.name, name=s.name, device=s.device, to="",
            seconds=s.seconds * times.get(s.device, 1), spread=0.05, bytes=1000, requests=20,
        )
        for s in flow.segments
    ]  # fmt: skip
    for t in flow.transfers:
        link = next(k for k in PROBLEM.links if (k.source, k.target) == (t.source, t.target))
        seconds = 2 * link.latency_s + t.bytes / link.bytes_per_s
        name = next(s.name for s in flow.segments if s.device == t.source)
        found.append(
            Evidence(kind="hop", flow=flow.name, name=name, device=t.source, to=t.target, spread=0.05,
                     seconds=seconds * times.get(f"{t.source}_{t.target}", 1), bytes=int(t.bytes), requests=20)
        )  # fmt: skip
    return found


def found(evidence: list[Evidence]) -> dict[str, Factor]:
    return {f.name: f for f in calibrate(SITE, PROBLEM, PLAN, evidence)}


def test_what_is_as_planned_has_not_drifted() -> None:
    factors = found(as_planned())
    assert factors.keys() == {"camera", "box", "camera->box", "box->gpu"}
    for factor in factors.values():
        assert factor.ratio == pytest.approx(1, abs=0.001)
        assert factor.low < 1 < factor.high
        assert not factor.drifted


@pytest.mark.parametrize("times", [0.1, 0.5, 1.3, 3.0, 20.0])
def test_a_slower_device_is_found_however_sure_its_profile_is(times: float) -> None:
    factors = found(as_planned(camera=times))
    # The prior pulls by so much where it is not yet contradicted.
    assert factors["camera"].ratio == pytest.approx(times, rel=0.06)
    assert factors["camera"].low < times < factors["camera"].high
    assert factors["camera"].drifted
    assert not factors["box"].drifted


def test_a_drift_within_the_margin_is_none() -> None:
    # So much evidence that it is surely not 1.
    near, far = (found(as_planned(box=times) * 40)["box"] for times in (1.04, 1.2))
    assert 1 < near.low < near.high < 1.06
    assert not near.drifted
    assert far.drifted


def test_a_short_hop_says_little_of_its_link() -> None:
    # 16 bytes over 15 ms of round trip, and 401 kB over a wire that takes 3.8 ms, where processes may take 1.5.
    factors = found(as_planned(camera_box=1.5, box_gpu=1.5))
    assert not factors["camera->box"].drifted
    assert factors["box->gpu"].drifted
    assert factors["camera->box"].sd > 2 * factors["box->gpu"].sd


def test_an_outlier_among_segments_counts_little() -> None:
    plain = as_planned(box=1.3)
    (segment,) = (e for e in plain if e.device == "box" and e.kind == "segment")
    odd = msgspec.structs.replace(segment, seconds=segment.seconds * 10)
    with_odd = found([*plain, segment, segment, odd])["box"]
    assert with_odd.ratio == pytest.approx(found([*plain, segment, segment])["box"].ratio, rel=0.03)


@given(st.floats(0.3, 3.0), st.floats(0.3, 3.0))
def test_more_time_is_a_larger_factor(one: float, other: float) -> None:
    ratios = [found(as_planned(camera=times))["camera"].ratio for times in sorted((one, other))]
    assert ratios[0] <= ratios[1] * (1 + 1e-9)


def test_stages_of_one_mode_tell_of_it_together() -> None:
    # In a flow of several stages a problem's modes are named with theirs.
    def staged(mode: str) -> str:
        return f"{mode} (orientation)"

    flows = tuple(
        msgspec.structs.replace(
            f,
            ops=tuple(
                msgspec.structs.replace(
                    op, options=tuple(msgspec.structs.replace(o, mode=staged(o.mode)) for o in op.options)
                )
                for op in f.ops
            ),
        )
        for f in PROBLEM.flows
    )
    (flow,) = PLAN.flows
    segments = tuple(msgspec.structs.replace(s, mode=staged(s.mode)) for s in flow.segments)
    plan = msgspec.structs.replace(PLAN, flows=(msgspec.structs.replace(flow, segments=segments),))
    factors = calibrate(SITE, msgspec.structs.replace(PROBLEM, flows=flows), plan, as_planned(camera=2.0))
    assert [(f.name, f.mode) for f in factors if f.kind == "device"] == [("camera", "cpu-fp32"), ("box", "gpu-fp32")]
    assert factors[0].ratio == pytest.approx(2, rel=0.06)


def test_a_segment_is_judged_by_its_own_modes_start() -> None:
    # A problem starts segments as the dearest of a device's modes does, which the site's own figures do not say.
    box = SITE.device("box")
    (ran,) = (s.mode for f in PLAN.flows for s in f.segments if s.device == "box")
    own = box.mode(ran)
    slow = msgspec.structs.replace(
        own, name="slow", segment_s=msgspec.structs.replace(own.segment_s, value=own.segment_s.value + 1.0)
    )
    devices = tuple(msgspec.structs.replace(d, modes=(*d.modes, slow)) if d.name == "box" else d for d in SITE.devices)
    site = msgspec.structs.replace(SITE, devices=devices)
    problem = build_site(site)[0].problem
    assert next(d.segment_s for d in problem.devices if d.name == "box") > 1
    factors = {f.name: f for f in calibrate(site, problem, PLAN, as_planned())}
    assert factors["box"].mode == ran
    assert factors["box"].ratio == pytest.approx(1, abs=0.001)
    assert not factors["box"].drifted


def test_more_requests_make_it_surer_up_to_a_floor() -> None:
    noisy = [msgspec.structs.replace(e, spread=0.5) for e in as_planned()]
    few, many = ([msgspec.structs.replace(e, requests=n) for e in noisy] for n in (3, 3000))
    assert found(few)["box"].sd > 2 * found(many)["box"].sd
    assert found(many)["box"].sd > 0.04


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "inspect/9"}, "segment 'inspect/9' was measured on 'camera', where the plan has none"),
        ({"flow": "look"}, "the plan has no flow 'look'"),
        ({"kind": "hop", "device": "gpu", "to": "moon"}, "from 'gpu' to 'moon' was measured, but the site has no such"),
    ],
)
def test_evidence_of_something_else_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        found([msgspec.structs.replace(as_planned()[0], **change)])


def rewritten(folder: Path, evidence: list[Evidence], site: Path = DEMO) -> Path:
    output = folder / "new.yaml"
    given = read_site(site)
    factors = calibrate(given, build_site(given)[0].problem, PLAN, evidence)
    output.write_bytes(calibrated_site(site, output, given, factors, of="plan x", day=DAY))
    return output


def test_the_new_site_has_the_new_figures_and_remembers_the_old(tmp_path: Path) -> None:
    evidence = as_planned(camera=2.0, box_gpu=1.5)
    path = rewritten(tmp_path, evidence)
    new = read_site(path)
    factor = found(evidence)["camera"]
    old, mode = SITE.device("camera").mode("cpu-fp32"), new.device("camera").mode("cpu-fp32")
    for before, after in ((old.segment_s, mode.segment_s), (old.s_per_mac, mode.s_per_mac)):
        assert after.value == pytest.approx(before.value * factor.ratio, rel=1e-5)
        assert (after.origin, after.year) == ("fitted", 2026)
        assert after.source == f"{before.source}, placer calibrate, 2026-11-22, plan x"
        assert f"{before.value:.6g} ({before.origin}) times {factor.ratio:.6g}" in after.note
    assert mode.active_w == old.active_w
    # What nobody measured stays as it was, the other mode and the other links too.
    assert new.device("camera").mode("cpu-int8") == SITE.device("camera").mode("cpu-int8")
    assert new.device("gpu") == SITE.device("gpu")
    slow, former = new.link("box", "gpu"), SITE.link("box", "gpu")
    assert slow is not None
    assert former is not None
    ratio = found(evidence)["box->gpu"].ratio
    assert slow.latency_s == pytest.approx(former.latency_s * ratio, rel=1e-5)
    assert slow.bandwidth_bps == pytest.approx(former.bandwidth_bps / ratio, rel=1e-5)
    assert "2e+07 (declared) over " in slow.profile.bandwidth_up_bps.note  # type: ignore[union-attr]
    # Nothing of what the site said is gone.
    written, said = (read_yaml(p, SiteError) for p in (path, DEMO))
    assert isinstance(written, dict)
    assert isinstance(said, dict)
    for new_entry, old_entry in ((written["devices"][0], said["devices"][0]), (written["links"][2], said["links"][1])):
        assert {k: new_entry.get(k) for k in old_entry if k != "both_ways"} == {
            k: v for k, v in old_entry.items() if k != "both_ways"
        }
    for pair in (("gpu", "box"), ("camera", "gpu"), ("gpu", "camera")):
        same, was = new.link(*pair), SITE.link(*pair)
        assert same is not None
        assert was is not None
        assert (same.latency_s, same.bandwidth_bps, same.direction) == (was.latency_s, was.bandwidth_bps, was.direction)
    # From another folder the model is found too, and measured again nothing has drifted.
    again = calibrate(new, build_site(new)[0].problem, PLAN, evidence)
    second = tmp_path / "second.yaml"
    second.write_bytes(calibrated_site(path, second, new, again, of="plan x", day=DAY))
    twice = read_site(second).device("camera").mode("cpu-fp32").s_per_mac.value
    assert twice == pytest.approx(old.s_per_mac.value * factor.ratio * again[0].ratio, rel=1e-4)
    assert "; before: " in read_site(second).device("camera").mode("cpu-fp32").s_per_mac.note
    assert all(f.ratio == pytest.approx(1, abs=0.05) for f in again)
    assert not any(f.drifted for f in again)


def test_files_beside_the_site_are_found_from_elsewhere(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "wire.yaml").write_bytes(encode_profile(Catalog.load().link("ethernet_1g")))
    (here / "orientation.onnx").write_bytes(DEMO.with_name("orientation.onnx").read_bytes())
    (here / "site.yaml").write_text(
        DEMO.read_text(encoding="utf-8").replace("ethernet_1g", "wire.yaml"), encoding="utf-8"
    )
    new = read_site(rewritten(there, as_planned(camera=2.0), here / "site.yaml"))
    link = new.link("camera", "box")
    assert link is not None
    assert link.profile.id == "ethernet_1g"
    assert build_site(new)[0].problem.flows[0].name == "inspect"


def test_a_device_that_is_measured_at_each_plan_keeps_its_figures(tmp_path: Path) -> None:
    for name in ("site.yaml", "orientation.onnx"):
        (tmp_path / name).write_bytes(DEMO.with_name(name).read_bytes())
    path = tmp_path / "site.yaml"
    text = path.read_text().replace(
        "profile: rpi4b_armnn", "profile: rpi4b_armnn\n    costs: measured\n    modes: [{name: cpu-fp32}]"
    )
    path.write_text(text, encoding="utf-8")
    only = [f for f in calibrate(SITE, PROBLEM, PLAN, as_planned(camera=2.0)) if f.name == "camera"]
    with pytest.raises(ProblemError, match="every device that was measured has `costs: measured`"):
        calibrated_site(path, path, read_site(path), only, of="x", day=DAY)


def test_a_plan_stands_while_nothing_has_changed() -> None:
    result = replan(SITE, PLAN)
    assert not result.changes
    assert result.saved == 0
    assert result.kept.objective == pytest.approx(PLAN.objective)
    assert result.kept.broken == ()


def test_a_slow_box_changes_the_plan_and_the_saving_is_evaluate_s(tmp_path: Path) -> None:
    result = replan(read_site(rewritten(tmp_path, as_planned(box=6.0))), PLAN)
    assert result.changes
    assert result.kept.objective is not None
    assert result.saved == pytest.approx(result.kept.objective - result.plan.objective)
    assert 0 < result.saved < result.kept.objective
    assert result.kept.objective > PLAN.objective
    assert result.moved.keys() == {"inspect"}


def test_a_plan_that_now_breaks_its_deadline_is_told(tmp_path: Path) -> None:
    path = rewritten(tmp_path, as_planned(box=6.0))
    path.write_text(path.read_text().replace("deadline_s: 0.25", "deadline_s: 0.05"), encoding="utf-8")
    result = replan(read_site(path), PLAN)
    assert result.changes
    assert result.kept.latency_s[0] > 0.05 > result.plan.flows[0].latency_s
    (rule,) = result.kept.broken
    assert rule.startswith("deadline_s of flow 'inspect' (0.0")
    assert rule.endswith("where 0.05 is allowed)")


def test_rules_are_kept_where_that_costs_more() -> None:
    zones = tuple(msgspec.structs.replace(z, sees="public") if z.name == "factory floor" else z for z in SITE.zones)
    result = replan(msgspec.structs.replace(SITE, zones=zones), PLAN)
    assert result.changes
    assert result.saved < 0
    assert any("zone 'factory floor' sees at most 'public'" in rule for rule in result.kept.broken)


def test_a_plan_whose_device_is_gone_cannot_be_run() -> None:
    devices = tuple(
        msgspec.structs.replace(d, modes=tuple(m for m in d.modes if m.numeric != "fp32")) if d.name == "box" else d
        for d in SITE.devices
    )
    result = replan(msgspec.structs.replace(SITE, devices=devices), PLAN)
    assert result.changes
    assert result.kept.objective is None
    assert "has no option ('box', 'gpu-fp32')" in result.kept.broken[0]


def observation(sequence: int, seconds: float, **more: Any) -> Observation:
    fields: dict[str, Any] = {
        "kind": "segment", "flow": "inspect", "segment": "inspect/0", "device": "camera", "to": "",
        "request": f"r{sequence}", "seconds": seconds, "padded_s": seconds,
        "queue_s": 0.0, "bytes": 8, "sequence": sequence, "epoch": 1, "variant": "",
    }  # fmt: skip
    return Observation(**{**fields, **more})


def test_observations_are_summed_up_without_the_first() -> None:
    seconds = [9.0, *(0.01 * exp(x) for x in (-0.1, 0.1, 0.0, 0.1, -0.1))]
    (one,) = of_observations(observation(i + 1, s) for i, s in enumerate(seconds))
    assert (one.seconds, one.requests) == (pytest.approx(0.01), 5)
    assert one.spread == pytest.approx(0.14826)
    assert of_observations([observation(1, 9.0)]) == ()
    assert len(of_observations([observation(i, 1.0, to=to, kind="hop") for i in range(6) for to in ("a", "b")])) == 2


def test_requests_that_took_another_way_do_not_count() -> None:
    (flow,) = PLAN.flows
    first, second = flow.segments
    (there,) = (t for t in flow.transfers if t.target == second.device)
    own: list[dict[str, Any]] = [
        {"segment": first.name, "device": first.device},
        {"kind": "hop", "segment": first.name, "device": there.source, "to": there.target},
        {"segment": second.name, "device": second.device},
    ]
    elsewhere = [
        {**own[0], "variant": "without the box"},
        {"segment": second.name, "device": "gpu", "variant": "without the box"},
    ]
    seen = [
        observation(10 * request + i, 0.01, request=f"r{request}", **fields)
        for request, way in enumerate([own, own, elsewhere, own])
        for i, fields in enumerate(way)
    ]
    kept = of_plan(seen)
    assert {o.request for o in kept} == {"r0", "r1", "r3"}
    assert [e.requests for e in of_observations(kept)] == [2, 2, 2]


def test_a_fallback_whose_segments_have_the_plans_names_does_not_count() -> None:
    # A whole model on the camera is the segment inspect/0 of it as well, and takes longer than the plan's.
    seconds = {"": 0.01, "on the camera": 0.05}
    seen = [observation(i, seconds[way], variant=way) for i, way in enumerate(["", "", "on the camera", ""] * 5)]
    kept = of_plan(seen)
    assert {o.variant for o in kept} == {""}
    (one,) = of_observations(kept)
    assert (one.requests, one.seconds) == (14, pytest.approx(0.01))


def row(kind: str, name: str, where: str, seconds: float) -> Row:
    return Row(
        kind=kind, name=name, where=where, planned_s=1.0, predicted_s=None, measured_s=seconds,
        measured_p90_s=seconds * 1.2, bytes=100, requests=9,
    )  # type: ignore[arg-type]  # fmt: skip


def test_files_of_runs_and_emulations_are_read(tmp_path: Path) -> None:
    rows = [
        row("segment", "inspect/0", "camera", 0.01),
        row("hop", "inputs", "a -> b", 0.02),
        row("flow", "f", "client", 1),
    ]
    path = tmp_path / "run.json"
    path.write_bytes(msgspec.json.encode({"flow": "f", "requests": 9, "outputs": {}, "rows": rows}))
    segment, hop = read_evidence(path)
    assert (segment.device, segment.seconds, segment.spread) == ("camera", 0.01, pytest.approx(log(1.2) / 1.2816))
    assert (hop.name, hop.device, hop.to) == ("", "a", "b")
    phases = [{"name": name, "rows": rows, "errors": []} for name in ("cold", "warm", "idle")]
    flow = {"flow": "f", "sent": 9, "answered": 9, "failures": [], "phases": phases}
    whole = {"plan": "p", "devices": [], "cuts": [], "flows": [flow], "notes": []}
    path.write_bytes(msgspec.json.encode(whole))
    assert [e.kind for e in read_evidence(path)] == ["segment", "hop"] * 2
    flow["phases"] = phases[:1]
    path.write_bytes(msgspec.json.encode(whole))
    with pytest.raises(ProblemError, match="no request was measured beyond the first"):
        read_evidence(path)
    for text in ("", "[]", "{}", '{"flow": 1}'):
        path.write_text(text)
        with pytest.raises(ProblemError, match="not a measurement; give what `placer emulate --output`"):
            read_evidence(path)


def test_the_commands_calibrate_and_replan(command, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(encode_plan(PLAN))
    rows = []
    for e in as_planned(box=6.0):
        where = f"{e.device} -> {e.to}" if e.to else e.device
        rows.append(msgspec.structs.replace(row(e.kind, e.name, where, e.seconds), bytes=e.bytes))
    (tmp_path / "run.json").write_bytes(msgspec.json.encode({"flow": "inspect", "rows": rows}))
    code, out, err = command("calibrate", str(DEMO), "plan.json", "--observations", "run.json", "-o", "new.yaml")
    assert code == 0, err
    assert "Drifted: box." in out
    code, out, err = command("replan", "new.yaml", "plan.json", "-o", "new.json")
    assert code == 0, err
    assert "The old plan now costs" in out
    assert "It saves" in out
    assert "Next: placer deploy new.json" in out
    code, out, _ = command("replan", "new.yaml", "new.json", "--json")
    assert (code, json.loads(out)["changes"]) == (0, False)
    code, out, _ = command("replan", str(DEMO), "plan.json")
    assert "It stands: no plan that was found does better." in out
    code, _, err = command("calibrate", str(DEMO), "plan.json", "-o", "x.yaml")
    assert code == 4
    assert "no agent is known for device 'box', 'camera', 'gpu'" in err
    code, _, err = command("calibrate", str(DEMO), "plan.json", "-o", "x.yaml", "--observations", "plan.json")
    assert code == 2
    assert not Path("x.yaml").exists()
