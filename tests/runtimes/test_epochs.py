"""The control plane over the wire: what is staged, prepared, activated, rolled back, and refused on the way."""

from __future__ import annotations

import msgspec
import pytest

from runtimes.client import AgentClient
from runtimes.errors import BadBlob, BadRequest, MissingExtra, UnknownName, WrongState, error_of_status
from runtimes.local import LocalAgents
from runtimes.protos import agent_pb2
from tests.runtimes.plans import Step, plan, sample

ONE_STEP = [Step(name="flow/0", device="camera", op="Neg", inputs=("x",), outputs=("y",))]


def deployment(epoch: int, name: str = "plan", op: str = "Neg"):
    steps = [Step(name="flow/0", device="camera", op=op, inputs=("x",), outputs=("y",))]
    return plan(steps, outputs=("y",), source="camera", sink="camera", epoch=epoch, name=name)


def put(client: AgentClient, epoch: int, name: str, op: str = "Neg", *, activate: bool = True) -> None:
    given = deployment(epoch, name, op)
    for sha256 in client.stage(given.assignments["camera"]):
        client.put_blob(given.blobs[sha256])
    client.prepare(name, epoch)
    if activate:
        client.activate(name, epoch)


@pytest.fixture
def client():
    with LocalAgents(["camera"]) as agents, AgentClient(agents.addresses["camera"]) as client:
        yield client


def states(client: AgentClient) -> list[tuple[str, int, str]]:
    return [(held.plan, held.epoch, held.state) for held in client.status().held]


def test_a_plan_goes_through_its_states(client):
    with pytest.raises(UnknownName, match="no plan is active"):
        client.infer("flow", sample())
    first, second = deployment(1, "first"), deployment(2, "second", "Relu")
    (blob,) = first.blobs
    assert client.stage(first.assignments["camera"]) == {blob: 0}
    assert client.stage(first.assignments["camera"]) == {blob: 0}
    with pytest.raises(UnknownName, match="upload it"):
        client.prepare("first", 1)
    sent: list[int] = []
    assert client.put_blob(first.blobs[blob], sent.append) == blob
    assert sent == [len(first.blobs[blob])]
    assert client.stage(first.assignments["camera"]) == {}
    assert client.prepare("first", 1) == ("flow/0",)
    assert states(client) == [("first", 1, "prepared")]
    client.activate("first", 1)
    assert states(client) == [("first", 1, "active")]
    assert client.infer("flow", sample()).outputs["y"].tolist() == (-sample()["x"]).tolist()

    put(client, 2, "second", "Relu", activate=False)
    assert states(client) == [("first", 1, "active"), ("second", 2, "prepared")]
    assert client.infer("flow", sample()).outputs["y"].tolist() == (-sample()["x"]).tolist()
    client.activate("second", 2)
    client.activate("second", 2)
    assert states(client) == [("first", 1, "previous"), ("second", 2, "active")]
    assert client.infer("flow", sample()).outputs["y"].min() >= 0
    assert client.stage(second.assignments["camera"]) == {}
    assert client.prepare("second", 2) == ("flow/0",)

    assert client.rollback(3) == "first"
    assert states(client) == [("second", 2, "previous"), ("first", 3, "active")]
    assert client.infer("flow", sample()).outputs["y"].tolist() == (-sample()["x"]).tolist()


def test_epochs_only_grow(client):
    put(client, 5, "first")
    with pytest.raises(WrongState, match="no previous plan"):
        client.rollback(6)
    put(client, 7, "second")
    with pytest.raises(WrongState, match="epoch 6 of plan 'late' is not above the active epoch 7"):
        client.stage(deployment(6, "late").assignments["camera"])
    with pytest.raises(WrongState, match="behind the active epoch 7"):
        client.activate("first", 5)
    with pytest.raises(WrongState, match="epoch 7 has plan 'second' here, with another content"):
        client.stage(deployment(7, "other").assignments["camera"])
    with pytest.raises(WrongState, match="epoch 7 is not above 7"):
        client.rollback(7)
    put(client, 8, "candidate", activate=False)
    put(client, 9, "overtaking", activate=False)
    with pytest.raises(WrongState, match="does not hold plan 'candidate' under epoch 8"):
        client.activate("candidate", 8)
    assert states(client) == [("first", 5, "previous"), ("second", 7, "active"), ("overtaking", 9, "prepared")]


def test_what_was_never_staged_is_not_prepared(client):
    with pytest.raises(WrongState, match=r"not staged under epoch 1.*staged is none"):
        client.prepare("plan", 1)
    client.stage(deployment(1).assignments["camera"])
    with pytest.raises(WrongState, match="staged is 'plan' at 1"):
        client.prepare("other", 1)
    with pytest.raises(WrongState, match="does not hold plan"):
        client.activate("plan", 1)


def test_only_the_latest_candidate_stays_staged_and_only_named_blobs_stay():
    with LocalAgents(["camera"]) as agents, AgentClient(agents.addresses["camera"]) as client:
        blobs = {op: next(iter(deployment(1, op=op).blobs)) for op in ("Neg", "Relu", "Sin", "Cos")}

        def kept() -> set[str]:
            names = {path.name for path in agents.store("camera").iterdir()}
            return {op for op, sha256 in blobs.items() if sha256 in names}

        # Any number of deployments may fail half-way without one being in the next one's way.
        for epoch in range(1, 12):
            client.stage(deployment(epoch, f"tried {epoch}").assignments["camera"])
        with pytest.raises(WrongState, match="epoch 10 of plan 'tried 10' is behind epoch 11, which plan 'tried 11'"):
            client.stage(deployment(10, "tried 10").assignments["camera"])
        assert states(client) == [("tried 11", 11, "staged")]
        put(client, 12, "first", "Neg")
        put(client, 13, "second", "Relu")
        put(client, 14, "never activated", "Sin", activate=False)
        assert kept() == {"Neg", "Relu", "Sin"}
        put(client, 15, "third", "Cos")
        assert kept() == {"Relu", "Cos"}
        assert client.rollback(16) == "second"
        assert kept() == {"Relu", "Cos"}


def test_assignments_for_others_are_refused(client):
    share = deployment(1).assignments["camera"]
    box = plan(ONE_STEP, outputs=("y",), source="box", sink="box", epoch=1).assignments["camera"]
    with pytest.raises(BadRequest, match="for device 'box', this is 'camera'"):
        client.stage(plan([], outputs=("x",), source="box", sink="box", epoch=1).assignments["box"])
    with pytest.raises(BadRequest, match=r"no address for \['box'\]"):
        client.stage(box)
    with pytest.raises(BadRequest, match=r"this agent takes 67108864.*--max-message-bytes"):
        client.stage(msgspec.structs.replace(share, max_message_bytes=1 << 30))


def test_blobs_that_no_manifest_names_or_whose_bytes_differ_are_refused(client):
    given = deployment(1)
    ((blob, data),) = given.blobs.items()
    with pytest.raises(WrongState, match=f"names blob '{blob}'; stage it first"):
        client.put_blob(data)
    client.stage(given.assignments["camera"])

    def put_chunks(*chunks):
        return client._call(client._agent.PutBlob, iter([agent_pb2.BlobChunk(**chunk) for chunk in chunks]))

    with pytest.raises(BadBlob, match="hash to"):
        put_chunks({"sha256": blob, "data": data[:-1] + b"!"})
    with pytest.raises(BadBlob, match="begins at byte 7"):
        put_chunks({"sha256": blob, "offset": 7, "data": data})
    with pytest.raises(BadBlob, match="came within the upload"):
        put_chunks({"sha256": blob, "data": data[:5]}, {"sha256": "0" * 64, "offset": 5, "data": data[5:]})
    with pytest.raises(BadBlob, match="no chunks"):
        put_chunks()
    assert client.stage(given.assignments["camera"]) == {blob: 0}
    assert put_chunks({"sha256": blob, "data": data}).stored_bytes == len(data)
    assert client.prepare("plan", 1) == ("flow/0",)


def test_observations_are_read_from_where_one_stopped(client):
    put(client, 1, "plan")
    for i in range(3):
        client.infer("flow", sample(), request_id=f"r{i}")
    seen = client.observations()
    assert [(o.sequence, o.request, o.kind, o.device, o.epoch) for o in seen] == [
        (i + 1, f"r{i}", "segment", "camera", 1) for i in range(3)
    ]
    assert all(0 < o.seconds == o.padded_s < 1 and o.queue_s >= 0 and o.bytes == 16 for o in seen)
    assert client.observations(since=2) == seen[2:]
    assert client.status().last_sequence == 3


def test_error_of_a_missing_extra_keeps_its_kind():
    assert error_of_status("UNIMPLEMENTED") is MissingExtra
