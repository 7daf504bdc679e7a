"""The panel Rig Map in a real window: rows filled by clicks on bones, mirrored and cleared, and a preview of a pose."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from window import Window

from tests.rigs import skeletons
from tests.test_contracts import make_motion
from wham_blender import motion as motion_file

_MAKE = """
rig = bpy.data.objects.new("Hero", bpy.data.armatures.new("Hero"))
bpy.context.scene.collection.objects.link(rig)
bpy.context.view_layer.objects.active = rig
rig.select_set(True)
with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
    bpy.ops.object.mode_set(mode="EDIT")
    for name, parent, head, tail in ROWS:
        bone = rig.data.edit_bones.new(name)
        bone.head, bone.tail, bone.parent = head, tail, rig.data.edit_bones.get(parent)
    bpy.ops.object.mode_set(mode="OBJECT")
"""
_RIG = "bpy.data.objects['Hero']"
_IN_VIEW = (
    "(lambda w: (lambda a: {'window': w, 'area': a, 'region': next(r for r in a.regions if r.type == 'WINDOW')})"
    "(next(a for a in w.screen.areas if a.type == 'VIEW_3D')))(bpy.context.window_manager.windows[0])"
)
_POSE = f"[[round(c, 4) for row in bone.matrix_basis for c in row] for bone in {_RIG}.pose.bones]"
ROWS = skeletons.read("unreal_ue5")
NAMES = {row.name: f"bone{37 * number % 101:03}" for number, row in enumerate(ROWS)}
WHEEL, UP = 30, 10  # steps from the upper end of the sidebar to its lower end, and from there to the button Preview
_STATE = "module('addon.retarget.rig_map_state').state()"
_MODAL = "[o.bl_idname for o in bpy.context.window_manager.windows[0].modal_operators]"
TO_RIG_MAP = 61  # pixels from the button Bake to Rig down to the heading of the panel below it
BUTTON = 31  # pixels from that heading down to its first button
USE_SELECTED, MIRROR, CLEAR = 0.69, 0.76, 0.83  # fractions of the panel's width at which the buttons of a row are


@pytest.fixture(scope="module")
def panel(window: Window) -> Iterator[Window]:
    """A rig without a known map and a motion in the scene, seen from the front, and the panel Rig Map open."""
    window.ask("bpy.data.batch_remove(set(bpy.data.objects))")
    path = window.folder / "dance.npz"
    motion_file.save(path, [make_motion(40)])
    in_view(window, f"bpy.ops.wham.import_motion(filepath={str(path)!r}, fps='CLIP')")
    in_view(window, "bpy.ops.object.hide_view_set(unselected=False)")
    made = [(NAMES[row.name], NAMES.get(row.parent, ""), [*row.head], [*row.tail]) for row in ROWS]
    window.ask(f"ROWS = {made!r}\n{_MAKE}")
    x, y = window.find("wham.bake_to_rig")
    window.click(x, y + TO_RIG_MAP)
    time.sleep(0.5)
    in_view(window, "bpy.ops.wham.guess_rig_map()")
    in_view(window, "bpy.ops.view3d.view_axis(type='FRONT')")
    in_view(window, "bpy.ops.view3d.view_selected()")
    window.scroll(window.panel(), WHEEL)
    yield window
    window.scroll(window.panel(), -2 * WHEEL)
    window.ask(f"{_STATE}.bones.clear()")
    window.ask("bpy.ops.object.mode_set(mode='OBJECT')")
    window.ask("bpy.data.batch_remove(set(bpy.data.objects)), bpy.ops.outliner.orphans_purge()")
    x, y = window.find("wham.guess_rig_map")
    window.click(x, y - BUTTON)  # the panel is closed again, as the other tests expect it


def in_view(window: Window, call: str) -> None:
    """Call an operator as the 3D view does."""
    window.ask(f"with bpy.context.temp_override(**{_IN_VIEW}): {call}")


def rows_of(window: Window) -> dict[str, str]:
    """The bones of the rows; of a chain the last one."""
    return dict(window.ask(f"[(row.joint, row.bone) for row in {_STATE}.bones]"))


def place_of(window: Window, bone: str) -> tuple[float, float]:
    """Where the middle of a bone is on the screen."""
    region = window.region("VIEW_3D", "WINDOW")
    x, y = window.ask(
        f"(lambda v: [*__import__('bpy_extras.view3d_utils').view3d_utils.location_3d_to_region_2d(v['region'], "
        f"v['area'].spaces.active.region_3d, {_RIG}.matrix_world @ {_RIG}.pose.bones[{bone!r}].center)])({_IN_VIEW})"
    )
    return region.x + x, region.y + region.height - y


def test_a_bone_that_is_clicked_goes_into_its_row_and_its_mirror_image_into_the_other(panel: Window) -> None:
    guessed = rows_of(panel)
    assert guessed["left_elbow"] == NAMES["lowerarm_l"]
    panel.shot("rig map")
    for joint in ("left_elbow", "right_elbow"):
        panel.click(*panel.find(f'clear_rig_map_bone(joint="{joint}"', CLEAR))
    assert (rows_of(panel)["left_elbow"], rows_of(panel)["right_elbow"]) == ("", "")
    panel.shot("rig map without elbows")
    in_view(panel, "bpy.ops.object.mode_set(mode='POSE')")
    panel.click(*place_of(panel, guessed["left_elbow"]))
    assert panel.ask(f"{_RIG}.data.bones.active.name") == guessed["left_elbow"]
    panel.click(*panel.find('set_rig_map_bone(joint="left_elbow"', USE_SELECTED))
    panel.wait_for(f"any(row.bone == {guessed['left_elbow']!r} for row in {_STATE}.bones)", 5)
    panel.click(*panel.find('mirror_rig_map_bone(joint="left_elbow"', MIRROR))
    time.sleep(0.5)
    assert rows_of(panel) == guessed
    in_view(panel, "bpy.ops.object.mode_set(mode='OBJECT')")


def test_a_preview_is_left_by_escape_undo_and_saving(panel: Window) -> None:
    before = panel.ask(_POSE)
    panel.ask("bpy.context.scene.frame_set(10)")
    in_view(panel, "bpy.ops.ed.undo_push(message='before')")
    panel.scroll(panel.panel(), -UP)
    button = panel.find("wham.preview_rig_map", near=0)
    for number, leave in enumerate((
        lambda: panel.in_view("Escape"),
        lambda: panel.in_view("ctrl+z"),
        lambda: in_view(panel, f"bpy.ops.wm.save_as_mainfile(filepath={str(panel.folder / 'film.blend')!r})"),
        lambda: panel.click(*button),
    )):  # fmt: skip
        panel.click(*button)
        panel.wait_for(f"{_POSE} != {before!r}", 10)
        posed = panel.ask(_POSE)
        panel.shot(f"rig map preview {number}")
        panel.ask("bpy.context.scene.frame_set(bpy.context.scene.frame_current + 5)")
        panel.wait_for(f"{_POSE} != {posed!r}", 10, "the preview does not follow the frame")
        leave()
        panel.wait_for(f"{_POSE} == {before!r}", 10, f"the pose is not put back ({number})")
        assert not panel.ask(f"{_RIG}.animation_data and {_RIG}.animation_data.action")
        panel.point(400 + number, 500)  # what waits for Escape ends with the next event
        panel.wait_for(f"not {_MODAL}", 5)
