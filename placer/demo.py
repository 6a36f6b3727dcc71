"""The demo: plans a small site, runs the plan on three agents of this machine, and checks every result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from placer.deployment.assign import assign
from placer.deployment.compare import Row, compare
from placer.deployment.deploy import deploy
from placer.deployment.local_agents import local_agents
from placer.deployment.rehearse import rehearse
from placer.deployment.run import run
from placer.errors import RunError
from placer.models.onnx_run import open_session
from placer.planning import build_site, solve_built
from placer.rules import names, without
from placer.solver.solve import solve
from profiles import read_site

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from placer.plan import Plan
    from profiles import Site

FLOW = "inspect"
REQUESTS = 24
TOLERANCE = 1e-4
"""Largest relative difference between a cut model's output and the whole model's that counts as equal."""

_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The demo's plan, and the plan if nobody cared for privacy."""

    site: Site
    plan: Plan
    without_privacy: Plan


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What running the plan showed.

    Parameters
    ----------
    requests
        Images sent: the demo's, turned by 0, 90, 180 and 270 degrees in turn.
    answers
        What the cut model says of each of the four.
    right
        How many of all answers are the angle the image was turned by.
    largest_difference
        Largest relative difference between an output of the cut model and the whole model's.
    rows
        Planned, predicted and measured times.
    """

    requests: int
    answers: dict[str, str]
    right: int
    largest_difference: float
    rows: tuple[Row, ...]


def plan_demo(progress: Callable[[str], None] | None = None) -> Planned:
    """Plan the demo's site, with its privacy rules and without."""
    with resources.as_file(resources.files("placer.demo_data")) as folder:
        site = read_site(Path(folder) / "site.yaml")
        built, graphs = build_site(site, progress=progress)
        plan = solve_built(site, built, graphs, progress=progress)
    private = [rule for rule in names(built.problem) if rule in built.meanings]
    return Planned(site=site, plan=plan, without_privacy=solve(without(built.problem, private)))


def run_demo(planned: Planned, progress: Callable[[str], None] | None = None) -> Ran:
    """Deploy the plan to agents started here, send images through it, and stop the agents.

    Raises
    ------
    DeployError
        An agent did not start, or declined the plan.
    RunError
        A request failed, or an output differs from the whole model's.
    """
    from placer import demo_data
    from placer.demo_data.png import read_png
    from placer.demo_data.preprocess import preprocess
    from placer.deployment.assign import load_models

    tell = progress or (lambda _: None)
    plan = planned.plan
    image = read_png(demo_data.IMAGE.read_bytes())
    # np.rot90 turns the other way round than the labels count.
    feeds = [{demo_data.INPUT_NAME: preprocess(np.rot90(image, -k))} for k in range(4)]
    session = open_session(demo_data.MODEL.read_bytes(), threads=1)
    expected = [session.run(None, feed)[0] for feed in feeds]
    deployment = assign(plan, load_models(plan))
    tell("starting three agents on this machine")
    with local_agents([d.name for d in planned.site.devices]) as addresses:
        deploy(deployment, addresses, lambda device, step: tell(f"{device}: {step}"))
        tell("rehearsing: every segment and link alone, for a prediction")
        rehearsal = rehearse(plan, deployment, addresses, FLOW)
        measured = run(
            deployment,
            addresses,
            FLOW,
            [feeds[i % 4] for i in range(REQUESTS)],
            deadline_s=_DEADLINE_S,
            progress=lambda done: tell(f"running: {done} of {REQUESTS}"),
        )
    results = [next(iter(p.outputs.values())) for p in measured.passages]
    differences = [_difference(result, expected[i % 4]) for i, result in enumerate(results)]
    if not max(differences) <= TOLERANCE:
        raise RunError(f"the cut model's output differs from the whole model's by {max(differences):.1e} relative")
    return Ran(
        requests=len(results),
        answers={f"{90 * k} degrees": f"{demo_data.LABELS[int(np.argmax(results[k]))]} degrees" for k in range(4)},
        right=sum(int(np.argmax(r)) == i % 4 for i, r in enumerate(results)),
        largest_difference=max(differences),
        rows=compare(plan, FLOW, measured, rehearsal),
    )


def _difference(result: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    if result.shape != expected.shape or not np.isfinite(result).all():
        return math.inf
    return float(np.max(np.abs(result - expected)) / np.max(np.abs(expected)))
