"""Run notebooks with papermill, and keep what they gave.

Each notebook runs in a process of its own, in an empty folder, with the kernel of the interpreter that is asked for. An executed
notebook carries a record of how it was made, its key included: while the key stays the same it is not run again.
"""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from .project import ROOT, read_notebook, source, tags

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class ChapterFailed(Exception):
    "A notebook stopped with an error; the message is for the reader of the terminal."


def key_of(notebook, parameters):
    "What an executed notebook depends on: its code, its parameters, the library, PyTorch, and where the data are."
    cells = [(c["cell_type"], source(c), tags(c), c["metadata"].get("mystnb")) for c in notebook["cells"]]
    library = [(p.name, p.read_text()) for p in sorted((ROOT / "vae_nb").glob("*.py")) if p.name != "_modidx.py"]
    parts = [cells, sorted(parameters.items()), library, version("torch"), os.environ.get("VAE_NB_DATA", "")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def record_of(path):
    "How an executed notebook was made, or None if there is none."
    return read_notebook(path)["metadata"]["book"] if path.exists() else None


def environment(python, scratch, threads):
    "Environment variables under which a notebook runs: its interpreter's own kernel, nobody's startup files, so many threads."
    prefix = Path(python).absolute().parent.parent
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MPLBACKEND", "VIRTUAL_ENV")}
    env |= {"JUPYTER_PATH": str(prefix / "share/jupyter"), "JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": str(scratch / "ipython")}
    env |= {"PATH": f"{prefix / 'bin'}{os.pathsep}{env['PATH']}", "PYTHONNOUSERSITE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return env | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}  # spinning threads ruin a busy machine


def default_threads():
    "OMP_NUM_THREADS where it is set, else the cores that this process may use, four at most."
    return int(os.environ.get("OMP_NUM_THREADS") or min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))


def wait(process, log, tick, timeout):
    "Wait for papermill, calling tick(cell number) a few times a second; the cell is read from its log."
    started = time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        cells = re.findall(r"Executing Cell (\d+)", log.read_text(errors="replace"))
        tick(int(cells[-1]) if cells else 0)
        if timeout and time.monotonic() - started > timeout:
            process.kill()
            raise ChapterFailed(f"still running after {timeout} s: stopped. Its log is {log}")


def failure(executed, log):
    "What went wrong, readably: the cell's source and its error; where there is none (the kernel died), the end of the log."
    cells = read_notebook(executed)["cells"] if executed.exists() else []
    for cell in cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                trace = ANSI.sub("", "\n".join(output["traceback"]))
                return f"\n--- the cell ---\n{source(cell)}\n\n--- the error ---\n{trace}"
    return "\n--- the end of the log ---\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def execute(path, out, profile, parameters, *, python=sys.executable, threads=1, tick=lambda cell: None, timeout=None):
    "Run one notebook under its parameters and write it, with its record, to `out`. Raises ChapterFailed."
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, log = out.with_suffix(".partial.ipynb"), out.with_suffix(".log")
    key, started = key_of(read_notebook(path), parameters), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vae_nb-") as scratch, open(log, "w") as stream:
        work = Path(scratch, "work")
        work.mkdir()
        given = Path(scratch, "parameters.yaml")
        given.write_text(json.dumps(parameters))  # JSON is YAML
        options = ["-k", "python3", "--cwd", work, "--no-progress-bar", "--log-output", "--log-level", "INFO"]
        options += ["-f", given] if parameters else []
        command = [python, "-m", "papermill", path, partial, *options]
        process = subprocess.Popen(command, cwd=work, env=environment(python, Path(scratch), threads), stdout=stream, stderr=stream)
        wait(process, log, tick, timeout)
    if process.returncode:
        raise ChapterFailed(f"{failure(partial, log)}\n\nAs far as it got: {partial}\nIts log: {log}")
    notebook = read_notebook(partial)
    seconds = round(time.monotonic() - started, 1)
    notebook["metadata"]["book"] = {"key": key, "profile": profile, "parameters": parameters, "seconds": seconds}
    partial.write_text(json.dumps(notebook))
    shutil.move(partial, out)
    log.unlink()
    return seconds
