"""What several panels show: the process that runs, and sentences longer than a panel is wide."""

from __future__ import annotations

import bpy

from .. import protocol
from .runner import runner

_WIDTH = 44  # letters in a line of the sidebar


def draw_progress(layout: bpy.types.UILayout) -> None:
    """What runs, with its cancel button and what it says; or why the last that is no import failed."""
    work, progress = runner.running, runner.progress
    if work is not None:
        column = layout.column(align=True)
        row = column.row(align=True)
        text = "cancelling" if work.cancelled else _progress_line(progress) if progress else "starting"
        row.progress(factor=progress.fraction if progress else 0.0, text=text)
        row.operator("wham.cancel", text="", icon="CANCEL").job = getattr(work, "name", "")
        if runner.job and runner.job.last_line:
            said = column.row()
            said.active = False
            said.label(text=_shortened(runner.job.last_line))
    elif runner.error:
        draw_sentence(layout, runner.error)
        if runner.error_log:
            layout.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = runner.error_log


def draw_sentence(layout: bpy.types.UILayout, sentence: str, alert: bool = True, width: int = _WIDTH) -> None:
    """A sentence that may be longer than the panel is wide."""
    column = layout.column(align=True)
    column.alert = alert
    for number, line in enumerate(_lines(sentence, width)):
        column.label(text=line, icon="BLANK1" if number else "ERROR" if alert else "INFO")


def _lines(sentence: str, width: int) -> list[str]:
    lines = [""]
    for word in sentence.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _shortened(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}..."


def _progress_line(progress: protocol.Progress) -> str:
    line = f"{progress.stage} {progress.done}" + (f" of {progress.total}" if progress.total else "")
    if progress.seconds_left is None:
        return line
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{line}, {minutes}:{seconds:02} left"
