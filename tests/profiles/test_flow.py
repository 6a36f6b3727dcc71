import msgspec
import pytest

from profiles import Flow, ProfileError, Stage, When, stage_order

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


def test_a_flow_has_a_stage() -> None:
    with pytest.raises(ProfileError, match="flow 'f' has no stages"):
        flow(stages=())


def test_a_dimension_is_at_least_one() -> None:
    with pytest.raises(ProfileError, match=r"\[1, -1\]"):
        Stage(name="s", model="m.onnx", inputs={"x": (1, -1)})


# --- several stages --------------------------------------------------------------------------------------------------

GATE = Stage(name="gate", model="gate.tflite", reads={"x": "frame"})
CLASSIFY = Stage(
    name="classify",
    model="c.onnx",
    reads={"image": "frame"},
    when=When(tensor="gate/score", at_least=0.5, share=0.2),
)


def changed(stage: Stage, **changes: object) -> Stage:
    return msgspec.structs.replace(stage, **changes)


def test_one_model_alone_is_plain_and_several_stages_are_not() -> None:
    assert flow().plain
    assert flow(stages=(Stage(name="a/b", model="m.onnx"),)).plain
    assert flow(outputs=("s/y",)).plain
    assert not flow(stages=(GATE, CLASSIFY)).plain
    assert not flow(stages=(GATE,)).plain


def test_stages_are_put_after_what_they_take_in() -> None:
    last = Stage(name="last", model="l.onnx", reads={"a": "classify/y", "b": "gate/score"})
    ordered = stage_order(flow(stages=(last, CLASSIFY, GATE)).stages)
    assert [stage.name for stage in ordered] == ["gate", "classify", "last"]
    # Where nothing forbids it, the file's order stays.
    assert stage_order((GATE, changed(CLASSIFY, when=None))) == (GATE, changed(CLASSIFY, when=None))


@pytest.mark.parametrize(
    ("stages", "outputs", "message"),
    [
        ((GATE, changed(GATE, model="n.onnx")), (), r"stages\[1\].name: the stage 'gate' stands twice"),
        ((GATE, changed(CLASSIFY, name="a/b")), (), r"stages\[1\].name: 'a/b' has a '/'"),
        (
            (GATE, changed(CLASSIFY, reads={})),
            (),
            r"stages\[1\].reads: the stage 'classify' does not say what it reads",
        ),
        (
            (GATE, changed(CLASSIFY, reads={"image": "gat/score"})),
            (),
            r"stages\[1\].reads.image: 'gat/score': 'gat' is no stage of the flow; did you mean 'gate'\?",
        ),
        ((GATE, changed(CLASSIFY, reads={"image": "classify/y"})), (), r"reads.image: 'classify/y' is the stage's own"),
        ((GATE, changed(CLASSIFY, reads={"image": "gate/"})), (), r"reads.image: 'gate/' names no output"),
        ((GATE, changed(CLASSIFY, reads={"image": "/y"})), (), r"reads.image: '/y' names no output"),
        (
            (GATE, changed(CLASSIFY, when=When(tensor="frame", at_least=1.0, share=0.5))),
            (),
            r"stages\[1\].when.tensor: 'frame' is no output of a stage; write STAGE/OUTPUT",
        ),
        (
            (GATE, changed(CLASSIFY, when=When(tensor="gatt/s", at_least=1.0, share=0.5))),
            (),
            r"stages\[1\].when.tensor: 'gatt/s': 'gatt' is no stage",
        ),
        (
            (changed(GATE, reads={"x": "classify/y"}), CLASSIFY),
            (),
            r"stages: '.*', '.*' wait for each other in a circle",
        ),
        (
            (GATE, CLASSIFY),
            ("classif/y",),
            r"outputs\[0\]: 'classif/y': 'classif' is no stage.*did you mean 'classify'",
        ),
        ((STAGE,), ("t/y",), r"outputs\[0\]: 't/y': 't' is no stage of the flow"),
        ((GATE, CLASSIFY), ("frame",), r"outputs\[0\]: 'frame' is no output of a stage"),
        ((GATE, CLASSIFY), ("gate/s", "gate/s"), r"outputs\[1\]: 'gate/s' stands twice"),
        ((GATE, CLASSIFY), ("gate/s",), r"stages\[1\]: nothing takes in what the stage 'classify' makes"),
    ],
)
def test_what_does_not_hold_together_is_refused_with_its_place(
    stages: tuple[Stage, ...], outputs: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ProfileError, match=message):
        flow(stages=stages, outputs=outputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at_least": None}, "no bound is given"),
        ({"at_most": 0.4}, "at_least 0.5 is above at_most 0.4"),
        ({"at_least": float("nan")}, "at_least is nan"),
        ({"at_least": None, "at_most": 10**400}, "at_most is 1000"),
        ({"at_least": 2**53 + 1, "at_most": 2**53}, f"at_least {2**53 + 1} is above at_most {2**53}"),
        ({"share": 0.0}, "share is 0.0: give a number above 0 and at most 1"),
        ({"share": 1.1}, "share is 1.1"),
        ({"share": float("nan")}, "share is nan"),
        ({"element": -1}, "element is -1"),
    ],
)
def test_a_condition_has_bounds_and_a_share(changes: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {"tensor": "gate/score", "at_least": 0.5, "share": 0.2}
    with pytest.raises(ProfileError, match=message):
        When(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_bound_that_is_a_whole_number_is_read_exactly() -> None:
    when = msgspec.convert({"tensor": "gate/count", "at_least": 2**53 + 1, "at_most": 2**63 - 1, "share": 1}, When)
    assert (when.at_least, when.at_most) == (2**53 + 1, 2**63 - 1)
    assert msgspec.json.decode(msgspec.json.encode(when), type=When) == when


# --- several sources and sinks ---------------------------------------------------------------------------------------


def test_data_and_outputs_may_have_devices_of_their_own() -> None:
    stages = (GATE, changed(CLASSIFY, reads={"image": "frame", "sound": "sound"}))
    found = flow(stages=stages, sources={"sound": "mic"}, labels={"sound": "public"}, sinks={"classify/y": "panel"})
    assert (found.sources, found.sinks) == ({"sound": "mic"}, {"classify/y": "panel"})
    assert flow(sources={"anything": "mic"}).plain, "the model's own names are not known here"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sources": {"sond": "mic"}}, r"sources.sond: no stage reads data 'sond'"),
        ({"labels": {"sond": "public"}}, r"labels.sond: no stage reads data 'sond'"),
        ({"sources": {"frame": "mic"}}, r"source: 'a': no data arise there, as `sources` says.*give one of mic"),
        ({"sinks": {"y": "panel"}}, r"sinks.y: 'y' is no output of a stage; write STAGE/OUTPUT"),
        ({"sinks": {"clasify/y": "panel"}}, r"sinks.clasify/y: .*'clasify' is no stage of the flow"),
        ({"sinks": {"gate/score": "panel"}, "outputs": ("classify/y",)}, r"sinks.gate/score: .*not among `outputs`"),
    ],
)
def test_ends_that_cannot_be_meant_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        flow(**{"stages": (GATE, CLASSIFY), **changes})


# --- sampling --------------------------------------------------------------------------------------------------------


def test_stages_may_take_one_in_so_many_requests() -> None:
    found = flow(stages=(changed(GATE, every=2), changed(CLASSIFY, every=6)))
    assert [stage.every for stage in found.stages] == [2, 6]


@pytest.mark.parametrize(
    ("every", "words"),
    [
        ((2, 3), r"stages\[1\].every: 3 beside 2 of the stage 'gate': of two such numbers .* one divides the other"),
        ((4, 6), r"stages\[1\].every: 6 beside 4"),
    ],
)
def test_numbers_of_which_none_divides_the_other_are_refused(every: tuple[int, int], words: str) -> None:
    stages = tuple(changed(stage, every=number) for stage, number in zip((GATE, CLASSIFY), every, strict=True))
    with pytest.raises(ProfileError, match=words):
        flow(stages=stages)


def test_a_model_alone_is_not_sampled_but_asked_more_seldom() -> None:
    with pytest.raises(ProfileError, match=r"stages\[0\].every: 5, but nothing else .* divide its rate_hz"):
        flow(stages=(changed(STAGE, every=5),))
    with pytest.raises(ProfileError, match="every is 0: give a whole number, at least 1"):
        Stage(name="s", model="m.onnx", every=0)
