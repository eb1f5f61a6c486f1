"""Why the defaults of `fit` are what they are: what each choice gains in a training step, one thread, alternating; and where the time of a step goes.

Ratios are to the plain step: float32, Adam in a loop over the weights, the loss read in every step, batch 128, PyTorch's own layout. One choice is changed at a time.
`COMPILE=0` leaves torch.compile out.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time

import torch
from torch.profiler import ProfilerActivity, profile

from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.vae import mlp_vae

from .conv_peak import seconds
from .record import write

ROUNDS = int(os.environ.get("ROUNDS", 7))
NETS = {
    "MLP": (lambda: mlp_vae((1, 28, 28), 20, (400,)), 40),
    "conv 32": (lambda: conv_vae((3, 32, 32)), 1),
    "conv 64": (lambda: conv_vae((3, 64, 64)), 1),
}
PLAIN = dict(
    batch=128,
    bfloat16=False,
    fused=False,
    read=1,
    layout=torch.contiguous_format,
    compiled=False,
)
CHOICES = {
    "plain": {},
    "fused AdamW": dict(fused=True),
    "channels_last": dict(layout=torch.channels_last),
    "bfloat16": dict(bfloat16=True),
    "batch 256": dict(batch=256),
    "batch 512": dict(batch=512),
    "loss read every 50 steps": dict(read=50),
    "torch.compile": dict(compiled=True),
    "fit's: fused, channels_last, bfloat16, batch 256": dict(
        fused=True, layout=torch.channels_last, bfloat16=True, batch=256
    ),
}


class Steps:
    "Training steps with some choices."

    def __init__(self, build, **choices):
        self.of = PLAIN | choices
        seed_everything(0)
        self.model = build().to(memory_format=self.of["layout"])
        options = {"fused": True} if self.of["fused"] else {"foreach": False}
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, weight_decay=0.0, **options
        )
        self.x, self.number = torch.rand(self.of["batch"], *self.model.shape), 0
        self.loss = (
            torch.compile(lambda x: self.model.loss(x)["loss"])
            if self.of["compiled"]
            else lambda x: self.model.loss(x)["loss"]
        )

    def __call__(self):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.of["bfloat16"]):
            loss = self.loss(self.x)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.number += 1
        if self.number % self.of["read"] == 0:
            loss.item()


def measure(name):
    "Choice → median CPU-seconds an image, and the seconds that torch.compile took before its first step."
    build, repeats = NETS[name]
    chosen = {
        choice: changed
        for choice, changed in CHOICES.items()
        if choice != "torch.compile" or os.environ.get("COMPILE") != "0"
    }
    steps = {choice: Steps(build, **changed) for choice, changed in chosen.items()}
    first = {choice: seconds(step) for choice, step in steps.items()}
    times = {choice: [] for choice in steps}
    for _ in range(ROUNDS):
        for choice, step in steps.items():
            times[choice].append(
                seconds(lambda: [step() for _ in range(repeats)])
                / repeats
                / step.of["batch"]
            )
    return {
        choice: statistics.median(values) for choice, values in times.items()
    }, first.get("torch.compile")


GROUPS = {
    "products and convolutions": ("mm", "addmm", "convolution", "mkldnn", "linear"),
    "optimiser": ("adam",),
    "normalisation": ("batch_norm",),
}


def share_by_kind(name):
    "Where the processor time of fit's own step goes, in percent, by PyTorch's profiler."
    build, repeats = NETS[name]
    step = Steps(build, **CHOICES["fit's: fused, channels_last, bfloat16, batch 256"])
    step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(3 * repeats):
            step()
    shares, total = dict.fromkeys([*GROUPS, "the rest"], 0.0), 0.0
    for event in found.key_averages():
        kind = next(
            (
                kind
                for kind, words in GROUPS.items()
                if any(word in event.key.lower() for word in words)
            ),
            "the rest",
        )
        shares[kind] += event.self_cpu_time_total
        total += event.self_cpu_time_total
    return {kind: f"{100 * value / total:.0f} %" for kind, value in shares.items()}


def main():
    torch.set_num_threads(1)
    rows, compiling, shares = {choice: {"choice": choice} for choice in CHOICES}, {}, []
    for name in NETS:
        start = time.process_time()
        times, compiling[name] = measure(name)
        for choice in CHOICES:
            rows[choice][name] = (
                f"{times['plain'] / times[choice]:.2f}"
                if choice in times
                else "not measured"
            )
        shares.append({"network": name} | share_by_kind(name))
        print(
            name,
            times,
            compiling[name],
            shares[-1],
            f"{time.process_time() - start:.0f} s",
            flush=True,
        )
    after = ", ".join(
        f"{value:.0f} ({name})" for name, value in compiling.items() if value
    )
    write(
        "choices",
        "What each choice gains in a training step: images per CPU-second, times the plain step",
        list(rows.values()),
        f"Medians of {ROUNDS} alternating rounds, one thread. Plain: float32, batch 128, AdamW in a loop, the loss read in every step, PyTorch's own layout. "
        "MLP: 784-400-20-400-784; conv: 3-32-64-128-256 with 128 latents on 32 × 32 and 64 × 64. "
        + (
            f"torch.compile is counted after its first step, which took so many CPU-seconds, the processes of the C++ compiler not counted: {after}."
            if after
            else ""
        ),
    )
    write(
        "where",
        "Where the processor time of a step goes, with fit's defaults",
        shares,
        "Self time of PyTorch's operators by its profiler.",
        benchmark="choices",
    )
