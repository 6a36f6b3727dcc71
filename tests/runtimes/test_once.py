"""An event for one waiter, as the standard library's behaves."""

from __future__ import annotations

import threading

from runtimes.once import Once


def test_it_is_waited_for_until_set_and_stays_set():
    once = Once()
    assert not once.is_set()
    assert not once.wait(0)
    assert not once.wait(-1)
    assert not once.wait(0.01)
    once.set()
    assert once.is_set()
    assert all(once.wait(0) for _ in range(3))


def test_a_waiter_wakes_when_another_thread_sets_it():
    once = Once()
    timer = threading.Timer(0.05, once.set)
    timer.start()
    assert once.wait(30)
    assert once.wait(30)
    timer.join()
