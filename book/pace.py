"""How a notebook reads, counted: `python -m book.pace` prints a line per notebook, `python -m book.pace 36_train_loop` names the cells.

A definition that readers may use is *shown* when one of the next three code cells is not exported, uses its name, and has an output:
its last line is an expression, or it prints. A *run* is a number of definitions, private ones too, none of which is at work before the
next. Cells that a page shows folded under a line of summary count neither in a run nor among the lines; what they define still has to be shown.
"""

import ast
import json
import statistics
import sys
from dataclasses import dataclass, field

from .project import ROOT, toc_files

NEAR = 3  # code cells within which a definition has to be at work
DIRECTIVES = ("#| export", "#| exporti")


@dataclass
class Pace:
    "What was counted in one notebook."

    name: str
    cells: int = 0
    lines: list = field(default_factory=list)  # of code cells that readers see
    shown: list = field(default_factory=list)  # (cell, definition)
    hidden: list = field(
        default_factory=list
    )  # (cell, definition): not at work near it
    runs: list = field(
        default_factory=list
    )  # [(cell, definition), …]: none shown between
    long: list = field(default_factory=list)  # demo cells of more than ten lines

    @property
    def longest(self):
        return max(map(len, self.runs), default=0)

    @property
    def share(self):
        return len(self.shown) / max(1, len(self.shown) + len(self.hidden))


def docstrings(tree):
    "The numbers of the lines that hold docstrings."
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    said = [
        n.body[0]
        for n in ast.walk(tree)
        if isinstance(n, kinds) and ast.get_docstring(n)
    ]
    return {line for node in said for line in range(node.lineno, node.end_lineno + 1)}


def body(source, tree):
    "The lines of a cell that are code: no directives, blank lines, comments or docstrings."
    rows = enumerate(map(str.strip, source.splitlines()), start=1)
    said = docstrings(tree)
    return [
        row
        for n, row in rows
        if row and not row.startswith(("#", "%", "!")) and n not in said
    ]


def is_exported(source):
    return any(line.strip() in DIRECTIVES for line in source.splitlines()[:3])


def definitions(tree):
    "The functions and classes that a cell defines."
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    return [node.name for node in tree.body if isinstance(node, kinds)]


def is_folded(source, tags):
    "Whether the page shows a cell folded."
    folded = tags & {"parameters", "solution", "hide-input"}
    return bool(folded) or "#| code-fold: true" in source


def shows(tree, source):
    "Whether a cell has an output: its last statement is an expression and not a check, or it prints."
    last = tree.body[-1] if tree.body else None
    called = getattr(getattr(last, "value", None), "func", None)
    name = getattr(called, "id", getattr(called, "attr", ""))
    seen = isinstance(last, ast.Expr) and not name.startswith(("test_", "assert_"))
    return seen or "print(" in source or "display(" in source


def uses(tree):
    "The names that a cell uses."
    nodes = list(ast.walk(tree))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {
        n.attr for n in nodes if isinstance(n, ast.Attribute)
    }


def count(path):
    "The pace of the notebook at `path`."
    pace = Pace(path.stem)
    notebook = json.loads(path.read_text())
    pace.cells = len(notebook["cells"])
    codes = []
    for place, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        shell = any(
            line.lstrip().startswith(("!", "%")) for line in source.splitlines()
        )
        tree = ast.parse("" if shell else source)
        tags = set(cell["metadata"].get("tags", []))
        codes.append((place, source, tree, tags))
    waiting = []
    for at, (place, source, tree, tags) in enumerate(codes):
        lines = body(source, tree)
        only_imports = all(
            isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree.body
        )
        plain = not is_exported(source)
        if tree.body and not only_imports and not is_folded(source, tags):
            pace.lines.append(len(lines))
            if plain and len(lines) > 10:
                pace.long.append((place, len(lines)))
        if plain and shows(tree, source) and not only_imports and waiting:
            if uses(tree) & {name for _, name in waiting}:
                pace.runs.append(waiting)
                waiting = []
        public = "#| export" in (line.strip() for line in source.splitlines()[:3])
        if is_exported(source) and not is_folded(source, tags):
            waiting += [(place, name) for name in definitions(tree)]
        for name in definitions(tree) if public else ():
            if name.startswith("_"):
                continue
            after = codes[at + 1 : at + 1 + NEAR]
            near = any(
                not is_exported(text) and name in uses(later) and shows(later, text)
                for _, text, later, _ in after
            )
            (pace.shown if near else pace.hidden).append((place, name))
    if waiting:
        pace.runs.append(waiting)
    return pace


def notebooks():
    "The notebooks of the book, in its order."
    files = [ROOT / f"{name}.ipynb" for name in toc_files()]
    return [path for path in files if path.exists()]


def table(paces):
    rows = ["notebook                       cells  median  shown      longest run"]
    for pace in paces:
        of = len(pace.shown) + len(pace.hidden)
        median = statistics.median(pace.lines) if pace.lines else 0
        share = f"{len(pace.shown):3d}/{of:<3d} {pace.share:4.0%}" if of else "–"
        rows.append(
            f"{pace.name:30s} {pace.cells:5d} {median:7g}  {share:12s} {pace.longest:3d}"
        )
    shown = sum(len(p.shown) for p in paces)
    of = shown + sum(len(p.hidden) for p in paces)
    lines = [n for p in paces for n in p.lines]
    rows.append(
        f"{'all':30s} {sum(p.cells for p in paces):5d} {statistics.median(lines):7g}"
        f"  {shown:3d}/{of:<3d} {shown / max(1, of):4.0%}"
    )
    return "\n".join(rows)


if __name__ == "__main__":
    wanted = sys.argv[1:]
    paces = [count(p) for p in notebooks() if not wanted or p.stem in wanted]
    print(table(paces))
    for pace in paces if wanted else []:
        for place, name in pace.hidden:
            print(f"{pace.name}, cell {place}: {name} is not at work near it")
        for run in pace.runs:
            if len(run) > 4:
                print(f"{pace.name}: {len(run)} definitions without one: {run}")
        for place, n in pace.long:
            print(f"{pace.name}, cell {place}: a demo of {n} lines")
