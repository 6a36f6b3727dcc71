"""Who may do what: roles by method, and hops by the plan's routes, between agents as processes."""

from __future__ import annotations

import itertools
import time

import grpc
import msgspec
import numpy as np
import pytest

from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.deployment import Deployment
from placer.errors import DeployError
from runtimes.access import ALLOWED
from runtimes.assignment import Assignment, encode_assignment
from runtimes.channel import open_channel
from runtimes.client import AgentClient
from runtimes.convert import encode
from runtimes.errors import BadRequest, Forbidden, Unreachable, WrongState
from runtimes.hop import Hop, write_hop
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import AGENT_SERVICE, INFERENCE_SERVICE, Stub
from runtimes.tls import CredentialFiles, Credentials
from tests.runtimes.plans import BRANCHING, Step, plan, sample, tensor, with_fallbacks
from tests.runtimes.site_certs import DEVICES, ask


def status_of(address, credentials, method) -> str:
    """Call a method with an empty request; says only how it was answered."""
    with open_channel(address, 1 << 20, credentials.material(), "box") as channel:
        form = "stream_stream" if "Stream" in method or "Reflection" in method else "unary_stream"
        if method.endswith("PutBlob"):
            form = "stream_stream"
        call = getattr(channel, form)(method)
        try:
            answers = call(iter([b""]) if form == "stream_stream" else b"", timeout=5)
            next(iter(answers), None)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "OK"


def test_every_method_has_its_roles():
    methods = {f"/{s.full_name}/{m.name}" for s in (AGENT_SERVICE, INFERENCE_SERVICE) for m in s.methods}
    assert methods <= ALLOWED.keys()
    changing = ("Stage", "PutBlob", "Prepare", "Activate", "Rollback", "Probe")
    assert {m.rpartition("/")[2] for m, roles in ALLOWED.items() if roles == ("deployer",)} == set(changing)
    assert not any("device" in ALLOWED[f"/placer.agent.v1.Agent/{m}"] for m in (*changing, "Fetch", "Observe"))


def test_each_role_may_call_what_the_table_says_and_nothing_else(secure_agents, plant):
    callers = {role: plant.credentials(role, f"{role}-x") for role in ("device", "deployer", "client")}
    for (role, credentials), method in itertools.product(callers.items(), ALLOWED):
        answer = status_of(secure_agents.addresses["box"], credentials, method)
        name = method.rpartition("/")[2]
        refusal = f"PERMISSION_DENIED: spiffe://plant/{role}/{role}-x may not call {name}: that needs"
        assert answer.startswith(refusal) == (role not in ALLOWED[method]), (role, method, answer)
        assert ("PERMISSION_DENIED" in answer) == (role not in ALLOWED[method]) or "ModelInfer" in method, answer


@pytest.mark.parametrize("role", ["client", "device"])
def test_deploying_needs_a_deployer(secure_agents, planned, plant, role):
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="cloud", epoch=planned.epoch + 1, name="other")
    refusal = rf"activated nowhere.*spiffe://plant/{role}/eve may not call Stage: .*deployer"
    with pytest.raises(DeployError, match=refusal):
        deploy(deployment, secure_agents.addresses, credentials=plant.credentials(role, "eve"))
    with AgentClient(secure_agents.addresses["box"], credentials=plant.credentials(role, "eva"), device="box") as box:
        for step in (
            lambda: box.put_blob(b"x"),
            lambda: box.prepare("plan", planned.epoch),
            lambda: box.activate("plan", planned.epoch),
            lambda: box.rollback(planned.epoch + 1),
        ):
            with pytest.raises(Forbidden, match="that needs a deployer"):
                step()


def test_inference_is_for_clients_and_deployers_alone(secure_agents, planned, client, deployer, device):
    for allowed in (client, deployer):
        ask(secure_agents, allowed)
    with (
        AgentClient(secure_agents.addresses["camera"], credentials=device, device="camera") as camera,
        pytest.raises(Forbidden, match=r"spiffe://plant/device/stray may not ask for inference"),
    ):
        camera.infer("flow", sample(), deadline_s=5)
    with open_channel(secure_agents.addresses["camera"], 1 << 20, device.material(), "camera") as channel:
        message = oip.ModelInferRequest(model_name="flow")
        (answer,) = Stub(channel, INFERENCE_SERVICE).ModelStreamInfer(iter([message]), timeout=5)
        assert answer.error_message.startswith("PERMISSION_DENIED: spiffe://plant/device/stray")


def hop(deployment, **changes) -> Hop:
    fields = {
        "kind": "tensors", "plan": deployment.plan, "epoch": deployment.epoch, "flow": "flow", "run": "r",
        "request": "q", "sender": "camera", "to": "box", "after": "flow/0", "deadline_s": 5.0, "joules": 0.0,
    }  # fmt: skip
    return Hop(**fields | changes)


def send(secure_agents, credentials, message_hop, tensors=("a",)) -> None:
    message = write_hop(message_hop)
    arrays = {name: np.zeros((1, 4), np.float32) for name in tensors}
    encode(arrays, [tensor(name) for name in tensors], message.inputs, message.raw_input_contents)
    address = secure_agents.addresses[message_hop.to]
    with AgentClient(address, credentials=credentials, device=message_hop.to) as receiver:
        receiver._call(receiver._inference.ModelInfer, message, 5)


@pytest.fixture(scope="module")
def camera(secure_agents, plant):
    """The camera's own certificate, as a thief would use it; the agent holds it too."""
    return own(plant, "camera")


def own(plant, device: str) -> Credentials:
    path = plant.folder / "device" / f"{device}.pem"
    return Credentials(CredentialFiles(authority=plant.folder / "authority.pem", certificate=path,
                                       key=path.with_suffix(".key")))  # fmt: skip


def test_hops_follow_the_plans_routes(secure_agents, planned, plant, camera, client, device):
    send(secure_agents, camera, hop(planned))
    refused = [
        # Somebody else in the camera's name.
        (client, hop(planned), ("a",), "may not send a hop of device 'camera'"),
        (device, hop(planned), ("a",), "spiffe://plant/device/stray may not send a hop of device 'camera'"),
        # A device of the site that the plan does not name.
        (device, hop(planned, sender="stray"), ("a",), "no such route to device 'box'"),
        # The camera itself, elsewhere than where its routes lead.
        (camera, hop(planned, after=""), ("a",), "no such route"),
        (camera, hop(planned, after="flow/2"), ("a",), "no such route"),
        (camera, hop(planned), ("a", "b"), "no such route"),
        (camera, hop(planned, to="cloud"), ("b",), "no such route to device 'cloud'"),
        # Only the sink says that a request is done, and only devices of the flow that it failed.
        (camera, hop(planned, kind="done", to="box"), (), "no word"),
        (device, hop(planned, kind="failed", sender="stray", to="camera"), (), "no word"),
        # Only the source says elsewhere that it is given up.
        (own(plant, "box"), hop(planned, kind="failed", sender="box", to="cloud"), (), "no word"),
    ]
    for credentials, message, tensors, why in refused:
        with pytest.raises(Forbidden, match=why):
            send(secure_agents, credentials, message, tensors)


def test_no_fallback_is_loaded_for_who_may_not_ask_for_it(secure_agents, plant, deployer, client, device):
    epoch = next_epoch(secure_agents.addresses, deployer)
    main, other = (
        plan([Step(name="flow/0", device=place, op="Neg", inputs=("x",), outputs=("y",))], name=name, **ends)
        for ends in [{"outputs": ("y",), "source": "camera", "sink": "camera", "epoch": epoch}]
        for place, name in (("box", "main"), ("cloud", "cold"))
    )
    backed = with_fallbacks(main, {("box",): other}, warm=False)
    deploy(backed, secure_agents.addresses, credentials=deployer)
    to_cloud = hop(other, after="", to="cloud")
    for credentials, message in (
        (client, to_cloud),
        (device, msgspec.structs.replace(to_cloud, sender="stray")),
        (own(plant, "camera"), msgspec.structs.replace(to_cloud, after="flow/0")),
        (own(plant, "camera"), msgspec.structs.replace(to_cloud, flow="other")),
    ):
        with pytest.raises(Forbidden):
            send(secure_agents, credentials, message, ("x",))
    assert "cold" not in secure_agents.log("cloud")
    send(secure_agents, own(plant, "camera"), to_cloud, ("x",))
    assert "fallback cold" in secure_agents.log("cloud")


def test_who_carries_one_flow_has_no_word_in_requests_of_another(secure_agents, plant, deployer, client, camera):
    epoch = next_epoch(secure_agents.addresses, deployer)
    mine = [
        Step(name="mine/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
        Step(name="mine/1", device="camera", op="Sin", inputs=("x",), outputs=("b",)),
        Step(name="mine/2", device="cloud", op="Sub", inputs=("a", "b"), outputs=("y",)),
    ]
    theirs = [
        Step(name="theirs/0", device="box", op="Neg", inputs=("x",), outputs=("b",)),
        Step(name="theirs/1", device="cloud", op="Neg", inputs=("b",), outputs=("y",)),
    ]
    ends = {"outputs": ("y",), "source": "camera", "sink": "cloud", "epoch": epoch}
    two = [plan(mine, flow="mine", **ends), plan(theirs, flow="theirs", **ends)]
    shares = {}
    for device in DEVICES:
        parts = [d.assignments[device] for d in two if device in d.assignments]
        joined = {f: tuple(p for a in parts for p in getattr(a, f)) for f in ("flows", "segments", "routes")}
        shares[device] = msgspec.structs.replace(parts[0], **joined)
    both = Deployment(plan="plan", epoch=epoch, assignments=shares, blobs={**two[0].blobs, **two[1].blobs})
    deploy(both, secure_agents.addresses, credentials=deployer)
    with AgentClient(secure_agents.addresses["cloud"], credentials=client, device="cloud") as cloud:
        before = cloud.status()
        first = hop(both, flow="mine", after="mine/0", to="cloud", run="same")
        send(secure_agents, camera, first)
        # The box, of a passage that is none of its own: it has seen how the camera names them.
        foreign = hop(both, flow="theirs", after="theirs/0", sender="box", to="cloud", run="same")
        send(secure_agents, own(plant, "box"), foreign, ("b",))
        # What waits at the cloud still waits for the camera's own.
        send(secure_agents, camera, msgspec.structs.replace(first, after="mine/1"), ("b",))
        deadline = time.monotonic() + 5
        while len(ran := [o.segment for o in cloud.observations(before.last_sequence)]) < 2:
            assert time.monotonic() < deadline, ran
            time.sleep(0.01)
    assert ran == ["theirs/1", "mine/2"]


def test_no_tensor_goes_to_an_agent_of_another_device(secure_agents, planned, deployer, client):
    epoch = planned.epoch + 1
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="cloud", epoch=epoch, name="swapped")
    # What `deploy` would notice by itself: the addresses of two devices are exchanged.
    right = secure_agents.addresses
    swapped = {**right, "box": right["cloud"], "cloud": right["box"]}
    with pytest.raises(DeployError, match="its certificate does not name device 'box' of this site"):
        deploy(deployment, swapped, credentials=deployer)
    for device, share in deployment.assignments.items():
        with AgentClient(secure_agents.addresses[device], credentials=deployer, device=device) as agent:
            peers = {d: swapped[d] for d in DEVICES if d != device}
            for sha256 in agent.stage(msgspec.structs.replace(share, peers=peers)):
                agent.put_blob(deployment.blobs[sha256])
            agent.prepare("swapped", epoch)
            agent.activate("swapped", epoch)
    started = time.monotonic()
    with (
        AgentClient(secure_agents.addresses["camera"], credentials=client, device="camera") as source,
        pytest.raises(Unreachable, match=r"the hop to device '(box|cloud)'.*its certificate does not name device"),
    ):
        source.infer("flow", sample(), deadline_s=5)
    assert time.monotonic() - started < 5


def test_an_assignment_is_taken_by_its_own_device_alone(secure_agents, planned, deployer):
    share = msgspec.structs.replace(planned.assignments["cloud"], epoch=planned.epoch + 5, peers={})
    with AgentClient(secure_agents.addresses["box"], credentials=deployer, device="box") as box:
        with pytest.raises(BadRequest, match="the assignment is for device 'cloud', this is 'box'"):
            box.stage(share)
        with pytest.raises(WrongState):
            box.activate(share.plan, share.epoch)


def test_arrivals_of_another_plan_are_refused(planned):
    share = planned.assignments["cloud"]
    for wrong in ({"flow": "other"}, {"sender": "cloud"}, {"sender": "stray"}):
        arrival = {"flow": "flow", "sender": "box", "after": "flow/1", "tensors": ["b"]} | wrong
        document = msgspec.json.decode(encode_assignment(share)) | {"arrivals": [arrival]}
        with pytest.raises(msgspec.ValidationError, match="arrival from"):
            msgspec.convert(document, Assignment)
