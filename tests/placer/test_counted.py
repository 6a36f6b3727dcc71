"""What a joule counts: filled in from zones and links where it is asked for, refused where it is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

import placer.problem
import profiles
from placer.build import build
from placer.errors import ProblemError
from placer.models.join_stages import join_stages
from profiles import Limits, Link, LinkProfile, Zone
from tests.placer.test_build import costs, graph, site
from tests.profiles.build import figure

if TYPE_CHECKING:
    from placer.problem import Problem


def zones(**more: Any) -> tuple[Zone, ...]:
    floor: dict[str, Any] = {"carbon_g_per_j": figure(1e-4), "cost_per_j": figure(8e-8)}
    cloud: dict[str, Any] = {"carbon_g_per_j": figure(2e-5), "cost_per_j": figure(2e-8)}
    return (
        Zone(name="floor", sees="personal", region="eu", **floor),
        Zone(name="cloud", sees="public", region="us", **{**cloud, **more}),
    )


def network(**more: Any) -> tuple[Link, ...]:
    profile = LinkProfile(
        id="l", name="l", ends="none", rate="payload", network="declared", network_j_per_byte=figure(1e-6)
    )
    return tuple(
        Link(source=a, target=b, profile=profile, bandwidth_bps=8e6, latency_s=0.001, **more)
        for a, b in (("camera", "server"), ("server", "camera"))
    )


def problem(also: tuple[Any, ...] = (), **how: Any) -> Problem:
    where = site(**how)
    (flow,) = where.flows
    return build(where, {"watch": join_stages(flow, {"net": graph()})}, {"watch": {"net": costs()}}, also).problem


def test_a_site_and_a_problem_know_the_same_objectives() -> None:
    assert get_args(profiles.Objective) == get_args(placer.problem.Objective)


def test_nothing_is_filled_in_where_nobody_asks() -> None:
    made = problem(zones=zones())
    assert made.format == "placer.problem/1.0"
    assert all(d.carbon_g_per_j is d.cost_per_j is None for d in made.devices)


@pytest.mark.parametrize(
    "how", [{"objective": "carbon_g"}, {"limits": Limits(carbon_g_per_s=1.0)}, {"also": ("carbon_g",)}]
)
def test_whoever_asks_for_carbon_gets_the_zones_figures(how: dict[str, Any]) -> None:
    made = problem(zones=zones(), **how)
    assert [(d.carbon_g_per_j, d.cost_per_j) for d in made.devices] == [(1e-4, None), (2e-5, None)]
    # Their ends pay all of these links' joules.
    assert all(k.carbon_g_per_j is None for k in made.links)


def test_limits_of_a_site_are_the_problem_s() -> None:
    made = problem(limits=Limits(power_w={"camera": 3.0}, flow_energy_j={"watch": 1.0}, energy_w=2.0))
    assert (made.limits.power_w, made.limits.flow_energy_j, made.limits.energy_w) == (
        {"camera": 3.0},
        {"watch": 1.0},
        2.0,
    )


def test_a_missing_price_is_refused_with_what_to_add() -> None:
    with pytest.raises(
        ProblemError,
        match=r"zones\[1\].cost_per_j: missing; cost counts the joules of 'server'.*'cloud'; give the zone `cost_per_j",
    ):
        problem(zones=zones(cost_per_j=None), also=("cost",))
    with pytest.raises(ProblemError, match=r"zones\[0\].carbon_g_per_j: missing; .* of 'camera'.*`grid: ID`"):
        problem(objective="carbon_g")


def test_the_network_counts_as_its_link_says_or_both_ends_agree() -> None:
    with pytest.raises(
        ProblemError, match=r"'camera' to 'server': cost_per_j is missing.* differ \(8e-08 and 2e-08 per joule\)"
    ):
        problem(zones=zones(), links=network(), also=("cost",))
    made = problem(zones=zones(), links=network(cost_per_j=figure(5e-8)), also=("cost",))
    assert {k.cost_per_j for k in made.links} == {5e-8}
    made = problem(zones=zones(cost_per_j=figure(8e-8)), links=network(), also=("cost",))
    assert {k.cost_per_j for k in made.links} == {8e-8}
