#!/usr/bin/env python3
"""reloads - one reload after the other under an open loop of requests, none of which may fail.

    test/chaos/reloads.py [--seconds 60] [--seed N] [--rate 500] [--build build/release]

Requests are due at a fixed rate, whatever becomes of those before them: half of them on kept-alive connections, half each on
one of its own. Meanwhile the project changes and is reloaded, in all ways that there are: good code, bad code, no code; slow
code that is waited for, or overtaken by the next reload; another endpoint, count, timeout or address; an api that comes and
goes; nothing at all. In the second half of the time random replicas are killed as well.

Every request is answered once, with its own nonce, and predicted at most once. An endpoint and an address that are in the
config all the while never fail; the old endpoint may give 404 only when the new one works. After a reload only the new code
answers. In the second half clients whose prediction ran in a replica that was killed may get 500, nobody else. In the end
everything is as it was: processes, descriptors and memory of supervisor and activator, the count of connections.
"""
import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import chaos

PATIENCE = 60  # seconds that a request, or a reload, may take

PREDICTOR = """\
import os
import time

log = os.open(".begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def init(model_path, metadata):
    {init}


def predict(sample, metadata):
    os.write(log, (sample["nonce"] + "\\n").encode())
    time.sleep(sample["sleep"])
    return {{"nonce": sample["nonce"], "api": metadata["api"], "version": {version}}}
"""
GOOD = "pass"
SLOW = "time.sleep(0.3)"
GATED = 'open(".loading-" + metadata["api"], "w").close(); time.sleep(600)'  # until it is ended
FAILING = "raise RuntimeError('no model')"

API = """\
- kind: api
  name: {name}
  endpoint: {endpoint}
  predictor: {{path: predictor.py, metadata: {{api: {name}}}}}
  compute: {{min_replicas: {replicas}, max_replicas: {replicas}, cpu: 100m}}
  requests: {{max_queue_length: 10000, timeout: {timeout}s}}
"""


class Watch:
    """Things that are there, or are not, all the time between two moments: endpoints, addresses."""

    def __init__(self):
        self.state = {}  # True: there; False: not there; None: about to change
        self.changes = {}

    def set(self, thing, state):
        if self.state.get(thing) is not state:
            self.state[thing] = state
            self.changes[thing] = self.changes.get(thing, 0) + 1

    def now(self, thing):
        return self.state.get(thing), self.changes.get(thing)

    def those(self, state):
        return [thing for thing, has in self.state.items() if has is state]


class Reloads(chaos.Run):
    def __init__(self, options, cortexd):
        super().__init__(options, cortexd)
        self.version = 1  # of the code
        self.init = GOOD
        self.possible = {1}  # versions that may answer now
        self.n_changes = 0  # of the code; odd: on the way from one to the other
        self.endpoint = 1  # the number in that of the api "moves"
        self.has_more = False  # the api "comes", the second address
        self.has_second = False
        self.replicas = 2
        self.timeout = 60
        self.endpoints = Watch()
        self.addresses = Watch()
        self.kept = []  # idle connections
        self.requests = set()  # tasks
        self.latencies = []
        self.n_reloads = 0
        self.kills_from = None

    # --- the project ------------------------------------------------------------------------------------------------------
    def config(self):
        text = API.format(name="main", endpoint="/main", replicas=self.replicas, timeout=self.timeout)
        text += API.format(name="moves", endpoint=f"/moves-{self.endpoint}", replicas=1, timeout=60)
        if self.has_more:
            text += API.format(name="comes", endpoint="/comes", replicas=1, timeout=60)
        second = f", 127.0.0.2:{self.cortexd.port}" if self.has_second else ""
        return text + f"- kind: server\n  listen: [127.0.0.1:{self.cortexd.port}{second}]\n  log: {{level: warning}}\n"

    def write(self, code=None, config=None):
        files = {"predictor.py": code or self.code(), "cortex.yaml": config or self.config()}
        self.cortexd.write(files, self.cortexd.folder)

    def code(self, init=None, version=None):
        return PREDICTOR.format(init=init or self.init, version=version or self.version)

    async def reload(self, good=True, said=""):
        """`cortexd --reload`, which must succeed or not, and say something."""
        command = [self.cortexd.binary, "-c", self.cortexd.folder / "cortex.yaml", "--reload"]
        for _ in range(5):
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
            self.n_reloads += 1
            if self.kills and good and b"SIGKILL" in output:
                continue  # it was the one that had to show that the code works
            break
        if (process.returncode == 0) != good or said.encode() not in output:
            raise chaos.Wrong(f"reload: {process.returncode}: {output.decode()}")

    def hang_up(self):
        self.cortexd.signal(signal.SIGHUP)
        self.n_reloads += 1

    async def wait_for(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise chaos.Wrong(f"never came true: {what}")
            await asyncio.sleep(0.005)

    async def new_code(self, init=GOOD):
        """The next version; what was answered before is of the old one, what is asked afterwards of the new one."""
        self.begin_version(init)
        self.write()
        await self.reload()
        self.end_version()

    def begin_version(self, init=GOOD):
        self.n_changes += 1
        self.init = init
        self.version += 1
        self.possible.add(self.version)

    def end_version(self):
        self.n_changes += 1
        self.possible = {self.version}

    # --- kinds of reloads -------------------------------------------------------------------------------------------------
    async def good_code(self):
        await self.new_code()

    async def slow_code(self):
        await self.new_code(SLOW)

    async def nothing(self):
        before = set(self.pids("replica"))
        await self.reload(said="" if self.kills_from else "0 changed, 0 added, 0 removed")
        if not self.kills_from and set(self.pids("replica")) != before:
            raise chaos.Wrong("nothing has changed, but other replicas are there")

    async def broken_yaml(self):
        """The command would not even tell cortexd."""
        since = self.cortexd.log_size()
        self.write(config=self.config() + "- kind: [\n")
        self.hang_up()
        await self.wait_for(lambda: "the old config stays in effect" in self.cortexd.log()[since:], "the config is refused")
        self.write()

    async def broken(self, code, said):
        self.write(code)
        await self.reload(good=False, said=said)
        self.write()

    async def broken_import(self):
        await self.broken("import nothing_of_that_name\n", said="No module named")

    async def failing_init(self):
        await self.broken(self.code(FAILING), said="no model")

    async def broken_code_at_another_endpoint(self):
        self.endpoint += 1
        self.write("1 / 0\n")
        await self.reload(good=False, said="division by zero")
        self.endpoint -= 1
        self.write()
        await self.reload()

    async def load_slowly(self):
        """A generation that never becomes ready; until it has begun to load, for all apis."""
        apis = ["main", "moves", *(["comes"] if self.has_more else [])]
        loading = [self.cortexd.folder / f".loading-{api}" for api in apis]
        for path in loading:
            path.unlink(missing_ok=True)
        self.write(self.code(GATED, version=-1))
        self.hang_up()
        await self.wait_for(lambda: all(path.exists() for path in loading), "the new generation begins to load")

    async def overtaken_by_new_code(self):
        await self.load_slowly()
        await self.new_code()

    async def overtaken_by_old_code(self):
        """Who was started meanwhile to take the place of one that was killed has loaded the wrong code, and is replaced."""
        await self.load_slowly()
        self.write()
        await self.reload(said="" if self.kills_from else "0 changed")

    async def overtaken_by_broken_config(self):
        """The reload that it does not overtake goes on."""
        self.begin_version(SLOW)
        self.write()
        self.hang_up()
        await asyncio.sleep(0.1)
        await self.broken_yaml()
        await self.reload()
        self.end_version()

    async def twice_at_once(self):
        self.begin_version()
        self.write()
        self.hang_up()
        self.version += 1
        self.possible.add(self.version)
        self.write()
        self.hang_up()
        await self.reload()
        self.end_version()

    async def come_and_go(self):
        self.has_more = not self.has_more
        self.endpoints.set("/comes", None)
        self.write()
        await self.reload(said="1 added" if self.has_more else "1 removed")
        self.endpoints.set("/comes", self.has_more)

    async def another_endpoint(self):
        old, self.endpoint = self.endpoint, self.endpoint + 1
        for number in (old, self.endpoint):
            self.endpoints.set(f"/moves-{number}", None)
        self.write()
        await self.reload(said="" if self.kills_from else "1 changed")
        self.endpoints.set(f"/moves-{old}", False)
        self.endpoints.set(f"/moves-{self.endpoint}", True)

    async def another_count(self):
        self.replicas = self.random.choice([n for n in (1, 2, 3) if n != self.replicas])
        self.write()
        await self.reload()

    async def another_timeout(self):
        self.timeout += 1
        self.write()
        await self.reload(said="" if self.kills_from else "1 changed")

    async def another_address(self):
        self.has_second = not self.has_second
        self.addresses.set("127.0.0.2", None)
        self.write()
        await self.reload()
        self.addresses.set("127.0.0.2", self.has_second)

    async def reloader(self):
        kinds = [
            *(self.good_code, self.slow_code, self.nothing, self.broken_yaml, self.broken_import, self.failing_init),
            *(self.broken_code_at_another_endpoint, self.overtaken_by_new_code, self.overtaken_by_old_code),
            *(self.overtaken_by_broken_config, self.twice_at_once, self.come_and_go, self.another_endpoint),
            *(self.another_count, self.another_timeout, self.another_address),
        ]
        while not self.over:
            self.random.shuffle(kinds)
            for kind in kinds:
                if self.over or self.wrong:
                    return
                try:
                    await kind()
                except (chaos.Wrong, asyncio.TimeoutError) as e:
                    self.wrong.append(f"{kind.__name__}: {e!r}")
                    return
                await asyncio.sleep(self.random.choice((0, 0, 0.05)))

    async def back_to_the_beginning(self):
        self.has_more = self.has_second = False
        self.replicas, self.endpoint = 2, 1
        self.write()
        await self.reload()

    # --- clients ----------------------------------------------------------------------------------------------------------
    async def exchange(self, connection, endpoint, last):
        """One request: (status, what was answered); nothing else may come."""
        nonce = f"{random.getrandbits(64):016x}"
        sleep = 0 if random.random() < 0.98 else random.choice((0.001, 0.005, 0.02, 0.1))
        body = json.dumps({"nonce": nonce, "sleep": sleep}).encode()
        head = f"POST {endpoint} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n"
        reader, writer = connection
        writer.write((head + ("Connection: close\r\n" if last else "") + "\r\n").encode() + body)
        status, text = await self.read_answer(reader)
        if last and await reader.read() or reader._buffer:
            raise chaos.Wrong(f"{nonce} was answered twice")
        if status != 200:
            return status, text[:200]
        answer = json.loads(text)
        if answer["nonce"] != nonce or answer["api"] != endpoint.lstrip("/").split("-")[0]:
            raise chaos.Wrong(f"the answer to {nonce} for {endpoint} is {answer}")
        return status, answer["version"]

    async def one_request(self, endpoint, address, keeps):
        connection = self.kept.pop(0) if keeps and self.kept else None
        if not connection:
            connection = await asyncio.open_connection(address, self.cortexd.port)
        good = False
        try:
            result = await self.exchange(connection, endpoint, not keeps)
            good = keeps
            return result
        finally:
            if good:
                self.kept.append(connection)
            else:
                connection[1].close()

    async def judge(self, endpoint, address, keeps):
        """Send a request and look at what becomes of it, with what was in effect before and is in effect afterwards."""
        began = asyncio.get_running_loop().time()
        there, listens = self.endpoints.now(endpoint), self.addresses.now(address)
        n_changes, possible = self.n_changes, set(self.possible)
        what = f"{endpoint} at {address}, {'kept alive' if keeps else 'a new connection'}"
        try:
            status, answer = await asyncio.wait_for(self.one_request(endpoint, address, keeps), PATIENCE)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as e:
            cut_off = self.kills_from and isinstance(e, chaos.CutOff)
            self.counts["cut off" if cut_off else "no answer"] += 1
            if not cut_off and listens == (True, self.addresses.now(address)[1]):
                self.wrong.append(f"{what}: {e!r}")
            return
        self.latencies.append(asyncio.get_running_loop().time() - began)
        self.counts[status] += 1
        stayed = self.endpoints.now(endpoint) == there
        if status == 500 and self.kills_from and b"the replica died" in answer:
            return
        if status == 404 and not (stayed and there[0]):
            await self.look_after_404(endpoint, there)
        elif status != 200:
            self.wrong.append(f"{what}: {status} {answer!r}")
        elif stayed and there[0] is False:
            self.wrong.append(f"{what}: an answer where nobody should be")
        elif answer not in possible | self.possible or (n_changes == self.n_changes and n_changes % 2 == 0 and answer != self.version):
            self.wrong.append(f"{what}: version {answer}, not {self.version} or one of {possible | self.possible}")

    async def look_after_404(self, endpoint, there):
        """The old endpoint of an api that moves has gone: then the new one works."""
        if there[0] and endpoint == f"/moves-{self.endpoint - 1}":
            status, _ = await self.one_request(f"/moves-{self.endpoint}", "127.0.0.1", False)
            if status == 404 and endpoint != f"/moves-{self.endpoint - 1}":
                return  # it has moved on, while the request waited for a replica that was killed
            if status not in (200, 500 if self.kills_from else 200):
                self.wrong.append(f"404 at {endpoint}, but the new endpoint gives {status}")

    def request_is_over(self, task):
        self.requests.discard(task)
        if task.exception():
            self.wrong.append(f"client: {task.exception()!r}")

    async def load(self):
        """A request each 1/rate seconds, whatever became of the others."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.over:
            keeps = self.random.random() < 0.5
            others = ["/comes", *(f"/moves-{max(self.endpoint - i, 1)}" for i in (0, 0, 1))]
            endpoint = "/main" if self.random.random() < 0.6 else self.random.choice(others)
            addresses = ["127.0.0.1"] if keeps else [*self.addresses.those(True), "127.0.0.1"]
            task = asyncio.create_task(self.judge(endpoint, self.random.choice(addresses), keeps))
            self.requests.add(task)
            task.add_done_callback(self.request_is_over)
            due += 1 / self.options.rate
            await asyncio.sleep(due - loop.time())
        if self.requests:
            await asyncio.wait(self.requests, timeout=PATIENCE)
        for _, writer in self.kept:
            writer.close()

    async def until(self, end):
        while time.monotonic() < end and not self.wrong:
            await asyncio.sleep(0.1)

    def check_memory(self, before, most_kib):
        from cortexd import SANITIZED

        for (name, _, kib), (_, _, kib_now) in zip(before, measure(self), strict=True):
            self.counts[f"{name} KiB"] = f"{kib} -> {kib_now}"
            if not SANITIZED and kib_now > kib + most_kib:
                self.wrong.append(f"{name}: {kib} KiB before, {kib_now} now")

    async def go(self):
        self.endpoints.set("/main", True)
        self.endpoints.set("/moves-1", True)
        self.endpoints.set("/comes", False)
        self.addresses.set("127.0.0.1", True)
        load = asyncio.create_task(self.load())
        reloader = asyncio.create_task(self.reloader())
        begin = time.monotonic()
        await self.until(begin + self.options.seconds / 4)
        before = measure(self)
        await self.until(begin + self.options.seconds / 2)
        self.check_memory(before, 512)  # more than some pages, and less than one for each reload
        self.kills_from = self.n_reloads
        killer = asyncio.create_task(self.killer())
        await self.until(begin + self.options.seconds)
        self.over = True
        await asyncio.gather(reloader, killer)
        await load
        if not self.wrong:
            await self.back_to_the_beginning()

    async def killer(self):
        rng = random.Random(self.options.seed)
        while not self.over:
            await asyncio.sleep(rng.choice((0.02, 0.1, 0.3, 1)))
            pids = [pid for pid in self.pids("replica") if "(ready)" in chaos.title(pid)]
            try:
                if pids:
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    self.kills += 1
            except ProcessLookupError:
                continue


def measure(run):
    from cortexd import descriptors, memory_kib

    (activator,) = run.pids("activator")
    return [(name, descriptors(pid), memory_kib(pid)) for name, pid in (("supervisor", run.cortexd.pid), ("activator", activator))]


def check_rest(run, before):
    from cortexd import Scoreboard, wait_until

    cortexd = run.cortexd
    with Scoreboard(cortexd.pid) as board:

        def slots():
            return [slot for number in board.apis() for slot in board.slots(number)]

        cortexd.wait_replicas(3)
        # With its keeper each, the activator and the monitor: nobody else.
        wait_until(lambda: len(cortexd.family()) == 2 * 3 + 2, f"no process is left over: {cortexd.family()}")
        wait_until(lambda: board.connections() == 0, f"no connection is left, but {board.connections()}", patience=10)
        wait_until(lambda: [slot[:2] for slot in slots()] == [("idle", 0)] * 3, "three replicas, idle, without connections")
        wait_until(lambda: not any(map(board.waiting, board.apis())), "no queue")
    for (name, n, _), (_, n_now, _) in zip(before, measure(run), strict=True):
        if n_now > n:
            run.wrong.append(f"{name}: {n} descriptors before, {n_now} now")
    run.check_memory(before, 4096)  # what a queue needs while there are too few replicas stays allocated


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rate", type=float)
    parser.add_argument("--build", default=os.environ.get("CORTEXD_BUILD", "build/release"))
    options = parser.parse_args()
    options.victims = "replicas"
    os.environ["CORTEXD_BUILD"] = options.build
    from cortexd import SANITIZED

    options.rate = options.rate or (100 if SANITIZED else 500)
    with tempfile.TemporaryDirectory(prefix="cortexd-chaos-") as temporary:
        cortexd = chaos.make_cortexd(Path(temporary))
        cortexd.expect_any_error()
        run = Reloads(options, cortexd)
        cortexd.start({"predictor.py": run.code(), "cortex.yaml": run.config()}, replicas=3)
        before = measure(run)
        try:
            asyncio.run(run.go())
            if not run.wrong:
                chaos.check_predictions(run, cortexd.folder)
                check_rest(run, before)
        except AssertionError as e:
            run.wrong.append(str(e))
        finally:
            run.wrong.extend(cortexd.end())
        slowest = sorted(run.latencies)
        p50, p99 = (1000 * slowest[int(len(slowest) * part)] for part in (0.5, 0.99))
        print(f"\nseed {options.seed}: {run.n_reloads} reloads ({run.kills_from} before the kills), {len(slowest)} answers, {dict(run.counts)},")
        print(f"{run.kills} kills; p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {1000 * slowest[-1]:.0f} ms")
        if run.wrong:
            print("\n".join(run.wrong[:20]))
            print(cortexd.log()[-6000:])
            return 1
    print("1 passed in 0.0s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
