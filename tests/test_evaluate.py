"""Scores, against models whose truth is known."""
import pytest
import torch

from vae_nb.elbo import DiagonalNormal, LinearGaussian, standard_normal
from vae_nb.evaluate import active_units, encode_all, mean_kl_per_dim, nll


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
