"""Devices and links for tests, with figures that are easy to compute with by hand."""

from typing import Any

from profiles import Device, DeviceProfile, Figure, Link, LinkProfile, Mode


def figure(value: float) -> Figure:
    return Figure(value=value, source="test", origin="declared")


def mode(name: str = "cpu-fp32", active_w: float = 5.0) -> Mode:
    return Mode(
        name=name,
        numeric="fp32",
        active_w=figure(active_w),
        segment_s=figure(0.001),
        s_per_mac=figure(1e-10),
    )


def device(name: str = "camera", **changes: Any) -> Device:
    modes = changes.pop("modes", (mode(),))
    idle_w = figure(changes.pop("idle_w", 2.0))
    profile = DeviceProfile(id="p", name="p", tier="edge", boundary="wall", idle_w=idle_w, modes=modes)
    fields: dict[str, Any] = {
        "name": name,
        "profile": profile,
        "zone": "floor",
        "tier": "edge",
        "boundary": "wall",
        "idle_w": idle_w,
        "wait_w": None,
        "memory_bytes": None,
        "always_on": True,
        "modes": modes,
    }
    return Device(**{**fields, **changes})


def link(direction: str = "up", latency_s: float = 0.01, **figures: Any) -> Link:
    values = {key: figure(value) if isinstance(value, (int, float)) else value for key, value in figures.items()}
    profile = LinkProfile(id="l", name="l", **values)
    return Link(source="a", target="b", profile=profile, direction=direction, bandwidth_bps=8e6, latency_s=latency_s)
