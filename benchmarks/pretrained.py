"""The models that come with the package: trained, scored on test images, and written to vae_nb/assets/pretrained/ with their cards.

Networks and schedules are those of the chapters, made smaller. Test images and labels serve the record only, after the weights have been rounded to 16 bits.
`ONLY=faces` trains one of them; a run that was killed goes on where it was. Every model is trained on one thread.
"""

import json
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from book.measured import RESULTS, markdown, source_line
from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.elbo import bits_per_dim
from vae_nb.evaluate import (
    active_units,
    cluster_accuracy,
    encode_all,
    mean_kl_per_dim,
    nll,
)
from vae_nb.joint import Capacity, category_of, joint_loss, joint_vae
from vae_nb.latent import attribute_classifier, attribute_direction, score_edits
from vae_nb.recipes import PRETRAINED, pretrained, pretrained_folder
from vae_nb.train import fit
from vae_nb.vae import mlp_vae

from .record import write

SEED = {"digits": 702, "joint_digits": 702, "faces": 703}  # not used before
BATCH = {"digits": 256, "joint_digits": 256, "faces": 16}
SCALE = float(os.environ.get("SCALE", 1))  # of the epochs: less gives a draft
EPOCHS = {
    name: max(1, round(epochs * SCALE))
    for name, epochs in {"digits": 60, "joint_digits": 20, "faces": 12}.items()
}
MNIST, DRAWN = "MNIST, 50,000 digits", "20,000 drawn faces"
RUNS = Path("runs/pretrained")
YES_NO = ("smile", "eyeglasses", "hat")


def run(name):
    "What the runs have in common: seed, length, and a folder in which a killed run is found again."
    return dict(
        seed=SEED[name],
        epochs=EPOCHS[name],
        batch_size=BATCH[name],
        checkpoint=RUNS / name,
        resume=True,
    )


def digits():
    "Two latents, and the depth that folding digits into a plane takes."
    model = mlp_vae((1, 28, 28), latent_dim=2, hidden=(256, 128))
    history = fit(model, load("mnist").binarised("dynamic"), lr=4e-3, **run("digits"))
    return model, history, MNIST, "784-256-128-2"


def joint_digits():
    "Balance, consistency and five nats of handwriting, as in the chapter on choices: with more, the decoder need not listen to the category."
    images = load("mnist")
    model = joint_vae(images.shape, continuous=10, categorical=(10,), hidden=(384, 256))
    steps = EPOCHS["joint_digits"] * -(-len(images) // BATCH["joint_digits"])
    objective = joint_loss(
        model,
        Capacity(0.0, 5.0, steps // 2),
        balance=100,
        consistency=50,
        firm_after=int(0.6 * steps),
    )
    history = fit(
        model, images, lr=2e-3, **run("joint_digits"), training_loss=objective
    )
    return model, history, MNIST, "784-384-256-(10 + one of 10)"


def faces():
    "As in the chapter on latent arithmetic (β = 4), at 64 pixels, in a smaller network."
    images = load("faces")
    model = conv_vae(images.shape, latent_dim=32, channels=(16, 32, 64, 128), beta=4.0)
    history = fit(model, images, lr=3e-3, **run("faces"))
    return model, history, DRAWN, "3-16-32-64-128 convolutions, 32"


def score_digits(model):
    "Nats of test digits in black and white."
    test = load("mnist", split="test").binarised("dynamic")
    elbo, error = nll(model, test, k=1, batch_size=1000)
    bound, bound_error = nll(model, test, k=100, chunk=100, batch_size=100)
    return {
        "test −ELBO, nats": f"{elbo:.2f} ± {error:.2f}",
        "of it KL": f"{mean_kl_per_dim(model, test).sum():.2f}",
        "also": f"NLL bound from 100 samples {bound:.2f} ± {bound_error:.2f}",
    }


def score_joint_digits(model):
    "Nats of grey test digits, and the share that lies in its digit's category."
    test = load("mnist", split="test")
    elbo, error = nll(model, test, k=1, batch_size=1000)
    accuracy = cluster_accuracy(
        category_of(model, encode_all(model, test)), test.labels
    )[0]
    return {
        "test −ELBO, nats": f"{elbo:.2f} ± {error:.2f}",
        "of it KL": f"{mean_kl_per_dim(model, test).sum():.2f}",
        "also": f"{accuracy:.1%} of the digits lie in the category of their kind",
    }


def score_faces(model):
    "Bits per dimension, the error of a pixel, and what an independent judge makes of edits."
    train, test = load("faces", n=8000), load("faces", "test")
    elbo, error = nll(model, test, k=1, batch_size=100)
    rmse = torch.cat(
        [
            (x - model.reconstruct(x)).square().mean((1, 2, 3)).sqrt()
            for x in test.batches(200)
        ]
    ).mean()
    judge = attribute_classifier(
        train, YES_NO, epochs=4, seed=SEED["faces"] + 1, progress=False
    )
    z = encode_all(model, train)
    edits = {
        name: attribute_direction(
            model, train, name, controls=tuple(n for n in YES_NO if n != name), z=z
        )
        for name in YES_NO
    }
    flips = score_edits(model, judge, test, edits)
    told = ", ".join(
        f"{row['direction']} {row['flips']:.1%}" for row in flips.to_dict("records")
    )
    return {
        "test −ELBO, nats": f"{elbo:,.0f} ± {error:.0f}",
        "of it KL": f"{mean_kl_per_dim(model, test).sum():.1f}",
        "also": f"{bits_per_dim(elbo, test.shape, 256):.2f} bits per dimension; RMSE {rmse:.3f}; {int(active_units(model, test).sum())} of {model.latent_dim} latents active; "
        f"edits at the recommended strength that convince a classifier: {told}",
    }


def one(name):
    "Train, save in 16 bits, load, score: one row."
    seed_everything(SEED[name])
    model, history, data, network = globals()[name]()
    difference = save(model, name)
    shutil.rmtree(RUNS / name)
    model = pretrained(name)
    row = {
        "model": name,
        "trained on": data,
        "network": network,
        "weights": f"{sum(w.numel() for w in model.parameters()):,}",
        "kB": f"{sum(p.stat().st_size for p in pretrained_folder(name).glob('*.safetensors')) / 1000:,.0f}",
        "epochs": history.last["epoch"],
        "CPU-s": f"{history.info['train_cpu_seconds']:.0f}",
    } | globals()[f"score_{name}"](model)
    return row | {
        "also": f"{row['also']}; rounding to 16 bits moves a pixel by at most {difference:.4f}"
    }


def save(model, name):
    "Save in 16 bits; the largest change of a decoded pixel that this makes."
    z = model.eval().prior.sample((200,), torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model.decode(z).mean
        model.save(pretrained_folder(name), half=True)
        return (pretrained(name).decode(z).mean - before).abs().max().item()


# ---- cards: words here, figures from the record ----------------------------------------------------------------------------

WORDS = {
    "digits": (
        "MNIST's first 50,000 training digits (LeCun, Cortes and Burges), each grey level tossed to black or white anew in every epoch.",
        "Two numbers cannot hold a handwriting: reconstructions are typical digits, and 4 and 9, or 3, 5 and 8, are confused where they meet. It knows upright, centred white "
        "digits on black of 28 × 28 pixels and nothing else.",
    ),
    "joint_digits": (
        "MNIST's first 50,000 training digits (LeCun, Cortes and Burges) in grey. Labels were not used, neither to train nor to choose.",
        "The numbering of the categories is accidental. The objective asks for categories of equal size that do not change when a digit is turned, slanted or shifted "
        "a little, which suits ten digits and not every set of pictures. It knows upright, centred white digits on black of 28 × 28 pixels and nothing else.",
    ),
    "faces": (
        "20,000 faces that `vae_nb.faces` draws, 64 × 64 pixels, with known factors. No photograph of a person was used, and none can be encoded sensibly.",
        "It draws what our own code draws, a little softer. A smile is the curve of a mouth here and says nothing about people.",
    ),
}
CARD = """---
license: apache-2.0
library_name: vae_nb
---
# {name}

{description}. It comes with the package: `vae_nb.pretrained("{name}")`.

## Data

{data}

## Figures

{figures}

−ELBO and KL are nats per image, summed over pixels and latents; all are those of the weights in 16 bits that lie here, on test images that served nothing else.

{where}

## Limits

{limits}

## Licence

Apache-2.0, as the package. The images that it has learned from are not part of it.
"""


def card(name, result):
    "A model's card, its figures from the recorded result."
    (row,) = [row for row in result["rows"] if row["model"] == name]
    figures = markdown(
        [{"": key, "value": value} for key, value in row.items() if key != "model"]
    )
    data, limits = WORDS[name]
    description = PRETRAINED[name][0].upper() + PRETRAINED[name][1:]
    return CARD.format(
        name=name,
        description=description,
        data=data,
        figures=figures,
        where=source_line("pretrained", result),
        limits=limits,
    )


def recorded():
    "The recorded result, without rows before the first run."
    path = RESULTS / "pretrained.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def main():
    torch.set_num_threads(1)
    only = os.environ.get("ONLY", ",".join(PRETRAINED)).split(",")
    for name in only:
        row = one(name)
        print(row, flush=True)
        rows = {**{old["model"]: old for old in recorded()["rows"]}, name: row}
        write(
            "pretrained",
            "The models that come with the package",
            [rows[n] for n in PRETRAINED if n in rows],
            "Test images; ± is the standard error over images. `digits` is scored on black and white digits, `joint_digits` on grey ones, `faces` with a density on [0, 1]: their nats cannot be compared.",
        )
    for row in recorded()["rows"]:
        (pretrained_folder(row["model"]) / "README.md").write_text(
            card(row["model"], recorded()), encoding="utf-8"
        )
