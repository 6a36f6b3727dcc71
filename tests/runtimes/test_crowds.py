"""Who connects and does nothing, or asks and does not read, keeps nobody out, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import queue
import resource
import socket
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from placer.deployment.deploy import deploy
from runtimes.channel import open_channel
from runtimes.client import AgentClient
from runtimes.convert import encode
from runtimes.local import LocalAgents
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub
from tests.runtimes.plans import Step, plan, tensor
from tests.runtimes.proxy import Proxy

SHAPE = (1, 250_000)
X = np.arange(SHAPE[1], dtype=np.float32).reshape(SHAPE)


@pytest.fixture(scope="module")
def agents():
    steps = [Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("y",))]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What a service gets where nobody asks for more.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))
    with LocalAgents(["box"]) as running:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        deploy(plan(steps, outputs=("y",), source="box", sink="box", epoch=1, shape=SHAPE), running.addresses)
        yield running


def ask(address: str) -> None:
    with AgentClient(address) as client:
        np.testing.assert_array_equal(client.infer("flow", {"x": X}, deadline_s=20).outputs["y"], -X)


def sockets(pid: int) -> int:
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += link.readlink().as_posix().startswith("socket:")
    return found


def test_more_than_a_thousand_idle_connections_keep_nobody_out(agents):
    address, pid = agents.addresses["box"], agents.process("box").pid
    before = sockets(pid)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    host, _, port = address.rpartition(":")
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(1100):
                stack.enter_context(socket.create_connection((host, int(port))))
            ask(address)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    deadline = time.monotonic() + 20
    while sockets(pid) > before + 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ask(address)


def test_idle_streams_keep_nobody_out_but_further_ones(agents):
    message = oip.ModelInferRequest(model_name="flow")
    encode({"x": X}, [tensor("x", SHAPE)], message.inputs, message.raw_input_contents)
    ends = [queue.SimpleQueue() for _ in range(33)]
    with (
        open_channel(agents.addresses["box"], 8 << 20) as channel,
        AgentClient(agents.addresses["box"], timeout_s=20) as client,
    ):
        stub = Stub(channel, INFERENCE_SERVICE)

        def begin(end: queue.SimpleQueue) -> grpc.Call:
            end.put(message)
            return stub.ModelStreamInfer(iter(end.get, None), timeout=60)

        *streams, further = map(begin, ends)
        for stream in streams:
            assert next(stream).infer_response.outputs
        with pytest.raises(grpc.RpcError, match="32 calls of ModelStreamInfer are open here"):
            next(further)
        ask(agents.addresses["box"])
        assert client.observations()
        for end in ends:
            end.put(None)
        for stream in streams:
            assert list(stream) == []
        # One that has ended leaves its place to another, a moment later.
        deadline = time.monotonic() + 20
        while not served(begin(end := queue.SimpleQueue())):
            assert time.monotonic() < deadline
        end.put(None)


def served(stream) -> bool:
    try:
        return bool(next(stream).infer_response.outputs)
    except grpc.RpcError:
        return False


def test_slow_readers_keep_nobody_waiting(agents):
    message = oip.ModelInferRequest(model_name="flow")
    encode({"x": X}, [tensor("x", SHAPE)], message.inputs, message.raw_input_contents)
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(Proxy(agents.addresses["box"]))
        streams = []
        for _ in range(8):
            stub = Stub(stack.enter_context(open_channel(wire.address, 8 << 20)), INFERENCE_SERVICE)
            # Each asks for far more than any buffer on the way takes.
            streams.append(stub.ModelStreamInfer(iter([message] * 1000), timeout=15))
            next(streams[-1])
        wire.cut("hang")
        for _ in range(3):
            started = time.monotonic()
            ask(agents.addresses["box"])
            assert time.monotonic() - started < 10
        for stream in streams:
            with pytest.raises(grpc.RpcError):
                list(stream)
    with AgentClient(agents.addresses["box"]) as client:
        deadline = time.monotonic() + 20
        while client.status().open_requests:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    ask(agents.addresses["box"])
