"The lab, which trains a VAE in the page: that it learns as PyTorch does, and that a reader can use it. One page of a real Chromium serves all networks."

import base64
import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from book.browser import chromium
from vae_nb.explore.widgets import ASSETS, asset
from vae_nb.networks import ACTIVATIONS
from vae_nb.vae import mlp_vae

pytestmark = pytest.mark.skipif(
    not chromium(),
    reason="no Chromium here: apt-get install chromium to test the lab in a browser",
)
SHAPE, LATENTS, BATCH, STEPS = (1, 5, 7), 3, 7, 100  # of odd sizes
BUGS = (
    "none autoencoder kl_averaged recon_averaged exp_logvar no_noise shared_noise"
).split()
SIGMAS = {"bernoulli": None, "fixed": 0.4, "learned": "learned"}
RATE = 3e-3


@pytest.fixture(scope="module")
def page(chrome):
    "A page that holds the engine and nothing else."
    tab = chrome.new_page()
    kernels = base64.b64encode((ASSETS / "training.wasm").read_bytes()).decode()
    engine = f'const TRAINING = "{kernels}";\n' + asset("weights.js", "trainer.js")
    tab.set_content(f"<script>{engine}</script>")
    yield tab
    tab.close()


# From given weights, batches and noise: the terms of every step, the first gradients, the weights after some steps, and both networks' answers.
TRAIN = """async ([options, weights, images, noise, settings, seen]) => {
    const { instance } = await WebAssembly.instantiate(bytesOf(TRAINING)), vae = makeVae(instance.exports, options);
    vae.parameters().forEach((values, i) => values.set(weights[i]));
    const copy = (which) => vae.parameters(which).map((values) => [...values]), terms = [], after = [];
    vae.gradient(images[0], noise[0], settings);
    const gradients = copy("gradient");
    images.forEach((x, i) => {
        const { loss, recon, kl } = vae.step(x, noise[i], settings);
        terms.push([loss, recon, kl]);
        if (seen.includes(i + 1)) after.push(copy("weight"));
    });
    const { mu, logvar } = vae.encode(images[0]);
    return { terms, gradients, after, mu: [...mu], logvar: [...logvar], decoded: [...vae.decode(mu)] } }"""


def made(activation="silu", sigma=None, hidden=(9,), dtype=torch.float64):
    "A model of the library with a likelihood that the lab knows."
    torch.manual_seed(0)
    likelihood = "bernoulli" if sigma is None else "normal"
    return mlp_vae(
        SHAPE, LATENTS, hidden, likelihood, sigma=sigma, activation=activation
    ).to(dtype)


def data(steps, batch=BATCH):
    "Batches of images and their noise, the same for both."
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(steps, batch, *SHAPE, generator=generator)
    return x, torch.randn(steps, batch, LATENTS, generator=generator)


def wrong(model, x, noise, bug, beta):
    "The objective as the bug has it, written with torch.distributions; then recon and KL, in nats per image."
    mu, logvar = model.encoder(x).chunk(2, -1)
    sigma = logvar.exp() if bug == "exp_logvar" else (logvar / 2).exp()
    if bug == "shared_noise":
        noise = noise[:1]
    z = mu if bug in ("no_noise", "autoencoder") else mu + sigma * noise
    out = model.decoder(z)
    if hasattr(model.likelihood, "log_sigma"):
        pixels = Normal(out.sigmoid(), model.likelihood.log_sigma.exp())
    else:
        pixels = Bernoulli(logits=out, validate_args=False)
    recon = -Independent(pixels, 3).log_prob(x)
    kl = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    counted = recon / math.prod(SHAPE) if bug == "recon_averaged" else recon
    cost = kl.mean(-1) if bug == "kl_averaged" else kl.sum(-1)
    loss = counted + (0 if bug == "autoencoder" else beta) * cost
    return loss.mean(), recon.mean(), kl.sum(-1).mean()


def in_torch(model, x, noise, bug, beta, seen):
    "What PyTorch makes of the same, with its own Adam and in double precision."
    x, noise = x.double(), noise.double()
    learned = [p for p in model.parameters() if p.requires_grad]
    order = sorted(learned, key=lambda p: p.shape == (1, 1, 1))  # σ comes last
    adam = torch.optim.Adam(order, lr=RATE)
    terms, after, first = [], [], None
    for i in range(len(x)):
        adam.zero_grad()
        loss, recon, kl = wrong(model, x[i], noise[i], bug, beta)
        loss.backward()
        first = first or [
            torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in order
        ]
        adam.step()
        terms.append([loss.item(), recon.item(), kl.item()])
        if i + 1 in seen:
            after.append([p.detach().clone() for p in order])
    return terms, first, after


def in_page(page, model, x, noise, bug, beta, seen, activation, sigma, hidden=(9,)):
    "What the engine makes of it. It stores noise by latent."
    options = {
        "pixels": math.prod(SHAPE),
        "latents": LATENTS,
        "hidden": list(hidden),
        "activation": activation,
        "likelihood": "bernoulli" if sigma is None else "normal",
        "batch": x.shape[1],
    } | ({} if sigma is None else {"sigma": sigma})
    learned = [p for p in model.parameters() if p.requires_grad]
    order = sorted(learned, key=lambda p: p.shape == (1, 1, 1))
    return page.evaluate(
        TRAIN,
        [
            options,
            [p.detach().flatten().tolist() for p in order],
            x.flatten(1).tolist(),
            noise.transpose(1, 2).flatten(1).tolist(),
            {"rate": RATE, "beta": beta, "bug": bug},
            seen,
        ],
    )


def distance(found, truth):
    "How far numbers are from the truth, as a share of the truth's length."
    truth = truth.double().flatten()
    off = (torch.tensor(found, dtype=torch.float64) - truth).norm()
    return (off / truth.norm().clamp(min=1e-3)).item()


def both(page, bug="none", activation="silu", sigma=None, beta=1.3, hidden=(9,)):
    x, noise = data(STEPS)
    seen = [1, 10, STEPS]
    model = made(activation, sigma, hidden)
    settings = bug, beta, seen
    there = in_page(page, model, x, noise, *settings, activation, sigma, hidden)
    return there, in_torch(model, x, noise, *settings), model


@pytest.mark.parametrize("sigma", SIGMAS.values(), ids=SIGMAS)
@pytest.mark.parametrize("bug", BUGS)
def test_loss_gradients_and_weights_are_pytorchs(page, bug, sigma):
    there, (terms, gradients, after), model = both(page, bug, sigma=sigma)
    assert distance(there["terms"][0], torch.tensor(terms[0])) < 1e-5
    assert torch.allclose(torch.tensor(there["terms"]), torch.tensor(terms), rtol=1e-3)
    for found, truth in zip(there["gradients"], gradients, strict=True):
        assert distance(found, truth) < 1e-5
    for limit, found, truth in zip((1e-5, 1e-4, 1e-3), there["after"], after):
        for ours, theirs in zip(found, truth, strict=True):
            assert distance(ours, theirs) < limit


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_learns_as_in_pytorch(page, activation):
    there, (terms, gradients, after), model = both(page, activation=activation)
    assert torch.allclose(torch.tensor(there["terms"]), torch.tensor(terms), rtol=1e-3)
    for found, truth in zip(there["gradients"], gradients, strict=True):
        assert distance(found, truth) < 1e-5
    for found, truth in zip(there["after"][-1], after[-1], strict=True):
        assert distance(found, truth) < 1e-3


def test_deeper_networks_encode_and_decode_as_in_pytorch(page):
    there, (_, _, after), model = both(page, hidden=(12, 6))
    for found, truth in zip(there["after"][-1], after[-1], strict=True):
        assert distance(found, truth) < 1e-3
    x = data(1)[0][0].double()
    with torch.no_grad():
        mu, logvar = model.encoder(x).chunk(2, -1)
        means = model.decode(mu).mean
    assert (
        distance(there["mu"], mu.T) < 1e-3
        and distance(there["logvar"], logvar.T) < 1e-3
    )
    assert distance(there["decoded"], means) < 1e-3


@pytest.mark.parametrize("batch", [1, 2, 4, 5, 8, 64])
def test_batches_of_any_size(page, batch):
    x, noise = data(3, batch)
    model = made()
    there = in_page(page, model, x, noise, "none", 1.0, [3], "silu", None)
    _, gradients, after = in_torch(model, x, noise, "none", 1.0, [3])
    for found, truth in zip(there["gradients"], gradients, strict=True):
        assert distance(found, truth) < 1e-5
    for found, truth in zip(there["after"][0], after[0], strict=True):
        assert distance(found, truth) < 1e-5


# Central differences along random directions: the page's loss at both ends, its gradient in the middle.
DIFFERENCES = """async ([options, images, noise, settings, h]) => {
    const { instance } = await WebAssembly.instantiate(bytesOf(TRAINING)), vae = makeVae(instance.exports, options), random = makeRandom(3);
    startVae(vae, random, Array(options.pixels).fill(0.4));
    vae.gradient(images, noise, settings);
    const slopes = vae.parameters("gradient").map((values) => [...values]), starts = vae.parameters().map((values) => [...values]);
    return slopes.map((slope, i) => {
        const way = slope.map(() => random.normal()), at = (t) => {
            vae.parameters()[i].set(starts[i].map((value, j) => value + t * way[j]));
            const { loss } = vae.loss(images, noise, settings);
            vae.parameters()[i].set(starts[i]);
            return loss };
        return [(at(h) - at(-h)) / (2 * h), slope.reduce((sum, value, j) => sum + value * way[j], 0)] }) }"""


@pytest.mark.parametrize("bug", BUGS)
def test_gradients_are_finite_differences(page, bug):
    x, noise = data(1)
    options = {
        "pixels": math.prod(SHAPE),
        "latents": LATENTS,
        "hidden": [9],
        "activation": "tanh",
        "likelihood": "normal",
        "sigma": "learned",
        "batch": BATCH,
    }
    images, noise = x[0].flatten().tolist(), noise[0].T.flatten().tolist()
    settings = {"beta": 2.0, "bug": bug}
    pairs = page.evaluate(DIFFERENCES, [options, images, noise, settings, 1e-2])
    assert len(pairs) == 9
    for difference, slope in pairs:
        assert difference == pytest.approx(slope, rel=0.02, abs=2e-3)


CHANCE = "(seed) => { const random = makeRandom(seed); return Array.from({ length: 20000 }, () => random.normal()) }"


def test_the_same_seed_is_the_same_chance(page):
    first, again, other = (page.evaluate(CHANCE, seed) for seed in (0, 0, 1))
    assert first == again and first != other
    draws = torch.tensor([first, other], dtype=torch.float64)
    assert draws.mean(1).abs().max() < 0.03 and (draws.std(1) - 1).abs().max() < 0.03
    assert abs(torch.corrcoef(draws)[0, 1]) < 0.03
    assert (draws.abs() > 1.96).double().mean() == pytest.approx(0.05, abs=0.005)
