"""Broken rules are named, one at a time, and limits hold up to rounding."""

from __future__ import annotations

import pytest

from placer import rules
from placer.index import ProblemIndex
from placer.problem import Limits
from placer.violations import name_broken, within
from tests.placer.by_hand import chain, link, only, op, option, problem_of, tensor


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"deadline_s": 4.7}, rules.deadline("f")),
        ({"colocate": (("one", "two"),)}, rules.colocated("f", ("one", "two"))),
        ({"limits": Limits(flow_energy_j={"f": 1.0})}, rules.flow_energy("f")),
        ({"limits": Limits(flow_device_energy_j={"f": {"b": 1.0}})}, rules.flow_device_energy("f", "b")),
        ({"limits": Limits(power_w={"a": 1.0})}, rules.power("a")),
        ({"limits": Limits(power_w={"site": 1.0})}, rules.power("site")),
        ({"links": (link("a", "b", max_utilization=0.1),)}, rules.link_utilization("a", "b")),
        ({"devices": {"a": {"max_utilization": 0.5}, "b": {}}}, rules.utilization("a")),
        ({"links": ()}, "no link from 'a' to 'b'"),
    ],
)
def test_names_the_rule_that_is_broken(change: dict[str, object], rule: str) -> None:
    assert [v.rule for v in only(chain(**change)).violations] == [rule]


def test_a_tensor_may_not_rest_where_it_is_made_either() -> None:
    problem = problem_of(
        op("x", option("a")),
        op("y", option("b")),
        tensors=(tensor("x", "y", not_on=("a",)),),
        devices={"a": {}, "b": {}},
    )
    assert [v.rule for v in only(problem).violations] == [rules.kept_off("f", "a")]


def test_a_tensor_that_is_barred_where_no_link_leads_breaks_both_rules() -> None:
    problem = problem_of(
        op("x", option("a")),
        op("y", option("b")),
        tensors=(tensor("x", "y", not_on=("b",)),),
        devices={"a": {}, "b": {}},
        links=(),
    )
    assert [v.rule for v in only(problem).violations] == [rules.kept_off("f", "b"), rules.no_link("a", "b")]


def test_limits_hold_up_to_rounding_and_no_further() -> None:
    assert within(1.0 + 0.9e-9, 1.0)
    assert not within(1.0 + 1.1e-9, 1.0)
    assert not within(1e-30, 0.0)


def test_a_broken_limit_is_said_once_in_the_words_of_the_site_with_what_is_reached() -> None:
    # Chained, in, one and two take 4.75 s; the deadline after pauses is the same one to people.
    problem = chain(deadline_s=4.5, limits=Limits(deadline_after_pauses_s={"f": 4.5}))
    broken = only(problem)
    assert len(broken.violations) == 2
    meanings = dict.fromkeys((v.rule for v in broken.violations), "deadline of f")
    assert name_broken(ProblemIndex(problem), broken, meanings) == ("deadline of f (4.75 where 4.5 is allowed)",)


def test_a_rule_that_is_no_limit_is_said_without_figures() -> None:
    problem = chain(links=())
    assert name_broken(ProblemIndex(problem), only(problem), {}) == ("no link from 'a' to 'b'",)
