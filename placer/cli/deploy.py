"""The `placer deploy`, `placer status` and `placer rollback` commands: what the devices serve, and changing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from placer.cli.agents import AgentAt, Json, needed_addresses, read_addresses
from placer.cli.certs import AuthorityFile, CertificateFile, KeyFile, read_credentials
from placer.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.cli.terminal import Terminal
    from placer.deployment.serving import Serving
    from placer.plan import Fallback, Plan

Deployed = Annotated[Path, typer.Argument(help="The plan that was deployed.")]


def deploy_command(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(help="A plan that `placer plan --output` wrote.")],
    agent: AgentAt = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each segment's session.")] = 1,
    authority: AuthorityFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
    json: Json = False,
) -> None:
    """Put a plan on its devices: all of them, or none."""
    from placer.deployment.assign import load_models
    from placer.deployment.assign_fallbacks import assign_all
    from placer.deployment.deploy import deploy_once
    from placer.plan import read_plan

    terminal: Terminal = context.obj
    with terminal:
        credentials = read_credentials(authority, certificate, key)
        whole = read_plan(plan)
        addresses = read_addresses(whole, agent)
        terminal.progress("cutting the models")
        deployment = assign_all(whole, load_models(whole), threads=threads)
        needed = needed_addresses(addresses, deployment.assignments)
        terminal.progress("asking the agents what they hold")
        deployment = deploy_once(
            deployment, needed, lambda device, step: terminal.progress(f"{device}: {step}"), credentials
        )
    devices = sorted(deployment.assignments)
    if json:
        terminal.json({"plan": deployment.plan, "epoch": deployment.epoch, "devices": devices})
    else:
        terminal.show(f"Plan {deployment.plan} is active on {', '.join(devices)} as epoch {deployment.epoch}.")


def status_command(
    context: typer.Context,
    plan: Deployed,
    agent: AgentAt = None,
    authority: AuthorityFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
    json: Json = False,
) -> None:
    """Say what every device serves, and whether that is this plan everywhere."""
    from placer.deployment.serving import not_serving, read_serving, served_instead
    from placer.plan import read_plan

    terminal: Terminal = context.obj
    with terminal:
        credentials = read_credentials(authority, certificate, key)
        whole = read_plan(plan)
        addresses = read_addresses(whole, agent)
        devices = _devices(whole)
        needed_addresses(addresses, devices)
        terminal.progress("asking the agents what they serve")
        servings = read_serving(addresses, credentials)
    reasons = not_serving(whole.identity, devices, servings)
    fallbacks = served_instead(whole, servings)
    instead = [f"flow {name!r} is served by its fallback for {f.names}" for name, f in fallbacks.items()]
    serves = not reasons or (bool(fallbacks) and not not_serving(whole.identity, _devices(whole, fallbacks), servings))
    if json:
        lost = {name: fallback.lost for name, fallback in fallbacks.items()}
        terminal.json(
            {"plan": whole.identity, "serves": serves, "reasons": reasons, "fallbacks": lost, "devices": servings}
        )
    else:
        everywhere = [] if reasons else [f"Plan {whole.identity} is served by all of its devices."]
        why = [f"Device {s.device!r}: {words}" for s in servings if (words := s.error or s.trouble)]
        terminal.show(_table(servings), *why, *everywhere, *(f"Plan {whole.identity}: {text}." for text in instead))
    if not serves:
        raise DeployError(f"plan {whole.identity} is not served: " + "; ".join([*reasons, *instead]))


def rollback_command(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(help="The plan to leave, for the one that was active before it.")],
    agent: AgentAt = None,
    authority: AuthorityFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
    json: Json = False,
) -> None:
    """Leave a plan for the one that was active before it, on all devices."""
    from placer.deployment.serving import roll_back
    from placer.plan import read_plan

    terminal: Terminal = context.obj
    with terminal:
        credentials = read_credentials(authority, certificate, key)
        whole = read_plan(plan)
        addresses = read_addresses(whole, agent)
        needed_addresses(addresses, _devices(whole))
        changed: list[str] = []

        def tell(device: str, step: str) -> None:
            changed.append(device)
            terminal.progress(f"{device}: {step}")

        target, epoch, devices = roll_back(whole.identity, addresses, tell, credentials)
    if json:
        terminal.json({"plan": target, "epoch": epoch, "devices": devices})
    else:
        where = f"on {', '.join(devices)} as epoch {epoch}"
        again = f"is active again {where}." if changed else f"is active {where} already; nothing has changed."
        terminal.show(f"Plan {target} {again}")


def _devices(plan: Plan, fallbacks: Mapping[str, Fallback] | None = None) -> tuple[str, ...]:
    """Every device that a plan needs, with fallbacks of flows in their place: where data arise, pass and end."""
    ways = list(plan.flows)
    for name, fallback in (fallbacks or {}).items():
        ways = [flow for flow in ways if flow.name != name] + [f for f in fallback.flows if f.name == name]
    used = {device for flow in ways for device, _ in flow.assignment.values()}
    return tuple(device.name for device in plan.problem.devices if device.name in used)


def _table(servings: tuple[Serving, ...]) -> Table:
    table = Table()
    for column in ("device", "agent", "state", "plan", "epoch", "runs", "does not reach", "open requests"):
        table.add_column(column, justify="right" if column in ("epoch", "open requests") else "left", overflow="fold")
    for serving in servings:
        ends = (", ".join(serving.lost), str(serving.open_requests))
        if serving.error or serving.trouble or not serving.held:
            words = "no answer" if serving.error else "in trouble" if serving.trouble else "holds no plan"
            table.add_row(serving.device, serving.address, words, "", "", "", *(("", "") if serving.error else ends))
        # The active plan first: it is what the device serves.
        for i, held in enumerate(sorted(serving.held, key=lambda h: h.state != "active")):
            first = i == 0 and not serving.trouble
            table.add_row(
                *((serving.device, serving.address) if first else ("", "")),
                held.state, held.plan, str(held.epoch), ", ".join(held.segments), *(ends if first else ("", "")),
            )  # fmt: skip
    return table
