"""Who waits, for whom, and how long: measured, not argued.

These tests have the machine for themselves. It is watched all the same: what falls into a moment in which a CPU was elsewhere
(its metronome missed a beat) says nothing about cortexd.
"""
import asyncio
import mmap
import os
import random
import struct
import subprocess
import sys
import time

import pytest

from cortexd import Scoreboard

pytestmark = [pytest.mark.once, pytest.mark.alone]

# --- the machine -------------------------------------------------------------------------------------------------------
METRONOME = """\
import os
import sys
import time

BEAT, LATE = 500_000, 1_500_000
os.sched_setaffinity(0, {int(sys.argv[1])})
print("ticks", flush=True)
last = time.monotonic_ns()
while True:
    time.sleep(BEAT / 1e9)
    now = time.monotonic_ns()
    if now - last > BEAT + LATE:
        print(last, now, flush=True)
    last = now
"""


class Metronomes:
    """One per CPU; they know when it did something else for a while (other processes, other machines)."""

    def __enter__(self):
        self.processes = [
            subprocess.Popen([sys.executable, "-c", METRONOME, str(cpu)], stdout=subprocess.PIPE, text=True)
            for cpu in os.sched_getaffinity(0)
        ]
        for process in self.processes:
            assert process.stdout.readline() == "ticks\n"
        return self

    def __exit__(self, *unused):
        for process in self.processes:
            process.terminate()
        self.away = []  # of each CPU
        for process in self.processes:
            lines = process.communicate()[0].splitlines()
            self.away.append([tuple(map(int, line.split())) for line in lines if line.count(" ") == 1])

    def were_late(self, begin, end):
        """In nanoseconds, on the CPU where it was the longest."""
        return max(sum(max(0, min(end, e) - max(begin, b)) for b, e in cpu) for cpu in self.away)


# --- no request waits while a replica of its api is idle ---------------------------------------------------------------
# Replicas write the begin and end of each prediction into shared memory, clients when they asked. A request is wronged when
# some replica was idle for more than the limit, in one go, while it waited.
LIMIT = 0.005
RECORD = struct.Struct("qqq")  # number of the request, begin, end, in nanoseconds of CLOCK_MONOTONIC
PER_REPLICA = 40_000
REPLICAS = 4

PREDICTOR = f"""\
    import mmap
    import os
    import struct
    import time

    RECORD = struct.Struct("qqq")


    def init(model_path, metadata):
        global memory, at, slot
        file = os.open("recorder", os.O_RDWR)
        memory = mmap.mmap(file, 0)
        os.close(file)
        # A place of its own for each replica: the first free one.
        for slot in range({REPLICAS}):
            try:
                os.close(os.open(f"slot{{slot}}", os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                continue
        at = slot * {PER_REPLICA} * RECORD.size


    def predict(sample, metadata):
        global at
        number, seconds = sample
        begin = time.monotonic_ns()
        if seconds:
            time.sleep(seconds)
        RECORD.pack_into(memory, at, number, begin, time.monotonic_ns())
        at += RECORD.size
"""


async def client(port, numbers, durations, asked, until):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        number = next(numbers)
        body = b"[%d, %f]" % (number, durations())
        asked[number] = time.monotonic_ns()
        writer.write(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head[9:12] == b"200", head
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        await asyncio.sleep(0)
    writer.close()


def heavy_tail(rng):
    """Most take nothing, some a few milliseconds, a few a fifth of a second."""

    def draw():
        x = rng.random()
        return 0 if x < 0.7 else min(0.2, 0.0007 * rng.paretovariate(0.9)) if x < 0.99 else 0.2

    return draw


def idle_times(predictions, begin, end):
    """Of one replica: between its predictions."""
    last = begin
    for _, b, e in sorted(predictions, key=lambda p: p[1]):
        if b > last:
            yield last, b
        last = max(last, e)
    if end > last:
        yield last, end


def measure_waiting(cortexd, clients):
    """(number of requests, how many of them waited beside an idle replica because this machine was busy)"""
    asked = {}
    rng = random.Random(clients)

    async def run():
        numbers = iter(range(1, 10**9))
        until = time.monotonic() + 5
        await asyncio.gather(*(client(cortexd.port, numbers, heavy_tail(rng), asked, until) for _ in range(clients)))

    with Metronomes() as metronomes:
        asyncio.run(run())
    with open(cortexd.folder / "recorder", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        size = len(memory) // REPLICAS
        by_replica = [[p for p in RECORD.iter_unpack(memory[i * size : (i + 1) * size]) if p[0]] for i in range(REPLICAS)]
    done = {number: begin for predictions in by_replica for number, begin, _ in predictions}
    assert set(done) == set(asked) and sum(map(len, by_replica)) == len(asked)  # each once
    for predictions in by_replica:  # one at a time
        ordered = sorted(predictions, key=lambda p: p[1])
        assert all(a[2] <= b[1] for a, b in zip(ordered, ordered[1:]))
    first, last = min(asked.values()), max(e for predictions in by_replica for _, _, e in predictions)
    idle = sorted(span for p in by_replica for span in idle_times(p, first, last) if span[1] - span[0] > LIMIT * 1e9)
    wronged, excused = [], 0
    for number, begin in asked.items():
        if done[number] - begin <= LIMIT * 1e9:
            continue
        for b, e in idle:
            overlap = min(e, done[number]) - max(b, begin)
            if overlap <= LIMIT * 1e9:
                continue
            if overlap - metronomes.were_late(max(b, begin), min(e, done[number])) > LIMIT * 1e9:
                wronged.append((number, overlap / 1e6))
            else:
                excused += 1
    assert not wronged, f"{len(wronged)} of {len(asked)} requests, (number, ms): {wronged[:10]}"
    assert os.path.exists(cortexd.folder / f"slot{REPLICAS - 1}")
    return len(asked), excused


@pytest.mark.parametrize("clients", [3, 16, 64])
def test_no_request_waits_while_a_replica_is_idle(start, clients):
    """Says something only when this machine was ours: measured again when more than one request in a hundred had to be excused."""
    for _ in range(5):
        files = {"predictor.py": PREDICTOR, "recorder": b"\0" * (REPLICAS * PER_REPLICA * RECORD.size)}
        cortexd = start(files, replicas=REPLICAS, server="log: {level: warning}")
        asked, excused = measure_waiting(cortexd, clients)
        assert asked > 1000
        if excused < asked / 100:
            return
        cortexd.stop()
        for place in cortexd.folder.glob("slot*"):
            place.unlink()
    pytest.fail("this machine was never quiet enough to tell")


SLEEPER = """\
    import time


    def predict(sample, metadata):
        if sample:
            time.sleep(sample)
        return sample
"""


async def ask(stream, seconds):
    reader, writer = stream
    body = b"%f" % seconds
    writer.write(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head[9:12] == b"200", head
    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))


# --- fairness ---------------------------------------------------------------------------------------------------------
def test_a_replica_that_its_own_clients_keep_busy_does_not_starve_others(start):
    """Two replicas: one in a long prediction, the other saturated by eight clients with 1 ms each. Now and then four more come,
    on old connections and on new ones: their turn comes after those eight, not later."""
    cortexd = start(SLEEPER, replicas=2, server="log: {level: warning}")
    waits = []

    async def run():
        over = False
        streams = [await asyncio.open_connection("127.0.0.1", cortexd.port) for _ in range(13)]
        for stream in streams:
            await ask(stream, 0)

        async def saturate(stream):
            while not over:
                await ask(stream, 0.001)

        async def come_now_and_then(stream, rng):
            for i in range(60):
                await asyncio.sleep(rng.uniform(0.001, 0.03))
                if i % 2:
                    stream[1].close()
                    stream = await asyncio.open_connection("127.0.0.1", cortexd.port)
                begin = time.monotonic_ns()
                await ask(stream, 0)
                waits.append((begin, time.monotonic_ns()))

        long = asyncio.create_task(ask(streams[0], 2.5))
        busy = [asyncio.create_task(saturate(stream)) for stream in streams[1:9]]
        await asyncio.gather(*(come_now_and_then(streams[9 + i], random.Random(i)) for i in range(4)))
        over = True
        assert not long.done()  # it was there all the time
        await asyncio.gather(long, *busy)

    with Metronomes() as metronomes:
        asyncio.run(run())
    wronged = [(e - b) / 1e6 for b, e in waits if e - b - metronomes.were_late(b, e) > 20e6]
    assert len(waits) == 240 and not wronged, f"waited for (ms): {wronged}"


# --- new connections --------------------------------------------------------------------------------------------------
def test_a_new_connection_is_taken_while_all_replicas_are_in_long_predictions(start):
    """Who is in the queue makes replicas go from one long prediction to the next; somebody must always listen meanwhile."""
    cortexd = start(SLEEPER, replicas=4, server="log: {level: warning}")
    waits = []

    async def run():
        over = False
        streams = [await asyncio.open_connection("127.0.0.1", cortexd.port) for _ in range(16)]

        async def saturate(stream):
            while not over:
                await ask(stream, 0.3)

        busy = [asyncio.create_task(saturate(stream)) for stream in streams]
        await asyncio.sleep(1)
        end = time.monotonic() + 8
        while time.monotonic() < end:
            begin = time.monotonic_ns()
            reader, writer = await asyncio.open_connection("127.0.0.1", cortexd.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await reader.readuntil(b"\r\n"))[9:12] == b"200"
            waits.append((begin, time.monotonic_ns()))
            writer.close()
            await asyncio.sleep(0.003)
        over = True
        await asyncio.gather(*busy)

    with Metronomes() as metronomes:
        asyncio.run(run())
    wronged = [(e - b) / 1e6 for b, e in waits if e - b - metronomes.were_late(b, e) > 50e6]
    assert len(waits) > 500 and not wronged, f"of {len(waits)} waited for (ms): {wronged}"


# --- settling ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("clients", [8, 64])
@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_after_a_long_prediction_all_connections_are_back_on_the_fast_path(start, replicas, clients):
    """Clients that ask all the time; one of them asks for 0.2 s. Soon after, the activator has nothing to do any more."""
    cortexd = start(SLEEPER, replicas=replicas, server="log: {level: warning}")
    settled = []

    async def run():
        over = False
        streams = [await asyncio.open_connection("127.0.0.1", cortexd.port) for _ in range(clients)]

        async def keep_asking(stream):
            while not over:
                await ask(stream, 0)

        tasks = [asyncio.create_task(keep_asking(stream)) for stream in streams[1:]]
        for _ in range(5):
            await asyncio.sleep(0.2)
            await ask(streams[0], 0.2)
            began = time.monotonic()
            with Scoreboard(cortexd.pid) as board:
                # The one that slept is idle and may still be with the activator: its next request brings it back.
                await ask(streams[0], 0)
                while sum(slot[1] for slot in board.slots()) < clients:
                    assert time.monotonic() - began < 10, "never settles"
                    await asyncio.sleep(0.001)
            settled.append(time.monotonic() - began)
        over = True
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert sorted(settled)[len(settled) // 2] < 0.1, settled
