"The lab, which trains a VAE in the page: that it learns as PyTorch does, and that a reader can use it. One page of a real Chromium serves all networks."

import base64
import math
from contextlib import contextmanager

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from book import vendor
from book.browser import MISSING, chromium
from book.project import BUILD
from vae_nb.data import load
from vae_nb.explore import Lab
from vae_nb.explore.lab import _digits, _images, _worker
from vae_nb.explore.widgets import ASSETS, asset
from vae_nb.networks import ACTIVATIONS
from vae_nb.vae import mlp_vae

pytestmark = pytest.mark.skipif(not chromium(), reason=MISSING)
SHAPE, LATENTS, BATCH, STEPS = (1, 5, 7), 3, 7, 100  # of odd sizes
BUGS = (
    "none autoencoder kl_averaged recon_averaged exp_logvar no_noise shared_noise"
).split()
SIGMAS = {"bernoulli": None, "fixed": 0.4, "learned": "learned"}
RATE = 3e-3


@pytest.fixture(scope="module")
def page(chrome):
    "A page that holds the engine and nothing else."
    tab = chrome.new_page()
    kernels = base64.b64encode((ASSETS / "training.wasm").read_bytes()).decode()
    engine = f'const TRAINING = "{kernels}";\n' + asset("weights.js", "trainer.js")
    tab.set_content(f"<script>{engine}</script>")
    yield tab
    tab.close()


# From given weights, batches and noise: the terms of every step, the first gradients, the weights after some steps, and both networks' answers.
TRAIN = """async ([options, weights, images, noise, settings, seen]) => {
    const { instance } = await WebAssembly.instantiate(bytesOf(TRAINING)), vae = makeVae(instance.exports, options);
    vae.parameters().forEach((values, i) => values.set(weights[i]));
    const copy = (which) => vae.parameters(which).map((values) => [...values]), terms = [], after = [];
    vae.gradient(images[0], noise[0], settings);
    const gradients = copy("gradient");
    images.forEach((x, i) => {
        const { loss, recon, kl } = vae.step(x, noise[i], settings);
        terms.push([loss, recon, kl]);
        if (seen.includes(i + 1)) after.push(copy("weight"));
    });
    const { mu, logvar } = vae.encode(images[0]);
    return { terms, gradients, after, mu: [...mu], logvar: [...logvar], decoded: [...vae.decode(mu)] } }"""


def made(activation="silu", sigma=None, hidden=(9,), dtype=torch.float64):
    "A model of the library with a likelihood that the lab knows."
    torch.manual_seed(0)
    likelihood = "bernoulli" if sigma is None else "normal"
    return mlp_vae(
        SHAPE, LATENTS, hidden, likelihood, sigma=sigma, activation=activation
    ).to(dtype)


def data(steps, batch=BATCH):
    "Batches of images and their noise, the same for both."
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(steps, batch, *SHAPE, generator=generator)
    return x, torch.randn(steps, batch, LATENTS, generator=generator)


def wrong(model, x, noise, bug, beta):
    "The objective as the bug has it, written with torch.distributions; then recon and KL, in nats per image."
    mu, logvar = model.encoder(x).chunk(2, -1)
    sigma = logvar.exp() if bug == "exp_logvar" else (logvar / 2).exp()
    if bug == "shared_noise":
        noise = noise[:1]
    z = mu if bug in ("no_noise", "autoencoder") else mu + sigma * noise
    out = model.decoder(z)
    if hasattr(model.likelihood, "log_sigma"):
        pixels = Normal(out.sigmoid(), model.likelihood.log_sigma.exp())
    else:
        pixels = Bernoulli(logits=out, validate_args=False)
    recon = -Independent(pixels, 3).log_prob(x)
    kl = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    counted = recon / math.prod(SHAPE) if bug == "recon_averaged" else recon
    cost = kl.mean(-1) if bug == "kl_averaged" else kl.sum(-1)
    loss = counted + (0 if bug == "autoencoder" else beta) * cost
    return loss.mean(), recon.mean(), kl.sum(-1).mean()


def in_torch(model, x, noise, bug, beta, seen):
    "What PyTorch makes of the same, with its own Adam and in double precision."
    x, noise = x.double(), noise.double()
    learned = [p for p in model.parameters() if p.requires_grad]
    order = sorted(learned, key=lambda p: p.shape == (1, 1, 1))  # σ comes last
    adam = torch.optim.Adam(order, lr=RATE)
    terms, after, first = [], [], None
    for i in range(len(x)):
        adam.zero_grad()
        loss, recon, kl = wrong(model, x[i], noise[i], bug, beta)
        loss.backward()
        first = first or [
            torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in order
        ]
        adam.step()
        terms.append([loss.item(), recon.item(), kl.item()])
        if i + 1 in seen:
            after.append([p.detach().clone() for p in order])
    return terms, first, after


def in_page(page, model, x, noise, bug, beta, seen, activation, sigma, hidden=(9,)):
    "What the engine makes of it. It stores noise by latent."
    options = {
        "pixels": math.prod(SHAPE),
        "latents": LATENTS,
        "hidden": list(hidden),
        "activation": activation,
        "likelihood": "bernoulli" if sigma is None else "normal",
        "batch": x.shape[1],
    } | ({} if sigma is None else {"sigma": sigma})
    learned = [p for p in model.parameters() if p.requires_grad]
    order = sorted(learned, key=lambda p: p.shape == (1, 1, 1))
    return page.evaluate(
        TRAIN,
        [
            options,
            [p.detach().flatten().tolist() for p in order],
            x.flatten(1).tolist(),
            noise.transpose(1, 2).flatten(1).tolist(),
            {"rate": RATE, "beta": beta, "bug": bug},
            seen,
        ],
    )


def distance(found, truth):
    "How far numbers are from the truth, as a share of the truth's length."
    truth = truth.double().flatten()
    off = (torch.tensor(found, dtype=torch.float64) - truth).norm()
    return (off / truth.norm().clamp(min=1e-3)).item()


def both(page, bug="none", activation="silu", sigma=None, beta=1.3, hidden=(9,)):
    x, noise = data(STEPS)
    seen = [1, 10, STEPS]
    model = made(activation, sigma, hidden)
    settings = bug, beta, seen
    there = in_page(page, model, x, noise, *settings, activation, sigma, hidden)
    return there, in_torch(model, x, noise, *settings), model


CASES = [("none", SIGMAS[name]) for name in SIGMAS]
CASES += [
    pytest.param(bug, ("learned", None)[i % 2], marks=pytest.mark.slow)
    for i, bug in enumerate(BUGS[1:])
]


@pytest.mark.parametrize("bug, sigma", CASES)
def test_loss_gradients_and_weights_are_pytorchs(page, bug, sigma):
    there, (terms, gradients, after), model = both(page, bug, sigma=sigma)
    assert distance(there["terms"][0], torch.tensor(terms[0])) < 1e-5
    assert torch.allclose(torch.tensor(there["terms"]), torch.tensor(terms), rtol=1e-3)
    for found, truth in zip(there["gradients"], gradients, strict=True):
        assert distance(found, truth) < 1e-5
    for limit, found, truth in zip((1e-5, 1e-4, 1e-3), there["after"], after):
        for ours, theirs in zip(found, truth, strict=True):
            assert distance(ours, theirs) < limit


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_learns_as_in_pytorch(page, activation):
    there, (terms, gradients, after), model = both(page, activation=activation)
    assert torch.allclose(torch.tensor(there["terms"]), torch.tensor(terms), rtol=1e-3)
    for found, truth in zip(there["gradients"], gradients, strict=True):
        assert distance(found, truth) < 1e-5
    for found, truth in zip(there["after"][-1], after[-1], strict=True):
        assert distance(found, truth) < 1e-3


def test_deeper_networks_encode_and_decode_as_in_pytorch(page):
    there, (_, _, after), model = both(page, hidden=(12, 6))
    for found, truth in zip(there["after"][-1], after[-1], strict=True):
        assert distance(found, truth) < 1e-3
    x = data(1)[0][0].double()
    with torch.no_grad():
        mu, logvar = model.encoder(x).chunk(2, -1)
        means = model.decode(mu).mean
    assert (
        distance(there["mu"], mu.T) < 1e-3
        and distance(there["logvar"], logvar.T) < 1e-3
    )
    assert distance(there["decoded"], means) < 1e-3


@pytest.mark.parametrize("batch", [1, 2, 4, 5, 8, 64])
def test_batches_of_any_size(page, batch):
    x, noise = data(3, batch)
    model = made()
    there = in_page(page, model, x, noise, "none", 1.0, [3], "silu", None)
    _, gradients, after = in_torch(model, x, noise, "none", 1.0, [3])
    for found, truth in zip(there["gradients"], gradients, strict=True):
        assert distance(found, truth) < 1e-5
    for found, truth in zip(there["after"][0], after[0], strict=True):
        assert distance(found, truth) < 1e-5


# Central differences along random directions: the page's loss at both ends, its gradient in the middle.
DIFFERENCES = """async ([options, images, noise, settings, h]) => {
    const { instance } = await WebAssembly.instantiate(bytesOf(TRAINING)), vae = makeVae(instance.exports, options), random = makeRandom(3);
    startVae(vae, random, Array(options.pixels).fill(0.4));
    vae.gradient(images, noise, settings);
    const slopes = vae.parameters("gradient").map((values) => [...values]), starts = vae.parameters().map((values) => [...values]);
    return slopes.map((slope, i) => {
        const way = slope.map(() => random.normal()), at = (t) => {
            vae.parameters()[i].set(starts[i].map((value, j) => value + t * way[j]));
            const { loss } = vae.loss(images, noise, settings);
            vae.parameters()[i].set(starts[i]);
            return loss };
        return [(at(h) - at(-h)) / (2 * h), slope.reduce((sum, value, j) => sum + value * way[j], 0)] }) }"""


@pytest.mark.parametrize("bug", BUGS)
def test_gradients_are_finite_differences(page, bug):
    x, noise = data(1)
    options = {
        "pixels": math.prod(SHAPE),
        "latents": LATENTS,
        "hidden": [9],
        "activation": "tanh",
        "likelihood": "normal",
        "sigma": "learned",
        "batch": BATCH,
    }
    images, noise = x[0].flatten().tolist(), noise[0].T.flatten().tolist()
    settings = {"beta": 2.0, "bug": bug}
    pairs = page.evaluate(DIFFERENCES, [options, images, noise, settings, 1e-2])
    assert len(pairs) == 9
    for difference, slope in pairs:
        assert difference == pytest.approx(slope, rel=0.02, abs=2e-3)


PARTS = """async (options) => { const { instance } = await WebAssembly.instantiate(bytesOf(TRAINING));
    return makeVae(instance.exports, options).parameters().map((values) => values.length) }"""


@pytest.mark.parametrize(
    "likelihood, sigma", [("bernoulli", 1), ("normal", 1), ("normal", "learned")]
)
def test_the_page_learns_what_the_library_learns(page, likelihood, sigma):
    options = {"pixels": 35, "latents": LATENTS, "hidden": [9], "activation": "silu"}
    options |= {
        "likelihood": likelihood,
        "sigma": "learned" if sigma != 1 or likelihood == "bernoulli" else 1,
        "batch": 4,
    }
    model = made(sigma=None if likelihood == "bernoulli" else sigma)
    sizes = [p.numel() for p in model.parameters() if p.requires_grad]
    assert sorted(page.evaluate(PARTS, options)) == sorted(sizes)


CHANCE = "(seed) => { const random = makeRandom(seed); return Array.from({ length: 20000 }, () => random.normal()) }"


def test_the_same_seed_is_the_same_chance(page):
    first, again, other = (page.evaluate(CHANCE, seed) for seed in (0, 0, 1))
    assert first == again and first != other
    draws = torch.tensor([first, other], dtype=torch.float64)
    assert draws.mean(1).abs().max() < 0.03 and (draws.std(1) - 1).abs().max() < 0.03
    assert abs(torch.corrcoef(draws)[0, 1]) < 0.03
    assert (draws.abs() > 1.96).double().mean() == pytest.approx(0.05, abs=0.005)


# --- the page ---

GOOD = 172  # nats: a held-out −ELBO that only a map with several digits reaches


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    "The lab in one file."
    return Lab().to_html(tmp_path_factory.mktemp("lab") / "lab.html").as_uri()


@contextmanager
def opened(chrome, address, start=True, init="", **context):
    "A tab with the lab, in which it has been started; what it logs as errors must be looked at by the test."
    inside = chrome.new_context(**context)
    tab = inside.new_page()
    tab.errors, tab.asked = [], []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.on("request", lambda request: tab.asked.append(request.url))
    if init:
        tab.add_init_script(init)
    tab.goto(address)
    tab.wait_for_selector(".vae-lab")
    if start:
        tab.get_by_role("button", name="Train a VAE here").click()
        trained(tab, 1)
    yield tab
    inside.close()


def trained(tab, steps, patience=120_000):
    "Wait until so many steps are shown."
    tab.wait_for_function(
        "steps => Number(document.querySelector('.vae-lab').dataset.step) >= steps",
        arg=steps,
        timeout=patience,
    )


def held_out(tab):
    "The −ELBO of the held-out images as the table shows it."
    return float(tab.locator("tr.sum td").nth(1).inner_text())


def paused(tab):
    tab.get_by_role("button", name="Pause").click()
    tab.wait_for_selector(".vae-lab[data-running=false]")
    tab.wait_for_timeout(300)  # the last picture


def message(tab):
    tab.wait_for_function("document.querySelector('.message').textContent")
    return tab.locator(".message").inner_text()


SAID = (
    "[...document.querySelectorAll('[role=status]')].map((e) => e.textContent).join('')"
)


def test_one_click_sorts_digits_and_asks_nobody(chrome, address):
    with opened(chrome, address, start=False, offline=True) as tab:
        assert tab.locator("img").is_visible() and tab.locator("canvas").count() == 0
        tab.get_by_role("button").click()
        trained(tab, 1)
        tab.wait_for_function(
            f"Number(document.querySelectorAll('tr.sum td')[1].textContent) < {GOOD}",
            timeout=120_000,
        )
        assert tab.evaluate(SAID) == "", "nothing is announced while it trains"
        paused(tab)
        recon, kl = (
            float(tab.locator("tbody tr").nth(row).locator("td").nth(1).inner_text())
            for row in (0, 1)
        )
        assert recon + kl == pytest.approx(held_out(tab), abs=0.11) and kl > 1
        assert "z[0]" in tab.locator(".latents").inner_text()
        colours = tab.evaluate(
            "() => { const c = document.querySelector('.drawn'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            " const seen = new Set(); for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) seen.add(`${d[i]},${d[i + 1]},${d[i + 2]}`); return [...seen] }"
        )
        assert "1,115,178" in colours and "86,180,233" in colours, "zeros and nines"
        tab.wait_for_function(
            "[...document.querySelectorAll('[role=status]')].some(e => e.textContent.startsWith('Paused at step'))"
        )
        assert tab.errors == []
        assert not [
            u for u in tab.asked if not u.startswith(("file:", "blob:", "data:"))
        ]


def test_the_same_seed_is_the_same_run(chrome, address):
    with opened(chrome, address) as tab:
        paused(tab)
        runs = []
        for _ in range(2):
            tab.get_by_role("button", name="Reset").click()
            tab.wait_for_selector(".vae-lab[data-step='0']")
            for step in (1, 2, 3):
                tab.get_by_role("button", name="One step").click()
                tab.wait_for_selector(f".vae-lab[data-step='{step}']")
            runs.append(tab.locator("table").inner_text())
        assert runs[0] == runs[1] and "same run" in message(tab)


def test_a_learning_rate_that_overflows_is_told_and_mended(chrome, address):
    with opened(chrome, address) as tab:
        rate = tab.get_by_role("slider", name="learning rate")
        rate.fill("0.5")
        tab.wait_for_function(
            "document.querySelector('.message').textContent.includes('no longer a number')",
            timeout=120_000,
        )
        assert "learning rate of 3.2" in message(tab)
        rate.fill("-2.7")
        tab.get_by_role("button", name="Reset").click()
        tab.wait_for_selector(".vae-lab[data-step='0']")
        tab.get_by_role("button", name="Train").click()
        trained(tab, 3)
        assert math.isfinite(held_out(tab)) and tab.errors == []


def test_it_stops_when_nobody_looks(chrome, address):
    hide = (
        "Object.defineProperty(document, 'hidden', { get: () => window.away ?? false })"
    )
    with opened(chrome, address, init=hide) as tab:
        tab.evaluate(
            "window.away = true; document.dispatchEvent(new Event('visibilitychange'))"
        )
        assert "while the page was hidden" in message(tab)
        step = tab.locator(".vae-lab").get_attribute("data-step")
        tab.evaluate("window.away = false")
        tab.get_by_role("button", name="Train").click()
        trained(tab, int(step) + 1)
        later = "const plain = Date.now; Date.now = () => plain() + 181_000"
        tab.evaluate(later)
        tab.wait_for_function(
            "document.querySelector('.message').textContent.includes('three minutes')"
        )
        tab.wait_for_selector(".vae-lab[data-running=false]")


def test_a_new_network_starts_again_and_settings_reach_the_page(chrome, address):
    with opened(chrome, address) as tab:
        tab.get_by_text("More settings").click()
        tab.get_by_role("combobox", name="latents").select_option("5")
        assert "starts again" in message(tab)
        tab.wait_for_function(
            "document.querySelector('.latents').textContent.includes('z[4]')"
        )
        assert "two most used latents" in tab.locator("figcaption").nth(1).inner_text()
        tab.get_by_role("combobox", name="bug").select_option("autoencoder")
        assert "leave the circles" in tab.locator(".watch").inner_text()
        tab.wait_for_function(
            "document.querySelectorAll('tr.sum td')[1].textContent === '–'"
        )
        tab.get_by_role("combobox", name="data").select_option("pinwheel")
        tab.wait_for_function(
            "document.querySelector('.latents').textContent.includes('σ of the likelihood')"
        )
        assert not tab.locator(".tiles").first.is_visible() and tab.errors == []


def test_a_drawing_is_encoded_while_it_is_drawn(chrome, address):
    with opened(chrome, address) as tab:
        tab.get_by_text("Draw your own digit").click()
        box = tab.locator(".drawing").bounding_box()
        tab.mouse.move(box["x"] + 70, box["y"] + 20)
        tab.mouse.down()
        tab.mouse.move(box["x"] + 70, box["y"] + 120, steps=5)
        tab.mouse.up()
        tab.wait_for_function("document.body.textContent.includes('q(z|x): z[0]')")
        paused(tab)
        first = tab.get_by_text("q(z|x): z[0]").inner_text()
        tab.get_by_role("button", name="Take a held-out image").click()
        tab.wait_for_function(
            "first => ![...document.querySelectorAll('p')].some(p => p.textContent === first)",
            arg=first,
        )
        tab.get_by_role("button", name="Clear").click()
        tab.wait_for_function("!document.body.textContent.includes('q(z|x): z[0]')")
        assert tab.errors == []


@pytest.mark.parametrize(
    "change, says",
    [
        ({"version": 99}, "another version of vae_nb: its settings have version 99"),
        ({"bug": "typo"}, 'bug is "typo"'),
        ({"latents": 0}, "latents is 0"),
        ({"beta": None}, "not a number: beta is null"),
    ],
)
def test_saved_settings_that_do_not_fit_are_told(chrome, tmp_path, change, says):
    lab = Lab()
    lab.settings = lab.settings | change
    page = lab.to_html(tmp_path / "lab.html").as_uri()
    with opened(chrome, page, start=False) as tab:
        tab.get_by_role("button").click()
        tab.wait_for_function(
            "document.querySelector('.message').textContent.length > 20"
        )
        assert says in message(tab) and tab.locator("img").is_visible()


def test_damaged_data_are_told(chrome, tmp_path):
    lab = Lab()
    page = lab.to_html(tmp_path / "lab.html", beside=True)
    file = tmp_path / f"assets/explorers/{lab.data['key']}.js"
    file.write_text(file.read_text().replace("A", "B", 1000))
    with opened(chrome, page.as_uri(), start=False) as tab:
        tab.get_by_role("button").click()
        tab.wait_for_function(
            "document.querySelector('.message').textContent.length > 20"
        )
        assert "damaged" in message(tab)


HASTY = "const plain = setTimeout; window.setTimeout = (act, ms) => plain(act, ms / 100); vaeNbWeights = undefined"


def test_a_notebook_whose_kernel_has_gone_says_so(chrome, address):
    with opened(chrome, address, start=False) as tab:
        tab.evaluate(HASTY)  # nothing in the page, so the kernel is asked
        tab.get_by_role("button").click()
        tab.wait_for_function(
            "document.querySelector('.message').textContent.length > 20"
        )
        assert "kernel" in message(tab) and "Run its cell again" in message(tab)
        assert tab.locator("img").is_visible() and tab.errors == []


def test_a_page_without_a_kernel_loads_the_lab_when_its_button_is_pressed(
    chrome, tmp_path
):
    lab = Lab()
    page = lab.to_html(tmp_path / "lab.html", beside=True)
    assert page.stat().st_size < 30_000, "before a touch"
    assert (
        sum(f.stat().st_size for f in (tmp_path / "assets/explorers").iterdir())
        < 150_000
    )
    with opened(chrome, page.as_uri(), start=False) as tab:
        tab.wait_for_timeout(100)
        assert not [url for url in tab.asked if "assets" in url]
        tab.get_by_role("button").click()
        trained(tab, 1)
        assert (
            len([url for url in tab.asked if "assets" in url]) == 2 and tab.errors == []
        )


MAP_BOTTOM = "document.querySelector('.drawn').getBoundingClientRect().bottom"
PICTURES = """(ms) => new Promise((done) => { let n = 0; new MutationObserver(() => n++).observe(document.querySelector(".vae-lab"), { attributeFilter: ["data-step"] });
    setTimeout(() => done(n), ms) })"""


def test_phones_and_keyboards(chrome, address):
    phone = {
        "viewport": {"width": 390, "height": 844},
        "is_mobile": True,
        "has_touch": True,
    }
    still = {"start": False, "reduced_motion": "reduce"}
    with opened(chrome, address, **still, **phone) as tab:
        tab.add_style_tag(content="body { padding-top: 700px }")
        tab.get_by_role("button").click()
        trained(tab, 1)
        assert tab.evaluate(MAP_BOTTOM) <= 844, "the map is in view"
        assert tab.evaluate(PICTURES, 1200) <= 2, (
            "few pictures, where motion is unwanted"
        )
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.evaluate("document.activeElement.textContent") == "Pause"
        tab.keyboard.press("Enter")
        tab.wait_for_selector(".vae-lab[data-running=false]")
        tab.get_by_role("slider", name="β").focus()
        tab.keyboard.press("ArrowRight")
        assert (
            tab.get_by_role("slider", name="β")
            .get_attribute("aria-valuetext")
            .startswith("1.1")
        )


AXE = "async () => (await axe.run('.vae-lab')).violations.map(v => `${v.impact}: ${v.id}: ${v.nodes.map(n => n.html.slice(0, 120)).join(' | ')}`)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_lab(chrome, address, scheme):
    try:
        code = vendor.package("axe-core", BUILD / "vendor") / "axe.min.js"
    except SystemExit as error:
        pytest.skip(str(error).splitlines()[0])
    with opened(chrome, address, color_scheme=scheme) as tab:
        paused(tab)
        tab.evaluate(
            "document.querySelectorAll('details').forEach(d => (d.open = true))"
        )
        tab.add_script_tag(content=code.read_text())
        assert tab.evaluate(AXE) == []


JUDGE = "(seen) => judgeThreshold(new Map(seen))"


def test_the_exercises_are_judged(page, chrome, address):
    page.add_script_tag(content=asset("ideas.js", "lab_exercises.js"))
    judged = lambda *seen: page.evaluate(JUDGE, list(seen))
    assert "Train for" in judged() and "Raise" in judged([1, 2])
    assert "Lower" in judged([50, 0]) and "lies between" in judged([1, 2], [50, 0])
    assert judged([10, 2], [12, 1]).startswith("Right") and "starts" in judged(
        [10, 1], [12, 2]
    )
    collapse = lambda kl, step: page.evaluate(
        "(state) => judgeCollapse(state)", {"kl": kl, "step": step}
    )
    assert "first" in collapse([0, 0], 10) and collapse([0.01, 0], 900).startswith(
        "Right"
    )
    assert "3.00 nats" in collapse([2, 1], 900)
    with opened(chrome, address) as tab:
        tab.get_by_text("Exercises").click()
        tab.get_by_role("button", name="It is this one").click()
        assert "first" in tab.locator(".verdict").nth(2).inner_text()
        tab.get_by_role("button", name="Hide a bug").click()
        assert tab.get_by_role("combobox", name="bug", exact=True).is_disabled()
        assert (
            tab.get_by_role("combobox", name="bug", exact=True).input_value() == "none"
        )
        tab.get_by_role("button", name="It is this one").click()
        assert "400 steps" in tab.locator(".verdict").nth(2).inner_text()


# --- data, and the kernel's side ---

UNPACK = """async (packed) => { const stream = new Blob([bytesOf(packed)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const { pixels, labels, n, shape } = unpackImages(new Uint8Array(await new Response(stream).arrayBuffer()));
    let text = ""; for (const byte of pixels) text += String.fromCharCode(byte);
    return { pixels: btoa(text), labels: [...labels], n, shape } }"""


def unpacked(page, packed):
    found = page.evaluate(UNPACK, base64.b64encode(packed).decode())
    raw = bytearray(base64.b64decode(found["pixels"]))
    pixels = torch.frombuffer(raw, dtype=torch.uint8).reshape(-1, 1, *found["shape"])
    return pixels, found["labels"]


def test_the_page_unpacks_the_embedded_digits_and_others(page):
    page.add_script_tag(content=asset("lab_worker.js"))
    assert len(_digits()) * 4 / 3 < 100_000
    parts = [load("digits", split=split) for split in ("train", "valid", "test")]
    pixels, labels = unpacked(page, _digits())
    truth = torch.cat([part.pixels for part in parts])
    assert (pixels.int() - truth.int()).abs().max() <= 1
    assert (pixels != truth).double().mean() < 1e-3
    assert labels == torch.cat([part.labels for part in parts]).tolist()
    pixels, labels = unpacked(page, _images(parts[0][:7]))
    assert (
        torch.equal(pixels, parts[0].pixels[:7])
        and labels == parts[0].labels[:7].tolist()
    )
    one = torch.rand(1, 1, 3, 5)
    assert torch.equal(unpacked(page, _images(one))[0], (one * 255).round().byte())


def test_one_image_is_trained_on(chrome, tmp_path):
    page = Lab(torch.rand(1, 1, 8, 6)).to_html(tmp_path / "lab.html").as_uri()
    with opened(chrome, page) as tab:
        trained(tab, 20)
        assert "training images" in tab.get_by_text("below them").inner_text()
        assert tab.errors == []


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: Lab(torch.zeros(5, 3, 16, 16)), "one channel and at most 32×32"),
        (lambda: Lab(torch.zeros(5, 1, 40, 16)), r"of shape \(1, 40, 16\)"),
        (lambda: Lab(torch.zeros(0, 1, 8, 8)), "no images"),
        (lambda: Lab(torch.full((5, 1, 8, 8), 3.0)), "values from 3 to 3"),
        (lambda: Lab(torch.zeros(20_001, 1, 2, 2)), "at most 20,000"),
        (lambda: Lab("digit"), "'digits'"),
        (lambda: Lab(bug="typo"), "bug must be one of"),
        (lambda: Lab(beta=-1), "beta must be a finite number"),
        (lambda: Lab(latent_dim=0), "latent_dim must be made of positive integers"),
        (lambda: Lab(latent_dim=1), "at least 2"),
        (lambda: Lab().model(), "press Train"),
    ],
)
def test_bad_input_is_refused_in_words(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_the_kernel_gets_what_the_page_has_trained(page):
    lab = Lab(latent_dim=LATENTS, hidden=9)
    source = made(dtype=torch.float32)
    buffers = [memoryview(p.detach().numpy().tobytes()) for p in source.parameters()]
    lab._answer(None, {"trained": lab.settings | {"shape": list(SHAPE[1:])}}, buffers)
    z = torch.randn(4, LATENTS)
    assert torch.equal(lab.model().decode(z).mean, source.decode(z).mean)
    sent = []
    lab.send = lambda content, parts: sent.append((content, parts))
    lab._answer(None, {"want": lab.data["key"]}, [])
    assert sent == [({"weights": lab.data["key"]}, [_digits()])]


HASTY_START = """async ([text, packed, settings]) => {
    const raw = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
    const pack = new Uint8Array(await new Response(stream).arrayBuffer());
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    const worker = new Worker(url), got = [];
    worker.onmessage = ({ data }) => got.push(data.failed ?? data.state?.running);
    worker.postMessage({ pack, reset: settings, run: true });
    worker.postMessage({ pause: true });
    await new Promise((done) => setTimeout(done, 2000));
    worker.terminate();
    return got; }"""


def test_a_button_pressed_before_the_kernels_are_there_counts(chrome, address):
    packed = base64.b64encode(_digits()).decode()
    with opened(chrome, address, start=False) as tab:
        got = tab.evaluate(HASTY_START, [_worker(), packed, Lab().settings])
        assert got[-1] is False and not any(isinstance(g, str) for g in got)


def test_no_reader_sees_nan(chrome, address):
    with opened(chrome, address) as tab:
        paused(tab)
        tab.get_by_role("slider", name="learning rate").fill("0.5")
        tab.get_by_role("button", name="Reset").click()
        tab.wait_for_selector(".vae-lab[data-step='0']")
        for _ in range(4):
            tab.get_by_role("button", name="One step").click()
            tab.wait_for_timeout(300)
        assert "no longer a number" in message(tab)
        text = tab.locator(".vae-lab").inner_text()
        assert "NaN" not in text and "Infinity" not in text


def test_a_picture_taken_at_rest_leaves_the_training_column(chrome, address):
    with opened(chrome, address) as tab:
        trained(tab, 30)
        paused(tab)
        tab.get_by_text("Draw your own digit").click()
        cell = tab.locator("tbody tr").nth(0).locator("td").first
        before = cell.inner_text()
        tab.get_by_role("button", name="Take a held-out image").click()
        tab.wait_for_function("document.body.textContent.includes('q(z|x): z[0]')")
        assert cell.inner_text() == before != "–"


def test_the_map_follows_the_theme_at_rest(chrome, address):
    with opened(chrome, address, color_scheme="light") as tab:
        paused(tab)
        picture = "document.querySelector('.drawn').toDataURL()"
        before = tab.evaluate(picture)
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_timeout(300)
        assert tab.evaluate(picture) != before
