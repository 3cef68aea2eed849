"""requirements.txt becomes a virtual environment: built once, never half, and never the user's own Python."""
import contextlib
import os
import random
import re
import signal
import subprocess
import time
import uuid

import pytest

from cortexd import BUILD, KILLS, all_pids, process_parent, process_state, read_proc, wait_until
from wheels import index_of, make_wheel

# A package that pip builds from a folder, without any other package: its build backend is in the folder.
PACKAGE = {
    "pkg/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "pkg/backend.py": """\
        import pathlib
        import time
        import zipfile

        NAME = "flowers-1.0"
        METADATA = "Metadata-Version: 2.1\\nName: flowers\\nVersion: 1.0\\n"
        WHEEL = "Wheel-Version: 1.0\\nGenerator: backend\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


        def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
            while pathlib.Path("hold").exists():
                pathlib.Path("held").touch()
                time.sleep(0.01)
            name = f"{NAME}-py3-none-any.whl"
            with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
                wheel.writestr("flowers.py", pathlib.Path("flowers.py").read_text())
                wheel.writestr(f"{NAME}.dist-info/METADATA", METADATA)
                wheel.writestr(f"{NAME}.dist-info/WHEEL", WHEEL)
                wheel.writestr(f"{NAME}.dist-info/RECORD", "")
            return name
    """,
    "pkg/flowers.py": "NAMES = ['iris', 'rose']\n",
}
PREDICTOR = """\
    import importlib.util
    import site
    import sys

    import flowers


    def predict(sample, metadata):
        return {
            "names": flowers.NAMES,
            "prefix": sys.prefix,
            "executable": sys.executable,
            "version": sys.version_info[:2],
            "importable": [name for name in sample or [] if importlib.util.find_spec(name)],
            "user_site": site.ENABLE_USER_SITE,
        }
"""
PROJECT = {**PACKAGE, "requirements.txt": "./pkg\n", "predictor.py": PREDICTOR}
OFFLINE = {"PIP_NO_INDEX": "1"}


def has_flowers(python):
    """Does the interpreter that --environment printed have the package of the project?"""
    return subprocess.run([python.strip(), "-c", "import flowers"], timeout=60).returncode == 0


def run_environment(cortexd, env=None):
    return subprocess.run(
        [cortexd.binary, "-c", cortexd.folder / "cortex.yaml", "--environment"],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **OFFLINE, **(env or {})},
    )


@pytest.fixture
def trap(tmp_path):
    """An environment that leads to another Python, which must not be taken."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in ("python", "python3", "python3.11", "pip", "pip3"):
        (folder / name).write_text("#!/bin/sh\necho trapped >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    (folder / "json.py").write_text("raise RuntimeError('trapped')\n")
    names = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONSTARTUP": str(folder / "python"), **dict.fromkeys(names, str(folder))}


def test_requirements_are_installed_before_replicas_start_whatever_python_is_in_path(start, trap):
    cortexd = start(PROJECT, env={**OFFLINE, **trap})
    answer = cortexd.post(["flowers", "pytest", "httpx"]).json()
    assert answer["importable"] == ["flowers"] and answer["user_site"] is False
    assert "trapped" not in cortexd.log()
    assert answer["names"] == ["iris", "rose"] and answer["version"] == [3, 11]
    assert answer["prefix"].startswith(f"{cortexd.folder}/.cortex/")
    assert answer["executable"].startswith(f"{cortexd.folder}/.cortex/")
    log = cortexd.log()
    assert "environment: building" in log and "Successfully installed flowers-1.0" in log
    assert log.index("Successfully installed") < log.index("replica a/0: ready after")


def test_an_environment_is_built_once_and_printed_by_the_option(start):
    cortexd = start(PROJECT, env=OFFLINE)
    result = run_environment(cortexd)  # while it serves: the environment is there, nothing has to be built
    assert result.returncode == 0 and "building" not in result.stderr
    assert result.stdout.startswith(f"{cortexd.folder}/.cortex/") and result.stdout.count("\n") == 1
    assert has_flowers(result.stdout)
    cortexd.stop()
    (cortexd.folder / "pkg" / "pyproject.toml").unlink()  # nobody can build it any more
    again = start({"cortex.yaml": (cortexd.folder / "cortex.yaml").read_text(), "predictor.py": PREDICTOR}, folder=cortexd.folder)
    again.endpoint = "/d/a"
    assert again.post(0).json()["names"] == ["iris", "rose"]
    assert "environment: building" not in again.log()


def test_changed_requirements_get_an_environment_of_their_own(start):
    cortexd = start(PROJECT, env=OFFLINE)
    first = run_environment(cortexd).stdout
    cortexd.stop()
    cortexd.write({"requirements.txt": "# changed\n./pkg\n"}, cortexd.folder)
    second = run_environment(cortexd).stdout
    assert has_flowers(second) and first != second


def test_pips_error_is_shown_when_it_fails_and_the_next_start_tries_again(start):
    cortexd = start({**PROJECT, "requirements.txt": "./pkg\nno-such-package-of-flowers==9\n"}, wait=False, env=OFFLINE)
    cortexd.expect_error("environment: pip install failed")
    cortexd.expect_error("no-such-package-of-flowers")
    cortexd.expect_any_error()
    cortexd.expect_exit(1)
    assert cortexd.wait_exit() == 1
    assert re.search(r"error .*No matching distribution found for no-such-package-of-flowers==9", cortexd.log())
    cortexd.write({"requirements.txt": "./pkg\n"}, cortexd.folder)
    assert run_environment(cortexd).returncode == 0


def begin_build(start):
    """A cortexd whose pip is in the middle of its work, held by a file."""
    cortexd = start({**PROJECT, "pkg/hold": ""}, wait=False, env=OFFLINE)
    # pip may build in a copy of the folder, so the sign is looked for where the build runs
    wait_until(lambda: (cortexd.folder / "pkg" / "held").exists(), "pip builds the package")
    return cortexd


@pytest.mark.parametrize("end", ["kill -9", "SIGTERM"])
def test_a_build_that_was_cut_off_is_not_used_again(start, end):
    cortexd = begin_build(start)
    if end == "kill -9":
        cortexd.kill()
    else:
        cortexd.expect_exit(0, 1)
        cortexd.signal()
        cortexd.wait_exit()
    (cortexd.folder / "pkg" / "hold").unlink()  # a child of pip that outlives it may end now
    wait_until(lambda: not cortexd.family(), "what pip had started is gone")
    result = run_environment(cortexd)
    assert result.returncode == 0 and "building" in result.stderr
    assert has_flowers(result.stdout)


def test_a_second_cortexd_does_not_build_into_the_first_ones_environment(start):
    cortexd = begin_build(start)
    result = run_environment(cortexd)
    assert result.returncode == 1
    assert str(cortexd.pid) in result.stderr
    (cortexd.folder / "pkg" / "hold").unlink()
    cortexd.wait_ready(1)
    assert cortexd.post(0).json()["names"] == ["iris", "rose"]


def test_a_reload_during_the_build_waits_for_the_start_whatever_the_last_cortexd_has_said(start):
    stale = '{"number":99,"state":"done","text":"long ago"}'
    cortexd = start({**PROJECT, "pkg/hold": "", ".cortex/reload": stale}, wait=False, env=OFFLINE)
    wait_until(lambda: (cortexd.folder / "pkg" / "held").exists(), "pip builds the package")
    command = subprocess.Popen([cortexd.binary, "-c", cortexd.folder / "cortex.yaml", "--reload"], stdout=subprocess.PIPE, text=True)
    cortexd.wait_log("SIGHUP: reloading once cortexd has started")
    (cortexd.folder / "pkg" / "hold").unlink()
    said, _ = command.communicate(timeout=90)
    assert command.returncode == 0 and "done after" in said


def test_without_requirements_the_option_prints_the_plain_interpreter(start):
    cortexd = start("def predict(sample, metadata):\n    return sample\n")
    result = run_environment(cortexd)
    assert (result.returncode, result.stdout) == (0, "/usr/bin/python3.11\n")


def test_an_interrupted_pip_ends_with_cortexd(start):
    cortexd = begin_build(start)
    cortexd.expect_exit(0, 1)
    cortexd.signal(signal.SIGINT)
    cortexd.wait_exit()
    assert not cortexd.family()


# --- where packages come from -----------------------------------------------------------------------------------------
VERSION = "import flowers\n\n\ndef predict(sample, metadata):\n    return flowers.VERSION\n"


@pytest.mark.once
def test_wheels_in_the_project_are_installed_without_an_index(start, project):
    folder = project({"requirements.txt": "--no-index\n--find-links wheels\nflowers\n"})
    make_wheel(folder / "wheels", "flowers", "3.0", requires=["seeds"])
    make_wheel(folder / "wheels", "seeds", "1.0")
    cortexd = start({"predictor.py": VERSION}, folder=folder)
    assert cortexd.post(0).json() == "3.0"
    assert "Successfully installed flowers-3.0 seeds-1.0" in cortexd.log()


@pytest.mark.once
@pytest.mark.parametrize("said", ["in requirements.txt", "in pip's settings"])
def test_packages_of_a_private_index_are_installed_and_the_password_is_not_logged(start, tmp_path, said):
    make_wheel(tmp_path / "wheels", "flowers", "4.0")
    password = uuid.uuid4().hex
    with index_of(tmp_path / "wheels", "gardener", password) as index:
        address = f"127.0.0.1:{index.server_port}/simple"
        if said == "in requirements.txt":
            lines = f"--index-url http://gardener:${{FLOWERS_PASSWORD}}@{address}\nflowers\n"
            env = {"FLOWERS_PASSWORD": password}
        else:
            lines = "flowers\n"
            env = {"PIP_INDEX_URL": f"http://gardener:{password}@{address}"}
        cortexd = start({"predictor.py": VERSION, "requirements.txt": lines}, env=env)
        assert cortexd.post(0).json() == "4.0"
        assert index.asked == ["flowers"]
    assert f"Looking in indexes: http://gardener:****@{address}" in cortexd.log()
    assert password not in cortexd.log()


# --- builds that are killed -------------------------------------------------------------------------------------------
CONFIG = "- kind: api\n  name: a\n  predictor: {path: predictor.py}\n- kind: server\n  packages: none\n"


@pytest.mark.base
@pytest.mark.once
@pytest.mark.timeout(600)
def test_a_build_killed_at_random_moments_is_repaired_by_the_next_start(project, tmp_path):
    """Killed is cortexd itself, or the Python that works for it; the next start must have it all."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    folder = project({"cortex.yaml": CONFIG, "predictor.py": ""})
    for name in ("flowers", "seeds", "leaves"):
        make_wheel(folder / "wheels", name, "1.0")
    mark = f"CORTEXD_TEST_TOKEN={uuid.uuid4().hex}"
    command = [BUILD / "bin" / "cortexd", "-c", folder / "cortex.yaml", "--environment"]

    def require(number):
        project({"requirements.txt": f"# {number}\n--no-index\n--find-links wheels\nflowers\nseeds\nleaves\n"}, folder)

    def begin(output):
        key, value = mark.split("=")
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=output, text=True, env={**os.environ, key: value}, start_new_session=True
        )

    def built(process):
        python = process.communicate(timeout=200)[0].strip()
        return process.returncode == 0 and subprocess.run([python, "-c", "import flowers, seeds, leaves"]).returncode == 0

    def children(pid):
        return [other for other in all_pids() if process_parent(other) == pid]

    def left():
        return [pid for pid in all_pids() if mark.encode() in read_proc(pid, "environ").split(b"\0") and process_state(pid) != "Z"]

    with open(tmp_path / "builds.txt", "w") as output:
        require(0)
        since = time.monotonic()
        assert built(begin(output))
        whole = time.monotonic() - since
        number = cut_off = 0
        while cut_off < KILLS:  # a build that was over before the moment came does not count
            number += 1
            assert number < 5 * KILLS
            require(number)
            process = begin(output)
            time.sleep(moments.uniform(0, whole))  # the random moment is what is tested
            for pid in [process.pid] if number % 2 else children(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.communicate(timeout=200)
            cut_off += process.returncode != 0
            assert built(begin(output)), f"after {number} kills, seed {seed}"
        wait_until(lambda: not left(), "nothing of the builds runs any more")
        require(number + 1)
        assert built(begin(output))  # and the last one to write has cleaned up behind the others
    assert len(list(folder.glob(".cortex/environments/*"))) == len(list(folder.glob(".cortex/environment-builds/*")))
