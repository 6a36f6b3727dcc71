"""Which variant of a plan a request follows: the plan itself, or a fallback while something that it passes is lost.

The source decides, request by request, by what it sees and what the other agents tell it. A request keeps its variant
on its whole way, since every message names the variant's plan; so nobody needs to agree on anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtimes.errors import Unreachable
from runtimes.peers import Peer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from runtimes.assignment import Assignment, Fallback
    from runtimes.epochs import Epochs
    from runtimes.loaded import LoadedPlan
    from runtimes.peers import Peers


class Variants:
    """Chooses variants at the source.

    Parameters
    ----------
    epochs
        The plans that are held.
    peers
        The other agents, and what is known of them.
    """

    def __init__(self, epochs: Epochs, peers: Peers) -> None:
        self._epochs = epochs
        self._peers = peers

    def choose(self, plan: LoadedPlan, flow: str, tried: Collection[str] = ()) -> LoadedPlan:
        """Choose the variant of a plan by which a request of a flow can be served now.

        Parameters
        ----------
        plan
            The plan.
        flow
            The flow, which begins here.
        tried
            Plans of variants that have failed this request.

        Raises
        ------
        Unreachable
            If none can serve it; the message says what is lost.
        AgentError
            If the variant has to be loaded first, and cannot be.
        """
        main = plan.assignment
        if not main.fallbacks:
            return plan
        obstacle = self.obstacle(main, flow)
        if not obstacle and main.plan not in tried:
            return plan
        met = dict.fromkeys([obstacle] if obstacle else [])
        for share in _by_aptness(main.fallbacks, obstacle):
            if share.plan in tried or all(f.name != flow for f in share.flows):
                continue
            if also := self.obstacle(share, flow):
                met[also] = None
                continue
            return self._epochs.loaded(share.plan, main.epoch)
        raise Unreachable(_refusal(main, flow, obstacle, list(met)))

    def obstacle(self, share: Assignment, flow: str) -> tuple[str, ...]:
        """Give what keeps a variant from serving a flow: a device, or the two ends of a link; nothing if it can."""
        spec = next(f for f in share.flows if f.name == flow)
        views = {d: self._peers.view(Peer(d, share.peers[d])) for d in spec.devices if d != share.device}
        for device, view in views.items():
            # One that was never heard may be out of the source's reach; who sends to it knows better.
            if view.lost and view.heard:
                return (device,)
        for sender, receiver in spec.hops:
            cut = views[receiver].lost if sender == share.device else receiver in views[sender].misses
            if cut:
                return (sender, receiver)
        return ()


def _by_aptness(fallbacks: Iterable[Fallback], obstacle: tuple[str, ...]) -> list[Assignment]:
    """Put the fallback that was planned for just this loss first."""
    ordered = sorted(fallbacks, key=lambda fallback: set(fallback.lost) != set(obstacle))
    return [fallback.assignment for fallback in ordered if fallback.assignment is not None]


def _refusal(main: Assignment, flow: str, obstacle: tuple[str, ...], met: list[tuple[str, ...]]) -> str:
    lost = " and ".join(" to ".join(map(repr, each)) for each in met) or "what it passes"
    why = next((f.unserved[flow] for f in main.fallbacks if set(f.lost) == set(obstacle) and flow in f.unserved), "")
    return f"flow {flow!r} cannot be served: {lost} is lost" + (f", and no plan can do without: {why}" if why else "")
