import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import Labels, ProfileError, RegionRule, Zone

NAMES = ("public", "features", "personal")


def test_labels_are_ranked_in_their_order() -> None:
    labels = Labels(names=NAMES)
    assert [labels.rank(name) for name in NAMES] == [0, 1, 2]
    assert labels.at_least("personal", "features")
    assert not labels.at_least("public", "features")
    assert "personal" in labels
    assert "secret" not in labels


@given(st.lists(st.sampled_from(NAMES)))
def test_the_highest_label_is_at_least_every_other(names: list[str]) -> None:
    labels = Labels(names=NAMES)
    highest = labels.highest(tuple(names))
    assert all(labels.at_least(highest, name) for name in names)
    assert highest in names or highest == "public"


def test_an_unknown_label_is_corrected() -> None:
    with pytest.raises(ProfileError, match="did you mean 'personal'"):
        Labels(names=NAMES).rank("personnal")


@pytest.mark.parametrize("names", [(), ("a", "a"), ("",)])
def test_labels_are_named_and_different(names: tuple[str, ...]) -> None:
    with pytest.raises(ProfileError):
        Labels(names=names)


def test_a_rule_without_regions_is_refused() -> None:
    with pytest.raises(ProfileError, match="no regions"):
        RegionRule(name="eu", label="personal", regions=())


def test_a_zone_has_a_name() -> None:
    with pytest.raises(ProfileError, match="zone"):
        Zone(name="", sees="public", region="eu")
