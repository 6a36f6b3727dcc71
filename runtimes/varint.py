"""Reads protobuf's numbers of varying length, where a message is looked at without being decoded."""

from __future__ import annotations


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and where the next field goes on.

    Raises
    ------
    IndexError
        The data end before the number does, or it has more than 64 bits.
    """
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError(f"the number that ends at byte {at} has more than 64 bits")
