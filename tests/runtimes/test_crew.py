"""So many calls are at work at a time, and none that waits holds up another."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from placer.deployment.deploy import deploy
from runtimes import server
from runtimes.client import AgentClient
from runtimes.crew import Crew, step_aside
from runtimes.server import Agent, Options
from tests.runtimes.plans import Step, plan

NEVER_S = 3600.0
TIMEOUT_S = 30


@pytest.fixture
def crew_of():
    crews = []

    def make(at_work: int, patience_s: float = NEVER_S) -> Crew:
        crews.append(Crew(ThreadPoolExecutor(20), at_work, patience_s))
        return crews[-1]

    yield make
    for crew in crews:
        crew.stop()


def test_no_more_are_at_work_than_there_are_places(crew_of):
    crew = crew_of(2)
    go_on, at_work = threading.Semaphore(0), []

    def call(number: int) -> int:
        at_work.append(None)
        assert len(at_work) <= 2
        assert go_on.acquire(timeout=TIMEOUT_S)
        at_work.pop()
        return -number

    futures = [crew.submit(call, number) for number in range(20)]
    for _ in futures:
        go_on.release()
    assert [future.result(TIMEOUT_S) for future in futures] == [-number for number in range(20)]


def test_who_steps_aside_makes_room_once_for_one_other(crew_of):
    crew = crew_of(1)
    third = threading.Event()
    reached = []

    def first() -> None:
        step_aside()
        step_aside()
        assert second.wait(TIMEOUT_S)
        # Its place went to the second one, which still has it.
        assert not third.is_set()
        release.set()

    second, release = threading.Event(), threading.Event()

    def hold() -> None:
        second.set()
        assert release.wait(TIMEOUT_S)
        reached.append(third.is_set())

    futures = [crew.submit(first), crew.submit(hold), crew.submit(third.set)]
    for future in futures:
        future.result(TIMEOUT_S)
    assert reached == [False]


def test_who_does_not_end_is_taken_to_wait(crew_of):
    crew = crew_of(1, patience_s=0.001)
    last = threading.Event()
    # Each waits for what is submitted after it.
    futures = [crew.submit(last.wait, TIMEOUT_S) for _ in range(5)]
    crew.submit(last.set)
    assert all(future.result(TIMEOUT_S) for future in futures)
    # And it watches again after it had nothing to watch.
    last.clear()
    futures = [crew.submit(last.wait, TIMEOUT_S) for _ in range(5)]
    crew.submit(last.set)
    assert all(future.result(TIMEOUT_S) for future in futures)


def test_one_place_is_one_thread_that_takes_calls_in_their_order(crew_of):
    crew = crew_of(1)
    begun: list[int] = []
    all_queued = threading.Event()

    def call(number: int) -> int:
        assert all_queued.wait(TIMEOUT_S)
        begun.append(number)
        return threading.get_ident()

    futures = [crew.submit(call, number) for number in range(200)]
    all_queued.set()
    assert len({future.result(TIMEOUT_S) for future in futures}) == 1
    assert begun == list(range(200))


def test_what_a_call_was_given_is_let_go_of_when_it_has_ended(crew_of):
    class Message:
        pass

    crew = crew_of(1)
    # Both the first of a new thread and one that wakes it up.
    for _ in range(3):
        message = Message()
        kept = weakref.ref(message)
        done = crew.submit(id, message)
        del message
        done.result(TIMEOUT_S)
        assert kept() is None


def test_a_call_that_fails_takes_no_place_with_it(crew_of):
    crew = crew_of(1)
    failing = [crew.submit(int, "x") for _ in range(3)]
    assert crew.submit(int, "7", base=8).result(TIMEOUT_S) == 7
    assert all(isinstance(future.exception(TIMEOUT_S), ValueError) for future in failing)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("held", [True, False])
def test_calls_wait_where_the_system_gives_no_thread(crew_of, held, count):
    crew = crew_of(2, patience_s=0.001)
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> bool:
        begun.set()
        return go_on.wait(TIMEOUT_S)

    first = [crew.submit(hold)] if held else []
    assert not held or begun.wait(TIMEOUT_S)
    # More than any address space has.
    usual = threading.stack_size(1 << 47)
    try:
        calls = [crew.submit(int, "7") for _ in range(count)]
    finally:
        threading.stack_size(usual)
    # Nobody falls idle meanwhile.
    assert [call.result(TIMEOUT_S) for call in calls] == [7] * count
    go_on.set()
    assert all(call.result(TIMEOUT_S) for call in first)


def test_a_thread_holds_nothing_of_calls_that_it_made(crew_of):
    crew = crew_of(1)
    go_on, messages = threading.Event(), [threading.Event(), threading.Event()]
    of = [weakref.ref(message) for message in messages]
    # One begins a thread, one wakes it up and one comes behind another.
    crew.submit(messages[0].set).result(TIMEOUT_S)
    crew.submit(lambda _: go_on.wait(TIMEOUT_S), messages[1])
    left = crew.submit(lambda: [message() for message in of])
    messages.clear()
    go_on.set()
    assert left.result(TIMEOUT_S) == [None, None]


def test_threads_end_when_they_are_told(crew_of):
    before = set(threading.enumerate())
    crew = crew_of(2)
    release = threading.Event()
    idle, busy = crew.submit(threading.get_ident), crew.submit(release.wait, TIMEOUT_S)
    idle.result(TIMEOUT_S)
    started = set(threading.enumerate()) - before
    crew.stop()
    release.set()
    assert busy.result(TIMEOUT_S)
    for thread in started:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def test_threads_of_no_crew_may_step_aside():
    step_aside()


def test_a_client_that_waits_for_other_devices_takes_no_place_of_their_messages(tmp_path, monkeypatch):
    # One place, and nobody is taken to wait who does not say so.
    monkeypatch.setattr(server, "AT_WORK", 1)
    monkeypatch.setattr(server, "PATIENCE_S", NEVER_S)
    agents = {
        device: Agent(Options(device=device, listen="127.0.0.1:0", store=tmp_path / device, threads=1,
                              max_message_bytes=1 << 20, limits=None))
        for device in ("camera", "box")
    }  # fmt: skip
    steps = [
        Step(name="flow/0", device="box", op="Neg", inputs=("x",), outputs=("m",)),
        Step(name="flow/1", device="camera", op="Relu", inputs=("m",), outputs=("y",)),
    ]
    addresses = {device: agent.address for device, agent in agents.items()}
    x = np.array([[1, -2, 3, -4]], np.float32)
    try:
        deploy(plan(steps, outputs=("y",), source="camera", sink="camera", epoch=1), addresses)
        with AgentClient(addresses["camera"]) as client:
            result = client.infer("flow", {"x": x}, deadline_s=5)
        np.testing.assert_array_equal(result.outputs["y"], np.maximum(-x, 0))
    finally:
        for agent in agents.values():
            agent.stop(1)
