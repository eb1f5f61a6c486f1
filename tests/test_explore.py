"The explorers: what is exported, and that a browser makes of it what PyTorch makes. One page of a real Chromium serves all networks."

import base64
import copy
import json
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import traitlets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nasty_names import NASTY
from torch import nn

from book import vendor
from book.browser import MISSING, chromium
from book.project import BUILD
from vae_nb.conv import conv_vae
from vae_nb.core import evaluating
from vae_nb.data import Images, load
from vae_nb.elbo import LinearGaussian
from vae_nb.evaluate import mean_kl_per_dim
from vae_nb.explore import (
    BetaExplorer,
    Interpolator,
    Lab,
    LatentExplorer,
    PriorExplorer,
    ReconstructionExplorer,
    to_onnx,
)
from vae_nb.explore.network import (
    NotInBrowser,
    browser_decoder,
    browser_encoder,
    browser_network,
    half_error,
)
from vae_nb.explore.widgets import asset, engine
from vae_nb.joint import join, joint_vae
from vae_nb.likelihoods import LIKELIHOODS
from vae_nb.networks import ACTIVATIONS
from vae_nb.priors import mixture_prior
from vae_nb.vae import mlp_vae

ROOT = Path(__file__).resolve().parents[1]
needs_browser = pytest.mark.skipif(not chromium(), reason=MISSING)
slow_is_fine = settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

RUN = """async ([network, weights, inputs]) => { const run = await makeNetwork(network, bytesOf(weights));
    return inputs.map((input) => [...run(input)]) }"""


@pytest.fixture(scope="module")
def page(chrome):
    "A page that holds the engine and nothing else."
    tab = chrome.new_page()
    tab.set_content(f"<script>{engine()}</script>")
    yield tab
    tab.close()


def in_browser(page, network, inputs):
    "What the engine makes of inputs, (n, *outputs)."
    weights = base64.b64encode(network.weights).decode()
    out = page.evaluate(RUN, [network.spec, weights, inputs.flatten(1).tolist()])
    return torch.tensor(out).reshape(len(inputs), *network.layers[-1]["shape"])


@st.composite
def models(draw):
    "A model of the library with weights as training might leave them, of odd and even sizes."
    torch.manual_seed(draw(st.integers(0, 10**6)))
    dense = draw(st.booleans())
    side = st.integers(16, 48 if dense else 128)
    shape = draw(st.sampled_from([1, 3])), draw(side), draw(side)
    same = {
        "latent_dim": draw(st.integers(1, 20)),
        "likelihood": draw(st.sampled_from(LIKELIHOODS)),
        "activation": draw(st.sampled_from(list(ACTIVATIONS))),
    }
    hidden = tuple(draw(st.lists(st.integers(4, 90), min_size=1, max_size=2)))
    if dense:
        model = mlp_vae(shape, hidden=hidden, **same)
    else:
        norm = draw(st.sampled_from(["batch", "group", "none"]))
        widths = st.sampled_from([4, 8, 16]) if norm == "group" else st.integers(1, 17)
        model = conv_vae(
            shape,
            channels=tuple(draw(st.lists(widths, min_size=1, max_size=4))),
            hidden=draw(st.sampled_from([(), hidden])),
            norm=norm,
            pool=draw(st.sampled_from(["stride", "max"])),
            upsample=draw(st.sampled_from(["transposed", "nearest"])),
            dropout=draw(st.sampled_from([0.0, 0.2])),
            **same,
        )
    return livened(model)


def livened(model):
    "Nothing is left at its start, where biases are zero and batch norms do nothing."
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        for parameter in (*model.encoder.parameters(), *model.decoder.parameters()):
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.slow
@needs_browser
@settings(slow_is_fine, max_examples=8)
@given(model=models())
def test_browser_decodes_and_encodes_as_pytorch_does(page, model):
    z, x = torch.randn(2, model.latent_dim), torch.rand(2, *model.shape)
    with torch.no_grad():
        means, codes = model.decode(z).mean, model.encoder(x)
    assert (in_browser(page, browser_decoder(model), z) - means).abs().max() < 1e-3
    single = in_browser(page, browser_encoder(model, half=False), x)
    assert (single - codes).abs().max() < 1e-4 * max(1, codes.abs().max())


@needs_browser
def test_the_face_decoder_of_the_book(page):
    torch.manual_seed(0)
    model = conv_vae((3, 64, 64), latent_dim=64, channels=(32, 64, 128, 256)).eval()
    network, z = browser_decoder(model), torch.randn(2, 64)
    with torch.no_grad():
        assert (in_browser(page, network, z) - model.decode(z).mean).abs().max() < 1e-3
    assert len(network.script) < 4e6


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp_vae((1, 16, 16), 2, (8,)),
        lambda: conv_vae((1, 16, 16), 2, (4, 8)),
        lambda: joint_vae((1, 16, 16), 2, (3,), hidden=(8,)),
    ],
    ids=["mlp", "conv", "joint"],
)
def test_models_of_other_number_types_are_shown_in_single_precision(make, dtype):
    model = make().to(dtype).eval()
    single, x = copy.deepcopy(model).float(), torch.rand(3, 1, 16, 16)
    assert (
        browser_decoder(model).key == browser_decoder(single).key
        and browser_encoder(model).key == browser_encoder(single).key
    )
    assert (
        LatentExplorer(model, x).network["key"]
        == ReconstructionExplorer(model, x).decoder["key"]
        == browser_decoder(single).key
    )
    assert {weight.dtype for weight in model.parameters()} == {dtype}


def test_half_precision_is_used_where_it_suffices():
    torch.manual_seed(0)
    tame = mlp_vae((1, 16, 16), latent_dim=8, hidden=(64, 64))
    halves = lambda network: [
        part["half"] for layer in network.layers for part in layer.get("parts", [])
    ]
    assert half_error(tame) < 5e-4 and halves(browser_decoder(tame)).count(True) == 2
    with torch.no_grad():
        tame.decoder[2].weight.mul_(30)  # large numbers that cancel
    assert (
        half_error(tame) > 1e-3
        and not any(halves(browser_decoder(tame)))
        and any(halves(browser_decoder(tame, half=True)))
    )


# --- what cannot be exported ---


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.mark.parametrize(
    "layer, says",
    [
        (Twice(), "Twice"),
        (nn.Conv2d(2, 2, 3, groups=2), "groups"),
        (nn.Conv2d(2, 2, 3, dilation=2), "dilation"),
        (nn.Conv2d(2, 2, (3, 1)), "kernel_size"),
        (nn.Conv2d(2, 2, 3, padding="same"), "padding"),
        (nn.ConvTranspose2d(2, 2, 3, stride=(1, 2)), "stride"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "bilinear"),
        (nn.MaxPool2d(3, padding=1), "padding"),
        (nn.MaxPool2d(2, ceil_mode=True), "ceil_mode"),
        (nn.BatchNorm2d(2, track_running_stats=False), "running statistics"),
        (nn.Softplus(), "Softplus"),
    ],
)
def test_unsupported_layers_are_refused_by_name(layer, says):
    with pytest.raises(NotInBrowser, match=says) as caught:
        browser_network(nn.Sequential(nn.Identity(), layer), (2, 8, 8))
    assert type(layer).__name__ in str(caught.value) and "runs sequences of" in str(
        caught.value
    )


def test_a_module_with_its_own_forward_is_refused():
    class Skipping(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    with pytest.raises(NotInBrowser, match="Skipping"):
        browser_network(Skipping(nn.Linear(2, 2)), (2,))


def test_models_without_networks_and_broken_weights_are_refused():
    with pytest.raises(
        TypeError, match="LinearGaussian has no decoder, likelihood, latent_dim, shape"
    ):
        browser_decoder(LinearGaussian(torch.ones(3, 2), torch.zeros(3), 0.5))
    model = mlp_vae((1, 8, 8), hidden=(4,))
    with torch.no_grad():
        model.decoder[0].bias[0] = float("nan")
    with pytest.raises(ValueError, match="0.bias hold NaN"):
        browser_decoder(model)
    model.likelihood = nn.Identity()
    with pytest.raises(NotInBrowser, match="mean of Identity"):
        browser_decoder(model)


def test_exporting_leaves_the_model_alone():
    model = conv_vae((1, 16, 16), latent_dim=2, channels=(4, 4)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    browser_decoder(model), browser_encoder(model)
    assert model.training and all(
        torch.equal(before[name], value) for name, value in model.state_dict().items()
    )


def test_weights_that_half_precision_cannot_hold_stay_single():
    linear = nn.Linear(100, 100)
    with torch.no_grad():
        linear.weight[0, 0] = 1e6
    assert not browser_network(linear, (100,)).layers[0]["parts"][0]["half"]
    assert browser_network(nn.Linear(100, 100), (100,)).layers[0]["parts"][0]["half"]


def test_the_name_of_weights_depends_on_them():
    model = mlp_vae((1, 8, 8), hidden=(4,))
    first = browser_decoder(model)
    assert browser_decoder(model) == first and browser_decoder(model).key == first.key
    with torch.no_grad():
        model.decoder[0].bias += 1
    assert browser_decoder(model).key != first.key


def test_compiled_kernels_are_those_of_the_source(tmp_path):
    pytest.importorskip(
        "ziglang",
        reason="ziglang is not installed: pip install ziglang to compare the kernels' bytes",
    )
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "vae_nb/assets").mkdir(parents=True)
    for source in ("four.h", "kernels.c", "training.c"):
        shutil.copy(ROOT / "vae_nb/assets" / source, tmp_path / "vae_nb/assets")
    done = subprocess.run(
        ["make", "wasm", f"PY={sys.executable}", "-o", "env"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ("kernels", "training"):
        built = (tmp_path / f"vae_nb/assets/{name}.wasm").read_bytes()
        assert built == (ROOT / f"vae_nb/assets/{name}.wasm").read_bytes(), (
            f"{name}.c has changed: run `make wasm` and commit {name}.wasm"
        )


# --- explorers in a page ---


@pytest.fixture(scope="module")
def digits():
    return load("digits", n=300)


@pytest.fixture(scope="module")
def flat():
    "Two latents: with a map."
    torch.manual_seed(0)
    return livened(mlp_vae((1, 28, 28), latent_dim=2, hidden=(40,)))


@pytest.fixture(scope="module")
def faces_model():
    torch.manual_seed(0)
    return livened(conv_vae((3, 32, 32), latent_dim=12, channels=(8, 8)))


@contextmanager
def opened(chrome, address, init="", **context):
    "A tab with an explorer's page; what it logs as errors must be looked at by the test."
    inside = chrome.new_context(**context)
    tab = inside.new_page()
    if init:
        tab.add_init_script(init)
    tab.errors = []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.goto(address)
    tab.wait_for_selector(".vae-explorer")
    yield tab
    inside.close()


def as_file(explorer, folder):
    "The address of the explorer's page of one file."
    return explorer.to_html(folder / "page.html").as_uri()


def as_page(explorer, folder):
    "The address of a page without a kernel, its weights in a file beside it, as the book has them."
    return explorer.to_html(folder / "page.html", beside=True).as_uri()


GREY = """selector => { const c = document.querySelector(selector); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
    return [c.hidden, c.height, c.width, [...d]] }"""


def shown(tab, selector=".pictures canvas"):
    "What the canvas shows as (3, H, W) in [0, 1], once it has been decoded after the last change."
    tab.wait_for_function(
        "selector => !document.querySelector(selector).hidden", arg=selector
    )
    tab.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30))))"
    )
    _, height, width, values = tab.evaluate(GREY, selector)
    return (
        torch.tensor(values).reshape(height, width, 4)[..., :3].permute(2, 0, 1) / 255
    )


def agrees(tab, explorer, model, **state):
    "Whether the page shows what PyTorch decodes from this state, to one grey level."
    for name, value in state.items():
        setattr(explorer, name, value)
    return (shown(tab) - explorer.decoded(model)).abs().max() <= 1.01 / 255


@needs_browser
def test_slider_map_and_buttons_move_the_picture(chrome, flat, digits, tmp_path):
    explorer = LatentExplorer(flat, digits)
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        assert (
            tab.locator(".pictures img").is_visible()
            and not tab.locator(".pictures canvas").is_visible()
        ), "the poster is first"
        tab.get_by_role("slider").nth(0).fill("1.5")
        first = explorer.latents[0]["index"]
        assert agrees(tab, explorer, flat, z=[1.5 * (first == 0), 1.5 * (first == 1)])
        assert not tab.locator(".pictures img").is_visible()
        box, reach = tab.locator(".map").bounding_box(), explorer.map_reach
        tab.mouse.move(box["x"] + 5, box["y"] + 5)
        tab.mouse.down()
        tab.mouse.move(
            box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25, steps=4
        )
        tab.mouse.up()
        z = [
            float(
                tab.locator(".controls output")
                .nth(explorer_row(explorer, i))
                .text_content()
                .replace("−", "-")
            )
            for i in (0, 1)
        ]
        assert all(abs(value - reach / 2) < 0.1 for value in z)
        tab.locator(".map").focus()
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("Shift+ArrowDown")
        after = [
            float(
                tab.locator(".controls output")
                .nth(explorer_row(explorer, i))
                .text_content()
                .replace("−", "-")
            )
            for i in (0, 1)
        ]
        assert abs(after[0] - z[0] + 0.1) < 0.02 and abs(after[1] - z[1] + 0.5) < 0.02
        tab.get_by_role("button", name="Reset").click()
        assert agrees(tab, explorer, flat, z=[0, 0])
        before = shown(tab)
        tab.get_by_role("button", name="Random sample").click()
        assert (shown(tab) - before).abs().max() > 0.01
        assert tab.errors == []


def explorer_row(explorer, index):
    "In which row of the controls a latent is."
    return [entry["index"] for entry in explorer.latents].index(index)


@needs_browser
def test_keyboard_touch_and_directions(chrome, faces_model, tmp_path):
    vector = torch.zeros(12)
    vector[3], vector[7] = 1.0, -0.5
    explorer = LatentExplorer(faces_model, directions={"Smiling": vector}, show=4)
    with opened(
        chrome,
        as_file(explorer, tmp_path),
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
    ) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.get_by_role("slider").count() == 5
        smile = tab.get_by_role("slider", name="Smiling")
        smile.focus()
        for _ in range(4):
            tab.keyboard.press("ArrowRight")
        assert agrees(tab, explorer, faces_model, strengths={"Smiling": 0.2})
        box = smile.bounding_box()
        tab.touchscreen.tap(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
        assert (
            agrees(
                tab,
                explorer,
                faces_model,
                strengths={"Smiling": float(smile.input_value())},
            )
            and float(smile.input_value()) > 2
        )
        tab.get_by_role("button", name="Copy z").click()
        tab.wait_for_function("document.querySelector('.message').textContent")
        assert tab.errors == []


@pytest.fixture(scope="module")
def joint_model():
    torch.manual_seed(0)
    return livened(
        joint_vae((1, 28, 28), continuous=2, categorical=(3, 2), hidden=(20,))
    )


@needs_browser
def test_a_categorical_has_a_picker(chrome, joint_model, tmp_path):
    explorer = LatentExplorer(joint_model, categories=[["a", "b", "c"], [0, 1]])
    assert (
        explorer.z == join(joint_model, None, 0, 0).tolist() and not explorer.map_reach
    )
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        assert tab.get_by_role("slider").count() == 2
        tab.get_by_role("combobox", name="category 1").select_option("c")
        assert agrees(tab, explorer, joint_model, z=join(joint_model, None, 2, 0))
        tab.get_by_role("button", name="Random sample").click()
        shown(tab)
        assert (
            tab.get_by_role("combobox", name="category 2").input_value() in "01"
            and tab.errors == []
        )
    with pytest.raises(ValueError, match=r"must name \[3, 2\] categories"):
        LatentExplorer(joint_model, categories=[["a", "b"]])


@needs_browser
def test_a_joint_model_encodes_in_the_page(chrome, joint_model, digits, tmp_path):
    explorer = ReconstructionExplorer(joint_model, digits)
    x = digits.floats()[:2]
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        for picture in (1, 0):  # the one that is chosen already would not change
            tab.get_by_role("button", name=f"picture {picture + 1}", exact=True).click()
            seen = shown(tab, "figure:nth-of-type(3) canvas")
            assert (
                seen - joint_model.reconstruct(x[picture : picture + 1])[0]
            ).abs().max() < 2 / 255
        tab.get_by_role("button", name="Draw z from q").click()
        assert (shown(tab, "figure:nth-of-type(3) canvas") - seen).abs().max() > 0.01
        tab.get_by_role("combobox", name="category 1").select_option("2")
        assert tab.errors == []
    with pytest.raises(ValueError, match="Gaussian latents only"):
        BetaExplorer({1: joint_model}, digits[:20])


@needs_browser
def test_only_the_newest_state_is_decoded(chrome, faces_model, tmp_path):
    explorer = LatentExplorer(faces_model)
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        tab.get_by_role("slider").nth(0).fill("0.1")
        shown(tab)
        tab.evaluate("""() => { const s = document.querySelector('input[type=range]'); for (let i = 0; i < 500; i++) {
            s.value = -3 + 6 * i / 499; s.dispatchEvent(new Event('input')); } }""")
        assert agrees(tab, explorer, faces_model, z=[3.0] + [0] * 11)
        assert (
            int(tab.evaluate("document.querySelector('.vae-explorer').dataset.decodes"))
            <= 5
        )


@needs_browser
def test_page_without_a_kernel_loads_weights_when_touched(chrome, flat, tmp_path):
    explorer = LatentExplorer(flat)
    address, asked = as_page(explorer, tmp_path), []
    with opened(chrome, address) as tab:
        tab.on("request", lambda request: asked.append(request.url))
        tab.wait_for_timeout(100)
        assert asked == [], "nothing is loaded before the first touch"
        tab.get_by_role("slider").nth(0).focus()
        tab.keyboard.press("ArrowRight")
        assert agrees(tab, explorer, flat, z=[0.01, 0])
        assert (
            len(asked) == 1
            and asked[0].endswith(f"{next(iter(explorer.networks))}.js")
            and tab.errors == []
        )


def damage_missing(path):
    path.unlink()


def damage_cut(path):
    path.write_text(path.read_text()[:-1000])


def damage_short(path):
    path.write_text(path.read_text()[:-1003] + '";')


def damage_odd(path):
    path.write_text(path.read_text()[:-1001] + '";')


def damage_other(path):
    network = browser_decoder(livened(mlp_vae((1, 28, 28), latent_dim=2, hidden=(40,))))
    path.write_text(network.script)


def damage_swapped(path):
    network = browser_decoder(livened(mlp_vae((1, 28, 28), latent_dim=2, hidden=(40,))))
    path.write_text(network.script.replace(network.key, path.stem))


@needs_browser
@pytest.mark.parametrize(
    "damage, says",
    [
        (damage_missing, "is missing"),
        (damage_cut, "damaged"),
        (damage_short, "it is damaged"),
        (damage_odd, "damaged"),
        (damage_other, "another model"),
        (damage_swapped, "another model"),
    ],
)
def test_bad_weights_are_told_and_the_poster_stays(
    chrome, flat, tmp_path, damage, says
):
    explorer = LatentExplorer(flat)
    address = as_page(explorer, tmp_path)
    damage(next((tmp_path / "assets/explorers").iterdir()))
    with opened(chrome, address) as tab:
        tab.get_by_role("slider").nth(0).fill("1")
        tab.wait_for_function("document.querySelector('.message').textContent")
        assert (
            says in tab.locator(".message").text_content()
            and "Reload" in tab.locator(".message").text_content()
        )
        assert (
            tab.locator(".pictures img").is_visible()
            and not tab.locator(".pictures canvas").is_visible()
        )
        if (
            damage is damage_swapped
        ):  # whole again: a later touch succeeds, and the sentence goes
            (network,) = explorer.networks.values()
            tab.evaluate(f"delete globalThis.vaeNbWeights['{network.key}']")
            (tmp_path / f"assets/explorers/{network.key}.js").write_text(network.script)
            tab.wait_for_timeout(2100)
            tab.get_by_role("slider").nth(0).fill("1.5")
            assert (
                agrees(tab, explorer, flat, z=[1.5, 0])
                and tab.locator(".message").text_content() == ""
            )


@needs_browser
def test_without_webassembly_there_is_a_sentence(chrome, flat, tmp_path):
    with opened(
        chrome,
        as_file(LatentExplorer(flat), tmp_path),
        init="delete globalThis.WebAssembly",
    ) as tab:
        tab.get_by_role("slider").nth(0).fill("1")
        tab.wait_for_function("document.querySelector('.message').textContent")
        assert (
            "WebAssembly is switched off" in tab.locator(".message").text_content()
            and tab.locator(".pictures img").is_visible()
        )


ASK = """([network, weights, answers]) => new Promise((done) => { const listeners = new Set();
    const model = { on: (_, f) => listeners.add(f), off: (_, f) => listeners.delete(f), send(message) { setTimeout(() => {
        const bytes = bytesOf(weights), room = new ArrayBuffer(bytes.length + 8); new Uint8Array(room, 8).set(bytes);
        if (answers) listeners.forEach((f) => f({ weights: message.want }, [new DataView(room, 8)])) }) } };
    loadNetwork(network, model).then((run) => done([...run([0.5, -1])]), (error) => done(error.message)) })"""


@needs_browser
def test_a_kernel_sends_the_weights(page, flat):
    explorer, sent = LatentExplorer(flat), []
    (network,) = explorer.networks.values()
    explorer.send = lambda message, buffers: sent.append((message, buffers))
    explorer._answer(None, {"want": "something else"}, [])
    explorer._answer(None, {"want": network.key}, [])
    assert sent == [({"weights": network.key}, [network.weights])]
    out = page.evaluate(
        ASK, [network.spec, base64.b64encode(sent[0][1][0]).decode(), True]
    )
    explorer.z = [0.5, -1]
    assert (torch.tensor(out) - explorer.decoded(flat).flatten()).abs().max() < 1e-3


def test_weights_are_published_for_pages_only(flat, tmp_path, monkeypatch):
    monkeypatch.delenv("VAE_NB_EXPLORER_FILES", raising=False)
    LatentExplorer(flat)
    monkeypatch.setenv("VAE_NB_EXPLORER_FILES", str(tmp_path / "new/folder"))
    explorer = LatentExplorer(flat)
    (network,) = explorer.networks.values()
    (path,) = (tmp_path / "new/folder").iterdir()
    assert path.name == f"{network.key}.js" and path.read_text() == network.script
    state = json.dumps(explorer.get_state(explorer.keys), default=str)
    assert base64.b64encode(network.weights[:300]).decode() not in state, (
        "weights are not part of what a notebook saves"
    )


def test_state_from_python(flat, digits):
    explorer = LatentExplorer(
        flat, digits, z=torch.tensor([0.5, -0.5]), directions={"up": [0.0, 2.0]}
    )
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "z")
    explorer.z = torch.tensor([1.0, 2.0])
    explorer.strengths = {"up": 0.5}
    assert seen == [[1.0, 2.0]] and explorer.latent.tolist() == [1.0, 3.0]
    for bad, says in (
        ([1.0], "2 numbers, not 1"),
        ([float("nan"), 0.0], "finite"),
        ("ab", "finite|list"),
    ):
        with pytest.raises(traitlets.TraitError, match=says):
            explorer.z = bad
    with pytest.raises(ValueError, match=r"'up' must be a vector of shape \(2,\)"):
        LatentExplorer(flat, directions={"up": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        LatentExplorer(flat, z=torch.zeros(3))


def test_sliders_are_ordered_by_kl(digits):
    torch.manual_seed(0)
    model = livened(mlp_vae(digits.shape, latent_dim=12, hidden=(20,)))
    kl = mean_kl_per_dim(model, digits)
    explorer = LatentExplorer(model, digits, show=5)
    assert [entry["index"] for entry in explorer.latents] == kl.argsort(
        descending=True
    )[:5].tolist()
    assert explorer.latents[0]["label"].endswith(f"· {kl.max():.1f} nats")
    plain = livened(
        mlp_vae(digits.shape, latent_dim=2, hidden=(20,), variational=False)
    )
    assert "nats" not in LatentExplorer(plain, digits).latents[0]["label"]


def test_one_file_asks_nobody(flat, digits, tmp_path):
    text = (
        LatentExplorer(flat, digits, title="A <b> & </script>")
        .to_html(tmp_path / "new/page.html")
        .read_text()
    )
    assert "A &lt;b&gt; &amp;" in text and set(
        re.findall(r"https?://[^\s\"']+", text)
    ) == {"http://www.w3.org/2000/svg"}
    assert text.count("</script>") == 3, "no text ends the element that holds it"


@pytest.mark.slow
@needs_browser
def test_nasty_names_move_the_picture_and_nothing_else(chrome, faces_model, tmp_path):
    vectors = 0.3 * torch.randn(
        len(NASTY), faces_model.latent_dim, generator=torch.Generator().manual_seed(0)
    )
    for title in NASTY:
        explorer = LatentExplorer(
            faces_model, directions=dict(zip(NASTY, vectors)), title=title
        )
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        labels = tab.locator(".controls input").evaluate_all(
            "inputs => inputs.map(input => input.ariaLabel)"
        )[: len(NASTY)]
        assert [label.encode("utf-16", "surrogatepass") for label in labels] == [
            name.encode("utf-16", "surrogatepass") for name in NASTY
        ]
        for i, name in enumerate(NASTY):
            tab.locator(".controls input").nth(i).fill("1")
            assert agrees(
                tab, explorer, faces_model, strengths=dict.fromkeys(NASTY[: i + 1], 1.0)
            ), name
        assert (
            tab.errors == []
            and tab.locator("script").count() == 3
            and tab.locator("main img[src=x]").count() == 0
        )


@pytest.mark.parametrize("name", NASTY)
def test_a_page_holds_what_it_was_given(name, flat, digits, tmp_path):
    images = Images(
        digits.pixels[:20], labels=torch.arange(20) % 2, classes=(name, "b")
    )
    page = (
        LatentExplorer(flat, images, directions={name: [0.0, 1.0]}, title=name)
        .to_html(tmp_path / "page.html")
        .read_text(encoding="utf-8")
    )
    traits = json.loads(
        re.search(
            '<script type="application/json" id="traits">(.*?)</script>', page, re.S
        )[1]
    )
    assert (
        traits["directions"][0]["name"]
        == traits["points"][0]["name"]
        == traits["title"]
        == name
    )
    assert (
        page.count("<script") == 3 and "<!--" not in page and "<img src=x" not in page
    )


def test_a_page_that_no_browser_could_read_is_not_written(flat, tmp_path):
    explorer = LatentExplorer(flat, directions={"a": [0.0, 1.0]})
    explorer.strengths = {"a": float("nan")}
    with pytest.raises(ValueError):
        explorer.to_html(tmp_path / "page.html")
    assert not any(tmp_path.iterdir())


# --- ways, reconstructions, betas ---


@needs_browser
def test_a_way_from_one_picture_to_another(chrome, faces_model, tmp_path):
    torch.manual_seed(1)
    x = torch.rand(2, 3, 32, 32)
    explorer = Interpolator(faces_model, x[0], torch.randn(12), t=0.5)
    with evaluating(faces_model):
        assert torch.allclose(
            torch.tensor(explorer.a), faces_model.encode(x).mean[0], atol=1e-4
        )
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        way = tab.get_by_role("slider", name="way")
        way.fill("0.2")
        assert agrees(tab, explorer, faces_model, t=0.2)
        tab.get_by_role("checkbox").check()
        assert agrees(tab, explorer, faces_model, spherical=True)
        way.focus()
        tab.keyboard.press("End")
        assert agrees(tab, explorer, faces_model, t=1.0) and tab.errors == []


def test_ends_of_a_way_are_checked(faces_model):
    with pytest.raises(
        ValueError,
        match=r"image of shape \(3, 32, 32\) or a latent of shape \(12,\), not \(5,\)",
    ):
        Interpolator(faces_model, torch.zeros(5), torch.zeros(12))
    same = Interpolator(faces_model, torch.ones(12), -torch.ones(12))
    with pytest.raises(traitlets.TraitError, match="no single arc"):
        same.spherical = True
    with pytest.raises(traitlets.TraitError):
        same.t = 1.5


@needs_browser
def test_pictures_are_encoded_in_the_page(chrome, digits, tmp_path):
    torch.manual_seed(0)
    model = livened(mlp_vae((1, 28, 28), latent_dim=6, hidden=(30,)))
    explorer = ReconstructionExplorer(model, digits, show=6)
    with evaluating(model):
        codes = model.encode(digits.floats()[:10])
    assert torch.allclose(
        torch.tensor(explorer.mu), codes.mean[0], atol=1e-4
    ) and torch.allclose(torch.tensor(explorer.sigma), codes.stddev[0], atol=1e-4)
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        tab.get_by_role("button", name="picture 4").click()
        output = "figure:nth-of-type(3) canvas"
        seen = shown(tab, output)
        assert (seen - model.reconstruct(digits.floats()[3:4])[0]).abs().max() < 2 / 255
        assert (
            tab.get_by_role("button", name="picture 4").get_attribute("aria-pressed")
            == "true"
        )
        values = [
            float(text.replace("−", "-"))
            for text in tab.locator(".controls output").all_text_contents()
        ]
        assert all(
            abs(value - codes.mean[3][entry["index"]]) < 0.01
            for value, entry in zip(values, explorer.latents)
        )
        tab.get_by_role("slider").nth(0).fill("3")
        assert (shown(tab, output) - seen).abs().max() > 0.01
        tab.get_by_role("button", name="Encoder's mean").click()
        assert torch.equal(shown(tab, output), seen) and tab.errors == []


@needs_browser
def test_a_drawing_is_centred_and_encoded(chrome, digits, tmp_path):
    torch.manual_seed(0)
    model = livened(mlp_vae((1, 28, 28), latent_dim=6, hidden=(30,)))
    with opened(
        chrome, as_file(ReconstructionExplorer(model, digits), tmp_path)
    ) as tab:
        box = tab.locator(".drawing").bounding_box()
        at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])
        tab.mouse.move(*at(0.1, 0.1))
        tab.mouse.down()
        tab.mouse.move(*at(0.1, 0.4), steps=5)
        tab.mouse.up()
        x = shown(tab, "figure:nth-of-type(2) canvas")
        rows, columns = (
            (x[0].sum(1) > 0).nonzero().flatten(),
            (x[0].sum(0) > 0).nonzero().flatten(),
        )
        assert (
            19 <= rows[-1] - rows[0] + 1 <= 22
            and abs((rows[0] + rows[-1]) / 2 - 13.5) <= 1
            and abs((columns[0] + columns[-1]) / 2 - 13.5) <= 1
        )
        assert (
            shown(tab, "figure:nth-of-type(3) canvas")
            - model.reconstruct(x[None, :1])[0]
        ).abs().max() < 2 / 255
        tab.get_by_role("button", name="Clear").click()
        assert (
            shown(tab, "figure:nth-of-type(2) canvas").max() == 0 and tab.errors == []
        )


def test_only_grey_pictures_can_be_drawn(faces_model):
    explorer = ReconstructionExplorer(faces_model, torch.rand(4, 3, 32, 32), choices=3)
    assert not explorer.can_draw and len(explorer.choices) == 3
    with pytest.raises(traitlets.TraitError, match="from 0 to 2, or -1"):
        explorer.chosen = 3


READ = """([numbers, posterior]) => { const { mu, sigma } = readPosterior(numbers, posterior); return [mu, sigma] }"""


@needs_browser
def test_the_page_reads_an_encoder_as_the_model_does(page):
    page.add_script_tag(
        content=asset("ideas.js", "pictures.js", "reconstruction.js").replace(
            "export default", "globalThis.unused ="
        )
    )
    torch.manual_seed(0)
    heads = torch.randn(2 * 3 + 4 + 2)
    mu, sigma = page.evaluate(
        READ,
        [heads.tolist(), {"gaussian": 3, "categorical": [4, 2], "variational": True}],
    )
    expected = torch.cat([heads[:3], heads[6:10].softmax(0), heads[10:].softmax(0)])
    assert (
        torch.allclose(torch.tensor(mu), expected, atol=1e-6)
        and torch.allclose(torch.tensor(sigma[:3]), (heads[3:6] / 2).exp())
        and sigma[3:] == [0] * 6
    )
    assert page.evaluate(
        READ, [[1, 2], {"gaussian": 2, "categorical": [], "variational": False}]
    ) == [[1, 2], [0, 0]]


@pytest.mark.slow
@needs_browser
def test_one_slider_over_models(chrome, digits, tmp_path):
    torch.manual_seed(0)
    models = {
        beta: livened(
            mlp_vae((1, 28, 28), latent_dim=latent_dim, hidden=(20,), beta=float(beta))
        )
        for beta, latent_dim in ((0.1, 5), (1, 4))
    }
    models[0.0] = livened(
        mlp_vae((1, 28, 28), latent_dim=3, hidden=(20,), variational=False)
    )
    explorer = BetaExplorer(models, digits[:100], count=3)
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        slider = tab.get_by_role("slider", name="β")
        for chosen, model in reversed(list(enumerate(models.values()))):
            slider.fill(str(chosen))
            tab.wait_for_timeout(50)
            rows = [shown(tab, f"figure:nth-of-type({n}) canvas") for n in (2, 3)]
            noise = torch.tensor(explorer.noise)[:, : model.latent_dim]
            with evaluating(model):
                want = [
                    torch.cat(list(pictures.expand(-1, 3, -1, -1)), -1)
                    for pictures in (
                        model.reconstruct(digits.floats()[:3]),
                        model.decode(noise).mean,
                    )
                ]
            assert all((a - b).abs().max() < 2 / 255 for a, b in zip(rows, want))
            assert (
                tab.locator("td.number").nth(0).text_content()
                == explorer.entries[chosen]["recon"]
            )
        assert explorer.entries[2]["kl"] == "–"
        before = shown(tab, "figure:nth-of-type(3) canvas")
        tab.get_by_role("button", name="Draw every z again").click()
        assert (
            shown(tab, "figure:nth-of-type(3) canvas") - before
        ).abs().max() > 0.01 and tab.errors == []
    terms = models[1].loss(digits[:100].floats())
    assert abs(float(explorer.entries[1]["kl"]) - terms["kl"]) < 0.06


def test_models_of_a_beta_explorer_are_checked(flat, faces_model, digits):
    with pytest.raises(ValueError, match="one shape"):
        BetaExplorer({1: flat, 2: faces_model}, digits[:20])
    with pytest.raises(ValueError, match="models must be"):
        BetaExplorer({}, digits[:20])
    with pytest.raises(traitlets.TraitError, match="there are 1 models"):
        BetaExplorer({1: flat}, digits[:20], count=2).chosen = 1


@pytest.mark.slow
def test_onnx_computes_the_same(tmp_path):
    onnxruntime = pytest.importorskip(
        "onnxruntime",
        reason="onnxruntime is not installed: pip install onnxruntime to check ONNX files",
    )
    torch.manual_seed(0)
    model = livened(
        conv_vae(
            (3, 17, 20),
            latent_dim=4,
            channels=(4, 4),
            likelihood="continuous_bernoulli",
            pool="max",
        )
    )
    z, x = torch.randn(3, 4), torch.rand(5, 3, 17, 20)
    with evaluating(model):
        wanted = {
            "decoder": (z, model.decode(z).mean),
            "encoder": (x, model.encoder(x)),
        }
    for part, (put_in, want) in wanted.items():
        exported = (
            copy.deepcopy(model).double() if part == "decoder" else model
        )  # any number type becomes float32
        session = onnxruntime.InferenceSession(
            str(to_onnx(exported, tmp_path / f"{part}.onnx", part))
        )
        (out,) = session.run(None, {session.get_inputs()[0].name: put_in.numpy()})
        assert out.shape == tuple(want.shape) and abs(out - want.numpy()).max() < 1e-4
    with pytest.raises(ValueError, match="part must be one of"):
        to_onnx(model, tmp_path / "x.onnx", "decodr")


AXE = "async () => (await axe.run(document)).violations.map(v => `${v.impact}: ${v.id}: ${v.nodes.map(n => n.html.slice(0, 120)).join(' | ')}`)"


@needs_browser
def test_axe_finds_nothing(chrome, flat, joint_model, digits, tmp_path):
    try:
        code = (vendor.package("axe-core", BUILD / "vendor") / "axe.min.js").read_text()
    except SystemExit as error:
        pytest.skip(str(error).splitlines()[0])
    x = digits.floats()
    explorers = [
        LatentExplorer(flat, digits, directions={"up": [1.0, 0.0]}),
        LatentExplorer(joint_model),
        Interpolator(flat, x[0], x[1]),
        ReconstructionExplorer(flat, digits),
        BetaExplorer({1: flat, 2: flat}, digits[:50]),
    ]
    for explorer, scheme in zip(
        explorers, ("light", "dark", "light", "dark", "light"), strict=True
    ):
        with opened(chrome, as_file(explorer, tmp_path), color_scheme=scheme) as tab:
            tab.add_script_tag(content=code)
            tab.get_by_role("slider").first.fill("1")
            tab.wait_for_selector("canvas:not([hidden], .drawing)")
            assert tab.evaluate(AXE) == [], type(explorer).__name__


def test_an_end_of_a_way_may_be_bytes(flat, digits):
    a, b = digits.pixels[:2]
    x, y = digits.floats()[:2]
    assert Interpolator(flat, a, b).a == Interpolator(flat, x, y).a


def test_a_beta_explorer_draws_no_noise_of_the_callers_and_says_what_it_cannot(
    flat, digits
):
    before = torch.get_rng_state()
    a, b = (BetaExplorer({1: flat}, digits[:20], count=2) for _ in range(2))
    assert a.entries == b.entries and torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="chosen must be from 0 to 0"):
        BetaExplorer({1: flat}, digits[:20], chosen=1)
    other = mlp_vae((1, 28, 28), 2, (8,), prior="mixture")
    with pytest.raises(ValueError, match="another prior"):
        BetaExplorer({1: other}, digits[:20])
    bent = mlp_vae((1, 28, 28), 2, (8,), posterior="flow")
    with pytest.raises(TypeError, match="flow of a posterior"):
        ReconstructionExplorer(bent, digits[:20])


def test_explorers_look_at_the_images_of_labelled_data_only(flat, digits):
    few, told = digits[:20], digits[:20].labelled()
    choices = [ReconstructionExplorer(flat, x).choices for x in (few, told)]
    assert choices[0] == choices[1]
    assert BetaExplorer({1: flat}, told, count=2).count == 2
    assert Lab(told).data == Lab(few).data


def test_maps_take_a_loader(digits):
    sets = torch.utils.data
    loader = sets.DataLoader(sets.TensorDataset(digits.floats()[:20]), batch_size=5)
    model = mlp_vae((1, 28, 28), 2, (8,))
    drawn = LatentExplorer(model, loader).points
    drawn_too = PriorExplorer({"a": model}, loader).entries[0]["points"]
    for points in (drawn, drawn_too):
        assert sum(len(own["xy"]) for own in points) == 40


@needs_browser
def test_drawn_noise_is_as_wide_as_the_widest_model(chrome, digits, tmp_path):
    torch.manual_seed(0)
    sizes = ((1, 3), (2, 6))
    models = {
        beta: livened(mlp_vae((1, 28, 28), latent_dim=n, hidden=(20,)))
        for beta, n in sizes
    }
    explorer = BetaExplorer(models, digits[:50], count=2)
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        tab.get_by_role("button", name="Draw every z again").click()
        shown(tab, "figure:nth-of-type(2) canvas")
        tab.get_by_role("slider", name="β").fill("1")
        tab.wait_for_timeout(300)
        assert shown(tab, "figure:nth-of-type(2) canvas").mean() > 0.2  # NaN is black


@needs_browser
def test_a_random_sample_comes_from_the_models_own_prior(chrome, tmp_path):
    prior = mixture_prior(2, 1)
    with torch.no_grad():
        prior.mu.fill_(5.0)
        prior.logvar.fill_(-6.0)
    model = mlp_vae((1, 28, 28), 2, (16,), prior=prior).eval()
    with opened(chrome, as_file(LatentExplorer(model), tmp_path)) as tab:
        tab.get_by_role("button", name="Random sample").click()
        said = tab.locator(".controls output").all_text_contents()
        assert all(abs(float(text.replace("−", "-")) - 5) < 0.5 for text in said)


@needs_browser
def test_the_point_follows_the_pointer_with_a_direction_on(
    chrome, flat, digits, tmp_path
):
    explorer = LatentExplorer(flat, digits, directions={"up": [0.0, 2.0]})
    with opened(chrome, as_file(explorer, tmp_path)) as tab:
        tab.get_by_role("slider", name="up").fill("1")
        box = tab.locator(".map").bounding_box()
        tab.mouse.move(box["x"] + 20, box["y"] + 20)
        tab.mouse.down()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        tab.mouse.move(*middle, steps=4)
        tab.mouse.up()
        assert abs(float(tab.locator(".handle").get_attribute("cy"))) < 0.1
