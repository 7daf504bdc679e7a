"""Tests of the rendered training pictures: truncated and occluded bodies, poses with bent legs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tools.training import drawn, simulate
from wham_blender.body.rotations import closest_rotation

SIDE = 200
BODY = np.stack([np.linspace(60, 140, 25), np.linspace(30, 170, 25)], 1)


@pytest.mark.parametrize("seed", range(8))
def test_truncated_picture_is_black_beyond_a_line_through_the_body(seed: int) -> None:
    picture = np.full((SIDE, SIDE, 3), 200, np.uint8)
    low, high = drawn.truncate(picture, BODY, np.random.default_rng(seed))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = (columns >= low[0]) & (columns <= high[0]) & (rows >= low[1]) & (rows <= high[1])
    np.testing.assert_array_equal(picture[inside], 200)
    np.testing.assert_array_equal(picture[~inside], 0)
    beyond = ~((low < BODY) & (high > BODY)).all(1)
    assert 0 < beyond.sum() < 20


@pytest.mark.parametrize("seed", range(8))
def test_occluder_covers_a_part_of_the_body(seed: int) -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    drawn.occlude(picture, BODY, np.random.default_rng(seed))
    rows, columns = np.nonzero(picture.any(2))
    assert 0 < len(rows) < picture[..., 0].size
    (left, top), (right, bottom) = BODY.min(0), BODY.max(0)
    assert columns.min() < right and columns.max() > left and rows.min() < bottom and rows.max() > top


def test_bent_legs_are_anatomically_plausible() -> None:
    generator = torch.Generator().manual_seed(0)
    poses = torch.eye(3).expand(200, 24, 3, 3)
    folded = simulate.with_bent_legs(poses, generator)
    assert torch.allclose(closest_rotation(folded), folded, atol=1e-4)
    thighs, shins = folded[:, (1, 2)], folded[:, (1, 2)] @ folded[:, (4, 5)]
    down = torch.tensor([0.0, -1, 0])
    bend = torch.rad2deg(torch.arccos(((thighs @ down) * (shins @ down)).sum(-1).clamp(-1, 1)))
    assert bend.min() > 20 and bend.max() < 170
    behind = (thighs @ down)[..., 2] - (shins @ down)[..., 2]
    assert (behind > 0).float().mean() > 0.9, "shins lie behind the knees"
    apart = (thighs @ down)[:, 0, 0] - (thighs @ down)[:, 1, 0]
    assert (apart > -0.3).all() and apart.mean() > 0.2, "the legs are apart, not crossed"
    untouched = [joint for joint in range(24) if joint not in (0, 1, 2, 4, 5, 7, 8)]
    assert torch.equal(folded[:, untouched], poses[:, untouched])
