"""One at a time, in order, bounded: the queue of a device's executions."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest

from runtimes.cache import Cache
from runtimes.errors import DeadlineExceeded, Exhausted, Failed
from runtimes.processor import Execution, Processor
from runtimes.session import InProcessSession
from tests.runtimes.plans import tensor
from tests.runtimes.test_session import segment

LABELS = ["first", "a", "b", "c", "running", "waiting", "more", "bug"]
SPEC = segment(b"model", [tensor("x")], [tensor("y")])


class Gate:
    """An executor that waits at a gate, and notes who passes."""

    def __init__(self) -> None:
        self.inputs = {"x": ("FP32", [1, 4])}
        self.outputs = {"y": ("FP32", [1, 4])}
        self.open = threading.Event()
        self.entered = threading.Event()
        self.passed: list[str] = []
        self.stopped = False
        self._inside = threading.Lock()

    def run(self, feeds, outputs):
        assert self._inside.acquire(blocking=False), "two executions at once"
        self.entered.set()
        assert self.open.wait(10)
        label = LABELS[int(feeds["x"][0, 0])]
        self.passed.append(label)
        self._inside.release()
        if label == "bug":
            raise ZeroDivisionError
        return [feeds["x"]]

    def stop(self) -> None:
        self.stopped = True
        self.open.set()


class Bench:
    """A processor, its gate, and what its executions ended with."""

    def __init__(self, pool: ThreadPoolExecutor, capacity: int = 100) -> None:
        self.gate = Gate()
        self.session = InProcessSession(SPEC, self.gate)
        self.processor = Processor(pool, capacity)
        self.ended: list[tuple[object, object]] = []
        self.patient: list[bool] = []
        self.all_ended = threading.Semaphore(0)

    def execution(self, order, label, deadline=math.inf, wanted=lambda: True) -> Execution:
        def finish(outcome, timing, patient):
            self.ended.append((outcome, timing))
            self.patient.append(patient)
            self.all_ended.release()

        x = np.full((1, 4), LABELS.index(label), np.float32)
        return Execution(
            order=order, session=self.session, tensors={"x": x}, deadline=deadline, wanted=wanted, finish=finish
        )

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.all_ended.acquire(timeout=10)


@pytest.fixture
def bench():
    with ThreadPoolExecutor(4) as pool:
        yield Bench(pool)


def test_executions_run_one_at_a_time_in_their_order(bench):
    bench.processor.submit([bench.execution((1, 0), "first")], inline=False)
    assert bench.gate.entered.wait(10)
    for order, value in (((3, 0), "c"), ((2, 1), "b"), ((2, 0), "a")):
        bench.processor.submit([bench.execution(order, value)], inline=True)
    bench.gate.open.set()
    bench.wait(4)
    assert bench.gate.passed == ["first", "a", "b", "c"]


def test_of_those_ready_together_the_first_runs_first(bench):
    bench.gate.open.set()
    bench.processor.submit([bench.execution((1, i), "abc"[i]) for i in (2, 0, 1)], inline=True)
    bench.wait(3)
    assert bench.gate.passed == ["a", "b", "c"]


def test_a_free_device_is_worked_by_the_bringing_thread():
    # Without workers only the thread itself can have run it.
    bench = Bench(ThreadPoolExecutor(1))
    bench.gate.open.set()
    bench.processor.submit([bench.execution((1, 0), "a")], inline=True)
    assert bench.gate.passed == ["a"]
    assert bench.patient == [False]


def test_what_a_worker_is_to_run_is_begun_before_where_that_can_be(bench):
    begun: list[int] = []
    made = {"y": np.zeros((1, 4), np.float32)}

    def begin(tensors, deadline):
        begun.append(threading.get_ident())
        return lambda: made

    bench.session.begin = begin
    bench.gate.open.set()
    bench.processor.submit([bench.execution((1, 0), "a")], inline=False)
    bench.wait(1)
    assert begun == [threading.get_ident()]
    assert bench.ended[0][0] is made
    assert bench.ended[0][1].queue_s >= 0
    # Neither what this thread runs itself, nor what is overdue.
    bench.processor.submit([bench.execution((2, 0), "b")], inline=True)
    bench.processor.submit([bench.execution((3, 0), "c", deadline=time.monotonic())], inline=False)
    bench.wait(2)
    assert len(begun) == 1
    assert bench.gate.passed == ["b"]


def test_only_workers_are_patient(bench):
    bench.gate.open.set()
    bench.processor.submit([bench.execution((1, i), "abc"[i]) for i in range(3)], inline=True)
    bench.wait(3)
    assert sorted(bench.patient) == [False, True, True]


def test_a_full_queue_is_said_and_nothing_of_it_is_kept():
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(pool, capacity=2)
        bench.processor.submit([bench.execution((0, 0), "running")], inline=False)
        assert bench.gate.entered.wait(10)
        bench.processor.submit([bench.execution((1, 0), "waiting")], inline=False)
        with pytest.raises(Exhausted, match="1 executions are waiting"):
            bench.processor.submit([bench.execution((2, i), "more") for i in range(2)], inline=False)
        bench.gate.open.set()
        bench.wait(2)
        assert bench.gate.passed == ["running", "waiting"]


def test_a_fault_ends_its_execution_alone(bench):
    bench.gate.open.set()
    with_bug = bench.execution((1, 0), "bug")
    bench.processor.submit([with_bug, bench.execution((1, 1), "a")], inline=False)
    bench.wait(2)
    ((failure, no_timing),) = [end for end in bench.ended if isinstance(end[0], Failed)]
    assert "ZeroDivisionError" in str(failure)
    assert no_timing is None
    ((_, timing),) = [end for end in bench.ended if not isinstance(end[0], Failed)]
    assert timing is not None


def test_what_is_overdue_is_stopped_or_turned_away(bench):
    assert bench.processor.stop_overdue(time.monotonic()) == math.inf
    now = time.monotonic()
    bench.processor.submit([bench.execution((1, 0), "a", deadline=now + 100)], inline=False)
    assert bench.gate.entered.wait(10)
    bench.processor.submit([bench.execution((2, 0), "b", deadline=now + 50)], inline=False)
    bench.processor.submit([bench.execution((3, 0), "c", deadline=now - 1)], inline=False)
    assert bench.processor.stop_overdue(now) == now + 50
    assert bench.processor.stop_overdue(now + 60) == now + 100
    assert not bench.gate.stopped
    assert now + 100 < bench.processor.stop_overdue(now + 100) < now + 101
    assert bench.gate.stopped
    bench.wait(3)
    assert bench.gate.passed == ["a", "b"]
    assert [type(outcome) for outcome, _ in bench.ended].count(DeadlineExceeded) == 1


def test_what_nobody_wants_any_more_does_not_run(bench):
    bench.gate.open.set()
    bench.processor.submit(
        [bench.execution((1, 0), "a", wanted=lambda: False), bench.execution((1, 1), "b")], inline=False
    )
    bench.wait(2)
    assert bench.gate.passed == ["b"]


def test_what_nobody_wants_any_more_is_stopped(bench):
    wanted = [True]
    bench.processor.submit([bench.execution((1, 0), "a", wanted=lambda: bool(wanted))], inline=False)
    assert bench.gate.entered.wait(10)
    assert bench.processor.stop_overdue(time.monotonic()) == math.inf
    assert not bench.gate.stopped
    wanted.clear()
    assert bench.processor.stop_overdue(time.monotonic()) < math.inf
    assert bench.gate.stopped
    bench.wait(1)


def alone(bench, label: str, time_s: float = 100.0) -> Execution:
    return Execution(order=(time.monotonic_ns(), 0), session=bench.session, deadline=time.monotonic() + time_s,
                     tensors={"x": np.full((1, 4), LABELS.index(label), np.float32)})  # fmt: skip


def test_a_thread_that_waits_for_its_turn_runs_its_own_execution():
    # Its workers never run anything: the threads that wait do.
    workers = ThreadPoolExecutor(1)
    workers.shutdown()
    bench = Bench(workers)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(bench.processor.run, alone(bench, "first"))
        assert bench.gate.entered.wait(10)
        others = []
        for count, label in enumerate("ab", 1):
            others.append(threads.submit(bench.processor.run, alone(bench, label)))
            while bench.processor.waiting() < count:
                time.sleep(0.001)
        bench.gate.open.set()
        for done, label in zip([first, *others], ["first", "a", "b"], strict=True):
            outputs, timing = done.result(10)
            assert outputs["y"][0, 0] == LABELS.index(label)
            assert timing is not None
    assert bench.gate.passed == ["first", "a", "b"]


def test_workers_and_waiting_threads_pass_the_device_on_to_each_other(bench):
    bench.processor.submit([bench.execution((0, 0), "first")], inline=False)
    assert bench.gate.entered.wait(10)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(bench.processor.run, alone(bench, "a"))
        while bench.processor.waiting() < 1:
            time.sleep(0.001)
        bench.processor.submit([bench.execution((math.inf, 0), "b")], inline=True)
        bench.gate.open.set()
        assert waiting.result(10)[0]["y"] is not None
    bench.wait(2)
    assert bench.gate.passed == ["first", "a", "b"]


def test_whose_turn_does_not_come_in_time_leaves_the_queue(bench):
    bench.processor.submit([bench.execution((0, 0), "running")], inline=False)
    assert bench.gate.entered.wait(10)
    outcome, timing = bench.processor.run(alone(bench, "a", 0.01))
    assert isinstance(outcome, DeadlineExceeded)
    assert timing is None
    assert bench.processor.waiting() == 0
    bench.gate.open.set()
    bench.wait(1)
    assert bench.processor.run(alone(bench, "b"))[1] is not None
    assert bench.gate.passed == ["running", "b"]


def test_a_full_queue_is_said_to_who_would_wait():
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(pool, capacity=1)
        bench.processor.submit([bench.execution((0, 0), "running")], inline=False)
        assert bench.gate.entered.wait(10)
        bench.processor.submit([bench.execution((1, 0), "waiting")], inline=False)
        with pytest.raises(Exhausted, match="1 executions are waiting"):
            bench.processor.run(alone(bench, "more"))
        bench.gate.open.set()
        bench.wait(2)


def test_what_is_in_the_cache_is_neither_run_nor_begun_nor_padded(bench):
    cache = Cache(1 << 20)
    bench.gate.open.set()
    # Far more than a look takes, far less than the test may.
    bench.session.spec = msgspec.structs.replace(SPEC, pad_to_s=0.2)
    bench.session.begin = lambda tensors, deadline: pytest.fail("begun before it was looked for")
    for label in ("a", "b", "a", "bug", "bug", "a"):
        execution = bench.execution((1, 0), label)
        execution.cache = cache
        bench.processor.submit([execution], inline=False)
        bench.wait(1)
    assert bench.gate.passed == ["a", "b", "bug", "bug"]
    outcomes = [outcome for outcome, _ in bench.ended]
    assert [float(outcomes[i]["y"][0, 0]) for i in (0, 2, 5)] == [LABELS.index("a")] * 3
    # What failed is no result.
    assert all(isinstance(outcomes[i], Failed) for i in (3, 4))
    timings = [timing for _, timing in bench.ended if timing is not None]
    assert [t.hit for t in timings] == [False, False, True, True]
    assert all(t.padded_s >= 0.2 for t in timings[:2])
    assert all(0 < t.run_s == t.padded_s for t in timings[2:])
    # Who brings no cache is executed.
    del bench.session.begin
    bench.processor.submit([bench.execution((1, 0), "a")], inline=False)
    bench.wait(1)
    assert bench.ended[-1][1].hit is None
    assert bench.gate.passed[-1] == "a"
