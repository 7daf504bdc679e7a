"""The add-on's preferences: the worker's Python and how it stands, and where the large files lie."""

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..settings import ADDON, worker_path
from ..ui.ui_text import draw_progress, draw_sentence
from ..ui.weights_box import draw_weights
from ..worker import location, python_environment


class WHAM_AP_preferences(bpy.types.AddonPreferences):
    """Shown in Blender's preferences under the add-on."""

    bl_idname = ADDON

    worker_python: StringProperty(
        name="Existing Python",
        description="A Python of your own that has the worker's packages; empty for the one that is installed here",
        subtype="FILE_PATH",
    )
    base_python: StringProperty(
        name="Made From",
        description="The Python, 3.11 to 3.13, that the worker's is made from; empty for Blender's own",
        subtype="FILE_PATH",
    )
    torch_build: EnumProperty(
        name="PyTorch",
        description="Which PyTorch the worker gets",
        items=[
            ("AUTO", "Automatic", "With CUDA where there is an NVIDIA card with a driver that is new enough"),
            ("CUDA", "NVIDIA Card", "With CUDA, or not at all"),
            ("CPU", "Processor", "Without CUDA: a tenth of the size on Linux; a graphics card is not used"),
        ],
    )
    wheels_folder: StringProperty(
        name="Packages",
        description="A folder that holds all packages, to install without a network; empty to download them",
        subtype="DIR_PATH",
    )
    jobs_folder: StringProperty(
        name="Jobs",
        description="Where unfinished and finished jobs lie; empty for a folder beside the worker",
        subtype="DIR_PATH",
    )
    storage_state: StringProperty(options={"SKIP_SAVE"})
    show_options: BoolProperty(name="Options", description="Show what can be chosen before the worker is installed")

    def draw(self, context: bpy.types.Context) -> None:
        """Draw a box for each subject."""
        _draw_worker(self.layout.box(), self)
        draw_weights(self.layout)
        _draw_storage(self.layout.box(), self)


def _draw_worker(layout: bpy.types.UILayout, chosen: bpy.types.AddonPreferences) -> None:
    """How the worker stands and what can be done about it."""
    state = python_environment.state(worker_path())
    draw_sentence(layout, state.sentence, icon="CHECKMARK" if state.usable else "ERROR" if state.details else "INFO")
    installed = python_environment.own_folder().exists()
    if not installed and (text := python_environment.download_text()):
        draw_sentence(layout, text, icon="BLANK1", dim=True)
    if not bpy.app.online_access:
        row = layout.row()
        row.label(text="Blender is offline", icon="INTERNET_OFFLINE")
        row.operator("extensions.userpref_allow_online", text="Allow Online Access")
    draw_progress(layout)
    row = layout.row()
    there = state.usable or bool(state.details)
    for verb in ("check" if there else "install", *(("repair", "remove") if installed else ())):
        row.operator(f"wham.{verb}_worker")
    if state.details:
        row.operator("wham.copy_worker_report", icon="COPYDOWN")
    head = layout.row()
    head.alignment = "LEFT"
    head.prop(chosen, "show_options", icon="DOWNARROW_HLT" if chosen.show_options else "RIGHTARROW", emboss=False)
    if chosen.show_options:
        column = layout.column()
        column.use_property_split = True
        for name in ("torch_build", "base_python", "wheels_folder", "worker_python"):
            column.prop(chosen, name)


def _draw_storage(layout: bpy.types.UILayout, chosen: bpy.types.AddonPreferences) -> None:
    """Where the large files lie and how large they are."""
    row = layout.row()
    row.label(text=f"Worker, weights and jobs: {python_environment.data_folder()}", icon="FILE_FOLDER")
    row.operator("wham.measure_storage", text="", icon="FILE_REFRESH")
    if chosen.storage_state:
        draw_sentence(layout, chosen.storage_state, icon="BLANK1", dim=True)
    if target := location.unfinished_move():
        draw_sentence(layout, f"Moving to {target} was not finished.", icon="ERROR")
        layout.operator("wham.move_worker", text="Go On Moving").directory = str(target)
    else:
        layout.operator("wham.move_worker", text="Move to Another Folder")
    layout.prop(chosen, "jobs_folder")
