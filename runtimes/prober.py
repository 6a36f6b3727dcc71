"""Probes links from an agent for a deployer: one at a time, and only to agents that a plan or the deployer names."""

from __future__ import annotations

import ipaddress
import threading
from typing import TYPE_CHECKING

from runtimes.errors import BadRequest, Exhausted, Forbidden
from runtimes.probe import probe_link

if TYPE_CHECKING:
    from runtimes.epochs import Epochs
    from runtimes.probe import LinkProbe
    from runtimes.tls import Credentials


class Prober:
    """Probes links from an agent, on behalf of a deployer.

    Parameters
    ----------
    epochs
        The plans here; they name other agents.
    credentials
        The agent's certificates. Without them nobody knows who asks.
    """

    def __init__(self, epochs: Epochs, credentials: Credentials | None) -> None:
        self._epochs = epochs
        self._credentials = credentials
        self._busy = threading.Lock()

    def probe(self, device: str, address: str, timeout_s: float) -> LinkProbe:
        """Measure the link to another device's agent.

        Parameters
        ----------
        device
            Its name; with certificates it must prove to be that device before anything is sent.
        address
            Its ``host:port``; empty for where a plan here says that it is.
        timeout_s
            By when to be done, at most `LONGEST_S`.

        Raises
        ------
        BadRequest
            If no plan here names the device and no address is given.
        Forbidden
            If this agent has no certificates, and the address is neither a plan's nor on its own machine.
        Exhausted
            If another probe is under way.
        AgentError
            If the other agent does not answer, or not in time.
        """
        planned = {a.peers[device] for a, _ in self._epochs.states() if device in a.peers}
        if not address:
            if not planned:
                raise BadRequest(f"no plan on {self._epochs.device!r} names device {device!r}; give its HOST:PORT")
            address = sorted(planned)[0]
        elif self._credentials is None and address not in planned and not is_loopback(address):
            raise Forbidden(
                f"{self._epochs.device!r} has no certificates, so it cannot know who asks: it probes agents that its "
                f"plans name and agents on its own machine, not {address}"
            )
        if not self._busy.acquire(blocking=False):
            raise Exhausted(f"{self._epochs.device!r} is probing a link; ask again when it is done")
        try:
            return probe_link(address, timeout_s=timeout_s, credentials=self._credentials, device=device)
        finally:
            self._busy.release()


def is_loopback(address: str) -> bool:
    """Tell whether ``host:port`` is of this machine alone; a name other than localhost is not looked up."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
