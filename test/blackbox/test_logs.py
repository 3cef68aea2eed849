"""Logs: what replicas print, in cortexd's standard error and in files; floods, full disks, stopped monitors; request ids and the access log."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import client
from cortexd import SANITIZED, Scoreboard, wait_until

# What to do is the sample: {"print": text}, {"lines": n, "of": bytes}, {"bytes": hex}, {"sub": shell command}, {"die": text}.
PRINTER = """\
    import os
    import subprocess
    import sys


    def predict(sample, metadata):
        sample = sample or {}
        if "print" in sample:
            print(sample["print"], file=sys.stderr if sample.get("stderr") else sys.stdout)
        if "lines" in sample:
            line = "x" * sample["of"]
            for _ in range(sample["lines"]):
                print(line)
        if "bytes" in sample:
            sys.stdout.buffer.write(bytes.fromhex(sample["bytes"]))
            sys.stdout.buffer.flush()
        if "sub" in sample:
            subprocess.run(["sh", "-c", sample["sub"]])
        if "die" in sample:
            os.write(1, sample["die"].encode())
            os._exit(3)
        return os.getpid()
"""
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
OUT = rf"^{TIME} out   replica a/0 \(generation 1\): "


def two_apis(log=""):
    api = "- kind: api\n  name: {0}\n  predictor: {{path: predictor.py}}\n  compute: {{cpu: 100m, max_replicas: 1}}\n"
    server = f"- kind: server\n  listen: 127.0.0.1:@PORT@\n  packages: none\n  log: {{{log}}}\n"
    return {"predictor.py": PRINTER, "cortex.yaml": "- kind: deployment\n  name: d\n" + server + api.format("a") + api.format("b")}


def ask(cortexd, sample, api="a", **options):
    with client.Connection(cortexd.port) as connection:
        return connection.post(f"/d/{api}", sample, **options)


def file_of(cortexd, name="a.log"):
    return cortexd.folder / ".cortex" / "logs" / name


def text_of(cortexd, name="a.log"):
    try:
        return file_of(cortexd, name).read_text()
    except FileNotFoundError:
        return ""


def wait_file(cortexd, pattern, name="a.log", count=1):
    return wait_until(
        lambda: len(re.findall(pattern, text_of(cortexd, name), re.M)) >= count, lambda: f"{name} has {pattern!r}: {text_of(cortexd, name)[-2000:]}"
    )


def lost_lines(cortexd):
    with Scoreboard(cortexd.pid) as scoreboard:
        return scoreboard.read(8, "Q")[0]


def said_lost(text):
    return sum(int(n) for n in re.findall(r"(\d+) lines? of what it printed (?:was|were) lost", text))


def read_logs(cortexd, query):
    """GET /logs: the status and the text."""
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", "--unix-socket", cortexd.folder / ".cortex" / "control.sock", f"http://localhost/logs?{query}"],
        capture_output=True,
        text=True,
        check=True,
    )
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


# --- asking for lines that are far away --------------------------------------------------------------------------------
def test_who_asks_for_the_last_lines_of_a_huge_log_holds_nobody_up(start):
    cortexd = start(PRINTER)
    ask(cortexd, {"print": "the last line"})
    wait_file(cortexd, "the last line")
    before = cortexd.monitor()
    with open(file_of(cortexd).with_suffix(".log.1"), "wb") as huge:
        huge.truncate(1 << 36)
    folder = ["curl", "-sS", "-m", "20", "--unix-socket", cortexd.folder / ".cortex" / "control.sock"]
    with subprocess.Popen([*folder, "http://localhost/logs?api=a&since=60"], stdout=subprocess.DEVNULL) as reader:
        for _ in range(20):
            begin = time.monotonic()
            subprocess.run([*folder, "-f", "http://localhost/healthz"], check=True, stdout=subprocess.DEVNULL)
            assert time.monotonic() - begin < 2
        assert reader.poll() is None
        reader.kill()
    assert cortexd.monitor() == before


# --- lines -------------------------------------------------------------------------------------------------------------
def test_what_is_printed_has_time_api_replica_and_generation(start):
    cortexd = start(PRINTER)
    ask(cortexd, {"print": "to stdout"})
    ask(cortexd, {"print": "to stderr\n\n  indented", "stderr": True})
    for wait in (cortexd.wait_log, lambda pattern: wait_file(cortexd, pattern)):
        wait(OUT + "to stdout$")
        wait(OUT + r"to stderr\n" + OUT + r"\n" + OUT + "  indented$")
        wait(rf"^{TIME} info  replica a/0: 200 POST /d/a [\d.]+ ms$")
    assert "supervisor" not in text_of(cortexd)
    assert file_of(cortexd).stat().st_mode & 0o777 == 0o640


def test_in_json_each_line_is_an_object(start):
    cortexd = start(PRINTER, server="log: {format: json}")
    ask(cortexd, {"print": 'a "quoted"\tline\x1b[31m'})
    ask(cortexd, {"bytes": b"\xff\xe4 \xc3\xa4\n".hex()})
    wait_file(cortexd, "POST", count=2)
    lines = [json.loads(line) for line in text_of(cortexd).splitlines()]
    first = next(line for line in lines if line["level"] == "output")
    assert re.fullmatch(TIME, first.pop("time"))
    assert first == {"level": "output", "role": "replica", "api": "a", "replica": 0, "generation": 1, "message": 'a "quoted"\tline\x1b[31m'}
    assert any(line.get("message") == "\\xff\\xe4 \xe4" for line in lines)
    cortexd.wait_log('"message":"a ')
    assert all(json.loads(line) for line in cortexd.log().splitlines())


def test_the_generation_is_that_of_the_code(start):
    cortexd = start(PRINTER)
    (cortexd.folder / "predictor.py").write_text("def predict(sample, metadata):\n    print('new code')\n")
    cortexd.signal(signal.SIGHUP)
    wait_until(lambda: ask(cortexd, None).text == "null", "the new code answers")
    cortexd.wait_log(rf"^{TIME} out   replica a/\d \(generation 2\): new code$")


def test_binary_output_can_neither_break_a_line_nor_forge_one(start):
    cortexd = start(PRINTER)
    ask(cortexd, {"bytes": bytes(range(256)).hex()})
    for kind in ("Lother-api", "L", "A", "D123456789"):
        ask(cortexd, {"print": f"\x1e{kind}\x1f\x1b[31mforged"})
    ask(cortexd, {"print": "it goes on"})
    cortexd.wait_log(OUT + "it goes on$")
    wait_file(cortexd, "it goes on")
    text = text_of(cortexd)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
    assert r"\x00\x01\x02" in text and r"\xfd\xfe\xff" in text and "ABC" in text
    assert len(re.findall(OUT + r".*\\x1b\[31mforged$", text, re.M)) == 4
    assert sorted(os.listdir(file_of(cortexd).parent)) == ["a.log"]


def test_a_line_of_ten_megabytes_is_cut_and_says_so(start):
    cortexd = start(PRINTER)
    ask(cortexd, {"lines": 3, "of": 10_000_000})
    ask(cortexd, {"print": "it goes on"})
    cortexd.wait_log(OUT + "x{16384} \\.\\.\\. and 9983616 bytes more$", count=3)
    cortexd.wait_log(OUT + "it goes on$")


def test_half_a_line_before_the_end_is_there(start):
    cortexd = start(PRINTER)
    ask(cortexd, {"die": "first\nhalf of a line"})
    cortexd.expect_error("died after .* exit")
    cortexd.wait_log(OUT + "half of a line$")
    wait_file(cortexd, OUT + "half of a line$")
    cortexd.wait_ready(1)


def test_half_a_line_is_shown_after_a_while(start):
    cortexd = start(PRINTER)
    ask(cortexd, {"bytes": b"loading...".hex()})
    cortexd.wait_log(OUT + r"loading\.\.\.$")


def test_prints_and_log_lines_keep_their_order(start):
    code = """\
        def predict(sample, metadata):
            print("before", sample)
            raise ValueError(f"no {sample}")
    """
    cortexd = start(code)
    cortexd.expect_error("prediction failed")
    for number in range(50):
        ask(cortexd, number)
    wait_file(cortexd, "ValueError: no 49")
    assert re.findall(r"(before \d+|ValueError: no \d+)$", text_of(cortexd), re.M) == [
        f"{what} {number}" for number in range(50) for what in ("before", "ValueError: no")
    ]


def test_what_a_subprocess_prints_is_the_replicas(start):
    cortexd = start(PRINTER)
    ask(cortexd, {"sub": "echo from a shell; echo to stderr >&2; (sleep 0.3; echo later) &"})
    for text in ("from a shell", "to stderr", "later"):
        cortexd.wait_log(OUT + text + "$")


def test_replicas_of_a_template_have_their_own_pipes(start):
    code = "print('imported')\n" + PRINTER.replace("\n    ", "\n")[4:]
    cortexd = start(code, replicas=3, api="preload: init")
    cortexd.wait_log(rf"^{TIME} out   template a \(generation 1\): imported$")
    seen = set()

    def all_have_printed():
        for number in range(20):
            ask(cortexd, {"print": f"hello {number}"})
        seen.update(re.findall(r"out   replica a/(\d) \(generation 1\): hello", cortexd.log()))
        return seen == {"0", "1", "2"}

    with_gate = [client.Connection(cortexd.port) for _ in range(6)]
    try:
        wait_until(all_have_printed, lambda: f"all three have printed; {seen} have")
    finally:
        for connection in with_gate:
            connection.close()
    assert cortexd.log().count("imported") == 1


# --- floods ------------------------------------------------------------------------------------------------------------
@pytest.mark.once
def test_a_gigabyte_of_prints_holds_nobody_up_and_is_counted(start):
    cortexd = start(two_apis(), replicas=2)
    answers = {}
    flood = threading.Thread(target=lambda: answers.update(flood=ask(cortexd, {"lines": 1_000_000, "of": 999})))
    flood.start()
    slowest, number = 0, 0
    while flood.is_alive():
        began = time.monotonic()
        assert ask(cortexd, {"print": f"number {number}"}, "b").status == 200
        slowest = max(slowest, time.monotonic() - began)
        number += 1
        time.sleep(0.01)
    assert answers["flood"].status == 200 and number > 5
    assert slowest < 1
    wait_file(cortexd, rf"number {number - 1}$", "b.log")
    assert re.findall(r"number (\d+)$", text_of(cortexd, "b.log"), re.M) == [str(i) for i in range(number)]
    # Each line is in the log, or counted as lost.
    wait_until(lambda: said_lost(cortexd.log()) + len(re.findall("x{999}$", cortexd.log(), re.M)) == 1_000_000, "all are accounted for")
    assert lost_lines(cortexd) == said_lost(cortexd.log()) > 900_000
    files = [path for path in file_of(cortexd).parent.iterdir() if path.name.startswith("a.log")]
    assert sum(path.stat().st_size for path in files) <= 5 * (10 << 20)


def test_files_are_bounded_in_size_and_number(start):
    cortexd = start(PRINTER, server="log: {files: 3, file_size: 4Ki}")
    for number in range(300):
        ask(cortexd, {"print": f"number {number} " + "x" * 100})
    wait_file(cortexd, "number 299 ")
    names = sorted(os.listdir(file_of(cortexd).parent))
    assert names == ["a.log", "a.log.1", "a.log.2"]
    assert all(file_of(cortexd, name).stat().st_size <= 4096 for name in names)
    status, text = read_logs(cortexd, "api=a")
    numbers = [int(n) for n in re.findall(r"number (\d+) ", text)]
    assert status == 200 and numbers == list(range(numbers[0], 300)) and len(numbers) > 15


def test_no_files_are_written_if_none_are_wanted(start):
    cortexd = start(PRINTER, server="log: {files: 0, access: combined}")
    ask(cortexd, {"print": "hello"})
    cortexd.wait_log(OUT + "hello$")
    cortexd.wait_log('"POST /d/a HTTP/1.1" 200')
    assert not file_of(cortexd).parent.exists()
    assert read_logs(cortexd, "api=a")[0] == 404


# --- trouble -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def small_disk(tmp_path):
    logs = tmp_path / "state" / "logs"
    logs.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", logs], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield logs
    subprocess.run(["umount", "-l", logs], check=True)


def test_a_full_disk_costs_lines_of_the_file_and_nothing_else(start, small_disk):
    cortexd = start(PRINTER, server=f"state_dir: {small_disk.parent}\nlog: {{files: 2, file_size: 1Mi}}")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 40960)
    for number in range(400):
        assert ask(cortexd, {"print": f"number {number} " + "x" * 100}).status == 200
    cortexd.wait_log("monitor: .*a.log: No space left on device; lines are lost")
    cortexd.wait_log("number 399 ")
    assert re.findall(r"out .*number (\d+) ", cortexd.log()) == [str(n) for n in range(400)]
    wait_until(lambda: lost_lines(cortexd) > 0, "the loss is counted")
    ballast.unlink()
    log = small_disk / "a.log"
    wait_until(lambda: ask(cortexd, {"print": "again"}).status == 200 and log.read_text().endswith(" ms\n") and "again" in log.read_text(), "it goes on")
    said = re.search(rf"^{TIME} warn  monitor: (\d+) lines of this log were lost: No space left on device$", log.read_text(), re.M)
    assert said and int(said[1]) <= lost_lines(cortexd)
    cortexd.stop()


def test_a_log_file_that_is_deleted_comes_again(start):
    cortexd = start(PRINTER)
    ask(cortexd, {"print": "one"})
    wait_file(cortexd, "one")
    file_of(cortexd).unlink()
    wait_until(lambda: ask(cortexd, {"print": "two"}).status == 200 and "two" in text_of(cortexd), "the file is there again")
    file_of(cortexd).rename(file_of(cortexd, "elsewhere"))
    wait_until(lambda: ask(cortexd, {"print": "three"}).status == 200 and "three" in text_of(cortexd), "the file is there again")
    assert "one" not in text_of(cortexd)


def test_a_stopped_monitor_is_replaced_and_predictions_go_on(start):
    cortexd = start(two_apis(), replicas=2)
    monitor = cortexd.monitor()
    os.kill(monitor, signal.SIGSTOP)
    cortexd.expect_error("monitor: does not answer; killing it")
    cortexd.expect_error("monitor: died")
    for number in range(20):
        assert ask(cortexd, {"print": f"number {number}"}, "b").status == 200
    began = time.monotonic()
    assert ask(cortexd, {"lines": 20000, "of": 99}).status == 200  # waits for room in its pipe, but not for ever
    assert time.monotonic() - began < (15 if SANITIZED else 5)
    wait_until(lambda: cortexd.monitor() not in (None, monitor), "another monitor")
    for number in range(20, 40):
        assert ask(cortexd, {"print": f"number {number}"}, "b").status == 200
    wait_file(cortexd, "number 39$", "b.log")
    assert re.findall(r"number (\d+)$", text_of(cortexd, "b.log"), re.M) == [str(i) for i in range(40)]


def test_a_monitor_that_is_killed_loses_little(start):
    cortexd = start(two_apis(), replicas=2)
    cortexd.expect_error("monitor: died")
    for round_number in range(5):
        monitor = cortexd.monitor()
        ask(cortexd, {"print": f"before {round_number}"}, "b")
        wait_file(cortexd, f"before {round_number}$", "b.log")
        os.kill(monitor, signal.SIGKILL)
        for number in range(10):
            assert ask(cortexd, {"print": f"round {round_number} number {number}"}).status == 200
        wait_until(lambda: cortexd.monitor() not in (None, monitor), "another monitor")
    wait_file(cortexd, "round 4 number 9$")
    assert re.findall(r"round (\d) number (\d)$", text_of(cortexd), re.M) == [(str(r), str(n)) for r in range(5) for n in range(10)]


def test_what_a_replica_printed_before_it_died_waits_for_the_next_monitor(start):
    cortexd = start(PRINTER)
    cortexd.expect_error("monitor: died")
    cortexd.expect_error("replica a/0: died")
    os.kill(cortexd.monitor(), signal.SIGSTOP)
    ask(cortexd, {"die": "last words"})
    os.kill(cortexd.monitor(), signal.SIGKILL)
    cortexd.wait_ready(1)
    ask(cortexd, {"print": "next"})
    cortexd.wait_log(OUT + "next$")


def test_a_monitor_that_dies_all_the_time_stops_no_print(start):
    cortexd = start(PRINTER)
    cortexd.expect_error("monitor: died")
    done = threading.Event()

    def kill():
        while not done.wait(0.02):
            monitor = cortexd.monitor()
            if monitor:
                os.kill(monitor, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert ask(cortexd, {"lines": 20000, "of": 99}).status == 200
    finally:
        done.set()
        killer.join()
    wait_until(cortexd.monitor, "a monitor")
    ask(cortexd, {"print": "it goes on"})
    cortexd.wait_log(OUT + "it goes on$")


def test_standard_error_that_nobody_reads_costs_no_line_of_the_files(start):
    ours, theirs = os.pipe()
    cortexd = start(two_apis(), replicas=2, output=theirs)
    os.close(theirs)
    try:
        for number in range(300):
            assert ask(cortexd, {"lines": 10, "of": 2000}).status == 200
            assert ask(cortexd, {"print": f"number {number}"}, "b").status == 200
            time.sleep(0.02)
        wait_file(cortexd, "number 299$", "b.log")
        assert len(re.findall(r"number \d+$", text_of(cortexd, "b.log"), re.M)) == 300
        wait_until(lambda: lost_lines(cortexd) > 0, "the loss is counted")
        text, drained = b"", threading.Event()

        def drain():
            nonlocal text
            while piece := os.read(ours, 1 << 16):
                text = text[-1000000:] + piece
            drained.set()

        reader = threading.Thread(target=drain, daemon=True)
        reader.start()
        wait_until(lambda: b"lines of the log were lost here: nobody read standard error" in text, "the loss is said")
        cortexd.stop()
        assert drained.wait(60)
        reader.join()
    finally:
        os.close(ours)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_last_lines_are_there_when_cortexd_is_gone(start, number):
    code = """\
        import atexit
        atexit.register(print, "last words")
        def predict(sample, metadata):
            return 1
    """
    cortexd = start(code, replicas=2)
    if number == signal.SIGKILL:
        cortexd.kill()
    else:
        cortexd.stop()
    wait_until(lambda: not cortexd.family(), "all have ended")
    assert cortexd.log().count("last words") == 2 and text_of(cortexd).count("last words") == 2


def test_an_upgrade_goes_on_with_the_same_files(start):
    cortexd = start(PRINTER)
    ask(cortexd, {"print": "before"})
    cortexd.inner = None
    old = cortexd.pid
    cortexd.signal(signal.SIGUSR2)
    cortexd.wait_log("takes over from process")
    new = int(cortexd.wait_log(r"upgrade: replaced by process (\d+)|replaced by process (\d+)").group(0).split()[-1])
    assert new != old
    ask(cortexd, {"print": "after"})
    wait_file(cortexd, "out .*: after$")
    assert re.search(r"out .*: before$", text_of(cortexd), re.M)
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(f"/proc/{new}"), "the new one has ended")


# --- GET /logs ---------------------------------------------------------------------------------------------------------
def test_logs_are_read_by_lines_and_time(start):
    cortexd = start(PRINTER)
    for number in range(20):
        ask(cortexd, {"print": f"number {number}"})
    wait_file(cortexd, "number 19$")
    wait_file(cortexd, "POST", count=20)
    everything = text_of(cortexd)
    assert read_logs(cortexd, "api=a") == (200, everything)
    for count in (1, 7, 39, 40, 1000):
        assert read_logs(cortexd, f"api=a&lines={count}") == (200, "".join(everything.splitlines(True)[-count:]))
    assert read_logs(cortexd, "api=a&lines=0") == (200, "")
    assert read_logs(cortexd, "api=a&since=3600") == (200, everything)
    assert read_logs(cortexd, "api=a&since=2020-01-01&lines=3") == (200, "".join(everything.splitlines(True)[-3:]))
    middle = everything.splitlines(True)[20]
    status, text = read_logs(cortexd, f"api=a&since={middle[:24]}")
    assert status == 200 and text and everything.endswith(text) and text[:24] >= middle[:24]
    assert read_logs(cortexd, "api=a&since=2999-01-01T00:00Z") == (200, "")
    for query in ("", "api=", "api=a&lines=x", "api=a&lines=-1", "api=a&since=now", "api=a&follow=perhaps"):
        assert read_logs(cortexd, query)[0] == 400, query
    for name in ("nobody", "A", "../a", "no_body", "%00", "a" * 1000):
        assert read_logs(cortexd, f"api={name}")[0] == 404, name


def follow(cortexd, query):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(str(cortexd.folder / ".cortex" / "control.sock"))
    connection.sendall(f"GET /logs?follow=1&{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def test_who_follows_sees_every_line_also_while_files_are_rotated(start):
    cortexd = start(PRINTER, server="log: {files: 50, file_size: 4Ki}")
    with follow(cortexd, "api=a&lines=0") as connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"Content-Type: text/plain" in head
        for number in range(300):
            ask(cortexd, {"print": f"number {number} " + "x" * 100})
        text = b""
        while b"number 299 " not in text:
            piece = connection.recv(65536)
            assert piece
            text += piece
        assert re.findall(rb"number (\d+) ", text) == [str(n).encode() for n in range(300)]
    ask(cortexd, {"print": "nobody follows"})
    cortexd.wait_log("nobody follows")


def test_who_follows_and_does_not_read_holds_nobody_up(start):
    cortexd = start(PRINTER, server="log: {files: 2, file_size: 64Ki}")
    followers = [follow(cortexd, "api=a") for _ in range(32)]
    try:
        wait_until(lambda: read_logs(cortexd, "api=a")[0] == 503, "no more are let in")
        for number in range(200):
            assert ask(cortexd, {"print": f"number {number} " + "x" * 4000}).status == 200
        wait_file(cortexd, "number 199 ")
    finally:
        for connection in followers:
            connection.close()
    wait_until(lambda: read_logs(cortexd, "api=a")[0] == 200, "there is room again")


# --- request ids, access log --------------------------------------------------------------------------------------------
def test_a_request_id_comes_back(start):
    cortexd = start(PRINTER)
    good = ["x", "4b1f-0815", "!#$%&()*+,-./:;<=>?@[]^_`{|}~", "y" * 128]
    bad = ["", "two words", 'quo"te', "back\\slash", "y" * 129, "caf\u00e9"]
    for path in ("/d/a", "/nothing", "/healthz"):
        for value in good + bad:
            with cortexd.connect() as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: {value}\r\nContent-Length: 2\r\n\r\n{{}}"
                connection.send(head.encode("latin-1"))
                assert connection.answer().header("x-request-id") == (value if value in good else None)


COMBINED = re.compile(
    r'(?P<client>\S+) - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "(?P<request>.*?)" (?P<status>\d{3}) (?P<bytes>\d+) '
    r'"(?P<referer>.*?)" "(?P<agent>.*?)" (?P<id>\S+) (?P<queue>\S+) (?P<predict>\S+) (?P<total>\S+) (?P<api>\S+)'
)


def test_the_access_log_has_a_line_for_each_answer(start):
    cortexd = start(PRINTER, server="log: {access: combined, level: warning}")
    made = ask(cortexd, {"print": "x"}).header("x-request-id")
    assert re.fullmatch("[0-9a-f]{16}", made)
    answer = cortexd.curl("-H", "X-Request-ID: mine", "-A", 'a "b" \\ c', "-e", "http://from/", "-d", "{}")
    assert answer.status == 200
    cortexd.curl(path="/nothing?a=b")
    cortexd.curl(path="/healthz")
    cortexd.curl("-I")
    with cortexd.connect() as connection:
        connection.send(b"NONSENSE\r\n\r\n")
        assert connection.answer().status == 400
    lines = wait_until(lambda: len(found := text_of(cortexd, "access.log").splitlines()) == 6 and found, lambda: text_of(cortexd, "access.log"))
    seen = [COMBINED.fullmatch(line) for line in lines]
    assert all(seen), lines
    by_request = {line["request"]: line for line in seen if line["id"] != "mine"}
    assert len({line["id"] for line in seen}) == 6
    first = next(line for line in seen if line["id"] == made)
    assert first["request"] == "POST /d/a HTTP/1.1" and first["status"] == "200" and first["client"] == "127.0.0.1" and first["api"] == "a"
    assert 0 < float(first["predict"]) <= float(first["total"]) and float(first["queue"]) < 1000
    mine = next(line for line in seen if line["id"] == "mine")
    assert mine["agent"] == r"a \x22b\x22 \x5c c" and mine["referer"] == "http://from/"
    assert by_request["GET /nothing?a=b HTTP/1.1"]["status"] == "404" and by_request["GET /nothing?a=b HTTP/1.1"]["api"] == "-"
    assert by_request["GET /healthz HTTP/1.1"]["bytes"] == "12"
    assert by_request["HEAD /d/a HTTP/1.1"]["bytes"] == "0"
    assert by_request["-"]["status"] == "400"
    assert "access" not in cortexd.log() and "POST" not in cortexd.log()


def test_the_access_log_in_json(start):
    cortexd = start(PRINTER, server="log: {access: json}")
    with cortexd.connect() as connection:
        for number in range(100):
            connection.post("/d/a?b=%22c", {}, headers={"X-Request-ID": f"id-{number}", "User-Agent": 'a "b" \\ \t'})
    wait_file(cortexd, "id-99", "access.log")
    lines = [json.loads(line) for line in text_of(cortexd, "access.log").splitlines()]
    assert [line["request_id"] for line in lines] == [f"id-{n}" for n in range(100)]
    line = lines[0]
    assert line["client"] == "127.0.0.1" and line["method"] == "POST" and line["target"] == "/d/a?b=%22c" and line["protocol"] == "HTTP/1.1"
    assert line["status"] == 200 and line["bytes"] > 0 and line["api"] == "a" and line["replica"] == 0
    assert line["predict_ms"] > 0 and line["queue_ms"] >= 0 and line["total_ms"] >= line["predict_ms"]
    assert re.fullmatch(TIME, line["time"])


def test_the_access_log_is_switched_by_a_reload(start):
    cortexd = start(PRINTER)
    assert ask(cortexd, {}).header("x-request-id") is None
    config = cortexd.folder / "cortex.yaml"
    config.write_text(config.read_text() + "  log: {access: combined}\n")
    cortexd.signal(signal.SIGHUP)
    wait_until(lambda: ask(cortexd, {}).header("x-request-id"), "requests have ids")
    wait_until(lambda: cortexd.curl(path="/nothing").header("x-request-id"), "those of the activator, too")
    wait_file(cortexd, "GET /nothing ", "access.log")


def test_an_api_called_access_has_a_log_of_its_own(start):
    files = two_apis("access: combined")
    files["cortex.yaml"] = files["cortex.yaml"].replace("name: a\n", "name: access\n")
    cortexd = start(files, replicas=2)
    ask(cortexd, {"print": "hello"}, "access")
    wait_file(cortexd, "out .*hello$", "access_.log")
    wait_file(cortexd, "POST /d/access", "access.log")
    assert "hello" in read_logs(cortexd, "api=access")[1]
