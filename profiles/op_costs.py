"""What a measured mode knows beyond one line: seconds of profiled models' ops, and of kinds of ops for all others."""

from __future__ import annotations

import msgspec

from profiles.errors import ProfileError
from profiles.figure import Origin, require_name, require_not_negative

ANY_KIND = "any"
"""The kind whose figures stand for every kind that was not measured."""


class KindCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds of ops of one kind: ``base_s + s_per_mac * macs + s_per_byte * bytes``.

    Parameters
    ----------
    kind
        Operator, and what sets such ops apart from others of it; or `ANY_KIND`.
    base_s, s_per_mac, s_per_byte
        Of one op, of each multiply-accumulate, and of each byte that it reads or writes, weights included.
    """

    kind: str
    base_s: float
    s_per_mac: float
    s_per_byte: float

    def __post_init__(self) -> None:
        require_name("kind", self.kind)
        for name in ("base_s", "s_per_mac", "s_per_byte"):
            require_not_negative(name, getattr(self, name))

    def seconds(self, macs: float, size_bytes: float) -> float:
        """Predict ops of this kind."""
        return self.base_s + self.s_per_mac * macs + self.s_per_byte * size_bytes


class ModelCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds of every op of a model that was profiled.

    Parameters
    ----------
    name, sha256
        The model file.
    inputs
        The shapes it ran at, by input.
    seconds
        By op.
    relative_error
        Mean relative error of the seconds of cuts of it, each predicted without having been used.
    """

    name: str
    sha256: str
    inputs: dict[str, tuple[int, ...]]
    seconds: dict[str, float]
    relative_error: float

    def __post_init__(self) -> None:
        require_name("model", self.name)
        require_not_negative("relative_error", self.relative_error)
        for op, seconds in self.seconds.items():
            require_not_negative(f"seconds of op {op!r}", seconds)


class OpCosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds of ops in one mode: ``t = sum of its ops + segment_s + s_per_boundary_byte * boundary`` for a segment.

    Parameters
    ----------
    source
        What measured, when and on what.
    s_per_boundary_byte
        For each byte that enters or leaves a segment.
    models
        Those that were profiled.
    kinds
        For models that were not; `ANY_KIND` is among them.
    unseen_relative_error
        Mean relative error of the seconds of a whole model, each predicted by the kinds that the others gave; None
        where there was one model alone.
    origin
        ``measured`` on the device itself; else the weakest of what its level was taken from.
    scale_relative_error
        Relative error of that level; None where the device itself was measured.

    Raises
    ------
    ProfileError
        If a number is negative, a kind stands twice, or `ANY_KIND` is missing.
    """

    source: str
    s_per_boundary_byte: float
    models: tuple[ModelCost, ...]
    kinds: tuple[KindCost, ...]
    unseen_relative_error: float | None = None
    origin: Origin = "measured"
    scale_relative_error: float | None = None

    def __post_init__(self) -> None:
        require_not_negative("s_per_boundary_byte", self.s_per_boundary_byte)
        for name in ("unseen_relative_error", "scale_relative_error"):
            if (value := getattr(self, name)) is not None:
                require_not_negative(name, value)
        names = [each.kind for each in self.kinds]
        if len(set(names)) < len(names):
            raise ProfileError(f"a kind stands twice among {', '.join(sorted(names))}: keep one of each")
        if ANY_KIND not in names:
            raise ProfileError(f"kinds has no {ANY_KIND!r}, which stands for all that were not measured")

    def times(self, factor: float, source: str) -> OpCosts:
        """Return the same with all seconds multiplied, as a site's time factor says.

        Parameters
        ----------
        factor
            So many times the seconds.
        source
            Who says so.
        """
        return msgspec.structs.replace(
            self,
            source=f"{self.source}, {source}",
            s_per_boundary_byte=self.s_per_boundary_byte * factor,
            models=tuple(
                msgspec.structs.replace(model, seconds={op: s * factor for op, s in model.seconds.items()})
                for model in self.models
            ),
            kinds=tuple(
                msgspec.structs.replace(
                    kind,
                    base_s=kind.base_s * factor,
                    s_per_mac=kind.s_per_mac * factor,
                    s_per_byte=kind.s_per_byte * factor,
                )
                for kind in self.kinds
            ),
        )

    def model(self, sha256: str, inputs: dict[str, tuple[int, ...]]) -> ModelCost | None:
        """Return the costs of a model that was profiled at these shapes."""
        return next((each for each in self.models if (each.sha256, each.inputs) == (sha256, inputs)), None)

    def kind(self, name: str) -> KindCost:
        """Return the figures of a kind, or those that stand for it."""
        found = {each.kind: each for each in self.kinds}
        return found.get(name, found[ANY_KIND])
