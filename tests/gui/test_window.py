"""What an animator sees and does, in a real window with the real worker. The tests go on from one another."""

from __future__ import annotations

import os
import time
from pathlib import Path

from conftest import ROOT
from window import Window

CLIP = ROOT / "tests/clips/walk_and_jump.mp4"
PAIR = ROOT / "tests/synthetic/clips/lawn_pair.mp4"
WORKER = "wham_blender.pipeline"  # in the command line of every worker
IDLE = "not module('addon.runner').runner.busy and not module('addon.runner').runner.closing"
PROGRESS = "vars(progress) if (progress := module('addon.runner').runner.progress) else None"
NEWEST = "(lambda job: {'status': job.status.value, 'error': job.error})(module('addon.imports').jobs.all[0])"
RIGHT = 0.83  # of the panel's width, where the small buttons are
JOB_SECONDS = 120  # that a short job may take on a machine that does much else


def ask_for(window: Window, clip: Path, end: int) -> None:
    """Name a clip in the panel, and how many of its frames."""
    window.fill(*window.find("wham.filepath"), str(clip))
    window.ask(f"bpy.context.scene.wham.clip_end = {end}")
    assert window.ask("bpy.context.scene.wham.filepath") == str(clip)


def objects(window: Window) -> dict[str, str]:
    """Kinds of the objects in the scene."""
    return dict(window.ask("[(thing.name, thing.type) for thing in bpy.context.scene.objects]"))


def test_the_tab_has_what_an_import_needs(window: Window) -> None:
    window.ask("bpy.ops.object.select_all(action='SELECT'), bpy.ops.object.delete()")
    for words in ("wham.filepath", "wham.person", "wham.start_frame", "wham.fps", "wham.import_video"):
        window.find(words)
    window.shot("tab")


def test_the_bar_moves_and_cancel_ends_the_worker(window: Window) -> None:
    ask_for(window, CLIP, 0)
    window.click(*window.find("wham.import_video"))
    window.wait_for(f"({PROGRESS} or {{}}).get('fraction', 0) > 0.02", JOB_SECONDS)
    x, y = window.find("wham.cancel", RIGHT)
    panel = window.panel()
    seen = []
    for _ in range(5):
        seen.append((window.ask(PROGRESS)["fraction"], window.blue(panel.x, x - 12, y)))
        window.ask("1")
        time.sleep(1)
    window.shot("running")
    fractions, bars = zip(*seen, strict=True)
    assert sorted(fractions) == list(fractions) and fractions[-1] > fractions[0]
    assert sorted(bars) == list(bars) and bars[-1] > bars[0], "the bar's blue does not grow with the fraction"

    running = window.processes(WORKER)
    assert running
    assert all(os.getpgid(number) in running for number in running), "the worker leads a group of its own"
    window.click(x, y)
    clicked = time.monotonic()
    while window.processes(WORKER):
        assert time.monotonic() < clicked + 5
        time.sleep(0.01)
    took = time.monotonic() - clicked
    window.wait_for(IDLE, 5)
    assert took < 1.0, f"the worker was there for {took:.2f} s after the click"
    assert window.ask(NEWEST)["status"] == "cancelled"
    assert not objects(window)
    window.shot("cancelled")


def test_a_clip_becomes_a_character_in_one_undo_step(window: Window) -> None:
    ask_for(window, CLIP, 60)
    window.click(*window.find("wham.import_video"))
    window.wait_for(f"{NEWEST}['status'] == 'running'", 10)
    window.wait_for(IDLE, JOB_SECONDS)
    assert window.ask(NEWEST) == {"status": "imported", "error": ""}
    made = objects(window)
    assert sorted(made.values()) == ["ARMATURE", "CAMERA", "MESH"]
    armature = next(name for name, kind in made.items() if kind == "ARMATURE")
    camera = next(name for name, kind in made.items() if kind == "CAMERA")
    action = f"bpy.data.objects[{armature!r}].animation_data.action"
    assert window.ask(f"[round(each) for each in {action}.frame_range]") == [1, 48]  # 60 of 30 fps in a scene of 24
    assert window.ask(f"[marker.name for marker in {action}.pose_markers]")
    assert window.ask(f"[picture.clip.name for picture in bpy.data.objects[{camera!r}].data.background_images]") == [
        CLIP.name
    ]
    assert window.ask(f"len(bpy.data.collections[{CLIP.stem!r}].objects)") == 3
    window.ask("bpy.context.scene.frame_set(20)")
    window.in_view("Home")
    window.shot("result")

    window.in_view("ctrl+z")
    assert not objects(window) and not window.ask("[*bpy.data.actions, *bpy.data.movieclips]")
    window.in_view("ctrl+shift+z")
    assert objects(window) == made
