"""Fixtures of the black-box tests.

`start` starts cortexd on a project made of a dict of files and gives a Cortexd (cortexd.py). When the test is over each
one is stopped and inspected: what must hold after every test is checked there, not in the tests.
"""
import os
import subprocess
import textwrap
from pathlib import Path

import pytest

from cortexd import BUILD, ROOT, Cortexd, reserved_port

@pytest.fixture
def port():
    """A port that nobody listens on, reserved against other tests and other test runs by a lock."""
    with reserved_port() as number:
        yield number


@pytest.fixture
def project(tmp_path):
    """Write a project: a function of a dict {name: text} that gives its folder."""

    def write(files, folder=None):
        folder = Path(folder or tmp_path / "project")
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all: a replica may be reading it.
            whole = path.with_name(f".{path.name}.new")
            whole.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
            os.replace(whole, path)
        return folder

    return write


@pytest.fixture
def start(tmp_path, port, project):
    """Start cortexd: start(predictor text or dict of files, replicas=1, ...); see Cortexd.start for the rest."""
    started = []

    def start_one(files, **options):
        if isinstance(files, str):
            files = {"predictor.py": files}
        binary = options.pop("binary", BUILD / "bin" / "cortexd")
        cortexd = Cortexd(project, tmp_path, options.pop("port", port), binary, number=len(started))
        started.append(cortexd)
        cortexd.start(files, **options)
        return cortexd

    yield start_one
    problems = [problem for cortexd in reversed(started) for problem in cortexd.end()]
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def hasty_build():
    """A build for tests that need many deaths, or decisions: a dead replica is started again at once, and the scaler decides
    each second, and a model that is not there is looked for twice a second."""
    folder = Path("build/hasty")
    subprocess.run(
        ["flock", "build/hasty.lock", "make", "-s", f"B={folder}", "DEVELOPER=", "CFLAGS=-DCORTEXD_BACKOFF_FIRST_MS=1 -DCORTEXD_BACKOFF_LIMIT_MS=2 -DCORTEXD_AUTOSCALE_PERIOD_MS=1000 -DCORTEXD_FETCH_RETRY_FIRST_MS=500"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        env={key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")},
    )
    return ROOT / folder


@pytest.fixture(scope="session")
def next_build():
    """The same sources as another version."""
    folder = BUILD.with_name(f"{BUILD.name}-next").relative_to(ROOT)
    subprocess.run(
        ["flock", f"{folder}.lock", "make", "-s", f"B={folder}", "VERSION=9.9.9", "DEVELOPER="],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        env={key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")},
    )
    return ROOT / folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The log of cortexd stands below a test that failed."""
    report = (yield).get_result()
    if report.failed:
        for path in sorted(Path(item.funcargs.get("tmp_path", "/nonexistent")).glob("log-*.txt")):
            lines = path.read_text(errors="replace").splitlines()
            report.sections.append((path.name, "\n".join(lines[-80:])))
