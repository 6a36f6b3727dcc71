import hashlib
import struct
import zlib

import numpy as np
import pytest

from placer.demo_data import IMAGE, INPUT_NAME, INPUT_SHAPE, LABELS, MODEL
from placer.demo_data.png import read_png
from placer.demo_data.preprocess import preprocess
from placer.errors import ProblemError
from placer.models.onnx_run import open_session


@pytest.mark.parametrize(("quarters", "label"), [(0, "0"), (3, "90"), (2, "180"), (1, "270")])
def test_the_model_tells_which_way_the_page_was_turned(quarters, label):
    page = np.rot90(read_png(IMAGE.read_bytes()), quarters)  # rot90 turns counter-clockwise
    given = preprocess(page)
    assert (given.shape, given.dtype) == (INPUT_SHAPE, np.float32)
    (scores,) = open_session(MODEL.read_bytes(), threads=1).run(None, {INPUT_NAME: given})
    assert LABELS[int(scores[0].argmax())] == label
    assert scores[0].max() > 0.9


def test_files_are_the_ones_whose_origin_is_stated():
    stated = (MODEL.parent / "README.md").read_text()
    for file in (MODEL, IMAGE):
        assert f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" in stated
    for name in ("LICENSE.orientation", "LICENSE.page"):
        assert "opyright" in (MODEL.parent / name).read_text()


def test_preprocessing_keeps_a_flat_image_flat():
    flat = np.full((300, 400, 3), 124, np.uint8)
    expected = (124 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(preprocess(flat)[0].mean(axis=(1, 2)), expected, atol=1e-5)


def test_channels_are_turned_to_blue_green_red():
    red = np.zeros((256, 256, 3), np.uint8)
    red[:, :, 0] = 255
    blue_green_red = preprocess(red)[0].mean(axis=(1, 2))
    np.testing.assert_allclose(blue_green_red, [-0.485 / 0.229, -0.456 / 0.224, 0.594 / 0.225], atol=1e-5)


def png(pixels, *, filters, depth=8, interlace=0, stamp=None):
    """Write a PNG by the book, each line with the filter given for it."""
    height, width, channels = pixels.shape
    padded = np.pad(pixels.astype(int), ((1, 0), (1, 0), (0, 0)))
    lines = b""
    for row in range(height):
        here, above = padded[row + 1], padded[row]
        left, up, corner = here[:-1], above[1:], above[:-1]
        guess = left + up - corner
        distances = np.abs(np.stack([guess - left, guess - up, guess - corner]))
        paeth = np.choose(distances.argmin(axis=0), [left, up, corner])
        kind = filters[row % len(filters)]
        expected = [0 * left, left, up, (left + up) // 2, paeth][kind]
        lines += bytes([kind if stamp is None else stamp]) + ((here[1:] - expected) % 256).astype(np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth, 2 if channels == 3 else 0, 0, 0, interlace)
    chunks = [(b"IHDR", header), (b"tEXt", b"note"), (b"IDAT", zlib.compress(lines)[:5])]
    chunks += [(b"IDAT", zlib.compress(lines)[5:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_png_with_every_filter(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (11, 7, channels), np.uint8)
    read = read_png(png(pixels, filters=[0, 1, 2, 3, 4]))
    np.testing.assert_array_equal(read, np.broadcast_to(pixels, (11, 7, 3)))


def test_bad_png_is_refused():
    good = png(np.zeros((2, 2, 3), np.uint8), filters=[0])
    for bad in (b"", b"GIF89a", good[:40], good[:-20], good.replace(b"note", b"nope")):
        with pytest.raises(ProblemError, match="not a PNG image, or a damaged one"):
            read_png(bad)
    with pytest.raises(ProblemError, match="line 0 has the unknown filter 9"):
        read_png(png(np.zeros((1, 1, 3), np.uint8), filters=[0], stamp=9))
    for changes in ({"depth": 16}, {"interlace": 1}):
        with pytest.raises(ProblemError, match="only 8-bit grey or RGB without interlacing"):
            read_png(png(np.zeros((2, 2, 3), np.uint8), filters=[0], **changes))
