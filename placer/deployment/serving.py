"""What a site's agents serve: whether that is one plan everywhere, and the way back to the plan before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from placer.deployment.deploy import ask
from placer.ends import SOURCE
from placer.errors import DeployError
from runtimes.client import AgentClient
from runtimes.errors import AgentError
from runtimes.status import HeldPlan  # noqa: TC001  (msgspec reads the annotations at run time)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.deployment.deploy import Progress
    from placer.plan import Fallback, Plan
    from runtimes.tls import Credentials


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What one device's agent says, or why it does not.

    Parameters
    ----------
    device, address
        Whom was asked, and where.
    error
        Why there is no answer; empty if there is one.
    trouble
        Why the agent does not serve what it did before a restart; empty where all is well.
    lost
        The devices that do not answer it.
    version
        Its software's.
    open_requests
        Requests that it has not finished.
    held
        The plans that it holds, by epoch.
    """

    device: str
    address: str
    error: str = ""
    trouble: str = ""
    lost: tuple[str, ...] = ()
    version: str = ""
    open_requests: int = 0
    held: tuple[HeldPlan, ...] = ()

    @property
    def active(self) -> HeldPlan | None:
        """The plan that new requests follow."""
        return next((held for held in self.held if held.state == "active"), None)

    @property
    def kept(self) -> tuple[HeldPlan, ...]:
        """The plans that can be active at once: the active one, then the one before it."""
        return tuple(h for state in ("active", "previous") for h in self.held if h.state == state)


def read_serving(addresses: Mapping[str, str], credentials: Credentials | None = None) -> tuple[Serving, ...]:
    """Ask every agent; one that does not answer is said to, and stops nobody.

    Parameters
    ----------
    addresses
        Each device's agent, ``host:port``.
    credentials
        A client's or a deployer's certificates, for agents that listen with theirs.
    """
    return tuple(_read(device, address, credentials) for device, address in addresses.items())


def not_serving(plan: str, devices: tuple[str, ...], servings: tuple[Serving, ...]) -> tuple[str, ...]:
    """Say why a plan is not served by all of its devices; nothing if it is.

    Parameters
    ----------
    plan
        The plan's identity.
    devices
        The devices that it needs.
    servings
        What their agents said.
    """
    said = {serving.device: serving for serving in servings}
    reasons = []
    for device in devices:
        serving = said[device]
        if serving.error or serving.trouble:
            reasons.append(f"device {device!r}: {serving.error or serving.trouble}")
        elif serving.active is None or serving.active.plan != plan:
            serves = "no plan" if serving.active is None else f"plan {serving.active.plan}"
            reasons.append(f"device {device!r} serves {serves}, not {plan}")
    epochs = {d: active.epoch for d in devices if (active := said[d].active) is not None and active.plan == plan}
    if not reasons and len(set(epochs.values())) > 1:
        listed = ", ".join(f"{device!r} {epoch}" for device, epoch in epochs.items())
        reasons.append(f"the devices are at different epochs, as a deployment that broke off leaves them: {listed}")
    return tuple(reasons)


def served_instead(plan: Plan, servings: tuple[Serving, ...]) -> dict[str, Fallback]:
    """Give, by flow, the fallbacks that serve while devices on the flow's way do not answer.

    Parameters
    ----------
    plan
        The plan, with its fallbacks.
    servings
        What the agents of its devices said.
    """
    said = {serving.device: serving for serving in servings}
    fit = {s.device for s in servings if not s.trouble and s.active is not None and s.active.plan == plan.identity}
    unfit = {device.name for device in plan.problem.devices} - fit
    found = {}
    for flow in plan.flows:
        silent = {device for device, _ in flow.assignment.values() if said[device].error}
        source = said[flow.assignment[SOURCE][0]]
        # The source chooses, by what it knows: where it misses nothing, it goes on with the plan.
        if silent and silent <= set(source.lost) and (fallback := plan.instead(flow.name, unfit)) is not None:
            found[flow.name] = fallback
    return found


def roll_back(
    plan: str, addresses: Mapping[str, str], progress: Progress | None = None, credentials: Credentials | None = None
) -> tuple[str, int, tuple[str, ...]]:
    """Leave a plan for the one that was active before it, on all devices; doing it twice is harmless.

    The plan before is still loaded, so nothing is uploaded. It becomes active under a new epoch, sources last: until
    then requests follow the plan that is left, which every device still holds.

    Parameters
    ----------
    plan
        Identity of the plan to leave.
    addresses
        Each device's agent, ``host:port``: of all devices of both plans.
    progress
        Told each step; none where the plan before is active on all devices already.
    credentials
        A deployer's certificates, for agents that listen with theirs.

    Returns
    -------
    tuple
        The plan that is active now, its epoch and its devices.

    Raises
    ------
    DeployError
        If an agent does not answer or the plan before is not whole; nothing has changed then. If an agent fails on the
        way, the sources still follow the plan that is left; do it again.
    """
    servings = read_serving(addresses, credentials)
    target = _target(plan, servings)
    holders = {
        serving.device: next(held for held in serving.kept if held.plan == target)
        for serving in servings
        if any(held.plan == target for held in serving.kept)
    }
    if absent := sorted({device for held in holders.values() for device in held.devices} - holders.keys()):
        errors = {serving.device: serving.error or "does not hold it" for serving in servings}
        raise DeployError(
            f"nothing has changed: plan {target} also needs "
            + "; ".join(f"{d!r}: {errors.get(d, 'not asked, give --agent DEVICE=HOST:PORT')}" for d in absent)
        )
    epochs = {held.epoch for held in holders.values()}
    if all(held.state == "active" for held in holders.values()) and len(epochs) == 1:
        return target, epochs.pop(), tuple(sorted(holders))
    epoch = 1 + max(held.epoch for serving in servings for held in serving.held)
    done: list[str] = []
    for device in sorted(holders, key=lambda d: (bool(holders[d].sources), d)):
        if progress is not None:
            progress(device, f"back to plan {target}")
        try:
            with AgentClient(addresses[device], credentials=credentials, device=device) as client:
                client.rollback(epoch, target)
        except AgentError as error:
            raise DeployError(
                f"plan {target} is active again on {done} only; roll back again. Device {device!r}: {error}"
            ) from error
        done.append(device)
    return target, epoch, tuple(sorted(holders))


def _read(device: str, address: str, credentials: Credentials | None) -> Serving:
    try:
        status = ask({device: address}, credentials)[device]
    except DeployError as error:
        return Serving(device=device, address=address, error=str(error).removeprefix(f"device {device!r}: "))
    return Serving(
        device=device, address=address, trouble=status.trouble, lost=status.lost, version=status.version,
        open_requests=status.open_requests, held=status.held,
    )  # fmt: skip


def _target(plan: str, servings: tuple[Serving, ...]) -> str:
    """Find the plan before: what the devices that hold the plan to leave hold besides."""
    others: dict[str, str] = {}
    for serving in servings:
        left = next((held for held in serving.kept if held.plan == plan), None)
        before = [held.plan for held in serving.kept if held.plan != plan]
        if left is None:
            continue
        if before:
            others[serving.device] = before[0]
        elif left.sources:
            raise DeployError(
                f"device {serving.device!r} held no plan before {plan}, and flows {', '.join(left.sources)} begin "
                "there; deploy the plan that you want instead"
            )
    if not others:
        if silent := "; ".join(f"device {s.device!r} does not answer: {s.error}" for s in servings if s.error):
            raise DeployError(
                f"nothing has changed: whether a plan from before {plan} is held is not known; {silent}; roll back "
                "when they answer, or deploy the plan that you want"
            )
        raise DeployError(f"no device holds a plan from before {plan}; deploy the plan that you want instead")
    if len(set(others.values())) > 1:
        listed = ", ".join(f"{target} on {device!r}" for device, target in others.items())
        raise DeployError(f"the devices held different plans before {plan}: {listed}; deploy the one that you want")
    return next(iter(others.values()))
