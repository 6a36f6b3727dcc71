"""The plan: what runs where, what it costs and how far it is proven; frozen, and a file of its own.

Every number in a plan was computed by `evaluate`. Format `placer.plan/1.4`, documented in docs/plan-format.md.
"""

from __future__ import annotations

import hashlib
import re
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from placer.errors import ProblemError
from placer.problem import Problem
from profiles import Cache, When  # noqa: TC001  (msgspec reads the annotation at run time)

if TYPE_CHECKING:
    from collections.abc import Collection

    from placer.why.explain import Explanation

FORMAT = "placer.plan/1.4"
_READABLE = re.compile(r"placer\.plan/1\.\d+")

Kind = Literal["compute", "segment", "transfer", "conversion", "wait", "idle", "facility"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the plan's parts."""


class Segment(_Part, frozen=True, kw_only=True):
    """Ops of one flow that run together on one device, as one session; times are after the data arose."""

    name: str
    device: str
    mode: str
    ops: tuple[str, ...]
    seconds: float
    start_s: float
    end_s: float


class Transfer(_Part, frozen=True, kw_only=True):
    """A tensor sent over one link; times are after the data arose."""

    tensor: str
    source: str
    target: str
    bytes: float
    request_s: float
    arrival_s: float

    @property
    def seconds(self) -> float:
        """From the request to the arrival, queueing included."""
        return self.arrival_s - self.request_s


class FlowPlan(_Part, frozen=True, kw_only=True):
    """One flow of a plan: its placement and what `evaluate` says of it."""

    name: str
    rate_hz: float
    latency_s: float
    deadline_s: float | None
    energy_j: float
    """Joules per inference above idle."""
    assignment: dict[str, tuple[str, str]]
    """Op to (device, mode)."""
    segments: tuple[Segment, ...]
    transfers: tuple[Transfer, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that run a segment of the flow, in order of first use."""
        return tuple(dict.fromkeys(s.device for s in sorted(self.segments, key=lambda s: s.start_s)))


class LedgerLine(_Part, frozen=True, kw_only=True):
    """One item of what a plan spends, as average power in watts and, for a flow, joules per inference."""

    kind: Kind
    power_w: float
    flow: str = ""
    device: str = ""
    link: str = ""
    energy_j: float | None = None
    origin: str = ""
    """Where the figures come from: measured, fitted, spec, declared, or given by the problem."""


class Ledger(_Part, frozen=True, kw_only=True):
    """The itemized power of a plan, in two views that are never mixed.

    Parameters
    ----------
    marginal
        What this plan adds; its sum is the objective when energy is minimized.
    attributional
        The same, and for devices that are on anyway the part of their idle power that falls to the time they
        work for this plan.
    """

    marginal: tuple[LedgerLine, ...]
    attributional: tuple[LedgerLine, ...]

    @property
    def marginal_w(self) -> float:
        """Sum of the marginal lines, in watts."""
        return fsum(line.power_w for line in self.marginal)

    @property
    def attributional_w(self) -> float:
        """Sum of the attributional lines, in watts."""
        return fsum(line.power_w for line in self.attributional)


class Baseline(_Part, frozen=True, kw_only=True):
    """A simple placement to compare with, judged by the same `evaluate`."""

    name: str
    objective: float | None
    """None if some op cannot run where the baseline wants it."""
    latency_s: tuple[float, ...] = ()
    """Latency of each flow in seconds."""
    broken: tuple[str, ...] = ()
    """Rules it breaks; empty if it would be allowed."""


class Model(_Part, frozen=True, kw_only=True):
    """The model file of a flow's stage, by content; `inputs`, `reads`, `when`, `every`, `cache` as the site has them.

    `outputs` are those that the site's flow names; empty for all of a flow where it names none.
    """

    flow: str
    stage: str
    path: str
    sha256: str
    inputs: dict[str, tuple[int, ...]] = {}
    reads: dict[str, str] = {}
    when: When | None = None
    every: int = 1
    cache: Cache | None = None
    outputs: tuple[str, ...] = ()


class Unserved(_Part, frozen=True, kw_only=True):
    """A flow that cannot be served while something is lost, and why."""

    flow: str
    reason: str


class Fallback(_Part, frozen=True, kw_only=True):
    """What serves while a device or a link is lost: a plan of the problem without it, under all its rules.

    Parameters
    ----------
    lost
        A device's name; or two, for the link between them in both directions.
    flows
        The flows that pass what is lost, placed anew. All others stay where they are.
    unserved
        The flows that no plan can serve without it.
    status, objective, bound, gap
        Of all flows together that are served, as a plan's; None where what is lost leaves none of its flows.
    """

    lost: tuple[str, ...]
    flows: tuple[FlowPlan, ...] = ()
    unserved: tuple[Unserved, ...] = ()
    status: Literal["optimal", "feasible"] | None = None
    objective: float | None = None
    bound: float | None = None
    gap: float | None = None

    @property
    def name(self) -> str:
        """What is lost, in words."""
        return ("device " if len(self.lost) == 1 else "link ") + self.names

    @property
    def names(self) -> str:
        """The name of the device that is lost, or of both ends of the link."""
        return " - ".join(map(repr, self.lost))


class Plan(_Part, frozen=True, kw_only=True):
    """A feasible placement of every flow of a problem; `status` says how far it is proven.

    Parameters
    ----------
    status
        "optimal" if objective and bound meet within 1e-6, else "feasible".
    objective
        Watts (rate x joules + idle power) or, if the problem minimizes latency, seconds.
    bound
        Proven lower bound of the objective over all plans.
    gap
        (objective - bound) / objective.
    problem
        The problem it solves, whole: a plan can be checked again anywhere.
    models, agents
        Where the models are and where the devices' agents listen; empty for a plan of a bare problem.
    threads
        Of an execution by device and mode, where the mode's figures are of so many; else `deploy` says it.
    meanings
        The site's words for the problem's rules, by the rule's name; rules not named speak for themselves.
    fallbacks
        What serves while a device or link is lost, if that was asked for: see `placer.fallbacks`.
    """

    format: str = FORMAT
    name: str = ""
    status: Literal["optimal", "feasible"]
    objective: float
    bound: float
    gap: float
    flows: tuple[FlowPlan, ...]
    ledger: Ledger
    baselines: tuple[Baseline, ...] = ()
    models: tuple[Model, ...] = ()
    agents: dict[str, str] = {}
    threads: dict[str, dict[str, int]] = {}
    meanings: dict[str, str] = {}
    fallbacks: tuple[Fallback, ...] = ()
    problem: Problem

    @property
    def energy_j(self) -> float:
        """Joules per inference, idle power included; the sum over flows of one inference each."""
        rate = max(f.rate_hz for f in self.flows)
        idle_w = fsum(line.power_w for line in self.ledger.marginal if line.kind == "idle")
        return fsum([*(f.energy_j for f in self.flows), idle_w / rate if rate > 0 else 0.0])

    @property
    def identity(self) -> str:
        """Digest of the placement: equal for equal problems and choices."""
        # Through the file's form and back: 1 and 1.0 are one number, but not one text.
        problem = msgspec.json.decode(msgspec.json.encode(self.problem), type=Problem)
        content = msgspec.json.encode([problem, [f.assignment for f in self.flows], self.models])
        return hashlib.sha256(content).hexdigest()[:16]

    def flow(self, name: str) -> FlowPlan:
        """Return the flow of that name.

        Raises
        ------
        ProblemError
            If there is none.
        """
        for flow in self.flows:
            if flow.name == name:
                return flow
        raise ProblemError(f"the plan has no flow {name!r}; it has {', '.join(f.name for f in self.flows)}")

    def instead(self, flow: str, away: Collection[str]) -> Fallback | None:
        """Give the fallback that serves a flow while devices do not answer; None if none does.

        The one for just that loss comes before others that pass none of them, as for the flow's source.
        """
        for fallback in sorted(self.fallbacks, key=lambda fallback: not set(fallback.lost) <= set(away)):
            for placed in fallback.flows:
                if placed.name == flow and not any(device in away for device, _ in placed.assignment.values()):
                    return fallback
        return None

    def explain(self, *, time_limit_s: float = 60.0, seed: int = 0) -> Explanation:
        """Say what keeping each segment off its device would cost, and what each rule costs: see `placer.explain`."""
        # A plan is read where nothing can be solved; the solver is loaded only for this.
        from placer.why.explain import explain

        return explain(self, time_limit_s=time_limit_s, seed=seed)


def encode_plan(plan: Plan) -> bytes:
    """Encode a plan as readable JSON that `decode_plan` reads back equal."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n"


def decode_plan(data: bytes) -> Plan:
    """Decode a plan from JSON.

    Raises
    ------
    ProblemError
        With the path of the first wrong field.
    """
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except msgspec.DecodeError as error:
        raise ProblemError(f"not a plan: {error}") from None
    if not _READABLE.fullmatch(plan.format):
        raise ProblemError(f"format: {plan.format!r} is not readable here; this version reads {FORMAT!r}")
    return plan


def read_plan(path: str | Path) -> Plan:
    """Read a plan file.

    Raises
    ------
    ProblemError
        The file is missing or is no plan.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read: {error.strerror}; give a file that `placer plan` wrote") from None
    try:
        return decode_plan(data)
    except ProblemError as error:
        raise ProblemError(f"{path}: {error}; give a file that `placer plan` wrote") from None
