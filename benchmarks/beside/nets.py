"""What the peers share: the networks in plain PyTorch as tutorials write them, a clock, and the loop of questions and answers.

The `run_….py` beside this file are processes in environments of their own, which know nothing of vae_nb. Each trains on the images of a .npy file and answers
with the time that training took.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

LATENT = {"mlp": 20, "conv": 128}


class Plain(nn.Module):
    "A VAE as tutorials write it: a sigmoid at the end; binary cross-entropy for digits, half the squares (σ = 1) for pictures; nats, summed over a batch."

    def __init__(self, encoder, decoder, binary):
        super().__init__()
        self.encoder, self.decoder, self.binary = encoder, decoder, binary

    def forward(self, x):
        mu, logvar = self.encoder(x).chunk(2, 1)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.decoder(z)), mu, logvar

    def summed(self, x):
        "The loss of a batch."
        x_hat, mu, logvar = self(x)
        recon = (
            F.binary_cross_entropy(x_hat, x, reduction="sum")
            if self.binary
            else 0.5 * F.mse_loss(x_hat, x, reduction="sum")
        )
        return recon - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())

    def loss(self, x):
        "What `vae_nb.train.validate` asks for: nats per image."
        return {"loss": self.summed(x) / len(x)}


def mlp():
    "784-400-20-400-784."
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 40)
    )
    return Plain(
        encoder,
        nn.Sequential(
            nn.Linear(20, 400),
            nn.ReLU(),
            nn.Linear(400, 784),
            nn.Unflatten(1, (1, 28, 28)),
        ),
        binary=True,
    )


def conv(side, widths=(3, 32, 64, 128, 256)):
    "Four halvings to 32, 64, 128 and 256 feature maps, 128 latents, and the way back."
    small, down, up = side // 2 ** (len(widths) - 1), [], []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        down += [
            nn.Conv2d(a, b, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(b),
            nn.LeakyReLU(),
        ]
        up = [
            nn.ConvTranspose2d(b, a, 4, stride=2, padding=1),
            *([nn.BatchNorm2d(a), nn.LeakyReLU()] if i else []),
            *up,
        ]
    flat, latent = widths[-1] * small**2, LATENT["conv"]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, 2 * latent))
    return Plain(
        encoder,
        nn.Sequential(
            nn.Linear(latent, flat),
            nn.LeakyReLU(),
            nn.Unflatten(1, (widths[-1], small, small)),
            *up,
        ),
        binary=False,
    )


def network(shape):
    "The network for images of a shape, (C, H, W)."
    return mlp() if shape[0] == 1 else conv(shape[1])


class Enough(Exception):
    "The last mark is reached."


def clock():
    "Seconds: processor time under one thread, which a busy machine hardly disturbs; the wall clock's under several, whose processor times would be added up."
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Watch:
    "Time of training. At each of `marks` (seconds) the weights are kept in `folder`; at the last of them training ends."

    def __init__(self, net, marks=(), folder=None):
        self.net, self.marks, self.folder, self.kept = net, list(marks), folder, []
        self.began, self.ended = None, None

    def start(self):
        "Training begins (the first call counts)."
        self.began = self.began or clock()

    def stop(self):
        "An epoch is over."
        self.ended = clock()

    def tick(self):
        "A step is over."
        now = clock()
        if not self.marks or now - self.began < self.marks[0]:
            return
        path = Path(self.folder, f"{self.marks.pop(0):g}.pt")
        torch.save(self.net.state_dict(), path)
        self.kept.append([now - self.began, str(path)])
        self.began += clock() - now  # keeping weights is not training
        if not self.marks:
            raise Enough

    def report(self):
        "Seconds of the epochs, or those of each mark with the file of its weights."
        return self.kept if self.folder else self.ended - self.began


def serve(run):
    "Answer requests, one line of JSON each, until there are no more. `run(images, batch, lr, epochs, marks, folder)` trains a network and returns its watch."
    answers, sys.stdout = (
        sys.stdout,
        sys.stderr,
    )  # progress bars and prints go to the log
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    for line in sys.stdin:
        request = json.loads(line)
        torch.manual_seed(request.pop("seed"))
        images = np.load(request.pop("images"))
        if request["folder"]:
            Path(request["folder"]).mkdir(parents=True, exist_ok=True)
        answers.write(json.dumps(run(images, **request).report()) + "\n")
        answers.flush()
