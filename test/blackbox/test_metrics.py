"""What is counted about requests, as /status shows it: what the clients have counted, whatever happens to the replicas."""
import collections
import json
import os
import signal
import threading

from client import Connection
from cortexd import wait_until

TRACKED = """\
import os
import time


def predict(sample, metadata):
    if sample == "die":
        os._exit(1)
    if sample == "raise":
        raise ValueError("as told")
    if sample == "unfit":
        return {"class": 1.5}
    if isinstance(sample, float):
        time.sleep(sample)
    return {"class": sample, "value": sample}
"""


def status(cortexd):
    with Connection(path=str(cortexd.folder / ".cortex" / "control.sock")) as connection:
        answer = connection.request("GET", "/status")
        assert answer.status == 200
        return answer.json()


def metrics(cortexd, name="a"):
    return next(api["metrics"] for api in status(cortexd)["apis"] if api["name"] == name)


def wait_counts(cortexd, **wanted):
    """An answer is counted when the socket has it, which the client may notice a moment before."""
    found = {}

    def condition():
        found.update(metrics(cortexd)["requests"])
        return all(found[f"{key[1:]}"] == value for key, value in wanted.items())

    wait_until(condition, lambda: f"{wanted}: {found}")
    return metrics(cortexd)


def test_answers_are_counted_by_what_they_are(start):
    cortexd = start(TRACKED)
    cortexd.expect_error("as told")
    for sample in ("a", "b", "raise", "unfit"):
        cortexd.post(sample)
    assert cortexd.get("/d/a").status == 200
    assert cortexd.post(b"{", content_type="application/json").status == 400
    assert cortexd.post(b"{", content_type="image/png").status == 415
    found = wait_counts(cortexd, _2xx=4, _4xx=3, _5xx=0)
    assert (found["exceptions"], found["failed"], found["timed_out"], found["rejected"]) == (1, 0, 0, 0)
    assert found["latency_ms"]["prediction"]["count"] == 6
    assert found["latency_ms"]["total"]["count"] == 6
    assert found["bytes_in"] > 500 and found["bytes_out"] > 500


def test_what_is_for_no_api_is_not_the_apis(start):
    cortexd = start(TRACKED)
    before = metrics(cortexd)["requests"]
    assert cortexd.get("/healthz").status == 200
    assert cortexd.get("/nowhere").status == 404
    assert cortexd.post("a").status == 200
    assert wait_counts(cortexd, _2xx=1)["requests"] == {**before, "2xx": 1}


def test_times_are_those_that_the_client_sees(start):
    cortexd = start(TRACKED)
    for _ in range(20):
        assert cortexd.post(0.02).status == 200
    assert cortexd.post(0.2).status == 200
    latency = wait_counts(cortexd, _2xx=21)["latency_ms"]
    for kind in ("prediction", "total"):
        assert 20 <= latency[kind]["p50"] < 40
        assert 195 <= latency[kind]["p999"] < 400
        assert 28 < latency[kind]["mean"] < 60
    assert latency["queue"]["p50"] < 15


def test_a_prediction_that_dies_with_its_replica_is_a_500(start, hasty_build):
    cortexd = start(TRACKED, binary=hasty_build / "bin" / "cortexd")
    cortexd.expect_error("died while it ran|a/0")
    assert cortexd.post("a").status == 200
    assert cortexd.post("die").status == 500
    assert cortexd.post("a").status == 200
    found = wait_counts(cortexd, _2xx=2, _5xx=1)
    assert found["failed"] == 1


def test_timeouts_and_refusals_are_counted(start):
    cortexd = start(TRACKED, api="requests: {timeout: 1s, max_queue_length: 1}")
    answers = collections.Counter()
    threads = [threading.Thread(target=lambda: answers.update([cortexd.post(0.5).status])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cortexd.post(1.5).status == 504
    found = wait_counts(cortexd, _2xx=answers[200], _5xx=answers[503] + answers[504] + 1)
    assert found["rejected"] == answers[503] > 0
    assert found["timed_out"] == answers[504] + 1


def test_counts_are_exact_whatever_is_killed_and_reloaded(start, hasty_build):
    """Clients on kept-alive connections count what they get, while replicas are killed at any moment and the api is reloaded; and the
    tracker counts what was answered with 200. Numbers never go back."""
    cortexd = start(TRACKED, replicas=3, binary=hasty_build / "bin" / "cortexd", api="tracker: {key: class, model_type: classification}")
    cortexd.expect_any_error()
    answers, classes, stop, seen = collections.Counter(), collections.Counter(), threading.Event(), []
    lock = threading.Lock()

    def ask(number):
        with cortexd.connect() as connection:
            for i in range(10**9):
                if stop.is_set():
                    return
                name = f"class {(number + i) % 7}"
                answer = connection.post("/d/a", name)
                with lock:
                    answers[answer.status] += 1
                    classes[name] += answer.status == 200

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for i in range(30):
        replicas = cortexd.replicas()
        if i % 10 == 5:
            (cortexd.folder / "predictor.py").write_text(TRACKED + f"# {i}\n")
            cortexd.signal(signal.SIGHUP)
        elif replicas:
            os.kill(replicas[i % len(replicas)], signal.SIGKILL)
        now = metrics(cortexd)
        counts = [*now["requests"].values(), now["latency_ms"]["total"]["count"], *now["tracker"]["classes"].values()]
        seen.append(sum(counts))
        assert seen == sorted(seen)
        had = sum(answers.values())
        wait_until(lambda: sum(answers.values()) > had + 50, "more answers")
    stop.set()
    for thread in threads:
        thread.join()
    assert set(answers) <= {200, 500} and answers[200] > 1000
    found = wait_counts(cortexd, _2xx=answers[200], _5xx=answers[500], _4xx=0)
    assert found["tracker"] == {"classes": dict(classes), "other": 0, "untracked": 0}
    cortexd.wait_ready(3)


def test_classes_beyond_the_hundredth_are_one(start):
    cortexd = start(TRACKED, replicas=2, api="tracker: {key: class, model_type: classification}")
    with cortexd.connect() as connection:
        for number in range(130):
            assert connection.post("/d/a", number).status == 200
        assert connection.post("/d/a", "unfit").status == 200
    tracker = wait_counts(cortexd, _2xx=131)["tracker"]
    assert len(tracker["classes"]) == 100 and set(tracker["classes"].values()) == {1}
    assert (tracker["other"], tracker["untracked"]) == (30, 1)
    cortexd.wait_log("tracker: found a value of type float; it must be a str or an int")


def test_a_regression_is_summed_up_over_replicas_and_their_deaths(start, hasty_build):
    cortexd = start(
        "def predict(sample, metadata): return sample", replicas=2, binary=hasty_build / "bin" / "cortexd", api="tracker: {model_type: regression}"
    )
    cortexd.expect_any_error()
    assert metrics(cortexd)["tracker"] == {"count": 0, "min": None, "max": None, "avg": None, "untracked": 0}
    for round in range(4):
        with cortexd.connect() as first, cortexd.connect() as second:
            for number in range(10):
                for connection in (first, second):
                    assert connection.post("/d/a", number + round / 4).status == 200
        assert cortexd.post("text").status == 200
        os.kill(cortexd.replicas()[0], signal.SIGKILL)
        cortexd.wait_ready(2)
    tracker = wait_counts(cortexd, _2xx=84)["tracker"]
    assert tracker == {"count": 80, "min": 0.0, "max": 9.75, "avg": 4.875, "untracked": 4}


def test_a_client_that_leaves_is_counted_as_gone(start):
    cortexd = start(TRACKED)
    with cortexd.connect() as busy:
        busy.send(b"POST /d/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n4.0")
        wait_until(lambda: status(cortexd)["apis"][0]["slots"][0]["activity"] == "long", "the prediction is long")
        with cortexd.connect() as leaver:
            leaver.send(b"POST /d/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n0.5")
            wait_until(lambda: metrics(cortexd)["queued"] == 1, "it waits")
        wait_until(lambda: metrics(cortexd)["client_gone"] == 1, "it is gone")
        assert busy.final_answer().status == 200
    assert wait_counts(cortexd, _2xx=1)["requests"]["5xx"] == 0


def test_a_memory_of_counts_goes_with_its_replica(start):
    """A thousand replicas that come and go leave no more memory behind than one."""
    cortexd = start(TRACKED, api="recycle: {max_requests: 1}", replicas=2)

    def shared_kib():
        for name in os.listdir(f"/proc/{cortexd.pid}/fd"):
            path = f"/proc/{cortexd.pid}/fd/{name}"
            try:
                if os.readlink(path).startswith("/memfd:cortexd-scoreboard"):
                    return os.stat(path).st_blocks // 2
            except FileNotFoundError:
                continue
        raise AssertionError("no scoreboard")

    def serve(count):
        for _ in range(count):
            assert cortexd.post("a").status == 200
        cortexd.wait_ready(2)

    serve(20)
    before = shared_kib()
    serve(20)
    wait_until(lambda: shared_kib() < before + 200, lambda: f"{before} KiB became {shared_kib()}")


def test_the_sum_of_all_is_json_that_any_reader_takes(start):
    cortexd = start(TRACKED, api="tracker: {key: class, model_type: classification}")
    assert cortexd.post('"<&>\\\n\u20ac').status == 200
    wait_counts(cortexd, _2xx=1)
    assert list(json.loads(json.dumps(metrics(cortexd)["tracker"]["classes"]))) == ['"<&>\\\n\u20ac']
