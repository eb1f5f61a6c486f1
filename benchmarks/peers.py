"""What a training epoch costs beside the peers': the same network and the same images, alternating epochs; one thread by processor time, two by the wall clock.

pythae and Lightning run in environments of their own, made in _build/peers on first use from the pinned lists benchmarks/beside/*.txt (the same
PyTorch as here). scikit-learn has no variational autoencoder, so it has no row. `ROUNDS=2` measures less often, `THREADS=2`
with that many threads only.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch

from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.train import fit
from vae_nb.vae import mlp_vae

from .beside.nets import clock
from .record import write

ROUNDS, BATCH, LR = int(os.environ.get("ROUNDS", 7)), 128, 1e-3
THREADS = [int(n) for n in os.environ.get("THREADS", "1,2").split(",")]
HERE, BUILD = Path(__file__).parent / "beside", Path("_build/peers").absolute()
DEFAULTS = {
    "batch": BATCH,
    "lr": LR,
    "epochs": 1,
    "marks": [],
    "folder": None,
    "seed": 0,
}
PEERS = {
    "textbook": "textbook loop",
    "lightning": "Lightning",
    "pythae": "pythae's trainer",
}


def environment(name):
    "The interpreter of a peer: this one, or that of the environment made from its pinned list."
    wanted, folder = HERE / f"{name}.txt", BUILD / name
    if not wanted.exists():
        return sys.executable
    python, stamp, uv = (
        folder / "bin/python",
        folder / "installed.txt",
        Path(sys.prefix, "bin/uv"),
    )
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        print(f"making {folder}", flush=True)
        for command in (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder],
            [uv, "pip", "install", "--quiet", "--python", python, "-r", wanted],
        ):
            if subprocess.run(command).returncode:
                raise SystemExit(
                    f"The environment of {name} could not be made from {wanted}: it is downloaded from the package registry once. Nothing was measured."
                )
        stamp.write_text(wanted.read_text())
    return python


@contextmanager
def peer(name, threads=1):
    "A process that trains when it is asked to: a function of the arguments of `run` in beside/run_NAME.py."
    python = environment(name)
    BUILD.mkdir(parents=True, exist_ok=True)
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "OMP_NUM_THREADS": str(threads)
    }
    with open(BUILD / f"{name}.log", "w") as log:
        process = subprocess.Popen(
            [python, HERE / f"run_{name}.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environ,
        )
        try:
            yield lambda images, **given: ask(
                process, log.name, DEFAULTS | {"images": str(images)} | given
            )
        finally:
            process.stdin.close()
            process.wait()


def ask(process, log, request):
    "Send one request and wait for the answer."
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())
    except (BrokenPipeError, json.JSONDecodeError):
        raise SystemExit(f"A peer has stopped; its log is {log}") from None


def ours(images, **settings):
    "Seconds of one epoch of `fit`, from its beginning to its end, as for the peers."
    shape, marks = images.shape, []
    model = (
        mlp_vae(shape, latent_dim=20, hidden=(400,), activation="relu")
        if shape[0] == 1
        else conv_vae(shape, sigma=1.0)
    )
    fit(
        model,
        images,
        epochs=1,
        progress=False,
        callbacks=[lambda model, row: marks.append(clock())],
        **settings,
    )
    return marks[1] - marks[0]


def saved(images, name):
    "The pixels as a file for the peers."
    path = BUILD / f"{name}.npy"
    np.save(path, images.pixels.numpy())
    return path


def measure(images, name, peers):
    "Way → seconds of an epoch, one figure a round; the first round of each is not counted."
    path = saved(images, name.replace(" ", "-"))
    ways = {PEERS[peer]: lambda ask=ask: ask(path) for peer, ask in peers.items()}
    ways |= {
        "fit, float32, constant rate": lambda: ours(
            images, batch_size=BATCH, lr=LR, schedule="constant", precision="float32"
        ),
        "fit, float32, its own batch of 256": lambda: ours(images, precision="float32"),
        "fit, its defaults": lambda: ours(images),
    }
    seconds = {way: [] for way in ways}
    for _ in range(ROUNDS + 1):
        for way, epoch in ways.items():
            seconds[way].append(epoch())
    print(
        name,
        {way: [round(v, 2) for v in values] for way, values in seconds.items()},
        flush=True,
    )
    return {way: values[1:] for way, values in seconds.items()}


def table(name, n, seconds, unit):
    "The rows of one network."
    median = {way: statistics.median(values) for way, values in seconds.items()}
    times = lambda base, way: f"{median[PEERS[base]] / median[way]:.2f}"
    return [
        {
            "network": name,
            "loop": way,
            f"images per {unit}": f"{n / median[way]:,.0f}",
            "spread": f"{n / max(values):,.0f} to {n / min(values):,.0f}",
            "times the textbook loop": times("textbook", way),
            "times pythae's trainer": times("pythae", way),
        }
        for way, values in seconds.items()
    ]


def publish(found, threads):
    "Write the tables of one number of threads; `found`: network → number of images, and seconds of every way."
    lists = [
        (HERE / f"{name}.txt").read_text().split() for name in ("lightning", "pythae")
    ]
    versions = ", ".join(
        line
        for name, lines in zip(("lightning", "pythae"), lists)
        for line in lines
        if line.startswith(f"{name}==")
    )
    digits, faces = (
        f"{found['MLP'][0]:,} MNIST digits",
        f"{found['conv 64'][0]:,} drawn faces of 32 × 32 and 64 × 64",
    )
    unit, clock = (
        ("CPU-second", "CPU-seconds")
        if threads == 1
        else ("second", "by the wall clock")
    )
    note = (
        f"Medians of {ROUNDS} alternating epochs, {clock}; {versions}. Float32, batch {BATCH}, Adam at a constant rate, unless said; the defaults of fit are batch 256, one cycle, "
        "and bfloat16 where it is faster. The textbook loop and Lightning read PIL images one by one, pythae a float tensor, fit uint8 images in batches."
    )
    rows = {name: table(name, *one, unit) for name, one in found.items()}
    if threads > 1:
        write(
            "peers_threads",
            f"The same networks with {threads} threads, by the wall clock",
            sum(rows.values(), []),
            f"{digits}; {faces}. {note}",
            benchmark="peers",
        )
        return
    mlp = [
        {column: value for column, value in row.items() if column != "network"}
        for row in rows.pop("MLP")
    ]  # it has a table of its own
    write(
        "peers",
        "A training epoch of 784-400-20-400-784 beside the peers', one thread",
        mlp,
        f"{digits}. {note}",
    )
    write(
        "peers_conv",
        "The same for convolutional networks, 3-32-64-128-256 with 128 latents",
        sum(rows.values(), []),
        f"{faces}. {note}",
        benchmark="peers",
    )


def main():
    faces = load("faces", n=512)
    sets = {
        "MLP": load("mnist", n=10_000),
        "conv 32": faces.resized(32),
        "conv 64": faces,
    }
    for threads in THREADS:
        torch.set_num_threads(threads)
        seed_everything(0)
        with ExitStack() as stack:
            peers = {name: stack.enter_context(peer(name, threads)) for name in PEERS}
            publish(
                {
                    name: (len(images), measure(images, name, peers))
                    for name, images in sets.items()
                },
                threads,
            )
    torch.set_num_threads(1)  # as other benchmarks have it
