"""Measures this host and a link, plans by a data sheet that is wrong, runs, calibrates, and plans anew.

python examples/measure_and_replan.py [FOLDER]

The site has two devices, both of them this host: a box whose seconds are measured, and a sensor whose data sheet says
that it is ten times as fast. Their watts are invented. What is written stays in FOLDER, if one is given.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import placer
from placer import demo_data
from placer.measuring.measure import op_seconds, segment_seconds
from placer.measuring.probe import link_figures, probed_profile
from profiles import Catalog, read_site
from profiles.profile_file import encode_profile
from runtimes.probe import probe_link

MODEL = Path(demo_data.__file__).with_name("orientation.onnx")
INPUTS = {"x": (1, 3, 224, 224)}
TOO_FAST = 10

SITE = """\
format: placer.site/1.0
name: bench
labels: [anything]
zones:
  - {{name: bench, sees: anything, region: here}}
devices:
  - name: sensor
    zone: bench
    tier: sensor
    boundary: wall
    idle_w: 1
    wait_w: 0
    modes:
      - name: cpu-fp32
        numeric: fp32
        active_w: 5
        segment_s: {{value: {claimed_segment_s:.4g}, source: its data sheet, origin: spec, relative_uncertainty: 0.1}}
        s_per_mac: {{value: {claimed_s_per_mac:.4g}, source: its data sheet, origin: spec, relative_uncertainty: 0.1}}
  - name: box
    zone: bench
    tier: edge
    boundary: wall
    idle_w: 4
    modes:
      - name: cpu-fp32
        numeric: fp32
        active_w: 6
        segment_s: {{value: {segment_s:.4g}, source: "{how}", origin: measured}}
        s_per_mac: {{value: {s_per_mac:.4g}, source: "{how}", origin: fitted}}
links:
  - {{from: sensor, to: box, profile: wire.yaml, network: switch_marginal, both_ways: true}}
flows:
  - name: look
    source: sensor
    sink: sensor
    rate_hz: 1
    deadline_s: 2
    label: anything
    stages:
      - {{name: orientation, model: "{model}", inputs: {{x: [1, 3, 224, 224]}}}}
"""


def main(folder: Path) -> None:
    """Go all the way once."""
    graph = placer.read_model(MODEL, INPUTS)
    ops = op_seconds(graph, threads=1)
    (whole,) = placer.cut(graph, [[op.name for op in graph.ops]])
    start = segment_seconds(whole, threads=1)
    s_per_mac = sum(ops.seconds.values()) / sum(op.macs for op in graph.ops)
    print(f"this host: {start.overhead_s:.3g} s to start, {s_per_mac:.3g} s per MAC ({ops.source})")

    site_file = folder / "site.yaml"
    with placer.local_agents(["sensor", "box"]) as agents:
        found = link_figures(probe_link(agents["box"], device="box"))
        wire = probed_profile(
            found, name="wire", ends="none", like=Catalog.load().link("ethernet_1g"), ways=("sensor", "box"),
            day=datetime.now(UTC).date(),
        )  # fmt: skip
        (folder / "wire.yaml").write_bytes(encode_profile(wire))
        print(f"the link: {found.latency_s:.3g} s, {8e-6 * found.up_bytes_per_s:.4g} Mbit/s")
        site_file.write_text(
            SITE.format(
                claimed_segment_s=start.overhead_s / TOO_FAST, claimed_s_per_mac=s_per_mac / TOO_FAST,
                segment_s=start.overhead_s, s_per_mac=s_per_mac, how=ops.source, model=MODEL,
            )
        )  # fmt: skip

        site = read_site(site_file)
        plan = placer.plan_site(site)
        (folder / "plan.json").write_bytes(placer.encode_plan(plan))
        print(f"by the data sheet: {plan.energy_j:.3g} J on {' then '.join(plan.flows[0].devices)}")

        deployment = placer.assign(plan, placer.load_models(plan))
        placer.deploy(deployment, agents)
        inputs = {"x": np.zeros(INPUTS["x"], np.float32)}
        placer.run(deployment, agents, "look", [inputs] * 20, deadline_s=10)
        evidence = placer.ask_agents(plan, {device: agents[device] for device in deployment.assignments})

    built, _ = placer.build_site(site)
    factors = placer.calibrate(site, built.problem, plan, evidence)
    for factor in factors:
        drifted = "has drifted" if factor.drifted else "has not drifted"
        print(f"{factor.name}: {factor.ratio:.3g} times its seconds ({factor.low:.3g} to {factor.high:.3g}): {drifted}")
    new_file = folder / "site-calibrated.yaml"
    day = datetime.now(UTC).date()
    new_file.write_bytes(
        placer.calibrated_site(site_file, new_file, site, factors, of=f"plan {plan.identity}", day=day)
    )

    result = placer.replan(read_site(new_file), plan)
    kept = result.kept
    print(f"the plan that is there: {kept.objective:.3g} W; {'; '.join(kept.broken) or 'it keeps every rule'}")
    devices = " then ".join(result.plan.flows[0].devices)
    saves = f"saves {result.saved:.3g} W" if result.changes else "no change"
    print(f"the best plan: {result.plan.objective:.3g} W on {devices}; {saves}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
