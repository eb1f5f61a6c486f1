"CIFAR-10, CelebA and Caltech-101: every layout, every kind of damage, on tiny folders made here; the real sets where they are."

import csv
import errno
import http.server
import multiprocessing
import os
import resource
import signal
import tarfile
import threading
import time
import warnings
from functools import partial
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vae_nb import data
from vae_nb.data import DatasetError, load
from vae_nb.data.celeba import CELEBA_ATTRIBUTES
from vae_nb.data.sets import CIFAR_CLASSES

REAL = os.environ.get("VAE_NB_DATA")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    "Every test has an empty cache folder, no $VAE_NB_DATA, no memory of what was printed, and no way to download anything."
    monkeypatch.setenv("VAE_NB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VAE_NB_DATA", raising=False)
    monkeypatch.setattr(
        data.files, "CIFAR_URL", "http://127.0.0.1:9/cifar-10-binary.tar.gz"
    )
    monkeypatch.setenv("no_proxy", "*")
    data.files.failed_download.cache_clear()
    data.files.say_once.cache_clear()


def real(folder):
    "Skip, and say so, where a real set is not in $VAE_NB_DATA."
    return pytest.mark.skipif(
        not (REAL and Path(REAL, folder).is_dir()),
        reason=f"{folder} is not in $VAE_NB_DATA",
    )


def left():
    "The files in the cache folder."
    cache = data.cache_dir()
    return sorted(
        f.relative_to(cache).as_posix() for f in cache.rglob("*") if f.is_file()
    )


def jpeg(path, colour=(100, 50, 200), size=(64, 64), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, quality=95)
    return path


def cut(path):
    "End a file in its middle."
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# --- CelebA --------------------------------------------------------------------------------------------------------------------

BITS = torch.rand(12, 40, generator=torch.Generator().manual_seed(0)) < 0.5
FILES = [f"{i:06}.jpg" for i in range(1, 13)]
PARTITION = [0] * 8 + [1] * 2 + [2] * 2


def attribute_text(rows=FILES, names=CELEBA_ATTRIBUTES, count=None):
    lines = [
        f"{f} " + " ".join(f"{1 if b else -1:2d}" for b in BITS[FILES.index(f)])
        for f in rows
    ]
    return (
        "\n".join(
            [str(len(rows) if count is None else count), " ".join(names) + " ", *lines]
        )
        + "\n"
    )


def commas(text, *header):
    return (
        "\n".join([*header, *(",".join(line.split()) for line in text.splitlines())])
        + "\n"
    )


def fake_celeba(base, layout="text", size=(64, 64), files=FILES):
    "Twelve faces of one colour each, the red telling which; as torchvision or as Kaggle has them."
    base.mkdir(parents=True, exist_ok=True)
    folder = base / "img_align_celeba" / ("img_align_celeba" if layout == "csv" else "")
    for f in files:
        jpeg(folder / f, (20 * FILES.index(f), 128, 128), size)
    partition = "".join(f"{f} {p}\n" for f, p in zip(FILES, PARTITION))
    if layout == "csv":
        first, *rest = attribute_text().split("\n", 1)[1].splitlines()
        (base / "list_attr_celeba.csv").write_text(
            commas("\n".join(rest), "image_id," + ",".join(first.split()))
        )
        (base / "list_eval_partition.csv").write_text(
            commas(partition, "image_id,partition")
        )
    else:
        (base / "list_attr_celeba.txt").write_text(attribute_text())
        (base / "list_eval_partition.txt").write_text(partition)
    return folder


def which(images):
    "The numbers of the files that these images came from, by their red."
    return [round(r / 20) for r in images.pixels[:, 0].float().mean((1, 2)).tolist()]


@pytest.mark.parametrize("layout", ["text", "csv"])
@pytest.mark.parametrize("folder", ["celeba", "."])
def test_every_layout_gives_the_same(layout, folder, tmp_path):
    fake_celeba(tmp_path / "here" / folder, layout)
    start = 0
    for split, count in (("train", 8), ("valid", 2), ("test", 2)):
        images = load("celeba", split, root=tmp_path / "here")
        rows = slice(start, start := start + count)
        assert which(images) == list(range(12))[rows], (
            "the official splits, in the order of the names"
        )
        assert images.attributes.dtype == torch.float32 and torch.equal(
            images.attributes, BITS[rows].float()
        )
        assert (
            images.attribute_names == CELEBA_ATTRIBUTES
            and images.labels is None
            and images.classes is None
        )
        assert (images.name, images.split, images.shape, images.note) == (
            "celeba",
            split,
            (3, 64, 64),
            "",
        )


def test_tables_may_have_tabs_carriage_returns_and_a_mark(tmp_path):
    fake_celeba(tmp_path / "celeba")
    table = tmp_path / "celeba" / "list_attr_celeba.txt"
    table.write_bytes(
        b"\xef\xbb\xbf"
        + table.read_bytes().replace(b" ", b"\t").replace(b"\n", b"\r\n")
    )
    assert torch.equal(load("celeba", root=tmp_path).attributes, BITS[:8].float())


@pytest.mark.parametrize("index", [None, "", "image_id"])
@pytest.mark.parametrize("kind", [int, float, bool, str])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_tables_as_pandas_writes_them(index, kind, quoting, sep, tmp_path):
    pandas = pytest.importorskip("pandas")
    fake_celeba(tmp_path / "celeba", "csv")
    values = (
        BITS.numpy().astype(kind)
        if kind in (float, bool)
        else np.where(BITS, 1, -1).astype(kind)
    )
    attributes, splits = (
        pandas.DataFrame(values, columns=CELEBA_ATTRIBUTES),
        pandas.DataFrame(
            {"partition": [float(p) if kind is float else p for p in PARTITION]}
        ),
    )
    for table, name in ((attributes, "attr_celeba"), (splits, "eval_partition")):
        if index is None:
            table.insert(0, "image_id", FILES)  # an index of numbers beside them
        else:
            table.index = FILES
        table.to_csv(
            tmp_path / "celeba" / f"list_{name}.csv",
            index_label=index or None,
            quoting=quoting,
            sep=sep,
        )
    images = load("celeba", root=tmp_path)
    assert (
        torch.equal(images.attributes, BITS[:8].float())
        and which(images) == list(range(8))
        and images.attribute_names == CELEBA_ATTRIBUTES
    )


def test_rows_that_contradict_each_other_are_said_and_others_are_not(tmp_path):
    fake_celeba(tmp_path / "celeba")
    table, splits = (
        tmp_path / "celeba" / f"list_{name}.txt"
        for name in ("attr_celeba", "eval_partition")
    )
    table.write_text(attribute_text([*FILES, FILES[3]]))
    assert torch.equal(load("celeba", root=tmp_path).attributes, BITS[:8].float())
    table.write_text(
        attribute_text([*FILES, FILES[3]])[:-3] + f"{-1 if BITS[3, -1] else 1:2d}\n"
    )
    with pytest.warns(
        UserWarning,
        match=r"attr_celeba.txt has rows that contradict .*\(1, such as 000004.jpg\): the first counts",
    ) as caught:
        assert torch.equal(load("celeba", root=tmp_path).attributes, BITS[:8].float())
    assert len(caught) == 1 and caught[0].filename == __file__
    table.write_text(attribute_text())
    splits.write_text(splits.read_text() + "000002.jpg 2\n")
    with pytest.warns(
        UserWarning,
        match=r"partition.txt has rows that contradict .*\(1, such as 000002.jpg\)",
    ):
        images = load("celeba", "test", root=tmp_path)
    assert which(images) == [10, 11], (
        "a picture of the training split is not in the test"
    )


def test_pictures_may_be_png_and_tables_may_name_folders(tmp_path):
    folder = fake_celeba(tmp_path / "celeba")
    for f in FILES:
        Image.open(folder / f).save((folder / f).with_suffix(".png"))
        (folder / f).unlink()
    table = tmp_path / "celeba" / "list_eval_partition.txt"
    table.write_text(
        "".join(
            f"img_align_celeba/{line}" for line in table.read_text().splitlines(True)
        )
    )
    images = load("celeba", root=tmp_path)
    assert which(images) == list(range(8)) and torch.equal(
        images.attributes, BITS[:8].float()
    )


def test_columns_are_found_by_their_names_not_their_places(tmp_path):
    fake_celeba(tmp_path / "celeba")
    turned = attribute_text(
        names=CELEBA_ATTRIBUTES[::-1]
    )  # the same bits now belong to other names
    (tmp_path / "celeba" / "list_attr_celeba.txt").write_text(turned)
    young = load("celeba", root=tmp_path, attributes="Young").attributes[:, 0]
    assert torch.equal(young, BITS[:8, 0].float())


def test_a_part_is_fine_and_is_said_once(tmp_path, capsys):
    fake_celeba(tmp_path / "celeba", files=FILES[1:8:2] + FILES[9:])
    train, valid = load("celeba", root=tmp_path), load("celeba", "valid", root=tmp_path)
    assert which(train) == [1, 3, 5, 7] and which(valid) == [9]
    assert torch.equal(train.attributes, BITS[1:8:2].float()), (
        "attributes go with their pictures"
    )
    assert capsys.readouterr().out == (
        "CelebA: 7 of its 202,599 pictures are here (4 train, 1 valid, 2 test); 202,592 are missing.\n"
    )
    with pytest.raises(
        ValueError, match="n=5, but split 'train' of 'celeba' holds 4 images"
    ):
        load("celeba", n=5, root=tmp_path)


def test_a_part_without_a_split_names_it(tmp_path):
    fake_celeba(tmp_path / "celeba", files=FILES[:8])
    with pytest.raises(
        DatasetError,
        match=r"celeba has no pictures for split 'test' \(8 train, 0 valid, 0 test\)",
    ):
        load("celeba", "test", root=tmp_path)


def framed(width, height, inner):
    "Blue in the centre, red around it."
    x = np.full((height, width, 3), (255, 0, 0), np.uint8)
    top, left = (height - inner) // 2, (width - inner) // 2
    x[top : top + inner, left : left + inner] = (0, 0, 255)
    return Image.fromarray(x)


@pytest.mark.parametrize("size", [16, 64, 128])
def test_originals_are_cropped_to_148_before_the_resize(size, tmp_path):
    folder = fake_celeba(tmp_path / "celeba")
    framed(178, 218, 148).save(folder / FILES[0], quality=100, subsampling=0)
    framed(178, 218, 140).save(folder / FILES[1], quality=100, subsampling=0)
    exact, narrow = load("celeba", n=2, size=size, root=tmp_path).pixels
    assert exact[0].max() < 40 and exact[2].min() > 200, "the crop is wider than 148"
    edge = narrow[0, [0, -1, size // 2, size // 2], [size // 2, size // 2, 0, -1]]
    assert (edge > 60).all(), "the crop is narrower than 148"


def test_square_files_are_only_resized(tmp_path):
    folder = fake_celeba(tmp_path / "celeba")
    framed(200, 200, 148).save(folder / FILES[0], quality=100, subsampling=0)
    framed(89, 109, 60).save(
        folder / FILES[1], quality=100, subsampling=0
    )  # too small for the crop: only the aspect is cut
    square, small = load("celeba", n=2, root=tmp_path).pixels
    for x, share in ((square, 148 / 200), (small, 60 / 89)):
        assert (x[2] > 128).float().mean().sqrt().item() == pytest.approx(
            share, abs=0.03
        )


def test_attributes_are_chosen_in_the_order_asked_for(tmp_path):
    fake_celeba(tmp_path / "celeba")
    smile, hat = (CELEBA_ATTRIBUTES.index(a) for a in ("Smiling", "Wearing_Hat"))
    two = load("celeba", root=tmp_path, attributes=("Wearing_Hat", "Smiling"))
    assert two.attribute_names == ("Wearing_Hat", "Smiling") and torch.equal(
        two.attributes, BITS[:8, [hat, smile]].float()
    )
    one = load("celeba", root=tmp_path, attributes="Smiling")
    assert one.attribute_names == ("Smiling",) and one.attributes.shape == (8, 1)


@pytest.mark.parametrize(
    "wrong, suggestion",
    [
        ("Smilling", "Smiling"),
        ("eyeglasses", "Eyeglasses"),
        (["Young", "Wearing_Hats"], "Wearing_Hat"),
    ],
)
@pytest.mark.parametrize("fallback", [None, "faces"])
def test_a_misspelt_attribute_is_refused_before_any_file_is_touched(
    wrong, suggestion, fallback, monkeypatch
):
    monkeypatch.setitem(
        data.DATASETS, "celeba", lambda *_: pytest.fail("looked for files")
    )
    with pytest.raises(
        ValueError, match=f"'celeba' has no attribute .* Did you mean '{suggestion}'"
    ):
        load("celeba", attributes=wrong, fallback=fallback)


def test_attributes_of_other_sets():
    faces = load("faces", n=5)
    name = faces.attribute_names[-1]
    assert torch.equal(
        load("faces", n=5, attributes=name).attributes[:, 0], faces.attributes[:, -1]
    )
    with pytest.raises(
        ValueError, match="'faces' has no attribute 'smle'.* Did you mean"
    ):
        load("faces", n=5, attributes="smle")
    with pytest.raises(ValueError, match="'digits' has no attributes"):
        load("digits", attributes="smile")
    with pytest.raises(ValueError, match="must name at least one"):
        load("faces", n=5, attributes=[])


@pytest.mark.parametrize(
    "text, message",
    [
        (
            attribute_text(FILES[:3] + FILES[4:]),
            "table of attributes has no row for 000004.jpg",
        ),
        (attribute_text(count=13), "promises 13 rows and has 12"),
        (attribute_text()[:-1500], "promises 12 rows and has"),
        (
            "\n".join(["12", *attribute_text().splitlines()[2:]]),
            "does not have the header of CelebA's attributes, but '000001.jpg",
        ),
        (
            commas(
                attribute_text().split("\n", 1)[1],
            ).replace(".jpg", ""),
            "no column with the names of pictures: its first row begins '000001', '",
        ),
        (
            attribute_text().replace(" 1", " yes", 1),
            "a row that is not 40 times 1 or -1, that of 000001.jpg.*: it has 'yes'",
        ),
        (
            attribute_text().replace("Bald", "Blad"),
            "(?s)does not have the header.*but 'Blad'.*Did you mean 'Bald'",
        ),
        (
            attribute_text(names=CELEBA_ATTRIBUTES[:-1]),
            "does not have the header.*'39 of the 40 names'",
        ),
        ("12\n" + attribute_text().split("\n", 2)[2], "does not have the header"),
        ("", "does not have the header"),
        (
            attribute_text().replace("-1", "-2", 1),
            "a row that is not 40 times 1 or -1, that of 000001.jpg",
        ),
        (
            attribute_text().rstrip()[:-3] + "\n",
            "a row that is not 40 times 1 or -1, that of 000012.jpg",
        ),
        (
            attribute_text(FILES[:-1], count=12) + FILES[-1],
            "a row that is not 40 times 1 or -1, that of 000012.jpg",
        ),
    ],
)
def test_a_bad_table_of_attributes_is_named(text, message, tmp_path, monkeypatch):
    fake_celeba(tmp_path / "celeba")
    (tmp_path / "celeba" / "list_attr_celeba.txt").write_text(text)
    monkeypatch.setattr(
        data.decoded,
        "decode",
        lambda *_: pytest.fail("decoded before the tables were read"),
    )
    with pytest.raises(DatasetError, match=message) as e:
        load("celeba", root=tmp_path)
    assert "list_attr_celeba.txt" in str(e.value) or "table of attributes" in str(
        e.value
    )


@pytest.mark.parametrize(
    "line", ["000003.jpg 3", "000003.jpg", "000003.jpg 01", "000003.jpg 0 0"]
)
def test_a_bad_table_of_splits_is_named(line, tmp_path):
    fake_celeba(tmp_path / "celeba")
    table = tmp_path / "celeba" / "list_eval_partition.txt"
    table.write_text(table.read_text().replace("000003.jpg 0", line))
    with pytest.raises(
        DatasetError,
        match=f"list_eval_partition.txt has a line that is not a file and 0, 1 or 2: '{line}'",
    ):
        load("celeba", root=tmp_path)


def test_a_picture_without_a_split_is_named(tmp_path):
    folder = fake_celeba(tmp_path / "celeba")
    jpeg(folder / "._000001.jpg")  # macOS leaves such files: no pictures
    assert len(load("celeba", root=tmp_path)) == 8
    table = tmp_path / "celeba" / "list_eval_partition.txt"
    table.write_text("".join(table.read_text().splitlines(True)[2:]))
    with pytest.raises(
        DatasetError,
        match=r"table of splits has no row for 000001.jpg \(nor for 1 other",
    ):
        load("celeba", root=tmp_path)


def test_what_is_not_there_is_said_with_the_ways_on(tmp_path, monkeypatch):
    monkeypatch.setattr(
        data.files,
        "failed_download",
        lambda *_: pytest.fail("a download nobody asked for"),
    )
    monkeypatch.setenv("VAE_NB_DATA", str(tmp_path / "env"))
    base = tmp_path / "root" / "celeba"
    fake_celeba(base, files=[])
    (base / "list_eval_partition.txt").unlink()
    (base / "img_align_celeba.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="^CelebA was not found") as e:
        load("celeba", root=tmp_path / "root")
    text = str(e.value)
    assert (
        f"{base}: no list_eval_partition.txt or .csv, no pictures in img_align_celeba (unpack img_align_celeba.zip)"
        in text
    )
    assert (
        f"{tmp_path / 'env' / 'celeba'}: no such folder" in text
        and str(data.cache_dir() / "celeba") in text
    )
    assert "1. put img_align_celeba/" in text and "2. set VAE_NB_DATA" in text
    assert (
        'load("celeba", download=True)' in text
        and 'load("celeba", fallback="faces")' in text
    )


@pytest.mark.parametrize(
    "name, kind", [("celeba", "CelebA"), ("caltech101", "Caltech101")]
)
def test_a_large_set_is_downloaded_on_request_whole_or_not_at_all(
    name, kind, monkeypatch
):
    import torchvision

    def fake(root, download, fail=False):
        assert download
        if name == "celeba":
            fake_celeba(Path(root, "celeba"))
        else:
            fake_caltech(Path(root))
        Path(root, name, "archive.zip").write_bytes(b"PK")
        if fail:
            raise RuntimeError("requires gdown")

    monkeypatch.setattr(torchvision.datasets, kind, partial(fake, fail=True))
    with pytest.raises(DatasetError, match="download by torchvision: requires gdown"):
        load(name, download=True)
    assert left() == []
    data.files.failed_download.cache_clear()
    monkeypatch.setattr(torchvision.datasets, kind, fake)
    with pytest.raises(DatasetError, match="not without download=True"):
        load(name)
    assert len(load(name, download=True)) >= 8 and len(load(name)) >= 8
    assert not [f for f in left() if f.endswith(".zip")] and {
        Path(f).parts[0] for f in left()
    } == {name, "decoded"}


def test_drawn_faces_are_a_fallback_and_say_so(capsys):
    images = load("celeba", n=6, size=32, attributes="Smiling", fallback="faces")
    sentence = (
        "CelebA was not found, so the fallback is used: drawn faces, not photographs."
    )
    assert (
        images.name == "faces"
        and images.note == sentence
        and images.shape == (3, 32, 32)
        and len(images) == 6
    )
    assert capsys.readouterr().out == sentence + "\n"


@pytest.mark.parametrize("name", ["celeba", "caltech101", "cifar10"])
def test_a_tiny_size_is_refused_before_anything_else(name):
    with pytest.raises(ValueError, match="size must be .* at least 8 pixels"):
        load(name, size=7)


# --- damaged pictures, and the cache -------------------------------------------------------------------------------------------


def test_a_picture_cut_short_costs_only_itself(tmp_path):
    folder = fake_celeba(tmp_path / "celeba", size=(178, 218))
    cut(folder / FILES[2])
    (folder / FILES[5]).write_bytes(b"")
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(
            UserWarning, match="2 of 8 pictures cannot be read"
        ) as caught:
            images = load("celeba", root=tmp_path)
        assert (
            all(FILES[i] in str(caught[0].message) for i in (2, 5))
            and caught[0].filename == __file__
            and len(caught) == 1
        )
        assert which(images) == [0, 1, 3, 4, 6, 7]
        assert torch.equal(images.attributes, BITS[[0, 1, 3, 4, 6, 7]].float()), (
            "attributes stay with their pictures"
        )
        with pytest.raises(DatasetError, match=FILES[2]):
            load("celeba", root=tmp_path, strict=True)


def test_pictures_are_decoded_once(tmp_path, monkeypatch):
    fake_celeba(tmp_path / "celeba")
    first = load("celeba", root=tmp_path)
    monkeypatch.setattr(data.decoded, "decode", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(
        data.decoded,
        "read_headers",
        lambda *_: pytest.fail("headers were read although colour and size are known"),
    )
    assert (
        torch.equal(load("celeba", root=tmp_path).pixels, first.pixels)
        and len(left()) == 1
    )


def test_another_size_crop_or_number_of_channels_is_another_file(tmp_path):
    names = {
        data.decoded.decoded_path(tmp_path, [], *how)
        for how in (
            ((64, 64),),
            ((64, 64), 3),
            ((64, 64), 3, 148),
            ((32, 32), 3, 148),
            ((64, 64), 1),
        )
    }
    assert len(names) == 5


@pytest.mark.parametrize("damage", ["half", "other number", "other size"])
def test_a_cache_that_cannot_be_right_is_made_anew(damage, tmp_path):
    fake_celeba(tmp_path / "celeba")
    expected = load("celeba", root=tmp_path).pixels.clone()
    cache = data.cache_dir() / left()[0]
    whole = cache.read_bytes()
    if damage == "half":
        cut(cache)
    else:  # the decoding of something else, under this name
        load(
            "celeba",
            root=tmp_path,
            **({"n": 3} if damage == "other number" else {"size": 32}),
        )
        (other,) = (
            data.cache_dir() / f for f in left() if data.cache_dir() / f != cache
        )
        cache.write_bytes(other.read_bytes())
    assert torch.equal(load("celeba", root=tmp_path).pixels, expected)
    assert cache.read_bytes() == whole


@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk_means_memory(after, tmp_path, monkeypatch):
    fake_celeba(tmp_path / "celeba")
    write = data.decoded.write_decoded

    class Full:
        def __init__(self, f):
            self.f, self.writes = f, 0

        def __getattr__(self, name):
            return getattr(self.f, name)

        def write(self, x):
            self.writes += 1
            if self.writes > after:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.f.write(x)

    monkeypatch.setattr(
        data.decoded,
        "write_decoded",
        lambda f, *rest, **more: write(
            f if hasattr(f, "getbuffer") else Full(f), *rest, **more
        ),
    )
    with pytest.warns(UserWarning, match="no room.*VAE_NB_CACHE") as caught:
        images = load("celeba", root=tmp_path)
    assert (
        left() == []
        and which(images) == list(range(8))
        and caught[0].filename == __file__
    )


def test_a_write_that_the_system_refuses_means_memory(tmp_path):
    fake_celeba(tmp_path / "celeba")  # 8 training faces of 12,288 bytes each
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.warns(UserWarning, match="cannot be kept .*no room.*VAE_NB_CACHE"):
            images = load("celeba", root=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left() == [] and which(images) == which(
        load("celeba", root=tmp_path)
    ) == list(range(8))


fork = (
    multiprocessing.get_context("fork")
    if "fork" in multiprocessing.get_all_start_methods()
    else None
)
forks = pytest.mark.skipif(fork is None, reason="this system cannot fork")


@forks
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_killed_process_leaves_is_never_trusted_and_goes_away(
    tmp_path, monkeypatch
):
    fake_celeba(tmp_path / "celeba")
    decoding, real = fork.Event(), data.decoded.decode

    def slow(*arguments):
        decoding.set()
        time.sleep(60)

    monkeypatch.setattr(data.decoded, "decode", slow)
    process = fork.Process(target=load, args=("celeba",), kwargs={"root": tmp_path})
    process.start()
    assert decoding.wait(60)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    (unfinished,) = left()  # nothing under the final name
    assert unfinished.endswith(".partial")
    monkeypatch.setattr(data.decoded, "decode", real)
    images = load("celeba", root=tmp_path)
    assert which(images) == list(range(8)) and torch.equal(
        images.attributes, BITS[:8].float()
    )
    assert unfinished in left(), "so young a file may belong to a living process"
    os.utime(data.cache_dir() / unfinished, (time.time() - 7200,) * 2)
    load("celeba", "valid", root=tmp_path)
    assert len(left()) == 2 and not any(f.endswith(".partial") for f in left())


def small_pieces(monkeypatch):
    monkeypatch.setattr(data.decoded, "PIECE", 3 * 3 * 64 * 64)  # three faces


@forks
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("damage", [None, b"", b"no array", "cut short"])
def test_a_killed_process_costs_one_piece(damage, tmp_path, monkeypatch):
    expected = (
        fake_celeba(tmp_path / "celeba")
        and load("celeba", root=tmp_path).pixels.clone()
    )
    for file in data.cache_dir().rglob("*.npy"):
        file.unlink()
    small_pieces(monkeypatch)
    seventh, real = fork.Event(), data.decoded.decode

    def until_the_seventh(path, *how):
        if path.name == FILES[6]:
            seventh.set()
            time.sleep(60)
        return real(path, *how)

    monkeypatch.setattr(data.decoded, "decode", until_the_seventh)
    process = fork.Process(target=load, args=("celeba",), kwargs={"root": tmp_path})
    process.start()
    assert seventh.wait(60)
    process.kill()
    process.join(60)
    pieces = sorted(file for file in left() if file.endswith(".piece"))
    assert len(pieces) == 2
    if damage is not None:
        piece = data.cache_dir() / pieces[0]
        piece.write_bytes(piece.read_bytes()[:-1] if damage == "cut short" else damage)
    again = []
    monkeypatch.setattr(
        data.decoded,
        "decode",
        lambda path, *how: again.append(path.name) or real(path, *how),
    )
    assert torch.equal(load("celeba", root=tmp_path).pixels, expected)
    assert sorted(again) == sorted(
        FILES[6:8] if damage is None else [*FILES[:3], *FILES[6:8]]
    )
    assert not any(file.endswith(".piece") for file in left())


def test_unreadable_pictures_stay_known_in_pieces(tmp_path, monkeypatch):
    base = tmp_path / "celeba"
    fake_celeba(base)
    for i in (0, 1, 2, 4):
        (base / "img_align_celeba" / FILES[i]).write_bytes(
            b"no picture"
        )  # a whole piece, and one
    small_pieces(monkeypatch)
    with pytest.warns(UserWarning, match="4 of 8 pictures cannot be read"):
        images = load("celeba", root=tmp_path)
    assert which(images) == [3, 5, 6, 7] and len(left()) == 1


def test_pieces_go_when_the_disk_is_full_or_a_week_has_passed(tmp_path, monkeypatch):
    fake_celeba(tmp_path / "celeba")
    small_pieces(monkeypatch)
    real = data.decoded.write_decoded

    def full(f, *rest, **more):
        real(f, *rest, **more)
        if not hasattr(f, "getbuffer"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(data.decoded, "write_decoded", full)
    with pytest.warns(UserWarning, match="no room"):
        load("celeba", root=tmp_path)
    assert left() == []
    monkeypatch.setattr(data.decoded, "write_decoded", real)
    (old := data.cache_dir() / "decoded" / ".x.npy.0.piece").write_bytes(b"")
    (new := data.cache_dir() / "decoded" / ".y.npy.0.piece").write_bytes(b"")
    os.utime(old, (time.time() - 8 * 86400,) * 2)
    load("celeba", root=tmp_path)
    assert new.exists() and not old.exists()


@forks
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_decode_at_once(tmp_path, monkeypatch):
    fake_celeba(tmp_path / "celeba")
    barrier, real = fork.Barrier(2, timeout=60), data.decoded.write_decoded

    def together(*arguments, **more):  # both have found nothing; both write
        barrier.wait()
        real(*arguments, **more)

    def work(i):
        np.save(tmp_path / f"{i}.npy", load("celeba", root=tmp_path).pixels.numpy())

    monkeypatch.setattr(data.decoded, "write_decoded", together)
    processes = [fork.Process(target=work, args=(i,)) for i in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0] and len(left()) == 1
    monkeypatch.setattr(
        data.decoded, "decode", lambda *_: pytest.fail("decoded a third time")
    )
    images = load("celeba", root=tmp_path)
    assert which(images) == list(range(8)) and all(
        (np.load(tmp_path / f"{i}.npy") == images.pixels.numpy()).all()
        for i in range(2)
    )


@pytest.mark.slow
def test_a_second_load_of_thousands_is_quick(tmp_path):
    "Tables and stamps of 2,000 pictures, nothing decoded. (23,000 real ones: see below.)"
    files = [f"{i:06}.jpg" for i in range(1, 2001)]
    base = tmp_path / "celeba"
    source = fake_celeba(base) / FILES[0]
    for f in files[12:]:
        os.link(source, base / "img_align_celeba" / f)
    row = attribute_text(FILES[:1]).splitlines()[2].split(" ", 1)[1]
    (base / "list_attr_celeba.txt").write_text(
        "\n".join(["2000", " ".join(CELEBA_ATTRIBUTES), *(f"{f} {row}" for f in files)])
        + "\n"
    )
    (base / "list_eval_partition.txt").write_text("".join(f"{f} 0\n" for f in files))
    first = load("celeba", root=tmp_path)
    begin = time.process_time()
    second = load("celeba", root=tmp_path)
    assert (
        time.process_time() - begin < 1
        and len(second) == 2000
        and torch.equal(first.pixels, second.pixels)
    )


def test_many_at_a_time_come_in_order_with_their_errors(tmp_path, monkeypatch):
    def slow_first(path, *_):
        i = int(path.name)
        time.sleep(0.02 if i % 16 == 0 else 0)
        if i % 100 == 7:
            raise OSError(f"number {i}")
        return i

    monkeypatch.setattr(data.decoded, "decode", slow_first)
    got = list(data.decoded.decode_all(tmp_path, [str(i) for i in range(1100)]))
    assert [str(x) if isinstance(x, OSError) else x for x in got] == [
        f"number {i}" if i % 100 == 7 else i for i in range(1100)
    ]


def test_decoding_stays_near_the_disk(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(data.decoded, "decode", lambda path, *_: calls.append(1) or 0)
    next(data.decoded.decode_all(tmp_path, [str(i) for i in range(5000)]))
    assert len(calls) <= 512, "a slow disk would fill the memory"


# --- CIFAR-10 ------------------------------------------------------------------------------------------------------------------


def fake_cifar(place, label=0):
    "Six files of the right length, all black; the first and the last record of each say which file it is."
    folder = place / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for i, name in enumerate(
        ["test_batch.bin", *(f"data_batch_{j}.bin" for j in range(1, 6))]
    ):
        with open(folder / name, "wb") as f:
            f.truncate(10_000 * 3073)  # sparse: takes no room
            for at in (0, 5_000, 9_999):
                f.seek(at * 3073)
                f.write(bytes([label, *[i] * 1024, *[at // 100] * 1024, *[200] * 1024]))
    return folder


def test_the_binary_version_and_its_splits(tmp_path):
    fake_cifar(tmp_path, label=9)
    train, valid, test = (load("cifar10", s, root=tmp_path) for s in data.images.SPLITS)
    assert [len(x) for x in (train, valid, test)] == [45_000, 5_000, 10_000] and {
        x.shape for x in (train, valid, test)
    } == {(3, 32, 32)}
    assert (
        train.classes == CIFAR_CLASSES
        and train.name == "cifar10"
        and train.labels.dtype == torch.int64
    )
    corner = lambda x, i: x.pixels[i, :, 0, 0].tolist()
    assert (
        corner(train, 0) == [1, 0, 200]
        and corner(train, 10_000) == [2, 0, 200]
        and corner(train, 44_999) == [0, 0, 0]
    )
    assert (
        corner(valid, 0) == [5, 50, 200]
        and corner(valid, -1) == [5, 99, 200]
        and corner(test, -1) == [0, 99, 200]
    )
    assert (
        train.labels[0] == 9
        and train.labels[1] == 0
        and train.labels.sum() == 9 * (4 * 3 + 1)
    )
    assert load("cifar10", "test", n=3, size=16, root=tmp_path).shape == (3, 16, 16)


@pytest.mark.parametrize("length", [0, 3073, 10_000 * 3073 - 1, 10_000 * 3073 + 1])
def test_a_binary_file_of_another_length_is_named(length, tmp_path):
    file = fake_cifar(tmp_path) / "test_batch.bin"
    os.truncate(file, length)
    with pytest.raises(
        DatasetError,
        match=f"test_batch.bin has {length:,} bytes, not 10,000 records of 3,073",
    ):
        load("cifar10", "test", root=tmp_path)
    assert load(
        "cifar10", "test", n=5, root=tmp_path, fallback="faces"
    ).note.startswith(str(file))


def test_a_label_beyond_nine_is_refused(tmp_path):
    fake_cifar(tmp_path, label=10)
    with pytest.raises(DatasetError, match="a label of 10, not 0…9"):
        load("cifar10", "test", root=tmp_path)


def test_pickles_are_never_read(tmp_path, monkeypatch):
    import pickle

    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(
        pickle.dumps({b"data": 1})
    )
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(DatasetError, match="pickles are not read") as e:
        load("cifar10", "test", root=tmp_path)
    assert "cifar-10-binary.tar.gz (the binary version" in str(
        e.value
    ) and "refused" in str(e.value)


def test_a_missing_batch_is_named(tmp_path):
    (fake_cifar(tmp_path) / "data_batch_3.bin").unlink()
    with pytest.raises(DatasetError, match="cifar-10-batches-bin: no data_batch_3.bin"):
        load("cifar10", "test", root=tmp_path)


@pytest.fixture
def served(tmp_path, monkeypatch):
    "A server of ours that has an archive like the real one."
    fake_cifar(tmp_path / "made")
    for f in (tmp_path / "made").rglob("data_*"):
        os.truncate(f, 0)  # only the test split is read here
    (tmp_path / "served").mkdir()
    archive = tmp_path / "served" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    handler = type(
        "Quiet",
        (http.server.SimpleHTTPRequestHandler,),
        {"log_message": lambda *_: None},
    )
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(handler, directory=tmp_path / "served")
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(
        data.files, "CIFAR_URL", f"http://127.0.0.1:{server.server_port}/{archive.name}"
    )
    monkeypatch.setattr(data.files, "CIFAR_MD5", md5(archive.read_bytes()).hexdigest())
    yield archive
    server.shutdown()
    server.server_close()


def test_cifar_is_downloaded_without_the_archive_staying(served, capfd):
    assert len(load("cifar10", "test")) == 10_000
    assert {Path(f).parts[0] for f in left()} == {"cifar-10-batches-bin"} and len(
        left()
    ) == 6


def test_a_corrupted_download_leaves_nothing(served, capfd):
    cut(served)
    with pytest.raises(DatasetError, match="(?s)was not found.*corrupted"):
        load("cifar10", "test")
    assert left() == []


def fake_jpegs(place, count=60):
    for i in range(count):
        jpeg(
            place
            / "cifar10_jpg"
            / ("test" if i % 3 == 0 else "train")
            / CIFAR_CLASSES[i % 10]
            / f"{i}.jpg",
            (4 * i, 90, 90),
            (32, 32),
        )
    return place / "cifar10_jpg"


def test_jpegs_say_what_they_are(tmp_path):
    fake_jpegs(tmp_path)
    parts = [load("cifar10", s, root=tmp_path) for s in data.images.SPLITS]
    assert [len(p) for p in parts] == [36, 4, 20] and {p.name for p in parts} == {
        "cifar10 (JPEG)"
    }
    numbers = [(p.pixels[:, 0].float().mean((1, 2)) / 4).round().long() for p in parts]
    assert sorted(torch.cat(numbers).tolist()) == list(range(60)), (
        "each picture in exactly one split"
    )
    assert (numbers[2] % 3 == 0).all() and all(
        torch.equal(p.labels, k % 10) for p, k in zip(parts, numbers)
    )
    assert parts[0].classes == CIFAR_CLASSES and parts[0].shape == (3, 32, 32)
    assert torch.equal(load("cifar10", "valid", root=tmp_path).pixels, parts[1].pixels)


def test_the_binary_version_goes_before_jpegs_of_the_same_place(tmp_path):
    fake_jpegs(tmp_path)
    fake_cifar(tmp_path)
    assert load("cifar10", "test", root=tmp_path).name == "cifar10"


def test_a_class_that_cifar_has_not_is_named(tmp_path):
    jpeg(fake_jpegs(tmp_path) / "train" / "unicorn" / "1.jpg")
    with pytest.raises(
        DatasetError, match="class folder 'unicorn', which is none of CIFAR-10's"
    ):
        load("cifar10", root=tmp_path)


def test_pictures_that_belong_to_no_class_or_split_are_counted(tmp_path):
    jpeg(fake_jpegs(tmp_path) / "dev" / "cat" / "1.jpg")
    jpeg(tmp_path / "cifar10_jpg" / "train" / "loose.jpg")
    with pytest.warns(
        UserWarning,
        match=r"not in train/CLASS/ or test/CLASS/ \(2, such as dev/cat/1.jpg\)",
    ) as caught:
        load("cifar10", root=tmp_path)
    assert caught[0].filename == __file__
    jpeg(fake_caltech(tmp_path) / "loose.jpg")
    with pytest.warns(
        UserWarning, match=r"beside the class folders \(1, such as loose.jpg\)"
    ) as caught:
        load("caltech101", root=tmp_path)
    assert caught[0].filename == __file__
    for name in ("cifar10", "caltech101"):
        with pytest.raises(DatasetError, match="Left out of"):
            load(name, root=tmp_path, strict=True)


# --- Caltech-101 ---------------------------------------------------------------------------------------------------------------


def fake_caltech(place, count=30):
    folder = place / "caltech101" / "101_ObjectCategories"
    for k, name in enumerate(("BACKGROUND_Google", "cup", "dolphin")):
        for i in range(count):
            jpeg(
                folder / name / f"image_{i:04}.jpg",
                (80 * k, 8 * i, 77),
                (60 + 5 * k, 40 + i),
            )
    return folder


def test_caltech_classes_and_splits(tmp_path):
    fake_caltech(tmp_path)
    parts = [load("caltech101", s, root=tmp_path, size=32) for s in data.images.SPLITS]
    assert sum(map(len, parts)) == 60 and all(
        p.classes == ("cup", "dolphin") and p.name == "caltech101" for p in parts
    )
    for p in parts:
        assert torch.equal(
            p.labels, ((p.pixels[:, 0].float().mean((1, 2)) / 80).round() - 1).long()
        )
    greens = [
        round(g / 8)
        for p in parts
        for g in p.pixels[:, 1].float().mean((1, 2)).tolist()
    ]
    assert sorted(greens) == sorted([*range(30)] * 2), (
        "each picture in exactly one split"
    )
    assert load("caltech101", n=2, root=tmp_path).shape == (3, 128, 128) and load(
        "caltech101", n=2, size=92, root=tmp_path
    ).shape == (3, 92, 92)
    assert len(parts[0].by_label("cup")) + len(parts[0].by_label("dolphin")) == len(
        parts[0]
    )


def test_splits_do_not_depend_on_what_else_is_there(tmp_path):
    whole = {
        s: set(
            map(
                bytes,
                load(
                    "caltech101",
                    s,
                    root=fake_caltech(tmp_path / "a").parents[1],
                    size=8,
                ).pixels.numpy(),
            )
        )
        for s in ("train", "test")
    }
    fake_caltech(tmp_path / "b", 15)
    for split, seen in whole.items():
        assert (
            set(
                map(
                    bytes,
                    load(
                        "caltech101", split, root=tmp_path / "b", size=8
                    ).pixels.numpy(),
                )
            )
            <= seen
        )


def test_grey_and_cmyk_become_rgb_even_alone(tmp_path):
    folder = tmp_path / "101_ObjectCategories"
    for i in range(20):
        jpeg(folder / "grey" / f"{i}.jpg", 100, mode="L")
    assert load("caltech101", n=1, root=tmp_path).pixels.unique().tolist() == [100]
    assert load("caltech101", n=1, root=tmp_path).shape[0] == 3
    for i in range(20):
        jpeg(folder / "grey" / f"{i}.jpg", (0, 255, 255, 0), mode="CMYK")
    r, g, b = load("caltech101", n=1, root=tmp_path).pixels[0, :, 60, 60].tolist()
    assert r > 200 and g < 60 and b < 60


def test_caltech_without_pictures_is_named(tmp_path):
    (tmp_path / "caltech101" / "101_ObjectCategories" / "cup").mkdir(parents=True)
    jpeg(
        tmp_path / "caltech101" / "101_ObjectCategories" / "BACKGROUND_Google" / "1.jpg"
    )
    with pytest.raises(
        DatasetError, match="101_ObjectCategories holds no image in a class folder"
    ):
        load("caltech101", root=tmp_path)
    with pytest.raises(
        DatasetError,
        match="(?s)Caltech-101 was not found.*caltech101/101_ObjectCategories: no such folder",
    ):
        load("caltech101", root=tmp_path / "elsewhere")


# --- the real things -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@real("celeba")
def test_the_real_celeba():
    images = load("celeba", "valid", n=400, root=REAL)
    assert images.shape == (3, 64, 64) and images.attribute_names == CELEBA_ATTRIBUTES
    table = {
        line.split()[0]: line.split()[1:]
        for line in Path(REAL, "celeba", "list_attr_celeba.txt")
        .read_text()
        .splitlines()[2:]
    }
    official = [
        line.split()
        for line in Path(REAL, "celeba", "list_eval_partition.txt")
        .read_text()
        .splitlines()
    ]
    files = sorted(
        f
        for f, s in official
        if s == "1" and Path(REAL, "celeba", "img_align_celeba", f).exists()
    )[:400]
    assert images.attributes.tolist() == [
        [float(v == "1") for v in table[f]] for f in files
    ]
    with Image.open(Path(REAL, "celeba", "img_align_celeba", files[7])) as image:
        if image.size == (64, 64):
            assert (
                images.pixels[7].permute(1, 2, 0).numpy() == np.asarray(image)
            ).all(), "square files of this size stay as they are"
    start = time.process_time()
    load("celeba", "valid", n=400, root=REAL)
    assert time.process_time() - start < 2, "the second load must not decode"


@real("celeba178/celeba")
def test_the_real_originals_are_cropped_and_shrunk():
    images = load("celeba", "test", n=20, root=Path(REAL, "celeba178"))
    base = Path(REAL, "celeba178", "celeba")
    files = sorted(
        line.split()[0]
        for line in (base / "list_eval_partition.txt").read_text().splitlines()
        if line.endswith(" 2")
    )
    with Image.open(base / "img_align_celeba" / files[0]) as image:
        assert image.size == (178, 218)
        expected = np.asarray(
            image.crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.BICUBIC)
        )
    assert (
        np.abs(images.pixels[0].permute(1, 2, 0).numpy().astype(int) - expected).max()
        <= 2
    )


@real("caltech101")
def test_the_real_caltech():
    images = load("caltech101", "test", size=92, root=REAL)
    assert (
        images.shape == (3, 92, 92)
        and len(images.classes) == 101
        and "BACKGROUND_Google" not in images.classes
    )


@pytest.mark.slow
@real("cifar10_jpg")
def test_the_real_cifar_as_jpegs():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = {s: load("cifar10", s, n=100, root=REAL) for s in data.images.SPLITS}
    assert all(
        p.shape == (3, 32, 32)
        and p.name == "cifar10 (JPEG)"
        and len(p.labels.unique()) > 5
        for p in parts.values()
    )
    for split, total in (("train", 45_000), ("valid", 5_000), ("test", 10_000)):
        with pytest.raises(ValueError, match=f"holds {total:,} images"):
            load("cifar10", split, n=total + 1, root=REAL)


@pytest.mark.parametrize("layout", ["text", "csv"])
def test_what_is_on_disk_is_found_without_reading_it(layout, tmp_path):
    assert data.on_disk("celeba", tmp_path) is None
    folder = fake_celeba(tmp_path / "celeba", layout)
    for f in folder.iterdir():
        f.write_bytes(b"")
    assert data.on_disk("celeba", tmp_path) == folder
    with pytest.raises(ValueError, match="Did you mean 'celeba'"):
        data.on_disk("celebra")


def test_a_download_does_not_begin_where_it_could_not_end(monkeypatch):
    (folder := data.cache_dir() / "celeba").mkdir(parents=True)
    (folder / "img_align_celeba.zip").write_bytes(b"PK")
    monkeypatch.setattr(data.files, "_fetch", lambda *_: pytest.fail("1.4 GB in vain"))
    with pytest.raises(DatasetError, match="celeba is there but not whole"):
        load("celeba", download=True)


def test_a_slow_decoding_is_not_taken_for_a_dead_one(tmp_path, monkeypatch):
    fake_celeba(tmp_path / "celeba")
    small_pieces(monkeypatch)
    cache, real = data.cache_dir() / "decoded", data.decoded._decode_piece

    def slow(*arguments):  # two hours a piece, and another process tidies up
        data.decoded._remove_leftovers(cache)
        for file in cache.glob(".*.partial"):
            os.utime(file, (time.time() - 7200,) * 2)
        return real(*arguments)

    monkeypatch.setattr(data.decoded, "_decode_piece", slow)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("celeba", root=tmp_path)
    assert len(left()) == 1
