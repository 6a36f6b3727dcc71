"""The wheel, installed outside the checkout: a device gets what a device needs, a workstation everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from placer.deployment.deploy import deploy
from placer.deployment.run import run
from tests.e2e.desk import CHECKOUT
from tests.runtimes.children import children
from tests.runtimes.plans import Step, plan, sample

PLANNER_ONLY = ("ortools", "networkx", "onnx", "yaml", "typer", "rich", "pandas", "matplotlib")


class Home:
    """A fresh virtual environment, and commands in it that know nothing of the checkout."""

    def __init__(self, folder: Path, requirement: str) -> None:
        self.folder = folder
        venv.create(folder / "venv", with_pip=True)
        self.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement)

    def start(self, program: str, *arguments: object) -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "COV"))}
        return subprocess.Popen(
            [self.folder / "venv" / "bin" / program, *map(str, arguments)],
            cwd=self.folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, *arguments: object, code: int = 0) -> tuple[str, str]:
        process = self.start(program, *arguments)
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, err
        return out, err

    def installed(self) -> set[str]:
        (packages,) = (self.folder / "venv" / "lib").glob("python*/site-packages")
        return {p.name for p in packages.iterdir()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-w",
            folder,
            ".",
        ],
        cwd=CHECKOUT,
        check=True,
    )
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_the_three_packages_and_their_data_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"placer", "profiles", "runtimes"}
    for needed in ("placer/demo_data/orientation.onnx", "placer/demo_data/page.png", "placer/py.typed"):
        assert needed in names
    assert sum(name.startswith("profiles/catalog/devices/") for name in names) >= 6
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_a_device_runs_an_agent_with_the_base_and_one_executor_alone(wheel, tmp_path):
    home = Home(tmp_path, f"{wheel}[onnx]")
    installed = home.installed()
    assert not installed & {*PLANNER_ONLY, "tests", "examples", "benchmarks", "docs"}
    out, err = home.run("placer", "plan", "site.yaml", code=2)
    assert out == ""
    assert err.startswith("error: ")
    assert "is missing; pip install 'placer-joules[planner,onnx]'" in err

    port = tmp_path / "port"
    agent = home.start("placer-agent", "--name", "box", "--store", tmp_path / "store", "--port-file", port)
    try:
        deadline = time.monotonic() + 60
        while not port.exists():
            assert agent.poll() is None, agent.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        addresses = {"box": f"127.0.0.1:{port.read_text().strip()}"}
        step = Step(name="flow/0", device="box", op="Relu", inputs=("x",), outputs=("y",))
        deployment = plan([step], outputs=("y",), source="box", sink="box", epoch=1)
        deploy(deployment, addresses)
        (passage,) = run(deployment, addresses, "flow", [sample()], deadline_s=30).passages
        np.testing.assert_array_equal(passage.outputs["y"], np.maximum(sample()["x"], 0))
        # The segment's process alone needs the executor; neither has anything of the checkout.
        own, segments = (Path(f"/proc/{p}/maps").read_text() for p in (agent.pid, children(agent.pid)["flow/0"]))
        assert "onnxruntime" not in own
        assert "onnxruntime" in segments
        assert str(CHECKOUT) + os.sep not in own + segments
    finally:
        agent.terminate()
        agent.communicate(timeout=30)
    assert agent.returncode == 0


@pytest.mark.long
def test_a_workstation_runs_the_demo_outside_the_checkout(wheel, tmp_path):
    home = Home(tmp_path, f"{wheel}[all]")
    assert not home.installed() & {"tests", "examples", "benchmarks", "docs"}
    out, err = home.run("placer", "demo", "--json")
    assert err == ""
    document = json.loads(out)
    assert document["run"]["requests"] >= 20
    assert document["run"]["right"] == document["run"]["requests"]
    (where,) = {model["path"] for model in document["plan"]["models"]}
    assert Path(where).is_relative_to(tmp_path)
    # Beside the planner's protobuf, all packages must agree.
    home.run("python", "-m", "pip", "check")
