"""What the tests in a browser share: Debian's Chromium, driven by selenium, watched for errors and for what it asks."""

import json
import os
import shutil
from pathlib import Path

import pytest

FLAGS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "disable-dev-shm-usage",
    "window-size=1300,900",
)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WAIT = 20  # seconds for what a page does at once, on a busy machine


def start(profile: Path, downloads: Path):
    """Return a driver with a fresh profile, or skip the test and say what is missing."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium is not there (Debian: apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install '.[test]')")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    quiet = Service(DRIVER, log_output=os.devnull)
    return webdriver.Chrome(options=options, service=quiet)


class Visit:
    """A page in the browser: opened, asked, and in the end watched for what it should not have done."""

    def __init__(self, driver, downloads: Path):
        self.driver, self.downloads = driver, downloads

    def open(self, page: Path | str):
        """Open a page that lies on the disk or at an address, and wait until its scripts have run."""
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(page if isinstance(page, str) else page.absolute().as_uri())
        self.until(lambda: self.js("return document.body.classList.contains('ready')"), "the page is ready")
        return self

    def forget(self, page: Path):
        """Forget the marks that earlier pages have left: they are kept for all files of a machine."""
        self.open(page).js("localStorage.clear()")

    def until(self, holds, what):
        """Wait until something holds; what: said where it never does."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, WAIT, poll_frequency=0.05).until(lambda _: holds(), what)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).textContent", selector)

    def texts(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector)

    def keys(self, *keys):
        """Type into what has the focus."""
        from selenium.webdriver import ActionChains

        chain = ActionChains(self.driver)
        for key in keys:
            chain.send_keys(key)
        chain.perform()

    def focus(self, selector):
        self.js("document.querySelector(arguments[0]).focus()", selector)

    def drag(self, selector, by):
        """Drag something to the right by so many px, with the mouse."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).click_and_hold(self.one(selector)).move_by_offset(by, 0).release().perform()

    def saved(self, name):
        """Return the bytes of a file that the page has saved, once all of them are there."""
        file = self.downloads / name
        self.until(lambda: file.is_file() and not list(self.downloads.glob("*.crdownload")), f"{name} is saved")
        return file.read_bytes()

    def complaints(self):
        """Return what stands in the console since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def asked(self):
        """Return the addresses that the page has asked for since it was opened, but for what it holds itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        own = [one["request"]["url"] for one in sent if not one["documentURL"].startswith("chrome")]  # its first tab
        return [url for url in own if not url.startswith(("data:", "blob:"))]
