"""Training on the importance-weighted bound: the networks of Burda et al. (2016), 784-200-200-50, on dynamically binarised MNIST, by CPU-minutes of one core.

Rows: a VAE, IWAE with k = 5 and IWAE with a k that grows, at 10 minutes; a VAE, IWAE with k = 5 and MIWAE with 4 groups of 5, at 40 minutes; the k that grows at 60 minutes
with three seeds. NLL with 5,000 importance samples over all test digits, binarised once, each read once for each row. Training stops when its minutes are spent: the
schedule follows the processor time that training steps took, so a slow machine takes fewer steps, not more time. The final networks train on all 60,000 training digits, as in the paper.

Every row is kept in _build/bench/iwae as it ends, and training saves itself every minute: stop the command and start it again, and it goes on.
Settings are chosen on validation digits: `SPLIT=valid` trains on 50,000 digits and reads 1,000 validation digits with k = 500, and records nothing. `ROWS=vae10,iwae40`
runs some of the rows, `SEEDS=311,312` some seeds, `SCALE=0.01` spends a hundredth of the time, and `LR=3e-3 DECAY=0.05 BATCH=128 GRADIENT=plain` change a setting.
Rows that are recorded and not measured again stay in the table. Numbers are bfloat16 or float32, whichever is faster on the machine: `PRECISION=float32` decides.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import math
import statistics
import time
from dataclasses import dataclass

import torch

from vae_nb.core import atomic_path, seed_everything
from vae_nb.data import load
from vae_nb.evaluate import active_units, nll
from vae_nb.objectives import importance_weighted
from vae_nb.train.numerics import fastest_precision
from vae_nb.vae import mlp_vae

from . import mnist_nll
from .mnist_nll import KEPT, SPLIT, digits, moved, quick, strange
from .record import with_recorded, write

SCALE = float(os.environ.get("SCALE", 1))
KEPT = KEPT.with_name("iwae")
LR, DECAY = float(os.environ.get("LR", 4e-3)), float(os.environ.get("DECAY", 0.0))
BATCH, GRADIENT = int(os.environ.get("BATCH", 256)), os.environ.get("GRADIENT", "dreg")
CLIP, MEASURED = 50.0, 20  # norm of the gradient; steps between looks at the clock

GROWING = ((0.0, 1), (0.3, 5), (0.7, 20), (0.9, 50))  # from this share of the time on
ROWS = {  # objective, CPU-minutes, seeds
    "vae10": ("vae", 10, (311,)),
    "iwae10": ("iwae5", 10, (311,)),
    "grow10": ("grow", 10, (311,)),
    "vae40": ("vae", 40, (321,)),
    "iwae40": ("iwae5", 40, (321,)),
    "miwae40": ("miwae", 40, (321,)),
    "best60": ("grow", 60, (331, 332, 333)),
}
NAMES = {
    "vae": "VAE",
    "iwae5": "IWAE, k = 5",
    "miwae": "MIWAE, 4 groups of 5",
    "grow": "IWAE, k " + ", ".join(str(k) for _, k in GROWING),
}


def samples(objective, done):
    "Groups and k when this share of the time is spent; k = 0: the ELBO with its closed KL."
    if objective != "grow":
        return {"vae": (1, 0), "iwae5": (1, 5), "miwae": (4, 5)}[objective]
    return 1, [k for start, k in GROWING if done >= start][-1]


def loss_of(groups, k):
    "The training loss with so many groups of k samples."
    if k == 0:
        return lambda model, x: model.loss(x)
    return importance_weighted(k, GRADIENT, groups=groups)


def precision():
    "What steps are computed in: the faster one on this machine, unless PRECISION says otherwise."
    return os.environ.get("PRECISION") or fastest_precision(quiet=True)


def learning_rate(done):
    "One cycle over the share of the time that is spent: up for 0.3 of it, then down to nothing, in cosines."
    if done < 0.3:
        return LR * (0.04 + 0.96 * (1 - math.cos(math.pi * done / 0.3)) / 2)
    return LR * (1 + math.cos(math.pi * min(1, (done - 0.3) / 0.7))) / 2


@dataclass
class Training:
    "A training under way; all of it is saved."

    model: torch.nn.Module
    optimiser: torch.optim.Optimizer
    order: torch.Generator
    cpu: float = 0.0  # seconds
    steps: int = 0
    images: int = 0

    def save(self, path):
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "order": self.order.get_state(),
            "noise": torch.get_rng_state(),
            "numbers": (self.cpu, self.steps, self.images),
        }
        with atomic_path(path) as new:
            torch.save(state, new)

    def load(self, path):
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.order.set_state(state["order"])
        torch.set_rng_state(state["noise"])
        self.cpu, self.steps, self.images = state["numbers"]


def step(run, loss, x, done):
    "One step, with a cut gradient."
    with torch.autocast("cpu", torch.bfloat16, enabled=precision() == "bfloat16"):
        value = loss(run.model, x)["loss"]
    if not math.isfinite(value.item()):
        raise FloatingPointError(f"the loss is {value.item()} at step {run.steps}")
    run.optimiser.zero_grad(set_to_none=True)
    value.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), CLIP)
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate(done)
    run.optimiser.step()
    run.steps, run.images = run.steps + 1, run.images + len(x)


def batches(images, order):
    "Shuffled batches without end."
    while True:
        yield from images.batches(BATCH, shuffle=True, generator=order)


def train(objective, minutes, seed, images, folder):
    "Train until the minutes are spent, or go on with what is saved."
    seed_everything(seed)
    model = mlp_vae(images.shape, latent_dim=mnist_nll.LATENT, hidden=(200, 200))
    model.initialise_from(images.mean())
    optimiser = torch.optim.AdamW(
        model.parameters(), LR, (0.9, 0.99), weight_decay=DECAY, fused=True
    )
    run = Training(model, optimiser, torch.Generator().manual_seed(seed))
    saved, budget = folder / "run.pt", 60 * minutes * SCALE
    if saved.exists():
        run.load(saved)
    plans = {samples(objective, share / 100) for share in range(101)}
    losses = {plan: loss_of(*plan) for plan in plans}
    model.train()
    precision()  # measured before the clock starts
    mark, last = time.process_time(), time.monotonic()
    for x in batches(images, run.order):
        done = run.cpu / budget
        if done >= 1:
            break
        step(run, losses[samples(objective, done)], x, done)
        due = time.monotonic() - last > 60
        if due or run.steps % MEASURED == 0 or math.prod(samples(objective, done)) > 5:
            now = time.process_time()
            run.cpu, mark = run.cpu + now - mark, now
        if due:
            run.save(saved)
            mark, last = time.process_time(), time.monotonic()
    run.save(saved)
    return run


def place(name, seed):
    "The folder of one run: its name says all that the run depends on."
    objective, minutes, _ = ROWS[name]
    return (
        KEPT
        / f"{SPLIT}-{objective}-{minutes * SCALE:g}min-{seed}-{LR:g}-{DECAY:g}-{BATCH}-{GRADIENT}-{precision()}"
    )


def one(name, seed, images, held_out):
    "Train (or go on training) and score one network; a flat row."
    (objective, minutes, _), folder = ROWS[name], place(name, seed)
    if (folder / "row.json").exists():
        return json.loads((folder / "row.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    run = train(objective, minutes, seed, images, folder)
    model = quick(run.model.eval())
    elbo, elbo_error = nll(model, held_out, k=1, batch_size=1000)
    start = time.process_time()
    bound, error = nll(model, held_out, k=5000 if SPLIT == "test" else 500)
    far = moved(load("mnist", split="valid").floats()).split(1000)
    row = {
        "name": name,
        "objective": NAMES[objective],
        "minutes": minutes,
        "seed": seed,
        "NLL": round(bound, 3),
        "standard error": round(error, 3),
        "−ELBO": f"{elbo:.2f} ± {elbo_error:.2f}",
        "epochs": round(run.images / len(images)),
        "precision": precision(),
        "training, CPU-min": round(run.cpu / 60, 2),
        "active units": int(active_units(model, held_out).sum()),
        "test digits over 1,000 nats": strange(model, held_out.batches(1000)),
        "moved digits over 1,000 nats": strange(model, far),
        "scoring, CPU-min": round((time.process_time() - start) / 60, 1),
    }
    with atomic_path(folder / "row.json") as new:
        new.write_text(json.dumps(row))
    return row


def finished():
    "The rows that are kept, in the order of the table."
    kept = [
        place(name, seed) / "row.json"
        for name, (*_, seeds) in ROWS.items()
        for seed in seeds
    ]
    return [json.loads(path.read_text()) for path in kept if path.exists()]


def shown(row):
    "A row as the table shows it."
    first = {
        "objective": row["objective"],
        "CPU-min": row["minutes"],
        "seed": row["seed"],
        "NLL": f"{row['NLL']:.2f} ± {row['standard error']:.2f}",
    }
    rest = ("−ELBO", "epochs", "precision", "active units")
    rest += ("test digits over 1,000 nats", "moved digits over 1,000 nats")
    return first | {name: row[name] for name in rest}


def publish(rows):
    "Write the table of what is finished, here or on the machine of an earlier record."
    order = [
        (NAMES[objective], minutes, seed)
        for objective, minutes, seeds in ROWS.values()
        for seed in seeds
    ]
    rows = with_recorded("iwae", map(shown, rows), ("objective", "CPU-min", "seed"))
    rows.sort(key=lambda row: order.index(tuple(row.values())[:3]))
    several = [float(row["NLL"].split()[0]) for row in rows if row["CPU-min"] == 60]
    spread = ""
    if len(several) > 1:
        mean, deviation = statistics.mean(several), statistics.stdev(several)
        spread = f" Mean ± standard deviation over {len(several)} seeds at 60 minutes: {mean:.2f} ± {deviation:.2f}."
    missing = len(order) - len(rows)
    write(
        "iwae",
        "MNIST, dynamically binarised, 784-200-200-50: test NLL by objective and training time, with 5,000 importance samples",
        rows,
        f"Nats per image over all 10,000 test digits; ± is the standard error over digits. One core, batch {BATCH}, highest rate {LR:g}, weight decay {DECAY:g}, "
        f"{'DReG' if GRADIENT == 'dreg' else GRADIENT} gradients; settings chosen on validation digits."
        + spread
        + " Burda et al. (2016, table 1, as reported) give 86.76 for the VAE, 85.54 for IWAE with k = 5 and 84.78 with k = 50, each after 3,280 epochs."
        + (
            f" {missing} of the runs are not finished and not shown." if missing else ""
        ),
    )


def main():
    torch.set_num_threads(1)
    images, held_out = digits()
    names = os.environ.get("ROWS", ",".join(ROWS)).split(",")
    some = [int(s) for s in os.environ.get("SEEDS", "").split(",") if s]
    for name in names:
        for seed in some or ROWS[name][2]:
            print(one(name, seed, images, held_out), flush=True)
            if SPLIT == "test" and SCALE == 1:
                publish(finished())
