"""ONNX apis: real models of scikit-learn and of onnx itself, served by onnxruntime with and without a request handler."""
import json
import os
import shutil
import threading

import pytest

from cortexd import ROOT, Scoreboard, process_title, wait_until
from models import Served, config, model, start_error

HINT = "make a prediction by sending a post request to this endpoint with a json sample"
MODELS = ("classifier", "named", "table", "types", "twice")
GATED = """\
    import os
    import time

    def pre_inference(sample, signature, metadata):
        if isinstance(sample, str):
            open(sample + ".begun", "w").close()
            while not os.path.exists(sample + ".end"):
                time.sleep(0.002)
            return [1, 2]
        return sample
"""


def onnx(name, **keys):
    return {"model": model("onnx", f"{name}.onnx"), **keys}


def serve(start, apis, files=None, **options):
    return Served(start, "onnx", apis, files, **options)


# --- samples ----------------------------------------------------------------------------------------------------------
def test_without_code_json_goes_in_and_json_comes_out(start):
    served = serve(start, {name: onnx(name) for name in MODELS})
    flower = [5.2, 3.6, 1.5, 0.3]
    for sample in (flower, [flower], {"X": flower}, {"X": [flower], "not an input": 1}):
        labels, probabilities = served.predict("classifier", sample)
        assert labels == [0]
        assert set(probabilities[0]) == {"0", "1", "2"} and probabilities[0]["0"] > 0.9
    labels, probabilities = served.predict("named", flower)
    assert labels == ["setosa"] and probabilities[0]["setosa"] > 0.9
    # a model whose dimension is open takes several at once
    labels, probabilities = served.predict("classifier", [flower, [6.7, 3.0, 5.2, 2.3]])
    assert labels == [0, 2] and len(probabilities) == 2

    table = served.predict("table", {"city": "rome", "rooms": 4, "size": 40})
    assert table[0] == [1] and len(table[1][0]) == 2
    assert served.predict("table", {"city": [["oslo"], ["rome"]], "rooms": [[1], [4]], "size": [[20.5], [40]]})[0] == [0, 1]

    typed = {"i64": [2**40, -1], "i8": -128, "f32": [1, 2], "f64": 0.1, "f16": [0.5], "text": ["grün", ""], "flag": [True, False]}
    assert served.predict("types", typed) == [[2**40, -1], [-128], [[1.0, 2.0]], 0.1, [0.5], ["grün", ""], [[True, False]]]
    # what can be seen as the type of the input is taken for it
    typed = {"i64": [1.9, True], "i8": [["7"]], "f32": [["1.5", 2], [3, 4]], "f64": [2], "f16": True, "text": "one", "flag": [0, 2]}
    assert served.predict("types", typed) == [[1, 1], [7], [[1.5, 2.0], [3.0, 4.0]], 2.0, [1.0], ["one"], [[False, True]]]
    assert served.predict("twice", {"x": [3, 4]}) == [[[6.0, 8.0]]]


TYPED = {"i64": [1, 2], "i8": 1, "f32": [1, 2], "f64": 1, "f16": 1, "text": ["a"], "flag": [True, True]}


def test_what_does_not_fit_a_model_is_said_clearly(start):
    cases = [
        ("twice", {"y": [1, 2]}, 'missing key "x"'),
        ("twice", {"x": None}, 'missing key "x"'),
        ("twice", {}, 'missing key "x"'),
        ("twice", [1, 2, 3], 'key "x": expected shape [\'batch\', 2], found shape [3]'),
        ("twice", {"x": [[1, 2, 3]]}, 'key "x": expected shape [\'batch\', 2], found shape [1, 3]'),
        ("twice", "two", "key \"x\": no array of float32: could not convert string to float: 'two'"),
        ("twice", {"x": {"a": 1}}, 'key "x": no array of float32: float() argument must be'),
        ("twice", [[1, 2], [3]], 'key "x": no array of float32: setting an array element with a sequence.'),
        ("table", [1, 2], 'expected a dict with the keys "city", "rooms", "size", found list'),
        ("table", None, 'expected a dict with the keys "city", "rooms", "size", found NoneType'),
        ("table", {"city": "rome", "size": 1}, 'missing key "rooms"'),
        ("types", {**TYPED, "text": [1]}, 'key "text": no array of string: found something else than strings'),
        ("types", {**TYPED, "i64": [10**30, 0]}, 'key "i64": no array of int64: '),
        ("types", {**TYPED, "i8": 200}, 'key "i8": no array of int8: '),
        ("types", {**TYPED, "flag": [True]}, 'key "flag": expected shape [1, 2], found shape [1]'),
    ]
    served = serve(start, {name: onnx(name) for name in ("twice", "table", "types")})
    for name, sample, expected in cases:
        served.cortexd.expect_error(r"error in \w+\.onnx: inference: ")
        said = served.failure(name, sample)
        assert said.startswith(f"error in {name}.onnx: inference: {expected}"), said
    # what onnxruntime itself finds wrong
    assert "\n" not in served.failure("table", {"city": "rome", "rooms": [1, 2], "size": [1]})
    assert served.predict("twice", [1, 2]) == [[[2.0, 4.0]]]  # and it goes on


# --- request handlers -------------------------------------------------------------------------------------------------
HANDLERS = {
    "both.py": """\
        import numpy

        def pre_inference(sample, signature, metadata):
            assert [(i.name, i.shape, i.type) for i in signature] == [("x", ["batch", 2], "tensor(float)")], signature
            return {signature[0].name: numpy.array(sample["numbers"], dtype="int16")}

        def post_inference(prediction, signature, metadata):
            assert [(o.name, o.shape, o.type) for o in signature] == [("y", ["batch", 2], "tensor(float)")], signature
            assert isinstance(prediction, list) and isinstance(prediction[0], numpy.ndarray)
            return {metadata["name"]: prediction[0].max()}
    """,
    "pre.py": "def pre_inference(sample, signature, metadata):\n    return [sample, sample]\n",
    "post.py": "def post_inference(prediction, signature, metadata):\n    return prediction[0][0].tolist()\n",
    "neither.py": "def post_interference(prediction, signature, metadata):\n    return 1\n",
    "broken.py": """\
        def pre_inference(sample, signature, metadata):
            if sample == "text":
                import numpy
                return numpy.array(["a", "b"])
            if sample == "pre":
                raise ValueError("no " + metadata["word"])
            return [1, 2]

        def post_inference(prediction, signature, metadata):
            return prediction[7]
    """,
}


def test_functions_of_the_request_handler_stand_before_and_after_the_model(start):
    apis = {
        "both": onnx("twice", request_handler="both.py", metadata={"name": "largest"}),
        "pre": onnx("twice", request_handler="pre.py"),
        "post": onnx("twice", request_handler="post.py"),
        "neither": onnx("twice", request_handler="neither.py"),
    }
    served = serve(start, apis, HANDLERS)
    assert served.predict("both", {"numbers": [3, 4]}) == {"largest": 8.0}
    assert served.predict("pre", 5) == [[[10.0, 10.0]]]
    assert served.predict("post", [1, 2]) == [2.0, 4.0]
    assert served.predict("neither", [1, 2]) == [[[2.0, 4.0]]]


def test_an_error_names_the_file_and_the_function_it_comes_from(start):
    served = serve(start, {"broken": onnx("twice", request_handler="broken.py", metadata={"word": "way"})}, HANDLERS)
    served.cortexd.expect_error(r"error in broken.py: pre_inference: no way$")
    served.cortexd.expect_error(r"error in broken.py: post_inference: list index out of range$")
    served.cortexd.expect_error(r"error in twice.onnx: inference: ")
    assert served.failure("broken", "pre") == "error in broken.py: pre_inference: no way"
    assert served.failure("broken", "post") == "error in broken.py: post_inference: list index out of range"
    assert served.failure("broken", "text") == 'error in twice.onnx: inference: key "x": no array of float32: found <U1'
    served.cortexd.wait_log(r'broken\.py", line 6, in pre_inference')
    assert "cortexd>" not in served.cortexd.log()  # our own lines are in no traceback


def test_debug_logs_what_passes(start):
    served = serve(start, {"both": onnx("twice", request_handler="both.py", metadata={"name": "largest"})}, HANDLERS)
    assert served.post("both", {"numbers": [3, 4]}, "?debug=true").json() == {"largest": 8.0}
    served.predict("both", {"numbers": [70, 70]})
    served.cortexd.stop()
    log = served.cortexd.log()
    expected = [
        "sample: {'numbers': [3, 4]}",
        "pre_inference: {'x': [3, 4]}",
        "inference: [[[6.0, 8.0]]]",
        "post_inference: {'largest': 8.0}",
        "prediction: {'largest': 8.0}",
    ]
    said = [line.partition("info  replica both/0: ")[2] for line in log.splitlines()]
    assert [line for line in said if line.partition(":")[0] in [text.partition(":")[0] for text in expected]] == expected


START_ERRORS = {
    "def pre_inference(sample):\n    pass\n": "pre_inference must take three arguments: expected pre_inference(sample, signature, metadata), "
    "found pre_inference(sample)",
    "def post_inference(prediction, metadata, signature):\n    pass\n": "the arguments of post_inference are swapped: expected "
    "post_inference(prediction, signature, metadata), found post_inference(prediction, metadata, signature)",
    "async def pre_inference(sample, signature, metadata):\n    pass\n": "pre_inference must not be async: expected def pre_inference",
    "post_inference = 5\n": "post_inference must be a function: expected post_inference(prediction, signature, metadata), found type int",
    "import no_such_module\n": "line 1: ModuleNotFoundError: No module named 'no_such_module'",
    "def broken(:\n": "line 1: SyntaxError: invalid syntax",
}


@pytest.mark.parametrize("text", START_ERRORS, ids=range(len(START_ERRORS)))
def test_a_request_handler_that_cannot_be_used_is_an_error_at_the_start(start, text):
    said = start_error(start, "onnx", onnx("twice", request_handler="handler.py"), {"handler.py": text})
    assert said.startswith(f"error in handler.py: {START_ERRORS[text]}")


def test_a_model_without_onnxruntime_says_what_to_add(start):
    said = start_error(start, "onnx", onnx("twice"), environment=None)
    assert said == "error in twice.onnx: onnxruntime is not installed; add onnxruntime to requirements.txt"


def test_a_model_that_does_not_load_is_an_error_at_the_start(start):
    said = start_error(start, "onnx", {"model": "bad.onnx"}, {"bad.onnx": b"nonsense"})
    assert said.startswith("error in bad.onnx: onnxruntime 1.") and "cannot load it: " in said


# --- GET --------------------------------------------------------------------------------------------------------------
def signature_of(answer):
    assert answer.status == 200 and answer.header("access-control-allow-origin") == "*"
    body = answer.json()
    assert list(body) == ["message", "model_signature"] and body["message"] == HINT
    return body["model_signature"]


def test_get_tells_the_inputs_of_the_model(start):
    served = serve(start, {name: onnx(name) for name in ("classifier", "types")})
    assert signature_of(served.get("classifier")) == {"X": {"shape": [None, 4], "type": "float32"}}
    assert signature_of(served.get("types/?x=1")) == {
        "i64": {"shape": [2], "type": "int64"},
        "i8": {"shape": [1], "type": "int8"},
        "f32": {"shape": ["rows", 2], "type": "float32"},
        "f64": {"shape": [], "type": "float64"},
        "f16": {"shape": [1], "type": "float16"},
        "text": {"shape": ["n"], "type": "string"},
        "flag": {"shape": [1, 2], "type": "bool"},
    }
    with served.cortexd.connect() as connection:  # a connection goes from one api to the other, and through the activator
        for _ in range(3):
            head = connection.request("HEAD", "/types")
            body = connection.request("GET", "/types").body
            assert head.status == 200 and head.header("content-length") == str(len(body)) and b"rows" in body
            assert "X" in signature_of(connection.request("GET", "/classifier"))
            assert connection.post("/classifier", [1, 2, 3, 4]).status == 200
            assert connection.request("OPTIONS", "/types").status == 204
            assert connection.request("DELETE", "/types").status == 405


def test_get_waits_as_a_prediction_does(start):
    served = serve(start, {"a": onnx("twice", request_handler="gated.py")}, {"gated.py": GATED})
    folder = served.cortexd.folder
    answers = {}

    def post():
        answers["post"] = served.predict("a", "x")

    def get():
        answers["get"] = signature_of(served.get("a"))

    threads = [threading.Thread(target=post)]
    threads[0].start()
    wait_until(lambda: (folder / "x.begun").exists(), "the prediction runs")
    threads.append(threading.Thread(target=get))
    threads[1].start()
    with Scoreboard(served.cortexd.pid) as board:
        wait_until(board.waiting, "it waits at the activator")
    assert not answers
    (folder / "x.end").touch()
    for thread in threads:
        thread.join(timeout=60)
    assert answers == {"post": [[[2.0, 4.0]]], "get": {"x": {"shape": ["batch", 2], "type": "float32"}}}


def test_get_before_the_first_replica_is_ready_waits_for_it(start):
    slow = "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.002)\n"
    served = serve(start, {"a": onnx("twice", request_handler="slow.py")}, {"slow.py": slow}, wait=False)
    wait_until(lambda: "activator: ready" in served.cortexd.log(), "the activator listens")
    with served.cortexd.connect() as connection:
        connection.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        (served.cortexd.folder / "go").touch()
        assert signature_of(connection.answer()) == {"x": {"shape": ["batch", 2], "type": "float32"}}
    served.cortexd.wait_ready(1)


# --- replicas ---------------------------------------------------------------------------------------------------------
def n_threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def test_threads_follow_the_cpu_request(start):
    compute = "{{max_replicas: 1, cpu: {}}}"
    env = {"OPENBLAS_NUM_THREADS": 1}  # numpy's threads are not counted
    apis = {name: onnx("twice", compute=compute.format(cpu), env=env) for name, cpu in (("one", "100m"), ("three", "3"))}
    served = serve(start, apis, server="  capacity: {cpu: 16}\n")
    by_api = {process_title(pid).split()[2][:-2]: n_threads(pid) for pid in served.cortexd.replicas()}
    assert by_api["three"] == by_api["one"] + 2


def test_replicas_of_a_model_answer_at_once(start):
    handler = GATED + "\n    def post_inference(prediction, signature, metadata):\n        return os.getpid()\n"
    compute = "{min_replicas: 2, max_replicas: 2, cpu: 100m}"
    served = serve(start, {"a": onnx("twice", request_handler="gated.py", compute=compute)}, {"gated.py": handler}, replicas=2)
    folder = served.cortexd.folder
    pids = {}

    def post(name):
        pids[name] = served.predict("a", name)

    threads = [threading.Thread(target=post, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    wait_until(lambda: (folder / "x.begun").exists() and (folder / "y.begun").exists(), "both predictions run")
    (folder / "x.end").touch()
    (folder / "y.end").touch()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(pids.values()) == sorted(served.cortexd.replicas())


@pytest.mark.parametrize("what", ["module", "init"])
def test_preload_works_for_models(start, what):
    apis = {"a": onnx("twice", more=f"  preload: {what}\n", compute="{min_replicas: 2, max_replicas: 2, cpu: 100m}")}
    served = serve(start, apis, replicas=2)
    assert "has no effect" not in served.cortexd.log()
    assert any(process_title(pid) == "cortexd: template a (ready)" for pid in served.cortexd.children())
    for _ in range(20):
        assert served.predict("a", [1, 2]) == [[[2.0, 4.0]]]
    assert signature_of(served.get("a"))


def test_a_model_with_threads_is_not_forked(start):
    served = serve(start, {"a": onnx("twice", more="  preload: init\n", compute="{max_replicas: 1, cpu: 2}")})
    served.cortexd.wait_log(r'api "a": preload: init has no effect: .*thread')
    assert served.predict("a", [1, 2]) == [[[2.0, 4.0]]]


# --- reloading --------------------------------------------------------------------------------------------------------
def test_a_reload_serves_another_model_or_the_changed_one(start):
    served = serve(start, {"a": {"model": "m.onnx"}}, {"m.onnx": model("onnx", "twice.onnx").read_bytes()})
    cortexd = served.cortexd
    assert served.predict("a", [1, 2]) == [[[2.0, 4.0]]]

    def reload(pattern):
        since = cortexd.log_size()
        cortexd.signal(1)
        cortexd.wait_log(rf"reload: done after .*{pattern}", since=since)

    reload("1 unchanged")
    shutil.copy(model("onnx", "thrice.onnx"), cortexd.folder / "new.onnx")
    os.replace(cortexd.folder / "new.onnx", cortexd.folder / "m.onnx")
    reload("1 changed")
    assert served.predict("a", [1, 2]) == [[[3.0, 6.0]]]
    text = config("onnx", {"a": onnx("twice")}).replace("@PORT@", str(cortexd.port))
    cortexd.write({"cortex.yaml": text}, cortexd.folder)
    reload("1 changed")
    assert served.predict("a", [1, 2]) == [[[2.0, 4.0]]]


def test_a_model_outside_the_project_that_changes_is_noticed(start, tmp_path):
    outside = tmp_path / "models"
    outside.mkdir()
    shutil.copy(model("onnx", "twice.onnx"), outside / "1.onnx")
    shutil.copy(model("onnx", "thrice.onnx"), outside / "2.onnx")
    (outside / "current.onnx").symlink_to("1.onnx")
    served = serve(start, {"a": {"model": outside / "current.onnx"}})
    assert served.predict("a", [1, 2]) == [[[2.0, 4.0]]]
    (outside / "new").symlink_to("2.onnx")
    os.replace(outside / "new", outside / "current.onnx")
    served.cortexd.signal(1)
    served.cortexd.wait_log(r"reload: done after .*1 changed")
    assert served.predict("a", [1, 2]) == [[[3.0, 6.0]]]


def test_get_after_a_reload_that_makes_a_predictor_of_the_api(start):
    served = serve(start, {"a": onnx("twice")}, {"predictor.py": "def predict(sample, metadata):\n    return sample\n"})
    cortexd = served.cortexd
    assert signature_of(served.get("a"))
    text = (cortexd.folder / "cortex.yaml").read_text()
    changed = text[: text.index("  onnx:")] + "  predictor: {path: predictor.py}\n" + text[text.index("  compute:") :]
    cortexd.write({"cortex.yaml": changed}, cortexd.folder)
    cortexd.signal(1)
    cortexd.wait_log(r"reload: done after .*1 changed")
    assert served.get("a").json() == {"message": HINT}
    cortexd.write({"cortex.yaml": text}, cortexd.folder)
    cortexd.signal(1)
    cortexd.wait_log(r"reload: done after .*1 changed", count=2)
    assert signature_of(served.get("a"))


def test_a_folder_in_which_something_changes_is_noticed(start, tmp_path):
    predictor = """\
        import os

        def init(model_path, metadata):
            global names
            names = sorted(os.listdir(model_path))

        def predict(sample, metadata):
            return names
    """
    folder = tmp_path / "models"
    (folder / "1").mkdir(parents=True)
    cortexd = start(predictor, predictor=f"model: {folder}\n")
    assert cortexd.post(0).json() == ["1"]
    (folder / "2").mkdir()
    cortexd.signal(1)
    cortexd.wait_log(r"reload: done after .*1 changed")
    assert cortexd.post(0).json() == ["1", "2"]


# --- a predictor with a model, and the example ------------------------------------------------------------------------
def test_init_gets_the_path_of_the_model(start):
    predictor = """\
        def init(model_path, metadata):
            global path
            path = model_path

        def predict(sample, metadata):
            return path
    """
    cortexd = start({"predictor.py": predictor, "models/m.pkl": ""}, predictor="model: models/../models/m.pkl\n")
    assert cortexd.post(0).json() == str(cortexd.folder / "models" / "m.pkl")


def test_the_example_answers(start):
    example = ROOT / "configs" / "iris-onnx"
    files = {path.name: path.read_text() for path in example.iterdir() if path.suffix in (".py", ".yaml")}
    files["cortex.yaml"] = files["cortex.yaml"].replace("8888", "@PORT@")
    files["model.onnx"] = model("onnx", "classifier.onnx").read_bytes()
    cortexd = start(files, replicas=2, environment="onnx")
    cortexd.endpoint = "/iris-onnx/classifier"
    assert cortexd.post(json.loads((example / "sample.json").read_text())).json() == "setosa"
