"""The number of replicas: it follows the load, within the room that the host has. The rules are in test_autoscale.c and
test_capacity.c; here they are seen at work."""
import threading

import pytest

from cortexd import Scoreboard, wait_until

# Burns the CPU time that a request asks for, itself or in a process of its own, or sleeps.
WORK = """\
    import os
    import subprocess
    import sys
    import time

    BURN = "import time\\nend = time.process_time() + {}\\nwhile time.process_time() < end: pass"


    def predict(sample, metadata):
        if "sleep" in sample:
            time.sleep(sample["sleep"])
        elif "child" in sample:
            subprocess.run([sys.executable, "-S", "-c", BURN.format(sample["child"])], check=True)
        else:
            end = time.thread_time() + sample["burn"]
            while time.thread_time() < end:
                pass
        return os.getpid()
"""
API = "compute: {{min_replicas: 1, max_replicas: {max}, cpu: {cpu}}}\nautoscaling: {{window: 1s, downscale_stabilization_period: 2s{more}}}"
DEVICES = """\
    import os

    def predict(sample, metadata):
        return os.environ.get("CUDA_VISIBLE_DEVICES")
"""


def config(*apis, server=""):
    text = "- kind: deployment\n  name: d\n"
    for name, lines in apis:
        text += f"- kind: api\n  name: {name}\n  endpoint: /{name}\n  predictor: {{path: predictor.py}}\n"
        text += "".join(f"  {line}\n" for line in lines.splitlines())
    return text + f"- kind: server\n  listen: 127.0.0.1:@PORT@\n  {server}\n"


class Load:
    """Clients that ask again as soon as they have an answer."""

    def __init__(self, cortexd, sample, clients, path="/a"):
        self.stop, self.failures, self.answers = threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.run, args=(cortexd, path, sample)) for _ in range(clients)]

    def run(self, cortexd, path, sample):
        with cortexd.connect() as connection:
            while not self.stop.is_set():
                answer = connection.post(path, sample)
                self.answers += 1
                if answer.status != 200:
                    self.failures.append(answer.status)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *unused):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures and self.answers > 0


@pytest.mark.alone
@pytest.mark.parametrize("sample", [{"burn": 0.005}, {"child": 0.05}], ids=["itself", "in a child"])
def test_replicas_follow_the_cpu_that_is_used(start, hasty_build, sample):
    """At 50m the request is so small that any load is too much for one replica, however busy the machine is."""
    api = API.format(max=4, cpu="50m", more="")
    cortexd = start({"predictor.py": WORK, "cortex.yaml": config(("a", api))}, binary=hasty_build / "bin" / "cortexd")
    with Load(cortexd, sample, 4):
        cortexd.wait_ready(4)
        cortexd.wait_log(r'api "a": cpu \d+% of the request over \d ready replica.*, target 80%: \d -> 4')
    cortexd.wait_log(r'api "a": cpu \d+% of the request over \d ready replicas?, target 80%: \d -> 1')
    cortexd.wait_replicas(1)


@pytest.mark.alone
def test_replicas_follow_the_requests_in_flight(start, hasty_build):
    """Predictions that sleep use no CPU; the queue says that there are too few replicas."""
    api = API.format(max=5, cpu="100m", more=", target_in_flight: 1")
    cortexd = start({"predictor.py": WORK, "cortex.yaml": config(("a", api))}, binary=hasty_build / "bin" / "cortexd")
    with Load(cortexd, {"sleep": 0.1}, 5):
        cortexd.wait_ready(5)
    cortexd.wait_replicas(1)


@pytest.mark.alone
def test_replicas_are_measured_by_what_they_have_asked_for(start, hasty_build):
    """A reload with a larger request and code that does not work leaves the old replicas, and their request."""
    api = API.format(max=4, cpu="50m", more="")
    cortexd = start({"predictor.py": WORK, "cortex.yaml": config(("a", api))}, binary=hasty_build / "bin" / "cortexd")
    cortexd.expect_any_error()
    larger = config(("a", api.replace("50m", "1900m"))).replace("@PORT@", str(cortexd.port))
    cortexd.write({"predictor.py": "1 / 0\n", "cortex.yaml": larger}, cortexd.folder)
    cortexd.signal(1)
    cortexd.wait_log("reload: failed")
    cortexd.write({"predictor.py": WORK}, cortexd.folder)
    with Load(cortexd, {"burn": 0.005}, 4):
        cortexd.wait_log(r'api "a": cpu \d+% of the request over \d ready replica.*, target 80%: \d -> 4')
    cortexd.wait_ready(4)


def test_a_replica_that_is_busy_is_not_taken_while_another_one_is_idle(start, hasty_build):
    api = API.format(max=3, cpu="100m", more="").replace("min_replicas: 1", "min_replicas: 1, init_replicas: 3")
    cortexd = start({"predictor.py": WORK, "cortex.yaml": config(("a", api))}, binary=hasty_build / "bin" / "cortexd", replicas=3)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(cortexd.connect().post("/a", {"sleep": 8})))
    thread.start()
    with Scoreboard(cortexd.pid) as board:
        wait_until(lambda: any(slot[0] == "long" for slot in board.slots()), "the prediction has begun")
    cortexd.wait_replicas(1)
    thread.join()
    assert answers[0].status == 200 and answers[0].json() in cortexd.replicas()


# --- room -------------------------------------------------------------------------------------------------------------
def test_what_does_not_fit_waits_for_room(start):
    five = ("a", "compute: {min_replicas: 5, cpu: 100m}")
    files = {"predictor.py": WORK, "cortex.yaml": config(five, server="capacity: {cpu: 300m}")}
    cortexd = start(files, replicas=3)
    cortexd.wait_log(r'warn .*api "a": 3 of 5 replicas: compute unavailable: needs cpu 100m, 0m? free')
    assert len(cortexd.replicas()) == 3
    cortexd.write({"cortex.yaml": config(five, server="capacity: {cpu: 1}").replace("@PORT@", str(cortexd.port))}, cortexd.folder)
    cortexd.signal(1)
    cortexd.wait_ready(5)
    cortexd.wait_log("there is room for all 5 replicas")


def test_every_api_gets_its_minimum_before_anybody_more(start):
    large = ("a", "compute: {min_replicas: 1, init_replicas: 8, cpu: 100m}")
    small = ("b", "compute: {min_replicas: 3, cpu: 100m}")
    files = {"predictor.py": WORK, "cortex.yaml": config(large, server="capacity: {cpu: 600m}")}
    cortexd = start(files, replicas=6)
    both = config(large, small, server="capacity: {cpu: 600m}")
    cortexd.write({"cortex.yaml": both.replace("@PORT@", str(cortexd.port))}, cortexd.folder)
    cortexd.signal(1)

    def counts():
        titles = [title for title in cortexd.family().values() if title.endswith("(ready)")]
        return [sum(f"replica {name}/" in title for title in titles) for name in "ab"]

    wait_until(lambda: counts() == [3, 3], "each has its share")
    cortexd.wait_log("reload: done")
    cortexd.wait_ready(6)


def test_an_api_that_never_fits_says_so_and_the_others_work(start):
    files = {"predictor.py": WORK, "cortex.yaml": config(("a", "compute: {cpu: 100m}"), ("b", "compute: {mem: 100Ti}"))}
    cortexd = start(files)
    cortexd.wait_log(r'api "b": 0 of 1 replicas: compute unavailable: needs mem 100Ti, the host has ')
    with cortexd.connect() as connection:
        assert connection.post("/a", {"sleep": 0}).status == 200


def test_a_reload_without_room_for_both_replaces_in_place(start):
    api = ("a", "compute: {min_replicas: 2, cpu: 100m}")
    cortexd = start({"predictor.py": DEVICES, "cortex.yaml": config(api, server="capacity: {cpu: 200m}")}, replicas=2)
    before = set(cortexd.replicas())
    with Load(cortexd, None, 2):
        cortexd.write({"predictor.py": DEVICES + "\n\n    changed = True\n"}, cortexd.folder)
        cortexd.signal(1)
        cortexd.wait_log("reload: done")
    assert not before & set(cortexd.wait_replicas(2))
    cortexd.wait_log("makes room")


# --- devices ----------------------------------------------------------------------------------------------------------
def test_each_replica_has_devices_of_its_own(start):
    files = {"predictor.py": DEVICES}
    files["cortex.yaml"] = config(
        ("a", "compute: {min_replicas: 3, gpu: 2, cpu: 100m}"), ("b", "compute: {cpu: 100m}"), server="capacity: {gpu: 4}"
    )
    cortexd = start(files, replicas=3)
    cortexd.wait_log(r'api "a": 2 of 3 replicas: compute unavailable: needs gpu 2, 0 free')
    seen = set()

    connections = []  # kept open, they spread over the replicas

    def both():
        connections.append(cortexd.connect())
        seen.add(connections[-1].post("/a", None).json())
        return len(seen) == 2

    wait_until(both, "both replicas were asked")
    for connection in connections:
        connection.close()
    assert seen == {"0,1", "2,3"}
    with cortexd.connect() as connection:
        assert connection.post("/b", None).json() == ""
