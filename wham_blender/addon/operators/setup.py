"""Operators in the preferences that install, check, repair, remove and move the worker's Python environment."""

import threading
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..settings import preferences, worker_path, worker_python
from ..translations import report, translate
from ..worker import location, python_environment
from ..worker.process import Job
from .background import JobOperator, copy_to_clipboard

_POLL_INTERVAL = 0.2  # seconds between two polls of the thread that measures storage


def _option(name: str) -> str:
    """An option of the preferences; a relative path is made absolute."""
    value = str(getattr(preferences(), name, ""))
    return bpy.path.abspath(value) if value.startswith("//") else value


class _InstallOperator(JobOperator):
    """Base of operators that install packages, downloaded or from a folder."""

    repair = False

    larger: BoolProperty(
        name="Larger PyTorch",
        description="Where PyTorch's own index cannot be used, take the much larger build with CUDA from PyPI",
        options={"SKIP_SAVE"},
    )
    full: BoolProperty(
        name="Full Quality",
        description="Also install the packages that only Full quality needs. A worker that has them keeps them",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require online access, or a folder of packages."""
        if not bpy.app.online_access and not _option("wheels_folder"):
            cls.poll_message_set(
                translate("Allow Online Access in Preferences > System first, or choose a Packages Folder")
            )
            return False
        return super().poll(context)

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process that installs."""
        python_environment.check_folder()
        base = python_environment.base_python(_option("base_python"))
        command = python_environment.install_command(
            base, _option("torch_build") or "AUTO", _option("wheels_folder"), self.repair, self.larger, self.full
        )
        return Job(command, python_environment.data_folder() / "install.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Report the result of the self-test."""
        return _report_state(self, str(python_environment.python_of(python_environment.worker_folder())))


class WHAM_OT_install_worker(_InstallOperator, bpy.types.Operator):
    """Install the worker's packages into a Python environment outside Blender. Continues an interrupted download"""

    bl_idname = "wham.install_worker"
    bl_label = "Install Worker"


class WHAM_OT_repair_worker(_InstallOperator, bpy.types.Operator):
    """Check every installed file of the worker, and install damaged or missing packages again"""

    bl_idname = "wham.repair_worker"
    bl_label = "Repair Worker"

    repair = True


class WHAM_OT_check_worker(JobOperator, bpy.types.Operator):
    """Check the worker's packages and graphics card, and run a self-test on a short clip"""

    bl_idname = "wham.check_worker"
    bl_label = "Check Worker"

    def start(self, context: bpy.types.Context) -> Job:
        """Start the worker's self-test."""
        command = python_environment.check_command(worker_python())
        return Job(command, python_environment.data_folder() / "check.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Report the result of the self-test."""
        return _report_state(self, worker_path())


class WHAM_OT_remove_worker(JobOperator, bpy.types.Operator):
    """Delete the worker's installed Python environment and its downloads. Weights and jobs are kept"""

    bl_idname = "wham.remove_worker"
    bl_label = "Remove Worker"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for confirmation."""
        return context.window_manager.invoke_confirm(self, event)

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process that deletes."""
        if not python_environment.worker_folder().exists():
            raise python_environment.WorkerError(
                f"No worker is installed in {python_environment.worker_folder().parent}.", code="no-worker-to-remove"
            )
        return Job(python_environment.remove_command(), python_environment.data_folder() / "install.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Report that it is deleted."""
        report(self, {"INFO"}, "The worker is removed.")
        return {"FINISHED"}


class WHAM_OT_move_worker(JobOperator, bpy.types.Operator):
    """Move the worker, weights and jobs to another folder or disk. An interrupted move can be resumed"""

    bl_idname = "wham.move_worker"
    bl_label = "Move Files Here"

    directory: StringProperty(
        name="Folder",
        description="Destination, in which the folder wham_blender is created",
        subtype="DIR_PATH",
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the folder, unless one is given."""
        if self.directory:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process that moves the files; its log stays in the default folder."""
        if not self.directory:
            raise python_environment.WorkerError("No folder to move to was named.", code="no-folder-named")
        folder = Path(bpy.path.abspath(self.directory)).absolute()
        return Job(python_environment.move_command(folder), location.default_folder() / location.MOVE_LOG)

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Report the new folder."""
        if addon_preferences := preferences():
            addon_preferences.storage_state = ""
        report(self, {"INFO"}, f"The worker, weights and jobs are in {path} now.")
        return {"FINISHED"}


class WHAM_OT_measure_storage(bpy.types.Operator):
    """Measure how much disk space the worker, weights and jobs use"""

    bl_idname = "wham.measure_storage"
    bl_label = "Measure"

    _thread: threading.Thread | None = None
    _sizes: dict[str, int]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require that no measurement is running."""
        if cls._thread is not None:
            cls.poll_message_set(translate("The disk space is being measured"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Measure: in a thread from a window, blocking from a script."""
        folder = python_environment.data_folder()
        if not self.options.is_invoke or bpy.app.background:
            report(self, {"INFO"}, _show(location.usage(folder)))
            return {"FINISHED"}
        cls = WHAM_OT_measure_storage

        def measure() -> None:
            cls._sizes = location.usage(folder)

        cls._sizes = {}
        cls._thread = threading.Thread(target=measure, daemon=True)
        cls._thread.start()
        bpy.app.timers.register(_poll_measurement, first_interval=_POLL_INTERVAL)
        return {"FINISHED"}

    @classmethod
    def stop(cls) -> None:
        """Stop polling the thread, as the add-on is being disabled."""
        cls._thread = None
        if bpy.app.timers.is_registered(_poll_measurement):
            bpy.app.timers.unregister(_poll_measurement)


class WHAM_OT_copy_worker_report(bpy.types.Operator):
    """Copy the result of the last check: versions, graphics card and timings. It contains no names of folders"""

    bl_idname = "wham.copy_worker_report"
    bl_label = "Copy Details"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Require the result of a check."""
        if not python_environment.state(worker_path()).details:
            cls.poll_message_set(translate("Check the worker first"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy it to the clipboard."""
        copy_to_clipboard(self, python_environment.state(worker_path()).details)
        return {"FINISHED"}


def _report_state(operator: bpy.types.Operator, preferred: str) -> set[str]:
    """Report whether the worker is usable; ``preferred`` is the Python named in the preferences."""
    state = python_environment.state(preferred)
    report(operator, {"INFO"} if state.usable else {"ERROR"}, state.sentence)
    return {"FINISHED"} if state.usable else {"CANCELLED"}


def _poll_measurement() -> float | None:
    """Blender's timer: show the sizes when the thread has ended."""
    thread = WHAM_OT_measure_storage._thread
    if thread is not None and thread.is_alive():
        return _POLL_INTERVAL
    WHAM_OT_measure_storage._thread = None
    _show(WHAM_OT_measure_storage._sizes)
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()
    return None


def _show(sizes: dict[str, int]) -> str:
    """Write sizes in bytes to the preferences as one line of text, and return it."""
    line = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in sizes.items()) or "nothing is installed yet"
    if addon_preferences := preferences():
        addon_preferences.storage_state = line
    return line
