"""How long the published run would take on an H100: estimated, not measured. For every chapter its work at the published parameters, and stated assumptions.

Work is counted, not timed: how many images every training of a chapter sees (its epochs times its images), and PyTorch's count of the operations for one image; how many
decodings its scores take. Nobody has run this on a GPU: `SHARE`, `LAUNCH` and `OVERHEAD` are assumptions, chosen low, high and high.
"""

import math
from types import SimpleNamespace

import torch
from torch.utils.flop_counter import FlopCounterMode

from book.project import (
    notebooks,
    profile_parameters,
    published_parameters,
    read_notebook,
)

from .record import write

PEAK = 800e12  # operations a second: what an H100 reaches in products of large bfloat16 matrices
SHARE = {"mlp": 0.01, "conv": 0.10}  # of it, that a step reaches
LAUNCH = 600e-6  # seconds that a step takes at least, taken piece by piece
OVERHEAD = 20  # seconds of a chapter for everything else: imports, figures, t-SNE
LIMIT = 30 * 60  # seconds for all of them, one after the other


def mlp(*hidden, pixels=784):
    return "mlp", hidden, pixels


def conv(size, width):
    return (
        "conv",
        (width, 2 * width, 4 * width, 8 * width)[: int(math.log2(size)) - 2],
        size,
    )


# chapter → p ↦ its trainings (network, images in all, batch) and decodings (network, how many); how often a chapter trains is read off its cells
WORK = {
    "lab": lambda p: ([(mlp(p.hidden), 1197 * p.epochs, p.batch_size)], []),
    "index": lambda p: ([(mlp(400, 400), p.n_train * p.epochs, p.batch_size)], []),
    "02_mlp_vae": lambda p: ([(mlp(p.hidden), 2 * p.n_train * p.epochs, 256)], []),
    "02a_digits_and_their_score": lambda p: (
        [(mlp(400, 400), p.n_train * (6 * p.epochs + p.epochs_large), 256)],
        [(mlp(400, 400), p.n_score * p.k_score)],
    ),
    "02b_what_goes_wrong": lambda p: (
        [(mlp(p.hidden), 13 * p.n_train * p.epochs, p.batch_size)],
        [],
    ),
    "02c_museum": lambda p: (
        [(mlp(p.hidden), 9 * p.n_train * p.epochs, p.batch_size)],
        [(mlp(p.hidden), 2 * 200 * 500)],
    ),
    "03_conv_vae": lambda p: (
        [(conv(p.size, p.width), p.n_train * p.epochs, p.batch_size)],
        [],
    ),
    "03a_bits_per_dimension": lambda p: (
        [
            (conv(p.size, p.width), 13 * p.n_train * p.epochs, p.batch_size),
            (conv(128, p.width), 2 * p.n_train * p.epochs, p.batch_size),
        ],
        [],
    ),
    "04a_sorting_without_labels": lambda p: (
        [
            # with consistency each image is encoded twice
            (mlp(500, 500), 2 * 4 * p.n_train * p.epochs, 256),
            (
                mlp(256, 256, pixels=3 * p.size**2),
                2 * p.n_faces * p.epochs_faces,
                128,
            ),
        ],
        [],
    ),
    "04b_latent_walks": lambda p: (
        [(mlp(400, 400), 2 * p.n_train * p.epochs, 256)],
        [],
    ),
    "05a_edits_counted": lambda p: (
        [(conv(p.size, p.width), p.n_train * p.epochs, p.batch_size)],
        [],
    ),
    "05b_how_good_is_it": lambda p: (
        [(mlp(p.hidden), 2 * p.n_train * p.epochs, 256)],
        [(mlp(p.hidden), 2 * p.n_score * p.k_max + 5 * 2000 * 64)],
    ),
    "05c_the_doctor": lambda p: (
        [(mlp(p.hidden), 12 * p.n_train * p.epochs, 256)],
        [],
    ),
    "06_cookbook": lambda p: (
        [
            (mlp(400, 400), p.n_train * p.epochs, 256),
            (conv(64, 32), p.n_own * p.epochs_own, 256),
        ],
        [(mlp(400, 400), p.n_score * p.k_score)],
    ),
    "07a_tighter_bounds_on_digits": lambda p: (
        # importance weights: an image is decoded k times in a step
        [
            (mlp(p.hidden, p.hidden), k * p.n_train * p.epochs, k * 256)
            for k in (1, 5, 5, 20, 20)
        ],
        [(mlp(p.hidden, p.hidden), 4 * p.n_score * p.k_score + 300 * 8 * p.n_gap)],
    ),
    "08_priors": lambda p: ([], [(mlp(300, 300), 8 * p.n_score * p.k_score)]),
    "09_labels": lambda p: (
        [
            (mlp(300, 300), 2 * p.n_train * p.epochs, 250),
            # the class is summed out: an image is decoded under each of ten
            (mlp(300, 300), 2 * 10 * p.n_train * p.epochs_few, 10 * 200),
            (mlp(300, 300), 2 * 100 * 100 * p.epochs_few, 100),  # labelled ones only
        ],
        [(mlp(300, 300), 2 * p.n_score * p.k_score)],
    ),
    "09a_faces_by_attributes": lambda p: (
        [(conv(p.size, p.width), 2 * p.n_train * p.epochs, p.batch_size)],
        [],
    ),
}
BY_THE_CLOCK = {"08_priors": lambda p: 8 * p.seconds}  # they train for so long


def operations(network):
    "Of one image, in a step: forward and backward."
    from vae_nb.conv import conv_vae
    from vae_nb.vae import mlp_vae

    kind, widths, size = network
    if kind == "mlp":
        model, x = mlp_vae((1, 1, size), 20, widths), torch.rand(2, 1, 1, size)
    else:
        model, x = conv_vae((3, size, size), 64, widths), torch.rand(2, 3, size, size)
    with FlopCounterMode(display=False) as counter:
        model.loss(x)["loss"].backward()
    return counter.get_total_flops() / 2


def estimate(name, parameters):
    "Seconds of a chapter: trainings, scores, and everything."
    p = SimpleNamespace(**parameters)
    trainings, decodings = WORK[name](p) if name in WORK else ([], [])
    training = BY_THE_CLOCK[name](p) if name in BY_THE_CLOCK else 0.0
    for network, images, batch in trainings:
        rate = PEAK * SHARE[network[0]]
        training += images * max(operations(network) / rate, LAUNCH / batch)
    # a decoding is a third of forward and backward, times a half for the decoder
    scoring = sum(
        n * operations(network) / 6 / (PEAK * SHARE[network[0]])
        for network, n in decodings
    )
    return training, scoring, OVERHEAD + training + scoring


def chapters():
    "Chapter → its parameters in the published run."
    changed = profile_parameters("gpu")
    return {
        name: published_parameters(read_notebook(path)) | changed.get(name, {})
        for name, path in notebooks().items()
        if not name.startswith("lib/")
    }


def rows():
    "A row for each chapter, and their sum."
    found = {name: estimate(name, p) for name, p in chapters().items()}
    sums = tuple(map(sum, zip(*found.values())))
    found["all, one after the other"] = sums
    return [
        {
            "chapter": name,
            "training, s": f"{training:.0f}",
            "scores, s": f"{scoring:.0f}",
            "in all, s": f"{whole:.0f}",
        }
        for name, (training, scoring, whole) in found.items()
    ]


def main():
    found = rows()
    print(*found, sep="\n")
    write(
        "published_run",
        "The published run on an H100: estimated, not measured",
        found,
        f"From counted operations at the published parameters, assuming that steps of MLPs reach {SHARE['mlp']:.0%} and those of convolutions {SHARE['conv']:.0%} of {PEAK / 1e12:.0f} TFLOP/s, "
        f"that no step takes less than {1e6 * LAUNCH:.0f} µs, and that everything else in a chapter takes {OVERHEAD} s. A machine runs several chapters at a time.",
    )
