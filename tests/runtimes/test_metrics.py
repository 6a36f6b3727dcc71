"""What a scrape of real agents says: work, outcomes, queues, joules that add up over devices, and health."""

from __future__ import annotations

import dataclasses
import json
import math
import ssl
import time
import urllib.error
import urllib.request

import grpc
import msgspec
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from placer.deployment.deploy import deploy
from profiles.meters import Measurement, write_log
from runtimes.client import AgentClient
from runtimes.convert import encode
from runtimes.errors import AgentError, Failed, Unreachable
from runtimes.local import LocalAgents
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, Stub
from runtimes.specs import ConditionSpec
from tests.runtimes.plans import BRANCHING, Step, branching_result, failing_on_ones, plan, sample, tensor, with_model
from tests.runtimes.site_certs import SiteCerts

DEVICES = ("camera", "box", "cloud")
WATCHED = ("--metrics", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug")
CHAIN = [
    Step(name="fails/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
    Step(name="fails/1", device="box", op="Neg", inputs=("a",), outputs=("y",)),
]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def with_energy(deployment, *, slo_j=None):
    """Give each segment 2 W, each message 0.5 J, and waiting nothing."""
    shares = {}
    for device, share in deployment.assignments.items():
        replace = msgspec.structs.replace
        shares[device] = replace(
            share,
            segments=tuple(replace(s, power_w=2.0) for s in share.segments),
            routes=tuple(replace(r, energy_j=0.5) for r in share.routes),
            flows=tuple(replace(f, wait_w=0.0, energy_slo_j=slo_j) for f in share.flows),
        )
    return type(deployment)(
        plan=deployment.plan, epoch=deployment.epoch, assignments=shares, blobs=deployment.blobs
    )  # fmt: skip


def log_lines(agents: LocalAgents, device: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in agents.log(device).splitlines()]


def url_of(agents: LocalAgents, device: str) -> str:
    (said,) = (line["message"] for line in log_lines(agents, device) if line["message"].startswith("metrics on "))
    return said.removeprefix("metrics on ")


def scrape(agents: LocalAgents, device: str, context: ssl.SSLContext | None = None) -> dict[str, float]:
    with urllib.request.urlopen(url_of(agents, device), timeout=10, context=context) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return samples(answer.read().decode())


def samples(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for s in family.samples:
            inside = ",".join(f"{k}={v}" for k, v in sorted(s.labels.items()))
            found[f"{s.name}{{{inside}}}"] = s.value
    return found


def total(pages: list[dict[str, float]], *names: str) -> float:
    return math.fsum(v for page in pages for key, v in page.items() if key.partition("{")[0] in names)


@pytest.fixture(scope="module")
def agents():
    with LocalAgents(DEVICES, options=WATCHED) as running:
        yield running


def test_work_outcomes_and_joules_are_counted_on_every_device(agents):
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="cloud", epoch=1)
    deploy(with_energy(deployment, slo_j=4.0), agents.addresses)
    with AgentClient(agents.addresses["camera"]) as client:
        for _ in range(5):
            client.infer("flow", sample(), deadline_s=10)
        with pytest.raises(AgentError):
            client.infer("flow", {"x": np.zeros(3, np.float32)})
        with pytest.raises(AgentError):
            client.infer("nonsense", sample())
    pages = [scrape(agents, device) for device in DEVICES]
    camera, box, cloud = pages
    assert camera["placer_request_seconds_count{model=flow,outcome=OK}"] == 5
    assert camera["placer_request_seconds_count{model=flow,outcome=INVALID_ARGUMENT}"] == 1
    assert camera["placer_request_seconds_count{model=,outcome=NOT_FOUND}"] == 1
    assert camera["placer_segment_seconds_count{flow=flow,segment=flow/0}"] == 5
    assert box["placer_segment_bytes_total{flow=flow,segment=flow/1}"] == 5 * 16
    assert cloud["placer_segment_seconds_count{flow=flow,segment=flow/3}"] == 5
    # Camera to box and to cloud, box to cloud.
    assert total(pages, "placer_hop_seconds_count") == 15
    assert camera["placer_hop_joules_total{after=flow/0,flow=flow,origin=modelled,to=box}"] == 2.5
    assert camera["placer_flow_outcomes_total{flow=flow}"] == 5
    # Each joule is told to the source once, over a branch and a join.
    spent_j = total(pages, "placer_segment_joules_total", "placer_hop_joules_total")
    assert camera["placer_flow_joules_total{flow=flow,origin=modelled}"] == pytest.approx(spent_j, rel=1e-9)
    assert camera["placer_flow_energy_slo_joules{flow=flow}"] == 4
    assert camera["placer_flow_energy_burn_rate{flow=flow,window=5m}"] == pytest.approx(spent_j / 20)
    for page in pages:
        assert page["placer_queue_length{queue=requests}"] == 0
        assert page["placer_plan_held{epoch=1,plan=plan,state=active}"] == 1
        assert page["process_cpu_seconds_total{}"] > 0
        assert page["process_resident_memory_bytes{}"] > 1e6
    assert box["placer_segment_ready{epoch=1,plan=plan,segment=flow/1}"] == 1
    with grpc.insecure_channel(agents.addresses["box"]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "flow/1", "plan/plan"):
            status = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5).status
            assert status == health_pb2.HealthCheckResponse.SERVING


SAMPLED = [
    Step(name="rare/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
    Step(name="rare/1", device="box", op="Neg", inputs=("x",), outputs=("b",)),
    Step(name="rare/2", device="cloud", op="Sum", inputs=("x", "a", "b"), outputs=("y",)),
]


def test_joules_of_requests_that_a_device_passes_over_are_counted_once_too(agents):
    deployment = with_energy(
        plan(SAMPLED, outputs=("y", "a", "b"), source="camera", sink="camera", epoch=5, flow="rare", sinks={"y": "box"})
    )
    every = {
        device: msgspec.structs.replace(
            share,
            segments=tuple(msgspec.structs.replace(s, every=3 if device == "cloud" else 1) for s in share.segments),
            # To the cloud first, where nothing may go on from.
            routes=tuple(
                msgspec.structs.replace(r, every=dict.fromkeys(r.tensors, 3) if r.to == "cloud" else {})
                for r in sorted(share.routes, key=lambda r: r.to, reverse=True)
            ),
        )
        for device, share in deployment.assignments.items()
    }
    deploy(dataclasses.replace(deployment, assignments=every), agents.addresses)
    with AgentClient(agents.addresses["camera"]) as client:
        for _ in range(7):
            client.infer("rare", sample(), deadline_s=10)
    # The last acknowledgements may still be on their way.
    hops, deadline = 0.0, time.monotonic() + 10
    while hops < 7 + 7 + 3 * 4:
        assert time.monotonic() < deadline
        pages = [scrape(agents, device) for device in DEVICES]
        hops = math.fsum(v for p in pages for k, v in p.items() if "hop_seconds_count" in k and "flow=rare" in k)
    assert pages[2]["placer_segment_seconds_count{flow=rare,segment=rare/2}"] == 3
    ours = [{key: value for key, value in page.items() if "flow=rare" in key} for page in pages]
    spent_j = total(ours, "placer_segment_joules_total", "placer_hop_joules_total")
    assert ours[0]["placer_flow_joules_total{flow=rare,origin=modelled}"] == pytest.approx(spent_j, rel=1e-9)


@pytest.mark.parametrize(("join", "epoch"), [("camera", 6), ("cloud", 7)])
def test_joules_of_what_ends_after_its_request_are_counted_too(agents, join, epoch):
    flow = f"late {join}"
    steps = [
        Step(name="late/0", device="camera", op="Relu", inputs=("x",), outputs=("a",)),
        Step(name="late/1", device="box", op="Neg", inputs=("a",), outputs=("b",), pad_to_s=0.2),
        Step(name="late/2", device=join, op="Sub", inputs=("b", "m"), outputs=("y",)),
    ]
    gate = ConditionSpec(
        name="gate", flow=flow, tests=tensor("a"), element=0, at_least=1e6, carries=tensor("a"), makes=tensor("m")
    )
    gated = plan(
        steps, outputs=("y",), source="camera", sink=join, epoch=epoch, flow=flow, conditions=(("camera", gate),)
    )
    deploy(with_energy(gated), agents.addresses)
    with AgentClient(agents.addresses["camera"]) as client, AgentClient(agents.addresses[join]) as sink:
        reply = client.infer(flow, sample(), deadline_s=10)
        # It has its result, which is none, while the box is still at work for the join.
        assert reply.not_taken == ("y",) if join == "camera" else sink.fetch(reply.request_id, flow) == {}
    deadline = time.monotonic() + 10
    while True:
        pages = [{k: v for k, v in scrape(agents, d).items() if f"flow={flow}" in k} for d in DEVICES]
        spent_j = total(pages, "placer_segment_joules_total", "placer_hop_joules_total")
        # A message that comes too late is lost, and has cost its joules.
        spent_j += 0.5 * total(pages, "placer_hops_lost_total")
        ran = total(pages, "placer_segment_seconds_count")
        if ran == 2 and math.isclose(total(pages, "placer_flow_joules_total"), spent_j):
            break
        assert time.monotonic() < deadline, pages


def test_without_figures_there_are_no_joules_rather_than_zero(agents):
    deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=10, flow="bare"), agents.addresses)
    with AgentClient(agents.addresses["camera"]) as client:
        client.infer("bare", sample(), deadline_s=10)
    page = scrape(agents, "camera")
    assert page["placer_segment_seconds_count{flow=bare,segment=flow/0}"] == 1
    assert not [key for key in page if "joules" in key and "bare" in key]
    assert not [key for key in page if "burn_rate" in key]


def test_a_flow_that_no_plan_names_is_forgotten(agents):
    for epoch in (20, 21):
        deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=epoch, flow=f"flow-{epoch}")
        deploy(deployment, agents.addresses)
        with AgentClient(agents.addresses["camera"]) as client:
            client.infer(f"flow-{epoch}", sample(), deadline_s=10)
    deploy(plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=22), agents.addresses)
    page = scrape(agents, "camera")
    assert not [key for key in page if "flow-20" in key]
    assert [key for key in page if "flow-21" in key]


def test_a_trace_is_handed_on_and_is_in_the_logs(agents):
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=30, flow="traced")
    deploy(deployment, agents.addresses)
    message = oip.ModelInferRequest(model_name="traced", id="asked")
    encode(sample(), [tensor("x")], message.inputs, message.raw_input_contents)
    with grpc.insecure_channel(agents.addresses["camera"]) as channel:
        stub = Stub(channel, INFERENCE_SERVICE)
        reply = stub.ModelInfer(message, timeout=10, metadata=[("traceparent", f"00-{TRACE}-{SPAN}-00")])
    y = np.frombuffer(reply.raw_output_contents[0], np.float32).reshape(1, 4)
    np.testing.assert_array_equal(y, branching_result(sample()["x"]))
    (line,) = (line for line in log_lines(agents, "camera") if line.get("request") == "asked")
    assert (line["trace_id"], line["status"], line["flow"], line["device"]) == (TRACE, "OK", "traced", "camera")
    assert line["span_id"] != SPAN


def test_a_failure_spends_joules_and_is_no_outcome(agents):
    deployment = plan(CHAIN, outputs=("y",), source="camera", sink="camera", epoch=40, flow="fails")
    deploy(with_energy(with_model(deployment, "box", failing_on_ones()), slo_j=1.0), agents.addresses)
    with AgentClient(agents.addresses["camera"]) as client, pytest.raises(Failed):
        client.infer("fails", {"x": np.ones((1, 4), np.float32)}, deadline_s=10)
    page = scrape(agents, "camera")
    assert page["placer_flow_outcomes_total{flow=fails}"] == 0
    assert page["placer_flow_joules_total{flow=fails,origin=modelled}"] >= 0.5
    assert page["placer_flow_energy_burn_rate{flow=fails,window=1h}"] == math.inf
    (line,) = (line for line in log_lines(agents, "camera") if line.get("flow") == "fails")
    # The executor's words quote the index, which is the client's value.
    assert "idx" not in agents.log("camera") + agents.log("box")
    assert (line["level"], line["status"]) == ("WARNING", "INTERNAL")


def test_every_line_of_the_log_is_json(agents):
    for device in DEVICES:
        for line in log_lines(agents, device):
            assert line["device"] == device


def test_only_the_page_is_there(agents):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url_of(agents, "box").replace("/metrics", "/"), timeout=5)


def test_an_objective_without_figures_is_refused(agents):
    deployment = plan(BRANCHING, outputs=("y",), source="camera", sink="camera", epoch=1)
    share = deployment.assignments["camera"]
    flow = msgspec.structs.replace(share.flows[0], energy_slo_j=1.0)
    with pytest.raises(ValueError, match=r"energy_slo_j but no power_w of segment 'flow/0', no energy_j of the route"):
        msgspec.structs.replace(share, flows=(flow,))


def test_with_certificates_scrapers_need_one(tmp_path):
    plant = SiteCerts(tmp_path / "certs")
    files = plant.files("device", "box")
    with LocalAgents(["box"], credentials={"box": files}, options=WATCHED) as running:
        context = ssl.create_default_context(cafile=str(files.authority))
        with pytest.raises((urllib.error.URLError, OSError)):
            scrape(running, "box", context)
        stranger = plant.files("device", "other")
        context.load_cert_chain(stranger.certificate, stranger.key)
        with pytest.raises((urllib.error.URLError, OSError)):
            scrape(running, "box", context)
        mine = plant.files("client", "prometheus")
        context = ssl.create_default_context(cafile=str(files.authority))
        context.load_cert_chain(mine.certificate, mine.key)
        assert scrape(running, "box", context)["placer_queue_length{queue=executions}"] == 0
        assert "may not ask for inference" in running.log("box")


def test_a_meter_counts_the_whole_device_until_it_fails(tmp_path):
    log = tmp_path / "joules.jsonl"
    write_log(log, [Measurement(joules=j, seconds=1.0, source="a plug", boundary="wall") for j in (2.0, 3.0, 7.0)])
    with LocalAgents(["box"], options=[*WATCHED, "--meter", f"replay:{log}"]) as running:
        key = "placer_device_joules_total{boundary=wall,meter=a plug,origin=measured}"
        assert [scrape(running, "box").get(key) for _ in range(4)] == [2.0, 5.0, None, None]
        assert "all have been replayed" in running.log("box")
    start_in_vain("--meter: 'rapl:sensor' is no meter", "--meter", "rapl:sensor")


def start_in_vain(said: str, *options: str) -> None:
    with pytest.raises(Unreachable, match=said), LocalAgents(["box"], options=options):
        pass


def test_a_port_that_cannot_be_had_ends_the_agent(agents):
    taken = url_of(agents, "box").removeprefix("http://").removesuffix("/metrics")
    start_in_vain("cannot serve metrics on", "--metrics", taken)
    start_in_vain(r"--metrics 0\.0\.0\.0:0: outside loopback", "--metrics", "0.0.0.0:0")
