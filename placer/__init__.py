"""Decides where inference runs: an exact, energy-minimal placement of cut models on devices.

The whole library in four lines::

    import placer

    plan = placer.plan_site("site.yaml")
    print(plan.status, plan.energy_j)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from placer.deployment.assign import assign, load_models
    from placer.deployment.assign_fallbacks import assign_all
    from placer.deployment.compare import compare
    from placer.deployment.deploy import deploy, deploy_once, next_epoch
    from placer.deployment.deployment import Deployment
    from placer.deployment.local_agents import local_agents
    from placer.deployment.run import Measured, Passage, run
    from placer.deployment.serving import Serving, read_serving, roll_back
    from placer.errors import DeployError, Infeasible, NoPlanFound, PlacerError, ProblemError, RunError
    from placer.fallbacks import add_fallbacks
    from placer.measuring.calibrate import Factor, calibrate
    from placer.measuring.calibrated_site import calibrated_site
    from placer.measuring.evidence import Evidence, ask_agents, read_evidence
    from placer.measuring.replan import Replan, replan
    from placer.models.cut import cut
    from placer.models.graph import ModelGraph
    from placer.plan import Plan, decode_plan, encode_plan, read_plan
    from placer.planning import build_site, plan_site, read_model
    from placer.problem import Problem, decode_problem, encode_problem, read_problem
    from placer.solver.solve import solve
    from placer.why.explain import Explanation, explain
    from placer.why.pareto import Front, pareto
    from placer.why.sensitivity import Sensitivity, sensitivity

_HOME = {
    "assign": "deployment.assign",
    "load_models": "deployment.assign",
    "assign_all": "deployment.assign_fallbacks",
    "Factor": "measuring.calibrate",
    "calibrate": "measuring.calibrate",
    "calibrated_site": "measuring.calibrated_site",
    "compare": "deployment.compare",
    "cut": "models.cut",
    "Measured": "deployment.run",
    "Passage": "deployment.run",
    "deploy": "deployment.deploy",
    "deploy_once": "deployment.deploy",
    "next_epoch": "deployment.deploy",
    "run": "deployment.run",
    "Deployment": "deployment.deployment",
    "DeployError": "errors",
    "Infeasible": "errors",
    "NoPlanFound": "errors",
    "PlacerError": "errors",
    "ProblemError": "errors",
    "RunError": "errors",
    "Evidence": "measuring.evidence",
    "ask_agents": "measuring.evidence",
    "read_evidence": "measuring.evidence",
    "Explanation": "why.explain",
    "explain": "why.explain",
    "add_fallbacks": "fallbacks",
    "ModelGraph": "models.graph",
    "local_agents": "deployment.local_agents",
    "Front": "why.pareto",
    "pareto": "why.pareto",
    "Plan": "plan",
    "decode_plan": "plan",
    "encode_plan": "plan",
    "read_plan": "plan",
    "build_site": "planning",
    "plan_site": "planning",
    "read_model": "planning",
    "Problem": "problem",
    "decode_problem": "problem",
    "encode_problem": "problem",
    "read_problem": "problem",
    "Replan": "measuring.replan",
    "replan": "measuring.replan",
    "Sensitivity": "why.sensitivity",
    "sensitivity": "why.sensitivity",
    "Serving": "deployment.serving",
    "read_serving": "deployment.serving",
    "roll_back": "deployment.serving",
    "solve": "solver.solve",
}

__all__ = [
    "DeployError",
    "Deployment",
    "Evidence",
    "Explanation",
    "Factor",
    "Front",
    "Infeasible",
    "Measured",
    "ModelGraph",
    "NoPlanFound",
    "Passage",
    "PlacerError",
    "Plan",
    "Problem",
    "ProblemError",
    "Replan",
    "RunError",
    "Sensitivity",
    "Serving",
    "add_fallbacks",
    "ask_agents",
    "assign",
    "assign_all",
    "build_site",
    "calibrate",
    "calibrated_site",
    "compare",
    "cut",
    "decode_plan",
    "decode_problem",
    "deploy",
    "deploy_once",
    "encode_plan",
    "encode_problem",
    "explain",
    "load_models",
    "local_agents",
    "next_epoch",
    "pareto",
    "plan_site",
    "read_evidence",
    "read_model",
    "read_plan",
    "read_problem",
    "read_serving",
    "replan",
    "roll_back",
    "run",
    "sensitivity",
    "solve",
]


def __getattr__(name: str) -> Any:
    # Solver, ONNX and gRPC are loaded when they are first used: `import placer` stays quick.
    if name in _HOME:
        return getattr(import_module(f"placer.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # What tab completion offers: also the names that nobody has used yet.
    return sorted(globals().keys() | set(__all__))
