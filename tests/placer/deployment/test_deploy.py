"""Deployments: parts that do not fit are refused, and what is deployed runs."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

from placer.deployment.deploy import deploy, next_epoch, run
from placer.errors import DeployError, RunError
from runtimes.client import AgentClient
from runtimes.local import LocalAgents
from tests.runtimes.plans import BRANCHING, branching_result, plan, sample


@pytest.fixture(scope="module")
def addresses():
    with LocalAgents(["camera", "box", "cloud"]) as agents:
        yield agents.addresses


def deployment(epoch: int = 1, sink: str = "camera"):
    return plan(BRANCHING, outputs=("y",), source="camera", sink=sink, epoch=epoch)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: {"assignments": {}}, "has no assignment"),
        (lambda d: {"blobs": {}}, r"needs blob [0-9a-f]{64}, which is not here"),
        (lambda d: {"blobs": {**d.blobs, "0" * 64: b"x"}}, "have another digest"),
        (lambda d: {"epoch": 2}, r"epoch 2 is for 'camera', 'plan', 1"),
        (lambda d: {"assignments": {"camera": d.assignments["camera"]}}, r"passes \['box', 'cloud'\]"),
        (lambda d: {"assignments": {**d.assignments, "box": deployment(sink="box").assignments["box"]}}, "two ways"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, says):
    with pytest.raises(DeployError, match=says):
        dataclasses.replace(deployment(), **change(deployment()))


def test_a_blob_of_another_size_is_refused():
    given = deployment()
    share = given.assignments["box"]
    share = msgspec.structs.replace(share, segments=(msgspec.structs.replace(share.segments[0], blob_bytes=1),))
    with pytest.raises(DeployError, match="says its blob has 1 bytes"):
        dataclasses.replace(given, assignments={**given.assignments, "box": share})


def test_sources_are_activated_last():
    assert deployment().sources_last() == ("box", "cloud", "camera")


@pytest.mark.parametrize("sink", ["camera", "cloud"])
def test_what_is_deployed_runs(addresses, sink):
    given = deployment(next_epoch(addresses), sink)
    steps: list[tuple[str, str]] = []
    deploy(given, addresses, lambda device, step: steps.append((device, step.split()[0])))
    assert {device for device, step in steps if step == "prepare"} == {"camera", "box", "cloud"}
    assert [device for device, step in steps if step == "activate"] == ["box", "cloud", "camera"]
    done: list[int] = []
    measured = run(given, addresses, "flow", (sample(i) for i in range(3)), deadline_s=10, progress=done.append)
    assert done == [1, 2, 3]
    for i, passage in enumerate(measured.passages):
        np.testing.assert_allclose(passage.outputs["y"], branching_result(sample(i)["x"]), rtol=1e-6)
        own = [o for o in measured.observations if o.request == passage.request_id]
        assert len([o for o in own if o.kind == "segment"]) == 4
        assert len([o for o in own if o.kind == "hop"]) == (4 if sink == "camera" else 3)
        assert 0 < sum(o.seconds for o in own if o.kind == "segment") < passage.latency_s
    assert next_epoch(addresses) == given.epoch + 1


def test_only_missing_blobs_are_sent(addresses):
    deploy(deployment(next_epoch(addresses)), addresses)
    steps: list[str] = []
    deploy(deployment(next_epoch(addresses)), addresses, lambda device, step: steps.append(step))
    assert not [step for step in steps if step.startswith("upload")]


def test_devices_without_address_or_agent_are_named(addresses):
    given = deployment(next_epoch(addresses))
    with pytest.raises(DeployError, match="no address is given for device 'box', 'cloud'"):
        deploy(given, {"camera": addresses["camera"]})
    with pytest.raises(DeployError, match=r"activated nowhere: device 'box': agent at 127\.0\.0\.1:1"):
        deploy(given, {**addresses, "box": "127.0.0.1:1"})
    with pytest.raises(DeployError, match=r"device 'box'.*127\.0\.0\.1:1"):
        next_epoch({"box": "127.0.0.1:1"})
    with pytest.raises(DeployError, match="for device 'box', this is 'cloud'"):
        deploy(given, {**addresses, "box": addresses["cloud"]})


def test_a_run_that_fails_is_named(addresses):
    given = deployment(next_epoch(addresses))
    deploy(given, addresses)
    with pytest.raises(RunError, match=r"flow 'flow', request 2: .*\[1, 5\]"):
        run(given, addresses, "flow", [sample(), {"x": np.zeros((1, 5), np.float32)}], deadline_s=5)
    with pytest.raises(DeployError, match=r"no flow 'other'; it has \['flow'\]"):
        run(given, addresses, "other", [], deadline_s=5)
    with AgentClient(addresses["camera"]) as client:
        assert client.status().open_requests == 0
