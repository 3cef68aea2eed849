"""A replica that has done enough, or has grown too large, asks for a successor; between two requests, and once."""
import re
import threading

from client import Connection
from cortexd import wait_until

PREDICTOR = """\
    kept = []


    def predict(sample, metadata):
        kept.append(bytearray(sample * 2**20))
        return len(kept)
"""
ASKS = r"replica a/0: asks to be replaced: "


def test_after_its_last_request_a_replica_asks_to_be_replaced(start):
    cortexd = start(PREDICTOR, api="recycle: {max_requests: 5, jitter: 0%}")
    for _ in range(5):
        assert cortexd.post(0).status == 200
    cortexd.wait_log(ASKS + r"5 predictions made \(recycle\.max_requests\)")


def test_requests_in_one_packet_are_counted_as_well(start):
    """The replica serves them one after the other, without a turn of its loop between them."""
    cortexd = start(PREDICTOR, api="recycle: {max_requests: 3, jitter: 0%}")
    request = b"POST /d/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n0"
    with Connection(cortexd.port) as connection:
        connection.send(request * 8)
        assert [connection.answer().status for _ in range(8)] == [200] * 8
    cortexd.wait_log(ASKS + "3 predictions made")


def test_successors_come_first_and_no_request_is_lost(start):
    cortexd = start("import os\ndef predict(sample, metadata): return os.getpid()\n", api="recycle: {max_requests: 20}", replicas=2)
    seen, failed = set(), []

    def ask():
        with cortexd.connect() as connection:
            while len(seen) < 8 and not failed:
                answer = connection.post("/d/a", None)
                (seen.add(answer.json()) if answer.status == 200 else failed.append(answer.status))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    cortexd.wait_replicas(2)


def test_a_replica_that_grows_asks_to_be_replaced(start):
    cortexd = start(PREDICTOR, api="recycle: {max_mem: 384Mi}")

    def has_asked():
        return re.search(ASKS + r"\d+ KiB of memory, more than 393216 KiB \(recycle\.max_mem\)", cortexd.log())

    def grow():
        assert cortexd.post(32).status == 200
        return has_asked()

    assert cortexd.post(0).status == 200
    assert not has_asked()
    wait_until(grow, "it asks to be replaced")


def test_a_replica_that_is_large_from_the_start_is_not_replaced_for_that(start):
    cortexd = start(PREDICTOR, api="recycle: {max_mem: 1Mi}")
    cortexd.wait_log(r"warn\S* +replica a/0: \d+ KiB of memory before the first prediction, more than recycle\.max_mem, 1024 KiB")
    for n in range(1, 21):
        assert cortexd.post(0).json() == n
    cortexd.stop()
    assert "asks to be replaced" not in cortexd.log()
