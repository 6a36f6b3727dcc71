"""Every example runs as its first lines say."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from placer.planning import plan_site
from profiles import read_site
from tests.e2e.desk import CHECKOUT

EXAMPLES = CHECKOUT / "examples"


def test_there_is_a_test_for_every_example():
    assert {p.name for p in EXAMPLES.iterdir() if p.suffix in (".py", ".yaml")} == {
        "plan_from_python.py",
        "my_device.yaml",
        "line.yaml",
        "fifty_cameras.py",
    }


def test_fifty_cameras_are_planned_within_every_rule():
    done = subprocess.run(
        [sys.executable, "-m", "examples.fifty_cameras", "--limit", "10"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert "every rule kept" in done.stdout
    assert "no plan needs less than" in done.stdout


def test_plan_from_python_says_what_it_planned_and_measured(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "plan_from_python.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("optimal: ")
    assert "flow look: planned " in done.stdout
    assert "float32 [1, 4]" in done.stdout


def test_my_device_is_used_for_what_it_may_not_give_away():
    plan = plan_site(EXAMPLES / "my_device.yaml")
    flow = plan.flow("look")
    assert plan.status == "optimal"
    assert {device for device, _ in flow.assignment.values()} <= {"camera", "box"}
    private = next(t for t in plan.problem.flows[0].tensors if t.producer == "source")
    assert private.not_on == ("box",)
    assert all(flow.assignment[op][0] == "camera" for op in private.consumers)


def test_two_cameras_of_the_line_share_the_box():
    site = read_site(EXAMPLES / "line.yaml")
    assert len([d for d in site.devices if d.name.startswith("camera-")]) == 10
    assert len(site.flows) == 10
    few = ("camera-01", "camera-09", "box")
    site = msgspec.structs.replace(
        site,
        devices=tuple(d for d in site.devices if d.name in few),
        links=tuple(k for k in site.links if k.source in few and k.target in few),
        flows=tuple(f for f in site.flows if f.source in few),
    )
    check_line(plan_site(site, gap=0.01))


@pytest.mark.long
def test_the_whole_line_is_planned():
    plan = plan_site(EXAMPLES / "line.yaml", gap=0.01, time_limit_s=300)
    assert len(plan.flows) == 10
    check_line(plan)


def check_line(plan) -> None:
    assert plan.gap <= 0.01
    for flow in plan.flows:
        source = flow.assignment["source"][0]
        assert flow.devices == ((source, "box") if flow.name.startswith("documents") else ("box",))
    assert all(b.objective is None or b.broken or b.objective >= plan.objective * 0.99 for b in plan.baselines)
