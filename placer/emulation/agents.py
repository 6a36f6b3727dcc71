"""Starts an agent on each emulated host; they end with the emulation's namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from placer.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.emulation.network import Network
    from placer.emulation.topology import Topology

_START_S = 60.0
_ASK_AGAIN_S = 0.02


def start_agents(topology: Topology, network: Network, folder: Path) -> Mapping[str, str]:
    """Start all agents and wait until they serve.

    Parameters
    ----------
    topology, network
        The hosts.
    folder
        Where each keeps its models and its log.

    Returns
    -------
    dict
        Device to ``host:port``, the same for the desk and the other devices.

    Raises
    ------
    DeployError
        One did not start; its last words are quoted.
    """
    started = {}
    for i, device in enumerate(topology.devices):
        home = folder / f"agent{i}"
        home.mkdir()
        # The network ends at this machine's own memory, so nobody can listen in.
        command = [sys.executable, "-m", "runtimes", "--name", device, "--listen", topology.agent(device)]
        command += ["--store", str(home / "store"), "--port-file", str(home / "port"), "--insecure-network"]
        with (home / "log").open("wb") as log:
            started[device] = (
                home,
                subprocess.Popen(
                    [*network.inside(device), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=child_environment(),
                ),
            )
    deadline = time.monotonic() + _START_S
    for device, (home, process) in started.items():
        while not (home / "port").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                words = (home / "log").read_text(errors="replace").strip()[-500:]
                raise DeployError(f"the agent of device {device!r} did not start: {words or 'it said nothing'}")
            time.sleep(_ASK_AGAIN_S)
    return {device: topology.agent(device) for device in topology.devices}


def child_environment() -> dict[str, str]:
    """Let processes import the same packages as this process, wherever they were found, and report to nobody."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return {"ORT_DISABLE_TELEMETRY": "1", **os.environ, "PYTHONPATH": root if not path else f"{root}{os.pathsep}{path}"}
