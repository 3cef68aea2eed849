"""The real cortexd in a temporary folder, and what a test may ask of it.

Nothing here waits for time: wait_until() polls a condition and gives up loudly. The limit is generous because it only
matters when something is broken; the sanitizer builds are several times slower.
"""
import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
import uuid
from pathlib import Path

import client

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("CORTEXD_BUILD", "build/release")
ENVIRONMENTS = ROOT / "build" / "environments"
SANITIZED = "sanitize" in BUILD.name
PATIENCE = 90 if SANITIZED else 40  # seconds before a condition counts as never coming
KILLS = int(os.environ.get("CORTEXD_TEST_KILLS", "3"))  # random moments at which a build is killed, each of which costs another build

ERROR_LINE = re.compile(r'^\S+Z error |"level":"error"')
# The inside of a traceback; the line that it belongs to is judged.
TRACEBACK = re.compile(
    r"^\S+Z error \S+ \S+: (?:Traceback \(most recent|  |During handling|The above exception|$|(?:\w+\.)*\w+(?:Error|Exit|Interrupt)\b)"
)
FINDING = re.compile(r"\bbug: |AddressSanitizer(?! failed to allocate)|LeakSanitizer|ThreadSanitizer|UndefinedBehavior|runtime error: |Fatal Python error")

PREDICTOR = """\
def predict(sample, metadata):
    return sample
"""


PORTS = range(20000, 32000)  # below the ephemeral range: no client socket ever sits on one


@contextlib.contextmanager
def reserved_port():
    """A port that nobody listens on, reserved against other tests and other test runs by a lock."""
    folder = Path(f"/tmp/cortexd-test-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    first = os.getpid() * 37 % len(PORTS)
    for number in (PORTS[(first + i) % len(PORTS)] for i in range(len(PORTS))):
        lock = os.open(folder / str(number), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", number))
        except OSError:
            os.close(lock)
            continue
        yield number
        os.close(lock)
        return
    raise RuntimeError("no port is free")


def wait_until(condition, what, patience=PATIENCE):
    """Poll until condition() is true; its value. More rarely the longer it takes."""
    begin = time.monotonic()
    while True:
        value = condition()
        waited = time.monotonic() - begin
        if value:
            return value
        if waited > patience:
            raise AssertionError(f"never came true: {what() if callable(what) else what}")
        time.sleep(min(0.005 + waited / 50, 0.25))


def read_proc(pid, name):
    """A file of /proc as bytes; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def process_state(pid):
    """The letter of /proc/PID/stat, or None when there is no such process."""
    stat = read_proc(pid, "stat")
    return stat[stat.rindex(b")") + 2 :].split()[0].decode() if stat else None


def process_parent(pid):
    stat = read_proc(pid, "stat")
    return int(stat[stat.rindex(b")") + 2 :].split()[1]) if stat else None


def process_title(pid):
    return read_proc(pid, "cmdline").split(b"\0")[0].decode(errors="replace").strip()


def memory_kib(pid):
    """Private memory that is really there: what grows when something leaks."""
    for line in read_proc(pid, "smaps_rollup").decode().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} is gone")


def anonymous_kib(pid):
    """Memory of its own, also while a child that was just forked shares it."""
    return int(re.search(r"^RssAnon:\s+(\d+) kB$", read_proc(pid, "status").decode(), re.M)[1])


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return 0


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


class Scoreboard:
    """What the processes of one cortexd see of each other (common/scoreboard.h), read through the supervisor's descriptor."""

    STATES = ("dead", "starting", "idle", "claimed", "busy", "long", "draining")
    APIS, API, SLOTS, SLOT = 64, 64, 262272, 128

    def __init__(self, pid):
        self.file = None
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:cortexd-scoreboard"):
                    self.file = open(f"/proc/{pid}/fd/{name}", "rb", buffering=0)
            except FileNotFoundError:
                continue  # another descriptor, which was closed meanwhile
        assert self.file, "no scoreboard"

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.file.close()

    def read(self, offset, form):
        return struct.unpack(form, os.pread(self.file.fileno(), struct.calcsize(form), offset))

    def connections(self):
        """Open client connections of all processes together."""
        return self.read(0, "i")[0]

    def waiting(self, api=0):
        return self.read(self.APIS + self.API * api, "q")[0]

    def slots(self, api=0):
        """(state, connections, predictions) of the processes of an api, those that are dead left out."""
        first, _, used = self.read(self.APIS + self.API * api + 8, "III")
        found = []
        for number in range(first, first + used):
            state, connections, _, predictions = self.read(self.SLOTS + self.SLOT * number, "IIqQ")
            if self.STATES[state] != "dead":
                found.append((self.STATES[state], connections, predictions))
        return found

    def apis(self):
        """Numbers of the apis that there are."""
        number = 0
        while self.read(self.APIS + self.API * number + 12, "I")[0]:
            yield number
            number += 1


class Cortexd:
    def __init__(self, project, tmp_path, port, binary, number):
        self.write = project
        self.tmp_path = tmp_path
        self.port = port
        self.binary = Path(binary)
        self.token = uuid.uuid4().hex
        self.log_path = tmp_path / f"log-{number}.txt"
        self.process = None
        self.inner = None  # pid of cortexd when the process that was started has forked it
        self.folder = None
        self.endpoint = None
        self.base_descriptors = None
        self.expected_errors = []
        self.any_error = False
        self.expected_exit = (0,)
        self.killed = False
        self.still_runs = False

    # --- starting ------------------------------------------------------------------------------------------------------
    def start(
        self,
        files,
        replicas=1,
        wait=True,
        args=(),
        metadata=None,
        api="",
        predictor="",
        server="",
        env=None,
        folder=None,
        descriptor_limit=None,
        output=None,
        environment=None,
        **options,
    ):
        """Write the project and start cortexd on it.

        Unless files has a cortex.yaml, one is made: deployment "d", api "a", so that the endpoint is /d/a. metadata is a
        dict; api, predictor and server are further lines of YAML for these maps. wait: until all replicas are ready.
        environment: "onnx" or "tensorflow", the packages of configs/iris-..., installed already (test.mk).
        descriptor_limit: RLIMIT_NOFILE. output: a descriptor in place of the log file. options: of launch().
        """
        files = dict(files)
        files.setdefault("predictor.py", PREDICTOR)
        if "cortex.yaml" not in files:
            files["cortex.yaml"] = self.make_config(replicas, metadata or {}, api, predictor, server)
            self.endpoint = "/d/a"
        files["cortex.yaml"] = files["cortex.yaml"].replace("@PORT@", str(self.port))
        self.folder = self.write(files, folder)
        if environment:
            self.borrow(environment)
        self.launch(args, env or {}, descriptor_limit, output, **options)
        if wait:
            self.wait_ready(replicas)
        return self

    def borrow(self, name):
        """An environment is found by what is in requirements.txt; this one was built for the same text."""
        prepared = ENVIRONMENTS / name
        (self.folder / "requirements.txt").write_text((prepared / "requirements.txt").read_text())
        links = self.folder / ".cortex" / "environments"
        links.mkdir(parents=True, exist_ok=True)
        for link in (prepared / ".cortex" / "environments").iterdir():
            (links / link.name).exists() or (links / link.name).symlink_to(link.resolve())

    def make_config(self, replicas, metadata, api, predictor, server):
        def lines(text, indent):
            return "".join(f"{' ' * indent}{line}\n" for line in text.splitlines())

        return (
            "- kind: deployment\n  name: d\n- kind: api\n  name: a\n  predictor:\n    path: predictor.py\n"
            + f"    metadata: {json.dumps(metadata)}\n"
            + lines(predictor, 4)
            + f"  compute: {{min_replicas: {replicas}, max_replicas: {replicas}, cpu: 100m}}\n"
            + lines(api, 2)
            + "- kind: server\n"
            + ("" if "listen:" in server else f"  listen: 127.0.0.1:{self.port}\n")
            + ("" if "packages:" in server else "  packages: none\n")  # whatever this machine has
            + lines(server, 2)
        )

    def launch(self, args=(), env=None, descriptor_limit=None, output=None, wrapper=(), forks=False, pass_fds=()):
        """wrapper: a command that runs cortexd, by exec or, when forks is true, as a child. pass_fds: descriptors for it."""
        environment = {**os.environ, **(env or {}), "CORTEXD_TEST_TOKEN": self.token}
        limit = ["prlimit", f"--nofile={descriptor_limit}:{descriptor_limit}"] if descriptor_limit else []
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*limit, *wrapper, self.binary, "-c", self.folder / "cortex.yaml", *args],
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=subprocess.STDOUT,
                cwd=self.tmp_path,
                env=environment,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        self.inner = wait_until(self.find_inner, "the wrapper runs cortexd") if forks else None

    def find_inner(self):
        assert self.process.poll() is None, self.log()
        return next((pid for pid in all_pids() if process_parent(pid) == self.process.pid and self.runs_cortexd(pid)), None)

    @staticmethod
    def runs_cortexd(pid):
        return read_proc(pid, "comm") == b"cortexd\n"

    @property
    def pid(self):
        return self.inner or self.process.pid

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.endpoint}"

    # --- what is there -------------------------------------------------------------------------------------------------
    def family(self):
        """Every process that was started, directly or not, by this cortexd, and has not been waited for: {pid: title}."""
        mark = f"CORTEXD_TEST_TOKEN={self.token}".encode()
        return {
            pid: process_title(pid)
            for pid in all_pids()
            if pid != self.pid and mark in read_proc(pid, "environ").split(b"\0") and process_state(pid) != "Z"
        }

    def children(self):
        return [pid for pid in all_pids() if process_parent(pid) == self.pid]

    def replicas(self, state="ready"):
        """Pids of the replicas in a state, by their titles, in the order of their numbers."""
        found = []
        for pid in self.children():
            match = re.fullmatch(r"cortexd: replica \S+/(\d+) \((.*)\)", process_title(pid))
            if match and (state is None or match[2] == state):
                found.append((int(match[1]), pid))
        return [pid for _, pid in sorted(found)]

    def wait_replicas(self, count, state="ready"):
        """Until exactly so many replicas are in that state; their pids."""

        def condition():
            if self.process.poll() is not None:
                raise AssertionError(f"cortexd has ended with {self.process.returncode}:\n{self.log()}")
            pids = self.replicas(state)
            return pids if len(pids) == count else None

        return wait_until(condition, f"{count} replicas {state}; they are {self.family()}") if count else []

    def wait_ready(self, count):
        pids = self.wait_replicas(count)
        self.note_descriptors()
        return pids

    def monitor(self):
        """The pid of the monitor that is ready; None: there is none."""
        return next((pid for pid in self.children() if process_title(pid) == "cortexd: monitor (ready)"), None)

    def note_descriptors(self):
        """All is ready: so many descriptors the supervisor is to have when the test is over."""
        wait_until(self.monitor, "the monitor is ready")
        self.base_descriptors = descriptors(self.pid)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_size(self):
        return len(self.log())

    def wait_log(self, pattern, count=1, since=0):
        """Until the log has that many matches of a regular expression (from an offset on); the last match."""

        def condition():
            matches = list(re.finditer(pattern, self.log()[since:], re.MULTILINE))
            return matches[-1] if len(matches) >= count else None

        return wait_until(condition, f"the log says {pattern!r} {count} times")

    # --- talking -------------------------------------------------------------------------------------------------------
    def connect(self, **options):
        return client.Connection(self.port, **options)

    def post(self, sample, **options):
        """One prediction on a connection of its own."""
        with self.connect() as connection:
            return connection.post(self.endpoint, sample, **options)

    def get(self, path):
        with self.connect() as connection:
            return connection.request("GET", path)

    def curl(self, *args, path=None):
        return client.curl(*args, f"http://127.0.0.1:{self.port}{self.endpoint if path is None else path}")

    # --- announcements -------------------------------------------------------------------------------------------------
    def expect_error(self, pattern):
        """An error line that is part of the test: it may and must appear."""
        self.expected_errors.append(pattern)

    def expect_any_error(self):
        """What exactly is logged does not matter here."""
        self.any_error = True

    def expect_running(self):
        """A prediction still runs when the test is over."""
        self.still_runs = True

    def expect_exit(self, *codes):
        self.expected_exit = codes

    # --- ending --------------------------------------------------------------------------------------------------------
    def signal(self, number=signal.SIGTERM):
        if self.inner:
            os.kill(self.inner, number)
        else:
            self.process.send_signal(number)

    def wait_exit(self):
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"cortexd does not end; its family: {self.family()}") from None

    def stop(self):
        if self.process.poll() is None:
            self.signal()
        return self.wait_exit()

    def kill(self):
        """kill -9: what happens to cortexd itself is then not judged."""
        self.killed = True
        self.process.kill()
        self.process.wait()

    def end(self):
        """Stop it if it still runs and look for everything that must never be. A list of complaints."""
        problems = []
        if self.process is None:
            return problems
        try:
            if self.process.poll() is None:
                self.check_running(problems)
            code = self.stop()
        except AssertionError as e:
            problems.append(str(e))
            self.process.kill()
            code = self.process.wait()
        if not self.killed and code not in self.expected_exit:
            problems.append(f"exit status {code}, expected {' or '.join(map(str, self.expected_exit))}")
        self.check_family(problems)
        self.check_log(problems)
        return problems

    def check_running(self, problems):
        def zombies():
            return [pid for pid in self.children() if process_state(pid) == "Z"]

        try:
            wait_until(lambda: not zombies(), "no zombies", patience=5)
        except AssertionError:
            problems.append(f"zombies: {zombies()}")
        if self.base_descriptors is None:
            return
        self.check_at_rest(problems)
        try:
            wait_until(lambda: descriptors(self.pid) <= self.base_descriptors, "descriptors as before", patience=10)
        except AssertionError:
            problems.append(f"{descriptors(self.pid)} descriptors in the supervisor, {self.base_descriptors} when ready")

    def check_at_rest(self, problems):
        """Nobody asks for anything any more: every replica is idle, and nobody waits for one."""
        with Scoreboard(self.pid) as board:
            at_rest = {"idle", "starting", "long"} if self.still_runs else {"idle", "starting"}

            def states():
                return {slot[0] for api in board.apis() for slot in board.slots(api)}

            try:
                wait_until(lambda: states() <= at_rest, "replicas at rest", patience=10)
                if not self.still_runs:
                    wait_until(lambda: not any(map(board.waiting, board.apis())), "queues at rest", patience=10)
            except AssertionError:
                problems.append(f"not at rest: {[board.slots(api) for api in board.apis()]}")

    def check_family(self, problems):
        """cortexd has ended, so nobody of its family may be left; only when it was killed do they get a moment."""
        left = self.family()
        if left and self.killed:
            try:
                wait_until(lambda: not self.family(), "no orphans")
                return
            except AssertionError:
                left = self.family()
        if left:
            problems.append(f"orphans: {left}")
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def check_log(self, problems):
        lines = self.log().splitlines()
        seen = set()
        for line in lines:
            if FINDING.search(line):
                problems.append(f"in the log: {line}")
            elif ERROR_LINE.search(line) and not TRACEBACK.search(line):
                matching = [pattern for pattern in self.expected_errors if re.search(pattern, line)]
                seen.update(matching)
                if not matching and not self.any_error:
                    problems.append(f"error that the test did not announce: {line}")
        for pattern in self.expected_errors:
            if pattern not in seen:
                problems.append(f"announced error never logged: {pattern}")
