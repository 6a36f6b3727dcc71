"""Which plans a device holds and which one new requests follow.

staged (the manifest is known) -> prepared (loaded and warm) -> active -> previous (still warm) -> forgotten.
Epochs only grow. Every loaded epoch is served, so that a request ends under the plan it began with.
The active and the previous plan are remembered on the disk before a switch takes effect, and restored after a restart.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Literal

from runtimes.errors import AgentError, BadManifest, WrongState
from runtimes.state import Plans

if TYPE_CHECKING:
    from runtimes.assignment import Assignment
    from runtimes.loaded import LoadedPlan
    from runtimes.loaded_plans import LoadedPlans
    from runtimes.state import StateFile
    from runtimes.store import BlobStore

State = Literal["staged", "prepared", "active", "previous", "lost"]
# How long the plans of before a restart may take to load.
_RESTORE_TIMEOUT_S = 300.0

_LOG = logging.getLogger(__name__)


class Epochs:
    """The plans of one device.

    Parameters
    ----------
    device
        Its name.
    store
        Its model files.
    state
        What it remembers over a restart.
    plans
        What is loaded.
    max_message_bytes
        The largest message that its server takes.
    """

    def __init__(
        self, *, device: str, store: BlobStore, state: StateFile, plans: LoadedPlans, max_message_bytes: int
    ) -> None:
        self.device = device
        self._store = store
        self._state = state
        self._plans = plans
        self._max_message_bytes = max_message_bytes
        # One change at a time, and loading is long.
        self._lock = threading.RLock()
        self._staged: Assignment | None = None
        self._active = 0
        self._previous = 0
        self._lost: Assignment | None = None
        self.trouble = ""
        """Why the plan that was active before a restart does not serve; empty where all is well."""

    def restore(self) -> None:
        """Serve again what was active before a restart; ``trouble`` says why, where that cannot be.

        Raises
        ------
        AgentError
            If the store is another device's.
        """
        try:
            plans = self._state.read()
        except WrongState as error:
            self.trouble = str(error)
            _LOG.error("%s", self.trouble)
            return
        if plans is None:
            return
        if plans.active.device != self.device:
            raise AgentError(
                f"{self._state.path} is of device {plans.active.device!r}, this agent is {self.device!r}; "
                f"give it a --store of its own, or start it with --name {plans.active.device}"
            )
        with self._lock:
            # Whether it can be loaded or not: what is behind it stays refused.
            self._active = plans.active.epoch
            if trouble := self._restore(plans.active):
                self._lost, self.trouble = plans.active, trouble
            if plans.previous is not None and not self._restore(plans.previous):
                self._previous = plans.previous.epoch
                # Clients can ask for it by its epoch.
                self._plans.forget_results(self._previous)

    def stage(self, assignment: Assignment) -> dict[str, int]:
        """Take a manifest in; an earlier one that was not prepared is forgotten for it.

        Returns
        -------
        dict
            The SHA-256 of each blob that is missing here, with the bytes of it that an upload has left.

        Raises
        ------
        BadManifest
            If it is for another device, its messages are too large here or an address is missing.
        WrongState
            If its epoch is behind the active or a staged one, or another plan has it.
        """
        self._check(assignment)
        with self._lock:
            held = self._held(assignment.epoch)
            if held is not None and held != assignment:
                raise WrongState(
                    f"epoch {assignment.epoch} has plan {held.plan!r} here, with another content; "
                    "deploy under a higher epoch"
                )
            if held is None and assignment.epoch <= self._active:
                raise WrongState(
                    f"epoch {assignment.epoch} of plan {assignment.plan!r} is not above the active "
                    f"epoch {self._active} of device {self.device!r}; deploy under a higher one"
                )
            if held is None and self._staged is not None and assignment.epoch < self._staged.epoch:
                raise WrongState(
                    f"epoch {assignment.epoch} of plan {assignment.plan!r} is behind epoch {self._staged.epoch}, which "
                    f"plan {self._staged.plan!r} is staged under on device {self.device!r}; deploy under a higher one"
                )
            if held is None:
                self._staged = assignment
                self._collect()
        return {blob: self._store.received(blob) for blob in assignment.blobs() if not self._store.has(blob)}

    def blob_bytes(self, sha256: str) -> int:
        """Size of a blob that a held manifest names.

        Raises
        ------
        WrongState
            If none does: only those are stored here.
        """
        for assignment, _ in self.states():
            if sha256 in (blobs := assignment.blobs()):
                return blobs[sha256]
        raise WrongState(f"no manifest on device {self.device!r} names blob {sha256[:80]!r}; stage it first")

    def prepare(self, plan: str, epoch: int, timeout_s: float) -> LoadedPlan:
        """Load and warm up a staged plan; doing it twice is harmless.

        Raises
        ------
        WrongState
            If that plan is not staged under that epoch.
        AgentError
            If a blob is missing or damaged, or a segment cannot be loaded or run.
        """
        with self._lock:
            if self._plans.of(epoch) is not None:
                return self.loaded(plan, epoch)
            assignment = self._staged
            if assignment is None or (assignment.plan, assignment.epoch) != (plan, epoch):
                staged = "none" if assignment is None else f"{assignment.plan!r} at {assignment.epoch}"
                raise WrongState(
                    f"plan {plan!r} is not staged under epoch {epoch} on device {self.device!r}; staged is {staged}"
                )
            opened = self._plans.open(assignment, timeout_s)
            self._staged = None
            # A candidate that a later one overtook will not be activated any more.
            self._plans.keep({self._active, self._previous})
            self._plans.add(opened)
            return opened[0]

    def activate(self, plan: str, epoch: int) -> None:
        """Let new requests follow a loaded plan; doing it twice is harmless.

        Raises
        ------
        WrongState
            If it is not loaded or its epoch is behind the active one.
        Exhausted
            If the disk has no room to remember it; the old plan then serves on.
        """
        with self._lock:
            loaded = self.loaded(plan, epoch)
            if loaded is not self._plans.of(epoch):
                raise WrongState(f"plan {plan!r} is a fallback under epoch {epoch}; activate the plan that it is for")
            if epoch < self._active:
                raise WrongState(
                    f"epoch {epoch} of plan {plan!r} is behind the active epoch {self._active} of "
                    f"device {self.device!r}"
                )
            if epoch > self._active:
                self._switch([loaded])

    def rollback(self, epoch: int, plan: str = "") -> LoadedPlan:
        """Let new requests follow a plan that is held as the previous or the active one, under a new epoch.

        Parameters
        ----------
        epoch
            The new one.
        plan
            Which plan; the previous one if not given.

        Raises
        ------
        WrongState
            If there is no such plan, or the epoch is not above all that are held.
        Exhausted
            If the disk has no room to remember it; the active plan then serves on.
        """
        with self._lock:
            # The later one of two: a plan may have been deployed twice, with other addresses for one.
            held = (self._plans.of(self._active), self._plans.of(self._previous))
            found = next((p for p in held if p is not None and p.assignment.plan == plan), None) if plan else held[1]
            if found is None:
                raise WrongState(
                    f"device {self.device!r} holds no {f'plan {plan!r}' if plan else 'previous plan'} to go back to"
                )
            highest = max(assignment.epoch for assignment, _ in self.states())
            if epoch <= highest:
                raise WrongState(f"epoch {epoch} is not above {highest}, the highest on device {self.device!r}")
            opened = self._plans.renewed(found, epoch)
            self._switch(opened)
            return opened[0]

    @property
    def active(self) -> LoadedPlan | None:
        """The plan that new requests follow."""
        return self._plans.of(self._active)

    def loaded(self, plan: str, epoch: int) -> LoadedPlan:
        """Give a loaded plan, or a fallback of one, which is loaded if it was not.

        Raises
        ------
        WrongState
            If that plan is not held under that epoch.
        AgentError
            If the fallback cannot be loaded.
        """
        found = self._plans.find(plan, epoch)
        if found is None:
            loaded = ", ".join(f"{p.assignment.plan!r} at {p.epoch}" for p in self._plans.all()) or "none"
            raise WrongState(
                f"device {self.device!r} does not hold plan {plan!r} under epoch {epoch}; loaded are {loaded}"
            )
        return found

    def share(self, plan: str, epoch: int) -> Assignment | None:
        """Give this device's share of a plan or a fallback that is held, loaded or not; None if it is not held."""
        main = self._plans.of(epoch)
        return None if main is None else main.assignment.share(plan)

    def of_epoch(self, epoch: int) -> LoadedPlan | None:
        """Give the plan loaded under an epoch."""
        return self._plans.of(epoch)

    def states(self) -> tuple[tuple[Assignment, State], ...]:
        """Every plan held, by epoch, with its state."""
        held: list[tuple[Assignment, State]] = [] if self._staged is None else [(self._staged, "staged")]
        held += [(plan.assignment, self._state_of(plan.epoch)) for plan in self._plans.all()]
        if self._lost is not None:
            held.append((self._lost, "lost"))
        return tuple(sorted(held, key=lambda pair: pair[0].epoch))

    def _state_of(self, epoch: int) -> State:
        if epoch == self._active:
            return "active"
        return "previous" if epoch == self._previous else "prepared"

    def _check(self, assignment: Assignment) -> None:
        if assignment.device != self.device:
            raise BadManifest(
                f"the assignment is for device {assignment.device!r}, this is {self.device!r}; look at the addresses"
            )
        if assignment.max_message_bytes > self._max_message_bytes:
            raise BadManifest(
                f"max_message_bytes is {assignment.max_message_bytes}, this agent takes "
                f"{self._max_message_bytes}; start it with a larger --max-message-bytes"
            )
        for each in assignment.every():
            if missing := sorted(each.required_peers() - each.peers.keys()):
                raise BadManifest(f"peers has no address for {missing}")

    def _held(self, epoch: int) -> Assignment | None:
        loaded = self._plans.of(epoch)
        if loaded is not None:
            return loaded.assignment
        return self._staged if self._staged is not None and self._staged.epoch == epoch else None

    def _restore(self, assignment: Assignment) -> str:
        """Load a plan of before a restart; returns why that cannot be."""
        try:
            self._check(assignment)
            self._plans.add(self._plans.open(assignment, _RESTORE_TIMEOUT_S))
        except AgentError as error:
            why = f"plan {assignment.plan!r} of epoch {assignment.epoch} cannot be served after the restart: {error}"
            _LOG.error("%s", why)
            return f"{why}; deploy a plan again"
        return ""

    def _collect(self) -> None:
        """Remove the model files that no plan held here names."""
        self._store.keep({blob for assignment, _ in self.states() for blob in assignment.blobs()})

    def _switch(self, opened: list[LoadedPlan]) -> None:
        """Follow the first of these from now on."""
        plan = opened[0]
        former = self._plans.of(self._active)
        # Remembered first: what a caller was told is active is so after a power cut, too.
        self._state.write(Plans(active=plan.assignment, previous=None if former is None else former.assignment))
        self._plans.add(opened)
        self._previous, self._active = self._active, plan.epoch
        if self._staged is not None and self._staged.epoch < plan.epoch:
            self._staged = None
        self._lost, self.trouble = None, ""
        # It stays warm, but what it made of users' data goes.
        self._plans.forget_results(self._previous)
        self._plans.keep({self._active, self._previous})
        self._collect()
