"""The add-on's preferences: the worker's Python environment, the weight files of Full quality, and the data folder."""

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..jobs.queue import job_queue
from ..settings import ADDON, worker_path
from ..translations import translate
from ..ui.ui_text import draw_progress, draw_sentence
from ..ui.weights_box import draw_weights
from ..worker import location, python_environment, pytorch


class WHAM_AP_preferences(bpy.types.AddonPreferences):
    """The add-on's section in Blender's preferences."""

    bl_idname = ADDON

    worker_python: StringProperty(
        name="Existing Python",
        description="Python executable that has the worker's packages already. If empty, the installed environment is "
        "used",
        subtype="FILE_PATH",
    )
    base_python: StringProperty(
        name="Base Python",
        description="Python executable, 3.11 to 3.13, from which the worker's environment is created. If empty, "
        "Blender's Python is used",
        subtype="FILE_PATH",
    )
    torch_build: EnumProperty(
        name="PyTorch",
        description="Which build of PyTorch is installed for the worker",
        items=[
            ("AUTO", "Automatic", "Install PyTorch with CUDA if an NVIDIA graphics card with a recent driver is found"),
            ("CUDA", "NVIDIA GPU", "Install PyTorch with CUDA, and fail if that is not possible"),
            ("CPU", "CPU", "Install PyTorch without CUDA, a tenth of the size on Linux. The graphics card is not used"),
        ],
    )
    wheels_folder: StringProperty(
        name="Packages Folder",
        description="Folder that contains all packages, to install without a network. If empty, they are downloaded",
        subtype="DIR_PATH",
    )
    jobs_folder: StringProperty(
        name="Jobs Folder",
        description="Folder in which jobs keep their files. If empty, a folder beside the worker is used",
        subtype="DIR_PATH",
    )
    farm: EnumProperty(
        name="Render Farm",
        description="Program that distributes jobs to the machines of the farm",
        items=[
            ("DEADLINE", "Deadline Cloud", "Write a job bundle, and submit it if Deadline Cloud's program is here"),
            ("FLAMENCO", "Flamenco", "Send the job to a Flamenco Manager that has the job type Video as Motion"),
        ],
    )
    farm_folder: StringProperty(
        name="Shared Folder",
        description="Folder for the farm's jobs and results, on storage that this computer and the farm share",
        subtype="DIR_PATH",
    )
    farm_python: StringProperty(
        name="Python on the Farm",
        description="The worker's Python, as the farm's machines see it",
    )
    farm_addon: StringProperty(
        name="Extension on the Farm",
        description="Folder of this extension, with launch.py in it, as the farm's machines see it",
    )
    flamenco_url: StringProperty(
        name="Flamenco Manager",
        description="Address of the Manager, such as http://flamenco.local:8080",
    )
    show_farm: BoolProperty(name="Render Farm", description="Show the options for jobs on a render farm")
    storage_state: StringProperty(options={"SKIP_SAVE"})
    show_options: BoolProperty(name="Options", description="Show options for the installation of the worker")
    show_weights: BoolProperty(
        name="Research Files for Full Quality", description="Show which files Full quality needs and how to get them"
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the boxes of the worker, the weight files, the render farm and the data folder."""
        _draw_worker(self.layout.box(), self)
        box = self.layout.box()
        if _draw_fold(box, self, "show_weights"):
            draw_weights(box)
        box = self.layout.box()
        if _draw_fold(box, self, "show_farm"):
            _draw_farm(box, self)
        _draw_storage(self.layout.box(), self)


def _draw_worker(layout: bpy.types.UILayout, preferences: bpy.types.AddonPreferences) -> None:
    """Draw the state of the worker, its operators and its options."""
    state = python_environment.state(worker_path())
    draw_sentence(layout, state.sentence, icon="CHECKMARK" if state.usable else "ERROR" if state.details else "INFO")
    installed = python_environment.worker_folder().exists()
    if not installed:
        cards = pytorch.cards_if_known()
        text = "Looking for a graphics card"
        if cards is not None:
            text = python_environment.download_text(preferences.torch_build, cards)
        draw_sentence(layout, text, icon="BLANK1", dim=True)
    if not bpy.app.online_access:
        row = layout.row()
        row.label(text="Blender is offline", icon="INTERNET_OFFLINE")
        row.operator("extensions.userpref_allow_online", text="Allow Online Access")
    draw_progress(layout)
    if job_queue.error_code == "larger-download":
        text = f"Download the Larger PyTorch ({python_environment.larger_download() / 1000:.1f} GB)"
        layout.operator("wham.install_worker", text=translate(text), icon="IMPORT").larger = True
    row = layout.row()
    checkable = state.usable or bool(state.details)
    for action in ("check" if checkable else "install", *(("repair", "remove") if installed else ())):
        row.operator(f"wham.{action}_worker")
    if state.details:
        row.operator("wham.copy_worker_report", icon="COPYDOWN")
    if _draw_fold(layout, preferences, "show_options"):
        column = layout.column()
        column.use_property_split = True
        for name in ("torch_build", "base_python", "wheels_folder", "worker_python"):
            column.prop(preferences, name)


def _draw_fold(layout: bpy.types.UILayout, preferences: bpy.types.AddonPreferences, name: str) -> bool:
    """Draw the property that folds what is below it; whether that is to be drawn."""
    is_open = bool(getattr(preferences, name))
    head = layout.row()
    head.alignment = "LEFT"
    head.prop(preferences, name, icon="DOWNARROW_HLT" if is_open else "RIGHTARROW", emboss=False)
    return is_open


def _draw_farm(layout: bpy.types.UILayout, preferences: bpy.types.AddonPreferences) -> None:
    """Draw which farm there is, and where its files are."""
    column = layout.column()
    column.use_property_split = True
    for name in ("farm", "farm_folder", "farm_python", "farm_addon"):
        column.prop(preferences, name)
    if preferences.farm == "FLAMENCO":
        column.prop(preferences, "flamenco_url")


def _draw_storage(layout: bpy.types.UILayout, preferences: bpy.types.AddonPreferences) -> None:
    """Draw the data folder, the disk space that it uses, and the operators that measure and move it."""
    row = layout.row()
    text = translate(f"Worker, weights and jobs: {python_environment.data_folder()}")
    row.label(text=text, icon="FILE_FOLDER")
    row.operator("wham.measure_storage", text="", icon="FILE_REFRESH")
    if preferences.storage_state:
        draw_sentence(layout, preferences.storage_state, icon="BLANK1", dim=True)
    if target := location.unfinished_move():
        draw_sentence(layout, f"Moving to {target} was not finished.", icon="ERROR")
        layout.operator("wham.move_worker", text="Resume Moving").directory = str(target)
    else:
        layout.operator("wham.move_worker", text="Move to Another Folder")
    layout.prop(preferences, "jobs_folder")
