"""The `placer calibrate` and `placer replan` commands: what was measured corrects the figures, and then the plan."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from placer.cli.agents import AgentAt, Json, needed_addresses, read_addresses
from placer.cli.certs import AuthorityFile, CertificateFile, KeyFile, read_credentials
from placer.cli.terminal import require_folder, write_file
from placer.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.cli.terminal import Terminal
    from placer.measuring.calibrate import Factor
    from placer.measuring.replan import Replan

_OPS_SHOWN = 3


def calibrate_command(
    context: typer.Context,
    site: Annotated[Path, typer.Argument(help="The site.yaml that the plan was made for.")],
    plan: Annotated[Path, typer.Argument(help="The plan that was measured.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Write the site with calibrated figures to this file.")
    ],
    observations: Annotated[
        Path | None,
        typer.Option(
            help="What `placer emulate -o` or `placer run --json` wrote; the plan's agents are asked if none."
        ),
    ] = None,
    agent: AgentAt = None,
    authority: AuthorityFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
    json: Json = False,
) -> None:
    """Correct a site's figures by what was measured, and say which have drifted."""
    from placer.measuring.calibrate import calibrate
    from placer.measuring.calibrated_site import calibrated_site
    from placer.measuring.evidence import ask_agents, read_evidence
    from placer.plan import read_plan
    from placer.planning import build_site
    from profiles import read_site

    terminal: Terminal = context.obj
    if observations is not None and agent:
        raise ProblemError("--observations says what was measured, so --agent says nothing; give one of the two")
    require_folder(output, inputs=[site, plan, observations, authority, certificate, key])
    with terminal:
        whole, given = read_plan(plan), read_site(site)
        if observations is not None:
            evidence = read_evidence(observations)
        else:
            credentials = read_credentials(authority, certificate, key)
            devices = tuple(dict.fromkeys(d for flow in whole.flows for d, _ in flow.assignment.values()))
            addresses = needed_addresses(read_addresses(whole, agent), devices)
            terminal.progress("asking the agents what they observed")
            evidence = ask_agents(whole, addresses, credentials)
        built, _ = build_site(given, progress=terminal.progress)
        factors = calibrate(given, built.problem, whole, evidence)
        day = datetime.now(UTC).date()
        of = f"plan {whole.identity}" + (f", {observations.name}" if observations else "")
        new = calibrated_site(site, output, given, factors, of=of, day=day)
        write_file(output, new)
        read_site(output)
    if json:
        terminal.json({"factors": factors, "drifted": [f.name for f in factors if f.drifted], "site": str(output)})
        return
    terminal.show(_table(factors))
    measured = [d.name for d in given.devices if d.costs != "profile" and any(f.name == d.name for f in factors)]
    for name in measured:
        terminal.show(f"Note: {name!r} has `costs: measured`, so every plan measures it anew; its figures stay.")
    drifted = ", ".join(dict.fromkeys(f.name for f in factors if f.drifted))
    terminal.show(f"Drifted: {drifted}." if drifted else "Nothing has drifted.")
    terminal.show(f"Written to {output}. Next: placer replan {output} {plan}")


def replan_command(
    context: typer.Context,
    site: Annotated[Path, typer.Argument(help="The site with its present figures, as `placer calibrate` writes it.")],
    plan: Annotated[Path, typer.Argument(help="The plan that is there.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the new plan to this file.")] = None,
    time_limit: Annotated[
        float, typer.Option("--time-limit", min=0.1, metavar="SECONDS", help="Longest search.")
    ] = 60.0,
    gap: Annotated[float, typer.Option("--gap", min=0.0, max=1.0, help="Gap at which the search may end.")] = 1e-6,
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds and inputs give equal plans.")] = 0,
    json: Json = False,
) -> None:
    """Plan anew, and say whether the plan that is there still holds and what a change would save."""
    from placer.measuring.replan import replan
    from placer.plan import encode_plan, read_plan
    from profiles import read_site

    terminal: Terminal = context.obj
    require_folder(output, inputs=[site, plan])
    with terminal:
        old = read_plan(plan)
        result = replan(read_site(site), old, time_limit_s=time_limit, gap=gap, seed=seed, progress=terminal.progress)
        new = result.plan
        if output is not None and old.fallbacks:
            # A plan that outlives a loss is not to be followed by one that does not.
            from placer.fallbacks import add_fallbacks

            new = add_fallbacks(new, time_limit_s=time_limit, gap=gap, seed=seed, progress=terminal.progress)
    if output is not None:
        write_file(output, encode_plan(new))
    if json:
        kept = result.kept
        terminal.json(
            {
                "changes": result.changes,
                "kept": {"objective": kept.objective, "latency_s": kept.latency_s, "broken": kept.broken},
                "objective": result.plan.objective,
                "status": result.plan.status,
                "saved": result.saved,
                "moved": result.moved,
            }
        )
        return
    terminal.show(*_verdict(result, gap))
    if output is not None:
        terminal.show(f"Written to {output}." + (f" Next: placer deploy {output}" if result.changes else ""))


def _table(factors: Sequence[Factor]) -> Any:
    from rich.table import Table

    table = Table(title="Measured over what the figures say", title_justify="left", title_style="bold")
    for column in ("what", "mode", "times", "95 % interval", "of parts", "requests", "drifted"):
        table.add_column(column, justify="left" if column in ("what", "mode", "drifted") else "right")
    for f in factors:
        table.add_row(
            f.name, f.mode, f"{f.ratio:.3g}", f"{f.low:.3g} to {f.high:.3g}", str(f.parts), str(f.requests),
            "yes" if f.drifted else "no",
        )  # fmt: skip
    return table


def _verdict(result: Replan, gap: float) -> list[str]:
    from placer.objective import per_inference
    from placer.report.tables import shown, verdict

    kept, best = result.kept, result.plan
    factor, unit = per_inference(best.problem, best.problem.objective)
    if kept.objective is None:
        said = [f"The old plan cannot be run any more: {'; '.join(kept.broken)}"]
    else:
        said = [f"The old plan now costs {shown(kept.objective * factor, unit)}."]
        said += [f"It breaks: {rule}" for rule in kept.broken]
    if not result.changes:
        return [*said, "It stands: no plan that was found does better. " + verdict(best, gap)]
    for flow, ops in result.moved.items():
        names = ", ".join(ops[:_OPS_SHOWN]) + (f" and {len(ops) - _OPS_SHOWN} more" if len(ops) > _OPS_SHOWN else "")
        said.append(f"Flow {flow}: {len(ops)} ops move ({names}); now {' then '.join(best.flow(flow).devices)}.")
    said.append(f"The new plan: {verdict(best, gap)}")
    if kept.objective:
        saved = f"{shown(abs(result.saved) * factor, unit)} ({abs(result.saved) / kept.objective:.1%})"
        said.append(f"It saves {saved}." if result.saved >= 0 else f"Keeping the rules costs {saved} more.")
    return said
