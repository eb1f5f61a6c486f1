"""Seeds, devices, safe files, modes."""

import errno
import os
import random
import stat

import numpy as np
import pytest
import torch

from vae_nb.core import atomic_path, evaluating, nearest, pick_device, seed_everything


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_seed_repeats_all_three_generators():
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert all(a != b for a, b in zip(draw(), first))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range_is_named(seed):
    with pytest.raises(ValueError, match=str(seed)):
        seed_everything(seed)


def test_device_that_is_not_there():
    missing = "mps" if pick_device().type != "mps" else "cuda"
    with pytest.raises(ValueError, match=f"'{missing}' is not on this machine"):
        pick_device(missing)
    assert pick_device("cpu") == torch.device("cpu")


def test_nearest():
    assert "'mnist'" in nearest("MNIST ", ["mnist", "digits"])
    assert nearest("zzz", ["mnist"]) == ""


def test_atomic_path_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    target = tmp_path / "deep" / "file"
    with atomic_path(target) as partial:
        partial.write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic_path(target) as partial:
        partial.write_text("half")
        raise OSError("disk full")
    assert target.read_text() == "old" and os.listdir(target.parent) == ["file"]


def test_atomic_path_respects_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "file") as partial:
            partial.write_text("x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_evaluating_restores_every_mode_even_after_an_error():
    net = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2))
    net[1].eval()
    with pytest.raises(RuntimeError), evaluating(net):
        assert not net.training and not net[0].training
        raise RuntimeError
    assert net.training and net[0].training and not net[1].training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_whatever_is_written_without_room_names_its_file_and_the_way_out(
    tmp_path, number
):
    (tmp_path / "file").write_text("old")
    with (
        pytest.raises(OSError, match="no room for it.*free some space.*file") as error,
        atomic_path(tmp_path / "file"),
    ):
        raise OSError(number, os.strerror(number))
    assert (
        error.value.errno == number
        and (tmp_path / "file").read_text() == "old"
        and os.listdir(tmp_path) == ["file"]
    )


def test_other_errors_stay_as_they_are(tmp_path):
    with (
        pytest.raises(PermissionError, match="^the body's own$"),
        atomic_path(tmp_path / "file"),
    ):
        raise PermissionError("the body's own")


def test_seed_is_any_whole_number_and_no_other():
    seed_everything(3)
    first = draw()
    seed_everything(np.int64(3))
    assert draw() == first
    with pytest.raises(ValueError, match="not 1.5"):
        seed_everything(1.5)


def test_a_card_beyond_the_last_is_named(monkeypatch):
    monkeypatch.setattr("vae_nb.core._best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert pick_device("cuda:0").index == 0
    with pytest.raises(ValueError, match="'cuda:1' is not on this machine"):
        pick_device("cuda:1")
