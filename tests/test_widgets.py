"""Explorers without a kernel: the page's side (book/widgets.py, static/explorers/host.js), the explorers of an idea in a real browser,
and the same explorers with a kernel in JupyterLab (`make test`: it takes a minute)."""

import base64
import io
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import hypothesis.strategies as some
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from nasty_names import NASTY

from book import build, execute, images, vendor, widgets
from book.browser import MISSING, chromium, served
from book.pages import page
from book.project import BUILD, ROOT, read_notebook
from vae_nb.explore import (
    SCENES,
    BoundExplorer,
    ElboExplorer,
    LatentExplorer,
    TemperatureExplorer,
    elbo_parts,
)
from vae_nb.explore.ideas import (
    gumbel_noise,
    log_likelihood,
    relaxed_draws,
    temperature_parts,
)
from vae_nb.vae import mlp_vae

needs_browser = pytest.mark.skipif(not chromium(), reason=MISSING)
TWO = SCENES["two codes explain x"]


# --- the numbers ---


def gap_by_grid(mu, sigma, bumps):
    "KL(q || p(z|x)) from its definition, on a fine grid."
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    log_q = -(((z - mu) / sigma) ** 2) / 2 - math.log(sigma * math.sqrt(2 * math.pi))
    joint = log_likelihood(z, bumps) - z**2 / 2 - math.log(2 * math.pi) / 2
    log_px = torch.trapezoid(joint.exp(), z).log()
    return torch.trapezoid(log_q.exp() * (log_q - joint + log_px), z).item()


@pytest.mark.parametrize("bumps", SCENES.values(), ids=SCENES.keys())
@pytest.mark.parametrize(
    ("mu", "sigma"), [(0, 1), (-1.1, 0.29), (2.0, 0.15), (0.5, 1.6)]
)
def test_the_gap_is_the_divergence_from_the_true_posterior(mu, sigma, bumps):
    parts = elbo_parts(mu, sigma, bumps)
    assert (
        parts["gap"] == pytest.approx(gap_by_grid(mu, sigma, bumps), abs=1e-6)
        and parts["gap"] > 0
    )
    assert parts["elbo"] + parts["gap"] == pytest.approx(parts["log_px"])


def test_the_temperature_changes_shape_and_not_winners():
    noise = gumbel_noise(300, seed=3)
    cold, warm = (temperature_parts([1.0, 0.0, -0.5], tau, noise) for tau in (0.1, 5))
    assert (
        cold["winners"] == warm["winners"]
        and cold["largest"] > 0.95 > 0.6 > warm["largest"]
        and cold["spread"] > 5 * warm["spread"]
    )
    assert gumbel_noise(5, seed=3) == noise[:5] != gumbel_noise(5, seed=4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: elbo_parts(0, 0, TWO), "sigma must be above 0, not 0"),
        (lambda: ElboExplorer(sigma=-1), "sigma must be above 0, not -1"),
        (
            lambda: ElboExplorer(scene="three codes"),
            "no scene 'three codes'; there are 'two codes explain x'",
        ),
        (
            lambda: relaxed_draws([0, 0, 0], 0, gumbel_noise(3)),
            "tau must be a positive number, not 0",
        ),
        (
            lambda: TemperatureExplorer(tau=-0.5),
            "tau must be a positive number, not -0.5",
        ),
    ],
)
def test_bad_values_are_refused_in_words(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()


def test_three_categories_are_needed():
    with pytest.raises(Exception, match="length 3|of length 3|3"):
        TemperatureExplorer(logits=[0.0, 1.0])


@pytest.mark.parametrize("explorer", [ElboExplorer, TemperatureExplorer, BoundExplorer])
def test_a_still_is_a_picture_with_words(explorer):
    from PIL import Image

    made = explorer()
    picture = Image.open(
        io.BytesIO(base64.b64decode(made.poster.removeprefix("data:image/png;base64,")))
    )
    assert picture.width > 400 and len(made.poster) < 100_000 and len(made.alt) > 60
    assert made.parts()


def test_a_still_does_not_depend_on_the_style_of_the_notebook():
    from matplotlib import rc_context

    plain = ElboExplorer().poster
    with rc_context(
        {
            "font.size": 30,
            "figure.constrained_layout.use": True,
            "axes.facecolor": "red",
        }
    ):
        assert ElboExplorer().poster == plain


# --- from notebook to page ---


def saved(*shown, also=()):
    "A notebook that shows widgets, as papermill leaves it."
    from ipywidgets.embed import embed_data

    state = embed_data(views=[*shown, *also], drop_defaults=False)["manager_state"][
        "state"
    ]
    cells = [{"cell_type": "markdown", "metadata": {}, "source": "# T"}]
    for widget in shown:
        output = {
            "output_type": "display_data",
            "metadata": {},
            "data": {
                widgets.VIEW: {
                    "model_id": widget.model_id,
                    "version_major": 2,
                    "version_minor": 0,
                },
                "text/plain": "W",
            },
        }
        cells.append(
            {
                "cell_type": "code",
                "metadata": {},
                "source": "w",
                "execution_count": 1,
                "outputs": [output],
            }
        )
    return {
        "cells": cells,
        "metadata": {
            "widgets": {
                widgets.STATE: {"state": state, "version_major": 2, "version_minor": 0}
            }
        },
    }


RECORD = {"profile": "test", "parameters": {}, "seconds": 1, "key": "", "stale": False}


def test_a_page_keeps_only_the_widgets_that_it_shows():
    shown, other = ElboExplorer(), TemperatureExplorer()
    made = page(saved(shown, also=[other]), "x", RECORD)
    state = widgets.saved_state(made)
    assert shown.model_id in state and other.model_id not in state
    assert shown.layout.model_id in state, "what a widget refers to comes along"
    assert not widgets.needs_manager(state, widgets.shown(made["cells"]))


def test_a_page_without_widgets_has_no_widget_state():
    assert "widgets" not in page(saved(also=[ElboExplorer()]), "x", RECORD)["metadata"]


def test_a_widget_comes_after_its_still():
    explorer = ElboExplorer()
    outputs = page(saved(explorer), "x", RECORD)["cells"][1]["outputs"]
    html = outputs[0]["data"]["text/html"]
    assert (
        explorer.poster in html
        and f'data-still-of="{explorer.model_id}"' in html
        and "the gap of 1.36" in html
        and "<noscript>" in html
    )
    assert widgets.VIEW in outputs[1]["data"]


@pytest.mark.parametrize(
    ("size", "expected"), [((28, 28), True), ((128, 128), True), ((129, 40), False)]
)
def test_a_small_still_is_enlarged(size, expected):
    from PIL import Image

    assert (
        widgets.small(
            "data:image/png;base64,"
            + base64.b64encode(png_of(Image.new("L", size))).decode()
        )
        is expected
    )
    assert widgets.small("data:image/svg+xml;utf8,<svg/>") is False


def png_of(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "colours", "kept"),
    [
        ("RGBA", 1, "L"),
        ("RGBA", 2, "P"),
        ("RGBA", 3, "RGB"),
        ("RGBA", 4, "RGBA"),
        ("L", 1, "L"),
        ("RGB", 3, "RGB"),
    ],
    ids=[
        "grey",
        "few colours",
        "many colours",
        "transparent",
        "grey already",
        "opaque already",
    ],
)
def test_figures_get_smaller_and_stay_the_same(mode, colours, kept):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 50, 1)).repeat(3, 2)
    pixels = {
        1: grey,
        2: rng.integers(0, 256, (40, 3))[rng.integers(0, 40, (40, 50))],
        3: rng.integers(0, 256, (40, 50, 3)),
        4: grey,
    }[colours]
    alpha = (
        np.full((40, 50, 1), 255) if colours < 4 else rng.integers(0, 256, (40, 50, 1))
    )
    picture = Image.fromarray(
        np.concatenate([pixels, alpha], 2).astype("uint8"), "RGBA"
    ).convert(mode)
    before = png_of(picture)
    after = images.lean(before)
    assert len(after) <= len(before) and Image.open(io.BytesIO(after)).mode == kept
    assert (
        Image.open(io.BytesIO(after)).convert("RGBA").tobytes()
        == picture.convert("RGBA").tobytes()
    )


def test_a_widget_whose_state_is_missing_is_an_error():
    notebook = saved(ElboExplorer())
    notebook["metadata"] = {}
    with pytest.raises(SystemExit, match="x, cell 1.*state of the widget"):
        page(notebook, "x", RECORD)


def test_links_and_other_widgets_need_the_manager():
    from ipywidgets import FloatSlider, jslink

    explorer, slider = ElboExplorer(), FloatSlider()
    link = jslink((slider, "value"), (explorer, "mu"))
    made = page(saved(explorer, also=[slider, link]), "x", RECORD)
    state = widgets.saved_state(made)
    assert {link.model_id, slider.model_id} <= state.keys() and widgets.needs_manager(
        state, [explorer.model_id]
    )
    alone = widgets.saved_state(page(saved(slider), "x", RECORD))
    assert widgets.needs_manager(alone, [slider.model_id])


WRITES = """import os, pathlib
folder = pathlib.Path(os.environ["VAE_NB_EXPLORER_FILES"])
(folder / f"weights-{n}.js").write_text("x")"""


@pytest.mark.slow
def test_what_explorers_write_is_kept_with_the_run_and_published(tmp_path):
    cells = [
        {
            "cell_type": "code",
            "metadata": {"tags": tags},
            "source": text,
            "outputs": [],
            "execution_count": None,
            "id": f"c{i}",
        }
        for i, (text, tags) in enumerate([("n = 0", ["parameters"]), (WRITES, [])])
    ]
    notebook = {
        "cells": cells,
        "metadata": read_notebook(ROOT / "nbs/index.ipynb")["metadata"],
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path, out = tmp_path / "a.ipynb", tmp_path / "run/a.ipynb"
    path.write_text(json.dumps(notebook))
    for n in (1, 2):
        execute.execute(path, out, "test", {"n": n})
        assert [p.name for p in execute.explorer_files(out).iterdir()] == [
            f"weights-{n}.js"
        ], "an earlier run's files go"
    assert not [p for p in out.parent.iterdir() if "partial" in p.name]
    chapter = build.Chapter("a", path, out, {"n": 2})
    assert not chapter.record["stale"]
    build.publish_explorer_files(
        [SimpleNamespace(out=out), SimpleNamespace(out=tmp_path / "never-run.ipynb")],
        tmp_path / "site/assets/explorers",
    )
    assert [p.name for p in (tmp_path / "site/assets/explorers").iterdir()] == [
        "weights-2.js"
    ]
    (execute.explorer_files(out) / "weights-2.js").unlink()
    assert chapter.record["stale"], (
        "a run whose explorers have lost their files is made again"
    )


def test_an_archive_with_another_digest_is_refused(monkeypatch, tmp_path):
    def fake(command, **_):
        Path(command[-1], "p.tgz").write_bytes(b"something else")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(vendor, "npm", lambda: "npm")
    monkeypatch.setattr(vendor.subprocess, "run", fake)
    with pytest.raises(SystemExit, match="requirejs@.*SHA-256"):
        vendor.package("requirejs", tmp_path)
    assert not list(tmp_path.iterdir()), "nothing of it is kept"


# --- in a browser, on a page without a kernel ---


def write_page(folder, *shown, also=(), name="index.html"):
    "A page as myst-nb writes it, with the book's own host; its path."
    made = page(saved(*shown, also=also), "x", RECORD)
    escaped = lambda data: json.dumps(data).replace("</script>", r"<\/script>")
    body = []
    for output in (o for c in made["cells"] for o in c.get("outputs", [])):
        html = output["data"].get("text/html")
        body.append(
            f'<div class="output text_html">{html}</div>'
            if html
            else f'<script type="{widgets.VIEW}">{escaped(output["data"][widgets.VIEW])}</script>'
        )
    static = folder / "_static"
    static.mkdir(parents=True, exist_ok=True)
    if not (static / "explorers").exists():
        (static / "explorers").symlink_to(ROOT / "book/static/explorers")
    (folder / name).write_text(
        f"""<!doctype html><html lang="en" data-content_root="./"><head><meta charset="utf-8"><title>Explorers</title>
<meta name="viewport" content="width=device-width"><style>@media (prefers-color-scheme: dark) {{ body {{ background: #121212; color: #eee }} }}</style>
<script src="_static/explorers/host.js?v=1"></script></head><body><main><h1>Explorers</h1>{"".join(body)}</main>
<script type="{widgets.STATE}">{escaped(made["metadata"]["widgets"][widgets.STATE])}</script></body></html>"""
    )
    return folder / name


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    "Three pages: the explorers of an idea; the first twice; one that cannot start."
    folder = tmp_path_factory.mktemp("site") / "some/sub-path"
    broken = ElboExplorer()
    broken._esm = "export default { render() { throw new Error('no luck') } }"
    write_page(folder, ElboExplorer(), TemperatureExplorer(), BoundExplorer())
    write_page(
        folder, ElboExplorer(), ElboExplorer(mu=1.0, sigma=0.5), name="twice.html"
    )
    write_page(folder, broken, ElboExplorer(), name="broken.html")
    return folder


@pytest.fixture(scope="session")
def address(site):
    with served(site) as found:
        yield found


@contextmanager
def opened(chrome, url, **options):
    "A page in a context of its own; afterwards it must have asked nobody else, missed nothing and logged no error."
    context = chrome.new_context(**options)
    context.set_default_timeout(10_000)
    tab = context.new_page()
    wrong = []
    home = url.rsplit("/", 1)[0]
    tab.on(
        "request",
        lambda r: (
            wrong.append(r.url)
            if not r.url.startswith((home, "data:", "blob:"))
            else None
        ),
    )
    tab.on(
        "response",
        lambda r: (
            wrong.append(f"{r.status} {r.url}")
            if r.status >= 400 and "favicon" not in r.url
            else None
        ),
    )
    tab.on("requestfailed", lambda r: wrong.append(r.url))
    tab.on("pageerror", lambda e: wrong.append(str(e)))
    tab.on(
        "console",
        lambda m: (
            wrong.append(m.text)
            if m.type == "error" and "favicon" not in m.location["url"]
            else None
        ),
    )
    tab.goto(url)
    try:
        yield SimpleNamespace(tab=tab, wrong=wrong)
        assert wrong == []
    finally:
        context.close()


def number(tab, row, explorer=0):
    "A number of the ledger."
    return float(
        tab.locator(".vae-idea")
        .nth(explorer)
        .locator("tr", has_text=row)
        .locator("td.number")
        .last.inner_text()
        .replace("−", "-")
    )


def elbo_ready(tab):
    "Wait until every explorer of the page shows its numbers."
    tab.wait_for_selector(".explorer")
    tab.wait_for_function(
        "[...document.querySelectorAll('.explorer')].every(e => e.querySelector('td.number')?.textContent)"
    )


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("kind", ["http", "sub-path", "file"])
def test_it_lives_wherever_the_page_lies(kind, chrome, site):
    def check(url):
        with opened(chrome, url) as page:
            elbo_ready(page.tab)
            assert number(page.tab, "+ gap") == pytest.approx(
                elbo_parts(0, 1, TWO)["gap"], abs=0.006
            )
            slider = page.tab.get_by_label("μ of q").first
            slider.focus()
            for _ in range(4):
                page.tab.keyboard.press("ArrowRight")
            page.tab.wait_for_function(
                "document.querySelector('output').textContent === '0.20'"
            )
            assert number(page.tab, "+ gap") == pytest.approx(
                elbo_parts(0.2, 1, TWO)["gap"], abs=0.006
            )
            assert page.tab.locator(".explorer-still").count() == 0

    if kind == "file":
        return check((site / "index.html").as_uri())
    with served(site if kind == "http" else site.parents[1]) as home:
        check(home + ("index.html" if kind == "http" else "some/sub-path/index.html"))


@needs_browser
def test_the_small_host_loads_nothing_else(chrome, address):
    context = chrome.new_context()
    tab, asked = context.new_page(), []
    tab.on("request", lambda r: asked.append(r.url.split("?")[0]))
    tab.goto(address + "index.html")
    elbo_ready(tab)
    assert {url.removeprefix(address) for url in asked if url.startswith("http")} - {
        "favicon.ico"
    } == {"index.html", "_static/explorers/host.js"}
    context.close()


@needs_browser
def test_the_mouse_moves_q_and_its_width(chrome, address):
    with opened(
        chrome, address + "index.html", viewport={"width": 900, "height": 900}
    ) as page:
        elbo_ready(page.tab)
        box = page.tab.locator(".vae-idea svg").first.bounding_box()
        at = lambda z: box["x"] + (z + 4) / 8 * box["width"]
        low = box["y"] + 158
        page.tab.mouse.move(at(0), low)
        page.tab.mouse.down()
        page.tab.mouse.move(at(-1.1), low, steps=8)
        page.tab.mouse.up()
        page.tab.mouse.move(at(-0.1), low)  # the right end
        page.tab.mouse.down()
        page.tab.mouse.move(at(-0.81), low, steps=8)
        page.tab.mouse.up()
        page.tab.wait_for_timeout(100)
        assert number(page.tab, "+ gap") == pytest.approx(0.64, abs=0.02), (
            "on one hill, as the chapter says"
        )


@needs_browser
def test_a_finger_moves_q_on_a_phone(chrome, address):
    with opened(
        chrome,
        address + "index.html",
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
    ) as page:
        elbo_ready(page.tab)
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 390
        picture = page.tab.locator(".vae-idea svg")
        box = picture.first.bounding_box()
        page.tab.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + 60)
        page.tab.wait_for_function(
            "document.querySelector('output').textContent === '2.40'"
        )
        picture.nth(1).scroll_into_view_if_needed()
        box = picture.nth(1).bounding_box()
        page.tab.touchscreen.tap(
            box["x"] + box["width"] / 2, box["y"] + 60
        )  # near the top corner
        page.tab.wait_for_timeout(100)
        assert number(page.tab, "softmax", explorer=1) > 0.7, (
            "the third category's share"
        )
        page.tab.get_by_label("logit of A").focus()
        before = page.tab.get_by_label("logit of A").input_value()
        page.tab.keyboard.press("ArrowLeft")
        assert float(
            page.tab.get_by_label("logit of A").input_value()
        ) == pytest.approx(float(before) - 0.1)


@needs_browser
def test_two_explorers_on_a_page_do_not_meet(chrome, address):
    with opened(chrome, address + "twice.html") as page:
        elbo_ready(page.tab)
        other = number(page.tab, "+ gap", 1)
        assert other == pytest.approx(elbo_parts(1.0, 0.5, TWO)["gap"], abs=0.006)
        page.tab.get_by_label("σ of q").first.fill("0.5")
        page.tab.wait_for_timeout(100)
        assert (
            number(page.tab, "+ gap", 0)
            == pytest.approx(elbo_parts(0, 0.5, TWO)["gap"], abs=0.006)
            and number(page.tab, "+ gap", 1) == other
        )
        ids = page.tab.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
        styles = page.tab.evaluate(
            "[...document.querySelectorAll('head style')].filter(s => s.textContent.includes('.vae-idea')).length"
        )
        assert styles == 1, "one style sheet for both"
        page.tab.reload()
        elbo_ready(page.tab)
        assert number(page.tab, "+ gap") == pytest.approx(
            elbo_parts(0, 1, TWO)["gap"], abs=0.006
        ), "a reload starts again"


@needs_browser
def test_climbing_ends_where_the_chapter_says(chrome, address):
    "From the prior astride the valley, from μ = 1 on the right hill, from μ = -1 on the left, with one hill at the truth; at once, where less motion is asked for."
    with opened(chrome, address + "index.html", reduced_motion="reduce") as page:
        elbo_ready(page.tab)

        def climb(mu, scene="two codes explain x"):
            page.tab.locator("select").first.select_option(scene)
            page.tab.get_by_role("button", name="q = prior").first.click()
            page.tab.get_by_label("μ of q").first.fill(str(mu))
            page.tab.get_by_role("button", name="Climb").click()
            page.tab.evaluate(
                "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )
            return number(page.tab, "+ gap")

        assert [
            climb(0),
            climb(1),
            climb(-1),
            climb(0, "one code explains x"),
        ] == pytest.approx([1.30, 0.75, 0.64, 0.0], abs=0.006)


@needs_browser
def test_climbing_is_shown_step_by_step_and_can_be_stopped(chrome, address):
    with opened(chrome, address + "index.html", reduced_motion="no-preference") as page:
        elbo_ready(page.tab)
        page.tab.get_by_label("μ of q").first.fill("1")
        page.tab.get_by_role("button", name="Climb").click()
        page.tab.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        assert number(page.tab, "+ gap") > 0.8, "not yet there"
        page.tab.get_by_role("button", name="q = prior").first.click()
        page.tab.wait_for_timeout(200)
        assert number(page.tab, "− KL") == 0, "the reader's hand stops it"
        page.tab.get_by_label("μ of q").first.fill("1")
        page.tab.get_by_role("button", name="Climb").click()
        page.tab.wait_for_function(
            "Math.abs(parseFloat([...document.querySelectorAll('.vae-idea tr')].find(r => r.textContent.includes('+ gap')).lastChild.textContent) - 0.75) < 0.01",
            timeout=20_000,
        )


@needs_browser
def test_without_javascript_the_stills_stay(chrome, address):
    with opened(chrome, address + "index.html", java_script_enabled=False) as page:
        stills = page.tab.locator(".explorer-still")
        assert stills.count() == 3 and stills.first.bounding_box()["width"] > 300
        assert "log p(x), -1.78" in stills.first.get_attribute("alt")


@needs_browser
def test_an_explorer_that_fails_keeps_its_still_and_says_so(chrome, address):
    context = chrome.new_context()
    tab, errors = context.new_page(), []
    tab.on(
        "console",
        lambda m: (
            errors.append(m.text)
            if m.type == "error" and "favicon" not in m.location["url"]
            else None
        ),
    )
    tab.goto(address + "broken.html")
    tab.wait_for_selector(".vae-idea td.number")  # the other one lives
    assert (
        tab.get_by_role("status").first.inner_text()
        == "This explorer could not start (no luck)."
    )
    assert tab.locator(".explorer-still").count() == 1 and len(errors) == 1
    context.close()


NUMBERS = """async ([elbo, temperature, cases, draws]) => {
    const load = (text) => import(URL.createObjectURL(new Blob([text], {type: "text/javascript"})));
    const {elboParts} = await load(elbo), {temperatureParts} = await load(temperature);
    return [cases.map((c) => elboParts(...c)), draws.map((c) => temperatureParts(...c))]; }"""


@needs_browser
def test_the_page_computes_what_python_computes(chrome):
    cases, draws, noise = [], [], gumbel_noise(50, seed=1)
    number_in = lambda low, high: some.floats(low, high, allow_nan=False)
    bump = some.tuples(number_in(0.01, 1), number_in(-3, 3), number_in(0.1, 2)).map(
        list
    )

    @settings(
        max_examples=100,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],  # on a busy machine
    )
    @given(
        number_in(-2.5, 2.5),
        number_in(0.15, 1.6),
        some.lists(bump, min_size=1, max_size=3),
        some.lists(number_in(-3, 3), min_size=3, max_size=3),
        number_in(0.1, 10),
    )
    def collect(mu, sigma, bumps, logits, tau):
        cases.append([mu, sigma, bumps])
        draws.append([logits, tau, noise])

    collect()
    tab = chrome.new_page()
    in_page = tab.evaluate(
        NUMBERS, [ElboExplorer._esm, TemperatureExplorer._esm, cases, draws]
    )
    tab.close()
    for here, there in zip([elbo_parts(*c) for c in cases], in_page[0], strict=True):
        assert there == pytest.approx(here, rel=1e-9, abs=1e-9)
    for here, there in zip(
        [temperature_parts(*c) for c in draws], in_page[1], strict=True
    ):
        assert there.keys() == here.keys()
        for name, value in here.items():
            assert there[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


def fetched(name):
    "A pinned npm package, or a visible skip where it can neither be fetched nor is kept."
    try:
        return vendor.package(name, BUILD / "vendor")
    except SystemExit as error:
        pytest.skip(str(error).splitlines()[0])


AXE = "async () => (await axe.run(document)).violations.map(v => `${v.impact}: ${v.id}: ${v.nodes.map(n => n.html.slice(0, 120)).join(' | ')}`)"


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(scheme, chrome, address):
    code = (fetched("axe-core") / "axe.min.js").read_text()
    with opened(chrome, address + "index.html", color_scheme=scheme) as page:
        elbo_ready(page.tab)
        page.tab.add_script_tag(content=code)
        assert page.tab.evaluate(AXE) == []
        page.tab.evaluate(
            "document.querySelector('.vae-idea').append(document.createElement('button'))"
        )
        assert "button-name" in page.tab.evaluate(AXE)[0], (
            "it would have found something"
        )


@needs_browser
def test_screen_readers_get_the_numbers(chrome, address):
    with opened(chrome, address + "index.html") as page:
        elbo_ready(page.tab)
        assert (
            page.tab.get_by_label("μ of q").first.get_attribute("aria-valuetext")
            == "0.00; ELBO −3.14, gap 1.36 nats"
        )
        page.tab.get_by_label("μ of q").first.fill("1")
        t = elbo_parts(1, 1, TWO)
        page.tab.wait_for_function(  # it began with ELBO before the slider moved, too
            "gap => document.querySelector('[role=status]').textContent.includes(gap)",
            arg=f"Gap {t['gap']:.2f}",
        )
        said = page.tab.get_by_role("status").first.inner_text()
        assert "log p(x), −1.78" in said


@pytest.mark.slow
@needs_browser
def test_other_ipywidgets_and_links_run_on_the_vendored_manager(chrome, tmp_path):
    from ipywidgets import FloatSlider, VBox, jslink

    fetched("requirejs"), fetched("@jupyter-widgets/html-manager")
    explorer, slider = (
        ElboExplorer(),
        FloatSlider(min=-2, max=2, step=0.5, description="linked"),
    )
    link = jslink((slider, "value"), (explorer, "mu"))
    write_page(tmp_path, VBox([slider, explorer]), also=[link])
    vendor.widget_manager(BUILD / "vendor", tmp_path / "manager")
    terms = (tmp_path / "manager/LICENCES.txt").read_text()
    assert (
        "Redistribution and use" in terms
        and "html-manager 1.0.15" in terms
        and "anywidget" in terms
    )
    (tmp_path / "_static/explorers").unlink()
    (tmp_path / "_static/explorers").mkdir()
    for file in [*(ROOT / "book/static/explorers").iterdir(), tmp_path / "manager"]:
        (tmp_path / "_static/explorers" / file.name).symlink_to(file)
    with served(tmp_path) as home, opened(chrome, home + "index.html") as page:
        page.tab.wait_for_selector(".vae-idea td.number", timeout=30_000)
        page.tab.locator(".noUi-handle, [role=slider]").first.focus()
        page.tab.keyboard.press("ArrowRight")
        page.tab.wait_for_function(
            "document.querySelector('.vae-idea output').textContent !== '0.00'"
        )
        page.tab.wait_for_timeout(100)
        shown = float(
            page.tab.locator(".vae-idea output").first.inner_text().replace("−", "-")
        )
        assert shown != 0 and number(page.tab, "+ gap") == pytest.approx(
            elbo_parts(shown, 1, TWO)["gap"], abs=0.006
        )


# --- a network in the page ---


@pytest.fixture(scope="session")
def network_site(tmp_path_factory):
    "A page with a LatentExplorer, its weights where the book would publish them; the page's folder and the model."
    folder = tmp_path_factory.mktemp("network") / "some/sub-path"
    torch.manual_seed(0)
    model = mlp_vae(shape=(1, 28, 28), latent_dim=2, hidden=(64,)).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_NB_EXPLORER_FILES", str(folder / "assets/explorers"))
        (folder / "assets/explorers").mkdir(parents=True)
        write_page(folder, LatentExplorer(model, z=[0.5, -1.0]))
    return folder, model


PIXELS = "(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0))(document.querySelector('.explorer canvas'))"


@needs_browser
@pytest.mark.parametrize("kind", ["http", "sub-path", "file"])
def test_a_network_decodes_on_a_page_without_a_kernel(kind, chrome, network_site):
    folder, model = network_site
    asked = []

    def check(url):
        with opened(chrome, url) as page:
            page.tab.on("request", lambda r: asked.append(r.url))
            page.tab.wait_for_selector(".explorer img")
            page.tab.wait_for_timeout(100)
            assert (
                not asked and not page.tab.locator(".explorer canvas").is_visible()
            ), "a poster and no weights before a touch"
            page.tab.locator(".explorer input[type=range]").first.focus()
            page.tab.keyboard.press("ArrowRight")
            page.tab.wait_for_selector(".explorer [data-decodes]")
            assert (
                page.tab.locator(".explorer canvas").is_visible()
                and not page.tab.locator(".explorer img").is_visible()
            )
            with torch.no_grad():
                truth = model.decode(torch.tensor([[0.51, -1.0]])).mean.flatten() * 255
            shown = torch.tensor(page.tab.evaluate(PIXELS))
            assert (shown - truth).abs().max() <= 1, "one grey level"
            assert len(asked) == 1 and "/assets/explorers/" in asked[0]

    if kind == "file":
        return check((folder / "index.html").as_uri())
    with served(folder if kind == "http" else folder.parents[1]) as home:
        check(home + ("index.html" if kind == "http" else "some/sub-path/index.html"))


# --- with a kernel, in JupyterLab ---

LAB = """import json, pathlib
from vae_nb.explore import ElboExplorer, Lab, LatentExplorer, TemperatureExplorer
from vae_nb.vae import mlp_vae
explorer, other, network = ElboExplorer(), TemperatureExplorer(), LatentExplorer(mlp_vae((1, 28, 28)))
lab = Lab(hidden=50)
def keep(widget, content, buffers):
    if "trained" in content: pathlib.Path("shape.txt").write_text(str(tuple(lab.model().sample(2).shape)))
lab.on_msg(keep)
def note(change):
    pathlib.Path("seen.json").write_text(json.dumps(explorer.parts() | {"mu": explorer.mu}))
    if change.new > 0.04: explorer.sigma = 0.5  # the way back
explorer.observe(note, "mu")
display(explorer, other, network, lab)"""


@contextmanager
def jupyterlab(folder):
    "JupyterLab on a free port; yields its address."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = "JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR JUPYTERLAB_SETTINGS_DIR JUPYTERLAB_WORKSPACES_DIR IPYTHONDIR".split()
    env = (
        os.environ
        | {name: str(folder / name.lower()) for name in names}
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    )
    options = [
        "--no-browser",
        f"--ServerApp.port={port}",
        "--IdentityProvider.token=t",
        "--ServerApp.open_browser=False",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ] + (["--allow-root"] if os.name == "posix" and os.geteuid() == 0 else [])
    log = folder / "lab.log"
    with open(log, "w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=folder,
            env=env,
            stdout=stream,
            stderr=stream,
        )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/api/status?token=t", timeout=2
                ).read()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:  # it waits for a kernel; that follows it
            server.kill()
            server.wait(20)


def run_first_cell(tab, home, shows, seconds=90):
    """Run the cell and wait for what it `shows` (a selector).

    A cell that is run before JupyterLab has connected to its kernel is silently not run,
    and a second try may meet a dialog: so the kernel is waited for, at the server and in
    the page, and the key is pressed again when the cell's prompt stays empty.
    """
    from playwright.sync_api import TimeoutError as TimedOut

    end = time.monotonic() + seconds

    def connected():
        address = f"{home}/api/kernels?token=t"
        with suppress(urllib.error.HTTPError):  # 500 while a kernel is being started
            with urllib.request.urlopen(address, timeout=5) as answer:
                return any(kernel["connections"] for kernel in json.load(answer))
        return False

    while not connected() and time.monotonic() < end:
        tab.wait_for_timeout(200)
    tab.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for(timeout=60_000)
    prompt = tab.locator(".jp-CodeCell .jp-InputPrompt").first
    while prompt.inner_text().strip() in ("", "[ ]:") and time.monotonic() < end:
        for button in tab.locator(".jp-Dialog button.jp-mod-accept").all():
            print("JupyterLab asked:", tab.locator(".jp-Dialog").first.inner_text())
            button.click()
        with suppress(TimedOut):  # a dialog came up in between: see above
            tab.locator(".jp-CodeCell .cm-content").first.click(timeout=5_000)
            tab.keyboard.press("Shift+Enter")
            tab.wait_for_timeout(1500)
    return tab.wait_for_selector(shows, timeout=90_000)


@pytest.mark.slow
@needs_browser
def test_explorers_and_the_lab_talk_to_a_kernel_in_jupyterlab(chrome, tmp_path):
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    from test_lab import paused, trained

    metadata = {
        "kernelspec": {
            "name": "python3",
            "display_name": "python3",
            "language": "python",
        }
    }
    cell = {
        "cell_type": "code",
        "metadata": {},
        "source": LAB,
        "outputs": [],
        "execution_count": None,
        "id": "one",
    }
    (tmp_path / "x.ipynb").write_text(
        json.dumps(
            {"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        )
    )
    with jupyterlab(tmp_path) as home:
        context = chrome.new_context(viewport={"width": 1200, "height": 1000})
        tab = context.new_page()
        tab.goto(f"{home}/lab/tree/x.ipynb?token=t")
        tab.wait_for_selector(".jp-Notebook .jp-CodeCell .cm-content", timeout=60_000)
        run_first_cell(tab, home, ".vae-idea td.number")
        tab.get_by_label("μ of q").focus()
        tab.keyboard.press(
            "ArrowRight"
        )  # JupyterLab would take it, if it were not told otherwise
        tab.wait_for_function(
            "document.querySelectorAll('.vae-idea output')[1].textContent === '0.50'",
            timeout=10_000,
        )  # the kernel has answered
        seen = json.loads((tmp_path / "seen.json").read_text())
        assert seen["mu"] == 0.05 and number(tab, "+ gap") == pytest.approx(
            elbo_parts(0.05, 0.5, TWO)["gap"], abs=0.006
        )
        assert tab.locator(".vae-idea:not(.vae-lab)").count() == 3
        slider = tab.locator(".vae-explorer input[type=range]").first
        slider.focus()
        tab.keyboard.press("ArrowRight")
        tab.wait_for_selector(
            ".vae-explorer[data-decodes]", timeout=20_000
        )  # the kernel has sent the weights
        tab.get_by_role("button", name="Train a VAE here").click()
        trained(tab, 3)
        paused(tab)
        for _ in range(100):  # the page has sent them back
            if (tmp_path / "shape.txt").exists():
                break
            tab.wait_for_timeout(100)
        assert (tmp_path / "shape.txt").read_text() == "(2, 1, 28, 28)"
        context.close()


@pytest.mark.slow
def test_nasty_names_of_categories_and_scenes_are_drawn():
    for name in NASTY:
        widget = TemperatureExplorer(n=8, names=[name, "B", "C"])
        assert widget.poster.startswith("data:image/png") and widget.names[0] == name
    assert (
        ElboExplorer(
            scenes={name: [[0.5, 1.2, 0.7]] for name in NASTY}, scene="__proto__"
        ).parts()["kl"]
        == 0
    )
