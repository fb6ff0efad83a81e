"""A real browser for the tests of pages: chromium without a window, on files of this machine.

Where there is none, or no selenium, the tests that ask for one are skipped and say so."""

import json
import shutil

import pytest

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
    programs = [shutil.which(name) for name in ("chromium", "google-chrome")]
    browser, driver = next(filter(None, programs), None), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield window
    window.quit()


@pytest.fixture
def page(chromium, request):
    """Opens a page; at the end nothing may have failed in it, or gone out of it but to the SCHEMES
    of the test's module.  What it saves goes beside it."""
    chromium.get("about:blank")  # the page of a new tab asks for much
    chromium.get_log("browser")
    chromium.get_log("performance")
    opened = []

    def open_page(path, size=(1280, 800)):
        facts = {"width": size[0], "height": size[1], "deviceScaleFactor": 1}
        facts |= {"mobile": size[0] < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", facts)
        saved = {"behavior": "allow", "downloadPath": str(path.parent)}
        chromium.execute_cdp_cmd("Browser.setDownloadBehavior", saved)
        chromium.get(path.as_uri())
        opened.append(path.as_uri())
        return chromium

    yield open_page
    assert chromium.get_log("browser") == []
    asked = []
    for entry in chromium.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] != "Network.requestWillBeSent":
            continue
        if not message["params"]["documentURL"].startswith("chrome://"):  # the browser's own tab
            asked.append(message["params"]["request"]["url"])
    allowed = getattr(request.module, "SCHEMES", {"file", "data"})
    assert {url.split(":")[0] for url in asked} <= allowed, asked
    assert set(opened) <= set(asked)  # it is a log of what is asked for
