"""The base environment: made by scripts/preinstall, below every project, and never changed by one."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cortexd import BUILD, KILLS, ROOT, wait_until
from s3 import S3, environment
from wheels import make_wheel

PREDICTOR = """\
    import sys

    import flowers
    import seeds


    def predict(sample, metadata):
        return {"flowers": flowers.VERSION, "seeds": seeds.VERSION, "prefix": sys.prefix}
"""

BASE = os.environ.get("CORTEXD_TEST_PACKAGES") and ROOT / os.environ["CORTEXD_TEST_PACKAGES"]


def offline(wheels):
    """pip takes everything from that folder."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}


def preinstall(*args, wheels="/nowhere", **options):
    return subprocess.run(
        [ROOT / "scripts" / "preinstall", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **offline(wheels)},
        **options,
    )


def make_base(folder, requirements, wheels):
    """A base environment of these requirements; the link to it."""
    Path(folder).mkdir(exist_ok=True)
    (folder / "list.txt").write_text(requirements)
    made = preinstall("--requirements", folder / "list.txt", folder / "base", wheels=wheels)
    assert made.returncode == 0, made
    return folder / "base"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A base environment with flowers 1.0 and seeds 1.0, for tests that only look at it."""
    folder = tmp_path_factory.mktemp("base")
    for name in ("flowers", "seeds"):
        make_wheel(folder / "wheels", name, "1.0")
    return make_base(folder, "flowers\nseeds\n", folder / "wheels")


def snapshot(folder):
    """Every file below a folder, with its time and size."""
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in Path(folder).resolve().rglob("*")}


def run_environment(folder, env):
    return subprocess.run(
        [BUILD / "bin" / "cortexd", "-c", folder / "cortex.yaml", "--environment"],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **env},
    )


# --- below a project --------------------------------------------------------------------------------------------------
def test_a_project_without_requirements_has_the_packages_of_the_base(start, shared):
    cortexd = start(PREDICTOR, server=f"packages: {shared}")
    assert cortexd.post(0).json() == {"flowers": "1.0", "seeds": "1.0", "prefix": str(shared.resolve())}
    result = run_environment(cortexd.folder, {})
    assert (result.returncode, result.stdout) == (0, f"{shared.resolve()}/bin/python\n")


def test_a_project_overrides_a_package_of_the_base_and_leaves_the_base_as_it_is(start, shared, tmp_path):
    make_wheel(tmp_path / "wheels", "flowers", "2.0")  # and no seeds: pip fails if it wants to install them
    before = snapshot(shared)
    cortexd = start(
        {"predictor.py": PREDICTOR, "requirements.txt": "flowers==2.0\nseeds\n"},
        server=f"packages: {shared}",
        env=offline(tmp_path / "wheels"),
    )
    answer = cortexd.post(0).json()
    assert (answer["flowers"], answer["seeds"]) == ("2.0", "1.0")
    assert answer["prefix"].startswith(f"{cortexd.folder}/.cortex/")
    assert re.search(r"environment: Requirement already satisfied: seeds in \S*/base\.builds/", cortexd.log())
    assert "Successfully installed flowers-2.0\n" in cortexd.log()
    assert snapshot(shared) == before


def test_packages_none_leaves_the_plain_interpreter(start):
    cortexd = start("def predict(sample, metadata):\n    return sample\n", server="packages: none")
    assert run_environment(cortexd.folder, {}).stdout == "/usr/bin/python3.11\n"


@pytest.mark.once
def test_a_new_build_of_the_base_takes_effect_with_a_reload_and_makes_new_environments(start, shared, tmp_path):
    for version in ("1.0", "2.0"):
        shutil.copytree(shared.resolve(), tmp_path / f"build-{version}", symlinks=True)
        (tmp_path / f"build-{version}" / "lib/python3.11/site-packages/flowers.py").write_text(f"VERSION = '{version}'\n")
    (tmp_path / "base").symlink_to("build-1.0")
    cortexd = start(
        {"predictor.py": PREDICTOR, "requirements.txt": "seeds\n"}, server=f"packages: {tmp_path}/base", env=offline(tmp_path)
    )
    first = cortexd.post(0).json()
    (tmp_path / "next").symlink_to("build-2.0")
    (tmp_path / "next").rename(tmp_path / "base")
    assert cortexd.post(0).json() == first
    reload = [cortexd.binary, "-c", cortexd.folder / "cortex.yaml", "--reload"]
    assert subprocess.run(reload, timeout=200).returncode == 0
    second = cortexd.post(0).json()
    assert (first["flowers"], second["flowers"], second["seeds"]) == ("1.0", "2.0", "1.0")
    assert first["prefix"] != second["prefix"]


@pytest.mark.parametrize(
    "files, message",
    [
        ({}, "No such file or directory"),
        ({"base/bin/python": ""}, "it is no environment of Python: no version in its pyvenv.cfg"),
        ({"base/pyvenv.cfg": "version = 3.4.1\n"}, "it was made by Python 3.4.1, and this cortexd has 3.11"),
        ({"base/pyvenv.cfg": "version = 3.11.2\n"}, "bin/python in it: No such file or directory"),
    ],
    ids=["missing", "no environment", "of another Python", "half"],
)
def test_a_base_that_cannot_be_used_is_an_error_that_says_why(start, files, message):
    cortexd = start({"predictor.py": "", **files}, server="packages: base", wait=False)
    cortexd.expect_error(f'packages: ".*/base": {message}; scripts/preinstall makes it')
    cortexd.expect_exit(1)
    assert cortexd.wait_exit() == 1


# --- scripts/preinstall ------------------------------------------------------------------------------------------------
@pytest.mark.once
def test_check_says_of_every_package_whether_it_works(shared):
    checked = preinstall("--check", shared)
    assert checked.returncode == 0
    assert re.search(r"^flowers +1\.0 +\S+ +installed$", checked.stdout, re.MULTILINE)


@pytest.mark.once
def test_a_build_whose_packages_do_not_work_leaves_the_last_one_in_place(tmp_path):
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "six", "1.0", source="")  # which has nothing of what six has
    make_wheel(wheels, "flowers", "1.0")
    base = make_base(tmp_path, "flowers\n", wheels)
    before = base.resolve(), snapshot(base)
    (tmp_path / "list.txt").write_text("flowers\nsix\n")
    made = preinstall("--requirements", tmp_path / "list.txt", base, wheels=wheels)
    assert made.returncode != 0
    assert re.search(r"^six +1\.0 +\S+ +FAILED: AttributeError", made.stdout, re.MULTILINE)
    assert (base.resolve(), snapshot(base)) == before
    assert list(tmp_path.glob("base.builds/build-*")) == [base.resolve()]


@pytest.mark.base
@pytest.mark.once
@pytest.mark.timeout(600)
def test_a_build_of_the_base_that_is_killed_is_never_taken_and_the_next_one_cleans_up(tmp_path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    wheels, base = tmp_path / "wheels", tmp_path / "base"
    for name in ("flowers", "seeds"):
        make_wheel(wheels, name, "1.0")
    (tmp_path / "list.txt").write_text("flowers\nseeds\n")
    command = [ROOT / "scripts" / "preinstall", "--requirements", tmp_path / "list.txt", base]
    for _ in range(max(2, KILLS // 2)):
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **offline(wheels)},
            start_new_session=True,
        )
        time.sleep(moments.uniform(0, 3))  # the random moment is what is tested
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if os.path.lexists(base):  # the machine was fast, and the build was over
            assert preinstall("--check", base).returncode == 0
    assert preinstall(*command[1:], wheels=wheels).returncode == 0
    assert subprocess.run([base / "bin" / "python", "-c", "import flowers, seeds"]).returncode == 0
    assert len(list(tmp_path.glob("base.builds/build-*"))) <= 2  # the one in use, and the one before


@pytest.mark.once
def test_two_builds_of_a_base_do_not_meet(tmp_path, shared):
    with open(tmp_path / "list.txt", "w"):
        pass
    subprocess.run(["mkdir", "-p", tmp_path / "base.builds"], check=True)
    holder = subprocess.Popen(["flock", tmp_path / "base.builds" / "lock", "sleep", "60"], start_new_session=True)
    wait_until(lambda: subprocess.run(["flock", "-n", tmp_path / "base.builds" / "lock", "true"]).returncode, "it is locked")
    made = preinstall("--requirements", tmp_path / "list.txt", tmp_path / "base")
    os.killpg(holder.pid, signal.SIGKILL)
    holder.wait()
    assert made.returncode == 1 and "another one is at work" in made.stderr


# --- models on the real one --------------------------------------------------------------------------------------------
def with_base(test):
    for mark in (pytest.mark.base, pytest.mark.once, pytest.mark.timeout(600), pytest.mark.skipif(not BASE, reason="make check-packages")):
        test = mark(test)
    return test


def wait_imported(cortexd, replicas):
    """Large packages that nobody has read since the machine started take longer than anything else here."""
    wait_until(lambda: len(cortexd.replicas()) == replicas or cortexd.process.poll() is not None, "replicas are ready", patience=300)
    cortexd.wait_ready(replicas)


@pytest.mark.parametrize("name", ["iris", "iris-torch", "iris-torch of a bucket", "iris-xgboost"])
@with_base
def test_a_model_is_trained_and_served_with_nothing_but_the_base(start, tmp_path, port, name, request):
    name, _, from_bucket = name.partition(" of ")
    folder = tmp_path / name
    shutil.copytree(ROOT / "configs" / name, folder, ignore=shutil.ignore_patterns(".cortex", "model.*", "__pycache__"))
    (folder / "requirements.txt").unlink(missing_ok=True)
    python = BASE / "bin" / "python"
    if name == "iris-torch" and subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
        pytest.skip("made without torch")
    trained = subprocess.run([python, folder / "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    accuracy = re.fullmatch(r"accuracy on held-back flowers: (\S+); written to model\.\w+\n", trained.stdout)
    assert accuracy and float(accuracy[1]) > 0.9, trained
    config = (folder / "cortex.yaml").read_text().replace("127.0.0.1:8888", f"127.0.0.1:{port}")
    env = {}
    if from_bucket:
        server = S3(tmp_path / "s3")
        request.addfinalizer(server.stop)
        server.put(server.bucket("iris"), "pytorch/model.pth", (folder / "model.pth").read_bytes())
        (folder / "model.pth").unlink()
        config = config.replace("model: model.pth", "model: s3://iris/pytorch/model.pth")
        env = environment(server.url, tmp_path)
    replicas = int((re.search(r"min_replicas: (\d+)", config) or [1, 1])[1])
    files = {"cortex.yaml": config + f"  packages: {BASE}\n", "predictor.py": (folder / "predictor.py").read_text()}
    cortexd = start(files, folder=folder, wait=False, env=env)
    wait_imported(cortexd, replicas)
    cortexd.endpoint = re.search(r"endpoint: (\S+)", config)[1]
    flowers = {
        "setosa": json.loads((folder / "sample.json").read_text()),
        "virginica": {"sepal_length": 6.9, "sepal_width": 3.1, "petal_length": 5.4, "petal_width": 2.1},
    }
    for label, flower in flowers.items():
        answer = cortexd.post(flower).json()
        assert (answer if isinstance(answer, str) else answer["label"]) == label


@with_base
def test_a_project_that_asks_for_tensorflow_and_xgboost_gets_the_builds_that_are_there(start, tmp_path):
    predictor = """\
        import tensorflow
        import xgboost


        def predict(sample, metadata):
            return [tensorflow.__file__, xgboost.__file__]
    """
    cortexd = start(
        {"predictor.py": predictor, "requirements.txt": "tensorflow\nxgboost>=3\nkeras\n"},
        server=f"packages: {BASE}",
        env=offline(tmp_path),
        wait=False,
    )
    wait_imported(cortexd, 1)
    assert all(path.startswith(f"{BASE.resolve()}/lib/") for path in cortexd.post(0).json())
