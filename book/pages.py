"""From an executed notebook to a page of the book.

nbdev's directives (`#| export` and the like) become Jupyter Book's tags and vanish from the text, the front matter goes, the
parameters that papermill injected become one readable sentence, and each mark `<!-- measured: NAME -->` becomes the table that the
benchmark of that name recorded. Nothing here touches the notebooks under nbs/.
"""

import re

from . import glossary, widgets
from .colab import badge
from .measured import fill
from .project import published_parameters, source, tags

DIRECTIVE = re.compile(r"^#\s*\|\s*(.+?)\s*$")
TAG_OF = {
    "hide": "remove-cell",
    "hide_input": "remove-input",
    "hide_output": "remove-output",
    "echo: false": "remove-input",
    "output: false": "remove-output",
    "code-fold: true": "hide-input",
    "export": "exported",
    "exports": "exported",
    "exporti": "exported",
}
FOLDED = (
    ("parameters", "hide-input", "parameters"),
    ("solution", "hide-cell", "solution"),
)  # tag, what is folded, its name
SUMMARY = "code-summary:"  # the line under which `code-fold: true` folds a cell
SILENT = ("default_exp", "eval:", SUMMARY)  # known, and no tag for the page


def split_directives(text):
    "The directives at the top of a code cell, and the code below them."
    lines = text.split("\n")
    found = []
    while lines and (match := DIRECTIVE.match(lines[0])):
        found.append(match[1])
        lines.pop(0)
    return found, "\n".join(lines).strip("\n")


def tags_of(directives, where):
    "Jupyter Book's tags for nbdev's directives; one that is unknown is a mistake, and is said to be."
    new = []
    for directive in directives:
        name = " ".join(directive.lower().split())
        word = name.split()[0]
        if name in TAG_OF or word in ("export", "exports", "exporti"):
            new.append(TAG_OF.get(name, "exported"))
        elif not word.startswith(SILENT):
            raise SystemExit(
                f"{where}: the directive '#| {directive}' is unknown. Known: {', '.join([*TAG_OF, *SILENT])}."
            )
    return new


def progress_bar(output):
    "Whether an output is (the end of) a progress bar that redraws its line: of no use on paper."
    if output["output_type"] != "stream" or output["name"] != "stderr":
        return False
    text = "".join(output["text"])
    return "\r" in text or not text.strip()


def beside_the_figure(output):
    "A text that was displayed (how a training ended) as printed text: a cell's caption belongs to its picture alone."
    if output["output_type"] != "display_data" or set(output["data"]) != {"text/plain"}:
        return output
    return {
        "output_type": "stream",
        "name": "stdout",
        "text": "".join(output["data"]["text/plain"]) + "\n",
    }


def code_cell(cell, where, state=None):
    "The page's version of a code cell, or None if nothing of it is left. `state` holds the notebook's widgets."
    directives, code = split_directives(source(cell))
    if not code.strip():
        return None
    shown = {*tags(cell), *tags_of(directives, where)}
    myst = dict(cell["metadata"].get("mystnb", {}))
    for tag, hidden, name in FOLDED:
        if tag in shown:
            shown.add(hidden)
            myst |= {
                "code_prompt_show": f"Show the {name}",
                "code_prompt_hide": f"Hide the {name}",
            }
    for said in (
        d.removeprefix(SUMMARY).strip() for d in directives if d.startswith(SUMMARY)
    ):
        myst |= {"code_prompt_show": said, "code_prompt_hide": said}
    metadata = {"tags": sorted(shown)} | ({"mystnb": myst} if myst else {})
    outputs = [
        beside_the_figure(o) for o in cell.get("outputs", []) if not progress_bar(o)
    ]
    outputs = [
        new for o in outputs for new in widgets.with_still(o, state or {}, where)
    ]
    return cell | {"source": code, "metadata": metadata, "outputs": outputs}


def how_it_ran(record, published):
    "One sentence for the reader: under which profile and parameters this page was computed."
    if record is None:
        return "This page has **not been executed** in this build, so it shows no results. `make book` runs every chapter."
    parameters, profile = record["parameters"], record["profile"]
    changed = {k: v for k, v in parameters.items() if published.get(k) != v}
    values = ", ".join(
        f"`{k} = {v!r}`" + (f" (published: `{published[k]!r}`)" if k in changed else "")
        for k, v in parameters.items()
    )
    said = f"Computed with the profile `{profile}` in {record['seconds']:.0f} s"
    said += f": {values}." if changed else ", at the published parameters."
    return said + (
        " The notebook, the library or the set of data at hand **has changed since**: `make book` runs it again."
        if record.get("stale")
        else ""
    )


def markdown(text):
    "A Markdown cell."
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def prose(text, name, first, seen):
    "A Markdown cell's text on the page: the first one has the badge below its title, and a chapter's words lead to the glossary."
    up = "../" * name.count("/")
    text = text.replace(
        f"{up}../book/", up
    )  # the site has the book's other pages beside the chapters
    if "/" not in name and name != "index":
        text = glossary.linked(text, seen)
    if first:
        head, quote, rest = re.match(
            r"(# [^\n]*\n*)(> [^\n]*\n*)?(.*)", text, re.DOTALL
        ).groups("")
        text = f"{head}{quote}\n\n{badge(name)}\n\n{rest}"
    return text


def with_outputs(notebook, executed):
    "An executed notebook, with the text and the order of cells of its source: changed text alone needs no new run."
    done = {c["id"]: c for c in executed["cells"]}
    cells = [
        done[c["id"]] if c["cell_type"] == "code" else c for c in notebook["cells"]
    ]
    return executed | {"cells": cells}


def page(notebook, name, record):
    "The page of an executed notebook. `record` says how it ran; None means that it did not."
    cells, published, state, seen = (
        [],
        published_parameters(notebook),
        widgets.saved_state(notebook),
        set(),
    )
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "raw" or "injected-parameters" in tags(cell):
            continue
        if cell["cell_type"] == "code":
            cell = code_cell(cell, f"{name}, cell {number}", state)
        elif cell["cell_type"] == "markdown":
            cell = cell | {
                "source": prose(
                    fill(source(cell)),
                    name,
                    not any(c["cell_type"] == "markdown" for c in cells),
                    seen,
                )
            }
        if cell is not None:
            cells.append(cell)
    if published or record is None or record.get("stale"):
        frame = (
            ":::{div} how-made"
            if record and not record.get("stale")
            else ":::{warning}"
        )
        cells.insert(1, markdown(f"{frame}\n{how_it_ran(record, published)}\n:::"))
    metadata = {
        "kernelspec": {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
    }
    metadata["language_info"] = {
        "name": "python",
        "pygments_lexer": "ipython3",
        "file_extension": ".py",
    }
    if models := widgets.kept(state, widgets.shown(cells)):
        metadata["widgets"] = {
            widgets.STATE: {"state": models, "version_major": 2, "version_minor": 0}
        }
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
