"""What an agent says of itself: the plans that it holds, and how it is."""

from __future__ import annotations

from typing import Any

import msgspec


class HeldPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that an agent holds.

    Parameters
    ----------
    plan, epoch
        Which one.
    state
        staged, prepared, active, previous or lost.
    segments
        What runs here.
    devices
        The devices that its flows here pass, this one among them.
    sources
        The flows that begin here.
    """

    plan: str
    epoch: int
    state: str
    segments: tuple[str, ...]
    devices: tuple[str, ...]
    sources: tuple[str, ...]


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent says about itself."""

    device: str
    version: str
    held: tuple[HeldPlan, ...]
    open_requests: int
    last_sequence: int
    trouble: str
    """Why the plan of before a restart does not serve; empty where all is well."""
    lost: tuple[str, ...]
    """The devices of its plans that do not answer it."""

    @property
    def active(self) -> HeldPlan | None:
        """The plan that new requests follow."""
        return next((held for held in self.held if held.state == "active"), None)


def read_status(reply: Any) -> AgentStatus:
    """Read the reply to `Status`."""
    held = tuple(
        HeldPlan(
            plan=h.plan,
            epoch=h.epoch,
            state=h.state,
            segments=tuple(h.segments),
            devices=tuple(h.devices),
            sources=tuple(h.sources),
        )
        for h in reply.held
    )
    return AgentStatus(
        device=reply.device, version=reply.version, held=held,
        open_requests=reply.open_requests, last_sequence=reply.last_sequence,
        trouble=reply.trouble, lost=tuple(reply.lost),
    )  # fmt: skip
