"""The client of one agent: deploy to it, ask it, and read what it measured."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Self

import grpc
import msgspec

from runtimes.assignment import Assignment, encode_assignment
from runtimes.connection import Connection
from runtimes.convert import NOT_TAKEN, decode, encode
from runtimes.datatypes import datatype_of
from runtimes.errors import BadRequest, DeadlineExceeded, Failed, Unreachable, error_of_status
from runtimes.observation import Observation
from runtimes.probe import LONGEST_S, LinkProbe
from runtimes.protos import agent_pb2, open_inference_grpc_pb2
from runtimes.rpc import AGENT_SERVICE, INFERENCE_SERVICE, Stub
from runtimes.specs import TensorSpec
from runtimes.status import read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from runtimes.convert import Array
    from runtimes.status import AgentStatus
    from runtimes.tls import Credentials

_CHUNK_BYTES = 1 << 20
# An agent answers with its own, clearer error by the deadline; only a dead one lets this run out.
_GRACE_S = 1.0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one request.

    Parameters
    ----------
    request_id
        The request's id, given or made by the agent.
    outputs
        The flow's outputs by name; None where the sink is another device, which holds them for ``fetch``.
    not_taken
        Names of the outputs that were not made, because a condition of the flow did not hold.
    """

    request_id: str
    outputs: dict[str, Any] | None
    not_taken: tuple[str, ...] = ()


class AgentClient:
    """A connection to one agent, to be used in a ``with`` statement and from any thread.

    Parameters
    ----------
    address
        The agent's ``host:port``.
    timeout_s
        Deadline of every call that is not given its own.
    max_message_bytes
        The largest message this client sends or takes.
    credentials
        The caller's certificates, for agents that listen with theirs; they are followed when they are renewed.
    device
        With certificates: the device that the agent must prove to be. If not given, its certificate names the address.

    Raises
    ------
    BadCredentials
        If the device's name cannot stand in a certificate.

    Notes
    -----
    Every call raises ``Unreachable`` where the agent does not answer, ``DeadlineExceeded`` where it does
    not by the deadline, a kind of ``Refused`` where it declines, and ``Failed`` where it tried in vain.
    """

    def __init__(
        self, address: str, *, timeout_s: float = 30.0, max_message_bytes: int = 1 << 28,
        credentials: Credentials | None = None, device: str | None = None,
    ) -> None:  # fmt: skip
        self.address = address
        self._timeout_s = timeout_s
        self._connection = Connection(
            address, _bind, max_message_bytes=max_message_bytes, credentials=credentials, device=device
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def stage(self, assignment: Assignment) -> dict[str, int]:
        """Tell the agent its share of a plan; returns the SHA-256 of the blobs it lacks, with the bytes it has."""
        request = agent_pb2.StageRequest(manifest=encode_assignment(assignment))
        return {missing.sha256: missing.received_bytes for missing in self._call(self._agent.Stage, request).missing}

    def put_blob(self, data: bytes, progress: Callable[[int], None] | None = None, *, start: int = 0) -> str:
        """Upload one blob.

        Parameters
        ----------
        data
            All its bytes.
        progress
            Told how many of them the agent was sent so far.
        start
            How many bytes it has already, as ``stage`` says.

        Returns
        -------
        str
            Its SHA-256.

        Raises
        ------
        BadBlob
            If the bytes it had are not those; they are gone then, so begin again at 0.
        """
        sha256 = hashlib.sha256(data).hexdigest()

        def chunks() -> Iterator[agent_pb2.BlobChunk]:
            # One at least, be it empty: where all bytes are there, the end is still to be said.
            for offset in range(start, max(start + 1, len(data)), _CHUNK_BYTES):
                part = data[offset : offset + _CHUNK_BYTES]
                yield agent_pb2.BlobChunk(sha256=sha256, offset=offset, data=part)
                if progress is not None:
                    progress(offset + len(part))

        self._call(self._agent.PutBlob, chunks())
        return sha256

    def prepare(self, plan: str, epoch: int, timeout_s: float | None = None) -> tuple[str, ...]:
        """Load and warm up a staged plan; returns its segments' names."""
        request = agent_pb2.PlanEpoch(plan=plan, epoch=epoch)
        return tuple(self._call(self._agent.Prepare, request, timeout_s).segments)

    def activate(self, plan: str, epoch: int) -> None:
        """Make a prepared plan the one that new requests follow."""
        self._call(self._agent.Activate, agent_pb2.PlanEpoch(plan=plan, epoch=epoch))

    def rollback(self, epoch: int, plan: str = "") -> str:
        """Make a held plan active under a new, higher epoch: the previous one, or the one of that identity.

        Returns
        -------
        str
            The plan's identity.
        """
        return str(self._call(self._agent.Rollback, agent_pb2.RollbackRequest(epoch=epoch, plan=plan)).plan)

    def status(self) -> AgentStatus:
        """Ask which plans the agent holds."""
        return read_status(self._call(self._agent.Status, agent_pb2.StatusRequest()))

    def observations(self, since: int = 0) -> tuple[Observation, ...]:
        """Read what was observed after the sequence number ``since``."""
        messages = self._call(lambda *a, **k: list(self._agent.Observe(*a, **k)), agent_pb2.ObserveRequest(since=since))
        return tuple(
            Observation(**{field: getattr(message, field) for field in Observation.__struct_fields__})
            for message in messages
        )

    def infer(
        self, flow: str, inputs: Mapping[str, Array], deadline_s: float | None = None, request_id: str | None = None,
        epoch: int | None = None,
    ) -> Reply:  # fmt: skip
        """Run a flow at its source device, or one segment alone.

        Parameters
        ----------
        flow
            Name of the flow or segment.
        inputs
            Its inputs by name.
        deadline_s
            Time by which the result is needed; the client's timeout if not given.
        request_id
            Names the request; made by the agent if not given.
        epoch
            Of the plan to ask, which is loaded but need not be active; the active one's if not given.

        Raises
        ------
        AgentError
            One of its kinds, by the deadline; the message names the device and segment that failed.
        """
        version = "" if epoch is None else str(epoch)
        message = open_inference_grpc_pb2.ModelInferRequest(model_name=flow, model_version=version, id=request_id or "")
        encode(inputs, _specs_of(inputs), message.inputs, message.raw_input_contents)
        deadline_s = self._timeout_s if deadline_s is None else deadline_s
        message.parameters["placer.deadline_s"].double_param = deadline_s
        reply = self._call(self._inference.ModelInfer, message, deadline_s + _GRACE_S)
        missing = reply.parameters[NOT_TAKEN].string_param if NOT_TAKEN in reply.parameters else ""
        return Reply(
            request_id=reply.id,
            outputs=_outputs_of(reply) if reply.outputs or missing else None,
            not_taken=tuple(missing.split("\n")) if missing else (),
        )

    def fetch(self, request_id: str, flow: str = "") -> dict[str, Array]:
        """Read the result of a request at its sink; outputs that were not taken are not in it.

        Parameters
        ----------
        request_id
            Names the request among those of its flow.
        flow
            Its flow; if not given, the only one that has a result of that id there.

        Raises
        ------
        UnknownName
            If there is no such result.
        BadRequest
            If no flow is given, and several have a result of that id there.
        """
        return _outputs_of(self._call(self._agent.Fetch, agent_pb2.FetchRequest(request=request_id, flow=flow)))

    def echo(self, payload: bytes) -> bytes:
        """Send a payload there and back, to measure the link."""
        return bytes(self._call(self._agent.Echo, agent_pb2.EchoRequest(payload=payload)).payload)

    def probe(self, device: str, address: str = "") -> LinkProbe:
        """Have the agent measure its link to another device's agent; takes a deployer where there are certificates.

        Parameters
        ----------
        device
            The other device.
        address
            Its ``host:port``; if not given, where a plan on the agent says that it is.
        """
        request = agent_pb2.ProbeRequest(device=device, address=address)
        reply = self._call(self._agent.Probe, request, LONGEST_S + _GRACE_S)
        try:
            return msgspec.json.decode(reply.measured, type=LinkProbe)
        except msgspec.DecodeError as error:
            raise Failed(f"agent at {self.address}: its probe cannot be read: {error}") from error

    @property
    def _agent(self) -> Stub:
        return self._connection.calls()[0]

    @property
    def _inference(self) -> Stub:
        return self._connection.calls()[1]

    def _call(self, method: Any, request: Any, timeout_s: float | None = None) -> Any:
        try:
            return method(request, timeout=self._timeout_s if timeout_s is None else timeout_s)
        except grpc.RpcError as error:
            raise self._translated(error) from error

    def _translated(self, error: Any) -> Exception:
        kind = error_of_status(error.code().name)
        text = f"agent at {self.address}: {error.details()}"
        if kind is Unreachable:
            details = error.details() or ""
            # An agent that answers says so of another device, or of a segment or end of its own.
            if details.startswith(("device ", "the device ")):
                return Unreachable(text)
            why = self._connection.why(details)
            if why != details:
                return Unreachable(f"agent at {self.address}: {why}")
            return Unreachable(f"{text} (does the agent run, and is the address right?)")
        if kind is DeadlineExceeded:
            return DeadlineExceeded(f"{text} (give more time, or look at the devices' load)")
        if kind is Failed:
            return Failed(f"{text} [{error.code().name}]")
        return kind(text)


def _bind(channel: grpc.Channel) -> tuple[Stub, Stub]:
    return Stub(channel, AGENT_SERVICE), Stub(channel, INFERENCE_SERVICE)


def _specs_of(arrays: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    specs = []
    for name, array in arrays.items():
        dtype = datatype_of(array.dtype)
        if dtype is None:
            raise BadRequest(f"input {name!r} has numpy type {array.dtype}, which the protocol cannot carry")
        specs.append(TensorSpec(name=name, port=name, dtype=dtype, shape=array.shape))
    return tuple(specs)


def _outputs_of(reply: Any) -> dict[str, Array]:
    try:
        specs = {
            o.name: TensorSpec(name=o.name, port=o.name, dtype=o.datatype, shape=tuple(o.shape)) for o in reply.outputs
        }
        return decode(reply.outputs, reply.raw_output_contents, specs)
    except (ValueError, BadRequest) as error:
        raise Failed(f"the agent's reply cannot be read: {error}") from error
