"""Where commands write: tables or one JSON document on standard output, progress on standard error."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
from rich.console import Console

from placer.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from rich.status import Status

_WIDTH = 120
"""Columns where the output is no terminal: wide enough that tables keep their lines."""


def private_stdout() -> TextIO:
    """Keep standard output to ourselves: what native libraries print there goes to standard error.

    HiGHS 1.12 prints a line to file descriptor 1 where it repairs a solution (its issue 2783), whatever its options
    say, which would spoil a JSON document.
    """
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    os.dup2(2, 1)
    return own


def require_folder(*paths: Path | None, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse files that could not be written, or that the command reads, before the work for them is done.

    Raises
    ------
    ProblemError
        The folder of one does not exist, it is a folder itself, or it is one of the inputs, by whatever name.
    """
    read = [path for path in inputs if path is not None]
    for path in filter(None, paths):
        try:
            is_folder, fits = path.is_dir(), path.parent.is_dir()
        except OSError as error:
            raise ProblemError(f"{path}: cannot be written: {error.strerror}; give another path") from None
        if is_folder:
            raise ProblemError(f"{path}: cannot be written: it is a directory; give a file, such as {path / 'NAME'}")
        if not fits:
            raise ProblemError(f"{path}: cannot be written; give a file in a folder that exists")
        if any(_same(path, other) for other in read):
            raise ProblemError(f"{path}: would overwrite its input; give another path")


def _same(path: Path, other: Path) -> bool:
    """Say whether two paths lead to one file; a file that is not there is no other's."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def write_file(path: Path, data: bytes) -> None:
    """Write a file that a command was asked for.

    Raises
    ------
    ProblemError
        It cannot be written there.
    """
    require_folder(path)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ProblemError(f"{path}: cannot be written: {error.strerror}; give another path") from None


class Terminal:
    """The output of one command."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        # rich asks the terminal for its width, and COLUMNS; a pipe has none of its own.
        width = None if out.isatty() or "COLUMNS" in os.environ else _WIDTH
        self.console = Console(file=out, width=width, highlight=False, markup=False, emoji=False)
        self.errors = Console(stderr=True, highlight=False)
        self._status: Status | None = None
        # While a command works, what Python libraries print is kept out of its answer too.
        self._strays = redirect_stdout(sys.stderr)

    def show(self, *renderables: Any) -> None:
        """Write tables or text for people."""
        for renderable in renderables:
            self.console.print(renderable)

    def json(self, value: Any) -> None:
        """Write one JSON document: bytes as they are, anything else encoded."""
        data = value if isinstance(value, bytes) else msgspec.json.format(msgspec.json.encode(value), indent=1)
        self._out.write(data.decode().rstrip("\n") + "\n")
        self._out.flush()

    def progress(self, text: str) -> None:
        """Say what is being done; the line is replaced by the next and vanishes at the end."""
        if self._status is not None:
            self._status.update(_plain(text))

    def say(self, text: str) -> None:
        """Write a line that stays, for people, to standard error."""
        self.errors.print(_plain(text), soft_wrap=True)

    def __enter__(self) -> Terminal:
        self._strays.__enter__()
        if self.errors.is_terminal:
            self._status = self.errors.status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._strays.__exit__(kind, error, trace)
        if self._status is not None:
            self._status.stop()
            self._status = None


def _plain(text: str) -> str:
    """Keep brackets from being read as markup."""
    return text.replace("[", "\\[")
