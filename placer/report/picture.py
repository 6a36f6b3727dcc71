"""Draws plans and fronts as pictures: when each device and link works, where the joules go, what can be traded."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from placer.errors import ProblemError
from placer.objective import per_inference

if TYPE_CHECKING:
    from placer.plan import FlowPlan, Plan
    from placer.problem import Objective
    from placer.why.pareto import Front

_SUFFIXES = (".svg", ".png", ".pdf")
_COLOURS = {
    "compute": "#4269d0",
    "segment": "#97bbf5",
    "transfer": "#efb118",
    "conversion": "#9c6b4e",
    "wait": "#ff725c",
    "idle": "#9498a0",
    "facility": "#6cc5b0",
}


def draw_plan(plan: Plan, path: str | Path) -> None:
    """Draw the schedule of each flow and the power of each device, and write the picture to a file.

    Parameters
    ----------
    plan
        The plan.
    path
        A file ending in .svg, .png or .pdf.

    Raises
    ------
    ProblemError
        The suffix is another, matplotlib is missing, or the file cannot be written.
    """
    target, new_figure = _target(path)
    shown = plan.flows[:6]
    figure = new_figure(figsize=(10, 2.2 + 1.8 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown) + 1, 1, squeeze=False)[:, 0]
    for flow, axis in zip(shown, axes, strict=False):
        _schedule(flow, axis)
    _power(plan, axes[-1])
    more = f" (the first {len(shown)} of {len(plan.flows)} flows)" if len(plan.flows) > len(shown) else ""
    figure.suptitle(f"{plan.name or 'plan'}: {plan.status}{more}")
    _save(figure, target)


def draw_front(front: Front, path: str | Path) -> None:
    """Draw the plans of a front as points and what they allow as a staircase; arguments and errors as `draw_plan`."""
    target, new_figure = _target(path)
    figure = new_figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    scales = [_readable(front, objective) for objective in (front.second, front.first)]
    across, up = ([v[i] * factor for v in front.values] for i, (factor, _) in ((1, scales[0]), (0, scales[1])))
    axis.step(across, up, where="pre", color=_COLOURS["segment"], linewidth=1.5)
    axis.plot(across, up, "o", color=_COLOURS["compute"])
    axis.set_xlabel(scales[0][1])
    axis.set_ylabel(scales[1][1])
    axis.set_title(f"{len(front)} plans, {'all there are' if front.complete else 'not all there are'}", loc="left")
    _save(figure, target)


def _readable(front: Front, objective: Objective) -> tuple[float, str]:
    """Return the factor and the words for an axis."""
    factor, unit = per_inference(front.plans[0].problem, objective)
    name = objective.partition("_")[0]
    if objective == "latency_s":
        return factor * 1e3, f"{name}, ms"
    return factor, f"{name}, {unit} per inference" if unit in ("J", "g", "") else f"{name}, {unit}"


def _target(path: str | Path) -> tuple[Path, Any]:
    """Return where to save, and matplotlib's class of figures."""
    target = Path(path)
    if target.suffix not in _SUFFIXES:
        raise ProblemError(f"{path}: the suffix {target.suffix!r} names no picture; give one of {', '.join(_SUFFIXES)}")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ProblemError("pictures need matplotlib: pip install 'placer-joules[report]'") from None
    return target, Figure


def _save(figure: Any, target: Path) -> None:
    try:
        figure.savefig(target)
    except OSError as error:
        raise ProblemError(f"{target}: cannot be written: {error.strerror}; choose another path") from None


def _schedule(flow: FlowPlan, axis: Any) -> None:
    """Draw one inference: devices and links as lanes, time in milliseconds to the right."""
    lanes: dict[str, int] = {}
    for segment in sorted(flow.segments, key=lambda s: s.start_s):
        lane = lanes.setdefault(segment.device, len(lanes))
        axis.barh(lane, segment.seconds * 1e3, left=segment.start_s * 1e3, color=_COLOURS["compute"], height=0.6)
        if segment.seconds < flow.latency_s / 50:
            continue  # too narrow for words
        middle_s = (segment.start_s + segment.end_s) / 2
        axis.text(middle_s * 1e3, lane, f"{len(segment.ops)} ops", ha="center", va="center", color="white", fontsize=8)
    for transfer in flow.transfers:
        lane = lanes.setdefault(f"{transfer.source} to {transfer.target}", len(lanes))
        axis.barh(lane, transfer.seconds * 1e3, left=transfer.request_s * 1e3, color=_COLOURS["transfer"], height=0.6)
    axis.axvline(flow.latency_s * 1e3, color="black", linewidth=1)
    limit = ""
    if flow.deadline_s is not None:
        limit = f", deadline {flow.deadline_s * 1e3:g} ms"
        if flow.deadline_s <= 2 * flow.latency_s:
            # A far deadline would press the schedule into a corner; the title tells it.
            axis.axvline(flow.deadline_s * 1e3, color=_COLOURS["wait"], linewidth=1, linestyle="--")
    axis.set_title(f"{flow.name}: result after {flow.latency_s * 1e3:.4g} ms{limit}", loc="left", fontsize=9)
    axis.set_yticks(range(len(lanes)), list(lanes))
    axis.invert_yaxis()
    axis.set_xlim(left=0)
    axis.set_xlabel("milliseconds after the data arose")


def _power(plan: Plan, axis: Any) -> None:
    """Draw the marginal ledger: a bar for each device or link, stacked by kind."""
    spent: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in plan.ledger.marginal:
        spent[line.device or line.link.replace("->", " to ")][line.kind] += line.power_w
    places = list(spent)
    left = [0.0] * len(places)
    for kind, colour in _COLOURS.items():
        widths = [spent[place][kind] for place in places]
        if any(widths):
            axis.barh(range(len(places)), widths, left=left, color=colour, label=kind, height=0.6)
            left = [a + b for a, b in zip(left, widths, strict=True)]
    axis.set_yticks(range(len(places)), places)
    axis.invert_yaxis()
    axis.set_title(f"watts that the plan adds: {plan.ledger.marginal_w:.4g} W in all", loc="left", fontsize=9)
    axis.set_xlabel("watts")
    if places:
        axis.legend(loc="lower right", fontsize=8)
