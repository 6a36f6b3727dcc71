"""Probing links: what is measured of a link to a real agent, and what cannot be."""

from __future__ import annotations

import socket

import pytest

from runtimes.client import AgentClient
from runtimes.errors import BadRequest, DeadlineExceeded, Unreachable
from runtimes.probe import LARGEST_REPLY_BYTES, LinkProbe, probe_link
from runtimes.protos import agent_pb2


def check(measured: LinkProbe, device: str) -> None:
    assert measured.device == device
    for seconds in (measured.small_s, measured.up_s, measured.down_s, measured.stream_small_s, measured.stream_up_s):
        assert len(seconds) >= 7
        assert min(seconds) > 0
    # As large as it takes to tell the bandwidth: on loopback the largest, unless the machine itself was stopped.
    assert 4096 <= measured.large_bytes <= LARGEST_REPLY_BYTES
    # The least of many runs is what nothing else disturbed.
    assert min(*measured.up_s, *measured.down_s) > min(measured.small_s)
    assert measured.first_s > min(measured.small_s)
    # The kernel's round trip has no processes in it.
    assert measured.least_round_trip_s is not None
    assert 0 < measured.least_round_trip_s < min(measured.small_s)
    assert measured.segments is not None
    assert measured.retransmitted is not None
    assert measured.segments > 7 * measured.large_bytes / 65536
    assert 0 <= measured.retransmitted <= measured.segments


def test_a_link_from_here(addresses):
    check(probe_link(addresses["box"]), "box")
    check(probe_link(addresses["box"], device="box"), "box")


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


def test_a_probe_ends_in_time(addresses):
    with pytest.raises(DeadlineExceeded):
        probe_link(addresses["box"], timeout_s=0.003)


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
