"""Scores, against models whose truth is known."""
import pytest
import torch

from vae_nb.elbo import DiagonalNormal, LinearGaussian, standard_normal
from vae_nb.evaluate import active_units, cluster_accuracy, encode_all, mean_kl_per_dim, mutual_information_gap, nll


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
    model = LinearGaussian(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.zeros(3), sigma=0.7, stretch=1.6, shift=0.3)
    model.register_parameter("somewhere", torch.nn.Parameter(torch.zeros(1)))  # a device
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
    means = torch.tensor([nll(linear, part, k=20, batch_size=400)[0] for part in x.split(400)])
    error = nll(linear, x[:400], k=20, batch_size=400)[1]
    assert 0.4 < means.std().item() / error < 2.0  # ten groups: the spread of their means is that error


def test_nll_repeats_and_leaves_the_random_state_alone(linear):
    x = torch.randn(10, 3)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert nll(linear, x, k=5) == nll(linear, x, k=5) != nll(linear, x, k=5, seed=1)
    assert torch.equal(torch.rand(1), expected)


def test_chunks_do_not_matter_beyond_noise(linear):
    x = torch.randn(200, 3)
    assert abs(nll(linear, x, k=1000, chunk=7)[0] - nll(linear, x, k=1000, chunk=1000)[0]) < 0.01


# --- codes against labels and factors ---


def test_accuracy_is_that_of_the_best_naming():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    clusters = torch.tensor([2, 2, 0, 0, 0, 1, 1, 1])  # 2 → 0, 0 → 1, 1 → 2: one wrong
    accuracy, mapping, confusion = cluster_accuracy(clusters, labels)
    assert accuracy == 7 / 8 and mapping.tolist() == [1, 2, 0]
    assert confusion.tolist() == [[1, 2, 0], [0, 0, 3], [2, 0, 0]]


def test_greedy_naming_would_be_worse():
    clusters, labels = torch.tensor([0] * 10 + [1] * 8), torch.tensor([0] * 6 + [1] * 4 + [0] * 8)
    accuracy, mapping, _ = cluster_accuracy(clusters, labels)  # cluster 0 prefers class 0, and must leave it to cluster 1
    assert accuracy == 12 / 18 and mapping.tolist() == [1, 0]


def test_clusters_without_a_class_are_errors_and_fewer_clusters_are_fine():
    labels = torch.arange(4).repeat(5)
    split = labels + 4 * (torch.arange(20) < 8)  # every class in two clusters
    accuracy, mapping, _ = cluster_accuracy(split, labels)
    assert accuracy == 12 / 20 and (mapping == -1).sum() == 4
    assert cluster_accuracy(labels // 2, labels)[0] == 0.5


@pytest.mark.parametrize("assignments, labels, why", [
    ([0, 1], None, "labels are missing"),
    ([0, 1, 1], [0, 1], "3 assignments, but 2 labels"),
    ([[0.9, 0.1], [0.2, 0.8]], [0, 1], "argmax"),
    ([0.0, 1.0], [0, 1], "whole numbers"),
    ([0, -1], [0, 1], "from -1"),
    ([], [], "one number for each image"),
])
def test_accuracy_refuses(assignments, labels, why):
    with pytest.raises(ValueError, match=why):
        cluster_accuracy(assignments, labels)


@pytest.fixture(scope="module")
def planted():
    generator = torch.Generator().manual_seed(0)
    factors = torch.stack([torch.randint(k, (3000,), generator=generator) for k in (2, 5)], 1)
    return factors, torch.randn(3000, 3, generator=generator)


def test_gap_of_a_perfect_code_is_1_whatever_its_scale(planted):
    factors, noise = planted
    mean, gaps = mutual_information_gap(torch.cat([noise, -3.0 * factors], 1), factors)
    assert mean > 0.99 and (gaps > 0.99).all() and mean == pytest.approx(gaps.mean().item())


def test_gap_is_0_where_two_latents_share_and_near_0_for_noise(planted):
    factors, noise = planted
    assert mutual_information_gap(torch.cat([factors, factors], 1), factors)[0] == 0
    assert mutual_information_gap(noise, factors)[0] < 0.01


def test_gap_of_a_noisy_code_is_the_known_information(planted):
    factors, noise = planted
    flips = torch.rand(3000, generator=torch.Generator().manual_seed(1)) < 0.1
    code = torch.where(flips, 1 - factors[:, 0], factors[:, 0])
    expected = 1 + (0.1 * torch.tensor(0.1).log2() + 0.9 * torch.tensor(0.9).log2()).item()  # capacity of the channel, bits
    assert mutual_information_gap(torch.cat([code[:, None], noise], 1), factors[:, 0])[0] == pytest.approx(expected, abs=0.05)


def test_gap_takes_continuous_factors(planted):
    _, noise = planted
    mean, gaps = mutual_information_gap(noise, noise[:, :1] ** 3)  # any monotone function: bins hold equally many
    assert mean > 0.98 and gaps.shape == (1,)


@pytest.mark.parametrize("codes, factors, why", [
    (torch.randn(9, 1), torch.arange(9), "at least 2 latents"),
    (torch.randn(9, 2), torch.arange(8), "do not fit"),
    (torch.randn(9, 2), torch.stack([torch.arange(9), torch.ones(9)], 1), "factor 1 is the same for all 9"),
    (torch.full((9, 2), torch.nan), torch.arange(9), "codes hold 18 NaN"),
])
def test_gap_refuses(codes, factors, why):
    with pytest.raises(ValueError, match=why):
        mutual_information_gap(codes, factors)
