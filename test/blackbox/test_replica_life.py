"""Replicas come, die and go; the supervisor outlives them all and tells what happened."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import client
from cortexd import Scoreboard, anonymous_kib, descriptors, process_parent, process_state, process_title, wait_until

ACTIVATOR_FD_LISTENER = 6  # common/activator_start.h
PID = """\
    import os


    def predict(sample, metadata):
        return os.getpid()
"""
# Predictions that a test ends: each one makes a file NAME.began and returns when NAME.end is there.
GATE = """\
    import os
    import pathlib
    import time


    def predict(sample, metadata):
        if sample is None:
            return os.getpid()
        pathlib.Path(sample + ".began").touch()
        while not os.path.exists(sample + ".end"):
            time.sleep(0.01)
        return "done"
"""


class Background:
    """A request in a thread of its own; its answer, or None when the connection ended without one."""

    def __init__(self, cortexd, sample):
        self.answer = None
        self.thread = threading.Thread(target=self.run, args=(cortexd, sample))
        self.thread.start()

    def run(self, cortexd, sample):
        try:
            self.answer = cortexd.post(sample)
        except (AssertionError, OSError):
            self.answer = None

    def join(self):
        self.thread.join()
        return self.answer


def begin(cortexd, name):
    request = Background(cortexd, name)
    wait_until((cortexd.folder / f"{name}.began").exists, f"prediction {name} runs")
    return request


# --- titles, processes ------------------------------------------------------------------------------------------------
def test_ps_tells_who_is_who(start):
    cortexd = start(PID, replicas=3)
    titles = sorted(process_title(pid) for pid in cortexd.children())
    keepers = [f"cortexd: keeper a/{i}" for i in range(3)]
    assert titles == ["cortexd: activator (ready)", *keepers, "cortexd: monitor (ready)", *(f"cortexd: replica a/{i} (ready)" for i in range(3))]
    assert all(process_parent(pid) == cortexd.pid for pid in cortexd.replicas())
    assert os.path.basename(process_title(cortexd.pid)).startswith("cortexd")


def test_each_replica_has_a_process_group_and_only_its_own_descriptors(start):
    cortexd = start(PID, replicas=2)
    for pid in cortexd.replicas():
        assert os.getpgid(pid) == pid
        kept = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert kept[0] == "/dev/null"
        assert len([target for target in kept.values() if target.startswith("socket:")]) == 3, kept  # control, channel, listener
        assert not [target for target in kept.values() if "memfd" in target], kept


def test_every_process_logs_its_role_api_and_number(start):
    cortexd = start(PID, replicas=2)
    cortexd.wait_log(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info  supervisor: .*listening on 127\.0\.0\.1:\d+")
    for number in (0, 1):
        cortexd.wait_log(rf"replica a/{number}: ready after [\d.]+ s")
    cortexd.post(1)
    cortexd.wait_log(r"^\S+Z info  replica a/[01]: 200 POST /d/a")


# --- deaths -----------------------------------------------------------------------------------------------------------
def test_a_killed_replica_is_replaced_while_the_others_serve(start):
    cortexd = start(PID, replicas=2)
    cortexd.expect_error(r"replica a/0: died after [\d.]+ s: killed by SIGKILL")
    first, second = cortexd.replicas()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: process_state(first) is None, "the dead one is reaped")
    for _ in range(50):
        assert cortexd.post(None).json() in (second, *cortexd.replicas())
    replicas = cortexd.wait_replicas(2)
    assert first not in replicas and second in replicas
    assert cortexd.post(None).json() in replicas


@pytest.mark.parametrize(
    "act, cause",
    [
        ("os._exit(3)", "exit code 3"),
        ("os._exit(0)", "exit code 0 without being told"),
        ("os.abort()", "killed by SIGABRT"),
        pytest.param("os.kill(os.getpid(), 11)", "killed by SIGSEGV", marks=pytest.mark.once),  # ASan takes it
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_the_cause_of_a_death_is_told(start, act, cause):
    cortexd = start(f"import os\ndef predict(sample, metadata):\n    if sample == 'die': {act}\n    return sample\n")
    cortexd.expect_error(rf"replica a/0: died after [\d.]+ s: {cause}")
    with cortexd.connect() as connection:
        assert connection.post("/d/a", "die").status == 500
        assert connection.post("/d/a", 1).json() == 1  # waits for the next replica


def test_a_failing_import_is_shown_and_tried_again_later(start):
    cortexd = start({"predictor.py": "import json\nimport nonexistent_module\n"}, wait=False)
    cortexd.expect_error(r"replica a/0: start failed: error in predictor.py: line 2: ModuleNotFoundError.*; starting again in \d")
    cortexd.expect_error(r"replica a/0: error in predictor.py: line 2: ModuleNotFoundError: No module named 'nonexistent_module'")
    cortexd.wait_log(r"start failed.*starting again in ([\d.]+) s", count=2)
    for line in (r"Traceback \(most recent call last\):", r'File ".*/predictor\.py", line 2', r"    import nonexistent_module"):
        cortexd.wait_log(rf"error replica a/0: .*{line}")
    delays = [float(x) for x in re.findall(r"starting again in ([\d.]+) s", cortexd.log())]
    assert delays[1] > delays[0] >= 0.7
    cortexd.write({"predictor.py": PID}, cortexd.folder)
    cortexd.wait_ready(1)
    assert cortexd.post(None).status == 200


@pytest.mark.parametrize(
    "code, message",
    [
        ("def predict(sample, metadata):\n    return 1\n\n\ndef init(model_path, metadata):\n    raise RuntimeError('no disk')\n",
         r"error in predictor.py: init: line 6: RuntimeError: no disk"),
        ("def predict(sample, metadata:\n    return 1\n", r"error in predictor.py: line 1: SyntaxError"),
        ("def predict(sample):\n    return 1\n", r"predict must take two arguments: expected predict\(sample, metadata\), found predict\(sample\)"),
        ("def init(model_path, metadata):\n    pass\n", r"predict\(sample, metadata\) is missing"),
        ("predict = 5\n", r"predict must be a function"),
        ("async def predict(sample, metadata):\n    return 1\n", r"must not be async"),
        ("def predict(sample, metadata):\n    yield 1\n", r"must not be a generator"),
        ("def predict(sample, metadata):\n    return 1\n\n\ndef init(path):\n    pass\n", r"init must take two arguments: expected init\(model_path, metadata\), found init\(path\)"),
        ("import sys\nsys.exit('no model')\n", r"error in predictor.py: line 2: SystemExit"),
        ("import os\nos._exit(7)\n", r"exit code 7"),
        ("raise KeyboardInterrupt\n", r"KeyboardInterrupt"),
        ("def f():\n    f()\n\n\nf()\n", r"RecursionError"),
    ],
)  # fmt: skip
def test_why_a_replica_cannot_start_is_one_clear_line(start, code, message):
    cortexd = start(code, wait=False)
    cortexd.expect_error(rf"supervisor: replica a/0: (start failed|died after [\d.]+ s): .*{message}")
    cortexd.expect_error(r".")
    cortexd.wait_log(r"starting again in")


def test_a_start_that_fails_does_not_keep_others_from_serving(start):
    predictor = """\
        import os


        def init(model_path, metadata):
            try:
                os.mkdir("taken")
            except FileExistsError:
                raise RuntimeError("only one of us") from None


        def predict(sample, metadata):
            return os.getpid()
    """
    cortexd = start(predictor, replicas=2, wait=False)
    cortexd.expect_error(r"start failed: error in predictor.py: init: .*only one of us")
    cortexd.expect_error(r"replica a/.: ")
    (alive,) = cortexd.wait_replicas(1)
    cortexd.wait_log(r"starting again in", count=2)
    assert {cortexd.post(i).json() for i in range(20)} == {alive}


def test_a_predictor_that_dies_after_ten_requests_comes_back_each_time(start):
    predictor = """\
        import os

        left = 10


        def predict(sample, metadata):
            global left
            left -= 1
            if left < 0:
                os._exit(1)
            return left
    """
    cortexd = start(predictor)
    cortexd.expect_error(r"died after [\d.]+ s: exit code 1; starting again in")
    answered = 0
    for _ in range(25):
        with cortexd.connect() as connection:
            try:
                answered += connection.post("/d/a", None).status == 200
            except AssertionError:
                continue
    assert answered >= 20
    assert cortexd.log().count("exit code 1") == 2


def test_what_a_dead_replica_left_behind_is_cleaned_up(start):
    predictor = """\
        import os
        import subprocess


        def init(model_path, metadata):
            subprocess.Popen(["sleep", "3600"])


        def predict(sample, metadata):
            os._exit(1)
    """
    cortexd = start(predictor)
    cortexd.expect_error(r"exit code 1")

    def sleepers():
        return [pid for pid, title in cortexd.family().items() if title == "sleep"]

    (first,) = wait_until(sleepers, "the helper of the predictor runs")
    with cortexd.connect() as connection:
        assert connection.post("/d/a", 1).status == 500
    wait_until(lambda: first not in sleepers(), "the helper of the dead replica is gone")
    cortexd.wait_ready(1)


@pytest.mark.once
@pytest.mark.timeout(600)
def test_a_thousand_deaths_leave_no_trace_in_the_supervisor(start, hasty_build):
    """Half of them die in the import, half by kill -9; the build in use starts them again without delay."""
    predictor = """\
        import os

        if os.getpid() % 2:
            os._exit(1)
        os.kill(os.getpid(), 9)
    """
    cortexd = start(predictor, replicas=4, wait=False, binary=hasty_build / "bin" / "cortexd")
    cortexd.expect_error(r"died after [\d.]+ s: killed by SIGKILL")
    cortexd.expect_error(r"died after [\d.]+ s: exit code 1")

    def wait_for_deaths(count):
        wait_until(lambda: cortexd.log().count("died after") >= count, f"{count} deaths", patience=280)

    wait_for_deaths(100)  # the allocator has its arenas now
    memory, open_descriptors = anonymous_kib(cortexd.pid), descriptors(cortexd.pid)
    wait_for_deaths(1100)
    cortexd.write({"predictor.py": PID}, cortexd.folder)
    cortexd.wait_ready(4)
    assert cortexd.post(None).json() in cortexd.replicas()
    assert anonymous_kib(cortexd.pid) <= memory + 64
    assert descriptors(cortexd.pid) <= open_descriptors + 8  # a control socket and a notice for each that lives


# --- the supervisor's own end -----------------------------------------------------------------------------------------
def test_sigterm_lets_a_prediction_finish(start):
    cortexd = start(GATE)
    request = begin(cortexd, "slow")
    cortexd.signal()
    cortexd.wait_log(r"drain|stopping")
    wait_until(lambda: cortexd.replicas("draining") or "draining" in cortexd.log(), "the replica drains")
    (cortexd.folder / "slow.end").touch()
    assert request.join().json() == "done"
    assert cortexd.wait_exit() == 0


def test_sigint_stops_like_sigterm(start):
    cortexd = start(PID, replicas=2)
    cortexd.signal(signal.SIGINT)
    assert cortexd.wait_exit() == 0


def test_requests_that_have_arrived_are_answered_before_the_end(start):
    cortexd = start(GATE)
    request = begin(cortexd, "slow")
    with cortexd.connect() as waiting:
        waiting.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nnull")
        cortexd.signal()
        cortexd.wait_log(r"supervisor: .*(stop|drain)")
        (cortexd.folder / "slow.end").touch()
        assert request.join().json() == "done"
        answer = waiting.answer()
        assert answer.status == 200 and answer.header("connection") == "close"
        assert waiting.closed()
    assert cortexd.wait_exit() == 0


def test_an_idle_connection_is_closed_at_the_end(start):
    cortexd = start(PID)
    with cortexd.connect() as connection:
        assert connection.post("/d/a", None).status == 200
        cortexd.signal()
        assert connection.closed()
    assert cortexd.wait_exit() == 0


@pytest.mark.parametrize("who", ["supervisor", "all"])
def test_sigterm_twice_at_once_loses_no_request(start, who):
    """timeout(1) sends the supervisor two; systemd and pkill send one to each process."""
    cortexd = start(GATE)
    running = begin(cortexd, "slow")
    with cortexd.connect() as queued, Scoreboard(cortexd.pid) as board:
        queued.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nnull")
        wait_until(board.waiting, "it waits")
        if who == "all":
            for pid, title in cortexd.family().items():
                if not title.startswith("cortexd: keeper"):
                    os.kill(pid, signal.SIGTERM)
        else:
            cortexd.signal()
            cortexd.wait_log(r"supervisor: .*drain")
        cortexd.signal()
        cortexd.wait_log(r"supervisor: .*drain")
        time.sleep(0.1)  # for whatever must not happen
        (cortexd.folder / "slow.end").touch()
        assert running.join().json() == "done"
        assert queued.answer().status == 200
    assert cortexd.wait_exit() == 0


def test_an_activator_that_is_told_to_end_by_somebody_goes_on(start):
    cortexd = start(GATE)
    running = begin(cortexd, "slow")
    with cortexd.connect() as queued, Scoreboard(cortexd.pid) as board:
        queued.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nnull")
        wait_until(board.waiting, "it waits")
        (activator,) = (pid for pid, title in cortexd.family().items() if title.startswith("cortexd: activator"))
        os.kill(activator, signal.SIGTERM)
        cortexd.wait_log("activator: SIGTERM from process")
        (cortexd.folder / "slow.end").touch()
        assert running.join().json() == "done"
        assert queued.answer().status == 200


def test_a_second_signal_does_not_wait_any_longer(start):
    cortexd = start(GATE)
    request = begin(cortexd, "endless")
    cortexd.signal()
    cortexd.wait_log(r"supervisor: .*(stop|drain)")
    assert cortexd.process.poll() is None
    time.sleep(1)  # sooner it is the same signal
    began = time.monotonic()
    cortexd.expect_exit(0, 1)
    cortexd.signal()
    cortexd.wait_exit()
    assert time.monotonic() - began < 20  # much less than --stop-timeout
    request.join()


def test_the_stop_timeout_is_kept(start):
    cortexd = start(GATE, args=["--stop-timeout", "1"])
    request = begin(cortexd, "endless")
    cortexd.expect_exit(0, 1)
    cortexd.expect_error("replica a/0: died .* when told to stop")
    began = time.monotonic()
    cortexd.signal()
    cortexd.wait_exit()
    assert 0.9 < time.monotonic() - began < 20
    request.join()


def test_a_killed_supervisor_leaves_no_orphans(start):
    cortexd = start(GATE, replicas=3)
    assert len(cortexd.family()) == 8  # three replicas, their keepers, the activator, the monitor
    cortexd.kill()
    wait_until(lambda: not cortexd.family(), "the replicas end by themselves")


def test_a_killed_supervisor_still_lets_a_prediction_finish(start):
    cortexd = start(GATE)
    request = begin(cortexd, "slow")
    cortexd.kill()
    (cortexd.folder / "slow.end").touch()
    answer = request.join()
    assert answer is not None and answer.json() == "done"


def test_a_second_cortexd_on_the_same_state_directory_is_refused(start):
    cortexd = start(PID)
    result = subprocess.run(
        [cortexd.binary, "-c", cortexd.folder / "cortex.yaml"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert str(cortexd.pid) in result.stderr and ".cortex" in result.stderr
    assert cortexd.post(None).status == 200


def test_an_address_that_is_taken_is_told_at_once(start, tmp_path):
    cortexd = start(PID)
    folder = cortexd.write({"cortex.yaml": (cortexd.folder / "cortex.yaml").read_text(), "predictor.py": PID}, tmp_path / "2")
    result = subprocess.run([cortexd.binary, "-c", folder / "cortex.yaml"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert f"127.0.0.1:{cortexd.port}" in result.stderr and "in use" in result.stderr
    assert cortexd.post(None).status == 200


def test_the_state_directory_can_be_used_again_after_kill_9(start):
    cortexd = start(PID)
    cortexd.kill()
    wait_until(lambda: not cortexd.family(), "the replicas end by themselves")
    again = start({"cortex.yaml": (cortexd.folder / "cortex.yaml").read_text(), "predictor.py": PID}, wait=False)
    again.endpoint = "/d/a"
    again.wait_ready(1)
    assert again.post(None).status == 200


def test_signals_to_the_supervisor_that_mean_nothing_are_survived(start):
    cortexd = start(PID)
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG):
        cortexd.signal(number)
    assert cortexd.post(None).status == 200


def test_a_stopped_replica_is_killed_in_the_end(start):
    cortexd = start(PID, replicas=2, args=["--stop-timeout", "1"])
    os.kill(cortexd.replicas()[0], signal.SIGSTOP)
    cortexd.expect_exit(0, 1)
    cortexd.stop()


# --- sharing ----------------------------------------------------------------------------------------------------------
def test_new_connections_are_shared_by_the_replicas(start):
    cortexd = start(PID, replicas=3)
    pids = set(cortexd.replicas())
    counts = {pid: 0 for pid in pids}
    for _ in range(300):
        counts[cortexd.post(None).json()] += 1
    assert min(counts.values()) >= 30, counts


def test_an_idle_replica_takes_a_new_connection_while_another_predicts(start):
    cortexd = start(GATE, replicas=2)
    requests = [begin(cortexd, "slow")]
    others = {cortexd.post(None).json() for _ in range(50)}
    assert len(others) == 1
    (cortexd.folder / "slow.end").touch()
    assert requests[0].join().json() == "done"


def test_listening_on_several_addresses_and_a_unix_socket(start, tmp_path):
    path = tmp_path / "api.sock"
    cortexd = start(PID, server=f"listen: [127.0.0.1:@PORT@, '[::1]:@PORT@', 'unix:{path}']", replicas=2)
    for options in ({"port": cortexd.port}, {"port": cortexd.port, "host": "::1"}, {"path": str(path)}):
        with client.Connection(**options) as connection:
            assert connection.post("/d/a", None).json() in cortexd.replicas()
    assert client.curl("--unix-socket", path, "http://localhost/healthz").json() == {"ok": True}
    cortexd.stop()
    assert not path.exists()


# --- a log that nobody reads -------------------------------------------------------------------------------------------
TALKATIVE = """\
    def predict(sample, metadata):
        raise ValueError(sample)
"""


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_that_nobody_reads_stops_nothing(start, kind):
    ours, theirs = {"pipe": os.pipe, "socket": lambda: [s.detach() for s in socket.socketpair()]}[kind]()
    cortexd = start(TALKATIVE, replicas=2, output=theirs)
    cortexd.expect_any_error()
    os.close(theirs)
    with cortexd.connect() as connection:
        for _ in range(3000):
            assert connection.post("/d/a", "x" * 2000).status == 406
    first, second = cortexd.replicas()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(set(cortexd.replicas()) - {first}) == 2, "another one is ready")
    assert os.read(ours, 1 << 16)
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: len(set(cortexd.replicas()) - {first, second}) == 2, "another one is ready")
    text = b""
    while b" of the log w" not in text:
        text += os.read(ours, 1 << 16)
    cortexd.signal()
    assert cortexd.wait_exit() == 0
    os.close(ours)


# --- the descriptor limit, fork failure -------------------------------------------------------------------------------
def test_more_clients_than_descriptors_wait_and_are_served(start):
    cortexd = start(PID, descriptor_limit=400)
    clients = [cortexd.connect() for _ in range(600)]
    try:
        for connection in clients[:100]:
            assert connection.post("/d/a", None).status == 200
            connection.close()
        for connection in clients[100:]:
            connection.close()
        assert cortexd.post(None).status == 200
    finally:
        for connection in clients:
            connection.close()


def test_a_supervisor_without_descriptors_starts_everybody_when_it_has_some_again(start):
    cortexd = start(PID, replicas=2)
    cortexd.expect_any_error()
    subprocess.run(["prlimit", f"--pid={cortexd.pid}", "--nofile=5:"], check=True)
    old = cortexd.replicas()
    os.kill(old[0], signal.SIGKILL)
    cortexd.wait_log("replica a/0: cannot start: .*Too many open files")
    assert cortexd.post(None).json() == old[1]
    subprocess.run(["prlimit", f"--pid={cortexd.pid}", "--nofile=1000:"], check=True)
    assert cortexd.wait_replicas(2) != old


def test_after_a_kill_the_address_is_free_while_an_old_replica_still_answers(start):
    cortexd = start("def predict(sample, metadata):\n    return 'x' * 50_000_000\n")
    (old,) = cortexd.replicas()
    with socket.create_connection(("127.0.0.1", cortexd.port)) as slow_reader:
        head = f"POST {cortexd.endpoint} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1"
        slow_reader.sendall(head.encode())
        assert slow_reader.recv(1) == b"H"
        cortexd.kill()
        wait_until(lambda: address_is_free(cortexd.port), "the old replica lets go of the listener")
        assert process_state(old) is not None
        received = 1
        while piece := slow_reader.recv(1 << 20):
            received += len(piece)
    assert received > 50_000_000


def address_is_free(port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError:
            return False
        return True


def listens(pid, number):
    """The process is told of new connections, by the listener with that number."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with open(f"/proc/{pid}/fdinfo/{fd}") as file:
            if re.search(rf"^tfd: +{number} ", file.read(), re.M):
                return True
    return False


def test_a_replica_that_exits_slowly_holds_up_no_new_connection(start):
    """Python's exit handlers take as long as they like; the replica listens no more, so somebody else has to."""
    cortexd = start(
        """
        import atexit
        import os
        import time


        def wait():
            open("exits", "w").close()
            while not os.path.exists("leave"):
                time.sleep(0.001)


        atexit.register(wait)


        def predict(sample, metadata):
            return os.getpid()
        """
    )
    cortexd.expect_error("died after .* without being told to stop")
    (pid,) = cortexd.replicas()
    (activator,) = (pid for pid, title in cortexd.family().items() if title.startswith("cortexd: activator"))
    wait_until(lambda: not listens(activator, ACTIVATOR_FD_LISTENER), "only the replica listens")
    os.kill(pid, signal.SIGTERM)
    wait_until((cortexd.folder / "exits").exists, "it exits")
    assert cortexd.get("/healthz").status == 200
    assert process_state(pid) is not None
    (cortexd.folder / "leave").touch()
    assert cortexd.post(None).json() != pid
