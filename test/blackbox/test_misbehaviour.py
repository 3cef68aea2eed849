"""Predictors that do what a predictor should not, and still: an answer, a log line, the next request served."""
import os
import re
import resource
import signal
import socket

import pytest

from cortexd import Scoreboard, process_state, wait_until


def raising(statement):
    return f"import sys\n\n\ndef predict(sample, metadata):\n    if sample == 'now':\n        {statement}\n    return sample\n"


@pytest.mark.parametrize(
    "statement, message",
    [
        ("raise SystemExit", "SystemExit"),
        ("sys.exit('enough')", "enough"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise BaseException('base')", "base"),
        ("predict(sample, metadata)", "maximum recursion depth"),
        ("raise MemoryError", "MemoryError"),
        ("raise Exception", "Exception"),
        ("raise ValueError('line one\\nline two')", "line one"),
        ("raise ValueError('x' * 100_000)", "xxx"),
        ("raise ValueError('\\ud800 surrogate')", "surrogate"),
        ("raise ValueError('nul \\0 byte')", "nul"),
        ("raise type('Own', (Exception,), {'__str__': lambda self: 1 / 0})", "Own"),
        ("raise ExceptionGroup('several', [ValueError(1), TypeError(2)])", "several"),
        ("return undefined_name", "undefined_name"),
        ("return sample.no_such_attribute", "no_such_attribute"),
        ("bytearray(1 << 60)", "MemoryError"),
    ],
)
def test_whatever_predict_raises_is_one_line_for_the_client(start, statement, message):
    cortexd = start(raising(statement))
    cortexd.expect_error("prediction failed: error in predictor.py: predict: ")
    cortexd.expect_any_error()
    (pid,) = cortexd.replicas()
    with cortexd.connect() as connection:
        answer = connection.post("/d/a", "now")
        assert answer.status == 406
        assert answer.text.startswith("prediction failed: error in predictor.py: predict: ") and message in answer.text
        assert answer.text.strip().count("\n") == 0 and len(answer.text) < 4096
        assert connection.post("/d/a", "later").json() == "later"
    assert cortexd.replicas() == [pid]


def test_a_deep_recursion_outside_python_frames_is_survived(start):
    cortexd = start("import json\n\n\ndef predict(sample, metadata):\n    x = []\n    for _ in range(100_000):\n        x = [x]\n    return x\n")
    cortexd.expect_error("cannot be converted to JSON: it is nested too deeply")
    answer = cortexd.post(1)
    assert answer.status == 500 and "nested" in answer.json()["error"]
    with cortexd.connect() as connection:
        deep = b"[" * 100_000 + b"]" * 100_000
        assert connection.post("/d/a", deep).status == 400


@pytest.mark.parametrize("place", ["init", "predict"])
def test_a_predictor_that_closes_our_descriptors_is_replaced_and_told_so(start, place):
    predictor = f"""\
        import os

        done = os.path.exists("closed")


        def close():
            if not done:
                open("closed", "w").close()
                for fd in range(3, 256):
                    try:
                        os.close(fd)
                    except OSError:
                        continue


        def init(model_path, metadata):
            if {place == "init"}:
                close()


        def predict(sample, metadata):
            close()
            return sample
    """
    cortexd = start(predictor, wait=place == "predict")
    cortexd.expect_any_error()
    if place == "predict":
        with cortexd.connect() as connection:
            connection.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1")
            connection.closed()
    cortexd.wait_log(r"(error|warn ) .*descriptor")
    cortexd.wait_log(r"replica a/\d: ready after", count=2 if place == "predict" else 1)
    assert cortexd.post(2).json() == 2


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGPIPE"])
@pytest.mark.parametrize("place", ["import", "init", "predict"])
def test_a_predictor_that_takes_our_signals_is_told_so_and_still_stops(start, place, name):
    take = f"signal.signal(signal.{name}, lambda *_: None)"
    predictor = f"""\
        import signal

        {take if place == "import" else ""}


        def init(model_path, metadata):
            {take if place == "init" else "pass"}


        def predict(sample, metadata):
            {take if place == "predict" else "pass"}
            return sample
    """
    cortexd = start(predictor)
    if place == "predict":
        assert cortexd.post(1).json() == 1
    assert cortexd.post(2).json() == 2
    if place != "predict":  # looked at once, when the replica gets ready
        cortexd.wait_log(rf"warn +replica a/0: the predictor .* {name}")
    assert cortexd.stop() == 0


def test_a_predictor_that_blocks_signals_still_stops(start):
    predictor = """\
        import signal


        def predict(sample, metadata):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            return sample
    """
    cortexd = start(predictor)
    assert cortexd.post(1).json() == 1
    assert cortexd.post(2).json() == 2


def test_subprocesses_of_a_predictor_work_and_inherit_nothing_of_ours(start):
    predictor = """\
        import subprocess


        def predict(sample, metadata):
            listing = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, close_fds=sample)
            return sorted(map(int, listing.stdout.split()))
    """
    cortexd = start(predictor)
    for close_fds in (True, False):
        assert cortexd.post(close_fds).json() == [0, 1, 2, 3]  # 3 is the listing's own


def test_subprocess_signals_are_as_under_python(start):
    predictor = """\
        import subprocess


        def predict(sample, metadata):
            status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
            return {line.split()[0]: line.split()[1] for line in status.splitlines() if line.startswith("Sig")}
    """
    cortexd = start(predictor)
    masks = cortexd.post(1).json()
    assert int(masks["SigBlk:"], 16) == 0
    ignored = {number for number in range(1, 32) if int(masks["SigIgn:"], 16) >> (number - 1) & 1}
    assert ignored <= {signal.SIGPIPE}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works(start, method):
    files = {
        "work.py": "def square(x):\n    return x * x\n",
        "predictor.py": f"""\
            import multiprocessing

            import work

            context = multiprocessing.get_context("{method}")


            def predict(sample, metadata):
                with context.Pool(2) as pool:
                    return pool.map(work.square, sample)
        """,
    }
    cortexd = start(files)
    assert cortexd.post([1, 2, 3]).json() == [1, 4, 9]
    assert cortexd.post([4]).json() == [16]


def test_a_concurrent_futures_pool_made_in_init_works(start):
    files = {
        "work.py": "def double(x):\n    return 2 * x\n",
        "predictor.py": """\
            from concurrent.futures import ProcessPoolExecutor

            import work


            def init(model_path, metadata):
                global pool
                pool = ProcessPoolExecutor(2)


            def predict(sample, metadata):
                return list(pool.map(work.double, sample))
        """,
    }
    cortexd = start(files)
    assert cortexd.post([1, 2, 3]).json() == [2, 4, 6]
    with cortexd.connect() as connection:
        assert [connection.post("/d/a", [i]).json() for i in range(20)] == [[2 * i] for i in range(20)]


def test_a_forked_child_neither_answers_nor_holds_the_connection(start):
    predictor = """\
        import os
        import time


        def predict(sample, metadata):
            pid = os.fork()
            if pid == 0:
                time.sleep(3600)
            return pid
    """
    cortexd = start(predictor)
    with cortexd.connect() as connection:
        child = connection.post("/d/a", 1, {"Connection": "close"}).json()
        assert connection.closed()
    assert process_state(child) is not None
    cortexd.stop()
    wait_until(lambda: process_state(child) in (None, "Z"), "the child of the predictor is gone")


def test_a_forked_child_that_returns_from_predict_ends_quietly(start):
    predictor = """\
        import os


        def predict(sample, metadata):
            return "parent" if os.fork() else "child"
    """
    cortexd = start(predictor)
    with cortexd.connect() as connection:
        assert [connection.post("/d/a", 1).json() for _ in range(5)] == ["parent"] * 5


def test_background_threads_run_while_the_replica_waits(start):
    predictor = """\
        import threading
        import time

        ticks = 0


        def tick():
            global ticks
            while True:
                ticks += 1
                time.sleep(0.001)


        def init(model_path, metadata):
            threading.Thread(target=tick, daemon=True).start()


        def predict(sample, metadata):
            return ticks
    """
    cortexd = start(predictor)
    first = cortexd.post(None).json()
    wait_until(lambda: cortexd.post(None).json() > first + 100, "the thread goes on")


def test_a_thread_that_raises_or_never_ends_harms_nobody(start):
    predictor = """\
        import threading
        import time


        def init(model_path, metadata):
            threading.Thread(target=lambda: 1 / 0).start()
            threading.Thread(target=time.sleep, args=(3600,)).start()


        def predict(sample, metadata):
            return sample
    """
    cortexd = start(predictor, args=["--stop-timeout", "5"])
    assert cortexd.post(1).json() == 1
    assert cortexd.stop() == 0


def test_exit_hooks_have_their_time_whichever_thread_a_signal_hits(start):
    """The death of the supervisor sends SIGTERM while they run."""
    cortexd = start("""\
        import atexit, ctypes, os, platform, signal, time

        def hook():
            tgkill = {"x86_64": 234, "aarch64": 131}[platform.machine()]
            for thread in map(int, os.listdir("/proc/self/task")):
                if thread != os.getpid():
                    ctypes.CDLL(None).syscall(tgkill, os.getpid(), thread, signal.SIGTERM)
            time.sleep(0.2)
            print("goodbye from atexit")

        atexit.register(hook)

        def predict(sample, metadata):
            return sample
    """)
    cortexd.stop()
    assert "goodbye from atexit" in cortexd.log()


def test_atexit_hooks_run_and_output_is_flushed_at_the_end(start):
    predictor = """\
        import atexit
        import sys

        atexit.register(lambda: print("goodbye from atexit"))


        def predict(sample, metadata):
            print("printed", sample)
            print("to stderr", sample, file=sys.stderr)
            sys.stdout.write("half a line")
            return sample
    """
    cortexd = start(predictor)
    assert cortexd.post("x").json() == "x"
    cortexd.wait_log(r"^.*printed x$")
    cortexd.wait_log(r"^.*to stderr x$")
    cortexd.stop()
    assert "goodbye from atexit" in cortexd.log()
    assert "half a line" in cortexd.log()


@pytest.mark.parametrize(
    "statement",
    ["os.chdir('/')", "sys.stdout.close()", "sys.stderr = None", "os.environ.clear()", "sys.modules.clear()",
     "sys.path.clear()", "del sys.modules['json']", "gc.disable()", "sys.setrecursionlimit(100)",
     "sys.setswitchinterval(1e-6)", "threading.setprofile(lambda *_: None)", "os.nice(5)", "os.umask(0o777)",
     "json.loads = None", "json.dumps = None", "builtins.str = int", "locale.setlocale(locale.LC_ALL, 'C')",
     "warnings.simplefilter('error')", "faulthandler.enable()", "sys.settrace(lambda *_: None)"],
)  # fmt: skip
def test_a_predictor_that_rearranges_the_interpreter_still_serves(start, statement):
    modules = "builtins, faulthandler, gc, json, locale, os, sys, threading, warnings"
    cortexd = start(f"import {modules}\n\n\ndef predict(sample, metadata):\n    {statement}\n    return {{'a': sample}}\n")
    with cortexd.connect() as connection:
        for i in range(3):
            assert connection.post("/d/a", [i, 1.5, "é"]).status in (200, 406)
        assert connection.request("GET", "/healthz").status == 200
    cortexd.expect_any_error()


def test_a_predictor_cannot_change_its_arguments_for_the_next_request(start):
    cortexd = start("def predict(sample, metadata):\n    sample.append(1)\n    return sample\n", metadata={"a": 1})
    assert [cortexd.post([]).json() for _ in range(3)] == [[1]] * 3


def test_garbage_and_references_do_not_pile_up(start):
    predictor = """\
        import gc
        import sys


        class Node:
            pass


        def predict(sample, metadata):
            if sample == "count":
                gc.collect()
                return len(gc.get_objects()), sys.getrefcount(None), sys.getallocatedblocks()
            a, b = Node(), Node()
            a.other, b.other = b, a
            if sample == "raise":
                raise ValueError(a)
            return object() if sample == "object" else {"a": [1.5, "x", None, True]}
    """
    cortexd = start(predictor)
    cortexd.expect_error("prediction failed")
    cortexd.expect_error("cannot be converted to JSON")

    def mistreat(connection):
        for _ in range(500):
            for sample in ("x", "raise", "object"):
                connection.post("/d/a", sample)
            connection.post("/d/a", b"{")
            connection.post("/d/a", b"x", content_type="text/plain")
            connection.post("/d/a?debug=false", {"a": None})
        return connection.post("/d/a", "count").json()

    with cortexd.connect() as connection:
        mistreat(connection)
        first = mistreat(connection)
        second = mistreat(connection)
    assert all(after <= before + 50 for before, after in zip(first, second)), (first, second)


def test_predict_never_runs_twice_at_once_nor_on_another_thread(start):
    predictor = """\
        import threading
        import time

        running = 0
        threads = set()


        def predict(sample, metadata):
            global running
            running += 1
            threads.add(threading.get_ident())
            time.sleep(0.002)
            alone = running == 1 and len(threads) == 1 and threading.current_thread() is threading.main_thread()
            running -= 1
            return alone
    """
    cortexd = start(predictor)
    request = b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1" * 10
    connections = [cortexd.connect() for _ in range(20)]
    for connection in connections:
        connection.send(request)
    assert all(connection.answer().json() is True for connection in connections for _ in range(10))
    for connection in connections:
        connection.close()


def test_the_log_of_a_predictor_cannot_forge_lines_of_cortexd(start):
    cortexd = start("def predict(sample, metadata):\n    raise ValueError('x\\n2026-01-01T00:00:00.000Z error supervisor: forged')\n")
    cortexd.expect_error("prediction failed")
    cortexd.expect_error("replica a/0: .*forged")
    assert cortexd.post(1).status == 406
    cortexd.stop()
    assert not re.search(r"^2026-01-01T00:00:00.000Z error supervisor: forged", cortexd.log(), re.MULTILINE)


def test_a_child_that_is_ended_while_it_is_being_forked_does_not_drain_its_replica(start):
    predictor = """\
        import os
        import signal
        import time


        def ended_by():
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            os.kill(pid, signal.SIGTERM)
            return os.WTERMSIG(os.waitpid(pid, 0)[1])


        def predict(sample, metadata):
            return [os.getpid(), sorted({ended_by() for _ in range(sample)})]
    """
    cortexd = start(predictor)
    (replica,) = cortexd.replicas()
    assert cortexd.post(200).json() == [replica, [signal.SIGTERM]]
    assert cortexd.post(1).json() == [replica, [signal.SIGTERM]]


def test_files_in_place_of_closed_connections_harm_nobody_else(start):
    """The predictor closes everything, opens files instead, and takes its time: the helper thread hands those on."""
    cortexd = start(
        """
        import os
        import time


        def predict(sample, metadata):
            if sample == "close":
                os.closerange(10, 1000)
                for _ in range(200):
                    os.open("/dev/null", os.O_RDONLY)
                time.sleep(0.05)
            return os.getpid()
        """,
        replicas=2,
        server="log: {level: warning}",
    )
    cortexd.expect_any_error()
    (activator,) = (pid for pid, title in cortexd.family().items() if title.startswith("cortexd: activator"))
    clients = [cortexd.connect() for _ in range(20)]
    for connection in clients:
        connection.post("/d/a", 1)
    with cortexd.connect() as connection:
        connection.send(b'POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n"close"')
        connection.closed()
    for connection in clients:
        connection.close()
    cortexd.wait_log("is something else now|descriptor of cortexd was closed")
    wait_until(lambda: len(cortexd.replicas()) == 2, "both replicas are there")
    for _ in range(20):
        assert cortexd.post(1).status == 200
    assert process_state(activator) is not None


LEAK = """\
    import os
    import resource
    import threading
    import time

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


    def leak():
        while True:
            try:
                os.open("/dev/null", os.O_RDONLY)
            except OSError:
                open_all.set()
                time.sleep(0.002)


    open_all = threading.Event()


    def predict(sample, metadata):
        if sample == "leak" and not open_all.is_set():
            threading.Thread(target=leak, daemon=True).start()
            open_all.wait()
        elif sample:
            time.sleep(sample)
        return os.getpid()
"""


def test_a_predictor_that_uses_up_all_descriptors_is_replaced(start):
    cortexd = start(LEAK, server="log: {level: warning}")
    cortexd.expect_any_error()
    clients = [cortexd.connect()]
    first = clients[0].post("/d/a", "leak").json()

    def one_more_finds_another():
        clients.append(cortexd.connect())
        return clients[-1].post("/d/a", 0).json() != first

    wait_until(one_more_finds_another, "the replica is replaced")
    for connection in clients:
        assert connection.post("/d/a", 0).json() != first
        connection.close()
    cortexd.wait_log("no descriptor was left for a (connection|request)")


# It leaks only while a prediction runs: else its thread could take the place that is kept free for a request while it is received.
LEAK_IN_PREDICT = LEAK.replace("while True:\n", "while True:\n            while not runs:\n                time.sleep(0.0005)\n").replace(
    "    def predict(sample, metadata):\n",
    "    runs = False\n\n\n    def predict(sample, metadata):\n        global runs\n        runs = True\n",
).replace("        return os.getpid()", "        runs = False\n        return os.getpid()")


def test_a_replica_without_a_descriptor_for_a_request_is_replaced(start):
    """Requests from the activator, which come with a descriptor, one after the other until one finds no place. None is lost."""
    cortexd = start(LEAK_IN_PREDICT, server="log: {level: warning}")
    cortexd.expect_any_error()
    (keeper,) = (pid for pid, title in cortexd.family().items() if title.startswith("cortexd: keeper"))
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (64, 64))  # as if the predictor had used up what both may have
    clients = [cortexd.connect() for _ in range(10)]
    for connection in clients:
        assert connection.post("/d/a", 0).status == 200
    clients[0].post("/d/a", "leak")

    def ask_all():
        for connection in clients:
            connection.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n0.01")
        assert [connection.answer().status for connection in clients] == [200] * len(clients)
        return "no descriptor was left for a request" in cortexd.log()

    wait_until(ask_all, "a request finds no descriptor")
    for connection in clients:
        connection.close()


def test_a_fork_while_connections_move_leaves_the_child_none(start):
    """Predictions that fork at the time when the helper thread hands the other connections on."""
    cortexd = start(
        """
        import os
        import time


        def predict(sample, metadata):
            if sample is None:
                return 0
            end = time.monotonic() + sample
            while time.monotonic() < end:
                pass
            pid = os.fork()
            if pid == 0:
                os.kill(os.getpid(), 19)
            time.sleep(0.003)
            return pid
        """,
        server="log: {level: warning}",
    )

    def connections(pid):
        inodes = {line.split()[9] for line in open(f"/proc/{pid}/net/tcp") if line.split()[1].endswith(f":{cortexd.port:04X}")}
        targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        return [target for target in targets if target.startswith("socket:[") and target[8:-1] in inodes]

    clients = [cortexd.connect() for _ in range(200)]
    for attempt in range(40):
        for connection in clients:
            assert connection.post("/d/a", None).status == 200
        child = clients[attempt].post("/d/a", 0.0008 + attempt * 5e-5).json()
        wait_until(lambda child=child: process_state(child) == "T", "the child has begun")
        assert connections(child) == []
        os.kill(child, signal.SIGKILL)
    for connection in clients:
        connection.close()
