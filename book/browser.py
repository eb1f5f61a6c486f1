"The built book in a real browser, without a network: shared by the browser tests, pdf.py, shots.py and the benchmarks."

import functools
import shutil
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

NAMES = (
    "chromium-headless-shell chromium chromium-browser google-chrome".split()
)  # the first draws no window of its own and needs half the processor time
MISSING = f"no Chromium here: apt-get install {NAMES[0]}, or {NAMES[1]}"
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"


def chromium():
    "The path of an installed Chromium, or None."
    return next(filter(None, map(shutil.which, NAMES)), None)


class Quiet(SimpleHTTPRequestHandler):
    "A file server that does not log."

    def log_message(self, *args):
        pass


@contextmanager
def served(folder):
    "Serve a folder on a free port of this machine; yields its address."
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def browser():
    "Chromium, driven by Playwright."
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium(), headless=True, args=FLAGS.split()
        )
        try:
            yield started
        finally:
            started.close()


def all_pictures(page):
    "Load the pictures that wait until the reader comes near, and wait for them."
    page.evaluate(
        "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode().catch(() => null) })).then(() => true)"
    )


def settled(page, timeout=20_000):
    "Wait until the page has loaded and MathJax has set every formula."
    page.wait_for_load_state("load", timeout=timeout)
    if page.evaluate("!!document.querySelector('.math, script[src*=mathjax]')"):
        page.wait_for_function(
            "window.MathJax && MathJax.startup && MathJax.startup.promise",
            timeout=timeout,
        )
        page.evaluate("MathJax.startup.promise.then(() => true)")
