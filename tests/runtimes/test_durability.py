"""Agents that were killed, or whose disk is damaged or full: the right plan serves again, or none, and why."""

from __future__ import annotations

import dataclasses
import hashlib
import resource
import time

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from placer.deployment.addressed import addressed
from placer.deployment.deploy import deploy, next_epoch
from placer.errors import DeployError
from runtimes.client import AgentClient
from runtimes.errors import UnknownName, Unreachable, WrongState
from runtimes.local import LocalAgents
from tests.runtimes.plans import BRANCHING, Step, branching_result, plan, sample, with_model

DEVICES = ["camera", "box", "cloud"]
LARGE = (1, 30_000)


@pytest.fixture
def agents():
    with LocalAgents(DEVICES) as running:
        yield running


def branching(epoch: int, name: str = "plan"):
    return plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=epoch, name=name)


def negated(epoch: int, name: str = "negated"):
    steps = [Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("y",))]
    return plan(steps, outputs=("y",), source="camera", sink="camera", epoch=epoch, name=name)


def kill(agents: LocalAgents, *devices: str) -> None:
    for device in devices:
        agents.process(device).kill()
        agents.process(device).wait()


def held(agents: LocalAgents, device: str) -> list[tuple[str, int, str]]:
    with AgentClient(agents.addresses[device]) as client:
        return [(h.plan, h.epoch, h.state) for h in client.status().held]


def ask(agents: LocalAgents) -> np.ndarray:
    """Ask for a result; a connection to an agent that was started anew takes a moment."""
    deadline = time.monotonic() + 10
    with AgentClient(agents.addresses["camera"]) as client:
        while True:
            try:
                return client.infer("flow", sample(), deadline_s=10).outputs["y"]
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def test_a_site_that_lost_its_power_serves_its_plan_again(agents):
    deploy(negated(1, "old"), agents.addresses)
    deploy(branching(2), agents.addresses)
    kill(agents, *DEVICES)
    for device in DEVICES:
        agents.restart(device)
    assert held(agents, "camera") == [("old", 1, "previous"), ("plan", 2, "active")]
    np.testing.assert_allclose(ask(agents), branching_result(sample()["x"]), rtol=1e-6)
    # What is behind is refused as before, and the way back is still there.
    with AgentClient(agents.addresses["box"]) as box:
        with pytest.raises(WrongState, match="epoch 1 has plan 'old' here, with another content"):
            box.stage(addressed(branching(1), agents.addresses)["box"])
        with pytest.raises(WrongState, match="behind the active epoch 2"):
            box.activate("old", 1)
        with pytest.raises(WrongState, match="epoch 2 has plan 'plan' here, with another content"):
            box.stage(addressed(negated(2), agents.addresses)["box"])
    for device in ("box", "camera"):
        with AgentClient(agents.addresses[device]) as client:
            assert client.rollback(3) == "old"
    kill(agents, "box")
    agents.restart("box")
    assert held(agents, "box") == [("plan", 2, "previous"), ("old", 3, "active")]
    np.testing.assert_array_equal(ask(agents), -sample()["x"])


def test_damaged_state_is_refused_and_said_and_a_new_deployment_mends_it(agents):
    deploy(branching(4), agents.addresses)
    kill(agents, "box", "camera")
    state = agents.store("box") / "plans.state"
    state.write_bytes(state.read_bytes()[:-100])
    # A right digest over content that is no state.
    (agents.store("camera") / "plans.state").write_bytes(
        b"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n{}"
    )
    agents.restart("box")
    agents.restart("camera")
    for device, why in (("box", "its digest does not fit"), ("camera", "missing required field `active`")):
        assert held(agents, device) == []
        with AgentClient(agents.addresses[device]) as client:
            assert why in client.status().trouble
            assert "deploy a plan again" in client.status().trouble
            with pytest.raises(UnknownName, match=why):
                client.infer("flow", sample())
    deploy(branching(next_epoch(agents.addresses)), agents.addresses)
    np.testing.assert_allclose(ask(agents), branching_result(sample()["x"]), rtol=1e-6)
    with AgentClient(agents.addresses["box"]) as client:
        assert client.status().trouble == ""


def test_a_blob_that_was_damaged_on_the_disk_is_never_served(agents):
    deployment = branching(7)
    deploy(deployment, agents.addresses)
    kill(agents, "box")
    (segment,) = deployment.assignments["box"].segments
    blob = agents.store("box") / segment.blob
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    agents.restart("box")
    assert held(agents, "box") == [("plan", 7, "lost")]
    with AgentClient(agents.addresses["box"]) as box:
        assert f"blob {segment.blob} was damaged" in box.status().trouble
    # The sources still hold that plan: an explicit error, no wrong result.
    with pytest.raises(WrongState, match=r"'box'.*does not hold plan 'plan' under epoch 7"):
        ask(agents)
    # What is lost still bars older plans.
    with AgentClient(agents.addresses["box"]) as box, pytest.raises(WrongState, match="not above the active epoch 7"):
        box.stage(addressed(branching(6, "older"), agents.addresses)["box"])
    deploy(branching(next_epoch(agents.addresses)), agents.addresses)
    np.testing.assert_allclose(ask(agents), branching_result(sample()["x"]), rtol=1e-6)


def test_agents_of_different_epochs_give_an_error_and_no_result(agents):
    deploy(branching(1), agents.addresses)
    # A disk that was put back from a copy: one device is behind all others.
    kill(agents, "box")
    old = (agents.store("box") / "plans.state").read_bytes()
    agents.restart("box")
    deploy(branching(2, "second"), agents.addresses)
    kill(agents, "box")
    (agents.store("box") / "plans.state").write_bytes(old)
    agents.restart("box")
    with pytest.raises(WrongState, match=r"'box'.*does not hold plan 'second' under epoch 2; loaded are 'plan' at 1"):
        ask(agents)
    deploy(branching(3, "third"), agents.addresses)
    np.testing.assert_allclose(ask(agents), branching_result(sample()["x"]), rtol=1e-6)


def large(epoch: int, name: str):
    """A plan whose model file on the box has 120 kB."""
    deployment = negated(epoch, name)
    weights = helper.make_tensor("w", TensorProto.FLOAT, LARGE, np.zeros(LARGE, np.float32).tobytes(), raw=True)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    nodes = [
        helper.make_node("ReduceSum", ["w"], ["zero"], keepdims=0),
        helper.make_node("Add", ["x", "zero"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    changed = with_model(deployment, "box", model)
    return dataclasses.replace(changed, blobs={hashlib.sha256(model).hexdigest(): model})


def test_an_upload_that_a_kill_broke_off_goes_on_where_it_was(agents):
    deployment = large(1, "large")
    ((sha256, model),) = deployment.blobs.items()
    share = addressed(deployment, agents.addresses)["box"]
    with AgentClient(agents.addresses["box"]) as box:
        assert box.stage(share) == {sha256: 0}
    kill(agents, "box")
    (agents.store("box") / f"partial-{sha256}").write_bytes(model[:50_000])
    agents.restart("box")
    with AgentClient(agents.addresses["box"]) as box:
        assert box.stage(share) == {sha256: 50_000}
    told: list[str] = []
    deploy(deployment, agents.addresses, lambda device, step: told.append(f"{device}: {step}"))
    uploads = [step for step in told if "upload" in step]
    whole = len(model)
    assert uploads == [f"box: upload: {n} of {whole} bytes are sent" for n in (50_000, whole)]
    np.testing.assert_array_equal(ask(agents), sample()["x"])
    # One that was damaged on the way is sent anew, without anybody's help.
    with AgentClient(agents.addresses["box"]) as box:
        assert box.stage(msgspec.structs.replace(share, plan="again", epoch=2)) == {}
    kill(agents, "box")
    (agents.store("box") / sha256).unlink()
    (agents.store("box") / f"partial-{sha256}").write_bytes(bytes(50_000))
    agents.restart("box")
    told.clear()
    deploy(large(next_epoch(agents.addresses), "again"), agents.addresses, lambda *step: told.append(": ".join(step)))
    uploads = [step for step in told if "upload" in step]
    assert uploads == [f"box: upload: {n} of {whole} bytes are sent" for n in (50_000, whole, 0, whole)]
    np.testing.assert_array_equal(ask(agents), sample()["x"])


def limit_files(agents: LocalAgents, device: str, size_bytes: int) -> None:
    """Let a device's agent write no file beyond a size: to it, the disk is full."""
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(agents.process(device).pid, resource.RLIMIT_FSIZE, (size_bytes, unlimited))


def test_a_full_disk_leaves_the_old_plan_serving_and_is_said(agents):
    deploy(branching(1), agents.addresses)
    state_bytes = (agents.store("box") / "plans.state").stat().st_size
    limit_files(agents, "box", 60_000)
    with pytest.raises(DeployError, match=r"activated nowhere: device 'box'.*cannot be written here.*free some room"):
        deploy(large(2, "large"), agents.addresses)
    assert not list(agents.store("box").glob("partial-*"))
    np.testing.assert_allclose(ask(agents), branching_result(sample()["x"]), rtol=1e-6)
    # The model files found room, what is to be remembered does not.
    limit_files(agents, "box", state_bytes // 2)
    small = negated(3, "small")
    with pytest.raises(DeployError, match=r"active on \[\] only.*plans.state cannot be written.*free some room"):
        deploy(small, agents.addresses)
    assert held(agents, "box") == [("plan", 1, "active"), ("small", 3, "prepared")]
    np.testing.assert_allclose(ask(agents), branching_result(sample()["x"]), rtol=1e-6)
    limit_files(agents, "box", resource.RLIM_INFINITY)
    deploy(small, agents.addresses)
    np.testing.assert_array_equal(ask(agents), -sample()["x"])
