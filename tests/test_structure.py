"What holds for the whole repository: one direction of imports, clean notebooks, valid profiles, one home, a light import."

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from book import execute, floors
from book.execute import DATA, data_found, key_of
from book.measured import END, MARK, RESULTS, fill, section, typeset
from book.pages import page, split_directives, tags_of, with_outputs
from book.project import (
    PROFILES,
    dotted,
    module_path,
    modules,
    notebooks,
    page_names,
    profile_parameters,
    published_parameters,
    read_notebook,
    source,
    tags,
    toc_files,
)
from book.sphinx_pages import repaired

ROOT = Path(__file__).resolve().parents[1]
MODULES = [module_path(name) for name in modules()]
NOTEBOOKS = sorted(
    p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
)
CHAPTERS = [
    p for p in NOTEBOOKS if p.parent == ROOT / "nbs" and p.name != "index.ipynb"
]
NO_IMPORT = "pandas seaborn sklearn matplotlib ipywidgets".split()
NO_PLOTTING = "pandas seaborn sklearn matplotlib IPython".split()


def named(paths):
    "Parametrise by path, shown relative to the repository."
    return pytest.mark.parametrize(
        "path", paths, ids=lambda p: str(p.relative_to(ROOT))
    )


@named(MODULES)
def test_imports_run_one_way(path):
    name = dotted(path)
    room = name.split(".")[0]
    assert room in floors.ORDER, f"{room} has no place in ORDER of book/floors.py"
    left = floors.ORDER[: floors.ORDER.index(room)]
    used = {
        n.split(".")[0] for n in floors.imports(path, name, path.stem == "__init__")
    }
    wrong = used - {room, "", *left}
    assert not wrong, f"{name} may import only from {left}, and imports {wrong}"


@pytest.mark.parametrize(
    "room", [n for n in modules() if module_path(n).stem == "__init__"]
)
def test_inside_a_package_imports_run_one_way_too(room):
    pages = toc_files()
    inside = [name for name in modules() if name.startswith(f"{room}.")]
    order = sorted(inside, key=lambda name: pages.index(floors.notebook(name)))
    for number, name in enumerate(order):
        used = set(floors.imports(module_path(name), name))
        wrong = used & {room, *order[number:]}
        assert not wrong, f"{name} stands in the order {order} and imports {wrong}"


def test_benchmarks_import_the_book_and_never_the_reverse():
    for path in (ROOT / "book").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [
                getattr(node, "module", None) or "",
                *(
                    a.name
                    for a in getattr(node, "names", [])
                    if isinstance(a, ast.alias)
                ),
            ]
            assert not any(str(name).split(".")[0] == "benchmarks" for name in names), (
                f"{path.name}, line {node.lineno}"
            )


def test_imports_of_every_form_are_seen(tmp_path):
    path = tmp_path / "core.py"
    path.write_text(
        "from .train import fit\nfrom vae_nb.vae import VAE\nimport vae_nb.cli\n"
        "from . import latent\nfrom vae_nb import joint\ndef f():\n    from .conv import conv_vae\n"
    )
    found = set(floors.imports(path, "core"))
    assert found == {"cli", "conv", "joint", "latent", "train", "vae"}


def test_a_module_inside_a_package_is_seen_by_all_that_reads_the_library(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("book.project.ROOT", tmp_path)
    monkeypatch.setattr("book.execute.ROOT", tmp_path)
    for name in (
        "__init__.py",
        "_modidx.py",
        "core.py",
        "data/__init__.py",
        "data/load.py",
    ):
        path = tmp_path / "vae_nb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from ..core import nearest\n")
    assert (
        modules() == ["core", "data", "data.load"]
        and module_path("data.load").read_text()
        and module_path("data").name == "__init__.py"
    )
    path = tmp_path / "vae_nb/data/load.py"
    assert list(floors.imports(path, "data.load")) == ["core"]
    base = key_of(example(), {})
    (tmp_path / "vae_nb/_modidx.py").write_text("changed")
    assert key_of(example(), {}) == base, "nbdev's index is read by no code"
    (tmp_path / "vae_nb/data/load.py").write_text("changed")
    assert key_of(example(), {}) != base, (
        "a page would stay as an older library made it"
    )
    model = tmp_path / "vae_nb/assets/pretrained/digits/model.safetensors"
    model.parent.mkdir(parents=True)
    keys = [key_of(example(), {}) for text in ("0", "1") if model.write_text(text)]
    assert keys[0] != keys[1], "files in folders of the assets count"
    (tmp_path / "vae_nb/assets/four.c").write_text("/* read by a compiler alone */")
    assert key_of(example(), {}) == keys[1]


@named(NOTEBOOKS)
def test_notebook_carries_no_outputs(path):
    cells = [c for c in read_notebook(path)["cells"] if c["cell_type"] == "code"]
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells), (
        "run: make export"
    )


@named(NOTEBOOKS)
def test_notebook_is_as_nbdev_clean_leaves_it(path):
    notebook = read_notebook(path)
    assert (
        set(notebook["metadata"]) == {"kernelspec"}
        and notebook["metadata"]["kernelspec"]["display_name"] == "python3"
    ), "run: make export"
    extra = {key for cell in notebook["cells"] for key in cell["metadata"]} - {
        "tags",
        "mystnb",
    }
    assert not extra, f"cell metadata {extra}; run: make export"


def longest(text):
    "25 lines; a single exported class or function, which cannot be split, may take 80; imports stand one a line; folded helpers take no room."
    exported = re.match(r"#\| exporti?\b", text)
    body = ast.parse(re.sub(r"(?m)^([ \t]*)[!%].*", r"\1pass", text)).body
    if body and all(isinstance(line, ast.Import | ast.ImportFrom) for line in body):
        return 60
    if exported and "\n#| code-fold: true\n" in text and len(body) > 1:
        return 60
    return 80 if exported and len(body) == 1 else 25


@named(NOTEBOOKS)
def test_cells_are_short_and_portable(path):
    for number, cell in enumerate(
        c for c in read_notebook(path)["cells"] if c["cell_type"] == "code"
    ):
        text, where = source(cell), f"code cell {number}"
        assert len(text.splitlines()) <= longest(text), (
            f"{where} has {len(text.splitlines())} lines; {longest(text)} is the most"
        )
        assert not re.search(
            r"""["'](/(home|Users|work|tmp|root|mnt|data)/|[A-Z]:\\)""", text
        ), f"{where} holds an absolute path"
        assert (
            "nbdev_export(" not in text
            and "#| eval: false" not in text
            and "%matplotlib" not in text
        ), where
        if re.search(r"^\s*[!%]pip\b", text, re.M):
            assert (
                re.search(r"^\s*(if|try)\b.*\n\s+[!%]pip", text, re.M)
                and "colab" in text
            ), f"{where}: pip only behind a test for Colab"
        tags_of(split_directives(text)[0], where)  # an unknown directive is an error


@named(NOTEBOOKS)
def test_notebook_opens_with_a_title_and_one_line(path):
    first = next(
        source(c) for c in read_notebook(path)["cells"] if c["cell_type"] == "markdown"
    )
    assert re.match(r"# \S.*\n\n> \S.*", first), (
        "the first cell is `# Title`, an empty line, `> one line`"
    )


@named(CHAPTERS)
def test_chapter_has_front_matter_and_parameters(path):
    notebook = read_notebook(path)
    front = [source(c) for c in notebook["cells"] if c["cell_type"] == "raw"]
    assert any("skip_exec: true" in text for text in front), (
        "a chapter's first cell is raw: ---, skip_exec: true, ---"
    )
    assert len([c for c in notebook["cells"] if "parameters" in tags(c)]) == 1, (
        "a chapter has one cell tagged `parameters`"
    )
    parameters = published_parameters(notebook)
    assert 4 <= len(parameters) <= 8 and all(
        isinstance(v, int | float | str | bool) for v in parameters.values()
    ), parameters


def test_contents_list_every_page_once():
    files = toc_files()
    assert len(files) == len(set(files))
    assert all(
        (ROOT / f"{f}.ipynb").exists() or (ROOT / f"{f}.md").exists() for f in files
    )
    listed = {ROOT / f"{f}.ipynb" for f in files}
    assert not [str(p) for p in NOTEBOOKS if p not in listed], (
        "a notebook that is not in _toc.yml is not in the book"
    )
    assert len(page_names()) == len(set(page_names())), (
        "two sources have the same address"
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_profile_sets_parameters_that_exist(profile):
    pages = notebooks()
    for name, values in profile_parameters(profile).items():
        assert name in pages, (
            f"{profile}.yaml: there is no chapter {name}; there are {', '.join(pages)}"
        )
        published = published_parameters(read_notebook(pages[name]))
        for key, value in values.items():
            assert key in published, (
                f"{profile}.yaml: {name} has no parameter {key}; it has {', '.join(published)}"
            )
            fits = type(value) is type(published[key]) or (
                type(value) is int and type(published[key]) is float
            )
            assert fits, (
                f"{profile}.yaml: {name}.{key} = {value!r}, where the chapter has {published[key]!r}"
            )


def test_every_chapter_with_parameters_has_a_test_and_a_cpu_profile():
    chapters = {name for name, path in notebooks().items() if path in CHAPTERS}
    for profile in ("test", "cpu"):
        missing = chapters - profile_parameters(profile).keys()
        assert not missing, (
            f"book/profiles/{profile}.yaml says nothing of {sorted(missing)}: it would run at the published values"
        )


def run_python(code):
    "Run code in a fresh interpreter outside the repository's folder; its output."
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT / "vae_nb",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_training_and_plots_import_no_plotting_and_the_library_no_tool_of_development():
    code = "import sys\nfor name in ('nbdev', 'execnb', 'fastcore', 'jupytext', 'papermill'): sys.modules[name] = None\nsys.path.pop(0)\n"
    for room, heavy in (("train", NO_IMPORT), ("plots", NO_PLOTTING)):
        code += f"import vae_nb.{room}; print([m for m in {heavy!r} if sys.modules.get(m)])\n"
    names = [f"vae_nb.{name}" for name in modules()]
    said = run_python(code + "\n".join(f"import {name}" for name in names))
    assert said.split() == ["[]", "[]"]


def tracked():
    "Files under version control, or None where there is none (a downloaded archive)."
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    return (
        [
            ROOT / name
            for name in done.stdout.split("\0")
            if name and (ROOT / name).exists()
        ]
        if done.returncode == 0
        else None
    )


def test_nothing_is_tracked_that_should_not_be():
    files = tracked()
    if files is None:
        pytest.skip("not a git checkout")
    locks = "package-lock.json yarn.lock uv.lock poetry.lock Pipfile.lock pnpm-lock.yaml".split()
    hosts = re.compile(
        "|".join(
            re.escape(h)
            for h in (
                "files.python" + "hosted.org",
                "registry.npm" + "js.org",
                "pypi" + ".org/simple",
            )
        )
    )
    for path in files:
        assert path.name not in locks and path.suffix not in (
            ".pt",
            ".pth",
            ".jpg",
            ".jpeg",
            ".npz",
        ), path
        if path.suffix in (
            ".py",
            ".toml",
            ".txt",
            ".yaml",
            ".yml",
            ".ini",
            ".md",
            ".ipynb",
            "",
        ):
            found = hosts.search(path.read_text(errors="ignore"))
            assert not found, (
                f"{path.relative_to(ROOT)} names a package registry: {found[0]}"
            )


def test_the_home_is_named_in_settings():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "settings.ini")
    s, project = (
        parser["DEFAULT"],
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"],
    )
    home = f"https://github.com/{s['user']}/{s['repo']}"
    assert (
        s["git_url"] == home
        and project["urls"]["Source"] == home
        and project["urls"]["Documentation"] == s["doc_host"] + s["doc_baseurl"]
    )
    assert s["lib_name"] == project["name"] and s["min_python"] == project[
        "requires-python"
    ].removeprefix(">=")


# --- from notebook to page ---


def cell(kind, text, *labels, outputs=()):
    "A cell as nbformat has it."
    extra = (
        {"outputs": list(outputs), "execution_count": None} if kind == "code" else {}
    )
    return {
        "cell_type": kind,
        "id": text,
        "metadata": {"tags": list(labels)},
        "source": text.splitlines(keepends=True),
    } | extra


def example():
    "A chapter in small."
    bar = {"output_type": "stream", "name": "stderr", "text": "\r 50%|#####     |"}
    said = {"output_type": "stream", "name": "stderr", "text": "careful\n"}
    return {
        "metadata": {},
        "cells": [
            cell("raw", "---\nskip_exec: true\n---"),
            cell("markdown", "# A title\n\n> one line"),
            cell("code", "#| default_exp vae"),
            cell("code", "#| export\ndef f(): pass"),
            cell("code", "#| hide\nassert True"),
            cell("code", "epochs = 50\nlr = 1e-3", "parameters"),
            cell("code", "# Parameters\nepochs = 2\n", "injected-parameters"),
            cell("code", "train()", outputs=[bar, said]),
        ],
    }


RECORD = {
    "profile": "cpu",
    "parameters": {"epochs": 2},
    "seconds": 3.2,
    "key": "",
    "stale": False,
}


def test_page_turns_directives_into_tags():
    cells = page(example(), "02", RECORD)["cells"]
    text = "\n".join(source(c) for c in cells)
    assert "#|" not in text and "skip_exec" not in text and "# Parameters" not in text
    by_code = {source(c): tags(c) for c in cells if c["cell_type"] == "code"}
    assert by_code == {
        "def f(): pass": ["exported"],
        "assert True": ["remove-cell"],
        "epochs = 50\nlr = 1e-3": ["hide-input", "parameters"],
        "train()": [],
    }
    assert [o["text"] for o in cells[-1]["outputs"]] == ["careful\n"], (
        "progress bars go, warnings stay"
    )


def test_a_folded_cell_stands_under_its_line_of_summary():
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "metadata": {},
                "outputs": [],
                "source": "#| code-fold: true\n#| code-summary: Draws the bars\ndraw()",
            }
        ],
        "metadata": {},
    }
    cell = page(notebook, "lib/x", RECORD)["cells"][0]
    assert cell["source"] == "draw()" and tags(cell) == ["hide-input"]
    assert cell["metadata"]["mystnb"]["code_prompt_show"] == "Draws the bars"


def test_a_caption_belongs_to_the_picture():
    text = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"text/plain": "10 epochs in 3 s"},
    }
    picture = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"text/plain": "<Figure>", "image/png": ""},
    }
    notebook = {
        "metadata": {},
        "cells": [
            cell("markdown", "# T"),
            cell("code", "fit()", outputs=[text, picture]),
        ],
    }
    assert [
        o["output_type"] for o in page(notebook, "02", RECORD)["cells"][-1]["outputs"]
    ] == ["stream", "display_data"]


def test_page_says_how_it_was_made():
    first = lambda record: source(page(example(), "02", record)["cells"][1])
    assert "`epochs = 2` (published: `50`)" in first(RECORD) and "`cpu`" in first(
        RECORD
    )
    assert "has changed since" in first(RECORD | {"stale": True})
    assert "not been executed" in first(None)


def test_a_misspelt_directive_is_an_error():
    with pytest.raises(SystemExit, match="exprot"):
        tags_of(["exprot"], "02, cell 3")


def test_key_changes_with_what_the_result_depends_on(monkeypatch):
    base = key_of(example(), {"epochs": 2})
    again = example()
    again["cells"][-1]["outputs"] = []
    assert key_of(again, {"epochs": 2}) == base, "outputs are not a source"
    assert key_of(example(), {"epochs": 3}) != base
    again["cells"][-1]["source"] = ["train(1)"]
    assert key_of(again, {"epochs": 2}) != base
    monkeypatch.setenv("VAE_NB_DATA", "elsewhere")
    assert key_of(example(), {"epochs": 2}) != base
    monkeypatch.undo()
    assert key_of(example(), {"epochs": 2}) == base and len(execute.versions()) > 10
    execute.versions.cache_clear()
    newer = lambda name: "9.9" if name == "matplotlib" else version(name)
    monkeypatch.setattr(execute, "version", newer)
    assert key_of(example(), {"epochs": 2}) != base, "figures may look otherwise"
    execute.versions.cache_clear()


def test_changed_text_is_on_the_page_without_a_new_run():
    executed, written = example(), example()
    executed["cells"][-1]["outputs"] = [{"output_type": "stream", "text": "a score"}]
    del written["cells"][6]  # papermill's, which no source has
    before = key_of(written, {})
    written["cells"][1]["source"] = ["# Another title"]
    written["cells"].append(cell("markdown", "A new end."))
    assert key_of(written, {}) == before
    shown = with_outputs(written, executed)["cells"]
    assert source(shown[1]) == "# Another title"
    assert [source(c) for c in shown[-2:]] == ["train()", "A new end."]
    assert shown[-2]["outputs"] == executed["cells"][-1]["outputs"]
    written["cells"][2:4] = written["cells"][3:1:-1]
    assert key_of(written, {}) != before, "code runs in another order"


def test_data_are_found_where_the_library_looks_for_them(tmp_path, monkeypatch):
    for place in ("data", "cache"):
        monkeypatch.setenv(f"VAE_NB_{place.upper()}", str(tmp_path / place))
    assert not any(data_found().values())
    files = [tmp_path / "data/celeba/list", tmp_path / "cache/MNIST/raw/images"]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    assert data_found() == dict.fromkeys(DATA, []) | {
        "CelebA": [str(files[0])],
        "MNIST": [str(files[1])],
    }
    code = "".join(module_path(f"data.{n}").read_text() for n in ("sets", "celeba"))
    code += module_path("data.loading").read_text()
    folders = [part.split("/")[0] for parts in DATA.values() for part in parts]
    stems = [re.split(r"\.?\*", folder)[0] for folder in folders]
    assert all(f'"{stem}' in code for stem in stems), stems


def test_every_recorded_table_is_on_the_page_measured_and_every_mark_is_recorded():
    marks = lambda path: set(MARK.findall(path.read_text()))
    recorded = {path.stem for path in RESULTS.glob("*.json")}
    text = (ROOT / "book/measured.md").read_text()
    optional = set(re.findall(r"measured if there: (\w+)", text))
    shown = marks(ROOT / "book/measured.md")
    assert shown - optional <= recorded <= shown
    in_chapters = {
        name
        for path in NOTEBOOKS
        for cell in read_notebook(path)["cells"]
        for name in MARK.findall(source(cell))
    }
    assert in_chapters | marks(ROOT / "README.md") <= recorded


def test_readme_shows_the_tables_as_recorded():
    text = (ROOT / "README.md").read_text()
    assert fill(text, keep_marks=True) == text, (
        "run: make bench, or benchmarks.record.write_tables()"
    )


def test_marks_are_filled_once_and_kept_apart():
    name = sorted(RESULTS.glob("*.json"))[0].stem
    mark = f"<!-- measured: {name} -->"
    text = f"{mark}\n\nbetween\n\n{mark}\nstood here before\n{END}"
    assert (
        fill(text).count(section(name)) == 2
        and "between" in fill(text)
        and "stood here before" not in fill(text)
    )
    kept = fill(text, keep_marks=True)
    assert kept.count(mark) == 2 and fill(kept, keep_marks=True) == kept
    with pytest.raises(SystemExit, match="make bench NAME=never_run"):
        fill("<!-- measured: never_run -->")


def test_a_table_has_real_minus_signs_and_breaks_at_no_hyphen():
    table = typeset(
        "| net | CPU-s |\n| --- | --- |\n| 784-20-784 | -3.5 ± 0.2 |\n| one-cycle, 3 - 2 | 1 |"
    )
    assert (
        table
        == "| net | CPU‑s |\n| --- | --- |\n| 784‑20‑784 | −3.5\u00a0±\u00a00.2 |\n| one-cycle, 3 - 2 | 1 |"
    )


def test_cells_with_a_sentence_are_marked_and_bibliographies_have_no_roles():
    body = f"<table><tr><td><b>{'short ' * 5}</b></td><td>{'<code>x</code>' * 9}</td>\n<td><p>{'longer ' * 9}</p></td></tr></table>"
    assert re.findall("<td.*?>", repaired(body, {})) == [
        "<td>",
        "<td>",
        '<td class="prose">',
    ]
    listed = '<div role="list" class="citation-list"><div class="docutils citation" id="a" role="doc-biblioentry">Kingma</div></div>'
    assert "role" not in repaired(listed, {}) and "Kingma" in repaired(listed, {})
    assert repaired("<p>a &lt; b&nbsp;c</p>", {}) == "<p>a &lt; b&nbsp;c</p>"


def test_pictures_have_their_size_before_they_are_loaded():
    from book.sphinx_pages import repaired

    shot = ROOT / "book/static/readme.png"
    by_style = '<img alt="a" src="_images/a.png" style="width: 7.4px; height: 3px;"/>'
    assert (
        repaired(by_style, {})
        == '<img width="7" height="3" alt="a" src="_images/a.png"/>'
    )
    of_file = repaired('<img alt="b" src="../_images/b.png"/>', {"b.png": shot})
    assert re.search(r'<img width="\d+" height="\d+" alt="b"', of_file)
    unknown = '<img alt="c" src="_images/c.png"/>'
    assert repaired(unknown, {}) == unknown


def test_pages_lead_to_sections_that_have_moved():
    from book.sphinx_pages import LEAD, moved

    assert (
        moved()["02b_what_goes_wrong"]["no-kl-at-all"] == "02c_museum.html#no-kl-at-all"
    )
    assert set(moved()) <= set(notebooks()) and "location.replace" in LEAD
