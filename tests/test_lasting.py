"""Models that last: what earlier versions saved loads and draws the same; what is not a saved model is refused and never run.

`python tests/test_lasting.py` writes the files of the present version, once a release; they are committed and never written again.
"""

import pickle
import re
import sys
from pathlib import Path

import pytest
import torch

import vae_nb
from vae_nb.conv import conv_vae
from vae_nb.core import load_tensors, save_tensors
from vae_nb.joint import joint_vae
from vae_nb.vae import VAE, mlp_vae

SAVED = Path(__file__).parent / "fixtures" / "saved"
MODELS = {
    "mlp": lambda: mlp_vae((1, 8, 8), latent_dim=2, hidden=(16,)),
    "half": lambda: mlp_vae(
        (1, 8, 8),
        latent_dim=2,
        hidden=(16,),
        likelihood="normal",
        sigma="per_channel",
        activation="relu",
    ),
    "linear": lambda: mlp_vae(
        (1, 8, 8), latent_dim=3, hidden=(), likelihood="normal", sigma="optimal"
    ),
    "conv": lambda: conv_vae(
        (3, 16, 16), latent_dim=3, channels=(4, 8), hidden=(8,), beta=2.0, free_bits=0.1
    ),
    "joint": lambda: joint_vae(
        (1, 8, 8), 2, (3, 4), hidden=(16,), likelihood="continuous_bernoulli"
    ),
}


def write_fixtures():
    "Save a model of every kind as this version does, with latents and what they decode to."
    folder = SAVED / vae_nb.__version__
    for name, make in MODELS.items():
        torch.manual_seed(0)
        model = make().eval()
        model.save(folder / name, half=name == "half")
        model, z = VAE.load(folder / name), model.prior.sample((4,))
        with torch.no_grad():
            save_tensors(
                folder / name / "expected.safetensors",
                {"z": z, "mean": model.decode(z).mean},
                version=vae_nb.__version__,
            )


def test_this_version_has_left_its_models():
    folder = SAVED / vae_nb.__version__
    assert {p.name for p in folder.iterdir()} == set(MODELS), (
        "run: python tests/test_lasting.py"
    )
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 100_000


@pytest.mark.parametrize(
    "folder", sorted(SAVED.glob("*/*")), ids=lambda p: f"{p.parent.name}-{p.name}"
)
def test_what_an_earlier_version_saved_draws_what_it_drew(folder):
    model, (expected, _) = (
        VAE.load(folder),
        load_tensors(folder / "expected.safetensors", "version"),
    )
    assert not model.training and all(
        w.dtype == torch.float32 for w in model.parameters()
    )
    with torch.no_grad():
        assert torch.allclose(
            model.decode(expected["z"]).mean, expected["mean"], atol=1e-5
        )
    assert model.sample(2).shape == (2, *model.shape) and torch.isfinite(
        model.loss(model.sample(2))["loss"]
    )


class Malicious:
    "Writes a file when it is unpickled."

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.write_text, (self.target, "this ran")


PICKLED = {"pickle": pickle.dump, "torch": torch.save}


@pytest.mark.parametrize("kind", PICKLED)
def test_a_pickle_is_refused_and_not_opened(tmp_path, kind):
    bait, path = tmp_path / "bait", tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        PICKLED[kind]({"weight": Malicious(bait)}, file)
    with pytest.raises(ValueError, match="not a safetensors file"):
        VAE.load(tmp_path)
    assert not bait.exists()
    with open(path, "rb") as file:
        pickle.load(file) if kind == "pickle" else torch.load(file, weights_only=False)
    assert bait.exists(), "the bait does not work, so the test above shows nothing"


def test_nothing_in_the_library_unpickles():
    risky = re.compile(
        r"\b(import pickle|from pickle|torch\.load\(|torch\.save\(|joblib|dill|allow_pickle=True|eval\(|exec\()"
    )
    for path in Path(vae_nb.__file__).parent.rglob("*.py"):
        found = [
            line
            for line in path.read_text().splitlines()
            if risky.search(line) and not re.search(r"\.eval\(|def eval\(", line)
        ]
        assert not found, f"{path.name}: {found}"


def test_a_training_checkpoint_is_no_model(tmp_path):
    save_tensors(
        tmp_path / "model.safetensors", {"model/weight": torch.ones(2)}, at={"epoch": 1}
    )
    with pytest.raises(
        ValueError, match="was not written by vae_nb: its header has no 'config'"
    ):
        VAE.load(tmp_path)


def test_a_folder_of_links_loads_as_the_hub_lays_it_out(tmp_path):
    model = mlp_vae((1, 4, 4), latent_dim=2, hidden=(8,))
    model.save(tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    assert torch.equal(
        VAE.load(tmp_path / "snapshot").decoder[0].weight, model.decoder[0].weight
    )


if __name__ == "__main__":
    write_fixtures()
    sys.exit(0)
