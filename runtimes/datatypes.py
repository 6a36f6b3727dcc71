"""The datatypes of the Open Inference Protocol and the numpy types that carry them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

DATATYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "UINT8": np.dtype(np.uint8),
        "UINT16": np.dtype(np.uint16),
        "UINT32": np.dtype(np.uint32),
        "UINT64": np.dtype(np.uint64),
        "INT8": np.dtype(np.int8),
        "INT16": np.dtype(np.int16),
        "INT32": np.dtype(np.int32),
        "INT64": np.dtype(np.int64),
        "FP16": np.dtype(np.float16),
        # numpy has no bfloat16: its bit patterns travel as they are.
        "BF16": np.dtype(np.uint16),
        "FP32": np.dtype(np.float32),
        "FP64": np.dtype(np.float64),
        # Elements are bytes objects.
        "BYTES": np.dtype(object),
    }
)

_OF_DTYPE = {dtype: name for name, dtype in DATATYPES.items() if name != "BF16"}


def datatype_of(dtype: np.dtype[Any]) -> str | None:
    """Name the datatype that carries a numpy type; None if the protocol has none."""
    return _OF_DTYPE.get(dtype)
