"""What share of this machine's own convolution peak a training step reaches, what layout and precision give, and what the loader costs; one thread, alternating."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.data import load
from vae_nb.train.run import make_optimiser

from .record import write

BATCH, ROUNDS = 128, int(os.environ.get("ROUNDS", 7))
WAYS = {
    "naive layout, float32": (torch.contiguous_format, False),
    "channels_last, float32": (torch.channels_last, False),
    "naive layout, bfloat16": (torch.contiguous_format, True),
    "channels_last, bfloat16": (torch.channels_last, True),
}


def seconds(call):
    "CPU-seconds of one call: other processes on the machine count less than in wall time."
    start = time.process_time()
    call()
    return time.process_time() - start


def peaks():
    "Convolutions that do nothing but multiply: name → (call, FLOPs). The fastest of them is this machine's peak."
    shapes = {
        "3×3, 128 → 128 at 32×32": (128, 32, 3),
        "3×3, 256 → 256 at 16×16": (256, 16, 3),
        "1×1, 512 → 512 at 16×16": (512, 16, 1),
    }
    calls = {}
    for name, (c, side, k) in shapes.items():
        x = torch.randn(16, c, side, side).to(memory_format=torch.channels_last)
        weight = torch.randn(c, c, k, k).to(memory_format=torch.channels_last)
        calls[name] = (
            (lambda x=x, weight=weight, k=k: F.conv2d(x, weight, padding=k // 2)),
            2 * 16 * side**2 * c**2 * k**2,
        )
    return calls


class Step:
    "A training step of the book's convolutional VAE in one memory layout and precision."

    def __init__(self, side, layout, bfloat16):
        seed_everything(0)
        self.model = conv_vae((3, side, side), latent_dim=128).to(memory_format=layout)
        self.optimiser, _ = make_optimiser(
            self.model, 1e-3, 1000, "constant", (0.9, 0.99), 0.0
        )
        self.x, self.bfloat16 = torch.rand(BATCH, 3, side, side), bfloat16

    def __call__(self):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            loss = self.model.loss(self.x)["loss"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()


def flops(step):
    "Multiplications and additions of one step, forward and backward, as PyTorch counts them."
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def measure(side):
    "Medians of CPU-seconds for every way, and the peak, from alternating calls; and the FLOPs of a step."
    steps = {name: Step(side, *way) for name, way in WAYS.items()}
    operations, calls = flops(steps["channels_last, float32"]), peaks()
    times, rates = {name: [] for name in steps}, {name: [] for name in calls}
    for step in steps.values():
        step(), step()
    for _ in range(ROUNDS):
        for name, (call, count) in calls.items():
            rates[name].append(count / seconds(call))
        for name, step in steps.items():
            times[name].append(seconds(step))
    peak = max(statistics.median(values) for values in rates.values())
    return (
        {name: statistics.median(values) for name, values in times.items()},
        peak,
        operations,
    )


def loader_share(step_seconds):
    "A shuffled batch of CelebA as a share of a step: the median over one pass."
    faces, times = load("celeba", fallback="faces"), []
    batches = faces.batches(
        BATCH, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    for _ in range(min(100, len(faces) // BATCH)):
        times.append(seconds(lambda: next(batches)))
    return statistics.median(times) / step_seconds, faces.name


def main():
    torch.set_num_threads(1)
    rows = []
    for side in (32, 64):
        times, peak, operations = measure(side)
        naive = times["naive layout, float32"]
        for name, value in times.items():
            rate = operations / value
            rows.append(
                {
                    "step": f"{side} × {side}, {name}",
                    "ms": f"{1000 * value:.0f}",
                    "GFLOP/s": f"{rate / 1e9:.0f}",
                    "share of the float32 peak": f"{rate / peak:.0%}"
                    if "float32" in name
                    else "",
                    "times the naive layout": f"{naive / value:.2f}",
                }
            )
            print(rows[-1], f"peak {peak / 1e9:.0f} GFLOP/s", flush=True)
    share, name = loader_share(times["channels_last, bfloat16"])
    print(f"loader: {share:.1%} of a bfloat16 step", flush=True)
    write(
        "conv_peak",
        f"A training step of `conv_vae` (32-64-128-256, latent 128, batch {BATCH}) beside this machine's convolution peak, one thread",
        rows,
        f"Medians of {ROUNDS} alternating rounds, CPU-seconds. The peak is {peak / 1e9:.0f} GFLOP/s, the fastest of three plain convolutions in float32, measured in the same rounds; "
        f'operations are counted by torch.utils.flop_counter. A shuffled batch of `load("{name}")` costs {share:.1%} of a 64 × 64 step in bfloat16.',
    )
