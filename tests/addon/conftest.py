"""Runs inside bpy: the add-on from this checkout, a clean scene for each test, and a motion to import."""

import os
import shutil
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import bpy  # first: it brings addon_utils

# isort: split
import addon_utils
import numpy as np
import pytest

from wham_blender import motion as motion_file
from wham_blender import weights
from wham_blender.addon.build_scene import build
from wham_blender.addon.jobs import import_job
from wham_blender.addon.jobs.queue import job_queue
from wham_blender.addon.properties import VideoOptions, option_names
from wham_blender.addon.scene.reading import Reading
from wham_blender.addon.settings import library
from wham_blender.motion import Motion

CLIP = Path(__file__).parents[1] / "clips" / "walk_and_jump.mp4"


def import_file(context, path, clip, settings, report):
    """Read a motion file and build what it holds, as the operator does; returns why a bake onto rigs failed."""
    return build(context, Reading(path, library()).result(), clip, settings, report)


def is_one_undo_step(operator, options, state):
    """Assert that an operator changes what ``state()`` returns, and that undo and redo bring both states back."""
    bpy.ops.ed.undo_push(message="before")
    before = state()
    assert getattr(bpy.ops.wham, operator)("EXEC_DEFAULT", True, **options) == {"FINISHED"}
    after = state()
    assert after != before
    bpy.ops.ed.undo()
    assert state() == before
    bpy.ops.ed.redo()
    assert state() == after


# Files of tests in which Blender's version makes little difference: they compute with what Blender gives them, or talk
# to processes.
_ALIKE = {
    f"test_{name}.py"
    for name in (
        "arriving_rigs", "bake_feet", "changed_skeletons", "farm", "feet", "finger_bakes", "foot_locking_on_motions",
        "foot_mesh", "guess", "guess_anything", "job", "job_record", "map_check", "maps", "setup", "values",
    )
}  # fmt: skip
_VERSION = bpy.app.version[:2]
_OLDEST, _BETWEEN = _VERSION < (4, 3), (4, 3) <= _VERSION < (5, 2)


def pytest_collection_modifyitems(config, items):
    """Divide the cases among Blender's versions when all tests run, which saves half of the time.

    The oldest and the newest Blender run all, but share the files named above; the two between share the others. Of
    the cases of one parametrized test, each of a pair has every second one. A file that is named runs whole.
    """
    if [Path(argument).resolve() for argument in config.args] != [Path(__file__).parent]:
        return
    numbers: Counter[str] = Counter()
    chosen: list[pytest.Item] = []
    other: list[pytest.Item] = []
    for item in items:
        test = item.nodeid.split("[")[0]
        numbers[test] += 1
        odd = (numbers[test] + len(test)) % 2 == 1  # tests of one case each are shared, too
        if item.path.name in _ALIKE:
            mine = not _BETWEEN and odd == _OLDEST
        else:
            mine = not _BETWEEN or odd == (_VERSION < (5, 0))
        (chosen if mine else other).append(item)
    config.hook.pytest_deselected(items=other)
    items[:] = chosen


_status: list[int] = []  # pytest's exit status, when it is known


def pytest_sessionfinish(exitstatus):
    _status.append(int(exitstatus))


def pytest_unconfigure():
    """Blender 4.2 as a module crashes when it quits after its own glTF exporter ran: end without it then."""
    if bpy.app.version < (4, 5, 0) and "io_scene_gltf2.blender.exp" in sys.modules and _status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status[0])


@contextmanager
def enabled():
    """The add-on from this checkout, enabled as Blender does; disabling shows that nothing is left pending at exit."""
    assert addon_utils.enable("wham_blender", default_set=True)
    yield
    addon_utils.disable("wham_blender", default_set=True)


@pytest.fixture(scope="session", autouse=True)
def _addon():
    with enabled():
        yield


@pytest.fixture(autouse=True)
def _clean_scene():
    """Each test starts from an empty file."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    if "wham_blender" not in bpy.context.preferences.addons:
        addon_utils.enable("wham_blender", default_set=True)


@pytest.fixture(scope="session")
def body() -> dict[str, np.ndarray]:
    """The arrays of the bundled body."""
    with np.load(weights.find("body").path, allow_pickle=False) as model:
        return {name: model[name] for name in model.files}


@pytest.fixture(scope="session")
def motion(body: dict[str, np.ndarray]) -> Motion:
    """Forty frames at 25 fps of large, varied rotations, in a size and shape of its own, seen by a moving camera."""
    return make_motion(body)


def make_motion(body: dict[str, np.ndarray], count: int = 40, rate: float = 25.0, seed: int = 0) -> Motion:
    """Random rotations up to 170 degrees about smoothly turning axes; contacts that switch; a camera that circles."""
    rng = np.random.default_rng(seed)
    t = np.arange(count)[:, None, None] / count
    phase, speed = rng.uniform(0, 2 * np.pi, (24, 3)), rng.integers(1, 4, (24, 3))
    axes = np.sin(2 * np.pi * speed * t + phase)
    angle = np.radians(170) * np.sin(2 * np.pi * t + phase[:, :1])
    poses = axes / np.linalg.norm(axes, axis=-1, keepdims=True) * angle
    betas = rng.normal(0, 1, 10)
    vertices = body["v_template"] + body["shapedirs"] @ betas
    turn = 2 * np.pi * t[:, 0, 0]
    cos, sin, zero, one = np.cos(turn), np.sin(turn), np.zeros(count), np.ones(count)
    # The camera looks inwards from a circle of 5 m, 1.2 m up: x tangential, y down, z inwards.
    camera_R = np.stack([-sin, cos, zero, zero, zero, -one, -cos, -sin, zero], 1).reshape(count, 3, 3)
    centre = np.stack([5 * cos, 5 * sin, 1.2 * one], 1)
    return Motion(
        poses=poses.reshape(count, 72),
        trans=np.stack([t[:, 0, 0], np.sin(turn), 1 + 0.1 * cos], 1),
        betas=betas,
        mocap_framerate=rate,
        contacts=np.clip(0.5 + 0.7 * np.sin(turn[:, None] * [1, 2, 3, 4] + [0, 1, 2, 3]), 0, 1),
        confidence=np.full(count, 0.8),
        visible=np.ones(count, bool),
        camera_R=camera_R,
        camera_t=-np.einsum("fij,fj->fi", camera_R, centre),
        camera_K=np.array([[900.0, 0, 610], [0, 900, 390], [0, 0, 1]]),
        rest_joints=body["J_regressor"] @ vertices,
        frame=np.arange(11, 11 + count),
        time=np.arange(10, 10 + count) / rate,
        keypoints=np.zeros((count, 17, 3)),
        meta={"clip": "dance.mp4", "size": [1280, 720]},
    )


@pytest.fixture
def motion_path(motion: Motion, tmp_path: Path) -> Path:
    """The motion's file."""
    path = tmp_path / "motion.npz"
    motion_file.save(path, [motion])
    return path


@pytest.fixture
def fake_worker(tmp_path, monkeypatch):
    """Makes the worker's Python a script that ignores what it is told to run and does what the test says.

    The script's text runs with ``arguments`` (what the worker would get), ``say(message)`` and ``protocol``.
    """
    if sys.platform == "win32":
        pytest.skip("the stand-in for a Python is a POSIX script")

    def install(body: str) -> None:
        monkeypatch.setenv("WHAM_WORKER_PYTHON", str(make_worker(tmp_path, body)))
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    return install


def make_worker(folder: Path, body: str) -> Path:
    """A Python, in a folder, that does what ``body`` says, whatever it is told to run: see `fake_worker`."""
    script = folder / "fake_worker.py"
    script.write_text(
        "import os, shutil, signal, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from wham_blender import launch, protocol\n"
        "launch.separate_messages('wham_blender')\n"
        "arguments = sys.argv[sys.argv.index('wham_blender.pipeline') + 1:]\n"
        "say = protocol.send\n" + body,
        "utf-8",
    )
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', "utf-8")
    python.chmod(0o755)
    return python


# What most stand-ins for the worker do in the end.
DELIVER = "shutil.copy({motion!r}, arguments[2]); say(protocol.Done(arguments[2]))\n"


@pytest.fixture
def clip(tmp_path):
    return shutil.copy(CLIP, tmp_path / "some clip.mp4")


@pytest.fixture
def jobs(tmp_path):
    return tmp_path / "data" / "wham_blender" / "jobs"


def add_job(path, **changes):
    """Put the import of a clip into the queue, its options as they are offered but for the changes."""
    known = bpy.ops.wham.import_video.get_rna_type().properties
    options = {name: known[name].default for name in option_names(VideoOptions)}
    work = import_job.prepare(path, options | {"fps": "CLIP"} | changes)
    job_queue.add(work)
    return work


@pytest.fixture
def queue(clip):
    """What a click in a window does, and its timer by hand: bpy as a module has no event loop that would call it."""

    class Queue:
        def __call__(self, path=clip, **changes):
            return add_job(Path(path), **changes)

        def until(self, condition):
            deadline = time.monotonic() + 30
            while not condition():
                assert time.monotonic() < deadline, (job_queue.running, job_queue.waiting, import_job.jobs.all)
                job_queue._on_timer()
                time.sleep(0.01)

        def to_end(self):
            self.until(lambda: not job_queue.busy and not job_queue.finishing)

    yield Queue()
    job_queue.stop()
    import_job.jobs.all = []
