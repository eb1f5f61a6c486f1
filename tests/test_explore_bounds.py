"The explorers of the bound with k samples and of priors: their numbers, and their pages in a real browser."

import json
import math

import pytest
import torch
import traitlets

from book.browser import MISSING, chromium
from vae_nb.core import evaluating
from vae_nb.data import load
from vae_nb.elbo import log_weights
from vae_nb.evaluate import encode_all
from vae_nb.explore import SCENES, BoundExplorer, PriorExplorer, elbo_parts
from vae_nb.explore.bounds import bound_parts, draw_parts, log_weight
from vae_nb.explore.priors import SHARES, prior_draws, prior_shapes
from vae_nb.priors import mixture_prior
from vae_nb.vae import mlp_vae

needs_browser = pytest.mark.skipif(not chromium(), reason=MISSING)
TWO = SCENES["two codes explain x"]


# --- the bound ---


@pytest.mark.parametrize("bumps", SCENES.values(), ids=SCENES)
@pytest.mark.parametrize(("mu", "sigma"), [(0, 1), (-1.1, 0.29), (1.5, 1.6)])
def test_the_bound_is_the_elbo_at_one_and_rises_to_log_px(bumps, mu, sigma):
    elbo = elbo_parts(mu, sigma, bumps)
    found = [bound_parts(mu, sigma, bumps, k) for k in (1, 2, 4, 16, 64, 128)]
    bounds = [parts["bound"] for parts in found]
    assert bounds[0] == pytest.approx(elbo["elbo"], abs=1e-4)
    assert bounds == sorted(bounds) and all(parts["gap"] > -1e-6 for parts in found)
    assert found[0]["log_px"] == pytest.approx(elbo["log_px"])


@pytest.mark.parametrize(("mu", "sigma", "k"), [(0.3, 0.8, 4), (1.0, 1.4, 32)])
def test_bound_and_spread_are_what_simulation_finds(mu, sigma, k):
    generator = torch.Generator().manual_seed(k)
    noise = torch.randn(20_000, k, generator=generator, dtype=torch.float64)
    draws = log_weight(noise, mu, sigma, TWO).logsumexp(1) - math.log(k)
    exact, error = bound_parts(mu, sigma, TWO, k), draws.std() / len(draws) ** 0.5
    assert abs(draws.mean() - exact["bound"]) < 4.5 * error
    assert draws.std().item() == pytest.approx(exact["spread"], rel=0.05)


def test_the_weights_are_those_of_the_library():
    "The same model, written with the library's parts."
    from torch.distributions import Normal

    from vae_nb.explore.ideas import log_likelihood

    class OnALine:
        prior = Normal(torch.tensor(0.0).double(), 1.0)

        def decode(self, z):
            return type("P", (), {"log_prob": lambda _, x: log_likelihood(z, TWO)})()

    q = Normal(torch.tensor([0.4]).double(), 0.7)
    torch.manual_seed(0)
    theirs = log_weights(OnALine(), None, q, 5)[:, 0]
    torch.manual_seed(0)
    noise = (q.rsample((5,))[:, 0] - 0.4) / 0.7
    torch.testing.assert_close(log_weight(noise, 0.4, 0.7, TWO), theirs)


def test_what_chapter_07_says_of_the_explorer():
    gap = lambda k, mu=0.0, sigma=1.0: bound_parts(mu, sigma, TWO, k)["gap"]
    spread = lambda k: bound_parts(0.0, 1.0, TWO, k)["spread"]
    assert [round(gap(k), 2) for k in (1, 8, 64)] == [1.36, 0.10, 0.01]
    assert gap(128) / gap(64) == pytest.approx(1 / 2, rel=0.03)
    assert spread(128) / spread(64) == pytest.approx(2**-0.5, rel=0.03)
    narrow = [gap(k, -1.1, 0.3) for k in (1, 2, 128)]
    assert narrow[0] < gap(1) - 0.7 and narrow[0] - narrow[2] < 0.01
    assert gap(2) < narrow[1], "from two samples on the wide q has the higher bound"


def test_shares_sum_to_one_and_equal_weights_all_count():
    parts = draw_parts(0.0, 1.0, TWO, [0.7] * 5)
    assert parts["shares"] == pytest.approx([0.2] * 5)
    assert parts["effective"] == pytest.approx(5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"k": 0}, "'k' trait .* not be less than 1"),
        ({"k": 129}, "'k' trait .* not be greater than 128"),
        ({"noise": []}, "noise"),
        ({"sigma": 0}, "sigma must be above 0"),
    ],
)
def test_a_bound_explorer_refuses_what_has_no_meaning(wrong, said):
    with pytest.raises((ValueError, traitlets.TraitError), match=said):
        BoundExplorer(**wrong)


PARTS = """async ([text, cases]) => {
    const page = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    return cases.map(([mu, sigma, bumps, k, noise]) => ({ ...page.boundParts(mu, sigma, bumps, k), ...page.drawParts(mu, sigma, bumps, noise) })); }"""


@needs_browser
def test_the_page_computes_the_bound_that_python_computes(chrome):
    cases = [
        [mu, sigma, bumps, k, [0.3, -1.2, 2.0][: min(k, 3)]]
        for bumps in SCENES.values()
        for mu, sigma in ((0, 1), (-2.5, 0.15), (2.5, 1.6))
        for k in (1, 7, 128)
    ]
    tab = chrome.new_page()
    there = tab.evaluate(PARTS, [BoundExplorer._esm, cases])
    tab.close()
    for (*state, k, noise), found in zip(cases, there, strict=True):
        here = bound_parts(*state, k) | draw_parts(*state, noise)
        assert found.keys() == here.keys()
        for name, value in here.items():
            assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name


def opened(chrome, explorer, folder, **options):
    "A tab with the explorer's own file, which asks nobody for anything."
    context = chrome.new_context(**options)
    tab, tab.wrong = context.new_page(), []
    tab.on("pageerror", lambda e: tab.wrong.append(str(e)))
    tab.on(
        "request",
        lambda r: (
            None
            if r.url.startswith(("file:", "data:", "blob:"))
            else tab.wrong.append(r.url)
        ),
    )
    tab.goto(explorer.to_html(folder / "page.html").as_uri())
    tab.wait_for_selector(".vae-idea")
    return tab


def numbers(tab):
    "The table's numbers."
    cells = tab.locator(".vae-idea td.number").all_inner_texts()
    return [float(cell.replace("−", "-")) for cell in cells]


@needs_browser
def test_k_is_moved_by_keys_and_said_aloud_on_a_phone(chrome, tmp_path):
    explorer = BoundExplorer(k=8)
    phone = dict(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    tab = opened(chrome, explorer, tmp_path, color_scheme="dark", **phone)
    tab.wait_for_function("document.querySelector('td.number')?.textContent")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    expected = explorer.parts()
    order = ("bound", "gap", "spread", "estimate", "effective")
    assert numbers(tab) == pytest.approx([expected[n] for n in order], abs=0.051)
    slider = tab.get_by_label("samples k")
    slider.focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function("document.querySelector('output').textContent === '12'")
    explorer.k = 12
    assert numbers(tab)[1] == pytest.approx(explorer.parts()["gap"], abs=6e-4)
    said = slider.get_attribute("aria-valuetext")
    assert said.startswith("12 samples; bound −1.84, gap 0.0")
    before = numbers(tab)[3]
    tab.get_by_role("button", name="Draw again").click()
    tab.wait_for_function(
        f"!document.querySelector('.vae-idea').textContent.includes('{before:.3f}'.replace('-', '−'))"
    )
    assert numbers(tab)[1] == pytest.approx(explorer.parts()["gap"], abs=6e-4)
    assert tab.wrong == []
    tab.context.close()


# --- priors ---


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    mixed = mixture_prior(2, 2)
    with torch.no_grad():
        mixed.mu.copy_(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]))
        mixed.logvar.fill_(-3.0)
    return {
        "N(0, I)": mlp_vae((1, 28, 28), 2, (16,)).eval(),
        "mixture": mlp_vae((1, 28, 28), 2, (16,), prior=mixed).eval(),
    }


@pytest.fixture(scope="module")
def digits():
    return load("digits", n=200)


def test_regions_hold_the_shares_of_the_draws_that_they_promise(models):
    from matplotlib.path import Path

    for model in models.values():
        shapes = prior_shapes(model, prior_draws(model, 4000), 4.0)
        fresh = prior_draws(model, 4000, seed=1).numpy()
        for share, lines in zip(SHARES, shapes, strict=True):
            outlines = [Path(torch.tensor(xy).reshape(-1, 2)) for xy in lines]
            inside = sum(outline.contains_points(fresh) for outline in outlines) > 0
            assert inside.mean() == pytest.approx(share, abs=0.03)
    assert [len(lines) for lines in shapes] == [2, 2, 2], "one for each component"


def test_a_region_that_ends_beyond_the_map_is_closed(models):
    for lines in prior_shapes(models["N(0, I)"], torch.randn(500, 2), 1.0):
        for xy in lines:
            assert xy[:2] == xy[-2:] and max(map(abs, xy)) <= 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (dict, "needs a model"),
        (lambda: {"wide": mlp_vae((1, 28, 28), 5)}, "'wide' has 5 latents"),
        (
            lambda: {"a": mlp_vae((1, 28, 28), 2), "b": mlp_vae((1, 16, 16), 2)},
            "of one shape",
        ),
    ],
)
def test_models_that_fit_on_no_map_are_refused(wrong, said, digits):
    with pytest.raises(ValueError, match=said):
        PriorExplorer(wrong(), digits)


def test_a_prior_explorer_is_small_and_keeps_its_choice(models, digits):
    explorer = PriorExplorer(models, digits, {"mixture": "Two parts."}, chosen=1)
    assert len(json.dumps(explorer.entries)) < 60_000 and len(explorer.poster) < 150_000
    assert explorer.entries[1]["note"] == "Two parts." and "mixture" in explorer.alt
    assert explorer.entries[0]["note"] == ""
    dots = [xy for kind in explorer.entries[0]["points"] for xy in kind["xy"]]
    codes = encode_all(models["N(0, I)"], digits[:1000], seed=0)  # draws, not means
    assert sorted(dots) == pytest.approx(sorted(codes.flatten().tolist()), abs=0.01)
    for name, wrong, said in (("chosen", 2, "from 0 to 1"), ("z", [0.0], "length 2")):
        with pytest.raises(traitlets.TraitError, match=said):
            setattr(explorer, name, wrong)


PIXELS = "(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0))(document.querySelector('canvas'))"


@needs_browser
def test_the_page_switches_draws_and_decodes_as_pytorch_does(
    chrome, models, digits, tmp_path
):
    explorer = PriorExplorer(models, digits, {"mixture": "Two parts."})
    tab = opened(chrome, explorer, tmp_path, viewport={"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    shapes = lambda: tab.locator(".shape").evaluate_all(
        "all => all.map(p => p.outerHTML)"
    )
    plain = shapes()
    assert len(plain) == 3 and tab.locator(".dots").count() == 10
    tab.get_by_label("prior", exact=True).select_option("mixture")
    assert shapes() != plain and tab.get_by_text("Two parts.").first.is_visible()
    tab.locator(".map").focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_selector("[data-decodes]")
    tab.get_by_role("button", name="Draw from the prior").click()
    z = explorer.entries[1]["draws"][0]
    tab.wait_for_function(
        f"document.querySelector('.handle').getAttribute('cx') == {z[0]}"
    )
    tab.wait_for_timeout(150)
    with evaluating(models["mixture"]) as model:
        truth = model.decode(torch.tensor([z])).mean.flatten() * 255
    assert (torch.tensor(tab.evaluate(PIXELS)) - truth).abs().max() <= 1
    assert tab.wrong == []
    tab.context.close()
