"""Screenshots of a page in Chromium, at desktop and phone width: `make screenshot` (not a benchmark)."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

WIDTHS = {"desk": 1000, "phone": 390}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="an HTML file, such as runs/quickstart/study.html")
    parser.add_argument("out", type=Path, help="where to: NAME.png, and NAME-phone.png beside it")
    parser.add_argument("--pixels", type=int, default=1500, help="how much of the page from its top (default: 1500)")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("error: there is no Chromium here; install it, for example with apt-get install chromium")
    if not options.page.is_file():
        sys.exit(f"error: {options.page} does not exist; marl study RUN writes RUN/study.html")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"] * (os.geteuid() == 0))
        for name, width in WIDTHS.items():
            tab = browser.new_page(viewport={"width": width, "height": options.pixels})
            tab.goto(options.page.resolve().as_uri())
            tab.wait_for_selector("body[data-drawn]")
            out = options.out if name == "desk" else options.out.with_stem(f"{options.out.stem}-{name}")
            tab.screenshot(path=out)
            print(out)
        browser.close()


if __name__ == "__main__":
    main()
