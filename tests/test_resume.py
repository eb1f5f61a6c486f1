"Runs that survive: whatever stops a run, resume=True ends with the weights and the history of the undisturbed one, bit by bit."

import contextlib
import errno
import functools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import types
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch

from benchmarks.fuzz import attack, checkpoint_target, model_target
from benchmarks.kills import live
from vae_nb.builders import builder
from vae_nb.conv import conv_vae
from vae_nb.core import load_tensors, save_tensors
from vae_nb.data import load
from vae_nb.saving import load_model
from vae_nb.train import NotFinite, fit, loop
from vae_nb.train.checkpoint import CHECKPOINT, Checkpoint
from vae_nb.train.state import _noise_state, _set_noise_state
from vae_nb.vae import VAE, mlp_vae

DIGITS = load("digits")
TRAIN, VALID = DIGITS[:200], DIGITS[200:260]
OPTIONS = dict(epochs=3, batch_size=32, precision="float32", progress=False, seed=5)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    "These tests save after every step; what fsync adds is time."
    monkeypatch.setattr("vae_nb.core.os.fsync", lambda descriptor: None)


def mlp():
    torch.manual_seed(1)
    return mlp_vae(DIGITS.shape, latent_dim=3, hidden=(16,))


def conv():
    "With dropout and batch normalisation: noise and buffers are part of the state."
    torch.manual_seed(1)
    return conv_vae(DIGITS.shape, latent_dim=3, channels=(4, 8), dropout=0.2)


def equal(a, b):
    "Whether two models hold the same bits."
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def losses(history):
    "The history without the times."
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in history.rows
    ]


@functools.cache
def undisturbed(make):
    "A model that nothing has stopped, and its history; both are only read."
    model = make()
    return model, losses(fit(model, TRAIN, VALID, **OPTIONS))


class Sleep(Exception):
    pass


def stopping_loss(step=None):
    "A training loss that stops the run just before that step, if any: a run is continued with a loss of the same name."

    def loss(model, x, now):
        if now == step:
            raise Sleep
        return model.loss(x)

    return loss


@pytest.mark.slow
@pytest.mark.parametrize("make", [mlp, conv])
@pytest.mark.parametrize("step", [1, 6, 7, 8, 20])  # 7 steps an epoch
def test_a_run_stopped_anywhere_ends_as_the_undisturbed_one(tmp_path, make, step):
    expected, rows = undisturbed(make)
    with pytest.raises(Sleep):
        fit(
            make(),
            TRAIN,
            VALID,
            checkpoint=tmp_path,
            checkpoint_seconds=0,
            training_loss=stopping_loss(step),
            **OPTIONS,
        )
    resumed = make()
    history = fit(
        resumed,
        TRAIN,
        VALID,
        checkpoint=tmp_path,
        resume=True,
        training_loss=stopping_loss(),
        **OPTIONS,
    )
    assert equal(resumed, expected) and losses(history) == rows
    assert history.info["steps"] == 21


def test_checkpoints_change_nothing(tmp_path):
    (plain, rows), saving = undisturbed(conv), conv()
    assert rows == losses(
        fit(saving, TRAIN, VALID, checkpoint=tmp_path, checkpoint_seconds=0, **OPTIONS)
    )
    assert equal(plain, saving)


def test_noise_of_binarised_data_goes_on_where_it_stopped(tmp_path):
    data, undisturbed, resumed = TRAIN.binarised("dynamic"), mlp(), mlp()
    fit(undisturbed, data, **OPTIONS)
    with pytest.raises(Sleep):
        fit(
            mlp(),
            data,
            checkpoint=tmp_path,
            checkpoint_seconds=0,
            training_loss=stopping_loss(10),
            **OPTIONS,
        )
    fit(
        resumed,
        data,
        checkpoint=tmp_path,
        resume=True,
        training_loss=stopping_loss(),
        **OPTIONS,
    )
    assert equal(resumed, undisturbed)


@pytest.mark.slow
def test_patience_remembers_the_best_weights_and_how_long_it_waited(tmp_path):
    options = OPTIONS | {
        "epochs": 60,
        "patience": 1,
        "lr": 0.05,
        "schedule": "constant",
    }  # so hot that it soon gets no better
    undisturbed = mlp()
    expected = fit(undisturbed, TRAIN, VALID, **options)
    assert 2 < len(expected.rows) < 60
    with pytest.raises(Sleep):
        fit(
            mlp(),
            TRAIN,
            VALID,
            checkpoint=tmp_path,
            checkpoint_seconds=0,
            training_loss=stopping_loss(7 * (len(expected.rows) - 1) + 3),
            **options,
        )
    resumed = mlp()
    history = fit(
        resumed,
        TRAIN,
        VALID,
        checkpoint=tmp_path,
        resume=True,
        training_loss=stopping_loss(),
        **options,
    )
    assert equal(resumed, undisturbed) and losses(history) == losses(expected)
    assert history.info["kept_epoch"] == expected.info["kept_epoch"]


def test_models_beside_the_checkpoint_can_be_opened(tmp_path):
    model = mlp()
    history = fit(model, TRAIN, VALID, checkpoint=tmp_path, **OPTIONS)
    assert equal(load_model(tmp_path), model)
    best = load_model(tmp_path / "best")
    assert (
        min(r["valid_loss"] for r in history.rows) == history.last["valid_loss"]
    ) == equal(best, model)


def test_a_finished_run_is_not_run_again(tmp_path):
    model, again, calls = mlp(), mlp(), []
    note = lambda model, x, step: calls.append(step) or model.loss(x)
    expected = fit(
        model, TRAIN, VALID, checkpoint=tmp_path, training_loss=note, **OPTIONS
    )
    calls.clear()
    history = fit(
        again,
        TRAIN,
        VALID,
        checkpoint=tmp_path,
        resume=True,
        training_loss=note,
        **OPTIONS,
    )
    assert not calls and equal(again, model) and history.rows == expected.rows


def test_a_run_that_is_there_is_never_overwritten(tmp_path):
    fit(mlp(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(FileExistsError, match="resume=True continues it"):
        fit(mlp(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_resume_without_a_run_starts_one_and_without_a_folder_is_an_error(tmp_path):
    model, undisturbed = mlp(), mlp()
    fit(undisturbed, TRAIN, **OPTIONS)
    fit(model, TRAIN, checkpoint=tmp_path / "new", resume=True, **OPTIONS)
    assert equal(model, undisturbed)
    with pytest.raises(ValueError, match="give checkpoint= too"):
        fit(mlp(), TRAIN, resume=True, **OPTIONS)
    with pytest.raises(ValueError, match="checkpoint_seconds must be .* not -1"):
        fit(
            mlp(),
            TRAIN,
            checkpoint=tmp_path / "other",
            checkpoint_seconds=-1,
            **OPTIONS,
        )


@pytest.mark.parametrize(
    "change, said",
    [
        ({"lr": 0.01}, "lr=0.002 there, 0.01 here"),
        ({"epochs": 9}, "epochs=3 there, 9 here"),
        ({"seed": 6}, "seed=5 there"),
    ],
)
def test_another_runs_checkpoint_is_refused(tmp_path, change, said):
    fit(mlp(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match=said):
        fit(mlp(), TRAIN, checkpoint=tmp_path, resume=True, **OPTIONS | change)


def test_another_models_or_datas_checkpoint_is_refused(tmp_path):
    fit(mlp(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="model="):
        fit(conv(), TRAIN, checkpoint=tmp_path, resume=True, **OPTIONS)
    with pytest.raises(ValueError, match="train="):
        fit(mlp(), TRAIN[:150], checkpoint=tmp_path, resume=True, **OPTIONS)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: mlp_by_hand(), "only a model that a function built"),
        (lambda: with_another_layer(), "does not build this model any more"),
    ],
)
def test_what_could_not_be_loaded_is_refused_before_the_first_step(
    tmp_path, make, message
):
    calls = []
    with pytest.raises(ValueError, match=message):
        fit(
            make(),
            TRAIN,
            checkpoint=tmp_path / "run",
            training_loss=lambda *a: calls.append(a),
            **OPTIONS,
        )
    assert not calls and not os.listdir(tmp_path)


def mlp_by_hand():
    model = mlp()
    return VAE(
        model.encoder, model.decoder, model.likelihood, model.shape, model.latent_dim
    )


def with_another_layer():
    model = mlp()
    model.encoder[2] = torch.nn.Hardtanh()
    return model


class Bias(torch.nn.Module):
    "A module that knows nothing of configs."

    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(DIGITS.shape))

    def loss(self, x):
        return {"loss": ((x - self.mean) ** 2).mean()}


def test_a_module_without_a_config_is_told_that_no_model_will_lie_beside_its_run(
    tmp_path,
):
    with pytest.warns(UserWarning, match="Bias does not say how it is built"):
        fit(Bias(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    assert os.listdir(tmp_path) == [CHECKPOINT]


def test_a_module_that_a_marked_function_made_lies_beside_its_run(tmp_path):
    model = builder(Bias)()
    fit(model, TRAIN, VALID, checkpoint=tmp_path, **OPTIONS)
    assert equal(load_model(tmp_path), model) and isinstance(
        load_model(tmp_path / "best", build=Bias), Bias
    )


@pytest.mark.slow
def test_a_compiled_model_resumes_and_opens(tmp_path):
    undisturbed = mlp()
    fit(undisturbed, TRAIN, VALID, **OPTIONS)
    with pytest.raises(Sleep):
        fit(
            torch.compile(mlp()),
            TRAIN,
            VALID,
            checkpoint=tmp_path,
            checkpoint_seconds=0,
            training_loss=stopping_loss(9),
            **OPTIONS,
        )
    fit(
        torch.compile(mlp()),
        TRAIN,
        VALID,
        checkpoint=tmp_path,
        resume=True,
        training_loss=stopping_loss(),
        **OPTIONS,
    )
    assert equal(load_model(tmp_path), undisturbed) and load_model(tmp_path / "best")


@pytest.mark.parametrize(
    "name, change",
    [
        ("model/decoder.0.weight", lambda w: w * math.nan),
        ("optimiser/0.exp_avg_sq", lambda w: w + math.inf),
        ("best/decoder.0.weight", lambda w: w.int()),
    ],
)
def test_a_checkpoint_of_no_use_is_refused(tmp_path, name, change):
    with pytest.raises(Sleep):
        fit(
            mlp(),
            TRAIN,
            VALID,
            checkpoint=tmp_path,
            checkpoint_seconds=0,
            training_loss=stopping_loss(9),
            **OPTIONS,
        )
    tensors, facts = load_tensors(
        tmp_path / CHECKPOINT, "settings", "at", "clock", "rates", "rows", "info"
    )
    save_tensors(
        tmp_path / CHECKPOINT, tensors | {name: change(tensors[name])}, **facts
    )
    with pytest.raises(
        ValueError, match="cannot continue from .*(holds NaN or infinity|torch.int32)"
    ):
        fit(
            mlp(),
            TRAIN,
            VALID,
            checkpoint=tmp_path,
            resume=True,
            training_loss=stopping_loss(),
            **OPTIONS,
        )


def test_a_checkpoint_nested_too_deep_is_refused(tmp_path):
    fit(mlp(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    data = (tmp_path / CHECKPOINT).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["rows"] = "[" * 50_000 + "]" * 50_000
    new = json.dumps(header).encode()
    (tmp_path / CHECKPOINT).write_bytes(
        len(new).to_bytes(8, "little") + new + data[8 + size :]
    )
    with pytest.raises(ValueError, match="its header is not readable"):
        fit(mlp(), TRAIN, checkpoint=tmp_path, resume=True, **OPTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("target", [checkpoint_target, model_target])
def test_every_mutated_file_is_refused_with_one_line_or_gives_a_result(target):
    "100 of the benchmark's 1,000."
    seen = Counter(what for kind, what in attack(target, 50, random.Random(1)))
    assert set(seen) == {"a result", "refused"} and seen["refused"] > 15


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": {"epoch": "one"}},
        {"at": 3},
        {"at": {"epoch": 2, "step": 3}},
        {"at": {"epoch": 4, "step": 10**6}},
        {"rates": []},
        {"rows": None},
        {"rates": ["fast"]},
        {"info": {}},
        {"clock": {"earlier": None}},
    ],
)
def test_facts_of_the_wrong_kind_are_refused(tmp_path, wrong):
    fit(mlp(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    names = ("settings", "at", "clock", "rates", "rows", "info")
    tensors, facts = load_tensors(tmp_path / CHECKPOINT, *names)
    save_tensors(tmp_path / CHECKPOINT, tensors, **facts | wrong)
    with pytest.raises(ValueError, match="cannot continue from .*Remove the folder"):
        fit(mlp(), TRAIN, checkpoint=tmp_path, resume=True, **OPTIONS)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    ids=lambda number: number.name,
)
def test_ctrl_c_and_its_like_save_at_the_end_of_the_step(tmp_path, number):
    undisturbed, resumed = mlp(), mlp()
    fit(undisturbed, TRAIN, **OPTIONS)

    def loss(model, x, step):
        if step == 11:
            signal.raise_signal(number)
        return model.loss(x)

    mine = lambda number, frame: (
        None
    )  # if fit does not listen, a test goes wrong and not the whole of pytest
    before = signal.signal(number, mine)
    try:
        with pytest.raises(
            KeyboardInterrupt, match="stopped at step 12.*resume=True continues it"
        ):
            fit(
                mlp(),
                TRAIN,
                checkpoint=tmp_path,
                checkpoint_seconds=1000,
                training_loss=loss,
                **OPTIONS,
            )
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)
    fit(
        resumed,
        TRAIN,
        checkpoint=tmp_path,
        resume=True,
        training_loss=stopping_loss(),
        **OPTIONS,
    )
    assert equal(resumed, undisturbed)


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    "As under nohup."

    def loss(model, x, step):
        signal.raise_signal(signal.SIGHUP)
        return model.loss(x)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert (
            len(
                fit(
                    mlp(), TRAIN, checkpoint=tmp_path, training_loss=loss, **OPTIONS
                ).rows
            )
            == 3
        )
    finally:
        signal.signal(signal.SIGHUP, before)


def during(monkeypatch, what):
    "Ctrl-C during the second epoch's validation, the last one, or the final save."
    calls = []
    place, number = {
        "a validation": ("loop.validate", 2),
        "the last validation": ("loop.validate", 3),
        "the final save": ("checkpoint.Checkpoint.save", None),
    }[what]
    original = Checkpoint.save if number is None else loop.validate

    def noting(*args, **options):
        calls.append(args)
        if len(calls) == number or number is None and args[1].position.finished:
            signal.raise_signal(signal.SIGINT)
        return original(*args, **options)

    monkeypatch.setattr(f"vae_nb.train.{place}", noting)


@pytest.mark.parametrize(
    "what, step",
    [("a validation", 14), ("the last validation", 21), ("the final save", 21)],
)
def test_ctrl_c_after_the_last_step_of_an_epoch_is_not_swallowed(
    tmp_path, monkeypatch, what, step
):
    undisturbed, model, resumed = mlp(), mlp(), mlp()
    expected = fit(undisturbed, TRAIN, VALID, **OPTIONS)
    with (
        monkeypatch.context() as patch,
        pytest.raises(
            KeyboardInterrupt,
            match=f"stopped at step {step};.*resume=True continues it",
        ),
    ):
        during(patch, what)
        fit(
            model, TRAIN, VALID, checkpoint=tmp_path, checkpoint_seconds=1000, **OPTIONS
        )
    history = fit(resumed, TRAIN, VALID, checkpoint=tmp_path, resume=True, **OPTIONS)
    assert equal(resumed, undisturbed) and losses(history) == losses(expected)


def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_waits(tmp_path):
    "Terminals and schedulers often send theirs twice."
    seen = []

    def loss(model, x, step, again):
        seen.append(step)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(again)
        seen.append("the end of the step")
        return model.loss(x)

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        with pytest.raises(KeyboardInterrupt, match="^$"):
            fit(
                mlp(),
                TRAIN,
                checkpoint=tmp_path / "at once",
                training_loss=partial(loss, again=signal.SIGINT),
                **OPTIONS,
            )
        assert (
            seen == [0]
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        with pytest.raises(KeyboardInterrupt, match="stopped at step 1;"):
            fit(
                mlp(),
                TRAIN,
                checkpoint=tmp_path / "waits",
                training_loss=partial(loss, again=signal.SIGTERM),
                **OPTIONS,
            )
    finally:
        signal.signal(signal.SIGTERM, before)


def test_fit_with_a_checkpoint_works_beside_the_main_thread(tmp_path):
    errors = []

    def run():
        try:
            fit(mlp(), TRAIN, checkpoint=tmp_path, **OPTIONS)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not errors and (tmp_path / CHECKPOINT).exists()


@pytest.mark.slow
def test_saving_is_never_more_than_a_sixtieth_of_the_time(tmp_path, monkeypatch):
    "Where saving is slow, it becomes rare: with saves of a second each and steps of a second, there is one every 60 steps."
    clock, saves = [time.perf_counter()], []
    monkeypatch.setattr("vae_nb.train.checkpoint.time.perf_counter", lambda: clock[0])

    def slow_save(path, tensors, **facts):
        clock[0] += 1.0
        saves.append(clock[0])

    def slow_loss(model, x, step):
        clock[0] += 1.0
        return model.loss(x)

    monkeypatch.setattr("vae_nb.train.checkpoint.save_tensors", slow_save)
    monkeypatch.setattr("vae_nb.saving.save_tensors", lambda *args, **facts: None)
    fit(
        mlp(),
        TRAIN,
        checkpoint=tmp_path,
        checkpoint_seconds=0.01,
        training_loss=slow_loss,
        **OPTIONS | {"epochs": 22},
    )
    assert len(saves) == 4, saves  # after steps 1, 61 and 122, and at the end


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_the_undisturbed_one(tmp_path):
    "SIGKILL at five random moments of a real process."
    threads, rng = torch.get_num_threads(), random.Random()
    torch.set_num_threads(1)
    undisturbed, model = conv(), conv()
    fit(undisturbed, TRAIN, VALID, **OPTIONS | {"epochs": 6})
    again = lambda model: fit(
        model,
        TRAIN,
        VALID,
        checkpoint=tmp_path,
        resume=True,
        checkpoint_seconds=0,
        **OPTIONS | {"epochs": 6},
    )
    for _ in range(5):
        live(lambda: again(conv()), rng.uniform(0, 0.4))
    again(model)
    torch.set_num_threads(threads)
    assert equal(model, undisturbed) and not list(tmp_path.rglob("*.partial"))


class Slope(torch.nn.Module):
    "y = w·x for pairs (x, y), whose gradient at one step is multiplied."

    def __init__(self, at=None, by=1.0):
        super().__init__()
        self.layer, self.at, self.by, self.steps = (
            torch.nn.Linear(1, 1, bias=False),
            at,
            by,
            0,
        )
        torch.nn.init.ones_(self.layer.weight)

    def loss(self, x):
        w = self.layer.weight
        if self.training:
            self.steps += 1
            if self.steps == self.at:
                w = w.clone()
                w.register_hook(lambda gradient: gradient * self.by)
        return {"loss": ((x[:, :1] @ w - x[:, 1:]) ** 2).mean()}


PAIRS = torch.cat(
    [torch.linspace(-1, 1, 64)[:, None], torch.linspace(-3, 3, 64)[:, None]], 1
)
SLOPE = OPTIONS | {"batch_size": 16, "lr": 0.1}  # four steps an epoch


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize(
    "at",
    [2, 4, 6, 12],
    ids=["middle", "last of an epoch", "second epoch", "last of the run"],
)
@pytest.mark.parametrize("by", [float("nan"), float("inf"), 1e30], ids=str)
def test_a_gradient_that_is_no_number_or_too_large_never_replaces_a_good_checkpoint(
    tmp_path, by, at, clip
):
    "1e30 is a number, but its square is not: Adam would divide by infinity from then on, and the weight would stand still."
    model = Slope(at, by)
    with pytest.raises(NotFinite, match="gradient of the step before") as error:
        fit(model, PAIRS, checkpoint=tmp_path, checkpoint_seconds=0, clip=clip, **SLOPE)
    assert error.value.step == at and model.layer.weight.isfinite().all()
    tensors, facts = load_tensors(tmp_path / CHECKPOINT, "at")
    assert facts["at"]["step"] == at - 1 and all(
        value.isfinite().all() for value in tensors.values()
    )
    resumed, undisturbed = Slope(), Slope()
    fit(resumed, PAIRS, checkpoint=tmp_path, resume=True, clip=clip, **SLOPE)
    fit(undisturbed, PAIRS, clip=clip, **SLOPE)
    assert equal(resumed, undisturbed)


def test_a_checkpoint_that_holds_nan_is_refused_by_name(tmp_path):
    fit(Slope(), PAIRS, checkpoint=tmp_path, **SLOPE)
    tensors, facts = load_tensors(
        tmp_path / CHECKPOINT, "settings", "at", "clock", "rates", "rows", "info"
    )
    save_tensors(
        tmp_path / CHECKPOINT,
        tensors | {"optimiser/0.exp_avg_sq": torch.tensor([[float("inf")]])},
        **facts,
    )
    with pytest.raises(
        ValueError, match="'optimiser/0.exp_avg_sq' holds NaN or infinity"
    ):
        fit(Slope(), PAIRS, checkpoint=tmp_path, resume=True, **SLOPE)


def test_resume_removes_its_own_torn_files_and_no_others(tmp_path):
    "A kill in the middle of a save leaves them; what others write below the folder is theirs."
    own = [
        tmp_path / ".checkpoint.safetensors.abc12345.partial",
        tmp_path / "best/.model.safetensors.x_y.partial",
        tmp_path / ".checkpoint.lock",
    ]
    others = [
        tmp_path / ".thesis.tex.abc12345.partial",
        tmp_path / "other/.checkpoint.safetensors.abc12345.partial",
        tmp_path / ".partial",
        tmp_path / "my.checkpoint.safetensors.x.partial",
    ]
    for path in own + others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    model, undisturbed = mlp(), mlp()
    fit(undisturbed, TRAIN, **OPTIONS)
    fit(model, TRAIN, checkpoint=tmp_path, resume=True, **OPTIONS)
    assert equal(model, undisturbed), "torn files are no run: a new one starts"
    assert not any(path.exists() for path in own) and all(
        path.exists() for path in others
    )


@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_in_one_folder_the_second_is_refused_and_the_first_undisturbed(
    tmp_path, resume
):
    undisturbed, first, second, refused = mlp(), mlp(), mlp(), []
    fit(undisturbed, TRAIN, **OPTIONS)
    before = [w.clone() for w in second.state_dict().values()]

    def loss(model, x, step):
        if step in (0, 11):
            torn = tmp_path / ".model.safetensors.abc12345.partial"
            torn.write_text("being written")
            with pytest.raises(BlockingIOError, match="is being trained in already"):
                fit(second, TRAIN, checkpoint=tmp_path, resume=resume, **OPTIONS)
            refused.append(torn.read_text())
        return model.loss(x)

    fit(
        first,
        TRAIN,
        checkpoint=tmp_path,
        checkpoint_seconds=0,
        training_loss=loss,
        **OPTIONS,
    )
    assert refused == ["being written"] * 2 and equal(first, undisturbed)
    assert all(a.equal(b) for a, b in zip(before, second.state_dict().values())), (
        "what is refused changes nothing"
    )


def test_another_process_holds_the_folder_until_it_is_killed(tmp_path):
    long = dict(
        checkpoint=tmp_path, checkpoint_seconds=0, **OPTIONS | {"epochs": 10_000}
    )
    process = multiprocessing.get_context("fork").Process(
        target=lambda: fit(mlp(), TRAIN, VALID, **long)
    )
    process.start()
    try:
        while process.is_alive() and not (tmp_path / CHECKPOINT).exists():
            time.sleep(0.01)
        with pytest.raises(BlockingIOError, match="is being trained in already"):
            fit(mlp(), TRAIN, VALID, resume=True, callbacks=(sleep_now,), **long)
    finally:
        process.kill()
        process.join()
    assert (tmp_path / ".checkpoint.lock").exists()
    with pytest.raises(Sleep):
        fit(mlp(), TRAIN, VALID, resume=True, callbacks=(sleep_now,), **long)
    assert not (tmp_path / ".checkpoint.lock").exists()


def sleep_now(model, row):
    raise Sleep


def test_a_run_that_ends_in_an_error_lets_go_of_its_folder(tmp_path):
    with pytest.raises(Sleep):
        fit(
            mlp(), TRAIN, checkpoint=tmp_path, training_loss=stopping_loss(3), **OPTIONS
        )
    fit(
        mlp(),
        TRAIN,
        checkpoint=tmp_path,
        resume=True,
        training_loss=stopping_loss(),
        **OPTIONS,
    )


@pytest.fixture
def small_disk(tmp_path):
    "A disk of 200 kB: a run of `mlp` needs half of it, and as much again while it saves."
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder],
            capture_output=True,
        ).returncode
    ):
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def filling(disk, full):
    "A training loss that fills the disk before some steps, and frees it before all others."

    def loss(model, x, step):
        ballast = disk / "ballast"
        ballast.unlink(missing_ok=True)
        if step in full:
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
                while file.write(bytes(1024)):
                    pass
        return model.loss(x)

    return loss


def tiny():
    torch.manual_seed(1)
    return mlp_vae((1, 8, 8), latent_dim=2, hidden=(16,))


SMALL = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_run_outlives_a_full_disk(small_disk):
    undisturbed, model = tiny(), tiny()
    expected = fit(undisturbed, SMALL, **OPTIONS)
    with pytest.warns(
        UserWarning,
        match=r"not be saved at step \d+: .*checkpoint.safetensors.*training goes on",
    ) as warned:
        history = fit(
            model,
            SMALL,
            checkpoint=small_disk,
            checkpoint_seconds=0,
            training_loss=filling(small_disk, {3, 4, 9}),
            **OPTIONS,
        )
    assert (
        len(warned) == 3
        and equal(model, undisturbed)
        and losses(history) == losses(expected)
    )
    assert equal(load_model(small_disk), model)


def test_a_disk_that_stays_full_ends_the_run_at_the_third_try_and_says_what_to_do(
    small_disk,
):
    resumed, undisturbed = tiny(), tiny()
    with (
        pytest.warns(UserWarning),
        pytest.raises(
            OSError, match="no room for it.*[Ff]ree some space.*checkpoint.safetensors"
        ) as error,
    ):
        fit(
            tiny(),
            SMALL,
            checkpoint=small_disk,
            checkpoint_seconds=0,
            training_loss=filling(small_disk, range(5, 100)),
            **OPTIONS,
        )
    assert error.value.errno == errno.ENOSPC
    (small_disk / "ballast").unlink()
    assert load_tensors(small_disk / CHECKPOINT, "at")[1]["at"][
        "step"
    ] == 5 and not list(small_disk.glob(".*.partial"))
    fit(undisturbed, SMALL, **OPTIONS)
    fit(
        resumed,
        SMALL,
        checkpoint=small_disk,
        resume=True,
        training_loss=filling(small_disk, ()),
        **OPTIONS,
    )
    assert equal(resumed, undisturbed)


def test_a_last_save_that_fails_is_an_error(small_disk):
    model, undisturbed = tiny(), tiny()
    fit(undisturbed, SMALL, **OPTIONS)
    with pytest.raises(OSError, match="no room for it") as error:
        fit(
            model,
            SMALL,
            checkpoint=small_disk,
            checkpoint_seconds=1000,
            training_loss=filling(small_disk, {20}),
            **OPTIONS,
        )
    assert (
        equal(model, undisturbed) and "the model in memory" in error.value.__notes__[0]
    )


def other_loss(model, x, step):
    return model.loss(x)


def test_what_changes_the_result_without_a_sound_is_refused(tmp_path):
    "The same number of other images, another training loss, another β than the builder was told."
    fit(mlp(), TRAIN, VALID, checkpoint=tmp_path, **OPTIONS)
    again = dict(checkpoint=tmp_path, resume=True, **OPTIONS)
    pixels = TRAIN.pixels.clone()
    pixels[137, 0, 14, 14] ^= 1
    for data, valid in (
        (replace(TRAIN, pixels=pixels), VALID),
        (TRAIN, TRAIN[:60]),
        (TRAIN.binarised("dynamic"), VALID),
    ):
        with pytest.raises(ValueError, match="digest="):
            fit(mlp(), data, valid, **again)
    with pytest.raises(ValueError, match="training_loss='' there, 'other_loss' here"):
        fit(mlp(), TRAIN, VALID, training_loss=partial(other_loss), **again)
    heavy = mlp()
    heavy.beta = 4.0
    with pytest.raises(ValueError, match="beta=1.0 there, 4.0 here"):
        fit(heavy, TRAIN, VALID, **again)
    assert fit(mlp(), TRAIN, VALID, **again).last["epoch"] == 3


def test_tensors_are_told_apart_too(tmp_path):
    fit(Slope(), PAIRS, checkpoint=tmp_path, **SLOPE)
    with pytest.raises(ValueError, match="digest="):
        fit(Slope(), PAIRS + 1e-6, checkpoint=tmp_path, resume=True, **SLOPE)


def test_a_checkpoint_of_an_earlier_version_goes_on(tmp_path):
    "It knows nothing of digests, names of losses and threads."
    fit(mlp(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    tensors, facts = load_tensors(
        tmp_path / CHECKPOINT, "settings", "at", "clock", "rates", "rows", "info"
    )
    for name in (
        "digest",
        "training_loss",
        "loss_arguments",
        "beta",
        "free_bits",
        "tau",
    ):
        del facts["settings"][name]
    del facts["info"]["threads"]
    save_tensors(tmp_path / CHECKPOINT, tensors, **facts)
    assert len(fit(mlp(), TRAIN, checkpoint=tmp_path, resume=True, **OPTIONS).rows) == 3


def test_another_number_of_threads_is_said(tmp_path):
    "Sums are added in another order: the bits differ."
    threads = torch.get_num_threads()
    with pytest.raises(Sleep):
        fit(
            mlp(),
            TRAIN,
            checkpoint=tmp_path,
            checkpoint_seconds=0,
            training_loss=stopping_loss(5),
            **OPTIONS,
        )
    try:
        torch.set_num_threads(threads + 1)
        with pytest.warns(
            UserWarning,
            match=rf"saved with {threads} thread.* goes on with {threads + 1}.*set_num_threads\({threads}\)",
        ):
            fit(
                mlp(),
                TRAIN,
                checkpoint=tmp_path,
                resume=True,
                training_loss=stopping_loss(),
                **OPTIONS,
            )
    finally:
        torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(
            mlp(),
            TRAIN,
            checkpoint=tmp_path,
            resume=True,
            training_loss=stopping_loss(),
            **OPTIONS,
        )


def test_a_finished_run_that_shall_be_longer_names_the_way(tmp_path):
    fit(mlp(), TRAIN, checkpoint=tmp_path / "run", **OPTIONS)
    with pytest.raises(
        ValueError,
        match=r"epochs=3 there, 9 here.*load_model\('.*run'\).*fit that into another folder",
    ):
        fit(
            mlp(),
            TRAIN,
            checkpoint=tmp_path / "run",
            resume=True,
            **OPTIONS | {"epochs": 9},
        )
    longer = load_model(tmp_path / "run")
    assert (
        fit(longer, TRAIN, checkpoint=tmp_path / "longer", **OPTIONS).last["train_loss"]
        < fit(mlp(), TRAIN, **OPTIONS).last["train_loss"]
    )


def test_a_refused_resume_leaves_the_model_as_it_was(tmp_path):
    fit(mlp(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    model = mlp()
    with pytest.raises(ValueError, match="digest="):
        fit(model, VALID[:60], checkpoint=tmp_path, resume=True, **OPTIONS)
    assert equal(model, mlp())


def weighted_loss(model, x, step, weight, how="as it is"):
    return {"loss": weight * model.loss(x)["loss"]}


def test_another_argument_of_a_training_loss_is_refused(tmp_path):
    again = dict(checkpoint=tmp_path, **OPTIONS)
    fit(mlp(), TRAIN, training_loss=partial(weighted_loss, weight=2.0), **again)
    again["resume"] = True
    for other in (
        partial(weighted_loss, weight=3.0),
        partial(weighted_loss, weight=2.0, how="otherwise"),
    ):
        with pytest.raises(ValueError, match=r"loss_arguments=\['weight=2.0'\] there"):
            fit(mlp(), TRAIN, training_loss=other, **again)
    same = partial(weighted_loss, weight=2.0)
    assert fit(mlp(), TRAIN, training_loss=same, **again).last["epoch"] == 3


@pytest.mark.parametrize(("kind", "asked"), [("mps", 0), ("xpu", 1)])
def test_the_noise_of_other_accelerators_is_saved_too(monkeypatch, kind, asked):
    device, held = torch.device(kind), [torch.tensor([1, 2, 3], dtype=torch.uint8)]
    place = (device,)[:asked]  # mps takes none

    def get(*which):
        assert which == place
        return held[0]

    def put(state, *which):
        assert which == place
        held[0] = state

    module = types.SimpleNamespace(get_rng_state=get, set_rng_state=put)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    states = _noise_state(device)
    expected, held[0] = held[0], None
    _set_noise_state(states, device)
    assert states.keys() == {"cpu", kind} and held[0] is expected


def test_a_beta_that_a_callback_set_goes_on(tmp_path):
    def warmed(model, row):
        model.beta = 1.0 + row["epoch"]

    undisturbed, resumed = mlp(), mlp()
    saving = dict(checkpoint=tmp_path, callbacks=warmed)
    expected = fit(undisturbed, TRAIN, callbacks=warmed, **OPTIONS)
    with pytest.raises(Sleep):
        stop = stopping_loss(10)
        fit(mlp(), TRAIN, checkpoint_seconds=0, training_loss=stop, **saving, **OPTIONS)
    options = dict(resume=True, training_loss=stopping_loss())
    history = fit(resumed, TRAIN, **options, **saving, **OPTIONS)
    assert equal(resumed, undisturbed) and losses(history) == losses(expected)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_other_frozen_weights_are_refused_and_the_model_stays(tmp_path, part):
    half = mlp()
    getattr(half, part).requires_grad_(False)
    fit(half, TRAIN, checkpoint=tmp_path, **OPTIONS)
    model = mlp()
    with pytest.raises(ValueError, match="frozen="):
        fit(model, TRAIN, checkpoint=tmp_path, resume=True, **OPTIONS)
    assert equal(model, mlp())


@pytest.mark.parametrize("resume", [False, True])
def test_a_model_that_is_there_is_never_overwritten(tmp_path, resume):
    before = (mlp().save(tmp_path) / "model.safetensors").read_bytes()
    saving = dict(checkpoint=tmp_path, resume=resume)
    with pytest.raises(FileExistsError, match="would overwrite"):
        fit(load_model(tmp_path), TRAIN, **saving, **OPTIONS)
    assert (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("value", [None, "a note", torch.tensor(2.5)])
def test_what_a_callback_adds_to_a_row_does_not_end_a_run(tmp_path, value):
    note = lambda model, row: row.update(extra=value)
    saving = dict(checkpoint=tmp_path, checkpoint_seconds=0, callbacks=note)
    with pytest.raises(Sleep):
        fit(mlp(), TRAIN, training_loss=stopping_loss(10), **saving, **OPTIONS)
    options = dict(resume=True, training_loss=stopping_loss())
    history = fit(mlp(), TRAIN, **options, **saving, **OPTIONS)
    assert len(history) == 3 and all("extra" in row for row in history.rows)


class Configured(Bias):
    "A config, of another kind than ours."

    def __init__(self):
        super().__init__()
        self.config = {"width": 3}


def test_a_config_of_ones_own_is_no_builders(tmp_path):
    with pytest.warns(UserWarning, match="Configured does not say how it is built"):
        fit(Configured(), TRAIN, checkpoint=tmp_path, **OPTIONS)
    assert os.listdir(tmp_path) == [CHECKPOINT]


def test_a_part_compiled_in_place_is_saved_and_another_forward_is_not(tmp_path):
    model = mlp()
    model.encoder.compile()
    assert equal(load_model(model.save(tmp_path)), model)
    model.decoder.forward = lambda z: None
    with pytest.raises(ValueError, match="another forward"):
        model.save(tmp_path)
