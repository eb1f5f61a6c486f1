"""The judge of attributes, and the scores it gives to edits."""

import math
from types import SimpleNamespace

import pytest
import torch

from vae_nb.data import Images
from vae_nb.elbo import Delta, standard_normal
from vae_nb.evaluate import copy_scores
from vae_nb.latent import (
    Direction,
    attribute_classifier,
    decisions,
    flippable,
    judge_table,
    score_edits,
)
from vae_nb.latent.scores import _attribute_targets, _wilson, edit_scores

NAMES = ("left", "right")


def bars(n=300, seed=0):
    "16×16 pictures; a bright bar at the left, at the right, both or none. `height` is a number beyond 1."
    g = torch.Generator().manual_seed(seed)
    attributes = (torch.rand(n, 2, generator=g) < 0.5).float()
    pixels = torch.randint(60, 100, (n, 1, 16, 16), generator=g).byte()
    pixels[:, :, :, 3:6] += (attributes[:, 0] * 120).byte().view(n, 1, 1, 1)
    pixels[:, :, :, 10:13] += (attributes[:, 1] * 120).byte().view(n, 1, 1, 1)
    pixels[:, 0, 0, :] = (
        torch.arange(n).remainder(251).byte()[:, None]
    )  # whose picture it is
    return Images(
        pixels,
        attributes=torch.cat([attributes, 2 * attributes[:, :1]], 1),
        attribute_names=(*NAMES, "height"),
    )


class Bars(torch.nn.Module):
    "A VAE that loses nothing: the code is the picture."

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    prior = property(lambda self: standard_normal(256))

    def encode(self, x):
        return Delta(x.flatten(1))

    def decode(self, z):
        return Delta(z.reshape(*z.shape[:-1], 1, 16, 16))


def bar(columns, height=120 / 255):
    vector = torch.zeros(1, 16, 16)
    vector[:, :, columns] = height
    return vector.flatten()


def left(vector):
    "A direction that should put in the left bar, at strength 1."
    return Direction("left", vector, without=0.0, strength=1.0)


MODEL, TRAIN, TEST = Bars(), bars(seed=1), bars(100, seed=2)
LEFT, RIGHT = bar(slice(3, 6)), bar(slice(10, 13))


@pytest.fixture(scope="module")
def net():
    return attribute_classifier(TRAIN, NAMES, epochs=12, progress=False)


def test_the_judge_learns(net):
    seen, features = decisions(net, TEST.floats(), batch_size=17)
    assert (seen == (TEST.attributes[:, :2] == 1)).double().mean() > 0.97
    assert features.shape == (100, 128) and not net.training
    assert torch.equal(seen, decisions(net, TEST.floats())[0])


def test_training_the_judge_repeats_and_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    a, b = (
        attribute_classifier(TRAIN[:64], NAMES, epochs=1, progress=False, mirror=True)
        for _ in range(2)
    )
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_the_judges_table(net):
    table = judge_table(net, TEST, MODEL)
    assert list(table.index) == list(NAMES)
    assert torch.allclose(
        torch.tensor(table["share"].tolist(), dtype=torch.float64),
        TEST.attributes[:, :2].double().mean(0),
    )
    assert (table["balanced"] > 0.95).all() and (
        table["balanced"] - table["balanced, rebuilt"]
    ).abs().max() < 1e-9  # nothing is lost
    assert "balanced, rebuilt" not in judge_table(net, TEST)


def test_a_rare_attribute_does_not_flatter_the_judge():
    always_no = SimpleNamespace(
        names=("left",),
        body=lambda x: torch.zeros(len(x), 4),
        head=lambda f: torch.full((len(f), 1), -1.0),
        modules=list,
        eval=lambda: None,
        parameters=lambda: iter([torch.zeros(1)]),
    )
    few = TEST[
        torch.cat(
            [
                (TEST.attributes[:, 0] == 1).nonzero()[:5, 0],
                (TEST.attributes[:, 0] == 0).nonzero()[:45, 0],
            ]
        )
    ]
    row = judge_table(always_no, few).loc["left"]
    assert (
        row["share"] == pytest.approx(0.1)
        and row["accuracy"] == pytest.approx(0.9)
        and row["balanced"] == 0.5
    )


@pytest.mark.parametrize(
    "names, message",
    [(("left", "rihgt"), "Did you mean 'right'"), (("height",), "runs from 0 to 2")],
)
def test_targets_that_cannot_be_learned(names, message):
    with pytest.raises(ValueError, match=message):
        _attribute_targets(TRAIN, names)


def test_wilson_against_its_definition():
    for k, n in ((0, 10), (3, 10), (10, 10), (95, 100)):
        low, high = _wilson(k, n)
        assert 0 <= low <= k / n <= high <= 1
        for end in (low, high):
            if (
                0 < end < 1
            ):  # the ends are where the observed share is 1.96 standard errors away
                assert (
                    abs(abs(k / n - end) - 1.96 * math.sqrt(end * (1 - end) / n)) < 1e-9
                )
    for bad in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match="an interval needs"):
            _wilson(*bad)


def test_an_interval_holds_its_share_whatever_the_rounding():
    for n in range(1, 400):
        for k in (0, n // 3, n):
            low, high = _wilson(k, n)
            assert 0 <= low <= k / n <= high <= 1


def test_a_perfect_edit_flips_all_and_leaks_nothing(net):
    directions = {
        "good": left(LEFT),
        "both": left(LEFT + RIGHT),
        "none": left(0 * LEFT),
    }
    table = score_edits(MODEL, net, TEST, directions).set_index("direction")
    assert table.loc["good", "flips"] > 0.95 and table.loc["good", "leak"] < 0.05
    assert table.loc["both", "leak"] > 0.3 and table.loc["both", "into"] == "right"
    nothing = table.loc["none"]
    assert (
        nothing["flips"] == nothing["leak"] == nothing["RMSE"] == 0
        and nothing["recognised"] == 1
        and nothing["SSIM"] == pytest.approx(1)
    )
    assert (table["from"] <= table["flips"]).all() and (
        table["flips"] <= table["to"]
    ).all()
    assert table.loc["good", "n"] <= (TEST.attributes[:, 0] == 0).sum()


def test_negative_strengths_take_away(net):
    direction = left(LEFT)
    table = score_edits(MODEL, net, TEST, {"left": direction}, (1.0, -1.0, -0.05))
    assert (table["flips"][:2] > 0.95).all() and table["flips"][2] < 0.5
    with pytest.raises(ValueError, match="strength 0"):
        score_edits(MODEL, net, TEST, {"left": direction}, (0.0,))


def test_another_person_is_not_recognised(net):
    before = TEST[:20].floats()
    scores = edit_scores(net, before, before.roll(1, 0), "left", NAMES)
    assert scores["recognised"] < 0.5
    assert scores["SSIM"] == pytest.approx(
        copy_scores(before, before.roll(1, 0))["SSIM"].mean().item()
    )  # one SSIM in the house
    with pytest.raises(ValueError, match="no image to score"):
        edit_scores(net, before[:0], before[:0], "left")


def test_only_images_on_which_label_and_judge_agree_are_flipped(net):
    rebuilt, label = TEST.floats(), TEST.attributes[:, 0] == 1
    rebuilt[:10] = rebuilt[
        label.nonzero()[0, 0]
    ]  # ten reconstructions have a bar, whatever their labels
    chosen = flippable(net, TEST, rebuilt, "left", having=False)
    assert not label[chosen].any() and chosen.min() >= 10
    with pytest.raises(ValueError, match="nothing to score"):
        flippable(
            net,
            TEST[label.nonzero()[:, 0]],
            TEST[label.nonzero()[:, 0]].floats(),
            "left",
            having=False,
        )
    with pytest.raises(ValueError, match="Did you mean 'left'"):
        flippable(net, TEST, rebuilt, "lef", having=False)
    with pytest.raises(ValueError, match="has not learned 'height'"):
        net.column("height")
