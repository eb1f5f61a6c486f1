"""The tables of "Published numbers, reproduced": what papers report, what other people's code reaches, and ours, from published.yml and the recorded results.

A benchmark that has not been run shows as "not run yet"; once its results are recorded, its rows are filled by themselves.
"""

import json
import re
import statistics
from pathlib import Path

import yaml

from .measured import RESULTS, markdown, typeset

SPEC = Path(__file__).with_name("published.yml")
NOT_YET = "not run yet"
UNCHECKED = "reported, not checked"
NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?")


def groups():
    "The groups of rows, as published.yml has them."
    return yaml.safe_load(SPEC.read_text())


def found(ours):
    "The recorded rows that a row asks for: none if the benchmark has not come to them. A column that the record does not know is an error."
    path = RESULTS / f"{ours['from']}.json"
    if not path.exists():
        return []
    rows = json.loads(path.read_text())["rows"]
    wanted, known = {*ours["where"], ours["column"]}, {c for row in rows for c in row}
    if wanted - known:
        raise SystemExit(
            f"published.yml asks {path.name} for {', '.join(sorted(wanted - known))}, which it does not have."
        )
    return [
        r for r in rows if all(r.get(c) == value for c, value in ours["where"].items())
    ]


def figure(rows, column):
    "A figure with its error, as recorded; of several seeds mean ± standard deviation."
    if not rows:
        return NOT_YET
    if len(rows) == 1:
        return str(rows[0][column])
    values = [float(number(row[column])) for row in rows]
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} ({len(values)} seeds)"


def number(cell):
    "The first number of a cell, with a hyphen for a minus; None if it does not begin with one."
    at = NUMBER.match(str(cell))
    return at and at[0].replace("−", "-")


def difference(ours, paper):
    "Ours minus the paper's, with as many digits as both give."
    if ours == NOT_YET or not number(ours) or not number(paper):
        return ""
    digits = min(len(number(cell).partition(".")[2]) for cell in (ours, paper))
    return f"{float(number(ours)) - float(number(paper)):+.{digits}f}".replace("-", "−")


def row(entry):
    "One line of a table."
    rows, column = found(entry["ours"]), entry["ours"]["column"]
    ours = figure(rows, column)
    paper = entry["paper"]
    if not entry.get("checked", True):
        paper += f", {UNCHECKED}"
    fill = lambda at: str(rows[0][at[1]])
    return {
        "what": entry["what"],
        "paper": paper,
        "others' code": entry["others"],
        "ours": ours,
        "ours − paper": difference(ours, paper),
        "cost of ours": re.sub(r"\{([^}]+)\}", fill, entry["cost"]) if rows else "",
    }


def commands(entries):
    "The command of each row; one line where all rows have the same."
    lines = {entry["what"]: f"`{entry['command']}`" for entry in entries}
    if len({*lines.values()}) == 1:
        return f"All rows: {next(iter(lines.values()))}"
    return "\n".join(f"* {what}: {command}" for what, command in lines.items())


def tables():
    "All groups as Markdown: a heading, what is measured, a table, the commands."
    parts = []
    for group in groups():
        table = typeset(markdown([row(entry) for entry in group["rows"]]))
        parts += [
            f"## {group['group']}",
            group["about"],
            table,
            commands(group["rows"]),
        ]
    return "\n\n".join(parts)
