"""Writes metrics in Prometheus' text format, version 0.0.4.

Its few rules (one block per name, escaped labels, cumulative buckets) are less than the client library that would
be needed for them on every device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})

Labels = tuple[tuple[str, str], ...]


class Page:
    """One answer to a scrape; every metric is written whole, in one go."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(
        self, name: str, kind: Literal["counter", "gauge"], help_text: str, samples: Iterable[tuple[Labels, float]]
    ) -> None:
        """Write a metric; one without samples is left out."""
        lines = [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
        self._block(name, kind, help_text, lines)

    def write_histogram(
        self, name: str, help_text: str, bounds: Sequence[float],
        samples: Iterable[tuple[Labels, Sequence[int], float]],
    ) -> None:  # fmt: skip
        """Write a histogram.

        Parameters
        ----------
        name, help_text
            Its name and meaning.
        bounds
            Upper bounds of its buckets, ascending, without the infinite one.
        samples
            Labels, the count in each bucket (one more than bounds; not cumulative), and the sum.
        """
        lines = []
        for labels, counts, total in samples:
            below = 0
            for bound, count in zip((*bounds, float("inf")), counts, strict=True):
                below += count
                lines.append(f"{name}_bucket{_labels((*labels, ('le', _number(bound))))} {below}")
            lines += [f"{name}_sum{_labels(labels)} {_number(total)}", f"{name}_count{_labels(labels)} {below}"]
        self._block(name, "histogram", help_text, lines)

    def text(self) -> str:
        """Give the page."""
        return "".join(line + "\n" for line in self._lines)

    def _block(self, name: str, kind: str, help_text: str, lines: list[str]) -> None:
        if lines:
            self._lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", *lines]


def labels(values: Mapping[str, str]) -> Labels:
    """Give labels in the form that a page takes."""
    return tuple(values.items())


def _labels(pairs: Labels) -> str:
    inside = ",".join(f'{name}="{_text(value)}"' for name, value in pairs)
    return f"{{{inside}}}" if inside else ""


def _text(value: str) -> str:
    return value.translate(_ESCAPES).encode(errors="backslashreplace").decode()


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return repr(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
