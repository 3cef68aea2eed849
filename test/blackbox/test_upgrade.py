"""SIGUSR2: another build of cortexd replaces the one that runs, and no client notices; what does not work changes nothing."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import client
from cortexd import BUILD, PATIENCE, SANITIZED, ROOT, Scoreboard, descriptors, process_parent, process_state, process_title, read_proc, reserved_port, wait_until
from test_monitor import Admin
from test_process import container
from test_service_manager import Manager
from test_user import public

# Runs cortexd and waits for everybody that comes after it: whoever is orphaned becomes its child. It ends with the last one, and
# passes signals on to nobody. Its exit status is the first one that is not 0, or of a death by signal of the first.
SUBREAPER = """\
import ctypes
import os
import sys

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
if os.fork() == 0:
    os.execv(sys.argv[1], sys.argv[1:])
code = 0
while True:
    try:
        _, status = os.wait()
    except ChildProcessError:
        sys.exit(code)
    code = code or (os.waitstatus_to_exitcode(status) & 255)
"""
# Fast, slow on demand, and ready when a file says so, should there be one that says not to be.
PREDICTOR = """\
    import os
    import time

    def init(model_path, metadata):
        if os.path.exists(".init.fails"):
            raise RuntimeError("no model")
        while os.path.exists(".init.waits"):
            time.sleep(0.002)

    def predict(sample, metadata):
        if isinstance(sample, str):
            open(sample + ".begun", "w").close()
            while not os.path.exists(sample + ".end"):
                time.sleep(0.002)
        return os.getpid()
"""


class Upgradable:
    """A cortexd whose programs lie in a folder of its own, where others can be put in their place."""

    def __init__(self, start, place, build, **options):
        self.bin = place / "bin"
        shutil.copytree(build / "bin", self.bin)
        wrapper = [sys.executable, "-c", SUBREAPER]
        options.setdefault("replicas", 2)
        self.cortexd = start(options.pop("files", PREDICTOR), binary=self.bin / "cortexd", wrapper=wrapper, forks=True, **options)
        self.folder = self.cortexd.folder
        self.known = {self.cortexd.pid}

    def install(self, build):
        """As an installation does it: each file is replaced, none is written to."""
        for program in (build / "bin").iterdir():
            whole = self.bin / f".{program.name}.new"
            shutil.copy(program, whole)
            os.replace(whole, self.bin / program.name)

    def ask(self):
        """SIGUSR2; the pid of the cortexd that was asked, and how long the log was before."""
        size = self.cortexd.log_size()
        self.cortexd.signal(signal.SIGUSR2)
        return self.cortexd.pid, size

    def find_new(self):
        """The supervisor that was started last: one that was not there before."""

        def is_new(pid):
            """And no child of one, which is a copy of it until it runs its program; it has none of its own."""
            parent = process_parent(pid)
            return (
                pid not in self.known
                and any(process_parent(child) == pid for child in self.cortexd.family())
                and self.cortexd.runs_cortexd(pid)
                and b"CORTEXD_UPGRADE=1" in read_proc(pid, "environ").split(b"\0")
                and (parent in self.known or not self.cortexd.runs_cortexd(parent))
            )

        def condition():
            return next(filter(is_new, self.cortexd.family()), None)

        new = wait_until(condition, "there is a new supervisor")
        self.known.add(new)
        return new

    def succeed(self, old, new, meanwhile=lambda: None):
        """Until the old one is gone. The new one is cortexd from now on."""
        wait_until(lambda: meanwhile() or process_state(old) in (None, "Z"), "the old supervisor ends")
        self.cortexd.inner = new
        self.cortexd.note_descriptors()

    def upgrade(self, meanwhile=lambda: None):
        """The whole way; the pids of the two supervisors."""
        old, size = self.ask()
        new = self.find_new()
        self.succeed(old, new, meanwhile)
        self.cortexd.wait_log(rf"replaced by process {new} ", since=size)
        self.cortexd.wait_ready(2)
        return old, new


@pytest.fixture
def upgradable(start, tmp_path):
    return lambda **options: Upgradable(start, tmp_path, BUILD, **options)


class Load:
    """Clients on kept-alive connections and such with a new one for each request, until told to stop. All must be answered with 200."""

    def __init__(self, cortexd, kept=6, new=3):
        self.cortexd = cortexd
        self.over = threading.Event()
        self.failures = []
        self.pids = set()
        self.counts = [0] * (kept + new)
        self.threads = [threading.Thread(target=self.run, args=(i, i < kept)) for i in range(kept + new)]
        for thread in self.threads:
            thread.start()

    def run(self, number, keep):
        connection = None
        try:
            while not self.over.is_set():
                connection = connection or self.cortexd.connect()
                answer = connection.post(self.cortexd.endpoint, number)
                assert answer.status == 200, answer
                assert answer.header("connection") != "close", answer
                self.pids.add(answer.json())
                self.counts[number] += 1
                if not keep:
                    connection.close()
                    connection = None
                time.sleep(0.002)  # many clients, not much work
        except Exception as e:
            self.failures.append(f"client {number} ({'kept' if keep else 'new'}): {e!r}")

    def wait_more(self, n=50):
        """Until each of them has had so many answers more."""
        target = [count + n for count in self.counts]
        wait_until(lambda: self.failures or all(a >= b for a, b in zip(self.counts, target)), "clients go on")
        assert not self.failures, self.failures

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.over.set()
        for thread in self.threads:
            thread.join()


def test_a_deploy_goes_on_with_the_new_cortexd(upgradable):
    u = upgradable()
    (u.folder / ".init.waits").touch()
    old, size = u.ask()
    new = u.find_new()
    deploy = subprocess.Popen([BUILD / "bin" / "cortex", "deploy"], cwd=u.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    u.cortexd.wait_log("once the upgrade is over", since=size)
    (u.folder / ".init.waits").unlink()
    u.succeed(old, new)
    assert re.search(r"^deployed: done after", deploy.communicate(timeout=PATIENCE)[0], re.MULTILINE)
    assert deploy.returncode == 0
    u.cortexd.wait_ready(2)


def program_of(pid):
    return os.readlink(f"/proc/{pid}/exe")


def connections(pid):
    with Scoreboard(pid) as board:
        return board.connections()


# --- it works ---------------------------------------------------------------------------------------------------------
def test_another_build_takes_over_and_no_client_notices(upgradable, next_build):
    u = upgradable()
    cortexd = u.cortexd
    old_family = set(cortexd.family()) - {cortexd.process.pid}
    n_descriptors = cortexd.base_descriptors
    with Load(cortexd) as load, cortexd.connect() as idle, cortexd.connect() as half:
        assert idle.post("/d/a", 1).status == 200
        half.send("POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n4")
        load.wait_more()
        u.install(next_build)
        old, new = u.upgrade()
        load.wait_more()
        load.pids.clear()
        load.wait_more()
        half.send("2")
        answer = half.answer()
        assert (answer.status, answer.json() in cortexd.replicas()) == (200, True)
        assert idle.post("/d/a", 1).json() in cortexd.replicas()
        load.stop()
        assert load.pids <= set(cortexd.replicas())
    assert re.search(rf"cortexd 9\.9\.9 takes over from process {old}\b", cortexd.log())
    assert program_of(new) == str(u.bin / "cortexd")
    assert not [pid for pid in old_family if process_state(pid) not in (None, "Z")]
    assert descriptors(new) == n_descriptors
    wait_until(lambda: connections(new) == 0, "all connections have ended")
    cortexd.wait_replicas(2)


def test_predictions_that_run_and_requests_that_wait_are_answered(upgradable, next_build):
    u = upgradable()
    cortexd = u.cortexd
    old_replicas = cortexd.replicas()
    running = [cortexd.connect() for _ in range(2)]
    waiting = [cortexd.connect() for _ in range(3)]
    for i, connection in enumerate(running):
        connection.send(f'POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n"{i}"')
        wait_until((u.folder / f"{i}.begun").exists, "the prediction has begun")
    for connection in waiting:
        connection.send("POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n7")
    u.install(next_build)
    old, _ = u.ask()
    new = u.find_new()
    pids = {connection.answer().json() for connection in waiting}  # the new replicas are free
    assert not pids & set(old_replicas)
    assert process_state(old) not in (None, "Z")
    for i, connection in enumerate(running):
        (u.folder / f"{i}.end").touch()
        answer = connection.answer()
        assert (answer.status, answer.json()) == (200, old_replicas[i]) or answer.json() in old_replicas
        assert connection.post("/d/a", 1).status == 200
    u.succeed(old, new)
    for connection in running + waiting:
        assert connection.post("/d/a", 1).json() in cortexd.replicas()
    assert connections(new) == 5
    for connection in running + waiting:
        connection.close()


def test_an_answer_that_is_being_read_is_read_to_its_end(upgradable, next_build):
    big = """\
        def predict(sample, metadata):
            return "x" * sample
    """
    u = upgradable(files=big)
    with u.cortexd.connect(receive_buffer=4096) as slow:
        slow.send("POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n20000000")
        assert slow.more()
        u.install(next_build)
        u.upgrade()
        assert len(slow.answer().json()) == 20000000
        assert slow.post("/d/a", 3).json() == "xxx"


def test_upgrades_one_after_the_other(upgradable, next_build):
    u = upgradable()
    n_descriptors = u.cortexd.base_descriptors
    with Load(u.cortexd, kept=3, new=2) as load:
        for build in (next_build, None, None):
            if build:
                u.install(build)
            u.upgrade()
            load.wait_more(20)
        load.stop()
    assert descriptors(u.cortexd.pid) == n_descriptors


def test_it_may_be_asked_for_again_at_once(upgradable):
    u = upgradable()
    (u.folder / ".init.waits").touch()
    old, size = u.ask()
    new = u.find_new()
    u.ask()
    u.cortexd.wait_log("SIGUSR2: an upgrade is under way already; ignored", since=size)
    wait_until(lambda: [pid for pid in u.cortexd.family() if process_parent(pid) == new], "it starts children")
    os.kill(new, signal.SIGUSR2)
    u.cortexd.wait_log("SIGUSR2: upgrading once this cortexd has taken over", since=size)
    (u.folder / ".init.waits").unlink()
    third = u.find_new()
    wait_until(lambda: process_state(old) in (None, "Z"), "the old supervisor ends")
    u.succeed(new, third)
    assert u.cortexd.post(1).status == 200
    assert len(re.findall(r"replaced by process", u.cortexd.log())) == 2


def test_reload_works_afterwards_and_meanwhile(upgradable, next_build):
    def reload():
        return subprocess.run(
            [u.bin / "cortexd", "-c", u.folder / "cortex.yaml", "--reload"], capture_output=True, text=True, timeout=PATIENCE
        )

    u = upgradable()
    assert reload().returncode == 0
    u.install(next_build)
    (u.folder / ".init.waits").touch()
    old, size = u.ask()
    new = u.find_new()
    u.cortexd.write({"predictor.py": PREDICTOR.replace("os.getpid()", "'second'")}, u.folder)
    results = []
    waits = threading.Thread(target=lambda: results.append(reload()))
    waits.start()
    u.cortexd.wait_log("SIGHUP: reloading once the upgrade is over", since=size)
    (u.folder / ".init.waits").unlink()
    u.succeed(old, new)
    waits.join()
    assert results[0].returncode == 0, results
    assert u.cortexd.post(1).json() == "second"
    u.cortexd.write({"predictor.py": PREDICTOR.replace("os.getpid()", "'third'")}, u.folder)
    result = reload()
    assert (result.returncode, "1 changed" in result.stdout) == (0, True), result
    assert u.cortexd.post(1).json() == "third"


def test_the_number_of_replicas_is_kept(upgradable):
    u = upgradable(replicas=1, api="autoscaling: {target_in_flight: 1}")
    config = (u.folder / "cortex.yaml").read_text().replace("_replicas: 1", "_replicas: 3")
    u.cortexd.write({"cortex.yaml": config}, u.folder)
    u.cortexd.signal(signal.SIGHUP)
    u.cortexd.wait_replicas(3)
    u.cortexd.wait_log("reload: done")
    u.cortexd.write({"cortex.yaml": config.replace("min_replicas: 3, max_replicas: 3", "min_replicas: 1, max_replicas: 5, init_replicas: 1")}, u.folder)
    old, _ = u.ask()
    u.succeed(old, u.find_new())
    assert len(u.cortexd.wait_replicas(3)) == 3


def test_sockets_are_handed_on_with_their_files(upgradable, tmp_path, next_build):
    path, gone = tmp_path / "http.sock", tmp_path / "gone.sock"
    u = upgradable(server=f'listen: ["127.0.0.1:@PORT@", "unix:{path}", "unix:{gone}"]')
    inode = path.stat().st_ino
    u.cortexd.write({"cortex.yaml": (u.folder / "cortex.yaml").read_text().replace(f', "unix:{gone}"', "")}, u.folder)
    u.install(next_build)
    with client.Connection(path=str(path)) as kept:
        assert kept.post("/d/a", 1).status == 200
        u.upgrade()
        assert kept.post("/d/a", 1).json() in u.cortexd.replicas()
    assert path.stat().st_ino == inode
    assert not gone.exists()
    with client.Connection(path=str(path)) as connection:
        assert connection.post("/d/a", 1).status == 200
    u.cortexd.stop()
    assert not path.exists()


def test_the_admin_interface_is_that_of_the_cortexd_that_serves(upgradable, next_build):
    with reserved_port() as port:
        u = upgradable(server=f"admin: 127.0.0.1:{port}")
        admin = Admin(u.cortexd, port, (u.folder / ".cortex" / "token").read_text().strip())
        assert admin.status()["pid"] == u.cortexd.pid
        u.install(next_build)
        (u.folder / ".init.waits").touch()
        old, _ = u.ask()
        new = u.find_new()
        wait_until(lambda: any("monitor (ready)" in process_title(pid) for pid in u.cortexd.family() if process_parent(pid) == new), "it has a monitor")
        for _ in range(30):
            assert admin.status()["pid"] == old
            time.sleep(0.02)
        (u.folder / ".init.waits").unlink()
        u.succeed(old, new)
        assert all(admin.status()["pid"] == new for _ in range(10))


def test_the_service_manager_hears_of_the_new_main_process(upgradable, tmp_path, next_build):
    manager = Manager(str(tmp_path / "notify"))
    u = upgradable(env={**manager.environment, "WATCHDOG_USEC": "200000"})
    ready = manager.wait("READY=1")
    u.install(next_build)
    # It reads: ten messages fill its socket (net.unix.max_dgram_qlen), and it has to be told before the new one speaks.
    old, new = u.upgrade(lambda: manager.read_all() and None)
    reloading = manager.wait("^RELOADING=1", since=ready + 1)
    told = manager.wait(f"^MAINPID={new}$", since=reloading)
    watched = manager.wait("^WATCHDOG=1$", since=told)
    manager.wait("^READY=1", since=told)
    manager.wait("^WATCHDOG=1$", since=watched + 1)
    assert not manager.said("STOPPING")
    u.cortexd.stop()
    manager.wait("^STOPPING=1")
    assert len(manager.said("MAINPID")) == 1
    manager.socket.close()


def test_nobody_speaks_to_the_service_manager_before_it_is_the_main_process(upgradable, tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    u = upgradable(env=manager.environment)
    manager.wait("READY=1")
    (u.folder / ".init.waits").touch()
    old, _ = u.ask()
    new = u.find_new()
    manager.wait("RELOADING=1")
    wait_until(lambda: [pid for pid in u.cortexd.family() if process_parent(pid) == new], "it starts children")
    manager.read_all()
    assert manager.senders == {old}
    (u.folder / ".init.fails").touch()
    (u.folder / ".init.waits").unlink()
    u.cortexd.expect_any_error()
    failed = len(manager.messages)
    manager.wait("READY=1", since=failed - 1)
    assert manager.senders == {old}
    manager.socket.close()


def test_replicas_are_of_the_old_build_until_then(upgradable, next_build):
    u = upgradable(replicas=1)
    for name in ("cortexd-replica", "cortexd-activator"):
        os.unlink(u.bin / name)
        (u.bin / name).write_text("of another build, and not even a program")
        (u.bin / name).chmod(0o755)
    u.cortexd.expect_error("replica a/0: died .* killed by SIGKILL")
    u.cortexd.expect_error("activator: died .* killed by SIGKILL")
    activator = next(pid for pid, title in u.cortexd.family().items() if title.startswith("cortexd: activator"))
    for pid in (u.cortexd.replicas()[0], activator):
        size = u.cortexd.log_size()
        os.kill(pid, signal.SIGKILL)
        u.cortexd.wait_log("(replica a/0|activator): ready", since=size)
    assert u.cortexd.post(1).status == 200
    u.install(next_build)
    old, _ = u.ask()
    u.succeed(old, u.find_new())
    assert u.cortexd.post(1).json() in u.cortexd.wait_ready(1)


# --- it does not work -------------------------------------------------------------------------------------------------
def break_config(u):
    u.cortexd.write({"cortex.yaml": "- kind: nonsense\n"}, u.folder)
    return r"with exit status 1, as it says above"


def break_init(u):
    (u.folder / ".init.fails").touch()
    u.cortexd.expect_error(r"not taking over: replica a/\d: .*no model")
    u.cortexd.expect_error(r"replica a/\d: .*no model")
    return r"with exit status 1, as it says above"


def test_one_that_gives_up_takes_no_client_with_it(upgradable):
    """Who connects while the old processes are held up is theirs, though the new activator has the same listening socket."""
    u = upgradable()
    held = [pid for pid, title in u.cortexd.family().items() if re.match(r"cortexd: (replica|activator) ", title)]
    u.cortexd.expect_error(f"upgrade: failed: .*{break_init(u)}; this cortexd goes on")
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    with u.cortexd.connect() as client_of_the_old:
        client_of_the_old.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1")
        _, size = u.ask()
        u.cortexd.wait_log("upgrade: failed", since=size)
        for pid in held:
            os.kill(pid, signal.SIGCONT)
        assert client_of_the_old.answer().status == 200
    (u.folder / ".init.fails").unlink()


@pytest.mark.parametrize("preload", ["module", "init"])
def test_replicas_that_a_template_forks(upgradable, next_build, preload):
    u = upgradable(api=f"preload: {preload}")
    u.install(next_build)
    with Load(u.cortexd) as load:
        load.wait_more()
        u.upgrade()
        load.wait_more()
    assert not load.failures


def test_a_template_that_does_not_load_ends_the_attempt(upgradable):
    u = upgradable(api="preload: init")
    replicas = u.cortexd.replicas()
    (u.folder / ".init.fails").touch()
    u.cortexd.expect_error(r"not taking over: template a: .*no model")
    u.cortexd.expect_error(r"template a: .*no model")
    u.cortexd.expect_error("upgrade: failed: .*with exit status 1, as it says above; this cortexd goes on")
    _, size = u.ask()
    u.cortexd.wait_log("upgrade: failed", since=size)
    assert u.cortexd.replicas() == replicas and u.cortexd.post(1).status == 200
    (u.folder / ".init.fails").unlink()


def break_program(u):
    os.unlink(u.bin / "cortexd")
    (u.bin / "cortexd").write_text("no program")
    (u.bin / "cortexd").chmod(0o755)
    return r"does not start: cannot run .*: Exec format error"


def break_replica(u):
    os.unlink(u.bin / "cortexd-replica")
    u.cortexd.expect_error(r"cannot find the program cortexd-replica")
    return r"with exit status 1, as it says above"


def break_version(u):
    os.unlink(u.bin / "cortexd")
    (u.bin / "cortexd").write_text('#!/bin/sh\necho "$CORTEXD_UPGRADE" > format\nexit 3\n')
    (u.bin / "cortexd").chmod(0o755)
    return r"with exit status 3, as it says above"


def break_state_dir(u):
    config = (u.folder / "cortex.yaml").read_text()
    u.cortexd.write({"cortex.yaml": config + "  state_dir: elsewhere\n"}, u.folder)
    u.cortexd.expect_error(r"server.state_dir cannot change in an upgrade")
    return r"with exit status 1, as it says above"


def break_user(u):
    config = (u.folder / "cortex.yaml").read_text()
    u.cortexd.write({"cortex.yaml": config + "  user: nobody-has-this-name\n"}, u.folder)
    u.cortexd.expect_error(r"this machine has no user")
    return r"with exit status 1, as it says above"


def kill_new(u):
    return r"was killed by SIGKILL"


@pytest.mark.parametrize(
    "how", [break_config, break_init, break_program, break_replica, break_version, break_state_dir, break_user, kill_new]
)
def test_what_does_not_work_changes_nothing(upgradable, next_build, how):
    u = upgradable()
    cortexd = u.cortexd
    files = {name: (u.folder / name).read_text() for name in ("cortex.yaml",)}
    replicas, lock = cortexd.replicas(), (u.folder / ".cortex" / "lock").read_text()
    with Load(cortexd) as load:
        load.wait_more()
        why = how(u)
        cortexd.expect_error(f"upgrade: failed: .*{why}; this cortexd goes on")
        if how == kill_new:
            (u.folder / ".init.waits").touch()
        old, size = u.ask()
        if how == kill_new:
            new = u.find_new()
            wait_until(lambda: len([p for p in cortexd.family() if process_parent(p) == new]) >= 3, "it starts children")
            os.kill(new, signal.SIGKILL)
        cortexd.wait_log("upgrade: failed", since=size)
        load.wait_more()
        load.stop()
        assert load.pids <= set(replicas)
    assert cortexd.replicas() == replicas
    assert (u.folder / ".cortex" / "lock").read_text() == lock
    for name in (".init.fails", ".init.waits"):
        (u.folder / name).unlink(missing_ok=True)
    cortexd.write(files, u.folder)
    wait_until(lambda: not [p for p in cortexd.family() if process_parent(p) == old and cortexd.runs_cortexd(p)], "nobody is left of it")
    u.install(next_build)
    u.upgrade()
    assert cortexd.post(1).json() in cortexd.replicas()


def test_stopping_ends_the_new_one_too(upgradable):
    u = upgradable()
    (u.folder / ".init.waits").touch()
    old, _ = u.ask()
    new = u.find_new()
    wait_until(lambda: [pid for pid in u.cortexd.family() if process_parent(pid) == new], "it starts children")
    assert u.cortexd.stop() == 0
    assert "upgrade: canceled" in u.cortexd.log()


def test_the_new_one_takes_over_when_the_old_one_is_killed(upgradable, next_build):
    u = upgradable()
    u.install(next_build)
    (u.folder / ".init.waits").touch()
    old, size = u.ask()
    new = u.find_new()
    wait_until(lambda: [pid for pid in u.cortexd.family() if process_parent(pid) == new], "it starts children")
    os.kill(old, signal.SIGKILL)
    u.cortexd.wait_log("has died; taking over without its clients", since=size)
    (u.folder / ".init.waits").unlink()
    u.cortexd.expect_exit(247)
    u.succeed(old, new)
    u.cortexd.wait_ready(2)
    assert u.cortexd.post(1).json() in u.cortexd.replicas()
    assert (u.folder / ".cortex" / "lock").read_text() == f"{new}\n"


# --- the other one dies while the clients move ------------------------------------------------------------------------
@pytest.fixture
def halfway(upgradable):
    """An upgrade that waits for a prediction of the old cortexd: (what is upgraded, old pid, new pid, connection, old replica)."""
    u = upgradable(replicas=1)
    replica = u.cortexd.replicas()[0]
    with u.cortexd.connect() as connection:
        connection.send('POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n"x"')
        wait_until((u.folder / "x.begun").exists, "the prediction has begun")
        old, size = u.ask()
        new = u.find_new()
        u.cortexd.wait_log("has taken over", since=size)
        yield u, old, new, connection, replica


def end_prediction(u, connection):
    (u.folder / "x.end").touch()
    answer = connection.answer()
    assert answer.status == 200, answer
    return answer.json()


def test_the_old_one_is_killed_while_it_drains(halfway):
    u, old, new, connection, replica = halfway
    os.kill(old, signal.SIGKILL)
    u.cortexd.expect_exit(247)
    u.succeed(old, new)
    assert end_prediction(u, connection) == replica
    wait_until(lambda: process_state(replica) in (None, "Z"), "the old replica ends")
    assert u.cortexd.post(1).json() in u.cortexd.wait_ready(1)


def test_another_upgrade_follows_while_the_old_one_drains(halfway):
    """The client goes from the first to the third, by way of the second, which has nothing else to do any more."""
    u, old, new, connection, replica = halfway
    size = u.cortexd.log_size()
    os.kill(new, signal.SIGUSR2)
    third = u.find_new()
    u.cortexd.wait_log(f"process {third} has taken over", since=size)
    wait_until(lambda: not [pid for pid, title in u.cortexd.family().items() if process_parent(pid) == new and "replica" in title], "its replicas end")
    assert end_prediction(u, connection) == replica
    for pid in (old, new):
        u.succeed(pid, third)
    assert connection.post("/d/a", 1).json() in u.cortexd.wait_ready(1)


def test_the_second_is_killed_when_there_is_a_third(halfway):
    u, old, new, connection, replica = halfway
    u.cortexd.expect_error("upgrade: the new cortexd .* was killed by SIGKILL, after it had taken over")
    u.cortexd.expect_any_error()
    u.cortexd.expect_exit(1, 247)
    size = u.cortexd.log_size()
    os.kill(new, signal.SIGUSR2)
    third = u.find_new()
    u.cortexd.wait_log(f"process {third} has taken over", since=size)
    os.kill(new, signal.SIGKILL)
    u.cortexd.wait_log("after it had taken over", since=size)
    assert end_prediction(u, connection) == replica
    u.succeed(old, third)
    assert u.cortexd.post(1).json() in u.cortexd.wait_ready(1)


def test_both_are_told_to_stop_while_the_old_one_drains(halfway):
    """As Ctrl-C does it: what runs is finished."""
    u, old, new, connection, replica = halfway
    size = u.cortexd.log_size()
    for pid in (old, new):
        os.kill(pid, signal.SIGINT)
    u.cortexd.wait_log("SIGINT: draining already", since=size)
    assert end_prediction(u, connection) == replica
    assert u.cortexd.wait_exit() == 0


def test_the_new_activator_is_killed_while_the_old_one_drains(halfway):
    """With it goes the channel that the clients come by, once it has that."""
    u, old, new, connection, replica = halfway
    u.cortexd.expect_error("activator: died after .* killed by SIGKILL")
    wait_until(lambda: connections(new) == 1, "it expects the client")
    activator = next(pid for pid, title in u.cortexd.family().items() if process_parent(pid) == new and title.startswith("cortexd: activator"))
    size = u.cortexd.log_size()
    os.kill(activator, signal.SIGKILL)
    u.cortexd.wait_log("activator: ready", since=size)
    assert end_prediction(u, connection) == replica
    assert connection.closed()
    u.cortexd.wait_log("cannot hand connections over to the new cortexd: Broken pipe; keeping them")
    u.succeed(old, new)
    assert u.cortexd.post(1).json() in u.cortexd.wait_ready(1)


def test_the_new_one_is_killed_after_it_has_taken_over(halfway):
    u, old, new, connection, replica = halfway
    u.cortexd.expect_error("upgrade: the new cortexd .* was killed by SIGKILL, after it had taken over")
    u.cortexd.expect_any_error()
    u.cortexd.expect_exit(1, 247)
    os.kill(new, signal.SIGKILL)
    u.cortexd.wait_log("after it had taken over")
    assert end_prediction(u, connection) == replica
    u.cortexd.wait_exit()


# --- limits, users, containers ----------------------------------------------------------------------------------------
def test_as_many_connections_as_there_may_be(upgradable, next_build):
    limit = 600 - 256  # HTTP_RESERVED_FDS
    u = upgradable(descriptor_limit=600)
    u.install(next_build)
    kept = [u.cortexd.connect() for _ in range(limit)]
    try:
        for connection in kept:
            assert connection.post("/d/a", 1).status == 200
        u.upgrade()
        wait_until(lambda: connections(u.cortexd.pid) == limit, "all are counted")
        for connection in kept:
            assert connection.post("/d/a", 1).json() in u.cortexd.replicas()
        with u.cortexd.connect() as beyond:
            beyond.send("POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1")
            kept.pop().close()  # now there is room
            assert beyond.answer().status == 200
    finally:
        for connection in kept:
            connection.close()
    wait_until(lambda: connections(u.cortexd.pid) == 0, "none is counted")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_nobody_has_to_be_root_for_it(start, public, next_build, tmp_path):
    path = public / "run" / "http.sock"
    path.parent.mkdir()
    os.chmod(path.parent, 0o777)
    env = {"LSAN_OPTIONS": f"{os.environ.get('LSAN_OPTIONS', '')}:suppressions={public}/lsan.supp"} if SANITIZED else {}
    u = Upgradable(start, public, BUILD, folder=public / "project", env=env, server=f'user: nobody\nlisten: ["127.0.0.1:@PORT@", "unix:{path}"]')
    u.install(next_build)
    with u.cortexd.connect() as kept, client.Connection(path=str(path)) as local:
        assert kept.post("/d/a", 1).status == local.post("/d/a", 1).status == 200
        _, new = u.upgrade()
        for connection in (kept, local):
            assert connection.post("/d/a", 1).json() in u.cortexd.replicas()
    assert b"nobody" in read_proc(new, "environ")
    assert re.search(rb"^Uid:\t(\d+)\t\1\t\1", read_proc(new, "status"), re.MULTILINE)[1] != b"0"
    u.upgrade()
    u.cortexd.stop()
    assert not path.exists()


def test_the_first_process_of_a_container_cannot_be_replaced(start, container):
    cortexd = start(PREDICTOR, **container)
    cortexd.expect_error("upgrade: failed: this cortexd is the first process of a container")
    cortexd.signal(signal.SIGUSR2)
    cortexd.wait_log("upgrade: failed")
    assert cortexd.post(1).status == 200
