"""Scores, against models whose truth is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vae_nb.core import seed_everything
from vae_nb.data import TensorData, load
from vae_nb.elbo import DiagonalNormal, LinearGaussian, standard_normal
from vae_nb.evaluate import (
    active_units,
    cluster_accuracy,
    copy_scores,
    diagnose,
    digit_features,
    encode_all,
    evaluate,
    frechet_distance,
    inception_features,
    information,
    mean_kl_per_dim,
    mutual_information_gap,
    nll,
    nll_by_k,
    reconstruct_all,
    report,
    sliced_wasserstein,
    small_classifier,
)
from vae_nb.evaluate.codes import moment_mismatch, pair_information
from vae_nb.joint.model import OneHot, Product
from vae_nb.labels import conditional_vae
from vae_nb.priors import fit_density, with_prior
from vae_nb.train import fit
from vae_nb.vae import LatentModel, mlp_vae


class TwoOfThree(torch.nn.Module):
    "Encodes two pixels as they are and ignores the third latent: q = prior there."

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    prior = property(lambda self: standard_normal(3))

    def encode(self, x):
        mu = torch.cat([x.flatten(1), torch.zeros(len(x), 1)], 1)
        return DiagonalNormal(mu, torch.tensor([-2.0, -2.0, 0.0]).expand_as(mu))


@pytest.fixture
def x():
    return torch.randn(500, 2, generator=torch.Generator().manual_seed(0))


def test_collapsed_units_are_found(x):
    assert active_units(TwoOfThree(), x).tolist() == [True, True, False]
    kl = mean_kl_per_dim(TwoOfThree(), x)
    assert kl[2] == 0 and (kl[:2] > 0.5).all()
    expected = 0.5 * (x**2 + torch.tensor(-2.0).exp() - 1 + 2).mean(0)
    assert torch.allclose(kl[:2], expected, atol=1e-5)


def test_encode_all_keeps_the_order(x):
    assert torch.equal(encode_all(TwoOfThree(), x, batch_size=7)[:, :2], x)


def test_active_units_needs_two_images(x):
    with pytest.raises(ValueError, match="at least 2"):
        active_units(TwoOfThree(), x[:1])


@pytest.fixture
def linear():
    model = LinearGaussian(
        torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
        torch.zeros(3),
        sigma=0.7,
        stretch=1.6,
        shift=0.3,
    )
    model.register_parameter(
        "somewhere", torch.nn.Parameter(torch.zeros(1))
    )  # a device
    return model


def test_the_bound_comes_down_to_the_truth_and_never_passes_it(linear):
    torch.manual_seed(0)
    x = linear.decode(linear.prior.sample((1000,))).sample()
    exact = -linear.log_marginal(x).mean().item()
    bounds = [nll(linear, x, k=k, batch_size=500)[0] for k in (1, 10, 1000)]
    assert bounds[0] > bounds[1] > bounds[2]
    assert bounds[0] - exact > 0.1  # the posterior is off on purpose
    assert abs(bounds[2] - exact) < 0.01


def test_the_standard_error_is_that_of_the_mean_over_images(linear):
    torch.manual_seed(0)
    x = linear.decode(linear.prior.sample((4000,))).sample()
    means = torch.tensor(
        [nll(linear, part, k=20, batch_size=400)[0] for part in x.split(400)]
    )
    error = nll(linear, x[:400], k=20, batch_size=400)[1]
    assert (
        0.4 < means.std().item() / error < 2.0
    )  # ten groups: the spread of their means is that error


def test_nll_repeats_and_leaves_the_random_state_alone(linear):
    x = torch.randn(10, 3)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert nll(linear, x, k=5) == nll(linear, x, k=5) != nll(linear, x, k=5, seed=1)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    "score",
    [
        lambda *a, **k: nll(*a, k=100, **k)[0],
        lambda *a, **k: nll_by_k(*a, ks=(4, 100), **k)[4][0],
    ],
    ids=["nll", "nll_by_k"],
)
def test_chunks_do_not_matter(linear, score):
    x = torch.randn(20, 3)
    assert score(linear, x, chunk=7) == pytest.approx(
        score(linear, x, chunk=1000), abs=1e-4
    )


# --- codes against labels and factors ---


def test_accuracy_is_that_of_the_best_naming():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    clusters = torch.tensor([2, 2, 0, 0, 0, 1, 1, 1])  # 2 → 0, 0 → 1, 1 → 2: one wrong
    accuracy, mapping, confusion = cluster_accuracy(clusters, labels)
    assert accuracy == 7 / 8 and mapping.tolist() == [1, 2, 0]
    assert confusion.tolist() == [[1, 2, 0], [0, 0, 3], [2, 0, 0]]


def test_greedy_naming_would_be_worse():
    clusters, labels = (
        torch.tensor([0] * 10 + [1] * 8),
        torch.tensor([0] * 6 + [1] * 4 + [0] * 8),
    )
    accuracy, mapping, _ = cluster_accuracy(
        clusters, labels
    )  # cluster 0 prefers class 0, and must leave it to cluster 1
    assert accuracy == 12 / 18 and mapping.tolist() == [1, 0]


def test_clusters_without_a_class_are_errors_and_fewer_clusters_are_fine():
    labels = torch.arange(4).repeat(5)
    split = labels + 4 * (torch.arange(20) < 8)  # every class in two clusters
    accuracy, mapping, _ = cluster_accuracy(split, labels)
    assert accuracy == 12 / 20 and (mapping == -1).sum() == 4
    assert cluster_accuracy(labels // 2, labels)[0] == 0.5


@pytest.mark.parametrize(
    "assignments, labels, why",
    [
        ([0, 1], None, "labels are missing"),
        ([0, 1, 1], [0, 1], "3 assignments, but 2 labels"),
        ([[0.9, 0.1], [0.2, 0.8]], [0, 1], "argmax"),
        ([0.0, 1.0], [0, 1], "whole numbers"),
        ([0, -1], [0, 1], "from -1"),
        ([], [], "one number for each image"),
    ],
)
def test_accuracy_refuses(assignments, labels, why):
    with pytest.raises(ValueError, match=why):
        cluster_accuracy(assignments, labels)


@pytest.fixture(scope="module")
def planted():
    generator = torch.Generator().manual_seed(0)
    factors = torch.stack(
        [torch.randint(k, (3000,), generator=generator) for k in (2, 5)], 1
    )
    return factors, torch.randn(3000, 3, generator=generator)


def test_gap_of_a_perfect_code_is_1_whatever_its_scale(planted):
    factors, noise = planted
    mean, gaps = mutual_information_gap(torch.cat([noise, -3.0 * factors], 1), factors)
    assert (
        mean > 0.99
        and (gaps > 0.99).all()
        and mean == pytest.approx(gaps.mean().item())
    )


def test_gap_is_0_where_two_latents_share_and_near_0_for_noise(planted):
    factors, noise = planted
    assert mutual_information_gap(torch.cat([factors, factors], 1), factors)[0] == 0
    assert mutual_information_gap(noise, factors)[0] < 0.01


def test_gap_of_a_noisy_code_is_the_known_information(planted):
    factors, noise = planted
    flips = torch.rand(3000, generator=torch.Generator().manual_seed(1)) < 0.1
    code = torch.where(flips, 1 - factors[:, 0], factors[:, 0])
    expected = (
        1 + (0.1 * torch.tensor(0.1).log2() + 0.9 * torch.tensor(0.9).log2()).item()
    )  # capacity of the channel, bits
    assert mutual_information_gap(torch.cat([code[:, None], noise], 1), factors[:, 0])[
        0
    ] == pytest.approx(expected, abs=0.05)


def test_gap_takes_continuous_factors(planted):
    _, noise = planted
    mean, gaps = mutual_information_gap(
        noise, noise[:, :1] ** 3
    )  # any monotone function: bins hold equally many
    assert mean > 0.98 and gaps.shape == (1,)


@pytest.mark.parametrize("slope", [0.001, 1.0, 2.0])
def test_gap_of_a_latent_is_that_of_its_draws(slope):
    "Codes N(slope · v, 1) of a factor v of -1 or 1: the information is known by an integral."
    v = torch.arange(8000).remainder(2).double()[:, None] * 2 - 1
    grid = torch.linspace(-9, 9, 4001, dtype=torch.double)
    bell = lambda at: torch.exp(-0.5 * (grid - at) ** 2) / math.sqrt(2 * math.pi)
    both = 0.5 * (bell(-slope) + bell(slope))
    known = (
        torch.trapezoid(-both * both.log(), grid).item()
        - 0.5 * math.log(2 * math.pi * math.e)
    ) / math.log(2)

    class Factor(TwoOfThree):
        prior = property(lambda self: standard_normal(2))

        def encode(self, x):
            mu = torch.cat([slope * x, torch.zeros_like(x)], 1)
            return DiagonalNormal(mu, torch.zeros_like(mu))

    images = v.float()
    assert mutual_information_gap(encode_all(Factor(), images, seed=0), v)[
        0
    ] == pytest.approx(known, abs=0.02)
    assert (
        mutual_information_gap(encode_all(Factor(), images), v)[0] > 0.99
    )  # means know nothing of the noise


def test_encode_all_draws_on_request_and_leaves_the_random_state_alone(x):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    drawn = encode_all(TwoOfThree(), x, seed=0)
    assert torch.equal(torch.rand(1), expected) and torch.equal(
        drawn, encode_all(TwoOfThree(), x, seed=0)
    )
    assert not torch.equal(drawn, encode_all(TwoOfThree(), x, seed=1))
    off = drawn - encode_all(TwoOfThree(), x)
    assert off.std(0).tolist() == pytest.approx(
        [math.exp(-1), math.exp(-1), 1], rel=0.12
    )


@pytest.mark.parametrize(
    "codes, factors, why",
    [
        (torch.randn(9, 1), torch.arange(9), "at least 2 latents"),
        (torch.randn(9, 2), torch.arange(8), "do not fit"),
        (
            torch.randn(9, 2),
            torch.stack([torch.arange(9), torch.ones(9)], 1),
            "factor 1 is the same for all 9",
        ),
        (torch.full((9, 2), torch.nan), torch.arange(9), "codes hold 18 NaN"),
    ],
)
def test_gap_refuses(codes, factors, why):
    with pytest.raises(ValueError, match=why):
        mutual_information_gap(codes, factors)


# --- the bound for several k ---


def test_bounds_for_several_k_agree_with_the_single_one(linear):
    x = torch.randn(300, 3)
    curve = nll_by_k(linear, x, ks=(100, 1, 10), chunk=7, batch_size=100)
    assert list(curve) == [1, 10, 100] and curve[1][0] > curve[10][0] > curve[100][0]
    assert curve[100][0] == pytest.approx(
        nll(linear, x, k=100, batch_size=100)[0], abs=0.02
    )
    assert curve[100][0] == pytest.approx(
        -linear.log_marginal(x).mean().item(), abs=0.02
    )


@pytest.mark.parametrize("ks", [(), (0, 1), (3, 10), (1.0, 2.0)])
def test_several_k_must_share_out_the_samples(linear, ks):
    with pytest.raises(ValueError, match="divide the largest"):
        nll_by_k(linear, torch.randn(4, 3), ks=ks)


# --- information ---


def test_information_brackets_the_closed_form(linear):
    torch.manual_seed(1)
    x = linear.decode(linear.prior.sample((3000,))).sample()
    q = linear.encode(x)
    cov, variance = q.mu.T.cov() + q.logvar[0].exp().diag(), q.logvar[0].exp()
    known = 0.5 * (cov.logdet() - variance.log().sum()).item()
    mean = q.mu.mean(0)
    aggregate = 0.5 * (mean @ mean + cov.trace() - 2 - cov.logdet()).item()
    found = information(linear, x, n=1500)
    assert (
        found["mi_low"] - 0.06 < known < found["mi_high"] + 0.06
        and found["mi_high"] - found["mi_low"] < 0.2
    )
    assert found["aggregate_low"] - 0.06 < aggregate < found["aggregate_high"] + 0.06
    assert (
        found["kl"]
        == pytest.approx(found["mi_low"] + found["aggregate_high"])
        == pytest.approx(found["mi_high"] + found["aggregate_low"])
    )


def test_information_of_a_collapsed_code_is_0_and_of_a_sharp_one_at_least_log_n(x):
    class Code(TwoOfThree):
        def __init__(self, scale, logvar):
            super().__init__()
            self.scale, self.logvar = scale, logvar

        def encode(self, x):
            mu = torch.cat([self.scale * x, torch.zeros(len(x), 1)], 1)
            return DiagonalNormal(mu, torch.full_like(mu, self.logvar))

    class Shifted(TwoOfThree):
        def encode(self, x):
            return DiagonalNormal(torch.full((len(x), 3), 2.0), torch.zeros(len(x), 3))

    for seed in range(
        6
    ):  # one answer for all images: no information, whatever chance says of the KL of 6 nats
        found = information(Shifted(), x, seed=seed)
        assert (
            0 <= found["mi_low"] <= found["mi_high"] < 0.4
            and found["kl"] == pytest.approx(6, abs=0.5)
            and found["aggregate_low"] >= 0
        )
    collapsed, sharp = information(Code(0.0, 0.0), x), information(Code(1.0, -30.0), x)
    assert abs(collapsed["mi_low"]) < 1e-5 and abs(collapsed["mi_high"]) < 1e-5
    assert sharp["mi_low"] == pytest.approx(math.log(500), abs=1e-4) and sharp[
        "mi_high"
    ] > math.log(500)


def test_moment_mismatch_is_the_kl_between_gaussians():
    mu = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)) * 0.8
    assert moment_mismatch(mu, torch.full_like(mu, 0.36)) < 0.01  # 0.64 + 0.36 = 1
    assert moment_mismatch(mu + 2, torch.full_like(mu, 0.36)) == pytest.approx(
        0.5 * 3 * 4, rel=0.03
    )
    wide = 0.5 * 3 * (1.64 - 1 - math.log(1.64))
    assert moment_mismatch(mu, torch.full_like(mu, 1.0)) == pytest.approx(
        wide, rel=0.06
    )


# --- pictures ---


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_copies_with_known_errors(digits):
    x = digits.floats()[:20]
    perfect = copy_scores(x, x)
    assert (
        (perfect["MSE"] == 0).all()
        and perfect["PSNR"].isinf().all()
        and torch.allclose(perfect["SSIM"], torch.ones(20))
    )
    pale = copy_scores(0.5 * x, 0.5 * x + 0.1)
    assert torch.allclose(pale["MSE"], torch.full((20,), 0.01)) and torch.allclose(
        pale["PSNR"], torch.full((20,), 20.0), atol=1e-3
    )
    assert (pale["SSIM"] < 1).all() and pale["SSIM"].shape == (20,)
    assert copy_scores(x[:1], x[:1])["SSIM"].shape == (1,)


def ssim_by_definition(x, y):
    "Wang et al. (2004): windows of 11 × 11 pixels that lie within the image, Gaussian weights of width 1.5, one value per image."
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    mean = lambda v: np.einsum(
        "...ij,ij->...",
        np.lib.stride_tricks.sliding_window_view(v, (11, 11), (-2, -1)),
        np.outer(bell, bell) / bell.sum() ** 2,
    )
    x, y = x.double().numpy(), y.double().numpy()
    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    return (
        (2 * mx * my + 0.01**2)
        * (2 * vxy + 0.03**2)
        / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2))
    ).mean((1, 2, 3))


def test_ssim_is_that_of_its_definition(digits):
    noise = torch.rand(6, 3, 20, 32, generator=torch.Generator().manual_seed(0))
    middle = torch.zeros(1, 1, 28, 28).index_fill_(
        -1, torch.arange(10, 18), 1.0
    )  # nothing near the border
    for x, y in (
        (digits.floats()[:8], F.avg_pool2d(digits.floats()[:8], 3, 1, 1)),
        (noise, noise.flip(0)),
        (middle, 0.5 * middle),
        (noise[:1, :, :11, :11], noise[1:2, :, :11, :11]),
    ):
        assert copy_scores(x, y)["SSIM"].tolist() == pytest.approx(
            ssim_by_definition(x, y).tolist(), abs=2e-5
        )


@pytest.mark.parametrize(
    "x, y, why",
    [
        (torch.rand(2, 1, 28, 28), torch.rand(2, 1, 14, 14), "must both be"),
        (torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), "11 × 11"),
        (
            torch.rand(2, 1, 16, 16),
            255 * torch.rand(2, 1, 16, 16),
            "copies needs pixels in",
        ),
    ],
)
def test_copies_refuse(x, y, why):
    with pytest.raises(ValueError, match=why):
        copy_scores(x, y)


def test_frechet_of_known_gaussians_and_of_equal_sets():
    a, b = torch.randn(2, 50_000, 2, generator=torch.Generator().manual_seed(0))
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    moved = (a * torch.tensor([2.0, 1.0])) @ turn + 1
    other = (
        b * torch.tensor([1.0, 3.0])
    ) @ turn - 1  # same axes: the closed form is per axis
    assert frechet_distance(moved, other) == pytest.approx(
        8 + (2 - 1) ** 2 + (1 - 3) ** 2, rel=0.02
    )
    assert frechet_distance(a[:100], a[:100]) < 1e-9
    assert frechet_distance(a, b) < 1e-3


def test_frechet_is_that_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Four(torch.nn.Module):
        num_features = 4
        dummy = torch.nn.Identity()

        def forward(self, x):
            return (
                x.float()
                .unflatten(2, (2, -1))
                .unflatten(-1, (2, -1))
                .mean((1, 3, 5))
                .flatten(1)
                / 64
            )

    x, y = torch.randint(
        0,
        255,
        (2, 80, 3, 8, 8),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    theirs = FrechetInceptionDistance(Four(), input_img_size=(3, 8, 8))
    theirs.update(x, real=True)
    theirs.update(y // 2, real=False)
    assert frechet_distance(Four()(x), Four()(y // 2)) == pytest.approx(
        theirs.compute().item(), rel=1e-3
    )


@pytest.mark.parametrize(
    "a, b, why",
    [
        (torch.randn(5, 3), torch.randn(5, 4), "first set of features"),
        (torch.randn(5, 3), torch.randn(1, 3), "second set of features"),
        (
            torch.randn(5, 3),
            torch.full((5, 3), torch.nan),
            "second set of features holds NaN",
        ),
    ],
)
def test_frechet_refuses(a, b, why):
    with pytest.raises(ValueError, match=why):
        frechet_distance(a, b)


def test_inception_without_its_weights_says_what_to_do():
    with pytest.raises(
        RuntimeError,
        match="pip install torch-fidelity.*or do without: features=digit_features",
    ):
        inception_features(weights="nowhere/pt_inception.pth")


@pytest.mark.slow
def test_sliced_wasserstein_knows_equal_sets_and_sees_contrast_blur_and_noise(digits):
    a, b = digits.floats()[:200], digits.floats()[200:400]
    assert sliced_wasserstein(a, a.flip(0))["mean"] < 1e-6
    floor = sliced_wasserstein(a, b)
    assert set(floor) == {28, 14, "mean"}
    noise = 0.1 * torch.randn(b.shape, generator=torch.Generator().manual_seed(0))
    for changed in (0.8 * b, F.avg_pool2d(b, 3, 1, 1), (b + noise).clamp(0, 1)):
        assert sliced_wasserstein(a, changed)["mean"] > 3 * floor["mean"]


def test_sliced_wasserstein_of_a_shift_is_known():
    a = 0.25 + 0.1 * torch.randn(
        400, 1, 7, 7, generator=torch.Generator().manual_seed(0)
    ).clamp(-2, 2)
    distance = sliced_wasserstein(
        a, a + 0.5 * a.std(0).mean(), places=1, directions=4000
    )["mean"]
    assert distance == pytest.approx(
        0.5 * math.sqrt(2 / math.pi), rel=0.05
    )  # E|sum of a unit vector's 49 parts| = sqrt(2/pi)


@pytest.mark.parametrize(
    "a, b, why",
    [
        (torch.rand(3, 1, 28, 28), torch.rand(4, 1, 28, 28), "one shape"),
        (torch.rand(3, 1, 5, 5), torch.rand(3, 1, 5, 5), "7 × 7"),
        (torch.rand(3, 1, 9, 9), torch.rand(3, 1, 9, 9) - 1, "second set needs pixels"),
    ],
)
def test_sliced_wasserstein_refuses(a, b, why):
    with pytest.raises(ValueError, match=why):
        sliced_wasserstein(a, b)


@pytest.mark.slow
def test_classifier_reads_digits_and_its_features_see_more_than_noise(digits):
    classifier = small_classifier(digits, epochs=8)
    valid = load("digits", split="valid")
    with torch.no_grad():
        assert (
            classifier(valid.floats()).argmax(1) == valid.labels
        ).double().mean() > 0.8
    features = digit_features(classifier)
    a, b = features(digits.floats()[:500]), features(digits.floats()[500:1000])
    assert a.shape == (500, 64) and frechet_distance(a, b) < 0.3 * frechet_distance(
        a, features(1 - digits.floats()[500:1000])
    )
    with pytest.raises(ValueError, match="no labels"):
        small_classifier(load("faces", n=4))


def test_density_finds_two_lumps_and_scores_them():
    generator = torch.Generator().manual_seed(0)
    z = torch.cat(
        [
            torch.randn(1000, 2, generator=generator) - 4,
            0.5 * torch.randn(1000, 2, generator=generator) + 4,
        ]
    )
    one, two = fit_density(z), fit_density(z, components=2)
    assert torch.allclose(one.mean, z.mean(0), atol=1e-3) and torch.allclose(
        one.covariances[0], z.T.cov(), rtol=0.01
    )
    assert two.log_prob(z).mean().item() == pytest.approx(
        -math.log(2 * math.pi * math.e), abs=0.06
    )
    assert two.sample((10,)).shape == (10, 2)


@pytest.mark.parametrize(
    "z, why",
    [
        (torch.randn(7, 4), "at least 2 · latent"),
        (torch.full((50, 2), torch.nan), "50 of 50 codes"),
    ],
)
def test_density_refuses(z, why):
    with pytest.raises(ValueError, match=why):
        fit_density(z)


# --- one table, and the doctor ---


@pytest.fixture(scope="module")
def little():
    "The same digits in 14 × 14 pixels, which four latents tell apart: a quarter of the work."
    return load("digits", size=14)


MODELS = {}


def weighted(beta=1.0, kl=lambda terms: terms["kl"], recon=1.0):
    "A training loss with other weights than the model's own."
    return lambda model, x, step: {
        "loss": ((terms := model.terms(x))["recon"] * recon + beta * kl(terms)).mean()
    }


def small(
    images, name, loss=None, epochs=15, change=lambda model: None, data=None, **options
):
    "A small model, trained once for all tests of this file."
    name = name, images.shape
    if name not in MODELS:
        seed_everything(0)
        MODELS[name] = mlp_vae(
            images.shape,
            **{"latent_dim": 8 if images.shape[-1] == 28 else 4, "hidden": (128,)}
            | options,
        )
        change(MODELS[name])
        fit(
            MODELS[name],
            data if data is not None else images,
            epochs=epochs,
            batch_size=64,
            lr=4e-3,
            training_loss=loss,
            precision="float32",
            progress=False,
        )
    return MODELS[name]


HEALTHY = {
    "bernoulli": {},
    "two latents": dict(latent_dim=2),
    "spare latents": dict(latent_dim=48, hidden=(64,)),
    "discretised logistic": dict(likelihood="discretised_logistic"),
    "learned sigma": dict(likelihood="normal", sigma="learned", epochs=30),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_no_false_alarm(little, name):
    model = small(little, name, **HEALTHY[name])
    for images in (little, load("digits", size=14, split="valid")):
        found = diagnose(model, images)
        assert not found, found
        assert 0.75 < found.numbers["effective β"] < 1.3


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("name", HEALTHY)
def test_a_short_training_is_no_illness(digits, name, epochs):
    found = diagnose(
        small(digits, f"{name}, {epochs} epochs", **HEALTHY[name] | {"epochs": epochs}),
        digits,
    )
    assert not found, found
    beta = found.numbers["effective β"]
    if not 0.5 < beta < 1.8:  # what would have been an accusation
        assert found.skipped["weight of the KL"].startswith(
            "not settled yet"
        ) and f"β = {beta:.2g} ± " in repr(found)


@pytest.mark.slow
def test_what_a_short_training_leaves_open_is_said(digits):
    found = diagnose(
        small(digits, "two latents, 1 epochs", latent_dim=2, epochs=1), digits
    )
    assert not found and "weight of the KL: not settled yet: the widths" in repr(found)
    sigma = diagnose(
        small(
            digits,
            "learned sigma, 3 epochs",
            likelihood="normal",
            sigma="learned",
            epochs=3,
        ),
        digits,
    )
    assert (
        sigma.skipped["σ"].startswith("not settled yet: σ = ")
        and "posterior" not in sigma.names
    )


@pytest.mark.slow
def test_standard_errors_are_those_of_other_images(digits):
    model, groups = (
        small(digits, "bernoulli"),
        digits[torch.randperm(1197, generator=torch.Generator().manual_seed(0))],
    )
    found = [diagnose(model, groups[100 * i : 100 * i + 100]) for i in range(11)]
    for name in (
        "MSE",
        "KL",
        "effective β",
        "KL(aggregate ‖ prior), at least",
        "gain of steps on q, at least",
    ):
        spread = torch.tensor([f.numbers[name] for f in found]).std().item()
        error = sum(f.errors[name] for f in found) / len(found)
        assert 0.4 < spread / error < 2.2, (
            name,
            spread,
            error,
        )  # eleven groups: the spread is known to a quarter


AVERAGED = weighted(kl=lambda terms: terms["kl_per_dim"].mean(-1))
WEIGHTS = {
    "averaged": (AVERAGED, 1 / 4, "averaged KL"),
    "light": (weighted(0.12), 0.12, "under-weighted KL"),
    "none": (weighted(0.0), 0.0, "under-weighted KL"),
    "heavy": (weighted(2.5), 2.5, "over-weighted KL"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_weight_of_the_kl_is_read_from_the_model(little, name):
    loss, beta, illness = WEIGHTS[name]
    found = diagnose(small(little, name, loss), little)
    assert illness in found.names and found.numbers["effective β"] == pytest.approx(
        beta, rel=0.2, abs=0.02
    )
    if name == "averaged":
        assert (
            found.names == [illness]
            and "1/4 latents" in found[0].evidence
            and "Sum the KL" in found[0].advice
        )


@pytest.mark.slow
def test_collapse_is_found_and_its_kind_is_told(little):
    averaged = diagnose(
        small(little, "recon averaged", weighted(recon=1 / 196)), little
    )
    assert (
        averaged.names == ["dead units"]
        and "none of 4" in averaged[0].evidence
        and "does not want it" in averaged[0].advice
    )
    assert "weight of the KL" in averaged.skipped and "not checked: weight" in repr(
        averaged
    )
    drowned = diagnose(small(little, "drowned", likelihood="normal", sigma=5.0), little)
    assert (
        set(drowned.names) == {"dead units", "σ does not fit"}
        and "itself wants it" in drowned[drowned.names.index("dead units")].advice
    )


class Cut(torch.nn.Module):
    "Zeroes the means and log-variances of all but the first two latents."

    def forward(self, out):
        mu, logvar = out.chunk(2, -1)
        keep = (torch.arange(8) < 2).float()
        return torch.cat([mu * keep, logvar * keep], -1)


@pytest.mark.slow
def test_units_whose_path_is_cut_are_dead_and_spare_ones_are_not(digits):
    found = diagnose(
        small(digits, "cut", change=lambda model: model.encoder.append(Cut())), digits
    )
    assert found.names == ["dead units"] and found[0].evidence.startswith(
        "6 of 8 latents never move"
    )


@pytest.mark.slow
@pytest.mark.parametrize("sigma, word", [(1.0, "large"), (0.01, "small")])
def test_a_sigma_that_does_not_fit(little, sigma, word):
    found = diagnose(
        small(little, f"sigma {sigma}", likelihood="normal", sigma=sigma), little
    )
    finding = found[found.names.index("σ does not fit")]
    assert f"too {word}" in finding.advice and f"σ = {sigma:g}" in finding.evidence
    assert "over-weighted KL" not in found.names


@pytest.mark.parametrize(
    "change, evidence",
    [
        (lambda x: 255 * x, "from 0 to 255"),
        (lambda x: 2 * x - 1, "from -1 to 1"),
        (lambda x: x / 255, "from 0 to 0.00392"),
        (lambda x: (255 * x).byte(), "uint8"),
        (lambda x: x.masked_fill(x == 1, torch.nan), "NaN"),
    ],
)
def test_an_input_range_that_does_not_fit(little, change, evidence):
    found = diagnose(small(little, "bernoulli"), change(little.floats()[:50]))
    assert found.names == ["input range"] and evidence in found[0].evidence


@pytest.mark.slow
def test_a_model_of_other_images(little):
    found = diagnose(
        small(little, "bernoulli"), 1 - little.floats()
    )  # trained on white ink, given black
    assert found.names == ["bad copies"] and "all else" in found.skipped
    faint = small(
        little, "faint", data=little.floats() / 255
    )  # trained on what was divided twice
    assert diagnose(faint, little).names == ["bad copies"]


class Moved(LatentModel):
    "A model whose codes are moved and stretched, and moved back before decoding."

    def __init__(self, model, shift, scale):
        super().__init__()
        self.model, self.shift, self.scale = model, shift, scale

    prior = property(lambda self: self.model.prior)

    def encode(self, x):
        q = self.model.encode(x)
        return DiagonalNormal(
            q.mu * self.scale + self.shift, q.logvar + 2 * math.log(self.scale)
        )

    def decode(self, z):
        return self.model.decode((z - self.shift) / self.scale)


@pytest.mark.parametrize("shift, scale", [(1.5, 1.0), (0.0, 0.3), (0.0, 4.0)])
def test_codes_that_miss_the_prior(little, shift, scale):
    found = diagnose(Moved(small(little, "bernoulli"), shift, scale), little)
    assert "prior mismatch" in found.names
    assert "fit_density" in found[found.names.index("prior mismatch")].advice
    assert not diagnose(Moved(small(little, "bernoulli"), 0.0, 1.0), little)


class Linear(LinearGaussian):
    "Three pixels about ½, whose true posterior is known; q's means are off by `shift`."

    def __init__(self, shift):
        super().__init__(
            torch.tensor([[0.1, 0.0], [0.0, 0.05], [0.0, 0.0]]),
            torch.full((3,), 0.5),
            sigma=0.02,
            shift=shift,
        )
        self.weight = torch.nn.Parameter(self.weight)  # a device


def test_a_posterior_that_is_off_is_found_with_what_it_costs():
    torch.manual_seed(0)
    x = Linear(0.0).decode(Linear(0.0).prior.sample((1000,))).sample()
    shift = (
        3.6 * (0.5 * Linear(0.0).encode(x).logvar[0, 0]).exp().item()
    )  # the first latent is off by 3.6 σ
    known = (
        0.5 * (shift**2 * (-Linear(0.0).encode(x).logvar[0]).exp()).sum().item()
    )  # KL to the true posterior
    found = diagnose(Linear(shift), x)
    assert found.names == ["misplaced posterior"] and "± " in found[0].evidence
    assert (
        found.numbers["gain of steps on q, at least"] == pytest.approx(known, rel=0.05)
        and 7 < known < 9
    )
    healthy = diagnose(Linear(0.0), x)
    assert (
        not healthy
        and not healthy.skipped
        and abs(healthy.numbers["gain of steps on q, at least"]) < 0.1
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_codes_moved_behind_a_trained_encoder_are_found(little, name):
    model = small(little, name, **HEALTHY[name])

    def off(x, encode=model.encode):
        q = encode(x)
        scale = (0.5 * q.logvar).exp().mean(0)
        return DiagonalNormal(
            q.mu + 3.6 * scale / len(scale) ** 0.5, q.logvar
        )  # 3.6 σ in all

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "encode", off)
        assert "misplaced posterior" in diagnose(model, little).names


def test_looking_leaves_gradients_and_modes_alone(little):
    model = small(little, "bernoulli").train()
    model.zero_grad()
    diagnose(model, little[:50])
    assert model.training and all(p.grad is None for p in model.parameters())


def test_a_density_for_a_prior_is_diagnosed_too(little):
    model = small(little, "bernoulli")
    found = diagnose(
        with_prior(model, fit_density(encode_all(model, little), components=3)), little
    )
    assert "weight of the KL" in found.skipped and math.isfinite(found.numbers["KL"])
    assert "KL(aggregate ‖ prior), at least" not in found.numbers


def test_a_plain_autoencoder_has_no_kl_and_a_table_without_densities(little):
    model = small(little, "plain", variational=False, epochs=2)
    assert diagnose(model, little).names == ["no KL"]
    table = evaluate(model, little[:60])
    assert "MSE of copies" in table.index and not any(
        "ELBO" in name for name in table.index
    )


def test_the_table_holds_every_score_and_agrees_with_its_parts(little):
    model, images = small(little, "bernoulli"), little[:200]
    table = evaluate(
        model,
        images,
        k=10,
        features={"pixels": lambda x: F.avg_pool2d(x, 7).flatten(1)},
        factors=images.labels,
        assign=lambda model, x: model.encode(x).mean.argmax(-1),
    )
    for name in (
        "−ELBO",
        "recon",
        "KL",
        "NLL bound, k = 10",
        "active units",
        "I(x; z), at least",
        "I(x; z), at most",
        "KL(aggregate ‖ prior), at least",
        "KL(aggregate ‖ prior), at most",
        "MSE of copies",
        "PSNR of copies",
        "SSIM of copies",
        "Fréchet, pixels, of samples",
        "sliced Wasserstein of samples",
        "accuracy without supervision",
        "MIG",
    ):
        assert math.isfinite(table.value[name]), name
    assert table.value["−ELBO"] == pytest.approx(
        table.value["recon"] + table.value["KL"]
    )
    assert (
        table.value["−ELBO"] > table.value["NLL bound, k = 10"]
        and table.error["−ELBO"] > 0
    )
    assert table.value["NLL bound, k = 10"] == pytest.approx(
        nll(model, images, k=10)[0]
    )
    assert table.value["KL"] == pytest.approx(
        mean_kl_per_dim(model, images).sum().item(), rel=1e-4
    )
    assert (
        "bits per dimension" not in table.index
    )  # grey values under a Bernoulli: no probability of anything
    binary = evaluate(model, images.binarised("fixed"), k=2, reference=images)
    assert binary.value["bits per dimension"] == pytest.approx(
        binary.value["NLL bound, k = 2"] / 196 / math.log(2)
    )


@pytest.mark.slow
def test_the_table_says_where_it_set_a_score_to_0(little):
    model = small(little, "recon averaged", weighted(recon=1 / 196))
    table = evaluate(model, little[:60], k=1)
    found = information(model, little[:60], 1000)
    for row, key in {
        "I(x; z), at least": "mi_low",
        "KL(aggregate ‖ prior), at least": "aggregate_low",
    }.items():
        assert table.value[row] == found[key] >= 0 and (
            "never below 0" in table.unit[row]
        ) == (found[key] == 0)
    assert any("never below 0" in unit for unit in table.unit)


def test_accuracy_without_labels_and_a_reference_of_another_size_are_refused(little):
    model, x = small(little, "bernoulli"), little.floats()[:40]
    with pytest.raises(ValueError, match="labels are missing"):
        evaluate(model, x, k=1, assign=lambda model, x: model.encode(x).mean.argmax(-1))
    with pytest.raises(ValueError, match="30 reference images for 40"):
        evaluate(model, x, k=1, reference=x[:30])
    with pytest.raises(ValueError, match="at least 2"):
        diagnose(model, x[:1])


def test_another_prior_changes_samples_and_likelihood_and_nothing_else(little):
    model = small(little, "bernoulli")
    with torch.no_grad():
        torch.manual_seed(0)
        codes = model.encode(little.floats()).sample()
    refitted = with_prior(model, fit_density(codes, components=5))
    x = little.floats()[:100]
    assert torch.equal(refitted.encode(x).mean, model.encode(x).mean)
    assert nll(refitted, x, k=20)[0] < nll(model, x, k=20)[0]
    one, two = (refitted.sample(4, torch.Generator().manual_seed(s)) for s in (0, 1))
    assert (
        one.shape == (4, 1, 14, 14)
        and torch.equal(one, refitted.sample(4, torch.Generator().manual_seed(0)))
        and not torch.equal(one, two)
    )
    assert math.isfinite(evaluate(refitted, x, k=2).value["KL"])


# --- images in every form ------------------------------------------------------------------------------------------------------------


def test_every_score_takes_images_in_any_form(little):
    model, few = small(little, "bernoulli"), little[:40]
    x, pixels = few.floats(), few.pixels
    pairs = torch.utils.data.TensorDataset(x, few.labels)
    codes, active, bound = (
        encode_all(model, x),
        active_units(model, x),
        nll(model, x, k=2),
    )
    table = evaluate(model, x, k=2)["value"]
    for form in (
        few,
        pixels,
        pixels.numpy()[:, 0],
        x.double().numpy(),
        x.flatten(1),
        pairs,
        torch.utils.data.DataLoader(pairs, batch_size=7),
    ):
        assert (
            encode_all(model, form).equal(codes)
            and active_units(model, form).equal(active)
            and nll(model, form, k=2) == bound
        )
        assert mean_kl_per_dim(model, form).allclose(mean_kl_per_dim(model, x))
    for form in (
        pixels.numpy(),
        x.flatten(1),
        torch.utils.data.DataLoader(pairs, batch_size=7),
    ):
        assert evaluate(model, form, k=2)["value"].equals(table)
    assert information(
        with_prior(model, model.prior), pixels.numpy(), n=30
    ) == information(model, x, n=30)
    assert diagnose(model, pairs).numbers == diagnose(model, x).numbers


def test_diagnose_brings_images_into_the_layout_of_the_model(little):
    model, x = small(little, "bernoulli"), little.floats()[:100]
    numbers = diagnose(model, x).numbers
    for form in (x[:, 0], x.flatten(1)):
        assert diagnose(model, form).numbers == numbers
    found = diagnose(model, little.pixels[:100, 0])  # bytes stay bytes
    assert "input range" in str(found)


def test_scores_take_images_that_carry_labels(little):
    plain, labelled = small(little, "bernoulli"), little[:200].labelled()
    told = conditional_vae(little.shape, 10, 4, hidden=(16,))
    seven = labelled.by_label(7)
    assign = lambda model, x: model.encode(x).mean.argmax(-1)
    table = evaluate(plain, labelled, k=2, assign=assign)["value"]
    assert table.equals(evaluate(plain, little[:200], k=2, assign=assign)["value"])
    assert math.isfinite(evaluate(told.given(7), seven, k=2).value["KL"])
    assert diagnose(told.given(7), seven).numbers
    copies = reconstruct_all(told, labelled)
    assert copies.allclose(reconstruct_all(told, labelled, batch_size=64), atol=1e-6)
    assert copies[labelled.y == 7].allclose(
        told.given(7).reconstruct(labelled.floats()[labelled.y == 7]), atol=1e-6
    )


def test_dynamic_binarisation_is_the_same_each_time(little):
    model, images = small(little, "bernoulli"), little[:100].binarised("dynamic")
    scores = (encode_all, mean_kl_per_dim, active_units, reconstruct_all)
    for score in scores:
        assert score(model, images).equal(score(model, images))
    assign = lambda model, x: x.flatten(1).sum(1).long() % 10
    tables = [evaluate(model, images, k=1, assign=assign, seed=3) for _ in range(2)]
    assert tables[0].equals(tables[1])


def test_pair_information_of_a_category_that_is_never_used():
    q = Product([OneHot(torch.tensor([[9.0, -1e4, 0.0], [0.0, -1e4, 9.0]]))])
    assert pair_information(q, q) == pytest.approx(math.log(2), abs=0.01)


def test_information_of_one_image_is_refused(x):
    with pytest.raises(ValueError, match="n must be at least 2, not 1"):
        information(TwoOfThree(), x, n=1)


def test_float64_is_made_on_the_cpu_only(x, monkeypatch):
    "Some devices have none."
    home, double = [], torch.Tensor.double

    def cpu(self):
        home.append(self.clone())
        return home[-1]

    def checked(self):
        assert any(self is one for one in home)
        return double(self)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "double", checked)
    assert information(TwoOfThree(), x, n=50)["kl"] > 0


def test_a_prior_of_torch_is_evaluated(little):
    normal = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
    model = mlp_vae(little.shape, 4, hidden=(16,))
    model = with_prior(model, torch.distributions.Independent(normal, 1))
    table = evaluate(model, little[:40], k=2)
    assert math.isfinite(table.value["KL"])
    assert table.equals(evaluate(model, little[:40], k=2))


def test_labelled_data_and_a_model_of_ones_own(x):
    data = TensorData(x, y=torch.zeros(500).long())
    assert torch.equal(encode_all(TwoOfThree(), data), encode_all(TwoOfThree(), x))
    assert mean_kl_per_dim(TwoOfThree(), data).equal(mean_kl_per_dim(TwoOfThree(), x))
    assert information(TwoOfThree(), data, n=50) == information(TwoOfThree(), x, n=50)


class Spoilt(TwoOfThree):
    "One code is NaN."

    def encode(self, x):
        q = super().encode(x)
        mu = q.mu.clone()
        mu[0] = math.nan
        return DiagonalNormal(mu, q.logvar)


@pytest.mark.parametrize("score", [information, active_units])
def test_codes_of_nan_are_no_score(x, score):
    with pytest.raises(ValueError, match="1 of 500 codes hold NaN"):
        score(Spoilt(), x)


def test_samples_of_two_seeds_are_others(little):
    a, b = (report._samples(small(little, "bernoulli"), 500, s) for s in (0, 1))
    assert not torch.equal(a[250:], b[:250])


def test_a_classifier_of_tossed_pixels_is_the_seeds(little):
    few, states = little[:64].binarised("dynamic"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(small_classifier(few, epochs=1).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_a_factor_that_is_mostly_at_its_minimum_has_a_gap():
    rare = torch.cat([torch.zeros(960), torch.linspace(0.1, 1, 40)])
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    codes = torch.stack([rare, noise], 1)
    assert mutual_information_gap(codes, rare)[0] > 0.8


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_one_image_is_no_set(little, n):
    with pytest.raises(ValueError, match="at least 2"):
        diagnose(small(little, "bernoulli"), little[:50], n=n)


def test_inception_sees_a_few_images_at_once(monkeypatch):
    seen = []

    class Network(torch.nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x.flatten(1)

    name = "torchmetrics.image.fid.FrechetInceptionDistance"
    monkeypatch.setattr(name, lambda *a, **k: SimpleNamespace(inception=Network()))
    out = inception_features()(torch.rand(130, 1, 8, 8))
    assert out.shape == (130, 192) and seen == [50, 50, 30]
