"""From site.yaml to agents that do without a device: planned, deployed and served with the command's own tools."""

from __future__ import annotations

import itertools
import time

import numpy as np
import onnxruntime
import pytest

from placer.plan import decode_plan
from runtimes.client import AgentClient
from runtimes.errors import AgentError
from runtimes.local import LocalAgents
from tests.e2e.desk import SITE

# A second box on the floor, farther than the first. The camera alone is too slow for the deadline.
BACKED = (
    SITE.replace(
        "links:\n",
        "  - {name: spare, profile: firefly_armnn_v22_11_opencl, zone: floor, memory_bytes: 4e9}\n"
        "links:\n"
        "  - {from: camera, to: spare, profile: ethernet_1g, latency_s: 0.0005, both_ways: true}\n",
    )
    .replace("sink: box", "sink: camera")
    .replace("deadline_s: 1\n", "deadline_s: 0.006\n")
)


@pytest.fixture
def agents():
    with LocalAgents(["camera", "box", "spare"]) as running:
        yield running


def test_a_planned_fallback_serves_while_a_device_is_lost(desk, agents):
    desk.write("site.yaml", BACKED)
    told = desk.placer("plan", "site.yaml", "-o", "plan.json", "--fallbacks")
    assert (told.code, told.err) == (0, "")
    assert "While something is lost" in told.out
    plan = decode_plan((desk.folder / "plan.json").read_bytes())
    assert set(plan.flows[0].devices) & {"box", "spare"} == {"box"}
    fallback = next(f for f in plan.fallbacks if f.lost == ("box",))
    (instead,) = fallback.flows
    assert "box" not in instead.devices
    at = list(itertools.chain(*(["--agent", f"{d}={a}"] for d, a in agents.addresses.items())))
    deployed = desk.placer("deploy", "plan.json", *at, "--json")
    assert (deployed.code, deployed.document["devices"]) == (0, ["box", "camera", "spare"])
    whole = onnxruntime.InferenceSession((desk.folder / "model.onnx").read_bytes()).run(None, {"x": desk.x})[0]

    def ask() -> None:
        with AgentClient(agents.addresses["camera"]) as client:
            outputs = client.infer("look", {"x": desk.x}, deadline_s=10).outputs
            np.testing.assert_allclose(outputs["y"], whole, rtol=1e-4, atol=1e-5)

    ask()
    agents.process("box").kill()
    for _ in range(10):
        ask()
    status = desk.placer("status", "plan.json", *at, "--json")
    assert status.code == 4
    assert all(device["error"] or device["lost"] == ["box"] for device in status.document["devices"])
    agents.restart("box")
    deadline = time.monotonic() + 15
    with AgentClient(agents.addresses["box"]) as client:
        while not any(o.kind == "segment" for o in _observed(client)):
            assert time.monotonic() < deadline
            ask()
    assert desk.placer("status", "plan.json", *at, "--json").document["serves"]


def _observed(client: AgentClient):
    try:
        return client.observations()
    except AgentError:
        return ()
