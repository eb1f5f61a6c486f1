"Several processes: the run of one where the noise is given; and nothing of it in a run of one."

import json
import math
import multiprocessing
import os
import runpy
import signal
import sys
import time

import pytest
import torch
from filelock import FileLock
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from vae_nb.builders import builder
from vae_nb.conv import conv_vae
from vae_nb.core import pick_device
from vae_nb.elbo import elbo_terms
from vae_nb.joint import joint_vae
from vae_nb.saving import load_model
from vae_nb.train import NotFinite, fit, launch, validate
from vae_nb.train.checkpoint import CHECKPOINT
from vae_nb.train.processes import World, join_processes
from vae_nb.vae import mlp_vae

STEPS = dict(
    epochs=20, batch_size=32, precision="float32", progress=False, seed=5
)  # five steps an epoch, the last of five images


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    "As the processes have; the disk is not waited for, and the launcher's log does not read pytest's deep stack for every line."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr("vae_nb.core.os.fsync", lambda descriptor: None)
    rendezvous = "torch.distributed.elastic.rendezvous.dynamic_rendezvous"
    monkeypatch.setattr(f"{rendezvous}.get_method_name", lambda depth=2: "")
    yield
    torch.set_num_threads(before)


def pictures(n, seed=0):
    "Smooth grey pictures in double precision, 1×8×8."
    g = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(-1, 1, 8)[None, None, :, None].expand(n, 1, 8, 8)
    return torch.sigmoid(
        ramp * 4 * torch.randn(n, 1, 1, 1, generator=g)
        + 0.1 * torch.randn(n, 1, 8, 8, generator=g)
    ).double()


def with_noise(x, seed):
    "The images and, as a second channel, noise for each."
    g = torch.Generator().manual_seed(seed)
    return torch.cat([x, torch.randn(x.shape, generator=g, dtype=x.dtype)], 1)


IMAGES = pictures(133)
TRAIN = with_noise(IMAGES, seed=2)
VALID = with_noise(pictures(41, seed=1), seed=3)


class NoiseGiven(nn.Module):
    "A VAE that takes the noise of its latents from the second channel of the data."

    def __init__(self):
        super().__init__()
        self.vae = mlp_vae((1, 8, 8), latent_dim=3, hidden=(16,)).double()

    def loss(self, x):
        image, epsilon = x[:, :1], x[:, 1].flatten(1)[:, :3]
        q = self.vae.encode(image)
        p = self.vae.decode(q.mean + q.stddev * epsilon)
        terms = elbo_terms(image, q, p, self.vae.prior, 1.0, 0.0)
        return {name: terms[name].mean(0) for name in ("loss", "recon", "kl")}


@builder
def noise_given():
    return NoiseGiven()


def mlp(seed=1):
    torch.manual_seed(seed)
    return noise_given()


def rows(history):
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in history.rows
    ]


def weights(model):
    return torch.cat([w.detach().flatten() for w in model.parameters()])


def near(a, b, rel):
    "Two lists of rows, number by number."
    return all(
        x.keys() == y.keys()
        and all(math.isclose(x[name], y[name], rel_tol=rel) for name in x)
        for x, y in zip(a, b, strict=True)
    )


# --- one curve -----------------------------------------------------------------------------------------------------------------------


def train_here(**options):
    "Runs in every process: even the weights of a process of its own seed become the main one's."
    model = mlp(seed=1 + int(os.environ.get("RANK", 0)))
    history = fit(model, TRAIN, VALID, **STEPS | options)
    return rows(history), weights(model)


@pytest.fixture(scope="module", autouse=True)
def alone():
    "The run of one process; what PyTorch imports for it, the processes forked later need not import again."
    return train_here()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_loss_curve_is_that_of_one_process(alone, processes):
    there = launch(train_here, processes=processes)
    assert len(alone[0]) == 20 and near(alone[0], there[0], 1e-6), "100 steps"
    assert torch.allclose(alone[1], there[1], rtol=1e-6)
    assert alone[0][-1]["valid_loss"] < alone[0][0]["valid_loss"] - 2, "it learns"


@pytest.mark.slow
def test_every_process_has_the_same_validation_and_the_same_best_weights():
    "Also where validation draws noise, and the best epoch is not the last."

    def everyone():
        torch.manual_seed(int(os.environ["RANK"]))
        model = mlp_vae((1, 8, 8), latent_dim=3, hidden=(16,)).double()
        options = dict(epochs=60, patience=1, lr=0.05, schedule="constant")
        history = fit(model, IMAGES, IMAGES[:41], **STEPS | options)
        found = [None, None]
        mine = (rows(history), history.info["kept_epoch"], weights(model))
        torch.distributed.all_gather_object(found, mine)
        return found

    first, second = launch(everyone, processes=2)
    assert first[:2] == second[:2] and first[1] < len(first[0]) < 60
    assert first[2].equal(second[2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp_vae((1, 16, 16), latent_dim=3, hidden=(16,)),
        lambda: conv_vae(
            (1, 16, 16), latent_dim=3, channels=(4, 8), norm="group", dropout=0.2
        ),
        lambda: joint_vae((1, 16, 16)),
    ],
)
def test_each_process_draws_its_own_noise_and_the_same_run_again(make):
    images = nn.functional.interpolate(IMAGES, 16).float()

    def losses(*seeds):
        found = []
        for seed in seeds:
            torch.manual_seed(0)
            history = fit(make(), images, **STEPS | {"epochs": 2, "seed": seed})
            found.append(history["train_loss"])
        return found

    (alone,), (two, other) = losses(5), launch(losses, 5, 6, processes=2)
    assert [two] == launch(losses, 5, processes=2) and two != other
    apart = [abs(a - b) / abs(alone[0]) for a, b in zip(alone, two, strict=True)]
    assert 1e-6 < max(apart) < 0.05, "other noise, the same distribution"


def test_noise_differs_between_processes():
    def draws():
        noise = []

        def loss(model, x, step):
            noise.append(torch.randn(2))
            return model.loss(x)

        fit(mlp(), TRAIN, training_loss=loss, **STEPS | {"epochs": 1})
        found = [None, None]
        torch.distributed.all_gather_object(found, torch.cat(noise))
        return found

    values = torch.cat(launch(draws, processes=2))
    assert len(values) == 20 and len(values.unique()) == 20


@pytest.mark.slow
def test_a_weight_that_a_loss_does_not_use_waits_as_in_one_process():
    def train():
        def loss(model, x, step):  # the encoder rests until step 7
            terms = model.loss(x)
            return (
                terms
                if step >= 7
                else {"loss": model.vae.decoder(x[:, 1, 0, :3]).square().mean()}
            )

        model = mlp()
        history = fit(model, TRAIN, training_loss=loss, **STEPS | {"epochs": 4})
        return rows(history)[-1], weights(model)

    alone, two = train(), launch(train, processes=2)
    assert torch.allclose(alone[1], two[1], rtol=1e-6)


@pytest.mark.slow
def test_clip_and_patience_decide_alike():
    options = dict(epochs=60, patience=1, lr=0.05, schedule="constant", clip=5.0)
    alone, there = (
        train_here(**options),
        launch(lambda: train_here(**options), processes=2),
    )
    assert 2 < len(alone[0]) < 60 and near(alone[0], there[0], 1e-6)


# --- shares --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 8, 15, 100])
def test_every_image_is_somebodys_once_and_nobodys_share_is_a_single_one(n, size):
    images, covered = torch.arange(n), []
    for world in (World(rank, size) for rank in range(size)):
        share = images[world.share(n)]
        assert world.count(n) in (0, len(share)) and len(share) >= min(2, n)
        covered += share[: world.count(n)].tolist()
    assert covered == list(range(n))


@pytest.mark.slow
def test_batch_normalisation_with_a_rest_of_two_images():
    def losses():
        torch.manual_seed(0)
        model = conv_vae((1, 16, 16), latent_dim=3, channels=(4, 4, 4, 4))
        return rows(
            fit(
                model,
                nn.functional.interpolate(IMAGES[:34], 16).float(),
                **STEPS | {"epochs": 1},
            )
        )

    assert math.isfinite(launch(losses, processes=2)[0]["train_loss"])


def test_a_process_alone_is_a_world_of_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes(torch.device("cpu")) == World()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert (
        join_processes(torch.device("cpu")) == World()
        and not torch.distributed.is_initialized()
    )


def test_each_process_is_given_its_own_accelerator(monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr(
        "torch.accelerator.current_accelerator", lambda: torch.device("cuda")
    )
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 4)
    assert pick_device() == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert (
        pick_device() == torch.device("cuda:3")
        and pick_device("cuda:1") == torch.device("cuda:1")
        and pick_device("cpu") == torch.device("cpu")
    )


@pytest.mark.parametrize("processes", [0, -1, 1.5, "two"])
def test_launch_refuses_what_is_no_number_of_processes(processes):
    with pytest.raises(ValueError, match=f"positive integer, not {processes!r}"):
        launch(print, processes=processes)


# --- who writes, and who prints ------------------------------------------------------------------------------------------------------


def test_only_the_main_process_writes_prints_and_calls_back(tmp_path, monkeypatch):
    def everyone():
        writes, calls = [], []
        monkeypatch.setattr(
            "vae_nb.train.checkpoint.save_tensors",
            lambda path, *args, **facts: writes.append(str(path)),
        )
        monkeypatch.setattr(
            "vae_nb.saving.save_tensors",
            lambda path, *args, **facts: writes.append(str(path)),
        )
        monkeypatch.setattr(
            "builtins.print", lambda *args, **kwargs: writes.append(args)
        )
        history = fit(
            mlp(),
            TRAIN,
            checkpoint=tmp_path,
            callbacks=(lambda model, row: calls.append(row),),
            **STEPS | {"epochs": 2, "progress": True, "precision": "auto"},
        )
        found = [None, None]
        torch.distributed.all_gather_object(
            found, (len(writes), len(calls), len(history.rows))
        )
        return found

    main, other = launch(everyone, processes=2)
    assert main[0] > 2 and main[1:] == (3, 2) and other == (0, 0, 2)


# --- runs that survive ---------------------------------------------------------------------------------------------------------------


class Sleep(Exception):
    pass


def stopped(folder, step):
    "A run that stops before a step, in every process."

    def loss(model, x, now):
        if now == step:
            raise Sleep
        return model.loss(x)

    try:
        fit(
            mlp(),
            TRAIN,
            VALID,
            checkpoint=folder,
            checkpoint_seconds=0,
            training_loss=loss,
            **STEPS | {"epochs": 4},
        )
    except Sleep:
        return True


@pytest.fixture(scope="module")
def undisturbed():
    return launch(train_here_four, processes=2)


@pytest.mark.slow
@pytest.mark.parametrize("began, goes_on", [(2, 2), (2, 1), (1, 2)])
def test_a_run_of_one_number_of_processes_is_continued_by_another(
    tmp_path, undisturbed, began, goes_on
):
    assert launch(stopped, tmp_path, 12, processes=began)
    again = launch(train_here_four, tmp_path, processes=goes_on)
    if began == goes_on:
        assert again[0] == undisturbed[0] and again[1].equal(undisturbed[1])
    assert near(again[0], undisturbed[0], 1e-6)
    assert not [p for p in tmp_path.rglob("*") if "partial" in p.name]
    assert weights(load_model(tmp_path, build=noise_given)).allclose(again[1])


@pytest.mark.slow
def test_noise_goes_on_where_it_stopped_with_as_many_processes(tmp_path):
    def train(stop=None, **options):
        def loss(model, x, step):
            if step == stop:
                raise Sleep
            return model.loss(x)

        torch.manual_seed(0)
        model = mlp_vae((1, 8, 8), latent_dim=3, hidden=(16,))
        try:
            options = STEPS | {"epochs": 4, "training_loss": loss} | options
            fit(model, IMAGES.float(), **options)
        except Sleep:
            pass
        return weights(model)

    saving = dict(checkpoint=tmp_path, checkpoint_seconds=0, resume=True)
    run = lambda stop=None, **options: launch(
        lambda: train(stop, **options), processes=2
    )
    undisturbed, stopped, resumed = run(), run(12, **saving), run(**saving)
    assert resumed.equal(undisturbed) and not stopped.equal(undisturbed)


def train_here_four(folder=None):
    def loss(model, x, step):  # a run is continued with a loss of the same name
        return model.loss(x)

    return train_here(
        epochs=4,
        training_loss=loss,
        **({} if folder is None else dict(checkpoint=folder, resume=True)),
    )


@pytest.mark.slow
def test_ctrl_c_that_only_one_process_hears_stops_all_after_the_same_step(tmp_path):
    def interrupted():
        def loss(model, x, step):
            if step == 11 and os.environ["RANK"] == "1":
                signal.raise_signal(signal.SIGINT)
            return model.loss(x)

        try:
            fit(
                mlp(),
                TRAIN,
                VALID,
                checkpoint=tmp_path,
                checkpoint_seconds=1000,
                training_loss=loss,
                **STEPS | {"epochs": 4},
            )
        except KeyboardInterrupt as stop:
            return str(stop)

    assert "stopped at step 12" in launch(interrupted, processes=2)
    assert near(
        launch(train_here_four, tmp_path, processes=2)[0], train_here(epochs=4)[0], 1e-6
    )


@pytest.mark.slow
def test_a_checkpoint_that_some_processes_do_not_see_is_an_error(tmp_path):
    stopped(tmp_path / "0", 12)

    def loss(model, x, step):
        return model.loss(x)

    def apart():
        try:
            fit(
                mlp(),
                TRAIN,
                VALID,
                checkpoint=tmp_path / os.environ["RANK"],
                resume=True,
                training_loss=loss,
                **STEPS | {"epochs": 4},
            )
        except ValueError as error:
            return str(error)

    assert "must be a folder that all processes see" in launch(apart, processes=2)


@pytest.mark.slow
def test_a_folder_that_is_taken_is_refused_by_all_processes(tmp_path):
    def begins():
        try:
            fit(mlp(), TRAIN, checkpoint=tmp_path, **STEPS | {"epochs": 4})
        except OSError as error:
            found = [None, None]
            torch.distributed.all_gather_object(found, type(error).__name__)
            return found

    with FileLock(tmp_path / ".checkpoint.lock"):
        assert launch(begins, processes=2) == ["BlockingIOError", "BlockingIOError"]


def test_a_loss_that_one_process_finds_infinite_stops_all_with_good_weights():
    def everyone():
        model = mlp()
        loss = lambda model, x, step: {
            "loss": model.loss(x)["loss"]
            * (math.nan if step == 7 and os.environ["RANK"] == "1" else 1.0)
        }
        try:
            fit(model, TRAIN, training_loss=loss, **STEPS | {"epochs": 4})
        except NotFinite as error:
            found = [None, None]
            torch.distributed.all_gather_object(
                found, (error.step, bool(weights(model).isfinite().all()))
            )
            return found

    assert launch(everyone, processes=2) == [(7, True), (7, True)]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_within_seconds_and_is_named(tmp_path, rank):
    def killed():
        def loss(model, x, step):
            if step == 12 and os.environ["RANK"] == str(rank):
                os.kill(os.getpid(), signal.SIGKILL)
            return model.loss(x)

        saving = dict(checkpoint=tmp_path, checkpoint_seconds=0)
        fit(mlp(), TRAIN, training_loss=loss, **saving, **STEPS | {"epochs": 4})

    start = time.perf_counter()
    with pytest.raises(ChildFailedError, match=rf"rank +: {rank} [\s\S]*SIGKILL"):
        launch(killed, processes=2)
    assert time.perf_counter() - start < 30, "about one on a machine with nothing else"
    assert (tmp_path / CHECKPOINT).exists()


def test_an_error_in_a_process_is_an_error_of_the_launch():
    def fails():
        raise KeyError("what went wrong")

    handlers = [
        signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ]
    with pytest.raises(Exception, match="what went wrong"):
        launch(fails, processes=2)
    assert [
        signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ] == handlers, "Ctrl-C is Ctrl-C again"


@pytest.mark.slow
def test_validate_outside_of_fit_waits_for_nobody():
    def main_only():
        fit(mlp(), TRAIN, **STEPS | {"epochs": 1})
        return validate(mlp(), VALID)["loss"] if os.environ["RANK"] == "0" else None

    assert launch(main_only, processes=2) == pytest.approx(
        validate(mlp(), VALID)["loss"]
    )


# --- launchers -----------------------------------------------------------------------------------------------------------------------


ENVIRONMENT = """
import json, os, sys
sys.stdout.write(json.dumps(dict(os.environ)) + "\\n")  # in one piece: two processes write here
"""
TRAINING = """
import json, sys
from test_multi import *
rows, _ = train_here(epochs=4, checkpoint=sys.argv[1], resume=True)
sys.stdout.write(json.dumps(rows) + "\\n")
"""
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def start(capfd, monkeypatch, launcher, code, folder):
    "What two processes print, one line of JSON each, as `python -m launcher` starts them: in a fork, which has PyTorch already."
    script = folder / "script.py"
    script.write_text(code)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    paths = [os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    module, *options = launcher
    words = [module, *options, str(script), str(folder / "run")]
    monkeypatch.setattr(sys, "argv", words)
    run = lambda: runpy.run_module(module, run_name="__main__", alter_sys=True)
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(300)
    out, err = capfd.readouterr()
    assert process.exitcode == 0, err[-3000:]
    return [json.loads(line) for line in out.splitlines() if line[:1] in ("[", "{")]


TORCHRUN = ["torch.distributed.run", "--nproc-per-node", "2"]
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]


@pytest.mark.slow
def test_a_script_under_torchrun(tmp_path, capfd, monkeypatch, alone):
    found = start(capfd, monkeypatch, TORCHRUN, TRAINING, tmp_path)
    assert len(found) == 2 and found[0] == found[1], "two processes"
    assert near(found[0], train_here(epochs=4)[0], 1e-6)
    assert (tmp_path / "run" / CHECKPOINT).exists()


@pytest.mark.slow
def test_accelerate_tells_its_processes_what_torchrun_tells(
    tmp_path, capfd, monkeypatch
):
    pytest.importorskip("accelerate")
    told = []
    for launcher in (TORCHRUN, ACCELERATE):
        found = start(capfd, monkeypatch, launcher, ENVIRONMENT, tmp_path)
        assert sorted(process["RANK"] for process in found) == ["0", "1"]
        assert {process["WORLD_SIZE"] for process in found} == {"2"}
        assert all(process.keys() >= set(TOLD) for process in found)
        elastic = lambda name: name.startswith("TORCHELASTIC")
        told.append([set(filter(elastic, process)) for process in found])
    assert told[0] == told[1] and told[0][0], "how they find one another"
