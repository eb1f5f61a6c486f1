"""Where figures are kept: one JSON file a benchmark, with the machine it ran on, and one table page made from all of them."""
import json
import os
import platform
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
RESULTS = HERE / "results"
START, END = "<!-- measured: rendered from benchmarks/results by `make bench` -->", "<!-- end of measured -->"


def names():
    "The benchmarks that exist: every module here with a `main`."
    return sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("__init__", "__main__", "record"))


def machine():
    "What the figures depend on besides the code."
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": [round(x, 1) for x in os.getloadavg()],
            "python": platform.python_version(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}


def write(name, title, rows, note=""):
    "Keep `rows` (a list of flat dicts, the columns of the table) as the result of a benchmark."
    RESULTS.mkdir(exist_ok=True)
    result = {"title": title, "note": note, "machine": machine(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def markdown(rows):
    "A table of flat dicts."
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    return "\n".join(lines + ["| " + " | ".join(str(row.get(c, "")) for c in columns) + " |" for row in rows])


def section(path):
    "One recorded result as Markdown: title, table, note, and the machine and command that gave it."
    result = json.loads(path.read_text())
    m = result["machine"]
    where = f"{m['cpu']}, {m['cores']} cores, {m['threads']} thread(s) used, load {m['load'][0]}, torch {m['torch']}, {m['date']}"
    parts = [f"### {result['title']}", markdown(result["rows"]), result["note"], f"`make bench NAME={path.stem}` on {where}."]
    return "\n\n".join(part for part in parts if part)


def write_tables():
    "Render every recorded result into the README, between its two marks; nothing there is typed by hand."
    readme = HERE.parent / "README.md"
    before, rest = readme.read_text().split(START)
    _, after = rest.split(END)
    tables = "\n\n".join(section(path) for path in sorted(RESULTS.glob("*.json")))
    readme.write_text(f"{before}{START}\n{tables}\n{END}{after}")
