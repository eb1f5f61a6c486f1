"""Throughput of two processes beside that of one, alternating, and whether their loss curves are one curve."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time

import torch
import torch.distributed as dist

from vae_nb.conv import conv_vae
from vae_nb.data import load
from vae_nb.train import fit, launch
from vae_nb.vae import mlp_vae

from .record import write

ROUNDS = 5
MODELS = {
    "MLP 784-400-20": (
        lambda: mlp_vae((1, 28, 28), latent_dim=20, hidden=(400,)),
        lambda: load("mnist", n=12_800),
        256,
    ),
    "the same": (
        lambda: mlp_vae((1, 28, 28), latent_dim=20, hidden=(400,)),
        lambda: load("mnist", n=12_288),
        2048,
    ),
    "convolutional, 64×64 faces": (
        lambda: conv_vae((3, 64, 64), latent_dim=64, channels=(32, 64, 128)),
        lambda: load("faces", n=256),
        64,
    ),
}


def train(make, data, batch_size):
    "Images per second of an epoch by the clock, and the processor seconds of all processes, after a short epoch to get warm."
    model = make()
    fit(
        model,
        data[: 2 * batch_size],
        epochs=1,
        batch_size=batch_size,
        precision="float32",
        progress=False,
    )
    start, before = time.perf_counter(), time.process_time()
    fit(
        model,
        data,
        epochs=1,
        batch_size=batch_size,
        precision="float32",
        progress=False,
    )
    wall, cpu = (
        time.perf_counter() - start,
        torch.tensor([time.process_time() - before], dtype=torch.float64),
    )
    if dist.is_initialized():
        dist.all_reduce(cpu)
    return len(data) / wall, cpu.item()


def curve():
    "100 steps of an autoencoder, which draws no noise, in double precision: the loss after each epoch of four steps."
    torch.manual_seed(0)
    model = mlp_vae((1, 28, 28), latent_dim=10, hidden=(100,), variational=False)
    model = model.double()
    images = load("digits").floats().double()
    history = fit(
        model,
        images[:1000],
        images[1000:1300],
        epochs=25,
        precision="float32",
        progress=False,
    )
    return [row[name] for row in history.rows for name in ("train_loss", "valid_loss")]


def main():
    torch.set_num_threads(1)
    rows = []
    fit(
        mlp_vae((1, 28, 28)), load("digits", n=64), epochs=1, progress=False
    )  # what PyTorch imports at its first step is there for all
    for name, (make, get, batch_size) in MODELS.items():
        data, speeds = get(), {1: [], 2: []}
        for _ in range(ROUNDS):
            for n in speeds:
                speeds[n].append(launch(train, make, data, batch_size, processes=n))
        print(name, speeds, flush=True)
        (one, cpu_one), (two, cpu_two) = (
            [statistics.median(column) for column in zip(*values)]
            for values in speeds.values()
        )
        rows.append(
            {
                "model": name,
                "batch": batch_size,
                "one process, images/s": f"{one:,.0f}",
                "two": f"{two:,.0f}",
                "ratio": f"{two / one:.2f}",
                "processor time of two, ratio": f"{cpu_two / cpu_one:.2f}",
            }
        )
    alone, both = launch(curve, processes=1), launch(curve, processes=2)
    apart = max(abs(a - b) / abs(a) for a, b in zip(alone, both, strict=True))
    print(apart)
    write(
        "processes",
        "Two processes on two cores",
        rows,
        f"`fit`, float32, one thread a process, the same batch shared out; medians of {ROUNDS} alternating epochs. The first ratio is by the clock, at best 2, and "
        f"means little when others use the machine; the second counts the processor time of both processes against that of one, at best 1. Over 100 steps of an autoencoder, which draws no noise, in double precision, the "
        f"largest relative difference between the loss curves of one and of two processes is {apart:.0e}.",
    )
