"""Who serves a request, and when: long predictions, queues, deadlines, several apis (docs/dataplane.md)."""
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

from client import Connection
from cortexd import Scoreboard, descriptors, process_state, wait_until

# A prediction that lasts until its file is there, or so many seconds; its answer is who ran it.
GATE = """\
    import os
    import time


    def predict(sample, metadata):
        if isinstance(sample, str):
            open(sample + ".began", "a").write("x")
            while not os.path.exists(sample + ".end"):
                time.sleep(0.001)
        elif sample:
            time.sleep(sample)
        return os.getpid()
"""


def post(body, endpoint="/d/a", fields=""):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"POST {endpoint} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


class Gates:
    """Predictions that run until they are let go."""

    def __init__(self, cortexd):
        self.cortexd = cortexd
        self.open = {}

    def start(self, name, connection=None):
        connection = connection or self.cortexd.connect()
        connection.send(post(name))
        self.wait(name)
        self.open[name] = connection
        return connection

    def wait(self, name):
        wait_until((self.cortexd.folder / f"{name}.began").exists, f"prediction {name} runs")

    def runs(self, name):
        path = self.cortexd.folder / f"{name}.began"
        return len(path.read_text()) if path.exists() else 0

    def end(self, name):
        (self.cortexd.folder / f"{name}.end").touch()
        return self.open.pop(name).answer()


@pytest.fixture
def gates():
    made = []

    def make(cortexd):
        made.append(Gates(cortexd))
        return made[-1]

    yield make
    for some in made:
        for name in list(some.open):
            some.end(name)


def timed(connection, sample):
    began = time.monotonic()
    answer = connection.post("/d/a", sample)
    return answer, time.monotonic() - began


# --- nobody waits behind a long prediction ----------------------------------------------------------------------------
def test_clients_of_a_replica_in_a_long_prediction_are_served_by_another(start, gates):
    cortexd = start(GATE, replicas=2)
    clients = [cortexd.connect() for _ in range(40)]
    for connection in clients:
        assert connection.post("/d/a", 0).status == 200
    gate = gates(cortexd)
    gate.start("long", clients.pop())
    served = set()
    for connection in clients:
        answer, seconds = timed(connection, 0)
        served.add(answer.json())
        assert seconds < 1
        connection.close()
    assert len(served) == 1
    assert gate.end("long").json() not in served


def test_requests_behind_a_long_prediction_on_the_only_replica_wait_and_are_served_in_order(start, gates):
    cortexd = start(GATE.replace("return os.getpid()", "open('order', 'a').write(f'{sample} '); return sample"))
    gate = gates(cortexd)
    first = gate.start("first")
    waiting = []
    with Scoreboard(cortexd.pid) as board:
        for i in range(20):
            waiting.append(cortexd.connect())
            waiting[-1].send(post(i / 1e6))
            wait_until(lambda: board.waiting() != 0, "somebody waits")
            time.sleep(0.002)  # so that arrivals differ
    assert not select.select([connection.socket for connection in waiting], [], [], 0)[0]
    assert gate.end("first").json() == "first"
    first.close()
    for i, connection in enumerate(waiting):
        assert connection.answer().json() == i / 1e6
        connection.close()
    assert (cortexd.folder / "order").read_text().split() == ["first", *(str(i / 1e6) for i in range(20))]


def test_a_request_that_arrives_while_a_replica_is_idle_starts_at_once(start, gates):
    """Three of four replicas are busy for long; whoever comes, on whatever connection, gets the fourth."""
    cortexd = start(GATE, replicas=4)
    old = [cortexd.connect() for _ in range(16)]
    for connection in old:
        connection.post("/d/a", 0)
    gate = gates(cortexd)
    for name in ("a", "b", "c"):
        gate.start(name, old.pop())
    for _ in range(5):
        for connection in old:
            answer, seconds = timed(connection, 0)
            assert answer.status == 200 and seconds < 0.5
        with cortexd.connect() as new:
            answer, seconds = timed(new, 0)
            assert answer.status == 200 and seconds < 0.5
    assert len({gate.end(name).json() for name in ("a", "b", "c")}) == 3


def test_after_a_long_prediction_everything_is_on_the_fast_path_again(start):
    cortexd = start(GATE, replicas=2)
    clients = [cortexd.connect() for _ in range(64)]
    for connection in clients:
        connection.post("/d/a", 0)
    clients[0].post("/d/a", 0.2)
    with Scoreboard(cortexd.pid) as board:
        for _ in range(3):
            for connection in clients:
                assert connection.post("/d/a", 0).status == 200
        wait_until(lambda: sum(slot[1] for slot in board.slots()) == 64, "all connections are with replicas", patience=5)
        assert board.connections() == 64
        for connection in clients:
            connection.close()
        wait_until(lambda: board.connections() == 0, "no connection is left")


# --- the queue --------------------------------------------------------------------------------------------------------
def test_a_full_queue_refuses_with_retry_after(start, gates):
    cortexd = start(GATE, api="requests: {max_queue_length: 3}")
    gate = gates(cortexd)
    gate.start("long")
    with Scoreboard(cortexd.pid) as board:
        waiting = []
        for _ in range(3):
            waiting.append(cortexd.connect())
            waiting[-1].send(post(0))
        wait_until(board.waiting, "they wait")
        for _ in range(3):
            with cortexd.connect() as connection:
                answer, seconds = timed(connection, 0)
                assert answer.status == 503 and seconds < 5
                assert "too many requests" in answer.json()["error"]
                assert 1 <= int(answer.header("retry-after")) <= 60
                assert answer.header("connection") is None  # it may try again on this one
        assert not select.select([connection.socket for connection in waiting], [], [], 0)[0]
    assert gate.end("long").status == 200
    for connection in waiting:
        assert connection.answer().status == 200
        connection.close()
    cortexd.wait_log(r"activator: 503 POST /d/a")


def test_a_queue_of_length_zero_makes_nobody_wait(start, gates):
    cortexd = start(GATE, api="requests: {max_queue_length: 0}")
    gate = gates(cortexd)
    for _ in range(50):
        assert cortexd.post(0).status == 200
    gate.start("long")
    assert cortexd.post(0).status == 503
    assert gate.end("long").status == 200
    assert cortexd.post(0).status == 200


def test_many_clients_whose_replica_hands_them_away_are_not_refused(start):
    """More clients than places in the queue: a slow prediction now and then must not cost them a 503."""
    cortexd = start(GATE, api="requests: {max_queue_length: 10}", server="log: {level: warning}")
    clients = [cortexd.connect() for _ in range(200)]
    for i in range(10):
        for k, connection in enumerate(clients):
            connection.send(post(0.003 if k == 20 * i else 0))
        for connection in clients:
            assert connection.answer().status == 200
    for connection in clients:
        connection.close()


def test_who_has_left_the_queue_is_never_predicted(start, gates):
    cortexd = start(GATE)
    gate = gates(cortexd)
    gate.start("long")
    names = [f"left{i}" for i in range(10)]
    with Scoreboard(cortexd.pid) as board:
        leaving = [cortexd.connect() for _ in names]
        for name, connection in zip(names, leaving):
            connection.send(post(name))
        wait_until(board.waiting, "they wait")
        for i, connection in enumerate(leaving):
            if i % 2:  # with a reset
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        wait_until(lambda: board.waiting() == 0, "the queue is empty")
    assert gate.end("long").status == 200
    assert cortexd.post(0).status == 200
    assert not any(gate.runs(name) for name in names)


def test_a_half_closed_client_in_the_queue_still_gets_its_answer(start, gates):
    cortexd = start(GATE)
    gate = gates(cortexd)
    gate.start("long")
    with cortexd.connect() as half, cortexd.connect() as old:
        half.send(post(0))
        half.socket.shutdown(socket.SHUT_WR)
        old.send(b"POST /d/a HTTP/1.0\r\nContent-Length: 1\r\n\r\n0")
        old.socket.shutdown(socket.SHUT_WR)
        with Scoreboard(cortexd.pid) as board:
            wait_until(board.waiting, "they wait")
        assert half.answer().status == 100  # are you still there?
        assert gate.end("long").status == 200
        assert half.answer().status == 200
        assert half.closed()
        assert old.answer().status == 200
        assert old.closed()


def test_requests_wait_for_the_first_replica(start):
    predictor = """\
        import os
        import time


        def init(model_path, metadata):
            while not os.path.exists("go"):
                time.sleep(0.01)


        def predict(sample, metadata):
            return sample
    """
    cortexd = start(predictor, wait=False)
    cortexd.wait_log("activator: ready")
    waiting = [cortexd.connect() for _ in range(5)]
    for i, connection in enumerate(waiting):
        connection.send(post(i) + post(i + 100))
    assert cortexd.get("/healthz").json() == {"ok": True}
    ready = cortexd.get("/readyz")
    assert (ready.status, ready.json()) == (503, {"ok": False})
    (cortexd.folder / "go").touch()
    for i, connection in enumerate(waiting):
        assert connection.answer().json() == i
        assert connection.answer().json() == i + 100
        connection.close()
    assert cortexd.get("/readyz").json() == {"ok": True}


# --- deadlines --------------------------------------------------------------------------------------------------------
def test_a_queued_request_that_waits_too_long_gets_a_504(start, gates):
    cortexd = start(GATE, api="requests: {timeout: 2s}")
    gate = gates(cortexd)
    with cortexd.connect() as running, cortexd.connect() as waiting:
        gate.start("long", running)
        answer, seconds = timed(waiting, 0)
        assert answer.status == 504 and 1.9 < seconds < 2.9
        assert answer.json() == {"error": "no replica was free within 2 s"}
        del gate.open["long"]
        (cortexd.folder / "long.end").touch()
        assert running.answer().status == 504  # the running one was as old
        assert waiting.post("/d/a", 0).status == 200


def test_a_prediction_that_outlives_its_deadline_is_answered_on_time_and_its_result_dropped(start, gates):
    cortexd = start(GATE, api="requests: {timeout: 500ms}")
    (pid,) = cortexd.replicas()
    gate = gates(cortexd)
    with cortexd.connect() as connection:
        connection.send(post("late") + post(0))
        gate.wait("late")
        began = time.monotonic()
        answer = connection.answer()
        assert answer.status == 504 and time.monotonic() - began < 1
        assert answer.json() == {"error": "no prediction within 0.5 s"}
        (cortexd.folder / "late.end").touch()
        answer = connection.answer()  # of the second request, not the late result of the first
        assert (answer.status, answer.json()) in ((200, pid), (504, {"error": "no replica was free within 0.5 s"}))
        assert connection.post("/d/a", 0).json() == pid  # it came back in time, so it lives
    cortexd.wait_log(r"504 POST /d/a: not answered within 0.5 s \(requests.timeout\)")


@pytest.mark.parametrize("act", ["while True: pass", "time.sleep(3600)"])
def test_a_prediction_that_never_ends_costs_its_replica_its_life(start, act):
    predictor = f"""\
        import os
        import time


        def predict(sample, metadata):
            if sample:
                {act}
            return os.getpid()
    """
    cortexd = start(predictor, api="requests: {timeout: 300ms}")
    cortexd.expect_error("replica a/0: its prediction still runs; killing it")
    cortexd.expect_error("killed by SIGKILL: a prediction did not end after requests.timeout")
    (pid,) = cortexd.replicas()
    with cortexd.connect() as connection:
        answer, seconds = timed(connection, 1)
        assert answer.status == 504 and 0.25 < seconds < 3
        wait_until(lambda: process_state(pid) is None, "it is killed")
        answer = wait_until(lambda: (a := connection.post("/d/a", 0)).status == 200 and a, "there is another one")
        assert answer.json() != pid


# --- several apis -----------------------------------------------------------------------------------------------------
def several(names, port="@PORT@", **compute):
    return "".join(
        f"- kind: api\n  name: {name}\n  endpoint: /{name}\n  predictor: {{path: {name}.py}}\n"
        f"  compute: {{min_replicas: {compute.get(name, 1)}, max_replicas: {compute.get(name, 1)}}}\n"
        for name in names
    ) + f"- kind: server\n  listen: 127.0.0.1:{port}\n"


def test_several_apis_share_an_address(start):
    names = ("one", "two", "three")
    files = {f"{name}.py": f"def predict(sample, metadata):\n    return ['{name}', sample]\n" for name in names}
    cortexd = start({**files, "cortex.yaml": several(names, two=2)}, replicas=4)
    cortexd.endpoint = "/one"
    with cortexd.connect() as connection:
        for i in range(30):
            for name in names:  # whoever owns the connection, it goes to the right one
                assert connection.post(f"/{name}", i).json() == [name, i]
        for path in ("/", "/four", "/one/two", "/ONE", "/on", "/one%00"):
            answer = connection.request("GET", path)
            assert answer.status == (400 if "%00" in path else 404)
            assert not any(name in answer.text for name in names)
        assert connection.request("GET", "/two").json()["message"].startswith("make a prediction")
        assert connection.request("HEAD", "/three").status == 200
        assert connection.request("OPTIONS", "/three").status == 204
        assert connection.request("PUT", "/three").status == 405
        assert connection.request("GET", "/readyz").json() == {"ok": True}
        assert connection.request("OPTIONS", "/readyz").status == 204
        assert connection.request("POST", "/readyz", b"").status == 405
    # Pipelined across apis, in one piece.
    with cortexd.connect() as connection:
        connection.send(b"".join(post(i, f"/{names[i % 3]}") for i in range(30)))
        for i in range(30):
            assert connection.answer().json() == [names[i % 3], i]


def test_the_limits_of_one_api_are_not_those_of_another(start):
    config = several(("small", "large")).replace("path: small.py}\n", "path: small.py}\n  requests: {max_body_size: 1Ki}\n", 1)
    files = {f"{name}.py": "def predict(sample, metadata):\n    return len(sample)\n" for name in ("small", "large")}
    cortexd = start({**files, "cortex.yaml": config}, replicas=2)
    large = b'"' + b"x" * 200_000 + b'"'
    for _ in range(10):
        with cortexd.connect() as connection:
            assert connection.post("/large", large).json() == 200_000
            assert connection.post("/small", b'"x"').json() == 1
            assert connection.post("/large", large).json() == 200_000
            assert connection.post("/small", large).status == 413
            assert connection.closed()
        with cortexd.connect() as connection:  # of no api at all
            assert connection.post("/none", large).status == 413


def test_readyz_waits_for_every_api(start):
    files = {
        "one.py": "def predict(sample, metadata):\n    return 1\n",
        "two.py": "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n\ndef predict(sample, metadata):\n    return 2\n",
        "cortex.yaml": several(("one", "two")),
    }
    cortexd = start(files, wait=False)
    cortexd.wait_log(r"replica one/0: ready")
    assert cortexd.get("/readyz").status == 503
    with cortexd.connect() as connection:
        assert connection.post("/one", 0).json() == 1
        connection.send(post(0, "/two"))
        (cortexd.folder / "go").touch()
        assert connection.answer().json() == 2
    wait_until(lambda: cortexd.get("/readyz").status == 200, "ready")


def test_one_apis_queue_does_not_hold_up_another(start):
    files = {
        "slow.py": "import os, time\n\ndef predict(sample, metadata):\n    while not os.path.exists('go'): time.sleep(0.001)\n    return 'slow'\n",
        "fast.py": "def predict(sample, metadata):\n    return 'fast'\n",
        "cortex.yaml": several(("slow", "fast")),
    }
    cortexd = start(files, replicas=2)
    waiting = [cortexd.connect() for _ in range(50)]
    for connection in waiting:
        connection.send(post(0, "/slow"))
    with Scoreboard(cortexd.pid) as board:
        wait_until(lambda: board.waiting(0), "they wait")
        for _ in range(20):
            with cortexd.connect() as connection:
                began = time.monotonic()
                assert connection.post("/fast", 0).json() == "fast"
                assert time.monotonic() - began < 0.5
    (cortexd.folder / "go").touch()
    for connection in waiting:
        assert connection.answer().json() == "slow"
        connection.close()


# --- many connections, slow connections -------------------------------------------------------------------------------
@pytest.mark.once
def test_ten_thousand_idle_connections_cost_no_replica_anything(start):
    cortexd = start(GATE, replicas=2)
    idle = []
    try:
        for _ in range(10_000):
            idle.append(socket.create_connection(("127.0.0.1", cortexd.port)))
            if len(idle) % 100 == 0:
                for connection in idle[-100:]:  # a request each, so that they are accepted
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        with Scoreboard(cortexd.pid) as board:
            wait_until(lambda: board.connections() >= 10_000, "all are accepted")
            with cortexd.connect() as connection:
                for _ in range(100):
                    answer, seconds = timed(connection, 0)
                    assert answer.status == 200 and seconds < 0.5
                assert connection.post("/d/a", 0.3).status == 200  # hands thousands away
                for _ in range(100):
                    assert connection.post("/d/a", 0).status == 200
    finally:
        for connection in idle:
            connection.close()


def test_slow_readers_hold_nobody_up(start):
    cortexd = start("def predict(sample, metadata):\n    return 'x' * sample\n")
    readers = [cortexd.connect(receive_buffer=4096) for _ in range(10)]
    for connection in readers:
        connection.send(post(5_000_000))
    with cortexd.connect() as connection:
        for _ in range(50):
            answer, seconds = timed(connection, 1)
            assert answer.json() == "x" and seconds < 2
    for connection in readers:
        assert len(connection.answer().body) == 5_000_002
        connection.close()


def test_slow_writers_hold_nobody_up_and_survive_being_handed_away(start, gates):
    cortexd = start(GATE, replicas=2)
    gate = gates(cortexd)
    request = post(b"[" + b" " * 200_000 + b"]")
    writers = [cortexd.connect() for _ in range(10)]
    for i, connection in enumerate(writers):
        connection.send(request[: 10 + 20_000 * i])
    gate.start("long")
    with cortexd.connect() as connection:
        for _ in range(20):
            answer, seconds = timed(connection, 0)
            assert answer.status == 200 and seconds < 0.5
    for i, connection in enumerate(writers):
        connection.send(request[10 + 20_000 * i :])
    for connection in writers:
        assert connection.answer().status == 200
        connection.close()
    assert gate.end("long").status == 200


# --- the activator's life ---------------------------------------------------------------------------------------------
def activator(cortexd):
    (pid,) = (pid for pid, title in cortexd.family().items() if title.startswith("cortexd: activator"))
    return pid


def test_an_activator_that_dies_is_replaced_and_the_fast_path_goes_on(start, gates):
    cortexd = start(GATE, replicas=2)
    cortexd.expect_error("activator: died after .* killed by SIGKILL")
    clients = [cortexd.connect() for _ in range(20)]

    def all_on_the_fast_path():
        for connection in clients:
            assert connection.post("/d/a", 0).status == 200
        with Scoreboard(cortexd.pid) as board:
            return sum(slot[1] for slot in board.slots()) == len(clients)

    for i in range(3):
        wait_until(all_on_the_fast_path, "all connections are with replicas")
        first = activator(cortexd)
        os.kill(first, signal.SIGKILL)
        # Before that a replica that the machine holds up might still send it a connection.
        cortexd.wait_log("activator: died", count=i + 1)
        for _ in range(10):
            for connection in clients:
                assert connection.post("/d/a", 0).status == 200
        wait_until(lambda: any(t == "cortexd: activator (ready)" and p != first for p, t in cortexd.family().items()), "a new one")
        # And it does its work: a long prediction holds nobody up.
        gate = gates(cortexd)
        gate.start(f"long{first}", clients[0])
        for connection in clients[1:]:
            answer, seconds = timed(connection, 0)
            assert answer.status == 200 and seconds < 1
        assert gate.end(f"long{first}").status == 200
    for connection in clients:
        connection.close()


def test_what_the_activator_owned_is_lost_with_it_and_nothing_else(start, gates):
    cortexd = start(GATE)
    cortexd.expect_error("activator: died after .* killed by SIGKILL")
    gate = gates(cortexd)
    running = gate.start("long")
    with cortexd.connect() as waiting:
        waiting.send(post(0))
        with Scoreboard(cortexd.pid) as board:
            wait_until(board.waiting, "it waits")
            os.kill(activator(cortexd), signal.SIGKILL)
            assert waiting.closed()
            cortexd.wait_log("activator: ready", count=2)
            assert gate.end("long").status == 200
            assert running.post("/d/a", 0).status == 200
            assert cortexd.post(0).status == 200
            wait_until(lambda: board.connections() == 1, "the count of connections is right again")


def test_the_count_of_connections_is_right_again_when_replica_and_keeper_die_together(start):
    cortexd = start(GATE)
    cortexd.expect_error("died after .* killed by SIGKILL")
    clients = [cortexd.connect() for _ in range(10)]
    pid = {connection.post("/d/a", 0).json() for connection in clients}.pop()
    (keeper,) = (pid for pid, title in cortexd.family().items() if title.startswith("cortexd: keeper"))
    with Scoreboard(cortexd.pid) as board:
        assert board.connections() == 10
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: process_state(keeper) in (None, "Z"), "the keeper is dead")
        os.kill(pid, signal.SIGKILL)
        for connection in clients:
            assert connection.closed()
        wait_until(lambda: board.connections() == 0, "they are not counted any more")
    assert cortexd.post(0).json() != pid


def test_a_replica_shares_no_connection_that_is_about_to_leave(start, gates):
    """The activator sleeps with a request in its queue. So a connection whose prediction was just long enough is to leave, and
    before it has, the replica may want to give away what it has to one that is idle."""
    spin = GATE.replace("time.sleep(sample)", "end = time.monotonic() + sample\n            while time.monotonic() < end:\n                pass")
    cortexd = start(spin, replicas=2)
    gate = gates(cortexd)
    gate.start("a"), gate.start("b")
    with cortexd.connect() as queued, Scoreboard(cortexd.pid) as board:
        queued.send(post(0))
        wait_until(board.waiting, "it waits")
        sleeper = activator(cortexd)
        os.kill(sleeper, signal.SIGSTOP)
        for name in "ab":
            running = gate.open[name]
            gate.end(name)
            running.close()
        for attempt in range(60):
            clients = [cortexd.connect() for _ in range(4)]
            owners = [client.post("/d/a", 0).json() for client in clients]
            for client in [client for client, owner in zip(clients, owners) if owner != owners[0]]:
                clients.remove(client)
                client.close()
            leaving, *others = clients
            if others:
                others[0].send(post(0)[:20])
                time.sleep(0.02)  # the replica rests
                leaving.send(post(0.00093 + attempt % 16 * 1e-5))
                if select.select([leaving.socket], [], [], 0.05)[0]:  # else it left before its answer was written
                    assert leaving.answer().status == 200
            for client in clients:
                client.close()
        os.kill(sleeper, signal.SIGCONT)
        assert queued.answer().status == 200


def test_replicas_that_start_while_there_is_no_activator_get_to_know_the_next(start):
    cortexd = start(GATE, replicas=2)
    cortexd.expect_error("died after .* killed by SIGKILL")
    for pid in (activator(cortexd), *cortexd.replicas()):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: cortexd.get("/readyz").status == 200, "all are back")
    with cortexd.connect() as connection:
        assert connection.post("/d/a", 0.05).status == 200
        assert connection.post("/d/a", 0).status == 200


def limit_descriptors(cortexd, number):
    subprocess.run(["prlimit", f"--pid={cortexd.pid}", f"--nofile={number}:"], check=True)


def assert_connections_leave_a_long_prediction(cortexd, gate, name):
    """What waits for the replica is counted as waiting only when it is the activator that has it. The replica has its channel
    when a request that it sends there is answered: while it has none, its clients wait for its prediction."""
    with cortexd.connect() as other, Scoreboard(cortexd.pid) as board:
        assert other.request("GET", "/elsewhere").status == 404
        assert other.post("/d/a", 0).status == 200
        running = gate.start(name)
        other.send(post(0))
        wait_until(board.waiting, "it waits at the activator", patience=10)
        assert gate.end(name).status == 200
        assert other.answer().status == 200
        running.close()


def test_a_supervisor_without_descriptors_connects_all_when_it_has_some_again(start, gates):
    cortexd = start(GATE)
    cortexd.expect_any_error()
    limit_descriptors(cortexd, 5)
    os.kill(activator(cortexd), signal.SIGKILL)
    cortexd.wait_log("activator: cannot start: .*Too many open files")
    assert cortexd.post(0).status == 200
    limit_descriptors(cortexd, 1000)
    cortexd.wait_log("activator: ready", count=2)
    cortexd.wait_log("all replicas have their channels again")
    assert_connections_leave_a_long_prediction(cortexd, gates(cortexd), "long")


CUT = """\
    import os
    import socket
    import stat
    import time

    CONTROL = 3  # common/start_record.h


    def cut():
        for fd in map(int, os.listdir("/proc/self/fd")):
            try:
                if fd != CONTROL and stat.S_ISSOCK(os.fstat(fd).st_mode):
                    with socket.socket(fileno=os.dup(fd)) as some:
                        if some.type == socket.SOCK_SEQPACKET:
                            some.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


    def predict(sample, metadata):
        if sample == "cut":
            cut()
        elif isinstance(sample, str):
            open(sample + ".began", "a").write("x")
            while not os.path.exists(sample + ".end"):
                time.sleep(0.001)
        return os.getpid()
"""


def test_a_replica_that_loses_its_channel_gets_another(start, gates):
    cortexd = start(CUT)
    cortexd.expect_error("activator: died after .* killed by SIGKILL")
    (pid,) = cortexd.replicas()
    gate = gates(cortexd)
    for name in ("first", "second"):
        assert cortexd.post("cut").status == 200
        assert_connections_leave_a_long_prediction(cortexd, gate, name)
    assert cortexd.post("cut").status == 200
    os.kill(activator(cortexd), signal.SIGKILL)
    cortexd.wait_log("activator: ready", count=2)
    assert_connections_leave_a_long_prediction(cortexd, gate, "third")
    assert cortexd.replicas() == [pid]


def test_connections_are_counted_whatever_happens_to_the_next_activator(start):
    """At one of these limits its start fails when the replicas have their new channels already."""
    cortexd = start(GATE)
    cortexd.expect_any_error()
    clients = [cortexd.connect() for _ in range(20)]
    with Scoreboard(cortexd.pid) as board:
        for free in range(1, 8):
            for connection in clients:
                assert connection.post("/d/a", 0).status == 200
            wait_until(lambda: sum(slot[1] for slot in board.slots()) == len(clients), "the replica has them all")
            since = cortexd.log_size()
            limit_descriptors(cortexd, descriptors(cortexd.pid) + free)
            os.kill(activator(cortexd), signal.SIGKILL)
            cortexd.wait_log("activator: (cannot start|start failed|died .*exit code|ready)", since=since)
            assert board.connections() == len(clients)
            failed = "activator: cannot start: cannot make its start record" in cortexd.log()
            limit_descriptors(cortexd, 1000)
            cortexd.wait_log("activator: ready", since=since)
            assert board.connections() == len(clients)
            if failed:
                break
        assert failed
    for connection in clients:
        connection.close()


# --- unix sockets -----------------------------------------------------------------------------------------------------
def test_connections_of_a_unix_socket_move_too(start, gates, tmp_path):
    path = str(tmp_path / "s")
    cortexd = start(GATE, replicas=2, server=f"listen: [127.0.0.1:@PORT@, unix:{path}]")
    clients = [Connection(path=path) for _ in range(10)]
    for connection in clients:
        assert connection.post("/d/a", 0).status == 200
    gate = gates(cortexd)
    gate.start("long", clients.pop())
    for connection in clients:
        answer, seconds = timed(connection, 0)
        assert answer.status == 200 and seconds < 1
        connection.close()
    assert gate.end("long").status == 200
