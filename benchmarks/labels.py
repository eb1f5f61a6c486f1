"""What a few labels buy on MNIST: classifiers trained with 100 or 1,000 labels, alone and with the other digits to look at; and what all labels buy a VAE.

Three models of Kingma et al. (2014) as this library has them: M2 is `joint_vae` with `semi_supervised`; M1 is a VAE, and M1+M2 an M2 of its codes; beside them M2
whose labelled digits are altered by `jitter`, M2 with `consistency`, and networks with the same encoder that see the labelled digits only, as they are and altered. Every seed draws its own labelled digits, as
many of each class. A run takes at most ten minutes of one core.

Settings were chosen on validation digits with `SPLIT=valid`, which trains on 50,000 digits, scores the last 10,000 training digits and records nothing. The recorded
rows train on all 60,000 (of which all but 100 or 1,000 without label) and read the test digits once, on seeds that were not used for choosing.

Rows are kept in _build/bench/labels as they end; start again after a kill. `ROWS="M2;best"` (or `nats`), `LABELS=100`, `SEEDS=411` choose rows, `SCALE=0.1` spends a tenth of the
epochs and records nothing; `SET=alpha=20,epochs=5` changes settings for choosing.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Independent, Normal

from vae_nb.augment import jitter
from vae_nb.core import evaluating, seed_everything
from vae_nb.data import TensorData, load
from vae_nb.evaluate import encode_all, nll
from vae_nb.evaluate.pictures import SmallClassifier, small_classifier
from vae_nb.joint import JointVAE, category_of, joint_vae
from vae_nb.labels import conditional_vae, semi_supervised
from vae_nb.networks import mlp_networks
from vae_nb.train import fit
from vae_nb.vae import mlp_vae

from .record import with_recorded, write

SPLIT = os.environ.get("SPLIT", "test")
SCALE = float(os.environ.get("SCALE", 1))
SEEDS = [int(s) for s in os.environ.get("SEEDS", "411,412,413").split(",")]
SIZES = [int(n) for n in os.environ.get("LABELS", "100,1000").split(",")]
CHANGES = dict(part.split("=") for part in os.environ.get("SET", "").split(",") if part)
N = int(os.environ.get("N", 0))  # so few digits, to try the script; nothing is recorded
KEPT = Path("_build/bench/labels")

BATCH, LR = 200, 3e-3
# method → settings; chosen on validation digits
SETTINGS = {
    "supervised": dict(epochs=300, altered=0),
    "supervised, altered": dict(epochs=2000, altered=1),
    "M1+M2": dict(epochs=60, alpha=50.0, m1_epochs=30),
    "M2": dict(epochs=26, alpha=50.0, hidden=300, latents=10, altered=0),
    "M2, altered": dict(epochs=26, alpha=50.0, hidden=300, latents=10, altered=1),
    "best": dict(
        epochs=18,
        alpha=50.0,
        hidden=400,
        latents=10,
        altered=1,
        consistency=50.0,
        balance=100.0,
    ),
}
NAMES = {
    "supervised": "the encoder alone, on the labelled digits",
    "supervised, altered": "the same, digits altered by `jitter`",
    "M1+M2": "M1+M2",
    "M2": "M2",
    "M2, altered": "M2, labelled digits altered by `jitter`",
    "best": "M2, labelled digits altered, and consistency of all digits",
}
PUBLISHED = {  # Kingma et al. (2014), table 1: error in %, mean ± s.d.
    ("M1+M2", 100): "3.33 ± 0.14",
    ("M2", 100): "11.97 ± 1.71",
    ("M1+M2", 1000): "2.40 ± 0.02",
    ("M2", 1000): "3.60 ± 0.56",
}


def settings_of(method):
    "The settings of a method, some of them changed for choosing."
    chosen = SETTINGS[method]
    return chosen | {k: float(v) for k, v in CHANGES.items() if k in chosen}


def digits():
    "What to train on, and what to score."
    train, valid = load("mnist"), load("mnist", split="valid")
    if N:
        return train[:N], valid[:N]
    if SPLIT == "valid":
        return train, valid
    every = replace(
        train,
        pixels=torch.cat([train.pixels, valid.pixels]),
        labels=torch.cat([train.labels, valid.labels]),
    )
    return every, load("mnist", split="test")


def some(images, n, seed):
    "n labelled digits, as many of each class, that the seed draws."
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    labels = images.labels[order]
    return images[torch.cat([order[labels == y][: n // 10] for y in range(10)])]


def rounds(epochs):
    return max(1, round(epochs * SCALE))


def error(model, data, labels):
    "The share of wrong classes, in %."
    return (
        100
        * (category_of(model, encode_all(model, data)) != labels).double().mean().item()
    )


def joint(hidden, latents, likelihood="bernoulli"):
    width = int(hidden)
    return joint_vae(
        (1, 28, 28), int(latents), (10,), hidden=(width, width), likelihood=likelihood
    )


def supervised(images, few, held_out, seed, epochs, altered):
    "The classifier of the joint model, trained on labelled digits alone."
    model = joint(400, 10)
    alter = jitter if altered else lambda x: x

    def loss(model, batch, step):
        logits = model.encode(alter(batch.x)).parts[-1].logits
        return {"loss": F.nll_loss(logits, batch.y)}

    history = fit(
        model,
        few.labelled(),
        epochs=rounds(epochs * 100 / len(few)),
        batch_size=100,
        lr=1e-3,
        weight_decay=0.1,
        seed=seed,
        training_loss=loss,
        progress=False,
    )
    return error(model, held_out, held_out.labels), history.info["train_cpu_seconds"]


def m2(images, few, held_out, seed, epochs, alpha, hidden, latents, altered, **more):
    "M2, with or without consistency."
    model = joint(hidden, latents)
    if more:
        steps = rounds(epochs) * math.ceil(len(images) / BATCH)
        more["firm_after"] = round(0.6 * steps)
    alter = jitter if altered else None
    objective = semi_supervised(model, few, alpha=alpha, alter=alter, **more)
    history = fit(
        model,
        images,
        epochs=rounds(epochs),
        batch_size=BATCH,
        lr=LR,
        seed=seed,
        training_loss=objective,
        progress=False,
    )
    return error(model, held_out, held_out.labels), history.info["train_cpu_seconds"]


class CodeLikelihood(nn.Module):
    "p(z₁|z₂, y): a Gaussian around what the decoder returns; codes have no range."

    def __init__(self):
        super().__init__()
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, out):
        return Independent(Normal(out, self.log_sigma.exp(), validate_args=False), 3)


def m1_m2(images, few, held_out, seed, epochs, alpha, m1_epochs):
    "M2 of the codes of a VAE that was trained without labels."
    m1 = mlp_vae((1, 28, 28), 50, hidden=(500, 500))
    first = fit(
        m1,
        images.binarised(),
        epochs=rounds(m1_epochs),
        batch_size=BATCH,
        lr=LR,
        seed=seed,
        progress=False,
    )
    codes = lambda data: encode_all(m1, data)[:, None, None]
    known = TensorData(codes(few), y=few.labels)
    latents, width = 20, 300
    networks = mlp_networks(
        (1, 1, 50), 2 * latents + 10, latents + 10, (width,), "silu"
    )
    model = JointVAE(
        *networks, CodeLikelihood(), (1, 1, 50), latents, (10,), 0.67, "exact"
    )
    inner = semi_supervised(model, known, alpha=alpha, alter=None)
    with evaluating(m1):
        q = m1.encode(images[:1000].floats())
        spread = q.stddev.mean(0)

    def objective(model, x, step):
        # a draw from q(z₁|x), anew in every step
        return inner(model, x + spread * torch.randn_like(x), step)

    second = fit(
        model,
        TensorData(codes(images)),
        epochs=rounds(epochs),
        batch_size=BATCH,
        lr=LR,
        seed=seed,
        training_loss=objective,
        progress=False,
    )
    spent = first.info["train_cpu_seconds"] + second.info["train_cpu_seconds"]
    return error(model, codes(held_out), held_out.labels), spent


RUN = {
    "supervised": supervised,
    "supervised, altered": supervised,
    "M1+M2": m1_m2,
    "M2": m2,
    "M2, altered": m2,
    "best": m2,
}


def one(method, n, seed, images, held_out):
    "Train and score, or read what an earlier call found."
    chosen = settings_of(method)
    changed = "-".join(f"{k}{v:g}" for k, v in chosen.items())
    path = (
        KEPT
        / f"{SPLIT}{N or ''}-{method.replace(' ', '')}-{n}-{seed}-{SCALE:g}-{changed}.json"
    )
    if path.exists():
        return json.loads(path.read_text())
    torch.set_num_threads(1)
    seed_everything(seed)
    wrong, seconds = RUN[method](
        images, some(images, n, seed), held_out, seed, **chosen
    )
    row = {
        "method": method,
        "n": n,
        "seed": seed,
        "error": wrong,
        "minutes": seconds / 60,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row) + "\n")
    return row


# --- all labels: what they are worth to a VAE ---

NATS_MINUTES = float(os.environ.get("MINUTES", 5))
NATS_SEEDS = SEEDS
NATS_LATENTS = 8  # with 50, fewer samples are recognised


def nats(kind, seed, images, held_out, judge):
    "A VAE with or without labels, for the same minutes; its NLL, and whether samples are what was asked for."
    path = KEPT / f"{SPLIT}{N or ''}-{kind}-{seed}-{SCALE:g}-{NATS_MINUTES:g}.json"
    if path.exists():
        return json.loads(path.read_text())
    torch.set_num_threads(1)
    images, tossed = images.binarised(), held_out.binarised("fixed")
    if SPLIT == "valid":
        tossed = tossed[:1000]
    if kind == "conditional":
        images, tossed = images.labelled(), tossed.labelled()

    def new():
        seed_everything(seed)
        if kind == "conditional":
            return conditional_vae((1, 28, 28), 10, NATS_LATENTS, hidden=(300, 300))
        return mlp_vae((1, 28, 28), NATS_LATENTS, hidden=(300, 300))

    options = dict(batch_size=BATCH, lr=LR, seed=seed, progress=False)
    short = fit(new(), images, epochs=1, **options).info["train_cpu_seconds"]
    model = new()
    epochs = max(1, round(60 * NATS_MINUTES * SCALE / short))
    history = fit(model, images, epochs=epochs, **options)
    elbo, _ = nll(model, tossed, k=1, batch_size=1000)
    bound, se = nll(model, tossed, k=500)
    row = {
        "kind": kind,
        "seed": seed,
        "minutes": history.info["train_cpu_seconds"] / 60,
        "epochs": epochs,
        "elbo": elbo,
        "nll": bound,
        "se": se,
    }
    if kind == "conditional":
        y = torch.arange(10_000) % 10
        g = torch.Generator().manual_seed(seed)
        with evaluating(judge):
            parts = [model.given(part).sample(1000, g) for part in y.split(1000)]
            right = [
                (judge(x).argmax(1) == part) for x, part in zip(parts, y.split(1000))
            ]
        row["recognised"] = 100 * torch.cat(right).double().mean().item()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row) + "\n")
    return row


def the_judge(images):
    "An independent classifier, trained on digits in grey."
    path = KEPT / f"judge-{SPLIT}{N or ''}-{SCALE:g}.pt"
    if path.exists():
        judge = SmallClassifier(images.shape, 10)
        judge.load_state_dict(torch.load(path, weights_only=True))
        return judge.eval()
    judge = small_classifier(images, epochs=1 if SCALE < 1 else 4, seed=1000)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(judge.state_dict(), path)
    return judge


def main():
    images, held_out = digits()
    wanted = os.environ.get("ROWS")
    wanted = wanted.split(";") if wanted else [*SETTINGS, "nats"]
    recorded = SPLIT == "test" and SCALE == 1 and not CHANGES and not N
    for n in SIZES:
        for method in [m for m in SETTINGS if m in wanted]:
            for seed in SEEDS:
                start = time.time()
                print(
                    one(method, n, seed, images, held_out),
                    f"{time.time() - start:.0f} s",
                    flush=True,
                )
                if recorded:
                    record()
    if "nats" in wanted:
        judge = the_judge(images)
        with evaluating(judge):
            right = [
                (judge(x).argmax(1) == y)
                for x, y in zip(
                    held_out.floats().split(1000), held_out.labels.split(1000)
                )
            ]
        accuracy = 100 * torch.cat(right).double().mean().item()
        print(f"the judge is right about {accuracy:.2f} % of real digits", flush=True)
        for seed in NATS_SEEDS:
            for kind in ("unconditional", "conditional"):
                print(nats(kind, seed, images, held_out, judge), flush=True)
        if recorded:
            record_nats(accuracy)


def found(pattern):
    return [json.loads(path.read_text()) for path in sorted(KEPT.glob(pattern))]


def mean_and_sd(values, digits=2):
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}"


def record():
    "A row for each method and number of labels that is finished."
    rows = []
    for n in (100, 1000):
        for method, name in NAMES.items():
            changed = "-".join(f"{k}{v:g}" for k, v in SETTINGS[method].items())
            runs = found(f"test-{method.replace(' ', '')}-{n}-41*-1-{changed}.json")
            if not runs:
                continue
            errors = [run["error"] for run in runs]
            rows.append(
                {
                    "labels": n,
                    "method": name,
                    "error, mean ± s.d., %": mean_and_sd(errors),
                    "each seed": ", ".join(f"{e:.2f}" for e in errors),
                    "published, %": PUBLISHED.get((method, n), "–"),
                    "CPU-min a run": round(
                        statistics.mean(run["minutes"] for run in runs), 1
                    ),
                }
            )
    rows = with_recorded("labels", rows, ("labels", "method"))
    order = list(NAMES.values())
    rows.sort(key=lambda row: (row["labels"], order.index(row["method"])))
    write(
        "labels",
        "MNIST with few labels: test error",
        rows,
        "Seeds 411, 412, 413, each with its own labelled digits, as many of each class; all 60,000 training digits, the others without label; all 10,000 test digits, read once a seed. "
        "One thread. Published: Kingma et al. (2014), table 1.",
    )


def record_nats(accuracy):
    "What a label is worth: a row with and a row without."
    rows = []
    for kind in ("unconditional", "conditional"):
        runs = found(f"test-{kind}-41*-1-{NATS_MINUTES:g}.json")
        shares = [run["recognised"] for run in runs if "recognised" in run]
        rows.append(
            {
                "model": kind,
                "CPU-min of training": round(
                    statistics.mean(run["minutes"] for run in runs), 1
                ),
                "epochs": ", ".join(str(run["epochs"]) for run in runs),
                "−ELBO, nats": mean_and_sd([run["elbo"] for run in runs]),
                "NLL, k = 500, nats": mean_and_sd([run["nll"] for run in runs]),
                "samples recognised, %": mean_and_sd(shares) if shares else "–",
            }
        )
    write(
        "labels_conditional",
        "What a label is worth: MNIST, dynamically binarised",
        rows,
        f"784-300-300-8, for about the same processor time, three seeds, mean ± s.d.; test digits tossed once. Samples: 10,000 of each model, judged by a small convolutional classifier that never saw a sample and is right about {accuracy:.2f} % of the test digits.",
        benchmark="labels",
    )


if __name__ == "__main__":
    main()
