"""Builds the emulated network with iproute2 and starts its wires; runs inside the emulation's own namespaces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from placer.errors import DeployError, ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.emulation.topology import Topology, Wire

_CONGESTION = "cubic"
_OFFLOAD_S = 0.001
"""TCP hands a link at most what it carries in this time, so that a packet is never long beside the link's delay."""
_SEGMENT_BYTES = 1500
_MOST_SEGMENTS = 43
"""Segments of the largest packet that Linux makes: 64 kB."""
_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/tcp_no_metrics_save": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}


class Network:
    """The hosts and wires of a topology, as they run.

    Parameters
    ----------
    topology
        What to build.
    folder
        Where the hosts' names are kept.

    Raises
    ------
    DeployError
        A part of it could not be made; the message has the tool's words.
    """

    def __init__(self, topology: Topology, folder: Path) -> None:
        self._topology = topology
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[str]] = {}
        _run(
            ["sh", "-c", _settings({"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"})]
        )
        _run(["ip", "link", "set", "lo", "up"])
        for device in topology.devices:
            self._namespace(device).touch()
            _run(["unshare", f"--net={self._namespace(device)}", "sh", "-c", _settings(_SETTINGS)])
        self._connect()
        for group in topology.groups():
            process = _start_wire(group)
            self._processes |= {wire.number: process for wire in group}

    def inside(self, device: str) -> list[str]:
        """Give what to put before a command so that it runs on a device's host."""
        return ["nsenter", f"--net={self._namespace(device)}", "--"]

    def cut(self, wire: Wire) -> None:
        """Let everything on a wire vanish silently from now on, both ways."""
        stdin = self._processes[wire.number].stdin
        assert stdin is not None
        stdin.write(f"cut {' '.join(lane.source for lane in wire.lanes)}\n")
        stdin.flush()

    def _namespace(self, device: str) -> Path:
        return self._folder / f"host{self._topology.devices.index(device)}"

    def _connect(self) -> None:
        """Make all interfaces, then give each host its addresses and routes."""
        topology = self._topology
        desk = []
        for n, device in enumerate(topology.devices):
            desk.append(f"link add m{n} type veth peer name desk netns {self._namespace(device)}")
            desk.append(f"address add {topology.desk_address(device, 0)}/30 dev m{n}")
            desk.append(f"link set m{n} up")
            desk.append(f"route add {topology.address(device)}/32 via {topology.desk_address(device, 1)} dev m{n}")
        for wire in topology.wires:
            for end, lane in enumerate(wire.lanes):
                namespace = self._namespace(wire.ends[end])
                desk.append(f"link add {lane.source} type veth peer name w{wire.number} netns {namespace}")
                desk.append(f"link set {lane.source} up")
        _run(["ip", "-batch", "-"], desk)
        for device in topology.devices:
            _run([*self.inside(device), "ip", "-batch", "-"], self._host_lines(device))

    def _host_lines(self, device: str) -> list[str]:
        topology = self._topology
        own = topology.address(device)
        lines = [
            "link set lo up",
            f"address add {own}/32 dev lo",
            f"address add {topology.desk_address(device, 1)}/30 dev desk",
            "link set desk up",
        ]
        for wire in topology.wires:
            if device not in wire.ends:
                continue
            end = wire.ends.index(device)
            name, lane = f"w{wire.number}", wire.lanes[end]
            segments = max(1, min(_MOST_SEGMENTS, int(lane.bytes_per_s * _OFFLOAD_S / _SEGMENT_BYTES)))
            lines.append(f"link set {name} address {_hardware_address(wire, end)} gso_max_segs {segments} up")
            lines.append(f"address add {wire.address(end)}/30 dev {name}")
            # Written down, so that nobody asks over the wire, which would count as the first message's time.
            other = _hardware_address(wire, 1 - end)
            lines.append(f"neighbour replace {wire.address(1 - end)} lladdr {other} nud permanent dev {name}")
        congestion = f" congctl {_CONGESTION}" if _CONGESTION in _available() else ""
        for (source, target), steps in topology.paths.items():
            if source == device:
                wire, end = steps[0]
                via = f"via {wire.address(1 - end)} dev w{wire.number} src {own}{congestion}"
                lines.append(f"route add {topology.address(target)}/32 {via}")
        return lines


def find_wire(topology: Topology, name: str) -> Wire:
    """Find the wire between two devices by ``DEVICE:DEVICE``, in either order.

    Raises
    ------
    ProblemError
        There is none between them.
    """
    for wire in topology.wires:
        if name in (":".join(wire.ends), ":".join(wire.ends[::-1])):
            return wire
    known = ", ".join(":".join(wire.ends) for wire in topology.wires)
    raise ProblemError(f"{name!r} is no link of the emulated site; give one of {known}")


def _available() -> list[str]:
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


def _hardware_address(wire: Wire, end: int) -> str:
    return f"02:00:00:{wire.number >> 8:02x}:{wire.number & 255:02x}:{end + 1:02x}"


def _settings(values: dict[str, str]) -> str:
    # A kernel built without IPv6 has none of its settings, and needs none.
    return "; ".join(f"test ! -e /proc/sys/{name} || echo {value} > /proc/sys/{name}" for name, value in values.items())


def _start_wire(group: Sequence[Wire]) -> subprocess.Popen[str]:
    lanes = msgspec.json.encode([lane for wire in group for lane in wire.lanes]).decode()
    process = subprocess.Popen(
        [sys.executable, "-m", "placer.emulation.wire", lanes],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise DeployError(
            f"the wire of {' and '.join(':'.join(w.ends) for w in group)} did not start; its words are above"
        )
    return process


def _run(command: Sequence[str], lines: Sequence[str] = ()) -> None:
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise DeployError(f"the emulated network could not be built: {' '.join(command)}: {words}")
