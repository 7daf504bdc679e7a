"""The files of full quality: download, choose, look for and forget them, and open the pages that give them out."""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ... import weights
from ..settings import library
from ..worker import fetch
from ..worker.process import Job
from .background import JobOperator, WhenIdle, from_window, sentence_of


class _OneFile:
    """What every verb on one file has."""

    role: StringProperty(
        name="File",
        description="yolo, vitpose, hmr2, wham, smpl, smpl_male or smpl_female",
        options={"SKIP_SAVE"},
    )


def _report(operator: bpy.types.Operator, taken: list[weights.Published], nothing: str) -> set[str]:
    if not taken:
        operator.report({"ERROR"}, nothing)
        return {"CANCELLED"}
    operator.report({"INFO"}, f"{', '.join(entry.title for entry in taken)}: ready to use")
    return {"FINISHED"}


class WHAM_OT_download_weights(_OneFile, JobOperator, bpy.types.Operator):
    """Download a file of full quality from its authors; goes on where an earlier download broke off."""

    bl_idname = "wham.download_weights"
    bl_label = "Download Weights"

    user: StringProperty(name="E-Mail", description="Of your account there", options={"SKIP_SAVE", "HIDDEN"})
    password: StringProperty(subtype="PASSWORD", options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse without the user's consent to go online."""
        if not bpy.app.online_access:
            cls.poll_message_set("Allow Online Access in Preferences > System first")
            return False
        return super().poll(context)

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process that downloads."""
        with fetch.account(self.user, self.password):
            self.user = self.password = ""
            return Job(fetch.command(self.role, library().folder), library().folder / "download.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Say that it is there."""
        return _report(self, [weights.published_for(self.role)], "")


class WHAM_OT_sign_in_to_download(_OneFile, WhenIdle, bpy.types.Operator):
    """Download with your account at the authors' page; name and password are sent there and kept nowhere."""

    bl_idname = "wham.sign_in_to_download"
    bl_label = "Sign In and Download"

    user: StringProperty(name="E-Mail", description="Of your account there", options={"SKIP_SAVE"})
    password: StringProperty(
        name="Password", description="Of your account there", subtype="PASSWORD", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse as the download does."""
        return WHAM_OT_download_weights.poll(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the account."""
        return context.window_manager.invoke_props_dialog(self, width=420)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what the user agrees to above the two fields."""
        column = self.layout.column()
        column.label(text=weights.published_for(self.role).agree)
        column.label(text="Name and password are sent there and kept nowhere.")
        column.prop(self, "user")
        column.prop(self, "password")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the download; a script waits for its end."""
        user, password = self.user, self.password
        self.user = self.password = ""
        call = "INVOKE_DEFAULT" if from_window(self) else "EXEC_DEFAULT"
        try:
            return bpy.ops.wham.download_weights(call, role=self.role, user=user, password=password)
        except RuntimeError as error:
            return _report(self, [], sentence_of(error))


class WHAM_OT_choose_weights(_OneFile, bpy.types.Operator):
    """Use a file that is on this computer; it stays where it is, and its content is checked."""

    bl_idname = "wham.choose_weights"
    bl_label = "Choose File"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Look into it and take it, or say what it is instead."""
        if not self.filepath:
            return _report(self, [], "No file was named. Choose a file of full quality.")
        try:
            taken = library().choose(Path(bpy.path.abspath(self.filepath)), self.role)
        except weights.WeightsError as error:
            return _report(self, [], str(error))
        return _report(self, [taken], "")


class WHAM_OT_find_weights(bpy.types.Operator):
    """Look through a folder for files of full quality; they are known by content, whatever their names."""

    bl_idname = "wham.find_weights"
    bl_label = "Choose Folder"

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Take what is in there."""
        if not self.directory:
            return _report(self, [], "No folder was named. Choose the one that holds files of full quality.")
        folder = Path(bpy.path.abspath(self.directory))
        try:
            taken = library().search(folder)
        except weights.WeightsError as error:
            return _report(self, [], str(error))
        return _report(self, taken, f"No file that is still missing lies in {folder}. Choose another folder.")


class WHAM_OT_forget_weights(_OneFile, bpy.types.Operator):
    """Use this file no longer; it is not deleted."""

    bl_idname = "wham.forget_weights"
    bl_label = "Forget File"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Take it out of the list."""
        try:
            library().forget(self.role)
        except weights.WeightsError as error:
            return _report(self, [], str(error))
        return {"FINISHED"}


CLASSES = (
    WHAM_OT_download_weights,
    WHAM_OT_sign_in_to_download,
    WHAM_OT_choose_weights,
    WHAM_OT_find_weights,
    WHAM_OT_forget_weights,
)
