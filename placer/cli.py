"""The `placer` command: plan, solve, deploy, run and demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from placer.cli_catalog import catalog
from placer.errors import Infeasible, NoPlanFound, ProblemError
from placer.terminal import Terminal, private_stdout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.plan import Plan
    from placer.solver.outcome import Outcome

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Decides where inference runs: least joules under deadlines and privacy rules, proven.",
)
app.add_typer(catalog, name="catalog")

Json = Annotated[bool, typer.Option("--json", help="Write one JSON document instead of tables.")]
TimeLimit = Annotated[float, typer.Option("--time-limit", min=0.1, metavar="SECONDS", help="Longest search.")]
Gap = Annotated[float, typer.Option("--gap", min=0.0, max=1.0, help="Relative gap at which the search may end.")]
Seed = Annotated[int, typer.Option("--seed", help="Equal seeds and inputs give equal plans.")]
AgentAt = Annotated[
    list[str] | None,
    typer.Option("--agent", metavar="DEVICE=HOST:PORT", help="Where a device's agent listens, if the plan is wrong."),
]


@app.callback()
def begin(context: typer.Context) -> None:
    """Keep standard output for the commands alone."""
    context.obj = Terminal(private_stdout())


@app.command("plan")
def plan_command(
    context: typer.Context,
    site: Annotated[Path, typer.Argument(help="The site.yaml.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the plan to this file.")] = None,
    dump_problem: Annotated[Path | None, typer.Option(help="Write the problem the solver sees to this file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the plan into this .svg, .png or .pdf.")] = None,
    time_limit: TimeLimit = 60.0,
    gap: Gap = 1e-6,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Plan a site: which segment of which model runs where."""
    from placer.plan import encode_plan
    from placer.planning import build_site, solve_built
    from placer.problem import encode_problem
    from placer.report import plan_tables, site_table, verdict
    from profiles import read_site

    terminal: Terminal = context.obj
    with terminal:
        whole = read_site(site)
        built, graphs = build_site(whole, progress=terminal.progress)
        if dump_problem is not None:
            _write(dump_problem, encode_problem(built.problem))
        plan = solve_built(
            whole, built, graphs, time_limit_s=time_limit, gap=gap, seed=seed, progress=terminal.progress
        )
    if output is not None:
        _write(output, encode_plan(plan))
    if picture is not None:
        from placer.picture import draw_plan

        draw_plan(plan, picture)
    if json:
        terminal.json(encode_plan(plan))
    else:
        terminal.show(site_table(whole), *plan_tables(plan), verdict(plan))
        if output is not None:
            terminal.show(f"Written to {output}. Next: placer deploy {output}")


@app.command("solve")
def solve_command(
    context: typer.Context,
    problem: Annotated[Path, typer.Argument(help="A problem.json, as docs/problem-format.md describes it.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the plan to this file.")] = None,
    time_limit: TimeLimit = 60.0,
    gap: Gap = 1e-6,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Solve a problem file and answer in the same format."""
    from placer.answer import make_answer
    from placer.assemble import assemble
    from placer.index import ProblemIndex
    from placer.plan import encode_plan
    from placer.problem import read_problem
    from placer.report import plan_tables, verdict
    from placer.solve import find
    from placer.solver.conflict import find_conflict

    terminal: Terminal = context.obj
    with terminal:
        index = ProblemIndex(read_problem(problem))
        outcome: Outcome = find(
            index,
            time_limit_s=time_limit,
            gap=gap,
            seed=seed,
            progress=lambda best, bound: terminal.progress(f"best {best:.6g}, proven at least {bound:.6g}"),
        )
        terminal.progress("looking for the rules in conflict")
        conflict = find_conflict(index.problem) if outcome.status == "infeasible" else ()
    plan: Plan | None = None
    if outcome.choices is not None and outcome.evaluation is not None:
        plan = assemble(index, outcome.choices, outcome.evaluation, outcome.bound)
        if output is not None:
            _write(output, encode_plan(plan))
    if json:
        terminal.json(make_answer(index, outcome, conflict))
    elif plan is not None:
        terminal.show(*plan_tables(plan), verdict(plan))
    if outcome.status == "infeasible":
        raise Infeasible(conflict)
    if outcome.status == "unknown":
        raise NoPlanFound(f"no plan was found in {time_limit:g} s, nor a proof that there is none; give more time")


@app.command("deploy")
def deploy_command(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(help="A plan that `placer plan --output` wrote.")],
    agent: AgentAt = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each segment's session.")] = 1,
    json: Json = False,
) -> None:
    """Put a plan on its devices: all of them, or none."""
    from placer.assign import assign, load_models
    from placer.deploy import deploy, next_epoch
    from placer.plan import read_plan

    terminal: Terminal = context.obj
    with terminal:
        whole = read_plan(plan)
        graphs = load_models(whole)
        addresses = _addresses(whole, agent)
        terminal.progress("asking the agents what they hold")
        deployment = assign(whole, graphs, threads=threads)
        needed = {d: addresses[d] for d in deployment.assignments if d in addresses}
        deployment = assign(whole, graphs, epoch=next_epoch(needed), threads=threads)
        deploy(deployment, addresses, lambda device, step: terminal.progress(f"{device}: {step}"))
    devices = sorted(deployment.assignments)
    if json:
        terminal.json({"plan": deployment.plan, "epoch": deployment.epoch, "devices": devices})
    else:
        terminal.show(f"Plan {deployment.plan} is active on {', '.join(devices)} as epoch {deployment.epoch}.")


@app.command("run")
def run_command(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(help="The plan that was deployed.")],
    inputs: Annotated[
        list[str], typer.Option("--input", metavar="[NAME=]FILE", help="A .npy for one input, a .npz for several.")
    ],
    flow: Annotated[str | None, typer.Option(help="Which flow, if the plan has several.")] = None,
    requests: Annotated[int, typer.Option(min=1, help="How often to send the input.")] = 1,
    deadline: Annotated[float, typer.Option(min=0.001, metavar="SECONDS", help="Time each request has.")] = 10.0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the outputs to this .npz.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Start agents on this machine for the run.")] = False,
    agent: AgentAt = None,
    json: Json = False,
) -> None:
    """Run a deployed plan on an input and measure it."""
    from placer.assign import assign, load_models
    from placer.compare import compare
    from placer.deploy import deploy, run
    from placer.local_agents import local_agents
    from placer.plan import read_plan
    from placer.report import run_table

    terminal: Terminal = context.obj
    with terminal:
        whole = read_plan(plan)
        name = _flow_name(whole, flow)
        deployment = assign(whole, load_models(whole))
        feeds = _feeds(inputs, [t.name for t in deployment.flow(name).inputs])

        def send(addresses: Mapping[str, str]) -> Any:
            return run(
                deployment,
                addresses,
                name,
                [feeds] * requests,
                deadline_s=deadline,
                progress=lambda done: terminal.progress(f"running: {done} of {requests}"),
            )

        if local:
            with local_agents(sorted(deployment.assignments)) as addresses:
                deploy(deployment, addresses, lambda device, step: terminal.progress(f"{device}: {step}"))
                measured = send(addresses)
        else:
            measured = send(_addresses(whole, agent))
    rows = compare(whole, name, measured)
    results = measured.passages[-1].outputs
    if output is not None:
        np.savez(output, **results)
    if json:
        shapes = {k: {"dtype": str(v.dtype), "shape": list(v.shape)} for k, v in results.items()}
        terminal.json({"flow": name, "requests": requests, "outputs": shapes, "rows": rows})
    else:
        terminal.show(run_table(rows))
        for key, value in results.items():
            terminal.show(f"{key}: {value.dtype} {list(value.shape)}" + (f", written to {output}" if output else ""))


@app.command("demo")
def demo_command(context: typer.Context, json: Json = False) -> None:
    """Plan, deploy and run a small site on this machine; no network, nothing left behind."""
    from placer.demo import plan_demo, run_demo
    from placer.demo_report import demo_tables, demo_verdicts

    terminal: Terminal = context.obj
    with terminal:
        planned = plan_demo(terminal.progress)
        if not json:
            terminal.show(*demo_tables(planned))
        ran = run_demo(planned, terminal.progress)
    if json:
        terminal.json({"plan": planned.plan, "without_privacy": planned.without_privacy, "run": ran})
    else:
        terminal.show(*demo_verdicts(planned, ran))


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ProblemError(
            f"{path}: cannot be written: {error.strerror}; give a path in a folder that exists"
        ) from None


def _addresses(plan: Plan, given: list[str] | None) -> dict[str, str]:
    addresses = dict(plan.agents)
    known = {d.name for d in plan.problem.devices}
    for item in given or ():
        device, found, address = item.partition("=")
        if not found or device not in known:
            raise ProblemError(f"--agent {item!r}: give DEVICE=HOST:PORT with a device of the plan: {sorted(known)}")
        addresses[device] = address
    return addresses


def _flow_name(plan: Plan, wanted: str | None) -> str:
    if wanted is not None:
        return plan.flow(wanted).name
    if len(plan.flows) > 1:
        raise ProblemError(f"the plan has several flows; name one with --flow: {', '.join(f.name for f in plan.flows)}")
    return plan.flows[0].name


def _feeds(items: list[str], names: list[str]) -> dict[str, Any]:
    feeds: dict[str, Any] = {}
    for item in items:
        name, found, file = item.partition("=")
        if not found:
            name, file = "", item
        try:
            loaded = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ProblemError(f"--input {item}: not a .npy or .npz file: {error}") from None
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                feeds.update({key: loaded[key] for key in loaded.files})
        else:
            feeds[name or names[0]] = loaded
    if set(feeds) != set(names):
        raise ProblemError(f"--input: the flow takes {names}, the files give {sorted(feeds)}")
    return feeds
