"""Energy meters: where a window's joules can be read, or replayed from a log."""

from profiles.meters.meter import Measurement, Meter
from profiles.meters.rapl import RaplMeter
from profiles.meters.replay import ReplayMeter, write_log

__all__ = ["Measurement", "Meter", "RaplMeter", "ReplayMeter", "write_log"]
