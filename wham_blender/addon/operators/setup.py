"""Install, check, repair, remove and move the worker's own Python, each on the user's click."""

import threading
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..settings import preferences, worker_path, worker_python
from ..worker import location, python_environment
from ..worker.process import Job
from .background import JobOperator, copy

_LOOK = 0.2  # seconds between two looks at the thread that measures


def _option(name: str) -> str:
    """What the preferences say; a path is made absolute."""
    value = str(getattr(preferences(), name, ""))
    return bpy.path.abspath(value) if value.startswith("//") else value


class _Installs(JobOperator):
    """What downloads packages, or takes them out of a folder."""

    repair = False

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse without the user's consent to go online."""
        if not bpy.app.online_access and not _option("wheels_folder"):
            cls.poll_message_set("Allow Online Access in Preferences > System first, or choose a Packages folder")
            return False
        return super().poll(context)

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process that installs."""
        python_environment.check_folder()
        base = python_environment.base_python(_option("base_python"))
        command = python_environment.install_command(
            base, _option("torch_build") or "AUTO", _option("wheels_folder"), self.repair
        )
        return Job(command, python_environment.data_folder() / "install.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Say what the doctor found."""
        return _conclude(self, str(python_environment.python_of(python_environment.own_folder())))


class WHAM_OT_install_worker(_Installs, bpy.types.Operator):
    """Download the worker's packages into a Python of its own, outside Blender. Goes on where it was interrupted."""

    bl_idname = "wham.install_worker"
    bl_label = "Install Worker"


class WHAM_OT_repair_worker(_Installs, bpy.types.Operator):
    """Compare every file of the worker with what was installed, and install again what is damaged or missing."""

    bl_idname = "wham.repair_worker"
    bl_label = "Repair Worker"

    repair = True


class WHAM_OT_check_worker(JobOperator, bpy.types.Operator):
    """See whether the worker has all its packages, what it runs on, and whether a tiny clip goes through it."""

    bl_idname = "wham.check_worker"
    bl_label = "Check Worker"

    def start(self, context: bpy.types.Context) -> Job:
        """Start the worker's doctor."""
        python = worker_python()
        python_environment.probe(python)
        return Job(python_environment.doctor_command(python), python_environment.data_folder() / "check.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Say what it found."""
        return _conclude(self, worker_path())


class WHAM_OT_remove_worker(JobOperator, bpy.types.Operator):
    """Delete the worker's Python that was installed here, and its downloads. Weights and jobs stay."""

    bl_idname = "wham.remove_worker"
    bl_label = "Remove Worker"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process that deletes."""
        if not python_environment.own_folder().exists():
            raise python_environment.RuntimeProblem(
                f"No worker is installed in {python_environment.own_folder().parent}."
            )
        return Job(python_environment.remove_command(), python_environment.data_folder() / "install.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Say so."""
        self.report({"INFO"}, "The worker is removed.")
        return {"FINISHED"}


class WHAM_OT_move_worker(JobOperator, bpy.types.Operator):
    """Move the worker, weights and jobs to another folder or disk. What is interrupted goes on with the next click."""

    bl_idname = "wham.move_worker"
    bl_label = "Move Files Here"

    directory: StringProperty(
        name="Folder",
        description="Where to; they get a folder of their own in there, wham_blender",
        subtype="DIR_PATH",
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask where to, unless it is known."""
        if self.directory:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process that moves; its log does not move along."""
        if not self.directory:
            raise python_environment.RuntimeProblem("No folder to move to was named.")
        folder = Path(bpy.path.abspath(self.directory)).absolute()
        return Job(python_environment.move_command(folder), location.default_folder() / location.MOVE_LOG)

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Say where everything lies now."""
        if chosen := preferences():
            chosen.storage_state = ""
        self.report({"INFO"}, f"The worker, weights and jobs lie in {path} now.")
        return {"FINISHED"}


class WHAM_OT_measure_storage(bpy.types.Operator):
    """Measure how much space the worker, weights and jobs take."""

    bl_idname = "wham.measure_storage"
    bl_label = "Measure"

    _thread: threading.Thread | None = None
    _sizes: dict[str, int]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse while it measures."""
        if cls._thread is not None:
            cls.poll_message_set("It is being measured")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Measure: in a thread while Blender goes on, or at once for a script."""
        folder = python_environment.data_folder()
        if not self.options.is_invoke or bpy.app.background:
            self.report({"INFO"}, _show(location.usage(folder)))
            return {"FINISHED"}
        cls = WHAM_OT_measure_storage

        def measure() -> None:
            cls._sizes = location.usage(folder)

        cls._sizes = {}
        cls._thread = threading.Thread(target=measure, daemon=True)
        cls._thread.start()
        bpy.app.timers.register(_look, first_interval=_LOOK)
        return {"FINISHED"}

    @classmethod
    def stop(cls) -> None:
        """Wait for nothing any more: the add-on is being disabled."""
        cls._thread = None
        if bpy.app.timers.is_registered(_look):
            bpy.app.timers.unregister(_look)


class WHAM_OT_copy_worker_report(bpy.types.Operator):
    """Copy what the last check found: versions, cards and times, without the names of your folders."""

    bl_idname = "wham.copy_worker_report"
    bl_label = "Copy Details"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse before the first check."""
        if not python_environment.state(worker_path()).details:
            cls.poll_message_set("Check the worker first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Put it into the clipboard."""
        copy(self, python_environment.state(worker_path()).details, "The details are")
        return {"FINISHED"}


def _conclude(operator: bpy.types.Operator, preferred: str) -> set[str]:
    found = python_environment.state(preferred)
    operator.report({"INFO"} if found.usable else {"ERROR"}, found.sentence)
    return {"FINISHED"} if found.usable else {"CANCELLED"}


def _look() -> float | None:
    """Blender's timer: show the sizes when the thread has them."""
    thread = WHAM_OT_measure_storage._thread
    if thread is not None and thread.is_alive():
        return _LOOK
    WHAM_OT_measure_storage._thread = None
    _show(WHAM_OT_measure_storage._sizes)
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()
    return None


def _show(sizes: dict[str, int]) -> str:
    """Put sizes into the preferences; the line that says them."""
    line = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in sizes.items()) or "nothing is there yet"
    if chosen := preferences():
        chosen.storage_state = line
    return line
