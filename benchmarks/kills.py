"""A run killed with SIGKILL again and again, at random moments, and continued each time: does it end with the bits of the undisturbed one?"""

import multiprocessing
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import tempfile
import threading
import time
from pathlib import Path

import torch
from tqdm import tqdm

from vae_nb.conv import conv_vae
from vae_nb.core import load_tensors
from vae_nb.data import load
from vae_nb.train import fit
from vae_nb.train.checkpoint import CHECKPOINT

from .record import write

KILLS, LONGEST, EPOCHS = 50, 1.0, 130


def live(run, seconds):
    "Call `run` in a process of its own, and kill that with SIGKILL after so many seconds. Returns whether it was still running."

    def alone():
        tqdm.set_lock(
            threading.RLock()
        )  # the usual one is shared: a process that is killed inside would lock us out
        run()

    process = multiprocessing.get_context("fork").Process(target=alone)
    process.start()
    time.sleep(seconds)
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


def make():
    "Dropout, batch normalisation and validation: noise, buffers and the best weights are part of the state."
    torch.manual_seed(1)
    return conv_vae((1, 28, 28), latent_dim=3, channels=(4, 8), dropout=0.2)


def main():
    torch.set_num_threads(1)
    digits, rng = load("digits"), random.Random(0)
    settings = dict(
        epochs=EPOCHS, batch_size=32, precision="float32", progress=False, seed=5
    )
    undisturbed, steps, killed, torn = make(), [], 0, set()
    expected = fit(undisturbed, digits[:200], digits[200:260], **settings)
    with tempfile.TemporaryDirectory() as folder:
        again = lambda: fit(
            make(),
            digits[:200],
            digits[200:260],
            checkpoint=folder,
            resume=True,
            checkpoint_seconds=0,
            **settings,
        )
        for _ in range(KILLS):
            killed += live(again, rng.uniform(0, LONGEST))
            torn |= set(Path(folder).rglob("*.partial"))
            path = Path(folder, CHECKPOINT)
            steps.append(
                load_tensors(path, "at")[1]["at"]["step"] if path.exists() else 0
            )
            print(f"kill {len(steps)}: at step {steps[-1]}", flush=True)
        model = make()
        history = fit(
            model,
            digits[:200],
            digits[200:260],
            checkpoint=folder,
            resume=True,
            **settings,
        )
    same = all(
        a.equal(b)
        for a, b in zip(
            model.state_dict().values(), undisturbed.state_dict().values(), strict=True
        )
    )
    curve = lambda h: [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in h.rows
    ]
    row = {
        "kills": f"{killed} of {KILLS}",
        "in the middle of a save": len(torn),
        "lives without progress": sum(a == b for a, b in zip([0, *steps], steps)),
        "step of the last kill": f"{steps[-1]:,} of {history.info['steps']:,}",
        "folders that could not be continued": 0,
        "weights": "the same bits" if same else "DIFFERENT",
        "history": "the same" if curve(history) == curve(expected) else "DIFFERENT",
    }
    print(row)
    write(
        "kills",
        f"One run, killed {KILLS} times",
        [row],
        f"A small convolutional VAE with dropout and batch normalisation on the embedded digits, float32, one thread, `checkpoint_seconds=0`: saved after every step. "
        f"SIGKILL 0 to {LONGEST} s after the start of each process, uniformly; a folder that cannot be continued would end the benchmark with an error.",
    )
