"""Data that arise on several devices become one request, and outputs are brought to several devices."""

from __future__ import annotations

import dataclasses
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from placer.deployment.deploy import deploy, next_epoch
from placer.deployment.run import run
from runtimes.client import AgentClient
from runtimes.convert import of_raw
from runtimes.errors import AgentError, BadRequest, DeadlineExceeded, Exhausted, Forbidden, WrongState
from runtimes.handed_in import HandedIn
from runtimes.loaded import LoadedPlan
from runtimes.local import LocalAgents
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.run import Run
from tests.runtimes.conftest import DEVICES
from tests.runtimes.plans import SHAPE, Step, plan, tensor, with_fallbacks
from tests.runtimes.test_access import hop, send

if TYPE_CHECKING:
    from placer.deployment.deployment import Deployment
    from runtimes.assignment import Assignment

FUSED = [
    Step(name="flow/0", device="cloud", op="Sub", inputs=("picture", "sound"), outputs=("y",)),
    Step(name="flow/1", device="cloud", op="Neg", inputs=("sound",), outputs=("z",)),
]
ENDS = {"inputs": ("picture", "sound"), "sources": {"sound": "box"}, "outputs": ("y", "z")}


def fused(epoch: int, steps=FUSED, name: str = "plan", sink: str = "camera", sinks=None) -> Deployment:
    return plan(steps, source="camera", sink=sink, epoch=epoch, name=name, sinks=sinks or {}, **ENDS)


def feeds(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=SHAPE).astype(np.float32) for name in ENDS["inputs"]}


def results(given) -> dict[str, np.ndarray]:
    return {"y": given["picture"] - given["sound"], "z": -given["sound"]}


@pytest.fixture(scope="module")
def addresses():
    with LocalAgents(DEVICES, options=["--no-isolation"]) as agents:
        yield agents.addresses


@pytest.fixture
def served(addresses):
    deployment = fused(next_epoch(addresses))
    deploy(deployment, addresses)
    return addresses


def at(addresses, device: str) -> AgentClient:
    return AgentClient(addresses[device], timeout_s=10)


@pytest.mark.parametrize("place", DEVICES)
@pytest.mark.parametrize("sinks", [{}, {"z": "box"}, {"y": "box"}, {"y": "cloud"}])
def test_wherever_they_meet_and_are_needed_all_outputs_are_right(addresses, place, sinks):
    steps = [dataclasses.replace(s, device=place) for s in FUSED]
    deployment = fused(next_epoch(addresses), steps, sinks=sinks)
    deploy(deployment, addresses)
    given = [feeds(seed) for seed in range(3)]
    measured = run(deployment, addresses, "flow", given, deadline_s=10)
    for one, passage in zip(given, measured.passages, strict=True):
        assert passage.not_taken == ()
        for name, value in results(one).items():
            np.testing.assert_array_equal(passage.outputs[name], value)
    assert len({passage.request_id for passage in measured.passages}) == 3
    for device in DEVICES:
        with at(addresses, device) as client:
            assert client.status().open_requests == 0


def test_a_request_that_begins_before_all_its_data_are_there_waits_for_them(served):
    given = feeds(1)
    with at(served, "camera") as camera, at(served, "box") as box, ThreadPoolExecutor(1) as pool:
        reply = pool.submit(camera.infer, "flow", {"picture": given["picture"]}, 10, "late")
        while not box.status().open_requests:
            assert not reply.done()
        taken = box.infer("flow", {"sound": given["sound"]}, 10, "late")
        assert (taken.request_id, taken.outputs, taken.not_taken) == ("late", None, ())
        for name, value in results(given).items():
            np.testing.assert_array_equal(reply.result().outputs[name], value)


def test_data_serve_one_request_alone(served):
    given, other = feeds(1), feeds(2)
    with at(served, "camera") as camera, at(served, "box") as box:
        box.infer("flow", {"sound": other["sound"]}, 10, "same")
        box.infer("flow", {"sound": given["sound"]}, 10, "same")
        reply = camera.infer("flow", {"picture": given["picture"]}, 10, "same")
        np.testing.assert_array_equal(reply.outputs["z"], -given["sound"])
        with pytest.raises(DeadlineExceeded, match="were its data handed in on 'box' under its id"):
            camera.infer("flow", {"picture": given["picture"]}, 0.3, "same")
        # The camera's data are those of before, byte for byte; the answer of before is not the answer.
        box.infer("flow", {"sound": other["sound"]}, 10, "same")
        reply = camera.infer("flow", {"picture": given["picture"]}, 10, "same")
        np.testing.assert_array_equal(reply.outputs["z"], -other["sound"])


@pytest.mark.parametrize(
    ("device", "inputs", "request_id", "words"),
    [
        ("camera", ("picture",), None, "give the request an id"),
        ("box", ("sound",), None, "arise on 'camera' and 'box': give the request an id"),
        ("camera", ("picture", "sound"), "a", "sound"),
        ("box", ("picture",), "a", "picture"),
        ("cloud", ("picture", "sound"), "a", "begins on device 'camera'"),
    ],
)
def test_each_device_takes_its_own_data_and_no_others(served, device, inputs, request_id, words):
    with at(served, device) as client, pytest.raises(AgentError, match=words):
        client.infer("flow", {name: feeds(0)[name] for name in inputs}, 5, request_id)


def test_each_source_describes_what_it_takes(served):
    for device, name in (("camera", "picture"), ("box", "sound")):
        with at(served, device) as client:
            described = client._inference.ModelMetadata(oip.ModelMetadataRequest(name="flow"), timeout=5)
            assert [t.name for t in described.inputs] == [name]
            assert client._inference.ModelReady(oip.ModelReadyRequest(name="flow"), timeout=5).ready


def test_another_way_is_tried_with_the_same_data(addresses):
    epoch = next_epoch(addresses)
    steps = [dataclasses.replace(s, device="camera") for s in FUSED]
    main = with_fallbacks(fused(epoch, name="main"), {("cloud",): fused(epoch, steps, name="other")})
    with LocalAgents(["cloud"], options=["--no-isolation"]) as passing:
        everywhere = {**addresses, "cloud": passing.addresses["cloud"]}
        deploy(main, everywhere)
        assert run(main, everywhere, "flow", [feeds(0)], deadline_s=10).passages
    given = feeds(3)
    with at(addresses, "camera") as camera, at(addresses, "box") as box:
        box.infer("flow", {"sound": given["sound"]}, 10, "lost")
        reply = camera.infer("flow", {"picture": given["picture"]}, 10, "lost")
    for name, value in results(given).items():
        np.testing.assert_array_equal(reply.outputs[name], value)


def test_only_where_a_flow_begins_may_begin_its_requests(secure_agents, plant, deployer, device):
    deployment = fused(next_epoch(secure_agents.addresses, deployer))
    deploy(deployment, secure_agents.addresses, credentials=deployer)
    word = hop(deployment, kind="begin", after="", to="box")
    own = {name: plant.credentials("device", name) for name in ("camera", "cloud")}
    send(secure_agents, own["camera"], word, ())
    with pytest.raises(Forbidden, match="may not begin requests of flow 'flow', which 'camera' does"):
        send(secure_agents, own["cloud"], msgspec.structs.replace(word, sender="cloud"), ())
    with pytest.raises(WrongState, match="no data of flow 'flow' arise on device 'cloud'"):
        send(secure_agents, own["camera"], msgspec.structs.replace(word, to="cloud"), ())
    given = run(deployment, secure_agents.addresses, "flow", [feeds(0)], deadline_s=10, credentials=deployer)
    np.testing.assert_array_equal(given.passages[0].outputs["y"], results(feeds(0))["y"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sources": {"noise": "box"}}, "sources of flow 'flow' name \\['noise'\\]"),
        ({"sources": {"sound": "moon"}}, "source of 'sound' 'moon' of flow 'flow' is not among its devices"),
        ({"sources": {"sound": "box", "picture": "box"}}, "sources of flow 'flow' leave nothing for 'camera'"),
        ({"sinks": {"q": "box"}}, "sinks of flow 'flow' name"),
        ({"sinks": {"y": "box", "z": "cloud"}}, "sinks of flow 'flow' leave nothing for 'camera'"),
    ],
)
def test_a_manifest_whose_ends_do_not_fit_is_refused(fields, words):
    (flow,) = fused(1).assignments["camera"].flows
    with pytest.raises(ValueError, match=words):
        msgspec.structs.replace(flow, **fields)


def test_a_route_carries_only_data_of_its_own_device():
    share: Assignment = fused(1).assignments["camera"]
    wrong = msgspec.structs.replace(share.routes[0], tensors=("sound",))
    with pytest.raises(ValueError, match="which arise elsewhere"):
        msgspec.structs.replace(share, routes=(wrong,))


def test_data_that_nobody_took_are_not_thrown_away_for_others():
    (flow,) = fused(1).assignments["box"].flows
    kept = HandedIn(2, 1000, 60.0)
    sound = {"sound": np.ones(SHAPE, np.float32)}
    for request in ("a", "b", "a"):
        assert kept.put(flow, request, sound) == []
    with pytest.raises(Exhausted, match="the data of 2 requests wait"):
        kept.put(flow, "c", sound)
    with pytest.raises(Exhausted):
        HandedIn(9, 8, 60.0).put(flow, "a", sound)
    gone = HandedIn(1, 1000, 0.0)
    gone.put(flow, "a", sound)
    gone.put(flow, "b", sound)
    assert len(gone) == 1


def test_data_that_wait_hold_on_to_no_whole_message():
    (flow,) = fused(1).assignments["box"].flows
    kept = HandedIn(2, 1000, 60.0)
    message = bytes(1 << 20)
    before = sys.getrefcount(message)
    kept.put(flow, "a", {"sound": of_raw(memoryview(message)[:16], tensor("sound"))})
    assert sys.getrefcount(message) == before


def test_data_whose_time_is_over_are_given_to_no_request():
    box = fused(1).assignments["box"]
    loaded = LoadedPlan(box, {}, variant="")
    (flow,) = box.flows
    for keep_s, given in ((60.0, True), (0.0, False)):
        kept = HandedIn(2, 1000, keep_s)
        kept.put(flow, "a", {"sound": np.ones(SHAPE, np.float32)})
        run = Run(loaded, flow, key="k", request="a", deadline=time.monotonic() + 60, order=1, asked="mark")
        assert (kept.claim(run) is not None) == given
        assert (kept.put(flow, "a", {"sound": np.zeros(SHAPE, np.float32)}) == [run]) == (not given)


def test_an_overdue_request_takes_no_data_of_the_next_one_of_its_id():
    box = fused(1).assignments["box"]
    loaded = LoadedPlan(box, {}, variant="")
    (flow,) = box.flows
    kept = HandedIn(2, 1000, 60.0)
    now = time.monotonic()
    for deadline, asked in ((now, "former"), (now + 60, "next")):
        run = Run(loaded, flow, key=asked, request="a", deadline=deadline, order=1, asked=asked)
        assert kept.claim(run) is None
    assert kept.put(flow, "a", {"sound": np.ones(SHAPE, np.float32)}) == [run]


def test_data_handed_in_again_after_a_failure_are_for_the_next_request(served):
    with at(served, "camera") as camera, at(served, "box") as box:
        for i in range(20):
            given = feeds(i)
            with pytest.raises(DeadlineExceeded):
                camera.infer("flow", {"picture": given["picture"]}, 0.02, f"again {i}")
            box.infer("flow", {"sound": given["sound"]}, 10, f"again {i}")
            reply = camera.infer("flow", {"picture": given["picture"]}, 3, f"again {i}")
            np.testing.assert_array_equal(reply.outputs["z"], -given["sound"])


def test_a_request_without_an_id_is_refused_at_once(served):
    with at(served, "camera") as camera, pytest.raises(BadRequest, match="hand the others in there"):
        camera.infer("flow", {"picture": feeds(0)["picture"]}, 5)


def test_manifests_count_from_one():
    share = fused(1).assignments["camera"]
    with pytest.raises(ValueError, match="every is 0; it is a whole number from 1 on"):
        msgspec.structs.replace(share.routes[0], every={"picture": 0})
    with pytest.raises(ValueError, match="every of the route to 'cloud' names 'sound', which it does not carry"):
        msgspec.structs.replace(share.routes[0], every={"sound": 2})
    with pytest.raises(ValueError, match="segment 'flow/0': every is -1"):
        msgspec.structs.replace(fused(1).assignments["cloud"].segments[0], every=-1)
    with pytest.raises(ValueError, match="turn is -1; it counts from 0"):
        hop(fused(1), turn=-1)
    with pytest.raises(ValueError, match=r"deadline_s is 90000\.0; it is at most 86400"):
        hop(fused(1), deadline_s=90000.0)
