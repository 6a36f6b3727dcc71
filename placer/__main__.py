"""The `placer` command: turns errors into messages and exit codes, and signals into an orderly end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

EXIT_CODES = {
    "bad input": 2,
    "infeasible": 3,
    "deployment or run failed": 4,
    "no plan within the time limit": 5,
    "a device could not be measured": 6,
    "interrupted": 130,
}


_AGAIN_S = 0.05
"""Seconds after which a signal that was lost is sent again: by then the library is done with what it was at."""


class _Stopped(BaseException):
    """A signal asked this process to end; not an `Exception`, so that nothing on the way takes it for an error."""

    def __init__(self, number: int) -> None:
        self.number = number


def main() -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit code: 0 for success, else one of `EXIT_CODES`; 128 and the signal's number where one ended it.
    """
    # gRPC writes lines of its own about agents that are not there; what they say is in our message.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Agents are stopped and folders removed by leaving `with` statements, which a bare SIGTERM would not do.
    endings = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    for number in endings:
        signal.signal(number, _stop)
    try:
        with _sent_again():
            code = _run()
        if code == EXIT_CODES["interrupted"]:
            # Typer turns Ctrl-C into this exit code without a word.
            raise KeyboardInterrupt
        # All is said: a signal while the interpreter winds up would only spoil the exit code.
        for number in (signal.SIGINT, *endings):
            signal.signal(number, signal.SIG_IGN)
        return code
    except KeyboardInterrupt:
        _leave(EXIT_CODES["interrupted"], "interrupted; nothing was left running here")
    except _Stopped as stopped:
        _leave(128 + stopped.number, f"ended by {signal.Signals(stopped.number).name}; nothing was left running here")


def _run() -> int:
    try:
        from placer.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("placer", "profiles", "runtimes"):
            raise
        return _fail(f"{error.name} is missing; pip install 'placer-joules[planner,onnx]'", "bad input")
    from placer.errors import DeployError, Infeasible, MeasureError, NoPlanFound, PlacerError, RunError
    from profiles import ProfileError
    from runtimes.errors import AgentError

    try:
        code = app(standalone_mode=False)
    except (DeployError, RunError, AgentError) as error:
        return _fail(str(error), "deployment or run failed")
    except MeasureError as error:
        return _fail(str(error), "a device could not be measured")
    except Infeasible as error:
        return _fail(str(error), "infeasible")
    except NoPlanFound as error:
        return _fail(str(error), "no plan within the time limit")
    except (PlacerError, ProfileError) as error:
        return _fail(str(error), "bad input")
    except OSError as error:
        return _fail(f"this machine: {error}", "deployment or run failed")
    except Exception as error:
        # The command line's own errors (typer's) know how to show themselves.
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show()
            return int(error.exit_code)
        raise
    return code if isinstance(code, int) else 0


def _fail(message: str, kind: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return EXIT_CODES[kind]


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped(number)


@contextmanager
def _sent_again() -> Iterator[None]:
    """Watch for exceptions that Python can only print, since what was called cannot pass them on."""
    before = sys.excepthook, sys.unraisablehook
    sys.excepthook = _swallowed
    sys.unraisablehook = lambda swallowed: _swallowed(swallowed.exc_type, swallowed.exc_value, swallowed.exc_traceback)
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = before


def _swallowed(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Send a signal again that met us inside a native library, which printed its exception and went on."""
    if isinstance(error, KeyboardInterrupt | _Stopped):
        number = error.number if isinstance(error, _Stopped) else signal.SIGINT
        threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)).start()
    else:
        sys.__excepthook__(kind, error or kind(), trace)


def _leave(code: int, message: str) -> NoReturn:
    """End at once: a solver's thread may still be computing, and an orderly exit under it aborts the process."""
    sys.stderr.write(f"error: {message}\n")
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
