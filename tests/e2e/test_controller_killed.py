"""A controller that is killed at any moment: the old plan serves, and running it again completes what it began."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.serving import not_serving, read_serving, roll_back
from runtimes.client import AgentClient
from runtimes.local import LocalAgents
from tests.e2e.desk import CHECKOUT
from tests.runtimes.plans import Step, plan, sample

if TYPE_CHECKING:
    from placer.deployment.deployment import Deployment

DEVICES = ["camera", "box", "cloud"]
# A controller that deploys the new plan, or leaves it, and is killed when it is about to do a step on a device.
CONTROLLER = """
import json, os, signal, sys
from placer.deployment.deploy import deploy_once
from placer.deployment.serving import roll_back
from tests.e2e.test_controller_killed import new

what, device, step, addresses = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])

def progress(at, doing):
    if at == device and doing.startswith(step):
        os.kill(os.getpid(), signal.SIGKILL)

if what == "deploy":
    deploy_once(new(), addresses, progress)
else:
    roll_back("new", addresses, progress)
"""


def old() -> Deployment:
    """Negates, with the cloud's help."""
    steps = [
        Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("a",)),
        Step(name="flow/1", device="cloud", op="Identity", inputs=("a",), outputs=("y",)),
    ]
    return plan(steps, outputs=("y",), source="camera", sink="camera", epoch=1, name="old")


def new() -> Deployment:
    """Changes nothing, without the cloud."""
    steps = [Step(name="flow/0", device="box", op="Identity", inputs=("x",), outputs=("y",))]
    return plan(steps, outputs=("y",), source="camera", sink="camera", epoch=1, name="new")


def answer(agents: LocalAgents) -> float:
    x = sample()["x"]
    with AgentClient(agents.addresses["camera"]) as client:
        y = client.infer("flow", sample(), deadline_s=10).outputs["y"]
    (factor,) = np.unique(y / x)
    return float(factor)


def run(agents: LocalAgents, what: str, device: str, step: str) -> int:
    command = [sys.executable, "-c", CONTROLLER, what, device, step, json.dumps(dict(agents.addresses))]
    return subprocess.run(command, cwd=CHECKOUT, check=False).returncode


@pytest.fixture(scope="module")
def agents():
    with LocalAgents(DEVICES) as running:
        yield running


@pytest.fixture
def on_old(agents):
    # Twice: then the new plan, of the case before, is not the previous one, and its model files are gone.
    for _ in range(2):
        deploy(old().at(next_epoch(agents.addresses)), agents.addresses)
    assert not (agents.store("box") / next(iter(new().blobs))).exists()
    return agents


@pytest.mark.parametrize(
    ("device", "step"),
    [
        ("box", "stage"),
        ("box", "upload: 0"),
        ("box", "prepare"),
        ("camera", "prepare"),
        ("box", "activate"),
        ("camera", "activate"),
    ],
)
def test_a_deployment_that_is_killed_leaves_the_old_plan_and_is_completed_later(on_old, device, step):
    assert run(on_old, "deploy", device, step) == -signal.SIGKILL
    assert answer(on_old) == -1
    assert run(on_old, "deploy", "nobody", "") == 0
    assert answer(on_old) == 1
    pair = {device: on_old.addresses[device] for device in ("camera", "box")}
    assert not_serving("new", ("camera", "box"), read_serving(pair)) == ()


@pytest.mark.parametrize("device", ["box", "cloud", "camera"])
def test_a_way_back_that_is_killed_leaves_the_new_plan_and_is_completed_later(on_old, device):
    assert run(on_old, "deploy", "nobody", "") == 0
    assert answer(on_old) == 1
    assert run(on_old, "roll back", device, "back to plan") == -signal.SIGKILL
    assert answer(on_old) == 1
    assert run(on_old, "roll back", "nobody", "") == 0
    assert answer(on_old) == -1
    # The cloud, which the new plan left alone, is at the old plan's new epoch, too.
    assert not_serving("old", tuple(DEVICES), read_serving(on_old.addresses)) == ()
    before = [serving.held for serving in read_serving(on_old.addresses)]
    assert roll_back("new", on_old.addresses)[0] == "old"
    assert [serving.held for serving in read_serving(on_old.addresses)] == before
