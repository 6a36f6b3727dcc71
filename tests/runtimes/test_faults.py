"""What a client sees when an agent dies, freezes, restarts or never ends: an explicit error, by the deadline."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest

from placer.deployment.deploy import deploy, next_epoch
from placer.errors import DeployError
from runtimes.channel import open_channel
from runtimes.client import AgentClient
from runtimes.convert import encode
from runtimes.errors import AgentError, DeadlineExceeded, Unreachable
from runtimes.local import LocalAgents
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub
from tests.runtimes.plans import BRANCHING, Step, endless, plan, sample, tensor, with_model

SLOW = [
    Step(name="flow/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
    Step(name="flow/1", device="box", op="Neg", inputs=("a",), outputs=("y",), pad_to_s=30.0),
]
ENDLESS = [
    Step(name="flow/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
    Step(name="flow/1", device="box", op="Neg", inputs=("a",), outputs=("y",)),
]


@pytest.fixture
def agents():
    with LocalAgents(["camera", "box", "cloud"]) as running:
        yield running


def test_an_agent_killed_before_a_request_is_named(agents):
    deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=1), agents.addresses)
    agents.process("box").kill()
    agents.process("box").wait()
    started = time.monotonic()
    with AgentClient(agents.addresses["camera"]) as client, pytest.raises(Unreachable, match="'box'"):
        client.infer("flow", sample(), deadline_s=5)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("sink", ["camera", "cloud"])
def test_an_agent_killed_in_the_middle_of_a_run_is_named_by_the_deadline(agents, sink):
    # Its segment takes longer than the test: the kill surely comes while it runs. The warm-up is padded by nothing.
    deploy(plan(SLOW, outputs=("y",), source="camera", sink=sink, epoch=1), agents.addresses)
    caught: list[AgentError] = []
    started = time.monotonic()

    def ask() -> None:
        with AgentClient(agents.addresses["camera"]) as client:
            try:
                client.infer("flow", sample(), deadline_s=8)
            except AgentError as error:
                caught.append(error)

    client = threading.Thread(target=ask)
    client.start()
    with AgentClient(agents.addresses["box"]) as box:
        while box.status().open_requests == 0:
            time.sleep(0.01)
    agents.process("box").kill()
    client.join()
    assert time.monotonic() - started < 8
    assert isinstance(caught[0], Unreachable)
    assert "'box'" in str(caught[0])


def test_a_frozen_agent_is_named_by_the_deadline(agents):
    deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=1), agents.addresses)
    process = agents.process("box")
    process.send_signal(signal.SIGSTOP)
    try:
        with AgentClient(agents.addresses["camera"]) as client:
            for deadline_s in (0.5, 4.0):
                started = time.monotonic()
                with pytest.raises((Unreachable, DeadlineExceeded), match="'box'"):
                    client.infer("flow", sample(), deadline_s=deadline_s)
                assert time.monotonic() - started < deadline_s + 0.5
    finally:
        process.send_signal(signal.SIGCONT)
    with AgentClient(agents.addresses["camera"]) as client:
        _until_it_answers(client)


def test_an_execution_without_end_is_stopped_at_the_deadline(agents):
    deployment = plan(ENDLESS, outputs=("y",), source="camera", sink="camera", epoch=1)
    deploy(with_model(deployment, "box", endless()), agents.addresses)
    ones, zeros = {"x": np.ones((1, 4), np.float32)}, {"x": np.zeros((1, 4), np.float32)}
    with AgentClient(agents.addresses["camera"]) as client:
        with pytest.raises(DeadlineExceeded):
            client.infer("flow", ones, deadline_s=0.5)
        # The device is free again.
        np.testing.assert_array_equal(client.infer("flow", zeros, deadline_s=5).outputs["y"], 0)
    with AgentClient(agents.addresses["box"]) as client:
        with pytest.raises(DeadlineExceeded):
            client.infer("flow/1", {"a": ones["x"]}, deadline_s=0.5)
        np.testing.assert_array_equal(client.infer("flow/1", {"a": zeros["x"]}, deadline_s=5).outputs["y"], 0)
        assert client.status().open_requests == 0


def answers(client: AgentClient, model: str, inputs) -> bool:
    try:
        client.infer(model, inputs, deadline_s=0.3)
    except DeadlineExceeded:
        return False
    return True


def test_an_execution_that_nobody_waits_for_any_more_is_stopped(agents):
    deployment = plan(ENDLESS, outputs=("y",), source="camera", sink="camera", epoch=1)
    deploy(with_model(deployment, "box", endless()), agents.addresses)
    zeros = {"a": np.zeros((1, 4), np.float32)}
    with AgentClient(agents.addresses["box"]) as box:
        for device, model, name in (("camera", "flow", "x"), ("box", "flow/1", "a")):
            message = oip.ModelInferRequest(model_name=model)
            encode({name: np.ones((1, 4), np.float32)}, [tensor(name)], message.inputs, message.raw_input_contents)
            with open_channel(agents.addresses[device], 1 << 20) as channel:
                call = Stub(channel, INFERENCE_SERVICE).ModelInfer.future(message, timeout=60)
                while answers(box, "flow/1", zeros):
                    pass
                call.cancel()
                np.testing.assert_array_equal(box.infer("flow/1", zeros, deadline_s=10).outputs["y"], 0)


def test_nothing_is_activated_when_one_device_cannot_prepare(agents):
    old = plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=1, name="old")
    deploy(old, agents.addresses)
    new = plan(ENDLESS, outputs=("y",), source="camera", sink="camera", epoch=2, name="new")
    with pytest.raises(DeployError, match=r"activated nowhere: device 'box'.*no ONNX file"):
        deploy(with_model(new, "box", b"this is no model"), agents.addresses)
    for address in agents.addresses.values():
        with AgentClient(address) as client:
            assert client.status().active.plan == "old"
    with AgentClient(agents.addresses["camera"]) as client:
        assert client.infer("flow", sample()).outputs is not None
    agents.process("box").kill()
    with pytest.raises(DeployError, match=r"device 'box'"):
        deploy(plan(ENDLESS, outputs=("y",), source="camera", sink="camera", epoch=3), agents.addresses)


def test_deploying_again_after_an_interruption_is_harmless(agents):
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(agents.addresses))
    steps: list[tuple[str, str]] = []

    class InterruptionError(Exception):
        pass

    def interrupt(device: str, step: str) -> None:
        steps.append((device, step))
        if step == "activate":
            raise InterruptionError

    with pytest.raises(InterruptionError):
        deploy(deployment, agents.addresses, interrupt)
    deploy(deployment, agents.addresses)
    deploy(deployment, agents.addresses)
    with AgentClient(agents.addresses["camera"]) as client:
        assert client.infer("flow", sample()).outputs is not None


def _until_it_answers(client: AgentClient) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            assert client.infer("flow", sample(), deadline_s=2).outputs is not None
        except AgentError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
