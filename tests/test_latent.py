"""Paths and grids in latent space."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae_nb.latent import interpolate, manifold, traverse

A, B = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])


@pytest.mark.parametrize("spherical", [False, True])
def test_paths_start_and_end_where_they_should(spherical):
    path = interpolate(A, B, 5, spherical)
    assert path.shape == (5, 3)
    assert torch.allclose(path[0], A, atol=1e-6) and torch.allclose(path[-1], B, atol=1e-6)


@given(st.integers(0, 10_000))
def test_on_an_arc_length_and_angle_change_evenly(seed):
    a, b = torch.randn(2, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    path = interpolate(a, b, 7, spherical=True)
    lengths = path.norm(dim=1)
    assert torch.allclose(lengths.diff(), lengths.diff()[0], atol=1e-6)
    unit = path / lengths[:, None]
    angles = (unit[1:] * unit[:-1]).sum(1).clamp(-1, 1).arccos()
    assert torch.allclose(angles, angles[0], atol=1e-5)


def test_the_straight_line_dips_and_the_arc_does_not():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert interpolate(a, b, 3)[1].norm() < 0.71
    assert torch.allclose(interpolate(a, b, 3, spherical=True)[1].norm(), torch.tensor(1.0))


@pytest.mark.parametrize("b", [2 * A, -A, torch.zeros(3)])
def test_no_unique_arc(b):
    with pytest.raises(ValueError, match="spherical=False"):
        interpolate(A, b, 5, spherical=True)


def test_bad_ends_and_counts():
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        interpolate(A, B[:2])
    with pytest.raises(ValueError, match="not 1"):
        interpolate(A, B, 1)


def test_traverse_moves_one_dimension():
    path = traverse(A, 1, [-2, 0, 2])
    assert path.tolist() == [[3, -2, 0], [3, 0, 0], [3, 2, 0]]
    with pytest.raises(ValueError, match="from 0 to 2, not 3"):
        traverse(A, 3, [0])


def test_manifold_cells_hold_equal_probability():
    grid = manifold(9, edge=0.1)
    assert grid.shape == (81, 2)
    probability = torch.distributions.Normal(0.0, 1.0).cdf(grid)
    steps = probability[:9, 0].diff()
    assert torch.allclose(steps, torch.full((8,), 0.1), atol=1e-5)
    assert grid[0, 1] < grid[-1, 1] and grid[0, 0] < grid[8, 0]  # from the lowest row upwards, from left to right
    for bad in (dict(n=1), dict(edge=0.0), dict(edge=0.5)):
        with pytest.raises(ValueError):
            manifold(**bad)
