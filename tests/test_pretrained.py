"The models that come with the package: small, as their cards say, and good enough for a first minute."

import json
import subprocess
import sys

import pytest
import torch

import vae_nb
from benchmarks.pretrained import card, recorded
from vae_nb.core import load_tensors
from vae_nb.data import DatasetError, load
from vae_nb.evaluate import cluster_accuracy, encode_all
from vae_nb.faces import draw_faces
from vae_nb.joint import category_of
from vae_nb.latent import attribute_direction, edit_images
from vae_nb.recipes import PRETRAINED, model_card, pretrained, pretrained_folder
from vae_nb.vae import VAE

every = pytest.mark.parametrize("name", PRETRAINED)


@every
def test_it_loads_in_32_bits_and_draws(name):
    model = pretrained(name)
    assert not model.training and {w.dtype for w in model.parameters()} == {
        torch.float32
    }
    pictures = model.sample(8, torch.Generator().manual_seed(0))
    assert (
        pictures.shape == (8, *model.shape)
        and pictures.min() >= 0
        and pictures.max() <= 1
    )
    assert (
        pictures[0] - pictures[1]
    ).abs().mean() > 0.01  # not one picture for every latent
    stored, _ = load_tensors(pretrained_folder(name) / "model.safetensors", "config")
    assert all(value.dtype != torch.float32 for value in stored.values())


def test_together_they_are_small_and_in_numbers_only():
    found = [p for name in PRETRAINED for p in pretrained_folder(name).iterdir()]
    assert {p.name for p in found} == {"model.safetensors", "config.json", "README.md"}
    assert sum(p.stat().st_size for p in found) <= 4_000_000


@every
def test_the_card_tells_what_was_recorded(name):
    assert model_card(name) == card(name, recorded()), "run: make bench NAME=pretrained"
    (row,) = [row for row in recorded()["rows"] if row["model"] == name]
    assert (
        f"{sum(w.numel() for w in pretrained(name).parameters()):,}" == row["weights"]
    )
    assert all(
        word in model_card(name)
        for word in (
            "## Data",
            "## Figures",
            "## Limits",
            "## Licence",
            row["test −ELBO, nats"],
        )
    )
    assert float(row["also"].rpartition(" ")[2]) < 1e-2 and float(row["CPU-s"]) < 600


@every
def test_none_has_seen_a_person(name):
    (row,) = [row for row in recorded()["rows"] if row["model"] == name]
    assert row["trained on"] in ("MNIST, 50,000 digits", "20,000 drawn faces")


def test_it_is_found_at_the_top_of_the_package():
    assert vae_nb.pretrained is pretrained and vae_nb.PRETRAINED is PRETRAINED
    with pytest.raises(AttributeError, match="no attribute 'pretraind'"):
        vae_nb.pretraind
    code = "import sys, vae_nb; print('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("face", "Did you mean 'faces'"),
        ("joint-digits", "Did you mean 'joint_digits'"),
        ("", "only digits, joint_digits, faces"),
        ("../digits", "no pretrained model '../digits'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(wrong, message):
    with pytest.raises(ValueError, match=message):
        pretrained(wrong)


@every
def test_it_can_be_saved_and_loaded_again(name, tmp_path):
    model = pretrained(name)
    again = VAE.load(model.save(tmp_path, half=True))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            model.state_dict().values(), again.state_dict().values(), strict=True
        )
    )  # 16 bits stay 16 bits


@pytest.mark.slow
def test_a_smile_can_be_put_on_drawn_faces_and_taken_off():
    model, drawn, others = (
        pretrained("faces"),
        load("faces", n=800),
        load("faces", "test", n=300),
    )
    smile = attribute_direction(model, drawn, "smile", controls=("eyeglasses", "hat"))
    mouth = others.attributes[:, others.attribute_names.index("mouth")]
    reading = smile.read(encode_all(model, others))
    assert (
        torch.corrcoef(torch.stack([reading, mouth]))[0, 1] > 0.2
    )  # a direction from 800 faces; a model that knows no mouths gives 0
    x = others[(mouth < -0.2).nonzero()[:40, 0]].floats()
    before, after = edit_images(model, x, smile, [0.0, 1.5], limit=None).unbind(1)
    pout, grin = (
        draw_faces({"mouth": torch.full((1,), m)})[0].float() for m in (-0.8, 0.8)
    )
    where = (grin - pout).abs().mean(
        0
    ) > 25  # the pixels of a mouth, of 255 grey levels
    change = (after - before).abs().mean((0, 1))
    assert change[where].mean() > 2 * change[~where].mean()
    assert (before - x).square().mean().sqrt() < 0.1


def test_joint_digits_sort_digits_that_they_have_never_seen():
    digits = load("digits")
    model = pretrained("joint_digits")
    assert (
        cluster_accuracy(category_of(model, encode_all(model, digits)), digits.labels)[
            0
        ]
        > 0.4
    )  # another hand, another scanner, 8 × 8 pixels


def test_figures_hold_on_validation_digits():
    try:
        valid = load("mnist", split="valid", n=2000)
    except DatasetError as error:
        pytest.skip(f"no MNIST here: {str(error).splitlines()[0]}")
    model = pretrained("joint_digits")
    assert (
        cluster_accuracy(category_of(model, encode_all(model, valid)), valid.labels)[0]
        > 0.8
    )
    flat = pretrained("digits")
    x = valid[:500].floats()
    assert (flat.reconstruct(x) - x).square().mean() < 0.75 * (
        x.mean(0) - x
    ).square().mean()


def test_config_is_a_copy_to_read():
    for name in PRETRAINED:
        assert (
            json.loads((pretrained_folder(name) / "config.json").read_text())
            == load_tensors(pretrained_folder(name) / "model.safetensors", "config")[1][
                "config"
            ]
        )
