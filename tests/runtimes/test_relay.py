"""Plans of every shape between real agents: branches, joins, devices visited twice, results elsewhere."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import msgspec
import numpy as np
import pytest

from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.deployment import Deployment
from placer.deployment.run import run
from runtimes.assignment import Assignment
from runtimes.channel import open_channel
from runtimes.client import AgentClient
from runtimes.convert import encode
from runtimes.errors import BadRequest, DeadlineExceeded, Failed, UnknownName, WrongState
from runtimes.hop import Hop, write_hop
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub
from runtimes.session import open_session
from runtimes.specs import FlowSpec, Route, TensorSpec
from tests.runtimes.plans import BRANCHING, Step, branching_result, failing_on_ones, plan, sample, tensor, with_model
from tests.runtimes.test_session import BASIC_PITCH, segment

PING_PONG = [
    Step(name="flow/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
    Step(name="flow/1", device="box", op="Neg", inputs=("a",), outputs=("b",)),
    Step(name="flow/2", device="camera", op="Sin", inputs=("b",), outputs=("c",)),
    Step(name="flow/3", device="box", op="Sub", inputs=("c", "a"), outputs=("y",)),
]


def test_branches_are_joined_at_the_receiver(addresses):
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    measured = run(deployment, addresses, "flow", [sample(i) for i in range(5)], deadline_s=10)
    for i, passage in enumerate(measured.passages):
        np.testing.assert_allclose(passage.outputs["y"], branching_result(sample(i)["x"]), rtol=1e-6)
    ran = [(o.kind, o.segment, o.device, o.to) for o in measured.observations]
    assert sorted(set(ran)) == [
        ("hop", "flow/0", "camera", "box"),
        ("hop", "flow/0", "camera", "cloud"),
        ("hop", "flow/1", "box", "cloud"),
        ("hop", "flow/3", "cloud", "camera"),
        ("segment", "flow/0", "camera", ""),
        ("segment", "flow/1", "box", ""),
        ("segment", "flow/2", "cloud", ""),
        ("segment", "flow/3", "cloud", ""),
    ]
    assert len(ran) == 5 * 8
    assert all(o.bytes == (32 if o.segment == "flow/3" and o.kind == "segment" else 16) for o in measured.observations)


def test_two_devices_are_visited_twice(addresses):
    deployment = plan(PING_PONG, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    (passage,) = run(deployment, addresses, "flow", [sample()], deadline_s=10).passages
    a = np.maximum(sample()["x"], 0)
    np.testing.assert_allclose(passage.outputs["y"], np.sin(-a) - a, rtol=1e-6)


def test_result_is_read_at_a_sink_elsewhere(addresses):
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="box", epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    with AgentClient(addresses["camera"]) as source, AgentClient(addresses["box"]) as sink:
        reply = source.infer("flow", sample(), request_id="image-7")
        assert (reply.outputs, reply.request_id) == (None, "image-7")
        np.testing.assert_allclose(sink.fetch("image-7")["y"], branching_result(sample()["x"]), rtol=1e-6)
        with pytest.raises(UnknownName, match="image-8"):
            sink.fetch("image-8")


def test_flows_that_end_at_one_sink_keep_their_results_apart(addresses):
    east, west = "east", "west"
    epoch = next_epoch(addresses)
    one, other = (
        plan(
            [Step(name=f"{flow}/0", device="cloud", op=op, inputs=("x",), outputs=("y",))],
            outputs=("y",), source=source, sink="cloud", epoch=epoch, flow=flow,
        )
        for flow, source, op in ((east, "camera", "Relu"), (west, "box", "Neg"))
    )  # fmt: skip
    first, second = (d.assignments["cloud"] for d in (one, other))
    both = msgspec.structs.replace(first, flows=first.flows + second.flows, segments=first.segments + second.segments)
    shares = {**one.assignments, **other.assignments, "cloud": both}
    deploy(Deployment(plan="plan", epoch=epoch, assignments=shares, blobs={**one.blobs, **other.blobs}), addresses)
    x = np.full((1, 4), 2, np.float32)
    with (
        AgentClient(addresses["camera"]) as camera,
        AgentClient(addresses["box"]) as box,
        AgentClient(addresses["cloud"]) as sink,
    ):
        camera.infer(east, {"x": x}, request_id="frame-1")
        np.testing.assert_array_equal(sink.fetch("frame-1")["y"], x)
        box.infer(west, {"x": x}, request_id="frame-1")
        np.testing.assert_array_equal(sink.fetch("frame-1", east)["y"], x)
        np.testing.assert_array_equal(sink.fetch("frame-1", west)["y"], -x)
        with pytest.raises(BadRequest, match=r"'frame-1'.*\['east', 'west'\]"):
            sink.fetch("frame-1")
        box.infer(west, {"x": x}, request_id="frame-2")
        with pytest.raises(UnknownName, match="'frame-2' of flow 'east'"):
            sink.fetch("frame-2", east)


def test_an_unfetched_result_is_that_of_the_first_request_of_its_id(addresses):
    steps = [Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("y",))]
    deploy(plan(steps, outputs=("y",), source="camera", sink="cloud", epoch=next_epoch(addresses)), addresses)
    with AgentClient(addresses["camera"]) as source, AgentClient(addresses["cloud"]) as sink:
        source.infer("flow", sample(1), request_id="again")
        # A client that lost the answer asks again.
        assert source.infer("flow", sample(1), request_id="again").request_id == "again"
        with pytest.raises(BadRequest, match=r"'cloud'.*earlier request 'again' of flow 'flow'.*fetch it first"):
            source.infer("flow", sample(2), request_id="again")
        np.testing.assert_array_equal(sink.fetch("again", "flow")["y"], -sample(1)["x"])
        source.infer("flow", sample(2), request_id="again")
        np.testing.assert_array_equal(sink.fetch("again", "flow")["y"], -sample(2)["x"])
        assert (source.status().open_requests, sink.status().open_requests) == (0, 0)


def test_flow_without_a_segment_at_its_source(addresses):
    steps = [Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("y",))]
    deployment = plan(steps, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    (passage,) = run(deployment, addresses, "flow", [sample()], deadline_s=10).passages
    np.testing.assert_array_equal(passage.outputs["y"], -sample()["x"])


def test_flow_that_stays_on_one_device(addresses):
    steps = [Step(name="flow/0", device="camera", op="Neg", inputs=("x",), outputs=("y",))]
    deployment = plan(steps, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    (passage,) = run(deployment, addresses, "flow", [sample()], deadline_s=10).passages
    np.testing.assert_array_equal(passage.outputs["y"], -sample()["x"])


def test_a_segment_runs_alone(addresses):
    deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses)), addresses)
    ones = np.ones((1, 4), np.float32)
    with AgentClient(addresses["cloud"]) as cloud:
        outputs = cloud.infer("flow/3", {"b": ones, "c": 3 * ones}).outputs
    np.testing.assert_array_equal(outputs["y"], -2 * ones)


def test_eight_clients_get_each_their_own_result(addresses):
    deployment = plan(PING_PONG, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(deployment, addresses)

    def ask(seed: int) -> bool:
        with AgentClient(addresses["camera"]) as client:
            for i in range(25):
                feeds = sample(1000 * seed + i)
                a = np.maximum(feeds["x"], 0)
                outputs = client.infer("flow", feeds).outputs
                if not np.allclose(outputs["y"], np.sin(-a) - a):
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))
    with AgentClient(addresses["camera"]) as client:
        assert client.status().open_requests == 0


def test_padding_stands_in_for_a_slower_device(addresses):
    steps = [Step(name="flow/0", device="camera", op="Neg", inputs=("x",), outputs=("y",), pad_to_s=0.05)]
    deployment = plan(steps, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    measured = run(deployment, addresses, "flow", [sample()], deadline_s=10)
    (observation,) = measured.observations
    assert observation.padded_s >= 0.05 > observation.seconds
    assert measured.passages[0].latency_s >= 0.05


def test_a_request_that_cannot_end_in_time_says_so(addresses):
    steps = [Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("y",), pad_to_s=1.0)]
    deploy(plan(steps, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses)), addresses)
    with AgentClient(addresses["camera"]) as client, pytest.raises(DeadlineExceeded, match=r"within 0\.2 s.*'box'"):
        client.infer("flow", sample(), deadline_s=0.2)


def test_the_flows_own_deadline_holds_where_the_client_names_none(addresses):
    steps = [Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("y",), pad_to_s=1.0)]
    deploy(
        plan(steps, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses), deadline_s=0.1),
        addresses,
    )
    message = oip.ModelInferRequest(model_name="flow")
    encode(sample(), [tensor("x")], message.inputs, message.raw_input_contents)
    with open_channel(addresses["camera"], 1 << 20) as channel, pytest.raises(grpc.RpcError) as caught:
        Stub(channel, INFERENCE_SERVICE).ModelInfer(message)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_hop_of_an_epoch_that_nobody_holds_is_refused(addresses):
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    # Two later plans push the first out of the box, while the camera still follows it.
    for later in (1, 2):
        steps = [Step(name="other/0", device="box", op="Neg", inputs=("x",), outputs=("y",))]
        deploy(
            plan(
                steps,
                outputs=("y",),
                source="box",
                sink="box",
                flow="other",
                name=f"other-{later}",
                epoch=deployment.epoch + later,
            ),
            addresses,
        )
    with AgentClient(addresses["camera"]) as client, pytest.raises(WrongState, match=r"'box'.*epoch"):
        client.infer("flow", sample(), deadline_s=5)


def test_a_segment_that_fails_names_itself_at_the_source(addresses):
    steps = [
        Step(name="flow/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
        Step(name="flow/1", device="box", op="Neg", inputs=("a",), outputs=("y",)),
    ]
    deployment = plan(steps, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deployment = with_model(deployment, "box", failing_on_ones())
    deploy(deployment, addresses)
    with AgentClient(addresses["camera"]) as client:
        np.testing.assert_array_equal(client.infer("flow", {"x": np.zeros((1, 4), np.float32)}).outputs["y"], 0)
        with pytest.raises(Failed, match=r"device 'box', segment 'flow/1'"):
            client.infer("flow", {"x": np.ones((1, 4), np.float32)}, deadline_s=5)


JOINED = [
    Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("b",)),
    Step(name="flow/1", device="cloud", op="Sub", inputs=("x", "b"), outputs=("y",)),
]


def test_who_waits_at_a_join_for_what_has_failed_is_free_at_once(addresses):
    deployment = plan(JOINED, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(with_model(deployment, "box", failing_on_ones("x", "b")), addresses)
    with AgentClient(addresses["camera"]) as source, AgentClient(addresses["cloud"]) as cloud:
        np.testing.assert_array_equal(source.infer("flow", {"x": np.zeros((1, 4), np.float32)}).outputs["y"], 0)
        for _ in range(5):
            with pytest.raises(Failed, match=r"device 'box', segment 'flow/0'"):
                source.infer("flow", {"x": np.ones((1, 4), np.float32)}, deadline_s=3600)
        until(lambda: cloud.status().open_requests == 0)


def test_what_comes_after_a_request_was_given_up_opens_nothing(addresses):
    deployment = plan(JOINED, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses))
    deploy(deployment, addresses)
    word = Hop(
        kind="failed", plan="plan", epoch=deployment.epoch, flow="flow", run="over", request="q", sender="camera",
        to="cloud", after="", deadline_s=3600.0, joules=0.0,
    )  # fmt: skip
    with open_channel(addresses["cloud"], 1 << 20) as channel, AgentClient(addresses["cloud"]) as cloud:
        infer = Stub(channel, INFERENCE_SERVICE).ModelInfer

        def bring(name: str, key: str) -> None:
            message = write_hop(msgspec.structs.replace(word, kind="tensors", run=key))
            encode({name: sample()["x"]}, [tensor(name)], message.inputs, message.raw_input_contents)
            infer(message, timeout=5)

        bring("x", "over")
        assert cloud.status().open_requests == 1
        infer(write_hop(word), timeout=5)
        assert cloud.status().open_requests == 0
        bring("b", "over")
        assert cloud.status().open_requests == 0
        bring("x", "other")
        assert cloud.status().open_requests == 1
        infer(write_hop(msgspec.structs.replace(word, run="other")), timeout=5)


def test_a_client_that_goes_away_frees_its_place(addresses):
    steps = [
        Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("a",), pad_to_s=0.3),
        Step(name="flow/1", device="cloud", op="Neg", inputs=("a",), outputs=("y",)),
    ]
    deploy(plan(steps, outputs=("y",), source="camera", sink="camera", epoch=next_epoch(addresses)), addresses)
    message = oip.ModelInferRequest(model_name="flow")
    encode(sample(), [tensor("x")], message.inputs, message.raw_input_contents)
    with open_channel(addresses["camera"], 1 << 20) as channel, AgentClient(addresses["camera"]) as client:
        call = Stub(channel, INFERENCE_SERVICE).ModelInfer.future(message, timeout=30)
        until(lambda: client.status().open_requests == 1)
        call.cancel()
        until(lambda: client.status().open_requests == 0)
        np.testing.assert_array_equal(client.infer("flow", sample(), deadline_s=10).outputs["y"], sample()["x"])


def test_an_uncut_tflite_model_runs_as_one_segment(addresses):
    model = BASIC_PITCH.read_bytes()
    audio = TensorSpec(name="audio", port="serving_default_input_2:0", dtype="FP32", shape=(1, 43844, 1))
    note = TensorSpec(name="note", port="StatefulPartitionedCall:1", dtype="FP32", shape=(1, 172, 88))
    spec = segment(model, [audio], [note], "tflite")
    flow = FlowSpec(
        name="flow", source="camera", sink="camera", devices=("camera", "box"), inputs=(audio,), outputs=(note,)
    )
    shares = {
        device: Assignment(plan="pitch", epoch=next_epoch(addresses), device=device, flows=(flow,), segments=segments,
                           routes=(Route(flow="flow", after=after, to=to, tensors=(carried,)),), peers={},
                           max_message_bytes=1 << 20)
        for device, segments, after, to, carried in (
            ("camera", (), "", "box", "audio"), ("box", (spec,), "flow/0", "camera", "note"),
        )
    }  # fmt: skip
    deployment = Deployment(plan="pitch", epoch=shares["box"].epoch, assignments=shares, blobs={spec.blob: model})
    deploy(deployment, addresses)
    sound = np.random.default_rng(0).normal(scale=0.1, size=audio.shape).astype(np.float32)
    (passage,) = run(deployment, addresses, "flow", [{"audio": sound}], deadline_s=30).passages
    alone = open_session(spec, model, 1).run({"audio": sound})["note"]
    np.testing.assert_allclose(passage.outputs["note"], alone, rtol=1e-6)


def until(holds) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)
