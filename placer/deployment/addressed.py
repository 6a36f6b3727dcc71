"""Gives each device's share of a plan the addresses of the others, and what they will send to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from placer.errors import DeployError
from runtimes.specs import Arrival

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from placer.deployment.deployment import Deployment
    from runtimes.assignment import Assignment


def addressed(deployment: Deployment, addresses: Mapping[str, str]) -> dict[str, Assignment]:
    """Give every device's share, ready to be staged.

    Parameters
    ----------
    deployment
        The plan, cut.
    addresses
        Each device's agent, ``host:port``.

    Raises
    ------
    DeployError
        A device has no address.
    """
    if absent := sorted(deployment.assignments.keys() - addresses.keys()):
        raise DeployError(f"no address is given for device {', '.join(map(repr, absent))}; name host:port for each")
    return {device: _addressed(deployment, device, addresses) for device in deployment.assignments}


def _addressed(deployment: Deployment, device: str, addresses: Mapping[str, str]) -> Assignment:
    """Give a device's share with the other devices' addresses and with what they will send to it."""
    shares = deployment.assignments
    share = _joined(shares[device], shares.values(), addresses)
    others = [fallback for other in shares.values() for fallback in other.fallbacks]
    return msgspec.structs.replace(
        share,
        fallbacks=tuple(
            fallback
            if fallback.assignment is None
            else msgspec.structs.replace(
                fallback,
                assignment=_joined(
                    fallback.assignment,
                    [o.assignment for o in others if o.lost == fallback.lost and o.assignment is not None],
                    addresses,
                ),
            )
            for fallback in share.fallbacks
        ),
    )


def _joined(share: Assignment, shares: Iterable[Assignment], addresses: Mapping[str, str]) -> Assignment:
    """Join one share of a plan to the others."""
    others = [other for other in shares if other.device != share.device]
    return msgspec.structs.replace(
        share,
        peers={other.device: addresses[other.device] for other in others},
        arrivals=tuple(
            Arrival(flow=route.flow, sender=other.device, after=route.after, tensors=route.tensors)
            for other in others
            for route in other.routes
            if route.to == share.device
        ),
    )
