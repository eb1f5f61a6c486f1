"The command: every example works, every refusal is one line, runs survive Ctrl-C, nothing is overwritten."

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from nasty_names import NASTY
from PIL import Image
from typer.testing import CliRunner

import vae_nb
from benchmarks.fuzz_images import faulty, fuzz
from vae_nb import data
from vae_nb.cli import main
from vae_nb.cli.answer import app, jsonable, to_json, to_text
from vae_nb.cli.words import model_of, run_setup, strengths
from vae_nb.core import load_tensors, save_tensors
from vae_nb.data import DATASETS, load
from vae_nb.recipes import PRETRAINED, RECIPES, recipe
from vae_nb.saving import load_model
from vae_nb.vae import VAE, mlp_vae

TINY = [
    "train",
    "mnist-mlp",
    "--data",
    "digits",
    "--n",
    "150",
    "--batch-size",
    "32",
]  # 5 steps an epoch


def call(*words):
    "Run the command in process; an exception that escapes is an error of the test."
    done = CliRunner().invoke(app, list(map(str, words)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def good(*words):
    "A call that must succeed; its facts."
    done = call(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def refused(*words):
    "A call that must be refused; its one line."
    done = call(*words)
    lines = done.stderr.splitlines()
    assert (
        done.exit_code == 1
        and done.stdout == ""
        and len(lines) == 1
        and lines[0].startswith("error: ")
    ), (done.exit_code, done.stdout, done.stderr)
    return lines[0]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    "An empty folder to work in, an empty cache, no data, no download."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("VAE_NB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VAE_NB_DATA", raising=False)
    monkeypatch.setattr(data.files, "failed_download", lambda *_: "no network in tests")
    data.files.say_once.cache_clear()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A finished run on the embedded digits."
    folder = tmp_path_factory.mktemp("runs") / "run"
    good(*TINY, "--epochs", "2", "--latent-dim", "3", "--out", folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    "A folder of drawn faces, one damaged."
    folder = tmp_path_factory.mktemp("pictures")
    for i, x in enumerate(load("faces", n=40, size=40).pixels):
        Image.fromarray(x.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    (folder / "letter.png").write_text("Dear Sir")
    return folder


# --- what it prints ------------------------------------------------------------------------------------------------------------


def test_the_help_comes_without_pytorch_and_names_every_command():
    code = "import sys, runpy; sys.argv = ['vae_nb', '--help']\ntry: runpy.run_module('vae_nb', run_name='__main__')\n"
    code += "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 False False"
    names = "train sample reconstruct manipulate interpolate latents evaluate diagnose recipes datasets info export".split()
    assert all(f"\n  {name} " in done.stdout for name in names) and "130" in done.stdout


def examples():
    return [made.epilog.removeprefix("Example: ") for made in app.registered_commands]


@pytest.mark.slow
@pytest.mark.parametrize("line", examples())
def test_the_example_of_each_help_works(line):
    less = {"train": 200, "diagnose": 12, "evaluate": 20}.get(line.split()[1])
    words = line.split()[1:] + (["--n", less] if less else [])  # the same, shorter
    facts = good(*words)
    for name in ("picture", "explorer", "losses", "samples"):
        if isinstance(facts.get(name), str):
            assert Path(facts[name]).stat().st_size > 1000
    done = call(line.split()[1], "--help")
    assert done.exit_code == 0 and line in " ".join(done.stdout.split())


def test_facts_are_text_or_one_json_object():
    facts = {
        "path": Path("a"),
        "nothing": float("nan"),
        "deep": {"k": (1, float("inf"))},
        "rows": [{"a": 1, "b": 2.5}, {"a": 10, "b": None}],
    }
    assert json.loads(json.dumps(jsonable(facts), allow_nan=False)) == {
        "path": "a",
        "nothing": None,
        "deep": {"k": [1, None]},
        "rows": [{"a": 1, "b": 2.5}, {"a": 10, "b": None}],
    }
    assert to_text(facts).splitlines()[-3:] == ["a   b", "1   2.50", "10  –"]


def test_nasty_names_stay_in_their_place():
    facts = {
        "attribute": NASTY[0],
        "rows": [{"name": name, "value": i} for i, name in enumerate(NASTY)],
        "counts": dict.fromkeys(NASTY, 1),
    }
    assert json.loads(to_json(facts)) == facts
    lines = to_text(facts).splitlines()
    assert len(lines) == 2 + len(NASTY) + len(lines[len(NASTY) + 2 :]) and all(
        str(i) == line.split()[-1] for i, line in enumerate(lines[2 : len(NASTY) + 2])
    )
    assert all(line.isprintable() for line in lines)


def test_every_recipe_is_spelled_one_way():
    assert [row["recipe"] for row in good("recipes")["recipes"]] == list(RECIPES)
    assert recipe("celeba64-joint") is recipe("celeba64_joint")
    assert not any("-mlp" in line for line in examples())


def test_errors_of_ours_are_told_from_faults(monkeypatch):
    def broken(*_):
        raise KeyError("oops")

    monkeypatch.setattr("vae_nb.cli.drawing.model_of", broken)
    done = call("sample")
    assert (
        done.exit_code == 1
        and done.stderr.startswith("fault: KeyError")
        and len(done.stderr.splitlines()) == 1
    )
    assert "Traceback" in call("sample", "--debug").stderr


def test_warnings_are_one_line(run, monkeypatch):
    monkeypatch.setattr(
        "vae_nb.cli.drawing.seeded_samples",
        lambda *_: warnings.warn("careful\n now") or torch.zeros(1, 1, 28, 28),
    )
    done = call("sample", run)
    assert (
        done.exit_code == 0
        and done.stderr == "warning: careful now\n"
        and "picture: samples.png" in done.stdout
    )


def test_the_version_is_the_packages():
    assert call("--version").stdout == f"vae_nb {vae_nb.__version__}\n"


@pytest.mark.parametrize(
    "words, status",
    [
        (["sample", "nothing/here"], 1),
        (["sample", "--n", "many"], 2),
        (["trane"], 2),
        (["sample", ""], 1),
        (["train", "mnist_mlp", "--epochs", "0"], 1),
    ],
)
def test_with_json_a_refusal_is_json(words, status):
    done = call(*words, "--json")
    assert (
        done.exit_code == status
        and list(json.loads(done.stdout)) == ["error"]
        and json.loads(done.stdout)["error"] in " ".join(done.stderr.split())
    )


def test_ctrl_c_with_json_is_json(monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("vae_nb.cli.drawing.model_of", stopped)
    done = call("sample", "--json")
    assert done.exit_code == 130 and json.loads(done.stdout) == {"error": "stopped"}


@pytest.mark.parametrize(
    "words",
    [
        ["sample", ""],
        ["train", "mnist_mlp", "--data", ""],
        ["train", "mnist_mlp", "--data="],
        ["sample", "--out", ""],
        ["train", ""],
        ["export", "--html", "-a", ""],
        ["reconstruct", ""],
    ],
)
def test_an_empty_word_is_refused_and_named(words):
    before = words[-1].rstrip("=") or words[-2]
    assert f"what follows {before!r} is empty" in refused(*words) and not any(
        Path().iterdir()
    )


def test_the_systems_errors_come_without_their_numbers(run):
    Path("file").write_text("")
    for words in (
        ["sample", run, "--out", "file/x.png"],
        [*TINY, "--out", "file/run"],
        ["info", "file"],
    ):
        assert "Errno" not in refused(*words)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["sample", "faces", "--out", "no/such/x.png"],
        ["export", "faces", "--html", "--out", "no/such/x.html"],
        [*TINY, "--out", "no/such/folder/run"],
    ],
)
def test_one_level_of_folders_is_made_and_no_tree(words):
    assert "there is no folder" in refused(*words) and not Path("no").exists()
    good("sample", "faces", "--n", "1", "--out", "new/x.png")
    assert Path("new/x.png").is_file()


def in_shell(line, **env):
    "A line in a real shell; `small` is a command that answers at once, without PyTorch."
    Path("small.py").write_text(
        "from vae_nb.cli import command, main\n"
        "answer = lambda: {'data': 'Łódź 😀'}\n"
        "command('vae_nb small')(answer)\n"
        "main()\n"
    )
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.quote(sys.executable)} {line}"],
        capture_output=True,
        env=os.environ | env,
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict"])
def test_an_answer_survives_an_output_that_is_not_utf_8(encoding):
    done = in_shell("small.py small --json", PYTHONIOENCODING=encoding)
    assert json.loads(done.stdout.decode("ascii"))["data"] == "Łódź 😀", done.stderr
    done = in_shell("small.py small", PYTHONIOENCODING=encoding)
    text = done.stdout.decode(encoding.split(":")[0])
    assert text.isascii() == (encoding != "latin-1") and "\\U0001f600" in text


@pytest.mark.slow
def test_a_folder_of_any_name_is_scored_whatever_the_output_can_take(
    pictures, monkeypatch
):
    shutil.copytree(pictures, "Łódź 😀")
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", screen)
    words = ["evaluate", "faces", "--data", "Łódź 😀", "--split", "train"]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--n", "8", "--k", "2"])
    assert rb"data: \u0141\xf3d\u017a \U0001f600" in screen.buffer.getvalue()


def test_a_reader_who_leaves_is_no_error():
    done = in_shell("small.py small --json | true")
    assert done.stderr == b"" and done.returncode == 141
    done = in_shell("small.py small | head -1")
    assert done.stderr == b"" and done.stdout


def test_a_command_line_that_is_not_understood_is_exit_2():
    assert (
        call("sample", "--colour", "red").exit_code == 2
        and call("trane").exit_code == 2
        and call("sample", "--n", "many").exit_code == 2
    )


# --- train, stop, go on --------------------------------------------------------------------------------------------------------


def test_a_run_folder_remembers_what_it_is(run):
    assert json.loads((run / "run.json").read_text()) == {
        "recipe": "mnist_mlp",
        "data": "digits",
        "n": 150,
        "size": None,
        "latent_dim": 3,
        "fallback": False,
        "settings": {"epochs": 2, "batch_size": 32, "lr": 1e-3, "seed": 0},
    }
    assert {p.name for p in run.iterdir()} == {
        "run.json",
        "checkpoint.safetensors",
        "model.safetensors",
        "config.json",
        "best",
        "history.csv",
        "losses.png",
        "samples.png",
    }
    facts = good("info", run)
    assert (
        facts["epochs_done"] == 2
        and facts["finished"]
        and facts["recipe"] == "mnist_mlp"
        and facts["latents"] == 3
        and facts["last"]["valid_loss"] > 0
    )


@pytest.mark.slow
def test_without_data_a_fallback_is_used_and_said():
    done = call("train", "mnist_mlp", "--epochs", "1", "--json")
    assert (
        "The real MNIST was not found" in done.stderr
        and "vae_nb datasets" in done.stderr
        and "the fallback is used" in done.stderr
    )
    facts = json.loads(done.stdout)
    assert facts["fallback"] and facts["data"] == "digits" and facts["images"] == 1197
    assert json.loads(Path("run/run.json").read_text())["data"] == "digits"
    good("train", "mnist_mlp", "--epochs", "1", "--n", "5000", "--out", "larger")
    assert (
        good("train", "mnist_mlp", "--out", "larger", "--resume")["images"] == 1197
    ), "the fallback has fewer than were asked for"


def test_a_run_folder_of_an_earlier_version_goes_on(run):
    shutil.copytree(run, "old")
    today = run_setup("old")
    note = {"latent": today.pop("latent_dim"), "stand_in": today.pop("fallback")}
    Path("old/run.json").write_text(json.dumps(today | note))
    assert run_setup("old") == run_setup(run)
    facts = good("info", "old")
    assert facts["latents"] == facts["latent_dim"] == 3 and facts["fallback"] is False
    assert good("train", "mnist_mlp", "--out", "old", "--resume")["epochs"] == 2


@pytest.mark.slow
def test_options_by_their_earlier_names(run):
    good(*TINY, "--epochs", "1", "--latent", "4", "--out", "four")
    good(*TINY, "--epochs", "1", "--latent=5", "--out", "five")
    assert model_of("four").latent_dim == 4 and model_of("five").latent_dim == 5
    words = ["manipulate", "faces:3", "--n", "50"]
    assert "unknown attribute 'hta'" in refused(*words, "--against", "hta")
    for name, old, new in (
        ("train", "--latent ", "--latent-dim "),
        ("manipulate", "--against", "--controls"),
    ):
        text = call(name, "--help").stdout
        assert new in text and old not in text


def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_end(monkeypatch):
    words = [*TINY, "--epochs", "3"]
    good(*words, "--out", "undisturbed")
    steps, step = [], VAE.loss

    def pressed(model, *args, **options):
        steps.append(1)
        if len(steps) == 8:
            signal.raise_signal(signal.SIGINT)
        return step(model, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(VAE, "loss", pressed)
        done = call(*words, "--out", "stopped")
    assert (
        done.exit_code == 130
        and done.stdout == ""
        and done.stderr
        == "stopped; this goes on: vae_nb train mnist_mlp --out stopped --resume\n"
    )
    assert (
        good("info", "stopped")["epochs_done"] == 1
        and not good("info", "stopped")["finished"]
    )
    facts = good("train", "mnist-mlp", "--out", "stopped", "--resume")
    assert facts["epochs"] == 3 and facts["images"] == 150
    ends = [
        load_model(name).state_dict().values() for name in ("undisturbed", "stopped")
    ]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_full_disk_is_one_line_and_the_run_starts_when_there_is_room(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vae_nb.train.checkpoint.save_tensors", full)
        done = call(*TINY, "--epochs", "1", "--out", "run")
        assert done.exit_code == 1 and re.search(
            "No space left|no room", done.stderr.splitlines()[-1]
        )
    assert not Path("run").exists()
    assert good(*TINY, "--epochs", "1", "--out", "run")["epochs"] == 1 and load_model(
        "run"
    )


def test_a_run_is_not_overwritten_and_force_spares_what_is_not_its_own(run):
    Path("run").mkdir()
    Path("run/thesis.txt").write_text("years of work")
    assert "no run of `vae_nb train`" in refused(
        *TINY, "--out", "run"
    ) and "is not empty" in refused(*TINY, "--out", "run", "--resume")
    assert "--resume goes on" in refused(*TINY, "--out", run) and list(
        Path("run").iterdir()
    ) == [Path("run/thesis.txt")]
    good(*TINY, "--epochs", "1", "--out", "run", "--force")
    good(*TINY, "--epochs", "1", "--seed", "1", "--out", "run", "--force")
    assert Path("run/thesis.txt").read_text() == "years of work"
    assert (
        load_tensors("run/checkpoint.safetensors", "settings")[1]["settings"]["seed"]
        == 1
    )


WRONG = [
    ("--epochs", "0"),
    ("--lr", "-1"),
    ("--lr", "nan"),
    ("--batch-size", "0"),
    ("--latent-dim", "0"),
    ("--size", "-3"),
    ("--n", "0"),
    ("--seed", "-1"),
    ("--data", "mnits"),
]


def files_in(folder):
    "Every file of a folder with its contents."
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("option, value", WRONG)
def test_a_refused_command_changes_nothing_and_leaves_nothing(run, option, value):
    shutil.copytree(run, "old")
    before = files_in("old")
    assert (
        refused(*TINY, "--out", "old", "--force", option, value)
        and files_in("old") == before
    )
    refused(*TINY, "--out", "new", option, value)
    refused(*TINY, "--out", "file/deep/er", option, value)
    assert not Path("new").exists() and not Path("file").exists()


@pytest.mark.parametrize(
    "fault",
    [
        FloatingPointError("NaN"),
        OSError(28, "No space left on device"),
        ValueError("refused by fit"),
    ],
)
def test_the_old_run_stays_until_the_first_checkpoint_of_the_new_one_is_whole(
    run, fault, monkeypatch
):
    def fails(*_, **__):
        raise fault

    shutil.copytree(run, "old")
    before = files_in("old")
    monkeypatch.setattr(VAE, "loss", fails)
    refused(*TINY, "--out", "old", "--force")
    assert files_in("old") == before
    refused(*TINY, "--out", "new")
    assert not Path("new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 46, 8))
def test_a_kill_while_runs_change_places_loses_neither(run, step, monkeypatch):
    shutil.copytree(run, "old")
    before, calls = files_in("old"), []

    class Killed(BaseException):
        pass

    def mortal(act):
        def acting(*words, **options):
            calls.append(act)
            if len(calls) >= step:
                raise Killed  # and so at every later step: the process is dead
            return act(*words, **options)

        return acting

    def dies(*_, **__):
        calls.extend([None] * 99)
        raise Killed

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        for name in ("rename", "replace", "unlink", "rmdir"):
            patch.setattr(Path, name, mortal(getattr(Path, name)))
        patch.setattr(VAE, "loss", dies)
        call(*TINY, "--out", "old", "--force")
    refused(*TINY, "--out", "old", "--force", "--data", "mnits")
    with monkeypatch.context() as patch:
        patch.setattr(VAE, "loss", lambda *_, **__: 1 / 0)
        refused(*TINY, "--out", "old", "--force")
    assert files_in("old") == before
    good(*TINY, "--epochs", "1", "--out", "old", "--force")
    assert files_in("old").keys() == before.keys() and files_in("old") != before


@pytest.mark.slow
def test_a_line_with_resume_can_be_repeated(monkeypatch):
    words = [*TINY, "--epochs", "2", "--out", "a run", "--resume"]
    Path("a run").mkdir()
    Path("a run/.checkpoint.safetensors.x1y2.partial").write_bytes(b"half of it")
    assert good(*words)["epochs"] == 2
    model = Path("a run/model.safetensors").read_bytes()
    assert (
        good(*words)["epochs"] == 2
        and Path("a run/model.safetensors").read_bytes() == model
    )

    def pressed(*_, **__):
        signal.raise_signal(signal.SIGINT)
        return step(*_, **__)

    step = VAE.loss
    monkeypatch.setattr(VAE, "loss", pressed)
    line = call(*TINY, "--out", "another run").stderr.split(": ")[-1]
    monkeypatch.undo()
    assert shlex.split(line) == [
        "vae_nb",
        "train",
        "mnist_mlp",
        "--out",
        "another run",
        "--resume",
    ]


def test_a_plain_start_ignores_what_a_kill_left_half_written_and_nothing_else():
    Path("run").mkdir()
    Path("run/.run.json.x1y2.partial").write_text("{")
    Path("run/.checkpoint.lock").write_text("")
    good(*TINY, "--epochs", "1")
    Path("other").mkdir()
    Path("other/.thesis.x1y2.partial").write_text("years of work")
    assert "not empty" in refused(*TINY, "--out", "other")


@pytest.mark.slow
def test_a_resumed_run_remembers_that_another_set_stands_in():
    for _ in range(2):
        assert good("train", "mnist_mlp", "--epochs", "1", "--n", "64", "--resume")[
            "fallback"
        ]
    assert good("info", "run")["fallback"]


def test_a_run_that_does_not_match_is_not_continued(run):
    assert "holds a run of 'mnist_mlp', not of 'mnist_conv'" in refused(
        "train", "mnist-conv", "--out", run, "--resume"
    )
    assert "epochs=2 there, 9 here" in refused(
        "train", "mnist-mlp", "--out", run, "--resume", "--epochs", "9"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"recipe": 1',
        '{"recipe": "mnist_mlp", "data": "digits", "n": 1, "size": 1, "latent_dim": 1, "settings": 3}',
        "[" * 50_000,
    ],
)
def test_a_damaged_note_is_named(text):
    Path("run").mkdir()
    Path("run/run.json").write_text(text)
    assert "run.json is damaged" in refused("train", "mnist-mlp", "--resume")


def test_folders_that_cannot_be_written_are_refused_before_training():
    Path("file").write_text("")
    assert "cannot write to 'file/run'" in refused(*TINY, "--out", "file/run")
    assert "cannot write" in refused(*TINY, "--out", "file")


@pytest.mark.slow
def test_ones_own_pictures(pictures):
    words = [
        "train",
        "celeba64",
        "--data",
        pictures,
        "--size",
        "32",
        "--epochs",
        "1",
        "--latent-dim",
        "4",
        "--out",
        "mine",
    ]
    done = call(*words)
    assert (
        done.exit_code == 0
        and "letter.png (not an image)" in done.stderr
        and "run: mine" in done.stdout
    )
    assert model_of("mine").shape == (3, 32, 32)
    facts = good(
        "reconstruct", pictures / "0.png", pictures / "1.png", "--model", "mine"
    )
    assert len(facts["squared_error_of_each"]) == 2
    assert "letter.png cannot be read as a picture: not an image" in refused(
        "reconstruct", pictures / "letter.png", "--model", "mine", "--out", "b.png"
    )
    assert (
        good("evaluate", "mine", "--k", "2", "--n", "9", "--split", "train")["data"]
        == pictures.name
    ), "the run remembers its data"


@pytest.mark.slow
def test_a_run_inside_the_folder_of_its_data_does_not_become_data(
    pictures, tmp_path, monkeypatch
):
    shutil.copytree(pictures, tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    words = [
        "train",
        "celeba64",
        "--data",
        ".",
        "--size",
        "32",
        "--epochs",
        "1",
        "--latent-dim",
        "4",
    ]
    images = good(*words)["images"]
    again = call(*words, "--force", "--json")
    assert json.loads(again.stdout)["images"] == images and "run.json" in again.stderr
    assert good(*words, "--resume")["images"] == images


def test_too_few_pictures_for_validation_are_said(tmp_path, pictures):
    few = tmp_path / "few"
    few.mkdir()
    for i in (
        name for name in range(40) if data.folders.name_hash(f"{name}.png") < 0.8
    ):
        (few / f"{i}.png").write_bytes((pictures / f"{i}.png").read_bytes())
    done = call(
        "train",
        "celeba64",
        "--data",
        few,
        "--size",
        "32",
        "--epochs",
        "1",
        "--latent-dim",
        "4",
    )
    assert done.exit_code == 0 and "goes on without validation" in done.stderr


# --- which model ---------------------------------------------------------------------------------------------------------------


def test_a_model_by_folder_by_file_and_by_name(run):
    same = [model_of(str(path)) for path in (run, run / "model.safetensors")]
    assert all(
        torch.equal(a, b)
        for a, b in zip(*(model.state_dict().values() for model in same))
    )
    assert model_of(str(run / "best")).latent_dim == 3
    assert {
        name: model_of(name).shape for name in PRETRAINED
    }.keys() == PRETRAINED.keys()
    assert model_of().shape == (3, 64, 64), "no folder run here: the faces"


@pytest.mark.parametrize(
    "arguments, builder, message",
    [
        ({"shape": [1, 4, 4]}, "vae_nb.__main__.x", "asks for 'vae_nb.__main__.x'"),
        ({"shape": [1, 4, 4]}, "os.system", "asks for 'os.system'"),
        (
            {"shape": [1, 4, 4], "beta": "x"},
            "vae_nb.vae.mlp_vae",
            "beta='x' should be of type float",
        ),
        (
            {"shape": [1, 4, 4], "latent_dim": 2, "hidden": [1] * 5000},
            "vae_nb.vae.mlp_vae",
            "5,004 values for 9 tensors",
        ),
    ],
)
def test_a_forged_model_runs_nothing_and_is_one_line(arguments, builder, message):
    weights = mlp_vae((1, 4, 4), hidden=(8,)).state_dict()
    save_tensors(
        "forged/model.safetensors",
        weights,
        config={"builder": builder, "arguments": arguments},
    )
    for command in ("info", "sample", "evaluate"):
        assert message in refused(command, "forged")


@pytest.mark.parametrize(
    "word, message",
    [
        ("face", "faces"),
        ("runs/mine", "no run folder or model file 'runs/mine'"),
        ("empty", "model.safetensors"),
        ("junk", "truncated or not"),
    ],
)
def test_what_is_no_model_is_named(word, message):
    Path("empty").mkdir()
    Path("junk").write_bytes(b"junk" * 20)
    assert message in refused("sample", word)


# --- pictures ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    "A finished run of a model that is told labels."
    folder = tmp_path_factory.mktemp("runs") / "told"
    words = [word.replace("mnist-mlp", "mnist-conditional") for word in TINY]
    good(*words, "--epochs", "1", "--latent-dim", "3", "--out", folder)
    return folder


@pytest.mark.slow
def test_a_label_is_asked_for_by_a_word(conditional):
    assert Path(conditional, "samples.png").is_file()
    assert good("sample", conditional, "--label", "7")["label"] == "7"
    assert good("sample", conditional, "--n", "10", "--out", "all.png")["samples"] == 10
    facts = good("reconstruct", "--model", conditional, "-l", "3")
    assert len(facts["squared_error_of_each"]) == 8
    good("interpolate", "--model", conditional, "-l", "3")
    facts = good("evaluate", conditional, "-l", "3", "--n", 200, "-k", 5)
    assert 10 < facts["images"] < 40
    for label in ([], ["--label", "3"]):
        words = "export", conditional, "--html", "--force", "--n", 200, *label
        assert good(*words)["bytes"] > 10_000


def test_labels_that_mean_nothing_are_refused(conditional, run):
    sample = "sample", conditional, "--label"
    assert "no class 12" in refused(*sample, "12")
    assert "it takes 0 to 9" in refused(*sample, "seven")
    assert "trained without any" in refused("sample", run, "--label", "7")
    assert "add a label" in refused("reconstruct", "--model", conditional)


def test_samples_are_decided_by_the_seed(run):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        good("sample", run, "--n", "4", "--seed", seed, "--out", f"{name}.png")
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_nothing_is_overwritten_without_force_and_a_full_disk_leaves_the_old_picture(
    run, monkeypatch
):
    good("sample", run, "--n", "1")
    before = Path("samples.png").read_bytes()
    assert (
        "--force replaces it" in refused("sample", run, "--n", "2")
        and Path("samples.png").read_bytes() == before
    )
    with monkeypatch.context() as patch:

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        patch.setattr("matplotlib.figure.Figure.savefig", full)
        assert (
            re.search(
                "No space left|no room", refused("sample", run, "--n", "2", "--force")
            )
            and Path("samples.png").read_bytes() == before
        )
    good("sample", run, "--n", "2", "--force")
    assert Path("samples.png").read_bytes() != before and not list(
        Path(".").glob(".*partial")
    )


@pytest.mark.parametrize(
    "out, message",
    [
        ("picture.txt", "--out must end in .png"),
        ("folder.png", "is a folder"),
        ("picture", "must end in"),
        ("file/x.png", "file"),
    ],
)
def test_where_a_picture_cannot_go(run, out, message):
    Path("folder.png").mkdir()
    Path("file").write_text("")
    assert message in refused("sample", run, "--out", out)


@pytest.mark.parametrize("kind", ["pdf", "svg", "jpg", "webp"])
def test_other_formats(run, kind):
    good("sample", run, "--n", "1", "--out", f"a.{kind}")
    assert Path(f"a.{kind}").stat().st_size > 500


def test_pictures_by_number_and_by_default(run):
    assert (
        len(
            good("reconstruct", "digits:0", "digits:7", "--model", run)[
                "squared_error_of_each"
            ]
        )
        == 2
    )
    assert (
        len(
            good("reconstruct", "--model", run, "--out", "b.png")[
                "squared_error_of_each"
            ]
        )
        == 8
    )
    assert good("interpolate", "--model", run, "--n", "5")["steps"] == 5
    assert "two pictures, or none" in refused(
        "interpolate", "digits:0", "--model", run, "--out", "c.png"
    )
    assert "holds 300 images" in refused(
        "reconstruct", "digits:999", "--model", run, "--out", "c.png"
    )
    assert "there is no picture 'digit:1'" in refused(
        "reconstruct", "digit:1", "--model", run, "--out", "c.png"
    )
    assert "Did you mean 'digits'" in refused(
        "reconstruct", "digit:1", "--model", run, "--out", "c.png"
    )
    assert "there is no picture 'gone.png'" in refused(
        "interpolate", "gone.png", "digits:1", "--model", run, "--out", "c.png"
    )
    assert "shape (batch, 1, 28, 28)" in refused(
        "reconstruct", "faces:0", "--model", run, "--out", "c.png"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["map", "map3d", "tsne", "histograms"])
def test_latents_are_drawn(run, kind):
    assert good("latents", run, "--as", kind, "--n", "60")["images"] == 60


def test_latents_that_cannot_be_drawn(run):
    assert "unknown attribute 'smile'; these images have no attributes" in refused(
        "latents", run, "--colour", "smile"
    )
    assert "histograms have no colours" in refused(
        "latents", run, "--as", "histograms", "--colour", "smile"
    )
    assert "Did you mean 'tsne'" in refused("latents", run, "--as", "t-sne")
    assert "--n must be at least 1" in refused("latents", run, "--n", "0")
    assert "there is no split 'vali'" in refused("latents", run, "--split", "vali")
    assert "in colour, the model's grey" in refused("latents", run, "--data", "faces")
    assert "Did you mean 'digits'" in refused("latents", run, "--data", "digit")
    assert "needs 3 continuous latents" in refused(
        "latents",
        mlp_vae((1, 28, 28), 2, (4,)).save("two"),
        "--as",
        "map3d",
        "--data",
        "digits",
    )


# --- edits ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ("-3:4", [-3, -2, -1, 0, 1, 2, 3, 4]),
        ("0:1:3", [0, 0.5, 1]),
        ("2", [2]),
        ("-1,0.5", [-1, 0.5]),
        ("2:0", [2, 1, 0]),
    ],
)
def test_strengths(text, expected):
    assert strengths(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "1:",
        "1:2:3:4",
        "nan",
        "inf:1",
        "0:1:1",
        "0:1:999",
        "1e999",
        "0:1:-3",
        "0:0",
    ],
)
def test_strengths_that_mean_nothing(text):
    with pytest.raises(ValueError, match="takes a range such as -3:4"):
        strengths(text)


@pytest.mark.slow
def test_a_smile_moves_the_code_by_the_strength_and_stays_in_seconds():
    facts = good(
        "manipulate",
        "faces:3",
        "--attribute",
        "smile",
        "--strength",
        "-3:4",
        "--n",
        "300",
    )
    assert (
        facts["strengths"] == [-3, -2, -1, 0, 1, 2, 3, 4]
        and Path("manipulate.png").is_file()
    )
    assert facts["direction_from"] == "300 images of faces"


def test_an_unknown_attribute_and_recipe_name_the_nearest(run):
    assert "Did you mean 'smile'" in refused(
        "manipulate", "faces:3", "--attribute", "smiles", "--n", "50"
    )
    assert "no attributes" in refused(
        "manipulate", "--model", run, "--attribute", "smile"
    )
    assert "Did you mean 'mnist_mlp'" in refused("train", "mnist-mpl")
    assert "Did you mean 'mnist'" in refused("train", "mnist-mlp", "--data", "mnits")


# --- the rest ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_scores_and_diagnosis(run):
    facts = good("evaluate", run, "--n", "40", "--k", "4")
    assert (
        {"score", "value", "error", "unit"} == set(facts["scores"][0])
        and facts["images"] == 40
        and facts["data"] == "digits"
    )
    assert isinstance(good("diagnose", run, "--n", "100")["finding"], list)


def test_datasets_says_what_is_where(tmp_path, monkeypatch):
    folder = tmp_path / "mine/MNIST/raw"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        for name in data.sets.idx_names(split):
            (folder / name).write_bytes(b"")
    facts = good("datasets", "--root", tmp_path / "mine")
    here = {row["set"]: row["here"] for row in facts["sets"]}
    assert (
        here.keys() == DATASETS.keys()
        and here["mnist"] == str(folder)
        and here["celeba"] == "no"
        and here["faces"] == "embedded"
    )
    assert "Did you mean 'celeba'" in refused("datasets", "--download", "celebra")


def test_exports(run):
    facts = good("export", run, "--html", "--n", "50")
    assert Path(facts["explorer"]).stat().st_size == facts["bytes"] > 100_000
    assert "--html or --onnx" in refused(
        "export", run
    ) and "--out must end in .onnx" in refused(
        "export", run, "--onnx", "--out", "a.html"
    )


@pytest.mark.slow
def test_thirty_damaged_pictures_and_folders_end_in_a_result_or_one_line():
    trials = fuzz(range(30))
    assert faulty(trials) == []
    assert {answer for _, _, answers, _ in trials for answer in answers} == {
        "result",
        "refused",
    }


@pytest.mark.parametrize("way", ["--resume", "--force"])
def test_a_refused_second_start_leaves_the_run_under_way_alone(run, way):
    from vae_nb.cli.training import _move_aside
    from vae_nb.train.checkpoint import locked

    shutil.copytree(run, "old")
    _move_aside(Path("old"))  # as --force does, before its first checkpoint
    shutil.copy(run / "run.json", "old/run.json")
    before = files_in("old")
    with locked(Path("old"), resume=True):
        said = refused(*TINY, "--epochs", "2", "--out", "old", way)
        assert "being trained in already" in said
        held = {name: it for name, it in files_in("old").items() if "lock" not in name}
    assert held == before


def test_force_spares_a_file_that_only_has_the_name_of_a_runs():
    Path("mine").mkdir()
    Path("mine/config.json").write_text("years of work")
    said = refused(*TINY, "--epochs", "1", "--out", "mine", "--force")
    assert "holds config.json and no run" in said
    assert Path("mine/config.json").read_text() == "years of work"


@pytest.mark.slow
def test_a_line_can_be_repeated_where_a_fallback_has_fewer(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_NB_DATA", str(tmp_path))
    words = ["train", "mnist_mlp", "--epochs", "1", "--n", "5000", "--resume"]
    assert [good(*words)["images"] for _ in range(2)] == [1197, 1197]


def test_info_of_a_run_below_the_home_folder(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent))
    assert good("info", "~/run")["epochs_done"] == 2


def test_a_walk_with_one_validation_picture_is_refused_in_words(run, monkeypatch):
    one = lambda *_: torch.zeros(1, 1, 28, 28)
    monkeypatch.setattr("vae_nb.cli.drawing.pictures_of", one)
    assert "a walk needs two pictures" in refused("interpolate", "--model", run)
