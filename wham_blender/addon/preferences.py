"""The add-on's preferences: the worker's Python and its state, and where jobs lie."""

from pathlib import Path

import bpy
from bpy.props import StringProperty

from . import runtime
from .layouts import draw_progress
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
        draw_progress(layout)
        row = layout.row()
        for verb in ("install", "check", "remove"):
            row.operator(f"wham.{verb}_worker")
        layout.prop(self, "jobs_folder")
        layout.label(text=f"Installed worker and jobs lie in {runtime.data_folder()}")
        draw_weights(layout)


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
