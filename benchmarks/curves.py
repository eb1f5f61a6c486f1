"""Quality for the cost: −ELBO on MNIST against processor time, for our loop, the textbook's and pythae's trainer; one thread.

Grey digits under binary cross-entropy, as the textbook has them. Curves are on validation digits; nothing is chosen by them: the schedules of `fit` end with the
budget, so it trains once for each, for as many epochs as the budget buys at the speed of a short trial; the others train once for the longest. The test digits are
read once, for the table. Time is that of training alone; the trials are not counted.
`SCALE=0.1` spends a tenth of the time, reads validation digits for both and records nothing.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import time
from contextlib import ExitStack

import torch

from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.train import fit, validate
from vae_nb.vae import mlp_vae

from .beside.nets import network
from .mnist_budget import warm_up
from .peers import BUILD, peer, saved
from .record import write

SEED, SCALE = 301, float(os.environ.get("SCALE", 1))
BUDGETS = (20, 60, 300)  # CPU-seconds
MARKS = (5, 10, 20, 40, 60, 100, 150, 200, 250, 300)
OTHERS = {  # name → peer, batch, rate (None: the peer's own)
    "textbook loop": ("textbook", 128, 1e-3),
    "pythae, batch and rate of the textbook": ("pythae", 128, 1e-3),
    "pythae, its defaults": ("pythae", None, None),
}
SAME = dict(latent_dim=20, hidden=(400,), activation="relu")
RECIPE = dict(lr=6e-3)
OURS = {  # name → budget → network, settings of fit; those of the last are mnist_budget's, chosen on validation digits
    "fit, its defaults, the same network": dict.fromkeys(BUDGETS, (SAME, {})),
    "fit, the book's network and rate": {
        20: (dict(latent_dim=50, hidden=(200, 200)), RECIPE)
    }
    | dict.fromkeys(BUDGETS[1:], (dict(latent_dim=50, hidden=(300, 300)), RECIPE)),
}


def score(model, images):
    "−ELBO in nats per image, one sample each, always with the same noise."
    terms = validate(model, images, seed=SEED)
    return terms["recon"] + terms["kl"] if "recon" in terms else terms["loss"]


class Curve:
    "A callback of `fit`: validation −ELBO against the processor time of training, this look not counted."

    def __init__(self, valid, every):
        self.valid, self.every, self.spent, self.mark, self.points = (
            valid,
            every,
            0.0,
            time.process_time(),
            [],
        )

    def __call__(self, model, row):
        now = time.process_time()
        self.spent += now - self.mark if row["epoch"] else 0.0
        if row["epoch"] and row["epoch"] % self.every == 0:
            self.points.append(
                [round(self.spent, 1), round(score(model, self.valid), 2)]
            )
        self.mark = time.process_time()


def epochs_within(budget, network, settings, train):
    "How many epochs the budget buys, by the last three of a trial of four."
    marks = []
    fit(
        mlp_vae(train.shape, **network),
        train,
        epochs=4,
        callbacks=[lambda model, row: marks.append(time.process_time())],
        progress=False,
        **settings,
    )
    return max(1, int(budget * 3 / (marks[-1] - marks[1])))


def ours(budget, network, settings, train, valid, test):
    "Train within a budget: the curve, CPU-seconds used, and the test −ELBO."
    epochs = epochs_within(budget * SCALE, network, settings, train)
    seed_everything(SEED)
    model, curve = mlp_vae(train.shape, **network), Curve(valid, max(1, epochs // 12))
    fit(
        model,
        train,
        epochs=epochs,
        seed=SEED,
        callbacks=[curve],
        progress=False,
        **settings,
    )
    return curve.points, curve.spent, score(model, test)


def theirs(ask, batch, lr, path, name, valid, test):
    "Train for the longest budget: the curve, and CPU-seconds and test −ELBO at each budget."
    folder = BUILD / "curves" / name.replace(" ", "-").replace(",", "")
    shutil.rmtree(folder, ignore_errors=True)
    points, scores = [], {}
    for mark, (seconds, weights) in zip(
        MARKS,
        ask(
            path,
            batch=batch,
            lr=lr,
            epochs=100_000,
            marks=[m * SCALE for m in MARKS],
            folder=str(folder),
            seed=SEED,
        ),
    ):
        net = network((1, 28, 28))
        net.load_state_dict(torch.load(weights, weights_only=True))
        points.append([round(seconds, 1), round(score(net, valid), 2)])
        if mark in BUDGETS:
            scores[mark] = seconds, score(net, test)
    return points, scores


def row(name, scores):
    "One row of the table: budget → (CPU-seconds used, test −ELBO)."
    return {"loop": name} | {
        f"{budget} CPU-s": f"{scores[budget][1]:.2f} (in {scores[budget][0]:.0f} s)"
        for budget in BUDGETS
    }


def picture(lines):
    "The learning curves, with the words for those who cannot see them."
    last = "; ".join(
        f"{line['group']}: {line['points'][-1][1]:.1f} nats after {line['points'][-1][0]:.0f} s"
        for line in lines
    )
    lowest = min(y for line in lines for _, y in line["points"])
    return {
        "x": "CPU-seconds of training (one thread)",
        "y": "validation −ELBO, nats per image",
        "xscale": "log",
        "xticks": [2, 5, 10, 20, 60, 150, 300],
        "ylim": [lowest - 1, lowest + 25],
        "lines": lines,
        "alt": f"Validation −ELBO falls with the processor time of training. Ends of the curves: {last}.",
        "caption": "Validation −ELBO against processor time. `fit` trains once for each budget, because its rate falls to zero at the end of the budget: three curves of one colour. Lower is better.",
    }


def main():
    torch.set_num_threads(1)
    train, valid, test = (
        load("mnist", split=split)
        for split in ("train", "valid", "test" if SCALE == 1 else "valid")
    )
    warm_up()
    rows, lines = [], []
    with ExitStack() as stack:
        peers = {
            name: stack.enter_context(peer(name)) for name in ("textbook", "pythae")
        }
        path = saved(train, "mnist")
        for name, (which, batch, lr) in OTHERS.items():
            points, scores = theirs(peers[which], batch, lr, path, name, valid, test)
            rows.append(row(name, scores))
            lines.append({"group": name, "points": points})
            print(rows[-1], points, flush=True)
    for name, budgets in OURS.items():
        found = {
            budget: ours(budget, *choice, train, valid, test)
            for budget, choice in budgets.items()
        }
        lines += [{"group": name, "points": points} for points, _, _ in found.values()]
        rows.append(row(name, {budget: result[1:] for budget, result in found.items()}))
        print(rows[-1], flush=True)
    if SCALE == 1:
        write(
            "curves",
            "MNIST, grey: test −ELBO after 20, 60 and 300 CPU-seconds of training, one thread",
            rows,
            f"Nats per image over all 10,000 test digits, seed {SEED}; one sample each. The network is 784-400-20-400-784, but for the last row (784-200-200-50 at 20 s, 784-300-300-50 after). "
            "pythae's own batch is 64 and its rate 1e-4.",
            picture=picture(lines),
        )
