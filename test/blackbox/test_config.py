"""The command line, and `cortexd -t` over configs: what is accepted, and what each error says."""
import os
import re
import shutil
import subprocess

import pytest

from cortexd import BUILD, ROOT

CORTEXD = BUILD / "bin" / "cortexd"
BAD = sorted((ROOT / "configs" / "bad").glob("*.yaml"))
API = "- kind: api\n  name: a\n  predictor: {path: predictor.py}\n"


def cortexd(*args, cwd=None, env=None):
    return subprocess.run([CORTEXD, *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def check(project):
    """check(cortex.yaml): the lines of errors of `cortexd -t`, without the name of the file; [] when it is good."""

    def run(text, files=()):
        folder = project({"cortex.yaml": "", "predictor.py": "", "lib/module.py": "", **dict(files)})
        (folder / "cortex.yaml").write_text(text)
        result = cortexd("-t", "-c", "cortex.yaml", cwd=folder)
        lines = result.stderr.splitlines()
        assert result.returncode == (1 if lines else 0), result
        assert all(line.startswith("cortex.yaml:") for line in lines), lines
        return [line.removeprefix("cortex.yaml:") for line in lines]

    return run


# --- the files of configs/ --------------------------------------------------------------------------------------------
def test_there_are_bad_files():
    assert len(BAD) > 100


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_bad_file_is_refused_with_the_errors_it_expects(path):
    expected = re.findall(rb"^# expect: (.*)$", path.read_bytes(), re.MULTILINE)
    assert expected, "the file does not say what to expect"
    result = cortexd("-t", "-c", path.name, cwd=path.parent)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [f"{path.name}:{line.decode()}" for line in expected]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (ROOT / "configs").glob("*/cortex.yaml")))
def test_every_example_is_good(name, tmp_path):
    folder = tmp_path / name
    shutil.copytree(ROOT / "configs" / name, folder, ignore=shutil.ignore_patterns(".cortex"))
    for model in re.findall(r"^    model: (\S+)$", (folder / "cortex.yaml").read_text(), re.MULTILINE):
        (folder / model).exists() or (folder / model).touch()  # train.py has yet to make it
    result = cortexd("-t", "-c", folder / "cortex.yaml")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip().endswith("good")


def test_what_is_commented_out_in_the_annotated_example_is_known(tmp_path):
    shutil.copytree(ROOT / "configs" / "annotated", tmp_path, dirs_exist_ok=True)
    text = (ROOT / "configs" / "annotated" / "cortex.yaml").read_text()
    uncommented = re.sub(r"^(  +)# (?=\s*\w+: ?)", r"\1", text, flags=re.MULTILINE)
    (tmp_path / "cortex.yaml").write_text(uncommented)
    result = cortexd("-t", "-c", "cortex.yaml", cwd=tmp_path)
    assert result.returncode == 1
    assert "unknown key" not in result.stderr
    for key in ("onnx", "tensorflow"):
        assert re.search(rf"\b{key}\b.*(not supported yet|exactly one)", result.stderr), f"{key}: {result.stderr}"


# --- the table of keys, row by row ------------------------------------------------------------------------------------
def api(lines="", **changes):
    """cortex.yaml with one api; changes replace its name, predictor or endpoint; lines are further ones."""
    name = changes.get("name", "a")
    predictor = changes.get("predictor", "{path: predictor.py}")
    endpoint = f"  endpoint: {changes['endpoint']}\n" if "endpoint" in changes else ""
    return f"- kind: api\n  name: {name}\n{endpoint}  predictor: {predictor}\n" + "".join(
        f"  {line}\n" for line in lines.splitlines()
    )


GOOD = [
    "- kind: deployment\n  name: d\n" + API,
    API,
    api(name="a-1-b"),
    api(name="a" * 63),
    api(endpoint="/x"),
    api(endpoint="x/y/"),
    api(endpoint="/A_b-c.d/e"),
    api(predictor="{path: ./predictor.py}"),
    api(predictor="{path: lib/module.py, python_path: lib}"),
    api(predictor="{path: predictor.py, metadata: {a: 1, b: [x, {c: null}], d: {e: 1.5e3}}}"),
    api(predictor="{path: predictor.py, model: null}"),
    api(predictor="{path: predictor.py, env: {NAME: value, NUMBER: 5}}"),
    api("tracker: null"),
    api("tracker: {model_type: classification}"),
    api("tracker: {key: class, model_type: regression}"),
    api("compute: {min_replicas: 1, max_replicas: 1, init_replicas: 1}"),
    api("compute: {min_replicas: 2, max_replicas: 5, init_replicas: 3}"),
    api("compute: {target_cpu_utilization: 1}"),
    api("compute: {target_cpu_utilization: 100}"),
    *(api(f"compute: {{cpu: {cpu}}}") for cpu in ("200m", "'0.2'", "0.2", "1", "'2'", "1e-1", ".5", "1k", "100000u")),
    *(
        api(f"compute: {{mem: {mem}}}")
        for mem in "1 128974848 129e6 129M 123Mi 1Gi 2G 1K 1k 1Ki 1.5Gi 1T 1Ti 128974848000m".split()
    ),
    api("compute: {mem: null, gpu: 0}"),
    api("compute: {gpu: 2}"),
    api("autoscaling: {target_in_flight: 0.5, window: 1s, tolerance: 0%, upscale_stabilization_period: 0s}"),
    api("update_strategy: {max_surge: 0, max_unavailable: 100%}"),
    api("recycle: {max_requests: 1, jitter: 0%, max_mem: 1}"),
    API + "- kind: server\n  capacity: {cpu: 1500m, mem: 1Gi, gpu: 0}\n",
    api("requests: {max_body_size: 1Mi, timeout: 1500ms, max_queue_length: 0}"),
    API + "- kind: api\n  name: b\n  predictor: {path: predictor.py}\n",
    api("preload: none"),
    api("preload: module"),
    api("preload: init"),
    API + "- kind: server\n  listen: 127.0.0.1:9000\n",
    API + "- kind: server\n  listen: [0.0.0.0:90, '[::1]:90', 127.0.0.1:91, '[::]:91', 0.0.0.0:92, '[::]:92', 0.0.0.0:0, 127.0.0.1:0]\n",
    API + "- kind: server\n  listen: ['*:9000', 'unix:x.sock']\n  state_dir: state\n  log: {format: json, level: debug}\n",
]

BAD_ROWS = [
    # what; errors, as "line:column: text" by regular expression
    ("a: 1\n", [r"1:1: .*list"]),
    ("", [r"1:1: "]),
    ("- kind: apis\n  name: a\n", [r'1:3: .*kind.*"apis".*deployment, api, server']),
    ("- name: a\n", [r"1:3: .*kind: missing"]),
    (API + "- kind: deployment\n", [r"4:3: deployment: name: missing"]),
    (API + "- kind: deployment\n  name: A_B\n", [r'5:3: deployment: name: .*"A_B"']),
    ("- kind: api\n  predictor: {path: predictor.py}\n", [r"1:3: api.*: name: missing"]),
    (api(name="1a"), [r'2:3: api.*: name: .*"1a"']),
    (api(name="a-"), [r"2:3: api.*name"]),
    (api(name="A"), [r"2:3: api.*name"]),
    (api(name="a" * 64), [r"2:3: api.*name"]),
    (API + API, [r"(4:3|5:3): .*duplicate", ""]),
    (api(endpoint="/"), [r'3:3: api "a": endpoint']),
    (api(endpoint="''"), [r'3:3: api "a": endpoint']),
    (api(endpoint="/a//b"), [r'3:3: api "a": endpoint: "/a//b"']),
    (api(endpoint="/a b"), [r'3:3: api "a": endpoint: "/a b"']),
    (api(endpoint="[a]"), [r'3:3: api "a": endpoint: found a list']),
    ("- kind: api\n  name: a\n", [r'api "a": .*exactly one of predictor, onnx, tensorflow']),
    (API + "  onnx: {model: s3://b/a.onnx}\n", [r"exactly one", ""]),
    (api(predictor="{}"), [r'3:3: api "a": predictor.*path: missing|3:14: .*path: missing']),
    (api(predictor="{path: other.py}"), [r'3:15: api "a": predictor.path: "other.py"']),
    (api(predictor="{path: lib}"), [r'3:15: api "a": predictor.path: "lib"']),
    (api(predictor="{path: ../predictor.py}"), [r"3:15: .*out of the project folder"]),
    (api(predictor="{path: predictor.py, model: nowhere.pkl}"), [r'3:35: .*model: "nowhere.pkl" does not exist']),
    (api(predictor="{path: predictor.py, python_path: none}"), [r'3:35: .*python_path: "none"']),
    (api(predictor="{path: predictor.py, metadata: [1]}"), [r"3:35: .*metadata: found a list; must be a map"]),
    (api("tracker: {key: class}"), [r"4:12: .*tracker.model_type: missing; must be classification or regression"]),
    (api("tracker: {model_type: clustering}"), [r'4:13: .*tracker.model_type: found the string "clustering"']),
    (api("compute: {min_replicas: 0}"), [r"4:13: .*compute.min_replicas: found .*0.*from 1"]),
    (api("compute: {max_replicas: 0}"), [r"4:13: .*compute.max_replicas"]),
    (api("compute: {min_replicas: 3, max_replicas: 2}"), [r"compute.m.._replicas: found"]),
    (api("compute: {min_replicas: 2, init_replicas: 1}"), [r"4:30: .*compute.init_replicas: found 1; must be at least"]),
    (api("compute: {max_replicas: 2, init_replicas: 3}"), [r"4:30: .*compute.init_replicas: found 3; must be at most"]),
    (api("compute: {min_replicas: '2'}"), [r'4:13: .*compute.min_replicas: found the string "2"']),
    (api("compute: {min_replicas: 1.5}"), [r"4:13: .*compute.min_replicas: found .*1.5"]),
    (api("compute: {min_replicas: true}"), [r"4:13: .*compute.min_replicas: found .*true"]),
    (api("compute: {target_cpu_utilization: 0}"), [r"4:13: .*target_cpu_utilization: .*1 to 100"]),
    (api("compute: {target_cpu_utilization: 101}"), [r"4:13: .*target_cpu_utilization"]),
    *((api(f"compute: {{cpu: {cpu}}}"), [r"4:13: .*compute.cpu: "]) for cpu in ("0", "-1", "abc", "1x", "''", "1 0", "[1]")),
    *((api(f"compute: {{mem: {mem}}}"), [r"4:13: .*compute.mem: "]) for mem in ("0", "-1", "1XB", "1kib", "1e", "{a: 1}")),
    (api("compute: {gpu: -1}"), [r"4:13: .*compute.gpu: found .*-1"]),
    (api("compute: {gpu: 0.5}"), [r"4:13: .*compute.gpu: found .*0.5"]),
    (api("autoscaling: {window: 0s}"), [r"4:17: .*autoscaling.window: .*1s to 1h"]),
    (api("update_strategy: {max_surge: 0, max_unavailable: 0}"), [r"4:35: .*max_unavailable: .*more than 0"]),
    (api("recycle: {max_requests: 0}"), [r"4:13: .*recycle.max_requests: found .*0"]),
    (api("comptue: {}"), [r'4:3: .*comptue: unknown key; did you mean "compute"\?']),
    (api("name: b"), [r"4:3: .*duplicate key"]),
    (API + "---\n" + API, [r"4:1: .*document"]),
    (API + "- [unclosed\n", [r"\d+:\d+: "]),
    ("- kind: api\n  name: [\n", [r"\d+:\d+: "]),
]  # fmt: skip


def test_every_row_of_the_table_has_forms_that_are_good(check):
    refused = {text: errors for text in GOOD if (errors := check(text))}
    assert not refused


def test_every_row_of_the_table_has_forms_that_are_refused(check):
    wrong = []
    for text, patterns in BAD_ROWS:
        errors = check(text)
        missing = [pattern for pattern in patterns if not any(re.search(pattern, error) for error in errors)]
        if not errors or missing or ("" not in patterns and len(errors) > len(patterns)):
            wrong.append(f"{text}gave {errors}, expected {patterns}")
    assert not wrong, "\n".join(wrong)


def test_a_file_may_hold_a_thousand_apis(check):
    many = [f"- {{kind: api, name: a{i}, predictor: {{path: predictor.py}}}}\n" for i in range(1200)]
    assert check("".join(many[:1000])) == []
    (error,) = check("".join(many))
    assert re.match(r"1130:3: too many replicas: compute.max_replicas of all apis.* at most 131072", error)


def test_all_errors_are_reported_in_one_run_and_in_order(check):
    text = api("compute: {cpu: abc, gpu: x}\npreload: maybe", name="A", endpoint="//")
    errors = check(text)
    assert len(errors) == 5, errors
    places = [tuple(map(int, re.match(r"(\d+):(\d+): ", error).groups())) for error in errors]
    assert places == sorted(places)


def test_the_file_is_named_as_it_was_given(project):
    folder = project({"sub/cortex.yaml": "x"})
    assert cortexd("-t", "-c", "sub/cortex.yaml", cwd=folder).stderr.startswith("sub/cortex.yaml:1:1: ")
    assert cortexd("-t", "-c", f"{folder}/sub/cortex.yaml").stderr.startswith(f"{folder}/sub/cortex.yaml:1:1: ")


def test_cortex_yaml_of_the_working_directory_is_the_default(project):
    folder = project({"cortex.yaml": API, "predictor.py": ""})
    assert cortexd("-t", cwd=folder).returncode == 0


@pytest.mark.parametrize(
    "make", [lambda p: None, lambda p: p.mkdir(), lambda p: os.mkfifo(p), lambda p: p.symlink_to(p)], ids="none folder fifo loop".split()
)
def test_a_file_that_is_none_is_told(tmp_path, make):
    make(tmp_path / "cortex.yaml")
    result = cortexd("-t", "-c", "cortex.yaml", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("cortex.yaml:") and result.stderr.count("\n") == 1


def test_a_bad_config_starts_nothing(project):
    folder = project({"cortex.yaml": "- kind: api\n"})
    result = cortexd(cwd=folder)
    assert result.returncode == 1 and "cortex.yaml:1:" in result.stderr
    assert not (folder / ".cortex").exists()


# --- defaults that can be seen from outside ---------------------------------------------------------------------------
def test_the_endpoint_is_named_after_folder_and_api_when_nothing_is_said(start, tmp_path):
    config = "- kind: api\n  name: hello\n  predictor: {path: predictor.py}\n- kind: server\n  listen: 127.0.0.1:@PORT@\n"
    cortexd = start({"cortex.yaml": config}, folder=tmp_path / "my-shop")
    cortexd.endpoint = "/my-shop/hello"
    assert cortexd.post(1).json() == 1
    assert len(cortexd.replicas()) == 1


def test_metadata_reaches_init_and_predict_as_it_was_written(start):
    metadata = {"a": [1, 2.5, None, True, "x"], "b": {"c": {"d": []}}, "big": 10**30, "text": "é\n\"", "1": "one"}
    predictor = """\
        seen = None


        def init(model_path, metadata):
            global seen
            seen = [model_path, metadata]


        def predict(sample, metadata):
            return [*seen, metadata]
    """
    cortexd = start(predictor, metadata=metadata)
    assert cortexd.post(0).json() == [None, metadata, metadata]


def test_python_path_env_and_working_directory(start):
    files = {
        "predictor.py": """\
            import os

            import helper
            import sibling


            def predict(sample, metadata):
                return [helper.NAME, sibling.NAME, os.environ["FLOWER"], os.getcwd(), open("data.txt").read()]
        """,
        "lib/helper.py": "NAME = 'helper'\n",
        "sibling.py": "NAME = 'sibling'\n",
        "data.txt": "relative",
    }
    cortexd = start(files, predictor="python_path: lib\nenv: {FLOWER: iris}")
    assert cortexd.post(0).json() == ["helper", "sibling", "iris", str(cortexd.folder), "relative"]


def test_init_replicas_decides_how_many_start(start):
    config = (
        "- kind: deployment\n  name: d\n- kind: api\n  name: a\n  predictor: {path: predictor.py}\n"
        "  compute: {min_replicas: 1, init_replicas: 3, max_replicas: 4}\n- kind: server\n  listen: 127.0.0.1:@PORT@\n"
    )
    cortexd = start({"cortex.yaml": config}, replicas=3)
    assert len(cortexd.replicas()) == 3


def test_the_log_can_be_json(start):
    import json

    cortexd = start("def predict(sample, metadata):\n    return sample\n", server="log: {format: json, level: debug}")
    cortexd.endpoint = "/d/a"
    assert cortexd.post({"a": 1}).status == 200
    cortexd.wait_log(r'"status":200')
    cortexd.stop()
    lines = [json.loads(line) for line in cortexd.log().splitlines()]
    assert {line["role"] for line in lines} == {"supervisor", "activator", "replica"}
    assert all({"time", "level"} <= set(line) for line in lines)
    assert any(line["level"] == "debug" for line in lines)
    (prediction,) = [line for line in lines if "status" in line]
    assert (prediction["api"], prediction["replica"], prediction["endpoint"]) == ("a", 0, "/d/a")


def test_the_log_level_hides_what_is_below(start):
    cortexd = start("def predict(sample, metadata):\n    return sample\n", server="log: {level: error}")
    assert cortexd.post(1).status == 200
    cortexd.stop()
    assert cortexd.log() == ""


# --- the command line -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(option):
    result = cortexd(option)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: cortexd")
    for expected in ("-c", "-t", "--environment", "--help", "--version", "cortex.yaml"):
        assert expected in result.stdout
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_version():
    result = cortexd("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"cortexd \d+\.\d+\.\d+\n", result.stdout)
    assert result.stdout.split()[1] in (ROOT / "NEWS.md").read_text()


@pytest.mark.parametrize("args", [["--nonsense"], ["-x"], ["extra"], ["-c"], ["--stop-timeout", "soon"], ["--stop-timeout", "-1"]])
def test_a_wrong_command_line_exits_with_2_and_points_to_help(args):
    result = cortexd(*args)
    assert result.returncode == 2
    assert result.stdout == "" and "--help" in result.stderr


def test_output_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "w") as full:
        assert subprocess.run([CORTEXD, "--help"], stdout=full, timeout=60).returncode == 1


def test_the_replica_program_says_who_starts_it():
    result = subprocess.run([BUILD / "bin" / "cortexd-replica"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "cortexd" in result.stderr
