"""How a benchmark keeps its figures: one JSON file a table, with the machine it was measured on. `book/measured.py` puts them on pages."""

import json
import os
import platform
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from book.measured import RESULTS, fill

HERE = Path(__file__).parent


def names():
    "The benchmarks that exist: every module here with a `main`."
    return sorted(
        p.stem
        for p in HERE.glob("*.py")
        if p.stem not in ("__init__", "__main__", "record")
    )


def card():
    "The GPU, its driver and the libraries for it; nothing where there is none."
    import torch

    if not torch.cuda.is_available():
        return {}
    ask, driver = (
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        "",
    )
    with suppress(OSError):
        driver = subprocess.run(ask, capture_output=True, text=True).stdout.strip()
    found = torch.cuda.get_device_properties(0)
    return {
        "card": f"{found.name}, {found.total_memory / 2**30:.0f} GiB",
        "driver": driver.split("\n")[0] or "unknown",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def machine():
    "What the figures depend on besides the code."
    import torch  # here, because the book reads results and needs no torch for that

    cpu = next(
        (
            line.split(":")[1].strip()
            for line in open("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(x, 1) for x in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    } | card()


def with_recorded(name, rows, key):
    "`rows`, and before them what NAME.json holds and they do not replace. `key`: the columns that tell rows apart."
    rows, path = list(rows), RESULTS / f"{name}.json"
    which = lambda row: tuple(row[column] for column in key)
    new = {which(row) for row in rows}
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    return [row for row in old if which(row) not in new] + rows


def write(name, title, rows, note="", benchmark=None, picture=None):
    """Keep `rows` (a list of flat dicts, the columns of the table) as results/NAME.json. `benchmark`: the module that measures it, where it has several tables.
    `picture`: what book/pictures.py draws."""
    RESULTS.mkdir(exist_ok=True)
    result = {
        "title": title,
        "note": note,
        "benchmark": benchmark or name,
        "machine": machine(),
        "rows": rows,
    } | ({"picture": picture} if picture else {})
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def write_tables():
    "Fill the README's marks: nothing there is typed by hand."
    readme = HERE.parent / "README.md"
    readme.write_text(fill(readme.read_text(), keep_marks=True))
