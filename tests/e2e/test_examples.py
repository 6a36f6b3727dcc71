"""Every example runs as its first lines say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import msgspec
import numpy as np
import pytest

from examples.cascade_models import page_gate, shrink
from placer import demo_data
from placer.demo_data.png import read_png
from placer.demo_data.preprocess import preprocess
from placer.deployment.assign import assign, load_models
from placer.deployment.compare import compare
from placer.deployment.deploy import deploy
from placer.deployment.local_agents import local_agents
from placer.deployment.run import run
from placer.ends import is_endpoint, is_source
from placer.fallbacks import add_fallbacks, variant
from placer.models.onnx_run import open_session
from placer.plan import read_plan
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
        "cascade.yaml",
        "cascade_models.py",
        "cached.yaml",
        "measure_and_replan.py",
        "two_sources.yaml",
        "watch_model.py",
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


def test_the_cascade_is_placed_over_three_devices_and_counts_its_share():
    plan = plan_site(EXAMPLES / "cascade.yaml")
    flow = plan.flow("sort")
    assert plan.status == "optimal"
    assert flow.devices == ("camera", "box", "gpu")
    assert {m.path.rpartition(".")[2] for m in plan.models} == {"onnx", "tflite"}
    # The condition stands with the gate: nothing leaves the camera before it is known that there is a page.
    assert flow.assignment["when classify/x"] == flow.assignment["gate/conv_2d_0"]
    (problem_flow,) = plan.problem.flows
    options = {(op.name, o.device, o.mode): (o.joules, op.share) for op in problem_flow.ops for o in op.options}
    computed = [(name, *options[name, *place]) for name, place in flow.assignment.items()]
    assert {name for name, _, share in computed if share < 1} == {
        *(name for name, _, _ in computed if name.startswith("classify/")), "sink",
    }  # fmt: skip
    # The gpu's segments start for nothing, so that its facility's part is of computing alone.
    spent_j = sum(x.energy_j for x in plan.ledger.marginal if x.kind in ("compute", "facility") and x.device)
    assert spent_j == pytest.approx(sum(joules * share for _, joules, share in computed))
    assert flow.latency_s <= flow.deadline_s
    # On the longest path nothing overlaps: the deadline holds for pictures that go all the way.
    assert flow.latency_s >= sum(s.seconds for s in flow.segments) + sum(t.seconds for t in flow.transfers) - 1e-12


def test_the_cascade_classifies_pages_and_leaves_an_empty_desk_alone():
    plan = plan_site(EXAMPLES / "cascade.yaml")
    models = load_models(plan)
    deployment = assign(plan, models)
    image = read_png(demo_data.IMAGE.read_bytes())
    pages = [{"picture": preprocess(np.rot90(image, -k))} for k in range(4)]
    desk = {"picture": preprocess(np.full_like(image, 200))}
    with local_agents(sorted(deployment.assignments)) as addresses:
        deploy(deployment, addresses)
        feeds = [pages[0], desk, *pages[1:], desk, desk]
        measured = run(deployment, addresses, "sort", feeds, deadline_s=30)
    whole = open_session(demo_data.MODEL.read_bytes(), threads=1)
    for feed, passage in zip(feeds, measured.passages, strict=True):
        if feed is desk:
            assert (dict(passage.outputs), passage.not_taken) == ({}, ("classify/fetch_name_0",))
        else:
            (wanted,) = whole.run(None, {"x": feed["picture"]})
            assert passage.not_taken == ()
            assert passage.outputs["classify/fetch_name_0"].tobytes() == wanted.tobytes()
    # Nothing crossed a link for an empty desk, and the classifier did not run.
    ran = Counter((o.kind, o.segment) for o in measured.observations)
    cameras = [s.name for s in deployment.assignments["camera"].segments]
    assert [ran["segment", name] for name in cameras] == [7, 7, 4]
    assert ran["segment", deployment.assignments["gpu"].segments[0].name] == 4
    assert sum(count for (kind, _), count in ran.items() if kind == "hop") == 8
    flows = [(row.name, row.requests, row.planned_s) for row in compare(plan, "sort", measured) if row.kind == "flow"]
    assert flows == [("sort", 4, plan.flow("sort").latency_s), ("sort, in part", 3, None)]


def test_the_cascade_s_fallback_keeps_its_condition():
    site = read_site(EXAMPLES / "cascade.yaml")
    uplink = next(k for k in site.links if (k.source, k.target) == ("box", "gpu"))
    direct = msgspec.structs.replace(uplink, source="camera")
    plan = add_fallbacks(plan_site(msgspec.structs.replace(site, links=(*site.links, direct))))
    (fallback,) = (f for f in plan.fallbacks if set(f.lost) == {"camera", "gpu"})
    instead = variant(plan, fallback)
    assert instead.flow("sort").devices == ("camera", "box", "gpu")
    deployment = assign(instead, load_models(instead))
    image = read_png(demo_data.IMAGE.read_bytes())
    feeds = [{"picture": preprocess(picture)} for picture in (image, np.full_like(image, 200))]
    with local_agents(sorted(deployment.assignments)) as addresses:
        deploy(deployment, addresses)
        page, desk = run(deployment, addresses, "sort", feeds, deadline_s=30).passages
    assert (page.not_taken, desk.not_taken) == ((), ("classify/fetch_name_0",))


def test_the_cascade_s_models_are_what_their_script_writes():
    assert (EXAMPLES / "shrink.onnx").read_bytes() == shrink()
    assert (EXAMPLES / "page_gate.tflite").read_bytes() == page_gate()


def test_measure_and_replan_finds_the_data_sheet_wrong(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "measure_and_replan.py", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    before, drift, after = (
        line for line in done.stdout.splitlines() if line.startswith(("by the data", "sensor: ", "the best"))
    )
    assert before.endswith(" J on sensor")
    assert drift.endswith(": has drifted")
    assert " W on box; saves " in after
    new = read_site(tmp_path / "site-calibrated.yaml").device("sensor").mode("cpu-fp32")
    assert new.s_per_mac.source.startswith("its data sheet, placer calibrate, ")


def test_two_sources_feed_one_model_under_their_own_labels(tmp_path):
    site, plan_file = EXAMPLES / "two_sources.yaml", tmp_path / "plan.json"
    rng = np.random.default_rng(0)
    feeds = {"picture": rng.random((1, 3, 96, 96), "f"), "sound": rng.random((1, 1, 16000), "f")}
    np.savez(tmp_path / "hall.npz", **feeds)
    planned = placer("plan", site, "-o", plan_file)
    assert "data of 'watch' that arise elsewhere than on the flow's source leave when its word is there" in planned
    ran = placer("run", plan_file, "--local", "--input", tmp_path / "hall.npz", "-o", tmp_path / "out.npz")
    assert "mic -> box" in ran
    plan = read_plan(plan_file)
    assert plan.status == "optimal"
    (flow,) = plan.problem.flows
    barred = {t.name: set(t.not_on) for t in flow.tensors if is_source(t.producer)}
    assert barred == {"watch/picture": {"mic", "box", "panel"}, "watch/sound": set()}
    assert plan.flow("watch").assignment["sink on panel"][0] == "panel"
    # docs/problem-format.md tells of these two starts.
    on_box = [(s.ops[0], s.ops[-1]) for s in plan.flow("watch").segments if s.device == "box"]
    assert on_box == [("watch/listen_first", "watch/listen_flatten"), ("watch/join", "watch/softmax")]
    wanted = open_session((EXAMPLES / "watch.onnx").read_bytes(), threads=1).run(["alarm", "summary"], feeds)
    with np.load(tmp_path / "out.npz") as found:
        for name, value in zip(("alarm", "summary"), wanted, strict=True):
            np.testing.assert_allclose(found[name], value, rtol=1e-5)


def placer(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "placer", *map(str, words)],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=180, check=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    return " ".join(done.stdout.split())


def test_a_cache_saves_what_its_hits_need_not_compute():
    plan = plan_site(EXAMPLES / "cached.yaml")
    assert plan.status == "optimal"
    look, rest = (op for op in plan.problem.flows[0].ops if not is_endpoint(op.name))
    assert (look.share, rest.share) == (1.0, pytest.approx(0.4))
    place = plan.flow("turn").assignment[rest.name]
    (joules,) = (o.joules for o in rest.options if (o.device, o.mode) == place)
    (looked,) = (o.joules for o in look.options if (o.device, o.mode) == plan.flow("turn").assignment[look.name])
    (started,) = (d.start(place[1])[1] for d in plan.problem.devices if d.name == place[0])
    assert plan.energy_j == pytest.approx(looked + 0.4 * joules + started, rel=1e-9)


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
    assert all(b.objective is None or b.broken or b.objective >= plan.objective for b in plan.baselines)
