"""Reads PNG images with the standard library alone, since the demo is no reason to require an imaging one."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from placer.errors import ProblemError

if TYPE_CHECKING:
    import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3}  # colour type: grey, RGB
_MAX_PIXELS = 100_000_000


def read_png(content: bytes) -> npt.NDArray[np.uint8]:
    """Decode an 8-bit grey or RGB image without interlacing (PNG, ISO/IEC 15948).

    Returns
    -------
    numpy.ndarray
        uint8 [height, width, 3]; grey is repeated over the channels.

    Raises
    ------
    ProblemError
        The file is no PNG, damaged, or of another kind.
    """
    try:
        header, packed = _chunks(content)
        width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
        if depth != 8 or colour not in _CHANNELS or interlace:
            raise ProblemError(
                f"the PNG has {depth} bits, colour type {colour}, interlacing {interlace}; "
                "only 8-bit grey or RGB without interlacing is read"
            )
        if not 0 < width * height <= _MAX_PIXELS:
            raise ProblemError(f"the PNG has {width} x {height} pixels; 1 to {_MAX_PIXELS} are read")
        channels = _CHANNELS[colour]
        size = height * (1 + width * channels)
        raw = zlib.decompressobj().decompress(packed, size)
        lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels)
    except (struct.error, zlib.error, ValueError) as error:
        raise ProblemError(f"not a PNG image, or a damaged one: {error}") from error
    pixels = _unfiltered(lines, channels).reshape(height, width, channels)
    return np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3)))


def _chunks(content: bytes) -> tuple[bytes, bytes]:
    """Return the header chunk and the joined data chunks; every checksum is verified."""
    if not content.startswith(_SIGNATURE):
        raise ValueError("the signature is missing")
    header, packed, place, kind = b"", b"", len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place)
        data = content[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack_from(">I", content, place + 8 + length)
        if zlib.crc32(data, zlib.crc32(kind)) != checksum:
            raise ValueError(f"the checksum of chunk {kind.decode('latin-1')} is wrong")
        if kind == b"IHDR":
            header = data
        elif kind == b"IDAT":
            packed += data
        place += 12 + length
    return header, packed


def _unfiltered(lines: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """Undo the filter of each line; neighbours outside the image are zero (clause 9)."""
    height, stride = lines.shape[0], lines.shape[1] - 1
    out = np.zeros((height + 1, channels + stride), np.uint8)
    for row in range(height):
        kind, line = int(lines[row, 0]), lines[row, 1:]
        above, here = out[row], out[row + 1]
        if kind == 0:
            here[channels:] = line
        elif kind == 2:
            here[channels:] = line + above[channels:]
        elif kind in (1, 3, 4):
            for place in range(channels, channels + stride):
                left, up, corner = int(here[place - channels]), int(above[place]), int(above[place - channels])
                guess = left if kind == 1 else (left + up) // 2 if kind == 3 else _paeth(left, up, corner)
                here[place] = (int(line[place - channels]) + guess) & 255
        else:
            raise ProblemError(f"not a PNG image, or a damaged one: line {row} has the unknown filter {kind}")
    return out[1:, channels:]


def _paeth(left: int, up: int, corner: int) -> int:
    """Return the neighbour nearest to left + up - corner; in doubt left, then up (clause 9.4)."""
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
