"""The header of a message between two agents, carried in the parameters of a ModelInfer request.

The two may be of different versions while a site is updated. A field that is unknown here is passed over, so a newer
agent may add what an older one can do without; what it cannot, raises `Hop.protocol` of the messages that have it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from runtimes.errors import BadRequest, WrongState
from runtimes.protos import open_inference_grpc_pb2
from runtimes.version import software_version

PROTOCOL = 1
"""The highest `Hop.protocol` that is understood here."""

LONGEST_S = 86400.0
"""The longest that a request may take."""

# One parameter in JSON: a parameter for each field takes ten times as long to write and read.
_HOP = "placer.hop"


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """What a message between agents is about.

    Parameters
    ----------
    kind
        ``"tensors"`` carries them; ``"begin"`` tells where other data arise that a request began; ``"done"`` tells the
        source that a sink stored its outputs; ``"failed"`` tells it what went wrong, and from the source that the
        request is given up; ``"spent"`` tells the source of joules that no other message has told.
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
        None where the plan does not tell it. The source keeps what it spends itself, and says 0.
    status, reason
        What went wrong, of a failure.
    lost
        The device that did not answer the sender, if that was what went wrong.
    not_taken
        Names of tensors of its route that will not come for this request, one a line: a condition did not hold.
    asked
        Digest of the request's inputs, where its client gave the id and a sink keeps the result under it; where data
        arise on several devices, a mark that no other request has.
    turn
        The request's number among those of its flow that began under the plan, from 0: what is sampled takes those that
        its count divides.
    protocol
        What the receiver has to understand at least; 1 for all that stands here.
    """

    kind: Literal["tensors", "begin", "done", "failed", "spent"]
    plan: str
    epoch: int
    flow: str
    run: str
    request: str
    sender: str
    to: str
    after: str
    deadline_s: float
    joules: float | None
    status: str = ""
    reason: str = ""
    lost: str = ""
    not_taken: str = ""
    asked: str = ""
    turn: int = 0
    protocol: int = 1

    def __post_init__(self) -> None:
        """Check the figures; a wrong one raises ``ValueError``, which msgspec gives its path."""
        if self.deadline_s > LONGEST_S:
            raise ValueError(f"deadline_s is {self.deadline_s}; it is at most {LONGEST_S:g}")
        if self.turn < 0:
            raise ValueError(f"turn is {self.turn}; it counts from 0")
        if self.joules is not None and not 0 <= self.joules < math.inf:
            raise ValueError(f"joules is {self.joules}; it is a number from 0 on")

    @property
    def tensors_not_taken(self) -> tuple[str, ...]:
        """The names in ``not_taken``."""
        return tuple(self.not_taken.split("\n")) if self.not_taken else ()


def is_hop(message: Any) -> bool:
    """Say whether a ModelInfer request comes from an agent and not from a client."""
    return _HOP in message.parameters


def write_hop(hop: Hop) -> Any:
    """Make the ModelInfer request of a hop, without its tensors yet."""
    message = open_inference_grpc_pb2.ModelInferRequest(model_name=hop.flow, id=hop.request)
    message.parameters[_HOP].string_param = msgspec.json.encode(hop).decode()
    return message


def read_hop(message: Any) -> Hop:
    """Read the header of a hop.

    Raises
    ------
    BadRequest
        If a part of it is missing, of another type or out of its range.
    WrongState
        If it says what only a newer agent understands.
    """
    text = message.parameters[_HOP].string_param
    try:
        hop = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        _require_understood(text)
        raise BadRequest(f"the hop's parameter {_HOP!r} cannot be used: {error}") from error
    if hop.protocol > PROTOCOL:
        _require_understood(text)
    return hop


class _Needs(msgspec.Struct):
    """What can be read of any hop, however new its sender."""

    protocol: int = 1
    sender: str = ""


def _require_understood(text: str) -> None:
    try:
        needs = msgspec.json.decode(text, type=_Needs)
    except (msgspec.DecodeError, UnicodeError):
        return
    if needs.protocol > PROTOCOL:
        raise WrongState(
            f"device {needs.sender[:200]!r} sends hops of protocol {needs.protocol}, and the agent here, of version "
            f"{software_version()}, understands {PROTOCOL}: update it"
        )


_DECODER = msgspec.json.Decoder(Hop)
