"""Spans of one request on three agents arrive at a collector as one tree."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from placer.deployment.deploy import deploy
from runtimes.client import AgentClient
from runtimes.convert import encode
from runtimes.errors import Failed
from runtimes.local import LocalAgents
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub
from tests.runtimes.plans import BRANCHING, Step, failing_on_ones, plan, sample, tensor, with_model

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self):
        self.spans = []

    def Export(self, request, context):  # noqa: N802  the protocol's name
        for resource in request.resource_spans:
            told = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert told["service.name"] == "placer-agent"
            self.spans += [(told["service.instance.id"], s) for scope in resource.scope_spans for s in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, trace_id: str):
        return [(device, s) for device, s in self.spans if s.trace_id.hex() == trace_id]


@pytest.fixture
def collector():
    server = grpc.server(ThreadPoolExecutor(4))
    made = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
    made.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield made
    server.stop(None).wait()


def test_a_request_is_one_tree_over_all_devices(collector):
    with LocalAgents(["camera", "box", "cloud"], options=["--otlp", collector.url]) as agents:
        deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=1), agents.addresses)
        message = oip.ModelInferRequest(model_name="flow", id="q")
        encode(sample(), [tensor("x")], message.inputs, message.raw_input_contents)
        with grpc.insecure_channel(agents.addresses["camera"]) as channel:
            infer = Stub(channel, INFERENCE_SERVICE).ModelInfer
            infer(message, timeout=10, metadata=[("traceparent", f"00-{TRACE}-{SPAN}-01")])
            infer(message, timeout=10, metadata=[("traceparent", f"00-{'1' * 32}-{SPAN}-00")])
        with AgentClient(agents.addresses["camera"]) as client:
            client.infer("flow", sample())
    # Stopped agents have sent what was left.
    spans = collector.of(TRACE)
    named = sorted((device, s.name) for device, s in spans)
    assert named == [
        ("box", "run flow/1"), ("box", "send to cloud"), ("camera", "infer flow"), ("camera", "run flow/0"),
        ("camera", "send to box"), ("camera", "send to cloud"), ("cloud", "run flow/2"), ("cloud", "run flow/3"),
        ("cloud", "send to camera"),
    ]  # fmt: skip
    by_id = {s.span_id: s for _, s in spans}
    (root,) = (s for _, s in spans if s.parent_span_id.hex() == SPAN)
    assert root.name == "infer flow"
    for _, span in spans:
        assert span.end_time_unix_nano >= span.start_time_unix_nano
        if span is not root:
            assert span.parent_span_id in by_id
    (run,) = (s for _, s in spans if s.name == "run flow/1")
    assert by_id[run.parent_span_id].name == "send to box"
    # What the caller does not sample is not sent; a request without a trace begins one.
    assert not collector.of("1" * 32)
    assert len({s.trace_id for _, s in collector.spans}) == 2


def test_a_failure_is_in_its_span_and_a_collector_that_is_gone_disturbs_nobody(collector):
    steps = [
        Step(name="flow/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
        Step(name="flow/1", device="box", op="Neg", inputs=("a",), outputs=("y",)),
    ]
    deployment = plan(steps, outputs=("y",), source="camera", sink="camera", epoch=1)
    with LocalAgents(["camera", "box"], options=["--otlp", collector.url]) as agents:
        deploy(with_model(deployment, "box", failing_on_ones()), agents.addresses)
        with AgentClient(agents.addresses["camera"]) as client, pytest.raises(Failed):
            client.infer("flow", {"x": np.ones((1, 4), np.float32)}, deadline_s=5)
    (span,) = (s for _, s in collector.spans if s.name == "infer flow")
    assert (span.status.code, span.status.message) == (span.status.STATUS_CODE_ERROR, "INTERNAL")
    with LocalAgents(["camera", "box"], options=["--otlp", "http://127.0.0.1:9"]) as agents:
        deploy(deployment, agents.addresses)
        with AgentClient(agents.addresses["camera"]) as client:
            assert client.infer("flow", sample(), deadline_s=5).outputs is not None
