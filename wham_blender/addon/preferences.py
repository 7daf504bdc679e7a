"""The add-on's preferences: the worker's Python and its state, and where jobs lie."""

from pathlib import Path

import bpy
from bpy.props import StringProperty

from . import runtime
from .weights_box import draw_weights

_ADDON = __package__.rpartition(".")[0]


class WHAM_AP_preferences(bpy.types.AddonPreferences):
    """Shown in Blender's preferences under the add-on."""

    bl_idname = _ADDON

    worker_python: StringProperty(
        name="Worker's Python",
        description="An existing Python that has the worker's packages; empty for the one installed here",
        subtype="FILE_PATH",
    )
    worker_state: StringProperty(default="not checked")
    jobs_folder: StringProperty(
        name="Jobs",
        description="Where unfinished and finished jobs lie; empty for the user's data folder",
        subtype="DIR_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the fields and the three buttons."""
        layout = self.layout
        layout.prop(self, "worker_python")
        layout.label(text=f"Worker: {self.worker_state}")
        draw_progress(layout, context.window_manager.wham_job)
        row = layout.row()
        for verb in ("install", "check", "remove"):
            row.operator(f"wham.{verb}_worker")
        layout.prop(self, "jobs_folder")
        layout.label(text=f"Installed worker and jobs lie in {runtime.data_folder()}")
        draw_weights(layout)


def draw_progress(layout: bpy.types.UILayout, job: bpy.types.PropertyGroup) -> None:
    """The running job's progress line with its cancel button, or the last one's error; and whom it found."""
    if job.running:
        row = layout.row(align=True)
        row.progress(factor=job.fraction, text=job.text)
        row.operator("wham.cancel", text="", icon="CANCEL")
    elif job.error:
        column = layout.column(align=True)
        column.alert = True
        for number, line in enumerate(_lines(job.error)):
            column.label(text=line, icon="ERROR" if number == 0 else "BLANK1")
        if job.log:
            layout.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = job.log
    if job.people:
        column = layout.column(align=True)
        for line in _lines(job.people):
            column.label(text=line)


def _lines(sentence: str, width: int = 44) -> list[str]:
    lines = [""]
    for word in sentence.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def preferences() -> bpy.types.AddonPreferences | None:
    """The add-on's preferences; None where it was registered without being enabled as an add-on."""
    addon = bpy.context.preferences.addons.get(_ADDON)
    return addon.preferences if addon else None


def worker_python() -> Path:
    """The Python that the worker runs in; raises runtime.RuntimeProblem where there is none."""
    chosen = preferences()
    return runtime.find(bpy.path.abspath(chosen.worker_python) if chosen else "")


def jobs_folder() -> Path:
    """Where jobs lie."""
    chosen = preferences()
    if chosen and chosen.jobs_folder:
        return Path(bpy.path.abspath(chosen.jobs_folder))
    return runtime.data_folder() / "jobs"
