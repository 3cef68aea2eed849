"""Many requests: all answered, memory flat, one prediction at a time."""
import asyncio
import os
import signal
from pathlib import Path

import pytest

from cortexd import memory_kib

CLIENTS = 64
REQUESTS = 100_000

PREDICTOR = """\
    import threading

    lock = threading.Lock()


    def predict(sample, metadata):
        if not lock.acquire(blocking=False):
            raise RuntimeError("two predictions at once")
        try:
            return sample["sepal_length"] > 5
        finally:
            lock.release()
"""
BODY = b'{"sepal_length": 5.2, "sepal_width": 3.6, "petal_length": 1.5, "petal_width": 0.3}'
REQUEST = b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Client(asyncio.Protocol):
    """One kept-alive connection that sends the next request when the answer to the last one is complete."""

    def __init__(self, count, done):
        self.left = count
        self.done = done
        self.buffer = b""
        self.answers = {}

    def connection_made(self, transport):
        self.transport = transport
        self.transport.write(REQUEST)

    def data_received(self, data):
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(rest) < length:
            return
        answer = head[9:12] + b" " + rest[:length]
        self.answers[answer] = self.answers.get(answer, 0) + 1
        self.buffer = rest[length:]
        self.left -= 1
        if self.left:
            self.transport.write(REQUEST)
        else:
            self.transport.close()

    def connection_lost(self, error):
        if not self.done.done():
            self.done.set_result(self.answers)


async def load(port, clients, requests):
    """Answers by "status body", counted."""
    loop = asyncio.get_running_loop()
    waiting = []
    for i in range(clients):
        done = loop.create_future()
        count = requests // clients + (i < requests % clients)
        await loop.create_connection(lambda count=count, done=done: Client(count, done), "127.0.0.1", port)
        waiting.append(done)
    total = {}
    for answers in await asyncio.gather(*waiting):
        for answer, count in answers.items():
            total[answer] = total.get(answer, 0) + count
    return total


@pytest.mark.once
def test_a_hundred_thousand_requests_are_answered_with_flat_memory(start):
    cortexd = start(PREDICTOR, replicas=2, server="log: {level: warning}")
    pids = [cortexd.pid, *cortexd.replicas()]
    assert asyncio.run(load(cortexd.port, CLIENTS, 20_000)) == {b"200 true": 20_000}
    before = [memory_kib(pid) for pid in pids]
    assert asyncio.run(load(cortexd.port, CLIENTS, REQUESTS)) == {b"200 true": REQUESTS}
    after = [memory_kib(pid) for pid in pids]
    assert all(a <= b + 512 for a, b in zip(after, before)), (before, after)
    assert [cortexd.pid, *cortexd.replicas()] == pids


def test_many_clients_that_come_and_go(start):
    cortexd = start(PREDICTOR, replicas=2)
    for _ in range(5):
        assert asyncio.run(load(cortexd.port, CLIENTS, 10 * CLIENTS)) == {b"200 true": 10 * CLIENTS}


def clients_of(pid, port):
    """How many connections to the port a process holds."""
    inodes = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[1].endswith(f":{port:04X}") and fields[3] == "01"
    }
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    return sum(link.startswith("socket:[") and link[8:-1] in inodes for link in links)


def test_a_replica_that_dies_under_load_costs_only_its_own_connections(start):
    cortexd = start(PREDICTOR, replicas=2)
    cortexd.expect_error("killed by SIGKILL")

    async def run():
        task = asyncio.create_task(load(cortexd.port, 8, 8000))
        while cortexd.log().count("200 POST") < 100:
            await asyncio.sleep(0.01)
        fewer, more = sorted(cortexd.replicas(), key=lambda pid: clients_of(pid, cortexd.port))
        survivors = clients_of(more, cortexd.port)
        os.kill(fewer, signal.SIGKILL)
        return survivors, await task

    survivors, answers = asyncio.run(run())
    assert survivors >= 4
    assert set(answers) == {b"200 true"}
    assert answers[b"200 true"] >= 1000 * survivors
    cortexd.wait_replicas(2)
