"""Paths, grids and directions in latent space, and edits along them."""

import os
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vae_nb.data import Images, photograph
from vae_nb.elbo import Delta, standard_normal
from vae_nb.evaluate import encode_all
from vae_nb.explore.network import browser_decoder
from vae_nb.explore.priors import prior_draws
from vae_nb.joint import joint_vae
from vae_nb.latent import (
    attribute_direction,
    edit,
    edit_images,
    interpolate,
    manifold,
    traverse,
    traverse_classes,
)
from vae_nb.priors import with_prior
from vae_nb.vae import mlp_vae

A, B = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])


@pytest.mark.parametrize("spherical", [False, True])
def test_paths_start_and_end_where_they_should(spherical):
    path = interpolate(A, B, 5, spherical)
    assert path.shape == (5, 3)
    assert torch.allclose(path[0], A, atol=1e-6) and torch.allclose(
        path[-1], B, atol=1e-6
    )


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(0, 10_000))
def test_on_an_arc_length_and_angle_change_evenly(seed):
    a, b = torch.randn(
        2, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    path = interpolate(a, b, 7, spherical=True)
    lengths = path.norm(dim=1)
    assert torch.allclose(
        lengths.diff(), lengths.diff()[0], atol=1e-5
    )  # steps are float32: 1.3e-6 at most
    unit = path / lengths[:, None]
    angles = (unit[1:] * unit[:-1]).sum(1).clamp(-1, 1).arccos()
    assert torch.allclose(angles, angles[0], atol=1e-5)


def test_the_straight_line_dips_and_the_arc_does_not():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert interpolate(a, b, 3)[1].norm() < 0.71
    assert torch.allclose(
        interpolate(a, b, 3, spherical=True)[1].norm(), torch.tensor(1.0)
    )


@pytest.mark.parametrize("b", [2 * A, -A, torch.zeros(3)])
def test_no_unique_arc(b):
    with pytest.raises(ValueError, match="spherical=False"):
        interpolate(A, b, 5, spherical=True)


def test_bad_ends_and_counts():
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        interpolate(A, B[:2])
    with pytest.raises(ValueError, match="not 1"):
        interpolate(A, B, 1)


def test_traverse_moves_one_dimension():
    path = traverse(A, 1, [-2, 0, 2])
    assert path.tolist() == [[3, -2, 0], [3, 0, 0], [3, 2, 0]]
    with pytest.raises(ValueError, match="from 0 to 2, not 3"):
        traverse(A, 3, [0])
    with pytest.raises(ValueError, match=r"one latent .* not \(1, 3\)"):
        traverse(A[None], 1, [0])


def test_manifold_cells_hold_equal_probability():
    grid = manifold(9, edge=0.1)
    assert grid.shape == (81, 2)
    probability = torch.distributions.Normal(0.0, 1.0).cdf(grid)
    steps = probability[:9, 0].diff()
    assert torch.allclose(steps, torch.full((8,), 0.1), atol=1e-5)
    assert (
        grid[0, 1] < grid[-1, 1] and grid[0, 0] < grid[8, 0]
    )  # from the lowest row upwards, from left to right
    for bad in (dict(n=1), dict(edge=0.0), dict(edge=0.5)):
        with pytest.raises(ValueError):
            manifold(**bad)


# --- directions with a name -------------------------------------------------------------------------------------------


class Planted(torch.nn.Module):
    "Codes are the pixels of the middle row, less a half: whoever makes the images plants the codes."

    def __init__(self, latent_dim=6):
        super().__init__()
        self.weight, self.latent_dim = torch.nn.Parameter(torch.ones(1)), latent_dim

    prior = property(lambda self: standard_normal(self.latent_dim))

    def encode(self, x):
        return Delta((x[:, 0, 4, : self.latent_dim] - 0.5) * 10)

    def decode(self, z):
        grey = torch.zeros(*z.shape[:-1], 1, 8, 8)
        grey[..., 4, : self.latent_dim] = z[..., None, :] / 10
        return Delta(grey + 0.5)


def planted(n=2000, correlation=0.0, seed=0):
    "Images whose latents 0 and 1 hold `a` and `b` (two units apart, with noise), the others noise; attributes a, b, both, size."
    g = torch.Generator().manual_seed(seed)
    b = (torch.rand(n, generator=g) < 0.5).float()
    copy = torch.rand(n, generator=g) < correlation
    a = torch.where(copy, b, (torch.rand(n, generator=g) < 0.5).float())
    z = 0.4 * torch.randn(n, 6, generator=g)
    z[:, 0] += 2 * a - 1
    z[:, 1] += 2 * b - 1
    pixels = torch.full((n, 1, 8, 8), 128, dtype=torch.uint8)
    pixels[:, 0, 4, :6] = ((z / 10 + 0.5) * 255).round().clamp(0, 255).byte()
    attributes = torch.stack([a, b, torch.ones(n), torch.zeros(n), z[:, 2]], 1)
    return Images(
        pixels,
        attributes=attributes,
        attribute_names=("a", "b", "everybody", "nobody", "size"),
    )


MODEL, DATA = Planted(), planted()


@pytest.mark.parametrize("method", ["means", "logistic"])
def test_a_planted_direction_is_found(method):
    d = attribute_direction(MODEL, DATA, "a", method=method)
    assert d.name == "a" and d.method == method and d.vector.shape == (6,)
    assert (
        d.unit[0] > 0.98 and abs(d.vector.norm() - 2) < 0.1
    )  # the two groups are two apart
    z = encode_all(MODEL, DATA)
    read, a = d.read(z), DATA.attributes[:, 0] == 1
    assert abs(read[~a].mean()) < 1e-4 and abs(read[a].mean() - 1) < 1e-4
    assert torch.allclose(d.read(z + 3 * d.vector), read + 3, atol=1e-4)


def test_the_difference_of_means_is_the_difference_of_means():
    z, a = encode_all(MODEL, DATA).double(), DATA.attributes[:, 0] == 1
    expected = z[a].mean(0) - z[~a].mean(0)
    assert torch.allclose(
        attribute_direction(MODEL, DATA, "a").vector.double(), expected, atol=1e-5
    )


def test_strength_takes_nearly_everybody_across():
    d, z, a = (
        attribute_direction(MODEL, DATA, "a"),
        encode_all(MODEL, DATA),
        DATA.attributes[:, 0] == 1,
    )
    arrived = (d.read(edit(z[~a], d)) >= 1 - 1e-4).float().mean()
    assert 0.985 < arrived < 0.995


def test_correlated_attributes_drag_and_holding_them_fixed_does_not():
    data = planted(4000, correlation=0.7)
    plain, fixed = (
        attribute_direction(MODEL, data, "a"),
        attribute_direction(MODEL, data, "a", controls=("b",)),
    )
    assert plain.vector[1] / plain.vector[0] > 0.5  # the truth is 0.7 of the way
    assert abs(fixed.vector[1] / fixed.vector[0]) < 0.05
    assert fixed.controls == ("b",)
    assert attribute_direction(MODEL, data, "a", controls="b").controls == (
        "b",
    )  # one name will do


def test_a_logistic_normal_is_made_orthogonal_to_the_others():
    data = planted(4000, correlation=0.7)
    fixed = attribute_direction(MODEL, data, "a", controls=("b",), method="logistic")
    other = attribute_direction(MODEL, data, "b", method="logistic")
    assert abs(fixed.unit @ other.unit) < 1e-5 and fixed.unit[0] > 0.9


def test_a_number_can_be_held_fixed_by_means_only():
    assert (
        abs(attribute_direction(MODEL, DATA, "a", controls=("size",)).vector[2]) < 0.02
    )
    with pytest.raises(ValueError, match="'size' runs from"):
        attribute_direction(MODEL, DATA, "a", controls=("size",), method="logistic")


def test_codes_may_be_given():
    z = encode_all(MODEL, DATA)
    assert torch.equal(
        attribute_direction(MODEL, DATA, "a", z=z).vector,
        attribute_direction(MODEL, DATA, "a").vector,
    )
    with pytest.raises(ValueError, match="10 codes for 2,000 images"):
        attribute_direction(MODEL, DATA, "a", z=z[:10])


@pytest.mark.parametrize(
    "name, message",
    [
        ("nobody", "none of the 2,000 images have 'nobody'"),
        ("everybody", "all of the 2,000 images"),
        ("size", "0 and 1. Cut it"),
        ("everybod", "Did you mean 'everybody'"),
    ],
)
def test_attributes_that_give_no_direction(name, message):
    with pytest.raises(ValueError, match=message):
        attribute_direction(MODEL, DATA, name)


def test_images_without_attributes():
    with pytest.raises(ValueError, match="no attributes at all"):
        attribute_direction(MODEL, Images(DATA.pixels), "a")


def test_too_few_images():
    few = DATA[
        torch.cat(
            [
                (DATA.attributes[:, 0] == 1).nonzero()[:3, 0],
                (DATA.attributes[:, 0] == 0).nonzero()[:50, 0],
            ]
        )
    ]
    with pytest.raises(ValueError, match="3 of 53 images have 'a'.*at least 10 with"):
        attribute_direction(MODEL, few, "a")
    assert attribute_direction(MODEL, few, "a", least=3).name == "a"


def test_against_that_leaves_nothing():
    twin = Images(
        DATA.pixels,
        attributes=torch.cat([DATA.attributes, 1 - DATA.attributes[:, :1]], 1),
        attribute_names=(*DATA.attribute_names, "not a"),
    )
    for method in ("means", "logistic"):
        with pytest.raises(ValueError, match="nothing of"):
            attribute_direction(MODEL, twin, "a", controls=("not a",), method=method)
    with pytest.raises(ValueError, match="cannot stay as it is and change"):
        attribute_direction(MODEL, DATA, "a", controls=("a",))
    with pytest.raises(ValueError, match="Did you mean 'means'"):
        attribute_direction(MODEL, DATA, "a", method="mean")


@pytest.mark.parametrize("method", ["means", "logistic"])
def test_an_attribute_that_the_codes_do_not_hold(method):
    swapped = Images(
        DATA.pixels, attributes=DATA.attributes[:, :1], attribute_names=("a",)
    )
    with pytest.raises(ValueError, match="do not differ"):
        attribute_direction(
            MODEL, swapped, "a", z=torch.full((2000, 6), 0.5), method=method
        )


def test_nan_latents_are_counted():
    z = encode_all(MODEL, DATA)
    z[[3, 5], 2] = float("nan")
    with pytest.raises(ValueError, match="2 of 2,000 latents hold NaN"):
        attribute_direction(MODEL, DATA, "a", z=z)
    with pytest.raises(ValueError, match="2 of 2,000 latents hold NaN"):
        edit(z, attribute_direction(MODEL, DATA, "a"), 1.0)


# --- edits ------------------------------------------------------------------------------------------------------------

D = attribute_direction(MODEL, DATA, "a")


def test_edit_shapes_and_values():
    z = torch.randn(3, 6)
    assert torch.equal(edit(z, D, 0.0), z)
    assert torch.allclose(edit(z, D, 1.5), z + 1.5 * D.vector)
    assert torch.allclose(
        edit(z, D, 1), edit(z, D, [0, 1])[:, 1]
    )  # whole numbers are numbers
    assert edit(z, D, [-1.0, 0.0, 1.0]).shape == (3, 3, 6) and edit(
        z[0], D, [-1.0, 1.0]
    ).shape == (2, 6)
    assert torch.allclose(edit(z, D), z + D.strength * D.vector)


def test_edits_that_stay_are_silent_and_those_that_leave_say_how_far():
    z = torch.zeros(4, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edit(z, D, [-1.9, 1.9])  # the vector is 2 long, the limit 4
        edit(z, D, 100.0, limit=None)
    with pytest.warns(
        UserWarning,
        match=r"4 of 8 latents beyond 4 standard .*furthest: 6\..*Strengths from about -2.0 to 2.0",
    ) as caught:
        edit(z, D, [1.0, 3.0])
    assert caught[0].filename == __file__  # it points at the caller


def test_latents_that_were_outside_before():
    with pytest.warns(UserWarning, match="that far out before"):
        edit(torch.tensor([[9.0, 0, 0, 0, 0, 0], [-9.0, 0, 0, 0, 0, 0]]), D, 0.1)


@pytest.mark.parametrize(
    "strength", [float("nan"), float("inf"), [[1.0]], [0.0, float("nan")]]
)
def test_strengths_that_mean_nothing(strength):
    with pytest.raises(ValueError, match="finite number"):
        edit(torch.zeros(2, 6), D, strength)


def test_edit_of_other_latents():
    with pytest.raises(ValueError, match=r"\(2, 5\).*end with \(6,\)"):
        edit(torch.zeros(2, 5), D, 1.0)


def test_edit_images_at_zero_is_the_reconstruction():
    x = DATA[:3].floats()
    out = edit_images(MODEL, x, D, [0.0, 1.0], limit=None)
    assert out.shape == (3, 2, 1, 8, 8)
    assert torch.allclose(out[:, 0, 0, 4, :6], x[:, 0, 4, :6], atol=1e-6)
    assert torch.allclose(
        (out[:, 1] - out[:, 0])[:, 0, 4, :6], D.vector.expand(3, 6) / 10, atol=1e-5
    )


@pytest.fixture(scope="module")
def joint():
    torch.manual_seed(0)
    return joint_vae((1, 8, 8), continuous=3, categorical=(4, 2), hidden=(16,)).eval()


def test_a_joint_model_is_edited_in_its_continuous_part_only(joint):
    d = attribute_direction(joint, DATA, "a")
    assert (
        d.vector.shape == (9,) and (d.vector[3:] == 0).all() and d.vector[:3].norm() > 0
    )
    assert edit_images(joint, DATA[:2].floats(), d, [0.0, 1.0], limit=None).shape == (
        2,
        2,
        1,
        8,
        8,
    )


def test_categories_are_traversed(joint):
    blocks = [part for kind, part in joint.parts if kind == "categorical"]
    start = encode_all(joint, DATA[:1])[0]
    path = traverse_classes(start, blocks[0])
    assert torch.equal(path[:, blocks[0]], torch.eye(4)) and torch.equal(
        path[:, blocks[1]], start[blocks[1]].expand(4, -1)
    )
    assert joint.decode(path).mean.shape == (4, 1, 8, 8)
    with pytest.raises(ValueError, match="at least 2 of the 9"):
        traverse_classes(start, slice(20, 30))
    with pytest.raises(ValueError, match=r"one latent .* not \(1, 9\)"):
        traverse_classes(start[None], blocks[0])


def test_categories_only():
    model = joint_vae((1, 8, 8), continuous=0, categorical=(4,), hidden=(16,))
    with pytest.raises(ValueError, match="traverse_classes"):
        attribute_direction(model, DATA, "a")


# --- the user's own photograph ----------------------------------------------------------------------------------------

RED = Image.new("RGB", (40, 30), (200, 40, 40))


def test_a_photograph_from_a_file_an_image_and_an_array(tmp_path):
    RED.save(tmp_path / "red.png")
    expected = torch.tensor([200, 40, 40]).view(1, 3, 1, 1).expand(1, 3, 16, 16) / 255
    for source in (
        tmp_path / "red.png",
        str(tmp_path / "red.png"),
        RED,
        np.asarray(RED),
        torch.from_numpy(np.array(RED)),
        np.asarray(RED) / 255,
    ):
        assert torch.allclose(photograph(source, (3, 16, 16)), expected, atol=1e-6)


@pytest.mark.parametrize(
    "mode", ["L", "P", "CMYK", "RGBA", "LA", "1", "I;16", "HSV", "YCbCr"]
)
def test_every_mode_becomes_what_the_model_takes(mode):
    image = Image.new("L", (40, 30), 255) if mode in ("1", "I;16") else RED
    image = (
        Image.fromarray(np.full((30, 40), 65535, dtype=np.uint16))
        if mode == "I;16"
        else image.convert(mode)
    )
    for shape in ((3, 16, 16), (1, 16, 16)):
        x = photograph(image, shape)
        assert x.shape == (1, *shape) and x.isfinite().all()
        expected = 1.0 if mode in ("1", "I;16") else (200 * 299 + 40 * 701) / 255_000
        grey = (
            (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
            if shape[0] == 3
            else x
        )
        assert abs(grey.mean() - expected) < 0.02


def test_what_is_transparent_lies_over_white():
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    assert (photograph(clear, (3, 16, 16)) == 1).all()
    palette = Image.new("P", (40, 40), 0)
    palette.info["transparency"] = 0
    assert (photograph(palette, (3, 16, 16)) == 1).all()


def test_a_turned_camera_is_turned_back(tmp_path):
    upright = np.zeros((40, 20, 3), np.uint8)
    upright[:20] = 255  # white above, black below
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    Image.fromarray(upright).rotate(90, expand=True).save(
        tmp_path / "phone.png", exif=exif
    )
    x = photograph(tmp_path / "phone.png", (3, 40, 20))
    assert x[..., :18, :].mean() > 0.98 and x[..., 22:, :].mean() < 0.02


def test_the_centre_is_taken_unless_a_box_is_given():
    a = np.zeros((20, 60), np.uint8)
    a[:, 20:40] = 255
    assert (
        photograph(a, (1, 16, 16)).min() > 0.99
        or photograph(a, (1, 16, 16)).mean() > 0.97
    )
    assert photograph(a, (1, 16, 16), box=(0, 0, 20, 20)).max() == 0
    for box in ((0, 0, 61, 20), (10, 10, 10, 20), (1, 2, 3)):
        with pytest.raises(ValueError, match="60 × 20 pixels"):
            photograph(a, (1, 16, 16), box=box)


def test_small_pictures():
    with pytest.raises(ValueError, match="4 × 30 pixels.*fewer than 8"):
        photograph(np.zeros((30, 4), np.uint8), (1, 16, 16))
    with pytest.warns(UserWarning, match="10 × 12 pixels and is enlarged to 16 × 16"):
        photograph(np.zeros((12, 10), np.uint8), (1, 16, 16))


@pytest.mark.parametrize(
    "source, message",
    [
        (np.zeros((3, 20, 20), np.uint8), "Channels come last"),
        (np.zeros((20, 20, 2), np.uint8), r"\(20, 20, 2\)"),
        (np.zeros(20, np.uint8), r"\(20,\)"),
        (np.zeros((20, 20), np.int64), "int64"),
        (np.full((20, 20), 3.0), "Divide by 255"),
        (np.full((20, 20), np.nan), "finite"),
        (np.zeros((0, 20), np.uint8), "shape"),
    ],
)
def test_arrays_that_are_no_pictures(source, message):
    with pytest.raises(ValueError, match=message):
        photograph(source, (1, 16, 16))


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear Sir")
    with pytest.raises(OSError, match="letter.jpg"):
        photograph(tmp_path / "letter.jpg", (1, 16, 16))
    with pytest.raises(FileNotFoundError, match="nothing.png"):
        photograph(tmp_path / "nothing.png", (1, 16, 16))


def test_what_would_never_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero", tmp_path):
        with pytest.raises(OSError, match="is not a file"):
            photograph(path, (1, 16, 16))


def test_a_photograph_that_ends_in_the_middle_is_refused_by_its_name(tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:-30])
    with pytest.raises(
        OSError, match="half.png cannot be read as a picture: .*truncated"
    ):
        photograph(tmp_path / "half.png", (1, 16, 16))


def test_a_photograph_of_the_wrong_size_is_refused_by_the_model():
    model = mlp_vae((3, 16, 16), latent_dim=6, hidden=(8,))
    with pytest.raises(ValueError, match=r"\(batch, 3, 16, 16\), not \(1, 3, 24, 24\)"):
        edit_images(model, photograph(RED, (3, 24, 24)), D, 1.0)


def test_a_prior_of_torch_has_directions_and_an_explorer():
    "Its `sample` takes no generator, and yet the same seed gives the same draws."
    normal = torch.distributions.Normal(torch.full((4,), 2.0), torch.full((4,), 0.5))
    model = mlp_vae((1, 8, 8), 4, hidden=(16,))
    model = with_prior(model, torch.distributions.Independent(normal, 1))
    pixels = (torch.rand(40, 1, 8, 8) * 255).to(torch.uint8)
    images = Images(
        pixels, attributes=torch.arange(40)[:, None] % 2 == 0, attribute_names=("a",)
    )
    assert attribute_direction(model, images, "a").vector.isfinite().all()
    draws = prior_draws(model, 4000)
    assert draws.equal(prior_draws(model, 4000))
    assert abs(draws.mean() - 2) < 0.02 and abs(draws.std() - 0.5) < 0.02
    assert browser_decoder(model).layers
