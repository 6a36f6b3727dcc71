"""Reads the files that are given as a flow's inputs, and writes its outputs; checks both ends' names and shapes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from placer.errors import ProblemError
from runtimes.datatypes import datatype_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runtimes.specs import TensorSpec

Array = npt.NDArray[Any]


def read_feeds(items: Sequence[str], inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Read one request's inputs.

    Parameters
    ----------
    items
        Each `FILE` or `NAME=FILE`: a .npy file holds one input (the only one, if it is not named), a .npz file
        holds several by their names.
    inputs
        What the flow takes.

    Raises
    ------
    ProblemError
        A file is missing or is no array, or the arrays are not those that the flow takes.
    """
    names = [spec.name for spec in inputs]
    feeds: dict[str, Array] = {}
    for item in items:
        name, file = _split(item, names)
        loaded = _load(item, file)
        if isinstance(loaded, dict):
            given = loaded
        elif name is not None or len(names) == 1:
            given = {name or names[0]: loaded}
        else:
            raise ProblemError(f"--input {item}: the flow has several inputs; give NAME=FILE with one of {names}")
        if twice := sorted(given.keys() & feeds.keys()):
            raise ProblemError(f"--input {item}: {', '.join(twice)} was given before; give each input once")
        feeds |= given
    if set(feeds) != set(names):
        raise ProblemError(f"--input: the flow takes {names}, the files give {sorted(feeds)}")
    for spec in inputs:
        _check(spec, feeds[spec.name])
    return feeds


def encode_outputs(outputs: Mapping[str, Array]) -> bytes:
    """Encode arrays as the bytes of a .npz file, whatever they are called."""
    buffer = io.BytesIO()
    # Not by `np.savez`, which cannot store an array that is called "file".
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in outputs.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def _split(item: str, names: Sequence[str]) -> tuple[str | None, str]:
    """Take `NAME=` off, unless it is the beginning of a file's name."""
    name, found, file = item.partition("=")
    if not found or (name not in names and Path(item).exists()):
        return None, item
    if name not in names:
        raise ProblemError(f"--input {item}: the flow has no input {name!r}; it takes {list(names)}")
    return name, file


def _load(item: str, file: str) -> Array | dict[str, Array]:
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise ProblemError(f"--input {item}: {file} cannot be read: {error.strerror}") from None
    try:
        # From memory: numpy leaves a broken .npz open.
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                return {key: loaded[key] for key in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ProblemError(
            f"--input {item}: not a .npy or .npz file of numbers; write one with numpy.save or numpy.savez"
        ) from None
    return np.asarray(loaded)


def _check(spec: TensorSpec, array: Array) -> None:
    datatype = datatype_of(array.dtype)
    # numpy has no bfloat16, and text stands in files as what it is: the agent says whether it can read them.
    if spec.dtype not in ("BF16", "BYTES") and datatype != spec.dtype:
        raise ProblemError(
            f"--input: {spec.name!r} is of type {array.dtype} ({datatype or 'unknown to the protocol'}), "
            f"the flow takes {spec.dtype}; convert it with .astype"
        )
    if array.shape != spec.shape:
        raise ProblemError(
            f"--input: {spec.name!r} has shape {list(array.shape)}, the flow takes {list(spec.shape or ())}"
        )
