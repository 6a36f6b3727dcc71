"""The `placer` command: plan, solve and demo here; what needs agents or the catalog in files of its own."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from placer.cli.agents import Json
from placer.cli.calibrate import calibrate_command, replan_command
from placer.cli.catalog import catalog
from placer.cli.certs import certs
from placer.cli.deploy import deploy_command, rollback_command, status_command
from placer.cli.emulate import emulate_command
from placer.cli.explain import explain_command, pareto_command
from placer.cli.probe import probe_command
from placer.cli.profile import profile_command
from placer.cli.run import run_command
from placer.cli.terminal import Terminal, private_stdout, require_folder, write_file
from placer.errors import Infeasible, NoPlanFound, ProblemError
from runtimes.version import software_version

if TYPE_CHECKING:
    from placer.plan import Plan
    from placer.solver.outcome import Outcome

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Decides where inference runs: least joules under deadlines and privacy rules, proven.",
)
app.add_typer(catalog, name="catalog")
app.add_typer(certs, name="certs")

TimeLimit = Annotated[float, typer.Option("--time-limit", min=0.1, metavar="SECONDS", help="Longest search.")]
Gap = Annotated[float, typer.Option("--gap", min=0.0, max=1.0, help="Relative gap at which the search may end.")]
Seed = Annotated[int, typer.Option("--seed", help="Equal seeds and inputs give equal plans.")]


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(software_version())
        raise typer.Exit


@app.callback()
def begin(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep standard output for the commands alone."""
    out = private_stdout()
    context.call_on_close(out.close)
    # A command's --help is written by typer, after this and before the command begins.
    context.with_resource(redirect_stdout(out))
    context.obj = Terminal(out)


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
    fallbacks: Annotated[
        bool, typer.Option("--fallbacks", help="Also plan for the loss of each device and link that the plan passes.")
    ] = False,
    json: Json = False,
) -> None:
    """Plan a site: which segment of which model runs where."""
    from placer.cli.answer import NoAnswer
    from placer.plan import encode_plan
    from placer.planning import build_site, solve_built
    from placer.problem import encode_problem
    from placer.report.notes import notes
    from placer.report.tables import plan_tables, site_table, verdict
    from profiles import read_site

    terminal: Terminal = context.obj
    require_folder(output, dump_problem, picture, inputs=[site])
    with terminal:
        whole = read_site(site)
        if not whole.flows:
            raise ProblemError(f"{site}: flows: none are given, so there is nothing to plan; give at least one")
        built, graphs = build_site(whole, progress=terminal.progress)
        if dump_problem is not None:
            write_file(dump_problem, encode_problem(built.problem))
        try:
            plan = solve_built(
                whole, built, graphs, time_limit_s=time_limit, gap=gap, seed=seed, progress=terminal.progress
            )
        except (Infeasible, NoPlanFound) as error:
            if json:
                terminal.json(NoAnswer.of(error))
            raise
        if fallbacks:
            from placer.fallbacks import add_fallbacks

            plan = add_fallbacks(plan, time_limit_s=time_limit, gap=gap, seed=seed, progress=terminal.progress)
    if output is not None:
        write_file(output, encode_plan(plan))
    if picture is not None:
        from placer.report.picture import draw_plan

        draw_plan(plan, picture)
    if json:
        terminal.json(encode_plan(plan))
    else:
        terminal.show(site_table(whole), *plan_tables(plan), verdict(plan, gap), *notes(plan, whole))
        if fallbacks:
            from placer.report.fallback_tables import fallback_table

            terminal.show(fallback_table(plan))
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
    from placer.assemble import assemble
    from placer.cli.answer import make_answer
    from placer.index import ProblemIndex
    from placer.plan import encode_plan
    from placer.problem import read_problem
    from placer.report.tables import plan_tables, verdict
    from placer.solver.asked import check_asked
    from placer.solver.conflict import find_amounts, find_conflict, links_hint
    from placer.solver.find import find

    terminal: Terminal = context.obj
    require_folder(output, inputs=[problem])
    check_asked(time_limit_s=time_limit, gap=gap, seed=seed)
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
        amounts = find_amounts(index.problem, conflict, time_limit_s=time_limit) if conflict else ()
    plan: Plan | None = None
    if outcome.choices is not None and outcome.evaluation is not None:
        plan = assemble(index, outcome.choices, outcome.evaluation, outcome.bound)
        if output is not None:
            write_file(output, encode_plan(plan))
    if json:
        terminal.json(make_answer(index, outcome, conflict, amounts))
    elif plan is not None:
        terminal.show(*plan_tables(plan), verdict(plan, gap))
    if outcome.status == "infeasible":
        raise Infeasible(conflict, amounts, links_hint(index.problem, conflict))
    if outcome.status == "unknown":
        raise NoPlanFound(f"no plan was found in {outcome.seconds:.2g} s, nor a proof that none exists; give more time")


app.command("deploy")(deploy_command)
app.command("status")(status_command)
app.command("rollback")(rollback_command)
app.command("run")(run_command)
app.command("emulate")(emulate_command)
app.command("probe")(probe_command)
app.command("calibrate")(calibrate_command)
app.command("replan")(replan_command)
app.command("profile")(profile_command)
app.command("explain")(explain_command)
app.command("pareto")(pareto_command)


@app.command("demo")
def demo_command(context: typer.Context, json: Json = False) -> None:
    """Plan, deploy and run a small site on this machine; no network, nothing left behind."""
    from placer.demo import plan_demo, run_demo
    from placer.report.demo_tables import demo_tables, demo_verdicts

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
