"""Turns an image into the demo model's input, as the model's publisher does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_SHORT_SIDE = 256
_CROP = 224
_LOBES = 4
# Mean and deviation of ImageNet's pixels, with which the classifier was trained.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def preprocess(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Resize the short side to 256 pixels, crop the middle, normalize.

    Parameters
    ----------
    image
        uint8 [height, width, 3] in the channel order RGB.

    Returns
    -------
    numpy.ndarray
        float32 [1, 3, 224, 224].
    """
    height, width = image.shape[:2]
    scale = _SHORT_SIDE / min(height, width)
    resized = _resized(_resized(image[:, :, ::-1], 0, round(height * scale)), 1, round(width * scale))
    pixels = np.clip(np.rint(resized), 0, 255).astype(np.float32)
    top, left = (pixels.shape[0] - _CROP) // 2, (pixels.shape[1] - _CROP) // 2
    cropped = pixels[top : top + _CROP, left : left + _CROP]
    normal = (cropped * np.float32(1 / 255) - _MEAN) / _DEVIATION
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None], np.float32)


def _resized(pixels: npt.NDArray[Any], axis: int, size: int) -> npt.NDArray[np.float64]:
    """Resample one axis with the Lanczos kernel sinc(x) sinc(x/4), pixel centres at halves, edges repeated."""
    old = pixels.shape[axis]
    centres = (np.arange(size) + 0.5) * old / size - 0.5
    first = np.floor(centres).astype(int) - _LOBES + 1
    places = first[:, None] + np.arange(2 * _LOBES)
    distance = centres[:, None] - places
    weights = np.sinc(distance) * np.sinc(distance / _LOBES)
    weights /= weights.sum(axis=1, keepdims=True)
    taken = np.take(pixels.astype(np.float64), np.clip(places, 0, old - 1), axis=axis)
    moved = np.moveaxis(taken, axis + 1, -1)
    shape = [1] * moved.ndim
    shape[axis], shape[-1] = weights.shape
    summed: npt.NDArray[np.float64] = (moved * weights.reshape(shape)).sum(axis=-1)
    return summed
