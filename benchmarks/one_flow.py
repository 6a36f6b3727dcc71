"""Times the one-flow solver on model graphs, beside a plain MILP if asked to, and compares with its targets.

Run from the repository's root: `python -m benchmarks.one_flow` (the light graphs on 3 and 6 devices),
`--grown` (2,000 ops on 12 devices, 10,000 ops on 6), `--plain SECONDS` (the MILP too, with that time limit).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from benchmarks.instances import LIGHT_GRAPHS, SETTINGS, SITE, Setting, benchmark_problem, grown_graph, light_graph
from placer.baselines import starting_choices
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.solver.exact.solve import solve_flow
from placer.solver.plain import search

if TYPE_CHECKING:
    from benchmarks.instances import Node
    from placer.problem import Problem

FRACTIONS = (0.05, 0.3, 1.0)
"""Deadlines are L1 + fraction x (L0 - L1): L0 the makespan of the cheapest plan, L1 the least makespan."""


@dataclass(frozen=True, slots=True)
class Line:
    """One instance and how it went."""

    name: str
    ops: int
    status: str
    objective: float
    bound: float
    gap: float
    cpu_s: float
    segments: int
    plain: str
    """Status of the plain solver, empty if it was not asked."""
    plain_cpu_s: float

    def __str__(self) -> str:
        """One row of the table."""
        row = (
            f"{self.name:34s} {self.ops:6d} {self.status:10s} {self.objective:12.6g} {self.bound:12.6g} "
            f"{self.gap:9.1e} {self.cpu_s:8.3f} {self.segments:4d}"
        )
        return f"{row} {self.plain:10s} {self.plain_cpu_s:8.2f}" if self.plain else row


def deadlines_s(problem: Problem, limit_s: float) -> tuple[float, ...]:
    """Place deadlines between the least makespan that is found and that of the cheapest plan.

    Parameters
    ----------
    problem
        A problem without deadline.
    limit_s
        Seconds for finding the least makespan.
    """
    index = ProblemIndex(problem)
    cheapest = solve_flow(index, gap=1e-4)
    fastest = solve_flow(
        ProblemIndex(msgspec.structs.replace(problem, objective="latency_s")), time_limit_s=limit_s, gap=1e-3
    )
    if cheapest.choice is None:
        raise ValueError("the benchmark's problem has no plan at all")
    slow_s = evaluate(index, (cheapest.choice,)).flows[0].latency_s
    fast_s = min(slow_s, fastest.objective)
    return tuple(fast_s + fraction * (slow_s - fast_s) for fraction in FRACTIONS)


def run(name: str, problem: Problem, *, gap: float, limit_s: float, plain_s: float) -> Line:
    """Solve one instance and measure the processor's seconds, index included."""
    begin = time.process_time()
    index = ProblemIndex(problem)
    found = solve_flow(index, time_limit_s=limit_s, gap=gap)
    cpu_s = time.process_time() - begin
    segments = len(evaluate(index, (found.choice,)).flows[0].layout.segments) if found.choice else 0
    plain, plain_cpu_s = "", 0.0
    if plain_s > 0:
        begin = time.process_time()
        outcome = search(index, starts=starting_choices(index), time_limit_s=plain_s, gap=gap)
        plain, plain_cpu_s = outcome.status, time.process_time() - begin
        if outcome.evaluation is not None and outcome.evaluation.objective < found.bound * (1 - 1e-9):
            raise AssertionError(f"{name}: the plain solver's plan is below the bound: {outcome.evaluation.objective}")
    size = index.flows[0].size
    return Line(name, size, found.status, found.objective, found.bound, found.gap, cpu_s, segments, plain, plain_cpu_s)


def with_deadlines(
    name: str, nodes: tuple[Node, ...], devices: int, setting: Setting, *, gap: float, limit_s: float, plain_s: float
) -> list[Line]:
    """Solve one graph under each deadline, printing as it goes."""
    problem = benchmark_problem(nodes, devices, setting=setting)
    lines = []
    for fraction, deadline_s in zip(FRACTIONS, deadlines_s(problem, limit_s), strict=True):
        bound = msgspec.structs.replace(problem.flows[0], deadline_s=deadline_s)
        lines.append(
            run(
                f"{setting.name}/{name}/{devices}/{fraction:g}",
                msgspec.structs.replace(problem, flows=(bound,)),
                gap=gap,
                limit_s=limit_s,
                plain_s=plain_s,
            )
        )
        print(lines[-1], flush=True)
    return lines


def summarize(lines: list[Line]) -> None:
    """Print how the light graphs compare with the targets."""
    optimal = sum(line.gap <= 1e-6 for line in lines)
    rest = max((line.gap for line in lines if line.gap > 1e-6), default=0.0)
    seconds = [line.cpu_s for line in lines]
    print(f"proven optimal: {optimal} of {len(lines)} (target 90 %); largest gap of the rest {rest:.2%} (0.5 %)")
    print(f"seconds: median {statistics.median(seconds):.3f} (0.2), worst {max(seconds):.3f} (2)")
    slow = [line for line in lines if line.plain_cpu_s > 1]
    if slow:
        ratios = [line.plain_cpu_s / line.cpu_s for line in slow]
        print(
            f"plain over 1 s on {len(slow)}: ratio median {statistics.median(ratios):.0f} (20), least {min(ratios):.1f}"
        )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grown", action="store_true", help="graphs of 2,000 and 10,000 ops")
    parser.add_argument("--setting", choices=[s.name for s in SETTINGS], default=SITE.name)
    parser.add_argument("--plain", type=float, default=0.0, metavar="SECONDS", help="run the plain MILP too")
    parser.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="time limit of each instance")
    parser.add_argument("--graphs", nargs="*", default=LIGHT_GRAPHS, choices=LIGHT_GRAPHS, metavar="NAME")
    parser.add_argument("--devices", nargs="*", type=int, default=[3, 6])
    asked = parser.parse_args()
    setting = next(s for s in SETTINGS if s.name == asked.setting)
    print(
        f"{'instance':34s} {'ops':>6s} {'status':10s} {'objective':>12s} {'bound':>12s} {'gap':>9s} {'cpu s':>8s} segs"
    )
    if asked.grown:
        for ops, devices, gap in ((2_000, 12, 1e-3), (10_000, 6, 1e-2)):
            nodes = grown_graph(ops, seed=1)
            with_deadlines(f"grown-{ops}", nodes, devices, setting, gap=gap, limit_s=asked.limit, plain_s=asked.plain)
    else:
        for devices in asked.devices:
            lines = []
            for name in asked.graphs:
                nodes = light_graph(name)
                lines += with_deadlines(
                    name, nodes, devices, setting, gap=1e-6, limit_s=asked.limit, plain_s=asked.plain
                )
            summarize(lines)
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
