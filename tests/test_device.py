"""Training on a device that is not waited for: what is noted there, when it is looked at, graphs of steps, data that travel.

No GPU is needed: `watched` lets the CPU be treated like one, `Reads` counts what a GPU would have to be waited for, and `Tape` replays a step as
a CUDA graph would. What only a GPU can show is marked `NEEDS_CUDA`.
"""

import math
import signal
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vae_nb.conv import conv_vae
from vae_nb.data import Images, TensorData
from vae_nb.data import batches as travel
from vae_nb.joint import Capacity, joint_loss, joint_vae
from vae_nb.objectives import importance_weighted
from vae_nb.train import NotFinite, capture, fit, loop, numerics, validate
from vae_nb.train import run as one_run
from vae_nb.train.checkpoint import CHECKPOINT
from vae_nb.vae import mlp_vae

CPU = torch.device("cpu")
NEEDS_CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs an NVIDIA GPU"
)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    "Bit-identical sums need one order of summation; what fsync adds is time."
    monkeypatch.setattr("vae_nb.core.os.fsync", lambda descriptor: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def watched(monkeypatch):
    "The CPU takes note, and is looked at every five steps."
    monkeypatch.setitem(numerics.LOOK_EVERY, "cpu", 5)


def images(n=96, channels=1, size=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Images(torch.randint(0, 256, (n, channels, size, size), generator=g).byte())


def small_vae(**kwargs):
    torch.manual_seed(0)
    return mlp_vae((1, 8, 8), **{"latent_dim": 2, "hidden": (16,)} | kwargs)


OPTIONS = dict(batch_size=16, precision="float32", progress=False, seed=5)


def run(model, train=None, valid=None, **kwargs):
    "A short quiet run: eight steps an epoch, of which the last has 12 images."
    train = images(124) if train is None else train
    return fit(model, train, valid, **{"epochs": 2} | OPTIONS | kwargs)


def weights(model):
    return torch.cat([w.detach().flatten() for w in model.parameters()])


def losses(history):
    return [[v for k, v in row.items() if k != "seconds"] for row in history.rows]


# --- nothing is read in a step ------------------------------------------------------------------------------------------------------


class Reads(TorchDispatchMode):
    "Counts what a GPU would have to be waited for: numbers read, shapes that depend on data, copies to the host."

    READING = {
        f"aten::{name}"
        for name in "_local_scalar_dense nonzero masked_select equal _unique2 unique_dim bincount".split()
    }

    def __init__(self):
        super().__init__()
        self.seen, self.calls = [], HostCalls(self)

    def __enter__(self):
        self.calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        return self.calls.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        by_mask = name in ("aten::index", "aten::index_put_") and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if name in self.READING or by_mask:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


class HostCalls(TorchFunctionMode):
    "What copies to the host, and on a CPU would do nothing."

    def __init__(self, reads):
        super().__init__()
        self.reads = reads

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        home = name == "to" and "cpu" in [a for a in args[1:] if isinstance(a, str)]
        if name in ("cpu", "numpy", "tolist") or home:
            self.reads.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: float(x[0]),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: x.tolist(),
        lambda x: f"{x[0]:.2f}",
    ],
)
def test_the_counter_sees_every_way_to_wait(read):
    x = torch.ones(3)
    with Reads() as reads:
        x * 2 + x.mean()
    assert not reads.seen
    with Reads() as reads:
        read(x)
    assert reads.seen


def joint(**kwargs):
    torch.manual_seed(0)
    return joint_vae((1, 8, 8), 2, (3,), hidden=(16,), **kwargs)


def conv():
    torch.manual_seed(0)
    return conv_vae((3, 16, 16), 2, channels=(4, 8), dropout=0.1)


MODELS = {
    "MLP": small_vae,
    "autoencoder": lambda: small_vae(variational=False),
    "free bits": lambda: small_vae(free_bits=0.1),
    "one σ": lambda: small_vae(likelihood="normal"),
    "the best σ": lambda: small_vae(likelihood="normal", sigma="optimal"),
    "grey levels": lambda: small_vae(likelihood="discretised_logistic"),
    "continuous": lambda: small_vae(likelihood="continuous_bernoulli"),
    "mixture": lambda: small_vae(prior="mixture"),
    "VampPrior": lambda: small_vae(prior="vampprior"),
    "flow prior": lambda: small_vae(prior="flow"),
    "flow posterior": lambda: small_vae(posterior="flow"),
    "conv": conv,
    "joint": joint,
    "exact sum": lambda: joint(estimator="exact"),
}


def reads_of(model, monkeypatch, train=None, **kwargs):
    "What each step of an epoch read, the two in which parts wake up not counted."
    found, step = [], one_run.train_step

    def counted(run, x, number=None):
        with Reads() as reads:
            terms = step(run, x, number)
        found.append(reads.seen)
        return terms

    monkeypatch.setattr(one_run, "train_step", counted)
    if train is None:
        train = images(64, *model.shape[:2])
    run(model, train, epochs=1, **kwargs)
    return found[2:]


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_no_step_reads_anything(make, watched, monkeypatch):
    assert reads_of(make(), monkeypatch) == [[], []]


def test_nor_does_one_that_clips_or_weighs_samples(watched, monkeypatch):
    train = images(64).binarised()
    loss = importance_weighted(3)
    assert reads_of(small_vae(), monkeypatch, train, training_loss=loss) == [[], []]
    model = joint()
    loss = joint_loss(model, Capacity(end=2.0, steps=3), balance=1.0, consistency=1.0)
    found = reads_of(model, monkeypatch, clip=1.0, training_loss=loss)
    assert found == [[], []]


def test_where_every_loss_is_read_the_counter_says_so(monkeypatch):
    found = reads_of(small_vae(), monkeypatch)
    assert len(found) == 2 and all(len(reads) >= 2 for reads in found)


def test_a_longer_epoch_reads_no_more_and_a_longer_validation_neither(watched):
    counts = []
    for n in (64, 72):  # four batches and five; the fifth step is looked at
        for valid in (20, 600):
            with Reads() as reads:
                run(small_vae(), images(n), epochs=1, valid=images(valid))
            counts.append(len(reads.seen))
    assert counts[0] == counts[1] and counts[2] == counts[3] == counts[0] + 1


# --- the promises of `fit` hold --------------------------------------------------------------------------------------------------------


def test_a_watched_run_takes_the_same_steps(monkeypatch):
    plain, noted = small_vae(), small_vae()
    options = dict(valid=images(40, seed=1), clip=5.0)
    expected = run(plain, images(124).binarised(), **options)
    monkeypatch.setitem(numerics.LOOK_EVERY, "cpu", 5)
    history = run(noted, images(124).binarised(), **options)
    assert weights(noted).equal(weights(plain))
    assert np.allclose(losses(history), losses(expected), rtol=1e-6)
    same = lambda h: [row["valid_loss"] for row in h.rows]
    assert same(history) == same(expected)


class Fails(nn.Module):
    "y = w·x for pairs; from step `at` on its loss, its gradient or a layer is bad."

    def __init__(self, at=10**9, how="loss"):
        super().__init__()
        self.layer, self.norm = nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1)
        self.spoil, self.at, self.how = nn.Identity(), at, how
        nn.init.ones_(self.layer.weight)
        self.before = {}

    def loss(self, x, step=-1):
        bad = step >= self.at
        y = self.layer(x[:, :1])
        y = self.spoil(y * math.inf if bad and self.how == "layer" else y)
        loss = ((y - x[:, 1:]) ** 2).mean() + 0 * self.norm(y).sum()
        other = loss.detach() * (math.nan if bad and self.how == "term" else 1.0)
        if bad and self.how == "gradient":
            loss = loss + (self.layer.weight * 0).abs().sum().sqrt()
        if bad and self.how == "steep":
            loss = loss + 1e25 * (self.layer.weight.sum() - self.layer.weight.detach())
        bad = bad and self.how in ("loss", "term")
        return {"loss": loss * (math.inf if bad else 1.0), "other": other}


def pairs(n=124, slope=3.0):
    x = torch.linspace(-1, 1, n)[:, None]
    return torch.cat([x, slope * x], 1)


def training_loss(model, x, step):
    model.before.setdefault(int(step), weights(model).clone())
    return model.loss(x, step)


@pytest.mark.parametrize("at", [0, 3, 4, 7, 8, 12, 15])
def test_the_weights_are_those_before_the_bad_step_wherever_it_is(at, watched):
    "Eight steps an epoch, looked at after 5, 8, 10, 15 and 16."
    whole, model = Fails(), Fails(at)
    run(whole, pairs(), training_loss=training_loss)
    with pytest.raises(NotFinite, match=f"^step {at}: ") as error:
        run(model, pairs(), training_loss=training_loss)
    assert error.value.step == at and weights(model).equal(whole.before[at])
    assert [row["epoch"] for row in error.value.history.rows] == [1] * (at >= 8)
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize(
    "how, said",
    [
        ("loss", "Not finite: loss; every layer's output is finite, so it is the loss"),
        ("term", "Not finite: other; every layer's output is finite"),
        ("layer", "Not finite: other; the first bad output is that of layer 'spoil'"),
        ("gradient", "gradient was not finite, that of 'layer.weight' for one"),
        ("steep", "The gradient of this step was too large: its square is infinite"),
    ],
)
def test_what_went_bad_is_named_by_running_the_batch_again(how, said, watched):
    model = Fails(11, how)
    with pytest.raises(NotFinite, match=f"^step 11: .*{said}") as error:
        run(model, pairs(), training_loss=training_loss)
    assert str(error.value).endswith("The model holds its last good weights.")
    assert weights(model).equal(model.before[11])
    assert model.norm.running_mean.isfinite().all()


def test_a_batch_of_nan_is_blamed_and_found_again(watched):
    data = pairs()
    data[77, 0] = math.nan
    seen = []

    def loss(model, x, step):
        if x.isnan().any():
            seen.append(int(step))
        return model.loss(x)

    with pytest.raises(NotFinite, match="The batch itself holds NaN") as error:
        run(Fails(), TensorData(data, checked=True), training_loss=loss)
    assert error.value.step == seen[0] and len(set(seen)) == 1


def test_noise_that_was_bad_once_is_not_blamed_on_a_layer(watched):
    calls = []

    def loss(model, x, step):
        calls.append(step)
        terms = model.loss(x)
        return terms | {"loss": terms["loss"] * (math.nan if len(calls) == 4 else 1)}

    with pytest.raises(NotFinite, match="^step 3: .* for the same images and other"):
        run(Fails(), pairs(), training_loss=loss)


@pytest.mark.parametrize("valid", [None, images(20)], ids=["train", "valid"])
def test_pixels_out_of_range_are_refused_in_the_same_words(valid, monkeypatch):
    data = TensorData(images(64).floats() * 255, checked=True)
    said = []
    for every in (None, 5):
        if every:
            monkeypatch.setitem(numerics.LOOK_EVERY, "cpu", every)
        model = small_vae()
        with pytest.raises(ValueError, match="divide|Divide") as error:
            run(model, *((data,) if valid is None else (images(64), data)))
        said.append(str(error.value).partition(" and got")[0])
        assert weights(model).isfinite().all()
        with pytest.raises(ValueError, match="pixels in .0, 1. and got values from"):
            validate(model, data)
    assert said[0] == said[1]


def test_a_bad_last_weight_is_mended_from_the_start_of_the_epoch(watched):
    "A running statistic holds NaN after the last step, which nobody took note of."

    def loss(model, x, step):
        terms = model.loss(x)
        if step == 15:
            model.norm.running_mean = torch.full((1,), math.nan)
        return terms

    model = Fails()
    with pytest.raises(NotFinite):
        run(model, pairs(), training_loss=loss)
    assert all(value.isfinite().all() for value in model.state_dict().values())


# --- saves, signals, resumes ----------------------------------------------------------------------------------------------------------


def signalling_loss(number=None, step=None, spoilt=10**9):
    "Raises a signal in a step; from `spoilt` on its losses are NaN."

    def loss(model, x, now):
        if now == step:
            signal.raise_signal(number)
        terms = model.loss(x)
        return terms | {"loss": terms["loss"] * (math.nan if now >= spoilt else 1.0)}

    return loss


def equal(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
@pytest.mark.parametrize("step", [2, 7, 11])
def test_a_signal_between_looks_is_heard_after_its_step(
    number, step, tmp_path, watched
):
    whole = small_vae()
    expected = run(whole, training_loss=signalling_loss())
    options = dict(checkpoint=tmp_path, checkpoint_seconds=60)
    with pytest.raises(KeyboardInterrupt, match=f"stopped at step {step + 1};"):
        run(small_vae(), training_loss=signalling_loss(number, step), **options)
    resumed = small_vae()
    history = run(resumed, training_loss=signalling_loss(), resume=True, **options)
    assert equal(resumed, whole)
    assert np.allclose(losses(history), losses(expected), rtol=1e-6)


def test_what_was_noted_before_a_signal_is_not_saved(tmp_path, watched):
    "Good until step 9, a signal in 11, the look after 15."
    options = dict(checkpoint=tmp_path, checkpoint_seconds=0)
    loss = signalling_loss(signal.SIGTERM, step=11, spoilt=9)
    with pytest.raises(NotFinite, match="^step 9: "):
        run(small_vae(), training_loss=loss, **options)
    resumed, whole = small_vae(), small_vae()
    run(resumed, training_loss=signalling_loss(), resume=True, **options)
    run(whole)
    assert equal(resumed, whole), "the last save was a good one"


@pytest.mark.slow
@pytest.mark.parametrize("first", [None, 5], ids=["saved read", "saved watched"])
def test_a_run_is_continued_where_it_is_watched_and_where_not(
    first, tmp_path, monkeypatch
):
    "As from a CPU to a GPU, and back."
    whole = conv()
    data = images(124, 3, 16)
    run(whole, data)

    def place(every):
        monkeypatch.delitem(numerics.LOOK_EVERY, "cpu", raising=False)
        if every:
            monkeypatch.setitem(numerics.LOOK_EVERY, "cpu", every)

    place(first)
    options = dict(checkpoint=tmp_path, checkpoint_seconds=0)
    loss = signalling_loss(signal.SIGINT, 10)
    with pytest.raises(KeyboardInterrupt):
        run(conv(), data, training_loss=loss, **options)
    place(None if first else 5)
    resumed = conv()
    run(resumed, data, training_loss=signalling_loss(), resume=True, **options)
    assert equal(resumed, whole)


def test_a_checkpoint_names_no_device(tmp_path):
    "What a GPU saved is read on the CPU: tensors come back there, and are copied to where the weights are."
    from vae_nb.core import load_tensors

    run(small_vae(), checkpoint=tmp_path)
    tensors, _ = load_tensors(tmp_path / CHECKPOINT, "info")
    assert {tensor.device for tensor in tensors.values()} == {CPU}


def test_a_callback_that_moves_the_model_is_told_so():
    model = small_vae()
    with pytest.raises(RuntimeError, match="moved the model from cpu to meta.*copy"):
        run(model, callbacks=lambda model, row: model.to("meta"))


def test_a_model_may_be_moved_and_moved_back(graphs):
    "Its weights lie elsewhere then, and the graph would write where they were."

    def there_and_back(model, row):
        model.double().float()

    moved, whole = small_vae(), small_vae()
    run(moved, epochs=3, callbacks=there_and_back, compile="graph")
    run(whole, epochs=3)
    assert len(graphs.tapes) == 3
    assert torch.allclose(weights(moved), weights(whole), atol=1e-6)


# --- a step as a graph ----------------------------------------------------------------------------------------------------------------


class Tape(TorchDispatchMode):
    "What a CUDA graph does, on a CPU: operations with the tensors they read and wrote, done again without Python in between."

    def __init__(self):
        super().__init__()
        self.operations, self.made, self.changed = [], set(), {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, schema = kwargs or {}, func._schema
        if schema.name in Reads.READING:
            raise RuntimeError("called a synchronizing operation")
        for argument, value in zip(schema.arguments, args):
            if argument.alias_info and argument.alias_info.is_write:
                self.keep(value)
        for argument in schema.arguments:
            if argument.alias_info and argument.alias_info.is_write:
                self.keep(kwargs.get(argument.name))
        out = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, out))
        self.made |= {id(leaf) for leaf in tree_leaves(out)}
        return out

    def keep(self, value):
        "What it was before: recording alters nothing."
        for leaf in tree_leaves(value):
            if isinstance(leaf, torch.Tensor) and id(leaf) not in self.made:
                self.changed.setdefault(id(leaf), (leaf, leaf.detach().clone()))

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, out in self.operations:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again)):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Graphs:
    "Stands in for `CudaGraphs`."

    def __init__(self):
        self.tapes = []

    def rehearse(self, work):
        with Tape():
            work()

    def record(self, work):
        noise, tape = torch.get_rng_state(), Tape()
        with tape:
            work()
        with torch.no_grad():
            for tensor, before in tape.changed.values():
                tensor.copy_(before)
        torch.set_rng_state(noise)
        self.tapes.append(tape)
        return tape.replay


@pytest.fixture
def graphs(watched, monkeypatch):
    graphs = Graphs()
    monkeypatch.setitem(capture.GRAPHS, "cpu", graphs)
    return graphs


def test_the_tape_replays_what_was_recorded_and_recording_does_nothing():
    x, w = torch.ones(3), torch.zeros(3)
    replay = Graphs().record(lambda: w.add_(x * 2))
    assert w.equal(torch.zeros(3))
    replay()
    x.fill_(5)
    replay()
    assert w.equal(torch.full((3,), 12.0))
    with pytest.raises(RuntimeError, match="synchronizing"):
        Graphs().rehearse(lambda: bool(x.sum() > 0))


def test_a_graph_trains_as_steps_do(graphs):
    plain, model = small_vae(), small_vae()
    options = dict(valid=images(40, seed=1), epochs=3, clip=5.0)
    expected, history = run(plain, **options), run(model, compile="graph", **options)
    assert len(graphs.tapes) == 1 and len(graphs.tapes[0].operations) > 50
    # the rate is a number of 32 bits where a graph reads it
    assert torch.allclose(weights(model), weights(plain), atol=1e-6)
    assert np.allclose(losses(history), losses(expected), rtol=1e-5)


def test_the_number_of_the_step_reaches_a_loss_in_a_graph(graphs):
    def warmed(model, x, step):
        terms = model.loss(x, beta=0.0)
        loss = terms["recon"] + step / 16 * terms["kl"]
        return terms | {"loss": loss, "beta": torch.as_tensor(step / 16)}

    plain, model = small_vae(), small_vae()
    expected = run(plain, training_loss=warmed)
    history = run(model, training_loss=warmed, compile="graph")
    assert graphs.tapes and torch.allclose(weights(model), weights(plain), atol=1e-6)
    assert np.allclose(losses(history), losses(expected), rtol=1e-5)


def test_a_joint_model_with_capacities_is_recorded_too(graphs):
    def train(**kwargs):
        model = joint()
        loss = joint_loss(model, Capacity(end=2.0, steps=12), balance=1.0)
        run(model, training_loss=loss, **kwargs)
        return weights(model)

    assert torch.allclose(train(), train(compile="graph"), atol=1e-6) and graphs.tapes


@pytest.mark.parametrize("at", [6, 13])
def test_a_nan_inside_a_graph_stops_the_run_as_ever(at, graphs):
    "The data go bad, because a graph hears nothing else."

    def spoiling(model, x, step):
        return {"loss": model.loss(x)["loss"] / (step < at)}

    whole, model = Fails(), Fails()
    run(whole, pairs(), training_loss=training_loss)
    with pytest.raises(NotFinite, match=f"^step {at}: Not finite: loss") as error:
        run(model, pairs(), training_loss=spoiling, compile="graph")
    assert graphs.tapes and error.value.step == at
    assert torch.allclose(weights(model), whole.before[at], atol=1e-6)


def test_what_a_callback_alters_is_recorded_anew(graphs):
    def heavier(model, row):
        model.beta = 1.0 + row["epoch"]

    plain, model = small_vae(), small_vae()
    run(plain, epochs=3, callbacks=heavier)
    run(model, epochs=3, callbacks=heavier, compile="graph")
    assert len(graphs.tapes) == 3
    assert torch.allclose(weights(model), weights(plain), atol=1e-6)


def test_a_model_that_looks_at_its_numbers_is_trained_without_a_graph(graphs):
    def looking(model, x, step):
        terms = model.loss(x)
        return terms if terms["kl"] > 1e6 else terms | {"loss": terms["loss"] * 2}

    plain, model = small_vae(), small_vae()
    run(plain, training_loss=looking)
    with pytest.warns(UserWarning, match="cannot be recorded.*synchronizing") as said:
        run(model, training_loss=looking, compile="graph")
    assert len(said) == 1 and not graphs.tapes
    assert weights(model).isfinite().all() and not weights(model).equal(weights(plain))


def test_a_loss_that_asks_for_a_whole_number_is_trained_without_a_graph(graphs):
    loss = importance_weighted(lambda step: 1 + step)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        run(small_vae(), images(124).binarised(), training_loss=loss, compile="graph")


@pytest.mark.parametrize("step", [4, 9])
def test_a_half_run_graph_is_saved_and_continued(step, graphs, tmp_path):
    whole = small_vae()
    run(whole, compile="graph")
    options = dict(checkpoint=tmp_path, checkpoint_seconds=0, compile="graph")
    advance, taken = one_run.Run.advance, []

    def stopping(self):
        advance(self)
        taken.append(0)
        if len(taken) == step:
            signal.raise_signal(signal.SIGINT)

    one_run.Run.advance = stopping
    try:
        with pytest.raises(KeyboardInterrupt, match=f"stopped at step {step};"):
            run(small_vae(), **options)
    finally:
        one_run.Run.advance = advance
    resumed = small_vae()
    run(resumed, resume=True, **options)
    # two steps after a start are taken without the graph, at a rate of 64 bits
    assert torch.allclose(weights(resumed), weights(whole), atol=1e-6)


def test_where_there_are_no_graphs_fit_says_so_and_trains():
    plain, model = small_vae(), small_vae()
    run(plain)
    with pytest.warns(UserWarning, match="graphs are for NVIDIA GPUs.*'cpu'"):
        run(model, compile="graph")
    assert equal(model, plain)
    with pytest.raises(ValueError, match="compile must be one of False, True, 'graph'"):
        run(small_vae(), compile="graphs")


# --- torch.compile --------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, 5], ids=["read", "watched"])
def test_a_compiled_loss_is_the_same_loss(every, monkeypatch):
    "Traced, and handed to a backend that computes as ever: no compiler is needed."
    monkeypatch.setattr(capture, "BACKEND", "eager")
    if every:
        monkeypatch.setitem(numerics.LOOK_EVERY, "cpu", every)
    plain, model = small_vae(), small_vae()
    run(plain, epochs=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run(model, epochs=1, compile=True)
    assert not [w for w in said if str(w.message).startswith("compile=")]
    assert torch.allclose(weights(model), weights(plain), atol=1e-6)


@pytest.mark.slow
def test_where_the_compiler_fails_the_loss_is_computed_as_it_is(monkeypatch):
    def broken(graph, inputs):
        raise OSError("no compiler here")

    monkeypatch.setattr(capture, "BACKEND", broken)
    plain, model = small_vae(), small_vae()
    run(plain, epochs=1)
    with pytest.warns(UserWarning, match="torch.compile failed") as said:
        run(model, epochs=1, compile=True)
    assert len(said) == 1 and equal(model, plain)


@pytest.mark.slow
def test_with_the_real_compiler():
    "Batches of one size, to code without vectors (their headers take most of a compiler's time); sizes that change are tested above."
    from torch._inductor import config

    plain, model, data = small_vae(), small_vae(), images(64)
    expected = run(plain, data, epochs=1)
    scalar = {"cpp.vec_isa_ok": True, "cpp.simdlen": 1, "compile_threads": 1}
    with config.patch(scalar):
        history = run(model, data, epochs=1, compile=True)
    assert history.last["train_loss"] == pytest.approx(
        expected.last["train_loss"], rel=0.02
    ), "it draws other noise"


# --- data on the way to a device ------------------------------------------------------------------------------------------------------


@contextmanager
def noted(log, name):
    log.append(name)
    yield


def streams(log):
    "Stands in for torch.cuda: says what is asked of it."
    main = SimpleNamespace(wait_stream=lambda side: log.append("wait"))
    return SimpleNamespace(
        Stream=lambda device: "side",
        stream=lambda side: noted(log, "send"),
        current_stream=lambda device: main,
    )


def test_a_batch_is_sent_before_the_one_in_front_of_it_is_used():
    log, data = [], torch.arange(6).split(2)
    for x in travel.sent_ahead(iter(data), CPU, streams(log)):
        log.append(x[0].item())
    assert log == ["send", "wait", "send", 0, "wait", "send", 2, "wait", 4]
    assert list(travel.sent_ahead(iter(()), CPU, streams([]))) == []


def test_a_set_without_room_travels_and_its_batches_are_the_same(monkeypatch):
    meta, data = torch.device("meta"), images(20)
    assert travel.on_device(data, data.pixels, meta).device == meta
    monkeypatch.setattr(travel, "room_on", lambda device: data.pixels.nbytes)
    tight = images(20)
    assert travel.on_device(tight, tight.pixels, meta) is tight.pixels
    shapes = [x.shape for x in tight.batches(8, shuffle=True, device=meta)]
    assert [len(shape) and shape[0] for shape in shapes] == [8, 8, 4]


def test_a_tensor_moves_to_a_device_once(monkeypatch):
    moves = []
    monkeypatch.setattr(travel, "room_on", lambda device: moves.append(device) or 1e9)
    data = TensorData(torch.rand(10, 2))
    for _ in range(3):
        assert {x.device.type for x in data.batches(4, True, device="meta")} == {"meta"}
    assert len(moves) == 1


@NEEDS_CUDA
@pytest.mark.parametrize("room", [1e9, 0], ids=["on the device", "travelling"])
def test_the_same_seed_gives_the_same_batches_on_every_device(room, monkeypatch):
    monkeypatch.setattr(travel, "room_on", lambda device: room)
    for data in (images(124), images(124).binarised(), TensorData(pairs())):
        both = [
            [
                x.cpu()
                for x in data.batches(
                    16, True, torch.Generator().manual_seed(3), device
                )
            ]
            for device in ("cpu", "cuda")
        ]
        assert all(a.equal(b) for a, b in zip(*both, strict=True))


@NEEDS_CUDA
@pytest.mark.parametrize("how", [False, "graph"])
def test_no_step_waits_for_the_gpu(how, monkeypatch):
    model, step = small_vae().cuda(), one_run.train_step
    calls = []

    def strict(run, x, number=None):
        calls.append(0)
        mode = "error" if len(calls) > 2 else "default"
        torch.cuda.set_sync_debug_mode(mode)
        try:
            return step(run, x, number)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(one_run, "train_step", strict)
    monkeypatch.setattr(capture, "train_step", strict)
    history = run(model, epochs=3, compile=how)
    assert math.isfinite(history.last["train_loss"])


@NEEDS_CUDA
def test_a_cuda_graph_trains_as_steps_do():
    plain, model = small_vae().cuda(), small_vae().cuda()
    run(plain, epochs=3), run(model, epochs=3, compile="graph")
    assert torch.allclose(weights(model), weights(plain), atol=1e-4)


@NEEDS_CUDA
@pytest.mark.parametrize("places", [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_saved_on_one_device_goes_on_on_the_other(places, tmp_path):
    options = dict(checkpoint=tmp_path, checkpoint_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        loss = signalling_loss(signal.SIGINT, 10)
        run(small_vae().to(places[0]), training_loss=loss, **options)
    model = small_vae().to(places[1])
    history = run(model, training_loss=signalling_loss(), resume=True, **options)
    assert len(history) == 2 and weights(model).isfinite().all()
    assert loop.device_of(model).type == places[1]
