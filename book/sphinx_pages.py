"""A Sphinx extension: what the writers of pages leave out, put right before a page is written.

Cells of tables that hold a sentence get the class `prose` (book.css leaves them room). Pictures get their size as attributes, so that a page
has its height before they are loaded. Bibliographies lose two roles of docutils' that ARIA forbids today, and what unfolds a part of the
contents, which has a picture only, gets a name that screen readers say. A section that has moved to another page is led to. Of the theme,
a script that every page complained about goes. What Sphinx does again for every page, and takes long, is done once.
"""

import functools
import json
import re
from pathlib import Path

import yaml
from bs4 import BeautifulSoup
from sphinx.addnodes import toctree
from sphinx.search.en import SearchEnglish
from sphinx.util.images import get_image_size

SENTENCE = 40  # characters


MOVED = Path(__file__).with_name("moved.yml")
LEAD = """<script>{
  const moved = %s, to = moved[location.hash.slice(1)];
  if (to && !document.getElementById(location.hash.slice(1))) location.replace(to);
}</script>"""
SIZE = re.compile(r"\s*(width|height):\s*([\d.]+)px;?")


@functools.cache
def moved():
    "Page → {anchor that it had: address that it has now}."
    pages = {}
    for page, homes in yaml.safe_load(MOVED.read_text()).items():
        for home, anchors in homes.items():
            name, _, there = home.partition("#")
            for anchor in anchors:
                pages.setdefault(page, {})[anchor] = f"{name}.html#{there or anchor}"
    return pages


def sized(match, files):
    "An <img> with its width and height as attributes: those that its style says, or the file's own. `files`: name on the site → path."
    tag = match[0]
    if re.search(r"\s(width|height)=", tag):
        return tag
    found = dict(SIZE.findall(tag))
    if not found and (source := re.search(r'src="(?:[^"]*/)?([^"/]+)"', tag)):
        path = files.get(source[1])
        size = get_image_size(path) if path else None
        found = dict(zip(("width", "height"), size)) if size else {}
    if len(found) < 2:
        return tag
    tag = re.sub(r'\s*style="\s*"', "", SIZE.sub("", tag))
    size = " ".join(f'{name}="{round(float(n))}"' for name, n in found.items())
    return tag.replace("<img", f"<img {size}", 1)


def marked(match):
    "A table with its long cells marked."
    soup = BeautifulSoup(match[0], "html.parser")
    for cell in soup.find_all("td", class_=None):
        if len(cell.get_text().strip()) > SENTENCE:
            cell["class"] = "prose"
    return str(soup)


def repaired(body, files):
    "The HTML of a page's text with its long cells marked, its pictures' sizes and its bibliography without roles."
    body = re.sub("<img [^>]*>", lambda match: sized(match, files), body)
    body = re.sub(r"<table\b.*?</table>", marked, body, flags=re.DOTALL)
    without = lambda match: re.sub(' role="[^"]*"', "", match[0])
    return re.sub(r"<div [^>]*\bcitation\b[^>]*>", without, body)


def named(contents):
    "The contents in a sidebar, their folds with a name. The theme gives parsed HTML, or text."
    soup = (
        BeautifulSoup(contents, "html.parser")
        if isinstance(contents, str)
        else contents
    )
    for fold in soup.find_all("summary"):
        fold["aria-label"] = "Pages below"
    return soup


def titled(toc):
    "The title in a page's contents, without its sections; all that is there where pages stand below it."
    if next(toc.findall(toctree), None):
        return toc
    toc = toc.deepcopy()
    for entry in toc:
        del entry[1:]
    return toc


@functools.cache
def titles(env):
    "Page → `titled`."
    return {name: titled(toc) for name, toc in env.tocs.items()}


def without_sections(make, env):
    "A template's function for the contents of the book. For each page Sphinx copies the sections of all, to drop them again where only titles are wanted: they leave before."

    def contents(**options):
        all_of_it, lean = env.tocs, titles(env)
        env.tocs = lean if options.get("titles_only") else all_of_it
        try:
            return make(**options)
        finally:
            env.tocs = all_of_it

    return contents


def repair(app, pagename, templatename, context, doctree):
    "Before the page's template is filled, and after the theme has put its functions there."
    if context.get("body"):
        images = app.env.images.items()
        files = {name: Path(app.srcdir, path) for path, (_, name) in images}
        context["body"] = repaired(context["body"], files)
        if leads := moved().get(pagename):
            context["body"] += LEAD % json.dumps(leads)
    context["toctree"] = without_sections(context["toctree"], app.env)
    if make := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda *args, **kwargs: named(
            make(*args, **kwargs)
        )
    context["default_mode"] = "auto"  # the theme's own default is none, and it says so
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "THEBE" not in str(getattr(script, "attributes", ""))
        and "thebe" not in str(getattr(script, "filename", ""))
    ]


def parallel(app):
    "Several processes read and write pages. Two of Jupyter Book's extensions do not say that this is safe: one numbers pages that are read, one is for LaTeX."
    for name in ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex"):
        if extension := app.extensions.get(name):
            extension.parallel_read_safe = extension.parallel_write_safe = True


def setup(app):
    "Sphinx calls this."
    # pages share most of their words, and the stemmer is slow
    SearchEnglish.stem = functools.cache(SearchEnglish.stem)
    app.connect("builder-inited", parallel)
    app.connect("html-page-context", repair, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
