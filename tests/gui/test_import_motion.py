"""Import Motion in a real Blender window: a thread reads the file, Escape cancels, and one undo removes the import."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from window import Window

from tests.test_contracts import make_motion
from wham_blender import motion as motion_file

# In the window: bpy's timers, in which the driver answers, have none.
_IN_WINDOW = "with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]): "
_SLOW = """
import threading
reading = module('addon.scene.reading')
reading.read_at_once = reading.__dict__.get('read_at_once', reading.read)
reading.answers = threading.Event()
reading.read = lambda *given: reading.answers.wait(60) and reading.read_at_once(*given)
"""
_MODAL = "[o.bl_idname for o in bpy.context.window_manager.windows[0].modal_operators]"
_OBJECTS = "[ob.type for ob in bpy.context.scene.objects]"


@pytest.fixture
def path(window: Window) -> Iterator[Path]:
    """A motion file, and a scene without objects; the next test finds nothing of what was imported."""
    path = window.folder / "dance.npz"
    motion_file.save(path, [make_motion(40)])
    window.ask("bpy.ops.object.select_all(action='SELECT'), bpy.ops.object.delete()")
    window.ask("bpy.ops.ed.undo_push(message='nothing')")
    yield path
    window.ask("bpy.ops.object.select_all(action='SELECT'), bpy.ops.object.delete(), bpy.ops.outliner.orphans_purge()")
    window.ask("r = module('addon.scene.reading'); r.read = r.__dict__.get('read_at_once', r.read)")


def begin(window: Window, path: Path) -> None:
    """Drop a motion file, whose disk does not answer yet."""
    window.ask(_SLOW)
    window.ask(f"{_IN_WINDOW}bpy.ops.wham.import_motion('INVOKE_DEFAULT', True, filepath={str(path)!r})")
    assert "WHAM_OT_import_motion" in window.ask(_MODAL)


def check_undo(window: Window) -> None:
    assert sorted(window.ask(_OBJECTS)) == ["ARMATURE", "CAMERA"]
    window.in_view("ctrl+z")
    assert not window.ask(_OBJECTS) and not window.ask("[*bpy.data.actions]")
    window.in_view("ctrl+shift+z")
    assert sorted(window.ask(_OBJECTS)) == ["ARMATURE", "CAMERA"]


def test_a_dropped_file_is_built_when_it_was_read(window: Window, path: Path) -> None:
    begin(window, path)
    time.sleep(0.5)
    assert not window.ask(_OBJECTS)
    window.ask("module('addon.scene.reading').answers.set()")
    window.wait_for(_OBJECTS, 10)
    assert window.ask(_MODAL) == []
    assert window.ask("bpy.context.window_manager.operators[-1].bl_idname") == "WHAM_OT_import_motion"  # redo panel
    check_undo(window)


def test_escape_cancels(window: Window, path: Path) -> None:
    begin(window, path)
    window.in_view("Escape")
    window.wait_for(f"not {_MODAL}", 5)
    window.ask("module('addon.scene.reading').answers.set()")
    time.sleep(0.5)
    assert not window.ask(_OBJECTS)


def test_opening_another_file_ends_the_wait(window: Window, path: Path) -> None:
    begin(window, path)
    window.ask(f"{_IN_WINDOW}bpy.ops.wm.read_homefile(use_empty=True, load_ui=False)")
    window.ask("module('addon.scene.reading').answers.set()")
    time.sleep(0.5)
    assert window.ask(_MODAL) == []
    assert not window.ask(_OBJECTS)


def test_a_chosen_file_is_built_when_it_was_read(window: Window, path: Path) -> None:
    window.ask(_SLOW)
    window.ask(f"{_IN_WINDOW}bpy.ops.wham.import_motion('INVOKE_DEFAULT', True)")
    window.wait_for(lambda: window.has("FILE_BROWSER"), 10)
    space = "bpy.context.window_manager.windows[-1].screen.areas[0].spaces.active"
    window.ask(f"{space}.params.directory = {str(path.parent).encode()!r}; {space}.params.filename = {path.name!r}")
    time.sleep(1)
    window.click(*window.find("file.execute", 0.9, window.region("FILE_BROWSER", "EXECUTE")))
    window.wait_for(lambda: not window.has("FILE_BROWSER"), 5)
    window.wait_for(_MODAL, 5)
    assert not window.ask(_OBJECTS)
    window.ask("module('addon.scene.reading').answers.set()")
    window.wait_for(_OBJECTS, 10)
    check_undo(window)
