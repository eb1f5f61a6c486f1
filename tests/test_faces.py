"""Drawn faces: every factor shows, the truth is the truth, and what cannot be drawn is refused."""

import colorsys
import itertools
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_nb.faces import FACTORS, draw_faces, factor_table, random_factors
from vae_nb.faces.canvas import HUE_SPAN
from vae_nb.faces.factors import SMILE, all_factors
from vae_nb.faces.head import EYE_ANGLE, NOSE_DEPTH, face_of

DISCRETE = [name for name, f in FACTORS.items() if f.kind == "discrete"]
CONTINUOUS = [name for name, f in FACTORS.items() if f.kind == "continuous"]
STYLES = FACTORS["hair_style"].names


def take(factors, rows):
    return {name: v[rows] for name, v in factors.items()}


def difference(a, b):
    "Mean absolute difference of each pair of images, in grey levels."
    return (a.float() - b.float()).abs().flatten(1).mean(1)


# ---- images -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 17, 64, 100])
def test_shape_type_and_contrast(size):
    x = draw_faces(random_factors(7), size=size)
    assert (
        x.shape == (7, 3, size, size) and x.dtype == torch.uint8 and x.is_contiguous()
    )
    assert (x.flatten(1).float().std(1) > 15).all()  # a picture, not a plain area


def test_default_is_one_face_and_single_values_hold_for_all():
    assert draw_faces({}).shape == (1, 3, 64, 64)
    x = draw_faces({"hat": 1, "skin": [0.1, 0.9]})
    assert torch.equal(x[1:], draw_faces({"hat": 1, "skin": 0.9}))
    assert torch.equal(x[:1], draw_faces({"hat": "yes", "skin": torch.tensor([0.1])}))


def test_same_factors_same_bits_alone_or_in_any_company():
    factors = random_factors(300, seed=5)
    whole = draw_faces(factors)
    assert torch.equal(whole, draw_faces(factors))
    rows = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:60]
    assert torch.equal(draw_faces(take(factors, rows)), whole[rows])
    for i in range(0, 300, 37):
        assert torch.equal(draw_faces(take(factors, [i])), whole[i : i + 1])


def test_global_state_is_neither_used_nor_changed():
    torch.manual_seed(1)
    first, x = torch.get_rng_state(), draw_faces(random_factors(3))
    assert torch.equal(torch.get_rng_state(), first)
    torch.manual_seed(2)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(draw_faces(random_factors(3)), x)
    finally:
        torch.set_default_dtype(torch.float32)


def test_size_is_resolution_only():
    "A large drawing, reduced, is the small drawing, up to the softness of edges."
    factors = random_factors(30, seed=2)
    reduced = torch.nn.functional.avg_pool2d(draw_faces(factors, 256).float(), 4)
    assert difference(reduced, draw_faces(factors, 64)).max() < 2


def test_speed():
    "A quarter of what one quiet core does at the very least: catches an algorithm gone wrong, not a busy machine."
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        draw_faces(random_factors(100))
        start = time.process_time()
        draw_faces(random_factors(1000, seed=1))
        assert 1000 / (time.process_time() - start) > 400
    finally:
        torch.set_num_threads(threads)


# ---- factors are in the pixels ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTORS)
def test_every_factor_shows_in_every_company(name):
    "From one end to the other, whatever the other factors are, an image changes by at least a third of a grey level on average."
    others, factor = random_factors(200, seed=11), FACTORS[name]
    x = [
        draw_faces(others | {name: torch.full((200,), float(v))})
        for v in (factor.low, factor.high)
    ]
    assert difference(*x).min() > 0.33
    assert all(
        ((a.float() - b.float()).abs().amax() > 40) for a, b in zip(*x)
    )  # and somewhere plainly


@pytest.mark.parametrize("name", DISCRETE)
def test_every_pair_of_values_differs_with_and_without_hat(name):
    for a, b in itertools.combinations(range(len(FACTORS[name].names)), 2):
        for hat in (0, 1) if name != "hat" else (0,):
            x = draw_faces({"hat": hat} | {name: [a, b]})
            assert difference(x[:1], x[1:]) > 0.5, (a, b, hat)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_factors_move_without_jumps(name):
    "A hundredth of the range changes little, and each tenth changes something."
    factor = FACTORS[name]
    x = draw_faces({name: torch.linspace(factor.low, factor.high, 101)}).float()
    steps, whole = difference(x[1:], x[:-1]), difference(x[-1:], x[:1])
    assert steps.max() < 0.1 * whole + 0.1
    assert difference(x[10::10], x[:-1:10]).min() > 0.05


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("yaw", [-1, 0, 1])
def test_hair_shows_under_the_hat_and_the_hat_covers_the_top(style, yaw):
    grey, black = draw_faces(
        {"hair_style": style, "hair_colour": ["grey", "black"], "hat": 1, "yaw": yaw}
    ).float()
    changed = (grey - black).abs().amax(0) > 60
    assert changed.sum() >= 25  # pixels in the colour of the hair, of 4,096
    assert not changed[:16, 20:44].any()  # but none where the hat is
    if style != "buns":
        assert not changed[:19].any()  # nor beside its dome, where only buns look out


@pytest.mark.parametrize("glasses,hat", [(0, 0), (1, 1)])
def test_mouth_changes_the_mouth_only(glasses, hat):
    x = draw_faces({"mouth": [-1, 0, 1], "eyeglasses": glasses, "hat": hat}).float()
    changed = (x - x[1]).abs().amax((0, 1)) > 0
    rows, columns = changed.nonzero().T
    assert (
        rows.min() > 36
        and rows.max() < 52
        and columns.min() > 20
        and columns.max() < 43
    )


def test_yaw_shifts_nose_more_than_eyes_and_narrows_the_far_eye():
    face = face_of(all_factors({"yaw": [-1.0, 0.0, 1.0]}))
    left, left_width = face.place(-EYE_ANGLE)
    right, right_width = face.place(EYE_ANGLE)
    eyes, nose = (left + right).flatten() / 2, face.place(0, NOSE_DEPTH)[0].flatten()
    assert nose[2] > 1.3 * eyes[2] > 0
    assert torch.allclose(nose, -nose.flip(0)) and eyes[1].abs() < 1e-6
    assert right_width[2] < 0.9 * left_width[2] and left_width[0] < 0.9 * right_width[0]


def test_yaw_is_seen_in_the_pixels():
    "The centre of what the eyes' size changes moves with the head."

    def centre(yaw):
        small, large = draw_faces({"eye_size": [0, 1], "yaw": yaw}).float()
        weight = (large - small).abs().sum((0, 1))
        return (weight * torch.arange(64)).sum() / weight.sum()

    assert centre(-1) + 3 < centre(0) < centre(1) - 3 and abs(centre(0) - 31.5) < 0.5


@pytest.mark.parametrize("side", [-1, 1])
def test_light_comes_from_the_side_it_says(side):
    x = draw_faces({"light": side}).float()[0].mean(0)
    left, right = x[:, :16].mean(), x[:, -16:].mean()
    assert (right - left) * side > 20


def test_background_is_the_hue_that_it_says():
    for value in (0.0, 0.3, 0.7, 1.0):
        corner = draw_faces({"background": value})[0, :, 0, 0].tolist()
        hue, *_ = colorsys.rgb_to_hsv(*(v / 255 for v in corner))
        assert abs(hue - HUE_SPAN * value) < 0.02


def test_skin_goes_from_light_to_deep():
    cheek = draw_faces({"skin": torch.linspace(0, 1, 9)}).float()[:, :, 44, 26].mean(1)
    assert (cheek.diff() < -5).all()


# ---- what draw_faces refuses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "factors,message",
    [
        ({"smle": 1}, "no factor 'smle'.*mean 'smile'"),
        ({"hair_color": 1}, "mean 'hair_colour'"),
        ({"hair_style": "bobb"}, "no value 'bobb'.*mean 'bob'"),
        ({"hair_style": ["bob", "permm"]}, "no value 'permm'"),
        ({"hair_style": 5}, r"hair_style cannot be 5: it is 0 \(short\)"),
        ({"hat": 0.5}, "hat cannot be 0.5"),
        ({"mouth": 1.01}, "mouth cannot be 1.01: it is from -1 to 1"),
        ({"skin": [0.2, -0.1]}, "skin cannot be -0.1: it is from 0 to 1"),
        ({"skin": float("nan")}, "skin cannot be nan"),
        ({"skin": "dark"}, "skin cannot be 'dark': it is from 0 to 1"),
        ({"smile": "yes"}, "smile must be 0 or 1"),
        ({"yaw": [[0.0], [1.0]]}, r"yaw has shape \(2, 1\)"),
        ({"yaw": [0.0, 1.0], "hat": [0, 1, 1]}, "different lengths.*'yaw': 2"),
        ({"smile": 1, "mouth": 0.3}, "not both"),
        ({"smile": 0.3}, "smile must be 0 or 1"),
    ],
)
def test_refuses(factors, message):
    with pytest.raises(ValueError, match=message):
        draw_faces(factors)
    with pytest.raises(ValueError, match=message):
        factor_table(factors)


@pytest.mark.parametrize("size", [15, 0, -64, 64.5])
def test_refuses_size(size):
    with pytest.raises(ValueError, match=f"not {size}"):
        draw_faces({}, size=size)


def test_smile_stands_for_a_mouth():
    x = draw_faces({"smile": [0, 1]})
    assert torch.equal(x, draw_faces({"mouth": [-SMILE, SMILE]}))
    assert torch.equal(draw_faces({"smile": True}), x[1:])


def test_the_callers_dictionary_is_left_alone():
    factors = {"smile": [0, 1], "hat": 1}
    draw_faces(factors)
    factor_table(factors)
    assert factors == {"smile": [0, 1], "hat": 1}


# ---- random factors and their table ------------------------------------------------------------------------------------------------------


def test_random_factors_types_ranges_and_prefix():
    many = random_factors(1000, seed=3)
    assert list(many) == list(FACTORS)
    for name, v in many.items():
        factor = FACTORS[name]
        assert v.shape == (1000,) and v.dtype == (
            torch.int64 if factor.names else torch.float32
        )
        assert factor.low <= v.min() and v.max() <= factor.high
        assert torch.equal(random_factors(10, seed=3)[name], v[:10])
    assert not torch.equal(random_factors(10, seed=4)["mouth"], many["mouth"][:10])


@pytest.mark.parametrize(
    "correlate", [None, ("smile", "eyeglasses", 0.9), ("yaw", "light", -0.7)]
)
def test_each_factor_is_uniform_by_itself(correlate):
    n = 20_000
    for name, v in random_factors(n, seed=1, correlate=correlate).items():
        k, factor = len(FACTORS[name].names) or 10, FACTORS[name]
        place = (
            v
            if factor.names
            else ((v - factor.low) / (factor.high - factor.low) * k).long()
        )
        counts = torch.bincount(place.clamp(max=k - 1), minlength=k)
        assert (counts - n / k).abs().max() < 5 * (n / k) ** 0.5, name


def correlations(factors):
    return np.corrcoef(torch.stack([v.double() for v in factors.values()]).numpy())


def test_factors_are_independent_by_default():
    n = 20_000
    r = correlations(random_factors(n, seed=6))
    assert abs(r - np.eye(len(FACTORS))).max() < 5 / n**0.5


@pytest.mark.parametrize("rho", [-1.0, -0.5, 0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    "pair,expected",
    [
        (
            ("smile", "eyeglasses"),
            lambda r: 2 / math.pi * math.asin(r),
        ),  # two halves of a normal each (Sheppard 1899)
        (("hat", "eyeglasses"), lambda r: 2 / math.pi * math.asin(r)),
        (
            ("yaw", "light"),
            lambda r: 6 / math.pi * math.asin(r / 2),
        ),  # Spearman's of a normal pair (Pearson 1907)
    ],
)
def test_copula_gives_the_correlation_that_theory_says(pair, expected, rho):
    n = 20_000
    factors = random_factors(n, seed=2, correlate=(*pair, rho))
    a, b = (factors["mouth"] > 0 if name == "smile" else factors[name] for name in pair)
    assert abs(np.corrcoef(a.double(), b.double())[0, 1] - expected(rho)) < 5 / n**0.5
    r = correlations(factors)
    names = ["mouth" if name == "smile" else name for name in pair]
    i, j = (list(FACTORS).index(name) for name in names)
    r[i, j] = r[j, i] = 0
    assert (
        abs(r - np.eye(len(FACTORS))).max() < 5 / n**0.5
    )  # every other pair is as independent as before


@pytest.mark.parametrize(
    "correlate,message",
    [
        (("smile", "eyeglases", 0.5), "mean 'eyeglasses'"),
        (("nose", "hat", 0.5), "'nose' is not a factor"),
        (("hair_style", "hat", 0.5), "'hair_style' has values without an order"),
        (("smile", "mouth", 0.5), "one factor, mouth"),
        (("hat", "hat", 0.5), "one factor, hat"),
        (("smile", "hat", 1.01), "not at 1.01"),
        (("smile", "hat", float("nan")), "not at nan"),
        (("smile", "hat"), "two factors and a correlation"),
        ("smile", "two factors and a correlation"),
    ],
)
def test_refuses_correlate(correlate, message):
    with pytest.raises(ValueError, match=message):
        random_factors(5, correlate=correlate)


@pytest.mark.parametrize("n,seed", [(0, 0), (-1, 0), (2.5, 0), (3, -1)])
def test_refuses_n_and_seed(n, seed):
    with pytest.raises(ValueError, match="must be"):
        random_factors(n, seed=seed)


def test_factor_table_says_what_was_drawn():
    factors = random_factors(500, seed=8)
    table, names = factor_table(factors)
    column = {name: table[:, i] for i, name in enumerate(names)}
    assert (
        table.shape == (500, len(names))
        and table.dtype == torch.float32
        and len(set(names)) == len(names)
    )
    assert torch.equal(column["smile"], (factors["mouth"] > 0).float())
    for name in ("hair_style", "hair_colour"):
        one_hot = torch.stack([column[f"{name}={v}"] for v in FACTORS[name].names], 1)
        assert torch.equal(
            one_hot, torch.nn.functional.one_hot(factors[name], 5).float()
        )
    for name in (*CONTINUOUS, "eyeglasses", "hat"):
        assert torch.equal(column[name], factors[name].float())


# ---- anything that is allowed can be drawn --------------------------------------------------------------------------------------------------


def values(factor):
    return (
        st.integers(0, len(factor.names) - 1) | st.sampled_from(factor.names)
        if factor.names
        else st.floats(factor.low, factor.high, width=32)
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.fixed_dictionaries(
        {}, optional={name: values(f) for name, f in FACTORS.items()}
    ),
    st.integers(16, 40),
)
def test_any_subset_of_factors_draws_a_face(factors, size):
    x = draw_faces(factors, size=size)
    assert x.shape == (1, 3, size, size) and x.float().std() > 10
    assert torch.isfinite(factor_table(factors)[0]).all()


def test_the_faces_of_a_seed_stay_the_faces_of_that_seed():
    "Means over the pixels of four faces: a change here changes every published figure. They may differ by rounding between machines, and by nothing else."
    x = draw_faces(random_factors(4, seed=0)).float().mean((2, 3))
    assert torch.allclose(x, torch.tensor(PUBLISHED), atol=0.3)


PUBLISHED = [
    [189.70, 194.45, 173.81],
    [171.41, 184.24, 185.42],
    [193.46, 182.63, 161.83],
    [185.71, 187.49, 167.23],
]


def test_whole_floats_count():
    assert draw_faces(random_factors(3.0), size=32.0).shape == (3, 3, 32, 32)
