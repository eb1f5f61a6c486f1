"""The book, as a user gets it: every notebook run from the built wheel without the repository, the pages without a warning, their links,
and what a browser makes of them. Minutes: `make test`."""

import functools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest

from book import vendor
from book.browser import MISSING, all_pictures, browser, chromium, served, settled
from book.build import build_site, plan, write_pages
from book.colab import address
from book.execute import ChapterFailed, execute, record_of
from book.links import broken_links
from book.pages import page
from book.project import (
    BUILD,
    ROOT,
    notebooks,
    page_names,
    profile_parameters,
    published_parameters,
    read_notebook,
    source,
    tags,
)
from book.sphinx_pages import moved

pytestmark = pytest.mark.slow
OUT = BUILD / "test"
AMOUNT = re.compile(
    "n_|epochs|steps|k_|draws|seconds"
)  # parameters that say how much is computed, not what
SMALLER = {  # than published, for the time that they take
    ("05a_edits_counted", "batch_size"),  # few faces, and yet enough steps to be judged
    ("07_tighter_bounds", "batch_size"),  # of a step that is only timed
    ("09a_faces_by_attributes", "batch_size"),  # as 05a
}
needs_browser = pytest.mark.skipif(not chromium(), reason=MISSING)


def uv(*command):
    "Run uv, its messages in the error if it fails."
    tool = Path(sys.executable).parent / "uv"
    done = subprocess.run([tool, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (
        f"uv {' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    )


@pytest.fixture(scope="session")
def wheel_python():
    "An interpreter that has the built wheel and a kernel, and not the repository."
    dist, venv = OUT / "dist", OUT / "venv"
    uv(
        "build",
        "--clear",
        "--build-constraints",
        ROOT / "requirements/dev.txt",
        "--require-hashes",
        "--out-dir",
        dist,
    )
    uv("venv", "--clear", "--python", sys.executable, venv)
    (wheel,) = dist.glob("*.whl")
    python = venv / "bin/python"
    uv(
        "pip",
        "install",
        "--python",
        python,
        "--constraint",
        ROOT / "requirements/dev.txt",
        wheel,
        "papermill",
        "ipykernel",
    )
    return python


def test_the_wheel_stands_alone(wheel_python, tmp_path):
    code = "import importlib.util as u, vae_nb; print(vae_nb.__file__, [n for n in ('nbdev', 'book', 'jupytext', 'execnb') if u.find_spec(n)])"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [wheel_python, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    file, others = done.stdout.split(" ", 1)
    assert Path(file).is_relative_to(OUT / "venv") and others.strip() == "[]"


def test_the_wheel_holds_what_runs_and_the_source_archive_no_test_that_cannot(
    wheel_python,
):
    (wheel,), (archive,) = (OUT / "dist").glob("*.whl"), (OUT / "dist").glob("*.tar.gz")
    names = {
        name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name
    }
    here = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "vae_nb").rglob("*")
        if p.is_file() and p.suffix != ".pyc"
    }
    sources = {
        f"vae_nb/assets/{name}" for name in ("four.h", "kernels.c", "training.c")
    }
    assert names == here - sources - {"vae_nb/_modidx.py"}
    carried = {
        name.split("/")[1] for name in tarfile.open(archive).getnames() if "/" in name
    }
    assert {
        "vae_nb",
        "README.md",
        "LICENSE",
        "pyproject.toml",
    } <= carried and not carried & {"tests", "book", "nbs", "benchmarks"}


def test_help_explains_arguments_where_the_wheel_is_installed(wheel_python, tmp_path):
    code = "from vae_nb.train import fit; from vae_nb.data import load; help(fit); help(load)"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [wheel_python, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    assert (
        "epochs: how often every image is seen" in done.stdout
        and "n: the first so many; None: all" in done.stdout
    )


@pytest.fixture(scope="session")
def chapters():
    "The chapters under the test profile, nothing run yet in this session."
    planned = {c.name: c for c in plan("test", OUT / "executed")}
    for chapter in planned.values():
        chapter.out.unlink(missing_ok=True)
    return planned


def test_the_test_profile_has_the_sizes_of_the_published_run():
    "What the `gpu` profile trains is then known to be valid: networks, pictures, batches."
    brief, published = profile_parameters("test"), profile_parameters("gpu")
    others = set()
    for name in brief:
        stated = published_parameters(read_notebook(notebooks()[name]))
        sizes = stated | published.get(name, {})
        run = stated | brief[name]
        others |= {
            (name, k) for k in sizes if not AMOUNT.match(k) and run[k] != sizes[k]
        }
    assert others == SMALLER


@pytest.fixture(scope="session")
def runs(request, chapters, wheel_python):
    "Chapter → its run, to be waited for. They have one thread each, so that as many run at a time as there are cores."
    pool, stopped = ThreadPoolExecutor(min(os.cpu_count() or 1, 4)), threading.Event()

    def tick(cell):
        if stopped.is_set():
            raise ChapterFailed("interrupted")

    def start(name):
        chapter = chapters[name]
        return pool.submit(
            execute,
            chapter.path,
            chapter.out,
            "test",
            chapter.parameters,
            python=wheel_python,
            tick=tick,
            timeout=900,
        )

    yield {
        name: start(name)
        for test in request.session.items
        if "runs" in getattr(test, "fixturenames", ())
        for name in [test.callspec.params["name"]]
    }
    stopped.set()
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", notebooks())
def test_notebook_runs_from_the_wheel(name, runs, chapters, spent):
    "What went wrong is told without pytest's traceback. What it cost is added to the table at the end: pytest never waits for that process."
    failed = runs[name].exception()
    if isinstance(failed, ChapterFailed):
        pytest.fail(str(failed), pytrace=False)
    runs[name].result()
    seconds = record_of(chapters[name].out)["cpu"]
    spent[f"  {name}"] += seconds
    spent["test_book"] += seconds


@pytest.fixture(scope="session")
def built(chapters):
    "The built book's folder, and what went wrong while it was built ('' if nothing)."
    complete = write_pages(list(chapters.values()), OUT / "pages/source")
    shutil.rmtree(OUT / "html", ignore_errors=True)
    try:
        build_site(OUT / "pages/source", OUT / "html", strict=complete)
    except SystemExit as error:
        return OUT / "html", str(error)
    return (
        OUT / "html",
        "" if complete else "a notebook has failed, so the book is not complete",
    )


@pytest.fixture(scope="session")
def html(built):
    "The built book's folder; its pages are worth a look even when the build complained."
    if not (built[0] / "index.html").exists():
        pytest.skip("there is no book to look at: its build has failed")
    return built[0]


def test_pages_build_without_a_warning(built):
    folder, problem = built
    assert not problem, problem
    assert not [name for name in page_names() if not (folder / f"{name}.html").exists()]


def test_links_lead_somewhere(html, looks):
    "The first of many checks that need no browser, or one of their own: `looks` goes on meanwhile, and what it has found is read last."
    assert broken_links(html) == []


def test_sections_that_have_moved_are_where_old_pages_lead_to(html):
    for old, leads in moved().items():
        lead = (html / f"{old}.html").read_text()
        for anchor, target in leads.items():
            name, _, there = target.partition("#")
            assert f'id="{there}"' in (html / name).read_text(), target
            assert f'"{anchor}": "{target}"' in lead
            assert f'<section id="{anchor}"' not in lead


def test_notebooks_open_on_colab_by_button_and_by_badge(html):
    for name in notebooks():
        links = re.findall(
            r'href="(https://colab[^"]*)"', (html / f"{name}.html").read_text()
        )
        assert links and set(links) == {address(name)} and len(links) >= 2, name


def test_the_search_finds_names_of_the_library(html):
    index = (html / "searchindex.js").read_text()
    assert all(
        word in index
        for word in (
            "kl_normal",
            "attribute_direction",
            "importance_weighted_bound",
            "posterior collaps",
        )
    )


def test_pictures_have_alt_text_and_in_chapters_captions(chapters):
    for chapter in (c for c in chapters.values() if c.out.exists()):
        made = page(read_notebook(chapter.out), chapter.name, record_of(chapter.out))
        for cell in made["cells"]:
            pictures = [
                o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})
            ]
            if pictures and not {"remove-cell", "remove-output"} & set(tags(cell)):
                known = cell["metadata"].get("mystnb", {})
                needed = known.get("image", {}).get("alt") and (
                    chapter.name.startswith("lib/")
                    or known.get("figure", {}).get("caption")
                )
                assert needed, f"{chapter.name}: {source(cell)[:200]}"


def test_link_checker_finds_what_is_broken(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="b.html">1</a><a href="#x">2</a><a href="#y">3</a><img src="n.png"><a href="../up.html">4</a>'
    )
    assert [said.split(":")[1].strip() for said in broken_links(tmp_path)] == [
        "#y",
        "../up.html",
        "b.html",
        "n.png",
    ]


RAW = (
    "#|",
    "{figure}",
    "{note}",
    "{numref}",
    "{cite",
    ":::",
    "```",
    "<PIL.",
    "<Figure size",
    "<Axes",
    "<matplotlib",
    "site-packages",
)
PROSE = """() => { const a = (document.querySelector('article') ?? document.body).cloneNode(true);
    a.querySelectorAll('.cell_input, code, script, style').forEach(e => e.remove()); return a.textContent }"""
CODE = (
    "[...document.querySelectorAll('.cell_input')].map(e => e.textContent).join('\\n')"
)
SIZES = "['.math', '.math mjx-container', 'mjx-merror'].map(s => document.querySelectorAll(s).length)"
STDERR = "[...document.querySelectorAll('.output.stderr')].map(e => e.textContent)"
BROKEN = (
    "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
)
CUT = "[...document.querySelectorAll('div.highlight pre')].filter(p => p.scrollWidth > p.clientWidth + 1).map(p => p.textContent.slice(0, 60))"


def outside(url, home):
    "Whether a request leaves this book."
    scheme = url.partition(":")[0]
    return scheme not in ("data", "blob", "about") and not url.startswith(home)


def noted(tab):
    "Start to note what a tab asks for, gets and complains about."
    kept = {"asked": [], "answers": [], "errors": [], "failed": []}
    tab.on("request", lambda r: kept["asked"].append(r.url))
    tab.on(
        "response",
        lambda r: (
            kept["answers"].append(r),
            kept["failed"].append(r.url) if r.status >= 400 else None,
        ),
    )
    tab.on("requestfailed", lambda r: kept["failed"].append(r.url))
    tab.on("pageerror", lambda e: kept["errors"].append(str(e)))
    tab.on(
        "console",
        lambda m: kept["errors"].append(m.text) if m.type == "error" else None,
    )
    return kept


def faults(tab, home, kept):
    "What is wrong with the page in a tab, kind → what was found; {} if nothing is."
    settled(tab)
    all_pictures(tab)
    prose, code, width = (
        tab.evaluate(PROSE),
        tab.evaluate(CODE),
        tab.evaluate("document.documentElement.scrollWidth"),
    )
    formulas, typeset, wrong = tab.evaluate(SIZES)
    found = {
        "asks another host": [url for url in kept["asked"] if outside(url, home)],
        "a file is missing": kept["failed"] + tab.evaluate(BROKEN),
        "an error in the console": kept["errors"],
        "directives or machine paths show": [text for text in RAW if text in prose]
        + ["#|"] * ("#|" in code),
        "a cell has warned": tab.evaluate(STDERR),
        "formulas are not set": f"{typeset} of {formulas}, {wrong} wrong"
        if wrong or typeset < formulas
        else "",
        "wider than a phone of 390 pixels": width if width > 390 else 0,
        "code is cut off": tab.evaluate(CUT),
    }
    return {kind: what for kind, what in found.items() if what}


LIGHT = 1_500_000  # bytes before a touch; the theme and MathJax, which all pages share, are not counted
THEME = re.compile(r"/_static/(?!explorers/)")


def visited(chrome, home, name, axe):
    """All that is looked at on a page, in one visit on a phone: what it loads before it is touched (path → bytes), its faults, what is wrong with its explorers, and what
    axe has to say."""
    tab = chrome.new_page(
        viewport={"width": 390, "height": 844}
    )  # the theme looks once which boxes scroll, and lets Tab stop there
    kept = noted(tab)
    tab.goto(f"{home}{name}.html", wait_until="networkidle")
    loaded = [r for r in kept["answers"] if not THEME.search(r.url) and r.status == 200]
    own = {r.url.removeprefix(home).split("?")[0]: len(r.body()) for r in loaded}
    widgets = tab.locator("script[type*=widget-view]").count()
    found = faults(tab, home, kept)
    explorers = unanswered(tab) if widgets else []
    if worse := faults(tab, home, kept) if widgets and not found else {}:
        explorers.append(worse)
    said = complaints(tab, axe, name) if axe else None
    tab.close()
    return {
        "own": own,
        "widgets": widgets,
        "faults": found,
        "explorers": explorers,
        "axe": said,
    }


LASTING = ExitStack()


@functools.cache
def own_browser():
    "The browser of a process that visits pages. It ends with the process."
    return LASTING.enter_context(browser())


def visit(home, name, axe):
    "`visited`, in a process of its own: Playwright drives one browser in each."
    return visited(own_browser(), home, name, axe)


WAYS = ["file", "root", "sub-path"]  # to open the book


@contextmanager
def at(html, way):
    "The book's address as a file, on a server, or below a folder of a server."
    if way == "file":
        yield html.as_uri() + "/"
        return
    with served(html if way == "root" else html.parent) as home:
        yield home if way == "root" else f"{home}{html.name}/"


def with_explorers(html):
    "Name of a built page → the classes of the explorers that it shows, where there are any."
    pages = {name: html / f"{name}.html" for name in page_names()}
    shown = {
        name: set(re.findall(r'"_anywidget_id": ?"[^"]*?(\w+)"', path.read_text()))
        for name, path in pages.items()
        if path.exists()
    }
    return {name: classes for name, classes in shown.items() if classes}


def opened(html, way):
    """The pages that are visited: all where an address that is not relative leads nowhere. Elsewhere only addresses differ: there a page of each depth with explorers;
    as files also one of each other kind, and one for each class of explorer, the last that shows it."""
    if way == "sub-path":
        return page_names()
    if way == "root":
        return ["index", "lib/63_explore_latents"]
    shown = {
        each: name for name, found in with_explorers(html).items() for each in found
    }
    return ["index", "01_theory", "api/vae", "measured", *sorted({*shown.values()})]


@pytest.fixture(scope="session")
def looks(html, axe):
    """All that is looked at in browsers side by side, each page once for everything: (way, name) → `visit`, to be waited for. There are more browsers than cores, because
    they wait more than they work. Where there is no browser nothing is looked at."""
    if not chromium():
        yield {}
        return
    pool = ProcessPoolExecutor(3, get_context("spawn"))
    with ExitStack() as stack:
        homes = {way: stack.enter_context(at(html, way)) for way in WAYS}
        yield {
            (way, name): pool.submit(
                visit, homes[way], name, axe if way == "sub-path" else None
            )
            for way in WAYS
            for name in opened(html, way)
        }
        pool.shutdown(cancel_futures=True)


# the control has another value, and if the explorer has a network, what that computes has taken the poster's place
FOLLOWS = """async (control, before) => {
    const pictures = [...control.closest('.explorer').querySelectorAll('canvas:not(.drawing)')];
    for (let turn = 0; turn < 200; turn++) {
        if (control.value !== before && (!pictures.length || pictures.some(p => !p.hidden))) return true;
        await new Promise(done => setTimeout(done, 50));
    }
    return false }"""


def unanswered(tab):
    "What is wrong with the explorers of the page in a tab: each has drawn itself, its first control moves, and its picture follows."
    wrong = []
    tab.wait_for_function(
        "[...document.querySelectorAll('.explorer')].every(e => e.childElementCount)"
    )
    if not tab.locator(".explorer").count() or tab.locator(".explorer-still").count():
        wrong.append("there is no explorer, or it has not woken up")
    for explorer in tab.locator(".explorer").all():
        if explorer.locator(".vae-lab").count():
            continue  # it has sliders once it trains: tests/test_lab.py
        sliders = explorer.locator("input[type=range]")
        control = (sliders if sliders.count() else explorer.locator("select")).first
        before = control.input_value()
        control.focus()
        at_end = before == control.get_attribute("max")
        tab.keyboard.press("ArrowLeft" if at_end else "ArrowRight")
        if not control.evaluate(FOLLOWS, before):
            wrong.append(f"no answer to a control at {before}: {explorer.inner_text()}")
        if re.search("could not|cannot|failed", explorer.inner_text()):
            wrong.append(explorer.inner_text())
    return wrong


ON_PAPER = """() => ({
    shown: ['.bd-sidebar-primary', '.bd-sidebar-secondary', '.bd-header-article', '.prev-next-footer'].filter(s => {
        const e = document.querySelector(s); return e && getComputedStyle(e).display != 'none' }),
    cut: [...document.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 80)),
    width: document.documentElement.scrollWidth })"""


@needs_browser
@pytest.mark.parametrize("name", ["index", "03_conv_vae", "api/vae", "cures"])
def test_pages_print(name, html, chrome):
    with served(html) as home:
        tab = chrome.new_page(viewport={"width": 794, "height": 1123})  # A4
        tab.emulate_media(media="print")
        tab.goto(f"{home}{name}.html")
        settled(tab)
        assert tab.evaluate(ON_PAPER) == {"shown": [], "cut": [], "width": 794}
        tab.close()


AXE = """async ({options, include, exclude}) => (await axe.run({include, exclude: exclude ?? []}, options ?? {})).violations.filter(v => include || /serious|critical/.test(v.impact))
    .map(v => `${v.impact}: ${v.id}: ${v.nodes.map(n => n.html.slice(0, 120)).join(' | ')}`)"""
SEEN = {
    "light": (390, 844),
    "dark": (1280, 900),
}  # each theme at one width: as on a phone, as on a laptop


@pytest.fixture(scope="session")
def axe():
    "The accessibility checker, as a script for a page; None where it is not and cannot be fetched."
    try:
        return (vendor.package("axe-core", BUILD / "vendor") / "axe.min.js").read_text()
    except SystemExit:
        return None


WHOLE = {"notation", "lib/02_networks"}  # code and formulas are looked at here
COLOURS = ["color-contrast", "link-in-text-block"]  # they take half of axe's time
# what is not looked at leaves the page, because axe takes time for it all the same
THIN = """whole => { if (!whole) {
    document.querySelectorAll('.highlight pre').forEach(e => { e.textContent = e.textContent })
    document.querySelectorAll('mjx-container').forEach(e => e.replaceChildren())
} document.querySelectorAll('tr:nth-child(n+4)').forEach(e => e.remove()) }"""


def complaints(tab, axe, name):
    """What axe finds in a page: anything in explorers, what is serious elsewhere. Code and formulas have one set of colours and roles: two pages show them. Of a table three rows are looked at. Pages of the
    library are built of the same parts as chapters: their colours are looked at on every eighth."""
    tab.add_script_tag(content=axe)
    tab.add_style_tag(
        content="* { transition: none !important }"
    )  # colours on their way from one theme to the other are nobody's
    found = []
    tab.evaluate(THIN, name in WHOLE)
    shown = {} if name in WHOLE else {"exclude": [".highlight", "mjx-container"]}
    alike = [n for n in page_names() if "/" in n]
    coloured = name not in alike or alike.index(name) % 8 == 0
    for scheme in SEEN if coloured else ["light"]:
        width, height = SEEN[scheme]
        tab.set_viewport_size({"width": width, "height": height})
        tab.emulate_media(color_scheme=scheme)
        tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        options = {"rules": {rule: {"enabled": coloured} for rule in COLOURS}}
        if scheme == "dark":
            options = {"runOnly": COLOURS}
        found += tab.evaluate(AXE, shown | {"options": options})
        if tab.locator(".explorer").count():
            found += tab.evaluate(AXE, {"include": [".explorer"]})
    return found


@needs_browser
def test_the_accessibility_check_finds_what_is_wrong(chrome, axe):
    if axe is None:
        pytest.skip("axe-core is not here, and could not be fetched")
    tab = chrome.new_page()
    tab.set_content("""<html lang="en"><title>t</title><script>document.documentElement.dataset.theme = 'light'
        matchMedia('(prefers-color-scheme: dark)').onchange = e => document.documentElement.dataset.theme = e.matches ? 'dark' : 'light'</script>
        <main><h1>t</h1><img src="data:,"><p style="color: #bbb; background: #fff">pale</p><div class="explorer"><input></div></main></html>""")
    found = " ".join(complaints(tab, axe, "index"))
    tab.close()
    assert all(kind in found for kind in ("image-alt", "color-contrast", "label"))


@needs_browser
def test_a_question_answers_at_a_click_and_without_a_script_stays_a_fold(html, chrome):
    page = f"{html.as_uri()}/02_mlp_vae.html"
    tab = chrome.new_page()
    tab.goto(page)
    answers = tab.locator(".predict-answers").first.locator("button")
    said = tab.locator(".predict-said").first
    assert answers.count() >= 2 and said.inner_text() == ""
    for number in range(answers.count()):
        answers.nth(number).focus()
        tab.keyboard.press("Enter")
        right = [b.get_attribute("data-answer") for b in answers.all()].index("right")
        starts = [line[:5] for line in said.inner_text().split("\n") if line.strip()]
        assert "Right" in starts[-1] and (number == right) == ("No." not in starts[0])
    tab.close()
    plain = chrome.new_context(java_script_enabled=False).new_page()
    plain.goto(page)
    fold = plain.get_by_text("Answer", exact=True).first
    assert (
        fold.is_visible()
        and not plain.get_by_text("Right.", exact=True).first.is_visible()
    )
    fold.click()
    assert plain.get_by_text("Right.", exact=True).first.is_visible()
    plain.context.close()


@needs_browser
def test_folds_open_from_the_keyboard(html, chrome):
    tab = chrome.new_page()
    tab.goto(f"{html.as_uri()}/02a_digits_and_their_score.html")
    folds = tab.locator("details.hide > summary")
    assert folds.count() > 3 and tab.get_by_text("Show the solution").count() >= 3
    for fold in folds.all():
        opened = "s => s.parentElement.open"
        assert not fold.evaluate(opened)
        fold.focus()
        tab.keyboard.press("Enter")
        assert (
            fold.evaluate(opened)
            and fold.evaluate(
                "s => s.matches(':focus-visible') && getComputedStyle(s).outlineStyle"
            )
            != "none"
        )
    tab.locator("details.hide > summary").last.focus()
    tab.keyboard.press("Shift+Tab")
    assert tab.evaluate("document.activeElement !== document.body"), (
        "the keyboard comes past the folds"
    )
    tab.close()


@needs_browser
def test_a_dark_page_prints_light(html, chrome):
    tab = chrome.new_page(color_scheme="dark")
    tab.goto(f"{html.as_uri()}/01_theory.html")
    theme = "kind => { dispatchEvent(new Event(kind)); return document.documentElement.dataset.theme }"
    assert (
        tab.evaluate(theme, "beforeprint") == "light"
        and tab.evaluate(theme, "afterprint") == "dark"
    )
    tab.close()


BAD = """<!doctype html><script src="http://elsewhere.invalid/x.js"></script><script>MathJax = {startup: {promise: Promise.resolve()}}</script>
<article style="width: 600px"><img src="missing.png">:::{note}<span class="math">x</span>
<div class="cell_input">#| hide</div><div class="output stderr">careful</div></article><script>console.error("oh")</script>"""


@needs_browser
def test_browser_checks_find_what_is_broken(chrome, tmp_path):
    (tmp_path / "bad.html").write_text(BAD)
    with served(tmp_path) as address:
        tab = chrome.new_page(viewport={"width": 390, "height": 844})
        kept = noted(tab)
        tab.goto(f"{address}bad.html")
        assert len(faults(tab, address, kept)) == 7
        tab.close()


@pytest.fixture(scope="session")
def seen(looks):
    "Name of a page → what a visit has found."
    return lambda name: looks["sub-path", name].result()


@needs_browser
@pytest.mark.parametrize("name", page_names())
def test_page_in_a_browser(name, seen):
    assert seen(name)["faults"] == {}


@needs_browser
@pytest.mark.parametrize("name", page_names())
def test_page_is_light_and_loads_widgets_only_if_it_has_some(name, seen):
    own = seen(name)["own"]
    assert sum(own.values()) <= LIGHT, sorted(own.items(), key=lambda item: -item[1])[
        :5
    ]
    assert ("_static/explorers/host.js" in own) == bool(seen(name)["widgets"]), (
        "pages without widgets load nothing for them"
    )


@needs_browser
@pytest.mark.parametrize("name", page_names())
def test_page_is_accessible(name, seen):
    if (found := seen(name)["axe"]) is None:
        pytest.skip("axe-core is not here, and could not be fetched")
    assert found == []


@needs_browser
@pytest.mark.parametrize("way", WAYS)
def test_explorers_answer_on_the_built_pages(way, html, looks):
    names = [name for name in opened(html, way) if name in with_explorers(html)]
    assert len(names) > 1
    wrong = {name: looks[way, name].result()["explorers"] for name in names}
    assert {name: what for name, what in wrong.items() if what} == {}


@needs_browser
@pytest.mark.parametrize("way", ["file", "root"])
def test_pages_are_right_from_the_disk_and_without_a_folder(way, html, looks):
    wrong = {name: looks[way, name].result()["faults"] for name in opened(html, way)}
    assert {name: what for name, what in wrong.items() if what} == {}
