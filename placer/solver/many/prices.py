"""Prices of what flows share, and a flow's own problem at such prices: a problem again.

The site's problem, with x_f the choice of flow f, X_f the choices that keep every rule of f alone, on_d in {0, 1}
for shared devices that can be switched, B_b in [0, size_b] the bytes of bundle b that its device holds:

    min  sum_f cost(x_f) + sum_d on_cost_d on_d
    s.t. x_f in X_f
         sum_f takes_r(x_f) + sum_d on_row_rd on_d <= cap_r                    for each row r        (price p_r)
         sum_{f in g} [x_f uses d] <= count_g on_d                             part g, device d      (price n_gd)
         sum_{f in g} bytes_b(x_f) <= count_g B_b                              part g, bundle b      (price w_gb)
         sum_{b on d} B_b + sum_f own_bytes_d(x_f) <= memory_d                 crowded device d      (price m_d)

Every plan of the site satisfies these lines (the largest workspace, which also needs memory, is left out). So for
any prices >= 0, adding each line's left side less its right side, times its price, adds nothing positive, and

    bound = sum_g count_g min_{x in X_g} [cost(x) + p . takes(x) + sum_d n_gd [x uses d] + sum_b w_gb bytes_b(x)
                                          + sum_d m_d own_bytes_d(x)]
            + sum_d min(0, on_cost_d + p . on_row_d - sum_g count_g n_gd)
            + sum_b size_b min(0, m_d(b) - sum_g count_g w_gb)  -  p . cap  -  m . memory

is at most the objective of every plan: the minimum over each factor alone is at most its value in the plan. The
inner minimum is a problem with one flow, `priced` below; a larger set than X_g or a smaller price than stated only
lowers it, which keeps the bound valid. Both are used where the format cannot say the price:

- limits on joules are left out of X_g where joules are priced, since priced joules are not those of the limit;
  they are rows of the master problem instead (placer/solver/many/coupling.py);
- the price of weights that several ops of the flow share is divided among these ops;
- at rate 0 or share 0, where joules count nothing, prices per second, byte and joule are left out.

With all base costs 0 a bound above 0 proves that no plan keeps all the rules (Farkas).
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.index import OptionIndex, ProblemIndex
    from placer.solver.many.coupling import Array, Coupling, PartRows
    from placer.solver.many.parts import Part


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices per unit of each line above; none is negative, absent ones are 0."""

    rows: Array
    """(R,)"""
    on: Mapping[tuple[int, int], float]
    """(part, device)"""
    weights: Mapping[tuple[int, int], float]
    """(part, bundle), per byte"""
    memory: Mapping[int, float]
    """device, per byte"""
    base: float = 1.0
    """1, or 0 where only the rules matter and costs do not."""

    def mixed(self, other: Prices, weight: float) -> Prices:
        """Return `weight` of the other prices and the rest of these: valid prices too."""

        def mix(a: Mapping, b: Mapping) -> dict:  # type: ignore[type-arg]
            keys = sorted({*a, *b})
            return {k: (1 - weight) * a.get(k, 0.0) + weight * b.get(k, 0.0) for k in keys}

        return Prices(
            (1 - weight) * self.rows + weight * other.rows,
            mix(self.on, other.on),
            mix(self.weights, other.weights),
            mix(self.memory, other.memory),
            self.base,
        )


def no_prices(coupling: Coupling) -> Prices:
    """Prices at which everybody does what is best for himself."""
    return Prices(np.zeros(len(coupling.caps)), {}, {}, {})


def offset(coupling: Coupling, counts: tuple[int, ...], prices: Prices) -> float:
    """Return what the bound adds to the parts' minima; never positive.

    Parameters
    ----------
    coupling
        The site's rows.
    counts
        Members of each part.
    prices
        Any prices.
    """
    charged = dict.fromkeys(coupling.switched, 0.0)
    for (g, d), price in prices.on.items():
        charged[d] += counts[g] * price
    total = -float(prices.rows @ coupling.caps)
    for d, paid in charged.items():
        own = prices.base * coupling.on_cost[d] + sum(prices.rows[r] * w for r, w in coupling.on_rows[d])
        total += min(0.0, own - paid)
    asked = [0.0] * len(coupling.bundles)
    for (g, b), price in prices.weights.items():
        asked[b] += counts[g] * price
    for b, bundle in enumerate(coupling.bundles):
        total += bundle.bytes * min(0.0, prices.memory.get(bundle.device, 0.0) - asked[b])
    # The referee accepts a memory that is exceeded by its tolerance, as it does with rows.
    return total - sum(p * coupling.crowded[d] * (1 + 1e-9) for d, p in prices.memory.items())


def priced(part: Part, rows: PartRows, g: int, prices: Prices) -> ProblemIndex:
    """Return a part's problem with prices added to what it spends; its objective is the bound's inner minimum.

    Parameters
    ----------
    part, rows, g
        The part, its coefficients and its position.
    prices
        What the rest of the site asks for what it shares.
    """
    flow, index, rate_hz = part.flow, part.index, part.rate_hz
    paid = prices.rows[list(rows.rows)]
    devices = len(part.devices)
    per_second, per_air = paid @ rows.busy, paid @ rows.air
    joule = prices.base * rows.cost_joule + paid @ rows.joule
    weight = _weight_prices(part, rows, g, prices)
    if rate_hz > 0:
        # Everything below is multiplied by the rate again when it is added up; at rate 0 nothing counts.
        joule, per_second, per_air = joule / rate_hz, per_second / rate_hz, per_air / rate_hz
    else:
        joule, per_second, per_air = np.ones_like(joule), np.zeros_like(per_second), np.zeros_like(per_air)
    idle = prices.base * rows.cost_idle + paid @ rows.idle
    for i, d in enumerate(part.devices):
        if not part.private[i]:
            idle[i] = prices.on.get((g, d), 0.0)
    plain = bool((joule == 1.0).all() and not per_second.any() and not per_air.any() and not weight)
    result = copy.copy(index)
    result.problem = part.limited if plain else part.bare
    result.devices = tuple(
        msgspec.structs.replace(
            device,
            idle_w=device.idle_w if device.always_on else float(idle[i]),
            wait_w=float(device.wait_w * joule[i]),
        )
        for i, device in enumerate(index.devices)
    )
    links = []
    for k, link in enumerate(index.links):
        sender, receiver = index.device_position[link.source], index.device_position[link.target]
        rest = max(0.0, 1.0 - link.sender_fraction - link.receiver_fraction)
        factor = float(
            joule[sender] * link.sender_fraction + joule[receiver] * link.receiver_fraction + joule[devices + k] * rest
        )
        per_byte = float(per_air[index.medium_of[k]]) / link.bytes_per_s
        links.append(
            msgspec.structs.replace(
                link,
                energy_j_per_byte=link.energy_j_per_byte * factor + per_byte,
                energy_j_per_transfer=link.energy_j_per_transfer * factor,
                tail_j=link.tail_j * factor,
            )
        )
    result.links = tuple(links)
    result.start = {
        (i, m): (seconds, float(joules * joule[i] + seconds * per_second[i]))
        for (i, m), (seconds, joules) in index.start.items()
    }
    result.conversion = {key: (s, j * float(joule[key[0]])) for key, (s, j) in index.conversion.items()}
    repriced = copy.copy(flow)
    repriced.options = tuple(
        tuple(_priced_option(o, joule, per_second, weight.get((v, o.device), 0.0)) for o in options)
        for v, options in enumerate(flow.options)
    )
    result.flows = (repriced,)
    return result


def _priced_option(option: OptionIndex, joule: Array, per_second: Array, extra: float) -> OptionIndex:
    d = option.device
    return replace(option, joules=float(option.joules * joule[d] + option.seconds * per_second[d] + extra))


def _weight_prices(part: Part, rows: PartRows, g: int, prices: Prices) -> dict[tuple[int, int], float]:
    """Joules to add to an op's option on a crowded device, by op and local device, for the weights it holds there."""
    found: dict[tuple[int, int], float] = {}
    flow = part.flow
    if part.rate_hz <= 0:
        return found
    sharing = Counter(op.weights_id for op in flow.flow.ops)
    for i in rows.crowded:
        own = prices.memory.get(part.devices[i], 0.0)
        for v, op in enumerate(flow.flow.ops):
            if op.share <= 0 or op.weights_bytes <= 0:
                continue
            if op.weights_id is None:
                price = own
            else:
                bundle = rows.bundle_of.get((i, op.weights_id))
                price = 0.0 if bundle is None else prices.weights.get((g, bundle), 0.0) / sharing[op.weights_id]
            if price:
                found[v, i] = price * op.weights_bytes / (part.rate_hz * op.share)
    return found
