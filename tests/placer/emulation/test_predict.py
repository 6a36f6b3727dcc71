"""The prediction of a chain, added up by hand."""

from importlib import resources
from math import isclose
from pathlib import Path

import msgspec
import pytest

import placer
from placer.deployment.assign import assign, load_models
from placer.emulation import predict as model
from placer.emulation.topology import lay_network
from placer.transfer_time import settled_window_bytes, stall_s, wire_bytes


@pytest.fixture(scope="module")
def demo():
    with resources.as_file(resources.files("placer.demo_data")) as folder:
        plan = placer.plan_site(Path(folder) / "site.yaml")
        return plan, assign(plan, load_models(plan))


def predicted(plan, deployment):
    topology = lay_network(plan.problem, deployment.assignments)
    seconds = {s.name: s.seconds for s in plan.flows[0].segments}
    return topology, model.predict(plan, deployment, topology, plan.flows[0].name, seconds)


def with_rate(plan, rate_hz):
    return msgspec.structs.replace(plan, flows=(msgspec.structs.replace(plan.flows[0], rate_hz=rate_hz),))


def test_a_chain_takes_its_client_its_hops_its_segments_and_the_news_of_its_end(demo):
    plan, deployment = with_rate(demo[0], 10.0), demo[1]
    topology, (cold, steady) = predicted(plan, deployment)
    (flow,) = plan.flows
    first, second = flow.segments
    assert (first.device, second.device) == ("camera", "box")
    expected_s = first.seconds + second.seconds + 2 * model.SEGMENT_S
    for (after, target), carried in {("inspect/0", "box"): 401408, ("inspect/1", "gpu"): 16}.items():
        source = {"box": "camera", "gpu": "box"}[target]
        path = topology.path(source, target)
        message = model._message_bytes(deployment, flow.name)[after, source, target]
        # Names, shapes and the header of the hop.
        assert carried < message < carried + 1000
        expected_s += topology.latency_s(source, target) + wire_bytes(message) / path.bytes_per_s
        expected_s += model.HOP_S * model.RECEIVED_FRACTION
    assert steady.phase == "warm"
    assert isclose(steady.rehearsal.latency_s, expected_s, rel_tol=1e-9)
    news_s = topology.latency_s("gpu", "camera") + model.HOP_S * model.RECEIVED_FRACTION
    assert steady.rehearsal.client_s > model.CLIENT_S + news_s
    assert cold.client_latency_s > steady.client_latency_s


def test_pauses_cost_the_stalls_of_the_window_that_is_left(demo):
    _, (_, warm) = predicted(with_rate(demo[0], 10.0), demo[1])
    topology, (_, idle) = predicted(with_rate(demo[0], 1.0), demo[1])
    assert (warm.phase, idle.phase) == ("warm", "idle")
    path = topology.path("camera", "box")
    sent = wire_bytes(model._message_bytes(demo[1], "inspect")["inspect/0", "camera", "box"])
    expected_s = stall_s(sent, path, settled_window_bytes(sent, path, 1.0 - sent / path.bytes_per_s))
    assert expected_s > 0
    assert isclose(idle.client_latency_s - warm.client_latency_s, expected_s, rel_tol=1e-6)


def test_an_acknowledgement_makes_a_hop_longer_than_its_arrival(demo):
    topology, (_, steady) = predicted(with_rate(demo[0], 10.0), demo[1])
    for (_, _, target), seconds in steady.rehearsal.hop_s.items():
        source = {"box": "camera", "gpu": "box"}[target]
        assert seconds > topology.path(source, target).round_trip_s + model.HOP_S
