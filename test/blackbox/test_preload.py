"""preload: replicas that a template forks. Fast, small, and just like any other; and what cannot be forked is not."""
import os
import re
import signal
import sysconfig

import pytest

from cortexd import ROOT, descriptors, process_parent, process_title, read_proc, wait_until
from test_reload import Project

SITE = str(ROOT / "build/test-venv/lib" / f"python{sysconfig.get_python_version()}" / "site-packages")

WHO = """\
    import os
    import random
    import time

    imported_by = os.getpid()
    initialised_by = None

    def init(model_path, metadata):
        global initialised_by
        initialised_by = os.getpid()

    def predict(sample, metadata):
        return [os.getpid(), imported_by, initialised_by, random.random(), {version}]
"""
HAS_NO_EFFECT = r'warn  supervisor: api "a": preload: \w+ has no effect: .*'


def templates(cortexd, state="ready"):
    return [pid for pid in cortexd.children() if process_title(pid) == f"cortexd: template a ({state})"]


def wait_template(cortexd):
    return wait_until(lambda: templates(cortexd), "a template")[0]


def preload(start, files, what="init", replicas=1, api="", **options):
    if isinstance(files, str):
        files = {"predictor.py": files}
    return start(files, replicas=replicas, api=f"preload: {what}\n{api}", **options)


def pss_mib(pids):
    total = 0
    for pid in pids:
        total += sum(int(line.split()[1]) for line in read_proc(pid, "smaps_rollup").decode().splitlines() if line.startswith("Pss:"))
    return total / 1024


def memory_of_api(cortexd):
    """Of replicas, keepers and the template."""
    return pss_mib([pid for pid, title in cortexd.family().items() if re.search(r": (replica|keeper|template) ", title)])


# --- what it is good for ----------------------------------------------------------------------------------------------
@pytest.mark.once
@pytest.mark.alone
def test_a_large_model_is_there_at_once_and_only_once(start, tmp_path):
    model = "import os\nmodel = bytearray(os.urandom(1 << 20)) * 200\ndef predict(sample, metadata): return len(model)\n"
    plain = start(model)
    one = memory_of_api(plain)
    plain.stop()

    cortexd = preload(start, model, replicas=9, folder=tmp_path / "other")
    config = cortexd.folder / "cortex.yaml"
    config.write_text(config.read_text().replace("_replicas: 9", "_replicas: 10"))
    cortexd.signal(signal.SIGHUP)
    cortexd.wait_ready(10)
    seconds = float(cortexd.wait_log(r"replica a/9: ready after ([\d.]+) s")[1])
    assert cortexd.post(0).json() == 200 << 20
    ten = [memory_of_api(cortexd)]
    wait_until(lambda: ten.append(memory_of_api(cortexd)) or ten[-1] < 1.5 * one, lambda: f"one: {one:.0f} MiB; ten: {ten}")
    print(f"one: {one:.0f} MiB; ten: {ten[-1]:.0f} MiB; the tenth after {seconds} s")
    assert seconds < 0.05


@pytest.mark.parametrize("what", ["module", "init"])
def test_the_template_has_done_what_it_is_told_to_do(start, what):
    cortexd = preload(start, WHO.format(version=1), what, replicas=2)
    template = wait_template(cortexd)
    pids, answers = set(cortexd.replicas()), [cortexd.post(0).json() for _ in range(20)]
    assert {answer[0] for answer in answers} <= pids
    assert {answer[1] for answer in answers} == {template}
    assert all(answer[2] == (template if what == "init" else answer[0]) for answer in answers)
    assert all(process_parent(pid) == cortexd.pid and os.getpgid(pid) == pid for pid in pids)


def test_replicas_do_not_draw_the_same_numbers(start):
    code = f"""\
        import os
        import random
        import sys

        sys.path.append({SITE!r})
        import numpy

        random.seed(1)
        numpy.random.seed(1)
        mine = None

        def predict(sample, metadata):
            global mine
            mine = mine or [os.getpid(), random.random(), float(numpy.random.random())]
            return mine
    """
    cortexd = preload(start, code, replicas=3)
    wait_template(cortexd)
    seen = set()

    def ask():
        seen.add(tuple(cortexd.post(0).json()))
        return len(seen) == 3

    wait_until(ask, "each has answered")
    assert all(len({answer[i] for answer in seen}) == 3 for i in range(3)), seen


def test_output_and_log_are_the_replicas_own(start):
    code = """\
        import sys
        print("once upon a time", end="")
        def predict(sample, metadata):
            print("predicting", flush=True)
            raise ValueError("no")
    """
    cortexd = preload(start, code, replicas=3)
    for _ in range(10):
        assert cortexd.post(0).status == 406
    cortexd.expect_error(r"replica a/[012]: prediction failed")
    cortexd.wait_log("predicting$", count=10)
    cortexd.wait_log("once upon a time$")
    assert cortexd.log().count("once upon a time") == 1 and cortexd.log().count("predicting") == 10
    assert sorted(process_title(pid) for pid in cortexd.replicas()) == [f"cortexd: replica a/{i} (ready)" for i in range(3)]


def test_an_open_file_has_a_position_of_its_own_in_each_replica(start):
    code = """\
        import os
        file = open("numbers.txt")
        file.readline()
        def predict(sample, metadata):
            return [os.getpid(), file.readline()]
    """
    files = {"predictor.py": code, "numbers.txt": "".join(f"{i:08190}\n" for i in range(50))}
    cortexd = preload(start, files, replicas=4)
    seen = {}

    def ask():
        pid, line = cortexd.post(0).json()
        seen.setdefault(pid, []).append(int(line[-9:]))
        return len(seen) > 1 and sum(map(len, seen.values())) > 8

    wait_until(ask, "two replicas have answered")
    assert all(numbers == list(range(1, 1 + len(numbers))) for numbers in seen.values()), seen
    assert not re.search(HAS_NO_EFFECT, cortexd.log())


# --- what cannot be forked --------------------------------------------------------------------------------------------
IMPORT_NUMPY = f"import sys; sys.path.append({SITE!r}); import numpy; numpy.ones((300, 300)) @ numpy.ones((300, 300))"
UNFIT = {
    "thread": ("import threading, time; threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()", "it has started 1 thread"),
    "threads": (f"import os; os.environ['OPENBLAS_NUM_THREADS'] = '3'; {IMPORT_NUMPY}", r"it has started \d threads? "),
    "process": ("import subprocess; subprocess.Popen(['sleep', '1000'])", "it has started a process"),
    "forked": ("import os, time; os.fork() or time.sleep(1000)", "it has started a process"),
    "socket": ("import socket; s = socket.socketpair()", "it has a socket open"),
    "pipe": ("import os; p = os.pipe()", "it has a pipe open"),
    "loop": ("import select; e = select.epoll()", "it has an event loop open"),
}


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("what", ["module", "init"])
def test_what_cannot_be_forked_is_not(start, name, what):
    line, reason = UNFIT[name]
    if what == "module":
        code = f"{line}\ndef predict(sample, metadata): return 7\n"
    else:
        code = f"def init(path, metadata):\n    global s, p, e\n    {line}\ndef predict(sample, metadata): return 7\n"
    cortexd = preload(start, code, what, replicas=2)
    assert len(re.findall(HAS_NO_EFFECT, cortexd.log())) == 1
    assert re.search(f"has no effect: {reason}.*; each replica loads the predictor itself", cortexd.log())
    assert cortexd.post(0).json() == 7
    wait_until(lambda: not any("template" in title for title in cortexd.family().values()), "no template")


def test_init_in_the_replica_may_do_what_it_likes(start):
    line, _ = UNFIT["thread"]
    cortexd = preload(start, f"def init(path, metadata):\n    {line}\ndef predict(sample, metadata): return 7\n", "module", replicas=2)
    wait_template(cortexd)
    assert cortexd.post(0).json() == 7 and not re.search(HAS_NO_EFFECT, cortexd.log())


def test_a_thread_that_has_ended_is_none(start):
    line = "import threading; t = threading.Thread(target=print); t.start(); t.join()"
    cortexd = preload(start, f"{line}\ndef predict(sample, metadata): return 7\n")
    wait_template(cortexd)
    assert not re.search(HAS_NO_EFFECT, cortexd.log())


def test_gpus_are_chosen_before_anything_is_imported(start):
    cortexd = start(WHO.format(version=1), replicas=1, api="preload: init", server="capacity: {gpu: 2}")
    wait_template(cortexd)
    config = cortexd.folder / "cortex.yaml"
    config.write_text(config.read_text().replace("cpu: 100m", "cpu: 100m, gpu: 1"))
    cortexd.signal(signal.SIGHUP)
    cortexd.wait_log(HAS_NO_EFFECT + "each replica has gpus of its own")
    cortexd.wait_log("reload: done")
    assert not templates(cortexd)


@pytest.mark.parametrize("line", ["pass", IMPORT_NUMPY], ids=["plain", "numpy"])
def test_two_hundred_replicas_one_after_the_other(start, line):
    """With one thread a numeric library can be forked; its own handlers run at each fork."""
    code = f"{line}\nimport os\ndef predict(sample, metadata): return os.getpid()\n"
    cortexd = preload(start, code, api="recycle: {max_requests: 1, jitter: 0%}", predictor="env: {OPENBLAS_NUM_THREADS: 1}")
    wait_template(cortexd)
    pids = set()
    while len(pids) < 200:
        answer = cortexd.post(0)
        assert answer.status == 200
        pids.add(answer.json())


# --- deaths -----------------------------------------------------------------------------------------------------------
def test_a_replica_that_dies_is_forked_again(start):
    cortexd = preload(start, WHO.format(version=1), replicas=2)
    template, before = wait_template(cortexd), cortexd.replicas()
    cortexd.expect_error(r"replica a/\d: died after .*: killed by SIGKILL")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(cortexd.replicas()) - set(before)) == 2, "two others")
    answer = cortexd.post(0).json()
    assert answer[0] not in before and answer[1] == template == wait_template(cortexd)


def test_a_template_that_dies_is_started_again_and_replicas_live_on(start):
    cortexd = preload(start, WHO.format(version=1), replicas=2)
    first, before = wait_template(cortexd), cortexd.replicas()
    cortexd.expect_error(r"template a: died after .*: killed by SIGKILL")
    os.kill(first, signal.SIGKILL)
    second = wait_until(lambda: [pid for pid in templates(cortexd) if pid != first], "another template")[0]
    assert cortexd.replicas() == before and cortexd.post(0).json()[1] == first
    cortexd.expect_error(r"replica a/\d: died after .*: killed by SIGKILL")
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(cortexd.replicas()) - {before[0]}) == 2, "another one")
    answers = [cortexd.post(0).json() for _ in range(30)]
    assert {answer[1] for answer in answers if answer[0] not in before} == {second}


def test_a_template_that_hangs_is_not_waited_for(start):
    """Stopped, it does not see a request to fork; killed, it takes the request with it."""
    cortexd = preload(start, WHO.format(version=1), server="log: {level: debug}")
    template, (replica,) = wait_template(cortexd), cortexd.replicas()
    cortexd.expect_any_error()
    os.kill(template, signal.SIGSTOP)
    os.kill(replica, signal.SIGKILL)
    cortexd.wait_log("replica a/0: empty -> spawned", count=2)
    os.kill(template, signal.SIGKILL)
    cortexd.wait_log("replica a/0: start failed: its template has ended, or could not fork it")
    assert cortexd.wait_replicas(1) != [replica]


def test_a_replica_that_dies_right_away_is_known_by_its_exit(start):
    """It may be dead before the supervisor has read who it is."""
    cortexd = preload(start, "import os\nos.register_at_fork(after_in_child=lambda: os._exit(3))\ndef predict(s, m): pass\n", wait=False)
    cortexd.expect_error("replica a/0: died after .*: exit code 3")
    cortexd.wait_log("replica a/0: died after .*: exit code 3", count=3)


def test_a_replica_that_hangs_right_away_does_not_hold_up_a_stop(start):
    code = "import os, time\nos.register_at_fork(after_in_child=lambda: time.sleep(1000))\ndef predict(s, m): pass\n"
    cortexd = preload(start, code, wait=False, server="log: {level: debug}")
    cortexd.wait_log("replica a/0: forked as pid")
    assert cortexd.stop() == 0
    assert "sending SIG" not in cortexd.log()


def test_a_template_whose_descriptors_are_gone(start):
    cortexd = preload(start, "import os\nos.closerange(3, 100)\ndef predict(s, m): pass\n", wait=False)
    cortexd.expect_any_error()
    cortexd.wait_log("template a: died after .*starting again in")


def test_the_template_gets_the_signal_that_stops_cortexd(start):
    cortexd = preload(start, WHO.format(version=1), replicas=3)
    for pid in wait_template(cortexd), cortexd.pid:
        os.kill(pid, signal.SIGTERM)
    assert cortexd.wait_exit() == 0


def test_a_template_ends_when_the_supervisor_says_so_and_not_by_signal(start):
    """SIGTERM for everybody means that the supervisor stops; SIGTERM for a template alone is somebody's mistake."""
    cortexd = preload(start, WHO.format(version=1))
    template, (replica,) = wait_template(cortexd), cortexd.replicas()
    os.kill(template, signal.SIGTERM)
    cortexd.expect_error("replica a/0: died after .*: killed by SIGKILL")
    os.kill(replica, signal.SIGKILL)
    wait_until(lambda: cortexd.replicas() not in ([], [replica]), "another replica")
    assert templates(cortexd) == [template]
    os.kill(cortexd.replicas()[0], signal.SIGTERM)  # it does not ignore what its template does
    cortexd.wait_log("replica a/0: draining: SIGTERM")
    cortexd.expect_error("replica a/0: died after .*: exit code 0 without being told")


def test_a_stop_while_the_template_loads(start):
    cortexd = preload(start, "import time; print('loading', flush=True); time.sleep(1000)\ndef predict(s, m): pass\n", wait=False)
    cortexd.wait_log("loading$")
    assert cortexd.stop() == 0


def test_nobody_is_left_when_the_supervisor_is_killed(start):
    cortexd = preload(start, WHO.format(version=1), replicas=3)
    wait_template(cortexd)
    cortexd.kill()
    wait_until(lambda: not cortexd.family(), "all have ended")


def test_code_that_fails_is_tried_again_with_growing_delays(start):
    cortexd = preload(start, "def init(path, metadata): 1 / 0\ndef predict(sample, metadata): pass\n", wait=False)
    cortexd.expect_error(r"template a: start failed: error in predictor.py: init: line 1: ZeroDivisionError.*; starting again in")
    cortexd.expect_error(r"template a: error in predictor.py: init: line 1: ZeroDivisionError")
    cortexd.wait_log("start failed: .*; starting again in", count=2)
    assert not cortexd.replicas(state=None)


def test_a_forked_process_that_comes_back_is_no_template(start):
    cortexd = preload(start, "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\ndef predict(sample, metadata): return 7\n")
    assert cortexd.post(0).json() == 7 and len(templates(cortexd)) == 1
    cortexd.wait_log("has gone on as if it were a template")


# --- reloading --------------------------------------------------------------------------------------------------------
def config(what="init", replicas=2):
    return (
        "- kind: api\n  name: a\n  endpoint: /a\n  predictor: {path: predictor.py}\n"
        f"  compute: {{min_replicas: {replicas}, cpu: 100m}}\n  preload: {what}\n- kind: server\n  listen: 127.0.0.1:@PORT@\n"
    )


@pytest.fixture
def reloading(start):
    def make(**options):
        p = Project(start, {"predictor.py": WHO.format(version=1), "cortex.yaml": config(**options)}, 2)
        p.first = wait_template(p.cortexd)
        return p

    return make


def test_new_code_is_really_new(reloading):
    p = reloading()
    assert "1 changed" in p.reload({"predictor.py": WHO.format(version=22)})
    (second,) = templates(p.cortexd)
    answers = [p.post("/a") for _ in range(10)]
    assert second != p.first and {(answer[1], answer[4]) for answer in answers} == {(second, 22)}


@pytest.mark.parametrize("code", ["import nothing_like_that\n", WHO.format(version=2) + "\n    def init(a, b): 1 / 0\n"], ids=["import", "init"])
def test_new_code_that_fails_changes_nothing(reloading, code):
    p = reloading()
    before = p.pids()
    p.cortexd.expect_any_error()
    assert 'failed for 1 api: api "a": start failed: error in predictor.py' in p.reload({"predictor.py": code}, code=1)
    assert p.pids() == before and p.post("/a")[1] == p.first
    wait_until(lambda: [pid for pid, title in p.cortexd.family().items() if "template" in title] == [p.first], "the first template alone")


def test_from_one_kind_to_another(reloading):
    p = reloading()
    for what, n_templates in ("none", 0), ("module", 1), ("init", 1), ("none", 0):
        assert "1 changed" in p.reload({"cortex.yaml": config(what)})
        assert len(templates(p.cortexd)) == n_templates
        answer = p.post("/a")
        assert (answer[1] == answer[0]) == (what == "none") and (answer[2] == answer[0]) == (what != "init")


def test_after_many_reloads_nobody_is_left(reloading):
    p = reloading()

    def is_alone():
        kinds = sorted(title.split("/")[0].split(" (")[0] for title in p.cortexd.family().values())
        return kinds == [
            "cortexd: activator",
            "cortexd: keeper a",
            "cortexd: keeper a",
            "cortexd: monitor",
            "cortexd: replica a",
            "cortexd: replica a",
            "cortexd: template a",
        ]

    wait_until(is_alone, "one generation")
    open_files = descriptors(p.cortexd.pid)
    for version in range(50):
        assert "1 changed" in p.reload({"predictor.py": WHO.format(version=version)})
        assert p.post("/a")[4] == version
    wait_until(is_alone, "one generation again")
    wait_until(lambda: descriptors(p.cortexd.pid) == open_files, "as many descriptors as before")
