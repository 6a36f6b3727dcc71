"""From a site file to a plan: reads the models, costs them, builds the problem and solves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from placer.build import Built, build
from placer.costs import CostTable, cost_table
from placer.errors import ProblemError, below
from placer.models.is_function import why_no_function
from placer.models.join_stages import check_reads, join_stages, known_shapes
from placer.objective import UNITS
from placer.plan import Model
from placer.solver.asked import check_asked
from placer.solver.outcome import OPTIMALITY_GAP
from placer.solver.solve import solve
from profiles import Flow, Site, read_site, split_origin, stage_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from placer.models.flow_graph import FlowGraph
    from placer.models.graph import ModelGraph
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
        from placer.models.read_onnx import read_onnx

        return read_onnx(path, inputs or {})
    if suffix == ".tflite":
        from placer.models.read_tflite import read_tflite

        return read_tflite(path, inputs or {})
    raise ProblemError(f"{path}: the suffix {suffix!r} names no model format; give an .onnx or .tflite file")


def read_flow(flow: Flow, directory: Path, *, progress: Callable[[str], None] | None = None) -> FlowGraph:
    """Read the models of a flow's stages and join them.

    Parameters
    ----------
    flow
        The flow.
    directory
        What the stages' paths are relative to.
    progress
        Called with a line of text before each model.

    Raises
    ------
    ProblemError
        A model cannot be read, an op that is wanted reads nothing, a stage with a cache is no function of its inputs,
        or the stages do not fit each other; the message begins with the path of the field below the flow.
    """
    graphs: dict[str, ModelGraph] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for stage in stage_order(flow.stages):
        if progress is not None:
            progress(f"reading {stage.model}")
        # Dynamic dimensions of a later stage follow from what the earlier ones make.
        reads = ", ".join(f"{tensor}: {origin}" for tensor, origin in stage.reads.items())
        with below(f"stages[{flow.stages.index(stage)}].model" + (f", which reads {{{reads}}}" if reads else "")):
            graph = graphs[stage.name] = read_model(directory / stage.model, known_shapes(stage, shapes))
        # Before a later stage is refused for a shape that does not follow from a name that is wrong.
        check_reads(flow, stage, graph)
        shapes |= {stage.reads[t.name]: t.shape for t in graph.inputs if t.name in stage.reads}
        shapes |= {f"{stage.name}/{t.name}": t.shape for t in graph.outputs}
    joined = join_stages(flow, graphs)
    for number, stage in enumerate(flow.stages):
        with below(f"stages[{number}].model"):
            _refuse_unstarted(joined.stages[stage.name])
        if stage.cache is not None and (why := why_no_function(joined.stages[stage.name])):
            raise ProblemError(
                f"stages[{number}].cache: {joined.stages[stage.name].path} gives other results for the same inputs: "
                f"{why}; leave the cache out"
            )
    return joined


def _refuse_unstarted(graph: ModelGraph) -> None:
    """Refuse an op that reads nothing: alone in its segment, it would wait on a device that hears of no request."""
    for op in graph.ops:
        if not op.inputs:
            raise ProblemError(
                f"{graph.path}: op {op.name!r} reads nothing of the data, so nothing tells a device to run it; where "
                f"{op.outputs[0]!r} is an output that no sink needs, name the others in the flow's `outputs`"
            )


def build_site(
    site: Site, *, also: Collection[Objective] = (), progress: Callable[[str], None] | None = None
) -> tuple[Built, dict[str, FlowGraph]]:
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
        The built problem, and each flow's graph.

    Raises
    ------
    ProblemError
        A model cannot be read or costed, or a figure of energy, carbon or cost is missing. What is wrong with a
        flow's models or rules names the field of the site's file.
    """
    graphs: dict[str, FlowGraph] = {}
    costs: dict[str, dict[str, CostTable]] = {}
    for flow in site.flows:
        with below(site.field_of(flow), "."):
            graphs[flow.name] = read_flow(flow, site.directory, progress=progress)
            costs[flow.name] = {}
            for index, stage in enumerate(flow.stages):
                graph = graphs[flow.name].stages[stage.name]
                if progress is not None:
                    progress(f"costing {Path(graph.path).name} on {len(site.devices)} devices")
                with below(f"stages[{index}].model"):
                    costs[flow.name][stage.name] = cost_table(graph, site.devices)
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
        A model, a figure or an argument is wrong.
    Infeasible
        No plan can meet the rules; named in the site's own words.
    NoPlanFound
        The time limit ended the search before any plan was found.
    """
    check_asked(time_limit_s=time_limit_s, gap=gap, seed=seed)
    if not isinstance(site, Site | str | Path):
        raise ProblemError(f"site: {site!r} is no site; give one that `profiles.read_site` read, or its file's path")
    whole = site if isinstance(site, Site) else read_site(site)
    built, graphs = build_site(whole, progress=progress)
    return solve_built(whole, built, graphs, time_limit_s=time_limit_s, gap=gap, seed=seed, progress=progress)


def solve_built(
    site: Site,
    built: Built,
    graphs: Mapping[str, FlowGraph],
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
                stage=stage.name,
                path=str(Path(graphs[flow.name].stages[stage.name].path).resolve()),
                sha256=graphs[flow.name].stages[stage.name].sha256,
                inputs=dict(stage.inputs),
                reads=dict(stage.reads),
                when=stage.when,
                every=stage.every,
                cache=stage.cache,
                outputs=tuple(output for name, output in map(split_origin, flow.outputs) if name == stage.name),
            )
            for flow in site.flows
            for stage in flow.stages
        ),
        agents={d.name: d.agent for d in site.devices if d.agent is not None},
        after_pauses=True,
    )
