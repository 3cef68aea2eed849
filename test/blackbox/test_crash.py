"""Replicas that die in every way: the prediction that ran gets a 500 at once, and nobody else notices."""
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from cortexd import Scoreboard, process_state, wait_until

PREDICTOR = """\
    import ctypes
    import os
    import signal
    import threading
    import time


    def hold(name):
        open(name + ".began", "w").close()
        while not os.path.exists(name + ".end"):
            time.sleep(0.001)


    def raise_in_c():
        ctypes.CDLL(None).raise_(signal.SIGFPE)


    def predict(sample, metadata):
        if isinstance(sample, dict):
            if "hold" in sample:
                hold(sample["hold"])
            if "do" in sample:
                exec(sample["do"], globals())
        return sample
"""

DEATHS = {
    "abort": "os.abort()",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "term after default": "signal.signal(signal.SIGTERM, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGTERM)",
    "exit 0": "os._exit(0)",
    "exit 3": "os._exit(3)",
    "exit in a thread": "threading.Thread(target=os._exit, args=(4,)).start(); time.sleep(60)",
    "exec": "os.execv('/bin/sleep', ['sleep', '60'])",
    "C++ terminate": "ctypes.CDLL('libstdc++.so.6')._ZSt9terminatev()",
}
# The sanitizers take these for findings of theirs.
DEATHS_IN_C = {
    "segfault": "ctypes.string_at(8)",
    "wild write": "ctypes.memset(16, 0, 1)",
    "floating point exception": "ctypes.CDLL(None)['raise'](signal.SIGFPE)",
    "stack overflow": "ctypes.CDLL(None).qsort((ctypes.c_char * 16)(), 2, 1, 0)",
    "bus": "ctypes.CDLL(None)['raise'](signal.SIGBUS)",
    "illegal instruction": "ctypes.CDLL(None)['raise'](signal.SIGILL)",
    "abort in another thread": "threading.Thread(target=os.abort).start(); time.sleep(60)",
}


def post(body, fields=""):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


class Others:
    """Clients of the replica that is about to die, in every state that a connection can be in; they all get their answers."""

    def __init__(self, cortexd):
        self.cortexd = cortexd
        self.clients = []
        long = post([1] * 30_000)
        chunked = b"POST /d/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[7,\r\n2\r\n 8\r\n1\r\n]\r\n0\r\n\r\n"
        for text, cut, count, expected in (
            (post(1), 0, 1, 1),  # idle
            (post(2), 10, 1, 2),  # in the middle of the head
            (post(3), len(post(3)) - 1, 1, 3),  # before the last byte
            (long, 20_000, 1, [1] * 30_000),  # in the middle of a body
            (long, len(long) - 1, 1, [1] * 30_000),
            (chunked, len(chunked) - 12, 1, [7, 8]),
            (post(4) + post(4), len(post(4)) + 20, 2, 4),  # one answered, half of the next
        ):
            connection = cortexd.connect()
            connection.send(text[:cut])
            if count == 2:
                assert connection.answer().json() == expected
            elif cut == 0:
                assert connection.post("/d/a", 1).json() == 1
            self.clients.append((connection, text[cut:], expected))
        with Scoreboard(cortexd.pid) as board:
            wait_until(lambda: board.connections() >= len(self.clients), "all are accepted")

    def go_on(self):
        for connection, rest, expected in self.clients:
            connection.send(rest)
            answer = connection.answer()
            assert (answer.status, answer.json()) == (200, expected)
            assert connection.post("/d/a", "more").json() == "more"
            connection.close()


def die_among_others(cortexd, act):
    others = Others(cortexd)
    with cortexd.connect() as victim:
        victim.send(post({"hold": "a", "do": act}) + post("behind it"))
        wait_until((cortexd.folder / "a.began").exists, "the prediction runs")
        waiting = cortexd.connect()
        waiting.send(post("waits"))
        (cortexd.folder / "a.end").touch()
        answer = victim.answer()
        assert (answer.status, answer.json()) == (500, {"error": "the replica died while it ran this prediction"})
        assert victim.answer().json() == "behind it"
        assert waiting.answer().json() == "waits"
        waiting.close()
    others.go_on()


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("name", DEATHS)
def test_a_death_in_a_long_prediction_costs_that_prediction(start, name, replicas):
    cortexd = start(PREDICTOR, replicas=replicas)
    cortexd.expect_any_error()
    die_among_others(cortexd, DEATHS[name])


@pytest.mark.once
@pytest.mark.parametrize("name", DEATHS_IN_C)
def test_a_death_in_c_code_costs_that_prediction(start, name):
    cortexd = start(PREDICTOR)
    cortexd.expect_any_error()
    die_among_others(cortexd, DEATHS_IN_C[name])


@pytest.mark.parametrize("name", DEATHS)
def test_a_death_in_a_short_prediction_costs_that_prediction(start, name):
    """No time for the helper to hand anything away: all is left to the keeper. Others have asked already."""
    cortexd = start(PREDICTOR)
    cortexd.expect_any_error()
    clients = [cortexd.connect() for _ in range(20)]
    for connection in clients:
        assert connection.post("/d/a", 0).json() == 0
    with cortexd.connect() as victim:
        for i, connection in enumerate(clients):
            connection.send(post(i))
            if i == 10:
                victim.send(post({"do": DEATHS[name]}))
        began = time.monotonic()
        assert victim.answer().status == 500
        assert time.monotonic() - began < 5
        for i, connection in enumerate(clients):
            assert connection.answer().json() == i
            assert connection.post("/d/a", i).json() == i
            connection.close()
        assert victim.post("/d/a", "again").json() == "again"


def test_kill_9_of_idle_replicas_costs_no_connection(start):
    cortexd = start(PREDICTOR, replicas=2)
    cortexd.expect_error("killed by SIGKILL")
    clients = [cortexd.connect() for _ in range(60)]
    for round in range(6):
        for connection in clients:
            assert connection.post("/d/a", round).json() == round
        pid = wait_until(cortexd.replicas, "there is a replica")[-1]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: process_state(pid) is None, "it is reaped")
    for connection in clients:
        assert connection.post("/d/a", "end").json() == "end"
        connection.close()
    cortexd.wait_replicas(2)
    with Scoreboard(cortexd.pid) as board:
        wait_until(lambda: board.connections() == 0, "no connection is left")


def test_all_processes_of_an_api_at_once(start):
    cortexd = start(PREDICTOR, replicas=3)
    cortexd.expect_error("killed by SIGKILL")
    clients = [cortexd.connect() for _ in range(30)]
    for connection in clients:
        assert connection.post("/d/a", 0).json() == 0
    for pid in cortexd.replicas():
        os.kill(pid, signal.SIGKILL)
    for connection in clients:
        assert connection.post("/d/a", 1).json() == 1
        connection.close()


def test_a_replica_without_its_keeper_still_serves(start):
    cortexd = start(PREDICTOR)
    (keeper,) = [pid for pid, title in cortexd.family().items() if title == "cortexd: keeper a/0"]
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: process_state(keeper) is None, "the keeper is reaped")
    with cortexd.connect() as connection:
        assert connection.post("/d/a", {"do": "time.sleep(0.05)"}).status == 200
        assert connection.post("/d/a", 1).json() == 1
    cortexd.expect_error("killed by SIGKILL")
    os.kill(cortexd.replicas()[0], signal.SIGKILL)
    wait_until(lambda: [t for t in cortexd.family().values() if t == "cortexd: keeper a/0"], "the next one has a keeper again")
    assert cortexd.post(2).json() == 2


def test_a_stopped_replica_holds_up_nobody_but_its_prediction(start):
    """SIGSTOP and SIGCONT: what it owned waits for it, new requests go to the other one, nothing is lost."""
    cortexd = start(PREDICTOR, replicas=2)
    clients = [cortexd.connect() for _ in range(20)]
    for connection in clients:
        assert connection.post("/d/a", 0).json() == 0
    stopped = cortexd.replicas()[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        for connection in clients:
            connection.send(post(1))
        answered = [connection for connection in clients if wait_answer(connection, 0.5)]
        assert 0 < len(answered) < len(clients)
    finally:
        os.kill(stopped, signal.SIGCONT)
    for connection in clients:
        if connection not in answered:
            assert connection.answer().json() == 1
        connection.close()


def wait_answer(connection, patience):
    import select

    if not select.select([connection.socket], [], [], patience)[0]:
        return False
    assert connection.answer().json() == 1
    return True


# --- children of the predictor ----------------------------------------------------------------------------------------
def sockets(pid):
    try:
        links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except FileNotFoundError:  # closed meanwhile
        return None
    return [link for link in links if link.startswith("socket:")]


@pytest.mark.parametrize(
    "left_running",
    [
        "child = os.fork() or time.sleep(3600)",  # in the child it never comes back
        "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=[3600]); child.start(); child = child.pid",
        "child = subprocess.Popen(['sleep', '3600'], close_fds=False).pid",
        "child = subprocess.Popen(['sleep', '3600'], preexec_fn=lambda: None, close_fds=False).pid",
    ],
    ids=["fork", "multiprocessing", "subprocess", "subprocess-with-a-function"],
)
def test_a_process_left_running_holds_nothing_of_a_replica_that_dies(start, left_running):
    """Made when the replica had clients, a channel and a keeper; it outlives the replica for a moment, or for long."""
    predictor = f"""\
        import multiprocessing
        import os
        import subprocess
        import time


        def predict(sample, metadata):
            if sample:
                {left_running}
                return child
    """
    cortexd = start(predictor)
    cortexd.expect_error("killed by SIGKILL")
    clients = [cortexd.connect() for _ in range(10)]
    for connection in clients:
        assert connection.post("/d/a", 0).status == 200
    child = clients[0].post("/d/a", 1).json()
    assert process_state(child)
    wait_until(lambda: sockets(child) == [], "the child has no socket")
    clients[1].send(post(0, "Connection: close\r\n"))
    assert clients[1].answer().status == 200 and clients[1].closed()  # nobody else holds it open
    os.kill(cortexd.replicas()[0], signal.SIGKILL)
    for connection in clients[2:]:
        assert connection.post("/d/a", 0).status == 200
        connection.close()


# --- out of memory ----------------------------------------------------------------------------------------------------
MEMORY_CGROUPS = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def memory_group():
    """A cgroup with a limit; version 1, or version 2 where the memory controller is there."""
    for base, limit in ((MEMORY_CGROUPS, "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max")):
        group = base / f"cortexd-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            (group / limit).write_text(str(256 << 20))
            yield group
            wait_until(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
            group.rmdir()
            return
        group.rmdir()
    pytest.skip("no memory cgroup can be made: needs root and a /sys/fs/cgroup that can be written")


@pytest.mark.once
def test_an_out_of_memory_kill_costs_that_prediction(memory_group, start):
    cortexd = start(PREDICTOR, replicas=2)
    cortexd.expect_error("killed by SIGKILL")
    for pid in cortexd.replicas():
        (memory_group / "cgroup.procs").write_text(str(pid))
    clients = [cortexd.connect() for _ in range(20)]
    for connection in clients:
        assert connection.post("/d/a", 0).json() == 0
    with cortexd.connect() as victim:
        assert victim.post("/d/a", {"do": "x = b'x' * (400 << 20)"}).status == 500
    for connection in clients:
        assert connection.post("/d/a", 1).json() == 1
        connection.close()


# --- under load -------------------------------------------------------------------------------------------------------
def test_deaths_under_load_fail_only_what_was_being_predicted(start):
    """Eight clients ask all the time, in short and long predictions; replicas are killed; each answer is the right one."""
    cortexd = start(PREDICTOR, replicas=2, server="log: {level: warning}")
    cortexd.expect_error("killed by SIGKILL")
    over = threading.Event()
    failed, wrong = [], []

    def client(number):
        with cortexd.connect() as connection:
            count = 0
            while not over.is_set():
                count += 1
                sample = {"n": number, "c": count}
                if count % 7 == 0:
                    sample["do"] = "time.sleep(0.004)"
                answer = connection.post("/d/a", sample)
                if answer.status == 500:
                    failed.append(sample)
                elif answer.status != 200 or answer.json() != sample:
                    wrong.append((sample, answer))

    threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    kills = 0
    try:
        for _ in range(15):
            pids = wait_until(cortexd.replicas, "there is a replica")
            os.kill(pids[kills % len(pids)], signal.SIGKILL)
            kills += 1
            wait_until(lambda: process_state(pids[(kills - 1) % len(pids)]) is None, "it is reaped")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert len(failed) <= kills
