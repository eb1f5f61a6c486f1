"""Make the book: `python -m book.build --profile cpu`.

Runs the notebooks of _toc.yml that have changed (book/execute.py), turns each into a page (book/pages.py), and lets Jupyter Book build
the site, a warning being an error. Everything it writes is below _build/.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from benchmarks.pictures import illustrate
from benchmarks.record import fill

from . import api, vendor, widgets
from .execute import ANSI, ChapterFailed, default_threads, execute, explorer_files, key_of, record_of
from .cite import citation
from .pages import page
from .project import BUILD, PROFILES, ROOT, address, modules, notebooks, profile_parameters, read_notebook, settings, site_toc, toc_files

console = Console(highlight=False, soft_wrap=True)


@dataclass
class Chapter:
    "A notebook of the book, and what is known of its last run."

    name: str  # lib/00_core
    path: Path  # the source
    out: Path  # where the executed notebook is kept
    parameters: dict

    @property
    def record(self):
        "How the kept run was made; `stale` says whether the sources have changed since, or files of its explorers are gone."
        found = record_of(self.out)
        if found is None:
            return None
        complete = all((explorer_files(self.out) / name).exists() for name in found.get("explorers", []))
        return found | {"stale": not complete or found["key"] != key_of(read_notebook(self.path), self.parameters)}


def plan(profile, executed):
    "The chapters in reading order."
    parameters = profile_parameters(profile)
    return [Chapter(name, path, executed / f"{name}.ipynb", parameters.get(name, {})) for name, path in notebooks().items()]


def chosen(chapters, prefix):
    "Those whose file name starts with `prefix`."
    found = [c for c in chapters if Path(c.name).name.startswith(prefix)]
    if not found:
        raise SystemExit(f"No chapter's name starts with {prefix!r}. There are: {', '.join(c.name for c in chapters)}.")
    return found


def duration(seconds):
    "12 s, 3 min 20 s."
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


class Left:
    "An estimate of the time that is left, from the recorded times; a chapter never run counts as the average of the others."

    def __init__(self, todo):
        times = {c.name: c.record and c.record["seconds"] for c in todo}
        known = [t for t in times.values() if t]
        self.expected = {name: t or (sum(known) / len(known) if known else None) for name, t in times.items()}

    def __call__(self, started, elapsed):
        "Seconds left while the chapter `started` has run for `elapsed`; None if nothing is known yet."
        ahead = list(self.expected.values())[list(self.expected).index(started) :]
        return None if None in ahead else max(0, ahead[0] - elapsed) + sum(ahead[1:])


def run_chapters(todo, profile, python, threads):
    "Execute chapters one after the other, showing where we are. In a terminal a live line; elsewhere one line for each."
    left, begun = Left(todo), time.monotonic()
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[now]}")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=len(todo), now="")
        for number, chapter in enumerate(todo):
            run_one(chapter, profile, python, threads, left, lambda done, now: progress.update(bar, completed=number + done, **now))
    if len(todo) > 1:
        console.print(f"{len(todo)} notebooks in {duration(time.monotonic() - begun)}")


def run_one(chapter, profile, python, threads, left, show):
    "Execute one chapter, telling `show` how far it is."
    cells, started = len(read_notebook(chapter.path)["cells"]) + 1, time.monotonic()

    def tick(cell):
        seconds = time.monotonic() - started
        rest = left(chapter.name, seconds)
        now = f"cell {cell} of {cells}, {duration(seconds)}; " + ("first run: no estimate" if rest is None else f"about {duration(rest)} left")
        show(min(cell / cells, 1), {"description": chapter.name, "now": now})

    if not console.is_terminal:
        rest = left(chapter.name, 0)
        console.print(f"run     {chapter.name}" + ("" if rest is None else f"   (about {duration(rest)} left in all)"))
    try:
        seconds = execute(chapter.path, chapter.out, profile, chapter.parameters, python=python, threads=threads, tick=tick)
    except ChapterFailed as error:
        raise SystemExit(f"\nFAILED  {chapter.name} (profile {profile}): {error}") from None
    console.print(f"done    {chapter.name}   {duration(seconds)}")


def write_pages(chapters, source):
    "Write the source folder of the site: pages, contents, configuration, static files. True if every chapter is up to date."
    shutil.rmtree(source, ignore_errors=True)
    complete, manager = True, False
    for chapter in chapters:
        record = chapter.record
        complete &= record is not None
        notebook = read_notebook(chapter.out if record else chapter.path)
        target = source / f"{chapter.name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        made = page(notebook, chapter.name, record)
        manager |= widgets.needs_manager(widgets.saved_state(made), widgets.shown(made["cells"]))
        target.write_text(json.dumps(made))
    for file in toc_files():
        if not file.startswith("nbs/"):
            (source / f"{address(file)}.md").write_text(illustrate(filled((ROOT / f"{file}.md").read_text()), source))
    (source / "api").mkdir()
    for name in modules():
        (source / f"api/{name}.md").write_text(api.page(name))
    shutil.copytree(ROOT / "book/static", source / "static")
    vendor.mathjax(BUILD / "vendor", source / "static/mathjax")
    if manager:  # some page shows more than explorers
        vendor.widget_manager(BUILD / "vendor", source / "static/explorers/manager")
    publish_explorer_files(chapters, source / "published/assets/explorers")
    shutil.copy(ROOT / "book/references.bib", source)
    (source / "_toc.yml").write_text(yaml.safe_dump(site_toc(), sort_keys=False))
    (source / "_config.yml").write_text(yaml.safe_dump(configuration()))
    return complete


def filled(text):
    "A page's text with what is made from other files at its marks: measured tables, the list of modules, the citation."
    for mark, made in (("modules", api.overview), ("citation", citation)):
        text = text.replace(f"<!-- {mark} -->", made()) if f"<!-- {mark} -->" in text else text
    return fill(text).replace("../nbs/", "")  # the site has the notebooks beside its other pages


def publish_explorer_files(chapters, folder):
    "Copy what the chapters' explorers load when they are touched. Names are hashes of contents, so chapters may share a file."
    folder.mkdir(parents=True)
    for chapter in chapters:
        if chapter.out.exists() and explorer_files(chapter.out).exists():
            shutil.copytree(explorer_files(chapter.out), folder, dirs_exist_ok=True)


def configuration():
    "book/_config.yml, with the public home filled in from settings.ini."
    config, home = yaml.safe_load((ROOT / "book/_config.yml").read_text()), settings()
    config["repository"] = {"url": home["git_url"], "branch": home["branch"], "path_to_book": home["nbs_path"]}
    config["html"]["baseurl"] = home["doc_host"] + home["doc_baseurl"] + "/"
    return config | {"title": home["title"], "author": home["author"], "copyright": home["copyright"].split()[0]}


ROLES = re.compile(r'(?<=<div) role="list"(?= class="citation-list")|(?<=\d") role="doc-biblioentry"(?=>)')


def help_screen_readers(html):
    """Two repairs. docutils gives a bibliography roles that today's ARIA forbids (a list whose children are no items), and what unfolds a part of the contents
    has a picture only, no name."""
    for path in html.rglob("*.html"):
        text = path.read_text(encoding="utf-8").replace('<summary><span class="toctree-toggle"', '<summary aria-label="Pages below"><span class="toctree-toggle"')
        path.write_text(ROLES.sub("", text) if "citation-list" in text else text, encoding="utf-8")


CELL = re.compile(r"<td>((?:(?!<td).)*?)</td>", re.DOTALL)


def mark_long_cells(html):
    "Cells of tables that hold a sentence get the class `prose`: book.css leaves them room."
    long = lambda cell: f'<td class="prose">{cell[1]}</td>' if len(re.sub("<[^>]*>", "", cell[1]).strip()) > 40 else cell[0]
    for path in html.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        path.write_text(CELL.sub(long, text), encoding="utf-8")


def build_site(source, html, strict=True):
    "Let Jupyter Book build `source` into the folder `html`. With `strict`, a warning is an error: SystemExit."
    out = source.parent / "site"
    shutil.rmtree(out, ignore_errors=True)  # a fresh build each time: an unchanged page would keep its warnings to itself
    start = "from jupyter_book.cli.main import main; main()"  # this interpreter's own, wherever its bin folder is
    command = [sys.executable, "-c", start, "build", source, "--path-output", out, "--keep-going"] + (["-W"] if strict else [])
    env = os.environ | {"DOCUTILSCONFIG": str(ROOT / "book/docutils.conf")}
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    log = source.parent / "sphinx.log"
    said = ANSI.sub("", run.stdout)
    log.write_text(said)
    built = out / "_build/html"
    if built.exists():
        shutil.rmtree(html, ignore_errors=True)
        shutil.move(built, html)
        help_screen_readers(html)
        mark_long_cells(html)
    if run.returncode or not (html / "index.html").exists():
        told = [line for line in said.splitlines() if re.search("WARNING|ERROR|Error", line)] or said.splitlines()[-15:]
        raise SystemExit("\n".join(["The pages have faults:", *told, f"(all of it: {log})"]))


def main():
    "The command line."
    parser = argparse.ArgumentParser(prog="python -m book.build", description=__doc__.split("\n")[0])
    parser.add_argument("--profile", default="cpu", choices=PROFILES)
    parser.add_argument("--chapter", default="", metavar="02", help="run only chapters whose file name starts so")
    parser.add_argument("--threads", type=int, default=default_threads(), help="threads of PyTorch and NumPy (%(default)s)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that the notebooks run in")
    args = parser.parse_args()

    chapters = plan(args.profile, BUILD / "executed" / args.profile)
    todo = [c for c in chosen(chapters, args.chapter) if c.record is None or c.record["stale"]]
    console.print(f"Profile {args.profile}: {len(todo)} of {len(chapters)} notebooks to run, {args.threads} thread(s)")
    run_chapters(todo, args.profile, args.python, args.threads)
    complete = write_pages(chapters, BUILD / "pages/source")
    if not complete:
        console.print("Some chapters have never been run: their pages say so, and warnings are not errors in this build.")
    html, started = BUILD / "html", time.monotonic()
    build_site(BUILD / "pages/source", html, strict=complete)
    (BUILD / "built.json").write_text(json.dumps({"seconds": round(time.monotonic() - started, 1), "threads": args.threads}))
    console.print(f"Book: {html / 'index.html'} (file:// works too; `make serve` serves it)")


if __name__ == "__main__":
    main()
