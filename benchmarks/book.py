"""What the book costs: time and memory of each notebook, the time of building the pages, and what a page weighs.

The book is built first, as by `make book` (notebooks that have not changed are not run again); the figures are what that left in _build. `PROFILE=gpu` does the same
under another profile than cpu.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from book.execute import record_of
from book.project import BUILD, notebooks

from .record import write

SOURCE = re.compile(r'<(?:img|script)[^>]*\ssrc="([^"#?]+)')
SHARED = re.compile(
    r"_static/(?!explorers/)"
)  # the theme and MathJax, which all pages share


def page_weight(page):
    "Bytes of a page that no other page shares: the page, its pictures (which come as the reader nears them), the explorers' script. Their networks come at the first touch."
    found = {
        source
        for source in SOURCE.findall(page.read_text())
        if ":" not in source and not SHARED.search(source)
    }
    return page.stat().st_size + sum(
        (page.parent / source).stat().st_size for source in found
    )


def rows_of(profile):
    "One row for each notebook of the book."
    rows = []
    for name in notebooks():
        record, page = (
            record_of(BUILD / "executed" / profile / f"{name}.ipynb"),
            BUILD / "html" / f"{name}.html",
        )
        if record is None or "memory" not in record or not page.exists():
            raise SystemExit(
                f"{name} was not run, or before its memory was recorded. This runs all anew: rm -rf _build/executed/{profile}; make bench NAME=book"
            )
        rows.append(
            {
                "notebook": name,
                "run, s": f"{record['seconds']:.0f}",
                "peak memory, MB": f"{record['memory']:,.0f}",
                "page, kB": f"{page_weight(page) / 1e3:.0f}",
            }
        )
    return rows


def how_run(profile):
    "How many notebooks ran at a time, and on how many threads each: the same for all."
    folder = BUILD / "executed" / profile
    records = [record_of(folder / f"{name}.ipynb") for name in notebooks()]
    found = {(record["jobs"], record["threads"]) for record in records}
    if len(found) > 1:
        raise SystemExit(
            f"(jobs, threads) of the notebooks differ: {sorted(found)}. This runs all anew: rm -rf {folder}; make bench NAME=book"
        )
    return found.pop()


def main():
    profile = os.environ.get("PROFILE", "cpu")
    subprocess.run(
        [sys.executable, "-m", "book.build", "--profile", profile], check=True
    )
    rows, built = rows_of(profile), json.loads(Path(BUILD, "built.json").read_text())
    jobs, threads = how_run(profile)
    seconds = sum(float(row["run, s"]) for row in rows)
    print(*rows, built, sep="\n")
    write(
        "book",
        f"The book under the profile `{profile}`",
        rows,
        f"Wall-clock time of each notebook in a process of its own, {jobs} at a time, PyTorch on {threads} thread(s): {seconds / 60 / jobs:.0f} minutes in all; the pages take another {built['seconds']:.0f} s. "
        "Memory is the largest resident set of the notebook's process. A page's weight counts all its pictures, which come as the reader nears them; not the theme, which all pages share, nor the explorers' networks, which come at a touch.",
    )
