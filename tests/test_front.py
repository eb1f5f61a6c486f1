"What stands around the chapters: Colab, workflows, reference, help, glossary, citations, figures, README. All of it is read, nothing is run."

import ast
import importlib
import inspect
import json
import pydoc
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from book import api, colab, export, glossary
from book.cite import citation, reference
from book.measured import MARK
from book.pages import page
from book.project import (
    ROOT,
    library,
    module_path,
    modules,
    notebooks,
    page_names,
    read_notebook,
    rooms,
    settings,
    site_toc,
    source,
    tags,
    toc_files,
)
from book.readme import PICTURE, absolute, filled

BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEXTS = {
    name: "\n".join(source(c) for c in read_notebook(path)["cells"])
    for name, path in notebooks().items()
}
TEXTS |= {
    file: (ROOT / f"{file}.md").read_text()
    for file in toc_files()
    if file.startswith("book/")
}


# --- Colab ---


def test_notebooks_and_pages_say_how_to_install_the_library_as_settings_want_it():
    assert not [
        path.name for path, text in colab.written().items() if path.read_text() != text
    ], "run: make export"


def installed_by(cell, *found):
    "The pip commands that the cell gives; whether the library is there when it looks for the first time, and for the second."
    from IPython.core.inputtransformer2 import TransformerManager

    calls, found = [], iter(found)
    shell = type(
        "Shell", (), {"run_line_magic": lambda self, *call: calls.append(call)}
    )()
    code = (
        TransformerManager()
        .transform_cell(source(cell))
        .replace("from importlib.util import find_spec", "")
    )
    exec(
        code,
        {"get_ipython": lambda: shell, "find_spec": lambda name: next(found) or None},
    )
    return calls


def test_the_cell_installs_only_what_is_missing():
    home = settings()
    assert installed_by(colab.cell(), True) == []
    assert installed_by(colab.cell(), False, True) == [
        ("pip", f"install --quiet git+{home['git_url']}@{home['branch']}")
    ]


def test_the_cell_says_what_to_do_when_pip_failed():
    with pytest.raises(
        ModuleNotFoundError,
        match="could not be installed.*internet access.*Python 3.11 or newer.*run this cell again",
    ):
        installed_by(colab.cell(), False, False)


@pytest.mark.parametrize("released", (False, True))
def test_every_line_that_installs_the_library_follows_the_one_setting(
    released, monkeypatch
):
    home = settings()
    home["released"] = str(released)
    monkeypatch.setattr(colab, "settings", lambda: home)
    right = "vae_nb" if released else f"git+{home['git_url']}@{home['branch']}"
    assert installed_by(colab.cell(), False, True) == [
        ("pip", f"install --quiet {right}")
    ]
    folders = [
        ROOT / name for name in ("nbs", "book", "vae_nb", "benchmarks", ".github")
    ]
    files = [
        *ROOT.glob("*.*"),
        *(
            p
            for folder in folders
            for p in folder.rglob("*.*")
            if ".ipynb_checkpoints" not in p.parts
        ),
    ]
    made, told = colab.written(), {}
    for path in [
        p
        for p in files
        if p.suffix in (".md", ".ipynb", ".py", ".yml", ".js", ".html", ".toml", ".cff")
    ]:
        lines = re.findall(
            r"pip install ([^`\n\\\"]*(?:vae_nb|git\+)[^`\n\\\"]*)",
            made.get(path) or path.read_text(),
        )
        told |= (
            {
                path.relative_to(ROOT).as_posix(): {
                    line.removeprefix("--quiet ") for line in lines
                }
            }
            if lines
            else {}
        )
    assert {
        "README.md",
        "nbs/index.ipynb",
        "nbs/06_cookbook.ipynb",
        "nbs/lib/00_core.ipynb",
    } <= told.keys()
    assert not {name: lines for name, lines in told.items() if lines != {right}}


def test_the_page_shows_a_badge_and_not_the_cell():
    name, path = next(iter(notebooks().items()))
    cells = page(colab.with_cell(read_notebook(path)), name, None)["cells"]
    assert colab.address(name) in source(cells[0]) and "(/static/colab.svg)" in source(
        cells[0]
    )
    assert [tags(c) for c in cells if "find_spec" in source(c)] == [
        ["colab", "remove-cell"]
    ]


def test_a_notebook_opens_on_colab_at_the_home_in_settings():
    home = settings()
    address = colab.address("lib/00_core")
    assert (
        address
        == f"https://colab.research.google.com/github/{home['user']}/{home['repo']}/blob/{home['branch']}/nbs/lib/00_core.ipynb"
    )
    assert (
        home["git_url"].endswith(f"/{home['user']}/{home['repo']}")
        and (ROOT / address.split(f"/{home['branch']}/")[1]).exists()
    )


def test_links_to_the_books_other_pages_work_in_the_repository_and_on_the_site():
    notebook = {
        "metadata": {},
        "cells": [
            {
                "cell_type": "markdown",
                "metadata": {},
                "source": "# T\n\n> t\n\n[m](../book/measured.md)",
            }
        ],
    }
    assert "[m](measured.md)" in source(page(notebook, "02", None)["cells"][0])
    notebook["cells"][0]["source"] = "# T\n\n> t\n\n[m](../../book/measured.md)"
    assert "[m](../measured.md)" in source(page(notebook, "lib/02", None)["cells"][0])


# --- workflows, ruff, citation file: checked by the tools that know their schemas ---


def complaints(*command):
    "What a tool says against files; '' if it is content."
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    return (done.stdout + done.stderr) if done.returncode else ""


def schema(name, *files):
    "What check-jsonschema has against files by one of the schemas that it carries (no network); '' if it is content."
    from check_jsonschema import main
    from click.testing import CliRunner

    done = CliRunner().invoke(
        main, ["--builtin-schema", name, *(str(ROOT / file) for file in files)]
    )
    return done.output if done.exit_code else ""


def test_workflows_are_valid():
    assert {w.stem for w in WORKFLOWS} >= {"test", "book", "release"}
    assert not schema("vendor.github-workflows", *WORKFLOWS)
    assert not schema("custom.github-workflows-require-timeout", *WORKFLOWS)
    assert not schema("vendor.dependabot", ".github/dependabot.yml")


def test_a_wrong_workflow_is_refused(tmp_path):
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text().replace("runs-on", "runs_on"))
    assert "runs-on" in schema("vendor.github-workflows", wrong)


def test_workflows_use_what_exists():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    runs = [
        step["run"]
        for w in WORKFLOWS
        for job in yaml.safe_load(w.read_text())["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    made = {name for run in runs for name in re.findall(r"\bmake ([a-z-]+)", run)}
    assert {"test", "book", "dist"} <= made <= targets
    texts = "\n".join(w.read_text() for w in WORKFLOWS)
    assert len(re.findall(r"vars\.GPU_RUNNER", texts)) == 1, (
        "the GPU runner has one place"
    )
    for python in ("3.11", "3.12", "3.13"):
        assert f'"{python}"' in (ROOT / ".github/workflows/test.yml").read_text()


def jobs():
    "Workflow and name → job, of all workflows."
    return {
        f"{w.stem}/{name}": job
        for w in WORKFLOWS
        for name, job in yaml.safe_load(w.read_text())["jobs"].items()
    }


def test_actions_are_pinned_by_commit():
    used = [
        line
        for w in WORKFLOWS
        for line in w.read_text().splitlines()
        if "uses:" in line
    ]
    assert len(used) >= 14 and not [
        line
        for line in used
        if not re.fullmatch(
            r"\s*(- )?uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line
        )
    ]
    pinned = {re.search(r"uses: (\S+)@(.*)", line).groups() for line in used}
    assert len(pinned) == len(dict(pinned)), (
        "one version of an action, in all workflows"
    )


def test_a_job_that_may_publish_runs_nothing_of_ours():
    may = {
        name: job
        for name, job in jobs().items()
        if "write" in str(job.get("permissions"))
    }
    assert may.keys() == {"book/publish", "release/publish"} and all(
        job["needs"] == "build" for job in may.values()
    )
    assert not [
        step
        for job in may.values()
        for step in job["steps"]
        if "run" in step or "checkout" in step["uses"]
    ]
    assert all(
        yaml.safe_load(w.read_text())["permissions"] == {"contents": "read"}
        for w in WORKFLOWS
    )


def test_a_release_says_that_it_is_one():
    runs = [step.get("run", "") for step in jobs()["release/build"]["steps"]]
    assert 'grep -qx "released = True" settings.ini' in runs and re.search(
        "^released = (True|False)$", (ROOT / "settings.ini").read_text(), re.M
    )


def test_what_installs_and_builds_is_pinned_by_hash():
    lines = [
        line
        for line in (ROOT / "Makefile").read_text().splitlines()
        if re.search("pip install|uv build|pip compile", line)
    ]
    assert len(lines) == 5 and not [
        line
        for line in lines
        if not re.search(
            "--require-hashes|--build-constraints requirements/dev.txt|--generate-hashes",
            line,
        )
    ]
    pinned = re.split(r"\n(?! )", (ROOT / "requirements/dev.txt").read_text().strip())
    assert not [
        one
        for one in pinned
        if not re.match(
            r"[\w.-]+==\S+( ; .*)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n?)+$", one
        )
    ]
    assert {"uv", "hatchling", "pytest-xdist", "execnet"} <= {
        one.split("==")[0] for one in pinned
    }


@pytest.mark.slow
def test_the_steps_of_the_published_run_dry(tmp_path, monkeypatch):
    """On a CPU with PROFILE=test: what its steps come down to is asked of make; one small chapter is executed and all pages are written.

    Sphinx and the PDF are left out: test_book.py has them.
    """
    from book import build

    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())
    steps = workflow["jobs"]["build"]["steps"]
    asked = []
    for line in (step["run"] for step in steps if "run" in step):
        make, *words = line.replace("PROFILE=gpu", "PROFILE=test").split()
        assert make == "make" and words
        command = ["make", "-n", "-o", ".venv/.installed", *words]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        asked += re.findall(r"python -m (book\.\w+)(.*)", said.stdout)
    asked = [(module, options.split()) for module, options in asked]
    assert asked == [("book.build", ["--profile", "test"]), ("book.pdf", [])]

    cached = [
        step["with"]["path"] for step in steps if "/cache" in step.get("uses", "")
    ]
    data = workflow["env"]["VAE_NB_CACHE"].replace("${{ github.workspace }}/", "")
    assert cached == 2 * [data, "_build/executed"], "restored, and kept"
    kept = [step for step in steps if "cache/save@" in step.get("uses", "")]
    finished = "what a failed run had finished is kept too"
    assert [step["if"] for step in kept] == 2 * ["always()"], finished

    monkeypatch.setenv("VAE_NB_CACHE", str(tmp_path / data))
    monkeypatch.setenv("VAE_NB_DATA", str(tmp_path))
    monkeypatch.setattr(build, "BUILD", tmp_path / "_build")
    monkeypatch.setattr(build.vendor, "mathjax", lambda *folders: None)
    monkeypatch.setattr(build.vendor, "widget_manager", lambda *folders: None)
    monkeypatch.setattr(
        build, "build_site", lambda source, html, strict: shutil.copytree(source, html)
    )
    monkeypatch.setattr(
        sys,
        "argv",
        ["book.build", *asked[0][1], "--chapter", "lab", "--threads", "1"],
    )
    build.main()
    uploads = [
        step["with"]["path"].replace("gpu", "test")
        for step in steps
        if "upload" in step.get("uses", "")
    ]
    assert uploads == ["_build/executed/test", "_build/html"]
    assert (tmp_path / uploads[0] / "lab.ipynb").exists()
    assert len(list((tmp_path / uploads[1]).rglob("*.ipynb"))) > 50


def test_hooks_use_tools_of_the_environment():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0][
        "hooks"
    ]
    assert {"ruff", "nbdev_clean", "nbstripout"} <= {hook["id"] for hook in hooks}
    for hook in hooks:
        tool, *options = hook["entry"].split()
        assert tool.startswith(".venv/bin/") and (BIN / Path(tool).name).exists(), tool
        assert hook["id"] != "nbstripout" or "--keep-id" in options, (
            "without it every cell gets a new id"
        )


def test_ruff_is_content():
    assert not complaints("ruff", "check")
    assert not complaints("ruff", "check", "--select", "F821", *library()), (
        "a name that is used and not imported"
    )


def test_ruff_finds_a_name_that_is_not_imported(tmp_path):
    (tmp_path / "wrong.py").write_text("def f():\n    return maths.pi\n")
    assert "F821" in complaints(
        "ruff", "check", "--select", "F821", tmp_path / "wrong.py"
    )


# --- how to cite, and what is cited ---


def test_the_citation_file_is_valid_and_up_to_date():
    assert not schema("vendor.citation-file-format", "CITATION.cff")
    cff, version = (
        reference(),
        re.search(r'__version__ = "(.*)"', (ROOT / "vae_nb/__init__.py").read_text())[
            1
        ],
    )
    assert (
        cff["version"] == version
        and cff["repository-code"] == settings()["git_url"]
        and cff["title"] == settings()["title"]
    )
    assert f"version = {{{version}}}" in citation() and cff["title"] in citation()
    assert version in (ROOT / "CHANGELOG.md").read_text()


# a year after a name, with or without others: "Kingma & Welling 2014", "Burda et al. (2016)", "Gumbel (1954)"
CITED = re.compile(
    r"\b([A-Z][\w’'-]+)(?: et al\.| (?:&|and) (?:[a-z]+ )*[A-Z][\w’'-]+)? \(?((?:18|19|20)\d\d)\b"
)


def sources():
    "(authors, year) of every entry of the bibliography."
    entries = (ROOT / "book/references.bib").read_text().split("\n@")[1:]
    field = lambda entry, name: re.search(
        rf"^\s*{name}\s*=\s*\{{(.*)\}}", entry, re.MULTILINE
    )[1]
    return [(field(e, "author"), field(e, "year")) for e in entries]


def without_source(text):
    "The citations in a text that the bibliography does not have."
    known = sources()
    return sorted(
        {
            found[0]
            for found in CITED.finditer(text)
            if not any(found[1] in who and found[2] == year for who, year in known)
        }
    )


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_cited_is_in_the_bibliography(name):
    assert not without_source(TEXTS[name])


def test_a_missing_source_is_found():
    assert without_source(
        "as Nobody et al. (2016) and Kingma & Welling (2014) and Burda et al. 2015 say"
    ) == ["Burda et al. 2015", "Nobody et al. (2016"]


# --- the reference ---


def exported(name):
    "What a module exports, by its own word."
    tree = ast.parse(module_path(name).read_text())
    return next(
        ast.literal_eval(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"
    )


@pytest.mark.parametrize("name", rooms())
def test_the_reference_has_every_public_name_and_no_other(name):
    headings = re.findall(r"^##+ `(.*)`$", api.page(name), re.MULTILINE)
    public = importlib.import_module(f"vae_nb.{name}").__all__
    assert sorted(headings) == sorted(public) == sorted(api.public(name))


def test_the_reference_tells_arguments_results_errors_and_source():
    text = api.page("core")
    section = text[text.index("## `seed_everything`") :].split("\n## ")[0]
    assert "seed_everything(seed: int) -> None" in section
    assert "| `seed` | any integer from 0" in section
    assert "(../lib/00_core.ipynb)" in section
    assert "**Raises** `ValueError`: `seed must be a whole number from 0" in section
    assert "not {seed}" in section
    first, last = map(int, re.search(r"core\.py#L(\d+)-L(\d+)", section).groups())
    lines = (ROOT / "vae_nb/core.py").read_text().splitlines()
    assert lines[first - 1].startswith("def seed_everything(")
    assert lines[last - 1].startswith("    torch.manual_seed")
    assert "**Returns** bits per dimension" in api.page("elbo") + api.page("conv")
    assert "    epochs: int = " in api.page("train")


def test_a_package_has_its_names_in_groups(tmp_path):
    (tmp_path / "room.py").write_text(
        '"What for."\n\n__all__ = [\n    # see\n    "a",\n    "b",\n    # do\n    "c",\n]\n'
    )
    room = api.griffe.load("room", search_paths=[tmp_path])
    assert api.groups(room) == [("see", ["a", "b"]), ("do", ["c"])]


def helped(module):
    "All docstrings of a module's own functions, classes and methods."
    own = [
        thing
        for thing in vars(module).values()
        if getattr(thing, "__module__", "") == module.__name__
    ]
    return "\n".join(
        inspect.getdoc(one) or ""
        for thing in own
        for one in [thing, *(vars(thing).values() if isinstance(thing, type) else [])]
    )


@pytest.mark.parametrize("name", modules())
def test_help_tells_what_arguments_and_results_mean(name):
    text = helped(importlib.import_module(f"vae_nb.{name}"))
    module = export.Module(module_path(name))
    nodes = list(export.documented_nodes(module.tree))
    said = [
        f"    {name}: {meaning}"
        for node in nodes
        for name, meaning in export.explained(module, node)
    ]
    said += [
        f"Returns:\n    {back}"
        for node in nodes
        if isinstance(node, ast.FunctionDef) and (back := export.returned(module, node))
    ]
    assert not [one for one in said if one not in text], "run: make export"


def test_help_of_fit_and_load():
    from vae_nb.data import load
    from vae_nb.train import fit

    assert "\n    Args:\n" in pydoc.plain(
        pydoc.render_doc(fit)
    ) and "\n        epochs: how often every image is seen\n" in pydoc.plain(
        pydoc.render_doc(fit)
    )
    assert "\n        n: the first so many; None: all\n" in pydoc.plain(
        pydoc.render_doc(load)
    )


MADE = r"""def f(
    x,  # a "\n"
    # told in two
    # lines above
    y=1,
) -> int:  # its length
    "What, and `\\n`."
    return 1


class C:
    "A class."

    def __init__(
        self,
        a,  # one
    ): pass

    def plain(self, a): "No comment."
"""


def test_docstrings_get_the_comments_once_and_nothing_else_changes(tmp_path):
    path, made = tmp_path / "made.py", {}
    path.write_text(MADE)
    once = export.with_docstrings(path)
    exec(once, made)
    assert (
        inspect.getdoc(made["f"])
        == 'What, and `\\n`.\n\nArgs:\n    x: a "\\n"\n    y: told in two lines above\n\nReturns:\n    its length'
    )
    assert (
        inspect.getdoc(made["C"]) == "A class.\n\nArgs:\n    a: one"
        and made["C"].plain.__doc__ == "No comment."
        and made["f"](0) == 1
    )
    path.write_text(once)
    assert (
        export.with_docstrings(path) == once
        and export.about(ast.parse(once).body[0]) == "What, and `\\n`."
    )


def test_methods_and_fields_are_in_the_reference():
    assert ".sample(" in api.page(
        "vae"
    ) and "| `pixels: Tensor` | uint8, (N, C, H, W) |" in api.page("data")

    assert "`rows: list`" in api.page("train") and "default_factory" not in api.page(
        "train"
    )
    assert "LatentModel.load(" in api.page("vae") and "-> LatentModel" in api.page(
        "vae"
    )


def test_constants_are_in_the_reference_with_their_values_or_keys():
    assert "LIKELIHOODS = " in api.page("likelihoods")
    assert "PRETRAINED = " in api.page("recipes")


@pytest.mark.parametrize("name", rooms())
def test_code_in_the_reference_is_marked_as_code(name):
    rest = re.sub(r"```.*?```|`[^`]*`", "", api.page(name), flags=re.DOTALL)
    assert '"' not in rest and not re.search(r"(?<!\w)--\w", rest)


def test_messages_in_the_reference_name_what_varies():
    message = ast.parse(
        """f"{n} of {', '.join(names)}, {len(x)} or {x.shape}.{hint(n)}" """.strip(),
        mode="eval",
    ).body
    assert api.message(message) == "{n} of {names}, {number of x} or {shape}."
    assert not list(
        api.refusals(
            ast.parse(
                "try: raise ValueError('a b')\nexcept ValueError as e: raise OSError from e"
            )
        )
    )


def test_the_site_has_a_page_for_each_room():
    listed = [
        s["file"]
        for part in site_toc()["parts"]
        for c in part["chapters"]
        for s in c.get("sections", [])
    ]
    assert listed == [f"api/{name}" for name in rooms()] and set(listed) <= set(
        page_names()
    )
    assert re.findall(r"\(api/([\w.]+)\.md\)", api.overview()) == rooms()


# --- glossary, cures ---


def test_the_first_mention_leads_to_the_glossary_and_nothing_else_is_touched():
    seen = set()
    assert (
        glossary.linked("Two latents and a latent.", seen)
        == "Two {term}`latents <latent>` and a latent."
    )
    assert (
        glossary.linked("A latent again; Posterior collapse.", seen)
        == "A latent again; {term}`Posterior collapse <posterior collapse>`."
    )
    same = [
        "# The prior",
        "`prior` and $prior$",
        "[the prior](x.ipynb#prior)",
        "| prior | x |",
        "**prior**",
        "```\nprior\n```",
        "a-priori, priority",
        "References: prior\nprior",
    ]
    assert [glossary.linked(text, set()) for text in same] == same


def test_the_glossary_is_in_order_and_has_no_word_twice():
    plain = [
        word.lower().replace("é", "e").replace("-", " ") for word in glossary.words()
    ]
    assert plain == sorted(set(plain)) and len(plain) > 30


def test_cures_lead_somewhere():
    entries = re.findall(
        r"^([^\n:#].*)\n: (.*)$", (ROOT / "book/cures.md").read_text(), re.MULTILINE
    )
    assert len(entries) >= 15
    for symptom, cure in entries:
        targets = re.findall(r"\]\(\.\./nbs/([^)#]+)\.ipynb", cure)
        assert targets and set(targets) <= set(notebooks()), symptom


# --- figures ---


def figures():
    "(page, metadata) of every cell that is a figure."
    cells = [
        (name, c)
        for name, path in notebooks().items()
        for c in read_notebook(path)["cells"]
    ]
    return [
        (name, c["metadata"]["mystnb"])
        for name, c in cells
        if "figure" in c["metadata"].get("mystnb", {})
    ]


def test_figures_have_a_name_of_their_own_a_caption_and_alt_text():
    found = figures()
    assert found
    for name, meta in found:
        figure = meta["figure"]
        assert (
            figure.get("name", "").startswith("fig-")
            and len(figure.get("caption", "")) > 10
            and len(meta.get("image", {}).get("alt", "")) > 10
        ), (name, figure)
    names = [meta["figure"]["name"] for _, meta in found]
    assert not {n for n in names if names.count(n) > 1}, "two figures have one name"


# --- README ---


def test_readme_is_as_it_is_made():
    assert filled(README) == README, "run: make readme"
    assert len(MARK.findall(README)) <= 2, "the other tables are on the page Measured"


def test_readme_has_its_picture():
    assert f"]({PICTURE.relative_to(ROOT)})" in README
    assert (
        PICTURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        and PICTURE.stat().st_size <= 200_000
    )
    assert (
        json.loads((ROOT / "vae_nb/assets/pretrained/faces/config.json").read_text())[
            "arguments"
        ]["shape"][0]
        == 3
    )  # what it is drawn by


def test_links_of_the_root_pages_lead_somewhere():
    for file in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / file).read_text())
        assert not [t for t in targets if not (ROOT / t).exists()], file


def test_absolute_links_work_outside_the_repository():
    assert not re.findall(r"\]\((?!https://)", absolute(README))
    text = "[a](x.md) ![b](y.svg) [![c](z.svg)](https://h/d) [e](#f)"
    home = f"{settings()['git_url']}/blob/main"
    raw = home.replace("github.com", "raw.githubusercontent.com").replace("/blob", "")
    assert (
        absolute(text)
        == f"[a]({home}/x.md) ![b]({raw}/y.svg) [![c]({raw}/z.svg)](https://h/d) [e](#f)"
    )


def test_the_three_lines_of_the_readme_run():
    first = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    *before, last = ast.parse(first).body
    names = {}
    exec(compile(ast.Module(before, []), "README.md", "exec"), names)
    made = eval(compile(ast.Expression(last.value), "README.md", "eval"), names)
    assert type(made).__name__ == "LatentExplorer" and made.poster.startswith(
        "data:image/png"
    )
