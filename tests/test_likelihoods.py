"Likelihoods: pixels in and out of range, each against torch or the definition."

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import (
    ContinuousBernoulli,
    Normal,
)

from vae_nb.likelihoods import (
    LIKELIHOODS,
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    DiscretisedLogistic,
    DiscretisedLogisticLikelihood,
    NormalLikelihood,
    OptimalNormal,
    StableContinuousBernoulli,
    make_likelihood,
)

close = torch.testing.assert_close
LEVELS = torch.arange(256) / 255


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


# --- pixels ---


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_is_one_number_per_image_with_any_leading_shape(name):
    likelihood, out = make_likelihood(name, 3), torch.randn(5, 2, 3, 4, 4)
    p = likelihood(out)
    x = (torch.rand(2, 3, 4, 4) * 255).round() / 255
    total = p.log_prob(x)
    assert (
        total.shape == (5, 2)
        and p.mean.shape == out.shape
        and p.event_shape == (3, 4, 4)
    )
    one = p.base_dist.log_prob(x)[1, 1]  # (3, 4, 4): every pixel by itself
    close(
        total[1, 1],
        sum(one.flatten().tolist(), torch.tensor(0.0)),
        rtol=1e-4,
        atol=1e-3,
    )
    close(
        likelihood(out[1, 1:]).log_prob(x[1:])[0], total[1, 1], rtol=1e-4, atol=1e-3
    )  # whoever else is in the batch


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize(
    "bad, found",
    [(math.nan, "1 NaN"), (-0.5, "-0.5"), (255.0, "255"), (math.inf, "inf")],
)
def test_pixels_out_of_range_are_refused_by_value(name, bad, found):
    x = torch.zeros(2, 1, 4, 4)
    x[1, 0, 2, 3] = bad
    with pytest.raises(ValueError, match=r"\[0, 1\]") as error:
        make_likelihood(name)(torch.zeros(2, 1, 4, 4)).log_prob(x)
    assert found in str(error.value)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_link_inverts_the_mean(name):
    likelihood, mean = (
        make_likelihood(name),
        torch.tensor([0.01, 0.03, 0.2, 0.5, 0.8, 0.95, 0.99]).view(1, 1, 7),
    )
    close(likelihood(likelihood.link(mean)[None]).mean[0], mean, rtol=0, atol=2e-4)
    at_the_ends = likelihood(
        likelihood.link(torch.tensor([[[0.0, 1.0]]]))[None]
    ).mean.flatten()
    assert (
        at_the_ends.isfinite().all() and at_the_ends[0] < 0.02 and at_the_ends[1] > 0.98
    )


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_samples_can_be_scored_again(name):
    p = make_likelihood(name, 2)(torch.randn(3, 2, 5, 5))
    x = p.sample()
    assert x.shape == (3, 2, 5, 5)
    assert p.log_prob(x.clamp(0, 1)).isfinite().all()


@pytest.mark.parametrize(
    "options",
    [(name,) for name in LIKELIHOODS]
    + [("normal", 3, "per_channel"), ("normal", 3, "optimal")],
    ids=str,
)
@pytest.mark.parametrize(
    "dtype, rtol",
    [(torch.float16, 2e-3), (torch.bfloat16, 1e-2), (torch.float64, 1e-5)],
    ids=str,
)
def test_number_types_of_images_and_parameters_do_not_matter(options, dtype, rtol):
    out, x = (
        torch.randn(2, 3, 4, 4),
        LEVELS.view(2, 1, 8, 16)[:, :, :4, :4].expand(2, 3, 4, 4),
    )
    truth = make_likelihood(*options)(out).log_prob(x)
    log_p = (
        make_likelihood(*options).to(dtype)(out).log_prob(x.to(dtype))
    )  # in training mode
    assert log_p.dtype == torch.promote_types(dtype, torch.float32)
    close(log_p.float(), truth, rtol=rtol, atol=10 * rtol)  # nats


def test_unknown_likelihood_suggests_the_nearest():
    with pytest.raises(
        ValueError, match="unknown likelihood 'bernouli'.*Did you mean 'bernoulli'"
    ):
        make_likelihood("bernouli")
    with pytest.raises(ValueError, match="discretised_logistic"):
        make_likelihood("discretized_logistic")


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n != "normal"])
def test_sigma_goes_with_normal_only(name):
    with pytest.raises(ValueError, match="sigma=0.3 goes with likelihood='normal'"):
        make_likelihood(name, 1, 0.3)


# --- Bernoulli ---


def test_bernoulli_is_binary_cross_entropy():
    logits, x = 4 * torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    truth = -F.binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(
        (1, 2, 3)
    )
    close(BernoulliLikelihood()(logits).log_prob(x), truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_bernoulli_is_stable_at_saturation(logit, pixel):
    logits = torch.full((1, 1, 1, 1), logit, requires_grad=True)
    log_p = BernoulliLikelihood()(logits).log_prob(torch.full((1, 1, 1, 1), pixel))
    close(log_p.item(), pixel * logit - max(logit, 0), rtol=1e-6, atol=1e-4)
    close(
        torch.autograd.grad(log_p.sum(), logits)[0].item(),
        pixel - (logit > 0),
        rtol=1e-5,
        atol=1e-6,
    )


# --- continuous Bernoulli ---


@pytest.mark.parametrize(
    "eta",
    [
        -500.0,
        -50,
        -5,
        -0.1001,
        -0.0999,
        -1e-6,
        0,
        1e-6,
        1e-2,
        0.0999,
        0.1001,
        1,
        15,
        50,
        500,
    ],
)
def test_continuous_bernoulli_integrates_to_one_and_has_the_right_mean(eta):
    grid = torch.linspace(0, 1, 200_001, dtype=torch.double)
    p = StableContinuousBernoulli(logits=torch.tensor(eta, dtype=torch.double))
    density = p.log_prob(grid).exp()
    close(torch.trapezoid(density, grid).item(), 1.0, rtol=0, atol=1e-5)
    close(
        torch.trapezoid(grid * density, grid).item(), p.mean.item(), rtol=0, atol=1e-5
    )
    single = StableContinuousBernoulli(logits=torch.tensor(float(eta)))
    close(single.mean.item(), p.mean.item(), rtol=0, atol=1e-5)
    close(
        single.log_prob(torch.tensor(0.25)).item(),
        p.log_prob(torch.tensor(0.25)).item(),
        rtol=1e-5,
        atol=1e-5,
    )


@given(st.floats(-10, 10), st.floats(0, 1))
@settings(deadline=None)
def test_continuous_bernoulli_is_torchs_at_moderate_logits(eta, x):
    logits, x = (
        torch.tensor(eta, dtype=torch.double),
        torch.tensor(x, dtype=torch.double),
    )
    truth = ContinuousBernoulli(logits=logits)
    close(
        StableContinuousBernoulli(logits=logits).log_prob(x),
        truth.log_prob(x),
        rtol=1e-5,
        atol=1e-5,
    )
    close(
        StableContinuousBernoulli(logits=logits).mean, truth.mean, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("size", [0.0, 1e-6, 1e-2, 1.0, 50.0, 500.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_continuous_bernoulli_has_an_exact_gradient_everywhere(size, sign):
    eta = torch.tensor(sign * size, requires_grad=True)
    p = StableContinuousBernoulli(logits=eta)
    log_p = p.log_prob(torch.tensor(0.3))
    gradient = torch.autograd.grad(log_p, eta)[0]
    assert log_p.isfinite()
    close(
        gradient, 0.3 - p.mean.detach(), rtol=1e-4, atol=1e-4
    )  # an exponential family: x minus its mean
    variance = torch.autograd.grad(StableContinuousBernoulli(logits=eta).mean, eta)[0]
    assert (
        variance.isfinite() and 0 < variance < 0.0834
    )  # the derivative of the mean is the variance, 1/12 at most


@pytest.mark.parametrize("eta", [-40.0, -3, 0, 3, 40])
def test_continuous_bernoulli_samples_have_its_distribution(eta):
    p = StableContinuousBernoulli(logits=torch.tensor(float(eta)))
    x = p.sample((50_000,))
    assert x.min() >= 0 and x.max() <= 1
    close(x.mean(), p.mean, rtol=0, atol=5 * x.std().item() / 50_000**0.5)
    median = p.icdf(torch.tensor(0.5))
    assert abs((x < median).float().mean() - 0.5) < 0.012
    ends = p.icdf(torch.tensor([0.0, 1.0]))
    assert ends.isfinite().all() and ends[0] < 1e-3 and ends[1] > 1 - 1e-3


def test_white_stays_white():
    out = torch.full((1, 1, 2, 2), 400.0)
    assert (
        ContinuousBernoulliLikelihood()(out).mean.min() > 0.99
    )  # torch's own mean stops at 0.937


# --- normal ---


@pytest.mark.parametrize(
    "sigma, parameters, shape",
    [
        (0.5, 0, (1, 1, 1)),
        (1, 0, (1, 1, 1)),
        ("learned", 1, (1, 1, 1)),
        ("per_channel", 1, (3, 1, 1)),
        ("optimal", 0, (1, 1, 1)),
    ],
)
def test_sigma_options(sigma, parameters, shape):
    likelihood = make_likelihood("normal", 3, sigma)
    assert (
        len(list(likelihood.parameters())) == parameters
        and likelihood.log_sigma.shape == shape
    )
    assert "log_sigma" in likelihood.state_dict()  # a fixed σ is saved too
    out, x = torch.randn(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    truth = (
        Normal(out.sigmoid(), likelihood.log_sigma.exp().expand(3, 4, 4))
        .log_prob(x)
        .sum((1, 2, 3))
    )
    close(likelihood.eval()(out).log_prob(x), truth)


@pytest.mark.parametrize(
    "sigma", [0, -1, 0.0, math.nan, math.inf, True, "optimum", "0.3", [0.3]]
)
def test_bad_sigma_is_named(sigma):
    with pytest.raises(ValueError, match="sigma must be a positive number") as error:
        make_likelihood("normal", 1, sigma)
    assert repr(sigma) in str(error.value)


def test_learned_sigma_learns_the_noise():
    likelihood, out = make_likelihood("normal", 1, "learned"), torch.zeros(64, 1, 8, 8)
    x = (0.5 + 0.1 * torch.randn(64, 1, 8, 8)).clamp(0, 1)
    optimiser = torch.optim.Adam(likelihood.parameters(), 0.05)
    for _ in range(150):
        optimiser.zero_grad()
        (-likelihood(out).log_prob(x).mean()).backward()
        optimiser.step()
    close(likelihood.log_sigma.exp().item(), 0.1, rtol=0.05, atol=0)


def test_optimal_sigma_is_the_rmse_and_beats_every_other():
    out, x = torch.randn(8, 1, 6, 6), torch.rand(8, 1, 6, 6)
    rmse = (x - out.sigmoid()).pow(2).mean().sqrt().item()
    best = NormalLikelihood("optimal").train()(out).log_prob(x).mean()
    close(best, NormalLikelihood(rmse)(out).log_prob(x).mean(), rtol=1e-5, atol=1e-3)
    for factor in (0.3, 0.9, 0.99, 1.01, 1.1, 3.0):
        assert NormalLikelihood(rmse * factor)(out).log_prob(x).mean() < best


def test_optimal_sigma_runs_in_training_and_rests_in_evaluation():
    likelihood, out, x = (
        NormalLikelihood("optimal", 1),
        torch.randn(8, 1, 6, 6),
        torch.rand(8, 1, 6, 6),
    )
    start = likelihood.log_sigma.clone()
    likelihood.eval()(out).log_prob(x)
    assert torch.equal(likelihood.log_sigma, start)
    likelihood.train()(out).log_prob(x)
    best = (x - out.sigmoid()).pow(2).mean().sqrt().log()
    close(
        likelihood.log_sigma, start + 0.05 * (best - start)
    )  # one batch has a twentieth of the say
    for _ in range(200):
        likelihood.train()(out).log_prob(x)
    rmse = (x - out.sigmoid()).pow(2).mean().sqrt()
    close(likelihood.log_sigma.exp().item(), rmse.item(), rtol=1e-3, atol=0)
    settled = likelihood.log_sigma.clone()
    p = likelihood.eval()(out)
    p.log_prob(x * 0.5)
    assert torch.equal(likelihood.log_sigma, settled)
    close(p.base_dist.stddev, settled.exp().expand_as(out))


def test_optimal_sigma_survives_a_perfect_reconstruction():
    likelihood, out = (
        NormalLikelihood("optimal").train(),
        torch.zeros(2, 1, 3, 3, requires_grad=True),
    )
    log_p = likelihood(out).log_prob(torch.full((2, 1, 3, 3), 0.5))
    (gradient,) = torch.autograd.grad(log_p.sum(), out)
    assert (
        log_p.isfinite().all()
        and gradient.isfinite().all()
        and isinstance(likelihood(out).base_dist, OptimalNormal)
    )


def test_bad_pixels_leave_the_running_sigma_alone():
    likelihood = NormalLikelihood("optimal").train()
    start = likelihood.log_sigma.clone()
    with pytest.raises(ValueError, match="NaN"):
        likelihood(torch.zeros(1, 1, 2, 2)).log_prob(torch.full((1, 1, 2, 2), math.nan))
    assert torch.equal(likelihood.log_sigma, start)


# --- discretised logistic ---


@given(st.floats(0, 1), st.floats(-14, 14))
@settings(deadline=None)
def test_256_probabilities_sum_to_one(loc, log_scale):
    for dtype, atol in (
        (torch.double, 1e-7),
        (torch.float, 1e-5 + 1e-6 * math.exp(-log_scale)),
    ):  # single: a rounded x, divided by the scale
        p = DiscretisedLogistic(
            torch.tensor(loc, dtype=dtype), torch.tensor(log_scale, dtype=dtype)
        )
        close(
            p.log_prob(torch.arange(256, dtype=dtype) / 255).exp().sum().item(),
            1.0,
            rtol=0,
            atol=min(atol, 0.5),
        )
    loc, log_scale = (
        torch.tensor(loc, requires_grad=True),
        torch.tensor(log_scale, requires_grad=True),
    )
    log_p = DiscretisedLogistic(loc, log_scale).log_prob(LEVELS)
    assert log_p.isfinite().all() and (log_p < 1e-5).all()
    assert all(g.isfinite() for g in torch.autograd.grad(log_p.sum(), (loc, log_scale)))


def test_discretised_logistic_is_a_difference_of_sigmoids():
    loc, scale = torch.tensor(0.37).double(), torch.tensor(0.05).double()
    x = LEVELS.double()
    edges = torch.sigmoid(
        (torch.cat([x - 0.5 / 255, x[-1:] + 0.5 / 255]) - loc) / scale
    )
    edges[0], edges[-1] = 0, 1
    close(
        DiscretisedLogistic(loc, scale.log()).log_prob(x).exp(),
        edges.diff(),
        rtol=1e-4,
        atol=1e-9,
    )


@pytest.mark.parametrize("value", [0.5 / 255, 0.335, 254.5 / 255])
def test_values_between_grey_levels_are_refused(value):
    with pytest.raises(ValueError, match="grey levels k/255"):
        DiscretisedLogistic(torch.tensor(0.5), torch.tensor(-2.0)).log_prob(
            torch.tensor([0.0, value])
        )


def test_sampling_frequencies_are_the_probabilities():
    n, p = 100_000, DiscretisedLogistic(torch.tensor(0.03), torch.tensor(-4.0))
    x = p.sample((n,))
    frequency = torch.bincount((x * 255).round().long(), minlength=256) / n
    probability = p.log_prob(LEVELS).exp()
    assert (
        (frequency - probability).abs()
        < 5 * (probability * (1 - probability) / n).sqrt() + 1e-4
    ).all()


def test_discretised_logistic_starts_usable_and_learns_its_scale():
    likelihood, out = (
        DiscretisedLogisticLikelihood(3),
        torch.randn(2, 3, 4, 4, requires_grad=True),
    )
    assert likelihood.log_scale.shape == (3, 1, 1)
    likelihood(out).log_prob(
        (torch.rand(2, 3, 4, 4) * 255).round() / 255
    ).sum().backward()
    assert out.grad.isfinite().all() and (likelihood.log_scale.grad != 0).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_images_of_another_shape_are_refused_and_not_scored_against_each_other(name):
    p = make_likelihood(name)(torch.zeros(5, 1, 4, 6))
    assert p.log_prob(torch.zeros(3, 5, 1, 4, 6)).shape == (3, 5)
    for shape in ((5, 4, 6), (5, 24), (5, 1, 6, 4), (5, 1, 1, 1)):
        with pytest.raises(ValueError, match=r"\(\.\.\., 1, 4, 6\), not .*reshape\(-1"):
            p.log_prob(torch.zeros(shape))
