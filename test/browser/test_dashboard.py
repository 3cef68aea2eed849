"""The dashboard, used as people use it: in a real browser, against a real cortexd that serves the model of configs/iris.

After each test its page must have no error on the console and no accessibility violation (conftest.py).
"""
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

import client
from cortexd import ROOT, wait_until

PRICE = """\
def predict(sample, metadata):
    print("asked for", sample["price"], flush=True)
    return {"price": sample["price"] * 1.1}
"""
PRICE_API = """
- kind: api
  name: price
  endpoint: /shop/price
  predictor: {path: price.py}
  tracker: {key: price, model_type: regression}
  compute: {min_replicas: 1, max_replicas: 1, cpu: 100m}
"""
TRACKER = "  tracker: {model_type: classification}\n"
SETOSA = (ROOT / "configs" / "iris" / "sample.json").read_text()
VIRGINICA = json.dumps({"sepal_length": 6.9, "sepal_width": 3.1, "petal_length": 5.4, "petal_width": 2.1})
NARROW = {"width": 390, "height": 844}


def config(more=PRICE_API, server=""):
    """That of configs/iris, with a tracker, a second api, and more lines of the server."""
    text = (ROOT / "configs" / "iris" / "cortex.yaml").read_text().replace("127.0.0.1:8888", "127.0.0.1:@PORT@")
    if "tracker:" not in text:
        text = text.replace("  compute:\n", f"{TRACKER}  compute:\n")
    apis, kept = text.split("- kind: server\n")
    return f"{apis}{more}\n- kind: server\n{kept}  packages: none\n{server}"


@pytest.fixture
def serve(start, iris_model):
    """Start a cortexd with two replicas of `classifier` and one of `price`."""

    def serve_one(server="", more=PRICE_API, listen="127.0.0.1:@PORT@", **options):
        text = config(more, server).replace("127.0.0.1:@PORT@", listen)
        files = {**iris_model, "price.py": PRICE, "cortex.yaml": text}
        return start(files, replicas=3, environment="onnx", **options)

    return serve_one


@pytest.fixture
def served(serve):
    return serve()


def predict(cortexd, sample, endpoint="/iris/classifier"):
    with cortexd.connect() as connection:
        return connection.post(endpoint, json.loads(sample))


# --- getting in ----------------------------------------------------------------------------------------------------------
def test_the_token_is_asked_for_until_it_is_right_and_then_kept(serve, open_page, admin_port):
    page = open_page(serve(server=f"  admin: [unix, '127.0.0.1:{admin_port}']\n"), "#api=classifier", direct=True)
    page.enter_token("0" * 64)
    page.wait_text("token-error", "not accepted")
    assert not page.violations()
    page.enter_token(page.token)
    page.wait_live()
    assert not page.shown("token-dialog")
    page.load_again()
    assert not page.shown("token-dialog")
    assert page.send_sample(SETOSA) == (200, '"setosa"')
    page.wait_text("logs-state", "^live")
    page.click("reload")
    page.wait_text("reload-outcome", r"^reload \d+ done")


def test_a_token_that_cannot_be_one_is_refused_and_escape_does_not_lock_the_page(serve, open_page, admin_port):
    page = open_page(serve(server=f"  admin: [unix, '127.0.0.1:{admin_port}']\n"), direct=True)
    page.enter_token("0" * 63 + "\N{GREEK SMALL LETTER OMEGA}")
    page.wait_text("token-error", "^That is no token")
    page.press(Keys.ESCAPE)
    page.press(Keys.ESCAPE)
    page.enter_token(page.token)
    page.wait_live()
    assert not page.shown("token-dialog")


# --- looking -------------------------------------------------------------------------------------------------------------
def test_apis_are_listed_and_the_address_keeps_the_selected_one(served, open_page):
    page = open_page(served)
    page.wait(lambda: len(page.rows("overview")) == 2, "two apis are listed")
    assert [row[:3] for row in page.rows("overview")] == [["classifier", "live", "2 / 2"], ["price", "live", "1 / 1"]]
    assert page.shown("nothing-selected") and not page.shown("details")
    page.select("price")
    assert page.browser.current_url.endswith("/#api=price")
    assert page.text("api-endpoint") == "/shop/price"
    assert "2 of 2 live" in page.text("overview-count")
    page.load_again()
    page.wait_text("details-title", "^price$")
    page.browser.back()
    page.browser.get(f"{page.origin}/#api=nobody")
    page.wait_text("nothing-selected", 'no API "nobody"')


def test_replicas_and_the_reasons_of_the_scaler_are_shown(served, open_page):
    page = open_page(served, "#api=classifier")
    page.wait(lambda: [row[:2] for row in page.rows("replicas")] == [["0", "ready"], ["1", "ready"]], "two replicas are ready")
    assert {int(row[4]) for row in page.rows("replicas")} < set(served.replicas())
    assert page.text("scaling-limits").startswith("2 to 100 replicas of 0.5 CPU each")
    page.wait_text("decision", r"replica")
    page.wait(lambda: page.facts("tiles")["Replicas"] == "2 / 2", "the tile of replicas")
    page.wait(lambda: re.fullmatch(r"\d+ / 80 %", page.facts("tiles")["CPU / target"]), "CPU and its target")


def test_many_apis_can_be_sorted_and_filtered(start, open_page):
    names = [f"model-{i}" for i in range(1, 25)]
    apis = "".join(
        f"- kind: api\n  name: {name}\n  predictor: {{path: predictor.py}}\n  compute: {{max_replicas: 1, cpu: 1m}}\n" for name in names
    )
    server = "- kind: server\n  listen: 127.0.0.1:@PORT@\n  packages: none\n"
    cortexd = start({"cortex.yaml": f"- kind: deployment\n  name: d\n{apis}{server}"}, replicas=len(names))
    page = open_page(cortexd)

    def shown():
        return [row[0] for row in page.rows("overview")]

    page.wait(lambda: shown() == names, "all apis, in the order of the config")
    page.css("#overview thead button").click()
    assert shown() == names  # by name, and 10 comes after 9
    page.css("#overview thead button").click()
    assert shown() == names[::-1]
    page.write("overview-filter", "model-2")
    assert shown() == ["model-24", "model-23", "model-22", "model-21", "model-20", "model-2"]
    page.write("overview-filter", "nothing like it")
    assert page.rows("overview") == [["No API matches the filter."]]
    page.write("overview-filter", "")
    rate = page.browser.find_elements("css selector", "#overview thead button")[3]
    rate.click()
    page.wait(lambda: predict(cortexd, "1", "/d/model-7").status == 200 and shown()[0] == "model-7", "the busiest api is on top")


# --- sending a sample ----------------------------------------------------------------------------------------------------
def test_a_sample_is_answered_and_counted(served, open_page):
    page = open_page(served, "#api=classifier")
    page.wait(lambda: page.facts("totals")["2XX"] == "0", "no request yet")
    assert page.send_sample(SETOSA) == (200, '"setosa"')
    assert re.search(r"^200 OK after [\d.]+ m?s|^200 OK after [\d.]+ µs", page.text("answer-status"))
    assert page.send_sample(VIRGINICA) == (200, '"virginica"')
    page.wait(lambda: page.facts("totals")["2XX"] == "2", "two requests are counted")
    page.wait(lambda: page.facts("tiles")["p99"] != "–", "a latency")
    page.css("#tracker-classes summary").click()
    page.wait(lambda: sorted(page.rows("tracker-table")) == [["setosa", "1"], ["virginica", "1"]], "classes are counted")
    assert "setosa 1" in page.find("tracker-chart").get_attribute("aria-label")
    page.load_again()
    assert page.find("sample").get_attribute("value") == VIRGINICA, "the last sample is kept"


@pytest.mark.parametrize("listen", ["127.0.0.1:@PORT@", '"unix:it\'s.sock"'])
def test_the_command_for_a_terminal_works_there(serve, open_page, listen):
    served = serve(listen=listen)
    page = open_page(served, "#api=classifier")
    page.css("details:has(#curl) summary").click()
    ran = subprocess.run(page.text("curl"), shell=True, cwd=served.folder, capture_output=True, text=True)
    assert ran.stdout == '"setosa"', ran.stderr


def test_a_sample_that_is_refused_says_why(served, open_page):
    page = open_page(served, "#api=classifier")
    page.expect_error(r"/predict\?api=classifier - Failed to load resource: the server responded with a status of 40[06] ")
    page.write("sample", '{"sepal_length": ')
    assert page.text("sample-hint").startswith("This is not JSON")
    assert page.send_sample('{"sepal_length": ') == (400, page.text("answer"))
    assert "malformed json" in page.text("answer")
    served.expect_any_error()  # the traceback of a sample without measurements
    assert page.send_sample("{}")[0] == 406
    assert "sepal_length" in page.text("answer")
    page.wait(lambda: page.facts("totals")["4XX"] == "2" and page.facts("totals")["predict raised"] == "1", "both are counted")


def test_values_of_a_regression_are_summed_up(served, open_page):
    page = open_page(served, "#api=price")
    for price in (10, 20, 60):
        page.send_sample(json.dumps({"price": price}))
    page.wait(lambda: page.facts("tracker-values")["Predictions"] == "3", "three values")
    values = page.facts("tracker-values")
    assert (values["Lowest"], values["Mean"], values["Highest"]) == ("11", "33", "66")
    assert not page.shown("tracker-classes")


def test_load_is_shown_as_a_rate_and_in_the_table_of_its_chart(served, open_page):
    page = open_page(served, "#api=classifier")
    statuses = []
    with served.connect() as connection:

        def rises():
            statuses.append(connection.post("/iris/classifier", json.loads(SETOSA)).status)
            return re.fullmatch(r"[1-9][\d.,]*", page.facts("tiles").get("Requests/s", ""))

        page.wait(rises, "a rate that is not zero")
    assert set(statuses) == {200}
    page.wait(lambda: page.facts("totals")["2XX"] == f"{len(statuses):,}", "as many as were sent")
    page.css("#charts figure:first-child summary").click()
    page.wait(lambda: page.browser.execute_script("return document.querySelectorAll('#charts figure:first-child tbody td').length"), "a table")
    label = page.css("#charts figure:first-child canvas").get_attribute("aria-label")
    assert re.match(r"Requests, last ten minutes\. 2XX: ", label)


# --- what happens --------------------------------------------------------------------------------------------------------
def test_the_death_of_a_replica_is_shown(served, open_page):
    page = open_page(served, "#api=classifier")
    page.wait(lambda: page.rows("deaths") == [["No replica has died."]], "nobody has died")
    page.wait(lambda: len(page.rows("replicas")) == 2, "two replicas")
    victim = int(page.rows("replicas")[1][4])
    assert victim in served.replicas()
    served.expect_any_error()
    os.kill(victim, signal.SIGSEGV)
    page.wait(lambda: len(page.rows("deaths")[0]) == 3, "a death")
    assert page.rows("deaths")[0][1] == "1" and "SIGSEGV" in page.rows("deaths")[0][2]
    assert "killed by a signal: 1" in page.text("restarts")
    page.wait(lambda: page.rows("replicas")[1][1] == "ready" and page.rows("replicas")[1][4] != str(victim), "it runs again")


def test_the_death_of_a_template_is_shown(serve, open_page):
    served = serve(more=PRICE_API + "  preload: module\n")
    page = open_page(served, "#api=price")
    template = wait_until(lambda: [pid for pid, title in served.family().items() if title == "cortexd: template price (ready)"], "a template")[0]
    served.expect_any_error()
    os.kill(template, signal.SIGKILL)
    page.wait(lambda: page.rows("deaths")[0][1:2] == ["template"], "its death")


def test_the_page_says_when_the_connection_is_lost_and_comes_back(served, open_page):
    page = open_page(served, "#api=classifier")
    page.expect_error(r"net::ERR_")
    served.expect_any_error()
    monitor = next(pid for pid, title in served.family().items() if "monitor" in title)
    os.kill(monitor, signal.SIGKILL)
    page.wait_text("connection", "connection lost")
    page.wait_live()
    assert page.send_sample(SETOSA) == (200, '"setosa"')
    page.wait(lambda: page.facts("totals")["2XX"] == "1", "the page goes on")
    page.wait_text("logs-state", "^live")


def test_a_reload_from_the_page_says_what_came_of_it(served, open_page):
    page = open_page(served)
    page.wait(lambda: len(page.rows("overview")) == 2, "two apis")
    (served.folder / "cortex.yaml").write_text(config(more="").replace("@PORT@", str(served.port)))
    page.click("reload")
    page.wait_text("reload-outcome", r"^reload \d+ done")
    page.wait(lambda: len(page.rows("overview")) == 1, "one api is left")
    page.wait_text("details-title", "^classifier$")  # the only one needs no selection
    (served.folder / "cortex.yaml").write_text("- kind: nonsense\n")
    served.expect_any_error()
    page.click("reload")
    page.wait_text("reload-outcome", r"^reload \d+ failed")
    page.wait_text("notices", "The last reload failed: .+")
    page.wait_text("daemon-state", "serving")


def test_a_reload_that_a_restart_of_cortexd_has_ended_does_not_run_for_ever(served, open_page):
    page = open_page(served)
    page.wait(lambda: len(page.rows("overview")) == 2, "two apis")
    (served.folder / "price.py").write_text(f"import time\ntime.sleep(3600)\n{PRICE}")
    page.click("reload")
    page.wait_text("reload-outcome", r"^reload \d+ is running")
    page.expect_error(r"net::ERR_")
    served.stop()
    (served.folder / "price.py").write_text(PRICE)
    served.launch()
    page.wait_text("reload-outcome", r"^cortexd runs anew: what came of reload \d+ is in its log")
    served.wait_ready(3)
    page.click("reload")
    page.wait_text("reload-outcome", r"^reload \d+ done")


def test_the_log_is_followed_filtered_and_paused_and_is_text_only(served, open_page):
    page = open_page(served, "#api=price")
    page.wait_text("logs-state", "^live")
    predict(served, json.dumps({"price": 1}), "/shop/price")
    page.wait_text("logs", r"asked for 1\b")
    trap = "<img src=x onerror=alert(1)>"
    predict(served, json.dumps({"price": 2}), "/shop/price")
    served.expect_any_error()
    predict(served, json.dumps({"price": trap}), "/shop/price")  # printed; then multiplied, in vain
    page.wait_text("logs", re.escape(f"asked for {trap}"))
    assert not page.browser.find_elements("css selector", "#logs img")
    page.write("logs-filter", "asked for 2")
    page.wait(lambda: page.text("logs").count("asked for") == 1, "only what matches")
    page.find("logs-filter").send_keys(*[Keys.BACKSPACE] * len("asked for 2"))
    page.wait_text("logs", "asked for 1\\b")
    page.click("logs-pause")
    predict(served, json.dumps({"price": 3}), "/shop/price")
    page.wait_text("logs-state", r"^paused, [1-9]\d* new line")
    assert "asked for 3" not in page.text("logs")
    page.click("logs-pause")
    page.wait_text("logs", "asked for 3")
    page.click("logs-clear")
    page.wait(lambda: "asked for" not in page.text("logs"), "it is empty")


def test_the_log_of_an_api_that_has_none_is_empty(serve, open_page):
    served = serve(more=PRICE_API + PRICE_API.replace("price\n", "vast\n").replace("cpu:", "mem: 100Ti, cpu:"))
    page = open_page(served, "#api=price")
    predict(served, json.dumps({"price": 1}), "/shop/price")
    page.wait_text("logs", r"asked for 1\b")
    page.expect_error(r"/logs\?api=vast.* - Failed to load resource: the server responded with a status of 404 ")
    page.select("vast")
    page.wait_text("logs-state", "not live: there is no log of an api of that name, 0 lines")
    page.select("price")
    page.wait_text("logs", r"asked for 1\b")


def test_lines_are_shown_once_when_the_connection_was_lost_while_paused(served, open_page):
    page = open_page(served, "#api=price")
    predict(served, json.dumps({"price": 1}), "/shop/price")
    page.wait_text("logs", r"asked for 1\b")
    page.click("logs-pause")
    page.expect_error(r"net::ERR_")
    served.expect_any_error()
    os.kill(served.monitor(), signal.SIGKILL)
    page.wait_text("logs-state", r"^paused, [1-9]\d* new line")
    page.click("logs-pause")
    predict(served, json.dumps({"price": 2}), "/shop/price")
    page.wait_text("logs", r"asked for 2\b")
    assert len(re.findall(r"asked for 1\b", page.text("logs"))) == 1


def test_any_number_of_tabs_may_be_open_and_those_that_are_looked_at_are_live(served, open_page):
    page = open_page(served)
    browser, first = page.browser, page.browser.current_window_handle
    tabs = []
    try:
        for _ in range(8):  # a browser has six connections to a server
            browser.switch_to.new_window("tab")
            tabs.append(browser.current_window_handle)
            hasten = "const wait = setTimeout; window.setTimeout = (call, ms, ...more) => wait(call, ms === 60000 ? 0 : ms, ...more)"
            browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": hasten})
            browser.get(f"{page.origin}/#api=price")
            page.wait_live()
        browser.switch_to.window(tabs[0])
        browser.execute_cdp_cmd("Page.bringToFront", {})
        predict(served, json.dumps({"price": 1}), "/shop/price")
        page.wait(lambda: page.facts("totals").get("2XX") == "1", "it is live again")
        page.wait_text("connection", "^live$")
    finally:
        for tab in tabs:
            browser.switch_to.window(tab)
            browser.close()
        browser.switch_to.window(first)


def test_lost_lines_are_a_notice_for_a_while_and_then_a_number(served, open_page):
    page = open_page(served)
    page.wait(lambda: "Lost lines" not in page.facts("facts") and page.facts("facts"), "nothing is lost")
    predict(served, json.dumps({"price": "x" * 1000 + "\n" * 300000}), "/shop/price")
    served.expect_any_error()  # a text cannot be multiplied
    page.wait_text("notices", "^Lines of output were lost just now$")
    page.browser.execute_script("let now = performance.now(); performance.now = () => (now += 60000)")  # a minute from look to look
    page.wait_text("notices", "^$")
    assert re.match(r"[1-9][\d,]*: replica price/0 .* lost", page.facts("facts")["Lost lines"])


# --- for everybody -------------------------------------------------------------------------------------------------------
def background(page):
    return page.browser.execute_script("return getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_follows_the_system_until_somebody_chooses(served, open_page, theme):
    page = open_page(served, "#api=classifier", theme=theme)
    at_first = background(page)
    pressed = page.find("theme").get_attribute("aria-pressed")
    assert pressed == ("true" if theme == "dark" else "false")
    page.wait(lambda: page.rows("replicas"), "everything is drawn")
    page.click("theme")
    assert background(page) != at_first
    assert page.find("theme").get_attribute("aria-pressed") != pressed
    assert not page.violations()
    page.load_again()
    assert background(page) != at_first, "the choice is kept"
    page.click("theme")
    assert background(page) == at_first


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("api", ["classifier", "price"])
def test_everything_fits_on_a_phone(served, open_page, theme, api):
    page = open_page(served, f"#api={api}", theme=theme, **NARROW)
    page.wait(lambda: page.rows("replicas")[0][1] == "ready", "everything is drawn")
    page.send_sample(SETOSA if api == "classifier" else '{"price": 1}')
    page.wait(lambda: page.facts("totals")["2XX"] == "1", "the answer is counted")
    for summary in page.browser.find_elements("css selector", "summary"):
        if summary.is_displayed():
            page.browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", summary)
            summary.click()
    width, screen = page.size()
    assert width <= screen == NARROW["width"]


def test_the_keyboard_is_enough(served, open_page):
    page = open_page(served)
    page.wait(lambda: len(page.rows("overview")) == 2, "two apis")

    def tab_to(target):
        seen = []
        while page.focused() != target:
            page.press(Keys.TAB)
            seen.append(page.focused())
            assert len(seen) < 60, f"Tab does not reach {target}: {seen}"
            visible = page.browser.execute_script(
                "return document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== 'none'"
            )
            assert visible, f"the focus cannot be seen at {seen[-1]}"

    tab_to("overview-filter")
    tab_to("classifier")
    page.press(Keys.ARROW_DOWN)
    assert page.focused() == "price"
    page.press(Keys.ARROW_UP, Keys.ENTER)
    page.wait(lambda: page.focused() == "details-title", "the focus is where the details begin")
    tab_to("sample")
    page.press_together(Keys.CONTROL, "a")
    page.press(SETOSA.strip())
    page.press_together(Keys.CONTROL, Keys.ENTER)
    page.wait_text("answer", "setosa")
    tab_to("logs-pause")
    page.press(Keys.SPACE)
    page.wait_text("logs-state", "^paused")
    page.browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    tab_to("skip")
    page.press(Keys.ENTER)
    assert page.focused() == "details-title"


# --- pictures for the documentation ---------------------------------------------------------------------------------------
SCREENSHOTS = os.environ.get("CORTEXD_SCREENSHOTS")


class Load:
    """Requests at a rate that rises and falls, until it is stopped."""

    def __init__(self, cortexd, clients=3):
        self.cortexd = cortexd
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self):
        samples = [json.loads(SETOSA)] * 5 + [json.loads(VIRGINICA)] * 3
        samples.append({"sepal_length": 5.9, "sepal_width": 3.0, "petal_length": 4.2, "petal_width": 1.5})
        n = 0
        with client.Connection(self.cortexd.port) as connection:
            while not self.ended.wait(0.004 + 0.012 * abs(n % 2000 - 1000) / 1000):
                connection.post("/iris/classifier", samples[n * 7 % len(samples)] if n % 500 else {"sepal_length": 1})
                n += 1

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def save(page, name, height=None):
    """The whole page as a picture, or its begin."""
    width, full = page.browser.execute_script("const { scrollWidth, scrollHeight } = document.documentElement; return [scrollWidth, scrollHeight]")
    page.browser.execute_script("window.scrollTo(0, 0)")
    clip = {"x": 0, "y": 0, "width": width, "height": min(full, height or full), "scale": 1}
    picture = page.browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True})
    (ROOT / SCREENSHOTS / name).write_bytes(base64.b64decode(picture["data"]))


@pytest.mark.skipif(not SCREENSHOTS, reason="make screenshots")
def test_screenshots(serve, open_page, request):
    request.addfinalizer(lambda: shutil.rmtree("/tmp/iris"))  # its name is in the pictures
    served = serve(folder="/tmp/iris")
    served.expect_any_error()
    page = open_page(served, "#api=classifier", width=1360)
    load = Load(served)
    try:
        page.send_sample(SETOSA)
        os.kill(int(page.rows("replicas")[0][4]), signal.SIGSEGV)
        page.css("#charts summary").click()
        periods = "return document.querySelectorAll('#charts figure:first-child tbody tr').length"
        wait_until(lambda: page.browser.execute_script(periods) >= 5, "two minutes of history", patience=200)
        page.css("#charts summary").click()
        save(page, "dashboard-light.png")
        page.click("theme")
        page.wait(lambda: page.find("theme").get_attribute("aria-pressed") == "true", "it is dark")
        save(page, "dashboard-dark.png")
        page.click("theme")
        page.emulate("light", **NARROW)
        page.wait(lambda: page.size()[0] == NARROW["width"], "it is narrow")
        save(page, "dashboard-narrow.png", height=1700)
    finally:
        load.stop()
