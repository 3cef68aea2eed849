"""What cortexd says to the service manager that started it, and the sockets that it gets from it."""
import configparser
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time

import pytest

import client
from cortexd import PATIENCE, ROOT, SANITIZED, wait_until
from test_environment import OFFLINE, PROJECT

SERVICE = ROOT / "configs" / "systemd" / "cortexd.service"
SOCKET = ROOT / "configs" / "systemd" / "cortexd.socket"

ENVIRONMENT = """\
    import os


    def predict(sample, metadata):
        return [name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))]
"""
# init() waits for a file.
SLOW = """\
    import os
    import time


    def init(model_path, metadata):
        while not os.path.exists("go"):
            time.sleep(0.01)


    def predict(sample, metadata):
        return os.getpid()
"""
TWO_APIS = """\
    - {kind: deployment, name: d}
    - {kind: server, listen: "127.0.0.1:@PORT@"}
    - {kind: api, name: a, predictor: {path: predictor.py}}
    - {kind: api, name: b, predictor: {path: broken.py}}
"""
# Becomes cortexd, with the descriptors of the first argument as 3 and up and the variables for it.
HAND_OVER = """\
import fcntl
import os
import sys

fds = [int(fd) for fd in sys.argv[1].split(",") if fd]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for fd in fds:
    os.close(fd)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ["LISTEN_FDS"] = str(len(fds))
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """A notify socket and what arrives there."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.environment = {"NOTIFY_SOCKET": address}
        self.messages = []
        self.senders = set()

    def read(self, patience=0.0):
        """Take the next message; False when there is none for so long."""
        self.socket.settimeout(patience)
        try:
            text, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        except (BlockingIOError, TimeoutError):
            return False
        self.senders |= {struct.unpack("iII", data)[0] for _, kind, data in ancillary if kind == socket.SCM_CREDENTIALS}
        self.messages.append(text.decode())
        return True

    def read_all(self):
        while self.read():
            continue
        return self.messages

    def wait(self, pattern, since=0):
        """Until a message matches, from the one with that number on; its number."""
        end = time.monotonic() + PATIENCE
        while True:
            for number, message in enumerate(self.messages[since:], since):
                if re.search(pattern, message, re.MULTILINE):
                    return number
            assert time.monotonic() < end and self.read(PATIENCE), f"never said: {pattern}; only {self.messages}"

    def said(self, pattern):
        return [message for message in self.read_all() if re.search(pattern, message, re.MULTILINE)]


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def hand_over(*sockets):
    """Options of start() for a cortexd that inherits them."""
    fds = [s.fileno() for s in sockets]
    return {"wrapper": [sys.executable, "-c", HAND_OVER, ",".join(map(str, fds))], "pass_fds": fds}


# --- notify -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_ready_is_said_when_all_replicas_are_and_stopping_when_it_stops(start, tmp_path, kind):
    manager = Manager(str(tmp_path / "notify") if kind == "path" else f"@cortexd-test-{os.getpid()}")
    cortexd = start(SLOW, replicas=2, wait=False, env=manager.environment)
    manager.wait(r"^STATUS=0 of 2 replicas ready$")
    cortexd.wait_replicas(2, state="loading")
    manager.wait(r"^EXTEND_TIMEOUT_USEC=\d{8}$")
    assert not manager.said("READY=1")
    (cortexd.folder / "go").touch()
    assert manager.messages[manager.wait("READY=1")] == "READY=1\nSTATUS=2 of 2 replicas ready"
    cortexd.wait_ready(2)
    cortexd.stop()
    manager.wait(r"STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000\n")
    assert len(manager.said("READY=1")) == 1
    assert not manager.said("WATCHDOG")
    assert manager.senders == {cortexd.process.pid}
    manager.socket.close()


def test_the_status_follows_what_happens(start, manager):
    cortexd = start(SLOW, replicas=2, wait=False, env=manager.environment)
    (cortexd.folder / "go").touch()
    ready = manager.wait("READY=1")
    (cortexd.folder / "go").unlink()
    cortexd.expect_error(r"killed by SIGKILL")
    os.kill(cortexd.replicas()[0], 9)
    one = manager.wait("STATUS=1 of 2 replicas ready", since=ready + 1)
    (cortexd.folder / "go").touch()
    manager.wait("STATUS=2 of 2 replicas ready", since=one)
    assert len(manager.said("READY=1")) == 1


def test_an_api_that_does_not_start_holds_up_the_others_no_longer_than_it_tries(start, manager):
    files = {"cortex.yaml": TWO_APIS, "predictor.py": ENVIRONMENT, "broken.py": "import no_such_module\n"}
    cortexd = start(files, wait=False, env=manager.environment)
    cortexd.expect_error("no_such_module")
    manager.wait(r"READY=1\nSTATUS=1 of 2 replicas ready, 1 failing")


def test_a_start_of_which_nothing_comes_is_not_called_ready(start, manager):
    cortexd = start("import no_such_module\n", wait=False, env=manager.environment)
    cortexd.expect_error("no_such_module")
    manager.wait("STATUS=0 of 1 replicas? ready, 1 failing")
    cortexd.stop()
    manager.wait("STOPPING=1")
    assert not manager.said("READY=1")


def test_the_making_of_an_environment_extends_the_start(start, manager):
    cortexd = start({**PROJECT, "hold": ""}, wait=False, env={**manager.environment, **OFFLINE})
    manager.wait("STATUS=making the Python environment")
    manager.wait(r"EXTEND_TIMEOUT_USEC=\d{8}")
    cortexd.stop()


@pytest.mark.parametrize("whose", ["ours", "nobody's in particular", "another's"])
def test_the_watchdog_is_answered_when_it_is_ours(start, manager, whose):
    environment = {**manager.environment, "WATCHDOG_USEC": "100000"}
    options = hand_over() if whose == "ours" else {}
    if whose == "another's":
        environment["WATCHDOG_PID"] = "1"
    cortexd = start(ENVIRONMENT, env=environment, **options)
    if whose == "another's":
        cortexd.stop()
        manager.wait("STOPPING=1")
        assert not manager.said("WATCHDOG")
        return
    manager.wait("READY=1")
    begin, number = time.monotonic(), len(manager.read_all())
    for _ in range(10):
        number = manager.wait("^WATCHDOG=1$", since=number) + 1
    assert time.monotonic() - begin < 10 if SANITIZED else 3


def test_children_hear_nothing_of_it(start, manager):
    cortexd = start(ENVIRONMENT, env={**manager.environment, "WATCHDOG_USEC": "60000000", "LISTEN_FDNAMES": "x"}, **hand_over())
    assert cortexd.post(None).json() == []


def test_a_manager_that_does_not_read_holds_nothing_up_and_misses_nothing(start, manager):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"STATUS=other", manager.environment["NOTIFY_SOCKET"])
    cortexd = start(ENVIRONMENT, env=manager.environment)
    assert cortexd.post(None).status == 200
    manager.wait("READY=1\nSTATUS=1 of 1 replica ready")


@pytest.mark.parametrize("address", ["relative", "/no/such/folder/notify", "", "@"])
def test_a_manager_that_is_not_there_is_done_without(start, address):
    cortexd = start(ENVIRONMENT, env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "soon"})
    assert cortexd.post(None).json() == []


# --- socket activation ------------------------------------------------------------------------------------------------
def test_a_client_that_comes_while_nobody_is_there_waits_for_the_next_cortexd(start, port):
    with socket.create_server(("127.0.0.1", port)) as theirs:
        for _ in range(2):
            with client.Connection(port) as early:
                early.send(b"POST /d/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nnull")
                cortexd = start(ENVIRONMENT, **hand_over(theirs))
                assert early.answer().json() == []
                assert cortexd.post(None).json() == []
            cortexd.stop()


def test_an_inherited_unix_socket_stays_when_cortexd_ends(start, tmp_path, port):
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen()
        cortexd = start(ENVIRONMENT, server=f"listen: ['unix:{path}', '127.0.0.1:@PORT@']", **hand_over(theirs))
        for options in ({"path": str(path)}, {"port": port}):  # the other one is bound as usual
            with client.Connection(**options) as connection:
                assert connection.post("/d/a", None).json() == []
        cortexd.stop()
        assert path.is_socket()
        client.Connection(path=str(path)).close()


def test_an_inherited_socket_that_the_config_does_not_name_is_an_error(start, port):
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        address = "127.0.0.1:%d" % theirs.getsockname()[1]
        cortexd = start(ENVIRONMENT, wait=False, env={"LISTEN_FDNAMES": "shop.socket"}, **hand_over(theirs))
        cortexd.expect_error(rf'inherited socket 1 \("shop.socket"\) listens on {address}, which is not in server.listen')
        cortexd.expect_exit(1)
        assert cortexd.wait_exit() == 1


def test_sockets_for_another_process_are_left_alone(start, port):
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        env = {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
        cortexd = start(ENVIRONMENT, env=env, pass_fds=[theirs.fileno()])
        assert cortexd.post(None).json() == []


# --- the unit files ---------------------------------------------------------------------------------------------------
def read_unit(path):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(path)
    return unit


@pytest.mark.once
def test_the_unit_files_say_what_cortexd_needs():
    service = read_unit(SERVICE)["Service"]
    expected = {"Type": "notify", "NotifyAccess": "main", "KillMode": "mixed", "OOMPolicy": "continue"}
    assert {key: service[key] for key in expected} == expected
    assert int(service["WatchdogSec"]) > 0
    stop_timeout = int(re.search(r"--stop-timeout (\d+)", service["ExecStart"])[1])
    assert int(service["TimeoutStopSec"]) >= stop_timeout + 30
    assert "MemoryDenyWriteExecute" not in service and "ProcSubset" not in service
    assert read_unit(SOCKET)["Socket"]["ListenStream"] == "127.0.0.1:8888"


@pytest.mark.once
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_understands_every_line_of_the_unit_files(start, tmp_path):
    cortexd = start(ENVIRONMENT)
    for path in (SERVICE, SOCKET):
        text = path.read_text().replace("/usr/local/bin/cortexd", str(cortexd.binary))
        (tmp_path / path.name).write_text(text)
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", tmp_path / SERVICE.name, tmp_path / SOCKET.name],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
