"""The VAE as three distributions; building, saving and loading."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import vae_nb
from vae_nb.builders import _BUILDERS, build_from, builder
from vae_nb.conv import conv_vae
from vae_nb.core import load_tensors, seed_everything
from vae_nb.data import Images
from vae_nb.elbo import kl_normal
from vae_nb.joint import joint_vae
from vae_nb.labels import conditional_vae
from vae_nb.likelihoods import LIKELIHOODS, NormalLikelihood, Pixels, make_likelihood
from vae_nb.networks import ACTIVATIONS
from vae_nb.priors import with_prior
from vae_nb.saving import config_now, load_model, save_model
from vae_nb.vae import VAE, mlp_vae

SHAPE = (1, 4, 5)


@pytest.fixture
def model():
    seed_everything(0)
    return mlp_vae(SHAPE, latent_dim=3, hidden=(8,))


@pytest.fixture
def x():
    return (
        torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))
        .mul(255)
        .round()
        / 255
    )


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_terms_are_per_image_nats_that_add_up(likelihood, x):
    model = mlp_vae(SHAPE, latent_dim=3, hidden=(8,), likelihood=likelihood)
    torch.manual_seed(0)
    terms = model.terms(x)
    assert terms["recon"].shape == terms["kl"].shape == (6,) and terms[
        "kl_per_dim"
    ].shape == (6, 3)
    assert torch.allclose(terms["loss"], terms["recon"] + terms["kl"])
    q = model.encode(x)
    assert torch.allclose(terms["kl"], kl_normal(q.mu, q.logvar), atol=1e-5)
    torch.manual_seed(0)
    z = q.rsample()
    assert torch.allclose(terms["recon"], -model.decode(z).log_prob(x))


def test_loss_averages_once_and_keeps_the_terms_asked_for(model, x):
    torch.manual_seed(0)
    per_image = model.terms(x)
    torch.manual_seed(0)
    loss = model.loss(x, per_dim=True)
    assert all(torch.allclose(loss[name], per_image[name].mean(0)) for name in loss)
    assert set(model.loss(x)) == {"loss", "recon", "kl"}


def test_the_loss_is_a_sum_over_pixels():
    "Twice the pixels, twice the nats: an average over pixels would not show it."
    for shape in ((1, 8, 8), (1, 8, 16)):
        model = mlp_vae(shape, latent_dim=2, hidden=(4,))
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()
        recon = model.loss(torch.ones(3, *shape))["recon"]
        assert torch.allclose(recon, shape[1] * shape[2] * torch.tensor(2.0).log())


def test_beta_weighs_the_kl(model, x):
    def loss(beta):
        torch.manual_seed(0)
        return model.loss(x, beta=beta)

    half, none = loss(0.5), loss(0.0)
    assert torch.allclose(half["loss"], half["recon"] + 0.5 * half["kl"])
    assert torch.equal(none["loss"], none["recon"])
    assert torch.equal(half["kl"], none["kl"])


def test_a_plain_autoencoder_has_no_kl_and_no_noise(x):
    model = mlp_vae(SHAPE, latent_dim=3, hidden=(8,), variational=False)
    assert set(model.loss(x)) == {"loss", "recon"}
    assert torch.equal(model.loss(x)["loss"], model.loss(x)["loss"])
    with pytest.raises(ValueError, match="no density"):
        model.encode(x).log_prob(torch.zeros(6, 3))
    assert model.sample(2).shape == (2, *SHAPE)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    latent_dim=st.integers(1, 5),
    hidden=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    likelihood=st.sampled_from(LIKELIHOODS),
    activation=st.sampled_from(list(ACTIVATIONS)),
)
def test_any_shape_comes_back_as_it_went_in(
    channels, height, width, latent_dim, hidden, likelihood, activation
):
    shape = (channels, height, width)
    model = mlp_vae(shape, latent_dim, tuple(hidden), likelihood, activation=activation)
    x = torch.full((2, *shape), 1.0)
    assert model.reconstruct(x).shape == x.shape
    assert model.decode(torch.zeros(3, 4, latent_dim)).mean.shape == (3, 4, *shape)
    images = model.sample(2)
    assert images.shape == (2, *shape) and images.min() >= 0 and images.max() <= 1
    assert model.loss(x)["loss"].isfinite()


def test_samples_follow_their_generator_and_leave_the_mode_alone(model):
    model.train()
    a, b = (model.sample(4, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(a, b) and model.training and not a.requires_grad


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_untrained_model_predicts_the_mean_image(likelihood):
    model = mlp_vae(SHAPE, latent_dim=2, hidden=(4,), likelihood=likelihood)
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.zero_()
    mean = torch.linspace(0.05, 0.95, 20).reshape(SHAPE)
    model.initialise_from(mean)
    assert torch.allclose(model.decode(torch.zeros(1, 2)).mean[0], mean, atol=2e-3)
    model.initialise_from(
        torch.zeros(SHAPE)
    )  # a trained model must not be touched again
    assert torch.allclose(model.decode(torch.zeros(1, 2)).mean[0], mean, atol=2e-3)


# ---- other number types, other networks -----------------------------------------------------------------------------------

FAMILIES = {
    "mlp": lambda: mlp_vae((1, 16, 16), latent_dim=3, hidden=(8,)),
    "conv": lambda: conv_vae(
        (3, 16, 16), latent_dim=3, channels=(4, 8), likelihood="discretised_logistic"
    ),
    "joint": lambda: joint_vae((1, 16, 16), 2, (4,), hidden=(8,), likelihood="normal"),
    "joint, conv, exact": lambda: joint_vae(
        (3, 16, 16),
        2,
        (4,),
        net="conv",
        channels=(4, 8),
        estimator="exact",
        likelihood="normal",
        sigma="optimal",
    ),
}
TOLERANCE = {
    torch.float64: 1e-5,
    torch.float32: 1e-5,
    torch.float16: 5e-3,
    torch.bfloat16: 5e-2,
}
VERBS = {
    "encode": lambda model, x: model.encode(x).mean,
    "decode": lambda model, x: (
        model.decode(
            model.prior.sample((5,), torch.Generator().manual_seed(1)).to(x.dtype)
        ).mean
    ),
    "sample": lambda model, x: model.sample(5, torch.Generator().manual_seed(1)),
    "reconstruct": lambda model, x: model.reconstruct(x),
    "forward": lambda model, x: model(x).mean,
    "loss": lambda model, x: model.eval().loss(x)["recon"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_number_type_gives_the_same_within_its_precision(family, dtype, verb):
    torch.manual_seed(0)
    model, results = FAMILIES[family]().eval(), []
    x = torch.rand(4, *model.shape).mul(255).round() / 255
    for weights, images in ((torch.float32, x), (dtype, x), (dtype, x.to(dtype))):
        torch.manual_seed(2)
        results.append(VERBS[verb](model.to(weights), images))
    for result in results[1:]:
        assert result.dtype == (
            torch.float64 if dtype == torch.float64 else torch.float32
        )
        torch.testing.assert_close(
            result.float(), results[0], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
        )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_number_type_trains(family, dtype):
    model = FAMILIES[family]().to(dtype).train()
    model.loss(torch.rand(4, *model.shape).mul(255).round() / 255)["loss"].backward()
    assert all(
        weight.grad.dtype == dtype and weight.grad.isfinite().all()
        for weight in model.parameters()
    )


class OwnEncoder(torch.nn.Module):
    def __init__(self, sizes, joined):
        super().__init__()
        self.joined, self.heads = (
            joined,
            torch.nn.ModuleList(torch.nn.Linear(20, n) for n in sizes),
        )

    def forward(self, x):
        out = [head(x.flatten(1)) for head in self.heads]
        return torch.cat(out, -1) if self.joined else tuple(out)


class OwnDecoder(torch.nn.Module):
    "Its layers are registered in the opposite order; `bias` of one of them is no tensor."

    def __init__(self, size, bias=True):
        super().__init__()
        self.out, self.between, self.block = (
            torch.nn.Linear(8, size, bias=bias),
            torch.nn.Linear(3, 8),
            torch.nn.Identity(),
        )
        self.block.bias = True

    def forward(self, z):
        return self.block(self.out(self.between(z).tanh()))


def own(encoder=((3, 3), False), decoder=None, likelihood="bernoulli", **options):
    return VAE(
        OwnEncoder(*encoder), decoder or OwnDecoder(20), likelihood, SHAPE, 3, **options
    )


def test_an_encoder_may_return_a_pair_and_the_likelihood_may_be_named(x):
    pair, joined = own(), own(((3, 3), True))
    joined.load_state_dict(pair.state_dict())
    assert torch.equal(pair.encode(x).mu, joined.encode(x).mu) and torch.equal(
        pair.encode(x).logvar, joined.encode(x).logvar
    )
    assert torch.equal(pair.encode(x).mu, pair.encoder.heads[0](x.flatten(1)))
    assert pair.loss(x)["loss"].isfinite() and isinstance(
        own(likelihood="normal").likelihood, NormalLikelihood
    )
    with pytest.raises(ValueError, match="Did you mean 'bernoulli'"):
        own(likelihood="bernouli")


@pytest.mark.parametrize(
    "model, message",
    [
        (
            lambda: own(((3, 3, 3), False)),
            r"encoder .* \(6, 9\), .* \(6, 6\)",
        ),  # (z, mu, logvar)
        (lambda: own(((3,), True)), r"encoder .* \(6, 3\), .* \(6, 6\)"),
        (lambda: own(variational=False), r"encoder .* \(6, 6\), .* \(6, 3\)"),
        (
            lambda: own(decoder=OwnDecoder(21)),
            r"decoder .* \(6, 21\), .* \(6, 1, 4, 5\)",
        ),
        (
            lambda: own(
                decoder=torch.nn.Sequential(
                    OwnDecoder(20), torch.nn.Unflatten(1, (5, 4, 1))
                )
            ),
            r"decoder .* \(6, 5, 4, 1\), .* \(6, 1, 4, 5\)",
        ),
    ],
)
def test_networks_of_the_wrong_size_are_named(model, message, x):
    with pytest.raises(ValueError, match=message):
        model().reconstruct(x)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_the_output_bias_is_found_wherever_it_was_registered(likelihood, dtype):
    model = own(likelihood=likelihood).to(dtype)
    with torch.no_grad():
        model.decoder.out.weight.zero_()
    between = model.decoder.between.bias.clone()
    mean = torch.linspace(0.05, 0.95, 20).reshape(SHAPE)
    model.initialise_from(mean)
    assert torch.allclose(
        model.decode(torch.zeros(1, 3)).mean[0].float(),
        mean,
        atol=max(3e-3, TOLERANCE[dtype]),
    )
    assert torch.equal(model.decoder.between.bias, between)


def without_a_bias():
    "The last registered bias has the image's size by chance, and is not the output's."
    decoder = OwnDecoder(20, bias=False)
    decoder.between, decoder.out = (
        torch.nn.Linear(3, 20),
        torch.nn.Linear(20, 20, bias=False),
    )
    return decoder


@pytest.mark.parametrize(
    "decoder",
    [
        lambda: OwnDecoder(20, bias=False),
        without_a_bias,
        lambda: torch.nn.Linear(3, 20, bias=False),
        lambda: torch.nn.Sequential(OwnDecoder(20), torch.nn.Sigmoid()),
        lambda: torch.nn.Sequential(
            OwnDecoder(10), torch.nn.Unflatten(1, (1, 2, 5)), torch.nn.Upsample((4, 5))
        ),
    ],
)
def test_no_other_bias_is_touched(decoder):
    model = own(decoder=decoder())
    before = {name: value.clone() for name, value in model.named_parameters()}
    model.initialise_from(torch.full(SHAPE, 0.9))
    assert (
        all(
            torch.equal(value, before[name]) for name, value in model.named_parameters()
        )
        and model.initialised
    )


def test_a_likelihood_of_ones_own_needs_no_link():
    class Own(torch.nn.Module):
        def forward(self, out):
            return Pixels(torch.distributions.Normal(out, 0.5))

    model = own(likelihood=Own())
    model.initialise_from(torch.full(SHAPE, 0.9))
    assert model.loss(torch.rand(2, *SHAPE))["loss"].isfinite()


def test_a_called_model_is_the_distribution_of_the_reconstruction(model, x):
    model.eval()
    p = model(x)
    assert (
        torch.equal(p.mean, model.reconstruct(x))
        and p.log_prob(x).shape == (6,)
        and p.mean.requires_grad
    )
    model.train()
    torch.manual_seed(3)
    drawn = model(x).log_prob(x)
    torch.manual_seed(3)
    assert torch.equal(drawn, -model.terms(x)["recon"])


# ---- bad input -------------------------------------------------------------------------------------------------------------


def test_without_hidden_layers_both_halves_are_linear(x):
    model = mlp_vae(SHAPE, latent_dim=3, hidden=(), likelihood="normal")
    linear = [
        tuple(m.weight.shape) for m in model.modules() if isinstance(m, torch.nn.Linear)
    ]
    assert linear == [(6, 20), (20, 3)] and model.loss(x)["loss"].isfinite()
    assert not [
        m for m in model.modules() if isinstance(m, tuple(ACTIVATIONS.values()))
    ]


@pytest.mark.parametrize(
    "value, message", [(float("nan"), "1 NaN"), (1.5, "to 1.5"), (-0.25, "-0.25")]
)
def test_pixels_out_of_range_are_refused_with_the_value(model, x, value, message):
    x[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=message):
        model.loss(x)


def test_wrong_shapes_name_expected_and_given(model, x):
    with pytest.raises(ValueError, match=r"\(batch, 1, 4, 5\), not \(6, 1, 5, 4\)"):
        model.encode(x.transpose(2, 3))
    with pytest.raises(ValueError, match=r"x\[None\]"):
        model.encode(x[0])
    with pytest.raises(
        ValueError, match=r"torch.int64 may mean anything: pass x / 255"
    ):
        model.encode((x * 255).long())
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\), not \(6, 2\)"):
        model.decode(torch.zeros(6, 2))
    with pytest.raises(ValueError, match="not 0"):
        model.sample(0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(latent_dim=0), "latent"),
        (dict(latent_dim=2.0), "latent"),
        (dict(hidden=(0,)), "hidden"),
        (dict(hidden=(8, -1)), "hidden"),
        (dict(hidden=256), "hidden must be a tuple of widths.*not 256"),
        (dict(shape=(28, 28)), "channels, height, width"),
        (dict(activation="silo"), "Did you mean 'silu'"),
        (dict(likelihood="bernouli"), "Did you mean 'bernoulli'"),
        (dict(sigma=0.1), "goes with likelihood='normal'"),
        (dict(likelihood="normal", sigma=-1.0), "-1.0"),
        (dict(likelihood="normal", sigma="optimum"), "optimum"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        mlp_vae(**{"shape": SHAPE, **arguments})


def by_hand(shape, *args, **options):
    return VAE(OwnEncoder((6,), True), OwnDecoder(20), "bernoulli", shape, 3, **options)


@pytest.mark.parametrize(
    "build",
    [
        mlp_vae,
        conv_vae,
        joint_vae,
        lambda *a, **o: joint_vae(*a, net="conv", **o),
        conditional_vae,
        by_hand,
    ],
    ids=["mlp", "conv", "joint", "joint, conv", "conditional", "by hand"],
)
@pytest.mark.parametrize(
    "shape, options, message",
    [
        (784, {}, r"\(channels, height, width\), such as \(1, 28, 28\), not 784"),
        ((32, 32), {}, r"\(channels, height, width\).* not \(32, 32\)"),
        ("mnist", {}, "shape must be .* not 'mnist'"),
        ((1, 32, 0), {}, "shape"),
        ((1, 32, 32.5), {}, "shape"),
        (None, {}, "shape must be .* not None"),
        *[
            (
                (1, 32, 32),
                {name: value},
                f"{name} must be a finite number, 0 or more, not {value!r}",
            )
            for name in ("beta", "free_bits")
            for value in (-1, -0.1, float("nan"), float("inf"), True, "1", None)
        ],
    ],
)
def test_shapes_and_weights_that_cannot_be_are_refused_when_a_model_is_made(
    build, shape, options, message
):
    with pytest.raises(ValueError, match=message):
        build(shape, **options)


def test_numpy_numbers_and_zero_are_weights():
    model = mlp_vae(SHAPE, hidden=(4,), beta=0, free_bits=0.0)
    assert (model.beta, model.free_bits) == (0, 0.0) and by_hand(
        SHAPE, beta=np.float32(0.5)
    ).beta == 0.5


# ---- saving and loading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        dict(),
        dict(likelihood="normal", sigma="per_channel"),
        dict(likelihood="normal", sigma="optimal"),
        dict(likelihood="discretised_logistic", beta=2.0, free_bits=0.1),
        dict(variational=False, activation="tanh"),
    ],
)
def test_a_saved_model_comes_back_bit_identical(tmp_path, x, arguments):
    model = mlp_vae(SHAPE, latent_dim=3, hidden=(8, 6), **arguments)
    model.initialise_from(x.mean(0))
    again = VAE.load(model.save(tmp_path / "run"))
    assert torch.equal(again.reconstruct(x), model.reconstruct(x))
    assert again.config == model.config and not again.training
    assert (again.beta, again.free_bits, again.variational, again.latent_dim) == (
        model.beta,
        model.free_bits,
        model.variational,
        3,
    )
    assert sorted(os.listdir(tmp_path / "run")) == ["config.json", "model.safetensors"]
    assert (
        json.loads((tmp_path / "run" / "config.json").read_text())["builder"]
        == "vae_nb.vae.mlp_vae"
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp_vae((1, 16, 16), latent_dim=3, hidden=(64,)),
        lambda: conv_vae((1, 16, 16), latent_dim=3, channels=(8, 16)),
        lambda: joint_vae((1, 16, 16), 3, (4,), hidden=(64,)),
    ],
    ids=["mlp", "conv", "joint"],
)
def test_16_bits_take_half_the_space_and_draw_the_same(tmp_path, make):
    model = make().eval()
    model.save(tmp_path / "whole")
    again, size = (
        VAE.load(model.save(tmp_path / "half", half=True)),
        lambda name: (tmp_path / name / "model.safetensors").stat().st_size,
    )
    assert size("half") < 0.7 * size("whole")
    assert {v.dtype for v in again.state_dict().values()} == {
        v.dtype for v in model.state_dict().values()
    }
    z = model.prior.sample((50,), torch.Generator().manual_seed(0))
    difference = (again.decode(z).mean - model.decode(z).mean).abs().max()
    assert 0 < difference < 1e-2 and again.config == model.config


@pytest.mark.parametrize(
    "half, value, message",
    [
        (True, 1e5, "more than 65,504.* save without half=True"),
        (True, float("inf"), "NaN or infinity, so the model is not saved"),
        (False, float("nan"), "NaN or infinity, so the model is not saved"),
    ],
)
def test_what_no_file_should_hold_is_refused_before_anything_is_written(
    tmp_path, model, half, value, message
):
    model.save(tmp_path)
    with torch.no_grad():
        model.decoder[0].weight[0, 0] = value
    with pytest.raises(ValueError, match=f"'decoder.0.weight' holds {message}"):
        model.save(tmp_path, half=half)
    assert VAE.load(tmp_path).decoder[0].weight.isfinite().all()


def test_a_second_save_replaces_the_first(tmp_path, model):
    mlp_vae(SHAPE, latent_dim=7).save(tmp_path)
    model.save(tmp_path)
    assert VAE.load(tmp_path).latent_dim == 3


def test_a_model_built_by_hand_says_why_it_cannot_be_saved(tmp_path, model):
    by_hand = VAE(model.encoder, model.decoder, model.likelihood, SHAPE, 3)
    with pytest.raises(
        ValueError,
        match="only a model that a function built.* mark the function .* @builder",
    ):
        by_hand.save(tmp_path)
    assert not os.listdir(tmp_path)


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved model in .*nowhere"):
        VAE.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing"):
        VAE.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_model_is_refused(tmp_path, model, keep):
    path = model.save(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        VAE.load(tmp_path)


def forge(folder, model, config):
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "model.safetensors",
        metadata=config,
    )


@pytest.mark.parametrize(
    "config, message",
    [
        (None, "not written by vae_nb"),
        ({"format": "pt"}, "not written by vae_nb"),
        ({"config": "{}"}, "config has no 'builder'"),
        ({"config": "not json"}, "not written by vae_nb: its header is not readable"),
        ({"config": "[1, 2]"}, "cannot load"),
        (
            {
                "config": json.dumps(
                    {"builder": "os.system", "arguments": {"command": "true"}}
                )
            },
            r"asks for 'os.system'.*VAE.load\(folder, build=that_function\)",
        ),
        (
            {
                "config": json.dumps(
                    {"builder": "vae_nb.core.seed_everything", "arguments": {"seed": 1}}
                )
            },
            "neither a builder of this version",
        ),
        (
            {"config": json.dumps({"builder": "vae_nb.nothing.here", "arguments": {}})},
            "neither a builder of this version",
        ),
        (
            {
                "config": json.dumps(
                    {
                        "builder": "vae_nb.vae.mlp_vae",
                        "arguments": {"shape": [1, 4, 5], "wrong": 1},
                    }
                )
            },
            "wrong",
        ),
        (
            {
                "config": json.dumps(
                    {
                        "builder": "vae_nb.vae.mlp_vae",
                        "arguments": {"shape": [1, 4, 5], "latent_dim": 4},
                    }
                )
            },
            "is needed",
        ),
    ],
)
def test_foreign_files_are_refused_with_the_reason(tmp_path, model, config, message):
    forge(tmp_path, model, config)
    with pytest.raises(ValueError, match=message):
        VAE.load(tmp_path)


def test_only_functions_of_the_list_are_called_and_nothing_is_imported_for_others():
    for path in (
        "vae_nb.builders.importlib.import_module",
        "vae_nb.vae.VAE",
        "vae_nbx.vae.mlp_vae",
        "vae_nb.__main__.main",
        "antigravity.geohash",
    ):
        with pytest.raises(ValueError, match="neither a builder"):
            build_from({"builder": path, "arguments": {}})
    assert not {"vae_nb.__main__", "antigravity"} & sys.modules.keys()


def test_the_list_holds_every_builder_of_the_library():
    names = {
        f"vae_nb.{name}"
        for name in re.findall(
            r'@builder\("vae_nb\.(.+)"\)',
            "".join(p.read_text() for p in Path(vae_nb.__file__).parent.rglob("*.py")),
        )
    }
    assert (
        names
        == {path for path in _BUILDERS if path.startswith("vae_nb.")}
        == {"vae_nb.vae.mlp_vae", "vae_nb.conv.conv_vae", "vae_nb.joint.joint_vae"}
        | {f"vae_nb.priors.{kind}_prior" for kind in ("mixture", "vamp", "flow")}
        | {"vae_nb.priors.flow_posterior", "vae_nb.priors.full_mixture"}
        | {"vae_nb.labels.conditional_vae"}
    )


@pytest.mark.slow
def test_a_file_cannot_run_the_command_and_another_session_asks_for_the_function(
    tmp_path, model
):
    forge(
        tmp_path,
        model,
        {"config": json.dumps({"builder": "vae_nb.__main__.x", "arguments": {}})},
    )
    own = tmp_path / "own"
    builder(own_vae)(2).save(own)
    code = "import sys, vae_nb.__main__\nfrom vae_nb.vae import load_model\nfor folder in sys.argv[1:]:\n  try: load_model(folder)\n  except ValueError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path, own], capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr
    command, function = done.stdout.splitlines()
    assert "asks for 'vae_nb.__main__.x'" in command
    assert f"asks for '{__name__}.own_vae'" in function
    assert "VAE.load(folder, build=that_function)" in function
    with pytest.raises(
        ValueError, match="cannot load .* missing a required argument: 'shape'"
    ):
        load_model(own, build=mlp_vae)


MLP = {"shape": [1, 4, 5], "latent_dim": 3, "hidden": [8]}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("[" * 100_000 + "]" * 100_000, "has 200,0.. characters"),
        ("[" * 20_000 + "]" * 20_000, "not readable .*recursion"),
        ([[[[[[[[[[[[1]]]]]]]]]]]], "nested more than 10 deep"),
        (MLP | {"hidden": [1] * 20_000}, "20,004 values for 9 tensors"),
        (MLP | {"beta": "x"}, "beta='x' should be of type float"),
        (MLP | {"beta": True}, "beta=True"),
        (MLP | {"beta": float("nan")}, "config holds nan"),
        (MLP | {"free_bits": float("inf")}, "config holds inf"),
        (MLP | {"latent_dim": 10**30}, "config holds 1000"),
        (MLP | {"variational": "no"}, "variational='no'"),
        (MLP | {"shape": "145"}, "shape='145'"),
        (MLP | {"latent_dim": 3.0}, "latent_dim=3.0"),
        (MLP | {"sigma": [1]}, r"float \| str \| None"),
        (MLP | {"latent_dim": 10**15}, "is needed|overflow"),
    ],
)
def test_a_config_is_checked_before_anything_is_built(
    tmp_path, model, arguments, message
):
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    forge(
        tmp_path,
        model,
        {
            "config": '{"builder": "vae_nb.vae.mlp_vae", "arguments": {"a": '
            + text
            + "}}"
            if text[0] == "["
            else json.dumps({"builder": "vae_nb.vae.mlp_vae", "arguments": arguments})
        },
    )
    with pytest.raises(ValueError, match=message) as caught:
        load_model(tmp_path)
    assert (
        "\n" not in str(caught.value)
        and len(str(caught.value)) < 400
        and "model.safetensors" in str(caught.value)
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda w: w.to(torch.int64),
            "of type torch.int64, and torch.float32 is needed",
        ),
        (lambda w: w.bool(), "torch.bool"),
        (lambda w: w.to(torch.complex64), "torch.complex64"),
        (lambda w: w * float("nan"), "'decoder.0.weight' holds NaN"),
        (lambda w: w / 0, "'decoder.0.weight' holds NaN or infinity"),
    ],
)
def test_weights_that_are_no_weights_are_refused(tmp_path, model, change, message):
    weights = model.state_dict()
    save_file(
        weights | {"decoder.0.weight": change(weights["decoder.0.weight"])},
        tmp_path / "model.safetensors",
        metadata={"config": json.dumps(model.config)},
    )
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


def one_of_each():
    "A model of every family."
    return {
        "mlp": mlp_vae(SHAPE, 3, (8,)),
        "conv": conv_vae((1, 16, 16), 3, (4, 8), likelihood="bernoulli", dropout=0.1),
        "joint": joint_vae(SHAPE, 2, (3,), hidden=(8,)),
    }


@pytest.mark.parametrize("family", ["mlp", "conv", "joint"])
def test_what_was_set_after_building_is_saved(tmp_path, family):
    model = one_of_each()[family]
    x = torch.rand(4, *model.shape)
    model.beta, model.free_bits = 0.25, np.float32(0.5)
    model.likelihood = NormalLikelihood("optimal", 1)
    for name, layer in [*model.named_modules()]:
        if isinstance(layer, (torch.nn.SiLU, torch.nn.LeakyReLU)):
            model.set_submodule(name, torch.nn.Tanh())
    if family == "joint":
        model.tau, model.estimator = 0.3, "straight_through"
    again = load_model(model.save(tmp_path))
    assert (
        again.config["arguments"]
        | {
            "beta": 0.25,
            "free_bits": 0.5,
            "likelihood": "normal",
            "sigma": "optimal",
            "activation": "tanh",
        }
        == again.config["arguments"]
    )
    for one in (model.train(), again.train()):
        torch.manual_seed(0)
        one.total = one.loss(x)["loss"].item()
    assert model.total == again.total and config_now(again) == again.config


@pytest.mark.parametrize("sigma", [None, "learned", "optimal", "per_channel", 0.125])
def test_a_likelihood_that_was_replaced_keeps_its_sigma(tmp_path, sigma):
    model = mlp_vae((3, 4, 4), 2, (8,))
    model.likelihood = make_likelihood("normal", 3, sigma)
    again = load_model(model.save(tmp_path))
    assert again.config["arguments"]["sigma"] == (None if sigma == "learned" else sigma)
    assert torch.equal(
        again.likelihood.log_sigma, model.likelihood.log_sigma
    ) and again.likelihood.optimal == (sigma == "optimal")


CHANGES = {
    "parametrised": lambda m: torch.nn.utils.parametrizations.weight_norm(m.encoder[1]),
    "replaced": lambda m: m.encoder.__setitem__(1, torch.nn.Linear(20, 8, bias=False)),
    "added": lambda m: m.encoder.append(torch.nn.Dropout(0.1)),
    "slope": lambda m: m.encoder.__setitem__(2, torch.nn.LeakyReLU(0.5)),
    "two activations": lambda m: m.encoder.__setitem__(2, torch.nn.Tanh()),
    "likelihood of one's own": lambda m: setattr(m, "likelihood", torch.nn.Identity()),
    "a method": lambda m: setattr(m, "decode", lambda z: None),
    "tied": lambda m: setattr(m.decoder[0], "bias", m.encoder[1].bias),
    "variational": lambda m: setattr(m, "variational", False),
    "latent_dim": lambda m: setattr(m, "latent_dim", 5),
    "beta": lambda m: setattr(m, "beta", "x"),
    "nan": lambda m: setattr(m, "beta", float("nan")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_cannot_be_rebuilt_is_refused_when_it_is_saved(tmp_path, model, change):
    CHANGES[change](model)
    with pytest.raises(ValueError) as caught:
        model.save(tmp_path)
    assert not os.listdir(tmp_path) and "\n" not in str(caught.value)
    assert (
        "any more: " in str(caught.value)
        or "beta" in str(caught.value)
        or "config holds nan" in str(caught.value)
    )


def test_a_compiled_model_or_part_is_saved_as_what_it_is(tmp_path, model, x):
    whole, part = torch.compile(model), mlp_vae(SHAPE, 3, (8,))
    part.encoder[1] = torch.compile(part.encoder[1])
    part.load_state_dict(
        dict(zip(part.state_dict(), model.state_dict().values(), strict=True))
    )
    whole.save(tmp_path / "save")
    save_model(whole, tmp_path / "whole")
    part.save(tmp_path / "part")
    for name in ("save", "whole", "part"):
        assert torch.equal(
            load_model(tmp_path / name).reconstruct(x), model.reconstruct(x)
        )
        assert (
            "encoder.1.weight" in load_tensors(tmp_path / name / "model.safetensors")[0]
        )


def test_float64_comes_back_as_float64(tmp_path, model):
    again = load_model(model.double().save(tmp_path))
    assert all(
        torch.equal(a, b) and a.dtype == b.dtype
        for a, b in zip(
            model.state_dict().values(), again.state_dict().values(), strict=True
        )
    )


def test_saving_draws_no_random_number(tmp_path, model):
    own = builder(own_vae)(2)
    before = torch.get_rng_state()
    model.save(tmp_path)
    own.save(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


# ---- builders of one's own -------------------------------------------------------------------------------------------------


def own_vae(latent_dim, width=4, beta=1.0):
    "Tied weights, and a number that only a real tensor has: no meta device."
    encoder = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(20, width),
        torch.nn.Linear(width, width),
        torch.nn.Linear(width, 2 * latent_dim),
    )
    decoder = torch.nn.Sequential(
        torch.nn.Linear(latent_dim, width),
        torch.nn.Linear(width, width),
        torch.nn.Linear(width, 20),
        torch.nn.Unflatten(1, SHAPE),
    )
    decoder[1].weight = encoder[2].weight
    torch.linspace(0, 1, 3)[1].item()
    return VAE(
        encoder, decoder, make_likelihood("bernoulli"), SHAPE, latent_dim, beta=beta
    )


def test_a_builder_of_ones_own_saves_and_loads(tmp_path, x):
    model = builder(own_vae)(2, width=np.int64(6))
    model.beta = 0.5
    model.save(tmp_path)
    for again in (load_model(tmp_path), VAE.load(tmp_path, build=own_vae)):
        assert (
            torch.equal(again.reconstruct(x), model.reconstruct(x))
            and again.beta == 0.5
        )
        assert again.decoder[1].weight is again.encoder[2].weight
    assert config_now(load_model(tmp_path)) == {
        "builder": f"{__name__}.own_vae",
        "arguments": {"latent_dim": 2, "width": 6, "beta": 0.5},
    }


def test_a_builder_whose_calls_cannot_be_written_down_says_so():
    with pytest.raises(
        TypeError, match=r"takes \*\*options, and a builder's arguments need names"
    ):
        builder("mine.vae")(lambda **options: None)
    take = builder("mine.vae")(lambda net, latent_dim=2: mlp_vae(SHAPE, latent_dim))
    with pytest.raises(
        TypeError, match="mine.vae got an argument that no file can hold"
    ):
        take(torch.nn.Linear(2, 2))


def test_what_would_be_refused_when_loading_is_refused_when_saving(tmp_path):
    for words, message in (
        ("x" * 100_000, "characters, more than 100,000"),
        (["x"] * 2000, "lists 2,000 values"),
        ([[[[[[[[[[[[]]]]]]]]]]]], "nested more than 10 deep"),
    ):
        with pytest.raises(ValueError, match=message):
            builder("mine.worded")(lambda words: own_vae(2))(words).save(tmp_path)


def test_what_a_users_builder_cannot_say_is_refused(tmp_path):
    model = builder("mine.plain")(lambda latent_dim: own_vae(latent_dim))(2)
    model.beta = 0.5
    with pytest.raises(
        ValueError,
        match="mine.plain does not build this model any more: beta is 0.5, and is built as 1.0",
    ):
        model.save(tmp_path)


def save_for_ever(folder):
    models = [
        mlp_vae((1, 28, 28), latent_dim=latent_dim, hidden=(64,))
        for latent_dim in (2, 3)
    ]
    while True:
        for model in models:
            model.save(folder)


def test_killed_while_saving_the_old_or_the_new_model_survives(tmp_path):
    mlp_vae((1, 28, 28), latent_dim=2, hidden=(64,)).save(tmp_path)
    process = multiprocessing.get_context("fork").Process(
        target=save_for_ever, args=(tmp_path,), daemon=True
    )
    process.start()
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    while (tmp_path / "model.safetensors").stat().st_mtime_ns == before:  # it is saving
        assert process.is_alive()
        time.sleep(0.01)
    for _ in range(20):
        VAE.load(tmp_path)  # whole at every moment
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert VAE.load(tmp_path).latent_dim in (2, 3)


# ---- images in every form --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp_vae((1, 16, 16), latent_dim=3, hidden=(8,)),
        lambda: conv_vae((1, 16, 16), latent_dim=3, channels=(4, 8)),
        lambda: joint_vae((1, 16, 16), 3, (4,), hidden=(8,)),
        lambda: mlp_vae((1, 16, 16), latent_dim=3, hidden=(8,), variational=False),
    ],
    ids=["mlp", "conv", "joint", "plain"],
)
def test_every_verb_takes_images_in_any_form(make):
    model, pixels = make().eval(), torch.randint(256, (6, 1, 16, 16), dtype=torch.uint8)
    x = pixels / 255
    forms = [
        pixels,
        Images(pixels),
        x.numpy(),
        x.double(),
        x.flatten(1),
        pixels.numpy()[:, 0],
        [Image.fromarray(p[0].numpy()) for p in pixels],
        torch.utils.data.TensorDataset(x, torch.arange(6)),
        torch.utils.data.DataLoader(x, batch_size=4),
    ]
    for form in forms:
        assert torch.equal(
            model.encode(form).mean, model.encode(x).mean
        ) and torch.equal(model.reconstruct(form), model.reconstruct(x))
        torch.manual_seed(0)
        expected = model.loss(x)["loss"]
        torch.manual_seed(0)
        assert torch.equal(model.loss(form)["loss"], expected)


def test_sizes_may_be_numpys():
    model = mlp_vae(SHAPE, latent_dim=np.int64(3), hidden=(np.int32(8),))
    assert model.sample(np.int64(2)).shape == (2, *SHAPE)


def test_a_prior_of_torch_can_be_sampled(model):
    "It takes no generator, and the generator decides all the same."
    normal = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    model = with_prior(model, torch.distributions.Independent(normal, 1))
    one, same, other = (
        model.sample(5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert one.equal(same) and not one.equal(other)
    assert model.sample(5).shape == (5, *SHAPE)
    assert model.sample(5).equal(model.sample(5)) is False


@pytest.mark.parametrize("latent_dim", [(3,), [3]])
def test_one_size_is_no_tuple(latent_dim):
    with pytest.raises(ValueError, match="latent_dim must be"):
        mlp_vae((1, 8, 8), latent_dim=latent_dim)
