"""Plans a site of fifty cameras: what runs where, and what that saves against everything at home.

    python -m examples.fifty_cameras [--limit SECONDS]

Fifty cameras in three groups share the air, four boxes per group and five servers; every flow has a deadline. The
site is that of the benchmarks (benchmarks/site_instances.py names the source of each figure); with an own site the
same few lines do, since a problem is all that the library asks for.
"""

from __future__ import annotations

import argparse
from collections import Counter

from benchmarks.site_instances import site
from placer.baselines import all_on
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.solver.many.solve import solve_flows


def main() -> None:
    """Plan, and print the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for the search")
    arguments = parser.parse_args()

    index = ProblemIndex(site(50))
    found = solve_flows(index, time_limit_s=arguments.limit, gap=5e-3)
    if found.choices is None or found.evaluation is None:
        raise SystemExit(f"no plan: {found.status}")

    print(f"{'flow':<9} {'model':<9} {'Hz':>5} {'latency':>9} {'deadline':>9}  segments")
    for flow, result in zip(index.flows, found.evaluation.flows, strict=True):
        segments = ", ".join(f"{index.devices[s.device].name} ({len(s.ops)} ops)" for s in result.layout.segments)
        model = flow.flow.ops[1].name.rstrip("0123456789")
        deadline_s = flow.flow.deadline_s or 0.0
        print(
            f"{flow.name:<9} {model:<9} {flow.flow.rate_hz:5.1f} {1e3 * result.latency_s:6.1f} ms "
            f"{1e3 * deadline_s:6.1f} ms  {segments}"
        )

    kinds = Counter(
        " + ".join(sorted({index.devices[s.device].tier for s in result.layout.segments}))
        for result in found.evaluation.flows
    )
    print("\nflows by the tiers they use:", ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common()))
    on = [index.devices[d].name for d, watts in enumerate(found.evaluation.idle_w) if watts > 0]
    print("switched on for this plan:", ", ".join(on) or "nothing")
    busiest = max(range(len(index.media)), key=lambda m: found.evaluation.medium_utilization[m])
    name = next(link.medium for link, m in zip(index.links, index.medium_of, strict=True) if m == busiest)
    print(f"busiest queue: {name}, {found.evaluation.medium_utilization[busiest]:.1%}")

    home = [all_on(flow, flow.source_devices[0]) for flow in index.flows]
    judged = evaluate(index, [choice for choice in home if choice is not None])
    late = sum("deadline" in violation.rule for violation in judged.violations)
    saved = 1 - found.evaluation.objective / judged.objective
    print(f"\neverything at home: {judged.objective:.2f} W, {late} of 50 deadlines missed")
    print(f"this plan:          {found.evaluation.objective:.2f} W, {saved:.1%} less, every rule kept")
    print(f"proven:             no plan needs less than {found.bound:.2f} W; gap {found.gap:.3%} ({found.status})")
    print(f"found in {found.seconds:.1f} s, {found.rounds} rounds of prices")


if __name__ == "__main__":
    main()
