"""Operators on the weight files of Full quality: download, choose, search a folder, remove from the list."""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ... import weights
from ..settings import library
from ..translations import report, translate
from ..worker import fetch
from ..worker.process import Job
from .background import JobOperator, WhenIdle, error_message, from_window


class _FileOperator:
    """Base of operators on one weight file."""

    role: StringProperty(
        name="File",
        description="Which weight file: yolo, vitpose, hmr2, wham, smpl, smpl_male or smpl_female",
        options={"SKIP_SAVE"},
    )


class _LibraryOperator(JobOperator):
    """Base of operators that start a process of `fetch`, which adds files to the library."""

    def command(self) -> list[str]:
        """The command of the process; raises WeightsError if there is nothing to do."""
        raise NotImplementedError

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process; raises WeightsError or JobError."""
        return Job(self.command(), library().folder / "download.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Report the files of which the process named the roles: they can be used."""
        titles = [weights.published_for(role).title for role in path.split()]
        report(self, {"INFO"}, f"{', '.join(titles)}: ready to use")
        return {"FINISHED"}


def _fail(operator: bpy.types.Operator, error: str) -> set[str]:
    report(operator, {"ERROR"}, error)
    return {"CANCELLED"}


class WHAM_OT_download_weights(_FileOperator, _LibraryOperator, bpy.types.Operator):
    """Download a weight file of Full quality from its authors. Continues an interrupted download"""

    bl_idname = "wham.download_weights"
    bl_label = "Download Weights"

    user: StringProperty(
        name="E-Mail",
        description="E-mail address of your account on the authors' page",
        options={"SKIP_SAVE", "HIDDEN"},
    )
    password: StringProperty(subtype="PASSWORD", options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require online access."""
        if not bpy.app.online_access:
            cls.poll_message_set(translate("Allow Online Access in Preferences > System first"))
            return False
        return super().poll(context)

    def command(self) -> list[str]:
        """The command that downloads."""
        return fetch.download_command(library().folder, self.role)

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process that downloads, which gets the account."""
        with fetch.account(self.user, self.password):
            self.user = self.password = ""
            return _LibraryOperator.start(self, context)


class WHAM_OT_sign_in_to_download(_FileOperator, WhenIdle, bpy.types.Operator):
    """Download a weight file with your account on the authors' page. E-mail and password are not stored"""

    bl_idname = "wham.sign_in_to_download"
    bl_label = "Sign In and Download"

    user: StringProperty(
        name="E-Mail", description="E-mail address of your account on the authors' page", options={"SKIP_SAVE"}
    )
    password: StringProperty(
        name="Password",
        description="Password of your account on the authors' page",
        subtype="PASSWORD",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require online access, as the download does."""
        return WHAM_OT_download_weights.poll(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the account."""
        return context.window_manager.invoke_props_dialog(self, width=420)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the terms that the user agrees to and the two fields."""
        column = self.layout.column()
        column.label(text=translate(weights.published_for(self.role).agree))
        column.label(text="E-mail and password are sent to that page only, and not stored")
        column.prop(self, "user")
        column.prop(self, "password")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the download; a script waits for its end."""
        user, password = self.user, self.password
        self.user = self.password = ""
        execution = "INVOKE_DEFAULT" if from_window(self) else "EXEC_DEFAULT"
        try:
            return bpy.ops.wham.download_weights(execution, role=self.role, user=user, password=password)
        except RuntimeError as error:
            return _fail(self, error_message(error))


class WHAM_OT_choose_weights(_FileOperator, _LibraryOperator, bpy.types.Operator):
    """Use a weight file from this computer. Its content is checked, and it is not copied"""

    bl_idname = "wham.choose_weights"
    bl_label = "Choose File"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def command(self) -> list[str]:
        """The command that checks the file and adds it to the library."""
        if not self.filepath:
            raise weights.WeightsError(
                "No weight file was named. Choose a file of Full quality.", code="weights-none-named"
            )
        return fetch.choose_command(library().folder, self.role, Path(bpy.path.abspath(self.filepath)))


class WHAM_OT_find_weights(_LibraryOperator, bpy.types.Operator):
    """Search a folder for weight files of Full quality. They are recognized by their content, not their names"""

    bl_idname = "wham.find_weights"
    bl_label = "Choose Folder"

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def command(self) -> list[str]:
        """The command that searches the folder and adds what is missing to the library."""
        if not self.directory:
            raise weights.WeightsError(
                "No folder was named. Choose the one that holds files of Full quality.", code="weights-none-named"
            )
        return fetch.search_command(library().folder, Path(bpy.path.abspath(self.directory)))


class WHAM_OT_forget_weights(_FileOperator, bpy.types.Operator):
    """Remove this weight file from the list. The file is not deleted"""

    bl_idname = "wham.forget_weights"
    bl_label = "Remove File"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove it from the library."""
        try:
            library().forget(self.role)
        except weights.WeightsError as error:
            return _fail(self, str(error))
        return {"FINISHED"}


CLASSES = (
    WHAM_OT_download_weights,
    WHAM_OT_sign_in_to_download,
    WHAM_OT_choose_weights,
    WHAM_OT_find_weights,
    WHAM_OT_forget_weights,
)
