"""Builds sites of many cameras for the benchmarks: groups of boxes, a few servers, and a small set of models.

Each camera is a device of its own and each flow may use ten devices: its camera, the four boxes of its group and
the five servers of its hall. Air, uplink, boxes and servers are shared and too small for what their users would
like best, some boxes must be switched on first, and not every model fits into a box.

Seconds and watts are those of benchmarks/sites.json and of the sources named there; figures marked "assumed" are
not measured by anybody.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.instances import Node
from placer.problem import Device, Flow, Link, Op, Option, Problem, Tensor

GROUP = 20
"""Cameras that share the air and the boxes of a group."""
HALL = 100
"""Cameras that share an uplink and servers."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of machine: seconds per MAC, intercept of the fit, active and idle watts, PUE."""

    mode: str
    seconds_per_mac: float
    segment_s: float
    active_w: float
    idle_w: float
    pue: float = 1.0

    @property
    def extra_w(self) -> float:
        """Watts above idle while it works, facility included."""
        return (self.active_w - self.idle_w) * self.pue


# MLPerf Inference v2.0 and v3.0, closed and open edge power submissions: linear fits over 45 image networks.
CAMERA = Kind("int8", 5.746e-11, 3.776e-3, 6.39, 2.81)  # rpi4-tflite-v2.7.1-ruy
BOX = Kind("int8", 3.313e-11, 3.952e-3, 5.15, 3.21)  # vim4-armnn-v22.11-opencl
# MLPerf Inference v3.0, Jetson AGX Orin MaxQ, ResNet-50 single stream: 1.48 ms and 14.8 W at 4.1e9 MACs.
FAST_BOX = Kind("int8", 3.61e-13, 1.48e-3, 14.8, 6.4)
# MLPerf Inference v2.0, Dell XE2420 with one A30, MaxQ; PUE of the Uptime Institute's survey of 2024.
SERVER = Kind("int8", 1.685e-13, 1.48e-3, 198.4, 127.6, 1.56)


def model(name: str, ops: int, macs: float, weights_bytes: float, branches: int, seed: int) -> tuple[Node, ...]:
    """Draw a network: a chain of cells whose tensors shrink and whose weights grow with the depth.

    Parameters
    ----------
    name
        Prefix of the ops' names.
    ops
        About how many ops it has.
    macs, weights_bytes
        Totals of the network.
    branches
        1 for a plain chain, 2 for residual cells, 4 for inception cells.
    seed
        Equal seeds give equal networks.
    """
    rng = random.Random(seed)
    # One frame of 224 x 224 pixels in three int8 channels.
    drawn: list[tuple[str, float, float, float, tuple[str, ...]]] = []
    last = "source"

    def add(parents: tuple[str, ...], weight: float, size: float) -> str:
        drawn.append((f"{name}{len(drawn)}", weight, weight * len(drawn), round(size), parents))
        return drawn[-1][0]

    while len(drawn) < ops - 1:
        depth = len(drawn) / ops
        size = 8e5 * 0.004**depth * rng.uniform(0.6, 1.4)
        if branches == 1 or rng.random() < 0.3:
            last = add((last,), rng.uniform(0.5, 1.5), size)
            continue
        ends = [last] if branches == 2 else []
        for _ in range(1 if branches == 2 else rng.choice([2, 3, 4])):
            at = last
            for _ in range(rng.choice([1, 2])):
                at = add((at,), rng.uniform(0.3, 1.0), size / (1 if branches == 2 else 3))
            ends.append(at)
        last = add(tuple(ends), 0.0, size)
    add((last,), 0.2, 4e3)
    work, heavy = sum(d[1] for d in drawn), sum(d[2] for d in drawn)
    nodes = [Node("source", 0.0, 0.0, 150528.0, ())]
    nodes += [Node(n, macs * w / work, round(weights_bytes * h / heavy), s, p) for n, w, h, s, p in drawn]
    nodes.append(Node("sink", 0.0, 0.0, 0.0, (drawn[-1][0],)))
    return tuple(nodes)


# Sizes in the order of common networks: MACs and bytes of int8 weights.
MODELS = (
    model("tiny", 10, 4e7, 5e5, 1, 1),
    model("mobile", 30, 3e8, 3.5e6, 1, 2),
    model("branchy", 45, 1.5e9, 7e6, 4, 3),
    model("residual", 36, 1.8e9, 1.2e7, 2, 4),
    model("deep", 60, 4.1e9, 2.6e7, 2, 5),
)


def site(flows: int, *, seed: int = 1, alike: bool = False) -> Problem:
    """Build a site.

    Parameters
    ----------
    flows
        Cameras, each with one flow.
    seed
        Equal seeds give equal sites.
    alike
        Whether cameras come in few kinds (three rates per model, two deadlines, equal radios), so that many flows
        differ in nothing but their camera; otherwise no two are equal.
    """
    rng = random.Random(seed)
    devices, links, built = [], [], []
    halls = -(-flows // HALL)
    for hall in range(halls):
        devices += [_device(f"server-{hall}-{i}", "cloud", SERVER, share=0.06) for i in range(5)]
    for group in range(-(-flows // GROUP)):
        hall = group * GROUP // HALL
        names = [f"box-{group}-{i}" for i in range(4)]
        devices += [_device(n, "edge", BOX, memory_bytes=2e7) for n in names[:2]]
        devices += [_device(n, "edge", FAST_BOX, memory_bytes=6.4e7, always_on=False) for n in names[2:]]
        servers = [f"server-{hall}-{i}" for i in range(5)]
        links += _wired(names, servers, hall)
        for _ in range(min(GROUP, flows - group * GROUP)):
            built.append(_camera(rng, len(built), names, servers, group, hall, alike, devices, links))
    return Problem(devices=tuple(devices), links=tuple(links), flows=tuple(built))


def _device(
    name: str, tier: str, kind: Kind, *, share: float = 0.8, memory_bytes: float | None = None, always_on: bool = True
) -> Device:
    return Device(
        name=name,
        tier=tier,
        memory_bytes=memory_bytes,
        idle_w=kind.idle_w * kind.pue,
        always_on=always_on,
        # Servers belong to others too: this site may use a small part of each (assumed).
        max_utilization=share,
        segment_s=kind.segment_s,
        segment_j=kind.segment_s * kind.extra_w,
    )


def _wired(boxes: list[str], servers: list[str], hall: int) -> list[Link]:
    """Join the boxes of a group with each other by a switch, and with the servers by the hall's uplink."""
    found = []
    for a in boxes:
        # 100BASE-TX: 1.65e-8 J/bit when the port is full (CARPO); 0.3 ms per hop assumed.
        for b in boxes:
            if a != b:
                found.append(Link(source=a, target=b, latency_s=6e-4, bytes_per_s=1.25e7, energy_j_per_byte=1.32e-7))
        for b in servers:
            for ends in ((a, b), (b, a)):
                found.append(_uplink(*ends, hall, 2.4e-7))
    return found


def _uplink(source: str, target: str, hall: int, energy_j_per_byte: float) -> Link:
    # Ookla Q3 2021, fixed broadband median: 15 ms round trip, 119.8 Mbit/s; network 3e-8 J/bit (Malmodin).
    return Link(
        source=source,
        target=target,
        medium=f"uplink-{hall}",
        latency_s=7.5e-3,
        bytes_per_s=1.498e7,
        energy_j_per_byte=energy_j_per_byte,
        max_utilization=0.7,
    )


def _camera(
    rng: random.Random,
    number: int,
    boxes: list[str],
    servers: list[str],
    group: int,
    hall: int,
    alike: bool,
    devices: list[Device],
    links: list[Link],
) -> Flow:
    """Add one camera with its links to the site; return its flow."""
    name = f"camera-{number}"
    nodes = rng.choice(MODELS)
    vary = 1.0 if alike else rng.uniform(0.8, 1.25)
    devices.append(_device(name, "sensor", CAMERA))
    # 802.11n at about 32 Mbit/s of goodput, by distance; 1e-7 J/byte at both ends together (assumed).
    bytes_per_s = 4e6 * vary
    for far, latency_s, joules in [(b, 4e-3, 1e-7) for b in boxes] + [(s, 1.2e-2, 3.4e-7) for s in servers]:
        for ends in ((name, far), (far, name)):
            links.append(
                Link(
                    source=ends[0],
                    target=ends[1],
                    medium=f"air-{group}",
                    latency_s=latency_s,
                    bytes_per_s=bytes_per_s,
                    energy_j_per_byte=joules / vary,
                    max_utilization=0.8,
                )
            )
    home_s = CAMERA.segment_s + CAMERA.seconds_per_mac * sum(n.macs for n in nodes)
    # One flow in four may not take as long as its camera would: it must hand something on, but comes less often.
    hurry = rng.random() < 0.25 and home_s > 0.05
    # Alone, a camera would be busy for 15 to 60 % of the time.
    busy = rng.choice([0.2, 0.35, 0.5]) if alike else rng.uniform(0.15, 0.6)
    rate_hz = busy * (0.5 if hurry else 1.0) / home_s
    deadline_s = home_s * (0.7 if hurry else 1.5) * (1.0 if alike else rng.uniform(0.9, 1.1))
    return _flow(f"flow-{number}", nodes, [name, *boxes, *servers], rate_hz, deadline_s)


def _flow(name: str, nodes: tuple[Node, ...], places: list[str], rate_hz: float, deadline_s: float) -> Flow:
    kinds = dict(zip(places, [CAMERA, BOX, BOX, FAST_BOX, FAST_BOX, *[SERVER] * 5], strict=True))
    ops = []
    for node in nodes:
        if node.name in ("source", "sink"):
            ops.append(Op(name=node.name, options=(Option(device=places[0], mode="io", seconds=0.0, joules=0.0),)))
            continue
        ops.append(
            Op(
                name=node.name,
                options=tuple(
                    Option(
                        device=place,
                        mode=kind.mode,
                        seconds=kind.seconds_per_mac * node.macs,
                        joules=kind.seconds_per_mac * node.macs * kind.extra_w,
                    )
                    for place, kind in kinds.items()
                ),
                weights_bytes=node.weights_bytes,
                weights_id=node.name if node.weights_bytes else None,
                workspace_bytes=2 * node.output_bytes,
            )
        )
    readers = {n.name: tuple(m.name for m in nodes if n.name in m.parents) for n in nodes}
    tensors = tuple(
        Tensor(name=f"{n.name}:out", bytes=n.output_bytes, producer=n.name, consumers=readers[n.name])
        for n in nodes
        if readers[n.name]
    )
    return Flow(name=name, rate_hz=rate_hz, deadline_s=deadline_s, ops=tuple(ops), tensors=tensors)
