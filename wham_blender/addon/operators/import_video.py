"""Import Video as Motion: a clip through the worker, and its motion into the scene."""

import hashlib
import os
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..job import Job, JobError, module_command
from ..options import draw_options
from ..preferences import jobs_folder, worker_python
from ..properties import VideoOptions
from ..weights_box import library
from .background import JobOperator
from .import_motion import import_file


class WHAM_OT_import_video(JobOperator, VideoOptions, bpy.types.Operator):
    """Make a keyframed character that moves like the person in a video."""

    bl_idname = "wham.import_video"
    bl_label = "Import Video as Motion"
    bl_options = {"UNDO"}  # not REGISTER: the redo panel would run the worker again at every change

    needs_object_mode = True

    filepath: StringProperty(name="Clip", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.mp4;*.mov;*.m4v;*.avi;*.mkv;*.webm", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the clip where none is named yet."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        """Show the options beside the file browser as the panel shows them."""
        draw_options(self.layout, self)

    def start(self, context: bpy.types.Context) -> Job:
        """Start the worker on the clip."""
        clip = self._clip()
        if not clip.is_file():
            raise JobError(f"There is no clip at {clip}. Choose a video file.")
        person = self.person.strip().upper()
        if person not in {"MAIN", "ALL"} and not (person.isdecimal() and int(person) >= 1):
            raise JobError(f"There is no person {self.person!r} to choose. Type MAIN, ALL or a number from 1.")
        python = worker_python()
        folder = jobs_folder() / f"{clip.stem}-{hashlib.sha256(str(clip).encode()).hexdigest()[:8]}"
        arguments = [
            str(clip), "-o", str(folder / f"motion-{os.getpid()}.npz"), "--json", "--resume", str(folder),
            "--person", person, "--quality", self.quality.lower(), "--device", self.device.lower(),
            "--start", str(self.clip_start), "--weights", str(library().folder),
        ]  # fmt: skip
        if self.clip_end:
            arguments += ["--end", str(self.clip_end)]
        if self.focal_length_mm:
            arguments += ["--focal-length", str(self.focal_length_mm)]
        return Job(module_command(python, "wham_blender.pipeline", *arguments), folder / "worker.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Bring the motion into the scene; its file has then served its purpose."""
        try:
            import_file(self, context, Path(path), self._clip())
        finally:
            Path(path).unlink(missing_ok=True)
        return {"FINISHED"}

    def _clip(self) -> Path:
        return Path(bpy.path.abspath(self.filepath)).absolute()
