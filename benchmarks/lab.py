"""The lab in headless Chromium, which trains a VAE in the page, beside the same network in a PyTorch loop; and the lab's still picture."""

import base64
import io
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from book.browser import browser, chromium
from vae_nb.data import load
from vae_nb.explore import Lab
from vae_nb.explore.widgets import ASSETS

from .record import write

SECONDS, ROUNDS, HELD = (5, 20), 3, 200
COLOURS = "#0173b2 #de8f05 #029e73 #d55e00 #cc78bc #ca9161 #fbafe4 #949494 #ece133 #56b4e9".split()
# The worker's messages, kept where this program can read them.
SPY = """(() => { const Plain = Worker; window.Worker = class extends Plain { constructor(...given) { super(...given);
    this.addEventListener("message", ({ data }) => { if (data.state) { window.lab = data.state; if (data.state.step) window.labFirst ??= performance.now() - window.labStart } }) } } })()"""
START = "() => { window.labStart = performance.now(); document.querySelector('.vae-lab button').click() }"
STATE = "() => ({ step: lab.step, images: lab.latest.images, held: lab.latest.held.recon + lab.latest.held.kl, first: labFirst })"
FRAMES = "(seconds) => new Promise((done) => { let n = 0; const start = performance.now(); const next = () => { n++; const spent = performance.now() - start; spent > 1000 * seconds ? done(n / spent * 1000) : requestAnimationFrame(next) }; next() })"
STILL = "() => ({ map: lab.map.map((axis) => [...axis]), labels: [...lab.labels], grid: [...lab.grid] })"


# What the command line of a process has that shows pages, in Chromium, Firefox and WebKitGTK.
SHOWS_PAGES = (b"--type=renderer", b"-contentproc", b"WebKitWebProcess")


def page_processes():
    "Folders in /proc of every process of this session's browsers that shows pages: the worker, the page, and painting."
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        children.setdefault(parent, []).append((path.parent, command))
    waiting = children.get(os.getpid(), [])
    while waiting:
        folder, command = waiting.pop()
        waiting += children.get(int(folder.name), [])
        if any(sign in command for sign in SHOWS_PAGES):
            yield folder


def spent(stat):
    "Name and processor seconds of a process or a thread, from its file in /proc."
    try:
        name, _, fields = stat.read_text().partition("(")[2].rpartition(")")
    except OSError:  # it has ended
        return "", 0.0
    return name, sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")


def processor_seconds():
    "What those processes have used."
    return sum(spent(folder / "stat")[1] for folder in page_processes())


def trained_in_the_page(chrome, address):
    "Rows of one run: what was reached after some seconds, of wall clock and of the renderer."
    context = chrome.new_context(viewport={"width": 900, "height": 1300})
    context.add_init_script(SPY)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".vae-lab")
    before, began, marks = processor_seconds(), time.perf_counter(), {}
    page.evaluate(START)
    page.wait_for_function("window.lab && lab.step > 0", timeout=60_000)
    while len(marks) < 2 * len(SECONDS):
        page.wait_for_timeout(50)
        wall, used = time.perf_counter() - began, processor_seconds() - before
        for seconds in SECONDS:
            for clock, spent in (("wall", wall), ("processor", used)):
                if spent >= seconds and (clock, seconds) not in marks:
                    marks[clock, seconds] = page.evaluate(STATE) | {"spent": spent}
    still = page.evaluate(STILL) | {"frames": page.evaluate(FRAMES, 3)}
    context.close()
    return marks, still


def digits():
    "The lab's digits in its order: what is trained on, and what is held out."
    parts = [load("digits", split=s).floats() for s in ("train", "valid", "test")]
    x = torch.cat(parts)
    return x[:-HELD], x[-HELD:]


def trained_in_torch():
    "The textbook's loop for the same network, images and optimiser: what it reached after some processor seconds."
    torch.manual_seed(0)
    train, held = (x.flatten(1) for x in digits())
    encoder = nn.Sequential(nn.Linear(784, 200), nn.SiLU(), nn.Linear(200, 4))
    decoder = nn.Sequential(nn.Linear(2, 200), nn.SiLU(), nn.Linear(200, 784))
    for layer in (encoder[0], decoder[0]):
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        decoder[2].bias.copy_(train.mean(0).clamp(1e-3, 1 - 1e-3).logit())
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)

    def loss(x, noise):
        mu, logvar = encoder(x).chunk(2, -1)
        logits = decoder(mu + (logvar / 2).exp() * noise)
        recon = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (recon + 0.5 * (mu**2 + logvar.expm1() - logvar).sum()) / len(x)

    fixed, marks, images = torch.randn(HELD, 2), {}, 0
    began = time.process_time()
    while len(marks) < len(SECONDS):
        for rows in torch.randperm(len(train)).split(64)[:-1]:
            adam.zero_grad()
            loss(train[rows], torch.randn(len(rows), 2)).backward()
            adam.step()
            images += len(rows)
        spent = time.process_time() - began
        for seconds in SECONDS:
            if spent >= seconds and seconds not in marks:
                with torch.no_grad():
                    value = loss(held, fixed).item()
                marks[seconds] = {"images": images, "held": value, "spent": spent}
    return marks


def still_picture(state, tiles=6, side=168):
    "The lab after twenty seconds, as a drawing of few bytes: the map in dots, the tiles in six greys."
    grid = torch.tensor(state["grid"]).reshape(11, 11, 28, 28)
    chosen = torch.linspace(0, 10, tiles).round().long()
    flat = grid[chosen][:, chosen].permute(0, 2, 1, 3).reshape(28 * tiles, 28 * tiles)
    buffer = io.BytesIO()
    greys = Image.fromarray((flat * 255).byte().numpy()).quantize(6)
    greys.save(buffer, "PNG", optimize=True)
    png = base64.b64encode(buffer.getvalue()).decode()
    place = lambda value: round(side / 2 * (1 + value / 3.6))
    dots = {}
    for x, y, label in zip(*state["map"], state["labels"]):
        dots.setdefault(label, []).append(f"M{place(x)} {place(-y)}h0")
    paths = "".join(
        f"<path stroke='{COLOURS[k]}' d='{''.join(some[:22])}'/>"
        for k, some in sorted(dots.items())
    )
    rings = "".join(
        f"<circle cx='{side // 2}' cy='{side // 2}' r='{side / 2 * r / 3.6:.0f}'/>"
        for r in (1, 2, 3)
    )
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {2 * side + 12} {side}' width='{4 * side + 24}'>"
        f"<rect width='{side}' height='{side}' fill='white'/><g fill='none' stroke='gray' stroke-width='.5' stroke-dasharray='3 2'>{rings}</g>"
        f"<g fill='none' stroke-width='2.6' stroke-linecap='round'>{paths}</g>"
        f"<image x='{side + 12}' width='{side}' height='{side}' style='image-rendering:pixelated' href='data:image/png;base64,{png}'/></svg>\n"
    )


def row(name, marks, clock):
    "What one way reached: medians over the rounds."
    middle = lambda pick: statistics.median(map(pick, marks))
    last = SECONDS[-1]
    return {
        "784-200-2, batches of 64": name,
        "images per second": f"{middle(lambda m: m[clock, last]['images'] / m[clock, last]['spent']):,.0f}",
        **{
            f"−ELBO after {s} s": f"{middle(lambda m: m[clock, s]['held']):.1f}"
            for s in SECONDS
        },
    }


def main():
    if not chromium():
        raise SystemExit("No Chromium here: apt-get install chromium to measure.")
    torch.set_num_threads(1)
    pages, loops, painted = [], [], []
    with tempfile.TemporaryDirectory() as folder, browser() as chrome:
        address = Lab().to_html(Path(folder, "lab.html")).as_uri()
        for _ in range(ROUNDS):
            marks, still = trained_in_the_page(chrome, address)
            pages.append(marks)
            painted.append(still["frames"])
            loops.append({("processor", s): m for s, m in trained_in_torch().items()})
        version = chrome.version
    (ASSETS / "lab.svg").write_text(still_picture(still))
    frames = statistics.median(painted)
    many = f"medians of {ROUNDS} runs, a PyTorch run after each"
    runs = many if ROUNDS > 1 else "one run, and a PyTorch run after it"
    first = statistics.median(m["wall", SECONDS[0]]["first"] for m in pages)
    write(
        "lab",
        "A VAE that is trained in the page",
        [
            row("the lab, seconds of the page's process", pages, "processor"),
            row("the lab, seconds of the clock", pages, "wall"),
            row("PyTorch, a plain loop, processor seconds", loops, "processor"),
        ],
        f"Headless Chromium {version}, {runs}. One thread each; the seconds of the page's process contain all that it paints and the held-out images, on which it is judged "
        f"with every picture. −ELBO in nats per image on {HELD} held-out digits, after training on 1,597. From the click to the first picture of a training map: {first:.0f} ms; frames a second that the page paints while it trains: {frames:.0f}. The machine was shared: "
        "the seconds of the clock depend on its other work, of which the load below tells.",
    )
