"""How a benchmark keeps its figures: one JSON file a table, with the machine it was measured on. `book/measured.py` puts them on pages."""

import json
import os
import platform
import time
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
    }


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
