"Models that are told labels: the three distributions for every y, data that carry labels, few labels, files, pages, and what is refused."

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vae_nb.core import evaluating
from vae_nb.data import Images, TensorData, load
from vae_nb.data.labelled import LabelledBatch, joined
from vae_nb.elbo import importance_weighted_bound, kl_per_dim
from vae_nb.evaluate import active_units, encode_all, mean_kl_per_dim, nll, nll_by_k
from vae_nb.explore import LatentExplorer, StyleExplorer
from vae_nb.explore.network import browser_conditional, browser_decoder, to_onnx
from vae_nb.joint import joint_vae
from vae_nb.joint.model import EnumeratedLikelihood
from vae_nb.labels import (
    ConditionalVAE,
    Conditioned,
    conditional_vae,
    observed_terms,
    semi_supervised,
    summed_terms,
)
from vae_nb.latent import interpolate, traverse
from vae_nb.saving import load_model
from vae_nb.train import fit, validate
from vae_nb.vae import VAE, mlp_vae

SHAPE = (1, 16, 16)
NETS = {
    "mlp": {"hidden": (12,)},
    "no hidden layer": {"hidden": ()},
    "conv": {"net": "conv", "channels": (4, 8), "hidden": (12,)},
    "conv, straight": {"net": "conv", "channels": (4, 8), "hidden": (), "norm": "none"},
}


def images(n=24, classes=3):
    "Squares whose side is the label, and an attribute for each image."
    pixels = torch.zeros(n, *SHAPE, dtype=torch.uint8)
    y = torch.arange(n) % classes
    for i, side in enumerate((y + 2).tolist()):
        pixels[i, 0, i % 4 : i % 4 + side, :side] = 255
    attributes = torch.stack([(y == 0).float(), torch.arange(n) / n], 1)
    return Images(pixels, y, attributes=attributes, attribute_names=("small", "late"))


def model_of(labels=3, **options):
    torch.manual_seed(0)
    options = {"latent_dim": 2, "hidden": (12,)} | options
    return conditional_vae(SHAPE, labels, **options)


# --- data that carry labels ---


def test_labels_stay_with_their_images_in_any_order():
    data = images().binarised().labelled()
    for batch in data.batches(5, shuffle=True, generator=torch.Generator()):
        sides = batch.x[:, 0].amax(1).sum(1)  # how many columns are not empty
        assert torch.equal(sides.long() - 2, batch.y)
    assert data[3:9].told == () and data.take(4).y.tolist() == [0, 1, 2, 0]
    assert torch.equal(data.floats(), images().floats())
    assert "batches carry labels" in repr(data)


def test_attributes_are_carried_as_numbers_in_the_order_that_was_asked_for():
    batch = next(images().labelled("late", "small").batches(4))
    assert torch.equal(batch.y, images().attributes[:4].flip(1))
    assert "carry late, small" in repr(images().labelled("late", "small"))


def test_tensors_carry_labels_too():
    x, y = torch.rand(9, *SHAPE), torch.arange(9) % 3
    data = TensorData(x, y=y)
    assert torch.equal(data[2:5].y, y[2:5])
    [batch] = data.batches(9, shuffle=True, generator=torch.Generator().manual_seed(1))
    for own, label in zip(batch.x, batch.y):
        assert y[(x == own).flatten(1).all(1)] == label


def test_a_single_image_joins_the_batch_before_it_with_its_label():
    a, b = (LabelledBatch(torch.rand(n, *SHAPE), torch.arange(n)) for n in (3, 1))
    assert joined(a, b).y.tolist() == [0, 1, 2, 0] and len(joined(a.x, b.x)) == 4
    model, data = model_of(), images(25).labelled()
    assert len(fit(model, data, epochs=1, batch_size=8, progress=False)) == 1


def test_other_models_take_labelled_data_and_look_at_the_images_only():
    torch.manual_seed(0)
    plain = mlp_vae(SHAPE, latent_dim=2, hidden=(12,))
    with_labels, without = images().labelled(), images()
    assert nll(plain, with_labels, k=3) == nll(plain, without, k=3)
    assert torch.equal(encode_all(plain, with_labels), encode_all(plain, without))
    fit(plain, with_labels, epochs=1, progress=False)


# --- the three distributions for every y ---


@pytest.mark.parametrize("net", NETS)
def test_one_y_and_a_batch_of_the_same_y_agree(net):
    model, x = model_of(**NETS[net]).eval(), images(6).floats()
    one, many = model.given(2), model.given(torch.full((6,), 2))
    z = torch.randn(5, 6, 2)
    for a, b in (
        (one.encode(x).mu, many.encode(x).mu),
        (one.decode(z).mean, many.decode(z).mean),
    ):
        torch.testing.assert_close(a, b)
    assert isinstance(one, VAE) and one.latent_dim == 2 and one.shape == SHAPE


@pytest.mark.parametrize("net", NETS)
def test_every_image_is_told_its_own_label(net):
    model, x = model_of(**NETS[net]).eval(), images(6).floats()
    y, z = torch.tensor([2, 0, 1, 1, 2, 0]), torch.randn(6, 2)
    told = model.given(y)
    for i, own in enumerate(y):
        torch.testing.assert_close(
            told.encode(x).mu[i], model.given(own).encode(x[i : i + 1]).mu[0]
        )
        torch.testing.assert_close(
            told.decode(z).mean[i], model.given(int(own)).decode(z[i]).mean
        )


def test_telling_y_is_appending_it_to_the_inputs():
    torch.manual_seed(0)
    net = Conditioned(
        torch.nn.Sequential(
            torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
        ),
        3,
    )
    x, y = torch.randn(6, 4), torch.rand(6, 3)
    torch.testing.assert_close(net(x, y), net.appended()(torch.cat([x, y], 1)))
    torch.testing.assert_close(net.folded(y[1])(x), net(x, y[1]))


def test_attributes_are_vectors_or_named():
    model = model_of(("small", "late")).eval()
    z = torch.randn(4, 2)
    named = model.given({"late": 0.5, "small": 1}).decode(z).mean
    torch.testing.assert_close(named, model.given([1, 0.5]).decode(z).mean)
    assert not torch.allclose(named, model.given([0, 0.5]).decode(z).mean)
    assert model.sample(5).shape == (5, *SHAPE)


def test_the_loss_of_a_batch_is_that_of_its_classes_one_by_one():
    model, data = model_of().eval(), images(6).labelled()
    [batch] = data.batches(6)
    torch.manual_seed(1)
    terms = model.terms(batch)
    for c in range(3):
        own, told = batch.y == c, model.given(c)
        kl = kl_per_dim(told.encode(batch.x[own]), told.prior).sum(1)
        torch.testing.assert_close(terms["kl"][own], kl)


def test_gradients_reach_every_weight_through_given():
    model = model_of()
    [batch] = images(6).labelled().batches(6)
    model.given(batch.y).loss(batch.x)["loss"].backward()
    assert all(w.grad is not None and w.grad.any() for w in model.parameters())


def test_modes_and_devices_are_the_models():
    model = model_of(net="conv", channels=(4,), hidden=())
    assert model.given(1).training and not model.eval().given(1).training
    with evaluating(model.train()):
        assert not model.given(1).training
    assert model.training and all(m.training for m in model.modules())
    double = model.double()
    assert double.given(1).decode(torch.zeros(3, 2)).mean.dtype == torch.float64


def test_what_a_network_is_told_moves_with_it():
    told = model_of().given([0, 1]).to("meta")
    assert told.encoder.y.device.type == told.decoder.y.device.type == "meta"
    assert not any(name.endswith("y") for name in told.state_dict())


def test_only_a_decoder_repeats_labels():
    told, x = model_of().eval().given(torch.tensor([1, 2])), images(4).floats()
    with pytest.raises(ValueError, match="labels of 2 images and gets 4"):
        told.encode(x)
    assert told.decode(torch.zeros(5, 2, 2)).mean.shape == (5, 2, *SHAPE)
    one_for_all = model_of().eval().given(torch.tensor([1]))
    torch.testing.assert_close(
        one_for_all.encode(x).mu, model_of().eval().given(1).encode(x).mu
    )


def test_an_empty_batch_passes_and_empty_labels_fit_nothing_else():
    told, x = model_of().eval().given(torch.tensor([], dtype=torch.long)), images(4)
    assert told.encode(x.floats()[:0]).mu.shape == (0, 2)
    assert told.decode(torch.zeros(3, 0, 2)).mean.shape == (3, 0, *SHAPE)
    for call in (
        lambda: told.encode(x.floats()),
        lambda: told.decode(torch.ones(4, 2)),
    ):
        with pytest.raises(ValueError, match="labels of 0 images and gets 4"):
            call()


def test_how_many_classes_may_be_a_number_of_numpy(tmp_path):
    model = model_of(np.int64(3))
    assert type(model.labels) is int and model.given(2).encode(images(2).floats())
    assert load_model(model.save(tmp_path)).labels == 3


# --- what is written once ---


@pytest.fixture(scope="module")
def trained():
    model = model_of()
    fit(
        model,
        images(90).labelled(),
        images(9).labelled(),
        epochs=60,
        batch_size=16,
        lr=1e-2,
        progress=False,
    )
    return model.eval()


@pytest.mark.slow
def test_a_class_that_is_asked_for_is_drawn(trained):
    for c in range(3):
        x = trained.given(c).sample(8, torch.Generator().manual_seed(0))
        sides = (x[:, 0] > 0.5).any(1).sum(1)  # columns that are not empty
        assert (sides == c + 2).float().mean() > 0.6
    in_turn = trained.sample(6, torch.Generator().manual_seed(0))
    told = trained.given(torch.arange(6) % 3).sample(
        6, torch.Generator().manual_seed(0)
    )
    assert torch.equal(in_turn, told)


@pytest.mark.slow
def test_scores_of_labelled_images_are_those_of_each_class(trained):
    data = images(12)
    whole = nll(trained, data.labelled(), k=200)[0]
    parts = [nll(trained.given(c), data.by_label(c), k=200)[0] for c in range(3)]
    assert whole == pytest.approx(sum(parts) / 3, abs=0.3)
    assert set(nll_by_k(trained, data.labelled(), (1, 4))) == {1, 4}
    z = encode_all(trained, data.labelled())
    each = encode_all(trained.given(1), data.by_label(1))
    torch.testing.assert_close(z[data.labels == 1], each)
    assert mean_kl_per_dim(trained, data.labelled()).shape == (2,)
    assert active_units(trained, data.labelled()).shape == (2,)
    assert validate(trained, data.labelled())["kl"] > 0


def test_walks_reconstructions_and_pages_work_on_a_given_model(trained, tmp_path):
    told, x = trained.given(1), images(9).by_label(1).floats()
    assert told.reconstruct(x).shape == x.shape
    assert torch.equal(
        trained.reconstruct(images(9).labelled().by_label(1)), told.reconstruct(x)
    )
    path = interpolate(*told.encode(x[:2]).mean, 5)
    assert told.decode(path).mean.shape == (5, *SHAPE)
    walk = traverse(told.encode(x[:1]).mean[0].detach(), 0, [-1.0, 1.0])
    assert told.decode(walk).mean.shape == (2, *SHAPE)
    page = LatentExplorer(told, images(9).by_label(1)).to_html(tmp_path / "a.html")
    assert page.stat().st_size > 10_000


def test_the_page_decodes_what_pytorch_decodes(trained):
    z, y = torch.randn(4, 2), torch.eye(3)[[0, 2, 1, 1]]
    right = trained.given(y.argmax(1)).decode(z).mean
    network = trained.decoder.appended()
    by_page = trained.likelihood(network(torch.cat([z, y], 1))).mean
    torch.testing.assert_close(by_page.reshape(right.shape), right)
    assert browser_conditional(trained).inputs == [5]
    folded = trained.given(2).decoder.folded()
    torch.testing.assert_close(
        trained.likelihood(folded(z)).mean, trained.given(2).decode(z).mean
    )
    assert browser_decoder(trained.given(2)).inputs == [2]
    with pytest.raises(TypeError, match=r"given\(7\)"):
        browser_decoder(trained)


def test_the_explorer_knows_its_row(trained, tmp_path):
    explorer = StyleExplorer(trained, images(3).labelled())
    assert explorer.names == ["0", "1", "2"] and explorer.row(trained).shape == (
        3,
        *SHAPE,
    )
    explorer.y = [0, 0, 1]
    torch.testing.assert_close(explorer.decoded(trained), explorer.row(trained)[2])
    page = explorer.to_html(tmp_path / "styles.html").read_text()
    assert "StyleExplorer" in page and explorer.network["key"] in page
    with pytest.raises(Exception, match="3 numbers"):
        explorer.y = [1, 0]
    by_attribute = model_of(("small", "late")).eval()
    explorer = StyleExplorer(by_attribute, images(3).labelled("small", "late"))
    assert explorer.row(by_attribute).shape == (2, *SHAPE) and not explorer.exclusive


@pytest.mark.parametrize("net", NETS)
def test_a_saved_model_is_the_same(net, tmp_path):
    model = model_of(**NETS[net]).eval()
    again = load_model(model.save(tmp_path))
    z = torch.randn(3, 2)
    assert isinstance(again, ConditionalVAE)
    torch.testing.assert_close(
        again.given(1).decode(z).mean, model.given(1).decode(z).mean
    )
    names = load_model(model_of(("small", "late")).save(tmp_path)).labels
    assert names == ("small", "late")


def test_a_run_resumes_and_notices_other_labels(tmp_path):
    settings = dict(batch_size=8, progress=False, checkpoint=tmp_path, resume=True)
    model, data = model_of(), images().labelled()
    history = fit(model, data, epochs=2, **settings)
    again = fit(model_of(), data, epochs=2, **settings)
    assert again["train_loss"] == history["train_loss"]
    other = Images(data.pixels, data.labels.flip(0)).labelled()
    with pytest.raises(ValueError):
        fit(model_of(), other, epochs=2, **settings)


# --- few labels ---


def joint(**options):
    torch.manual_seed(0)
    return joint_vae(SHAPE, continuous=2, categorical=(3,), hidden=(24,), **options)


def test_a_label_that_is_seen_is_one_that_is_certain():
    model, x, y = joint(), images(9).floats(), images(9).labels
    q = model.encode(x)
    torch.manual_seed(3)
    seen = observed_terms(model, x, y, q)
    q.parts[1] = type(q.parts[1])(200 * F.one_hot(y, 3).float())  # sure of y
    torch.manual_seed(3)
    summed = summed_terms(model, x, q)
    for name in ("loss", "recon", "kl"):
        torch.testing.assert_close(seen[name], summed[name], rtol=1e-4, atol=1e-3)


def test_the_sum_over_classes_bounds_log_p_below_by_enumeration():
    model, x = joint().eval(), images(6).floats()
    with torch.no_grad():
        q = model.encode(x)
        torch.manual_seed(0)
        terms = torch.stack(
            [summed_terms(model, x, q)["loss"] for _ in range(400)]
        ).mean(0)
        log_p = importance_weighted_bound(model, x, 3000)
    assert (terms > -log_p - 0.1).all()
    value = EnumeratedLikelihood(model, q).log_prob(x)
    assert value.shape == (6,)


@pytest.mark.slow
def test_few_labels_name_the_classes():
    data, model = images(90), joint()
    few = data[:12]  # every picture that there is, once
    objective = semi_supervised(model, few, alpha=20.0)
    fit(
        model,
        data,
        epochs=60,
        batch_size=30,
        lr=5e-3,
        training_loss=objective,
        progress=False,
    )
    guess = encode_all(model, data)[:, 2:].argmax(1)
    assert (guess == data.labels).float().mean() > 0.9


def test_labelled_tensors_draws_and_weights():
    model, data = joint(), images(30)
    few = TensorData(data.floats(), y=data.labels)
    options = dict(alpha=2.0, batch_size=10, balance=3.0, consistency=4.0)
    objective = semi_supervised(model, few, **options)
    torch.manual_seed(0)
    terms = objective(model, data.floats(), 0)
    torch.manual_seed(0)
    assert terms["loss"] == objective(model, data.floats(), 0)["loss"]
    assert {"classify", "balance", "consistency"} <= terms.keys()
    assert terms["classify"].item() == pytest.approx(math.log(3), abs=0.7)
    assert "2_3_4" in objective.__name__


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8])
def test_classes_may_be_whole_numbers_of_any_size(kind):
    data = images(6)
    few = TensorData(data.floats(), y=data.labels.to(kind))
    terms = semi_supervised(joint(), few)(joint(), data.floats(), 0)
    assert terms["loss"].isfinite()


def test_the_name_of_the_objective_says_its_settings_and_its_labels():
    data = images(12)
    named = lambda few=data, **options: (
        semi_supervised(joint(), few, **options).__name__
    )
    others = [
        dict(few=data[:6]),
        dict(few=Images(data.pixels, data.labels.flip(0))),
        dict(few=Images(data.pixels.flip(0), data.labels)),
        dict(batch_size=5),
        dict(firm_after=7),
        dict(alter=None),
        dict(alpha=1.0),
    ]
    names = {named(), *(named(**other) for other in others)}
    assert len(names) == 1 + len(others)
    assert named() == named(images(12), alpha=50)


# --- what is refused, in words ---

FEW = images(6)
BAD = {
    "sizes in place of names": (lambda: model_of((3,)), "tuple of attribute names"),
    "a dict of columns": (lambda: model_of(("small", "late")).given({"small": torch.ones(3), "late": torch.ones(3)}), "one number for each of small, late"),
    "no labels at all": (lambda: Images(FEW.pixels).labelled(), "has no labels to carry"),
    "an unknown attribute": (lambda: FEW.labelled("smal"), "Did you mean 'small'"),
    "labels of another count": (lambda: Images(FEW.pixels, FEW.labels[:4]), "6 images, but 4 labels"),
    "labels of another count than a tensor": (lambda: TensorData(FEW.floats(), y=FEW.labels[:4]), "6 images, but 4 labels"),
    "labels that are no whole numbers": (lambda: Images(FEW.pixels, FEW.labels / 2).labelled(), "whole numbers from 0"),
    "negative labels": (lambda: Images(FEW.pixels, FEW.labels - 1).labelled(), "from -1"),
    "images without labels": (lambda: fit(model_of(), FEW), "images of train carry no labels"),
    "validation images without labels": (lambda: fit(model_of(), FEW.labelled(), FEW), "images of valid carry no labels"),
    "a batch without labels": (lambda: model_of().loss(FEW.floats()), "carry no labels"),
    "labels out of range": (lambda: fit(model_of(2), FEW.labelled()), "no class 2: the model was built for 2"),
    "a class out of range": (lambda: model_of().given(3), "no class 3"),
    "a class in words": (lambda: model_of().given("seven"), "from 0 to 2, or one for each image, not 'seven'"),
    "no class": (lambda: model_of().given(None), "not None"),
    "an attribute by its name alone": (lambda: model_of(("small", "late")).given("late"), "each of small, late, not 'late'"),
    "half a class": (lambda: model_of(2.5), "tuple of attribute names"),
    "a class that is a fraction": (lambda: model_of().given(1.5), "a class, or one class for each image"),
    "a class that never appears": (lambda: fit(model_of(5), FEW.labelled()), "no image of train has the label 3, 4"),
    "attributes of another width": (lambda: fit(model_of(("small",)), FEW.labelled("small", "late")), "y has 1 attributes"),
    "a dict that lacks an attribute": (lambda: model_of(("small", "late")).given({"small": 1}), "a number for each of them"),
    "attributes that are not known": (lambda: model_of(("small",)).given([math.nan]), "NaN or infinity"),
    "more images than labels": (lambda: model_of().given(FEW.labels[:4]).encode(FEW.floats()), "labels of 4 images and gets 6"),
    "decoding without y": (lambda: model_of().decode(torch.zeros(1, 2)), "needs y"),
    "saving what given returned": (lambda: model_of().given(1).save("x"), "save the model"),
    "labels that are no number of classes": (lambda: model_of("smile"), "tuple of attribute names"),
    "no label to learn the classes from": (lambda: semi_supervised(joint(), Images(FEW.pixels)), "no labelled image"),
    "an empty set of labelled images": (lambda: semi_supervised(joint(), FEW[:0]), "no labelled image"),
    "a class without a labelled image": (lambda: semi_supervised(joint(), FEW.by_label(1)), "has the label 0, 2"),
    "labels of another model": (lambda: semi_supervised(joint(), Images(FEW.pixels, FEW.labels + 1)), "no class 3"),
    "a model without a categorical": (lambda: semi_supervised(mlp_vae(SHAPE), FEW), "one categorical"),
    "a weight of the KL": (lambda: semi_supervised(joint(beta=4.0), FEW), r"beta=4: set model\.beta = 1"),
    "free bits": (lambda: semi_supervised(joint(free_bits=0.5), FEW), "has no free_bits"),
    "a negative weight": (lambda: semi_supervised(joint(), FEW, alpha=-1), "alpha must be"),
    "a batch of none": (lambda: semi_supervised(joint(), FEW, batch_size=0), "batch_size"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_clear_sentence(what):
    do, said = BAD[what]
    with pytest.raises((ValueError, TypeError), match=said) as error:
        do()
    assert str(error.value).endswith((".", "?")) and "\n" not in str(error.value)


def test_a_model_without_weights_of_its_own_classes_is_refused_before_training():
    model = model_of(5)
    before = [w.clone() for w in model.parameters()]
    with pytest.raises(ValueError):
        fit(model, FEW.labelled())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_digits_by_class_from_the_embedded_set():
    digits = load("digits")
    assert digits.labelled().by_label(7).y.unique().tolist() == [7]


@pytest.mark.parametrize("part", ["decoder", "encoder"])
def test_a_network_for_every_label_is_no_onnx_file(trained, tmp_path, part):
    with pytest.raises(TypeError, match=r"given\(7\)"):
        to_onnx(trained, tmp_path / "x.onnx", part)
