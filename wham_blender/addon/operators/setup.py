"""Install, check and remove the worker's own Python, each on the user's click."""

from collections.abc import Callable
from pathlib import Path

import bpy

from .. import runtime
from ..job import Job
from ..preferences import preferences, worker_python
from .background import JobOperator, WhenIdle


def _report(operator: bpy.types.Operator, work: Callable[[], str]) -> set[str]:
    """Show the state that the work leaves the worker's Python in, or why it failed."""
    try:
        state, kind, status = work(), "INFO", "FINISHED"
    except runtime.RuntimeProblem as problem:
        state, kind, status = str(problem), "ERROR", "CANCELLED"
    if chosen := preferences():
        chosen.worker_state = state
    operator.report({kind}, state)
    return {status}


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
        return _report(self, lambda: runtime.check(Path(path)))


class WHAM_OT_check_worker(bpy.types.Operator):
    """See whether the worker's Python is there and has all its packages."""

    bl_idname = "wham.check_worker"
    bl_label = "Check Worker"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write what was found to the preferences."""
        return _report(self, lambda: runtime.check(worker_python()))


class WHAM_OT_remove_worker(WhenIdle, bpy.types.Operator):
    """Delete the worker's Python that was installed here."""

    bl_idname = "wham.remove_worker"
    bl_label = "Remove Worker"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Delete it."""
        return _report(self, runtime.remove)
