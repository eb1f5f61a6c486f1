"""Notebooks on Colab and other hosts: their address there, the badge on the page, and the first code cell, which installs what is missing.

The cell is the same in all notebooks and made from settings.ini, and so is what follows `pip install` wherever the library is to be installed:
`python -m book.colab` (a part of `make export`) writes both; a test compares.
"""

import json
import re

from .project import ROOT, notebooks, read_notebook, settings, source, tags

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "book").glob("*.md")),
]
INSTALL = re.compile(r"(?<=pip install )(git\+[^\s`]+|vae_nb)(?=[\s`]|$)")


def address(page):
    "Where a notebook of the book opens on Colab."
    home = settings()
    return f"https://colab.research.google.com/github/{home['user']}/{home['repo']}/blob/{home['branch']}/{home['nbs_path']}/{page}.ipynb"


def badge(page, picture="/static/colab.svg"):
    "The badge that opens a notebook on Colab, in Markdown."
    return f"[![Open in Colab]({picture})]({address(page)})"


def wanted():
    "What pip is to install: the library's name once it is on PyPI (`released` in settings.ini), until then the repository."
    home = settings()
    return (
        home["lib_name"]
        if home.getboolean("released")
        else f"git+{home['git_url']}@{home['branch']}"
    )


def installable(text):
    "Text whose `pip install` of the library works today."
    return INSTALL.sub(wanted(), text)


def cell():
    "The guarded cell: it installs the library where it is missing, and says what to do if that fails."
    name = settings()["lib_name"]
    text = f"""#| hide
# On colab and other hosts: install the library where it is missing.
from importlib import invalidate_caches
from importlib.util import find_spec

if find_spec("{name}") is None:
    %pip install --quiet {wanted()}
    invalidate_caches()
    if find_spec("{name}") is None:
        raise ModuleNotFoundError(
            "{name} could not be installed: what pip printed above says why. It needs "
            "internet access (on Kaggle, turn it on in the notebook's settings) and "
            "Python {settings()["min_python"]} or newer. When that is so, run this cell again."
        )"""
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": "colab",
        "metadata": {"tags": ["colab"]},
        "outputs": [],
        "source": text.splitlines(keepends=True),
    }


def with_cell(notebook):
    "A notebook with the cell as its first code cell, and text that says how to install the library today."
    cells = [c for c in notebook["cells"] if "colab" not in tags(c)]
    cells = [
        c | {"source": installable(source(c)).splitlines(keepends=True)}
        if c["cell_type"] == "markdown"
        else c
        for c in cells
    ]
    first = next(i for i, c in enumerate(cells) if c["cell_type"] == "code")
    return notebook | {"cells": [*cells[:first], cell(), *cells[first:]]}


def written():
    "File → its text as settings.ini wants it: the notebooks, and the pages."
    pages = {path: installable(path.read_text(encoding="utf-8")) for path in PAGES}
    return pages | {
        path: json.dumps(with_cell(read_notebook(path)), ensure_ascii=False, indent=1)
        + "\n"
        for path in notebooks().values()
    }


def main():
    "Write what differs."
    for path, text in written().items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
