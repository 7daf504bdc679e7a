"""What the walker of the bundled clip must look like in the world, and the man who jumps beside her."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from wham_blender import motion, weights
from wham_blender.body.body import Body
from wham_blender.motion import Motion, rotation_matrices
from wham_blender.pipeline.stages.job import Job
from wham_blender.pipeline.stages.run import run
from wham_blender.skeleton import COCO_NAMES, JOINT_NAMES

CLIP = Path(__file__).parents[1] / "clips" / "walk_and_jump.mp4"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Motion]:
    folder = tmp_path_factory.mktemp("walk")
    run(Job(CLIP, folder / "walk.npz", "ALL", hands=False, resume=folder / "job"), lambda message: None)
    return motion.load(folder / "walk.npz")


@pytest.fixture(scope="module")
def walker(people: list[Motion]) -> Motion:
    """She crosses the picture from right to left."""
    (walker,) = [person for person in people if person.keypoints[-1, 0, 0] < person.keypoints[0, 0, 0] - 800]
    return walker


def feet(person: Motion) -> np.ndarray:
    """The four foot points in the world (F, 4, 3), metres."""
    body = Body.load(weights.find("body").path)
    rotations = torch.from_numpy(rotation_matrices(person.poses.reshape(-1, 24, 3))).float()
    with torch.inference_mode():
        points = body.landmarks(rotations, torch.from_numpy(person.betas).expand(len(person), -1))
    return (points.feet + points.offset[:, None]).numpy() + person.trans[:, None]


def crossings(person: Motion) -> int:
    """How often one ankle passes the other in the picture: once a step."""
    ankles = [person.keypoints[:, COCO_NAMES.index(f"{side}_ankle"), 0] for side in ("left", "right")]
    ahead = gaussian_filter1d(ankles[0] - ankles[1], 2)
    return int((np.diff(np.sign(ahead[np.abs(ahead) > 15])) != 0).sum())


def test_both_people_are_found(people: list[Motion]) -> None:
    assert len(people) == 2
    assert all(person.visible.sum() > 150 for person in people)
    first, second = people
    both = np.intersect1d(first.frame[first.visible], second.frame[second.visible])
    assert len(both) > 130


def test_the_man_is_followed_through_his_somersault(people: list[Motion], walker: Motion) -> None:
    (man,) = [person for person in people if person is not walker]
    assert man.frame[0] == 1
    assert man.frame[-1] > 220
    jump = (man.frame > 160) & (man.frame < 190)
    assert (~man.visible[jump]).sum() < 10


def test_she_walks_at_a_walker_s_pace(walker: Motion) -> None:
    way = gaussian_filter1d(walker.joints()[:, 0, :2], 5, axis=0)
    metres = np.linalg.norm(np.diff(way, axis=0), axis=1).sum()
    assert 0.7 < metres / (walker.time[-1] - walker.time[0]) < 2


def test_a_foot_is_put_down_at_every_step(walker: Motion) -> None:
    steps = crossings(walker)
    assert 7 <= steps <= 13
    down = np.stack([walker.contacts[:, :2].max(1), walker.contacts[:, 2:].max(1)]) > 0.5
    landings = (np.diff(down.astype(int), axis=1) > 0).sum()
    assert abs(landings - steps) <= 2


def test_she_neither_sinks_nor_floats(walker: Motion) -> None:
    lowest = feet(walker)[..., 2].min(1)
    assert np.abs(lowest).max() < 0.05


def test_knees_bend_the_right_way(people: list[Motion]) -> None:
    for person in people:
        knees = person.poses.reshape(-1, 24, 3)[:, [JOINT_NAMES.index("left_knee"), JOINT_NAMES.index("right_knee")]]
        assert knees[..., 0].min() > -0.2  # about the body's x axis, the heel backwards is positive
        assert knees[..., 0].max() > 0.5


def test_left_stays_left(walker: Motion) -> None:
    joints = walker.joints()
    seen = np.einsum("fij,fnj->fni", walker.camera_R, joints) + walker.camera_t[:, None]
    pixels = seen @ walker.camera_K.T
    for part in ("ankle", "wrist"):
        ours, shown = (
            values[:, names.index(f"left_{part}"), 0] - values[:, names.index(f"right_{part}"), 0]
            for values, names in ((pixels[..., :2] / pixels[..., 2:], JOINT_NAMES), (walker.keypoints, COCO_NAMES))
        )
        apart = np.abs(shown) > 30
        assert (np.sign(ours[apart]) == np.sign(shown[apart])).mean() > 0.9


def test_both_stand_in_one_world(people: list[Motion], walker: Motion) -> None:
    """The same camera sees both, and the man on the roof is above her."""
    (jumper,) = [person for person in people if person is not walker]
    assert np.allclose(jumper.camera_R[0], walker.camera_R[0])
    assert np.allclose(jumper.camera_t[0], walker.camera_t[0])
    roof = np.median(jumper.joints()[jumper.frame < 100][:, 0, 2])
    assert roof > np.median(walker.joints()[:, 0, 2]) + 1
