"""The `placer run` command: requests through a deployed plan."""

from __future__ import annotations

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
    from placer.deployment.deployment import Deployment
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
    from placer.deployment.assign import assign, load_models
    from placer.deployment.compare import compare
    from placer.deployment.deploy import deploy, run
    from placer.deployment.feeds import encode_outputs, read_feeds
    from placer.deployment.local_agents import local_agents
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

        if local:
            terminal.progress(f"starting {len(deployment.assignments)} agents on this machine")
            with local_agents(sorted(deployment.assignments)) as started:
                deploy(deployment, started, lambda device, step: terminal.progress(f"{device}: {step}"))
                measured = send(started)
        else:
            needed = needed_addresses(addresses, deployment.flow(name).devices, RunError)
            _check_active(deployment, needed, plan, credentials)
            measured = send(needed)
    rows = compare(whole, name, measured)
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
            terminal.show(f"{key}: not taken, a condition of the flow did not hold")


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
