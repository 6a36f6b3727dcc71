"""Seconds op by op of a device that nobody measured so: the proportions of one that was, at its own published level."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import msgspec

from profiles.errors import ProfileError
from profiles.figure import Figure, weakest

if TYPE_CHECKING:
    from profiles.device import DeviceProfile, Mode

LIKE_RELATIVE_ERROR = 0.27
"""Mean relative error of a whole model's seconds that neither line nor factor knew, of processors and GPUs of the same
kind with two other models in common: MLPerf Inference edge, the worse of two data sets; see docs/energy-model.md."""

# One model alone would get back what the line says of it: the others tell how the two devices compare.
_WHOLE_MODELS = 3


def seconds_like(modes: tuple[Mode, ...], measured: DeviceProfile) -> tuple[Mode, ...]:
    """Give modes the seconds of another device's ops, times how much longer they take over whole models.

    The factor is the median, over the whole models that the other device was measured with, of
    ``(segment_s + s_per_mac * macs) / seconds``: this device's line over the other's measurement.

    Parameters
    ----------
    modes
        Known by their line alone.
    measured
        The other device, profiled op by op.

    Returns
    -------
    tuple of Mode
        Those whose numeric format the other device was measured in have its ops' seconds and its start of a segment,
        scaled, at least as weak as a fit; the rest are as they were.

    Raises
    ------
    ProfileError
        A mode was measured op by op itself, no format is in common, or the other device has two modes of one format,
        or fewer than three whole models in it.
    """
    if own := [mode.name for mode in modes if mode.op_costs is not None]:
        raise ProfileError(f"mode {own[0]!r} was measured op by op itself: leave seconds_like out")
    made = tuple(_like(mode, measured) for mode in modes)
    if made == modes:
        known = sorted({mode.numeric for mode in measured.modes if mode.op_costs is not None})
        raise ProfileError(
            f"{measured.id!r} was measured op by op in {', '.join(known)}, this device computes in "
            f"{', '.join(sorted({mode.numeric for mode in modes}))}: profile a model of its format there"
            if known
            else f"{measured.id!r} was not measured op by op: name a file that `placer profile` wrote"
        )
    return made


def _like(mode: Mode, measured: DeviceProfile) -> Mode:
    found = [each for each in measured.modes if each.numeric == mode.numeric and each.op_costs is not None]
    if not found:
        return mode
    if len(found) > 1:
        raise ProfileError(
            f"{measured.id!r} was measured in {' and '.join(each.name for each in found)}, which are both "
            f"{mode.numeric}: profile it with one number of threads"
        )
    (other,) = found
    assert other.op_costs is not None
    whole = [each for each in measured.benchmarks if each.mode == other.name]
    if len(whole) < _WHOLE_MODELS:
        models = "model" if len(whole) == 1 else "models"
        raise ProfileError(
            f"{measured.id!r} was measured with {len(whole)} whole {models} in mode {other.name!r}: "
            f"too few to tell how the devices compare; profile {_WHOLE_MODELS} or more of {mode.numeric} there"
        )
    factor = median((mode.segment_s.value + mode.s_per_mac.value * each.macs) / each.seconds.value for each in whole)
    origin = weakest("fitted", mode.s_per_mac.origin, mode.segment_s.origin, other.segment_s.origin)
    source = ", ".join(dict.fromkeys((other.op_costs.source, mode.s_per_mac.source)))
    return msgspec.structs.replace(
        mode,
        segment_s=Figure(
            value=other.segment_s.value * factor, source=source, origin=origin,
            relative_uncertainty=LIKE_RELATIVE_ERROR,
            note=f"{other.segment_s.value:.6g} of {measured.id} times {factor:.6g}, the median over {len(whole)} whole "
            "models of this mode's line over the seconds there",
        ),
        op_costs=msgspec.structs.replace(
            other.op_costs.times(factor, mode.s_per_mac.source), origin=origin, scale_relative_error=LIKE_RELATIVE_ERROR
        ),
    )  # fmt: skip
