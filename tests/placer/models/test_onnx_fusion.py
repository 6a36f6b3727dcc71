import onnx

from placer.models.graph import ModelGraph, Op, Tensor
from placer.models.onnx_fusion import anchors_of, fused_groups


def chain(*types):
    """Build a chain x -> t0 -> t1 ... in which only convolutions have MACs."""
    tensors = {name: Tensor.dense(name, (1, 2), "float32") for name in ("x", *(f"t{i}" for i in range(len(types))))}
    ops = tuple(
        Op(
            name=f"{kind}{i}",
            type=kind,
            macs=100 if kind == "Conv" else 0,
            weights_bytes=0,
            weights_id="",
            inputs=(f"t{i - 1}" if i else "x",),
            outputs=(f"t{i}",),
            workspace_bytes=16,
        )
        for i, kind in enumerate(types)
    )
    return ModelGraph(
        name="chain",
        format="onnx",
        path="chain.onnx",
        sha256="0",
        numeric="fp32",
        inputs=(tensors["x"],),
        outputs=(tensors[f"t{len(types) - 1}"],),
        ops=ops,
        tensors=tensors,
    )


def executed(*nodes):
    made = [onnx.helper.make_node(kind, [read], [made], name) for kind, name, read, made in nodes]
    return onnx.helper.make_graph(made, "optimized", [], [])


def names(groups):
    return {anchor: {op.name for op in ops} for anchor, ops in groups.items()}


def test_normalization_folds_forward_and_activations_fold_back():
    graph = chain("Conv", "BatchNormalization", "HardSwish", "Conv", "BatchNormalization", "HardSwish")
    optimized = executed(
        ("Conv", "t1_nchwc", "x", "reorder_token_1"),
        ("Conv", "t4_nchwc", "reorder_token_1", "reorder_token_2"),
        ("ReorderOutput", "ReorderOutput", "reorder_token_2", "t5"),
    )
    anchors = anchors_of(graph, optimized)
    assert anchors == {
        "t1_nchwc": "BatchNormalization1",
        "t4_nchwc": "BatchNormalization4",
        "ReorderOutput": "HardSwish5",
    }
    assert names(fused_groups(graph, set(anchors.values()))) == {
        "BatchNormalization1": {"Conv0", "BatchNormalization1", "HardSwish2"},
        "BatchNormalization4": {"Conv3", "BatchNormalization4"},
        "HardSwish5": {"HardSwish5"},
    }


def test_nodes_the_executor_added_count_with_their_reader():
    graph = chain("Relu", "Conv")
    optimized = executed(
        ("Relu", "Relu0", "x", "t0"),
        ("ReorderInput", "ReorderInput", "t0", "reorder_token_1"),
        ("Conv", "t1_nchwc", "reorder_token_1", "t1"),
    )
    assert anchors_of(graph, optimized) == {"Relu0": "Relu0", "ReorderInput": "Conv1", "t1_nchwc": "Conv1"}


def test_every_op_is_in_one_group():
    graph = chain("Conv", "Identity", "Add", "Relu", "Softmax")
    groups = fused_groups(graph, {"Softmax4"})
    assert names(groups) == {"Softmax4": {op.name for op in graph.ops}}
