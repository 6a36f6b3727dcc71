"""How commands find the agents of a plan's devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from placer.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from placer.plan import Plan

AgentAt = Annotated[
    list[str] | None,
    typer.Option("--agent", metavar="DEVICE=HOST:PORT", help="Where a device's agent listens, if the plan is wrong."),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document instead of tables.")]


def read_addresses(plan: Plan, given: list[str] | None) -> dict[str, str]:
    """Each device's address: the plan's, or what the command line says instead."""
    addresses = dict(plan.agents)
    for device, address in addresses.items():
        check_address(f"the plan's agent of {device!r}", address)
    known = {d.name for d in plan.problem.devices}
    for item in given or ():
        device, found, address = item.partition("=")
        if not found or device not in known:
            raise ProblemError(f"--agent {item!r}: give DEVICE=HOST:PORT with a device of the plan: {sorted(known)}")
        check_address(f"--agent {item!r}", address)
        addresses[device] = address
    return addresses


def check_address(where: str, address: str) -> None:
    """Refuse what is no ``host:port``, naming where it stands."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ProblemError(f"{where}: {address!r} is no address; give HOST:PORT, such as 10.0.0.7:9001")


def needed_addresses(addresses: Mapping[str, str], devices: Collection[str]) -> dict[str, str]:
    """Give the addresses of some devices, and refuse where one is not known."""
    if absent := [d for d in devices if d not in addresses]:
        raise ProblemError(
            f"no agent is known for device {', '.join(map(repr, sorted(absent)))}; give --agent DEVICE=HOST:PORT for "
            "each, or `agent: HOST:PORT` in the site"
        )
    return {d: addresses[d] for d in devices}
