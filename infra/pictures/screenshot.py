"""The README's pictures of the live page, taken of a page that runs: python infra/pictures/screenshot.py http://localhost:8080

Needs Debian's chromium and the packages of the `dev` group. Writes infra/pictures/screen-*.png.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
PICTURES = {
    "screen-dark": {"viewport": {"width": 1600, "height": 900}, "color_scheme": "dark"},
    "screen-light": {"viewport": {"width": 1600, "height": 900}, "color_scheme": "light"},
    "screen-zh": {"viewport": {"width": 1600, "height": 900}, "color_scheme": "dark", "locale": "zh-CN"},
    "screen-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
    for name, options in PICTURES.items():
        page = browser.new_context(**options, reduced_motion="reduce").new_page()
        page.goto(sys.argv[1])
        page.wait_for_selector("#wall[data-cut]")
        page.wait_for_selector(".minutes .js-plotly-plot")
        page.wait_for_timeout(1000)  # the charts are drawn
        page.screenshot(path=HERE / f"{name}.png")
        print(HERE / f"{name}.png")
    browser.close()
