"""Decides where inference runs: an exact, energy-minimal placement of cut models on devices.

The whole library in four lines::

    import placer

    plan = placer.plan_site("site.yaml")
    print(plan.status, plan.energy_j)
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from placer.assign import assign, load_models
    from placer.assign_fallbacks import assign_all
    from placer.calibrate import Factor, calibrate
    from placer.calibrated_site import calibrated_site
    from placer.compare import compare
    from placer.cut import cut
    from placer.deploy import Measured, Passage, deploy, deploy_once, next_epoch, run
    from placer.deployment import Deployment
    from placer.errors import DeployError, Infeasible, NoPlanFound, PlacerError, ProblemError, RunError
    from placer.evidence import Evidence, ask_agents, read_evidence
    from placer.explain import Explanation, explain
    from placer.fallbacks import add_fallbacks
    from placer.graph import ModelGraph
    from placer.local_agents import local_agents
    from placer.pareto import Front, pareto
    from placer.plan import Plan, decode_plan, encode_plan, read_plan
    from placer.planning import build_site, plan_site, read_model
    from placer.problem import Problem, decode_problem, encode_problem, read_problem
    from placer.replan import Replan, replan
    from placer.sensitivity import Sensitivity, sensitivity
    from placer.serving import Serving, read_serving, roll_back
    from placer.solve import solve

_HOME = {
    "assign": "assign",
    "load_models": "assign",
    "assign_all": "assign_fallbacks",
    "Factor": "calibrate",
    "calibrate": "calibrate",
    "calibrated_site": "calibrated_site",
    "compare": "compare",
    "cut": "cut",
    "Measured": "deploy",
    "Passage": "deploy",
    "deploy": "deploy",
    "deploy_once": "deploy",
    "next_epoch": "deploy",
    "run": "deploy",
    "Deployment": "deployment",
    "DeployError": "errors",
    "Infeasible": "errors",
    "NoPlanFound": "errors",
    "PlacerError": "errors",
    "ProblemError": "errors",
    "RunError": "errors",
    "Evidence": "evidence",
    "ask_agents": "evidence",
    "read_evidence": "evidence",
    "Explanation": "explain",
    "explain": "explain",
    "add_fallbacks": "fallbacks",
    "ModelGraph": "graph",
    "local_agents": "local_agents",
    "Front": "pareto",
    "pareto": "pareto",
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
    "Replan": "replan",
    "replan": "replan",
    "Sensitivity": "sensitivity",
    "sensitivity": "sensitivity",
    "Serving": "serving",
    "read_serving": "serving",
    "roll_back": "serving",
    "solve": "solve",
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


class _Package(ModuleType):
    """A package whose functions keep their names: importing `placer.solve` would put the module in `solve`'s place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
