"""Calibration: factors are found, and outliers and vague evidence do little."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placer.errors import ProblemError
from placer.measuring.calibrate import calibrate
from placer.planning import build_site
from tests.placer.measuring.demo_evidence import PLAN, PROBLEM, SITE, as_planned, found


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
