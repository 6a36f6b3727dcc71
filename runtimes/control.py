"""The control plane's service: put plans on the device, switch between them, read what was measured."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import grpc
import msgspec

from runtimes.assignment import decode_assignment
from runtimes.convert import encode_result
from runtimes.errors import BadBlob, BadRequest
from runtimes.observation import Observation
from runtimes.peers import Peer
from runtimes.probe import LARGEST_REPLY_BYTES, LONGEST_S
from runtimes.protos import agent_pb2, open_inference_grpc_pb2
from runtimes.rpc import NO_MESSAGE, answers, require_message
from runtimes.version import software_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtimes.epochs import Epochs
    from runtimes.observation import Journal
    from runtimes.peers import Peers
    from runtimes.prober import Prober
    from runtimes.results import ResultStore
    from runtimes.runs import RunTable
    from runtimes.store import BlobStore
    from runtimes.unread import Unread

# How long a segment may take to load and warm up where the caller sets no deadline.
_PREPARE_TIMEOUT_S = 300.0


class AgentServicer:
    """Answers the Agent service; one method per call."""

    def __init__(
        self, *, epochs: Epochs, store: BlobStore, journal: Journal, results: ResultStore, runs: RunTable,
        prober: Prober, peers: Peers, unread: Unread,
    ) -> None:  # fmt: skip
        self._epochs = epochs
        self._store = store
        self._journal = journal
        self._results = results
        self._runs = runs
        self._prober = prober
        self._peers = peers
        self._unread = unread

    def _lost(self) -> list[str]:
        """Devices of the active plan, at the addresses that it gives, that do not answer."""
        active = self._epochs.active
        shares = () if active is None else active.assignment.every()
        return self._peers.lost({Peer(*named) for share in shares for named in share.peers.items()})

    @answers
    def stage(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Take a manifest in."""
        missing = self._epochs.stage(decode_assignment(request.manifest))
        return agent_pb2.StageReply(
            missing=[agent_pb2.StageReply.Missing(sha256=s, received_bytes=n) for s, n in missing.items()]
        )

    @answers
    def put_blob(self, chunks: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Store one blob that a manifest names."""
        messages = map(require_message, chunks)
        first = next(messages, None)
        if first is None:
            raise BadBlob("the upload has no chunks")
        pairs = ((_checked(chunk, first.sha256).offset, chunk.data) for chunk in itertools.chain([first], messages))
        stored = self._store.write(first.sha256, pairs, self._epochs.blob_bytes(first.sha256))
        return agent_pb2.PutBlobReply(stored_bytes=stored)

    @answers
    def prepare(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Load and warm up a staged plan."""
        left_s = context.time_remaining()
        timeout_s = _PREPARE_TIMEOUT_S if left_s is None else min(left_s, _PREPARE_TIMEOUT_S)
        loaded = self._epochs.prepare(request.plan, request.epoch, timeout_s)
        return agent_pb2.PrepareReply(segments=list(loaded.sessions))

    @answers
    def activate(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Switch to a prepared plan."""
        self._epochs.activate(request.plan, request.epoch)
        return agent_pb2.ActivateReply()

    @answers
    def rollback(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Switch back to a plan that is held."""
        return agent_pb2.RollbackReply(plan=self._epochs.rollback(request.epoch, request.plan).assignment.plan)

    @answers
    def status(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Say what is held and how much is under way."""
        held = [
            agent_pb2.StatusReply.Held(
                plan=a.plan,
                epoch=a.epoch,
                state=state,
                segments=[s.name for s in a.segments],
                devices=sorted({a.device, *(d for f in a.flows for d in f.devices)}),
                sources=[f.name for f in a.flows if f.source == a.device],
            )
            for a, state in self._epochs.states()
        ]
        return agent_pb2.StatusReply(
            device=self._epochs.device, version=software_version(), held=held,
            open_requests=len(self._runs), last_sequence=self._journal.last_sequence,
            trouble=self._epochs.trouble, lost=self._lost(),
        )  # fmt: skip

    @answers
    def beat(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Give another agent a sign of life."""
        return agent_pb2.BeatReply(lost=self._lost())

    def observe(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Send what was observed after a sequence number."""
        if request is NO_MESSAGE:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "these bytes are no message of this call")
        for observation in self._journal.since(request.since):
            yield agent_pb2.Observation(
                **{field: getattr(observation, field) for field in Observation.__struct_fields__}
            )

    @answers
    def fetch(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Read a stored result."""
        flow, outputs = self._results.get(request.request, request.flow)
        reply = open_inference_grpc_pb2.ModelInferResponse(model_name=flow.name, id=request.request)
        encode_result(outputs, flow.outputs_at(self._epochs.device), reply)
        self._unread.add(reply.ByteSize(), context)
        return reply

    @answers
    def echo(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Send the payload back, or as many zeros as are asked for."""
        reply = self._echoed(request)
        self._unread.add(len(reply.payload), context)
        return reply

    def echo_stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer each message of a stream as `echo` does, as long as a probe lasts: a stream holds a thread."""
        try:
            left_s = context.time_remaining()
            if left_s is None or left_s > LONGEST_S:
                raise BadRequest(f"a stream of echoes needs a deadline of at most {LONGEST_S:g} s")
            for request in requests:
                yield self._echoed(require_message(request))
        except BadRequest as error:
            context.abort(grpc.StatusCode[error.status], str(error))

    @answers
    def probe(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Measure the link to another agent."""
        left_s = context.time_remaining()
        timeout_s = LONGEST_S if left_s is None else left_s
        measured = self._prober.probe(request.device, request.address, timeout_s)
        return agent_pb2.ProbeReply(measured=msgspec.json.encode(measured))

    def _echoed(self, request: Any) -> Any:
        if not request.HasField("reply_bytes"):
            return agent_pb2.EchoReply(payload=request.payload, device=self._epochs.device)
        if request.reply_bytes > LARGEST_REPLY_BYTES:
            raise BadRequest(f"reply_bytes is {request.reply_bytes}; an echo sends back {LARGEST_REPLY_BYTES} at most")
        return agent_pb2.EchoReply(payload=bytes(request.reply_bytes), device=self._epochs.device)


def _checked(chunk: Any, sha256: str) -> Any:
    if chunk.sha256 != sha256:
        raise BadBlob(f"a chunk of blob {chunk.sha256[:80]!r} came within the upload of {sha256[:80]!r}")
    return chunk
