"""Tests of the films with truth: what is drawn lies where the truth says, and films are made once."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from tests.training.test_mocap import write_bvh
from tools.filming import cameras, film, table, truth
from tools.filming.cameras import Shot
from tools.filming.film import Crew, Film
from tools.filming.place import Place
from wham_blender.skeleton import JOINT_NAMES

SIZE = (240, 180)
PLACES = ("room", "lawn", "room", "lawn", "room")  # for each kind of camera
FRAMES = 45  # of the motion, 30 a second


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Crew:
    """Motion of somebody who walks two metres forward with swinging arms and legs."""
    folder = tmp_path_factory.mktemp("mocap")
    (folder / "cmu_walks").mkdir()
    made = Crew([folder])
    phase = np.linspace(0, 3 * np.pi, FRAMES)
    poses = np.zeros((FRAMES, 24, 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        poses[:, JOINT_NAMES.index(f"{side}_hip"), 0] = -0.4 * sign * np.sin(phase)
        poses[:, JOINT_NAMES.index(f"{side}_knee"), 0] = 0.5 - 0.4 * np.cos(phase + sign)
        poses[:, JOINT_NAMES.index(f"{side}_shoulder"), 2] = -sign * (1.2 + 0.2 * np.sin(phase))
        poses[:, JOINT_NAMES.index(f"{side}_elbow"), 1] = -sign * 0.5
    trans = np.stack([0 * phase, 1 + 0 * phase, np.linspace(0, 2, FRAMES)], 1)
    write_bvh(folder / "cmu_walks/a.bvh", poses.reshape(FRAMES, 72), trans, made.training.rest.double().numpy())
    return made


@pytest.mark.parametrize(("kind", "place"), list(zip(cameras.KINDS, PLACES, strict=True)))
def test_the_person_is_drawn_where_the_truth_says(crew, tmp_path, monkeypatch, kind, place):
    """Without the person, the film's pictures differ at the joints, and in the person's box alone."""
    plan = Film("a", "walk", ("a",), 0, 0.2, Shot(kind, SIZE, 70), place)
    monkeypatch.setattr(film.Studio, "_shadowed", lambda self, image, *_: image)
    frames, write = [], film._Writer.write

    def write_and_keep(self: film._Writer, image: np.ndarray) -> None:
        frames.append(image)
        write(self, image)

    monkeypatch.setattr(film._Writer, "write", write_and_keep)
    known = film.make(plan, crew, tmp_path / "a.mp4", "key")
    monkeypatch.setattr(film.Studio, "_draw_people", lambda *_: None)
    film.make(plan, crew, tmp_path / "empty.mp4", "key")
    filmed, empty = np.split(np.array(frames, int), 2)
    changed = np.abs(filmed - empty).max(-1) > 20
    assert len(filmed) == known.keypoints.shape[1] == 6
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
    joints = known.pixels(known.keypoints)[0]
    for row in range(6):
        rows, columns = np.nonzero(changed[row])
        top, left, right = known.boxes[0, row, [1, 0, 2]]
        assert abs(rows.min() - top) < 4
        assert abs(columns.min() - left) < 4
        assert abs(columns.max() - right) < 4
        x, y = joints[row, [5, 6, 11, 12, 13, 14]].T.round().astype(int)
        assert changed[row][y, x].mean() > 0.6, "trunk and knees are behind clothes that are no wall"
    assert (known.seen > 0.95).all()


def test_slow_motion_takes_longer_and_moves_as_far(crew, tmp_path):
    plan = Film("a", "walk", ("a",), 0.2, 0.3, Shot("static", SIZE, 70))
    true, slow = (film.make(replace(plan, slowness=s), crew, tmp_path / "a.mp4", "") for s in (1.0, 3.0))
    assert slow.keypoints.shape[1] == 3 * true.keypoints.shape[1]
    steps = [np.linalg.norm(np.diff(each.keypoints[0].mean(1), axis=0), axis=1).mean() for each in (true, slow)]
    assert steps[0] == pytest.approx(3 * steps[1], rel=0.1)


def test_somebody_behind_another_is_seen_less(crew):
    rotation = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    view = film.View(rotation, np.array([0, 1.0, 4]), np.array([[200.0, 0, 120], [0, 200, 90], [0, 0, 1]]), SIZE)
    bones = np.array([[[0, 0, 0.2], [0, 0, 1.7]]])
    alone, behind, beside, outside = ([0, 0, 0], [0, 1, 0], [1, 1, 0], [9, 0, 0])
    assert film._seen(view, [bones + alone]) == [1.0]
    near, far = film._seen(view, [bones + alone, bones + behind])
    assert near == 1.0
    assert far < 0.2
    assert film._seen(view, [bones + alone, bones + beside]) == [1.0, 1.0]
    assert film._seen(view, [bones + outside]) == [0.0]


def test_nothing_stands_between_camera_and_person():
    rng = np.random.default_rng(0)
    person, camera = np.zeros((1, 2)), np.array([[0, -4.0]])
    for _ in range(20):
        for box in Place("room", person, camera, rng)._boxes:
            corners = np.array([plane.corners[:, :2] for plane in box])
            low, high = corners.min((0, 1)), corners.max((0, 1))
            assert low[0] > 0.3 or high[0] < -0.3 or low[1] > 0.3 or high[1] < -4.3


def test_films_are_made_once_and_again_when_their_plan_changes(crew, tmp_path):
    plan = Film("a", "walk", ("a",), 0, 0.1, Shot("static", SIZE, 70))
    (path,) = table.make_missing([plan], crew, tmp_path)
    made = path.stat().st_mtime_ns
    table.make_missing([plan], crew, tmp_path)
    assert path.stat().st_mtime_ns == made
    table.make_missing([replace(plan, seed=1)], crew, tmp_path)
    assert path.stat().st_mtime_ns > made
    assert truth.load(path.with_suffix(".npz")).kind == "walk"


def test_quads_have_the_corners_of_their_triangles(crew):
    triangles = crew.body.faces
    assert all(set(quad) == {*first, *second}
               for quad, first, second in zip(crew.quads, triangles[::2], triangles[1::2], strict=True))  # fmt: skip
    with pytest.raises(ValueError, match="quadrilaterals"):
        film.quads(np.array([[0, 1, 2], [3, 4, 5]]))
