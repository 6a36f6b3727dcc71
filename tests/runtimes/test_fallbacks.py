"""A device or a link is lost: the fallback serves within two heartbeats, rightly, and the plan returns."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import grpc
import msgspec
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from placer.deployment.addressed import addressed
from placer.deployment.deploy import deploy, next_epoch
from runtimes.client import AgentClient
from runtimes.errors import AgentError, Unreachable
from runtimes.local import LocalAgents
from tests.runtimes.plans import Step, plan, sample, with_fallbacks
from tests.runtimes.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.deployment.deployment import Deployment

DEVICES = ["camera", "box", "cloud"]
# Two heartbeats: each is asked half a second after the one before and has one to be answered, on a busy machine.
TWO_HEARTBEATS_S = 2 * 1.5 + 1.0


def on(device: str, name: str, epoch: int, sink: str = "camera") -> Deployment:
    """Negate on one device."""
    steps = [Step(name="flow/0", device=device, op="Neg", inputs=("x",), outputs=("y",))]
    return plan(steps, outputs=("y",), source="camera", sink=sink, epoch=epoch, name=name)


def chain(epoch: int) -> Deployment:
    """Camera, box, cloud, and the result back at the camera."""
    steps = [
        Step(name="flow/0", device="box", op="Relu", inputs=("x",), outputs=("a",)),
        Step(name="flow/1", device="cloud", op="Neg", inputs=("a",), outputs=("y",)),
    ]
    return plan(steps, outputs=("y",), source="camera", sink="camera", epoch=epoch, name="chain")


def backed(epoch: int, sink: str = "camera", *, warm: bool = True) -> Deployment:
    """The box negates; without it, or without the way to it, the cloud does."""
    other = on("cloud", "fallback" if warm else "cold", epoch, sink)
    return with_fallbacks(on("box", "main", epoch, sink), {("box",): other, ("camera", "box"): other}, warm=warm)


@pytest.fixture(scope="module")
def started():
    with LocalAgents(DEVICES) as running:
        yield running


@pytest.fixture
def agents(started):
    """Agents that have all found each other again, whatever the test before did to them."""
    deploy(backed(next_epoch(started.addresses)), started.addresses)
    deadline = time.monotonic() + 15
    while True:
        lost = []
        for device in DEVICES:
            with AgentClient(started.addresses[device]) as client:
                lost += client.status().lost
        if not lost:
            return started
        assert time.monotonic() < deadline, lost
        time.sleep(0.1)


def ask(agents: LocalAgents, deadline_s: float = 8.0, seed: int = 0) -> None:
    x = sample(seed)["x"]
    with AgentClient(agents.addresses["camera"]) as client:
        np.testing.assert_array_equal(client.infer("flow", {"x": x}, deadline_s=deadline_s).outputs["y"], -x)


def where(agents: LocalAgents) -> str:
    """Say which device runs a request now."""
    counts = {}
    for device in DEVICES:
        try:
            with AgentClient(agents.addresses[device], timeout_s=2) as client:
                counts[device] = client.status().last_sequence
        except AgentError:
            continue
    ask(agents)
    for device, count in counts.items():
        with AgentClient(agents.addresses[device], timeout_s=2) as client:
            if any(o.kind == "segment" for o in client.observations(count)):
                return device
    raise AssertionError("no device ran it")


def until(agents: LocalAgents, device: str, *, may_fail: bool = False) -> None:
    """Ask until a device serves; every answer on the way is right, and there is one unless it may fail."""
    deadline = time.monotonic() + 15
    while True:
        assert time.monotonic() < deadline, f"{device} does not serve yet"
        try:
            if where(agents) == device:
                return
        except Unreachable:
            if not may_fail:
                raise
        time.sleep(0.1)


def test_a_killed_device_is_done_without_and_returned_to(agents):
    deploy(backed(next_epoch(agents.addresses)), agents.addresses)
    assert where(agents) == "box"
    agents.process("box").kill()
    killed = time.monotonic()
    # Not one request fails: what met the dead device went another way.
    while time.monotonic() - killed < TWO_HEARTBEATS_S:
        ask(agents)
    assert where(agents) == "cloud"
    with AgentClient(agents.addresses["camera"]) as client:
        assert client.status().lost == ("box",)
    agents.restart("box")
    until(agents, "box")
    with AgentClient(agents.addresses["camera"]) as client:
        assert client.status().lost == ()


def test_a_frozen_device_is_done_without_within_two_heartbeats(agents):
    deploy(backed(next_epoch(agents.addresses)), agents.addresses)
    assert where(agents) == "box"
    process = agents.process("box")
    process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        ask(agents)
        assert time.monotonic() - started < TWO_HEARTBEATS_S
        # From now on nobody waits for it.
        started = time.monotonic()
        ask(agents)
        assert time.monotonic() - started < 1.0
    finally:
        process.send_signal(signal.SIGCONT)
    until(agents, "box")


@pytest.mark.parametrize("how", ["break", "hang"])
def test_a_link_that_is_cut_is_done_without_and_returned_to(agents, how):
    with Proxy(agents.addresses["box"]) as wire:
        addresses = {**agents.addresses, "box": wire.address}
        deploy(backed(next_epoch(addresses)), addresses)
        assert where(agents) == "box"
        wire.cut(how)
        started = time.monotonic()
        ask(agents)
        assert time.monotonic() - started < TWO_HEARTBEATS_S
        assert where(agents) == "cloud"
        wire.heal()
        until(agents, "box")


def put(shares, blobs, addresses) -> None:
    """Deploy shares as they are."""
    clients = {device: AgentClient(addresses[device]) for device in shares}
    for device, share in shares.items():
        for sha256 in clients[device].stage(share):
            clients[device].put_blob(blobs[sha256])
        clients[device].prepare(share.plan, share.epoch)
    for device in sorted(shares, key="camera".__eq__):
        clients[device].activate(shares[device].plan, shares[device].epoch)
        clients[device].close()


@pytest.mark.parametrize("how", ["break", "hang"])
def test_a_link_between_two_others_is_told_to_the_source(agents, how):
    epoch = next_epoch(agents.addresses)
    fallback = plan(
        [
            Step(name="flow/0", device="box", op="Relu", inputs=("x",), outputs=("a",)),
            Step(name="flow/1", device="box", op="Neg", inputs=("a",), outputs=("y",)),
        ],
        outputs=("y",), source="camera", sink="camera", epoch=epoch, name="on the box",
    )  # fmt: skip
    deployment = with_fallbacks(chain(epoch), {("box", "cloud"): fallback})
    x = np.abs(sample()["x"])

    def served() -> str:
        with AgentClient(agents.addresses["camera"]) as camera, AgentClient(agents.addresses["cloud"]) as cloud:
            before = cloud.status().last_sequence
            np.testing.assert_array_equal(camera.infer("flow", {"x": x}, deadline_s=8).outputs["y"], -x)
            return "cloud" if any(o.kind == "segment" for o in cloud.observations(before)) else "box"

    with Proxy(agents.addresses["cloud"]) as wire:
        shares = addressed(deployment, agents.addresses)
        # The box alone reaches the cloud by the wire; the camera hears the cloud all the time.
        shares["box"] = msgspec.structs.replace(shares["box"], peers={**shares["box"].peers, "cloud": wire.address})
        put(shares, deployment.blobs, agents.addresses)
        _until(served, "cloud")
        wire.cut(how)
        started = time.monotonic()
        assert served() == "box"
        # The box knows after two; the camera is told with the answer to its own next one.
        assert time.monotonic() - started < TWO_HEARTBEATS_S + 1.5
        with AgentClient(agents.addresses["camera"]) as camera:
            assert camera.status().lost == ()
        wire.heal()
        _until(served, "cloud")


def _until(served: Callable[[], str], device: str) -> None:
    deadline = time.monotonic() + 15
    while served() != device:
        assert time.monotonic() < deadline, f"{device} does not serve yet"
        time.sleep(0.1)


def test_what_cannot_be_served_is_refused_at_once(agents):
    epoch = next_epoch(agents.addresses)
    deploy(with_fallbacks(on("box", "main", epoch), {("box",): "memory of 'camera'"}), agents.addresses)
    ask(agents)
    agents.process("box").kill()
    try:
        with pytest.raises(Unreachable):
            ask(agents)
        started = time.monotonic()
        with pytest.raises(
            Unreachable, match=r"cannot be served: 'box' is lost, and no plan can do without: memory of 'camera'"
        ):
            ask(agents)
        assert time.monotonic() - started < 1.0
    finally:
        agents.restart("box")
    until(agents, "box", may_fail=True)


def test_acknowledged_results_are_neither_lost_nor_doubled(agents):
    # The result is stored at a sink that is not the source, whatever way it takes.
    deploy(backed(next_epoch(agents.addresses), sink="cloud"), agents.addresses)
    acknowledged = {}
    with AgentClient(agents.addresses["camera"]) as client:
        for i in range(60):
            if i == 20:
                agents.process("box").kill()
            if i == 40:
                agents.restart("box")
            reply = client.infer("flow", sample(i), deadline_s=8, request_id=f"lot-{i}")
            assert reply.outputs is None
            acknowledged[reply.request_id] = -sample(i)["x"]
    assert len(acknowledged) == 60
    with AgentClient(agents.addresses["cloud"]) as sink:
        for request, y in acknowledged.items():
            np.testing.assert_array_equal(sink.fetch(request, "flow")["y"], y)


def serving(agents: LocalAgents, device: str, name: str) -> bool:
    with grpc.insecure_channel(agents.addresses[device]) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return False
    return reply.status == health_pb2.HealthCheckResponse.SERVING


def test_a_fallback_that_memory_has_no_room_for_is_loaded_when_it_is_needed(agents):
    # The test before may have ended before the camera has heard the box again.
    deploy(backed(next_epoch(agents.addresses)), agents.addresses)
    until(agents, "box")
    deploy(backed(next_epoch(agents.addresses), warm=False), agents.addresses)
    assert where(agents) == "box"
    assert not serving(agents, "cloud", "plan/cold")
    agents.process("box").kill()
    try:
        ask(agents)
        assert serving(agents, "cloud", "plan/cold")
    finally:
        agents.restart("box")
    until(agents, "box")


def test_fallbacks_outlive_restarts_and_rollbacks(agents):
    epoch = next_epoch(agents.addresses)
    deploy(backed(epoch), agents.addresses)
    deploy(on("box", "later", epoch + 1), agents.addresses)
    for device in ("cloud", "box", "camera"):
        with AgentClient(agents.addresses[device]) as client:
            assert client.rollback(epoch + 2, "main") == "main"
    for device in DEVICES:
        agents.process(device).kill()
    for device in ("cloud", "camera"):
        agents.restart(device)
    # The box is still away: the source, which never heard it, finds out by asking. Those that started a moment ago
    # may not have found each other yet.
    try:
        until(agents, "cloud", may_fail=True)
        ask(agents)
    finally:
        agents.restart("box")
    until(agents, "box")


def test_with_certificates_it_is_the_same(plant, deployer, client):
    with LocalAgents(DEVICES, credentials={d: plant.files("device", d) for d in DEVICES}) as secure:
        deploy(backed(1), secure.addresses, credentials=deployer)
        with AgentClient(secure.addresses["camera"], credentials=client, device="camera") as camera:
            for lost in (False, True):
                if lost:
                    secure.process("box").kill()
                for _ in range(3):
                    outputs = camera.infer("flow", sample(), deadline_s=8).outputs
                    np.testing.assert_array_equal(outputs["y"], -sample()["x"])
                (ran,) = {o.device for o in _of_all(secure, client) if o.kind == "segment"} - {"box"} or {"box"}
                assert ran == ("cloud" if lost else "box")
            # Each observation says by which variant its request went, the one before and the one after the loss.
            went = {(o.device, o.to, o.variant) for o in _of_all(secure, client)}
            assert went == {
                ("camera", "box", ""),
                ("camera", "cloud", "fallback"),
                ("cloud", "", "fallback"),
                ("cloud", "camera", "fallback"),
            }
            assert camera.status().lost == ("box",)


def _of_all(agents: LocalAgents, credentials):
    for device in ("camera", "cloud"):
        with AgentClient(agents.addresses[device], credentials=credentials, device=device) as client:
            yield from client.observations()
