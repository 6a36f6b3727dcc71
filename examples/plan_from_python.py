"""Plans a site, puts the plan on agents of this machine, runs it and compares: the library on one page.

python examples/plan_from_python.py [SITE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import placer


def main(site: Path) -> None:
    """Plan the site's first flow and run it once on random input."""
    plan = placer.plan_site(site, time_limit_s=30)
    flow = plan.flows[0]
    print(f"{plan.status}: {plan.energy_j:.4g} J per inference, {flow.latency_s:.4g} s")
    for segment in flow.segments:
        print(f"  {segment.device} ({segment.mode}) runs {len(segment.ops)} ops in {segment.seconds:.4g} s")
    for baseline in plan.baselines:
        allowed = f"breaks {'; '.join(baseline.broken)}" if baseline.broken else "is allowed"
        print(f"  {baseline.name}: {allowed}")

    models = placer.load_models(plan)
    inputs = {
        tensor.name: np.random.default_rng(0).random(tensor.shape).astype(tensor.dtype)
        for tensor in models[flow.name].client_inputs
    }
    deployment = placer.assign(plan, models)
    with placer.local_agents(sorted(deployment.assignments)) as addresses:
        placer.deploy(deployment, addresses)
        measured = placer.run(deployment, addresses, flow.name, [inputs] * 5, deadline_s=10)
    for row in placer.compare(plan, flow.name, measured):
        print(f"  {row.kind} {row.name}: planned {row.planned_s:.4g} s there, measured {row.measured_s:.4g} s here")
    for name, value in measured.passages[-1].outputs.items():
        print(f"  {name}: {value.dtype} {list(value.shape)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("my_device.yaml"))
