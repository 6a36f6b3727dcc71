"""Starts agents on this machine for the demo and for runs without devices, and stops them however the work ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from placer.errors import DeployError
from runtimes.errors import Unreachable
from runtimes.local import LocalAgents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@contextlib.contextmanager
def local_agents(devices: Sequence[str], *, isolated: bool = True) -> Iterator[Mapping[str, str]]:
    """Run an agent for each device on loopback, on free ports, with stores that vanish with them.

    Parameters
    ----------
    devices
        Names of the devices.
    isolated
        Whether each segment runs in a process of its own.

    Yields
    ------
    mapping
        Device to `host:port`.

    Raises
    ------
    DeployError
        An agent ended or did not listen in time; its last words are quoted.
    """
    agents = LocalAgents(devices, options=() if isolated else ("--no-isolation",))
    with contextlib.ExitStack() as stack:
        # What ends them is in place before they begin: a signal between the two would leave them behind.
        stack.push(agents)
        try:
            agents.__enter__()
        except Unreachable as error:
            raise DeployError(str(error)) from None
        yield agents.addresses
