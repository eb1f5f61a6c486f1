"""The ELBO is not the likelihood: the bound on −log p(x) of the chapter-2 model on MNIST's test digits, from 1 to 5,000 importance samples.

The network is that of chapter 2 (784-400-400-20, SiLU), trained as there on dynamically binarised digits, for 60 epochs.
Nothing is chosen here, so validation digits are not used; the test digits, binarised once, are read once, with a seed that no choice has seen.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.evaluate import active_units, nll_by_k
from vae_nb.train import fit
from vae_nb.vae import mlp_vae

from .record import write

EPOCHS, SEED, KS = 60, 103, (1, 10, 100, 1000, 5000)


def main():
    torch.set_num_threads(1)
    n = int(os.environ.get("N_TEST", 10_000))
    images = load("mnist").binarised("dynamic")
    seed_everything(SEED)
    model = mlp_vae(images.shape, latent_dim=20, hidden=(400, 400))
    history = fit(
        model, images, epochs=int(os.environ.get("EPOCHS", EPOCHS)), lr=4e-3, seed=SEED
    )
    print(history.info, flush=True)
    test = load("mnist", split="test").binarised("fixed")[:n]
    bounds = nll_by_k(model, test, KS, seed=SEED)
    active = int(active_units(model, test).sum())
    rows = [
        {
            "k": f"{k:,}",
            "NLL bound, nats": f"{mean:.2f}",
            "standard error": f"{error:.2f}",
            "below −ELBO": f"{bounds[1][0] - mean:.2f}",
        }
        for k, (mean, error) in bounds.items()
    ]
    print(rows)
    if n == 10_000:
        write(
            "nll",
            "The bound on −log p(x) as the number of importance samples grows",
            rows,
            f"All {n:,} MNIST test digits, binarised once; 784-400-400-20, {history.info['epochs']} epochs on 50,000 digits ({history.info['train_cpu_seconds']:.0f} CPU-seconds), "
            f"{active} of 20 latents active, seed {SEED}. Every k uses the same 5,000 samples per digit, in groups of k. Standard errors are over digits; "
            "the digits are the same in every row, so differences between rows are far surer than that.",
        )
