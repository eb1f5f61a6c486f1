"""What published systems report, and what their recipes reach here by the same metric, on one thread.

Settings are the recipes' own, with fewer epochs where that is said; the test digits are read once, here. `PARTS=vanilla,conv,keras` prints some of the rows; `SCALE=3` trains the convolutional
networks three times as long, the Keras example then for as many epochs as its authors.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.recipes import recipe
from vae_nb.train import fit, validate
from vae_nb.vae import mlp_vae

from .record import write

SEED = int(os.environ.get("SEED", 711))
SPLIT = os.environ.get("SPLIT", "test")
ALL = ["vanilla", "keras", "conv"]
PARTS = os.environ.get("PARTS", ",".join(ALL)).split(",")
SCALE = int(
    os.environ.get("SCALE", 1)
)  # of the epochs of the two convolutional networks
EPOCHS = {"autoencoder": 30, "with a KL": 10, "conv": 4 * SCALE, "keras": 10 * SCALE}


def trained(make, images, **settings):
    "A model, its history, and how it was trained, in words."
    seed_everything(SEED)
    model = make()
    history = fit(model, images, seed=SEED, **settings)
    return (
        model.eval(),
        history,
        f"{settings['epochs']} epochs, {history.info['train_cpu_seconds']:.0f} CPU-s",
    )


def squared_error(model, images):
    "Mean squared error of a pixel, reconstructed from the mean of q(z|x)."
    return (
        sum(
            (x - model.reconstruct(x)).square().sum().item()
            for x in images.batches(1000)
        )
        / images.floats().numel()
    )


def nats(terms, prefix=""):
    "Reconstruction and KL, summed up."
    return f"{terms[f'{prefix}recon'] + terms[f'{prefix}kl']:.2f} = {terms[f'{prefix}recon']:.2f} + {terms[f'{prefix}kl']:.2f}"


def vanilla(images, test):
    "The autoencoder that it is, and the same network with a KL, for two widths of the pixels' distribution."
    shape, settings = images.shape, recipe("mnist_vanilla").settings
    root_half = 0.5**0.5  # −log N(x; x̂, ½) is the sum of squares, plus a constant
    makers = {
        "as the autoencoder that it is": lambda: mlp_vae(
            shape, 200, (), "normal", root_half, variational=False
        ),
        "with a KL, sum of squares": lambda: mlp_vae(
            shape, 200, (), "normal", root_half
        ),
        "with a KL, σ optimal (`mnist_vanilla`)": recipe("mnist_vanilla").model,
    }
    for name, make in makers.items():
        epochs = EPOCHS["autoencoder" if "autoencoder" in name else "with a KL"]
        model, history, how = trained(make, images, **settings | {"epochs": epochs})
        terms = validate(model, test, seed=SEED)
        kl = f"; KL {terms['kl']:.1f} nats" if "kl" in terms else ""
        yield {
            "system": f"“vanilla” 784-200-784, {name}",
            "metric": "squared error of a pixel, held-out digits",
            "reported": "0.0016" if "kl" not in terms else "",
            "trained there": "30 epochs" if "kl" not in terms else "",
            "reached here": f"{squared_error(model, test):.4f}{kl}",
            "trained here": how,
        }


def conv(images, test):
    "The convolutional network with dropout, by its authors' convention: grey digits, training mode, last epoch."
    settings = recipe("mnist_conv").settings | {"epochs": EPOCHS["conv"]}
    model, history, how = trained(recipe("mnist_conv").model, images, **settings)
    yield {
        "system": "MNIST with dropout (`mnist_conv`)",
        "metric": "training loss with dropout, grey digits, nats",
        "reported": "130.9",
        "trained there": "100 epochs",
        "reached here": nats(history.last, "train_"),
        "trained here": how,
    }
    yield {
        "system": "",
        "metric": "the same on test digits, without dropout",
        "reported": "",
        "trained there": "",
        "reached here": nats(validate(model, test, seed=SEED)),
        "trained here": "the same run",
    }


def keras(images, test):
    "The example of the Keras documentation: two latents, no normalisation."
    make = lambda: conv_vae(
        images.shape, 2, (32, 64), (16,), "bernoulli", norm="none", activation="relu"
    )
    model, history, how = trained(
        make, images, epochs=EPOCHS["keras"], batch_size=128, lr=1e-3
    )
    yield {
        "system": "Keras example, 32-64 convolutions, 16, two latents",
        "metric": "training loss, grey digits, nats",
        "reported": "146.95 = 140.15 + 6.80",
        "trained there": "30 epochs",
        "reached here": nats(history.last, "train_"),
        "trained here": how,
    }
    yield {
        "system": "",
        "metric": "the same on test digits",
        "reported": "",
        "trained there": "",
        "reached here": nats(validate(model, test, seed=SEED)),
        "trained here": "the same run",
    }


FACES = {
    "system": "faces at 128 pixels (`celeba128`)",
    "metric": "training loss, sum of squares + KL",
    "reported": "427.9 = 301.1 + 126.8",
    "trained there": "50 epochs",
    "reached here": "not reached here",
    "trained here": "needs all of CelebA and a GPU",
}


def record(rows, missing):
    "Write what is there; `missing` are the parts that were not reached."
    broken = f" Broken off before: {', '.join(missing)}." if missing else ""
    write(
        "parity",
        "What published systems report, and what their recipes reach here",
        [*rows, FACES],
        "Trained on the first 50,000 digits, never on the test digits. Sums are reconstruction + KL."
        + (f" With `SCALE={SCALE}`." if SCALE > 1 else "")
        + broken,
    )


def main():
    torch.set_num_threads(1)
    images, test, rows = load("mnist"), load("mnist", split=SPLIT), []
    for number, part in enumerate(PARTS):
        for row in {"vanilla": vanilla, "conv": conv, "keras": keras}[part](
            images, test
        ):
            print(row, flush=True)
            rows.append(row)
        if SPLIT == "test" and PARTS == ALL:
            record(rows, ALL[number + 1 :])
