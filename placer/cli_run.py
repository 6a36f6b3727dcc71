"""The `placer deploy` and `placer run` commands: what needs agents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from placer.cli_certs import AuthorityFile, CertificateFile, KeyFile, read_credentials
from placer.errors import DeployError, ProblemError, RunError
from placer.terminal import require_folder, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.deployment import Deployment
    from placer.plan import Plan
    from placer.terminal import Terminal
    from runtimes.tls import Credentials

AgentAt = Annotated[
    list[str] | None,
    typer.Option("--agent", metavar="DEVICE=HOST:PORT", help="Where a device's agent listens, if the plan is wrong."),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document instead of tables.")]


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
    from placer.assign import assign, load_models
    from placer.deploy import deploy, next_epoch
    from placer.plan import read_plan

    terminal: Terminal = context.obj
    with terminal:
        credentials = read_credentials(authority, certificate, key)
        whole = read_plan(plan)
        addresses = _addresses(whole, agent)
        graphs = load_models(whole)
        devices = assign(whole, graphs, threads=threads).assignments
        needed = _needed(addresses, devices, DeployError)
        terminal.progress("asking the agents what they hold")
        deployment = assign(whole, graphs, epoch=next_epoch(needed, credentials), threads=threads)
        deploy(deployment, needed, lambda device, step: terminal.progress(f"{device}: {step}"), credentials)
    if json:
        terminal.json({"plan": deployment.plan, "epoch": deployment.epoch, "devices": sorted(devices)})
    else:
        terminal.show(f"Plan {deployment.plan} is active on {', '.join(sorted(devices))} as epoch {deployment.epoch}.")


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
    authority: AuthorityFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
    json: Json = False,
) -> None:
    """Run a deployed plan on an input and measure it."""
    from placer.assign import assign, load_models
    from placer.compare import compare
    from placer.deploy import deploy, run
    from placer.feeds import encode_outputs, read_feeds
    from placer.local_agents import local_agents
    from placer.plan import read_plan
    from placer.report import run_table

    if local and agent:
        raise ProblemError("--local starts agents of its own, so --agent says nothing; give one of the two")
    terminal: Terminal = context.obj
    require_folder(output)
    with terminal:
        # Agents of this machine's own listen on loopback, without certificates.
        credentials = None if local else read_credentials(authority, certificate, key)
        whole = read_plan(plan)
        name = _flow_name(whole, flow)
        addresses = _addresses(whole, agent)
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

        if local:
            terminal.progress(f"starting {len(deployment.assignments)} agents on this machine")
            with local_agents(sorted(deployment.assignments)) as started:
                deploy(deployment, started, lambda device, step: terminal.progress(f"{device}: {step}"))
                measured = send(started)
        else:
            needed = _needed(addresses, deployment.flow(name).devices, RunError)
            _check_active(deployment, needed, plan, credentials)
            measured = send(needed)
    rows = compare(whole, name, measured)
    results = measured.passages[-1].outputs
    if output is not None:
        write_file(output, encode_outputs(results))
    if json:
        shapes = {k: {"dtype": str(v.dtype), "shape": list(v.shape)} for k, v in results.items()}
        terminal.json({"flow": name, "requests": requests, "outputs": shapes, "rows": rows})
    else:
        terminal.show(run_table(rows))
        for key, value in results.items():
            terminal.show(f"{key}: {value.dtype} {list(value.shape)}" + (f", written to {output}" if output else ""))


def _addresses(plan: Plan, given: list[str] | None) -> dict[str, str]:
    """Each device's address: the plan's, or what the command line says instead."""
    addresses = dict(plan.agents)
    for device, address in addresses.items():
        _check_address(f"the plan's agent of {device!r}", address)
    known = {d.name for d in plan.problem.devices}
    for item in given or ():
        device, found, address = item.partition("=")
        if not found or device not in known:
            raise ProblemError(f"--agent {item!r}: give DEVICE=HOST:PORT with a device of the plan: {sorted(known)}")
        _check_address(f"--agent {item!r}", address)
        addresses[device] = address
    return addresses


def _check_address(where: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ProblemError(f"{where}: {address!r} is no address; give HOST:PORT, such as 10.0.0.7:9001")


def _needed(
    addresses: Mapping[str, str], devices: Mapping[str, Any] | tuple[str, ...], error: type[DeployError | RunError]
) -> dict[str, str]:
    if absent := [d for d in devices if d not in addresses]:
        raise error(
            f"no agent is known for device {', '.join(map(repr, sorted(absent)))}; give --agent DEVICE=HOST:PORT for "
            "each, or `agent: HOST:PORT` in the site"
        )
    return {d: addresses[d] for d in devices}


def _check_active(
    deployment: Deployment, addresses: Mapping[str, str], plan: Path, credentials: Credentials | None
) -> None:
    """Refuse agents that serve another plan: its flow of the same name would give another model's answer."""
    from runtimes.client import AgentClient
    from runtimes.errors import AgentError

    for device, address in addresses.items():
        try:
            with AgentClient(address, credentials=credentials, device=device) as client:
                status = client.status()
        except AgentError as error:
            raise RunError(f"device {device!r}: {error}") from error
        if status.device != device:
            raise RunError(f"device {device!r}: the agent at {address} is {status.device!r}; give the right --agent")
        if status.active is None or status.active.plan != deployment.plan:
            serves = "no plan" if status.active is None else f"plan {status.active.plan}"
            raise RunError(
                f"device {device!r}: the agent at {address} serves {serves}, not {deployment.plan}; "
                f"run `placer deploy {plan}` first"
            )


def _flow_name(plan: Plan, wanted: str | None) -> str:
    if wanted is not None:
        return plan.flow(wanted).name
    if len(plan.flows) > 1:
        raise ProblemError(f"the plan has several flows; name one with --flow: {', '.join(f.name for f in plan.flows)}")
    return plan.flows[0].name
