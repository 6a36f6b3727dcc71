"""An energy meter for GPUs and CPU packages through the zeus library, for machines that install the extra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from profiles.errors import MeterError
from profiles.meters.meter import Measurement

if TYPE_CHECKING:
    from profiles.device import Boundary

_WINDOW = "placer"


class ZeusMeter:
    """The joules of all GPUs (NVML, AMDSMI) or of all CPU packages (RAPL), as zeus reads them.

    GPUs are measured at their boards and CPUs at their chips; the two are never added, so a meter reads one kind.

    Parameters
    ----------
    what
        ``"gpu"`` or ``"cpu"``.

    Raises
    ------
    MeterError
        If zeus is missing, or this machine has nothing of that kind that zeus can read.
    """

    def __init__(self, what: Literal["gpu", "cpu"]) -> None:
        try:
            from zeus.monitor import ZeusMonitor
        except ModuleNotFoundError as error:
            raise MeterError(f"{error.name} is missing: pip install 'placer-joules[energy]'") from None
        self._what = what
        self._open = False
        try:
            self._monitor: Any = ZeusMonitor(cpu_indices=[]) if what == "gpu" else ZeusMonitor(gpu_indices=[])
        except Exception as error:  # zeus lets the vendors' own errors through
            raise MeterError(f"zeus cannot read this machine's {what} energy: {error}") from error
        found = self._monitor.gpu_indices if what == "gpu" else self._monitor.cpu_indices
        if not found:
            raise MeterError(f"zeus finds no {what} whose energy it can read here; declare active_w and idle_w instead")

    def begin_window(self) -> None:
        """Start a window.

        Raises
        ------
        MeterError
            If a window is open already, or zeus cannot read.
        """
        if self._open:
            raise MeterError("a window is open already: end it before you begin another")
        self._read(self._monitor.begin_window)
        self._open = True

    def end_window(self) -> Measurement:
        """End the window and say what it cost.

        Raises
        ------
        MeterError
            If no window is open, zeus cannot read, or its counters gave nothing.
        """
        if not self._open:
            raise MeterError("no window is open: begin one first")
        self._open = False
        measured = self._read(self._monitor.end_window)
        parts = measured.gpu_energy if self._what == "gpu" else measured.cpu_energy
        if not parts:
            raise MeterError(f"zeus gave no {self._what} energy for the window; nothing is not zero")
        boundary: Boundary = "board" if self._what == "gpu" else "chip"
        return Measurement(
            joules=float(sum(parts.values())),
            seconds=float(measured.time),
            source=f"zeus: {self._what} {', '.join(map(str, sorted(parts)))}",
            boundary=boundary,
        )

    def _read(self, call: Any) -> Any:
        try:
            # The work measured here runs in other processes; there is no framework to synchronize with.
            return call(_WINDOW, sync_execution=False)
        except Exception as error:
            raise MeterError(f"zeus cannot read this machine's {self._what} energy: {error}") from error
