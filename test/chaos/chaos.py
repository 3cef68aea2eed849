#!/usr/bin/env python3
"""chaos - many clients, some of them rude, and processes that die at random; every answer must be the right one.

    test/chaos/chaos.py [--seconds 60] [--seed N] [--victims replicas|activator] [--build build/release]

Two apis with two replicas each. Clients send requests with a nonce, on kept-alive connections, pipelined, in slow pieces,
with bodies of all sizes, and check that each answer is their own, comes once, and in order; some clients leave in the middle.
Meanwhile processes get SIGKILL, SIGSEGV, SIGSTOP and SIGCONT. Replicas write down each prediction that they begin.

With replicas as victims: every request that was sent whole is answered: 200, or 500 if its prediction was running in a
replica that was killed; nothing is predicted twice; no connection is lost, but for one whose answer was just being written
when its replica was killed. With the activator as the victim connections may
be lost, because it owned them; what is answered is still right and nothing is predicted twice. At the end everything must be
at rest: no descriptor and no connection left over, replicas idle.
"""
import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "blackbox"))

PREDICTOR = """\
import hashlib
import os
import time

log = os.open(".begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def predict(sample, metadata):
    os.write(log, (sample["nonce"] + "\\n").encode())
    if "sleep" in sample:
        time.sleep(sample["sleep"])
    if "spin" in sample:
        end = time.thread_time() + sample["spin"]
        while time.thread_time() < end:
            pass
    return {"nonce": sample["nonce"], "api": metadata["api"], "length": len(sample["filler"]), "big": "y" * sample["answer"]}
"""

API = """\
- kind: api
  name: {name}
  endpoint: /{name}
  predictor: {{path: predictor.py, metadata: {{api: {name}}}}}
  compute: {{min_replicas: 2, max_replicas: 2}}
  requests: {{max_queue_length: 10000, timeout: 120s}}
"""


class Wrong(Exception):
    pass


class CutOff(ConnectionError):
    """The connection ended in the middle of an answer."""


class Run:
    def __init__(self, options, cortexd):
        self.options = options
        self.cortexd = cortexd
        self.random = random.Random(options.seed)
        self.over = False
        self.counts = Counter()
        self.kills = 0
        self.wrong = []
        self.abandoned = set()  # nonces of requests whose client did not wait
        self.answered = set()

    # --- requests ---------------------------------------------------------------------------------------------------------
    def request(self, rng):
        """The bytes of a request, and what its answer must be."""
        nonce = f"{rng.getrandbits(64):016x}"
        api = rng.choice(("one", "two"))
        filler = "x" * rng.choice((0, 0, 0, 0, 10, 100, 5_000, 20_000, 70_000, 300_000))
        answer = rng.choice((0, 0, 0, 0, 1_000, 50_000, 2_000_000))
        sample = {"nonce": nonce, "filler": filler, "answer": answer}
        kind = rng.random()
        if kind < 0.1:
            sample["sleep"] = rng.choice((0.0005, 0.002, 0.005, 0.02, 0.2))
        elif kind < 0.15:
            sample["spin"] = rng.choice((0.0005, 0.002, 0.004))
        body = json.dumps(sample).encode()
        head = f"POST /{api} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        if rng.random() < 0.2:
            pieces = []
            while body:
                n = rng.choice((1, 10, 1000, 100_000))
                pieces.append(b"%x\r\n%s\r\n" % (len(body[:n]), body[:n]))
                body = body[n:]
                if len(pieces) > 50:
                    pieces.append(b"%x\r\n%s\r\n" % (len(body), body) if body else b"")
                    break
            text = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(pieces) + b"0\r\n\r\n"
        else:
            text = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        return nonce, text, {"nonce": nonce, "api": api, "length": len(filler), "big": "y" * answer}

    async def read_answer(self, reader):
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        try:
            return status, await reader.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError) as e:
            raise CutOff from e

    def check(self, nonce, expected, status, body):
        self.counts[status] += 1
        if nonce in self.answered:
            raise Wrong(f"{nonce} was answered twice")
        self.answered.add(nonce)
        if status == 500:
            if json.loads(body) != {"error": "the replica died while it ran this prediction"}:
                raise Wrong(f"500 to {nonce}: {body[:200]!r}")
        elif status != 200:
            raise Wrong(f"{status} to {nonce}: {body[:200]!r}")
        elif json.loads(body) != expected:
            raise Wrong(f"the answer to {nonce} is {body[:200]!r}")

    # --- clients ----------------------------------------------------------------------------------------------------------
    async def send(self, writer, text, rng, slow):
        if not slow:
            writer.write(text)
            await writer.drain()
            return
        at = 0
        while at < len(text):
            n = rng.choice((1, 7, 100, 5000, 100_000))
            writer.write(text[at : at + n])
            await writer.drain()
            at += n
            await asyncio.sleep(rng.choice((0, 0, 0.001, 0.02)))

    async def converse(self, rng):
        """One connection: batches of pipelined requests, until its life is over."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.cortexd.port, limit=1 << 26)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting, sending = [], None
        try:
            for _ in range(rng.choice((1, 3, 10, 100, 1000))):
                if self.over:
                    break
                batch = [self.request(rng) for _ in range(rng.choice((1, 1, 1, 1, 2, 5)))]
                waiting = [(nonce, expected) for nonce, _, expected in batch]
                if rng.random() < 0.02:  # leave in the middle
                    self.abandoned.update(nonce for nonce, _ in waiting)
                    waiting = []
                    text = b"".join(text for _, text, _ in batch)
                    writer.write(text[: rng.randrange(len(text))])
                    if rng.random() < 0.5:
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    self.counts["left"] += 1
                    return
                sending = asyncio.create_task(
                    self.send(writer, b"".join(text for _, text, _ in batch), rng, rng.random() < 0.1)
                )
                while waiting:
                    if rng.random() < 0.02:
                        await asyncio.sleep(0.05)  # a slow reader
                    status, body = await self.read_answer(reader)
                    nonce, expected = waiting.pop(0)
                    self.check(nonce, expected, status, body)
                await sending
            if reader._buffer:
                raise Wrong(f"bytes that nobody asked for: {bytes(reader._buffer[:200])!r}")
        except (ConnectionError, asyncio.IncompleteReadError) as e:
            self.counts["lost"] += 1
            self.abandoned.update(nonce for nonce, _ in waiting)
            self.counts["cut off"] += isinstance(e, CutOff)
            if self.options.victims != "activator" and not isinstance(e, CutOff):
                raise Wrong(f"a connection was lost with {len(waiting)} requests: {e!r}") from None
        finally:
            sending and sending.cancel()
            writer.close()

    async def client(self, number):
        rng = random.Random(self.options.seed * 1000 + number)
        while not self.over:
            try:
                await self.converse(rng)
            except Wrong as e:
                self.wrong.append(str(e))
            except OSError as e:
                self.wrong.append(f"cannot connect: {e}")
                await asyncio.sleep(0.1)

    # --- victims ----------------------------------------------------------------------------------------------------------
    def pids(self, role):
        return [pid for pid in self.cortexd.children() if title(pid).startswith(f"cortexd: {role} ")]

    async def killer(self):
        rng = random.Random(self.options.seed)
        role = "activator" if self.options.victims == "activator" else "replica"
        while not self.over:
            await asyncio.sleep(rng.choice((0.01, 0.1, 0.3, 1)))
            pids = [pid for pid in self.pids(role) if "(ready)" in title(pid)]
            if not pids:
                continue
            pid, act = rng.choice(pids), rng.choice(("kill", "kill", "segv", "stop"))
            try:
                if act == "stop" and role == "replica":
                    os.kill(pid, signal.SIGSTOP)
                    await asyncio.sleep(rng.choice((0.001, 0.01, 0.3)))
                    end = rng.choice((signal.SIGCONT, signal.SIGCONT, signal.SIGKILL))
                    os.kill(pid, end)
                    self.counts["stopped"] += 1
                    self.kills += end == signal.SIGKILL
                else:
                    os.kill(pid, signal.SIGSEGV if act == "segv" else signal.SIGKILL)
                    self.kills += 1
            except ProcessLookupError:
                continue
        for pid in self.pids(role):
            os.kill(pid, signal.SIGCONT)

    async def go(self):
        tasks = [asyncio.create_task(self.client(number)) for number in range(self.options.clients)]
        killer = asyncio.create_task(self.killer())
        begin = time.monotonic()
        while time.monotonic() - begin < self.options.seconds and not self.wrong:
            await asyncio.sleep(0.5)
            if sys.stderr.isatty():
                print(f"\r{time.monotonic() - begin:5.0f} s  {dict(self.counts)}  {self.kills} kills ", end="", file=sys.stderr)
        self.over = True
        await killer
        done, pending = await asyncio.wait(tasks, timeout=60)
        for task in done:
            if task.exception():
                self.wrong.append(f"client: {task.exception()!r}")
        if pending:
            self.wrong.append(f"{len(pending)} clients still wait for answers")
            for task in pending:
                task.cancel()


def title(pid):
    from cortexd import process_title

    return process_title(pid)


def check_predictions(run, folder):
    """Nothing was begun twice, and whatever was answered with 200 was begun."""
    begun = Counter((folder / ".begun").read_text().split())
    twice = [nonce for nonce, count in begun.items() if count > 1]
    if twice:
        run.wrong.append(f"predicted twice: {twice[:5]}")
    if run.options.victims != "activator" and run.counts[500] + run.counts["cut off"] > run.kills:
        run.wrong.append(f"{run.counts[500]} answers 500 and {run.counts['cut off']} cut off for {run.kills} kills")


def check_deaths(run):
    """Nobody died who was not killed."""
    deaths = re.findall(r"\S+: died after .*", run.cortexd.log())
    if len(deaths) > run.kills:
        run.wrong.append(f"{len(deaths)} deaths for {run.kills} kills; the last: {deaths[-1]}")


def check_rest(run):
    from cortexd import Scoreboard, descriptors, wait_until

    cortexd = run.cortexd
    wait_until(lambda: len(cortexd.replicas()) == 4, "all replicas are back")
    with Scoreboard(cortexd.pid) as board:
        few = 200 if run.options.victims == "activator" else 0  # those that were on their way to one that died
        try:
            wait_until(lambda: abs(board.connections()) <= few, "no connection is left", patience=20)
        except AssertionError as e:
            raise AssertionError(f"{e}, but {board.connections()}") from None
        wait_until(lambda: not any(slot[1] for api in (0, 1) for slot in board.slots(api)), "no replica has a connection")
        wait_until(lambda: all(slot[0] == "idle" for api in (0, 1) for slot in board.slots(api)), "all replicas are idle")
        wait_until(lambda: not board.waiting(0) and not board.waiting(1), "no queue")
    # The supervisor holds what it held at first; whoever was born since has nothing of the past.
    wait_until(lambda: len(run.pids("activator")) == 1, "the activator is back")
    (activator,) = run.pids("activator")
    for pid, most in [(cortexd.pid, cortexd.base_descriptors), (activator, 40), *((pid, 40) for pid in cortexd.replicas())]:
        wait_until(lambda pid=pid, most=most: descriptors(pid) <= most, f"{title(pid)} has at most {most} descriptors")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_cortexd(tmp_path):
    """One to be started, with the files of its project in a folder of tmp_path."""
    import cortexd as harness

    def write(files, folder=None):
        folder = Path(folder or tmp_path / "project")
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            whole = folder / f".{name}.new"  # a replica may be reading it
            whole.write_text(content)
            whole.replace(folder / name)
        return folder

    return harness.Cortexd(write, tmp_path, free_port(), harness.BUILD / "bin" / "cortexd", 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--victims", choices=("replicas", "activator", "nobody"), default="replicas")
    parser.add_argument("--build", default=os.environ.get("CORTEXD_BUILD", "build/release"))
    options = parser.parse_args()
    os.environ["CORTEXD_BUILD"] = options.build
    # A sanitizer takes a SIGSEGV for its own finding. Here it is one only if we did not send it: see check_deaths.
    os.environ["ASAN_OPTIONS"] = f"{os.environ.get('ASAN_OPTIONS', '')}:handle_segv=0"

    with tempfile.TemporaryDirectory(prefix="cortexd-chaos-") as temporary:
        cortexd = make_cortexd(Path(temporary))
        config = API.format(name="one") + API.format(name="two")
        config += f"- kind: server\n  listen: 127.0.0.1:{cortexd.port}\n  log: {{level: warning}}\n"
        cortexd.start({"predictor.py": PREDICTOR, "cortex.yaml": config}, replicas=4)
        cortexd.expect_any_error()
        run = Run(options, cortexd)
        try:
            asyncio.run(run.go())
            if not run.wrong:
                check_predictions(run, cortexd.folder)
                check_deaths(run)
                check_rest(run)
        except AssertionError as e:
            run.wrong.append(str(e))
        finally:
            run.wrong.extend(cortexd.end())
        answers = sum(count for status, count in run.counts.items() if isinstance(status, int))
        print(f"\nseed {options.seed}: {answers} answers, {dict(run.counts)}, {run.kills} kills of {options.victims}")
        if run.wrong:
            print("\n".join(run.wrong[:20]))
            print(cortexd.log()[-6000:])
            return 1
    print("1 passed in 0.0s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
