"Spelling: British, and without slips, in all that is written for people: Markdown, docstrings, comments beside parameters."

import ast
import re
import subprocess
import sys
from pathlib import Path

import codespell_lib

from book.project import ROOT, notebooks, read_notebook, source

CODE = re.compile(
    r"^```.*?^```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]+\$|<!--.*?-->|\]\([^)]*\)|https?://\S+",
    re.S | re.M,
)
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "book").glob("*.md")),
]


def only_prose(text):
    "Text without code, formulas and addresses, its lines in their places."
    return CODE.sub(lambda found: "\n" * found[0].count("\n"), text)


def docstrings(text):
    "The docstrings of a module, and what is noted beside its parameters and returns."
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    said = [
        ast.get_docstring(node) or ""
        for node in ast.walk(ast.parse(text))
        if isinstance(node, nodes)
    ]
    return "\n".join(only_prose(s) for s in [*said, *re.findall(r"\S  # (.*)", text)])


def texts():
    "Where something is written → what."
    found = {
        str(path.relative_to(ROOT)): only_prose(path.read_text())
        for path in PAGES
        if path.exists()
    }
    for name, path in notebooks().items():
        found[f"nbs/{name}"] = "\n\n".join(
            only_prose(source(c))
            for c in read_notebook(path)["cells"]
            if c["cell_type"] == "markdown"
        )
    code = [
        p
        for folder in ("vae_nb", "book", "benchmarks")
        for p in sorted((ROOT / folder).rglob("*.py"))
    ]
    return found | {str(p.relative_to(ROOT)): docstrings(p.read_text()) for p in code}


def british(folder):
    "codespell's list of British words that Americans write otherwise, turned round: a dictionary that corrects to British."
    lines = (
        (Path(codespell_lib.__file__).parent / "data/dictionary_en-GB_to_en-US.txt")
        .read_text()
        .splitlines()
    )
    pairs = {
        us.strip().rstrip(","): gb
        for gb, us in (line.split("->") for line in lines)
        if "," not in us.strip().rstrip(",")
    }
    path = folder / "british.txt"
    path.write_text("\n".join(f"{us}->{gb}" for us, gb in pairs.items()))
    return path


def misspelt(found, folder):
    "What codespell says of texts, name → text; '' if nothing."
    dictionary, said = british(folder), folder / "said"
    for name, text in found.items():
        path = said / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = [
        sys.executable,
        "-m",
        "codespell_lib",
        "--toml",
        ROOT / "pyproject.toml",
        "--dictionary",
        "-",
        "--dictionary",
        dictionary,
        ".",
    ]
    done = subprocess.run(command, cwd=said, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.stdout


def test_spelling(tmp_path):
    assert misspelt(texts(), tmp_path) == ""


def test_the_spelling_check_finds_slips_and_american_words(tmp_path):
    text = (
        "Recieve a colour.\n\n```python\ncolor = 1\n```\nNormalize `color` and $color$."
    )
    said = misspelt(
        {
            "a.md": only_prose(text),
            "b.py": docstrings(
                '"A behavior."\ndef f(x,\n    y,  # teh second\n): "ok"'
            ),
        },
        tmp_path,
    )
    assert [
        line.split(": ")[1].split(" ==>")[0] for line in sorted(said.splitlines())
    ] == ["Recieve", "Normalize", "behavior", "teh"]
