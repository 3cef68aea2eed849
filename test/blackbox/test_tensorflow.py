"""TensorFlow apis, with the real TensorFlow. It takes seconds to start, so most of it is seen in one process (serve_cases)."""
import json
import os
import shutil
import subprocess
import zipfile

import pytest

from cortexd import ENVIRONMENTS, ROOT
from models import Served, model, start_error
from test_onnx import signature_of

# It would take the sanitizers minutes, and C code of ours sees no difference to ONNX; and each start takes all cores for seconds.
pytestmark = [pytest.mark.once, pytest.mark.alone]

HANDLER = """\
    def pre_inference(sample, signature, metadata):
        inputs = signature["predict"]["inputs"]
        assert sorted(signature) == ["other", "predict"]
        assert inputs["x"]["dtype"] == "DT_FLOAT"
        assert inputs["x"]["tensorShape"] == {"dim": [{"size": "-1"}, {"size": "2"}]}
        assert signature["other"]["outputs"]["sum"]["dtype"] == "DT_FLOAT"
        return {"x": [sample, sample]}

    def post_inference(prediction, signature, metadata):
        if not any(prediction["y"]):
            raise ValueError("nothing")
        return {metadata["name"]: max(prediction["y"])}
"""


def tensorflow(name, **keys):
    return {"model": model("tensorflow", name), **keys}


def serve(start, apis, files=None, **options):
    return Served(start, "tensorflow", apis, files, **options)


def pack(path, folder, prefix=""):
    """A zip of a folder, below prefix."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{prefix}{file.relative_to(folder)}")
    return path


def serve_cases(folder, cases):
    """{name: result} of test/models/serve_cases.py for {name: case}; every folder and zip that it unpacks is gone afterwards."""
    temporary = folder / "temporary"
    temporary.mkdir()
    result = subprocess.run(
        [next((ENVIRONMENTS / "tensorflow" / ".cortex" / "environments").iterdir()) / "bin" / "python", ROOT / "test/models/serve_cases.py"],
        input=json.dumps([{"kind": "tensorflow", **case, "model": str(case["model"])} for case in cases.values()]),
        capture_output=True,
        text=True,
        timeout=200,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert result.returncode == 0, result.stderr
    assert not list(temporary.iterdir())
    return dict(zip(cases, json.loads(result.stdout)))


TYPED = {"i64": [2**40, -1], "f64": 0.1, "text": ["grün", ""], "flag": [True, False], "any": [[1], [2]]}
MISFITS = [
    ("twice", {"y": [1, 2]}, 'missing key "x"'),
    ("twice", {"x": [1, 2], "y": 1}, 'unexpected key "y"; expected "x"'),
    ("twice", {"x": [[1, 2, 3]]}, 'key "x": expected shape [-1, 2], found shape [1, 3]'),
    ("twice", {"x": ["a", "b"]}, 'key "x": no array of float32: could not convert string to float'),
    ("types", [1], 'expected a dict with the keys "any", "f64", "flag", "i64", "text", found list'),
    ("types", {**TYPED, "text": 5}, 'key "text": no array of string: found something else than strings'),
    ("types", {**TYPED, "f64": [1, 2]}, 'key "f64": expected shape [], found shape [2]'),
]


def test_models_in_all_their_forms_and_samples_that_do_not_fit(tmp_path):
    versions = tmp_path / "versions"
    for version, name in (("9", "twice"), ("10", "thrice"), ("002", "tenfold")):
        shutil.copytree(model("tensorflow", name), versions / version)
    (versions / "11").mkdir()  # unfinished: there is no model in it
    (versions / "later").mkdir()
    x = {"shape": [-1, 2], "type": "float32"}
    cases = {
        "folder": (tensorflow("twice", samples=[{"x": [[1, 2]]}, {"x": [1, 2]}, [[1, 2], ["3", True]]]), [[2, 4], [2, 4], [2, 4, 6, 2]]),
        "versions": ({"model": versions, "samples": [[1, 2]]}, [[3, 6]]),
        "zip": ({"model": pack(tmp_path / "a.zip", model("tensorflow", "tenfold")), "samples": [[1, 2]]}, [[10, 20]]),
        "zip of versions": ({"model": pack(tmp_path / "b.zip", versions, "versions/"), "samples": [[1, 2]]}, [[3, 6]]),
        "predict": (tensorflow("predict", samples=[[1, 2]]), [[2, 4]]),
        "key": (tensorflow("ambiguous", signature_key="times", samples=[[1, 2]]), [[2, 4]]),
    }
    more = {
        "other": tensorflow("predict", signature_key="other", samples=[[1, 2]]),
        "keras": tensorflow("keras", signature_key="serving_default", samples=[[1, 2]]),
        "types": tensorflow("types", samples=[TYPED]),
    }
    misfits = {i: tensorflow(name, samples=[sample]) for i, (name, sample, _) in enumerate(MISFITS)}
    results = serve_cases(tmp_path, {**{name: case for name, (case, _) in cases.items()}, **more, **misfits})
    for i, (name, _, said) in enumerate(MISFITS):
        assert results[i]["answers"][0].startswith(f"prediction failed: error in {name}: inference: {said}")
    for name, (_, expected) in cases.items():
        assert results[name] == {"signature": {"x": x}, "answers": [{"y": values} for values in expected]}, name
    assert results["other"] == {"signature": {"x": {"shape": [2], "type": "float32"}}, "answers": [{"sum": [3, 4]}]}
    assert list(results["keras"]["answers"][0].values()) == [[3]]
    assert results["types"]["answers"] == [{**TYPED, "f64": [0.1], "any": [1, 2]}]
    assert results["types"]["signature"] == {
        "any": {"shape": None, "type": "int32"},
        "f64": {"shape": [], "type": "float64"},
        "flag": {"shape": [1, 2], "type": "bool"},
        "i64": {"shape": [2], "type": "int64"},
        "text": {"shape": [-1], "type": "string"},
    }


def test_what_is_no_model_is_an_error_at_the_start(tmp_path):
    for name, member in (("escape", "../../escaped"), ("absolute", "/tmp/escaped"), ("empty", "readme.txt")):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("saved_model.pb", b"") if name != "empty" else None
            archive.writestr(member, b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nonsense").mkdir()
    (tmp_path / "nonsense" / "saved_model.pb").write_bytes(b"nonsense")
    shutil.copytree(model("tensorflow", "twice"), tmp_path / "torn")
    for file in (tmp_path / "torn" / "variables").iterdir():
        file.unlink()
    none = "there is no SavedModel in it: it must be a folder with a saved_model.pb in it"
    expected = {
        "ambiguous": (tensorflow("ambiguous"), 'it has several signatures; set signature_key to one of "plus", "times"'),
        "no such key": (tensorflow("ambiguous", signature_key="x"), 'it has no signature "x"; signature_key must be one of "plus", "times"'),
        "keras": (tensorflow("keras"), 'it has several signatures; set signature_key to one of "serve", "serving_default"'),
        "escape": ({"model": tmp_path / "escape.zip"}, 'the path "../../escaped" in it leads out of it'),
        "absolute": ({"model": tmp_path / "absolute.zip"}, 'the path "/tmp/escaped" in it leads out of it'),
        "zip": ({"model": tmp_path / "empty.zip"}, none),
        "empty": ({"model": tmp_path / "empty"}, none),
        "file": ({"model": __file__}, "it is neither a folder nor a zip: it must be a folder"),
        "nonsense": ({"model": tmp_path / "nonsense"}, "its saved_model.pb cannot be read: "),
        "torn": ({"model": tmp_path / "torn"}, "tensorflow 2."),
    }
    results = serve_cases(tmp_path, {name: case for name, (case, _) in expected.items()})
    for name, (case, said) in expected.items():
        assert results[name].get("error", "none").startswith(f"error in {os.path.basename(case['model'])}: {said}"), results[name]
    assert not (tmp_path / "escaped").exists() and not (tmp_path.parent / "escaped").exists()


def test_a_replica_serves_a_model_with_a_request_handler(start):
    served = serve(start, {"a": tensorflow("predict", request_handler="handler.py", metadata={"name": "largest"})}, {"handler.py": HANDLER})
    assert served.predict("a", [5, 6]) == {"largest": 12.0}
    assert signature_of(served.get("a")) == {"x": {"shape": [-1, 2], "type": "float32"}}
    served.cortexd.expect_error(r"error in handler.py: post_inference: nothing$")
    served.cortexd.expect_error(r'error in predict: inference: key "x": ')
    assert served.failure("a", [0, 0]) == "error in handler.py: post_inference: nothing"
    assert served.failure("a", "text").startswith('error in predict: inference: key "x": no array of float32')


def test_tensorflow_that_is_not_installed_says_what_to_add(start):
    said = start_error(start, "tensorflow", tensorflow("twice"), environment=None)
    assert said == "error in twice: tensorflow is not installed; add tensorflow or tensorflow-cpu to requirements.txt"


def test_a_model_with_threads_is_not_forked(start):
    served = serve(start, {"a": tensorflow("twice", more="  preload: init\n")})
    served.cortexd.wait_log(r'api "a": preload: init has no effect: .*thread')
    assert served.predict("a", [1, 2]) == {"y": [2.0, 4.0]}


def test_the_example_answers(start):
    example = ROOT / "configs" / "iris-tensorflow"
    prepared = model("tensorflow", "twice").parents[1]  # where train.py has run
    cortexd = start(
        {
            "cortex.yaml": (example / "cortex.yaml").read_text().replace("8888", "@PORT@").replace("model: model", f"model: {prepared}/model"),
            "handler.py": (example / "handler.py").read_text(),
        },
        environment="tensorflow",
    )
    cortexd.endpoint = "/iris-tensorflow/classifier"
    assert cortexd.post(json.loads((example / "sample.json").read_text())).json() == "setosa"
