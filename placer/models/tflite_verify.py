"""Checks that every offset of a .tflite file stays inside it, before a reader follows them without looking.

The generated Python reader takes positions as they come: an offset before the file's start reads from its end,
a text beyond the end is cut short. What passes here decodes to what the file says, in time linear in its size.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from placer.errors import ProblemError

if TYPE_CHECKING:
    from placer.models.tflite_layout import Field, Layout

IDENTIFIER = b"TFL3"
"""FlatBuffers file identifier of the format, at bytes 4 to 8."""

_UINT32 = struct.Struct("<I")
_INT32 = struct.Struct("<i")
_UINT16 = struct.Struct("<H")

# Parts of a file may be shared, but not so often that reading them takes far longer than the file is large.
_READS_PER_BYTE = 8
_READS_AT_LEAST = 4096


def verify(content: bytes, layout: Layout) -> None:
    """Check the structure of a whole file.

    Parameters
    ----------
    content
        The file.
    layout
        Of the tables, from `tflite_layout.layout`.

    Raises
    ------
    ProblemError
        It is no TFLite model, an offset or a length leaves the file, its parts are shared without measure, or
        it has fields that the installed schema does not know; the message says at which byte.
    """
    if content[4:8] != IDENTIFIER:
        raise ProblemError(f"not a TFLite model: bytes 4 to 8 are {content[4:8]!r}, not {IDENTIFIER!r}")
    walk = _Walk(content, layout)
    walk.table(walk.target(0), "Model")


class _Walk:
    """One pass over a file; offsets only point forward, so it ends."""

    def __init__(self, content: bytes, layout: Layout) -> None:
        self._content = content
        self._layout = layout
        self._reads_left = _READS_PER_BYTE * len(content) + _READS_AT_LEAST

    def target(self, position: int) -> int:
        """Follow the offset that stands at a position."""
        offset: int = _UINT32.unpack_from(self._content, self._inside(position, 4))[0]
        if offset < 4:
            raise _damaged(position, f"an offset of {offset} points into itself")
        return position + offset

    def table(self, position: int, name: str) -> None:
        """Check a table and all that it points to."""
        vtable = position - int(_INT32.unpack_from(self._content, self._inside(position, 4))[0])
        vtable_bytes, table_bytes = self._uint16(vtable), self._uint16(vtable + 2)
        if vtable_bytes < 4 or vtable_bytes % 2 or table_bytes < 4:
            raise _damaged(vtable, f"a {name} of {table_bytes} bytes is described in {vtable_bytes}")
        self._inside(vtable, vtable_bytes)
        self._inside(position, table_bytes)
        self._spend(vtable, vtable_bytes + table_bytes)
        fields = self._layout[name]
        types: dict[int, int] = {}
        for slot in range((vtable_bytes - 4) // 2):
            offset = self._uint16(vtable + 4 + 2 * slot)
            if offset == 0:
                continue
            field = fields[slot] if slot < len(fields) else None
            if field is None or field.kind == "unknown":
                raise ProblemError(
                    f"at byte {position}: field {slot} of a {name} is unknown to the installed LiteRT; "
                    "a newer one may know it: pip install --upgrade ai-edge-litert"
                )
            if offset < 4 or offset + field.bytes > table_bytes:
                raise _damaged(position, f"{field.name} is said to be outside of its {name}")
            types[slot] = self._content[position + offset]
            self._field(position + offset, field, types.get(slot - 1, 0))

    def _field(self, position: int, field: Field, union_type: int) -> None:
        if field.kind == "number":
            return
        target = self.target(position)
        if field.kind == "table":
            self.table(target, field.tables[0])
        elif field.kind == "union":
            if union_type not in field.tables:
                raise ProblemError(
                    f"at byte {position}: {field.name} are of type {union_type}, unknown to the installed LiteRT; "
                    "a newer one may know it: pip install --upgrade ai-edge-litert"
                )
            if union_type:
                self.table(target, field.tables[union_type])
        elif field.kind == "tables":
            for index in range(self._vector(target, 4)):
                self.table(self.target(target + 4 + 4 * index), field.tables[0])
        else:
            self._vector(target, field.element_bytes)

    def _vector(self, position: int, element_bytes: int) -> int:
        """Check a vector's extent; return its length."""
        length: int = _UINT32.unpack_from(self._content, self._inside(position, 4))[0]
        self._inside(position, 4 + length * element_bytes)
        self._spend(position, 4 + length * element_bytes)
        return length

    def _uint16(self, position: int) -> int:
        return int(_UINT16.unpack_from(self._content, self._inside(position, 2))[0])

    def _inside(self, position: int, size: int) -> int:
        if position < 0 or position + size > len(self._content):
            raise _damaged(position, f"{size} bytes are expected there, the file has {len(self._content)}")
        return position

    def _spend(self, position: int, reads: int) -> None:
        self._reads_left -= reads
        if self._reads_left < 0:
            raise _damaged(position, "its parts are shared so often that reading it would not end soon")


def _damaged(position: int, what: str) -> ProblemError:
    return ProblemError(f"a damaged TFLite model: at byte {position}: {what}")
