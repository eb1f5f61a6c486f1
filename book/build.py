"""Make the book: `python -m book.build --profile cpu`.

Runs the notebooks of _toc.yml that have changed (book/execute.py), turns each into a page (book/pages.py), and lets Jupyter Book build
the site, a warning being an error. Everything it writes is below _build/.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from . import api, floors, published, vendor, widgets
from .cite import citation
from .execute import ANSI, data_found, explorer_files, key_of, record_of
from .measured import fill
from .pages import page, with_outputs
from .pictures import illustrate
from .project import (
    BUILD,
    PROFILES,
    ROOT,
    address,
    notebooks,
    profile_parameters,
    read_notebook,
    rooms,
    settings,
    site_toc,
    toc_files,
)
from .run import console, cores, places, run_chapters


@dataclass
class Chapter:
    "A notebook of the book, and what is known of its last run."

    name: str  # lib/00_core
    path: Path  # the source
    out: Path  # where the executed notebook is kept
    parameters: dict

    @property
    def record(self):
        "How the kept run was made; `stale` says whether the sources have changed since, data it lacked are there, or files of its explorers are gone."
        found = record_of(self.out)
        if found is None:
            return None
        complete = all(
            (explorer_files(self.out) / name).exists()
            for name in found.get("explorers", [])
        )
        return found | {
            "stale": not complete
            or found["key"] != key_of(read_notebook(self.path), self.parameters)
            or any(data_found()[s] != files for s, files in found["data"].items())
        }


def plan(profile, executed):
    "The chapters in reading order."
    parameters = profile_parameters(profile)
    return [
        Chapter(name, path, executed / f"{name}.ipynb", parameters.get(name, {}))
        for name, path in notebooks().items()
    ]


def chosen(chapters, pattern):
    "The chapter that `pattern` names: its number, `02`, or its file's name below nbs/; `02*`: all whose name starts so."
    found = (
        [
            c
            for c in chapters
            if fnmatch(c.name, pattern) or c.name.startswith(f"{pattern}_")
        ]
        if pattern
        else chapters
    )
    if not found:
        near = [c.name for c in chapters if pattern in c.name]
        raise SystemExit(
            f"No chapter is called {pattern!r}. There are: {', '.join(near or [c.name for c in chapters])}. A star stands for any ending: '02*'."
        )
    return found


def write_pages(chapters, source):
    "Write the source folder of the site: pages, contents, configuration, static files. True if every chapter has a run, be it from before its last change."
    shutil.rmtree(source, ignore_errors=True)
    complete, manager = True, False
    for chapter in chapters:
        record = chapter.record
        complete &= record is not None
        notebook = read_notebook(chapter.path)
        if record:
            executed = read_notebook(chapter.out)
            notebook = executed if record["stale"] else with_outputs(notebook, executed)
        target = source / f"{chapter.name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        made = page(notebook, chapter.name, record)
        manager |= widgets.needs_manager(
            widgets.saved_state(made), widgets.shown(made["cells"])
        )
        target.write_text(json.dumps(made))
    for file in toc_files():
        if not file.startswith("nbs/"):
            (source / f"{address(file)}.md").write_text(
                illustrate(filled((ROOT / f"{file}.md").read_text()), source)
            )
    (source / "api").mkdir()
    for name in rooms():
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
    "A page's text with what is made from other files at its marks: measured and published figures, the rooms, the citation."
    marks = {
        "modules": api.overview,
        "citation": citation,
        "floors": floors.picture,
        "published": published.tables,
    }
    for mark, made in marks.items():
        text = (
            text.replace(f"<!-- {mark} -->", made())
            if f"<!-- {mark} -->" in text
            else text
        )
    return fill(text).replace(
        "../nbs/", ""
    )  # the site has the notebooks beside its other pages


def publish_explorer_files(chapters, folder):
    "Copy what the chapters' explorers load when they are touched. Names are hashes of contents, so chapters may share a file."
    folder.mkdir(parents=True)
    for chapter in chapters:
        if chapter.out.exists() and explorer_files(chapter.out).exists():
            shutil.copytree(explorer_files(chapter.out), folder, dirs_exist_ok=True)


def configuration():
    "book/_config.yml, with the public home filled in from settings.ini."
    config, home = yaml.safe_load((ROOT / "book/_config.yml").read_text()), settings()
    config["repository"] = {
        "url": home["git_url"],
        "branch": home["branch"],
        "path_to_book": home["nbs_path"],
    }
    config["html"]["baseurl"] = home["doc_host"] + home["doc_baseurl"] + "/"
    return config | {
        "title": home["title"],
        "author": home["author"],
        "copyright": home["copyright"].split()[0],
    }


def build_site(source, html, strict=True):
    "Let Jupyter Book build `source` into the folder `html`. With `strict`, a warning is an error: SystemExit."
    out = source.parent / "site"
    shutil.rmtree(
        out, ignore_errors=True
    )  # a fresh build each time: an unchanged page would keep its warnings to itself
    # ended with us, however we end
    start = "import sys, ctypes; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9); import jupyter_book.sphinx as s; s.build_sphinx.__kwdefaults__['jobs'] = {jobs}; from jupyter_book.cli.main import main; main()"
    command = [
        sys.executable,
        "-c",
        start.format(
            jobs=min(4, cores())
        ),  # this interpreter's own, wherever its bin folder is
        "build",
        source,
        "--path-output",
        out,
        "--keep-going",
    ] + (["-W"] if strict else [])
    env = os.environ | {
        "DOCUTILSCONFIG": str(ROOT / "book/docutils.conf"),
        "PYTHONPATH": os.pathsep.join(
            [str(ROOT), os.environ.get("PYTHONPATH", "")]
        ),  # of our own extension
    }
    status, said = run_whole(command, env)
    log, said = source.parent / "sphinx.log", ANSI.sub("", said)
    log.write_text(said)
    built = out / "_build/html"
    if built.exists():
        if html.exists():
            shutil.rmtree(html)  # or an error that says what cannot be removed
        built.rename(html)
    if status or not (html / "index.html").exists():
        told = [
            line for line in said.splitlines() if re.search("WARNING|ERROR|Error", line)
        ] or said.splitlines()[-15:]
        raise SystemExit(
            "\n".join(["The pages have faults:", *told, f"(all of it: {log})"])
        )


def run_whole(command, env):
    "Run a command; its exit status, and all that it said. If we are interrupted, its own processes end with it."
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        start_new_session=True,
    ) as run:
        try:
            said, _ = run.communicate()
        except BaseException:
            os.killpg(run.pid, signal.SIGKILL)
            raise
    return run.returncode, said


def interrupt(*_):
    "What a scheduler's SIGTERM, or a closed terminal's SIGHUP, does: as Ctrl-C."
    raise KeyboardInterrupt


def positive(text):
    "A whole number of at least 1, for argparse."
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def main():
    "The command line."
    parser = argparse.ArgumentParser(
        prog="python -m book.build", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--profile", default="cpu", choices=PROFILES)
    parser.add_argument(
        "--chapter",
        default="",
        metavar="02",
        help="run only this chapter; '02*': those whose file name starts so",
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        help="notebooks that run at a time (the cores, four at most)",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        help="threads of PyTorch and NumPy in each (the cores that this leaves to it, four at most)",
    )
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, interrupt)
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(BUILD / ".lock", blocking=False):
            make(args)
    except Timeout:
        raise SystemExit(
            f"Another `make book` is at work in {BUILD}: wait until it has ended, or end it."
        ) from None
    except KeyboardInterrupt:
        console.print(
            "Interrupted. What has run is kept: the same command goes on from there."
        )
        raise SystemExit(130) from None


def make(args):
    "Run the notebooks and build the pages."
    chapters = plan(args.profile, BUILD / "executed" / args.profile)
    todo = [
        c
        for c in chosen(chapters, args.chapter)
        if c.record is None or c.record["stale"]
    ]
    jobs, threads = places(len(todo), args.jobs, args.threads)
    console.print(
        f"Profile {args.profile}: {len(todo)} of {len(chapters)} notebooks to run, {jobs} at a time, {threads} thread(s) each"
    )
    failed = run_chapters(todo, args.profile, jobs, threads)
    complete = write_pages(chapters, BUILD / "pages/source")
    if not complete:
        console.print(
            "Some chapters have never been run: their pages say so, and warnings are not errors in this build."
        )
    html, started = BUILD / "html", time.monotonic()
    build_site(BUILD / "pages/source", html, strict=complete)
    seconds = round(time.monotonic() - started, 1)
    (BUILD / "built.json").write_text(json.dumps({"seconds": seconds}))
    console.print(
        f"Book: {html / 'index.html'} (file:// works too; `make serve` serves it)"
    )
    if failed:
        raise SystemExit(
            f"{len(failed)} of the notebooks failed, as told above: {', '.join(failed)}. Their pages show the last run that went well, or none."
        )


if __name__ == "__main__":
    main()
