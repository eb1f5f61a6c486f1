"The ELBO and its parts against independent truths: torch.distributions, quadrature, Monte Carlo, closed forms, limits."

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import (
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from vae_nb.elbo import (
    Delta,
    DiagonalNormal,
    LinearGaussian,
    elbo_terms,
    free_bits_kl,
    importance_weighted_bound,
    kl_monte_carlo,
    kl_normal,
    kl_per_dim,
    linear_warmup,
    reparameterise,
    standard_normal,
)
from vae_nb.likelihoods import LIKELIHOODS, BernoulliLikelihood, Pixels, make_likelihood
from vae_nb.vae import mlp_vae

close = torch.testing.assert_close


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(batch, latent_dim, seed, scale=1.0):
    "Random mean and log-variance."
    g = noise(seed)
    return torch.randn(batch, latent_dim, generator=g), scale * torch.randn(
        batch, latent_dim, generator=g
    )


# --- KL ---

shapes = dict(
    batch=st.integers(1, 5), latent_dim=st.integers(1, 7), seed=st.integers(0, 10_000)
)


@given(**shapes, scale=st.sampled_from([0.0, 1e-4, 0.1, 1.0, 5.0]))
@settings(deadline=None, max_examples=40)
def test_kl_is_torchs(batch, latent_dim, seed, scale):
    mu, logvar = gaussian(batch, latent_dim, seed, scale)
    q, prior = DiagonalNormal(mu, logvar), standard_normal(latent_dim)
    double = Independent(Normal(mu.double(), (logvar.double() / 2).exp()), 1)
    truth = kl_divergence(
        double, Independent(Normal(torch.zeros(latent_dim).double(), 1), 1)
    ).float()
    assert kl_normal(mu, logvar).shape == (batch,) and kl_per_dim(q, prior).shape == (
        batch,
        latent_dim,
    )
    close(kl_normal(mu, logvar), truth, rtol=1e-5, atol=1e-6)
    close(kl_per_dim(q, prior).sum(-1), truth, rtol=1e-5, atol=1e-6)


@given(**shapes)
@settings(deadline=None, max_examples=20)
def test_kl_between_two_gaussians_is_torchs(batch, latent_dim, seed):
    mu, logvar = gaussian(batch, latent_dim, seed)
    mu_p, logvar_p = gaussian(batch, latent_dim, seed + 1)
    q, p = DiagonalNormal(mu, logvar), DiagonalNormal(mu_p, logvar_p)
    truth = kl_divergence(
        MultivariateNormal(mu, torch.diag_embed(logvar.exp())),
        MultivariateNormal(mu_p, torch.diag_embed(logvar_p.exp())),
    )
    close(kl_per_dim(q, p).sum(-1), truth, rtol=1e-4, atol=1e-4)


def test_kl_per_dim_takes_other_distributions_too():
    q, p = (
        Independent(Normal(torch.randn(3, 2), 0.5), 1),
        Independent(Normal(torch.zeros(2), 2.0), 1),
    )
    close(kl_per_dim(q, p).sum(-1), kl_divergence(q, p))
    close(
        kl_per_dim(DiagonalNormal(torch.ones(3, 2), torch.zeros(3, 2)), p).sum(-1),
        kl_divergence(Independent(Normal(torch.ones(3, 2), 1.0), 1), p),
    )


@given(st.floats(-300, 80), st.floats(-1e3, 1e3))
@settings(deadline=None)
def test_kl_and_its_gradient_at_extreme_log_variances(logvar, mu):
    mu, logvar = (
        torch.tensor([[mu]], requires_grad=True),
        torch.tensor([[logvar]], requires_grad=True),
    )
    truth = 0.5 * (mu.double() ** 2 + torch.expm1(logvar.double()) - logvar.double())
    for kl in (
        kl_normal(mu, logvar),
        kl_per_dim(DiagonalNormal(mu, logvar), standard_normal(1)).sum(-1),
    ):
        close(kl.double(), truth[:, 0], rtol=1e-5, atol=1e-6)
        grad_mu, grad_logvar = torch.autograd.grad(kl.sum(), (mu, logvar))
        close(grad_mu, mu.detach())
        close(
            grad_logvar.double(),
            0.5 * torch.expm1(logvar.detach().double()),
            rtol=1e-4,
            atol=1e-6,
        )


def test_kl_is_zero_at_the_prior_and_never_negative():
    assert kl_normal(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]
    tiny = torch.linspace(-1e-3, 1e-3, 2001)[:, None]
    assert (
        kl_normal(torch.zeros_like(tiny), tiny) >= 0
    ).all()  # exp(l) - 1 - l goes below zero here
    assert (
        kl_per_dim(DiagonalNormal(torch.zeros_like(tiny), tiny), standard_normal(1))
        >= 0
    ).all()


def test_kl_monte_carlo_agrees_with_the_closed_form():
    mu, logvar = gaussian(4, 3, seed=1)
    q, prior, n = DiagonalNormal(mu, logvar), standard_normal(3), 40_000
    z = q.sample((n,))
    error = (q.log_prob(z) - prior.log_prob(z)).std(0) / n**0.5
    assert (
        (kl_monte_carlo(q, prior, n) - kl_normal(mu, logvar)).abs() < 5 * error
    ).all()


# --- posterior ---


def test_gradient_goes_through_the_sample():
    mu, logvar = (t.requires_grad_() for t in gaussian(6, 2, seed=3))
    z = reparameterise(mu, logvar, noise())
    epsilon = (z - mu).detach() / (logvar / 2).exp().detach()
    grad_mu, grad_logvar = torch.autograd.grad(z.sum(), (mu, logvar))
    close(grad_mu, torch.ones(6, 2))
    close(grad_logvar, (epsilon * (logvar / 2).exp() / 2).detach())


def test_same_generator_same_sample():
    mu, logvar = gaussian(3, 2, seed=4)
    q = DiagonalNormal(mu, logvar)
    assert torch.equal(
        reparameterise(mu, logvar, noise(7)), reparameterise(mu, logvar, noise(7))
    )
    assert torch.equal(q.rsample((5,), noise(7)), q.sample((5,), noise(7)))
    assert not torch.equal(q.sample((5,), noise(7)), q.sample((5,), noise(8)))
    g = noise(7)
    assert not torch.equal(
        q.sample(generator=g), q.sample(generator=g)
    )  # the generator moves on
    before = torch.get_rng_state()
    q.sample((5,), noise(7))
    assert torch.equal(before, torch.get_rng_state())  # the global one does not


@pytest.mark.parametrize("sample_shape", [(), (1,), (7,), (4, 3)])
@pytest.mark.parametrize("batch_shape", [(), (5,), (2, 3)])
def test_diagonal_normal_shapes(sample_shape, batch_shape):
    mu, logvar = torch.randn(*batch_shape, 6), torch.randn(*batch_shape, 6)
    q = DiagonalNormal(mu, logvar)
    assert q.event_shape == (6,) and q.batch_shape == batch_shape
    z = q.rsample(sample_shape)
    assert z.shape == (*sample_shape, *batch_shape, 6)
    truth = -0.5 * ((z - mu) ** 2 / logvar.exp() + logvar + math.log(2 * math.pi)).sum(
        -1
    )
    assert q.log_prob(z).shape == (*sample_shape, *batch_shape)
    close(q.log_prob(z), truth, rtol=1e-4, atol=1e-4)
    assert torch.equal(q.mean, mu)


def test_samples_are_independent_and_have_the_right_moments():
    mu, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[2.0, -3.0]])
    z = DiagonalNormal(mu, logvar).sample((50_000,))[:, 0]
    close(z.mean(0), mu[0], rtol=0, atol=0.06)
    close(z.var(0), logvar.exp()[0], rtol=0.05, atol=0)
    assert abs(torch.corrcoef(z.T)[0, 1]) < 0.03


def test_sample_has_no_gradient_and_rsample_has():
    q = DiagonalNormal(torch.zeros(2, 2, requires_grad=True), torch.zeros(2, 2))
    assert q.rsample().requires_grad and not q.sample().requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "logvar", [-80.0, -105.0, -150.0, -170.0, -400.0, -2000.0, 80.0]
)
def test_log_prob_at_extreme_log_variances(logvar, dtype):
    mu, spread = (
        torch.zeros(3, dtype=dtype, requires_grad=True),
        torch.full((3,), logvar, dtype=dtype, requires_grad=True),
    )
    q = DiagonalNormal(mu, spread)
    peak, truth = q.log_prob(mu.detach()), -1.5 * (logvar + math.log(2 * math.pi))
    close(peak.item(), truth, rtol=1e-6, atol=0)
    assert [g.tolist() for g in torch.autograd.grad(peak, (mu, spread))] == [
        [0.0] * 3,
        [-0.5] * 3,
    ]
    if logvar >= -170:  # where σ is a number of this dtype
        z = math.exp(logvar / 2) * torch.tensor([1.0, -2.0, 0.5], dtype=dtype)
        close(q.log_prob(z).item(), truth - 0.5 * 5.25, rtol=1e-4, atol=0)
    elsewhere = q.log_prob(torch.ones(3, dtype=dtype))
    assert elsewhere == -math.inf or elsewhere.item() == pytest.approx(
        truth - 1.5 * math.exp(-logvar), rel=1e-5
    )
    assert not q.log_prob(q.rsample((9,), noise())).isnan().any()


def test_a_point_has_no_density():
    point = Delta(torch.ones(3, 2))
    assert torch.equal(point.rsample((4,)), torch.ones(4, 3, 2)) and torch.equal(
        point.mean, torch.ones(3, 2)
    )
    with pytest.raises(ValueError, match="variational=False"):
        point.log_prob(torch.ones(3, 2))


# --- ELBO, free bits, warm-up ---


def test_elbo_terms_add_up():
    q, x = DiagonalNormal(*gaussian(3, 2, seed=5)), torch.rand(3, 1, 4, 4)
    p = BernoulliLikelihood()(torch.randn(3, 1, 4, 4))
    terms = elbo_terms(x, q, p, standard_normal(2), beta=0.25)
    assert {name: tuple(t.shape) for name, t in terms.items()} == {
        "loss": (3,),
        "recon": (3,),
        "kl": (3,),
        "kl_per_dim": (3, 2),
    }
    close(terms["recon"], -p.log_prob(x))
    close(terms["kl"], kl_normal(q.mu, q.logvar))
    close(terms["loss"], terms["recon"] + 0.25 * terms["kl"])


def test_free_bits_take_the_pressure_off_quiet_dimensions_only():
    mu = torch.tensor([[0.1, 2.0], [-0.1, 1.0]], requires_grad=True)
    logvar = torch.zeros(2, 2)
    q, p, prior = (
        DiagonalNormal(mu, logvar),
        BernoulliLikelihood()(torch.zeros(2, 1, 1, 1)),
        standard_normal(2),
    )
    terms = elbo_terms(torch.zeros(2, 1, 1, 1), q, p, prior, free_bits=0.5)
    (gradient,) = torch.autograd.grad(terms["loss"].mean(), mu, retain_graph=True)
    assert (gradient[:, 0] == 0).all() and (gradient[:, 1] != 0).all()
    close(
        terms["loss"] - terms["recon"], torch.full((2,), 0.5 + 1.25)
    )  # the floor, and the mean of 4/2 and 1/2
    close(terms["kl"], kl_normal(mu, logvar))  # what is reported stays the KL


def test_free_bits_work_on_the_batch_mean():
    kl = torch.tensor([[0.0, 3.0], [0.4, 1.0]])
    close(free_bits_kl(kl, 0.3), torch.tensor(0.3 + 2.0))
    close(free_bits_kl(kl, 0.1), torch.tensor(0.2 + 2.0))


def test_warm_up_endpoints():
    assert [linear_warmup(s, 10) for s in (0, 5, 10, 1000)] == [0, 0.5, 1, 1]
    assert linear_warmup(0, 0) == 1 and linear_warmup(0, 0, end=4.0) == 4
    assert (
        linear_warmup(0, 10, 0.5, 2.0) == 0.5 and linear_warmup(10, 10, 0.5, 2.0) == 2
    )


# --- importance-weighted bound ---


def linear(stretch=1.0, shift=0.0, orthogonal=True, sigma=0.5):
    W = torch.randn(6, 3, generator=noise(11))
    W = (
        torch.linalg.qr(W)[0] * torch.tensor([2.0, 1.0, 0.5])
        if orthogonal
        else W + W[:, :1]
    )
    return LinearGaussian(W, torch.linspace(-1, 1, 6), sigma, stretch, shift)


def drawn(model, n):
    return model.decode(model.prior.sample((n,))).sample()


@pytest.mark.parametrize("k", [7, 64, 130])
@pytest.mark.parametrize("chunk", [1, 3, 50, 64, 1000])
def test_chunks_do_not_change_the_value(k, chunk):
    model = linear(stretch=1.5)
    x, values = drawn(model, 4), []
    for c in (chunk, k):
        torch.manual_seed(5)
        values.append(importance_weighted_bound(model, x, k, c))
    close(*values, rtol=0, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_no_more_than_a_chunk_is_decoded_at_once(chunk):
    model, sizes = linear(), []
    decode, model.decode = model.decode, lambda z: sizes.append(len(z)) or decode(z)
    importance_weighted_bound(model, drawn(linear(), 2), k=300, chunk=chunk)
    assert (
        sum(sizes) == 300
        and max(sizes) <= chunk
        and len(sizes) <= 300 / min(chunk, 50) + 6
    )


def test_bound_rises_with_k_and_never_passes_the_truth():
    model, n = linear(stretch=1.6, shift=0.2), 3000
    x = drawn(model, n)
    gaps = [
        importance_weighted_bound(model, x, k) - model.log_marginal(x)
        for k in (1, 4, 16, 64)
    ]
    for gap in gaps:
        assert gap.mean() < 4 * gap.std() / n**0.5
    for looser, tighter in zip(gaps, gaps[1:]):
        assert looser.mean() < tighter.mean()


def test_one_sample_is_the_elbo():
    model, n = linear(stretch=1.6, shift=0.2), 20_000
    x = drawn(model, 1).expand(n, 6)
    q = model.encode(x[:1])
    expected = -(kl_per_dim(q, model.prior).sum() + expected_error(model, x[0], q))
    bound = importance_weighted_bound(model, x, k=1)
    assert abs(bound.mean() - expected) < 5 * bound.std() / n**0.5


def expected_error(model, x, q):
    "E_q[-log p(x|z)] in closed form: the squared error at the mean, plus what the posterior's variance adds."
    mean = q.mu[0] @ model.weight.T + model.bias
    spread = (model.weight**2 @ q.logvar[0].exp()).sum()
    return (
        0.5 * (((x - mean) ** 2).sum() + spread) / model.sigma**2
        + 6 * math.log(model.sigma)
        + 3 * math.log(2 * math.pi)
    )


class Remote(nn.Module):
    "A model whose log-weights lie around -10,000 and differ by tens."

    prior = standard_normal(2)

    def encode(self, x):
        return DiagonalNormal(torch.zeros(len(x), 2), torch.zeros(len(x), 2))

    def decode(self, z):
        return Far(z)


class Far:
    def __init__(self, z):
        self.z = z

    def log_prob(self, x):
        return -1e4 + 30 * self.z[..., 0]


def test_log_weights_near_minus_ten_thousand_do_not_underflow():
    k = 64
    torch.manual_seed(1)
    bound = importance_weighted_bound(Remote(), torch.zeros(3, 1), k=k, chunk=10)
    assert (
        bound.isfinite().all()
        and (bound > -1e4).all()
        and (bound < -1e4 + 30 * 5).all()
    )


@pytest.mark.parametrize("k, chunk", [(0, 64), (-1, 64), (4, 0)])
def test_fewer_than_one_sample_is_refused(k, chunk):
    with pytest.raises(ValueError, match=f"k={k}, chunk={chunk}"):
        importance_weighted_bound(linear(), torch.zeros(1, 6), k=k, chunk=chunk)


def test_gradient_flows_through_the_bound():
    model = linear(stretch=1.3)
    model.weight.requires_grad_()
    x = drawn(model, 5).detach().requires_grad_()
    gradients = torch.autograd.grad(
        importance_weighted_bound(model, x, k=8, chunk=3).sum(), (x, model.weight)
    )
    assert all(g.isfinite().all() and (g != 0).any() for g in gradients)


# --- the linear Gaussian model ---


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
def test_exact_posterior_has_no_gap(sigma):
    model = linear(sigma=sigma)
    model.double()
    x = drawn(model, 50)
    for k in (1, 5):
        close(
            importance_weighted_bound(model, x, k),
            model.log_marginal(x),
            rtol=0,
            atol=1e-4,
        )


def test_log_marginal_is_what_the_prior_averages_to():
    model = linear(sigma=2.0)
    x = drawn(model, 4)
    average = model.decode(model.prior.sample((200_000,))[:, None]).log_prob(
        x
    ).logsumexp(0) - math.log(200_000)
    close(average, model.log_marginal(x), rtol=0, atol=0.05)


def test_without_orthogonal_columns_the_gap_is_the_known_kl():
    model = linear(orthogonal=False)
    x = drawn(model, 400)
    q = model.encode(x[:1])
    precision = (
        torch.eye(3) + model.weight.T @ model.weight / model.sigma**2
    )  # Bayes for Gaussians
    true = MultivariateNormal(q.mu[0], precision_matrix=precision)
    gap = kl_divergence(
        MultivariateNormal(q.mu[0], torch.diag(q.logvar[0].exp())), true
    )
    bound = torch.stack(
        [
            importance_weighted_bound(model, x, 1) - model.log_marginal(x)
            for _ in range(50)
        ]
    )
    assert (
        gap > 0.2 and abs(bound.mean() + gap) < 5 * bound.std() / bound.numel() ** 0.5
    )


@pytest.mark.parametrize(
    "stretch, shift", [(0.7, 0.0), (2.0, 0.0), (1.0, 0.3), (1.4, -0.2)]
)
def test_elbo_below_bound_below_truth(stretch, shift):
    model, n = linear(stretch, shift), 3000
    x = drawn(model, n)
    truth, elbo, bound = (
        model.log_marginal(x),
        importance_weighted_bound(model, x, 1),
        importance_weighted_bound(model, x, 32),
    )
    assert elbo.mean() < bound.mean()
    assert (bound - truth).mean() < 4 * (bound - truth).std() / n**0.5
    variance, precision = (
        model.logvar.exp(),
        1 / model.logvar.exp(),
    )  # of the true posterior
    gap = (
        0.5
        * (
            stretch**2 * torch.ones(3) + shift**2 * precision - 1 - math.log(stretch**2)
        ).sum()
    )
    error = (elbo - truth).std() / n**0.5
    assert variance.min() > 0 and abs((truth - elbo).mean() - gap) < 5 * error


def test_linear_gaussian_moves_to_another_dtype():
    model = linear().double()
    x = torch.zeros(2, 6, dtype=torch.double)
    assert model.log_marginal(x).dtype == torch.double and importance_weighted_bound(
        model, x, 2
    ).shape == (2,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_everything_runs_on_the_accelerator():
    model = linear().to("cuda")
    x = torch.zeros(2, 6, device="cuda")
    close(
        importance_weighted_bound(model, x, 4), model.log_marginal(x), rtol=0, atol=1e-3
    )
    for name in LIKELIHOODS:
        p = make_likelihood(name).to("cuda")(torch.zeros(2, 1, 3, 3, device="cuda"))
        assert (
            p.log_prob(torch.ones(2, 1, 3, 3, device="cuda")).is_cuda
            and p.sample().is_cuda
        )


def test_pixels_need_no_particular_likelihood():
    p = Pixels(Normal(torch.zeros(2, 1, 3, 3), 1.0))
    assert p.log_prob(torch.zeros(2, 1, 3, 3)).shape == (2,)


def test_a_bound_refuses_images_without_their_channel():
    model, x = mlp_vae((1, 4, 6), 2, hidden=(8,)), torch.rand(5, 1, 4, 6)
    assert importance_weighted_bound(model, x, 3).shape == (5,)
    with pytest.raises(ValueError, match=r"not \(5, 4, 6\)"):
        importance_weighted_bound(model, x[:, 0], 3)
