"""How the cost of training grows with batch, image, latents and data; what loading costs; and whether a set larger than memory would hold trains from its map. One thread.

`PARTS=growth`, `PARTS=loading` or `PARTS=resident` measures one of the three tables.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.data import Images, load
from vae_nb.data.decoded import read_decoded
from vae_nb.train import fit
from vae_nb.train.run import make_optimiser
from vae_nb.vae import mlp_vae

from .conv_peak import seconds
from .record import write

ROUNDS = int(os.environ.get("ROUNDS", 5))
CELEBA = (202_599, 3, 64, 64)  # images, channels, height, width
RESIDENT_STEPS, RESIDENT_BATCH, PICTURES = 100, 128, 2000


def step(model, x):
    "A call that takes one training step on x, in float32."
    optimiser, _ = make_optimiser(model, 1e-3, 1000, "constant", (0.9, 0.99), 0.0)

    def take():
        loss = model.loss(x)["loss"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return take


def mlp_step(batch=256, latent_dim=20):
    "A step of 784-400-z-400-784."
    return step(mlp_vae((1, 28, 28), latent_dim, (400,)), torch.rand(batch, 1, 28, 28))


def conv_step(batch=32, side=64, latent_dim=128):
    "A step of the convolutional network with three halvings, as many for every size."
    return step(
        conv_vae((3, side, side), latent_dim, (32, 64, 128)),
        torch.rand(batch, 3, side, side),
    )


def epoch(n, digits):
    "One epoch of `fit` over n digits."
    return lambda: fit(
        mlp_vae((1, 28, 28), 20, (400,)),
        digits[:n],
        epochs=1,
        precision="float32",
        progress=False,
    )


def growth(digits):
    "What grows → (unit of the amount, amount → call). Cost should be no more than proportional to the amount."
    return {
        "batch, 784-400-20": (
            "images",
            {n: mlp_step(batch=n) for n in (64, 128, 256, 512, 1024)},
        ),
        "batch, convolutional 64 × 64": (
            "images",
            {n: conv_step(batch=n) for n in (16, 32, 64, 128)},
        ),
        "image, convolutional, batch 32": (
            "pixels",
            {side**2: conv_step(side=side) for side in (32, 64, 96, 128)},
        ),
        "latents, 784-400-z, batch 256": (
            "latents",
            {z: mlp_step(latent_dim=z) for z in (2, 20, 200, 800)},
        ),
        "images of an epoch, 784-400-20": (
            "images",
            {n: epoch(n, digits) for n in (6_250, 12_500, 25_000, 50_000)},
        ),
    }


def slope(costs):
    "How many times the cost grows while the amount grows tenfold, as the exponent of a power law: 1 is linear, below is cheaper."
    x, y = np.log([*costs]), np.log([*costs.values()])
    return float(np.polyfit(x, y, 1)[0])


def measure_growth():
    "A table: each sweep with its costs and its exponent."
    rows = []
    for name, (unit, calls) in growth(load("mnist")).items():
        times = {n: [] for n in calls}
        for _ in range(ROUNDS + 1):
            for n, call in calls.items():
                times[n].append(seconds(call))
        costs = {n: statistics.median(values[1:]) for n, values in times.items()}
        first, last = min(costs), max(costs)
        rows.append(
            {
                "what grows": name,
                "from, to": f"{first:,} to {last:,} {unit}",
                "cost, CPU-ms": ", ".join(f"{1000 * c:,.0f}" for c in costs.values()),
                "amount grew": f"{last / first:.1f}×",
                "cost grew": f"{costs[last] / costs[first]:.1f}×",
                "exponent": f"{slope(costs):.2f}",
            }
        )
        print(rows[-1], flush=True)
    write(
        "scaling",
        "How the cost of training grows, one thread, float32",
        rows,
        f"Medians of {ROUNDS} alternating rounds. The exponent is that of a power law fitted to all amounts: 1 is proportional, less is cheaper than that.",
        benchmark="scaling",
    )


def write_pictures(folder):
    "JPEGs of CelebA's size, 178 × 218: drawn faces, enlarged."
    from PIL import Image

    for i, pixels in enumerate(load("faces", n=PICTURES).pixels.numpy()):
        Image.fromarray(pixels.transpose(1, 2, 0)).resize(
            (178, 218), Image.BICUBIC
        ).save(folder / f"{i:05}.jpg", quality=95)


def measure_loading():
    "A table: folders of pictures the first time and from the cache, and the sets of bytes."
    with tempfile.TemporaryDirectory() as scratch:
        folder, before = Path(scratch, "pictures"), os.environ.get("VAE_NB_CACHE")
        folder.mkdir()
        write_pictures(folder)
        every = lambda: [
            load(str(folder), split=split, size=64)
            for split in ("train", "valid", "test")
        ]
        cold, warm = [], []
        try:
            for round_ in range(ROUNDS):
                os.environ["VAE_NB_CACHE"] = str(Path(scratch, f"cache{round_}"))
                cold.append(seconds(every))
                warm.append(seconds(every))
        finally:
            os.environ.pop("VAE_NB_CACHE")
            os.environ.update({"VAE_NB_CACHE": before} if before else {})
    rows = [
        timing(
            f"{PICTURES:,} JPEGs of 178 × 218 to 64 × 64, the first time",
            PICTURES,
            cold,
        ),
        timing("the same, from the cache", PICTURES, warm),
        timing(
            'load("mnist")',
            50_000,
            [seconds(lambda: load("mnist")) for _ in range(ROUNDS)],
        ),
        timing(
            'load("faces", n=2000), drawn',
            2000,
            [seconds(lambda: load("faces", n=2000)) for _ in range(ROUNDS)],
        ),
    ]
    write(
        "loading",
        "Loading, one thread",
        rows,
        f"Medians of {ROUNDS} rounds. The pictures are drawn faces, saved as JPEG; the cache is a file mapped into memory.",
        benchmark="scaling",
    )


def timing(name, n, values):
    "A row."
    median = statistics.median(values)
    row = {
        "what": name,
        "CPU-s": f"{median:.3f}",
        "spread": f"{min(values):.3f} to {max(values):.3f}",
        "images per CPU-second": f"{n / median:,.0f}",
    }
    print(row, flush=True)
    return row


class Done(Exception):
    "Enough steps."


def memory(name):
    "A figure of this process from /proc, GB: VmHWM, the largest resident set; RssAnon, what of it is the process's own."
    return (
        int(
            next(
                line.split()[1]
                for line in open("/proc/self/status")
                if line.startswith(name)
            )
        )
        / 1e6
    )


def train_from(path):
    "Take some training steps on a map, in this process, and print what memory and processor time they took."
    torch.set_num_threads(1)
    pixels, _ = read_decoded(path)
    model, imported, start = (
        conv_vae(tuple(pixels.shape[1:])),
        memory("VmHWM"),
        time.process_time(),
    )

    def loss(model, x, step):
        if step == RESIDENT_STEPS:
            raise Done
        return model.loss(x)

    try:
        fit(
            model,
            Images(pixels, name="mapped"),
            epochs=1,
            batch_size=RESIDENT_BATCH,
            training_loss=loss,
            progress=False,
        )
    except Done:
        pass
    print(
        json.dumps(
            {
                "imported": imported,
                "peak": memory("VmHWM"),
                "own": memory("RssAnon"),
                "seconds": time.process_time() - start,
            }
        )
    )


def synthetic_map(path):
    "A file like those that `load` keeps decoded pictures in, of random bytes."
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, CELEBA)
    random = np.random.default_rng(0)
    for start in range(0, len(pixels), 4096):
        pixels[start : start + 4096] = np.frombuffer(
            random.bytes(pixels[start : start + 4096].size), np.uint8
        ).reshape(-1, *CELEBA[1:])
    pixels.flush()
    with open(path, "ab") as f:
        f.write(b"{}")  # no picture was unreadable


def measure_resident():
    "Peak memory of a process that trains on a set of CelebA's size from its map."
    if not Path("/proc/self/status").exists():
        raise SystemExit(
            "Peak memory is read from /proc, which this system does not have: PARTS=growth,loading measures the rest."
        )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "celeba.npy")
        synthetic_map(path)
        size = path.stat().st_size
        code = "import sys; from benchmarks.scaling import train_from; train_from(sys.argv[1])"
        out = subprocess.run(
            [sys.executable, "-c", code, path],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    found = json.loads(out.splitlines()[-1])
    rows = [
        {
            "images": "202,599 × 64 × 64 × 3",
            "file, GB": f"{size / 1e9:.2f}",
            "steps": f"{RESIDENT_STEPS}, batch {RESIDENT_BATCH}",
            "peak resident, GB": f"{found['peak']:.2f}",
            "of it the process's own, GB": f"{found['own']:.2f}",
            "after imports, GB": f"{found['imported']:.2f}",
            "CPU-s": f"{found['seconds']:.0f}",
        }
    ]
    print(rows, flush=True)
    write(
        "resident",
        "Training on a set of CelebA's size from its memory map",
        rows,
        "A file of random bytes in the format of the cache; `conv_vae` 32-64-128-256 with 128 latents. The peak counts the pages of the map that were touched, and the mean image touches all of them; "
        "they can be dropped at any time, the process's own memory cannot.",
        benchmark="scaling",
    )


def main():
    torch.set_num_threads(1)
    seed_everything(0)
    parts = {
        "growth": measure_growth,
        "loading": measure_loading,
        "resident": measure_resident,
    }
    for part in os.environ.get("PARTS", ",".join(parts)).split(","):
        parts[part]()
