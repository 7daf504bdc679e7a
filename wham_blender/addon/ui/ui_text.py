"""What several panels show: the process that runs, and sentences longer than a panel is wide."""

from __future__ import annotations

from functools import lru_cache

import blf
import bpy

from ... import protocol
from ..jobs.queue import runner

# What the worker is at, in an animator's words. Other stages show their own names.
_STAGES = {
    "detect": "Detecting people",
    "tracks": "Cleaning up tracks",
    "camera": "Following the camera",
    "features": "Looking at poses",
    "wham": "Estimating the pose",
    "placement": "Placing people in the world",
    "smplify": "Fitting to the keypoints",
    "write": "Writing the motion",
}
_UNIT = 20  # pixels of a button's height at scale 1, Blender's own unit
_BESIDE = 5.0  # units of a region's width that a line of words cannot have: tabs, margins, a box, an icon
_NO_ICON = -1.5  # of them, where no icon stands before the line
_UNKNOWN_WIDTH = 280  # pixels, where nothing is drawn in a window


def draw_progress(layout: bpy.types.UILayout) -> None:
    """What runs, with its cancel button and what it says; or why the last that is no import failed."""
    work, progress = runner.running, runner.progress
    if work is not None:
        column = layout.column(align=True)
        row = column.row(align=True)
        row.progress(factor=progress.fraction if progress else 0.0, text=_bar_text(work.cancelled, progress))
        row.operator("wham.cancel", text="", icon="CANCEL").job = getattr(work, "name", "")
        if progress:
            column.label(text=_stage_text(progress))
        if runner.job and runner.job.last_line:
            draw_sentence(column, runner.job.last_line, icon="NONE", dim=True, most=2)
    elif runner.error:
        draw_sentence(layout, runner.error, icon="ERROR")
        row = layout.row(align=True)
        row.operator("wham.explain", icon="QUESTION").sentence = runner.error
        if runner.error_log:
            row.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = runner.error_log


def _bar_text(cancelled: bool, progress: protocol.Progress | None) -> str:
    if cancelled:
        return "Cancelling"
    if progress is None:
        return "Starting"
    if progress.seconds_left is None:
        return f"{progress.fraction:.0%}"
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{progress.fraction:.0%}, {minutes}:{seconds:02} left"


def _stage_text(progress: protocol.Progress) -> str:
    stage = _STAGES.get(progress.stage) or progress.stage.capitalize()
    return f"{stage}: {progress.done} of {progress.total}" if progress.total > 1 else stage


def draw_sentence(
    layout: bpy.types.UILayout, sentence: str, icon: str = "INFO", dim: bool = False, most: int = 20
) -> None:
    """A sentence in as many lines as it needs where it is drawn, ``most`` at most; with the icon ERROR in red."""
    column = layout.column(align=True)
    column.alert, column.active = icon == "ERROR", not dim
    lines = lines_of(sentence, _NO_ICON if icon == "NONE" else 0.0)
    if len(lines) > most:
        lines[most - 1 :] = [f"{lines[most - 1]} ..."]
    for number, line in enumerate(lines):
        column.label(text=line, icon="BLANK1" if number and icon != "NONE" else icon)


def lines_of(sentence: str, beside: float = 0.0) -> list[str]:
    """A sentence in lines that fit the region that is drawn, less ``beside`` units of its width."""
    region, preferences = bpy.context.region, bpy.context.preferences
    scale = preferences.system.ui_scale or 1.0  # 0 in background mode
    width = (region.width if region else _UNKNOWN_WIDTH * scale) - (_BESIDE + beside) * _UNIT * scale
    return list(_wrapped(sentence, max(width, 6 * _UNIT * scale), preferences.ui_styles[0].widget.points * scale))


@lru_cache(maxsize=500)
def _wrapped(sentence: str, width: float, points: float) -> tuple[str, ...]:
    blf.size(0, points)
    lines = [""]
    for word in sentence.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and blf.dimensions(0, longer)[0] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return tuple(lines)
