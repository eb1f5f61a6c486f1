"The recipes: every one builds, fits its data, learns, and can be saved; names and settings are checked."

import inspect
import math

import pytest
import torch

from vae_nb import data
from vae_nb.data import DATASETS, DatasetError, load
from vae_nb.data.labelled import images_of
from vae_nb.data.loading import EMBEDDED
from vae_nb.recipes import RECIPES, five_nats, recipe
from vae_nb.train import fit
from vae_nb.train.loop import check_settings
from vae_nb.train.run import make_optimiser
from vae_nb.vae import VAE

every = pytest.mark.parametrize("name", RECIPES)


@pytest.fixture(autouse=True)
def nothing_but_embedded(monkeypatch, tmp_path):
    "No real data, no cache, no download."
    monkeypatch.setenv("VAE_NB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VAE_NB_DATA", raising=False)
    monkeypatch.setattr(data.files, "failed_download", lambda *_: "no network in tests")


def stand_in(made, n):
    "The first training images of the stand-in, at the recipe's size."
    images = load(made.stand_in, n=n).resized(made.model().shape[1:])
    images = images.binarised("dynamic") if made.binary else images
    return images.labelled() if made.labelled else images


def test_the_books_architectures_are_all_there():
    assert set(RECIPES) == {
        "mnist_mlp",
        "mnist_conditional",
        "mnist_conv",
        "mnist_vanilla",
        "cifar10_conv",
        "caltech92",
        "caltech128",
        "celeba64",
        "celeba64_joint",
        "celeba128",
    }
    assert all(
        made.name == name and made.matches and made.model.__doc__
        for name, made in RECIPES.items()
    )


@every
def test_data_and_network_fit_each_other(name):
    made = recipe(name)
    assert made.dataset in DATASETS and made.stand_in in EMBEDDED
    images = made.data("valid", n=3, fallback=made.stand_in)
    model = made.model()
    assert images.shape == model.shape and len(images) == 3
    (x,) = images.batches(3)  # with labels, for a model that is told them
    assert model.reconstruct(x).shape == (3, *model.shape)
    assert made.model(latent_dim=3).sample(2).shape == (2, *model.shape)
    assert set(images.floats().unique().tolist()) == {0, 1} or not made.binary


@every
def test_one_step_lowers_the_loss(name):
    made = recipe(name)
    torch.manual_seed(0)
    images, g = stand_in(made, 16 if made.size < 92 else 4), torch.Generator()
    model, (x,) = made.model(), images.batches(16, generator=g.manual_seed(0))
    model.initialise_from(images_of(x).mean(0))
    optimiser, _ = make_optimiser(
        model, made.settings["lr"] / 10, 1, "constant", (0.9, 0.99), 0.0
    )
    losses = []
    for _ in range(2):
        torch.manual_seed(1)  # the same noise, and the same units dropped
        loss = (made.training_loss or (lambda model, x, step: model.loss(x)))(
            model, x, 0
        )["loss"]
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[1] < losses[0], losses


@every
def test_settings_are_arguments_that_fit_accepts(name):
    settings = recipe(name).settings
    known = inspect.signature(fit).parameters
    assert {"epochs", "batch_size", "lr"} <= set(settings) <= set(known)
    values = {
        key: settings.get(key, known[key].default)
        for key in (
            "epochs",
            "batch_size",
            "lr",
            "schedule",
            "precision",
            "clip",
            "patience",
            "valid",
        )
    }
    check_settings(**values)


@every
def test_a_saved_recipe_is_rebuilt_from_its_config(name, tmp_path):
    model = recipe(name).model(latent_dim=4)
    again = VAE.load(model.save(tmp_path))
    z = model.prior.sample((1,))
    if recipe(name).labelled:
        model, again = model.given(7), again.given(7)
    assert torch.equal(again.decode(z).mean, model.eval().decode(z).mean)


def test_the_architectures_are_those_that_they_follow():
    def sizes(name, kind):
        return [
            tuple(m.weight.shape[:2])
            for m in recipe(name).model().encoder
            if isinstance(m, kind)
        ]

    conv, linear = torch.nn.Conv2d, torch.nn.Linear
    assert sizes("mnist_mlp", linear) == [(512, 784), (4, 512)]
    assert sizes("mnist_vanilla", linear) == [(400, 784)]
    assert sizes("mnist_conv", linear) == [(512, 784), (256, 512), (40, 256)]
    assert sizes("celeba64", linear) == [(256, 1024), (200, 256)]
    assert (
        sizes("celeba64_joint", conv)
        == sizes("celeba64", conv)
        == [(32, 3), (32, 32), (64, 32), (64, 64)]
    )
    assert sizes("celeba64_joint", linear) == [(256, 1024), (250, 256)]
    assert sizes("celeba128", conv) == [
        (32, 3),
        (64, 32),
        (128, 64),
        (256, 128),
    ] and sizes("celeba128", linear) == [(400, 16384)]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("celeba_64", "Did you mean 'celeba64'"),
        ("mnist_cnn", "Did you mean 'mnist_"),
        ("", "only mnist_mlp"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(wrong, message):
    with pytest.raises(ValueError, match=message):
        recipe(wrong)


def test_missing_data_are_an_error_unless_a_stand_in_is_named():
    with pytest.raises(DatasetError):
        recipe("celeba64").data("valid", n=2)
    assert recipe("celeba64").data("valid", n=2, fallback="faces").note


def test_a_recipe_trains_in_one_line():
    made = recipe("mnist_mlp")
    images = made.data("train", n=64, fallback="digits")
    history = made.fit(made.model(), images, epochs=2, progress=False)
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    assert (history.info["batch_size"], history.info["lr"]) == (
        256,
        1e-3,
    ) and history.last["epoch"] == 2


def test_the_joint_recipe_trains_on_capacities_and_validates_on_nats():
    made = recipe("celeba64_joint")
    model, images = made.model(latent_dim=5), made.data("train", n=16, fallback="faces")
    row = made.fit(
        model,
        images,
        images,
        epochs=1,
        batch_size=8,
        progress=False,
        precision="float32",
    ).last
    assert row["valid_loss"] == pytest.approx(row["valid_recon"] + row["valid_kl"])
    assert row["train_loss"] != pytest.approx(
        row["train_recon"] + row["train_kl"], rel=1e-6
    )
    assert row["train_kl"] == pytest.approx(
        row["train_kl_continuous"] + row["train_kl_categorical"], rel=1e-4
    )


def test_five_nats_are_asked_of_both_parts_or_all_that_a_choice_can_carry():
    model, x = (
        recipe("celeba64_joint").model(latent_dim=5),
        torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
    )
    with torch.no_grad():
        terms = five_nats(model, x, 25_000)
    asked = 40 * (
        (5 - terms["kl_continuous"]).abs()
        + (math.log(50) - terms["kl_categorical"]).abs()
    )
    assert (terms["loss"] - terms["recon"]).item() == pytest.approx(
        asked.item(), abs=0.05
    )  # the loss is some thousand nats in single precision
