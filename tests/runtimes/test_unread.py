"""What clients do not read is counted, and refused beyond its bound; hops and small replies always pass."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.control import AgentServicer
from runtimes.errors import Exhausted
from runtimes.protos import agent_pb2
from runtimes.results import ResultStore
from runtimes.servicer import InferenceServicer
from runtimes.unread import Unread
from tests.runtimes.plans import BRANCHING, plan


class Call:
    """One call, as a servicer sees it."""

    def __init__(self) -> None:
        self.callbacks = []

    def add_callback(self, callback) -> bool:
        self.callbacks.append(callback)
        return True

    def end(self) -> None:
        for callback in self.callbacks:
            callback()

    def invocation_metadata(self):
        return ()

    def time_remaining(self):
        return None

    def abort(self, code, details):
        raise RuntimeError(f"{code.name}: {details}")


class GoneCall(Call):
    def add_callback(self, callback) -> bool:
        return False


def test_replies_count_until_their_calls_end():
    unread = Unread(20_000)
    first, second = Call(), Call()
    unread.add(15_000, first)
    with pytest.raises(Exhausted, match="15000 bytes of replies wait here"):
        unread.add(15_000, second)
    unread.add(0, second)
    unread.add(100, second)
    assert second.callbacks == []
    first.end()
    # Alone, one may be larger than the bound; what nobody waits for any more does not count.
    unread.add(30_000, GoneCall())
    unread.add(30_000, second)
    with pytest.raises(Exhausted):
        unread.add(5_000, Call())


def test_every_call_with_large_replies_counts_them():
    class Answering:
        def infer(self, *request):
            return bytes(6_000)

    unread = Unread(10_000)
    flow = plan(BRANCHING, outputs=("y",), source="camera", sink="box", epoch=1, shape=(1, 1500)).assignments["box"]
    results = ResultStore(1, 10_000, 60.0)
    results.put("q", flow.flows[0], {"y": np.zeros((1, 1500), np.float32)}, asked=(1, ""))

    class Epochs:
        device = "box"

    nothing = dict.fromkeys(("store", "journal", "runs", "prober", "peers"))
    agent = AgentServicer(epochs=Epochs(), results=results, unread=unread, **nothing)
    calls = (
        lambda call: InferenceServicer("box", Answering(), unread, secure=False).model_infer(None, call),
        lambda call: agent.fetch(agent_pb2.FetchRequest(request="q"), call),
        lambda call: agent.echo(agent_pb2.EchoRequest(payload=bytes(6_000)), call),
        lambda call: agent.echo(agent_pb2.EchoRequest(reply_bytes=6_000), call),
    )
    for ask in calls:
        read = Call()
        ask(read)
        with pytest.raises(RuntimeError, match=r"RESOURCE_EXHAUSTED: 60\d\d bytes of replies wait"):
            ask(Call())
        read.end()
