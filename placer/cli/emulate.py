"""The `placer emulate` command: a plan on its own site, in namespaces of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from placer.cli.agents import Json
from placer.cli.terminal import require_folder, write_file
from placer.errors import ProblemError

if TYPE_CHECKING:
    from placer.cli.terminal import Terminal
    from placer.emulation.result import Cut, Emulation, FlowRun, Phase
    from placer.plan import Plan
    from profiles import Site

_FAILURES_SHOWN = 3


def emulate_command(
    context: typer.Context,
    site: Annotated[Path, typer.Argument(help="The site.yaml that the plan was made for.")],
    plan: Annotated[Path, typer.Argument(help="A plan that `placer plan --output` wrote.")],
    duration: Annotated[
        float, typer.Option(min=0.1, max=86400, metavar="SECONDS", help="For how long requests are sent.")
    ] = 20.0,
    runs: Annotated[int | None, typer.Option(min=2, help="The most requests of each flow.")] = None,
    cut: Annotated[
        list[str] | None,
        typer.Option("--cut", metavar="DEVICE:DEVICE@SECONDS", help="Cut a link at that time; fallbacks are not used."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="[NAME=]FILE", help="Send this, as with `placer run`, and not zeros."),
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(min=0.001, max=86400, metavar="SECONDS", help="Time each request has.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write what was measured to this .json.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a plan on its own site, emulated on this machine, and compare measured with predicted."""
    import msgspec

    from placer.deployment.feeds import read_feeds
    from placer.emulation.emulate import emulate
    from placer.emulation.made_for import check_made_for
    from placer.plan import read_plan
    from profiles import read_site

    terminal: Terminal = context.obj
    require_folder(output, inputs=[site, plan, *(Path(item.rpartition("=")[2]) for item in inputs or ())])
    with terminal:
        cuts = tuple(_cut(text) for text in cut or ())
        whole = read_plan(plan)
        given = read_site(site)
        _check_site(given, whole, site)
        check_made_for(given, whole, site, terminal.progress)
        feeds: dict[str, Any] = {}
        if inputs:
            if len(whole.flows) > 1:
                raise ProblemError("--input: the plan has several flows; without it all of them run on zeros")
            from placer.deployment.assign import assign, load_models

            name = whole.flows[0].name
            feeds[name] = read_feeds(inputs, assign(whole, load_models(whole)).flow(name).inputs)
        result = emulate(
            whole,
            duration_s=duration,
            runs=runs,
            cuts=cuts,
            feeds=feeds,
            deadline_s=deadline,
            progress=terminal.progress,
        )
    if output is not None:
        write_file(output, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    if json:
        terminal.json(result)
    else:
        terminal.show(*_tables(result))


def _cut(text: str) -> Cut:
    from placer.emulation.result import Cut

    link, found, seconds = text.rpartition("@")
    try:
        at_s = float(seconds)
    except ValueError:
        found = ""
    if not found or ":" not in link:
        raise ProblemError(f"--cut {text!r}: give DEVICE:DEVICE@SECONDS, such as camera:box@5")
    return Cut(link=link, at_s=at_s)


def _check_site(site: Site, plan: Plan, path: Path) -> None:
    """Refuse a plan of another site: its links and devices would not be those of the file."""
    links = {(link.source, link.target) for link in site.links}
    problem = plan.problem
    if strange := sorted({d.name for d in problem.devices} - {d.name for d in site.devices}):
        raise ProblemError(f"{path}: the plan has devices {strange}, which this site has not; give the plan's own site")
    if strange := sorted({f.name for f in plan.flows} - {f.name for f in site.flows}):
        raise ProblemError(f"{path}: the plan has flows {strange}, which this site has not; give the plan's own site")
    for link in problem.links:
        if (link.source, link.target) not in links:
            raise ProblemError(
                f"{path}: the plan has a link from {link.source!r} to {link.target!r}, which this site has not; "
                "run `placer plan` again"
            )


def _tables(result: Emulation) -> list[Any]:
    """Draw what was measured, flow by flow."""
    from placer.report.tables import run_table

    shown: list[Any] = [f"Plan {result.plan} on {len(result.devices)} emulated devices: {', '.join(result.devices)}."]
    shown += [f"Link {cut.link} was cut at {cut.at_s:g} s." for cut in result.cuts]
    for flow in result.flows:
        shown += ["", f"Flow {flow.flow}: {flow.answered} of {flow.sent} requests answered."]
        for phase in flow.phases:
            shown += [f"{phase.name} connections:", run_table(phase.rows), *_deadline(flow, phase)]
        shown += [f"at {f.sent_s:.2f} s, after {f.seconds:.2f} s: {f.error}" for f in flow.failures[:_FAILURES_SHOWN]]
        if len(flow.failures) > _FAILURES_SHOWN:
            shown.append(f"and {len(flow.failures) - _FAILURES_SHOWN} more failures, all in the JSON")
    shown += [f"Note: {note}" for note in result.notes]
    shown.append(
        "Predicted: the plan's own seconds and links, its messages by the transfer-time model; made before the run."
    )
    return shown


def _deadline(flow: FlowRun, phase: Phase) -> list[str]:
    """Say whether the data that went all the way were in time, by median and 90th percentile."""
    from placer.report.tables import amount

    whole = next((r for r in phase.rows if r.kind == "flow" and r.name == flow.flow), None)
    if flow.deadline_s is None or whole is None:
        return []
    times = {"p50": whole.measured_s, "p90": whole.measured_p90_s}
    said = ", ".join(
        f"{'met' if seconds <= flow.deadline_s else 'missed'} at {name} ({amount(seconds, 's')})"
        for name, seconds in times.items()
    )
    return [f"Deadline of {amount(flow.deadline_s, 's')}: {said}."]
