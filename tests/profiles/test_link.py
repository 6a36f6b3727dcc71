import pytest

from profiles import Link, LinkProfile, ProfileError
from tests.profiles.build import figure, link


def test_a_link_to_itself_is_refused() -> None:
    profile = LinkProfile(id="l", name="l", ends="none")
    with pytest.raises(ProfileError, match="itself"):
        Link(source="a", target="a", profile=profile, bandwidth_bps=1.0, latency_s=0.0)


def test_utilization_stays_within_the_duty_cycle() -> None:
    with pytest.raises(ProfileError, match="duty cycle"):
        link(ends="client", duty_cycle=0.01)


def test_an_end_has_powers_or_joules_per_byte() -> None:
    with pytest.raises(ProfileError, match="twice"):
        LinkProfile(id="l", name="l", ends="both", tx_w=figure(1), tx_j_per_byte=figure(1))


@pytest.mark.parametrize("fields", [{"network": "x"}, {"network_j_per_byte": figure(1)}])
def test_a_network_has_a_name_and_joules(fields: dict[str, object]) -> None:
    with pytest.raises(ProfileError, match="belong together"):
        LinkProfile(id="l", name="l", ends="none", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["bandwidth_up_bps", "bandwidth_down_bps", "duty_cycle"])
def test_nothing_goes_through_a_link_of_no_bandwidth(name: str) -> None:
    with pytest.raises(ProfileError, match=name):
        LinkProfile(id="l", name="l", ends="none", **{name: figure(0)})
