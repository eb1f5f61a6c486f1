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

from .images import lean_figures
from .project import ROOT, library, read_notebook, source, tags

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class ChapterFailed(Exception):
    "A notebook stopped with an error; the message is for the reader of the terminal."


def key_of(notebook, parameters):
    "What an executed notebook depends on: its code, its parameters, the library and its assets, PyTorch, and where the data are."
    cells = [
        (c["cell_type"], source(c), tags(c), c["metadata"].get("mystnb"))
        for c in notebook["cells"]
    ]
    files = [(str(p.relative_to(ROOT)), p.read_text()) for p in library()]
    assets = [
        (p.name, hashlib.sha256(p.read_bytes()).hexdigest())
        for p in sorted((ROOT / "vae_nb/assets").glob("*"))
        if p.is_file()
    ]
    parts = [
        cells,
        sorted(parameters.items()),
        files,
        assets,
        version("torch"),
        os.environ.get("VAE_NB_DATA", ""),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def record_of(path):
    "How an executed notebook was made, or None if there is none."
    return read_notebook(path)["metadata"]["book"] if path.exists() else None


def explorer_files(out):
    "The folder beside an executed notebook with the files that its explorers load on the page: the weights of their networks."
    return out.with_suffix(".explorers")


def environment(python, scratch, threads, explorers):
    "Environment variables under which a notebook runs: its interpreter's own kernel, nobody's startup files, so many threads."
    prefix = Path(python).absolute().parent.parent
    env = {
        k: v
        for k, v in os.environ.items()
        if k not in ("PYTHONPATH", "MPLBACKEND", "VIRTUAL_ENV")
    }
    env |= {
        "JUPYTER_PATH": str(prefix / "share/jupyter"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IPYTHONDIR": str(scratch / "ipython"),
    }
    env |= {
        "PATH": f"{prefix / 'bin'}{os.pathsep}{env['PATH']}",
        "PYTHONNOUSERSITE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    env |= {
        "VAE_NB_EXPLORER_FILES": str(explorers.absolute())
    }  # where explorers write what their page will load
    return env | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }  # spinning threads ruin a busy machine


def ended(process):
    """None while the process runs; then what it used: the largest resident set of it, its children, and on Linux this process before, in MB; and its processor seconds and
    its children's. Its exit status is in `returncode`."""
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "memory": round(
            usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        ),
        "cpu": round(usage.ru_utime + usage.ru_stime, 1),
    }


def wait(process, log, tick, timeout):
    "Wait for papermill, calling tick(cell number) a few times a second; the cell is read from its log. Returns what it used."
    started = time.monotonic()
    while (used := ended(process)) is None:
        time.sleep(0.1)
        cells = re.findall(r"Executing Cell (\d+)", log.read_text(errors="replace"))
        tick(int(cells[-1]) if cells else 0)
        if timeout and time.monotonic() - started > timeout:
            raise ChapterFailed(
                f"still running after {timeout} s: stopped. Its log is {log}"
            )
    return used


def failure(executed, log):
    "What went wrong, readably: the cell's source and its error; where there is none (the kernel died), the end of the log."
    cells = read_notebook(executed)["cells"] if executed.exists() else []
    for cell in cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                trace = ANSI.sub("", "\n".join(output["traceback"]))
                return (
                    f"\n--- the cell ---\n{source(cell)}\n\n--- the error ---\n{trace}"
                )
    return "\n--- the end of the log ---\n" + "\n".join(
        log.read_text(errors="replace").splitlines()[-20:]
    )


# papermill, which ends when its standard input does: however this process dies, the notebooks that it runs do not outlive it
WITH_US = """import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
from papermill.__main__ import papermill
papermill()"""


def papermill(path, partial, log, parameters, python, threads, tick, timeout):
    "Run papermill in an empty folder and return its exit status and what it used; what it says goes to `log`."
    with (
        tempfile.TemporaryDirectory(prefix="vae_nb-") as scratch,
        open(log, "w") as stream,
    ):
        work, given = Path(scratch, "work"), Path(scratch, "parameters.yaml")
        work.mkdir()
        given.write_text(json.dumps(parameters))  # JSON is YAML
        options = [
            "-k",
            "python3",
            "--cwd",
            work,
            "--no-progress-bar",
            "--log-output",
            "--log-level",
            "INFO",
        ]
        options += ["-f", given] if parameters else []
        command, env = (
            [python, "-c", WITH_US, path, partial, *options],
            environment(python, Path(scratch), threads, explorer_files(partial)),
        )
        process = subprocess.Popen(
            command,
            cwd=work,
            env=env,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            used = wait(process, log, tick, timeout)
        finally:
            if process.poll() is None:  # Ctrl-C, or too slow: its kernel goes with it
                process.kill()
                process.wait()
            process.stdin.close()
        return process.returncode, used


def execute(
    path,
    out,
    profile,
    parameters,
    *,
    python=sys.executable,
    threads=1,
    tick=lambda cell: None,
    timeout=None,
):
    "Run one notebook under its parameters and write it, with its record, to `out`; the seconds it took. Raises ChapterFailed."
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, log = out.with_suffix(".partial.ipynb"), out.with_suffix(".log")
    partial.unlink(missing_ok=True)  # an earlier failure's
    for_page, final = explorer_files(partial), explorer_files(out)
    shutil.rmtree(for_page, ignore_errors=True)
    for_page.mkdir()
    key, started = key_of(read_notebook(path), parameters), time.monotonic()
    status, used = papermill(
        path, partial, log, parameters, python, threads, tick, timeout
    )
    if status:
        raise ChapterFailed(
            f"{failure(partial, log)}\n\nAs far as it got: {partial}\nIts log: {log}"
        )
    notebook, seconds = read_notebook(partial), round(time.monotonic() - started, 1)
    lean_figures(notebook)
    names = sorted(p.name for p in for_page.iterdir())
    notebook["metadata"]["book"] = {
        "key": key,
        "profile": profile,
        "parameters": parameters,
        "seconds": seconds,
        "explorers": names,
    } | used
    partial.write_text(json.dumps(notebook))
    shutil.rmtree(final, ignore_errors=True)
    for_page.replace(final)
    partial.replace(out)
    log.unlink()
    return seconds
