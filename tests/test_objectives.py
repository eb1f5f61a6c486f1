"Importance-weighted objectives: bounds and gradients against closed forms and one another, refusals, memory."

import math
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from vae_nb.conv import conv_vae
from vae_nb.decodings import _free_memory, log_likelihood
from vae_nb.elbo import DiagonalNormal, LinearGaussian, importance_weighted_bound
from vae_nb.joint import joint_vae
from vae_nb.objectives import (
    best_posterior,
    held,
    importance_weighted,
    weigh,
)
from vae_nb.train import fit
from vae_nb.vae import mlp_vae


def binary(n=6, shape=(1, 28, 28)):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0)).round()


def linear(stretch=1.3, shift=0.2):
    "A linear VAE in double precision, its encoder off the true posterior, all its numbers trained."
    weight = torch.tensor([[1.5, 0.3], [0.0, 1.0], [0.4, -0.5], [0.2, 0.1]]).double()
    model = LinearGaussian(
        weight, torch.zeros(4).double(), 0.7, stretch, shift
    ).double()
    for name in ("weight", "bias", "gain", "logvar"):
        value = getattr(model, name)
        delattr(model, name)
        setattr(model, name, nn.Parameter(value))
    return model


def data(model, n, seed=0):
    torch.manual_seed(seed)
    return model.decode(model.prior.sample((n,))).sample().double()


class Apart(nn.Module):
    "The linear model with numbers of its own for each of n images, so that one pass gives the gradient of each."

    def __init__(self, model, n):
        super().__init__()
        self.model, self.prior = model, model.prior
        for name in NUMBERS:
            value = getattr(model, name).detach()
            setattr(self, name, nn.Parameter(value.repeat(n, *[1] * value.ndim)))

    def encode(self, x):
        mu = ((x - self.bias)[:, None] * self.gain).sum(-1) + self.model.shift
        return DiagonalNormal(mu, self.logvar + 2 * math.log(self.model.stretch))

    def decode(self, z):
        mean = (z[..., None, :] * self.weight).sum(-1) + self.bias
        return Independent(Normal(mean, self.model.sigma), 1)


NUMBERS = ("gain", "logvar", "weight", "bias")


def gradients(model, x, repeats=1, seed=0, **settings):
    "Gradients of the batch from independent draws, (repeats, numbers), the decoder's after the encoder's."
    apart = Apart(model, repeats * len(x))
    loss = importance_weighted(**settings, chunk=10**9)
    torch.manual_seed(seed)
    value = loss(apart, x.repeat(repeats, 1), 0)["loss"] * len(apart.weight)
    grads = torch.autograd.grad(value, [getattr(apart, name) for name in NUMBERS])
    rows = torch.cat([g.flatten(1) for g in grads], 1)
    return rows.view(repeats, len(x), -1).mean(1)


ENCODER = slice(0, 10)  # gain 2 × 4, logvar 2


# --- the value ---


@pytest.mark.parametrize("k", [1, 5, 50])
def test_the_loss_is_the_bound_of_the_same_draws(k):
    torch.manual_seed(0)
    model, x = mlp_vae((1, 28, 28), 4, (16,)), binary()
    torch.manual_seed(1)
    bound = importance_weighted_bound(model, x, k)
    torch.manual_seed(1)
    terms = importance_weighted(k)(model, x, 0)
    assert terms["loss"].item() == pytest.approx(-bound.mean().item(), rel=1e-5)
    if k == 1:
        both = terms["recon"] + terms["kl"]
        assert both.item() == pytest.approx(terms["loss"].item(), rel=1e-5)
    assert 1 - 1e-4 <= terms["effective"].item() <= k + 1e-3


def test_bounds_are_ordered_and_right_within_their_error():
    "k = 1 is the ELBO, known in closed form; bounds rise with k; at k = 512 the evidence is reached."
    model = linear()
    with torch.no_grad():
        x = data(model, 1500)
        exact = model.log_marginal(x)
        inverse = torch.eye(2).double() + model.weight.T @ model.weight / model.sigma**2
        q = model.encode(x)
        mean = x @ torch.linalg.solve(inverse, model.weight.T / model.sigma**2).T
        truth = MultivariateNormal(mean, precision_matrix=inverse)
        ours = MultivariateNormal(q.mu, torch.diag_embed(q.logvar.exp()))
        gap = torch.distributions.kl_divergence(ours, truth)
        last, last_error = None, 0.0
        for k in (1, 2, 8, 64, 512):
            torch.manual_seed(k)
            short = exact - importance_weighted_bound(model, x, k)
            error = short.std().item() / math.sqrt(len(x))
            if k == 1:
                assert abs(short.mean() - gap.mean()) < 4 * error
            else:
                assert short.mean() < last + 4 * math.hypot(error, last_error)
            assert short.mean() > -4 * error
            last, last_error = short.mean(), error
        assert abs(last) < 0.01


def test_groups_and_shares_of_the_elbo_lie_between_the_bounds():
    torch.manual_seed(0)
    log_w = 3 * torch.randn(64, 5)
    iwae, elbo = weigh(log_w, 64).bound, weigh(log_w, 1).bound
    assert torch.allclose(elbo, log_w.mean(0)) and (iwae >= elbo).all()
    miwae = weigh(log_w, 8).bound
    assert ((elbo <= miwae) & (miwae <= iwae)).all()
    half = weigh(log_w, 64, 0.5)
    assert torch.allclose(half.bound, (iwae + elbo) / 2)
    assert torch.allclose(weigh(log_w, 64, 1.0).bound, elbo)
    for found in (half, weigh(log_w, 8), weigh(log_w, 8, 0.3)):
        assert torch.allclose(found.share.sum(0), torch.ones(5))


@pytest.mark.parametrize("k, share", [(1, 0.0), (4, 0.0), (8, 0.0), (4, 0.3)])
def test_the_plain_gradient_is_that_of_the_bound(k, share):
    "Against automatic differentiation of the log-sum-exp itself, with the same draws."
    model = linear()
    x, groups = data(model, 7), 8 // k
    settings = dict(k=k, groups=groups, elbo_share=share)
    torch.manual_seed(3)
    loss = importance_weighted(**settings)(model, x, 0)["loss"]
    weights = [getattr(model, name) for name in NUMBERS]
    ours = torch.autograd.grad(loss, weights)
    torch.manual_seed(3)
    q = model.encode(x)
    z = q.rsample((8,))
    log_w = model.decode(z).log_prob(x) + model.prior.log_prob(z) - q.log_prob(z)
    iwae = (log_w.view(groups, k, 7).logsumexp(1) - math.log(k)).mean(0)
    bound = share * log_w.mean(0) + (1 - share) * iwae
    grads = torch.autograd.grad(-bound.mean(), weights)
    for found, known in zip(ours, grads, strict=True):
        assert torch.allclose(found, known, rtol=1e-9)
    rows = gradients(model, x, seed=3, **settings)[0]
    assert torch.allclose(rows, torch.cat([g.flatten() for g in grads]), rtol=1e-9)


# --- the gradients, statistically ---


def compare(k, repeats=3000, **settings):
    "Plain and other gradients of one batch: means, standard errors of their difference, variances."
    model = linear()
    x = data(model, 3)
    plain = gradients(model, x, repeats, k=k)
    other = gradients(model, x, repeats, seed=10**6, k=k, **settings)
    error = ((plain.var(0) + other.var(0)) / repeats).sqrt()
    return (plain.mean(0) - other.mean(0)) / error, plain.var(0), other.var(0)


@pytest.mark.parametrize("k", [1, 8, 64])
def test_dreg_agrees_with_the_plain_gradient_and_varies_less(k):
    "22 numbers, each difference within 4.5 standard errors: by chance in one run of 7,000."
    off, plain, dreg = compare(k, gradient="dreg")
    assert off.abs().max() < 4.5
    assert dreg[ENCODER].sum() < plain[ENCODER].sum() / 1.3


def test_dreg_of_ciwae_and_miwae_agree_too():
    for settings in (dict(elbo_share=0.4), dict(groups=2)):
        model = linear()
        x = data(model, 3)
        plain = gradients(model, x, 3000, k=4, **settings)
        dreg = gradients(model, x, 3000, seed=10**6, k=4, gradient="dreg", **settings)
        error = ((plain.var(0) + dreg.var(0)) / 3000).sqrt()
        assert ((plain.mean(0) - dreg.mean(0)) / error).abs().max() < 4.5


def test_sticking_the_landing_is_right_at_one_sample_and_biased_at_eight():
    off, *_ = compare(1, gradient="stl")
    assert off.abs().max() < 4.5
    off, *_ = compare(8, gradient="stl")
    assert off[ENCODER].abs().max() > 10


def test_at_the_true_posterior_held_gradients_are_zero():
    "W has orthogonal columns, so that q is exact: then every weight is p(x)."
    model = LinearGaussian(torch.eye(3, 2).double(), torch.zeros(3).double(), 0.5)
    model.gain, model.logvar = nn.Parameter(model.gain), nn.Parameter(model.logvar)
    x = data(model, 5)
    sizes = {}
    for gradient in ("plain", "stl", "dreg"):
        torch.manual_seed(0)
        loss = importance_weighted(8, gradient)(model, x, 0)["loss"]
        grads = torch.autograd.grad(loss, [model.gain, model.logvar])
        sizes[gradient] = sum(g.abs().sum() for g in grads)
    assert sizes["stl"] < 1e-10 and sizes["dreg"] < 1e-10 < 1e-3 < sizes["plain"]


# --- pieces, pixels, models ---


@pytest.mark.parametrize("gradient", ["plain", "stl", "dreg"])
@pytest.mark.parametrize("chunk", [1, 10, 16, 10**6])
def test_pieces_change_nothing(gradient, chunk):
    torch.manual_seed(0)
    model, x, found = mlp_vae((1, 28, 28), 4, (16,)), binary(7), []
    for size in (10**9, chunk):
        torch.manual_seed(5)
        model.zero_grad()
        terms = importance_weighted(5, gradient, chunk=size)(model, x, 0)
        terms["loss"].backward()
        found.append((terms, torch.cat([w.grad.flatten() for w in model.parameters()])))
    for name, value in found[0][0].items():
        assert value.item() == pytest.approx(found[1][0][name].item(), rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)


def test_pieces_without_a_gradient_and_with_frozen_halves():
    torch.manual_seed(0)
    model, x = mlp_vae((1, 28, 28), 4, (16,)), binary()
    loss = importance_weighted(4, "dreg", chunk=4)
    with torch.no_grad():
        assert loss(model, x, 0)["loss"].isfinite()
    model.encoder.requires_grad_(False)
    loss(model, x, 0)["loss"].backward()
    assert all(w.grad is not None for w in model.decoder.parameters())
    model.encoder.requires_grad_(True)
    model.decoder.requires_grad_(False)
    loss(model, x, 0)["loss"].backward()
    assert all(w.grad is not None for w in model.encoder.parameters())


def test_pieces_without_a_gradient_are_pieces_too(monkeypatch):
    torch.manual_seed(0)
    model, x, seen = mlp_vae((1, 28, 28), 4, (16,)), binary(), []
    loss, decode = importance_weighted(4, chunk=8), model.decode

    def noted(z):
        seen.append(z.shape[:-1].numel())
        return decode(z)

    monkeypatch.setattr(model, "decode", noted)
    values = []
    for gradient in (True, False):
        torch.manual_seed(1)
        with torch.set_grad_enabled(gradient):
            values.append(loss(model, x, 0)["loss"].item())
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert max(seen) == 8 and seen.count(8) == 2 * 3


def test_the_images_have_their_gradient_too():
    "Of the bound itself, as autograd finds it."
    torch.manual_seed(0)
    model, x = mlp_vae((1, 28, 28), 4, (16,)), binary().requires_grad_()
    torch.manual_seed(1)
    bound = importance_weighted_bound(model, x, 4, chunk=4)
    (truth,) = torch.autograd.grad(-bound.mean(), x)
    for chunk in (8, None):
        torch.manual_seed(1)
        loss = importance_weighted(4, chunk=chunk)(model, x, 0)["loss"]
        (ours,) = torch.autograd.grad(loss, x)
        torch.testing.assert_close(ours, truth, rtol=1e-3, atol=1e-6)


def test_pieces_are_scaled_as_the_loss_is():
    torch.manual_seed(0)
    model, x = mlp_vae((1, 28, 28), 4, (16,)), binary()
    norms = []
    for factor in (1.0, 3.0):
        torch.manual_seed(1)
        model.zero_grad()
        loss = importance_weighted(4, chunk=4)(model, x, 0)["loss"]
        (factor * loss).backward()
        norms.append(sum(w.grad.square().sum() for w in model.parameters()).sqrt())
    assert norms[1].item() == pytest.approx(3 * norms[0].item(), rel=1e-5)


@pytest.mark.parametrize("grey", [False, True])
def test_the_bernoulli_in_few_passes_is_the_bernoulli(grey):
    torch.manual_seed(0)
    model = mlp_vae((1, 28, 28), 4, (16,))
    x, z = torch.rand(6, 1, 28, 28) if grey else binary(), 5 * torch.randn(3, 6, 4)
    found = []
    for score in (lambda p: p.log_prob(x), lambda p: log_likelihood(p, x)):
        model.zero_grad()
        value = score(model.decode(z))
        value.sum().backward()
        grads = [w.grad.flatten() for w in model.decoder.parameters()]
        found.append((value, torch.cat(grads)))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-3)


@pytest.mark.parametrize("size", [30.0, 99.0, 120.0, 1e4])
def test_logits_of_any_size_cost_what_they_should(size):
    model = mlp_vae((1, 28, 28), 4, (16,))
    logits = torch.full((2, 3, 1, 28, 28), size, requires_grad=True)
    for x in (torch.zeros(3, 1, 28, 28), torch.ones(3, 1, 28, 28)):
        p = model.likelihood(logits)
        value = log_likelihood(p, x)
        assert torch.allclose(value, p.log_prob(x), rtol=1e-3, atol=1e-3)
        (grad,) = torch.autograd.grad(value.sum(), logits)
        assert torch.allclose(grad, x.expand_as(grad) - 1.0, atol=1e-6)


def test_pixels_out_of_range_are_refused():
    model = mlp_vae((1, 28, 28), 4, (16,))
    with pytest.raises(ValueError, match=r"pixels in \[0, 1\]"):
        importance_weighted(3)(model, 2 * binary(), 0)


def builds():
    yield "normal", lambda: mlp_vae((1, 16, 16), 3, (8,), likelihood="normal")
    yield "conv", lambda: conv_vae((1, 16, 16), 3, (4, 8))
    yield (
        "bernoulli conv",
        lambda: conv_vae((1, 16, 16), 3, (4, 8), likelihood="bernoulli"),
    )
    yield "joint", lambda: joint_vae((1, 16, 16), 3, (), hidden=(8,))


@pytest.mark.parametrize(
    "build", [b for _, b in builds()], ids=[n for n, _ in builds()]
)
@pytest.mark.parametrize("gradient", ["plain", "dreg"])
def test_models_train(build, gradient):
    torch.manual_seed(0)
    images, model = binary(32, (1, 16, 16)), build()
    loss = importance_weighted(3, gradient, chunk=24)
    history = fit(
        model,
        images,
        epochs=2,
        batch_size=16,
        training_loss=loss,
        progress=False,
        valid=images,
    )
    row = history[-1]
    assert math.isfinite(row["train_loss"]) and 1 <= row["train_effective"] <= 3


def test_k_may_grow_with_the_step():
    seen = []

    def growing(step):
        seen.append(step)
        return 1 + step

    model = mlp_vae((1, 28, 28), 3, (8,))
    loss = importance_weighted(growing, "dreg")
    fit(model, binary(12), epochs=2, batch_size=6, training_loss=loss, progress=False)
    assert seen == [0, 1, 2, 3] and "growing" in loss.__name__


def test_a_step_that_is_a_tensor_asks_k_for_a_number():
    "So `fit` passes it on when it compiles the loss."
    loss = importance_weighted(lambda step: 1 + step)
    terms = loss(mlp_vae((1, 28, 28), 3, (8,)), binary(), torch.tensor(3))
    assert 1 <= terms["effective"] <= 4


@pytest.mark.parametrize("k", [np.int64(3), np.int32(3)])
def test_numpys_numbers_are_numbers(k):
    model, x = mlp_vae((1, 28, 28), 3, (8,)), binary()
    loss = importance_weighted(k, elbo_share=np.float32(0.5), chunk=np.int64(8))
    assert loss(model, x, 0)["loss"].isfinite()


# --- what is refused ---


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(k=0), "k must be a whole number from 1 up, not 0"),
        (dict(k=2.5), "k must be a whole number"),
        (dict(k=True), "k must be a whole number"),
        (dict(groups=0), "groups must be a whole number"),
        (dict(chunk=0), "chunk must be a whole number"),
        (dict(elbo_share=1.5), "elbo_share must be from 0 to 1"),
        (dict(elbo_share=math.nan), "elbo_share must be from 0 to 1"),
        (dict(gradient="dregs"), "'plain', 'stl', 'dreg', not 'dregs'. Did you mean"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        importance_weighted(**settings)


def test_a_growing_k_is_checked_when_it_is_used():
    with pytest.raises(ValueError, match="k must be a whole number from 1 up, not 0"):
        importance_weighted(lambda step: step)(mlp_vae((1, 28, 28), 3), binary(), 0)


def test_models_without_importance_weights_are_refused():
    loss = importance_weighted(3)
    with pytest.raises(TypeError, match="joint_loss, or build it with categorical"):
        loss(joint_vae((1, 28, 28), 3, (10,)), binary(), 0)
    with pytest.raises(TypeError, match="plain autoencoder"):
        loss(mlp_vae((1, 28, 28), 3, variational=False), binary(), 0)
    with pytest.raises(ValueError, match="no beta, and this model has beta=4"):
        loss(mlp_vae((1, 28, 28), 3, beta=4), binary(), 0)
    with pytest.raises(ValueError, match="no free_bits, and this model has"):
        loss(mlp_vae((1, 28, 28), 3, free_bits=0.5), binary(), 0)


def test_models_with_labels_are_refused_and_with_one_label_trained():
    from vae_nb.data.tensors import TensorData
    from vae_nb.labels import conditional_vae

    model, x = conditional_vae((1, 28, 28), 3, 2, hidden=(8,)), binary()
    loss, y = importance_weighted(3, chunk=6), torch.arange(6) % 3
    batch = next(iter(TensorData(x, y=y).batches(6)))
    for told in (model, model.given(y)):
        with pytest.raises(TypeError, match="passes no labels on"):
            loss(told, batch if told is model else x, 0)
    assert loss(model.given(2), x, 0)["loss"].isfinite()


def test_a_posterior_that_is_no_gaussian_keeps_the_plain_gradient():
    q = MultivariateNormal(torch.zeros(2), torch.eye(2))
    with pytest.raises(TypeError, match="MultivariateNormal: use gradient='plain'"):
        held(q)


def test_samples_that_do_not_fit_are_refused_with_the_number_that_does():
    model = mlp_vae((1, 28, 28), 3, (8,))
    with pytest.raises(ValueError, match=r"10,000,000,000 samples .* about [\d,]+ do"):
        importance_weighted(10**10)(model, binary(), 0)
    with pytest.raises(ValueError, match="do not fit into memory"):
        importance_weighted(10**5, groups=10**5)(model, binary(), 0)


def test_the_number_that_fits_counts_what_a_decoding_keeps(monkeypatch):
    import vae_nb.decodings as module

    monkeypatch.setattr(module, "_free_memory", lambda device: 200_000_000)
    model, x = mlp_vae((1, 28, 28), 3, (8,)), binary()
    with pytest.raises(ValueError) as error:
        importance_weighted(10**6)(model, x, 0)
    fits = int(str(error.value).split("about ")[1].split()[0].replace(",", ""))
    assert 2_000 < fits < 32_000  # a decoding keeps 784 floats and a little
    importance_weighted(fits // 2)(model, x, 0)


@pytest.mark.parametrize(
    "options, least",
    [
        ({"prior": "vampprior"}, 2),  # 500 distances for each latent
        ({"prior": "flow"}, 5),
        ({"posterior": "flow"}, 3),
    ],
    ids=str,
)
def test_the_densities_of_a_large_prior_count_too(options, least):
    from vae_nb.decodings import _bytes_per_sample

    x = binary(50)
    plain, other = (mlp_vae((1, 28, 28), 3, (8,), **o) for o in ({}, options))
    decoding, latents = _bytes_per_sample(plain, x, plain.encode(x))
    assert 2 * 4 * 784 <= decoding <= 6 * 4 * 784
    same, more = _bytes_per_sample(other, x, other.encode(x))
    assert same == decoding and more > least * latents


def test_what_is_counted_is_what_a_step_keeps():
    "Measured on a step with a flow prior: half is kept, half is made on the way."
    from vae_nb.decodings import _bytes_per_sample

    model, x = mlp_vae((1, 28, 28), 3, (8,), prior="flow"), binary(50)

    class Kept:
        "A tensor, for as long as a graph holds it."

        def __init__(self, t):
            self.t = t
            alive.add(self)

    sizes = []
    for k in (10, 20):
        alive = weakref.WeakSet()
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.t):
            loss = importance_weighted(k, chunk=k)(model, x, 0)["loss"]
        storages = [kept.t.untyped_storage() for kept in alive]
        sizes.append(sum({s.data_ptr(): s.nbytes() for s in storages}.values()))
        del loss
    _, latents = _bytes_per_sample(model, x, model.encode(x))
    assert 0.4 <= (sizes[1] - sizes[0]) / 10 / latents <= 0.6


def test_another_model_is_asked_anew_what_fits(monkeypatch):
    asked, loss = [], importance_weighted(4)
    monkeypatch.setattr(
        "vae_nb.objectives.check_memory",
        lambda model, x, q, n: asked.append(model) or n * len(x),
    )
    small, large = mlp_vae((1, 28, 28), 3, (8,)), mlp_vae((1, 28, 28), 3, (9,))
    for model in (small, small, large, large):
        loss(model, binary(6), 0)
    assert asked == [small, large]


def test_a_gradient_taken_twice_is_refused_in_words():
    loss = importance_weighted(4)(mlp_vae((1, 28, 28), 3, (8,)), binary(6), 0)["loss"]
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="taken once: compute the loss again"):
        loss.backward()


# --- the best posterior of each image ---


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"steps": -1}, {"steps": 2.5}])
def test_a_search_of_no_steps_or_samples_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be a whole number from 1 up"):
        best_posterior(mlp_vae((1, 28, 28), 3, (8,)), binary(), **wrong)


def test_the_search_leaves_a_model_in_training_as_it_is():
    model = conv_vae((1, 16, 16), 3, (4, 8)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        best_posterior(model, binary(6, (1, 16, 16)), steps=3)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize("kind", [{"posterior": "flow"}, {"variational": False}])
def test_the_search_needs_a_gaussian(kind):
    with pytest.raises(TypeError, match="posterior is a (Flowed|Delta)"):
        best_posterior(mlp_vae((1, 28, 28), 3, (8,), **kind), binary(), steps=1)


@pytest.mark.slow
def test_the_best_posterior_of_a_linear_model_is_the_true_one():
    truth = LinearGaussian(torch.eye(3, 2), torch.zeros(3), 0.5)
    spoilt = LinearGaussian(torch.eye(3, 2), torch.zeros(3), 0.5, 1.5, 0.4)
    x = data(truth, 20).float()
    q, best = best_posterior(spoilt, x, steps=300), truth.encode(x)
    assert (q.mu - best.mu).abs().max() < 0.05
    assert (q.logvar - best.logvar).abs().max() < 0.1


@pytest.mark.parametrize("chunk", [4, 10**9])
def test_a_second_derivative_is_refused_in_words(chunk):
    model = mlp_vae((1, 28, 28), 3, (8,))
    loss = importance_weighted(4, chunk=chunk)(model, binary(6), 0)["loss"]
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True)


def test_cached_files_are_free_memory(monkeypatch):
    group = "/sys/fs/cgroup/memory."
    texts = {
        "/proc/meminfo": "MemAvailable: 64000000 kB\n",
        group + "max": "8000000000\n",
        group + "current": "7900000000\n",
        group + "stat": "anon 4\ninactive_file 7000000000\nactive_file 400000000\n",
    }
    monkeypatch.setattr(Path, "read_text", lambda self: texts[str(self)])
    assert _free_memory(torch.device("cpu")) == 7_500_000_000
