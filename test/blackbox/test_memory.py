"""Memory: who is killed when there is none, and that it is said.

The tests need a version 1 memory controller that can be written, as a privileged user has it; elsewhere they are skipped.
"""
import os
import subprocess
import uuid
from pathlib import Path

import pytest
from cortexd import BUILD, read_proc

TOP = Path("/sys/fs/cgroup/memory")

GREEDY = """\
import os

def predict(sample, metadata):
    if sample == "pid":
        return os.getpid()
    hoard = []
    while True:
        hoard.append(b"x" * (1 << 20))
"""


class Group:
    """A memory cgroup, and a program that runs cortexd in it."""

    def __init__(self, tmp_path):
        self.folder = TOP / f"cortexd-test-{uuid.uuid4().hex[:12]}"
        self.folder.mkdir()
        self.binary = tmp_path / "cortexd-in-group"
        self.binary.write_text(f'#!/bin/sh\necho $$ >{self.folder}/cgroup.procs\nexec {BUILD}/bin/cortexd "$@"\n')
        self.binary.chmod(0o755)

    def below(self):
        """The groups below, with the processes that are in each."""
        return {
            os.path.relpath(path, self.folder): [int(pid) for pid in (Path(path) / "cgroup.procs").read_text().split()]
            for path, _, _ in os.walk(self.folder)
            if path != str(self.folder)
        }

    def allow_more(self, n_bytes):
        used = int((self.folder / "memory.usage_in_bytes").read_text())
        (self.folder / "memory.limit_in_bytes").write_text(str(used + n_bytes))


@pytest.fixture
def group(tmp_path):
    try:
        group = Group(tmp_path)
    except OSError as e:
        pytest.skip(f"no memory cgroup of our own: {e}")
    yield group  # before `start` in a test's arguments, so that cortexd has ended when this goes on
    left = group.below()
    for path, _, _ in os.walk(group.folder, topdown=False):
        os.rmdir(path)
    assert left == {}


def test_each_replica_has_a_group_of_its_own(group, start):
    cortexd = start({}, replicas=2, binary=group.binary)
    first, second = cortexd.replicas()
    found = {Path(name).name: pids for name, pids in group.below().items() if "/" in name}
    assert sorted(found) == ["a-0-1", "a-1-2"]
    assert first in found["a-0-1"] and second in found["a-1-2"]
    cortexd.stop()
    assert group.below() == {}


def test_a_successor_has_a_new_group_and_the_old_one_goes(group, start):
    cortexd = start({}, binary=group.binary)
    cortexd.expect_error("killed by SIGKILL$|killed by SIGKILL; starting")
    for number in range(2, 4):
        os.kill(cortexd.replicas()[0], 9)
        cortexd.wait_log(r"replica a/0: ready", count=number)
    names = {Path(name).name for name in group.below()}
    assert "a-0-3" in names and "a-0-1" not in names


def test_out_of_memory_is_named_and_hits_the_one_that_took_it(group, start):
    cortexd = start(GREEDY, replicas=2, binary=group.binary)
    cortexd.expect_error(r"replica a/\d: died after .*: killed by SIGKILL: out of memory; it had used \d+ MiB; starting again")
    before = set(cortexd.replicas())
    group.allow_more(100 << 20)
    answer = cortexd.post("everything")
    assert answer.status == 500
    cortexd.wait_log(": out of memory; it had used")
    cortexd.wait_log("replica a/.: ready", count=3)
    assert len(before & set(cortexd.wait_replicas(2))) == 1
    assert cortexd.post("pid").json() in cortexd.replicas()


def test_without_groups_cortexd_works_as_well(start, tmp_path):
    """The hierarchies are mounted, but cannot be written."""
    binary = tmp_path / "cortexd-without-groups"
    hide = "mount -t tmpfs -o ro none /sys/fs/cgroup"
    if subprocess.run(["unshare", "--mount", "sh", "-c", hide], capture_output=True).returncode:
        pytest.skip("no mount namespace of our own")
    binary.write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{hide} && exec {BUILD}/bin/cortexd \"$@\"' sh \"$@\"\n")
    binary.chmod(0o755)
    cortexd = start({}, binary=binary, server="log: {level: debug}")
    cortexd.wait_log("debug supervisor: cgroups: none for replicas")
    assert cortexd.post(1).json() == 1


@pytest.mark.parametrize("mem, expected", [("", 999), ("mem: 100Gi, ", 3)])
def test_replicas_go_before_the_rest_of_the_machine(start, mem, expected):
    cortexd = start(
        {
            "cortex.yaml": f"""\
                - kind: deployment
                  name: d
                - kind: api
                  name: a
                  predictor: {{path: predictor.py}}
                  compute: {{{mem}min_replicas: 1, cpu: 100m}}
                - kind: server
                  listen: 127.0.0.1:@PORT@
                  capacity: {{mem: 200Gi}}
                """
        }
    )
    own = int(read_proc(cortexd.pid, "oom_score_adj"))
    assert int(read_proc(cortexd.replicas()[0], "oom_score_adj")) == max(own, expected)
