"""What is loaded on a device: its plans by epoch, each with its fallbacks."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from runtimes.loaded import LoadedPlan, kept_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from runtimes.assignment import Assignment
    from runtimes.session import Session
    from runtimes.specs import SegmentSpec
    from runtimes.store import BlobStore

# How long a fallback that was not kept loaded may take to load.
_FALLBACK_TIMEOUT_S = 300.0

_LOG = logging.getLogger(__name__)


class LoadedPlans:
    """Loads plans, and finds them by epoch and identity; readers wait for nobody.

    Parameters
    ----------
    store
        The model files.
    open_segment
        Loads a segment and warms it up, within the given seconds.
    changed
        Called after every change of what is loaded, with the plans that are, fallbacks included.
    """

    def __init__(
        self, *, store: BlobStore, open_segment: Callable[[SegmentSpec, float], Session],
        changed: Callable[[tuple[LoadedPlan, ...]], None],
    ) -> None:  # fmt: skip
        self._store = store
        self._open_segment = open_segment
        self._changed = changed
        # Of changes: readers take the tables as they are, so a changed table is a new one.
        self._lock = threading.RLock()
        self._plans: dict[int, LoadedPlan] = {}
        self._fallbacks: dict[tuple[int, str], LoadedPlan] = {}
        # The epoch whose results were dropped last: what is loaded for it later keeps none either.
        self._forgotten: int | None = None

    def all(self) -> tuple[LoadedPlan, ...]:
        """Every plan, without its fallbacks."""
        return tuple(self._plans.values())

    def of(self, epoch: int) -> LoadedPlan | None:
        """Give the plan of an epoch."""
        return self._plans.get(epoch)

    def find(self, plan: str, epoch: int) -> LoadedPlan | None:
        """Give a plan, or a fallback of the epoch's plan, which is loaded now if it was not; None if there is none.

        Raises
        ------
        AgentError
            If the fallback cannot be loaded.
        """
        main = self._plans.get(epoch)
        if main is None or main.assignment.plan == plan:
            return main
        found = self._fallbacks.get((epoch, plan))
        share = main.assignment.share(plan)
        if found is not None or share is None:
            return found
        with self._lock:
            if (epoch, plan) not in self._fallbacks:
                _LOG.info("fallback %s of epoch %d is loaded now", plan, epoch)
                deadline = time.monotonic() + _FALLBACK_TIMEOUT_S
                self.add([self._open(main.assignment, share, self._under(epoch), deadline)])
                if epoch == self._forgotten:
                    self.forget_results(epoch)
            return self._fallbacks[epoch, plan]

    def open(self, assignment: Assignment, timeout_s: float) -> list[LoadedPlan]:
        """Load a plan and its warm fallbacks, and verify the model files of the others; nothing is found here yet.

        Returns
        -------
        list
            The plan, then the fallbacks.

        Raises
        ------
        AgentError
            If a model file is missing or damaged, or a segment cannot be loaded or run.
        """
        cold = {f.assignment.plan for f in assignment.fallbacks if f.assignment is not None and not f.warm}
        deadline = time.monotonic() + timeout_s
        opened: list[LoadedPlan] = []
        for share in assignment.every():
            if share.plan in cold:
                for segment in share.segments:
                    self._store.read(segment.blob)
            else:
                opened.append(self._open(assignment, share, opened, deadline))
        return opened

    def renewed(self, plan: LoadedPlan, epoch: int) -> list[LoadedPlan]:
        """Give a plan and its loaded fallbacks under another epoch, with the sessions that they have."""
        sessions = {each.assignment.plan: each.sessions for each in self._under(plan.epoch)}
        main = plan.assignment.at(epoch)
        opened: list[LoadedPlan] = []
        for share in main.every():
            if share.plan in sessions:
                opened.append(_loaded(main, share, sessions[share.plan], opened))
        return opened

    def add(self, opened: Iterable[LoadedPlan]) -> None:
        """Let what was opened be found: a plan before its fallbacks."""
        with self._lock:
            for loaded in opened:
                main = self._plans.get(loaded.epoch)
                if main is None or main.assignment.plan == loaded.assignment.plan:
                    self._plans = {**self._plans, loaded.epoch: loaded}
                else:
                    self._fallbacks = {**self._fallbacks, (loaded.epoch, loaded.assignment.plan): loaded}
            self._tell()

    def keep(self, epochs: set[int]) -> None:
        """Let go of the plans of all other epochs."""
        with self._lock:
            self._plans = {epoch: plan for epoch, plan in self._plans.items() if epoch in epochs}
            self._fallbacks = {key: plan for key, plan in self._fallbacks.items() if key[0] in epochs}
            self._tell()

    def forget_results(self, epoch: int) -> None:
        """Drop what the caches under an epoch hold; they keep nothing from now on."""
        self._forgotten = epoch
        for plan in self._under(epoch):
            for cache in plan.caches.values():
                cache.close()

    def _open(self, main: Assignment, share: Assignment, others: Sequence[LoadedPlan], deadline: float) -> LoadedPlan:
        # A segment that is the same in a plan and its fallbacks is loaded once.
        known = {session.spec: session for plan in others for session in plan.sessions.values()}
        for spec in share.segments:
            if spec not in known:
                known[spec] = self._open_segment(spec, max(0.001, deadline - time.monotonic()))
        return _loaded(main, share, {spec.name: known[spec] for spec in share.segments}, others)

    def _under(self, epoch: int) -> list[LoadedPlan]:
        """Everything loaded under an epoch, the plan first."""
        fallbacks = [plan for (at, _), plan in self._fallbacks.items() if at == epoch]
        return [self._plans[epoch], *fallbacks] if epoch in self._plans else fallbacks

    def _tell(self) -> None:
        self._changed((*self._plans.values(), *self._fallbacks.values()))


def _loaded(
    main: Assignment, share: Assignment, sessions: Mapping[str, Session], others: Sequence[LoadedPlan]
) -> LoadedPlan:
    segments = [(plan, s) for plan in others for s in plan.assignment.segments if s.cache_bytes is not None]
    caches = {kept_of(s): plan.caches[s.name] for plan, s in segments}
    return LoadedPlan(share, sessions, variant="" if share.plan == main.plan else share.plan, caches=caches)
