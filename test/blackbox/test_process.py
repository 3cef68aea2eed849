"""cortexd as a process among others: the first one of a container, and the limits that it was started with."""
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from cortexd import process_state, read_proc, wait_until

NAMESPACES = {
    "root": ["unshare", "--kill-child", "--pid", "--fork", "--mount-proc"],
    "user namespace": ["unshare", "--kill-child", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"],
}
# Each prediction leaves two processes behind: one that ends at once, and one that would live on.
PREDICTOR = """\
    import os
    import resource
    import subprocess
    import time


    def predict(sample, metadata):
        if sample == "orphans":
            script = "(sleep 0.2 & echo $!; setsid sleep 3600 >/dev/null & echo $!) 2>/dev/null"
            output = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True).stdout
            return [os.getppid(), *map(int, output.split())]
        if sample == "limits":
            return [resource.getrlimit(limit) for limit in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)]
        open(f"{sample}.began", "w").close()
        while not os.path.exists(f"{sample}.end"):
            time.sleep(0.01)
        return sample
"""


@pytest.fixture(params=NAMESPACES)
def container(request):
    """Options of start() for a cortexd that is the first process of a namespace."""
    wrapper = NAMESPACES[request.param]
    result = subprocess.run([*wrapper, "true"], capture_output=True, text=True, timeout=60)
    if result.returncode:
        pytest.skip(f"{' '.join(wrapper)}: {result.stderr.strip()}")
    return {"wrapper": wrapper, "forks": True}


def inner_pid(pid):
    """The number of a process in its own namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])


def test_the_first_process_of_a_container_reaps_every_orphan(start, container):
    cortexd = start(PREDICTOR, **container)
    assert inner_pid(cortexd.pid) == 1
    for _ in range(20):
        parent, short, long = cortexd.post("orphans").json()
        assert parent == 1

    def orphans():
        return [pid for pid in cortexd.children() if cortexd.family().get(pid, "").startswith("sleep")]

    assert wait_until(lambda: len(orphans()) == 20, "20 live on, the others are reaped")
    assert not [pid for pid in cortexd.children() if process_state(pid) == "Z"]
    assert cortexd.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_process_of_a_container_stops_as_any_other(start, container, number):
    cortexd = start(PREDICTOR, **container)
    with cortexd.connect() as connection:
        connection.send(
            b"POST /d/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n\"slow\""
        )
        wait_until((cortexd.folder / "slow.began").exists, "the prediction has begun")
        cortexd.signal(number)
        cortexd.wait_log("draining 1 replica")
        (cortexd.folder / "slow.end").touch()
        assert connection.answer().json() == "slow"
    assert cortexd.wait_exit() == 0
    assert "stopped after" in cortexd.log()


def test_a_container_that_is_stopped_while_it_starts_ends_soon(start, container):
    """The kernel drops what the first process neither handles nor blocks. A large config takes a while to read."""
    metadata = {"numbers": [0] * 100000}

    def has_sigterm(cortexd, field):
        match = re.search(rf"^{field}:\t(\w+)$", read_proc(cortexd.pid, "status").decode(), re.MULTILINE)
        return match and int(match[1], 16) >> (signal.SIGTERM - 1) & 1

    def stop_early():
        """Was it stopped before it could handle signals?"""
        cortexd = start(PREDICTOR, wait=False, metadata=metadata, args=["--stop-timeout", "1"], **container)
        wait_until(lambda: has_sigterm(cortexd, "SigBlk") or has_sigterm(cortexd, "SigCgt"), "main() runs")
        early = not has_sigterm(cortexd, "SigCgt")
        cortexd.signal()
        assert cortexd.wait_exit() == 0
        return early

    assert any(stop_early() for _ in range(10))


@pytest.mark.once  # sanitizers switch core dumps off
def test_replicas_get_the_limit_of_core_dumps_as_it_is_and_of_descriptors_as_it_may_be(start):
    cortexd = start(PREDICTOR, wrapper=["prlimit", "--core=4096:8192", "--nofile=1000:2000"])
    assert cortexd.post("limits").json() == [[4096, 8192], [2000, 2000]]
