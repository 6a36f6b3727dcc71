"""Put a plan on its devices, in two phases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from placer.deployment.addressed import addressed
from placer.errors import DeployError, RunError
from runtimes.client import AgentClient
from runtimes.errors import AgentError, BadBlob, BadCredentials, WrongState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from placer.deployment.deployment import Deployment
    from runtimes.assignment import Assignment
    from runtimes.status import AgentStatus
    from runtimes.tls import Credentials

    # Told the device and what is being done there.
    Progress = Callable[[str, str], None]

_PREPARE_TIMEOUT_S = 300.0


def ask(addresses: Mapping[str, str], credentials: Credentials | None = None) -> dict[str, AgentStatus]:
    """Ask each device's agent what it holds.

    Parameters
    ----------
    addresses
        Each device's agent, ``host:port``.
    credentials
        The caller's certificates, for agents that listen with theirs.

    Raises
    ------
    DeployError
        If an agent does not answer, or is another device's.
    """
    answers = {}
    for device, address in addresses.items():
        try:
            with AgentClient(address, credentials=credentials, device=device) as client:
                answers[device] = client.status()
        except AgentError as error:
            raise DeployError(f"device {device!r}: {error}") from error
        if answers[device].device != device:
            raise DeployError(
                f"device {device!r}: the agent at {address} is {answers[device].device!r}; give the right --agent"
            )
    return answers


def next_epoch(addresses: Mapping[str, str], credentials: Credentials | None = None) -> int:
    """Give an epoch above all that the agents hold; arguments and errors as ``ask``."""
    return 1 + _highest(ask(addresses, credentials))


def deploy_once(
    deployment: Deployment, addresses: Mapping[str, str], progress: Progress | None = None,
    credentials: Credentials | None = None,
) -> Deployment:  # fmt: skip
    """Deploy a plan where it is not yet, and complete a deployment of it that broke off.

    Where all that the agents hold under the highest epoch is this very plan, it is deployed under that epoch, which
    changes nothing where it is active already; else under a new one. Arguments and errors as ``deploy``.

    Returns
    -------
    Deployment
        The plan under the epoch at which it is now active.
    """
    answers = ask({device: addresses[device] for device in deployment.assignments if device in addresses}, credentials)
    highest = _highest(answers)
    holders = {h.plan for status in answers.values() for h in status.held if h.epoch == highest}
    chosen = deployment.at(highest) if holders == {deployment.plan} else None
    if chosen is None or not _fits(chosen, addresses, credentials):
        chosen = deployment.at(highest + 1)
    deploy(chosen, addresses, progress, credentials)
    return chosen


def _fits(deployment: Deployment, addresses: Mapping[str, str], credentials: Credentials | None) -> bool:
    """Say whether the agents hold, under that epoch, nothing but this: the same addresses and threads, too."""
    for device, share in addressed(deployment, addresses).items():
        with AgentClient(addresses[device], credentials=credentials, device=device) as client:
            try:
                client.stage(share)
            except WrongState:
                return False
            except AgentError as error:
                raise DeployError(f"device {device!r}: {error}") from error
    return True


def _highest(answers: Mapping[str, AgentStatus]) -> int:
    return max((held.epoch for status in answers.values() for held in status.held), default=0)


def deploy(
    deployment: Deployment, addresses: Mapping[str, str], progress: Progress | None = None,
    credentials: Credentials | None = None,
) -> None:  # fmt: skip
    """Put a plan on all its devices and make it the active one; doing it twice is harmless.

    First every device gets its share, the model files that it lacks, and loads them. Only when all of them
    have done so are they switched, sources last. Until then, and whatever goes wrong, the old plan serves.

    Parameters
    ----------
    deployment
        The plan, cut.
    addresses
        Each device's agent, ``host:port``.
    progress
        Told each step; called from several threads.
    credentials
        A deployer's certificates, for agents that listen with theirs.

    Raises
    ------
    DeployError
        If a device has no address, does not answer or declines; the message names each such device.
    """
    tell = progress or _tell_nobody
    shares = addressed(deployment, addresses)
    with ExitStack() as stack:
        clients = enter_clients(stack, shares, addresses, credentials, DeployError)
        with ThreadPoolExecutor(len(clients), thread_name_prefix="deploy") as pool:
            futures = {
                device: pool.submit(_prepare, client, shares[device], deployment.blobs, tell)
                for device, client in clients.items()
            }
        failures = [f"device {device!r}: {error}" for device, f in futures.items() if (error := _agent_error(f))]
        if failures:
            raise DeployError(f"plan {deployment.plan!r} is activated nowhere: " + "; ".join(failures))
        done: list[str] = []
        for device in deployment.sources_last():
            tell(device, "activate")
            try:
                clients[device].activate(deployment.plan, deployment.epoch)
            except AgentError as error:
                raise DeployError(
                    f"plan {deployment.plan!r} is active on {done} only, and its sources still follow "
                    f"the old one; deploy it again. Device {device!r}: {error}"
                ) from error
            done.append(device)


def enter_clients(
    stack: ExitStack, devices: Iterable[str], addresses: Mapping[str, str], credentials: Credentials | None,
    failure: type[DeployError | RunError],
) -> dict[str, AgentClient]:  # fmt: skip
    """Open a client of each device's agent; what cannot stand in a certificate is raised as ``failure``."""
    try:
        return {
            device: stack.enter_context(AgentClient(addresses[device], credentials=credentials, device=device))
            for device in devices
        }
    except BadCredentials as error:
        raise failure(str(error)) from error


def _prepare(client: AgentClient, share: Assignment, blobs: Mapping[str, bytes], tell: Progress) -> None:
    tell(share.device, "stage")
    for sha256, start in client.stage(share).items():
        blob = blobs[sha256]

        def sent(done: int, whole: int = len(blob)) -> None:
            tell(share.device, f"upload: {done} of {whole} bytes are sent")

        sent(start)
        try:
            client.put_blob(blob, sent, start=start)
        except BadBlob:
            if not start:
                raise
            # What an upload had left there was damaged, by a power cut for one.
            sent(0)
            client.put_blob(blob, sent)
    tell(share.device, "prepare")
    client.prepare(share.plan, share.epoch, _PREPARE_TIMEOUT_S)


def _agent_error(future: Any) -> AgentError | None:
    error = future.exception()
    if error is not None and not isinstance(error, AgentError):
        raise error
    return error


def _tell_nobody(device: str, step: str) -> None:
    """Be the progress of those who watch none."""
