"""The recipe that sorts MNIST without labels, unchanged, on pictures it was not made for; k-means on raw pixels beside it. Three seeds each.

Nothing was chosen here: objective, weights, schedule and alterations are those of `joint_mnist`, whatever the pictures. The seeds were not used before. Test labels are read once, here.
"""

import math
import os
import statistics
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from sklearn.cluster import KMeans

from vae_nb.augment import jitter
from vae_nb.core import evaluating, seed_everything
from vae_nb.data import load
from vae_nb.evaluate import cluster_accuracy, encode_all
from vae_nb.evaluate.codes import pair_information
from vae_nb.faces import FACTORS
from vae_nb.joint import category_of, joint_vae
from vae_nb.train import fit

from .joint_mnist import BATCH, OBJECTIVES, STEPS
from .record import write

SEEDS = (431, 432, 433)
RECIPE = "β = 1, balance, consistency"
HAIR = FACTORS["hair_style"].names
SETS = {
    "mnist": ("MNIST: ten digits", 10),
    "cifar10": ("CIFAR-10 in grey: ten kinds of animals and vehicles", 10),
    "faces": (f"drawn faces in grey: {len(HAIR)} hair styles", len(HAIR)),
}


def grey(name, split, n=None):
    "A set as the recipe's network takes it: grey, 28 × 28, with labels."
    images = load(name, split, n=n)
    if name == "faces":
        columns = [
            images.attributes[:, images.attribute_names.index(f"hair_style={style}")]
            for style in HAIR
        ]
        images = replace(images, labels=torch.stack(columns, 1).argmax(1), classes=HAIR)
    images = images.resized(28) if images.shape[1:] != (28, 28) else images
    return replace(
        images, pixels=images.pixels.float().mean(1, keepdim=True).round().byte()
    )


def agreement(model, x):
    "Share of log K that the categories of pictures and of their altered copies know of each other: a score without labels."
    with evaluating(model):
        q, other = (
            model.encode(images)
            for images in (x, jitter(x, generator=torch.Generator().manual_seed(0)))
        )
        return pair_information(q, other) / math.log(q.parts[-1].probs.shape[-1])


def one(name, seed, train, test):
    "Train once; accuracy of the recipe and of k-means on the test labels."
    seed_everything(seed)
    classes = SETS[name][1]
    model = joint_vae(
        (1, 28, 28), continuous=10, categorical=(classes,), hidden=(500, 500)
    )
    epochs = round(STEPS / math.ceil(len(train) / BATCH))
    history = fit(
        model,
        train,
        epochs=epochs,
        batch_size=BATCH,
        lr=2e-3,
        seed=seed,
        training_loss=OBJECTIVES[RECIPE](model),
        progress=False,
    )
    means = KMeans(classes, n_init=3, random_state=seed).fit(
        train.floats().flatten(1).numpy()
    )
    clusters = {
        "recipe": category_of(model, encode_all(model, test)),
        "k-means": torch.from_numpy(
            means.predict(test.floats().flatten(1).numpy())
        ).long(),
    }
    return {
        "name": name,
        "agreement": agreement(model, test.floats()[:5000]),
        "seconds": history.info["train_cpu_seconds"],
    } | {
        way: cluster_accuracy(found, test.labels)[0] for way, found in clusters.items()
    }


def row(runs):
    "A row of the table."
    spread = lambda way: (
        f"{100 * statistics.mean(r[way] for r in runs):.1f}"
        + (
            f" ± {100 * statistics.stdev(r[way] for r in runs):.1f}"
            if len(runs) > 1
            else ""
        )
    )
    label, classes = SETS[runs[0]["name"]]
    return {
        "pictures and classes": label,
        "the recipe, %": spread("recipe"),
        "k-means on pixels, %": spread("k-means"),
        "guessing, %": f"{100 / classes:.0f}",
        "agreement under the alterations, %": spread("agreement"),
        "CPU-s a run": f"{statistics.mean(r['seconds'] for r in runs):.0f}",
    }


def main():
    torch.set_num_threads(1)
    rows = []
    for name in SETS:
        train, test = grey(name, "train", 20_000), grey(name, "test")
        runs = [one(name, seed, train, test) for seed in SEEDS]
        print(*runs, sep="\n", flush=True)
        rows.append(row(runs))
    write(
        "joint_elsewhere",
        "The recipe that sorts MNIST, on other pictures",
        rows,
        f"Unsupervised accuracy on all test pictures, mean ± s.d. of seeds {', '.join(map(str, SEEDS))}; up to 20,000 training pictures, grey, 28 × 28, {STEPS:,} steps. "
        "Objective, weights, schedule and alterations are MNIST's, nothing was tuned. Agreement: what the categories of pictures and of their altered copies know of each other, as a share of log K; it needs no labels.",
    )
