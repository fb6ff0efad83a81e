"""A real browser for tests of HTML pages: chromium without a window, on local files.

Without chromium or selenium the tests that need it are skipped, with the reason."""

import json
import shutil
from pathlib import Path

import pytest

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
)


def start_chromium(profile: Path):
    """A window of chromium with a new profile in a folder; None if a program is missing.

    Raises ImportError without selenium."""
    from selenium import webdriver

    programs = [shutil.which(name) for name in ("chromium", "google-chrome")]
    browser, driver = next(filter(None, programs), None), shutil.which("chromedriver")
    if not browser or not driver:
        return None
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    window = start_chromium(tmp_path_factory.mktemp("profile"))
    if window is None:
        pytest.skip("chromium or chromedriver is not installed")
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
