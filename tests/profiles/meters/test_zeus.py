from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import pytest

from profiles.errors import MeterError
from profiles.meters.zeus import ZeusMeter


@dataclass
class _Measured:
    time: float
    gpu_energy: dict[int, float]
    cpu_energy: dict[int, float] | None


class _Monitor:
    """Stands in for zeus.monitor.ZeusMonitor: no machine of the tests has a meter that zeus can read."""

    gpus: tuple[int, ...] = (0, 1)
    fails = False

    def __init__(self, gpu_indices: list[int] | None = None, cpu_indices: list[int] | None = None) -> None:
        self.gpu_indices = list(self.gpus) if gpu_indices is None else gpu_indices
        self.cpu_indices = [] if cpu_indices is None else cpu_indices

    def begin_window(self, key: str, sync_execution: bool = True) -> None:
        assert not sync_execution
        if self.fails:
            raise RuntimeError("driver gone")

    def end_window(self, key: str, sync_execution: bool = True) -> _Measured:
        return _Measured(2.0, dict.fromkeys(self.gpu_indices, 3.5), None)


@pytest.fixture
def monitor(monkeypatch: pytest.MonkeyPatch) -> type[_Monitor]:
    module = types.ModuleType("zeus.monitor")
    kind = type("Monitor", (_Monitor,), {})
    module.ZeusMonitor = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zeus", types.ModuleType("zeus"))
    monkeypatch.setitem(sys.modules, "zeus.monitor", module)
    return kind


def test_adds_the_boards_of_all_gpus(monitor: type[_Monitor]) -> None:
    meter = ZeusMeter("gpu")
    meter.begin_window()
    measured = meter.end_window()
    assert (measured.joules, measured.seconds, measured.boundary) == (7.0, 2.0, "board")
    assert measured.source == "zeus: gpu 0, 1"


def test_refuses_a_machine_without_what_it_is_asked_for(monitor: type[_Monitor]) -> None:
    with pytest.raises(MeterError, match="no cpu whose energy"):
        ZeusMeter("cpu")
    monitor.gpus = ()
    with pytest.raises(MeterError, match="no gpu whose energy"):
        ZeusMeter("gpu")


def test_windows_open_once_and_close_once(monitor: type[_Monitor]) -> None:
    meter = ZeusMeter("gpu")
    with pytest.raises(MeterError, match="begin one first"):
        meter.end_window()
    meter.begin_window()
    with pytest.raises(MeterError, match="open already"):
        meter.begin_window()


def test_a_failing_driver_is_a_meter_error(monitor: type[_Monitor]) -> None:
    meter = ZeusMeter("gpu")
    monitor.fails = True
    with pytest.raises(MeterError, match="driver gone"):
        meter.begin_window()


def test_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeus.monitor", None)
    with pytest.raises(MeterError, match=r"placer-joules\[energy\]"):
        ZeusMeter("gpu")
