"""Renews docs/queries.png: second cycle of a run on digits, seven of twenty images answered.

python -m tests.labeling.screenshot
"""

import tempfile
from pathlib import Path

import main_al
from tests.browser import start_chromium
from tests.commands.test_main_al import rows
from tests.conftest import ROOT
from tests.labeling.sessions import answer, truth_of
from tests.labeling.test_page import press

WORDS = "--initial lp_coverage --al-method lp_coverage --add-lp --al-budget 20 --al-nb-cycles 2"
WORDS += " --epochs 30 --device cpu"
ANSWERED, CANNOT_TELL = 7, 5  # so many images, and the one of which nobody can tell the class


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        session, run = Path(folder, "session"), Path(folder, "run")
        assert main_al.main([*WORDS.split(), "--run-dir", str(session)]) == 0
        truth = truth_of(session)
        words = [*WORDS.split(), "--oracle", "file", "--run-dir", str(run)]
        assert main_al.main(words) == 3
        answer(run, truth)
        assert main_al.main(words) == 3
        keys = [truth[row["index"]] for row in rows(run / "queries.csv")][:ANSWERED]
        keys[CANNOT_TELL] = ","
        take_screenshot(run / "queries.html", keys, ROOT / "docs" / "queries.png", Path(folder))


def take_screenshot(page: Path, keys: list[str], image: Path, profile: Path) -> None:
    """Write an image of a page after some keys."""
    window = start_chromium(profile / "profile")
    try:
        screen = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        window.get(page.as_uri())
        press(window, *keys)
        window.save_screenshot(str(image))
    finally:
        window.quit()


if __name__ == "__main__":
    main()
