"""The site with its new figures: they stand beside the old ones, and what it names is found from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from placer.errors import ProblemError
from placer.measuring.calibrate import calibrate
from placer.measuring.calibrated_site import calibrated_site
from placer.planning import build_site
from profiles import Catalog, SiteError, read_site
from profiles.profile_file import encode_profile
from profiles.strict_yaml import read_yaml
from tests.placer.measuring.demo_evidence import DAY, DEMO, PLAN, PROBLEM, SITE, as_planned, found, rewritten
from tests.profiles.test_seconds_like import box as profiled_box

if TYPE_CHECKING:
    from pathlib import Path


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
    (here / "box.yaml").write_bytes(encode_profile(profiled_box()))
    text = DEMO.read_text(encoding="utf-8").replace("ethernet_1g", "wire.yaml")
    text = text.replace("profile: rpi4b_armnn", "profile: rpi4b_armnn\n    seconds_like: box.yaml")
    (here / "site.yaml").write_text(text, encoding="utf-8")
    new = read_site(rewritten(there, as_planned(camera=2.0), here / "site.yaml"))
    link = new.link("camera", "box")
    assert link is not None
    assert link.profile.id == "ethernet_1g"
    assert new.device("camera").mode("cpu-fp32").op_costs is not None
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
