"""`placer emulate`: sites of two and three devices, cuts, refusals, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from placer.emulation.isolation import isolating_command
from placer.errors import DeployError
from tests.e2e.desk import CHECKOUT, finish

MBIT_PER_S = 1.0
ROUND_TRIP_S = 0.04


@pytest.fixture(scope="session", autouse=True)
def _namespaces():
    try:
        isolating_command()
    except DeployError as error:
        pytest.skip(str(error))


@pytest.fixture
def two(desk):
    """The desk's site with a slow link, planned."""
    desk.site("latency_s: 0.0003,", f"latency_s: {ROUND_TRIP_S / 2}, bandwidth_up_bps: {MBIT_PER_S * 1e6},")
    assert desk.placer("plan", "site.yaml", "-o", "plan.json").code == 0
    return desk


@pytest.fixture
def three(desk):
    """The demo's site, planned."""
    for name in ("site.yaml", "orientation.onnx"):
        shutil.copy(CHECKOUT / "placer" / "demo_data" / name, desk.folder / name)
    assert desk.placer("plan", "site.yaml", "-o", "plan.json").code == 0
    return desk


def row(phase, kind):
    return next(r for r in phase["rows"] if r["kind"] == kind)


def test_two_devices_and_a_slow_link(two):
    done = two.placer(
        "emulate", "site.yaml", "plan.json", "--duration", 8, "--input", "x=x.npy", "-o", "seen.json", "--json"
    )
    assert (done.code, done.err) == (0, "")
    assert done.document["devices"] == ["camera", "box"]
    (flow,) = done.document["flows"]
    assert flow["answered"] == flow["sent"] >= 3
    assert flow["failures"] == []
    cold, steady = flow["phases"]
    assert (cold["name"], steady["name"]) == ("cold", "idle")
    hop, whole = row(steady, "hop"), row(steady, "flow")
    # No message is quicker than its link, whatever else the machine does.
    assert hop["measured_s"] >= ROUND_TRIP_S + hop["bytes"] * 8 / (MBIT_PER_S * 1e6)
    assert hop["predicted_s"] >= ROUND_TRIP_S + hop["bytes"] * 8 / (MBIT_PER_S * 1e6)
    assert whole["measured_s"] >= whole["planned_s"]
    assert (two.folder / "seen.json").exists()


def test_three_devices_and_a_cut_that_every_request_after_it_reports(three):
    assert three.placer("plan", "site.yaml", "-o", "plan.json", "--fallbacks").code == 0
    done = three.placer("emulate", "site.yaml", "plan.json", "--duration", 6, "--cut", "gpu:box@3", "-o", "seen.json")
    assert (done.code, done.err) == (0, "")
    for words in (
        "3 emulated devices: camera, box, gpu",
        "was cut at 3 s",
        "cold connections",
        "predicted here",
        "Deadline of 250 ms: ",
    ):
        assert words in done.out
    assert "Note: the plan's fallbacks are not deployed" in done.out
    seen = json.loads((three.folder / "seen.json").read_text())
    assert seen["cuts"] == [{"link": "gpu:box", "at_s": 3.0}]
    (flow,) = seen["flows"]
    assert flow["answered"] >= 3
    assert len(flow["failures"]) == flow["sent"] - flow["answered"] >= 3
    for failure in flow["failures"]:
        assert failure["sent_s"] + failure["seconds"] >= 3
        assert "gpu" in failure["error"]


def test_refusals(two):
    refused = [
        (["--cut", "camera:moon@1"], "no link of the emulated site; give one of camera:box"),
        (["--cut", "camera:box"], "give DEVICE:DEVICE@SECONDS"),
        (["--cut", "camera:box@30"], "outside the 20 s"),
        (["--duration", "1"], "give a duration of at least 1.5 s"),
        (["--input", "nothing.npy"], "nothing.npy"),
    ]
    for arguments, words in refused:
        done = two.placer("emulate", "site.yaml", "plan.json", *arguments)
        assert done.code == 2, arguments
        assert words in done.err
    text = (two.folder / "site.yaml").read_text()
    two.write("site.yaml", text.replace("rate_hz: 2", "rate_hz: 3"))
    done = two.placer("emulate", "site.yaml", "plan.json")
    assert done.code == 2
    assert "flows look rate_hz is 2 in the plan and 3 in the site" in " ".join(done.err.split())
    two.site("name: box", "name: crate")
    text = (two.folder / "site.yaml").read_text()
    two.write("site.yaml", text.replace("to: box", "to: crate").replace("sink: box", "sink: crate"))
    done = two.placer("emulate", "site.yaml", "plan.json")
    assert done.code == 2
    assert "the plan has devices ['box'], which this site has not" in done.err


def test_requests_that_fail_though_nothing_was_cut_are_an_error(two):
    done = two.placer("emulate", "site.yaml", "plan.json", "--duration", 2, "--deadline", 0.001)
    assert done.code == 4
    assert "failed though nothing was cut" in done.err


def outside(two, prefix: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a short emulation as another kind of user."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "placer", "emulate", "site.yaml", "plan.json", "--duration", "2"],
        cwd=two.folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_root(two):
    ordinary = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if subprocess.run([*ordinary, "unshare", "--user", "--map-root-user", "true"], check=False).returncode:
        pytest.skip("this kernel gives ordinary users no namespaces")
    done = outside(two, ordinary)
    assert done.returncode == 0, done.stderr
    assert "4 of 4" in done.stdout or "5 of 5" in done.stdout


def test_a_kernel_that_permits_none_is_named_as_the_reason(two):
    forbidden = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    done = outside(two, ["unshare", "--user", "--map-root-user", "sh", "-c", forbidden, "sh"])
    assert done.returncode == 4
    assert "permits no network namespaces" in done.stderr
    assert "run as root, allow user namespaces" in done.stderr


def test_nothing_outlives_a_command_that_is_interrupted(two):
    process = two.start("emulate", "site.yaml", "plan.json", "--duration", "60")
    try:
        wait_for(lambda: sum("runtimes" in command_line(p) for p in below(process.pid)) >= 2, 60)
        family = below(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    wait_for(lambda: not [p for p in family if command_line(p)], 10)


def test_nothing_outlives_a_command_that_is_killed(two):
    # While requests run: before, the next line of progress would end it anyway.
    program = """
import functools
from placer.emulation.emulate import emulate
from placer.plan import read_plan
emulate(read_plan("plan.json"), duration_s=300, progress=functools.partial(print, flush=True))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=two.folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any(line.startswith("running 1 flows") for line in process.stdout)
        family = below(process.pid)
        assert sum("runtimes" in command_line(p) for p in family) >= 2
    finally:
        process.kill()
        process.communicate()
    wait_for(lambda: not [p for p in family if command_line(p)], 30)


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def command_line(pid: int) -> str:
    """Of a process that runs: empty for one that has ended and for one that nobody has asked after yet."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def below(pid: int) -> list[int]:
    """The process's children, and theirs."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    found = [child for child, parent in parents.items() if parent == pid]
    for child in found:
        found += [grandchild for grandchild, parent in parents.items() if parent == child]
    return found
