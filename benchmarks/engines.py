"""The explorers in the three engines that readers have: Chromium's, Firefox's and WebKit, which is Safari's.

Wants Firefox, WebKitGTK and a virtual screen: apt-get install firefox-esr webkit2gtk-driver xvfb xauth. What drives them is installed into an environment of its own.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from book.browser import browser, chromium, served
from vae_nb.core import seed_everything
from vae_nb.explore import LatentExplorer

from .explorers import FIRST, MODELS, MOVE, MOVES
from .peers import BUILD, HERE, environment
from .record import write

ROUNDS = 5
ASKED = ("MLP 2-400-784 (digits)", "convolutional, 64×64 faces, width 32")
NEEDED = {
    "a Chromium": chromium,
    "firefox-esr": lambda: shutil.which("firefox") or shutil.which("firefox-esr"),
    "webkit2gtk-driver": lambda: shutil.which("WebKitWebDriver"),
    "xvfb": lambda: shutil.which("xvfb-run"),
    "xauth": lambda: shutil.which("xauth"),
}
THERE = "() => new Promise((done) => { const look = () => document.querySelector('.vae-explorer input') ? done(true) : setTimeout(look, 20); look() })"
PIXELS = "() => { const c = document.querySelector('.vae-explorer canvas'); return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data] }"
LOOK = [[THERE, None], [FIRST, None], [PIXELS, None], [MOVE, MOVES]]


@contextmanager
def chrome():
    "Chromium: its version, and what it returns for functions [[source, argument], …] at an address."

    def look(address, functions):
        context = started.new_context()
        page = context.new_page()
        page.goto(address)
        found = [page.evaluate(source, argument) for source, argument in functions]
        context.close()
        return found

    with browser() as started:
        yield f"Chromium {started.version}", look


@contextmanager
def other(engine):
    "As `chrome`, for the engines of beside/run_engines.py."
    screen = ["xvfb-run", "-a"] if engine == "webkit" else []
    command = [*screen, environment("engines"), HERE / "run_engines.py", engine]
    with (
        open(BUILD / f"{engine}.log", "w") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):

        def answer():
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{engine} has stopped; its log is {log.name}")
            return json.loads(line)

        def look(address, functions):
            print(json.dumps([address, functions]), file=process.stdin, flush=True)
            return answer()

        yield answer(), look
        process.stdin.close()


@contextmanager
def engines():
    "The three of them, Chromium first."
    missing = [what for what, there in NEEDED.items() if not there()]
    if missing:
        raise SystemExit(
            f"Not here: {', '.join(missing)}. apt-get install firefox-esr webkit2gtk-driver xvfb xauth"
        )
    with chrome() as first, other("firefox") as second, other("webkit") as third:
        yield first, second, third


def row(name, version, looks, reference):
    "One row of the table."
    _, firsts, pictures, moves = zip(*looks)
    lags, decoded = zip(*moves)
    differences = [
        abs(a - b)
        for picture in pictures
        for a, b in zip(picture, reference, strict=True)
    ]
    return {
        "decoder": name,
        "browser": version,
        "first picture, ms (median, worst)": f"{statistics.median(firsts):.0f}, {max(firsts):.0f}",
        "last picture, ms (worst)": f"{max(lags):.0f}",
        "moves decoded": f"{min(decoded)} to {max(decoded)}",
        "largest difference from Chromium's pixels, of 255": max(differences),
    }


def main():
    torch.set_num_threads(1)
    seed_everything(0)
    rows = []
    with ExitStack() as stack:
        three = stack.enter_context(engines())
        for name in ASKED:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            LatentExplorer(MODELS[name]()).to_html(
                Path(folder, "index.html"), beside=True
            )
            looks = [[] for _ in three]
            for _ in range(ROUNDS):
                for found, (_, look) in zip(looks, three):
                    with served(folder) as address:  # another port: nothing is cached
                        found.append(look(address, LOOK))
            reference = looks[0][0][2]
            rows += [
                row(name, version, found, reference)
                for found, (version, _) in zip(looks, three)
            ]
            print(*rows[-3:], sep="\n", flush=True)
    write(
        "engines",
        "Explorers in three engines",
        rows,
        f"Headless, {ROUNDS} rounds, the engines in turn; networks untrained. Moves come 60 times a second, {MOVES} of them; the last picture is the wait for it after the last move. "
        "The first picture includes fetching the weights, checking them and starting WebAssembly. WebKitGTK stands for Safari, which runs on no machine of ours.",
    )
