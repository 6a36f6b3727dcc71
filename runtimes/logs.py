"""How an agent's log is written: lines for people, or one JSON object per line for machines."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from runtimes.trace import TraceContext

LogFormat = Literal["text", "json"]
_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# What log calls attach to a record; names and numbers, never a tensor's values.
_FIELDS = ("flow", "request", "status", "trace_id", "span_id")


class TextFormatter(logging.Formatter):
    """Writes each record for people; a message is one line, whatever names and ids of strangers it quotes."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's own name
        """Write a record without its exception's trace."""
        written = super().formatMessage(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in written)


class JsonFormatter(logging.Formatter):
    """Writes each record as one JSON object on one line.

    Parameters
    ----------
    device
        The device's name, which every line carries.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; a trace of an exception is in the field ``exception``."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "device": self._device,
            "message": record.getMessage(),
        }
        line |= {name: str(value) for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # A lone surrogate, which a foreign name may hold, has no place in UTF-8.
        readable = {key: value.encode(errors="backslashreplace").decode() for key, value in line.items()}
        return msgspec.json.encode(readable).decode()


def set_up_logs(device: str, form: LogFormat, level: str) -> None:
    """Let every log of this process go to standard error in one form.

    Parameters
    ----------
    device
        The device's name.
    form
        ``"text"`` or ``"json"``.
    level
        The least level that is written, such as ``"INFO"``.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(device) if form == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def about(*, flow: str, request: str, trace: TraceContext | None, status: str = "OK") -> dict[str, str]:
    """Make the ``extra`` of a log call about one request."""
    fields = {"flow": flow, "request": request, "status": status}
    if trace is not None:
        fields |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
    return fields
