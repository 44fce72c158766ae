"""Make the pictures of the README from the committed records, in a headless browser.

    python scripts/make_screenshots.py            # docs/images/board.png, row.png, ablations.png

Needs Chromium and its driver (Debian: chromium, chromium-driver); nothing is downloaded. The tests
of the report open their browser by this file too.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BINARIES = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1100


def programs() -> tuple[str, str] | None:
    """Paths of the browser and of its driver, or None where one is missing."""
    browser = next(filter(None, map(shutil.which, BINARIES)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def open_browser() -> Any:
    """A headless browser under control; the caller quits it."""
    from selenium import webdriver

    installed = programs()
    if installed is None:
        raise SystemExit("no browser: install chromium and chromium-driver")
    os.environ["SE_OFFLINE"] = "true"  # use what is installed, fetch nothing
    options = webdriver.ChromeOptions()
    options.binary_location = installed[0]
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage",
                 "hide-scrollbars", "force-color-profile=srgb"):  # fmt: skip
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(installed[1]))


def view(browser: Any, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
    """Give the page a size and a colour scheme, as a device would."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def shoot(browser: Any, path: Path) -> Path:
    """Write what the browser shows as a PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    image.save(path, optimize=True)
    return path


def main() -> None:
    """Build the site of the committed records and take the three pictures."""
    from crbench.board.rows import read_records
    from crbench.site.site import write_site
    from crbench.study.written import written_studies

    results = ROOT / "results"
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        studies = written_studies(results / "ablations", results / "records")
        write_site(read_records([results / "records"]), site, studies=studies)
        row = next((site / "rows").glob("landsat7-pan-ms-cr-jepa-*.html"))
        pictures = {
            "board": (site / "index.html", 960, False),
            "ablations": (site / "studies.html", 900, False),
            "row": (row, 900, True),
        }
        browser = open_browser()
        try:
            for name, (page, height, dark) in pictures.items():
                view(browser, WIDTH, height, dark=dark)
                browser.get(page.as_uri())
                print(shoot(browser, ROOT / "docs" / "images" / f"{name}.png"))
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
