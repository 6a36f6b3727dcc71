"""Answer inference requests: find what they name, check them, run them, write the reply."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtimes.access import require_client, require_route
from runtimes.answered import Answered, digest
from runtimes.convert import contents_of, decode, lay_out_result, of_raw, require_all
from runtimes.errors import AgentError, BadRequest, DeadlineExceeded, Failed, UnknownName, WrongState
from runtimes.hop import LONGEST_S, is_hop, read_hop
from runtimes.loaded import Asked
from runtimes.protos import open_inference_grpc_pb2
from runtimes.wire import Packed, ReplyForm, read_head, write_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runtimes.convert import Array
    from runtimes.epochs import Epochs
    from runtimes.identity import Identity
    from runtimes.loaded import LoadedPlan
    from runtimes.record import Recorder
    from runtimes.relay import Relay
    from runtimes.source import Source
    from runtimes.specs import FlowSpec, SegmentSpec, TensorSpec
    from runtimes.trace import TraceContext
    from runtimes.wire import Buffer, Received

# The time of a request whose client and flow name none.
_DEFAULT_DEADLINE_S = 60.0
# What of a client's own deadline is kept for the way back, so that it hears our error and not its own.
_WAY_BACK = 0.1
_WAY_BACK_AT_MOST_S = 0.05
_DEADLINE = "placer.deadline_s"
_LONGEST_ID = 256
# Heads of requests remembered for each plan, and the longest one that is: a site's clients are few and alike.
_HEADS = 256
_LONGEST_HEAD = 4096
# Answers remembered for a client that asks again: those of the last moments, since that is when one does.
_ANSWERS = 256
_ANSWERS_BYTES = 32 << 20
_ANSWERS_KEEP_S = 60.0


@dataclass(slots=True)
class _Answer:
    """What is known so far of a request that is being answered."""

    request: str
    model: str = ""


class DataPlane:
    """What this device answers to clients and to other agents.

    Parameters
    ----------
    epochs
        The plans it holds.
    source
        Takes clients' requests.
    relay
        Takes other agents' messages.
    recorder
        Takes note of how requests ended.
    """

    def __init__(self, epochs: Epochs, source: Source, relay: Relay, recorder: Recorder) -> None:
        self._epochs = epochs
        self._source = source
        self._relay = relay
        self._recorder = recorder
        self._answered = Answered(_ANSWERS, _ANSWERS_BYTES, _ANSWERS_KEEP_S)

    def infer(
        self, request: Received, caller: Identity | None, time_left_s: float | None,
        on_cancel: Callable[[Callable[[], None]], bool], parent: TraceContext | None = None,
    ) -> bytes:  # fmt: skip
        """Answer one ModelInfer request.

        Parameters
        ----------
        request
            The request: of a client, or a hop of another agent.
        caller
            Whom its certificate names; None on a connection without.
        time_left_s
            The caller's own deadline; None if it set none.
        on_cancel
            Takes what is to be called when the caller goes away; False if it has gone already.
        parent
            The caller's span; None if it traces nothing.

        Returns
        -------
        bytes
            A ModelInferResponse: the outputs that are needed here, and the names of those that a condition kept from
            being made; without any, where other devices' sinks stored them, data wait for their request to begin
            elsewhere, or a hop is acknowledged.

        Raises
        ------
        AgentError
            What went wrong.
        """
        loaded = self._epochs.active
        asked = None if loaded is None else loaded.asked.get(request.head)
        message = None
        if asked is None:
            message = read_head(request)
            if is_hop(message):
                self._receive(message, request.raw, caller, parent)
                return b""
        require_client(caller)
        trace = self._recorder.begin(parent)
        answer = _Answer(request.id if len(request.id) <= _LONGEST_ID else "")
        started = time.monotonic()
        error: AgentError | None = None
        try:
            if loaded is None or asked is None or len(asked.inputs) != len(request.raw):
                loaded, asked, arrays = self._read(request, message, answer)
            else:
                answer.model = asked.model.name
                arrays = {s.name: of_raw(buffer, s) for s, buffer in zip(asked.inputs, request.raw, strict=True)}
            return self._answer(request, loaded, asked, arrays, answer, time_left_s, on_cancel, trace)
        except AgentError as failure:
            error = failure
            raise
        except Exception as failure:
            # The caller learns no more of it than this; what it is goes to the log, where it is turned into a status.
            error = Failed(type(failure).__name__)
            raise
        finally:
            seconds = time.monotonic() - started
            self._recorder.answered(answer.model, answer.request, seconds, trace, parent, error)

    def _read(
        self, request: Received, message: Any | None, answer: _Answer
    ) -> tuple[LoadedPlan, Asked, Mapping[str, Array]]:
        """Check a request's head against the plan that it names, and read its tensors."""
        message = read_head(request) if message is None else message
        loaded, model = self.find(message.model_name, message.model_version)
        answer.model = model.name
        inputs, wanted = model.inputs, _wanted(message, model.outputs)
        if model.name in loaded.flows:
            inputs = loaded.inputs(model.name)
            wanted = [tensor for tensor in wanted if tensor.name in loaded.outputs(model.name)]
        specs = {tensor.name: tensor for tensor in inputs}
        arrays = decode(message.inputs, request.raw, specs)
        require_all(arrays, inputs)
        asked = Asked(
            model=model,
            inputs=tuple(specs[name] for name in arrays),
            form=ReplyForm(model.name, str(loaded.epoch), wanted),
            limit_s=_limit_s(message),
        )
        # Found again as long as this plan is the one that requests follow.
        if request.raw and loaded is self._epochs.active and len(request.head) <= _LONGEST_HEAD:
            if len(loaded.asked) >= _HEADS:
                loaded.asked.clear()
            loaded.asked[request.head] = asked
        return loaded, asked, arrays

    def _answer(
        self, received: Received, loaded: LoadedPlan, asked: Asked, arrays: Mapping[str, Array], answer: _Answer,
        time_left_s: float | None, on_cancel: Callable[[Callable[[], None]], bool], trace: TraceContext | None,
    ) -> bytes:  # fmt: skip
        if len(received.id) > _LONGEST_ID:
            raise BadRequest(f"the request's id has {len(received.id)} characters; at most {_LONGEST_ID} are taken")
        model = asked.model
        request = answer.request = received.id or secrets.token_hex(16)
        deadline_s = _deadline_s(asked.limit_s, model, time_left_s)
        if model.name in loaded.sessions:
            outputs = self._source.run_segment(
                loaded, loaded.sessions[model.name].spec, arrays, request=request, deadline_s=deadline_s,
                on_cancel=on_cancel, trace=trace,
            )  # fmt: skip
            return asked.form.write(request, [contents_of(outputs, spec) for spec in asked.form.outputs])
        flow = loaded.flows[model.name]
        if flow.sources and not received.id:
            raise BadRequest(
                f"data of flow {flow.name!r} arise on {' and '.join(map(repr, flow.source_devices))}: give the request "
                "an id, and hand the others in there under the same one"
            )
        result = None
        if loaded.is_source(flow.name):
            result = self._run(loaded, flow, arrays, request, deadline_s, on_cancel, trace, named=bool(received.id))
        else:
            self._relay.hand_in(flow, request, arrays)
        if result is not None and all(spec.name in result for spec in asked.form.outputs):
            return asked.form.write(request, [contents_of(result, spec) for spec in asked.form.outputs])
        reply = open_inference_grpc_pb2.ModelInferResponse(
            model_name=model.name, model_version=str(loaded.epoch), id=request
        )
        return write_reply(Packed(reply, () if result is None else lay_out_result(result, asked.form.outputs, reply)))

    def _run(
        self, loaded: LoadedPlan, flow: FlowSpec, arrays: Mapping[str, Array], request: str, deadline_s: float,
        on_cancel: Callable[[Callable[[], None]], bool], trace: TraceContext | None, *, named: bool,
    ) -> Mapping[str, Array] | None:  # fmt: skip
        """Run a flow whose requests begin here, or give the answer of a moment ago to a request of the client's id."""
        elsewhere = flow.sink != loaded.device or bool(flow.sinks)
        # What was handed in elsewhere is not known here: no two such requests are the same.
        remembered = named and not elsewhere and not flow.sources
        result = self._answered.get(loaded.epoch, flow.name, request, arrays) if remembered else None
        if result is None:
            asked = secrets.token_hex(16) if flow.sources else digest(arrays) if named and elsewhere else ""
            result = self._source.request(
                loaded, flow, arrays, request=request, deadline_s=deadline_s, on_cancel=on_cancel, trace=trace,
                asked=asked,
            )  # fmt: skip
            if remembered and result is not None:
                self._answered.put(loaded.epoch, flow.name, request, arrays, result)
        return result

    def find(self, name: str, version: str) -> tuple[LoadedPlan, FlowSpec | SegmentSpec]:
        """Find a flow whose data arise here or a segment that runs here.

        Parameters
        ----------
        name
            Its name.
        version
            An epoch as text; ``""`` for the active one.

        Raises
        ------
        UnknownName
            If there is none; the message says what there is.
        """
        loaded = self._epochs.active
        if version:
            # isdecimal alone takes digits of every script.
            loaded = self._epochs.of_epoch(int(version)) if version.isascii() and version.isdecimal() else None
        if loaded is None:
            raise UnknownName(
                f"no plan {f'of version {version[:40]!r}' if version else 'is active'} "
                f"on device {self._epochs.device!r}" + (f": {self._epochs.trouble}" if self._epochs.trouble else "")
            )
        if name in loaded.sessions:
            return loaded, loaded.sessions[name].spec
        flow = loaded.flows.get(name)
        if flow is None:
            known = sorted([*loaded.sessions, *(f for f in loaded.flows if loaded.inputs(f))])
            raise UnknownName(f"no model {name[:200]!r} on device {self._epochs.device!r}; known are {known}")
        if not loaded.inputs(name):
            raise UnknownName(
                f"flow {name!r} begins on device {flow.source!r}; ask that one, this is {loaded.device!r}"
            )
        return loaded, flow

    def _receive(
        self, message: Any, raw: Sequence[Buffer], caller: Identity | None, parent: TraceContext | None
    ) -> None:
        hop = read_hop(message)
        # Before anything is done for it: a fallback that is not loaded would be.
        carried = [*(tensor.name for tensor in message.inputs), *hop.tensors_not_taken]
        require_route(caller, hop, self._epochs.share(hop.plan, hop.epoch), carried)
        loaded = self._epochs.loaded(hop.plan, hop.epoch)
        if hop.to != loaded.device or hop.flow not in loaded.flows:
            raise WrongState(
                f"a hop of flow {hop.flow!r} for device {hop.to!r} came to {loaded.device!r}; "
                "the sender's addresses or plan are not this site's"
            )
        specs = loaded.specs(hop.flow)
        arrays = decode(message.inputs, raw, specs)
        if unknown := [name for name in hop.tensors_not_taken if name not in specs]:
            raise BadRequest(
                f"a hop of flow {hop.flow!r} says that {len(unknown)} tensors are not taken which are not here, "
                f"such as {unknown[0][:200]!r}; there are {sorted(specs)}"
            )
        self._relay.receive(loaded, hop, arrays, parent)


def _wanted(message: Any, outputs: Sequence[TensorSpec]) -> Sequence[TensorSpec]:
    if not message.outputs:
        return outputs
    known = {tensor.name: tensor for tensor in outputs}
    names = [output.name for output in message.outputs]
    if unknown := [name[:200] for name in names if name not in known]:
        raise BadRequest(f"outputs {unknown} are unknown; there are {sorted(known)}")
    if len(set(names)) != len(names):
        raise BadRequest("an output is asked for twice")
    return [known[name] for name in names]


def _limit_s(message: Any) -> float | None:
    if _DEADLINE not in message.parameters:
        return None
    limit_s: float = message.parameters[_DEADLINE].double_param
    # Written so that NaN is refused too.
    if not limit_s > 0:
        raise BadRequest(f"parameter {_DEADLINE!r} is {limit_s}; it is a double above 0, in seconds")
    return limit_s


def _deadline_s(limit_s: float | None, model: FlowSpec | SegmentSpec, time_left_s: float | None) -> float:
    if time_left_s is None:
        if limit_s is not None:
            return min(limit_s, LONGEST_S)
        planned_s: float | None = getattr(model, "deadline_s", None)
        return _DEFAULT_DEADLINE_S if planned_s is None else planned_s
    if time_left_s <= 0:
        raise DeadlineExceeded("the request came after its deadline")
    left_s = time_left_s - min(_WAY_BACK_AT_MOST_S, _WAY_BACK * time_left_s)
    return min(left_s, LONGEST_S if limit_s is None else limit_s, LONGEST_S)
