"""A real browser for tests of HTML pages: chromium without a window, on local files.

Where chromium or selenium is missing or does not start, the tests that need it are skipped, and the
last lines of the test run say so (tests/conftest.py)."""

import json
import shutil
from pathlib import Path

import pytest

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
)


class NoBrowser(Exception):
    """Pages cannot be opened in a browser; the text says why, and what to do about it."""


def start_chromium(profile: Path):
    """A window of chromium with a new profile in a folder.  Raises NoBrowser."""
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
    except ImportError:
        raise NoBrowser("selenium is not installed (pip install --group tests)") from None
    programs = [shutil.which(name) for name in ("chromium", "google-chrome")]
    browser, driver = next(filter(None, programs), None), shutil.which("chromedriver")
    if not browser or not driver:
        raise NoBrowser(
            "chromium or chromedriver is not installed (on Debian, as root: "
            "apt-get install chromium chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    except WebDriverException as error:  # such as an instruction that the processor lacks
        reason = (str(error.msg).splitlines() or [type(error).__name__])[0]
        raise NoBrowser(f"{browser} does not start ({reason}); try it by hand") from None


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    try:
        window = start_chromium(tmp_path_factory.mktemp("profile"))
    except NoBrowser as error:
        pytest.skip(f"pages in a browser: {error}")
    yield window
    window.quit()


@pytest.fixture
def page(chromium, request):
    """A function that opens a page.  Files that the page saves are written beside it.

    Afterwards the page must have logged no error, and requested only addresses of the SCHEMES in
    the test's module."""
    chromium.get("about:blank")  # the page of a new tab makes requests of its own
    chromium.get_log("browser")
    chromium.get_log("performance")
    opened = []

    def open_page(path, size=(1280, 800)):
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1}
        screen |= {"mobile": size[0] < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        downloads = {"behavior": "allow", "downloadPath": str(path.parent)}
        chromium.execute_cdp_cmd("Browser.setDownloadBehavior", downloads)
        chromium.get(path.as_uri())
        opened.append(path.as_uri())
        return chromium

    yield open_page
    assert chromium.get_log("browser") == []
    requested = []
    for entry in chromium.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] != "Network.requestWillBeSent":
            continue
        if not message["params"]["documentURL"].startswith("chrome://"):  # the browser's own tab
            requested.append(message["params"]["request"]["url"])
    allowed = getattr(request.module, "SCHEMES", {"file", "data"})
    assert {url.split(":")[0] for url in requested} <= allowed, requested
    assert set(opened) <= set(requested)  # the log does contain requests
