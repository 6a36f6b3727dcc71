"""Binding to one processor lasts as long as it is asked for, and comes in no execution's way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from runtimes.errors import DeadlineExceeded
from runtimes.isolation import process
from runtimes.isolation.same_processor import SameProcessor
from tests.runtimes.isolation.models import NEG, NEG_SPEC, ONES, Opened, endless_from
from tests.runtimes.plans import operator_model, tensor
from tests.runtimes.test_session import segment

ALLOWED = os.sched_getaffinity(0)
LARGE = (1, process._MUCH_BYTES // 4)


@contextmanager
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as made:
        assert made.stdin is not None
        yield made
        made.stdin.close()


def test_both_are_on_one_processor_and_then_where_they_may_be():
    with sleeper() as other:
        with SameProcessor(other.pid):
            (here,) = os.sched_getaffinity(0)
            assert os.sched_getaffinity(other.pid) == {here}
        assert os.sched_getaffinity(0) == os.sched_getaffinity(other.pid) == ALLOWED


def test_the_process_may_be_afterwards_where_the_thread_that_asks_may_be():
    def asks():
        os.sched_setaffinity(0, {min(ALLOWED)})
        with SameProcessor(other.pid):
            assert os.sched_getaffinity(other.pid) == {min(ALLOWED)}
        seen.append((os.sched_getaffinity(0), os.sched_getaffinity(other.pid)))

    seen: list[tuple[set[int], set[int]]] = []
    with sleeper() as other:
        thread = threading.Thread(target=asks)
        thread.start()
        thread.join()
    assert seen == [({min(ALLOWED)}, {min(ALLOWED)})]


def test_a_process_that_has_ended_is_no_failure():
    with sleeper() as other:
        pass
    with SameProcessor(other.pid):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == ALLOWED


@pytest.fixture
def bound(monkeypatch) -> list[int]:
    """Note each time that an execution begins with its process bound to one processor."""
    noted: list[int] = []

    class Noting(SameProcessor):
        def __enter__(self) -> None:
            super().__enter__()
            noted.append(len(os.sched_getaffinity(self._process_id)))

    monkeypatch.setattr(process, "SameProcessor", Noting)
    return noted


def opened(shape=LARGE) -> Opened:
    model = operator_model("Neg", ("x",), ("y",), shape=shape)
    return Opened(segment(model, [tensor("x", shape)], [tensor("y", shape)]), model)


def may_run(session: Opened) -> set[int]:
    assert session.session.process_id is not None
    return os.sched_getaffinity(session.session.process_id)


def test_large_tensors_stay_on_one_processor_while_executions_are_short_and_far_between(bound, monkeypatch):
    session = opened()
    x = np.ones(LARGE, np.float32)
    # Whatever this machine does meanwhile.
    monkeypatch.setattr(process, "_SHORT_RUN_S", 1e9)
    monkeypatch.setattr(process, "_REST_S", 0.0)
    for value in range(3):
        np.testing.assert_array_equal(session.run(value * x)["y"], -value * x)
        assert may_run(session) == os.sched_getaffinity(0) == ALLOWED
    assert bound == [1, 1, 1]
    monkeypatch.setattr(process, "_SHORT_RUN_S", 0.0)
    session.run(x)
    monkeypatch.setattr(process, "_SHORT_RUN_S", 1e9)
    monkeypatch.setattr(process, "_REST_S", 1e9)
    session.run(x)
    assert bound == [1, 1, 1]


def test_small_tensors_go_where_they_like(bound):
    session = Opened(NEG_SPEC, NEG)
    for _ in range(3):
        session.run(ONES)
    assert bound == []


def test_an_execution_that_is_given_up_leaves_nothing_bound(bound, monkeypatch):
    monkeypatch.setattr(process, "_MUCH_BYTES", 0)
    monkeypatch.setattr(process, "_SHORT_RUN_S", 1e9)
    session = Opened(*endless_from())
    with pytest.raises(DeadlineExceeded):
        session.run(ONES, within_s=0.2)
    assert bound == [1]
    assert may_run(session) == os.sched_getaffinity(0) == ALLOWED
