"""The lab in the three engines that readers have: how fast it trains there, and whether it takes the same steps. Wants what engines.py wants."""

import base64
import os
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from vae_nb.explore import Lab
from vae_nb.explore.lab import _BUGS
from vae_nb.explore.widgets import ASSETS, asset
from vae_nb.networks import ACTIVATIONS

from .engines import engines
from .lab import page_processes, spent
from .record import write

# What the three engines call the thread of a worker.
WORKERS = ("DedicatedWorker", "DOM Worker", "WebCore: Worker")
ROUNDS, SECONDS, FEW, MANY = 3, [5, 10], 10, 100
# Runs a function in the page's own world, of which a driver may see only the elements.
INSIDE = """([source, argument]) => new Promise((done) => {
    const add = (properties) => document.head.append(Object.assign(document.createElement("script"), properties));
    add({ textContent: `Promise.resolve((${source})(${JSON.stringify(argument)})).catch(String).then((found) => document.head.append(
        Object.assign(document.createElement("script"), { type: "application/json", id: "answer", textContent: JSON.stringify(found) })))` });
    const look = () => { const answer = document.getElementById("answer"); if (!answer) return setTimeout(look, 20);
        answer.remove(); done(JSON.parse(answer.textContent)) };
    look() })"""
# Presses the button, and returns how far the lab was after some seconds of the clock.
RACE = """(seconds) => new Promise((done) => { const Plain = Worker; let start, first; const marks = [];
    window.Worker = class extends Plain { constructor(...given) { super(...given); window.lab = this;
        this.addEventListener("message", ({ data: { state } }) => { const spent = (performance.now() - start) / 1000;
            if (state?.step) first ??= spent;
            if (!state || spent < seconds[marks.length]) return;
            marks.push({ at: Date.now() / 1000, spent, images: state.latest.images, held: state.latest.held.recon + state.latest.held.kl, first });
            if (marks.length === seconds.length) done(marks) }) } };
    const look = () => { const button = document.querySelector(".vae-lab button"); if (!button) return setTimeout(look, 20);
        start = performance.now(); button.click() }; look() })"""
# Bytes of all weights, as text.
TEXT = "const text = (arrays) => { let all = ''; for (const array of arrays) for (const byte of new Uint8Array(array.buffer, array.byteOffset, array.byteLength)) all += String.fromCharCode(byte); return btoa(all) };"
# Pause, Reset, so many presses of "One step": the weights.
STEPS = f"""(steps) => new Promise((done) => {{ {TEXT} const [train, one, reset] = document.querySelectorAll(".vae-lab .buttons button"); let asked = 0, seen;
    lab.addEventListener("message", ({{ data: {{ state, weights }} }}) => {{ seen = state?.step ?? seen;
        if (weights && seen === steps) done(text(weights));
        if (state?.step === asked && asked < steps) {{ asked++; setTimeout(() => one.click()) }} }});
    train.click(); setTimeout(() => reset.click(), 500) }})"""
# Small networks, one for every likelihood, activation and bug: the weights of each after some steps.
EVERY = f"""async ([kinds, steps]) => {{ {TEXT} const all = [];
    for (const {{ options, settings }} of kinds) {{
        const {{ instance }} = await WebAssembly.instantiate(bytesOf(TRAINING)), vae = makeVae(instance.exports, options), random = makeRandom(0), n = options.batch;
        startVae(vae, random, Array(options.pixels).fill(0.4));
        for (let i = 0; i < steps; i++) vae.step(Float32Array.from({{ length: n * options.pixels }}, random.uniform), Float32Array.from({{ length: n * options.latents }}, random.normal), settings);
        all.push(text(vae.parameters())); }}
    return all }}"""
NORMAL = (
    {"likelihood": "normal", "sigma": 0.4},
    {"likelihood": "normal", "sigma": "learned"},
)


def kinds():
    "Every likelihood, activation and bug, each against the default of the others."
    made = lambda bug="none", **changes: {
        "options": {"pixels": 35, "latents": 3, "hidden": [9], "batch": 7}
        | {"activation": "silu", "likelihood": "bernoulli"}
        | changes,
        "settings": {"rate": 3e-3, "beta": 1.3, "bug": bug},
    }
    return [
        *(made(activation=name) for name in ACTIVATIONS),
        *(made(**likelihood) for likelihood in NORMAL),
        *(made(bug) for bug in _BUGS[1:]),
    ]


def numbers(text):
    "Float32 numbers from their bytes as text."
    return np.frombuffer(base64.b64decode(text), "<f4").astype(float)


def distance(found, truth):
    "How far weights are from others, as a share of the others' length."
    found, truth = numbers(found), numbers(truth)
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


def worker_seconds():
    "Processor seconds of the workers' threads of this session's browsers."
    threads = (path for f in page_processes() for path in f.glob("task/*/stat"))
    return sum(seconds for name, seconds in map(spent, threads) if name in WORKERS)


@contextmanager
def watched():
    "Times and what the workers' threads have used by then, four times a second."
    seen, over = [], threading.Event()

    def watch():
        while not over.wait(0.25):
            seen.append((time.time(), worker_seconds()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def used(mark, seen):
    "Processor seconds from the press of the button to a mark."
    return float(
        np.diff(np.interp([mark["at"] - mark["spent"], mark["at"]], *zip(*seen)))[0]
    )


def row(version, runs, reference, every, reference_every):
    "One row of the table; `runs` are marks and weights of each round."
    middle = lambda mark, name: statistics.median(run[0][mark][name] for run in runs)
    speed = lambda spent: statistics.median(
        run[0][-1]["images"] / run[0][-1][spent] for run in runs
    )
    off = max(distance(run[1], reference) for run in runs)
    others = max(map(distance, every, reference_every))
    return {
        "browser": version,
        "images per second of the clock": f"{speed('spent'):,.0f}",
        "images per second of the worker's thread": f"{speed('used'):,.0f}",
        "first map, ms": f"{1000 * middle(0, 'first'):.0f}",
        f"held-out −ELBO after {SECONDS[0]} s": f"{middle(0, 'held'):.1f}",
        f"weights after {FEW} steps, off by": f"{off:.1g}",
        f"small networks after {MANY} steps, off by": f"{others:.1g}",
    }


def main():
    asked = kinds()
    with engines() as three, tempfile.TemporaryDirectory() as folder:
        lab = Lab().to_html(Path(folder, "lab.html")).as_uri()
        kernels = base64.b64encode((ASSETS / "training.wasm").read_bytes()).decode()
        engine = asset("weights.js", "trainer.js")
        bare = Path(folder, "engine.html")
        bare.write_text(
            f'<!doctype html><meta charset="utf-8"><script>const TRAINING = "{kernels}";\n{engine}</script>'
        )
        every = [
            look(bare.as_uri(), [[INSIDE, [EVERY, [asked, MANY]]]])[0]
            for _, look in three
        ]
        todo = [[INSIDE, [RACE, SECONDS]], [INSIDE, [STEPS, FEW]]]
        runs = [[] for _ in three]
        for _ in range(ROUNDS):
            for found, (_, look) in zip(runs, three):
                with watched() as seen:
                    found.append(look(lab, todo))
                marks = found[-1][0]
                marks[-1]["used"] = used(marks[-1], seen)
                print(marks, flush=True)
    write(
        "lab_engines",
        "The lab in three engines",
        [
            row(version, found, runs[0][0][1], each, every[0])
            for (version, _), found, each in zip(three, runs, every)
        ],
        f"The page of `Lab().to_html`, opened from the disk; medians of {ROUNDS} rounds, the engines in turn. Seconds are of the clock, from the press of the button; images per second are those of the first {SECONDS[-1]} s, by the clock, with all that is painted, and by the processor seconds of the thread that trains. The machine was shared: the clock depends on its other work, of which the load below tells; and WebKitGTK, which has no graphics card here, paints with the processor. "
        f"Weights are compared with Chromium's from the same seed, as a share of their length: those of the lab after {FEW} steps, and those of {len(asked)} small networks, one for each likelihood, activation and bug, after {MANY}. "
        "Chromium's are compared with PyTorch's by the tests. WebKitGTK stands for Safari, which runs on no machine of ours.",
    )
