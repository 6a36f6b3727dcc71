"""What foreign clients send: the standard client is served, and what does not fit is refused while serving goes on."""

from __future__ import annotations

import json
import queue

import grpc
import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2

from placer.deployment.deploy import deploy, next_epoch
from runtimes.channel import open_channel
from runtimes.client import AgentClient
from runtimes.convert import encode
from runtimes.errors import BadRequest, UnknownName
from runtimes.hop import PROTOCOL, Hop, read_hop, write_hop
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub
from runtimes.servicer import InferenceServicer
from runtimes.unread import Unread
from runtimes.version import software_version
from runtimes.wire import Received
from tests.runtimes.plans import BRANCHING, branching_result, plan, sample, tensor


@pytest.fixture(scope="module")
def epoch(addresses):
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    return deployment.epoch


@pytest.fixture
def stub(addresses, epoch):
    with open_channel(addresses["camera"], 1 << 20) as channel:
        yield Stub(channel, INFERENCE_SERVICE)


def right() -> oip.ModelInferRequest:
    message = oip.ModelInferRequest(model_name="flow")
    encode(sample(), [tensor("x")], message.inputs, message.raw_input_contents)
    return message


def raw(*buffers):
    def change(message):
        del message.raw_input_contents[:]
        message.raw_input_contents.extend(buffers)

    return change


def shape(*dimensions):
    def change(message):
        message.inputs[0].shape[:] = dimensions

    return change


def twice(message):
    message.inputs.append(message.inputs[0])
    message.raw_input_contents.append(message.raw_input_contents[0])


BAD = {
    "raw too short": (raw(bytes(15)), "INVALID_ARGUMENT"),
    "raw too long": (raw(bytes(17)), "INVALID_ARGUMENT"),
    "dimension -1": (shape(1, -1), "INVALID_ARGUMENT"),
    "dimensions -2, -2": (shape(-2, -2), "INVALID_ARGUMENT"),
    "2^32 x 2^32": (shape(2**32, 2**32), "INVALID_ARGUMENT"),
    "wrong rank": (shape(4), "INVALID_ARGUMENT"),
    "raw and typed": (lambda m: m.inputs[0].contents.fp32_contents.extend([1] * 4), "INVALID_ARGUMENT"),
    "unknown input": (lambda m: setattr(m.inputs[0], "name", "z"), "INVALID_ARGUMENT"),
    "missing input": (lambda m: (m.inputs.pop(), m.raw_input_contents.pop()), "INVALID_ARGUMENT"),
    "input twice": (twice, "INVALID_ARGUMENT"),
    "unknown output": (lambda m: m.outputs.add(name="z"), "INVALID_ARGUMENT"),
    "output twice": (lambda m: (m.outputs.add(name="y"), m.outputs.add(name="y")), "INVALID_ARGUMENT"),
    "extra buffer": (raw(bytes(16), bytes(16)), "INVALID_ARGUMENT"),
    "wrong datatype": (lambda m: setattr(m.inputs[0], "datatype", "INT32"), "INVALID_ARGUMENT"),
    "datatype of no name": (lambda m: setattr(m.inputs[0], "datatype", "\u2603" * 9999), "INVALID_ARGUMENT"),
    "strings of length 2^32-1": (
        lambda m: (setattr(m.inputs[0], "datatype", "BYTES"), raw(b"\xff" * 16)(m)),
        "INVALID_ARGUMENT",
    ),
    "long id": (lambda m: setattr(m, "id", "x" * 257), "INVALID_ARGUMENT"),
    "deadline of nothing": (
        lambda m: setattr(m.parameters["placer.deadline_s"], "double_param", 0.0),
        "INVALID_ARGUMENT",
    ),
    "deadline that is no number": (
        lambda m: setattr(m.parameters["placer.deadline_s"], "double_param", float("nan")),
        "INVALID_ARGUMENT",
    ),
    "half a hop": (
        lambda m: setattr(m.parameters["placer.hop"], "string_param", '{"kind": "tensors"}'),
        "INVALID_ARGUMENT",
    ),
    "unknown model": (lambda m: setattr(m, "model_name", "z" * 9999), "NOT_FOUND"),
    "segment of another device": (lambda m: setattr(m, "model_name", "flow/1"), "NOT_FOUND"),
    "unknown version": (lambda m: setattr(m, "model_version", "999999"), "NOT_FOUND"),
    "version of no number": (lambda m: setattr(m, "model_version", "\u0663"), "NOT_FOUND"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_and_serving_goes_on(stub, case):
    change, status = BAD[case]
    message = right()
    change(message)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message, timeout=5)
    assert caught.value.code().name == status, caught.value.details()
    assert caught.value.details()
    outputs = stub.ModelInfer(right(), timeout=5)
    assert len(outputs.raw_output_contents) == 1


HOP = Hop(
    kind="tensors",
    plan="plan",
    epoch=0,
    flow="flow",
    run="r",
    request="q",
    sender="box",
    to="camera",
    after="flow/1",
    deadline_s=5.0,
    joules=0.0,
)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"epoch": 10**6}, "FAILED_PRECONDITION"),
        ({"plan": "other"}, "FAILED_PRECONDITION"),
        ({"to": "cloud"}, "FAILED_PRECONDITION"),
        ({"flow": "other"}, "FAILED_PRECONDITION"),
        # A source knows its runs; a stranger's would only take memory.
        ({"run": "unknown"}, "FAILED_PRECONDITION"),
        ({"deadline_s": -1.0}, "DEADLINE_EXCEEDED"),
    ],
)
def test_hops_that_belong_elsewhere_are_refused(stub, epoch, fields, status):
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(write_hop(msgspec.structs.replace(HOP, **{"epoch": epoch, **fields})), timeout=5)
    assert caught.value.code().name == status, caught.value.details()


def newer(**fields: object) -> oip.ModelInferRequest:
    """A hop as an agent of a later version may send it."""
    message = write_hop(HOP)
    parameter = message.parameters["placer.hop"]
    parameter.string_param = json.dumps({**json.loads(parameter.string_param), **fields})
    return message


def test_a_hop_of_a_newer_agent_is_taken_where_it_can_be(stub, epoch):
    hop = {"epoch": epoch, "colour": {"of": "the future"}}
    assert read_hop(newer(**hop)) == msgspec.structs.replace(HOP, epoch=epoch)
    # As one of this version: the source does not know that run.
    for fields in ({}, {"colour": "red"}):
        with pytest.raises(grpc.RpcError, match="is no longer open at its source"):
            stub.ModelInfer(newer(epoch=epoch, **fields), timeout=5)


@pytest.mark.parametrize("fields", [{}, {"kind": "echo"}, {"joules": "none"}])
def test_a_hop_that_only_a_newer_agent_understands_says_who_is_behind(stub, epoch, fields):
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(newer(epoch=epoch, protocol=PROTOCOL + 1, **fields), timeout=5)
    assert caught.value.code().name == "FAILED_PRECONDITION"
    words = f"device 'box' sends hops of protocol 2, and the agent here, of version {software_version()}, understands 1"
    assert words in caught.value.details()
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(newer(epoch=epoch, kind="echo"), timeout=5)
    assert caught.value.code().name == "INVALID_ARGUMENT"


def test_requests_of_one_head_are_answered_each_by_its_own_contents_and_id(stub, epoch):
    for number in range(4):
        x = sample() | {"x": sample()["x"] + number}
        message = oip.ModelInferRequest(model_name="flow", id=f"request {number}")
        encode(x, [tensor("x")], message.inputs, message.raw_input_contents)
        reply = stub.ModelInfer(message, timeout=5)
        assert (reply.id, reply.model_version) == (message.id, str(epoch))
        (got,) = reply.raw_output_contents
        np.testing.assert_array_equal(np.frombuffer(got, np.float32).reshape(1, 4), branching_result(x["x"]))


def test_heads_of_requests_are_remembered_up_to_a_number(addresses, epoch, stub):
    for number in range(300):
        message = right()
        message.parameters["some client's own"].int64_param = number
        assert len(stub.ModelInfer(message, timeout=5).raw_output_contents) == 1


def test_messages_above_the_limit_are_refused(addresses, epoch):
    with AgentClient(addresses["camera"]) as client:
        with pytest.raises(Exception, match="larger than max"):
            client.echo(bytes(65 << 20))
        assert client.echo(b"ping") == b"ping"


def test_typed_contents_and_versions_are_taken(stub, epoch):
    message = oip.ModelInferRequest(model_name="flow", model_version=str(epoch), id="typed")
    item = message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    item.contents.fp32_contents.extend([1, 2, -3, 4])
    reply = stub.ModelInfer(message, timeout=5)
    assert (reply.id, reply.model_name, reply.model_version) == ("typed", "flow", str(epoch))
    got = np.frombuffer(reply.raw_output_contents[0], np.float32).reshape(1, 4)
    np.testing.assert_allclose(got, branching_result(np.array([[1, 2, -3, 4]], np.float32)), rtol=1e-6)


def test_only_the_outputs_asked_for_are_sent(stub):
    message = right()
    message.outputs.add(name="y")
    assert [o.name for o in stub.ModelInfer(message, timeout=5).outputs] == ["y"]


def test_the_client_maps_statuses_to_errors(addresses, epoch):
    with AgentClient(addresses["camera"]) as client:
        with pytest.raises(UnknownName, match=rf"{addresses['camera']}.*no model 'z'"):
            client.infer("z", sample())
        with pytest.raises(BadRequest, match="datatype 'FP64'"):
            client.infer("flow", {"x": np.zeros((1, 4))})
    with AgentClient(addresses["box"]) as client, pytest.raises(UnknownName, match="begins on device 'camera'"):
        client.infer("flow", sample())


def test_triton_client(addresses, epoch):
    with triton.InferenceServerClient(addresses["camera"]) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("flow")
        assert not client.is_model_ready("nothing")
        assert client.get_server_metadata().name == "camera"
        metadata = client.get_model_metadata("flow")
        assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("x", "FP32", [1, 4])]
        feed = triton.InferInput("x", [1, 4], "FP32")
        feed.set_data_from_numpy(sample()["x"])
        wanted = [triton.InferRequestedOutput("y")]
        result = client.infer("flow", [feed], outputs=wanted, request_id="7", client_timeout=10)
        np.testing.assert_allclose(result.as_numpy("y"), branching_result(sample()["x"]), rtol=1e-6)
        assert result.get_response().id == "7"
        with pytest.raises(triton.InferenceServerException, match="no model 'nothing'"):
            client.infer("nothing", [feed])


def test_triton_client_stream(addresses, epoch):
    answers: queue.Queue = queue.Queue()
    with triton.InferenceServerClient(addresses["camera"]) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for i, model in enumerate(["flow", "nothing", "flow"]):
            feed = triton.InferInput("x", [1, 4], "FP32")
            feed.set_data_from_numpy(sample(i)["x"])
            client.async_stream_infer(model, [feed], request_id=str(i))
        got = [answers.get(timeout=10) for _ in range(3)]
        client.stop_stream()
    for i in (0, 2):
        np.testing.assert_allclose(got[i][0].as_numpy("y"), branching_result(sample(i)["x"]), rtol=1e-6)
    assert "no model 'nothing'" in str(got[1][1])


def test_health_of_server_flows_and_segments(addresses, epoch):
    def status(device: str, name: str) -> int:
        with open_channel(addresses[device], 1 << 20) as channel:
            return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name)).status

    serving = health_pb2.HealthCheckResponse.SERVING
    assert [status("camera", name) for name in ("", "flow", "flow/0")] == [serving] * 3
    assert [status("cloud", name) for name in ("", "flow/2", "flow/3")] == [serving] * 3
    with pytest.raises(grpc.RpcError) as caught:
        status("cloud", "flow")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_names_every_service(addresses):
    with open_channel(addresses["camera"], 1 << 20) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"inference.GRPCInferenceService", "placer.agent.v1.Agent", "grpc.health.v1.Health"} <= set(
            database.get_services()
        )
        found = DescriptorPool(database).FindServiceByName("placer.agent.v1.Agent")
        assert found.methods_by_name["Fetch"].output_type.full_name == "inference.ModelInferResponse"


def test_two_copies_of_the_protocol_live_in_one_process():
    theirs = service_pb2.ModelInferRequest.FromString(right().SerializeToString())
    assert theirs.model_name == "flow"
    assert theirs.DESCRIPTOR.full_name == right().DESCRIPTOR.full_name
    assert theirs.DESCRIPTOR.file.pool is not right().DESCRIPTOR.file.pool


def test_a_request_that_is_asked_again_is_not_run_again(addresses, epoch):
    with AgentClient(addresses["camera"]) as client:
        first = client.infer("flow", sample(1), request_id="part-17")
        ran = client.status().last_sequence
        again = client.infer("flow", sample(1), request_id="part-17")
        assert client.status().last_sequence == ran
        np.testing.assert_array_equal(again.outputs["y"], first.outputs["y"])
        # An id that somebody gives to another request is no answer to it.
        other = client.infer("flow", sample(2), request_id="part-17")
        np.testing.assert_allclose(other.outputs["y"], branching_result(sample(2)["x"]), rtol=1e-6)


def test_a_fault_of_the_agent_ends_no_stream_and_quotes_nothing(caplog):
    class Faulty:
        def infer(self, *request):
            raise ZeroDivisionError("of 42")

    class Context:
        def add_callback(self, callback):
            return True

        def invocation_metadata(self):
            return ()

        def time_remaining(self):
            return None

    requests = [Received(b"", name, ()) for name in ("a", "b")]
    replies = list(
        InferenceServicer("box", Faulty(), Unread(1), secure=False).model_stream_infer(iter(requests), Context())
    )
    assert [reply.infer_response.id for reply in replies] == ["a", "b"]
    assert {reply.error_message for reply in replies} == {"INTERNAL: the agent failed: ZeroDivisionError; see its log"}
    assert len(caplog.records) == 2
