"""The `placer explain` and `placer pareto` commands: why a plan is as it is, and what could be traded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from placer.cli.agents import Json
from placer.cli.terminal import require_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from placer.build import Built
    from placer.cli.terminal import Terminal
    from placer.problem import Objective, Problem

Seed = Annotated[int, typer.Option("--seed", help="Equal seeds and inputs give equal answers.")]


def explain_command(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(help="A plan that `placer plan --output` wrote.")],
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Tell what a limit is worth, by its name or a part of it: deadline, memory."),
    ] = None,
    time_limit: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest search of each.")] = 60.0,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Explain a plan: what other places would cost, and what the rules do."""
    from placer import rules
    from placer.plan import read_plan
    from placer.report.why_tables import explanation_tables, sensitivity_table
    from placer.why.explain import explain, posed
    from placer.why.sensitivity import sensitivity

    terminal: Terminal = context.obj
    with terminal:
        whole = read_plan(plan)
        problem = posed(whole)
        asked = _matching(limit or [], rules.limits(problem))
        explained = explain(whole, time_limit_s=time_limit, seed=seed, progress=terminal.progress)
        worth = []
        for rule in asked:
            terminal.progress(f"what {rule} is worth")
            worth.append(sensitivity(problem, rule, time_limit_s=time_limit, seed=seed))
    if json:
        terminal.json({"explanation": explained, "sensitivities": worth})
    else:
        terminal.show(*explanation_tables(whole.problem, explained, whole.meanings))
        if worth:
            terminal.show(sensitivity_table(whole.problem, worth))


def pareto_command(
    context: typer.Context,
    what: Annotated[Path, typer.Argument(metavar="FILE", help="A site.yaml, or a problem.json.")],
    first: Annotated[str, typer.Option(help="energy_j, latency_s, carbon_g or cost.")] = "energy_j",
    second: Annotated[str, typer.Option(help="Another one of them.")] = "latency_s",
    points: Annotated[int | None, typer.Option(min=2, help="Stop at so many plans, both ends among them.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the front into this .svg, .png or .pdf.")] = None,
    time_limit: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest search of all.")] = 600.0,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Find all plans between two objectives that no other plan beats in both."""
    from placer.report.why_tables import front_table
    from placer.why.pareto import pareto

    terminal: Terminal = context.obj
    require_folder(picture, inputs=[what])
    one, other = _objective(first, "--first"), _objective(second, "--second")
    with terminal:
        problem, built = _posed(what, (one, other), terminal)
        front = pareto(
            problem,
            one,
            other,
            max_points=points,
            time_limit_s=time_limit,
            seed=seed,
            progress=lambda count: terminal.progress(f"{count} plans so far"),
            built=built,
        )
    if picture is not None:
        from placer.report.picture import draw_front

        draw_front(front, picture)
    if json:
        from placer.report.notes import latencies_after_pauses_s

        plans = [
            {
                "values": values,
                "status": plan.status,
                "flows": [
                    {
                        "name": f.name,
                        "latency_s": f.latency_s,
                        "after_pauses_s": after_pauses_s[f.name],
                        "energy_j": f.energy_j,
                        "assignment": f.assignment,
                    }
                    for f in plan.flows
                ],
            }
            for plan, values in zip(front.plans, front.values, strict=True)
            for after_pauses_s in [latencies_after_pauses_s(plan)]
        ]
        terminal.json({"first": one, "second": other, "complete": front.complete, "plans": plans})
    else:
        terminal.show(front_table(front))


def _matching(wanted: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the rules that hold one of the wanted words, each once."""
    from placer.errors import ProblemError

    for word in wanted:
        if not any(word in rule for rule in known):
            raise ProblemError(f"--limit {word!r}: no limit of the plan is named so; it has: {'; '.join(known)}")
    return [rule for rule in known if any(word in rule for word in wanted)]


def _objective(name: str, option: str) -> Objective:
    from typing import get_args

    from placer.errors import ProblemError
    from placer.problem import Objective

    for known in get_args(Objective):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise ProblemError(f"{option} {name!r}: no objective; give one of {', '.join(get_args(Objective))}")


def _posed(path: Path, also: tuple[Objective, ...], terminal: Terminal) -> tuple[Problem, Built | None]:
    """Read a problem, or make that of a site with what its joules count in some objectives."""
    from placer.errors import ProblemError
    from placer.planning import build_site
    from placer.problem import read_problem
    from profiles import read_site

    if path.suffix == ".json":
        problem = read_problem(path)
        _require_one_flow(path, len(problem.flows), also)
        return problem, None
    if path.suffix not in (".yaml", ".yml"):
        raise ProblemError(f"{path}: neither a site (.yaml) nor a problem (.json); give one of them")
    site = read_site(path)
    _require_one_flow(path, len(site.flows), also)
    built, _ = build_site(site, also=also, progress=terminal.progress)
    return built.problem, built


def _require_one_flow(path: Path, flows: int, asked: tuple[Objective, ...]) -> None:
    from placer.errors import ProblemError

    if "latency_s" in asked and flows > 1:
        raise ProblemError(
            f"{path}: flows: there are {flows}, and latency_s is that of one; give two others by --first and --second "
            "(energy_j, carbon_g or cost), such as --second carbon_g, or keep one flow"
        )
