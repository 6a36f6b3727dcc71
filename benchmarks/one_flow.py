"""Times the one-flow solver on model graphs, beside three plain solvers if asked to, and compares with its targets.

Run from the repository's root: `python -m benchmarks.one_flow` (the light graphs on 3 and 6 devices),
`--grown` (2,000 ops on 12 devices, 10,000 ops on 6), `--plain SECONDS` (the plain solvers too, with that time limit
each). What is compared are CPU seconds of one run, which hold where other work shares the cores.

A long run can be made in pieces: with `--append FILE` each instance is written to FILE as a line of JSON as soon as it
is done, and those that FILE holds already are passed over; `--table FILE ...` prints the table of such files, joined.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec

from benchmarks.instances import LIGHT_GRAPHS, SETTINGS, SITE, Setting, benchmark_problem, grown_graph, light_graph
from placer.baselines import starting_choices
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.solver.exact.solve import solve_flow
from placer.solver.plain import Backend, search

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.instances import Node
    from placer.problem import Problem

FRACTIONS = (0.05, 0.3, 1.0)
"""Deadlines are L1 + fraction x (L0 - L1): L0 the makespan of the cheapest plan, L1 the least makespan."""
GROWN = ((2_000, 12, 1e-3), (10_000, 6, 1e-2))
"""Ops, devices and gap of the large graphs."""
BACKENDS: tuple[Backend, ...] = get_args(Backend)


@dataclass(frozen=True, slots=True)
class PlainRun:
    """How one plain solver went on one instance."""

    backend: Backend
    cpu_s: float
    done: bool
    """Whether it met the gap, so that its seconds are more than a lower bound."""
    wrong: bool
    """Whether our plan is better than what it says is possible."""

    def __str__(self) -> str:
        """CPU seconds, marked where the time limit ended them or the claim is wrong."""
        return f"{'' if self.done else '> '}{self.cpu_s:.2f}{' (wrong)' if self.wrong else ''}"


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
    deadline_s: float
    plain: tuple[PlainRun, ...] = ()

    @property
    def best_plain(self) -> PlainRun | None:
        """The plain solver of fewest seconds; one that was stopped would have taken more than those it has."""
        return min(self.plain, key=lambda p: p.cpu_s, default=None)

    @property
    def ratio(self) -> float:
        """CPU seconds of the best plain solver over ours; a lower bound where that solver was stopped."""
        return self.best_plain.cpu_s / self.cpu_s if self.best_plain else 0.0

    def __str__(self) -> str:
        """One row of the table."""
        row = (
            f"| {self.name} | {self.ops} | {self.status} | {self.objective:.6g} | {self.gap:.1e} | {self.segments} "
            f"| {self.cpu_s:.3f} |"
        )
        if self.best_plain is None:
            return row
        return f"{row} {' | '.join(map(str, self.plain))} | {'' if self.best_plain.done else '> '}{self.ratio:.0f} |"


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


def run_plain(
    name: str, index: ProblemIndex, backend: Backend, *, gap: float, limit_s: float, bound: float, objective: float
) -> PlainRun:
    """Solve one instance by a plain solver, started from the baselines' plans, until it first claims the gap.

    In the product such a claim would be checked by solving again without presolve; that time is not counted here.

    Parameters
    ----------
    name, index, backend, gap, limit_s
        What to solve, by what, how well and how long.
    bound, objective
        Our bound and the value of our plan.

    Raises
    ------
    AssertionError
        Its plan is below our bound: one of the two solvers is wrong.
    """
    begin = time.process_time()
    found = search(index, starts=starting_choices(index), backend=backend, time_limit_s=limit_s, gap=gap, believe=True)
    cpu_s = time.process_time() - begin
    if found.evaluation is not None and found.evaluation.objective < bound * (1 - 1e-9):
        raise AssertionError(f"{name}: {backend}'s plan is below the bound {bound}: {found.evaluation.objective}")
    wrong = found.status == "infeasible" or found.bound > objective * (1 + 1e-6)
    return PlainRun(backend, cpu_s, found.gap is not None and found.gap <= gap, wrong)


def run(
    name: str, problem: Problem, *, gap: float, limit_s: float, plain_s: float, backends: Sequence[Backend]
) -> Line:
    """Solve one instance and measure the processor's seconds, index included."""
    begin = time.process_time()
    index = ProblemIndex(problem)
    found = solve_flow(index, time_limit_s=limit_s, gap=gap)
    cpu_s = time.process_time() - begin
    segments = len(evaluate(index, (found.choice,)).flows[0].layout.segments) if found.choice else 0
    plain = tuple(
        run_plain(name, index, b, gap=gap, limit_s=plain_s, bound=found.bound, objective=found.objective)
        for b in backends
        if plain_s > 0
    )
    size = index.flows[0].size
    deadline_s = problem.flows[0].deadline_s or 0.0
    return Line(name, size, found.status, found.objective, found.bound, found.gap, cpu_s, segments, deadline_s, plain)


def with_deadlines(
    name: str,
    nodes: tuple[Node, ...],
    devices: int,
    setting: Setting,
    *,
    gap: float,
    limit_s: float,
    plain_s: float,
    backends: Sequence[Backend],
    lines: dict[str, Line],
    append: Path | None,
) -> None:
    """Solve one graph under each deadline, but for what `lines` holds; print, append and add to them as it goes."""
    problem = benchmark_problem(nodes, devices, setting=setting)
    names = [f"{setting.name}/{name}/{devices}/{fraction:g}" for fraction in FRACTIONS]
    if all(n in lines for n in names):
        return
    for instance, deadline_s in zip(names, deadlines_s(problem, limit_s), strict=True):
        if instance in lines:
            continue
        timed = msgspec.structs.replace(
            problem, flows=(msgspec.structs.replace(problem.flows[0], deadline_s=deadline_s),)
        )
        line = run(instance, timed, gap=gap, limit_s=limit_s, plain_s=plain_s, backends=backends)
        lines[instance] = line
        print(line, flush=True)
        if append is not None:
            with append.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")


def read_lines(files: Iterable[Path]) -> dict[str, Line]:
    """Join what earlier runs appended; of an instance that was run twice the later line counts."""
    lines = [
        msgspec.json.decode(text, type=Line)
        for file in files
        if file.exists()
        for text in file.read_bytes().split(b"\n")
        if text
    ]
    return {line.name: line for line in lines}


def summarize(lines: list[Line]) -> None:
    """Print how the light graphs compare with the targets."""
    optimal = sum(line.gap <= 1e-6 for line in lines)
    rest = max((line.gap for line in lines if line.gap > 1e-6), default=0.0)
    seconds = [line.cpu_s for line in lines]
    print(f"\nproven optimal: {optimal} of {len(lines)} (target 90 %); largest gap of the rest {rest:.2%} (0.5 %)")
    print(f"CPU seconds: median {statistics.median(seconds):.3f} (0.2), worst {max(seconds):.3f} (2)")
    slow = [line for line in lines if line.best_plain is not None and line.best_plain.cpu_s > 1]
    if slow:
        whole = [line for line in slow if line.best_plain is not None and line.best_plain.done]
        print(
            f"best plain solver over 1 s on {len(slow)} of {len(lines)}, stopped by its limit on "
            f"{len(slow) - len(whole)} of them\n"
            f"ratio on those, a stopped solver's seconds counted as if it had been done (a lower bound): "
            f"median {statistics.median(line.ratio for line in slow):.0f} (20), "
            f"least {min(line.ratio for line in slow):.1f}"
        )
        if whole:
            print(f"ratio where it was done: median {statistics.median(line.ratio for line in whole):.0f}")
        print(
            "those, stopped ones marked: " + ", ".join(f"{'' if line in whole else '> '}{line.name}" for line in slow)
        )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grown", action="store_true", help="graphs of 2,000 and 10,000 ops")
    parser.add_argument("--setting", choices=[s.name for s in SETTINGS], default=SITE.name)
    parser.add_argument("--plain", type=float, default=0.0, metavar="SECONDS", help="run the plain solvers too")
    parser.add_argument("--backends", nargs="*", default=BACKENDS, choices=BACKENDS, help="which plain solvers")
    parser.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="time limit of each instance")
    parser.add_argument("--graphs", nargs="*", default=LIGHT_GRAPHS, choices=LIGHT_GRAPHS, metavar="NAME")
    parser.add_argument("--devices", nargs="*", type=int, default=[3, 6])
    parser.add_argument("--append", type=Path, metavar="FILE", help="add each instance as a line of JSON; skip its own")
    parser.add_argument("--table", nargs="+", type=Path, metavar="FILE", help="only print what these files hold")
    asked = parser.parse_args()
    if asked.table:
        lines = read_lines(asked.table)
        backends = list(dict.fromkeys(p.backend for line in lines.values() for p in line.plain))
        print_head(backends)
        print(*lines.values(), sep="\n")
        summarize(list(lines.values()))
        return
    setting = next(s for s in SETTINGS if s.name == asked.setting)
    print_head(asked.backends if asked.plain > 0 else ())
    lines = read_lines([asked.append] if asked.append else [])
    if asked.grown:
        sizes = [(f"grown-{ops}", grown_graph(ops, seed=1), d, gap) for ops, d, gap in GROWN]
    else:
        sizes = [(name, light_graph(name), d, 1e-6) for d in asked.devices for name in asked.graphs]
    for name, nodes, devices, gap in sizes:
        with_deadlines(
            name,
            nodes,
            devices,
            setting,
            gap=gap,
            limit_s=asked.limit,
            plain_s=asked.plain,
            backends=asked.backends,
            lines=lines,
            append=asked.append,
        )
    if not asked.grown:
        summarize(list(lines.values()))
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def print_head(backends: Sequence[Backend]) -> None:
    """Print the head of the table."""
    heads = ["instance", "ops", "status", "objective J", "gap", "segments", "CPU s"]
    heads += [*(f"{b} CPU s" for b in backends), "ratio"] if backends else []
    print(f"| {' | '.join(heads)} |\n|---|---:|---|{'---:|' * (len(heads) - 3)}", flush=True)


if __name__ == "__main__":
    main()
