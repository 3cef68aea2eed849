"""The command `cortex`: every command beside a real cortexd, on a terminal and in a pipe, and what it says when it cannot do its work."""
import contextlib
import http.server
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from cortexd import BUILD, PATIENCE, ROOT, reserved_port, wait_until
from terminal import COLOR, Screen, Terminal

CORTEX = BUILD / "bin" / "cortex"
COMMANDS = "deploy get logs predict check delete version completion help".split()
COLUMNS = ["status", "up-to-date", "requested", "available", "failed", "last update", "avg latency", "2XX", "4XX", "5XX"]

SHOP = """\
- kind: deployment
  name: shop
- kind: api
  name: price
  predictor: {path: price.py}
  tracker: {model_type: regression}
  compute: {min_replicas: 2, max_replicas: 2, cpu: 100m}
- kind: api
  name: class
  predictor: {path: class.py}
  tracker: {model_type: classification, key: label}
  compute: {min_replicas: 1, max_replicas: 1, cpu: 100m}
- kind: server
  listen: 127.0.0.1:@PORT@
  packages: none
"""
PRICE = """\
import os


def predict(sample, metadata):
    print("asked for", sample["x"])
    if sample["x"] == "die":
        os.kill(os.getpid(), 9)
    return sample["x"] * 1.5
"""
CLASS = """\
def predict(sample, metadata):
    if sample == "raise":
        raise ValueError("\\x1b]0;owned\\x07 \\x9b31m")
    return {"label": sample, "text": "\\x1b[31mred \\x9b31m caf\\u00e9"}
"""


class Cortex:
    """Runs `cortex` in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, *args, status=0, cwd=None, env=None, stdin=None):
        """In a pipe: what it prints, or, when it is to fail, what it complains about."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CORTEX_")}
        done = subprocess.run(
            [CORTEX, *map(str, args)], cwd=cwd or self.folder, env={**environment, **(env or {})}, input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == status, f"{args}: {done.returncode}: {done.stdout}{done.stderr}"
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.stderr), done.stderr
        assert (done.stderr != "") == (status != 0), done.stderr
        self.printed = done.stdout
        return done.stderr if status else done.stdout

    def terminal(self, *args, **options):
        return Terminal([CORTEX, *map(str, args)], **{"cwd": self.folder, **options})

    def seen(self, *args, status=0, **options):
        """On a terminal, until it has ended: what is on the screen then."""
        with self.terminal(*args, **options) as terminal:
            assert terminal.wait() == status, terminal.output
            self.output = terminal.output
            return terminal.screen

    def apis(self):
        return {api["name"]: api for api in json.loads(self("get", "-o", "json"))["apis"]}


@pytest.fixture
def shop(start):
    cortexd = start({"cortex.yaml": SHOP, "price.py": PRICE, "class.py": CLASS, "sample.json": '{"x": 2}'}, replicas=3)
    cortexd.cortex = Cortex(cortexd.folder)
    return cortexd


@pytest.fixture
def cortex(tmp_path):
    """Where nothing runs."""
    (tmp_path / "empty").mkdir()
    return Cortex(tmp_path / "empty")


def rows(text):
    """A table as a list of lists; its columns are apart by more than one blank."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def table(text, first):
    """The table whose head begins with that word: a list of dicts."""
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if re.match(rf" *{first}\b", line))
    end = next((i for i in range(begin, len(lines)) if not lines[i].strip()), len(lines))
    head, *body = rows("\n".join(lines[begin:end]))
    assert all(len(row) == len(head) for row in body), text
    return [dict(zip(head, row)) for row in body]


# --- get ---------------------------------------------------------------------------------------------------------------
def test_get_shows_all_apis_as_a_table(shop):
    printed = shop.cortex("get")
    price, other = table(printed, "api")
    assert list(price) == ["api", *COLUMNS]
    assert (price["api"], price["status"], price["up-to-date"], price["requested"], price["available"], price["failed"]) == ("price", "live", "2", "2", "2", "0")
    assert re.fullmatch(r"\d+s", price["last update"])
    assert (other["api"], other["requested"]) == ("class", "1")
    assert "\x1b" not in printed


def test_get_counts_what_clients_got(shop):
    for x in (1, 2, 6):
        assert shop.cortex("predict", "price", "-", stdin=json.dumps({"x": x})) == f"{x * 1.5}\n"
    assert "406" in shop.cortex("predict", "price", "-", stdin="{}", status=1)
    shop.expect_error("KeyError|predict")

    def counted():
        printed = shop.cortex("get", "price")
        return printed if table(printed, "status")[0]["4XX"] == "1" else None

    printed = wait_until(counted, "the refused one is counted")
    counts = table(printed, "status")[0]
    assert (counts["2XX"], counts["4XX"], counts["5XX"]) == ("3", "1", "0")
    assert re.fullmatch(r"[\d.]+ m?s", counts["avg latency"])
    assert table(printed, "min") == [{"min": "1.5", "max": "9", "avg": "4.5", "count": "3"}]


def test_get_shows_the_classes_of_a_tracker(shop):
    assert "no predictions have been tracked yet" in shop.cortex("get", "class")
    for label in ("b", "a", "b", "\x1b[2J"):
        shop.cortex("predict", "class", "-", stdin=json.dumps(label))

    def classes():
        return {row["class"]: row["count"] for row in table(shop.cortex("get", "class"), "class")}

    wait_until(lambda: "tracked yet" not in shop.cortex("get", "class"), "something is tracked")
    wait_until(lambda: len(classes()) == 3, lambda: f"three classes: {classes()}")
    assert classes() == {"a": "1", "b": "2", r"\x1b[2J": "1"}


def test_the_curl_line_of_get_works_as_it_is(shop):
    line = re.search(r"^curl: (curl .*)$", shop.cortex("get", "price"), re.MULTILINE)[1]
    done = subprocess.run(line, shell=True, cwd=shop.folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == "3.0", done.stderr
    assert f"endpoint: http://127.0.0.1:{shop.port}/shop/price\n" in shop.cortex.printed


def test_get_verbose_shows_processes_deaths_and_what_the_scaler_thinks(shop):
    before = {str(pid) for pid in shop.replicas()}
    shop.expect_error("killed by SIGKILL")
    assert "500" in shop.cortex("predict", "price", "-", stdin='{"x": "die"}', status=1)
    shop.wait_ready(3)

    def settled():
        printed = shop.cortex("get", "price", "-v")
        return printed if "last deaths" in printed and "\nscaling:" in printed and [row["state"] for row in table(printed, "replica")] == ["ready"] * 2 else None

    printed = wait_until(settled, lambda: f"the death and a decision are shown: {shop.cortex.printed}")
    assert re.search(r"^last deaths\n +\d+s ago   replica [01]: killed by SIGKILL.*$", printed, re.MULTILINE)
    assert re.search(r"^scaling: \S", printed, re.MULTILINE)
    replicas = table(printed, "replica")
    pids = {row["pid"] for row in replicas}
    assert pids < {str(pid) for pid in shop.replicas()} and not pids <= before
    assert all(re.fullmatch(r"-|[\d.]+ MiB", row["memory"]) for row in replicas)
    assert [row["latency"] for row in table(printed, "latency")] == ["queue", "prediction", "total"]
    for name in ("price", "class"):
        assert re.search(rf"^{name}$", shop.cortex("get", "-v"), re.MULTILINE)


def test_get_as_json_is_the_status(shop):
    status = json.loads(shop.cortex("get", "-o", "json"))
    assert status["pid"] == shop.pid and status["config"] == str(shop.folder / "cortex.yaml")
    assert [api["name"] for api in status["apis"]] == ["price", "class"]
    api = json.loads(shop.cortex("get", "class", "--output", "json"))
    assert api["endpoint"] == "/shop/class" and api["metrics"]["requests"]["2xx"] == 0
    assert shop.cortex("get", "-o", "name") == "price\nclass\n"
    assert shop.cortex("get", "class", "-o", "name") == "class\n"
    shop.cortex("predict", "price", "sample.json")
    wait_until(lambda: shop.cortex.apis()["price"]["metrics"]["latency_ms"]["total"]["count"], "it is counted")
    assert all(len(number.replace(".", "").lstrip("0")) <= 15 for number in re.findall(r"\d+\.\d+", shop.cortex.printed))
    assert 'json or name, not "xml"' in shop.cortex("get", "-o", "xml", status=2)


def test_colours_are_for_terminals_that_want_them(shop):
    plain = shop.cortex.seen("get", "--no-color")
    assert not COLOR.search(shop.cortex.output)
    assert shop.cortex.seen("get") == re.sub(r"\d+s", lambda match: match[0], shop.cortex.seen("get"))
    assert "\x1b[32mlive\x1b[0m" in shop.cortex.output
    assert rows(shop.cortex.seen("get"))[0] == rows(plain)[0]
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}):
        assert "live" in shop.cortex.seen("get", env=env)
        assert "\x1b" not in shop.cortex.output


@pytest.mark.once
def test_a_table_is_as_wide_as_the_terminal(shop):
    for columns in range(60, 112, 5):
        seen = shop.cortex.seen("get", columns=columns)
        assert len(seen.splitlines()) == 3, f"a line is broken at {columns} columns:\n{seen}"
        assert max(map(len, seen.splitlines())) <= columns
        assert ("…" in seen) == (columns < 68), seen
    whole = shop.cortex("get")
    assert rows(shop.cortex.seen("get", columns=300))[0] == rows(whole)[0]


def test_watch_repaints_until_q(shop):
    with shop.cortex.terminal("get", "-w") as terminal:
        terminal.wait_for(r"class .*live")
        wait_until(lambda: terminal.modes() == (False, False), "keys are read as they come")
        shop.cortex("predict", "price", shop.folder / "sample.json")
        terminal.wait_for(r"\x1b\[H(?s:.)*price .*live.* ms")
        seen = terminal.screen
        assert seen.count("available") == 1 and [row[0] for row in rows(seen)[:3]] == ["api", "price", "class"]
        size = len(terminal.output)
        terminal.resize(90, 30)
        terminal.wait_for(r"class .*live", since=size)
        assert max(len(line) for line in Screen(terminal.output[size:], 90).lines) <= 90
        terminal.send("q")
        assert terminal.wait() == 0
        assert terminal.modes() == (True, True)


def test_watch_shows_no_more_than_fits(shop):
    for rows, columns in ((8, 150), (10, 40), (5, 20)):
        with shop.cortex.terminal("get", "price", "-v", "-w", rows=rows, columns=columns) as terminal:
            terminal.wait_for(r"\x1b\[J")
            assert 3 <= len(terminal.screen.splitlines()) < rows
            terminal.send("q")
            assert terminal.wait() == 0


def test_watch_shows_the_beginning_of_a_message_that_does_not_fit(shop):
    shop.write({"price.py": "raise ValueError('begins here ' + 'and goes on ' * 100)\n"})
    shop.expect_error("ValueError")
    shop.cortex("deploy", status=1)
    with shop.cortex.terminal("get", "-w", rows=10, columns=60) as terminal:
        terminal.wait_for(r"\x1b\[J")
        assert len(terminal.screen.splitlines()) == 9
        assert "begins here" in terminal.screen.replace("\n", "") and terminal.screen.startswith("api")
        terminal.send("q")
        assert terminal.wait() == 0


def test_watch_ends_with_ctrl_c(shop):
    with shop.cortex.terminal("get", "--watch") as terminal:
        terminal.wait_for("class .*live")
        terminal.send("\x03")
        assert terminal.wait() == 0
        assert terminal.modes() == (True, True)


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_watch_ends_while_nobody_answers(cortex, port, key):
    """Not because the request has timed out, which is an error."""
    with socket.create_server(("127.0.0.1", port)) as server, cortex.terminal("get", "-w", "--socket", f"127.0.0.1:{port}") as terminal:
        with server.accept()[0] as connection:
            connection.recv(1)
            wait_until(lambda: terminal.modes() == (False, False), "keys are read")
            terminal.send(key)
            assert terminal.wait() == 0
            assert terminal.modes() == (True, True)


def test_watch_in_a_pipe_leaves_the_terminal_alone(shop):
    with Terminal(["sh", "-c", f"{shlex.quote(str(CORTEX))} get -w | head -1; echo en''ded"], cwd=shop.folder) as terminal:
        terminal.wait_for("^api .*available")
        assert terminal.modes() == (True, True)
        terminal.wait_for("ended")
        assert terminal.wait() == 0


def test_watch_outlives_cortexd_on_a_terminal(shop):
    with shop.cortex.terminal("get", "--watch") as terminal:
        piped = subprocess.Popen([CORTEX, "get", "--watch"], cwd=shop.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert "available" in piped.stdout.readline()
        terminal.wait_for("class .*live")
        shop.stop()
        terminal.wait_for("no cortexd serves |cortexd runs, but")
        assert re.search("no cortexd serves |cortexd runs, but", piped.communicate(timeout=PATIENCE)[0]) and piped.returncode == 1
        size = len(terminal.output)
        shop.launch()
        terminal.wait_for(r"class .*live(?s:.)*\x1b\[J", since=size)
        assert "no cortexd serves" not in terminal.screen
        terminal.send("q")
        assert terminal.wait() == 0


def test_a_reader_that_leaves_ends_it_quietly(shop):
    done = subprocess.run(f"{shlex.quote(str(CORTEX))} get -v | true", shell=True, cwd=shop.folder, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_an_error(shop):
    shop.cortex("predict", "price", "sample.json")
    wait_until(lambda: "asked for" in shop.cortex("logs", "price"), "something is logged")
    for args in (("get",), ("get", "-w"), ("get", "-o", "json"), ("logs", "price"), ("logs", "price", "-f"), ("deploy",), ("predict", "price", "sample.json"), ("help",)):
        with open("/dev/full", "w") as full:
            done = subprocess.run([CORTEX, *args], cwd=shop.folder, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        assert done.returncode == 1 and re.fullmatch(r"cortex: cannot write all of it(: No space left on device)?\n", done.stderr), (args, done.stderr)


# --- deploy ------------------------------------------------------------------------------------------------------------
def test_deploy_follows_a_change_to_its_end(shop):
    shop.write({"price.py": PRICE.replace("1.5", "2.5")})
    printed = shop.cortex("deploy")
    assert re.search(r"^price: live, 2 of 2 replicas up to date$", printed, re.MULTILINE)
    assert re.search(r"^deployed: done after .*\b2 changed", printed, re.MULTILINE)
    assert [row["status"] for row in table(printed, "api")] == ["live", "live"]
    assert "\x1b" not in printed
    assert shop.cortex("predict", "price", "sample.json") == "5.0\n"
    shop.note_descriptors()


def test_deploy_on_a_terminal_paints_over_what_it_has_shown(shop):
    shop.write({"price.py": PRICE.replace("1.5", "2.5")})
    seen = shop.cortex.seen("deploy")
    assert len(re.findall(r"replicas up to date", seen)) == 2, seen
    assert "\x1b[2A" in shop.cortex.output
    assert re.search(r"^deployed: done", seen, re.MULTILINE)
    shop.write({"price.py": PRICE})
    seen = shop.cortex.seen("deploy", columns=35)
    assert [line.split()[0] for line in seen.splitlines()[:2]] == ["price", "class"] and len(re.findall("^price .*, 2 of", seen, re.MULTILINE)) == 1, seen


def test_deploy_without_a_change_is_fine(shop):
    assert re.search(r"^deployed: .*\b0 changed.*\b2 unchanged", shop.cortex("deploy"), re.MULTILINE)


def test_deploy_of_code_that_does_not_start_fails_with_the_reason(shop):
    shop.write({"price.py": "import nothing_of_that_name\n"})
    shop.expect_error("nothing_of_that_name")
    reason = shop.cortex("deploy", status=1)
    assert re.match(r'cortex: not everything is as the config says: .*"price".*nothing_of_that_name', reason)
    assert re.search(r"^price: the last update failed: .*nothing_of_that_name", shop.cortex.printed, re.MULTILINE)
    assert shop.cortex("predict", "price", "sample.json") == "3.0\n"
    assert "the last reload has failed" in shop.cortex("get")
    shop.write({"price.py": PRICE})
    shop.cortex("deploy")
    assert "failed:" not in shop.cortex("get")


def test_a_message_of_the_code_does_not_speak_to_the_terminal(shop):
    shop.write({"price.py": 'raise ValueError("\\x1b]0;owned\\x07\\x1b[2J")\n'})
    shop.expect_error("ValueError")
    shop.cortex("deploy", status=1)
    assert "\x1b" not in shop.cortex.printed
    assert "owned" in shop.cortex.seen("deploy", status=1)  # Screen asserts that nothing else was told
    assert "owned" in shop.cortex.seen("get", "price")


def test_deploy_of_a_broken_config_asks_nobody(shop):
    before = json.loads(shop.cortex("get", "-o", "json"))["reload"]
    shop.write({"cortex.yaml": SHOP.replace("min_replicas: 2", "min_replicas: two").replace("@PORT@", str(shop.port))})
    reason = shop.cortex("deploy", status=1)
    assert re.match(r"\S*cortex\.yaml:7:\d+: .*min_replicas", reason)
    assert json.loads(shop.cortex("get", "-o", "json"))["reload"] == before
    assert shop.cortex("predict", "price", "sample.json") == "3.0\n"


def test_deploy_from_a_folder_below_and_with_a_config_elsewhere(shop, cortex):
    (shop.folder / "deep" / "er").mkdir(parents=True)
    assert "deployed:" in shop.cortex("deploy", cwd=shop.folder / "deep" / "er")
    assert "deployed:" in cortex("deploy", "-c", shop.folder / "cortex.yaml")
    assert "deployed:" in cortex("-c", os.path.relpath(shop.folder / "cortex.yaml", cortex.folder), "deploy")
    assert "deployed:" in cortex("deploy", "--socket", shop.folder / ".cortex" / "control.sock")


def test_deploy_of_another_config_of_the_folder_is_refused(shop):
    shutil.copy(shop.folder / "cortex.yaml", shop.folder / "other.yaml")
    complaint = shop.cortex("deploy", "-c", "other.yaml", status=1)
    assert "/cortex.yaml\", not \"" in complaint and complaint.endswith('/other.yaml"\n')


def test_deploy_adds_and_removes_apis(shop):
    shop.write({"cortex.yaml": SHOP.replace("name: class\n", "name: kind\n").replace("@PORT@", str(shop.port))})
    assert re.search(r"^deployed: .*1 added, 1 removed", shop.cortex("deploy"), re.MULTILINE)
    wait_until(lambda: shop.cortex("get", "-o", "name").split() == ["price", "kind"], "the old one is gone")


def test_deploy_says_when_cortexd_ends_meanwhile(shop):
    shop.write({"price.py": "import time\n\ntime.sleep(3600)\n" + PRICE})
    shop.expect_any_error()
    shop.base_descriptors = None
    with shop.cortex.terminal("deploy") as terminal:
        terminal.wait_for("price .*1 starting")
        shop.signal()
        assert terminal.wait() == 1
        assert "no cortexd serves" in terminal.screen or "ended" in terminal.screen or "stop" in terminal.screen, terminal.screen


def test_deploy_says_when_cortexd_was_restarted_meanwhile(shop):
    shop.cortex("deploy")
    shop.write({"price.py": "import os, time\n\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n" + PRICE})
    shop.expect_any_error()
    with shop.cortex.terminal("deploy") as terminal:
        terminal.wait_for("price .*1 starting")
        shop.stop()
        (shop.folder / "go").touch()
        shop.launch()
        assert terminal.wait() == 1, terminal.output
        assert re.search("cortexd was restarted meanwhile; cortex get shows|no cortexd serves", terminal.screen), terminal.screen
    shop.wait_ready(3)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_deploy_outlives_what_it_speaks_to(shop, number):
    shop.write({"price.py": "import time\n\ntime.sleep(1)\n" + PRICE.replace("1.5", "2.5")})
    shop.expect_any_error()
    with shop.cortex.terminal("deploy") as terminal:
        terminal.wait_for("price .*1 starting")
        os.kill(shop.monitor(), number)
        assert terminal.wait() == 0, terminal.output
        assert "deployed: done" in terminal.screen
    assert shop.cortex("predict", "price", "sample.json") == "5.0\n"
    shop.note_descriptors()


# --- predict -----------------------------------------------------------------------------------------------------------
def test_predict_prints_what_came_in_a_pipe_and_lays_it_out_on_a_terminal(shop):
    shop.write({"label.json": '"a"'})
    printed = shop.cortex("predict", "class", "label.json")
    assert json.loads(printed)["label"] == "a" and printed.count("\n") == 1
    seen = shop.cortex.seen("predict", "class", "label.json")
    assert re.match(r'\{\n  "label": "a",\n  "text": "\\u001B\[31mred \\xc2\\x9b31m café"\n\}\n', seen), seen


def test_predict_takes_standard_input(shop):
    assert shop.cortex("predict", "price", "-", stdin='{"x": 4}') == "6.0\n"
    assert shop.cortex("predict", "--debug", "price", "-", stdin='{"x": 4}') == "6.0\n"
    shop.wait_log(r"sample: ")


def test_predict_of_what_is_refused_ends_with_the_text(shop):
    shop.expect_error("ValueError|predict")
    complaint = shop.cortex("predict", "class", "-", stdin='"raise"', status=1)
    assert complaint.startswith("cortex: 406: prediction failed: ") and "owned" in complaint
    assert shop.cortex.printed == ""
    assert shop.cortex("predict", "class", "-", stdin="{", status=1) == "cortex: 400: malformed json\n"
    assert re.match(r'cortex: cannot read the sample from "none.json": No such file', shop.cortex("predict", "class", "none.json", status=1))


def test_predict_of_an_answer_that_is_too_large(shop):
    shop.write({"class.py": "def predict(sample, metadata):\n    return {'label': 'a', 'text': 'a' * sample}\n"})
    shop.cortex("deploy")
    shop.note_descriptors()
    assert "/shop/class: the answer is larger than 64 MiB\n" in shop.cortex("predict", "class", "-", stdin=str(64 << 20), status=1)


def test_predict_over_a_unix_socket(start, tmp_path):
    cortexd = start({"cortex.yaml": SHOP.replace("127.0.0.1:@PORT@", "unix:http.sock"), "price.py": PRICE, "class.py": CLASS, "sample.json": '{"x": 2}'}, replicas=3)
    cortex = Cortex(cortexd.folder)
    assert cortex("predict", "price", "sample.json") == "3.0\n"
    line = re.search(r"^curl: (curl .*)$", cortex("get", "price"), re.MULTILINE)[1]
    done = subprocess.run(line, shell=True, cwd=cortexd.folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == "3.0", f"{line}: {done.stderr}"


@pytest.mark.parametrize("listen", ["0.0.0.0:@PORT@", '"*:@PORT@"'])
def test_predict_where_every_address_is_listened_on(start, listen):
    cortexd = start({"cortex.yaml": SHOP.replace("127.0.0.1:@PORT@", listen), "price.py": PRICE, "class.py": CLASS, "sample.json": '{"x": 2}'}, replicas=3)
    cortex = Cortex(cortexd.folder)
    assert cortex("predict", "price", "sample.json") == "3.0\n"


# --- logs --------------------------------------------------------------------------------------------------------------
def test_logs_are_those_of_one_api(shop):
    for x in (1, 2, 3):
        shop.cortex("predict", "price", "-", stdin=json.dumps({"x": x}))
    shop.cortex("predict", "class", "-", stdin='"a"')
    wait_until(lambda: shop.cortex("logs", "price").count("asked for") == 3, lambda: f"three lines: {shop.cortex.printed}")
    assert re.search(r"^\d{4}-\d\d-\d\dT\S+Z out   replica price/[01] \(generation 1\): asked for 3$", shop.cortex.printed, re.MULTILINE)
    assert "asked for" not in shop.cortex("logs", "class")
    assert shop.cortex("logs", "price", "-n", "2").count("\n") == 2
    assert shop.cortex("logs", "price", "--since", "1h").count("asked for") == 3
    assert shop.cortex("logs", "price", "--since", "0s") == ""
    for wrong in ("soon", "-1m", "10x", ""):
        assert "is not a duration; use 30s" in shop.cortex("logs", "price", f"--since={wrong}", status=2)
    assert "is not a number" in shop.cortex("logs", "price", "-n", "all", status=2)


def test_logs_are_followed_until_ctrl_c(shop):
    with shop.cortex.terminal("logs", "price", "-f", "-n", "1") as terminal:
        shop.cortex("predict", "price", "-", stdin='{"x": 10}')
        terminal.wait_for("asked for 10")
        size = len(terminal.output)
        shop.cortex("predict", "price", "-", stdin='{"x": 20}')
        terminal.wait_for("asked for 20", since=size)
        terminal.send("\x03")
        terminal.wait()
        assert terminal.process.returncode == -signal.SIGINT


def test_logs_that_are_followed_go_on_after_their_monitor_and_cortexd(shop):
    shop.expect_error("monitor")
    with shop.cortex.terminal("logs", "price", "-f") as terminal:
        shop.cortex("predict", "price", "-", stdin='{"x": 10}')
        terminal.wait_for("asked for 10")

        def goes_on(number, size):
            def seen():
                shop.cortex("predict", "price", "-", stdin=json.dumps({"x": number}))
                terminal.read(0.01)
                return f"asked for {number}" in terminal.output[size:]

            terminal.wait_for("^cortex: the log has ended; waiting for cortexd", since=size)
            wait_until(seen, "it goes on")
            assert "asked for 10" not in terminal.output[size:]

        size = len(terminal.output)
        os.kill(shop.monitor(), signal.SIGKILL)
        goes_on(20, size)
        size = len(terminal.output)
        shop.stop()
        shop.launch()
        shop.wait_ready(3)
        goes_on(30, size)


def test_what_an_api_prints_does_not_speak_to_the_terminal(shop):
    shop.write({"odd.json": json.dumps({"x": "\x1b]0;owned\x07\x9b2J\u202e caf\u00e9 \u4e2d\u6587"})})
    shop.expect_error("TypeError|predict")
    shop.cortex("predict", "price", "odd.json", status=1)
    wait_until(lambda: "owned" in shop.cortex("logs", "price"), "it is logged")
    seen = shop.cortex.seen("logs", "price")
    assert r"\x1b]0;owned\x07\xc2\x9b2J" in seen and "café 中文" in seen
    assert "\x1b" not in shop.cortex("logs", "price")


# --- delete, check, version --------------------------------------------------------------------------------------------
def test_delete_lasts_until_the_next_deploy(shop):
    printed = shop.cortex("delete", "class")
    assert printed == f"class ends; the next deploy, or start, brings it back unless it is taken out of {shop.folder}/cortex.yaml\n"
    wait_until(lambda: shop.cortex("get", "-o", "name") == "price\n", "it is gone")
    assert shop.get("/shop/class").status == 404
    assert 'there is no api "class"' in shop.cortex("delete", "class", status=1)
    shop.cortex("deploy")
    assert shop.cortex("get", "-o", "name") == "price\nclass\n"
    shop.note_descriptors()


def test_delete_asks_on_a_terminal(shop):
    for answer in ("n\n", "\n", "\x04"):
        with shop.cortex.terminal("delete", "class") as terminal:
            terminal.wait_for(r'end the api "class".*\[y/N\] ')
            terminal.send(answer)
            assert terminal.wait() == 1
            assert "nothing was done" in terminal.screen
    assert shop.cortex("get", "-o", "name") == "price\nclass\n"
    with shop.cortex.terminal("delete", "class") as terminal:
        terminal.wait_for(r"\[y/N\] ")
        terminal.send("y\n")
        assert terminal.wait() == 0
    with Terminal(["sh", "-c", f"{shlex.quote(str(CORTEX))} delete price | cat"], cwd=shop.folder) as terminal:
        terminal.wait_for(r'end the api "price".*\[y/N\] ')
        terminal.send("n\n")
        terminal.wait_for("nothing was done")
        terminal.wait()
    assert "price ends" in shop.cortex.seen("delete", "price", "--force")


def test_check_says_what_cortexd_says(shop, cortex):
    assert shop.cortex("check") == f"{shop.folder}/cortex.yaml is good\n"
    cortex.folder.joinpath("bad.yaml").write_text("- kind: api\n  name: A\n  predictor: {pth: x.py}\n- kind: nothing\n")
    complaints = cortex("check", "-c", "bad.yaml", status=1)
    said = subprocess.run([BUILD / "bin" / "cortexd", "-t", "-c", "bad.yaml"], cwd=cortex.folder, capture_output=True, text=True).stderr
    assert [line.partition("bad.yaml")[2] for line in complaints.splitlines()] == [line.partition("bad.yaml")[2] for line in said.splitlines()]
    assert len(complaints.splitlines()) >= 3


def test_version_of_both(shop, cortex):
    number = r"\d+\.\d+\.\d+"
    assert re.fullmatch(rf"cortex   {number}\ncortexd  {number}\n", shop.cortex("version"))
    assert re.fullmatch(rf"cortex   {number}\ncortexd  -  \(there is no cortex.yaml here.*\)\n", cortex("version"))
    assert re.fullmatch(rf"cortex {number}\n", cortex("--version"))


# --- where cortexd is --------------------------------------------------------------------------------------------------
ASKING = [("get",), ("get", "price"), ("get", "-w"), ("deploy",), ("logs", "price"), ("logs", "price", "-f"), ("predict", "price", "sample.json"), ("delete", "price")]


def test_without_a_project_it_says_what_to_do(cortex):
    (cortex.folder / "sample.json").write_text("1")
    for args in ASKING:
        assert "there is no cortex.yaml here, nor in a folder above; go to the project, or say where it is: --config FILE" in cortex(*args, status=1)


def test_without_cortexd_it_says_how_to_start_it(cortex):
    (cortex.folder / "sample.json").write_text("1")
    (cortex.folder / "price.py").write_text(PRICE)
    (cortex.folder / "class.py").write_text(CLASS)
    config = cortex.folder / "cortex.yaml"
    config.write_text(SHOP.replace("@PORT@", "8888"))
    for args in ASKING:
        assert cortex(*args, status=1) == f'cortex: no cortexd serves "{config}"; start it with: cortexd -c {config}\n'
        assert "cortexd -c" in cortex.seen(*args, status=1)
    assert 'no cortexd serves "' in cortex("version")
    assert "is good" in cortex("check")


def test_in_a_deep_folder(start, tmp_path):
    """The path of its socket is longer than that of a socket may be."""
    folder = tmp_path / ("deep" * 30) / ("er" * 40)
    cortexd = start({"cortex.yaml": SHOP, "price.py": PRICE, "class.py": CLASS, "sample.json": '{"x": 2}'}, replicas=3, folder=folder)
    cortex = Cortex(cortexd.folder)
    assert cortex("get", "-o", "name") == "price\nclass\n"
    assert cortex("predict", "price", "sample.json") == "3.0\n"
    cortexd.stop()
    assert "no cortexd serves" in cortex("get", status=1)


def test_a_socket_that_cortexd_left_behind(shop):
    shop.stop()
    left = socket.socket(socket.AF_UNIX)
    with left, contextlib.suppress(FileNotFoundError):
        (shop.folder / ".cortex" / "control.sock").unlink()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(shop.folder / ".cortex" / "control.sock"))
    assert "start it with: cortexd -c" in shop.cortex("get", status=1)


def test_one_that_runs_is_found_whatever_is_in_the_file_by_now(shop):
    with reserved_port() as admin_port:
        config = SHOP.replace("@PORT@", str(shop.port))
        for server, problem in (("admin: none", ""), (f"admin: 127.0.0.1:{admin_port}", ""), ("state_dir: other", "server.state_dir cannot change while cortexd runs")):
            shop.write({"cortex.yaml": f"{config}  {server}\n"})
            assert shop.cortex("get", "-o", "name") == "price\nclass\n"
            if problem:
                shop.expect_error(problem)
                assert problem in shop.cortex("deploy", status=1)
        shop.write({"cortex.yaml": f"{config}  admin: 127.0.0.1:{admin_port}\n"})
        assert "deployed:" in shop.cortex("deploy")
        assert not (shop.folder / ".cortex" / "control.sock").exists()
        assert shop.cortex("get", "-o", "name") == "price\nclass\n"
        shop.note_descriptors()
        # Nothing says where that is any more.
        shop.write({"cortex.yaml": config})
        command = f"cortexd --reload -c {shop.folder}/cortex.yaml"
        assert f"cortexd runs, but not, or not yet, with the admin interface of \"{shop.folder}/cortex.yaml\"; to apply that: {command}\n" in shop.cortex("get", status=1)
        subprocess.run([BUILD / "bin" / "cortexd", *command.split()[1:]], check=True, timeout=PATIENCE)
        shop.note_descriptors()
        assert shop.cortex("get", "-o", "name") == "price\nclass\n"


def test_a_config_that_is_bad_does_not_tell_where_cortexd_is(cortex):
    for name in ("price.py", "class.py"):
        (cortex.folder / name).touch()
    (cortex.folder / "cortex.yaml").write_text(SHOP.replace("min_replicas: 2", "min_replicas: two") + "  state_dir: other\n")
    assert re.match(r"cortex: cannot tell where cortexd is, if it runs: \S*/cortex.yaml:7:\d+: .*min_replicas", cortex("get", status=1))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_may_not_speak_to_it(shop):
    (shop.folder / ".cortex").chmod(0o700)
    done = subprocess.run([CORTEX.resolve(), "get", "--socket", shop.folder / ".cortex" / "control.sock"], cwd="/", user=65534, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "may not speak to cortexd: " in done.stderr and done.stderr.endswith("; use its user, or sudo\n"), done.stderr


def test_wrong_sockets(shop, cortex, tmp_path):
    assert "no cortexd listens on /nowhere/at/all; start it" in cortex("get", "--socket", "/nowhere/at/all", status=1)
    assert "no cortexd listens on 127.0.0.1:1" in cortex("get", "--socket", "127.0.0.1:1", status=1)
    assert cortex("get", "-o", "name", "--socket", shop.folder / ".cortex" / "control.sock") == "price\nclass\n"
    assert cortex("get", "-o", "name", "--socket", f"unix:{shop.folder}/.cortex/control.sock") == "price\nclass\n"
    assert cortex("get", "-o", "name", env={"CORTEX_SOCKET": str(shop.folder / ".cortex" / "control.sock")}) == "price\nclass\n"
    # What the command line says counts for more than the environment.
    assert shop.cortex("get", "-o", "name", "-c", "cortex.yaml", env={"CORTEX_SOCKET": "/nowhere"}) == "price\nclass\n"
    assert "/nowhere" in shop.cortex("get", env={"CORTEX_SOCKET": "/nowhere"}, status=1)


def test_somebody_else_behind_the_socket(cortex, port):
    class Handler(http.server.BaseHTTPRequestHandler):
        answer = b"hello"
        status = 200

        def do_GET(self):
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(self.answer)))
            self.end_headers()
            self.wfile.write(self.answer)

        def log_message(self, *unused):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for answer in (b"hello", b"[]", b"{}", b'{"apis": 1}', b"\xff\x00"):
            Handler.answer = answer
            for args in (("get",), ("delete", "a"), ("deploy",)):
                assert "is that really a cortexd?" in cortex(*args, "--socket", f"127.0.0.1:{port}", status=1)
        Handler.answer = b'{"apis": [{}, 1, null, {"name": 5, "metrics": []}]}'
        assert cortex("get", "--socket", f"127.0.0.1:{port}").count("\n") == 5  # whatever is in it
        Handler.status, Handler.answer = 500, b"\x1b[2Jsorry\nmore"
        assert cortex("get", "--socket", f"127.0.0.1:{port}", status=1) == "cortex: cortexd answers 500: \\x1b[2Jsorry\n"
        server.shutdown()


def test_an_unknown_api(shop):
    for args in (("get", "nosuch"), ("predict", "nosuch", "sample.json"), ("delete", "nosuch")):
        assert shop.cortex(*args, status=1) == 'cortex: there is no api "nosuch"; cortex get lists those that there are\n'
    for args in (("logs", "nosuch"), ("logs", "../token"), ("logs", "nosuch", "-f")):
        assert re.match(r'cortex: api ".*": .*; cortex get lists the apis\n|cortex: cortexd answers 400: ', shop.cortex(*args, status=1))


def test_over_tcp_the_token_is_needed(start, cortex, tmp_path):
    with reserved_port() as admin_port:
        config = SHOP + f"  admin: 127.0.0.1:{admin_port}\n"
        cortexd = start({"cortex.yaml": config, "price.py": PRICE, "class.py": CLASS}, replicas=3)
        address = f"127.0.0.1:{admin_port}"
        assert "cortexd wants a token; --token-file FILE" in cortex("get", "--socket", address, status=1)
        assert "cortexd wants a token" in cortex("logs", "price", "--socket", address, status=1)
        (tmp_path / "wrong").write_text("0123456789abcdef" * 4)
        assert "cortexd wants another token" in cortex("get", "--socket", address, "--token-file", tmp_path / "wrong", status=1)
        assert "cannot read the token" in cortex("get", "--socket", address, "--token-file", tmp_path / "none", status=1)
        token = cortexd.folder / ".cortex" / "token"
        assert cortex("get", "-o", "name", "--socket", address, "--token-file", token) == "price\nclass\n"
        for other in (f"http://{address}", f"http://{address}/", f"some.name.localhost:{admin_port}"):
            assert cortex("get", "-o", "name", "--socket", other, "--token-file", token) == "price\nclass\n"
        (cortex.folder / "sample.json").write_text('{"x": 2}')
        assert cortex("predict", "price", "sample.json", "--debug", "--socket", address, "--token-file", token) == "3.0\n"
        cortexd.wait_log("sample: ")
        # The project says all that is needed.
        assert Cortex(cortexd.folder)("get", "-o", "name") == "price\nclass\n"
        assert "deployed:" in Cortex(cortexd.folder)("deploy")


def test_the_apis_of_another_machine_are_reached_there(cortex, port):
    """127.0.0.2 stands for it: in its status is what a client there is to use, which here would be somebody else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, text):
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self):
            listeners = [{"text": f"{host}:8888", "url": "http://127.0.0.1:8888"}]
            self.answer(json.dumps({"apis": [{"name": "price", "endpoint": "/shop/price"}], "listeners": listeners}))

        def do_POST(self):
            self.answer(f"{self.path} {self.rfile.read(int(self.headers['Content-Length'])).decode()}")

        def log_message(self, *unused):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.2", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for host, expected in (("*", "127.0.0.2"), ("0.0.0.0", "127.0.0.2"), ("[::]", "127.0.0.2"), ("127.0.0.1", "127.0.0.1")):
            printed = cortex("get", "price", "--socket", f"127.0.0.2:{port}")
            assert f"endpoint: http://{expected}:8888/shop/price\n" in printed and f"@sample.json http://{expected}:8888/" in printed
        assert cortex("predict", "price", "-", "--socket", f"127.0.0.2:{port}", stdin="1") == "/predict?api=price 1\n"
        assert cortex("predict", "price", "-", "--debug", "--socket", f"127.0.0.2:{port}", stdin="1") == "/predict?api=price&debug=true 1\n"
        server.shutdown()


def test_a_cortexd_without_an_admin_interface(start):
    cortexd = start({"cortex.yaml": SHOP + "  admin: none\n", "price.py": PRICE, "class.py": CLASS}, replicas=3)
    assert "no admin interface (server.admin: none)" in Cortex(cortexd.folder)("get", status=1)


# --- the document ------------------------------------------------------------------------------------------------------
@pytest.mark.once
def test_the_document_shows_what_is_printed(cortex):
    document = (ROOT / "docs" / "cli.md").read_text()
    for command in COMMANDS:
        assert re.search(rf"^## cortex {command}$", document, re.MULTILINE), command
    everything = "".join(cortex("help", command) for command in COMMANDS)
    for option in set(re.findall(r"(?<![\w-])--[a-z-]+", everything)):
        assert option in document, option
    done = subprocess.run([ROOT / "scripts" / "make-cli-docs", "--check"], capture_output=True, text=True, timeout=230)
    assert done.returncode == 0, done.stderr


# --- completion, help --------------------------------------------------------------------------------------------------
def complete_in_bash(cortex, *words):
    script = (
        'eval "$("$CORTEX" completion bash)"; cortex() { "$CORTEX" "$@"; }; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        'complete -p cortex >/dev/null || exit 1; _cortex cortex; ((${#COMPREPLY[@]} == 0)) || printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", *map(str, words)], cwd=cortex.folder, env={**os.environ, "CORTEX": str(CORTEX.resolve())}, capture_output=True, text=True,
        timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split()


def test_bash_completes_commands_options_and_names(shop, cortex):
    assert sorted(complete_in_bash(shop.cortex, "cortex", "")) == sorted(COMMANDS)
    assert complete_in_bash(shop.cortex, "cortex", "de") == ["deploy", "delete"]
    assert complete_in_bash(shop.cortex, "cortex", "get", "") == ["price", "class"]
    assert complete_in_bash(shop.cortex, "cortex", "get", "-v", "pr") == ["price"]
    assert complete_in_bash(shop.cortex, "cortex", "get", "price", "") == []
    assert complete_in_bash(shop.cortex, "cortex", "get", "-o", "") == ["json", "name"]
    assert complete_in_bash(shop.cortex, "cortex", "predict", "price", "s") == ["sample.json"]
    assert {"--watch", "--verbose", "--output", "--help"} <= set(complete_in_bash(shop.cortex, "cortex", "get", "--"))
    assert complete_in_bash(shop.cortex, "cortex", "logs", "--f") == ["--follow"]
    assert complete_in_bash(cortex, "cortex", "--config", shop.folder / "cortex.yaml", "logs", "") == ["price", "class"]
    assert complete_in_bash(cortex, "cortex", "logs", "") == []
    assert complete_in_bash(cortex, "cortex", "completion", "") == ["bash", "zsh", "fish"]


def test_bash_really_completes(shop):
    """Keys on a terminal: a name and a file are finished by the tabulator."""
    (shop.folder / "price").mkdir()  # no reason to complete the name of a folder
    env = {"PATH": f"{CORTEX.parent.resolve()}:{os.environ['PATH']}", "PS1": "> ", "HISTFILE": "", "TERM": "dumb"}
    with Terminal(["bash", "--norc", "--noprofile", "-i"], cwd=shop.folder, env=env) as terminal:
        terminal.wait_for("> ")
        terminal.send("source <(cortex completion bash); echo rea''dy\n")
        terminal.wait_for("ready")
        terminal.send("cortex pre\tpr\tsa\t\n")
        terminal.wait_for(r"cortex predict price sample\.json (?s:.)*^3\.0")
        terminal.send("exit\n")
        terminal.wait()


@pytest.mark.skipif(not shutil.which("fish"), reason="there is no fish")
def test_fish_completes_names(shop):
    env = {**os.environ, "PATH": f"{CORTEX.parent.resolve()}:{os.environ['PATH']}", "HOME": str(shop.tmp_path)}

    def complete(line):
        command = f"cortex completion fish | source; complete -C {shlex.quote(line)}"
        done = subprocess.run(["fish", "--no-config", "-c", command], cwd=shop.folder, env=env, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return [found.split("\t")[0] for found in done.stdout.splitlines()]

    assert complete("cortex de") == ["delete", "deploy"]
    assert complete("cortex get ") == ["class", "price"]
    assert complete("cortex get --wat") == ["--watch"]
    assert complete("cortex completion z") == ["zsh"]


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_really_completes(shop):
    functions = shop.tmp_path / "functions"
    functions.mkdir()
    (functions / "_cortex").write_text(shop.cortex("completion", "zsh"))
    env = {"PATH": f"{CORTEX.parent.resolve()}:{os.environ['PATH']}", "PS1": "> ", "TERM": "dumb", "HOME": str(shop.tmp_path)}
    with Terminal(["zsh", "-f", "-i"], cwd=shop.folder, env=env) as terminal:
        terminal.wait_for("> ")
        terminal.send("fpath=($PWD/../functions $fpath); autoload -Uz compinit; compinit -u -D; echo rea''dy\n")
        terminal.wait_for("ready")
        terminal.send("cortex pred\tpri\tsa\t\n")
        terminal.wait_for(r"\b3\.0")
        terminal.send("exit\n")
        terminal.wait()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_can_be_read_by_their_shells(cortex, shell):
    script = cortex("completion", shell)
    assert all(re.search(rf"\b{command}\b", script) for command in COMMANDS)
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_explains_itself(cortex):
    general = cortex("--help")
    assert all(re.search(rf"^  {command} +\S", general, re.MULTILINE) for command in COMMANDS)
    assert general == cortex("help")
    completion = cortex("completion", "bash")
    for command in COMMANDS:
        text = cortex(command, "--help")
        assert text == cortex("help", command) == cortex("-h", command)
        assert text.startswith(f"usage: cortex {command}")
        assert re.search(rf"^  (.*\| )?(source <\()?cortex {command}", text, re.MULTILINE), f"{command}: no example"
        for option in re.findall(r"(?<![\w-])--[a-z-]+", text):
            assert option in completion, f"bash does not complete {option}"
    for line in (general + "".join(cortex("help", command) for command in COMMANDS)).splitlines():
        assert len(line) <= 100, line


def test_a_command_line_that_makes_no_sense(cortex):
    for args in ((), ("nosuch",), ("help", "nosuch"), ("get", "a", "b"), ("logs",), ("predict", "a"), ("get", "--nosuch"), ("get", "-o"), ("completion", "ksh"), ("check", "-w"),
                 ("deploy", "--force"), ("delete", "a", "--follow"), ("logs", "a", "--force"), ("version", "more")):  # fmt: skip
        complaint = cortex(*args, status=2)
        assert "cortex" in complaint and cortex.printed == "", args
