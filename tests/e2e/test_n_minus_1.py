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
    # A plan that outlives a loss is followed by one that does.
    assert desk.placer("replan", "site.yaml", "plan.json", "-o", "new.json").code == 0
    anew = decode_plan((desk.folder / "new.json").read_bytes())
    assert [f.lost for f in anew.fallbacks] == [f.lost for f in plan.fallbacks]
    at = list(itertools.chain(*(["--agent", f"{d}={a}"] for d, a in agents.addresses.items())))
    deployed = desk.placer("deploy", "plan.json", *at, "--json")
    assert (deployed.code, deployed.document["devices"]) == (0, ["box", "camera", "spare"])
    whole = onnxruntime.InferenceSession((desk.folder / "model.onnx").read_bytes()).run(None, {"x": desk.x})[0]

    def ask() -> None:
        with AgentClient(agents.addresses["camera"]) as client:
            outputs = client.infer("look", {"x": desk.x}, deadline_s=10).outputs
            np.testing.assert_allclose(outputs["y"], whole, rtol=1e-4, atol=1e-5)

    ask()
    # The source reaches the box, though we do not: it goes on with the plan, and no other way is claimed.
    unseen = [*at, "--agent", "box=127.0.0.1:9"]
    told = desk.placer("status", "plan.json", *unseen, "--json")
    assert (told.code, told.document["serves"], told.document["fallbacks"]) == (4, False, {})
    told = desk.placer("run", "plan.json", *unseen, "--input", "x.npy", "--json")
    assert (told.code, told.document["rows"]) == (0, [])
    assert "1 of 1 requests went another way and are not compared" in told.err
    agents.process("box").kill()
    for _ in range(10):
        ask()
    status = desk.placer("status", "plan.json", *at, "--json")
    assert (status.code, status.document["serves"], status.document["fallbacks"]) == (0, True, {"look": ["box"]})
    assert "flow 'look' is served by its fallback for 'box'" in desk.placer("status", "plan.json", *at).out
    ran = desk.placer("run", "plan.json", *at, "--input", "x.npy", "--requests", 3, "--json")
    assert ran.code == 0
    assert "device 'box': agent at " in ran.err
    assert "flow 'look' is served by its fallback for 'box'\n" in ran.err
    rows = ran.document["rows"]
    segments = {(r["name"], r["where"]) for r in rows if r["kind"] == "segment"}
    assert segments == {(s.name, s.device) for s in instead.segments}
    assert all(r["requests"] == 3 and r["planned_s"] is not None for r in rows)
    assert all(device["error"] or device["lost"] == ["box"] for device in status.document["devices"])
    # Nothing begins where the source does not answer.
    nowhere = [*at, "--agent", "camera=127.0.0.1:9"]
    told = desk.placer("run", "plan.json", *nowhere, "--input", "x.npy")
    assert (told.code, "device 'camera': agent at " in told.err, "fallback" in told.err) == (4, True, False)
    assert desk.placer("status", "plan.json", *nowhere).code == 4
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
