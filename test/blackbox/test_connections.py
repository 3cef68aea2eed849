"""What becomes of connections in unusual company: a drain, a full process, much read ahead, forked children."""
import os
import select
import signal
import threading
import time

import pytest

from cortexd import PREDICTOR, wait_until

POST = b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nnull"
GATE = """\
    import os
    import time


    def predict(sample, metadata):
        if sample:
            open("begun", "w").close()
            while not os.path.exists("end"):
                time.sleep(0.01)
        return os.getpid()
"""


# --- a drain ----------------------------------------------------------------------------------------------------------
def test_a_drain_answers_what_has_arrived_on_many_idle_connections(start):
    cortexd = start(GATE, api="requests: {max_queue_length: 300}")
    clients = [cortexd.connect() for _ in range(300)]
    try:
        for connection in clients:
            assert connection.post("/d/a", None).status == 200
        first = clients.pop()
        first.send(POST.replace(b"null", b"true"))
        wait_until((cortexd.folder / "begun").exists, "the prediction has begun")
        replica = cortexd.replicas()[0]
        cortexd.expect_error("exit code 0 without being told to stop")
        os.kill(replica, signal.SIGTERM)
        for connection in clients:
            connection.send(POST)
        (cortexd.folder / "end").touch()
        assert first.answer().status == 200
        for connection in clients:
            assert connection.answer().status == 200
            assert connection.post("/d/a", None).status == 200  # by the next replica
        first.close()
        cortexd.wait_log("exit code 0 without being told to stop")
    finally:
        for connection in clients:
            connection.close()


def test_a_drain_ends_a_connection_whose_last_answer_was_still_being_read(start):
    cortexd = start('def predict(sample, metadata):\n    return "x" * (30 << 20)\n')
    with cortexd.connect(receive_buffer=65536) as connection:
        connection.send(POST)
        assert connection.more()
        cortexd.signal()
        cortexd.wait_log(r"replica a/0: draining")
        assert len(connection.answer().body) == (30 << 20) + 2
        assert connection.closed()
        began = time.monotonic()
        assert cortexd.wait_exit() == 0
        assert time.monotonic() - began < 15  # much less than --stop-timeout


# --- reading ahead ----------------------------------------------------------------------------------------------------
def test_all_that_was_read_ahead_behind_a_large_body_is_answered(start):
    predictor = """\
        import os
        import time


        def predict(sample, metadata):
            while not os.path.exists("end"):
                time.sleep(0.01)
            return len(sample)
    """
    cortexd = start(predictor)
    body = b'"' + b"x" * (30 << 20) + b'"'
    count = 50000
    with cortexd.connect() as connection:
        connection.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        sender = threading.Thread(target=connection.send, args=(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" * count,))
        sender.start()
        sender.join(timeout=1)
        (cortexd.folder / "end").touch()
        assert connection.answer().json() == 30 << 20
        for _ in range(count):
            assert connection.answer().status == 200
        sender.join()


@pytest.mark.parametrize("end", [b"0\r\n\n", b"0\r\nA: b\r\n\n"])
def test_a_bare_line_feed_does_not_end_a_chunked_body(start, end):
    cortexd = start(PREDICTOR)
    with cortexd.connect() as connection:
        connection.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n" + end + POST)
        assert connection.answer().status == 400
        assert connection.closed()


# --- fairness ---------------------------------------------------------------------------------------------------------
SLOW = """\
    import time


    def predict(sample, metadata):
        if isinstance(sample, int):
            return "x" * sample
        time.sleep(0.02)
"""


def test_a_request_behind_an_answer_that_took_its_time_waits_its_turn(start):
    cortexd = start(SLOW)
    large = POST.replace(b"4\r\n\r\nnull", b"8\r\n\r\n20000000")
    with cortexd.connect(receive_buffer=65536) as reader:
        reader.send(large + POST)
        assert reader.more()
        others = [cortexd.connect() for _ in range(3)]
        for connection in others:
            connection.send(POST * 100)
        assert len(reader.answer().body) == 20000002
        assert reader.answer().json() is None
        for connection in others:
            assert [connection.answer().json() for _ in range(100)] == [None] * 100
            connection.close()


def test_clients_that_keep_the_loop_busy_do_not_keep_predictions_from_running(start):
    cortexd = start(SLOW)
    over = threading.Event()
    ask = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"

    def hammer():
        with cortexd.connect() as connection:
            while not over.is_set():
                connection.send(ask * 200)
                for _ in range(200):
                    connection.answer()

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        clients = [cortexd.connect() for _ in range(4)]
        for connection in clients:
            connection.send(POST * 10)
        for connection in clients:
            assert [connection.answer().json() for _ in range(10)] == [None] * 10
            connection.close()
    finally:
        over.set()
        for thread in threads:
            thread.join()


# --- a full process ---------------------------------------------------------------------------------------------------
def test_beyond_the_limit_connections_wait_until_others_end(start):
    cortexd = start(PREDICTOR, replicas=2, descriptor_limit=600)
    limit = 600 - 256  # http/limits.h: HTTP_RESERVED_FDS
    held = []
    try:
        for _ in range(limit):
            held.append(cortexd.connect())
            assert held[-1].post("/d/a", None).status == 200
        waiting = [cortexd.connect() for _ in range(20)]
        for connection in waiting:
            connection.send(POST)
        cortexd.wait_log("cannot accept connections for a moment")
        for connection in held:
            assert connection.post("/d/a", None).status == 200
        assert not any(select.select([connection.socket], [], [], 0)[0] for connection in waiting)
        for connection in held[:20]:
            connection.close()
        for connection in waiting:
            assert connection.answer().status == 200
            connection.close()
    finally:
        for connection in held:
            connection.close()


# --- forked children --------------------------------------------------------------------------------------------------
def test_a_child_of_a_forked_child_keeps_the_descriptors_of_its_parent(start):
    predictor = """\
        import os


        def child(answer):
            files = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)]
            pid = os.fork()
            if pid == 0:
                missing = [fd for fd in files if not os.path.exists(f"/proc/self/fd/{fd}")]
                os.write(answer, repr(missing).encode())
                os._exit(0)
            os.waitpid(pid, 0)


        def predict(sample, metadata):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                child(writing)
                os._exit(0)
            os.close(writing)
            os.waitpid(pid, 0)
            with open(reading) as pipe:
                return pipe.read()
    """
    cortexd = start(predictor)
    with cortexd.connect() as connection:
        assert [connection.post("/d/a", 1).json() for _ in range(3)] == ["[]"] * 3


def test_a_forked_child_that_returns_from_init_ends_quietly(start):
    predictor = """\
        import os


        def init(model_path, metadata):
            global child
            child = os.fork()


        def predict(sample, metadata):
            return os.waitpid(child, 0)[1]
    """
    cortexd = start(predictor)
    assert cortexd.post(None).json() == 0


# --- white space ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("space", ["", " ", "\t", " \t "])
def test_white_space_around_a_field_value_is_no_part_of_it(start, space):
    cortexd = start(PREDICTOR)
    spaces = " " * len(space)  # llhttp refuses a tab behind what frames the message, which errs on the safe side
    with cortexd.connect() as connection:
        connection.send(
            f"POST /d/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked{spaces}\r\nExpect:{space}100-continue{space}\r\n"
            f"Content-Type:{space}application/json{space}\r\nX-Empty:{space}\r\n\r\n"
        )
        assert connection.answer().status == 100
        connection.send("1\r\n7\r\n0\r\n\r\n")
        assert connection.answer().json() == 7
