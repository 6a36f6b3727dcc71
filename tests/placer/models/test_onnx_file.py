import hashlib

import numpy as np
import onnx
import onnx.parser
import pytest

from placer.errors import ProblemError
from placer.models.onnx_file import load_onnx
from placer.models.read_onnx import read_onnx


def test_digest_is_the_file_s(small):
    path = small("qdq")
    assert load_onnx(path)[1] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_missing_file(tmp_path):
    with pytest.raises(ProblemError, match=r"absent\.onnx: cannot read the model file: No such file"):
        load_onnx(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file", b"\x00" * 64, b"\x89PNG\r\n\x1a\n" * 9])
def test_not_a_model(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ProblemError, match="not an ONNX model"):
        load_onnx(path)


def test_a_truncated_model_is_refused_wherever_it_ends(small, tmp_path):
    content = small("if_captures").read_bytes()
    path = tmp_path / "cut_off.onnx"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ProblemError, match=r"cut_off\.onnx"):
            read_onnx(path)


def with_external_data(model, path):
    for tensor in model.graph.initializer:  # only raw data can be stored outside
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)


def test_external_data_is_read_and_digested(small, tmp_path):
    inline = load_onnx(small("old_ir"))[0]
    path = tmp_path / "m.onnx"
    with_external_data(inline, path)
    model, digest = load_onnx(path)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(model.graph.initializer[0]), [[1, 2], [3, 4]])
    data = tmp_path / "m.data"
    data.write_bytes(bytes(len(data.read_bytes())))
    assert load_onnx(path)[1] != digest
    data.unlink()
    with pytest.raises(ProblemError, match="external data cannot be read"):
        load_onnx(path)


def test_external_data_outside_the_model_s_directory_is_refused(small, tmp_path):
    model = load_onnx(small("old_ir"))[0]
    (tmp_path / "inner").mkdir()
    with_external_data(model, tmp_path / "inner" / "m.onnx")
    (tmp_path / "inner" / "m.data").rename(tmp_path / "m.data")
    raw = onnx.load(tmp_path / "inner" / "m.onnx", load_external_data=False)
    for entry in raw.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../m.data"
    (tmp_path / "inner" / "m.onnx").write_bytes(raw.SerializeToString())
    with pytest.raises(ProblemError, match="external data cannot be read"):
        load_onnx(tmp_path / "inner" / "m.onnx")


def test_sparse_initializers_are_refused(small, tmp_path):
    model = load_onnx(small("old_ir"))[0]
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "thin")
    indices = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "thin_i")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [4]))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ProblemError, match="sparse initializer 'thin' is not supported"):
        load_onnx(tmp_path / "m.onnx")


def test_exponential_and_recursive_functions_are_refused_at_once(tmp_path):
    levels = 30
    bodies = [
        f'<domain: "f", opset_import: ["" : 17, "f" : 1]> F{level} (a) => (b) '
        + (f"{{ t = f.F{level + 1} (a)  b = f.F{level + 1} (t) }}" if level < levels else "{ b = Neg (a) }")
        for level in range(levels + 1)
    ]
    head = '<ir_version: 8, opset_import: ["" : 17, "f" : 1]> g (float[1] x) => (float[1] y) { y = f.F0 (x) }'
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx.parser.parse_model(head + "".join(bodies)).SerializeToString())
    with pytest.raises(ProblemError, match="local functions expand to"):
        load_onnx(path)
    model = onnx.parser.parse_model(head + bodies[0])
    model.functions[0].node[0].op_type = "F0"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ProblemError, match="'F0' calls itself"):
        load_onnx(path)
