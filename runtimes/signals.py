"""Puts off the signals that ask this process to end, for moments in which ending would leave something behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def signals_afterwards() -> Iterator[None]:
    """Let signals that ask this process to end arrive at the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread alone
        return
    arrived: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # Handlers, not a mask: a mask would be inherited by child processes.
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in arrived:
        signal.raise_signal(number)
