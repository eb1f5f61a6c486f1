"The explorers: what is exported, and that a browser makes of it what PyTorch makes. One page of a real Chromium serves all networks."
import base64
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from book.browser import browser, chromium
from vae_nb.conv import conv_vae
from vae_nb.elbo import LIKELIHOODS, LinearGaussian
from vae_nb.explore import NotInBrowser, browser_decoder, browser_encoder, browser_network, engine
from vae_nb.vae import ACTIVATIONS, mlp_vae

ROOT = Path(__file__).resolve().parents[1]
needs_browser = pytest.mark.skipif(not chromium(), reason="no Chromium here: apt-get install chromium to test the explorers in a browser")
slow_is_fine = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

RUN = """async ([network, weights, inputs]) => { const run = await makeNetwork(network, bytesOf(weights));
    return inputs.map((input) => [...run(input)]) }"""


@pytest.fixture(scope="module")
def chrome():
    with browser() as started:
        yield started


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
    shape = draw(st.sampled_from([1, 3])), draw(st.integers(16, 48)), draw(st.integers(16, 48))
    same = {"latent": draw(st.integers(1, 20)), "likelihood": draw(st.sampled_from(LIKELIHOODS)), "activation": draw(st.sampled_from(list(ACTIVATIONS)))}
    hidden = tuple(draw(st.lists(st.integers(4, 90), min_size=1, max_size=2)))
    if draw(st.booleans()):
        model = mlp_vae(shape, hidden=hidden, **same)
    else:
        norm = draw(st.sampled_from(["batch", "group", "none"]))
        widths = st.sampled_from([4, 8, 16, 24]) if norm == "group" else st.integers(1, 33)
        model = conv_vae(
            shape, channels=tuple(draw(st.lists(widths, min_size=1, max_size=4))), hidden=draw(st.sampled_from([(), hidden])), norm=norm,
            pool=draw(st.sampled_from(["stride", "max"])),
            upsample=draw(st.sampled_from(["transposed", "nearest"])), dropout=draw(st.sampled_from([0.0, 0.2])), **same)
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


@needs_browser
@slow_is_fine
@given(model=models())
def test_browser_decodes_and_encodes_as_pytorch_does(page, model):
    z, x = torch.randn(2, model.latent), torch.rand(2, *model.shape)
    with torch.no_grad():
        means, codes = model.decode(z).mean, model.encoder(x)
    assert (in_browser(page, browser_decoder(model), z) - means).abs().max() < 1e-3
    single = in_browser(page, browser_encoder(model, half=False), x)
    assert (single - codes).abs().max() < 1e-4 * max(1, codes.abs().max())


@needs_browser
@pytest.mark.parametrize("size", [(128, 128), (127, 97), (64, 64)])
def test_large_pictures(page, size):
    torch.manual_seed(0)
    model = livened(conv_vae((3, *size), latent=32, channels=(16, 32, 32, 64)))
    z = torch.randn(2, 32)
    with torch.no_grad():
        assert (in_browser(page, browser_decoder(model), z) - model.decode(z).mean).abs().max() < 1e-3
