"""How far a one-stochastic-layer MLP VAE gets on dynamically binarised MNIST for a given amount of processor time, on one thread.

Settings were chosen on the last 10,000 training digits (`split="valid"`); the test digits are read once, here. CPU-seconds are those of
training alone: loading, validation and evaluation are not counted.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.evaluate import nll
from vae_nb.train import fit
from vae_nb.vae import mlp_vae

from .record import write

# budget in CPU-seconds: network and schedule that fit it
BUDGETS = {
    20: dict(hidden=(200, 200), epochs=10, lr=6e-3),
    60: dict(hidden=(300, 300), epochs=23, lr=6e-3),
    600: dict(hidden=(300, 300), epochs=236, lr=6e-3),
}


def train(budget, seed, images):
    "A model trained within the budget, and its history."
    settings = dict(BUDGETS[budget])
    seed_everything(seed)
    model = mlp_vae((1, 28, 28), latent_dim=50, hidden=settings.pop("hidden"))
    return model, fit(
        model, images, seed=seed, batch_size=256, betas=(0.9, 0.99), **settings
    )


def warm_up():
    "PyTorch imports its compiler when the first optimiser is made: four CPU-seconds that belong to the import, not to training."
    fit(mlp_vae((1, 28, 28)), torch.rand(8, 1, 28, 28), epochs=1, progress=False)


def main():
    torch.set_num_threads(1)
    budgets = [int(b) for b in os.environ.get("BUDGETS", "20,60,600").split(",")]
    split, seed = os.environ.get("SPLIT", "test"), int(os.environ.get("SEED", 101))
    images, rows = load("mnist").binarised("dynamic"), []
    held_out = load("mnist", split=split).binarised("dynamic")
    warm_up()
    for budget in budgets:
        model, history = train(budget, seed, images)
        elbo, elbo_error = nll(model, held_out, k=1, batch_size=1000)
        row = {
            "budget, CPU-s": budget,
            "used, CPU-s": round(history.info["train_cpu_seconds"], 1),
            "net": "784-" + "-".join(map(str, BUDGETS[budget]["hidden"])) + "-50",
            "epochs": BUDGETS[budget]["epochs"],
            "precision": history.info["precision"],
            "seed": seed,
            f"{split} −ELBO": f"{elbo:.2f} ± {elbo_error:.2f}",
            f"{split} NLL (k = 5,000)": "not measured",
        }
        print(row, flush=True)
        if budget >= 600:
            bound, error = nll(
                model,
                held_out if split == "test" else held_out[:1000],
                k=5000 if split == "test" else 500,
            )
            row[f"{split} NLL (k = 5,000)"] = f"{bound:.2f} ± {error:.2f}"
            print(bound, error, flush=True)
        rows.append(row)
    if split == "test":
        write(
            "mnist_budget",
            "MNIST, dynamically binarised: nats per image for a budget of processor time",
            rows,
            "All 10,000 test digits; ± is the standard error over images. −ELBO is estimated with one sample per image.",
        )
