"""The menu Device in a real window: in the panel, and beside the file browser, where it belongs to the operator."""

from __future__ import annotations

import sys
import time

from window import Window

REPORT = {
    "python": sys.executable, "whole": True, "sentence": "The worker is whole.", "cards": [
        {"device": "cuda:0", "name": "NVIDIA GeForce GT 730", "fault": "it has compute capability 3.5"},
        {"device": "cuda:1", "name": "NVIDIA GeForce RTX 4090", "fault": ""},
    ],
}  # fmt: skip
CARD = "cuda:1 NVIDIA GeForce RTX 4090"


# Pixels: menus and headings cannot be located as buttons can.
QUALITY = 55  # from the field Body, a row below the menu Person, down to the heading Quality
FIT = 16  # from the upper edge of Fit to Keypoints up to the menu
BROWSER = (174, 269)  # from the upper left of the options beside the file browser to the menu


def choose_last(window: Window, x: float, y: float, name: str) -> None:
    """Open the menu at a point, and choose its last line."""
    window.click(x, y)
    time.sleep(0.5)
    window.shot(name)
    window.press("Up", "Return")
    time.sleep(0.5)


def test_a_card_is_chosen_in_the_panel(window: Window) -> None:
    write = "module('addon.worker.python_environment').self_test_report()"
    window.ask(f"{write}.parent.mkdir(parents=True, exist_ok=True)")
    window.ask(f"{write}.write_text(__import__('json').dumps({REPORT!r}))")
    x, y = window.find("wham.gender", near=0)
    heading = x - 60, y + QUALITY
    window.click(*heading)
    time.sleep(0.5)
    x, y = window.find("wham.refine", 0.6)
    while "wham.refine" in window.under(x, y - 1):
        y -= 1
    choose_last(window, x, y - FIT, "device menu")
    assert window.ask("bpy.context.scene.wham.device") == CARD
    window.shot("device chosen")
    window.click(*heading)  # closed again, as the other tests expect it


def test_beside_the_file_browser_it_sets_the_operator(window: Window) -> None:
    window.ask("setattr(bpy.context.scene.wham, 'device', 'CPU')")
    sections = window.ask("module('addon.ui.options')._OPEN")
    window.ask("setattr(module('addon.ui.options'), '_OPEN', ('Quality',))")
    window.point(300, 300)
    window.ask(
        "with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]): "
        "bpy.ops.wham.import_video('INVOKE_DEFAULT')"
    )
    window.wait_for(lambda: window.has("FILE_BROWSER"), 5)
    time.sleep(1)
    operator = "bpy.context.window_manager.windows[-1].screen.areas[0].spaces.active.active_operator"
    assert window.ask(f"{operator}.device") == "CPU"
    options = window.region("FILE_BROWSER", "TOOL_PROPS")
    choose_last(window, options.x + BROWSER[0], options.y + BROWSER[1], "device browser menu")
    window.shot("device browser chosen")
    assert window.ask(f"{operator}.device") == CARD
    assert window.ask("bpy.context.scene.wham.device") == "CPU"
    window.ask(f"setattr(module('addon.ui.options'), '_OPEN', {sections!r})")
    window.ask("setattr(bpy.context.scene.wham, 'device', 'AUTO')")
    window.ask("module('addon.worker.python_environment').self_test_report().unlink()")
    window.click(*window.find("file.cancel", 0.75, window.region("FILE_BROWSER", "EXECUTE")))
    window.wait_for(lambda: not window.has("FILE_BROWSER"), 5)
