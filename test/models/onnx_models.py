"""The ONNX models of the tests: onnx_models.py FOLDER. Run by the environment of configs/iris-onnx (test.mk)."""
import sys
from pathlib import Path

import numpy
from onnx import TensorProto, helper, save
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)


def write(name, nodes, inputs, outputs, initializers=()):
    def describe(tensors):
        return [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in tensors]

    graph = helper.make_graph(nodes, "graph", describe(inputs), describe(outputs), list(initializers))
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / f"{name}.onnx")


# scikit-learn's classifier says a label, and a map of labels to probabilities per sample.
flowers = load_iris()
x = flowers.data.astype("float32")
classifier = LogisticRegression(max_iter=500).fit(x, flowers.target)
(folder / "classifier.onnx").write_bytes(to_onnx(classifier, x[:1]).SerializeToString())
named = LogisticRegression(max_iter=500).fit(x, flowers.target_names[flowers.target])
(folder / "named.onnx").write_bytes(to_onnx(named, x[:1]).SerializeToString())

# Several inputs of several types, as a table has them.
columns = ColumnTransformer([("city", OneHotEncoder(), [0])], remainder="passthrough")
table = numpy.array([["oslo", 1, 20.5], ["rome", 2, 30.5], ["oslo", 3, 10.0], ["rome", 4, 40.0]], dtype=object)
pipeline = Pipeline([("columns", columns), ("model", LogisticRegression())]).fit(table, [0, 1, 0, 1])
types = [("city", StringTensorType([None, 1])), ("rooms", Int64TensorType([None, 1])), ("size", FloatTensorType([None, 1]))]
(folder / "table.onnx").write_bytes(
    to_onnx(pipeline, initial_types=types, options={"zipmap": False}).SerializeToString()
)

# Each type that JSON can give, unchanged, and shapes that are open, fixed and empty.
TYPES = [
    ("i64", TensorProto.INT64, [2]),
    ("i8", TensorProto.INT8, [1]),
    ("f32", TensorProto.FLOAT, ["rows", 2]),
    ("f64", TensorProto.DOUBLE, []),
    ("f16", TensorProto.FLOAT16, [1]),
    ("text", TensorProto.STRING, ["n"]),
    ("flag", TensorProto.BOOL, [1, 2]),
]
write(
    "types",
    [helper.make_node("Identity", [name], [f"{name}_out"]) for name, _, _ in TYPES],
    TYPES,
    [(f"{name}_out", kind, shape) for name, kind, shape in TYPES],
)

for name, factor in (("twice", 2.0), ("thrice", 3.0)):
    write(
        name,
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 2])],
        [("y", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
