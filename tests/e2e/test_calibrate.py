"""Calibration against an emulated site: real agents, shaped links, and figures that are wrong by known factors."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from placer import demo_data
from placer.emulation.emulate import emulate
from placer.emulation.isolation import isolating_command
from placer.errors import DeployError
from placer.measuring.calibrate import calibrate
from placer.measuring.evidence import read_evidence
from placer.planning import build_site, plan_site
from placer.solver.solve import solve
from profiles import read_site

SLOWER_BOX, SLOWER_LINK = 3.0, 2.0


@pytest.fixture(scope="module", autouse=True)
def _namespaces():
    try:
        isolating_command()
    except DeployError as error:
        pytest.skip(str(error))


def test_what_an_emulated_site_shows_is_found(tmp_path: Path) -> None:
    text = (Path(demo_data.__file__).parent / "site.yaml").read_text(encoding="utf-8")
    text = text.replace("model: orientation.onnx", f"model: {demo_data.MODEL}")
    # 40 Mbit/s and 10 ms are believed of the link from the camera to the box.
    text = text.replace("latency_s: 0.0003,", "latency_s: 0.005, bandwidth_up_bps: 4e7, bandwidth_down_bps: 4e7,")
    (tmp_path / "site.yaml").write_text(text, encoding="utf-8")
    site = read_site(tmp_path / "site.yaml")
    built, _ = build_site(site)
    plan = plan_site(site)
    (flow,) = plan.flows
    assert flow.devices == ("camera", "box")

    # The truth: a slower box and a slower link, and no other way to run than the plan's.
    (believed,) = built.problem.flows
    times = {"box": SLOWER_BOX}
    ops = tuple(
        msgspec.structs.replace(
            op,
            options=tuple(
                msgspec.structs.replace(o, seconds=o.seconds * times.get(o.device, 1.0))
                for o in op.options
                if (o.device, o.mode) == flow.assignment[op.name]
            ),
        )
        for op in believed.ops
    )
    true_problem = msgspec.structs.replace(
        built.problem,
        flows=(msgspec.structs.replace(believed, ops=ops, rate_hz=0.0, deadline_s=None),),
        devices=tuple(
            msgspec.structs.replace(d, segment_s=d.segment_s * times.get(d.name, 1.0)) for d in built.problem.devices
        ),
        links=tuple(
            msgspec.structs.replace(k, latency_s=k.latency_s * SLOWER_LINK, bytes_per_s=k.bytes_per_s / SLOWER_LINK)
            if {k.source, k.target} == {"camera", "box"}
            else k
            for k in built.problem.links
        ),
    )
    # Without a rate each request follows the one before, and TCP forgets nothing in between.
    truth = solve(true_problem, models=plan.models)
    seen = emulate(truth, duration_s=3.0, runs=9)
    (tmp_path / "seen.json").write_bytes(msgspec.json.encode(seen))

    evidence = read_evidence(tmp_path / "seen.json")
    factors = {f.name: f for f in calibrate(site, built.problem, plan, evidence)}
    assert factors["box"].drifted
    assert factors["box"].low < SLOWER_BOX < factors["box"].high
    # Where processes are late as well, on a busy machine, they are in the hop's time.
    assert factors["camera->box"].drifted
    assert 0.9 * SLOWER_LINK < factors["camera->box"].ratio < 1.4 * SLOWER_LINK
    assert factors["camera"].ratio < SLOWER_BOX / 2
