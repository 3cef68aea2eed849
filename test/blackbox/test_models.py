"""Models that cortexd fetches before replicas start: from a real S3 server, through a network that can be cut."""
import os
import re
import shutil
import signal
import subprocess
import textwrap
import threading
import time

import pytest
from cortexd import BUILD, read_proc, wait_until
from models import Served, model
from s3 import ACCESS_KEY, SECRET_KEY, S3, Fault, Proxy, environment
from test_service_manager import manager  # noqa: F401  a fixture
from test_upgrade import Upgradable

PREDICTOR = """\
    import os

    def init(model_path, metadata):
        global path, model
        path, model = model_path, open(model_path).read()

    def predict(sample, metadata):
        return {"path": path, "model": model, "pid": os.getpid()}
"""


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3(tmp_path_factory.mktemp("s3") / "server")
    server.bucket("models")
    yield server
    server.stop()


@pytest.fixture
def key(request):
    return re.sub("[^a-z0-9]+", "-", request.node.name) + "/model.txt"


@pytest.fixture
def proxy(s3):
    with Proxy(s3.port) as proxy:
        yield proxy


@pytest.fixture
def serve(start, tmp_path, proxy):
    """serve(key): cortexd with one api whose model is that object, asked for through the proxy."""

    def serve_one(key, predictor=PREDICTOR, env=None, **options):
        return start(
            {"predictor.py": predictor, **options.pop("files", {})},
            predictor=f"model: s3://models/{key}",
            env=who(tmp_path, env, url=proxy.url),
            **options,
        )

    return serve_one


def who(tmp_path, more=None, **options):
    """For Cortexd.start, whose env is added to that of the tests."""
    return {**environment(options.pop("url", None), tmp_path, **options), **(more or {})}


def answers(cortexd):
    return cortexd.post({}).json()


def config_of(cortexd, *apis, more=""):
    """A config with these apis: (name, model)."""
    lines = "- {kind: deployment, name: d}\n"
    for name, model in apis:
        lines += f"- kind: api\n  name: {name}\n  predictor: {{path: predictor.py, model: '{model}'}}\n  compute: {{cpu: 100m}}\n"
    return f"{lines}- kind: server\n  listen: 127.0.0.1:{cortexd.port if cortexd else '@PORT@'}\n{more}"


def reload(cortexd):
    command = [BUILD / "bin" / "cortexd", "-c", cortexd.folder / "cortex.yaml", "--reload"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


# --- once, and the right one -------------------------------------------------------------------------------------------
def test_two_replicas_and_ten_reloads_take_one_download(s3, key, proxy, serve):
    s3.put("models", key, "one")
    cortexd = serve(key, replicas=2)
    answer = answers(cortexd)
    assert answer["model"] == "one" and answer["path"].endswith("/model.txt") and "/.cortex/models/content/" in answer["path"]
    cortexd.wait_log(r"fetch: s3://models/\S+: fetched 3 bytes in")
    for i in range(10):
        (cortexd.folder / "predictor.py").write_text((cortexd.folder / "predictor.py").read_text() + f"\n# {i}\n")
        assert reload(cortexd).returncode == 0
    assert answers(cortexd)["model"] == "one"
    assert proxy.count("GET") == 1
    log = cortexd.log()
    assert SECRET_KEY not in log and ACCESS_KEY not in log


def test_another_model_in_the_bucket(s3, key, serve):
    s3.put("models", key, "one")
    cortexd = serve(key, replicas=2)
    pids = cortexd.replicas()
    old = answers(cortexd)["path"]
    assert reload(cortexd).returncode == 0 and cortexd.replicas() == pids  # nothing has changed
    s3.put("models", key, "two")
    assert reload(cortexd).returncode == 0
    new = answers(cortexd)
    assert new["model"] == "two" and not set(pids) & set(cortexd.replicas())
    wait_until(lambda: not os.path.exists(old), "the old one is removed")
    assert os.path.exists(new["path"])


def test_the_old_model_stays_until_its_last_replica_has_ended(s3, key, serve):
    s3.put("models", key, "one")
    slow = PREDICTOR.replace("        return {", "        while sample and not os.path.exists('go-on'):\n            pass\n        return {")
    cortexd = serve(key, predictor=slow)
    old = answers(cortexd)["path"]
    with cortexd.connect() as busy:
        busy.send(b'POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1')
        s3.put("models", key, "two")
        cortexd.signal(signal.SIGHUP)
        wait_until(lambda: answers(cortexd)["model"] == "two", "the new one is served")
        assert os.path.exists(old)
        (cortexd.folder / "go-on").touch()
        assert busy.answer().json()["model"] == "one"
    wait_until(lambda: not os.path.exists(old), "the old one is removed")


def test_a_replica_of_the_old_generation_takes_the_old_model(s3, key, serve):
    """What the bucket has by then does not matter: no reload has asked for it."""
    s3.put("models", key, "one")
    cortexd = serve(key)
    cortexd.expect_error("died after .* killed by SIGKILL")
    s3.put("models", key, "two")
    (pid,) = cortexd.replicas()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: answers(cortexd)["pid"] != pid, "another replica is there")
    assert answers(cortexd)["model"] == "one"


def test_a_folder_is_a_path(s3, key, serve):
    s3.put("models", key, "one")
    folder = key.split("/")[0]
    cortexd = serve(f"{folder}/", predictor=PREDICTOR.replace("open(model_path)", "open(model_path + '/model.txt')"))
    assert answers(cortexd)["path"].endswith(f"/{folder}")


def test_reloads_while_old_models_are_being_removed(s3, key, serve, tmp_path):
    """They wait for it, those that fetch nothing too. Removing takes long here, as it does with many gigabytes."""
    s3.put("models", key, "one")
    shutil.copytree(BUILD / "bin", tmp_path / "bin")
    program = tmp_path / "bin" / "cortexd-fetch"
    program.rename(tmp_path / "bin" / "real")
    program.write_text(f"""#!/bin/sh
case "$*" in *--collect*) while [ -e {tmp_path}/hold ]; do sleep 0.02; done; touch {tmp_path}/collects ;; esac
exec {tmp_path}/bin/real "$@"
""")
    program.chmod(0o755)
    cortexd = serve(key, binary=tmp_path / "bin" / "cortexd")
    wait_until((tmp_path / "collects").exists, "what is removed after the start is not held")
    (tmp_path / "hold").touch()
    s3.put("models", key, "two")
    assert reload(cortexd).returncode == 0 and answers(cortexd)["model"] == "two"
    config = (cortexd.folder / "cortex.yaml").read_text()
    (cortexd.folder / "cortex.yaml").write_text(config.replace(f"model: s3://models/{key}", "model: predictor.py"))
    cortexd.signal(signal.SIGHUP)
    cortexd.wait_log("reload: reading", count=2)
    assert answers(cortexd)["model"] == "two"
    (tmp_path / "hold").unlink()
    cortexd.wait_log("models: removed 1 old model")
    cortexd.wait_log("reload: done", count=2)
    assert answers(cortexd)["path"].endswith("/predictor.py")


def test_several_apis_with_one_model(s3, key, proxy, start, tmp_path):
    s3.put("models", key, "one")
    cortexd = start(
        {"predictor.py": PREDICTOR, "cortex.yaml": config_of(None, ("a", f"s3://models/{key}"), ("b", f"s3://models/{key}"))},
        replicas=2, env=who(tmp_path, url=proxy.url))  # fmt: skip
    for name in "ab":
        with cortexd.connect() as connection:
            assert connection.post(f"/d/{name}", {}).json()["model"] == "one"
    assert proxy.count("GET") == 1


def test_the_address_is_not_among_the_arguments(s3, key, start, tmp_path, proxy):
    """It may hold a signature, and everybody on a machine may read arguments."""
    proxy.choose = lambda number, method, target, head: Fault(after=0, then="stall")
    start({"predictor.py": PREDICTOR}, predictor=f"model: '{proxy.url}/m?signature=hush'", wait=False, env=who(tmp_path)).expect_exit(0)
    pid = wait_until(lambda: next((p for p in os.listdir("/proc") if p.isdigit() and read_proc(p, "comm") == b"cortexd-fetch\n" and str(tmp_path).encode() in read_proc(p, "cmdline")), None), "it is being fetched")
    assert b"hush" not in read_proc(pid, "cmdline")


# --- models that need no code ------------------------------------------------------------------------------------------
def test_an_onnx_model_of_a_bucket(s3, key, start, tmp_path):
    folder = key.split("/")[0]
    s3.put("models", f"{folder}/twice.onnx", model("onnx", "twice.onnx").read_bytes())
    local = Served(start, "onnx", {"a": {"model": model("onnx", "twice.onnx")}})
    sample = {next(iter(local.get("a").json()["model_signature"])): [[1, 2]]}
    expected = local.predict("a", sample)
    local.cortexd.stop()
    fetched = Served(start, "onnx", {"a": {"model": f"s3://models/{folder}/twice.onnx"}}, env=who(tmp_path, url=s3.url))
    assert fetched.predict("a", sample) == expected


@pytest.mark.once
def test_a_tensorflow_model_of_a_bucket(s3, key, start, tmp_path):
    source, folder = model("tensorflow", "twice"), key.split("/")[0]
    for path in source.rglob("*"):
        if path.is_file():
            s3.put("models", f"{folder}/7/{path.relative_to(source)}", path.read_bytes())
    served = Served(start, "tensorflow", {"a": {"model": f"s3://models/{folder}/"}}, env=who(tmp_path, url=s3.url))
    (name,) = served.get("a").json()["model_signature"]
    assert next(iter(served.predict("a", {name: [[1, 2]]}).values())) == [2, 4]


# --- what cannot be had ------------------------------------------------------------------------------------------------
def test_an_api_whose_model_is_not_there_gets_it_later(s3, key, start, tmp_path, hasty_build):
    """And the others are served meanwhile."""
    s3.put("models", "other", "other")
    cortexd = start(
        {"predictor.py": PREDICTOR, "cortex.yaml": config_of(None, ("a", f"s3://models/{key}"), ("b", "s3://models/other"))},
        env=who(tmp_path, url=s3.url), binary=hasty_build / "bin" / "cortexd")  # fmt: skip
    cortexd.expect_error(f'api "a": its model cannot be had: s3://models/{key}: there is no such key')
    with cortexd.connect() as connection, cortexd.connect() as waiting:
        assert connection.post("/d/b", {}).json()["model"] == "other"
        waiting.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
        cortexd.wait_log("fetch: trying again in", count=2)
        assert cortexd.get("/readyz").status == 503
        s3.put("models", key, "late")
        assert waiting.answer().json()["model"] == "late"
    wait_until(lambda: cortexd.get("/readyz").status == 200, "all are ready")
    cortexd.wait_ready(2)
    cortexd.wait_log(f"ready: http://127.0.0.1:{cortexd.port}/d/a")


def test_a_reload_ends_the_wait_for_a_model(s3, key, start, tmp_path):
    s3.put("models", "other", "other")
    cortexd = start(
        {"predictor.py": PREDICTOR, "cortex.yaml": config_of(None, ("a", f"s3://models/{key}"))}, wait=False, env=who(tmp_path, url=s3.url)
    )
    cortexd.expect_any_error()
    cortexd.wait_log("fetch: trying again in")
    assert reload(cortexd).returncode == 1
    assert "its model cannot be had" in cortexd.log()
    (cortexd.folder / "cortex.yaml").write_text(config_of(cortexd, ("a", "s3://models/other")))
    assert reload(cortexd).returncode == 0
    cortexd.endpoint = "/d/a"
    assert answers(cortexd)["model"] == "other"


def test_a_reload_whose_model_is_not_there_changes_nothing(s3, key, start, tmp_path):
    s3.put("models", key, "one")
    cortexd = start(
        {"predictor.py": PREDICTOR, "cortex.yaml": config_of(None, ("a", f"s3://models/{key}"), ("b", f"s3://models/{key}"))},
        replicas=2, env=who(tmp_path, url=s3.url))  # fmt: skip
    cortexd.endpoint = "/d/a"
    pids = set(cortexd.replicas())
    cortexd.expect_error('reload: api "a": its model cannot be had: s3://models/nowhere: there is no such key.*; its old replicas go on')
    cortexd.expect_error('reload: api "c": its model cannot be had: .*; it is not served')
    cortexd.expect_error("reload: failed for 2 apis")
    apis = ("a", "s3://models/nowhere"), ("b", f"s3://models/{key}"), ("c", "s3://models/nowhere")
    (cortexd.folder / "cortex.yaml").write_text(config_of(cortexd, *apis))
    done = reload(cortexd)
    assert done.returncode == 1 and "its model cannot be had: s3://models/nowhere" in done.stdout + done.stderr
    assert set(cortexd.replicas()) == pids and answers(cortexd)["model"] == "one"
    with cortexd.connect() as connection:
        assert connection.post("/d/c", {}).status == 404


def test_a_store_that_does_not_answer(s3, key, proxy, serve, tmp_path):
    """A start takes the copy of an earlier time, and so does a reload."""
    s3.put("models", key, "one")
    cortexd = serve(key)
    first = answers(cortexd)
    proxy.choose = lambda *_: Fault(status=503)
    assert reload(cortexd).returncode == 0
    assert answers(cortexd) == first
    cortexd.wait_log("warn .*503.*the copy that was fetched earlier is used")
    cortexd.stop()
    again = serve(key)
    assert answers(again)["path"] == first["path"]
    again.wait_log("warn .*the copy that was fetched earlier is used")


def test_a_start_takes_an_earlier_copy_whatever_the_store_says(s3, key, serve):
    s3.put("models", key, "one")
    cortexd = serve(key)
    cortexd.stop()
    again = serve(key, env={"AWS_SECRET_ACCESS_KEY": "wrong-secret"})
    assert answers(again)["model"] == "one"
    again.wait_log("warn .*SignatureDoesNotMatch.*the copy that was fetched earlier is used")
    again.expect_error("reload: .*SignatureDoesNotMatch")
    again.expect_error("reload: failed")
    assert reload(again).returncode == 1  # somebody is there to be told
    assert answers(again)["model"] == "one" and "wrong-secret" not in again.log()


def test_the_service_manager_hears_that_a_model_is_fetched(s3, key, proxy, serve, manager):
    s3.put("models", key, "one")
    gate = threading.Event()
    proxy.choose = lambda number, method, target, head: gate.wait() and None if method == "GET" else None
    serve(key, wait=False, env=manager.environment)
    manager.wait("STATUS=fetching models: (begins|fetching 1 object|0 bytes)")
    manager.wait("EXTEND_TIMEOUT_USEC=")
    gate.set()
    manager.wait("READY=1")


def waiting_for_its_model(start, tmp_path, url, model, binary=BUILD / "bin" / "cortexd"):
    """A cortexd whose only api has no model yet."""
    cortexd = start(
        {"predictor.py": PREDICTOR, "cortex.yaml": config_of(None, ("a", model))}, wait=False, env=who(tmp_path, url=url), binary=binary
    )
    cortexd.expect_any_error()
    cortexd.wait_log("fetch: trying again in")
    cortexd.wait_log("activator: ready")
    cortexd.endpoint = "/d/a"
    return cortexd


def test_an_api_that_waits_for_its_model_and_then_needs_none(s3, key, start, tmp_path, hasty_build):
    """But what it is now does not work either; then it does."""
    cortexd = waiting_for_its_model(start, tmp_path, s3.url, f"s3://models/{key}", hasty_build / "bin" / "cortexd")
    config = (cortexd.folder / "cortex.yaml").read_text().replace(f", model: 's3://models/{key}'", "")
    (cortexd.folder / "cortex.yaml").write_text(config)
    (cortexd.folder / "predictor.py").write_text("raise RuntimeError('not yet')\n")
    assert reload(cortexd).returncode == 1
    since = cortexd.log_size()
    (cortexd.folder / "predictor.py").write_text("def predict(sample, metadata):\n    return 1\n")
    assert reload(cortexd).returncode == 0
    assert answers(cortexd) == 1
    assert "fetch: " not in cortexd.log()[since:]


def test_an_api_that_waits_for_its_model_and_gets_one_with_a_broken_predictor(s3, key, start, tmp_path, hasty_build):
    cortexd = waiting_for_its_model(start, tmp_path, s3.url, f"s3://models/{key}", hasty_build / "bin" / "cortexd")
    (cortexd.folder / "predictor.py").write_text("raise RuntimeError('not yet')\n")
    s3.put("models", key, "late")
    cortexd.wait_log("not yet", count=3)  # it is started again and again, as from the beginning
    (cortexd.folder / "predictor.py").write_text(textwrap.dedent(PREDICTOR))
    wait_until(lambda: answers(cortexd)["model"] == "late", "it is served")


def test_a_reload_does_not_wait_for_a_retry(s3, key, start, tmp_path, proxy, hasty_build):
    proxy.choose = lambda *_: Fault(status=404)
    cortexd = waiting_for_its_model(start, tmp_path, proxy.url, f"s3://models/{key}", hasty_build / "bin" / "cortexd")
    s3.put("models", "other", "other")
    gate = threading.Event()
    proxy.choose = lambda number, method, target, head: gate.wait() and None if key in target else None
    before = proxy.count()
    wait_until(lambda: proxy.count() > before, "a retry is under way")
    (cortexd.folder / "cortex.yaml").write_text(config_of(cortexd, ("a", "s3://models/other")))
    begin = time.monotonic()
    assert reload(cortexd).returncode == 0 and time.monotonic() - begin < 10
    assert answers(cortexd)["model"] == "other"
    gate.set()


# --- deaths ------------------------------------------------------------------------------------------------------------
def fetching(cortexd):
    return next((pid for pid in cortexd.children() if read_proc(pid, "comm") == b"cortexd-fetch\n"), None)


def test_a_fetch_that_is_killed_is_tried_again(s3, key, proxy, serve, hasty_build):
    s3.put("models", key, "one")
    proxy.choose = lambda number, method, target, head: Fault(after=1, then="stall") if number < 3 else None
    cortexd = serve(key, wait=False, binary=hasty_build / "bin" / "cortexd")
    cortexd.expect_error('api "a": its model cannot be had: cortexd-fetch: killed by SIGKILL')
    wait_until(lambda: proxy.count("GET"), "it is being fetched")
    os.kill(fetching(cortexd), signal.SIGKILL)
    cortexd.wait_replicas(1)
    assert answers(cortexd)["model"] == "one"


def test_stopped_while_a_model_is_fetched(s3, key, proxy, serve):
    s3.put("models", key, "one")
    proxy.choose = lambda number, method, target, head: Fault(after=1, then="stall")
    cortexd = serve(key, wait=False)
    wait_until(lambda: proxy.count("GET"), "it is being fetched")
    begin = time.monotonic()
    assert cortexd.stop() == 0 and time.monotonic() - begin < 5


def test_killed_while_a_model_is_fetched(s3, key, proxy, serve):
    s3.put("models", key, "one" * 1000)
    proxy.choose = lambda number, method, target, head: Fault(after=1000, then="stall")
    cortexd = serve(key, wait=False)
    wait_until(lambda: proxy.count("GET"), "it is being fetched")
    pid = fetching(cortexd)
    cortexd.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "what it had started has ended")
    proxy.choose = lambda *_: None
    assert answers(serve(key))["model"] == "one" * 1000


def test_a_reload_during_a_reload_that_fetches(s3, key, proxy, serve):
    """The second is remembered; both models are had."""
    s3.put("models", key, "one")
    cortexd = serve(key)
    s3.put("models", key, "two")
    gate = threading.Event()
    proxy.choose = lambda *_: gate.wait() and None
    cortexd.signal(signal.SIGHUP)
    wait_until(lambda: proxy.count("HEAD") == 2, "it is being looked at")
    cortexd.signal(signal.SIGHUP)
    cortexd.wait_log("SIGHUP: reloading once")
    assert answers(cortexd)["model"] == "one"
    gate.set()
    cortexd.wait_log("reload: reading", count=2)
    wait_until(lambda: answers(cortexd)["model"] == "two", "the new model is served")
    cortexd.wait_log("reload: done")


def test_another_cortexd_takes_over_with_the_model_that_is_there(s3, key, proxy, start, tmp_path):
    s3.put("models", key, "one")
    upgradable = Upgradable(
        start, tmp_path / "place", BUILD, files=PREDICTOR, predictor=f"model: s3://models/{key}", env=who(tmp_path, url=proxy.url))  # fmt: skip
    first = answers(upgradable.cortexd)
    upgradable.upgrade()
    second = answers(upgradable.cortexd)
    assert (second["path"], second["model"]) == (first["path"], "one") and second["pid"] != first["pid"]
    assert proxy.count("GET") == 1


def upgradable(start, tmp_path, **options):
    return Upgradable(start, tmp_path / "place", BUILD, **options)


def test_the_old_model_stays_for_the_old_cortexd(s3, key, start, tmp_path):
    """A prediction that runs opens a file of its model after the new one, with another version, has taken over."""
    s3.put("models", key, "one")
    slow = PREDICTOR.replace("        return {", "        while sample and not os.path.exists('go-on'):\n            pass\n        model = open(path).read()\n        return {")
    upgrade = upgradable(start, tmp_path, files=slow, predictor=f"model: s3://models/{key}", env=who(tmp_path, url=s3.url))
    cortexd = upgrade.cortexd
    old_path = answers(cortexd)["path"]
    with cortexd.connect() as busy:
        busy.send(b"POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1")
        s3.put("models", key, "two")
        old, _ = upgrade.ask()
        new = upgrade.find_new()
        cortexd.wait_log(rf"process {new} has taken over")
        wait_until(lambda: answers(cortexd)["model"] == "two", "the new one serves")
        (cortexd.folder / "go-on").touch()
        assert busy.answer().json()["model"] == "one"
    upgrade.succeed(old, new)
    wait_until(lambda: not os.path.exists(old_path), "the old model is removed")


def test_a_cortexd_with_a_model_missing_can_be_replaced(s3, key, start, tmp_path):
    s3.put("models", "other", "other")
    config = config_of(None, ("a", f"s3://models/{key}"), ("b", "s3://models/other"))
    upgrade = upgradable(start, tmp_path, files={"predictor.py": PREDICTOR, "cortex.yaml": config}, replicas=1, env=who(tmp_path, url=s3.url))
    cortexd = upgrade.cortexd
    cortexd.expect_any_error()
    old, _ = upgrade.ask()
    upgrade.succeed(old, upgrade.find_new())
    cortexd.endpoint = "/d/b"
    assert answers(cortexd)["model"] == "other"
    s3.put("models", key, "late")
    assert reload(cortexd).returncode == 0
    cortexd.wait_ready(2)
    cortexd.endpoint = "/d/a"
    assert answers(cortexd)["model"] == "late"


def test_a_new_cortexd_that_cannot_have_the_model_changes_nothing(s3, key, start, tmp_path):
    """The old one goes on, and so does its model."""
    s3.put("models", key, "one")
    upgrade = upgradable(start, tmp_path, files={"predictor.py": PREDICTOR}, replicas=1, predictor=f"model: s3://models/{key}", env=who(tmp_path, url=s3.url))
    cortexd = upgrade.cortexd
    cortexd.expect_any_error()
    config = (cortexd.folder / "cortex.yaml").read_text()
    (cortexd.folder / "cortex.yaml").write_text(config.replace(key, "nowhere"))
    upgrade.ask()
    cortexd.wait_log("upgrade: .*this cortexd goes on")
    assert answers(cortexd)["model"] == "one"
