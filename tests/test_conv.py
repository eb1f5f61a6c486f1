"""Convolutional VAEs: any size, every option, saved and loaded."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_nb.conv import conv_vae, halvings
from vae_nb.elbo import bits_per_dim
from vae_nb.likelihoods import LIKELIHOODS
from vae_nb.vae import VAE


@settings(max_examples=40, deadline=None)
@given(
    colour=st.sampled_from([1, 3]),
    height=st.integers(16, 100),
    width=st.integers(16, 100),
    depth=st.integers(1, 4),
    latent_dim=st.integers(1, 5),
    likelihood=st.sampled_from(LIKELIHOODS),
    norm=st.sampled_from(["batch", "group", "none"]),
    pool=st.sampled_from(["stride", "max"]),
    upsample=st.sampled_from(["transposed", "nearest"]),
    hidden=st.sampled_from([(), (7,), (9, 5)]),
    dropout=st.sampled_from([0.0, 0.3]),
)
def test_what_comes_out_has_the_size_of_what_went_in(
    colour,
    height,
    width,
    depth,
    latent_dim,
    likelihood,
    norm,
    pool,
    upsample,
    hidden,
    dropout,
):
    shape = (colour, height, width)
    model = conv_vae(
        shape,
        latent_dim,
        (3, 4, 5, 6)[:depth],
        hidden,
        likelihood,
        norm=norm,
        pool=pool,
        upsample=upsample,
        dropout=dropout,
    )
    x = torch.ones(2, *shape)
    terms = model.loss(x)
    assert terms["loss"].isfinite() and model.encode(x).mean.shape == (2, latent_dim)
    terms["loss"].backward()
    assert all(
        weight.grad is not None and weight.grad.isfinite().all()
        for weight in model.parameters()
    )
    images = model.sample(2)
    assert images.shape == x.shape and images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize(
    "shape",
    [
        (1, 28, 28),
        (3, 32, 32),
        (3, 64, 64),
        (3, 92, 92),
        (3, 94, 94),
        (3, 96, 96),
        (3, 128, 128),
        (3, 218, 178),
    ],
)
def test_the_sizes_of_the_book(shape):
    model = conv_vae(shape, latent_dim=4, channels=(2, 2, 2, 2))
    x = torch.rand(2, *shape)
    assert model.reconstruct(x).shape == x.shape


def test_halvings_round_down():
    assert halvings((45, 37), 3) == [(45, 37), (22, 18), (11, 9), (5, 4)]


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(pool="max", upsample="nearest", dropout=0.2, hidden=(8,)),
        dict(norm="group", variational=False),
    ],
)
def test_a_saved_model_comes_back_bit_identical(tmp_path, options):
    model = conv_vae((3, 20, 17), latent_dim=4, channels=(4, 6), **options)
    x = torch.rand(4, 3, 20, 17)
    model.loss(x)  # moves the running statistics of the normalisation
    again = VAE.load(model.save(tmp_path))
    assert (
        torch.equal(again.reconstruct(x), model.reconstruct(x))
        and again.config == model.config
    )


def test_the_untrained_model_predicts_the_mean_colour():
    model = conv_vae((3, 16, 16), latent_dim=2, channels=(4, 4))
    with torch.no_grad():
        model.decoder[-1].weight.zero_()
    mean = torch.tensor([0.2, 0.5, 0.8])
    model.initialise_from(mean[:, None, None].expand(3, 16, 16))
    assert torch.allclose(
        model.sample(1)[0], mean[:, None, None].expand(3, 16, 16), atol=1e-5
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(shape=(3, 15, 64)), "at least 16 pixels"),
        (dict(shape=(3, 20, 20), channels=(2,) * 5), "at least 32 pixels"),
        (dict(shape=(64, 64)), "channels, height, width"),
        (dict(norm="bach"), "Did you mean 'batch'"),
        (dict(pool="maximum"), "Did you mean 'max'"),
        (dict(upsample="bilinear"), "'transposed', 'nearest'"),
        (dict(dropout=1.0), "1.0"),
        (dict(channels=()), "channels"),
        (dict(channels=32), "channels must be a tuple of widths.*not 32"),
        (dict(hidden=256), "hidden must be a tuple of widths.*not 256"),
        (dict(hidden=(0,)), "0"),
        (dict(activation="leaky"), "leaky_relu"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        conv_vae(**{"shape": (3, 32, 32), **arguments})


def test_wrong_channels_name_expected_and_given():
    with pytest.raises(ValueError, match=r"\(batch, 3, 16, 16\), not \(2, 1, 16, 16\)"):
        conv_vae((3, 16, 16), latent_dim=2, channels=(4,)).encode(
            torch.rand(2, 1, 16, 16)
        )


def test_bits_per_dim():
    shape, dims = (3, 4, 5), 60
    assert bits_per_dim(dims * math.log(256), shape) == pytest.approx(
        8
    )  # all levels equally likely
    assert bits_per_dim(0.0, shape, levels=256) == pytest.approx(
        8
    )  # a flat density on [0, 1]
    assert bits_per_dim(torch.zeros(2), shape, levels=2).tolist() == pytest.approx(
        [1, 1]
    )
    with pytest.raises(ValueError, match="1"):
        bits_per_dim(0.0, shape, levels=1)
