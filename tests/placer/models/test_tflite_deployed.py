"""A TFLite model that is planned, cut, put on two agents and run gives the whole model's bits."""

import pytest

from placer.deployment.assign import assign, load_models
from placer.deployment.deploy import deploy
from placer.deployment.local_agents import local_agents
from placer.deployment.run import run
from placer.models.read_tflite import read_tflite
from placer.planning import plan_site
from tests.placer.tflite_models import DATA, Whole, synthetic

# The camera has no room for the whole model, and the box must not see the picture: the model has to be cut.
SITE = """
format: placer.site/1.0
name: bench
labels: [public, personal]
zones:
  - {{name: floor, sees: personal, region: eu}}
  - {{name: cloud, sees: public, region: eu}}
devices:
  - {{name: camera, profile: rpi4b_tflite, zone: floor, memory_bytes: {memory_bytes}}}
  - {{name: box, profile: firefly_tflite_v2_11_0_ruy, zone: cloud, memory_bytes: 4e9}}
links:
  - {{from: camera, to: box, profile: ethernet_1g, latency_s: 0.0003, both_ways: true}}
flows:
  - name: look
    source: camera
    sink: box
    rate_hz: 1
    deadline_s: 2
    label: personal
    stages:
      - name: model
        model: {model}.tflite
        declassify:
          - {{name: features are no pictures, tensor: "{tensor}", to: public}}
"""


@pytest.mark.parametrize(("model", "memory_bytes"), [("face_detection", 1.45e6), ("image_classification", 70e3)])
def test_two_agents_give_the_whole_models_bits(tmp_path, model, memory_bytes):
    file = tmp_path / f"{model}.tflite"
    file.write_bytes((DATA / file.name).read_bytes())
    (tensor,) = read_tflite(file).ops[0].outputs
    site = tmp_path / "site.yaml"
    site.write_text(SITE.format(model=model, tensor=tensor, memory_bytes=memory_bytes))
    plan = plan_site(site)
    assert {segment.device for segment in plan.flows[0].segments} == {"camera", "box"}
    models = load_models(plan)
    (graph,) = models["look"].stages.values()
    deployment = assign(plan, models)
    feeds = [synthetic(graph.inputs, seed) for seed in range(3)]
    with local_agents(["camera", "box"]) as addresses:
        deploy(deployment, addresses)
        measured = run(deployment, addresses, "look", feeds, deadline_s=30)
    whole = Whole(graph)
    for feed, passage in zip(feeds, measured.passages, strict=True):
        wanted = whole.run(feed)
        assert {name: array.tobytes() for name, array in wanted.items()} == {
            name: array.tobytes() for name, array in passage.outputs.items()
        }
