"""Drawing shared by several panels: the progress of the running process, and text wrapped to the panel's width."""

from __future__ import annotations

import re
from functools import lru_cache

import blf
import bpy

from ... import protocol
from ..jobs.queue import job_queue
from ..translations import translate

# Labels of the worker's stages. Stages that are not listed are shown by their names.
_STAGES = {
    "detect": "Detecting people",
    "tracks": "Cleaning up tracks",
    "camera": "Estimating camera motion",
    "features": "Computing pose features",
    "wham": "Estimating poses",
    "placement": "Placing people in the world",
    "smplify": "Fitting to the keypoints",
    "hands": "Fitting hands",
    "write": "Writing the motion",
    "check files": "Checking files",
    "download (MB)": "Downloading (MB)",
    "unpack": "Installing packages",
    "move (MB)": "Moving (MB)",
    "remove": "Deleting",
}
_UNIT = 20  # pixels of Blender's UI unit, the height of a button at scale 1
_MARGIN = 5.0  # units of a region's width that text cannot use: tabs, margins, a box, an icon; set by hand
_NO_ICON = -1.5  # added to the margin of a line without an icon
_BORDER = 3.0  # units of a region's width beside what a panel draws: tabs and margins; as Blender 4.3 draws it
_DEFAULT_WIDTH = 280  # pixels, in background mode


# What is not broken when text is wrapped: a word; of Chinese and Japanese, which have no blanks, a character with the
# marks that must not begin a line.
_WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_MARKS = "\u3001\u3002\u300d\u300f\u30fc\uff01\uff09\uff0c\uff1a\uff1b\uff1f"
_WORD = re.compile(rf" ?(?:[{_WIDE}][{_MARKS}]*|[^ {_WIDE}]+)")


def draw_progress(layout: bpy.types.UILayout) -> None:
    """Draw the progress, output and cancel button of the running process, or the error of the last one.

    Errors of imports are drawn with their jobs instead.
    """
    work, progress = job_queue.running, job_queue.progress
    if work is not None:
        column = layout.column(align=True)
        row = draw_bar(column, progress, work.cancelled)
        row.operator("wham.cancel", text="", icon="CANCEL").job = getattr(work, "name", "")
        if work.shows_output and job_queue.job and job_queue.job.last_line:
            draw_sentence(column, job_queue.job.last_line, icon="NONE", dim=True, most=2)
    elif job_queue.error:
        draw_sentence(layout, job_queue.error, icon="ERROR")
        row = layout.row(align=True)
        explain = row.operator("wham.explain", icon="QUESTION")
        explain.sentence, explain.code = job_queue.error, job_queue.error_code
        if job_queue.error_log:
            row.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = job_queue.error_log


def draw_bar(
    layout: bpy.types.UILayout, progress: protocol.Progress | None, cancelled: bool = False
) -> bpy.types.UILayout:
    """Draw a progress as a bar with its stage below; returns the bar's row."""
    column = layout.column(align=True)
    row = column.row(align=True)
    row.progress(factor=progress.fraction if progress else 0.0, text=translate(_bar_text(cancelled, progress)))
    if progress:
        column.label(text=_stage_text(progress))
    return row


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
    stage = translate(stage)
    return translate(f"{stage}: {progress.done} of {progress.total}") if progress.total > 1 else stage


def draw_sentence(
    layout: bpy.types.UILayout, sentence: str, icon: str = "INFO", dim: bool = False, most: int = 20
) -> None:
    """Draw text, translated and wrapped to the region's width, in at most ``most`` lines; red if the icon is ERROR."""
    column = layout.column(align=True)
    column.alert, column.active = icon == "ERROR", not dim
    lines = wrap_to_region(translate(sentence), _NO_ICON if icon == "NONE" else 0.0)
    if len(lines) > most:
        lines[most - 1 :] = [f"{lines[most - 1]} ..."]
    for number, line in enumerate(lines):
        column.label(text=line, icon="BLANK1" if number and icon != "NONE" else icon)


def wrap_to_region(text: str, margin: float = 0.0) -> list[str]:
    """Text in lines that fit the region that is being drawn, less ``margin`` UI units of its width."""
    width, scale, points = _region()
    return list(_wrapped(text, max(width - (_MARGIN + margin) * _UNIT * scale, 6 * _UNIT * scale), points))


def wrap_to_width(text: str, units: float) -> list[str]:
    """Text in lines of at most ``units`` UI units, as in a popup."""
    _, scale, points = _region()
    return list(_wrapped(text, units * _UNIT * scale, points))


def _region() -> tuple[float, float, float]:
    """Width in pixels of the region that is being drawn, the interface's scale, and the size of its font in points."""
    region, preferences = bpy.context.region, bpy.context.preferences
    scale = preferences.system.ui_scale or 1.0  # 0 in background mode
    width = region.width if region else _DEFAULT_WIDTH * scale
    return width, scale, preferences.ui_styles[0].widget.points * scale


def shortened(text: str, share: float, margin: float) -> str:
    """Text without its middle, so that it fits a share of a panel's width less ``margin`` UI units.

    Blender leaves out the end, by which bones are told apart.
    """
    width, scale, points = _region()
    return _shortened(text, max(share * (width - _BORDER * _UNIT * scale) - margin * _UNIT * scale, 2 * _UNIT), points)


@lru_cache(maxsize=500)
def _shortened(text: str, width: float, points: float) -> str:
    blf.size(0, points)
    shown, kept = text, len(text)
    while kept > 2 and blf.dimensions(0, shown)[0] > width:
        kept -= 1
        shown = f"{text[: kept // 3]}…{text[len(text) - (kept - kept // 3) :]}"
    return shown


@lru_cache(maxsize=500)
def _wrapped(text: str, width: float, points: float) -> tuple[str, ...]:
    """Lines of at most ``width`` pixels in a font of ``points`` points. Cached, as panels are redrawn often."""
    blf.size(0, points)
    lines = [""]
    for word in _WORD.findall(" ".join(text.split())):
        longer = f"{lines[-1]}{word}".lstrip()
        if lines[-1] and blf.dimensions(0, longer.rstrip())[0] > width:
            lines.append(word.lstrip())
        else:
            lines[-1] = longer
    return tuple(line.rstrip() for line in lines)
