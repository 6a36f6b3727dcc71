from __future__ import annotations

import signal
import time

import pytest

from placer.__main__ import _stop, _Stopped, _swallowed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_whose_exception_a_library_swallowed_comes_again(number):
    handler = signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _stop)
    expected = KeyboardInterrupt if number == signal.SIGINT else _Stopped
    error = expected() if number == signal.SIGINT else _Stopped(number)
    try:
        _swallowed(type(error), error, None)
        with pytest.raises(expected):
            time.sleep(10)
    finally:
        signal.signal(number, handler)


def test_other_errors_are_shown(capsys):
    _swallowed(ValueError, ValueError("seen"), None)
    assert "ValueError: seen" in capsys.readouterr().err
