"""Whatever bytes come, an agent says what is wrong with them and serves on; never INTERNAL, never silence."""

from __future__ import annotations

import json
import random

import grpc
import numpy as np
import pytest

from placer.deployment.deploy import deploy
from runtimes.assignment import encode_assignment
from runtimes.client import AgentClient
from runtimes.convert import encode
from runtimes.hop import Hop, write_hop
from runtimes.local import LocalAgents
from runtimes.protos import agent_pb2
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import AGENT_SERVICE, INFERENCE_SERVICE
from tests.fuzz.mutate import damaged
from tests.runtimes.plans import BRANCHING, branching_result, plan, sample, tensor

# What an agent may say of a message that is wrong; DEADLINE_EXCEEDED where the damage hit the deadline.
NAMED = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "DATA_LOSS", "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",     "UNIMPLEMENTED", "PERMISSION_DENIED",
}  # fmt: skip


@pytest.fixture(scope="module")
def agents():
    with LocalAgents(["camera", "box", "cloud"], options=["--no-isolation"]) as running:
        deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=5), running.addresses)
        yield running


@pytest.fixture
def channel(agents):
    with grpc.insecure_channel(agents.addresses["camera"]) as opened:
        yield opened
    # It serves on, and rightly.
    with AgentClient(agents.addresses["camera"]) as client:
        y = client.infer("flow", sample(), deadline_s=10).outputs["y"]
    np.testing.assert_array_equal(y, branching_result(sample()["x"]))


def status_of(channel: grpc.Channel, service, name: str, data: bytes) -> str:
    """Send bytes as a method's message, in its form, and give what comes back."""
    method = service.methods_by_name[name]
    form = ("stream" if method.client_streaming else "unary", "stream" if method.server_streaming else "unary")
    call = getattr(channel, "_".join(form))(f"/{service.full_name}/{name}")
    try:
        answer = call(iter([data]) if method.client_streaming else data, timeout=5)
        if method.server_streaming:
            list(answer)
    except grpc.RpcError as error:
        return error.code().name if error.details() else f"{error.code().name} without a word"
    return "OK"


def request() -> bytes:
    message = oip.ModelInferRequest(model_name="flow", id="q")
    message.parameters["placer.deadline_s"].double_param = 3.0
    encode(sample(), [tensor("x")], message.inputs, message.raw_input_contents)
    return message.SerializeToString()


def hop() -> bytes:
    message = write_hop(
        Hop(kind="tensors", plan="plan", epoch=5, flow="flow", run="r", request="q", sender="box", to="camera",
            after="flow/1", deadline_s=3.0, joules=None)
    )  # fmt: skip
    encode({"b": sample()["x"]}, [tensor("b")], message.inputs, message.raw_input_contents)
    return message.SerializeToString()


def large() -> bytes:
    """Beyond the size from which tensors are cut out by hand."""
    message = oip.ModelInferRequest(model_name="flow", raw_input_contents=[bytes(70_000)])
    message.inputs.add(name="x", datatype="FP32", shape=[1, 17_500])
    return message.SerializeToString()


@pytest.mark.parametrize("make", [request, hop, large])
@pytest.mark.parametrize("name", ["ModelInfer", "ModelStreamInfer"])
def test_damaged_requests_are_named(channel, make, name):
    rng = random.Random(f"{make.__name__}/{name}")
    seen = {status_of(channel, INFERENCE_SERVICE, name, damaged(make(), rng)) for _ in range(150)}
    assert seen <= NAMED
    if name == "ModelInfer":
        assert "INVALID_ARGUMENT" in seen


def test_damaged_manifests_are_named(channel):
    rng = random.Random("manifest")
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=4)
    text = encode_assignment(deployment.assignments["camera"])
    for turn in range(250):
        made = damaged(text, rng) if turn % 2 else _odd(json.loads(text), rng)
        data = agent_pb2.StageRequest(manifest=made).SerializeToString()
        assert status_of(channel, AGENT_SERVICE, "Stage", data) in NAMED


def _odd(value, rng: random.Random) -> bytes:
    """Put something else in one place of a JSON value."""
    odd = (None, -1, 2**63, 1e308, "", "\x00", "a" * 5000, [], {}, [[]], True, "../x")
    at = value
    while True:
        key = rng.choice(list(at) if isinstance(at, dict) else range(len(at))) if at else None
        if key is None:
            return json.dumps(value).encode()
        if isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.8:
            at = at[key]
            continue
        at[key] = rng.choice(odd)
        return json.dumps(value).encode()


@pytest.mark.parametrize("service", [AGENT_SERVICE, INFERENCE_SERVICE], ids=["control", "data"])
def test_bytes_that_are_no_message_are_named(channel, service):
    rng = random.Random("bytes")
    for method in service.methods:
        for data in (b"", b"\xff" * 20, *(rng.randbytes(rng.randrange(1, 60)) for _ in range(8))):
            assert status_of(channel, service, method.name, data) in NAMED, (method.name, data)
