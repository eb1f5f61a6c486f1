"""The explorers' networks in headless Chromium: bytes, time to the first picture, decoding, and whether fast moves queue."""

import base64
import os
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from book.browser import browser, chromium, served
from vae_nb.conv import conv_vae
from vae_nb.core import evaluating, seed_everything
from vae_nb.explore import LatentExplorer
from vae_nb.explore.network import browser_decoder
from vae_nb.explore.widgets import engine
from vae_nb.vae import mlp_vae

from .record import write

ROUNDS, DECODES, MOVES = 7, 300, 180
MODELS = {
    "MLP 2-400-784 (digits)": lambda: mlp_vae((1, 28, 28), latent_dim=2, hidden=(400,)),
    "MLP 20-400-400-784 (digits)": lambda: mlp_vae(
        (1, 28, 28), latent_dim=20, hidden=(400, 400)
    ),
    "convolutional, 64×64 faces, width 16": lambda: conv_vae(
        (3, 64, 64), latent_dim=64, channels=(16, 32, 64, 128)
    ),
    "convolutional, 64×64 faces, width 32": lambda: conv_vae(
        (3, 64, 64), latent_dim=64, channels=(32, 64, 128, 256)
    ),
}
FIRST = """() => new Promise((done) => { const root = document.querySelector(".vae-explorer"), input = root.querySelector("input"), start = performance.now();
    new MutationObserver(() => requestAnimationFrame(() => done(performance.now() - start))).observe(root, { attributeFilter: ["data-decodes"] });
    input.focus(); input.value = 1; input.dispatchEvent(new Event("input")) })"""
MOVE = """(moves) => new Promise((done) => { const root = document.querySelector(".vae-explorer"), input = root.querySelector("input");
    const before = Number(root.dataset.decodes); let i = 0, last;
    const timer = setInterval(() => { if (++i > moves) return; input.value = 3 * Math.sin(i / 9); input.dispatchEvent(new Event("input"));
        if (i === moves) { clearInterval(timer); last = performance.now(); const seen = Number(root.dataset.decodes);
            const wait = () => Number(root.dataset.decodes) > seen ? done([performance.now() - last, Number(root.dataset.decodes) - before]) : requestAnimationFrame(wait); wait() } }, 1000 / 60) })"""
DECODE = """async ([network, weights, latents]) => { const run = await makeNetwork(network, bytesOf(weights)), times = []; let last;
    for (const z of latents) { const start = performance.now(); last = run(z); times.push(performance.now() - start) } return [times, [...last]] }"""


def first_and_moves(chrome, address):
    "Milliseconds from the first touch to the first picture, with nothing cached; then from the last of many moves to its picture, and how many were decoded."
    context = chrome.new_context()
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".vae-explorer")
    first = page.evaluate(FIRST)
    lag, decoded = page.evaluate(MOVE, MOVES)
    context.close()
    return first, lag, decoded


def decode_times(chrome, model):
    "Milliseconds of every decoding, and the largest difference of a pixel from PyTorch."
    page, network, z = (
        chrome.new_page(),
        browser_decoder(model),
        torch.randn(DECODES, model.latent_dim),
    )
    page.set_content(f"<script>{engine()}</script>")
    times, last = page.evaluate(
        DECODE, [network.spec, base64.b64encode(network.weights).decode(), z.tolist()]
    )
    page.close()
    with evaluating(model):
        return sorted(times), (
            torch.tensor(last) - model.decode(z[-1:]).mean.flatten()
        ).abs().max().item()


def measure(chrome, model):
    "One row of the table."
    explorer = LatentExplorer(model)
    with tempfile.TemporaryDirectory() as folder:
        page = explorer.to_html(Path(folder, "index.html"), beside=True)
        with served(folder) as address:
            firsts, lags, decoded = zip(
                *(first_and_moves(chrome, address) for _ in range(ROUNDS))
            )
        weights = next(Path(folder, "assets/explorers").iterdir()).stat().st_size
        times, error = decode_times(chrome, model)
        return {
            "page before a touch, kB": f"{page.stat().st_size / 1e3:.0f}",
            "weights, MB": f"{weights / 1e6:.2f}",
            "first picture, ms (median, worst)": f"{statistics.median(firsts):.0f}, {max(firsts):.0f}",
            "decode, ms (median, p95)": f"{statistics.median(times):.1f}, {times[int(0.95 * len(times))]:.1f}",
            "last picture, ms (worst)": f"{max(lags):.0f}",
            "moves decoded": f"{min(decoded)} to {max(decoded)}",
            "largest error": f"{error:.0e}",
        }


def main():
    if not chromium():
        raise SystemExit(
            "No Chromium here: apt-get install chromium to measure the explorers."
        )
    torch.set_num_threads(1)
    seed_everything(0)
    with browser() as chrome:
        rows = [
            {"decoder": name} | measure(chrome, build())
            for name, build in MODELS.items()
        ]
        version = chrome.version
    write(
        "explorers",
        "Explorers in the browser",
        rows,
        f"Headless Chromium {version}, {ROUNDS} fresh browser contexts a row, pages and weights served on the same machine; {DECODES} decodings. "
        "Moves come 60 times a second, 180 of them; the last picture is the wait for it after the last move. The first picture includes fetching the weights, checking them and starting WebAssembly. "
        "The largest error is that of a pixel in [0, 1] against PyTorch in single precision, weights untrained.",
    )
