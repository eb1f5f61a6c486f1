"The notebooks are the source: vae_nb/ is what they export, and nbdev runs them."

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def run(command, cwd):
    "Run a command, its output in the error if it fails."
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"NBDEV_NUM_WORKERS": "2", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, (
        f"{command} failed:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_library_is_what_the_notebooks_export(tmp_path):
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("nbs", "vae_nb"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    for name in ("settings.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    by_hand = {"__init__.py", "__main__.py"}
    for path in (tmp_path / "vae_nb").rglob("*.py"):
        if path.name not in by_hand:
            path.unlink()
    run([sys.executable, "-m", "book.export"], tmp_path)
    names = {
        str(p.relative_to(folder / "vae_nb"))
        for folder in (ROOT, tmp_path)
        for p in (folder / "vae_nb").rglob("*.py")
    }
    assert {"core.py", "_modidx.py"} <= names
    _, differ, missing = filecmp.cmpfiles(
        ROOT / "vae_nb", tmp_path / "vae_nb", sorted(names), shallow=False
    )
    assert not differ + missing, (
        f"run `make export` and commit: {', '.join(differ + missing)} of vae_nb/ are not what the notebooks export"
    )


@pytest.mark.slow
def test_nbdev_runs_a_notebook_of_the_library():
    "nbdev's own runner, which contributors use; test_book runs all of them, from the wheel."
    run(
        [
            BIN / "nbdev_test",
            "--path",
            "nbs/lib/75_exercises_labels.ipynb",
            "--n_workers",
            "0",
        ],
        ROOT,
    )
