"""Itemizes what a plan spends: marginal (what it adds) and attributional (with its part of shared idle power)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.plan import Ledger, LedgerLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.evaluate import Charge, Evaluation
    from placer.index import FlowIndex, ProblemIndex


def make_ledger(
    index: ProblemIndex,
    evaluation: Evaluation,
    *,
    pue: Mapping[str, float] | None = None,
    origins: Mapping[tuple[str, str], str] | None = None,
) -> Ledger:
    """List every joule of an evaluated choice.

    Parameters
    ----------
    index, evaluation
        The problem and a choice's numbers.
    pue
        Power usage effectiveness by device; the facility's part is split off from the device's joules.
    origins
        Where figures come from, by (kind, device or link); "given" where not said.

    Notes
    -----
    Attributional idle: a device that is on anyway owes this plan idle_w times the fraction of time in which it
    works for it (shared by time). A device that is on for the plan owes all of it in both views.
    """
    pue, origins = pue or {}, origins or {}
    marginal: list[LedgerLine] = []
    for flow, result in zip(index.flows, evaluation.flows, strict=True):
        for charge in result.charges:
            marginal += _lines(index, flow, charge, pue, origins)
    shared: list[LedgerLine] = []
    for i, device in enumerate(index.devices):
        factor = pue.get(device.name, 1.0)
        if evaluation.idle_w[i] > 0:
            marginal += _split("idle", device.name, evaluation.idle_w[i], factor)
        elif device.always_on and device.idle_w and evaluation.device_utilization[i] > 0:
            power_w = device.idle_w * min(1.0, evaluation.device_utilization[i])
            shared += _split("idle", device.name, power_w, factor)
    return Ledger(marginal=tuple(marginal), attributional=(*marginal, *shared))


def _lines(
    index: ProblemIndex,
    flow: FlowIndex,
    charge: Charge,
    pue: Mapping[str, float],
    origins: Mapping[tuple[str, str], str],
) -> list[LedgerLine]:
    device = index.devices[charge.device].name if charge.device >= 0 else ""
    rate_hz = flow.flow.rate_hz
    link = f"{index.links[charge.link].source}->{index.links[charge.link].target}" if charge.link >= 0 else ""
    origin = origins.get((charge.kind, link or device), "given")
    # A link's joules at a device carry that device's facility too, except the network's part.
    factor = pue.get(device, 1.0)
    inner_j = charge.joules / factor
    parts = [(charge.kind, inner_j), ("facility", charge.joules - inner_j)]
    return [
        LedgerLine(
            kind=kind,  # type: ignore[arg-type]
            power_w=rate_hz * joules,
            flow=flow.name,
            device=device,
            link=link,
            energy_j=joules,
            origin=origin,
        )
        for kind, joules in parts
        if joules > 0
    ]


def _split(kind: str, device: str, power_w: float, factor: float) -> list[LedgerLine]:
    inner_w = power_w / factor
    parts = [(kind, inner_w), ("facility", power_w - inner_w)]
    return [LedgerLine(kind=k, power_w=w, device=device) for k, w in parts if w > 0]  # type: ignore[arg-type]
