"""Energy meters: where a window's joules can be read, or replayed from a log."""

from profiles.meters.battery import BatteryMeter
from profiles.meters.choose import METERS, find_meter, open_meter
from profiles.meters.hwmon import HwmonMeter
from profiles.meters.meter import Measurement, Meter
from profiles.meters.rapl import RaplMeter
from profiles.meters.replay import ReplayMeter, write_log
from profiles.meters.sampled import SampledMeter
from profiles.meters.zeus import ZeusMeter

__all__ = [
    "METERS",
    "BatteryMeter",
    "HwmonMeter",
    "Measurement",
    "Meter",
    "RaplMeter",
    "ReplayMeter",
    "SampledMeter",
    "ZeusMeter",
    "find_meter",
    "open_meter",
    "write_log",
]
