"Priors that learn, flow posteriors, and priors fitted after training: exact densities, honest estimates, files, and what is refused."

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from vae_nb.builders import builder
from vae_nb.conv import conv_vae
from vae_nb.core import evaluating
from vae_nb.data import Images, load
from vae_nb.elbo import (
    DiagonalNormal,
    elbo_terms,
    kl_at,
    kl_monte_carlo,
    kl_per_dim,
    standard_normal,
)
from vae_nb.evaluate import diagnose, evaluate, information, mean_kl_per_dim, nll
from vae_nb.explore.latents import latent_order
from vae_nb.joint import joint_vae
from vae_nb.labels import conditional_vae
from vae_nb.priors import (
    LearnedPrior,
    Mixture,
    fit_density,
    flow_posterior,
    flow_prior,
    full_mixture,
    mixture_prior,
    vamp_prior,
    with_prior,
)
from vae_nb.priors.flows import Flow, Flowed
from vae_nb.train import fit
from vae_nb.vae import VAE, mlp_vae

SHAPE = (1, 8, 8)
PARTS = {
    "mixture": {"prior": "mixture"},
    "vampprior": {"prior": "vampprior"},
    "flow": {"prior": "flow"},
    "flow posterior": {"posterior": "flow"},
    "both": {"prior": "mixture", "posterior": "flow"},
}


def images(n=64):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0)).round()


def stirred(module, std=0.2):
    "Every weight moved at random, so that nothing is at its start."
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(std * torch.randn_like(weight))
    return module


def model_of(**options):
    torch.manual_seed(0)
    return mlp_vae(SHAPE, latent_dim=3, hidden=(16,), **options)


# --- densities ---


def test_a_mixture_is_torchs():
    g = torch.Generator().manual_seed(0)
    logits, mu = torch.randn(7, generator=g), 3 * torch.randn(7, 4, generator=g)
    logvar = torch.randn(7, 4, generator=g) - 2
    parts = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    truth = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Independent(parts, 1),
    )
    ours, z = Mixture(logits, mu, logvar), 3 * torch.randn(5, 6, 4, generator=g)
    torch.testing.assert_close(ours.log_prob(z), truth.log_prob(z))
    torch.testing.assert_close(ours.mean, truth.mean)
    draws = ours.sample((200_000,), g)
    torch.testing.assert_close(draws.mean(0), truth.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(draws.var(0), truth.variance, rtol=0.03, atol=0)


def test_narrow_components_far_away_lose_no_digits():
    mu, logvar = torch.tensor([[30.0, -40.0]]), torch.full((1, 2), -14.0)
    z = mu + torch.tensor([[0.001, -0.002]])
    truth = DiagonalNormal(mu, logvar).log_prob(z)
    ours = Mixture(torch.zeros(1), mu, logvar).log_prob(z)
    torch.testing.assert_close(ours, truth, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("latent_dim", [2, 3, 5])
@pytest.mark.parametrize("context", [False, True])
def test_a_flow_and_back_with_the_determinant_of_autograd(latent_dim, context):
    flow = stirred(Flow(latent_dim, 5, (8,), context=3 * context))
    seen = torch.randn(1, 3) if context else None
    u = torch.randn(6, latent_dim)
    z, log_det = flow(u, seen)
    back, again = flow.inverse(z, seen)
    torch.testing.assert_close(back, u, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again, log_det, atol=1e-4, rtol=1e-4)
    one = torch.autograd.functional.jacobian(lambda v: flow(v[None], seen)[0][0], u[0])
    torch.testing.assert_close(one.slogdet().logabsdet, log_det[0], atol=1e-4, rtol=0)


def test_a_new_flow_is_the_identity():
    z = torch.randn(4, 3)
    torch.testing.assert_close(
        flow_prior(3).log_prob(z), standard_normal(3).log_prob(z)
    )


def test_a_flowed_sample_knows_the_density_that_the_way_back_finds():
    flow = stirred(Flow(4, 4, (8,)))
    base = DiagonalNormal(torch.randn(5, 4), torch.randn(5, 4))
    q = Flowed(base, flow)
    z = q.rsample((3,))
    assert q.log_prob(z).shape == (3, 5)
    torch.testing.assert_close(
        q.log_prob(z), q.log_prob(z.clone()), atol=1e-4, rtol=1e-4
    )


def test_a_flowed_draw_without_a_gradient_has_a_density_with_one():
    q = model_of(posterior="flow").encode(images(4))
    z = q.sample()
    assert q.log_prob(z).requires_grad
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: mixture_prior(3, 4),
        lambda: flow_prior(3, 3, (8,)),
        lambda: full_mixture(3, 4),
    ],
)
def test_samples_come_from_the_generator_and_have_the_density(make):
    torch.manual_seed(0)
    prior = stirred(make(), 0.1)
    g = torch.Generator()
    one, same = (prior.sample((5, 2), g.manual_seed(1)) for _ in range(2))
    assert torch.equal(one, same) and one.shape == (5, 2, 3)
    assert not torch.equal(one, prior.sample((5, 2), g.manual_seed(2)))
    # E_p[r/p] = 1 for any density r inside p's reach
    z = prior.sample((100_000,), g.manual_seed(0))
    r = DiagonalNormal(z.mean(0), z.var(0).log() - 1.5)
    ratio = (r.log_prob(z) - prior.log_prob(z)).exp().double()
    error = ratio.std() / math.sqrt(len(z))
    assert abs(ratio.mean() - 1) < 5 * error


# --- the KL ---


def test_the_estimate_of_the_kl_is_right_on_average_where_there_is_a_formula():
    torch.manual_seed(0)
    q = DiagonalNormal(torch.randn(6, 3), torch.randn(6, 3))
    prior = stirred(mixture_prior(3, components=1))
    formula = kl_per_dim(q, DiagonalNormal(prior.mu[0], prior.logvar[0])).sum(-1)
    n = 40_000
    z = q.rsample((n,))
    values = q.log_prob(z) - prior.log_prob(z)
    error = values.std(0) / math.sqrt(n)
    assert ((values.mean(0) - formula).abs() < 5 * error).all()
    torch.testing.assert_close(kl_monte_carlo(q, prior, n), formula, rtol=0.1, atol=0.1)


@pytest.mark.slow
def test_an_identity_flow_posterior_has_the_gaussians_kl_on_average():
    torch.manual_seed(0)
    base = DiagonalNormal(torch.randn(4, 3), torch.randn(4, 3))
    q = flow_posterior(3)(base)
    formula = kl_per_dim(base, standard_normal(3)).sum(-1)
    estimate = kl_monte_carlo(q, standard_normal(3), 40_000)
    torch.testing.assert_close(estimate, formula, rtol=0.05, atol=0.05)


def test_a_formula_is_used_where_there_is_one():
    q = DiagonalNormal(torch.randn(4, 3), torch.randn(4, 3))
    p = standard_normal(3)
    torch.testing.assert_close(kl_at(q, p, torch.zeros(4, 3)), kl_per_dim(q, p).sum(-1))


def test_gradients_of_the_estimate_are_those_of_the_formula_on_average():
    torch.manual_seed(0)
    prior = stirred(mixture_prior(3, components=1))
    q = DiagonalNormal(torch.randn(1, 3), torch.randn(1, 3))
    as_normal = DiagonalNormal(prior.mu[0], prior.logvar[0])
    exact = torch.autograd.grad(kl_per_dim(q, as_normal).sum(), prior.mu)[0]
    sampled = torch.autograd.grad(kl_monte_carlo(q, prior, 100_000).sum(), prior.mu)[0]
    torch.testing.assert_close(sampled, exact, atol=0.05, rtol=0.05)


# --- in a model ---


@pytest.mark.parametrize("options", PARTS.values(), ids=PARTS)
def test_a_model_trains_with_it_and_its_parts_learn(options):
    model = model_of(**options)
    parts = [m for m in (model.prior_module, model.posterior_module) if m is not None]
    before = [w.clone() for m in parts for w in m.parameters()]
    history = fit(model, images(), images(), epochs=3, batch_size=16, progress=False)
    row = history.rows[-1]
    assert row["valid_loss"] == pytest.approx(
        row["valid_recon"] + row["valid_kl"], abs=1e-3
    )
    after = [w for m in parts for w in m.parameters()]
    moved = [not torch.equal(a, b) for a, b in zip(before, after)]
    assert sum(moved) >= 0.7 * len(moved)
    assert model.sample(3).shape == (3, *SHAPE)
    assert model.reconstruct(images(2)).shape == (2, *SHAPE)


@pytest.mark.parametrize("options", PARTS.values(), ids=PARTS)
def test_it_is_saved_and_loaded_with_the_model(options, tmp_path):
    model = stirred(model_of(**options)).eval()
    x, z = images(4), torch.randn(5, 3)
    again = VAE.load(model.save(tmp_path))
    torch.testing.assert_close(again.prior.log_prob(z), model.prior.log_prob(z))
    torch.testing.assert_close(again.encode(x).mean, model.encode(x).mean)
    assert again.config == model.config


def test_a_prior_with_other_sizes_is_saved_by_its_own_config(tmp_path):
    prior = mixture_prior(3, components=4)
    model = model_of(prior=prior)
    assert model.config["arguments"]["prior"] == prior.config
    again = VAE.load(model.save(tmp_path))
    assert len(again.prior_module.logits) == 4


def test_changes_after_building_are_saved_too(tmp_path):
    model = model_of(prior="flow")
    model.beta = 2.0
    assert VAE.load(model.save(tmp_path)).beta == 2.0


def test_a_file_cannot_ask_for_another_prior():
    for path in ("os.system", "vae_nb.core.pick_device"):
        with pytest.raises(ValueError, match="neither a builder"):
            model_of(prior={"builder": path, "arguments": {}})


def test_a_name_that_is_none_suggests_the_nearest():
    with pytest.raises(ValueError, match="vampprior"):
        model_of(prior="vamprior")


def test_convolutions_take_it_and_batch_norm_learns_from_images_alone():
    torch.manual_seed(0)
    model = conv_vae(
        (3, 16, 16), 4, channels=(4, 8), prior=vamp_prior((3, 16, 16), components=5)
    )
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    x = torch.rand(6, 3, 16, 16)
    model.train().loss(x)["loss"].backward()
    assert norm.num_batches_tracked == 1 and norm.training
    assert model.prior_module.pixels.grad.abs().sum() > 0


def test_a_vampprior_is_the_mixture_of_its_inputs_posteriors():
    model = model_of(prior=vamp_prior(SHAPE, 5)).eval()
    q = model.encode(model.prior_module.pseudo_inputs)
    z = torch.randn(4, 3)
    truth = q.log_prob(z[:, None]).logsumexp(1) - math.log(5)
    torch.testing.assert_close(model.prior.log_prob(z), truth)


def test_pseudo_inputs_start_from_images_or_around_their_mean():
    x = images(20)
    prior = vamp_prior(SHAPE, 6).start_from(x)
    nearest = torch.cdist(prior.pseudo_inputs.flatten(1), x.flatten(1)).min(1).values
    assert nearest.max() < 0.05 * 8 + 1e-3
    named = Images((255 * x).byte(), labels=torch.arange(20) % 2)
    for data in (named, named.labelled()):
        again = vamp_prior(SHAPE, 6).start_from(data)
        torch.testing.assert_close(again.pixels, prior.pixels)
    kept = prior.pixels.clone()
    prior.initialise_from(x.mean(0))
    assert torch.equal(prior.pixels, kept)
    other = vamp_prior(SHAPE, 500)
    other.initialise_from(torch.full(SHAPE, 0.1))
    assert abs(other.pixels.mean().item() - math.log(0.1 / 0.9)) < 0.1


@pytest.mark.parametrize("make", [mixture_prior, full_mixture])
def test_bfloat16_keeps_the_density_of_the_mixture(make):
    prior = stirred(make(3, 10))
    z = 3 * torch.randn(50, 3) + 20
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = prior.log_prob(z)
    torch.testing.assert_close(low, prior.log_prob(z))


# --- scores know them ---


@pytest.mark.slow
@pytest.mark.parametrize("options", PARTS.values(), ids=PARTS)
def test_scores_of_a_model_with_it(options):
    x = images(30)
    torch.manual_seed(0)
    model = stirred(mlp_vae(SHAPE, 3, (16,), **options)).eval()
    bound, elbo = nll(model, x, k=50)[0], nll(model, x, k=1)[0]
    assert math.isfinite(bound) and bound < elbo
    with pytest.raises(ValueError, match="no KL per latent"):
        mean_kl_per_dim(model, x)
    assert latent_order(model, x)[1] is None
    large = (1, 12, 12)  # SSIM needs 11 pixels
    model = stirred(mlp_vae(large, 3, (16,), **options)).eval()
    x = torch.rand(30, *large).round()
    assert math.isfinite(float(evaluate(model, x, k=2)["value"].iloc[0]))
    assert math.isfinite(diagnose(model, x).numbers["KL"])


def test_information_needs_no_gaussian_prior():
    model, x = stirred(model_of(prior="mixture")).eval(), images(30)
    assert math.isfinite(information(model, x, n=30)["mi_low"])


def test_information_of_a_flow_posterior():
    model, x = stirred(model_of(posterior="flow")).eval(), images(30)
    found = information(model, x, n=30)
    assert math.isfinite(found["mi_low"]) and found["mi_low"] <= found["mi_high"]


def test_the_best_prior_is_the_aggregate_posterior():
    model, x = stirred(model_of()).eval(), images(40)
    with torch.no_grad():
        q = model.encode(x)
        q_bar = with_prior(model, Mixture(torch.zeros(40), q.mu, q.logvar))
        assert nll(q_bar, x, k=1)[0] < nll(model, x, k=1)[0]


# --- fitted afterwards ---


def test_with_prior_shares_weights_and_is_saved(tmp_path):
    model = stirred(model_of()).eval()
    codes = torch.randn(200, 3) @ torch.randn(3, 3) + 2
    other = with_prior(model, fit_density(codes, components=2))
    assert other.encoder is model.encoder and model.prior_module is None
    assert isinstance(model.prior, DiagonalNormal)
    again = VAE.load(other.save(tmp_path))
    torch.testing.assert_close(again.prior.log_prob(codes), other.prior.log_prob(codes))
    assert "prior_module.mu" in again.state_dict()
    third = with_prior(other, mixture_prior(3))
    assert third.prior is not other.prior and len(model.state_dict()) < len(
        third.state_dict()
    )
    fit(other, images(), epochs=1, progress=False)  # it may be trained on


def test_a_plain_autoencoder_gets_a_prior_afterwards():
    model = model_of(variational=False).eval()
    codes = model.encode(images(60)).mean.detach()
    assert with_prior(model, fit_density(codes)).sample(2).shape == (2, *SHAPE)


def test_a_prior_comes_to_the_model():
    "As after `encode_all`, whose codes are on the CPU."
    prior = fit_density(torch.randn(90, 3))
    other = with_prior(model_of().to("meta"), prior)
    assert other.sample(2).device.type == "meta"


def test_a_vampprior_afterwards_is_made_of_the_models_posteriors():
    model = model_of().eval()
    prior = vamp_prior(SHAPE, 5).start_from(images())
    other = with_prior(model, prior)
    assert other.prior.mean.shape == (3,) and other.sample(2).shape == (2, *SHAPE)
    with pytest.raises(ValueError, match=r"\(1, 9, 8\) and the model"):
        with_prior(model, vamp_prior((1, 9, 8)))


def test_a_prior_that_no_builder_takes_is_not_written_down(tmp_path):
    @builder
    def mine(n: int = 3):
        return mlp_vae(SHAPE, n, (8,))

    other = with_prior(mine(), mixture_prior(3))
    assert other.config is None and mine().config is not None
    with pytest.raises(ValueError, match="mark the function that makes your own"):
        other.save(tmp_path)


# --- what is refused, in words ---


@pytest.mark.parametrize(
    "build, why",
    [
        (lambda: flow_prior(1), "latent_dim of at least 2, not 1"),
        (lambda: mlp_vae(SHAPE, 1, posterior="flow"), "leave posterior= out"),
        (lambda: flow_prior(3, hidden=64), r"hidden must be a tuple .*\(64,\), not 64"),
        (lambda: model_of(posterior="vampprior"), "posterior must be one of 'flow'"),
        (
            lambda: vamp_prior(SHAPE, 4).start_from(torch.rand(9, 1, 10, 10)),
            r"\(batch, 1, 8, 8\), not \(4, 1, 10, 10\)",
        ),
        (
            lambda: vamp_prior(SHAPE, 4).start_from(torch.rand(9, 1, 4, 16)),
            r"\(batch, 1, 8, 8\), not \(4, 1, 4, 16\)",
        ),
        (
            lambda: vamp_prior(SHAPE, 4).start_from(255 * torch.rand(9, *SHAPE)),
            "VampPrior needs pixels in",
        ),
        (
            lambda: vamp_prior(SHAPE, 4).start_from(torch.full((9, *SHAPE), torch.nan)),
            "NaN",
        ),
        (
            lambda: flow_prior(2).log_prob(torch.randn(5, 3)),
            r"\(..., 2\), not \(5, 3\)",
        ),
        (lambda: flow_prior(2).log_prob(torch.randn(5, 1)), "log_prob takes latents"),
        (lambda: mixture_prior(2).log_prob(torch.randn(5, 1)), "log_prob takes"),
        (
            lambda: fit_density(torch.randn(99, 2)).log_prob(torch.randn(5, 1)),
            "log_prob takes latents",
        ),
        (lambda: fit_density(torch.randn(99, 3), components=0), "components must be"),
        (lambda: fit_density(torch.randn(99, 3), components=2.5), "components must"),
        (lambda: with_prior(model_of(), Normal(torch.zeros(3), 1.0)), "Independent"),
        (lambda: mlp_vae(SHAPE, 1, prior="flow"), "with one latent, use mixture_prior"),
        (
            lambda: model_of(prior=mixture_prior(5)),
            "over 5 latents and the model has 3",
        ),
        (lambda: model_of(posterior=flow_posterior(4)), "posterior is over 4 latents"),
        (lambda: model_of(prior=vamp_prior((1, 9, 8))), r"\(1, 9, 8\) and the model"),
        (lambda: model_of(prior="flow", variational=False), "has no KL to train"),
        (lambda: mixture_prior(3, components=0), "components"),
        (lambda: vamp_prior(SHAPE, components=-1), "components"),
        (lambda: flow_prior(3, layers=0), "layers"),
        (
            lambda: vamp_prior(SHAPE, 65).start_from(images()),
            "65 pseudo-inputs cannot start from 64 images.*components=64",
        ),
        (lambda: with_prior(model_of(), mixture_prior(2)), "over 2 latents"),
        (lambda: with_prior(model_of(), standard_normal(2)), "over 2 latents"),
        (
            lambda: VAE(*model_of().children(), SHAPE, 3, prior=standard_normal(5)),
            "over 5 latents",
        ),
    ],
)
def test_what_cannot_be_is_refused(build, why):
    with pytest.raises(ValueError, match=why):
        build()


@pytest.mark.parametrize(
    "build, why",
    [
        (lambda: model_of(prior=5), "a int is no prior"),
        (lambda: model_of(prior=flow_posterior(3)), "a FlowPosterior is no prior"),
        (lambda: model_of(posterior=flow_prior(3)), "a FlowPrior is no posterior"),
        (lambda: with_prior(model_of(), "mixture"), "a str is no prior"),
        (lambda: with_prior(model_of(), None), "a NoneType is no prior"),
        (lambda: model_of(prior=LearnedPrior()), "a LearnedPrior without a config"),
        (
            lambda: with_prior(conditional_vae(SHAPE, 3, 3, hidden=(8,)), one_prior()),
            "which label to give: use it on model.given",
        ),
    ],
)
def test_what_is_something_else_is_refused(build, why):
    with pytest.raises(TypeError, match=why):
        build()


def one_prior():
    "Far from 0."
    return fit_density(torch.randn(500, 3) + 30)


def test_a_model_that_was_given_a_label_takes_another_prior():
    model = conditional_vae(SHAPE, 3, 3, hidden=(8,)).eval()
    assert with_prior(model.given(1), one_prior()).prior.mean.min() > 20


def test_fit_density_takes_arrays_and_lists():
    codes = torch.randn(90, 3)
    found = fit_density(codes).mean
    for same in (codes.numpy(), codes.tolist()):
        torch.testing.assert_close(fit_density(same).mean, found)


def test_a_joint_model_keeps_its_prior():
    with pytest.raises(TypeError, match="JointVAE"):
        with_prior(joint_vae(SHAPE, 2, (3,), hidden=(8,)), mixture_prior(5))


def test_free_bits_need_a_kl_per_latent():
    model = model_of(prior="mixture", free_bits=0.1)
    with pytest.raises(ValueError, match="free_bits=0"):
        model.loss(images(4))
    q = DiagonalNormal(torch.zeros(4, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="the sample z"):
        elbo_terms(images(4), q, model.decode(torch.zeros(4, 3)), mixture_prior(3))


def test_a_vampprior_alone_or_with_a_flow_posterior_says_what_is_wrong():
    with pytest.raises(TypeError, match="needs the model's encoder"):
        vamp_prior(SHAPE).sample((2,))
    model = model_of(prior="vampprior", posterior="flow")
    with pytest.raises(TypeError, match="leave posterior= out"):
        model.loss(images(4))


@pytest.mark.slow
def test_a_prior_that_learns_lowers_the_loss_of_digits():
    x = load("digits").binarised("dynamic")
    valid = load("digits", split="valid").binarised("fixed")
    losses = {}
    for prior in (None, "mixture", "flow"):
        torch.manual_seed(0)
        model = mlp_vae(x.shape, 8, hidden=(128,), prior=prior)
        fit(model, x, epochs=30, lr=4e-3, progress=False)
        with evaluating(model):
            losses[prior] = nll(model, valid, k=20)[0]
    assert losses["mixture"] < losses[None] and losses["flow"] < losses[None]


def test_an_autoencoder_with_a_fitted_prior_is_saved(tmp_path):
    model = model_of(variational=False).eval()
    other = with_prior(model, fit_density(torch.randn(90, 3)))
    z = torch.randn(5, 3)
    again = VAE.load(other.save(tmp_path))
    torch.testing.assert_close(again.prior.log_prob(z), other.prior.log_prob(z))


def test_a_flowed_sample_that_was_altered_is_scored_anew():
    q = model_of(posterior="flow").encode(images(4))
    z = q.rsample()
    with torch.no_grad():
        z[:, 0] = 5.0
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()))
    with torch.no_grad():
        z = q.rsample()
    assert q.log_prob(z).requires_grad


def test_a_product_without_a_formula_is_estimated():
    t = torch.distributions.StudentT(torch.full((3,), 4.0))
    model = with_prior(model_of(), torch.distributions.Independent(t, 1))
    terms = model.terms(images(4))
    assert terms["kl"].shape == (4,) and "kl_per_dim" not in terms
