"""The admin interface: what it shows, what it does, who is refused, and that clients of apis notice nothing of it."""
import json
import os
import re
import signal
import socket
import threading
import time

import pytest

from client import Connection
from cortexd import process_state, reserved_port, wait_until

PREDICTOR = """\
import os, time

def predict(sample, metadata):
    if sample == "die":
        os._exit(3)
    if isinstance(sample, float):
        time.sleep(sample)
    return sample
"""
HURRIED = [("X-Cortexd", "1")]


class Admin:
    """Requests by the unix socket, or over TCP when there is a port."""

    def __init__(self, cortexd, port=None, token=None):
        self.cortexd, self.port, self.token = cortexd, port, token

    def connect(self):
        if self.port:
            return Connection(self.port)
        # A path of any length: by way of the folder's descriptor.
        folder = os.open(self.cortexd.folder / ".cortex", os.O_PATH)
        try:
            return Connection(path=f"/proc/self/fd/{folder}/control.sock")
        finally:
            os.close(folder)

    def request(self, method, path, body=None, headers=(), host="localhost"):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        body = b"" if body is None else body
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        with self.connect() as connection:
            connection.send("\r\n".join([*lines, "", ""]).encode() + body)
            return connection.answer(head=method == "HEAD")

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def do(self, path):
        return self.request("POST", path, headers=HURRIED)

    def status(self):
        answer = self.get("/status")
        assert answer.status == 200, answer
        return answer.json()

    def api(self, name="a"):
        return next(api for api in self.status()["apis"] if api["name"] == name)

    def metrics(self):
        """{(name, labels): value}."""
        text = self.get("/metrics").text
        found = re.findall(r'^(\w+)(?:\{(.*)\})? (\S+)$', text, re.M)
        return {(name, labels): float(value) for name, labels, value in found}


@pytest.fixture
def admin_port():
    with reserved_port() as number:
        yield number


@pytest.fixture
def over_tcp(start, admin_port):
    """cortexd with the admin interface over TCP as well."""
    cortexd = start(PREDICTOR, server=f"admin: [unix, 127.0.0.1:{admin_port}]")
    token = (cortexd.folder / ".cortex" / "token").read_text().strip()
    return Admin(cortexd, admin_port, token)


# --- status -----------------------------------------------------------------------------------------------------------
def test_the_status_of_a_cortexd_that_serves(start):
    cortexd = start(PREDICTOR, replicas=2)
    admin = Admin(cortexd)
    assert cortexd.post("x").status == 200
    status = wait_until(lambda: (s := admin.status())["apis"][0]["slots"][0]["memory_bytes"] > 0 and s, "memory is known")
    assert status["state"] == "serving" and status["pid"] == cortexd.pid and status["deployment"] == "d"
    assert status["config"] == str(cortexd.folder / "cortex.yaml") and status["reload"]["state"] == "done"
    assert [p["role"] for p in status["processes"]] == ["activator", "monitor"]
    api = status["apis"][0]
    assert (api["name"], api["endpoint"], api["kind"], api["status"], api["message"]) == ("a", "/d/a", "predictor", "live", "")
    assert api["replicas"] | {"by_state": None} == {
        "wanted": 2, "requested": 2, "available": 2, "up_to_date": 2, "failed": 0, "by_state": None,
    }
    assert sorted(slot["pid"] for slot in api["slots"]) == sorted(cortexd.replicas())
    assert api["metrics"]["requests"]["2xx"] == 1
    one = admin.get("/status?api=a").json()
    assert one["endpoint"] == "/d/a" and admin.get("/status?api=b").status == 404
    assert admin.get("/status?api=%zz").status == 404


def test_a_death_is_told_with_its_cause(start):
    cortexd = start(PREDICTOR, replicas=2)
    cortexd.expect_error("replica a/.: died after .* exit code 3")
    admin = Admin(cortexd)
    assert cortexd.post("die").status == 500
    api = wait_until(lambda: (a := admin.api())["deaths"] and a["replicas"]["available"] == 2 and a, "it is back")
    assert api["restarts"]["exit"] == 1 and sum(api["restarts"].values()) == 1
    assert api["deaths"][0]["cause"] == "exit" and api["deaths"][0]["text"] == "exit code 3"
    assert api["status"] == "live" and api["cpu"]["seconds_total"] > 0


def test_an_api_that_does_not_start_is_in_error(start):
    cortexd = start("def init(model, metadata):\n    pass\nraise ValueError('broken')\n", wait=False)
    cortexd.expect_error("replica a/0: start failed: .*broken")
    cortexd.expect_any_error()
    cortexd.wait_log("start failed")
    api = Admin(cortexd).api()
    assert api["status"] == "error" and "broken" in api["message"]
    assert api["replicas"]["failed"] == 1 and api["restarts"]["start_failed"] >= 1


def test_an_api_without_room_is_unavailable(start):
    cortexd = start(PREDICTOR, server="capacity: {cpu: 10m}", wait=False)
    cortexd.wait_log("compute unavailable")
    api = Admin(cortexd).api()
    assert api["status"] == "compute unavailable" and "the host has 10m" in api["message"] and api["replicas"]["requested"] == 0


def test_a_reload_is_seen(start):
    cortexd = start({"predictor.py": PREDICTOR})
    admin = Admin(cortexd)
    (cortexd.folder / "predictor.py").write_text("def predict(sample, metadata):\n    return 2\n")
    number = admin.do("/reload").json()["number"]
    assert number == 2
    wait_until(lambda: admin.status()["reload"] | {"text": ""} == {"number": 2, "state": "done", "text": "", "done": 1, "failed": 0}, "done")
    assert cortexd.post(1).json() == 2 and admin.api()["generation"] == 2
    (cortexd.folder / "predictor.py").write_text("raise ValueError('bad')\n")
    cortexd.expect_any_error()
    assert admin.do("/reload").json()["number"] == 3
    wait_until(lambda: admin.status()["reload"]["state"] == "failed", "failed")
    api = admin.api()
    assert api["status"] == "live" and "the last update failed" in api["message"] and api["generation"] == 2
    assert admin.metrics()["cortexd_reload_success", ""] == 0


# --- metrics, events, predictions -------------------------------------------------------------------------------------
def test_metrics_have_what_was_counted(start):
    cortexd = start(PREDICTOR)
    admin = Admin(cortexd)
    for _ in range(5):
        assert cortexd.post("x").status == 200
    labels = 'api="a",endpoint="/d/a"'
    wait_until(lambda: admin.metrics()["cortexd_requests_total", labels + ',code="2xx"'] == 5, "all are counted")
    metrics = admin.metrics()
    assert metrics["cortexd_request_seconds_bucket", labels + ',le="+Inf"'] == 5 == metrics["cortexd_request_seconds_count", labels]
    assert metrics["cortexd_replicas_ready", labels] == 1 and metrics["cortexd_api_status", labels + ',status="live"'] == 1
    buckets = [v for (name, l), v in metrics.items() if name == "cortexd_request_seconds_bucket"]
    assert buckets == sorted(buckets)
    plain = admin.get("/metrics")
    assert plain.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    open_metrics = admin.get("/metrics", headers=[("Accept", "application/openmetrics-text; version=1.0.0")])
    assert open_metrics.header("content-type").startswith("application/openmetrics-text") and open_metrics.text.endswith("# EOF\n")


def test_events_come_each_second(start):
    cortexd = start(PREDICTOR)
    with Admin(cortexd).connect() as follower:
        follower.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"text/event-stream" in follower.read_until(b"\r\n\r\n")
        begin = time.monotonic()
        for _ in range(3):
            event = follower.read_until(b"\n\n").decode()
            assert json.loads(re.fullmatch(r"event: status\ndata: (.*)\n*", event)[1])["state"] == "serving"
        assert 1.5 < time.monotonic() - begin < 10


def test_a_prediction_by_way_of_the_monitor(start):
    cortexd = start(PREDICTOR)
    cortexd.expect_any_error()
    admin = Admin(cortexd)
    json_type = [("Content-Type", "application/json")]
    answer = admin.request("POST", "/predict?api=a", b'{"x": [1]}', json_type)
    assert answer.status == 200 and answer.json() == {"x": [1]}
    assert admin.request("POST", "/predict?api=a", b"{", json_type).status == 400
    assert admin.request("POST", "/predict?api=b", b"1", json_type).status == 404
    assert admin.request("POST", "/predict", b"1", json_type).status == 400
    large = json.dumps("x" * 5_000_000).encode()
    assert admin.request("POST", "/predict?api=a", large, json_type).body == large
    assert admin.request("POST", "/predict?api=a", b'"die"', json_type).status == 500


def test_an_answer_that_was_cut_is_not_passed_on_as_one(start):
    """The predictor answers for cortexd, and hangs up in the middle."""
    cortexd = start("""\
        import os, socket

        def predict(sample, metadata):
            for fd in map(int, os.listdir("/proc/self/fd")):
                try:
                    client = socket.socket(fileno=os.dup(fd))
                    client.getpeername()
                except OSError:
                    continue
                if client.family == socket.AF_INET:
                    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nhalf of")
                    client.shutdown(socket.SHUT_RDWR)
    """)
    answer = Admin(cortexd).request("POST", "/predict?api=a", b"1", [("Content-Type", "application/json")])
    assert answer.status == 502 and "cut short" in answer.text


# --- deeds ------------------------------------------------------------------------------------------------------------
def test_an_api_is_deleted_until_the_next_reload(start):
    cortexd = start(PREDICTOR)
    admin = Admin(cortexd)
    assert admin.do("/delete?api=b").status == 404 and admin.do("/delete").status == 400
    assert admin.do("/delete?api=a").status == 202
    wait_until(lambda: not admin.status()["apis"], "it is gone")
    assert cortexd.post(1).status == 404
    assert admin.do("/reload").status == 202
    wait_until(lambda: admin.status()["apis"] and admin.api()["status"] == "live", "it is back")
    assert cortexd.post(1).status == 200


def test_stop_stops(start):
    cortexd = start(PREDICTOR)
    admin = Admin(cortexd)
    assert admin.do("/stop").status == 202
    assert cortexd.wait_exit() == 0
    assert not (cortexd.folder / ".cortex" / "control.sock").exists()


# --- the monitor's life -----------------------------------------------------------------------------------------------
class Load:
    """Clients that ask all the time, none of whom may be failed."""

    def __init__(self, cortexd, n=3):
        self.cortexd, self.over, self.failures, self.n_done = cortexd, threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.run) for _ in range(n)]

    def run(self):
        with self.cortexd.connect() as connection:
            while not self.over.is_set():
                answer = connection.post("/d/a", 1)
                if answer.status != 200:
                    self.failures.append(answer)
                self.n_done += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *unused):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures and self.n_done > 10


def test_a_monitor_that_is_killed_or_stopped_is_replaced_while_clients_are_served(start):
    cortexd = start(PREDICTOR, replicas=2)
    cortexd.expect_error("monitor: died after .* killed by SIGKILL")
    cortexd.expect_error("monitor: does not answer; killing it")
    admin = Admin(cortexd)
    with Load(cortexd):
        for number in (signal.SIGKILL, signal.SIGSTOP):
            old = cortexd.monitor()
            os.kill(old, number)
            wait_until(lambda: cortexd.monitor() not in (None, old), "there is another one")
            assert admin.status()["processes"][1]["pid"] == cortexd.monitor()
    assert admin.metrics()["cortexd_process_restarts_total", 'role="monitor"'] == 2


def test_a_stopped_monitor_does_not_hold_up_the_end_for_long(start):
    cortexd = start(PREDICTOR)
    cortexd.expect_exit(0, 1)
    cortexd.expect_any_error()
    os.kill(cortexd.monitor(), signal.SIGSTOP)
    begin = time.monotonic()
    cortexd.stop()
    assert time.monotonic() - begin < 20


# --- attacks ----------------------------------------------------------------------------------------------------------
def test_over_tcp_nothing_is_told_without_the_token(over_tcp):
    right = over_tcp.token
    assert re.fullmatch("[0-9a-f]{64}", right)
    assert (over_tcp.cortexd.folder / ".cortex" / "token").stat().st_mode & 0o777 == 0o600
    for path in ("/status", "/metrics", "/events", "/logs?api=a", "/nothing"):
        for token in (None, "", right[:-1], right + "0", "x" * 64, right.upper() if right.upper() != right else "y"):
            over_tcp.token = token
            answer = over_tcp.get(path)
            assert answer.status == 401 and answer.header("www-authenticate"), (path, token)
    for path in ("/reload", "/stop", "/delete?api=a", "/predict?api=a"):
        over_tcp.token = "wrong"
        assert over_tcp.do(path).status == 401
    over_tcp.token = None
    assert over_tcp.get("/").status == over_tcp.get("/healthz").status == 200
    over_tcp.token = right
    assert over_tcp.status()["state"] == "serving"


def test_names_of_other_sites_and_posts_of_other_pages_are_refused(over_tcp):
    for admin in (over_tcp, Admin(over_tcp.cortexd)):  # ssh may lead to the unix socket
        for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", ""):
            assert admin.get("/status", host=host).status == 403, host
        for host in ("localhost", "127.0.0.1:80", "[::1]:8890"):
            assert admin.get("/status", host=host).status == 200, host
    json_type = ("Content-Type", "application/json")
    refused = (
        [("Origin", "http://evil.example"), json_type],
        [("Origin", "null"), json_type],
        [("Origin", "http://localhost.evil.example"), *HURRIED],
        [("Content-Type", "text/plain")],
        [("Content-Type", "application/jsonx")],
        [("Content-Type", "application/x-www-form-urlencoded")],
        [],
    )
    for admin in (over_tcp, Admin(over_tcp.cortexd)):
        for headers in refused:
            assert admin.request("POST", "/stop", b"", headers).status == 403, headers
    assert over_tcp.request("POST", "/reload", b"", [("Origin", "http://localhost"), *HURRIED]).status == 202
    answer = over_tcp.get("/status")
    assert answer.header("access-control-allow-origin") is None and answer.header("cache-control") == "no-store"


def test_a_client_whose_machine_is_gone_does_not_follow_for_ever(over_tcp):
    """The kernel asks it whether it is there, when there is nothing to send."""
    def has_keepalive_timer():
        rows = [line.split() for line in open("/proc/net/tcp")][1:]
        return any(row[1].endswith(f":{over_tcp.port:04X}") and row[3] == "01" and row[5].startswith("02:") for row in rows)

    with over_tcp.connect() as follower:
        follower.send(f"GET /logs?api=a&follow=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {over_tcp.token}\r\n\r\n")
        assert follower.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        wait_until(has_keepalive_timer, "the timer runs")


def test_no_path_leads_to_a_file(start):
    admin = Admin(start(PREDICTOR))
    for path in (
        "/assets/../token", "/assets/%2e%2e/token", "/assets//etc/passwd", "/../../etc/passwd", "/assets/%2fetc%2fpasswd",
        "/assets/", "/assets", "//status", "/status/../token", "/assets/index.html%00.js", "/%", "/assets/" + "a" * 8000,
    ):
        assert admin.get(path).status in (400, 404), path
    assert admin.request("PUT", "/status", headers=HURRIED).status == 405 and admin.get("/stop").status == 405
    assert admin.request("HEAD", "/status").status == 200
    assert admin.request("POST", "/reload", b"x" * 70000, [("Content-Type", "application/json")]).status == 413


def test_ten_thousand_connections_harm_nobody(over_tcp):
    cortexd, sockets = over_tcp.cortexd, []
    unix = Admin(cortexd)
    with Load(cortexd):
        for i in range(10000):
            s = socket.socket()
            s.setblocking(False)
            try:
                s.connect(("127.0.0.1", over_tcp.port))
            except BlockingIOError:
                pass
            sockets.append(s)
            if i % 2:
                try:
                    s.send(b"GET /status HTTP/1.1\r\nHost: ")  # and no more
                except OSError:
                    pass
            if len(sockets) > 900:
                sockets.pop(0).close()
        assert unix.status()["state"] == "serving"
        monitor = cortexd.monitor()
        assert len(os.listdir(f"/proc/{monitor}/fd")) < 300
        assert over_tcp.get("/status").status == 200
    for s in sockets:
        s.close()
    assert cortexd.monitor() == monitor and process_state(monitor) != "Z"


def test_who_follows_and_does_not_read_is_left_behind(start):
    cortexd = start(PREDICTOR)
    admin = Admin(cortexd)
    followers = [admin.connect() for _ in range(40)]
    for follower in followers:
        follower.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_until(lambda: sum(b"503" in f.socket.recv(20, socket.MSG_PEEK) for f in followers) == 8, "32 may follow")
    assert admin.status()["state"] == "serving"
    for follower in followers:
        follower.close()


# --- addresses --------------------------------------------------------------------------------------------------------
def test_a_reload_changes_the_admin_addresses(start, admin_port):
    cortexd = start(PREDICTOR)
    admin, config = Admin(cortexd), cortexd.folder / "cortex.yaml"
    text = config.read_text()
    (cortexd.folder / "secret").write_text("0123456789abcdef-secret\n")
    (cortexd.folder / "secret").chmod(0o600)
    config.write_text(text + f"  admin: [unix, 127.0.0.1:{admin_port}]\n  admin_token: secret\n")
    assert admin.do("/reload").status == 202
    tcp = Admin(cortexd, admin_port, "0123456789abcdef-secret")

    def answers():
        try:
            return tcp.get("/status").status == 200
        except OSError:
            return False

    wait_until(answers, "it answers over TCP")
    config.write_text(text)
    assert tcp.do("/reload").status == 202

    def refused():
        try:
            tcp.connect().close()
        except ConnectionRefusedError:
            return True

    wait_until(refused, "it does not any more")
    wait_until(lambda: cortexd.monitor(), "the monitor is ready")
    wait_until(lambda: admin.status()["state"] == "serving", "the reload is over")


def test_a_reload_takes_the_unix_socket_away_and_brings_it_back(start):
    cortexd = start(PREDICTOR)
    config, path = cortexd.folder / "cortex.yaml", cortexd.folder / ".cortex" / "control.sock"
    text = config.read_text()
    config.write_text(text + "  admin: none\n")
    assert Admin(cortexd).do("/reload").status == 202
    wait_until(lambda: not path.exists(), "the socket is gone")
    assert cortexd.post(1).status == 200
    config.write_text(text)
    cortexd.signal(signal.SIGHUP)
    wait_until(path.exists, "the socket is there")
    wait_until(lambda: Admin(cortexd).status()["state"] == "serving", "it answers")


def test_there_may_be_no_admin_interface(start):
    cortexd = start(PREDICTOR, server="admin: none")
    assert not (cortexd.folder / ".cortex" / "control.sock").exists()
    assert cortexd.post(1).status == 200
