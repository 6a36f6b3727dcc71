"""The header of a message between two agents, carried in the parameters of a ModelInfer request."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from runtimes.errors import BadRequest
from runtimes.protos import open_inference_grpc_pb2

_PREFIX = "placer."
_KIND = _PREFIX + "kind"
_FIELD = {"str": "string_param", "int": "int64_param", "float": "double_param"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """What a message between agents is about.

    Parameters
    ----------
    kind
        ``"tensors"`` carries them; ``"done"`` tells the source that the sink stored the result;
        ``"failed"`` tells it what went wrong.
    plan, epoch, flow
        What is being served.
    run
        Made by the source for this one passage, so that a request that is tried again is never mixed up.
    request
        The request's id, as the client knows it.
    sender, to
        The devices at both ends.
    after
        The segment that made the tensors or failed; ``""`` for the flow's inputs.
    deadline_s
        Time left: durations need no common clock.
    joules
        What the request has spent above idle on the way to the sender and there, as far as no other hop has told it;
        NaN where the plan does not tell it.
    status, reason
        What went wrong, of a failure.
    lost
        The device that did not answer the sender, if that was what went wrong.
    not_taken
        Names of tensors of its route that will not come for this request, one a line: a condition did not hold.
    """

    kind: str
    plan: str
    epoch: int
    flow: str
    run: str
    request: str
    sender: str
    to: str
    after: str
    deadline_s: float
    joules: float
    status: str = ""
    reason: str = ""
    lost: str = ""
    not_taken: str = ""

    @property
    def tensors_not_taken(self) -> tuple[str, ...]:
        """The names in ``not_taken``."""
        return tuple(self.not_taken.split("\n")) if self.not_taken else ()


def is_hop(message: Any) -> bool:
    """Say whether a ModelInfer request comes from an agent and not from a client."""
    return _KIND in message.parameters


def write_hop(hop: Hop) -> Any:
    """Make the ModelInfer request of a hop, without its tensors yet."""
    message = open_inference_grpc_pb2.ModelInferRequest(model_name=hop.flow, id=hop.request)
    for name, choice in _CHOICES.items():
        setattr(message.parameters[_PREFIX + name], choice, getattr(hop, name))
    return message


def read_hop(message: Any) -> Hop:
    """Read the header of a hop.

    Raises
    ------
    BadRequest
        If a part of it is missing or of another type.
    """
    values: dict[str, Any] = {}
    for name, choice in _CHOICES.items():
        # Reading an absent key of a message map would put it there.
        key = _PREFIX + name
        if key not in message.parameters or message.parameters[key].WhichOneof("parameter_choice") != choice:
            raise BadRequest(f"the hop's parameter {key!r} is missing or no {choice}")
        values[name] = getattr(message.parameters[key], choice)
    # NaN says that they are not known.
    if values["joules"] < 0 or values["joules"] == math.inf:
        raise BadRequest(f"the hop's parameter 'placer.joules' is {values['joules']}; it is a number from 0 on, or NaN")
    return Hop(**values)


_CHOICES = {field.name: _FIELD[str(field.type)] for field in fields(Hop)}
