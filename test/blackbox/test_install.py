"""From a clone to an answer: the commands that the README tells to type."""
import os
import re
import shutil
import subprocess

import pytest

from cortexd import ROOT, SANITIZED, wait_until

pytestmark = pytest.mark.once
MAKE_ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


def test_an_installed_cortexd_finds_its_other_programs(start, tmp_path):
    assert not SANITIZED
    subprocess.run(
        ["make", "-s", "install", f"DESTDIR={tmp_path}/root", "PREFIX=/opt/cortexd"],
        cwd=ROOT,
        check=True,
        timeout=200,
        env=MAKE_ENVIRONMENT,
    )
    installed = tmp_path / "root" / "opt" / "cortexd"
    assert sorted(str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()) == [
        "bin/cortex",
        "bin/cortexd",
        "libexec/cortexd/cortexd-activator",
        "libexec/cortexd/cortexd-fetch",
        "libexec/cortexd/cortexd-monitor",
        "libexec/cortexd/cortexd-replica",
        "share/bash-completion/completions/cortex",
        *(f"share/cortexd/packages/{path.name}" for path in sorted((ROOT / "packages").glob("*.*"))),
        "share/cortexd/scripts/preinstall",
        "share/fish/vendor_completions.d/cortex.fish",
        "share/man/man1/cortex.1",
        "share/man/man5/cortex.yaml.5",
        "share/man/man8/cortexd.8",
        "share/zsh/site-functions/_cortex",
    ]
    checked = [installed / "share" / "cortexd" / "scripts" / "preinstall", "--check", tmp_path / "none"]
    assert "none is not there" in subprocess.run(checked, capture_output=True, text=True, timeout=60).stderr
    cortexd = start("def predict(sample, metadata):\n    return sample\n", binary=installed / "bin" / "cortexd")
    assert cortexd.post(1).json() == 1


def test_install_deps_prints_commands_that_work_on_a_fresh_machine(tmp_path):
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "dpkg-query").chmod(0o755)
    command = [ROOT / "scripts" / "install-deps", "--print", "build", "test"]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.fullmatch(r"((?:sudo )?)apt-get update && \1apt-get install -y --no-install-recommends gcc .*\bgit\b.*\n", printed)


def test_make_help_lists_the_targets():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, env=MAKE_ENVIRONMENT).stdout
    for target in "check check-unit check-blackbox fuzz bench lint format coverage install help clean".split():
        assert re.search(rf"^  {target} +\S", listed, re.MULTILINE), target


in_check_packages = [pytest.mark.base, pytest.mark.skipif("CORTEXD_TEST_PACKAGES" not in os.environ, reason="make check-packages")]


@pytest.mark.parametrize(
    "name, answers", [("iris", '"setosa"'), pytest.param("iris-xgboost", '{"label":"setosa",', marks=in_check_packages)]
)
def test_one_command_from_a_fresh_project_to_the_answer_of_a_model(start, tmp_path, port, name, answers):
    """scripts/run on a copy of the project: environment, training, serving, and the curl line that is printed."""
    folder = tmp_path / name
    shutil.copytree(ROOT / "configs" / name, folder, ignore=shutil.ignore_patterns(".cortex", "model.*", "__pycache__"))
    config = (folder / "cortex.yaml").read_text()
    (folder / "cortex.yaml").write_text(config.replace("127.0.0.1:8888", f"127.0.0.1:{port}") + "  packages: none\n")
    output = tmp_path / "log-run.txt"

    def run():
        with open(output, "w") as log:
            return subprocess.Popen(
                [ROOT / "scripts" / "run", folder], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env=MAKE_ENVIRONMENT, cwd=tmp_path,
            )  # fmt: skip

    def curl_line():
        assert process.poll() is None, output.read_text()
        match = re.search(r"^    (curl .*)$", output.read_text(), re.MULTILINE)
        return match and "supervisor: ready: " in output.read_text() and match[1]

    for attempt in (1, 2):
        process = run()
        try:
            line = wait_until(curl_line, "scripts/run prints a curl line and is ready", patience=200)
            answer = subprocess.run(
                ["bash", "-c", f"{line} --silent --show-error"], cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert answer.stdout.startswith(answers), answer
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0
        assert ("training the model" in output.read_text()) == (attempt == 1)
        assert ("environment: building" in output.read_text()) == (attempt == 1)


def test_scripts_run_guesses_no_line_to_try_for_another_project(project, port, tmp_path):
    config = (
        "- kind: api\n  name: a\n  predictor: {path: predictor.py, metadata: {name: x, endpoint: y}}\n"
        f"- kind: deployment\n  name: d\n- kind: server\n  listen: ['127.0.0.1:{port}']\n"
    )
    folder = project({"cortex.yaml": config, "predictor.py": "def predict(sample, metadata):\n    return sample\n"})
    output = tmp_path / "log-run.txt"
    with open(output, "w") as log:
        process = subprocess.Popen(
            [ROOT / "scripts" / "run", folder], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=MAKE_ENVIRONMENT
        )
    try:
        line = wait_until(lambda: re.search(r"try: (curl .*)$", output.read_text(), re.MULTILINE), "cortexd is ready", patience=200)
        assert f" http://127.0.0.1:{port}/d/a" in line[1]
        assert output.read_text().count("curl") == 1
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("version, found", [("3.4", "nothing"), ("3.11", "3.4")])
def test_make_takes_the_library_of_its_python_and_no_other(tmp_path, version, found):
    """A PYTHON that says it is of that version, and a folder of its own with a library of 3.4 that is called 3.11."""
    (tmp_path / "python-3.11-embed.pc").write_text("Name: Python\nDescription: Python\nVersion: 3.4\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *LIBPC*) echo {tmp_path} ;; *) echo {version} ;; esac\n')
    python.chmod(0o755)
    made = subprocess.run(
        ["make", "-n", f"PYTHON={python}"], cwd=ROOT, capture_output=True, text=True, timeout=60, env=MAKE_ENVIRONMENT
    )
    assert made.returncode != 0
    assert f"{python} is Python {version}, but pkg-config finds {found} for python-{version}-embed" in made.stderr


def test_the_minimal_example_answers_its_sample(start, port):
    files = {path.name: path.read_text() for path in (ROOT / "configs" / "minimal").iterdir() if path.is_file()}
    files["cortex.yaml"] += f"- kind: server\n  listen: 127.0.0.1:{port}\n"
    cortexd = start(files)
    cortexd.endpoint = "/project/hello"  # the deployment is named after the folder
    assert cortexd.post(files["sample.json"].encode()).json() == {"hello": "world"}


def test_the_annotated_example_answers_its_sample(start, port, tmp_path):
    shutil.copytree(ROOT / "configs" / "annotated", tmp_path / "shop", ignore=shutil.ignore_patterns(".cortex", "__pycache__"))
    config = (tmp_path / "shop" / "cortex.yaml").read_text().replace("8888", str(port))
    predictor = (tmp_path / "shop" / "predictor.py").read_text()
    cortexd = start({"cortex.yaml": config, "predictor.py": predictor}, folder=tmp_path / "shop")
    cortexd.endpoint = "/shop/price"
    assert cortexd.post((tmp_path / "shop" / "sample.json").read_bytes()).status == 200
