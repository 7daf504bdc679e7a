"""The whole way from a new scene to a corrected character, at three sizes of the window and scales of the interface.

Each button is found as a user finds it, by pointing and scrolling, and clicked. The pictures are in out/gui.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from window import SCREEN, SIZE, Window

PAIR = ROOT / "tests/synthetic/clips/lawn_pair.mp4"
_FRAMES = 16  # of the clip: enough to see that the character moves
_MOST_CLICKS = 5
_ICON_COLUMN = 0.83  # of the panel's width: the folder beside the clip's path
_WINDOW = "bpy.context.window_manager.windows[0]"
_UI = f"next(r for a in {_WINDOW}.screen.areas if a.type == 'VIEW_3D' for r in a.regions if r.type == 'UI')"
_IDLE = "not module('addon.jobs.queue').job_queue.busy and not module('addon.jobs.queue').job_queue.finishing"
# A rig with the character's bones, selected for the bake
_RIG = """
armature = bpy.context.view_layer.objects.active
rig = armature.copy()
rig.data, rig.name = armature.data.copy(), 'Rig'
rig.animation_data_clear()
rig.wham_motion.take = ''
bpy.context.scene.collection.objects.link(rig)
rig.select_set(True)
"""
JOB_SECONDS = 120  # time limit of a short job on a busy machine


@pytest.fixture(params=[(1280, 800, 1.0), (1920, 1080, 1.0), (1920, 1080, 1.8)], ids="{0[0]}x{0[1]} at {0[2]}".format)
def seat(window: Window, request: pytest.FixtureRequest) -> Iterator[str]:
    """Blender as it starts, in a window of a size; a name for pictures."""
    width, height, scale = request.param
    window.ask("bpy.ops.wm.read_homefile()")
    window.resize((width, height), scale)
    yield f"walk {width}x{height} {scale}"
    window.resize(SIZE, 1.0)
    window.ask("bpy.ops.wm.read_homefile(use_empty=True)")
    window.show_tab()


def clip_folder(window: Window) -> Path:
    """A folder with one clip of two people, and nothing else."""
    folder = window.folder / "clips"
    folder.mkdir(exist_ok=True)
    if not (folder / PAIR.name).exists():
        shutil.copy(PAIR, folder)
    return folder


def tab(window: Window) -> tuple[float, float]:
    """Where the tab Video Motion of the sidebar is; the tab that was open is open again."""
    region = window.panel()
    x, clicks = region.x + region.width - 10 * window.scale, window.clicks
    # From above, but not from the corner, in which a click may split the area.
    for y in range(round(region.y + 40 * window.scale), region.y + region.height, round(20 * window.scale)):
        window.click(x, y)
        if window.ask(f"{_UI}.active_panel_category") == "Video Motion":
            window.ask(f"setattr({_UI}, 'active_panel_category', 'Item')")
            window.clicks = clicks
            return x, y
    window.shot("no tab")
    raise AssertionError("the sidebar has no tab Video Motion")


def import_in_clicks(window: Window, name: str) -> None:
    """From the scene as Blender starts to a character that moves over its film, counted."""
    window.in_view("n")
    x, y = tab(window)
    window.clicks = 0
    window.click(x, y)
    window.wait_for(f"{_UI}.active_panel_category == 'Video Motion'", 5)
    window.shot(f"{name} 1 import")
    window.click(*window.find("file_browse", _ICON_COLUMN, near=0))
    window.wait_for(lambda: window.has("FILE_BROWSER"), 10)
    space = "bpy.context.window_manager.windows[-1].screen.areas[0].spaces.active"
    window.ask(f"setattr({space}.params, 'directory', {str(clip_folder(window)).encode()!r})")
    window.ask(f"setattr({space}.params, 'display_type', 'THUMBNAIL')")
    time.sleep(2)
    window.shot(f"{name} 2 browser")
    files = window.region("FILE_BROWSER", "WINDOW")
    window.click(files.x + 60 * window.scale, files.y + 60 * window.scale, times=2)
    window.wait_for(lambda: not window.has("FILE_BROWSER"), 10)
    assert Path(window.ask("bpy.context.scene.wham.filepath")).name == PAIR.name
    window.ask(f"setattr(bpy.context.scene.wham, 'clip_end', {_FRAMES})")
    window.click(*window.find("wham.import_video"))
    wait_for_job(window)
    window.scroll(window.panel(), -100)
    window.shot(f"{name} 3 result")
    window.click(*window.find("wham.view_side_by_side"))
    window.wait_for(f"{_WINDOW}.screen.is_animation_playing", 10)


def wait_for_job(window: Window) -> None:
    """Wait until the job of the last click is imported."""
    window.wait_for(f"(lambda jobs: jobs and jobs[0].status.value == 'imported' and {_IDLE})"
                    "(module('addon.jobs.import_job').jobs.all)", JOB_SECONDS)  # fmt: skip


def correct_and_bake(window: Window, name: str) -> None:
    """The next person, a box, a pose, and the bake, after the film and the character are side by side."""
    document = "bpy.context.view_layer.objects.active.wham_motion.corrections"
    window.click(*window.find('person="2"', 0.7))
    window.wait_for("len([ob for ob in bpy.context.scene.objects if ob.type == 'ARMATURE']) == 2", JOB_SECONDS)
    window.wait_for(_IDLE, 10)
    window.shot(f"{name} 5 people")
    window.scroll(window.panel(), 100)  # to the end: that is farther than what find looks through
    for words in ("wham.pin_pose", "wham.distrust_frames", "wham.swap_sides"):
        window.find(words)
    window.click(*window.find("wham.draw_box"))
    time.sleep(0.5)
    x, y, width, height = window.ask(
        f"next([a.x, a.y, a.width, a.height] for a in {_WINDOW}.screen.areas "
        "if a.type == 'VIEW_3D' and a.spaces.active.region_3d.view_perspective == 'CAMERA')"
    )
    middle = x + width / 2, SCREEN[1] - window.ask(f"{_WINDOW}.y") - y - height / 2
    window.drag((middle[0] - width / 8, middle[1] - 40), (middle[0] + width / 8, middle[1] + 40))
    (box,) = json.loads(window.wait_for(document, 5))["boxes"]
    assert abs(box["x1"] - 3 / 8) < 0.05 and abs(box["x2"] - 5 / 8) < 0.05
    assert box["y1"] < 0.5 < box["y2"]
    window.find("wham.process_again")
    window.shot(f"{name} 6 corrections")
    window.ask(_RIG)
    window.click(*window.find("wham.bake_to_rig"))
    window.wait_for("bpy.data.objects['Rig'].animation_data and bpy.data.objects['Rig'].animation_data.action", 30)
    window.find("wham.export_motion")
    window.shot(f"{name} 7 baked")


def test_five_clicks_from_a_new_scene_to_a_character_over_its_film(window: Window, seat: str) -> None:
    import_in_clicks(window, seat)
    assert window.clicks <= _MOST_CLICKS
    pose = "[*bpy.context.view_layer.objects.active.pose.bones['left_hip'].rotation_quaternion]"
    before = window.ask(pose)
    window.wait_for(f"{pose} != {before}", 10)
    views = "sorted((a.x, a.spaces.active.region_3d.view_perspective) for a in AREAS if a.type == 'VIEW_3D')"
    views = views.replace("AREAS", f"{_WINDOW}.screen.areas")
    assert [view for _, view in window.ask(views)] == ["CAMERA", "PERSP"]
    window.ask(f"with bpy.context.temp_override(window={_WINDOW}): bpy.ops.screen.animation_cancel()")
    window.ask("bpy.context.scene.frame_set(8)")
    window.shot(f"{seat} 4 side by side")
    if window.size[1] < SCREEN[1] or window.scale > 1:  # the narrow ones, in which something may be cut off
        correct_and_bake(window, seat)
