"""vae_nb.plots at its edges: what is refused and in which words, what is drawn where, and what is left alone."""

from xml.etree import ElementTree

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_names import NASTY

from vae_nb.plots import (
    bound_curve,
    compare_rows,
    count_matrix,
    kl_per_dim_bars,
    labelled_bars,
    latent_histograms,
    latent_map,
    latent_map_3d,
    latent_tsne,
    loss_curves,
    manifold_grid,
    set_style,
    show_grid,
    show_pairs,
    strip,
)
from vae_nb.plots.latents import _densest, as_classes
from vae_nb.plots.pictures import tile
from vae_nb.plots.style import moved_apart, plain
from vae_nb.train import History


@pytest.fixture(autouse=True)
def no_open_figures():
    "The figures of a test end with it, and its style too."
    with plt.rc_context():
        yield
    plt.close("all")


def grey(n=5, h=6, w=4, seed=0):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(seed))


def canvas(ax):
    return np.asarray(ax.images[0].get_array())


def texts(ax):
    return [t.get_text() for t in ax.texts]


def drawn(ax):
    ax.figure.canvas.draw()
    return ax  # layout and every artist, for real


# ---- style and import


def test_style_is_set_by_the_call_alone():
    before = dict(plt.rcParams)
    drawn(latent_map(np.random.randn(20, 2)))
    assert {k: v for k, v in plt.rcParams.items() if before[k] != v} == {}
    set_style()
    assert (
        plt.rcParams["figure.facecolor"] == plt.rcParams["savefig.facecolor"] == "white"
    )
    assert plt.rcParams["font.size"] == 12
    set_style(dpi=150)  # again, with another value
    assert plt.rcParams["figure.dpi"] == 150


# ---- tiles


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 30),
    ncol=st.integers(1, 12),
    h=st.integers(1, 7),
    w=st.integers(1, 7),
    down=st.integers(0, 3),
    right=st.integers(0, 3),
    colour=st.booleans(),
)
def test_tile_puts_every_image_in_its_place(n, ncol, h, w, down, right, colour):
    x = np.random.default_rng(n).random(
        (n, 3, h, w) if colour else (n, h, w), dtype="float32"
    )
    out = tile(x, ncol, (down, right))
    rows, cols = -(-n // ncol), min(n, ncol)
    assert out.shape[:2] == (rows * (h + down) - down, cols * (w + right) - right)
    covered = np.zeros(out.shape[:2], bool)
    for i in range(n):
        place = np.s_[i // ncol * (h + down) :, i % ncol * (w + right) :]
        assert np.array_equal(
            out[place][:h, :w], x[i].transpose(1, 2, 0) if colour else x[i]
        )
        covered[place][:h, :w] = True
    assert (out[~covered] == 1).all()  # gaps and missing images are white


def test_bytes_bools_and_low_precision_show_the_same_picture():
    x = (grey() * 255).round().to(torch.uint8)
    assert np.allclose(tile(x), tile(x.float() / 255), atol=1e-7) and tile(x).max() <= 1
    assert np.allclose(tile((x.float() / 255).bfloat16()), tile(x), atol=4e-3)
    assert np.allclose(tile((x.double() / 255).numpy()), tile(x), atol=1e-7)
    assert set(np.unique(tile(x > 127, pad=0))) == {0.0, 1.0}
    assert np.array_equal(
        tile((x.float() / 255).requires_grad_()), tile(x.float() / 255)
    )


def test_rounding_above_one_is_forgiven_and_clipped():
    assert tile(torch.full((1, 2, 2), 1 + 5e-5)).max() == 1


@pytest.mark.parametrize(
    "bad, words",
    [
        (torch.rand(28, 28), r"shape \(28, 28\).*x\[None\]"),
        (torch.rand(1, 2, 3, 4, 5), "shape"),
        (torch.rand(0, 1, 4, 4), "empty"),
        (torch.rand(2, 8, 8, 3), r"8 channels.*permute\(0, 3, 1, 2\)"),
        (torch.rand(2, 4, 8, 8), "4 channels"),
        (torch.rand(2, 8, 8) * 255, "divide by"),
        (torch.randn(2, 8, 8) * 3 - 1, r"from -\d.*clamp\(0, 1\)"),
        (torch.full((2, 8, 8), 1.01), r"to 1\.01.*clamp"),
        (torch.tensor([[[0.0, float("nan")]]]), "1 values? of 2 that are NaN"),
        (torch.tensor([[[0.0, float("inf")]]]), "NaN or infinite"),
        (torch.randint(0, 255, (2, 8, 8)), "int64.*uint8"),
        (np.array([[["a"]]]), "float in"),
    ],
)
@pytest.mark.parametrize(
    "draw", [tile, show_grid, lambda x: show_pairs(x, x), lambda x: strip([x], ["1"])]
)
def test_what_is_no_image_is_refused_in_words(draw, bad, words):
    with pytest.raises(ValueError, match=words):
        draw(bad)


def test_no_column_is_refused():
    for ncol in (0, -3):
        for draw in (tile, show_grid, lambda x, ncol: compare_rows({"a": x}, ncol)):
            with pytest.raises(ValueError, match=f"ncol is {ncol}"):
                draw(grey(), ncol=ncol)


# ---- grids


@pytest.mark.parametrize("n, ncol", [(1, 8), (7, 3), (8, 8), (9, 8)])
def test_grid_of_any_count(n, ncol):
    x = grey(n)
    ax = drawn(
        show_grid(
            x,
            ncol=ncol,
            titles=[f"t{i}" for i in range(n)],
            row_labels=[f"r{i}" for i in range(-(-n // ncol))],
        )
    )
    assert texts(ax) == [f"t{i}" for i in range(n)]
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        f"r{i}" for i in range(-(-n // ncol))
    ]
    assert np.array_equal(canvas(ax)[:6, :4], x[0, 0])


def test_row_labels_stand_at_the_middle_of_their_rows():
    ax = show_grid(
        torch.zeros(6, 28, 28), ncol=2, row_labels="abc", titles=list("abcdef")
    )
    black = (canvas(ax)[:, 0] == 0).nonzero()[0].reshape(3, 28)
    assert np.allclose(ax.get_yticks(), black.mean(1))


def test_titles_stand_in_the_gap_above_their_image():
    set_style()
    ax = drawn(show_grid(torch.zeros(4, 28, 28), ncol=2, titles=["A", "B", "C", "D"]))
    box = ax.texts[2].get_window_extent()  # "C": second row
    top, bottom = (
        ax.transData.transform((0, y))[1]
        for y in (27.5, ax.images[0].get_array().shape[0] - 28.5)
    )
    assert bottom <= box.y0 and box.y1 <= top


@pytest.mark.parametrize(
    "names",
    [dict(titles=["only one"]), dict(row_labels=["a", "b", "c"]), dict(titles=[])],
)
def test_too_few_or_too_many_names(names):
    with pytest.raises(ValueError, match="there should be"):
        show_grid(grey(5), ncol=3, **names)


def test_given_axes_are_used_and_returned():
    fig, axs = plt.subplots(1, 2)
    assert show_grid(grey(), ax=axs[1]) is axs[1]
    assert show_pairs(grey(), grey(), ax=axs[0]) is axs[0]
    assert len(plt.get_fignums()) == 1


def test_a_colour_map_leaves_the_gaps_white():
    ax = show_grid(torch.zeros(3, 5, 5), ncol=2, cmap="gray_r")
    assert (canvas(ax) == 1).all()  # black becomes white, and what was white stays
    assert (
        canvas(show_grid(torch.ones(3, 5, 5), ncol=2, cmap="gray_r"))[6:, 6:] == 1
    ).all()
    with pytest.raises(ValueError, match="these are RGB"):
        show_grid(torch.rand(2, 3, 5, 5), cmap="viridis")


def test_pictures_of_flat_images_are_not_stretched():
    ax = show_grid(torch.full((4, 8, 8), 0.5))
    assert ax.images[0].get_clim() == (0, 1)


# ---- comparisons


@pytest.mark.parametrize("channels", [1, 3])
def test_compared_rows_share_columns_even_when_they_wrap(channels):
    a, b = torch.rand(2, 5, channels, 6, 4)
    ax = drawn(compare_rows({"a": a, "b": b}, ncol=3))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "a", "b"]
    want = torch.cat(
        [
            a[:3],
            b[:3],
            a[3:],
            torch.ones(1, channels, 6, 4),
            b[3:],
            torch.ones(1, channels, 6, 4),
        ]
    )
    assert np.array_equal(canvas(ax), tile(want, 3))


def test_blanks_stay_white_under_a_colour_map():
    assert (
        canvas(
            show_pairs(
                torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), ncol=2, cmap="gray_r"
            )
        )
        == 1
    ).all()


def test_comparison_of_unlike_things_is_refused():
    with pytest.raises(ValueError, match="same number and size"):
        show_pairs(grey(4), grey(5))
    with pytest.raises(ValueError, match="same number and size"):
        show_pairs(grey(4), torch.rand(4, 3, 6, 4))
    with pytest.raises(ValueError, match="no images"):
        compare_rows({})
    with pytest.raises(ValueError, match="images of 'rebuilt' runs"):
        show_pairs(grey(), grey() + 2)
    with pytest.raises(ValueError, match="both rows"):
        show_pairs(grey(), grey(), labels=("x", "x"))


def test_strip_runs_from_left_to_right():
    frames = [torch.full((2, 1, 5, 5), v) for v in (0.0, 0.25, 0.5)]
    ax = drawn(strip(frames, [1, 5, 20]))
    values = [
        canvas(ax)[2, round(at)] for at in ax.get_xticks()
    ]  # under each label, the shade of its moment
    assert np.allclose(values, [0, 0.25, 0.5]) and canvas(ax).shape[0] == 2 * 5 + 1
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        "1",
        "5",
        "20",
    ] and "epoch" in ax.get_xlabel()
    with pytest.raises(ValueError, match="2 labels for 3 moments"):
        strip(frames, [1, 2])
    with pytest.raises(ValueError, match="no images"):
        strip([], [])


# ---- learning curves


def test_the_only_epoch_is_the_only_tick():
    assert list(
        loss_curves({"epoch": [7], "train_loss": [3.0]}, ("loss",)).get_xticks()
    ) == [7]


def history(epochs=4, splits=("train", "valid"), terms=("loss", "recon", "kl")):
    return pd.DataFrame(
        {"epoch": range(1, epochs + 1)}
        | {
            f"{s}_{t}": np.linspace(100, 90, epochs) + i
            for s in splits
            for i, t in enumerate(terms)
        }
    )


def lines(ax):
    return {l.get_label(): l for l in ax.lines}


def test_curves_tell_training_from_validation_without_colour():
    ax = drawn(loss_curves(history()))
    assert (
        set(texts(ax)) == {"loss", "recon", "kl"}
        and ax.get_ylabel() == "nats per image"
    )
    train, valid = lines(ax)["_kl train"], lines(ax)["_kl valid"]
    assert (
        train.get_linestyle() != valid.get_linestyle()
        and train.get_markerfacecolor() != valid.get_markerfacecolor()
    )
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "training",
        "validation",
    ]


def test_history_without_validation():
    ax = drawn(loss_curves(history(splits=("train",))))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["training"] and len(
        ax.lines
    ) == 3


def test_history_of_one_epoch_shows_its_points():
    ax = drawn(loss_curves(history(1)))
    assert all(l.get_marker() == "o" and len(l.get_xdata()) == 1 for l in ax.lines)


def test_validation_every_third_epoch_is_a_connected_line():
    table = history(9)
    table.loc[table.epoch % 3 != 0, [c for c in table if c.startswith("valid")]] = (
        np.nan
    )
    assert list(lines(loss_curves(table))["_loss valid"].get_xdata()) == [3, 6, 9]


def test_curves_from_a_plain_dict():
    assert (
        len(
            drawn(
                loss_curves({"epoch": [1, 2], "valid_kl": [3.0, 2.0]}, terms=("kl",))
            ).lines
        )
        == 1
    )


@pytest.mark.parametrize(
    "table, terms, words",
    [
        (history(0), ("loss",), "no epochs"),
        ({"train_loss": [1.0]}, ("loss",), "no epochs"),
        (
            history(),
            ("loss", "elbo"),
            "no term 'elbo'; its columns are epoch, train_loss",
        ),
        (history(), "loss", r"\('loss',\)"),
        ({"epoch": [1], "train_loss": [np.nan]}, ("loss",), "NaN"),
    ],
)
def test_histories_that_cannot_be_drawn(table, terms, words):
    with pytest.raises(ValueError, match=words):
        loss_curves(table, terms)


def test_names_of_equal_curves_do_not_cover_each_other():
    table = history(6, ("train",))
    table[["train_loss", "train_recon", "train_kl"]] = 50.0
    table["train_kl"] = np.linspace(0, 50, 6)
    ax = drawn(loss_curves(table))
    boxes = [t.get_window_extent() for t in ax.texts]
    assert (
        len(boxes) == 3
        and max(b.y1 for b in boxes) - min(b.y0 for b in boxes) < 0.5 * ax.bbox.height
    )  # near their curves
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300)), min_size=1, max_size=15)
)
def test_boxes_end_up_apart(points):
    p = moved_apart(points, (30, 20))
    gap = abs(p[:, None] - p[None]) / (30, 20)
    assert (gap.max(-1) + np.eye(len(p)) > 0.99).all()


# ---- KL per dimension


def test_dimensions_above_the_threshold_are_counted_and_look_different():
    ax = drawn(kl_per_dim_bars(torch.tensor([0.001, 2.0, 0.5, 0.0])))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "2 with KL > 0.01",
        "2 unused (KL ≤ 0.01)",
    ]
    above, unused = ax.containers
    assert (
        [b.get_height() for b in above] == [2, 0.5]
        and {b.get_hatch() for b in above} == {None}
        and {b.get_hatch() for b in unused} == {"////"}
    )
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "0", "3"]


def test_a_batch_is_averaged():
    ax = kl_per_dim_bars(torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    assert [b.get_height() for b in ax.containers[0]] == [2, 2]


@pytest.mark.parametrize(
    "kl",
    [[0.0], [1.0], [0.0] * 60, np.linspace(0, 1, 200)],
    ids=["one unused", "one used", "all collapsed", "many"],
)
def test_kl_bars_at_the_extremes(kl):
    drawn(kl_per_dim_bars(kl))


@pytest.mark.parametrize(
    "kl, words",
    [
        ([1.0, -0.5], "dimension 1 is -0.5"),
        ([1.0, np.nan], "NaN"),
        ([], "empty"),
        (3.0, r"shape \(\)"),
        (np.ones((2, 2, 2)), "shape"),
    ],
)
def test_impossible_kl(kl, words):
    with pytest.raises(ValueError, match=words):
        kl_per_dim_bars(kl)


# ---- bounds and bars


def test_bound_curve():
    ax = drawn(
        bound_curve(
            [1, 2, 4], torch.tensor([-3.0, -2.5, -2.2]), [0.1, 0.1, 0.1], truth=-2.0
        )
    )
    assert {"ELBO", "log p(x)"} <= set(texts(ax)) and ax.get_ylim()[1] > -2
    assert "ELBO" not in texts(drawn(bound_curve([8, 64], [-2.5, -2.2])))
    with pytest.raises(ValueError, match="one bound for each k"):
        bound_curve([1, 2], [0.0])


def test_bars_start_at_zero_and_carry_their_values():
    ax = drawn(labelled_bars({"good": 90.0, "bad": 100.0}, {"bad": 0.5}))
    assert ax.get_xlim()[0] == 0 and texts(ax) == ["90.00", "100.00 ± 0.50"]
    assert (
        ax.get_xlim()[1] > 100.5 and ax.get_ylim()[0] > ax.get_ylim()[1]
    )  # the first on top


def test_dots_may_start_anywhere_and_keep_clear_of_the_reference():
    set_style()
    ax = drawn(
        labelled_bars({"a": -100.0, "b": -99.0}, reference=("truth", -99.0), dots=True)
    )
    assert ax.get_xlim()[0] > -110
    assert all(
        t.get_window_extent().x0 > ax.bbox.x1 for t in ax.texts if "−" in t.get_text()
    )


def test_negative_bars_are_labelled_on_their_left():
    ax = drawn(labelled_bars({"a": -3.0}))
    assert texts(ax) == ["−3.00"] and ax.texts[0].get_ha() == "right"


@pytest.mark.parametrize(
    "values, errors, words",
    [
        ({}, None, "no values"),
        ({"a": np.nan}, None, "NaN"),
        ({"a": 1.0}, {"b": 1.0}, r"\['b'\]"),
    ],
)
def test_bars_that_cannot_be_drawn(values, errors, words):
    with pytest.raises(ValueError, match=words):
        labelled_bars(values, errors)


# ---- tables of counts


def test_every_count_but_zero_is_written_into_its_cell():
    ax = drawn(
        count_matrix(
            torch.tensor([[3, 0], [1, 1200]]), rows="ab", names=("found", "true")
        )
    )
    assert texts(ax) == ["3", "1", "1,200"] and ax.get_xlabel() == "true"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"] and [
        t.get_text() for t in ax.get_xticklabels()
    ] == ["0", "1"]


@pytest.mark.parametrize(
    "counts, options, words",
    [
        ([1, 2], {}, "rows, columns"),
        ([[1, -2]], {}, "none negative"),
        (np.zeros((0, 2)), {}, "empty"),
        ([[1, 2]], {"columns": "abc"}, "3 names of columns for 2 columns"),
    ],
)
def test_counts_that_cannot_be_drawn(counts, options, words):
    with pytest.raises(ValueError, match=words):
        count_matrix(counts, **options)


# ---- latent maps


@pytest.mark.parametrize("k", [1, 3, 10, 26])
def test_every_class_is_named_once_and_no_name_covers_another(k):
    set_style()
    rng = np.random.default_rng(k)
    numbers = np.arange(300) % k
    ax = drawn(
        latent_map(
            torch.tensor(rng.normal(size=(300, 2))),
            torch.tensor(numbers),
            [f"c{i}" for i in range(k)],
        )
    )
    named = [t for t in ax.texts if t.get_text().startswith("c")]
    assert [t.get_text() for t in named] == [f"c{i}" for i in range(k)]
    boxes = [t.get_bbox_patch().get_window_extent() for t in named]
    assert not any(
        a.shrunk(0.95, 0.95).overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]
    )  # touching corners are fine


def test_classes_beyond_ten_change_the_marker():
    z = np.random.randn(24, 2)
    one, two = (
        latent_map(z, np.arange(24) % n, rings=False).collections for n in (10, 12)
    )
    assert len(one) == 1 and len(two) == 2
    assert not np.array_equal(
        two[0].get_paths()[0].vertices, two[1].get_paths()[0].vertices
    )


def test_a_class_keeps_its_colour_when_others_are_absent():
    z = np.random.randn(4, 2)
    full = latent_map(z, [0, 1, 2, 3], rings=False).collections[0].get_facecolors()
    part = latent_map(z[2:], [2, 3], rings=False).collections[0].get_facecolors()
    assert np.allclose(full[2:, :3], part[:, :3])


def test_labels_of_text_bools_and_none():
    z = np.random.randn(4, 2)
    assert texts(latent_map(z, ["cat", "dog", "cat", "dog"], rings=False)) == [
        "cat",
        "dog",
    ]
    assert texts(
        latent_map(z, torch.tensor([True, False, True, False]), rings=False)
    ) == ["False", "True"]
    assert texts(latent_map(z, rings=False)) == []


def test_rings_are_circles_of_one_two_three():
    ax = drawn(latent_map(np.zeros((1, 2))))
    assert (
        sorted(round(float(np.hypot(*l.get_data()).max()), 6) for l in ax.lines)
        == [1, 2, 3]
        and ax.get_aspect() == 1
    )


@pytest.mark.parametrize(
    "z, labels, classes, words",
    [
        (np.zeros((3, 5)), None, None, r"\(3, 5\).*z\[:, \[0, 1\]\].*PCA"),
        (np.zeros((3, 1)), None, None, r"\(N, 2\)"),
        (np.zeros(3), None, None, r"\(N, 2\)"),
        (np.zeros((0, 2)), None, None, "empty"),
        (np.full((3, 2), np.nan), None, None, "6 values of 6 that are NaN"),
        (np.zeros((3, 2)), [0, 1], None, "3 points"),
        (np.zeros((3, 2)), [0.5, 1.2, 3.0], None, "classes"),
        (np.zeros((3, 2)), [0, 1, 2], ["a", "b"], "0 to 1"),
        (np.zeros((3, 2)), [-1, 0, 1], ["a", "b"], "from -1"),
    ],
)
def test_maps_that_cannot_be_drawn(z, labels, classes, words):
    with pytest.raises(ValueError, match=words):
        latent_map(z, labels, classes)


def test_three_dimensions():
    z = torch.randn(30, 3)
    ax = drawn(latent_map_3d(z, np.arange(30) % 12))
    assert ax.name == "3d" and texts(ax) == [str(i) for i in range(12)]
    with pytest.raises(ValueError, match='projection="3d"'):
        latent_map_3d(z, ax=plt.subplots()[1])
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        latent_map_3d(z[:, :2])


# ---- lattice


def test_manifold_points_the_way_the_map_does():
    across, up = np.array([-1.0, 0.0, 1.0]), np.array([-2.0, 2.0])
    images = torch.tensor(
        [[[a * 0.1 + b * 0.2 + 0.5]] for b in up for a in across]
    ).expand(6, 4, 4)
    ax = drawn(manifold_grid(images, across, up))
    c = canvas(ax)
    assert np.allclose(
        [c[-1, 0], c[-1, -1], c[0, 0]], [0, 0.2, 0.8], atol=1e-6
    )  # low left, low right, high left
    labels = {t.get_text(): t.get_position()[1] for t in ax.get_yticklabels()}
    assert labels["2.0"] < labels["−2.0"]  # pixel rows count downwards
    assert [t.get_text() for t in ax.get_xticklabels()] == ["−1.0", "0.0", "1.0"]


@pytest.mark.parametrize("n", [1, 2, 7, 8, 20, 31])
def test_manifold_ticks_are_few_and_sit_on_tiles(n):
    across = torch.linspace(-2, 2, n)
    ax = drawn(manifold_grid(torch.zeros(n * n, 3, 3), across))
    assert 1 <= len(ax.get_xticks()) <= 7 and all(
        (t - 1) % 3 == 0 for t in ax.get_xticks()
    )


def test_manifold_of_wrong_count():
    with pytest.raises(ValueError, match="9 images for 2 rows of 2: there should be 4"):
        manifold_grid(torch.zeros(9, 3, 3), [0, 1])


# ---- histograms


def test_histograms_have_unit_area_beside_the_prior():
    ax = drawn(
        latent_histograms(
            torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)), ncol=2
        )
    )
    (values, edges, base) = ax.patches[0].get_data()
    height = (values - base) * 0.65 / 0.85
    assert (
        len(ax.patches) == len(ax.lines) == 3
        and abs((height * np.diff(edges)).sum() - 1) < 1e-6
    )


@pytest.mark.parametrize("shape", [(50, 1), (1, 4), (1, 1), (20, 50)])
def test_histograms_of_any_shape(shape):
    ax = drawn(latent_histograms(np.random.randn(*shape)))
    assert [t for t in texts(ax) if t != "▲"] == [str(i) for i in range(shape[1])]


def test_a_constant_dimension_is_marked_and_stays_in_its_panel():
    ax = drawn(
        latent_histograms(
            np.c_[np.random.default_rng(0).normal(size=4000), np.zeros(4000)], ncol=1
        )
    )
    assert (
        texts(ax).count("▲") == 1
        and ax.patches[1].get_data().values.max() <= -1 + 0.85 + 1e-9
    )


def test_far_values_are_counted_not_lost():
    values, _, base = (
        latent_histograms(np.array([[100.0], [-100.0]])).patches[0].get_data()
    )
    assert values[0] > base and values[-1] > base


def test_dimensions_left_out_are_mentioned():
    ax = drawn(latent_histograms(np.random.randn(9, 64), n=6))
    assert len(ax.patches) == 6 and "first 6 of 64" in ax.get_xlabel()


@pytest.mark.parametrize(
    "z, words",
    [
        (np.zeros(4), "N, latent"),
        (np.zeros((0, 3)), "empty"),
        (np.full((2, 2), np.inf), "infinite"),
    ],
)
def test_histograms_of_nothing(z, words):
    with pytest.raises(ValueError, match=words):
        latent_histograms(z)


def test_histograms_need_a_panel():
    for bad in (dict(n=0), dict(ncol=0)):
        with pytest.raises(ValueError, match="at least 1"):
            latent_histograms(np.zeros((3, 2)), **bad)


def test_attributes_become_classes_to_colour_by():
    classes, names = as_classes(torch.tensor([0.0, 1, 1, 0]), "hat")
    assert classes.tolist() == [0, 1, 1, 0] and names == ("no hat", "hat")
    classes, names = as_classes(np.arange(-3.0, 3), "mouth")
    assert classes.tolist() == [0, 0, 1, 1, 2, 2] and names == (
        "mouth ≤ −1.3",
        "between",
        "mouth > 0.33",
    )
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        as_classes(np.zeros((2, 2)))


def test_t_sne_keeps_neighbours_together():
    r = np.random.RandomState(0)
    z, labels = np.r_[r.randn(30, 5) - 20, r.randn(30, 5) + 20], np.repeat([0, 1], 30)
    flat = latent_tsne(z, labels).collections[0].get_offsets()
    distance = ((flat[:, None] - flat[None]) ** 2).sum(-1) + 1e9 * np.eye(60)
    assert (labels[distance.argmin(1)] == labels).all()
    with pytest.raises(ValueError, match="at least 4 points and 2 latents"):
        latent_tsne(z[:3])


def test_tsne_names_a_class_where_it_is_densest_and_not_between_its_groups():
    g = np.random.default_rng(0)
    small, large = g.normal(-9, 1, (40, 2)), g.normal(9, 0.5, (41, 2))
    assert (_densest(np.concatenate([small, large])) > 5).all()
    assert (_densest(np.zeros((1, 2))) == 0).all()  # a class of one point


# --- names that people give ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw",
    [
        lambda names: latent_map(Z20, torch.arange(20), names),
        lambda names: latent_map(Z20, np.array(names)),
        lambda names: latent_map_3d(
            torch.cat([Z20, Z20[:, :1]], 1), torch.arange(20), names
        ),
        lambda names: show_grid(torch.rand(20, 4, 4), titles=names),
        lambda names: show_grid(torch.rand(20, 4, 4), 1, row_labels=names),
        lambda names: strip(torch.rand(20, 1, 4, 4), names),
        lambda names: compare_rows({name: torch.rand(2, 4, 4) for name in names}),
        lambda names: labelled_bars(dict.fromkeys(names, 1.0), reference=(names[5], 1)),
        lambda names: count_matrix(torch.ones(20, 20, dtype=int), names, names),
        lambda names: loss_curves(
            {"epoch": [1, 2]} | {f"train_{name}": [2.0, 1.0] for name in names},
            tuple(names),
        ),
    ],
)
def test_nasty_names_are_drawn_as_they_are(draw, tmp_path):
    ax = draw(NASTY)
    for kind in ("png", "svg"):
        ax.figure.savefig(tmp_path / f"a.{kind}", format=kind, bbox_inches="tight")
    ElementTree.parse(tmp_path / "a.svg")
    shown = [text.get_text() for text in ax.figure.findobj(matplotlib.text.Text)]
    assert all(len(line) <= 110 for text in shown for line in text.split("\n")) and any(
        r"a\$^_\$b" in text for text in shown
    )
    plt.close("all")


def test_maths_that_can_be_set_stays_maths_in_titles_and_not_in_names_of_classes():
    assert (
        show_grid(torch.rand(1, 4, 4), titles=[r"$\sigma^2$"]).texts[0].get_text()
        == r"$\sigma^2$"
    )
    assert plain("US$ and CA$") == r"US\$ and CA\$" and plain("a\nb\x1b") == "a b\ufffd"


Z20 = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))


def test_curves_of_a_history():
    rows = [{"epoch": 1, "train_loss": 3.0}, {"epoch": 2, "train_loss": 2.0}]
    assert len(loss_curves(History(rows), ("loss",)).lines) == 1


def test_the_ticks_of_narrow_histograms_stand_where_they_say():
    ax = drawn(latent_histograms(np.random.randn(50, 3), limit=2.0))
    for at, tick in zip(ax.get_xticks(), ax.get_xticklabels()):
        said = float(tick.get_text().replace("−", "-"))
        assert at - 5 * round(at / 5) == pytest.approx(said)


def test_a_value_without_a_known_error_is_written():
    ax = drawn(labelled_bars({"a": 1.0, "b": 2.0}, {"a": np.nan, "b": 0.5}))
    assert texts(ax) == ["1.00", "2.00 ± 0.50"]
