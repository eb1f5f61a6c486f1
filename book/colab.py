"""Notebooks on Colab and other hosts: their address there, the badge on the page, and the first code cell, which installs what is missing.

The cell is the same in all notebooks and made from settings.ini: `python -m book.colab` (a part of `make export`) writes it; a test compares.
"""
import json

from .project import notebooks, read_notebook, settings, tags


def address(page):
    "Where a notebook of the book opens on Colab."
    home = settings()
    return f"https://colab.research.google.com/github/{home['user']}/{home['repo']}/blob/{home['branch']}/{home['nbs_path']}/{page}.ipynb"


def badge(page, picture="/static/colab.svg"):
    "The badge that opens a notebook on Colab, in Markdown."
    return f"[![Open in Colab]({picture})]({address(page)})"


def cell():
    "The guarded cell. Until a release is on PyPI (`released` in settings.ini) it installs from the repository."
    home = settings()
    what = home["lib_name"] if home.getboolean("released") else f"git+{home['git_url']}@{home['branch']}"
    text = f"""#| hide
# On colab and other hosts: install the library where it is missing.
from importlib.util import find_spec

if find_spec("{home['lib_name']}") is None:
    %pip install --quiet {what}"""
    return {"cell_type": "code", "execution_count": None, "id": "colab", "metadata": {"tags": ["colab"]}, "outputs": [],
            "source": text.splitlines(keepends=True)}


def with_cell(notebook):
    "A notebook with the cell as its first code cell."
    cells = [c for c in notebook["cells"] if "colab" not in tags(c)]
    first = next(i for i, c in enumerate(cells) if c["cell_type"] == "code")
    return notebook | {"cells": [*cells[:first], cell(), *cells[first:]]}


def main():
    "Write the cell into every notebook."
    for path in notebooks().values():
        before = read_notebook(path)
        if (after := with_cell(before)) != before:
            path.write_text(json.dumps(after, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
