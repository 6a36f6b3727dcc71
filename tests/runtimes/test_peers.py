"""Messages to other agents: who waits for their acknowledgement, and what is said where none comes."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from runtimes.errors import Unreachable
from runtimes.peers import Peer, Peers
from runtimes.protos import open_inference_grpc_pb2 as oip
from runtimes.rpc import INFERENCE_SERVICE, add_service
from runtimes.wire import Packed


class Receiver:
    """An agent that acknowledges when it is told to."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.acknowledge = threading.Event()

    def __getattr__(self, name: str):
        return lambda request, context: None

    def model_infer(self, request, context):
        self.arrived.release()
        assert self.acknowledge.wait(20)
        return oip.ModelInferResponse()


@pytest.fixture
def receiver():
    receiver, server = Receiver(), grpc.server(ThreadPoolExecutor(8))
    add_service(server, INFERENCE_SERVICE, receiver, streams=1)
    peer = Peer("box", f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    yield receiver, peer
    receiver.acknowledge.set()
    server.stop(None).wait()


def test_patient_threads_wait_themselves_but_no_more_of_them_than_may(receiver):
    receiver, peer = receiver
    peers = Peers(1 << 20, None, patient_threads=1)
    told: queue.Queue[tuple[object, int]] = queue.Queue()

    def send(*, patient: bool) -> int:
        own = threading.get_ident()
        peers.send(
            peer, Packed(oip.ModelInferRequest()), 20.0,
            lambda error, seconds: told.put((error, threading.get_ident() == own)), patient=patient,
        )  # fmt: skip
        return own

    first = threading.Thread(target=send, kwargs={"patient": True})
    first.start()
    assert receiver.arrived.acquire(timeout=20)
    # It waits there; so neither of these may, patient or not.
    for patient in (True, False):
        send(patient=patient)
        assert receiver.arrived.acquire(timeout=20)
    assert first.is_alive()
    assert not peers.settle(0.01)
    receiver.acknowledge.set()
    first.join(20)
    assert sorted(told.get(timeout=20)[1] for _ in range(3)) == [False, False, True]
    # Its turn is free again.
    send(patient=True)
    assert told.get(timeout=20) == (None, True)
    assert peers.settle(20)
    peers.keep(())


@pytest.mark.parametrize("patient", [False, True])
def test_a_message_to_nobody_is_said_to_be_unreachable(patient):
    peers = Peers(1 << 20, None, patient_threads=1)
    told: queue.Queue[object] = queue.Queue()
    nobody = Peer("box", "127.0.0.1:1")
    peers.send(nobody, Packed(oip.ModelInferRequest()), 5.0, lambda error, _: told.put(error), patient=patient)
    assert isinstance(told.get(timeout=20), Unreachable)
    assert peers.lost([nobody]) == ["box"]
    peers.keep(())


def test_a_connection_that_is_closed_meanwhile_is_said(receiver):
    receiver, peer = receiver
    peers = Peers(1 << 20, None, patient_threads=1)
    told: queue.Queue[object] = queue.Queue()
    peers._line(peer).connection.close()
    peers.send(peer, Packed(oip.ModelInferRequest()), 5.0, lambda error, _: told.put(error), patient=True)
    error = told.get(timeout=20)
    assert isinstance(error, Unreachable)
    assert "no plan names it any more" in str(error)
    peers.keep(())
