"""From a site file to a plan: reads the models, costs them, builds the problem and solves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from placer.build import Built, build
from placer.costs import cost_table
from placer.errors import ProblemError
from placer.objective import UNITS
from placer.plan import Model
from placer.solve import solve
from placer.solver.outcome import OPTIMALITY_GAP
from profiles import Site, read_site

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from placer.graph import ModelGraph
    from placer.plan import Plan
    from placer.problem import Objective


def read_model(path: str | Path, inputs: Mapping[str, tuple[int, ...]] | None = None) -> ModelGraph:
    """Read a model file by its suffix.

    Parameters
    ----------
    path
        An .onnx or .tflite file.
    inputs
        Shapes that bind dynamic dimensions, by input.

    Raises
    ------
    ProblemError
        The suffix is another, or the file cannot be read as such a model.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        from placer.read_onnx import read_onnx

        return read_onnx(path, inputs or {})
    if suffix == ".tflite":
        from placer.read_tflite import read_tflite

        return read_tflite(path, inputs or {})
    raise ProblemError(f"{path}: the suffix {suffix!r} names no model format; give an .onnx or .tflite file")


def build_site(
    site: Site, *, also: Collection[Objective] = (), progress: Callable[[str], None] | None = None
) -> tuple[Built, dict[str, ModelGraph]]:
    """Read and cost the models of a site and build its problem.

    Parameters
    ----------
    also
        Objectives that the problem is to have the figures for, beside those that the site itself asks for.
    progress
        Called with a line of text before each longer step.

    Returns
    -------
    tuple
        The built problem, and each flow's model.

    Raises
    ------
    ProblemError
        A model cannot be read or costed, or a figure of energy, carbon or cost is missing.
    """
    graphs, costs = {}, {}
    for flow in site.flows:
        (stage,) = flow.stages
        path = site.directory / stage.model
        if progress is not None:
            progress(f"reading {stage.model}")
        graphs[flow.name] = read_model(path, stage.inputs)
        if progress is not None:
            progress(f"costing {stage.model} on {len(site.devices)} devices")
        costs[flow.name] = cost_table(graphs[flow.name], site.devices)
    return build(site, graphs, costs, also), graphs


def plan_site(
    site: Site | str | Path,
    *,
    time_limit_s: float = 60.0,
    gap: float = OPTIMALITY_GAP,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Plan:
    """Plan a whole site: where every op of every flow runs so that total joules are least.

    Parameters
    ----------
    site
        A site, or the path of a site.yaml.
    time_limit_s, gap, seed
        As `placer.solve`.
    progress
        Called with a line of text as the work goes on.

    Returns
    -------
    Plan
        With its models and the agents' addresses, ready to deploy.

    Raises
    ------
    profiles.ProfileError
        The site file is wrong.
    ProblemError
        A model or a figure is wrong.
    Infeasible
        No plan can meet the rules; named in the site's own words.
    NoPlanFound
        The time limit ended the search before any plan was found.
    """
    whole = site if isinstance(site, Site) else read_site(site)
    built, graphs = build_site(whole, progress=progress)
    return solve_built(whole, built, graphs, time_limit_s=time_limit_s, gap=gap, seed=seed, progress=progress)


def solve_built(
    site: Site,
    built: Built,
    graphs: Mapping[str, ModelGraph],
    *,
    time_limit_s: float = 60.0,
    gap: float = OPTIMALITY_GAP,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Plan:
    """Solve what `build_site` made; arguments and errors as `plan_site`."""

    def report(objective: float, bound: float) -> None:
        if progress is not None:
            unit = UNITS[site.objective]
            progress(f"solving: best {objective:.6g} {unit}, proven at least {bound:.6g} {unit}")

    return solve(
        built.problem,
        time_limit_s=time_limit_s,
        gap=gap,
        seed=seed,
        progress=report,
        built=built,
        name=site.name,
        models=tuple(
            Model(
                flow=flow.name,
                stage=flow.stages[0].name,
                path=str(Path(graphs[flow.name].path).resolve()),
                sha256=graphs[flow.name].sha256,
                inputs=dict(flow.stages[0].inputs),
            )
            for flow in site.flows
        ),
        agents={d.name: d.agent for d in site.devices if d.agent is not None},
    )
