"""The planner's exceptions, drawn as a tree so that a caller sees what can be caught.

PlacerError
├── ProblemError        a problem, model or plan file is wrong (exit code 2)
├── Infeasible          no plan can meet the rules; names those in conflict (exit code 3)
├── NoPlanFound         the time limit ended the search before any plan was found (exit code 5)
├── DeployError         the plan could not be put on the devices (exit code 4)
└── RunError            the deployed plan failed while it ran (exit code 4)
"""

from __future__ import annotations


class PlacerError(Exception):
    """Root of everything the planner raises on purpose."""


class ProblemError(PlacerError):
    """A problem, model or plan is wrong; the message says where, which value and what is allowed."""


class Infeasible(PlacerError):  # noqa: N818  the field's word
    """No plan can satisfy the rules.

    Parameters
    ----------
    conflict
        The names of rules that cannot hold together; each alone could.
    """

    def __init__(self, conflict: tuple[str, ...]) -> None:
        self.conflict = conflict
        super().__init__("no plan meets these rules together: " + "; ".join(conflict))


class NoPlanFound(PlacerError):  # noqa: N818  the field's word
    """The search ended at its limit without a plan, and without a proof that there is none."""


class DeployError(PlacerError):
    """The plan could not be put on the devices; what served before still serves."""


class RunError(PlacerError):
    """A deployed plan failed while it ran."""
