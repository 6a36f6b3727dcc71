"""What one choice of a part costs and takes from the others: a column of the master problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placer.evaluate import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.index import Choice
    from placer.solver.many.coupling import Array, PartRows
    from placer.solver.many.parts import Part


@dataclass(frozen=True, slots=True)
class Column:
    """A choice of one member of a part, with its figures; the referee's own, taken from `evaluate`."""

    choice: Choice
    cost: float
    """What one member adds to the objective, idle power of its private devices included."""
    takes: Array
    """(R,) what one member adds to each of the part's rows."""
    used: frozenset[int]
    """Site's positions of the devices that work."""
    held: frozenset[tuple[int, str]]
    """(site's position, weights_id) of weights on crowded devices."""
    bundle_bytes: Mapping[int, float]
    """Bytes of each bundle that it holds."""
    own_bytes: Mapping[int, float]
    """Bytes of weights that nobody shares, by crowded device."""
    workspace_bytes: Mapping[int, float]
    """The largest workspace, by crowded device."""
    allowed: bool
    """Whether it keeps every rule that a flow can break alone."""


def make_column(part: Part, rows: PartRows, choice: Choice) -> Column:
    """Evaluate a choice of a part.

    Parameters
    ----------
    part, rows
        The part and its coefficients.
    choice
        One option position per op.
    """
    judged = evaluate(part.index, (choice,))
    result, flow = judged.flows[0], part.flow
    devices = len(part.devices)
    joules = np.zeros(devices + len(part.links))
    for charge in result.charges:
        joules[charge.device if charge.device >= 0 else devices + charge.link] += charge.joules
    used = np.zeros(devices)
    held: dict[tuple[int, str], float] = {}
    bundles: dict[int, float] = {}
    own: dict[int, float] = {}
    workspace: dict[int, float] = {}
    crowded = set(rows.crowded)
    for op, options, o in zip(flow.flow.ops, flow.options, choice, strict=True):
        i = options[o].device
        if options[o].seconds > 0:
            used[i] = 1.0
        if i not in crowded:
            continue
        d = part.devices[i]
        workspace[d] = max(workspace.get(d, 0.0), op.workspace_bytes)
        if op.weights_id is None:
            own[d] = own.get(d, 0.0) + op.weights_bytes
        elif (d, op.weights_id) not in held:
            held[d, op.weights_id] = op.weights_bytes
            bundle = rows.bundle_of.get((i, op.weights_id))
            if bundle is not None:
                bundles[bundle] = bundles.get(bundle, 0.0) + op.weights_bytes
    return Column(
        choice=choice,
        cost=float(rows.cost_joule @ joules + rows.cost_idle @ used),
        takes=rows.busy @ result.device_s + rows.air @ result.medium_s + rows.joule @ joules + rows.idle @ used,
        used=frozenset(part.devices[i] for i in np.flatnonzero(used)),
        held=frozenset(held),
        bundle_bytes=bundles,
        own_bytes={d: b for d, b in own.items() if b},
        workspace_bytes=workspace,
        allowed=judged.feasible,
    )
