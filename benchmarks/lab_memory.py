"""What the lab's page holds in memory while it trains for ten minutes in headless Chromium."""

import tempfile
import time
from pathlib import Path

from book.browser import browser, chromium
from vae_nb.explore import Lab

from .lab import page_processes
from .record import write

MINUTES = (1, 2, 4, 6, 8, 10)


def resident():
    "Megabytes that the processes hold which show this browser's pages."
    sizes = (int((path / "statm").read_text().split()[1]) for path in page_processes())
    return sum(sizes) * 4096 / 1e6


def heap(page):
    "Megabytes of the page's JavaScript, after its garbage has been collected."
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    session.detach()
    return used


def main():
    if not chromium():
        raise SystemExit("No Chromium here: apt-get install chromium to measure.")
    rows = []
    with tempfile.TemporaryDirectory() as folder, browser() as chrome:
        page = chrome.new_page(viewport={"width": 900, "height": 1300})
        page.goto(Lab().to_html(Path(folder, "lab.html")).as_uri())
        page.get_by_role("button", name="Train a VAE here").click()
        began = time.perf_counter()
        box = page.locator(".vae-lab").bounding_box()
        for minutes in MINUTES:
            while time.perf_counter() - began < 60 * minutes:
                page.wait_for_timeout(1000)
                page.mouse.move(box["x"] + 1000 * time.time() % 300, box["y"] + 20)
            rows.append(
                {
                    "minutes of training": minutes,
                    "steps": f"{int(page.locator('.vae-lab').get_attribute('data-step')):,}",
                    "page's process, MB": f"{resident():.0f}",
                    "page's JavaScript, MB": f"{heap(page):.1f}",
                }
            )
            print(rows[-1], flush=True)
        version = chrome.version
        if page.locator(".vae-lab").get_attribute("data-running") != "true":
            raise SystemExit("The lab stopped before the ten minutes were over.")
    write(
        "lab_memory",
        "The lab's memory",
        rows,
        f"Headless Chromium {version}, one run, touched every second, because the lab stops three minutes after the last touch. The page's process is its resident memory, the worker's and WebAssembly's included; "
        "the page's JavaScript is without the worker's, after its garbage has been collected.",
    )
