"The training loop: reproducible, quiet, and precise about what went wrong."

import copy
import io
import math
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from vae_nb.data import Images, TensorData, as_data
from vae_nb.train import History, NotFinite, Snapshots, fit, validate
from vae_nb.train.history import progress_bar
from vae_nb.train.numerics import bfloat16_share, fastest_precision, first_bad_layer
from vae_nb.train.run import make_optimiser
from vae_nb.vae import mlp_vae


@pytest.fixture(autouse=True)
def one_thread():
    "Bit-identical sums need one order of summation."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(n=96, seed=0):
    "Smooth grey pictures, 1×8×8, with one direction of variation."
    g = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(-1, 1, 8)[None, None, :, None].expand(n, 1, 8, 8)
    return torch.sigmoid(
        ramp * 4 * torch.randn(n, 1, 1, 1, generator=g)
        + 0.1 * torch.randn(n, 1, 8, 8, generator=g)
    )


def small_vae(seed=0, **kwargs):
    torch.manual_seed(seed)
    return mlp_vae((1, 8, 8), **{"latent_dim": 2, "hidden": (16,)} | kwargs)


def run(model, train=None, valid=None, **kwargs):
    "A short quiet run in float32."
    return fit(
        model,
        images() if train is None else train,
        valid,
        **{"epochs": 2, "batch_size": 32, "precision": "float32", "progress": False}
        | kwargs,
    )


def weights(model):
    return torch.cat([w.detach().flatten() for w in model.parameters()])


class Slope(nn.Module):
    "y = w·x for pairs (x, y): the smallest thing with a loss. Subclasses break it."

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.layer.weight)

    def loss(self, x):
        return {"loss": ((self.layer(x[:, :1]) - x[:, 1:]) ** 2).mean()}


def pairs(n=64, slope=3.0):
    x = torch.linspace(-1, 1, n)[:, None]
    return torch.cat([x, slope * x], 1)


# --- the same seed, the same run ---------------------------------------------------------------------------------------------------


def test_same_seed_same_bits_other_seed_other_bits():
    results = []
    for seed in (0, 0, 1):
        model = small_vae()
        history = run(model, valid=images(40, 1), seed=seed)
        results.append(
            (
                weights(model),
                [
                    {k: v for k, v in row.items() if k != "seconds"}
                    for row in history.rows
                ],
            )
        )
    assert results[0][0].equal(results[1][0]) and results[0][1] == results[1][1]
    assert not results[0][0].equal(results[2][0])


def test_global_random_state_neither_matters_nor_changes():
    model, again = small_vae(), small_vae()
    torch.manual_seed(1)
    run(model)
    torch.manual_seed(2)
    random.seed(2), np.random.seed(2)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    run(again, valid=images(40, 1), callbacks=(lambda model, row: torch.randn(3),))
    assert torch.get_rng_state().equal(before[0]) and random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()
    assert weights(model).equal(weights(again)), (
        "validation, a noisy callback or the global state changed the training"
    )


def test_global_random_state_survives_an_error():
    model = Slope()
    before = torch.get_rng_state()
    with pytest.raises(NotFinite):
        run(
            model,
            pairs(),
            training_loss=lambda model, x, step: {
                "loss": model.loss(x)["loss"] * torch.randn(()) * math.nan
            },
        )
    assert torch.get_rng_state().equal(before)


# --- the history -------------------------------------------------------------------------------------------------------------------


def test_history_columns_and_their_meaning():
    history = run(small_vae(), valid=images(40, 1), epochs=3)
    table = history.table
    assert list(table) == [
        "epoch",
        "train_loss",
        "train_recon",
        "train_kl",
        "valid_loss",
        "valid_recon",
        "valid_kl",
        "seconds",
    ]
    assert list(table["epoch"]) == [1, 2, 3] and (table["seconds"].diff()[1:] > 0).all()
    assert np.allclose(
        table["valid_loss"], table["valid_recon"] + table["valid_kl"], rtol=1e-5
    )
    assert history.last["valid_loss"] == pytest.approx(table["valid_loss"].iloc[-1])
    assert history.info["steps"] == 9 and history.info["precision"] == "float32"


def test_no_validation_no_columns_for_it():
    assert list(run(small_vae()).table) == [
        "epoch",
        "train_loss",
        "train_recon",
        "train_kl",
        "seconds",
    ]


def test_terms_of_a_model_without_kl():
    assert list(run(Slope(), pairs(), pairs()).table) == [
        "epoch",
        "train_loss",
        "valid_loss",
        "seconds",
    ]
    plain = run(small_vae(variational=False), valid=images(40, 1)).table
    assert "train_recon" in plain and "train_kl" not in plain


def test_short_last_batch_counts_by_its_images():
    class Mean(Slope):
        def loss(self, x):
            return {"loss": x[:, 0].mean() + 0 * self.layer.weight.sum()}

    x = torch.tensor([[0.0], [0.0], [0.0], [4.0]])
    assert run(Mean(), x, x, batch_size=3, epochs=1).last[
        "train_loss"
    ] == pytest.approx(1.0)
    assert validate(Mean(), x, batch_size=3)["loss"] == pytest.approx(1.0)


def test_csv_round_trip(tmp_path):
    history = run(small_vae(), valid=images(40, 1))
    path = history.to_csv(tmp_path / "deep" / "history.csv")
    pd.testing.assert_frame_equal(pd.read_csv(path), history.table)
    assert [p.name for p in path.parent.iterdir()] == ["history.csv"]


def test_empty_history_shows_itself():
    assert "empty" in repr(History()) and History().table.empty


# --- early stopping ----------------------------------------------------------------------------------------------------------------


class Overfitting(nn.Module):
    "Its weight runs away at a constant speed: training gets better all the time, validation is best on the way."

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def loss(self, x):
        return {"loss": -self.w if self.training else (self.w - 0.3) ** 2}


def test_early_stopping_keeps_the_best_weights():
    model = Overfitting()
    data = torch.zeros(4, 1)
    history = run(
        model,
        data,
        data,
        epochs=50,
        batch_size=4,
        lr=0.1,
        schedule="constant",
        patience=3,
    )
    valid = history.table["valid_loss"]
    assert len(valid) < 50 and len(valid) == valid.idxmin() + 1 + 3
    assert (
        validate(model, data)["loss"] == pytest.approx(valid.min())
        and valid.iloc[-1] > valid.min()
    )
    assert float(model.w.detach()) == pytest.approx(0.3, abs=0.06)


def test_the_closing_line_is_about_the_weights_that_are_kept(capsys):
    model, data = Overfitting(), torch.zeros(4, 1)
    history = run(
        model,
        data,
        data,
        epochs=50,
        batch_size=4,
        lr=0.1,
        schedule="constant",
        patience=3,
        progress=True,
    )
    best = history.table["valid_loss"].idxmin() + 1
    assert (
        history.info["kept_epoch"] == best
        and f"kept epoch {best}: " in capsys.readouterr().out
    )
    run(Overfitting(), data, data, epochs=2, batch_size=4)
    assert "kept" not in capsys.readouterr().out


def test_without_patience_the_last_weights_stay():
    model, data = Overfitting(), torch.zeros(4, 1)
    history = run(
        model, data, data, epochs=8, batch_size=4, lr=0.1, schedule="constant"
    )
    assert len(history.rows) == 8 and float(model.w.detach()) > 0.7


def test_patience_that_is_never_exhausted_still_keeps_the_best():
    model, data = Overfitting(), torch.zeros(4, 1)
    history = run(
        model,
        data,
        data,
        epochs=8,
        batch_size=4,
        lr=0.1,
        schedule="constant",
        patience=20,
    )
    assert len(history.rows) == 8 and validate(model, data)["loss"] == pytest.approx(
        history.table["valid_loss"].min()
    )


# --- settings that mean nothing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting, value",
    [
        ("lr", 0.0),
        ("lr", -1e-3),
        ("lr", math.nan),
        ("lr", math.inf),
        ("lr", "fast"),
        ("epochs", 0),
        ("epochs", -3),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("precision", "float16"),
        ("precision", None),
        ("schedule", "cosine"),
        ("patience", 0),
        ("patience", -1),
        ("clip", 0.0),
        ("clip", -1.0),
        ("clip", math.nan),
    ],
)
def test_bad_setting_is_refused_by_name_and_touches_nothing(setting, value):
    model = small_vae()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=setting) as error:
        run(model, valid=images(8), **{setting: value})
    assert repr(value) in str(error.value)
    assert all(before[name].equal(now) for name, now in model.state_dict().items())


def test_patience_without_validation_is_refused():
    with pytest.raises(ValueError, match="valid="):
        run(small_vae(), patience=2)


def test_data_of_a_wrong_kind_or_empty_are_refused():
    with pytest.raises(TypeError, match="list"):
        run(small_vae(), [1, 2, 3])
    with pytest.raises(ValueError, match="empty"):
        run(small_vae(), images(0))


# --- when a number stops being a number --------------------------------------------------------------------------------------------


def test_nan_that_a_batch_brings_along_blames_the_batch():
    class Foreign(TensorData):
        def batches(self, *args, **kwargs):
            yield torch.full((8, 2), math.nan)

    model = Slope()
    with pytest.raises(NotFinite, match="batch itself") as error:
        run(model, Foreign(pairs(8), checked=True), batch_size=64)
    assert (
        error.value.step == 0
        and "step 0" in str(error.value)
        and weights(model).isfinite().all()
    )


class Divides(nn.Module):
    "Finite for `until` forward passes, then infinite. Not a leaf's fault before that."

    def __init__(self, until):
        super().__init__()
        self.until, self.calls = until, 0

    def forward(self, x):
        self.calls += 1
        return x / (0.0 if self.calls > self.until else 1.0)


class Breaks(Slope):
    def __init__(self, until):
        super().__init__()
        self.bad = Divides(until)
        self.after = nn.Identity()

    def loss(self, x):
        return {
            "loss": (
                (self.after(self.bad(self.layer(x[:, :1]))) - x[:, 1:]) ** 2
            ).mean(),
            "other": torch.zeros(()),
        }


def test_a_layer_that_goes_bad_is_named_with_its_step():
    model = Breaks(until=6)
    with pytest.raises(NotFinite) as error:
        run(model, pairs(), batch_size=16, epochs=3)
    assert (
        error.value.step == 6
        and "step 6" in str(error.value)
        and "'bad'" in str(error.value)
    )
    assert "'after'" not in str(error.value) and "other" not in str(error.value)
    assert weights(model).isfinite().all() and float(model.layer.weight.detach()) != 1.0
    assert [row["epoch"] for row in error.value.history.rows] == [1]


def test_a_bad_loss_formula_is_not_blamed_on_a_layer():
    class Formula(Slope):
        def loss(self, x):
            return {"loss": super().loss(x)["loss"] * math.inf}

    with pytest.raises(NotFinite, match="loss function itself"):
        run(Formula(), pairs())


class BadGradient(Slope):
    "A finite loss whose gradient is NaN from step `at` on: the slope of a square root at zero, times zero."

    def __init__(self, at):
        super().__init__()
        self.at, self.step = at, 0

    def loss(self, x):
        loss = super().loss(x)["loss"]
        if self.training:
            self.step += 1
            if self.step > self.at:
                loss = loss + (self.layer.weight * 0).abs().sum().sqrt()
        return {"loss": loss}


def test_the_specimen_has_a_finite_loss_and_a_bad_gradient():
    model = BadGradient(at=0)
    loss = model.loss(pairs())["loss"]
    loss.backward()
    assert loss.isfinite() and not model.layer.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    "at",
    [4, 6, 7, 8, 11],
    ids=[
        "first of an epoch",
        "middle",
        "last of an epoch",
        "first again",
        "last of the run",
    ],
)
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_bad_gradient_never_leaves_bad_weights(at, clip):
    "12 steps in 3 epochs of 4; wherever the gradient goes bad the run stops, with finite weights that have learnt something."
    model = BadGradient(at)
    with pytest.raises(NotFinite, match="gradient") as error:
        run(model, pairs(), pairs(), batch_size=16, epochs=3, clip=clip, lr=0.1)
    assert weights(model).isfinite().all() and float(model.layer.weight.detach()) != 1.0
    assert "layer.weight" in str(error.value) and str(error.value).startswith("step")
    assert all(math.isfinite(row["valid_loss"]) for row in error.value.history.rows)


def test_weights_come_back_from_the_start_of_the_epoch():
    model, seen = BadGradient(at=6), {}
    with pytest.raises(NotFinite):
        run(
            model,
            pairs(),
            batch_size=16,
            epochs=3,
            lr=0.1,
            callbacks=(lambda model, row: seen.update({row["epoch"]: weights(model)}),),
        )
    assert weights(model).equal(seen[1])


def test_too_high_a_learning_rate_is_reported_for_a_vae():
    model = small_vae()
    with pytest.raises(NotFinite) as error:
        run(model, lr=1e4, schedule="constant", epochs=20)
    assert (
        isinstance(error.value, FloatingPointError)
        and weights(model).isfinite().all()
        and "lr" in str(error.value)
    )


def test_first_bad_layer_leaves_no_hooks():
    model = Breaks(until=0)
    assert first_bad_layer(model, lambda: model.loss(pairs())) == "bad"
    assert not any(module._forward_hooks for module in model.modules())


# --- optimiser and schedules -------------------------------------------------------------------------------------------------------


def rates(schedule, steps, lr=0.1):
    optimiser, scheduler = make_optimiser(
        Slope(), lr, steps, schedule, (0.9, 0.999), 0.0
    )
    used = []
    for _ in range(steps):
        used.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return used


@pytest.mark.parametrize("steps", [*range(1, 21), 100, 1001])
def test_one_cycle_works_for_any_number_of_steps(steps):
    used = rates("one_cycle", steps)
    assert all(math.isfinite(r) and 0 < r <= 0.1 * (1 + 1e-9) for r in used)
    if steps >= 20:
        assert max(used) > 0.098 and used[0] < 0.011 and used[-1] < 0.002
        assert used.index(max(used)) == pytest.approx(0.3 * steps, abs=2)


def test_constant_schedule():
    assert rates("constant", 7) == [0.1] * 7


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_of_very_few_steps_trains(epochs):
    model = Slope()
    run(model, pairs(), epochs=epochs, batch_size=64)
    assert float(model.layer.weight.detach()) != 1.0


def test_clip_bounds_the_gradient():
    class Watch(Slope):
        norms = ()

        def loss(self, x):
            if self.layer.weight.grad is not None:
                self.norms = (*self.norms, float(self.layer.weight.grad.norm()))
            return super().loss(x)

    free, clipped = Watch(), Watch()
    run(free, pairs(slope=100.0), epochs=3)
    run(clipped, pairs(slope=100.0), epochs=3, clip=0.5)
    assert min(free.norms) > 1 and max(clipped.norms) == pytest.approx(0.5, rel=1e-3)


def test_frozen_weights_stay_frozen():
    model = small_vae()
    model.encoder.requires_grad_(False)
    before = copy.deepcopy(model.encoder.state_dict())
    run(model, weight_decay=0.1)
    assert all(
        before[name].equal(now) for name, now in model.encoder.state_dict().items()
    )


# --- from a batch to its loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [False, True])
def test_a_debugger_passes_five_frames_from_fit_to_the_loss(own):
    "And whatever holds the loss on the way is called the loss."
    stacks, names = [], set()

    class Watched(Slope):
        def loss(self, x):
            look(self.loss)
            return super().loss(x)

    def training_loss(model, x, step):
        look(training_loss)
        return Slope.loss(model, x)

    def look(loss):
        frame, stack = sys._getframe(1), []
        while stack[-1:] != ["fit"] and frame.f_code.co_name != "validate":
            stack.append(frame.f_code.co_name)
            if len(stack) > 1:
                held = {name: frame.f_locals[name] for name in frame.f_locals}
                held |= vars(held["self"]) if "self" in held else {}
                names.update(name for name, value in held.items() if value == loss)
            frame = frame.f_back
        stacks.append(stack)

    run(Watched(), pairs(), training_loss=training_loss if own else None)
    first = "training_loss" if own else "loss"
    assert all(
        stack == [first, "forward", "train_step", "train_epoch", "fit"]
        for stack in stacks
    )
    assert len(stacks[0]) == 5 and names == ({"training_loss"} if own else set())


# --- the loss that trains, and the loss that judges --------------------------------------------------------------------------------


def test_training_loss_trains_and_model_loss_judges():
    seen = []

    def only_recon(model, x, step):
        seen.append((step, model.training))
        return {"loss": model.loss(x, beta=0.0)["loss"]}

    model, valid = small_vae(), images(40, 1)
    history = run(model, valid=valid, training_loss=only_recon)
    assert seen == [(step, True) for step in range(6)], (
        "called once a step, in training mode, never for validation"
    )
    assert list(history.table) == [
        "epoch",
        "train_loss",
        "valid_loss",
        "valid_recon",
        "valid_kl",
        "seconds",
    ]
    assert history.last["valid_loss"] == pytest.approx(
        validate(model, valid)["recon"] + validate(model, valid)["kl"], rel=1e-5
    )


def test_validate_is_deterministic_and_leaves_no_trace():
    model = small_vae()
    model.decoder.eval()  # a mixture of modes must come back as it was
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    before, valid = torch.get_rng_state(), images(40, 1)
    first = validate(model, valid)
    assert (
        torch.get_rng_state().equal(before)
        and [m.training for m in model.modules()] == modes
    )
    torch.randn(10)
    assert validate(model, valid) == first != validate(model, valid, seed=1)
    assert all(w.grad is None for w in model.parameters())


def test_validate_uses_evaluation_mode():
    class Modal(Slope):
        def loss(self, x):
            return {"loss": torch.tensor(float(self.training))}

    assert validate(Modal().train(), pairs())["loss"] == 0


# --- callbacks ---------------------------------------------------------------------------------------------------------------------


def test_callbacks_get_every_row():
    rows = []
    history = run(
        small_vae(),
        valid=images(40, 1),
        epochs=3,
        callbacks=(lambda model, row: rows.append(dict(row)),),
    )
    assert rows == [{"epoch": 0}, *history.rows]


def test_snapshots_are_taken_when_asked():
    model = small_vae()
    x = images(4, 2)
    some, every = (
        Snapshots(lambda m: m.reconstruct(x), epochs=(0, 1, 2)),
        Snapshots(lambda m: weights(m)),
    )
    run(model, epochs=4, callbacks=(some, every))
    assert list(some.taken) == [0, 1, 2] and list(every.taken) == [0, 1, 2, 3, 4]
    assert all(picture.shape == x.shape for picture in some.taken.values())
    assert every.taken[4].equal(weights(model)) and not every.taken[0].equal(
        every.taken[1]
    )
    assert Snapshots(lambda m: 0).taken == {}, "snapshots share no state"


def test_a_callback_cannot_spoil_the_mode_of_the_next_epoch():
    modes = []

    def loss(model, x, step):
        modes.append(model.training)
        return model.loss(x)

    model = small_vae().train()
    run(model, training_loss=loss, callbacks=(lambda model, row: model.eval(),))
    assert all(modes) and model.training, "the mode is as it was before the callback"


# --- precision and printing --------------------------------------------------------------------------------------------------------


def test_bfloat16_comes_near_float32():
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = small_vae()
        losses[precision] = run(
            model, valid=images(40, 1), epochs=8, precision=precision
        ).last["valid_loss"]
        assert all(w.dtype == torch.float32 for w in model.parameters())
    start = validate(small_vae(), images(40, 1))["loss"]
    assert losses["float32"] != losses["bfloat16"], "bfloat16 was not used"
    assert abs(losses["float32"] - losses["bfloat16"]) < 0.1 * (
        start - losses["float32"]
    )


@pytest.mark.parametrize("slower, chosen", [(0.25, "bfloat16"), (4.0, "float32")])
def test_precision_is_decided_by_processor_time_whatever_the_clock_on_the_wall_says(
    monkeypatch, slower, chosen
):
    "A busy machine lets a thread wait: here a second at every look at the wall clock."
    fastest_precision.cache_clear(), bfloat16_share.cache_clear()
    spent, walls, threads = [0.0], iter(range(10**6)), []
    product = torch.Tensor.__matmul__

    def costs(a, b):
        threads.append(torch.get_num_threads())
        spent[0] += slower if a.dtype == torch.bfloat16 else 1.0
        return product(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "__matmul__", costs)
        patch.setattr("vae_nb.train.numerics.time.thread_time", lambda: spent[0])
        patch.setattr("vae_nb.train.numerics.time.perf_counter", lambda: next(walls))
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            assert (
                bfloat16_share("cpu") == slower
                and fastest_precision("cpu", quiet=True) == chosen
            )
            assert set(threads) == {1} and torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)
    fastest_precision.cache_clear(), bfloat16_share.cache_clear()


def test_quiet_means_quiet(capfd):
    fastest_precision.cache_clear(), bfloat16_share.cache_clear()
    fit(small_vae(), images(), epochs=1, progress=False)
    out, err = capfd.readouterr()
    assert out == "" and err == ""


@pytest.mark.slow
def test_in_a_pipe_one_line_remains():
    code = (
        "import torch; from vae_nb.vae import mlp_vae; from vae_nb.train import fit\n"
        "for i in range(2): fit(mlp_vae((1, 4, 4), hidden=(8,)), torch.rand(64, 1, 4, 4), torch.rand(16, 1, 4, 4), epochs=3, batch_size=16)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert [line.split(":")[0].split("=")[0] for line in lines] == [
        "precision",
        "tensor",
        "tensor",
    ], done.stdout
    assert "3 epochs, 12 steps" in lines[1] and "validation" in lines[1]
    assert "\r" not in done.stdout + done.stderr and done.stderr == ""


# --- data ---------------------------------------------------------------------------------------------------------------------------


def test_tensor_data_gives_every_row_once():
    data = TensorData(torch.arange(10.0)[:, None])
    order = lambda seed: torch.cat(
        list(
            data.batches(4, shuffle=True, generator=torch.Generator().manual_seed(seed))
        )
    ).flatten()
    assert (
        order(0).sort().values.equal(torch.arange(10.0))
        and order(0).equal(order(0))
        and not order(0).equal(order(1))
    )
    assert (
        torch.cat(list(data.batches(3))).equal(data.values)
        and data.mean().item() == 4.5
    )
    assert as_data(data) is data


# --- batches of one image ------------------------------------------------------------------------------------------------------------


def sizes_seen(n, batch_size, epochs=1):
    "The sizes of the batches that a model is trained on, and the history."
    seen = []

    def loss(model, x, step):
        seen.append(len(x))
        return model.loss(x)

    return seen, run(
        Slope(), pairs(n), batch_size=batch_size, training_loss=loss, epochs=epochs
    )


@pytest.mark.parametrize(
    "n, batch_size, sizes",
    [
        (65, 32, [32, 33]),
        (33, 32, [33]),
        (66, 32, [32, 32, 2]),
        (64, 32, [32, 32]),
        (3, 2, [3]),
        (3, 1, [1, 1, 1]),
        (1, 4, [1]),
    ],
)
def test_no_batch_of_a_single_image_unless_asked_for(n, batch_size, sizes):
    seen, history = sizes_seen(n, batch_size, epochs=2)
    assert seen == 2 * sizes and history.info["steps"] == 2 * len(sizes)


def test_joined_batches_hold_every_image_once_and_their_mean_is_exact():
    class Mean(Slope):
        def loss(self, x):
            return {"loss": x[:, 0].mean() + 0 * self.layer.weight.sum()}

    assert run(Mean(), torch.arange(65.0)[:, None], batch_size=32, epochs=1).last[
        "train_loss"
    ] == pytest.approx(32.0)


def deep_conv(**options):
    "Its last feature maps are 1×1: batch normalisation needs two images."
    from vae_nb.conv import conv_vae

    return conv_vae((1, 28, 28), latent_dim=2, channels=(16, 16, 16, 16), **options)


def test_batch_normalisation_survives_any_number_of_images():
    assert math.isfinite(
        run(deep_conv(), torch.rand(33, 1, 28, 28), epochs=1).last["train_loss"]
    )
    for n, batch_size in ((1, 32), (4, 1)):
        with pytest.raises(ValueError, match='one image.*norm="group"'):
            run(deep_conv(), torch.rand(n, 1, 28, 28), batch_size=batch_size)
    assert run(deep_conv(norm="group"), torch.rand(1, 1, 28, 28)).info["steps"] == 2


# --- data in every form ---------------------------------------------------------------------------------------------------------------


BYTES = (images(64) * 255).round().byte()
UNIT = BYTES / 255
SET = torch.utils.data.TensorDataset(UNIT, torch.arange(64))
FORMS = {
    "array": UNIT.numpy(),
    "float64": UNIT.double(),
    "bytes": BYTES,
    "Images": Images(BYTES),
    "flat": UNIT.flatten(1).numpy(),
    "Dataset": SET,
    "loader": torch.utils.data.DataLoader(SET, batch_size=10),
    "pictures": [Image.fromarray(x[0].numpy()) for x in BYTES],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_run_on_any_form_is_the_run_on_the_tensor(form):
    expected, model = small_vae(), small_vae()
    rows = run(expected, UNIT, UNIT).rows
    found = run(model, FORMS[form], FORMS[form]).rows
    assert [row["valid_loss"] for row in found] == pytest.approx(
        [row["valid_loss"] for row in rows], rel=1e-6
    ), "bytes have a mean that is exact"
    assert torch.allclose(weights(model), weights(expected), atol=1e-6) and validate(
        model, FORMS[form]
    ) == validate(model, UNIT)


def test_the_type_of_the_weights_decides():
    single, double = (
        run(small_vae(variational=False).to(dtype), UNIT.to(dtype)).last["train_loss"]
        for dtype in (torch.float32, torch.float64)
    )
    assert single == pytest.approx(double, rel=1e-5) and single != double
    assert (
        run(Slope(), pairs().double().numpy()).last["train_loss"]
        == run(Slope(), pairs()).last["train_loss"]
    )


def test_whole_numbers_reach_a_model_of_ones_own_as_they_are():
    class Counts(Slope):
        def loss(self, x):
            assert x.dtype == torch.int64
            return super().loss(x.float())

    assert run(Counts(), torch.arange(20).view(10, 2)).info["steps"] == 2


@pytest.mark.parametrize(
    "wrong, said",
    [
        (BYTES.long(), r"x / 255"),
        ((BYTES > 9).byte(), "largest is 1"),
        (torch.rand(4, 3, 8, 8), r"\(batch, 1, 8, 8\), not \(4, 3, 8, 8\)"),
        (
            Images(torch.zeros(4, 3, 8, 8).byte()),
            r"shape \(1, 8, 8\), and those of train are \(3, 8, 8\)",
        ),
        (UNIT[:0], "train is empty"),
        ([], "empty"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_anything_is_touched(wrong, said):
    model = small_vae()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=said):
        run(model, wrong)
    assert all(before[name].equal(now) for name, now in model.state_dict().items())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_number_is_found_at_the_door_and_its_image_is_named(bad):
    data = torch.rand(5000, 1, 8, 8)
    data[4700, 0, 3, 3] = bad
    good, model = images(), small_vae()
    before = copy.deepcopy(model.state_dict())
    for train, valid, name in (
        (data, good, "train"),
        (data.numpy(), good, "train"),
        (TensorData(data), good, "train"),
        (good, data, "valid"),
        (torch.utils.data.TensorDataset(data), good, "train"),
    ):
        with pytest.raises(
            ValueError, match=f"image 4700 of {name} holds NaN or infinity"
        ):
            run(model, train, valid)
    with pytest.raises(ValueError, match="image 4700"):
        validate(model, data)
    assert all(before[name].equal(now) for name, now in model.state_dict().items())


def test_data_are_looked_through_once(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "vae_nb.data.tensors.check_numbers", lambda x, what: seen.append(what)
    )
    run(small_vae(), UNIT, UNIT, epochs=3)
    assert seen == ["train", "valid"]


def test_a_mean_that_is_no_number_never_enters_the_bias():
    class Own(TensorData):
        def mean(self):
            return super().mean() * math.nan

    class Foreign:
        batches, mean, __len__ = (
            (lambda self, *args, **kwargs: Own(UNIT).batches(*args, **kwargs)),
            (lambda self: Own(UNIT).mean()),
            (lambda self: 64),
        )

    model = small_vae()
    with pytest.raises(ValueError, match="mean of train is not finite"):
        run(model, Foreign())
    assert weights(model).isfinite().all() and not model.initialised


def test_numpys_numbers_are_numbers(tmp_path):
    options = dict(
        epochs=2,
        batch_size=32,
        lr=0.25,
        seed=3,
        clip=1.5,
        patience=2,
        weight_decay=0.5,
        checkpoint_seconds=0.0,
    )
    kinds = {int: np.int64, float: np.float32}
    theirs = {name: kinds[type(value)](value) for name, value in options.items()}
    one, other = (
        small_vae(),
        mlp_vae((1, 8, 8), latent_dim=np.int64(2), hidden=(np.int32(16),)),
    )
    other.load_state_dict(one.state_dict())
    run(one, valid=images(8), **options)
    history = run(
        other,
        valid=images(8),
        betas=(np.float64(0.9), np.float32(0.99)),
        checkpoint=tmp_path,
        **theirs,
    )
    assert torch.allclose(weights(one), weights(other), atol=1e-6) and {
        type(value) for value in history.info.values()
    } <= {int, float, str}
    with pytest.raises(ValueError, match="epochs must be a positive integer, not 2.5"):
        run(one, epochs=np.float32(2.5))


# --- what a model, a loss and a callback may be -----------------------------------------------------------------------------------------


def test_history_is_read_by_name_and_by_place():
    history = run(small_vae(), valid=images(8), epochs=3)
    assert len(history) == 3 and history["train_loss"] == [
        row["train_loss"] for row in history.rows
    ] == list(history.table["train_loss"])
    assert (
        history[-1] is history.last
        and list(history) == history.rows
        and len(History()) == 0
        and History()
    )
    with pytest.raises(
        KeyError, match="no 'loss' in the history, only epoch, train_loss"
    ):
        history["loss"]


@pytest.mark.parametrize(
    "form",
    [
        lambda loss: loss,
        lambda loss: loss[None],
        lambda loss: {"loss": loss, "kl": 2.5},
        lambda loss: {"loss": loss, "kl": np.float32(2.5)},
        lambda loss: {"loss": loss, "kl": 2},
    ],
)
def test_a_loss_may_be_a_tensor_and_its_other_terms_plain_numbers(form):
    class Model(Slope):
        def loss(self, x):
            return form(super().loss(x)["loss"])

    plain, model = Slope(), Model()
    rows, found = run(plain, pairs(), pairs()).rows, run(model, pairs(), pairs()).rows
    assert [row["valid_loss"] for row in found] == [
        row["valid_loss"] for row in rows
    ] and weights(model).equal(weights(plain))
    assert all(
        row[name] in (2, 2.5)
        for row in found
        for name in ("train_kl", "valid_kl")
        if name in row
    )


@pytest.mark.parametrize(
    "terms, error, said",
    [
        (lambda loss: loss.item(), TypeError, "not float"),
        (lambda loss: (loss, 1), TypeError, "not tuple"),
        (lambda loss: None, TypeError, "not NoneType"),
        (lambda loss: {"total": loss}, TypeError, "a dict with 'total'"),
        (lambda loss: {"loss": loss.item()}, ValueError, "the loss has no gradient"),
        (lambda loss: loss.detach(), ValueError, "the loss has no gradient"),
        (
            lambda loss: loss.expand(4),
            ValueError,
            r"'loss' of the loss must be one number, and is of shape \(4,\)",
        ),
        (
            lambda loss: {"loss": loss, "kl": loss.expand(3)},
            ValueError,
            r"'kl' .*\(3,\).*mean\(0\)",
        ),
        (lambda loss: {"loss": loss, "kl": "much"}, TypeError, "'kl' .* not 'much'"),
    ],
)
def test_what_is_no_loss_is_refused_in_words(terms, error, said):
    model = Slope()
    with pytest.raises(error, match=said):
        run(
            model,
            pairs(),
            training_loss=lambda model, x, step: terms(model.loss(x)["loss"]),
        )
    assert float(model.layer.weight.detach()) == 1.0


def test_one_callback_needs_no_tuple():
    rows, snapshots = [], Snapshots(weights)
    history = run(Slope(), pairs(), callbacks=lambda model, row: rows.append(row))
    assert rows == [{"epoch": 0}, *history.rows]
    run(Slope(), pairs(), callbacks=snapshots), run(Slope(), pairs(), callbacks=None)
    assert list(snapshots.taken) == [0, 1, 2]
    with pytest.raises(TypeError, match=r"functions f\(model, row\), not 3"):
        run(Slope(), pairs(), callbacks=[3])


def test_a_model_that_cannot_be_trained_is_refused_in_words():
    with_nan = small_vae()
    with torch.no_grad():
        with_nan.decoder[0].weight[0, 0] = math.nan
    for model, options, error, said in (
        (
            nn.DataParallel(small_vae()),
            {},
            TypeError,
            "not DataParallel: pass model.module",
        ),
        (
            small_vae().requires_grad_(False),
            {},
            ValueError,
            r"nothing to train.*requires_grad_\(True\)",
        ),
        (
            nn.Identity(),
            {"training_loss": lambda model, x, step: x.sum()},
            ValueError,
            "nothing to train",
        ),
        (mlp_vae, {}, TypeError, "not function"),
        (images(), {}, TypeError, "not Tensor"),
        (nn.Linear(1, 1), {}, TypeError, r"Linear has no loss\(x\), which fit needs"),
        (
            nn.Linear(1, 1),
            {"training_loss": lambda model, x, step: model(x).sum(), "valid": pairs()},
            TypeError,
            "which validation needs",
        ),
        (with_nan, {}, ValueError, "'decoder.0.weight' of the model holds NaN"),
    ):
        with pytest.raises(error, match=said):
            run(model, **options)


def test_a_loss_of_frozen_weights_only_is_refused():
    model = small_vae()
    model.encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="depends on no weight that is trained"):
        run(
            model,
            training_loss=lambda model, x, step: model.encode(x).mean.square().mean(),
        )


def test_terms_of_sixteen_bits_are_summed_in_more():
    "The sum over an epoch has more digits than bfloat16 holds."

    def loss(model, x, step):
        told = torch.tensor(0.48).bfloat16()
        return model.loss(x) | {"told": told}

    row = run(small_vae(), images(1600), training_loss=loss).last
    assert row["train_told"] == pytest.approx(0.48, abs=2e-3)


def test_old_gradients_of_frozen_weights_count_for_nothing():
    clean, stale = small_vae(), small_vae()
    for w in stale.encoder.parameters():
        w.grad = torch.full_like(w, 1e3)
    for model in (clean, stale):
        model.encoder.requires_grad_(False)
        run(model, clip=1.0)
    assert weights(stale).equal(weights(clean))


def test_a_term_of_some_steps_is_averaged_over_those():
    loss = lambda model, x, step: model.loss(x) | ({} if step % 2 else {"told": 2.5})
    history = run(small_vae(), epochs=1, training_loss=loss)
    assert history.last["train_told"] == pytest.approx(2.5)


def test_a_notebook_sees_the_bar_move(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data["text/plain"]))
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: handle)
    monkeypatch.setattr("vae_nb.train.history.in_notebook", lambda: True)
    monkeypatch.setattr("sys.stderr", io.StringIO())  # no terminal, as a kernel's
    bar = progress_bar(3, shown=True)
    bar.set_postfix_str("epoch 1/1, loss 3.00")
    assert not bar.disable and "loss 3.00" in shown[-1]
