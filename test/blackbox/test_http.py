"""HTTP as a client may speak it: what is allowed, what is too much, and what could be read in two ways."""
import json
import socket
import threading
import time

import pytest

ECHO = """\
    def predict(sample, metadata):
        return sample
"""
BIG = """\
    def predict(sample, metadata):
        return "x" * sample if isinstance(sample, int) else len(sample)
"""
POST = b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"


def post(body, extra=b""):
    return POST + extra + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


# --- keeping and ending a connection ----------------------------------------------------------------------------------
def test_a_connection_is_kept_for_many_requests(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        for i in range(200):
            answer = connection.post("/d/a", i)
            assert answer.json() == i
            assert answer.header("connection") is None
        assert connection.request("GET", "/healthz").json() == {"ok": True}
        assert connection.request("GET", "/nothing").status == 404
        assert connection.post("/d/a", b"{").status == 400
        assert connection.post("/d/a", "after errors").json() == "after errors"


def test_connection_close_is_obeyed(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        answer = connection.post("/d/a", 1, {"Connection": "close"})
        assert answer.status == 200 and answer.header("connection") == "close"
        assert connection.closed()


def test_http_1_0_closes_unless_asked_to_keep(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send(b"POST /d/a HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n7")
        assert connection.answer().json() == 7
        assert connection.closed()
    with cortexd.connect() as connection:
        for _ in range(3):
            connection.send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert connection.answer().header("connection") == "keep-alive"


def test_pipelined_requests_are_answered_in_order(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send(b"".join(post(b"%d" % i) for i in range(300)))
        assert [connection.answer().json() for _ in range(300)] == list(range(300))


def test_pipelining_mixes_methods_and_errors_of_predict(start):
    cortexd = start("def predict(sample, metadata):\n    return 1 / sample\n")
    cortexd.expect_error("prediction failed: .* division by zero")
    with cortexd.connect() as connection:
        connection.send(post(b"2") + b"HEAD /d/a HTTP/1.1\r\nHost: h\r\n\r\n" + post(b"0") + post(b"4"))
        assert connection.answer().json() == 0.5
        assert connection.answer(head=True).status == 200
        assert connection.answer().status == 406
        assert connection.answer().json() == 0.25


def test_a_client_that_ends_its_side_still_gets_its_answers(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send(post(b"1") + post(b"2"))
        connection.socket.shutdown(socket.SHUT_WR)
        # A request that comes to wait in the queue is probed with a 100, for its client may have left.
        assert [connection.final_answer().json() for _ in range(2)] == [1, 2]
        assert connection.closed()


def test_a_client_that_leaves_does_not_matter(start):
    cortexd = start(ECHO)
    for data in (b"", b"P", POST, post(b"1")[:-1], post(b"1"), post(b"1") * 50):
        with cortexd.connect() as connection:
            connection.send(data)
    assert cortexd.post("still there").json() == "still there"


def test_a_request_may_come_byte_by_byte(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        for byte in post(b'{"a": "b"}'):
            connection.send(bytes([byte]))
        assert connection.answer().json() == {"a": "b"}
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\n[1,\r\n2\r\n2]\r\n0\r\nTrailer: t\r\n\r\n"
        for byte in chunked:
            connection.send(bytes([byte]))
        assert connection.answer().json() == [1, 2]


def test_a_request_may_come_in_any_two_parts(start):
    cortexd = start(ECHO)
    request = post(b"[1]", b"X-Empty:\r\nX-Long: a b\tc \r\n")
    with cortexd.connect() as connection:
        for cut in range(1, len(request)):
            connection.send(request[:cut])
            connection.send(request[cut:])
            assert connection.answer().json() == [1]


# --- bodies -----------------------------------------------------------------------------------------------------------
def test_chunked_bodies(start):
    cortexd = start(ECHO)
    body = json.dumps({"text": "é" * 100_000}).encode()
    for size in (1 << 20, 4096, 37):
        chunks = [body[i : i + size] for i in range(0, len(body), size)]
        with cortexd.connect() as connection:
            connection.send(
                POST
                + b"Transfer-Encoding: chunked\r\n\r\n"
                + b"".join(b"%X\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
                + b"0\r\n\r\n"
                + post(b"2")
            )
            assert connection.answer().json() == json.loads(body)
            assert connection.answer().json() == 2


def test_expect_100_continue(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.answer().status == 100
        connection.send(b"[1]")
        assert connection.answer().json() == [1]
        connection.send(POST + b"Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n[2]")
        answer = connection.answer()
        assert (answer if answer.status == 200 else connection.answer()).json() == [2]


def test_expect_100_continue_with_curl(start):
    cortexd = start(ECHO)
    body = json.dumps("x" * 2_000_000)
    (cortexd.folder / "body.json").write_text(body)
    answer = cortexd.curl(
        "-H", "Expect: 100-continue", "-H", "Content-Type: application/json", "--data-binary", f"@{cortexd.folder}/body.json"
    )
    assert answer.text == body


def test_a_body_that_will_be_too_large_is_refused_before_it_is_sent(start):
    cortexd = start(ECHO, api="requests: {max_body_size: 1Ki}")
    with cortexd.connect() as connection:
        connection.send(POST + b"Expect: 100-continue\r\nContent-Length: 1025\r\n\r\n")
        assert connection.answer().status == 413
        assert connection.closed()


def test_another_expectation_is_417(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send(POST + b"Expect: magic\r\nContent-Length: 1\r\n\r\n1")
        assert connection.answer().status == 417


def test_max_body_size_is_exact(start):
    cortexd = start("def predict(sample, metadata):\n    return len(sample)\n", api="requests: {max_body_size: 1000}")
    fits, too_large = (json.dumps("x" * (size - 2)).encode() for size in (1000, 1001))
    assert len(fits) == 1000 and cortexd.post(fits).json() == 998
    with cortexd.connect() as connection:
        connection.send(post(too_large))
        answer = connection.answer()
        assert answer.status == 413 and answer.header("connection") == "close"
        assert connection.closed()
    for body, status in ((fits, 200), (too_large, 413)):
        with cortexd.connect() as connection:
            pieces = (body[i : i + 300] for i in range(0, len(body), 300))
            connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            connection.send_what_is_taken(b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n")
            assert connection.answer().status == status


def test_a_client_that_writes_on_still_reads_the_413(start):
    cortexd = start(ECHO, api="requests: {max_body_size: 1Ki}")
    with cortexd.connect() as connection:
        connection.send_what_is_taken(post(b"1" * 5_000_000))
        assert connection.answer().status == 413


def test_ten_megabytes_in_and_out(start):
    cortexd = start(ECHO)
    floats = [i / 7 for i in range(570_000)]
    body = json.dumps(floats).encode()
    assert len(body) > 10_000_000
    with cortexd.connect() as connection:
        assert connection.post("/d/a", body).json() == floats
        assert connection.post("/d/a", 1).json() == 1


def test_a_reader_that_takes_its_time_gets_all_of_it_and_holds_nobody_up(start):
    cortexd = start(BIG)
    size = 10_000_000
    with cortexd.connect(receive_buffer=4096) as slow:
        slow.send(post(b"%d" % size) + post(b"3"))
        slow.read_until(b"\r\n\r\n")
        for _ in range(50):  # the answer of the slow one is on its way, and the only replica serves others
            assert cortexd.post("abc").json() == 3
        assert slow.read_exactly(size + 2) == b'"' + b"x" * size + b'"'
        assert slow.answer().json() == "xxx"


def test_a_client_that_never_reads_while_it_sends_is_not_read_for_ever(start):
    cortexd = start("def predict(sample, metadata):\n    return 'x' * 100_000\n")
    with cortexd.connect(receive_buffer=4096) as connection:
        connection.socket.settimeout(2)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200_000_000:
                sent += connection.socket.send(post(b"1") * 1000)
        assert sent < 100_000_000
    assert cortexd.post(1).status == 200


# --- limits -----------------------------------------------------------------------------------------------------------
def test_a_request_target_has_a_limit(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        path = "/d/a?" + "x" * (8192 - 5)
        assert connection.post(path, 1).status == 200
        connection.send_what_is_taken(f"POST {path}x HTTP/1.1\r\nHost: h\r\n\r\n")
        assert connection.answer().status == 414
        assert connection.closed()


def test_a_target_without_end_is_414(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send_what_is_taken(b"GET /" + b"x" * 100_000)
        assert connection.answer().status == 414
        assert connection.closed()


def test_the_header_section_has_a_limit(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        assert connection.post("/d/a", 1, {"X": "y" * 30_000}).status == 200
    for fields in ([("X", "y" * 40_000)], [(f"X{i}", "y" * 1000) for i in range(40)]):
        with cortexd.connect() as connection:
            head = "POST /d/a HTTP/1.1\r\nHost: h\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n"
            connection.send_what_is_taken(head)
            assert connection.answer().status == 431
            assert connection.closed()


def test_the_number_of_header_fields_has_a_limit(start):
    cortexd = start(ECHO)
    for count, status in ((97, 200), (101, 431)):  # with Host, Content-Length and Content-Type
        with cortexd.connect() as connection:
            assert connection.post("/d/a", 1, [(f"X{i}", "y") for i in range(count)]).status == status


def test_a_head_that_does_not_come_ends_in_408(start):
    cortexd = start(ECHO)
    began = time.monotonic()
    with cortexd.connect() as silent, cortexd.connect() as slow:
        slow.send(b"GET /healthz HTTP/1.1\r\nHost:")
        assert slow.answer().status == 408
        assert slow.closed()
        assert 9 < time.monotonic() - began < 30
        assert silent.request("GET", "/healthz").status == 200  # an idle connection may be idle for longer


# --- smuggling: what could be read in two ways is refused, and nothing behind it is believed ---------------------------
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
AMBIGUOUS = {
    "length and chunked": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1",
    "two equal lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1",
    "list of lengths": POST + b"Content-Length: 1, 1\r\n\r\n1",
    "signed length": POST + b"Content-Length: +1\r\n\r\n1",
    "negative length": POST + b"Content-Length: -1\r\n\r\n1",
    "hexadecimal length": POST + b"Content-Length: 0x1\r\n\r\n1",
    "empty length": POST + b"Content-Length:\r\n\r\n1",
    "length with a tail": POST + b"Content-Length: 1a\r\n\r\n1",
    "length with a gap": POST + b"Content-Length: 1 1\r\n\r\n1",
    "huge length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n1",
    "space before the colon": POST + b"Content-Length : 1\r\n\r\n1",
    "folded length": POST + b"Content-Length:\r\n 1\r\n\r\n1",
    "folded header": POST + b"X: a\r\n b\r\nContent-Length: 1\r\n\r\n1",
    "header that begins with a space": b"POST /d/a HTTP/1.1\r\n X: y\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    "header without a colon": POST + b"Content-Length\r\n\r\n",
    "header without a name": POST + b": x\r\nContent-Length: 1\r\n\r\n1",
    "control character in a value": POST + b"X: a\x01b\r\nContent-Length: 1\r\n\r\n1",
    "NUL in a value": POST + b"X: a\x00b\r\nContent-Length: 1\r\n\r\n1",
    "NUL in a name": POST + b"X\x00: a\r\nContent-Length: 1\r\n\r\n1",
    "bare LF": POST.replace(b"\r\n", b"\n") + b"Content-Length: 1\n\n1",
    "one bare LF": POST + b"X: y\nContent-Length: 1\r\n\r\n1",
    "bare CR": POST + b"X: y\rContent-Length: 1\r\n\r\n1",
    "bare LF before the body": POST + b"Content-Length: 1\r\n\n1",
    "chunk size with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+1\r\n1\r\n0\r\n\r\n",
    "chunk size 0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\n1\r\n0\r\n\r\n",
    "chunk size that overflows": POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\n1\r\n0\r\n\r\n",
    "chunk longer than its size": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n12\r\n0\r\n\r\n",
    "chunk size empty": POST + b"Transfer-Encoding: chunked\r\n\r\n\r\n1\r\n0\r\n\r\n",
    "chunk ended by LF": POST + b"Transfer-Encoding: chunked\r\n\r\n1\n1\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "space in the target": b"GET /heal thz HTTP/1.1\r\nHost: h\r\n\r\n",
    "lower-case protocol": b"GET /healthz http/1.1\r\nHost: h\r\n\r\n",
    "not HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS hello\r\n\r\n",
    "unknown method": b"FLY /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "method in lower case": b"get /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
}
UNIMPLEMENTED = {
    "gzip": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
    "chunked with a trap": POST + b"Transfer-Encoding: xchunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
    "chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n1\r\n1\r\n0\r\n\r\n",
}


@pytest.fixture
def refused(start):
    """refused(request): the answer to it, after which the connection must end without looking at what follows."""
    cortexd = start(ECHO)

    def send(request):
        with cortexd.connect() as connection:
            connection.send_what_is_taken(request + SMUGGLED)
            answer = connection.answer()
            assert answer.header("connection") == "close"
            assert connection.closed()
        assert cortexd.post(1).json() == 1
        return answer

    send.cortexd = cortexd
    return send


def test_what_could_be_read_in_two_ways_is_400_and_the_end(refused):
    failures = []
    for name, request in AMBIGUOUS.items():
        try:
            answer = refused(request)
            assert answer.status == 400, answer
        except AssertionError as e:
            failures.append(f"{name}: {e}")
    assert not failures, "\n".join(failures)


def test_another_transfer_coding_is_refused_and_the_end(refused):
    failures = []
    for name, request in UNIMPLEMENTED.items():
        try:
            answer = refused(request)
            assert answer.status in (400, 501), answer
        except AssertionError as e:
            failures.append(f"{name}: {e}")
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("version", [" HTTP/2.0", " HTTP/3.0", " HTTP/0.9", " HTTP/9.9", ""])
def test_another_version_of_http_is_505_and_the_end(start, version):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send(f"GET /healthz{version}\r\nHost: h\r\n\r\n")
        assert connection.answer().status == 505
        assert connection.closed()


def test_the_preface_of_http_2_is_refused(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert connection.answer().status in (400, 505)
        assert connection.closed()


def test_an_upgrade_is_not_taken_and_the_request_is_answered(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        assert connection.request("GET", "/healthz", headers=headers).json() == {"ok": True}
        assert connection.post("/d/a", 3, {"Connection": "Upgrade", "Upgrade": "h2c"}).json() == 3
        assert connection.request("GET", "/healthz").status == 200
        connection.send(b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n")
        assert connection.answer().status in (400, 404, 405)


# --- targets ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/d/%61", "/%64/a", "/d%2Fa", "/d/a/", "/d/a?x=y", "/d/a?", "/d/a/?debug=false"])
def test_paths_are_compared_after_decoding(start, path):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        assert connection.post(path, 5).json() == 5


def test_an_absolute_target_means_its_path(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send(b"GET http://example.org/healthz HTTP/1.1\r\nHost: example.org\r\n\r\n")
        assert connection.answer().json() == {"ok": True}


@pytest.mark.parametrize("path", ["/d/%", "/d/%6", "/d/%zz", "/d/a%00", "d/a"])
def test_a_broken_target_is_400(start, path):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        connection.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
        assert connection.answer().status == 400


def test_options_for_the_server_as_a_whole(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        assert connection.request("OPTIONS", "*").status in (200, 204)


def test_a_preflight_names_the_methods_and_lets_the_post_follow(start):
    cortexd = start(ECHO)
    with cortexd.connect() as connection:
        headers = {
            "Origin": "https://example.org",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        answer = connection.request("OPTIONS", "/d/a", headers=headers)
        assert answer.status in (200, 204)
        assert answer.header("access-control-allow-origin") == "*"
        assert "POST" in answer.header("access-control-allow-methods")
        assert connection.post("/d/a", 1, {"Origin": "https://example.org"}).status == 200


# --- many at once -----------------------------------------------------------------------------------------------------
def test_a_thousand_idle_connections_do_not_slow_the_others(start):
    cortexd = start(ECHO)
    idle = [cortexd.connect() for _ in range(1000)]
    try:
        for _ in range(100):
            assert cortexd.post(1).json() == 1
        for connection in idle[::100]:
            assert connection.post("/d/a", 2).json() == 2
    finally:
        for connection in idle:
            connection.close()


def test_half_a_request_on_many_connections_holds_nobody_up(start):
    cortexd = start(ECHO)
    waiting = [cortexd.connect() for _ in range(200)]
    try:
        for connection in waiting:
            connection.send(post(b"[1]")[:-1])
        assert cortexd.post(1).json() == 1
        for connection in waiting:
            connection.send(b"]")
        assert all(connection.answer().json() == [1] for connection in waiting)
    finally:
        for connection in waiting:
            connection.close()


def test_clients_in_threads_each_get_their_own_answer(start):
    cortexd = start(ECHO, replicas=2)
    wrong = []

    def client(number):
        with cortexd.connect() as connection:
            for i in range(100):
                sample = [number, i]
                if connection.post("/d/a", sample).json() != sample:
                    wrong.append(sample)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
