"""What an emulation showed: measured beside predicted, per segment, hop and flow, and every failure by its words."""

from __future__ import annotations

from typing import Literal

import msgspec

from placer.deployment.compare import Row  # noqa: TC001  (msgspec reads the annotations at run time)

PhaseName = Literal["cold", "warm", "idle"]


class Cut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link to cut, as ``DEVICE:DEVICE``, and when, in seconds after the first request."""

    link: str
    at_s: float


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request that brought no result.

    Parameters
    ----------
    sent_s
        When it was sent, after the first request of all.
    seconds
        How long the client waited for the error.
    error
        What the client was told.
    """

    sent_s: float
    seconds: float
    error: str


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests that found the connections in one state.

    Parameters
    ----------
    name
        ``cold``: the first; ``warm``: each soon after the one before; ``idle``: after pauses that make TCP forget
        part of what it learned.
    rows
        Planned, predicted and measured times.
    errors
        (predicted - measured) / measured of each row.
    """

    name: PhaseName
    rows: tuple[Row, ...]
    errors: tuple[float, ...]


class FlowRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one flow's requests; those of ``phases`` were answered before any cut.

    ``deadline_s`` is the plan's, for data that go all the way; None if it has none.
    """

    flow: str
    deadline_s: float | None = None
    sent: int
    answered: int
    failures: tuple[Failure, ...]
    phases: tuple[Phase, ...]


class Emulation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole run.

    Parameters
    ----------
    plan
        The plan's identity.
    devices
        One network namespace each.
    cuts
        As they were made.
    flows
        In the plan's order.
    notes
        What was not emulated, and how the prediction took what this machine could not.
    """

    plan: str
    devices: tuple[str, ...]
    cuts: tuple[Cut, ...]
    flows: tuple[FlowRun, ...]
    notes: tuple[str, ...]
