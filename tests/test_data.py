"Data: where files are found, what happens when they are damaged, one's own pictures, and batches."

import ast
import errno
import gzip
import http.server
import multiprocessing
import os
import re
import resource
import subprocess
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vae_nb import data
from vae_nb.data import DatasetError, Images, load

REAL = os.environ.get("VAE_NB_DATA")
NEEDS_CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device on this machine"
)


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    "Every test has an empty cache folder, no $VAE_NB_DATA, no memory of earlier downloads, and mirrors that refuse the connection."
    import torchvision

    monkeypatch.setenv("VAE_NB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VAE_NB_DATA", raising=False)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(
        torchvision.datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"]
    )
    monkeypatch.setenv("no_proxy", "*")
    data.files.failed_download.cache_clear()
    data.files.say_once.cache_clear()


def numbered(n, shape=(1, 2, 2), **facts):
    "Images whose pixels all equal their index."
    pixels = (
        torch.arange(n, dtype=torch.uint8)
        .view(n, 1, 1, 1)
        .expand(n, *shape)
        .contiguous()
    )
    return Images(pixels, torch.arange(n), **facts)


# --- batches -------------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_an_epoch_has_every_image_once_in_an_order_that_the_generator_decides(
    n, batch_size, shuffle, seed
):
    images, epochs = numbered(n), []
    for _ in range(2):
        batches = list(
            images.batches(
                batch_size,
                shuffle=shuffle,
                generator=torch.Generator().manual_seed(seed),
            )
        )
        assert (
            all(len(b) == batch_size for b in batches[:-1])
            and 1 <= len(batches[-1]) <= batch_size
        )
        assert all(
            b.dtype == torch.float32 and b.shape[1:] == images.shape for b in batches
        )
        epochs.append((torch.cat(batches)[:, 0, 0, 0] * 255).round().long())
    assert torch.equal(*epochs)
    assert torch.equal(epochs[0].sort().values, torch.arange(n))
    assert shuffle or torch.equal(epochs[0], torch.arange(n))


def test_shuffling_shuffles_and_moves_on():
    images, g = numbered(100), torch.Generator().manual_seed(0)
    first, second = (
        torch.cat(list(images.batches(9, shuffle=True, generator=g))) for _ in range(2)
    )
    assert not torch.equal(first, second) and not torch.equal(first, images.floats())


def test_the_global_seed_decides_where_no_generator_is_given():
    images, epochs = numbered(50).binarised(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        epochs.append(torch.cat(list(images.batches(8, shuffle=True))))
    assert torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[0], epochs[2])


def test_order_is_drawn_when_batches_are_asked_for_not_when_they_are_read():
    g = torch.Generator().manual_seed(0)
    batches = numbered(50).batches(8, shuffle=True, generator=g)
    torch.rand(10, generator=g)
    expected = numbered(50).batches(
        8, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(torch.cat(list(batches)), torch.cat(list(expected)))


def test_bytes_become_the_floats_that_division_by_255_gives():
    (x,) = numbered(256).batches(256)
    assert (
        torch.equal(x[:, 0, 0, 0], torch.arange(256) / 255)
        and x.min() == 0
        and x.max() == 1
    )


@pytest.mark.parametrize("size", [0, -3])
def test_batch_size_is_checked_before_the_first_batch(size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, not {size}"):
        numbered(3).batches(size)


def test_batches_do_not_alter_the_pixels():
    images = numbered(20)
    for x in images.batches(6):
        x.zero_()
    for x in images.binarised().batches(6):
        x.fill_(7)
    assert torch.equal(images.pixels, numbered(20).pixels)


def test_pixels_move_to_a_device_once_and_only_if_they_fit(monkeypatch):
    images, meta = numbered(4), torch.device("meta")
    place = lambda x, device: data.batches.on_device(x, x.pixels, device)
    assert place(images, torch.device("cpu")) is images.pixels
    moved = place(images, meta)
    assert moved.device == meta and place(images, meta) is moved
    assert place(images[:2], meta).shape[0] == 2, (
        "a subset must not inherit the pixels of the whole"
    )
    monkeypatch.setattr(data.batches, "room_on", lambda device: images.pixels.nbytes)
    assert place(numbered(4), meta).device.type == "cpu"


@NEEDS_CUDA
def test_batches_on_cuda_equal_those_on_the_cpu():
    images, g = numbered(100, (1, 8, 8)), lambda: torch.Generator().manual_seed(0)
    there = list(images.batches(32, shuffle=True, generator=g(), device="cuda"))
    assert all(x.is_cuda for x in there)
    assert torch.equal(
        torch.cat(there).cpu(),
        torch.cat(list(images.batches(32, shuffle=True, generator=g()))),
    )
    a, b = (
        torch.cat(list(images.binarised().batches(32, generator=g(), device="cuda")))
        for _ in range(2)
    )
    assert torch.equal(a, b) and set(a.unique().tolist()) == {0, 1}
    assert (
        (a.cpu().mean((1, 2, 3)) - torch.arange(100) / 255).abs() < 5 * 0.5 / 8
    ).all()


# --- binarisation --------------------------------------------------------------------------------------------------------------


def test_every_grey_has_its_probability_for_every_random_word():
    words = torch.arange(
        -(2**15), 2**15
    ).short()  # all there are, each once: this is the exact probability
    for p in range(256):
        heads = (
            data.images.binarise(
                torch.full((2**16,), p, dtype=torch.uint8), lambda n: words.clone()
            )
            .double()
            .mean()
            .item()
        )
        assert abs(heads - p / 255) <= 2**-16, p
        assert p not in (0, 255) or heads == p / 255


@pytest.mark.parametrize("seed", [0, 1])
def test_tosses_have_the_right_mean_and_are_independent(seed):
    n, ramp = 20_000, torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    images = Images(ramp.expand(n, -1, -1, -1).contiguous()).binarised()
    x = images.floats(torch.Generator().manual_seed(seed)).flatten(1)
    p = ramp.flatten().double() / 255
    assert set(x.unique().tolist()) == {0, 1}
    assert torch.equal(x[:, 0], torch.zeros(n)) and torch.equal(
        x[:, 255], torch.ones(n)
    )
    error = (p * (1 - p) / n).sqrt()
    assert ((x.double().mean(0) - p).abs() <= 5 * error).all()
    z = ((x.double() - p) / (p * (1 - p)).sqrt())[:, 1:255]
    for lag in (1, 2, 3, 4):  # four tosses come from one word
        assert ((z[:, lag:] * z[:, :-lag]).mean(0).abs() <= 6 / n**0.5).all()


def test_dynamic_differs_between_epochs_and_is_reproducible():
    images, g = load("digits", n=64).binarised(), torch.Generator().manual_seed(5)
    first, second = images.floats(g), images.floats(g)
    assert not torch.equal(first, second)
    assert torch.equal(first, images.floats(torch.Generator().manual_seed(5)))


def test_fixed_is_one_draw_that_the_seed_decides():
    digits = load("digits", n=50)
    a, b, c = (digits.binarised("fixed", seed=s) for s in (0, 0, 1))
    assert a.pixels.dtype == torch.uint8 and set(a.pixels.unique().tolist()) == {0, 255}
    assert torch.equal(a.pixels, b.pixels) and not torch.equal(a.pixels, c.pixels)
    assert torch.equal(a.floats(), a.floats()) and torch.equal(
        a.floats() * 255, a.pixels.float()
    )
    with pytest.raises(ValueError, match="resize first, then binarise"):
        a.resized(32)


def test_mean_is_exact_and_dynamic_binarisation_keeps_it():
    pixels = torch.randint(
        0,
        256,
        (9000, 3, 2, 2),
        generator=torch.Generator().manual_seed(0),
        dtype=torch.uint8,
    )
    images = Images(pixels)
    expected = (pixels.double().mean(0) / 255).float()
    assert torch.equal(images.mean(), expected) and torch.equal(
        images.binarised().mean(), expected
    )


def test_unknown_binarisation_is_named():
    with pytest.raises(ValueError, match="'dynamc'.*Did you mean 'dynamic'"):
        numbered(2).binarised("dynamc")


# --- Images --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "which, expected",
    [
        (2, [2]),
        (-1, [5]),
        (slice(1, 4), [1, 2, 3]),
        ([5, 0], [5, 0]),
        ([], []),
        (np.array([1, 1]), [1, 1]),
        (torch.tensor([3]), [3]),
        (torch.arange(6) > 3, [4, 5]),
        (np.int64(4), [4]),
        ([True, False, False, False, False, True], [0, 5]),
    ],
)
def test_indexing_keeps_everything_together(which, expected):
    part = numbered(
        6,
        attributes=torch.arange(12).view(6, 2),
        attribute_names=("a", "b"),
        name="six",
        note="why",
    )[which]
    assert (
        part.labels.tolist() == expected
        and part.pixels[:, 0, 0, 0].tolist() == expected
    )
    assert part.attributes.tolist() == [[2 * i, 2 * i + 1] for i in expected]
    assert (part.name, part.note, part.shape, len(part)) == (
        "six",
        "why",
        (1, 2, 2),
        len(expected),
    )


def test_iteration_ends_and_out_of_range_is_an_index_error():
    assert [int(x.labels) for x in numbered(3)] == [0, 1, 2]
    with pytest.raises(IndexError):
        numbered(3)[3]


def test_an_empty_subset_has_no_batches_and_no_mean():
    none = numbered(3)[torch.zeros(3, dtype=torch.bool)]
    assert list(none.batches(2, shuffle=True)) == [] and none.floats().shape == (
        0,
        1,
        2,
        2,
    )
    with pytest.raises(ValueError, match="no images"):
        none.mean()


def test_plain_text():
    images = Images(
        torch.zeros(50_000, 1, 2, 3, dtype=torch.uint8),
        torch.zeros(50_000).long(),
        tuple("0123456789"),
        name="mnist",
    )
    assert repr(images) == "Images('mnist', split='train', 50,000 × 1×2×3, 10 classes)"
    assert "dynamic binarisation" in repr(images.binarised())


def test_images_are_frozen_and_checked():
    with pytest.raises(AttributeError):
        numbered(2).name = "other"
    with pytest.raises(ValueError, match="uint8.*float32.*round"):
        Images(torch.rand(2, 1, 4, 4))
    with pytest.raises(ValueError, match="torch.uint8 of shape"):
        Images(torch.zeros(2, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="2 images, but 3 labels"):
        Images(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3))


def test_by_label_takes_numbers_and_names():
    images = Images(
        torch.zeros(4, 1, 2, 2, dtype=torch.uint8),
        torch.tensor([0, 1, 1, 0]),
        ("cat", "dog"),
        name="pets",
    )
    assert (
        len(images.by_label("dog"))
        == len(images.by_label(1))
        == len(images.by_label(images.labels[1].item()))
        == 2
    )
    with pytest.raises(
        ValueError, match="no class 'dgo', only 'cat', 'dog'. Did you mean 'dog'"
    ):
        images.by_label("dgo")
    with pytest.raises(ValueError, match="no class 2"):
        images.by_label(2)
    with pytest.raises(ValueError, match="'images' has no labels"):
        Images(images.pixels).by_label(0)
    assert len(numbered(5).by_label(3)) == 1  # numbers do where classes have no names


def test_resizing_keeps_the_aspect_and_averages():
    wide = torch.zeros(1, 1, 20, 60, dtype=torch.uint8)
    wide[..., 20:40] = 100  # the centre square
    assert Images(wide).resized(10).pixels.unique().tolist() == [100]
    checks = (torch.arange(64).view(-1, 1) + torch.arange(64)) % 2 * 200
    grey = Images(checks.byte()[None, None]).resized(16).pixels[..., 2:-2, 2:-2].float()
    assert (grey - 100).abs().max() <= 2, "no antialiasing"
    images = load("digits", n=3)
    assert images.resized(28) is images and images.resized((16, 24)).shape == (
        1,
        16,
        24,
    )


@pytest.mark.parametrize(
    "size", [7, 0, -1, (28, 4), (28,), (28, 28, 3), 28.0, "28", [28, None]]
)
def test_a_bad_size_is_named(size):
    with pytest.raises(ValueError, match="size must be an integer or .*at least 8"):
        load("digits", size=size)


# --- arguments -----------------------------------------------------------------------------------------------------------------


def test_digits_are_split_once_and_for_all():
    parts = [load("digits", s) for s in data.images.SPLITS]
    assert [len(p) for p in parts] == [1197, 300, 300] and all(
        p.shape == (1, 28, 28) for p in parts
    )
    assert torch.cat([p.labels for p in parts]).bincount().tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]
    seen = Counter(p.numpy().tobytes() for part in parts for p in part.pixels)
    from sklearn.datasets import load_digits

    assert sum(seen.values()) == 1797 and len(seen) == len(
        {s.tobytes() for s in load_digits().images}
    ), "every scan is in exactly one split"
    assert torch.equal(load("digits", n=7).pixels, parts[0].pixels[:7])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            dict(name="mnits"),
            "no data set 'mnits', only digits, faces, mnist, fashion_mnist, cifar10, celeba, caltech101. Did you mean 'mnist'.*'./mnits'",
        ),
        (dict(name="MNIST"), "Did you mean 'mnist'"),
        (
            dict(name="xyzzy"),
            r"only digits, faces, mnist, fashion_mnist, cifar10, celeba, caltech101\. A folder",
        ),
        (
            dict(split="val"),
            "no split 'val', only train, valid, test. Did you mean 'valid'",
        ),
        (dict(n=0), "n must be at least 1.*not 0"),
        (dict(n=-5), "n must be at least 1.*not -5"),
        (dict(n=1.5), "n must be at least 1.*not 1.5"),
        (
            dict(n=1198),
            "n=1198, but split 'train' of 'digits' holds 1,197 images: pass a whole number from 1 to 1,197",
        ),
        (
            dict(fallback="mnist"),
            r"fallback must be an embedded set \(digits, faces\), not 'mnist'",
        ),
    ],
)
def test_wrong_arguments_are_named_even_if_a_fallback_is_there(
    arguments, message, capsys
):
    with pytest.raises(ValueError, match=message):
        load(**{"name": "digits", "fallback": "digits", **arguments})
    assert capsys.readouterr().out == ""


def test_a_path_that_is_not_a_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        load("./nowhere")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="a.zip is a file, not a folder"):
        load(str(tmp_path / "a.zip"))


def test_the_module_imports_nothing_slow_at_the_top():
    files = Path(data.__file__).parent.glob("*.py")
    body = [node for file in files for node in ast.parse(file.read_text()).body]
    names = {
        a.name.split(".")[0]
        for node in body
        if isinstance(node, ast.Import)
        for a in node.names
    }
    names |= {
        node.module.split(".")[0] for node in body if isinstance(node, ast.ImportFrom)
    }
    assert "torch" in names and not names & {
        "torchvision",
        "sklearn",
        "pandas",
        "seaborn",
        "matplotlib",
        "PIL",
    }


# --- MNIST: found, damaged, downloaded -----------------------------------------------------------------------------------------


def idx(shape, content=b""):
    "The bytes of an IDX file; content is padded with zeros."
    return (
        bytes([0, 0, 8, len(shape)])
        + b"".join(d.to_bytes(4, "big") for d in shape)
        + content.ljust(int(np.prod(shape)), b"\0")
    )


def fake_mnist(root, split="train", kind="MNIST", label=0, packed=False):
    "Files that have MNIST's form: black images, all of one label (the last one has label 9)."
    raw = Path(root, kind, "raw")
    raw.mkdir(parents=True, exist_ok=True)
    n, names = 10_000 if split == "test" else 60_000, data.sets.idx_names(split)
    for name, content in zip(
        names, (idx((n, 28, 28)), idx((n,), bytes([label]) * (n - 1) + b"\x09"))
    ):
        if packed:
            Path(raw, name + ".gz").write_bytes(gzip.compress(content, 1))
        else:
            Path(raw, name).write_bytes(content)
    return raw


def test_places_are_searched_in_order(tmp_path, monkeypatch):
    root, env, cache = tmp_path / "root", tmp_path / "env", data.cache_dir()
    for place, label in ((cache, 3), (env, 2), (root, 1)):
        fake_mnist(place, "test", label=label)
    assert load("mnist", "test").labels[0] == 3
    monkeypatch.setenv("VAE_NB_DATA", str(env))
    assert load("mnist", "test").labels[0] == 2
    assert load("mnist", "test", root=root).labels[0] == 1
    assert load("mnist", "test", root=tmp_path / "elsewhere").labels[0] == 2, (
        "a root without the files is passed over"
    )


def test_splits_of_the_training_file():
    raw = fake_mnist(data.cache_dir(), packed=True)
    train, valid = load("mnist"), load("mnist", "valid")
    assert (len(train), len(valid)) == (50_000, 10_000)
    assert train.labels.unique().tolist() == [0] and valid.labels[-1] == 9
    assert (
        train.shape == (1, 28, 28)
        and train.name == "mnist"
        and train.classes == tuple("0123456789")
    )
    for f in raw.iterdir():
        f.unlink()
    with pytest.raises(DatasetError):
        load("mnist")


def test_fashion_has_its_own_folder_and_names(monkeypatch, tmp_path):
    fake_mnist(tmp_path, "test", kind="FashionMNIST")
    monkeypatch.setenv("VAE_NB_DATA", str(tmp_path))
    images = load("fashion_mnist", "test", n=5, size=32)
    assert (
        images.classes[-1] == "Ankle boot"
        and len(images) == 5
        and images.shape == (1, 32, 32)
    )
    with pytest.raises(DatasetError):
        load("mnist", "test")


def shorten(f):
    f.write_bytes(f.read_bytes()[:-1])


def empty(f):
    f.write_bytes(b"")


def wrong_magic(f):
    f.write_bytes(b"\0\0\x0d" + f.read_bytes()[3:])


def html(f):
    f.write_bytes(b"<html>404 not found</html>")


def only_a_header(f):
    f.write_bytes(f.read_bytes()[:8])


def too_long(f):
    f.write_bytes(f.read_bytes() + b"\0")


def lying_header(f):
    f.write_bytes(f.read_bytes()[:4] + b"\xff" * 12 + f.read_bytes()[16:])


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "damage", [shorten, empty, wrong_magic, html, only_a_header, too_long, lying_header]
)
def test_a_damaged_file_is_named_and_never_used(damage, which, tmp_path):
    file = fake_mnist(tmp_path, "test") / data.sets.idx_names("test")[which]
    damage(file)
    with pytest.raises(DatasetError, match="Ways on") as e:
        load("mnist", "test", root=tmp_path)
    assert (
        str(file) in e.value.why
        and 'fallback="digits"' in str(e.value)
        and str(data.cache_dir()) in str(e.value)
    )


def flip(f):
    content = bytearray(f.read_bytes())
    content[len(content) // 2] ^= 0xFF
    f.write_bytes(content)


@pytest.mark.parametrize("damage", [shorten, empty, html, flip])
def test_a_damaged_gz_is_named(damage, tmp_path):
    file = fake_mnist(tmp_path, "test", packed=True) / (
        data.sets.idx_names("test")[1] + ".gz"
    )
    damage(file)
    with pytest.raises(DatasetError) as e:
        load("mnist", "test", root=tmp_path)
    assert str(file) in e.value.why


@pytest.mark.parametrize(
    "shape, content", [((9_999,), b""), ((10_000,), b"\x0a"), ((10_000, 1), b"")]
)
def test_whole_files_that_are_not_mnist_are_refused(shape, content, tmp_path):
    (fake_mnist(tmp_path, "test") / data.sets.idx_names("test")[1]).write_bytes(
        idx(shape, content)
    )
    with pytest.raises(DatasetError, match="is not the real MNIST.*10,000 of 28×28"):
        load("mnist", "test", root=tmp_path)


def test_the_error_says_what_was_tried_and_the_ways_on(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_NB_DATA", str(tmp_path / "env"))
    raw = fake_mnist(tmp_path / "root")
    (raw / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DatasetError) as e:
        load("mnist", root=tmp_path / "root")
    text = str(e.value)
    assert f"{raw}: no train-labels-idx1-ubyte" in text
    assert f"{tmp_path / 'env' / 'MNIST' / 'raw'}: no such folder" in text
    assert "127.0.0.1:9" in text and "refused" in text
    assert (
        "1. put" in text
        and "2. set VAE_NB_DATA" in text
        and "3. use the embedded set" in text
    )
    assert (
        text.index(str(raw))
        < text.index(str(tmp_path / "env"))
        < text.index(str(data.cache_dir()))
    )


class Mirror(http.server.BaseHTTPRequestHandler):
    "A mirror on this machine, which serves `files`, or stays silent."

    files, silent = {}, False

    def do_GET(self):
        if self.silent:
            time.sleep(3)
        body = self.files.get(self.path.strip("/"))
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(monkeypatch):
    "torchvision's own code against a server of ours, whose files have the checksums that it expects."
    import torchvision

    folder, handler = (
        Path(os.environ["VAE_NB_CACHE"]).parent / "served",
        type("Handler", (Mirror,), {}),
    )
    for split in ("train", "test"):
        raw = fake_mnist(folder, split, label=4, packed=True)
    handler.files = {f.name: f.read_bytes() for f in raw.iterdir()}
    from hashlib import md5

    resources = [
        (name, md5(handler.files[name]).hexdigest())
        for name, _ in torchvision.datasets.MNIST.resources
    ]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(
        torchvision.datasets.MNIST,
        "mirrors",
        [f"http://127.0.0.1:{server.server_port}/"],
    )
    yield handler
    server.shutdown()
    server.server_close()


def left():
    "What is in the cache folder."
    cache = data.cache_dir()
    return sorted(
        f.relative_to(cache).as_posix() for f in cache.rglob("*") if f.is_file()
    )


def test_a_download_lands_in_the_cache_whole(mirror, capfd):
    assert load("mnist").labels[0] == 4
    assert left() == sorted(
        f"MNIST/raw/{n}" for s in ("train", "test") for n in data.sets.idx_names(s)
    )
    assert [f.name for f in data.cache_dir().iterdir()] == ["MNIST"], (
        "no temporary folder stays"
    )
    mirror.files = {}
    assert len(load("mnist", "test")) == 10_000  # now from the cache


def test_a_truncated_download_fails_its_checksum_and_leaves_nothing(mirror, capfd):
    name = "train-labels-idx1-ubyte.gz"
    whole, mirror.files[name] = mirror.files[name], mirror.files[name][:-100]
    with pytest.raises(DatasetError, match="corrupted"):
        load("mnist")
    assert left() == []
    mirror.files[name] = whole
    data.files.failed_download.cache_clear()  # a minute later
    assert len(load("mnist")) == 50_000


def test_a_silent_mirror_costs_seconds(mirror, monkeypatch):
    mirror.silent, real = True, data.files.socket_timeout
    seconds = []
    monkeypatch.setattr(
        data.files, "socket_timeout", lambda s: [seconds.append(s), real(0.3)][1]
    )
    start = time.monotonic()
    with pytest.raises(DatasetError, match="timed out"):
        load("mnist")
    assert time.monotonic() - start < 2.5 and max(seconds) <= 10
    import socket

    assert socket.getdefaulttimeout() is None, "the timeout is taken back"


@pytest.mark.parametrize(
    "interruption",
    [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")],
)
def test_an_interrupted_download_leaves_nothing_that_is_trusted(
    interruption, monkeypatch
):
    import torchvision

    def half(root, download):
        fake_mnist(root)  # all files there, the last not whole
        shorten(Path(root, "MNIST", "raw", "train-labels-idx1-ubyte"))
        raise interruption

    monkeypatch.setattr(torchvision.datasets, "MNIST", half)
    with pytest.raises(
        KeyboardInterrupt if interruption is KeyboardInterrupt else DatasetError
    ):
        load("mnist")
    assert left() == []


def test_what_a_killed_download_leaves_is_not_looked_at():
    fake_mnist(data.cache_dir() / ".MNIST-abc123")
    with pytest.raises(DatasetError, match="was not found"):
        load("mnist")


def test_a_failed_download_is_not_repeated_within_a_minute(monkeypatch, tmp_path):
    tries = []

    def fail(kind, folder):
        tries.append(kind)
        raise OSError("unreachable")

    monkeypatch.setattr(data.files, "download", fail)
    answers = [
        data.files.failed_download("MNIST", str(tmp_path), minute)
        for minute in (0, 0, 1)
    ]
    assert len(tries) == 2 and all("unreachable" in a for a in answers)


def test_a_cache_folder_that_cannot_be_made_is_part_of_the_answer(
    tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAE_NB_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        DatasetError, match=f"download by torchvision: .*{tmp_path / 'file'}"
    ):
        load("mnist")


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    "An unknown user in a container: no $HOME, and no entry among the users."
    import pwd

    for name in ("HOME", "XDG_CACHE_HOME", "VAE_NB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}["nobody"])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data.files._temporary_cache.cache_clear()
    yield
    data.files._temporary_cache.cache_clear()


@pytest.mark.skipif(os.name != "posix", reason="users have numbers elsewhere")
def test_without_a_home_folder_a_temporary_one_is_used_and_said_once(
    homeless, pets, tmp_path
):
    with pytest.warns(
        UserWarning, match="no home folder: .* kept in .*vae_nb-.*VAE_NB_CACHE"
    ) as caught:
        images = [load(pets) for _ in range(2)]
    folder = tmp_path / f"vae_nb-{os.getuid()}"
    assert len(caught) == 1 and torch.equal(images[0].pixels, images[1].pixels)
    assert (
        data.cache_dir() == folder
        and len(left()) == 1
        and folder.stat().st_mode & 0o777 == 0o700
    )
    with pytest.raises(DatasetError, match=f"(?s)was not found.*{folder}"):
        load("mnist")


@pytest.mark.skipif(os.name != "posix", reason="users have numbers elsewhere")
def test_a_temporary_folder_of_someone_else_is_not_used(
    homeless, tmp_path, monkeypatch
):
    theirs = tmp_path / f"vae_nb-{os.getuid()}"
    theirs.mkdir()
    real = Path.lstat
    monkeypatch.setattr(
        Path,
        "lstat",
        lambda p: (
            type("S", (), {"st_uid": os.getuid() + 1}) if p == theirs else real(p)
        ),
    )
    with pytest.warns(UserWarning, match="no home folder"):
        folder = data.cache_dir()
    assert folder != theirs and folder.parent == tmp_path and folder.is_dir()


@pytest.mark.skipif(os.name != "posix", reason="users have numbers elsewhere")
def test_without_a_home_and_any_folder_that_can_be_written_pictures_are_decoded_into_memory(
    homeless, pets, monkeypatch
):
    (pets.parent / "file").write_text("in the way")
    monkeypatch.setenv("TMPDIR", str(pets.parent / "file"))
    with pytest.warns(UserWarning) as caught:
        images = load(pets)
    assert [
        word in str(w.message)
        for w, word in zip(caught, ("no home folder", "into memory"))
    ] == [True, True] and len(images) > 20


@pytest.mark.parametrize("where", ["name", "root", "VAE_NB_DATA", "VAE_NB_CACHE"])
def test_a_home_folder_that_does_not_exist_is_named(where, monkeypatch):
    path = "~nobody_has_this_name/pictures"
    if where.isupper():
        monkeypatch.setenv(where, path)
    with pytest.raises(
        DatasetError,
        match="~nobody_has_this_name/pictures.* begins with a home folder, and there is none",
    ):
        load(
            path if where == "name" else "mnist", root=path if where == "root" else None
        )


# --- the fallback --------------------------------------------------------------------------------------------------------------


def test_a_fallback_says_so_once_and_keeps_saying_it(capsys):
    images = [load("mnist", s, fallback="digits") for s in data.images.SPLITS]
    assert [x.name for x in images] == ["digits"] * 3 and [len(x) for x in images] == [
        1197,
        300,
        300,
    ]
    sentence = "The real MNIST was not found, so the fallback is used: scikit-learn's 1,797 digits, enlarged to 28×28.\n"
    assert capsys.readouterr().out == sentence
    assert all(x.note == sentence.strip() and "fallback" in repr(x) for x in images)
    assert images[0][:3].resized(32).binarised().note == sentence.strip(), (
        "the note stays with every view"
    )


def test_a_fallback_gives_what_it_has(capsys):
    assert len(load("mnist", n=50_000, fallback="digits")) == 1197
    assert len(load("mnist", n=20, fallback="digits")) == 20
    assert load("mnist", n=20, size=32, fallback="digits").shape == (1, 32, 32)


def test_a_fallback_for_a_damaged_file_names_it(tmp_path, capsys):
    file = fake_mnist(tmp_path, "test") / "t10k-labels-idx1-ubyte"
    shorten(file)
    assert load("mnist", "test", root=tmp_path, fallback="digits").name == "digits"
    assert str(file) in capsys.readouterr().out


def test_no_fallback_where_the_real_set_is_there(tmp_path, capsys):
    fake_mnist(tmp_path, "test")
    images = load("mnist", "test", root=tmp_path, fallback="digits")
    assert (images.name, images.note, len(images)) == (
        "mnist",
        "",
        10_000,
    ) and capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="holds 10,000 images"):
        load("mnist", "test", n=10_001, root=tmp_path, fallback="digits")


# --- one's own pictures --------------------------------------------------------------------------------------------------------


def picture(path, value=100, size=(20, 20), mode="RGB"):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 50, 200)).save(path)
    return path


@pytest.fixture
def pets(tmp_path):
    "Forty pictures in two classes, each with its own value of red."
    for i in range(40):
        picture(tmp_path / "pets" / ("cat" if i < 20 else "dog") / f"{i}.png", 5 * i)
    return tmp_path / "pets"


def test_a_folder_with_classes(pets):
    parts = [load(pets, s) for s in data.images.SPLITS]
    assert sum(map(len, parts)) == 40 and all(
        p.classes == ("cat", "dog") and p.shape == (3, 20, 20) for p in parts
    )
    red = torch.cat([p.pixels[:, 0, 0, 0] for p in parts])
    assert red.sort().values.tolist() == [5 * i for i in range(40)], (
        "every picture in exactly one split"
    )
    assert torch.equal(torch.cat([p.labels for p in parts]), (red >= 100).long()), (
        "labels go with their pictures"
    )
    assert set(load(pets, n=12).labels.tolist()) == {0, 1}, (
        "the first n are not all of one class"
    )
    with pytest.raises(ValueError, match="split 'train' of 'pets' holds"):
        load(pets, n=41)


def test_paths_may_be_relative_or_below_root(pets, monkeypatch):
    monkeypatch.chdir(pets.parent)
    for name in ("pets", "./pets", str(pets), Path("pets")):
        assert load(name).name == "pets"
    monkeypatch.chdir("/")
    assert load("pets", root=pets.parent).name == "pets"


def test_a_known_name_means_the_set_even_if_a_folder_has_it(tmp_path, monkeypatch):
    picture(tmp_path / "digits" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert load("digits").shape == (1, 28, 28)


@given(
    st.lists(st.text("abcdef/", min_size=1, max_size=12), unique=True, max_size=30),
    st.text("xyz", min_size=1),
)
def test_adding_a_picture_moves_no_other(paths, new):
    before, after = (
        data.folders.by_split(paths),
        data.folders.by_split([*paths, f"{new}.png"]),
    )
    assert all(before[s].items() <= after[s].items() for s in data.images.SPLITS)
    assert sum(map(len, before.values())) == len(paths)


def test_the_hash_is_the_same_everywhere_and_fair():
    assert data.folders.name_hash("cat/1.png") == pytest.approx(
        0.10495169336, abs=1e-9
    )  # changing this moves everyone's pictures
    counts = [
        len(v)
        for v in data.folders.by_split([f"{i}.jpg" for i in range(10_000)]).values()
    ]
    assert all(
        abs(c - 10_000 * p) < 5 * (10_000 * p * (1 - p)) ** 0.5
        for c, p in zip(counts, (0.8, 0.1, 0.1))
    )


def test_split_folders_win_and_class_numbers_agree(tmp_path):
    picture(tmp_path / "train" / "b" / "1.png", 1)
    picture(tmp_path / "val" / "a" / "2.png", 2)
    picture(tmp_path / "test" / "c" / "3.png", 3)
    picture(tmp_path / "notes.png", 4)
    for split, red, label in (("train", 1, 1), ("valid", 2, 0), ("test", 3, 2)):
        x = load(tmp_path, split)
        assert (
            x.classes == ("a", "b", "c")
            and x.labels.tolist() == [label]
            and x.pixels[0, 0, 0, 0] == red
        )


def test_missing_valid_is_set_aside_from_train_and_never_from_test(tmp_path):
    for i in range(100):
        picture(tmp_path / ("train" if i < 80 else "test") / f"{i}.png", i)
    parts = {
        s: set(load(tmp_path, s).pixels[:, 0, 0, 0].tolist())
        for s in data.images.SPLITS
    }
    assert parts["test"] == set(range(80, 100)) and parts["train"] | parts[
        "valid"
    ] == set(range(80))
    assert not parts["train"] & parts["valid"] and 1 <= len(parts["valid"]) <= 20
    assert load(tmp_path).labels is None


def test_a_split_without_pictures_is_named(tmp_path):
    picture(tmp_path / "train" / "1.png")
    with pytest.raises(
        DatasetError, match=r"no pictures for split 'test' \(1 train, 0 valid, 0 test\)"
    ):
        load(tmp_path, "test")


def test_loose_pictures_beside_classes_cost_the_labels_and_a_warning(pets):
    picture(pets / "loose.png")
    with pytest.warns(UserWarning, match="1 of 41 pictures, such as loose.png"):
        images = load(pets)
    assert images.labels is None and images.classes is None


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing to see")
    (tmp_path / "empty" / ".hidden.png").write_text("")
    with pytest.raises(DatasetError, match="empty holds no image.*\n.*\\.png"):
        load(tmp_path / "empty")


def test_links_that_loop_end(pets):
    (pets / "cat" / "again").symlink_to(pets, target_is_directory=True)
    assert len(
        data.folders.image_paths(pets)
    ) == 40 and "(1, such as cat/again/)" in message(pets)


# --- nothing is left out without a word ---


def message(folder, *arguments, **options):
    "What `load` warns of, in one warning at the line of its caller; and that `strict` refuses with the same words."
    with pytest.warns(UserWarning) as caught:
        message.images = load(folder, *arguments, **options)
    assert len(caught) == 1 and caught[0].filename == __file__, [
        str(w.message) for w in caught
    ]
    text = str(caught[0].message)
    with pytest.raises(DatasetError) as refused:
        load(folder, *arguments, strict=True, **options)
    assert text.split("They are")[0].strip(". ") in str(refused.value)
    return text


@pytest.fixture
def split_pets(tmp_path):
    "Forty pictures in train/ and twenty in test/, two wrappings deep."
    for i in range(60):
        picture(
            tmp_path
            / "given"
            / "data"
            / "v2"
            / ("train" if i < 40 else "test")
            / ("cat" if i % 2 else "dog")
            / f"{i}.png",
            4 * i,
        )
    return tmp_path / "given"


def test_wrappings_are_taken_off(split_pets):
    (split_pets / "__MACOSX").mkdir()
    for split in data.images.SPLITS:
        wrapped, bare = load(split_pets, split), load(split_pets / "data" / "v2", split)
        assert (
            torch.equal(wrapped.pixels, bare.pixels)
            and torch.equal(wrapped.labels, bare.labels)
            and wrapped.name == "given"
        )
        assert (
            wrapped.classes == ("cat", "dog")
            and ((wrapped.pixels[:, 0, 0, 0] >= 160) == (split == "test")).all()
        )


def test_one_class_stays_a_class_and_a_split_folder_a_split(tmp_path):
    for i in range(20):
        picture(tmp_path / "pets" / "cat" / f"{i}.png", i)
    for i in range(20):
        picture(
            tmp_path / "half" / "train" / ("cat" if i % 2 else "dog") / f"{i}.png", i
        )
    assert load(tmp_path / "pets").classes == ("cat",) and load(
        tmp_path / "half"
    ).classes == ("cat", "dog")
    with pytest.raises(DatasetError, match="no pictures for split 'test'"):
        load(tmp_path / "half", "test")


@pytest.mark.parametrize(
    "names", [("scans/train", "scans/test", "photos"), ("test", "val")]
)
def test_names_like_splits_that_are_none_are_said(names, tmp_path):
    for name in names:
        for i in range(20):
            picture(tmp_path / name / f"{i}.png", i)
    assert re.search(
        r"40 pictures lie in folders named like splits, such as .*/\d+.png, but are split by a hash",
        message(tmp_path),
    )


def test_a_run_inside_the_data_is_no_data(pets):
    before = load(pets)
    for i in range(20):
        picture(pets / "out" / "pictures" / f"{i}.png", i)
    (pets / "out" / "run.json").write_text("{}")
    assert "run.json, what a training run has written (1, such as out/)" in message(
        pets
    )
    assert torch.equal(
        message.images.pixels, before.pixels
    ) and message.images.classes == ("cat", "dog")


def test_pictures_of_other_kinds_are_counted_and_other_files_are_not(pets):
    for name in ("cat/a.heic", "cat/b.svg"):
        (pets / name).write_bytes(b"?")
    picture(pets / "dog" / "1.png").rename(pets / "dog" / "no_suffix")
    picture(pets / "dog" / "2.png").rename(pets / "dog" / "2.jpg_large")
    for name in ("labels.csv", "README", "Makefile", "cat/Thumbs.db", ".hidden"):
        (pets / name).write_text("text")
    os.mkfifo(pets / "pipe")
    assert re.search(
        r"^Left out of .*pets: pictures that do not end in one of \.png .* \(4, such as cat/a.heic\)\.$",
        message(pets),
    )


@pytest.mark.parametrize(
    "suffix, kind",
    [("jfif", "JPEG"), ("jpe", "JPEG"), ("jp2", "JPEG2000"), ("avif", "AVIF")],
)
def test_pictures_by_other_names_are_read(suffix, kind, tmp_path):
    from PIL import features

    if not features.check({"JPEG2000": "jpg_2000", "AVIF": "avif"}.get(kind, "jpg")):
        pytest.skip(f"this Pillow cannot write {kind}")
    for i in range(4):
        Image.new("RGB", (20, 20), (200, 200, 200)).save(
            tmp_path / f"{i}.{suffix}", kind
        )
    assert load(tmp_path).pixels.float().mean() == pytest.approx(200, abs=2)


def test_what_lies_beside_the_split_folders_is_counted(split_pets):
    folder = split_pets / "data" / "v2"
    for i in range(9):
        picture(folder / "dev" / "cat" / f"{i}.png", 1)
    picture(folder / "sheet.png")
    assert re.search(
        r"pictures beside test, train, the split folders \(10, such as (dev/cat/\d|sheet).png\)",
        message(folder),
    )


def test_pages_that_are_not_taken_are_counted(tmp_path):
    one, two = (Image.new("L", (20, 20), v) for v in (10, 20))
    for i in range(20):
        one.save(tmp_path / f"{i}.tif")
    one.save(tmp_path / "pages.tif", save_all=True, append_images=[two])
    one.save(tmp_path / "frames.gif", save_all=True, append_images=[two])
    one.save(
        tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[two]
    )  # a preview, which nobody misses
    sentence = {split: load_quietly(tmp_path, split) for split in data.images.SPLITS}
    said = " ".join(sentence.values())
    assert (
        said.count("have more pages or frames than the first, which alone is taken")
        >= 1
        and "phone.jpg" not in said
    )
    assert (
        sum(int(n) for n in re.findall(r"(\d+) of \d+ pictures have more pages", said))
        == 2
    )
    split = next(s for s, words in sentence.items() if words)
    assert message(tmp_path, split) == sentence[split], (
        "told again when it comes from the cache"
    )


def load_quietly(*arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(*arguments)
    return " ".join(str(w.message) for w in caught)


def test_of_two_links_the_first_by_name_is_read_and_the_other_named(pets):
    for name in ("b_link", "a_link"):
        (pets / name).symlink_to(pets / "cat", target_is_directory=True)
    assert (
        "folders that were read before, as links can be (2, such as b_link/)"
        in message(pets)
    )
    assert message.images.classes == ("a_link", "dog")


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EIO, "Input/output error"),
    ],
)
def test_a_folder_that_cannot_be_read_is_named(error, pets, monkeypatch):
    real, closed = os.scandir, [str(pets / "cat")]

    def scandir(path="."):
        if str(path) in closed:
            raise type(error)(error.errno, error.strerror, str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert f"folders that cannot be read (1, such as cat: {error.strerror})" in message(
        pets
    )
    closed.append(str(pets))
    with pytest.raises(
        DatasetError, match=f"(?s)pets holds no image.*such as .: {error.strerror}"
    ):
        load(pets)


@pytest.mark.parametrize("size", [None, 16])
def test_no_free_file_is_no_fault_of_the_pictures(size, pets):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    expected, taken = load(pets, size=10), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(
            DatasetError, match="(?s)no file can be opened .*Too many.*ulimit"
        ):
            load(pets, size=size)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(load(pets, size=size)) == len(expected), "nothing of that is kept"


def test_numbers_sort_by_value(tmp_path):
    for i in range(24):
        picture(tmp_path / str(i % 12) / f"{i}.png", i)
    images = load(tmp_path)
    assert images.classes == tuple(map(str, range(12))) and torch.equal(
        images.labels, (images.pixels[:, 0, 0, 0] % 12).long()
    )
    assert data.folders.class_names(["b10/1", "b9/1", "B1/1", "01/1", "1/1"]) == (
        "01",
        "1",
        "B1",
        "b9",
        "b10",
    )


def test_a_picture_too_large_is_named_with_the_way_out(pets, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    good, names = (
        load(pets),
        list(data.folders.by_split(data.folders.image_paths(pets))["train"]),
    )
    picture(pets / names[0], size=(40, 40))  # above the limit, where Pillow only warns
    picture(pets / names[1], size=(50, 50))  # above twice the limit
    text = message(pets, size=20)
    assert (
        f"2 of {len(good)} pictures cannot be read" in text
        and "40×40, more pixels than PIL.Image.MAX_IMAGE_PIXELS allows" in text
    )
    assert text.count("raise that limit") == 2
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert len(load(pets, size=20)) == len(good), "the way out is one"


def test_a_large_jpeg_that_is_decoded_small_is_not_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    picture(tmp_path / "1.jpg", size=(200, 200))
    assert data.decoded.decode(tmp_path / "1.jpg", 3, (10, 10)).shape == (3, 10, 10)
    with pytest.raises(ValueError, match="200×200, more pixels"):
        data.decoded.decode(tmp_path / "1.jpg", 3, (200, 200))


@pytest.mark.parametrize("bits, factor", [(12, 16), (10, 64), (14, 4)])
def test_twelve_bits_in_sixteen_are_said(bits, factor, tmp_path):
    ramp = np.linspace(0, 2**bits - 1, 400).round().astype(np.uint16).reshape(20, 20)
    for i in range(10):
        Image.fromarray(ramp).save(tmp_path / f"{i}.png")
    text = message(tmp_path)
    assert (
        "pictures with 16 bits come out nearly black" in text
        and f"multiplied by {factor}" in text
    )
    for i in range(10):
        Image.fromarray(ramp * np.uint16(factor)).save(tmp_path / f"{i}.png")
    assert load_quietly(tmp_path) == "" and load(tmp_path).pixels.max() > 250
    for i in range(9):
        Image.new("L", (20, 20), 3).save(tmp_path / f"{i}.png")  # 8 bits may be dark
    assert load_quietly(tmp_path) == ""


def test_mixed_sizes_are_listed(pets):
    for i in range(20):
        picture(pets / "cat" / f"big{i}.png", size=(30, 24))
    with pytest.raises(
        ValueError,
        match=r"2 sizes \(height×width: \d+ of 20×20, \d+ of 24×30\): pass size=",
    ):
        load(pets)
    assert load(pets, size=16).shape == (3, 16, 16) and load(
        pets, size=(8, 12)
    ).shape == (3, 8, 12)


def test_centre_crop_and_antialiasing(tmp_path):
    x = np.zeros((40, 80), dtype=np.uint8)
    x[:, 20:60] = 120
    x[::2, 20:60] = 80
    Image.fromarray(x).save(tmp_path / "1.png")
    pixels = data.decoded.decode(tmp_path / "1.png", 1, (10, 10))[:, 1:-1, 1:-1].astype(
        int
    )
    assert abs(pixels - 100).max() <= 2


# --- pictures of every kind ----------------------------------------------------------------------------------------------------


def test_grey_stays_grey_and_a_mixture_becomes_rgb(tmp_path):
    for i in range(6):
        picture(tmp_path / f"{i}.png", 100, mode="L")
    assert load(tmp_path).shape == (1, 20, 20) and load(
        tmp_path
    ).pixels.unique().tolist() == [100]
    for i in range(6):
        picture(tmp_path / f"c{i}.png", 7)
    images = load(tmp_path)
    assert images.shape == (3, 20, 20)
    assert set(map(tuple, images.pixels[:, :, 0, 0].tolist())) == {
        (100, 100, 100),
        (7, 50, 200),
    }


def one(folder, image, name="1.png", channels=3, **options):
    image.save(folder / name, **options)
    return data.decoded.decode(folder / name, channels, image.size[::-1])


def test_transparent_means_white(tmp_path):
    x = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    x.paste((10, 20, 30, 255), (0, 0, 8, 4))
    pixels = one(tmp_path, x)
    assert (
        pixels[:, 0, 0].tolist() == [10, 20, 30]
        and pixels[:, 7, 7].tolist() == [255] * 3
    )
    assert one(tmp_path, Image.new("LA", (8, 8), (9, 0)), channels=1).max() == 255
    half = one(tmp_path, Image.new("RGBA", (8, 8), (0, 0, 0, 128)))
    assert abs(int(half[0, 0, 0]) - 127) <= 1
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 1, 2, 3])
    assert one(tmp_path, palette)[:, 0, 0].tolist() == [1, 2, 3]
    assert one(tmp_path, palette, transparency=1)[:, 0, 0].tolist() == [255] * 3


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    assert one(tmp_path, Image.fromarray(ramp), channels=1).ravel().tolist() == list(
        range(256)
    )


def test_one_bit_and_cmyk(tmp_path):
    assert one(tmp_path, Image.new("1", (8, 8), 1), channels=1).min() == 255
    red = one(
        tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "1.jpg", quality=95
    )[:, 4, 4]
    assert red[0] > 200 and red[1] < 60 and red[2] < 60


@pytest.mark.parametrize(
    "orientation, stored_as",
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_photographs_stand_upright(orientation, stored_as, tmp_path):
    upright = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if stored_as is None else upright.transpose(stored_as)
    stored.save(tmp_path / "1.png", exif=exif)
    assert data.pictures.read_header(tmp_path / "1.png") == (False, (8, 12), [])
    assert (
        data.decoded.decode(tmp_path / "1.png", 1, (8, 12))[0] == np.asarray(upright)
    ).all()


def test_large_photographs_are_decoded_small_but_right(tmp_path):
    y, x = np.mgrid[:1200, :1600]
    waves = np.stack(
        [x / 1600 * 255, y / 1200 * 255, 128 + 100 * np.sin(x / 6)], -1
    ).astype(np.uint8)
    Image.fromarray(waves).save(tmp_path / "1.jpg", quality=95)
    expected = (
        Image.fromarray(waves)
        .crop((200, 0, 1400, 1200))
        .resize((200, 200), Image.Resampling.BICUBIC)
    )
    got = data.decoded.decode(tmp_path / "1.jpg", 3, (200, 200)).transpose(1, 2, 0)
    assert np.abs(got.astype(int) - np.asarray(expected))[4:-4, 4:-4].max() <= 6


def test_unreadable_pictures_are_left_out_counted_and_named(pets):
    good = load(pets)
    names = list(data.folders.by_split(data.folders.image_paths(pets))["train"])[:3]
    whole = (pets / names[0]).read_bytes()
    (pets / names[0]).write_bytes(whole[:-30])  # header fine, pixels cut short
    (pets / names[1]).write_bytes(b"")
    Image.new("F", (20, 20)).save(pets / names[2], format="TIFF")
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(
            UserWarning, match=f"3 of {len(good)} pictures cannot be read"
        ) as caught:
            rest = load(pets)
        assert (
            len(caught) == 1
            and all(n in str(caught[0].message) for n in names)
            and caught[0].filename == __file__
        )
        assert torch.equal(rest.pixels, good.pixels[3:]) and torch.equal(
            rest.labels, good.labels[3:]
        )
    with pytest.raises(DatasetError, match=names[1]):
        load(pets, strict=True)


def test_a_pipe_in_a_folder_is_left_out_not_waited_for(pets):
    os.mkfifo(pets / "cat" / "pipe.png")  # its name sends it to the validation split
    for size in (None, 16):
        with pytest.warns(UserWarning, match="pipe.png .*is not a file"):
            load(pets, "valid", size=size)


def test_a_folder_of_rubbish_is_an_error_and_leaves_no_cache(tmp_path):
    for i in range(30):
        (tmp_path / f"{i}.jpg").write_bytes(b"no")
    with pytest.raises(
        DatasetError,
        match=r"pictures cannot be read: .*\(not an image\).* and \d+ more",
    ):
        load(tmp_path, size=16)
    assert left() == []


# --- the cache of decoded pictures ---------------------------------------------------------------------------------------------


def test_pictures_are_decoded_once(pets, monkeypatch):
    first = load(pets)
    monkeypatch.setattr(data.decoded, "decode", lambda *_: pytest.fail("decoded again"))
    second = load(pets)
    assert torch.equal(first.pixels, second.pixels) and len(left()) == 1
    array = np.load(data.cache_dir() / left()[0])  # an ordinary .npy file
    assert (array == first.pixels.numpy()).all()


def test_a_changed_picture_or_another_size_is_decoded_anew(pets):
    before = load(pets)
    path = next(iter(data.folders.by_split(data.folders.image_paths(pets))["train"]))
    picture(pets / path, 255)
    os.utime(pets / path, ns=(1, 1))
    after = load(pets)
    assert before.pixels[0, 0, 0, 0] != 255 and after.pixels[0, 0, 0, 0] == 255
    assert load(pets, size=10).shape == (3, 10, 10) and load(pets, n=3).shape == (
        3,
        20,
        20,
    )


def test_writing_to_the_pixels_never_reaches_the_file(pets):
    images = load(pets)
    expected = images.pixels.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images.pixels.zero_()
        again = load(pets)
    assert torch.equal(again.pixels, expected)


@pytest.mark.parametrize("keep", [0, 5, 60, 128, 5000, -1, -2])
def test_a_truncated_cache_is_rebuilt(keep, pets):
    expected = load(pets).pixels.clone()
    cache = data.cache_dir() / left()[0]
    content = cache.read_bytes()
    cache.write_bytes(content[:keep])
    assert data.decoded.read_decoded(cache) is None
    assert torch.equal(load(pets).pixels, expected)
    assert cache.read_bytes() == content


def test_a_cache_whose_note_is_nested_too_deep_is_rebuilt(pets):
    expected = load(pets).pixels.clone()
    cache = data.cache_dir() / left()[0]
    content = cache.read_bytes()
    cache.write_bytes(content.removesuffix(b"{}") + b"[" * 50_000)
    assert (
        content.endswith(b"{}")
        and torch.equal(load(pets).pixels, expected)
        and cache.read_bytes() == content
    )


def test_header_can_change_its_first_dimension_in_place(tmp_path):
    import io

    lengths = set()
    for n in (1, 9, 10, 999_999, 10**12):
        f = io.BytesIO()
        data.decoded._write_header(f, (n, 3, 64, 64))
        lengths.add(f.tell())
    assert len(lengths) == 1


def test_an_interrupted_decoding_leaves_nothing(pets, monkeypatch):
    real, calls = data.decoded.decode, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(data.decoded, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(pets)
    assert left() == [] and len(load(pets)) > 5 and len(left()) == 1


class Full:
    "A file on a disk that is full after so many writes."

    def __init__(self, f, writes):
        self.f, self.writes = f, writes

    def __getattr__(self, name):
        return getattr(self.f, name)

    def write(self, x):
        self.writes -= 1
        if self.writes < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.f.write(x)


@pytest.mark.parametrize("writes", [0, 1, 10])
def test_a_full_disk_means_memory_and_a_warning(writes, pets, monkeypatch):
    expected, real = load(pets, n=12), data.decoded.write_decoded
    for f in left():
        (data.cache_dir() / f).unlink()
    on_disk = lambda f, *rest, **more: real(
        f if hasattr(f, "getbuffer") else Full(f, writes), *rest, **more
    )
    monkeypatch.setattr(data.decoded, "write_decoded", on_disk)
    with pytest.warns(
        UserWarning, match="cannot be kept .*no room.*into memory.*VAE_NB_CACHE"
    ) as caught:
        images = load(pets, n=12)
    assert len(caught) == 1 and caught[0].filename == __file__ and left() == []
    assert torch.equal(images.pixels, expected.pixels) and torch.equal(
        images.labels, expected.labels
    )
    images.pixels.zero_()  # memory like any other


def test_a_write_that_the_system_refuses_means_memory(tmp_path):
    for i in range(60):
        picture(
            tmp_path / "big" / f"{i}.png", i, size=(64, 64)
        )  # 12 kB each, once decoded
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.warns(UserWarning, match="cannot be kept .*no room"):
            images = load(tmp_path / "big")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left() == [] and torch.equal(load(tmp_path / "big").pixels, images.pixels)


@pytest.fixture
def disk(tmp_path, monkeypatch):
    "The cache folder on a disk of its own: a function that mounts one of so many bytes."
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size):
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)],
            capture_output=True,
        ).returncode:
            pytest.skip("only root may mount a disk here")
        monkeypatch.setenv("VAE_NB_CACHE", str(folder))

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a disk"
)
@pytest.mark.parametrize("room, kept", [(300_000, []), (None, ["decoded"])])
def test_a_small_disk_holds_the_pixels_or_nothing(
    room, kept, disk, tmp_path, monkeypatch
):
    monkeypatch.setattr(data.decoded, "PIECE", 5 * 3 * 64 * 64)  # five pictures
    for i in range(60):
        picture(tmp_path / "big" / f"{i}.png", i, size=(64, 64))
    expected, decoded, real = load(tmp_path / "big"), [], data.decoded.decode
    disk(
        room or expected.pixels.nbytes + 4096 * (len(expected) // 5 + 4)
    )  # its own size, and a page for every file's header
    monkeypatch.setattr(
        data.decoded,
        "decode",
        lambda path, *how: decoded.append(path.name) or real(path, *how),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = load(tmp_path / "big")
    assert [str(w.message).count("no room") for w in caught] == ([] if kept else [1])
    assert (
        torch.equal(images.pixels, expected.pixels)
        and [Path(f).parts[0] for f in left()] == kept
    )
    assert len(set(decoded)) == len(expected) and len(decoded) <= len(expected) + 5, (
        "what was decoded before the disk was full is used"
    )


def test_a_cache_folder_that_cannot_be_written_means_memory_and_a_warning(
    pets, tmp_path, monkeypatch
):
    expected = load(pets)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VAE_NB_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        with pytest.warns(
            UserWarning, match="cannot be kept.*decoded into memory.*VAE_NB_CACHE"
        ) as caught:
            images = load(pets)
        assert len(caught) == 1 and caught[0].filename == __file__
        assert torch.equal(images.pixels, expected.pixels) and torch.equal(
            images.labels, expected.labels
        )
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(),
    reason="this system cannot fork",
)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_fill_the_cache_at_once(pets, tmp_path, monkeypatch):
    both, real = multiprocessing.get_context("fork"), data.decoded.cannot_write
    barrier = both.Barrier(2, timeout=60)

    def meet(folder):  # both have looked and found nothing; now both write
        barrier.wait()
        return real(folder)

    def work(i):
        images = load(pets)
        np.save(tmp_path / f"result{i}.npy", images.pixels.numpy())

    monkeypatch.setattr(data.decoded, "cannot_write", meet)
    workers = [both.Process(target=work, args=(i,)) for i in range(2)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    assert [w.exitcode for w in workers] == [0, 0]
    monkeypatch.setattr(
        data.decoded, "cannot_write", lambda _: pytest.fail("decoded a third time")
    )
    expected = load(pets).pixels.numpy()
    assert len(left()) == 1
    assert all(
        (np.load(tmp_path / f"result{i}.npy") == expected).all() for i in range(2)
    )


# --- the real thing ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not (REAL and Path(REAL, "MNIST", "raw").is_dir()),
    reason="the real MNIST is not in $VAE_NB_DATA",
)
def test_the_real_mnist(monkeypatch):
    monkeypatch.setenv("VAE_NB_DATA", REAL)
    train, valid, test = (load("mnist", s) for s in data.images.SPLITS)
    assert [len(x) for x in (train, valid, test)] == [50_000, 10_000, 10_000] and {
        x.shape for x in (train, valid, test)
    } == {(1, 28, 28)}
    labels = torch.cat([train.labels, valid.labels])
    assert labels.bincount().tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert test.labels.bincount().tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9] and test.labels[
        :5
    ].tolist() == [7, 2, 1, 0, 4]
    mean = torch.stack(
        [
            train.mean(),
            train.mean(),
            train.mean(),
            train.mean(),
            train.mean(),
            valid.mean(),
        ]
    ).mean()
    assert mean == pytest.approx(
        0.1307, abs=5e-5
    )  # the constant in everybody's Normalize
    assert len(train.by_label(3).take(10)) == 10 and train.note == ""


@pytest.mark.skipif(
    not (REAL and Path(REAL, "MNIST", "raw").is_dir()),
    reason="the real MNIST is not in $VAE_NB_DATA",
)
def test_batches_are_what_torchvision_gives(monkeypatch):
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    monkeypatch.setenv("VAE_NB_DATA", REAL)
    theirs = MNIST(REAL, train=False, transform=ToTensor())
    ours = next(load("mnist", "test").batches(50))
    assert torch.equal(ours, torch.stack([theirs[i][0] for i in range(50)]))


def test_faces_are_embedded_with_their_factors():
    faces = load("faces", split="valid", n=6, size=32)
    assert faces.shape == (3, 32, 32) and faces.attributes.shape == (
        6,
        len(faces.attribute_names),
    )
    assert torch.equal(
        load("faces", split="valid", n=3, size=32).pixels, faces.pixels[:3]
    )
    assert not torch.equal(
        load("faces", split="test", n=6, size=32).pixels, faces.pixels
    )
    with pytest.raises(ValueError, match="from 1 to 2,000"):
        load("faces", split="test", n=2_001)


def test_faces_are_a_fallback_without_drawing_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_NB_DATA", str(tmp_path))
    faces = load(str(tmp_path / "no_such_folder"), n=4, fallback="faces")
    assert len(faces) == 4 and "drawn faces" in faces.note


def test_another_seed_draws_other_faces_and_no_split_of_one_is_a_split_of_another():
    drawn = [
        load("faces", split, n=2, size=16, seed=seed).pixels.numpy().tobytes()
        for seed in (0, 1, np.int64(2))
        for split in data.images.SPLITS
    ]
    assert (
        len(set(drawn)) == 9
        and drawn[0] == load("faces", n=2, size=16).pixels.numpy().tobytes()
    ), "seed 0 is the usual one"
    assert drawn[3] == load("faces", n=2, size=16, seed=1).pixels.numpy().tobytes()


@pytest.mark.parametrize(
    "name, seed, message",
    [
        ("faces", -1, "seed must be .*not -1"),
        ("faces", "a", "seed must be"),
        ("faces", 1.5, "not 1.5"),
        ("digits", 3, "seed=3 is for 'faces'.*'digits' has no seed"),
    ],
)
def test_a_seed_that_would_do_nothing_is_refused(name, seed, message):
    with pytest.raises(ValueError, match=message):
        load(name, n=2, seed=seed)


# --- images from elsewhere -------------------------------------------------------------------------------------------------------


GREY = (
    torch.arange(5 * 6 * 4).view(5, 1, 6, 4) * 2 % 256
).byte()  # five pictures, 6 high and 4 wide
FLOATS = GREY / 255
PICTURES = [Image.fromarray(x[0].numpy()) for x in GREY]


class Pairs(torch.utils.data.Dataset):
    "Items (x, y), as torchvision's sets have them."

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i], i


def loader(data, **options):
    return torch.utils.data.DataLoader(data, **{"batch_size": 2} | options)


FORMS = {
    "bytes": GREY,
    "floats": FLOATS,
    "float64": FLOATS.double(),
    "Images": Images(GREY),
    "array": FLOATS.numpy(),
    "float64 array": FLOATS.double().numpy(),
    "array of bytes": GREY.numpy(),
    "channels last": GREY.movedim(1, -1).numpy(),
    "no channel": GREY[:, 0].numpy(),
    "flat": FLOATS.flatten(1),
    "flat array": GREY.flatten(1).numpy(),
    "foreign byte order": FLOATS.numpy().astype(">f4"),
    "reversed view": FLOATS.numpy()[::-1, :, ::-1, ::-1].copy()[::-1, :, ::-1, ::-1],
    "long double": FLOATS.numpy().astype(np.longdouble),
    "pictures": PICTURES,
    "colour pictures": [p.convert("RGB") for p in PICTURES],
    "list of arrays": [x.numpy() for x in FLOATS],
    "tuple of tensors": tuple(FLOATS),
    "Dataset": torch.utils.data.TensorDataset(FLOATS),
    "pairs": Pairs(FLOATS),
    "pairs of pictures": Pairs(PICTURES),
    "loader": loader(FLOATS),
    "loader of pairs": loader(torch.utils.data.TensorDataset(GREY, torch.arange(5))),
    "list of pairs": [(x, 3) for x in FLOATS],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_in_any_form_is_the_same_batch(form):
    x = data.as_batch(FORMS[form], (1, 6, 4))
    assert (
        x.dtype == torch.float32
        and x.shape == FLOATS.shape
        and torch.allclose(x, FLOATS, atol=1e-6)
    )


def test_colour_and_shades_of_float():
    colour = torch.rand(2, 3, 4, 5)
    assert data.as_batch(colour.movedim(1, -1).numpy(), (3, 4, 5)).equal(colour)
    assert data.as_batch(FLOATS.half(), (1, 6, 4)).dtype == torch.float32
    wide = torch.ones((), dtype=torch.float64)
    assert (
        data.as_batch(FLOATS, (1, 6, 4), wide).dtype == torch.float64
        and data.as_batch(GREY, (1, 6, 4), wide).dtype == torch.float64
    )
    assert (
        data.as_batch(
            FLOATS.half(), (1, 6, 4), torch.ones((), dtype=torch.float16)
        ).dtype
        == torch.float16
    )
    assert data.as_batch(FLOATS > 0.5, (1, 6, 4)).equal((FLOATS > 0.5).float())
    assert data.as_batch(FLOATS, (1, 6, 4)) is FLOATS, "what is right is not copied"


@pytest.mark.parametrize(
    "wrong, said",
    [
        (GREY.long(), r"torch.int64.*x / 255 .*x \* 1.0"),
        (GREY.numpy().astype(np.uint16), r"uint16.*x / 255"),
        ((GREY > 9).byte(), r"largest is 1.*x / 255 .*x \* 1.0"),
        (FLOATS[0], r"\(1, 6, 4\).*x\[None\]"),
        (FLOATS[:, 0, :4], r"\(batch, 1, 6, 4\), not \(5, 4, 4\)"),
        (FLOATS.transpose(2, 3), r"not \(5, 1, 4, 6\)"),
        (FLOATS.to(torch.complex64), "complex64"),
        (torch.rand(2, 3 * 24), r"not \(2, 72\)"),
        (
            [p.resize((6, 4)) for p in PICTURES],
            r"picture 0 is 6×4.*ImageOps.fit\(picture, \(4, 6\)\)",
        ),
        ([FLOATS, torch.arange(5)], r"item 1 .*\(5,\).*item 0 .*\(5, 1, 6, 4\)"),
        ([], "no images"),
    ],
)
def test_what_is_not_certain_is_refused_with_the_line_to_type(wrong, said):
    with pytest.raises(ValueError, match=said):
        data.as_batch(wrong, (1, 6, 4))


@pytest.mark.parametrize(
    "wrong, said",
    [
        ([1, 2, 3], "list of int"),
        ("cat.png", "not str"),
        (3, "not int"),
        (None, "not NoneType"),
        ({"x": FLOATS}, "not dict"),
        (PICTURES[0], "a list of one"),
        (
            [{"image": 1, "label": 2}],
            r"'image', 'label'.*\[item\['image'\] for item in data\]",
        ),
        (np.array(["a"]), "not of <U1"),
        (np.array([None, 1]), "not of object"),
    ],
)
def test_what_is_no_image_is_refused_by_its_type(wrong, said):
    with pytest.raises(TypeError, match=said):
        data.as_batch(wrong, (1, 6, 4))


def test_a_set_without_an_end_is_refused():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            while True:
                yield FLOATS[0]

    for endless in (Stream(), loader(Stream())):
        with pytest.raises(TypeError, match="has no length"):
            data.as_tensor(endless)


def test_a_flat_batch_of_colours_is_not_guessed():
    with pytest.raises(ValueError, match=r"x.reshape\(-1, 3, 4, 5\)"):
        data.as_batch(torch.rand(2, 60), (3, 4, 5))


def test_reading_a_loader_is_repeatable_and_leaves_the_global_state():
    before = torch.get_rng_state()
    first, again = (data.as_tensor(loader(FLOATS, shuffle=True)) for _ in range(2))
    assert first.equal(again) and torch.get_rng_state().equal(before)
    assert (
        first.flatten(1)
        .sum(1)
        .sort()
        .values.allclose(FLOATS.flatten(1).sum(1).sort().values)
    )


def test_random_augmentation_that_would_be_frozen_is_said():
    class Noisy(Pairs):
        def __getitem__(self, i):
            return self.items[i] + torch.rand(()), i

    for noisy in (Noisy(FLOATS), loader(Noisy(FLOATS))):
        with pytest.warns(UserWarning, match="read once.*training_loss"):
            data.as_tensor(noisy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (
            data.as_tensor(Pairs(FLOATS)),
            data.as_tensor(
                loader(
                    Pairs(PICTURES),
                    collate_fn=lambda items: torch.stack(
                        [torch.from_numpy(np.array(x)) for x, _ in items]
                    ),
                )
            ),
        )


@pytest.mark.parametrize(
    "pixels, said",
    [
        (GREY.numpy(), r"torch.from_numpy\(pixels\)"),
        (GREY.numpy()[:, 0], r"torch.from_numpy\(pixels\)"),
        (FLOATS, r"\(255 \* pixels\).round\(\).byte\(\)"),
        (GREY[:, 0], r"pixels\[:, None\]"),
        (FLOATS.numpy(), "from_numpy"),
        (GREY.long(), r"pixels.byte\(\)"),
        ([1], "list"),
    ],
)
def test_images_say_what_they_want(pixels, said):
    with pytest.raises((ValueError, TypeError), match=f"uint8 tensor.*{said}"):
        Images(pixels)


def test_labels_that_are_no_tensor_are_refused():
    with pytest.raises(
        TypeError, match=r"labels must be a tensor, not list: torch.as_tensor\(labels\)"
    ):
        Images(GREY, labels=[0, 1, 2, 3, 4])


@pytest.mark.parametrize("items", [PICTURES, list(FLOATS)], ids=["PIL", "tensors"])
def test_a_loader_of_lists_loses_no_image_in_silence(items):
    with pytest.raises(ValueError, match="3 images came out of a DataLoader of 5"):
        data.as_batch(loader(items, collate_fn=list), (1, 6, 4))


def test_a_path_means_the_folder_even_if_a_set_has_its_name(tmp_path, monkeypatch):
    for i in range(20):
        picture(tmp_path / "digits" / f"{i}.png", i)
    monkeypatch.chdir(tmp_path)
    assert load(Path("digits")).shape == load(Path("./digits")).shape == (3, 20, 20)


def test_tensor_data_is_indexed_and_checked_like_images():
    ten = data.TensorData(torch.rand(4, 3, 2, 2), y=torch.arange(4))
    one = ten[3]
    assert len(one) == 1 and one.y.tolist() == [3] and one.values.shape == (1, 3, 2, 2)
    for size in (0, -1):
        with pytest.raises(ValueError, match="batch_size must be at least 1"):
            ten.batches(size)


@pytest.mark.parametrize("known", [None, torch.ones(5), torch.ones(5, 3)])
def test_attributes_fit_their_names(known):
    with pytest.raises(ValueError, match=r"shape \(5, 1\)"):
        Images(GREY, attributes=known, attribute_names=("smile",))


@pytest.mark.parametrize("x", [FLOATS.bfloat16(), FLOATS.clone().requires_grad_()])
def test_a_set_of_tensors_that_numpy_does_not_take(x):
    assert data.as_tensor(torch.utils.data.TensorDataset(x)).equal(x)


def test_fixed_binarisation_stays_on_its_device():
    pixels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8, device="meta")
    assert Images(pixels).binarised("fixed").pixels.device.type == "meta"


def test_pictures_in_a_list_stand_upright(tmp_path):
    (exif := Image.Exif())[0x0112] = 6
    grey = Image.fromarray(np.array([[255] * 4, [0] * 4], np.uint8))
    grey.save(tmp_path / "1.png", exif=exif)
    upright = torch.tensor(data.decoded.decode(tmp_path / "1.png", 1, (4, 2)))
    assert data.as_tensor([Image.open(tmp_path / "1.png")])[0].equal(upright)
