"""Devices: what a machine that runs segments draws, how fast it is, and how much it holds."""

from __future__ import annotations

import math
import re
from typing import Literal, TypeAlias

import msgspec

from profiles.errors import ProfileError, choices
from profiles.figure import (
    Figure,
    require_fraction,
    require_name,
    require_positive,
)
from profiles.op_costs import OpCosts  # noqa: TC001  (msgspec reads the annotation at run time)

_THREADS_AT_MOST = 1024

Tier: TypeAlias = Literal["sensor", "edge", "cloud"]
Boundary: TypeAlias = Literal["chip", "board", "wall", "node"]
Numeric: TypeAlias = Literal["fp32", "fp16", "bf16", "int8", "int4"]
CostOrigin: TypeAlias = Literal["profile", "measured"]

_AGENT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+):(?P<port>\d{1,5})")


class Mode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way a device runs an op: processor or accelerator, and numeric format.

    The seconds of one execution of a segment are ``t = segment_s + s_per_mac * macs``, fitted over
    whole models, so ``segment_s`` is charged once per segment and never per op.

    Parameters
    ----------
    name
        For example ``cpu-fp32`` or ``npu-int8``.
    numeric
        Number format the mode computes in.
    active_w
        Power of the whole device while it computes, idle power included.
    segment_s
        Seconds that starting one execution costs.
    s_per_mac
        Seconds for each multiply-accumulate.
    mac_per_s, power_exponent
        For an accelerator whose power follows how busy its arithmetic is: active_w is that at so many
        multiply-accumulates a second of a whole model, and elsewhere P = active_w (r / mac_per_s)^power_exponent.
        Both or none; none for constant power.
    threads
        Threads of one execution, where the figures are of a number of them; None where that is not told.
    op_costs
        Seconds op by op, where the device itself was measured; they go before ``s_per_mac``.

    Raises
    ------
    ProfileError
        If active_w, s_per_mac or mac_per_s is zero, the name is empty, there are no threads, or one of mac_per_s
        and power_exponent stands alone.
    """

    name: str
    numeric: Numeric
    active_w: Figure
    segment_s: Figure
    s_per_mac: Figure
    mac_per_s: Figure | None = None
    power_exponent: Figure | None = None
    threads: int | None = None
    op_costs: OpCosts | None = None

    def __post_init__(self) -> None:
        require_name("mode", self.name)
        if self.threads is not None and not 1 <= self.threads <= _THREADS_AT_MOST:
            raise ProfileError(f"threads is {self.threads}: give a number from 1 to {_THREADS_AT_MOST}")
        require_positive("active_w", self.active_w.value)
        require_positive("s_per_mac", self.s_per_mac.value)
        if (self.mac_per_s is None) != (self.power_exponent is None):
            raise ProfileError("mac_per_s and power_exponent belong together: give both or none")
        if self.mac_per_s is not None:
            require_positive("mac_per_s", self.mac_per_s.value)


class Benchmark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published measurement that a mode was fitted to, so that a fit can be checked.

    Parameters
    ----------
    model
        The benchmark's name of the model.
    mode
        The mode it ran in.
    macs
        Multiply-accumulates of one inference.
    seconds
        Mean latency of one inference.
    power_w
        Mean power meanwhile, idle power included.
    """

    model: str
    mode: str
    macs: float
    seconds: Figure
    power_w: Figure

    def __post_init__(self) -> None:
        require_name("benchmark", self.model)
        require_positive("macs", self.macs)
        require_positive("seconds", self.seconds.value)


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the catalog knows about one kind of device, before a site gives it a name and a zone.

    Parameters
    ----------
    id, name
        Key in the catalog and the full name for people.
    tier
        Where such a device usually stands.
    boundary
        What the power figures include: the chip's supply, the board, the wall plug, or a whole
        server node at its wall plug. Figures of different boundaries do not add up.
    idle_w
        Power while nothing runs. None where no sourced figure exists: a site then has to declare it.
    wait_w
        Power above idle while the device stays awake for a result. None where no sourced figure exists.
    memory_bytes
        What weights and activations may fill. None where no sourced figure exists.
    lookup_bytes_per_s
        Bytes of inputs a second by which a result that was kept is found, or missed. None where it was not measured.
    modes
        Ways it runs ops, at least one.
    benchmarks
        The measurements behind the modes' fits, where they are few enough to be quoted.
    note
        How the figures were derived.

    Raises
    ------
    ProfileError
        If a mode's power lies below idle power, two modes have one name, or a benchmark names no mode.
    """

    id: str
    name: str
    tier: Tier
    boundary: Boundary
    idle_w: Figure | None = None
    wait_w: Figure | None = None
    memory_bytes: Figure | None = None
    lookup_bytes_per_s: Figure | None = None
    modes: tuple[Mode, ...]
    benchmarks: tuple[Benchmark, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        require_name("device profile", self.id)
        if self.memory_bytes is not None:
            require_positive("memory_bytes", self.memory_bytes.value)
        if self.lookup_bytes_per_s is not None:
            require_positive("lookup_bytes_per_s", self.lookup_bytes_per_s.value)
        _check_modes(self.modes, self.idle_w)
        names = [mode.name for mode in self.modes]
        for benchmark in self.benchmarks:
            if benchmark.mode not in names:
                known = choices(benchmark.mode, names)
                raise ProfileError(f"benchmark {benchmark.model!r} ran in no mode {benchmark.mode!r}; {known}")


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine of a site that can run segments.

    Parameters
    ----------
    name
        Unique in its site.
    profile
        The profile it was resolved from; figures which the site overrides differ from it.
    zone
        Name of its trust domain.
    tier, boundary
        As in `DeviceProfile`.
    idle_w
        Power while nothing runs.
    wait_w
        Power above idle while it waits for a result.
    memory_bytes
        Bytes that weights and activations may fill; None for no limit.
    lookup_bytes_per_s
        As in `DeviceProfile`; stages with a cache need it.
    always_on
        True if it is on with or without a plan, so that its idle power is nobody's cost.
    max_utilization
        Share of its time that plans may fill, in (0, 1].
    pue
        Power usage effectiveness of its facility, at least 1.
    agent
        Address ``host:port`` of its agent, where one is there.
    costs
        ``profile`` to take op seconds from the modes' fits, ``measured`` to measure them.
    modes
        Ways it runs ops, at least one.

    Raises
    ------
    ProfileError
        If a number is out of its range, a mode's power lies below idle power, or the agent's
        address is no ``host:port``.
    """

    name: str
    profile: DeviceProfile
    zone: str
    tier: Tier
    boundary: Boundary
    idle_w: Figure
    wait_w: Figure | None
    memory_bytes: float | None
    lookup_bytes_per_s: Figure | None = None
    always_on: bool
    max_utilization: float = 1.0
    pue: float = 1.0
    agent: str | None = None
    costs: CostOrigin = "profile"
    modes: tuple[Mode, ...]

    def __post_init__(self) -> None:
        require_name("device", self.name)
        if self.memory_bytes is not None:
            require_positive("memory_bytes", self.memory_bytes)
        if self.lookup_bytes_per_s is not None:
            require_positive("lookup_bytes_per_s", self.lookup_bytes_per_s.value)
        require_fraction("max_utilization", self.max_utilization)
        if not (math.isfinite(self.pue) and self.pue >= 1):
            raise ProfileError(f"pue is {self.pue!r}: give a finite number of at least 1")
        if self.agent is not None:
            found = _AGENT.fullmatch(self.agent)
            if found is None or not 0 < int(found["port"]) < 65536:
                raise ProfileError(f"agent is {self.agent!r}: give HOST:PORT, such as 127.0.0.1:9001")
        _check_modes(self.modes, self.idle_w)

    def mode(self, name: str) -> Mode:
        """Return the mode of that name.

        Raises
        ------
        ProfileError
            If the device has no such mode.
        """
        for mode in self.modes:
            if mode.name == name:
                return mode
        known = choices(name, (mode.name for mode in self.modes))
        raise ProfileError(f"device {self.name!r} has no mode {name!r}; {known}")


def _check_modes(modes: tuple[Mode, ...], idle_w: Figure | None) -> None:
    if not modes:
        raise ProfileError("modes is empty: a device runs ops in at least one mode")
    seen: set[str] = set()
    for mode in modes:
        if mode.name in seen:
            raise ProfileError(f"two modes are named {mode.name!r}: names are unique in a device")
        seen.add(mode.name)
        if idle_w is not None and mode.active_w.value < idle_w.value:
            raise ProfileError(
                f"mode {mode.name!r} has active_w {mode.active_w.value:g} below idle_w {idle_w.value:g}: "
                "active power includes idle power"
            )
