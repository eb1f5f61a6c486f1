"""Attribute directions scored: drawn faces, where the truth is known, and CelebA; one training run each, one thread.

Settings were chosen on validation images; the test images serve this table only. The judge is a classifier that has learned from the same training
images, never from a reconstruction, and shares nothing with the VAE.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import replace

import torch

from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.data import Images, load
from vae_nb.evaluate import encode_all
from vae_nb.faces import FACTORS, draw_faces, factor_table, random_factors
from vae_nb.latent import (
    attribute_classifier,
    attribute_direction,
    judge_table,
    score_edits,
)
from vae_nb.train import fit

from .record import write

SEED = 201  # not used before
SIZE = {"faces": 32, "celeba": 64}  # pixels each way
TRAINING = {
    "faces": (
        dict(latent_dim=64, channels=(32, 64, 128), beta=4.0),
        dict(epochs=24, batch_size=32, lr=4e-3),
    ),
    "celeba": (
        dict(latent_dim=64, channels=(16, 32, 64, 128)),
        dict(epochs=10, batch_size=64, lr=4e-3),
    ),
}
NUMBERS = [
    name
    for name, factor in FACTORS.items()
    if factor.kind == "continuous" and name != "mouth"
]
CELEBA = (
    "Smiling",
    "Eyeglasses",
    "Male",
    "Young",
    "Heavy_Makeup",
    "No_Beard",
    "Blond_Hair",
    "Black_Hair",
    "Bangs",
    "Wearing_Hat",
    "Mouth_Slightly_Open",
    "High_Cheekbones",
)
PART_OF_A_SMILE = ("Mouth_Slightly_Open", "High_Cheekbones")


def with_halves(images):
    "Drawn faces with one more yes or no for each continuous factor: is it above the middle of its range?"
    columns = [
        images.attributes[:, images.attribute_names.index(n)]
        > (FACTORS[n].low + FACTORS[n].high) / 2
        for n in NUMBERS
    ]
    return replace(
        images,
        attributes=torch.cat([images.attributes, torch.stack(columns, 1).float()], 1),
        attribute_names=(
            *images.attribute_names,
            *(f"{n}: upper half" for n in NUMBERS),
        ),
    )


def trained(name, images, valid):
    "The VAE."
    seed_everything(SEED)
    model = conv_vae(images.shape, **TRAINING[name][0])
    fit(model, images, valid, seed=SEED, **TRAINING[name][1])
    return model.eval()


def judge_of(name, images, names):
    "The classifier."
    return attribute_classifier(
        images, names, epochs=5, mirror=name == "celeba", seed=SEED + 1
    )


def shown(set_name, labels, scores, r=None):
    "Rows of the table from rows of `score_edits`; `r` is what each direction's reading correlates with the mouth by."
    return [
        {
            "set": f"{set_name}, {labels} labels",
            "direction": s["direction"],
            "strength": f"{s['strength']:+.1f}",
            "flips": f"{s['flips']:.1%}\u00a0({100 * s['from']:.1f}–{100 * s['to']:.1f})",
            "mean leak": f"{s['leak']:.1%}",
            "worst leak": f"{s['worst leak']:.1%}, {s['into']}",
            "recognised": f"{s['recognised']:.0%}",
            "n": s["n"],
            "r with the mouth": (r or {}).get(s["direction"], ""),
            "SSIM": f"{s['SSIM']:.2f}",
        }
        for s in scores.to_dict("records")
    ]


def lopsided(n, rho=0.8):
    "Drawn faces in which those who smile mostly wear glasses."
    factors = random_factors(
        n, seed=1000 + SEED, correlate=("smile", "eyeglasses", rho)
    )
    attributes, names = factor_table(factors)
    return Images(
        draw_faces(factors, SIZE["faces"]),
        attributes=attributes,
        attribute_names=names,
        name="lopsided faces",
    )


def three_ways(model, images, z, name, controls, other=None):
    "Plain, held fixed, logistic; and, if another attribute is named, the plain difference less its part along the other's."
    found = {"plain difference of means": attribute_direction(model, images, name, z=z)}
    if other:
        unit = attribute_direction(model, images, other, z=z).unit
        v = found["plain difference of means"].vector
        found["part along the other's difference removed"] = replace(
            found["plain difference of means"], vector=v - (v @ unit) * unit
        )
    found["others held fixed"] = attribute_direction(
        model, images, name, controls=controls, z=z
    )
    found["logistic"] = attribute_direction(model, images, name, method="logistic", z=z)
    return {f"{name}: {way}": direction for way, direction in found.items()}


def drawn_rows(split):
    "The drawn faces: labels of an honest sample, then of a lopsided one."
    train, held_out = (
        with_halves(load("faces", s, size=SIZE["faces"])) for s in ("train", split)
    )
    yes_no = tuple(n for n in train.attribute_names if n not in (*NUMBERS, "mouth"))
    model, judge = (
        trained("faces", train, load("faces", "valid", n=1000, size=SIZE["faces"])),
        judge_of("faces", train, yes_no),
    )
    z, z_out, mouth = (
        encode_all(model, train),
        encode_all(model, held_out),
        held_out.attributes[:, held_out.attribute_names.index("mouth")],
    )
    rows, biased = [], lopsided(8000)
    controls = (
        "eyeglasses",
        "hat",
        *(n for n in yes_no if "=" in n and not n.endswith(("short", "black"))),
        *NUMBERS,
    )
    samples = {
        "honest": (train, z, controls, None),
        "lopsided": (biased, encode_all(model, biased), ("eyeglasses",), "eyeglasses"),
    }
    for labels, (images, codes, fixed, other) in samples.items():
        found = three_ways(model, images, codes, "smile", fixed, other)
        r = {
            row: f"{torch.corrcoef(torch.stack([d.read(z_out), mouth]))[0, 1]:.3f}"
            for row, d in found.items()
        }
        rows += shown("faces", labels, score_edits(model, judge, held_out, found), r)
    glasses = three_ways(
        model, train, z, "eyeglasses", ("smile", "mouth", *controls[1:])
    )
    rows += shown("faces", "honest", score_edits(model, judge, held_out, glasses))
    return rows, judge_table(judge, held_out, model)


def people_rows(split):
    "CelebA: two attributes, three ways, at the recommended strength and at 2."
    train, held_out = (load("celeba", s, size=SIZE["celeba"]) for s in ("train", split))
    model, judge = (
        trained("celeba", train, load("celeba", "valid", n=1000, size=SIZE["celeba"])),
        judge_of("celeba", train, CELEBA),
    )
    z, rows = encode_all(model, train), []
    for name in CELEBA[:2]:
        others = tuple(n for n in CELEBA if n != name and n not in PART_OF_A_SMILE)
        unrelated = (
            others if name == "Smiling" else tuple(n for n in CELEBA if n != name)
        )
        found = three_ways(model, train, z, name, others)
        for strengths in ((2.0,), None, (-2.0,)):
            rows += shown(
                "celeba",
                "its own",
                score_edits(model, judge, held_out, found, strengths, unrelated),
            )
    return rows, judge_table(judge, held_out, model)


def main():
    torch.set_num_threads(1)
    split = os.environ.get("SPLIT", "test")
    rows, words = [], []
    for name, make in (("faces", drawn_rows), ("celeba", people_rows)):
        made, table = make(split)
        rows += made
        print(table.round(3).to_string(), *made, sep="\n", flush=True)
        low, own = table["balanced"].idxmin(), table.loc[table.index[:2]]
        words.append(
            f"{name}: {', '.join(f'{n} {v:.1%} ({w:.1%})' for n, v, w in zip(own.index, own['balanced'], own['balanced, rebuilt']))}; "
            f"its weakest, {low}, {table['balanced'][low]:.1%}"
        )
    if split == "test":
        write(
            "edits",
            "Edits by attribute directions, scored by a classifier that has learned from real images only",
            rows,
            "Balanced accuracy of the judge on test images (and on their reconstructions): "
            + "; ".join(words)
            + ". n counts test images on which label and judge agree before the edit; "
            "positive strengths add the attribute to those without. Flips with the 95 % interval of Wilson, over images and not over trainings; leaks are changes of the judge's mind about attributes that "
            "should have stayed, against the reconstruction: for the drawn faces those of yes or no, and for each continuous factor whether it is in its upper half. "
            "SSIM compares edit and reconstruction. Recognised: the nearest reconstruction among n, in the judge's features, is the person's own. Lopsided labels: drawn faces in which smile and glasses correlate by construction (0.8 between "
            "their normal variables). Faces: 32 pixels each way, 20,000 to train on, 2,000 to score; CelebA: 64 pixels, 18,000 and 2,500.",
        )
