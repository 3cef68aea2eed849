"""The dashboard as somebody in front of a browser sees it; waits for conditions, never for time."""
import json
import re
from pathlib import Path

import axe_playwright_python
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from cortexd import wait_until

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
TOKEN_MISSING = re.compile(r" - Failed to load resource: the server responded with a status of 401 ")


class Page:
    def __init__(self, browser, cortexd, origin):
        self.browser = browser
        self.cortexd = cortexd
        self.origin = origin
        self.expected_errors = []

    @property
    def token(self):
        return (self.cortexd.folder / ".cortex" / "token").read_text().strip()

    # --- opening -------------------------------------------------------------------------------------------------------
    def emulate(self, theme, width, height):
        """A system that likes this theme, and a screen of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def enter_token(self, token):
        wait_until(lambda: self.shown("token-dialog"), "the page asks for a token")
        self.expect_error(TOKEN_MISSING)
        self.write("token", token)
        self.css("#token-form button").click()

    def wait_live(self):
        self.wait_text("connection", "live")

    def load_again(self):
        self.browser.refresh()
        self.wait_live()

    # --- looking -------------------------------------------------------------------------------------------------------
    def css(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def find(self, name):
        return self.browser.find_element(By.ID, name)

    def shown(self, name):
        return self.find(name).is_displayed()

    def text(self, name):
        return self.find(name).text

    def wait(self, condition, what):
        """Until condition() is true; the page may be drawn anew meanwhile."""

        def steady():
            try:
                return condition()
            except (StaleElementReferenceException, NoSuchElementException):
                return None

        return wait_until(steady, what)

    def wait_text(self, name, pattern):
        """Until the text of an element matches a regular expression; the match."""
        seen = []

        def condition():
            seen[:] = [self.text(name)]
            return re.search(pattern, seen[0])

        try:
            return self.wait(condition, f"#{name} says {pattern!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it says {seen}") from None

    def rows(self, name):
        """The cells of a table's rows that are there to see, as texts."""
        script = """return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(
            (row) => [...row.children].filter((cell) => cell.offsetParent).map((cell) => cell.innerText.trim()))"""
        return self.browser.execute_script(script, name)

    def facts(self, name):
        """A list of terms and values as a dict."""
        script = """return Object.fromEntries([...document.querySelectorAll(`#${arguments[0]} > div`)].map(
            (group) => [...group.children].map((part) => part.textContent)))"""
        return self.browser.execute_script(script, name)

    def focused(self):
        """The id or the text of what has the focus."""
        return self.browser.execute_script("const { id, innerText } = document.activeElement; return id || innerText")

    def size(self):
        """(width of the content, width of the screen)"""
        return self.browser.execute_script("const { scrollWidth, clientWidth } = document.documentElement; return [scrollWidth, clientWidth]")

    # --- doing ---------------------------------------------------------------------------------------------------------
    def click(self, name):
        self.find(name).click()

    def select(self, api):
        """Follow the link of an api."""
        self.wait(lambda: self.browser.find_element(By.LINK_TEXT, api), f"a link to {api}").click()
        self.wait_text("details-title", f"^{api}$")

    def write(self, name, text):
        field = self.find(name)
        field.clear()
        field.send_keys(text)

    def press(self, *keys):
        """Keys on the keyboard, to whatever has the focus."""
        ActionChains(self.browser).send_keys(*keys).perform()

    def press_together(self, modifier, key):
        ActionChains(self.browser).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def send_sample(self, text):
        """What the page shows of the answer: (status, answer)."""
        self.write("sample", text)
        self.click("send")
        self.wait_text("answer-status", r"^\d{3} ")
        return int(self.text("answer-status")[:3]), self.text("answer")

    # --- judging -------------------------------------------------------------------------------------------------------
    def expect_error(self, pattern):
        """An error of the browser's console that is part of the test."""
        self.expected_errors.append(re.compile(pattern))

    def console(self):
        """What the browser has complained about and no test announced."""
        entries = self.browser.get_log("browser")
        texts = [f"{entry['level']} {entry['message']}" for entry in entries if entry["level"] in ("SEVERE", "WARNING")]
        return [text for text in texts if not any(pattern.search(text) for pattern in self.expected_errors)]

    def violations(self):
        """What axe-core finds, of the rules of WCAG 2.2 A and AA and its good practice."""
        self.browser.execute_script(AXE)
        result = self.browser.execute_async_script("axe.run(document, { resultTypes: ['violations'] }).then(arguments[0])")
        return [
            f"{violation['id']} ({violation['impact']}): {violation['help']}: {json.dumps(node['target'])} {node['html'][:200]} {node.get('failureSummary', '')}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]

    def inspect(self):
        return [f"console: {text}" for text in self.console()] + [f"axe: {text}" for text in self.violations()]
