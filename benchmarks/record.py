"""Where figures are kept: one JSON file a table, with the machine it was measured on; README, chapters and the page "Measured" show them."""

import json
import os
import platform
import re
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
END = "<!-- end of measured -->"
MARK = re.compile(
    rf"<!-- measured: (\w+) -->(?:\n(?:(?!<!-- measured).)*?{END})?", re.DOTALL
)


def names():
    "The benchmarks that exist: every module here with a `main`."
    return sorted(
        p.stem
        for p in HERE.glob("*.py")
        if p.stem not in ("__init__", "__main__", "pictures", "record")
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
    `picture`: what benchmarks/pictures.py draws."""
    RESULTS.mkdir(exist_ok=True)
    result = {
        "title": title,
        "note": note,
        "benchmark": benchmark or name,
        "machine": machine(),
        "rows": rows,
    } | ({"picture": picture} if picture else {})
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def markdown(rows):
    "A table of flat dicts."
    columns = list(dict.fromkeys(c for row in rows for c in row))
    lines = [
        "| " + " | ".join(columns) + " |",
        "| " + " | ".join("---" for _ in columns) + " |",
    ]
    return "\n".join(
        lines
        + [
            "| " + " | ".join(str(row.get(c, "")) for c in columns) + " |"
            for row in rows
        ]
    )


def typeset(table):
    "A table's signs as a printer sets them: a minus, and no line that ends at the hyphens of 784-400-20 and CPU-s or beside a ±."
    table = re.sub(r"(?<=\| )-(?=\d)", "−", table.replace(" ± ", "\u00a0±\u00a0"))
    return re.sub(r"(?<=\d)-(?=\d)|(?<=CPU)-(?=s)", "\u2011", table)


def source_line(name, result):
    "The command that gave a result, and the machine."
    m = result["machine"]
    where = f"{m['cpu']}, {m['cores']} cores, {m['threads']} thread{'s' * (m['threads'] != 1)} used, load {m['load'][0]}, torch {m['torch']}, {m['date']}"
    return f"`make bench NAME={result.get('benchmark', name)}` on {where}."


def section(name):
    "One recorded table as Markdown: title, rows, note, and the machine and command that gave it."
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise SystemExit(
            f"No figures are recorded for {name!r}: `make bench NAME={name}` measures them."
        )
    result = json.loads(path.read_text())
    parts = [
        f"**{result['title']}**",
        typeset(markdown(result["rows"])),
        result["note"],
        source_line(name, result),
    ]
    return "\n\n".join(part for part in parts if part)


def fill(text, keep_marks=False):
    "Put the recorded table at each mark `<!-- measured: NAME -->`; with `keep_marks`, between that mark and an end mark, to be filled again later."
    frame = (
        f"<!-- measured: {{name}} -->\n{{table}}\n{END}" if keep_marks else "{table}"
    )
    return MARK.sub(
        lambda found: frame.format(name=found[1], table=section(found[1])), text
    )


def write_tables():
    "Fill the README's marks: nothing there is typed by hand."
    readme = HERE.parent / "README.md"
    readme.write_text(fill(readme.read_text(), keep_marks=True))
