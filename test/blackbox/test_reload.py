"""Reloading: SIGHUP and `cortexd --reload`. What changes, what stays, what an error leaves alone; nobody notices anything."""
import os
import signal
import subprocess
import threading

import pytest

from cortexd import BUILD, SANITIZED, Scoreboard, process_state, wait_until

CORTEXD = BUILD / "bin" / "cortexd"

ECHO = """\
    import os

    def predict(sample, metadata):
        return [{version}, os.getpid()]
"""
GATED = """\
    import os
    import time

    def predict(sample, metadata):
        open(sample + ".begun", "w").close()
        while not os.path.exists(sample + ".end"):
            time.sleep(0.002)
        return {version}
"""
SLOW_INIT = """\
    import os
    import time

    def init(model_path, metadata):
        open(".init.begun", "a").write("x")
        while not os.path.exists(".init.end"):
            time.sleep(0.002)

    def predict(sample, metadata):
        return [{version}, os.getpid()]
"""


def config(*apis, listen="127.0.0.1:@PORT@", more=""):
    """cortex.yaml: an api for each dict; name, endpoint, and further keys as YAML text."""
    text = "- kind: deployment\n  name: d\n"
    for api in apis:
        text += f"- kind: api\n  name: {api['name']}\n  predictor: {{path: {api.get('path', 'predictor.py')}}}\n"
        text += f"  endpoint: {api.get('endpoint', '/' + api['name'])}\n"
        text += f"  compute: {{min_replicas: {api.get('replicas', 1)}, cpu: 100m}}\n"
        for key, value in api.get("more", {}).items():
            text += f"  {key}: {value}\n"
    return text + f"- kind: server\n  listen: {listen}\n{more}"


class Project:
    """A cortexd, its files, and how they change."""

    def __init__(self, start, files, ready, **options):
        self.cortexd = start(files, wait=False, **options)
        self.cortexd.wait_ready(ready)

    def change(self, files):
        self.cortexd.write({name: text.replace("@PORT@", str(self.cortexd.port)) for name, text in files.items()}, self.cortexd.folder)

    def command(self):
        return subprocess.run(
            [CORTEXD, "-c", self.cortexd.folder / "cortex.yaml", "--reload"], capture_output=True, text=True, timeout=120
        )

    def reload(self, files, code=0):
        """Change files and reload; what the command said."""
        self.change(files)
        result = self.command()
        assert result.returncode == code, result
        return result.stdout + result.stderr

    def post(self, path, sample=None):
        with self.cortexd.connect() as connection:
            answer = connection.post(path, sample)
            return answer.json() if answer.status == 200 else answer.status

    def pids(self, state="ready"):
        return set(self.cortexd.replicas(state))


@pytest.fixture
def project(start):
    return lambda files, ready=1, **options: Project(start, files, ready, **options)


# --- what changes, and what stays -------------------------------------------------------------------------------------
def test_nothing_has_changed(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    pids = p.pids()
    assert "0 changed, 0 added, 0 removed, 1 unchanged" in p.reload({})
    os.utime(p.cortexd.folder / "predictor.py")  # touched, but the same text
    p.change({"nohup.out": "x", "__pycache__/a.pyc": "x", ".hidden": "x"})
    assert "1 unchanged" in p.reload({"cortex.yaml": "# a comment\n" + (p.cortexd.folder / "cortex.yaml").read_text()})
    assert p.pids() == pids


@pytest.mark.parametrize("name", ["predictor.py", "helper.py", "package/inner.py", "model.bin"])
def test_a_file_of_the_project_has_changed(project, name):
    files = {"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 3})}
    files.setdefault(name, "1")
    p = project(files, ready=3)
    before = p.pids()
    assert "1 changed" in p.reload({name: ECHO.format(version=22)})
    assert len(p.pids()) == 3 and not p.pids() & before
    assert p.post("/a")[0] == (22 if name == "predictor.py" else 1)


def test_only_the_api_whose_settings_changed_gets_new_replicas(project):
    apis = [{"name": "a"}, {"name": "b", "replicas": 2}]
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config(*apis)}, ready=3)
    a = p.post("/a")
    apis[1]["more"] = {"requests": "{timeout: 7s}"}
    assert "1 changed, 0 added, 0 removed, 1 unchanged" in p.reload({"cortex.yaml": config(*apis)})
    assert p.post("/a") == a
    p.cortexd.wait_replicas(3)


def test_counts_take_effect_without_new_replicas(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    before = p.pids()
    assert "1 unchanged" in p.reload({"cortex.yaml": config({"name": "a", "replicas": 4, "more": {"requests": "{max_queue_length: 7}"}})})
    assert len(p.cortexd.wait_replicas(4)) == 4 and before < p.pids()
    compute = config({"name": "a", "replicas": 1}).replace("min_replicas: 1", "min_replicas: 1, max_replicas: 1")
    p.reload({"cortex.yaml": compute})
    p.cortexd.wait_replicas(1)


def test_apis_come_and_go(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a"})})
    before = p.pids()
    assert p.post("/b") == 404
    assert "0 changed, 1 added, 0 removed, 1 unchanged" in p.reload({"cortex.yaml": config({"name": "a"}, {"name": "b"})})
    assert p.post("/b")[0] == 1 and p.post("/a")[1] in before
    assert "0 changed, 0 added, 1 removed, 1 unchanged" in p.reload({"cortex.yaml": config({"name": "b"})})
    assert p.post("/a") == 404 and p.post("/b")[0] == 1
    for _ in range(20):  # numbers and places are used again
        p.reload({"cortex.yaml": config({"name": "a"})})
        p.reload({"cortex.yaml": config({"name": "b"})})
    assert p.post("/b")[0] == 1


def test_an_endpoint_moves_when_the_new_one_works(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    p.change({"predictor.py": SLOW_INIT.format(version=2), "cortex.yaml": config({"name": "a", "endpoint": "/new", "replicas": 2})})
    p.cortexd.signal(signal.SIGHUP)
    wait_until(lambda: (p.cortexd.folder / ".init.begun").exists(), "the new generation begins")
    assert p.post("/a")[0] == 1 and p.post("/new") == 404
    (p.cortexd.folder / ".init.end").touch()
    p.cortexd.wait_log("reload: done")
    assert p.post("/a") == 404 and p.post("/new")[0] == 2


def test_two_apis_exchange_their_endpoints(project):
    files = {"one.py": ECHO.format(version=1), "two.py": ECHO.format(version=2)}
    files["cortex.yaml"] = config({"name": "a", "path": "one.py"}, {"name": "b", "path": "two.py"})
    p = project(files, ready=2)
    assert (p.post("/a")[0], p.post("/b")[0]) == (1, 2)
    p.reload({"cortex.yaml": config({"name": "a", "path": "one.py", "endpoint": "/b"}, {"name": "b", "path": "two.py", "endpoint": "/a"})})
    assert (p.post("/a")[0], p.post("/b")[0]) == (2, 1)


def test_an_endpoint_goes_to_an_api_with_another_name(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "endpoint": "/x"})})
    stop, wrong = threading.Event(), []

    def ask():
        while not stop.is_set():
            answer = p.post("/x")
            if not isinstance(answer, list):
                wrong.append(answer)

    thread = threading.Thread(target=ask)
    thread.start()
    for name in "bababa":
        p.reload({"cortex.yaml": config({"name": name, "endpoint": "/x"})})
    stop.set()
    thread.join()
    assert not wrong


def test_more_replicas_than_there_are_places_for(project):
    """max_replicas grows beyond what the api had room for on the scoreboard."""
    compute = "compute: {min_replicas: 2, max_replicas: %d, cpu: 100m}"
    text = config({"name": "a", "replicas": 2})
    small = text.replace("compute: {min_replicas: 2, cpu: 100m}", compute % 2)
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": small}, ready=2)
    p.reload({"cortex.yaml": text.replace("compute: {min_replicas: 2, cpu: 100m}", compute % 500)})
    assert p.post("/a")[0] == 1
    p.cortexd.wait_replicas(2)


# --- addresses --------------------------------------------------------------------------------------------------------
def test_addresses_come_and_go(project, tmp_path):
    path = tmp_path / "s.sock"
    both = config({"name": "a", "replicas": 2}, listen=f"[127.0.0.1:@PORT@, 'unix:{path}']")
    one = config({"name": "a", "replicas": 2})
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": one}, ready=2)
    with p.cortexd.connect() as kept:
        assert kept.post("/a", None).json()[0] == 1
        p.reload({"cortex.yaml": both})
        curl = ["curl", "-s", "--max-time", "20", "--unix-socket", path, "-d", "{}", "http://localhost/a"]
        assert subprocess.run(curl, capture_output=True, text=True).stdout.startswith("[1,")
        assert kept.post("/a", None).json()[0] == 1
        p.reload({"cortex.yaml": one})
        wait_until(lambda: not path.exists(), "the socket's file is removed")
        assert kept.post("/a", None).json()[0] == 1
    assert p.post("/a")[0] == 1


def test_an_address_that_is_taken_changes_nothing(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a"})})
    before = p.pids()
    p.cortexd.expect_error("cannot listen on")
    said = p.reload({"cortex.yaml": config({"name": "a"}, listen="[127.0.0.1:@PORT@, 127.0.0.2:1]").replace("127.0.0.2:1", f"192.0.2.1:{p.cortexd.port}")}, code=1)
    assert "cannot listen on" in said and "stays in effect" in said
    assert p.pids() == before and p.post("/a")[0] == 1


@pytest.mark.parametrize("code", ["slow", "broken"])
def test_a_new_address_is_served_before_the_new_code_works_or_if_it_never_does(project, tmp_path, code):
    path = tmp_path / "s.sock"
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    both = config({"name": "a", "replicas": 2}, listen=f"[127.0.0.1:@PORT@, 'unix:{path}']")
    curl = ["curl", "-s", "--max-time", "20", "--unix-socket", path, "-d", "{}", "http://localhost/a"]
    if code == "broken":
        p.cortexd.expect_any_error()
        p.reload({"predictor.py": "1 / 0\n", "cortex.yaml": both}, code=1)
    else:
        p.change({"predictor.py": SLOW_INIT.format(version=2), "cortex.yaml": both})
        p.cortexd.signal(signal.SIGHUP)
        wait_until((p.cortexd.folder / ".init.begun").exists, "the new generation begins")
    for _ in range(5):
        assert subprocess.run(curl, capture_output=True, text=True).stdout.startswith("[1,")
    if code == "broken":
        p.reload({"predictor.py": ECHO.format(version=2)})
    else:
        (p.cortexd.folder / ".init.end").touch()
        p.cortexd.wait_log("reload: done")
    assert subprocess.run(curl, capture_output=True, text=True).stdout.startswith("[2,")
    p.cortexd.wait_ready(2)


# --- what an error leaves alone ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "broken, said",
    [
        ("import nothing_of_that_name\n", "No module named"),
        ("def predict(sample):\n    pass\n", "two arguments"),
        ("def init(model_path, metadata):\n    1 / 0\ndef predict(sample, metadata):\n    pass\n", "division by zero"),
        ("import os\nos._exit(3)\n", "exit code 3"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "SIGKILL"),
    ],
)
def test_code_that_does_not_start_changes_nothing(project, broken, said):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    before = p.pids()
    p.cortexd.expect_any_error()
    assert said in p.reload({"predictor.py": broken}, code=1)
    assert p.pids() == before and p.post("/a")[0] == 1
    assert "1 changed" in p.reload({"predictor.py": ECHO.format(version=2)})
    assert p.post("/a")[0] == 2 and not p.pids() & before


def test_a_config_with_errors_changes_nothing(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a"})})
    before = p.pids()
    for text in ("- kind: [\n", config({"name": "A"}), config({"name": "a", "path": "none.py"}), ""):
        p.cortexd.expect_any_error()
        since = p.cortexd.log_size()
        p.change({"cortex.yaml": text})
        p.cortexd.signal(signal.SIGHUP)
        p.cortexd.wait_log("reload: failed: .*; the old config stays in effect", since=since)
        assert p.pids() == before and p.post("/a")[0] == 1
    assert p.command().returncode == 1


def test_a_new_api_that_does_not_start_is_not_served_and_the_others_are(project):
    files = {"predictor.py": ECHO.format(version=1), "bad.py": "1 / 0\n", "cortex.yaml": config({"name": "a"})}
    p = project(files)
    p.cortexd.expect_any_error()
    both = config({"name": "a", "replicas": 2}, {"name": "b", "path": "bad.py"})
    assert 'api "b"' in p.reload({"cortex.yaml": both}, code=1)
    p.cortexd.wait_replicas(2)
    assert p.post("/a")[0] == 1 and p.post("/b") == 404
    assert "1 added" in p.reload({"bad.py": ECHO.format(version=3)})
    assert p.post("/b")[0] == 3
    p.cortexd.wait_ready(3)


def test_the_state_directory_cannot_change(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a"})})
    p.cortexd.expect_error("state_dir cannot change")
    p.change({"cortex.yaml": config({"name": "a"}, more="  state_dir: elsewhere\n")})
    p.cortexd.signal(signal.SIGHUP)
    p.cortexd.wait_log("state_dir cannot change while cortexd runs")
    assert p.post("/a")[0] == 1


def test_the_command_without_a_cortexd(tmp_path):
    (tmp_path / "predictor.py").write_text("def predict(sample, metadata): pass\n")
    (tmp_path / "cortex.yaml").write_text(config({"name": "a"}, listen="127.0.0.1:1"))
    result = subprocess.run([CORTEXD, "-c", tmp_path / "cortex.yaml", "--reload"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "none runs" in result.stderr


# --- the way from one to the other ------------------------------------------------------------------------------------
def test_the_old_ones_serve_until_the_new_ones_can(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    before = p.pids()
    p.change({"predictor.py": SLOW_INIT.format(version=2)})
    p.cortexd.signal(signal.SIGHUP)
    begun = p.cortexd.folder / ".init.begun"
    wait_until(begun.exists, "the new generation begins")
    assert p.pids() == before and p.post("/a")[0] == 1
    assert begun.read_text() == "x"  # one has to show that it works; the others wait for that
    (p.cortexd.folder / ".init.end").touch()
    p.cortexd.wait_log("reload: done")
    assert p.post("/a")[0] == 2 and not p.pids() & before


def test_a_newer_config_replaces_one_that_is_not_there_yet(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    before = p.pids()
    p.change({"predictor.py": SLOW_INIT.format(version=2)})
    p.cortexd.signal(signal.SIGHUP)
    wait_until((p.cortexd.folder / ".init.begun").exists, "the second generation begins")
    p.reload({"predictor.py": ECHO.format(version=3)})
    assert p.post("/a")[0] == 3 and len(p.pids()) == 2
    assert not p.pids() & before
    p.cortexd.wait_replicas(0, state="starting")


def test_going_back_while_the_new_one_is_not_there_yet(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    before = p.pids()
    p.change({"predictor.py": SLOW_INIT.format(version=2)})
    p.cortexd.signal(signal.SIGHUP)
    wait_until((p.cortexd.folder / ".init.begun").exists, "the second generation begins")
    assert "1 unchanged" in p.reload({"predictor.py": ECHO.format(version=1)})
    assert p.pids() == before


@pytest.mark.parametrize("surge, unavailable", [("0", "1"), ("1", "0"), ("100%", "0"), ("0", "100%"), ("3", "50%")])
def test_no_more_and_no_less_than_the_strategy_allows(project, surge, unavailable):
    strategy = {"update_strategy": f"{{max_surge: {surge}, max_unavailable: {unavailable}}}"}
    files = {"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 4, "more": strategy})}
    p = project(files, ready=4)
    p.reload({"predictor.py": ECHO.format(version=2)})
    assert len(p.pids()) == 4 and p.post("/a")[0] == 2


def test_requests_that_run_and_wait_are_answered_by_those_that_they_came_for(project):
    files = {"predictor.py": GATED.format(version=1), "other.py": ECHO.format(version=5)}
    files["cortex.yaml"] = config({"name": "a"}, {"name": "b", "path": "other.py"})
    p = project(files, ready=2)
    answers = {}

    def ask(name):
        answers[name] = p.post("/a", name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("one", "two", "three")]
    threads[0].start()
    wait_until((p.cortexd.folder / "one.begun").exists, "the first prediction begins")
    for thread in threads[1:]:
        thread.start()
    p.change({"cortex.yaml": config({"name": "b", "path": "other.py"})})
    p.cortexd.signal(signal.SIGHUP)
    p.cortexd.wait_log('api "a" .* is removed')
    for name in ("one", "two", "three"):
        (p.cortexd.folder / f"{name}.end").touch()
    for thread in threads:
        thread.join()
    p.cortexd.wait_log("reload: done")
    assert answers["one"] == 1 and set(answers.values()) <= {1, 404}
    assert p.post("/a", "x") == 404 and p.post("/b")[0] == 5


def test_many_reloads_leave_no_trace_in_the_supervisor(project):
    from cortexd import descriptors, memory_kib

    p = project({"predictor.py": ECHO.format(version=0), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    for version in range(1, 51):
        p.reload({"predictor.py": ECHO.format(version=version)})
        if version == 15:
            before = descriptors(p.cortexd.pid), memory_kib(p.cortexd.pid)
    assert p.post("/a")[0] == 50
    wait_until(lambda: descriptors(p.cortexd.pid) <= before[0], "no descriptor is left over")
    if not SANITIZED:  # they keep what is freed
        assert memory_kib(p.cortexd.pid) <= before[1] + 256  # pages, not a leak for each reload


def test_the_activator_dies_during_a_reload(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    p.cortexd.expect_any_error()
    for version in range(2, 8):
        p.change({"predictor.py": ECHO.format(version=version), "cortex.yaml": config({"name": "a", "replicas": 2}, {"name": f"b{version}"})})
        since = p.cortexd.log_size()
        p.cortexd.signal(signal.SIGHUP)
        for pid, title in p.cortexd.family().items():
            if title.startswith("cortexd: activator"):
                os.kill(pid, signal.SIGKILL)
        p.cortexd.wait_log("reload: done", since=since)
        assert p.post("/a")[0] == version and p.post(f"/b{version}")[0] == version
    p.cortexd.wait_ready(3)


# --- one after the other, and in the middle of another -------------------------------------------------------------------
def test_a_broken_config_leaves_the_reload_alone_that_is_under_way(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    good = (p.cortexd.folder / "cortex.yaml").read_text()
    p.cortexd.expect_error("invalid YAML")
    p.cortexd.expect_error("reload: failed: .*; the old config stays in effect")
    p.change({"predictor.py": SLOW_INIT.format(version=2)})
    p.cortexd.signal(signal.SIGHUP)
    wait_until((p.cortexd.folder / ".init.begun").exists, "the second generation begins")
    p.change({"cortex.yaml": "- kind: [\n"})
    p.cortexd.signal(signal.SIGHUP)
    p.cortexd.wait_log("the old config stays in effect")
    p.change({"cortex.yaml": good})
    (p.cortexd.folder / ".init.end").touch()
    p.cortexd.wait_log("reload: done after .* 1 changed")
    assert p.post("/a")[0] == 2 and len(p.pids()) == 2


def test_a_successor_that_is_given_up_does_not_keep_the_old_api(project):
    files = {"predictor.py": ECHO.format(version=1), "slow.py": SLOW_INIT.format(version=2)}
    p = project({**files, "cortex.yaml": config({"name": "a", "endpoint": "/x"})})
    p.change({"cortex.yaml": config({"name": "b", "endpoint": "/x", "path": "slow.py"})})
    p.cortexd.signal(signal.SIGHUP)
    wait_until((p.cortexd.folder / ".init.begun").exists, "the other api begins")
    assert "1 added, 1 removed" in p.reload({"cortex.yaml": config({"name": "c"})})
    assert p.post("/x") == 404 and p.post("/c")[0] == 1
    p.cortexd.wait_ready(1)


def test_another_endpoint_is_not_begun_anew_by_the_same_config(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a"})})
    p.change({"predictor.py": SLOW_INIT.format(version=2), "cortex.yaml": config({"name": "a", "endpoint": "/new"})})
    begun = p.cortexd.folder / ".init.begun"
    for _ in range(2):
        since = p.cortexd.log_size()
        p.cortexd.signal(signal.SIGHUP)
        p.cortexd.wait_log("reload: reading", since=since)
        wait_until(begun.exists, "the new api begins")
    (p.cortexd.folder / ".init.end").touch()
    p.cortexd.wait_log("reload: done")
    assert begun.read_text() == "x" and p.post("/new")[0] == 2 and p.post("/a") == 404


def test_an_address_that_comes_back_before_it_is_gone(project, tmp_path):
    path = tmp_path / "s.sock"
    both = config({"name": "a"}, listen=f"[127.0.0.1:@PORT@, 'unix:{path}']")
    p = project({"predictor.py": GATED.format(version=1), "cortex.yaml": both})
    (p.cortexd.folder / "y.end").touch()
    with p.cortexd.connect() as busy:
        busy.send(b'POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"x"')
        wait_until((p.cortexd.folder / "x.begun").exists, "a prediction begins, which keeps its replica, and the address")
        p.change({"cortex.yaml": config({"name": "a"})})
        p.cortexd.signal(signal.SIGHUP)
        p.cortexd.wait_log(r"replica a/\d: ready", count=2)  # and so the first one is told to drain
        p.change({"cortex.yaml": both})
        p.cortexd.signal(signal.SIGHUP)
        p.cortexd.wait_log("api \"a\" has changed", count=2)
        (p.cortexd.folder / "x.end").touch()
        p.cortexd.wait_log("reload: done")
        assert busy.answer().json() == 1
    curl = ["curl", "-s", "--max-time", "20", "--unix-socket", path, "-d", '"y"', "http://localhost/a"]
    assert subprocess.run(curl, capture_output=True, text=True).stdout == "1"


# --- those that are replaced ------------------------------------------------------------------------------------------
def test_a_prediction_may_take_its_time_while_its_replica_is_replaced(project):
    files = {"predictor.py": "import time\ndef predict(sample, metadata):\n    time.sleep(sample)\n    return 1\n"}
    p = project({**files, "cortex.yaml": config({"name": "a"})}, args=["--stop-timeout", "1"])
    answers = []
    thread = threading.Thread(target=lambda: answers.append(p.post("/a", 4)))
    thread.start()
    with p.cortexd.connect() as other:
        wait_until(lambda: p.cortexd.replicas("ready") and busy(p), "the prediction runs")
        p.reload({"predictor.py": ECHO.format(version=2)})
        assert other.post("/a", None).json()[0] == 2
    thread.join()
    assert answers == [1]


def test_stopping_does_not_wait_as_long_as_a_reload(project):
    p = project({"predictor.py": GATED.format(version=1), "cortex.yaml": config({"name": "a"})}, args=["--stop-timeout", "1"])
    p.cortexd.expect_any_error()
    p.cortexd.expect_exit(0, 1)
    with p.cortexd.connect() as client:
        client.send(b'POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"x"')
        wait_until((p.cortexd.folder / "x.begun").exists, "the prediction begins")
        p.change({"predictor.py": ECHO.format(version=2)})
        p.cortexd.signal(signal.SIGHUP)
        p.cortexd.wait_log(r"replica a/\d: ready", count=2)  # and so the first one is told to drain
        p.cortexd.stop()
    assert float(p.cortexd.wait_log(r"stopped after (\d+)\.")[1]) < 20


def busy(p):
    with Scoreboard(p.cortexd.pid) as board:
        return any(slot[0] in ("busy", "long") for slot in board.slots(0))


def test_idle_clients_stay_when_a_replica_drains_and_there_is_no_activator(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a"})})
    p.cortexd.expect_any_error()
    (replica,) = p.pids()
    (activator,) = (pid for pid, title in p.cortexd.family().items() if title.startswith("cortexd: activator"))
    with p.cortexd.connect() as client:
        assert client.post("/a", None).json()[0] == 1
        p.cortexd.signal(signal.SIGSTOP)  # so that there is no next one
        try:
            os.kill(activator, signal.SIGKILL)
            wait_until(lambda: process_state(activator) == "Z", "the activator is dead")
            os.kill(replica, signal.SIGTERM)
            wait_until(lambda: p.pids("draining"), "the replica drains")
        finally:
            p.cortexd.signal(signal.SIGCONT)
        wait_until(lambda: replica not in p.cortexd.family(), "the replica has ended")
        assert client.post("/a", None).json()[0] == 1
    p.cortexd.wait_ready(1)


def test_who_was_started_with_other_code_in_between_is_replaced(project):
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    p.cortexd.expect_any_error()
    begun = p.cortexd.folder / ".init.begun"
    p.change({"predictor.py": SLOW_INIT.format(version=2)})
    p.cortexd.signal(signal.SIGHUP)
    wait_until(begun.exists, "the second generation begins")
    os.kill(min(p.pids()), signal.SIGKILL)
    wait_until(lambda: begun.read_text() == "xx", "one of the first generation is started again, and has the code of the second")
    p.reload({"predictor.py": ECHO.format(version=1)})
    assert len(p.pids()) == 2 and not p.pids("starting")
    (p.cortexd.folder / ".init.end").touch()
    assert {p.post("/a")[0] for _ in range(20)} == {1}


def test_the_limits_of_code_that_does_not_start_are_not_applied(project):
    def text(kib):
        return config({"name": "a", "more": {"requests": f"{{max_body_size: {kib}Ki}}"}})

    p = project({"predictor.py": GATED.format(version=1), "cortex.yaml": text(100)})
    p.cortexd.expect_any_error()
    p.reload({"predictor.py": "1 / 0\n", "cortex.yaml": text(1)}, code=1)
    (p.cortexd.folder / "two.end").touch()
    with p.cortexd.connect() as one, p.cortexd.connect() as two:
        one.send(b'POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"one"')
        wait_until((p.cortexd.folder / "one.begun").exists, "the first prediction begins")
        body = b'"two"' + b" " * 5000  # arrives at the activator, because the only replica is busy
        two.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        with Scoreboard(p.cortexd.pid) as board:
            wait_until(board.waiting, "the second one waits")
        (p.cortexd.folder / "one.end").touch()
        assert (one.answer().status, two.answer().status) == (200, 200)


def test_the_old_endpoint_stays_until_the_new_one_has_all_replicas(project):
    init = """\
    def init(model_path, metadata):
        try:
            os.close(os.open(".first", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            open(".second", "w").close()
            while not os.path.exists(".end"):
                time.sleep(0.002)
    """
    p = project({"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 2})}, ready=2)
    code = "    import time\n" + ECHO.format(version=2) + "\n" + init
    p.change({"predictor.py": code, "cortex.yaml": config({"name": "a", "endpoint": "/new", "replicas": 2})})
    p.cortexd.signal(signal.SIGHUP)
    wait_until((p.cortexd.folder / ".second").exists, "the first of the new ones is ready, the second not yet")
    p.cortexd.wait_replicas(3)
    assert p.post("/a")[0] == 1
    (p.cortexd.folder / ".end").touch()
    p.cortexd.wait_log("reload: done")
    assert p.post("/a") == 404 and p.post("/new")[0] == 2


def test_replicas_that_keep_dying_do_not_keep_a_reload_from_ending(project, hasty_build):
    once = ECHO.format(version=2) + "\n    def init(model_path, metadata):\n        os.open('.first', os.O_CREAT | os.O_EXCL)\n"
    strategy = {"update_strategy": "{max_surge: 1, max_unavailable: 0}"}
    files = {"predictor.py": ECHO.format(version=1), "cortex.yaml": config({"name": "a", "replicas": 3, "more": strategy})}
    p = project(files, ready=3, binary=hasty_build / "bin" / "cortexd")
    before = p.pids()
    p.cortexd.expect_any_error()
    assert "File exists" in p.reload({"predictor.py": once}, code=1)
    assert len(p.pids() & before) == 2 and len(p.pids() - before) == 1  # nobody has to wait for a replica
    assert "File exists" in p.reload({}, code=1)  # it is as it was
    p.reload({"predictor.py": ECHO.format(version=3)})
    assert p.post("/a")[0] == 3 and len(p.pids()) == 3
