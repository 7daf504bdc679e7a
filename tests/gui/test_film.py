"""The film behind the camera as a real window draws it: which of its frames, and where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from window import HEIGHT, Window

from tests.clips import coded, make
from tests.test_contracts import make_motion
from wham_blender import motion as motion_file

_FOCAL, _DEPTH = 150.0, 5.0  # pixels, metres
# Where points of the film (u, v in its pixels) are on the screen, by the camera alone: x, y from the upper left.
_PROJECTED = """
def projected(points, size):
    from bpy_extras.view3d_utils import location_3d_to_region_2d
    window = bpy.context.window_manager.windows[0]
    area = next(a for a in window.screen.areas if a.type == 'VIEW_3D')
    region = next(r for r in area.regions if r.type == 'WINDOW')
    matrix = bpy.context.scene.camera.matrix_world
    found = []
    for u, v in points:
        ahead = Vector(((u - size[0] / 2) / FOCAL, (size[1] / 2 - v) / FOCAL, -1)) * DEPTH
        place = location_3d_to_region_2d(region, area.spaces.active.region_3d, matrix @ ahead)
        found.append((window.x + region.x + place[0], window.y + region.y + place[1]))
    return found
import builtins
from mathutils import Vector
builtins.projected = projected
"""


@pytest.fixture(params=[(160, 96), (96, 160)], ids=["landscape", "portrait"])
def film(window: Window, request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """A film of coded frames behind a character's camera, through which the view looks; its size."""
    width, height = size = request.param
    path = window.folder / "coded.npz"
    make.write(window.folder / "coded.mp4", pictures=[coded.picture(n, size) for n in range(1, 49)], fps=30)
    motion = make_motion(48)
    motion.camera_R[:], motion.camera_t[:] = motion.camera_R[0], motion.camera_t[0]
    motion.camera_K = np.array([[_FOCAL, 0, width / 2], [0, _FOCAL, height / 2], [0, 0, 1]], np.float32)
    motion.frame, motion.time, motion.mocap_framerate = np.arange(1, 49), np.arange(48) / 30, 30.0
    motion.meta = {"clip": "coded.mp4", "size": list(size)}
    motion_file.save(path, [motion])
    window.ask("bpy.ops.wm.read_homefile(use_empty=True, load_ui=False)")
    in_window = "with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]): "
    window.ask(f"{in_window}bpy.ops.wham.import_motion(filepath={str(path)!r}, fps='SCENE')")  # 24 fps
    window.ask("bpy.context.scene.camera = next(ob for ob in bpy.data.objects if ob.type == 'CAMERA')")
    window.ask("[ob.hide_set(True) for ob in bpy.data.objects if ob.type != 'CAMERA']")
    view = "next(a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == 'VIEW_3D').spaces.active"
    window.ask(f"{view}.region_3d.view_perspective = 'CAMERA'; {view}.region_3d.view_camera_zoom = -10")
    window.ask(_PROJECTED.replace("FOCAL", str(_FOCAL)).replace("DEPTH", str(_DEPTH)))
    yield size
    window.ask("bpy.ops.wm.read_homefile(use_empty=True, load_ui=False)")


def projected(window: Window, points: list[tuple[float, float]], size: tuple[int, int]) -> np.ndarray:
    found = window.ask(f"projected({json.dumps(points)}, {size})")
    return np.array(found) * [1, -1] + [0, HEIGHT]


def seen(window: Window, size: tuple[int, int]) -> int:
    """The number of the film's frame that the window shows."""
    columns = [((2 * bit + 1) * size[0] / 16, 0.4 * size[1]) for bit in range(8)]
    picture = window.picture().astype(int).mean(-1)
    return sum(
        int(picture[round(y), round(x)] > 128) << bit for bit, (x, y) in enumerate(projected(window, columns, size))
    )


def test_the_window_shows_the_frame_of_the_motion(window: Window, film: tuple[int, int]) -> None:
    shown = []
    for frame in (1, 2, 3, 4, 7, 12, 20, 38, 30, 5):
        window.ask(f"bpy.context.scene.frame_set({frame})")
        shown.append((frame, seen(window, film)))
    # Frame 1 + 24 t of the scene shows frame 1 + 30 t of the film, or the nearest before or after it.
    assert [frame for frame, number in shown if abs(number - (1 + (frame - 1) * 30 / 24)) > 0.5] == [], shown


@pytest.mark.parametrize("render", [(1920, 1080, 1), (1080, 1920, 1), (1000, 1000, 1), (720, 576, 2)])
def test_the_body_lies_on_the_film_at_every_render_size(
    window: Window, film: tuple[int, int], render: tuple[int, int, int]
) -> None:
    width, height = film
    x, y, aspect = render
    settings = f"bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = {x}, {y}"
    window.ask(f"{settings}; bpy.context.scene.render.pixel_aspect_x = {aspect}")
    window.ask("bpy.context.scene.frame_set(1)")  # frame 1: the first column is white
    picture = window.picture().astype(int).mean(-1)
    window.shot(f"film {width}x{height} in {x}x{y}")
    column = width / 8
    (left, middle), (right, _), (_, top), (_, bottom) = projected(
        window, [(0, height / 2), (column, height / 2), (column / 2, 0), (column / 2, height)], film
    )
    for line, ends in (
        (picture[round(middle) + 3], (left, right)),
        (picture[:, round((left + right) / 2)], (top, bottom)),
    ):
        near = slice(round(ends[0]) - 30, round(ends[1]) + 30)  # without menus
        white = near.start + np.flatnonzero(line[near] > 200)
        assert np.abs([white[0] - ends[0], white[-1] + 1 - ends[1]]).max() < 2.5, ends


def test_the_film_is_kept_in_the_file(window: Window, film: tuple[int, int], tmp_path: Path) -> None:
    path = window.folder / "saved.blend"
    window.ask(f"bpy.ops.wm.save_as_mainfile(filepath={str(path)!r})")
    window.ask(f"bpy.ops.wm.open_mainfile(filepath={str(path)!r}, load_ui=False)")
    window.ask("bpy.context.scene.frame_set(9)")
    assert window.ask("bpy.context.scene.camera.data.background_images[0].image_user.frame_offset") == 10
