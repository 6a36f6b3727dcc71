"""Conditions between real agents: what holds goes on, what does not is told to all who wait for it."""

from __future__ import annotations

import json
import time

import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton

from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.run import run
from runtimes.assignment import decode_assignment, encode_assignment
from runtimes.channel import open_channel
from runtimes.client import AgentClient
from runtimes.datatypes import DATATYPES
from runtimes.errors import BadManifest
from runtimes.hop import Hop, read_hop, write_hop
from runtimes.rpc import INFERENCE_SERVICE, Stub
from runtimes.specs import ConditionSpec, TensorSpec
from tests.runtimes.plans import Step, plan, tensor


def condition(name: str, tests: str, carries: str, makes: str, **bounds: float) -> ConditionSpec:
    return ConditionSpec(
        name=name, flow="flow", tests=tensor(tests), element=1, carries=tensor(carries), makes=tensor(makes), **bounds
    )


def x(second: float) -> dict[str, np.ndarray]:
    return {"x": np.array([[1.0, second, 3.0, 4.0]], np.float32)}


# The camera looks at its own number; two more devices wait for what it lets go, and one joins that with the rest.
STEPS = [
    Step(name="flow/0", device="camera", op="Neg", inputs=("x",), outputs=("a",)),
    Step(name="flow/1", device="box", op="Sin", inputs=("g",), outputs=("b",)),
    Step(name="flow/2", device="cloud", op="Sub", inputs=("b", "a"), outputs=("y",)),
    Step(name="flow/3", device="cloud", op="Relu", inputs=("x",), outputs=("z",)),
]


def deployed(addresses, conditions, *, sink="camera", steps=STEPS, outputs=("y", "z")):
    deployment = plan(
        steps, outputs=outputs, source="camera", sink=sink, epoch=next_epoch(addresses), conditions=conditions
    )
    deploy(deployment, addresses)
    return deployment


def assert_nothing_is_open(addresses) -> None:
    until = time.monotonic() + 5
    for address in addresses.values():
        with AgentClient(address) as client:
            while client.status().open_requests:
                assert time.monotonic() < until, "a request stays open where nothing more will come"
                time.sleep(0.01)


@pytest.mark.parametrize("decides", ["camera", "box", "cloud"])
@pytest.mark.parametrize("sink", ["camera", "box"])
def test_whoever_decides_the_same_goes_on(addresses, decides, sink):
    deployment = deployed(addresses, ((decides, condition("when", "a", "x", "g", at_least=0.5)),), sink=sink)
    measured = run(deployment, addresses, "flow", [x(-0.5), x(0.0), x(-2.0)], deadline_s=10)
    for passage, second in zip(measured.passages, (-0.5, 0.0, -2.0), strict=True):
        value = x(second)["x"]
        np.testing.assert_array_equal(passage.outputs["z"], np.maximum(value, 0))
        if -second >= 0.5:  # the bound is inclusive
            assert passage.not_taken == ()
            np.testing.assert_allclose(passage.outputs["y"], np.sin(value) + value, rtol=1e-6)
        else:
            assert (sorted(passage.outputs), passage.not_taken) == (["z"], ("y",))
    skipped = {o.segment for o in measured.observations if o.request == measured.passages[1].request_id}
    assert not skipped & {"flow/1", "flow/2"}
    assert_nothing_is_open(addresses)


def test_a_source_that_is_the_sink_says_what_was_not_taken_in_its_reply(addresses):
    deployed(addresses, (("camera", condition("when", "a", "x", "g", at_most=0.0)),))
    with AgentClient(addresses["camera"]) as client:
        taken, not_taken = client.infer("flow", x(1.0)), client.infer("flow", x(-1.0))
    assert (sorted(taken.outputs), taken.not_taken) == (["y", "z"], ())
    assert (sorted(not_taken.outputs), not_taken.not_taken) == (["z"], ("y",))
    with triton.InferenceServerClient(addresses["camera"]) as other:
        given = triton.InferInput("x", [1, 4], "FP32")
        given.set_data_from_numpy(x(-1.0)["x"])
        reply = other.infer("flow", [given])
        assert reply.as_numpy("y") is None
        np.testing.assert_array_equal(reply.as_numpy("z"), np.maximum(x(-1.0)["x"], 0))
        assert reply.get_response().parameters["placer.not_taken"].string_param == "y"
        # Asked for alone, it is told alone.
        alone = other.infer("flow", [given], outputs=[triton.InferRequestedOutput("y")]).get_response()
        assert (len(alone.outputs), alone.parameters["placer.not_taken"].string_param) == (0, "y")


def test_a_result_of_nothing_is_a_result(addresses):
    for sink in ("camera", "cloud"):
        deployment = deployed(
            addresses, (("camera", condition("when", "a", "x", "g", at_least=0.5)),), sink=sink, outputs=("y",)
        )
        began = time.monotonic()
        (passage,) = run(deployment, addresses, "flow", [x(1.0)], deadline_s=30).passages
        assert (dict(passage.outputs), passage.not_taken) == ({}, ("y",))
        assert time.monotonic() - began < 15, "it was known long before the deadline"


@pytest.mark.parametrize(
    ("value", "bounds", "holds"),
    [
        (np.nan, {"at_least": -1e30}, False),
        (np.nan, {"at_most": 1e30}, False),
        (np.inf, {"at_least": 1.0}, True),
        (0.5, {"at_least": 0.5, "at_most": 0.5}, True),
        (0.6, {"at_least": 0.4, "at_most": 0.5}, False),
    ],
)
def test_bounds_are_inclusive_and_what_is_no_number_is_outside(value, bounds, holds):
    assert condition("when", "a", "x", "g", **bounds).holds(np.float32(value)) is holds


@pytest.mark.parametrize(
    ("dtype", "value", "bounds", "holds"),
    [
        ("FP16", 0.7, {"at_least": 0.7}, True),
        ("FP32", 0.7, {"at_least": 0.7}, True),
        ("FP32", 0.1, {"at_most": 0.1}, True),
        ("FP32", np.nextafter(np.float32(0.7), np.float32(0)), {"at_least": 0.7}, False),
        ("FP32", 3e38, {"at_most": 1e300}, True),
        ("FP64", 0.7, {"at_least": 0.7, "at_most": 0.7}, True),
        ("FP64", np.nextafter(0.7, 0), {"at_least": 0.7}, False),
        ("FP64", float(np.float32(0.7)), {"at_least": 0.7}, False),
        ("INT64", 2**53 + 1, {"at_most": 2.0**53}, False),
        ("INT64", 2**53 + 1, {"at_least": 2.0**53, "at_most": 2.0**54}, True),
        ("UINT64", 2**64 - 1, {"at_least": 2.0**64}, False),
        ("INT64", 2**53, {"at_least": 2**53 + 1}, False),
        ("INT64", 2**53 + 1, {"at_least": 2**53 + 1, "at_most": 2**53 + 1}, True),
        ("UINT64", 2**64 - 1, {"at_most": 2**64 - 2}, False),
        ("FP32", 2.0**53, {"at_least": 2**53 + 1}, True),
        ("INT8", 1, {"at_least": 0.5}, True),
        ("BOOL", True, {"at_least": 1}, True),
    ],
)
def test_bounds_are_compared_in_the_type_of_the_number(dtype, value, bounds, holds):
    tests = TensorSpec(name="t", port="t", dtype=dtype, shape=(1,))
    spec = msgspec.structs.replace(condition("when", "a", "x", "g", **bounds), tests=tests, element=0)
    # As a device reads it.
    spec = msgspec.json.decode(msgspec.json.encode(spec), type=ConditionSpec)
    assert spec.holds(np.array([value], DATATYPES[dtype])[0]) is holds


def test_a_bound_is_a_finite_number():
    with pytest.raises(ValueError, match="at_most of condition 'when' is no finite number"):
        condition("when", "a", "x", "g", at_most=10**400)


def test_conditions_chain_and_what_one_holds_back_the_next_passes_on(addresses):
    steps = [
        Step(name="flow/0", device="camera", op="Neg", inputs=("x",), outputs=("a",)),
        Step(name="flow/1", device="box", op="Neg", inputs=("g",), outputs=("b",)),
        Step(name="flow/2", device="cloud", op="Neg", inputs=("h",), outputs=("y",)),
    ]
    chain = (
        ("camera", condition("first", "a", "x", "g", at_least=0.0)),
        ("camera", condition("second", "b", "a", "h", at_least=1.0)),
    )
    deployment = deployed(addresses, chain, steps=steps, outputs=("y", "b"))
    feeds = [x(-2.0), x(-0.5), x(2.0)]
    passages = run(deployment, addresses, "flow", feeds, deadline_s=10).passages
    assert [p.not_taken for p in passages] == [(), ("y",), ("y", "b")]
    np.testing.assert_array_equal(passages[0].outputs["y"], feeds[0]["x"])
    assert_nothing_is_open(addresses)


def test_a_hop_says_what_is_not_taken_of_its_own_tensors_alone(addresses):
    deployment = deployed(addresses, (("camera", condition("when", "a", "x", "g", at_least=0.5)),))
    hop = Hop(
        kind="tensors", plan=deployment.plan, epoch=deployment.epoch, flow="flow", run="r", request="q",
        sender="camera", to="box", after="when", deadline_s=5.0, joules=0.0,
        not_taken="g\nelsewhere" + "\nx1" * 100_000,
    )  # fmt: skip
    assert read_hop(write_hop(hop)) == hop
    with (
        open_channel(addresses["box"], max_message_bytes=1 << 20) as channel,
        pytest.raises(Exception, match="such as 'elsewhere'") as refused,
    ):
        Stub(channel, INFERENCE_SERVICE).ModelInfer(write_hop(hop), timeout=5)
    assert refused.value.code().name == "INVALID_ARGUMENT"


def test_only_the_plan_s_sender_may_say_that_a_tensor_does_not_come(secure_agents, deployer, device):
    epoch = next_epoch(secure_agents.addresses, deployer)
    deployment = plan(
        STEPS, outputs=("y", "z"), source="camera", sink="camera", epoch=epoch,
        conditions=(("camera", condition("when", "a", "x", "g", at_least=0.5)),),
    )  # fmt: skip
    deploy(deployment, secure_agents.addresses, credentials=deployer)
    hop = Hop(
        kind="tensors", plan=deployment.plan, epoch=epoch, flow="flow", run="r", request="q",
        sender="stray", to="box", after="when", deadline_s=5.0, joules=0.0, not_taken="g",
    )  # fmt: skip
    with AgentClient(secure_agents.addresses["box"], credentials=device, device="box") as client:
        with pytest.raises(Exception, match=r"no such route to device 'box'") as refused:
            client._inference.ModelInfer(write_hop(hop), timeout=5)
        assert refused.value.code().name == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["flow"], "other", "condition 'when' names flow 'other'"),
        (["element"], 4, "element 4 is not in tensor 'a'"),
        (["element"], -1, "element -1 is not in tensor 'a'"),
        (["at_least"], None, "condition 'when' has no bound"),
        (["tests", "dtype"], "BF16", "tests a tensor of BF16"),
        (["tests", "dtype"], "INT32", "in one place and"),
        (["makes", "shape"], [4, 1], "carries and makes tensors of different type or shape"),
        (["makes", "name"], "a", "'a' occurs twice"),
        (["name"], "flow/0", "'flow/0' occurs twice"),
        (["name"], "other", "follows 'when', which is no segment or condition"),
    ],
)
def test_wrong_conditions_are_refused_with_their_place(path, value, says):
    deployment = plan(
        STEPS, outputs=("y", "z"), source="camera", sink="camera", epoch=1,
        conditions=(("camera", condition("when", "a", "x", "g", at_least=0.5)),),
    )  # fmt: skip
    tree = json.loads(encode_assignment(deployment.assignments["camera"]))
    assert decode_assignment(json.dumps(tree).encode()) == deployment.assignments["camera"]
    *parents, last = path
    inner = tree["conditions"][0]
    for key in parents:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(BadManifest, match=says):
        decode_assignment(json.dumps(tree).encode())


def test_a_bare_assignment_has_no_conditions():
    share = plan(STEPS[:1], outputs=("a",), source="camera", sink="camera", epoch=1).assignments["camera"]
    tree = msgspec.json.decode(encode_assignment(share))
    del tree["conditions"]
    assert decode_assignment(json.dumps(tree).encode()) == share
