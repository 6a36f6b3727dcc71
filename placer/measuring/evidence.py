"""What was measured of a plan's segments and hops, whoever measured it: agents, a run's file or an emulation's."""

from __future__ import annotations

from collections import defaultdict
from math import log
from statistics import median
from typing import TYPE_CHECKING, Literal

import msgspec

from placer.deployment.compare import Row  # noqa: TC001  (msgspec reads the annotation at run time)
from placer.emulation.result import Emulation
from placer.errors import ProblemError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from placer.plan import Plan
    from runtimes.observation import Observation
    from runtimes.tls import Credentials

_MAD_TO_SD = 1.4826
"""Of a normal distribution: its standard deviation over its median absolute deviation."""
_P90_SD = 1.2816
"""Of a normal distribution: the 90th percentile, in standard deviations above the median."""
_ARROW = " -> "


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One segment or hop of a plan, as it was measured.

    Parameters
    ----------
    kind
        ``segment`` or ``hop``.
    flow
        The flow's name.
    name
        The segment, or the one that a hop follows; empty for a flow's inputs.
    device, to
        Where it ran, or from where it went; the receiver of a hop, else empty.
    seconds
        Median over requests; of a hop until its acknowledgement.
    spread
        Standard deviation of the logarithm of a single request's seconds.
    bytes
        Of a hop's tensors.
    requests
        How many.
    """

    kind: Literal["segment", "hop"]
    flow: str
    name: str
    device: str
    to: str
    seconds: float
    spread: float
    bytes: int
    requests: int


class _Run(msgspec.Struct, kw_only=True):
    """What `placer run --json` writes, as far as it is needed."""

    flow: str
    rows: tuple[Row, ...]


def read_evidence(path: Path) -> tuple[Evidence, ...]:
    """Read what `placer emulate --output` or `placer run --json` wrote.

    Of an emulation all requests count but the first of each flow, which finds connections cold.

    Raises
    ------
    ProblemError
        The file is neither, or has nothing that can be used.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror}") from None
    if not data.strip():
        raise ProblemError(f"{path}: is empty; give what `placer emulate --output` or `placer run --json` wrote")
    kinds: tuple[type[Emulation] | type[_Run], ...] = (Emulation, _Run)
    for kind in kinds:
        try:
            whole = msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            reason = str(error)
            continue
        found = _of_emulation(whole) if isinstance(whole, Emulation) else _of_rows(whole.flow, whole.rows)
        if not found:
            raise ProblemError(f"{path}: no request was measured beyond the first; measure more of them")
        return tuple(found)
    raise ProblemError(
        f"{path}: not a measurement; give what `placer emulate --output` or `placer run --json` wrote ({reason})"
    )


def ask_agents(
    plan: Plan, addresses: Mapping[str, str], credentials: Credentials | None = None
) -> tuple[Evidence, ...]:
    """Read what the agents have observed of a plan since it became active.

    Parameters
    ----------
    plan
        The plan that they serve.
    addresses
        Each device's agent, ``host:port``.
    credentials
        A client's or deployer's certificates, for agents that listen with theirs.

    Raises
    ------
    RunError
        An agent does not answer or serves another plan, or nothing was observed yet.
    """
    from runtimes.client import AgentClient
    from runtimes.errors import AgentError

    observed: list[Observation] = []
    for device, address in addresses.items():
        try:
            with AgentClient(address, credentials=credentials, device=device) as client:
                active = client.status().active
                if active is None or active.plan != plan.identity:
                    serves = "no plan" if active is None else f"plan {active.plan}"
                    raise RunError(f"device {device!r}: the agent at {address} serves {serves}, not {plan.identity}")
                observed += [o for o in client.observations() if o.epoch == active.epoch]
        except AgentError as error:
            raise RunError(f"device {device!r}: {error}") from error
    found = of_observations(of_plan(observed))
    if not found:
        raise RunError(f"the agents have observed no request of plan {plan.identity} beyond the first; run some")
    return found


def of_plan(observed: Sequence[Observation]) -> list[Observation]:
    """Leave out requests that a fallback served: it has the plan's epoch, and its segments the names of the plan's."""
    elsewhere = {o.request for o in observed if o.variant}
    return [o for o in observed if o.request not in elsewhere]


def of_observations(observations: Iterable[Observation]) -> tuple[Evidence, ...]:
    """Sum up single executions and hops; the first of each, which warms things up, does not count."""
    groups: defaultdict[tuple[str, str, str, str, str], list[Observation]] = defaultdict(list)
    for o in sorted(observations, key=lambda o: o.sequence):
        groups[o.kind, o.flow, o.segment, o.device, o.to].append(o)
    found = []
    for (kind, flow, segment, device, to), first_and_others in groups.items():
        # A result that was found says nothing of what an execution takes.
        counted = [] if kind == "hit" else first_and_others[1:]
        if counted:
            logs = [log(max(o.padded_s, 1e-9)) for o in counted]
            found.append(
                Evidence(
                    kind="segment" if kind == "segment" else "hop",
                    flow=flow,
                    name=segment,
                    device=device,
                    to=to,
                    seconds=median(o.padded_s for o in counted),
                    spread=_MAD_TO_SD * median(abs(x - median(logs)) for x in logs),
                    bytes=counted[-1].bytes,
                    requests=len(counted),
                )
            )
    return tuple(found)


def _of_emulation(emulation: Emulation) -> list[Evidence]:
    found = []
    for flow in emulation.flows:
        for phase in flow.phases:
            if phase.name != "cold":
                found += _of_rows(flow.flow, phase.rows)
    return found


def _of_rows(flow: str, rows: Iterable[Row]) -> list[Evidence]:
    found = []
    for row in rows:
        if row.kind == "segment" or row.kind == "hop":
            device, _, to = row.where.partition(_ARROW)
            found.append(
                Evidence(
                    kind=row.kind,
                    flow=flow,
                    name="" if row.kind == "hop" and row.name == "inputs" else row.name,
                    device=device,
                    to=to,
                    seconds=row.measured_s,
                    spread=max(0.0, log(max(row.measured_p90_s, 1e-9) / max(row.measured_s, 1e-9))) / _P90_SD,
                    bytes=row.bytes,
                    requests=row.requests,
                )
            )
    return found
