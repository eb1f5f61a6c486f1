"""How far does another training seed move the score of an edit? CelebA at 32 pixels, one judge, the same images, five trainings of the VAE.

The interval beside a share of flips covers the choice of images alone. This table sets the spread over trainings beside it. Validation images serve: nothing is chosen here, and no test image is read.
"""

import os
import statistics

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.evaluate import encode_all
from vae_nb.latent import attribute_classifier, attribute_direction, score_edits
from vae_nb.train import fit

from .edits import CELEBA, PART_OF_A_SMILE
from .record import write

SEEDS = (441, 442, 443, 444, 445)
SIZE, N, EPOCHS, STRENGTH = 32, 6000, 10, 2.0
NAMES = ("Smiling", "Eyeglasses")


def one(seed, train, held_out, judge):
    "Flips of both edits, others held fixed, by one training of the VAE."
    seed_everything(seed)
    model = conv_vae(train.shape, latent_dim=64, channels=(16, 32, 64))
    fit(model, train, epochs=EPOCHS, batch_size=64, lr=4e-3, seed=seed, progress=False)
    model.eval()
    z, others = (
        encode_all(model, train),
        lambda name: tuple(n for n in CELEBA if n != name and n not in PART_OF_A_SMILE),
    )
    found = {
        name: attribute_direction(model, train, name, controls=others(name), z=z)
        for name in NAMES
    }
    return (
        score_edits(model, judge, held_out, found, (STRENGTH,), NAMES)
        .set_index("direction")
        .to_dict("index")
    )


def table(runs):
    "One row an attribute."
    rows = []
    for name in NAMES:
        flips = [100 * r[name]["flips"] for r in runs]
        half = statistics.mean(50 * (r[name]["to"] - r[name]["from"]) for r in runs)
        rows.append(
            {
                "edit": name,
                "flips in each training, %": ", ".join(f"{f:.1f}" for f in flips),
                "mean, %": f"{statistics.mean(flips):.1f}",
                "s.d. over trainings, points": f"{statistics.stdev(flips):.1f}",
                "from lowest to highest, points": f"{max(flips) - min(flips):.1f}",
                "half of the 95 % interval over images, points": f"{half:.1f}",
                "n": f"{min(r[name]['n'] for r in runs)}–{max(r[name]['n'] for r in runs)}",
            }
        )
    return rows


def main():
    torch.set_num_threads(1)
    train, held_out = (
        load("celeba", n=N, size=SIZE),
        load("celeba", "valid", n=2000, size=SIZE),
    )
    judge = attribute_classifier(
        train, CELEBA, epochs=6, mirror=True, seed=SEEDS[0] + 100, progress=False
    )
    runs = []
    for seed in SEEDS:
        runs.append(one(seed, train, held_out, judge))
        print(seed, runs[-1], flush=True)
    write(
        "edits_seeds",
        "The same edit after five trainings",
        table(runs),
        f"CelebA at {SIZE} × {SIZE} pixels, {N:,} photographs, {EPOCHS} epochs, seeds {', '.join(map(str, SEEDS))}; others held fixed, strength {STRENGTH:g}; one judge and the same validation images throughout.",
    )
