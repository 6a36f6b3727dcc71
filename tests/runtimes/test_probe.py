"""Probing links: what is measured between real agents, who may ask for it, and where a probe does not go."""

from __future__ import annotations

import socket
import threading

import pytest

from placer.deployment.deploy import deploy, next_epoch
from runtimes import probe
from runtimes.client import AgentClient
from runtimes.errors import BadRequest, DeadlineExceeded, Exhausted, Forbidden, Unreachable
from runtimes.probe import LARGEST_REPLY_BYTES, LinkProbe, probe_link
from runtimes.protos import agent_pb2
from tests.runtimes.plans import BRANCHING, plan


def check(measured: LinkProbe, device: str) -> None:
    assert measured.device == device
    for seconds in (measured.small_s, measured.up_s, measured.down_s, measured.stream_small_s, measured.stream_up_s):
        assert len(seconds) >= 7
        assert min(seconds) > 0
    # Loopback carries the largest payload at once; the least of many runs is what nothing else disturbed.
    assert measured.large_bytes == LARGEST_REPLY_BYTES
    assert min(*measured.up_s, *measured.down_s) > min(measured.small_s)
    assert measured.first_s > min(measured.small_s)
    # The kernel's round trip has no processes in it.
    assert measured.least_round_trip_s is not None
    assert 0 < measured.least_round_trip_s < min(measured.small_s)
    assert measured.segments is not None
    assert measured.retransmitted is not None
    assert measured.segments > 7 * LARGEST_REPLY_BYTES / 65536
    assert 0 <= measured.retransmitted <= measured.segments


def test_a_link_from_here(addresses):
    check(probe_link(addresses["box"]), "box")
    check(probe_link(addresses["box"], device="box"), "box")


def test_a_link_between_two_agents(addresses):
    with AgentClient(addresses["camera"]) as camera:
        check(camera.probe("box", addresses["box"]), "box")


def test_a_link_that_a_plan_names_needs_no_address(addresses):
    epoch = next_epoch(addresses)
    deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="cloud", epoch=epoch), addresses)
    with AgentClient(addresses["camera"]) as camera:
        assert camera.probe("box").device == "box"


def test_without_certificates_a_probe_stays_where_plans_lead(addresses):
    with AgentClient(addresses["cloud"]) as cloud:
        with pytest.raises(Forbidden, match=r"'cloud' has no certificates.*not 192\.0\.2\.1:7000"):
            cloud.probe("box", "192.0.2.1:7000")
        with pytest.raises(BadRequest, match=r"no plan on 'cloud' names device 'stranger'"):
            cloud.probe("stranger")


@pytest.mark.parametrize(
    "address", ["unix:/run/x:1", "/dev/null", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "a b:1", ""]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(BadRequest, match="is no address of an agent"):
        probe_link(address)


def test_another_device_than_the_named_one_is_refused(addresses):
    with pytest.raises(BadRequest, match=r"is 'box', not 'cloud'; look at the addresses"):
        probe_link(addresses["box"], device="cloud")


def test_nobody_there_is_said(addresses):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=address):
            probe_link(address, timeout_s=5)
        with AgentClient(addresses["camera"]) as camera, pytest.raises(Unreachable, match=address):
            camera.probe("box", address)


def test_a_probe_ends_in_time(addresses):
    with pytest.raises(DeadlineExceeded):
        probe_link(addresses["box"], timeout_s=0.003)


def test_one_probe_at_a_time(addresses, monkeypatch):
    under_way, done = threading.Event(), threading.Event()

    class Held:
        device = "camera"

        def states(self):
            return ()

    def wait(*_, **__):
        under_way.set()
        done.wait(10)
        return "measured"

    monkeypatch.setattr(probe, "probe_link", wait)
    prober = probe.Prober(Held(), None)  # type: ignore[arg-type]
    first = threading.Thread(target=prober.probe, args=("box", "127.0.0.1:1", 1.0))
    first.start()
    assert under_way.wait(10)
    with pytest.raises(Exhausted, match="'camera' is probing a link"):
        prober.probe("box", "127.0.0.1:1", 1.0)
    done.set()
    first.join()
    assert prober.probe("box", "127.0.0.1:1", 1.0) == "measured"


def test_an_echo_sends_back_no_more_than_a_probe_needs(addresses):
    with AgentClient(addresses["box"]) as box:
        stub = box._agent
        assert len(stub.Echo(agent_pb2.EchoRequest(payload=b"abc", reply_bytes=7)).payload) == 7
        assert stub.Echo(agent_pb2.EchoRequest(payload=b"abc")).payload == b"abc"
        for call in (stub.Echo, lambda r, **k: next(iter(stub.EchoStream(iter([r]), **k)))):
            with pytest.raises(Exception, match="sends back 1048576 at most"):
                call(agent_pb2.EchoRequest(reply_bytes=LARGEST_REPLY_BYTES + 1), timeout=5)
        asked = [agent_pb2.EchoRequest(reply_bytes=n) for n in (0, 5)]
        assert [len(r.payload) for r in stub.EchoStream(iter(asked), timeout=5)] == [0, 5]
        for timeout_s in (None, 3600):
            with pytest.raises(Exception, match="needs a deadline of at most 60 s"):
                list(stub.EchoStream(iter(asked), timeout=timeout_s))


def test_with_certificates_a_deployer_asks_and_devices_prove_who_they_are(secure_agents, deployer, client):
    there = secure_agents.addresses
    with AgentClient(there["camera"], credentials=deployer, device="camera") as camera:
        check(camera.probe("box", there["box"]), "box")
        with pytest.raises(Unreachable, match=r"its certificate does not name device 'box' of this site"):
            # The cloud's certificate is not the box's: nothing is sent.
            camera.probe("box", there["cloud"])
    with AgentClient(there["camera"], credentials=client, device="camera") as camera, pytest.raises(Forbidden):
        camera.probe("box", there["box"])
    check(probe_link(there["box"], credentials=client, device="box"), "box")
