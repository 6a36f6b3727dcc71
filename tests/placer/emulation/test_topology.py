"""Hosts, wires and routes of problems."""

import pytest

from placer.emulation.network import find_wire
from placer.emulation.topology import lay_network
from placer.errors import ProblemError
from placer.problem import Device, Flow, Link, Op, Option, Problem


def problem(*links, devices=("a", "b", "c")):
    op = Op(name="op", options=(Option(device="a", mode="m", seconds=0.1, joules=1.0),))
    return Problem(
        devices=tuple(Device(name=d) for d in devices), links=links, flows=(Flow(name="f", ops=(op,), rate_hz=1.0),)
    )


def link(source, target, latency_s=0.01, rate=1e6, medium=None):
    return Link(
        source=source, target=target, latency_s=latency_s, bytes_per_s=rate, energy_j_per_byte=0.0, medium=medium
    )


def test_a_link_one_way_gets_a_way_back_like_itself():
    topology = lay_network(problem(link("b", "a", 0.02, 5e5)), ["a", "b"])
    (wire,) = topology.wires
    assert wire.ends == ("a", "b")
    assert [lane.bytes_per_s for lane in wire.lanes] == [5e5, 5e5]
    assert wire.lanes[0].medium != wire.lanes[1].medium
    assert topology.path("a", "b").round_trip_s == pytest.approx(0.04)


def test_both_directions_keep_their_own_figures():
    topology = lay_network(problem(link("a", "b", 0.01, 1e6), link("b", "a", 0.03, 2e6)), ["a", "b"])
    assert topology.latency_s("a", "b") == 0.01
    assert topology.latency_s("b", "a") == 0.03
    assert topology.path("b", "a").bytes_per_s == 2e6


def test_a_direct_wire_is_taken_though_a_way_around_is_quicker():
    links = [link("a", "c", 0.1), link("a", "b", 0.01), link("b", "c", 0.01)]
    topology = lay_network(problem(*links), ["a", "b", "c"])
    assert len(topology.paths["a", "c"]) == 1
    assert topology.latency_s("a", "c") == 0.1


def test_devices_without_a_link_reach_each_other_through_those_between():
    topology = lay_network(problem(link("a", "b", 0.01, 1e6), link("b", "c", 0.02, 1e5)), ["a", "b", "c"])
    assert topology.latency_s("c", "a") == pytest.approx(0.03)
    assert topology.path("a", "c").bytes_per_s == 1e5


def test_devices_that_cannot_reach_each_other_are_refused():
    with pytest.raises(ProblemError, match=r"\['c'\] cannot be reached from 'a'"):
        lay_network(problem(link("a", "b")), ["a", "b", "c"])


def test_unused_devices_have_no_host():
    topology = lay_network(problem(link("a", "b"), link("b", "c")), ["a", "b"])
    assert topology.devices == ("a", "b")
    assert len(topology.wires) == 1


def test_wires_that_share_a_medium_share_a_process():
    links = [link("a", "b", medium="air"), link("b", "c"), link("a", "c", medium="air")]
    groups = lay_network(problem(*links), ["a", "b", "c"]).groups()
    assert sorted(sorted(w.ends for w in group) for group in groups) == [[("a", "b"), ("a", "c")], [("b", "c")]]


def test_addresses_differ():
    topology = lay_network(problem(link("a", "b"), link("b", "c")), ["a", "b", "c"])
    addresses = [topology.address(d) for d in topology.devices]
    addresses += [w.address(end) for w in topology.wires for end in (0, 1)]
    addresses += [topology.desk_address(d, end) for d in topology.devices for end in (0, 1)]
    assert len(set(addresses)) == len(addresses)


def test_a_wire_is_found_by_either_order_and_else_the_known_ones_are_named():
    topology = lay_network(problem(link("a", "b")), ["a", "b"])
    assert find_wire(topology, "b:a") is find_wire(topology, "a:b")
    with pytest.raises(ProblemError, match=r"'a:c' is no link of the emulated site; give one of a:b"):
        find_wire(topology, "a:c")


def test_too_many_devices_are_refused():
    names = [f"d{n}" for n in range(201)]
    links = [link(names[0], name) for name in names[1:]]
    with pytest.raises(ProblemError, match="201 devices"):
        lay_network(problem(*links, devices=("a", *names)), names)
