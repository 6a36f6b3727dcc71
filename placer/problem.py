"""The problem the solver sees, as frozen numbers, and its file format (problem.json, versions 1.0 to 1.3).

The format is documented in docs/problem-format.md; this module holds its types, reading and writing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from placer.errors import ProblemError

FORMAT = "placer.problem/1.0"
FORMAT_TOTALS = "placer.problem/1.1"
"""Written only where a field is used that 1.0 does not know: carbon, cost, caps on totals."""
FORMAT_PAUSES = "placer.problem/1.2"
"""Written only where a deadline has to hold after pauses."""
FORMAT_STARTS = "placer.problem/1.3"
"""Written only where a device's modes start at different costs."""

Objective = Literal["energy_j", "latency_s", "carbon_g", "cost"]
_READABLE = re.compile(r"placer\.problem/1\.\d+")

_KEYED_BY_NAME = frozenset(
    {"output_bytes", "power_w", "flow_energy_j", "flow_device_energy_j", "accuracy_cost", "deadline_after_pauses_s"}
)
"""Fields whose keys are names of devices, flows or tensors, which may begin with `x_` too."""


class _Numbers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base of the problem's parts: frozen, by keyword, unknown fields refused."""


class Conversion(_Numbers, frozen=True, kw_only=True):
    """Cost of handing a tensor from one mode to another on the same device, once per tensor and mode."""

    from_mode: str
    to_mode: str
    s_per_byte: float = 0.0
    j_per_byte: float = 0.0


class Start(_Numbers, frozen=True, kw_only=True):
    """What starting a segment in one mode takes, in seconds and joules, where that is not the device's own figure."""

    mode: str
    segment_s: float
    segment_j: float


class Device(_Numbers, frozen=True, kw_only=True, omit_defaults=True):
    """A machine as the solver sees it; joules elsewhere are above its `idle_w`.

    `carbon_g_per_j` is grams CO2e per joule of its electricity, `cost_per_j` its price in any one currency; both
    are needed only where carbon or cost is minimized or capped, and a missing one is an error there, never zero.
    """

    name: str
    tier: str = ""
    memory_bytes: float | None = None
    idle_w: float | None = None
    always_on: bool = True
    max_utilization: float = 1.0
    segment_s: float = 0.0
    segment_j: float = 0.0
    starts: tuple[Start, ...] = ()
    wait_w: float = 0.0
    conversions: tuple[Conversion, ...] = ()
    carbon_g_per_j: float | None = None
    cost_per_j: float | None = None

    def start(self, mode: str) -> tuple[float, float]:
        """Return what starting a segment in a mode takes: (seconds, joules)."""
        for start in self.starts:
            if start.mode == mode:
                return start.segment_s, start.segment_j
        return self.segment_s, self.segment_j


class Link(_Numbers, frozen=True, kw_only=True, omit_defaults=True, rename={"source": "from", "target": "to"}):
    """A directed connection; links of equal `medium` share one queue.

    `carbon_g_per_j` and `cost_per_j` are those of the network's part of its joules; the sender's and the receiver's
    parts count as those devices' joules do.
    """

    source: str
    target: str
    latency_s: float
    bytes_per_s: float
    energy_j_per_byte: float
    medium: str | None = None
    energy_j_per_transfer: float = 0.0
    tail_j: float = 0.0
    sender_fraction: float = 1.0
    receiver_fraction: float = 0.0
    max_utilization: float = 1.0
    carbon_g_per_j: float | None = None
    cost_per_j: float | None = None


class Option(_Numbers, frozen=True, kw_only=True):
    """One way to run an op: a device and a mode, with seconds and joules above idle."""

    device: str
    mode: str
    seconds: float
    joules: float
    accuracy_cost: float = 0.0
    output_bytes: dict[str, float] | None = None


class Op(_Numbers, frozen=True, kw_only=True):
    """One operation of a flow; runs by exactly one of its options."""

    name: str
    options: tuple[Option, ...]
    weights_bytes: float = 0.0
    weights_id: str | None = None
    workspace_bytes: float = 0.0
    share: float = 1.0


class Tensor(_Numbers, frozen=True, kw_only=True):
    """Data from one producer to its consumers; never to be held by the devices in `not_on`."""

    name: str
    bytes: float
    producer: str
    consumers: tuple[str, ...]
    not_on: tuple[str, ...] = ()


class Flow(_Numbers, frozen=True, kw_only=True):
    """Ops joined by tensors, run `rate_hz` times a second, each within `deadline_s`."""

    name: str
    ops: tuple[Op, ...]
    tensors: tuple[Tensor, ...] = ()
    rate_hz: float = 0.0
    deadline_s: float | None = None
    latency: Literal["makespan", "serial"] = "makespan"
    colocate: tuple[tuple[str, ...], ...] = ()


class Limits(_Numbers, frozen=True, kw_only=True, omit_defaults=True):
    """Caps beside deadlines and memory; keys are names of devices and flows (`site` for the whole).

    `energy_w`, `carbon_g_per_s` and `cost_per_s` cap what the objectives energy_j, carbon_g and cost minimize:
    rate x joules plus idle power of devices that are on for the plan, per second. `deadline_after_pauses_s` caps the
    latency that flows have on paused connections (`placer.connections`).
    """

    power_w: dict[str, float] = {}
    flow_energy_j: dict[str, float] = {}
    flow_device_energy_j: dict[str, dict[str, float]] = {}
    accuracy_cost: dict[str, float] = {}
    deadline_after_pauses_s: dict[str, float] = {}
    energy_w: float | None = None
    carbon_g_per_s: float | None = None
    cost_per_s: float | None = None


class Problem(_Numbers, frozen=True, kw_only=True):
    """Everything the solver sees and nothing it does not.

    Raises
    ------
    ProblemError
        When made: a name is unknown or doubled, a number is negative or not finite, a graph has a cycle.
    """

    format: str = FORMAT
    objective: Objective = "energy_j"
    devices: tuple[Device, ...]
    links: tuple[Link, ...] = ()
    flows: tuple[Flow, ...]
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        # The check lives beside, not here: it is long, and it needs these types.
        from placer.problem_check import check

        check(self)
        # Whoever adds a field need not think of the format; readers of an older one must not take it for theirs.
        if any(d.starts for d in self.devices) and self.format in (FORMAT, FORMAT_TOTALS, FORMAT_PAUSES):
            msgspec.structs.force_setattr(self, "format", FORMAT_STARTS)
        elif self.limits.deadline_after_pauses_s and self.format in (FORMAT, FORMAT_TOTALS):
            msgspec.structs.force_setattr(self, "format", FORMAT_PAUSES)
        elif self.format == FORMAT and _beyond_1_0(self):
            msgspec.structs.force_setattr(self, "format", FORMAT_TOTALS)


def read_problem(path: str | Path) -> Problem:
    """Read and validate a problem.json.

    Raises
    ------
    ProblemError
        The file is missing, is no JSON, or a field is wrong; the message holds the field's path.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror}; give the path of a problem.json") from None
    try:
        return decode_problem(data)
    except ProblemError as error:
        if _format(data).startswith("placer.plan/"):
            raise ProblemError(
                f"{path}: this is a plan, not a problem; give its site.yaml where that is taken, or the problem.json "
                "that `placer plan --dump-problem` writes"
            ) from None
        raise ProblemError(f"{path}: {error}") from None


class _Headed(msgspec.Struct):
    format: str


def _format(data: bytes) -> str:
    """Return which format a file says it has; nothing if it says none."""
    try:
        return msgspec.json.decode(data, type=_Headed).format
    except (msgspec.DecodeError, RecursionError):
        return ""


def decode_problem(data: bytes) -> Problem:
    """Decode and validate a problem from JSON text; fields that begin with `x_` are left out.

    Raises
    ------
    ProblemError
        With the path of the first wrong field.
    """
    try:
        # Files without extension fields, the usual case, are decoded in one pass.
        return msgspec.json.decode(data, type=Problem)
    except msgspec.ValidationError as error:
        if b'"x_' not in data:
            raise ProblemError(_where(str(error))) from None
    except msgspec.DecodeError as error:
        raise ProblemError(f"not JSON: {error}") from None
    except RecursionError:
        raise ProblemError("not a problem: nested too deeply") from None
    try:
        return msgspec.convert(_without_extensions(msgspec.json.decode(data)), type=Problem)
    except msgspec.ValidationError as error:
        raise ProblemError(_where(str(error))) from None


def encode_problem(problem: Problem) -> bytes:
    """Encode a problem as readable JSON that `decode_problem` reads back equal."""
    return msgspec.json.format(msgspec.json.encode(problem), indent=1) + b"\n"


def readable_format(name: str) -> bool:
    """Tell whether this version reads files of the format `name`: any minor version of 1."""
    return _READABLE.fullmatch(name) is not None


def _beyond_1_0(problem: Problem) -> bool:
    limits = problem.limits
    parts: tuple[Device | Link, ...] = (*problem.devices, *problem.links)
    return (
        problem.objective in ("carbon_g", "cost")
        or any(cap is not None for cap in (limits.energy_w, limits.carbon_g_per_s, limits.cost_per_s))
        or any(p.carbon_g_per_j is not None or p.cost_per_j is not None for p in parts)
    )


def _without_extensions(value: Any, *, names: bool = False) -> Any:
    """Drop every field that begins with `x_`, at any depth; where keys are names of things, all of them stay."""
    if isinstance(value, dict):
        return {
            k: _without_extensions(v, names=k in _KEYED_BY_NAME or (names and isinstance(v, dict)))
            for k, v in value.items()
            if names or not k.startswith("x_")
        }
    if isinstance(value, list):
        return [_without_extensions(v) for v in value]
    return value


def _where(message: str) -> str:
    """Turn msgspec's trailing path into a leading one: `flows[0].rate_hz: ...`."""
    text, found, path = message.partition(" - at `")
    if not found:
        return text
    return f"{path.rstrip('`').removeprefix('$').removeprefix('.') or 'file'}: {text}"
