"""What the user sees after an import: the character in the view, beside its film, and its steps in the timeline."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from window import HEIGHT, Window

from tests.clips import make
from tests.test_contracts import make_motion
from wham_blender import motion as motion_file

_SIZE = 320, 240
_WINDOW = "bpy.context.window_manager.windows[0]"
_HELPERS = """
import builtins
def areas(kind):
    return [a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == kind]
def main_region(area):
    return next(r for r in area.regions if r.type == 'WINDOW')
def heads():
    from bpy_extras.view3d_utils import location_3d_to_region_2d
    area = areas('VIEW_3D')[0]
    region, armature = main_region(area), bpy.context.view_layer.objects.active
    found = [location_3d_to_region_2d(region, area.spaces.active.region_3d, armature.matrix_world @ bone.head)
             for bone in armature.pose.bones]
    return [[place[0] / region.width, place[1] / region.height] if place else [-1, -1] for place in found]
def in_view(operator):
    area = areas('VIEW_3D')[0]
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area, region=main_region(area)):
        return list(getattr(bpy.ops.wham, operator)())
def perspectives():
    return [a.spaces.active.region_3d.view_perspective for a in sorted(areas('VIEW_3D'), key=lambda a: a.x)]
builtins.areas, builtins.main_region, builtins.heads = areas, main_region, heads
builtins.in_view, builtins.perspectives = in_view, perspectives
"""


@pytest.fixture
def imported(window: Window) -> Iterator[None]:
    """A character in Blender's own first scene, five metres from the cube."""
    path = window.folder / "walk.npz"
    make.write(window.folder / "walk.mp4", pictures=[np.full((*_SIZE[::-1], 3), 90, np.uint8)] * 40, fps=30)
    motion = make_motion(40)
    motion.trans[:, 0] += 5.0
    motion.contacts[:] = 0.0
    motion.contacts[5:15, :2] = motion.contacts[20:30, 2:] = 1.0
    motion.meta = {"clip": "walk.mp4", "size": list(_SIZE)}
    motion_file.save(path, [motion])
    window.ask("bpy.ops.wm.read_homefile(use_factory_startup=False, load_ui=False)")
    window.ask(_HELPERS)
    window.ask(f"with bpy.context.temp_override(window={_WINDOW}): bpy.ops.wham.import_motion(filepath={str(path)!r})")
    window.wait_for("any(ob.type == 'ARMATURE' for ob in bpy.data.objects)", 60)
    yield
    window.ask("bpy.ops.wm.read_homefile(use_empty=True, load_ui=False)")


def test_the_character_is_framed_and_the_range_is_its_own(window: Window, imported: None) -> None:
    window.picture()  # drawn
    heads = np.array(window.ask("heads()"))
    assert heads.min() > 0 and heads.max() < 1
    assert np.ptp(heads[:, 1]) > 0.3
    scene = window.ask("(lambda s: [s.frame_start, s.frame_end, s.frame_current])(bpy.context.scene)")
    assert scene == [1, 40, 1]


def test_steps_are_bars_in_the_timeline(window: Window, imported: None) -> None:
    picture = window.picture()
    x, y, width, height = window.ask("(lambda a: [a.x, a.y, a.width, a.height])(areas('DOPESHEET_EDITOR')[0])")
    y += window.ask(f"{_WINDOW}.y")
    timeline = picture[HEIGHT - y - height : HEIGHT - y, x : x + width].astype(int)
    blue = (timeline[..., 0] - timeline[..., 2] > 80).any(0)
    orange = (timeline[..., 2] - timeline[..., 0] > 80).any(0)
    assert blue.sum() > 20 and orange.sum() > 20
    assert np.flatnonzero(blue).mean() < np.flatnonzero(orange).mean()


def test_film_and_character_side_by_side(window: Window, imported: None) -> None:
    assert window.ask("in_view('view_side_by_side')") == ["FINISHED"]
    assert window.ask(f"{_WINDOW}.screen.is_animation_playing")
    window.shot("side by side")
    window.ask(f"with bpy.context.temp_override(window={_WINDOW}): bpy.ops.screen.animation_cancel()")
    assert window.ask("perspectives()") == ["CAMERA", "PERSP"]
    assert window.ask("in_view('view_side_by_side')") == ["FINISHED"]  # nothing is split twice
    window.ask(f"with bpy.context.temp_override(window={_WINDOW}): bpy.ops.screen.animation_cancel()")
    assert window.ask("perspectives()") == ["CAMERA", "PERSP"]
    close = "with bpy.context.temp_override(window=WINDOW, area=sorted(areas('VIEW_3D'), key=lambda a: a.x)[0]): "
    window.ask(f"{close.replace('WINDOW', _WINDOW)}bpy.ops.screen.area_close()")
    assert window.ask("in_view('view_clip_camera')") == ["FINISHED"]
    assert window.ask("perspectives()") == ["CAMERA"]
    assert window.ask("in_view('view_clip_camera')") == ["FINISHED"]
    assert window.ask("perspectives()") == ["PERSP"]
