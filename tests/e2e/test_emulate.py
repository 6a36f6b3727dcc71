"""`placer emulate`: sites of two and three devices, cuts, refusals, and that nothing outlives it."""

from __future__ import annotations

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
    done = three.placer("emulate", "site.yaml", "plan.json", "--duration", 6, "--cut", "gpu:box@3", "--json")
    assert done.code == 0
    assert done.document["cuts"] == [{"link": "gpu:box", "at_s": 3.0}]
    (flow,) = done.document["flows"]
    assert flow["answered"] >= 3
    assert len(flow["failures"]) == flow["sent"] - flow["answered"] >= 3
    for failure in flow["failures"]:
        assert failure["sent_s"] + failure["seconds"] >= 3
        assert "gpu" in failure["error"]


def test_the_table_says_what_was_cut_and_what_failed(three):
    done = three.placer("emulate", "site.yaml", "plan.json", "--duration", 4, "--cut", "box:gpu@2")
    assert done.code == 0
    for words in ("3 emulated devices: camera, box, gpu", "was cut at 2 s", "cold connections", "predicted here"):
        assert words in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cut", "camera:moon@1"], "no link of the emulated site; give one of camera:box"),
        (["--cut", "camera:box"], "give DEVICE:DEVICE@SECONDS"),
        (["--cut", "camera:box@30"], "outside the 20 s"),
        (["--duration", "1"], "give a duration of at least 1.5 s"),
        (["--input", "nothing.npy"], "nothing.npy"),
    ],
)
def test_refusals(two, arguments, words):
    done = two.placer("emulate", "site.yaml", "plan.json", *arguments)
    assert done.code == 2
    assert words in done.err


def test_a_plan_of_another_site_is_refused(two):
    two.site("name: box", "name: crate")
    two.write(
        "site.yaml",
        (two.folder / "site.yaml").read_text().replace("to: box", "to: crate").replace("sink: box", "sink: crate"),
    )
    done = two.placer("emulate", "site.yaml", "plan.json")
    assert done.code == 2
    assert "the plan has devices ['box'], which this site has not" in done.err


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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_command(two, how):
    process = two.start("emulate", "site.yaml", "plan.json", "--duration", "60")
    try:
        wait_for(lambda: sum("runtimes" in command_line(p) for p in below(process.pid)) >= 2, 60)
        family = below(process.pid)
    finally:
        process.send_signal(how)
    if how == signal.SIGKILL:
        process.communicate(timeout=30)
    else:
        assert finish(process).code == 128 + how
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
