"""Measured tables on pages: one JSON file a table in benchmarks/results, written by `make bench`; README, chapters and the page "Measured" show them where a mark stands."""

import json
import re

from .project import ROOT

RESULTS = ROOT / "benchmarks/results"
WIDEST = 7  # columns that a desktop shows beside the contents
END = "<!-- end of measured -->"
MARK = re.compile(
    rf"<!-- measured(?: if there)?: (\w+) -->(?:\n(?:(?!<!-- measured).)*?{END})?",
    re.DOTALL,
)


def keys_of(rows, columns):
    "The first columns that tell the rows apart, at most three."
    for n in (1, 2, 3):
        if len({tuple(row.get(c) for c in columns[:n]) for row in rows}) == len(rows):
            return columns[:n]
    return columns[:3]


def parts_of(rows):
    "The columns of a table; if a page is too narrow for all of them, of several tables with the same first columns."
    columns = list(dict.fromkeys(c for row in rows for c in row))
    if len(columns) <= WIDEST:
        return [columns]
    keys = keys_of(rows, columns)
    rest = columns[len(keys) :]
    each = WIDEST - len(keys)
    return [keys + rest[i : i + each] for i in range(0, len(rest), each)]


def markdown(rows):
    "A table of flat dicts, or several below each other that no page is too narrow for."
    return "\n\n".join(table(rows, columns) for columns in parts_of(rows))


def table(rows, columns):
    "Some columns of flat dicts as a table."
    head = [columns, ["---"] * len(columns)]
    body = [[str(row.get(c, "")) for c in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in head + body)


def typeset(table):
    "A table's signs as a printer sets them: a minus, and no line that ends at the hyphens of 784-400-20 and CPU-s or beside a ±."
    table = re.sub(r"(?<=\| )-(?=\d)", "−", table.replace(" ± ", "\u00a0±\u00a0"))
    return re.sub(r"(?<=\d)-(?=\d)|(?<=CPU)-(?=s)", "\u2011", table)


def source_line(name, result):
    "The command that gave a result, and the machine."
    m = result["machine"]
    if "card" in m:
        card = (
            f"{m['card']}, driver {m['driver']}, CUDA {m['cuda']}, cuDNN {m['cudnn']}"
        )
        return f"`make bench NAME={result.get('benchmark', name)}` on {card}; {m['cpu']}, {m['cores']} cores, Python {m['python']}, torch {m['torch']}, {m['date']}."
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
    "Put the recorded table at each mark `<!-- measured: NAME -->` (or `measured if there`, where it may be missing); with `keep_marks`, between that mark and an end mark, to be filled again later."
    frame = (
        f"<!-- measured: {{name}} -->\n{{table}}\n{END}" if keep_marks else "{table}"
    )

    def shown(found):
        name, optional = found[1], found[0].startswith("<!-- measured if there")
        if optional and not (RESULTS / f"{name}.json").exists():
            return f"Not measured: `{name}`."
        return frame.format(name=name, table=section(name))

    return MARK.sub(shown, text)
