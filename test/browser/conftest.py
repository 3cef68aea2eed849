"""The fixtures of the black-box tests, and a browser.

One browser serves all tests: each gets a window of its own and an origin without memory. When a test is over its page is
inspected: an error that the browser logged, or a violation that axe-core finds, fails the test.
"""
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BLACKBOX = Path(__file__).resolve().parents[1] / "blackbox"
sys.path.insert(0, str(BLACKBOX))

_spec = importlib.util.spec_from_file_location("blackbox_conftest", BLACKBOX / "conftest.py")
_blackbox = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_blackbox)

from cortexd import ENVIRONMENTS, PATIENCE, ROOT, reserved_port  # noqa: E402: found by the path above
from page import Page  # noqa: E402
from tunnel import Tunnel  # noqa: E402

port = _blackbox.port
project = _blackbox.project
start = _blackbox.start
pytest_runtest_makereport = _blackbox.pytest_runtest_makereport

BROWSER_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --force-color-profile=srgb"
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in BROWSER_OPTIONS.split():
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture
def admin_port(port):
    """Another free port: that of the admin interface."""
    with reserved_port() as number:
        yield number


@pytest.fixture
def open_page(browser, admin_port):
    """Open the dashboard of a cortexd: open_page(cortexd, address="", theme="light", width=1280, height=900).

    Through a tunnel to its unix socket, where nobody asks for a token; direct: at the TCP address of its own, admin_port.
    """
    origin = f"http://127.0.0.1:{admin_port}"
    first = browser.current_window_handle
    browser.switch_to.new_window("window")
    pages = []
    tunnels = []

    def open_one(cortexd, address="", theme="light", width=1280, height=900, direct=False):
        page = Page(browser, cortexd, origin)
        pages.append(page)
        page.emulate(theme, width, height)
        if not direct:
            tunnels.append(Tunnel(admin_port, cortexd.folder / ".cortex" / "control.sock"))
        browser.get(f"{origin}/{address}")
        if not direct:
            page.wait_live()
        return page

    yield open_one
    problems = [problem for page in pages[-1:] for problem in page.inspect()]
    browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    browser.close()
    for tunnel in tunnels:
        tunnel.close()
    browser.switch_to.window(first)
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def iris_model(tmp_path_factory):
    """The files of configs/iris with its model, trained by the environment that serves it in these tests."""
    folder = tmp_path_factory.mktemp("iris")
    for name in ("train.py", "predictor.py", "sample.json"):
        shutil.copy(ROOT / "configs" / "iris" / name, folder)
    python = next((ENVIRONMENTS / "onnx" / ".cortex" / "environments").glob("*/bin/python"))
    subprocess.run([python, folder / "train.py"], check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "train.py"}
