"""What checkpoints cost at the default frequency: the same training with and without, alternating, in processor time."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import tempfile
import time

import torch

from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.train import fit
from vae_nb.train.checkpoint import Checkpoint
from vae_nb.vae import mlp_vae

from .record import write

ROUNDS, EPOCHS, IMAGES = 5, 5, 25_600
saving = []  # (processor seconds, wall seconds) of each save


class Timed:
    "Notes what every save takes while it is active."

    def __enter__(self):
        self.save = save = Checkpoint.save

        def timed(checkpoint, run):
            cpu, wall = time.process_time(), time.perf_counter()
            save(checkpoint, run)
            saving.append((time.process_time() - cpu, time.perf_counter() - wall))

        Checkpoint.save = timed

    def __exit__(self, *error):
        Checkpoint.save = self.save


def train(images, valid, folder=None):
    "Processor seconds and wall seconds of the whole of `fit`."
    model = mlp_vae((1, 28, 28), latent_dim=20, hidden=(400,))
    cpu, wall = time.process_time(), time.perf_counter()
    fit(
        model,
        images,
        valid,
        epochs=EPOCHS,
        precision="float32",
        progress=False,
        checkpoint=folder,
    )
    return time.process_time() - cpu, time.perf_counter() - wall


def main():
    torch.set_num_threads(1)
    seed_everything(0)
    images, valid = load("mnist", n=IMAGES), load("mnist", split="valid", n=2000)
    train(images[:1000], valid[:100])  # imports and kernels are warm
    without, with_saves, counts = [], [], []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder, Timed():
            before = len(saving)
            rounds = [
                lambda: without.append(train(images, valid)),
                lambda: with_saves.append(train(images, valid, folder)),
            ]
            for one in rounds[:: 1 if number % 2 else -1]:
                one()
            counts.append(len(saving) - before)
        print(without[-1], with_saves[-1], counts[-1], flush=True)
    median = lambda runs, which: statistics.median(run[which] for run in runs)
    spread = lambda runs: (
        f"{min(run[0] for run in runs):.2f} to {max(run[0] for run in runs):.2f}"
    )
    cpu, base = median(with_saves, 0), median(without, 0)
    share = sum(save[0] for save in saving) / sum(run[0] for run in with_saves)
    rows = [
        {
            "run": f"{EPOCHS} epochs without checkpoints",
            "CPU-s": f"{base:.2f}",
            "spread": spread(without),
            "ratio": "1.000",
        },
        {
            "run": f"{EPOCHS} epochs with checkpoint=",
            "CPU-s": f"{cpu:.2f}",
            "spread": spread(with_saves),
            "ratio": f"{cpu / base:.3f}",
        },
        {
            "run": "inside of the saves alone",
            "CPU-s": f"{share * cpu:.3f}",
            "spread": "",
            "ratio": f"{share:.4f}",
        },
    ]
    saves = (
        f"{min(counts)} to {max(counts)} saves"
        if min(counts) < max(counts)
        else f"{max(counts)} save" + "s" * (max(counts) != 1)
    )
    print(rows)
    write(
        "checkpoint_cost",
        "What checkpoints cost, `checkpoint_seconds=10`",
        rows,
        f"784-400-20 on {IMAGES:,} MNIST digits, validated every epoch. Medians of {ROUNDS} runs each, alternating; {saves} a run, the one at its end included, "
        f"of {statistics.median(s[0] for s in saving):.3f} CPU-s ({statistics.median(s[1] for s in saving):.3f} s by the clock) each. The last line is measured inside "
        "the runs, and is free of the noise of a busy machine that the ratio of two runs has.",
    )
