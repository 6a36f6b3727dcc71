"""The agent's exceptions, drawn as a tree so that a caller sees what can be caught.

AgentError
├── Refused             the agent will not do this, and goes on serving
│   ├── BadRequest      the request or its tensors are wrong
│   ├── BadManifest     an assignment is wrong
│   ├── BadBlob         a blob's bytes do not match its digest
│   ├── UnknownName     no such flow, segment, request or version here
│   ├── WrongState      the plan or epoch is not in the state that this needs
│   ├── Forbidden       the caller's certificate does not allow this
│   ├── MissingExtra    the executor of a segment is not installed
│   └── Exhausted       a bounded table or queue is full; try later
├── Unreachable         a device or a segment's process does not answer, or takes nothing new
├── BadCredentials      a certificate, key or authority cannot be used, or a name cannot stand in one
├── DeadlineExceeded    no result by the deadline
└── Failed              a segment or its hop failed while it ran

The same classes are raised on both sides of the wire: an agent turns one into the gRPC status named by
``status``, a client turns the status back.
"""

from __future__ import annotations

from typing import ClassVar


class AgentError(Exception):
    """Root of everything this package raises on purpose."""

    status: ClassVar[str] = "INTERNAL"


class Refused(AgentError):  # noqa: N818  the word of the protocol
    """The agent will not do this; nothing has changed and it goes on serving."""

    status = "FAILED_PRECONDITION"


class BadRequest(Refused):
    """The request or its tensors are wrong; the message says which value and what is expected."""

    status = "INVALID_ARGUMENT"


class BadManifest(BadRequest):
    """An assignment is wrong; the message says where, which value and what is allowed."""


class BadBlob(Refused):
    """A blob's bytes do not match its digest or its chunks do not follow each other."""

    status = "DATA_LOSS"


class UnknownName(Refused):
    """No flow, segment, request or version of that name is known here."""

    status = "NOT_FOUND"


class WrongState(Refused):
    """The plan or epoch is not in the state that this needs."""


class Forbidden(Refused):
    """The caller's certificate does not allow this; the message says whose it is and what is needed."""

    status = "PERMISSION_DENIED"


class MissingExtra(Refused):
    """The package that runs a segment's model is not installed on this device."""

    status = "UNIMPLEMENTED"


class Exhausted(Refused):
    """A bounded table or queue is full."""

    status = "RESOURCE_EXHAUSTED"


class Unreachable(AgentError):  # noqa: N818  the word of the protocol
    """A device or a segment's process does not answer, or takes nothing new; the message names it."""

    status = "UNAVAILABLE"


class BadCredentials(AgentError):  # noqa: N818  the tree's manner
    """A certificate, key or authority cannot be used, or a name cannot stand in one."""

    status = "UNAUTHENTICATED"


class DeadlineExceeded(AgentError):  # noqa: N818  the word of the protocol
    """No result by the deadline."""

    status = "DEADLINE_EXCEEDED"


class Failed(AgentError):  # noqa: N818  the word of the protocol
    """A segment or its hop failed while it ran; the message names device and segment."""


_BY_STATUS: dict[str, type[AgentError]] = {
    kind.status: kind
    for kind in (
        BadRequest, BadBlob, UnknownName, WrongState, Forbidden, MissingExtra, Exhausted, Unreachable, BadCredentials,
        DeadlineExceeded,
    )
}  # fmt: skip


def error_of_status(status: str) -> type[AgentError]:
    """Give the class of this tree that a gRPC status name stands for; ``Failed`` for all others."""
    return _BY_STATUS.get(status, Failed)
