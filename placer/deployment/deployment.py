"""Everything that a plan's devices need, as one value: an assignment each, and the model files."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from placer.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtimes.assignment import Assignment
    from runtimes.specs import FlowSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A plan, cut and ready to be put on its devices.

    Parameters
    ----------
    plan
        Identity of the plan.
    epoch
        Its turn on the site: above that of every plan deployed there before.
    assignments
        Each device's share, by device. Their ``peers`` are filled in when the addresses are known.
    blobs
        Model files by their SHA-256.

    Raises
    ------
    DeployError
        If the parts do not fit each other.
    """

    plan: str
    epoch: int
    assignments: Mapping[str, Assignment]
    blobs: Mapping[str, bytes]

    def __post_init__(self) -> None:
        """Check each part against the others."""
        object.__setattr__(self, "assignments", MappingProxyType(dict(self.assignments)))
        object.__setattr__(self, "blobs", MappingProxyType(dict(self.blobs)))
        if not self.assignments:
            raise DeployError(f"plan {self.plan!r} has no assignment")
        for sha256, data in self.blobs.items():
            if hashlib.sha256(data).hexdigest() != sha256:
                raise DeployError(f"the {len(data)} bytes filed as blob {sha256} have another digest")
        flows: dict[str, FlowSpec] = {}
        for device, assignment in self.assignments.items():
            self._check(device, assignment)
            for flow in assignment.flows:
                if flows.setdefault(flow.name, flow) != flow:
                    raise DeployError(f"flow {flow.name!r} is described in two ways, one of them on {device!r}")
                if absent := sorted(set(flow.devices) - self.assignments.keys()):
                    raise DeployError(f"flow {flow.name!r} passes {absent}, which have no assignment")

    def _check(self, device: str, assignment: Assignment) -> None:
        said = (assignment.device, assignment.plan, assignment.epoch)
        if said != (device, self.plan, self.epoch):
            raise DeployError(
                f"the assignment filed under device {device!r}, plan {self.plan!r}, epoch {self.epoch} "
                f"is for {said[0]!r}, {said[1]!r}, {said[2]}"
            )
        for segment in (segment for share in assignment.every() for segment in share.segments):
            data = self.blobs.get(segment.blob)
            if data is None:
                raise DeployError(f"segment {segment.name!r} needs blob {segment.blob}, which is not here")
            if len(data) != segment.blob_bytes:
                raise DeployError(
                    f"segment {segment.name!r} says its blob has {segment.blob_bytes} bytes; it has {len(data)}"
                )

    def at(self, epoch: int) -> Deployment:
        """Give the same plan under another epoch."""
        shares = {d: share.at(epoch) for d, share in self.assignments.items()}
        return dataclasses.replace(self, epoch=epoch, assignments=shares)

    def flow(self, name: str) -> FlowSpec:
        """Find a flow.

        Raises
        ------
        DeployError
            If there is none of that name.
        """
        flows = {flow.name: flow for assignment in self.assignments.values() for flow in assignment.flows}
        if name not in flows:
            raise DeployError(f"plan {self.plan!r} has no flow {name!r}; it has {sorted(flows)}")
        return flows[name]

    def conditional(self, flow: str) -> frozenset[str]:
        """Names of a flow's tensors that are not made for every request: where conditions hold, or once in so many."""
        shares = self.assignments.values()
        conditions = [c for a in shares for c in a.conditions if c.flow == flow]
        segments = [s for a in shares for s in a.segments if s.flow == flow]
        found = {c.makes.name for c in conditions} | {t.name for s in segments if s.every > 1 for t in s.outputs}
        steps = [({t.name for t in s.inputs}, {t.name for t in s.outputs}) for s in segments]
        size = -1
        while size < len(found):
            size = len(found)
            for reads, makes in steps:
                if reads & found:
                    found |= makes
        return frozenset(found)

    def sources_last(self) -> tuple[str, ...]:
        """Devices in the order of activation: a source starts requests only once the others can serve them."""
        sources = {flow.source for assignment in self.assignments.values() for flow in assignment.flows}
        return tuple(sorted(self.assignments, key=lambda device: device in sources))
