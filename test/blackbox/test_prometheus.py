"""A real Prometheus scrapes a real cortexd under load, while replicas are killed and the config is reloaded; and what configs/ has for it."""
import collections
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import pytest
from client import Connection
from cortexd import ROOT, reserved_port, wait_until

pytestmark = pytest.mark.once

SECONDS = float(os.environ.get("CORTEXD_TEST_SECONDS", "20"))  # of load
PREDICTOR = """\
import random
import time


def predict(sample, metadata):
    time.sleep(random.lognormvariate(-4.2, 0.5))
    return {"class": sample}
"""
TRACKER = "tracker: {key: class, model_type: classification}"


def promtool(*args, text=None):
    result = subprocess.run(["promtool", *map(str, args)], input=text, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


class Prometheus:
    def __init__(self, folder, port, target, token):
        self.url = f"http://127.0.0.1:{port}"
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s}\n"
            f"rule_files: [{ROOT / 'configs' / 'alerts.yml'}]\n"
            "scrape_configs:\n- job_name: cortexd\n"
            f"  authorization: {{credentials_file: {token}}}\n"
            f"  static_configs: [{{targets: ['{target}']}}]\n"
        )
        self.log = open(folder / "prometheus.log", "w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"],
            stdout=self.log,
            stderr=self.log,
        )

    def query(self, expression):
        """Labels and value of each series."""
        return [(series["metric"], float(series["value"][1])) for series in self.ask("query", query=expression)["result"]]

    def ask(self, path, **parameters):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
            result = json.load(answer)
        assert result["status"] == "success"
        return result["data"]

    def history(self, selector, seconds):
        """Labels and all values of each series."""
        found = self.ask("query", query=f"{selector}[{int(seconds)}s]")["result"]
        return [(series["metric"], [float(value) for _, value in series["values"]]) for series in found]

    def rules(self):
        return [rule["query"] for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def is_up(self):
        try:
            return self.query('up{job="cortexd"} == 1') != []
        except OSError:
            return False


@contextlib.contextmanager
def scraped(cortexd, folder, target):
    with reserved_port() as port:
        prometheus = Prometheus(folder, port, target, cortexd.folder / ".cortex" / "token")
        try:
            wait_until(prometheus.is_up, "Prometheus scrapes")
            yield prometheus
        finally:
            prometheus.process.terminate()
            prometheus.process.wait()
            prometheus.log.close()


class Clients:
    """So many, each on a connection of its own; what they got, and how long it took."""

    def __init__(self, cortexd, count):
        self.statuses, self.seconds, self.lock, self.over = collections.Counter(), [], threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(cortexd, number)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def ask(self, cortexd, number):
        with cortexd.connect() as connection:
            while not self.over.is_set():
                begin = time.monotonic()
                status = connection.post("/d/a", f"class {number % 3}").status
                took = time.monotonic() - begin
                with self.lock:
                    self.statuses[status] += 1
                    self.seconds.append(took)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def metrics_text(cortexd, accept="text/plain"):
    with Connection(path=str(cortexd.folder / ".cortex" / "control.sock")) as connection:
        return connection.request("GET", "/metrics", headers={"Accept": accept}).text


def test_counters_are_exact_and_never_go_back(start, tmp_path, hasty_build):
    with reserved_port() as admin:
        cortexd = start(PREDICTOR, replicas=3, binary=hasty_build / "bin" / "cortexd", api=TRACKER, server=f"admin: [unix, '127.0.0.1:{admin}']")
        cortexd.expect_any_error()
        with scraped(cortexd, tmp_path, f"127.0.0.1:{admin}") as prometheus:
            clients, end, round = Clients(cortexd, 6), time.monotonic() + SECONDS, 0
            while time.monotonic() < end:
                round += 1
                if round % 5 == 0:
                    (cortexd.folder / "predictor.py").write_text(PREDICTOR + f"# {round}\n")
                    cortexd.signal(signal.SIGHUP)
                elif replicas := cortexd.replicas():
                    os.kill(replicas[round % len(replicas)], signal.SIGKILL)
                had = len(clients.seconds)
                wait_until(lambda: len(clients.seconds) > had + 40, "more answers")
            clients.end()
            classes = collections.Counter()
            for status, count in clients.statuses.items():
                classes[f"{status // 100}xx"] += count
            assert set(classes) <= {"2xx", "5xx"} and classes["2xx"] > 100 and classes["5xx"] > 0

            def totals():
                return {labels["code"]: value for labels, value in prometheus.query('cortexd_requests_total{api="a"}') if value}

            wait_until(lambda: totals() == classes, lambda: f"{classes}: {totals()}")
            counters = prometheus.history('{__name__=~"cortexd_.*_(total|count|bucket|sum)"}', SECONDS + 60)
            assert len(counters) > 100 and max(len(values) for _, values in counters) > SECONDS / 2
            assert [labels for labels, values in counters if values != sorted(values)] == []
            assert sum(value for _, value in prometheus.query("cortexd_tracker_predictions_total")) == classes["2xx"]
            assert prometheus.query("cortexd_request_seconds_count")[0][1] == sum(classes.values()) - prometheus.query("cortexd_requests_failed_total")[0][1]
            assert sum(value for _, value in prometheus.query("cortexd_replica_restarts_total")) > 0
        promtool("check", "metrics", text=metrics_text(cortexd))
        cortexd.wait_ready(3)


@pytest.mark.alone
def test_quantiles_are_the_clients(start, tmp_path):
    """Of requests that take long beside what it takes to send them. Alone, because what else keeps the processors busy is only seen by the client."""
    with reserved_port() as admin:
        cortexd = start(PREDICTOR.replace("-4.2", "-3"), replicas=4, server=f"admin: [unix, '127.0.0.1:{admin}']")
        with scraped(cortexd, tmp_path, f"127.0.0.1:{admin}") as prometheus:
            clients = Clients(cortexd, 4)
            wait_until(lambda: len(clients.seconds) > 800, "answers")
            clients.end()
            count = len(clients.seconds)
            wait_until(lambda: prometheus.query("cortexd_request_seconds_count")[0][1] == count, "the last scrape")
            found = {labels["quantile"]: value for labels, value in prometheus.query("cortexd_request_quantile_seconds")}
            seconds = sorted(clients.seconds)
            for quantile in ("0.5", "0.9", "0.99"):
                client = seconds[math.ceil(float(quantile) * count) - 1]
                assert abs(found[quantile] - client) < 0.05 * client, f"{quantile}: {found[quantile]} and {client}"


def grafana_expressions():
    for panel in json.loads((ROOT / "configs" / "grafana.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            yield re.sub(r"\$(\w+)", ".*", target["expr"].replace("$__rate_interval", "1m"))


def test_what_grafana_and_the_alerts_ask_for_is_there(start, tmp_path):
    config = (
        "- kind: api\n  name: a\n  endpoint: /d/a\n  predictor: {path: predictor.py}\n  tracker: {model_type: classification, key: class}\n  compute: {cpu: 100m}\n"
        "- kind: api\n  name: b\n  predictor: {path: number.py}\n  tracker: {model_type: regression}\n  compute: {cpu: 100m}\n"
        "- kind: server\n  listen: 127.0.0.1:@PORT@\n  packages: none\n  admin: [unix, '127.0.0.1:%d']\n"
    )
    with reserved_port() as admin:
        files = {"cortex.yaml": config % admin, "predictor.py": PREDICTOR, "number.py": "def predict(sample, metadata): return 1.5\n"}
        cortexd = start(files, wait=False)
        cortexd.wait_replicas(2)
        with cortexd.connect() as connection:
            assert connection.post("/d/a", "x").status == 200
            assert connection.post("/project/b", "x").status == 200
        with scraped(cortexd, tmp_path, f"127.0.0.1:{admin}") as prometheus:
            wait_until(lambda: prometheus.query("cortexd_tracker_values_total > 0"), "what was predicted is scraped")
            names = {labels["__name__"] for labels, _ in prometheus.query('{__name__=~"cortexd_.*"}')}
            asked = 0
            for expression in [*grafana_expressions(), *prometheus.rules()]:
                prometheus.query(expression)  # it can be parsed
                wanted = set(re.findall(r"\bcortexd_\w+", expression))
                assert wanted <= names, f"{expression}: {wanted - names}"
                asked += 1
            assert asked > 40
        for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
            text = metrics_text(cortexd, accept)
            assert ("# EOF" in text) == ("openmetrics" in accept)


def test_the_files_for_prometheus_are_good():
    assert "11 rules found" in promtool("check", "rules", ROOT / "configs" / "alerts.yml")
    promtool("test", "rules", ROOT / "test" / "alerts.yml")
    promtool("check", "config", "--syntax-only", ROOT / "configs" / "prometheus.yml")
