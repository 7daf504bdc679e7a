"""Install, check and remove the worker's own Python, each on the user's click."""

import bpy

from .. import runtime
from ..job import Job
from ..preferences import preferences, worker_python
from .background import JobOperator, WhenIdle


def _show_state(state: str) -> None:
    if chosen := preferences():
        chosen.worker_state = state


class WHAM_OT_install_worker(JobOperator, bpy.types.Operator):
    """Download the worker's packages into a Python of its own, outside Blender (several gigabytes)."""

    bl_idname = "wham.install_worker"
    bl_label = "Install Worker"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Refuse without the user's consent to go online."""
        if not bpy.app.online_access:
            cls.poll_message_set("Allow Online Access in Preferences > System first")
            return False
        return super().poll(context)

    def start(self, context: bpy.types.Context) -> Job:
        """Start the process that installs."""
        return Job(runtime.make_command(), runtime.data_folder() / "install.log")

    def finish(self, context: bpy.types.Context, path: str) -> set[str]:
        """Check what was installed."""
        return bpy.ops.wham.check_worker()


class WHAM_OT_check_worker(bpy.types.Operator):
    """See whether the worker's Python is there and has all its packages."""

    bl_idname = "wham.check_worker"
    bl_label = "Check Worker"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write what was found to the preferences."""
        try:
            state = runtime.check(worker_python())
        except runtime.RuntimeProblem as problem:
            _show_state(str(problem))
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        _show_state(state)
        self.report({"INFO"}, state)
        return {"FINISHED"}


class WHAM_OT_remove_worker(WhenIdle, bpy.types.Operator):
    """Delete the worker's Python that was installed here."""

    bl_idname = "wham.remove_worker"
    bl_label = "Remove Worker"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Delete it."""
        runtime.remove()
        _show_state("not installed")
        return {"FINISHED"}
