"""Training throughput beside the textbook loop: the same network, data, batch size and optimiser, float32, one thread, alternating runs."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from vae_nb.core import seed_everything
from vae_nb.data import cache_dir, load
from vae_nb.train import fit
from vae_nb.vae import mlp_vae

from .record import write

ROUNDS, BATCH = 7, 128


class Textbook(nn.Module):
    "784-400-20-400-784 as tutorials write it."

    def __init__(self):
        super().__init__()
        self.fc1, self.mu, self.logvar = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x):
        h = F.relu(self.fc1(x.view(-1, 784)))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


def textbook_epoch(dataset):
    "One epoch with DataLoader, ToTensor, a sigmoid, summed BCE and plain Adam. Returns images per second."
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)
    model, total = Textbook(), 0.0
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = time.perf_counter()
    for x, _ in loader:
        optimiser.zero_grad()
        x_hat, mu, logvar = model(x)
        loss = F.binary_cross_entropy(x_hat, x.view(-1, 784), reduction="sum") - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss.backward()
        total += loss.item()
        optimiser.step()
    return len(dataset) / (time.perf_counter() - start)


def our_epoch(images, **settings):
    "One epoch of `fit`. Returns images per second."
    model = mlp_vae((1, 28, 28), latent=20, hidden=(400,), activation="relu")
    start = time.perf_counter()
    fit(model, images, epochs=1, lr=1e-3, progress=False, **settings)
    return len(images) / (time.perf_counter() - start)


def main():
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    torch.set_num_threads(1)
    seed_everything(0)
    images = load("mnist")
    folder = next(p for p in (os.environ.get("VAE_NB_DATA"), cache_dir()) if p and Path(p, "MNIST").is_dir())
    dataset = torch.utils.data.Subset(MNIST(folder, train=True, transform=ToTensor()), range(len(images)))
    ways = {
        "textbook loop, float32": lambda: textbook_epoch(dataset),
        "fit, float32, constant rate": lambda: our_epoch(images, batch_size=BATCH, schedule="constant", precision="float32"),
        "fit, precision='auto'": lambda: our_epoch(images, batch_size=BATCH),
        "fit, its defaults (batch 256)": lambda: our_epoch(images),
    }
    our_epoch(images[:1000])  # imports and kernels are warm
    speeds = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, epoch in ways.items():
            speeds[name].append(epoch())
        print({name: round(values[-1]) for name, values in speeds.items()}, flush=True)
    base = statistics.median(speeds["textbook loop, float32"])
    rows = [{"loop": name, "images per second": f"{statistics.median(v):,.0f}", "spread": f"{min(v):,.0f} to {max(v):,.0f}",
             "ratio": f"{statistics.median(v) / base:.2f}"} for name, v in speeds.items()]
    write("throughput", "Training throughput, 784-400-20-400-784 on MNIST, one thread", rows,
          f"Medians of {ROUNDS} alternating epochs of 50,000 digits, batch {BATCH} unless said; the ratio is to the textbook loop in the same run.")
