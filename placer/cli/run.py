"""The `placer run` command: requests through a deployed plan."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from placer.cli.agents import AgentAt, Json, needed_addresses, read_addresses
from placer.cli.certs import AuthorityFile, CertificateFile, KeyFile, read_credentials
from placer.cli.terminal import require_folder, write_file
from placer.errors import ProblemError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.cli.terminal import Terminal
    from placer.deployment.run import Measured
    from placer.plan import Plan
    from runtimes.tls import Credentials


def run_command(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(help="The plan that was deployed.")],
    inputs: Annotated[
        list[str], typer.Option("--input", metavar="[NAME=]FILE", help="A .npy for one input, a .npz for several.")
    ],
    flow: Annotated[str | None, typer.Option(help="Which flow, if the plan has several.")] = None,
    requests: Annotated[int, typer.Option(min=1, help="How often to send the input.")] = 1,
    deadline: Annotated[
        float,
        typer.Option(min=0.001, metavar="SECONDS", help="How long to wait for each request; not the plan's deadline."),
    ] = 10.0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the outputs to this .npz.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Start agents on this machine for the run.")] = False,
    agent: AgentAt = None,
    authority: AuthorityFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
    json: Json = False,
) -> None:
    """Run a deployed plan on an input and measure it."""
    from placer.deployment.assign import assign, load_models
    from placer.deployment.compare import compare
    from placer.deployment.deploy import deploy
    from placer.deployment.feeds import encode_outputs, read_feeds
    from placer.deployment.local_agents import local_agents
    from placer.deployment.run import run
    from placer.plan import read_plan
    from placer.report.tables import run_table

    if local and agent:
        raise ProblemError("--local starts agents of its own, so --agent says nothing; give one of the two")
    terminal: Terminal = context.obj
    require_folder(
        output, inputs=[plan, *(Path(item.rpartition("=")[2]) for item in inputs), authority, certificate, key]
    )
    with terminal:
        # Agents of this machine's own listen on loopback, without certificates.
        credentials = None if local else read_credentials(authority, certificate, key)
        whole = read_plan(plan)
        name = _flow_name(whole, flow)
        addresses = read_addresses(whole, agent)
        deployment = assign(whole, load_models(whole))
        feeds = read_feeds(inputs, deployment.flow(name).inputs)

        def send(addresses: Mapping[str, str]) -> Any:
            return run(
                deployment,
                addresses,
                name,
                [feeds] * requests,
                deadline_s=deadline,
                progress=lambda done: terminal.progress(f"running: {done} of {requests}"),
                credentials=credentials,
            )

        way = whole
        if local:
            terminal.progress(f"starting {len(deployment.assignments)} agents on this machine")
            with local_agents(sorted(deployment.assignments)) as started:
                deploy(deployment, started, lambda device, step: terminal.progress(f"{device}: {step}"))
                measured = send(started)
        else:
            way = _way(whole, name, addresses, plan, credentials, terminal)
            if way is not whole:
                deployment = assign(way, load_models(whole))
            measured = send(addresses)
    compared = _that_way(way, measured, terminal) if way is not whole else measured
    rows = compare(way, name, compared)
    results, not_taken = measured.passages[-1].outputs, measured.passages[-1].not_taken
    if output is not None:
        write_file(output, encode_outputs(results))
    if json:
        shapes = {k: {"dtype": str(v.dtype), "shape": list(v.shape)} for k, v in results.items()}
        terminal.json({"flow": name, "requests": requests, "outputs": shapes, "not_taken": not_taken, "rows": rows})
    else:
        terminal.show(run_table(rows))
        for key, value in results.items():
            terminal.show(f"{key}: {value.dtype} {list(value.shape)}" + (f", written to {output}" if output else ""))
        for key in not_taken:
            terminal.show(f"{key}: not taken: a condition of the flow did not hold, or it was not its turn")


def _way(
    plan: Plan, flow: str, addresses: Mapping[str, str], file: Path, credentials: Credentials | None, terminal: Terminal
) -> Plan:
    """Give the plan by which a flow's requests go: itself, or its fallback where devices on the way do not answer."""
    from placer.fallbacks import variant

    way, served, asked, away = plan, "", set[str](), dict[str, str]()
    while ahead := tuple(dict.fromkeys(d for d, _ in way.flow(flow).assignment.values() if d not in asked)):
        away |= _check_active(plan, needed_addresses(addresses, ahead), file, credentials)
        asked.update(ahead)
        if not away.keys().isdisjoint(ahead):
            fallback = plan.instead(flow, away)
            if fallback is None:
                raise RunError("; ".join(f"device {device!r}: {why}" for device, why in away.items()))
            way, served = variant(plan, fallback), fallback.names
    if served:
        for device, why in away.items():
            terminal.say(f"device {device!r}: {why}")
        terminal.say(f"flow {flow!r} is served by its fallback for {served}")
    return way


def _that_way(way: Plan, measured: Measured, terminal: Terminal) -> Measured:
    """Leave out requests that went another way than was thought, as the source sees more than this machine."""
    import msgspec

    strange = {o.request for o in measured.observations if o.variant != way.identity}
    # Of this way, they are the plan's own.
    kept = [msgspec.structs.replace(o, variant="") for o in measured.observations if o.request not in strange]
    if strange:
        terminal.say(
            f"{len(strange)} of {len(measured.passages)} requests went another way and are not compared: "
            "their source reaches what does not answer here"
        )
    return dataclasses.replace(
        measured, observations=tuple(kept), passages=tuple(p for p in measured.passages if p.request_id not in strange)
    )


def _check_active(
    plan: Plan, addresses: Mapping[str, str], file: Path, credentials: Credentials | None
) -> dict[str, str]:
    """Refuse agents that serve another plan: its flow of the same name would give another model's answer.

    Those that do not answer are given, each with what was met.
    """
    from runtimes.client import AgentClient
    from runtimes.errors import AgentError, DeadlineExceeded, Unreachable

    away = {}
    for device, address in addresses.items():
        try:
            with AgentClient(address, credentials=credentials, device=device) as client:
                status = client.status()
        except (Unreachable, DeadlineExceeded) as error:
            away[device] = str(error)
            continue
        except AgentError as error:
            raise RunError(f"device {device!r}: {error}") from error
        if status.device != device:
            raise RunError(f"device {device!r}: the agent at {address} is {status.device!r}; give the right --agent")
        if status.active is None or status.active.plan != plan.identity:
            serves = "no plan" if status.active is None else f"plan {status.active.plan}"
            raise RunError(
                f"device {device!r}: the agent at {address} serves {serves}, not {plan.identity}; "
                f"run `placer deploy {file}` first"
            )
    return away


def _flow_name(plan: Plan, wanted: str | None) -> str:
    if wanted is not None:
        return plan.flow(wanted).name
    if len(plan.flows) > 1:
        raise ProblemError(f"the plan has several flows; name one with --flow: {', '.join(f.name for f in plan.flows)}")
    return plan.flows[0].name
