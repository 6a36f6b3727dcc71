import pytest

from profiles import Device, DeviceProfile, ProfileError
from profiles.device import Benchmark
from tests.profiles.build import device, figure, mode


def test_a_mode_is_found_by_name_and_a_slip_of_the_pen_is_corrected() -> None:
    camera = device(modes=(mode("cpu-fp32"), mode("cpu-int8")))
    assert camera.mode("cpu-int8").name == "cpu-int8"
    with pytest.raises(ProfileError, match="did you mean 'cpu-int8'"):
        camera.mode("cpu-int4")


def test_active_power_below_idle_power_is_refused() -> None:
    with pytest.raises(ProfileError, match="below idle_w 6"):
        device(idle_w=6.0)


def test_two_modes_of_one_name_are_refused() -> None:
    with pytest.raises(ProfileError, match="two modes"):
        device(modes=(mode(), mode()))


def test_a_device_has_a_mode() -> None:
    with pytest.raises(ProfileError, match="modes is empty"):
        device(modes=())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pue", 0.9),
        ("pue", float("nan")),
        ("max_utilization", 0.0),
        ("max_utilization", 1.1),
        ("memory_bytes", 0.0),
        ("memory_bytes", float("inf")),
        ("name", ""),
        ("name", " camera"),
        ("agent", "127.0.0.1"),
        ("agent", "127.0.0.1:0"),
        ("agent", "127.0.0.1:65536"),
        ("agent", "http://host:1"),
    ],
)
def test_a_field_out_of_range_is_refused(field: str, value: object) -> None:
    with pytest.raises(ProfileError):
        device(**{field: value})


@pytest.mark.parametrize("agent", ["127.0.0.1:9001", "box.local:1", "[::1]:65535"])
def test_an_agent_has_host_and_port(agent: str) -> None:
    assert device(agent=agent).agent == agent


def test_a_mode_that_computes_for_nothing_is_refused() -> None:
    with pytest.raises(ProfileError, match="active_w"):
        mode(active_w=0.0)


def test_a_benchmark_names_a_mode() -> None:
    run = Benchmark(model="m", mode="npu", macs=1.0, seconds=figure(1), power_w=figure(3))
    with pytest.raises(ProfileError, match="no mode 'npu'"):
        DeviceProfile(id="p", name="p", tier="edge", boundary="wall", modes=(mode(),), benchmarks=(run,))


def test_a_device_keeps_no_dict() -> None:
    assert not hasattr(device(), "__dict__")
    assert Device.__struct_config__.frozen
