"""The part of the relaxation that belongs to one flow: options, pairs of options, transfers, conversions, caps."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from placer.solver.blocks import blocks_of
from placer.solver.latency_terms import add_latency
from placer.solver.scale import Scale
from placer.solver.segment_terms import add_segments
from placer.solver.terms import Terms, add_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ortools.math_opt.python import mathopt

    from placer.index import FlowIndex, OptionIndex
    from placer.solver.latency_terms import Clock
    from placer.solver.relaxation import Relaxation


class FlowRelaxation:
    """Variables and expressions of one flow; times are multiplied by `scale.time`, joules by `scale.energy`."""

    def __init__(self, parent: Relaxation, flow: FlowIndex, horizon_s: float) -> None:
        self.parent, self.index = parent, flow
        self.problem = parent.index
        self.model, self.scale = parent.model, Scale.of(parent.index, flow, horizon_s, parent.finer)
        devices = len(self.problem.devices)
        self.energy: dict[int, Terms] = {d: {} for d in range(-1, devices)}
        """Joules per inference by device; -1 is the network."""
        self.network: dict[int, Terms] = {}
        """The network's joules by link: what stands in `energy[-1]`, taken apart."""
        self.device_s: list[Terms] = [{} for _ in range(devices)]
        self.medium_s: list[Terms] = [{} for _ in self.problem.media]
        self.blocks = blocks_of(flow)
        self.latency: Terms = {}
        """On busy connections; empty where nothing depends on it."""
        self.clocks: list[Clock] = []
        self.serial: Terms = {}
        self.begun: list[dict[tuple[int, int], Terms]] = [{} for _ in range(flow.size)]
        """For each op and place (device, mode), its part of the count of segments; empty where they cost nothing."""
        self._options()
        self._pairs()
        self._colocate()
        self._compute()
        self._transfers()
        add_segments(self)
        add_latency(self)
        self._caps()

    def allowed(self, v: int, o: OptionIndex) -> bool:
        """Whether an op may take an option, given the devices that must not hold its tensors."""
        flow = self.index
        return not any(o.device in flow.tensors[t].not_on for t in (*flow.inputs[v], *flow.outputs[v]))

    def _options(self) -> None:
        """sum_o x_vo = 1."""
        self.x: list[list[mathopt.Variable]] = []
        for v, options in enumerate(self.index.options):
            xs = [
                self.model.add_variable(lb=0.0, ub=1.0 if self.allowed(v, o) else 0.0, is_integer=True) for o in options
            ]
            self.x.append(xs)
            self.parent.row(dict.fromkeys(xs, 1.0), lower=1.0, upper=1.0)

    def _pairs(self) -> None:
        """sum_b z_uv,ab = x_ua, sum_a z_uv,ab = x_vb; z = 0 where no link joins the devices (local polytope)."""
        self.pair: dict[tuple[int, int], dict[tuple[int, int], mathopt.Variable]] = {}
        for v in range(self.index.size):
            for u in self.index.predecessors[v]:
                pairs: dict[tuple[int, int], mathopt.Variable] = {}
                for a, left in enumerate(self.index.options[u]):
                    for b, right in enumerate(self.index.options[v]):
                        if self._joined(left, right):
                            pairs[a, b] = self._pair_variable(u, v, a, b)
                self.pair[u, v] = pairs
                for a, x in enumerate(self.x[u]):
                    self._marginal(x, [z for (i, _), z in pairs.items() if i == a])
                for b, x in enumerate(self.x[v]):
                    self._marginal(x, [z for (_, j), z in pairs.items() if j == b])

    def _joined(self, left: OptionIndex, right: OptionIndex) -> bool:
        return left.device == right.device or (left.device, right.device) in self.problem.link_at

    def _pair_variable(self, u: int, v: int, a: int, b: int) -> mathopt.Variable:
        if len(self.x[u]) == 1:
            return self.x[v][b]
        if len(self.x[v]) == 1:
            return self.x[u][a]
        return self.model.add_variable(lb=0.0, ub=1.0)

    def _marginal(self, x: mathopt.Variable, zs: list[mathopt.Variable]) -> None:
        terms: Terms = {}
        add_to(terms, [(z, 1.0) for z in zs])
        add_to(terms, [(x, -1.0)])
        if any(terms.values()):
            self.parent.row(terms, lower=0.0, upper=0.0)

    def _colocate(self) -> None:
        """sum_{o on d} x_uo = sum_{o on d} x_vo for the ops of a group."""
        for group in self.index.flow.colocate:
            first = self.index.position[group[0]]
            for name in group[1:]:
                other = self.index.position[name]
                for d in range(len(self.problem.devices)):
                    terms: Terms = {}
                    add_to(terms, [(x, 1.0) for x in self.on_device(first, d)])
                    add_to(terms, [(x, -1.0) for x in self.on_device(other, d)])
                    if any(terms.values()):
                        self.parent.row(terms, lower=0.0, upper=0.0)

    def on_device(self, v: int, d: int) -> list[mathopt.Variable]:
        """Return the variables of op v's options on device d."""
        return [x for x, o in zip(self.x[v], self.index.options[v], strict=True) if o.device == d]

    def _compute(self) -> None:
        for v, options in enumerate(self.index.options):
            for x, o in zip(self.x[v], options, strict=True):
                share = self.index.share[v]
                add_to(self.energy[o.device], [(x, o.joules * share * self.scale.energy)])
                add_to(self.device_s[o.device], [(x, o.seconds * share * self.scale.time)])
                add_to(self.serial, [(x, o.seconds * self.scale.time)])

    def _transfers(self) -> None:
        """y_t,a,d,k >= sum_{b on d} z_uc,ab for consumers c of at least the k-th share: sent once per device."""
        self.used: dict[int, mathopt.Variable] = {}
        for t, tensor in enumerate(self.index.tensors):
            u = tensor.producer
            for a, left in enumerate(self.index.options[u]):
                size = self.index.bytes_of(t, a)
                for d in range(len(self.problem.devices)):
                    k = self.problem.link_at.get((left.device, d))
                    if k is not None:
                        self._send(k, size, self._reaches(u, tensor.consumers, a, d))
                self._convert(t, a, size)

    def _reaches(self, u: int, consumers: Iterable[int], a: int, d: int) -> list[tuple[float, Terms]]:
        """For each consumer that may be on device d: its share and the expression that says it is."""
        found = []
        for c in consumers:
            terms: Terms = {}
            for (i, b), z in self.pair[u, c].items():
                if i == a and self.index.options[c][b].device == d:
                    add_to(terms, [(z, 1.0)])
            if terms:
                found.append((self.index.share[c], terms))
        return found

    def _largest(self, reached: list[tuple[float, Terms]]) -> list[tuple[float, Terms]]:
        """Write the largest share among consumers as sum of (share step) x (any consumer of at least it)."""
        steps = []
        below = 0.0
        for share in sorted({s for s, _ in reached}):
            group = [terms for s, terms in reached if s >= share]
            steps.append((share - below, group[0] if len(group) == 1 else self._any(group)))
            below = share
        return steps

    def _any(self, group: list[Terms]) -> Terms:
        y = self.model.add_variable(lb=0.0, ub=1.0)
        for terms in group:
            self.parent.row({y: 1.0, **{z: -c for z, c in terms.items()}}, lower=0.0)
        return {y: 1.0}

    def _send(self, k: int, size: float, reached: list[tuple[float, Terms]]) -> None:
        if not reached:
            return
        link = self.problem.links[k]
        joules = (link.energy_j_per_transfer + size * link.energy_j_per_byte) * self.scale.energy
        seconds = size / link.bytes_per_s * self.scale.time
        steps = self._largest(reached)
        for share, terms in steps:
            self._charge_link(k, terms, joules * share)
            add_to(self.medium_s[self.problem.medium_of[k]], terms.items(), seconds * share)
        anyone = self._any([terms for _, terms in reached]) if len(steps) > 1 else steps[0][1]
        add_to(self.serial, anyone.items(), seconds + link.latency_s * self.scale.time)
        if link.tail_j:
            if k not in self.used:
                self.used[k] = self.model.add_variable(lb=0.0, ub=1.0)
                self._charge_link(k, {self.used[k]: 1.0}, link.tail_j * self.scale.energy)
            self.parent.row({self.used[k]: 1.0, **{z: -c for z, c in anyone.items()}}, lower=0.0)

    def _charge_link(self, k: int, terms: Terms, joules: float) -> None:
        link = self.problem.links[k]
        sender, receiver = link.sender_fraction, link.receiver_fraction
        places = self.problem.device_position
        add_to(self.energy[places[link.source]], terms.items(), joules * sender)
        add_to(self.energy[places[link.target]], terms.items(), joules * receiver)
        between = joules * max(0.0, 1 - sender - receiver)
        add_to(self.energy[-1], terms.items(), between)
        add_to(self.network.setdefault(k, {}), terms.items(), between)

    def _convert(self, t: int, a: int, size: float) -> None:
        tensor = self.index.tensors[t]
        left = self.index.options[tensor.producer][a]
        for mode in range(len(self.problem.mode_names)):
            cost = self.problem.conversion.get((left.device, left.mode, mode))
            if cost is None or mode == left.mode:
                continue
            reached = []
            for c in tensor.consumers:
                terms: Terms = {}
                for (i, b), z in self.pair[tensor.producer, c].items():
                    right = self.index.options[c][b]
                    if i == a and (right.device, right.mode) == (left.device, mode):
                        add_to(terms, [(z, 1.0)])
                if terms:
                    reached.append((self.index.share[c], terms))
            if reached:
                steps = self._largest(reached)
                for share, terms in steps:
                    add_to(self.energy[left.device], terms.items(), cost[1] * size * share * self.scale.energy)
                anyone = self._any([terms for _, terms in reached]) if len(steps) > 1 else steps[0][1]
                add_to(self.serial, anyone.items(), cost[0] * size * self.scale.time)

    def block_time(self, k: int, clock: Clock) -> Terms:
        """Express the time block k takes: from the separator before it to its end."""
        block = self.blocks[k]
        terms: Terms = dict(clock.latency) if block.end < 0 else {clock.time[block.end]: 1.0}
        if block.before >= 0:
            add_to(terms, [(clock.time[block.before], -1.0)])
        return terms

    @cached_property
    def _block_bytes(self) -> dict[int, float]:
        """For each op, the bytes of all that the ops of its block read."""
        found: dict[int, float] = {}
        for block in self.blocks:
            read = {t for v in block.ops for t in self.index.inputs[v]}
            total = sum(
                max(self.index.bytes_of(t, a) for a in range(len(self.index.options[self.index.tensors[t].producer])))
                for t in read
            )
            found |= dict.fromkeys(block.ops, total)
        return found

    def most_bytes(self, v: int) -> float:
        """Bytes that no message to op v exceeds: what leaves a segment together is read within one block."""
        return self._block_bytes[v]

    def block_begun(self, k: int, place: tuple[int, int]) -> Terms:
        """Express how many segments begin in block k at a place (device, mode), or a lower bound of it."""
        terms: Terms = {}
        for v in self.blocks[k].ops:
            add_to(terms, self.begun[v].get(place, {}).items())
        return terms

    def begun_s(self, ops: Iterable[int], d: int) -> Terms:
        """Express the seconds that the segments beginning with some ops take to start on device d, or fewer."""
        terms: Terms = {}
        for v in ops:
            for place, begun in self.begun[v].items():
                if place[0] == d:
                    add_to(terms, begun.items(), self.problem.start[place][0])
        return terms

    def _caps(self) -> None:
        limits = self.problem.problem.limits
        name = self.index.name
        cap = self.parent.cap
        if name in limits.flow_energy_j:
            total: Terms = {}
            for terms in self.energy.values():
                add_to(total, terms.items(), 1.0 / self.scale.energy)
            cap(total, limits.flow_energy_j[name])
        for device, limit in limits.flow_device_energy_j.get(name, {}).items():
            terms = self.energy[self.problem.device_position[device]]
            cap({v: c / self.scale.energy for v, c in terms.items()}, limit)
        if name in limits.accuracy_cost:
            lost: Terms = {}
            for xs, options in zip(self.x, self.index.options, strict=True):
                add_to(lost, [(x, o.accuracy_cost) for x, o in zip(xs, options, strict=True)])
            cap(lost, limits.accuracy_cost[name])
