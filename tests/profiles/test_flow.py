import pytest

from profiles import Flow, ProfileError, Stage

STAGE = Stage(name="s", model="m.onnx")


def flow(**changes: object) -> Flow:
    fields: dict[str, object] = {
        "name": "f",
        "source": "a",
        "sink": "b",
        "rate_hz": 1.0,
        "label": "public",
        "stages": (STAGE,),
    }
    return Flow(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_deadline_is_optional() -> None:
    assert flow().deadline_s is None
    assert flow(deadline_s=0.25).deadline_s == 0.25


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate_hz", 0.0),
        ("rate_hz", float("nan")),
        ("deadline_s", 0.0),
        ("deadline_s", -1.0),
        ("deadline_s", float("inf")),
        ("name", ""),
    ],
)
def test_a_field_out_of_range_is_refused(field: str, value: object) -> None:
    with pytest.raises(ProfileError):
        flow(**{field: value})


@pytest.mark.parametrize("stages", [(), (STAGE, Stage(name="t", model="n.onnx"))])
def test_a_flow_has_exactly_one_stage(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(ProfileError, match=f"{len(stages)} stages"):
        flow(stages=stages)


def test_a_dimension_is_at_least_one() -> None:
    with pytest.raises(ProfileError, match=r"\[1, -1\]"):
        Stage(name="s", model="m.onnx", inputs={"x": (1, -1)})
