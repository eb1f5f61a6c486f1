"""Convolutional VAEs on 18,000 CelebA faces, one thread, the same budget of processor time for every row: likelihoods, residual blocks, and collapse.

Everything is scored on the official validation split, by which nothing was chosen but what stands here. `PARTS=faces` or `PARTS=collapse` measures one of the
two tables, `SCALE=0.25` spends a quarter of the time.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal

from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.elbo import bits_per_dim, linear_warmup
from vae_nb.evaluate import active_units
from vae_nb.likelihoods import OptimalNormal
from vae_nb.train import fit, validate

from .record import write

SEED, BATCH, LR, LATENT, N_TRAIN = 101, 32, 4e-3, 64, 18_000
SCALE = float(os.environ.get("SCALE", 1))
BUDGETS = {
    "faces": round(240 * SCALE),
    "collapse": round(100 * SCALE),
}  # CPU-seconds of training a row
CHANNELS = (16, 32, 64, 128)
FACES = {
    "σ optimal": {"sigma": "optimal"},
    "σ optimal, residual": {"sigma": "optimal", "residual": True},
    "σ optimal, residual, 10-20-40-80": {
        "sigma": "optimal",
        "residual": True,
        "channels": (10, 20, 40, 80),
    },
    "σ = √½, fixed": {"sigma": 0.5**0.5},
    "σ learned": {"sigma": "learned"},
    "256 levels, logistic": {"likelihood": "discretised_logistic"},
}
CURRENCIES = "The row “256 levels, logistic” is scored by probabilities, the others by densities: compare their bits, not their nats."


class Residual(nn.Module):
    "x + f(x), f being two 3×3 convolutions: more depth at one size, which starts as no change at all."

    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def forward(self, x):
        return x + self.body(x)


def with_residuals(layers):
    "The same layers, with a residual block wherever feature maps are ready for the next halving or doubling."
    grown, channels = [], None
    for layer in layers:
        grown.append(layer)
        channels = layer.num_features if isinstance(layer, nn.BatchNorm2d) else channels
        if isinstance(layer, nn.Unflatten):
            grown.append(Residual(layer.unflattened_size[0]))
        elif isinstance(layer, nn.LeakyReLU) and channels:
            grown.append(Residual(channels))
            channels = None
    return nn.Sequential(*grown)


class Neighbours(nn.Module):
    "Gaussian pixels that are not independent: the mean of each also depends on those above and left of it, up to `radius` away (as in chapter 3)."

    def __init__(self, radius, width=32):
        super().__init__()
        self.look, self.mix = (
            nn.Conv2d(3, width, 2 * radius + 1, padding=radius),
            nn.Conv2d(width, 3, 1),
        )
        before = torch.arange((2 * radius + 1) ** 2) < 2 * radius * (
            radius + 1
        )  # in reading order
        self.register_buffer("before", before.view(2 * radius + 1, -1).float())
        self.register_buffer("log_sigma", torch.tensor(0.3).log())
        self.link = lambda mean: mean.clamp(1e-3, 1 - 1e-3).logit()

    def forward(self, out):
        return SimpleNamespace(log_prob=lambda x: self.log_prob(out, x))

    def log_prob(self, out, x):
        near = F.conv2d(
            x, self.look.weight * self.before, self.look.bias, padding=self.look.padding
        )
        mean = (out + self.mix(F.silu(near)).float()).sigmoid()
        p = (
            OptimalNormal(mean, self.log_sigma)
            if self.training
            else Normal(mean, self.log_sigma.exp())
        )
        return p.log_prob(x).sum((1, 2, 3))


def build(
    shape,
    channels=CHANNELS,
    decoder=None,
    radius=0,
    residual=False,
    free_bits=0.0,
    **options,
):
    "A model; `decoder` are the decoder's own channels, `radius` says how many neighbours it sees."
    seed_everything(SEED)
    options = options or {"sigma": "optimal"}
    model = conv_vae(shape, LATENT, channels, free_bits=free_bits, **options)
    if decoder:
        model.decoder = conv_vae(shape, LATENT, decoder, **options).decoder
    if residual:
        model.encoder, model.decoder = (
            with_residuals(model.encoder),
            with_residuals(model.decoder),
        )
    if radius:
        model.likelihood = Neighbours(radius)
    return model.to(memory_format=torch.channels_last)


def epochs_within(budget, make, images):
    "How many epochs fit into `budget` CPU-seconds, by a trial of 40 steps."
    trial = images[: 40 * BATCH]
    fit(
        make(), trial[: 4 * BATCH], epochs=1, batch_size=BATCH, progress=False
    )  # the first steps choose kernels
    history = fit(make(), trial, epochs=1, batch_size=BATCH, progress=False)
    return max(
        1,
        round(budget / (history.info["train_cpu_seconds"] * len(images) / len(trial))),
    )


def train(budget, make, images, warm_up=0.0, **settings):
    "A model trained within the budget, its epochs and CPU-seconds. `warm_up`: the share of steps in which β rises from 0 to 1."
    epochs = epochs_within(budget, make, images)
    steps = warm_up * epochs * len(images) / BATCH
    objective = (
        (lambda model, x, step: model.loss(x, beta=linear_warmup(step, int(steps))))
        if warm_up
        else None
    )
    model = make()
    history = fit(
        model,
        images,
        epochs=epochs,
        batch_size=BATCH,
        lr=LR,
        seed=SEED,
        training_loss=objective,
        progress=False,
        **settings,
    )
    return model.eval(), epochs, history.info


def psnr(model, images):
    "Peak signal-to-noise ratio of reconstructions, dB, averaged over images."
    errors = torch.cat(
        [
            (x - model.reconstruct(x)).square().mean((1, 2, 3))
            for x in images.batches(200)
        ]
    )
    return -10 * errors.log10().mean().item()


def score(name, model, epochs, info, images, with_psnr=True):
    "One row. Bits per dimension of densities need log₂ 256 more."
    terms = validate(model, images, seed=SEED)
    nats, levels = (
        terms["recon"] + terms["kl"],
        256 if hasattr(model.likelihood, "log_sigma") else None,
    )
    row = {
        "model": name,
        "−ELBO, nats": f"{nats:,.0f}",
        "KL, nats": f"{terms['kl']:.1f}",
        "bits/dim": f"{bits_per_dim(nats, images.shape, levels):.3f}",
        "PSNR, dB": f"{psnr(model, images):.2f}" if with_psnr else "",
        "active units": int(active_units(model, images).sum()),
        "epochs": epochs,
        "CPU-s": round(info["train_cpu_seconds"]),
    }
    print(row, flush=True)
    return {key: value for key, value in row.items() if value != ""}


def run(record, variants, budget, faces, valid, with_psnr=True):
    "One row for every variant: name → arguments of `build`, and `warm_up`. Whatever is finished is recorded: `record(rows, note)`."
    rows = []
    for name, options in variants.items():
        options = dict(options)
        warm_up = options.pop("warm_up", 0.0)
        result = train(budget, lambda: build(faces.shape, **options), faces, warm_up)
        rows.append(score(name, *result, valid, with_psnr))
        missing = len(variants) - len(rows)
        record(
            rows,
            f" Broken off: {missing} of {len(variants)} rows are missing."
            if missing
            else "",
        )


def main():
    torch.set_num_threads(1)
    parts = os.environ.get("PARTS", ",".join(BUDGETS)).split(",")
    faces, valid = load("celeba", n=N_TRAIN), load("celeba", "valid")
    about = f"{len(faces):,} training faces, {len(valid):,} of the official validation split; latent {LATENT}, batch {BATCH}, seed {SEED}; PyTorch on one thread, precision as `fit` finds it."
    about += " The budget buys whole epochs, as many as a trial of 40 steps foretells."
    about += (
        f" Measured with SCALE={SCALE:g}: less time than the benchmark takes by default."
        if SCALE < 1
        else ""
    )
    start = time.process_time()
    if "faces" in parts:
        title = f"Faces at 64 × 64, a budget of {BUDGETS['faces']} CPU-seconds a row"
        run(
            lambda rows, note: write(
                "conv_faces",
                title,
                rows,
                f"Channels 16-32-64-128 unless said. {CURRENCIES} {about}{note}",
            ),
            FACES,
            BUDGETS["faces"],
            faces,
            valid,
        )
    if "collapse" in parts:
        small = CHANNELS[:3]
        wide = {
            f"decoder {'-'.join(map(str, d))}": {"decoder": d}
            for d in ((8, 16, 32), (16, 32, 64), (32, 64, 128))
        }
        near = {f"sees {r} pixel{'s' * (r > 1)} back": {"radius": r} for r in (1, 2, 4)}
        cures = {
            "sees 4, warm-up": {"radius": 4, "warm_up": 0.5},
            "sees 4, free bits 1.5": {"radius": 4, "free_bits": 1.5},
        }
        variants = {
            name: {"channels": small} | options
            for name, options in (wide | near | cures).items()
        }
        title = f"Faces at 32 × 32, a budget of {BUDGETS['collapse']} CPU-seconds a row: what is left for z as the decoder grows"
        run(
            lambda rows, note: write(
                "conv_collapse", title, rows, about + note, benchmark="conv_faces"
            ),
            variants,
            BUDGETS["collapse"],
            faces.resized(32),
            valid.resized(32),
            with_psnr=False,
        )
    print(f"{time.process_time() - start:,.0f} CPU-seconds in all")
