"""The planner's exceptions, drawn as a tree so that a caller sees what can be caught.

PlacerError
├── ProblemError        a problem, model or plan file is wrong (exit code 2)
│   └── UnboundInputError   a model's input has open dimensions
├── CertificateError    a certificate cannot be made or read (exit code 2)
├── Infeasible          no plan can meet the rules; names those in conflict (exit code 3)
├── NoPlanFound         the time limit ended the search before any plan was found (exit code 5)
├── MeasureError        a device could not be measured: no power, a meter or a model that fails (exit code 6)
├── DeployError         the plan could not be put on the devices (exit code 4)
└── RunError            the deployed plan failed while it ran (exit code 4)
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placer.solver.conflict import Amount


class PlacerError(Exception):
    """Root of everything the planner raises on purpose."""


class ProblemError(PlacerError):
    """A problem, model or plan is wrong; the message says where, which value and what is allowed."""


class UnboundInputError(ProblemError):
    """A model's input has dimensions that nothing binds; as a message it gives the syntax of a site's file.

    Parameters
    ----------
    what
        Which input of which file, and what is open.
    name
        The input's.
    example
        A whole shape that it can have.
    """

    def __init__(self, what: str, name: str, example: tuple[int, ...]) -> None:
        self.what, self.name, self.example = what, name, example
        super().__init__(
            f"{what}; bind it by giving the input's whole shape, for example inputs: {{{name}: {list(example)}}}"
        )


@contextlib.contextmanager
def below(field: str, joint: str = ": ") -> Iterator[None]:
    """Put a field of a file before the messages of problems that are found inside.

    Parameters
    ----------
    field
        The field, as ``site.yaml: flows[0]``.
    joint
        What stands between it and the message: ``.`` where the message begins with a field below that one.
    """
    try:
        yield
    except ProblemError as error:
        raise ProblemError(f"{field}{joint}{error}") from None


class CertificateError(PlacerError):
    """A certificate cannot be made or read; the message says which file or value and what is allowed."""


class Infeasible(PlacerError):  # noqa: N818  the field's word
    """No plan can satisfy the rules.

    Parameters
    ----------
    conflict
        The names of rules that cannot hold together; without any one of them the others could.
    amounts
        For each of them how far it would have to give for a plan to exist, if that was asked.
    hint
        What else may help, in words.
    """

    def __init__(self, conflict: tuple[str, ...], amounts: tuple[Amount, ...] = (), hint: str = "") -> None:
        self.conflict = conflict
        self.amounts = amounts
        enough = {a.rule: a.words for a in amounts if a.words}
        listed = (f"{rule} ({enough[rule]})" if rule in enough else rule for rule in conflict)
        begin = "no plan meets these rules together: " if len(conflict) > 1 else "no plan is possible: "
        super().__init__(begin + "; ".join(listed) + (f". {hint}" if hint else ""))


class NoPlanFound(PlacerError):  # noqa: N818  the field's word
    """The search ended at its limit without a plan, and without a proof that there is none."""


class MeasureError(PlacerError):
    """A device could not be measured: its power is unknown, its meter fails, or a model does not run on it."""


class DeployError(PlacerError):
    """The plan could not be put on the devices; what served before still serves."""


class RunError(PlacerError):
    """A deployed plan failed while it ran."""
