"""Agents whose segments' processes are killed, frozen or greedy, and agents that are killed or told to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from placer.deployment.deploy import deploy
from runtimes.client import AgentClient
from runtimes.errors import AgentError, DeadlineExceeded, Exhausted, Unreachable
from runtimes.local import LocalAgents
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub
from tests.runtimes.children import children
from tests.runtimes.isolation.models import greedy
from tests.runtimes.plans import BRANCHING, Step, branching_result, endless, plan, sample, with_model

ALONE = [Step(name="flow/0", device="box", op="Neg", inputs=("a",), outputs=("y",))]
CHAIN = [
    Step(name="flow/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
    Step(name="flow/1", device="box", op="Neg", inputs=("a",), outputs=("y",)),
]
SLOW = [
    Step(name="flow/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
    Step(name="flow/1", device="box", op="Neg", inputs=("a",), outputs=("y",), pad_to_s=4.0),
]
ONES, ZEROS = {"a": np.ones((1, 4), np.float32)}, {"a": np.zeros((1, 4), np.float32)}


def until(holds, what: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def health(address: str, service: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


def is_ready(address: str, name: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        return Stub(channel, INFERENCE_SERVICE).ModelReady(oip.ModelReadyRequest(name=name), timeout=5).ready


def deploy_alone(agents: LocalAgents, model: bytes | None = None) -> None:
    deployment = plan(ALONE, outputs=("y",), source="box", sink="box", epoch=1, inputs=("a",))
    deploy(deployment if model is None else with_model(deployment, "box", model), agents.addresses)


@pytest.fixture
def box():
    with LocalAgents(["box"]) as agents:
        yield agents


def test_a_killed_segment_is_said_at_once_and_serves_again_by_itself(box):
    deploy_alone(box)
    address = box.addresses["box"]
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    child = children(box.process("box").pid)["flow/0"]
    with AgentClient(address) as client:
        assert client.infer("flow", ONES, deadline_s=5).outputs is not None
        assert (health(address, "flow/0"), health(address, "flow")) == (serving, serving)
        os.kill(child, signal.SIGKILL)
        started = time.monotonic()
        outcomes = [_outcome(client, ONES)]
        assert time.monotonic() - started < 1
        # Each is right or an explicit error with the segment's name, until the service is back.
        while outcomes[-1] is not None and time.monotonic() < started + 20:
            assert isinstance(outcomes[-1], Unreachable)
            assert "device 'box', segment 'flow/0': its process was ended by SIGKILL" in str(outcomes[-1])
            outcomes.append(_outcome(client, ONES))
        assert len(outcomes) > 1
        assert outcomes[-1] is None
        assert (health(address, "flow/0"), health(address, "flow")) == (serving, serving)
        assert is_ready(address, "flow")
        # Killed again and again it is gone for ever longer, and health and ModelReady say so.

        def is_said() -> bool:
            for child in children(box.process("box").pid).values():
                os.kill(child, signal.SIGKILL)
            return health(address, "flow/0") == not_serving and not is_ready(address, "flow/0")

        until(is_said, "it was never said")
        until(lambda: health(address, "flow") == serving, "it never came back")


def test_a_frozen_segment_is_an_error_by_the_deadline_and_is_replaced(box):
    deploy_alone(box)
    child = children(box.process("box").pid)["flow/0"]
    os.kill(child, signal.SIGSTOP)
    with AgentClient(box.addresses["box"]) as client:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            client.infer("flow", ONES, deadline_s=0.5)
        assert time.monotonic() - started < 1
        until(lambda: _outcome(client, ONES) is None, "it never came back")
    assert children(box.process("box").pid) != {"flow/0": child}


def test_one_segment_takes_no_other_with_it():
    with LocalAgents(["camera", "box", "cloud"]) as agents:
        deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=1), agents.addresses)
        before = children(agents.process("cloud").pid)
        os.kill(before["flow/2"], signal.SIGKILL)
        x = sample()
        with AgentClient(agents.addresses["camera"]) as client:
            deadline = time.monotonic() + 20
            while True:
                try:
                    outputs = client.infer("flow", x, deadline_s=2).outputs
                    break
                except AgentError as error:
                    assert "device 'cloud', segment 'flow/2'" in str(error)  # noqa: PT017  every one, not the last
                    assert time.monotonic() < deadline
        np.testing.assert_allclose(outputs["y"], branching_result(x["x"]), rtol=1e-6)
        after = children(agents.process("cloud").pid)
        assert after.keys() == before.keys() == {"flow/2", "flow/3"}
        assert after["flow/3"] == before["flow/3"]


def test_more_memory_than_allowed_is_refused_and_the_segment_serves_on(box):
    _, model = greedy()
    # Its ports are x and y; the plan's tensor is called a.
    deployment = plan(
        [Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("y",))],
        outputs=("y",), source="box", sink="box", epoch=1,
    )  # fmt: skip
    deploy(with_model(deployment, "box", model), box.addresses)
    with AgentClient(box.addresses["box"]) as client:
        with pytest.raises(Exhausted, match=r"device 'box', segment 'flow/0': there is not enough memory"):
            client.infer("flow", {"x": ONES["a"]}, deadline_s=20)
        np.testing.assert_array_equal(client.infer("flow", {"x": ZEROS["a"]}, deadline_s=20).outputs["y"], 0)


def test_an_agent_killed_outright_leaves_no_process(box):
    deploy_alone(box, endless())
    agent = box.process("box")
    child = children(agent.pid)["flow/0"]
    # It is in the middle of a loop that does not end.
    asking = _ask_what_does_not_end(box.addresses["box"], child)
    agent.kill()
    agent.wait()
    asking.join()
    until(lambda: not Path(f"/proc/{child}").exists(), "its segment outlived it")


def test_an_agent_told_to_stop_ends_what_it_has_begun_and_refuses_the_rest():
    # Time enough on a busy machine: the request is to be under way through all of this, and not to be cut off.
    with LocalAgents(["camera", "box"], options=["--drain-s", "60"]) as agents:
        deploy(plan(SLOW, outputs=("y",), source="camera", sink="camera", epoch=1), agents.addresses)
        x = sample()
        answers: list[object] = []

        def ask() -> None:
            with AgentClient(agents.addresses["camera"]) as client:
                answers.append(client.infer("flow", x, deadline_s=60).outputs["y"])

        asking = threading.Thread(target=ask)
        asking.start()
        with AgentClient(agents.addresses["box"]) as box:
            until(lambda: box.status().open_requests == 1, "the request never came")
            for device in ("box", "camera"):
                agents.process(device).terminate()
            not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
            until(lambda: health(agents.addresses["box"], "") == not_serving, "health never said it")
            with pytest.raises(Unreachable, match="draining"):
                box.infer("flow/1", {"a": x["x"]}, deadline_s=5)
        with AgentClient(agents.addresses["camera"]) as camera, pytest.raises(Unreachable, match="draining"):
            camera.infer("flow", x, deadline_s=5)
        asking.join()
        np.testing.assert_array_equal(answers[0], -np.maximum(x["x"], 0))
        for device in ("box", "camera"):
            assert agents.process(device).wait(30) == 0
            assert "cut off" not in agents.log(device)


def test_what_does_not_end_in_time_is_cut_off(box):
    deploy_alone(box, endless())
    child = children(box.process("box").pid)["flow/0"]
    asking = _ask_what_does_not_end(box.addresses["box"], child)
    started = time.monotonic()
    box.process("box").terminate()
    assert box.process("box").wait(10) == 5
    assert time.monotonic() - started < 8
    asking.join()
    assert "cut off" in box.log("box")
    until(lambda: not Path(f"/proc/{child}").exists(), "its segment outlived it")


def test_more_clients_than_there_are_places_for_are_refused_at_once(box):
    slow = [Step(name="flow/0", device="box", op="Neg", inputs=("a",), outputs=("y",), pad_to_s=1.0)]
    deploy(plan(slow, outputs=("y",), source="box", sink="box", epoch=1, inputs=("a",)), box.addresses)
    took_s: list[float] = []
    refusals: list[AgentError | None] = []

    def ask() -> None:
        with AgentClient(box.addresses["box"]) as client:
            started = time.monotonic()
            refusals.append(_outcome(client, ONES, deadline_s=3.0))
            took_s.append(time.monotonic() - started)

    asking = [threading.Thread(target=ask) for _ in range(40)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    refused = [error for error in refusals if isinstance(error, Exhausted)]
    assert refused
    assert all("32 clients are waiting here; try later" in str(error) for error in refused)
    # The rest had their turn, or none in time; nobody waited longer than he said.
    assert all(error is None or isinstance(error, (Exhausted, DeadlineExceeded)) for error in refusals)
    assert None in refusals
    assert max(took_s) < 6
    with AgentClient(box.addresses["box"]) as client:
        until(lambda: _outcome(client, ONES) is None, "it never came back")


def test_without_isolation_there_are_no_processes():
    with LocalAgents(["box"], options=["--no-isolation"]) as agents:
        deploy_alone(agents)
        with AgentClient(agents.addresses["box"]) as client:
            np.testing.assert_array_equal(client.infer("flow", ONES, deadline_s=5).outputs["y"], -ONES["a"])
        assert children(agents.process("box").pid) == {}


def _outcome(client: AgentClient, inputs, deadline_s: float = 5.0) -> AgentError | None:
    try:
        got = client.infer("flow", inputs, deadline_s=deadline_s).outputs["y"]
    except AgentError as error:
        return error
    np.testing.assert_array_equal(got, -inputs["a"])
    return None


def _ask_what_does_not_end(address: str, child: int) -> threading.Thread:
    """Ask a segment in a thread, and wait until its process is at work."""
    before_s = _processor_s(child)

    def ask() -> None:
        with AgentClient(address) as client, pytest.raises(AgentError):
            client.infer("flow", ONES, deadline_s=30)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: _processor_s(child) > before_s + 0.1, "it does not run")
    return asking


def _processor_s(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
