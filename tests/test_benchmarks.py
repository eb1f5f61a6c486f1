"The measurements: the peers' networks are ours, the clocks and charts do what they say. What takes minutes is `make bench`."

import base64
import json
import os
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import torch

from benchmarks import __main__ as every
from benchmarks import book as book_cost
from benchmarks import (
    curves,
    engines,
    gpu,
    iwae,
    lab,
    lab_engines,
    labels,
    mnist_nll,
    peers,
    published_run,
    record,
    scaling,
)
from benchmarks.beside.nets import Enough, Plain, Watch, clock, network
from book import pictures
from vae_nb.conv import conv_vae
from vae_nb.data import load
from vae_nb.evaluate import nll
from vae_nb.vae import mlp_vae


@pytest.mark.parametrize(
    "ours",
    [
        lambda: mlp_vae((1, 28, 28), 20, (400,), activation="relu"),
        lambda: conv_vae((3, 32, 32), sigma=1.0),
        lambda: conv_vae((3, 64, 64), sigma=1.0),
    ],
    ids=["MLP", "conv 32", "conv 64"],
)
def test_the_peers_train_the_same_network(ours):
    ours = ours()
    plain = network(ours.shape)
    sizes = lambda model: [tuple(p.shape) for p in model.parameters()]
    assert sizes(plain.encoder) == sizes(ours.encoder) and sizes(
        plain.decoder
    ) == sizes(ours.decoder)
    plain.encoder.load_state_dict(ours.encoder.state_dict())
    plain.decoder.load_state_dict(ours.decoder.state_dict())
    x = torch.rand(4, *ours.shape)
    torch.manual_seed(0)
    terms = ours.eval().loss(x)
    torch.manual_seed(0)
    loss = plain.eval().loss(x)["loss"]
    constant = 0.0 if plain.binary else 0.5 * np.log(2 * np.pi) * x[0].numel()
    assert loss.item() + constant == pytest.approx(terms["loss"].item(), rel=1e-5)


def test_a_watch_keeps_weights_at_its_marks_and_ends_at_the_last(tmp_path):
    net = Plain(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), True)
    watch = Watch(net, [0.0, 0.05], tmp_path)
    watch.start()
    with pytest.raises(Enough):
        while True:
            torch.rand(20_000).sort()
            watch.tick()
    (first, early), (last, late) = watch.report()
    assert 0 <= first < 0.05 <= last < 1
    assert (
        torch.load(early, weights_only=True).keys() == net.state_dict().keys()
        and early != late
    )


@pytest.mark.parametrize("threads, counts", [(1, False), (2, True)])
def test_one_thread_is_timed_by_the_processor_and_more_by_the_wall_clock(
    threads, counts
):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        start = clock()
        time.sleep(0.1)
        assert (clock() - start > 0.09) == counts
    finally:
        torch.set_num_threads(before)


def test_several_threads_have_a_table_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    seconds = {
        "textbook loop": [4.0, 4.0, 8.0],
        "pythae's trainer": [2.0, 2.0, 2.0],
        "fit, its defaults": [1.0, 1.0, 0.5],
    }
    found = dict.fromkeys(("MLP", "conv 32", "conv 64"), (1000, seconds))
    peers.publish(found, 1)
    peers.publish(found, 2)
    tables = {
        path.stem: json.loads(path.read_text())["rows"]
        for path in tmp_path.glob("*.json")
    }
    assert {name: len(rows) for name, rows in tables.items()} == {
        "peers": 3,
        "peers_conv": 6,
        "peers_threads": 9,
    }
    assert tables["peers"][2] == {
        "loop": "fit, its defaults",
        "images per CPU-second": "1,000",
        "spread": "1,000 to 2,000",
        "times the textbook loop": "4.00",
        "times pythae's trainer": "2.00",
    }
    assert (
        tables["peers_threads"][8]["network"] == "conv 64"
        and tables["peers_threads"][8]["images per second"] == "1,000"
    )


@pytest.mark.slow
def test_the_textbook_peer_answers_with_its_time_and_its_weights(tmp_path):
    np.save(
        tmp_path / "digits.npy",
        np.random.default_rng(0).integers(0, 256, (300, 1, 28, 28), dtype=np.uint8),
    )
    with peers.peer("textbook") as ask:
        assert 0 < ask(tmp_path / "digits.npy") < 60
        ((seconds, weights),) = ask(
            tmp_path / "digits.npy",
            epochs=1000,
            marks=[0.2],
            folder=str(tmp_path / "kept"),
        )
        assert 0.2 <= seconds < 5
        network((1, 28, 28)).load_state_dict(torch.load(weights, weights_only=True))
        with pytest.raises(SystemExit, match="textbook.log"):
            ask(tmp_path / "missing.npy")


def test_an_environment_is_made_once_and_again_when_its_list_changes(
    tmp_path, monkeypatch
):
    ran = []
    monkeypatch.setattr(peers, "HERE", tmp_path)
    monkeypatch.setattr(peers, "BUILD", tmp_path / "built")
    (tmp_path / "built/some").mkdir(parents=True)
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command: ran.append(command[1]) or SimpleNamespace(returncode=0),
    )
    (tmp_path / "some.txt").write_text("a==1\n")
    assert (
        peers.environment("some")
        == peers.environment("some")
        == tmp_path / "built/some/bin/python"
    )
    assert ran == ["venv", "pip"]
    (tmp_path / "some.txt").write_text("a==2\n")
    peers.environment("some")
    assert ran == ["venv", "pip"] * 2
    assert peers.environment("textbook") == sys.executable
    (tmp_path / "some.txt").write_text("a==3\n")
    monkeypatch.setattr(
        subprocess, "run", lambda command: SimpleNamespace(returncode=1)
    )
    with pytest.raises(SystemExit, match="some could not be made.*package registry"):
        peers.environment("some")
    assert (tmp_path / "built/some/installed.txt").read_text() == "a==2\n", (
        "what failed is tried again"
    )


def test_a_peers_list_pins_everything_and_names_no_host():
    lists = sorted((peers.HERE).glob("*.txt"))
    assert {path.stem for path in lists} == {"engines", "lightning", "pythae"}
    for path in lists:
        lines = [
            line
            for line in path.read_text().splitlines()
            if line and not line.startswith("#")
        ]
        assert all("==" in line and "://" not in line for line in lines), path.name
        assert any(
            line.startswith(f"{'selenium' if path.stem == 'engines' else path.stem}==")
            for line in lines
        )


def test_a_power_law_has_its_exponent():
    assert scaling.slope({n: 3e-5 * n**1.5 for n in (10, 40, 160)}) == pytest.approx(
        1.5
    )


def test_a_map_of_the_benchmark_is_one_that_the_library_reads(tmp_path, monkeypatch):
    from vae_nb.data.decoded import read_decoded

    monkeypatch.setattr(scaling, "CELEBA", (5000, 3, 8, 8))
    scaling.synthetic_map(tmp_path / "map.npy")
    pixels, bad = read_decoded(tmp_path / "map.npy")
    assert pixels.shape == (5000, 3, 8, 8) and bad == {}
    assert 120 < pixels[4999].float().mean() < 135, "the last images are bytes too"


@pytest.mark.slow
def test_iwae_spends_its_minutes_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    from vae_nb.data import load

    images = load("digits").take(300).binarised()
    monkeypatch.setattr(iwae, "BATCH", 50)
    for minutes in (0.5 / 60, 1.0 / 60):  # the second goes on
        run = iwae.train("iwae5", minutes, 1, images, tmp_path)
        assert 60 * minutes <= run.cpu < 60 * minutes + 1
    first, again = run.steps, iwae.train("iwae5", 1.0 / 60, 1, images, tmp_path)
    assert again.steps == first and all(
        torch.equal(a, b)
        for a, b in zip(run.model.parameters(), again.model.parameters())
    ), "finished runs are only read"


def test_quick_scores_are_the_same_scores():
    images = load("digits", "valid").binarised("fixed")[:40]
    model = mlp_vae(images.shape, latent_dim=4, hidden=(16,))
    slow = nll(model, images, k=50)
    assert nll(mnist_nll.quick(model), images, k=50) == pytest.approx(slow, abs=1e-4)


def test_iwae_rows_have_folders_of_their_own_and_a_k_that_grows():
    places = {
        iwae.place(name, seed)
        for name, (*_, seeds) in iwae.ROWS.items()
        for seed in seeds
    }
    assert len(places) == sum(len(seeds) for *_, seeds in iwae.ROWS.values())
    ks = [iwae.samples("grow", share / 100)[1] for share in range(101)]
    assert ks == sorted(ks) and ks[0] == 1 and ks[-1] == 50
    assert iwae.samples("vae", 0.5) == (1, 0) and iwae.samples("iwae5", 0.5) == (1, 5)
    assert iwae.loss_of(*iwae.samples("miwae", 0.5)).__name__.startswith(
        "importance_weighted_5x4_"
    )
    rates = [iwae.learning_rate(share / 100) for share in range(101)]
    assert max(rates) == rates[30] == pytest.approx(iwae.LR) and rates[-1] < 1e-9


def test_one_run_of_mnist_nll_keeps_the_rows_of_the_others(tmp_path, monkeypatch):
    path = record.RESULTS / "mnist_nll.json"
    before = json.loads(path.read_text())["rows"]
    (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    row = dict.fromkeys(before[0], 0) | {"net": "784-400-400-50", "weight decay": 0.1}
    row |= {"seed": 214, "NLL": 80.0, "standard error": 0.5}
    mnist_nll.publish([row])
    kept = json.loads((tmp_path / path.name).read_text())
    assert [r["NLL"] for r in kept["rows"]] == [r["NLL"] for r in before[:4]] + [
        "80.00 ± 0.50"
    ]
    assert "85.34 ± 0.04" in kept["note"] and "not finished" not in kept["note"]


def test_one_method_of_few_labels_keeps_the_rows_of_the_others(tmp_path, monkeypatch):
    path = record.RESULTS / "labels.json"
    before = json.loads(path.read_text())["rows"]
    (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    run = {"error": 10.0, "minutes": 1.0}
    monkeypatch.setattr(
        labels, "found", lambda name: [run] * 3 if "-M2-100-" in name else []
    )
    labels.record()
    rows = json.loads((tmp_path / path.name).read_text())["rows"]
    assert [r["method"] for r in rows].count("M2") == 1
    assert [r for r in rows if r["method"] != "M2"] == [
        r for r in before if r["method"] != "M2"
    ]


def test_the_runs_of_mnist_nll_have_folders_of_their_own(monkeypatch):
    full = {
        mnist_nll.place(net, seed)
        for net, (*_, seeds) in mnist_nll.NETS.items()
        for seed in seeds
    }
    assert len(full) == sum(len(seeds) for *_, seeds in mnist_nll.NETS.values())
    monkeypatch.setattr(mnist_nll, "SCALE", 0.01)
    assert not full & {mnist_nll.place(net, 211) for net in mnist_nll.NETS}


@pytest.mark.slow
def test_curves_leave_the_look_at_validation_digits_out_of_the_time(monkeypatch):
    def slow_look(model, images):
        end = curves.time.process_time() + 0.3
        while curves.time.process_time() < end:
            pass
        return 100.0

    monkeypatch.setattr(curves, "score", slow_look)
    curve = curves.Curve(valid=None, every=1)
    for epoch in range(3):
        curve(None, {"epoch": epoch})
    assert [y for _, y in curve.points] == [100.0, 100.0] and curve.spent < 0.2


def test_curves_train_for_the_epochs_that_a_budget_buys(monkeypatch):
    clock = iter([0, 9, 11, 13, 15] * 2)  # the first epoch is slow: it warms up

    def fake_fit(model, train, epochs, callbacks, progress):
        for epoch in range(epochs + 1):
            callbacks[0](model, {"epoch": epoch})

    monkeypatch.setattr(curves, "fit", fake_fit)
    monkeypatch.setattr(curves.time, "process_time", lambda: next(clock))
    train = torch.zeros(2, 1, 28, 28)
    assert (
        curves.epochs_within(
            60,
            dict(latent_dim=2, hidden=(4,)),
            {},
            SimpleNamespace(shape=train.shape[1:]),
        )
        == 30
    )
    assert (
        curves.epochs_within(
            1,
            dict(latent_dim=2, hidden=(4,)),
            {},
            SimpleNamespace(shape=train.shape[1:]),
        )
        == 1
    )


def test_what_cannot_be_measured_here_does_not_keep_the_others_from_it(monkeypatch):
    done = []

    def refuse():
        raise SystemExit("no browser here")

    modules = {
        "benchmarks.engines": SimpleNamespace(main=refuse),
        "benchmarks.imports": SimpleNamespace(main=lambda: done.append("imports")),
    }
    monkeypatch.setattr(every.importlib, "import_module", modules.__getitem__)
    monkeypatch.setattr(every, "write_tables", lambda: done.append("tables"))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "engines", "imports"])
    with pytest.raises(SystemExit, match=r"Not measured: engines \(no browser here\)"):
        every.main()
    assert done == ["imports", "tables"]


def test_engines_are_compared_pixel_by_pixel(monkeypatch):
    looks = [[True, 100.0, [1, 2, 3], [10, 170]], [True, 120.0, [1, 2, 5], [20, 175]]]
    row = engines.row("a decoder", "a browser", looks, reference=[1, 2, 3])
    assert list(row.values()) == [
        "a decoder",
        "a browser",
        "110, 120",
        "20",
        "170 to 175",
        2,
    ]
    monkeypatch.setitem(engines.NEEDED, "xvfb", lambda: None)
    with pytest.raises(SystemExit, match="Not here: .*xvfb.*apt-get install"):
        engines.main()


def test_the_lab_is_compared_in_every_setting(monkeypatch):
    settings = [kind["options"] | kind["settings"] for kind in lab_engines.kinds()]
    chosen = lambda name: {setting[name] for setting in settings}
    assert len(settings) == 14 and len(chosen("bug")) == 7
    assert len(chosen("activation")) == 6 and len(chosen("likelihood")) == 2
    text = lambda *weights: base64.b64encode(np.float32(weights).tobytes()).decode()
    marks = [
        {"spent": s, "images": 9000, "held": 150, "first": 0.5, "used": 2}
        for s in (5, 10)
    ]
    row = lab_engines.row(
        "a browser", [(marks, text(3, 4))], text(3, 5), [text(1)], [text(1)]
    )
    assert list(row.values())[1:5] == ["900", "4,500", "500", "150.0"]
    assert list(row.values())[5:] == ["0.2", "0"]


def test_processes_that_show_pages_are_found_below_this_one():
    sleep = [sys.executable, "-c", "import time; time.sleep(60)", "--type=renderer"]
    with subprocess.Popen(sleep) as process:
        assert str(process.pid) in [folder.name for folder in lab.page_processes()]
        process.kill()


def test_digits_are_moved_a_little_and_counted_when_they_cost_much():
    plus = torch.zeros(50, 1, 28, 28)
    plus[:, :, 4:24, 12:16] = plus[:, :, 12:16, 4:24] = 1
    moved = mnist_nll.moved(plus)
    assert moved.shape == plus.shape and set(moved.unique().tolist()) == {0.0, 1.0}
    assert 0.7 < (moved * plus).sum() / plus.sum() < 0.99, "moved, and not far"
    assert torch.equal(moved, mnist_nll.moved(plus)), "always alike"
    model = mlp_vae((1, 28, 28), latent_dim=2, hidden=(4,))
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        assert mnist_nll.strange(model, plus.split(20)) == "0 (dearest 543)", "784 ln 2"
        model.encoder[-1].bias[:2] = 1e4
        assert mnist_nll.strange(model, plus.split(20)) == "50 (dearest 1e+08)"
        model.encoder[-1].bias[2:] = 1e4
    assert mnist_nll.strange(model, plus.split(20)) == "50 (dearest beyond float32)"


def test_marks_of_pictures_become_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "RESULTS", tmp_path)
    lines = [
        {"group": "ours", "points": [[5, 110.0], [20, 100.0]]},
        {"group": "ours", "points": [[5, 112.0], [60, 98.0]]},
        {"group": "theirs", "points": [[5, 130.0], [60, 105.0]]},
    ]
    (tmp_path / "curves.json").write_text(
        json.dumps({"picture": curves.picture(lines)})
    )
    text = pictures.illustrate("before\n\n<!-- picture: curves -->\n\nafter", tmp_path)
    assert (
        "```{figure} measured-curves.png" in text
        and ":alt: Validation" in text
        and "105.0 nats after 60 s" in text
    )
    assert matplotlib.image.imread(tmp_path / "measured-curves.png").std() > 0.05
    with pytest.raises(SystemExit, match="make bench NAME=never"):
        pictures.illustrate("<!-- picture: never -->", tmp_path)


def test_a_page_weighs_what_only_it_loads(tmp_path):
    (tmp_path / "_images").mkdir()
    (tmp_path / "_static/explorers").mkdir(parents=True)
    (tmp_path / "_images/a.png").write_bytes(b"x" * 1000)
    (tmp_path / "_static/explorers/host.js").write_bytes(b"x" * 200)
    (tmp_path / "_static/theme.js").write_bytes(b"x" * 5000)
    page = tmp_path / "page.html"
    page.write_text(
        '<img alt="" src="_images/a.png"><img src="_images/a.png"><script src="_static/explorers/host.js?v=1"></script>'
        '<script src="_static/theme.js"></script><img src="data:image/png;base64,AAAA">'
    )
    assert book_cost.page_weight(page) == page.stat().st_size + 1200


def test_the_cost_of_a_book_is_read_from_its_build_or_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(book_cost, "BUILD", tmp_path)
    monkeypatch.setattr(book_cost, "notebooks", lambda: {"01_theory": None})
    with pytest.raises(SystemExit, match="01_theory was not run.*make bench NAME=book"):
        book_cost.rows_of("cpu")
    (tmp_path / "executed/cpu").mkdir(parents=True)
    (tmp_path / "html").mkdir()
    (tmp_path / "html/01_theory.html").write_text("x" * 2000)
    (tmp_path / "executed/cpu/01_theory.ipynb").write_text(
        json.dumps({"metadata": {"book": {"seconds": 61.2, "memory": 512}}})
    )
    assert book_cost.rows_of("cpu") == [
        {
            "notebook": "01_theory",
            "run, s": "61",
            "peak memory, MB": "512",
            "page, kB": "2",
        }
    ]


def test_modules_that_measure_nothing_are_no_benchmarks():
    assert not {"record", "__init__", "__main__"} & set(record.names())
    assert {
        "peers",
        "curves",
        "matmul_peak",
        "scaling",
        "choices",
        "book",
        "mnist_nll",
    } <= set(record.names())


def test_a_recipe_is_tried_on_other_pictures_with_their_own_classes():
    from benchmarks.joint_elsewhere import HAIR, grey, row

    faces = grey("faces", "test", 40)
    assert faces.shape == (1, 28, 28) and faces.labels.unique().tolist() == list(
        range(len(HAIR))
    )
    column = (
        faces.attributes[:, faces.attribute_names.index(f"hair_style={HAIR[2]}")] == 1
    )
    assert torch.equal(column, faces.labels == 2)
    made = row(
        [
            {
                "name": "faces",
                "recipe": a,
                "k-means": 0.3,
                "agreement": 0.9,
                "seconds": 7.0,
            }
            for a in (0.25, 0.35)
        ]
    )
    assert (
        made["the recipe, %"] == "30.0 ± 7.1"
        and made["guessing, %"] == f"{100 / len(HAIR):.0f}"
    )


def test_the_spread_over_trainings_stands_beside_the_interval_over_images():
    from benchmarks.edits_seeds import NAMES, table

    runs = [
        {
            name: {"flips": flips, "from": flips - 0.02, "to": flips + 0.02, "n": 100}
            for name in NAMES
        }
        for flips in (0.5, 0.6)
    ]
    assert (
        table(runs)[0]["from lowest to highest, points"] == "10.0"
        and table(runs)[0]["half of the 95 % interval over images, points"] == "2.0"
    )


# --- the command for a GPU ---


@pytest.fixture
def small_gpu(tmp_path, monkeypatch):
    "The command, its files in a folder of the test."
    monkeypatch.setattr(gpu, "BUILD", tmp_path)
    monkeypatch.setattr(gpu, "CARRIED", tmp_path / "carry")
    monkeypatch.setattr(gpu, "ON_GPU", False)
    monkeypatch.setattr(gpu, "DEVICE", torch.device("cpu"))
    return tmp_path


def test_what_travels_is_small_and_is_found_again(tmp_path, small_gpu, monkeypatch):
    source, out = tmp_path / "data", tmp_path / "carry"
    pictures = source / "celeba/img_align_celeba"
    (source / "MNIST/raw").mkdir(parents=True), pictures.mkdir(parents=True)
    (source / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"digits" * 100)
    rows = [f"{i:06}.jpg" for i in range(1, 11)]
    for name in rows:
        (pictures / name).write_bytes(b"face")
    for table, header in (
        ("list_attr_celeba", "10\nSmiling\n"),
        ("list_eval_partition", ""),
    ):
        lines = header + "".join(f"{name} 1\n" for name in rows)
        (source / f"celeba/{table}.txt").write_text(lines)
    gpu.pack(source, out, faces=5)
    found = sorted(p.name for p in (out / "celeba/img_align_celeba").iterdir())
    assert found == rows[::2], "evenly over the splits"
    table = (out / "celeba/list_attr_celeba.txt").read_text().splitlines()
    assert table[:2] == ["5", "Smiling"] and [line[:10] for line in table[2:]] == found
    monkeypatch.delenv("VAE_NB_DATA", raising=False)
    gpu.unpack(out)
    raw = out / "MNIST/raw/train-images-idx3-ubyte"
    assert raw.read_bytes() == b"digits" * 100 and os.environ["VAE_NB_DATA"] == str(out)
    monkeypatch.setattr(gpu, "LIMIT", 10)
    with pytest.raises(SystemExit, match="would travel"):
        gpu.pack(source, out)
    with pytest.raises(SystemExit, match="MNIST/raw and celeba in"):
        gpu.pack(tmp_path / "nowhere", out)


def test_a_part_keeps_its_time_and_names_what_it_left_out(small_gpu, capsys):
    part = gpu.Part("some", seconds=100)
    assert part.has_time(5, "a") and not part.has_time(200, "b")
    part.leave_out("b", "no time was left")
    part.add(network="MLP", batch=16)
    part.keep("Some", "A note.")
    kept = json.loads((small_gpu / "gpu/gpu_some.json").read_text())
    assert kept["rows"] == [{"network": "MLP", "batch": 16}]
    assert kept["note"] == "A note. Not measured: b (no time was left)."


def test_what_is_not_installed_fails_or_is_no_graph_is_left_out(small_gpu):
    def missing():
        raise ModuleNotFoundError("no pythae", name="pythae")

    def broken():
        raise RuntimeError("out of memory")

    def refused():
        warnings.warn("compile='graph' is not used: no graphs here", stacklevel=1)
        return 1.0

    part = gpu.Part("steps", seconds=100)
    ways = {"peer": (missing, 1), "fit, float32": (lambda: 1e-3, 1)}
    ways |= {"large": (broken, 1), "fit, graph": (refused, 1)}
    for name in ("MLP", "conv 32"):
        gpu.measure(part, name, 128, ways, 2e9, {"float32": [10.0, 4.0]})
    assert [row["share of the peak"] for row in part.rows] == ["20%", "50%"]
    assert part.rows[0]["images per second"] == "128,000"
    told = " ".join(part.left_out)
    assert told.count("pythae is not installed") == 1 and "out of memory" in told
    assert "no graphs here" in told and len(part.left_out) == 5


def test_a_part_that_breaks_leaves_the_others_alone(small_gpu, monkeypatch, capsys):
    def broken(part):
        part.add(first="row")
        raise RuntimeError("the card is gone")

    after = []
    monkeypatch.setattr(gpu, "PARTS", {"peak": broken, "steps": after.append})
    monkeypatch.setenv("PARTS", "peak,steps")
    gpu.main()
    kept = json.loads((small_gpu / "gpu/gpu_peak.json").read_text())
    assert kept["rows"] == [{"first": "row"}] and "the card is gone" in kept["note"]
    assert len(after) == 1 and sum(gpu.SECONDS.values()) <= 480
    assert "no GPU" in capsys.readouterr().out


def test_without_papermill_the_chapter_is_left_out(small_gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "papermill", None)
    part = gpu.Part("chapter", seconds=100)
    gpu.chapter(part)
    assert "papermill is not installed" in part.left_out[0]


def test_the_page_shows_the_card_where_there_are_figures(tmp_path, monkeypatch):
    from book import measured

    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    text = "<!-- measured if there: gpu_peak -->"
    assert measured.fill(text) == "Not measured: `gpu_peak`."
    card = dict(card="A card, 80 GiB", driver="580.1", cuda="13.0", cudnn=91002)
    monkeypatch.setattr(record, "card", lambda: card)
    record.write("gpu_peak", "Peak", [{"precision": "float32"}], benchmark="gpu")
    shown = measured.fill(text)
    assert "**Peak**" in shown and "`make bench NAME=gpu` on A card, 80 GiB" in shown
    assert "driver 580.1, CUDA 13.0, cuDNN 91002" in shown and "torch" in shown


@pytest.mark.slow
def test_the_command_needs_nothing_but_what_trains():
    "Neither anywidget nor papermill, pythae or PyYAML."
    code = """
import sys
for name in "anywidget papermill pythae yaml jupyter_book rich bs4".split():
    sys.modules[name] = None
from benchmarks import gpu
gpu.networks()
import vae_nb.train, vae_nb.evaluate, vae_nb.data
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_command_runs_small_without_a_gpu(small_gpu, monkeypatch):
    monkeypatch.setenv("VAE_NB_DATA", str(small_gpu))
    monkeypatch.setenv("PARTS", "peak,steps,targets,faces")
    gpu.main()
    kept = {
        path.stem: json.loads(path.read_text())
        for path in (small_gpu / "gpu").glob("*.json")
    }
    assert {name: len(of["rows"]) >= 1 for name, of in kept.items()} == dict.fromkeys(
        ("gpu_peak", "gpu_steps", "gpu_targets", "gpu_faces"), True
    )
    assert not any("Error" in of["note"] for of in kept.values()), kept
    loops = {row["loop"] for row in kept["gpu_steps"]["rows"]}
    assert loops >= {"fit, float32", "textbook loop", "torch.compile loop"}


@pytest.mark.slow
def test_the_published_run_is_estimated_to_take_half_an_hour_at_most():
    seconds = {row["chapter"]: float(row["in all, s"]) for row in published_run.rows()}
    chapters = {
        name for name in published_run.notebooks() if not name.startswith("lib/")
    }
    assert seconds.keys() == chapters | {"all, one after the other"}
    assert seconds["all, one after the other"] <= published_run.LIMIT
    assert published_run.WORK.keys() <= chapters
    counted = published_run.WORK.keys() | published_run.BY_THE_CLOCK.keys()
    training = {n for n, p in published_run.chapters().items() if "epochs" in p}
    assert training <= counted, f"not counted: {training - counted}"
