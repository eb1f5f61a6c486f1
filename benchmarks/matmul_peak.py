"""What share of this machine's own peaks a training step reaches for two named networks, one thread, float32: matrix products, and convolutions."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics

import torch

from vae_nb.conv import conv_vae
from vae_nb.core import seed_everything
from vae_nb.train.run import make_optimiser
from vae_nb.vae import mlp_vae

from .conv_peak import flops, peaks, seconds
from .record import write

ROUNDS = int(os.environ.get("ROUNDS", 9))
NETS = {  # name → network, batch, the peak that bounds it
    "784-400-20-400-784, batch 128": (
        lambda: mlp_vae((1, 28, 28), 20, (400,), activation="relu"),
        128,
        "product",
    ),
    "784-400-20-400-784, batch 512": (
        lambda: mlp_vae((1, 28, 28), 20, (400,), activation="relu"),
        512,
        "product",
    ),
    "3-32-64-128-256, 64 × 64, 200 latents, batch 128": (
        lambda: conv_vae((3, 64, 64), 200),
        128,
        "convolution",
    ),
}


def products():
    "Matrix products that do nothing but multiply: name → (call, FLOPs)."
    calls = {}
    for n in (512, 1024, 2048):
        a, b = torch.randn(n, n), torch.randn(n, n)
        calls[f"product {n}"] = (lambda a=a, b=b: a @ b), 2 * n**3
    return calls


class Step:
    "A training step in float32: loss, gradient, fused AdamW."

    def __init__(self, build, batch):
        seed_everything(0)
        self.model = build()
        self.optimiser, _ = make_optimiser(
            self.model, 1e-3, 1000, "constant", (0.9, 0.99), 0.0
        )
        self.x = torch.rand(batch, *self.model.shape)

    def __call__(self):
        loss = self.model.loss(self.x)["loss"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()


def main():
    torch.set_num_threads(1)
    steps = {name: Step(build, batch) for name, (build, batch, _) in NETS.items()}
    counts = {name: flops(step) for name, step in steps.items()}
    calls = products() | {f"convolution {name}": call for name, call in peaks().items()}
    times, rates = {name: [] for name in steps}, {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, (call, count) in calls.items():
            rates[name].append(count / seconds(call))
        for name, step in steps.items():
            repeats = 1 if "64 × 64" in name else 20
            times[name].append(
                seconds(lambda: [step() for _ in range(repeats)]) / repeats
            )
    peak = {
        kind: max(
            statistics.median(v) for name, v in rates.items() if name.startswith(kind)
        )
        for kind in ("product", "convolution")
    }
    rows = []
    for name, (_, _, kind) in NETS.items():
        speeds = sorted(counts[name] / t for t in times[name])
        share = statistics.median(speeds) / peak[kind]
        rows.append(
            {
                "step": name,
                "ms": f"{1000 * statistics.median(times[name]):.1f}",
                "GFLOP/s": f"{statistics.median(speeds) / 1e9:.0f}",
                "peak": f"{peak[kind] / 1e9:.0f} ({kind}s)",
                "share": f"{share:.0%}",
                "spread": f"{speeds[0] / peak[kind]:.0%} to {speeds[-1] / peak[kind]:.0%}",
            }
        )
        print(rows[-1], flush=True)
    write(
        "matmul_peak",
        "A whole training step beside this machine's peak, one thread, float32",
        rows,
        f"Medians of {ROUNDS} alternating rounds, CPU-seconds. A peak is the fastest of three plain products (512, 1,024 and 2,048 square) or convolutions, measured in the same rounds; "
        "operations are counted by torch.utils.flop_counter. A step is loss, gradient and fused AdamW.",
    )
