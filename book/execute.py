"""Run notebooks with papermill, and keep what they gave.

Each notebook runs in a process of its own, in an empty folder, with the kernel of the interpreter that is asked for. An executed
notebook carries a record of how it was made, its key included: while the key stays the same it is not run again; nor is one
that had to do with a fallback, until other data are found.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from importlib.metadata import requires, version
from pathlib import Path

from .images import lean_figures
from .project import ROOT, library, read_notebook, source, tags

ANSI = re.compile(r"\x1b\[[0-9;]*m")


# data set, as it is called where one was not found → what holds it, below a place
# where data are looked for
DATA = {
    "MNIST": ["MNIST/raw/*"],
    "FashionMNIST": ["FashionMNIST/raw/*"],
    "CIFAR-10": ["cifar-10-batches-bin/*", "cifar10_jpg/*"],
    "CelebA": "celeba/* img_align_celeba list_attr_celeba.* list_eval_*".split(),
    "Caltech-101": ["caltech101/*", "101_ObjectCategories"],
}


class ChapterFailed(Exception):
    "A notebook stopped with an error; the message is for the reader of the terminal."


def library_digest():
    "Stands for the files of the library, its assets included; not for C sources, from which something was compiled once."
    assets = sorted((ROOT / "vae_nb/assets").rglob("*"))
    files = [
        (str(p.relative_to(ROOT)), hashlib.sha256(p.read_bytes()).hexdigest())
        for p in [*library(), *assets]
        if p.is_file() and p.suffix not in (".c", ".h") and p.name[0] != "."
    ]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


@cache
def versions():
    "Of Python, and of the packages that the library needs."
    needs = [re.match(r"[\w.-]+", n)[0] for n in requires("vae_nb") if "extra" not in n]
    return [*sys.version_info[:2], *(f"{name} {version(name)}" for name in needs)]


def key_of(notebook, parameters):
    "What an executed notebook depends on: its code, its parameters, the library and its assets, packages, and where the data are."
    cells = [
        # by its id a cell finds its outputs: pages.with_outputs
        (c["id"], source(c), tags(c), c["metadata"].get("mystnb"))
        for c in notebook["cells"]
        if c["cell_type"] == "code"
    ]
    parts = [
        cells,
        sorted(parameters.items()),
        library_digest(),
        versions(),
        os.environ.get("VAE_NB_DATA", ""),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def data_found():
    "Data set → its files and folders on this machine, where the library looks for them."
    # not imported: that would bring PyTorch
    places = runpy.run_path(str(ROOT / "vae_nb/data/files.py"))["places"]()
    return {
        name: sorted(str(f) for p in places for part in parts for f in p.glob(part))
        for name, parts in DATA.items()
    }


def missed(notebook):
    "The data sets in whose place an executed notebook had to do with a fallback, as `load` says."
    said = json.dumps([cell.get("outputs") for cell in notebook["cells"]])
    why = re.findall(r"([\w-]*)( was not found)?, so the fallback is used", said)
    known = all(name in DATA and reason for name, reason in why)
    return sorted({name for name, _ in why}) if known else [*DATA]


def record_of(path):
    "How an executed notebook was made, or None if there is none that can be read."
    try:
        return read_notebook(path)["metadata"]["book"]
    except (OSError, ValueError, KeyError):
        return None


def explorer_files(out):
    "The folder beside an executed notebook with the files that its explorers load on the page: the weights of their networks."
    return out.with_suffix(".explorers")


def environment(python, threads):
    "Environment variables under which notebooks run: their interpreter's own kernel, nobody's startup files, so many threads."
    prefix = Path(python).absolute().parent.parent
    foreign = "PYTHONPATH PYTHONSTARTUP PYTHONOPTIMIZE MPLBACKEND VIRTUAL_ENV".split()
    env = {k: v for k, v in os.environ.items() if k not in foreign}
    for place in ("VAE_NB_DATA", "VAE_NB_CACHE"):
        if env.get(place):  # notebooks run in another folder
            env[place] = str(Path(env[place]).expanduser().absolute())
    return env | {
        "MATPLOTLIBRC": os.devnull,
        "JUPYTER_PATH": str(prefix / "share/jupyter"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PATH": f"{prefix / 'bin'}{os.pathsep}{env['PATH']}",
        "PYTHONNOUSERSITE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads ruin a busy machine
    }


class Starter:
    "warm.py under one interpreter: it runs notebooks, and tells how each has ended. It ends with this process, however this one does."

    def __init__(self, python, threads):
        self.env = environment(python, threads)
        self.reports, self.lock = {}, threading.Lock()
        program = [python, "-P", Path(__file__).with_name("warm.py")]
        self.process = subprocess.Popen(
            program,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self):
        "In a thread: note how jobs end."
        for line in self.process.stdout:
            report = json.loads(line)
            self.reports[report["name"]] = report

    def tell(self, **order):
        with self.lock, contextlib.suppress(BrokenPipeError):  # `ended` tells that
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def ended(self, name):
        "How a job has ended, or None while it runs."
        if name not in self.reports and self.process.poll() is not None:
            self.listener.join(5)  # what it said last
        if name not in self.reports and self.process.poll() is not None:
            raise ChapterFailed(
                f"what starts the notebooks has ended (status {self.process.returncode})"
            )
        return self.reports.pop(name, None)


STARTERS, STARTING = {}, threading.Lock()
JOBS = itertools.count()


def starter(python, threads):
    "The one starter for an interpreter and a number of threads; a new one if it has ended, or has imported a library that was changed since."
    key = python, threads, library_digest()
    for old in [k for k in STARTERS if k[:2] == key[:2] and k != key]:
        STARTERS.pop(old).tell(last=True)
    if key not in STARTERS or STARTERS[key].process.poll() is not None:
        STARTERS[key] = Starter(python, threads)
    return STARTERS[key]


def wait(job, starter, log, tick, timeout):
    "Wait for a job, calling tick(cell number) a few times a second; the cell is read from its log. Returns how it ended."
    started = time.monotonic()
    while (report := starter.ended(job)) is None:
        time.sleep(0.1)
        said = log.read_text(errors="replace") if log.exists() else ""
        cells = re.findall(r"Executing Cell (\d+)", said)
        tick(int(cells[-1]) if cells else 0)
        if timeout and time.monotonic() - started > timeout:
            raise ChapterFailed(
                f"still running after {timeout} s: stopped. Its log is {log}"
            )
    return report


def failed(notebook):
    "Whether a cell of an executed notebook ended with an error."
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    return any(output["output_type"] == "error" for output in outputs)


def failure(executed, log, status):
    "What went wrong, readably: the cell's source and its error; where there is none (the kernel died, or papermill itself), the end of the log."
    cells = []
    with contextlib.suppress(OSError, ValueError):  # papermill was killed as it wrote
        cells = read_notebook(executed)["cells"]
    for cell in cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                trace = ANSI.sub("", "\n".join(output["traceback"]))
                return (
                    f"\n--- the cell ---\n{source(cell)}\n\n--- the error ---\n{trace}"
                )
    name = signal.Signals(-status).name if status < 0 else ""
    said = log.read_text(errors="replace") if log.exists() else "(there is no log)"
    return (
        (f"\nIts process was ended by {name}." if name else "")
        + "\n--- the end of the log ---\n"
        + "\n".join(said.splitlines()[-20:])
    )


def papermill(path, partial, log, parameters, python, threads, tick, timeout):
    "Run papermill in an empty folder and return its exit status and what it used; what it says goes to `log`."
    # a kernel that is being killed may still write there
    with tempfile.TemporaryDirectory(
        prefix="vae_nb-", ignore_cleanup_errors=True
    ) as scratch:
        # a name of its own: a killed job of the same notebook may yet report
        work, job = Path(scratch, "work"), f"{next(JOBS)} {partial}"
        work.mkdir()
        with STARTING:  # told before another thread finds that it is out of date
            started_by = starter(str(python), threads)
            env = started_by.env | {
                "IPYTHONDIR": f"{scratch}/ipython",
                # where explorers write what their page will load
                "VAE_NB_EXPLORER_FILES": str(explorer_files(partial).absolute()),
            }
            started_by.tell(
                name=job,
                path=str(Path(path).absolute()),
                out=str(partial.absolute()),
                log=str(log.absolute()),
                parameters=parameters,
                cwd=str(work),
                env=env,
            )
        report = None
        try:
            report = wait(job, started_by, log, tick, timeout)
        finally:
            if report is None:  # Ctrl-C, or too slow: its kernel goes with it
                started_by.tell(kill=job)
                deadline = time.monotonic() + 2  # until it writes no more to `scratch`
                with contextlib.suppress(ChapterFailed):
                    while time.monotonic() < deadline and not started_by.ended(job):
                        time.sleep(0.02)
        unit = 2**20 if sys.platform == "darwin" else 2**10
        used = {
            "seconds": round(report["seconds"], 1),
            "memory": round(report["memory"] / unit),  # MB
            "cpu": round(report["cpu"], 1),  # seconds
        }
        return report["status"], used


def execute(
    path,
    out,
    profile,
    parameters,
    *,
    python=sys.executable,
    threads=1,
    jobs=1,
    tick=lambda cell: None,
    timeout=None,
):
    "Run one notebook, of `jobs` at a time, under its parameters, and write it, with its record, to `out`; the seconds it took. Raises ChapterFailed."
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, log = out.with_suffix(".partial.ipynb"), out.with_suffix(".log")
    for left in (partial, log):  # by an earlier failure
        left.unlink(missing_ok=True)
    for_page, final = explorer_files(partial), explorer_files(out)
    shutil.rmtree(for_page, ignore_errors=True)
    for_page.mkdir()
    key, data = key_of(read_notebook(path), parameters), data_found()
    status, used = papermill(
        path, partial, log, parameters, python, threads, tick, timeout
    )
    notebook = None if status else read_notebook(partial)
    # papermill takes `raise SystemExit(0)`, after which no cell is run, for a good end
    if notebook is None or failed(notebook):
        raise ChapterFailed(
            f"{failure(partial, log, status)}\n\nAs far as it got: {partial}\nIts log: {log}"
        )
    lean_figures(notebook)
    names = sorted(p.name for p in for_page.iterdir())
    notebook["metadata"]["book"] = {
        "key": key,
        "profile": profile,
        "parameters": parameters,
        "explorers": names,
        # what there was of the sets that were missed
        "data": {name: data[name] for name in missed(notebook)},
        "jobs": jobs,
        "threads": threads,
    } | used
    partial.write_text(json.dumps(notebook))
    shutil.rmtree(final, ignore_errors=True)
    for_page.replace(final)
    partial.replace(out)
    log.unlink()
    return used["seconds"]
