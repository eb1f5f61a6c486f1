"""Joint VAEs: Gumbel-softmax, one-hot and product distributions, the model, its objectives, and everything they refuse."""

import math
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import OneHotCategorical, kl_divergence

from vae_nb.augment import jitter, recolour
from vae_nb.conv import conv_vae
from vae_nb.core import evaluating
from vae_nb.data.labelled import LabelledBatch
from vae_nb.elbo import (
    DiagonalNormal,
    importance_weighted_bound,
    kl_monte_carlo,
    kl_per_dim,
    standard_normal,
)
from vae_nb.evaluate import (
    active_units,
    cluster_accuracy,
    encode_all,
    mean_kl_per_dim,
    nll,
)
from vae_nb.evaluate.codes import pair_information
from vae_nb.joint import (
    Capacity,
    JointVAE,
    category_of,
    gumbel_softmax,
    join,
    joint_loss,
    joint_vae,
    one_hot,
)
from vae_nb.joint.model import EnumeratedLikelihood, OneHot, Product
from vae_nb.joint.objective import balance_term, consistency_term
from vae_nb.latent import traverse
from vae_nb.train import fit
from vae_nb.vae import VAE, mlp_vae

LOGITS = torch.tensor([[1.0, -0.5, 0.3, -2.0], [0.0, 4.0, -4.0, 0.5]])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def binary(n=6, shape=(1, 8, 8), seed=0):
    return torch.rand(n, *shape, generator=seeded(seed)).round()


# --- samples ---------------------------------------------------------------------------------------------------------


def test_gumbel_max_draws_from_the_softmax():
    draws = OneHot(LOGITS[0]).sample((100_000,), seeded())
    error = (draws.mean(0) - LOGITS[0].softmax(-1)).abs()
    assert (
        error < 4 * (0.25 / 100_000) ** 0.5
    ).all()  # four standard errors at the most


@settings(max_examples=30, deadline=None)
@given(
    k=st.integers(2, 20),
    tau=st.floats(0.05, 10),
    hard=st.booleans(),
    seed=st.integers(0, 99),
)
def test_samples_lie_on_the_simplex_and_hard_ones_at_its_corners(k, tau, hard, seed):
    logits = torch.randn(5, k, generator=seeded(seed)) * 3
    z = gumbel_softmax(logits, tau, hard, seeded(seed))
    assert z.shape == (5, k) and z.isfinite().all()
    assert torch.allclose(z.sum(-1), torch.ones(5), atol=1e-5) and z.min() >= -1e-6
    if hard:
        assert set(z.unique().tolist()) == {0.0, 1.0}


def test_the_relaxed_sample_tends_to_the_one_hot_one():
    cold = gumbel_softmax(LOGITS, 1e-3, generator=seeded(3))
    assert torch.allclose(cold, OneHot(LOGITS).sample(generator=seeded(3)), atol=1e-4)


@pytest.mark.parametrize("tau", [0.3, 0.67, 2.0])
def test_gradients_of_the_relaxed_sample_are_those_of_finite_differences(tau):
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: gumbel_softmax(v, tau, generator=seeded(1)),
        (logits,),
        eps=1e-6,
        atol=1e-6,
    )


def test_straight_through_has_the_gradient_of_the_relaxed_sample():
    weights, grads = torch.tensor([1.0, -2.0, 3.0, 0.5]), []
    for hard in (False, True):
        logits = LOGITS.clone().requires_grad_()
        (gumbel_softmax(logits, 0.7, hard, seeded(5)) * weights).sum().backward()
        grads.append(logits.grad)
    assert torch.equal(*grads)


# --- distributions ---------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(k=st.integers(2, 30), spread=st.floats(0, 60), seed=st.integers(0, 999))
def test_the_kl_of_a_categorical_is_torchs(k, spread, seed):
    a, b = torch.randn(2, 4, k, generator=seeded(seed), dtype=torch.float64) * spread
    per_dim = OneHot(a).kl_per_dim(OneHot(b))
    assert per_dim.shape == (4, k) and per_dim.min() >= -1e-9
    assert torch.allclose(
        per_dim.sum(-1),
        kl_divergence(OneHotCategorical(logits=a), OneHotCategorical(logits=b)),
        atol=1e-7,
    )


def test_the_kl_to_uniform_runs_from_0_to_log_k():
    certain = (
        OneHot(torch.tensor([1000.0, 0, 0, 0, 0]))
        .kl_per_dim(OneHot(torch.zeros(5)))
        .sum()
    )
    assert certain.item() == pytest.approx(math.log(5), abs=1e-5)
    assert OneHot(torch.ones(5)).kl_per_dim(OneHot(torch.zeros(5))).sum().abs() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("least", [-20.0, -95.0, -300.0, -2000.0, -math.inf])
def test_the_kl_to_an_extreme_prior_is_right_or_infinite(least, dtype):
    logits = torch.tensor(
        [[0.0, 0.0, 0.0], [0.0, -90.0, 0.0], [0.0, least, 0.0]],
        dtype=dtype,
        requires_grad=True,
    )
    prior = OneHot(torch.tensor([0.0, least, 0.0], dtype=dtype))
    per_dim = OneHot(logits).kl_per_dim(prior)
    q = OneHot(logits.detach().double())
    truth = (
        torch.special.entr(q.probs).neg()
        - (q.probs * prior.logits.double()).masked_fill(q.probs == 0, 0)
    ).sum(-1)
    assert per_dim.min() >= 0
    torch.testing.assert_close(per_dim.sum(-1).double(), truth, rtol=1e-4, atol=1e-5)
    if least > -math.inf:
        (gradient,) = torch.autograd.grad(per_dim.sum(), logits)
        assert (
            gradient.isfinite().all() and gradient[2].abs().max() < 1e-5
        )  # the last row is the prior itself
    impossible = prior.log_prob(torch.eye(3, dtype=dtype))
    assert impossible[1] == prior.logits[1] and impossible[[0, 2]].isfinite().all()


def test_log_probabilities_are_torchs_and_only_of_one_hots():
    every = torch.eye(4)[:, None]
    assert torch.allclose(
        OneHot(LOGITS).log_prob(every),
        OneHotCategorical(logits=LOGITS).log_prob(every.expand(4, 2, 4)),
    )
    with pytest.raises(ValueError, match="model.eval"):
        OneHot(LOGITS).log_prob(torch.full((2, 4), 0.25))


def test_a_product_is_its_parts_side_by_side():
    q = Product([DiagonalNormal(torch.randn(2, 3), torch.randn(2, 3)), OneHot(LOGITS)])
    prior = Product([standard_normal(3), OneHot(torch.zeros(4))])
    z = q.sample((5,), seeded())
    assert (
        z.shape == (5, 2, 7)
        and q.mean.shape == (2, 7)
        and torch.equal(z, q.sample((5,), seeded()))
    )
    assert set(z[..., 3:].unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(
        q.log_prob(z), q.parts[0].log_prob(z[..., :3]) + q.parts[1].log_prob(z[..., 3:])
    )
    torch.manual_seed(0)
    assert torch.allclose(
        kl_monte_carlo(q, prior, 40_000), kl_per_dim(q, prior).sum(-1), rtol=0.05
    )


# --- the model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "joint, plain",
    [
        (
            lambda: joint_vae((1, 16, 16), 4, (), hidden=(32,)),
            lambda: mlp_vae((1, 16, 16), 4, (32,)),
        ),
        (
            lambda: joint_vae(
                (3, 16, 16),
                4,
                (),
                net="conv",
                hidden=(32,),
                channels=(4, 8),
                likelihood="normal",
            ),
            lambda: conv_vae((3, 16, 16), 4, (4, 8), (32,), activation="silu"),
        ),
    ],
)
def test_without_a_categorical_it_is_the_plain_vae_to_the_bit(joint, plain):
    losses, grads = [], []
    for build in (joint, plain):
        torch.manual_seed(1)
        model = build()
        x = binary(5, model.shape)
        torch.manual_seed(2)
        terms = model.loss(x)
        terms["loss"].backward()
        losses.append(terms["loss"])
        grads.append(next(model.parameters()).grad)
    assert torch.equal(*losses) and torch.equal(*grads)


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(estimator="straight_through", categorical=(3, 5)),
        dict(continuous=0, categorical=(4,)),
        dict(estimator="exact", categorical=(4,)),
        dict(categorical=()),
        dict(net="conv", channels=(4, 8), likelihood="normal"),
    ],
)
def test_everything_written_for_three_distributions_works(tmp_path, options):
    shape = (3, 16, 16) if options.get("net") else (1, 8, 8)
    model = joint_vae(shape, **{"continuous": 3, "hidden": (16,)} | options)
    x, latent_dim = binary(6, shape), model.continuous + sum(model.categorical)
    terms = model.loss(x, per_dim=True)
    terms["loss"].backward()
    assert all(
        weight.grad is not None and weight.grad.isfinite().all()
        for weight in model.parameters()
    )
    kinds = sum(terms[f"kl_{kind}"] for kind in dict(model.parts))
    assert (
        terms["kl_per_dim"].shape == (latent_dim,)
        and torch.allclose(kinds, terms["kl"], atol=1e-5)
        and torch.allclose(terms["kl_per_dim"].sum(), terms["kl"], atol=1e-5)
    )
    assert (
        model.sample(5).shape == (5, *shape) and model.reconstruct(x).shape == x.shape
    )
    assert encode_all(model, x).shape == (6, latent_dim) and active_units(
        model, x
    ).shape == mean_kl_per_dim(model, x).shape == (latent_dim,)
    bound, error = nll(model, x, k=20)
    assert math.isfinite(bound) and error > 0
    with evaluating(model):
        assert model.decode(
            traverse(encode_all(model, x)[0], 0, [-1.0, 0.0, 1.0])
        ).mean.shape == (3, *shape)
    again = VAE.load(model.save(tmp_path))
    assert (
        torch.equal(again.reconstruct(x), model.reconstruct(x))
        and again.config == model.config
        and again.parts == model.parts
    )


def test_training_relaxes_and_evaluation_does_not():
    model, x = joint_vae((1, 8, 8), 2, (5,)), binary()
    block = dict(model.parts)["categorical"]
    assert set(model.encode(x).rsample()[:, block].unique().tolist()) != {0.0, 1.0}
    model.eval()
    assert set(model.encode(x).rsample((50,))[..., block].unique().tolist()) == {
        0.0,
        1.0,
    }
    assert set(model.prior.sample((50,))[:, block].unique().tolist()) == {0.0, 1.0}
    model.train()
    with pytest.raises(ValueError, match="one-hot"):
        importance_weighted_bound(model, x, 3)


def test_the_bound_reaches_the_exact_likelihood_of_a_discrete_model():
    torch.manual_seed(0)
    model, x = joint_vae((1, 8, 8), 0, (3, 4), hidden=(16,)), binary(20)
    with evaluating(model):
        every = torch.stack(
            [join(model, None, a, b) for a in range(3) for b in range(4)]
        )
        exact = (
            model.decode(every[:, None].expand(-1, 20, -1)).log_prob(x) - math.log(12)
        ).logsumexp(0)
        bound = importance_weighted_bound(model, x, 4000)
    assert (bound - exact).abs().max() < 0.1 and (bound - exact).mean().abs() < 0.02


def test_the_bound_reaches_the_exact_likelihood_of_a_mixed_model():
    torch.manual_seed(0)
    model, x = joint_vae((1, 8, 8), 1, (3,), hidden=(16,)), binary(10)
    grid = torch.linspace(-6, 6, 601)
    with evaluating(model):
        z = torch.stack(
            [join(model, grid[:, None], c) for c in range(3)]
        )  # (3, 601, latent)
        log_p = torch.stack([model.decode(z).log_prob(image) for image in x], -1)
        density = torch.distributions.Normal(0.0, 1.0).log_prob(grid)[
            None, :, None
        ] + math.log(0.02 / 3)
        exact = (log_p + density).flatten(0, 1).logsumexp(0)
        bound = importance_weighted_bound(model, x, 4000)
    assert (bound - exact).abs().max() < 0.15 and (bound - exact).mean().abs() < 0.03


@pytest.mark.slow
def test_the_exact_estimator_is_the_average_over_hard_samples():
    torch.manual_seed(0)
    model, x = joint_vae((1, 8, 8), 0, (4,), estimator="exact", hidden=(16,)), binary(3)
    exact = model.terms(x)["recon"]
    with evaluating(model):
        hard = torch.stack([model.terms(x)["recon"] for _ in range(3000)])
    assert ((hard.mean(0) - exact).abs() < 5 * hard.std(0) / 3000**0.5 + 1e-4).all()


def test_latents_are_put_together_from_their_parts():
    model = joint_vae((1, 8, 8), 2, (3, 4))
    assert model.parts == [
        ("continuous", slice(0, 2)),
        ("categorical", slice(2, 5)),
        ("categorical", slice(5, 9)),
    ]
    z = join(model, torch.tensor([0.5, -1.0]), torch.tensor([0, 2]), 3)
    assert z.tolist() == [
        [0.5, -1, 1, 0, 0, 0, 0, 0, 1],
        [0.5, -1, 0, 0, 1, 0, 0, 0, 1],
    ]
    assert category_of(model, z).tolist() == [0, 2] and category_of(
        model, z, 1
    ).tolist() == [3, 3]
    assert join(model, None, 1, 1)[:2].tolist() == [0, 0]
    assert join(joint_vae((1, 8, 8), 2, ()), None).tolist() == [0, 0]


# --- objectives ------------------------------------------------------------------------------------------------------


def test_a_capacity_rises_linearly_and_stays():
    capacity = Capacity(1.0, 5.0, 100, gamma=2.0)
    assert [
        capacity(torch.tensor(3.0), step).item() for step in (0, 50, 100, 1000)
    ] == [4.0, 0.0, 4.0, 4.0]


def test_a_capacity_above_log_k_is_clipped_and_says_so():
    model, x = joint_vae((1, 8, 8), 2, (10,)), binary()
    with pytest.warns(UserWarning, match="log K = 2.303"):
        loss = joint_loss(model, categorical=Capacity(0.0, 5.0, 10))
    torch.manual_seed(0)
    high = loss(model, x, 99)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = joint_loss(model, categorical=Capacity(0.0, math.log(10), 10))
    torch.manual_seed(0)
    assert torch.equal(high["loss"], loss(model, x, 99)["loss"])


def test_without_options_the_joint_loss_is_the_models_own():
    model, x = joint_vae((1, 8, 8), 2, (4,), beta=1.7, free_bits=0.02), binary()
    torch.manual_seed(0)
    own = model.loss(x)
    torch.manual_seed(0)
    assert torch.allclose(joint_loss(model)(model, x, 0)["loss"], own["loss"])


def test_the_joint_loss_takes_images_that_carry_labels():
    model, x = joint_vae((1, 8, 8), 2, (4,)), binary()
    terms = joint_loss(model, consistency=1.0)(
        model, LabelledBatch(x, torch.arange(6)), 0
    )
    assert terms["loss"].isfinite()


def test_the_name_of_the_joint_loss_says_its_settings(tmp_path):
    model = lambda: joint_vae((1, 8, 8), 2, (4,), hidden=(8,))
    named = lambda **options: joint_loss(model(), **options).__name__
    names = [
        named(),
        named(continuous=Capacity(end=2)),
        named(continuous=Capacity(end=3)),
        named(categorical=Capacity(end=1)),
        named(balance=1.0),
        named(consistency=1.0),
        named(firm_after=10),
        named(alter=recolour),
    ]
    assert len(set(names)) == len(names)
    assert named(continuous=Capacity(end=2.0), balance=1) == named(
        continuous=Capacity(0, 2, 25_000, 30), balance=1.0, alter=jitter
    )
    run = dict(epochs=1, checkpoint=tmp_path, resume=True, progress=False)
    fit(model(), binary(), training_loss=joint_loss(model(), balance=1.0), **run)
    with pytest.raises(ValueError, match="training_loss='joint_loss_None_None_1_"):
        fit(model(), binary(), training_loss=joint_loss(model(), balance=2.0), **run)


def test_the_exact_sum_takes_the_best_sigma_of_what_counts():
    "Where one category is certain, it is that category's, whatever the others decode."
    x, certain = binary(), torch.tensor([200.0, 0, 0, 0]).expand(len(binary()), 4)
    q = Product([OneHot(certain)])
    only = torch.eye(4)[:1].expand(len(x), 4)
    with torch.no_grad():
        model = joint_vae(
            (1, 8, 8), 0, (4,), estimator="exact", likelihood="normal", sigma="optimal"
        ).train()
        ours = EnumeratedLikelihood(model, q).log_prob(x)
        torch.testing.assert_close(ours, model.decode(only).log_prob(x))


def test_the_joint_loss_is_the_sum_of_its_named_parts():
    model, x = joint_vae((1, 8, 8), 2, (4,)), binary()
    t = joint_loss(
        model,
        Capacity(0, 5, 10, 30.0),
        Capacity(0, 1.0, 10, 20.0),
        balance=3.0,
        consistency=7.0,
    )(model, x, 5)
    by_hand = (
        t["recon"]
        + 30 * (t["kl_continuous"] - 2.5).abs()
        + 20 * (t["kl_categorical"] - 0.5).abs()
        + 3 * t["balance"]
        + 7 * t["consistency"]
    )
    assert torch.allclose(t["loss"], by_hand)


def test_balance_is_zero_for_even_use_and_log_k_for_one_category():
    even, constant = OneHot(50 * torch.eye(4)), OneHot(50 * torch.eye(4)[[0, 0, 0]])
    assert balance_term(Product([even])).item() == pytest.approx(0, abs=1e-6)
    assert balance_term(Product([constant])).item() == pytest.approx(
        math.log(4), abs=1e-5
    )
    assert balance_term(
        Product([standard_normal(3), even, constant])
    ).item() == pytest.approx(math.log(4), abs=1e-5)


def test_consistency_wants_agreement_and_firmness():
    firm, soft, other = (
        OneHot(20 * torch.eye(4)),
        OneHot(torch.eye(4)),
        OneHot(20 * torch.eye(4).roll(1, 0)),
    )
    cost = [
        consistency_term(Product([a]), Product([b])).mean().item()
        for a, b in ((firm, firm), (soft, soft), (firm, other))
    ]
    assert cost[0] < 1e-6 < cost[1] < cost[2] and cost[2] == pytest.approx(20, abs=0.01)


def test_without_firmness_consistency_is_the_kl_of_the_two():
    a, b = OneHot(LOGITS), OneHot(LOGITS.flip(0))
    kl = kl_divergence(
        OneHotCategorical(logits=a.logits), OneHotCategorical(logits=b.logits)
    )
    entropy = OneHotCategorical(logits=a.logits).entropy()
    for firmness in (0.0, 0.3, 1.0):
        assert torch.allclose(
            consistency_term(Product([a]), Product([b]), firmness),
            kl + firmness * entropy,
            atol=1e-6,
        )


def test_firmness_rises_with_the_steps():
    model, x = joint_vae((1, 8, 8), 0, (4,)), binary()
    loss, q = (
        joint_loss(model, consistency=1.0, firm_after=10, alter=lambda x: x),
        model.encode(x),
    )  # an unaltered copy agrees: entropy alone is left
    entropy = OneHotCategorical(logits=q.parts[0].logits).entropy().mean()
    for step, share in ((0, 0.0), (5, 0.5), (10, 1.0), (99, 1.0)):
        assert torch.allclose(
            loss(model, x, step)["consistency"], share * entropy, atol=1e-6
        )


def test_pair_information_is_log_k_for_perfect_pairs_and_nothing_for_strangers():
    even = Product([OneHot(50 * torch.eye(4))])
    constant = Product([OneHot(50 * torch.eye(4)[[2, 2, 2, 2]])])
    strangers = [
        Product([OneHot(50 * torch.eye(2)[torch.tensor(rows)])])
        for rows in ([0, 0, 1, 1], [0, 1, 0, 1])
    ]
    assert pair_information(even, even) == pytest.approx(math.log(4), abs=1e-4)
    assert pair_information(constant, constant) == pytest.approx(
        0, abs=1e-4
    ) and pair_information(*strangers) == pytest.approx(0, abs=1e-4)


def test_recolour_keeps_greys_and_light_and_changes_colours():
    x = (
        torch.rand(5, 3, 6, 6, generator=seeded()) * 0.4 + 0.3
    )  # away from the edges, where colours are cut off
    y = recolour(x, 0.0, seeded(1))
    assert torch.allclose(y.mean(1), x.mean(1), atol=1e-5) and not torch.allclose(
        y, x, atol=0.01
    )
    grey = x[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(recolour(grey, 0.0), grey, atol=1e-5)
    assert torch.equal(
        recolour(x, generator=seeded(2)), recolour(x, generator=seeded(2))
    )
    with pytest.raises(ValueError, match="colour images"):
        recolour(x[:, :1])


def test_accuracy_needs_labels():
    with pytest.raises(ValueError, match="labels are missing"):
        cluster_accuracy(torch.tensor([0, 1, 2]), None)


def test_jitter_changes_every_image_by_its_own_amount_and_nothing_at_zero():
    x = binary(1).repeat(4, 1, 1, 1)
    y = jitter(x, generator=seeded())
    assert (
        y.shape == x.shape
        and y.min() >= 0
        and y.max() <= 1
        and torch.equal(y, jitter(x, generator=seeded()))
    )
    assert not torch.allclose(y[0], y[1])
    assert torch.allclose(jitter(x, 0, 0, 0, 0), x, atol=1e-5)
    dot = torch.zeros(200, 1, 21, 21)
    dot[:, :, 10, 10] = 1
    assert (
        jitter(dot, 45, 0, 0, 0)[:, 0, 10, 10].min() > 0.99
    )  # turning keeps the centre
    with pytest.raises(ValueError, match="batch"):
        jitter(x[0, 0])


def test_fit_trains_with_every_term_in_the_history():
    torch.manual_seed(0)
    patterns = torch.stack(
        [torch.eye(8), torch.eye(8).flip(0), torch.ones(8, 8), torch.zeros(8, 8)]
    )[:, None]
    x = (patterns.repeat(64, 1, 1, 1) + 0.05 * torch.rand(256, 1, 8, 8)).clamp(0, 1)
    model = joint_vae((1, 8, 8), 1, (4,), hidden=(32,))
    loss = joint_loss(model, Capacity(0, 0.2, 20), balance=10.0, consistency=0.1)
    history = fit(
        model,
        x,
        x[:50],
        epochs=40,
        batch_size=64,
        lr=1e-2,
        training_loss=loss,
        progress=False,
        precision="float32",
    )
    assert {
        "train_kl_continuous",
        "train_kl_categorical",
        "train_balance",
        "train_consistency",
        "valid_kl_categorical",
    } <= set(history.last)
    assert (
        len(set(category_of(model, encode_all(model, x[:4])).tolist())) == 4
    )  # four patterns, four categories
    assert history.last["train_loss"] < history.rows[0]["train_loss"]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(tau=0), "tau must be a positive number, not 0"),
        (dict(tau=-1.0), "tau must be"),
        (dict(tau=float("nan")), "tau must be"),
        (dict(categorical=(1,)), "size 1 has nothing to choose"),
        (dict(categorical=(10, 0)), "sizes of at least 2"),
        (dict(categorical=10), r"such as \(10,\), not 10"),
        (dict(continuous=-1), "0 or more, not -1"),
        (dict(continuous=2.5), "whole number"),
        (dict(continuous=0, categorical=()), "no latent at all"),
        (
            dict(estimator="exact", categorical=(3, 4)),
            "sums over one categorical, and there are 2",
        ),
        (dict(estimator="exat"), "Did you mean 'exact'"),
        (dict(net="cnn"), "net must be one of"),
        (dict(shape=(8, 8)), "shape must be"),
    ],
)
def test_latents_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        joint_vae(**{"shape": (1, 8, 8)} | options)


def test_a_joint_model_made_by_hand_is_checked_too():
    plain = joint_vae((1, 8, 8), 2, (4,))
    with pytest.raises(ValueError, match="Did you mean 'exact'"):
        JointVAE(
            plain.encoder, plain.decoder, "bernoulli", (1, 8, 8), 2, (4,), 0.67, "exat"
        )
    with pytest.raises(ValueError, match="tau must be a positive number, not -1"):
        JointVAE(
            plain.encoder, plain.decoder, "bernoulli", (1, 8, 8), 2, (4,), -1, "relaxed"
        )


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(balance=-1.0), "balance must be a number from 0 up"),
        (dict(consistency=float("nan")), "consistency must be"),
        (dict(categorical="2"), "Capacity"),
    ],
)
def test_objectives_that_cannot_be_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        joint_loss(joint_vae((1, 8, 8)), **options)


def test_the_joint_loss_of_a_plain_vae_is_refused():
    with pytest.raises(TypeError, match="needs a joint VAE.* not a VAE"):
        joint_loss(mlp_vae((1, 8, 8)))


@pytest.mark.parametrize(
    "options", [dict(balance=1.0), dict(consistency=1.0), dict(categorical=Capacity())]
)
def test_terms_for_a_categorical_need_one(options):
    with pytest.raises(ValueError, match="this model has none"):
        joint_loss(joint_vae((1, 8, 8), categorical=()), **options)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(end=-1.0), "nats"),
        (dict(start=-0.1), "nats"),
        (dict(steps=0), "steps"),
        (dict(gamma=-3.0), "gamma"),
        (dict(end=float("nan")), "nats"),
    ],
)
def test_capacities_that_cannot_be_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Capacity(**kwargs)


def test_categories_that_do_not_exist_are_refused():
    model = joint_vae((1, 8, 8), 2, (3, 4))
    for call, message in [
        (lambda: one_hot(model, 1), "one category for each"),
        (lambda: one_hot(model, 3, 0), "from 0 to 2, not 3"),
        (lambda: one_hot(model, -1, 0), "not -1"),
        (lambda: one_hot(model, 0.5, 0), "whole numbers"),
        (lambda: join(model, torch.zeros(3), 0, 0), r"shape \(\.\.\., 2\), not \(3,\)"),
        (
            lambda: category_of(model, torch.zeros(9), 2),
            "which must be from 0 to 1, not 2",
        ),
        (
            lambda: category_of(joint_vae((1, 8, 8), 2, ()), torch.zeros(2)),
            "no categorical",
        ),
        (lambda: category_of(model, torch.zeros(5)), r"\(\.\.\., 9\), not \(5,\)"),
        (lambda: gumbel_softmax(LOGITS, 0.0), "tau must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_functions_are_settings_too():
    model = joint_vae((1, 8, 8), 2, (4,), hidden=(8,))
    named = lambda d: joint_loss(model, alter=partial(jitter, degrees=d)).__name__
    assert named(5.0) != named(45.0) and named(5.0) == named(5)
    loss = joint_loss(model, categorical=lambda kl, step: 2 * kl)
    assert loss(model, binary(), 0)["loss"].isfinite()


def test_no_categories_make_no_latents():
    model = joint_vae((1, 8, 8), 2, (4,))
    assert join(model, None, torch.empty(0, dtype=torch.long)).shape == (0, 6)


def test_sizes_of_a_joint_model_may_be_numpys():
    options = dict(hidden=(8,), likelihood="normal", sigma=np.float32(0.3))
    sizes = np.int64(2), (np.int64(4),)
    model = joint_vae((1, 8, 8), *sizes, tau=np.float32(0.5), **options)
    assert model.categorical == (4,) and model.sample(2).shape == (2, 1, 8, 8)


def test_jitter_turns_oblong_images_without_squeezing_them():
    x = torch.zeros(200, 1, 41, 21)
    x[:, :, 7:10, 9:12] = 1  # 12 pixels above the centre
    y = jitter(x, 30, 0, 0, 0, seeded())[:, 0]
    sides = torch.arange(41.0) - 20, torch.arange(21.0) - 10
    down, across = torch.meshgrid(*sides, indexing="ij")
    mean = lambda at: (y * at).sum((1, 2)) / y.sum((1, 2))
    assert (torch.hypot(mean(down), mean(across)) - 12).abs().max() < 0.3


def test_alterations_keep_64_bits_and_refuse_bytes():
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    assert jitter(x).dtype == recolour(x).dtype == torch.float64
    for alter in (jitter, recolour):
        with pytest.raises(ValueError, match="float.* not .* of torch.uint8"):
            alter(x.byte())
