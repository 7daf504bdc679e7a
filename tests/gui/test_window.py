"""End-to-end tests in a real Blender window with the real worker. Each continues from the one before."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from conftest import ROOT
from window import Window

CLIP = ROOT / "tests/clips/walk_and_jump.mp4"
PAIR = ROOT / "tests/synthetic/clips/lawn_pair.mp4"
NO_CLIP = ROOT / "tests/clips/LICENSE"
FILE_MENU, IMPORT_ROW = (45, 14), 311  # pixels: Blender's own menu has no buttons that can be located
WORKER = "wham_blender.pipeline"  # in the command line of every worker
IDLE = "not module('addon.jobs.queue').job_queue.busy and not module('addon.jobs.queue').job_queue.finishing"
PROGRESS = "vars(progress) if (progress := module('addon.jobs.queue').job_queue.progress) else None"
NEWEST = "(lambda job: {'status': job.status.value, 'error': job.error})(module('addon.jobs.import_job').jobs.all[0])"
RIGHT = 0.83  # fraction of the panel's width at which the small buttons are
JOB_SECONDS = 120  # time limit of a short job on a busy machine


def ask_for(window: Window, clip: Path, end: int) -> None:
    """Name a clip in the panel, and how many of its frames."""
    window.fill(*window.find("wham.filepath", near=0), str(clip))
    window.ask(f"bpy.context.scene.wham.clip_end = {end}")
    assert window.ask("bpy.context.scene.wham.filepath") == str(clip)


def finish(window: Window) -> dict[str, str]:
    """Wait for the end of the job that a click has just started; how it ended."""
    window.wait_for("module('addon.jobs.queue').job_queue.busy", 10)
    window.wait_for(IDLE, JOB_SECONDS)
    return dict(window.ask(NEWEST))


def objects(window: Window) -> dict[str, str]:
    """Kinds of the objects in the scene."""
    return dict(window.ask("[(ob.name, ob.type) for ob in bpy.context.scene.objects]"))


def test_the_tab_has_what_an_import_needs(window: Window) -> None:
    window.ask("bpy.ops.object.select_all(action='SELECT'), bpy.ops.object.delete()")
    for words in ("wham.filepath", "wham.gender", "wham.start_frame", "wham.fps", "wham.import_video"):
        window.find(words)
    window.shot("tab")


def test_progress_bar_grows_and_cancel_ends_the_worker(window: Window) -> None:
    ask_for(window, CLIP, 0)
    window.click(*window.find("wham.import_video"))
    window.wait_for(f"({PROGRESS} or {{}}).get('fraction', 0) > 0.02", JOB_SECONDS)
    x, y = window.find("wham.cancel", RIGHT)
    panel = window.panel()
    seen = []
    for _ in range(5):
        seen.append((window.ask(PROGRESS)["fraction"], window.blue(panel.x, x - 12, y)))
        time.sleep(1)
    window.shot("running")
    fractions, bars = zip(*seen, strict=True)
    assert sorted(fractions) == list(fractions) and fractions[-1] > fractions[0]
    assert sorted(bars) == list(bars) and bars[-1] > bars[0], "the bar's blue does not grow with the fraction"

    running = window.processes(WORKER)
    assert running
    assert all(os.getpgid(number) in running for number in running), "the worker leads a group of its own"
    window.click(x, y)
    limit = time.monotonic() + 30
    while window.processes(WORKER):
        assert time.monotonic() < limit, "the worker runs on after the click"
        time.sleep(0.05)
    window.wait_for(IDLE, 5)
    assert window.ask(NEWEST)["status"] == "cancelled"
    assert not objects(window)
    window.shot("cancelled")


def test_a_clip_becomes_a_character_in_one_undo_step(window: Window) -> None:
    ask_for(window, CLIP, 40)
    window.click(*window.find("wham.import_video"))
    assert finish(window) == {"status": "imported", "error": ""}
    made = objects(window)
    assert sorted(made.values()) == ["ARMATURE", "CAMERA", "MESH"]
    armature = next(name for name, kind in made.items() if kind == "ARMATURE")
    camera = next(name for name, kind in made.items() if kind == "CAMERA")
    action = f"bpy.data.objects[{armature!r}].animation_data.action"
    # Nothing was animated, so the scene takes the clip's 30 frames a second.
    assert window.ask(f"[round(each) for each in {action}.frame_range]") == [1, 40]
    assert window.ask(f"[marker.name for marker in {action}.pose_markers]")
    assert window.ask(f"[picture.image.name for picture in bpy.data.objects[{camera!r}].data.background_images]") == [
        CLIP.name
    ]
    assert window.ask(f"len(bpy.data.collections[{CLIP.stem!r}].objects)") == 3
    window.ask("bpy.context.scene.frame_set(20)")
    window.in_view("KP_Decimal")
    window.shot("result")

    window.in_view("ctrl+z")
    assert not objects(window) and not window.ask("[*bpy.data.actions]")
    assert not window.ask("[image.name for image in bpy.data.images if image.source == 'MOVIE']")
    window.in_view("ctrl+shift+z")
    assert objects(window) == made


def test_a_failed_job_says_why_and_its_report_can_be_copied(window: Window) -> None:
    ask_for(window, NO_CLIP, 0)
    window.click(*window.find("wham.import_video"))
    done = finish(window)
    assert done["status"] == "failed"
    assert done["error"].startswith(f"{NO_CLIP.name} is not a video")
    window.click(*window.find("wham.copy_report", 0.6))
    report = window.wait_for("bpy.context.window_manager.clipboard", 5)
    assert done["error"] in report and "Blender 4." in report
    assert str(NO_CLIP.parent) not in report
    window.shot("failed")


def test_another_person_is_imported_without_detecting_again(window: Window) -> None:
    ask_for(window, PAIR, 20)
    window.click(*window.find("wham.import_video"))
    assert finish(window) == {"status": "imported", "error": ""}
    before = objects(window)
    second = window.find('person="2"', RIGHT)
    window.shot("people")
    window.click(*second)
    assert finish(window) == {"status": "imported", "error": ""}
    assert len(objects(window)) == len(before) + 2  # the camera is there
    log = Path(window.ask("str(module('addon.jobs.import_job').jobs.all[0].log)")).read_text("utf-8")
    assert "detect: kept from an earlier run" in log, "the frames were processed again"


def test_the_file_menu_asks_for_a_clip(window: Window) -> None:
    for _ in range(3):  # a menu closes where the pointer is late on a busy machine
        window.in_view("Escape")
        window.click(*FILE_MENU)
        time.sleep(0.5)
        window.point(FILE_MENU[0] + 34, IMPORT_ROW - 5)
        window.point(FILE_MENU[0] + 35, IMPORT_ROW)
        time.sleep(0.5)
        window.press("Right", "Up", "Up", "Up")
        time.sleep(0.5)
        window.shot("menu")
        window.press("Return")
        time.sleep(1)
        if window.has("FILE_BROWSER"):
            break
    window.shot("browser")
    space = "bpy.context.window_manager.windows[-1].screen.areas[0].spaces.active"
    assert window.ask(f"{space}.active_operator.bl_idname") == "WHAM_OT_import_video"
    assert window.ask(f"{space}.active_operator.person") == "MAIN", "the option of the clip before is still set"
    window.click(*window.find("file.cancel", 0.75, window.region("FILE_BROWSER", "EXECUTE")))
    window.wait_for(lambda: not window.has("FILE_BROWSER"), 5)


def test_preferences_show_what_is_there_and_what_is_missing(window: Window) -> None:
    window.ask("setattr(preferences(), 'worker_python', '')")
    window.point(300, 300)  # where the window comes up
    window.ask("bpy.ops.preferences.addon_show(module='bl_ext.user_default.wham_blender')")
    window.wait_for(lambda: window.has("PREFERENCES"), 5)
    time.sleep(1)
    window.shot("preferences")
    shown = window.region("PREFERENCES", "WINDOW")
    window.scroll(shown, 6)
    window.shot("preferences setup")
    window.click(*window.find("userpref_allow_online", RIGHT, shown))
    window.wait_for("bpy.app.online_access", 5)
    window.ask("setattr(bpy.context.preferences.system, 'use_online_access', False)")
    window.ask("setattr(preferences(), 'show_weights', True)")
    window.scroll(shown, 12)
    window.shot("preferences weights")
    window.find("wham.choose_weights", region=shown)
    window.ask(f"setattr(preferences(), 'worker_python', {sys.executable!r})")
    window.close_newest()


def test_a_job_outlives_blender(window: Window) -> None:
    ask_for(window, CLIP, 50)
    window.click(*window.find("wham.import_video"))
    window.wait_for(f"({PROGRESS} or {{}}).get('fraction', 0) > 0.02", JOB_SECONDS)
    assert window.processes(WORKER)
    window.kill()
    limit = time.monotonic() + 30  # a network call that has begun runs to its end
    while window.processes(WORKER):
        assert time.monotonic() < limit, "the worker runs on without its Blender"
        time.sleep(0.05)
    window.open()
    window.show_tab()
    window.click(*window.find("wham.resume_job"))
    assert finish(window) == {"status": "imported", "error": ""}
    assert window.ask(f"len(bpy.data.collections[{CLIP.stem!r}].objects)") == 3
