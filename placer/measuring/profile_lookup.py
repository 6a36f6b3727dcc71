"""Times how fast an agent finds results that it keeps: what a stage's cache costs, whether or not anything is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from placer.measuring.profile_agent import staged
from placer.measuring.units import units_of, whole
from profiles import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placer.measuring.profile_journal import Journal
    from placer.models.graph import ModelGraph
    from runtimes.client import AgentClient

# As of segments: on a shared machine the mean is other people's load.
_PERCENTILE = 20
_LEAST_RUNS = 15


def lookup_rate(
    client: AgentClient, models: Sequence[ModelGraph], journal: Journal, runs: int, source: str,
    progress: Callable[[str], None],
) -> Figure:  # fmt: skip
    """Measure the bytes of inputs a second by which an agent finds what it made of them before.

    Parameters
    ----------
    client
        The agent's.
    models
        The one with the most bytes of inputs is kept results of: what each look takes beside them then weighs least.
    journal
        A rate that is there already is not measured again.
    runs
        How many looks at least.
    source
        What the figure says of where it comes from.
    progress
        Told in words what is being done.

    Raises
    ------
    MeasureError
        The agent stops answering, or the model does not run there.
    """
    model = max(models, key=_input_bytes)
    key = f"{model.sha256} lookup"
    seconds = journal.get(key)
    if seconds is None:
        progress(f"{model.name}: timing the look for a kept result")
        units = units_of(model)
        with staged(client, model, units, [whole(len(units))], 1, cached=True) as parts:
            seconds = parts.time_lookups(max(runs, _LEAST_RUNS))
        journal.put(key, seconds)
    return Figure(
        value=_input_bytes(model) / float(np.percentile(seconds, _PERCENTILE)),
        source=source,
        origin="measured",
        note=f"{_input_bytes(model)} bytes of {model.name} looked up {len(seconds)} times, 20th percentile",
    )


def _input_bytes(model: ModelGraph) -> int:
    return sum(tensor.bytes for tensor in model.inputs)
