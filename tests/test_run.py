"The runner of the book: several notebooks at a time, failures, interruptions, and what it says about the time that is left."

import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from filelock import FileLock

from book import build, execute, vendor
from book import run as runner
from book.build import Chapter, chosen
from book.project import read_notebook
from book.run import Left, places, run_chapters


def chapter(folder, name, *cells, seconds=None):
    "A notebook of these code cells as the runner wants it; with `seconds`, one that has been run before."
    path, out = folder / f"{name}.ipynb", folder / "out" / f"{name}.ipynb"
    code = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "source": text,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for i, text in enumerate(cells)
    ]
    kernel = {
        "kernelspec": {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
    }
    notebook = {"cells": code, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook))
    if seconds:
        out.parent.mkdir(exist_ok=True)
        record = {"book": {"key": "old", "seconds": seconds}}
        out.write_text(json.dumps(notebook | {"metadata": kernel | record}))
    return Chapter(name, path, out, {})


@pytest.mark.slow
def test_a_failure_is_told_at_once_and_the_others_finish(tmp_path, capsys):
    half = chapter(tmp_path, "half", "1", seconds=2)
    breaks = f"open({str(half.path)!r}, 'w').write('{{'); 1 / 0"
    wrong = chapter(
        tmp_path, "wrong", breaks, seconds=9
    )  # known to be long: it starts first
    sign = str(tmp_path / "sign")
    waits = f"any(os.path.exists({sign!r}) or time.sleep(0.1) for _ in range(600))"
    right = chapter(
        tmp_path, "right", f"import os, time; assert {waits}; time.sleep(1)", seconds=5
    )
    signs = f"open({sign!r}, 'w'); print('[bold]')"
    after = chapter(tmp_path, "after", signs, seconds=1)
    todo = [after, right, half, wrong]
    failed = run_chapters(todo, "test", 2, 1)
    assert sorted(failed) == ["half", "wrong"], "the others go on"
    said = capsys.readouterr().out
    assert max(said.index("FAILED  wrong"), said.index("run     after")) < said.index(
        "done    right"
    ), "the next takes the free place"
    assert "ZeroDivisionError" in said and "JSONDecodeError: Expecting" in said
    assert "[bold]" in after.out.read_text() and 1 <= right.record["seconds"] < 60
    assert wrong.record["seconds"] == 9, "the last good run is kept"


@pytest.mark.slow
def test_each_notebook_has_a_process_a_folder_and_figures_of_its_own(tmp_path, capsys):
    "All are forked from one interpreter that has imported what they need; none sees what another has done."
    cells = {
        "greedy": "x = bytearray(b'1') * (300 * 2**20)\nimport json; json.mark = 1",
        "modest": "import json, os; print([hasattr(json, 'mark'), os.listdir()])",
        "draws": "import matplotlib.pyplot as plt; plt.plot([1, 2]);",
        "dies": "import os; os._exit(3)",
    }
    todo = {name: chapter(tmp_path, name, text) for name, text in cells.items()}
    assert run_chapters(list(todo.values()), "test", 2, 1) == ["dies"]
    used = {n: c.record["memory"] for n, c in todo.items() if n != "dies"}
    assert 250 < used["greedy"] - used["modest"] < 350, "MB"
    assert 0 < todo["modest"].record["cpu"] < 10
    assert "[False, []]" in todo["modest"].out.read_text()
    assert "image/png" in todo["draws"].out.read_text()
    assert "Kernel died" in capsys.readouterr().out


LONG = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_run import chapter
from book import build
from book.run import run_chapters
folder = Path({folder!r})
sleepy = [chapter(folder, name, f"open('{{folder}}/{{name}}.pid', 'w').write(str(__import__('os').getpid()))", "import time; time.sleep(60)") for name in ("a", "b")]
build.plan, build.BUILD = lambda *_: sleepy, folder
sys.argv[1:] = ["--jobs", "2"]
build.main()
"""


def alive(pid):
    "Whether a process exists and is more than a name that its parent has not yet read."
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.slow
@pytest.mark.skipif(
    not os.path.exists("/proc/self/stat"), reason="looks at processes in /proc"
)
@pytest.mark.parametrize("kind", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_whatever_ends_the_runner_ends_its_notebooks(kind, tmp_path):
    here = os.path.dirname(__file__)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            LONG.format(root=os.path.dirname(here), tests=here, folder=str(tmp_path)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    pids, deadline = [tmp_path / "a.pid", tmp_path / "b.pid"], time.monotonic() + 120
    while not all(p.exists() and p.read_text() for p in pids):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(getattr(signal, kind))
    said, _ = process.communicate(timeout=20)
    assert process.returncode == (-signal.SIGKILL if kind == "SIGKILL" else 130)
    assert ("goes on from there" in said) == (
        kind != "SIGKILL"
    ) and "FAILED" not in said
    while any(alive(int(p.read_text())) for p in pids):
        assert time.monotonic() < deadline, "a kernel has outlived the runner"
        time.sleep(0.2)


def test_time_left(tmp_path):
    todo = [
        chapter(tmp_path, "known", "1", seconds=30),
        chapter(tmp_path, "recorded", "1"),
        chapter(tmp_path, "new", "1"),
    ]
    left = Left(todo, 2, {"recorded": 60.0, "known": 500.0})
    assert [c.name for c in left.order(todo)] == [
        "recorded",
        "new",
        "known",
    ]  # 60; the average, 45; this machine's own 30
    assert left({}) == 75  # two at a time: 60 beside 45 and then 30
    assert left({"recorded": 20.0, "new": 20.0}) == 55
    left.end("recorded", 90.0)  # half as long again as expected: so may be the others
    assert left({"new": 20.0}) == pytest.approx(37.5)  # 36.25 beside 37.5
    left.end("known", 45.0), left.end("new", 67.5)
    assert left({}) == 0
    left = Left(todo, 2, {"recorded": 60.0})
    left.end("recorded")
    assert left({}) == 45, "how long a failure took says nothing about the others"
    first = Left(todo[1:], 2, {})
    assert first({}) is None, "nothing is known"
    first.end("recorded", 20.0)
    assert first({"new": 5.0}) == 15, "until one has ended"


def test_time_left_is_right_within_a_half_once_one_has_ended_a_third_once_two(tmp_path):
    todo = [chapter(tmp_path, f"{n}", "1") for n in range(10)]
    recorded = {c.name: 100.0 for c in todo}
    for first, others in ((30.0, 100.0), (200.0, 200.0), (50.0, 50.0)):
        left = Left(todo, 1, recorded)  # one was changed; the machine is another
        left.end("0", first)
        assert left({}) == pytest.approx(9 * others, rel=0.5)
        left.end("1", others)
        assert left({}) == pytest.approx(8 * others, rel=0.34)


def test_how_many_at_a_time(monkeypatch):
    monkeypatch.setattr(runner, "cores", lambda: 2)
    assert (
        places(28) == (2, 1)
        and places(1) == (1, 2)
        and places(0) == (1, 2)
        and places(28, jobs=1) == (1, 2)
        and places(28, 1, 1) == (1, 1)
    )
    monkeypatch.setattr(runner, "cores", lambda: 16)
    assert (
        places(28) == (4, 4) and places(1) == (1, 4) and places(28, jobs=16) == (16, 1)
    )


def test_a_chapter_is_chosen_by_its_number(tmp_path):
    chapters = [
        chapter(tmp_path, name, "1")
        for name in ("index", "02_mlp_vae", "02b_what_goes_wrong", "05_latent")
    ]
    names = lambda pattern: [c.name for c in chosen(chapters, pattern)]
    assert names("02") == names("02_mlp_vae") == ["02_mlp_vae"] and names("02*") == [
        "02_mlp_vae",
        "02b_what_goes_wrong",
    ]
    assert names("index") == ["index"] and len(names("")) == 4
    with pytest.raises(
        SystemExit,
        match="No chapter is called '2'.*02_mlp_vae, 02b_what_goes_wrong\\. A star",
    ):
        chosen(chapters, "2")


def test_recorded_times_are_of_the_profile_they_say():
    assert (
        runner.recorded_times("cpu")["02_mlp_vae"] > 10
        and runner.recorded_times("gpu") == {}
    )


def test_a_run_on_a_fallback_is_made_again_once_there_are_data(tmp_path, monkeypatch):
    for place in ("DATA", "CACHE"):
        monkeypatch.setenv(f"VAE_NB_{place}", str(tmp_path / place))
    said = "The real MNIST was not found, so the fallback is used: digits."

    def papermill(path, partial, log, *_):
        assert not log.exists(), "of an earlier failure"
        ran = read_notebook(path)
        text = said if "fell_back" in str(path) else ""
        stream = {"output_type": "stream", "name": "stdout", "text": text}
        ran["cells"][0]["outputs"] = [stream]
        partial.write_text(json.dumps(ran))
        log.write_text("")
        return 0, {"seconds": 1.0}

    monkeypatch.setattr(execute, "papermill", papermill)
    todo = [chapter(tmp_path, name, "1") for name in ("fell_back", "did_not")]
    for one in todo:
        one.out.parent.mkdir(exist_ok=True)
        one.out.with_suffix(".log").write_text("failed")
        assert execute.execute(one.path, one.out, "test", {}) == 1
    assert not any(one.record["stale"] for one in todo)
    (tmp_path / "DATA/celeba").mkdir(parents=True)
    (tmp_path / "DATA/celeba/list_attr_celeba.txt").touch()
    assert not any(one.record["stale"] for one in todo), "they did not ask for faces"
    raw = tmp_path / "CACHE/MNIST/raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").touch()
    assert [one.record["stale"] for one in todo] == [True, False]


@pytest.mark.parametrize(
    ("output", "sets"),
    [
        ("CelebA was not found, so the fallback is used: drawn faces.", ["CelebA"]),
        ("The real MNIST was not found, so the fallback is used: x.", ["MNIST"]),
        (
            "The real FashionMNIST was not found, so the fallback is used",
            ["FashionMNIST"],
        ),
        ("a.gz is damaged, so the fallback is used: x.", [*execute.DATA]),
        (
            "CelebA was not found, so the fallback is used. MNIST is damaged, so the fallback is used.",
            [*execute.DATA],
        ),
        ("", []),
    ],
)
def test_what_was_missed_is_read_from_what_was_printed(output, sets):
    source = "so the fallback is used"  # in the code of a notebook about it
    stream = {"output_type": "stream", "text": output}
    assert execute.missed({"cells": [{"source": source, "outputs": [stream]}]}) == sets


def test_nothing_of_a_users_own_settings_reaches_a_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign = ("PYTHONSTARTUP", "PYTHONOPTIMIZE", "PYTHONPATH", "MPLBACKEND")
    for name in (*foreign, "MATPLOTLIBRC"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("VAE_NB_DATA", "data")
    monkeypatch.setenv("VAE_NB_CACHE", "~/cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    env = execute.environment(sys.executable, 1)
    assert not {*foreign} & {*env} and env["MATPLOTLIBRC"] == os.devnull
    assert env["VAE_NB_DATA"] == str(tmp_path / "data"), (
        "a notebook's folder is another"
    )
    assert env["VAE_NB_CACHE"] == str(tmp_path / "home/cache")


def test_a_run_cut_short_is_told_and_one_that_cannot_be_read_is_none(tmp_path):
    cut, log = tmp_path / "cut.ipynb", tmp_path / "log"
    cut.write_text('{"cells": [')
    said = execute.failure(cut, log, -signal.SIGKILL)
    assert "ended by SIGKILL" in said and "(there is no log)" in said
    assert execute.record_of(cut) is None


FORKS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({sign!r}, "w").write(str(child.pid))
time.sleep(60)
"""


@pytest.mark.skipif(
    not os.path.exists("/proc/self/stat"), reason="looks at processes in /proc"
)
def test_what_builds_the_pages_ends_with_its_workers(tmp_path, monkeypatch):
    sign = tmp_path / "pid"

    class Interrupted(subprocess.Popen):
        def communicate(self):
            while not (sign.exists() and sign.read_text()):
                time.sleep(0.05)
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        code = FORKS.format(sign=str(sign))
        build.run_whole([sys.executable, "-c", code], os.environ)
    deadline = time.monotonic() + 10
    while alive(int(sign.read_text())):
        assert time.monotonic() < deadline, "a worker has outlived the build"
        time.sleep(0.05)


def test_a_package_that_another_process_has_fetched_meanwhile(tmp_path, monkeypatch):
    def fetch(name, sha256, folder):
        whole = next(iter(tmp_path.glob("npm")), tmp_path / "npm")
        faster = whole / f"axe-core-{vendor.PINNED['axe-core'][0]}"
        faster.mkdir(parents=True)
        (faster / "axe.min.js").touch()
        archive = f"{folder}/a.tgz"
        with tarfile.open(archive, "w") as packed:
            packed.add(__file__, "package/axe.min.js")
        return archive

    monkeypatch.setattr(vendor, "fetch", fetch)
    assert (vendor.package("axe-core", tmp_path) / "axe.min.js").exists()


def test_a_second_build_at_once_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "BUILD", tmp_path)
    monkeypatch.setattr(sys, "argv", ["book.build"])
    with FileLock(tmp_path / ".lock"), pytest.raises(SystemExit, match="Another .make"):
        build.main()


@pytest.mark.parametrize("option", ["--jobs=0", "--threads=-1", "--jobs=two"])
def test_numbers_that_cannot_be_are_refused(option, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["book.build", option])
    with pytest.raises(SystemExit):
        build.main()
    name, value = option.split("=")
    said = f"argument {name}: {value!r} is no whole number of at least 1"
    assert said in capsys.readouterr().err
